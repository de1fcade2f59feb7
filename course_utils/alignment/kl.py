"""How far the policy has moved from the model that it started from, and what that costs it.

KL(policy || reference) = E[log p(x) - log p_ref(x)] over x drawn from the policy. From samples it is estimated token by
token; the estimators are Schulman's (http://joschu.net/blog/kl-approx.html, 2020), who calls them k1, k2 and k3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.alignment.masked import select


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, kind: str = "k1") -> Tensor:
    """The divergence at each sampled token, in nats, same shape as the inputs.

    With r = p_ref / p: ``k1`` is -log r, right on average but often negative; ``k2`` (log r)^2 / 2, never negative and
    somewhat off; ``k3`` (r - 1) - log r, never negative and right on average. Raises ValueError for another kind.
    """
    log_ratio = ref_logprobs - logprobs  # log r
    if kind == "k1":
        return -log_ratio
    if kind == "k2":
        return log_ratio.square() / 2
    if kind == "k3":
        return k3(logprobs, ref_logprobs)
    raise ValueError(f"there is no KL estimator {kind!r}; choose k1, k2 or k3.")


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The third estimator, (r - 1) - log r with r = p_ref / p, at each sampled token, in nats; never negative.

    ``expm1`` computes r - 1 without first rounding r: near r = 1, where two close models meet, ``exp(log r) - 1``
    loses the digits that count, and one token in twelve would come out negative in float32.
    """
    log_ratio = ref_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """The reward of each token: -coefficient * (log p - log p_ref), and at the last one the score of the whole answer.

    ``scores`` (batch,); ``logprobs``, ``ref_logprobs`` and ``mask`` (batch, length), the mask 1 for the tokens of the
    answer and 0 for the prompt before and the padding after them, where there may be anything. A row without a token
    has no reward. (InstructGPT, arXiv 2203.02155, section 3.5, equation 2, without its pretraining term; Ziegler et
    al., arXiv 1909.08593, section 2.)
    """
    rewards = -coefficient * (select(logprobs, mask) - select(ref_logprobs, mask))
    last = (mask.cumsum(1) * mask).argmax(1)
    rewards[torch.arange(len(scores), device=mask.device), last] += select(scores, mask.any(1))
    return rewards


@dataclass
class AdaptiveKL:
    """A coefficient that steers the divergence of a whole answer towards ``target`` nats (Ziegler et al., section 2.2).

    After ``horizon`` answers that were off by a fifth or more, it has changed by about the factor e^0.2. With
    ``target=None`` it stays as it is.
    """

    coefficient: float = 0.05
    target: float | None = None
    horizon: int = 1_000

    def update(self, kl: float, answers: int) -> None:
        """Take notice of the mean divergence of ``answers`` answers."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coefficient *= 1 + error * answers / self.horizon
