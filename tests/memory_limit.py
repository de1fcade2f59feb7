"""A command, and all that it starts, under a limit of memory: the kernel's own where that may be set, else watched.

On Linux as root (cgroup v1) or in a cgroup that was handed over (v2) the kernel counts the memory and ends what passes
the limit; we look once a second, for the peak alone. Elsewhere the resident memory of the processes is added up ten
times a second: what they share (the libraries' code) counts once for each of them, so the sum is rather too high, and a
peak between two looks is not seen.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import psutil

ROOT = Path(__file__).resolve().parents[1]
EVERY = 0.1  # seconds between two looks
CGROUPS = Path("/sys/fs/cgroup")


class TooMuch(RuntimeError):
    """A command took more memory than it was allowed."""


def run(
    command: list[str],
    environment: Mapping[str, str],
    limit_mib: float | None = None,
    out: int | IO[bytes] | None = None,
    before: Callable[[], object] | None = None,
    *,
    by_kernel: bool = True,
    measure: bool = False,
) -> tuple[int, int]:
    """Run ``command`` in the top folder; return its exit status and the most MiB that its children held at one time.

    That figure is 0 without ``limit_mib`` or ``measure``: nobody looks then. ``before`` is called in the new process.
    ``by_kernel=False``: watch, whatever the system offers.
    Raises TooMuch, after all were ended, where they hold more than ``limit_mib``.
    """
    room = Room.make(limit_mib) if limit_mib is not None and by_kernel else None

    def enter() -> None:
        if room:
            room.enter()
        if before:
            before()

    first = enter if room or before else None  # Windows knows no such thing
    process = subprocess.Popen(
        command, cwd=ROOT, env=dict(environment), stdout=out, stderr=subprocess.STDOUT, preexec_fn=first
    )
    most = 0.0
    try:
        if limit_mib is None and not measure:
            process.wait()
        while process.poll() is None:
            family = _family(process.pid)
            now = sum(map(_resident, family)) / 2**20
            most = max(most, now)
            if limit_mib is not None and (room.passed() if room else now > limit_mib):
                _end(process, family)
                held = "more" if room else f"{now:,.0f} MiB, more"
                raise TooMuch(f"{held} than the {limit_mib:,.0f} MiB of memory that were allowed")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0 if room else EVERY)  # the kernel watches by itself
        if room and room.passed():  # the last look came too early
            raise TooMuch(f"more than the {limit_mib:,.0f} MiB of memory that were allowed")
    finally:
        if process.poll() is None:  # the stop key: nothing goes on by itself
            _end(process, _family(process.pid))
        if room:
            room.close()
    return process.returncode, round(most)


class Room:
    """A cgroup of its own with a limit of memory."""

    def __init__(self, folder: Path, events: str):
        self.folder, self.events = folder, events

    @classmethod
    def make(cls, limit_mib: float) -> Room | None:
        """A new one beside or below our own; None where this system lets us make none."""
        size = str(round(limit_mib * 2**20))
        for own in _own_cgroups():
            folder = own / f"course-{secrets.token_hex(4)}"
            try:
                folder.mkdir()
            except OSError:
                continue
            try:
                if (folder / "memory.max").exists():  # v2
                    (folder / "memory.swap.max").write_text("0")
                    (folder / "memory.max").write_text(size)
                    return cls(folder, "memory.events")
                (folder / "memory.limit_in_bytes").write_text(size)  # v1
                if (folder / "memory.memsw.limit_in_bytes").exists():
                    (folder / "memory.memsw.limit_in_bytes").write_text(size)
                return cls(folder, "memory.oom_control")
            except OSError:
                folder.rmdir()
        return None

    def enter(self) -> None:
        """Move the calling process in; what it starts is in there as well."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def passed(self) -> bool:
        """Whether the kernel ended a process for its memory."""
        lines = (self.folder / self.events).read_text().split("\n")
        return any(line.startswith("oom_kill ") and int(line.split()[1]) > 0 for line in lines)

    def close(self) -> None:
        """Remove it; whoever has been left in there (a command's orphans) is ended."""
        for _ in range(50):
            for number in (self.folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(number), signal.SIGKILL)
            try:
                self.folder.rmdir()
                return
            except OSError:
                time.sleep(EVERY)


def _own_cgroups() -> list[Path]:
    """Where a cgroup with a limit of memory might be made: v1's folder of our own, v2's that holds our own."""
    try:
        rows = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:  # not Linux
        return []
    found = []
    for _, controllers, path in rows:
        if "memory" in controllers.split(","):
            found += [CGROUPS / "memory" / path.strip("/"), CGROUPS / "memory"]  # a container may not see its own path
        elif not controllers:
            found.append((CGROUPS / path.strip("/")).parent if path.strip("/") else CGROUPS)
    return [folder for folder in found if folder.is_dir()]


def _end(process: subprocess.Popen[bytes], family: list[psutil.Process]) -> None:
    for one in [*family, process]:
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            one.kill()
    process.wait()


def _family(number: int) -> list[psutil.Process]:
    try:
        return psutil.Process(number).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it has ended since
        return 0
