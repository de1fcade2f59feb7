"""From a running model to a checkpoint and back: what is saved, whose it is, and how it is put back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.training import checkpoints, distributed
from course_utils.training.config import TrainConfig
from course_utils.training.history import History
from course_utils.training.randomness import random_state, set_random_state


class Checkpointer:
    """Checkpoints of one run: what goes into them, whose they are, and how they are put back."""

    def __init__(
        self,
        folder: str | Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        batches: Any,
        dist_ctx: distributed.DistributedContext,
        device: torch.device,
    ) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.model, self.optimizer, self.config, self.dist_ctx, self.device = model, optimizer, config, dist_ctx, device
        self.saved: int | None = None
        if self.folder is not None:
            self.identity = {
                "vocab_size": getattr(getattr(model, "config", None), "vocab_size", None),
                "model": {name: f"{tuple(t.shape)} {t.dtype}" for name, t in model.named_parameters()},
                "frozen": _digest({n: p for n, p in model.named_parameters() if not p.requires_grad}, sample=64),
                "config": config.fingerprint(),
                "data": getattr(batches, "fingerprint", None) or _digest(batches[0]),
            }

    def resume(self) -> tuple[History, int]:
        """Load the newest checkpoint of this run, if there is one; return its history and step."""
        if self.folder is None:
            return History(), 0
        state = checkpoints.latest(self.folder, self.identity)
        if state is None:
            return History(), 0
        with torch.no_grad():
            for name, tensor in self._weights().items():
                tensor.copy_(distributed.shard_like(state.weights[name], tensor))
        by_name = dict(self.model.named_parameters())
        for key, value in state.optimizer.items():
            name, kind = key.rsplit("|", 1)
            like = by_name[name] if value.ndim else None
            self.optimizer.state[by_name[name]][kind] = (
                distributed.shard_like(value, like) if like is not None else value.to(self.device)
            )
        mine = f"{self.dist_ctx.rank}|"
        own = {key.removeprefix(mine): value for key, value in state.random.items() if key.startswith(mine)}
        if own:  # a run that goes on with more ranks than before keeps the fresh seeds of the new ones
            set_random_state(own)
        self.saved = state.step
        return History(state.records), state.step

    def save(self, history: History) -> None:
        """Write a checkpoint (rank 0 writes; the others help to gather)."""
        step = len(history)
        if self.folder is None or self.saved == step:
            return
        weights = {name: distributed.full_tensor(t.detach()).cpu() for name, t in self._weights().items()}
        moments = {
            f"{name}|{kind}": distributed.full_tensor(value).cpu()
            for name, parameter in self.model.named_parameters()
            for kind, value in self.optimizer.state.get(parameter, {}).items()
        }
        states = {
            f"{rank}|{key}": value
            for key, tensor in random_state().items()
            for rank, value in enumerate(distributed.all_gather(tensor, self.dist_ctx, self.device))
        }
        if self.dist_ctx.rank == 0:
            state = checkpoints.State(step, weights, moments, states, history.records)
            checkpoints.save(self.folder, state, self.identity, keep_last=self.config.keep_last)
        distributed.barrier(self.dist_ctx)
        self.saved = step

    def how_to_go_on(self) -> str:
        if self.folder is None:
            return (
                "The model keeps the weights of that step; with a checkpoint_dir the same call would go on from here."
            )
        return f"The state is saved in {self.folder}: run the same call again to go on from here."

    def last_good(self) -> str:
        if self.saved is None:
            return "No checkpoint was saved."
        return f"The last good checkpoint is step {self.saved} in {self.folder}."

    def _weights(self) -> dict[str, Tensor]:
        """Trainable parameters (shared ones once) and buffers that belong to the state."""
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        state = self.model.state_dict(keep_vars=True)
        return named | {name: b for name, b in self.model.named_buffers() if name in state}


def _digest(tensors: Mapping[str, Any], sample: int | None = None) -> str:
    """A digest of the first ``sample`` numbers of each tensor (of all of them, if None)."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            part = tensor.detach().flatten()[:sample].cpu().contiguous().view(torch.uint8)
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + part.numpy().tobytes())
    return digest.hexdigest()[:16]
