"""Many answers to one question, and the sums that they are tried on."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest

from course_utils.alignment.verifiable import sum_reward, worked_steps, working_reward
from course_utils.evaluation.repeated_draws import majority_vote, pass_at_k
from course_utils.world.worked_sums import worked_sums


@pytest.mark.parametrize(("n", "c"), [(1, 0), (1, 1), (6, 2), (7, 7), (9, 0)])
def test_pass_at_k_is_the_mean_over_all_choices(n, c):
    right = [i < c for i in range(n)]
    for k in range(1, n + 1):
        chosen = [any(part) for part in combinations(right, k)]
        assert pass_at_k(n, c, k) == pytest.approx(sum(chosen) / len(chosen), abs=1e-12)


def test_pass_at_k_of_many():
    assert pass_at_k(20_000, 3, 700) == pytest.approx(1 - comb(19_997, 700) / comb(20_000, 700), abs=1e-9)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_refuses_what_cannot_be(n, c, k):
    with pytest.raises(ValueError, match=f"n={n}, c={c}, k={k}"):
        pass_at_k(n, c, k)


def test_majority():
    assert majority_vote([3, None, 4, 4, None, None]) == 4
    assert majority_vote(["b", "a", "a", "b"]) == "b"
    assert majority_vote([None, None]) is None and majority_vote([]) is None


def test_sums_are_different_and_their_answers_are_right():
    shown = worked_sums(40, terms=3, seed=1)
    fresh = worked_sums(200, terms=3, seed=1, avoid=shown)
    keys = [tuple(sorted(task["numbers"])) for task in shown + fresh]
    assert len(set(keys)) == 240 and worked_sums(40, terms=3, seed=1) == shown != worked_sums(40, terms=3, seed=2)
    for task in (*shown, *worked_sums(5, terms=5), *worked_sums(5, terms=2, working=False)):
        assert sum_reward(task["answer"], task["value"]) == 1 and working_reward(task["answer"], task["value"]) == 1
        assert task["messages"][-1]["content"] == task["answer"] and int(task["value"]) == sum(task["numbers"])
    assert len(worked_steps(shown[0]["answer"])) == 2
    with pytest.raises(ValueError, match="fewer"):
        worked_sums(2_000, terms=2)
    with pytest.raises(ValueError, match="2 or more numbers"):
        worked_sums(1, terms=1)
