"""BLEU, ROUGE and intervals beside sacrebleu, rouge-score and theory; best-of-n."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from course_utils.alignment.best_of_n import best_of, best_of_n_kl, sample_completions
from course_utils.evaluation.overlap import bleu, longest_common_subsequence, rouge_l, rouge_n
from course_utils.evaluation.statistics import across_runs, bootstrap, paired_bootstrap, wilson
from course_utils.models.heads import RewardModel
from course_utils.pretrained.store import load
from course_utils.world import World
from course_utils.world.tasks import fact_questions

SENTENCE = st.lists(
    st.sampled_from("the lamp of brine is amber and ada keeps a heron".split()), min_size=1, max_size=12
)
TEXT = SENTENCE.map(" ".join)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_bleu_equals_sacrebleu(pairs):
    hypotheses, references = map(list, zip(*pairs, strict=True))
    theirs = BLEU(tokenize="none").corpus_score(hypotheses, [references]).score
    assert bleu(hypotheses, references) == pytest.approx(theirs, abs=1e-9)


def test_bleu_by_hand():
    # 5 of 6 words, 3 of 5 pairs, 1 of 4 triples, 0 of 3 fours (smoothed to 1/2); as long as the reference
    hypothesis, reference = "the lamp of brine is red", "the lamp of old brine is"
    shared = 5 / 6 * 3 / 5 * 1 / 4 * 0.5 / 3
    assert bleu([hypothesis], [reference]) == pytest.approx(100 * shared**0.25)
    assert bleu(["a b c d e"], ["a b c d e f g"]) == pytest.approx(100 * math.exp(1 - 7 / 5))
    assert bleu(["a b c d"], ["a b c d"]) == pytest.approx(100)
    assert bleu(["the the the the the"], ["the lamp is on now"]) < 25, "a word counts as often as in the reference"


@pytest.mark.slow  # the library imports all of nltk
@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT)
def test_rouge_equals_rouge_score(hypothesis, reference):
    from rouge_score import rouge_scorer

    theirs = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(reference, hypothesis)
    for name, ours in (
        ("rouge1", rouge_n(hypothesis, reference)),
        ("rouge2", rouge_n(hypothesis, reference, 2)),
        ("rougeL", rouge_l(hypothesis, reference)),
    ):
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx(tuple(theirs[name]), abs=1e-9), name


@pytest.mark.slow
def test_rouge_reads_signs_and_capitals_as_the_library_does():
    from rouge_score import rouge_scorer

    texts = "Ada's lamp-oil (1923), of BRINE!", "adas lamp oil 1923 of brine"
    theirs = rouge_scorer.RougeScorer(["rougeL"]).score(texts[1], texts[0])["rougeL"]
    assert rouge_l(*texts).f1 == pytest.approx(theirs.fmeasure)
    assert rouge_l("", "a").f1 == 0


def test_longest_common_subsequence_by_hand():
    assert longest_common_subsequence("a b c d e".split(), "b x d e a".split()) == 3
    assert longest_common_subsequence([], ["a"]) == 0


def test_pairs_that_do_not_pair_up():
    with pytest.raises(ValueError, match="2 hypotheses and 1 references"):
        bleu(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="into a list"):
        bleu("a", "a")


def test_the_interval_is_that_of_theory():
    """For a mean of many values the bootstrap's interval is the normal one: +-1.96 standard errors."""
    values = np.random.default_rng(0).exponential(size=2_000)
    found = bootstrap(values, seed=1)
    error = 1.96 * values.std(ddof=1) / math.sqrt(2_000)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + error, abs=0.15 * error)
    assert bootstrap(values, seed=1) == found != bootstrap(values, seed=2)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(300):
        found = bootstrap(rng.random(60) < 0.3, confidence=0.9, resamples=400, seed=trial)
        covered += found.low <= 0.3 <= found.high
    assert 0.83 < covered / 300 < 0.96


@pytest.mark.parametrize("runs", range(2, 11))
def test_the_interval_of_training_runs_is_students(runs):
    from scipy import stats

    values = np.random.default_rng(runs).normal(0.1, 0.05, runs)
    found = across_runs(values)
    low, high = stats.t.interval(0.95, runs - 1, values.mean(), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high), abs=1e-4)


@pytest.mark.parametrize("values", [[0.1], [0.1] * 11, [[0.1, 0.2]]])
def test_one_run_has_no_interval(values):
    with pytest.raises(ValueError, match="2 to 10 training runs"):
        across_runs(values)


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(2)
    hard = rng.normal(size=400)
    one, two = hard + 0.1 + 0.1 * rng.normal(size=400), hard
    paired = paired_bootstrap(one, two)
    assert paired.low > 0.08 and paired.high - paired.low < 0.2 * (bootstrap(one).high - bootstrap(one).low)
    median = bootstrap(one, np.median)
    assert median.value == pytest.approx(np.median(one)) and median.low < median.value < median.high
    with pytest.raises(ValueError, match="the same questions"):
        paired_bootstrap(one, two[:5])


def test_wilson_is_scipys():
    from scipy.stats import binomtest

    for right, n in ((0, 20), (3, 20), (95, 120), (120, 120)):
        theirs = binomtest(right, n).proportion_ci(0.95, method="wilson")
        found = wilson([True] * right + [False] * (n - right), z=1.959964)
        assert found == pytest.approx((right / n, theirs.low, theirs.high), abs=1e-6)
    assert wilson([True, False])[1:] == pytest.approx((0.0945, 0.9055), abs=1e-4)
    with pytest.raises(ValueError, match="no answers"):
        wilson([])


def test_intervals_refuse_what_has_none():
    with pytest.raises(ValueError, match="at least two"):
        bootstrap([1.0])
    with pytest.raises(ValueError, match="confidence is 95"):
        bootstrap([1.0, 2.0], confidence=95)


def test_best_of_n():
    instruct = load("instruct")
    tasks = fact_questions(World(seed=0).known[:2])
    reward = RewardModel(copy.deepcopy(instruct.model), seed=2)
    drawn, scores = sample_completions(instruct.model, reward, instruct.tokenizer, tasks, 4, seed=3)
    assert [len(texts) for texts in drawn] == [4] * len(tasks) and scores.shape == (len(tasks), 4)
    again, _ = sample_completions(instruct.model, reward, instruct.tokenizer, tasks, 4, seed=3)
    assert again == drawn
    best = best_of(drawn, scores, 4)
    assert all(text == texts[int(row.argmax())] for text, texts, row in zip(best, drawn, scores, strict=True))
    assert best_of(drawn, scores, 1) == [texts[0] for texts in drawn]
    with pytest.raises(ValueError, match="4 answers were drawn"):
        best_of(drawn, scores, 5)


def test_the_divergence_of_best_of_n():
    """For distinct answers it is exact: compare with the distribution of the best of n among many."""
    n, m = 4, 2_000
    ranks = (torch.arange(1, m + 1) / m).double()
    chance = ranks**n - (ranks - 1 / m) ** n  # that the best of n has this rank
    exact = float((chance * (chance * m).log()).sum())
    assert best_of_n_kl(n) == pytest.approx(exact, abs=2e-3)
    assert best_of_n_kl(1) == 0
