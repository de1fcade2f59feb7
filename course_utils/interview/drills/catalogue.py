"""All drills by name, and what may be asked of them."""

from __future__ import annotations

import difflib
import textwrap
from functools import cache
from importlib import import_module
from typing import Any

from course_utils.classroom.exercises.attempt import attempt
from course_utils.interview.drills.definition import Definition, Drill, DrillError, Outcome

SUBJECTS = (
    "softmax",
    "attention",
    "blocks",
    "bpe",
    "rows",
    "filters",
    "decoding",
    "caches",
    "lora",
    "quantization",
    "optimizers",
    "schedules",
    "large_runs",
    "preferences",
    "policy_gradients",
    "distillation",
    "evaluation",
    "overlap",
    "statistics",
    "retrieval",
    "drift",
)
FLOOD = 100_000  # characters printed during one check that are worth a word


@cache
def definitions() -> dict[str, Definition]:
    """Name -> definition, subject by subject. No torch is imported."""
    found: dict[str, Definition] = {}
    for subject in SUBJECTS:
        module = import_module(f"{__package__}.{subject}")
        mine = [value for value in vars(module).values() if isinstance(value, Definition)]
        for definition in mine:
            if definition.name in found:
                raise DrillError(f"two drills are called {definition.name}")
            found[definition.name] = definition
    return found


def find(name: str) -> Definition:
    """The definition of a drill. Raises DrillError, naming those that are near."""
    if not isinstance(name, str) or name not in definitions():
        near = difflib.get_close_matches(str(name), names(), 3, 0.4)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise DrillError(f"there is no drill {name!r}.{hint} `course drill` lists all {len(names())}.")
    return definitions()[name]


def names() -> list[str]:
    """The names of all drills, subject by subject."""
    return list(definitions())


def get(name: str) -> Drill:
    """What a candidate sees of a drill. Raises DrillError for an unknown name."""
    return find(name).drill


def reference(name: str) -> str:
    """The source of a drill's working code. Raises DrillError for an unknown name."""
    return find(name).source()


def check(name: str, candidate: Any) -> Outcome:
    """Check ``candidate``, a function or a class, under guard. Records nothing. Raises DrillError for an unknown name."""
    definition = find(name)
    result = attempt(definition.spec, candidate)
    outcome = result.outcome
    seen = {"seconds": outcome.seconds, "printed": outcome.printed, "status": result.status}
    if result.right:
        return Outcome(True, **seen)  # type: ignore[arg-type]
    if result.status == "untouched":
        return Outcome(False, "Nothing is written yet: the code ends in NotImplementedError.", **seen)  # type: ignore[arg-type]
    rows = dict(result.mistake.rows) if result.mistake else {}
    if result.place:
        rows = {"your line": result.place} | rows
    message = result.mistake.message if result.mistake else "Not right."
    if outcome.printed_total > FLOOD:
        message += f" It printed {outcome.printed_total:,} characters meanwhile; the first are kept."
    if "ValueError: atol=" in message:  # a check's own case is too small to be compared: say what is general
        message = definition.general
    return Outcome(False, message, "\n".join(_row(*row) for row in rows.items()), **seen)  # type: ignore[arg-type]


def _row(name: str, value: str) -> str:
    """'yours: 3', or the value below its name where it has several lines."""
    return f"{name}:\n{textwrap.indent(value, '  ')}" if "\n" in value else f"{name}: {value}"
