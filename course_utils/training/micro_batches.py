"""What goes into the loop: batches cut into pieces, objectives checked, and the errors that say what is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from course_utils.training.distributed import DistributedContext

Batch = Mapping[str, Any]


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to do."""


class LossNotFinite(TrainingError):
    """The loss or the gradient became NaN or infinite; ``step`` is the step at which it happened."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


def micro_batches(
    batches: Any, step: int, size: int | None, dist_ctx: DistributedContext, device: torch.device, pieces: int = 1
) -> list[tuple[dict[str, Any], int]]:
    """This rank's rows of ``batches[step]``, cut into pieces of ``size`` rows at the most (into ``pieces``, if None).

    Every rank returns as many pieces as the others, because they meet in every backward pass: where the rows run
    out, the piece is one row that counts 0 instead of 1.
    """
    try:
        batch = batches[step]
    except (IndexError, KeyError) as error:
        raise TrainingError(
            f"there is no batch for step {step}: `batches` ends there. Give more batches or fewer steps."
        ) from error
    except TypeError as error:
        raise TrainingError(
            f"batches is a {type(batches).__name__}; expected something indexed by the step (batches[0], batches[1], "
            "...), such as PackedBatches or a list, so that a resumed run finds its place."
        ) from error
    if not isinstance(batch, Mapping) or not any(isinstance(value, Tensor) for value in batch.values()):
        raise TrainingError(f"batches[{step}] is a {type(batch).__name__}; expected a dict of tensors.")
    rows = row_count(batch)
    for name, value in batch.items():
        if isinstance(value, Tensor) and len(value) != rows:
            raise TrainingError(f"batches[{step}][{name!r}] has {len(value)} rows, but others have {rows}.")
    if rows < dist_ctx.world_size:
        raise TrainingError(
            f"batches[{step}] has {rows} rows for {dist_ctx.world_size} ranks; give at least one row per rank."
        )

    def cut(first: int, end: int) -> dict[str, Any]:
        piece = {k: v[first:end] if isinstance(v, Tensor | list) and len(v) == rows else v for k, v in batch.items()}
        return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in piece.items()}

    first, end = rows * dist_ctx.rank // dist_ctx.world_size, rows * (dist_ctx.rank + 1) // dist_ctx.world_size
    largest = math.ceil(rows / dist_ctx.world_size)
    size = min(size or math.ceil(largest / pieces), largest)
    return [
        (cut(at, min(at + size, end)), 1) if at < end else (cut(first, first + 1), 0)
        for at in range(first, first + largest, size)
    ]


def row_count(batch: Batch) -> int:
    """The rows of a batch: those of its first tensor."""
    return next(len(value) for value in batch.values() if isinstance(value, Tensor))


def check_result(result: Any) -> tuple[Tensor, dict[str, Any]]:
    """What an objective returned, if it is what the loop needs; else a TrainingError that says what is missing."""
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)):
        kind = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise TrainingError(f'the objective returned {kind}; expected `loss, {{"tokens": how many}}`.')
    loss, metrics = result
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        given = f"has the shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"is a {type(loss).__name__}"
        raise TrainingError(f"the objective's loss {given}; expected one number in a tensor, the mean over the tokens.")
    if not loss.requires_grad:
        raise TrainingError(
            "the objective's loss has no gradient: it does not depend on a trainable parameter. Compute it from the "
            "model that the objective is given, without no_grad(), detach() or item()."
        )
    for name, value in metrics.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise TrainingError(
                f"the objective's metric {name!r} has the shape {tuple(value.shape)}; expected one number."
            )
    return loss.view(()), dict(metrics)
