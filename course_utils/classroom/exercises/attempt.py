"""One attempt at an exercise: the learner's object against its check, under guard, and what came of it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from course_utils.classroom.exercises.expect import Mistake
from course_utils.classroom.exercises.registry import Check
from course_utils.classroom.exercises.sandbox import Outcome, Quit, guarded
from course_utils.classroom.exercises.spy import Spy, is_own_not_implemented, looks_untouched, own_place
from course_utils.language import say

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
            say(
                "Your code ran longer than {limit:.2g} s and was stopped. Does a loop never reach its end?", limit=limit
            )
        )
        if outcome.abandoned:
            left = say("It could not be stopped altogether: restart the kernel when you have mended it.")
            result.mistake.message += f" {left}"
    elif error is None:
        result.status = "right"
    elif is_own_not_implemented(candidate, error):
        result.status = "untouched"
    elif isinstance(error, Mistake):
        result.mistake, result.place = spy.complete(error), ""
    elif isinstance(error, KeyboardInterrupt):
        result.mistake = spy.mistake(say("The check was interrupted before your code was done."))
    elif isinstance(error, (SystemExit, Quit)):
        result.mistake = spy.mistake(say("Your code ends the Python process (`exit()`, `quit()` or `sys.exit()`)."))
    elif isinstance(error, RecursionError):
        result.mistake = spy.mistake(say("Your code calls itself without end (RecursionError)."))
    elif spy.raised is error or result.place:
        result.mistake = spy.mistake(
            say("Your code raises {error}: {text}", error=type(error).__name__, text=_first_line(error))
        )
    else:
        result.mistake = spy.mistake(
            say(
                "The check cannot work with what your code returns: {error}: {text}",
                error=type(error).__name__,
                text=_first_line(error),
            ),
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
        return say("(its text cannot be shown)")


def _compare_signatures(candidate: Any, reference: Any) -> None:
    """Raise a Mistake if ``candidate`` cannot be called as the reference is."""
    if not callable(candidate):
        raise Mistake(say("A function or a class is wanted here."), yours=candidate)
    if inspect.isclass(reference) != inspect.isclass(candidate):
        if inspect.isclass(reference):
            raise Mistake(say("A class is wanted here, yours is a function."))
        raise Mistake(say("A function is wanted here, yours is a class."))
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
        problem = say("The parameter `{name}` is missing.", name=missing[0])
        if extra:
            problem = say("The parameter `{name}` is missing (yours has `{other}`).", name=missing[0], other=extra[0])
    elif extra:
        problem = say(
            "The parameter `{name}` is new; nobody will pass it. Give it a default or take it out.", name=extra[0]
        )
    elif shared != needed:
        problem = say("The parameters have another order.")
    if problem:
        raise Mistake(
            f"{problem} {say('Later cells call this by its parameters, so keep the first line as it was.')}",
            expected=", ".join(wanted_signature.parameters),
            yours=", ".join(yours.parameters),
        )
