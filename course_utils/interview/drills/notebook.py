"""``drill`` in a notebook: as a call it shows what to write and starts the clock, as a decorator it checks."""

from __future__ import annotations

from typing import Any

from course_utils.classroom.display import cards
from course_utils.classroom.records import progress
from course_utils.interview.drills import catalogue, clock
from course_utils.interview.drills.definition import Definition, DrillError, Outcome


class OpenDrill:
    """A drill on the desk. Shown as a cell's value it is the statement; called with a function it checks it."""

    def __init__(self, definition: Definition) -> None:
        self._definition, self.name = definition, definition.name
        self._seen = not clock.start(self.name)  # else the time would be that of the check alone

    def __call__(self, candidate: Any) -> Any:
        """Check ``candidate`` now, show a card and record the attempt; it is returned as it is."""
        if isinstance(getattr(candidate, "__globals__", None), dict):
            candidate.__globals__[getattr(candidate, "__name__", self.name)] = candidate  # it may call itself
        outcome = catalogue.check(self.name, candidate)
        cards.show(card(self._definition, outcome, clock.keep(self.name, outcome, timed=self._seen)))
        return candidate

    def hint(self) -> None:
        """Show the next hint."""
        cards.show(hint_card(self._definition))

    def solution(self) -> None:
        """Show the working code; only after the last hint. Raises DrillError before."""
        cards.show(solution_card(self._definition))

    def text(self) -> str:
        """The statement and the starter."""
        self._seen = True
        drill = self._definition.drill
        facts = f"{drill.level}, {drill.minutes} minutes, topics {', '.join(drill.topics)}"
        return f"{drill.title}  ({facts})\n\n{drill.statement}\n\n{drill.starter}"

    __repr__ = text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        self._seen = True
        drill = self._definition.drill
        page = f"**{drill.title}** ({drill.level}, {drill.minutes} minutes)\n\n{drill.statement}\n\n"
        page += f'```python\n{_under_decorator(drill.starter, self.name, self._definition.symbol)}```\n\n`drill("{self.name}").hint()` helps.'
        return {"text/markdown": page, "text/plain": self.text()}


def drill(name: str) -> OpenDrill:
    """Open a drill and start its clock, unless it runs. Raises DrillError for an unknown name.

    ``drill("stable_softmax")`` as the last line of a cell shows what to write; ``@drill("stable_softmax")`` above a
    function checks it.
    """
    return OpenDrill(catalogue.find(name))


def card(definition: Definition, outcome: Outcome, passed: float | None) -> cards.Card:
    """The card of an attempt."""
    name = f"{definition.name}  {definition.drill.title}"
    folded = [("What your code printed", outcome.printed)] if outcome.printed.strip() else []
    clocked = "Not timed" if passed is None else f"{clock.spoken(passed)} on the clock"
    time = f"{clocked}; {definition.drill.minutes} min is the measure."
    if outcome.right:
        return cards.Card("right", f"{name}: right", time, (), (), folded)
    if outcome.status == "untouched":
        return cards.Card("neutral", name, outcome.message, (), (), folded)
    rows = [("case", outcome.case)] if outcome.case else []
    helped = f'A hint: `course drill {definition.name} --hint`, in a notebook `drill("{definition.name}").hint()`.'
    return cards.Card("wrong", f"{name}: not right yet", outcome.message, rows, [time, helped], folded)


def hint_card(definition: Definition) -> cards.Card:
    """The next hint of a drill, counted as shown."""
    hints = definition.spec.hints
    standing = progress.drills().get(definition.name)
    step = min(standing.hints if standing else 0, len(hints) - 1) + 1
    progress.record("drill_hint", id=definition.name, step=step)
    note = "That was the last one; after it the solution may be seen." if step == len(hints) else ""
    return cards.Card(
        "hint", f"{definition.name}: hint {step} of {len(hints)}", hints[step - 1], (), [note] if note else []
    )


def solution_card(definition: Definition) -> cards.Card:
    """The working code. Raises DrillError while hints are left."""
    standing, hints = progress.drills().get(definition.name), definition.spec.hints
    shown = standing.hints if standing else 0
    if shown < len(hints):
        raise DrillError(
            f"{definition.name}: {shown} of {len(hints)} hints are shown; the solution comes after the last"
        )
    message = "Read it, close it, and write it once from memory: so it stays."
    return cards.Card("hint", f"{definition.name}: the solution", message, (), (), [("Code", definition.source())])


def _under_decorator(starter: str, name: str, symbol: str) -> str:
    lines = starter.splitlines(keepends=True)
    at = next(place for place, line in enumerate(lines) if line.startswith((f"def {symbol}(", f"class {symbol}")))
    return "".join([*lines[:at], f'@drill("{name}")\n', *lines[at:]])
