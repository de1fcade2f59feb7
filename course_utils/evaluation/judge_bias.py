"""A language model as a judge of pairs, and its tastes: for a place, for length, for its own words.

The judge reads a question with two answers to it, then the question again, and is asked which of the two it would now
write: the likelier one wins. It needs no training and no chat, so every model of the chain can be one. Like the judges
of Zheng et al. (arXiv 2306.05685, section 3.3) it has tastes, and each can be measured, because the same pair can be
shown in both orders and because the oracle knows which answer is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from course_utils.evaluation.multiple_choice import score_choices

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def listed_preferences(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[str],
    left: Sequence[str],
    right: Sequence[str],
) -> np.ndarray:
    """How much likelier the judge would write the left answer than the right one, having read both, left first: nats
    per token, (pairs,). Above 0 it prefers the left.

    Raises ValueError if the counts differ, or for an empty answer: a judge cannot say anything about it.
    """
    empty = [i for i, pair in enumerate(zip(left, right, strict=True)) if not (pair[0].strip() and pair[1].strip())]
    if empty:
        raise ValueError(
            f"an answer of pair {empty[0]} is empty; there is nothing to judge. Count it as lost beforehand."
        )
    prompts = [f"{q}\n{a}\n{q}\n{b}\n{q}\n" for q, a, b in zip(questions, left, right, strict=True)]
    scores = score_choices(model, tokenizer, prompts, list(zip(left, right, strict=True)), delimiter="")
    means = np.array([np.divide(score.logprobs, score.tokens) for score in scores])
    return means[:, 0] - means[:, 1]


def both_orders(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """The preference for ``first`` when it stands on the left, and when it stands on the right: (pairs,) each."""
    ahead = listed_preferences(model, tokenizer, questions, first, second)
    behind = -listed_preferences(model, tokenizer, questions, second, first)
    return ahead, behind


def position_bias(ahead: np.ndarray, behind: np.ndarray) -> dict[str, float]:
    """What ``both_orders`` tells about places: ``left``, the share of all readings in which the answer on the left won
    (0.5 without a taste for a place), and ``changed``, the share of pairs whose winner depends on the order.

    Raises ValueError for arrays of different shapes, without pairs, or with values that are no numbers.
    """
    if ahead.shape != behind.shape or ahead.ndim != 1 or not len(ahead) or np.isnan([ahead, behind]).any():
        raise ValueError(f"shapes {ahead.shape} and {behind.shape}; one number for each pair and order is expected.")
    left = np.concatenate([ahead > 0, behind < 0])
    return {"left": float(left.mean()), "changed": float(((ahead > 0) != (behind > 0)).mean())}
