"""Proximal policy optimization for language models, in full (arXiv 1707.06347; InstructGPT, arXiv 2203.02155).

    for each iteration:
        answers  = policy(prompts)
        rewards  = reward(completions) at the last token, minus the KL penalty at every token
        advantages, returns = gae(rewards, values)
        for each epoch, for each minibatch:
            loss = clipped policy loss + clipped value loss
            one step of Adam

Four models take part: the policy, which is trained; the value model, trained beside it; the reward model and the
reference, which stay as they are. The details that are easily got wrong are those of Huang et al., "The N
implementation details of RLHF with PPO" (2023): rewards per token, whitened advantages, clipped values, masks behind
the stop token, a penalty for answers without an end. Left out, as they change little here: whitened rewards, a learning
rate that falls.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_utils.alignment.advantages import gae, masked_mean, whiten
from course_utils.alignment.kl import AdaptiveKL, kl_estimate, kl_rewards
from course_utils.alignment.rollouts import Rollouts, score_rollouts, token_logprobs
from course_utils.models.generate import Generation, generate
from course_utils.training.history import History
from course_utils.training.micro_batches import LossNotFinite


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
    missing_eos_penalty: float = 1.0  # taken off the score of an answer that found no end within max_new_tokens
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


def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float = 0.2) -> Tensor:
    """PPO's clipped surrogate, to be minimized; all tensors (batch, length).

    -mean over the answer's tokens of min(ratio A, clip(ratio, 1 - clip, 1 + clip) A), ratio = p / p_old
    (arXiv 1707.06347, equation 7). The minimum makes the pessimistic choice: a step is not rewarded for going further
    than the clip in the good direction, and is always punished for going in the bad one.
    """
    ratio = (logprobs - old_logprobs).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -masked_mean(surrogate, mask)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float = 0.2) -> Tensor:
    """Half the squared error of the values, the worse of the clipped and the plain one; all tensors (batch, length).

    Values may move by at most ``clip`` from what they were when the answers were written, as in OpenAI's baselines.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * masked_mean(torch.maximum((values - returns).square(), (clipped - returns).square()), mask)


def ppo(
    policy: nn.Module,
    reference: nn.Module,
    reward: nn.Module,
    value: nn.Module,
    prompts: Sequence[Sequence[int]],
    config: PPOConfig,
    *,
    stop_ids: Sequence[int] = (1,),
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    evaluate_every: int = 5,
    callback: Callable[[int, Rollouts, Generation], None] | None = None,
    progress: bool = True,
) -> History:
    """Train ``policy`` (and ``value``) in place on ``prompts`` (token ids, taken in an order that the seed fixes).
    An answer ends behind the first of ``stop_ids``: ``course_utils.text.chat.stop_ids(tokenizer, policy)``.

    The history has one record per iteration: ``reward`` (mean score), ``kl`` (nats per answer, from the reference),
    ``coefficient``, ``policy_loss``, ``value_loss``, ``clip_fraction`` (share of tokens), ``entropy`` (nats per token),
    ``length`` (tokens per answer), ``missing_eos`` (share of answers without an end), ``updates``, ``seconds``,
    ``generation`` (seconds of it in writing completions), and what ``evaluate(policy)`` returned. Answers are written
    before the updates of their record: reward, KL and length are those of the policy one iteration earlier than
    ``evaluate``. Raises ValueError for too few prompts, LossNotFinite.
    """
    if len(prompts) < config.prompts:
        raise ValueError(
            f"{len(prompts)} prompts were given; an iteration takes {config.prompts}. Give more, or take fewer."
        )
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
    optimizer = torch.optim.Adam(groups, eps=1e-5)
    controller = AdaptiveKL(config.kl_coef, config.target_kl)
    draw = torch.Generator().manual_seed(config.seed)
    history, tokens, started = History(), 0, time.perf_counter()
    order: list[int] = []
    for model in (reference, reward, policy, value):
        model.eval()
    for iteration in tqdm(range(config.iterations), unit="iteration", disable=not progress):
        while len(order) < config.prompts:
            order += torch.randperm(len(prompts), generator=draw).tolist()
        chosen, order = [prompts[i] for i in order[: config.prompts]], order[config.prompts :]
        begun = time.perf_counter()
        seed = 1_000_003 * config.seed + iteration
        completions = generate(policy, chosen, config.max_new_tokens, temperature=1.0, seed=seed, stop_ids=stop_ids)
        generation = time.perf_counter() - begun
        batch = score_rollouts(policy, reference, reward, value, chosen, completions)
        scores = batch.scores
        batch.scores = scores - config.missing_eos_penalty * (~completions.stopped).float()
        record = _learn(policy, value, optimizer, batch, controller.coefficient, config, draw)
        if not all(math.isfinite(figure) for figure in record.values()):
            raise LossNotFinite(
                f"a loss of PPO is not finite in iteration {iteration + 1}: {record}. Usual causes: a learning rate "
                "that is too high, or rewards without any scale (whiten them, or divide them).",
                iteration + 1,
            )
        tokens += int(batch.response_mask.sum())
        kl = float(((batch.logprobs - batch.ref_logprobs) * batch.response_mask).sum(1).mean())
        record |= {
            "step": iteration + 1,
            "reward": float(scores.mean()),
            "missing_eos": float((~completions.stopped).float().mean()),
            "kl": kl,
            "coefficient": controller.coefficient,
            "length": float(batch.response_mask.sum(1).mean()),
            "generation": generation,
            "iteration_seconds": time.perf_counter() - begun,
            "tokens": tokens,
            "seconds": time.perf_counter() - started,
        }
        controller.update(kl, config.prompts)
        if evaluate is not None and ((iteration + 1) % evaluate_every == 0 or iteration + 1 == config.iterations):
            with torch.no_grad():
                record |= {name: float(figure) for name, figure in evaluate(policy).items()}
        history.records.append(record)
        if callback is not None:
            callback(iteration, batch, completions)
    return history


