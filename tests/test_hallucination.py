"""Calibration, selective answers, semantic entropy, probes, verdicts with citations, files of claims, the plane."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from course_utils.evaluation.abstention import cluster_bootstrap, plane_point
from course_utils.evaluation.calibration import (
    apply_platt,
    brier,
    brier_parts,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    reliability,
    top_confidence,
)
from course_utils.evaluation.fact_files import (
    Choices,
    Claim,
    FactFileError,
    answer_logprobs,
    multiple_choice,
    read_choices,
    read_claims,
    score_claims,
)
from course_utils.evaluation.factuality import Statement
from course_utils.evaluation.linear_probe import fit_probe, layer_states
from course_utils.evaluation.selective import area_under, coverage_at, risk_coverage, threshold_that_refuses
from course_utils.evaluation.semantic_entropy import by_meaning, semantic_entropy
from course_utils.evaluation.verification import FlagScores, Library, flag_scores, verify
from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.scoring import last_logits

TINY = DecoderConfig(
    vocab_size=50,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=2,
)
answers_of_a_test = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


# --- calibration


def test_the_error_by_hand():
    bins = reliability([0.9, 0.7, 0.3], [True, False, True], 2)
    assert [b.count for b in bins] == [1, 2]
    assert expected_calibration_error([0.9, 0.7, 0.3], [True, False, True], 2) == pytest.approx((0.7 + 2 * 0.3) / 3)


def test_edges_belong_to_the_bin_below_and_decimals_fall_where_they_are_written():
    for tenth in range(11):
        assert reliability([tenth / 10], [True], 10)[0].count == 1
    pairs = reliability([0.3, 0.30001, 0.0], [True, False, True], 10)
    assert [b.count for b in pairs] == [1, 1, 1], "0.3 closes the third bin, 0 is in the first"
    assert len(reliability([0.0, 0.1], [True, True], 10)) == 1


@settings(deadline=None, max_examples=40)
@given(answers_of_a_test, st.integers(1, 12))
def test_the_parts_add_up_to_the_brier_score(rows, bins):
    p, right = zip(*rows, strict=True)
    parts = brier_parts(p, right, bins)
    assert parts.reliability - parts.resolution + parts.uncertainty + parts.within == pytest.approx(brier(p, right))
    assert 0 <= expected_calibration_error(p, right, bins) <= 1
    assert expected_calibration_error(p, right, 1) == pytest.approx(abs(np.mean(p) - np.mean(right)))


def test_equal_mass_bins_are_even_and_part_no_equals():
    p = np.linspace(0.01, 0.99, 40) ** 2
    assert {b.count for b in reliability(p, [True] * 40, 4, equal_mass=True)} == {10}
    assert len(reliability([0.5] * 9, [True] * 9, 4, equal_mass=True)) == 1


def test_a_calibrated_model_is_not_at_zero():
    rng = np.random.default_rng(0)
    p = rng.random(100)
    assert expected_calibration_error(p, rng.random(100) < p, 20) > 0.03


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_is_scipys(scale):
    generator = torch.Generator().manual_seed(int(10 * scale))
    z = torch.randn(400, 5, generator=generator) * 2
    y = torch.multinomial(z.softmax(-1), 1, generator=generator)[:, 0]

    def loss(log_t):
        return torch.nn.functional.cross_entropy(scale * z.double() / math.exp(log_t), y).item()

    theirs = math.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-8}).x)
    assert fit_temperature(scale * z, y) == pytest.approx(theirs, rel=1e-4)
    assert fit_temperature(scale * z, y) == pytest.approx(scale, rel=0.25)


def test_the_curve_of_platt_is_scipys():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.95, 300)
    right = rng.random(300) < p**2
    x = np.log(p / (1 - p))

    def loss(w):
        z = w[0] * x + w[1]
        return np.sum(np.logaddexp(0, z) - right * z) + 0.5e-3 * np.sum(w**2)

    assert fit_platt(p, right) == pytest.approx(tuple(minimize(loss, [1.0, 0.0], tol=1e-10).x), abs=1e-3)
    mended = apply_platt(p, *fit_platt(p, right))
    assert expected_calibration_error(mended, right) < expected_calibration_error(p, right)
    assert np.mean(mended) == pytest.approx(np.mean(right), abs=0.01)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: brier([], []), "cannot be said"),
        (lambda: brier([0.5], [True, False]), r"\(1,\) confidences and \(2,\) truth values"),
        (lambda: brier([float("nan")], [True]), "a confidence of nan"),
        (lambda: brier([1.2], [True]), "a confidence of 1.2"),
        (lambda: brier([0.2], [3]), "something else than True and False"),
        (lambda: reliability([0.2], [True], 0), "bins is 0"),
        (lambda: fit_platt([0.2, 0.4], [True, True]), "all 2 answers are right"),
        (lambda: fit_temperature(torch.ones(2, 3), torch.zeros(3).long()), r"logits \(2, 3\) and labels \(3,\)"),
        (lambda: fit_temperature(torch.full((1, 2), torch.inf), torch.zeros(1).long()), "NaN or infinite"),
        (lambda: top_confidence(torch.ones(1, 2), 0.0), "temperature is 0.0"),
    ],
)
def test_what_cannot_be_calibrated_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- selective answers


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.5, 0.9]), st.booleans()), min_size=1, max_size=30))
def test_every_point_is_a_threshold(rows):
    p, right = zip(*rows, strict=True)
    coverages, risks = risk_coverage(p, right)
    for threshold, coverage, risk in zip(sorted(set(p), reverse=True), coverages, risks, strict=True):
        kept = [r for q, r in rows if q >= threshold]
        assert coverage == pytest.approx(len(kept) / len(rows)) and risk == pytest.approx(1 - sum(kept) / len(kept))
    assert coverages[-1] == 1 and 0 <= area_under(coverages, risks) <= 1


def test_a_perfect_order_is_best_and_the_level_means_nothing():
    right = [True] * 6 + [False] * 4
    best, worst = (risk_coverage(sign * np.arange(10.0), right) for sign in (-1, 1))
    assert area_under(*best) < area_under(*worst) and coverage_at(*best, 0.0) == 0.6 and coverage_at(*worst, 0.1) == 0.0
    assert risk_coverage(np.exp(-np.arange(10.0)), right) == best


def test_a_threshold_refuses_what_it_promises():
    scores = np.random.default_rng(0).random(45)
    for share in (0.0, 0.05, 0.1, 0.5):
        assert np.mean(scores < threshold_that_refuses(scores, share)) <= share
    assert threshold_that_refuses([0.2] * 5, 0.4) == 0.2
    for bad, words in (([], "no confidences"), ([0.1], "share is 1")):
        with pytest.raises(ValueError, match=words):
            threshold_that_refuses(bad, 1.0 if bad else 0.1)
    with pytest.raises(ValueError, match="NaN"):
        risk_coverage([float("nan")], [True])


# --- semantic entropy


def test_entropy_over_meanings():
    assert semantic_entropy(["a", "a", "a"]) == 0
    assert semantic_entropy(list("abcd")) == pytest.approx(math.log(4))
    assert semantic_entropy("aaab") == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    logs = [math.log(x) - 900 for x in (0.3, 0.1, 0.4)]  # no exp of these is above 0
    assert semantic_entropy("aba", logs) == pytest.approx(-7 / 8 * math.log(7 / 8) - 1 / 8 * math.log(1 / 8))
    for call, words in (
        (lambda: semantic_entropy([]), "cannot be said"),
        (lambda: semantic_entropy("ab", [0.0]), "for 2"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_meanings_need_both_directions():
    def follows(a, b):
        return set(b.split()) <= set(a.split())

    assert by_meaning(["mira lives here", "here lives mira", "mira lives", "mira lives here now"], follows) == [
        0,
        0,
        1,
        2,
    ]


# --- probes


def test_a_probe_finds_a_line_and_needs_both_kinds():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator)
    labels = (x[:, 2] - x[:, 4] + 0.3 > 0).tolist()
    probe = fit_probe(x, labels, l2=0.1)
    fresh = torch.randn(400, 6, generator=generator)
    assert ((probe(fresh) > 0) == (fresh[:, 2] - fresh[:, 4] + 0.3 > 0)).float().mean() > 0.95
    with pytest.raises(ValueError, match="all labels are alike"):
        fit_probe(x, [True] * 400)
    with pytest.raises(ValueError, match="3 labels"):
        fit_probe(x, [True, False, True])


def test_a_probe_is_scipys_logistic_regression():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(120, 3, generator=generator).double()
    labels = torch.rand(120, generator=generator) < torch.sigmoid(x[:, 0].float())
    probe = fit_probe(x, labels.tolist(), l2=2.0)
    z, y = ((x - x.mean(0)) / x.std(0)).numpy(), labels.numpy()

    def loss(w):
        margin = z @ w[:-1] + w[-1]
        return np.sum(np.logaddexp(0, margin) - y * margin) + np.sum(w[:-1] ** 2)

    theirs = minimize(loss, np.zeros(4), tol=1e-12).x
    assert [*probe.weight.tolist(), probe.bias] == pytest.approx(theirs.tolist(), abs=1e-4)


def test_layer_states_are_transformers():
    model = Decoder(TINY, seed=3)
    encoded = [[4, 7, 9], [3, 8, 2, 11, 5], [6]]
    ours, theirs = layer_states(model, encoded, 0), layer_states(to_llama(model), encoded, 0)
    assert ours.shape == (3, 4, 16)
    torch.testing.assert_close(ours[:, :3], theirs[:, :3], rtol=1e-4, atol=1e-5)
    normalized = model.model.norm(ours[:, 3])
    torch.testing.assert_close(normalized, theirs[:, 3], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        alone = torch.stack([model(torch.tensor([row])).logits[0, -1] for row in encoded])
    torch.testing.assert_close(last_logits(model, encoded, 0), alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="no texts"):
        last_logits(model, [], 0)


# --- verdicts


MIRA, OTHER = Statement("Mira Vale", "town", "Mistley"), Statement("Mira Vale", "town", "Gullport")
TRADE = Statement("Mira Vale", "trade", "baker")


@pytest.mark.parametrize(
    ("passages", "expected"),
    [
        ([{MIRA}], ("SUPPORTS", [0])),
        ([{TRADE}, {MIRA, TRADE}], ("SUPPORTS", [1])),
        ([{OTHER}], ("REFUTES", [0])),
        ([{TRADE}], ("NOT ENOUGH INFO", [])),
        ([{MIRA}, {OTHER}], ("NOT ENOUGH INFO", [0, 1])),
        ([{MIRA, OTHER}], ("NOT ENOUGH INFO", [0])),
        ([], ("NOT ENOUGH INFO", [])),
    ],
)
def test_a_claim_against_passages(passages, expected):
    assert verify(MIRA, passages) == expected


def test_a_library_cites_what_it_rests_on():
    pages = ["Mira Vale lives in Mistley. She works as a baker.", "Tobin Reed keeps a pet goose.", "It rains."]
    library = Library(pages)
    found = library.check("Mira Vale lives in Gullport. Tobin Reed keeps a pet goose. Mira Vale is fond of chess.")
    assert [(f.label, f.cited) for f in found] == [("REFUTES", (0,)), ("SUPPORTS", (1,)), ("NOT ENOUGH INFO", ())]
    assert library.supports("She works as a baker.", 0) is None, "nobody is named"
    assert library.supports("Mira Vale works as a baker.", 0) is True
    assert library.supports("Mira Vale works as a weaver.", 0) is False
    assert library.search("zebra") == []


def test_flags_that_cannot_be_scored_are_not_zero():
    assert flag_scores([True, True, False], [True, False, True]) == FlagScores(0.5, 0.5, 2, 2)
    assert flag_scores([False], [True]).precision is None and flag_scores([True], [False]).recall is None
    with pytest.raises(ValueError, match="2 flags for 1"):
        flag_scores([True, False], [True])


# --- files


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_claims_are_read(tmp_path):
    file = write(
        tmp_path / "a.jsonl",
        '{"id": 7, "claim": "Mira Vale lives in Mistley.", "label": "SUPPORTS", "evidence": []}\n\n'
        '{"id": 8, "claim": "It rains.", "label": "NOT ENOUGH INFO"}\n',
    )
    rows = read_claims(file)
    assert rows == [Claim("7", "Mira Vale lives in Mistley.", "SUPPORTS"), Claim("8", "It rains.", "NOT ENOUGH INFO")]
    scores = score_claims(rows, lambda text: "SUPPORTS" if "Mira" in text else None)
    assert scores == {
        "accuracy": 0.5,
        "unread": 1,
        "recall": {"SUPPORTS": 1.0, "REFUTES": None, "NOT ENOUGH INFO": 0.0},
    }
    with pytest.raises(ValueError, match="label_of gave"):
        score_claims(rows, lambda text: "TRUE")
    with pytest.raises(ValueError, match="cannot be said"):
        score_claims([], str)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{not json\n", "line 1: no JSON"),
        ('{"id": 1, "claim": "a"}\n', "line 1: no label"),
        ("[1, 2]\n", "line 1: no id, claim, label"),
        ('{"id": 1, "claim": " ", "label": "SUPPORTS"}\n', "line 1: the claim is empty"),
        ('{"id": 1, "claim": "a", "label": "true"}\n', "line 1: label 'true'; expected SUPPORTS"),
        ('{"id": 1, "claim": "a", "label": "SUPPORTS"}\n' * 2, "line 2: id 1 comes a second time"),
        ("{\n" * 9, "9 rows cannot be used(.|\n)*and 4 more"),
        ("\n", "has no rows"),
    ],
)
def test_a_bad_claim_is_named(tmp_path, text, words):
    with pytest.raises(FactFileError, match=words):
        read_claims(write(tmp_path / "a.jsonl", text))


HEAD = "Type,Question,Best Answer,Correct Answers,Incorrect Answers\n"


def test_choices_are_read(tmp_path):
    rows = read_choices(write(tmp_path / "a.csv", HEAD + 'x,Who?,Mira,Mira; Mira Vale,"Tobin; Elsa; "\n'))
    assert rows == [Choices("Who?", "Mira", ("Mira", "Mira Vale"), ("Tobin", "Elsa"))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Question,Best Answer\nWho?,Mira\n", "no column Correct Answers, Incorrect Answers"),
        (HEAD + "x,Who?,Mira,Tobin,Elsa\n", "line 2: the best answer 'Mira' is not among"),
        (HEAD + "x,Who?,Mira,Mira,Elsa; Mira\n", "line 2: 'Mira' is both correct and incorrect"),
        (HEAD + "x,Who?,Mira,Mira,\n", "line 2: an empty field"),
        (HEAD + "x,Who?,Mira,Mira,Elsa\n" * 2, "line 3: the question comes a second time"),
        (HEAD, "has no rows"),
    ],
)
def test_a_bad_choice_is_named(tmp_path, text, words):
    with pytest.raises(FactFileError, match=words):
        read_choices(write(tmp_path / "a.csv", text))


def test_multiple_choice_is_transformers():
    from course_utils.pretrained.store import load

    found = load("instruct")
    rows = [
        Choices("Where does Mira Oakley live?", "Mistley.", ("Mistley.", "In Mistley."), ("Gullport.", "Saltmere."))
    ]
    scores = multiple_choice(found.model, found.tokenizer, rows)
    texts = [*rows[0].right, *rows[0].wrong]
    logs = []
    model = to_llama(found.model) if isinstance(found.model, Decoder) else found.model
    for text in texts:
        chat = [{"role": "user", "content": rows[0].question}, {"role": "assistant", "content": text}]
        whole = found.tokenizer.apply_chat_template(chat, return_dict=False)
        begin = len(found.tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=False))
        labels = torch.tensor([[-100] * begin + whole[begin:]])
        with torch.no_grad():
            loss = model(torch.tensor([whole]), labels=labels).loss
        logs.append(-loss.item() * (len(whole) - begin))
    ours = answer_logprobs(found.model, found.tokenizer, [(rows[0].question, text) for text in texts])
    assert ours == pytest.approx(logs, abs=1e-3)
    p = np.exp(logs)
    assert scores["mc2"] == pytest.approx([p[:2].sum() / p.sum()], rel=1e-3)
    assert scores["mc1"] == [float(logs[0] > max(logs[2:]))]
    with pytest.raises(ValueError, match="no questions"):
        multiple_choice(found.model, found.tokenizer, [])


# --- the plane


def said(correct=False, invented=False, abstained=False):
    return SimpleNamespace(correct=correct, invented=invented, abstained=abstained)


def test_a_gate_refuses_in_the_models_place():
    tasks = [{"about": name} for name in "aabb"]
    known, strange = [said(correct=True)] * 3 + [said(abstained=True)], [said(invented=True)] * 4
    point = plane_point(tasks, known, tasks, strange)
    assert (point.invention.value, point.refusal.value, point.right.value) == (1.0, 0.25, 0.75)
    gated = plane_point(tasks, known, tasks, strange, [True, False, False, False], [True, True, False, False])
    assert (gated.invention.value, gated.refusal.value, gated.right.value) == (0.5, 0.5, 0.5)
    assert gated.whiskers()[2:] == (gated.invention.low, gated.invention.high)
    with pytest.raises(ValueError, match="argument"):
        plane_point(tasks, known[:2], tasks, strange)


def test_people_are_drawn_not_questions():
    groups = [name for name in "abcdefghij" for _ in range(6)]
    alike = [float(name < "f") for name in groups]  # all six answers of a person are the same
    mixed = [float(i % 2) for i in range(60)]
    wide, narrow = (cluster_bootstrap(values, groups) for values in (alike, mixed))
    assert wide.value == narrow.value == 0.5
    assert wide.high - wide.low > 0.4 and narrow.high - narrow.low == 0
    with pytest.raises(ValueError, match="two or more"):
        cluster_bootstrap([1.0], ["a"])
    with pytest.raises(ValueError, match="2 values for 1"):
        cluster_bootstrap([1.0, 0.0], ["a"])


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for trial, _ in itertools.product(range(60), range(1)):
        rates = rng.beta(2, 2, 40)
        values = (rng.random((40, 6)) < rates[:, None]).ravel()
        found = cluster_bootstrap(values, np.repeat([str(i) for i in range(40)], 6), resamples=400, seed=trial)
        held += found.low <= 0.5 <= found.high
    assert held >= 50
