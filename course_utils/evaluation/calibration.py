"""Does a confidence mean what it says? Of all answers given with 80 %, four in five should be right.

Confidence here is one number from 0 to 1 for each answer, and an answer is right or wrong. Bins are closed on the
right, ``(0.1, 0.2]`` and so on, as in Guo et al. (arXiv 1706.04599, section 2); 0 falls into the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: how many answers, their mean confidence, and the share that is right."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class BrierParts:
    """The Brier score in parts: ``reliability - resolution + uncertainty + within``.

    reliability: how far the bins are from the diagonal (0 is best). resolution: how far their accuracies lie apart
    (large is good). uncertainty: of the questions, whatever the model says. within: what the bins blur; 0 if all
    confidences of a bin are equal.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float


def reliability(
    confidence: Sequence[float], correct: Sequence[bool], bins: int = 10, equal_mass: bool = False
) -> list[Bin]:
    """The bins that hold an answer, from the least confident on.

    confidence: from 0 to 1.  correct: one truth value for each.  bins: of equal width, or, with ``equal_mass``, of
    equally many answers (equal confidences are never parted, so there may be fewer bins).
    Raises ValueError for no answers, lists of different length, a confidence outside 0 to 1 (NaN too), or no bins.
    """
    p, right = _checked(confidence, correct)
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least one is needed.")
    edges = np.quantile(p, np.arange(1, bins) / bins, method="lower") if equal_mass else np.arange(1, bins) / bins
    place = np.searchsorted(edges, p, side="left")
    members = [place == i for i in np.unique(place)]
    return [Bin(int(m.sum()), float(p[m].mean()), float(right[m].mean())) for m in members]


def expected_calibration_error(
    confidence: Sequence[float], correct: Sequence[bool], bins: int = 10, equal_mass: bool = False
) -> float:
    """ECE: the mean distance of the bins from the diagonal, each weighted with its answers (Guo et al., equation 3).

    An estimate with a bias: a perfectly calibrated model gets more than 0, the more so the fewer answers a bin has
    (Nixon et al., arXiv 1904.01685; Roelofs et al., arXiv 2012.08668). Compare two models at equal bins and answers.
    Raises ValueError as ``reliability``.
    """
    found = reliability(confidence, correct, bins, equal_mass)
    total = sum(b.count for b in found)
    return sum(b.count / total * abs(b.accuracy - b.confidence) for b in found)


def brier(confidence: Sequence[float], correct: Sequence[bool]) -> float:
    """The mean squared distance of confidence and truth (Brier 1950, for one event): 0 is best, 0.25 says always 0.5.

    A proper score: no other confidence than the true probability is better on average. Raises ValueError as
    ``reliability``.
    """
    p, right = _checked(confidence, correct)
    return float(np.mean((p - right) ** 2))


def brier_parts(confidence: Sequence[float], correct: Sequence[bool], bins: int = 10) -> BrierParts:
    """The Brier score taken apart (Murphy 1973, "A new vector partition of the probability score").

    Raises ValueError as ``reliability``. If all answers are right, or all wrong, uncertainty and resolution are 0.
    """
    found = reliability(confidence, correct, bins)
    counts = np.array([b.count for b in found]) / len(confidence)
    said, rate = (np.array([getattr(b, name) for b in found]) for name in ("confidence", "accuracy"))
    mean = float(counts @ rate)
    rel, res, unc = float(counts @ (said - rate) ** 2), float(counts @ (rate - mean) ** 2), mean * (1 - mean)
    return BrierParts(rel, res, unc, brier(confidence, correct) - (rel - res + unc))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T that makes the labels likeliest under softmax(logits / T) (Guo et al., section 4.2).

    logits: (answers, classes).  labels: (answers,) int64.  Search over log T, between 1/100 and 100, by golden
    section: the loss has one valley, because it is convex in 1 / T. Dividing moves no argmax, so no answer changes.
    Raises ValueError for other shapes, no answers, or logits that are not finite.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)}; (n, classes) and (n,) needed."
        )
    if not bool(logits.isfinite().all()):
        raise ValueError("some logits are NaN or infinite; a temperature needs finite ones.")
    z, y = logits.double(), labels.long()

    def loss(log_t: float) -> float:
        return F.cross_entropy(z * float(np.exp(-log_t)), y).item()

    low, high, golden = -float(np.log(100)), float(np.log(100)), (5**0.5 - 1) / 2
    for _ in range(60):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2))


def fit_platt(confidence: Sequence[float], correct: Sequence[bool], l2: float = 1e-3) -> tuple[float, float]:
    """(slope, shift) of the logistic curve that turns the log odds of a confidence into that of being right.

    Platt (1999), on the log odds: two numbers where a temperature has one, fitted to right and wrong alone.
    ``l2`` holds the slope finite where the two do not overlap. Raises ValueError as ``reliability``, and if all are
    right or all are wrong: then no curve can be said.
    """
    p, right = _checked(confidence, correct)
    if right.min() == right.max():
        raise ValueError(f"all {len(right)} answers are {'right' if right[0] else 'wrong'}; a curve needs both kinds.")
    x, y = np.stack([_log_odds(p), np.ones_like(p)], axis=1), right
    w = np.zeros(2)
    for _ in range(50):
        q = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        hessian = x.T @ (x * (q * (1 - q) + 1e-9)[:, None]) + l2 * np.eye(2)
        w = w - np.linalg.solve(hessian, x.T @ (q - y) + l2 * w)
    return float(w[0]), float(w[1])


def apply_platt(confidence: Sequence[float], slope: float, shift: float) -> np.ndarray:
    """The confidences on the fitted curve, (answers,)."""
    x = slope * _log_odds(np.asarray(confidence, dtype=float)) + shift
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def top_confidence(logits: Tensor, temperature: float = 1.0) -> np.ndarray:
    """The probability of each row's likeliest class at this temperature, (rows,). Raises ValueError unless T > 0."""
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; a number above 0 is expected.")
    return torch.softmax(logits.double() / temperature, -1).max(-1).values.cpu().numpy()


def _log_odds(p: np.ndarray) -> np.ndarray:
    q = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(q / (1 - q))


def _checked(confidence: Sequence[float], correct: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    p, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    if p.ndim != 1 or p.shape != right.shape or not len(p):
        raise ValueError(
            f"{p.shape} confidences and {right.shape} truth values were given; two equal lists with an answer or more "
            "are expected. Of no answers a calibration cannot be said."
        )
    if not bool(((p >= 0) & (p <= 1)).all()):  # NaN too
        raise ValueError(
            f"a confidence of {p[~((p >= 0) & (p <= 1))][0]} was given; probabilities from 0 to 1 are needed."
        )
    if not bool(np.isin(right, (0, 1)).all()):
        raise ValueError("correct holds something else than True and False (or 1 and 0).")
    return p, right
