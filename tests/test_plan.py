"""A workshop's schedule, and the file of real timings."""

from __future__ import annotations

import json

import pytest

from course_utils import chapters, cli
from course_utils.classroom.exercises import registry
from course_utils.workshop import anatomy, plan, run_all
from course_utils.workshop.plan import PlanError, make_plan

LENGTHS = [{"hours": 1}, {"hours": 1.5}, {"hours": 3}, {"hours": "4,5"}, {"days": 1}, {"days": 2}, {"days": 5}]


@pytest.mark.parametrize("asked", LENGTHS, ids=str)
def test_a_plan_fits_its_time_and_nobody_sits_for_long(asked):
    made = make_plan(**asked)
    days, minutes = plan.length(asked.get("hours"), asked.get("days"))
    assert made.items[0].key == plan.SETUP and made.items[-1].day <= days
    for day in range(1, made.items[-1].day + 1):
        items = [item for item in made.items if item.day == day]
        assert items[0].start == 9 * 60 and items[-1].key == plan.CLOSING
        for before, after in zip(items, items[1:], strict=False):
            assert after.start == before.start + before.minutes and before.minutes > 0
        assert items[-1].start + items[-1].minutes <= 9 * 60 + minutes
        assert sum(item.key == plan.LUNCH for item in items) == (minutes > 6 * 60)
        sitting = 0
        for item in items[:-1]:
            sitting = 0 if item.rests else sitting + item.minutes
            assert sitting <= plan.SITTING + plan.LEAST


@pytest.mark.parametrize("asked", [{"hours": 3}, {"days": 2}], ids=str)
def test_every_minute_of_a_chapter_and_every_exercise_is_somewhere(asked):
    made = make_plan(**asked)
    totals = made.totals()
    for entry in made.chosen:
        assert totals[entry.number] == pytest.approx(entry.reading + plan.COMPUTE, abs=plan.LEAST)
        done = [key for key in totals if key.startswith(f"{entry.number}.")]
        assert done and sorted([*done, *made.skipped[entry.number]]) == sorted(registry.known(entry.number))
        assert made.know_first[entry.number]
    numbers = [item.key[:2] for item in made.items if item.key[:2].isdigit()]
    assert numbers == sorted(numbers)
    assert set(made.chosen) | set(made.left_out) == {
        entry for entry in chapters.CHAPTERS if entry.number in chapters.in_this_edition()
    }


def test_named_chapters_are_taught_whole_and_alone():
    made = make_plan(hours=3, numbers=["9", "06"])
    assert [entry.number for entry in made.chosen] == ["06", "09"]
    with pytest.raises(chapters.ChapterError, match="no chapter"):
        make_plan(hours=3, numbers=["77"])


def test_days_that_are_not_needed_are_free():
    made = make_plan(days=2, numbers=["06"])
    assert made.items[-1].day == 1 and "free at the end" in made.text()


@pytest.mark.parametrize("hours", ["0", "-2", "nan", "inf", "three", "", "100", "1e9", 0, 0.5])
def test_absurd_hours_are_told_what_is_expected(hours):
    with pytest.raises(PlanError, match=r"--hours is .*; expected a number from 1 to 10 hours, such as --hours 3"):
        make_plan(hours=hours)


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "two", "400"])
def test_absurd_days_are_told_what_is_expected(days):
    with pytest.raises(PlanError, match=r"--days is .*; expected a whole number from 1 to 5 days, such as --days 2"):
        make_plan(days=days)


def test_other_mistakes_are_named():
    with pytest.raises(PlanError, match="one of --hours .* and --days"):
        make_plan()
    with pytest.raises(PlanError, match="one of --hours .* and --days"):
        make_plan(hours=3, days=1)
    with pytest.raises(PlanError, match="--start is '25:00'; expected .* such as --start 09:30"):
        make_plan(hours=3, start="25:00")
    with pytest.raises(PlanError, match=r"to read 15 .* takes 75 minutes; .* Name fewer chapters, or give more time"):
        make_plan(hours=1, numbers=["15"])
    with pytest.raises(PlanError, match=r"chapter 00 takes 99\. Give more time: --hours 3"):
        make_plan(hours=1, real={"00": 99})


