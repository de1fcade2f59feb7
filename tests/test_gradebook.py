"""Submissions of every kind, graded in one command: none lost, every score right."""

from __future__ import annotations

import ast
import contextlib
import copy
import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
import psutil
import pytest

from course_utils import chapters, cli
from course_utils.workshop import cohort, gradebook, isolated, notebooks
from course_utils.workshop.isolated import Limits
from course_utils.workshop.submission import SubmissionError, locked_of, prepare, stubs_of
from test_notebooks import authors_notebook

RIGHT = {"99.1": "return n + 1", "99.2": "return n + n"}


@pytest.fixture(scope="module")
def given_out(tmp_path_factory) -> Path:
    """A folder with a chapter of two exercises (2 and 3 points) that was given out."""
    folder = tmp_path_factory.mktemp("class of Ann")  # with blanks
    source = folder / "authors" / "99_made_up.ipynb"
    source.parent.mkdir()
    notebook = authors_notebook()
    notebook.cells[1].source = notebook.cells[1].source.replace('hints=["-"]', 'hints=["-"], seconds=2.0')
    nbformat.write(notebook, source)
    gradebook.release(folder / "course", sources=[source])
    return folder / "course"


def released(folder: Path) -> nbformat.NotebookNode:
    return nbformat.read(folder / "release" / "99_made_up" / "99_made_up.ipynb", as_version=4)


def cell_of(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    return next(cell for cell in notebook.cells if cell.get("metadata", {}).get("nbgrader", {}).get("grade_id") == name)


def answered(notebook: nbformat.NotebookNode, **answers: str) -> nbformat.NotebookNode:
    """The notebook with exercises filled in: answered(nb, **{"99.1": "return n"})."""
    for id, answer in answers.items():
        cell = cell_of(notebook, f"exercise-{id.replace('.', '-')}")
        cell.source = cell.source.replace("raise NotImplementedError  # your code", answer)
    return notebook


def hand_in(folder: Path, student: str, notebook: object) -> Path:
    path = folder / "submitted" / student / "99_made_up.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(notebook, bytes):
        path.write_bytes(notebook)
    else:
        path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook), encoding="utf-8")
    return path


