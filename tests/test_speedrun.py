"""The speedrun: entries are data, the budget is arithmetic, chance is told from progress, edits are seen."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from course_utils import cli, settings
from course_utils.classroom import speedrun
from course_utils.classroom.speedrun import BASELINE, Result, SpeedrunError, better, parse, steps_for, verdict

SMALL = BASELINE.replace("batch_size = 32", "batch_size = 4").replace("row_length = 128", "row_length = 32")


def result(name="a", scores=(0.3, 0.31, 0.32), **changes):
    made = Result(name, "laptop", 4e12, list(scores), 100, 900_000, 60.0, {"model": {}, "training": {}, "data": {}})
    return replace(made, **changes)


def test_the_budget_pays_for_fewer_steps_of_a_larger_model():
    entry = parse(BASELINE)
    small = steps_for(entry, 1536, 4e12)
    wide = parse(BASELINE.replace("hidden_size = 128", "hidden_size = 256"))
    assert 100 < small < 400 and steps_for(wide, 1536, 4e12) < small
    assert steps_for(entry, 1536, 8e12) == pytest.approx(2 * small, abs=1)
    with pytest.raises(SpeedrunError, match="pays for 1 steps"):
        steps_for(entry, 1536, 4e12 / small)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name = ", "nom = "), "has no name"),
        (("hidden_size", "width"), r"\[model\] has 'width'; it may have hidden_size"),
        (("learning_rate", "steps"), r"\[training\] has 'steps'"),
        (("[data]", "[text]"), "has 'text'"),
        (("= 128\n", "= = 128\n"), "is no TOML"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(change, said):
    with pytest.raises(SpeedrunError, match=said):
        parse(BASELINE.replace(*change))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("num_attention_heads = 4", "num_attention_heads = 3"), "not divisible by num_attention_heads"),
        (("hidden_size = 128", 'hidden_size = "wide"'), "baseline: "),
        (("batch_size = 4", "batch_size = 0"), "batch_size is 0"),
        (('"adamw"', '"sgd"'), "optimizer is 'sgd'"),
        (("warmup_steps = 0", "schedule_ = 1\nwarmup_steps = 0"), "schedule_"),
        (("# mix = {biography = 26, story = 24, visit = 12}", "mix = {poem = 1}"), "unknown kinds"),
    ],
)
def test_settings_that_do_not_fit_are_named(change, said, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    with pytest.raises(SpeedrunError, match=said):
        speedrun.run_entry(parse(SMALL.replace(*change)), starts=1, budget=1e10, progress=False)


@pytest.mark.slow
def test_a_run_scores_each_start_and_the_board_keeps_it(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.setattr(speedrun, "TEST_DOCUMENTS", 50)
    done = speedrun.run_entry(parse(SMALL), starts=2, budget=2e10, progress=False)
    assert len(done.scores) == 2 and done.steps >= 10 and all(0.5 < value < 5 for value in done.scores)
    assert len(set(done.scores)) == 2
    speedrun.record(done)
    assert done in speedrun.leaderboard("smoke", 2e10)
    assert speedrun.leaderboard("laptop", 2e10) == []


@pytest.mark.slow
def test_the_text_is_drawn_afresh_and_the_entropy_is_the_floor():
    from course_utils.pretrained import store
    from course_utils.world import World, WorldConfig

    base, world = store.load("base", device="cpu"), World(WorldConfig(people=300), seed=0)
    first, second = (speedrun.score(base.model, base.tokenizer, world, seed, 200) for seed in (11, 12))
    assert first != second and 0 < first < 0.1 and abs(first - second) < 0.03


def test_three_starts_tell_progress_from_chance():
    old = result("old")
    assert better(result("new", (0.27, 0.28, 0.29)), old)
    assert not better(result("new", (0.27, 0.28, 0.305)), old), "one start is behind one of the other's"
    assert not better(result("new", (0.2,)), old), "one start tells nothing"
    assert "new record" in verdict(result("new", (0.2, 0.2, 0.2)), [old])
    assert "cannot tell that from chance" in verdict(result("new", (0.29, 0.3, 0.31)), [old])
    assert "Behind old" in verdict(result("new", (0.4, 0.4, 0.4)), [old])


def test_an_edited_line_is_seen():
    speedrun.record(result())
    path = settings.home() / speedrun.FILE
    line = json.loads(path.read_text())
    path.write_text(json.dumps(line | {"scores": [0.0, 0.0, 0.0]}) + "\n")
    with pytest.raises(SpeedrunError, match="line 1 of .* was edited"):
        speedrun.leaderboard("laptop")


def test_the_courses_own_records_are_whole_and_each_says_what_it_changed():
    records = [json.loads(line) for line in speedrun.RECORDS.read_text().splitlines()]
    assert records and all(line["note"] and len(line["scores"]) == speedrun.STARTS for line in records)
    assert [r.name for r in speedrun.leaderboard("laptop")] and all(line["budget"] == 4e12 for line in records)
    board = speedrun.leaderboard("laptop")
    assert better(board[0], next(result for result in board if result.name == "baseline"))


@pytest.mark.slow
def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.setattr(speedrun, "TEST_DOCUMENTS", 20)
    monkeypatch.setitem(speedrun.BUDGETS, "smoke", 1e10)
    monkeypatch.setattr(speedrun, "BASELINE", SMALL)
    path = tmp_path / "mine.toml"
    assert cli.main(["speedrun", "--new", str(path)]) == 0 and parse(path.read_text()).name == "baseline"
    assert cli.main(["speedrun", "--new", str(path)]) == 1 and "there already" in capsys.readouterr().err
    assert cli.main(["speedrun"]) == 0 and "No entry yet" in capsys.readouterr().out
    assert cli.main(["speedrun", str(path)]) == 0
    said = capsys.readouterr().out
    assert "The first entry here" in said and "baseline" in said
    assert cli.main(["speedrun", str(tmp_path / "nowhere.toml")]) == 1
    path.write_text("name = 3")
    assert cli.main(["speedrun", str(path)]) == 1 and "has no name" in capsys.readouterr().err
