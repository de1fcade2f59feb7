"""Support package of the course: one language model, taken through its whole life on a small machine.

``start`` is the first call of every notebook. Nothing heavy is imported here, and nothing trains at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from course_utils.classroom.session import Run

__version__ = "0.1.0"

__all__ = ["__version__", "start"]


def start(chapter: str | int) -> Run:
    """Open a chapter, for example ``start("06")``: seeds, device, quiet libraries, plot style, and a card of it all.

    Raises ChapterError for an unknown chapter and SettingsError for an unknown profile.
    """
    from course_utils.classroom.session import start as open_chapter

    return open_chapter(chapter)
