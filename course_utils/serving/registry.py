"""A registry of models: one line of JSON for each, from which any answer can be traced to the data behind it.

A line says what a model was made from (the digest of its data, its parent), how (recipe, seed, method), what was
measured, and what was decided. Lines are only added, each with the digest of the line before it, so that a line that
was changed, taken out or put in later is found when the file is read. (That shows accidents and quiet corrections. It
does not stop somebody who writes the whole file anew: for that, keep the last digest elsewhere.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from course_utils import files

FIRST = "0" * 64  # what stands before the first line


class RegistryError(ValueError):
    """A registry that cannot be read or was changed, or an entry that does not belong into it."""


@dataclass(frozen=True)
class Entry:
    """One model.

    name: its own, such as "2026-round-1". parent: the name of the model that it was tuned from, "" for none. data: the
    digest of what it was trained on. weights: the digest of its parameters. recipe, figures: JSON-like. decision: what
    was done with it, such as "promoted" or "rejected". gate: the digest of the rules that it was judged by, "" if none.
    """

    name: str
    parent: str
    data: str
    weights: str
    seed: int
    recipe: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    decision: str = "registered"
    gate: str = ""


class Registry:
    """The entries of one file, verified when it is opened.

    A file that is not there is an empty registry. Raises RegistryError, naming the line, for a line that is torn, was
    changed, or does not follow from the one before it.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._lines: list[str] = []
        self.entries: list[Entry] = []
        if self.path.exists():
            self._read()

    def add(self, entry: Entry) -> str:
        """Write the entry after all others and return its digest. The file is whole at any moment.

        Raises RegistryError for a name that is taken, a parent that is not registered, or values that are no JSON.
        """
        names = [known.name for known in self.entries]
        if not entry.name or entry.name in names:
            raise RegistryError(f"the name {entry.name!r} is {'taken' if entry.name else 'empty'}; give a new one.")
        if entry.parent and entry.parent not in names:
            raise RegistryError(
                f"{entry.name!r} has the parent {entry.parent!r}, which is not registered; there are "
                f"{', '.join(names) or 'no entries yet'}. Register the parent first."
            )
        try:
            text = json.dumps({"before": self.head, **asdict(entry)}, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise RegistryError(f"the entry {entry.name!r} cannot be written as JSON: {error}.") from error
        lines = [*self._lines, text]
        try:
            with files.atomic_file(self.path) as fresh:
                fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        except OSError as error:
            raise RegistryError(f"{self.path} cannot be written ({error.strerror}); it is as it was.") from error
        self._lines = lines
        self.entries.append(Entry(**json.loads(json.dumps(asdict(entry)))))
        return self.head

    @property
    def head(self) -> str:
        """The digest of the last line: it stands for the whole file."""
        return _digest(self._lines[-1]) if self._lines else FIRST

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name. Raises RegistryError if there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise RegistryError(f"there is no model {name!r}; there are {', '.join(e.name for e in self.entries)}.")

    def lineage(self, name: str) -> list[Entry]:
        """The model and all its ancestors, the model first. Raises RegistryError if one of them is not there."""
        chain = [self[name]]
        while chain[-1].parent:  # a parent was registered before its child, so this ends
            chain.append(self[chain[-1].parent])
        return chain

    def in_service(self) -> Entry | None:
        """The last entry that was promoted, None if there is none."""
        return next((entry for entry in reversed(self.entries) if entry.decision == "promoted"), None)

    def _read(self) -> None:
        before = FIRST
        for number, line in enumerate(self.path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                text = line.decode()
                row = json.loads(text)
                told = row.pop("before")
                entry = Entry(**row)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise RegistryError(
                    f"line {number} of {self.path} is no entry ({error}). The {number - 1} lines before it are whole: "
                    "bring the file back from a copy, or cut it there and register again."
                ) from error
            if told != before:
                raise RegistryError(
                    f"line {number} of {self.path} does not follow from the line before: one of the two was changed, "
                    "or a line was taken out or put in. Compare with a copy."
                )
            self._lines.append(text)
            self.entries.append(entry)
            before = _digest(text)


def data_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """The SHA-256 of training rows, in their order: 64 hexadecimal digits. Equal rows, equal digest, in any process."""
    found = hashlib.sha256()
    for row in rows:
        found.update(json.dumps(dict(row), sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return found.hexdigest()


def weights_digest(model: Any) -> str:
    """The SHA-256 of a model's parameters and buffers, by name, with shapes and types: 64 hexadecimal digits."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
