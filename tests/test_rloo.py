"""PPO's pieces against trl's RLOOTrainer, on the very answers that it sampled and with the very weights that it had.

RLOO (Ahmadian et al., arXiv 2402.14740) is PPO with the whole answer as one action. So these pieces can be compared:
log-probabilities, the KL penalty summed over the answer, the leave-one-out advantage, and the clipped loss of rows
that are one "token" long. What RLOO does without, and trl cannot tell us: the value model and its clipped loss, GAE,
rewards and advantages that differ within an answer, and the mean over tokens (RLOO's is over answers). Those are
computed by hand in test_alignment.py.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from course_utils.alignment.advantages import leave_one_out, masked_mean, whiten
from course_utils.alignment.kl import kl_estimate, kl_rewards
from course_utils.alignment.ppo import policy_loss
from course_utils.alignment.rollouts import Rollouts, score_rollouts, token_logprobs
from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder
from course_utils.models.generate import Generation
from course_utils.pretrained.store import SHIPPED, Loaded, load
from course_utils.text.chat import encode_prompts
from course_utils.world import World
from course_utils.world.tasks import make_tasks

pytestmark = pytest.mark.slow

PROMPTS, GROUP, ROOM = 4, 4, 8  # prompts, answers to each, tokens that an answer may have
STEPS = 3  # updates, all on the same answers
BETA, CLIP = 0.1, 0.2
TASKS = make_tasks(World(seed=0), PROMPTS)


def liking(texts: list[str]) -> list[float]:
    """The reward: somebody is fond of the letter e."""
    return [0.5 * text.count("e") for text in texts]


def no_values(input_ids: Tensor) -> Tensor:
    """Stands where PPO has its value model: RLOO has none."""
    return torch.zeros(input_ids.shape)


# what trl does ------------------------------------------------------------------------------------------------------


@dataclass
class Step:
    """The weights before an update, and the loss and its gradients there."""

    weights: dict[str, Tensor]
    loss: Tensor
    gradients: dict[str, Tensor]


@dataclass
class Run:
    """``batch``: what trl learned from, rows in groups. ``logprobs``: of the answers' tokens, by model (batch, n)."""

    batch: dict[str, Tensor] = field(default_factory=dict)
    logprobs: dict[str, Tensor] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    log: list[dict[str, float]] = field(default_factory=list)  # one record per update


def run_trl(policy: Decoder, instruct: Loaded, folder: Path, normalize: bool) -> Run:
    """Let trl sample answers and learn from them. The reference is the course's instruct model."""
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    run = Run()

    class Watched(RLOOTrainer):
        def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
            found = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
            if not torch.is_grad_enabled():  # the answers are read, before any update
                run.logprobs["reference" if model is self.ref_model else "policy"] = found[0].clone()
            return found

        def _generate_and_score_completions(self, inputs):
            scored = super()._generate_and_score_completions(inputs)
            run.batch = {name: tensor.clone() for name, tensor in scored.items()}
            return scored

        def training_step(self, model, *args, **kwargs):
            if len(run.steps) == STEPS - 1:
                # Updates make good answers likelier and bad ones less likely. Ratios that go far in the wrong
                # direction, where nothing may be clipped, are found on the other side of where training began.
                with torch.no_grad():
                    for name, p in model.named_parameters():
                        p.copy_(2 * run.steps[0].weights[name] - p)
            weights = {name: p.detach().clone() for name, p in model.named_parameters()}
            loss = super().training_step(model, *args, **kwargs)
            run.steps.append(Step(weights, loss, {name: p.grad.clone() for name, p in model.named_parameters()}))
            return loss

    llama = to_llama(policy)
    llama.config._name_or_path = str(SHIPPED / "instruct")  # where trl takes the reference from
    trainer = Watched(
        llama,
        lambda completions, **_: liking([turn["content"] for (turn,) in completions]),
        RLOOConfig(
            output_dir=str(folder),
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            gradient_checkpointing=False,
            per_device_train_batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            max_completion_length=ROOM,
            shuffle_dataset=False,
            num_iterations=STEPS,
            max_steps=STEPS,
            logging_steps=1,
            learning_rate=1e-5,
            lr_scheduler_type="constant",
            beta=BETA,
            epsilon=CLIP,
            normalize_advantages=normalize,
        ),
        train_dataset=Dataset.from_list([{"prompt": task["messages"][:1]} for task in TASKS]),
        processing_class=instruct.tokenizer,
    )
    trainer.train()
    run.log = trainer.state.log_history[:STEPS]
    return run


# what we do ---------------------------------------------------------------------------------------------------------


