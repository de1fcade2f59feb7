"""Checks of chapter 22: four sums that design interviews turn on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil, log
from statistics import NormalDist
from typing import Any

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect


def _plain(result: Any) -> Any:
    """A number of numpy or torch as Python's, and a sequence as a list: any of these forms is a right answer."""
    result = result.tolist() if hasattr(result, "tolist") else result
    return [_plain(item) for item in result] if isinstance(result, list | tuple) else result


def _observed(answer: Callable, *arguments: Any, **named: Any) -> Any:
    return _plain(answer(*arguments, **named))


def _whole(answer: Callable, *arguments: Any, **named: Any) -> int:
    """A whole number, also as 3.0; what is none is told apart."""
    found = _plain(answer(*arguments, **named))
    if isinstance(found, float) and found == found and abs(found) < 1e18 and found == int(found):
        return int(found)
    return found


def largest_batch(
    target: float,
    weight_bytes: float,
    layers: int,
    kv_heads: int,
    head_dim: int,
    length: int,
    bytes_per_number: int,
    memory: float,
    bandwidth: float,
) -> int:
    """The cache of one text, then how often it goes into what the weights leave: of the memory, and of the time."""
    cache = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    by_memory = (memory - weight_bytes) // cache
    by_time = (target * bandwidth - weight_bytes) // cache
    return max(0, int(min(by_memory, by_time)))


batch = Exercise(
    "22.1",
    title="The largest batch at a latency target",
    reference=largest_batch,
    cases=[
        Case(0.5, 100, 2, 1, 5, 10, 1, 1000, 4100),
        Case(1.0, 1000, 3, 2, 4, 20, 2, 5000, 4300),
        Case(0.25, 300, 1, 1, 4, 25, 2, 1750, 10_000),
        Case(0.04, 138e9, 80, 8, 128, 1650, 2, 576e9, 16e12),
        Case(0.04, 69e9, 80, 8, 128, 1650, 1, 144e9, 8e12),
        Case(0.02, 16e9, 32, 8, 128, 4096, 2, 80e9, 2e12),
        Case(0.01, 138e9, 80, 8, 128, 1650, 2, 576e9, 8e12, message="Fetching the weights alone takes too long: 0."),
        Case(1.0, 138e9, 80, 8, 128, 1650, 2, 80e9, 8e12, message="The weights alone do not fit: 0."),
        Case(1.0, 100, 1, 1, 5, 10, 1, 299, 1000, message="Exactly one text has no room here: round down."),
    ],
    general="Not the smaller of what memory and time allow: weights once, and the cache of each text.",
    rtol=0,
    atol=0,
    observe=_whole,
    difficulty=2,
    minutes=9,
    points=3,
    asked="how many users fit on this GPU at 40 ms per token?",
    hints=[
        "One text keeps `2 * layers * kv_heads * head_dim * length * bytes_per_number` bytes: keys *and* values.",
        "Memory: `memory - weight_bytes` is left for caches. Time: a pass may read `target * bandwidth` bytes, of which "
        "the weights take theirs once, however many texts there are.",
        "`max(0, int(min(by_memory, by_time)))` with `by_memory = (memory - weight_bytes) // cache` and `by_time = "
        "(target * bandwidth - weight_bytes) // cache`.",
    ],
)


