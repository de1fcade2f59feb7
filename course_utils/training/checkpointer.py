"""From a running model to a checkpoint and back: what is saved, whose it is, and how it is put back."""

from __future__ import annotations

import functools
import hashlib
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.training import checkpoints, distributed
from course_utils.training.config import TrainConfig
from course_utils.training.history import History
from course_utils.training.optimizers import Together
from course_utils.training.randomness import own_random_state, random_state, seed_everything, set_random_state

# model -> folder -> (digest of where the run started, digest of how it left the model)
_LEFT: weakref.WeakKeyDictionary[nn.Module, dict[str, tuple[str, str]]] = weakref.WeakKeyDictionary()


class Checkpointer:
    """Checkpoints of one run: what goes into them, whose they are, and how they are put back."""

    def __init__(
        self,
        folder: str | Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Together,
        config: TrainConfig,
        batches: Any,
        objective: Any,
        dist_ctx: distributed.DistributedContext,
        device: torch.device,
    ) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.model, self.optimizer, self.config, self.dist_ctx, self.device = model, optimizer, config, dist_ctx, device
        self.saved: int | None = None
        self.branch: checkpoints.State | None = None
        if self.folder is not None:
            self.start = self._start(self.folder)
            self.identity = {
                "vocab_size": getattr(getattr(model, "config", None), "vocab_size", None),
                "model": {name: f"{tuple(t.shape)} {t.dtype}" for name, t in model.named_parameters()},
                "frozen": _digest({n: p for n, p in model.named_parameters() if not p.requires_grad}, sample=64),
                "config": config.fingerprint(),
                "objective": _name(objective),
                **_data(batches, config),
                "start": self.start,
            }

    def branch_from(self, folder: str | Path | None) -> None:
        """Let the run begin where another one stood before its learning rate decayed (see ``train``)."""
        if folder is None:
            return
        if self.folder is None:
            raise checkpoints.CheckpointError("a branch keeps checkpoints of its own: give a checkpoint_dir too.")
        self.branch = checkpoints.stable(folder, self.identity)
        # whatever weights the model holds now, those of the other run's checkpoint are where this one starts
        self.start = self.identity["start"] = f"a branch at step {self.branch.step}"

    def resume(self) -> tuple[History, int]:
        """Load the newest checkpoint of this run, if there is one; return its history and step."""
        if self.folder is None:
            return History(), 0
        state = checkpoints.latest(self.folder, self.identity) or self.branch
        if state is None:
            self.start = self.identity["start"] = self._trained()  # whatever run this model has been in before
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
        self.saved = state.step if state is not self.branch else None
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

    def leave(self) -> None:
        """Note how the run leaves its model, so that the same call, in the same session, is known as the same run."""
        if self.folder is not None and self.dist_ctx.parallel != "fsdp":
            _LEFT.setdefault(self.model, {})[str(self.folder.resolve())] = (self.start, self._trained())

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

    def _start(self, folder: Path) -> str:
        """A digest of the weights that training starts from.

        A model that an earlier call in this process trained in ``folder``, and nobody has touched since, started
        where that call started: it stands at a later step of the same run.
        """
        now = self._trained()
        start, left = _LEFT.get(self.model, {}).get(str(folder.resolve()), (now, now))
        return start if left == now else now

    def _trained(self) -> str:
        """A digest of the present values of what is trained."""
        return _digest({name: _some(p) for name, p in self.model.named_parameters() if p.requires_grad})

    def _weights(self) -> dict[str, Tensor]:
        """Trainable parameters (shared ones once) and buffers that belong to the state."""
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        state = self.model.state_dict(keep_vars=True)
        return named | {name: b for name, b in self.model.named_buffers() if name in state}


def _name(value: Any) -> str:
    """The objective's name; of one made by ``functools.partial`` also what was bound, as far as that has a name."""
    if isinstance(value, functools.partial):
        bound = [*map(_name, value.args), *(f"{name}={_name(part)}" for name, part in value.keywords.items())]
        return f"{_name(value.func)}({', '.join(bound)})"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__qualname__)


def _data(batches: Any, config: TrainConfig) -> dict[str, Any]:
    """What tells these batches from others: their own ``fingerprint``, or digests of the first and of some later ones.

    Batches may draw from the global generators: these are seeded as for the run, and put back afterwards.
    """
    if getattr(batches, "fingerprint", None):
        return {"data": batches.fingerprint}
    later = sorted({1, *(config.steps * quarter // 4 for quarter in (1, 2, 3)), config.steps - 1} - {0})

    def read(step: int) -> Mapping[str, Any]:
        try:
            return {f"{step} {name}" if step else name: value for name, value in batches[step].items()}
        except (IndexError, KeyError, TypeError, AttributeError):  # the loop says what is wrong with that batch
            return {}

    with own_random_state():
        seed_everything(config.seed)
        first = read(0)
        rest = {name: value for step in later if step < config.steps for name, value in read(step).items()}
        return {"data": _digest(first), "later data": _digest(rest)}


def _some(tensor: Tensor) -> Tensor:
    """A million numbers of a tensor, evenly spread (all of them, if it has fewer than two million)."""
    return distributed.full_tensor(tensor.detach()).flatten()[:: max(1, tensor.numel() >> 20) | 1]


def _digest(tensors: Mapping[str, Any], sample: int | None = None) -> str:
    """A digest of the first ``sample`` numbers of each tensor (of all of them, if None)."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            part = distributed.full_tensor(tensor.detach()).flatten()[:sample].cpu().contiguous().view(torch.uint8)
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + part.numpy().tobytes())
    return digest.hexdigest()[:16]
