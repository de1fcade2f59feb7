"""A mock interview: questions, drills and a design walk, drawn for a role, a level and so many minutes, and marked.

What is drawn leans to weak chapters and away from what was asked before. The marks are the candidate's own, against a
rubric; two are not: a drill counts as right only if its check says so, and a walk whose budget is missed is worth one
point at most.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from course_utils import settings
from course_utils.classroom.records import claims, jsonl, progress
from course_utils.interview import bank, standing, walks
from course_utils.interview.show import with_figures

ROLES: dict[str, tuple[str, ...]] = {  # role: the chapters that its questions come from
    "generalist": tuple(f"{n:02d}" for n in range(1, 23)),
    "pretraining": ("01", "02", "03", "04", "18"),
    "post-training": ("05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "16"),
    "evaluation": ("15", "16", "17", "20"),
    "inference": ("02", "10", "18", "19", "20"),
}
LEVELS: dict[str, tuple[str, ...]] = {  # level of the interview: levels of its questions
    "screen": ("screen", "onsite"),
    "onsite": ("screen", "onsite", "staff"),
    "staff": ("onsite", "staff"),
}
QUESTION_MINUTES = 4
MARKS = (
    "0  nothing, or wrong",
    "1  the idea, with gaps",
    "2  right and complete",
    "3  right, with a figure that you measured, and the follow-ups too",
)


class MockError(ValueError):
    """A mock interview that cannot be drawn, or a mark that is none."""


@dataclass(frozen=True)
class Item:
    """One part. kind: "question", "drill" or "walk"; id: its name in the bank, among the drills or the walks."""

    kind: str
    id: str
    minutes: int


@dataclass(frozen=True)
class Round:
    """What is asked in one mock interview."""

    role: str
    level: str
    minutes: int
    seed: int
    items: tuple[Item, ...]


def the_drills() -> Any:
    """The module of coding drills, imported when first needed."""
    from course_utils.interview import drills

    return drills


def draw(role: str = "generalist", level: str = "onsite", minutes: int = 60, seed: int | None = None) -> Round:
    """Draw a round: a walk if there are 30 minutes or more, a drill if there are 20, and questions for the rest.

    seed: the number of mocks so far unless given; the same records and seed give the same round.
    Raises MockError for an unknown role or level, or less than 10 minutes or more than 240.
    """
    if role not in ROLES:
        raise MockError(f"role is {role!r}; expected one of {', '.join(ROLES)}.")
    if level not in LEVELS:
        raise MockError(f"level is {level!r}; expected one of {', '.join(LEVELS)}.")
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 10 <= minutes <= 240:
        raise MockError(f"minutes is {minutes!r}; a whole number from 10 to 240 is expected.")
    before = [entry.get("id") for mock in standing.mocks() for entry in mock["marks"]]
    seed = len(standing.mocks()) if seed is None else seed
    dice, items, left = random.Random(f"{role} {level} {minutes} {seed}"), [], minutes
    if minutes >= 30:
        fit = [walks.get(name) for name in walks.NAMES]
        fit = [walk for walk in fit if role in walk.roles and walk.minutes <= minutes - 10] or fit
        chosen = min(fit, key=lambda walk: (before.count(walk.name), dice.random()))
        items.append(Item("walk", chosen.name, min(chosen.minutes, left - 10)))
        left -= items[-1].minutes
    if minutes >= 20 and (found := _drill(level, max(10, left // 2), before, dice)):
        items.insert(0, found)
        left -= found.minutes
    asked = _questions(role, level, max(1, left // QUESTION_MINUTES), before, dice)
    return Round(role, level, minutes, seed, (*asked, *items))


def _questions(role: str, level: str, count: int, before: list[Any], dice: random.Random) -> list[Item]:
    """Drawn without repetition: three times as likely where a chapter is wholly weak; those asked before come last."""
    weak = standing.weakness()
    fit = [item for item in bank.all_questions() if item.id[:2] in ROLES[role] and item.level in LEVELS[level]]
    if not fit:
        raise MockError(f"the bank has no question for {role}, {level}.")
    # Efraimidis and Spirakis 2006: the largest u^(1 / weight) are a weighted sample without repetition
    keyed = [(before.count(q.id), -(dice.random() ** (1 / (1 + 2 * weak.get(q.id[:2], 0.5)))), q.id) for q in fit]
    return [Item("question", id, QUESTION_MINUTES) for _, _, id in sorted(keyed)[:count]]


def _drill(level: str, minutes: int, before: list[Any], dice: random.Random) -> Item | None:
    drills, spare = the_drills(), None
    for name in sorted(drills.names(), key=lambda name: (before.count(name), dice.random())):
        drill = drills.get(name)  # one after the other: to read all of them takes a second
        if drill.minutes <= minutes and drill.level in LEVELS[level]:
            return Item("drill", drill.name, drill.minutes)
        if drill.minutes <= minutes and spare is None:
            spare = Item("drill", drill.name, drill.minutes)
    return spare


def asked(item: Item) -> str:
    """What the interviewer says."""
    if item.kind == "question":
        return bank.question(item.id).question
    if item.kind == "walk":
        return walks.get(item.id).text()
    drill = the_drills().get(item.id)
    return f"{drill.title}\n\n{drill.statement}\n\n{drill.starter}"


def rubric(item: Item, measured: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """What a strong answer holds, to be compared after the candidate has answered."""
    if item.kind == "question":
        found = bank.question(item.id)
        measured = claims.recorded() if measured is None else measured
        parts = ["30 seconds:", found.short, "In depth:", found.deep, "They may go on:"]
        parts += [f"- {part.question} {part.answer}" for part in found.followups]
        parts += ["Often said, and wrong:", *(f'- "{part.answer}" {part.why}' for part in found.wrong)]
        return with_figures("\n".join(parts), measured)
    if item.kind == "walk":
        walk = walks.get(item.id)
        lines = [f"- {step.ask}\n  {step.expect}" for step in walk.steps]
        chosen = ", ".join(f"{name} {value:,.12g}" for name, value in walk.answer.items())
        return "\n".join([*lines, f"One answer that meets the budget: {chosen}.", walk.why])
    return "The drill's check says whether it is right; say its complexity and its edge cases aloud."


@dataclass
class Sitting:
    """A round while it is held: ``begin`` an item, then ``finish`` it with a mark; ``close`` keeps the marks.

    clock: seconds, as ``time.monotonic``.
    """

    round: Round
    clock: Callable[[], float] = time.monotonic
    results: list[dict[str, Any]] = field(default_factory=list)
    _item: Item | None = None
    _since: float = 0.0
    _most: int | None = None
    _solved: int = 0

    def begin(self, item: Item) -> str:
        """Start the clock; returns what is asked. Raises MockError if the item is not of this round."""
        if item not in self.round.items:
            raise MockError(f"{item.id} is not of this round.")
        self._item, self._since, self._most = item, self.clock(), None
        self._solved = _times_solved(item.id)
        return asked(item)

    def judge_walk(self, choices: Mapping[str, float], **given: float) -> walks.Verdict:
        """The walk's verdict on the candidate's choices; a missed budget is worth one point at most."""
        verdict = walks.get(self._current("walk").id).judge(choices, **given)
        self._most = 3 if verdict.met else 1
        return verdict

    def check_drill(self, function: Any) -> Any:
        """The drill's own outcome; one that is not right is worth one point at most."""
        outcome = the_drills().check(self._current("drill").id, function)
        self._most = 3 if outcome.right else 1
        return outcome

    def finish(self, mark: int) -> dict[str, Any]:
        """Stop the clock and note a mark from 0 to 3, lowered to what the check or the budget allows.

        A drill that was not checked here counts as right if `course drill --check` has found it right meanwhile.
        """
        if isinstance(mark, bool) or mark not in (0, 1, 2, 3):
            raise MockError(f"mark is {mark!r}; expected is 0, 1, 2 or 3: {'; '.join(MARKS)}.")
        item = self._current()
        seconds = round(self.clock() - self._since, 1)
        if item.kind == "drill" and self._most is None:
            self._most = 3 if _times_solved(item.id) > self._solved else 1
        note = {
            "kind": item.kind,
            "id": item.id,
            "mark": min(mark, 3 if self._most is None else self._most),
            "seconds": seconds,
        }
        self.results.append(note | {"late": seconds > 60 * item.minutes})
        self._item = None
        return self.results[-1]

    def close(self) -> float:
        """Keep the marks among the learner's records; returns their mean share. Nothing is kept of an empty sitting."""
        if not self.results:
            return 0.0
        drawn = {"role": self.round.role, "level": self.round.level, "minutes": self.round.minutes}
        progress.record("mock", **drawn, seed=self.round.seed, marks=self.results)
        return sum(result["mark"] for result in self.results) / (3 * len(self.results))

    def _current(self, kind: str = "") -> Item:
        if self._item is None or (kind and self._item.kind != kind):
            raise MockError(f"no {kind or 'item'} was begun; call begin(item) first.")
        return self._item


def _times_solved(name: str) -> int:
    """How often the records say that a drill's check found it right."""
    events = jsonl.read(settings.home() / progress.FILE)
    return sum(
        event.get("kind") == "drill" and event.get("id") == name and event.get("right") is True for event in events
    )
