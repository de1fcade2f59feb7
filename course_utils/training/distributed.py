"""Several processes, one model: DDP and FSDP2 under ``torchrun``, and the few collectives that the loop needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


@dataclass(frozen=True)
class DistributedContext:
    """Which of how many processes this one is. ``parallel`` is None, "ddp" or "fsdp"."""

    parallel: str | None
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0


@contextlib.contextmanager
def distributed_context(parallel: str | None, device_type: str) -> Iterator[DistributedContext]:
    """Join the processes that ``torchrun`` started (gloo on the CPU, nccl on CUDA); leave again if we were first in.

    Raises ValueError for an unknown ``parallel``, RuntimeError outside ``torchrun``.
    """
    if parallel is None:
        yield DistributedContext(None)
        return
    if parallel not in ("ddp", "fsdp"):
        raise ValueError(f'parallel is {parallel!r}; expected None, "ddp" or "fsdp".')
    if "RANK" not in os.environ:
        raise RuntimeError(
            f"parallel={parallel!r} needs several processes, but this one was started alone. "
            "Start your script with `torchrun --nproc-per-node 2 script.py`, or set parallel=None."
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    ours = not dist.is_initialized()
    if ours:
        if device_type == "cuda":
            torch.cuda.set_device(local)
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield DistributedContext(parallel, dist.get_rank(), dist.get_world_size(), local)
    finally:
        if ours:
            dist.destroy_process_group()


def wrap_model(model: nn.Module, dist_ctx: DistributedContext, device: torch.device) -> nn.Module:
    """The module to call in training: ``model`` itself, wrapped by DDP, or sharded in place by FSDP2."""
    if dist_ctx.parallel == "ddp":
        return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)
    if dist_ctx.parallel == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.detach(), src=0)  # DDP does this by itself: every rank starts from the same weights
        mesh = init_device_mesh(device.type, (dist_ctx.world_size,))
        for blocks in (module for module in model.modules() if isinstance(module, nn.ModuleList)):
            for block in blocks:
                fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


@contextlib.contextmanager
def grad_sync(model: nn.Module, dist_ctx: DistributedContext, now: bool) -> Iterator[None]:
    """Exchange gradients in the backward pass inside, or (``now=False``) only add them up on each rank."""
    if dist_ctx.parallel == "fsdp":
        cast("FSDPModule", model).set_requires_gradient_sync(now)
    adds_up = dist_ctx.parallel == "ddp" and not now
    with cast(DistributedDataParallel, model).no_sync() if adds_up else contextlib.nullcontext():
        yield


def all_reduce(values: Tensor, dist_ctx: DistributedContext, only: str | None = None) -> Tensor:
    """The sum of a small tensor over all ranks; with ``only``, just in that kind of parallelism."""
    if dist_ctx.world_size > 1 and only in (None, dist_ctx.parallel):
        dist.all_reduce(values)
    return values


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that lies here (a view); a plain tensor as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """A full tensor from one that may be sharded (every rank must call this)."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """Name -> whole parameter of a model whose parameters may be sharded (every rank must call this)."""
    return {name: full_tensor(parameter.detach()).clone() for name, parameter in model.named_parameters()}


def shard_like(full: Tensor, like: Tensor) -> Tensor:
    """This rank's part of ``full``, laid out and placed like ``like``."""
    if not hasattr(like, "full_tensor"):
        return full.to(like.device)
    from torch.distributed.tensor import DTensor, distribute_tensor

    like = cast(DTensor, like)
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)


def all_gather(tensor: Tensor, dist_ctx: DistributedContext, device: torch.device) -> list[Tensor]:
    """The tensors of equal shape that the ranks hold, in order of rank."""
    if dist_ctx.world_size == 1:
        return [tensor]
    parts = [torch.empty_like(tensor, device=device) for _ in range(dist_ctx.world_size)]
    dist.all_gather(parts, tensor.to(device))
    return [part.to(tensor.device) for part in parts]


def barrier(dist_ctx: DistributedContext) -> None:
    """Wait until every rank is here."""
    if dist_ctx.world_size > 1:
        dist.barrier()
