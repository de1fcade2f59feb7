"""From a folder of submissions to points, feedback and a report, by nbgrader, in one command.

    FOLDER/source/06_x/06_x.ipynb             the author's notebook (`course workshop release FOLDER 06`)
    FOLDER/release/06_x/06_x.ipynb            what is given out
    FOLDER/submitted/ann/06_x/06_x.ipynb      what is handed in, or simply submitted/ann/06_x.ipynb; never changed
    FOLDER/prepared, autograded, feedback     what nbgrader works in
    FOLDER/gradebook.db                       nbgrader's; its formgrader reads it as ever
    FOLDER/grades-06_x.csv, report-06_x.html  what comes out

A submission that nbgrader would give up (a kernel that dies, a cell without an end, a copied cell, no notebook at all)
is brought to an end here: the cell that ended it is set aside and the rest is graded; a file that is no notebook gets
no points and says why. Nobody is missing from the table.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_utils import chapters, files
from course_utils.classroom.records import jsonl
from course_utils.workshop import isolated
from course_utils.workshop.careful import PATIENCE
from course_utils.workshop.isolated import Limits
from course_utils.workshop.submission import Prepared, SubmissionError, locked_of, open_again, prepare

ROUNDS = 6  # how many cells of a submission may be set aside
STATES = ("graded", "mended", "set aside", "unreadable", "stopped", "nothing handed in")
FILE = "graded.jsonl"
STANDARD = Limits()


class GradebookError(ValueError):
    """The folder cannot be graded; the message says what is missing and how to mend it."""


@dataclass(frozen=True)
class Result:
    """One submission's points. messages: what the test of an exercise said, "" if it is right. notes: what was done."""

    student: str
    assignment: str
    state: str
    points: dict[str, float]
    messages: dict[str, str]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    of: str = ""  # digest of the file that was graded
    kept: bool = False

    @property
    def total(self) -> float:
        """The sum of the points."""
        return sum(self.points.values())


@dataclass
class Graded:
    """All results of one assignment. most: points that each exercise can give."""

    assignment: str
    most: dict[str, float]
    results: list[Result] = field(default_factory=list)
    room: str = ""


# ---- giving out


def release(folder: Path, numbers: Sequence[str] = (), *, sources: Sequence[Path] = ()) -> list[Path]:
    """Put chapters (or other authors' notebooks) into the folder and write what is given out; returns those notebooks.

    Raises GradebookError if nbgrader refuses.
    """
    folder = _own_folder(folder)
    paths = [*sources]
    for number in numbers:
        entry = chapters.chapter(number)
        path = chapters.root() / "solutions" / f"{entry.stem}.ipynb"
        if not path.is_file():
            raise chapters.ChapterError(f"chapter {entry.number} ({entry.title}) is not in this edition: no {path}")
        paths.append(path)
    if not paths:
        raise GradebookError("say what to give out, such as: course workshop release FOLDER 06 09")
    out = []
    for path in paths:
        target = folder / "source" / path.stem / path.name
        with files.atomic_file(target) as fresh:
            fresh.write_bytes(_without_outputs(path))
        with _nbgrader(folder) as api:
            done = api.generate_assignment(path.stem, force=True, create=True)
        if not done["success"]:
            raise GradebookError(f"nbgrader cannot give out {path.name}: {_last_line(done)}")
        out.append(folder / "release" / path.stem / path.name)
    return out


def _without_outputs(path: Path) -> bytes:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return (nbformat.writes(notebook) + "\n").encode("utf-8")


# ---- grading


def grade(
    folder: Path,
    *,
    limits: Limits = STANDARD,
    profile: str = "smoke",
    again: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Graded]:
    """Grade every submission in the folder; one that was graded before and is unchanged is kept unless ``again``.

    profile: the checks are the same on each, and smoke's notebooks take seconds. Raises GradebookError.
    """
    folder = _own_folder(folder)
    assignments = sorted(path.parent.name for path in (folder / "release").glob("*/*.ipynb"))
    if not assignments:
        raise GradebookError(f"nothing was given out from {folder}: begin with `course workshop release {folder} 06`.")
    students = sorted(path for path in (folder / "submitted").glob("*") if path.is_dir() and path.name[0] != ".")
    if not students:
        raise GradebookError(
            f"{folder / 'submitted'} holds no folder. Put each learner's notebook where it belongs, such as "
            f"{folder / 'submitted' / 'ann' / assignments[0]}.ipynb"
        )
    within = isolated.room()
    tell(within.sentence)
    earlier = {} if again else _earlier(folder)
    graded = []
    with (
        isolated.kernel(folder, limits, within, profile) as talk,
        _nbgrader(folder, limits, talk if within.transport == "ipc" else None) as api,
    ):
        for assignment in assignments:
            given_out = _read(folder / "release" / assignment / f"{assignment}.ipynb")
            most = {id: float(cell.metadata.nbgrader.points) for id, cell in locked_of(given_out).items()}
            one = Graded(assignment, most, room=within.sentence)
            for place in students:
                path = handed_in(place, assignment, len(assignments))
                of = files.digest(path) + hashlib.sha256(str(most).encode()).hexdigest()[:8] if path else ""
                kept = earlier.get((place.name, assignment))
                if kept is not None and kept.of == of and set(kept.points) == set(most):
                    result = kept
                else:
                    began = time.perf_counter()
                    result = _grade(api, folder, place.name, assignment, path, given_out, most, limits, talk)
                    result = _stamped(result, time.perf_counter() - began, of)
                    jsonl.append(folder / FILE, _as_record(result))
                one.results.append(result)
                tell(f"{result.student:<24} {result.total:g} of {sum(most.values()):g}  {result.state}")
            graded.append(one)
    return graded


