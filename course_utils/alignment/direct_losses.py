"""Losses that learn from comparisons directly, without a reward model: DPO and its family, in one frame.

Every loss is a function ``(pairs, config) -> (pairs,)`` of the same numbers: how likely the policy, and the reference,
find the chosen and the rejected answer of each pair. What else tells the methods apart is a row of ``METHODS``: sums or
means over tokens, with or without a reference, a margin, a term that imitates the chosen answer. DPO without a
reference is CPO, and CPO per token with a margin is SimPO.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class PairLogprobs:
    """Log-probabilities of whole answers, in nats, one for each pair; all (pairs,).

    ``ref_chosen`` and ``ref_rejected``: the reference's, or None where a method has none. ``chosen_length`` and
    ``rejected_length``: how many tokens each answer has, its end token included. ``divergence``: KTO's reference
    point, how far the policy is from the reference (see ``kto_loss``).
    """

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor | None = None
    ref_rejected: Tensor | None = None
    chosen_length: Tensor | None = None
    rejected_length: Tensor | None = None
    divergence: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.ref_chosen is None) != (self.ref_rejected is None):
            raise ValueError("the reference's log-probability is there for one side only; give both, or neither.")
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and field.name != "divergence" and value.shape != self.chosen.shape:
                raise ValueError(
                    f"{field.name} has the shape {tuple(value.shape)} and chosen {tuple(self.chosen.shape)}; one "
                    "number for each pair is expected, (pairs,) and (pairs,)."
                )

    @property
    def chosen_ratio(self) -> Tensor:
        """log p / p_ref of the chosen answer; log p, where there is no reference."""
        return self.chosen if self.ref_chosen is None else self.chosen - self.ref_chosen

    @property
    def rejected_ratio(self) -> Tensor:
        """log p / p_ref of the rejected answer; log p, where there is no reference."""
        return self.rejected if self.ref_rejected is None else self.rejected - self.ref_rejected

    @property
    def margin(self) -> Tensor:
        """By how much the policy prefers the chosen answer, more than the reference does."""
        return self.chosen_ratio - self.rejected_ratio

    def per_token(self) -> PairLogprobs:
        """The same as means over the tokens of each answer. Raises ValueError if the lengths are not known."""
        if self.chosen_length is None or self.rejected_length is None:
            raise ValueError("means over tokens need chosen_length and rejected_length, tokens of each answer.")

        def mean(sums: Tensor | None, length: Tensor) -> Tensor | None:
            return None if sums is None else sums / length

        return PairLogprobs(
            self.chosen / self.chosen_length,
            self.rejected / self.rejected_length,
            mean(self.ref_chosen, self.chosen_length),
            mean(self.ref_rejected, self.rejected_length),
            self.chosen_length,
            self.rejected_length,
            self.divergence,
        )


@dataclass(frozen=True)
class DirectConfig:
    """What tells one method from another. Raises ValueError for what does not go together.

    ``loss``: a name in ``LOSSES``. ``reference``: whether log-probabilities are compared with a reference's.
    ``per_token``: means over the tokens of an answer instead of their sum. ``beta``: how steeply the loss rises with
    the margin; with a reference, the weight of the KL penalty whose optimum is sought. ``gamma``: the margin that is
    asked for. ``label_smoothing``: how often a comparison is the wrong way round. ``nll_weight``: of the chosen
    answer's negative log-likelihood per token, added to the loss. The last two are KTO's.
    """

    loss: str = "sigmoid"
    reference: bool = True
    per_token: bool = False
    beta: float = 0.1
    gamma: float = 0.0
    label_smoothing: float = 0.0
    nll_weight: float = 0.0
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"there is no loss {self.loss!r}; choose {', '.join(LOSSES)}.")
        if self.beta <= 0:
            raise ValueError(f"DirectConfig(beta={self.beta}): it must be greater than 0; 0.1 is usual.")
        if self.nll_weight < 0:
            raise ValueError(f"DirectConfig(nll_weight={self.nll_weight}): 0 leaves the term out; less unlearns.")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(
                f"DirectConfig(label_smoothing={self.label_smoothing}): the share of comparisons that are the wrong "
                "way round; give 0 or more, and less than 0.5, where they would say nothing."
            )
        for name, where in (("label_smoothing", ("sigmoid", "robust")), ("gamma", ("sigmoid", "hinge"))):
            if getattr(self, name) and self.loss not in where:
                raise ValueError(
                    f"DirectConfig(loss={self.loss!r}, {name}={getattr(self, name)}): this loss has no {name}; "
                    f"leave it at 0, or take {' or '.join(where)}."
                )
        if self.loss == "kto" and (not self.reference or self.per_token):
            raise ValueError(
                "DirectConfig(loss='kto') measures whole answers against a reference: leave reference=True and "
                "per_token=False."
            )
        if self.loss == "odds_ratio" and self.reference:
            raise ValueError("DirectConfig(loss='odds_ratio') takes the odds of the policy alone: set reference=False.")


def sigmoid_loss(pairs: PairLogprobs, config: DirectConfig) -> Tensor:
    """DPO: -log sigmoid(beta margin - gamma) for each pair, in nats (arXiv 2305.18290, equation 7; gamma is 0 there).

    With ``label_smoothing`` e it is conservative DPO: (1 - e) of the loss plus e of the loss of the flipped pair
    (Mitchell, "A note on DPO with noisy preferences and relationship to IPO", 2023). Without a reference it is CPO's
    preference term (arXiv 2401.08417, equation 3); per token and with gamma > 0 too, SimPO (arXiv 2405.14734,
    equation 6); per token with a reference, the length-normalized DPO of Tulu 3 (arXiv 2411.15124).
    """
    logits = config.beta * pairs.margin - config.gamma
    return -(1 - config.label_smoothing) * F.logsigmoid(logits) - config.label_smoothing * F.logsigmoid(-logits)


def robust_loss(pairs: PairLogprobs, config: DirectConfig) -> Tensor:
    """DPO whose mean over comparisons, flipped with probability e, is the loss of the unflipped ones.

    ((1 - e) loss - e loss of the flipped pair) / (1 - 2 e), with e = ``label_smoothing`` (arXiv 2403.00409). It may be
    negative, and, unlike the conservative loss, it has no finite best margin.
    """
    logits = config.beta * pairs.margin
    e = config.label_smoothing
    return (-(1 - e) * F.logsigmoid(logits) + e * F.logsigmoid(-logits)) / (1 - 2 * e)


def hinge_loss(pairs: PairLogprobs, config: DirectConfig) -> Tensor:
    """SLiC-HF's calibration: max(0, 1 - (beta margin - gamma)) (arXiv 2305.10425; its margin is 1 / beta here)."""
    return torch.relu(1 - (config.beta * pairs.margin - config.gamma))


