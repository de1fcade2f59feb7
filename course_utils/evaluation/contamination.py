"""Did the model see the test? Two ways to find out: look for the test in the training texts, or ask the model.

The first needs the training texts, and misses a test that was put into other words. The second needs only the model's
probabilities, and is a guess: a text can be likely because it was seen, or because it is easy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from course_utils.evaluation.overlap import ngrams, words
from course_utils.models.scoring import batched, token_losses
from course_utils.text.special_tokens import opening_id, padding_id
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def ngram_overlap(test_texts: Sequence[str], training_texts: Iterable[str], n: int = 8) -> list[float]:
    """For each test text the share of its runs of ``n`` words that stand in some training text: 1.0 for a copy.

    Capitals and signs do not count. GPT-3 (arXiv 2005.14165, appendix C) calls an example dirty if it shares one run of
    13 words with the training text, or of as few as 8 where the test's examples are short. Texts from templates share
    short runs without being copies: choose ``n`` larger than the templates.
    Raises ValueError for n below 1, or for a test text of fewer than ``n`` words, which has no such run.
    """
    _check_list(test_texts, "test_texts")
    _check_list(training_texts, "training_texts")
    if n < 1:
        raise ValueError(f"n is {n}; give the length of the runs in words, 1 or more.")
    runs = [ngrams(words(text), n) for text in test_texts]
    for i, found in enumerate(runs):
        if not found:
            raise ValueError(
                f"test text {i} has {len(words(test_texts[i]))} words, fewer than n = {n}; leave it out or take a "
                "smaller n."
            )
    wanted = set().union(*runs)  # the test is the smaller side: what stands in it only has to be remembered
    seen = {run for text in training_texts for run in ngrams(words(text), n) if run in wanted}
    return [sum(count for run, count in found.items() if run in seen) / found.total() for found in runs]


def min_k_prob(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], k: float = 0.2, batch_size: int = 64
) -> list[float]:
    """Min-K% Prob: for each text the mean log-probability, in nats, of its least likely tokens (Shi et al.,
    arXiv 2310.16789). Higher: more likely seen.

    ``k`` is the share of tokens taken, rounded down, but at least one. A text that was never seen has a few tokens that
    surprise the model; the mean over all tokens (k = 1) would drown them in easy ones.
    Raises ValueError if there are no texts, if one is empty, or for a k that is not above 0 and at most 1.
    """
    if not 0 < k <= 1:
        raise ValueError(f"k is {k}; give a share of the tokens above 0 and at most 1, such as 0.2 for 20 %.")
    results = []
    for logprobs in token_logprobs(model, tokenizer, texts, batch_size):
        taken = max(1, int(k * len(logprobs) + 1e-9))  # 0.29 * 100 is a little less than 29
        results.append(float(logprobs.sort().values[:taken].mean()))
    return results


def token_logprobs(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], batch_size: int = 64
) -> list[Tensor]:
    """The log-probability, in nats, of each token of each text after a begin token: (tokens,) float32 on the CPU.

    The end token is not among them. Raises ValueError if there are no texts, or if one is empty.
    """
    _check_list(texts, "texts")
    if not texts or not all(texts):
        raise ValueError(
            f"{sum(not text for text in texts)} of {len(texts)} texts are empty; at least one text is expected, and "
            "none without a token."
        )
    first = opening_id(tokenizer)
    encoded = [[first, *ids] for ids in encode_plain(list(texts), tokenizer)]
    results: list[Tensor] = [torch.empty(0)] * len(texts)
    for rows, _, losses in batched(model, encoded, padding_id(tokenizer), batch_size, token_losses):
        for i, row in zip(rows, -losses.cpu(), strict=True):
            results[i] = row[: len(encoded[i]) - 1].clone()
    return results


def auc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """The probability that a positive lies above a negative, ties counting half: the area under the ROC curve.

    0.5 is guessing, 1.0 a threshold that separates all (Hanley and McNeil, Radiology 143, 1982).
    Raises ValueError if one side is empty or holds what is not a number.
    """
    above, below = np.asarray(positives, dtype=float), np.sort(np.asarray(negatives, dtype=float))
    for name, values in (("positives", above), ("negatives", below)):
        if values.ndim != 1 or not len(values) or np.isnan(values).any():
            raise ValueError(
                f"{name} has the shape {values.shape} and {int(np.isnan(values).sum())} entries that are not numbers; "
                "a list of scores is expected, at least one on each side."
            )
    left, right = np.searchsorted(below, above, "left"), np.searchsorted(below, above, "right")
    return float((left + right).sum() / (2 * len(above) * len(below)))


def _check_list(texts: Iterable[str], name: str) -> None:
    if isinstance(texts, str):
        raise ValueError(f"{name} is a single text; a list is expected: [text].")
