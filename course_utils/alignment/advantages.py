"""Advantages: how much better than expected an action turned out (Schulman et al., arXiv 1506.02438)."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.alignment.masked import masked_mean, select


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation: (advantages, returns), both (batch, length), 0 on padding.

        delta_t = r_t + gamma V_{t+1} - V_t            V behind the last token is 0: the answer has ended
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
