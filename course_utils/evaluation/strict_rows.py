"""Files of questions, read strictly: every row that cannot be used is named, and no score is taken over the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

Row = TypeVar("Row")
SHOWN = 5  # bad rows that an error names


def read_json_rows(path: str | Path, make: Callable[[Any], Row], error: type[ValueError]) -> list[Row]:
    """What ``make`` makes of each line of a file with one JSON value a line; empty lines are passed over.

    ``make`` raises ValueError with a sentence for a value that it cannot use. Raises ``error``, which names the lines,
    for those, for broken JSON, and for a file without rows.
    """
    rows, problems = [], []
    # Not splitlines, which also ends a line at U+2028 and its kin: in a string of JSON those are letters.
    for line, text in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), 1):
        if not text.strip():
            continue
        try:
            rows.append(make(json.loads(text)))
        except json.JSONDecodeError as fault:
            problems.append(f"line {line}: no JSON ({fault})")
        except ValueError as fault:
            problems.append(f"line {line}: {fault}")
    return checked(path, rows, problems, error)


def checked(path: str | Path, rows: list[Row], problems: Sequence[str], error: type[ValueError]) -> list[Row]:
    """The rows, if there are any and none has a problem; otherwise ``error``, naming the first problems."""
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        listed = "\n  ".join(problems[:SHOWN])
        raise error(f"{path}: {len(problems)} rows cannot be used:\n  {listed}{more}\nMend or drop them.")
    if not rows:
        raise error(f"{path} has no rows.")
    return rows


def missing_fields(found: Any, names: Sequence[str]) -> list[str]:
    """Which of these fields the value has not; all of them if it is no object."""
    return [name for name in names if not isinstance(found, dict) or name not in found]