def _batch(
    target,
    weight_bytes,
    layers,
    kv_heads,
    head_dim,
    length,
    bytes_per_number,
    memory,
    bandwidth,
    both=2,
    in_memory=1,
    in_time=1,
    choose=min,
    whole=lambda n: int(n // 1),
    least=0,
    size=lambda cache, length, bytes_per_number: cache,
):
    cache = size(both * layers * kv_heads * head_dim * length * bytes_per_number, length, bytes_per_number)
    by_memory = (memory - in_memory * weight_bytes) / cache
    by_time = (target * bandwidth - in_time * weight_bytes) / cache
    found = whole(choose(by_memory, by_time))
    return found if least is None else max(least, found)


for _sentence, _wrong in {
    "The cache holds keys and values: the factor 2 is missing.": {"both": 1},
    "The weights take room, too: only `memory - weight_bytes` is left for caches.": {"in_memory": 0},
    "The weights are read in every pass: they take `weight_bytes / bandwidth` of the target.": {"in_time": 0},
    "Both limits must hold: the smaller counts, not the larger.": {"choose": max},
    "Only the memory is asked; the pass must also be in time.": {"choose": lambda by_memory, by_time: by_memory},
    "Only the time is asked; the caches must also fit.": {"choose": lambda by_memory, by_time: by_time},
    "Rounded up: the last text has no whole room.": {"whole": ceil},
    "Rounded to the nearest; a text that fits by half does not fit.": {"whole": round},
    "Where nothing fits the answer is 0; a negative number of texts is none.": {"least": None},
    "Where not one text fits the answer is 0, not 1.": {"least": 1},
    "The length of the texts is left out: every token keeps its keys and values.": {
        "size": lambda cache, length, bytes_per_number: cache / length
    },
    "Numbers are counted in place of bytes: multiply by `bytes_per_number`.": {
        "size": lambda cache, length, bytes_per_number: cache / bytes_per_number
    },
    "That counts bits; `bytes_per_number` is in bytes, as the memory is.": {
        "size": lambda cache, length, bytes_per_number: 8 * cache
    },
}.items():
    batch.bug(_sentence)(partial(_batch, **_wrong))


@batch.bug("The weights are fetched once for the whole batch, not once for each text.")
def batch_weights_each(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    cache = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return max(0, int(min((memory - weight_bytes) // cache, target * bandwidth // (weight_bytes + cache))))


@batch.first
def batch_is_whole(candidate):
    found = _plain(candidate(0.04, 138e9, 80, 8, 128, 1650, 2, 576e9, 16e12))
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise Mistake("One whole number is wanted, the number of texts.", yours=found)


def training_bill(
    parameters: float, tokens: float, gpus: int, peak: float, mfu: float, price: float, goodput: float = 1.0
) -> tuple[float, float]:
    """6 N D operations, at the share of the peak that is reached while nothing is broken."""
    seconds = 6 * parameters * tokens / (gpus * peak * mfu * goodput)
    return seconds / 86_400, gpus * seconds / 3600 * price


bill = Exercise(
    "22.2",
    title="Days and dollars of a training run",
    reference=training_bill,
    cases=[
        Case(1e9, 1e10, 8, 1e14, 0.45, 2.0),
        Case(7e9, 1.4e11, 64, 9.89e14, 0.4, 2.5),
        Case(7e10, 1.4e12, 640, 9.89e14, 0.38, 2.5, 0.97),
        Case(1e6, 3e6, 1, 1e11, 0.6, 0.1, 0.5),
    ],
    general="Not (6 N D seconds on all GPUs in days, GPU-hours times price).",
    rtol=1e-6,
    atol=1e-12,
    observe=_observed,
    difficulty=2,
    minutes=8,
    points=2,
    asked="how long does a 70 B model take on these GPUs, for how much?",
    hints=[
        "A token costs about 6 operations per parameter: 2 forward, 4 backward.",
        "All GPUs together do `gpus * peak * mfu` operations a second, and only in the share `goodput` of the time.",
        "Days are seconds / 86,400. Money is for every GPU-hour, lost ones too: `gpus * seconds / 3600 * price`.",
    ],
)


def _bill(
    parameters,
    tokens,
    gpus,
    peak,
    mfu,
    price,
    goodput=1.0,
    each=6,
    reached=lambda mfu: mfu,
    lost=lambda seconds, goodput: seconds / goodput,
    day=86_400,
    money=lambda gpus, seconds, price, goodput: gpus * seconds / 3600 * price,
    together=lambda gpus: gpus,
):
    seconds = lost(each * parameters * tokens / (together(gpus) * peak * reached(mfu)), goodput)
    return seconds / day, money(gpus, seconds, price, goodput)


for _sentence, _wrong in {
    "2 N D is the forward pass alone; the backward pass costs twice as much again.": {"each": 2},
    "8 N D counts a forward pass that is computed again; MFU is about the 6 N D that the model needs.": {"each": 8},
    "4 N D: the backward pass alone. The forward pass comes on top.": {"each": 4},
    "The peak is not reached: multiply it by `mfu`.": {"reached": lambda mfu: 1.0},
    "Divided by `mfu` twice over: a lower share of the peak makes the run longer, once.": {
        "reached": lambda mfu: mfu**2
    },
    "A lower `mfu` makes the run longer: it multiplies the peak, it does not divide it.": {
        "reached": lambda mfu: 1 / mfu
    },
    "`goodput` is left out: time that is lost to faults and saving has to be spent, too.": {
        "lost": lambda seconds, goodput: seconds
    },
    "Lost time makes the run longer: divide by `goodput`.": {"lost": lambda seconds, goodput: seconds * goodput},
    "That is hours; days are wanted.": {"day": 3600},
    "That is seconds; days are wanted.": {"day": 1},
    "The money is that of one GPU; all of them are paid.": {
        "money": lambda gpus, seconds, price, goodput: seconds / 3600 * price
    },
    "The price is per hour, and yours is paid per day.": {
        "money": lambda gpus, seconds, price, goodput: gpus * seconds / 86_400 * price
    },
    "GPU-hours that are lost are paid, too.": {
        "money": lambda gpus, seconds, price, goodput: gpus * seconds * goodput / 3600 * price
    },
    "The GPUs work at the same time: the work is shared among them.": {"together": lambda gpus: 1},
}.items():
    bill.bug(_sentence)(partial(_bill, **_wrong))


@bill.bug("The order is days, then dollars.")
def bill_turned(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    return training_bill(parameters, tokens, gpus, peak, mfu, price, goodput)[::-1]


def questions_needed(
    difference: float,
    discordant: float,
    agreement: float = 1.0,
    comparisons: int = 1,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """Connor's number for McNemar's test, of the difference that the judge leaves, at the corrected level."""
    seen = difference * (2 * agreement - 1)
    far = NormalDist().inv_cdf(1 - alpha / comparisons / 2)
    near = NormalDist().inv_cdf(power)
    return ceil((far * discordant**0.5 + near * (discordant - seen**2) ** 0.5) ** 2 / seen**2)


needed = Exercise(
    "22.3",
    title="How many questions a comparison needs",
    reference=questions_needed,
    cases=[
        Case(0.1, 0.3),
        Case(0.05, 0.2),
        Case(0.03, 0.15, 0.9),
        Case(0.03, 0.15, 0.9, 6),
        Case(0.2, 0.25, 0.8, 3, 0.9, 0.01),
        Case(0.5, 0.6, power=0.95),
    ],
    general="Not the square of (z sqrt(D) + y sqrt(D - d²)) over d, rounded up, with d the difference that the judge leaves.",
    rtol=0,
    atol=0,
    observe=_whole,
    difficulty=3,
    minutes=12,
    points=3,
    asked="how many labels do you need to tell these two models apart?",
    hints=[
        "What the judge leaves of the difference is `seen = difference * (2 * agreement - 1)`: use it in place of d "
        "everywhere. The discordant share stays.",
        "`NormalDist().inv_cdf(1 - alpha / comparisons / 2)` is z: two-sided, and the level divided by the number of "
        "comparisons. y is `NormalDist().inv_cdf(power)`.",
        "`ceil((z * discordant**0.5 + y * (discordant - seen**2) ** 0.5) ** 2 / seen**2)`",
    ],
)


def _needed(
    difference,
    discordant,
    agreement=1.0,
    comparisons=1,
    power=0.8,
    alpha=0.05,
    leaves=lambda agreement: 2 * agreement - 1,
    level=lambda alpha, comparisons: alpha / comparisons / 2,
    strength=lambda power: power,
    whole=ceil,
    spread=lambda discordant, seen: (discordant - seen**2) ** 0.5,
    root=lambda discordant: discordant**0.5,
    over=lambda seen, difference: seen**2,
):
    normal = NormalDist().inv_cdf
    seen = difference * leaves(agreement)
    top = normal(1 - level(alpha, comparisons)) * root(discordant) + normal(strength(power)) * spread(discordant, seen)
    return whole(top**2 / over(seen, difference))


for _sentence, _wrong in {
    "The judge's errors are left out: of the difference it leaves (2 * agreement - 1).": {
        "leaves": lambda agreement: 1.0
    },
    "The judge leaves (2 * agreement - 1) of the difference, not `agreement`: each error also counts for the other.": {
        "leaves": lambda agreement: agreement
    },
    "The test is two-sided: half of the level on each side.": {"level": lambda alpha, comparisons: alpha / comparisons},
    "The level is not divided by the number of comparisons.": {"level": lambda alpha, comparisons: alpha / 2},
    "`power` is left out: at that number the difference is found in half of the cases only.": {
        "strength": lambda power: 0.5
    },
    "`power` is turned round: that is the number at which the difference is missed so often.": {
        "strength": lambda power: 1 - power
    },
    "Rounded down: then the power is a little less than asked.": {"whole": int},
    "Rounded to the nearest; take the next whole number, or the power may be less than asked.": {"whole": round},
    "The square of the difference is missing under the second root: D - d².": {
        "spread": lambda discordant, seen: discordant**0.5
    },
    "Divided by the difference; it is divided by its square.": {"over": lambda seen, difference: abs(seen)},
    "Divided by the square of the true difference; the test sees only what the judge leaves of it.": {
        "over": lambda seen, difference: difference**2
    },
    "That is the spread of one share, p (1 - p); a paired test has the discordant share.": {
        "root": lambda discordant: (discordant * (1 - discordant)) ** 0.5
    },
}.items():
    needed.bug(_sentence)(partial(_needed, **_wrong))


@needed.bug("That is the number for two samples; the same questions are asked of both models, so the test is paired.")
def needed_two_samples(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    found = questions_needed(difference, discordant, agreement, comparisons, power, alpha)
    return 2 * found


@needed.first
def needed_is_one_number(candidate):
    found = _plain(candidate(0.05, 0.2))
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise Mistake("One whole number is wanted, the number of questions.", yours=found)


def next_interval(stability: float, desired: float = 0.9, decay: float = 0.1542) -> float:
    """R(t) = (1 + f t / S)^-d, solved for t at R = desired."""
    factor = 0.9 ** (-1 / decay) - 1
    return stability / factor * (desired ** (-1 / decay) - 1)


interval = Exercise(
    "22.4",
    title="When to ask again",
    reference=next_interval,
    cases=[
        Case(10.0),
        Case(2.3065, 0.9),
        Case(10.0, 0.8),
        Case(10.0, 0.95),
        Case(30.0, 0.7, 0.5),
        Case(4.0, 0.9, 1.0, message="At `desired` = 0.9 the interval is the stability itself, whatever the decay."),
    ],
    general="Not the t at which (1 + f t / S)^-d falls to `desired`, with f = 0.9^(-1/d) - 1.",
    rtol=1e-6,
    atol=1e-9,
    observe=_observed,
    difficulty=2,
    minutes=9,
    points=2,
    asked="given a forgetting curve, when would you ask again?",
    hints=[
        "At 0.9 the answer is the stability: that is what stability means, and f is chosen so. A first test.",
        "Take both sides of (1 + f t / S)^-d = r to the power -1/d: 1 + f t / S = r^(-1/d).",
        "`factor = 0.9 ** (-1 / decay) - 1`, then `stability / factor * (desired ** (-1 / decay) - 1)`.",
    ],
)


@interval.bug("That is the recall after `stability` days, or some other share; days are wanted.")
def interval_recall(stability, desired=0.9, decay=0.1542):
    factor = 0.9 ** (-1 / decay) - 1
    return (1 + factor * desired / stability) ** -decay


@interval.bug("That is exponential forgetting, 0.9^(t / S), as in the first versions of FSRS; here it is a power.")
def interval_exponential(stability, desired=0.9, decay=0.1542):
    return stability * log(desired) / log(0.9)


for _sentence, _wrong in {
    "`desired` is left out: that is the interval for 0.9.": lambda s, r, d: s,
    "The sign of the exponent: 1 + f t / S = desired^(-1 / decay), which is above 1.": lambda s, r, d: (
        s / (0.9 ** (-1 / d) - 1) * (r ** (1 / d) - 1)
    ),
    "The exponent is -1 / decay, not -decay: the power has to be undone.": lambda s, r, d: (
        s / (0.9 ** (-1 / d) - 1) * (r**-d - 1)
    ),
    "The factor is for `desired`; it is a constant of the curve, 0.9^(-1/d) - 1.": lambda s, r, d: (
        s / (r ** (-1 / d) - 1) * (0.9 ** (-1 / d) - 1)
    ),
    "The 1 is not subtracted: at `desired` = 1 the interval would not be 0.": lambda s, r, d: (
        s / (0.9 ** (-1 / d) - 1) * r ** (-1 / d)
    ),
    "Multiplied by the factor; t = S / f * (...).": lambda s, r, d: s * (0.9 ** (-1 / d) - 1) * (r ** (-1 / d) - 1),
    "The decay is always 0.1542; take the one that is given.": lambda s, r, d: next_interval(s, r),
    "Rounded to whole days; the exact time is wanted, and the scheduler rounds.": lambda s, r, d: float(
        max(1, round(next_interval(s, r, d)))
    ),
}.items():
    interval.bug(_sentence)(
        (lambda wrong: lambda stability, desired=0.9, decay=0.1542: wrong(stability, desired, decay))(_wrong)
    )


@interval.also
def interval_is_in_days(candidate):
    """A longer memory waits in proportion."""
    once, twice = _plain(candidate(5.0, 0.85)), _plain(candidate(10.0, 0.85))
    expect.close(twice, 2 * once, "Twice the stability is twice the interval.", rtol=1e-6)
