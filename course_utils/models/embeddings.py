"""A model that gets more tokens: new rows for its embedding matrix, and for the head that scores the vocabulary.

A new row can start at random, at the mean of all old rows (what transformers does, with noise), or at the mean of the
rows of the pieces into which the word was cut before: the model then begins near what it knew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from course_utils.models.decoder import Decoder

STARTS = ("pieces", "mean", "random")


def mean_of_pieces(weight: Tensor, pieces: Sequence[Sequence[int]]) -> Tensor:
    """The rows (vocab, hidden) with one more for each list of old ids: the mean of the rows that it names.

    Returns (vocab + len(pieces), hidden); the old rows are copied and stay as they are.
    Raises ValueError for an empty list of pieces, or an id that is no old row.
    """
    for number, ids in enumerate(pieces):
        if not len(ids) or min(ids) < 0 or max(ids) >= len(weight):
            raise ValueError(
                f"new word {number} has the pieces {list(ids)}; expected: one or more ids from 0 to {len(weight) - 1}."
            )
    rows = [weight[list(ids)].mean(0) for ids in pieces]
    return torch.cat([weight, torch.stack(rows)]) if rows else weight.clone()


def resize_embeddings(
    model: Decoder,
    pieces: Sequence[Sequence[int]],
    start: str = "pieces",
    seed: int | torch.Generator = 0,
    rows: Callable[[Tensor, Sequence[Sequence[int]]], Tensor] = mean_of_pieces,
) -> Decoder:
    """Give the model a token more for each entry of ``pieces`` (the old ids of the new word), in place.

    ``start``: "pieces" (mean of the word's old rows), "mean" (of all old rows) or "random" (N(0, 0.02)). Embedding and
    head get the new rows, each from its own old rows; a tied head stays tied. ``rows`` makes the larger matrix where
    new rows are means, called as ``mean_of_pieces``. Raises ValueError for another start.
    """
    if start not in STARTS:
        raise ValueError(f"start is {start!r}; choose from {', '.join(STARTS)}.")
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    size = model.config.vocab_size + len(pieces)
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    with torch.no_grad():
        embedding = _grown(model.model.embed_tokens.weight, pieces, start, generator, rows)
        head = embedding if tied else _grown(model.lm_head.weight, pieces, start, generator, rows)
    model.model.embed_tokens.weight = embedding
    model.lm_head.weight = head
    model.model.embed_tokens.num_embeddings = model.lm_head.out_features = size
    model.config = model.model.config = replace(model.config, vocab_size=size)
    return model


def _grown(
    weight: Tensor,
    pieces: Sequence[Sequence[int]],
    start: str,
    generator: torch.Generator,
    rows: Callable[[Tensor, Sequence[Sequence[int]]], Tensor],
) -> nn.Parameter:
    if start == "random":
        new = torch.empty(len(pieces), weight.shape[1]).normal_(0.0, 0.02, generator=generator)
        grown = torch.cat([weight, new.to(weight.device, weight.dtype)])
    elif start == "mean":
        grown = rows(weight, [list(range(len(weight)))] * len(pieces))
    else:
        grown = rows(weight, pieces)
    return nn.Parameter(grown.detach().clone(), requires_grad=weight.requires_grad)
