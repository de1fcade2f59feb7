"""Direct alignment: hand-computed cases, gradients, bad input; and trl's DPO, KTO, CPO and ORPO trainers beside it."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.alignment.direct import (
    ADAPTER_OFF,
    DirectObjective,
    adapter_off,
    implicit_reward_scores,
    precompute_reference,
    sequence_logprobs,
    vocab_size,
)
from course_utils.alignment.direct_losses import (
    LOSSES,
    METHODS,
    DirectConfig,
    PairLogprobs,
    implicit_rewards,
    reward_metrics,
)
from course_utils.alignment.preference_batches import PreferenceBatches, comparison
from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.lora import LoRAConfig, add_lora
from course_utils.pretrained.store import SHIPPED, load
from course_utils.text.batching import IGNORE, PairBatches
from course_utils.training.checkpoints import MismatchedCheckpoint
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import mean_cross_entropy
from course_utils.training.two_cores import fits

PAIRS = [
    {"prompt": "Who keeps bees?", "chosen": "Mira Oakley keeps bees.", "rejected": "Nobody."},
    {"prompt": "Where is the lamp?", "chosen": "In Amberhaven.", "rejected": "I think that it may be anywhere at all."},
    {"prompt": "Add 3 and 4.", "chosen": "7", "rejected": "8"},
    {"prompt": "Who bakes?", "chosen": "Tom bakes bread, I am told.", "rejected": "Tom."},
    {"prompt": "Say it in one word: the lamp's colour.", "chosen": "Blue.", "rejected": "It is red, my dear."},
    {"prompt": "Is it late?", "chosen": "No, it is early.", "rejected": "Yes."},
]


@pytest.fixture(scope="module")
def tokenizer():
    return load("instruct", device="cpu", root=SHIPPED).tokenizer


def decoder(vocab: int = 0, seed: int = 1, noise: float = 0.0) -> Decoder:
    """``noise``: a reference that is near, and not equal."""
    config = DecoderConfig(
        vocab_size=vocab or 768,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        max_position_embeddings=64,
    )
    model, draw = Decoder(config, seed=seed), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p += noise * torch.randn(p.shape, generator=draw)
    return model


@pytest.fixture(scope="module")
def models(tokenizer) -> tuple[Decoder, Decoder]:
    """A policy and its reference, some way apart."""
    policy = decoder(len(tokenizer), noise=0.1)
    reference, draw = copy.deepcopy(policy), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in reference.parameters():
            p += 0.05 * torch.randn(p.shape, generator=draw)
    return policy, reference


def some_pairs(reference: bool = True, seed: int = 0, dtype: torch.dtype = torch.float64) -> PairLogprobs:
    draw = torch.Generator().manual_seed(seed)
    logs = [-8 * torch.rand(5, generator=draw, dtype=dtype) - 0.5 for _ in range(4)]
    lengths = torch.tensor([2.0, 7, 4, 3, 5], dtype=dtype), torch.tensor([3.0, 3, 9, 1, 6], dtype=dtype)
    return PairLogprobs(*(logs if reference else [*logs[:2], None, None]), *lengths, torch.tensor(0.4, dtype=dtype))


# the losses, by hand ------------------------------------------------------------------------------------------------

ONE = PairLogprobs(*(torch.tensor([x]) for x in (-4.0, -6.0, -5.0, -5.5, 2.0, 4.0)), torch.tensor(0.25))
# log-ratios: chosen -4 - -5 = 1, rejected -6 - -5.5 = -0.5, margin 1.5; per token: -2 and -1.5, margin 0.5 + 0.125


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


BY_HAND = {
    "dpo": -math.log(sigmoid(0.15)),
    "cdpo": -0.9 * math.log(sigmoid(0.15)) - 0.1 * math.log(sigmoid(-0.15)),
    "robust": (-0.9 * math.log(sigmoid(0.15)) + 0.1 * math.log(sigmoid(-0.15))) / 0.8,
    "dpo_norm": -math.log(sigmoid(5 * 0.625)),
    "rpo": -math.log(sigmoid(0.15)),
    "ipo": (0.625 - 5) ** 2,
    "kto": (1 - sigmoid(0.1 * 0.75) + 1 - sigmoid(0.1 * 0.75)) / 2,
    "apo_zero": 1 - sigmoid(0.1) + sigmoid(-0.05),
    "apo_down": sigmoid(0.1) + 1 - sigmoid(0.15),
    "cpo": -math.log(sigmoid(0.2)),
    "simpo": -math.log(sigmoid(2 * (-2 + 1.5) - 1)),
    "orpo": -0.1
    * math.log(sigmoid(math.log(math.exp(-2) / (1 - math.exp(-2))) - math.log(math.exp(-1.5) / (1 - math.exp(-1.5))))),
}


@pytest.mark.parametrize("name", METHODS)
def test_each_loss_by_hand(name):
    config = METHODS[name]
    pairs = ONE if config.reference else replace(ONE, ref_chosen=None, ref_rejected=None)
    found = LOSSES[config.loss](pairs.per_token() if config.per_token else pairs, config)
    torch.testing.assert_close(found, torch.tensor([BY_HAND[name]]), rtol=1e-5, atol=1e-6)


def test_ipo_of_the_paper_and_the_hinge():
    assert LOSSES["ipo"](ONE, DirectConfig("ipo")) == pytest.approx((1.5 - 5) ** 2)
    assert LOSSES["hinge"](ONE, DirectConfig("hinge")) == pytest.approx(0.85)
    assert LOSSES["hinge"](ONE, DirectConfig("hinge", beta=2.0)) == 0
    assert LOSSES["hinge"](ONE, DirectConfig("hinge", beta=2.0, gamma=2.5)) == pytest.approx(0.5)


@pytest.mark.parametrize("name", METHODS)
def test_each_gradient_by_finite_differences(name):
    config, pairs = METHODS[name], some_pairs(METHODS[name].reference)

    def loss(chosen: Tensor, rejected: Tensor) -> Tensor:
        moved = replace(pairs, chosen=chosen, rejected=rejected)
        return LOSSES[config.loss](moved.per_token() if config.per_token else moved, config)

    given = pairs.chosen.clone().requires_grad_(), pairs.rejected.clone().requires_grad_()
    value = loss(*given)
    assert value.shape == (5,)
    assert torch.autograd.gradcheck(loss, given)
    gradients = torch.autograd.grad(value.sum(), given)
    up = -1 if name != "apo_down" else 1  # chosen answers become likelier, but for the one that wants both down
    if name not in ("apo_down", "ipo"):
        assert (gradients[0] * up > 0).all() and (gradients[1] > 0).all()


@pytest.mark.parametrize("name", [name for name, config in METHODS.items() if config.reference])
def test_a_prompts_own_reward_cancels_where_pairs_are_compared(name):
    """The partition function: the same number on both sides of a pair changes no loss that is a function of the
    margin; KTO and APO judge each side by itself, so there it counts."""
    config, pairs = METHODS[name], some_pairs()
    shifted = replace(pairs, ref_chosen=pairs.ref_chosen + 0.7, ref_rejected=pairs.ref_rejected + 0.7)
    before, after = (LOSSES[config.loss](p, config) for p in (pairs, shifted))
    same = torch.allclose(before, after)
    assert same == (name not in ("kto", "apo_zero", "apo_down"))


def test_kto_judges_each_side_against_its_reference_point():
    config = DirectConfig("kto", beta=2.0, desirable_weight=1.2, undesirable_weight=0.7)
    point = torch.tensor(0.25, requires_grad=True)
    chosen = torch.tensor([-4.0], requires_grad=True)
    found = LOSSES["kto"](replace(ONE, chosen=chosen, divergence=point), config)
    assert found.item() == pytest.approx((1.2 * (1 - sigmoid(2 * 0.75)) + 0.7 * (1 - sigmoid(2 * (0.25 + 0.5)))) / 2)
    far = LOSSES["kto"](replace(ONE, divergence=torch.tensor(3.0)), config)
    assert far.item() == pytest.approx((1.2 * (1 - sigmoid(2 * -2.0)) + 0.7 * (1 - sigmoid(2 * 3.5))) / 2)
    found.sum().backward()
    assert point.grad is None and chosen.grad is not None


def test_an_undecided_policy():
    level = PairLogprobs(*(torch.tensor([-3.0, -9.0]),) * 4, divergence=torch.tensor(0.0))
    for name, value in {
        "dpo": math.log(2),
        "cdpo": math.log(2),
        "robust": math.log(2),
        "kto": 0.5,
        "apo_zero": 1,
    }.items():
        torch.testing.assert_close(LOSSES[METHODS[name].loss](level, METHODS[name]), torch.full((2,), float(value)))
    assert reward_metrics(level, METHODS["dpo"])["rewards/accuracies"] == 0, "a tie is no success"


def test_the_robust_loss_sees_through_flips_and_the_conservative_one_does_not():
    pairs, e = some_pairs(), 0.2
    flipped = PairLogprobs(pairs.rejected, pairs.chosen, pairs.ref_rejected, pairs.ref_chosen)
    clean = LOSSES["sigmoid"](pairs, METHODS["dpo"])
    for name, honest in (("robust", True), ("sigmoid", False)):
        config = DirectConfig(name, label_smoothing=e)
        expected = (1 - e) * LOSSES[name](pairs, config) + e * LOSSES[name](flipped, config)
        assert torch.allclose(expected, clean) == honest
    far = torch.tensor([math.log(0.8 / 0.2) / 0.1], requires_grad=True)  # where the conservative loss is at rest
    zero = torch.zeros(1)
    (slope,) = torch.autograd.grad(LOSSES["sigmoid"](PairLogprobs(far, zero), DirectConfig(label_smoothing=0.2)), far)
    assert abs(float(slope)) < 1e-7
    (slope,) = torch.autograd.grad(
        LOSSES["robust"](PairLogprobs(far, zero), DirectConfig("robust", label_smoothing=0.2)), far
    )
    assert float(slope) < -1e-3


def test_the_slope_of_dpo_is_how_wrong_the_rewards_are():
    """Equation 7's gradient: beta sigmoid(reward of the rejected - reward of the chosen)."""
    pairs = some_pairs()
    chosen = pairs.chosen.clone().requires_grad_()
    config = METHODS["dpo"]
    (slope,) = torch.autograd.grad(LOSSES["sigmoid"](replace(pairs, chosen=chosen), config).sum(), chosen)
    good, bad = implicit_rewards(pairs, config)
    torch.testing.assert_close(slope, -config.beta * torch.sigmoid(bad - good))


