"""Checks of chapter 12: rewards per token, advantages, the clipped loss, an estimator of KL, and the memory of four models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real

import torch
from torch import Tensor

from course_utils.alignment.kl import kl_estimate
from course_utils.alignment.masked import masked_mean
from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect


def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    """Bytes that PPO keeps for four models of these numbers of parameters, without activations, in mixed precision."""
    trained = 2 + 2 + 4 + 4 + 4  # weight, gradient, weight in 32 bits, Adam's two averages
    frozen = 2  # weight
    return trained * (policy + value) + frozen * (reward + reference)


memory = Exercise(
    "12.1",
    title="The memory of four models",
    reference=rlhf_bytes,
    cases=[
        Case(11.0, 3.0, 7.0, 1.7),
        Case(7_000_000_000, 0, 1_000_000_000, 7_000_000_000),
        Case(7.0, 2.0, 0, 0),  # a rule that scores, and a reference that is the policy with its adapter off
    ],
    general="Not 16 bytes for each trained parameter and 2 for each frozen one.",
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


def _bytes(policy, value, reward, reference, each):
    return sum(size * width for size, width in zip((policy, value, reward, reference), each, strict=True))


for _each, _sentence in {  # bytes for each parameter of policy, value model, reward model, reference
    (16, 2, 2, 2): "The value model is trained too: it learns what to expect.",
    (16, 2, 16, 2): "The value model is trained, the reward model is frozen: not the other way round.",
    (16, 0, 2, 2): "The value model is missing: four models take part.",
    (16, 16, 0, 2): "The reward model is missing: it is frozen, but it is kept.",
    (16, 16, 2, 0): "The reference is missing: it is frozen, but it is kept.",
    (16, 16, 16, 2): "The reward model is frozen while PPO runs.",
    (16, 16, 2, 16): "The reference is frozen: it is what the policy is compared with.",
    (16, 16, 16, 16): "All four are counted as trained; reward and reference only read.",
    (2, 2, 2, 2): "All four are counted as frozen; policy and value model are trained.",
    (12, 12, 2, 2): "4 of the 16 bytes are missing: is it the copy in 32 bits, or one of Adam's two averages?",
    (8, 8, 2, 2): "8 of the 16 bytes are missing: the copy in 32 bits takes 4, and each of Adam's two averages 4.",
    (
        14,
        14,
        2,
        2,
    ): "2 of the 16 bytes are missing: is it the gradient, or the weight in 16 bits beside its copy in 32?",
    (18, 18, 2, 2): "The gradient is kept in 16 bits, as the weight is: 2 bytes.",
    (16, 16, 4, 4): "A frozen parameter takes 2 bytes: the weight in 16 bits, no copy and no gradient.",
    (18, 16, 2, 0): "The reference is taken to be as large as the policy; each model has its own size.",
    (18, 16, 0, 2): "The reward model is taken to be as large as the policy; each model has its own size.",
    (32, 0, 2, 2): "The value model is taken to be as large as the policy; each model has its own size.",
    (36, 0, 0, 0): "All four are taken to be as large as the policy; each has its own size.",
    (16e-9, 16e-9, 2e-9, 2e-9): "Bytes are wanted, not gigabytes.",
}.items():
    memory.bug(_sentence)(partial(_bytes, each=_each))


def _reward_cases() -> list[Case]:
    mask = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 0]]).float()
    logprobs = torch.tensor([[-1.0, -0.5, -2, -1, -3], [-1, -2, -0.25, -1, -0.5], [-0.5, -1, -1, -2, -1]])
    ref = torch.tensor([[-2.0, -1.5, -1, -3, -1], [-2, -1, -1, -0.5, -1.5], [-1.5, -3, -2, -1, -2]])
    scores = torch.tensor([3.0, -2, 1])
    return [
        Case(scores, logprobs, ref, mask, 0.5),
        Case(scores[:1], logprobs[:1, 1:4], ref[:1, 1:4], torch.ones(1, 3), 0.1),
        Case(scores, ref[:, :2], logprobs[:, :2], torch.ones(3, 2), 0.0),
    ]


rewards = Exercise(
    "12.2",
    title="A reward for every token",
    reference="course_utils.alignment.kl:kl_rewards",
    cases=_reward_cases,
    general="Not -coefficient * (logprobs - ref_logprobs) at each token of the answer, with the score added at the last.",
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


def _put(penalty, places, scores):
    return penalty.index_put((torch.arange(len(scores)), places), scores, accumulate=True)


def _last(mask):
    return (mask * torch.arange(mask.shape[1])).argmax(1)


for _sentence, _wrong in {  # wrong penalties; the score is added at the last token
    "The sign of the penalty is turned: it would reward the policy for moving away.": (
        lambda p, ref, mask, beta: beta * (p - ref) * mask
    ),
    "The mask is forgotten: prompt and padding get a penalty too.": lambda p, ref, mask, beta: -beta * (p - ref),
    "The coefficient is missing.": lambda p, ref, mask, beta: -(p - ref) * mask,
    "That is k3 as a penalty; the reward takes the plain difference of the logarithms.": (
        lambda p, ref, mask, beta: -beta * kl_estimate(p, ref, "k3") * mask
    ),
    "Probabilities are compared; the penalty is the difference of their logarithms.": (
        lambda p, ref, mask, beta: -beta * (p.exp() - ref.exp()) * mask
    ),
}.items():
    rewards.bug(_sentence)(
        lambda scores, logprobs, ref_logprobs, mask, coefficient, _wrong=_wrong: _put(
            _wrong(logprobs, ref_logprobs, mask, coefficient), _last(mask), scores
        )
    )

for _sentence, _wrong in {  # of the right penalty, the scores, the mask and the coefficient
    "The score is missing at the last token.": lambda paid, scores, mask, beta: paid,
    "The score is added at every token of the answer; it comes once.": (
        lambda paid, scores, mask, beta: paid + scores[:, None] * mask
    ),
    "The coefficient is applied to the score too.": lambda paid, scores, mask, beta: _put(
        paid, _last(mask), beta * scores
    ),
    "The score stands at the first token of the answer; it judges the whole, so it comes with the last.": (
        lambda paid, scores, mask, beta: _put(paid, mask.argmax(1), scores)
    ),
    "The score stands at the end of the row, which may be padding.": (
        lambda paid, scores, mask, beta: _put(paid, torch.full((len(mask),), mask.shape[1] - 1), scores)
    ),
    "The place of the last token is counted with the sum of the mask; but the prompt stands before the answer.": (
        lambda paid, scores, mask, beta: _put(paid, mask.sum(1).long() - 1, scores)
    ),
    "The score replaces the penalty at the last token; it is added to it.": (
        lambda paid, scores, mask, beta: paid.index_put((torch.arange(len(mask)), _last(mask)), scores)
    ),
    "Every row got the scores of all rows, at the last tokens of all: index rows and places together.": (
        lambda paid, scores, mask, beta: paid + _put(torch.zeros_like(mask), _last(mask), scores).sum(0)
    ),
    "The whole penalty stands at the last token; each token pays its own.": (
        lambda paid, scores, mask, beta: _put(torch.zeros_like(mask), _last(mask), paid.sum(1) + scores)
    ),
}.items():
    rewards.bug(_sentence)(
        lambda scores, logprobs, ref_logprobs, mask, coefficient, _wrong=_wrong: _wrong(
            -coefficient * (logprobs - ref_logprobs) * mask, scores, mask, coefficient
        )
    )


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """(advantages, returns), both (batch, length), 0 where the mask is 0; the value after the last token is 0."""
    outside = mask == 0
    rewards, values = rewards.masked_fill(outside, 0.0), values.masked_fill(outside, 0.0)  # NaN * 0 would be NaN
    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = (delta + gamma * lam * next_advantage) * mask[:, t]
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages, advantages + values


def _gae_cases() -> list[Case]:
    rewards = torch.tensor([[3.0, 0, -1, 2, 4, 0], [2, 0.5, 3, -2, 1, 5]])
    values = torch.tensor([[9.0, 1, 0.5, 1, 7, 3], [8, 1, 2, 6, -5, 2]])
    mask = torch.tensor([[0.0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0]])
    nowhere = torch.full_like(mask, torch.nan).masked_fill(mask == 1, 0.0)
    plain = "With gamma = lam = 1 the returns must be the plain sums of the rewards still to come."
    return [
        Case(rewards, values, mask, 0.9, 0.8),
        Case(
            *(x[:, 2:5] for x in (rewards, values, mask)),
            0.7,
            0.5,
            message="Wrong where an answer reaches to the first or the last column: after the last one value and advantage "
            "are 0, and the first one is a token like others.",
        ),
        Case(rewards, values, mask, 1.0, 1.0, message=plain),
        Case(
            rewards + nowhere,
            values + nowhere,
            mask,
            0.9,
            0.8,
            message="Where the mask is 0 may stand NaN, and NaN * 0 is NaN: choose with `masked_fill` or `torch.where`.",
        ),
    ]


advantages = Exercise(
    "12.3",
    title="Generalized advantage estimation",
    reference=gae,
    cases=_gae_cases,
    general="Not delta_t + gamma * lam * A_{t+1}, summed from the end.",
    rtol=1e-4,
    atol=1e-5,
    difficulty=4,
    minutes=15,
    points=4,
    asked="write GAE; what do lambda = 0 and lambda = 1 mean?",
    hints=[
        "Set rewards and values to 0 where the mask is 0 first, `values.masked_fill(mask == 0, 0.0)`. Then everything after "
        "the answer is 0 by itself, the value after the last token too.",
        "Go from the last column to the first: `delta = rewards[:, t] + gamma * values[:, t + 1] - values[:, t]`, with 0 for the "
        "value after the last column, and `advantage = delta + gamma * lam * advantage`.",
        "Write `advantage * mask[:, t]` into column t. The returns are advantages plus values.",
    ],
)


def _gae(
    rewards,
    values,
    mask,
    gamma,
    lam,
    ahead=lambda gamma, lam: gamma,  # the factor of the next value
    back=lambda gamma, lam: gamma * lam,  # the factor of the next advantage
    own=1,
    forward=False,
    unseen=None,  # a column that is not visited
    trusted=False,  # values of the padding
    paid=False,  # rewards of the padding
):
    r, v = rewards if paid else rewards * mask, values * mask
    out, later, columns = torch.zeros_like(v), torch.zeros(len(v)), range(v.shape[1])
    following = torch.cat([(values if trusted else v)[:, 1:], torch.zeros(len(v), 1)], 1)
    for t in columns if forward else reversed(columns):
        if t != unseen:
            delta = r[:, t] + ahead(gamma, lam) * following[:, t] - own * v[:, t]
            later = (delta + back(gamma, lam) * later) * (1 if paid else mask[:, t])
            out[:, t] = later * mask[:, t]
    return out, out + v


for _sentence, _wrong in {
    "That is delta alone: what comes later is not carried back.": {"back": lambda gamma, lam: 0},
    "The value after the last token of the answer is taken from the padding; the answer has ended, it is 0.": {
        "trusted": True
    },
    "The rewards of the padding are carried into the answer; what comes after its last token counts for nothing.": {
        "paid": True
    },
    "gamma is missing, before the next value and before what is carried back.": {
        "ahead": lambda gamma, lam: 1,
        "back": lambda gamma, lam: lam,
    },
    "gamma is missing before the next value.": {"ahead": lambda gamma, lam: 1},
    "gamma is missing where the later advantages are carried back; it is gamma * lam.": {
        "back": lambda gamma, lam: lam
    },
    "lam is missing: that is lam = 1.": {"back": lambda gamma, lam: gamma},
    "Before the next value stands gamma * lam; it is gamma alone.": {"ahead": lambda gamma, lam: gamma * lam},
    "The next value is not added to the reward.": {"ahead": lambda gamma, lam: 0},
    "The own value is not subtracted: these are returns, not advantages.": {"own": 0},
    "Summed from the front; later rewards must reach earlier tokens, so start at the end.": {"forward": True},
    "The first column is never visited; an answer may begin there.": {"unseen": 0},
    "The last column is never visited; the longest answer of a batch ends there, with its score.": {"unseen": 2},
}.items():
    advantages.bug(_sentence)(partial(_gae, **_wrong))


for _sentence, _wrong in {  # of the right advantages, the returns, all values and those of the answer
    "That is the second of the two; advantages come first, then returns.": lambda a, r, values, v: (r, a),
    "These are the advantages again; the returns are advantages plus values.": lambda a, r, values, v: (a, a),
    "These are advantages minus values; it is plus: A = R - V.": lambda a, r, values, v: (a, a - v),
    "The returns are the advantages plus the values, where the answer stands; yours hold values of prompt or padding.": (
        lambda a, r, values, v: (a, a + values)
    ),
}.items():
    advantages.bug(_sentence)(
        lambda rewards, values, mask, gamma, lam, _wrong=_wrong: _wrong(
            *_gae(rewards, values, mask, gamma, lam), values, values * mask
        )
    )


@advantages.bug("These are the discounted sums of the rewards, which is right for lam = 1 only; it is R = A + V.")
def gae_discounted_returns(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam)[0], _gae(rewards, values, mask, gamma, 1.0)[1]


@advantages.first
def two_tensors(candidate: Callable[..., tuple[Tensor, Tensor]]) -> None:
    result = advantages.cases[0].call(candidate)
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2,
        "Two tensors are wanted: `return advantages, returns`.",
        yours=result,
    )
    for found in result:
        expect.shape(found, (2, 6))


_INFINITE = "NaN: where the mask is 0 the ratio is infinite, and infinite * 0 is NaN. Select the tokens before `exp`."


def _loss_cases() -> list[Case]:
    old = torch.tensor([[-1.0, -2, -1.5, -0.5], [-1, -1, -2, -1]])
    ratio = torch.tensor([[1.5, 0.5, 1.1, 3.0], [1.6, 0.4, 0.9, 1.0]])
    advantages = torch.tensor([[1.0, 2, -0.5, 5], [-1, -2, 3, 4]])
    mask = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0]])
    return [
        Case(old + ratio.log(), old, advantages, mask, 0.2),
        Case(old + ratio.log(), old, advantages, mask, 0.05, message="Right for clip = 0.2 alone: is `clip` used?"),
        Case(old + ratio.log(), old, advantages, mask.flip(1), 0.2),  # the prompt stands before the answer
        Case(
            old + ratio.log(),
            old,
            advantages.clamp(min=0),
            mask,
            0.2,
            message="A token whose advantage is 0 counts, too.",
        ),
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
        "The ratio of the probabilities is `(logprobs - old_logprobs).exp()`; outside of the answer put 0 for the difference "
        "first, `masked_fill(mask == 0, 0.0)`.",
        "`torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)`: at each token the worse of the two.",
        "The mean is over the tokens of the answer, `(x * mask).sum() / mask.sum()`; a loss has a minus in front.",
    ],
)


def _loss(
    logprobs,
    old_logprobs,
    advantages,
    mask,
    clip,
    ratio=lambda new, old: (new - old).exp(),
    low=lambda clip: 1 - clip,
    high=lambda clip: 1 + clip,
    worse=torch.minimum,
    mean=lambda x, mask: (x * mask).sum() / mask.sum(),
):
    of_policy = ratio(logprobs, old_logprobs)
    clipped = of_policy.clamp(low(clip), high(clip))
    return -mean(worse(of_policy * advantages, clipped * advantages), mask)


for _sentence, _wrong in {
    "The minus is missing: an optimizer minimizes, so the policy would learn to do worse.": {
        "mean": lambda x, mask: -(x * mask).sum() / mask.sum()
    },
    "The maximum is taken; it is the minimum, or the loss rewards going ever further.": {"worse": torch.maximum},
    "Nothing is clipped: that is the plain policy gradient with a ratio.": {"worse": lambda plain, clipped: plain},
    "Only the clipped term is used. Then a token that went the wrong way too far has no gradient to come back; the "
    "minimum keeps it.": {"worse": lambda plain, clipped: clipped},
    "The mask is forgotten: padding counts.": {"mean": lambda x, mask: x.mean()},
    "Divided by all places instead of the places of the answer.": {"mean": lambda x, mask: (x * mask).mean()},
    "The rows are averaged one by one; the mean is over all tokens of the answers.": {
        "mean": lambda x, mask: ((x * mask).sum(1) / mask.sum(1)).mean()
    },
    "That is the sum; the mean over the answer's tokens is wanted.": {"mean": lambda x, mask: (x * mask).sum()},
    "The ratio is upside down: new over old.": {"ratio": lambda new, old: (old - new).exp()},
    "The difference of logarithms is used for the ratio; `exp` is missing.": {"ratio": lambda new, old: new - old},
    "Clipped from above only: it is 1 - clip to 1 + clip.": {"low": lambda clip: None},
    "Clipped from below only: it is 1 - clip to 1 + clip.": {"high": lambda clip: None},
    "Clipped to plus or minus clip; the ratio is near 1: 1 - clip to 1 + clip.": {
        "low": lambda clip: -clip,
        "high": lambda clip: clip,
    },
}.items():
    loss.bug(_sentence)(partial(_loss, **_wrong))


@loss.bug(
    "The difference of the logarithms is clipped, and not the ratio: 1 - clip to 1 + clip are bounds of the ratio."
)
def loss_of_clipped_logs(logprobs, old_logprobs, advantages, mask, clip):
    change = logprobs - old_logprobs
    worse = torch.minimum(change.exp() * advantages, change.clamp(-clip, clip).exp() * advantages)
    return -masked_mean(worse, mask)


@loss.bug(_INFINITE)
def loss_by_product_with_mask(logprobs, old_logprobs, advantages, mask, clip):
    return _loss(logprobs, old_logprobs, advantages, mask, clip)


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
    def slope(function: Callable[..., Tensor], case: Case) -> Tensor | None:
        leaf = case.args[0].clone().requires_grad_()
        value = function(leaf, *case.args[1:])
        return torch.autograd.grad(value.sum(), leaf)[0] if value.requires_grad else None

    found = slope(candidate, loss.cases[0])
    expect.that(found is not None, "No gradient flows to `logprobs`. Is there a `.detach()` or `no_grad`?")
    expect.close(
        found,
        slope(loss.reference, loss.cases[0]),
        "The value is right, its gradient is not. Gradients flow through the new log-probabilities alone, and not where the "
        "clip holds.",
        rtol=1e-3,
        atol=1e-5,
    )
    new, old, advantages, mask, clip = loss.cases[0].args
    far = [x.masked_fill(mask == 0, fill) for x, fill in ((new, 0.0), (old, -1000.0), (advantages, -1.0))]
    case = Case(*far, mask, clip)
    value = case.call(candidate)
    expect.that(not value.isnan().any(), _INFINITE, yours=value)
    expect.close(value, case.call(loss.reference), "Where the mask is 0 the ratio may be too large for a float.")
    expect.that(
        bool(slope(candidate, case).isfinite().all()),
        "The loss is right, but its gradient is NaN where the ratio outside of the answer is infinite: 0 times its slope is "
        "NaN. Select the tokens before `exp`, not after it.",
    )


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The estimator (r - 1) - log r with r = p_ref / p, at each sampled token, in nats."""
    log_r = ref_logprobs - logprobs
    return torch.expm1(log_r) - log_r  # expm1(x) is exp(x) - 1 without the rounding near 0


