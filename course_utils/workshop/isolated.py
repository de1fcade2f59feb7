"""The kernel that submissions run in: what this system can shut, and what it cannot, in a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_utils.workshop import confined

KERNEL = "course-submission"
UNSHARE = "--user --map-root-user --net --mount --pid --ipc --uts --fork --kill-child --mount-proc".split()


@dataclass(frozen=True)
class Limits:
    """What a submission may use. cell, whole: seconds of work, not of the clock; memory: bytes for each process."""

    cell: int = 120
    whole: int = 900
    memory: int = 4 * 2**30
    output: int = 200_000  # characters that a cell may print


@dataclass(frozen=True)
class Room:
    """Where submissions run. command: what stands before the kernel's own. ways: traitlets' transport."""

    command: tuple[str, ...]
    transport: str
    sentence: str

    @property
    def closed(self) -> bool:
        """True if submissions have namespaces of their own."""
        return bool(self.command)


OPEN = (
    "This system gives no namespaces of its own ({}): submissions run as you, and can reach the network and your "
    "files. Time and memory are limited{}. Grade strangers' work in a container or on a machine that you can spare."
)
CLOSED = "Each submission ran in namespaces of its own: no network, no file but its own could be written."


def room() -> Room:
    """The closest room that this system has."""
    limited = "" if sys.platform != "win32" else " by the clock alone"
    unshare = shutil.which("unshare")
    if unshare is None:
        return Room((), "tcp", OPEN.format("there is no `unshare`", limited))
    ends = shutil.which("setpriv")  # with it a kernel ends when the grader does, however that came
    command = (*((ends, "--pdeathsig", "KILL", "--") if ends else ()), unshare, *UNSHARE)
    with tempfile.TemporaryDirectory(prefix="course-room-") as trial:
        hide, keep = Path(trial, "hide"), Path(trial, "keep")
        hide.mkdir()
        keep.mkdir()
        given = _given(str(hide), str(keep), Limits(), rooms=True)
        try:
            done = subprocess.run(
                [*command, sys.executable, confined.__file__, given, sys.executable, "-c", ""],
                capture_output=True,
                text=True,
                timeout=300,  # a busy machine must not pass for one that has no rooms
            )
            why = (done.stderr.strip().splitlines() or [""])[-1] if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
    if why:
        return Room((), "tcp", OPEN.format(why, limited))
    return Room(command, "ipc", CLOSED)


@contextlib.contextmanager
def kernel(folder: Path, limits: Limits, within: Room, profile: str) -> Iterator[Path]:
    """Provide the kernel ``course-submission`` for a block, through JUPYTER_PATH; yields where it is spoken to.

    folder: what the kernel must not see.
    """
    # a short path: the name of a socket has 107 characters at the most
    with tempfile.TemporaryDirectory(prefix="cg-", dir=None if within.transport == "tcp" else _short()) as own:
        spec, runtime = Path(own, "kernels", KERNEL), Path(own, "run")
        spec.mkdir(parents=True)
        runtime.mkdir()
        given = _given(str(folder.resolve()), str(runtime.resolve()), limits, rooms=within.closed)
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv = [*within.command, sys.executable, confined.__file__, given, *launch]
        environment = {
            "COURSE_PROFILE": profile,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join(path for path in (str(_package()), os.environ.get("PYTHONPATH", "")) if path),
        }
        about = {"argv": argv, "display_name": "A submission", "language": "python", "env": environment}
        (spec / "kernel.json").write_text(json.dumps(about), encoding="utf-8")
        with _environment(JUPYTER_PATH=own, JUPYTER_RUNTIME_DIR=str(runtime)):
            yield runtime


def _given(hide: str, keep: str, limits: Limits, *, rooms: bool) -> str:
    import matplotlib

    return json.dumps(
        {
            "rooms": rooms,
            "hide": hide,
            "keep": keep,
            "work": str(Path(keep, "work")),
            "memory": limits.memory,
            "seconds": 2 * limits.whole,
            "fonts": matplotlib.get_cachedir(),
        }
    )


def _short() -> str | None:
    return "/tmp" if os.access("/tmp", os.W_OK) else None


def _package() -> Path:
    import course_utils

    return Path(course_utils.__file__).resolve().parents[1]


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables, take away the course's own, and put all back."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("COURSE_")]:
        del os.environ[name]
    os.environ.update(values)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before.get('PATH', '')}"  # nbgrader calls alembic
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
