"""Drills on alignment: a reward from comparisons, advantages, the losses of PPO, DPO and their kin, estimators of KL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import normal
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = Lazy("torch")
    F = Lazy("torch.nn.functional")


def _with_slope(answer, first, *rest):
    """The loss and its gradient by the first argument."""
    leaf = first.clone().requires_grad_()
    loss = answer(leaf, *rest)
    if not getattr(loss, "requires_grad", False):
        return loss, "no gradient"
    return loss.detach(), torch.autograd.grad(loss, leaf, allow_unused=True)[0]


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
    observe=_with_slope,
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


def gae(rewards: Tensor, values: Tensor, done: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """(advantages, returns), both (time,), by generalized advantage estimation; returns = advantages + values.

    rewards: (time,). values: (time + 1,), the last for the state behind the last step. done: (time,), True where an episode
    ends with this step: nothing behind it counts.
    """
    advantages, later = torch.zeros_like(rewards), torch.zeros(())
    for t in reversed(range(len(rewards))):
        alive = 1.0 - float(done[t])
        delta = rewards[t] + gamma * alive * values[t + 1] - values[t]
        later = delta + gamma * lam * alive * later
        advantages[t] = later
    return advantages, advantages + values[:-1]


estimation = Definition(
    gae,
    title="Generalized advantage estimation",
    level="onsite",
    minutes=12,
    topics=("A7", "A8", "A16"),
    statement="""
    Write GAE over a stretch of steps in which episodes may end: `delta_t = r_t + gamma * V_{t+1} - V_t` and
    `A_t = delta_t + gamma * lam * A_{t+1}`, from the last step back. Where `done[t]` is True, the episode ends with step t:
    neither V_{t+1} nor A_{t+1} reach it. The returns, which the value model learns, are A + V.
    rewards, done: (time,); values: (time + 1,). Result: (advantages, returns), both (time,).
    """,
    cases=lambda: [
        Case(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.0, 4.0]), torch.tensor([False, False]), 0.9, 0.8),
        Case(normal(1, 5), normal(2, 6), torch.tensor([False, True, False, False, True]), 0.9, 0.7),
        Case(normal(3, 6), normal(4, 7), torch.tensor([False, False, True, False, False, False]), 0.8, 0.95),
    ],
    general="Not delta_t + gamma * lam * A_{t+1}, cut where an episode ends.",
    atol=1e-5,
    hints=[
        "Go from the last step to the first and carry the advantage along. `done` cuts two things: the next value and what is "
        "carried.",
        "`alive = 1 - done[t].float()`; `delta = rewards[t] + gamma * alive * values[t + 1] - values[t]`; `later = delta + gamma * "
        "lam * alive * later`.",
    ],
)


def _gae(
    r,
    v,
    done,
    gamma,
    lam,
    cut_value=True,
    cut_carry=True,
    next_gamma=True,
    carry=lambda g, x: g * x,
    own=True,
    forward=False,
    last=True,
    shift=0,
):
    out, later = torch.zeros_like(r), 0.0
    steps = range(len(r))
    for t in steps if forward else reversed(steps):
        end = float(done[t] if shift == 0 else done[t - 1] if t else 0)
        following = v[t + 1] if last or t + 1 < len(r) else 0.0
        delta = r[t] + (gamma if next_gamma else 1) * (1 - end * cut_value) * following - (v[t] if own else 0)
        later = delta + carry(gamma, lam) * (1 - end * cut_carry) * later
        out[t] = later
    return out, out + v[:-1]


estimation.plant(
    {
        sentence: lambda rewards, values, done, gamma, lam, wrong=wrong: _gae(
            rewards, values, done, gamma, lam, **wrong
        )
        for sentence, wrong in {
            "The value behind the end of an episode is still counted.": {"cut_value": False},
            "The advantage of the next episode is carried over the end of this one.": {"cut_carry": False},
            "Episodes run into each other: `done` is not used.": {"cut_value": False, "cut_carry": False},
            "gamma is missing before the next value.": {"next_gamma": False},
            "lam is missing: that is lam = 1.": {"carry": lambda g, x: g},
            "gamma is missing where the advantage is carried: it is gamma * lam.": {"carry": lambda g, x: x},
            "Nothing is carried back: that is delta alone.": {"carry": lambda g, x: 0},
            "The own value is not subtracted.": {"own": False},
            "Summed from the front; go from the last step to the first.": {"forward": True},
            "The last of the values is not used: it stands for what comes behind the stretch.": {"last": False},
            "`done` cuts one step too late: it is about the step itself.": {"shift": -1},
        }.items()
    }
    | {
        "The second are the advantages again; the returns are advantages plus values.": (
            lambda rewards, values, done, gamma, lam: (lambda a, r: (a, a))(*_gae(rewards, values, done, gamma, lam))
        ),
    }
)


def ppo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    """The clipped policy loss of PPO, the mean over the tokens where the mask is 1; one number to be minimized.

    All of (batch, time). old_logprobs are those of the policy that sampled.
    """
    ratio = (logprobs - old_logprobs).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    gain = torch.minimum(ratio * advantages, clipped * advantages)
    return -(gain * mask).sum() / mask.sum()


def _policy_cases():
    mask = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    old = normal(2, 2, 3) - 2
    return [
        Case(torch.tensor([[-1.0]]), torch.tensor([[-1.5]]), torch.tensor([[2.0]]), torch.ones(1, 1), 0.2),
        Case(torch.tensor([[-1.0]]), torch.tensor([[-1.5]]), torch.tensor([[-2.0]]), torch.ones(1, 1), 0.2),
        Case(old + 0.1 * normal(3, 2, 3), old, normal(4, 2, 3), mask, 0.2),
        Case(old + normal(5, 2, 3), old, normal(6, 2, 3), mask, 0.3),
    ]


policy = Definition(
    ppo_loss,
    title="The clipped loss of PPO",
    level="onsite",
    minutes=10,
    topics=("A16", "A8"),
    statement="""
    Write the policy loss of PPO (arXiv 1707.06347): with `ratio = exp(logprob - old_logprob)` maximize
    `min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A)`, averaged over all tokens where the mask is 1 (not row by row). An
    optimizer minimizes, so mind the sign. All tensors (batch, time). Result: one number.
    """,
    cases=_policy_cases,
    observe=_with_slope,
    general="Not minus the mean over the masked tokens of min(ratio * A, clipped ratio * A).",
    hints=[
        "The minimum is taken of the two products, so that a negative advantage is treated rightly, too: only changes that "
        "would gain are cut off.",
        "`ratio = (logprobs - old_logprobs).exp()`; `-(torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * "
        "advantages) * mask).sum() / mask.sum()`.",
    ],
)


def _ppo(
    new,
    old,
    adv,
    mask,
    clip,
    sign=-1,
    both=lambda a, b: torch.minimum(a, b),
    only=None,
    rows=False,
    all=False,
    exp=True,
    turned=False,
    upper=False,
):
    gap = old - new if turned else new - old
    ratio = gap.exp() if exp else gap
    cut = ratio.clamp(max=1 + clip) if upper else ratio.clamp(1 - clip, 1 + clip)
    gain = {"clipped": cut * adv, "free": ratio * adv, "ratio": both(ratio, cut) * adv}.get(
        only, both(ratio * adv, cut * adv)
    )
    gain = gain if all else gain * mask
    mean = (gain.sum(1) / mask.sum(1)).mean() if rows else gain.mean() if all else gain.sum() / mask.sum()
    return sign * mean


policy.plant(
    {
        sentence: lambda logprobs, old_logprobs, advantages, mask, clip, wrong=wrong: _ppo(
            logprobs, old_logprobs, advantages, mask, clip, **wrong
        )
        for sentence, wrong in {
            "The minus is missing: an optimizer minimizes.": {"sign": 1},
            "The maximum of the two is taken; it is the minimum, the more careful one.": {
                "both": lambda a, b: torch.maximum(a, b)
            },
            "Only the clipped product is used: a ratio that is already too far the wrong way has no gradient back.": {
                "only": "clipped"
            },
            "Nothing is clipped.": {"only": "free"},
            "The minimum is taken of the ratios, before the advantage is multiplied: wrong where it is negative.": {
                "only": "ratio"
            },
            "Averaged row by row: a token in a short answer counts for more.": {"rows": True},
            "The mask is not used.": {"all": True},
            "exp is missing: the ratio is exp of the difference.": {"exp": False},
            "The ratio is turned: new over old.": {"turned": True},
            "Clipped above only; the ratio is held between 1 - clip and 1 + clip.": {"upper": True},
        }.items()
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
    observe=_with_slope,
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
    observe=_with_slope,
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
    observe=_with_slope,
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


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor,
    rewards: Tensor,
    mask: Tensor,
    clip: float,
    beta: float,
) -> Tensor:
    """The loss of GRPO for one group of answers to one prompt; one number to be minimized.

    logprobs, old_logprobs, ref_logprobs, mask: (answers, time). rewards: (answers,). The advantage of an answer is
    (reward - mean) / (std + 1e-4), std with answers - 1 below the line. From the clipped objective of each token beta * k3 is
    taken off, k3 = exp(ref - new) - (ref - new) - 1; mean over each answer's tokens, then over the answers.
    """
    advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    ratio = (logprobs - old_logprobs).exp()
    product = torch.minimum(ratio * advantages[:, None], ratio.clamp(1 - clip, 1 + clip) * advantages[:, None])
    gap = ref_logprobs - logprobs
    objective = product - beta * (gap.exp() - gap - 1)
    return -((objective * mask).sum(1) / mask.sum(1)).mean()


def _group_cases():
    mask = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    old = normal(1, 3, 4) - 2
    return [
        Case(
            old[:2, :2], old[:2, :2], old[:2, :2], torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 1], [1, 0]]), 0.2, 0.0
        ),
        Case(old + 0.5 * normal(2, 3, 4), old, old + normal(3, 3, 4), torch.tensor([1.0, 0.0, 0.5]), mask, 0.2, 0.3),
        Case(old + normal(4, 3, 4), old, old, torch.tensor([2.0, -1.0, 5.0]), mask, 0.1, 0.04),
        Case(old + 0.1 * normal(5, 3, 4), old, old + normal(6, 3, 4), torch.tensor([1.0, 1.0, 1.0]), mask, 0.2, 0.5),
    ]


group = Definition(
    grpo_loss,
    title="The loss of GRPO",
    level="staff",
    minutes=15,
    topics=("A8", "A16", "+"),
    statement="""
    Write the loss of GRPO (arXiv 2402.03300) for the answers to one prompt. Advantage of an answer, the same for its tokens:
    `(reward - mean) / (std + 1e-4)` within the group, std with n - 1. Objective of a token:
    `min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A) - beta * k3` with `ratio = exp(new - old)` and
    `k3 = exp(ref - new) - (ref - new) - 1`. First the mean over the tokens of each answer, then over the answers. Minimize.
    logprobs, old_logprobs, ref_logprobs, mask: (answers, time); rewards: (answers,). Result: one number.
    """,
    cases=_group_cases,
    observe=_with_slope,
    general="Not minus the mean over answers of the mean over tokens of min(...) - beta * k3.",
    hints=[
        "In order: advantages of the group, ratio, clipped minimum, k3, objective, mean within each answer, mean over answers, "
        "minus. When all rewards are equal, only the KL is left.",
        "`advantages = ((rewards - rewards.mean()) / (rewards.std() + 1e-4))[:, None]`; `gap = ref_logprobs - logprobs`; "
        "`objective = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages) - beta * (gap.exp() - "
        "gap - 1)`; `-((objective * mask).sum(1) / mask.sum(1)).mean()`.",
    ],
)


def _grpo(
    new,
    old,
    ref,
    rewards,
    mask,
    clip,
    beta,
    centre=True,
    scale=True,
    unbiased=True,
    kl="k3",
    sign=-1,
    tokens=False,
    clipped=True,
    kl_sign=1,
    against="old",
):
    adv = rewards - rewards.mean() if centre else rewards
    adv = (adv / (rewards.std(unbiased=unbiased) + 1e-4) if scale else adv)[:, None]
    ratio = (new - (ref if against == "ref" else old)).exp()
    part = torch.minimum(ratio * adv, ratio.clamp(1 - clip, 1 + clip) * adv) if clipped else ratio * adv
    gap = ref - new
    kls = {"k3": gap.exp() - gap - 1, "k1": -gap, "turned": (-gap).exp() + gap - 1, "none": 0 * gap}
    objective = (part - kl_sign * beta * kls[kl]) * mask
    return sign * (objective.sum() / mask.sum() if tokens else (objective.sum(1) / mask.sum(1)).mean())


group.plant(
    {
        sentence: lambda logprobs, old_logprobs, ref_logprobs, rewards, mask, clip, beta, wrong=wrong: _grpo(
            logprobs, old_logprobs, ref_logprobs, rewards, mask, clip, beta, **wrong
        )
        for sentence, wrong in {
            "The group's mean is not taken off the rewards.": {"centre": False},
            "The advantages are not divided by the group's std (that is Dr. GRPO).": {"scale": False},
            "std is divided by n; here it is n - 1.": {"unbiased": False},
            "That is k1; the penalty is k3 = exp(ref - new) - (ref - new) - 1.": {"kl": "k1"},
            "k3 is turned round: it is exp(ref - new) - (ref - new) - 1.": {"kl": "turned"},
            "The KL penalty is missing.": {"kl": "none"},
            "The KL is rewarded: it is taken off the objective.": {"kl_sign": -1},
            "The minus is missing: an optimizer minimizes.": {"sign": 1},
            "Averaged over all tokens (as DAPO does); here within each answer first.": {"tokens": True},
            "Nothing is clipped.": {"clipped": False},
            "The ratio is taken against the reference; it is against the policy that sampled.": {"against": "ref"},
        }.items()
    }
)


def gspo_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """The importance ratio of each answer in GSPO, (answers,): exp of the mean over its tokens of new - old.

    All (answers, time); mask is 1 on the answer's tokens, of which each row has one or more.
    """
    return (((logprobs - old_logprobs) * mask).sum(1) / mask.sum(1)).exp()


def _ratio_cases():
    mask = torch.tensor([[0.0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]])
    return [
        Case(torch.tensor([[-1.0, -3.0]]), torch.tensor([[-2.0, -2.5]]), torch.ones(1, 2)),
        Case(normal(1, 3, 4), normal(2, 3, 4), mask),
        Case(3 * normal(3, 3, 4), 3 * normal(4, 3, 4), mask),
    ]


sequence = Definition(
    gspo_ratio,
    title="The sequence ratio of GSPO",
    level="staff",
    minutes=5,
    topics=("A8", "+"),
    statement="""
    GSPO (arXiv 2507.18071) clips whole answers instead of tokens. Its ratio is the likelihood of the answer under the new
    policy over that under the old, to the power of 1 / length: the geometric mean of the token ratios,
    `exp(mean over the answer's tokens of (new - old))`. All arguments (answers, time). Result: (answers,).
    """,
    cases=_ratio_cases,
    observe=lambda answer, logprobs, old, mask: (
        lambda leaf: (
            lambda out: (out.detach(), torch.autograd.grad(out.sum(), leaf)[0] if out.requires_grad else "none")
        )(answer(leaf, old, mask))
    )(logprobs.clone().requires_grad_()),
    general="Not exp of the mean over the answer's tokens of the difference of log-probabilities.",
    hints=[
        "The logarithm of a geometric mean is a mean of logarithms. Only the answer's tokens count, above and below the line.",
        "`(((logprobs - old_logprobs) * mask).sum(1) / mask.sum(1)).exp()`.",
    ],
)
sequence.plant(
    {
        "The mean of the token ratios; the mean is taken of the logarithms, before exp.": lambda logprobs, old_logprobs, mask: (
            ((logprobs - old_logprobs).exp() * mask).sum(1) / mask.sum(1)
        ),
        "The length is missing: this is the ratio of the whole likelihoods.": lambda logprobs, old_logprobs, mask: (
            ((logprobs - old_logprobs) * mask).sum(1).exp()
        ),
        "Divided by the length of the row; it is the answer's.": lambda logprobs, old_logprobs, mask: (
            ((logprobs - old_logprobs) * mask).sum(1) / mask.shape[1]
        ).exp(),
        "The mask is not used.": lambda logprobs, old_logprobs, mask: (logprobs - old_logprobs).mean(1).exp(),
        "exp is missing.": lambda logprobs, old_logprobs, mask: ((logprobs - old_logprobs) * mask).sum(1) / mask.sum(1),
        "The ratio is turned: new over old.": lambda logprobs, old_logprobs, mask: (
            ((old_logprobs - logprobs) * mask).sum(1) / mask.sum(1)
        ).exp(),
        "One ratio for all answers; each has its own.": lambda logprobs, old_logprobs, mask: (
            (((logprobs - old_logprobs) * mask).sum() / mask.sum()).exp().expand(len(mask))
        ),
    }
)


def kl_estimates(logprobs: Tensor, ref_logprobs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(k1, k2, k3), the estimates of KL(policy || reference) at each token that the policy sampled, shaped as given."""
    gap = ref_logprobs - logprobs
    return -gap, gap.pow(2) / 2, gap.exp() - 1 - gap


