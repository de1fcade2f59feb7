"""The register of exercises: what a check is, and how it is found by the exercise's number."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

CHECKS = "course_utils.classroom.checks"  # found by name, as plug-ins are: they stand above, and use this module


class ExerciseError(ValueError):
    """The author's or the caller's mistake: an unknown id, a bad argument. Never the learner's answer."""


@dataclass(frozen=True)
class Check:
    """One exercise: how it is checked, and what is said about it."""

    id: str
    title: str
    run: Callable[[Any], None]
    reference_at: str | Callable[..., Any]
    difficulty: int
    minutes: int
    points: int
    hints: tuple[str, ...]
    asked: str = ""
    seconds: float = 10.0
    mutates: tuple[str, ...] | bool = False
    bugs: Sequence[Any] = ()  # wrong answers with the sentence that each must get, see cases.py

    @property
    def reference(self) -> Any:
        """The reference object, imported when first needed."""
        if not isinstance(self.reference_at, str):
            return self.reference_at
        module, _, name = self.reference_at.partition(":")
        return getattr(import_module(module), name)


_CHECKS: dict[str, Check] = {}


def check(
    id: str,
    *,
    title: str,
    reference: str | Callable[..., Any],
    difficulty: int,
    minutes: int,
    points: int,
    hints: list[str],
    asked: str = "",
    seconds: float = 10.0,
    mutates: list[str] | bool = False,
    bugs: Sequence[Any] = (),
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register the decorated function as the check of exercise ``id`` ('NN.k').

    The function takes the learner's object and raises ``Mistake`` (most simply through ``expect``) on the smallest
    failing case. reference: 'package.module:name' or the object. difficulty: 1 to 4. minutes: a learner's time.
    seconds: time limit of the whole check. mutates: parameters that the answer may change in place (True: all).
    Raises ExerciseError for a malformed or doubled id, or without hints.
    """
    if not re.fullmatch(r"\d\d\.[1-9]\d*", id):
        raise ExerciseError(f"exercise id {id!r}: expected two digits, a point and a number, such as '06.2'")
    if not hints or not 1 <= difficulty <= 4:
        raise ExerciseError(f"exercise {id}: it needs at least one hint and a difficulty from 1 to 4")

    def register(run: Callable[[Any], None]) -> Callable[[Any], None]:
        old = _CHECKS.get(id)
        if old is not None and (old.run.__module__, old.run.__qualname__) != (run.__module__, run.__qualname__):
            raise ExerciseError(f"exercise {id} has two checks: {old.run.__qualname__} and {run.__qualname__}")
        allowed = mutates if isinstance(mutates, bool) else tuple(mutates)
        _CHECKS[id] = Check(
            id, title, run, reference, difficulty, minutes, points, tuple(hints), asked, seconds, allowed, bugs
        )
        return run

    return register


def parameters(function: Any) -> list[str]:
    """The names of a function's parameters, or those of a class's constructor."""
    return list(inspect.signature(function).parameters)


def chapters() -> list[str]:
    """The chapters that have checks, as two digits."""
    folder = Path(__file__).resolve().parents[1] / "checks"
    return sorted(m.name[2:] for m in pkgutil.iter_modules([str(folder)]) if m.name.startswith("ch"))


def load(chapter: str) -> None:
    """Import the checks of ``chapter`` (two digits), which register themselves. One without checks is left alone."""
    if chapter in chapters():
        import_module(f"{CHECKS}.ch{chapter}")


def known(chapter: str | None = None) -> dict[str, Check]:
    """Checks by id: those of one chapter (two digits), or of all."""
    for number in chapters() if chapter is None else [chapter]:
        load(number)
    found = {key: value for key, value in _CHECKS.items() if chapter is None or key.startswith(f"{chapter}.")}
    return dict(sorted(found.items(), key=lambda item: (item[0][:2], int(item[0][3:]))))


def minutes(chapter: str) -> dict[str, int]:
    """A learner's minutes by exercise, read from the text of the checks: to import them would import torch."""
    source = Path(__file__).resolve().parents[1] / "checks" / f"ch{chapter}.py"
    if not source.is_file():
        return {}
    found = {}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if isinstance(taken := given.get("minutes"), ast.Constant) and {"title", "reference"} <= given.keys():
                found[str(node.args[0].value)] = int(str(taken.value))
    return found


def find(id: str) -> Check:
    """The check of exercise ``id``. Raises ExerciseError, naming those that exist."""
    if callable(id) or not isinstance(id, str):
        raise ExerciseError('an exercise needs its number: write @exercise("06.2"), with the quotes')
    if id not in _CHECKS:
        load(id[:2])
    if id not in _CHECKS:
        there = ", ".join(known(id[:2])) or "none"
        raise ExerciseError(f"there is no exercise {id!r}; chapter {id[:2]} has: {there}")
    return _CHECKS[id]
