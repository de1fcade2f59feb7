"""Policy gradients in one frame: REINFORCE, RLOO, GRPO, Dr. GRPO, DAPO, GSPO and CISPO are rows of one table.

They all raise the probability of answers that turned out better than expected, and differ in five choices: what
"expected" is, how probability now is compared with probability then, where that comparison is cut off, how the tokens
are averaged, and what ties the policy to a reference. ``PolicyGradient`` names the choices, ``METHODS`` has the
published ones, ``policy_gradient_loss`` reads them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from course_utils.alignment.advantages import BASELINES, SCALES
from course_utils.alignment.kl import k3
from course_utils.alignment.masked import masked_mean, select

RATIOS = {
    "none": "no ratio: the log-probability itself, weighed with 1",
    "token": "of each token: p / p_old",
    "sequence": "of the whole answer, as a geometric mean over its tokens",
    "answer": "of the whole answer: the product over its tokens",
}
CLIPS = {
    "pessimistic": "the smaller of ratio x advantage and clipped ratio x advantage: beyond the clip, no gradient",
    "detached": "the clipped ratio as a constant weight of advantage x log p: beyond the clip, less gradient",
}
AVERAGES = {
    "answer": "the mean of each answer, then over the answers",
    "token": "the mean over all tokens",
    "constant": "the sum over all tokens, divided by answers x constant",
}
CORRECTIONS = {
    "none": "the answers count as the policy's own",
    "token": "p_old / p_sampler of each token",
    "answer": "p_old / p_sampler of the whole answer: the product over its tokens",
}
BEYOND = {"cap": "a weight above the cap is the cap", "drop": "a weight above the cap is 0"}
KL_PLACES = {"loss": "k3 at each token, in the loss", "reward": "the sum of log p / p_ref, off the score"}


@dataclass(frozen=True)
class PolicyGradient:
    """The choices that make a policy gradient.

    ``baseline``, ``scale``: of the advantages, see ``group_advantages``. ``ratio``: how the policy is compared with
    the one that wrote the answers. ``clip``, ``clip_low``, ``clip_high``: what happens where the ratio is below
    1 - clip_low or above 1 + clip_high; None: no bound on that side. ``average``: how a loss per token becomes one
    number; ``constant`` (for "constant", tokens): None stands for the most tokens that an answer may have. ``kl_coef``:
    what a nat of divergence from the reference costs, ``kl_in`` where that is counted; ``kl_correction`` multiplies
    the divergence in the loss with the ratio, so that its gradient is that of the divergence itself. ``correction``:
    how answers of a foreign sampler are weighed (``importance_weights``), at most ``correction_cap``, and what happens
    ``beyond`` it.

    Raises ValueError for a choice that does not exist or a number out of range.
    """

    baseline: str = "group"
    scale: str = "none"
    ratio: str = "token"
    clip: str = "pessimistic"
    clip_low: float | None = 0.2
    clip_high: float | None = 0.2
    average: str = "token"
    constant: int | None = None
    kl_coef: float = 0.0
    kl_in: str = "loss"
    kl_correction: bool = False
    correction: str = "none"
    correction_cap: float = 2.0
    beyond: str = "cap"

    def __post_init__(self) -> None:
        choices = {
            "baseline": BASELINES, "scale": SCALES, "ratio": RATIOS, "clip": CLIPS, "average": AVERAGES,
            "kl_in": KL_PLACES, "correction": CORRECTIONS, "beyond": BEYOND,
        }  # fmt: skip
        for name, known in choices.items():
            given = getattr(self, name)
            if given not in known:
                listed = "; ".join(f"{key!r} ({what})" for key, what in known.items())
                raise ValueError(f"PolicyGradient({name}={given!r}): choose {listed}.")
        for name, least in (("clip_low", 0), ("clip_high", 0), ("constant", 1), ("kl_coef", 0)):
            given = getattr(self, name)
            if given is not None and not (math.isfinite(given) and given >= least):
                raise ValueError(f"PolicyGradient({name}={given}): {least} or more is expected.")
        if self.clip_low is not None and self.clip_low > 1:
            raise ValueError(
                f"PolicyGradient(clip_low={self.clip_low}): the bound is 1 - clip_low, and no ratio is negative; give "
                "at most 1, or None for no bound."
            )
        if not self.correction_cap > 0:
            raise ValueError(f"PolicyGradient(correction_cap={self.correction_cap}): it must be greater than 0.")

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Where the ratio is cut off, below and above."""
        low = None if self.clip_low is None else 1 - self.clip_low
        return low, None if self.clip_high is None else 1 + self.clip_high


