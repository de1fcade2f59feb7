"""Files of rows, read one row at a time: JSONL, JSON, CSV, TSV, Parquet, plain text, or a folder of these.

Every row comes out, in order, with the line that it begins on and the bytes that it was: read, or with the reason why
it cannot be. None is dropped, and none is mended. Memory does not grow with the file.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from course_utils.text.documents import DataError, show_value

LIMIT = 16 * 2**20  # bytes of one row
CHUNK = 2**20
DELIMITERS = ",;\t|"
ENDINGS = {
    ".jsonl": "JSONL",
    ".ndjson": "JSONL",
    ".json": "JSON",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".parquet": "Parquet",
    ".txt": "text",
    ".md": "text",
}
_MARKS = {  # how other kinds of files begin
    b"\xff\xfe": "is UTF-16 or UTF-32",
    b"\xfe\xff": "is UTF-16",
    b"\x1f\x8b": "is compressed (gzip)",
    b"PK\x03\x04": "is a zip archive or a spreadsheet",
}


class Record(NamedTuple):
    """One row of a file.

    line: where it begins, from 1; of Parquet the number of the row. raw: its bytes as they stand in the file (in
    pieces, if they are many; of Parquet a table of one row). value: what was read, usually a dict of columns.
    problem: why it cannot be read, or "".
    """

    file: Path
    line: int
    raw: Any
    value: Any
    problem: str = ""


def kind_of(path: str | Path) -> str:
    """Which format a file has, by its ending and its first bytes. Raises DataError for one that cannot be read."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} is not there. Give a file, a folder, or hub:owner/name for a data set of the Hub.")
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path.name} ends in {path.suffix!r}; one of {', '.join(ENDINGS)} is expected.")
    with path.open("rb") as file:
        begin = file.read(4)
    for mark, what in _MARKS.items():
        if begin.startswith(mark):
            raise DataError(f"{path.name} {what}; unpack it, or save it as UTF-8, and give the new file.")
    return kind


def files_of(path: str | Path) -> tuple[list[Path], list[Path]]:
    """(the files that are read, those that are left out because of their ending): one, or all that a folder has below
    it, in alphabetical order; hidden ones are left out without a word.

    Raises DataError if there is nothing to read.
    """
    path = Path(path)
    if not path.is_dir():
        kind_of(path)
        return [path], []
    there = sorted(
        p for p in path.rglob("*") if p.is_file() and not any(s[0] == "." for s in p.relative_to(path).parts)
    )
    read = [p for p in there if p.suffix.lower() in ENDINGS]
    if not read:
        raise DataError(f"the folder {path} has no file that ends in {', '.join(ENDINGS)}.")
    for each in read:
        kind_of(each)
    return read, [p for p in there if p.suffix.lower() not in ENDINGS]


def read_records(path: str | Path, limit: int = LIMIT) -> Iterator[Record]:
    """All rows of a file, or of the files of a folder one after the other.

    limit: bytes of the longest row; longer ones come with a problem. Raises DataError for a file that cannot be read at
    all.
    """
    readers = {
        "JSONL": read_jsonl,
        "JSON": read_json,
        "CSV": read_csv,
        "TSV": read_csv,
        "Parquet": read_parquet,
        "text": read_text,
    }
    for file in files_of(path)[0]:
        yield from readers[kind_of(file)](file, limit)


def read_jsonl(path: Path, limit: int = LIMIT) -> Iterator[Record]:
    """One JSON value a line. Lines may end in any of the three ways; empty ones are passed over."""
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":  # a byte-order mark
            file.seek(0)
        begin = file.tell()
        head = file.read(CHUNK)
        file.seek(begin)
        if b"\r" in head and b"\n" not in head:  # no line would ever end
            yield from _old_lines(path, file, limit)
            return
        number = 0
        while line := file.readline(limit + 1):
            number += 1
            if len(line) > limit and line[-1:] != b"\n":
                pieces = _rest_of_line(file, line)
                yield Record(path, number, pieces, None, f"longer than {limit:,} bytes")
                for _ in pieces:  # what was not asked for
                    pass
            elif b"\r" in line[:-2]:
                for place, part in enumerate(_parts(line)):
                    number += place > 0
                    if record := _json_line(path, number, part, False):
                        yield record
            elif record := _json_line(path, number, line, line[-1:] != b"\n"):
                yield record


def _json_line(path: Path, number: int, line: bytes, last: bool) -> Record | None:
    try:
        return Record(path, number, line, parse_json(line))
    except DataError as error:
        if line.isspace():
            return None
        cut = ". The file ends here: is it cut off?" if last else ""
        return Record(path, number, line, None, f"{error}{cut}")


def _parts(line: bytes) -> list[bytes]:
    """A line with carriage returns inside: one value all the same, or several lines of an old Mac."""
    return [line] if _is_json(line) else re.findall(rb"[^\r]*\r\n?|[^\r]+", line)


