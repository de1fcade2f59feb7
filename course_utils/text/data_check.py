"""A learner's own data, once through: every row read, checked, counted in tokens and put on one side of a split.

    layout = detect(first_rows(path))
    found = check_data(path, folder, tokenizer, layout)

The file itself is only read. Into ``folder`` go

    train.jsonl, held_out.jsonl   the good rows in the course's form (messages; prompt, chosen, rejected; or text)
    tokens.npy, ends.npy          their token ids, one after the other in the order of the file, and where each ends
    answers.npy                   1 where the assistant speaks
    held_out.npy, groups.npy      of each row: whether it is held out; the first row of its group
    problems.jsonl, rejected/     every row that cannot be used: its line and the reason; the row itself, unchanged
    check.json                    what was found

Memory does not grow with the text, and only by some 100 bytes with each row.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from course_utils.text import near_copies, readers
from course_utils.text.columns import Layout, read_row
from course_utils.text.documents import DataError, show_value
from course_utils.text.row_encoding import Encoded, RowEncoder
from course_utils.text.splits import split_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH_ROWS, BATCH_CHARACTERS = 1_000, 2**20
SHOWN = 20  # problems that are kept in memory


@dataclass
class DataCheck:
    """What was found. ``rows`` is all rows of the file: ``good`` and ``bad`` together.

    lengths: quantiles of tokens per sequence (a comparison has two). limit: tokens that the model reads; ``over`` rows
    are longer, ``cut`` tokens lie after it, and ``lost`` rows have their whole answer there. same_prompt, near_copies:
    rows that were put beside an earlier one. groups: what is left to be split. digest: SHA-256 of all ids and lengths.
    """

    source: str
    format: str
    layout: str
    kind: str
    tokenizer: str
    limit: int
    seed: int
    rows: int = 0
    good: int = 0
    bad: int = 0
    tokens: int = 0
    lengths: dict[str, int] = field(default_factory=dict)
    over: int = 0
    cut: int = 0
    lost: int = 0
    same_prompt: int = 0
    near_copies: int = 0
    groups: int = 0
    largest_group: int = 0
    train: int = 0
    held_out: int = 0
    digest: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def truncation(self) -> str:
        """What the limit would cut off, to be said before anything is trained."""
        if not self.over:
            return f"None is longer than the {self.limit} tokens that the model reads: nothing would be cut."
        if self.kind == "pair":
            what, end = "side of a pair", "Pairs with such a side would be left out of training, whole."
        else:
            what, end = "row", f"Training would cut there, {self.cut:,} tokens in all."
            if self.lost:
                end += f" Of {self.lost:,} the whole answer lies after it; such rows would be left out."
        return f"Longer than the {self.limit} tokens that the model reads, counted by {what}: {self.over:,}. {end}"

    def sides(self) -> str:
        """Who stands on which side of the split."""
        return (
            f"Split: {self.train:,} rows to train on, {self.held_out:,} held out. {self.same_prompt:,} rows have the "
            f"prompt of an earlier one and {self.near_copies:,} are near copies of one; such rows, and rows of one "
            f"group, stay on one side. That leaves {self.groups:,} groups; the largest has {self.largest_group:,} rows."
        )


def first_rows(path: str | Path, count: int = 200) -> list[Any]:
    """Values of the first readable rows; of a folder, some of each file. Raises DataError if there is none."""
    files = readers.files_of(path)[0]
    each = max(1, count // len(files))
    rows: list[Any] = []
    for file in files:
        readable = (record.value for record in readers.read_records(file) if not record.problem)
        rows += islice(readable, each)
    if not rows:
        why = next((f"line {r.line}: {r.problem}" for f in files for r in readers.read_records(f)), "it is empty")
        raise DataError(f"{path} has no row that can be read ({why}).")
    return rows


def check_data(
    path: str | Path,
    folder: str | Path,
    tokenizer: PreTrainedTokenizerFast,
    layout: Layout,
    *,
    limit: int = 1024,
    share: float = 0.1,
    seed: int = 0,
    name: str = "",
    progress: Callable[[int], None] | None = None,
) -> DataCheck:
    """Check, tokenize and split a file, or all files of a folder, into ``folder``, which is made and must be empty.

    limit: tokens that the model reads. share: of the rows, that is held out. name: what the tokenizer is called in the
    result. progress: called now and then with the rows so far. Rows with one prompt, near copies, and rows of one group
    stay on one side. Raises DataError if the file cannot be read or no row is good, ValueError for
    an impossible share or limit, OSError for a full disk.
    """
    if not 0 < share < 1 or limit < 2:
        raise ValueError(f"share is {share:g} and limit {limit}; give a share between 0 and 1, and 2 tokens or more.")
    path, folder = Path(path), Path(folder)
    read, left_out = readers.files_of(path)
    formats = ", ".join(dict.fromkeys(map(readers.kind_of, read)))
    shown = name or getattr(tokenizer, "name_or_path", "") or "no name"
    found = DataCheck(str(path), formats, str(layout), layout.kind, shown, limit, seed)
    found.notes += [f"not read, because of its ending: {file.relative_to(path)}" for file in left_out]
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        writer = stack.enter_context(_Writer(folder, path, tokenizer, layout, found))
        for record in readers.read_records(path):
            found.rows += 1
            if progress and found.rows % 10_000 == 0:
                progress(found.rows)
            if record.problem:
                writer.reject(record, record.problem)
                continue
            try:
                writer.add(record, read_row(record.value, layout))
            except DataError as error:
                writer.reject(record, str(error))
        writer.flush()
    if not found.good:
        first = "\n  ".join(found.problems[:5])
        raise DataError(f"none of the {found.rows} rows of {path} can be used:\n  {first}")
    _measure(folder, found, writer)
    _split(folder, found, writer, share)
    text = json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n"
    (folder / "check.json").write_text(text, encoding="utf-8")
    return found


class _Numbers:
    """A one-dimensional .npy file that is written piece by piece."""

    def __init__(self, path: Path, kind: Any) -> None:
        self.file, self.kind, self.count = path.open("wb"), np.dtype(kind), 0
        self._header()

    def _header(self) -> None:
        about = {"descr": np.lib.format.dtype_to_descr(self.kind), "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self.file, about)  # leaves room for the count to grow

    def add(self, values: np.ndarray) -> None:
        self.file.write(values.astype(self.kind, copy=False).tobytes())
        self.count += len(values)

    def close(self) -> None:
        self.file.seek(0)
        self._header()
        self.file.close()


class _Writer:
    """Where rows go: good ones in batches to the encoder, bad ones aside."""

    def __init__(
        self, folder: Path, source: Path, tokenizer: PreTrainedTokenizerFast, layout: Layout, found: DataCheck
    ) -> None:
        self.folder, self.source, self.layout, self.found = folder, source, layout, found
        self.encoder = RowEncoder(tokenizer)
        self.digest = hashlib.sha256()
        self.pending: list[tuple[readers.Record, dict[str, Any], str, str]] = []
        self.characters = 0
        self.places = array("q", [0])  # where each row of rows.jsonl begins
        self.prompts, self.groups = array("Q"), array("Q")
        self.by_file = layout.kind == "text" and source.is_dir() and layout.group is None
        self.rejected: dict[str, Any] = {}

    def __enter__(self) -> _Writer:
        self.rows = (self.folder / "rows.jsonl").open("wb", buffering=2**20)
        self.problems = (self.folder / "problems.jsonl").open("w", encoding="utf-8")
        few = len(self.encoder.tokenizer) <= 2**16
        self.ids = _Numbers(self.folder / "tokens.npy", np.uint16 if few else np.uint32)
        self.ends = _Numbers(self.folder / "ends.npy", np.int64)
        self.answers = None if self.layout.kind == "text" else _Numbers(self.folder / "answers.npy", np.uint8)
        self.bands = (self.folder / "bands.bin").open("wb")
        self.sketch = (self.folder / "sketch.bin").open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        numbers = [self.ids, self.ends, *([self.answers] if self.answers else [])]
        for part in (self.rows, self.problems, self.bands, self.sketch, *numbers, *self.rejected.values()):
            part.close()

    def add(self, record: readers.Record, row: dict[str, Any]) -> None:
        prompt, whole = texts_of(row)
        self.pending.append((record, row, prompt, whole))
        self.characters += len(whole)
        if len(self.pending) >= BATCH_ROWS or self.characters >= BATCH_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        if not self.pending:
            return
        batch, self.pending, self.characters = self.pending, [], 0
        encoded = self.encoder.encode([row for _, row, _, _ in batch])
        for number, why in sorted(encoded.refused.items()):
            self.reject(batch[number][0], why)
        good = [item for number, item in enumerate(batch) if number not in encoded.refused]
        if not good:
            return
        plain = [near_copies.plain(whole) for *_, whole in good]
        for (record, row, prompt, whole), compared in zip(good, plain, strict=True):
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            self.rows.write(line)
            self.places.append(self.places[-1] + len(line))
            self.prompts.append(near_copies.key(compared if prompt is whole else near_copies.plain(prompt)))
            if self.layout.group or self.by_file:
                value = record.file if self.by_file else record.value.get(self.layout.group)
                name = f"row {len(self.groups)} has none" if value is None else f"={value}"
                self.groups.append(near_copies.key(name.encode("utf-8", "replace")))
        bands, sketch = near_copies.signatures(plain)
        self.bands.write(bands.tobytes())
        self.sketch.write(sketch.tobytes())
        self.found.good += len(good)
        self._count(encoded)

    def _count(self, encoded: Encoded) -> None:
        found, limit = self.found, self.found.limit
        ends = encoded.lengths.cumsum()
        self.digest.update(encoded.ids.tobytes())
        self.ids.add(encoded.ids)
        self.ends.add(ends + found.tokens)
        around = 2 if encoded.answers is None else 0  # a text gets a begin and an end token when it is trained on
        too_long = encoded.lengths + around - limit
        found.tokens += int(ends[-1])
        found.over += int((too_long > 0).sum())
        found.cut += int(too_long.clip(min=0).sum())
        if encoded.answers is not None:
            assert self.answers is not None
            self.answers.add(encoded.answers)
            for row in np.flatnonzero(too_long > 0):
                begin = int(ends[row] - encoded.lengths[row])
                found.lost += not encoded.answers[begin : begin + limit].any()

    def reject(self, record: readers.Record, why: str) -> None:
        """Name the row, and keep it as it was."""
        self.found.bad += 1
        name = record.file.relative_to(self.source).as_posix() if self.source.is_dir() else record.file.name
        word = "row" if record.file.suffix.lower() == ".parquet" else "line"
        place = f"{word} {record.line}" if not self.source.is_dir() else f"{name}, {word} {record.line}"
        if len(self.found.problems) < SHOWN:
            self.found.problems.append(f"{place}: {why}")
        about = {"file": name, "line": record.line, "reason": why}
        self.problems.write(json.dumps(about, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n")
        target = self.rejected.get(name)
        if target is None:
            target = self.rejected[name] = _aside(self.folder / "rejected" / name, record)
        target.write(record.raw)


class _Bytes:
    """Rows of a file, byte by byte as they were; below the header, if it has one."""

    def __init__(self, path: Path, file: Path) -> None:
        self.file = path.open("wb")
        if readers.kind_of(file) in ("CSV", "TSV"):
            self.write(readers.header_of(file))

    def write(self, raw: Any) -> None:
        last = b"\n"
        for piece in (raw,) if isinstance(raw, bytes) else raw:
            self.file.write(piece)
            last = piece[-1:] or last
        if last not in (b"\n", b"\r"):
            self.file.write(b"\n")

    def close(self) -> None:
        self.file.close()


class _Table:
    """Rows of a Parquet file, in another one with the same columns."""

    def __init__(self, path: Path, first: Any) -> None:
        import pyarrow.parquet as pq

        self.writer = pq.ParquetWriter(path, first.schema)

    def write(self, raw: Any) -> None:
        self.writer.write_batch(raw)

    def close(self) -> None:
        self.writer.close()


def _aside(path: Path, record: readers.Record) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    return _Table(path, record.raw) if path.suffix.lower() == ".parquet" else _Bytes(path, record.file)


def texts_of(row: dict[str, Any]) -> tuple[str, str]:
    """(what is asked, all of it) of a row, as texts to compare; of a plain text both are the text."""
    if "text" in row:
        return row["text"], row["text"]
    messages = row["messages"] if "messages" in row else [*row["prompt"], *row["chosen"]]
    last = max(number for number, message in enumerate(messages) if message["role"] == "assistant")
    before = [message["content"] for message in messages[:last]]
    return "\n".join(before), "\n".join([*before, messages[last]["content"]])


def _measure(folder: Path, found: DataCheck, writer: _Writer) -> None:
    lengths = row_lengths(folder)
    writer.digest.update(lengths.tobytes())
    found.digest = writer.digest.hexdigest()
    shares = {"least": 0.0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "most": 1.0}
    found.lengths = {name: int(np.quantile(lengths, q, method="higher")) for name, q in shares.items()}


def row_lengths(folder: str | Path) -> np.ndarray:
    """Tokens of each sequence of a checked folder, in the order of the file; (sequences,) int64."""
    return np.diff(np.load(Path(folder) / "ends.npy"), prepend=0)


def _split(folder: Path, found: DataCheck, writer: _Writer, share: float) -> None:
    groups = near_copies.Groups(found.good)
    if writer.groups:
        groups.unite(np.frombuffer(writer.groups, dtype=np.uint64))
    found.same_prompt = groups.unite(np.frombuffer(writer.prompts, dtype=np.uint64))
    with (folder / "rows.jsonl").open("rb") as file:

        @lru_cache(maxsize=8)  # a long text has many; one is compared with several others
        def shingles(row: int) -> frozenset[bytes]:
            file.seek(writer.places[row])
            return near_copies.shingles(near_copies.plain(texts_of(json.loads(file.readline()))[1]))

        def alike(a: int, b: int) -> bool:
            one, other = shingles(a), shingles(b)
            shared = len(one & other)
            return shared >= near_copies.ALIKE * (len(one) + len(other) - shared)

        sketch = np.fromfile(folder / "sketch.bin", dtype=np.uint8).reshape(found.good, -1)
        for band in range(near_copies.BANDS):
            found.near_copies += groups.unite(_band(folder, band), sketch, alike)
    (folder / "bands.bin").unlink()
    (folder / "sketch.bin").unlink()
    numbers = groups.numbers()
    _, sizes = np.unique(numbers, return_counts=True)
    found.groups, found.largest_group = len(sizes), int(sizes.max())
    try:
        held_out = split_rows(numbers, share, found.seed)
    except ValueError as error:
        held_out = np.zeros(found.good, dtype=bool)
        found.notes.append(f"nothing is held out: {error}")
    found.held_out, found.train = int(held_out.sum()), int((~held_out).sum())
    np.save(folder / "held_out.npy", held_out)
    np.save(folder / "groups.npy", numbers)
    names = ("train.jsonl", "held_out.jsonl")
    with ExitStack() as stack:
        parts = [stack.enter_context((folder / name).open("wb", buffering=2**20)) for name in names]
        for line, side in zip(stack.enter_context((folder / "rows.jsonl").open("rb")), held_out.tolist(), strict=True):
            parts[side].write(line)
    (folder / "rows.jsonl").unlink()


def _band(folder: Path, band: int) -> np.ndarray:
    """One column of the signatures, read in pieces, so that only it lies in memory."""
    pieces = []
    with (folder / "bands.bin").open("rb") as file:
        while len(piece := np.fromfile(file, dtype=np.uint64, count=near_copies.BANDS * 2**16)):
            pieces.append(piece.reshape(-1, near_copies.BANDS)[:, band].copy())
    return np.concatenate(pieces)


def read_part(folder: str | Path, part: str) -> Iterator[dict[str, Any]]:
    """The rows of "train" or "held_out" of a checked folder."""
    with (Path(folder) / f"{part}.jsonl").open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)


def histogram(lengths: Sequence[int] | np.ndarray, width: int = 40) -> str:
    """How many rows have how many tokens, drawn in characters; each line's range is twice as long as that before."""
    values = np.asarray(lengths)
    last = max(1, int(values.max())).bit_length()
    counts = np.bincount(np.minimum(np.frexp(values.clip(min=0))[1], last), minlength=last + 1)
    lines = []
    for place in range(int(np.flatnonzero(counts)[0]), last + 1):
        low, high = (0, 0) if place == 0 else (2 ** (place - 1), 2**place - 1)
        bar = "█" * round(width * counts[place] / counts.max()) or ("▏" if counts[place] else "")
        lines.append(f"{low:>9,} to {high:<9,} {counts[place]:>10,}  {bar}".rstrip())
    return "\n".join(["   tokens               rows", *lines])


def example(layout: Layout, row: Any, width: int = 200) -> str:
    """A row as it would be read, for somebody to say whether it is right."""
    read = read_row(row, layout)
    if "text" in read:
        return f"  text: {show_value(read['text'], width)}"
    parts = read["messages"] if "messages" in read else read["prompt"]
    lines = [f"  {m['role']}: {show_value(m['content'], width)}" for m in parts]
    for side in ("chosen", "rejected"):
        if side in read:
            lines.append(f"  {side}: {show_value(read[side][0]['content'], width)}")
    return "\n".join(lines)
