"""Batches of comparisons for direct alignment: which tokens are the answer, and what the reference made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from course_utils.text.batching import PairBatches
from course_utils.text.chat import Message, as_messages, check_messages, encode_prompts
from course_utils.text.documents import DataError, show_value

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SIDES = ("chosen", "rejected")


class PreferenceBatches(PairBatches):
    """Comparisons as ``PairBatches`` holds them, and what a loss on log-probabilities needs besides.

    pairs: rows with ``prompt``, ``chosen`` and ``rejected``, as texts or as conversations (see ``comparison``).
    ``batches[step]`` holds, besides input_ids and attention_mask (pairs, 2, longest): ``response_mask`` (pairs, 2,
    longest - 1), 1 at the places that *predict* a token of the answer, its end token included; and
    ``mean_chosen_length`` (pairs,), the tokens of a chosen answer on average over the whole batch, the same for every
    pair. With ``unmatched=True``, as KTO wants them, ``unmatched_ids`` and ``unmatched_mask``: the same prompts, each
    with the answers to the next pair's prompt. After ``precompute_reference`` also what the reference said.

    ``prompt_lengths`` (pairs) counts the tokens before each answer. Raises DataError, naming the pair, for one whose
    sides are equal, empty or answer different prompts; otherwise as PairBatches.
    """

    def __init__(
        self,
        pairs: Sequence[Mapping[str, Any]],
        tokenizer: PreTrainedTokenizerFast,
        batch_size: int,
        seed: int = 0,
        max_length: int | None = None,
        *,
        unmatched: bool = False,
    ) -> None:
        rows = [comparison(pair, number) for number, pair in enumerate(pairs)]
        super().__init__(rows, tokenizer, batch_size, seed, max_length)
        prompts = encode_prompts([as_messages(row["prompt"]) for row in rows], tokenizer)
        self.prompt_lengths = list(map(len, prompts))
        for number, ids in enumerate(self.ids):
            prompt = prompts[number // 2]
            if ids[: len(prompt)] != prompt or len(ids) == len(prompt):
                raise DataError(
                    f"pair {number // 2}: the tokens of its prompt are not how the {SIDES[number % 2]} side begins, so "
                    "the answer cannot be told apart. Use a chat template that renders a prompt alone as it does "
                    "before an answer."
                )
        self.ref_logprobs: Tensor | None = None  # (all pairs, 2), float32: see precompute_reference
        self.unmatched_ref_logprobs: Tensor | None = None
        self.ref_vocab_size: int | None = None
        self.unmatched = self._unmatched(prompts) if unmatched else None

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """These pairs as a batch; see the class."""
        rows = [int(row) for row in rows]
        starts = torch.tensor([self.prompt_lengths[row] for row in rows])
        batch: dict[str, Any] = super().batch(rows)
        batch["response_mask"] = _answers(batch["attention_mask"], starts)
        lengths = batch["response_mask"].sum(-1)
        batch["mean_chosen_length"] = lengths[:, 0].float().mean().expand(len(rows)).contiguous()
        if self.unmatched is not None:
            other = self._padded([self.unmatched[2 * row + side] for row in rows for side in (0, 1)])
            batch["unmatched_ids"] = other["input_ids"]
            batch["unmatched_mask"] = _answers(other["attention_mask"], starts)
        if self.ref_logprobs is not None:
            batch |= {"ref_logprobs": self.ref_logprobs[rows], "ref_vocab_size": self.ref_vocab_size}
        if self.unmatched_ref_logprobs is not None:
            batch["unmatched_ref_logprobs"] = self.unmatched_ref_logprobs[rows]
        return batch

    def _unmatched(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        """Both texts of every pair with the answers of the next pair that has another prompt."""
        pairs = len(prompts)
        texts = []
        for row, prompt in enumerate(prompts):
            later = ((row + ahead) % pairs for ahead in range(1, pairs))
            other = next((number for number in later if prompts[number] != prompt), None)
            if other is None:
                raise DataError(
                    f"all {pairs} pairs have one prompt, so no answer is there that belongs to another. Give pairs of "
                    "several prompts, or take a method that needs no unmatched answers (all but KTO)."
                )
            texts += [prompt + self.ids[2 * other + side][self.prompt_lengths[other] :] for side in (0, 1)]
        return texts


def comparison(pair: Mapping[str, Any], number: int = 0) -> dict[str, Any]:
    """A row as ``{"prompt": ..., "chosen": text, "rejected": text}``; the prompt is a text or messages.

    Taken are texts, and conversations in either of trl's forms: both sides from the first message on, with or without a
    ``prompt`` beside them, or a ``prompt`` and the last message alone. Raises DataError, naming the pair: a column that
    is missing, sides that are equal or empty, or that answer different prompts.
    """
    if not isinstance(pair, Mapping) or any(pair.get(side) is None for side in SIDES):
        found = ", ".join(map(repr, pair)) if isinstance(pair, Mapping) else show_value(pair)
        missing = [side for side in SIDES if not isinstance(pair, Mapping) or pair.get(side) is None]
        raise DataError(
            f"pair {number} has no {' and no '.join(missing)} (there is: {found}); a comparison needs prompt, chosen "
            "and rejected."
        )
    prompt = pair.get("prompt")
    if all(isinstance(pair[side], str) for side in SIDES):
        if prompt is None:
            raise DataError(f"pair {number} has no prompt; a comparison needs prompt, chosen and rejected.")
        texts = [pair[side] for side in SIDES]
    else:
        prompts, texts = [], []
        for side in SIDES:
            messages = _conversation(prompt, pair[side], side, number)
            prompts.append(messages[:-1])
            texts.append(messages[-1]["content"])
        prompt = prompts[0]
        if prompts[0] != prompts[1]:
            raise DataError(
                f"pair {number}: its sides share no prompt: chosen answers {_asked(prompts[0])} and rejected "
                f"{_asked(prompts[1])}. Only answers to one prompt can be compared; pair them again, or drop the pair."
            )
    for side, text in zip(SIDES, texts, strict=True):
        if not text.strip():
            raise DataError(f"pair {number}: the {side} answer is empty; a text is expected. Drop the pair or mend it.")
    if texts[0] == texts[1]:
        raise DataError(
            f"pair {number}: chosen and rejected are the same answer, {show_value(texts[0])}. Equal sides have a "
            "margin of 0 whatever the model does, and teach nothing. Drop the pair."
        )
    return {"prompt": prompt, "chosen": texts[0], "rejected": texts[1]}


def _conversation(prompt: Any, given: Any, side: str, number: int) -> list[Message]:
    """One side from its first message to its answer."""
    if isinstance(given, str):
        raise DataError(
            f"pair {number}: {side} is a text and the other side is not; give two texts, or two lists of messages."
        )
    check_messages(given, number)
    messages = list(given)
    if len(messages) == 1 or (prompt is not None and not isinstance(prompt, str) and messages[0]["role"] != "user"):
        messages = [*as_messages(prompt or []), *messages]
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise DataError(
            f"pair {number}: {side} is a conversation of {len(messages)} messages, the last one of the "
            f"{messages[-1]['role']}; a prompt and then an answer of the assistant are expected."
        )
    return messages


def _asked(messages: Sequence[Message]) -> str:
    return show_value(messages[-1]["content"]) if messages else "nothing"


def _answers(attention_mask: Tensor, starts: Tensor) -> Tensor:
    """(pairs, 2, longest - 1): 1 at the places that predict what stands at or after ``starts`` (pairs,)."""
    places = torch.arange(attention_mask.shape[-1])
    said = (places >= starts[:, None, None]) & attention_mask.bool()
    return said[..., 1:].long()