def kinds(folder: Path) -> dict[str, tuple[object, float, str]]:
    """student -> (what is handed in, the points that are right, the state)."""

    def fresh(**answers: str) -> nbformat.NotebookNode:
        return answered(released(folder), **{f"99.{key[1]}": value for key, value in answers.items()})

    def with_cell(source: str, at: int = 2, **answers: str) -> nbformat.NotebookNode:
        notebook = fresh(**answers)
        notebook.cells.insert(at, nbformat.v4.new_code_cell(source))
        return notebook

    both = {"e1": RIGHT["99.1"], "e2": RIGHT["99.2"]}
    copied = fresh(e1="return n + 2", e2=RIGHT["99.2"])
    better = nbformat.from_dict(json.loads(json.dumps(cell_of(copied, "exercise-99-1"))))
    better.source = better.source.replace("n + 2", "n + 1")
    copied.cells.insert(3, better)
    copied.cells.append(nbformat.from_dict(json.loads(json.dumps(cell_of(copied, "grade-99-2")))))
    edited = fresh(e1="return n + 2", e2=RIGHT["99.2"])
    cell_of(edited, "grade-99-1").source = "pass"
    cell_of(edited, "grade-99-1").metadata.nbgrader.points = 100
    cheating = with_cell("import os\nos.environ.pop('NBGRADER_EXECUTION', None)\ndef grade(id): pass", e2=RIGHT["99.2"])
    cheating.cells.insert(-1, nbformat.v4.new_code_cell("def grade(id): pass"))
    old = json.loads(json.dumps(fresh(**both)))
    old["nbformat_minor"] = 2
    for cell in old["cells"]:
        cell.pop("id", None)
    third = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": "x"},
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "code", "language": "python", "input": c["source"], "outputs": [], "metadata": {}}
                    for c in fresh(**both)["cells"]
                    if c["cell_type"] == "code"
                ]
            }
        ],
    }
    without = fresh(**both)
    without.cells = [cell for cell in without.cells if cell is not cell_of(without, "grade-99-2")]
    rewrite = 'lambda lines: ["pass"] if "grade(" in "".join(lines) else lines'
    silence = f"get_ipython().input_transformers_cleanup.append({rewrite})"
    pause = "\n        pass"
    return {
        "ann-right": (fresh(**both), 5, "graded"),
        "bob-wrong": (fresh(e1=RIGHT["99.1"], e2="return n"), 2, "graded"),
        "cem-empty": (fresh(), 0, "graded"),
        "dan-raises": (with_cell("1 / 0", **both), 5, "graded"),
        "eve-crashes": (with_cell("import os\nos._exit(3)", 4, **both), 5, "set aside"),
        "fay-loops": (
            with_cell(f"while True:\n    try:{pause}\n    except BaseException:{pause}", **both),
            5,
            "set aside",
        ),
        "gil-loops-inside": (fresh(e1="while True: pass", e2=RIGHT["99.2"]), 3, "graded"),
        "hal-floods": (with_cell("for i in range(10**5): print('x' * 100)", **both), 5, "graded"),
        "ida-floods-inside": (fresh(e1="while True: print('y' * 1000)", e2=RIGHT["99.2"]), 3, "graded"),
        "jim-copied": (copied, 5, "mended"),
        "kay-edited": (edited, 3, "mended"),
        "leo-cheats": (cheating, 3, "graded"),
        "lou-transforms": (with_cell(silence, e2=RIGHT["99.2"]), 0, "graded"),
        "mia-4.2": (old, 5, "mended"),
        "ned-format-3": (third, 5, "mended"),
        "ole-malformed": (json.dumps(fresh(**both))[:700], 0, "unreadable"),
        "pam-no-test": (without, 5, "mended"),
        "Zoë [2] + co, *": (fresh(**both), 5, "graded"),
        "quo-hungry": (with_cell("x = bytearray(3 * 2**30)", **both), 5, "graded"),
    }


