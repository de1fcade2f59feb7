"""Author's notebooks -> learners' notebooks, and the whole way through nbgrader."""

from __future__ import annotations

import builtins
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest

from course_utils.classroom.exercises import exercise
from course_utils.interview import bank
from course_utils.workshop import hosted, notebooks

ROOT = Path(__file__).resolve().parent.parent
SOLUTIONS = sorted((ROOT / "solutions").glob("[0-9][0-9]_*.ipynb"))

SETUP = """\
from course_utils.classroom import exercise, grade
from course_utils.classroom.exercises.exercise import check, expect

@check("99.1", title="Add one", reference=lambda n: n + 1, difficulty=1, minutes=2, points=2, hints=["-"])
def add_one(candidate):
    expect.equal(candidate(1), 2, "One is not added.")

@check("99.2", title="Double", reference=lambda n: 2 * n, difficulty=1, minutes=2, points=3, hints=["-"])
def double(candidate):
    expect.equal(candidate(2), 4, "It is not doubled.")"""


@cache
def read(path: Path) -> nbformat.NotebookNode:
    """An author's notebook, read once for all tests: none of them changes it."""
    return nbformat.read(path, as_version=4)


def exercise_cell(id: str, name: str, answer: str) -> nbformat.NotebookNode:
    body = f'    """Docs."""\n    ### BEGIN SOLUTION\n    {answer}\n    ### END SOLUTION'
    source = f'@exercise("{id}")\ndef {name}(n):\n{body}'
    marks = {"grade": False, "solution": True, "locked": False}
    return marked_cell(source, f"exercise-{id.replace('.', '-')}", marks)


def grade_cell(id: str, points: int) -> nbformat.NotebookNode:
    marks = {"grade": True, "solution": False, "locked": True, "points": points}
    return marked_cell(f'grade("{id}")', f"grade-{id.replace('.', '-')}", marks)


def marked_cell(source: str, name: str, marks: dict) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(source, id=name)
    cell.metadata["nbgrader"] = {**marks, "grade_id": name, "schema_version": 3, "task": False}
    return cell


def authors_notebook() -> nbformat.NotebookNode:
    setup = nbformat.v4.new_code_cell(SETUP, id="setup")
    setup.outputs = [nbformat.v4.new_output("stream", text="an output\n")]
    setup.execution_count = 3
    setup.metadata["execution"] = {"iopub.status.idle": "2026-01-01"}
    cells = [
        nbformat.v4.new_markdown_cell("# A chapter", id="title"),
        setup,
        exercise_cell("99.1", "add_one_to", "return n + 1"),
        grade_cell("99.1", 2),
        exercise_cell("99.2", "double_of", "m = 2\n    return m * n"),
        grade_cell("99.2", 3),
    ]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "widgets": {"state": {}}})


@pytest.fixture
def course(tmp_path: Path) -> Path:
    (tmp_path / "solutions").mkdir()
    nbformat.write(authors_notebook(), tmp_path / "solutions" / "06_x.ipynb")
    return tmp_path


def run(course: Path, *arguments: str) -> int:
    return notebooks.main(["--root", str(course), *arguments])


