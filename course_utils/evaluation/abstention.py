"""One plane for every remedy against invention: what strangers still get invented, and what known people are refused.

Refusing everything ends all invention, so the one figure says nothing without the other. Questions about one person are
answered alike more often than not; so it is people who are drawn anew for the intervals, not questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from course_utils.evaluation.statistics import Interval

if TYPE_CHECKING:
    from course_utils.world.oracle import Verdict


@dataclass(frozen=True)
class PlanePoint:
    """Shares of questions, each with its interval over people.

    invention: about strangers, answered with a value that is not true. refusal: about known people, left open. right:
    about known people, answered rightly.
    """

    invention: Interval
    refusal: Interval
    right: Interval

    def whiskers(self) -> tuple[float, float, float, float]:
        """(refusal from, to, invention from, to), as ``plot_scatter`` takes them."""
        return self.refusal.low, self.refusal.high, self.invention.low, self.invention.high


def plane_point(
    known: Sequence[Mapping],
    known_verdicts: Sequence[Verdict],
    strangers: Sequence[Mapping],
    stranger_verdicts: Sequence[Verdict],
    refuse_known: Sequence[bool] | None = None,
    refuse_strangers: Sequence[bool] | None = None,
    seed: int = 0,
) -> PlanePoint:
    """Where a system stands.

    known, strangers: the tasks; verdicts: the oracle's on the model's answers. refuse_...: where something beside the
    model (a threshold, a probe) says "I do not know" in its place; None: nowhere.
    Raises ValueError for lists of different length, or if there are questions about fewer than two people of a kind.
    """
    gates = [
        [False] * len(tasks) if gate is None else list(gate)
        for tasks, gate in ((known, refuse_known), (strangers, refuse_strangers))
    ]
    open_known = [gate or v.abstained for gate, v in zip(gates[0], known_verdicts, strict=True)]
    right = [v.correct and not left for v, left in zip(known_verdicts, open_known, strict=True)]
    invented = [v.invented and not gate for gate, v in zip(gates[1], stranger_verdicts, strict=True)]
    people, others = ([str(task["about"]) for task in tasks] for tasks in (known, strangers))
    return PlanePoint(
        cluster_bootstrap(invented, others, seed=seed),
        cluster_bootstrap(open_known, people, seed=seed),
        cluster_bootstrap(right, people, seed=seed),
    )


def cluster_bootstrap(
    values: Sequence[float],
    groups: Sequence[str],
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """The mean of the values, and the percentile interval when whole groups are drawn anew (Field and Welsh 2007).

    It says how the figure would move with other groups of the same kind; nothing about another training run.
    Raises ValueError for lists of different length, or fewer than two groups.
    """
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} values for {len(groups)} groups; one group for each value is expected.")
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"values of {len(names)} group(s) were given; an interval over groups needs two or more.")
    data = np.asarray(values, dtype=float)
    sums, counts = np.bincount(place, data), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(data.mean()), float(low), float(high), confidence)