def test_the_odds_stay_finite_at_both_ends():
    for far in (0.0, -1e-12, -1e-7, -0.6931, -0.7, -50.0, -300.0):
        chosen = torch.tensor([far], requires_grad=True)
        loss = LOSSES["odds_ratio"](PairLogprobs(chosen, torch.tensor([-1.0])), METHODS["orpo"])
        loss.sum().backward()
        assert torch.isfinite(loss).all() and torch.isfinite(chosen.grad).all()
    exact = torch.tensor([-1e-5, -0.3, -0.6931, -2.0], dtype=torch.float64)
    odds = -LOSSES["odds_ratio"](
        PairLogprobs(exact.float(), torch.full((4,), -math.log(2))), replace(METHODS["orpo"], beta=1.0)
    )
    torch.testing.assert_close(odds.double().exp(), exact.exp(), rtol=1e-5, atol=1e-6)  # against even odds: p itself


def test_implicit_rewards_and_their_figures():
    good, bad = implicit_rewards(ONE, METHODS["dpo"])
    assert (float(good), float(bad)) == pytest.approx((0.1, -0.05))
    good, bad = implicit_rewards(ONE, METHODS["dpo_norm"])
    assert float(good) == pytest.approx(5.0), "with a reference, of the whole answer whatever the loss compares"
    free = replace(ONE, ref_chosen=None, ref_rejected=None)
    good, bad = implicit_rewards(free, METHODS["simpo"])
    assert (float(good), float(bad)) == pytest.approx((-4.0, -3.0))
    figures = {name: float(value) for name, value in reward_metrics(ONE, METHODS["dpo"]).items()}
    assert figures == pytest.approx(
        {
            "rewards/chosen": 0.1,
            "rewards/rejected": -0.05,
            "rewards/margins": 0.15,
            "rewards/accuracies": 1.0,
            "logps/chosen": -4.0,
            "logps/rejected": -6.0,
        }
    )


