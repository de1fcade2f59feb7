"""Feedback as it comes: from few, more often from the unhappy, sometimes by mistake, and labels that arrive late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def give_thumbs(
    correct: ArrayLike, seed: int, when_right: float = 0.03, when_wrong: float = 0.15, slip: float = 0.05
) -> list[int | None]:
    """What simulated users click: 1 (up), 0 (down) or None (nothing) for each answer.

    correct: (n,) truth values. when_right, when_wrong: the probability of a click after a right and a wrong answer.
    slip: the probability that a click goes to the wrong thumb.
    """
    right = np.asarray(correct, dtype=bool)
    rng = np.random.default_rng(seed)
    clicked = rng.random(len(right)) < np.where(right, when_right, when_wrong)
    thumb = right ^ (rng.random(len(right)) < slip)
    return [int(up) if there else None for there, up in zip(clicked, thumb, strict=True)]


def click_rates(thumbs: Sequence[int | None], correct: Sequence[bool | int]) -> dict[int, float]:
    """Propensities from requests whose truth is known: thumbs up per right answer (1), thumbs down per wrong one (0).

    Raises ValueError if a kind of thumb never occurs: a weight would be infinite.
    """
    rates = {}
    for value in (0, 1):
        meant = sum(int(right) == value for right in correct)
        seen = sum(thumb == value for thumb in thumbs)
        if not seen or not meant:
            raise ValueError(f"{seen} thumbs {'up' if value else 'down'} among {meant} such answers; take more weeks.")
        rates[value] = seen / meant
    return rates


def ips_share(thumbs: Sequence[int | None], propensity: Mapping[int, float]) -> float:
    """The share of right answers, estimated from thumbs: each weighs 1 / its propensity, and weights are normalized.

    thumbs: 1, 0 or None (no click) for each request. propensity: the probability that a right answer gets a thumb up
    (1), and a wrong one a thumb down (0). Source: Horvitz and Thompson (1952); normalized by Hajek (1971). Raises
    ValueError if there are no thumbs at all.
    """
    weights = [(thumb, 1 / propensity[thumb]) for thumb in thumbs if thumb is not None]
    if not weights:
        raise ValueError(f"none of the {len(thumbs)} requests has a thumb; an estimate needs at least one.")
    return sum(weight for thumb, weight in weights if thumb) / sum(weight for _, weight in weights)


def label_days(
    days: ArrayLike, correct: ArrayLike, seed: int, when_right: float = 28.0, when_wrong: float = 7.0
) -> NDArray[np.float64]:
    """The day on which each request's label arrives: its own day and an exponential delay, shorter for complaints.

    days: (n,) day of each request. when_right, when_wrong: mean delay in days.
    """
    right = np.asarray(correct, dtype=bool)
    rng = np.random.default_rng(seed)
    return np.asarray(days, dtype=float) + rng.exponential(1.0, len(right)) * np.where(right, when_right, when_wrong)


def arrived_share(delays: ArrayLike, ages: ArrayLike) -> NDArray[np.float64]:
    """For each age (n,) the share of finished ``delays`` (m,) that are at most so long: P(a label has arrived by then).

    Measured on old requests, whose labels are all there.
    """
    ordered = np.sort(np.asarray(delays, dtype=float))
    return np.searchsorted(ordered, np.asarray(ages, dtype=float), side="right") / max(len(ordered), 1)
