"""What a class has done: a table of points, and a page that shows which exercises stuck, and at what."""

from __future__ import annotations

import csv
import html
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from course_utils import files
from course_utils.workshop.gradebook import Graded, Result

OPEN = ("not solved yet", "its cell has not been run")


@dataclass(frozen=True)
class Stuck:
    """How an exercise went in a class: counts, and the sentences that came most often with how often they came."""

    exercise: str
    title: str
    right: int
    wrong: int
    untried: int
    missing: int  # its test was not reached: no notebook, or a run that ended before
    sentences: tuple[tuple[str, int], ...]

    @property
    def tried(self) -> int:
        """Those who gave an answer."""
        return self.right + self.wrong


def stuck(graded: Graded) -> list[Stuck]:
    """Each exercise of the assignment, the one that fewest have solved first."""
    found = []
    for id in graded.most:
        counts: Counter[str] = Counter()
        sentences: Counter[str] = Counter()
        for result in graded.results:
            message = result.messages.get(id, "")
            if result.points[id] >= graded.most[id]:
                counts["right"] += 1
            elif message.startswith(OPEN):
                counts["untried"] += 1
            elif message.startswith("not right yet."):
                counts["wrong"] += 1
                sentences[_first_sentence(message.removeprefix("not right yet.").strip())] += 1
            else:
                counts["missing"] += 1
        found.append(
            Stuck(
                id,
                _title(id),
                counts["right"],
                counts["wrong"],
                counts["untried"],
                counts["missing"],
                tuple(sentences.most_common(3)),
            )
        )
    return sorted(found, key=lambda row: row.right)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?:])\s", text, maxsplit=1)[0][:160] or "(the check says nothing)"


def _title(id: str) -> str:
    from course_utils.classroom.exercises import registry

    known = registry.known(id[:2])
    return known[id].title if id in known else ""


def table(graded: Graded) -> str:
    """The classes' standing as lines, for a terminal."""
    lines = [f"{graded.assignment}: {len(graded.results)} submissions, {sum(graded.most.values()):g} points"]
    for row in stuck(graded):
        lines.append(
            f"  {row.exercise:<6} {row.right:>3} right  {row.wrong:>3} wrong  {row.untried:>3} not tried"
            + (f"  {row.missing:>3} not reached" if row.missing else "")
            + f"   {row.title}"
        )
        lines += [f"         {count:>3} x {sentence}" for sentence, count in row.sentences]
    look = [result for result in graded.results if result.state not in ("graded", "mended")]
    if look:
        lines.append("  To look at:")
        lines += [f"    {result.student}: {result.state}. {'; '.join(result.notes)}" for result in look]
    return "\n".join(lines)


def write_table(graded: Graded, path: Path) -> Path:
    """Points as CSV: a row for each learner, a column for each exercise, and what had to be done to the notebook."""
    with files.atomic_file(path) as fresh, open(fresh, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["student", "points", "of", *graded.most, "state", "notes"])
        for result in graded.results:
            points = [f"{result.points[id]:g}" for id in graded.most]
            row = [result.student, f"{result.total:g}", f"{sum(graded.most.values()):g}", *points, result.state]
            writer.writerow([_plain(cell) for cell in [*row, "; ".join(result.notes)]])
    return path


def _plain(cell: str) -> str:
    """A spreadsheet would take a cell that begins with one of these for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell


def write_page(graded: Graded, path: Path) -> Path:
    """The report as a page that needs nothing but a browser."""
    full, count = sum(graded.most.values()), len(graded.results)
    rows = []
    for row in stuck(graded):
        share = row.right / count if count else 0.0
        said = "".join(f"<li>{amount} x {html.escape(sentence)}</li>" for sentence, amount in row.sentences)
        rows.append(
            f"<tr><td>{row.exercise}</td><td>{html.escape(row.title)}</td><td>{_bar(share)} {row.right} of {count}</td>"
            f"<td>{row.wrong}</td><td>{row.untried}</td><td>{row.missing}</td><td><ul>{said}</ul></td></tr>"
        )
    people = "".join(_person(result, full) for result in sorted(graded.results, key=lambda result: result.total))
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(graded.assignment)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(graded.assignment)}: what stuck</h1>"
        f"<p>{count} submissions, {full:g} points. {html.escape(graded.room)}</p>"
        "<table><tr><th>exercise</th><th></th><th>right</th><th>wrong</th><th>not tried</th><th>not reached</th>"
        f"<th>what the checks said most often</th></tr>{''.join(rows)}</table>"
        "<h2>Who may want help</h2><table><tr><th>learner</th><th>points</th><th>state</th><th>what was done</th></tr>"
        f"{people}</table></body></html>\n"
    )
    with files.atomic_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
    return path


def _person(result: Result, full: float) -> str:
    return (
        f"<tr><td>{html.escape(result.student)}</td><td>{result.total:g} of {full:g}</td>"
        f"<td>{html.escape(result.state)}</td><td>{html.escape('; '.join(result.notes))}</td></tr>"
    )


def _bar(share: float) -> str:
    return f'<span class="bar" aria-hidden="true"><span style="width: {100 * share:.0f}%"></span></span>'


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #1c1c1c }
table { border-collapse: collapse } td, th { padding: 4px 14px 4px 0; text-align: left; vertical-align: top }
ul { margin: 0; padding-left: 1.1em }
.bar { display: inline-block; width: 80px; height: 10px; background: #d8d8d8 }
.bar span { display: block; height: 10px; background: #1565c0 }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #e8e8e8 } .bar { background: #444 } }
"""
