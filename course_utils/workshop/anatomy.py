"""What a chapter's notebook says about itself: what to know first, its objectives, its sections and exercises."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils import chapters

NOTES = "instructor"  # the tag of a cell that is for whoever teaches, and for nobody else
EXERCISE = re.compile(r'@exercise\("(\d\d\.\d+)"\)')
_LABEL = r"\*\*{}[.:]?\*\*[.:]?\s*"


@dataclass(frozen=True)
class Piece:
    """A section's part between two exercises, or an exercise. weight: words to read, code counted by the line."""

    name: str  # the section, such as '6.2', or its title; for an exercise its id
    exercise: bool
    weight: int = 0


@dataclass(frozen=True)
class Anatomy:
    """One chapter as its notebook has it. ``know_first`` and ``helpful`` are sentences of Markdown, or ""."""

    know_first: str
    helpful: str
    objectives: tuple[str, ...]
    questions: tuple[str, ...]
    key_points: tuple[str, ...]
    pieces: tuple[Piece, ...]
    notes: tuple[str, ...]


def source(cell: Any) -> str:
    """A cell's text, whether it is kept as one string or as lines."""
    return "".join(cell["source"])


def is_note(cell: Any) -> bool:
    """True for a cell that only the instructor's edition shows."""
    return NOTES in cell.get("metadata", {}).get("tags", ())


def notebook_of(entry: chapters.Chapter, folders: tuple[str, ...] = ("solutions", "notebooks")) -> Path:
    """The chapter's notebook, the author's if it is there. Raises ChapterError if there is none."""
    for folder in folders:
        path = chapters.root() / folder / f"{entry.stem}.ipynb"
        if path.is_file():
            return path
    raise chapters.ChapterError(
        f"chapter {entry.number} ({entry.title}) is not in this edition: {entry.stem}.ipynb is neither in "
        f"{' nor in '.join(folders)}."
    )


def read(path: Path) -> Anatomy:
    """Read a chapter's notebook. Raises ChapterError if the file is no notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        first = source(cells[0])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise chapters.ChapterError(
            f"{path} cannot be read as a notebook ({error}). `course reset {path.name[:2]}` puts the shipped one back."
        ) from error
    texts = [source(cell) for cell in cells if cell["cell_type"] == "markdown" and not is_note(cell)]
    know_first, helpful = _know_first(first)
    points = next((text for text in texts if "**Key points**" in text), "")
    return Anatomy(
        know_first=know_first,
        helpful=helpful,
        objectives=tuple(_bullets(first, "Objectives")),
        questions=tuple(_questions(first)),
        key_points=tuple(_bullets(points, "Key points")),
        pieces=tuple(_pieces(cells)),
        notes=tuple(source(cell) for cell in cells if is_note(cell)),
    )


def _know_first(text: str) -> tuple[str, str]:
    found = [_paragraph(text, label) for label in ("Know first", "Helpful")]
    if not found[0]:  # as the last column of the table of minutes
        rows = [row.strip().strip("|").split("|") for row in text.splitlines() if row.startswith("|")]
        if rows and "know first" in rows[0][-1] and len(rows) > 2:
            found[0] = rows[2][-1].strip()
    first, _, more = found[0].partition("**Helpful:**")
    return first.strip(), (more or found[1]).strip()


def _paragraph(text: str, label: str) -> str:
    match = re.search(_LABEL.format(label) + r"(.*?)(?:\n\s*\n|\Z)", text, re.S)
    return " ".join(match[1].split()) if match else ""


def _bullets(text: str, label: str) -> list[str]:
    """The items of the list that follows a bold label, up to the next label or heading."""
    match = re.search(_LABEL.format(label) + r"(.*?)(?=\n\*\*|\n#|\Z)", text, re.S)
    found: list[str] = []
    begun = False
    for line in match[1].splitlines() if match else ():
        if item := re.match(r"[-*]\s+(.*)|\d+\.\s+(.*)", line):
            found.append((item[1] or item[2]).strip())
            begun = True
        elif begun and line.strip() and line.startswith(" "):
            found[-1] += f" {line.strip()}"
        elif begun and line.strip():
            break
    return found


def _questions(text: str) -> list[str]:
    if listed := re.findall(r"^- (.*\?)\s*$", text, re.M):
        return listed
    answered = _paragraph(text, "At the end you can answer")
    return [part.strip() for part in re.split(r"(?<=[?.])(?<!Dr\.)\s+", answered) if part.strip()]


def _pieces(cells: list[Any]) -> list[Piece]:
    found: list[Piece] = []
    name, weight = "", 0
    for cell in cells:
        if is_note(cell):
            continue
        text = source(cell)
        if cell["cell_type"] == "markdown" and (heading := re.search(r"^## +(.*)$", text, re.M)):
            found.append(Piece(name, False, weight))
            name, weight = section(heading[1]), 0
        if match := EXERCISE.search(text):
            found += [Piece(name, False, weight), Piece(match[1], True)]
            weight = 0
        elif cell["cell_type"] == "markdown":
            weight += len(re.sub(r"<[^>]*>", " ", text).split())
        else:
            weight += 4 * len(text.splitlines())
    found.append(Piece(name, False, weight))
    return [piece for piece in found if piece.exercise or piece.weight]


def section(heading: str) -> str:
    """How a heading is called for short: its number, such as '6.2', or all of it."""
    numbered = re.match(r"(\d+\.\d+)\b", heading)
    return numbered[1] if numbered else heading.strip()