def _old_lines(path: Path, file: Any, limit: int) -> Iterator[Record]:
    left, number, long, why = b"", 0, False, f"part of a line longer than {limit:,} bytes"
    while chunk := file.read(CHUNK):
        *lines, left = (left + chunk).split(b"\r")
        for line in lines:
            number += 1
            if long:
                yield Record(path, number, line + b"\r", None, why)
            elif record := _json_line(path, number, line + b"\r", False):
                yield record
            long = False
        if len(left) > limit:
            yield Record(path, number + 1, left, None, why)
            left, long = b"", True
    if left and (record := _json_line(path, number + 1, left, True)):
        yield record._replace(value=None, problem=why) if long else record


def _rest_of_line(file: Any, begin: bytes) -> Iterator[bytes]:
    while begin:
        yield begin
        begin = b"" if begin.endswith(b"\n") else file.readline(CHUNK)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(f"the key {twice!r} comes twice in one object, so which value counts cannot be said")
    return found


def _no_constant(name: str) -> Any:
    raise DataError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def parse_json(text: bytes | str) -> Any:
    """The value. Raises DataError that says what is wrong: bytes that are no UTF-8, broken JSON, a key that comes
    twice, NaN, half a character (a lone surrogate), nested too deeply."""
    try:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text
        value = _DECODER.decode(plain)
        if "\\u" in plain:  # the one way to write half a character
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DataError(f"no JSON: {error.msg} at character {error.pos + 1}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"no UTF-8: byte {error.start + 1} is 0x{error.object[error.start]:02x}") from error
    except UnicodeEncodeError as error:
        raise DataError("a character of which one half is missing (a lone surrogate)") from error
    except RecursionError as error:
        raise DataError("nested too deeply") from error
    except DataError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"no JSON: {error}") from error
    return value


def _is_json(text: bytes | str) -> bool:
    try:
        parse_json(text)
    except DataError:
        return False
    return True


def read_json(path: Path, limit: int = LIMIT) -> Iterator[Record]:
    """One array of rows; or an object that holds one array, under whatever name; or, as many a .json file has it, one
    object a line."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        begin = file.read(CHUNK).lstrip()
    if begin.startswith("["):
        yield from _json_array(path, limit)
        return
    first, *rest = begin.splitlines() or [""]
    if any(line.strip() for line in rest) and _is_json(first):
        yield from read_jsonl(path, limit)
        return
    if path.stat().st_size > limit:
        raise DataError(
            f"{path.name} holds neither an array of rows nor one row a line, and is too large to be read at once "
            f"({path.stat().st_size:,} bytes). Write one row a line (.jsonl)."
        )
    raw = path.read_bytes()
    try:
        whole = parse_json(raw.removeprefix(b"\xef\xbb\xbf"))
    except DataError as error:
        yield Record(path, 1, raw, None, f"{error}. The whole file is one value that cannot be read: is it cut off?")
        return
    arrays = [v for v in whole.values() if isinstance(v, list) and v] if isinstance(whole, dict) else []
    if len(arrays) != 1 or not isinstance(arrays[0][0], dict):
        yield Record(path, 1, raw, whole)
        return
    for number, value in enumerate(arrays[0], 1):  # its lines are not known: the places in the array are counted
        yield Record(path, number, json.dumps(value, ensure_ascii=False).encode() + b"\n", value)


def _json_array(path: Path, limit: int) -> Iterator[Record]:
    """The elements of an array, decoded one by one from a window of the file."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        window, at, line, over = file.read(CHUNK), 0, 1, False
        opened = comma = False
        while True:
            blank = re.compile(r"\s*").match(window, at).end()  # type: ignore[union-attr]
            line += window.count("\n", at, blank)
            at = blank
            if at == len(window):
                window, at = file.read(CHUNK), 0
                if window:
                    continue
                if not over:
                    yield Record(path, line, b"", None, "the file ends before the ] of its array: is it cut off?")
                return
            if over:
                yield from _unreadable(path, file, line, window[at:], "text after the end of the array")
                return
            if not opened or (window[at] == "," and comma):
                at, opened, comma = at + 1, True, False
                continue
            if window[at] == "]":
                at, over = at + 1, True
                continue
            try:
                _, end = json.JSONDecoder().raw_decode(window, at)
                if end == len(window) and (more := file.read(CHUNK)):  # a number may go on
                    window, at = window[at:] + more, 0
                    continue
                if comma:
                    raise json.JSONDecodeError("Expecting ',' delimiter", window, at)
            except (ValueError, RecursionError) as error:
                more = file.read(max(CHUNK, len(window) - at)) if len(window) - at <= limit else ""
                if more and not comma:
                    window, at = window[at:] + more, 0
                    continue
                why = getattr(error, "msg", str(error))
                where = line + window.count("\n", at, getattr(error, "pos", at))
                why = f"no JSON: {why} on line {where}. Nothing after it can be read: is the file cut off?"
                yield from _unreadable(path, file, line, window[at:] + more, why)
                return
            text = window[at:end]
            raw = text.encode("utf-8", "surrogateescape") + b"\n"
            try:
                yield Record(path, line, raw, parse_json(raw))
            except DataError as error:
                yield Record(path, line, raw, None, str(error))
            line += text.count("\n")
            at, comma = end, True


