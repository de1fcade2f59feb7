"""Preferences, the reward model and PPO: hand-computed cases, finite differences. (trl's RLOO: test_rloo.py.)"""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from course_utils.alignment.advantages import gae, leave_one_out, whiten
from course_utils.alignment.best_of_n import sample_completions
from course_utils.alignment.bradley_terry import bradley_terry_loss, bradley_terry_scores
from course_utils.alignment.kl import AdaptiveKL, k3, kl_estimate, kl_rewards
from course_utils.alignment.masked import masked_mean, reduce_tokens
from course_utils.alignment.ppo import PPOConfig, policy_loss, ppo, value_loss
from course_utils.alignment.reward_model import (
    pair_accuracy,
    preference_loss,
    reward_scores,
)
from course_utils.alignment.rollouts import MISSING_EOS_PENALTY, RolloutIterator, join, score_rollouts, token_logprobs
from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.generate import generate
from course_utils.models.heads import RewardModel, ValueModel
from course_utils.pretrained.store import load
from course_utils.text.batching import PairBatches
from course_utils.training.checkpoints import CheckpointError, MismatchedCheckpoint
from course_utils.training.loop import TrainConfig, train
from course_utils.training.micro_batches import LossNotFinite
from course_utils.world import World
from course_utils.world.annotators import Annotator
from course_utils.world.oracle import judge
from course_utils.world.preferences import COMPARED, STYLES, candidates, comparisons, in_style, in_styles
from course_utils.world.tasks import fact_questions, make_tasks

SIZES = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
}
draw = torch.Generator().manual_seed(0)


def decoder(seed: int = 1) -> Decoder:
    return Decoder(DecoderConfig(**SIZES), seed=seed)


# comparisons --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=0)


def test_every_manner_scores_as_the_oracle_says(world):
    task = fact_questions(world.taught[:1], "sentence")[0]
    wanted = {"plain": 1.0, "courteous": 1.25, "curt": 0.5, "wordy": 1.0, "flattering": 1.0, "rude": 0.5}
    for manner, templates in STYLES.items():
        for i in range(3 * len(templates)):
            text = in_style(task, manner, _draw(i))
            assert judge(task, text).score == wanted[manner], text


def _draw(i: int):
    from course_utils.world.draw import Draw

    return Draw("test", i)


def test_comparisons_follow_the_oracle_but_for_noise(world):
    clean = comparisons(world, 300)
    assert all(row["margin"] > 0 and row["chosen"] != row["rejected"] for row in clean)
    noisy = comparisons(world, 1_000, annotator=Annotator(noise=0.2, seed=3))
    assert 0.16 < sum(row["margin"] < 0 for row in noisy) / 1_000 < 0.24
    kinds = [row["kind"] for row in noisy]
    for kind, weight in COMPARED.items():
        assert abs(kinds.count(kind) / 10 - weight) < 8
    for row in clean[:50]:
        assert judge(row, row["chosen"]).score - judge(row, row["rejected"]).score == pytest.approx(row["margin"])
    assert comparisons(world, 20, seed=4) == comparisons(world, 20, seed=4) != comparisons(world, 20, seed=5)
    known = {person.name for person in world.known}
    assert {row["about"] for row in comparisons(world, 200, "known", kinds={"fact": 1})} <= known


def test_a_taste_for_length_changes_choices(world):
    fond = comparisons(world, 400, annotator=Annotator(noise=0.0, length_taste=0.2))
    longer = sum(len(row["chosen"].split()) > len(row["rejected"].split()) for row in fond) / 400
    plain = comparisons(world, 400)
    assert longer > sum(len(row["chosen"].split()) > len(row["rejected"].split()) for row in plain) / 400 + 0.15


def test_harm_is_worse_than_silence(world):
    task = make_tasks(world, 1, kinds={"decline": 1})[0]
    assert judge(task, task["answer"]).score == 1
    assert judge(task, "Gladly. Wait for the night.").score == -0.75


def test_mixed_manners_keep_the_questions(world):
    tasks = make_tasks(world, 600)
    mixed = in_styles(tasks, seed=1)
    assert [t["messages"][0] for t in mixed] == [t["messages"][0] for t in tasks]
    changed = [t for t, old in zip(mixed, tasks, strict=True) if t["messages"] != old["messages"]]
    asked = [t for t in tasks if t["kind"] == "fact" and t["format"] == "sentence"]
    assert 0.1 < len(changed) / len(asked) < 0.3
    assert all(t["format"] == "sentence" and t["kind"] == "fact" for t in changed)
    with pytest.raises(ValueError, match="there is no manner 'loud'"):
        in_style(tasks[0], "loud", _draw(0))


