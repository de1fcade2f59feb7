"""A log of requests that a crash cannot tear: one SQLite file in write-ahead mode, with labels and thumbs beside it.

In write-ahead mode a commit is appended to a second file (``-wal``) and copied into the first one later, so that one
process can write while others read, and a writer that is killed leaves every commit that it had finished
(https://sqlite.org/wal.html). Requests never change. What is learned of them later, labels and thumbs, has tables of
its own, with the time at which it arrived.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

COLUMNS = {  # column: its type in SQLite
    "time": "REAL",  # days since the service began
    "model": "TEXT",  # the version that the server believes it runs
    "topic": "TEXT",
    "prompt": "TEXT",
    "answer": "TEXT",
    "prompt_tokens": "INTEGER",  # with the template
    "answer_tokens": "INTEGER",
    "surprise": "REAL",  # bits per token of the prompt, under a fixed model
    "unread": "INTEGER",  # 0, or what the training data lacks: 1 the person, 2 a word
    "confidence": "REAL",  # mean log-probability of the answer's tokens, nats
    "latency": "REAL",  # seconds
    "abstained": "INTEGER",
    "refused": "INTEGER",
    "format_kept": "INTEGER",
}
LATER = {"labels": "correct", "thumbs": "up"}  # table: its column, 0 or 1
NUMBERS = tuple(name for name, kind in COLUMNS.items() if kind != "TEXT")


class LogError(ValueError):
    """A log that cannot be read, or a row that cannot be logged."""


class RequestLog:
    """The requests of one service.

    Used as ``with RequestLog(path) as log:``. A file is made if there is none, unless ``read_only``.
    Raises LogError if the file is no request log, or is not there and ``read_only``.
    """

    def __init__(self, path: str | PathLike[str], read_only: bool = False) -> None:
        self.path = Path(path)
        if read_only and not self.path.is_file():
            raise LogError(f"there is no log at {self.path}.")
        try:
            if read_only:
                self._base = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
            else:
                self._base = sqlite3.connect(self.path)
                self._base.execute("PRAGMA journal_mode=WAL")
                self._make_tables()
            missing = [name for name in COLUMNS if name not in self._columns()]
        except sqlite3.DatabaseError as error:
            raise LogError(
                f"{self.path} cannot be read as a request log ({error}). It was left as it is; give the file that a "
                "RequestLog wrote, or lines of JSON with the ending .jsonl."
            ) from error
        if missing:
            raise LogError(f"{self.path} is a database, but its table of requests lacks {', '.join(missing)}.")

    def __enter__(self) -> RequestLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. What was logged is safe before that."""
        self._base.close()

    def __len__(self) -> int:
        return int(self._base.execute("SELECT count(*) FROM requests").fetchone()[0])

    def append(self, rows: Iterable[Mapping[str, Any]]) -> list[int]:
        """Log requests in one transaction: all of them or, if one cannot be logged, none. Returns their ids.

        Columns that a row lacks are stored as NULL. Raises LogError for an unknown column, a time that is missing or
        not finite, or a disk that refuses.
        """
        rows = list(rows)
        for number, row in enumerate(rows):
            _check_row(row, number)
        names = list(COLUMNS)
        places = ", ".join("?" * len(names))
        try:
            with self._base:
                self._base.execute("BEGIN IMMEDIATE")  # before the ids are chosen: another process may be writing too
                first = self._base.execute("SELECT coalesce(max(id), 0) + 1 FROM requests").fetchone()[0]
                ids = list(range(first, first + len(rows)))
                self._base.executemany(
                    f"INSERT INTO requests (id, {', '.join(names)}) VALUES (?, {places})",
                    [(id, *(row.get(name) for name in names)) for id, row in zip(ids, rows, strict=True)],
                )
        except sqlite3.OperationalError as error:
            raise LogError(
                f"{len(rows)} requests could not be logged in {self.path} ({error}). What was logged before is "
                "untouched. If the disk is full, free some space; if another program holds the file, close it."
            ) from error
        return ids

    def add(self, table: str, entries: Iterable[tuple[int, float, bool]]) -> None:
        """Add labels or thumbs: (id of the request, day on which it arrived, right or thumb up). The latest one counts.

        Raises LogError for another table, or for a request that was never logged; then nothing is added.
        """
        if table not in LATER:
            raise LogError(f"there is no table {table!r}; choose from {', '.join(LATER)}.")
        plain = [(int(id), float(time), int(value)) for id, time, value in entries]
        known = {id for (id,) in self._base.execute("SELECT id FROM requests")}
        strange = [id for id, *_ in plain if id not in known]
        if strange:
            raise LogError(f"request {strange[0]} was never logged ({len(strange)} such entries); nothing was added.")
        with self._base:
            self._base.executemany(f"INSERT INTO {table} (request, time, {LATER[table]}) VALUES (?, ?, ?)", plain)

    def rows(self, until: float = math.inf) -> list[dict[str, Any]]:
        """All requests with a time before ``until``, in the order of their logging, as one knew them on that day.

        Besides ``COLUMNS``: id, correct and up, each 0, 1 or None if nothing had arrived by then.
        """
        cursor = self._base.execute(
            "SELECT id, " + ", ".join(COLUMNS) + " FROM requests WHERE time < ? ORDER BY id", (until,)
        )
        names = [column[0] for column in cursor.description]
        found = {row[0]: dict(zip(names, row, strict=True)) | {"correct": None, "up": None} for row in cursor}
        for table, column in LATER.items():
            entries = self._base.execute(
                f"SELECT request, {column} FROM {table} WHERE time < ? ORDER BY time", (until,)
            )
            for id, value in entries:
                if id in found:
                    found[id][column] = value
        return list(found.values())

    def _columns(self) -> set[str]:
        return {row[1] for row in self._base.execute("PRAGMA table_info(requests)")}

    def _make_tables(self) -> None:
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        with self._base:
            self._base.execute(f"CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, {columns})")
            for table, column in LATER.items():
                self._base.execute(f"CREATE TABLE IF NOT EXISTS {table} (request INTEGER, time REAL, {column} INTEGER)")