def _learn(
    policy: nn.Module,
    value: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Rollouts,
    coefficient: float,
    config: PPOConfig,
    draw: torch.Generator,
) -> dict[str, float]:
    """The updates of one iteration; returns the means of what was measured in them."""
    rewards = kl_rewards(batch.scores, batch.logprobs, batch.ref_logprobs, batch.response_mask, coefficient)
    advantages, returns = gae(rewards, batch.values, batch.response_mask, config.gamma, config.lam)
    advantages = whiten(advantages, batch.response_mask)
    size, records, stopped = len(batch.scores) // config.minibatches, [], False
    for _ in range(config.epochs):
        for rows in torch.randperm(len(batch.scores), generator=draw).split(size):
            rows = rows.to(batch.response_mask.device)
            part, mask = batch.take(rows), batch.response_mask[rows]
            logprobs, entropy = token_logprobs(policy, part.input_ids, mask, with_entropy=True)
            approx_kl = float(masked_mean(kl_estimate(part.logprobs, logprobs.detach(), "k3"), mask))
            if approx_kl > config.stop_kl:
                stopped = True
                break
            of_policy = policy_loss(logprobs, part.logprobs, advantages[rows], mask, config.clip_range)
            values = value(part.input_ids)[:, :-1]
            of_value = value_loss(values, part.values, returns[rows], mask, config.clip_range_value)
            optimizer.zero_grad()
            (of_policy + of_value).backward()  # no weight between them: they share no parameter
            # Each model on its own: a large gradient of the value model should not shorten the policy's step.
            norm, norm_of_value = (
                torch.nn.utils.clip_grad_norm_(group["params"], config.max_grad_norm)
                for group in optimizer.param_groups
            )
            if torch.isfinite(norm) and torch.isfinite(norm_of_value):
                optimizer.step()
            outside = ((logprobs.detach() - part.logprobs).exp() - 1).abs() > config.clip_range
            records.append(
                {
                    "loss": float(of_policy.detach() + of_value.detach()),
                    "policy_loss": float(of_policy.detach()),
                    "value_loss": float(of_value.detach()),
                    "clip_fraction": float(masked_mean(outside.float(), mask)),
                    "entropy": float(masked_mean(entropy.detach(), mask)),
                    "grad_norm": float(norm),
                    "approx_kl": approx_kl,
                }
            )
        if stopped:
            break
    return {name: sum(r[name] for r in records) / len(records) for name in records[0]} | {"updates": len(records)}
