"""Exact training checkpoints: everything a run needs to go on as if it had never stopped.

A checkpoint is a folder ``step-00000300`` with safetensors and json, never a pickle::

    weights.safetensors    trainable parameters and buffers
    state.safetensors      the optimizer's moments, random states
    state.json             step, history
    manifest.json          who wrote it (configuration, model, data) and a digest of every file

It is written beside its place, flushed to the disk and renamed (files.py), so a folder with the final name is always
whole, whenever the process dies. What is damaged nevertheless is found by its digests, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_utils import files
from course_utils.training.schedules import decay_begin

FORMAT = 1
FILES = ("weights.safetensors", "state.safetensors", "state.json")
NAME = re.compile(r"step-(\d{8,})")
LATER_PARTS = ("objective", "later data", "start")  # of an identity: not in checkpoints of an earlier version
RENAMED = {"clip_norm": "max_grad_norm", "floor": "min_lr_ratio"}  # fields of TrainConfig, in such checkpoints
LEFT_OVER = re.compile(r"\.(?:new|old|writing)-(?:step-)?\d{8,}[.-](\d+)")  # ".writing-", "-": an earlier version's


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
    ``keep_last`` checkpoints of the same run stay, and of a ``wsd`` run the last before its decay, from which
    others can branch; those of other runs are never removed. Raises CheckpointError if the disk is full or cannot be
    written; the earlier checkpoints are then as they were.
    """
    folder = Path(folder)
    identity = json.loads(json.dumps(identity))
    final = folder / f"step-{state.step:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with files.atomic_folder(final) as fresh:
            save_file({k: v.contiguous() for k, v in state.weights.items()}, fresh / FILES[0])
            extra = {f"optimizer|{k}": v for k, v in state.optimizer.items()}
            extra |= {f"random|{k}": v for k, v in state.random.items()}
            save_file({k: v.contiguous() for k, v in extra.items()}, fresh / FILES[1])
            (fresh / FILES[2]).write_text(json.dumps({"step": state.step, "records": state.records}))
            manifest = {
                "format": FORMAT,
                "step": state.step,
                "identity": identity,
                "files": {name: files.digest(fresh / name) for name in FILES},
            }
            (fresh / "manifest.json").write_text(json.dumps({**manifest, "digest": _digest_of(manifest)}, indent=1))
            _set_foreign_aside(final, identity)
    except (OSError, SafetensorError) as error:
        kept = [path.name for path in checkpoints(folder)]
        raise CheckpointError(
            f"the checkpoint of step {state.step} could not be written to {folder}: {error}. "
            + (f"The earlier one, {kept[-1]}, is untouched. " if kept else "There is no earlier checkpoint. ")
            + "Free some space (or give another checkpoint_dir) and call train() again."
        ) from error
    mine = [path for path in checkpoints(folder) if _belongs(path, identity)]
    stable = [path for path in mine if _step(path) <= _stable_end(identity)]
    for old in mine[: -max(1, keep_last)]:
        if old not in stable[-1:]:
            _discard(old)
    return final


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The folders named like checkpoints, oldest first. They are not opened."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if NAME.fullmatch(p.name)), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


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
        if files.digest(path / name) != manifest["files"].get(name):
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
    for reason in refused:
        warnings.warn(f"{reason} It is not used; {goes_on}.", stacklevel=3)
    return state


