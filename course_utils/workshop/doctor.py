"""What this machine offers the course, checked without a connection."""

from __future__ import annotations

import math
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from course_utils import chapters, settings
from course_utils.machine import cores, gpu_name, memory_gib
from course_utils.pretrained import store

DISTRIBUTION = "llm-course"
REFERENCE_RATE = 160e9  # FLOP/s of the two cores on which a chapter's compute was timed
_MARKS = {"good": "✓", "look": "!", "bad": "✗"}


@dataclass(frozen=True)
class Finding:
    """state: 'good', 'look' (works, but read the advice) or 'bad' (the course will not run)."""

    state: str
    name: str
    text: str
    advice: str = ""

    def line(self) -> str:
        """One line, the advice below it."""
        below = f"\n{' ' * 14}{self.advice}" if self.advice else ""
        return f"{_MARKS[self.state]} {self.name:<11} {self.text}{below}"


def examine() -> Iterator[Finding]:
    """All findings, one after the other, so that the slow ones can be watched."""
    yield _python()
    yield _packages()
    yield _cores()
    yield _memory()
    yield _folder()
    yield _models()
    yield _speed()
    yield _gpu()


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("good", "Python", text)  # an older one could not import this file


def tested_versions(constraints: Path) -> dict[str, str]:
    """Name -> version of each ``name==version`` line."""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    found = (re.match(r"([A-Za-z0-9._-]+)==([^\s;#]+)", line) for line in lines)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def needed_packages() -> list[str]:
    """Names of the packages that the course itself asks for, without extras; empty if it is not installed."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if "extra ==" not in line)
    return [match[0].lower().replace("_", "-") for match in found if match]


def compare_versions(needed: list[str], tested: dict[str, str]) -> tuple[list[str], list[str]]:
    """(missing, different) packages, as text."""
    missing, different = [], []
    for name in needed:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if name in tested and version.split("+")[0] != tested[name]:
            different.append(f"{name} {version} (tested: {tested[name]})")
    return missing, different


def _packages() -> Finding:
    needed = needed_packages()
    if not needed:
        return Finding(
            "look", "packages", "the course is not installed", "Run: python -m pip install -c constraints.txt -e ."
        )
    try:
        constraints = chapters.root() / "constraints.txt"
        tested = tested_versions(constraints)
    except (OSError, chapters.ChapterError):
        tested = {}
    missing, different = compare_versions(needed, tested)
    mend = "Run: python -m pip install -c constraints.txt -e ."
    if missing:
        return Finding("bad", "packages", f"missing: {', '.join(missing)}", mend)
    if different:
        return Finding("look", "packages", f"other versions than tested: {', '.join(different)}", mend)
    which = "the tested versions" if tested else "no constraints.txt to compare with"
    return Finding("good", "packages", f"{len(needed)} there, {which}")


def _cores() -> Finding:
    count = cores()
    if count < 2:
        return Finding("look", "cores", "1", "A chapter's compute takes about twice as long as stated.")
    return Finding("good", "cores", str(count))


def _memory() -> Finding:
    total = memory_gib()
    if math.isnan(total):
        return Finding("good", "memory", "not told by this system; 4 GiB are enough")
    if total < 3.5:
        return Finding("look", "memory", f"{total:.1f} GiB", "Keep one notebook open at a time; 4 GiB are comfortable.")
    return Finding("good", "memory", f"{total:.1f} GiB")


def _folder() -> Finding:
    try:
        home = settings.home()
        probe = home / ".doctor"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except (OSError, settings.SettingsError) as error:
        return Finding("bad", "your folder", str(error), "Set COURSE_HOME to a folder that you can write to.")
    free = shutil.disk_usage(home).free
    text = f"{home}, {free / 1e9:.1f} GB free"
    if free < 0.5e9:
        return Finding("look", "your folder", text, "Checkpoints and figures need about 0.5 GB.")
    return Finding("good", "your folder", text)


def _models() -> Finding:
    names = store.names(store.SHIPPED)
    if not names:
        return Finding("look", "models", "none shipped", "`make bake` trains them here.")
    return Finding("good", "models", ", ".join(names))


def _speed() -> Finding:
    try:
        import torch

        from course_utils.training.flops import matmul_rate
    except ImportError as error:
        return Finding(
            "bad", "PyTorch", f"cannot be imported: {error}", "Run: python -m pip install -c constraints.txt -e ."
        )
    torch.set_num_threads(cores())
    rate = matmul_rate(seconds=0.5)
    seconds = 75 * REFERENCE_RATE / rate
    text = f"{torch.__version__}, {rate / 1e9:.{0 if rate > 1e10 else 1}f} GFLOP/s in a matrix product"
    advice = f"A chapter's compute takes at most about {max(5, round(seconds, -1 if seconds > 30 else 0)):.0f} s here."
    return Finding("good" if seconds < 300 else "look", "PyTorch", text, advice)


def _gpu() -> Finding:
    import torch

    if torch.backends.mps.is_available():
        return Finding("good", "GPU", gpu_name("mps"), "COURSE_PROFILE=gpu uses it; its figures may differ a little.")
    if not torch.cuda.is_available():
        return Finding("good", "GPU", "none, and none is needed")
    free, total = torch.cuda.mem_get_info()
    text = f"{gpu_name('cuda')}, {total / 1e9:.0f} GB ({free / 1e9:.0f} GB free)"
    return Finding("good", "GPU", text, "COURSE_PROFILE=gpu uses it.")
