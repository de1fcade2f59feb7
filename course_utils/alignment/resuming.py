"""Exact checkpoints of a policy-gradient run: killed and started again, it ends with the same weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.training import checkpoints


class RunCheckpoints:
    """Checkpoints of a run that trains several models (by name) with one optimizer.

    Besides weights and optimizer a checkpoint holds the history's records and ``extra`` tensors: generators, the place
    in the prompts. Whose it is, is told by ``settings`` (json-like), ``data`` and the weights that every model, the
    ``frozen`` ones too, has now: start the same run with other models, and it is refused.
    ``folder=None``: nothing is saved.
    """

    def __init__(
        self,
        folder: str | Path | None,
        models: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        frozen: Mapping[str, nn.Module],
        *,
        settings: Mapping[str, Any],
        data: Sequence[Sequence[int]],
        keep_last: int = 2,
    ) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.optimizer, self.keep_last = optimizer, keep_last
        self.parameters = {
            f"{name}|{key}": parameter
            for name, model in models.items()
            for key, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        if self.folder is not None:
            self.identity = {
                "models": {name: _digest(model) for name, model in {**models, **frozen}.items()},
                "config": dict(settings),
                "data": hashlib.sha256(repr([list(row) for row in data]).encode()).hexdigest()[:16],
            }

    @torch.no_grad()
    def resume(self) -> checkpoints.State | None:
        """Put the newest checkpoint's weights and optimizer back, and return it; None if there is none.

        Raises MismatchedCheckpoint if what is there belongs to another run.
        """
        state = None if self.folder is None else checkpoints.latest(self.folder, self.identity)
        if state is None:
            return None
        for name, parameter in self.parameters.items():
            parameter.copy_(state.weights[name])
        for key, value in state.optimizer.items():
            name, kind = key.rsplit("|", 1)
            parameter = self.parameters[name]
            self.optimizer.state[parameter][kind] = value.to(parameter.device) if value.ndim else value
        return state

    def save(self, records: list[dict[str, float]], extra: Mapping[str, Tensor]) -> None:
        """Write a checkpoint after ``len(records)`` iterations. Raises CheckpointError if it cannot be written."""
        if self.folder is None:
            return
        weights = {name: parameter.detach().cpu() for name, parameter in self.parameters.items()}
        moments = {
            f"{name}|{kind}": value.cpu()
            for name, parameter in self.parameters.items()
            for kind, value in self.optimizer.state.get(parameter, {}).items()
        }
        state = checkpoints.State(len(records), weights, moments, dict(extra), records)
        checkpoints.save(self.folder, state, self.identity, keep_last=self.keep_last)


def _digest(model: nn.Module) -> str:
    """Of all weights and buffers of a model."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        part = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + part.numpy().tobytes())
    return digest.hexdigest()[:16]
