"""Every check of the course, in order, stopping at the first that fails: ``python tests/suite.py [step ...]``.

Step       What it checks
lint       ruff on code and notebooks, and the import contracts
unit       pytest on tests/
generated  notebooks/ is what the generator makes of solutions/
smoke      every notebook of notebooks/, one after the other in one learner's folder, at the smoke profile
laptop     every notebook of solutions/, each in a folder of its own, at the laptop profile, claims enforced
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CELL_TIMEOUT = 180  # seconds; a kernel that died is noticed only then
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
PYTHON = sys.executable
NBVAL = [PYTHON, "-m", "pytest", "--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={CELL_TIMEOUT}"]
NBVAL += ["-x", "-p", "no:cacheprovider", "--durations=5"]

Command = tuple[list[str], str | None]  # the command, and the profile it runs at


def lint() -> Iterator[Command]:
    yield [PYTHON, "-m", "ruff", "check", "."], None
    yield [PYTHON, "-m", "ruff", "format", "--check", "."], None
    yield [shutil.which("lint-imports", path=str(Path(PYTHON).parent)) or "lint-imports"], None


def unit() -> Iterator[Command]:
    yield [PYTHON, "-m", "pytest", "tests", "--durations=10"], None


def generated() -> Iterator[Command]:
    yield [PYTHON, "-m", "course_utils.workshop.notebooks", "--check"], None


def smoke() -> Iterator[Command]:
    yield [*NBVAL, *notebooks("notebooks")], "smoke"


def laptop() -> Iterator[Command]:
    for notebook in notebooks("solutions"):
        yield [*NBVAL, notebook], "laptop"


STEPS = {step.__name__: step for step in (lint, unit, generated, smoke, laptop)}


def notebooks(folder: str) -> list[str]:
    """The notebooks of a folder in the order of their chapters, relative to the top folder."""
    found = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*.ipynb"))
    if not found:
        raise SystemExit(f"{folder}/ holds no notebook; a run that tests nothing is no success.")
    return found


def run(command: list[str], profile: str | None) -> int:
    """Run one command offline in a fresh learner's folder, free of the settings of whoever runs it."""
    shown = " ".join(Path(part).name if part in (PYTHON, command[0]) else part for part in command)
    print(f"\n$ {f'COURSE_PROFILE={profile} ' if profile else ''}{shown}", flush=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")} | OFFLINE
    if profile:
        environment["COURSE_PROFILE"] = profile
    with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as home:
        return subprocess.run(command, cwd=ROOT, env=environment | {"COURSE_HOME": home}).returncode


def main(asked: list[str]) -> int:
    """Run the steps that are asked for, or all; print how each went; return 0 if all went well."""
    unknown = [name for name in asked if name not in STEPS]
    if unknown:
        print(f"unknown step {', '.join(unknown)}; the steps are {', '.join(STEPS)}.", file=sys.stderr)
        return 2
    results: dict[str, tuple[str, float]] = {}
    for name in asked or STEPS:
        start = time.monotonic()
        failed = next((command for command in STEPS[name]() if run(*command)), None)
        results[name] = ("FAILED" if failed else "passed", time.monotonic() - start)
        if failed:
            break
    print("\nstep        result     minutes")
    for name in asked or STEPS:
        result, seconds = results.get(name, ("not run", 0.0))
        print(f"{name:<11} {result:<10} {seconds / 60:>7.1f}")
    return int(any(result == "FAILED" for result, _ in results.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
