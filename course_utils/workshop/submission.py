"""A notebook as it was handed in, made into one that can be graded: whatever its format, its copies and its damages.

The cells of the submission keep their text and their order. Everything else is taken from the notebook that was given
out: which cell is which, points, locked tests. A locked test stands after the last copy of its exercise, so that the
last answer counts; a copy that was never filled in counts as none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST = 200 * 2**20  # bytes; more is no notebook of the course
_EXERCISE = re.compile(r"^\s*@exercise\(\s*[\"'](\d\d\.\d+)[\"']\s*\)", re.M)
_GRADE = re.compile(r"""^\s*grade\(\s*["'](\d\d\.\d+)["']\s*\)\s*;?\s*$""")


class SubmissionError(ValueError):
    """What was handed in is no notebook that can be read; the message is for its author."""


@dataclass(frozen=True)
class Prepared:
    """A submission that can be graded, and what had to be mended."""

    notebook: Any
    mended: tuple[str, ...]


def prepare(path: Path, given_out: Any) -> Prepared:
    """Read the file at ``path`` and fit it to the notebook ``given_out``. Raises SubmissionError."""
    import nbformat

    cells, mended = _cells(path)
    graded, stubs = locked_of(given_out), stubs_of(given_out)
    answers, tests = _by_name(stubs), _by_name(graded)
    fresh = nbformat.v4.new_notebook(metadata={"kernelspec": given_out.metadata.get("kernelspec", {})})
    copies: dict[str, list[int]] = {}
    seen: set[str] = set()
    for kind, text, was in cells:
        locked = _GRADE.match(text) if kind == "code" else None
        id = tests.get(was) or (locked[1] if locked and locked[1] in graded else None)
        if id is not None:  # it is put back where it belongs
            if text.strip() != graded[id].source.strip():
                mended.append(f"the locked test of exercise {id} had been changed; it was put back")
            seen.add(id)
            continue
        if kind != "code" and not (was in answers and _EXERCISE.search(text)):
            fresh.cells.append(nbformat.v4.new_markdown_cell(text))
            continue
        fresh.cells.append(nbformat.v4.new_code_cell(text))
        for match in _EXERCISE.finditer(text):
            if match[1] in stubs:
                copies.setdefault(match[1], []).append(len(fresh.cells) - 1)
    _drop_unfilled(fresh, copies, stubs, mended)
    for id, places in copies.items():
        if len(places) > 1:
            mended.append(f"exercise {id} is there {len(places)} times; the last one counts")
    _mark(fresh, copies, stubs)
    _place_tests(fresh, copies, graded, mended)
    mended += [f"the locked test of exercise {id} was missing" for id in graded if id not in seen and id in copies]
    return Prepared(fresh, tuple(dict.fromkeys(mended)))


def locked_of(given_out: Any) -> dict[str, Any]:
    """The locked cell of each exercise of a notebook that was given out, by the exercise's id."""
    found = ((_GRADE.match(cell.source), cell) for cell in given_out.cells if _kind(cell, "grade"))
    return {match[1]: cell for match, cell in found if match}


def stubs_of(given_out: Any) -> dict[str, Any]:
    """The open cell of each exercise of a notebook that was given out, by the exercise's id."""
    found = ((_EXERCISE.search(cell.source), cell) for cell in given_out.cells if _kind(cell, "solution"))
    return {match[1]: cell for match, cell in found if match}


def open_again(notebook: Any, index: int, given_out: Any, why: str) -> Any:
    """The prepared notebook with one cell set aside: an exercise as it was given out, any other cell as a remark."""
    import copy

    changed = copy.deepcopy(notebook)
    cell = changed.cells[index]
    found = _EXERCISE.search(cell.source)
    stub = stubs_of(given_out).get(found[1]) if found else None
    note = f"# Set aside while grading: {why}\n"
    cell.source = note + (
        stub.source if stub is not None else "".join(f"# {line}\n" for line in cell.source.splitlines())
    )
    return changed


def _kind(cell: Any, name: str) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get(name))


def _by_name(cells: dict[str, Any]) -> dict[str, str]:
    """Exercise id by the name that its cell has for nbgrader."""
    return {cell.metadata.nbgrader.grade_id: id for id, cell in cells.items()}


def _cells(path: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    """(kind, text, name of the cell for nbgrader) of each cell, and what had to be mended."""
    import nbformat

    try:
        size = path.stat().st_size
        if size > MOST:
            raise SubmissionError(f"the file has {size / 2**20:.0f} MB; a notebook of the course has far less")
        data = path.read_bytes()
    except OSError as error:
        raise SubmissionError(f"the file cannot be read: {error.strerror}") from error
    if not data.strip():
        raise SubmissionError("the file is empty")
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        raw = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SubmissionError(f"the file is no notebook, or only a part of one: {error}") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("cells", raw.get("worksheets")), list):
        raise SubmissionError("the file is JSON, but no notebook: it has no list of cells")
    mended = []
    version = (raw.get("nbformat"), raw.get("nbformat_minor"))
    if version[0] != 4:
        try:
            raw = nbformat.convert(nbformat.from_dict(raw), 4)
        except Exception as error:  # nbformat's converters raise whatever they stumble over
            raise SubmissionError(f"it says it is of notebook format {version[0]!r}, and is none: {error}") from error
    if version != (4, 5):
        mended.append(f"it was of notebook format {version[0]}.{version[1]}")
    found = []
    for cell in raw["cells"]:
        if not isinstance(cell, dict):
            mended.append("something that is no cell was left out")
            continue
        source = cell.get("source", "")
        lines = source if isinstance(source, list) else [source]
        data_of = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
        marks = data_of.get("nbgrader") if isinstance(data_of.get("nbgrader"), dict) else {}  # type: ignore[union-attr]
        kind = "code" if cell.get("cell_type") == "code" else "markdown"
        found.append((kind, "".join(str(line) for line in lines), str(marks.get("grade_id", ""))))  # type: ignore[union-attr]
    return found, mended


def _drop_unfilled(fresh: Any, copies: dict[str, list[int]], stubs: dict[str, Any], mended: list[str]) -> None:
    """Of several copies those that are as given out are no answer: they are made empty, and not counted."""
    for id, places in copies.items():
        stub = stubs[id].source.split()
        filled = [place for place in places if fresh.cells[place].source.split() != stub]
        if len(places) > 1 and filled and len(filled) < len(places):
            for place in set(places) - set(filled):
                fresh.cells[place].source = f"# a copy of exercise {id} that was not filled in"
            copies[id] = filled
            mended.append(f"a copy of exercise {id} that was not filled in is left out")


def _mark(fresh: Any, copies: dict[str, list[int]], stubs: dict[str, Any]) -> None:
    """Give the last copy of each exercise the marks of the cell that was given out. A cell can be one exercise only."""
    taken: set[int] = set()
    for id, places in copies.items():
        place = next((place for place in reversed(places) if place not in taken), None)
        if place is not None:
            fresh.cells[place].metadata["nbgrader"] = dict(stubs[id].metadata.nbgrader)
            taken.add(place)


def _place_tests(fresh: Any, copies: dict[str, list[int]], graded: dict[str, Any], mended: list[str]) -> None:
    import copy

    behind: dict[int, list[Any]] = {}
    for id, cell in graded.items():
        place = max(copies.get(id, [len(fresh.cells) - 1]))
        if id not in copies:
            mended.append(f"exercise {id} is missing")
        behind.setdefault(place, []).append(copy.deepcopy(cell))
    cells = list(behind.get(-1, ()))
    for place, cell in enumerate(fresh.cells):
        cells += [cell, *behind.get(place, ())]
    fresh.cells = cells
