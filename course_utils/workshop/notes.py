"""What an instructor should know about a chapter, section by section: for the instructor's edition and nowhere else.

``notes/NN.md``: what stands above the first heading is about the whole chapter; each heading names a section.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from course_utils import chapters, files
from course_utils.workshop import anatomy

FOLDER = Path(__file__).resolve().parent / "notes"


def of_chapter(number: str) -> dict[str, str]:
    """Section ('6.2', or a title without a number) -> note; '' is the whole chapter. Empty if there are none."""
    path = FOLDER / f"{number}.md"
    if not path.is_file():
        return {}
    first, *parts = re.split(r"^## +", path.read_text(encoding="utf-8"), flags=re.M)
    found = {"": first.strip()}
    for part in parts:
        heading, _, text = part.partition("\n")
        found[heading.strip()] = text.strip()
    return found


def write_edition(number: str | int, folder: Path) -> Path:
    """The solved chapter with notes in cells of their own, tagged ``instructor``; returns the notebook.

    Raises ChapterError if the chapter is not in this edition.
    """
    entry = chapters.chapter(number)
    notebook = json.loads(anatomy.notebook_of(entry, ("solutions",)).read_text(encoding="utf-8"))
    notebook["cells"] = with_notes(notebook["cells"], of_chapter(entry.number))
    target = Path(folder) / f"{entry.stem}.ipynb"
    with files.atomic_file(target) as fresh:
        fresh.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return target


def with_notes(cells: list[Any], said: dict[str, str]) -> list[Any]:
    """The cells, a note after the first cell and after each cell that begins a section with one."""
    found: list[Any] = []
    for at, cell in enumerate(cells):
        found.append(copy.deepcopy(cell))
        names = [""] if at == 0 else []
        if cell["cell_type"] == "markdown":
            names += [anatomy.section(name) for name in re.findall(r"^## +(.*)$", anatomy.source(cell), re.M)]
        for name in names:
            if said.get(name):
                found.append(
                    {
                        "cell_type": "markdown",
                        "id": f"note-{len(found)}",
                        "metadata": {"tags": [anatomy.NOTES]},
                        "source": f"> **For the instructor.** {said[name]}".replace("\n", "\n> "),
                    }
                )
    return found
