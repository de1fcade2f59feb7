"""Policy gradients with verifiable rewards: by hand, against trl, planted wrong, and trained.

trl's loss on a batch of ours: ``Prepared`` below is a GRPOTrainer whose ``_generate`` does not generate, but returns
answers that were laid out before (and what a sampler gave to their tokens). ``_generate_and_score_completions`` then
does all that trl does between the answers and the loss: rewards, advantages, old and reference log-probabilities, the
weights of the importance correction. The result is a dict, with which ``_compute_loss`` can be called on any weights.
``use_vllm`` is set only once the trainer stands: it switches the correction on, and the engine is never asked.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from course_utils.alignment.advantages import group_advantages, leave_one_out, tied_groups
from course_utils.alignment.grpo import GRPOConfig, grpo
from course_utils.alignment.kl import kl_rewards
from course_utils.alignment.policy_gradient import (
    METHODS,
    PolicyGradient,
    importance_weights,
    policy_gradient_loss,
    probability_ratio,
    side_by_side,
)
from course_utils.alignment.ppo import policy_loss
from course_utils.alignment.rollouts import RolloutIterator, join, token_logprobs
from course_utils.alignment.verifiable import (
    RewardError,
    VerifiableReward,
    as_batch,
    checked_rewards,
    final_number,
    json_fields_reward,
    json_format_reward,
    json_reward,
    overlong_penalty,
    parse_json,
    sum_reward,
    worked_steps,
    working_reward,
)
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.generate import Generation
from course_utils.training.checkpoints import MismatchedCheckpoint

SIZES = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
}


def decoder(seed: int = 1) -> Decoder:
    return Decoder(DecoderConfig(**SIZES), seed=seed)


# advantages ---------------------------------------------------------------------------------------------------------


def test_advantages_by_hand():
    scores = torch.tensor([1.0, 0, 0, 0, 2, 2, 2, 2])
    std = math.sqrt((0.75**2 + 3 * 0.25**2) / 3)
    torch.testing.assert_close(
        group_advantages(scores, 4), torch.tensor([0.75, -0.25, -0.25, -0.25, 0, 0, 0, 0]) / (std + 1e-4)
    )
    assert group_advantages(scores, 4, scale="none").tolist() == [0.75, -0.25, -0.25, -0.25, 0, 0, 0, 0]
    loo = group_advantages(scores, 4, "leave_one_out", "none")
    torch.testing.assert_close(loo, leave_one_out(scores, 4))
    torch.testing.assert_close(loo, group_advantages(scores, 4, scale="none") * 4 / 3)
    assert torch.equal(group_advantages(scores, 1, "none", "none"), scores), "the score itself needs no group"
    whole = group_advantages(scores, 4, scale="batch")
    torch.testing.assert_close(whole, group_advantages(scores, 4, scale="none") / (scores.std() + 1e-4))
    assert tied_groups(scores, 4).tolist() == [False, True]


@pytest.mark.parametrize("group", [2, 3, 7, 8, 16, 31])
@pytest.mark.parametrize("score", [0.1, 0.7, 1e6 + 0.3, -3.3])
def test_ties_are_worth_exactly_nothing(group, score):
    """A mean is off by a rounding, and a standard deviation of nearly 0 would make it large."""
    scores = torch.full((3 * group,), score)
    for baseline in ("group", "leave_one_out"):
        for scale in ("none", "group", "batch"):
            assert not group_advantages(scores, group, baseline, scale).any()


def test_advantages_refuse_what_cannot_work():
    for scores, group in ((torch.ones(4), 1), (torch.ones(5), 2), (torch.ones(2, 2), 2), (torch.ones(0), 2)):
        with pytest.raises(ValueError, match="groups of 2 or more that come out even"):
            group_advantages(scores, group)
    with pytest.raises(ValueError, match="the score of answer 2 is nan"):
        group_advantages(torch.tensor([1.0, 0, math.nan, 1]), 2)
    with pytest.raises(ValueError, match="no baseline 'critic'.*leave_one_out"):
        group_advantages(torch.ones(4), 2, "critic")
    with pytest.raises(ValueError, match="no scale 'std'.*batch"):
        group_advantages(torch.ones(4), 2, scale="std")


# the frame, by hand -------------------------------------------------------------------------------------------------

OLD = torch.tensor([[-1.0, -2.0, -0.5], [-0.7, 9.0, 9.0]])
MASK = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
MOVE = torch.tensor([[0.1, -0.4, 0.6], [0.5, 9.0, 9.0]])  # log p - log p_old
BETTER = torch.tensor([1.0, -2.0])


def loss_of(method: PolicyGradient, better: Tensor = BETTER, **given) -> tuple[float, Tensor]:
    """The loss at OLD + MOVE, and its gradient by the log-probabilities."""
    logprobs = (OLD + MOVE).requires_grad_()
    loss, _ = policy_gradient_loss(logprobs, OLD, better, MASK, method, **given)
    loss.backward()
    return float(loss.detach()), logprobs.grad


def test_the_methods_by_hand():
    e = math.exp
    # GRPO: ratios 1.105, 0.670, clip(1.822) = 1.2 with advantage 1; 1.649 with advantage -2, where the clip is kinder
    kept = [e(0.1), e(-0.4), 1.2]
    loss, gradient = loss_of(replace(METHODS["grpo"], kl_coef=0))
    assert loss == pytest.approx(-(sum(kept) / 3 - 2 * e(0.5)) / 2)
    torch.testing.assert_close(gradient, torch.tensor([[-e(0.1) / 6, -e(-0.4) / 6, 0], [e(0.5), 0, 0]]))
    # Dr. GRPO: the same, divided by answers x constant; DAPO: by the tokens, and clipped at 1.28
    loss, _ = loss_of(replace(METHODS["dr_grpo"], constant=10))
    assert loss == pytest.approx(-(sum(kept) - 2 * e(0.5)) / 20)
    loss, _ = loss_of(METHODS["dapo"])
    assert loss == pytest.approx(-(e(0.1) + e(-0.4) + 1.28 - 2 * e(0.5)) / 4)
    # GSPO: the geometric mean of the answer's ratios, e^0.1, clipped at 1.0004: no gradient; the bad one keeps its own
    loss, gradient = loss_of(METHODS["gspo"])
    assert loss == pytest.approx(-(1.0004 - 2 * e(0.5)) / 2)
    torch.testing.assert_close(gradient, torch.tensor([[0, 0, 0], [e(0.5), 0, 0]]))
    # CISPO: every token keeps a gradient, the weight is cut
    tight = replace(METHODS["cispo"], clip_high=0.5)
    loss, gradient = loss_of(tight)
    weights = [e(0.1), e(-0.4), 1.5]
    said = [-0.9, -2.4, 0.1]
    assert loss == pytest.approx(-(sum(w * p for w, p in zip(weights, said, strict=True)) - 2 * 1.5 * -0.2) / 4)
    torch.testing.assert_close(gradient, torch.tensor([[-w / 4 for w in weights], [2 * 1.5 / 4, 0, 0]]))
    # REINFORCE: the log-probability of the answer; RLOO: the ratio of the whole answer, e^0.3, clipped at 1.2
    loss, gradient = loss_of(METHODS["reinforce"])
    assert loss == pytest.approx(-(sum(said) - 2 * -0.2) / 2)
    torch.testing.assert_close(gradient, torch.tensor([[-0.5, -0.5, -0.5], [1.0, 0, 0]]))
    loss, _ = loss_of(METHODS["rloo"])
    assert loss == pytest.approx(-(1.2 - 2 * e(0.5)) / 2)


def test_before_the_first_update_the_methods_differ_in_averages_only():
    """At ratio 1 the gradient of a token is -advantage / what the average divides by, whatever the ratio and the
    clip: six ways to write down three gradients."""
    gradients = {}
    for name, method in METHODS.items():
        logprobs = OLD.clone().requires_grad_()
        method = replace(method, kl_coef=0, constant=method.constant or 8)
        policy_gradient_loss(logprobs, OLD, BETTER, MASK, method)[0].backward()
        gradients[name] = logprobs.grad
    answers = {"reinforce": 2, "rloo": 2, "dr_grpo": 16, "dapo": 4, "cispo": 4}
    for name, divisor in answers.items():
        torch.testing.assert_close(gradients[name], -BETTER[:, None] * MASK / divisor)
    for name in ("grpo", "gspo"):
        torch.testing.assert_close(gradients[name], -BETTER[:, None] * MASK / torch.tensor([[6.0], [2.0]]))


def test_ratios_by_hand():
    now = OLD + MOVE
    torch.testing.assert_close(probability_ratio(now, OLD, MASK)[0], MOVE[0].exp())
    for kind, expected in (("sequence", 0.1), ("answer", 0.3)):
        ratio = probability_ratio(now, OLD, MASK, kind)
        torch.testing.assert_close(ratio, torch.tensor([[math.exp(expected)], [math.exp(0.5)]]))


def test_the_frame_holds_the_loss_of_ppo():
    now, better = OLD + MOVE, torch.tensor([[1.0, -1, 2], [-2, 5, 5]])
    for reduction in ("token", "answer"):
        ours, figures = policy_gradient_loss(now, OLD, better, MASK, PolicyGradient(average=reduction))
        torch.testing.assert_close(ours, policy_loss(now, OLD, better, MASK, 0.2, reduction))
    assert figures["clip_fraction"] == pytest.approx(2 / 4), "up with 2, down with -1; 1.65 with -2 is not clipped"
    _, figures = policy_gradient_loss(now, OLD, BETTER.abs(), MASK, PolicyGradient())
    assert figures["clip_fraction"] == pytest.approx(2 / 4), "up with 1 and 2; down with 1 is not clipped"
    assert figures["ratio"] == pytest.approx(float(MOVE[MASK == 1].exp().mean()))


def test_masked_places_count_for_nothing():
    for name, method in METHODS.items():
        method, hole = replace(method, constant=8, correction="answer"), 1 - MASK
        clean, dirty = [], []
        for filling, found in ((0.0, clean), (math.nan, dirty), (-math.inf, dirty)):
            parts = [torch.where(hole.bool(), filling, x) for x in (OLD + MOVE, OLD, OLD - 0.3, OLD + 0.1)]
            now = parts[0].requires_grad_()
            loss, figures = policy_gradient_loss(
                now, parts[1], BETTER, MASK, method, ref_logprobs=parts[2], sampler_logprobs=parts[3]
            )
            loss.backward()
            found += [loss.detach(), now.grad, *figures.values()]
        for i, value in enumerate(dirty):
            torch.testing.assert_close(value, clean[i % len(clean)], msg=f"{name} {i}")


def test_the_parts_of_a_batch_add_up():
    """Averages over tokens: with ``tokens`` the gradient of the parts is that of the whole."""
    whole = loss_of(METHODS["dapo"])[1]
    now = (OLD + MOVE).requires_grad_()
    for row in (0, 1):
        rows = slice(row, row + 1)
        loss, _ = policy_gradient_loss(now[rows], OLD[rows], BETTER[rows], MASK[rows], METHODS["dapo"], tokens=2.0)
        (loss / 2).backward()
    torch.testing.assert_close(now.grad, whole)


def test_a_row_without_tokens_adds_nothing():
    rows, empty = torch.cat([OLD, OLD[:1]]), torch.cat([MASK, torch.zeros(1, 3)])
    better = torch.cat([BETTER, torch.tensor([math.nan])])
    for name, divided in {"grpo": 3 / 2, "dapo": 1, "dr_grpo": 3 / 2}.items():
        method = replace(METHODS[name], kl_coef=0, constant=8)
        loss, _ = policy_gradient_loss(rows + 0.1, rows, better, empty, method)
        without, _ = policy_gradient_loss(OLD + 0.1, OLD, BETTER, MASK, method)
        torch.testing.assert_close(loss, without / divided)


def test_the_gradient_of_the_penalty():
    """In the loss, k3's gradient is not the divergence's; times the ratio it is. Over all tokens of a vocabulary of
    three, exactly."""
    logits = torch.tensor([0.2, -0.5, 1.0], requires_grad=True)
    reference = torch.tensor([0.9, 0.1, -0.7]).log_softmax(-1)
    logs = logits.log_softmax(-1)
    wanted = torch.autograd.grad((logs.exp() * (logs - reference)).sum(), logits, retain_graph=True)[0]
    found = {}
    for corrected in (False, True):
        method = PolicyGradient(kl_coef=1.0, kl_correction=corrected, average="constant", constant=1)
        gradients = []
        for token in range(3):
            one = logs[token].view(1, 1)
            loss, _ = policy_gradient_loss(
                one, one.detach(), torch.zeros(1), torch.ones(1, 1), method, ref_logprobs=reference[token].view(1, 1)
            )
            gradients.append(torch.autograd.grad(loss, logits, retain_graph=True)[0])
        found[corrected] = (logs.detach().exp()[:, None] * torch.stack(gradients)).sum(0)
    torch.testing.assert_close(found[True], wanted)
    assert (found[False] - wanted).norm() > 0.1 * wanted.norm()


def test_importance_weights_by_hand():
    sampler = OLD - torch.tensor([[0.1, 1.0, -0.5], [0.2, 5, 5]])
    weights = importance_weights(OLD, sampler, MASK, cap=2.0)
    torch.testing.assert_close(weights[0], torch.tensor([math.exp(0.1), 2.0, math.exp(-0.5)]))
    assert importance_weights(OLD, sampler, MASK, cap=2.0, beyond="drop")[0, 1] == 0
    whole = importance_weights(OLD, sampler, MASK, "answer", cap=2.0)
    torch.testing.assert_close(whole, torch.tensor([[math.exp(0.6)], [math.exp(0.2)]]))
    assert not importance_weights(OLD.clone().requires_grad_(), sampler, MASK).requires_grad, "a weight, no road"


def test_corrected_answers_of_a_foreign_sampler_teach_what_own_ones_would():
    """Exactly, over all answers of one token from a vocabulary of five: without a cap the weighted gradient under the
    sampler is the policy's; without the correction it is another one."""
    g = torch.Generator().manual_seed(3)
    logits = torch.randn(5, generator=g).requires_grad_()
    policy, sampler = logits.log_softmax(-1), torch.randn(5, generator=g).log_softmax(-1)
    scores = torch.tensor([1.0, 0, 0, 2, 0])
    (wanted,) = torch.autograd.grad(-(policy.exp() * scores).sum(), logits, retain_graph=True)
    method = PolicyGradient(average="constant", constant=1, clip_low=None, clip_high=None, correction_cap=1e9)
    one = torch.ones(5, 1)
    errors = {}
    for correction in ("token", "answer", "none"):
        now = policy.view(5, 1)
        losses = [
            policy_gradient_loss(
                now[i : i + 1],
                now[i : i + 1].detach(),
                scores[i : i + 1],
                one[:1],
                replace(method, correction=correction),
                sampler_logprobs=sampler.view(5, 1)[i : i + 1],
            )[0]
            for i in range(5)
        ]
        expected = (sampler.exp() * torch.stack(losses)).sum()
        (gradient,) = torch.autograd.grad(expected, logits, retain_graph=True)
        errors[correction] = float((gradient - wanted).norm() / wanted.norm())
    assert errors["token"] < 1e-5 and errors["answer"] < 1e-5 and errors["none"] > 0.3