def ipo_loss(pairs: PairLogprobs, config: DirectConfig) -> Tensor:
    """IPO: (margin - 1 / (2 beta))^2, a margin to be met, not to be grown (arXiv 2310.12036, equation 17; tau = beta).

    The paper writes whole answers; ``per_token`` is what trl computes, on the word of the paper's authors.
    """
    return (pairs.margin - 1 / (2 * config.beta)).square()


def kto_loss(pairs: PairLogprobs, config: DirectConfig) -> Tensor:
    """KTO: each answer by itself is judged against a reference point (arXiv 2402.01306, section 4).

    Half of w_d (1 - sigmoid(beta (ratio - z))) for the chosen answer and w_u (1 - sigmoid(beta (z - ratio))) for the
    rejected one, so that the mean over pairs is the mean over answers. z is ``divergence``, an estimate of
    KL(policy || reference), 0 or more; no gradient goes through it. Raises ValueError without it.
    """
    if pairs.divergence is None:
        raise ValueError("kto_loss needs a reference point: PairLogprobs(..., divergence=...), 0 or more.")
    z = pairs.divergence.detach()
    good = 1 - torch.sigmoid(config.beta * (pairs.chosen_ratio - z))
    bad = 1 - torch.sigmoid(config.beta * (z - pairs.rejected_ratio))
    return (config.desirable_weight * good + config.undesirable_weight * bad) / 2


def odds_ratio_loss(pairs: PairLogprobs, config: DirectConfig) -> Tensor:
    """ORPO's second term: -beta log sigmoid(log odds(chosen) - log odds(rejected)), odds = p / (1 - p).

    p is the probability per token, so ``per_token`` belongs to it (arXiv 2403.07691, equations 4 to 7; beta is the
    paper's lambda). The first term is ``nll_weight=1``.
    """
    odds = (pairs.chosen - _log1mexp(pairs.chosen)) - (pairs.rejected - _log1mexp(pairs.rejected))
    return -config.beta * F.logsigmoid(odds)


