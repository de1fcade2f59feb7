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
from course_utils.work_limit import WorkLimit, worked

FOLDER, KEPT = "drills", "kept"
_BEGIN = 120.0  # seconds for the other process to import what it needs
_MORE = 10.0  # seconds beyond the check's own limit until the process is ended from outside
_PATIENCE = 3  # how many times these may be by the clock, where other programs keep the process from working
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
        file.rename(kept)
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


def isolated(name: str, file: Path) -> Outcome:
    """The outcome of the answer in ``file``. Whatever the code does, this process lives on and says what it was."""
    limit = catalogue.find(name).spec.seconds + _MORE
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        child = subprocess.Popen(
            [sys.executable, "-m", "course_utils.interview.drills.child", name, str(file), str(result)],
            cwd=folder,  # not where drills' files lie: a rope.py would be imported in place of a package
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_paths())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        told = _Told(child)
        try:
            late = not _ends(child, result.with_suffix(".ready"), limit)
        finally:
            child.kill()
            child.wait()
        told.reader.join(5)
        if child.stdout is not None and not told.reader.is_alive():
            child.stdout.close()
        if told.flooded:
            return Outcome(False, "Your code floods the output and was stopped.", printed=told.text)
        try:
            return Outcome(**json.loads(result.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # it came to no result
            text = f"Your code ended the process (exit status {child.returncode}) before the check was done."
            late_text = f"Your code ran longer than {limit:.0f} s and was stopped."
            return Outcome(False, late_text if late else text, printed=told.text)


def _paths() -> list[str]:
    """Where the other process finds the course, and what else was to be found from here."""
    package = str(Path(__file__).resolve().parents[3])
    return [package, *(os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]


def _ends(child: subprocess.Popen[bytes], ready: Path, limit: float) -> bool:
    """Whether the process ends by itself in time: ``limit`` seconds from the moment when it is ready to check.

    It is late if it has worked for so long, or has waited for ``_PATIENCE`` times as long.
    """
    given, waits = WorkLimit(_BEGIN, lambda: worked(child.pid), _PATIENCE), True
    while child.poll() is None:
        if waits and ready.exists():
            given, waits = WorkLimit(limit, lambda: worked(child.pid), _PATIENCE), False
        if not given.left():
            return False
        time.sleep(0.02)
    return True


class _Told:
    """Reads what a process prints past the guarded streams, keeps the first of it, and ends one that floods."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.child, self.kept, self.flooded = child, b"", False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        total = 0
        while part := os.read(self.child.stdout.fileno(), 65536):  # type: ignore[union-attr]
            self.kept = (self.kept + part)[:2000]
            total += len(part)
            if total > _FLOOD:
                self.flooded = True
                self.child.kill()

    @property
    def text(self) -> str:
        return self.kept.decode(errors="replace")