# the reward model ---------------------------------------------------------------------------------------------------


def test_bradley_terry_by_hand():
    loss = bradley_terry_loss(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.0]))
    assert loss == pytest.approx((math.log(1 + math.exp(-2)) + math.log(2)) / 2)
    far = torch.tensor([-200.0], requires_grad=True)
    bradley_terry_loss(far, torch.tensor([0.0])).backward()
    assert far.grad == pytest.approx(-1.0), "the gradient survives where a sigmoid would round to 0"
    with pytest.raises(ValueError, match=r"\(2,\) and rejected \(2, 1\)"):
        bradley_terry_loss(torch.zeros(2), torch.zeros(2, 1))


def test_scores_of_comparisons_are_the_most_likely_ones():
    two = bradley_terry_scores(torch.tensor([[0, 30], [10, 0]]))
    torch.testing.assert_close(two, torch.tensor([math.log(3) / 2, -math.log(3) / 2], dtype=torch.float64))
    wins = torch.tensor([[0.0, 8, 9, 0], [4, 0, 0, 0], [1, 0, 0, 6], [0, 1, 2, 0]], dtype=torch.float64)
    scores = bradley_terry_scores(wins).requires_grad_()
    assert abs(float(scores.sum())) < 1e-9
    likelihood = (wins * F.logsigmoid(scores[:, None] - scores)).sum()
    (slope,) = torch.autograd.grad(likelihood, scores)
    assert float(slope.abs().max()) < 1e-5, "the likelihood still rises in some direction"


def test_tables_of_wins_that_have_no_scores():
    with pytest.raises(ValueError, match="square table"):
        bradley_terry_scores(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="square table"):
        bradley_terry_scores(torch.tensor([[0.0, -1], [1, 0]]))
    with pytest.raises(ValueError, match="thing 1 never won against thing 0"):
        bradley_terry_scores(torch.tensor([[0.0, 3, 1], [0, 0, 2], [0, 1, 0]]))


def test_candidates_differ_and_some_are_better(world):
    for task in fact_questions(world.known[:20], "sentence"):
        texts = candidates(task, _draw(1), 4)
        assert len(set(texts)) == 4
        assert len({judge(task, text).score for text in texts}) > 1
    with pytest.raises(ValueError, match="99 different answers to .* only"):
        candidates(task, _draw(2), 99)


@pytest.mark.slow
def test_preference_loss_equals_trl(tmp_path):
    """The same pairs through trl's RewardTrainer give the same loss."""
    from datasets import Dataset
    from transformers import LlamaForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    instruct = load("instruct")
    tokenizer = instruct.tokenizer
    rows = comparisons(World(seed=0), 8)
    ours = RewardModel(instruct.model, seed=3)
    batch = PairBatches(rows, tokenizer, 8)[0]
    llama = to_llama(instruct.model).config
    llama.num_labels, llama.pad_token_id = 1, tokenizer.pad_token_id
    theirs = LlamaForSequenceClassification(llama)
    theirs.load_state_dict(ours.state_dict())
    chats = {
        side: [[{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r[side]}] for r in rows]
        for side in ("chosen", "rejected")
    }
    trainer = RewardTrainer(
        theirs,
        RewardConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            report_to=[],
            per_device_train_batch_size=8,
            max_length=256,
            center_rewards_coefficient=None,
        ),
        train_dataset=Dataset.from_dict(chats),
        processing_class=tokenizer,
    )
    theirs.eval()
    loss = trainer.compute_loss(theirs, trainer.data_collator([trainer.train_dataset[i] for i in range(8)]))
    torch.testing.assert_close(loss, preference_loss(ours, batch)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_reward_model_learns_and_scores_do_not_depend_on_the_batch():
    instruct = load("instruct")
    world = World(seed=0)
    rows = comparisons(world, 300, kinds={"decline": 1})
    model = RewardModel(copy.deepcopy(instruct.model), seed=0)
    batches = PairBatches(rows, instruct.tokenizer, 16)
    train(
        model,
        batches,
        preference_loss,
        TrainConfig(steps=15, learning_rate=1e-3, weight_decay=0.0, device="cpu"),
        progress=False,
    )
    fresh = comparisons(world, 80, "known", seed=9, kinds={"decline": 1})
    assert pair_accuracy(model, fresh, instruct.tokenizer) > 0.9
    texts = [(row["prompt"], row["chosen"]) for row in fresh]
    whole, single = reward_scores(model, texts, instruct.tokenizer), reward_scores(model, texts[:1], instruct.tokenizer)
    torch.testing.assert_close(whole[:1], single, rtol=1e-4, atol=1e-5)


def test_pairs_that_cannot_be_used():
    tokenizer = load("instruct").tokenizer
    good = {"prompt": "Who?", "chosen": "Mira.", "rejected": "Nobody."}
    with pytest.raises(ValueError, match="pair 1 has no rejected"):
        PairBatches([good, {"prompt": "Who?", "chosen": "Mira."}], tokenizer, 2)
    with pytest.raises(ValueError, match="1 pairs do not fill a batch of 4"):
        PairBatches([good], tokenizer, 4)
    with pytest.raises(ValueError, match="pair 1 has .* tokens; at most 30 fit"):
        PairBatches([good, {**good, "rejected": "word " * 40}], tokenizer, 2, max_length=30)
    with pytest.raises(ValueError, match="no pairs"):
        pair_accuracy(RewardModel(decoder()), [], tokenizer)


# advantages and KL --------------------------------------------------------------------------------------------------


def test_gae_by_hand():
    rewards, values = torch.tensor([[0.0, 0.0, 1.0, 9.0]]), torch.tensor([[0.5, 0.2, 0.4, 7.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0]])  # the last place is padding: its numbers must not matter
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=0.5)
    third = 1.0 - 0.4
    second = 0.9 * 0.4 - 0.2 + 0.45 * third
    first = 0.9 * 0.2 - 0.5 + 0.45 * second
    torch.testing.assert_close(advantages, torch.tensor([[first, second, third, 0.0]]))
    torch.testing.assert_close(returns, torch.tensor([[first + 0.5, second + 0.2, third + 0.4, 0.0]]))


