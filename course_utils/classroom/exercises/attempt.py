"""One attempt at an exercise: the learner's object against its check, under guard, and what came of it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from course_utils.classroom.exercises.expect import Mistake
from course_utils.classroom.exercises.registry import Check
from course_utils.classroom.exercises.sandbox import Outcome, Quit, guarded
from course_utils.classroom.exercises.spy import Spy, is_own_not_implemented, looks_untouched, own_place

_PATIENCE = 120.0  # seconds for code that cannot loop: the reference, and an untouched answer
_REFERENCE_SECONDS: dict[str, float] = {}


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


def attempt(spec: Check, candidate: Any) -> Attempt:
    """Check ``candidate`` under guard and say what became of it. Shows nothing, records nothing, raises nothing."""
    result = Attempt(spec.id, "wrong")
    try:
        _compare_signatures(candidate, spec.reference)
    except Mistake as mistake:
        result.mistake = mistake
        return result
    spy = Spy(candidate, spec.mutates)
    limit = _limit(spec, candidate)
    result.outcome = outcome = guarded(lambda: spec.run(spy.candidate), limit)
    error = outcome.error
    result.place = own_place(candidate, error)
    if outcome.timed_out:
        result.mistake = spy.mistake(
            f"Your code ran longer than {limit:.2g} s and was stopped. Does a loop never reach its end?"
        )
        if outcome.abandoned:
            result.mistake.message += " It could not be stopped altogether: restart the kernel when you have mended it."
    elif error is None:
        result.status = "right"
    elif is_own_not_implemented(candidate, error):
        result.status = "untouched"
    elif isinstance(error, Mistake):
        result.mistake, result.place = spy.complete(error), ""
    elif isinstance(error, KeyboardInterrupt):
        result.mistake = spy.mistake("The check was interrupted before your code was done.")
    elif isinstance(error, (SystemExit, Quit)):
        result.mistake = spy.mistake("Your code ends the Python process (`exit()`, `quit()` or `sys.exit()`).")
    elif isinstance(error, RecursionError):
        result.mistake = spy.mistake("Your code calls itself without end (RecursionError).")
    elif spy.raised is error or result.place:
        result.mistake = spy.mistake(f"Your code raises {type(error).__name__}: {_first_line(error)}")
    else:
        result.mistake = spy.mistake(
            f"The check cannot work with what your code returns: {type(error).__name__}: {_first_line(error)}",
            with_return=True,
        )
    return result


def _limit(spec: Check, candidate: Any) -> float:
    """Seconds for the check: its own limit, or more where the reference itself is slow on this machine."""
    if looks_untouched(candidate):
        return _PATIENCE
    if spec.id not in _REFERENCE_SECONDS:
        reference = spec.reference
        seconds = guarded(lambda: spec.run(reference), _PATIENCE).seconds
        if 20 * seconds > spec.seconds:  # the first run may have paid for imports
            seconds = min(seconds, guarded(lambda: spec.run(reference), _PATIENCE).seconds)
        _REFERENCE_SECONDS[spec.id] = seconds
    return max(spec.seconds, 20 * _REFERENCE_SECONDS[spec.id])


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