def _k3_cases() -> list[Case]:
    new = torch.tensor([[-1.0, -2.0, -0.5], [-3.0, -1.0, -1.0]])
    ref = torch.tensor([[-1.5, -1.0, -0.5], [-1.0, -1.25, -2.0]])
    far = new + torch.tensor([[8.0, -8.0, 20.0], [-20.0, 40.0, -60.0]])
    unlikely = (
        "The probabilities of unlikely tokens round to 0, and 0 / 0 is no number: subtract the logarithms instead."
    )
    return [Case(new, ref), Case(new.T, ref.T), Case(new - 120, ref - 120, message=unlikely), Case(new, far)]


k3 = Exercise(
    "12.5",
    title="An estimate of KL that is never negative",
    reference=kl_k3,
    cases=_k3_cases,
    general="Not (r - 1) - log r with r = p_ref / p.",
    difficulty=2,
    minutes=6,
    points=2,
    asked="your KL is negative. Is that possible? Which estimator would you use?",
    hints=[
        "`log_ratio = ref_logprobs - logprobs` is log r: the reference stands above.",
        "`r - 1 - log r` with `r = log_ratio.exp()`.",
    ],
)


for _sentence, _wrong in {  # functions of log r
    "r is upside down: it is the reference's probability over the policy's, as the samples come from the policy.": (
        lambda x: (-x).exp() - 1 + x
    ),
    "That is k1, the plain log ratio: right on average, but negative at many tokens.": lambda x: -x,
    "That is k1 without its sign: never negative, but not right on average.": lambda x: x.abs(),
    "That is k2, half the square: never negative, but not right on average.": lambda x: x.square() / 2,
    "The 1 is missing: equal probabilities must give 0.": lambda x: x.exp() - x,
    "The sign of log r is turned.": lambda x: x.exp() - 1 + x,
    "The minus log r is missing.": lambda x: x.exp() - 1,
    "That is the mean over the tokens; one value for each of them is wanted.": lambda x: (x.exp() - 1 - x).mean(),
}.items():
    k3.bug(_sentence)(lambda logprobs, ref_logprobs, _wrong=_wrong: _wrong(ref_logprobs - logprobs))


@k3.bug("The log ratio is clamped: where the two models differ widely the value is too small.")
def k3_clamped(logprobs, ref_logprobs):
    return kl_k3((logprobs - ref_logprobs).clamp(-10, 10), torch.zeros_like(logprobs))


@k3.bug("The log ratio is clamped: where the two models differ widely the value is too small.")
def k3_clamped_to_five(logprobs, ref_logprobs):
    return kl_k3((logprobs - ref_logprobs).clamp(-5, 5), torch.zeros_like(logprobs))


@k3.bug("The probabilities of unlikely tokens round to 0, and 0 / 0 is no number: subtract the logarithms instead.")
def k3_of_probabilities(logprobs, ref_logprobs):
    r = ref_logprobs.exp() / logprobs.exp()
    return (r - 1) - r.log()