METHODS: dict[str, PolicyGradient] = {
    # Williams (1992), without a baseline: the log-probability of the answer, times its score.
    "reinforce": PolicyGradient(
        baseline="none", ratio="none", clip_low=None, clip_high=None, average="constant", constant=1
    ),
    # Ahmadian et al., arXiv 2402.14740; the clip is trl's, and does nothing in the first update on an answer.
    "rloo": PolicyGradient(baseline="leave_one_out", ratio="answer", average="answer", kl_coef=0.05, kl_in="reward"),
    # DeepSeekMath, arXiv 2402.03300, equation 3.
    "grpo": PolicyGradient(scale="group", average="answer", kl_coef=0.04),
    # Liu et al., arXiv 2503.20783, section 3: without the two divisions that favour some answers over others.
    "dr_grpo": PolicyGradient(average="constant"),
    # Yu et al., arXiv 2503.14476, sections 3.1 and 3.3: a higher upper bound, all tokens count the same. (The papers of
    # DAPO and CISPO average over the tokens of one group; libraries, and this one, over those of the batch.)
    "dapo": PolicyGradient(scale="group", clip_high=0.28),
    # Zheng et al., arXiv 2507.18071, equations 5 to 7: one ratio for each answer, close bounds.
    "gspo": PolicyGradient(scale="group", ratio="sequence", clip_low=3e-4, clip_high=4e-4, average="answer"),
    # MiniMax-M1, arXiv 2506.13585, section 3.1: every token keeps a gradient. The bound is the one of arXiv
    # 2510.13786, a weight of at most 5.
    "cispo": PolicyGradient(scale="group", clip="detached", clip_low=None, clip_high=4.0),
}


def side_by_side(**methods: PolicyGradient) -> dict[str, dict[str, Any]]:
    """The choices in which methods differ, a row for each: ``side_by_side(**METHODS)``, or of some of them."""
    columns = {name: asdict(method) for name, method in methods.items()}
    rows = {field: {name: column[field] for name, column in columns.items()} for field in asdict(PolicyGradient())}
    return {field: row for field, row in rows.items() if len(set(row.values())) > 1}


