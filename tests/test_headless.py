"""The whole course without a browser: resumable, and ending in one page."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from course_utils import chapters, cli
from course_utils.chapters import ChapterError
from course_utils.workshop import run_all
from course_utils.workshop.report import write_report
from course_utils.workshop.run_all import run_course

pytestmark = pytest.mark.slow

CLAIM = 'from course_utils.classroom import claim\nclaim("{n}.half", "half of one", {v}, at_least=0.4)'
PICTURE = (
    "import matplotlib\nmatplotlib.use('module://matplotlib_inline.backend_inline')\n"
    "import matplotlib.pyplot as plt\nfrom course_utils.classroom.display.plots import use_style\nuse_style()\n"
    "plt.plot([1, 2])\nplt.show()"
)


def notebook(path: Path, *cells: str) -> None:
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_markdown_cell("## A heading & more")]
    book.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(book, path)


@pytest.fixture
def course(tmp_path, monkeypatch) -> Path:
    """A course of two small chapters, and an empty home."""
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COURSE_PROFILE", "laptop")
    monkeypatch.setattr(chapters, "root", lambda: tmp_path)
    folder = tmp_path / "notebooks"
    notebook(folder / "00_start_here.ipynb", CLAIM.format(n="00", v=0.5), PICTURE)
    notebook(folder / "03_pretraining.ipynb", "print('ran')", CLAIM.format(n="03", v=0.6))
    return folder


def test_chapters_run_once_and_make_a_page(course, capsys):
    assert cli.main(["run"]) == 0
    said = capsys.readouterr().out
    assert said.count("went through") == 2
    page = (run_all.folder() / "report.html").read_text(encoding="utf-8")
    assert "2 of 2 claims hold" in page and "00.half" in page and "03.half" in page
    assert page.count("data:image/png;base64,") == 1 and "A heading &amp; more" in page
    assert "http" not in page, "the page loads something from elsewhere"

    before = {path.name: path.stat().st_mtime_ns for path in run_all.folder().glob("*.ipynb")}
    assert [ran.kept for ran in run_course(progress=False)] == [True, True]
    assert {path.name: path.stat().st_mtime_ns for path in run_all.folder().glob("*.ipynb")} == before
    notebook(course / "03_pretraining.ipynb", "print('changed')")
    assert [ran.kept for ran in run_course(progress=False)] == [True, False]


def test_a_chapter_that_fails_is_named_and_the_next_one_runs(course, capsys):
    notebook(course / "00_start_here.ipynb", "1 / 0", "print('never')")
    notebook(course / "03_pretraining.ipynb", CLAIM.format(n="03", v=0.1))
    assert cli.main(["run"]) == 1
    said = capsys.readouterr().out
    assert "ZeroDivisionError" in said and "Claims that do not hold: 03.half" in said
    page = (run_all.folder() / "report.html").read_text(encoding="utf-8")
    assert "Stopped: ZeroDivisionError" in page and "0 of 1 claims hold" in page
    assert [ran.kept for ran in run_course(["00"], progress=False)] == [False], "a failed chapter is run again"


def test_ctrl_c_keeps_what_went_through(course, monkeypatch, capsys):
    run = run_all._run

    def stopped(entry, source, tick):
        if entry.number == "03":
            raise KeyboardInterrupt
        return run(entry, source, tick)

    monkeypatch.setattr(run_all, "_run", stopped)
    assert cli.main(["run"]) == 130
    assert "the same command goes on" in capsys.readouterr().out
    monkeypatch.setattr(run_all, "_run", run)
    assert [ran.kept for ran in run_course(progress=False)] == [True, False]


def test_a_torn_copy_is_run_again(course):
    run_course(["03"], progress=False)
    copy = run_all.folder() / "03_pretraining.ipynb"
    copy.write_text(copy.read_text(encoding="utf-8")[:200], encoding="utf-8")
    assert [ran.kept for ran in run_course(["03"], progress=False)] == [False]
    assert json.loads(copy.read_text(encoding="utf-8"))["metadata"]["course"]["whole"]


def test_a_chapter_that_is_not_there(course):
    with pytest.raises(ChapterError, match="chapter 21 is not in this edition; it has 00, 03"):
        run_course(["21"], progress=False)


def test_the_page_of_nothing(course):
    assert "0 of 0 claims hold" in write_report([]).read_text(encoding="utf-8")


def test_a_chapter_runs_again_once_a_model_is_another(course, monkeypatch):
    """What was measured on one model must not stand on the page of another."""
    run_course(progress=False)
    digests = iter(["one model", "another"])
    monkeypatch.setattr(run_all.store, "fingerprint", lambda: next(digests))
    assert not run_all._kept(chapters.chapter("00"), course / "00_start_here.ipynb")


def test_the_fingerprint_of_the_store_follows_its_cards(tmp_path, monkeypatch):
    from course_utils.pretrained import store

    shipped = store.fingerprint()
    assert store.fingerprint() == shipped
    base = store.load("base")
    own = store.save("base", base.model, base.tokenizer, base.card | {"figures": {"facts": 0.5}})
    assert store.fingerprint() != shipped
    (own / "card.json").unlink()  # half a model is none
    assert store.fingerprint() == shipped
