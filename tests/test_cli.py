"""The console command ``course``."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils import chapters, cli, settings
from course_utils.classroom.records import progress
from course_utils.classroom.records.claims import claim
from course_utils.workshop import doctor, notebooks
from course_utils.workshop.reset import reset

ROOT = Path(__file__).resolve().parent.parent


def test_the_installed_command_tells_its_version():
    run = subprocess.run(
        [sys.executable, "-m", "course_utils.cli", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("course 0.")


@pytest.mark.slow
def test_doctor_works_offline_and_finds_this_machine_fit(capsys, monkeypatch):
    def refuse(*_args, **_keywords):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for name in ("Python", "packages", "cores", "memory", "your folder", "models", "PyTorch", "GPU"):
        assert f" {name} " in shown
    assert "This machine is fit for the course." in shown and "GFLOP/s" in shown


def test_doctor_tells_missing_and_other_versions(tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# comment\npytest==0.1\nPlatform_Dirs==1.0 ; python_version > '3'\n", encoding="utf-8")
    tested = doctor.tested_versions(constraints)
    assert tested == {"pytest": "0.1", "platform-dirs": "1.0"}
    missing, different = doctor.compare_versions(["pytest", "no-such-package-of-ours", "pip"], tested)
    assert missing == ["no-such-package-of-ours"]
    assert len(different) == 1 and different[0].endswith("(tested: 0.1)")


def test_doctor_fails_where_the_course_cannot_write(capsys, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("COURSE_HOME", str(blocked / "home"))
    monkeypatch.setattr(doctor, "_speed", lambda: doctor.Finding("good", "PyTorch", "-"))
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "✗ your folder" in shown and "Set COURSE_HOME" in shown and "cannot run yet" in shown


def test_progress_and_claims(capsys):
    progress.record("exercise", id="06.1", status="right")
    assert cli.main(["progress"]) == 0
    assert "21  Capstone" in capsys.readouterr().out
    claim("06.a", "text", 1.5, at_least=1)
    claim("03.b", "text", 2.5, at_least=1)
    capsys.readouterr()
    assert cli.main(["claims"]) == 0
    assert capsys.readouterr().out.count("✓") == 2
    assert cli.main(["claims", "6"]) == 0
    assert capsys.readouterr().out == "✓ 06.a  1.5 (at least 1)  text\n"


def test_bare_it_prints_its_help(capsys):
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    for command in ("doctor", "progress", "claims", "reset", "run", "new"):
        assert f"    {command} " in shown


@pytest.mark.parametrize(
    ("arguments", "words"), [(["claims", "77"], "no chapter '77'"), (["reset", "x"], "no chapter 'x'")]
)
def test_mistakes_are_told_without_a_traceback(arguments, words, capsys):
    assert cli.main(arguments) == 1
    shown = capsys.readouterr()
    assert words in shown.err and "Traceback" not in shown.err


def test_an_unknown_profile_is_told(capsys, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "huge")
    assert cli.main(["claims"]) == 1
    assert "the course knows smoke, laptop, gpu" in capsys.readouterr().err


# ---- reset


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course folder with one chapter of this edition."""
    source = sorted((ROOT / "solutions").glob("[0-9][0-9]_*.ipynb"))[0]
    (tmp_path / "solutions").mkdir()
    shutil.copy(source, tmp_path / "solutions")
    assert notebooks.main(["--root", str(tmp_path)]) == 0
    return tmp_path


@pytest.mark.slow
def test_reset_keeps_every_copy_of_the_learners(course):
    target = next((course / "notebooks").glob("*.ipynb"))
    shipped = target.read_bytes()
    for number in (1, 2):
        notebook = json.loads(shipped)
        notebook["cells"][0]["source"] = [f"mine {number}"]
        target.write_text(json.dumps(notebook), encoding="utf-8")
        done = reset(target.name[:2], course)
        assert target.read_bytes() == shipped
        assert done.kept == course / "notebooks" / "kept" / f"{target.stem}-{number}.ipynb"
        assert f"mine {number}" in done.kept.read_text(encoding="utf-8")
    assert reset(target.name[:2], course).kept is None
    target.unlink()
    assert reset(target.name[:2], course).kept is None and target.read_bytes() == shipped
    target.write_text("not a notebook", encoding="utf-8")
    assert reset(target.name[:2], course).kept.read_text(encoding="utf-8") == "not a notebook"
    assert notebooks.main(["--root", str(course), "--check"]) == 0, "kept copies are no strays"


def test_reset_touches_nothing_when_it_cannot(course):
    target = next((course / "notebooks").glob("*.ipynb"))
    target.write_text("mine", encoding="utf-8")
    next((course / "solutions").glob("*.ipynb")).write_text("{}", encoding="utf-8")
    with pytest.raises(notebooks.GenerateError, match=target.stem):
        reset(target.name[:2], course)
    assert target.read_text(encoding="utf-8") == "mine" and not (course / "notebooks" / "kept").exists()
    with pytest.raises(chapters.ChapterError, match="is not in this edition"):
        reset("21", course)


def test_the_reset_command(course, capsys, monkeypatch):
    monkeypatch.setattr(chapters, "root", lambda: course)
    target = next((course / "notebooks").glob("*.ipynb"))
    target.write_text("mine", encoding="utf-8")
    assert cli.main(["reset", target.name[:2]]) == 0
    shown = capsys.readouterr().out
    assert "Your copy is kept" in shown and "close it and open it again" in shown
    assert settings.home().is_dir()