@pytest.mark.slow
def test_a_checkout_with_windows_line_ends_is_up_to_date(course):
    assert run(course) == 0
    for path in course.rglob("*.ipynb"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert run(course, "--check") == 0
    target = next((course / "notebooks").glob("*.ipynb"))
    target.write_bytes(target.read_bytes().replace(b"A chapter", b"A changed chapter"))
    assert run(course, "--check") == 1, "a real difference is still one"


@pytest.mark.slow
def test_learners_get_open_exercises_and_no_outputs(course):
    assert run(course) == 0
    notebook = nbformat.read(course / "notebooks" / "06_x.ipynb", as_version=4)
    nbformat.validate(notebook)
    by_id = {cell.id: cell for cell in notebook.cells}
    authors = [cell.id for cell in authors_notebook().cells]
    assert list(by_id) == [*authors[:1], hosted.ID, *authors[1:]]
    for cell in notebook.cells:
        assert "SOLUTION" not in cell.source
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None and "execution" not in cell.metadata
    body = by_id["exercise-99-2"]
    assert body.source.endswith('"""Docs."""\n    raise NotImplementedError  # your code')
    assert body.metadata["deletable"] is False and "editable" not in body.metadata
    locked = by_id["grade-99-1"]
    assert locked.metadata["deletable"] is False and locked.metadata["editable"] is False
    assert locked.metadata["nbgrader"]["points"] == 2 and locked.metadata["nbgrader"]["checksum"]
    assert set(notebook.metadata) == {"kernelspec", "language_info", "course"}


@pytest.mark.slow
def test_the_same_bytes_every_time_and_from_a_run_notebook(course):
    run(course)
    target = course / "notebooks" / "06_x.ipynb"
    first = target.read_bytes()
    notebook = authors_notebook()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = 9, [nbformat.v4.new_output("stream", text="another\n")]
    notebook.metadata["language_info"] = {"name": "python", "version": "3.99"}
    nbformat.write(notebook, course / "solutions" / "06_x.ipynb")
    assert run(course, "--check") == 0
    target.unlink()
    run(course)
    assert target.read_bytes() == first and first.endswith(b"}\n")


@pytest.mark.slow
def test_without_nbgrader_the_bytes_are_the_same(course, monkeypatch):
    sources = [course / "solutions" / "06_x.ipynb", *SOLUTIONS]
    with_nbgrader = [notebooks.shipped(source) for source in sources]
    real = builtins.__import__

    def without(name, *rest, **keywords):
        if name.split(".")[0] == "nbgrader":
            raise ImportError(name)
        return real(name, *rest, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    assert [notebooks.shipped(source) for source in sources] == with_nbgrader


def test_check_says_what_is_out_of_date_and_writes_nothing(course, capsys):
    assert run(course, "--check") == 1
    assert "stale  notebooks/06_x.ipynb" in capsys.readouterr().out and not (course / "notebooks").exists()
    run(course)
    assert run(course, "--check") == 0
    notebook = authors_notebook()
    notebook.cells[0].source = "# A better chapter"
    nbformat.write(notebook, course / "solutions" / "06_x.ipynb")
    before = (course / "notebooks" / "06_x.ipynb").read_bytes()
    assert run(course, "--check") == 1 and (course / "notebooks" / "06_x.ipynb").read_bytes() == before
    assert run(course) == 0, "an old edition that nobody changed is replaced"
    assert "A better chapter" in (course / "notebooks" / "06_x.ipynb").read_text()
    (course / "solutions" / "06_x.ipynb").rename(course / "solutions" / "07_y.ipynb")
    run(course)
    assert run(course, "--check") == 1
    assert "stray  notebooks/06_x.ipynb" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["source", "output", "new cell", "deleted cell", "torn file"])
def test_what_a_learner_changed_is_never_overwritten(course, capsys, change):
    run(course)
    target = course / "notebooks" / "06_x.ipynb"
    notebook = nbformat.read(target, as_version=4)
    if change == "source":
        notebook.cells[3].source = notebook.cells[3].source.replace(
            "raise NotImplementedError  # your code", "return 1"
        )
    elif change == "output":
        notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="mine")]
    elif change == "new cell":
        notebook.cells.append(nbformat.v4.new_markdown_cell("my notes"))
    else:
        notebook.cells.pop()
    text = target.read_text()[:-200] if change == "torn file" else nbformat.writes(notebook)
    target.write_text(text)
    better = authors_notebook()
    better.cells[0].source = "# A better chapter"
    nbformat.write(better, course / "solutions" / "06_x.ipynb")
    capsys.readouterr()
    assert run(course) == 0
    shown = capsys.readouterr().out
    assert target.read_text() == text
    assert "kept   notebooks/06_x.ipynb" in shown and "course reset 06" in shown
    assert run(course, "--check") == 1


def test_opening_and_saving_in_jupyterlab_is_no_change(course):
    run(course)
    target = course / "notebooks" / "06_x.ipynb"
    shipped = target.read_bytes()
    notebook = json.loads(shipped)
    notebook["metadata"]["language_info"]["version"] = "3.11.7"
    notebook["cells"][1]["source"] = "".join(notebook["cells"][1]["source"])
    target.write_text(json.dumps(notebook, indent=2))
    assert not notebooks.is_changed(target)
    assert run(course) == 0 and target.read_bytes() == shipped


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda cells: cells[2].metadata.pop("nbgrader"), "a solution without nbgrader's metadata"),
        (lambda cells: cells[2].update(source="x = 1"), "a solution cell without ### BEGIN SOLUTION"),
        (lambda cells: cells[2].update(source=cells[2].source.replace("### END", "")), "no end solution"),
        (lambda cells: cells[4].metadata["nbgrader"].update(grade_id="exercise-99-1"), "validate"),
    ],
)
def test_a_solution_that_would_be_given_away_is_refused(course, capsys, spoil, words):
    notebook = authors_notebook()
    spoil(notebook.cells)
    (course / "solutions" / "06_x.ipynb").write_text(nbformat.writes(notebook))
    assert run(course) == 1
    assert words in capsys.readouterr().err and not (course / "notebooks").exists()


