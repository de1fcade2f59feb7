"""How far do several answers to one question lie apart in *meaning*?

Draw some answers, put those of one meaning together, and take the entropy over the meanings (Kuhn, Gal and Farquhar,
arXiv 2302.09664; Farquhar et al., Nature 630, 2024). "In Mistley." and "She lives in Mistley." are two texts and one
meaning: the entropy over texts counts how differently a model can say it, the one over meanings what it is unsure of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np


def semantic_entropy(meanings: Sequence[Hashable], logprobs: Sequence[float] | None = None) -> float:
    """The entropy over the meanings of several answers to one question, in nats.

    meanings: one label for each answer, equal where the answers mean the same.  logprobs: None, and each answer counts
    alike (they were drawn, so likely ones come more often: the discrete estimate of Farquhar et al.); or the
    log-probability of each answer, where every text stands once, and the probabilities of a meaning add up.
    0 if all mean the same; at most the logarithm of the number of answers.
    Raises ValueError for no answers, or as many logprobs as there are not answers.
    """
    if not len(meanings):
        raise ValueError("no answers were given; the entropy of nothing cannot be said.")
    weights = np.zeros(len(meanings)) if logprobs is None else np.asarray(logprobs, dtype=float)
    if weights.shape != (len(meanings),) or bool(np.isnan(weights).any()):
        raise ValueError(f"{weights.shape} logprobs for {len(meanings)} answers; one finite number each is expected.")
    shares = np.exp(weights - weights.max())
    total: dict[Hashable, float] = {}
    for meaning, share in zip(meanings, (shares / shares.sum()).tolist(), strict=True):
        total[meaning] = total.get(meaning, 0.0) + share
    return -math.fsum(p * math.log(p) for p in total.values() if p > 0)


def by_meaning(texts: Sequence[str], follows: Callable[[str, str], bool]) -> list[int]:
    """The number of each text's meaning, from 0 on in their order.

    ``follows(a, b)``: does b follow from a? Two texts mean the same if each follows from the other; each text is
    compared with the first of every meaning so far, as by Kuhn et al. (algorithm 1).
    """
    firsts: list[str] = []
    numbers = []
    for text in texts:
        same = (i for i, first in enumerate(firsts) if follows(first, text) and follows(text, first))
        number = next(same, len(firsts))
        if number == len(firsts):
            firsts.append(text)
        numbers.append(number)
    return numbers
