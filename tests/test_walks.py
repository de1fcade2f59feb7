"""The design walks: answers that meet their budgets, traps that do not, calculators that agree with the course."""

from __future__ import annotations

import math
import re

import pytest

from course_utils.interview import walks
from course_utils.interview.walks import WalkError, drift_retraining, evaluation_platform, rag_service, rlvr_pipeline
from course_utils.interview.walks import serve as serving
from course_utils.interview.walks.frame import YOURS, number

WALKS = [walks.get(name) for name in walks.NAMES]
each = pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.name)


@each
def test_the_checked_answer_meets_the_budget(walk):
    verdict = walk.judge(walk.answer)
    assert verdict.met, verdict.text()
    assert "The budget is met." in verdict.text() and verdict.text().count("✓") == len(walk.limits)


@each
def test_every_trap_breaks_the_limit_that_it_names_and_every_limit_is_broken_by_one(walk):
    for trap in walk.traps:
        verdict = walk.judge({**walk.answer, **trap.choices})
        assert trap.breaks in {limit.figure for limit in verdict.missed}, (trap.choices, verdict.figures)
        assert not verdict.met and "✗" in verdict.text()
    assert {trap.breaks for trap in walk.traps} == {limit.figure for limit in walk.limits}


@each
def test_each_choice_counts(walk):
    """A choice that moves no figure of the budget would be no choice."""
    asked = {limit.figure for limit in walk.limits}
    before = walk.judge(walk.answer).figures
    for name, choice in walk.choices.items():
        others = choice.options or (choice.low, walk.answer[name] * 2)
        moved = [
            figure
            for other in others
            if choice.low <= other <= choice.high
            for figure, value in walk.judge({**walk.answer, name: other}).figures.items()
            if figure in asked and not math.isclose(value, before[figure])
        ]
        assert moved, name


@each
def test_each_given_figure_has_a_source_or_is_the_learners(walk):
    for name, fact in walk.given.items():
        known = re.search(r"arXiv \d{4}\.\d{4,5}|data sheet of the NVIDIA", fact.source)
        assert known or fact.source == YOURS, name
        assert walk.judge(walk.answer, **{name: fact.value}).met
    assert len(walk.steps) >= 5 and walk.why and walk.roles and 10 <= walk.minutes <= 30
    shown = walk.text()
    assert all(name in shown for name in (*walk.given, *walk.choices, *(limit.figure for limit in walk.limits)))


@each
def test_figures_of_ones_own_move_the_verdict(walk):
    """Somebody else's prices and machines make another answer."""
    priced = [name for name, fact in walk.given.items() if "price" in name]
    assert not walk.judge(walk.answer, **{name: 1e3 * walk.given[name].value for name in priced}).met


@each
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, "8", None, True, 1e300])
def test_a_choice_that_is_none_is_named(walk, value):
    name, choice = next(iter(walk.choices.items()))
    with pytest.raises(WalkError, match=rf"{walk.name}: {name} is .*expected is {re.escape(choice.range)}"):
        walk.judge({**walk.answer, name: value})


def test_missing_and_unknown_names_are_told():
    walk = walks.get("serve")
    with pytest.raises(WalkError, match="serve: no value for batch"):
        walk.judge({name: value for name, value in walk.answer.items() if name != "batch"})
    with pytest.raises(WalkError, match="serve: no choice 'gpus'"):
        walk.judge({**walk.answer, "gpus": 4})
    with pytest.raises(WalkError, match="serve has no figure 'tokens'"):
        walk.judge(walk.answer, tokens=3)
    with pytest.raises(WalkError, match="price is 0; a number above 0"):
        walk.judge(walk.answer, price=0)
    with pytest.raises(WalkError, match="no design walk 'poker'; there are train_70b, serve"):
        walks.get("poker")


def test_train_70b_counts_as_chapter_04_does():
    from course_utils.models.counting import LLAMA2, count_parameters
    from course_utils.training.flops import training_minutes
    from course_utils.training.memory import training_memory

    walk, config = walks.get("train_70b"), LLAMA2["70 B"]
    assert walk.given["parameters"].value == pytest.approx(count_parameters(config), rel=1e-3)
    assert (walk.given["layers"].value, walk.given["hidden"].value) == (config.num_hidden_layers, config.hidden_size)
    for checkpointing in (0, 1):
        choices = {**walk.answer, "checkpointing": checkpointing}
        figures = walk.judge(choices).figures
        ours = training_memory(config, 12_288, precision="mixed", ranks=640, stage=3, checkpointing=bool(checkpointing))
        gathered = 4 * count_parameters(config) / config.num_hidden_layers
        assert figures["memory"] * 1e9 == pytest.approx(ours.total + gathered, rel=0.02)
    reached = 0.5 * 6 / 8
    minutes = training_minutes(68.98e9, 1.4e12, 640 * 989e12, reached)
    figures = walk.judge(walk.answer).figures
    assert figures["days"] * figures["goodput"] == pytest.approx(minutes / 60 / 24, rel=1e-3)
    assert figures["utilization"] == pytest.approx(reached * figures["goodput"], rel=1e-3)