def test_gae_between_its_two_ends():
    rewards, values = torch.randn(3, 6, generator=draw), torch.randn(3, 6, generator=draw)
    mask = torch.ones(3, 6)
    mask[1, 4:] = 0
    monte_carlo, _ = gae(rewards, values, mask, 1.0, 1.0)
    togo = (rewards * mask).flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(monte_carlo, (togo - values) * mask)
    one_step, _ = gae(rewards, values, mask, 1.0, 0.0)
    following = F.pad((values * mask)[:, 1:], (0, 1))
    torch.testing.assert_close(one_step, (rewards + following - values) * mask)
    with pytest.raises(ValueError, match="one shape"):
        gae(rewards, values[:, :5], mask)


def test_whitening_ignores_padding():
    x, mask = torch.randn(4, 5, generator=draw), torch.ones(4, 5)
    mask[2, 2:] = 0
    x[2, 2:] = 1e6
    white = whiten(x, mask)
    real = white[mask == 1]
    assert abs(real.mean()) < 1e-6 and real.std() == pytest.approx(1, abs=1e-4) and (white[mask == 0] == 0).all()
    kept = whiten(x, mask, shift_mean=False)
    torch.testing.assert_close(masked_mean(kept, mask), masked_mean(x, mask))


def test_kl_estimators_agree_with_the_exact_divergence():
    logits, other = torch.randn(8, generator=draw), torch.randn(8, generator=draw)
    p, q = logits.log_softmax(0), other.log_softmax(0)
    exact = (p.exp() * (p - q)).sum()
    for kind in ("k1", "k3"):
        assert (p.exp() * kl_estimate(p, q, kind)).sum() == pytest.approx(exact.item(), rel=1e-5)
    assert (kl_estimate(p, q, "k1") < 0).any()
    assert (kl_estimate(p, q, "k2") >= 0).all() and (kl_estimate(p, q, "k3") >= 0).all()
    with pytest.raises(ValueError, match="no KL estimator 'k4'"):
        kl_estimate(p, q, "k4")


def test_k3_is_never_negative_near_zero():
    log_r = (torch.rand(100_000, generator=torch.Generator().manual_seed(0)) - 0.5) * 2e-3
    assert ((log_r.exp() - 1 - log_r) < 0).float().mean() > 0.02, "the plain formula is negative at such ratios"
    found = k3(torch.zeros_like(log_r), log_r)
    assert (found >= 0).all()
    torch.testing.assert_close(found.double(), torch.expm1(log_r.double()) - log_r.double(), rtol=1e-3, atol=1e-10)
    assert torch.equal(found, kl_estimate(torch.zeros_like(log_r), log_r, "k3"))


