"""The skeletons of a chapter: what an author starts from, in every place that a chapter touches.

A chapter is a notebook in solutions/, checks with their bugs, answers held out in tests/, and a bank of questions. The
skeletons hold one small exercise that works, so that everything runs from the first minute; docs/add-a-chapter.md says
what to put in their place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from course_utils import chapters

NEXT = """
Next, see docs/add-a-chapter.md:
  1. write the chapter in solutions/ and run it: make solutions ONLY=solutions/NN_name.ipynb
  2. replace the exercise of the skeleton, its bugs and its answers by yours
  3. make notebooks; add the chapter's row to README.md; a line in CHANGELOG.md
  4. make check; make test"""

CHECKS = '''"""Checks of chapter {number}: ."""

from __future__ import annotations

from course_utils.classroom.exercises.cases import Case, Exercise


def mean_of(values: list[float]) -> float:
    """The mean of some numbers."""
    return sum(values) / len(values)


mean = Exercise(
    "{number}.1",
    title="A mean",
    reference=mean_of,
    cases=[Case([1.0, 2.0, 6.0]), Case([4.0])],
    general="Not the sum divided by the count.",
    difficulty=1,
    minutes=3,
    points=1,
    asked="",
    hints=[
        "Add the numbers up first.",
        "Divide by how many there are: `len(values)`.",
    ],
)


@mean.bug("That is the sum; divide it by the count.")
def mean_without_division(values):
    return sum(values)


@mean.bug("Divided by one less than the count; that is for a variance.")
def mean_over_one_less(values):
    return sum(values) / max(1, len(values) - 1)


@mean.bug("That is the middle value, the median.")
def mean_as_median(values):
    return sorted(values)[len(values) // 2]
'''
PLANTED = '''"""Planted bugs and other right answers of chapter {number}."""

from __future__ import annotations

import statistics


def mean_of_the_ends(values):
    return (min(values) + max(values)) / 2


def mean_by_statistics(values):
    return statistics.fmean(values)


BUGS = {{  # wrong answer -> how the sentence begins that its card must say
    "{number}.1": {{
        mean_of_the_ends: "Not the sum divided by the count.",
    }},
}}
RIGHT = {{"{number}.1": [mean_by_statistics]}}
'''
ANSWERS = """# %% {number}.1 wrong: whole numbers only
def mean_of(values):
    return sum(values) // len(values)

# %% {number}.1 right: a loop
def mean_of(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)
"""
BANK = """# Interview questions and quiz of chapter {number}. {{{number}.claim:.2f}} stands for the reader's own figure.
questions:
  - id: {number}.first
    level: screen
    topics: []
    question: What is a mean?
    short: >-
      The sum divided by the count.
    deep: >-
      It is the number from which the squared distances are smallest.
    followups:
      - question: When is the median better?
        answer: When a few values lie far out.
      - question: What is the mean of no numbers?
        answer: Undefined; say so instead of returning 0.
    wrong:
      - answer: The middle value.
        why: That is the median.
    claims: []
    sources: ["Author, title, year: where the figures of the answer come from"]
quiz:
  - id: {number}.q1
    topics: []
    question: The mean of 1, 2 and 6 is
    choices: ["2", "3", "9"]
    answer: 2
    why: 9 / 3.
"""


def write(chapter: str | int, root: Path | None = None) -> list[Path]:
    """Write the skeletons of a chapter into the course's folder; return their paths.

    Raises ChapterError for a chapter that chapters.py does not list, FileExistsError, before anything is written, if
    one of the files is there already.
    """
    entry = chapters.chapter(chapter)
    root = root or chapters.root()
    number, package = entry.number, root / "course_utils"
    files = {
        root / "solutions" / f"{entry.stem}.ipynb": json.dumps(_notebook(entry), indent=1, ensure_ascii=False) + "\n",
        package / "classroom" / "checks" / f"ch{number}.py": CHECKS.format(number=number),
        package / "interview" / "bank" / f"{number}.yaml": BANK.format(number=number),
        root / "tests" / "planted" / f"ch{number}.py": PLANTED.format(number=number),
        root / "tests" / "answers" / f"ch{number}.py": ANSWERS.format(number=number),
    }
    there = [str(path) for path in files if path.exists()]
    if there:
        raise FileExistsError(f"chapter {number} has been begun: {', '.join(there)}. Nothing was written.")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return list(files)


def _notebook(entry: chapters.Chapter) -> dict[str, Any]:
    """The anatomy of a chapter, as an author's notebook with one exercise."""
    n = entry.number
    title = (
        f"# {n}  {entry.title}\n\n**The promise.** You ...\n\n| reading | exercises | compute |\n|---|---|---|\n"
        f"| {entry.reading} min | 3 min (1 exercise) | under 1 min on 2 cores |\n\n**Know first:** ...\n\n"
        "**At the end you can answer:** ..."
    )
    start = (
        f'import course_utils\n\nrun = course_utils.start("{n}")\n\n'
        "from course_utils.classroom import claim, claims_table, exercise, grade\n"
        "from course_utils.interview import interview, quiz"
    )
    question = (
        f'# Exercise {n}.1 | ●○○○ | 3 minutes\n@exercise("{n}.1")\ndef mean_of(values: list[float]) -> float:\n'
        '    """The mean of some numbers."""\n    ### BEGIN SOLUTION\n    return sum(values) / len(values)\n'
        "    ### END SOLUTION"
    )
    solution = {"grade": False, "locked": False, "solution": True, "task": False, "schema_version": 3}
    locked = {"grade": True, "locked": True, "solution": False, "task": False, "schema_version": 3, "points": 1}
    claim = f'claim("{n}.mean", "the mean of 1, 2 and 6 is 3", mean_of([1, 2, 6]), between=(3, 3))'
    cells = [
        _cell("markdown", title),
        _cell("code", start),
        _cell(
            "markdown", f"## {n}.1 The idea\n\nA short paragraph; a small cell; its picture or number; what was seen."
        ),
        _cell("code", question, solution | {"grade_id": f"exercise-{n}-1"}),
        _cell("code", f'grade("{n}.1")', locked | {"grade_id": f"grade-{n}-1"}),
        _cell("code", claim),
        _cell("markdown", f"## {n}.2 What breaks\n\nOne failure, provoked on purpose and diagnosed."),
        _cell("markdown", f"## {n}.3 With the library\n\nThe same work with the tool of industry, and both agree."),
        _cell("markdown", "## What you measured"),
        _cell("code", f'claims_table("{n}")'),
        _cell("markdown", "## At the interview"),
        _cell("code", f'interview("{n}")'),
        _cell("code", f'quiz("{n}")'),
    ]
    for place, cell in enumerate(cells):
        cell["id"] = f"ch{n}-{place:02d}"
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, source: str, marks: dict[str, Any] | None = None) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": "", "metadata": {"nbgrader": marks} if marks else {}}
    cell["source"] = source.splitlines(keepends=True)
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
