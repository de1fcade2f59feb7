"""The exercise engine: run a learner's answer against its check, show a card, and keep the notebook going.

``@exercise("06.2")`` checks the decorated function (or class) at once. Right: the learner's own object is used from
then on. Untouched or wrong: the reference takes its name, so that every later cell works.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from course_utils.classroom import cards, checks, expect, progress
from course_utils.classroom.expect import Mistake
from course_utils.classroom.guard import Outcome, Quit, guarded
from course_utils.classroom.watch import Watch, describe_place, is_own_not_implemented, own_place

__all__ = ["Attempt", "Check", "Mistake", "attempt", "check", "exercise", "expect", "grade", "hint", "known"]


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

    @property
    def reference(self) -> Any:
        """The reference object, imported when first needed."""
        if not isinstance(self.reference_at, str):
            return self.reference_at
        module, _, name = self.reference_at.partition(":")
        return getattr(import_module(module), name)


@dataclass
class Attempt:
    """What became of one attempt. status: 'right' | 'wrong' | 'untouched'."""

    id: str
    status: str
    mistake: Mistake | None = None
    place: str = ""  # the learner's own line, where an exception rose
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def right(self) -> bool:
        return self.status == "right"


_CHECKS: dict[str, Check] = {}
_ATTEMPTS: dict[str, Attempt] = {}
_HINTS_SHOWN: dict[str, int] = {}


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
            id, title, run, reference, difficulty, minutes, points, tuple(hints), asked, seconds, allowed
        )
        return run

    return register


def known(chapter: str | None = None) -> dict[str, Check]:
    """Checks by id: those of one chapter (two digits), or of all."""
    checks.load(chapter) if chapter is not None else checks.load_all()
    found = {key: value for key, value in _CHECKS.items() if chapter is None or key.startswith(f"{chapter}.")}
    return dict(sorted(found.items(), key=lambda item: (item[0][:2], int(item[0][3:]))))


def find(id: str) -> Check:
    """The check of exercise ``id``. Raises ExerciseError, naming those that exist."""
    if callable(id) or not isinstance(id, str):
        raise ExerciseError('an exercise needs its number: write @exercise("06.2"), with the quotes')
    if id not in _CHECKS:
        checks.load(id[:2])
    if id not in _CHECKS:
        there = ", ".join(known(id[:2])) or "none"
        raise ExerciseError(f"there is no exercise {id!r}; chapter {id[:2]} has: {there}")
    return _CHECKS[id]


def attempt(spec: Check, candidate: Any) -> Attempt:
    """Check ``candidate`` under guard and say what became of it. Shows nothing, records nothing, raises nothing."""
    result = Attempt(spec.id, "wrong")
    try:
        _compare_signatures(candidate, spec.reference)
    except Mistake as mistake:
        result.mistake = mistake
        return result
    watch = Watch(candidate, spec.mutates)
    result.outcome = outcome = guarded(lambda: spec.run(watch.candidate), spec.seconds)
    error = outcome.error
    result.place = own_place(candidate, error)
    if outcome.timed_out:
        result.mistake = watch.mistake(
            f"Your code ran longer than {spec.seconds:g} s and was stopped. Does a loop never reach its end?"
        )
        if outcome.abandoned:
            result.mistake.message += " It could not be stopped altogether: restart the kernel when you have mended it."
    elif error is None:
        result.status = "right"
    elif is_own_not_implemented(candidate, error):
        result.status = "untouched"
    elif isinstance(error, Mistake):
        result.mistake, result.place = watch.complete(error), ""
    elif isinstance(error, KeyboardInterrupt):
        result.mistake = watch.mistake("The check was interrupted before your code was done.")
    elif isinstance(error, (SystemExit, Quit)):
        result.mistake = watch.mistake("Your code ends the Python process (`exit()`, `quit()` or `sys.exit()`).")
    elif isinstance(error, RecursionError):
        result.mistake = watch.mistake("Your code calls itself without end (RecursionError).")
    elif watch.raised is error or result.place:
        result.mistake = watch.mistake(f"Your code raises {type(error).__name__}: {_first_line(error)}")
    else:
        result.mistake = watch.mistake(
            f"The check cannot work with what your code returns: {type(error).__name__}: {_first_line(error)}",
            with_return=True,
        )
    return result


def _first_line(error: BaseException) -> str:
    try:
        return str(error).strip().split("\n")[0][:300]
    except Exception:
        return "(its text cannot be shown)"


def _compare_signatures(candidate: Any, reference: Any) -> None:
    """Raise a Mistake if ``candidate`` cannot be called as the reference is."""
    if not callable(candidate):
        raise Mistake("A function or a class is wanted here.", yours=candidate)
    if inspect.isclass(reference) != inspect.isclass(candidate):
        wanted, got = ("class", "function") if inspect.isclass(reference) else ("function", "class")
        raise Mistake(f"A {wanted} is wanted here, yours is a {got}.")
    try:
        wanted_signature, yours = inspect.signature(reference), inspect.signature(candidate)
    except (TypeError, ValueError):
        return
    kinds = inspect.Parameter
    if any(p.kind in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD) for p in yours.parameters.values()):
        return
    needed = [n for n, p in wanted_signature.parameters.items() if p.default is p.empty and p.kind not in (2, 4)]
    problem = ""
    missing = [name for name in needed if name not in yours.parameters]
    extra = [n for n, p in yours.parameters.items() if p.default is p.empty and n not in wanted_signature.parameters]
    shared = [name for name in yours.parameters if name in needed]
    if missing:
        problem = f"The parameter `{missing[0]}` is missing" + (f" (yours has `{extra[0]}`)." if extra else ".")
    elif extra:
        problem = f"The parameter `{extra[0]}` is new; nobody will pass it. Give it a default or take it out."
    elif shared != needed:
        problem = "The parameters have another order."
    if problem:
        raise Mistake(
            f"{problem} Later cells call this by its parameters, so keep the first line as it was.",
            expected=", ".join(wanted_signature.parameters),
            yours=", ".join(yours.parameters),
        )


def exercise(id: str) -> Callable[[Any], Any]:
    """Decorator: check the learner's function or class now; it, or the reference, is what the name will mean.

    Raises ExerciseError for an unknown id, and KeyboardInterrupt again if the learner pressed stop (the reference is
    in place by then).
    """
    spec = find(id)

    def decide(candidate: Any) -> Any:
        result = attempt(spec, candidate)
        _ATTEMPTS[id] = result
        if result.status != "untouched":
            progress.record("exercise", id=id, status=result.status)
        _show(spec, result)
        if result.right:
            return candidate
        if result.outcome.stopped_by_user:
            _bind_reference(candidate, spec.reference)
            raise KeyboardInterrupt
        return spec.reference

    return decide


def _bind_reference(candidate: Any, reference: Any) -> None:
    namespace, name = getattr(candidate, "__globals__", None), getattr(candidate, "__name__", "")
    if namespace is not None and getattr(candidate, "__qualname__", "") == name:
        namespace[name] = reference


def _show(spec: Check, result: Attempt) -> None:
    cards.show(result_card(spec, result))
    if not result.right and cards.has_person():
        from course_utils.classroom.buttons import hint_button

        hint_button(spec)


def result_card(spec: Check, result: Attempt) -> cards.Card:
    """The card of an attempt."""
    notes = []
    outcome = result.outcome
    if outcome.printed_total > len(outcome.printed):
        notes.append(
            f"Your code printed {outcome.printed_total:,} characters during the check; the first {len(outcome.printed):,} "
            "are kept below."
        )
    folded = [("What your code printed", outcome.printed)] if outcome.printed.strip() else []
    name = f"{spec.id}  {spec.title}"
    if result.right:
        return cards.Card("right", f"{name}: right", "From here on the notebook uses your own code.", (), notes, folded)
    first = f'`hint("{spec.id}")` shows hint {_next_hint(spec) + 1} of {len(spec.hints)}.'
    if _next_hint(spec) >= len(spec.hints):
        first = f'`hint("{spec.id}")` shows the reference.'
    if result.status == "untouched":
        facts = f"{cards.dots(spec.difficulty)}  ·  {spec.minutes} minutes"
        facts += f'  ·  asked at interviews: "{spec.asked}"' if spec.asked else ""
        notes.append(f"Not solved yet: the notebook goes on with the reference. {first}")
        return cards.Card("neutral", f"{name}", facts, (), notes, folded)
    mistake = result.mistake or Mistake("Not right.")
    rows = list(mistake.rows.items())
    if result.place:
        rows.insert(0, ("your line", result.place))
    notes.append(f"The notebook goes on with the reference. {first}")
    return cards.Card("wrong", f"{name}: not right yet", mistake.message, rows, notes, folded)


def _next_hint(spec: Check) -> int:
    return min(_HINTS_SHOWN.get(spec.id, 0), len(spec.hints))


def hint(id: str, step: int | None = None) -> None:
    """Show the next hint of an exercise; after the last one, the reference. ``step`` (from 1) shows a given one."""
    cards.show(hint_card(find(id), step))


def hint_card(spec: Check, step: int | None = None) -> cards.Card:
    """The card of the next hint (or of number ``step``), counting it as shown. Raises ExerciseError for a bad step."""
    last = len(spec.hints)
    if step is None:
        step = min(_HINTS_SHOWN.get(spec.id, 0), last) + 1
    if not isinstance(step, int) or isinstance(step, bool) or not 1 <= step <= last + 1:
        raise ExerciseError(
            f"exercise {spec.id} has hints 1 to {last}, and {last + 1} for the reference; given {step!r}"
        )
    if step > _HINTS_SHOWN.get(spec.id, 0):
        _HINTS_SHOWN[spec.id] = step
        progress.record("hint", id=spec.id, step=step)
    if step <= last:
        after = "the next one" if step < last else "the reference"
        notes = [f'`hint("{spec.id}")` again shows {after}.']
        return cards.Card("hint", f"{spec.id}  {spec.title}: hint {step} of {last}", spec.hints[step - 1], (), notes)
    try:
        source = inspect.getsource(spec.reference).rstrip()
    except (OSError, TypeError):
        source = repr(spec.reference)
    where = spec.reference_at if isinstance(spec.reference_at, str) else getattr(spec.reference, "__module__", "")
    message = "The notebook works with this. Read it, close it, and write it once from memory: that is how it stays."
    return cards.Card(
        "hint", f"{spec.id}  {spec.title}: the reference", message, (), [f"`{where}`"], [("Show the code", source)]
    )


def grade(id: str) -> None:
    """The graded cell of exercise ``id``: under nbgrader it raises unless the exercise is right, so its points count.

    In self-study it only reports. Raises AssertionError under nbgrader's autograde and validate.
    """
    spec = find(id)
    result = _ATTEMPTS.get(id)
    points = f"{spec.points} point{'s' if spec.points != 1 else ''}"
    if result is not None and result.right:
        cards.show(cards.Card("right", f"{id}: {points}"))
        return
    state = "its cell has not been run" if result is None else "not solved yet"
    if result is not None and result.mistake is not None:
        state = f"not right yet. {result.mistake.message}"
    if os.environ.get("NBGRADER_EXECUTION") in ("autograde", "validate"):
        raise AssertionError(f"{id} {spec.title}: {state}")
    cards.show(cards.Card("neutral", f"{id}: 0 of {points}", f"{state[0].upper()}{state[1:]}"))
