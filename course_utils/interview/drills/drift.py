"""Drills on drift: PSI and ADWIN."""

from __future__ import annotations

import math
from collections import Counter

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition


def population_stability_index(reference: list[float], current: list[float], edges: list[float]) -> float:
    """PSI of two samples over bins: the sum of (q - p) ln(q / p), with p and q the shares of reference and current in a bin.

    edges: inner borders, rising; bin i holds what is at or above edges[i - 1] and below edges[i], the outer bins are open. A
    share below 0.0001 counts as 0.0001.
    """

    def shares(values: list[float]) -> list[float]:
        counts = Counter(sum(value >= edge for edge in edges) for value in values)
        return [max(counts[i] / len(values), 1e-4) for i in range(len(edges) + 1)]

    return sum((q - p) * math.log(q / p) for p, q in zip(shares(reference), shares(current), strict=True))


def _drift_cases():
    import random

    rng = random.Random(2)
    old, new = [rng.gauss(0, 1) for _ in range(60)], [rng.gauss(0.7, 1.3) for _ in range(40)]
    return [
        Case([0.0, 1.0], [1.0, 1.0], [0.5]),
        Case([0.1, 0.2, 0.6, 0.9], [0.2, 0.7, 0.8, 0.9, 0.95], [0.5, 0.85]),
        Case(old, new, [-1.0, 0.0, 1.0], note="60 and 40 numbers, edges -1, 0, 1"),
        Case(old, [x + 9 for x in new], [-1.0, 0.0, 1.0], note="60 numbers, and 40 far away, edges -1, 0, 1"),
        Case([1.0, 2.0, 3.0], [2.0, 2.0, 3.0, 0.0], [1.0, 2.0, 3.0]),
    ]


stability = Definition(
    population_stability_index,
    name="psi",
    title="Population stability index (PSI)",
    level="screen",
    minutes=6,
    topics=("A22", "L5"),
    statement="""
    Has a feature drifted? Sort both samples into the same bins and compare the shares: `PSI = sum over bins of (q - p) ln(q / p)`, p of
    the reference, q of the current sample. `edges` are the inner borders: a value on a border belongs to the bin above it, the first
    and the last bin are open. So that nothing is infinite, a share below 0.0001 counts as 0.0001 (and nothing is divided anew).
    Result: a float.
    """,
    cases=_drift_cases,
    general="Not the sum of (q - p) ln(q / p) over the bins, with shares of at least 0.0001.",
    rtol=1e-6,
    atol=1e-9,
    hints=[
        "The bin of a value is the number of edges at or below it. Each sample is divided by its own size.",
        "`shares = [max(count / len(values), 1e-4) for ...]`; `sum((q - p) * math.log(q / p) for p, q in zip(old, new))`.",
    ],
)


def _psi(
    ref,
    cur,
    edges,
    term=lambda p, q: (q - p) * math.log(q / p),
    own=True,
    upper=True,
    floor=1e-4,
    outer=True,
    empty="floor",
):
    def shares(values):
        places = [sum(v >= e if upper else v > e for e in edges) for v in values]
        size = len(values) if own else len(ref)
        return [places.count(i) / size for i in range(len(edges) + 1)]

    pairs = list(zip(shares(ref), shares(cur), strict=True))
    pairs = pairs if outer else pairs[1:-1] or pairs
    if empty == "skip":
        pairs = [(p, q) for p, q in pairs if p and q]
    return sum(term(max(p, floor), max(q, floor)) for p, q in pairs)


stability.plant(
    {
        sentence: lambda reference, current, edges, wrong=wrong: _psi(reference, current, edges, **wrong)
        for sentence, wrong in {
            "That is KL(current || reference) alone; PSI adds both directions: (q - p) ln(q / p).": {
                "term": lambda p, q: q * math.log(q / p)
            },
            "That is KL(reference || current) alone; PSI adds both directions: (q - p) ln(q / p).": {
                "term": lambda p, q: p * math.log(p / q)
            },
            "Both samples are divided by the size of the reference; each has its own.": {"own": False},
            "A value on a border falls into the bin below; it belongs to the one above.": {"upper": False},
            "Bins that are empty in one sample are left out; they tell most. Shares of at least 0.0001.": {
                "empty": "skip"
            },
            "The floor is 0.0001; another one was used.": {"floor": 1e-6},
            "The open bins at both ends are left out.": {"outer": False},
            "The logarithm to base 2; it is the natural one.": {"term": lambda p, q: (q - p) * math.log2(q / p)},
            "The logarithm is missing: that is a squared distance.": {"term": lambda p, q: (q - p) ** 2},
        }.items()
    }
)


def adwin_shrink(window: list[float], delta: float) -> list[float]:
    """The window after ADWIN has dropped what is old: while some split shows two means that differ, the oldest value goes.

    For a split into n0 older and n1 newer values of a window of n: m = 1 / (1 / n0 + 1 / n1), d = ln(2 n / delta), v the
    variance of the whole window (divided by n), bound = sqrt(2 / m * v * d) + 2 / (3 m) * d. The means differ if their distance
    is at least the bound. A new list.
    """
    kept = list(window)
    while len(kept) > 1 and _differs(kept, delta):
        kept = kept[1:]
    return kept