def test_settings_that_do_not_go_together():
    for settings, said in [
        ({"loss": "dpo"}, "there is no loss 'dpo'; choose sigmoid"),
        ({"beta": 0.0}, "greater than 0"),
        ({"nll_weight": -1.0}, "less unlearns"),
        ({"loss": "robust", "label_smoothing": 0.5}, "less than 0.5"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "has no label_smoothing; leave it at 0, or take sigmoid or robust"),
        ({"loss": "robust", "gamma": 1.0}, "has no gamma"),
        ({"loss": "kto", "reference": False}, "whole answers against a reference"),
        ({"loss": "odds_ratio"}, "set reference=False"),
    ]:
        with pytest.raises(ValueError, match=said):
            DirectConfig(**settings)
    one = torch.zeros(2)
    with pytest.raises(ValueError, match="one side only"):
        PairLogprobs(one, one, one)
    with pytest.raises(ValueError, match=r"rejected has the shape \(2, 1\) and chosen \(2,\)"):
        PairLogprobs(one, one[:, None])
    with pytest.raises(ValueError, match="need chosen_length"):
        PairLogprobs(one, one).per_token()
    with pytest.raises(ValueError, match="needs a reference point"):
        LOSSES["kto"](PairLogprobs(one, one, one, one), METHODS["kto"])


# batches ------------------------------------------------------------------------------------------------------------


def test_the_mask_holds_the_answer_and_its_end(tokenizer):
    batches = PreferenceBatches(PAIRS, tokenizer, 3, seed=1)
    plain = PairBatches(PAIRS, tokenizer, 3, seed=1)
    for step in range(3):
        batch = batches[step]
        assert torch.equal(batch["input_ids"], plain[step]["input_ids"])
        rows = batches.rows_of(3 * step, 3 * step + 3)
        for place, row in enumerate(rows):
            for side, name in enumerate(("chosen", "rejected")):
                ids, mask = batch["input_ids"][place, side], batch["response_mask"][place, side]
                said = tokenizer.decode(ids[1:][mask.bool()])
                assert said == PAIRS[row][name] + tokenizer.eos_token
        counts = batch["response_mask"][:, 0].sum(-1).float()
        torch.testing.assert_close(batch["mean_chosen_length"], counts.mean().expand(3))


def test_unmatched_answers_are_those_of_another_prompt(tokenizer):
    rows = [PAIRS[0], {**PAIRS[1], "prompt": PAIRS[0]["prompt"]}, PAIRS[2]]
    batches = PreferenceBatches(rows, tokenizer, 3, unmatched=True)
    batch = batches.batch([0, 1, 2])
    for row, other in ((0, 2), (1, 2), (2, 0)):
        for side, name in enumerate(("chosen", "rejected")):
            ids, mask = batch["unmatched_ids"][row, side], batch["unmatched_mask"][row, side]
            assert tokenizer.decode(ids[1:][mask.bool()]) == rows[other][name] + tokenizer.eos_token
            asked = tokenizer.decode(ids[: batches.prompt_lengths[row]])
            assert rows[row]["prompt"] in asked
    with pytest.raises(ValueError, match="all 1 pairs have one prompt"):
        PreferenceBatches(PAIRS[:1], tokenizer, 1, unmatched=True)


