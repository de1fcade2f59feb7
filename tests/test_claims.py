"""Claims, the learner's records, and the answers that quote them."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch

import course_utils
from course_utils import chapters, settings
from course_utils.classroom import course_map
from course_utils.classroom.course_map import survey
from course_utils.classroom.records import claims, jsonl, progress
from course_utils.classroom.records.claims import ClaimError, claim, claims_table, recorded
from course_utils.world import World, WorldConfig

ROOT = Path(__file__).resolve().parent.parent


def lines() -> list[dict]:
    return [json.loads(line) for line in (settings.home() / claims.FILE).read_text(encoding="utf-8").splitlines()]


def test_a_claim_is_shown_and_recorded(capsys):
    assert claim("06.helps", "masking helps", 3.14159, at_least=1.2) is None
    assert capsys.readouterr().out == "✓ 06.helps\n  masking helps\n  measured  3.14  (at least 1.2)\n"
    (record,) = lines()
    assert record.pop("seconds") >= 0
    assert record == {
        "id": "06.helps",
        "text": "masking helps",
        "value": 3.14159,
        "bound": {"at_least": 1.2},
        "holds": True,
        "profile": "laptop",
        "seed": 0,
    }


@pytest.mark.parametrize("profile", ["laptop", "gpu"])
def test_a_claim_that_does_not_hold_is_recorded_and_raises(profile, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", profile)
    with pytest.raises(ClaimError, match=r"06.helps does not hold: masking helps. Measured 1.1  \(at least 1.2\)"):
        claim("06.helps", "masking helps", 1.1, at_least=1.2)
    assert lines()[0]["holds"] is False and lines()[0]["profile"] == profile


def test_a_claim_about_your_code_says_where_the_reference_stands_in(capsys, monkeypatch):
    from course_utils.classroom.exercises.exercise import exercise

    monkeypatch.setattr(claims, "_OPEN", set())

    def untouched(text: str) -> str:
        raise NotImplementedError

    exercise("00.1")(untouched)
    capsys.readouterr()
    claim("00.same", "your words are the package's", 1.0, at_least=1)
    claim("00.other", "the course's words", 1.0, at_least=1)
    claim("06.same", "your loss", 1.0, at_least=1)
    assert capsys.readouterr().out.count("Open: 00.1.") == 1
    claims.stands_in("00.1", False)
    claim("00.same", "your words are the package's", 1.0, at_least=1)
    assert "Open" not in capsys.readouterr().out


def test_with_a_seed_of_ones_own_a_miss_is_explained_and_the_notebook_goes_on(monkeypatch, capsys):
    monkeypatch.setenv("COURSE_SEED", "4")
    claim("06.helps", "masking helps", 1.1, at_least=1.2)
    assert lines()[0]["holds"] is False and lines()[0]["seed"] == 4
    shown = " ".join(capsys.readouterr().out.split())
    assert "It does not hold with your seed 4" in shown and "1.1 (at least 1.2)" in shown


def test_on_smoke_it_is_recorded_only(monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    claim("06.helps", "masking helps", 1.1, at_least=1.2)
    assert lines()[0]["holds"] is False
    assert "recorded only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "bound", "holds"),
    [
        (1.2, {"at_least": 1.2}, True),
        (1.2, {"at_most": 1.2}, True),
        (1.3, {"at_most": 1.2}, False),
        (0, {"between": (0, 1)}, True),
        (1, {"between": (0, 1)}, True),
        (1.0001, {"between": (0, 1)}, False),
        (float("nan"), {"at_least": 0}, False),
        (float("nan"), {"at_most": 0}, False),
        (float("nan"), {"between": (0, 1)}, False),
        (float("inf"), {"at_least": 0}, True),
        (float("-inf"), {"at_least": 0}, False),
        (torch.tensor(2.0, requires_grad=True), {"at_least": 1}, True),
        (torch.tensor([0.5]), {"at_least": 1}, False),
        (numpy.float32(2), {"at_least": 1}, True),
        (numpy.bool_(True), {}, True),
        (torch.tensor(False), {}, False),
        (True, {}, True),
        (False, {}, False),
    ],
)
def test_what_holds(value, bound, holds, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    claim("06.x", "text", value, **bound)
    (record,) = lines()
    assert record["holds"] is holds
    assert "NaN" not in (settings.home() / claims.FILE).read_text(), "not JSON"


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (("helps", "t", 1), {"at_least": 0}, "claim id 'helps'"),
        (("6.helps", "t", 1), {"at_least": 0}, "claim id"),
        (("06.Helps", "t", 1), {"at_least": 0}, "claim id"),
        (("06.helps\n", "t", 1), {"at_least": 0}, "claim id"),
        (("06.helps", "t", 1), {}, "given no bound"),
        (("06.helps", "t", 1), {"at_least": 0, "at_most": 2}, "given at_least and at_most"),
        (("06.helps", "t", 1), {"between": (2, 1)}, "holds no number"),
        (("06.helps", "t", 1), {"at_least": float("nan")}, "is no limit"),
        (("06.helps", "t", 1), {"at_least": True}, "is no limit"),
        (("06.helps", "t", True), {"at_least": 0.5}, "takes no bound"),
        (("06.helps", "t", "1"), {"at_least": 0.5}, "the value is a str"),
        (("06.helps", "t", None), {"at_least": 0.5}, "the value is a NoneType"),
        (("06.helps", "t", torch.ones(2)), {"at_least": 0.5}, r"has shape \(2,\)"),
        (("06.helps", "t", numpy.ones(2)), {"at_least": 0.5}, r"has shape \(2,\)"),
    ],
)
def test_badly_written_claims(arguments, keywords, message):
    with pytest.raises((ValueError, TypeError), match=message):
        claim(*arguments, **keywords)
    assert not (settings.home() / claims.FILE).exists()


@pytest.mark.parametrize(
    ("value", "bound", "row"),
    [
        (4.12695, {"between": (4.126, 4.128)}, "4.127  (between 4.126 and 4.128)"),
        (1.0, {"between": (0.999, 1.001)}, "1  (between 0.999 and 1.001)"),
        (1.19996, {"at_least": 1.2}, "1.19996  (at least 1.2)"),
        (12345.6, {"at_most": 12346.2}, "12,345.6  (at most 12,346.2)"),
        (0.5, {"at_least": 0.5}, "0.5  (at least 0.5)"),
        (float("nan"), {"at_most": 1}, "nan  (at most 1)"),
    ],
)
def test_different_numbers_are_shown_with_different_digits(value, bound, row, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    claim("06.x", "text", value, **bound)
    assert f"measured  {row}\n" in capsys.readouterr().out
    claims_table("06")
    shown = capsys.readouterr().out
    assert row.replace("  ", " ") in shown


def test_a_full_disk_does_not_hide_the_claim(monkeypatch, capsys):
    def full(path, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jsonl, "append", full)
    claim("06.x", "text", 1, at_least=0)
    assert "✓ 06.x" in (shown := capsys.readouterr().out) and "No space left" in shown


def test_the_latest_figure_of_each_claim_and_profile(monkeypatch, capsys):
    claim("06.a", "first", 1, at_least=0)
    claim("06.b", "second", 0.25, between=(0, 1))
    claim("06.a", "first", 2, at_least=0)
    claim("03.c", "third", 12345.6, at_least=0)
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    claim("06.a", "first", 9, at_least=0)
    monkeypatch.delenv("COURSE_PROFILE")
    assert {id: record["value"] for id, record in recorded("06").items()} == {"06.b": 0.25, "06.a": 2}
    assert recorded()["03.c"]["value"] == 12345.6 and recorded(profile="smoke")["06.a"]["value"] == 9
    capsys.readouterr()
    claims_table("06")
    shown = capsys.readouterr().out
    assert shown == "✓ 06.b  0.25 (between 0 and 1)  second\n✓ 06.a  2 (at least 0)  first\n"
    claims_table(3)
    assert "12,346" in capsys.readouterr().out
    claims_table("12")
    assert "No claim has been measured on the laptop profile yet" in capsys.readouterr().out


def test_the_table_escapes_and_marks():
    rows = [{"id": "06.a", "text": "a < b", "value": "nan", "bound": {"at_least": 1.0}, "holds": False}]
    page = claims.ClaimsTable(rows, "laptop").html()
    assert "a &lt; b" in page and "✗" in page and "nan" in page


# ---- the files


def test_torn_and_foreign_lines_are_skipped_and_never_swallow_the_next():
    path = settings.home() / claims.FILE
    claim("06.a", "first", 1, at_least=0)
    whole = path.read_bytes()
    for torn in (b'{"id": "06.b", "val', b"\xff\xfe\x00", b"[1, 2]\n", b"\n\n", b'{"id": 3, "profile": "laptop"}\n'):
        path.write_bytes(whole + torn)
        claim("06.c", "third", 3, at_least=0)
        assert {id: record["value"] for id, record in recorded().items()} == {"06.a": 1, "06.c": 3}


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_file_cut_anywhere_keeps_its_whole_lines(cut):
    for number in range(3):
        claim(f"06.a{number}", "text", number, at_least=0)
    path = settings.home() / claims.FILE
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(recorded()) == (["06.a0", "06.a1", "06.a2"] if cut == 1 else ["06.a0", "06.a1"])


def test_processes_that_write_at_once_lose_nothing():
    code = (
        "import sys; from course_utils.classroom.records.jsonl import append; from pathlib import Path\n"
        "for n in range(40): append(Path(sys.argv[1]), {'who': sys.argv[2], 'n': n, 'text': 'x' * 300})"
    )
    path = settings.home() / "journal.jsonl"
    workers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(i)], cwd=ROOT) for i in range(3)]
    assert all(worker.wait(60) == 0 for worker in workers)
    records = jsonl.read(path)
    assert len(records) == 120 and {(r["who"], r["n"]) for r in records} == {
        (str(w), n) for w in range(3) for n in range(40)
    }


# ---- progress


def test_progress_is_what_was_done():
    progress.record("exercise", id="06.1", status="wrong")
    progress.record("hint", id="06.1", step=2)
    progress.record("hint", id="06.1", step=1)
    progress.record("exercise", id="06.1", status="right")
    progress.record("exercise", id="06.1", status="wrong")
    progress.record("quiz", id="06.q1", right=False)
    progress.record("quiz", id="06.q1", right=True)
    with (settings.home() / progress.FILE).open("ab") as file:
        file.write(b'{"kind": "exercise", "id": ["06.1"]}\n{"kind": "hint", "id": "06.2", "step": "many"}\n{"kind"')
    standings = progress.standings()
    assert standings["06.1"] == progress.Standing(solved=True, attempts=3, hints=2)
    assert not standings["06.2"].solved
    assert progress.quiz_answers() == {"06.q1": True}


def test_the_map_shows_every_chapter_and_what_is_solved(capsys):
    from course_utils.classroom.exercises import exercise

    chapter = next(iter(exercise.known()))[:2]
    exercises = list(exercise.known(chapter))
    for id in exercises:
        progress.record("exercise", id=id, status="right")
    course_map()
    shown = capsys.readouterr().out
    for entry in chapters.CHAPTERS:
        assert f"{entry.number}  {entry.title}" in shown
    assert len(chapters.CHAPTERS) == 23 and chapters.CHAPTERS[-1].stem == "22_interview_room"
    assert chapter in chapters.in_this_edition() and f"{len(exercises)} of {len(exercises)} exercises" in shown
    absent = len(chapters.in_this_edition()) < len(chapters.CHAPTERS)
    assert ("to come" in shown) == absent
    page = survey().html()
    assert page.count("border-radius: 6px") == len(chapters.CHAPTERS) and ("opacity: 0.55" in page) == absent
    for number in chapters.in_this_edition():
        assert f'href="{chapters.chapter(number).stem}.ipynb"' in page


def test_chapters_are_found_by_any_form_of_their_number():
    for form in ("06", "6", 6, "06_instruction_tuning"):
        assert chapters.chapter(form).title == "Instruction tuning"
    for wrong in ("23", "x", -1, ""):
        with pytest.raises(chapters.ChapterError, match="the course has 00 to 22"):
            chapters.chapter(wrong)


# ---- start


def test_start_opens_a_chapter(capsys, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    run = course_utils.start("06")
    shown = capsys.readouterr().out
    assert "06  Instruction tuning" in shown and "laptop  ·  seed 0" in shown and "75 s on 2 cores" in shown
    assert run.chapter == "06" and run.device == "cpu" and run.seed == 0 and run.cores >= 1
    assert run.pick(smoke=1, laptop=2, gpu=3) == 2
    with pytest.raises(TypeError):
        run.pick(smoke=1, laptop=2)
    drawn = (torch.rand(1).item(), random.random(), numpy.random.rand())  # noqa: NPY002
    course_utils.start("06")
    assert drawn == (torch.rand(1).item(), random.random(), numpy.random.rand())  # noqa: NPY002
    assert os.environ["HF_HUB_OFFLINE"] == "1" and os.environ["TOKENIZERS_PARALLELISM"] == "false"
    monkeypatch.setenv("COURSE_ONLINE", "1")
    course_utils.start("06")
    assert "HF_HUB_OFFLINE" not in os.environ and "allowed" in capsys.readouterr().out


def test_libraries_that_chatter_at_import_are_silenced_once():
    logger = logging.getLogger("bitsandbytes")
    logger.setLevel(logging.NOTSET)
    course_utils.start("06")
    assert not logging.getLogger("bitsandbytes.cextension").isEnabledFor(logging.WARNING)
    assert logging.getLogger("bitsandbytes.cextension").isEnabledFor(logging.ERROR)


def test_the_world_of_a_model_is_its_cards_or_else_the_profiles():
    run = course_utils.start("06")
    for card, people in (({"recipe": {"people": 60}}, 60), ({"recipe": {}}, 300), ({}, 300)):
        world = run.world(SimpleNamespace(card=card))
        assert len(world.corpus_people) + len(world.strangers) == people
        assert world.corpus_people == World(WorldConfig(people=people), seed=0).corpus_people


def test_start_refuses_what_it_does_not_know(monkeypatch):
    with pytest.raises(chapters.ChapterError, match="no chapter '99'"):
        course_utils.start("99")
    monkeypatch.setenv("COURSE_PROFILE", "desktop")
    with pytest.raises(settings.SettingsError, match="'desktop'; the course knows smoke, laptop, gpu"):
        course_utils.start("06")
    monkeypatch.setenv("COURSE_PROFILE", "laptop")
    monkeypatch.setenv("COURSE_SEED", "x")
    with pytest.raises(settings.SettingsError, match="must be an integer"):
        course_utils.start("06")


# ---- one folder, one seed, one model


def test_figures_of_one_seed_or_model_are_not_shown_as_those_of_another(monkeypatch):
    for seed, value in (("0", 0.9), ("1", 0.2)):
        monkeypatch.setenv("COURSE_SEED", seed)
        claim("03.recall", "text", value, at_least=0.1)
    monkeypatch.setenv("COURSE_BASE_MODEL", "owner/other")
    claim("03.recall", "text", 0.5, at_least=0.1)
    assert recorded()["03.recall"]["value"] == 0.5
    monkeypatch.setenv("COURSE_SEED", "0")
    assert recorded() == {}, "the other model has not been measured with this seed"
    claim("06.low", "about the Isles", 0.1, at_least=0.9)  # recorded, and no error
    assert recorded("06")["06.low"]["about"] == "the Isles"
    with pytest.raises(ClaimError):
        claim("06.same_ids", "two computations agree", 0.1, at_most=0.0)
    monkeypatch.delenv("COURSE_BASE_MODEL")
    assert recorded()["03.recall"]["value"] == 0.9 and recorded(seed=1)["03.recall"]["value"] == 0.2


def test_a_relative_folder_is_the_same_one_for_every_working_directory(monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(chapters, "root", lambda: tmp_path)
    (tmp_path / "my-model").mkdir()
    monkeypatch.setenv("COURSE_HOME", "work")
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        assert settings.home() == tmp_path / "work"
        assert settings.anchored("./my-model") == tmp_path / "my-model"
    assert settings.anchored(tmp_path / "x") == tmp_path / "x"


def test_grading_leaves_the_graders_folder_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "grader"))
    claim("06.a", "text", 1, at_least=0)
    before = {path: path.read_bytes() for path in (tmp_path / "grader").rglob("*") if path.is_file()}
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    settings._folder_for_grading.cache_clear()
    assert recorded() == {} and progress.standings() == {}
    claim("06.a", "text", 2, at_least=0)
    progress.record("exercise", id="06.1", status="right")
    assert recorded()["06.a"]["value"] == 2, "within the submission everything works as ever"
    monkeypatch.delenv("NBGRADER_EXECUTION")
    assert {path: path.read_bytes() for path in (tmp_path / "grader").rglob("*") if path.is_file()} == before