def stable(folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> State:
    """The newest checkpoint in ``folder`` from which the ``wsd`` run of ``identity`` can branch.

    Until a decay begins, two such runs that differ in ``steps`` and ``decay_steps`` alone are one. Raises
    MismatchedCheckpoint if every checkpoint belongs to something else or stands in a decay.
    """
    identity = json.loads(json.dumps(identity))
    refused = "it holds no checkpoint."
    for path in reversed(checkpoints(folder)):
        try:
            theirs = read_manifest(path)["identity"]
            check_identity(path, _until_decay(theirs), _until_decay(identity))
            end = min(_stable_end(theirs), _stable_end(identity))
            if _step(path) > end:
                raise MismatchedCheckpoint(f"{path} is too late: one of the two decays begins at step {end}.")
            return load(path)
        except CheckpointError as error:
            refused = str(error)
    raise MismatchedCheckpoint(
        f"no run can branch from {folder}: {refused} A branch has the schedule wsd and the model, data, seed and "
        "settings of the run it leaves; only steps and decay_steps may differ. The stable part needs a checkpoint "
        "(save_every)."
    )


def _until_decay(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What of an identity matters before the decay."""
    config = {name: value for name, value in identity["config"].items() if name not in ("steps", "decay_steps")}
    return {name: value for name, value in identity.items() if name not in ("start", "later data")} | {"config": config}


def _stable_end(identity: Mapping[str, Any]) -> int:
    """The step at which the decay of a ``wsd`` run begins; -1 for any other run."""
    config = identity.get("config")
    if not isinstance(config, dict) or config.get("schedule") != "wsd":
        return -1
    return decay_begin(config["steps"], config.get("warmup_steps", 0), config.get("decay_steps"))


def read_manifest(path: Path) -> dict[str, Any]:
    """The checked manifest of a checkpoint. Raises CorruptCheckpoint if it is missing or altered."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        digest = manifest.pop("digest")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CorruptCheckpoint(f"{path} has no readable manifest.json ({type(error).__name__}).") from error
    if digest != _digest_of(manifest) or manifest.get("format") != FORMAT:
        raise CorruptCheckpoint(f"{path / 'manifest.json'} was altered, or written by another version of the course.")
    if isinstance(config := manifest["identity"].get("config"), dict):
        manifest["identity"]["config"] = {RENAMED.get(name, name): value for name, value in config.items()}
    return manifest


def check_identity(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise MismatchedCheckpoint, naming the first difference, unless both identities are equal.

    What an earlier version of the course did not note down cannot be compared, and is passed over.
    """
    for part in dict.fromkeys([*ours, *theirs]):
        a, b = theirs.get(part), ours.get(part)
        if a == b or (part in LATER_PARTS and part not in theirs):
            continue
        if part == "vocab_size":
            raise MismatchedCheckpoint(
                f"{path} was trained with a vocabulary of {a} tokens, but this model has {b}. "
                "Use the tokenizer and the model that belong to the checkpoint."
            )
        if part == "start":
            raise MismatchedCheckpoint(
                f"{path} belongs to another run (it started from other weights than those of this model)."
            )
        mine, its = ((c or {}).get("optimizer", "adamw") if part == "config" else "" for c in (b, a))
        if mine != its:
            raise MismatchedCheckpoint(
                f"{path} belongs to another run: it was trained by {its}, whose state {mine} cannot use. Go on with "
                f'optimizer="{its}".'
            )
        if isinstance(a, dict) and isinstance(b, dict):
            name = next(k for k in dict.fromkeys([*b, *a]) if a.get(k) != b.get(k))
            a, b, part = a.get(name, "nothing"), b.get(name, "nothing"), f"{part}: {name}"
        raise MismatchedCheckpoint(f"{path} belongs to another run ({part} is {a} there and {b} here).")


def _digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _belongs(path: Path, identity: Mapping[str, Any]) -> bool:
    try:
        check_identity(path, read_manifest(path)["identity"], identity)
    except CheckpointError:
        return False
    return True


def _discard(path: Path) -> None:
    """Remove a checkpoint; it loses its name first, so that nobody finds half of it."""
    trash = path.with_name(f".old-{path.name}.{os.getpid()}")
    os.rename(path, trash)
    files.remove(trash)


def _set_foreign_aside(final: Path, identity: Mapping[str, Any]) -> None:
    """If the final name is taken by another run's checkpoint, that one gets another name; all else is replaced."""
    try:
        if final.exists():
            check_identity(final, read_manifest(final)["identity"], identity)
    except CorruptCheckpoint:
        pass
    except MismatchedCheckpoint:
        aside = next(p for n in range(10**6) if not (p := final.with_name(f"foreign-{final.name}-{n}")).exists())
        os.rename(final, aside)
        warnings.warn(f"{final} belonged to another run; it is now {aside.name}.", stacklevel=3)


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed while writing, or removing, has left behind, whatever the step."""
    for path in folder.iterdir():
        left = LEFT_OVER.fullmatch(path.name)
        if left and not files.process_lives(int(left[1])):
            files.remove(path)
