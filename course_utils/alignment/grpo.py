"""Learning from rewards that a program can check: groups of answers to one prompt, no value model (arXiv 2402.03300).

    for rollouts in RolloutIterator(..., completions_per_prompt=group):
        advantages = group_advantages(scores, group)     # how much better than its siblings an answer is
        for each epoch, for each minibatch:
            loss = policy_gradient_loss(...)             # the method: GRPO, Dr. GRPO, DAPO, GSPO, CISPO, RLOO, ...
            one step of Adam

Compared with ``ppo`` there is no value model, and so no returns, no value loss and half the trained weights; the parts
that remain (rollouts, updates, figures, checkpoints) are the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_utils.alignment.advantages import group_advantages, tied_groups
from course_utils.alignment.kl import kl_rewards
from course_utils.alignment.masked import masked_mean
from course_utils.alignment.policy_gradient import METHODS, PolicyGradient, policy_gradient_loss
from course_utils.alignment.resuming import RunCheckpoints
from course_utils.alignment.rollouts import (
    CompletionReward,
    RolloutIterator,
    Rollouts,
    concatenate,
    take_rows,
    token_logprobs,
)
from course_utils.alignment.steps import Clock, Steps, minibatches, rollout_figures
from course_utils.models.generate import Generation
from course_utils.models.halves import can_be_read_twice, is_small
from course_utils.training.history import History
from course_utils.training.two_cores import TwoCores

GROUPS = 8  # of answers that a small model reads at once


@dataclass(frozen=True)
class GRPOConfig:
    """Settings of ``grpo``: in each iteration ``group`` answers to each of ``prompts`` prompts, read ``epochs`` times
    in ``minibatches`` parts. ``mask_truncated``: an answer that was cut before its end still counts among its siblings,
    but nothing is learned from its tokens (DAPO, arXiv 2503.14476, section 3.4). ``resample``: where all answers to a
    prompt have the same score, nothing is learned, so draw up to so many times more prompts and put groups that do not
    tie in their place (section 3.2 there). Raises ValueError out of range."""

    iterations: int = 20
    prompts: int = 16
    group: int = 8
    max_new_tokens: int = 24
    epochs: int = 1
    minibatches: int = 1
    learning_rate: float = 1e-4
    method: PolicyGradient = field(default_factory=lambda: METHODS["dr_grpo"])
    missing_eos_penalty: float = 0.0  # off the score; a program that checks sees for itself that the end is missing
    mask_truncated: bool = False
    resample: int = 0
    max_grad_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "prompts", "group", "max_new_tokens", "epochs", "minibatches", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"GRPOConfig({name}={getattr(self, name)}): it must be greater than 0.")
        if self.group == 1 and (self.method.baseline != "none" or self.method.scale == "group"):
            raise ValueError(
                f"GRPOConfig(group=1) with the baseline {self.method.baseline!r} and the scale {self.method.scale!r}: "
                "an answer is compared with its siblings, and one answer has none. Give group=2 or more, or a method "
                "without a baseline (METHODS['reinforce'])."
            )
        if self.prompts * self.group % self.minibatches:
            raise ValueError(
                f"GRPOConfig(prompts={self.prompts}, group={self.group}, minibatches={self.minibatches}): the "
                f"{self.prompts * self.group} answers do not divide evenly."
            )
        if self.resample < 0:
            raise ValueError(f"GRPOConfig(resample={self.resample}): it counts further draws; give 0 or more.")
        if self.missing_eos_penalty < 0:
            raise ValueError(
                f"GRPOConfig(missing_eos_penalty={self.missing_eos_penalty}): taken off the score, so give 0 or more."
            )


def grpo(
    policy: nn.Module,
    reference: nn.Module | None,
    reward: nn.Module | CompletionReward,
    prompts: Sequence[Sequence[int]],
    config: GRPOConfig,
    *,
    advantages: Callable[..., Tensor] = group_advantages,
    loss: Callable[..., tuple[Tensor, Mapping[str, Tensor]]] = policy_gradient_loss,
    sampler: Callable[[nn.Module], nn.Module] | None = None,
    stop_ids: Sequence[int] = (1,),
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    evaluate_every: int = 5,
    callback: Callable[[int, Rollouts, Generation], None] | None = None,
    checkpoint_dir: str | Path | None = None,
    save_every: int = 1,
    progress: bool = True,
) -> History:
    """Train ``policy`` in place on ``prompts`` (token ids) with ``config.method``.

    ``reward``: a ``VerifiableReward``, or a reward model. ``reference``: a frozen copy that the policy is tied to, or
    None where ``kl_coef`` is 0 and nobody wants to know ``kl``. ``sampler``: what writes the answers instead of the
    policy, see ``RolloutIterator``. The parts are functions, so that your own can take a place: ``advantages`` (scores,
    group, baseline, scale) and ``loss``, called like ``policy_gradient_loss``.

    The history has one record per iteration: ``reward`` (mean score), ``tied`` (share of groups in which all answers
    have the same score, so that nothing is learned), ``reward/...`` (of each function, where there are several),
    ``loss``, the figures of the loss, ``entropy`` (nats per token), ``kl`` (nats per answer, from the reference),
    ``length``, ``missing_eos``, ``updates``, ``skipped_steps``, ``seconds``, ``generation`` (seconds of it in writing
    answers), and what ``evaluate(policy)`` returned. Answers are written before the updates of their record. With
    ``resample`` these figures are those of the first draw, what comes later being chosen; ``draws`` tells how many were
    made, and ``informative`` the share of the groups learned from that do not tie.

    Where there is one update and no reference, the loss is given the log-probabilities with which the answers were
    drawn, and the policy reads them once more for the gradient alone, a few groups at a time. Groups whose advantages
    are all 0 are not read again: they add nothing to it. In ``entropy`` their tokens count with what they cost,
    -log p, whose mean the entropy is.

    With ``checkpoint_dir`` the run is saved after every ``save_every`` iterations, and also when an iteration ends in
    an error before its first update (a reward function that raises, say); called again with the same models, prompts
    and settings it goes on from there and ends with the same weights. Raises ValueError for too few prompts, one that
    leaves no room, a missing reference or shared parameters, RewardError, LossNotFinite, CheckpointError.
    """
    method = config.method
    if method.average == "constant" and method.constant is None:
        method = replace(method, constant=config.max_new_tokens)
    if method.kl_coef and reference is None:
        raise ValueError(f"kl_coef is {method.kl_coef} and there is no reference; give a frozen copy, or set it to 0.")
    if method.correction != "none" and sampler is None:
        raise ValueError(
            f"correction is {method.correction!r}, but the policy writes its answers itself: there is nothing to "
            "correct. Give the sampler, or set it to 'none'."
        )
    # In an only update the policy that learns is the one that wrote: its reading there is the old one, too.
    whole = config.epochs * config.minibatches == 1
    once = whole and sampler is None and reference is None
    draw = torch.Generator().manual_seed(config.seed)  # the order of the prompts, and of the rows of a minibatch
    rollouts = RolloutIterator(
        policy,
        reference,
        reward,
        prompts,
        batch_size=config.prompts,
        completions_per_prompt=config.group,
        max_new_tokens=config.max_new_tokens,
        missing_eos_penalty=config.missing_eos_penalty,
        stop_ids=stop_ids,
        sampler=sampler,
        read_policy=not once,
        seed=config.seed,
        generator=draw,
    )
    frozen = {"reference": reference, "reward": reward}
    modules = {name: model for name, model in frozen.items() if isinstance(model, nn.Module)}
    optimizer = _make_optimizer(policy, modules, config.learning_rate)
    settings = asdict(config) | ({} if "reward" in modules else {"reward": repr(reward)})
    saved = RunCheckpoints(checkpoint_dir, {"policy": policy}, optimizer, modules, settings=settings, data=prompts)
    history, state = History(), saved.resume()
    if state is not None:
        rollouts.resume(state.random)
        history = History(state.records)
    clock = Clock(history)
    for model in (policy, *modules.values()):
        model.eval()

    iterations = range(len(history), config.iterations)
    for iteration in tqdm(
        iterations, initial=len(history), total=config.iterations, unit="iteration", disable=not progress
    ):
        # 1) Several answers to each prompt, and what they are worth.
        clock.start()
        before = rollouts.state()
        try:
            batch = next(rollouts)
            measured = rollout_figures(batch, rollouts)
            parts: Mapping[str, Tensor] = {} if isinstance(reward, nn.Module) else getattr(reward, "parts", {})
            measured |= {f"reward/{name}": float(part.mean()) for name, part in parts.items() if len(parts) > 1}
            measured["tied"] = float(tied_groups(batch.penalized_scores, config.group).float().mean())
            if config.resample:
                batch = _replace_ties(batch, rollouts, config, measured)

            # 2) How much better than its siblings each of them is.
            scores, mask = batch.penalized_scores, batch.response_mask
            if batch.ref_logprobs is not None and method.kl_coef and method.kl_in == "reward":
                scores = kl_rewards(scores, batch.logprobs, batch.ref_logprobs, mask, method.kl_coef).sum(1)
            better = advantages(scores, config.group, method.baseline, method.scale)
        except Exception:
            if iteration % save_every:  # not yet saved
                saved.save(history.records, before)
            raise
        if config.mask_truncated:
            mask = mask * rollouts.completions.stopped[:, None]

        # 3) A few steps on these answers.
        steps = Steps(optimizer, config.max_grad_norm, iteration + 1, "GRPO")
        for rows in minibatches(len(scores), config.epochs, config.minibatches, draw):
            rows = rows.sort().values if whole else rows  # in an only update siblings stay together
            part, kept = batch.take(rows), mask[rows]
            if once:  # what the policy gave to its tokens when it drew them is all that the loss asks for
                logprobs = part.logprobs.requires_grad_()
            else:
                logprobs, entropy = _read(policy, part, kept, config.group if whole else 1)
            of_method, figures = loss(
                logprobs,
                logprobs.detach() if once else part.logprobs,
                better[rows],
                kept,
                method,
                ref_logprobs=part.ref_logprobs,
                sampler_logprobs=part.sampler_logprobs,
                tokens=mask.sum() / config.minibatches,
            )
            if once:
                (pull,) = torch.autograd.grad(of_method, logprobs)
                optimizer.zero_grad()
                batch.logprobs, entropy = _pulled(policy, part, kept, pull, better, config.group)
                of_method = of_method.detach()
            steps.make(of_method, **figures, entropy=masked_mean(entropy, kept))

        # 4) What was measured, and a checkpoint.
        record = {**steps.means(), "step": iteration + 1, **measured}
        clock.stamp(record, batch)
        last = iteration + 1 == config.iterations
        if evaluate is not None and (last or (iteration + 1) % evaluate_every == 0):
            with torch.no_grad():
                record |= {name: float(figure) for name, figure in evaluate(policy).items()}
        history.records.append(record)
        if last or (iteration + 1) % save_every == 0:
            saved.save(history.records, rollouts.state())
        if callback is not None:
            callback(iteration, batch, rollouts.completions)
    return history


def _read(policy: nn.Module, part: Rollouts, kept: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities, with gradients, and entropies of the tokens that are kept; ``group`` rows share a prompt."""
    starts = part.response_mask.argmax(1)
    return token_logprobs(policy, part.input_ids, kept, with_entropy=True, starts=starts, group=group)


