"""Checks of chapter 20: two tests of drift, a sum that remembers, evidence that may be looked at, and thumbs weighed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import lgamma, log
from typing import Any

import numpy as np

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect


def _plain(result: Any) -> Any:
    """Arrays and tensors as the lists and numbers that they hold: any of these forms is a right answer."""
    result = result.tolist() if hasattr(result, "tolist") else result
    return [_plain(item) for item in result] if isinstance(result, list | tuple) else result


def _observed(answer: Callable, *arguments: Any) -> Any:
    return _plain(answer(*arguments))


def psi(reference: Sequence[float], window: Sequence[float], floor: float = 1e-4) -> float:
    """The sum over the bins of (q - p) * ln(q / p)."""
    p = np.maximum(np.asarray(reference) / np.sum(reference), floor)
    q = np.maximum(np.asarray(window) / np.sum(window), floor)
    return float(((q - p) * np.log(q / p)).sum())


stability = Exercise(
    "20.1",
    title="The population stability index",
    reference=psi,
    cases=[
        Case([50, 30, 20], [30, 30, 40]),
        Case([100, 300, 600], [2, 3, 5]),
        Case([10, 10, 0], [5, 5, 10]),
        Case([40, 0, 60], [0, 20, 20]),
        Case([4, 0, 6], [2, 2, 0], 0.02),
    ],
    general="Not the sum of (q - p) * ln(q / p) over the bins, with p and q the shares of reference and window.",
    observe=_observed,
    difficulty=2,
    minutes=8,
    points=2,
    asked="what is PSI? Write it, and say what an empty bin does",
    hints=[
        "Shares first: `p = np.asarray(reference) / np.sum(reference)`. A week with other traffic is no drift.",
        "`np.maximum(p, floor)` lifts empty bins to the least share, in both tables.",
        "`((q - p) * np.log(q / p)).sum()`: both factors have the same sign in every bin, so nothing cancels.",
    ],
)


def _psi(
    reference,
    window,
    floor=1e-4,
    term=lambda p, q: (q - p) * np.log(q / p),
    shares=lambda table: table / table.sum(),
    lift=np.maximum,
    total=np.sum,
):
    p, q = (lift(shares(np.asarray(table, dtype=float)), floor) for table in (reference, window))
    with np.errstate(all="ignore"):
        return float(total(term(p, q)))


def _only_full(p, q):
    full = (p > 1e-3) & (q > 1e-3)
    return (q[full] - p[full]) * np.log(q[full] / p[full])


for _sentence, _wrong in {
    "Counts are compared; PSI compares shares, or a busier week would be drift.": {"shares": lambda table: table},
    "That is one Kullback-Leibler divergence, of the window from the reference; PSI is the sum of both directions.": {
        "term": lambda p, q: q * np.log(q / p)
    },
    "That is one Kullback-Leibler divergence, of the reference from the window; PSI is the sum of both directions.": {
        "term": lambda p, q: p * np.log(p / q)
    },
    "The sign is turned: with (q - p) goes ln(q / p), so that every bin adds something positive.": {
        "term": lambda p, q: (p - q) * np.log(q / p)
    },
    "The logarithm is to the base 2; the natural one is meant.": {"term": lambda p, q: (q - p) * np.log2(q / p)},
    "The logarithm is to the base 10; the natural one is meant.": {"term": lambda p, q: (q - p) * np.log10(q / p)},
    "That is Pearson's distance, (q - p)² / p; PSI has the logarithm of the ratio.": {
        "term": lambda p, q: (q - p) ** 2 / p
    },
    "The logarithm of the ratio is missing: that is a distance of shares.": {"term": lambda p, q: abs(q - p)},
    "It is averaged over the bins; PSI is their sum.": {"total": np.mean},
    "An empty bin is not lifted to `floor`, so the result is infinite or no number.": {
        "lift": lambda share, floor: share
    },
    "Bins that are empty in one of the tables are left out; they say most. Lift them to `floor`.": {"term": _only_full},
    "`floor` is added to every share; it is the least that a share may be: `np.maximum(share, floor)`.": {
        "lift": lambda share, floor: share + floor
    },
    "The shares are normalized again after `floor`; leave them as they are.": {
        "lift": lambda share, floor: np.maximum(share, floor) / np.maximum(share, floor).sum()
    },
}.items():
    stability.bug(_sentence)(partial(_psi, **_wrong))


@stability.bug("`floor` is applied to the counts; it is a share.")
def psi_floor_of_counts(reference, window, floor=1e-4):
    lifted = [np.maximum(np.asarray(table, dtype=float), floor) for table in (reference, window)]
    return _psi(*lifted, 0.0)


@stability.bug("`floor` is always 0.0001; take the one that is given.")
def psi_fixed_floor(reference, window, floor=1e-4):
    return _psi(reference, window)


@stability.bug("`floor` is applied to the reference alone; a bin of the window may be empty too.")
def psi_one_floor(reference, window, floor=1e-4):
    p = np.maximum(np.asarray(reference) / np.sum(reference), floor)
    q = np.asarray(window) / np.sum(window)
    with np.errstate(all="ignore"):
        return float(((q - p) * np.log(q / p)).sum())


def ks_statistic(a: Sequence[float], b: Sequence[float]) -> float:
    """The largest distance between two empirical distribution functions."""
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    below_a = np.searchsorted(a, at, side="right") / len(a)
    below_b = np.searchsorted(b, at, side="right") / len(b)
    return float(np.abs(below_a - below_b).max())


distance = Exercise(
    "20.2",
    title="The statistic of Kolmogorov and Smirnov",
    reference=ks_statistic,
    cases=[
        Case([1.0, 2.0, 3.0], [2.5, 3.5, 4.5, 5.5]),
        Case([3.0, 1.0, 2.0, 9.0], [8.0, 4.0, 0.5]),
        Case([5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 5.5], message="Wrong where the second sample lies lower."),
        Case([3.0], [1.0, 2.0], message="Wrong where no value of one sample lies between those of the other."),
        Case([1, 1, 1, 2, 3, 3], [1, 2, 2, 3], message="Wrong with ties: equal values of both samples step together."),
        Case([2, 2, 5], [5, 2, 2], message="The same values, in another order: the distance is 0."),
    ],
    general="Not the largest distance between the two shares of values at or below x, over all x.",
    observe=_observed,
    difficulty=2,
    minutes=10,
    points=3,
    asked="write the two-sample KS statistic; what do ties do?",
    hints=[
        "F_a(x) is the share of a that is at most x. It changes only at values of a, so it is enough to look at all values "
        "of both samples.",
        'Sort a; `np.searchsorted(a, at, side="right")` counts the values at or below each of `at`.',
        "Divide by the sizes, subtract, and take the largest absolute value.",
    ],
)


def _ks(a, b, at=None, sides=("right", "right"), ordered=True, gap=np.abs, total=np.max, sizes=True):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    a, b = (np.sort(a), np.sort(b)) if ordered else (a, b)
    where = np.concatenate([a, b]) if at is None else at(a, b)
    below = [np.searchsorted(x, where, side) / (len(x) if sizes else 1) for x, side in zip((a, b), sides, strict=True)]
    return float(total(gap(below[0] - below[1])))


for _sentence, _wrong in {
    "The difference is taken with its sign; where the second sample lies lower it is negative. Take the absolute value.": {
        "gap": lambda d: d
    },
    "The difference is taken with its sign, second minus first; take the absolute value.": {"gap": lambda d: -d},
    "The functions are compared at the values of the first sample alone; the distance may be largest elsewhere.": {
        "at": lambda a, b: a
    },
    "The functions are compared at the values of the second sample alone; the distance may be largest elsewhere.": {
        "at": lambda a, b: b
    },
    "`side` differs for the two samples: at a tie, one counts the value and the other does not.": {
        "sides": ("right", "left")
    },
    "`side` differs for the two samples: at a tie, the second counts the value and the first does not.": {
        "sides": ("left", "right")
    },
    "The samples are not sorted; `searchsorted` then finds no places.": {"ordered": False},
    "Counts are compared; divide each by the size of its sample.": {"sizes": False},
    "That is the mean distance; the largest is wanted.": {"total": np.mean},
    "That is the sum of the distances; the largest is wanted.": {"total": np.sum},
}.items():
    distance.bug(_sentence)(partial(_ks, **_wrong))


@distance.bug("The largest distance is scaled with the sizes, as for the p-value; the plain distance is wanted.")
def ks_scaled(a, b):
    return _ks(a, b) * (len(a) * len(b) / (len(a) + len(b))) ** 0.5


@distance.bug(
    "The two steps of a tie are taken one after the other, and looked at in between; equal values step together."
)
def ks_step_by_step(a, b):
    level = largest = 0.0
    for _, step in sorted([(x, 1 / len(a)) for x in a] + [(x, -1 / len(b)) for x in b]):
        level += step
        largest = max(largest, abs(level))
    return largest


@distance.bug("Values are compared, and not the shares below them: KS does not ask how far apart the values are.")
def ks_of_values(a, b):
    q = np.linspace(0, 1, 21)
    return float(np.abs(np.quantile(a, q) - np.quantile(b, q)).max())


@distance.bug("The means are compared; KS compares whole distributions.")
def ks_of_means(a, b):
    return float(abs(np.mean(a) - np.mean(b)))


remembered = Exercise(
    "20.3",
    title="The cumulative sum",
    reference="course_utils.serving.sequential:cusum",
    cases=[
        Case([1, 0, 1, 1], 0.25, 0.125),
        Case([0, 0, 0, 1, 1, 0, 1], 0.25, 0.25),
        Case([2.5, -1.0, 0.5, 3.0, -9.0, 1.0], 0.5, 0.0),
        Case([], 0.5, 0.1, message="No values: an empty list."),
    ],
    general="Not max(0, before + value - target - slack) after each value, from 0.",
    observe=_observed,
    difficulty=2,
    minutes=7,
    points=2,
    asked="how would you find a small lasting rise of the error rate? Write CUSUM",
    hints=[
        "Keep one number, `level`, that starts at 0.",
        "Each value adds what it exceeds `target + slack` by, which may be negative. Below 0 the level never falls.",
        "`level = max(0.0, level + value - target - slack)`, and append it to the list.",
    ],
)


def _cusum(values, target, slack, step=None, start=(), cut=lambda before, by: max(0.0, before + by)):
    step = step or (lambda value: value - target - slack)
    path, level = list(start), 0.0
    for value in values:
        level = cut(level, step(value))
        path.append(level)
    return path


for _sentence, _wrong in {
    "The sum falls below 0; it starts anew from 0, or a good year would hide a bad month.": {
        "cut": lambda before, by: before + by
    },
    "Each value's part is cut at 0, and not the sum: so it can only rise.": {
        "cut": lambda before, by: before + max(0.0, by)
    },
    "The sum is not kept: only the newest value counts.": {"cut": lambda before, by: max(0.0, by)},
    "It is cut at 0 from above; a rise must be able to grow.": {"cut": lambda before, by: min(0.0, before + by)},
    "The path begins with the 0 from before the first value; it has one entry for each value.": {"start": (0.0,)},
}.items():
    remembered.bug(_sentence)(partial(_cusum, **_wrong))

for _sentence, _part in {
    "`slack` is added; it is taken off, so that chance alone does not add up.": lambda x, target, slack: (
        x - target + slack
    ),
    "`slack` is missing: without it the sum wanders up by chance alone.": lambda x, target, slack: x - target,
    "`target` is missing.": lambda x, target, slack: x - slack,
    "`target` is added; what exceeds it counts.": lambda x, target, slack: x + target - slack,
    "The distance from the target is summed, in both directions; a rise is looked for.": lambda x, target, slack: (
        abs(x - target) - slack
    ),
    "The sign is turned: that finds a fall.": lambda x, target, slack: target - x - slack,
}.items():
    remembered.bug(_sentence)(
        lambda values, target, slack, _part=_part: _cusum(
            values, target, slack, step=lambda value: _part(value, target, slack)
        )
    )


@remembered.bug("Only the last level is returned; the level after each value is wanted, as a list.")
def cusum_last(values, target, slack):
    path = _cusum(values, target, slack)
    return path[-1] if path else 0.0


def e_values(passes: Sequence[int], p0: float) -> list[float]:
    """log(s! f! / ((s + f + 1)! p0^s (1 - p0)^f)) after each trial."""
    path, s, f = [], 0, 0
    for passed in passes:
        s, f = s + passed, f + 1 - passed
        average = lgamma(s + 1) + lgamma(f + 1) - lgamma(s + f + 2)  # of p^s (1 - p)^f over all p
        path.append(average - s * log(p0) - f * log(1 - p0))
    return path


_MANY = [int(i % 7 > 0) for i in range(3_000)]
evidence = Exercise(
    "20.4",
    title="Evidence that may be looked at",
    reference=e_values,
    cases=[
        Case([1, 1, 0], 0.8),
        Case([0, 1, 0, 0, 1], 0.3),
        Case([1, 0, 1], 0.5),
        Case(
            _MANY,
            0.9,
            note="3,000 trials, p0 = 0.9",
            message="Wrong for 3,000 trials: factorials and powers leave the range of floats. Add logarithms: lgamma(n + 1) is log n!.",
        ),
        Case([], 0.5, message="No trials: an empty list."),
    ],
    general="Not the logarithm of s! f! / ((s + f + 1)! p0^s (1 - p0)^f) after each trial.",
    observe=_observed,
    difficulty=3,
    minutes=12,
    points=3,
    asked="your dashboard shows p < 0.05 on day 9 of an A/B test; may you stop? What would let you?",
    hints=[
        "Count passes s and failures f as you go; after each trial one number is appended.",
        "`lgamma(n + 1)` from math is log n!, for any size. The average of p^s (1 - p)^f over all p from 0 to 1 is "
        "s! f! / (s + f + 1)!.",
        "`lgamma(s + 1) + lgamma(f + 1) - lgamma(s + f + 2) - s * log(p0) - f * log(1 - p0)`.",
    ],
)


def _evidence(passes, p0, value=None, turned=False):
    path, s, f = [], 0, 0
    for passed in passes:
        passed = 1 - passed if turned else passed
        s, f = s + passed, f + 1 - passed
        path.append(value(s, f, p0))
    return path


def _average(s, f):
    return lgamma(s + 1) + lgamma(f + 1) - lgamma(s + f + 2)


def _null(s, f, p0):
    return s * log(p0) + f * log(1 - p0)


def _best(s, f):
    return sum(k * log(k / (s + f)) for k in (s, f) if k)


for _sentence, _value in {
    "The factorial below is that of s + f + 1, not of s + f: it is the average of p^s (1 - p)^f over all p.": (
        lambda s, f, p0: lgamma(s + 1) + lgamma(f + 1) - lgamma(s + f + 1) - _null(s, f, p0)
    ),
    "p is taken from the trials themselves, as s / (s + f). Such a ratio is never below 1, so looking again and again "
    "finds something always; average over p instead.": lambda s, f, p0: _best(s, f) - _null(s, f, p0),
    "The logarithm is wanted; yours is the ratio itself.": lambda s, f, p0: float(
        np.exp(_average(s, f) - _null(s, f, p0))
    ),
    "The logarithm is to the base 10; the natural one is meant.": lambda s, f, p0: (
        (_average(s, f) - _null(s, f, p0)) / log(10)
    ),
    "The chance under p0 is missing: that is the average alone.": lambda s, f, p0: _average(s, f),
    "The chance under p0 is multiplied; the average is divided by it.": lambda s, f, p0: (
        _average(s, f) + _null(s, f, p0)
    ),
    "The ratio is turned: that is evidence *for* p0.": lambda s, f, p0: _null(s, f, p0) - _average(s, f),
    "The failures are missing in the chance under p0: (1 - p0)^f.": lambda s, f, p0: _average(s, f) - s * log(p0),
    "There is a binomial coefficient in the average; the order of the trials is known, so none stands in either part.": (
        lambda s, f, p0: -log(s + f + 1) - _null(s, f, p0)
    ),
    "The binomial coefficient stands in the chance under p0 alone; the order of the trials is known, so it needs none.": (
        lambda s, f, p0: _average(s, f) - _null(s, f, p0) - (lgamma(s + f + 1) - lgamma(s + 1) - lgamma(f + 1))
    ),
    "lgamma(n) is log (n - 1)!; for log n! it is lgamma(n + 1).": lambda s, f, p0: (
        (lgamma(s) if s else 0.0) + (lgamma(f) if f else 0.0) - lgamma(s + f + 1) - _null(s, f, p0)
    ),
}.items():
    evidence.bug(_sentence)(partial(_evidence, value=_value))

evidence.bug("Passes and failures are exchanged: 1 is a pass, and p0 is its probability.")(
    partial(_evidence, value=lambda s, f, p0: _average(s, f) - _null(s, f, p0), turned=True)
)


@evidence.bug("Only the evidence after the last trial is returned; one number after each trial is wanted, as a list.")
def e_value_at_the_end(passes, p0):
    path = e_values(passes, p0)
    return path[-1] if path else 0.0


@evidence.bug("Each trial is judged alone; the evidence is that of all trials so far.")
def e_values_of_single_trials(passes, p0):
    return [log(0.5) - log(p0 if passed else 1 - p0) for passed in passes]


weighed = Exercise(
    "20.5",
    title="Thumbs, weighed",
    reference="course_utils.serving.feedback:ips_share",
    cases=[
        Case([1, 0, None, None, 0, 1, 0, None], {1: 0.125, 0: 0.5}),
        Case([None, 1, 1, 1, 0, None], {1: 0.25, 0: 0.2}),
        Case([0, None, 0], {1: 0.1, 0: 0.3}, message="Only thumbs down: the share is 0."),
        Case([None, 1], {1: 0.1, 0: 0.3}, message="Only thumbs up: the share is 1."),
    ],
    general="Not the sum of 1 / propensity over thumbs up, divided by the sum over all thumbs.",
    observe=_observed,
    difficulty=2,
    minutes=8,
    points=2,
    asked="four of ten thumbs are up; what share of answers is right?",
    hints=[
        "A click with the propensity 0.05 stands for 20 requests: one that was seen and 19 like it that were not.",
        "Skip None. The weight of a thumb is `1 / propensity[thumb]`.",
        "The weights of thumbs up, divided by the weights of all thumbs.",
    ],
)


def _ips(thumbs, propensity, weight=lambda e: 1 / e, below=None, above=lambda thumb: thumb == 1, none=None):
    thumbs = [none if thumb is None else thumb for thumb in thumbs]
    weights = [(thumb, weight(propensity[thumb])) for thumb in thumbs if thumb is not None]
    total = sum(w for _, w in weights) if below is None else below(thumbs)
    return sum(w for thumb, w in weights if above(thumb)) / total


for _sentence, _wrong in {
    "That is the plain share of thumbs up: the unhappy, who click more often, count more often.": {
        "weight": lambda e: 1.0
    },
    "Thumbs are multiplied with their propensity, or (it comes to the same) the two propensities are exchanged; a rare click stands for many, so divide by its own.": {
        "weight": lambda e: e
    },
    "The sum is divided by the number of all requests: right on average, but it may exceed 1. Divide by the sum of the weights.": {
        "below": len
    },
    "The sum is divided by the number of thumbs; divide by the sum of their weights.": {
        "below": lambda thumbs: sum(thumb is not None for thumb in thumbs)
    },
    "That is the share of wrong answers.": {"above": lambda thumb: thumb == 0},
    "No click is counted as a thumb down; it says nothing, leave it out.": {"none": 0},
    "No click is counted as a thumb up; it says nothing, leave it out.": {"none": 1},
    "A weight is 1 - propensity; it is 1 / propensity.": {"weight": lambda e: 1 - e},
}.items():
    weighed.bug(_sentence)(partial(_ips, **_wrong))


@weighed.bug("Thumbs down are not weighed: each counts as one.")
def ips_of_ups(thumbs, propensity):
    return _ips(thumbs, {1: propensity[1], 0: 1.0})


@weighed.bug("Thumbs up are not weighed: each counts as one.")
def ips_of_downs(thumbs, propensity):
    return _ips(thumbs, {1: 1.0, 0: propensity[0]})


for _exercise in (remembered, evidence):

    @_exercise.first
    def a_list(candidate: Callable, _exercise: Exercise = _exercise) -> None:
        """A generator would be used up by the comparison: name it first."""
        result = _exercise.cases[0].call(candidate)
        if hasattr(result, "__next__"):
            raise Mistake("A list is wanted: collect the levels in a list and return it, instead of `yield`.")


for _exercise in (stability, distance, weighed):

    @_exercise.first
    def one_number(candidate: Callable, _exercise: Exercise = _exercise) -> None:
        result = _plain(_exercise.cases[0].call(candidate))
        expect.that(
            not isinstance(result, list) or len(result) == 1,
            "One number is wanted; yours is a list. Is a sum, a maximum or a quotient missing?",
            yours=result,
        )
