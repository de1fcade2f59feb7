"""Drift: tests equal to scipy's, streams, feedback, the log that survives, alerts, and the page."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from course_utils import cli
from course_utils.serving import detectors, drift, feedback, monitor, sequential
from course_utils.serving.request_log import LogError, RequestLog, clock_faults, read, read_jsonl
from course_utils.serving.traffic import Change, Pool, draw_year

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(0)


# ---- two samples


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "m"), [(1, 5), (30, 30), (200, 57)])
def test_ks_is_scipys(n, m, ties):
    from scipy.stats import ks_2samp

    a, b = RNG.normal(size=n), RNG.normal(0.3, size=m)
    a, b = (a.round(), b.round()) if ties else (a, b)
    assert drift.ks_statistic(a, b) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-12)


def test_ks_p_value_is_near_scipys():
    from scipy.stats import ks_2samp, kstwobign

    for shift in (0.0, 0.1, 0.3):
        a, b = RNG.normal(size=400), RNG.normal(shift, size=300)
        theirs = ks_2samp(a, b)
        assert drift.ks_p_value(theirs.statistic, 400, 300) == pytest.approx(theirs.pvalue, abs=0.03)
    for x in (0.25, 0.5, 1.0, 2.0):
        assert drift.ks_p_value(x / math.sqrt(50), 100, 100) == pytest.approx(kstwobign.sf(x), abs=1e-9)


def test_chi_square_is_scipys():
    from scipy.stats import chi2_contingency

    a, b = RNG.integers(1, 60, 7), RNG.integers(1, 20, 7)
    theirs = chi2_contingency([a, b], correction=False)
    assert drift.chi_square(a, b) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)
    assert drift.chi_square([*a, 0], [*b, 0]) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)
    with pytest.raises(ValueError, match="all counts are in one bin"):
        drift.chi_square([5, 0], [7, 0])


def test_psi_is_both_divergences():
    from scipy.stats import entropy

    a, b = RNG.integers(1, 60, 7), RNG.integers(1, 20, 7)
    assert drift.psi(a, b) == pytest.approx(entropy(a, b) + entropy(b, a), rel=1e-9)
    assert drift.psi(a, 3 * a) == pytest.approx(0.0, abs=1e-12)
    assert drift.psi([10, 10, 0], [10, 10, 20]) == pytest.approx(
        (0.5 - 1e-4) * math.log(0.5 / 1e-4) + 2 * (0.25 - 0.5) * math.log(0.25 / 0.5), rel=1e-9
    )


def test_psi_without_drift_is_as_large_as_its_samples_are_small():
    found = [drift.psi(RNG.multinomial(n, [0.1] * 10), RNG.multinomial(m, [0.1] * 10)) for n, m in ((1000, 200),) * 400]
    assert np.mean(found) == pytest.approx(9 * (1 / 1000 + 1 / 200), rel=0.1)


def test_bins_are_open_at_both_ends():
    edges = drift.quantile_edges(np.arange(100.0))
    assert len(edges) == 9
    assert drift.binned([-1e9, 1e9], edges).tolist() == [1, *[0] * 8, 1]
    assert drift.binned(np.arange(100.0), edges).tolist() == [10.0] * 10
    assert drift.counts(["a", "z", "a"], ["a", "b"]).tolist() == [2, 0, 1]


def test_mmd_is_the_formula():
    x, y = RNG.normal(size=(6, 3)), RNG.normal(1, size=(5, 3))
    width = drift.median_width(np.concatenate([x, y]))

    def k(a, b):
        return math.exp(-sum((a - b) ** 2) / (2 * width**2))

    by_hand = (
        sum(k(a, b) for a, b in itertools.permutations(x, 2)) / 30
        + sum(k(a, b) for a, b in itertools.permutations(y, 2)) / 20
        - 2 * sum(k(a, b) for a in x for b in y) / 30
    )
    parts = drift.kernel(x, x, width), drift.kernel(x, y, width), drift.kernel(y, y, width)
    assert drift.mmd2(*parts) == pytest.approx(by_hand, rel=1e-9)


def test_the_classifier_guesses_without_a_difference_and_sees_one():
    x, y = RNG.normal(size=(600, 4)), RNG.normal(size=(300, 4))
    assert drift.classifier_two_sample(x, y) == pytest.approx(0.5, abs=0.08)
    assert drift.classifier_two_sample(x, y + 2) > 0.95
    with pytest.raises(ValueError, match="at least four each"):
        drift.classifier_two_sample(x[:3], y)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: drift.psi([1, 2], [1, 2, 3]), "2 bins and window 3"),
        (lambda: drift.psi([0, 0], [1, 2]), "not all 0"),
        (lambda: drift.psi([1, -1], [1, 2]), "none below 0"),
        (lambda: drift.ks_statistic([], [1.0]), "one number or more"),
        (lambda: drift.ks_statistic([float("nan")], [1.0]), "no finite numbers"),
        (lambda: drift.mmd2(np.ones((1, 1)), np.ones((1, 4)), np.ones((4, 4))), "at least two each"),
        (lambda: sequential.e_values([1], 1.0), "p0 must lie between"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ---- streams


def test_cusum_and_its_first_alarm():
    assert sequential.cusum([1, 0, 1, 1], 0.25, 0.25) == [0.5, 0.0, 0.5, 1.0]
    assert sequential.first_above([0.5, 0.0, 0.5, 1.0], 0.5) == 3
    assert sequential.first_above([0.5], 0.5) is None


def test_adwin_cuts_after_a_change_and_not_without_one():
    rng = np.random.default_rng(3)
    quiet = (rng.random(4000) < 0.9).astype(int)
    changed = np.concatenate([quiet[:2000], rng.random(1000) < 0.6])
    assert sequential.adwin(quiet) == []
    found = sequential.adwin(changed)
    assert 2000 < found[0] < 2200 and all((place + 1) % 32 == 0 for place in found)


@pytest.mark.slow
def test_adwin_is_rivers_up_to_its_buckets():
    from river.drift import ADWIN

    late = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        stream = np.concatenate([rng.random(2000) < 0.5, rng.random(2000) < 0.7]).astype(float)
        theirs, found = ADWIN(), []
        for place, value in enumerate(stream):
            theirs.update(value)
            if theirs.drift_detected:
                found.append(place)
        ours = sequential.adwin(stream.tolist())
        late.append(found[0] - ours[0])
    assert all(gap % 32 == 0 for gap in late)  # both try every 32 values
    assert min(late) >= 0 and np.median(late) <= 32  # with fewer cuts to try, river can only be later


def test_e_values_are_a_martingale_of_mean_one():
    for p0 in (0.5, 0.9):
        means = np.zeros(8)
        for path in itertools.product((0, 1), repeat=8):
            chance = p0 ** sum(path) * (1 - p0) ** (8 - sum(path))
            means += chance * np.exp(sequential.e_values(path, p0))
        assert means == pytest.approx(np.ones(8), rel=1e-9)


def test_e_values_are_scipys_beta_functions():
    from scipy.special import betaln

    passes = [1, 1, 0, 1, 0, 0]
    wanted = betaln(2 + 3, 3 + 3) - betaln(2, 3) - 3 * math.log(0.7) - 3 * math.log(0.3)
    assert sequential.e_values(passes, 0.7, 2, 3)[-1] == pytest.approx(wanted, rel=1e-9)


# ---- feedback


def test_propensities_mend_what_the_unhappy_distort():
    correct = np.random.default_rng(1).random(60_000) < 0.8
    thumbs = feedback.give_thumbs(correct, seed=2)
    clicked = [thumb for thumb in thumbs if thumb is not None]
    assert np.mean(clicked) < 0.55
    rates = feedback.click_rates(thumbs[:30_000], correct[:30_000])
    assert feedback.ips_share(thumbs[30_000:], rates) == pytest.approx(0.8, abs=0.02)
    with pytest.raises(ValueError, match="none of the 2 requests"):
        feedback.ips_share([None, None], rates)
    with pytest.raises(ValueError, match="0 thumbs"):
        feedback.click_rates([1, None], [1, 0])


def test_labels_of_complaints_come_first():
    correct = np.arange(4000) % 2 == 0
    days = feedback.label_days(np.zeros(4000), correct, seed=0)
    assert days[~correct].mean() == pytest.approx(7, rel=0.1) and days[correct].mean() == pytest.approx(28, rel=0.1)
    assert feedback.arrived_share([1, 2, 3, 4], [0.5, 2, 9]).tolist() == [0.0, 0.5, 1.0]


# ---- the log

WRITER = """
import sys
from course_utils.serving.request_log import RequestLog
log = RequestLog(sys.argv[1])
number = 0
while True:
    ids = log.append([{"time": float(number), "prompt": "p" * 200}])
    number += 1
    print(ids[-1], flush=True)