def test_methods_side_by_side():
    table = side_by_side(dr_grpo=METHODS["dr_grpo"], dapo=METHODS["dapo"])
    assert table == {
        "scale": {"dr_grpo": "none", "dapo": "group"},
        "clip_high": {"dr_grpo": 0.2, "dapo": 0.28},
        "average": {"dr_grpo": "constant", "dapo": "token"},
    }
    rows = [tuple(row.items()) for row in side_by_side(**METHODS).values()]
    assert len(rows) == 10 and all(len(row) == len(METHODS) for row in rows)
    assert len(set(METHODS.values())) == len(METHODS) == 7


def test_the_frame_refuses_what_cannot_work():
    for wrong, says in (
        ({"ratio": "word"}, "geometric mean"),
        ({"clip": "hard"}, "detached"),
        ({"average": "median"}, "constant"),
        ({"clip_low": 1.5}, "no ratio is negative"),
        ({"clip_high": -0.1}, "0 or more"),
        ({"constant": 0}, "1 or more"),
        ({"kl_coef": math.nan}, "0 or more"),
        ({"correction_cap": 0}, "greater than 0"),
    ):
        with pytest.raises(ValueError, match=f"PolicyGradient.{next(iter(wrong))}.*{says}"):
            PolicyGradient(**wrong)
    with pytest.raises(ValueError, match="kl_coef is 0.04, so ref_logprobs is wanted"):
        loss_of(METHODS["grpo"])
    with pytest.raises(ValueError, match="needs sampler_logprobs"):
        loss_of(replace(METHODS["dapo"], correction="token"))
    with pytest.raises(ValueError, match="by what to divide"):
        loss_of(METHODS["dr_grpo"])
    with pytest.raises(ValueError, match=r"advantages \(3,\)"):
        loss_of(METHODS["dapo"], better=torch.zeros(3))
    with pytest.raises(ValueError, match="advantage of answer 1 is not finite"):
        loss_of(METHODS["dapo"], better=torch.tensor([0, math.inf]))