def policy_gradient_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    method: PolicyGradient,
    *,
    ref_logprobs: Tensor | None = None,
    sampler_logprobs: Tensor | None = None,
    tokens: float | Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of ``method``, to be minimized, and figures about it.

    ``logprobs``: of the policy now, (batch, length), with gradients. ``old_logprobs``: of the policy when it began to
    learn from these answers. ``advantages``: (batch,), or (batch, length) where tokens differ. ``mask``: 1 for the
    tokens of the answers; what stands where it is 0 counts for nothing. ``ref_logprobs``: of the reference, wanted
    where ``kl_coef`` is above 0 and counted in the loss. ``sampler_logprobs``: of whatever wrote the answers, if that
    was not the policy, wanted by a ``correction``. ``tokens``: what the average "token" divides by; by default the
    tokens of this batch. Give the tokens of the whole batch over the number of its parts, and every token counts the
    same in whichever part it stands.

    An answer whose mask is 0 throughout adds nothing, but counts as an answer in the averages "answer" and "constant".

    The figures, detached scalars: ``ratio`` (mean), ``clip_fraction`` (share of the tokens, or of the answers where
    they have one ratio, whose gradient the clip takes away or makes smaller), ``penalty`` (nats per token of the KL
    term) and ``correction`` (mean weight). Raises ValueError for shapes that do not fit, for an advantage that is not
    finite, and for log-probabilities that ``method`` wants and that were not given.
    """
    _check(logprobs, old_logprobs, advantages, mask, method, ref_logprobs, sampler_logprobs)
    logprobs, old_logprobs = select(logprobs, mask), select(old_logprobs, mask)
    better = advantages[:, None] if advantages.dim() == 1 else select(advantages, mask)
    ratio = probability_ratio(logprobs, old_logprobs, mask, method.ratio)
    clipped, outside = _clip(ratio, better, method)
    if method.ratio == "none":
        gain = better * logprobs
    elif method.clip == "detached":
        gain = clipped.detach() * better * logprobs
    else:
        gain = torch.minimum(ratio * better, clipped * better)

    figures = {"ratio": _mean(ratio, mask), "clip_fraction": _mean(outside.float(), mask)}
    if method.correction != "none":
        weights = importance_weights(
            old_logprobs, sampler_logprobs, mask, method.correction, method.correction_cap, method.beyond
        )
        gain, figures["correction"] = weights * gain, _mean(weights, mask)
    loss = -gain
    if ref_logprobs is not None and method.kl_coef and method.kl_in == "loss":
        penalty = k3(logprobs, select(ref_logprobs, mask)) * (ratio if method.kl_correction else 1)
        figures["penalty"] = _mean(penalty, mask)
        loss = loss + method.kl_coef * penalty
    return _average(loss.expand_as(mask), mask, method, tokens), figures


def probability_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor, kind: str = "token") -> Tensor:
    """How likely the answers are now, compared with then: (batch, length) for ``kind`` "token", (batch, 1) for
    "sequence" and "answer", ones for "none". The product grows with the length of an answer, its geometric mean does
    not: exp(mean over the tokens of log p - log p_old) (GSPO, arXiv 2507.18071, equation 7)."""
    log_ratio = select(logprobs, mask) - select(old_logprobs, mask)
    if kind == "none":
        return torch.ones_like(log_ratio)
    if kind == "token":
        return log_ratio.exp()
    whole = log_ratio.sum(1, keepdim=True)
    return (whole / mask.bool().sum(1, keepdim=True).clamp(min=1) if kind == "sequence" else whole).exp()


@torch.no_grad()
def importance_weights(
    old_logprobs: Tensor,
    sampler_logprobs: Tensor | None,
    mask: Tensor,
    level: str = "token",
    cap: float = 2.0,
    beyond: str = "cap",
) -> Tensor:
    """What the answers of a foreign sampler weigh, so that they count as if the policy had written them: a number
    without gradient for each token (batch, length), or for each answer (batch, 1).

    min(p_old / p_sampler, cap): truncated importance sampling (Ionides, 2008; as in IMPALA, arXiv 1802.01561, section
    4.1). Uncapped the weights would be right on average, but one of them could outweigh a batch. The ``level``
    "answer" takes the product over the answer, and so also sees how a context came about. ``beyond`` "drop": what is
    above the cap weighs nothing. All tensors (batch, length).
    """
    if sampler_logprobs is None:
        raise ValueError("a correction needs sampler_logprobs: what the sampler gave to the tokens that it wrote.")
    log_weights = select(old_logprobs, mask) - select(sampler_logprobs, mask)
    if level == "answer":
        log_weights = log_weights.sum(1, keepdim=True)
    weights = log_weights.exp()
    return weights.clamp(max=cap) if beyond == "cap" else weights.masked_fill(weights > cap, 0)


def _clip(ratio: Tensor, better: Tensor, method: PolicyGradient) -> tuple[Tensor, Tensor]:
    """The ratio within its bounds, and where being outside costs gradient."""
    low, high = method.bounds
    if low is None and high is None:
        return ratio, torch.zeros_like(ratio, dtype=torch.bool)
    clipped = ratio.clamp(low, high)
    if method.clip == "detached":
        return clipped, clipped != ratio
    return clipped, ((ratio < clipped) & (better < 0)) | ((ratio > clipped) & (better > 0))


def _average(loss: Tensor, mask: Tensor, method: PolicyGradient, tokens: float | Tensor | None) -> Tensor:
    """One number of a loss per token (batch, length)."""
    loss = select(loss, mask)
    if method.average == "token":
        count = mask.bool().sum() if tokens is None else torch.as_tensor(tokens, device=loss.device)
        return loss.sum() / count.clamp(min=1)
    if method.average == "constant":
        if method.constant is None:
            raise ValueError(
                "the average 'constant' wants to know by what to divide: PolicyGradient(constant=...), such as the "
                "most tokens that an answer may have."
            )
        return loss.sum() / (len(loss) * method.constant)
    return (loss.sum(1) / mask.bool().sum(1).clamp(min=1)).mean()


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Over the tokens, or over the answers that have any where there is one number for each."""
    return masked_mean(x.detach(), mask if x.shape == mask.shape else mask.any(1, keepdim=True))


def _check(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    method: PolicyGradient,
    ref_logprobs: Tensor | None,
    sampler_logprobs: Tensor | None,
) -> None:
    if method.kl_coef and method.kl_in == "loss" and ref_logprobs is None:
        raise ValueError(
            f"kl_coef is {method.kl_coef}, so ref_logprobs is wanted: what the reference gives to the tokens. Give it, "
            "or set kl_coef to 0."
        )
    given = {"logprobs": logprobs, "old_logprobs": old_logprobs, "mask": mask}
    optional = {"ref_logprobs": ref_logprobs, "sampler_logprobs": sampler_logprobs}
    given |= {name: tensor for name, tensor in optional.items() if tensor is not None}
    shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
    if mask.dim() != 2 or len(set(shapes.values())) > 1 or advantages.shape not in (mask.shape, mask.shape[:1]):
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{listed}, advantages {tuple(advantages.shape)}: (batch, length) is expected, and for the advantages "
            "(batch,) or (batch, length)."
        )
    seen = mask.any(1) if advantages.dim() == 1 else mask
    broken = (~select(advantages, seen).isfinite()).nonzero()
    if len(broken):
        raise ValueError(
            f"the advantage of answer {int(broken[0, 0])} is not finite; look for a score that is NaN, or for a group "
            "divided by a standard deviation of 0."
        )