def test_compute_is_what_the_last_whole_run_took():
    entry = chapters.chapter("06")
    assert plan.compute(entry) == plan.COMPUTE
    path = run_all.folder() / f"{entry.stem}.ipynb"
    path.parent.mkdir(parents=True)
    for note, minutes in (({"seconds": 301.0, "whole": True}, 6), ({"seconds": 5, "whole": False}, plan.COMPUTE)):
        path.write_text(json.dumps({"metadata": {"course": note}}))
        assert plan.compute(entry) == minutes


@pytest.mark.slow
def test_real_timings_are_used_and_never_lost(tmp_path, capsys):
    table, page = tmp_path / "a table.csv", tmp_path / "plan.html"
    arguments = ["workshop", "plan", "--hours", "3", "--timings", str(table)]
    assert cli.main([*arguments, "--page", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "rows were added" in shown and "Break" in shown and "No real time yet" in shown
    assert "<h1>A workshop of 3 hours" in page.read_text() and "http" not in page.read_text()
    lines = table.read_text().splitlines()
    assert lines[0] == "item,planned,real,note" and "setup,20,," in lines and "06.1,10,," in lines
    filled = [line.replace("06.1,10,,", '06.1,10,"17,5","they asked, much"') for line in lines] + ["06.1,10,20,again"]
    table.write_text("\n".join(filled) + "\n")
    assert cli.main(arguments) == 0
    assert "19 min  Exercise 06.1" in capsys.readouterr().out  # the median of 17.5 and 20
    after = table.read_text().splitlines()
    assert after[: len(filled)] == filled and after[len(filled) :] == ["06.1,19,,"]
    assert cli.main(arguments) == 0 and table.read_text().splitlines() == after  # nothing waits twice
    assert "1 of" in capsys.readouterr().out


def test_a_spreadsheet_of_another_land_is_read(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("\ufeffitem;planned;real;note;who\n06;37;45,5;slow;Ann\n", encoding="utf-8")
    assert plan.real_minutes(plan.read_timings(table)) == {"06": 45.5}
    plan.add_rows(table, make_plan(hours=3))
    assert table.read_text().splitlines()[:2] == ["item,planned,real,note,who", '06,37,"45,5",slow,Ann']


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("minutes\n12\n", "expected the columns item, planned, real, note"),
        ("item,planned,real,note\n06,37,12 min,\n", "line 2: real is '12 min'; expected minutes from 1 to 600"),
        ("item,planned,real,note\n06,37,,\n06,37,-3,\n", "line 3: real is '-3'"),
        ("item,planned,real,note\n06,37,nan,\n", "line 2: real is 'nan'"),
        ("item,planned,real,note\n06,37,17,5,\n", "line 2"),
    ],
)
def test_a_table_that_cannot_be_read_is_left_alone(tmp_path, capsys, text, said):
    table = tmp_path / "t.csv"
    table.write_text(text)
    assert cli.main(["workshop", "plan", "--hours", "3", "--timings", str(table)]) == 1
    assert said in capsys.readouterr().err and table.read_text() == text
    table.write_bytes(b"\xff\xfe\x00bad")
    assert cli.main(["workshop", "plan", "--hours", "3", "--timings", str(table)]) == 1
    assert "Nothing was changed" in capsys.readouterr().err


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path, monkeypatch):
    table = tmp_path / "t.csv"
    table.write_text("item,planned,real,note\n06,37,45,\n")
    before = table.read_text()

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("course_utils.files._flush", full)
    with pytest.raises(OSError, match="No space left"):
        plan.add_rows(table, make_plan(hours=3))
    assert table.read_text() == before and list(tmp_path.iterdir()) == [table]


@pytest.mark.parametrize("entry", chapters.CHAPTERS, ids=lambda entry: entry.stem)
def test_every_chapter_says_what_to_know_what_it_teaches_and_what_it_answers(entry):
    if entry.number not in chapters.in_this_edition():
        pytest.skip("not in this edition")
    parts = anatomy.read(anatomy.notebook_of(entry))
    assert parts.know_first, "say what to know first"
    assert len(parts.objectives) >= 3 and len(parts.key_points) >= 3, (parts.objectives, parts.key_points)
    assert len(parts.questions) >= 3, parts.questions
    assert [piece.name for piece in parts.pieces if piece.exercise] == list(registry.known(entry.number))