# against trl --------------------------------------------------------------------------------------------------------

GROUP, ROOM = 4, 6
ASKED = [[5, 6, 7], [8, 9, 10, 11, 12]]
LENGTHS = (6, 2, 3, 5, 1, 6, 4, 2)


@dataclass
class Prepared:
    """What trl made of the answers: ``batch``, its ``loss`` and ``gradients`` on a policy that has moved since."""

    batch: dict[str, Tensor]
    loss: Tensor
    gradients: dict[str, Tensor]
    metrics: dict[str, float]


@dataclass
class Answers:
    """Prompts, answers, scores; the weights of the policy when it wrote, when it learns, and of the reference."""

    prompts: list[list[int]]
    answers: list[list[int]]
    sampled: list[list[float]]
    scores: list[float]
    written: torch.nn.Module
    moved: torch.nn.Module
    folder: Path  # of the reference

    def rows(self) -> tuple[Tensor, Tensor]:
        """As we lay them: input_ids, and the mask of the places that predict a token of the answer."""
        width = max(len(p) + len(a) for p, a in zip(self.prompts, self.answers, strict=True))
        ids, mask = torch.zeros(8, width, dtype=torch.long), torch.zeros(8, width - 1)
        for i, (p, a) in enumerate(zip(self.prompts, self.answers, strict=True)):
            ids[i, : len(p) + len(a)] = torch.tensor(p + a)
            mask[i, len(p) - 1 : len(p) + len(a) - 1] = 1
        return ids, mask


@pytest.fixture(scope="module")
def tokenizer():
    from course_utils.pretrained.store import SHIPPED, load

    return load("instruct", device="cpu", root=SHIPPED).tokenizer


@pytest.fixture(scope="module")
def answers(tokenizer, tmp_path_factory) -> Answers:
    from transformers import LlamaConfig, LlamaForCausalLM

    g = torch.Generator().manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    reference = LlamaForCausalLM(LlamaConfig(vocab_size=64, num_key_value_heads=2, max_position_embeddings=64, **sizes))
    folder = tmp_path_factory.mktemp("reference")
    reference.save_pretrained(folder)

    def noisy(model: torch.nn.Module, size: float) -> torch.nn.Module:
        model = copy.deepcopy(model)
        with torch.no_grad():
            for p in model.parameters():
                p += size * torch.randn(p.shape, generator=g)
        return model

    written = noisy(LlamaForCausalLM.from_pretrained(folder), 0.05)
    said = [torch.randint(13, 64, (n,), generator=g).tolist() for n in LENGTHS]
    sampled = [(-3.5 - 2 * torch.rand(n, generator=g)).tolist() for n in LENGTHS]
    scores = [1.0, 0.0, 0.5, 2.0, 0.25, 0.0, 0.0, 1.0]
    asked = [prompt for prompt in ASKED for _ in range(GROUP)]
    return Answers(asked, said, sampled, scores, written, noisy(written, 0.05), folder)