@dataclass
class Both:
    """trl's run, and what we make of the same answers."""

    normalized: bool
    policy: Decoder
    trl: Run
    answers: Generation
    ours: Rollouts

    def rewards(self) -> Tensor:
        """Of whole answers, (batch,): the score minus the penalty. trl's is the sum of ours over the tokens."""
        ours = self.ours
        return kl_rewards(ours.scores, ours.logprobs, ours.ref_logprobs, ours.response_mask, BETA).sum(1)

    def advantages(self) -> Tensor:
        """(batch,)"""
        advantages = leave_one_out(self.rewards(), GROUP)
        if not self.normalized:
            return advantages
        spread = advantages.std()  # trl divides by it plus 1e-4; whiten adds 1e-8 to its square
        return whiten(advantages, torch.ones_like(advantages)) * spread / (spread + 1e-4)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "normalized"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    instruct = load("instruct", device="cpu", root=SHIPPED)
    policy, noise = copy.deepcopy(instruct.model), torch.Generator().manual_seed(1)
    with torch.no_grad():  # away from the reference, so that there is a penalty, and answers of many kinds
        for p in policy.parameters():
            p += 0.06 * torch.randn(p.shape, generator=noise)
    run = run_trl(policy, instruct, tmp_path_factory.mktemp("rloo"), request.param)
    tokens = run.batch["completion_ids"]
    stopped = (tokens == instruct.tokenizer.eos_token_id).any(1)
    answers = Generation(tokens, run.batch["completion_mask"].sum(1), stopped)
    prompts = encode_prompts([task["messages"] for task in TASKS for _ in range(GROUP)], instruct.tokenizer)
    scores = torch.tensor(liking(answers.texts(instruct.tokenizer)))
    ours = score_rollouts(policy, instruct.model, lambda *_: scores, no_values, prompts, answers)
    return Both(request.param, policy, run, answers, ours)


# the comparison -----------------------------------------------------------------------------------------------------


def test_the_rows_are_the_same_tokens(both):
    """trl pads prompts on the left and answers on the right, we pad the row on the right."""
    theirs, ours, stop = both.trl.batch, both.ours, 1
    assert both.answers.stopped.any() and not both.answers.stopped.all(), "answers that end and answers cut off"
    assert len(set(theirs["prompt_mask"].sum(1).tolist())) > 1, "prompts of several lengths"
    for i in range(PROMPTS * GROUP):
        prompt = theirs["prompt_ids"][i][theirs["prompt_mask"][i] == 1].tolist()
        answer = theirs["completion_ids"][i][theirs["completion_mask"][i] == 1].tolist()
        assert ours.input_ids[i].tolist()[: len(prompt + answer)] == prompt + answer
        assert ours.input_ids[i, 1:][ours.response_mask[i] == 1].tolist() == answer
        assert stop not in answer[:-1] and (answer[-1] == stop) == both.answers.stopped[i], "the stop token counts too"


def test_log_probabilities_and_their_divergence(both):
    ours, counted = both.ours, both.trl.batch["completion_mask"] == 1
    for name, logprobs in {"policy": ours.logprobs, "reference": ours.ref_logprobs}.items():
        torch.testing.assert_close(
            logprobs[ours.response_mask == 1], both.trl.logprobs[name][counted], rtol=0, atol=1e-4
        )
    torch.testing.assert_close(ours.logprobs.sum(1), both.trl.batch["old_logps"], rtol=0, atol=1e-4)
    kl = masked_mean(kl_estimate(ours.logprobs, ours.ref_logprobs, "k1"), ours.response_mask).item()
    assert kl == pytest.approx(both.trl.log[0]["kl"], rel=1e-4) and kl > 0.1, "the two models differ"


def test_advantages(both):
    advantages = both.advantages()
    torch.testing.assert_close(advantages, both.trl.batch["advantages"], rtol=1e-4, atol=1e-4)
    assert advantages.max() > 0.1 and advantages.min() < -0.1
    penalties = both.ours.scores - both.rewards()
    for part in (both.ours.scores, penalties):  # each has its share in which answer is better
        assert leave_one_out(part, GROUP).std() > 0.1


@pytest.mark.parametrize("number", range(STEPS))
def test_loss_and_gradients(both, number):
    step, log, ours, advantages = both.trl.steps[number], both.trl.log[number], both.ours, both.advantages()
    model = copy.deepcopy(both.policy)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(step.weights[name])
    logprobs, entropy = token_logprobs(model, ours.input_ids, ours.response_mask, with_entropy=True)
    new, old = logprobs.sum(1, keepdim=True), ours.logprobs.sum(1, keepdim=True)  # one "token": the whole answer
    loss = policy_loss(new, old, advantages[:, None], torch.ones_like(new), CLIP)
    loss.backward()

    torch.testing.assert_close(loss.detach(), step.loss, rtol=2e-4, atol=1e-5)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert gradients.keys() == step.gradients.keys()
    for name, gradient in gradients.items():
        size = step.gradients[name].norm()
        assert size > 0
        assert (gradient - step.gradients[name]).norm() < 2e-4 * size, name
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm().item()
    assert norm == pytest.approx(log["grad_norm"], rel=2e-4)
    assert masked_mean(entropy, ours.response_mask).item() == pytest.approx(log["entropy"], rel=1e-4)

    ratio, good = (new - old)[:, 0].exp(), advantages > 0
    up, down = ratio > 1 + CLIP, ratio < 1 - CLIP
    clipped = (up & good) | (down & ~good)
    assert clipped.float().mean().item() == pytest.approx(log["clip_ratio/region_mean"])
    if number == 0:  # the policy is still the one that wrote the answers
        torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-4)
    elif number < STEPS - 1:  # some have gone far enough, and some have not
        assert (up & good).any() and (down & ~good).any() and not clipped.all()
    else:  # the wrong way, too far for the clip, and yet not clipped
        assert (down & good).any() and (up & ~good).any() and not clipped.all()
