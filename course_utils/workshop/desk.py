"""What `course workshop` does: the words around the schedule, the grading and the slides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from course_utils import files


def run(asked: str, options: dict[str, Any]) -> int:
    """Do what was asked for; returns the exit status. Mistakes of whoever asks are printed without a traceback."""
    from course_utils.workshop.bundle import BundleError
    from course_utils.workshop.gradebook import GradebookError
    from course_utils.workshop.plan import PlanError

    known: dict[str, Callable[..., int]] = {
        "plan": plan,
        "release": release,
        "grade": grade,
        "slides": slides,
        "edition": edition,
        "bundle": bundle,
    }
    try:
        return known[asked](**options)
    except (BundleError, GradebookError, PlanError) as error:
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


def release(folder: str, chapters: list[str]) -> int:
    """Write what is given out, and say where what comes back belongs."""
    from course_utils.workshop.gradebook import release as give_out

    for path in give_out(Path(folder), chapters):
        print(f"give out  {path}")
    print(f"\nWhat comes back belongs in {Path(folder, 'submitted', 'NAME')}, a folder for each learner. Then:")
    print(f"course workshop grade {folder}")
    return 0


def grade(folder: str, again: bool, cell_seconds: int, minutes: int, memory: float) -> int:
    """Grade, and say what came of it. Stopped at any moment, the same command goes on."""
    from course_utils.workshop import cohort, gradebook
    from course_utils.workshop.isolated import Limits

    if not (cell_seconds > 0 and minutes > 0 and memory >= 1):
        raise gradebook.GradebookError(
            f"--cell-seconds {cell_seconds}, --minutes {minutes}, --memory {memory:g}: expected more than no time and "
            "at least 1 GiB, such as --cell-seconds 120 --minutes 15 --memory 4."
        )
    limits = Limits(cell_seconds, 60 * minutes, int(memory * 2**30))
    try:
        done = gradebook.grade(Path(folder), limits=limits, again=again, tell=lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        print("\nStopped. What is graded is kept; the same command goes on from here.")
        return 130
    for one in done:
        print(f"\n{cohort.table(one)}")
        print(f"points    {cohort.write_table(one, Path(folder, f'grades-{one.assignment}.csv'))}")
        print(f"report    {cohort.write_page(one, Path(folder, f'report-{one.assignment}.html'))}")
    print(f"feedback  {Path(folder, 'feedback')}")
    return 0


def slides(chapters: list[str], to: str) -> int:
    """Write slides."""
    from course_utils.workshop.slides import write_slides

    for number in chapters:
        print(f"slides  {write_slides(number, Path(to))}", flush=True)
    print("Open them in a browser: arrows to move, S for the notes, F for the whole screen.")
    return 0


def edition(chapters: list[str], to: str) -> int:
    """Write the instructor's edition."""
    from course_utils.workshop.notes import write_edition

    for number in chapters:
        print(f"edition  {write_edition(number, Path(to))}")
    return 0


def bundle(folder: str, wheels: list[str], check: bool) -> int:
    """Make a bundle, or check one."""
    from course_utils import chapters
    from course_utils.workshop import bundle as stick

    if check:
        print(f"{stick.check(Path(folder))} files are what was bundled.")
        return 0
    if not wheels:
        raise stick.BundleError("give --wheels with the folder that `pip wheel -w` wrote (docs/instructors.md).")
    made = stick.write_bundle(Path(folder), [Path(place) for place in wheels], chapters.root())
    print(f"{made.folder}: {made.wheels} packages, {made.size / 1e6:.0f} MB, for {', '.join(made.systems)}")
    for system, names in made.lacking.items():
        print(f"not for {system}: no wheel of {', '.join(names)}")
    print("Learners copy it and run: python install.py")
    return 0
