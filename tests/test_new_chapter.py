"""The skeletons of a chapter work from the first minute and overwrite nothing."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest

from course_utils import chapters, cli
from course_utils.chapters import ChapterError
from course_utils.classroom.exercises import exercise, registry
from course_utils.interview import bank
from course_utils.workshop import new_chapter, notebooks


@pytest.fixture
def skeletons(tmp_path):
    """A course's folder with the skeletons of chapter 21."""
    new_chapter.write("21", tmp_path)
    return tmp_path


def module(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_the_exercise_works_and_its_bugs_are_named(skeletons):
    try:
        module(skeletons / "course_utils" / "classroom" / "checks" / "ch21.py", "checks_ch21")
        planted = module(skeletons / "tests" / "planted" / "ch21.py", "planted_ch21")
        spec = registry._CHECKS["21.1"]
        assert exercise.attempt(spec, spec.reference).right
        for bug, sentence in {bug.function: bug.sentence for bug in spec.bugs}.items() | planted.BUGS["21.1"].items():
            assert exercise.attempt(spec, bug).mistake.message.startswith(sentence), bug.__name__
        assert all(exercise.attempt(spec, answer).right for answer in planted.RIGHT["21.1"])
    finally:
        registry._CHECKS.pop("21.1", None)
        for name in ("checks_ch21", "planted_ch21"):
            sys.modules.pop(name, None)


def test_the_notebook_can_be_shipped_and_the_bank_read(skeletons):
    assert notebooks.main(["--root", str(skeletons)]) == 0
    shipped = json.loads(next((skeletons / "notebooks").glob("21_*.ipynb")).read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in shipped["cells"]]
    assert any("raise NotImplementedError  # your code" in source for source in sources)
    assert sources[0].startswith("# 21  ") and 'grade("21.1")' in sources
    (question,), (item,) = bank.parse((skeletons / "course_utils/interview/bank/21.yaml").read_text("utf-8"), "21")
    assert question.id == "21.first" and item.choices[item.answer] == "3"


def test_nothing_is_overwritten(skeletons):
    planted = skeletons / "tests" / "planted" / "ch21.py"
    planted.write_text("mine", encoding="utf-8")
    before = {path: path.read_bytes() for path in skeletons.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match=r"chapter 21 has been begun: .*ch21.py.*Nothing was written"):
        new_chapter.write("21", skeletons)
    assert {path: path.read_bytes() for path in skeletons.rglob("*") if path.is_file()} == before


def test_the_command_says_what_is_next(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(chapters, "root", lambda: tmp_path)
    assert cli.main(["new", "21"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("wrote") == 5 and "docs/add-a-chapter.md" in shown
    assert cli.main(["new", "21"]) == 1
    assert "Nothing was written" in capsys.readouterr().err
    with pytest.raises(ChapterError, match="no chapter '77'"):
        new_chapter.write("77", tmp_path)