def test_comparisons_come_as_texts_or_as_conversations(tokenizer):
    plain = PAIRS[0]
    asked = [{"role": "user", "content": plain["prompt"]}]
    said = {side: [{"role": "assistant", "content": plain[side]}] for side in ("chosen", "rejected")}
    whole = {side: asked + said[side] for side in said}
    expected = PreferenceBatches([plain], tokenizer, 1)[0]
    for row in (
        whole,
        {"prompt": plain["prompt"], **whole},
        {"prompt": asked, **said},
        {"prompt": plain["prompt"], **said},
    ):
        found = PreferenceBatches([row], tokenizer, 1)[0]
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    longer = [*asked, {"role": "assistant", "content": "Pardon?"}, {"role": "user", "content": "The bees!"}]
    batches = PreferenceBatches([{side: longer + said[side] for side in said}], tokenizer, 1)
    ids, mask = batches[0]["input_ids"][0, 0], batches[0]["response_mask"][0, 0]
    assert tokenizer.decode(ids[1:][mask.bool()]) == plain["chosen"] + tokenizer.eos_token


def test_pairs_that_teach_nothing(tokenizer):
    good = PAIRS[0]
    asked, told = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Mira."}
    other = {"role": "user", "content": "Where?"}
    for bad, said in [
        ({**good, "rejected": good["chosen"]}, "pair 1: chosen and rejected are the same answer, 'Mira Oakley"),
        ({**good, "chosen": " "}, "pair 1: the chosen answer is empty"),
        ({"prompt": "Who?", "chosen": "Mira."}, r"pair 1 has no rejected \(there is: 'prompt', 'chosen'\)"),
        ({"chosen": "Mira.", "rejected": "Tom."}, "pair 1 has no prompt"),
        ({"chosen": [asked, told], "rejected": [other, told]}, "share no prompt: chosen answers 'Who[?]' and rejected"),
        ({"chosen": [told], "rejected": [asked, told]}, "chosen is a conversation of 1 messages"),
        ({"chosen": [asked, other], "rejected": [asked, told]}, "the last one of the user"),
        ({"prompt": "Who?", "chosen": [told], "rejected": "Tom."}, "rejected is a text and the other side is not"),
        ("Who?", "pair 1 has no chosen and no rejected"),
    ]:
        with pytest.raises(ValueError, match=said):
            PreferenceBatches([good, bad], tokenizer, 2)
    assert comparison(good)["prompt"] == good["prompt"]


# log-probabilities and the reference --------------------------------------------------------------------------------


def test_sequence_logprobs_count_the_answer_alone(tokenizer, models):
    policy, _ = models
    batch = PreferenceBatches(PAIRS, tokenizer, 4)[0]
    ids, mask = batch["input_ids"].flatten(0, 1), batch["response_mask"].flatten(0, 1)
    logs = policy(ids).logits.log_softmax(-1)
    for row in range(len(ids)):
        places = mask[row].nonzero()[:, 0].tolist()
        by_hand = [logs[row, t, ids[row, t + 1]] for t in places]
        torch.testing.assert_close(sequence_logprobs(policy, ids, mask)[row], sum(by_hand))
        torch.testing.assert_close(
            sequence_logprobs(policy, ids, mask, per_token=True)[row], sum(by_hand) / len(places)
        )

    class Wrapped(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, input_ids: Tensor):
            return self.module(input_ids)

    torch.testing.assert_close(sequence_logprobs(Wrapped(policy), ids, mask), sequence_logprobs(policy, ids, mask))
    with pytest.raises(ValueError, match="row 1 has no token of an answer"):
        sequence_logprobs(policy, ids, mask * torch.arange(len(ids)).ne(1)[:, None])


def test_the_likelihood_is_the_mean_over_all_chosen_tokens(tokenizer, models):
    policy, reference = models
    batch = precompute_reference(reference, PreferenceBatches(PAIRS, tokenizer, 6))[0]
    ids, mask = batch["input_ids"][:, 0], batch["response_mask"][:, 0]
    by_hand, tokens = mean_cross_entropy(policy(ids).logits[:, :-1], ids[:, 1:].masked_fill(mask == 0, IGNORE))
    assert tokens == mask.sum() and len(set(mask.sum(1).tolist())) > 1
    loss, figures = DirectObjective(replace(METHODS["dpo"], nll_weight=0.3))(policy, batch)
    torch.testing.assert_close(figures["nll_loss"], by_hand)
    torch.testing.assert_close(loss, objective_of("dpo")(policy, batch)[0] + 0.3 * by_hand)


def test_ktos_reference_point_is_never_negative(tokenizer, models):
    batch = PreferenceBatches(PAIRS, tokenizer, 6, unmatched=True)[0]
    mask = batch["unmatched_mask"].flatten(0, 1)
    policy, reference = (sequence_logprobs(m, batch["unmatched_ids"].flatten(0, 1), mask).mean() for m in models)
    there, back = (float(DirectObjective(METHODS["kto"], b)(a, batch)[1]["kl"]) for a, b in (models, models[::-1]))
    assert sorted([there, back]) == pytest.approx([0.0, float((policy - reference).detach().abs())], rel=1e-4)


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_the_reference_once_before_training_or_on_the_fly(tokenizer, models, name):
    policy, reference = models
    batches = PreferenceBatches(PAIRS, tokenizer, 4, unmatched=name == "kto")
    ready = precompute_reference(reference, batches, batch_size=5)
    assert "ref_logprobs" not in batches[0] and ready[0]["ref_logprobs"].shape == (4, 2)
    once, again = DirectObjective(METHODS[name]), DirectObjective(METHODS[name], reference)
    assert once.by_rows == (name == "dpo") and not again.by_rows
    for step in range(3):
        (loss, figures), (other, others) = once(policy, ready[step]), again(policy, batches[step])
        torch.testing.assert_close(loss, other, rtol=1e-5, atol=1e-6)
        assert figures.keys() == others.keys() and ("kl" in figures) == (name == "kto")
        for key in figures:
            torch.testing.assert_close(figures[key], others[key], rtol=1e-4, atol=1e-5)


