"""Drills on policy gradients: advantages, the losses of PPO and GRPO, a sequence's ratio, estimators of KL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import normal, with_slope
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def gae(rewards: Tensor, values: Tensor, done: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """(advantages, returns), both (time,), by generalized advantage estimation; returns = advantages + values.

    rewards: (time,). values: (time + 1,), the last for the state after the last step. done: (time,), True where an episode
    ends with this step: nothing after it counts.
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
            "The value after the end of an episode is still counted.": {"cut_value": False},
            "The advantage of the next episode is carried over the end of this one.": {"cut_carry": False},
            "Episodes run into each other: `done` is not used.": {"cut_value": False, "cut_carry": False},
            "gamma is missing before the next value.": {"next_gamma": False},
            "lam is missing: that is lam = 1.": {"carry": lambda g, x: g},
            "gamma is missing where the advantage is carried: it is gamma * lam.": {"carry": lambda g, x: x},
            "Nothing is carried back: that is delta alone.": {"carry": lambda g, x: 0},
            "The own value is not subtracted.": {"own": False},
            "Summed from the front; go from the last step to the first.": {"forward": True},
            "The last of the values is not used: it stands for what comes after the stretch.": {"last": False},
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
    observe=with_slope,
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
        Case(old - 1, old, old, torch.tensor([0.0, 1.0, -1.0]), mask, 0.2, 0.1),
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
    observe=with_slope,
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
            lambda out: {
                "result": out.detach(),
                "gradient of the sum by logprobs": torch.autograd.grad(out.sum(), leaf)[0]
                if out.requires_grad
                else "none",
            }
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
