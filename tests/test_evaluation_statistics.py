"""Paired tests, clusters, power: against scipy, against formulas written another way, and against simulation."""

import numpy as np
import pytest
from scipy import stats

from course_utils.evaluation.clusters import (
    cluster_bootstrap,
    cluster_standard_error,
    design_effect,
    group_means,
    standard_error,
)
from course_utils.evaluation.paired_tests import benjamini_hochberg, holm, mcnemar, split_test
from course_utils.evaluation.power import questions_for_pairs, questions_for_two_samples, simulated_power


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (3, 3), (4, 9), (60, 41), (700, 640)])
def test_mcnemar_is_the_binomial_test_of_the_questions_that_tell(b, c):
    first = [True] * b + [False] * c + [True] * 7 + [False] * 3
    second = [False] * b + [True] * c + [True] * 7 + [False] * 3
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (b, c)
    assert found.exact == pytest.approx(stats.binomtest(b, b + c).pvalue if b + c else 1.0)
    below = stats.binom.cdf(min(b, c) - 1, b + c, 0.5) if b + c else 0.0
    here = stats.binom.pmf(min(b, c), b + c, 0.5)
    assert found.mid_p == pytest.approx(min(1.0, 2 * below + here))
    assert mcnemar(second, first).mid_p == found.mid_p <= found.exact


def test_the_mid_p_keeps_its_level_and_the_exact_test_is_more_careful():
    rng = np.random.default_rng(0)
    tests = [split_test(*np.bincount(rng.integers(0, 2, 40), minlength=2).tolist()) for _ in range(2_000)]
    exact, mid = np.mean([t.exact < 0.05 for t in tests]), np.mean([t.mid_p < 0.05 for t in tests])
    assert exact <= mid <= 0.065


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([], [], "at least one"),
        ([True], [True, False], "the same questions"),
        ([0.5], [True], "True or False"),
        ([None], [True], "True or False"),
    ],
)
def test_answers_that_are_no_pairs(first, second, words):
    with pytest.raises(ValueError, match=words):
        mcnemar(first, second)


def test_counts_below_zero():
    with pytest.raises(ValueError, match="0 or more"):
        split_test(-1, 2)


def test_corrections_for_many_tests():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert holm(p) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    library = stats.false_discovery_control(list(p.values()))
    assert list(benjamini_hochberg(p).values()) == pytest.approx(library.tolist())
    assert list(holm({"x": 0.9, "y": 0.8}).values()) == [1.0, 1.0]
    for correct in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match="between 0 and 1"):
            correct({"a": 1.5})
        with pytest.raises(ValueError, match="at least one"):
            correct({})


def test_the_cluster_error_is_the_sandwich_and_reduces_to_the_usual_one():
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 12, 80)
    x = rng.normal(size=80) + rng.normal(size=12)[clusters]
    same = (clusters[:, None] == clusters[None]).astype(float)  # the covariance of the mean, pair by pair
    rest, groups = x - x.mean(), len(set(clusters.tolist()))
    assert cluster_standard_error(x, clusters.tolist()) == pytest.approx(
        (rest @ same @ rest * groups / (groups - 1)) ** 0.5 / 80
    )
    alone = [str(i) for i in range(80)]
    assert cluster_standard_error(x, alone) == pytest.approx(standard_error(x))
    assert design_effect(x, alone) == pytest.approx(1)
    assert design_effect(x, clusters.tolist()) > 1


def test_groups_drawn_anew_agree_with_the_cluster_error():
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(60), 6)
    x = (rng.random(60) < 0.6).astype(float)[clusters]
    interval = cluster_bootstrap(x, clusters.tolist(), seed=3)
    assert interval.high - interval.low == pytest.approx(3.92 * cluster_standard_error(x, clusters.tolist()), rel=0.1)
    assert interval.value == pytest.approx(x.mean())


def test_what_cannot_be_said_of_groups():
    with pytest.raises(ValueError, match="1 groups"):
        cluster_standard_error([1.0, 0.0], ["a", "a"])
    with pytest.raises(ValueError, match="one figure and one name"):
        cluster_standard_error([1.0], ["a", "b"])
    with pytest.raises(ValueError, match="no numbers"):
        cluster_bootstrap([1.0, float("nan")], ["a", "b"])
    with pytest.raises(ValueError, match="cannot be said"):
        design_effect([1.0, 1.0], ["a", "b"])
    with pytest.raises(ValueError, match="confidence is 2"):
        cluster_bootstrap([1.0, 0.0], ["a", "b"], confidence=2)
    with pytest.raises(ValueError, match="two figures"):
        standard_error([1.0])


def test_an_empty_group_is_not_zero():
    assert group_means([1.0, 0.0, 1.0], ["a", "a", "b"], ["a", "b", "c"]) == {"a": 0.5, "b": 1.0, "c": None}
    with pytest.raises(ValueError, match="not among the expected"):
        group_means([1.0], ["d"], ["a"])
    with pytest.raises(ValueError, match="needs its group"):
        group_means([1.0], [], ["a"])


@pytest.mark.parametrize(("difference", "discordant"), [(0.02, 0.2), (0.05, 0.1), (0.1, 0.4)])
def test_the_formula_for_pairs_holds_in_simulation(difference, discordant):
    count = questions_for_pairs(difference, discordant)
    assert simulated_power(count, difference, discordant, rounds=4_000) == pytest.approx(0.8, abs=0.03)
    assert simulated_power(count, 0.0, discordant, rounds=4_000) < 0.065  # it cries wolf no more often than promised


def test_the_formula_for_two_samples_holds_in_simulation():
    count = questions_for_two_samples(0.8, 0.05)
    rng = np.random.default_rng(0)
    a, b = rng.binomial(count, 0.8, 4_000) / count, rng.binomial(count, 0.85, 4_000) / count
    middle = (a + b) / 2
    found = np.abs(b - a) / (2 * middle * (1 - middle) / count) ** 0.5 > 1.96
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_claims_that_no_number_of_questions_supports():
    with pytest.raises(ValueError, match="no number of questions"):
        questions_for_two_samples(0.8, 0.0)
    with pytest.raises(ValueError, match="better is 1"):
        questions_for_two_samples(0.9, 0.15)
    with pytest.raises(ValueError, match="lies within"):
        questions_for_pairs(0.3, 0.2)
    with pytest.raises(ValueError, match="no such test"):
        simulated_power(0, 0.1, 0.2)
