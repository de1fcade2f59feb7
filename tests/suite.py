"""Every check of the course, in order, stopping at the first that fails: ``python tests/suite.py [step ...]``.

Step       What it checks
static     lint: ruff on code and notebooks, and the import contracts; types: mypy on the package without its checks;
           generated: notebooks/ is what the generator makes of solutions/
unit       pytest on tests/
smoke      every notebook of notebooks/, in one learner's folder, at the smoke profile
laptop     every notebook of solutions/, each in a folder of its own, at the laptop profile, claims enforced

``quick`` is the unit tests that are not marked slow: `make check`. Lint, contracts and generated files are among them.
It is part of no whole run; ``lint``, ``types`` and ``generated`` can be asked for alone. So can ``again``: the
notebooks of ``smoke`` by another runner, pytest-notebook, since a course whose notebooks run under one plug-in alone
stands and falls with it. That runner goes by nbclient, and a cell that fails ends its notebook; nbval goes on.

A small model leaves a core idle more often than not, and two trainings that share two cores wait for each other. So the
commands of a step run side by side, each held to one core of its own.

``COURSE_TEST_MEMORY_GIB=4``: each command that runs notebooks (at ``laptop`` each chapter) may take so much memory with
all that it starts. What takes more is ended, and the step fails (memory_limit.py).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import memory_limit

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
CELL_TIMEOUT = 180  # seconds of work (tests/worked.py)
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
PYTHON = sys.executable
NBVAL = [PYTHON, "-m", "pytest", "--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={CELL_TIMEOUT}"]
NBVAL += ["--nbval-kernel-startup-timeout=600", "-x", "-p", "no:cacheprovider", "-p", "no:nb_regression"]
NBVAL += ["-p", "tests.worked", "--durations=5"]
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else [0]
UNIT = [PYTHON, "-m", "pytest"]
UNIT += ["-p", "no:nbval", "-p", "no:nb_regression", "-p", "no:logging"]  # unused: 2 s a process, 2 ms a test
AGAIN = [PYTHON, "-m", "pytest", "--nb-test-files", f"--nb-exec-timeout={CELL_TIMEOUT}", "-p", "no:nbval"]
AGAIN += ["-o", "nb_diff_ignore=/cells/*/outputs\n/cells/*/execution_count\n/metadata"]  # learners' have no outputs
AGAIN += ["-x", "-p", "no:cacheprovider", "--durations=5"]
# What the quick tests of a file take, in processor seconds; 0.7 where it is not said.
SECONDS = {"checks": 20, "other_bases": 6, "generate": 5, "server": 4, "own_data": 4}
SECONDS |= dict.fromkeys("checkpoints distillation drills frame judging notebooks serving_engine surgery".split(), 2)
LIBRARIES = re.compile(r"(?:from|import) (?:peft|transformers|trl)\b|to_llama")  # what they import takes seconds

Command = tuple[list[str], str | None]  # the command, and the profile it runs at


def lint() -> Iterator[Command]:
    yield [PYTHON, "-m", "ruff", "check", "."], None
    yield [PYTHON, "-m", "ruff", "format", "--check", "."], None
    yield [shutil.which("lint-imports", path=str(Path(PYTHON).parent)) or "lint-imports"], None


def types() -> Iterator[Command]:
    yield [PYTHON, "-m", "mypy"], None


def generated() -> Iterator[Command]:
    yield [PYTHON, "-m", "course_utils.workshop.notebooks", "--check"], None


def static() -> Iterator[Command]:
    yield from types()  # the longest first
    yield from generated()
    yield from lint()


def unit() -> Iterator[Command]:
    yield [*UNIT, "tests", "-n", str(len(CORES)), "--dist", "loadfile", "--durations=10"], None


def smoke() -> Iterator[Command]:
    for part in range(len(CORES)):
        yield [*NBVAL, *notebooks("notebooks")[part :: len(CORES)]], "smoke"


def again() -> Iterator[Command]:
    for part in range(len(CORES)):
        yield [*AGAIN, *notebooks("notebooks")[part :: len(CORES)]], "smoke"


def laptop() -> Iterator[Command]:
    for notebook in reversed(notebooks("solutions")):  # the short ones come last, so that no core waits for long
        yield [*NBVAL, notebook], "laptop"


def quick() -> Iterator[Command]:
    for part in shares():  # a worker of xdist would import what all files need, and report each test three times
        yield [*UNIT, "-p", "no:xdist", "-m", "not slow", *part], None


STEPS = {step.__name__: step for step in (static, unit, smoke, laptop)}
ASKED = {step.__name__: step for step in (lint, types, generated, quick, again)}  # only when asked for
SIDE_BY_SIDE = ("static", "smoke", "laptop", "quick", "again")


def notebooks(folder: str) -> list[str]:
    """The notebooks of a folder in the order of their chapters, relative to the top folder."""
    found = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*.ipynb"))
    if not found:
        raise SystemExit(f"{folder}/ holds no notebook; a run that tests nothing is no success.")
    return found


def shares() -> list[list[str]]:
    """The files of tests, a share for each core: those that import LIBRARIES in one, then the longest first."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(TESTS.glob("test_*.py"))}
    seconds = {file: SECONDS.get(Path(file).stem.removeprefix("test_"), 0.7) for file in texts}
    heavy = {file for file, text in texts.items() if LIBRARIES.search(text)}
    parts: list[list[str]] = [[] for _ in CORES]
    for file in sorted(texts, key=lambda file: (file not in heavy, -seconds[file])):
        load = [sum(seconds[each] for each in part) for part in parts]
        parts[0 if file in heavy else load.index(min(load))].append(file)
    return [part for part in parts if part]