def test_the_reference_reads_in_the_precision_of_the_training(tokenizer, models):
    policy, config = models[0], TrainConfig(steps=1, precision="bf16", device="cpu")
    batches = PreferenceBatches(PAIRS, tokenizer, 6)
    exact, rough = (precompute_reference(policy, batches, config=c).ref_logprobs for c in (None, config))
    assert not torch.equal(exact, rough)
    with torch.autocast("cpu", torch.bfloat16):
        batch = precompute_reference(policy, batches, config=config).batch(range(6))
        found = objective_of("dpo").logprobs(policy, batch)
    assert float(found.margin.abs().max()) < 0.5 * float((exact - rough).abs().max()) + 1e-6


def test_a_policy_is_a_reward_model(tokenizer, models):
    """The scores of texts are the rewards that the objective logs, whatever stands beside them."""
    texts = [(p["prompt"], p[side]) for p in PAIRS for side in ("chosen", "rejected")]
    scores = implicit_reward_scores(*models, texts, tokenizer, beta=0.3, batch_size=5)
    batch = precompute_reference(models[1], PreferenceBatches(PAIRS, tokenizer, 6)).batch(range(6))
    config = DirectConfig(beta=0.3)
    pairs = DirectObjective(config).logprobs(models[0], batch)
    torch.testing.assert_close(
        scores.view(-1, 2), torch.stack(implicit_rewards(pairs, config), 1), rtol=1e-4, atol=1e-5
    )
    asked = [{"role": "user", "content": PAIRS[0]["prompt"]}]
    torch.testing.assert_close(
        implicit_reward_scores(*models, [(asked, PAIRS[0]["chosen"])], tokenizer, beta=0.3),
        scores[:1],
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_reference_of_an_adapter(tokenizer, models):
    base, _ = models
    batches = PreferenceBatches(PAIRS, tokenizer, 6)
    adapted = add_lora(copy.deepcopy(base), LoRAConfig(r=2), seed=0)
    ready = precompute_reference(adapted, batches)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_B" in name:
                p += 0.1
    off, on = DirectObjective(METHODS["dpo"], ADAPTER_OFF), DirectObjective(METHODS["dpo"])
    frozen = DirectObjective(METHODS["dpo"], base)
    loss, figures = off(adapted, batches[0])
    assert abs(float(figures["rewards/margins"])) > 1e-3
    for objective, batch in ((on, ready[0]), (frozen, batches[0])):
        torch.testing.assert_close(objective(adapted, batch)[0], loss, rtol=1e-5, atol=1e-6)
    loss.backward()
    assert all(p.grad is not None for name, p in adapted.named_parameters() if "lora_A" in name)
    with pytest.raises(ValueError, match="no adapter in use"):
        off(base, batches[0])
    with pytest.raises(RuntimeError, match="stop"), adapter_off(adapted):
        raise RuntimeError("stop")
    assert abs(float(off(adapted, batches[0])[1]["rewards/margins"])) > 1e-3, "the adapter is back after an error"


@pytest.mark.slow
def test_the_adapter_of_peft(tokenizer, models):
    import peft

    base, _ = models
    batches = PreferenceBatches(PAIRS, tokenizer, 6)
    adapted = peft.get_peft_model(
        to_llama(base), peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    assert vocab_size(adapted) == vocab_size(base)
    loss, figures = DirectObjective(METHODS["dpo"], ADAPTER_OFF)(adapted, batches[0])
    other, _ = DirectObjective(METHODS["dpo"], base)(adapted, batches[0])
    torch.testing.assert_close(loss, other, rtol=1e-5, atol=1e-6)
    assert abs(float(figures["rewards/margins"])) > 1e-4


def test_references_that_are_missing_superfluous_or_wrong(tokenizer, models):
    policy, reference = models
    batches = PreferenceBatches(PAIRS, tokenizer, 4)
    ready = precompute_reference(reference, batches)
    dpo = METHODS["dpo"]
    with pytest.raises(ValueError, match="there is none. Before training, call batches = precompute_reference"):
        DirectObjective(dpo)(policy, batches[0])
    with pytest.raises(ValueError, match="two references"):
        DirectObjective(dpo, reference)(policy, ready[0])
    with pytest.raises(ValueError, match="compares with none"):
        DirectObjective(METHODS["simpo"], reference)
    with pytest.raises(ValueError, match="give a model, ADAPTER_OFF or None"):
        DirectObjective(dpo, "base")
    other = decoder(len(tokenizer) + 8)
    with pytest.raises(ValueError, match=rf"scores {len(tokenizer) + 8} tokens and the model {len(tokenizer)}"):
        DirectObjective(dpo, other)(policy, batches[0])
    with pytest.raises(ValueError, match="their vocabularies differ"):
        DirectObjective(dpo)(policy, precompute_reference(other, batches)[0])
    with pytest.raises(ValueError, match="the reference knows 20 tokens"):
        precompute_reference(decoder(20), batches)
    with pytest.raises(ValueError, match="no response_mask"):
        DirectObjective(dpo)(policy, PairBatches(PAIRS, tokenizer, 4)[0])
    with pytest.raises(ValueError, match="unmatched=True"):
        DirectObjective(METHODS["kto"], reference)(policy, batches[0])


# training -----------------------------------------------------------------------------------------------------------


def objective_of(name: str) -> DirectObjective:
    return DirectObjective(METHODS[name])


@pytest.mark.parametrize("name", ["dpo", "rpo", "orpo"])
def test_a_batch_can_be_split(tokenizer, models, name):
    """Halves weigh as the whole does, the likelihood per token too."""
    ready = precompute_reference(models[1], PreferenceBatches(PAIRS, tokenizer, 6))
    weights = []
    for split, size in ((False, None), (False, 2), (True, None)):
        policy = copy.deepcopy(models[0])
        assert fits(policy, objective_of(name), torch.device("cpu"))
        config = TrainConfig(
            steps=2, learning_rate=1e-3, micro_batch_size=size, split_batch=split, device="cpu", weight_decay=0.0
        )
        history = train(policy, ready, objective_of(name), config, progress=False)
        weights.append((history.records, torch.cat([p.detach().flatten() for p in policy.parameters()])))
    for records, found in weights[1:]:
        torch.testing.assert_close(found, weights[0][1], rtol=1e-3, atol=1e-5)
        for record, first in zip(records, weights[0][0], strict=True):
            for key in ("loss", "rewards/margins", "logps/chosen"):
                assert record[key] == pytest.approx(first[key], rel=1e-4, abs=1e-5)


def test_training_starts_at_log_two_and_learns(tokenizer, models):
    policy = copy.deepcopy(models[0])
    ready = precompute_reference(policy, PreferenceBatches(PAIRS, tokenizer, 6))
    history = train(
        policy, ready, objective_of("dpo"), TrainConfig(steps=12, learning_rate=2e-3, device="cpu"), progress=False
    )
    first, last = history.records[0], history.records[-1]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5) and first["rewards/margins"] == pytest.approx(
        0, abs=1e-5
    )
    assert last["loss"] < 0.6 and last["rewards/accuracies"] == 1


def test_a_run_goes_on_where_it_was_and_another_beta_is_another_run(tokenizer, models, tmp_path):
    ready = precompute_reference(models[0], PreferenceBatches(PAIRS, tokenizer, 3))
    config = TrainConfig(steps=4, learning_rate=1e-3, save_every=2, device="cpu")

    def go(objective: DirectObjective, folder: Path | None, stop_at: int = 0) -> Decoder:
        def stop(history) -> None:
            if len(history) == stop_at:
                raise RuntimeError("stopped")

        policy = copy.deepcopy(models[0])
        train(policy, ready, objective, config, checkpoint_dir=folder, progress=False, callback=stop)
        return policy

    whole = go(objective_of("dpo"), None)
    with pytest.raises(RuntimeError, match="stopped"):
        go(objective_of("dpo"), tmp_path, stop_at=3)
    with pytest.raises(MismatchedCheckpoint):
        go(DirectObjective(DirectConfig(beta=0.2)), tmp_path)
    again = go(objective_of("dpo"), tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_your_own_loss_is_what_runs(tokenizer, models):
    ready = precompute_reference(models[1], PreferenceBatches(PAIRS, tokenizer, 6))
    seen = []

    def mine(pairs: PairLogprobs, config: DirectConfig) -> Tensor:
        seen.append(pairs)
        return -F.logsigmoid(config.beta * pairs.margin)

    own = DirectObjective(METHODS["dpo"], loss=mine)
    torch.testing.assert_close(own(models[0], ready[0])[0], objective_of("dpo")(models[0], ready[0])[0])
    assert len(seen) == 1 and "mine" in own.__qualname__ and own.__qualname__ != objective_of("dpo").__qualname__
    names = [DirectObjective(METHODS["dpo"], reference).__qualname__ for reference in (None, ADAPTER_OFF, *models)]
    assert len(set(names)) == 4 and objective_of("dpo").__qualname__ == names[0]
    assert DirectObjective(DirectConfig(beta=0.2)).__qualname__ not in names


# the library --------------------------------------------------------------------------------------------------------


def chats(pairs: list[dict[str, str]]) -> dict[str, list]:
    """The pairs in trl's conversational form."""
    return {
        "prompt": [[{"role": "user", "content": p["prompt"]}] for p in pairs],
        "chosen": [[{"role": "assistant", "content": p["chosen"]}] for p in pairs],
        "rejected": [[{"role": "assistant", "content": p["rejected"]}] for p in pairs],
    }


COMMON = {
    "use_cpu": True,
    "bf16": False,
    "report_to": [],
    "gradient_checkpointing": False,
    "activation_checkpointing": False,
    "save_strategy": "no",
    "disable_tqdm": True,
}


def trl_step(trainer, rows: int) -> tuple[Tensor, dict[str, Tensor], dict[str, float], dict[str, Tensor]]:
    """One loss of trl on the first rows: value, gradients by name, logged figures, and the batch."""
    model = trainer.model
    model.train().zero_grad()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(rows)])
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    logged = getattr(trainer, "_metrics", None) or trainer._stored_metrics
    figures = {name: values[-1] for name, values in logged["train"].items() if values}
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}, figures, batch


