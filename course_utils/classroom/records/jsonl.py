"""Lines of JSON in the learner's folder: appended whole, read with tolerance for a line torn by a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Append ``record`` as one line, in one write, and sync it. Raises OSError if the disk refuses.

    A torn last line of an earlier crash is closed first, so that it cannot swallow this one.
    """
    line = json.dumps(dict(record), ensure_ascii=False, allow_nan=False) + "\n"
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    try:
        size = os.fstat(handle).st_size
        if size:
            os.lseek(handle, size - 1, os.SEEK_SET)
            if os.read(handle, 1) != b"\n":
                line = "\n" + line
        data = line.encode("utf-8")
        written = os.write(handle, data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes could be written to {path}; is the disk full?")
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> list[dict[str, Any]]:
    """All whole records of ``path`` in order; torn or foreign lines are skipped, a missing file is empty."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:  # also a UnicodeDecodeError
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