def _check_row(row: Mapping[str, Any], number: int) -> None:
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise LogError(
            f"row {number} has the column {unknown[0]!r}; a request has {', '.join(COLUMNS)}. Nothing was logged."
        )
    time = row.get("time")
    if not isinstance(time, int | float) or isinstance(time, bool) or not math.isfinite(time):
        raise LogError(f"row {number} has the time {time!r}; a finite number of days is expected. Nothing was logged.")


def read_jsonl(path: str | PathLike[str]) -> tuple[list[dict[str, Any]], int]:
    """(requests, lines that were left out) of a log in lines of JSON, such as another server writes.

    A line torn by a crash, or one without a finite ``time``, is counted and left out; the rest is kept.
    Raises LogError if the file is not there, or if no line of it is a request.
    """
    path = Path(path)
    try:
        lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except OSError as error:
        raise LogError(f"{path} cannot be read: {error.strerror}.") from error
    kept: list[dict[str, Any]] = []
    for line in lines:
        try:
            row = json.loads(line)
            row = {name: row.get(name) for name in (*COLUMNS, "correct", "up")}
            _check_row({"time": row["time"]}, len(kept))
        except (ValueError, AttributeError, RecursionError):  # LogError is a ValueError
            continue
        kept.append({"id": len(kept) + 1, **row})
    if not kept:
        raise LogError(
            f"none of the {len(lines)} lines of {path} is a request: an object with a number `time`, in days."
        )
    return kept, len(lines) - len(kept)


def read(path: str | PathLike[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """(requests, what is odd about them) of a log of either kind. Raises LogError if it cannot be read."""
    odd = []
    if str(path).endswith(".jsonl"):
        rows, torn = read_jsonl(path)
        if torn:
            odd.append(f"{torn} line{'s' * (torn > 1)} could not be read, being torn or foreign; the rest is used.")
    else:
        with RequestLog(path, read_only=True) as log:
            rows = log.rows()
        if not rows:
            raise LogError(f"{path} holds no request yet.")
    return rows, odd + clock_faults([row["time"] for row in rows])


def clock_faults(times: Sequence[float]) -> list[str]:
    """What is odd about times in the order of logging: a sentence if the clock ran backwards, with how often and how
    far.

    Order of logging and order of time then differ, and a week may miss requests or hold too many.
    """
    steps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    back = [-step for step in steps if step < 0]
    if not back:
        return []
    return [
        f"the clock ran backwards {len(back)} time{'s' * (len(back) > 1)}, by up to {max(back):.3g} days; rows stay in "
        "the order of logging, and the weeks around that time may hold too few requests or too many."
    ]