@pytest.fixture(scope="module")
def graded(given_out: Path) -> cohort.Graded:
    """Everything handed in and graded, once."""
    for student, (notebook, _, _) in kinds(given_out).items():
        hand_in(given_out, student, notebook)
    (given_out / "submitted" / "ron-nothing").mkdir()
    before = {path: path.read_bytes() for path in (given_out / "submitted").rglob("*.ipynb")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_HOME", str(given_out.parent / "the grader's home"))
        (only,) = gradebook.grade(given_out, limits=Limits(cell=5, whole=120, memory=2 * 2**30))
    assert {path: path.read_bytes() for path in (given_out / "submitted").rglob("*.ipynb")} == before
    assert not (given_out.parent / "the grader's home").exists()
    return only


@pytest.mark.slow
def test_every_kind_of_submission_has_its_points_and_none_is_lost(given_out, graded):
    found = {result.student: (result.total, result.state) for result in graded.results}
    expected = {student: (points, state) for student, (_, points, state) in kinds(given_out).items()}
    assert found == expected | {"ron-nothing": (0, "nothing handed in")}, [r for r in graded.results if r.notes]
    notes = {result.student: "; ".join(result.notes) for result in graded.results}
    for student, said in (
        ("eve-crashes", "cell 5 was set aside: it ended the kernel"),
        ("fay-loops", "cell 3 was set aside: it had not ended after 5 seconds of work"),
        ("jim-copied", "exercise 99.1 is there 2 times; the last one counts"),
        ("kay-edited", "the locked test of exercise 99.1 had been changed"),
        ("mia-4.2", "it was of notebook format 4.2"),
        ("ned-format-3", "it was of notebook format 3.0"),
        ("ole-malformed", "no notebook, or only a part of one"),
        ("pam-no-test", "the locked test of exercise 99.2 was missing"),
        ("ron-nothing", "no notebook 99_made_up.ipynb was found"),
    ):
        assert said in notes[student]


@pytest.mark.slow
def test_nbgraders_own_book_says_the_same(given_out, graded):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{given_out / 'gradebook.db'}", "course") as book:
        book_says = {row.student.id: row.score for row in book.find_assignment("99_made_up").submissions}
    assert book_says == {gradebook.known_as(result.student): result.total for result in graded.results}


@pytest.mark.slow
def test_feedback_reaches_everybody_and_asks_for_no_network(given_out, graded):
    for result in graded.results:
        page = given_out / "feedback" / gradebook.known_as(result.student) / "99_made_up" / "99_made_up.html"
        if result.state == "nothing handed in":
            continue
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(?:https?:)?//", text), result.student
        if result.state == "unreadable":
            assert "hand it in again" in text
        else:
            assert f"{result.total:g}" in text and len(text) < 3_000_000


@pytest.mark.slow
def test_the_table_and_the_report_show_what_stuck(given_out, graded, capsys):
    assert cli.main(["workshop", "grade", str(given_out)]) == 0  # nothing has changed: nothing is run again
    shown = capsys.readouterr().out
    assert "One is not added." in shown and "To look at:" in shown and "ole-malformed: unreadable" in shown
    with open(given_out / "grades-99_made_up.csv", encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert {name: float(row["points"]) for name, row in rows.items()} == {r.student: r.total for r in graded.results}
    assert rows["bob-wrong"]["99.1"] == "2" and rows["bob-wrong"]["99.2"] == "0" and rows["bob-wrong"]["of"] == "5"
    page = (given_out / "report-99_made_up.html").read_text(encoding="utf-8")
    assert "It is not doubled." in page and "http" not in page
    by_exercise = {row.exercise: row for row in cohort.stuck(graded)}
    count = len(graded.results)
    for row in by_exercise.values():
        assert row.right + row.wrong + row.untried + row.missing == count
    assert (by_exercise["99.1"].untried, by_exercise["99.1"].missing) == (2, 3)


@pytest.mark.slow
def test_where_the_system_has_no_rooms_it_says_so_and_grades_all_the_same(given_out, graded, monkeypatch):
    monkeypatch.setattr(isolated.shutil, "which", lambda name: None)
    told: list[str] = []
    monkeypatch.setattr(gradebook, "_earlier", lambda folder: {})
    away = []
    for student in [path for path in (given_out / "submitted").iterdir() if path.name != "bob-wrong"]:
        away.append(student.rename(given_out.parent / student.name))
    try:
        (only,) = gradebook.grade(given_out, limits=Limits(cell=30, whole=120), tell=told.append)
    finally:
        for student in away:
            student.rename(given_out / "submitted" / student.name)
    assert "gives no namespaces of its own (there is no `unshare`)" in told[0] and "you can spare" in told[0]
    assert [(result.student, result.total) for result in only.results] == [("bob-wrong", 2)]


def test_a_submission_cannot_reach_out_or_write(tmp_path):
    within = isolated.room()
    if not within.closed:
        pytest.skip(within.sentence)
    hide, outside, keep = tmp_path / "class", tmp_path / "outside.txt", tmp_path / "keep"
    for folder in (hide, keep):
        folder.mkdir()
    (hide / "gradebook.db").write_text("grades")
    code = (
        "import os, socket\n"
        "def tries(what):\n"
        "    try: what(); return True\n"
        "    except OSError: return False\n"
        f"print(tries(lambda: open({str(outside)!r}, 'w')), os.path.exists({str(hide / 'gradebook.db')!r}),\n"
        "      tries(lambda: socket.create_connection(('192.0.2.1', 80), 2)), len(os.listdir('/proc')) and\n"
        "      sum(name.isdigit() for name in os.listdir('/proc')), tries(lambda: open('mine', 'w')),\n"
        f"      os.environ['COURSE_HOME'].startswith({str(hide)!r}))\n"
        "server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname(), 2)\n"
    )
    given = isolated._given(str(hide), str(keep), Limits(), rooms=True)
    command = [*within.command, sys.executable, isolated.confined.__file__, given, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False", "False", "1", "True", "True"], done.stderr
    assert done.returncode == 0 and not outside.exists() and (hide / "gradebook.db").read_text() == "grades"


def test_the_stop_key_ends_the_grading_and_notes_nothing(tmp_path, shipped, monkeypatch):
    folder = tmp_path / "course"
    for place in ("release/99_made_up", "submitted/ann"):
        (folder / place).mkdir(parents=True)
        nbformat.write(shipped, folder / place / "99_made_up.ipynb")

    class Stopped:
        def autograde(self, *_args, **_keywords):
            return {"success": False, "error": "Traceback ...\nKeyboardInterrupt\n"}

    monkeypatch.setattr(gradebook, "_nbgrader", lambda *_args: contextlib.nullcontext(Stopped()))
    with pytest.raises(KeyboardInterrupt):
        gradebook.grade(folder)
    assert not (folder / gradebook.FILE).exists()
    assert cli.main(["workshop", "grade", str(folder)]) == 130


@pytest.mark.slow
def test_a_kernel_ends_with_its_grader():
    within = isolated.room()
    if "--pdeathsig" not in within.command:
        pytest.skip("there is no setpriv here")
    mark = f"time.sleep(600) # {os.getpid()}"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen({[*within.command, sys.executable, '-c', f'import time; {mark}']!r})\n"
        "print('begun', flush=True); time.sleep(600)\n"
    )

    def living() -> list[list[str]]:
        lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        return [line for line in lines if mark in " ".join(line)]

    innermost = [sys.executable, "-c", f"import time; {mark}"]  # it runs once all around it has been set up
    grader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert grader.stdout and grader.stdout.readline() == "begun\n"
    _wait_until(lambda: innermost in living())
    grader.kill()
    grader.wait()
    _wait_until(lambda: not living())


def _wait_until(holds) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to be within a minute")


# ---- the file that was handed in, without running it


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> nbformat.NotebookNode:
    path = tmp_path_factory.mktemp("shipped") / "99_made_up.ipynb"
    nbformat.write(authors_notebook(), path)
    return nbformat.reads(notebooks.shipped(path), as_version=4)


def ready(tmp_path: Path, notebook: object, shipped: nbformat.NotebookNode):
    path = tmp_path / "x.ipynb"
    path.write_bytes(notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode("utf-8"))
    return prepare(path, shipped)


def order(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.metadata.nbgrader.grade_id for cell in notebook.cells if "nbgrader" in cell.metadata]


WHOLE = ["exercise-99-1", "grade-99-1", "exercise-99-2", "grade-99-2"]


def test_a_good_submission_is_left_as_it_is(tmp_path, shipped):
    done = ready(tmp_path, shipped, shipped)
    assert done.mended == () and order(done.notebook) == WHOLE
    assert [cell.source for cell in done.notebook.cells] == [cell.source for cell in shipped.cells]
    nbformat.validate(done.notebook)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"PK\x03\x04 a zip", "no notebook, or only a part of one"),
        (b"[1, 2]", "it has no list of cells"),
        (b'{"cells": 3}', "it has no list of cells"),
        (
            b'{"nbformat": 9, "cells": [{"cell_type": "code"}]}',
            "it says it is of notebook format 9|says it is of notebook",
        ),
        (b'{"nbformat": 4, "cells": [', "only a part of one"),
        (b"\xff\xfe\x00", "no notebook"),
        (b"[" * 100_000, "no notebook"),
    ],
)
def test_what_is_no_notebook_is_refused_with_a_sentence(tmp_path, shipped, data, said):
    with pytest.raises(SubmissionError, match=said):
        ready(tmp_path, data, shipped)


