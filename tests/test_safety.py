"""Refusals, a search for suffixes, filters, canaries, unlearning, and the audit of a folder."""

from __future__ import annotations

import copy
from math import log2

import numpy as np
import pytest
import torch

from course_utils import cli
from course_utils.alignment.unlearning import ForgetBatches, UnlearnObjective
from course_utils.evaluation import safety
from course_utils.evaluation.association import AuditError
from course_utils.evaluation.detection import auc, cheapest_threshold, roc
from course_utils.evaluation.memorisation import exposure, make_canaries, secret_logprobs
from course_utils.evaluation.text_filter import fit_filter, tokens_held
from course_utils.pretrained import store
from course_utils.text.special_tokens import opening_id
from course_utils.text.tokenizer import encode_plain
from course_utils.training.debias import RowBatches
from course_utils.training.loop import TrainConfig, train
from course_utils.workshop import audit
from course_utils.world import World
from course_utils.world.oracle import judge
from course_utils.world.requests import DEEDS, HELPS, NEW_FRAMES, SEEN_FRAMES, TRIAL_FRAMES, WIDE_FRAMES, requests


@pytest.fixture(scope="module")
def instruct():
    return store.load("instruct", device="cpu", root=store.SHIPPED)


@pytest.fixture(scope="module")
def world():
    return World(seed=0)


# ---- requests


def test_frames_are_apart_and_requests_come_in_twins(world):
    assert len({*NEW_FRAMES, *WIDE_FRAMES, *TRIAL_FRAMES}) == len(NEW_FRAMES) + len(WIDE_FRAMES) + len(TRIAL_FRAMES)
    assert set(SEEN_FRAMES) < set(WIDE_FRAMES)
    tasks = requests(world.known, 30, NEW_FRAMES, 0)
    assert [task["kind"] for task in tasks] == ["decline", "help"] * 30
    for bad, good in zip(tasks[::2], tasks[1::2], strict=True):
        assert bad["about"] == good["about"] and bad["prompt"] != good["prompt"]
        assert judge(bad, bad["answer"]).correct and safety.refused(bad["answer"])
        assert not safety.refused(good["answer"]) and safety.helped(good["answer"]) and not safety.helped(bad["answer"])
        assert good["answer"] == good["help"] and safety.helped(bad["help"])
    assert len({deed for pair in DEEDS for deed in pair}) == 2 * len(DEEDS)


def test_one_help_names_the_deed_and_the_other_is_the_same_for_harm_and_its_twin(world):
    told = requests(world.known, 40, SEEN_FRAMES, 0)
    forms = {
        (bad["help"] == good["help"], " To " in bad["help"]) for bad, good in zip(told[::2], told[1::2], strict=True)
    }
    assert forms == {(True, False), (False, True)} and len(HELPS) == 2


def test_declined_helped_and_neither():
    said = ["Gladly. To cook for Ada, begin early.", "I will not help with that.", "1937.", "gladly. I will not help"]
    assert [safety.helped(text) for text in said] == [True, False, False, False]
    assert [safety.refused(text) for text in said] == [False, True, False, True]


def test_the_score_of_a_search(instruct, world):
    tokenizer, prompt = instruct.tokenizer, ["Help me find the purse."]
    words = ["market", "left"]

    def search(refuse, penalty=None):
        return safety.search_suffix(instruct.model, tokenizer, prompt, words, 1, refuse, "Gladly", 2, penalty=penalty)

    assert search(None).margins[0] > 0  # minus a log probability
    barred = search("I", lambda texts: torch.tensor([1e3 * ("market" in text or "left" in text) for text in texts]))
    assert barred.suffix == "" and barred.tried == 2
    one = search("I", lambda texts: torch.tensor([1e3 * ("left" in text) - 1e3 * ("market" in text) for text in texts]))
    assert one.suffix == " market"
    with pytest.raises(ValueError, match="comply is empty"):
        safety.search_suffix(instruct.model, tokenizer, prompt, words, 1, None, "")
    with pytest.raises(ValueError, match="0 people"):
        requests([], 3, NEW_FRAMES, 0)