def test_the_best_interval_between_savings_is_youngs():
    walk = walks.get("train_70b")
    between = walk.given["fault_gpu_hours"].value * 60 / 640
    best = (2 * walk.given["write_seconds"].value / 60 * between) ** 0.5
    goodput = {m: walk.judge({**walk.answer, "save_minutes": m}).figures["goodput"] for m in (best / 2, best, 2 * best)}
    assert max(goodput, key=goodput.get) == best


def test_serving_counts_as_chapter_19_does():
    from course_utils.models.counting import LLAMA2, cache_bytes
    from course_utils.serving.roofline import roofline_seconds

    walk = walks.get("serve")
    figures = walk.judge({**walk.answer, "cache_bits": 16, "batch": 1}).figures
    weights = walk.given["parameters"].value
    assert figures["memory"] * 4e9 == pytest.approx(weights + cache_bytes(LLAMA2["70 B"], 1800), rel=1e-6)
    side, peak, bandwidth = 100_000, 989e12, 3.35e12  # so large that its inputs and outputs weigh nothing
    for batch in (1, 64, 4096):
        whole = roofline_seconds(batch, side, side, 2, peak, bandwidth)
        ours = serving.decode_seconds(batch, 2 * side**2, 0, 2 * side**2, peak, bandwidth)
        assert ours == pytest.approx(whole, rel=0.05 if batch < 4096 else 0.1)


def test_power_is_that_of_chapter_15():
    from course_utils.evaluation.power import questions_for_pairs, simulated_power

    for difference, discordant in ((0.024, 0.15), (0.05, 0.2)):
        n = questions_for_pairs(difference, discordant)
        assert evaluation_platform.paired_power(n, difference, discordant, 0.05) == pytest.approx(0.8, abs=0.01)
        assert simulated_power(n, difference, discordant, rounds=4000) == pytest.approx(0.8, abs=0.04)


def test_telling_groups_are_counted_as_they_are_drawn():
    import numpy as np

    draw = np.random.default_rng(0)
    rates = np.array([p for p, _ in rlvr_pipeline.PILOT])
    shares = np.array([share for _, share in rlvr_pipeline.PILOT])
    p = draw.choice(rates, 40_000, p=shares / shares.sum())
    passed = draw.binomial(8, p)
    drawn = ((passed > 0) & (passed < 8)).mean()
    assert rlvr_pipeline.telling_share(rlvr_pipeline.PILOT, 8) == pytest.approx(drawn, abs=0.01)


def test_false_alarms_and_delay_are_those_of_simulated_years():
    import numpy as np

    walk, draw = walks.get("drift_retraining"), np.random.default_rng(0)
    n, z, accuracy = 500, walk.answer["limit"], 0.9
    limit = accuracy - z * (accuracy * (1 - accuracy) / n) ** 0.5
    figures = walk.judge(walk.answer).figures
    quiet = draw.binomial(n, accuracy, (4000, 52)) / n
    assert (quiet < limit).sum(1).mean() == pytest.approx(figures["false_alarms"], rel=0.4)  # the tail of a binomial
    fallen = draw.binomial(n, accuracy - 0.03, (4000, 200)) / n < limit
    assert 1 + (1 + fallen.argmax(1)).mean() == pytest.approx(figures["weeks_to_alarm"], rel=0.15)
    assert drift_retraining.WALK.judge(walk.answer).met


def test_recall_lies_between_the_pilots_figures():
    assert rag_service.between(rag_service.RECALL, 50) == 0.91
    assert 0.91 < rag_service.between(rag_service.RECALL, 60) < 0.94
    assert rag_service.between(rag_service.RECALL, 10_000) == 0.955
    assert [number(value) for value in (640, 1.4e12, 0.6043, 1_112_473.2, math.inf)] == [
        "640", "1.4e+12", "0.604", "1,112,473", "inf",
    ]  # fmt: skip
