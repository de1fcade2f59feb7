"""Watching a stream, value by value: sums that remember, a window that cuts itself, and tests that may be looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray


def cusum(values: Sequence[float], target: float, slack: float) -> list[float]:
    """Page's cumulative sum after each value: how much the values lately exceed ``target`` by more than ``slack``.

    S_t = max(0, S_{t-1} + x_t - target - slack), from S_0 = 0. Source: Page (1954), "Continuous inspection schemes",
    Biometrika 41. For a fall, give the negative values and the negative target.
    """
    path, level = [], 0.0
    for value in values:
        level = max(0.0, level + value - target - slack)
        path.append(level)
    return path


def first_above(path: Sequence[float], threshold: float) -> int | None:
    """The first place at which ``path`` is above ``threshold``, or None."""
    return next((place for place, level in enumerate(path) if level > threshold), None)


def adwin(values: Sequence[float], delta: float = 0.002, clock: int = 32, smallest: int = 5) -> list[int]:
    """The places at which a window over ``values`` (each from 0 to 1) was cut because its old part differs from its
    new.

    Every ``clock`` values each cut of the window into old and new, both at least ``smallest`` long, is tried: if the
    means differ by more than chance would at ``delta``, the old part is dropped, and the rest is tried again.
    Source: Bifet and Gavalda (2007), "Learning from time-changing data with adaptive windowing": the bound with the
    variance; both lengths are shortened by ``smallest`` - 1, as river does. The window is kept whole; river, as the
    authors, keeps sums in buckets of growing size and tries the cuts between them alone, so it is no earlier.
    """
    window: list[float] = []
    found = []
    for place, value in enumerate(values):
        window.append(float(value))
        if (place + 1) % clock:
            continue
        cut = _cut(np.array(window), delta, smallest)
        if cut:
            found.append(place)
        while cut:
            window = window[cut:]
            cut = _cut(np.array(window), delta, smallest)
    return found


def _cut(window: NDArray[np.float64], delta: float, smallest: int) -> int:
    """How many values to drop: up to the first cut, from the old end, whose parts differ; 0 if none does."""
    n = len(window)
    if n <= 2 * smallest:
        return 0
    n0 = np.arange(smallest, n - smallest + 1)
    n1 = n - n0
    sums = np.cumsum(window)
    gap = np.abs(sums[n0 - 1] / n0 - (sums[-1] - sums[n0 - 1]) / n1)
    m = 1 / (n0 - smallest + 1) + 1 / (n1 - smallest + 1)
    confidence = math.log(2 * math.log(n) / delta)
    apart = gap > np.sqrt(2 * m * window.var() * confidence) + 2 / 3 * confidence * m
    return int(n0[apart.argmax()]) if apart.any() else 0


def e_values(passes: Sequence[int], p0: float, a: float = 1.0, b: float = 1.0) -> list[float]:
    """The logarithm of the evidence after each trial against "a pass has the probability p0": a mixture likelihood
    ratio.

    The average of (p / p0)^s * ((1 - p) / (1 - p0))^f over p from Beta(a, b), after s passes and f failures:
    B(a + s, b + f) / (B(a, b) p0^s (1 - p0)^f). If p0 is true it is a martingale of mean 1, so the chance that it
    *ever* reaches 1 / alpha is at most alpha (Ville's inequality): one may look after every trial, and stop. Source:
    Robbins (1970), "Statistical methods related to the law of the iterated logarithm". Raises ValueError
    unless 0 < p0 < 1 and a, b > 0.
    """
    if not 0 < p0 < 1 or a <= 0 or b <= 0:
        raise ValueError(f"p0 is {p0}, a {a} and b {b}; p0 must lie between 0 and 1, a and b above 0.")
    trials = torch.as_tensor(np.asarray(passes), dtype=torch.float64)
    s = trials.cumsum(0)
    f = torch.arange(1, len(trials) + 1, dtype=torch.float64) - s

    def log_beta(x: torch.Tensor | float, y: torch.Tensor | float) -> torch.Tensor:
        x, y = torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(y, dtype=torch.float64)
        return torch.lgamma(x) + torch.lgamma(y) - torch.lgamma(x + y)

    return (log_beta(a + s, b + f) - log_beta(a, b) - s * math.log(p0) - f * math.log(1 - p0)).tolist()
