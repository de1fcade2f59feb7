"""``course drill``: files in the learner's folder, the clock, the check in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from course_utils import settings
from course_utils.classroom.records import progress
from course_utils.interview.drills import catalogue, clock
from course_utils.interview.drills.definition import DrillError, Outcome
from course_utils.interview.drills.notebook import OpenDrill, card, hint_card, solution_card

FOLDER, KEPT = "drills", "kept"
_BEGIN = 120.0  # seconds for the other process to import what it needs
_MORE = 10.0  # seconds beyond the check's own limit until the process is ended from outside
_FLOOD = 1_000_000  # bytes past the guarded streams that are read before the process is ended


def listing() -> str:
    """All drills with level, minutes, state and best time."""
    standings, rows = progress.drills(), []
    for name in catalogue.names():
        definition, standing = catalogue.find(name), standings.get(name)
        state, best = (standing.state, clock.spoken(standing.best)) if standing else ("never tried", "-")
        rows.append(f"{name:<28} {definition.text['level']:<7} {definition.text['minutes']:>3} min  {state:<12} {best}")
    solved = sum(standing.solved for standing in standings.values())
    return "\n".join([*rows, "", f"{solved} of {len(rows)} solved. Begin one: course drill NAME"])


def path(name: str) -> Path:
    """Where the learner's file of a drill lies."""
    catalogue.find(name)
    return settings.home() / FOLDER / f"{name}.py"


def open_drill(name: str) -> str:
    """Write the starter, unless the file is there, start the clock, and return what to show."""
    file, drill = path(name), catalogue.get(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(file, "x", encoding="utf-8") as new:
            new.write(f'"""{drill.title}. Check it: course drill {name} --check"""\n\n{drill.starter}')
        said = f"Write it in {file}"
    except FileExistsError:
        said = f"Your file is kept as it is: {file}\nBegin anew: course drill {name} --reset"
    started = clock.start(name)
    running = "The clock runs from now." if started else f"The clock runs: {clock.spoken(clock.seconds(name))} so far."
    return f"{OpenDrill(catalogue.find(name)).text()}\n{said}\n{running} Then: course drill {name} --check"


def reset(name: str) -> str:
    """Put the starter back. What was written is kept under a new name; hints and clock begin anew."""
    file, said = path(name), ""
    if file.exists():
        folder, number = file.parent / KEPT, 1
        folder.mkdir(exist_ok=True)
        while (kept := folder / f"{name}-{number}.py").exists():
            number += 1
        os.replace(file, kept)
        said = f"Your copy is kept: {kept}\n\n"
    progress.record("drill_reset", id=name)
    return said + open_drill(name)


def hint(name: str) -> str:
    """The next hint."""
    return hint_card(catalogue.find(name)).text()


def solution(name: str) -> str:
    """The working code. Raises DrillError while hints are left."""
    return solution_card(catalogue.find(name)).text()


def check(name: str) -> tuple[bool, str]:
    """Check the learner's file in a process of its own, record the attempt, and return (right, what to show)."""
    file = path(name)
    if not file.is_file():
        raise DrillError(f"there is no {file} yet: course drill {name} writes it")
    outcome = isolated(name, file)
    return outcome.right, card(catalogue.find(name), outcome, clock.keep(name, outcome)).text()


def _paths() -> list[str]:
    """Where the other process finds the course: not in the folder it is started from, in which drills' files may lie."""
    package = str(Path(__file__).resolve().parents[3])
    return [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def isolated(name: str, file: Path) -> Outcome:
    """The outcome of the answer in ``file``. Whatever the code does, this process lives on and says what it was."""
    limit = catalogue.find(name).spec.seconds + _MORE
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        child = subprocess.Popen(
            [sys.executable, "-m", "course_utils.interview.drills.child", name, str(file), str(result)],
            cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join(_paths())}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        told, flooded = bytearray(), threading.Event()

        def read() -> None:
            assert child.stdout is not None
            total = 0
            while part := child.stdout.read1(65536):  # type: ignore[attr-defined]
                told.extend(part[: 4000 - len(told)] if len(told) < 4000 else b"")
                total += len(part)
                if total > _FLOOD:
                    flooded.set()
                    child.kill()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        begin, ready, late = time.monotonic(), result.with_suffix(".ready"), False
        try:
            while child.poll() is None:
                if ready.exists() and limit > 0:
                    begin, limit = time.monotonic(), -limit  # negative: the check itself has begun
                if time.monotonic() - begin > (-limit if limit < 0 else _BEGIN):
                    late = True
                    child.kill()
                time.sleep(0.02)
        finally:
            child.kill()
            child.wait()
        reader.join(5)
        printed = told.decode(errors="replace")
        if flooded.is_set():
            return Outcome(False, "Your code floods the output and was stopped.", printed=printed[:2000])
        try:
            return Outcome(**json.loads(result.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            pass
        if late:
            return Outcome(False, f"Your code ran longer than {abs(limit):.0f} s and was stopped.", printed=printed)
        text = f"Your code ended the process (exit status {child.returncode}) before the check was done."
        return Outcome(False, text, printed=printed)
