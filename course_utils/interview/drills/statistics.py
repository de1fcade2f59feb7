"""Drills on statistics: a paired test, a bootstrap interval, agreement beyond chance."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import integers, normal
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def mcnemar(first: list[bool], second: list[bool]) -> float:
    """The exact two-sided p-value of McNemar's test: two systems on the same questions, True where an answer is right.

    Only questions count on which the two differ. 1.0 if there are none.
    """
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n
    return min(1.0, 2 * tail)


def _votes(both, first, second, neither):
    a = [True] * both + [True] * first + [False] * second + [False] * neither
    b = [True] * both + [False] * first + [True] * second + [False] * neither
    return a, b


paired = Definition(
    mcnemar,
    title="McNemar's test",
    level="onsite",
    minutes=8,
    topics=("A19", "L4"),
    statement="""
    Two systems answered the same questions. Is one better? Only the questions count on which just one of them is right: if both are
    equally good, each of these falls to either side like a coin. Give the exact two-sided p-value from the binomial distribution
    with probability one half: twice the tail up to the smaller of the two counts, at most 1. No approximation, no correction.
    first, second: lists of bool of one length. Result: a float; 1.0 where they never differ.
    """,
    cases=lambda: [
        Case(*_votes(0, 1, 0, 0)),
        Case(*_votes(3, 6, 1, 2)),
        Case(*_votes(5, 2, 9, 4)),
        Case(*_votes(2, 4, 4, 1)),
        Case(*_votes(3, 0, 0, 2)),
        Case(*_votes(1, 0, 7, 30)),
    ],
    general="Not twice the binomial tail of the smaller count of the questions on which they differ, at most 1.",
    hints=[
        "Count b: only the first is right, and c: only the second. Under the null hypothesis min(b, c) is the lower tail of n = b + "
        "c throws of a coin.",
        "`tail = sum(math.comb(n, i) for i in range(min(b, c) + 1)) / 2**n`; `min(1.0, 2 * tail)`.",
    ],
    banned=("binomtest", "mcnemar"),
)


def _mcnemar(a, b, sides=2, cap=True, chi=False, correct=False, inside=True, everything=False, mid=False):
    x = sum(p and not q for p, q in zip(a, b, strict=True))
    y = sum(q and not p for p, q in zip(a, b, strict=True))
    n, k = x + y, min(x, y)
    if everything:
        n, k = sum(a) + sum(b), min(sum(a), sum(b))
    if chi:
        return math.erfc(math.sqrt(max(abs(x - y) - correct, 0) ** 2 / n / 2)) if n else 1.0
    tail = sum(math.comb(n, i) for i in range(k + (1 if inside else 0))) / 2**n
    tail -= math.comb(n, k) / 2**n / 2 if mid else 0
    return min(1.0, sides * tail) if cap else sides * tail


paired.plant(
    {
        sentence: lambda first, second, wrong=wrong: _mcnemar(first, second, **wrong)
        for sentence, wrong in {
            "One-sided: twice the tail is wanted.": {"sides": 1},
            "The p-value is above 1: cap it.": {"cap": False},
            "That is the approximation by chi squared; the exact binomial tail is wanted.": {"chi": True},
            "That is the approximation by chi squared with a correction; the exact binomial tail is wanted.": {
                "chi": True,
                "correct": True,
            },
            "The tail lacks the observed count itself.": {"inside": False},
            "The numbers of right answers are compared as if the questions were others; only those count on which they differ.": {
                "everything": True
            },
            "That is the mid-p-value.": {"mid": True},
        }.items()
    }
)


def bootstrap_interval(first: Tensor, second: Tensor, draws: Tensor, level: float) -> tuple[float, float]:
    """The percentile interval of the mean difference first - second, by a paired bootstrap over questions.

    first, second: (questions,), scores of two systems on the same questions. draws: (resamples, questions), for each resample
    the numbers of the questions that were drawn. The ends are the quantiles (1 - level) / 2 and (1 + level) / 2 of the
    resamples' mean differences, interpolated linearly.
    """
    means = (first - second)[draws].mean(1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=means.dtype)
    low, high = torch.quantile(means, ends).tolist()
    return low, high


def _bootstrap_cases():
    def case(seed, n, repeats, level):
        right = (normal(seed, n) > 0).float()
        other = ((normal(seed, n) + 0.6 * normal(seed + 1, n)) > 0.3).float()
        return Case(right, other, integers(seed + 2, n, repeats, n), level)

    small = Case(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0]), torch.tensor([[0, 0], [0, 1], [1, 1]]), 0.5)
    return [
        small,
        case(1, 12, 40, 0.9),
        case(4, 30, 100, 0.95),
        Case(normal(7, 8), normal(8, 8), integers(9, 8, 50, 8), 0.8),
    ]


bootstrap = Definition(
    bootstrap_interval,
    title="A paired bootstrap interval",
    level="onsite",
    minutes=8,
    topics=("A19", "L4"),
    statement="""
    How sure is the difference of two systems that answered the same questions? Resample questions, not answers: a drawn question
    brings both scores. Each row of `draws` holds the numbers of the questions of one resample. Take the mean difference
    `first - second` of each, and from these the quantiles (1 - level) / 2 and (1 + level) / 2, interpolated linearly.
    first, second: (questions,); draws: (resamples, questions). Result: (low, high), floats.
    """,
    cases=_bootstrap_cases,
    general="Not the two quantiles of the resampled mean differences.",
    hints=[
        "The difference of each question first; then index with the whole table of draws, and average each row.",
        "`means = (first - second)[draws].mean(1)`; `torch.quantile(means, torch.tensor([(1 - level) / 2, (1 + level) / 2]))`.",
    ],
)


def _boot(
    a, b, draws, level, paired=True, ends=lambda p: ((1 - p) / 2, (1 + p) / 2), normal_=False, rows=1, sign=1, se=False
):
    means = sign * (a - b)[draws].mean(rows) if paired else a[draws].mean(1) - b[draws.roll(1, 0)].mean(1)
    if normal_:
        z = math.sqrt(2) * torch.erfinv(torch.tensor(level)).item()
        centre, spread = float((a - b).mean()), float(means.std())
        return centre - z * spread, centre + z * spread
    low, high = torch.quantile(means, torch.tensor(ends(level))).tolist()
    return low, high


bootstrap.plant(
    {
        sentence: lambda first, second, draws, level, wrong=wrong: _boot(first, second, draws, level, **wrong)
        for sentence, wrong in {
            "The systems are resampled apart: what makes a question hard for both no longer cancels. Use the same questions.": {
                "paired": False
            },
            "The tails are 1 - level each; together they are 1 - level.": {"ends": lambda p: (1 - p, p)},
            "The interval begins at the lowest resample: that is one-sided.": {"ends": lambda p: (0.0, p)},
            "The normal approximation; the quantiles of the resamples are wanted.": {"normal_": True},
            "The difference is turned: first - second.": {"sign": -1},
            "Averaged over the resamples; each resample (a row) has its mean.": {"rows": 0},
        }.items()
    }
    | {
        "The smallest and the largest resample are returned; the quantiles are wanted.": lambda first, second, draws, level: (
            _boot(first, second, draws, 1.0)
        ),
        "Only the first system is resampled; it is the difference of both.": lambda first, second, draws, level: _boot(
            first, torch.zeros_like(second), draws, level
        ),
    }
)


def cohen_kappa(first: list[str], second: list[str]) -> float:
    """Cohen's kappa of two raters: (observed - chance) / (1 - chance). 1.0 where both always give the same single label."""
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    ours, theirs = Counter(first), Counter(second)
    chance = sum(ours[label] * theirs[label] for label in ours) / n**2
    return 1.0 if chance == 1 else (observed - chance) / (1 - chance)


