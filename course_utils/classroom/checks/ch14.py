"""Checks of chapter 14: a verifier, advantages among siblings, GRPO's loss, the ratio of a sequence, and pass@k."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from math import comb
from numbers import Real

import torch
from torch import Tensor

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect

# 14.1 a verifier ------------------------------------------------------------------------------------------------------


def check_sum(completion: str, value: str) -> float:
    """1.0 if the one whole number after the last "=", or of an answer without "=", is ``value``; else 0.0."""
    found = re.findall(r"-?\d+", completion.rsplit("=", 1)[-1])
    if len(found) != 1 or len(found[0]) > 15:  # a longer number is nonsense, and Python's int() refuses a very long one
        return 0.0
    return float(int(found[0]) == int(value))


_TWO = "Two results are offered, and one is right: whoever offers two has not decided, so that is 0.0."
_LONG = "A number of ten thousand digits raises an error, and the run ends: `int` refuses it. Look at its length first."

verifier = Exercise(
    "14.1",
    title="A verifier",
    reference=check_sum,
    cases=[
        Case("23+48=71, 71+17=88.", "88"),
        Case("23+48=71, 71+17=98.", "88"),
        Case("23+48=71, 71+17=88.", "71", message="A number on the way is taken for the result."),
        Case("23+48=88, 71+17=98.", "88", message="A number on the way is taken for the result."),
        Case("88.", "88", message="Without any = the one number of the answer is its result."),
        Case("71+17=188.", "88", message="188 is not 88: compare numbers, not endings."),
        Case("71+17=880.", "88", message="880 is not 88: compare numbers, not beginnings."),
        Case("23+48=71, 71+17=", "17", message="The answer breaks off after the last =, so it has no result: 0.0."),
        Case("I do not know.", "88", message="An answer without a number is worth 0.0, and must not raise an error."),
        Case("", "88", message="An empty answer is worth 0.0, and must not raise an error."),
        Case("71+17=88 or 98.", "88", message=_TWO),
        Case("71+17=98 or 88.", "88", message=_TWO),
        Case("87 88 89", "88", message=_TWO),
        Case("71+17=088.", "88", message="088 is the number 88."),
        Case("9-97=-88.", "88", message="-88 is not 88: the minus belongs to the number."),
        Case("9-97=-88.", "-88", message="The minus belongs to the number: -88 is -88."),
        Case("71+17=" + "8" * 10_000 + ".", "88", note="71+17= and ten thousand times the digit 8", message=_LONG),
        Case("71+17=(88)", "88", message="Signs around the number do not matter."),
    ],
    general="Not 1.0 where the one number after the last = is the value, else 0.0.",
    difficulty=2,
    minutes=9,
    points=2,
    asked="design a reward that a program can check; how will it be cheated?",
    hints=[
        'What comes after the last "=" is `completion.rsplit("=", 1)[-1]`; without one that is the whole answer.',
        r'`re.findall(r"-?\d+", text)` finds whole numbers. Ask how many there are before you compare.',
        "Compare `int(found[0]) == int(value)`, but only if there is exactly one and it has few digits; return a float.",
    ],
)


def _numbers(text: str) -> list[str]:
    return re.findall(r"-?\d+", text)


def _short(found: list[str]) -> bool:
    return len(found) == 1 and len(found[0]) <= 15


@verifier.bug("The value may stand anywhere in your verifier; a number on the way would be paid, and soon written.")
def verifier_by_substring(completion, value):
    return float(value in completion)


@verifier.bug("The value is sought among all numbers; only the result counts, or listing many numbers would pay.")
def verifier_among_all(completion, value):
    return float(value in _numbers(completion))


@verifier.bug("The last number is taken even where several are offered after the last =.")
def verifier_last_number(completion, value):
    found = _numbers(completion.rsplit("=", 1)[-1])
    return float(bool(found) and len(found[-1]) <= 15 and int(found[-1]) == int(value))


@verifier.bug("The first number is taken even where several are offered after the last =.")
def verifier_first_number(completion, value):
    found = _numbers(completion.rsplit("=", 1)[-1])
    return float(bool(found) and len(found[0]) <= 15 and int(found[0]) == int(value))


@verifier.bug("The number after the first = is taken; the result comes after the last one.")
def verifier_first_sign(completion, value):
    found = _numbers(completion.split("=")[min(1, completion.count("="))].split(",")[0])
    return float(_short(found) and int(found[0]) == int(value))


@verifier.bug("The last number of the whole answer is taken, also where nothing comes after the last =.")
def verifier_last_of_all(completion, value):
    found = _numbers(completion)
    return float(bool(found) and len(found[-1]) <= 15 and int(found[-1]) == int(value))


@verifier.bug("That is True or False; a reward is a number: `float(...)`.")
def verifier_bool(completion, value):
    return check_sum(completion, value) == 1


@verifier.bug("Texts are compared; 088 is the number 88: compare `int(...)`.")
def verifier_of_texts(completion, value):
    return float(_numbers(completion.rsplit("=", 1)[-1]) == [value])


@verifier.bug("The minus is lost: -88 is not 88.")
def verifier_without_minus(completion, value):
    found = re.findall(r"\d+", completion.rsplit("=", 1)[-1])
    return float(_short(found) and int(found[0]) == abs(int(value)))


@verifier.bug("An answer without = is always worth 0.0 in yours; its one number is its result.")
def verifier_wants_a_sign(completion, value):
    return check_sum(completion, value) if "=" in completion else 0.0


@verifier.bug("A wrong answer is worth -1 in yours; 0.0 is wanted.")
def verifier_minus_one(completion, value):
    return check_sum(completion, value) or -1.0


# 14.2 advantages ------------------------------------------------------------------------------------------------------


def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    """(prompts x group,): score minus mean of its group, with ``divide`` over std + eps; exactly 0 in a tied group."""
    grouped = scores.view(-1, group)
    better = grouped - grouped.mean(1, keepdim=True)
    if divide:
        better = better / (grouped.std(1, keepdim=True) + eps)
    tied = (grouped == grouped[:, :1]).all(1, keepdim=True)
    return better.masked_fill(tied, 0.0).flatten()


_TIED = (
    "All scores of this group are equal, so every advantage must be exactly 0. The mean of eight times 0.1 is off by a "
    "rounding, and divided by a standard deviation of nearly 0 that becomes a gradient out of nothing."
)


def _advantage_cases() -> list[Case]:
    scores = torch.tensor([1.0, 0, 0, 0, 1, 1, 0, 1])
    spread = torch.tensor([3.0, -1, 0.5, 2, 10, 11, 12, 14, -2, -2, -1, -2])
    return [
        Case(scores, 4, False),
        Case(scores, 4, True),
        Case(spread, 4, True, 0.25, message="Right for eps = 0.0001 alone: is `eps` used?"),
        Case(spread, 6, False),
        Case(spread, 2, True, 0.25),
        Case(torch.full((8,), 0.1), 8, True, message=_TIED),
        Case(torch.cat([torch.full((7,), 0.7), scores[:7]]), 7, False, message=_TIED),
        Case(torch.tensor([0.5, 0.501953125, 0.5, 0.5]), 4, True, message="These scores differ, if only a little."),
    ]


siblings = Exercise(
    "14.2",
    title="Better than its siblings",
    reference=sibling_advantages,
    cases=_advantage_cases,
    general="Not the score minus the mean of its group, divided by its standard deviation where that is asked for.",
    rtol=1e-4,
    atol=1e-9,
    difficulty=2,
    minutes=8,
    points=2,
    asked="write GRPO's advantage; what happens in a group whose answers are all right?",
    hints=[
        "`grouped = scores.view(-1, group)` has a row for each prompt; `mean(1, keepdim=True)` is its mean.",
        "torch's `std` divides by group - 1, as is wanted; `eps` is added to it, not to the variance.",
        "A group is tied where `(grouped == grouped[:, :1]).all(1, keepdim=True)`; put 0 there with `masked_fill`.",
    ],
)


def _advantages(
    scores,
    group,
    divide,
    eps=1e-4,
    rows=lambda scores, group: scores.view(-1, group),
    back=lambda better: better.flatten(),
    center=lambda grouped: grouped.mean(1, keepdim=True),
    spread=lambda grouped, eps: grouped.std(1, keepdim=True) + eps,
    tied=lambda grouped: (grouped == grouped[:, :1]).all(1, keepdim=True),
):
    grouped = rows(scores, group)
    better = grouped - center(grouped)
    better = better / spread(grouped, eps) if divide else better
    return back(better.masked_fill(tied(grouped), 0.0))


for _sentence, _wrong in {
    "The mean of all scores is subtracted; each prompt has a mean of its own.": {"center": lambda g: g.mean()},
    "The answers to one prompt stand side by side: `scores.view(-1, group)`, not `view(group, -1)`.": {
        "rows": lambda scores, group: scores.view(group, -1).T,
        "back": lambda better: better.T.flatten(),
    },
    "Divided by the standard deviation of all scores; each group has its own.": {
        "spread": lambda g, eps: g.std() + eps
    },
    "The standard deviation has `group` below; torch's own, with group - 1, is wanted.": {
        "spread": lambda g, eps: g.std(1, keepdim=True, correction=0) + eps
    },
    "Divided by the variance, not by the standard deviation.": {"spread": lambda g, eps: g.var(1, keepdim=True) + eps},
    "`eps` stands under the root; it is added to the standard deviation.": {
        "spread": lambda g, eps: (g.var(1, keepdim=True) + eps).sqrt()
    },
    "`eps` is missing beside the standard deviation.": {"spread": lambda g, eps: g.std(1, keepdim=True)},
    "The mean is that of the *other* answers, as in RLOO; GRPO's has the answer itself in it.": {
        "center": lambda g: (g.sum(1, keepdim=True) - g) / (g.shape[1] - 1)
    },
    "Nothing is subtracted: these are the scores, not what is better than expected.": {"center": lambda g: 0.0},
    _TIED: {"tied": lambda g: torch.zeros_like(g[:, :1], dtype=torch.bool)},
    "These scores differ, if only a little: a group is tied where they are equal, not where they are close.": {
        "tied": lambda g: (g.std(1, keepdim=True) < 1e-3) | (g == g[:, :1]).all(1, keepdim=True)
    },
    "One row for each prompt is returned; one flat tensor is wanted, like the scores.": {"back": lambda better: better},
}.items():
    siblings.bug(_sentence)(partial(_advantages, **_wrong))


@siblings.bug("Always divided; with divide=False the difference alone is wanted.")
def advantages_always_divided(scores, group, divide, eps=1e-4):
    return _advantages(scores, group, True, eps)


@siblings.bug("Never divided; with divide=True the standard deviation of the group stands below.")
def advantages_never_divided(scores, group, divide, eps=1e-4):
    return _advantages(scores, group, False, eps)


# 14.3 the loss --------------------------------------------------------------------------------------------------------


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip_low: float,
    clip_high: float,
    average: str,
    room: int,
) -> Tensor:
    """The clipped loss with an advantage for each answer, averaged over "answer", "token" or "constant"."""
    ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0).exp()
    better = advantages[:, None]
    gain = torch.minimum(ratio * better, ratio.clamp(1 - clip_low, 1 + clip_high) * better) * mask
    if average == "token":
        return -gain.sum() / mask.sum()
    if average == "constant":
        return -gain.sum() / (len(mask) * room)
    return -(gain.sum(1) / mask.sum(1).clamp(min=1)).mean()


def _loss_cases() -> list[Case]:
    old = torch.tensor([[-1.0, -2, -1.5, -0.5], [-1, -1, -2, -1], [-0.5, -1, -1, -3]])
    ratio = torch.tensor([[1.5, 0.5, 1.1, 3.0], [1.6, 0.4, 0.9, 1.0], [1.25, 0.75, 1.05, 0.2]])
    mask = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    better, new = torch.tensor([1.5, -1.0, 0.5]), old + ratio.log()
    cut = mask.clone()
    cut[1] = 0
    apart = "Right for clip_low = clip_high alone: below is 1 - clip_low, above 1 + clip_high."
    room = "Right for one `room` alone: the sum is divided by answers times `room`."
    return [
        Case(new, old, better, mask, 0.2, 0.2, "token", 8),
        Case(new, old, better, mask, 0.2, 0.2, "answer", 8),
        Case(new, old, better, mask, 0.2, 0.2, "constant", 8),
        Case(new, old, better, mask, 0.15, 0.4, "token", 8, message=apart),
        Case(new, old, better, mask.flip(1), 0.1, 0.4, "answer", 8),  # the prompt stands before the answer
        Case(new, old, better, mask, 0.1, 0.4, "constant", 5, message=room),
        Case(new, old, better, cut, 0.2, 0.3, "answer", 8, message=_EMPTY),
        Case(new, old, better, cut, 0.2, 0.3, "constant", 8, message=_EMPTY),
    ]


_EMPTY = (
    "An answer without a token (it was cut, and nothing shall be learned from it) adds 0 and still counts as an answer; "
    "0 / 0 is no number."
)
_INFINITE = "NaN: where the mask is 0 the ratio is infinite, and infinite * 0 is NaN. Select the tokens before `exp`."

loss = Exercise(
    "14.3",
    title="GRPO's loss, with three averages",
    reference=grpo_loss,
    cases=_loss_cases,
    general="Not minus min(ratio A, clip(ratio) A), averaged as asked.",
    rtol=1e-4,
    atol=1e-6,
    difficulty=3,
    minutes=12,
    points=3,
    asked="write GRPO's loss; what do Dr. GRPO and DAPO change in it?",
    hints=[
        "As in PPO: `ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0).exp()`, and `torch.minimum` of ratio times "
        "advantage and of clipped ratio times advantage; the advantage of an answer stands at each of its tokens: "
        "`advantages[:, None]`.",
        '"token": the sum over all tokens by `mask.sum()`. "answer": each row by its own length first, then the mean of the '
        'rows. "constant": the sum by `len(mask) * room`.',
        "A row without tokens would be 0 / 0: `mask.sum(1).clamp(min=1)`.",
    ],
)


def _loss(
    logprobs,
    old_logprobs,
    advantages,
    mask,
    clip_low,
    clip_high,
    average,
    room,
    ratio=lambda new, old: (new - old).exp(),
    clip=lambda ratio, low, high: ratio.clamp(1 - low, 1 + high),
    worse=torch.minimum,
    better=lambda advantages, mask: advantages[:, None],
    sign=-1,
    token=lambda gain, mask, room: gain.sum() / mask.sum(),
    answer=lambda gain, mask, room: (gain.sum(1) / mask.sum(1).clamp(min=1)).mean(),
    constant=lambda gain, mask, room: gain.sum() / (len(mask) * room),
):
    of_policy = ratio(logprobs, old_logprobs)
    each = better(advantages, mask)
    gain = worse(of_policy * each, clip(of_policy, clip_low, clip_high) * each) * mask
    return sign * {"token": token, "answer": answer, "constant": constant}[average](gain, mask, room)


def _token(gain, mask, room):
    return gain.sum() / mask.sum()


def _answer(gain, mask, room):
    return (gain.sum(1) / mask.sum(1).clamp(min=1)).mean()


for _sentence, _wrong in {
    "The minus is missing: an optimizer minimizes, so the policy would learn to do worse.": {"sign": 1},
    "The maximum is taken; it is the minimum, or the loss rewards going ever further.": {"worse": torch.maximum},
    "Nothing is clipped: that is the plain policy gradient with a ratio.": {"worse": lambda plain, clipped: plain},
    "Only the clipped term is used. Then a token that went the wrong way too far has no gradient to come back.": {
        "worse": lambda plain, clipped: clipped
    },
    "The ratio is upside down: new over old.": {"ratio": lambda new, old: (old - new).exp()},
    "The difference of logarithms is used for the ratio; `exp` is missing.": {"ratio": lambda new, old: new - old},
    "The two bounds are exchanged: below is 1 - clip_low, above 1 + clip_high.": {
        "clip": lambda ratio, low, high: ratio.clamp(1 - high, 1 + low)
    },
    "clip_low is used on both sides; above it is 1 + clip_high.": {
        "clip": lambda ratio, low, high: ratio.clamp(1 - low, 1 + low)
    },
    "clip_high is used on both sides; below it is 1 - clip_low.": {
        "clip": lambda ratio, low, high: ratio.clamp(1 - high, 1 + high)
    },
    "The ratio has no bound above; it is 1 + clip_high.": {"clip": lambda ratio, low, high: ratio.clamp(min=1 - low)},
    "The ratio has no bound below; it is 1 - clip_low.": {"clip": lambda ratio, low, high: ratio.clamp(max=1 + high)},
    'The average "token" is the mean over all places; only tokens of answers count.': {
        "token": lambda gain, mask, room: gain.mean()
    },
    'The average "token" is computed as "answer": a token of a long answer would weigh less.': {"token": _answer},
    'The average "answer" is computed as "token": each answer has to be averaged by itself first.': {"answer": _token},
    'The average "answer" divides each row by its width, padding and prompt included.': {
        "answer": lambda gain, mask, room: gain.mean(1).mean()
    },
    'The average "answer" is the sum of the rows; it is their mean.': {
        "answer": lambda gain, mask, room: (gain.sum(1) / mask.sum(1).clamp(min=1)).sum()
    },
    'The average "constant" divides by `room` alone; it is answers times `room`.': {
        "constant": lambda gain, mask, room: gain.sum() / room
    },
    'The average "constant" divides by the number of answers alone; it is answers times `room`.': {
        "constant": lambda gain, mask, room: gain.sum() / len(mask)
    },
    'The average "constant" divides by the width of the batch, which changes from batch to batch; it is `room`.': {
        "constant": lambda gain, mask, room: gain.sum() / mask.numel()
    },
    'The average "constant" is computed as "token": the number of tokens changes from batch to batch, `room` does not.': {
        "constant": _token
    },
    _EMPTY: {"answer": lambda gain, mask, room: (gain.sum(1) / mask.sum(1)).mean()},
    "An answer without a token is left out of the mean over the answers; it adds 0 and counts as one.": {
        "answer": lambda gain, mask, room: (gain.sum(1) / mask.sum(1).clamp(min=1)).sum() / mask.any(1).sum()
    },
    "An answer without a token is left out of the count of answers; it counts as one.": {
        "constant": lambda gain, mask, room: gain.sum() / (mask.any(1).sum() * room)
    },
}.items():
    loss.bug(_sentence)(partial(_loss, **_wrong))


@loss.bug("The difference of the logarithms is clipped, and not the ratio: the bounds are bounds of the ratio.")
def loss_of_clipped_logs(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room):
    def clip(ratio, low, high):
        return ratio.log().clamp(-low, high).exp()

    return _loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room, clip=clip)


@loss.bug(_INFINITE)
def loss_by_product_with_mask(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room):
    return _loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room)


@loss.first
def loss_is_a_scalar_tensor(candidate: Callable[..., Tensor]) -> None:
    value = loss.cases[0].call(candidate)
    if isinstance(value, Real) and not isinstance(value, bool):
        raise Mistake("A plain number cannot be differentiated; return a tensor.", yours=value)
    expect.kind(value, Tensor)
    expect.that(value.numel() == 1, "One number is wanted, averaged over tokens and answers.", yours=value)


@loss.also
def loss_has_the_right_gradient(candidate: Callable[..., Tensor]) -> None:
    def slope(function: Callable[..., Tensor], case: Case) -> Tensor | None:
        leaf = case.args[0].clone().requires_grad_()
        value = function(leaf, *case.args[1:])
        return torch.autograd.grad(value.sum(), leaf)[0] if value.requires_grad else None

    for case in loss.cases[:3]:
        found = slope(candidate, case)
        expect.that(found is not None, "No gradient flows to `logprobs`. Is there a `.detach()` or `no_grad`?")
        expect.close(
            found,
            slope(loss.reference, case),
            "The value is right, its gradient is not. Gradients flow through the new log-probabilities alone, and not where "
            "the clip holds.",
            rtol=1e-3,
            atol=1e-5,
        )
    new, old, better, mask, *rest = loss.cases[1].args
    far = Case(new.masked_fill(mask == 0, 0.0), old.masked_fill(mask == 0, -1000.0), -better.abs(), mask, *rest)
    value = far.call(candidate)
    expect.that(not value.isnan().any(), _INFINITE, yours=value)
    expect.close(value, far.call(loss.reference), "Where the mask is 0 the ratio may be too large for a float.")
    expect.that(
        bool(slope(candidate, far).isfinite().all()),
        "The loss is right, but its gradient is NaN where the ratio outside of the answer is infinite: 0 times its slope is "
        "NaN. Select the tokens before `exp`, not after it.",
    )


# 14.4 the ratio of a sequence -----------------------------------------------------------------------------------------


def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """(batch,): the geometric mean of p / p_old over the tokens of each answer; 1 for an answer without tokens."""
    change = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0)
    return (change.sum(1) / mask.sum(1).clamp(min=1)).exp()


def _ratio_cases() -> list[Case]:
    old = torch.tensor([[-1.0, -2, -1.5, -0.5], [-1, -1, -2, -1], [-0.5, -1, -1, -3]])
    ratio = torch.tensor([[1.5, 0.5, 1.1, 3.0], [1.6, 0.4, 0.9, 1.0], [1.25, 0.75, 1.05, 0.2]])
    mask = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    empty = mask.clone()
    empty[1] = 0
    long, low = torch.full((2, 400), -2.0), torch.full((2, 400), -1.0)
    overflow = "The product of hundreds of ratios is too large, or too small, for a float: add logarithms instead."
    return [
        Case(old + ratio.log(), old, mask),
        Case(old + ratio.log(), old, mask.flip(1)),
        Case(old + ratio.log(), old, empty, message="An answer without a token has the ratio 1; 0 / 0 is no number."),
        Case(low, long, torch.ones(2, 400), note="400 tokens, each e times as likely as before", message=overflow),
        Case(long, low, torch.ones(2, 400), note="400 tokens, each e times less likely than before", message=overflow),
        Case(
            (old + ratio.log()).masked_fill(mask == 0, torch.inf),
            old,
            mask,
            message="Where the mask is 0 anything may stand, and infinite * 0 is NaN: choose with `masked_fill`.",
        ),
    ]


sequence = Exercise(
    "14.4",
    title="One ratio for an answer",
    reference=sequence_ratio,
    cases=_ratio_cases,
    general="Not exp of the mean of log p - log p_old over the tokens of each answer.",
    rtol=1e-4,
    atol=1e-7,
    difficulty=2,
    minutes=6,
    points=2,
    asked="how does GSPO's ratio differ from GRPO's, and why is it not the plain product?",
    hints=[
        "A geometric mean is the exponential of the mean of the logarithms: no product is needed.",
        "`change = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0)`, then `change.sum(1)` by the number of tokens of each "
        "row, at least 1.",
        "`.exp()` comes last.",
    ],
)

for _sentence, _wrong in {  # of log p - log p_old, 0 outside of the answer, and the mask
    "That is the product of the ratios; it grows with the length. The mean of the logarithms is wanted.": (
        lambda change, mask: change.sum(1).exp()
    ),
    "That is the arithmetic mean of the ratios; GSPO takes the geometric one.": (
        lambda change, mask: (change.exp() * mask).sum(1) / mask.sum(1).clamp(min=1)
    ),
    "`exp` is missing: that is the mean of the logarithms.": (
        lambda change, mask: change.sum(1) / mask.sum(1).clamp(min=1)
    ),
    "The ratio is upside down: new over old.": (lambda change, mask: (-change.sum(1) / mask.sum(1).clamp(min=1)).exp()),
    "Divided by all places of the row; only tokens of the answer count.": lambda change, mask: change.mean(1).exp(),
    "One number for the whole batch; each answer has a ratio of its own.": (
        lambda change, mask: (change.sum() / mask.sum()).exp()
    ),
    "One number for each token; each answer has one ratio.": lambda change, mask: change.exp(),
    "That is the shape (batch, 1); (batch,) is wanted.": (
        lambda change, mask: (change.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)).exp()
    ),
    "An answer without a token has the ratio 1; 0 / 0 is no number.": (
        lambda change, mask: (change.sum(1) / mask.sum(1)).exp()
    ),
    "The root is taken of the product, which is too large, or too small, for a float: add logarithms instead.": (
        lambda change, mask: change.exp().prod(1) ** (1 / mask.sum(1).clamp(min=1))
    ),
}.items():
    sequence.bug(_sentence)(
        lambda logprobs, old_logprobs, mask, _wrong=_wrong: _wrong(
            (logprobs - old_logprobs).masked_fill(mask == 0, 0.0), mask
        )
    )


@sequence.bug("The mask is forgotten: prompt and padding count.")
def ratio_without_mask(logprobs, old_logprobs, mask):
    return (logprobs - old_logprobs).mean(1).exp()


@sequence.bug("The mask is forgotten above the line: prompt and padding are added up.")
def ratio_half_masked(logprobs, old_logprobs, mask):
    return ((logprobs - old_logprobs).sum(1) / mask.sum(1).clamp(min=1)).exp()


@sequence.bug("Where the mask is 0 anything may stand, and infinite * 0 is NaN: choose with `masked_fill`.")
def ratio_by_product_with_mask(logprobs, old_logprobs, mask):
    return (((logprobs - old_logprobs) * mask).sum(1) / mask.sum(1).clamp(min=1)).exp()


@sequence.also
def ratio_has_a_gradient(candidate: Callable[..., Tensor]) -> None:
    new, old, mask = (x.clone() for x in sequence.cases[0].args)
    slopes = []
    for function in (candidate, sequence.reference):
        leaf = new.clone().requires_grad_()
        value = function(leaf, old, mask)
        expect.that(value.requires_grad, "No gradient flows to `logprobs`. Is there a `.detach()` or `no_grad`?")
        slopes.append(torch.autograd.grad(value.sum(), leaf)[0])
    expect.close(slopes[0], slopes[1], "The value is right, its gradient is not.", rtol=1e-3, atol=1e-6)


# 14.5 pass@k ----------------------------------------------------------------------------------------------------------

_HUGE = (
    "Numbers of this size do not fit into a float; multiply the factors 1 - k / i instead, or stay with whole numbers."
)

pass_k = Exercise(
    "14.5",
    title="Unbiased pass@k",
    reference="course_utils.evaluation.repeated_draws:pass_at_k",
    cases=[
        Case(4, 2, 1),
        Case(4, 2, 2),
        Case(10, 3, 4),
        Case(10, 0, 4, message="None is right: 0."),
        Case(10, 10, 4, message="All are right: 1."),
        Case(10, 7, 4, message="Fewer than k are wrong, so one of k is always right: 1."),
        Case(5, 1, 5, message="All n are taken, and one is right: 1."),
        Case(4000, 3, 1300, message=_HUGE),
    ],
    general="Not the chance that of k answers, drawn without return from n, at least one is among the c right ones.",
    rtol=1e-6,
    atol=1e-12,
    difficulty=2,
    minutes=8,
    points=2,
    asked="write the unbiased estimator of pass@k; why not 1 - (1 - c/n)^k?",
    hints=[
        "It is 1 minus the chance that all k are wrong. In how many ways can k be chosen from n, and in how many from the n - c "
        "wrong ones?",
        "`1 - comb(n - c, k) / comb(n, k)`, with `math.comb`; Python divides whole numbers of any size. With floats multiply "
        "`1 - k / i` over i from n - c + 1 to n.",
        "Where fewer than k are wrong the result is 1.",
    ],
)

for _sentence, _wrong in {
    "That is drawing *with* return, and too low on average: 1 - (1 - c/n) ** k.": lambda n, c, k: 1 - (1 - c / n) ** k,
    "That is pass@1, the share that is right: k is not used.": lambda n, c, k: c / n,
    "That is k times the share that is right: chances of things that can happen together do not add up.": (
        lambda n, c, k: min(1.0, k * c / n)
    ),
    "That is the chance that all k are wrong; 1 minus it is wanted.": lambda n, c, k: comb(n - c, k) / comb(n, k),
    "That is the chance that all k are right; one is enough.": lambda n, c, k: comb(c, k) / comb(n, k),
    "The right ones are counted below; of the k chosen none must be among them: comb(n - c, k).": (
        lambda n, c, k: 1 - comb(c, k) / comb(n, k)
    ),
    "One factor too few: i runs from n - c + 1 to n, n included.": (
        lambda n, c, k: 1 - _product(1 - k / i for i in range(n - c + 1, n))
    ),
    "One factor too many: i runs from n - c + 1 to n.": (
        lambda n, c, k: 1 - _product(1 - k / i for i in range(max(1, n - c), n + 1))
    ),
}.items():
    pass_k.bug(_sentence)(_wrong)


def _product(factors) -> float:
    result = 1.0
    for factor in factors:
        result *= factor
    return result


@pass_k.bug(_HUGE)
def pass_with_float_factorials(n, c, k):
    if n - c < k:
        return 1.0
    ways = [1.0, 1.0]
    for i in range(k):
        ways[0] *= (n - c - i) / (i + 1)
        ways[1] *= (n - i) / (i + 1)
    return 1 - ways[0] / ways[1]
