"""What a design walk is: a task with given figures, choices to make, a calculator, and a budget that must be met.

A figure that is given has a source, or is marked ``YOURS``: an input that the learner replaces by what was measured or
quoted to them. The calculator turns choices into figures; the budget says which of them must lie where.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

YOURS = "yours: replace it by what you measured, or were quoted"
#: NVIDIA's data sheet of the H100 SXM: bf16 without sparsity, 80 GB of HBM3.
H100 = "data sheet of the NVIDIA H100 SXM"
H100_FLOPS, H100_BYTES, H100_BANDWIDTH = 989e12, 80e9, 3.35e12

Values = Mapping[str, float]


class WalkError(ValueError):
    """A choice or a given figure that the walk cannot use; the message says what is expected."""


@dataclass(frozen=True)
class Given:
    """A figure of the task. source: where it comes from, or ``YOURS``."""

    value: float
    unit: str
    text: str
    source: str


@dataclass(frozen=True)
class Choice:
    """Something to decide: a number from ``low`` to ``high``, or one of ``options``."""

    text: str
    low: float = 0.0
    high: float = math.inf
    options: tuple[float, ...] = ()
    whole: bool = False

    @property
    def range(self) -> str:
        """The allowed values in words."""
        if self.options:
            return "one of " + ", ".join(f"{option:g}" for option in self.options)
        return f"{'a whole number' if self.whole else 'a number'} from {self.low:,.12g} to {self.high:,.12g}"


@dataclass(frozen=True)
class Limit:
    """A figure of the budget: at least or at most so much, and why it is asked."""

    figure: str
    unit: str
    text: str
    at_most: float = math.inf
    at_least: float = -math.inf

    def met(self, value: float) -> bool:
        """Whether a value keeps the limit; no number (NaN) does not."""
        return self.at_least <= value <= self.at_most

    @property
    def bound(self) -> str:
        """'at most 30 days'."""
        word, value = ("at most", self.at_most) if math.isfinite(self.at_most) else ("at least", self.at_least)
        return f"{word} {number(value)} {self.unit}".rstrip()


@dataclass(frozen=True)
class Step:
    """One part of the conversation: what the interviewer asks, and what a strong answer holds."""

    ask: str
    expect: str


@dataclass(frozen=True)
class Trap:
    """What people choose, which limit it breaks, and why. ``choices`` replace those of the checked answer."""

    choices: Values
    breaks: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """What a set of choices comes to. missed: the limits that are not kept."""

    walk: Walk
    choices: dict[str, float]
    figures: dict[str, float]
    missed: tuple[Limit, ...]

    @property
    def met(self) -> bool:
        return not self.missed

    def text(self) -> str:
        """The budget line by line."""
        lines = []
        for limit in self.walk.limits:
            value = self.figures[limit.figure]
            mark = "✓" if limit.met(value) else "✗"
            shown = f"{number(value)} {limit.unit}".rstrip()
            lines.append(f"{mark} {limit.figure:<20} {shown:<22} {limit.bound}")
            if mark == "✗":
                lines.append(f"    {limit.text}")
        missed = f"{len(self.missed)} of {len(self.walk.limits)} limits are missed."
        lines.append("The budget is met." if self.met else missed)
        return "\n".join(lines)


@dataclass(frozen=True)
class Walk:
    """One design interview. answer: choices that meet the budget, with the reason why."""

    name: str
    title: str
    minutes: int
    roles: tuple[str, ...]
    task: str
    given: Mapping[str, Given]
    choices: Mapping[str, Choice]
    calculate: Callable[[Any, Any], dict[str, float]]
    limits: tuple[Limit, ...]
    steps: tuple[Step, ...]
    answer: Values
    why: str
    traps: tuple[Trap, ...]

    def judge(self, choices: Values, **given: float) -> Verdict:
        """The figures that follow from ``choices``, and which limits they miss. given: figures of your own.

        Raises WalkError for a choice that is missing, unknown or out of range, and for an unknown or useless figure.
        """
        made = self._checked(choices)
        unknown = sorted(set(given) - set(self.given))
        if unknown:
            raise WalkError(f"{self.name} has no figure {unknown[0]!r}; it has {', '.join(self.given)}.")
        facts = {name: fact.value for name, fact in self.given.items()}
        for name, value in given.items():
            if not _is_number(value) or value <= 0:
                raise WalkError(f"{self.name}: {name} is {value!r}; a number above 0 is expected.")
            facts[name] = float(value)
        figures = self.calculate(SimpleNamespace(**made), SimpleNamespace(**facts))
        return Verdict(self, made, figures, tuple(at for at in self.limits if not at.met(figures[at.figure])))

    def _checked(self, choices: Values) -> dict[str, float]:
        missing = [name for name in self.choices if name not in choices]
        unknown = sorted(set(choices) - set(self.choices))
        if missing or unknown:
            told = f"no choice {unknown[0]!r}" if unknown else f"no value for {', '.join(missing)}"
            raise WalkError(f"{self.name}: {told}; expected are {', '.join(self.choices)}.")
        made = {}
        for name, choice in self.choices.items():
            value = choices[name]
            fits = _is_number(value) and (value in choice.options if choice.options else True)
            fits = fits and choice.low <= value <= choice.high and (not choice.whole or value == int(value))
            if not fits:
                raise WalkError(f"{self.name}: {name} is {value!r}; expected is {choice.range} ({choice.text}).")
            made[name] = float(value)
        return made

    def text(self) -> str:
        """The task as the interviewer tells it: what is given, what is to be chosen, the budget."""
        lines = [f"{self.title}  ({self.minutes} minutes)", "", self.task, "", "Given"]
        for name, fact in self.given.items():
            lines.append(f"  {name:<20} {number(fact.value)} {fact.unit}".rstrip() + f"   {fact.text} ({fact.source})")
        lines += ["", "To choose"]
        lines += [f"  {name:<20} {choice.text}; {choice.range}" for name, choice in self.choices.items()]
        lines += ["", "Budget"]
        lines += [f"  {limit.figure:<20} {limit.bound}   {limit.text}" for limit in self.limits]
        return "\n".join(lines)


def number(value: float) -> str:
    """A figure as it is said: 1,400,000,000,000 is 1.4e+12; 640; 0.604."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.3g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