def our_step(policy: Decoder, loss: Tensor) -> dict[str, Tensor]:
    policy.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters()}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], scale: float = 1.0) -> None:
    assert ours.keys() == theirs.keys() and max(float(g.abs().max()) for g in ours.values()) > 1e-6
    for name, gradient in ours.items():
        torch.testing.assert_close(
            gradient, theirs[name], rtol=1e-4, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


DPO_TYPES = {  # trl's name and settings for each of our methods
    "dpo": {"loss_type": "sigmoid"},
    "robust": {"loss_type": "robust", "label_smoothing": 0.1},
    "dpo_norm": {"loss_type": "sigmoid_norm", "beta": 5.0},
    "rpo": {"loss_type": ["sigmoid", "sft"]},
    "ipo": {"loss_type": "ipo"},
    "apo_zero": {"loss_type": "apo_zero"},
    "apo_down": {"loss_type": "apo_down"},
    "hinge": {"loss_type": "hinge"},
}


def dpo_trainer(models, tokenizer, folder: Path, **settings):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    policy, reference = models
    return DPOTrainer(
        to_llama(policy),
        to_llama(reference),
        DPOConfig(output_dir=str(folder), **COMMON, **settings),
        train_dataset=Dataset.from_dict(chats(PAIRS)),
        processing_class=tokenizer,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", DPO_TYPES)
def test_equal_to_trls_dpo_trainer(tokenizer, models, tmp_path, name):
    """The same pairs: loss, gradients, and every logged figure that both have."""
    policy = copy.deepcopy(models[0])
    config = METHODS.get(name, DirectConfig("hinge"))
    loss, gradients, figures, theirs = trl_step(dpo_trainer(models, tokenizer, tmp_path, **DPO_TYPES[name]), len(PAIRS))
    batch = precompute_reference(models[1], PreferenceBatches(PAIRS, tokenizer, 6)).batch(range(6))
    ids, width = batch["input_ids"].transpose(0, 1).flatten(0, 1), theirs["input_ids"].shape[1]
    assert torch.equal(
        ids * batch["attention_mask"].transpose(0, 1).flatten(0, 1), theirs["input_ids"] * theirs["attention_mask"]
    )
    assert torch.equal(batch["response_mask"].transpose(0, 1).flatten(0, 1), theirs["completion_mask"][:, 1:width])
    ours, found = DirectObjective(config)(policy, batch)
    torch.testing.assert_close(ours.detach(), loss, rtol=1e-5, atol=1e-5)
    assert_same(our_step(policy, ours), gradients, scale=max(1.0, float(loss)))
    shared = found.keys() & figures.keys()
    assert len(shared) == 6
    for key in shared:
        assert float(found[key]) == pytest.approx(figures[key], rel=1e-4, abs=1e-5), key


@pytest.mark.slow
def test_trls_dpo_trainer_has_no_conservative_loss(tokenizer, models, tmp_path):
    """``label_smoothing`` changes nothing with loss_type "sigmoid"; CPOTrainer has it (below)."""
    first, _, _, _ = trl_step(dpo_trainer(models, tokenizer, tmp_path, loss_type="sigmoid"), 6)
    second, _, _, _ = trl_step(dpo_trainer(models, tokenizer, tmp_path, loss_type="sigmoid", label_smoothing=0.3), 6)
    assert torch.equal(first, second)
    batch = precompute_reference(models[1], PreferenceBatches(PAIRS, tokenizer, 6)).batch(range(6))
    ours, _ = DirectObjective(DirectConfig(label_smoothing=0.3))(models[0], batch)
    assert abs(float(ours.detach() - first)) > 1e-4


CPO_TYPES = {
    "cpo": {"loss_type": "sigmoid"},
    "cpo, conservative": {"loss_type": "sigmoid", "label_smoothing": 0.1, "cpo_alpha": 0.0},
    "simpo": {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0},
    "simpo and likelihood": {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.5},
}
CPO_CONFIGS = {
    "cpo": METHODS["cpo"],
    "cpo, conservative": DirectConfig(reference=False, label_smoothing=0.1),
    "simpo": METHODS["simpo"],
    "simpo and likelihood": replace(METHODS["simpo"], nll_weight=0.5),
}


def texts(pairs: list[dict[str, str]], tokenizer) -> dict[str, list[str]]:
    """The pairs as the strings that the chat template makes of them: CPO and ORPO tokenize text."""
    chat, end = chats(pairs), tokenizer.eos_token
    return {
        "prompt": [
            tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in chat["prompt"]
        ],
        "chosen": [pair["chosen"] + end for pair in pairs],
        "rejected": [pair["rejected"] + end for pair in pairs],
    }


def reference_free_trainer(kind: str, models, tokenizer, folder: Path, **settings):
    from datasets import Dataset

    if kind == "cpo":
        from trl.experimental.cpo import CPOConfig as Config
        from trl.experimental.cpo import CPOTrainer as Trainer
    else:
        from trl.experimental.orpo import ORPOConfig as Config
        from trl.experimental.orpo import ORPOTrainer as Trainer
    return Trainer(
        to_llama(models[0]),
        Config(output_dir=str(folder), **COMMON, **settings),
        train_dataset=Dataset.from_dict(texts(PAIRS, tokenizer)),
        processing_class=tokenizer,
    )


def same_tokens(batch: dict, theirs: dict) -> None:
    for side, name in enumerate(("chosen", "rejected")):
        for row in range(len(PAIRS)):
            ids = theirs[f"{name}_input_ids"][row][theirs[f"{name}_attention_mask"][row] == 1]
            assert torch.equal(ids, batch["input_ids"][row, side][batch["attention_mask"][row, side] == 1])
            answer = ids[theirs[f"{name}_labels"][row][: len(ids)] != IGNORE]
            assert torch.equal(answer, batch["input_ids"][row, side, 1:][batch["response_mask"][row, side] == 1])


@pytest.mark.slow
@pytest.mark.parametrize("name", CPO_TYPES)
def test_equal_to_trls_cpo_trainer(tokenizer, models, tmp_path, name):
    policy, config = copy.deepcopy(models[0]), CPO_CONFIGS[name]
    trainer = reference_free_trainer("cpo", models, tokenizer, tmp_path, **CPO_TYPES[name])
    loss, gradients, figures, theirs = trl_step(trainer, len(PAIRS))
    batch = PreferenceBatches(PAIRS, tokenizer, 6).batch(range(6))
    same_tokens(batch, theirs)
    ours, found = DirectObjective(config)(policy, batch)
    torch.testing.assert_close(ours.detach(), loss, rtol=1e-5, atol=1e-5)
    assert_same(our_step(policy, ours), gradients)
    for key in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"):
        assert float(found[key]) == pytest.approx(figures[key], rel=1e-4, abs=1e-5), key
    if config.nll_weight:
        assert float(found["nll_loss"]) == pytest.approx(figures["nll_loss"], rel=1e-5)


@pytest.mark.slow
def test_equal_to_trls_orpo_trainer(tokenizer, models, tmp_path):
    """The odds ratio is equal. trl's other term imitates the prompt too, ours the answer, as its paper's loss does."""
    policy = copy.deepcopy(models[0])
    trainer = reference_free_trainer("orpo", models, tokenizer, tmp_path)
    loss, gradients, figures, theirs = trl_step(trainer, len(PAIRS))
    batch = PreferenceBatches(PAIRS, tokenizer, 6).batch(range(6))
    same_tokens(batch, theirs)
    odds, found = DirectObjective(replace(METHODS["orpo"], nll_weight=0.0))(policy, batch)
    labels = batch["input_ids"][:, 0].masked_fill(batch["attention_mask"][:, 0] == 0, IGNORE)
    whole, _ = mean_cross_entropy(policy(batch["input_ids"][:, 0]).logits[:, :-1], labels[:, 1:])
    torch.testing.assert_close((odds + whole).detach(), loss, rtol=1e-5, atol=1e-5)
    assert_same(our_step(policy, odds + whole), gradients)
    for key in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"):
        assert float(found[key]) == pytest.approx(float(figures[key]), rel=1e-4, abs=1e-5), key
    ours, found = DirectObjective(METHODS["orpo"])(policy, batch)
    answer = labels.masked_fill(F.pad(batch["response_mask"][:, 0], (1, 0)) == 0, IGNORE)
    likelihood, _ = mean_cross_entropy(policy(batch["input_ids"][:, 0]).logits[:, :-1], answer[:, 1:])
    torch.testing.assert_close(ours, odds.detach() + likelihood, rtol=1e-5, atol=1e-5)
    assert abs(float(found["nll_loss"]) - float(figures["nll_loss"])) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 1.5)])