def allowed() -> float | None:
    """The MiB that a command which runs notebooks may take; None for no limit. Raises SystemExit."""
    given = os.environ.get("COURSE_TEST_MEMORY_GIB", "")
    try:
        if not given or float(given) > 0:
            return 1024 * float(given) if given else None
    except ValueError:
        pass
    raise SystemExit(f"COURSE_TEST_MEMORY_GIB={given!r} is no number of GiB such as 4; leave it out for no limit.")


def run(command: list[str], profile: str | None, home: str | None = None, core: int | None = None) -> int:
    """Run one command offline, free of the settings of whoever runs it; return its exit status.

    ``home``: the learner's folder, a fresh one if None. With ``core`` it is held to that core, and what it prints comes
    in one piece at its end.
    """
    shown = " ".join(Path(part).name if part in (PYTHON, command[0]) else part for part in command)
    shown = f"\n$ {f'COURSE_PROFILE={profile} ' if profile else ''}{shown}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")} | OFFLINE
    limit = allowed() if profile else None
    if profile:
        environment["COURSE_PROFILE"] = profile
    else:  # workers of pytest would wait for each other's threads
        environment["OMP_NUM_THREADS"] = "1"
    with (
        tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as fresh,
        tempfile.TemporaryFile() as kept,
    ):
        environment["COURSE_HOME"] = home or fresh
        if core is None:
            print(shown, flush=True)
        out, before = (None, None) if core is None else (kept, lambda: os.sched_setaffinity(0, {core}))
        try:
            status, most = memory_limit.run(command, environment, limit, out, before)
            said = f"memory: its children held at most {most:,} MiB; {limit:,.0f} were allowed\n" if limit else ""
        except memory_limit.TooMuch as error:
            status, said = 137, f"STOPPED: {error}\n"
        if core is not None:
            kept.seek(0)
            print(f"{shown}\n{kept.read().decode(errors='replace')}", flush=True)
        print(said, end="", flush=True)
        return status


def run_step(name: str, commands: Iterator[Command]) -> bool:
    """Run the commands of a step until one fails; True if none did."""
    if name not in SIDE_BY_SIDE or len(CORES) == 1:
        return not any(run(*command) for command in commands)
    waiting, free, failed = list(commands), list(CORES), []
    with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as shared:

        def work(_: int) -> None:
            core = free.pop()
            while waiting and not failed:
                command, profile = waiting.pop(0)
                if run(command, profile, shared if name in ("smoke", "again") else None, core):
                    failed.append(command)
            free.append(core)

        with ThreadPoolExecutor(len(CORES)) as pool:
            list(pool.map(work, CORES))
    return not failed


def main(asked: list[str]) -> int:
    """Run the steps that are asked for, or all; print how each went; return 0 if all went well."""
    steps: dict[str, Callable[[], Iterator[Command]]] = {**STEPS, **ASKED}
    unknown = [name for name in asked if name not in steps]
    if unknown:
        print(f"unknown step {', '.join(unknown)}; the steps are {', '.join(steps)}.", file=sys.stderr)
        return 2
    results: dict[str, tuple[str, float]] = {}
    for name in asked or STEPS:
        start = time.monotonic()
        good = run_step(name, steps[name]())
        results[name] = ("passed" if good else "FAILED", time.monotonic() - start)
        if not good:
            break
    print("\nstep        result     minutes")
    for name in asked or STEPS:
        result, seconds = results.get(name, ("not run", 0.0))
        print(f"{name:<11} {result:<10} {seconds / 60:>7.1f}")
    return int(any(result == "FAILED" for result, _ in results.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