# ---- the course's own notebooks


def test_the_notebooks_are_up_to_date():
    assert SOLUTIONS
    out_of_date = [step for step in notebooks.plan(ROOT) if step.action != "same"]
    assert not out_of_date, [f"{step.target.name}: {step.action}" for step in out_of_date]


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_an_authors_notebook_holds_its_exercises(path):
    chapter, notebook = path.name[:2], read(path)
    assert notebook.nbformat_minor >= 5 and len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    marks = {cell.metadata["nbgrader"]["grade_id"]: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    exercises = exercise.known(chapter)
    assert exercises and set(marks) == {
        f"{kind}-{id.replace('.', '-')}" for id in exercises for kind in ("exercise", "grade")
    }
    names = []
    for id, spec in exercises.items():
        answer, graded = marks[f"exercise-{id.replace('.', '-')}"], marks[f"grade-{id.replace('.', '-')}"]
        assert f'@exercise("{id}")' in answer.source and graded.source.strip() == f'grade("{id}")'
        assert graded.metadata["nbgrader"]["points"] == spec.points
        assert notebook.cells.index(graded) > notebook.cells.index(answer)
        names.append(next(line for line in answer.source.splitlines() if line.startswith(("def ", "class "))))
    assert len(set(names)) == len(names), "each exercise has a name of its own"


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_chapter_names_its_objectives_and_key_points_and_keeps_its_cells_short(path):
    notebook = read(path)
    assert "**Objectives**" in notebook.cells[0].source
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert sum("**Key points**" in text for text in texts) == 1
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and "@exercise(" not in cell.source]
    assert [cell.id for cell in code if len(cell.source.splitlines()) > 20] == []


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_the_stored_interview_is_that_of_the_bank(path):
    chapter, notebook = path.name[:2], read(path)
    shown = "".join(
        output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code" and f'interview("{chapter}")' in cell.source
        for output in cell.outputs
    )
    flat = " ".join(shown.split())
    for question in bank.questions(chapter):
        assert question.question in flat, f"{question.id} was asked otherwise when the notebook ran: run it anew"
        for part in re.split(r"\{[^}]*\}", question.short):  # figures apart
            assert " ".join(part.split()).strip(".,;:") in flat, f"the stored short answer of {question.id} is another"


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_an_authors_notebook_was_run_and_every_exercise_is_right(path):
    notebook = read(path)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        assert cell.execution_count, f"cell {number} was not run"
        texts = [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
        assert not [o for o in cell.outputs if o.output_type == "error"], f"cell {number} failed"
        if "@exercise(" in cell.source:
            assert any(text.startswith("✓") for text in texts), f"cell {number}: the author's answer is not right"


# ---- nbgrader


@pytest.mark.slow
def test_nbgrader_gives_the_points(tmp_path):
    """Generate the assignment, hand in one right and one wrong answer, autograde, and read the gradebook."""
    source = tmp_path / "source" / "ps1"
    source.mkdir(parents=True)
    nbformat.write(authors_notebook(), source / "06_x.ipynb")
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'isles'\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    def nbgrader(*arguments: str) -> None:
        command = [sys.executable, "-m", "nbgrader", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    nbgrader("generate_assignment", "ps1", "--create")
    released = nbformat.read(tmp_path / "release" / "ps1" / "06_x.ipynb", as_version=4)
    assert "BEGIN SOLUTION" not in nbformat.writes(released)
    answers = {"exercise-99-1": "return n + 1", "exercise-99-2": "return n + n + 1"}
    for cell in released.cells:
        if cell.id in answers:
            head = cell.source[: cell.source.index('"""Docs."""')]
            cell.source = f"{head}{answers[cell.id]}"
        if cell.id == "grade-99-2":
            cell.source = "pass  # the learner tampers with the locked cell"
    submitted = tmp_path / "submitted" / "ann" / "ps1"
    submitted.mkdir(parents=True)
    nbformat.write(released, submitted / "06_x.ipynb")
    nbgrader("autograde", "ps1")

    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        result = book.find_submission_notebook("06_x", "ps1", "ann")
        assert {grade.name: (grade.score, grade.max_score) for grade in result.grades} == {
            "grade-99-1": (2.0, 2.0),
            "grade-99-2": (0.0, 3.0),
        }
    graded = nbformat.read(tmp_path / "autograded" / "ann" / "ps1" / "06_x.ipynb", as_version=4)
    error = next(
        o for cell in graded.cells if cell.id == "grade-99-2" for o in cell.outputs if o.output_type == "error"
    )
    assert "It is not doubled." in error.evalue
