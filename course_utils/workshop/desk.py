"""What `course workshop` does: the words around the schedule, the grading and the slides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from course_utils import files


def run(asked: str, options: dict[str, Any]) -> int:
    """Do what was asked for; returns the exit status. Mistakes of whoever asks are printed without a traceback."""
    from course_utils.workshop.plan import PlanError

    known: dict[str, Callable[..., int]] = {"plan": plan}
    try:
        return known[asked](**options)
    except PlanError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def plan(
    hours: str | None, days: str | None, chapters: list[str], timings: str | None, start: str, page: str | None
) -> int:
    """Print a schedule, write it as a page, and put its parts into the file of timings."""
    from course_utils.workshop.plan import add_rows, make_plan, read_timings, real_minutes

    table = Path(timings) if timings else None
    real = real_minutes(read_timings(table)) if table else {}
    made = make_plan(hours=hours, days=days, numbers=chapters, real=real, start=start)
    print(made.text())
    if page:
        with files.atomic_file(page) as fresh:
            fresh.write_text(made.html(), encoding="utf-8")
        print(f"\nThe page: {Path(page).resolve()}")
    if table:
        added = add_rows(table, made)
        print(f"\n{added} rows were added to {table}: write what each part really took into the column `real`.")
    return 0