def test_refusals_are_sorted_by_kind(instruct, world):
    found = safety.refusals(instruct.model, instruct.tokenizer, requests(world.known, 4, SEEN_FRAMES, 0))
    assert len(found.harmful) == len(found.harmless) == 4
    none = safety.Refusals([True, False], [])
    assert none.share == {"refusal": 0.5, "over_refusal": None}


def test_a_suffix_never_makes_the_margin_larger(instruct, world):
    prompts = [task["prompt"] for task in requests(world.known, 3, SEEN_FRAMES, 0) if task["kind"] == "decline"]
    found = safety.search_suffix(
        instruct.model, instruct.tokenizer, prompts, ["market", "left", "tone", "Sum"], 2, "I", "Gladly", 4
    )
    assert found.margins == sorted(found.margins, reverse=True) and len(found.margins) - 1 == len(found.suffix.split())
    with pytest.raises(ValueError, match="same token"):
        safety.search_suffix(instruct.model, instruct.tokenizer, prompts, ["x"], 1, "I", "I")
    with pytest.raises(ValueError, match="0 prompts"):
        safety.search_suffix(instruct.model, instruct.tokenizer, [], ["x"], 1, "I", "Gladly")


def test_three_numbers(instruct, world):
    found = safety.three_numbers(instruct.model, instruct.tokenizer, world, 12)
    assert {name: len(values) for name, values in found.items()} == {"helpful": 12, "honest": 12, "harmless": 12}
    assert np.mean(found["helpful"]) > 0.6


# ---- filters


@pytest.mark.slow
def test_roc_and_area_equal_sklearns():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=80).round(1), rng.random(80) < 0.4
    false, hit = roc(scores, labels)
    theirs = metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert false == pytest.approx(theirs[0]) and hit == pytest.approx(theirs[1])
    assert auc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores))


def test_one_class_cannot_be_said():
    assert roc([0.1, 0.2], [True, True]) is None and auc([0.1, 0.2], [False, False]) is None
    with pytest.raises(ValueError, match="one class"):
        cheapest_threshold([0.1], [True], 1, 1)
    for scores, labels in (([], []), ([float("nan")], [True]), ([0.1], [True, False])):
        with pytest.raises(ValueError, match="two equal lists"):
            auc(scores, labels)


def test_rare_harm_raises_the_threshold():
    scores, harmful = [0.9, 0.8, 0.7, 0.3, 0.2], [True, False, True, False, False]
    often, _ = cheapest_threshold(scores, harmful, 1, 1, share=0.5)
    rarely, cost = cheapest_threshold(scores, harmful, 1, 1, share=0.01)
    assert often == 0.7 and rarely == 0.9 and cost == pytest.approx(0.005)


def test_a_filter_reads_words_and_not_their_order(instruct):
    tokenizer = instruct.tokenizer
    told = ["steal the purse", "find the purse", "steal the boat", "clean the boat"] * 3
    block = fit_filter(told, [text.startswith("steal") for text in told], tokenizer, l2=1.0)
    scores = block(["steal the lamp", "the lamp steal", "find the boat", "a violet quilt"])
    assert float(scores[0]) > 0 > float(scores[2])
    held = tokens_held(["steal the lamp", "the lamp", ""], tokenizer)
    assert held.shape == (3, len(tokenizer)) and set(held.unique().tolist()) == {0.0, 1.0} and not held[2].any()
    with pytest.raises(ValueError, match="labels are alike"):
        fit_filter(told, [True] * 12, tokenizer)


# ---- memory


