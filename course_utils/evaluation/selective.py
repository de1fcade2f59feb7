"""Answer only if you are sure: what is won by leaving questions open, and what it costs.

Selective prediction (El-Yaniv and Wiener, JMLR 2010; Geifman and El-Yaniv, arXiv 1705.08500): answer where the
confidence reaches a threshold. Coverage is the share of questions answered, risk the share of wrong ones among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def risk_coverage(confidence: Sequence[float], correct: Sequence[bool]) -> tuple[list[float], list[float]]:
    """(coverages, risks), one point for each threshold that parts the answers, from the highest on.

    Equally confident answers cannot be parted by a threshold, so they come in together. The last point answers all.
    Raises ValueError for no answers, lists of different length, or a confidence that is NaN.
    """
    score, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    if score.ndim != 1 or score.shape != right.shape or not len(score):
        raise ValueError(
            f"{score.shape} confidences and {right.shape} truth values; two equal lists, not empty, needed."
        )
    if bool(np.isnan(score).any()):
        raise ValueError("a confidence is NaN; it can stand on neither side of a threshold.")
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # the last answer of each level of confidence
    answered = ends + 1
    wrong = np.cumsum(1 - right[order])[ends]
    return (answered / len(score)).tolist(), (wrong / answered).tolist()


def area_under(coverages: Sequence[float], risks: Sequence[float]) -> float:
    """AURC: the mean risk over all coverages, each level of confidence weighted with its answers; 0 is best."""
    return float(np.diff(np.asarray(coverages), prepend=0.0) @ np.asarray(risks))


def coverage_at(coverages: Sequence[float], risks: Sequence[float], risk: float) -> float:
    """The largest coverage whose risk is at most ``risk``; 0 if there is none."""
    return max((c for c, r in zip(coverages, risks, strict=True) if r <= risk), default=0.0)


def threshold_that_refuses(confidence: Sequence[float], share: float) -> float:
    """The highest threshold below which at most ``share`` of these confidences lie.

    Choose it on other questions than those that it is judged on. Raises ValueError for no confidences, or a share
    that is not from 0 to below 1.
    """
    score = np.sort(np.asarray(confidence, dtype=float))
    if score.ndim != 1 or not len(score):
        raise ValueError("no confidences were given; a threshold is chosen on at least one.")
    if not 0 <= share < 1:
        raise ValueError(f"share is {share}; give the share to be refused, from 0 to below 1, such as 0.1.")
    return float(score[int(share * len(score) + 1e-9)])