def handed_in(place: Path, assignment: str, assignments: int = 1) -> Path | None:
    """A learner's file for an assignment: by its name, else the only notebook that could be it."""
    for path in (place / assignment / f"{assignment}.ipynb", place / f"{assignment}.ipynb"):
        if path.is_file():
            return path
    found = [path for path in sorted(place.rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts]
    named = [path for path in found if path.stem.startswith(assignment) or path.parent.name == assignment]
    if named:  # "06_x (1).ipynb": the newest
        return max(named, key=lambda path: path.stat().st_mtime)
    return found[0] if len(found) == 1 and assignments == 1 else None


def known_as(student: str) -> str:
    """A learner's name for nbgrader, which takes ``[``, ``*`` and ``?`` for patterns and refuses ``+`` and ``,``."""
    plain = re.sub(r"[^\w. @'-]", "_", student).strip()
    return plain if plain == student else f"{plain}-{hashlib.sha256(student.encode()).hexdigest()[:6]}"


def _grade(
    api: Any,
    folder: Path,
    student: str,
    assignment: str,
    path: Path | None,
    given_out: Any,
    most: dict[str, float],
    limits: Limits,
    talk: Path,
) -> Result:
    import nbformat

    nothing, who = dict.fromkeys(most, 0.0), known_as(student)
    if path is None:
        why = f"no notebook {assignment}.ipynb was found"
        _enter_nothing(api, who, assignment)
        return Result(student, assignment, "nothing handed in", nothing, dict.fromkeys(most, why), (why,))
    try:
        ready: Prepared = prepare(path, given_out)
    except SubmissionError as error:
        _enter_nothing(api, who, assignment)
        _feedback_in_words(folder, who, assignment, str(error))
        return Result(student, assignment, "unreadable", nothing, dict.fromkeys(most, str(error)), (str(error),))
    notes, notebook, state = list(ready.mended), ready.notebook, "mended" if ready.mended else "graded"
    target = folder / "prepared" / who / assignment / f"{assignment}.ipynb"
    deadline = time.monotonic() + PATIENCE * limits.whole
    for _ in range(ROUNDS):
        with files.atomic_file(target) as fresh:
            nbformat.write(notebook, fresh)
        _STOPPED.clear()
        done = api.autograde(assignment, who, force=True, create=True)
        if "KeyboardInterrupt" in str(done.get("error")):  # nbgrader swallows it; nothing was noted for this one
            _sweep(talk)
            raise KeyboardInterrupt
        if done["success"] or not _STOPPED or time.monotonic() > deadline:
            break
        index, why = _STOPPED["at"], _STOPPED["why"]
        notes.append(f"cell {index + 1} was set aside: {why}")
        state = "set aside"
        notebook = open_again(notebook, index, given_out, why)
        _sweep(talk)
    _sweep(talk)
    if not done["success"]:
        why = f"the run could not be brought to an end: {_STOPPED.get('why') or _last_line(done)}"
        _enter_nothing(api, who, assignment)
        _feedback_in_words(folder, who, assignment, why)
        return Result(student, assignment, "stopped", nothing, dict.fromkeys(most, why), (*notes, why))
    after = _read(folder / "autograded" / who / assignment / f"{assignment}.ipynb")
    points = _points(api, who, assignment, most)
    told = api.generate_feedback(assignment, who, force=True)
    if told["success"]:
        _without_network(folder / "feedback" / who / assignment / f"{assignment}.html")
    else:
        notes.append(f"no feedback page: {_last_line(told)}")
    return Result(student, assignment, state, points, _messages(after, most, points), tuple(notes))


def _points(api: Any, student: str, assignment: str, most: dict[str, float]) -> dict[str, float]:
    with api.gradebook as book:
        grades = book.find_submission_notebook(assignment, assignment, student).grades
        found = {grade.name: float(grade.score or 0.0) for grade in grades}
    return {id: found.get(f"grade-{id.replace('.', '-')}", 0.0) for id in most}


def _messages(after: Any, most: dict[str, float], points: dict[str, float]) -> dict[str, str]:
    """What each locked test said: the error's text without the exercise's name."""
    found = dict.fromkeys(most, "the test was not reached")
    for id, cell in locked_of(after).items():
        errors = [output for output in cell.get("outputs", ()) if output.output_type == "error"]
        said = errors[0].evalue if errors else ""
        found[id] = "" if points[id] and not said else said.split(": ", 1)[-1] or "the test was not reached"
    return {id: found[id] for id in most}


def _enter_nothing(api: Any, student: str, assignment: str) -> None:
    """Enter a submission without points, so that nobody is missing from nbgrader's own lists."""
    with api.gradebook as book, book.db.no_autoflush:
        book.update_or_create_student(student)
        submission = book.update_or_create_submission(assignment, student)
        for notebook in submission.notebooks:
            for grade in notebook.grades:
                grade.auto_score, grade.needs_manual_grade = 0, False
        book.db.commit()


def _feedback_in_words(folder: Path, student: str, assignment: str, why: str) -> None:
    target = folder / "feedback" / student / assignment / f"{assignment}.html"
    with files.atomic_file(target) as fresh:
        fresh.write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(assignment)}</title>'
            f"</head><body><h1>{html.escape(assignment)}</h1><p>This notebook could not be graded: {html.escape(why)}. "
            "Open it in JupyterLab, run it from top to bottom, save it, and hand it in again.</p></body></html>\n",
            encoding="utf-8",
        )