kappa = Definition(
    cohen_kappa,
    title="Cohen's kappa",
    level="screen",
    minutes=6,
    topics=("A23", "A19"),
    statement="""
    How far do two raters agree beyond chance? `kappa = (observed - chance) / (1 - chance)`: observed is the share of equal labels,
    chance the agreement to be expected if each gave labels at random with their own frequencies, `sum_l p1(l) p2(l)`. If both give
    one and the same label throughout, chance is 1; return 1.0 then. first, second: labels of the same items. Result: a float.
    """,
    cases=lambda: [
        Case(["y", "n"], ["y", "y"]),
        Case(list("yynyn"), list("ynnyn")),
        Case(list("abcabca"), list("abbabcc")),
        Case(list("aab"), list("bba")),
        Case(list("aaa"), list("aaa")),
        Case(list("aaaaaaaab"), list("aaaaaaaba")),
        Case(list("abcd"), list("aabb")),
    ],
    general="Not (observed - chance) / (1 - chance).",
    hints=[
        "Chance needs the frequencies of both raters, label by label. A label that only one of them uses adds nothing.",
        "`chance = sum(ours[l] * theirs[l] for l in ours) / n**2`; `(observed - chance) / (1 - chance)`.",
    ],
    banned=("cohen_kappa_score",),
)


def _kappa(a, b, chance="own", divide=True, guard=1.0):
    n = len(a)
    seen = sum(x == y for x, y in zip(a, b, strict=True)) / n
    x, y = Counter(a), Counter(b)
    labels = set(a) | set(b)
    expected = {
        "own": sum(x[k] * y[k] for k in labels) / n**2,
        "even": 1 / len(labels),
        "pooled": sum(((x[k] + y[k]) / (2 * n)) ** 2 for k in labels),
        "none": 0.0,
        "first": sum((x[k] / n) ** 2 for k in labels),
    }[chance]
    if expected == 1:
        return guard
    return (seen - expected) / (1 - expected) if divide else seen - expected


kappa.plant(
    {
        sentence: lambda first, second, wrong=wrong: _kappa(first, second, **wrong)
        for sentence, wrong in {
            "Chance is taken to be even over the labels; it follows the raters' own frequencies.": {"chance": "even"},
            "The frequencies of both raters are pooled: that is Scott's pi.": {"chance": "pooled"},
            "Chance is not taken off: that is plain agreement.": {"chance": "none"},
            "Both frequencies are those of the first rater.": {"chance": "first"},
            "Not divided by 1 - chance: full agreement must give 1.": {"divide": False},
            "Where both always give the same single label, kappa is 1.0 here.": {"guard": 0.0},
        }.items()
    }
)
