"""Proximal policy optimization for language models, in full (arXiv 1707.06347; InstructGPT, arXiv 2203.02155).

    for rollouts in RolloutIterator(...):              # the policy answers prompts, the models read what it said
        rewards = kl_rewards(scores, ...)              # the score at the last token, minus the KL penalty at each
        advantages, returns = gae(rewards, values)
        for each epoch, for each minibatch:
            loss = policy_loss(...) + value_loss(...)  # both clipped
            one step of Adam

Four models take part: the policy, which is trained; the value model, trained beside it; the reward model and the
reference, which stay as they are. The details that are easily got wrong are those of Huang et al., "The N
implementation details of RLHF with PPO" (2023): rewards per token, whitened advantages, clipped values, masks after
the stop token, a penalty for answers without an end. Of theirs these are left out: the reward model's scores brought to
mean 0 and standard deviation 1 before training, a fixed score for an answer without a stop token (here a penalty is
subtracted), whitened rewards, a learning rate that falls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_utils.alignment.advantages import gae, whiten
from course_utils.alignment.kl import AdaptiveKL, k3, kl_rewards
from course_utils.alignment.masked import masked_mean, reduce_tokens, select
from course_utils.alignment.resuming import RunCheckpoints
from course_utils.alignment.rollouts import MISSING_EOS_PENALTY, RolloutIterator, Rollouts, token_logprobs
from course_utils.alignment.steps import Clock, Steps, minibatches, rollout_figures
from course_utils.models.generate import Generation
from course_utils.models.halves import at_once
from course_utils.training.history import History


@dataclass(frozen=True)
class PPOConfig:
    """Settings of ``ppo``. ``target_kl``: nats per answer that the KL coefficient steers towards (None: it stays).
    ``stop_kl``: an iteration's updates end once the policy has moved so many nats per token since it wrote the
    answers. Raises ValueError out of range."""

    iterations: int = 20
    prompts: int = 64  # answered in each iteration
    max_new_tokens: int = 24
    epochs: int = 2
    minibatches: int = 2
    learning_rate: float = 1e-4
    value_learning_rate: float = 3e-4
    clip_range: float = 0.2
    clip_range_value: float = 0.2
    kl_coef: float = 0.05
    target_kl: float | None = None
    stop_kl: float = 0.1
    missing_eos_penalty: float = MISSING_EOS_PENALTY  # for an answer that found no end within max_new_tokens
    gamma: float = 1.0
    lam: float = 0.95
    max_grad_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "prompts", "max_new_tokens", "epochs", "minibatches", "learning_rate", "clip_range"):
            if getattr(self, name) <= 0:
                raise ValueError(f"PPOConfig({name}={getattr(self, name)}): it must be greater than 0.")
        if self.prompts % self.minibatches:
            raise ValueError(
                f"PPOConfig(prompts={self.prompts}, minibatches={self.minibatches}): the prompts do not divide evenly."
            )
        if self.missing_eos_penalty < 0:
            raise ValueError(
                f"PPOConfig(missing_eos_penalty={self.missing_eos_penalty}): taken off the score, so give 0 or more."
            )
        if self.kl_coef < 0:
            raise ValueError(f"PPOConfig(kl_coef={self.kl_coef}): 0 leaves the penalty out; less rewards drift.")


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip: float = 0.2,
    reduction: str = "token",
) -> Tensor:
    """PPO's clipped surrogate, to be minimized; all tensors (batch, length).

    -mean over the answer's tokens of min(ratio A, clip(ratio, 1 - clip, 1 + clip) A), ratio = p / p_old
    (arXiv 1707.06347, equation 7). The minimum makes the pessimistic choice: a step is not rewarded for going further
    than the clip in the good direction, and is always punished for going in the bad one. ``reduction``: over all
    tokens ("token"), per answer ("answer"), or "none", see ``reduce_tokens``. What stands where the mask is 0 counts
    for nothing.
    """
    logprobs, old_logprobs, advantages = (select(x, mask) for x in (logprobs, old_logprobs, advantages))
    ratio = (logprobs - old_logprobs).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -reduce_tokens(surrogate, mask, reduction)


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip: float = 0.2,
    reduction: str = "token",
) -> Tensor:
    """Half the squared error of the values, the worse of the clipped and the plain one; all tensors (batch, length).

    Values may move by at most ``clip`` from what they were when the answers were written, as in OpenAI's baselines.
    ``reduction`` and mask as in ``policy_loss``.
    """
    values, old_values, returns = (select(x, mask) for x in (values, old_values, returns))
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * reduce_tokens(
        torch.maximum((values - returns).square(), (clipped - returns).square()), mask, reduction
    )


def ppo(
    policy: nn.Module,
    reference: nn.Module,
    reward: nn.Module,
    value: nn.Module,
    prompts: Sequence[Sequence[int]],
    config: PPOConfig,
    *,
    token_rewards: Callable[..., Tensor] = kl_rewards,
    advantages: Callable[..., tuple[Tensor, Tensor]] = gae,
    policy_loss: Callable[..., Tensor] = policy_loss,
    value_loss: Callable[..., Tensor] = value_loss,
    approx_kl: Callable[[Tensor, Tensor], Tensor] = k3,
    stop_ids: Sequence[int] = (1,),
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    evaluate_every: int = 5,
    callback: Callable[[int, Rollouts, Generation], None] | None = None,
    checkpoint_dir: str | Path | None = None,
    save_every: int = 1,
    progress: bool = True,
) -> History:
    """Train ``policy`` (and ``value``) in place on ``prompts`` (token ids, taken in an order that the seed fixes).
    An answer ends after the first of ``stop_ids``: ``course_utils.text.chat.stop_ids(tokenizer, policy)``.

    The parts are functions, called with their arguments in the order of the defaults, so that your own can take a
    place: ``token_rewards`` (scores, logprobs, ref_logprobs, mask, coefficient), ``advantages`` (rewards, values, mask,
    gamma, lam), ``policy_loss`` (logprobs, old_logprobs, advantages, mask, clip), ``value_loss`` (values, old_values,
    returns, mask, clip), and ``approx_kl`` (old_logprobs, logprobs), which tells per token how far the policy has moved
    since it wrote the answers.

    The history has one record per iteration: ``reward`` (mean score), ``kl`` (nats per answer, from the reference),
    ``coefficient``, ``policy_loss``, ``value_loss``, ``clip_fraction`` (share of tokens), ``entropy`` (nats per token),
    ``length`` (tokens per answer), ``missing_eos`` (share of answers without an end), ``updates``, ``skipped_steps``
    (updates left out because a gradient was not finite: a warning says so), ``seconds``, ``generation`` (seconds of it
    in writing completions), and what ``evaluate(policy)`` returned. Answers are written before the updates of their
    record: reward, KL and length are those of the policy one iteration earlier than ``evaluate``.

    With ``checkpoint_dir`` the run is saved there after every ``save_every`` iterations and goes on from there when
    ppo() is called again with the same models, prompts and settings: it ends with the same weights. Raises ValueError
    for too few prompts or shared parameters, LossNotFinite, CheckpointError.
    """
    draw = torch.Generator().manual_seed(config.seed)  # the order of the prompts, and of the rows of a minibatch
    sampler = RolloutIterator(
        policy,
        reference,
        reward,
        prompts,
        batch_size=config.prompts,
        value=value,
        max_new_tokens=config.max_new_tokens,
        missing_eos_penalty=config.missing_eos_penalty,
        stop_ids=stop_ids,
        seed=config.seed,
        generator=draw,
    )
    optimizer = _make_optimizer(policy, reference, reward, value, config)
    controller = AdaptiveKL(config.kl_coef, config.target_kl)
    frozen = {"reference": reference, "reward": reward}
    saved = RunCheckpoints(
        checkpoint_dir, {"policy": policy, "value": value}, optimizer, frozen, settings=asdict(config), data=prompts
    )
    history = _resume(saved, sampler, controller)
    clock = Clock(history)
    for model in (reference, reward, policy, value):
        model.eval()

    iterations = range(len(history), config.iterations)
    for iteration in tqdm(
        iterations, initial=len(history), total=config.iterations, unit="iteration", disable=not progress
    ):
        # 1) The policy answers, the models read.
        clock.start()
        batch = next(sampler)
        scores, mask, coefficient = batch.penalized_scores, batch.response_mask, controller.coefficient

        # 2) A reward for every token, and how much better than expected it was.
        rewards = token_rewards(scores, batch.logprobs, batch.ref_logprobs, mask, coefficient)
        better, returns = advantages(rewards, batch.values, mask, config.gamma, config.lam)
        better = whiten(better, mask)

        # 3) A few steps on these answers, as long as the policy is near to the one that wrote them.
        steps = Steps(optimizer, config.max_grad_norm, iteration + 1, apart=policy)
        for rows in minibatches(len(scores), config.epochs, config.minibatches, draw):
            part, mask = batch.take(rows), batch.response_mask[rows]
            (logprobs, entropy), values = at_once(
                policy,
                partial(token_logprobs, policy, part.input_ids, mask, with_entropy=True),
                partial(value, part.input_ids),
            )
            moved = float(masked_mean(approx_kl(part.logprobs, logprobs.detach()), mask))
            if moved > config.stop_kl:
                break
            of_policy = policy_loss(logprobs, part.logprobs, better[rows], mask, config.clip_range)
            of_value = value_loss(values[:, :-1], part.values, returns[rows], mask, config.clip_range_value)
            outside = ((logprobs.detach() - part.logprobs).exp() - 1).abs() > config.clip_range
            figures = {"clip_fraction": outside.float(), "entropy": entropy}
            figures = {name: masked_mean(figure, mask) for name, figure in figures.items()}
            losses = {"policy_loss": of_policy, "value_loss": of_value}  # no weight between: they share no parameter
            steps.make(*losses.values(), **losses, **figures, approx_kl=moved)

        # 4) What was measured, and a checkpoint.
        record = {**steps.means(), "step": iteration + 1, **rollout_figures(batch, sampler), "coefficient": coefficient}
        clock.stamp(record, batch)
        controller.update(record["kl"], config.prompts)
        last = iteration + 1 == config.iterations
        if evaluate is not None and (last or (iteration + 1) % evaluate_every == 0):
            with torch.no_grad():
                record |= {name: float(figure) for name, figure in evaluate(policy).items()}
        history.records.append(record)
        if last or (iteration + 1) % save_every == 0:
            at = torch.tensor(controller.coefficient, dtype=torch.float64)
            saved.save(history.records, {**sampler.state(), "coefficient": at})
        if callback is not None:
            callback(iteration, batch, sampler.completions)
    return history


def _make_optimizer(
    policy: nn.Module, reference: nn.Module, reward: nn.Module, value: nn.Module, config: PPOConfig
) -> torch.optim.Optimizer:
    """Adam over policy and value model, a group each. Raises ValueError if they share some with a frozen one."""
    frozen = [parameter for model in (reference, reward) for parameter in model.parameters()]
    trained = {id(p) for model in (policy, value) for p in model.parameters() if p.requires_grad}
    if any(id(parameter) in trained for parameter in frozen):
        raise ValueError(
            "the policy or value model shares parameters with a frozen model; give copies (copy.deepcopy)."
        )
    groups = [
        {"params": [p for p in policy.parameters() if p.requires_grad], "lr": config.learning_rate},
        {"params": [p for p in value.parameters() if p.requires_grad], "lr": config.value_learning_rate},
    ]
    return torch.optim.Adam(groups, eps=1e-5)


def _resume(saved: RunCheckpoints, sampler: RolloutIterator, controller: AdaptiveKL) -> History:
    """Go back to the newest checkpoint, if there is one; return the history up to there."""
    state = saved.resume()
    if state is None:
        return History()
    sampler.resume(state.random)
    controller.coefficient = float(state.random["coefficient"])
    return History(state.records)