def _without_network(page: Path) -> None:
    """nbgrader's page asks a server for MathJax; without it formulas are shown as they are written."""
    text = re.sub(r"<script[^>]*src=[\"']?https?://[^>]*>\s*</script>", "", page.read_text(encoding="utf-8"))
    with files.atomic_file(page) as fresh:
        fresh.write_text(text, encoding="utf-8")


# ---- what was graded before


def _stamped(result: Result, seconds: float, of: str) -> Result:
    from dataclasses import replace

    return replace(result, seconds=round(seconds, 2), of=of)


def _as_record(result: Result) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(result)


def _earlier(folder: Path) -> dict[tuple[str, str], Result]:
    found = {}
    for record in jsonl.read(folder / FILE):
        try:
            result = Result(**{**record, "notes": tuple(record["notes"]), "kept": True})
        except (TypeError, KeyError):
            continue
        found[result.student, result.assignment] = result
    return found


# ---- nbgrader

_STOPPED: dict[str, Any] = {}  # where the run of the present submission ended before its end, and why


def _own_folder(folder: Path) -> Path:
    folder = Path(folder).expanduser().resolve()
    if isolated._package().is_relative_to(folder):
        raise GradebookError(
            f"{folder} holds the course itself; grade in a folder of its own, such as {folder}/class-1"
        )
    try:
        import nbgrader  # noqa: F401
    except ImportError as error:
        raise GradebookError("nbgrader is not installed: pip install 'llm-course[classroom]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)


def _last_line(done: dict[str, Any]) -> str:
    lines = [line for line in str(done.get("log") or "").splitlines() if line.strip() and "[INFO]" not in line]
    lines = lines or str(done.get("error") or "").strip().splitlines()
    return lines[-1].strip() if lines else "it does not say why"


def _sweep(talk: Path) -> None:
    """Sockets of kernels that were ended by force."""
    for left in talk.glob("kernel-*"):
        with contextlib.suppress(OSError):
            left.unlink()


@contextlib.contextmanager
def _nbgrader(folder: Path, limits: Limits = STANDARD, talk: Path | None = None) -> Iterator[Any]:
    """nbgrader's own interface for the folder, with our way of running a notebook.

    talk: where sockets to a kernel without a network lie; None where it is spoken to over 127.0.0.1.
    """
    from nbgrader.apps.api import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config

    from course_utils.workshop.careful import careful_preprocessors

    config = Config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.submitted_directory = "prepared"
    config.CourseDirectory.course_id = "course"
    config.ClearSolutions.code_stub = {"python": _stub()}
    config.Autograde.autograde_preprocessors = careful_preprocessors(limits, _STOPPED)
    config.HTMLExporter.mathjax_url = config.HTMLExporter.require_js_url = config.HTMLExporter.jquery_url = ""
    if talk is not None:
        config.KernelManager.transport, config.KernelManager.ip = "ipc", str(talk / "kernel")
    quiet = logging.getLogger("course.nbgrader")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    with isolated._environment(JUPYTER_CONFIG_DIR=str(folder / ".jupyter")):
        directory = CourseDirectory(config=config, log=quiet)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Object of type", module="nbgrader")  # its own, of sqlalchemy
            yield NbGraderAPI(directory, config=config, log=quiet)


def _stub() -> str:
    from course_utils.workshop.notebooks import STUB

    return STUB
