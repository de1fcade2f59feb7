"""How sure is a measured figure? Wilson's interval for a share, Student's t for training runs, and bootstrap intervals
(Efron 1979) for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A figure, and the interval that holds ``confidence`` of its bootstrap distribution."""

    value: float
    low: float
    high: float
    confidence: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.confidence:.0%}: {self.low:.3f} to {self.high:.3f})"

    def as_bar(self) -> tuple[float, float, float]:
        """(value, low, high), as ``plot_bars`` takes it."""
        return self.value, self.low, self.high


def bootstrap(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[..., np.ndarray] = np.mean,
    confidence: float = 0.95,
    resamples: int = 5_000,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a statistic of one figure per question (Efron and Tibshirani 1993, chapter 13).

    ``statistic`` takes an array and ``axis``, such as ``np.mean`` or ``np.median``. The questions are what is drawn
    anew, so the interval says how much the figure would move with other questions of the same kind, and nothing about
    another training run.
    Raises ValueError for fewer than two values, or a confidence that is not between 0 and 1.
    """
    data = np.asarray(values, dtype=float)
    if data.ndim != 1 or len(data) < 2:
        raise ValueError(f"values has the shape {data.shape}; one figure per question is expected, and at least two.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; give a share between 0 and 1, such as 0.95.")
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [
            statistic(data[rng.integers(0, len(data), (part, len(data)))], axis=1)
            for part in _parts(resamples, len(data))
        ]
    )
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(data, axis=0)), float(low), float(high), confidence)


def paired_bootstrap(
    values: Sequence[float], others: Sequence[float], confidence: float = 0.95, resamples: int = 5_000, seed: int = 0
) -> Interval:
    """The mean difference ``values - others`` of two models on the *same* questions.

    Both answer each drawn question, so what makes a question hard for both cancels out: where the scores rise and fall
    together, the interval is narrower than that of two separate samples. If it lies above 0, the first is better on
    questions of this kind, at this confidence and for this one comparison; it says nothing about another training run.
    """
    if len(values) != len(others):
        raise ValueError(
            f"{len(values)} values and {len(others)} others; both models must have answered the same questions."
        )
    return bootstrap(np.subtract(values, others), np.mean, confidence, resamples, seed)


def wilson(right: Sequence[bool], z: float = 1.96) -> tuple[float, float, float]:
    """(share, low, high): the share of right answers and its interval, as ``plot_bars`` takes them.

    right: one truth value for each question. z: standard errors to each side; 1.96 gives a confidence of 95 %.
    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22. Unlike
    share +- z standard errors it stays between 0 and 1, and has a width even if all answers are right.
    Raises ValueError if there are no questions.
    """
    if not len(right):
        raise ValueError("wilson() was given no answers; an interval needs at least one.")
    n, share = len(right), float(sum(right)) / len(right)
    middle, half = share + z**2 / (2 * n), z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    return share, max(0.0, low), min(1.0, high)  # rounding may leave them a hair outside


STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # two-sided, for 2 to 10 values


def across_runs(values: Sequence[float]) -> Interval:
    """The mean of one figure per training run, and its 95 % interval by Student's t (1908).

    For two methods give the differences of runs that share what can be shared: data, seeds, questions. The runs are
    what is uncertain here, so a model that was trained once has no such interval, however many questions it answered.
    The differences are taken as normal, which so few cannot show. Raises ValueError for fewer than 2 or more than 10
    runs (for more, ``bootstrap``).
    """
    data = np.asarray(values, dtype=float)
    if data.ndim != 1 or not 2 <= len(data) <= len(STUDENT_95) + 1:
        raise ValueError(f"values has the shape {data.shape}; one figure for each of 2 to 10 training runs expected.")
    mean = float(data.mean())
    half = STUDENT_95[len(data) - 2] * float(data.std(ddof=1)) / len(data) ** 0.5
    return Interval(mean, mean - half, mean + half)


def _parts(resamples: int, size: int) -> list[int]:
    """Resamples in pieces of about a million numbers, so that memory stays small."""
    piece = max(1, 1_000_000 // size)
    return [min(piece, resamples - start) for start in range(0, resamples, piece)]
