"""A filter beside a model: it reads a text, a request or an answer, and scores it by the words that it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_utils.evaluation.linear_probe import LinearProbe, fit_probe
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class TextFilter:
    """A logistic regression on which tokens a text holds; ``kept`` (vocabulary,): those that the examples had."""

    probe: LinearProbe
    kept: Tensor
    tokenizer: PreTrainedTokenizerFast

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """The log odds of harm, (texts,) float64. A token that no example had counts nothing."""
        return self.probe(tokens_held(texts, self.tokenizer)[:, self.kept])


def tokens_held(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Which tokens each text holds: (texts, vocabulary), 0 or 1. The order is lost."""
    held = torch.zeros(len(texts), len(tokenizer))
    for row, ids in enumerate(encode_plain(list(texts), tokenizer)):
        held[row, torch.tensor(ids, dtype=torch.long)] = 1.0
    return held


def fit_filter(
    texts: Sequence[str], harmful: Sequence[bool], tokenizer: PreTrainedTokenizerFast, l2: float = 10.0
) -> TextFilter:
    """A filter fitted to examples. ``l2``: see ``fit_probe``. Raises ValueError for examples of one class only."""
    held = tokens_held(texts, tokenizer)
    kept = held.sum(0) > 0
    return TextFilter(fit_probe(held[:, kept], harmful, l2), kept, tokenizer)
