"""A judge that answers in words: is that right? How much likelier it is to say "Yes." than "No." is the score.

Any model that chats can be asked so (Zheng et al., arXiv 2306.05685), and tuned by comparisons that are written out as
such questions, with the verdict as what is to be said (generative verifiers, Zhang et al., arXiv 2408.15240). No head
is added: the judge stays a language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from course_utils.models.scoring import last_logits
from course_utils.text.batching import IGNORE
from course_utils.text.chat import Message, encode_chat, encode_prompts
from course_utils.text.special_tokens import padding_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VERDICTS = ("Yes.", "No.")


def judge_prompt(prompt: str, answer: str) -> list[Message]:
    """What the judge is asked about one answer, as messages."""
    return [{"role": "user", "content": f"{prompt} Is that right? {answer}"}]


def judge_rows(pairs: Sequence[Mapping[str, Any]]) -> list[list[Message]]:
    """Comparisons as conversations to be tuned on, two for each pair: "Yes." to the chosen answer, then "No." to the
    rejected one. ``pairs``: rows with ``prompt``, ``chosen`` and ``rejected``."""
    return [
        [*judge_prompt(pair["prompt"], pair[side]), {"role": "assistant", "content": verdict}]
        for pair in pairs
        for side, verdict in zip(("chosen", "rejected"), VERDICTS, strict=True)
    ]


def only_verdict(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    """Labels for ``ChatBatches(labels=)``: the first token of each answer, -100 elsewhere.

    What follows "Yes" and "No" is fixed, so it would only make the mean loss small. input_ids: (batch, length).
    prompt_lengths, lengths: (batch,), the tokens before the answer, and those of the row without its padding.
    """
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    return input_ids.masked_fill(places != prompt_lengths[:, None], IGNORE)


def verdict_scores(
    model: nn.Module, texts: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerFast, batch_size: int = 128
) -> Tensor:
    """log p("Yes") - log p("No") of each (prompt, answer), in nats, (count,) float32 on the CPU.

    The probabilities are those of the verdicts' first tokens, right where the judge begins to speak. Raises ValueError
    for a tokenizer with which both begin alike.
    """
    yes, no = (_first_token(verdict, tokenizer) for verdict in VERDICTS)
    if yes == no:
        raise ValueError(f"with this tokenizer {' and '.join(VERDICTS)} begin with the same token, {yes}.")
    asked = encode_prompts([judge_prompt(*text) for text in texts], tokenizer)
    logits = last_logits(model, asked, padding_id(tokenizer), batch_size) if asked else torch.zeros(0, max(yes, no) + 1)
    return logits[:, yes] - logits[:, no]


def _first_token(verdict: str, tokenizer: PreTrainedTokenizerFast) -> int:
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": verdict}]
    ids, spoken = encode_chat(chat, tokenizer)
    return ids[spoken.index(1)]
