"""Checks of chapter 12: rewards per token, advantages, the clipped loss, an estimator of KL, and the memory of four models."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import torch
from torch import Tensor

from course_utils.alignment import advantages, kl
from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, check, expect


def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    """Bytes that PPO keeps for four models of these numbers of parameters, without activations, in mixed precision."""
    return 16 * (policy + value) + 2 * (reward + reference)


@check(
    "12.1",
    title="The memory of four models",
    reference=rlhf_bytes,
    difficulty=1,
    minutes=5,
    points=1,
    asked="how much memory does PPO on a 7B model need?",
    hints=[
        "Two of the four are trained: the policy and the value model. The other two only read.",
        "A trained parameter: 2 bytes for the weight, 2 for the gradient, 4 for the copy in 32 bits, 4 + 4 for Adam: 16. A "
        "frozen one: 2.",
    ],
)
def check_rlhf_bytes(candidate: Callable[[float, float, float, float], float]) -> None:
    p, v, rw, rf = 7.0, 3.0, 5.0, 1.0
    expect.close(
        candidate(p, v, rw, rf),
        16 * (p + v) + 2 * (rw + rf),
        "Not 16 bytes for each trained parameter and 2 for each frozen one.",
        given="policy = 7, value = 3, reward = 5, reference = 1 parameters",
        mistakes={
            "The value model is trained too: it learns what to expect.": 16 * p + 2 * (v + rw + rf),
            "The value model is trained, the reward model is frozen: not the other way round.": 16 * (p + rw)
            + 2 * (v + rf),
            "The reference is missing: it is frozen, but it is kept.": 16 * (p + v) + 2 * rw,
            "The reward model is frozen while PPO runs.": 16 * (p + v + rw) + 2 * rf,
            "The reference is frozen: it is what the policy is compared with.": 16 * (p + v + rf) + 2 * rw,
            "All four are counted as trained; reward and reference only read.": 16 * (p + v + rw + rf),
            "All four are counted as frozen; policy and value model are trained.": 2 * (p + v + rw + rf),
            "The copy in 32 bits is missing: 2 + 2 + 4 + 8 bytes.": 12 * (p + v) + 2 * (rw + rf),
            "Adam keeps two averages of 4 bytes each: 2 + 2 + 4 + 8 bytes.": 8 * (p + v) + 2 * (rw + rf),
            "The gradient is missing: 2 + 2 + 4 + 8 bytes.": 14 * (p + v) + 2 * (rw + rf),
            "The frozen models have no 32-bit copy: 2 bytes.": 16 * (p + v) + 4 * (rw + rf),
            "The value or the reward model is missing: four models take part.": 16 * p + 2 * (rw + rf),
        },
    )
    expect.close(candidate(7e9, 7e9, 7e9, 7e9), 252e9, "Four models of 7 billion take 252 GB. Bytes are wanted.")


def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """The reward of each token (batch, length): minus the KL penalty, and at the last one the score (batch,)."""
    return kl.kl_rewards(scores, logprobs, ref_logprobs, mask, coefficient)


@check(
    "12.2",
    title="A reward for every token",
    reference=kl_rewards,
    difficulty=2,
    minutes=8,
    points=2,
    asked="where does the KL penalty enter in RLHF? Write the reward",
    hints=[
        "The penalty stands at every token of the answer: `-coefficient * (logprobs - ref_logprobs) * mask`.",
        "The last token of the answer is the last 1 in the mask. The prompt stands before the answer, so the number of ones is "
        "not enough: `(mask * torch.arange(mask.shape[1])).argmax(1)`.",
        "`rewards[torch.arange(len(scores)), last] += scores`.",
    ],
)
def check_kl_rewards(candidate: Callable[..., Tensor]) -> None:
    mask = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 0]]).float()
    logprobs = torch.tensor([[-1.0, -0.5, -2, -1, -3], [-1, -2, -0.25, -1, -0.5], [-0.5, -1, -1, -2, -1]])
    ref = torch.tensor([[-2.0, -1.5, -1, -3, -1], [-2, -1, -1, -0.5, -1.5], [-1.5, -3, -2, -1, -2]])
    scores, beta = torch.tensor([3.0, -2, 1]), 0.5
    rows, places = torch.arange(3), torch.arange(5)
    last, first, count = (mask * places).argmax(1).long(), mask.argmax(1), mask.sum(1).long()

    def build(penalty: Tensor, at: Tensor | None = None, factor: float = 1.0) -> Tensor:
        rewards = penalty.clone()
        if at is not None:
            rewards[rows, at] += factor * scores
        return rewards

    penalty = -beta * (logprobs - ref) * mask
    given = {"scores": scores, "logprobs": logprobs, "ref_logprobs": ref, "mask": mask, "coefficient": beta}
    expect.close(
        candidate(scores.clone(), logprobs.clone(), ref.clone(), mask.clone(), beta),
        build(penalty, last),
        "Not -coefficient * (logprobs - ref_logprobs) at each token of the answer, with the score added at the last.",
        given=given,
        mistakes={
            "The sign of the penalty is turned: it would reward the policy for moving away.": build(-penalty, last),
            "The score is missing at the last token.": penalty,
            "The score stands at the first token of the answer; it judges the whole, so it comes with the last.": build(
                penalty, first
            ),
            "The score stands at the end of the row, which may be padding.": build(penalty, torch.full((3,), 4)),
            "The place of the last token is counted with the sum of the mask; but the prompt stands before the answer.": build(
                penalty, (count - 1).clamp(min=0)
            ),
            "The mask is forgotten: prompt and padding get a penalty too.": build(-beta * (logprobs - ref), last),
            "The coefficient is missing.": build(-(logprobs - ref) * mask, last),
            "The score is added at every token of the answer; it comes once.": penalty + scores[:, None] * mask,
            "The coefficient is applied to the score too.": build(penalty, last, beta),
            "The score replaces the penalty at the last token; it is added to it.": penalty.clone().index_put(
                (rows, last), scores
            ),
            "Every row got the scores of all rows, at the last tokens of all: index rows and places together.": penalty
            + torch.stack([sum(scores[i] * (places == last[i]) for i in range(3))] * 3),
            "The whole penalty stands at the last token; each token pays its own.": build(
                torch.zeros_like(penalty).index_put((rows, last), penalty.sum(1)), last
            ),
            "That is k3 as a penalty; the reward takes the plain difference of the logarithms.": build(
                -beta * kl.kl_estimate(logprobs, ref, "k3") * mask, last
            ),
            "Probabilities are compared; the penalty is the difference of their logarithms.": build(
                -beta * (logprobs.exp() - ref.exp()) * mask, last
            ),
        },
    )
    kept = [scores.clone(), logprobs.clone(), ref.clone(), mask.clone()]
    candidate(*kept, beta)
    expect.that(
        all(torch.equal(a, b) for a, b in zip(kept, (scores, logprobs, ref, mask), strict=True)),
        "An input was changed. PPO needs the log-probabilities again; work on new tensors.",
    )


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """(advantages, returns), both (batch, length), 0 where the mask is 0; the value behind the last token is 0."""
    return advantages.gae(rewards, values, mask, gamma, lam)


@check(
    "12.3",
    title="Generalized advantage estimation",
    reference=gae,
    difficulty=4,
    minutes=15,
    points=4,
    asked="write GAE; what do lambda = 0 and lambda = 1 mean?",
    hints=[
        "Multiply rewards and values by the mask first. Then everything behind the answer is 0 by itself, the value behind the "
        "last token too.",
        "Go from the last column to the first: `delta = rewards[:, t] + gamma * values[:, t + 1] - values[:, t]`, with 0 for the "
        "value behind the last column, and `advantage = delta + gamma * lam * advantage`.",
        "Write `advantage * mask[:, t]` into column t. The returns are advantages plus values.",
    ],
)
def check_gae(candidate: Callable[..., tuple[Tensor, Tensor]]) -> None:
    rewards = torch.tensor([[0.0, 0, -1, 2, 0], [0, 0.5, 3, 0, 0], [0, 0, 0, 1, 2]])
    values = torch.tensor([[9.0, 1, 0.5, 1, 7], [8, 1, 2, 6, -5], [4, 3, 1, 0.5, 1.5]])
    mask = torch.tensor([[0.0, 1, 1, 1, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    given = {"rewards": rewards, "values": values, "mask": mask, "gamma": 0.9, "lam": 0.8}
    kept = [rewards.clone(), values.clone(), mask.clone()]
    result = candidate(*kept, 0.9, 0.8)
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2,
        "Two tensors are wanted: `return advantages, returns`.",
        given=given,
    )
    expect.that(
        all(torch.equal(a, b) for a, b in zip(kept, (rewards, values, mask), strict=True)),
        "An input was changed; work on new tensors.",
    )
    found, returns = result
    r, v = rewards * mask, values * mask

    def run(
        gamma: float = 0.9,
        lam: float = 0.8,
        v_next=v,
        minus=v,
        carry: float = 1.0,
        forward: bool = False,
        last: int = 5,
    ) -> Tensor:
        out, following = torch.zeros_like(r), torch.zeros(3)
        for t in range(5) if forward else reversed(range(last)):
            next_value = v_next[:, t + 1] if t < 4 else torch.zeros(3)
            following = (r[:, t] + gamma * next_value - minus[:, t] + gamma * lam * following * carry) * mask[:, t]
            out[:, t] = following
        return out

    wanted, _ = advantages.gae(rewards, values, mask, 0.9, 0.8)
    expect.close(
        found,
        wanted,
        "Not delta_t + gamma * lam * A_{t+1}, summed from the end.",
        given=given,
        mistakes={
            "That is delta alone: what comes later is not carried back.": run(carry=0.0),
            "The value behind the last token of the answer is taken from the padding; the answer has ended, it is 0.": run(
                v_next=values
            ),
            "gamma is missing before the next value or before what is carried back.": run(gamma=1.0),
            "lam is missing: that is lam = 1.": run(lam=1.0),
            "The last column is never visited; the longest answer of a batch ends there, with its score.": run(last=4),
            "gamma is missing before the next value.": run(v_next=v / 0.9),
            "Before the next value stands gamma * lam; it is gamma alone.": run(v_next=v * 0.8),
            "gamma is missing where the later advantages are carried back; it is gamma * lam.": run(lam=0.8 / 0.9),
            "The own value is not subtracted: these are returns, not advantages.": run(minus=torch.zeros_like(v)),
            "The next value is not added to the reward.": run(v_next=torch.zeros_like(v)),
            "Summed from the front; later rewards must reach earlier tokens, so start at the end.": run(forward=True),
            "That is the second of the two; advantages come first, then returns.": wanted + v,
        },
        rtol=1e-4,
        atol=1e-5,
    )
    expect.close(
        returns,
        wanted + v,
        "The returns are advantages plus values, 0 outside of the answer.",
        given=given,
        mistakes={
            "The returns are the advantages plus the values, where the answer stands; yours hold values of prompt or "
            "padding.": wanted + values,
            "These are the advantages again; the returns are advantages plus values.": wanted,
            "These are advantages minus values; it is plus: A = R - V.": wanted - v,
        },
        rtol=1e-4,
        atol=1e-5,
    )
    whole = advantages.gae(rewards, values, mask, 1.0, 1.0)[1]
    expect.close(
        candidate(rewards, values, mask, 1.0, 1.0)[1],
        whole,
        "With gamma = lam = 1 the returns must be the plain sums of the rewards still to come.",
        given={**given, "gamma": 1.0, "lam": 1.0},
        rtol=1e-4,
        atol=1e-5,
    )


def _loss_cases() -> list[Case]:
    old = torch.tensor([[-1.0, -2, -1.5, -0.5], [-1, -1, -2, -1]])
    ratio = torch.tensor([[1.5, 0.5, 1.1, 3.0], [1.6, 0.4, 0.9, 1.0]])
    advantages = torch.tensor([[1.0, 2, -0.5, 5], [-1, -2, 3, 4]])
    mask = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0]])
    return [
        Case(old + ratio.log(), old, advantages, mask, 0.2),
        Case(old + ratio.log(), old, advantages, mask, 0.05, message="Right for clip = 0.2 alone: is `clip` used?"),
        Case(old + ratio.log(), old, advantages, mask.flip(1), 0.2),  # the prompt stands before the answer
    ]


loss = Exercise(
    "12.4",
    title="The clipped loss",
    reference="course_utils.alignment.ppo:policy_loss",
    cases=_loss_cases,
    general="Not minus the masked mean of min(ratio A, clip(ratio) A).",
    rtol=1e-4,
    atol=1e-5,
    difficulty=3,
    minutes=10,
    points=3,
    asked="write PPO's policy loss; why the minimum?",
    hints=[
        "The ratio of the probabilities is `(logprobs - old_logprobs).exp()`.",
        "`torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)`: at each token the worse of the two.",
        "The mean is over the tokens of the answer, `(x * mask).sum() / mask.sum()`; a loss has a minus in front.",
    ],
)


def _surrogate(new: Tensor, old: Tensor, advantages: Tensor, low: float, high: float, worse=torch.minimum) -> Tensor:
    ratio = (new - old).exp()
    return worse(ratio * advantages, ratio.clamp(low, high) * advantages)


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum()


@loss.bug("The minus is missing: an optimizer minimizes, so the policy would learn to do worse.")
def without_minus(logprobs, old_logprobs, advantages, mask, clip):
    return _mean(_surrogate(logprobs, old_logprobs, advantages, 1 - clip, 1 + clip), mask)


@loss.bug("The maximum is taken; it is the minimum, or the loss rewards going ever further.")
def maximum(logprobs, old_logprobs, advantages, mask, clip):
    return -_mean(_surrogate(logprobs, old_logprobs, advantages, 1 - clip, 1 + clip, torch.maximum), mask)


@loss.bug("Nothing is clipped: that is the plain policy gradient with a ratio.")
def unclipped(logprobs, old_logprobs, advantages, mask, clip):
    return -_mean((logprobs - old_logprobs).exp() * advantages, mask)


@loss.bug(
    "Only the clipped term is used. Then a token that went the wrong way too far has no gradient to come back; the "
    "minimum keeps it."
)
def clipped_only(logprobs, old_logprobs, advantages, mask, clip):
    return -_mean((logprobs - old_logprobs).exp().clamp(1 - clip, 1 + clip) * advantages, mask)


@loss.bug("The mask is forgotten: padding counts.")
def unmasked(logprobs, old_logprobs, advantages, mask, clip):
    return -_surrogate(logprobs, old_logprobs, advantages, 1 - clip, 1 + clip).mean()


@loss.bug("Divided by all places instead of the places of the answer.")
def over_all_places(logprobs, old_logprobs, advantages, mask, clip):
    return -(_surrogate(logprobs, old_logprobs, advantages, 1 - clip, 1 + clip) * mask).mean()


@loss.bug("The rows are averaged one by one; the mean is over all tokens of the answers.")
def mean_of_means(logprobs, old_logprobs, advantages, mask, clip):
    surrogate = _surrogate(logprobs, old_logprobs, advantages, 1 - clip, 1 + clip) * mask
    return -(surrogate.sum(1) / mask.sum(1)).mean()


@loss.bug("That is the sum; the mean over the answer's tokens is wanted.")
def summed(logprobs, old_logprobs, advantages, mask, clip):
    return -(_surrogate(logprobs, old_logprobs, advantages, 1 - clip, 1 + clip) * mask).sum()


@loss.bug("The ratio is upside down: new over old.")
def upside_down(logprobs, old_logprobs, advantages, mask, clip):
    return -_mean(_surrogate(old_logprobs, logprobs, advantages, 1 - clip, 1 + clip), mask)


@loss.bug("The difference of logarithms is used for the ratio; `exp` is missing.")
def without_exp(logprobs, old_logprobs, advantages, mask, clip):
    ratio = logprobs - old_logprobs
    return -_mean(torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages), mask)


@loss.bug("Clipped from below only or from above only: it is 1 - clip to 1 + clip.")
def clipped_above(logprobs, old_logprobs, advantages, mask, clip):
    return -_mean(_surrogate(logprobs, old_logprobs, advantages, 0.0, 1 + clip), mask)


@loss.bug("Clipped to plus or minus clip; the ratio is near 1: 1 - clip to 1 + clip.")
def clipped_around_zero(logprobs, old_logprobs, advantages, mask, clip):
    return -_mean(_surrogate(logprobs, old_logprobs, advantages, -clip, clip), mask)


@loss.first
def loss_is_a_scalar_tensor(candidate: Callable[..., Tensor]) -> None:
    case = loss.cases[0]
    value = case.call(candidate)
    if isinstance(value, Real) and not isinstance(value, bool):
        raise Mistake("A plain number cannot be differentiated; return a tensor.", yours=value)
    expect.kind(value, Tensor)
    expect.that(value.numel() == 1, "One number is wanted, the mean over the answer's tokens.", yours=value)


@loss.also
def loss_has_the_right_gradient(candidate: Callable[..., Tensor]) -> None:
    new, old, advantages, mask, clip = loss.cases[0].args

    def slope(function: Callable[..., Tensor]) -> Tensor | None:
        leaf = new.clone().requires_grad_()
        value = function(leaf, old, advantages, mask, clip)
        return torch.autograd.grad(value.sum(), leaf)[0] if value.requires_grad else None

    found = slope(candidate)
    expect.that(found is not None, "No gradient flows to `logprobs`. Is there a `.detach()` or `no_grad`?")
    expect.close(
        found,
        slope(loss.reference),
        "The value is right, its gradient is not. Gradients flow through the new log-probabilities alone, and not where the "
        "clip holds.",
        rtol=1e-3,
        atol=1e-5,
    )


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The estimator (r - 1) - log r with r = p_ref / p, at each sampled token, in nats."""
    return kl.kl_estimate(logprobs, ref_logprobs, "k3")


