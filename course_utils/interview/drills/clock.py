"""The clock and the record of a drill: when it was begun, how it ended. Kept in the learner's progress."""

from __future__ import annotations

from datetime import UTC, datetime

from course_utils.classroom.records import progress
from course_utils.interview.drills.definition import Outcome

LONGEST = 3 * 3600.0  # seconds after which a drill counts as put aside, and its clock says nothing


def start(name: str) -> bool:
    """Start the clock of a drill, unless it runs. Returns whether it was started now."""
    if seconds(name) is not None:
        return False
    progress.record("drill_start", id=name)
    return True


def seconds(name: str) -> float | None:
    """Seconds since the clock was started; None if none runs, it was put aside, or the machine's clock was set back."""
    standing = progress.drills().get(name)
    if standing is None or standing.started is None:
        return None
    started = standing.started if standing.started.tzinfo else standing.started.replace(tzinfo=UTC)
    passed = (datetime.now(UTC) - started).total_seconds()
    return max(passed, 0.0) if -1 <= passed <= LONGEST else None


def keep(name: str, outcome: Outcome, timed: bool = True) -> float | None:
    """Record an attempt, unless nothing was written yet; returns the seconds on the clock, None if it is not timed."""
    passed = seconds(name) if timed else None
    if outcome.status != "untouched":
        progress.record("drill", id=name, right=outcome.right, seconds=None if passed is None else round(passed, 1))
    return passed


def spoken(passed: float | None) -> str:
    """'4 min 05 s', or '-' for no time."""
    if passed is None:
        return "-"
    minutes, rest = divmod(round(passed), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
