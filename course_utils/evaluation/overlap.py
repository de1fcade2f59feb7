"""Overlap with a reference text: BLEU for translations, ROUGE for summaries. Both count shared runs of words (n-grams).

They reward the reference's own words. A true answer in other words scores low, and a false one in nearly the same words
scores high: compare with exact match and with a judge before you trust them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log

Tokenize = Callable[[str], list[str]]


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of ``n`` tokens occurs."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: Tokenize = str.split) -> float:
    """BLEU of a whole set of texts with one reference each, from 0 to 100 (Papineni et al., ACL 2002, section 2.3).

    BP * exp(mean of log p_n for n = 1..4): p_n is the share of the hypotheses' n-grams that stand in their reference,
    each counted at most as often as there; BP = exp(1 - r / c) if all hypotheses together (c tokens) are shorter than
    the references (r), else 1. Where no n-gram of a length is shared, its count is halved again and again (sacrebleu's
    smoothing ``exp``), else one zero would make everything zero. Equal to sacrebleu for equal tokens.

    Raises ValueError for texts that do not pair up, or none.
    """
    _check_pairs(hypotheses, references)
    shared, total, said, wanted = [0] * 4, [0] * 4, 0, 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        ours, theirs = tokenize(hypothesis), tokenize(reference)
        said, wanted = said + len(ours), wanted + len(theirs)
        for n in range(1, 5):
            counts = ngrams(ours, n)
            shared[n - 1] += (counts & ngrams(theirs, n)).total()
            total[n - 1] += counts.total()
    if not any(shared) or not all(total):
        return 0.0
    logs, half = 0.0, 1.0
    for matches, count in zip(shared, total, strict=True):
        if matches == 0:
            half /= 2
        logs += log((matches or half) / count) / 4
    return 100 * min(1.0, exp(1 - wanted / said)) * exp(logs)


@dataclass(frozen=True)
class Rouge:
    """Precision (share of the hypothesis that is shared), recall (share of the reference), and their harmonic mean."""

    precision: float
    recall: float
    f1: float


def rouge_n(hypothesis: str, reference: str, n: int = 1) -> Rouge:
    """ROUGE-N: shared n-grams of two texts, from 0 to 1 (Lin, ACL workshop 2004, section 2). Capitals and signs do not
    count, as in the library rouge-score."""
    ours, theirs = ngrams(words(hypothesis), n), ngrams(words(reference), n)
    return _rouge((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(hypothesis: str, reference: str) -> Rouge:
    """ROUGE-L: the longest sequence of words that both have in the same order, gaps allowed (Lin 2004, section 3)."""
    ours, theirs = words(hypothesis), words(reference)
    return _rouge(longest_common_subsequence(ours, theirs), len(ours), len(theirs))


def longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Its length, by the table in which each place looks at its left, upper and upper left neighbour."""
    row = [0] * (len(b) + 1)
    for x in a:
        corner = 0
        for j, y in enumerate(b, start=1):
            above = row[j]
            row[j] = corner + 1 if x == y else max(above, row[j - 1])
            corner = above
    return row[-1]


def words(text: str) -> list[str]:
    """Lower case, letters and digits only: the tokens of ROUGE."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).split()


def _rouge(shared: int, said: int, wanted: int) -> Rouge:
    precision, recall = shared / max(said, 1), shared / max(wanted, 1)
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall) if shared else 0.0)


def _check_pairs(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise ValueError("lists of texts are expected; put a single text into a list: bleu([text], [reference]).")
    if len(hypotheses) != len(references) or not hypotheses:
        raise ValueError(
            f"{len(hypotheses)} hypotheses and {len(references)} references; one reference for each is expected."
        )