def _pulled(
    policy: nn.Module, part: Rollouts, kept: Tensor, pull: Tensor, advantages: Tensor, group: int
) -> tuple[Tensor, Tensor]:
    """Give the policy's parameters their gradients, where those of the log-probabilities are ``pull`` (rows, length);
    the log-probabilities and entropies that were met on the way.

    An advantage of 0 pulls at nothing, so groups of such answers are not read again; the mean of what their drawn
    tokens cost stands for the entropy. A small model reads a few groups at a time, of like lengths, so that what is
    kept for the gradient stays in the processor's cache, half of them on each core.
    """
    logprobs = part.logprobs.detach().clone()
    entropy = -logprobs
    groups = _informative(advantages, group).view(-1, group)
    longest = kept[groups].sum(2).amax(1)

    def work(model: nn.Module, few: Tensor) -> None:
        rows = few.flatten()
        found, spread = _read(model, part.take(rows), kept[rows], group)
        found.backward(pull[rows])
        logprobs[rows], entropy[rows] = found.detach(), spread

    if not is_small(policy) or not can_be_read_twice(policy):
        work(policy, groups)
        return logprobs, entropy
    two = TwoCores(policy)
    try:
        two.map(work, [(few,) for few in groups[longest.argsort(stable=True)].split(GROUPS)])
    finally:
        two.close()
    return logprobs, entropy


