"""What the learner's machine is: its memory, its cores, its GPU."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def memory_gib() -> float:
    """The memory of this machine in GiB (a container's limit included); NaN where it cannot be told."""
    try:
        total = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return float("nan")
    try:
        limit = _CGROUP.read_text(encoding="ascii").strip()
    except OSError:
        limit = "max"
    return (min(total, float(limit)) if limit.isdigit() else total) / 2**30


def cores() -> int:
    """Processor cores that this process may use, a container's limit included."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return count


def worked(pid: int) -> float:
    """Seconds of processor time of a process and of all that it has started; 0 if it is gone."""
    import psutil

    total = 0.0
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
                total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


class WorkLimit:
    """A time limit that is reached by work: not by a busy machine, a laptop that slept, or a clock set back.

    seconds: of work. work: says how many there have been so far. patience: how many times ``seconds`` may pass by the
    clock where little is worked; between two looks no more than ``seconds`` (or ten) of them count.
    """

    def __init__(self, seconds: float, work: Callable[[], float], patience: float = 10.0) -> None:
        self.seconds, self.work, self.patience = seconds, work, patience
        self.begun, self.looked, self.waited = work(), time.monotonic(), 0.0

    def left(self) -> float:
        """Seconds after which to look again; 0 once the limit is reached."""
        now = time.monotonic()
        self.waited += min(max(now - self.looked, 0.0), max(self.seconds, 10.0))
        self.looked = now
        if self.waited < 0.99 * self.seconds:
            return self.seconds - self.waited
        done = self.work() - self.begun
        if self.waited >= self.patience * self.seconds or done >= 0.9 * self.seconds:
            return 0.0
        return max(0.05, self.seconds - done)


def gpu_name(device: str) -> str:
    """What the GPU calls itself. device: 'cuda' or 'mps'."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"Apple GPU ({platform.processor() or 'arm'})"
