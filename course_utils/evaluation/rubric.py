"""A rubric: several plain questions with a weight each, instead of one question "how good?".

Each criterion is decided for itself, by a rule, a look-up or a model, so a judge's taste in one cannot colour another,
and the score says where it comes from. A judge that says neither yes nor no has not judged: that is counted, never
turned into a no.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Decide = Callable[[Mapping[str, Any], str], bool | None]  # task, answer -> yes, no, or "cannot be said"
YES_NO = re.compile(r"\W*(yes|no)\b(?!\W+(?:and|or)\W+(?:yes|no)\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Criterion:
    """One question about an answer. weight: what a yes is worth, above 0."""

    name: str
    weight: float
    decide: Decide


@dataclass(frozen=True)
class Marks:
    """``scores``: for each answer the weights of its yeses as a share of all, or None if a criterion could not be
    decided. ``shares``: for each criterion the share of yes among the decided ones, or None if there was none.
    ``undecided``: how many answers each criterion said nothing about."""

    scores: list[float | None]
    shares: dict[str, float | None]
    undecided: dict[str, int]


def mark(criteria: Sequence[Criterion], tasks: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> Marks:
    """Mark every answer by every criterion.

    Raises ValueError for no criteria, two of one name, a weight that is not above 0, counts that differ or are 0, and
    for a judge that gives anything but True, False and None.
    """
    names = [criterion.name for criterion in criteria]
    if not names or len(set(names)) < len(names) or not all(criterion.weight > 0 for criterion in criteria):
        raise ValueError(
            f"the criteria are {names}; at least one is expected, each with its own name and a weight above 0."
        )
    if len(tasks) != len(answers) or not len(tasks):
        raise ValueError(f"{len(tasks)} tasks and {len(answers)} answers; one answer for each task, and at least one.")
    said = {c.name: [_decided(c, task, text) for task, text in zip(tasks, answers, strict=True)] for c in criteria}
    total = sum(criterion.weight for criterion in criteria)
    scores: list[float | None] = []
    for row in zip(*said.values(), strict=True):
        won = sum(c.weight for c, yes in zip(criteria, row, strict=True) if yes)
        scores.append(None if None in row else won / total)
    shares = {name: _share(values) for name, values in said.items()}
    return Marks(scores, shares, {name: values.count(None) for name, values in said.items()})


def read_verdict(text: str) -> bool | None:
    """What a model that was asked for "yes" or "no" said: it must begin with one of them, else None. "Yes and no" is
    None too."""
    found = YES_NO.match(text)
    return None if found is None else found[1].lower() == "yes"


def _decided(criterion: Criterion, task: Mapping[str, Any], text: str) -> bool | None:
    verdict = criterion.decide(task, text)
    if verdict is not None and not isinstance(verdict, bool):
        raise ValueError(f"the judge of {criterion.name!r} said {verdict!r}; True, False or None is expected.")
    return verdict


def _share(values: Sequence[bool | None]) -> float | None:
    decided = [value for value in values if value is not None]
    return sum(decided) / len(decided) if decided else None