def of_trl(answers: Answers, tokenizer, folder: Path, correction: str | None = None, **settings) -> Prepared:
    from datasets import Dataset
    from trl import GRPOConfig as TrlConfig
    from trl import GRPOTrainer

    trainer = GRPOTrainer(
        copy.deepcopy(answers.written),
        lambda completions, **_: answers.scores,
        TrlConfig(
            output_dir=str(folder),
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            gradient_checkpointing=False,
            per_device_train_batch_size=8,
            num_generations=settings.pop("num_generations", GROUP),
            max_completion_length=ROOM,
            num_iterations=2,  # so that trl keeps old log-probabilities
            **settings,
            **({} if correction is None else {"vllm_importance_sampling_mode": correction}),
        ),
        train_dataset=Dataset.from_list([{"prompt": "a"}, {"prompt": "b"}]),
        processing_class=tokenizer,
    )
    texts = [tokenizer.decode(answer) for answer in answers.answers]
    laid_out = (answers.prompts, answers.answers, None, texts, answers.sampled, {}, None, None)
    trainer._generate = lambda prompts: laid_out
    trainer.use_vllm = correction is not None
    trainer.current_gradient_accumulation_steps = 1
    model = trainer.model.train()
    batch = trainer._generate_and_score_completions([{"prompt": "a"}] * GROUP + [{"prompt": "b"}] * GROUP)
    model.load_state_dict(answers.moved.state_dict())
    loss = trainer._compute_loss(model, batch)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return Prepared(batch, loss.detach(), gradients, {k: v[-1] for k, v in trainer._metrics["train"].items() if v})


def of_ours(answers: Answers, method: PolicyGradient, kept: Tensor | None = None):
    """The loss of the same answers, by our code from the scores on, and its gradients. ``kept``: 0 for a row from
    whose tokens nothing is learned."""
    ids, mask = answers.rows()
    mask = mask if kept is None else mask * kept[:, None]
    reference = type(answers.written).from_pretrained(answers.folder)
    model = copy.deepcopy(answers.moved)

    def read(reader: torch.nn.Module) -> Tensor:
        logs = reader(ids).logits[:, :-1].log_softmax(-1)
        return logs.gather(2, ids[:, 1:, None])[..., 0] * mask

    with torch.no_grad():
        old, ref = read(answers.written), read(reference)
    sampled = torch.zeros_like(mask).masked_scatter(answers.rows()[1].bool(), torch.tensor(sum(answers.sampled, [])))
    scores = torch.tensor(answers.scores)
    if method.kl_in == "reward":
        scores = kl_rewards(scores, old, ref, mask, method.kl_coef).sum(1)
    better = group_advantages(scores, GROUP, method.baseline, method.scale)
    loss, figures = policy_gradient_loss(
        read(model), old, better, mask, method, ref_logprobs=ref, sampler_logprobs=sampled
    )
    loss.backward()
    return better, loss.detach(), {name: p.grad for name, p in model.named_parameters()}, figures


