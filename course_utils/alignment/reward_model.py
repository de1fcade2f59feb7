"""The reward model: which of two answers would a person prefer?

A language model with a scalar head learns the scores of Bradley and Terry from comparisons (InstructGPT, arXiv
2203.02155, section 3.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from course_utils.alignment.bradley_terry import bradley_terry_loss
from course_utils.models.halves import by_rows, like_lengths
from course_utils.models.scoring import batched
from course_utils.text.chat import encode_answers
from course_utils.text.special_tokens import padding_id
from course_utils.training.objectives import class_scores

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@by_rows
def preference_loss(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    loss: Callable[[Tensor, Tensor], Tensor] = bradley_terry_loss,
) -> tuple[Tensor, dict[str, Any]]:
    """The objective of a reward model, for ``train``: rows come in pairs, the chosen answer before the rejected one.

    ``batch`` holds ``input_ids`` and ``attention_mask``, (pairs, 2, length). Metrics: the share of pairs ranked right
    and the mean difference of scores. ``loss``: of the chosen and the rejected scores, (pairs,) each.
    """
    ids, mask = batch["input_ids"].flatten(0, 1), batch["attention_mask"].flatten(0, 1)
    chosen, rejected = like_lengths(model, ids, mask, model).float().view(-1, 2).unbind(1)
    difference = (chosen - rejected).detach()
    return loss(chosen, rejected), {
        "accuracy": (difference > 0).float().mean(),
        "difference": difference.mean(),
    }


def reward_scores(
    model: nn.Module,
    texts: Sequence[tuple[str, str]],
    tokenizer: PreTrainedTokenizerFast,
    batch_size: int = 128,
) -> Tensor:
    """The reward model's score of each (prompt, answer), (count,) float32 on the CPU, without dropout.

    ``model``: ours, or a sequence classifier of transformers with one label, left in the mode that it had.
    """
    scores = torch.empty(len(texts))
    encoded = encode_answers(texts, tokenizer)
    for rows, _, found in batched(model, encoded, padding_id(tokenizer), batch_size, class_scores):
        scores[rows] = found.view(-1).cpu()
    return scores


def pair_accuracy(model: nn.Module, pairs: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerFast) -> float:
    """The share of comparisons in which the chosen answer has the higher score; a tie counts as half."""
    if not pairs:
        raise ValueError("pair_accuracy() was given no pairs; make some with comparisons().")
    texts = [(pair["prompt"], pair[side]) for pair in pairs for side in ("chosen", "rejected")]
    chosen, rejected = reward_scores(model, texts, tokenizer).view(-1, 2).unbind(1)
    return float(((chosen > rejected).float() + 0.5 * (chosen == rejected).float()).mean())
