"""Drills on learning from preferences: Bradley-Terry, DPO, IPO, KTO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import normal, with_slope
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = Lazy("torch")
    F = Lazy("torch.nn.functional")


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """The mean of -log sigmoid(chosen - rejected), one number; finite for any rewards. chosen, rejected: (pairs,)."""
    return F.softplus(rejected - chosen).mean()


bradley_terry = Definition(
    bradley_terry_loss,
    title="The loss of a reward model (Bradley-Terry)",
    level="screen",
    minutes=5,
    topics=("P3", "A8", "A20"),
    statement="""
    Train a reward model on pairs: the probability that the first answer is preferred is `sigmoid(chosen - rejected)`; the loss
    is the mean of minus its logarithm. A pair that is wrong by 200 must cost 200, not inf, and must have a gradient.
    chosen, rejected: rewards (pairs,). Result: one number.
    """,
    cases=lambda: [
        Case(torch.tensor([1.0]), torch.tensor([0.0])),
        Case(normal(1, 4), normal(2, 4)),
        Case(torch.tensor([-100.0, 3.0]), torch.tensor([100.0, 1.0])),
    ],
    observe=with_slope,
    general="Not the mean of -log sigmoid(chosen - rejected).",
    hints=[
        "-log sigmoid(z) is log(1 + exp(-z)), which has a name and a stable form.",
        "`F.softplus(rejected - chosen).mean()`, or `-F.logsigmoid(chosen - rejected).mean()`.",
    ],
)


bradley_terry.plant(
    {
        "The order is turned: it would reward the rejected answer.": lambda chosen, rejected: F.softplus(
            chosen - rejected
        ).mean(),
        "The logarithm of a sigmoid that has become 0 is -inf: use `logsigmoid` or `softplus`.": lambda chosen, rejected: (
            -torch.sigmoid(chosen - rejected).log().mean()
        ),
        "The minus is missing: the loss would be driven down without end.": lambda chosen, rejected: F.logsigmoid(
            chosen - rejected
        ).mean(),
        "The sum over the pairs is returned; it is their mean.": lambda chosen, rejected: F.softplus(
            rejected - chosen
        ).sum(),
        "The logarithm is missing: 1 - sigmoid has no gradient where a pair is very wrong.": lambda chosen, rejected: (
            1 - torch.sigmoid(chosen - rejected)
        ).mean(),
        "That is a hinge; it is log sigmoid.": lambda chosen, rejected: (1 - chosen + rejected).clamp(min=0).mean(),
        "The mean of the differences is taken before the sigmoid; each pair has its own.": lambda chosen, rejected: (
            F.softplus((rejected - chosen).mean())
        ),
    }
)


def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    """The mean of -log sigmoid(beta * ((chosen - ref_chosen) - (rejected - ref_rejected))), one number.

    All (pairs,): log-probabilities of whole answers under the policy and under the reference.
    """
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return F.softplus(-beta * margin).mean()


def _pair_cases():
    return [
        Case(torch.tensor([-3.0]), torch.tensor([-2.0]), torch.tensor([-4.0]), torch.tensor([-2.5]), 0.5),
        Case(normal(1, 4), normal(2, 4), normal(3, 4), normal(4, 4), 0.1),
        Case(10 * normal(5, 3), 10 * normal(6, 3), 10 * normal(7, 3), 10 * normal(8, 3), 0.9),
        Case(torch.tensor([-500.0, 0.0]), torch.tensor([-10.0, 0.0]), torch.tensor([-20.0, 1.0]), torch.zeros(2), 1.0),
    ]


direct = Definition(
    dpo_loss,
    title="The loss of DPO",
    level="onsite",
    minutes=8,
    topics=("P4", "A8"),
    statement="""
    Write direct preference optimization (arXiv 2305.18290): the policy's own log-ratios are the rewards,
    `-log sigmoid(beta * ((chosen - ref_chosen) - (rejected - ref_rejected)))`, the mean over the pairs. A pair that is wrong by
    500 must not cost inf. All arguments but beta: (pairs,), log-probabilities of whole answers. Result: one number.
    """,
    cases=_pair_cases,
    observe=with_slope,
    general="Not the mean of -log sigmoid(beta * (chosen log-ratio - rejected log-ratio)).",
    hints=[
        "Two log-ratios, policy less reference; their difference; beta; then the loss of Bradley and Terry.",
        "`-F.logsigmoid(beta * ((chosen - ref_chosen) - (rejected - ref_rejected))).mean()`.",
    ],
)


def _dpo(c, r, rc, rr, beta, loss=lambda z: F.softplus(-z), ref=1.0, order=1, scale=True, mix=None):
    margin = mix(c, r, rc, rr) if mix else (c - ref * rc) - (r - ref * rr)
    return loss(order * margin * (beta if scale else 1)).mean()


direct.plant(
    {
        sentence: lambda chosen, rejected, ref_chosen, ref_rejected, beta, wrong=wrong: _dpo(
            chosen, rejected, ref_chosen, ref_rejected, beta, **wrong
        )
        for sentence, wrong in {
            "The reference is not used.": {"ref": 0.0},
            "The order is turned: it would prefer the rejected answers.": {"order": -1},
            "beta is missing.": {"scale": False},
            "The sign of the rejected pair's reference is wrong: each log-ratio is policy less reference.": {
                "mix": lambda c, r, rc, rr: c - rc - r - rr
            },
            "The references are exchanged: each answer is compared with its own.": {
                "mix": lambda c, r, rc, rr: (c - rr) - (r - rc)
            },
            "The minus is missing.": {"loss": lambda z: F.logsigmoid(z)},
            "The logarithm of a sigmoid that has become 0 is -inf: use `logsigmoid`.": {
                "loss": lambda z: -torch.sigmoid(z).log()
            },
            "The log-ratios are added; the rejected one is subtracted.": {
                "mix": lambda c, r, rc, rr: (c - rc) + (r - rr)
            },
        }.items()
    }
    | {
        "beta divides; it multiplies.": lambda chosen, rejected, ref_chosen, ref_rejected, beta: _dpo(
            chosen, rejected, ref_chosen, ref_rejected, 1 / beta
        )
    }
)


def ipo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    """The mean of (margin - 1 / (2 beta))^2, one number; margin = (chosen - ref_chosen) - (rejected - ref_rejected).

    All (pairs,): mean log-probability per token of an answer, under the policy and under the reference.
    """
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (margin - 1 / (2 * beta)).pow(2).mean()


identity = Definition(
    ipo_loss,
    title="The loss of IPO",
    level="onsite",
    minutes=6,
    topics=("P4",),
    statement="""
    DPO drives the margin of a pair to infinity when all raters agree. IPO (arXiv 2310.12036) gives it a goal: the mean of
    `(margin - 1 / (2 beta))²` with `margin = (chosen - ref_chosen) - (rejected - ref_rejected)`. A margin above the goal costs
    too. All arguments but beta: (pairs,). Result: one number.
    """,
    cases=_pair_cases,
    observe=with_slope,
    general="Not the mean of (margin - 1 / (2 beta)) squared.",
    hints=[
        "The margin is that of DPO, without beta. beta only sets the goal.",
        "`(((chosen - ref_chosen) - (rejected - ref_rejected)) - 1 / (2 * beta)).pow(2).mean()`.",
    ],
)


def _ipo(c, r, rc, rr, beta, goal=lambda b: 1 / (2 * b), ref=1.0, scale=False, shape=lambda z: z**2, order=1):
    margin = order * ((c - ref * rc) - (r - ref * rr))
    return shape((beta if scale else 1) * margin - goal(beta)).mean()


identity.plant(
    {
        sentence: lambda chosen, rejected, ref_chosen, ref_rejected, beta, wrong=wrong: _ipo(
            chosen, rejected, ref_chosen, ref_rejected, beta, **wrong
        )
        for sentence, wrong in {
            "The goal is 1 / beta; it is 1 / (2 beta).": {"goal": lambda b: 1 / b},
            "The goal is beta / 2; it is 1 / (2 beta).": {"goal": lambda b: b / 2},
            "There is no goal: the margin is driven to 0.": {"goal": lambda b: 0},
            "beta multiplies the margin as in DPO; here it sets the goal alone.": {"scale": True},
            "The reference is not used.": {"ref": 0.0},
            "The square is missing: distances on both sides of the goal cost.": {"shape": lambda z: z},
            "Only margins below the goal cost; those above it do too.": {"shape": lambda z: z.clamp(max=0) ** 2},
            "The order is turned: it would prefer the rejected answers.": {"order": -1},
        }.items()
    }
    | {
        "That is DPO: the loss of IPO is a square.": lambda chosen, rejected, ref_chosen, ref_rejected, beta: _dpo(
            chosen, rejected, ref_chosen, ref_rejected, beta
        )
    }
)


def kto_loss(logps: Tensor, ref_logps: Tensor, desirable: Tensor, kl: float, beta: float, weight: float) -> Tensor:
    """The mean loss of KTO over single answers, one number.

    logps, ref_logps: (answers,), log-probabilities under policy and reference. desirable: (answers,), bool. kl: the estimated
    KL of the policy from the reference, a number; below 0 it counts as 0. With r = logps - ref_logps a desirable answer costs
    weight * (1 - sigmoid(beta * (r - kl))), an undesirable one 1 - sigmoid(beta * (kl - r)).
    """
    gap = logps - ref_logps - max(kl, 0.0)
    good = weight * (1 - torch.sigmoid(beta * gap))
    bad = 1 - torch.sigmoid(-beta * gap)
    return torch.where(desirable, good, bad).mean()


kahneman = Definition(
    kto_loss,
    title="The loss of KTO",
    level="onsite",
    minutes=8,
    topics=("P4",),
    statement="""
    KTO (arXiv 2402.01306) learns from single answers, each marked desirable or not, no pairs. With `r = logp - ref_logp` and the
    estimated KL `z = max(kl, 0)` as the point that gains and losses are measured from: a desirable answer costs
    `weight * (1 - sigmoid(beta * (r - z)))`, an undesirable one `1 - sigmoid(beta * (z - r))`; the mean over all. `kl` is a
    number, so nothing flows through it. logps, ref_logps, desirable: (answers,). Result: one number.
    """,
    cases=lambda: [
        Case(torch.tensor([-2.0]), torch.tensor([-3.0]), torch.tensor([True]), 0.2, 0.5, 1.0),
        Case(torch.tensor([-2.0]), torch.tensor([-3.5]), torch.tensor([False]), 0.3, 0.5, 2.0),
        Case(normal(1, 5), normal(2, 5), torch.tensor([True, False, False, True, True]), 0.7, 0.8, 1.5),
        Case(normal(3, 4), normal(4, 4), torch.tensor([False, True, True, False]), -0.9, 0.6, 0.5),
    ],
    observe=with_slope,
    general="Not weight * (1 - sigmoid(beta * (r - z))) and 1 - sigmoid(beta * (z - r)).",
    hints=[
        "Both kinds have the same distance r - z; one wants it large, the other small.",
        "`gap = logps - ref_logps - max(kl, 0.0)`; `torch.where(desirable, weight * (1 - torch.sigmoid(beta * gap)), 1 - "
        "torch.sigmoid(-beta * gap)).mean()`.",
    ],
)


def _kto(
    lp,
    ref,
    d,
    kl,
    beta,
    weight,
    zero=lambda kl: max(kl, 0.0),
    both=False,
    flip=False,
    plain=False,
    weigh=True,
    log=False,
    ratio=True,
    halves=False,
):
    gap = lp - (ref if ratio else 0) - zero(kl)
    d = ~d if flip else d
    value = (lambda z: -F.logsigmoid(beta * z)) if log else (lambda z: 1 - torch.sigmoid((1 if plain else beta) * z))
    w = weight if weigh else 1.0
    good, bad = w * value(gap), (w if both else 1.0) * value(-gap if not halves else -(lp - ref))
    return torch.where(d, good, bad).mean()


kahneman.plant(
    {
        sentence: lambda logps, ref_logps, desirable, kl, beta, weight, wrong=wrong: _kto(
            logps, ref_logps, desirable, kl, beta, weight, **wrong
        )
        for sentence, wrong in {
            "KL is not subtracted: gains are measured from it.": {"zero": lambda kl: 0.0},
            "A negative estimate of KL is used as it is; it counts as 0.": {"zero": lambda kl: kl},
            "`weight` is applied to undesirable answers too.": {"both": True},
            "`weight` is not applied.": {"weigh": False},
            "Desirable and undesirable are exchanged.": {"flip": True},
            "beta is missing.": {"plain": True},
            "That is -log sigmoid; KTO takes 1 - sigmoid, which forgives outliers.": {"log": True},
            "The reference is not used.": {"ratio": False},
            "For undesirable answers KL is missing.": {"halves": True},
        }.items()
    }
)
