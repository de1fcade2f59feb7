"""The exercise engine: check a learner's answer at once, show a card, and keep the notebook going.

``@exercise("06.2")`` checks the decorated function (or class). Right: the learner's own object is used from then on.
Untouched or wrong: the reference takes its name, so that every later cell works.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from course_utils.classroom.display import cards
from course_utils.classroom.exercises import expect, hints
from course_utils.classroom.exercises.attempt import Attempt, attempt
from course_utils.classroom.exercises.expect import Mistake
from course_utils.classroom.exercises.hints import hint
from course_utils.classroom.exercises.registry import Check, ExerciseError, check, find, known
from course_utils.classroom.records import claims, progress
from course_utils.language import say, say_count

__all__ = [
    "Attempt",
    "Check",
    "ExerciseError",
    "Mistake",
    "attempt",
    "check",
    "exercise",
    "expect",
    "find",
    "grade",
    "hint",
    "known",
    "latest",
]

_ATTEMPTS: dict[str, Attempt] = {}  # the latest attempt of each exercise in this kernel


def exercise(id: str) -> Callable[[Any], Any]:
    """Decorator: check the learner's function or class now; it, or the reference, is what the name will mean.

    Raises ExerciseError for an unknown id, and KeyboardInterrupt again if the learner pressed stop (the reference is
    in place by then).
    """
    spec = find(id)

    def decide(candidate: Any) -> Any:
        _bind(candidate, candidate, sys._getframe(1).f_globals)  # before the check: it may call itself by its name
        result = attempt(spec, candidate)
        _ATTEMPTS[id] = result
        if result.status != "untouched":
            progress.record("exercise", id=id, status=result.status)
        claims.stands_in(id, not result.right)
        _show(spec, result)
        if result.right:
            return candidate
        if result.outcome.stopped_by_user:
            _bind(candidate, spec.reference, sys._getframe(1).f_globals)
            raise KeyboardInterrupt
        return spec.reference

    return decide


def latest(id: str) -> Attempt | None:
    """The latest attempt at an exercise in this kernel, or None."""
    return _ATTEMPTS.get(id)


def _bind(candidate: Any, value: Any, namespace: dict[str, Any]) -> None:
    """Let the name that a function or class of the cell was defined with mean ``value``, in that cell's namespace."""
    name = getattr(candidate, "__name__", "")
    if name.isidentifier() and getattr(candidate, "__qualname__", "") == name:
        getattr(candidate, "__globals__", namespace)[name] = value


def _show(spec: Check, result: Attempt) -> None:
    cards.show(result_card(spec, result))
    if not result.right and cards.has_person():
        from course_utils.classroom.exercises.hints import hint_button

        hint_button(spec)


def result_card(spec: Check, result: Attempt) -> cards.Card:
    """The card of an attempt."""
    notes = []
    outcome = result.outcome
    if outcome.printed_total > len(outcome.printed):
        notes.append(
            say(
                "Your code printed {total:,} characters during the check; the first {kept:,} are kept below.",
                total=outcome.printed_total,
                kept=len(outcome.printed),
            )
        )
    folded = [(say("What your code printed"), outcome.printed)] if outcome.printed.strip() else []
    name = f"{spec.id}  {say(spec.title)}"
    if result.right:
        return cards.Card(
            "right",
            say("{name}: right", name=name),
            say("From here on the notebook uses your own code."),
            (),
            notes,
            folded,
        )
    if result.status == "untouched":
        facts = f"{cards.dots(spec.difficulty)}  ·  {say('{n} minutes', n=spec.minutes)}"
        facts += say('  ·  asked at interviews: "{question}"', question=say(spec.asked)) if spec.asked else ""
        notes.append(f"{say('Not solved yet: the notebook goes on with the reference.')} {hints.offer(spec)}")
        return cards.Card("neutral", f"{name}", facts, (), notes, folded)
    mistake = result.mistake or Mistake(say("Not right."))
    rows = [(say(row), value) for row, value in mistake.rows.items()]
    if result.place:
        rows.insert(0, (say("your line"), result.place))
    notes.append(f"{say('The notebook goes on with the reference.')} {hints.offer(spec)}")
    return cards.Card("wrong", say("{name}: not right yet", name=name), say(mistake.message), rows, notes, folded)


def grade(id: str) -> None:
    """The graded cell of exercise ``id``: under nbgrader it raises unless the exercise is right, so its points count.

    In self-study it only reports. Raises AssertionError under nbgrader's autograde and validate.
    """
    spec = find(id)
    result = _ATTEMPTS.get(id)
    points = say_count("{n} point", "{n} points", spec.points)
    if result is not None and result.right:
        cards.show(cards.Card("right", f"{id}: {points}"))
        return
    state = say("its cell has not been run") if result is None else say("not solved yet")
    if result is not None and result.mistake is not None:
        state = f"{say('not right yet.')} {say(result.mistake.message)}"
    if os.environ.get("NBGRADER_EXECUTION") in ("autograde", "validate"):
        raise AssertionError(f"{id} {say(spec.title)}: {state}")
    cards.show(
        cards.Card("neutral", say("{id}: 0 of {points}", id=id, points=points), f"{state[0].upper()}{state[1:]}")
    )
