"""What the learner's machine is, and how long things take on it, in units that people feel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from course_utils.classroom import plots

UNITS = (
    ("s", 1.0),
    ("min", 60.0),
    ("h", 3600.0),
    ("days", 86_400.0),
    ("years", 365.25 * 86_400.0),
)
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


def human_time(seconds: float) -> str:
    """A duration in the largest unit that it fills, with two digits: 42 s, 3.5 min, 1,700 years.

    Raises ValueError for a negative duration.
    """
    if not seconds >= 0:
        raise ValueError(f"a duration of {seconds} s was given; 0 or more is expected.")
    unit, size = next(((u, s) for u, s in reversed(UNITS) if seconds >= s), UNITS[0])
    value = seconds / size
    text = f"{value:.1f}" if value < 9.95 else f"{float(f'{value:.2g}'):,.0f}"
    return f"{text} {unit}"


def plot_durations(seconds: Mapping[str, float], title: str | None = None, *, highlight: int = 0) -> None:
    """Durations as bars on a logarithmic axis from seconds to years; each bar says its time.

    seconds: name -> duration in seconds, all above 0. The last ``highlight`` bars have another colour.
    """
    import matplotlib.pyplot as plt

    if not seconds or min(seconds.values()) <= 0:
        raise ValueError(f"plot_durations was given {dict(seconds)}; it needs durations above 0 seconds.")
    plots.use_style()
    _, axes = plt.subplots(figsize=(8.4, 0.9 + 0.46 * len(seconds)))
    values = list(seconds.values())
    for row, (name, value) in enumerate(seconds.items()):
        colour = plots.COLOURS[1] if row >= len(values) - highlight else plots.COLOURS[0]
        axes.barh(row, value, color=colour, height=0.62)
        axes.annotate(f" {human_time(value)}", (value, row), va="center", weight="bold")
        axes.annotate(
            name,
            (0, row),
            (-6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
        )
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 4, max(values) * 3000)
    axes.set_xticks([s for _, s in UNITS], [f"1 {u.rstrip('s') or u}" for u, _ in UNITS])
    axes.minorticks_off()
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("time on this machine (logarithmic axis)")
    if title:
        axes.set_title(title)
    plt.show()
