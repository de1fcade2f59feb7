"""A workshop's schedule: what to teach in the hours there are, when to rest, and what to leave out.

Minutes come from what is stated and measured: reading from ``chapters``, exercises from their checks, compute from the
last `course run` on this machine (else what a chapter may take at the most), and, where an instructor has written them
down, from real workshops. The seconds of a claim are no measure of compute: where a person sits at the notebook, they
count the reading as well.

The file of timings is a table (CSV) that any spreadsheet opens: ``item, planned, real, note``. Each plan adds a row for
each of its items that has no empty row yet; the instructor writes the real minutes. No row is ever taken out.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from course_utils import chapters, files
from course_utils.chapters import Chapter
from course_utils.classroom.exercises import registry
from course_utils.workshop import anatomy, run_all

SETUP, CLOSING, BREAK, LUNCH = "setup", "closing", "break", "lunch"
MINUTES = {SETUP: 20, CLOSING: 10, BREAK: 10, LUNCH: 60}
TEXTS = {
    SETUP: "Set up: install, `course doctor`, open the first notebook",
    CLOSING: "What did you measure? Questions, and what to do at home",
    BREAK: "Break",
    LUNCH: "Lunch",
}
SITTING = 75  # minutes of work at the most before a break
LUNCH_AFTER = 150  # minutes of a whole day before lunch is due
DAY = 8 * 60  # minutes of a whole day, lunch included
LEAST = 3  # minutes of reading that are worth a line
COMPUTE = 2  # minutes of a chapter's cells where nothing was measured: at most 75 s on two cores
READING_SHARE = 2 / 3  # of the working time; the rest is for exercises
# What a workshop would rather not be without comes first.
PATH = "00 06 09 12 03 16 15 13 05 11 14 19 17 20 18 01 02 07 08 10 04 21 22 23 24".split()
COLUMNS = ("item", "planned", "real", "note")


class PlanError(ValueError):
    """A workshop that cannot be planned, or a file of timings that cannot be read."""


@dataclass(frozen=True)
class Item:
    """One line of a schedule. key: '06' (reading chapter 06), '06.1' (an exercise), or setup, break, lunch, closing.

    start: minutes after midnight.
    """

    key: str
    text: str
    minutes: int
    start: int = 0
    day: int = 1

    @property
    def rests(self) -> bool:
        """True for breaks and lunch."""
        return self.key in (BREAK, LUNCH)


@dataclass(frozen=True)
class Plan:
    """A schedule. skipped: exercise ids by chapter. know_first: by chapter. spare: minutes left at the end."""

    title: str
    items: tuple[Item, ...]
    chosen: tuple[Chapter, ...]
    skipped: dict[str, tuple[str, ...]]
    know_first: dict[str, str]
    left_out: tuple[Chapter, ...]
    spare: int
    timed: int  # items whose minutes come from real workshops

    def totals(self) -> dict[str, int]:
        """Planned minutes by key, parts of a chapter's reading added; breaks and lunch left out."""
        found: dict[str, int] = {}
        for item in self.items:
            if not item.rests:
                found[item.key] = found.get(item.key, 0) + item.minutes
        return found

    def text(self) -> str:
        """The schedule as lines."""
        lines = [self.title]
        for item in self.items:
            if item.key == SETUP or (item.day > 1 and item is self._first_of(item.day)):
                lines += ["", f"Day {item.day}"] if self.items[-1].day > 1 else [""]
            lines.append(f"  {clock(item.start)}  {item.minutes:>3} min  {'-- ' if item.rests else ''}{item.text}")
        for name, rows in self._notes():
            lines += ["", name, *(f"  {row}" for row in rows)]
        return "\n".join(lines)

    def html(self) -> str:
        """The schedule as a page that needs nothing but a browser."""
        body, rest = [f"<h1>{html.escape(self.title)}</h1>"], ' class="rest"'
        for day in range(1, self.items[-1].day + 1):
            rows = "".join(
                f"<tr{rest if item.rests else ''}><td>{clock(item.start)}</td><td>{item.minutes} min</td>"
                f"<td>{html.escape(item.text)}</td></tr>"
                for item in self.items
                if item.day == day
            )
            heading = f"<h2>Day {day}</h2>" if self.items[-1].day > 1 else ""
            body.append(f"{heading}<table><tr><th>from</th><th>for</th><th>what</th></tr>{rows}</table>")
        for name, lines in self._notes():
            items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
            body.append(f"<h2>{html.escape(name)}</h2><ul>{items}</ul>")
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
            f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
        )

    def _first_of(self, day: int) -> Item:
        return next(item for item in self.items if item.day == day)

    def _notes(self) -> list[tuple[str, list[str]]]:
        first = [f"{number}: {text}" for number, text in self.know_first.items() if text]
        checks = registry.known()
        skips = [
            f"chapter {number}: {', '.join(f'{id} {checks[id].title} ({checks[id].minutes} min)' for id in ids)}"
            for number, ids in self.skipped.items()
            if ids
        ]
        found = [("Know first", first)] if first else []
        if skips:
            found.append(("Skip in class, solve at home (the notebook goes on without)", skips))
        if self.left_out:
            found.append(
                ("Not in this workshop", [", ".join(f"{entry.number} {entry.title}" for entry in self.left_out)])
            )
        ends = (
            [f"{_hours(self.spare)} of the time are free at the end: name more chapters."] if self.spare > 120 else []
        )
        ends += [f"{self.spare} minutes are left at the end for what takes longer."] if 0 < self.spare <= 120 else []
        ends.append(
            f"{self.timed} of {len(self.totals())} times are from real workshops."
            if self.timed
            else "No real time yet: give --timings FILE, write down what each part took, and the next plan uses it."
        )
        return [*found, ("About these minutes", ends)]


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em; color: #1c1c1c }
table { border-collapse: collapse } td, th { padding: 3px 16px 3px 0; text-align: left; vertical-align: top }
.rest td { color: #595959; font-style: italic }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #e8e8e8 } .rest td { color: #a8a8a8 } }
"""


def clock(minutes: int) -> str:
    """'09:05' for 545 minutes after midnight."""
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def length(hours: str | float | None, days: str | int | None) -> tuple[int, int]:
    """(days, minutes of each) that are asked for. Raises PlanError, saying what is expected."""
    if (hours is None) == (days is None):
        raise PlanError("give one of --hours (a single session, such as --hours 3) and --days (such as --days 2).")
    name, given, low, high, unit = ("hours", hours, 1, 10, "hours") if days is None else ("days", days, 1, 5, "days")
    try:
        value = float(str(given).replace(",", "."))
    except ValueError:
        value = math.nan
    if not low <= value <= high or (days is not None and value != int(value)):
        more = " For more than a day give --days." if days is None else ""
        raise PlanError(
            f"--{name} is {given}; expected {'a whole number' if days is not None else 'a number'} from {low} to "
            f"{high} {unit}, such as --{name} {3 if days is None else 2}.{more}"
        )
    return (1, round(60 * value)) if days is None else (int(value), DAY)


def make_plan(
    *,
    hours: str | float | None = None,
    days: str | int | None = None,
    numbers: Sequence[str] = (),
    real: dict[str, float] | None = None,
    start: str = "09:00",
) -> Plan:
    """Plan a workshop of some hours or days. real: minutes by key, as :func:`real_minutes` reads them.

    With ``numbers`` just these chapters are taught, in the order of the course; else as many as go well into the time.
    Raises PlanError if the length is absurd or the chapters do not fit, ChapterError for an unknown chapter.
    """
    count, minutes = length(hours, days)
    opens, real = _minutes_of_day(start), real or {}
    there = chapters.in_this_edition()
    asked = [chapters.chapter(number) for number in numbers]
    if absent := [entry.number for entry in asked if entry.number not in there]:
        raise chapters.ChapterError(f"chapter {', '.join(absent)} is not in this edition.")
    named = {entry.number for entry in asked}
    pool = [chapters.chapter(number) for number in (named or [n for n in PATH if n in there])]
    anatomies = {entry.number: anatomy.read(anatomy.notebook_of(entry)) for entry in pool}
    budget = _work(count, minutes, real)
    name = f"{count} day{'s' if count > 1 else ''}" if days is not None else _hours(minutes)
    chosen, ids = _choose(pool, real, budget, must=bool(named), given=name)
    while True:
        laid, end = _lay_out(chosen, ids, anatomies, real, count, minutes, opens)
        if end <= opens + minutes:
            break
        if not ids:
            raise PlanError("the time is too short for what was named; name fewer chapters, or give more time.")
        ids.pop()  # breaks took more than was thought
    spare = (opens + minutes - end) // 5 * 5 + (count - laid[-1].day) * minutes
    used = [entry for entry in chapters.CHAPTERS if entry in chosen]
    checks = {entry.number: registry.known(entry.number) for entry in used}
    plan = Plan(
        f"A workshop of {name}: chapters {', '.join(entry.number for entry in used)}",
        tuple(laid),
        tuple(used),
        {number: tuple(id for id in known if id not in ids) for number, known in checks.items()},
        {entry.number: _first(anatomies[entry.number]) for entry in used},
        tuple(entry for entry in chapters.CHAPTERS if entry.number in there and entry not in chosen),
        spare,
        0,
    )
    return replace(plan, timed=sum(key in real for key in plan.totals()))


def _hours(minutes: int) -> str:
    return f"{minutes / 60:g} hour{'s' if minutes > 60 else ''}"


def _minutes_of_day(text: str) -> int:
    hour, _, minute = text.partition(":")
    if not (hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60):
        raise PlanError(f"--start is {text!r}; expected hours and minutes, such as --start 09:30.")
    return 60 * int(hour) + int(minute)


def _first(parts: anatomy.Anatomy) -> str:
    return parts.know_first + (f" Helpful: {parts.helpful}" if parts.helpful else "")


def _minutes(key: str, stated: int, real: dict[str, float]) -> int:
    return max(1, round(real.get(key, stated)))


def reading(entry: Chapter, real: dict[str, float]) -> int:
    """Minutes of a chapter without exercises: reading, and what its cells compute."""
    return _minutes(entry.number, entry.reading + compute(entry), real)


def compute(entry: Chapter) -> int:
    """Minutes that the chapter's cells took in the last whole `course run` here, else what they may take."""
    try:
        note = json.loads((run_all.folder() / f"{entry.stem}.ipynb").read_text(encoding="utf-8"))["metadata"]["course"]
        return math.ceil(float(note["seconds"]) / 60) if note["whole"] else COMPUTE
    except (OSError, ValueError, KeyError, TypeError):
        return COMPUTE


def _work(count: int, minutes: int, real: dict[str, float]) -> int:
    """Minutes for chapters: without set-up, closing words, lunch and breaks."""
    fixed = _minutes(SETUP, MINUTES[SETUP], real) + count * _minutes(CLOSING, MINUTES[CLOSING], real)
    day = minutes - (MINUTES[LUNCH] if minutes > 6 * 60 else 0)
    return count * (day - (day // (SITTING + 5)) * MINUTES[BREAK]) - fixed


def _choose(
    pool: list[Chapter], real: dict[str, float], budget: int, *, must: bool, given: str
) -> tuple[list[Chapter], list[str]]:
    """The chapters, and the exercises in the order of their worth (the last may go first)."""
    checks = {entry.number: registry.known(entry.number) for entry in pool}
    chosen: list[Chapter] = []
    spent = 0
    for entry in pool:
        needs = reading(entry, real)
        if must or not chosen or spent + needs <= READING_SHARE * budget:
            chosen.append(entry)
            spent += needs
    first = [next(iter(checks[entry.number]), "") for entry in chosen]
    least = spent + sum(_minutes(id, checks[id[:2]][id].minutes, real) for id in first if id)
    if least > budget and must:
        raise PlanError(
            f"to read {', '.join(entry.number for entry in chosen)} and do one exercise of each takes {least} minutes; "
            f"a workshop of {given} has {max(0, budget)} after set-up and breaks. Name fewer chapters, or give more "
            "time."
        )
    if spent > budget:
        raise PlanError(
            f"a workshop of {given} has {max(0, budget)} minutes after set-up and breaks, and chapter "
            f"{chosen[0].number} takes {spent}. Give more time: --hours {math.ceil((spent + 40) / 60)}, say."
        )
    ids: list[str] = []
    for turn in range(max((len(checks[entry.number]) for entry in chosen), default=0)):
        for entry in chosen:
            known = list(checks[entry.number].values())
            if turn < len(known):
                needs = _minutes(known[turn].id, known[turn].minutes, real)
                if spent + needs <= budget:
                    ids.append(known[turn].id)
                    spent += needs
    return chosen, ids


def _lay_out(
    chosen: Iterable[Chapter],
    ids: list[str],
    anatomies: dict[str, anatomy.Anatomy],
    real: dict[str, float],
    count: int,
    minutes: int,
    opens: int,
) -> tuple[list[Item], int]:
    """Items with their times, breaks and days; and when the last day ends."""
    chosen = sorted(chosen, key=lambda entry: entry.number)
    waiting = [item for entry in chosen for item in _segments(entry, ids, anatomies[entry.number], real)]
    closing = _minutes(CLOSING, MINUTES[CLOSING], real)
    laid: list[Item] = []
    day, now, sitting = 1, opens, 0
    ate = minutes <= 6 * 60

    def put(key: str, text: str, takes: int) -> None:
        nonlocal now, sitting
        laid.append(Item(key, text, takes, now, day))
        now += takes
        sitting = 0 if key in (BREAK, LUNCH) else sitting + takes

    put(SETUP, TEXTS[SETUP], _minutes(SETUP, MINUTES[SETUP], real))
    while waiting:
        item = waiting.pop(0)
        if day < count and now + min(item.minutes, 15) + closing > opens + minutes:
            put(CLOSING, TEXTS[CLOSING], closing)
            day, now, sitting, ate = day + 1, opens, 0, minutes <= 6 * 60
        due = sitting and sitting + min(item.minutes, 15) > SITTING
        if not ate and now - opens >= LUNCH_AFTER and (due or now - opens >= LUNCH_AFTER + 30):
            put(LUNCH, TEXTS[LUNCH], MINUTES[LUNCH])
            ate = True
        elif due:
            put(BREAK, TEXTS[BREAK], MINUTES[BREAK])
        room = SITTING - sitting + LEAST
        if day < count:
            room = min(room, opens + minutes - closing - now)
        if item.minutes > room:  # the rest comes after the break, or on the next day
            rest = replace(item, minutes=item.minutes - room)
            if not rest.text.endswith("(goes on)"):
                rest = replace(rest, text=f"{rest.text} (goes on)")
            waiting.insert(0, rest)
            item = replace(item, minutes=room)
        put(item.key, item.text, item.minutes)
    put(CLOSING, TEXTS[CLOSING], closing)
    return laid, now


def _segments(entry: Chapter, ids: list[str], parts: anatomy.Anatomy, real: dict[str, float]) -> list[Item]:
    """A chapter as reading between the exercises that are done, and those."""
    checks = registry.known(entry.number)
    total = sum(piece.weight for piece in parts.pieces) or 1
    takes = reading(entry, real)
    found: list[Item] = []
    names: list[str] = []
    weight = done = 0

    def read() -> None:
        nonlocal done, names
        until = round(takes * weight / total)
        if until - done >= LEAST:  # less is not worth a line: it goes with what follows
            span = names[0] if len(names) < 2 else f"{names[0]} to {names[-1]}"
            found.append(Item(entry.number, f"{entry.number} {entry.title}: read and run {span}", until - done))
            done, names = until, []

    for piece in parts.pieces:
        if not piece.exercise:
            weight += piece.weight
            if (piece.name or "the beginning") not in names:
                names.append(piece.name or "the beginning")
        elif piece.name in ids:
            read()
            check = checks[piece.name]
            found.append(
                Item(piece.name, f"Exercise {piece.name}: {check.title}", _minutes(piece.name, check.minutes, real))
            )
    read()
    return found


# ---- the file of timings


def read_timings(path: Path) -> list[dict[str, str]]:
    """The rows of a file of timings; none if it is not there. Raises PlanError, naming the line, if it is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} cannot be read: {error}. Nothing was changed in it.") from error
    if not text.strip():
        return []
    delimiter = ";" if text.splitlines()[0].count(";") > text.splitlines()[0].count(",") else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    if not {"item", "real"} <= set(reader.fieldnames or ()):
        raise PlanError(
            f"{path} begins with {text.splitlines()[0]!r}; expected the columns {', '.join(COLUMNS)}. "
            "Nothing was changed in it: give another file, or mend its first line."
        )
    rows = []
    for row in reader:
        extra = row.pop(None, None)  # where DictReader puts cells that are too many
        rows.append({name: value or "" for name, value in row.items()})
        written = rows[-1]["real"].strip()
        try:
            minutes = float(written.replace(",", ".")) if written else 1.0
        except ValueError:
            minutes = math.nan
        if not 0 < minutes <= 600 or extra:
            raise PlanError(
                f"{path}, line {reader.line_num}: real is {written!r}; expected minutes from 1 to 600 as a number, or "
                "nothing. Nothing was changed in the file."
            )
    return rows


def real_minutes(rows: Iterable[dict[str, str]]) -> dict[str, float]:
    """The median of the real minutes of each item that has any."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if written := row["real"].strip():
            found.setdefault(row["item"].strip(), []).append(float(written.replace(",", ".")))
    return {item: statistics.median(values) for item, values in found.items()}


def add_rows(path: Path, plan: Plan) -> int:
    """Add a row for each item of the plan that has no row waiting for its real minutes; returns how many were added.

    All that was in the file stays. The file is written whole or not at all. Raises PlanError if it cannot be read.
    """
    rows = read_timings(path)
    waiting = {row["item"].strip() for row in rows if not row["real"].strip()}
    fresh = [
        {"item": key, "planned": str(minutes), "real": "", "note": ""}
        for key, minutes in plan.totals().items()
        if key not in waiting
    ]
    if not fresh and path.exists():
        return 0
    names = list(COLUMNS) + [name for row in rows[:1] for name in row if name not in COLUMNS]
    with files.atomic_file(path) as new, open(new, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, *fresh])
    return len(fresh)
