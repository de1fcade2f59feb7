"""Audits of leans, corrections for many tests, group rates, counterfactual text and the remedies."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from course_utils.alignment.continuation_pairs import ContinuationPairs
from course_utils.evaluation import association, fairness
from course_utils.evaluation.association import SELF, AuditError
from course_utils.evaluation.fairness import FairnessError, equalized_odds_gap, group_rates, largest_gap
from course_utils.evaluation.multiple_comparisons import benjamini_hochberg, binomial_p, holm
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.text.counterfactual import swap_pronouns
from course_utils.text.tokenizer import encode_plain
from course_utils.text.words import word_tokenizer
from course_utils.training.debias import (
    AdversarialObjective,
    RowBatches,
    WithAdversary,
    reverse_gradient,
    weighted_token_loss,
)
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import next_token_loss
from course_utils.world.mentions import OPENINGS, REFLEXIVE, mentions, vocabulary
from course_utils.world.people import SHE_LEANING, TRADES


@pytest.fixture(scope="module")
def words():
    return word_tokenizer(vocabulary())


def small(words) -> Decoder:
    torch.manual_seed(0)
    return Decoder(
        DecoderConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, tie_word_embeddings=False
        )
    )


def read(words, texts):
    return [[words.bos_token_id, *ids] for ids in encode_plain(list(texts), words)]


# ---- the world's sentences


def test_mentions_have_the_planted_strength_and_only_known_words(words):
    told = mentions(4_000, 0.6, seed=3)
    own = np.mean([(m.pronoun == "she") == (m.trade in SHE_LEANING) for m in told])
    assert 2 * own - 1 == pytest.approx(0.6, abs=0.05)
    assert all(words.pad_token_id not in ids for ids in encode_plain([m.text for m in told[:300]], words))
    assert mentions(5, 0.6, 3) == told[:5] and all(REFLEXIVE[m.pronoun] in m.text for m in told)
    extreme = mentions(200, 1.0, seed=1)
    assert all((m.pronoun == "she") == (m.trade in SHE_LEANING) for m in extreme)


@pytest.mark.parametrize(("count", "bias"), [(0, 0.5), (3, -0.1), (3, 1.1)])
def test_mentions_refuse_what_makes_no_sense(count, bias):
    with pytest.raises(ValueError, match="a bias from 0 to 1"):
        mentions(count, bias, 0)


def test_a_mention_tells_the_trade_alone():
    told = mentions(1, 0.5, 0)[0]
    assert told.fact("trade") == told.trade
    with pytest.raises(KeyError, match="trade alone"):
        told.fact("dish")


def test_a_tokenizer_of_words_needs_each_once():
    with pytest.raises(ValueError, match="each word"):
        word_tokenizer(["a", "a"])


# ---- audits


class Rigged(nn.Module):
    """A model that gives herself the probability ``share`` behind every trade of one side, 1 - share behind others."""

    def __init__(self, words, share: float) -> None:
        super().__init__()
        self.words, self.share, self.nothing = words, share, nn.Parameter(torch.zeros(1))

    def forward(self, input_ids):
        she, he = (self.words.convert_tokens_to_ids(w) for w in ("herself", "himself"))
        logits = torch.zeros(*input_ids.shape, len(self.words))
        leaning = torch.isin(input_ids, torch.tensor([self.words.convert_tokens_to_ids(t) for t in SHE_LEANING]))
        p = torch.where(leaning, self.share, 1 - self.share)
        logits[..., she], logits[..., he] = p.log(), (1 - p).log()
        return type("Out", (), {"logits": logits})()


def test_an_audit_finds_what_was_rigged(words):
    found = association.audit_leans(Rigged(words, 0.8), words, ["-"], words=SELF, templates=OPENINGS)
    assert found.strength.value == pytest.approx(0.6, abs=1e-6) and found.size == pytest.approx(0.6, abs=1e-6)
    assert found.by_trade["baker"] == pytest.approx(0.6, abs=1e-6)
    assert found.by_trade["weaver"] == pytest.approx(-0.6, abs=1e-6)
    assert found.leans.shape == (len(TRADES), len(OPENINGS))


def test_an_audit_says_what_it_cannot_compare(words):
    with pytest.raises(AuditError, match="no token tells the two kinds apart"):
        association.audit_leans(Rigged(words, 0.8), words, ["-"], words=((" herself",), (" herself",)))
    with pytest.raises(AuditError, match="0 names"):
        association.audit_leans(Rigged(words, 0.8), words, [])
    with pytest.raises(AuditError, match="two independent figures"):
        association.mean_interval([0.3])


def test_the_interval_is_students():
    from scipy.stats import t

    data = np.random.default_rng(0).normal(size=12)
    found = association.mean_interval(data, 0.99)
    low, high = t.interval(0.99, 11, data.mean(), data.std(ddof=1) / 12**0.5)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_counts_of_a_corpus():
    counts = association.corpus_counts(mentions(100, 0.5, 0))
    assert sum(map(sum, counts.values())) == 100 and list(counts) == sorted(counts)


# ---- many tests


@pytest.mark.parametrize("seed", range(5))
def test_corrections_equal_the_libraries(seed):
    from scipy.stats import false_discovery_control

    p = np.random.default_rng(seed).uniform(size=9) ** 2
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p).tolist())
    ranked = np.sort(p)
    slow = [max(min(1.0, (9 - k) * q) for k, q in enumerate(ranked) if q <= x) for x in p]
    assert holm(p) == pytest.approx(slow)
    assert all(h >= b >= x for h, b, x in zip(holm(p), benjamini_hochberg(p), p, strict=True))


@pytest.mark.parametrize("bad", [[], [0.2, 1.2], [float("nan")]])
def test_corrections_need_probabilities(bad):
    for correct in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match="probabilities"):
            correct(bad)


def test_no_counts_have_no_p_value():
    assert binomial_p(0, 0) is None and binomial_p(5, 5) == 1.0
    with pytest.raises(ValueError, match="counts of 0 or more"):
        binomial_p(-1, 3)


# ---- groups


def random_decisions(seed: int):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, 90).tolist(), rng.integers(0, 2, 90).tolist(), rng.choice(list("abc"), 90).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_gaps_equal_fairlearns(seed):
    from fairlearn import metrics

    y, chosen, group = random_decisions(seed)
    rates = group_rates(y, chosen, group)
    assert equalized_odds_gap(rates) == pytest.approx(
        metrics.equalized_odds_difference(y, chosen, sensitive_features=group)
    )
    assert largest_gap(rates, "selection") == pytest.approx(
        metrics.demographic_parity_difference(y, chosen, sensitive_features=group)
    )


def test_what_cannot_be_said_is_none():
    y, chosen, group = random_decisions(0)
    lonely = group_rates([*y, 0], [*chosen, 1], [*group, "d"])
    assert lonely["d"].tpr is None and lonely["d"].selection is None and lonely["d"].count == 1
    assert equalized_odds_gap(lonely) is None and largest_gap(lonely, "selection") is None
    one_class = group_rates([1] * 20, [1, 0] * 10, list("ab") * 10)
    assert one_class["a"].fpr is None and equalized_odds_gap(one_class) is None
    assert largest_gap(group_rates([1, 0] * 10, [1, 0] * 10, ["a"] * 20), "selection") is None


def test_odd_labels_are_named():
    with pytest.raises(FairnessError, match=r"row 1: deserve is 'yes'"):
        group_rates([1, "yes"], [1, 0], ["a", "b"])
    with pytest.raises(FairnessError, match=r"row 0: chosen is 0.7; 0 or 1 is expected. Choose a threshold"):
        group_rates([1], [0.7], ["a"])
    with pytest.raises(FairnessError, match="2 labels, 1 decisions"):
        group_rates([1, 0], [1], ["a", "b"])
    with pytest.raises(FairnessError, match="not empty"):
        group_rates([], [], [])
    assert fairness.SMALLEST > 1


# ---- remedies


def test_swapping_twice_is_nothing():
    text = "She met him there. Her shepherd himself; His other theatre."
    assert swap_pronouns(text) == "He met her there. His shepherd herself; Her other theatre."
    assert swap_pronouns(swap_pronouns(text)) == text


def test_weights_of_rows(words):
    rows = read(words, [m.text for m in mentions(6, 0.5, 0)])
    model = small(words)
    even, _ = weighted_token_loss(model, RowBatches(rows, 6, 0)[0])
    plain, _ = next_token_loss(model, RowBatches(rows, 6, 0)[0])
    assert even.item() == pytest.approx(plain.item(), abs=1e-6)
    weights = [0, 0, 1, 0, 0, 0]
    one, _ = weighted_token_loss(model, RowBatches(rows, 6, 0, weights)[0])
    alone, _ = next_token_loss(model, RowBatches([rows[2]], 1, 0)[0])
    assert one.item() == pytest.approx(alone.item(), abs=1e-6)
    with pytest.raises(ValueError, match="one for each, 0 or more"):
        RowBatches(rows, 6, 0, [1.0, -1.0])


def test_a_reversed_gradient():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = reverse_gradient(x, 3.0)
    assert torch.equal(y, x)
    (y * torch.tensor([1.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [-3.0, -15.0]


def test_the_adversary_learns_and_the_model_is_pushed_away(words):
    she, he = (words.convert_tokens_to_ids(w) for w in ("herself", "himself"))
    batch = RowBatches(read(words, [m.text for m in mentions(40, 0.9, 0)]), 40, 0)[0]
    grads = {}
    for strength in (0.0, 1.0):
        torch.manual_seed(0)
        both = WithAdversary(small(words))
        loss, metrics = AdversarialObjective([she], [he], strength)(both, batch)
        loss.backward()
        grads[strength] = (both.adversary.weight.grad.clone(), both.model.model.embed_tokens.weight.grad.clone())
        assert float(metrics["adversary"]) > 0 and metrics["tokens"] > 0
    assert torch.allclose(grads[0.0][0], grads[1.0][0]) and not torch.allclose(grads[0.0][1], grads[1.0][1])
    plain = small(words)
    next_token_loss(plain, batch)[0].backward()
    assert torch.allclose(plain.model.embed_tokens.weight.grad, grads[0.0][1], atol=1e-6)


def test_an_adversary_goes_ahead_by_plain_gradient_steps(words):
    she, he = (words.convert_tokens_to_ids(w) for w in ("herself", "himself"))
    batch = RowBatches(read(words, [m.text for m in mentions(40, 0.9, 0)]), 40, 0)[0]
    torch.manual_seed(0)
    both = WithAdversary(small(words))
    body, start = copy.deepcopy(both.model.state_dict()), copy.deepcopy(both.adversary.weight.detach())
    AdversarialObjective([she], [he], 0.0)(both, batch)[0].backward()
    gradient = both.adversary.weight.grad.clone()
    both.zero_grad()
    _, once = AdversarialObjective([she], [he], 1.0, ahead=1)(both, batch)
    moved = start - both.adversary.weight.detach()
    assert torch.allclose(moved / moved.norm(), gradient / gradient.norm(), atol=1e-5)
    _, often = AdversarialObjective([she], [he], 1.0, ahead=20)(both, batch)
    assert float(often["adversary"]) < float(once["adversary"])
    assert all(torch.equal(value, body[name]) for name, value in both.model.state_dict().items())
    with pytest.raises(ValueError, match="ahead is -1"):
        AdversarialObjective([she], [he], 1.0, ahead=-1)


def test_a_model_takes_over_a_strong_bias(words):
    told = mentions(400, 0.9, 0)
    rows = RowBatches(read(words, [m.text for m in told]), 64, words.pad_token_id)
    model = small(words)
    config = TrainConfig(steps=60, learning_rate=2e-2, warmup_steps=2, weight_decay=0.0, device="cpu")
    train(model, rows, weighted_token_loss, config, progress=False)
    found = association.audit_leans(model, words, ["-"], words=SELF, templates=OPENINGS)
    assert found.strength.value > 0.5


def test_pairs_of_continuations(words):
    a, b = read(words, ["The baker herself sold the flute.", "The baker himself sold the flute."])
    batch = ContinuationPairs([(a, b), (b, a)], 2, words.pad_token_id)[0]
    assert batch["input_ids"].shape == (2, 2, len(a)) and batch["response_mask"].sum().item() == 4
    place = int(batch["response_mask"][0, 0].argmax())
    assert {int(batch["input_ids"][0, side, place + 1]) for side in (0, 1)} == {a[3], b[3]}
    with pytest.raises(ValueError, match="pair 0 differs at"):
        ContinuationPairs([(a, a)], 1, 0)


# ---- other audits


def test_pairs_of_sentences_are_preferred_by_their_likelihood(words):
    pairs = [(f"The {trade} herself sold the flute.", f"The {trade} himself sold the flute.") for trade in TRADES]
    found = association.pair_preferences(Rigged(words, 0.8), words, pairs)
    assert found == [trade in SHE_LEANING for trade in TRADES]
    with pytest.raises(AuditError, match="cannot be said"):
        association.pair_preferences(Rigged(words, 0.8), words, [])


def test_an_association_test_by_hand():
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    near, far = np.array([[2.0, 0.1], [1.0, 0.0], [3.0, 0.2]]), np.array([[0.1, 1.0], [0.0, 2.0], [0.2, 2.0]])
    found = association.association_test(near, far, a, b)
    assert 1.5 < found.effect <= 2 and found.p < 0.2
    turned = association.association_test(far, near, a, b)
    assert turned.effect == pytest.approx(-found.effect)
    same = association.association_test(near, near[::-1], a, b)
    assert abs(same.effect) < 1e-9 and same.p == 1.0
    rng = np.random.default_rng(0)
    alarms = [association.association_test(*rng.normal(size=(4, 8, 5)), permutations=200).p <= 0.05 for _ in range(200)]
    assert np.mean(alarms) < 0.11


@pytest.mark.parametrize(
    ("sides", "words_"),
    [
        ((np.zeros((0, 2)), np.ones((2, 2)), np.ones((1, 2)), np.ones((1, 2))), "none may be empty"),
        ((np.zeros((1, 2)), np.ones((2, 2)), np.ones((1, 2)), np.ones((1, 2))), "points nowhere"),
        ((np.ones((2, 2)), np.ones((2, 2)), np.ones((1, 2)), np.ones((1, 2))), "associated alike"),
    ],
)
def test_an_association_test_says_what_it_cannot(sides, words_):
    with pytest.raises(AuditError, match=words_):
        association.association_test(*sides)