def _informative(advantages: Tensor, group: int) -> Tensor:
    """The rows of the groups in which any advantage is not 0; of the first group if there is none."""
    groups = advantages.unflatten(0, (-1, group)).flatten(1).ne(0).any(1)
    if not groups.any():
        groups[0] = True
    return groups.repeat_interleave(group).nonzero()[:, 0]


def _replace_ties(
    batch: Rollouts, rollouts: RolloutIterator, config: GRPOConfig, measured: dict[str, float]
) -> Rollouts:
    """As many groups as before, with new ones in place of those that tie, as far as they are found. The rollouts'
    ``completions`` and ``chosen`` follow."""
    completions, chosen, draws = rollouts.completions, rollouts.chosen, 1
    tied = tied_groups(batch.penalized_scores, config.group)
    while tied.any() and draws <= config.resample:
        batch, draws = concatenate(batch, next(rollouts)), draws + 1
        completions, chosen = concatenate(completions, rollouts.completions), chosen + rollouts.chosen
        measured["generation"] += rollouts.generation_seconds
        tied = tied_groups(batch.penalized_scores, config.group)
        groups = tied.int().argsort(stable=True)[: config.prompts]  # those that do not tie come first
        rows = (groups[:, None] * config.group + torch.arange(config.group, device=groups.device)).flatten()
        batch, completions, tied = batch.take(rows), take_rows(completions, rows), tied[groups]
        chosen = [chosen[i] for i in rows.tolist()]
    rollouts.completions, rollouts.chosen = completions, chosen
    measured |= {"draws": draws, "informative": 1 - float(tied.float().mean())}
    return batch


def _make_optimizer(policy: nn.Module, frozen: Mapping[str, nn.Module], learning_rate: float) -> torch.optim.Optimizer:
    """Adam over the policy. Raises ValueError if it shares parameters with a frozen model."""
    trained = {id(parameter) for parameter in policy.parameters() if parameter.requires_grad}
    for name, model in frozen.items():
        if any(id(parameter) in trained for parameter in model.parameters()):
            raise ValueError(f"the policy shares parameters with the {name}; give a copy (copy.deepcopy).")
    return torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=learning_rate)