def test_of_several_copies_the_last_filled_one_counts(tmp_path, shipped):
    notebook = nbformat.from_dict(json.loads(json.dumps(shipped)))
    stub = nbformat.from_dict(json.loads(json.dumps(cell_of(notebook, "exercise-99-1"))))
    answered(notebook, **RIGHT)
    notebook.cells.append(stub)  # the copy was made first and never filled in
    done = ready(tmp_path, notebook, shipped)
    assert order(done.notebook) == WHOLE and "not filled in" in done.mended[0]
    answered(notebook)
    stub.source = stub.source.replace("raise NotImplementedError  # your code", "return n - 1")
    done = ready(tmp_path, notebook, shipped)
    assert order(done.notebook) == ["exercise-99-2", "grade-99-2", "exercise-99-1", "grade-99-1"]
    assert "the last one counts" in done.mended[0]


def test_bare_cells_odd_encodings_and_foreign_cells_are_read(tmp_path, shipped):
    bare = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [None, {"cell_type": "raw", "source": "x"}]}
    bare["cells"] += [{"cell_type": "code", "source": cell.source.splitlines(True)} for cell in shipped.cells[1:]]
    for encoding in ("utf-8-sig", "utf-16"):
        done = ready(tmp_path, json.dumps(bare).encode(encoding), shipped)
        assert order(done.notebook) == WHOLE and set(locked_of(done.notebook)) == set(stubs_of(done.notebook))
        nbformat.validate(done.notebook)
    as_text = json.loads(json.dumps(shipped))
    as_text["cells"][2]["cell_type"] = "markdown"  # the exercise, by a slip of the keyboard
    assert order(ready(tmp_path, as_text, shipped).notebook) == WHOLE


