"""Duels and ratings, a judge's tastes, rubrics."""

import math
import random

import numpy as np
import pytest

from course_utils.evaluation.judge_bias import both_orders, listed_preferences, position_bias
from course_utils.evaluation.pairwise import bradley_terry_ratings, elo, record, win_table
from course_utils.evaluation.rubric import Criterion, mark, read_verdict
from course_utils.pretrained import store

NAMES = ["a", "b", "c"]


def duels(seed=0, count=3_000):
    """a is twice as strong as b, b twice as strong as c; one duel in five is a tie."""
    draw, strength = random.Random(seed), {"a": 4, "b": 2, "c": 1}
    found = []
    for _ in range(count):
        one, two = draw.sample(NAMES, 2)
        won = draw.random() < strength[one] / (strength[one] + strength[two])
        found.append((one, two, 0.5 if draw.random() < 0.2 else float(won)))
    return found


def test_wins_ties_and_losses():
    found = record([1.0, 1.0, 0.5, 0.0])
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.win_rate == 0.625 and found.decided == pytest.approx(2 / 3)
    assert record([0.5, 0.5]).decided is None and record([0.5]).win_rate == 0.5
    for wrong in ([], [0.3], ["tie"]):
        with pytest.raises(ValueError, match=r"expected|could not convert"):
            record(wrong)


def test_a_tie_is_half_a_win_for_both():
    table = win_table([("a", "b", 0.5), ("a", "b", 1.0), ("b", "c", 0.0)], NAMES)
    assert table.tolist() == [[0, 1.5, 0], [0.5, 0, 0], [0, 1, 0]]


def test_elo_by_hand_and_its_order():
    one = elo([("a", "b", 1.0)], NAMES, k=32)
    assert one == {"a": 1016.0, "b": 984.0, "c": 1000.0}
    expected = 1 / (1 + 10 ** ((984 - 1016) / 400))
    assert elo([("a", "b", 1.0), ("a", "b", 0.5)], NAMES, k=32)["a"] == pytest.approx(1016 + 32 * (0.5 - expected))
    games = duels()
    assert sum(elo(games, NAMES).values()) == pytest.approx(3000)
    assert elo(games, NAMES) != elo(games[::-1], NAMES)


def test_bradley_terry_forgets_the_order_and_finds_the_strengths():
    games = duels()
    found = bradley_terry_ratings(games, NAMES)
    assert bradley_terry_ratings(games[::-1], NAMES) == pytest.approx(found, abs=1e-5)
    decided = [game for game in games if game[2] != 0.5]
    exact = bradley_terry_ratings(decided, NAMES)
    assert exact["a"] - exact["b"] == pytest.approx(400 * math.log10(2), abs=25)
    assert found["a"] - found["b"] < exact["a"] - exact["b"]  # ties pull together


def test_somebody_who_never_won():
    games = [("a", "b", 1.0), ("b", "a", 1.0), ("a", "c", 1.0), ("b", "c", 1.0)]
    with pytest.raises(ValueError, match="minus infinity"):
        bradley_terry_ratings(games, NAMES)
    found = bradley_terry_ratings(games, NAMES, ties_added=1)
    assert found["c"] < found["a"] and math.isfinite(found["c"])
    with pytest.raises(ValueError, match="ties_added is -1"):
        bradley_terry_ratings(games, NAMES, ties_added=-1)


@pytest.mark.parametrize(
    ("duel", "words"),
    [(("a", "x", 1.0), "two different ones"), (("a", "a", 1.0), "two different ones"), (("a", "b", 0.7), "ended 0.7")],
)
def test_duels_that_are_none(duel, words):
    for rate in (elo, win_table):
        with pytest.raises(ValueError, match=words):
            rate([duel], NAMES)


@pytest.fixture(scope="module")
def base():
    return store.load("base", device="cpu", root=store.SHIPPED)


def test_preferences_turn_round_with_the_answers(base):
    questions = ["What is the trade of Emil Ridge?"] * 2
    first = ["Emil Ridge works as a carpenter.", "Emil Ridge works as a baker."]
    second = ["Emil Ridge works as a weaver.", "Emil Ridge works as a smith."]
    ahead, behind = both_orders(base.model, base.tokenizer, questions, first, second)
    turned = both_orders(base.model, base.tokenizer, questions, second, first)
    assert np.allclose(ahead, -turned[1], atol=1e-5) and np.allclose(behind, -turned[0], atol=1e-5)
    assert np.allclose(listed_preferences(base.model, base.tokenizer, questions, first, first), 0, atol=1e-6)
    with pytest.raises(ValueError, match="pair 1 is empty"):
        listed_preferences(base.model, base.tokenizer, questions, first, ["x", " "])


def test_the_taste_for_a_place():
    left_only = position_bias(np.array([1.0, 2.0]), np.array([-1.0, -0.5]))
    assert left_only == {"left": 1.0, "changed": 1.0}
    fair = position_bias(np.array([1.0, -2.0]), np.array([0.5, -0.5]))
    assert fair == {"left": 0.5, "changed": 0.0}
    for ahead, behind in ((np.array([]), np.array([])), (np.array([np.nan]), np.array([1.0]))):
        with pytest.raises(ValueError, match="one number for each pair"):
            position_bias(ahead, behind)


TASKS = [{"value": "baker"}, {"value": "smith"}]


def test_a_rubric_adds_weights_and_counts_what_it_cannot_say():
    rubric = [
        Criterion("true", 3.0, lambda task, text: task["value"] in text),
        Criterion("polite", 1.0, lambda task, text: read_verdict(text)),
    ]
    found = mark(rubric, TASKS, ["Yes, a baker.", "a smith"])
    assert found.scores == [1.0, None]
    assert found.shares == {"true": 1.0, "polite": 1.0} and found.undecided == {"true": 0, "polite": 1}
    assert mark([Criterion("x", 1.0, lambda task, text: None)], TASKS, ["a", "b"]).shares == {"x": None}
    assert mark(rubric, TASKS[:1], ["no, a baker"]).scores == [0.75]


def test_rubrics_and_judges_that_make_no_sense():
    good = Criterion("x", 1.0, lambda task, text: True)
    with pytest.raises(ValueError, match="said 'maybe'"):
        mark([Criterion("x", 1.0, lambda task, text: "maybe")], TASKS, ["a", "b"])
    for rubric in ([], [good, good], [Criterion("y", 0.0, good.decide)]):
        with pytest.raises(ValueError, match="the criteria are"):
            mark(rubric, TASKS, ["a", "b"])
    with pytest.raises(ValueError, match="one answer for each task"):
        mark([good], TASKS, ["a"])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("Yes.", True), (" no, never", False), ('"Yes"', True), ("Yesterday", None), ("Emil is a baker", None), ("", None),
     ("yes and no", None), ("Yes or no?", None), ("nothing", None)],
)  # fmt: skip
def test_only_yes_and_no_are_verdicts(text, verdict):
    assert read_verdict(text) is verdict