def assert_equal(theirs: Prepared, ours) -> None:
    better, loss, gradients, _ = ours
    torch.testing.assert_close(better, theirs.batch["advantages"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss, theirs.loss, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == theirs.gradients.keys()
    for name, gradient in gradients.items():
        size = theirs.gradients[name].norm()
        assert size > 1e-5, name
        assert (gradient - theirs.gradients[name]).norm() < 1e-5 * size, name


PLAIN = {"beta": 0.0, "epsilon": 0.2}
SAME = {  # a method of ours, and the settings of trl that should be the same
    "grpo": (METHODS["grpo"], {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False}),
    "grpo, kl corrected": (replace(METHODS["grpo"], kl_correction=True), {"loss_type": "grpo", "beta": 0.04}),
    "dr_grpo": (replace(METHODS["dr_grpo"], constant=ROOM), {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    "dapo": (METHODS["dapo"], {"loss_type": "dapo", "epsilon_high": 0.28}),
    "bnpo": (replace(METHODS["dapo"], clip_high=0.2), {"loss_type": "bnpo"}),
    "gspo": (
        METHODS["gspo"],
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    ),
    "gspo, wide": (
        replace(METHODS["gspo"], clip_low=0.02, clip_high=0.03, kl_coef=0.1),
        {
            "loss_type": "grpo",
            "importance_sampling_level": "sequence",
            "epsilon": 0.02,
            "epsilon_high": 0.03,
            "beta": 0.1,
            "use_bias_correction_kl": False,
        },
    ),
    "cispo": (METHODS["cispo"], {"loss_type": "cispo", "epsilon_high": 5.0}),
    "cispo, tight": (replace(METHODS["cispo"], clip_high=0.1), {"loss_type": "cispo", "epsilon_high": 1.1}),
    "batch scale": (replace(METHODS["dapo"], scale="batch", clip_high=0.2), {"scale_rewards": "batch"}),
    "kl in dr_grpo": (
        replace(METHODS["dr_grpo"], constant=ROOM, kl_coef=0.3, kl_correction=True),
        {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.3},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME)
def test_loss_and_gradient_are_those_of_trl(name, answers, tokenizer, tmp_path):
    method, settings = SAME[name]
    theirs = of_trl(answers, tokenizer, tmp_path, **{**PLAIN, **settings})
    ours = of_ours(answers, method)
    assert_equal(theirs, ours)
    figures = ours[-1]
    if "clip_ratio/region_mean" in theirs.metrics:
        assert float(figures["clip_fraction"]) == pytest.approx(theirs.metrics["clip_ratio/region_mean"])
        assert 0 < figures["clip_fraction"] < 1, "some are clipped, some are not"
    if "kl" in theirs.metrics:
        assert float(figures["penalty"]) == pytest.approx(theirs.metrics["kl"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "level", "beyond"),
    [
        ("token_truncate", "token", "cap"),
        ("token_mask", "token", "drop"),
        ("sequence_truncate", "answer", "cap"),
        ("sequence_mask", "answer", "drop"),
    ],
)
def test_importance_correction_is_that_of_trl(mode, level, beyond, answers, tokenizer, tmp_path):
    cap = 1.3
    theirs = of_trl(answers, tokenizer, tmp_path, mode, **PLAIN, vllm_importance_sampling_clip_max=cap)
    weights = theirs.batch["importance_sampling_ratio"]
    assert (weights == (cap if beyond == "cap" else 0)).any() and ((weights > 0) & (weights < cap)).any()
    method = replace(METHODS["dapo"], clip_high=0.2, correction=level, correction_cap=cap, beyond=beyond)
    assert_equal(theirs, of_ours(answers, method))
    uncorrected = of_ours(answers, replace(method, correction="none"))
    assert (uncorrected[1] - theirs.loss).abs() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo"])
def test_answers_that_were_cut_are_left_out_as_trl_does(name, answers, tokenizer, tmp_path):
    """Their scores still count among the siblings, and their rows in the averages over answers."""
    method, settings = SAME[name]
    ended = torch.tensor([1.0, 0, 1, 1, 0, 1, 0, 1])
    said = [a[:-1] + [tokenizer.eos_token_id] if end else a for a, end in zip(answers.answers, ended, strict=True)]
    some = replace(answers, answers=said)
    theirs = of_trl(some, tokenizer, tmp_path, **{**PLAIN, **settings}, mask_truncated_completions=True)
    assert theirs.batch["completion_mask"].any(1).tolist() == ended.bool().tolist()
    assert_equal(theirs, of_ours(some, method, ended))


@pytest.mark.slow
def test_reinforce_is_a_corner_of_trl(answers, tokenizer, tmp_path):
    """trl has no REINFORCE. Its CISPO with a weight that can only be 1 and a divisor of our choice is one: weights are
    cut at 1, and before any update none is below."""
    still = replace_policy(answers)
    theirs = of_trl(still, tokenizer, tmp_path, **PLAIN, loss_type="cispo", epsilon_high=1.0, scale_rewards="none")
    method = replace(METHODS["reinforce"], baseline="group", average="token", constant=None)
    assert_equal(theirs, of_ours(still, method))


def replace_policy(answers: Answers) -> Answers:
    return replace(answers, moved=answers.written)


@pytest.mark.slow
def test_what_trl_does_by_default_and_one_would_not_guess(answers, tokenizer, tmp_path):
    """CISPO's bound is epsilon_high itself, not 1 + epsilon_high, and is 0.2 unless set: every weight is 0.2. With
    beta the penalty is multiplied by the ratio. Equal scores of 0.1 leave advantages that are not 0."""
    theirs = of_trl(answers, tokenizer, tmp_path, **PLAIN, loss_type="cispo")
    weight_of_a_fifth = replace(METHODS["cispo"], ratio="none", scale="group")
    _, loss, gradients, _ = of_ours(answers, weight_of_a_fifth)
    torch.testing.assert_close(theirs.loss, 0.2 * loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(theirs.gradients[name], 0.2 * gradient, rtol=1e-4, atol=1e-7)
    tied = replace(answers, scores=[0.1] * 8)
    theirs = of_trl(tied, tokenizer, tmp_path, **PLAIN, num_generations=8)
    assert 1e-6 < theirs.batch["advantages"].abs().max() < 1e-2
    assert any(gradient.norm() > 1e-6 for gradient in theirs.gradients.values())
    assert not group_advantages(torch.tensor(tied.scores), 8).any()


@pytest.mark.slow
def test_rloo_is_that_of_trl(answers, tokenizer, tmp_path):
    """The same way with RLOOTrainer, which has a loss of its own: one ratio for each answer, the penalty in the
    score."""
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    trainer = RLOOTrainer(
        copy.deepcopy(answers.written),
        lambda completions, **_: answers.scores,
        RLOOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            gradient_checkpointing=False,
            per_device_train_batch_size=8,
            num_generations=GROUP,
            max_completion_length=ROOM,
            num_iterations=2,
            beta=0.05,
            epsilon=0.2,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a"}, {"prompt": "b"}]),
        processing_class=tokenizer,
    )
    texts = [tokenizer.decode(answer) for answer in answers.answers]
    trainer._generate = lambda prompts: (answers.prompts, answers.answers, texts)
    model = trainer.model.train()
    batch = trainer._generate_and_score_completions([{"prompt": "a"}] * GROUP + [{"prompt": "b"}] * GROUP)
    model.load_state_dict(answers.moved.state_dict())
    loss = trainer._compute_loss(model, batch)
    loss.backward()
    theirs = Prepared(batch, loss.detach(), {name: p.grad for name, p in model.named_parameters()}, {})
    assert_equal(theirs, of_ours(answers, METHODS["rloo"]))


# rewards that a program can check -----------------------------------------------------------------------------------


def test_worked_steps():
    text = "47+14: 40+10=50, 7 + 4 = 11; 50+11=61."
    assert [(step.text, step.holds) for step in worked_steps(text)] == [
        ("40+10=50", True),
        ("7 + 4=11", True),
        ("50+11=61", True),
    ]
    assert [step.holds for step in worked_steps("17+25=30+12=42=42")] == [True, True], "42=42 computes nothing"
    assert [step.holds for step in worked_steps("3 x 4 + 2 = 14, 2*3-1=6, -5+2=-3")] == [True, False, True]
    assert not worked_steps("it is 61") and not worked_steps("") and not worked_steps("=5=")
    for text in ("9" * 5000 + "+1=2", "1+1=" + "9" * 5000, f"{'9' * 5000}+0={'9' * 5000}"):
        assert not worked_steps(text)[0].holds, "no number that takes long to compute with"


def test_the_outcome_of_a_sum():
    right = ("47+14=61.", "61", "It is 61 coins", "40+10=50, 7+4=11, 50+11=61", "47+14 = 61", "1=2=61")
    wrong = ("47+14=60.", "", "no idea", "=", "47+14=61 or 62", "61 47", "47+14=6 1", "61=47+14", "47+14=", "9" * 5000)
    assert [sum_reward(text, "61") for text in right] == [1.0] * len(right)
    assert [sum_reward(text, "61") for text in wrong] == [0.0] * len(wrong)
    assert final_number("5-8=-3.") == -3 and final_number("3 or 4") is None


def test_the_process_of_a_sum():
    assert working_reward("40+10=50, 7+4=11, 50+11=61.", "61") == 1
    assert working_reward("40+10=50, 7+4=12, 50+12=62.", "61") == pytest.approx(2 / 3), "a slip, carried on correctly"
    assert working_reward("61", "61") == 0, "no working"
    assert working_reward("1+1=2, so it is = 61", "61") == 0, "the steps do not lead there"


def test_json_rewards():
    answer = '{"town": "Saltmere", "year": 1928}'
    assert json_reward(' {"year": 1928, "town": "Saltmere"}\n', answer) == 1
    assert json_reward('{"town": "Saltmere", "year": 1928}', {"year": 1928, "town": "Saltmere"}) == 1
    for text in (
        "Saltmere",
        '{"town": "Saltmere"}',
        '{"town": "Saltmere", "year": "1928"}',
        'It is {"town": "Saltmere", "year": 1928}',
        '{"town": "Saltmere", "year": 1928} and more',
        '{"town": "Saltmere", "year": 1928, "year": 1928}',
        '[["town", "Saltmere"]]',
        "",
        "[" * 100_000,
    ):
        assert json_reward(text, answer) == 0, text[:60]
    assert json_reward('{"a": true}', '{"a": 1}') == 0, "in Python True == 1"
    assert [json_format_reward(text) for text in ("{}", "[]", '{"a": NaN}', "{'a': 1}")] == [1, 0, 0, 0]
    assert json_fields_reward('{"town": "Saltmere", "year": 1}', answer) == 0.5
    assert json_fields_reward('{"town": "Saltmere", "year": 1928, "x": 1, "y": 2}', answer) == 0.5, "more is no help"
    assert json_fields_reward("{}", answer) == json_fields_reward("no", answer) == 0
    with pytest.raises(ValueError, match="Infinity is not JSON"):
        parse_json("[Infinity]")
    with pytest.raises(ValueError, match="'a' is given twice"):
        parse_json('{"a": 1, "a": 1}')
    with pytest.raises(ValueError, match="expected answer 'Saltmere' is no JSON object"):
        json_reward("{}", "Saltmere")


def test_overlong_by_hand():
    assert [overlong_penalty(n, 20, 5) for n in (3, 15, 16, 19, 20, 40)] == pytest.approx([0, 0, -0.2, -0.8, -1, -1])
    with pytest.raises(ValueError, match="a buffer of 30 tokens in a room of 20"):
        overlong_penalty(3, 20, 30)


ROWS = {"prompts": ["p", "q", "r"], "completions": ["1", "22", "333"], "value": ["1", "2", "333"]}


def named(name: str, function):
    function.__name__ = name
    return function


def test_functions_of_one_answer_and_of_all():
    def one(completion, value):
        return completion == value

    def asked(prompt, completion):
        return float(prompt == "q")

    def everything(completions, **columns):
        return [float(len(text)) for text in completions]

    def whole(completions, value):
        return torch.tensor([float(v) for v in value])

    assert checked_rewards(one, **ROWS).tolist() == [1, 0, 1]
    assert checked_rewards(asked, **ROWS).tolist() == [0, 1, 0]
    assert checked_rewards(everything, **ROWS).tolist() == [1, 2, 3]
    assert checked_rewards(whole, **ROWS).tolist() == [1, 2, 333]
    assert checked_rewards(partial(overlong_by_text, room=3), **ROWS).tolist() == [0, 0, -1]
    # trl's GRPOTrainer gives more than that, and a chat as messages
    chats = [[{"role": "assistant", "content": text}] for text in ROWS["completions"]]
    given = {**ROWS, "completions": chats, "completion_ids": [[1]] * 3, "trainer_state": object(), "log_extra": print}
    assert as_batch(one)(**given) == [True, False, True] and as_batch(one).__name__ == "one"


def overlong_by_text(completion: str, room: int) -> float:
    return float(-(len(completion) >= room))


def broken(completion):
    return 1 / (len(completion) - 2)


@pytest.mark.parametrize(
    ("function", "says", "row"),
    [
        (named("nan", lambda completion: math.nan if completion == "22" else 1), "'nan' returned nan at row 1", 1),
        (named("inf", lambda completions: [0, 1, math.inf]), "'inf' returned inf at row 2", 2),
        (named("none", lambda completion: None), "'none' returned None at row 0.*The answer there is '1'", 0),
        (named("word", lambda completion: "1"), "'word' returned '1' at row 0", 0),
        (named("pair", lambda completion: (1, 2)), r"'pair' returned \(1, 2\) at row 0", 0),
        (broken, "'broken' raised ZeroDivisionError at row 1.*'22'", 1),
        (named("few", lambda completions: [1.0]), "'few' returned 1 values for 3 answers", None),
        (named("many", lambda completions: torch.zeros(4)), "'many' returned 4 values for 3 answers", None),
        (named("alone", lambda completions: 1.0), "'alone' returned 1.0; a list of 3 numbers", None),
        (named("nothing", lambda completions: None), "'nothing' returned None; a list of 3", None),
        (named("raises", lambda completions: [][0]), "'raises' raised IndexError on a batch of 3 answers", None),
        (named("wants", lambda completion, gold: 1), "'wants' wants gold; the tasks have .*value", None),
    ],
)
def test_every_way_in_which_a_reward_function_fails(function, says, row):
    with pytest.raises(RewardError, match=says) as caught:
        checked_rewards(function, **ROWS)
    assert caught.value.row == row and caught.value.function == function.__name__


def test_a_function_that_reads_no_answer():
    with pytest.raises(ValueError, match=r"'test_ties.*takes \(group, score\); it should have a parameter completion"):
        as_batch(test_ties_are_worth_exactly_nothing)


# the loop -----------------------------------------------------------------------------------------------------------


class Letters:
    """A tokenizer of 48 letters; 1 is the end."""

    def batch_decode(self, rows, skip_special_tokens=True):
        return ["".join(chr(64 + token) for token in row if token > 1) for row in rows]


LETTER = chr(64 + 20)
PROMPTS = [[3, 4, 5], [6, 7], [8, 9, 10, 11], [12]] * 2
TASKS = [{"prompt": str(i), "letter": LETTER} for i in range(len(PROMPTS))]
CONFIG = GRPOConfig(iterations=4, prompts=4, group=4, max_new_tokens=6, learning_rate=3e-3, seed=2)


def liking(completion: str, letter: str) -> float:
    return completion.count(letter) / 2 + 0.01 * len(completion)


def verifiable(*functions) -> VerifiableReward:
    return VerifiableReward(functions or liking, TASKS, Letters())


def run(config: GRPOConfig = CONFIG, reward=None, reference=None, **options):
    policy = decoder()
    history = grpo(policy, reference, reward or verifiable(), PROMPTS, config, progress=False, **options)
    return policy, history


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns(name):
    method = replace(METHODS[name], kl_coef=0.001 * (METHODS[name].kl_coef > 0))
    if name == "gspo":  # its bounds are for long answers: two epochs would stop at once
        method = replace(method, clip_low=0.2, clip_high=0.2)
    config = replace(CONFIG, iterations=25, prompts=8, method=method, epochs=2, minibatches=2)
    _, history = run(config, reference=decoder())
    rewards = history.column("reward")
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.3
    assert history.column("kl")[0] == pytest.approx(0, abs=1e-4) and history.column("kl")[-1] > 0.1
    assert all(math.isfinite(figure) for record in history.records for figure in record.values())


def test_a_run_repeats_and_needs_no_reference():
    one, history = run()
    two, again = run(reference=decoder())
    assert same(one, two) and not same(one, decoder())
    assert history.column("reward") == again.column("reward")
    assert "kl" not in history.records[0] and "kl" in again.records[0]
    assert {"tied", "length", "missing_eos", "entropy", "generation", "clip_fraction"} <= history.records[0].keys()


def test_one_update_is_the_loss_of_the_frame():
    """The loop by hand: rollouts, advantages, the loss, one step of Adam."""
    method = replace(METHODS["dr_grpo"], constant=CONFIG.max_new_tokens)
    by_loop, history = run(replace(CONFIG, iterations=1, method=METHODS["dr_grpo"]))
    policy = decoder()
    batch = next(
        RolloutIterator(
            policy, None, verifiable(), PROMPTS, batch_size=4, completions_per_prompt=4, max_new_tokens=6,
            missing_eos_penalty=0.0, seed=2,
        )
    )  # fmt: skip
    better = group_advantages(batch.scores, 4, scale="none")
    assert better.any() and batch.ref_logprobs is None and batch.sampler_logprobs is None
    logprobs = token_logprobs(policy, batch.input_ids, batch.response_mask)
    loss, _ = policy_gradient_loss(logprobs, batch.logprobs, better, batch.response_mask, method)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    torch.optim.Adam(policy.parameters(), lr=CONFIG.learning_rate).step()
    assert float(loss.detach()) == pytest.approx(history.records[0]["loss"], abs=1e-7)
    for p, q in zip(policy.parameters(), by_loop.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5)


def test_in_an_only_update_the_policy_reads_its_answers_once():
    seen = []

    def look(iteration, batch, completions):
        seen.append(batch)

    one, history = run(replace(CONFIG, epochs=1, minibatches=1), callback=look)
    two, again = run(replace(CONFIG, epochs=1, minibatches=1), reference=decoder(), callback=look)  # reads twice
    assert history.column("loss") == pytest.approx(again.column("loss"), abs=1e-6)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5)
    for once, twice in zip(seen[: len(history)], seen[len(history) :], strict=True):
        torch.testing.assert_close(once.logprobs, twice.logprobs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [[3, 1, 3, 6, 2, 4], [1] * 6], ids=["unlike", "one token each"])
@pytest.mark.parametrize("context", [32, 8], ids=["room", "too long together"])
def test_a_prompt_that_is_read_once_for_its_answers(lengths, context):
    """Log-probabilities, entropies and gradients are those of reading it with each answer; one of them is left out."""
    config = DecoderConfig(vocab_size=24, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                           num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context)  # fmt: skip
    prompts = [prompt for prompt in ([3, 4, 5, 6], [7, 8]) for _ in range(3)]
    tokens = torch.randint(2, 24, (6, 6), generator=torch.Generator().manual_seed(0))
    ids, _, said = join(prompts, Generation(tokens, torch.tensor(lengths), torch.ones(6, dtype=torch.bool)))
    mask, found = said.clone(), []
    mask[4] = 0
    for group in (1, 3):
        model = Decoder(config, seed=1)
        pair = token_logprobs(model, ids, mask, with_entropy=True, starts=said.argmax(1), group=group)
        (pair[0] * torch.linspace(-1, 1, 6)[:, None] + 0.1 * pair[1]).sum().backward()
        found.append((*pair, *(p.grad for p in model.parameters())))
    for apart, once in zip(*found, strict=True):
        torch.testing.assert_close(apart, once, rtol=1e-4, atol=1e-6)


def test_groups_that_tie_are_not_read_again():
    """The losses and weights are those of a run that reads every answer, as one with a reference does."""
    seen: list[Tensor] = []

    def loss(logprobs, *rest, **more):
        seen.append(logprobs.detach())
        return policy_gradient_loss(logprobs, *rest, **more)

    def early(completion: str, letter: str) -> float:
        return float(completion[:1] > "T")

    config = replace(CONFIG, iterations=2)
    some, history = run(config, verifiable(early), loss=loss)
    whole, again = run(config, verifiable(early), reference=decoder(), loss=loss)
    assert 0 < max(history.column("tied")) < 1 and history.column("loss") == pytest.approx(
        again.column("loss"), abs=1e-5
    )
    for one, other in zip(seen[:2], seen[2:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    for one, other in zip(some.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_groups_are_read_a_few_at_a_time(monkeypatch):
    found = []
    for groups in (1, 64):
        monkeypatch.setattr("course_utils.alignment.grpo.GROUPS", groups)
        found.append(run(replace(CONFIG, iterations=2)))
    (few, history), (many, again) = found
    for name in ("loss", "entropy", "grad_norm"):
        assert history.column(name) == pytest.approx(again.column(name), rel=1e-4, abs=1e-6)
    for p, q in zip(few.parameters(), many.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5)


def test_equal_rewards_change_nothing():
    """trl's default of eight answers would move the weights here: the mean of eight times 0.1 is off by a rounding."""
    policy, history = run(
        replace(CONFIG, group=8, method=PolicyGradient(scale="group")),
        verifiable(named("always", lambda completion: 0.1)),
    )
    assert same(policy, decoder()) and history.column("tied") == [1.0] * 4


def test_the_loop_is_made_of_the_parts_that_it_is_given():
    called: list[str] = []
    moved: list[float] = []
    tokens: list[tuple[float, float]] = []

    def advantages(*given):
        called.append("advantages")
        return -group_advantages(*given)

    def loss(logprobs, old_logprobs, *given, **named):
        called.append("loss")
        moved.append(float((logprobs.detach() - old_logprobs).abs().max()))
        tokens.append((float(given[1].sum()), float(named["tokens"])))
        return policy_gradient_loss(logprobs, old_logprobs, *given, **named)

    _, history = run(replace(CONFIG, epochs=2, minibatches=2), advantages=advantages, loss=loss)
    assert called.count("advantages") == 4 and called.count("loss") == 16
    assert history.column("updates") == [4] * 4
    assert moved[0] < 1e-5 and min(moved[1:4]) > 1e-3, "what was likely then is kept, while the policy moves"
    for i in range(0, 16, 2):  # both halves of an epoch divide by the same: half of all tokens
        assert tokens[i][1] == tokens[i + 1][1] == (tokens[i][0] + tokens[i + 1][0]) / 2


def test_what_the_record_says_of_several_functions():
    def short(completion: str) -> float:
        return -0.1 * len(completion)

    reward = VerifiableReward([liking, short], TASKS, Letters(), weights=[2.0, 0.5])
    _, history = run(replace(CONFIG, iterations=1), reward)
    record = history.records[0]
    assert record["reward"] == pytest.approx(2 * record["reward/liking"] + 0.5 * record["reward/short"])


def test_nothing_is_learned_from_truncated_answers():
    """With a mask for truncated answers, and no answer that has ended, no weight moves."""
    config = replace(CONFIG, iterations=2, max_new_tokens=2)
    for masked in (False, True):
        policy, history = run(replace(config, mask_truncated=masked), stop_ids=())
        assert history.column("missing_eos") == [1.0, 1.0] and same(policy, decoder()) == masked


def test_groups_that_tie_are_replaced():
    """Only two of eight prompts have answers that differ in worth; drawn again and again, they come together."""

    def sometimes(completion: str, prompt: str) -> float:
        return 0.01 * len(completion) if int(prompt) < 2 else 0.25

    seen: list = []
    config = replace(CONFIG, iterations=2, prompts=2, group=6)
    plain, history = run(config, verifiable(sometimes))
    _, again = run(replace(config, resample=20), verifiable(sometimes), callback=lambda *given: seen.append(given[1:]))
    assert again.column("informative") == [1.0, 1.0] and max(again.column("draws")) > 1
    assert again.records[0]["reward"] == history.records[0]["reward"], "the figures are those of the first draw"
    for batch, completions in seen:
        assert not tied_groups(batch.scores, 6).any() and batch.scores.shape == (12,)
        texts = completions.texts(Letters())
        assert batch.scores.tolist() == pytest.approx([0.01 * len(text) for text in texts])
        assert batch.response_mask.sum(1).tolist() == completions.lengths.tolist()
        starts = batch.response_mask.argmax(1) + 1
        for row, start, n, said in zip(batch.input_ids, starts, completions.lengths, completions.tokens, strict=True):
            assert row[start : start + n].tolist() == said[:n].tolist()


@pytest.mark.slow
def test_a_foreign_sampler_and_its_correction():
    """Answers come from a copy with noise; the rollouts say what the copy gave to its tokens, and a correction uses
    it."""
    other = decoder()
    with torch.no_grad():
        for p in other.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    settings = {"batch_size": 4, "completions_per_prompt": 4, "max_new_tokens": 6, "seed": 2}
    batch = next(RolloutIterator(decoder(), None, verifiable(), PROMPTS, sampler=lambda policy: other, **settings))
    read = token_logprobs(other, batch.input_ids, batch.response_mask).detach()
    torch.testing.assert_close(batch.sampler_logprobs, read, rtol=0, atol=1e-4)
    assert (batch.sampler_logprobs - batch.logprobs).abs().max() > 0.1
    assert batch.take(torch.tensor([1])).sampler_logprobs.shape == batch.sampler_logprobs[:1].shape

    weighed = replace(CONFIG, method=replace(CONFIG.method, correction="token"))
    corrected, history = run(weighed, sampler=lambda policy: other)
    plain, _ = run(sampler=lambda policy: other)
    assert not same(corrected, plain) and history.column("correction")[0] != 1
    trusting, figures = run(weighed, sampler=lambda policy: policy)
    assert figures.column("correction") == pytest.approx([1.0] * 4, abs=1e-4), "the policy itself needs none"
    with pytest.raises(ValueError, match="there is nothing to correct"):
        run(weighed)


class Killed(RuntimeError):
    pass


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    def start(folder, die_after=None, **options):
        def die(iteration, *_):
            if iteration == die_after:
                raise Killed

        config = replace(CONFIG, iterations=5, epochs=2, minibatches=2, **options)
        return run(config, reference=decoder(), checkpoint_dir=folder, callback=die)

    whole, history = start(tmp_path / "whole")
    for die_after in (0, 2):
        with pytest.raises(Killed):
            start(tmp_path / "torn", die_after)
    torn, again = start(tmp_path / "torn")
    assert same(whole, torn)
    for one, two in zip(history.records, again.records, strict=True):
        assert {k: v for k, v in one.items() if k not in TIMES} == {k: v for k, v in two.items() if k not in TIMES}
    for change in ({"method": METHODS["dapo"]}, {"group": 2}):
        with pytest.raises(MismatchedCheckpoint, match="belongs to another run"):
            start(tmp_path / "torn", **change)
    other = VerifiableReward(liking, [{**task, "letter": "B"} for task in TASKS], Letters())
    config = replace(CONFIG, iterations=5, epochs=2, minibatches=2)
    with pytest.raises(MismatchedCheckpoint):
        run(config, other, decoder(), checkpoint_dir=tmp_path / "torn")


TIMES = ("seconds", "generation", "iteration_seconds")


@pytest.mark.slow
def test_a_reward_that_fails_loses_nothing(tmp_path):
    """It fails in the fourth iteration, between two checkpoints; mended, the run ends as if nothing had been."""
    calls = []

    def fussy(completion: str, letter: str) -> float:
        calls.append(completion)
        return math.nan if fails and len(calls) > 3 * 16 + 5 else liking(completion, letter)

    def start(iterations: int, **options):
        calls.clear()
        policy, caught = decoder(), None
        try:
            grpo(policy, None, verifiable(fussy), PROMPTS, replace(CONFIG, iterations=iterations), **options)
        except RewardError as error:
            caught = error
        return policy, caught

    saved = {"checkpoint_dir": tmp_path, "save_every": 2, "progress": False}
    fails = False
    whole, three = (start(iterations, progress=False)[0] for iterations in (6, 3))
    fails = True
    torn, error = start(6, **saved)
    assert error.row == 5 and "'fussy' returned nan at row 5" in str(error)
    assert same(torn, three) and not same(torn, whole), "what was learned is still there"
    fails = False
    mended, _ = start(6, **saved)
    assert same(mended, whole) and len(calls) == 3 * 16, "the first three iterations were not done again"


def test_the_loop_refuses_what_cannot_work():
    with pytest.raises(ValueError, match="group=1.*its siblings, and one answer has none.*group=2 or more"):
        replace(CONFIG, group=1)
    replace(CONFIG, group=1, method=METHODS["reinforce"])
    with pytest.raises(ValueError, match="the 16 answers do not divide evenly"):
        replace(CONFIG, minibatches=3)
    for wrong in ({"iterations": 0}, {"learning_rate": 0}, {"missing_eos_penalty": -1}, {"resample": -1}):
        with pytest.raises(ValueError, match=f"GRPOConfig.{next(iter(wrong))}"):
            replace(CONFIG, **wrong)
    with pytest.raises(ValueError, match="kl_coef is 0.04 and there is no reference"):
        run(replace(CONFIG, method=METHODS["grpo"]))
    reward = VerifiableReward(liking, [*TASKS, *TASKS[:2]], Letters())
    with pytest.raises(ValueError, match="prompt 9 has 60 tokens, and max_new_tokens = 6 more do not fit"):
        grpo(decoder(), None, reward, [*PROMPTS, [5], [5] * 60], CONFIG, progress=False)
    with pytest.raises(ValueError, match="the reward knows 8 tasks, and 7 prompts were given"):
        grpo(decoder(), None, verifiable(), PROMPTS[:7], CONFIG, progress=False)
    policy = decoder()
    with pytest.raises(ValueError, match="shares parameters with the reference"):
        grpo(policy, policy, verifiable(), PROMPTS, CONFIG, progress=False)
    for functions, tasks, weights, says in (
        ([], TASKS, None, "0 reward functions"),
        (liking, [], None, "0 tasks"),
        ([liking, liking], TASKS, None, "a name of its own"),
        ([liking], TASKS, [1, 2], "2 weights were given for 1"),
    ):
        with pytest.raises(ValueError, match=says):
            VerifiableReward(functions, tasks, Letters(), weights)
