"""Do two raters agree, and by more than chance? Cohen's kappa, for people, models and oracles alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np


def observed_agreement(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """The share of things to which two raters gave the same label. Raises ValueError as ``cohen_kappa`` does."""
    ours, theirs = _paired(first, second)
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Agreement beyond chance, (p_o - p_e) / (1 - p_e) (Cohen, Educational and Psychological Measurement 20, 1960).

    p_o is the observed agreement, p_e what two raters would reach who draw their labels at random, each with the shares
    that he gave. 1: always the same; 0: as chance would have it; below 0: less than that. Labels have no order: every
    difference weighs the same.

    If p_e = 1, both gave one and the same label to everything, and kappa is 0 / 0. They agree, so 1.0 is returned; but
    such ratings tell nothing about the raters.

    Raises ValueError if the ratings do not pair up, or if there are none.
    """
    ours, theirs = _paired(first, second)
    count = len(ours)
    counts, others = Counter(ours), Counter(theirs)
    # Whole numbers until the end: the division is then 0 / 0 exactly when p_e is 1.
    expected = sum(counts[label] * others[label] for label in counts)  # count**2 * p_e
    agreed = sum(a == b for a, b in zip(ours, theirs, strict=True))  # count * p_o
    if expected == count**2:
        return 1.0
    return (count * agreed - expected) / (count**2 - expected)


def kappa_matrix(ratings: Mapping[str, Sequence[Hashable]]) -> tuple[list[str], np.ndarray]:
    """The raters' names, and kappa of each pair of them: (raters, raters), symmetric, ones on the diagonal.

    ``ratings``: each rater's labels of the same things in the same order.
    Raises ValueError for fewer than two raters, or if one has rated more things than another.
    """
    names = list(ratings)
    if len(names) < 2:
        raise ValueError(f"there are ratings of {len(names)} raters; agreement needs at least two.")
    counts = {name: len(labels) for name, labels in ratings.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the raters labelled {counts} things; all must have labelled the same ones.")
    matrix = np.ones((len(names), len(names)))
    for i, name in enumerate(names):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = cohen_kappa(ratings[name], ratings[names[j]])
    return names, matrix


def _paired(first: Sequence[Hashable], second: Sequence[Hashable]) -> tuple[list[Hashable], list[Hashable]]:
    """Both as lists: the entries of a tensor are tensors, of which no two are the same label."""
    if len(first) != len(second) or not len(first):
        raise ValueError(
            f"the first rater gave {len(first)} labels and the second {len(second)}; both must have labelled the same "
            "things, and at least one."
        )
    ours, theirs = (labels.tolist() if hasattr(labels, "tolist") else list(labels) for labels in (first, second))
    return ours, theirs