@check(
    "12.5",
    title="An estimate of KL that is never negative",
    reference=kl_k3,
    difficulty=2,
    minutes=6,
    points=2,
    asked="your KL is negative. Is that possible? Which estimator would you use?",
    hints=[
        "`log_ratio = ref_logprobs - logprobs` is log r: the reference stands above.",
        "`r - 1 - log r` with `r = log_ratio.exp()`.",
    ],
)
def check_kl_k3(candidate: Callable[[Tensor, Tensor], Tensor]) -> None:
    new = torch.tensor([[-1.0, -2.0, -0.5], [-3.0, -1.0, -1.0]])
    ref = torch.tensor([[-1.5, -1.0, -0.5], [-1.0, -1.25, -2.0]])
    log_r = ref - new
    expect.close(
        candidate(new.clone(), ref.clone()),
        log_r.exp() - 1 - log_r,
        "Not (r - 1) - log r with r = p_ref / p.",
        given={"logprobs": new, "ref_logprobs": ref},
        mistakes={
            "r is upside down: it is the reference's probability over the policy's, as the samples come from the policy.": (
                -log_r
            ).exp()
            - 1
            + log_r,
            "That is k1, the plain log ratio: right on average, but negative at many tokens.": -log_r,
            "That is k2, half the square: never negative, but not right on average.": log_r.square() / 2,
            "The 1 is missing: equal probabilities must give 0.": log_r.exp() - log_r,
            "The sign of log r is turned.": log_r.exp() - 1 + log_r,
            "The minus log r is missing.": log_r.exp() - 1,
        },
        rtol=1e-4,
        atol=1e-6,
    )