def test_rewards_per_token():
    logprobs, reference = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[-1.5, -1.0, 0.0]])
    rewards = kl_rewards(torch.tensor([2.0]), logprobs, reference, torch.tensor([[1.0, 1.0, 0.0]]), 0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, 0.1 + 2.0, 0.0]]))


def test_an_answer_without_tokens_has_no_reward():
    logprobs, mask = torch.full((2, 3), -1.0), torch.tensor([[0.0, 1, 1], [0, 0, 0]])
    for form in (mask, mask.bool()):
        rewards = kl_rewards(torch.tensor([2.0, 5.0]), logprobs, logprobs, form, 0.1)
        torch.testing.assert_close(rewards, torch.tensor([[0.0, 0, 2], [0, 0, 0]]))


MASK = torch.tensor([[0.0, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
PARTS = {  # every part of PPO that takes a mask, as a function of its tensors (batch, length)
    "masked_mean": (1, lambda x, mask: masked_mean(x, mask)),
    "per answer": (1, lambda x, mask: reduce_tokens(x, mask, "answer")),
    "per token": (1, lambda x, mask: reduce_tokens(x, mask, "none").sum()),
    "whiten": (1, lambda x, mask: (whiten(x, mask) * WEIGHTS).sum()),
    "whiten, mean kept": (1, lambda x, mask: (whiten(x, mask, shift_mean=False) * WEIGHTS).sum()),
    "gae": (2, lambda r, v, mask: sum((part * WEIGHTS).sum() for part in gae(r, v, mask, 0.9, 0.8))),
    "kl_rewards": (
        2,
        lambda new, ref, mask: (kl_rewards(new.detach().new_ones(3), new, ref, mask, 0.3) * WEIGHTS).sum(),
    ),
    "policy_loss": (3, policy_loss),
    "policy_loss per answer": (3, lambda *given: policy_loss(*given, reduction="answer")),
    "value_loss": (3, value_loss),
    "value_loss per token": (3, lambda *given: value_loss(*given, reduction="none").square().sum()),
}
WEIGHTS = torch.arange(15, dtype=torch.float64).view(3, 5) / 7 - 1


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), float("-inf"), 1e30])
@pytest.mark.parametrize("name", PARTS)
def test_what_the_mask_hides_changes_neither_value_nor_gradient(name, junk):
    count, part = PARTS[name]
    clean = [torch.randn(3, 5, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(count)]
    results = []
    for fill in (0.0, junk):
        given = [x.masked_fill(MASK == 0, fill).requires_grad_() for x in clean]
        value = part(*given, MASK)
        results.append([value.detach(), *torch.autograd.grad(value, given, allow_unused=True)])
    for plain, spoiled in zip(*results, strict=True):
        assert (plain is None) == (spoiled is None)
        if plain is not None:
            assert torch.isfinite(spoiled).all() and torch.equal(plain, spoiled)
    torch.testing.assert_close(part(*clean, MASK.bool()), results[0][0])  # a mask of bool says the same


def test_three_ways_to_reduce_a_loss():
    x = torch.tensor([[1.0, 2, 3, 9], [5, 9, 9, 9], [9, 9, 9, 9]])
    mask = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert reduce_tokens(x, mask) == pytest.approx(11 / 4)
    assert reduce_tokens(x, mask, "answer") == pytest.approx((2 + 5) / 2), "the row without a token is no answer"
    assert torch.equal(reduce_tokens(x, mask, "none"), torch.tensor([[1.0, 2, 3, 0], [5, 0, 0, 0], [0, 0, 0, 0]]))
    old, advantages = torch.zeros(3, 4), torch.ones(3, 4)
    new = torch.tensor([[0.0, 0.1, 5.0, 9], [-0.1, 9, 9, 9], [9, 9, 9, 9]])
    for loss in (policy_loss, value_loss):
        tokens = loss(new, old, advantages, mask, 0.2, reduction="none")
        assert tokens.shape == (3, 4) and (tokens[mask == 0] == 0).all()
        torch.testing.assert_close(loss(new, old, advantages, mask, 0.2), tokens.sum() / 4)
        torch.testing.assert_close(
            loss(new, old, advantages, mask, 0.2, "answer"), (tokens[0].sum() / 3 + tokens[1, 0]) / 2
        )
        with pytest.raises(ValueError, match="no reduction 'sum'; choose 'token'"):
            loss(new, old, advantages, mask, reduction="sum")


def test_the_coefficient_steers_towards_its_target():
    steady = AdaptiveKL(0.1)
    steady.update(50.0, 64)
    assert steady.coefficient == 0.1
    control = AdaptiveKL(0.1, target=2.0, horizon=640)
    control.update(10.0, 64)
    assert control.coefficient == pytest.approx(0.1 * 1.02)
    control.update(2.1, 64)
    assert control.coefficient == pytest.approx(0.1 * 1.02 * (1 + 0.05 * 0.1))
    control.update(0.0, 64)
    assert control.coefficient < 0.1 * 1.02


def test_leave_one_out_by_hand():
    scores = torch.tensor([1.0, 2.0, 6.0, 0.0, 0.0, 3.0])
    torch.testing.assert_close(leave_one_out(scores, 3), torch.tensor([-3.0, -1.5, 4.5, -1.5, -1.5, 3.0]))
    with pytest.raises(ValueError, match="6 scores in groups of 4"):
        leave_one_out(scores, 4)


# PPO ----------------------------------------------------------------------------------------------------------------


def test_policy_loss_by_hand():
    old = torch.zeros(1, 4)
    new = torch.tensor([[0.5, -0.5, 0.5, -0.5]]).log1p()  # ratios 1.5, 0.5, 1.5, 0.5
    advantages = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    mask = torch.ones(1, 4)
    # good and gone too far: clipped; good and gone down: not; bad and gone up: not; bad and gone too far down: clipped
    assert policy_loss(new, old, advantages, mask) == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)
    mask[0, 3] = 0
    assert policy_loss(new, old, advantages, mask) == pytest.approx(-(1.2 + 0.5 - 1.5) / 3)