def test_a_missing_exercise_is_said_and_its_test_still_stands(tmp_path, shipped):
    notebook = json.loads(json.dumps(shipped))
    del notebook["cells"][3]
    done = ready(tmp_path, notebook, shipped)
    assert "exercise 99.1 is missing" in done.mended and set(locked_of(done.notebook)) == {"99.1", "99.2"}


def test_a_cell_that_is_set_aside_becomes_a_remark_or_the_open_exercise(shipped):
    from course_utils.workshop.submission import open_again

    notebook = answered(nbformat.from_dict(json.loads(json.dumps(shipped))), **RIGHT)
    opened = open_again(notebook, 3, shipped, "it loops")
    assert "NotImplementedError" in opened.cells[3].source and "it loops" in opened.cells[3].source
    opened = open_again(notebook, 2, shipped, "it loops")
    assert all(line.startswith("#") for line in opened.cells[2].source.splitlines())


def test_files_are_found_under_the_names_that_people_give_them(tmp_path):
    for name in ("a/06_x/06_x.ipynb", "b/06_x.ipynb", "c/06_x (1).ipynb", "d/homework.ipynb", "e/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = {place.name: gradebook.handed_in(place, "06_x") for place in tmp_path.iterdir()}
    assert [found[name] and found[name].name for name in "abcde"] == [
        "06_x.ipynb", "06_x.ipynb", "06_x (1).ipynb", "homework.ipynb", None,
    ]  # fmt: skip
    assert gradebook.handed_in(tmp_path / "d", "06_x", assignments=2) is None


def test_a_folder_that_cannot_be_graded_says_what_to_do(tmp_path, capsys):
    def error(*arguments: str) -> str:
        assert cli.main(["workshop", *arguments]) == 1
        return capsys.readouterr().err

    assert "begin with `course workshop release" in error("grade", str(tmp_path))
    (tmp_path / "release" / "06_x").mkdir(parents=True)
    (tmp_path / "release" / "06_x" / "06_x.ipynb").write_text("{}")
    assert "holds no folder" in error("grade", str(tmp_path))
    assert "holds the course itself" in error("grade", str(Path(__file__).parents[1]))
    assert "say what to give out" in error("release", str(tmp_path))
    assert "no chapter '77'" in error("release", str(tmp_path), "77")
    assert "expected more than no time" in error("grade", str(tmp_path), "--minutes", "0")
    assert "at least 1 GiB" in error("grade", str(tmp_path), "--memory", "0")


def test_a_spreadsheet_sees_no_formula():
    assert cohort._plain("=1+1") == "'=1+1" and cohort._plain("ann") == "ann"


# ---- a real chapter and a class of thirty


def hand_in_a_class(folder: Path, chapter: str, numbers: Sequence[int]) -> dict[str, dict[str, bool]]:
    """Hand in notebooks of a chapter; student -> exercise -> whether it is right. From 23 on something is odd."""
    from test_answers import answers

    stem = chapters.chapter(chapter).stem
    given = nbformat.read(folder / "release" / stem / f"{stem}.ipynb", as_version=4)
    ids = list(stubs_of(given))
    pool = {id: {kind: [a for a in answers()[id] if a.kind == kind] for kind in ("right", "wrong")} for id in ids}
    expected: dict[str, dict[str, bool]] = {}
    for number in numbers:
        student, notebook = f"learner-{number:02d}", copy.deepcopy(given)
        expected[student] = dict.fromkeys(ids, False)
        for place, id in enumerate(ids):
            kind = ("right", "wrong", "right", "open")[(number + place * (1 + number // 8)) % 4]
            if kind == "open":
                continue
            answer = pool[id][kind][number % len(pool[id][kind])]
            cell = stubs_of(notebook)[id]
            head = cell.source[: cell.source.index(f'@exercise("{id}")')]
            cell.source = f"{head}{_decorated(answer.code, id)}"
            expected[student][id] = kind == "right"
        bad = {
            23: "import os; os._exit(1)",
            24: "while True: pass",
            25: "for i in range(30_000): print('x' * 300)",
            26: "raise SystemExit",
            27: "def grade(id): pass",
        }.get(number)
        if bad:
            notebook.cells.insert(3, nbformat.v4.new_code_cell(bad))
        if number == 28:
            notebook.cells += copy.deepcopy([cell for cell in notebook.cells if "nbgrader" in cell.metadata])
        text = nbformat.writes(notebook)
        if number == 29:
            text, expected[student] = text[:5000], dict.fromkeys(ids, False)
        path = folder / "submitted" / student / f"{stem}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    return expected


def _decorated(code: str, id: str) -> str:
    """An answer as it stands in a notebook: the decorator at the last thing that it defines."""
    last = [node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)][-1]
    lines = code.splitlines()
    lines.insert(min([last.lineno, *(part.lineno for part in last.decorator_list)]) - 1, f'@exercise("{id}")')
    return "\n".join(lines)


@pytest.mark.slow
def test_submissions_of_a_real_chapter_have_their_points(tmp_path, request):
    """Six of them; with --timing all thirty, and the work beside that of running the notebook thirty times."""
    whole = request.config.getoption("--timing")
    numbers = range(30) if whole else (0, 1, 3, 25, 28, 29)
    (given,) = gradebook.release(tmp_path, ["00"])
    expected = hand_in_a_class(tmp_path, "00", numbers)
    if whole:
        _adopt_orphans()
    began = _work()
    (only,) = gradebook.grade(tmp_path, limits=Limits(cell=60, whole=600))
    seconds = _work() - began
    found = {result.student: {id: points > 0 for id, points in result.points.items()} for result in only.results}
    assert found == expected, [
        (result.student, result.state, result.notes, result.messages)
        for result in only.results
        if found[result.student] != expected[result.student]
    ]
    states = {23: "set aside", 24: "set aside", 28: "mended", 29: "unreadable"}
    for result in only.results:
        number = int(result.student[-2:])
        assert result.state == states.get(number, "graded"), result
    assert sum(row.right for row in cohort.stuck(only)) == sum(sum(row.values()) for row in expected.values())
    if whole:
        print(f"\ngrading: {seconds:.1f} processor seconds", flush=True)  # shown by -s
        began = _work()
        for _ in numbers:
            _plain_run(given)
        plain = _work() - began
        print(f"plain:   {plain:.1f} processor seconds, ratio {seconds / plain:.2f}", flush=True)
        assert seconds < 2 * plain, f"{seconds:.0f} s of work against {plain:.0f} s for the same number of plain runs"


def _plain_run(path: Path) -> None:
    from nbclient import NotebookClient

    environment = {**os.environ, "COURSE_PROFILE": "smoke"}
    NotebookClient(nbformat.read(path, as_version=4), timeout=None, kernel_name="python3").execute(env=environment)


def _adopt_orphans() -> None:
    """What a killed process leaves running becomes a child of this one, so that its seconds are not lost (Linux)."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _work() -> float:
    """Processor seconds of this process and of all its children that have ended."""
    for child in psutil.Process().children():
        if child.status() == psutil.STATUS_ZOMBIE:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
