"""What the learner has done, kept in ``home()/progress.jsonl``: exercises solved, hints used, quizzes, drills."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from course_utils import settings
from course_utils.classroom.records import jsonl

FILE = "progress.jsonl"


@dataclass
class Standing:
    """Where the learner stands with one exercise."""

    solved: bool = False
    attempts: int = 0  # wrong or right; running an untouched exercise is none
    hints: int = 0  # hints shown; the reference counts as one more


@dataclass
class DrillStanding:
    """Where the candidate stands with one drill."""

    attempts: int = 0
    solved: bool = False
    best: float | None = None  # seconds from the start of the clock to a right answer, the shortest time
    hints: int = 0  # hints shown since the drill was last begun anew
    started: datetime | None = None  # when the clock was started; None while none runs

    @property
    def state(self) -> str:
        """'solved' | 'failed' | 'never tried'; solved once is solved."""
        return "solved" if self.solved else "failed" if self.attempts else "never tried"


def record(kind: str, **fields: Any) -> None:
    """Note an event. A folder that cannot be written to never stops a lesson: it says so and goes on."""
    event = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "kind": kind, **fields}
    try:
        jsonl.append(settings.home() / FILE, event)
    except OSError as error:
        print(f"Your progress could not be saved: {error}. The notebook goes on.", file=sys.stdout)


def standings() -> dict[str, Standing]:
    """Exercise id -> standing, over everything recorded. Solved once is solved."""
    result: dict[str, Standing] = {}
    for event in jsonl.read(settings.home() / FILE):
        name = event.get("id")
        if not isinstance(name, str):
            continue
        if event.get("kind") == "exercise":
            standing = result.setdefault(name, Standing())
            standing.attempts += event.get("status") in ("right", "wrong")
            standing.solved |= event.get("status") == "right"
        elif event.get("kind") == "hint":
            standing = result.setdefault(name, Standing())
            step = event.get("step")
            standing.hints = max(standing.hints, step if isinstance(step, int) else 0)
    return result


def quiz_answers() -> dict[str, bool]:
    """Quiz question id -> whether the latest answer was right."""
    events = jsonl.read(settings.home() / FILE)
    return {
        event["id"]: bool(event.get("right"))
        for event in events
        if event.get("kind") == "quiz" and isinstance(event.get("id"), str)
    }


def drills() -> dict[str, DrillStanding]:
    """Drill id -> standing, over everything recorded; drills never opened are left out.

    Read are the kinds ``drill`` (right, seconds), ``drill_start``, ``drill_hint`` (step) and ``drill_reset``.
    """
    result: dict[str, DrillStanding] = {}
    for event in jsonl.read(settings.home() / FILE):
        name, kind = event.get("id"), event.get("kind")
        if not isinstance(name, str) or kind not in ("drill", "drill_start", "drill_hint", "drill_reset"):
            continue
        standing = result.setdefault(name, DrillStanding())
        if kind == "drill":
            standing.attempts += 1
            if event.get("right") is True:
                seconds, standing.solved, standing.started = event.get("seconds"), True, None
                if isinstance(seconds, (int, float)) and seconds >= 0:
                    standing.best = seconds if standing.best is None else min(seconds, standing.best)
        elif kind == "drill_start":
            standing.started = _time(event.get("time"))
        elif kind == "drill_hint":
            step = event.get("step")
            standing.hints = max(standing.hints, step if isinstance(step, int) else 0)
        else:
            standing.hints, standing.started = 0, None
    return result


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