def _unreadable(path: Path, file: Any, line: int, begin: str, why: str) -> Iterator[Record]:
    def pieces() -> Iterator[bytes]:
        piece = begin
        while piece:
            yield piece.encode("utf-8", "surrogateescape")
            piece = file.read(CHUNK)

    yield Record(path, line, pieces(), None, why)


class _Kept:
    """The lines that a reader has taken since ``lines`` was emptied."""

    def __init__(self, file: Iterable[str]) -> None:
        self.file, self.lines = iter(file), list[str]()

    def __iter__(self) -> _Kept:
        return self

    def __next__(self) -> str:
        self.lines.append(next(self.file))
        return self.lines[-1]


def delimiter_of(path: Path) -> str:
    """What stands between the fields: a tab in .tsv; else what the first line has most of."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        head = file.readline(CHUNK)
    return "\t" if path.suffix.lower() == ".tsv" else max(DELIMITERS, key=head.count)


def read_csv(path: Path, limit: int = LIMIT) -> Iterator[Record]:
    """Rows below a header; fields may be quoted and then hold line ends. All values are texts.

    Raises DataError for a header with an empty name, or with one name twice.
    """
    if limit > csv.field_size_limit():
        csv.field_size_limit(limit)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        kept = _Kept(file)
        reader = csv.reader(kept, delimiter=delimiter_of(path), strict=True)
        header: list[str] | None = None
        while True:
            kept.lines.clear()
            line, fields, why = reader.line_num + 1, [], ""
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                why = f"the quotes of this row do not close properly, up to line {reader.line_num} ({error})"
            raw = "".join(kept.lines).encode("utf-8", "surrogateescape")
            if header is None:
                header = [name.strip() for name in fields]
                if why or "" in header or len({*header}) < len(header):
                    raise DataError(
                        f"{path.name}: its first line must name the columns, each once; it is {show_value(fields)}."
                    )
            elif why:
                yield Record(path, line, raw, None, why)
            elif fields:
                yield _csv_row(path, line, raw, fields, header)


def _csv_row(path: Path, line: int, raw: bytes, fields: list[str], header: list[str]) -> Record:
    if len(fields) != len(header):
        why = f"{len(fields)} fields, where the header has {len(header)} columns"
        return Record(path, line, raw, None, why)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Record(path, line, raw, None, f"no UTF-8: byte {error.start + 1} is 0x{raw[error.start]:02x}")
    return Record(path, line, raw, dict(zip(header, fields, strict=True)))


def header_of(path: Path) -> bytes:
    """The first line of a CSV file as it stands there, for a file of some of its rows."""
    with path.open("rb") as file:
        return file.readline()


def read_parquet(path: Path, limit: int = LIMIT) -> Iterator[Record]:
    """The rows of a Parquet file; lists in lists, and structs, as Python's. ``line`` is the number of the row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1_000):
                for place, value in enumerate(batch.to_pylist()):
                    number += 1
                    yield Record(path, number, batch.slice(place, 1), value)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} cannot be read as Parquet ({error}). Is it cut off? Copy it again.") from error


def read_text(path: Path, limit: int = LIMIT) -> Iterator[Record]:
    """Documents of plain text, with blank lines between them."""
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        block: list[bytes] = []
        begin, size, number, long = 1, 0, 0, False
        for line in iter(lambda: file.readline(limit), b""):
            number += 1
            if line.strip():
                if not block:
                    begin = number
                block.append(line)
                size += len(line)
            long = long or size > limit  # until its end: no part of it is a document
            if block and (not line.strip() or size > limit):
                yield _document(path, begin, b"".join(block), limit, long)
                block, size = [], 0
            long = long and bool(line.strip())
        if block:
            yield _document(path, begin, b"".join(block), limit, long)


def _document(path: Path, line: int, raw: bytes, limit: int, long: bool) -> Record:
    if long:
        return Record(path, line, raw, None, f"part of more than {limit:,} bytes without a blank line")
    try:
        return Record(path, line, raw, {"text": raw.decode("utf-8").strip()})
    except UnicodeDecodeError as error:
        return Record(path, line, raw, None, f"no UTF-8: byte {error.start + 1} is 0x{raw[error.start]:02x}")
