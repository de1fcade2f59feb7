"""Questions that come in groups: six about one person, ten about one passage. They are not independent, and a standard
error that takes them for so is too small. What is drawn from the world are the groups (Miller, arXiv 2411.00640)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from course_utils.evaluation.statistics import Interval


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """The standard error of the mean of independent values, s / sqrt(n). Raises ValueError for fewer than two."""
    data = np.asarray(values, dtype=float)
    if data.ndim != 1 or len(data) < 2:
        raise ValueError(f"values has the shape {data.shape}; a standard error needs two figures or more.")
    return float(data.std(ddof=1) / len(data) ** 0.5)


def cluster_standard_error(values: Sequence[float] | np.ndarray, clusters: Sequence[Hashable]) -> float:
    """The standard error of the mean if whole groups were drawn: the cluster-robust one (Liang and Zeger, Biometrika
    73, 1986; for a mean).

        sqrt( G / (G - 1) * sum over groups of (sum over the group of (x - mean))^2 ) / n

    values: one figure for each of the n questions. clusters: its group; G is their number. If each question is a group
    of its own, it is s / sqrt(n). Errors within a group that point the same way add up before they are squared. With
    few groups (below some 30) it is itself uncertain. Raises ValueError if the counts differ, a figure is not a number,
    or there are fewer than two groups: how much groups differ cannot be said from one.
    """
    data, groups = _grouped(values, clusters)
    sums = np.bincount(groups, weights=data - data.mean())
    return float((len(sums) / (len(sums) - 1) * (sums**2).sum()) ** 0.5 / len(data))


def design_effect(values: Sequence[float] | np.ndarray, clusters: Sequence[Hashable]) -> float:
    """How many times larger the variance of the mean is than for as many independent questions (Kish 1965): n questions
    in these groups are worth n / design effect. Raises ValueError if all values are equal: it cannot be said then."""
    alone = standard_error(values)
    if alone == 0:
        raise ValueError(
            "all values are equal, so they vary neither within groups nor between them; it cannot be said."
        )
    return (cluster_standard_error(values, clusters) / alone) ** 2


def cluster_bootstrap(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable],
    confidence: float = 0.95,
    resamples: int = 5_000,
    seed: int = 0,
) -> Interval:
    """The percentile interval of the mean with groups drawn anew, whole, instead of questions.

    The mean is over questions, so a large group that is drawn counts more. Raises ValueError as
    ``cluster_standard_error``, and for a confidence that is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a share between 0 and 1, such as 0.95.")
    data, groups = _grouped(values, clusters)
    sums, sizes = np.bincount(groups, weights=data), np.bincount(groups)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)  # how often each group came
    means = (drawn @ sums) / (drawn @ sizes)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(data.mean()), float(low), float(high), confidence)


def group_means(
    values: Sequence[float] | np.ndarray, groups: Sequence[Hashable], expected: Sequence[Hashable]
) -> dict[Hashable, float | None]:
    """The mean of each expected group, and None for one without a question: it cannot be said, and is not 0.

    Raises ValueError if the counts differ, or for a group that is not expected.
    """
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} values and {len(groups)} groups; every value needs its group.")
    strange = set(groups) - set(expected)
    if strange:
        raise ValueError(f"the groups {sorted(map(str, strange))} are not among the expected {list(expected)}.")
    found: dict[Hashable, float | None] = {}
    for group in expected:
        inside = [float(value) for value, own in zip(values, groups, strict=True) if own == group]
        found[group] = sum(inside) / len(inside) if inside else None
    return found


def _grouped(values: Sequence[float] | np.ndarray, clusters: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    data = np.asarray(values, dtype=float)
    if data.ndim != 1 or len(data) != len(clusters) or np.isnan(data).any():
        raise ValueError(
            f"values has the shape {data.shape}, with {int(np.isnan(data).sum())} that are no numbers, and there are "
            f"{len(clusters)} group names; one figure and one name for each question is expected."
        )
    numbers: dict[Hashable, int] = {}
    groups = np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=int)
    if len(numbers) < 2:
        raise ValueError(f"there are {len(numbers)} groups; how far groups differ can be said from two or more.")
    return data, groups