def apo_zero_loss(pairs: PairLogprobs, config: DirectConfig) -> Tensor:
    """APO-zero: 1 - sigmoid(beta chosen ratio) + sigmoid(beta rejected ratio) (arXiv 2408.06266).

    Each side is anchored at 0, where the reference stands: the chosen answer must become likelier than it was there.
    DPO asks for a difference alone, and gets it also from two falling sides. For pairs whose chosen answer is better
    than what the model would say.
    """
    return 1 - torch.sigmoid(config.beta * pairs.chosen_ratio) + torch.sigmoid(config.beta * pairs.rejected_ratio)


def apo_down_loss(pairs: PairLogprobs, config: DirectConfig) -> Tensor:
    """APO-down: sigmoid(beta chosen ratio) + 1 - sigmoid(beta margin) (arXiv 2408.06266).

    Both sides become less likely, the rejected one more so: for pairs of which neither is as good as the model.
    """
    return torch.sigmoid(config.beta * pairs.chosen_ratio) + 1 - torch.sigmoid(config.beta * pairs.margin)


Loss = Callable[[PairLogprobs, DirectConfig], Tensor]

LOSSES: dict[str, Loss] = {
    "sigmoid": sigmoid_loss,
    "robust": robust_loss,
    "hinge": hinge_loss,
    "ipo": ipo_loss,
    "kto": kto_loss,
    "odds_ratio": odds_ratio_loss,
    "apo_zero": apo_zero_loss,
    "apo_down": apo_down_loss,
}

METHODS: dict[str, DirectConfig] = {
    "dpo": DirectConfig(),
    "cdpo": DirectConfig(label_smoothing=0.1),
    "robust": DirectConfig("robust", label_smoothing=0.1),
    "dpo_norm": DirectConfig(per_token=True, beta=5.0),
    "rpo": DirectConfig(nll_weight=1.0),  # DPO that also imitates the chosen answer (arXiv 2404.19733)
    "ipo": DirectConfig("ipo", per_token=True),
    "kto": DirectConfig("kto"),
    "apo_zero": DirectConfig("apo_zero"),
    "apo_down": DirectConfig("apo_down"),
    "cpo": DirectConfig(reference=False, nll_weight=1.0),
    "simpo": DirectConfig(reference=False, per_token=True, beta=2.0, gamma=1.0),
    "orpo": DirectConfig("odds_ratio", reference=False, per_token=True, nll_weight=1.0),
}
"""The methods by name, with values that papers or trl use; ``replace(METHODS["dpo"], beta=0.3)`` varies one."""


def implicit_rewards(pairs: PairLogprobs, config: DirectConfig) -> tuple[Tensor, Tensor]:
    """The rewards (chosen, rejected) that the policy stands for, (pairs,) each, without gradient.

    With a reference beta log(p / p_ref) of the whole answer: the reward whose best policy, at a KL penalty of beta,
    would be this one, up to a number that depends on the prompt alone (arXiv 2305.18290, equation 5). Without one,
    beta times what the loss compares, log p as a sum or per token.
    """
    seen = pairs.per_token() if config.per_token and not config.reference else pairs
    return config.beta * seen.chosen_ratio.detach(), config.beta * seen.rejected_ratio.detach()


def reward_metrics(pairs: PairLogprobs, config: DirectConfig) -> dict[str, Tensor]:
    """What is worth watching, under the names that trl gives it: means over the pairs, without gradient.

    The implicit rewards of both sides, their difference (``rewards/margins``) and how often it is above 0
    (``rewards/accuracies``; a tie counts as wrong, so it is 0 at the start); ``logps/``: log-probabilities of whole
    answers, in nats, for every method, so that methods can be compared (trl's CPO and ORPO trainers log means per
    token where their loss has means).
    """
    chosen, rejected = implicit_rewards(pairs, config)
    return {
        "rewards/chosen": chosen.mean(),
        "rewards/rejected": rejected.mean(),
        "rewards/margins": (chosen - rejected).mean(),
        "rewards/accuracies": (chosen > rejected).float().mean(),
        "logps/chosen": pairs.chosen.detach().mean(),
        "logps/rejected": pairs.rejected.detach().mean(),
    }


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x < 0, by whichever of two forms keeps its digits; a probability that rounds to 1 is kept
    just below it, since its odds are infinite."""
    x = x.clamp(max=-1e-9)
    near = x > -0.6931  # where 1 - e^x is small, expm1 computes it; where e^x is, log1p
    # each form sees only arguments at which it and its slope are finite: a gradient of 0 * infinity would be NaN
    return torch.where(
        near,
        (-torch.expm1(torch.where(near, x, -0.6931))).log(),
        torch.log1p(-torch.where(near, -0.6931, x).exp()),
    )
