"""What the learner has judged, kept in ``home()/ratings/<key>.json``: a digest of the texts -> one value per question.

Every value is written at once. Other texts under the same key have another digest, so judgements never move to texts
that they were not made for, and come back when the old texts do.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from course_utils import files, settings

FOLDER = "ratings"


class RatingStore:
    """The judgements of one set of texts.

    values: one per question, None where there is none yet. notice: what the learner should know about the file, or ''.
    ``fits(question, value)`` says whether a stored value can be a judgement; a file with anything else is set aside.
    Trouble with the disk never stops a lesson: it is told in ``notice``, and the next ``put`` tries again.

    Raises ValueError for a key that cannot name a file.
    """

    def __init__(self, key: str, texts: Any, count: int, fits: Callable[[int, Any], bool]):
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", key):
            raise ValueError(
                f"the key is {key!r}; it names the file with your clicks, so it must be made of letters (a-z, A-Z), "
                "digits, dots, dashes and underscores, such as '11.rank'."
            )
        self.path = settings.home() / FOLDER / f"{key}.json"
        self.digest = hashlib.sha256(json.dumps(texts).encode("ascii")).hexdigest()[:16]
        self.values: list[Any] = [None] * count
        self._fits = fits
        self._unsaved: dict[int, Any] = {}
        self._aside = self._trouble = ""
        try:
            self.values = self._read().get(self.digest, self.values)
        except OSError as error:
            self._trouble = f"What you did here before could not be read: {error.strerror or error}."

    @property
    def notice(self) -> str:
        return " ".join(filter(None, [self._aside, self._trouble]))

    def put(self, question: int, value: Any) -> None:
        """Keep ``value`` for ``question`` (None takes it back), in memory and on disk."""
        self.values[question] = self._unsaved[question] = value
        try:
            sets = self._read()  # again: another notebook may have written since
            values = sets.get(self.digest, self.values)
            sets[self.digest] = [self._unsaved.get(i, old) for i, old in enumerate(values)]
            self._write(sets)
        except OSError as error:
            self._trouble = f"Your clicks count, but they could not be saved: {error.strerror or error}."
        else:
            self._unsaved.clear()
            self._trouble = ""

    def _read(self) -> dict[str, list[Any]]:
        """Digest -> values. A file that is none of ours moves out of the way, its content untouched. Raises OSError."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            sets = json.loads(data)
        except (ValueError, RecursionError):
            sets = None
        if isinstance(sets, dict) and all(isinstance(values, list) for values in sets.values()):
            values = sets.get(self.digest, self.values)
            if len(values) == len(self.values) and all(v is None or self._fits(i, v) for i, v in enumerate(values)):
                return sets
        aside = self._free_name()
        os.replace(self.path, aside)
        self._aside = f"The file {self.path.name} with your clicks could not be understood; it is now {aside.name}."
        return {}

    def _free_name(self) -> Path:
        names = (self.path.with_name(f"{self.path.name}{'-' * bool(n)}{n or ''}.bad") for n in range(10**6))
        return next(name for name in names if not name.exists())

    def _write(self, sets: dict[str, list[Any]]) -> None:
        """Write whole or not at all. Raises OSError."""
        with files.atomic_file(self.path) as fresh:
            fresh.write_text(json.dumps(sets), encoding="ascii")
