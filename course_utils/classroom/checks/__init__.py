"""One module per chapter, ``chNN``, with the checks of its exercises. They are loaded when an exercise asks."""

from __future__ import annotations

import pkgutil
from importlib import import_module


def chapters() -> list[str]:
    """The chapters that have checks, as two digits."""
    return sorted(m.name[2:] for m in pkgutil.iter_modules(__path__) if m.name.startswith("ch"))


def load(chapter: str) -> None:
    """Import the checks of ``chapter`` (two digits). A chapter without checks is left alone."""
    if chapter in chapters():
        import_module(f"{__name__}.ch{chapter}")


def load_all() -> None:
    """Import the checks of every chapter."""
    for chapter in chapters():
        load(chapter)
