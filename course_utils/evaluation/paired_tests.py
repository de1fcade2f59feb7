"""Two models on the same questions, right or wrong: McNemar's test, and what many tests at once ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np


@dataclass(frozen=True)
class McNemar:
    """The questions that only one of the two models got right, and two p-values of "they are equally good"."""

    only_first: int
    only_second: int
    exact: float
    mid_p: float


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """McNemar's test (Psychometrika 12, 1947) from the binomial distribution, two-sided.

    first, second: for each question, whether the model got it right. Questions that both got right, or both wrong, say
    nothing about which is better. Of the n others, equally good models share like n throws of a coin: ``exact`` is
    twice the probability of a split as uneven as this one, or more, to the side that it leans to; ``mid_p`` counts half
    of the split itself (Lancaster, JASA 56, 1961), which takes back most of the exact test's caution. Both are at most
    1, and 1 without a question that tells. Raises ValueError unless both have an answer to each question, true or
    false, and at least one.
    """
    ours, theirs = (_truths(values, name) for values, name in ((first, "first"), (second, "second")))
    if len(ours) != len(theirs):
        raise ValueError(
            f"{len(ours)} answers of the first and {len(theirs)} of the second; give both the same questions."
        )
    return split_test(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))


def split_test(only_first: int, only_second: int) -> McNemar:
    """``mcnemar`` from the two counts. Raises ValueError for a count below 0."""
    if only_first < 0 or only_second < 0:
        raise ValueError(f"{only_first} and {only_second} questions; counts of 0 or more are expected.")
    n, fewer = only_first + only_second, min(only_first, only_second)
    below, here = sum(comb(n, k) for k in range(fewer)), comb(n, fewer)  # whole numbers: exact for any n
    exact, mid = ((2 * below + 2 * here) / 2**n, (2 * below + here) / 2**n)
    return McNemar(only_first, only_second, min(1.0, exact), min(1.0, mid))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979), in the order given.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none falls below one that was smaller. If all
    those below alpha are called differences, the chance of any false call at all is at most alpha.
    Raises ValueError for no p-values, or one outside 0 to 1.
    """
    names, values = _p_values(p_values)
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return _named(names, order, raised)


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """The same for the *share* of false calls (Benjamini and Hochberg, JRSS B 57, 1995): of those below alpha at most
    the share alpha is false, on average over independent tests. Errors as ``holm``."""
    names, values = _p_values(p_values)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    return _named(names, order, np.minimum.accumulate(scaled[::-1])[::-1])


def _named(names: list[str], order: np.ndarray, values: np.ndarray) -> dict[str, float]:
    found = dict(zip((names[i] for i in order), np.minimum(values, 1.0).tolist(), strict=True))
    return {name: found[name] for name in names}


def _p_values(p_values: Mapping[str, float]) -> tuple[list[str], np.ndarray]:
    values = np.array(list(p_values.values()), dtype=float)
    if not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"the p-values are {values.tolist()}; at least one is expected, and each between 0 and 1.")
    return list(p_values), values


def _truths(values: Sequence[bool], name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array) or not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"{name} has the shape {array.shape}; for each question True or False is expected, at least one."
        )
    return array.astype(bool)
