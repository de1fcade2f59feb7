"""Exact training checkpoints: everything a run needs to go on as if it had never stopped.

A checkpoint is a folder ``step-00000300`` with safetensors and json, never a pickle::

    weights.safetensors    trainable parameters and buffers
    state.safetensors      AdamW's moments, random states
    state.json             step, history
    manifest.json          who wrote it (configuration, model, data) and a digest of every file

It is written to a temporary folder, flushed to the disk and renamed, so a folder with the final name is always whole,
whenever the process dies. What is damaged nevertheless is found by its digests, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 1
FILES = ("weights.safetensors", "state.safetensors", "state.json")
NAME = re.compile(r"step-(\d{8,})")


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read."""


class CorruptCheckpoint(CheckpointError):
    """Files are missing, truncated or altered."""


class MismatchedCheckpoint(CheckpointError):
    """The checkpoint is whole, but belongs to another model, vocabulary, configuration or data."""


@dataclass
class State:
    """What a checkpoint holds. Tensors lie on the CPU; ``optimizer`` maps ``<parameter>|<field>`` to a tensor."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    random: dict[str, Tensor]
    records: list[dict[str, float]]


def save(folder: str | os.PathLike[str], state: State, identity: Mapping[str, Any], *, keep_last: int = 2) -> Path:
    """Write ``state`` as ``folder/step-XXXXXXXX`` in one atomic step; return that path.

    ``identity`` (json-like) says whose checkpoint it is, see :func:`check_identity`. Afterwards only the last
    ``keep_last`` checkpoints of the same run stay; those of others are never removed. Raises CheckpointError if the
    disk is full or cannot be written; the earlier checkpoints are then as they were.
    """
    folder = Path(folder)
    identity = json.loads(json.dumps(identity))
    final = folder / f"step-{state.step:08d}"
    temporary = folder / f".writing-{state.step:08d}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        temporary.mkdir()
        save_file({k: v.contiguous() for k, v in state.weights.items()}, temporary / FILES[0])
        extra = {f"optimizer|{k}": v for k, v in state.optimizer.items()}
        extra |= {f"random|{k}": v for k, v in state.random.items()}
        save_file({k: v.contiguous() for k, v in extra.items()}, temporary / FILES[1])
        (temporary / FILES[2]).write_text(json.dumps({"step": state.step, "records": state.records}))
        manifest = {
            "format": FORMAT,
            "step": state.step,
            "identity": identity,
            "files": {name: _fingerprint(temporary / name) for name in FILES},
        }
        (temporary / "manifest.json").write_text(json.dumps({**manifest, "digest": _digest_of(manifest)}, indent=1))
        for name in (*FILES, "manifest.json"):
            _flush(temporary / name)
        _flush(temporary)
        _make_room(final, identity)
        os.rename(temporary, final)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        kept = [path.name for path in checkpoints(folder)]
        raise CheckpointError(
            f"the checkpoint of step {state.step} could not be written to {folder}: {error}. "
            + (f"The earlier one, {kept[-1]}, is untouched. " if kept else "There is no earlier checkpoint. ")
            + "Free some space (or give another checkpoint_dir) and call train() again."
        ) from error
    mine = [path for path in checkpoints(folder) if _belongs(path, identity)]
    for old in mine[: -max(1, keep_last)]:
        _discard(old)
    return final


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The folders named like checkpoints, oldest first. They are not opened."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if NAME.fullmatch(p.name)), key=lambda p: int(p.name[5:]))


def load(path: str | os.PathLike[str], identity: Mapping[str, Any] | None = None) -> State:
    """Read one checkpoint.

    Raises CorruptCheckpoint if it is damaged, MismatchedCheckpoint if ``identity`` is not the one it was saved with.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if identity is not None:
        check_identity(path, manifest["identity"], json.loads(json.dumps(identity)))
    for name in FILES:
        if not (path / name).is_file():
            raise CorruptCheckpoint(f"{path} is incomplete: {name} is missing.")
        if _fingerprint(path / name) != manifest["files"].get(name):
            raise CorruptCheckpoint(
                f"{path / name} is truncated or altered: its digest is not the one in manifest.json."
            )
    state = json.loads((path / FILES[2]).read_text())
    extra = load_file(path / FILES[1])

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in extra.items() if k.startswith(prefix)}

    return State(state["step"], load_file(path / FILES[0]), part("optimizer|"), part("random|"), state["records"])


