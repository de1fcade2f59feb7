"""A score that should be high for what is harmful: ROC, the area below it, and the threshold that costs least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def _checked(scores: Sequence[float], harmful: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    s, y = np.asarray(scores, dtype=float), np.asarray(harmful, dtype=bool)
    if s.ndim != 1 or s.shape != y.shape or not len(s) or bool(np.isnan(s).any()):
        raise ValueError(f"{s.shape} scores and {y.shape} labels; two equal lists without NaN, not empty, are needed.")
    return s, y


def roc(scores: Sequence[float], harmful: Sequence[bool]) -> tuple[list[float], list[float]] | None:
    """(false alarm rates, hit rates) at every threshold, from blocking nothing to all; equal scores go together.

    None, "cannot be said", if all texts are of one class.
    """
    s, y = _checked(scores, harmful)
    if y.all() or not y.any():
        return None
    order = np.argsort(-s, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(s[order]) != 0, True))
    hits, blocked = np.cumsum(y[order])[ends], ends + 1
    return [0.0, *((blocked - hits) / (~y).sum()).tolist()], [0.0, *(hits / y.sum()).tolist()]


def auc(scores: Sequence[float], harmful: Sequence[bool]) -> float | None:
    """P(a harmful text scores above a harmless one), ties counting half (Hanley, McNeil 1982); None for one class."""
    s, y = _checked(scores, harmful)
    if y.all() or not y.any():
        return None
    above = s[y][:, None] - s[~y][None]
    return float((np.sign(above) / 2 + 0.5).mean())


def cheapest_threshold(
    scores: Sequence[float], harmful: Sequence[bool], miss: float, false_alarm: float, share: float | None = None
) -> tuple[float, float]:
    """(threshold, expected cost of one text): what scores at or above the threshold is blocked.

    miss, false_alarm: the costs of letting harm through and of blocking the harmless. ``share``: how much of the
    traffic is harmful; None: as much as here. The candidates are the scores and infinity, which blocks nothing; of
    equal costs the highest threshold. Raises ValueError if all texts are of one class.
    """
    s, y = _checked(scores, harmful)
    if y.all() or not y.any():
        raise ValueError("all texts are of one class; what a threshold costs on the other cannot be said.")
    share = float(y.mean()) if share is None else share
    best = (float("inf"), share * miss)
    for threshold in sorted(set(s.tolist()), reverse=True):
        cost = share * miss * float((s[y] < threshold).mean())
        cost += (1 - share) * false_alarm * float((s[~y] >= threshold).mean())
        if cost < best[1] - 1e-12:
            best = (threshold, cost)
    return best
