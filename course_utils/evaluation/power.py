"""How many questions does a claim need? Power by formula, and by simulation."""

from __future__ import annotations

from math import ceil, log
from statistics import NormalDist

import numpy as np


def questions_for_two_samples(share: float, difference: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Questions for *each* of two models that answer different ones, so that a two-sided test of two shares finds
    ``difference`` with probability ``power`` (Fleiss, Statistical Methods for Rates and Proportions, chapter 3).

        n = (z_alpha sqrt(2 p (1 - p)) + z_power sqrt(p1 (1 - p1) + p2 (1 - p2)))^2 / difference^2

    share: p1, what the weaker has; p2 = p1 + difference, and p is their mean.
    Raises ValueError for shares that are not strictly between 0 and 1, or a difference of 0.
    """
    other = share + difference
    _check(share=share, better=other, power=power, alpha=alpha)
    if not difference:
        raise ValueError("the difference is 0; no number of questions shows that two equal models differ.")
    far, near = _z(1 - alpha / 2), _z(power)
    middle = (share + other) / 2
    spread = share * (1 - share) + other * (1 - other)
    return ceil((far * (2 * middle * (1 - middle)) ** 0.5 + near * spread**0.5) ** 2 / difference**2)


def questions_for_pairs(difference: float, discordant: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Questions that *both* models answer, so that McNemar's test finds ``difference`` (Connor, Biometrics 43, 1987).

        n = (z_alpha sqrt(D) + z_power sqrt(D - difference^2))^2 / difference^2

    discordant: D, the share of questions that exactly one of the two gets right; difference: between the two shares of
    right answers, and so at most D. Raises ValueError unless 0 < abs(difference) <= discordant <= 1.
    """
    _check(power=power, alpha=alpha)
    if not 0 < abs(difference) <= discordant <= 1:
        raise ValueError(
            f"a difference of {difference} with {discordant} of the questions discordant; the difference lies within "
            "the discordant ones, 0 < difference <= discordant <= 1."
        )
    root = _z(1 - alpha / 2) * discordant**0.5 + _z(power) * (discordant - difference**2) ** 0.5
    return ceil(root**2 / difference**2)


def simulated_power(
    questions: int, difference: float, discordant: float, alpha: float = 0.05, rounds: int = 2_000, seed: int = 0
) -> float:
    """How often McNemar's mid-p test finds the difference, in ``rounds`` tests of so many drawn questions.

    With ``difference`` 0 it is how often the test cries wolf. Errors as ``questions_for_pairs``.
    """
    if not 0 <= abs(difference) <= discordant <= 1 or questions < 1:
        raise ValueError(f"{questions} questions, difference {difference}, discordant {discordant}: no such test.")
    only = (discordant + difference) / 2, (discordant - difference) / 2
    counts = np.random.default_rng(seed).multinomial(questions, [*only, 1 - discordant], size=rounds)[:, :2]
    fewer, telling = counts.min(1), counts.sum(1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, questions + 1)))])
    found = 0
    for n in np.unique(telling):  # all rounds with as many telling questions at once
        k = np.arange(n // 2 + 1)
        here = np.exp(log_factorial[n] - log_factorial[k] - log_factorial[n - k] - n * log(2))
        mid_p = 2 * (here.cumsum() - here) + here
        found += int((mid_p[fewer[telling == n]] < alpha).sum())
    return found / rounds


def _z(share: float) -> float:
    return NormalDist().inv_cdf(share)


def _check(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(f"{name} is {share}; a share strictly between 0 and 1 is expected.")
