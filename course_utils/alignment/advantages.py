"""Advantages: how much better than expected an action turned out (Schulman et al., arXiv 1506.02438)."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.alignment.masked import masked_mean, select


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation: (advantages, returns), both (batch, length), 0 on padding.

        delta_t = r_t + gamma V_{t+1} - V_t            V after the last token is 0: the answer has ended
        A_t     = delta_t + gamma lam A_{t+1}          equation 16, summed from the end
        R_t     = A_t + V_t                            what the value should have been

    ``rewards``, ``values``, ``mask``: (batch, length), the mask 1 for the tokens of the answer, which stand in one
    block; where it is 0 there may be anything. lam = 0 trusts the values, lam = 1 only what came.
    """
    if not rewards.shape == values.shape == mask.shape:
        raise ValueError(
            f"rewards {tuple(rewards.shape)}, values {tuple(values.shape)} and mask {tuple(mask.shape)} should have "
            "one shape, (batch, length): one number for each token of the answer."
        )
    rewards, values = select(rewards, mask), select(values, mask)
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        next_value = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(following)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        advantages[:, t] = following
    return advantages, advantages + values


def whiten(x: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """``x`` with standard deviation 1, and mean 0 if ``shift_mean``, where ``mask`` is 1; 0 elsewhere."""
    x, mean = select(x, mask), masked_mean(x, mask)
    variance = select((x - mean).square(), mask).sum() / (mask.bool().sum() - 1).clamp(min=1)
    white = (x - mean) * (variance + 1e-8).rsqrt()
    return select(white if shift_mean else white + mean, mask)


def leave_one_out(scores: Tensor, group: int) -> Tensor:
    """RLOO's advantage (Ahmadian et al., arXiv 2402.14740): a score minus the mean of the other answers to
    the same prompt. ``scores`` (prompts x group,), the answers to one prompt side by side; ``group`` at least 2."""
    if group < 2 or len(scores) % group:
        raise ValueError(
            f"{len(scores)} scores in groups of {group}: groups of 2 or more that come out even are wanted."
        )
    grouped = scores.view(-1, group)
    return (grouped - (grouped.sum(1, keepdim=True) - grouped) / (group - 1)).flatten()


BASELINES = {
    "none": "the score as it is",
    "group": "minus the mean of the answers to the same prompt",
    "leave_one_out": "minus the mean of the other answers to the same prompt",
}
SCALES = {
    "none": "as it is",
    "group": "divided by the standard deviation of the scores of its group",
    "batch": "divided by the standard deviation of all scores",
}


def group_advantages(
    scores: Tensor, group: int, baseline: str = "group", scale: str = "group", eps: float = 1e-4
) -> Tensor:
    """How much better an answer is than its siblings, the other answers to the same prompt; (prompts x group,).

        GRPO      (r - mean) / (std + eps)      baseline "group", scale "group" (arXiv 2402.03300, section 4.1.2)
        Dr. GRPO   r - mean                     baseline "group", scale "none" (arXiv 2503.20783, section 3)
        RLOO       r - mean of the others       baseline "leave_one_out", scale "none": group / (group - 1) as much

    ``scores`` (prompts x group,): one number for each answer, those to one prompt side by side. The standard deviation
    is the one with ``group`` - 1 below; ``eps`` keeps it away from 0. In a group whose answers all have the same score
    there is nothing to learn, and every advantage is *exactly* 0: a mean in float32 is off by a rounding (of eight
    times 0.1, say), and divided by a standard deviation of nearly 0 that would become a gradient out of nothing.

    Raises ValueError for a group of 1, an uneven number of scores, a score that is not finite (named by its row), or
    an unknown baseline or scale.
    """
    for name, given, known in (("baseline", baseline, BASELINES), ("scale", scale, SCALES)):
        if given not in known:
            listed = "; ".join(f"{key!r} ({what})" for key, what in known.items())
            raise ValueError(f"there is no {name} {given!r}; choose {listed}.")
    needed = 2 if baseline != "none" or scale == "group" else 1
    if scores.dim() != 1 or group < needed or len(scores) % group or not len(scores):
        raise ValueError(
            f"scores of shape {tuple(scores.shape)} in groups of {group}: one score per answer is expected, in groups "
            f"of {needed} or more that come out even. An answer without siblings has nothing to be compared with; "
            "draw more answers to each prompt."
        )
    broken = (~scores.isfinite()).nonzero().flatten().tolist()
    if broken:
        raise ValueError(f"the score of answer {broken[0]} is {float(scores[broken[0]])}; every score must be finite.")
    grouped = scores.view(-1, group)
    if baseline == "leave_one_out":
        better = leave_one_out(scores, group).view(-1, group)
    else:
        better = grouped - (grouped.mean(1, keepdim=True) if baseline == "group" else 0)
    if scale == "group":
        better = better / (grouped.std(1, keepdim=True) + eps)
    elif scale == "batch":
        better = better / ((scores.std() if len(scores) > 1 else 0) + eps)
    if baseline != "none":
        better = better.masked_fill(tied_groups(scores, group)[:, None], 0)
    return better.flatten()


def tied_groups(scores: Tensor, group: int) -> Tensor:
    """(prompts,) bool: the answers to this prompt all have the same score. ``scores`` as in ``group_advantages``."""
    grouped = scores.view(-1, group)
    return (grouped == grouped[:, :1]).all(1)