"""


@pytest.mark.slow
def test_what_was_logged_survives_a_kill(tmp_path):
    path = tmp_path / "log.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    for _ in range(200):
        said = int(writer.stdout.readline())
    writer.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    said = [said, *map(int, writer.stdout.read().split())][-1]
    writer.wait()
    with RequestLog(path, read_only=True) as log:
        rows = log.rows()
    assert [row["id"] for row in rows[:said]] == list(range(1, said + 1))
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_readers_read_while_one_writes(tmp_path):
    with RequestLog(tmp_path / "log.sqlite") as log:
        log.append([{"time": 0.5, "topic": "trade"}, {"time": 1.5}])
        with RequestLog(log.path, read_only=True) as reader:
            log.append([{"time": 9.0}])
            assert len(reader) == 3 and [row["id"] for row in reader.rows(until=2)] == [1, 2]


def test_two_writers_never_share_an_id(tmp_path):
    with RequestLog(tmp_path / "log.sqlite") as one, RequestLog(tmp_path / "log.sqlite") as two:
        ids = [log.append([{"time": 0.0}, {"time": 0.0}]) for log in (one, two, two, one)]
        assert sorted(sum(ids, [])) == list(range(1, 9)) and len(one) == 8


def test_labels_count_from_the_day_on_which_they_arrive(tmp_path):
    with RequestLog(tmp_path / "log.sqlite") as log:
        ids = log.append([{"time": 0.5}, {"time": 1.5}])
        log.add("labels", [(ids[0], 20.0, True)])
        log.add("labels", [(ids[0], 30.0, False)])
        log.add("thumbs", [(ids[1], 1.6, 0)])
        assert [row["correct"] for row in log.rows(until=10)] == [None, None]
        assert [row["correct"] for row in log.rows(until=25)] == [1, None]
        assert [(row["correct"], row["up"]) for row in log.rows()] == [(0, None), (None, 0)]
        with pytest.raises(LogError, match="request 99 was never logged"):
            log.add("labels", [(ids[0], 1.0, True), (99, 1.0, True)])
        with pytest.raises(LogError, match="no table 'stars'"):
            log.add("stars", [])


def test_a_row_that_cannot_be_logged_takes_its_whole_batch_with_it(tmp_path):
    with RequestLog(tmp_path / "log.sqlite") as log:
        for bad, words in (
            ({"time": float("nan")}, "row 1 has the time nan"),
            ({"time": 1.0, "tune": 2}, "column 'tune'"),
            ({}, "time None"),
        ):
            with pytest.raises(LogError, match=words):
                log.append([{"time": 0.0}, bad])
        assert len(log) == 0


def test_files_that_are_no_log_are_named_and_left_alone(tmp_path):
    with pytest.raises(LogError, match="there is no log at"):
        RequestLog(tmp_path / "none.sqlite", read_only=True)
    assert not (tmp_path / "none.sqlite").exists()
    (tmp_path / "text.sqlite").write_text("this is no database at all" * 50)
    with pytest.raises(LogError, match="cannot be read as a request log"):
        RequestLog(tmp_path / "text.sqlite")
    assert (tmp_path / "text.sqlite").read_text().startswith("this is")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE requests (id INTEGER)")
    other.commit()
    with pytest.raises(LogError, match="lacks time, model"):
        RequestLog(tmp_path / "other.sqlite", read_only=True)


def test_torn_lines_are_counted_and_the_rest_is_kept(tmp_path):
    path = tmp_path / "log.jsonl"
    whole = "".join(json.dumps({"time": day / 10, "topic": "trade", "extra": 1}) + "\n" for day in range(5))
    path.write_text(whole + "[1]\n" + '{"time": "noon"}\n' + '{"time": 0.6, "top')
    rows, torn = read_jsonl(path)
    assert len(rows) == 5 and torn == 3 and "extra" not in rows[0]
    assert "3 lines could not be read" in read(path)[1][0]
    path.write_text("nothing\n")
    with pytest.raises(LogError, match="none of the 1 lines"):
        read_jsonl(path)
    with pytest.raises(LogError, match="cannot be read"):
        read_jsonl(tmp_path / "none.jsonl")


def test_a_clock_that_runs_backwards_is_named():
    assert clock_faults([0, 1, 1, 2]) == []
    (said,) = clock_faults([0, 5, 3, 4, 3.5])
    assert "ran backwards 2 times, by up to 2 days" in said


# ---- rules, pages


def rows_of(weeks: int, change: int | None = None, per_week: int = 60, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    rows = []
    for week in range(weeks):
        changed = change is not None and week >= change
        for i in range(per_week):
            rows.append(
                {
                    "time": 7 * (week + i / per_week),
                    "topic": str(rng.choice(["a", "b"], p=[0.2, 0.8] if changed else [0.6, 0.4])),
                    "answer_tokens": int(rng.poisson(9)),
                    "correct": int(rng.random() < (0.5 if changed else 0.9)),
                }
            )
    return rows


def test_an_alert_names_its_rule_and_week():
    fired = monitor.alerts(rows_of(20, change=12), draws=300)
    assert {alert.rule.name: alert.week for alert in fired} == {"chi-square of topic": 12, "fall of correct": 12}
    assert all(alert.value > alert.rule.limit for alert in fired)


def test_quiet_logs_are_quiet():
    fired = [alert for seed in range(6) for alert in monitor.alerts(rows_of(20, seed=seed), draws=400)]
    assert len(fired) <= 3  # about a twentieth of 18 rules and logs


def test_two_weeks_in_a_row():
    rows = rows_of(20, change=12)
    rule = monitor.Rule("correct", "fall", 0.2)
    one, two = (monitor.alerts(rows, [monitor.Rule("correct", "fall", 0.2, n)]) for n in (1, 2))
    assert one[0].week == 12 and two[0].week == 13 and rule.name == "fall of correct"


def test_rules_and_logs_that_cannot_work_are_named():
    with pytest.raises(monitor.MonitorError, match="no test 'magic'"):
        monitor.Rule("topic", "magic")
    with pytest.raises(monitor.MonitorError, match="one week or more"):
        monitor.Rule("topic", "psi", in_a_row=0)
    with pytest.raises(monitor.MonitorError, match="5 weeks; the first 8"):
        monitor.alerts(rows_of(5))
    with pytest.raises(monitor.MonitorError, match="no request"):
        monitor.weekly([])
    with pytest.raises(monitor.MonitorError, match="no column 'tone'"):
        monitor.values(rows_of(1), "tone")
    with pytest.raises(monitor.MonitorError, match="holds 1 words among 61 values"):
        monitor.values([*rows_of(1), {"correct": "yes"}], "correct")


def test_weeks_with_nothing_to_count():
    rows = [row for row in rows_of(4) if not 7 <= row["time"] < 14]
    table = monitor.weekly(rows)
    assert table["requests"] == [60, 0, 60, 60] and math.isnan(table["correct"][1])
    assert math.isnan(table["up"][0]) and table["labelled"][0] == 60


@pytest.mark.slow
def test_the_command_writes_one_page(tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(14, change=10)) + '{"ti')
    assert cli.main(["monitor", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "note: 1 line could not be read" in shown and "fall of correct" in shown
    page = (tmp_path / "log.jsonl.html").read_text("utf-8")
    assert "840 requests in 14 weeks" in page and 'alt="' in page and "Have the facts moved" in page
    assert cli.main(["monitor", str(tmp_path / "none.sqlite")]) == 1
    assert "there is no log" in capsys.readouterr().err


# ---- simulated years


def pool(n: int = 40) -> Pool:
    rng = np.random.default_rng(5)
    right, wrong = rng.random(2 * n) < 0.9, rng.random(2 * n) < 0.5
    column = {"correct": right, "correct_later": wrong, "length": rng.integers(3, 9, 2 * n)}
    other = column | {"length": column["length"] + 3}
    vectors = rng.normal(size=(2 * n, 3)) + np.repeat([[0.0], [2.0]], n, axis=0)
    groups = {"a": np.arange(n), "b": np.arange(n, 2 * n)}
    shared = {"topic": np.repeat([0, 1], n), "vectors": vectors}
    return Pool(groups, shared, {"as trained": column, "other": other}, {"a": 3.0, "b": 1.0})


def test_a_year_changes_in_its_week_and_in_nothing_else():
    made = pool()
    quiet, changed = draw_year(made, 1), draw_year(made, 1, Change(server="other"))
    assert (quiet.rows == changed.rows).all() and quiet.rows.shape == (52, 150)
    gap = changed.column("length") - quiet.column("length")
    assert (gap[:26] == 0).all() and (gap[26:] == 3).all()
    moved = draw_year(made, 1, Change(truth="correct_later")).column("correct")
    assert (moved[:26] == quiet.column("correct")[:26]).all() and moved[26:].mean() < 0.65
    shifted = draw_year(made, 2, Change(mix={"b": 1.0}, ramp=10)).column("topic").mean(1)
    assert (
        shifted[:26].mean() == pytest.approx(0.25, abs=0.03) and (shifted[35:] == 1).all() and 0.3 < shifted[30] < 0.9
    )
    with pytest.raises(ValueError, match="no group 'c'"):
        draw_year(made, 0, Change(mix={"c": 1.0}))


def test_the_quick_mmd_is_the_slow_one():
    made = pool()
    year = draw_year(made, 3, weeks=10, per_week=20, start=9)
    vectors = made.shared["vectors"]
    kernel = drift.kernel(vectors, vectors, 1.0)
    path = detectors.mmd(kernel)(year)
    a, b = year.rows[:8].ravel(), year.rows[9]
    slow = drift.mmd2(kernel[np.ix_(a, a)], kernel[np.ix_(a, b)], kernel[np.ix_(b, b)])
    assert path[9] == pytest.approx(slow, rel=1e-9) and np.isneginf(path[:8]).all()


@pytest.mark.slow
def test_limits_from_quiet_years_keep_their_promise_and_find_the_change():
    made = pool()
    quiet = [draw_year(made, 100 + seed) for seed in range(30)]
    fresh = [draw_year(made, 500 + seed) for seed in range(30)]
    kinds = {
        "cusum": (detectors.wrong_answers(), Change(truth="correct_later"), 21),
        "ks": (detectors.windows("length", drift.ks_statistic), Change(server="other"), 7),
        "adwin": (detectors.adaptive_window(), Change(truth="correct_later"), 28),
    }
    for detector, change, days in kinds.values():
        limit = detectors.limit(detector, quiet)
        assert sum(detectors.alarm(detector(year), limit) is not None for year in fresh) <= 5
        assert detectors.days_to_alarm(detector, limit, draw_year(made, 9, change)) <= days
        assert np.isinf(detectors.days_to_alarm(detector, limit, draw_year(made, 9))) or limit > 0


def test_labels_that_come_late_find_nothing_earlier():
    year = draw_year(pool(), 9, Change(truth="correct_later"))
    prompt, late = (detectors.wrong_answers(late=weeks)(year) for weeks in (0, 3))
    assert np.allclose(late[11:], prompt[8:-3]) and np.isneginf(late[:11]).all()


def test_what_training_never_held_is_looked_up():
    from course_utils.serving.traffic import questions, topic_of, unread
    from course_utils.world import World, WorldConfig

    world = World(WorldConfig(people=60))
    groups = questions(world, 4)
    found = {name: unread(world, [task["prompt"] for task in tasks]).tolist() for name, tasks in groups.items()}
    assert found["new words"] == [2] * 4 and found["stranger"] == [1] * 4
    assert found["trade"] == found["add"] == [0] * 4
    assert {topic_of(task) for task in groups["new words"]} == {"context"}
    assert "stranger" not in {topic_of(task) for tasks in groups.values() for task in tasks}
    with pytest.raises(ValueError, match="ask for 1 or more"):
        questions(world, 0)