estimates = Definition(
    kl_estimates,
    title="Three estimators of KL: k1, k2, k3",
    level="onsite",
    minutes=6,
    topics=("A8", "A16"),
    statement="""
    From tokens that the policy sampled, estimate `KL(policy || reference)` token by token. With `g = ref_logprob - logprob`:
    k1 = -g (true on average, may be negative); k2 = g² / 2 (never negative, off on average); k3 = exp(g) - 1 - g (true on
    average and never negative). logprobs, ref_logprobs: any one shape. Result: (k1, k2, k3).
    """,
    cases=lambda: [
        Case(torch.tensor([-1.0]), torch.tensor([-1.5])),
        Case(normal(1, 2, 3), normal(2, 2, 3)),
    ],
    general="Not -g, g squared / 2 and exp(g) - 1 - g with g = ref - new.",
    hints=[
        "Everything follows from g, the logarithm of reference over policy. k1 is its negative: the mean of log(policy / "
        "reference) over the policy's samples is KL itself.",
        "`gap = ref_logprobs - logprobs`; `return -gap, gap.pow(2) / 2, gap.exp() - 1 - gap`.",
    ],
)


def _kls(p, q, k1=lambda g: -g, k2=lambda g: g**2 / 2, k3=lambda g: g.exp() - 1 - g):
    g = q - p
    return k1(g), k2(g), k3(g)


estimates.plant(
    {
        sentence: lambda logprobs, ref_logprobs, wrong=wrong: _kls(logprobs, ref_logprobs, **wrong)
        for sentence, wrong in {
            "k1 has the wrong sign: it is logprob - ref_logprob.": {"k1": lambda g: g},
            "k1 is made positive; it may be negative, or it is no longer true on average.": {"k1": lambda g: g.abs()},
            "k2 lacks the half.": {"k2": lambda g: g**2},
            "k3 has the policy over the reference in exp; it is the reference over the policy.": {
                "k3": lambda g: (-g).exp() - 1 + g
            },
            "k3 lacks its - 1: it must be 0 where both agree.": {"k3": lambda g: g.exp() - g},
            "k3 lacks its - g.": {"k3": lambda g: g.exp() - 1},
        }.items()
    }
    | {
        "Means over the tokens are returned; estimates at each token are wanted.": lambda logprobs, ref_logprobs: tuple(
            k.mean() for k in _kls(logprobs, ref_logprobs)
        ),
        "KL is weighted by the probabilities once more: the tokens are samples already.": lambda logprobs, ref_logprobs: (
            tuple(logprobs.exp() * k for k in _kls(logprobs, ref_logprobs))
        ),
    }
)
