"""Drills on learning rates: warm-up, stable, decay; and a cosine."""

from __future__ import annotations

import math

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition


def wsd_lr(step: int, warmup: int, decay: int, total: int, peak: float) -> float:
    """The learning rate of a step, 0 <= step <= total: warm-up, stable, and a linear decay to 0 over the last ``decay`` steps.

    It rises linearly from 0 at step 0 to ``peak`` at step ``warmup``, which may be 0.
    """
    if step < warmup:
        return peak * step / warmup
    left = total - step
    return peak * min(1.0, left / decay) if decay else peak


wsd = Definition(
    wsd_lr,
    title="Warm-up, stable, decay (WSD)",
    level="screen",
    minutes=5,
    topics=("A12", "+"),
    statement="""
    Write the schedule that needs no end date until its last part: linear from 0 at step 0 to `peak` at step `warmup`, then
    constant, then linear to 0 over the last `decay` steps, so that step `total` has 0 and step `total - decay` still has the
    peak. `warmup` or `decay` may be 0. Result: a float.
    """,
    cases=lambda: [
        Case(step, warmup, decay, total, peak)
        for warmup, decay, total, peak in ((4, 5, 20, 2.0), (0, 4, 10, 1.0), (3, 0, 8, 0.5))
        for step in range(total + 1)
    ],
    general="Not peak * step / warmup, then peak, then peak * (total - step) / decay.",
    hints=[
        "Three parts, in order of time. Which of them can divide by 0?",
        "`if step < warmup: return peak * step / warmup`; then `peak * min(1.0, (total - step) / decay) if decay else peak`.",
    ],
)


def _wsd(step, warmup, decay, total, peak, first=0, end=0, cosine=False, after=False, floor=0.0, stable=True):
    if step < warmup:
        return peak * (step + first) / warmup
    if not stable:
        return peak * (total - step) / (total - warmup)
    start = decay if after else total - decay
    if decay == 0 or step < start:
        return peak
    part = min((total - step + end) / (total - start), 1.0) if after or end else (total - step) / decay
    return peak * ((1 - math.cos(math.pi * part)) / 2 if cosine else floor + (1 - floor) * part)


wsd.plant(
    {
        sentence: lambda step, warmup, decay, total, peak, wrong=wrong: _wsd(step, warmup, decay, total, peak, **wrong)
        for sentence, wrong in {
            "The warm-up begins one step late or early: step 0 has 0, step `warmup` the peak.": {"first": 1},
            "The decay ends one step late: step `total` has 0.": {"end": 1},
            "The decay follows a cosine; it is linear.": {"cosine": True},
            "`decay` is taken for the step where the decay begins; it is how many steps it takes.": {"after": True},
            "The decay ends above 0.": {"floor": 0.1},
            "There is no stable part: the decay begins right after the warm-up.": {"stable": False},
        }.items()
    }
    | {
        "There is no warm-up: it begins at the peak.": lambda step, warmup, decay, total, peak: _wsd(
            step, 0, decay, total, peak
        ),
        "There is no decay: it stays at the peak to the end.": lambda step, warmup, decay, total, peak: _wsd(
            step, warmup, 0, total, peak
        ),
    }
)


def cosine_lr(step: int, warmup: int, total: int, peak: float, floor: float) -> float:
    """The learning rate of a step, 0 <= step <= total: a linear warm-up from 0 to ``peak``, then half a cosine down to ``floor``.

    ``peak`` is reached at step ``warmup``, which may be 0, and ``floor`` at step ``total``.
    """
    if step < warmup:
        return peak * step / warmup
    part = (step - warmup) / (total - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * part)) / 2


cosine = Definition(
    cosine_lr,
    title="Cosine decay with warm-up",
    level="screen",
    minutes=5,
    topics=("A12",),
    statement="""
    Write the usual schedule: linear from 0 at step 0 to `peak` at step `warmup` (which may be 0), then half a period of a
    cosine, which reaches `floor` at step `total`. Halfway between the two it is `(peak + floor) / 2`. Result: a float.
    """,
    cases=lambda: [
        Case(step, warmup, total, peak, floor)
        for warmup, total, peak, floor in ((3, 13, 2.0, 0.5), (0, 8, 1.0, 0.0), (2, 5, 3e-1, 3e-2))
        for step in range(total + 1)
    ],
    general="Not the warm-up, then floor + (peak - floor) * (1 + cos(pi * part)) / 2.",
    hints=[
        "The part of the way after the warm-up runs from 0 to 1. The cosine of pi times it runs from 1 to -1; make it run from "
        "1 to 0.",
        "`part = (step - warmup) / (total - warmup)`; `floor + (peak - floor) * (1 + math.cos(math.pi * part)) / 2`.",
    ],
)


def _cosine(step, warmup, total, peak, floor, turn=1.0, late=True, low=None, linear=False, first=0, factor=False):
    if step < warmup:
        return peak * (step + first) / warmup
    part = (step - warmup) / (total - warmup) if late else step / total
    wave = 1 - part if linear else (1 + math.cos(turn * math.pi * part)) / 2
    if low == "max":
        return max(floor, peak * wave)
    if low == "add":
        return floor + peak * wave
    low = 0 if low == "none" else floor * peak if factor else floor
    return low + (peak - low) * wave


cosine.plant(
    {
        sentence: lambda step, warmup, total, peak, floor, wrong=wrong: _cosine(
            step, warmup, total, peak, floor, **wrong
        )
        for sentence, wrong in {
            "The cosine begins at step 0, under the warm-up; it begins after it.": {"late": False},
            "A whole period: it comes back to the peak at the end.": {"turn": 2.0},
            "A quarter of a period: it ends halfway down.": {"turn": 0.5},
            "The floor cuts the curve off; it is what the curve runs to.": {"low": "max"},
            "The floor is added to the whole curve: it begins above the peak.": {"low": "add"},
            "The floor is not used.": {"low": "none"},
            "The decay is linear.": {"linear": True},
            "The warm-up begins one step early: step 0 has 0.": {"first": 1},
            "The floor is taken as a share of the peak; it is a learning rate.": {"factor": True},
        }.items()
    }
)