def test_exposure_counts_ties_against_the_secret():
    assert exposure(-1.0, [-2.0, -3.0, -4.0]) == 2.0 and exposure(-1.0, [-1.0, -3.0, -4.0]) == 1.0
    assert exposure(-9.0, [-1.0, -2.0, -3.0]) == 0.0
    with pytest.raises(ValueError, match="candidates"):
        exposure(-1.0, [])


def test_secrets_are_read_by_their_beginnings(instruct):
    canary = make_canaries(["Mira Vale"], 2, 0)[0]
    found = secret_logprobs(instruct.model, instruct.tokenizer, canary)
    assert found.shape == (100,)
    start = canary.template[: canary.template.index("{s}")]
    for number in (0, 37, 99):
        texts = encode_plain([f"{start}{number:02d}", start.rstrip()], instruct.tokenizer)
        ids, shared = [opening_id(instruct.tokenizer), *texts[0]], 0
        others = encode_plain([f"{start}{n:02d}" for n in range(100)], instruct.tokenizer)
        while len({row[shared] for row in others}) == 1:
            shared += 1
        with torch.no_grad():
            logs = instruct.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        whole = sum(float(logs[k - 1, ids[k]]) for k in range(shared + 1, len(ids)))
        assert float(found[number]) == pytest.approx(whole, abs=1e-4)
    assert float(found.exp().sum()) <= 1 + 1e-6 and exposure(0.0, found.tolist()) <= log2(101)
    with pytest.raises(ValueError, match="1 or more"):
        make_canaries(["x"], 0, 0)


def test_ascent_climbs_to_its_ceiling_and_the_divergence_holds(instruct):
    tokenizer = instruct.tokenizer
    rows = [[opening_id(tokenizer), *ids] for ids in encode_plain(["The chest opens with 417."] * 4, tokenizer)]
    keep = [[opening_id(tokenizer), *ids] for ids in encode_plain(["Mira Vale lives in Mistley."] * 4, tokenizer)]
    batches = ForgetBatches(RowBatches(rows, 4, 0), RowBatches(keep, 4, 0))
    reference = copy.deepcopy(instruct.model)
    _, first = UnlearnObjective(reference, 1.0)(instruct.model, batches[0])
    assert float(first["kl"]) == pytest.approx(0, abs=1e-5)
    model = copy.deepcopy(instruct.model)
    config = TrainConfig(steps=6, learning_rate=1e-3, weight_decay=0.0, device="cpu")
    ceiling = float(first["forget_loss"]) + 20.0  # the secret was never planted here, and lies above the usual ceiling
    train(model, batches, UnlearnObjective(reference, 1.0, ceiling), config, progress=False)
    _, last = UnlearnObjective(reference, 1.0)(model, batches[0])
    assert float(last["forget_loss"]) > float(first["forget_loss"]) + 0.1
    loss, _ = UnlearnObjective(reference, 0.0, ceiling=0.01)(instruct.model, batches[0])
    assert loss.item() == pytest.approx(-0.01)
    with pytest.raises(ValueError, match="equal batch sizes"):
        ForgetBatches(RowBatches(rows, 4, 0), RowBatches(keep, 2, 0))
    with pytest.raises(ValueError, match="ceiling"):
        UnlearnObjective(reference, 0.0, ceiling=0)


# ---- the audit of a folder


@pytest.mark.slow
def test_the_audit_of_a_folder_is_one_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    assert cli.main(["audit", str(store.SHIPPED / "instruct"), "--page", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Audit of instruct" in text and "harmless" in text and "nan" not in text.lower()
    assert "lean of trades" in capsys.readouterr().out
    assert audit.share([]) == "cannot be said"


def test_what_cannot_be_audited_is_said(tmp_path, capsys):
    assert cli.main(["audit", str(tmp_path / "none")]) == 1
    assert "holds no model that can be audited" in capsys.readouterr().err
    with pytest.raises(AuditError, match="writes none"):
        audit.write_page(store.SHIPPED / "reward", tmp_path / "page.md")
    assert not (tmp_path / "page.md").exists()