def latest(folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> State | None:
    """The newest whole checkpoint of this run, or None if there is none to go on from.

    A damaged or foreign checkpoint is refused with a warning and the one before it is tried. Raises
    MismatchedCheckpoint if all that is there belongs to others: starting afresh in that folder would mix two runs.
    """
    refused: list[CheckpointError] = []
    state = None
    for path in reversed(checkpoints(folder)):
        try:
            state = load(path, identity)
            break
        except (CorruptCheckpoint, MismatchedCheckpoint) as error:
            refused.append(error)
    foreign = [error for error in refused if isinstance(error, MismatchedCheckpoint)]
    if foreign and state is None:
        raise MismatchedCheckpoint(
            f"{foreign[0]} Give another checkpoint_dir, or remove that checkpoint."
        ) from foreign[0]
    goes_on = f"training goes on from step {state.step}" if state else "training starts from the beginning"
    for error in refused:
        warnings.warn(f"{error} It is not used; {goes_on}.", stacklevel=3)
    return state


def read_manifest(path: Path) -> dict[str, Any]:
    """The checked manifest of a checkpoint. Raises CorruptCheckpoint if it is missing or altered."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        digest = manifest.pop("digest")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CorruptCheckpoint(f"{path} has no readable manifest.json ({type(error).__name__}).") from error
    if digest != _digest_of(manifest) or manifest.get("format") != FORMAT:
        raise CorruptCheckpoint(f"{path / 'manifest.json'} was altered, or written by another version of the course.")
    return manifest


def check_identity(path: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise MismatchedCheckpoint, naming the first difference, unless both identities are equal."""
    for part in dict.fromkeys([*ours, *theirs]):
        a, b = theirs.get(part), ours.get(part)
        if a == b:
            continue
        if part == "vocab_size":
            raise MismatchedCheckpoint(
                f"{path} was trained with a vocabulary of {a} tokens, but this model has {b}. "
                "Use the tokenizer and the model that belong to the checkpoint."
            )
        if isinstance(a, dict) and isinstance(b, dict):
            name = next(k for k in dict.fromkeys([*b, *a]) if a.get(k) != b.get(k))
            a, b, part = a.get(name, "nothing"), b.get(name, "nothing"), f"{part}: {name}"
        raise MismatchedCheckpoint(f"{path} belongs to another run ({part} is {a} there and {b} here).")


def seed_everything(seed: int) -> None:
    """Seed every global generator (torch, CUDA, numpy, random)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global state is the point: batches may draw from it
    torch.manual_seed(seed)


def random_state() -> dict[str, Tensor]:
    """The state of every global generator (torch, CUDA, numpy, random), as tensors."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    state = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        "numpy_tail": torch.tensor([position, has_gauss, cached], dtype=torch.float64),
        "python": torch.tensor(words, dtype=torch.int64),
        "python_tail": torch.tensor([version, float("nan") if gauss is None else gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Put back what :func:`random_state` returned."""
    torch.set_rng_state(state["torch"])
    position, has_gauss, cached = state["numpy_tail"].tolist()
    keys = state["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached))  # noqa: NPY002
    version, gauss = state["python_tail"].tolist()
    random.setstate((int(version), tuple(state["python"].tolist()), None if math.isnan(gauss) else gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _flush(path: Path) -> None:
    """Force a file, or a folder's entries, to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _belongs(path: Path, identity: dict[str, Any]) -> bool:
    try:
        return read_manifest(path)["identity"] == identity
    except CorruptCheckpoint:
        return False


def _discard(path: Path) -> None:
    """Remove a checkpoint; it loses its name first, so that nobody finds half of it."""
    trash = path.with_name(f".old-{path.name}-{os.getpid()}")
    os.rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)


def _make_room(final: Path, identity: dict[str, Any]) -> None:
    """Clear the final name: what is ours or damaged goes, what is another run's is set aside under another name."""
    if not final.exists():
        return
    try:
        foreign = read_manifest(final)["identity"] != identity
    except CorruptCheckpoint:
        foreign = False
    if not foreign:
        _discard(final)
        return
    aside = next(p for n in range(10**6) if not (p := final.with_name(f"foreign-{final.name}-{n}")).exists())
    os.rename(final, aside)
    warnings.warn(f"{final} belonged to another run; it is now {aside.name}.", stacklevel=3)


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed while writing has left behind."""
    for path in folder.iterdir():
        if path.name.startswith((".writing-", ".old-")) and not _busy(int(path.name.rsplit("-", 1)[1])):
            shutil.rmtree(path, ignore_errors=True)


def _busy(process: int) -> bool:
    """True if another process with this number is alive: then the same run is open twice."""
    if process == os.getpid() or os.name == "nt":  # on Windows os.kill would end it
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
