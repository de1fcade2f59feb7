"""The reward model: which of two answers would a person prefer?

A language model with a scalar head learns the scores of Bradley and Terry from comparisons (InstructGPT, arXiv
2203.02155, section 3.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from course_utils.alignment.bradley_terry import bradley_terry_loss
from course_utils.text.batching import collate
from course_utils.text.chat import encode_chats

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def preference_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """The objective of a reward model, for ``train``: rows come in pairs, the chosen answer before the rejected one.

    ``batch`` holds ``input_ids`` and ``attention_mask``, (pairs, 2, length). Metrics: the share of pairs ranked right
    and the mean difference of scores.
    """
    ids, mask = batch["input_ids"].flatten(0, 1), batch["attention_mask"].flatten(0, 1)
    chosen, rejected = model(ids, mask).float().view(-1, 2).unbind(1)
    difference = (chosen - rejected).detach()
    return bradley_terry_loss(chosen, rejected), {
        "accuracy": (difference > 0).float().mean(),
        "difference": difference.mean(),
    }


class PairBatches:
    """``batches[step]`` for ``train``: tokenized comparisons, every epoch in a new order that ``seed`` fixes.

    ``pairs``: rows with ``prompt``, ``chosen`` and ``rejected``. Raises ValueError, naming the row, for one that lacks
    them or is longer than ``max_length`` tokens.
    """

    def __init__(
        self,
        pairs: Sequence[Mapping[str, Any]],
        tokenizer: PreTrainedTokenizerFast,
        batch_size: int,
        seed: int = 0,
        max_length: int | None = None,
    ) -> None:
        self.pairs, self.batch_size, self.seed = list(pairs), batch_size, seed
        for number, pair in enumerate(self.pairs):
            missing = [name for name in ("prompt", "chosen", "rejected") if name not in pair]
            if missing:
                raise ValueError(
                    f"pair {number} has no {' and no '.join(missing)}; a comparison needs prompt, chosen and rejected."
                )
        if len(self.pairs) < batch_size:
            raise ValueError(
                f"{len(self.pairs)} pairs do not fill a batch of {batch_size}; give more or a smaller batch."
            )
        texts = [(pair["prompt"], pair[side]) for pair in self.pairs for side in ("chosen", "rejected")]
        self.ids = encode_answers(texts, tokenizer)
        longest = max(range(len(self.ids)), key=lambda i: len(self.ids[i]))
        if max_length is not None and len(self.ids[longest]) > max_length:
            raise ValueError(
                f"pair {longest // 2} has {len(self.ids[longest])} tokens; at most {max_length} fit. Shorten it."
            )

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        per_epoch = len(self.pairs) // self.batch_size
        epoch, place = divmod(step, per_epoch)
        order = torch.randperm(len(self.pairs), generator=torch.Generator().manual_seed(1_000_003 * self.seed + epoch))
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size].tolist()
        rows = collate([{"input_ids": self.ids[2 * i + side]} for i in chosen for side in (0, 1)])
        return {name: rows[name].view(len(chosen), 2, -1) for name in ("input_ids", "attention_mask")}


def encode_answers(texts: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """The token ids of each (prompt, answer) as a chat that ends with the end token, as the policy writes it."""
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}] for prompt, answer in texts
    ]
    return [ids for ids, _ in encode_chats(chats, tokenizer)]


@torch.inference_mode()
def reward_scores(
    model: nn.Module,
    texts: Sequence[tuple[str, str]],
    tokenizer: PreTrainedTokenizerFast,
    batch_size: int = 128,
) -> Tensor:
    """The reward model's score of each (prompt, answer), (count,) float32 on the CPU.

    ``model``: ours, or a sequence classifier of transformers with one label.
    """
    ids = encode_answers(texts, tokenizer)
    device = next(model.parameters()).device
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # little padding
    scores = torch.empty(len(ids))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows = {name: t.to(device) for name, t in collate([{"input_ids": ids[i]} for i in chosen]).items()}
        out = model(rows["input_ids"], rows["attention_mask"])
        scores[chosen] = getattr(out, "logits", out).float().view(-1).cpu()
    return scores


def pair_accuracy(model: nn.Module, pairs: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerFast) -> float:
    """The share of comparisons in which the chosen answer has the higher score; a tie counts as half."""
    if not pairs:
        raise ValueError("pair_accuracy() was given no pairs; make some with comparisons().")
    texts = [(pair["prompt"], pair[side]) for pair in pairs for side in ("chosen", "rejected")]
    chosen, rejected = reward_scores(model, texts, tokenizer).view(-1, 2).unbind(1)
    return float(((chosen > rejected).float() + 0.5 * (chosen == rejected).float()).mean())
