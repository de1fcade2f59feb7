"""What the learner's machine is: its memory, its cores, its GPU."""

from __future__ import annotations

import os
import platform
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


def gpu_name(device: str) -> str:
    """What the GPU calls itself. device: 'cuda' or 'mps'."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"Apple GPU ({platform.processor() or 'arm'})"
