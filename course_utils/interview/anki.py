"""The bank as a text file for Anki: one line a note, with an id that stays, so that a later import updates the note.

Anki reads the settings from the file's first lines (https://docs.ankiweb.net/importing/text-files.html): what separates
the columns, that they hold HTML, the kind of note, the deck, and which columns are ids and tags. No library is needed.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

from course_utils import files
from course_utils.interview.bank import Question

DECK = "The interview room"
HEADERS = ("#separator:tab", "#html:true", "#notetype:Basic", f"#deck:{DECK}", "#guid column:1", "#tags column:4")


def guid(id: str) -> str:
    """The note's id in Anki. It depends on the question's id alone, which never changes."""
    return f"course-{id}"


def lines(questions: Sequence[Question], figures: Callable[[str], str] = str) -> str:
    """The file's text. figures: puts measured values into an answer (``show.with_figures``).

    Raises ValueError if two questions have one id: Anki would keep the last of them alone.
    """
    ids = [question.id for question in questions]
    if doubled := sorted({id for id in ids if ids.count(id) > 1}):
        raise ValueError(f"more than one question has the id {', '.join(doubled)}; each note needs its own.")
    text = io.StringIO()
    write = csv.writer(text, delimiter="\t", lineterminator="\n")
    for question in questions:
        back = f"{_html(figures(question.short))}<hr>{_html(figures(question.deep))}"
        topics = " ".join(_tag(topic) for topic in question.topics)
        tags = f"chapter::{question.id[:2]} level::{question.level} {topics}".strip()
        write.writerow([guid(question.id), _html(question.question), back, tags])
    return "".join(f"{header}\n" for header in HEADERS) + text.getvalue()


def export(path: str | PathLike[str], questions: Sequence[Question], figures: Callable[[str], str] = str) -> Path:
    """Write the file whole or not at all; returns its path."""
    path = Path(path)
    with files.atomic_file(path) as fresh:
        fresh.write_text(lines(questions, figures), encoding="utf-8", newline="\n")
    return path.absolute()


def export_bank(path: str | PathLike[str], chapter: str | None = None) -> Path:
    """Write the whole bank, or one chapter's part, with the figures measured so far. Raises ChapterError."""
    from course_utils.chapters import chapter as find_chapter
    from course_utils.classroom.records import claims
    from course_utils.interview import bank
    from course_utils.interview.show import with_figures

    number = find_chapter(chapter).number if chapter is not None else None
    measured = claims.recorded()
    chosen = [item for item in bank.all_questions() if number in (None, item.id[:2])]
    return export(path, chosen, lambda text: with_figures(text, measured))


def parse(text: str) -> tuple[dict[str, str], list[list[str]]]:
    """(headers, rows) of such a file, read as Anki reads it: headers first, then quoted fields between tabs."""
    headers: dict[str, str] = {}
    rest = text.splitlines(keepends=True)
    while rest and rest[0].startswith("#"):
        name, _, value = rest.pop(0)[1:].strip().partition(":")
        headers[name] = value
    return headers, list(csv.reader(io.StringIO("".join(rest)), delimiter="\t"))


def _html(text: str) -> str:
    """Paragraphs, `code` and **bold** as HTML; line ends within a field become <br>, so that a note is one line."""
    escaped = html.escape(text.strip(), quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", escaped)
    escaped = re.sub(r"\$\$(.+?)\$\$", r"\\[\1\\]", escaped, flags=re.DOTALL)  # as MathJax in Anki writes formulas
    escaped = re.sub(r"\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\d)", r"\\(\1\\)", escaped)  # "$2 or $3" is money
    return re.sub(r"\s*\n\s*", "<br>", escaped).replace("\t", " ")


def _tag(topic: str) -> str:
    """Anki separates tags by blanks."""
    return "topic::" + re.sub(r"\s+", "_", topic.strip())