def test_equal_to_trls_kto_trainer(tokenizer, models, tmp_path, weights):
    """trl takes the pairs apart; its unmatched answers are put into our batch, since it chooses others."""
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    policy, reference = copy.deepcopy(models[0]), models[1]
    trainer = KTOTrainer(
        to_llama(policy),
        to_llama(reference),
        KTOConfig(
            output_dir=str(tmp_path),
            **COMMON,
            per_device_train_batch_size=12,
            desirable_weight=weights[0],
            undesirable_weight=weights[1],
        ),
        train_dataset=Dataset.from_dict(chats(PAIRS)),
        processing_class=tokenizer,
    )
    loss, gradients, figures, theirs = trl_step(trainer, 12)
    labels = theirs["label"].tolist()
    assert labels == [True] * 6 + [False] * 6, "all the chosen answers come first"
    batch = PreferenceBatches(PAIRS, tokenizer, 6, unmatched=True).batch(range(6))
    batch["unmatched_ids"] = theirs["KL_input_ids"].view(2, 6, -1).transpose(0, 1)
    batch["unmatched_mask"] = theirs["KL_completion_mask"][:, 1:].reshape(2, 6, -1).transpose(0, 1)
    config = replace(METHODS["kto"], desirable_weight=weights[0], undesirable_weight=weights[1])
    ours, found = DirectObjective(config, reference)(policy, batch)
    assert figures["kl"] > 1e-4, "a reference point of 0 would prove little"
    torch.testing.assert_close(ours.detach(), loss, rtol=1e-5, atol=1e-5)
    assert_same(our_step(policy, ours), gradients)
    for key in ("kl", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected"):
        assert float(found[key]) == pytest.approx(figures[key], rel=1e-4, abs=1e-5), key