def _differs(window: list[float], delta: float) -> bool:
    n, total = len(window), sum(window)
    mean = total / n
    variance = sum((x - mean) ** 2 for x in window) / n
    d, older = math.log(2 * n / delta), 0.0
    for n0 in range(1, n):
        older += window[n0 - 1]
        n1 = n - n0
        m = 1 / (1 / n0 + 1 / n1)
        bound = math.sqrt(2 / m * variance * d) + 2 / (3 * m) * d
        if abs(older / n0 - (total - older) / n1) >= bound:
            return True
    return False


def _window_cases():
    import random

    rng = random.Random(4)

    def stretch(n, mean):
        return [float(rng.random() < mean) for _ in range(n)]

    return [
        Case([0.0] * 15 + [1.0] * 16, 0.9, note="15 zeros, then 16 ones, delta 0.9"),
        Case(stretch(60, 0.5), 0.05, note="60 answers of one kind, delta 0.05"),
        Case(stretch(50, 0.9) + stretch(50, 0.2), 0.05, note="50 answers right in 90 %, then 50 in 20 %, delta 0.05"),
        Case(stretch(40, 0.1) + stretch(60, 0.95), 0.3, note="40 answers right in 10 %, then 60 in 95 %, delta 0.3"),
        Case(stretch(80, 1.0) + stretch(18, 0.0), 0.9, note="80 right answers, then 18 wrong ones, delta 0.9"),
        Case([4 * x for x in stretch(30, 0.2)] + [4.0] * 30, 0.1, note="30 scores of 0 and 4, then 30 of 4, delta 0.1"),
        Case(
            stretch(40, 0.0) + stretch(30, 1.0) + stretch(40, 0.0), 0.5, note="40 zeros, 30 ones, 40 zeros, delta 0.5"
        ),
        Case([3.0], 0.5),
    ]


adaptive = Definition(
    adwin_shrink,
    new=True,
    title="ADWIN, without its buckets",
    level="staff",
    minutes=15,
    topics=("A22", "L5"),
    statement="""
    ADWIN (Bifet and Gavaldà, 2007) keeps a window of recent values that grows while nothing changes and loses its old end when it does.
    Look at all splits into n0 older and n1 newer values. With `m = 1 / (1/n0 + 1/n1)`, `d = ln(2 n / delta)` and v the variance of the
    whole window (divided by n), the means differ if their distance is at least `sqrt(2 / m * v * d) + 2 / (3 m) * d`. While any split
    differs, drop the oldest value and look again (n and v change). Real libraries do the same on buckets, to be fast.
    Result: the window that is left, a new list.
    """,
    cases=_window_cases,
    general="Not the window without its oldest values, dropped one by one while any split differs.",
    atol=0.0,
    rtol=0.0,
    hints=[
        "Two loops: over splits, with a running sum of the older part; around it one that drops a value as long as a split is found.",
        "`bound = math.sqrt(2 / m * v * d) + 2 / (3 * m) * d`; `while len(kept) > 1 and differs(kept): kept = kept[1:]`.",
    ],
    seconds=20.0,
)


def _adwin(
    window,
    delta,
    drop="one",
    harmonic=True,
    var="all",
    small=True,
    log=lambda n, x: math.log(2 * n / x),
    sign=0,
    root=True,
    refresh=True,
):
    kept = list(window)
    first_n = len(kept)
    while len(kept) > 1:
        n, mean = len(kept), sum(kept) / len(kept)
        v = sum((x - mean) ** 2 for x in kept) / (n - 1 if var == "n - 1" else n)
        v = 0.25 if var == "worst" else v
        d, cut = log(n if refresh else first_n, delta), None
        for n0 in range(1, n):
            n1 = n - n0
            m = 1 / (1 / n0 + 1 / n1) if harmonic else n
            bound = (math.sqrt(2 / m * v * d) if root else 2 / m * v * d) + (2 / (3 * m) * d if small else 0)
            gap = sum(kept[n0:]) / n1 - sum(kept[:n0]) / n0
            if (abs(gap) if not sign else sign * gap) >= bound:
                cut = n0
                break
        if cut is None:
            return kept
        if drop == "new":
            kept = kept[:-1]
        else:
            kept = kept[cut:] if drop == "all" else kept[1:]
        if drop == "once":
            return kept
    return kept


adaptive.plant(
    {
        sentence: lambda window, delta, wrong=wrong: _adwin(window, delta, **wrong)
        for sentence, wrong in {
            "The whole older part goes at once; the oldest value goes, and the splits are looked at again.": {
                "drop": "all"
            },
            "Only one value is dropped; go on while any split differs.": {"drop": "once"},
            "The newest value is dropped; the oldest goes.": {"drop": "new"},
            "m is the size of the window; it is 1 / (1 / n0 + 1 / n1), which is small where one part is.": {
                "harmonic": False
            },
            "The second part of the bound is missing: 2 / (3 m) * d.": {"small": False},
            "n is missing inside the logarithm: many splits are looked at, and each must be judged more strictly.": {
                "log": lambda n, x: math.log(2 / x)
            },
            "Only a rise is noticed; take the distance of the means.": {"sign": 1},
            "Only a fall is noticed; take the distance of the means.": {"sign": -1},
            "The root is missing in the first part of the bound.": {"root": False},
        }.items()
    }
    | {
        "Nothing is ever dropped.": lambda window, delta: list(window),
        "The answer tells that there is a change; the window that is left is wanted.": lambda window, delta: (
            _adwin(window, delta) != list(window)
        ),
    }
)
