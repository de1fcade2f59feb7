"""Put a chapter's notebook back to its shipped state; the learner's copy is kept, always."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from course_utils import chapters
from course_utils.workshop import notebooks

KEPT = "kept"


@dataclass(frozen=True)
class Reset:
    """notebook: the shipped one, now in place. kept: where the learner's copy went; None if there was none to keep."""

    notebook: Path
    kept: Path | None


def reset(chapter: str | int, root: Path | None = None) -> Reset:
    """Reset ``chapter`` in the course's folder; a changed notebook moves to ``notebooks/kept/`` under a new name.

    Raises ChapterError if the chapter is unknown or not in this edition, and GenerateError if it cannot be made; then
    nothing has been touched.
    """
    entry = chapters.chapter(chapter)
    root = root or chapters.root()
    source, target = root / "solutions" / f"{entry.stem}.ipynb", root / "notebooks" / f"{entry.stem}.ipynb"
    if not source.is_file():
        raise chapters.ChapterError(
            f"chapter {entry.number} ({entry.title}) is not in this edition: {source} is missing"
        )
    text = notebooks.shipped(source)
    kept = None
    if target.exists() and notebooks.is_changed(target):
        kept = _free_name(target)
        kept.parent.mkdir(exist_ok=True)
        shutil.copy2(target, kept)
    notebooks.write(target, text)
    return Reset(target, kept)


def _free_name(target: Path) -> Path:
    folder, number = target.parent / KEPT, 1
    while (folder / f"{target.stem}-{number}.ipynb").exists():
        number += 1
    return folder / f"{target.stem}-{number}.ipynb"
