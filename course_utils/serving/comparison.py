"""The same model in several engines, compared on the same prompts: size, error of the format, answers, speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from course_utils.models.generate import generate
from course_utils.text.chat import generation_ids
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.models.decoder import Decoder


@dataclass(frozen=True)
class Row:
    """bytes on disk; off: the largest difference of a log-probability; same: share of equal greedy answers; speed:
    tokens/s."""

    bytes: int
    off: float
    same: float
    speed: float


class Ours:
    """The course's ``generate`` behind the interface of ``other_engines``."""

    def __init__(self, model: Decoder, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model, self.tokenizer = model, tokenizer

    @torch.no_grad()
    def logprobs(self, prompt: Sequence[int], vocab_size: int) -> torch.Tensor:
        """Log-probabilities (vocab,) of what follows the prompt."""
        device = self.model.lm_head.weight.device
        logits = self.model(torch.tensor([list(prompt)], device=device), logits_to_keep=1).logits[0, -1]
        return logits[:vocab_size].log_softmax(-1).cpu()

    def answers(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[str]:
        """Greedy answers, all prompts in one batch."""
        ids = generation_ids(self.tokenizer, self.model)
        return generate(self.model, prompts, new_tokens, **ids).texts(self.tokenizer)


def compare(
    engine: Any,
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerFast,
    file: Path,
    new_tokens: int = 24,
    turns: int = 3,
) -> Row:
    """One engine against the model that it was exported from.

    Next-token log-probabilities are compared after the first eight prompts and after their first token alone, greedy
    answers after all. Speed: tokens of the answers, end tokens included, over the median seconds of ``turns`` calls
    with all prompts, after one that is not timed.
    """
    ours = Ours(model, tokenizer)
    pieces = [*prompts[:8], *(prompt[:1] for prompt in prompts[:1])]
    size = model.config.vocab_size
    off = max((engine.logprobs(piece, size) - ours.logprobs(piece, size)).abs().max().item() for piece in pieces)
    expected, found = ours.answers(prompts, new_tokens), engine.answers(prompts, new_tokens)
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        engine.answers(prompts, new_tokens)
        seconds.append(time.perf_counter() - start)
    same = sum(one.strip() == other.strip() for one, other in zip(found, expected, strict=True)) / len(prompts)
    tokens = sum(len(ids) + 1 for ids in encode_plain([text.strip() for text in found], tokenizer))
    stored = [file] if file.is_file() else [path for path in file.rglob("*") if path.is_file()]
    return Row(sum(path.stat().st_size for path in stored), off, same, tokens / statistics.median(seconds))
