"""Scoring: let a model read many finished texts, a few at a time, without training it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.halves import by_rows, read

Forward = Callable[[nn.Module, Mapping[str, Tensor]], Tensor]


@by_rows
def next_token_logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits (batch, length, vocab) of a causal language model.

    Padding on the right needs no mask here: a causal model never looks to its right.
    """
    return model(input_ids=batch["input_ids"]).logits


@by_rows
def token_losses(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """What each token costs given those before it: -log p in nats, (batch, length - 1) float32; 0 for padding."""
    logits, targets = next_token_logits(model, batch)[:, :-1], batch["input_ids"][:, 1:]
    losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view_as(targets)
    return losses.masked_fill(batch["attention_mask"][:, 1:] == 0, 0.0)


def batched(
    model: nn.Module,
    encoded: Sequence[Sequence[int]],
    pad_id: int,
    batch_size: int = 64,
    forward: Forward = next_token_logits,
) -> Iterator[tuple[list[int], dict[str, Tensor], Tensor]]:
    """Read every text once, ``batch_size`` at a time, those of similar length together, so that little is padded.

    encoded: token ids, one sequence per text. Yields ``(rows, batch, logits)``: ``rows`` are the numbers of the texts
    at hand in ``encoded``, so that a caller can put its results in the order given; ``batch`` holds ``input_ids`` and
    ``attention_mask``, (rows, longest) int64 on the model's device, padded on the right with ``pad_id``; ``logits`` is
    what ``forward(model, batch)`` made of it. The model reads in evaluation mode and without gradients, and is back in
    its own mode whenever the caller has its turn. A ``forward`` that is marked with ``halves.by_rows`` may be called
    twice at once, with half of the rows each. Raises ValueError for a text without tokens.
    """
    empty = [i for i, ids in enumerate(encoded) if not len(ids)]
    if empty:
        raise ValueError(
            f"text {empty[0]} has no tokens; at least one is expected, such as the one that begins a text."
        )
    device = next(model.parameters()).device
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        width = len(encoded[rows[-1]])
        gaps = [width - len(encoded[i]) for i in rows]
        ids = [[*encoded[i], *[pad_id] * gap] for i, gap in zip(rows, gaps, strict=True)]
        mask = [[1] * (width - gap) + [0] * gap for gap in gaps]
        batch = {
            "input_ids": torch.tensor(ids, device=device),
            "attention_mask": torch.tensor(mask, device=device),
        }
        yield rows, batch, _read(model, batch, forward)  # not kept here: logits are large


def _read(model: nn.Module, batch: Mapping[str, Tensor], forward: Forward) -> Tensor:
    # A tensor made in inference mode can never be trained on, and transformers models may keep some: no_grad.
    with evaluation_mode(model):
        return read(model, batch, forward)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout and the like off; afterwards every part of the model is in the mode that it had."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def last_logits(model: nn.Module, encoded: Sequence[Sequence[int]], pad_id: int, batch_size: int = 64) -> Tensor:
    """What the model says comes next after each text: logits (texts, vocabulary) float32 on the CPU.

    Raises ValueError for a text without tokens, or no texts.
    """
    if not len(encoded):
        raise ValueError("no texts were given; at least one is needed.")
    found: list[Tensor] = [torch.empty(0)] * len(encoded)
    for rows, batch, logits in batched(model, encoded, pad_id, batch_size):
        places = batch["attention_mask"].sum(1) - 1
        for row, i in enumerate(rows):
            found[i] = logits[row, places[row]].float().cpu()
    return torch.stack(found)
