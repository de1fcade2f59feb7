"""Detectors on a simulated year: each gives one statistic per week, and all get their limits in the same way.

A detector is a function from a year to its path: (weeks,), minus infinity in the reference weeks. It alarms in the
first week in which the path is above its limit. The limit is the largest value that the path reached in quiet years,
so that detectors are compared at equal false alarms, and not at the limits that somebody once wrote down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from course_utils.serving import sequential
from course_utils.serving.traffic import Year

Array = NDArray[np.float64]
Detector = Callable[[Year], Array]
REFERENCE = 8  # weeks that are taken as normal


def windows(signal: str, statistic: Callable[[Array, Array], float], late: int = 0, moving: bool = False) -> Detector:
    """Compare each week's values of ``signal`` with those of the reference weeks.

    late: weeks after which the signal is known, as labels are. moving: compare with the eight weeks before instead.
    """

    def detector(year: Year) -> Array:
        column = year.column(signal)
        path = np.full(len(column), -np.inf)
        for week in range(REFERENCE, len(column) - late):
            before = column[week - REFERENCE : week] if moving else column[:REFERENCE]
            path[week + late] = statistic(before.reshape(-1, *column.shape[2:]), column[week])
        return path

    return detector


def mmd(kernel: Array) -> Detector:
    """Squared MMD between each week and the reference, from the kernel matrix (n, n) of the pool: as ``drift.mmd2``."""

    def detector(year: Year) -> Array:
        times = np.stack([np.bincount(week, minlength=len(kernel)) for week in year.rows]).astype(float)
        reference, weeks = times[:REFERENCE].sum(0), times[REFERENCE:]
        n, m = reference.sum(), weeks[0].sum()
        seen = kernel @ reference
        within = (reference @ seen - n) / (n * (n - 1))  # the diagonal of a kernel is 1
        own = ((weeks @ kernel * weeks).sum(1) - m) / (m * (m - 1))
        return np.concatenate([np.full(REFERENCE, -np.inf), within + own - 2 * weeks @ seen / (n * m)])

    return detector


def wrong_answers(late: int = 2, slack: float = 0.02, cusum: Callable = sequential.cusum) -> Detector:
    """CUSUM over single labels, 1 for a wrong answer, at the end of each week. The target is the reference's share.

    late: weeks after which the labels are there. slack: half of the rise in the share that should be found soonest.
    """

    def detector(year: Year) -> Array:
        wrong = 1.0 - year.column("correct")
        path = np.full(len(wrong), -np.inf)
        level = np.asarray(cusum(wrong[REFERENCE:].ravel().tolist(), float(wrong[:REFERENCE].mean()), slack))
        ends = level.reshape(len(wrong) - REFERENCE, -1).max(1)
        path[REFERENCE + late :] = ends[: len(ends) - late]
        return path

    return detector


def adaptive_window(late: int = 2, delta: float = 0.002) -> Detector:
    """How often ADWIN has cut its window of labels by the end of each week; it tries once a week."""

    def detector(year: Year) -> Array:
        correct = year.column("correct").astype(float)
        cuts = np.array(sequential.adwin(correct.ravel().tolist(), delta, clock=correct.shape[1]))
        path = np.full(len(correct), -np.inf)
        for week in range(REFERENCE, len(correct) - late):
            path[week + late] = (cuts < (week + 1) * correct.shape[1]).sum()
        return path

    return detector


def limit(detector: Detector, quiet: Sequence[Year]) -> float:
    """The largest value of the detector in quiet years: one more such year passes it with the probability
    1 / (years + 1), whatever the statistic."""
    return max(float(detector(year).max()) for year in quiet)


def alarm(path: Array, limit: float, start: int = 0) -> int | None:
    """The first week from ``start`` on in which the path is above the limit, or None."""
    above = np.flatnonzero(path[start:] > limit)
    return start + int(above[0]) if len(above) else None


def days_to_alarm(detector: Detector, limit: float, year: Year) -> float:
    """Days from the change to the end of the week that raises the alarm; infinity if none does before the year ends."""
    week = alarm(detector(year), limit, year.start)
    return float("inf") if week is None else 7.0 * (week - year.start + 1)