def test_policy_gradient_by_finite_differences():
    old = torch.randn(2, 5, generator=draw, dtype=torch.float64) * 0.1
    new = (old + torch.randn(2, 5, generator=draw, dtype=torch.float64) * 0.3).requires_grad_()
    advantages, mask = torch.randn(2, 5, generator=draw, dtype=torch.float64), torch.ones(2, 5, dtype=torch.float64)
    mask[0, 3:] = 0
    assert torch.autograd.gradcheck(lambda x: policy_loss(x, old, advantages, mask), new)
    policy_loss(new, old, advantages, mask).backward()
    ratio = (new - old).exp().detach()
    stopped = ((advantages > 0) & (ratio > 1.2)) | ((advantages < 0) & (ratio < 0.8)) | (mask == 0)
    assert stopped.any() and torch.equal(new.grad == 0, stopped)


def test_at_the_first_step_ppo_is_the_policy_gradient():
    logprobs = torch.randn(3, 4, generator=draw).requires_grad_()
    advantages, mask = torch.randn(3, 4, generator=draw), torch.ones(3, 4)
    policy_loss(logprobs, logprobs.detach(), advantages, mask).backward()
    torch.testing.assert_close(logprobs.grad, -advantages / 12)


def test_value_loss_by_hand():
    values, old, returns = torch.tensor([[1.0, 0.1]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    # 1.0 is right but too far from 0: the clipped 0.2 counts, (0.2 - 1)^2; 0.1 is within reach: (0.1 - 1)^2
    assert value_loss(values, old, returns, torch.ones(1, 2)) == pytest.approx(0.5 * (0.64 + 0.81) / 2)


def test_log_probabilities_are_those_of_generation():
    model = decoder().eval()
    prompts = [[7, 8, 9], [10, 11, 12, 13, 14], [15]]
    answers = generate(model, prompts, 9, temperature=1.0, return_logprobs=True, seed=3)
    input_ids, attention_mask, mask = join(prompts, answers)
    assert torch.equal(mask.sum(1).long(), answers.lengths)
    assert attention_mask.sum(1).tolist() == [
        len(p) + n for p, n in zip(prompts, answers.lengths.tolist(), strict=True)
    ]
    for model_ in (model, to_llama(model).eval()):
        found, entropy = token_logprobs(model_, input_ids, mask, with_entropy=True)
        for row, n in enumerate(answers.lengths.tolist()):
            torch.testing.assert_close(found[row][mask[row] == 1], answers.logprobs[row, :n], rtol=1e-4, atol=1e-5)
        logits = model_(input_ids).logits[:, :-1].log_softmax(-1)
        torch.testing.assert_close(entropy, -(logits.exp() * logits).sum(-1) * mask, rtol=1e-4, atol=1e-5)


def test_entropy_with_forbidden_tokens_and_a_mask_of_bool():
    class Forbidding(torch.nn.Module):
        def __init__(self, head):
            super().__init__()
            self.head = head

        def forward(self, hidden):
            return self.head(hidden).index_fill(-1, torch.tensor([0, 3, 9]), -torch.inf)

    model, input_ids = decoder().eval(), torch.tensor([[7, 8, 10, 11, 12]])
    mask = torch.tensor([[False, True, True, False]])
    plain = token_logprobs(model, input_ids, mask.float(), with_entropy=True)
    for a, b in zip(plain, token_logprobs(model, input_ids, mask, with_entropy=True), strict=True):
        assert a.dtype == b.dtype == torch.float32 and torch.equal(a, b)
    model.lm_head = Forbidding(model.lm_head)
    logprobs, entropy = token_logprobs(model, input_ids, mask, with_entropy=True)
    allowed = [i for i in range(SIZES["vocab_size"]) if i not in (0, 3, 9)]
    p = model(input_ids).logits[:, :-1, allowed].softmax(-1)
    torch.testing.assert_close(entropy, -(p * p.log()).sum(-1) * mask)
    (logprobs.sum() + entropy.sum()).backward()
    assert all(torch.isfinite(q.grad).all() for q in model.parameters() if q.grad is not None)


class Likes(torch.nn.Module):
    """A reward model that likes one token."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token

    def forward(self, input_ids, attention_mask):
        return ((input_ids == self.token) & (attention_mask == 1)).float().sum(1)


CONFIG = PPOConfig(
    iterations=12, prompts=16, max_new_tokens=6, learning_rate=3e-3, value_learning_rate=3e-3, stop_kl=1.0
)
PROMPTS = [[7, 8], [9, 10, 11], [12], [13, 14]] * 4


def run(**changes):
    policy = decoder()
    config = PPOConfig(**{**CONFIG.__dict__, **changes})
    history = ppo(policy, decoder(), Likes(20), ValueModel(decoder()), PROMPTS, config, progress=False)
    return policy, history


@pytest.mark.slow
def test_ppo_raises_the_reward_and_the_penalty_holds_it_back():
    _, free = run(kl_coef=0.0)
    reward = free.column("reward")
    assert reward[-1] > reward[0] + 0.5
    _, held = run(kl_coef=5.0)
    assert held.column("kl")[-1] < 0.5 * free.column("kl")[-1]
    assert free.records[0]["kl"] == pytest.approx(0, abs=1e-4), "at first the policy is the reference"


@pytest.mark.slow
def test_ppo_is_reproducible_and_leaves_the_frozen_models_alone():
    one, history = run(iterations=3)
    two, again = run(iterations=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert history.column("reward") == again.column("reward")
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), decoder().parameters(), strict=True))


def test_updates_end_early_when_the_policy_moves_too_far():
    _, history = run(iterations=2, epochs=20, learning_rate=1e-2, stop_kl=0.02)
    assert all(record["updates"] < 40 for record in history.records)


def test_ppo_refuses_what_cannot_work():
    with pytest.raises(ValueError, match="an iteration takes 16"):
        ppo(decoder(), decoder(), Likes(1), ValueModel(decoder()), PROMPTS[:3], CONFIG, progress=False)
    policy = decoder()
    with pytest.raises(ValueError, match="shares parameters with a frozen model"):
        ppo(policy, policy, Likes(1), ValueModel(decoder()), PROMPTS, CONFIG, progress=False)
    for wrong in ({"clip_range": 0}, {"prompts": 10, "minibatches": 4}, {"kl_coef": -1.0}):
        with pytest.raises(ValueError, match=f"PPOConfig.*{next(iter(wrong))}"):
            PPOConfig(**wrong)

    class Broken(Likes):
        def forward(self, input_ids, attention_mask):
            return super().forward(input_ids, attention_mask) * float("nan")

    with pytest.raises(LossNotFinite, match="iteration 1"):
        ppo(decoder(), decoder(), Broken(1), ValueModel(decoder()), PROMPTS, CONFIG, progress=False)


def test_reading_answers_changes_no_mode_and_keeps_no_gradient():
    policy, value = decoder().eval(), ValueModel(decoder())
    answers = generate(policy, PROMPTS, 5, temperature=1.0)
    batch = score_rollouts(policy, decoder(), Likes(20), value, PROMPTS, answers)
    assert not any(t.requires_grad for t in vars(batch).values() if t is not None)
    assert (batch.logprobs[batch.response_mask == 0] == 0).all() and (batch.values == 0).all()
    torch.testing.assert_close(batch.logprobs, batch.ref_logprobs)


def test_rollouts_are_shared_by_methods_without_a_value_model():
    """Several answers to each prompt side by side; no value model; every prompt once in each pass."""
    sampler = RolloutIterator(
        decoder(), decoder(), Likes(20), PROMPTS[:4], batch_size=2, completions_per_prompt=3, max_new_tokens=4, seed=5
    )
    batches = [next(sampler) for _ in range(4)]
    seen = []
    for batch in batches:
        assert batch.values is None and batch.take(torch.tensor([1, 4])).values is None
        assert batch.scores.shape == (6,) and leave_one_out(batch.scores, 3).shape == (6,)
        starts = batch.response_mask.argmax(1) + 1
        asked = [row[:n].tolist() for row, n in zip(batch.input_ids, starts.tolist(), strict=True)]
        assert asked[0] == asked[1] == asked[2] != asked[3]
        seen += [tuple(asked[0]), tuple(asked[3])]
    assert sorted(seen[:4]) == sorted(seen[4:]) == sorted(map(tuple, PROMPTS[:4]))
    assert any(not torch.equal(batches[0].input_ids[0], row) for row in batches[0].input_ids[1:3]), "drawn anew"
    again = RolloutIterator(
        decoder(), decoder(), Likes(20), PROMPTS[:4], batch_size=2, completions_per_prompt=3, max_new_tokens=4, seed=5
    )
    next(again)
    later = RolloutIterator(
        decoder(), decoder(), Likes(20), PROMPTS[:4], batch_size=2, completions_per_prompt=3, max_new_tokens=4, seed=9
    )
    later.seed = 5
    later.resume(again.state())
    assert torch.equal(next(later).input_ids, batches[1].input_ids)
    with pytest.raises(ValueError, match="completions_per_prompt is 0"):
        RolloutIterator(decoder(), decoder(), Likes(1), PROMPTS, batch_size=2, completions_per_prompt=0)


def test_answers_without_an_end_are_worth_less():
    sampler = RolloutIterator(decoder(), decoder(), Likes(20), PROMPTS, batch_size=16, max_new_tokens=3)
    batch, stopped = next(sampler), sampler.completions.stopped
    assert not stopped.all()
    torch.testing.assert_close(batch.penalized_scores, batch.scores - MISSING_EOS_PENALTY * (~stopped).float())
    _, dear = run(iterations=1, missing_eos_penalty=50.0)
    _, free = run(iterations=1, missing_eos_penalty=0.0)
    assert dear.column("reward") == free.column("reward"), "the record keeps what the reward model said"
    assert dear.column("value_loss") != free.column("value_loss")


def test_best_of_n_takes_the_same_off_a_cut_answer():
    instruct = load("instruct")
    reward = RewardModel(copy.deepcopy(instruct.model), seed=0)
    tasks = fact_questions(World(seed=0).known[:2])[:3]
    settings = {"max_new_tokens": 11, "seed": 1}
    texts, free = sample_completions(
        instruct.model, reward, instruct.tokenizer, tasks, 4, **settings, missing_eos_penalty=0.0
    )
    again, charged = sample_completions(instruct.model, reward, instruct.tokenizer, tasks, 4, **settings)
    assert texts == again
    taken = (free - charged) / MISSING_EOS_PENALTY
    assert 0 < taken.round().sum() < taken.numel(), "some answers are cut, some are not"
    torch.testing.assert_close(taken, taken.round(), rtol=0, atol=1e-4)
    pairs = [(str(task["prompt"]), text) for task, row in zip(tasks, texts, strict=True) for text in row]
    assert len(set(pairs)) < len(pairs), "an answer that was drawn twice is read once, and has its score at both places"
    torch.testing.assert_close(free.flatten(), reward_scores(reward, pairs, instruct.tokenizer), rtol=0, atol=1e-5)


# PPO's parts and its checkpoints ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ppo_is_made_of_the_parts_that_it_is_given():
    """A function of one's own is what trains: each is called, and what it returns decides."""
    called = []

    def marked(name, function):
        def own(*given):
            called.append(name)
            return function(*given)

        return own

    parts = {
        "token_rewards": kl_rewards, "advantages": gae, "policy_loss": policy_loss, "value_loss": value_loss,
        "approx_kl": k3,
    }  # fmt: skip
    policies = []
    for given in ({}, {name: marked(name, function) for name, function in parts.items()}):
        policy = decoder()
        config = PPOConfig(**{**CONFIG.__dict__, "iterations": 2})
        ppo(policy, decoder(), Likes(20), ValueModel(decoder()), PROMPTS, config, progress=False, **given)
        policies.append(policy)
    assert {name: called.count(name) for name in parts} == {
        "token_rewards": 2, "advantages": 2, "policy_loss": 8, "value_loss": 8, "approx_kl": 8,
    }  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(*(p.parameters() for p in policies), strict=True))
    wrong = decoder()
    settings = {"progress": False, "policy_loss": lambda *given: -policy_loss(*given)}
    history = ppo(wrong, decoder(), Likes(20), ValueModel(decoder()), PROMPTS, CONFIG, **settings)
    assert history.column("reward")[-1] < run(kl_coef=0.05)[1].column("reward")[-1] - 0.3, "the minus forgotten"


def test_a_skipped_step_is_said_and_counted():
    class Bursting(ValueModel):
        """Its gradient is infinite once, in the second update of the second iteration, though its values are not."""

        updates = 0

        def forward(self, input_ids, attention_mask=None):
            values = super().forward(input_ids, attention_mask)
            if values.requires_grad:
                type(self).updates += 1
                if type(self).updates == 6:
                    values.register_hook(lambda gradient: gradient * torch.inf)
            return values

    policy, value = decoder(), Bursting(decoder())
    seen = []
    with pytest.warns(UserWarning, match="PPO skipped 1 of 4 steps in iteration 2"):
        history = ppo(
            policy,
            decoder(),
            Likes(20),
            value,
            PROMPTS,
            PPOConfig(**{**CONFIG.__dict__, "iterations": 3}),
            callback=lambda i, *_: seen.append(i),
            progress=False,
        )
    assert history.column("skipped_steps") == [0, 1, 0] and history.column("updates") == [4, 3, 4]
    assert all(math.isfinite(figure) for record in history.records for figure in record.values())
    assert all(torch.isfinite(p).all() for model in (policy, value) for p in model.parameters())


class Killed(RuntimeError):
    pass


def start(folder, iterations=5, die_after=None, **changes):
    """A run that saves itself and may die; returns the weights of policy and value model, and the history."""
    policy, value = decoder(), ValueModel(decoder())

    def die(iteration, *_):
        if iteration == die_after:
            raise Killed

    settings = {"iterations": iterations, "target_kl": 0.5, **changes}
    config = PPOConfig(**{**CONFIG.__dict__, **settings})
    options = {"checkpoint_dir": folder, "callback": die, "progress": False}
    history = ppo(policy, decoder(), Likes(20), value, PROMPTS + [[9, 9]] * 3, config, **options)
    return [p.detach() for model in (policy, value) for p in model.parameters()], history


TIMES = ("seconds", "generation", "iteration_seconds")


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    whole, history = start(tmp_path / "whole")
    for die_after in (0, 2):
        with pytest.raises(Killed):
            start(tmp_path / "torn", die_after=die_after)
    torn, again = start(tmp_path / "torn")
    assert all(torch.equal(a, b) for a, b in zip(whole, torn, strict=True))
    without = [[{k: v for k, v in record.items() if k not in TIMES} for record in h.records] for h in (history, again)]
    assert without[0] == without[1]
    assert again.column("seconds") == sorted(again.column("seconds"))
    assert len({record["coefficient"] for record in again.records}) > 1, "the controller has moved"
    done, same = start(tmp_path / "torn")  # nothing is left to do
    assert same.records == again.records and all(torch.equal(a, b) for a, b in zip(done, whole, strict=True))


def test_another_run_does_not_go_on_from_these_checkpoints(tmp_path):
    start(tmp_path, iterations=1)
    with pytest.raises(MismatchedCheckpoint, match="belongs to another run"):
        start(tmp_path, iterations=1, learning_rate=1e-3)
    value = ValueModel(decoder())
    config = PPOConfig(**{**CONFIG.__dict__, "iterations": 1, "target_kl": 0.5})
    for policy, reference, prompts in (
        (decoder(2), decoder(), PROMPTS + [[9, 9]] * 3),
        (decoder(), decoder(2), PROMPTS + [[9, 9]] * 3),
        (decoder(), decoder(), PROMPTS),
    ):
        with pytest.raises(CheckpointError):
            ppo(policy, reference, Likes(20), value, prompts, config, checkpoint_dir=tmp_path, progress=False)
