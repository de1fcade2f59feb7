"""Checks of chapter 13: an answer's log-probability, the best policy under a KL penalty, DPO's loss, pairs from samples, SimPO."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect


def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    """log p(answer | prompt) of each row in nats, (rows,): its tokens from ``prompt_lengths`` up to ``lengths``."""
    logprobs = logits[:, :-1].log_softmax(-1)  # the logits at place t are about the token at t + 1
    said = logprobs.gather(2, input_ids[:, 1:, None])[:, :, 0]
    places = torch.arange(1, input_ids.shape[1], device=input_ids.device)
    inside = (places >= prompt_lengths[:, None]) & (places < lengths[:, None])
    return said.masked_fill(~inside, 0.0).sum(1)


_UNDERFLOW = (
    "The probability of an unlikely token rounds to 0, and its logarithm is minus infinity: take `log_softmax`."
)


def _logit_cases() -> list[Case]:
    draw = torch.Generator().manual_seed(13)
    logits = 2 * torch.randn(3, 6, 5, generator=draw)
    ids = torch.tensor([[1, 3, 4, 2, 0, 0], [1, 2, 2, 4, 3, 1], [1, 4, 0, 3, 2, 0]])
    starts, ends = torch.tensor([2, 3, 1]), torch.tensor([4, 6, 5])
    return [
        Case(logits, ids, starts, ends),
        Case(logits[1:2], ids[1:2], starts[1:2], ends[1:2]),
        Case(logits, ids, ends - 1, ends, message="Wrong for an answer of one token."),
        Case(logits.transpose(0, 1).contiguous().transpose(0, 1), ids, torch.tensor([1, 1, 1]), ends),
        Case(200 * logits, ids, starts, ends, message=_UNDERFLOW),
    ]


logprobs = Exercise(
    "13.1",
    title="How likely is an answer?",
    reference=answer_logprobs,
    cases=_logit_cases,
    general="Not the sum of the log-probabilities of the answer's tokens, its end token included.",
    rtol=1e-4,
    atol=1e-4,
    difficulty=3,
    minutes=10,
    points=3,
    asked="write the log-probability of a completion under a language model",
    hints=[
        "The logits at place t predict the token at t + 1: `logits[:, :-1]` go with `input_ids[:, 1:]`.",
        "`logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[:, :, 0]` are the log-probabilities of what stands "
        "there, prompt and padding included.",
        "Number the places 1, 2, ... that are predicted. Those of the answer are `places >= prompt_lengths[:, None]` and `places "
        "< lengths[:, None]`; set the others to 0 with `masked_fill` and add up.",
    ],
)


def _logprobs(
    logits: Tensor,
    input_ids: Tensor,
    prompt_lengths: Tensor,
    lengths: Tensor,
    norm: Callable[[Tensor], Tensor] = lambda x: x.log_softmax(-1),
    first: int = 0,
    last: int = 0,
    prompt: bool = False,
    padding: bool = False,
    shift: bool = True,
    finish: Callable[[Tensor, Tensor], Tensor] = lambda said, inside: (said * inside).sum(1),
) -> Tensor:
    """The right answer with one thing changed."""
    if shift:
        said = norm(logits[:, :-1]).gather(2, input_ids[:, 1:, None])[:, :, 0]
        places = torch.arange(1, input_ids.shape[1])
    else:
        said = norm(logits).gather(2, input_ids[:, :, None])[:, :, 0]
        places = torch.arange(input_ids.shape[1])
    begun = places >= prompt_lengths[:, None] + first
    inside = (begun | prompt) & ((places < lengths[:, None] + last) | padding)
    return finish(said, inside.float())


for _sentence, _change in {
    "Nothing is shifted: the logits at place t predict the token at t + 1.": {"shift": False},
    "The prompt's tokens are counted too; it is the answer's probability, given the prompt.": {"prompt": True},
    "The padding is counted too: an answer ends at `lengths`.": {"padding": True},
    "Prompt and padding are counted too; only the answer's tokens are wanted.": {"prompt": True, "padding": True},
    "The last token is left out. It is the end token, by which the model says that it has finished.": {"last": -1},
    "The first token of the answer is left out: it stands at place `prompt_lengths`, as places count from 0.": {
        "first": 1
    },
    "The last token of the prompt is counted: the answer begins at place `prompt_lengths`.": {"first": -1},
    "One token after the answer is counted: it ends before place `lengths`.": {"last": 1},
    "The answer is taken one place too early at both ends: places of tokens and of logits are mixed up.": {
        "first": -1,
        "last": -1,
    },
    "The answer is taken one place too late at both ends: places of tokens and of logits are mixed up.": {
        "first": 1,
        "last": 1,
    },
    "That is the mean over the answer's tokens; the probability of the whole answer is the sum of the logarithms.": {
        "finish": lambda said, inside: (said * inside).sum(1) / inside.sum(1)
    },
    "The sign is turned: that is a loss, and log-probabilities are 0 or less.": {
        "finish": lambda said, inside: -(said * inside).sum(1)
    },
    "The rows are added up; one number for each row is wanted.": {"finish": lambda said, inside: (said * inside).sum()},
    "That is the probability; its logarithm is wanted.": {"finish": lambda said, inside: (said * inside).sum(1).exp()},
    "These are logits; without `log_softmax` they are no log-probabilities.": {"norm": lambda x: x},
    "Probabilities are added up; add their logarithms.": {"norm": lambda x: x.softmax(-1)},
    "The softmax runs over the places; it is over the vocabulary, the last dimension.": {
        "norm": lambda x: x.log_softmax(1)
    },
    _UNDERFLOW: {"norm": lambda x: x.softmax(-1).log()},
    "A small number is added to the probabilities before the logarithm. That changes them; take `log_softmax`.": {
        "norm": lambda x: (x.softmax(-1) + 1e-8).log()
    },
}.items():
    logprobs.bug(_sentence)(partial(_logprobs, **_change))


@logprobs.also
def logprobs_reach_the_logits(candidate: Callable[..., Tensor]) -> None:
    logits, *rest = logprobs.cases[0].args
    leaf = logits.clone().requires_grad_()
    value = candidate(leaf, *rest)
    expect.that(value.requires_grad, "No gradient flows to the logits. Is there a `.detach()`, `.item()` or `no_grad`?")
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    leaf = logits.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(answer_logprobs(leaf, *rest).sum(), leaf)
    expect.close(
        slope, wanted, "The value is right, its gradient is not: part of it is detached.", rtol=1e-3, atol=1e-5
    )


def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """log of p_ref exp(reward / beta) / Z over the last dimension, the shape of the inputs."""
    weighed = ref_logprobs + rewards / beta
    return weighed - weighed.logsumexp(-1, keepdim=True)  # log Z, without leaving the logarithms


def _policy_cases() -> list[Case]:
    ref = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]).log()
    rewards = torch.tensor([[0.0, 1.0, -1.0], [0.5, -0.5, 2.0]])
    far = (
        "Rewards over a small beta leave what a float can hold: stay in logarithms, with `log_softmax` or `logsumexp`."
    )
    return [
        Case(ref[:1], rewards[:1], 0.4),
        Case(ref, rewards, 0.4),
        Case(ref, rewards, 2.0),
        Case(
            ref, 7.0 + 0 * rewards, 0.1, message="The same reward for every answer must leave the reference as it is."
        ),
        Case(ref, 100 * rewards, 0.2, message=far),
    ]


policy = Exercise(
    "13.2",
    title="The best policy under a KL penalty",
    reference=best_policy,
    cases=_policy_cases,
    general="Not log of p_ref exp(reward / beta), normalized over the answers to each question.",
    rtol=1e-4,
    atol=1e-4,
    difficulty=2,
    minutes=6,
    points=2,
    asked="what maximizes expected reward minus beta times the KL to a reference? Write it",
    hints=[
        "The logarithm of p_ref exp(reward / beta) is a sum of two things.",
        "Z is the sum over all answers to one question, so the logarithm of Z is `logsumexp` over the last dimension; "
        "`log_softmax(-1)` subtracts just that.",
    ],
)


for _sentence, _wrong in {
    "The reward is multiplied by beta; it is divided: a small beta lets the reward count for more.": (
        lambda ref, r, beta: (ref + r * beta).log_softmax(-1)
    ),
    "The reference is missing: the best policy multiplies its probabilities.": (
        lambda ref, r, beta: (r / beta).log_softmax(-1)
    ),
    "beta is missing: the reward is divided by it.": lambda ref, r, beta: (ref + r).log_softmax(-1),
    "Not normalized: the probabilities of the answers to a question must add up to 1. log Z is missing.": (
        lambda ref, r, beta: ref + r / beta
    ),
    "These are probabilities; their logarithms are wanted.": lambda ref, r, beta: (ref + r / beta).softmax(-1),
    "The sign of the reward is turned: the worst answer has become the likeliest.": (
        lambda ref, r, beta: (ref - r / beta).log_softmax(-1)
    ),
    "Normalized over the questions; it is over the answers to each one, the last dimension.": (
        lambda ref, r, beta: (ref + r / beta).log_softmax(0)
    ),
    "The reference's probabilities are used where their logarithms belong.": (
        lambda ref, r, beta: (ref.exp() + r / beta).log_softmax(-1)
    ),
    "The whole is divided by beta; the logarithm of the reference stays as it is.": (
        lambda ref, r, beta: ((ref + r) / beta).log_softmax(-1)
    ),
    "beta stands at the reference; it divides the reward.": lambda ref, r, beta: (beta * ref + r).log_softmax(-1),
    "Z is the mean over the answers; it is their sum.": (
        lambda ref, r, beta: (ref + r / beta) - (ref + r / beta).exp().mean(-1, keepdim=True).log()
    ),
    "One Z for all questions; each question has its own.": (
        lambda ref, r, beta: ref + r / beta - (ref + r / beta).flatten().logsumexp(0)
    ),
    "Rewards over a small beta leave what a float can hold: stay in logarithms, with `log_softmax` or `logsumexp`.": (
        lambda ref, r, beta: (
            (ref.exp() * (r / beta).exp()) / (ref.exp() * (r / beta).exp()).sum(-1, keepdim=True)
        ).log()
    ),
    "The logarithm of a softmax: unlikely answers round to 0 before it, and get minus infinity. Take `log_softmax`.": (
        lambda ref, r, beta: (ref + r / beta).softmax(-1).log()
    ),
}.items():
    policy.bug(_sentence)(lambda ref_logprobs, rewards, beta, _wrong=_wrong: _wrong(ref_logprobs, rewards, beta))


def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta margin) of each pair in nats, (pairs,); the margin is the difference of the two log-ratios."""
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return -logsigmoid(beta * margin)


_LOG_OF_SIGMOID = "At a large negative margin the sigmoid rounds to 0, and `exp` overflows: take `logsigmoid`."


def _pair_cases() -> list[Case]:
    chosen, rejected = torch.tensor([-9.0, -12.0, -4.5]), torch.tensor([-11.0, -10.5, -4.5])
    ref_chosen, ref_rejected = torch.tensor([-10.0, -11.0, -4.0]), torch.tensor([-10.5, -11.5, -6.0])
    level = "Where policy and reference are the same model, the loss is log 2, whatever the answers are."
    return [
        Case(chosen, rejected, ref_chosen, ref_rejected, 0.5),
        Case(chosen[:1], rejected[:1], ref_chosen[:1], ref_rejected[:1], 2.0),
        Case(chosen, rejected, chosen, rejected, 0.3, message=level),
        Case(rejected, chosen, ref_rejected - 3, ref_chosen, 0.1),
        Case(100 * chosen, rejected, ref_chosen, ref_rejected, 1.0, message=_LOG_OF_SIGMOID),
    ]


loss = Exercise(
    "13.3",
    title="The loss of DPO",
    reference=dpo_loss,
    cases=_pair_cases,
    general="Not -log sigmoid(beta ((chosen - ref_chosen) - (rejected - ref_rejected))) for each pair.",
    rtol=1e-4,
    atol=1e-5,
    difficulty=3,
    minutes=8,
    points=3,
    asked="write the DPO loss; what is it at the first step?",
    hints=[
        "Two log-ratios: policy minus reference, once for the chosen and once for the rejected answer.",
        "The margin is the chosen one's ratio minus the rejected one's; beta stands before it, inside the sigmoid.",
        "`-torch.nn.functional.logsigmoid(beta * margin)`, one value for each pair.",
    ],
)


def _of_margin(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float, _wrong: Callable
) -> Tensor:
    return _wrong((chosen - ref_chosen) - (rejected - ref_rejected), beta)


for _sentence, _wrong in {  # functions of the right margin
    "The sign is turned: so the rejected answer would become the likelier one.": lambda m, beta: -logsigmoid(-beta * m),
    "The minus is missing: a loss falls as the raters' choice becomes likely.": lambda m, beta: logsigmoid(beta * m),
    "beta is missing.": lambda m, beta: -logsigmoid(m),
    "beta stands outside of the sigmoid; inside, it says how large a margin is enough.": (
        lambda m, beta: -beta * logsigmoid(m)
    ),
    "The margin is divided by beta; it is multiplied.": lambda m, beta: -logsigmoid(m / beta),
    "That is the mean over the pairs; one value for each pair is wanted.": lambda m, beta: -logsigmoid(beta * m).mean(),
    "The logarithm is missing: that is minus a probability.": lambda m, beta: -torch.sigmoid(beta * m),
    "The logarithm is missing: that is the probability of the other choice.": lambda m, beta: torch.sigmoid(-beta * m),
    "A logarithm to the base 2: bits, not nats.": lambda m, beta: -logsigmoid(beta * m) / log(2),
    "That is IPO: a squared distance to the margin 1 / (2 beta).": lambda m, beta: (m - 1 / (2 * beta)).square(),
    "That is the hinge of SLiC; DPO takes the logarithm of a sigmoid.": lambda m, beta: torch.relu(1 - beta * m),
    _LOG_OF_SIGMOID: lambda m, beta: -torch.sigmoid(beta * m).log(),
}.items():
    loss.bug(_sentence)(partial(_of_margin, _wrong=_wrong))
loss.bug(_LOG_OF_SIGMOID)(partial(_of_margin, _wrong=lambda m, beta: (1 + (-beta * m).exp()).log()))

for _sentence, _wrong in {  # wrong margins
    "The reference is missing: what counts is by how much the policy prefers the answer *more* than the reference.": (
        lambda c, r, rc, rr: c - r
    ),
    "The reference's preference is added, or its two answers are exchanged; it is taken off.": lambda c, r, rc, rr: (
        (c - r) + (rc - rr)
    ),
    "The two log-ratios are added; it is the chosen one's minus the rejected one's.": (
        lambda c, r, rc, rr: (c - rc) + (r - rr)
    ),
    "Only the chosen answer is looked at; the margin compares it with the rejected one.": lambda c, r, rc, rr: c - rc,
    "Probabilities are compared; take differences of logarithms.": (
        lambda c, r, rc, rr: (c.exp() - rc.exp()) - (r.exp() - rr.exp())
    ),
    "The ratio of two logarithms; the logarithm of a ratio is their difference.": lambda c, r, rc, rr: c / rc - r / rr,
}.items():
    loss.bug(_sentence)(
        lambda chosen, rejected, ref_chosen, ref_rejected, beta, _wrong=_wrong: (
            -logsigmoid(beta * _wrong(chosen, rejected, ref_chosen, ref_rejected))
        )
    )


def _one_value_a_pair(spec: Exercise, candidate: Callable[..., Tensor]) -> None:
    value = spec.cases[0].call(candidate)
    if isinstance(value, Real) and not isinstance(value, bool):
        raise Mistake("A plain number cannot be differentiated; return a tensor, one value for each pair.", yours=value)
    expect.kind(value, Tensor)


def _slopes(function: Callable[..., Tensor], arguments: tuple, spec: Exercise) -> list[Tensor]:
    """Gradients to the policy's two log-probabilities."""
    leaves = [x.clone().requires_grad_() for x in arguments[:2]]
    value = function(*leaves, *arguments[2:])
    expect.that(value.requires_grad, "No gradient flows to the policy. Is there a `.detach()`, `.item()` or `no_grad`?")
    found = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return [torch.zeros_like(x) if slope is None else slope for x, slope in zip(leaves, found, strict=True)]


def _right_slopes(spec: Exercise, candidate: Callable[..., Tensor]) -> None:
    for case in (spec.cases[0], spec.cases[-1]):
        pairs = zip(
            ("chosen", "rejected"),
            _slopes(candidate, case.args, spec),
            _slopes(spec.reference, case.args, spec),
            strict=True,
        )
        for name, found, wanted in pairs:
            message = f"The value is right, the gradient to `{name}` is not: both sides of the pair are trained."
            expect.close(found, wanted, message, rtol=1e-3, atol=1e-5)


@loss.first
def dpo_gives_a_value_a_pair(candidate: Callable[..., Tensor]) -> None:
    _one_value_a_pair(loss, candidate)


@loss.also
def dpo_has_the_right_gradient(candidate: Callable[..., Tensor]) -> None:
    _right_slopes(loss, candidate)


def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    """(row, best answer, worst answer) of each question where these two differ in score and in text."""
    pairs = []
    for row, (texts, marks) in enumerate(zip(answers, scores.tolist(), strict=True)):
        best, worst = marks.index(max(marks)), marks.index(min(marks))
        if marks[best] > marks[worst] and texts[best] != texts[worst]:
            pairs.append((row, texts[best], texts[worst]))
    return pairs


_TIED = "A question whose answers all have one score says nothing: leave it out."
_SAME = (
    "Chosen and rejected are the same text, with two scores (one draw was cut before its end): leave such a pair out."
)


def _sample_cases() -> list[Case]:
    return [
        Case([["a", "b", "c"], ["d", "e", "f"]], torch.tensor([[0.5, 2.0, -1.0], [-3.0, -1.0, -2.5]])),
        Case([["a", "b"], ["c", "d"], ["e", "f"]], torch.tensor([[1.0, 1.0], [0.0, -1.0], [2.0, 2.5]])),
        Case(
            [["a", "a", "b"], ["c", "d", "c"], ["e", "f", "g"]],
            torch.tensor([[1.0, 0.0, 0.5], [2.0, 1.0, -1.0], [-1.0, 0.0, 1.0]]),
        ),
        Case(
            [["a", "b", "c"], ["d", "e", "f"]], torch.tensor([[1.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
        ),  # the first of equals
        Case([["a", "b"]], torch.tensor([[1.0, 1.0]]), message="If nothing can be compared, the list is empty."),
    ]


def _as_tuples(answer: Callable[..., Any], answers: list[list[str]], scores: Tensor) -> list[tuple]:
    found = answer(answers, scores)
    expect.kind(found, list)
    for pair in found:
        if not isinstance(pair, tuple | list) or len(pair) != 3:
            raise Mistake("Each entry is three things: the number of the question, chosen, rejected.", yours=found)
    return [(int(row), chosen, rejected) for row, chosen, rejected in found]


samples = Exercise(
    "13.4",
    title="Pairs from a model's own answers",
    reference=best_and_worst,
    cases=_sample_cases,
    observe=_as_tuples,
    general="Not the number of the question, its best answer and its worst answer, for questions where they differ.",
    rtol=0,
    atol=0,
    difficulty=2,
    minutes=8,
    points=2,
    asked="you have eight samples for each prompt and a reward model: make preference pairs for DPO",
    hints=[
        "Go through questions and scores together: `for row, (texts, marks) in enumerate(zip(answers, scores.tolist()))`.",
        "`marks.index(max(marks))` is the place of the best, the first of equals.",
        "Leave a question out if its best and worst score are equal, and if the two texts are.",
    ],
)


def _pairs(
    answers: list[list[str]],
    scores: Tensor,
    take: Callable[[list[float]], tuple[int, int]] = lambda m: (m.index(max(m)), m.index(min(m))),
    ties: bool = False,
    same: bool = False,
    shown: Callable[[int, int, str, str], Any] = lambda row, n, c, r: (row, c, r),
    above: float | None = None,
) -> list:
    """The right answer with one thing changed."""
    kept: list[Any] = []
    for row, (texts, marks) in enumerate(zip(answers, scores.tolist(), strict=True)):
        best, worst = take(marks)
        if (marks[best] != marks[worst] or ties) and (texts[best] != texts[worst] or same):
            if above is None or marks[best] > above:
                kept.append(shown(row, len(kept), texts[best], texts[worst]))
    return kept


def _places(marks: list[float]) -> list[int]:
    return sorted(range(len(marks)), key=lambda i: -marks[i])


for _sentence, _change in {
    _TIED: {"ties": True, "take": lambda m: (m.index(max(m)), len(m) - 1 - m[::-1].index(min(m)))},
    _SAME: {"same": True},
    "Neither ties nor equal texts are left out: such a pair has nothing to teach.": {"ties": True, "same": True},
    "Chosen and rejected are exchanged: the best answer is the chosen one.": {
        "shown": lambda row, n, c, r: (row, r, c)
    },
    "The pairs are numbered anew; the number of the question is wanted, or answers and prompts no longer belong together.": {
        "shown": lambda row, n, c, r: (n, c, r)
    },
    "The questions are counted from 1; the first one is 0.": {"shown": lambda row, n, c, r: (row + 1, c, r)},
    "The scores are not used: that is the first answer against the last.": {"take": lambda m: (0, len(m) - 1)},
    "That is the best against the second best; the worst is wanted.": {"take": lambda m: tuple(_places(m)[:2])},
    "Of equal scores the last is taken; the first is wanted.": {
        "take": lambda m: (len(m) - 1 - m[::-1].index(max(m)), len(m) - 1 - m[::-1].index(min(m)))
    },
    "Only questions with a positive best score are kept; scores have no zero, only differences count.": {"above": 0.0},
}.items():
    samples.bug(_sentence)(partial(_pairs, **_change))


@samples.bug("The best and the worst of all questions together; each question has its own pair.")
def pair_of_the_whole_batch(answers, scores):
    best, worst = int(scores.argmax()), int(scores.argmin())
    n = scores.shape[1]
    return [(row, answers[best // n][best % n], answers[worst // n][worst % n]) for row in range(len(answers))]


@samples.bug("All pairs of answers are given; one pair a question is wanted, the best and the worst.")
def every_pair(answers, scores):
    rows = enumerate(zip(answers, scores.tolist(), strict=True))
    return [
        (row, a, b)
        for row, (texts, marks) in rows
        for a, first in zip(texts, marks, strict=True)
        for b, second in zip(texts, marks, strict=True)
        if first > second and a != b
    ]


def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    """-log sigmoid(beta (mean log p of chosen - mean log p of rejected) - gamma) of each pair in nats, (pairs,)."""
    margin = chosen / chosen_length - rejected / rejected_length
    return -logsigmoid(beta * margin - gamma)


def _simpo_cases() -> list[Case]:
    chosen, rejected = torch.tensor([-9.0, -12.0, -4.5]), torch.tensor([-11.0, -10.0, -4.0])
    long, short = torch.tensor([6.0, 4.0, 9.0]), torch.tensor([4.0, 8.0, 3.0])
    return [
        Case(chosen, rejected, long, short, 2.0, 0.5),
        Case(chosen[1:2], rejected[1:2], long[1:2], short[1:2], 0.5, 1.5),
        Case(chosen, rejected, long.long(), short.long(), 2.5, 0.0),
        Case(rejected, chosen, short, long, 1.0, -0.25),
        Case(300 * chosen, rejected, long, short, 2.0, 0.5, message=_LOG_OF_SIGMOID),
    ]


simpo = Exercise(
    "13.5",
    title="The loss of SimPO",
    reference=simpo_loss,
    cases=_simpo_cases,
    general="Not -log sigmoid(beta (chosen / chosen_length - rejected / rejected_length) - gamma) for each pair.",
    rtol=1e-4,
    atol=1e-5,
    difficulty=2,
    minutes=6,
    points=2,
    asked="DPO prefers long answers. Write a loss that does not, and needs no reference",
    hints=[
        "Each side's log-probability is divided by its own number of tokens.",
        "gamma is a margin that is asked for: it is taken off after beta has multiplied, inside the sigmoid.",
        "`-torch.nn.functional.logsigmoid(beta * (chosen / chosen_length - rejected / rejected_length) - gamma)`.",
    ],
)


for _sentence, _wrong in {
    "These are sums; each side is divided by its own number of tokens.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (c - r) - gamma)
    ),
    "gamma is added; it is a margin that is asked for, so it is taken off.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (c / lc - r / lr) + gamma)
    ),
    "gamma is missing.": lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (c / lc - r / lr)),
    "gamma is multiplied by beta; it is taken off after it.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (c / lc - r / lr - gamma))
    ),
    "gamma stands outside of the sigmoid; there it changes no gradient.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (c / lc - r / lr)) + gamma
    ),
    "beta is missing.": lambda c, r, lc, lr, beta, gamma: -logsigmoid(c / lc - r / lr - gamma),
    "The sign is turned: so the rejected answer would become the likelier one.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(-(beta * (c / lc - r / lr) - gamma))
    ),
    "The two sides are exchanged: the chosen one's mean comes first.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (r / lr - c / lc) - gamma)
    ),
    "The minus is missing: a loss falls as the raters' choice becomes likely.": (
        lambda c, r, lc, lr, beta, gamma: logsigmoid(beta * (c / lc - r / lr) - gamma)
    ),
    "The lengths are exchanged: each side is divided by its own.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (c / lr - r / lc) - gamma)
    ),
    "Both sides are divided by the chosen one's length; each has its own.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (c - r) / lc - gamma)
    ),
    "Both sides are divided by the same number; each has its own length.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (c - r) / (lc + lr) - gamma)
    ),
    "That is the mean over the pairs; one value for each pair is wanted.": (
        lambda c, r, lc, lr, beta, gamma: -logsigmoid(beta * (c / lc - r / lr) - gamma).mean()
    ),
    _LOG_OF_SIGMOID: lambda c, r, lc, lr, beta, gamma: -torch.sigmoid(beta * (c / lc - r / lr) - gamma).log(),
    "That is the hinge; SimPO takes the logarithm of a sigmoid.": (
        lambda c, r, lc, lr, beta, gamma: torch.relu(gamma - beta * (c / lc - r / lr))
    ),
}.items():
    simpo.bug(_sentence)(
        lambda chosen, rejected, chosen_length, rejected_length, beta, gamma, _wrong=_wrong: _wrong(
            chosen, rejected, chosen_length, rejected_length, beta, gamma
        )
    )


@simpo.bug(_LOG_OF_SIGMOID)
def simpo_with_exp(chosen, rejected, chosen_length, rejected_length, beta, gamma):
    return (1 + (gamma - beta * (chosen / chosen_length - rejected / rejected_length)).exp()).log()


@simpo.first
def simpo_gives_a_value_a_pair(candidate: Callable[..., Tensor]) -> None:
    _one_value_a_pair(simpo, candidate)


@simpo.also
def simpo_has_the_right_gradient(candidate: Callable[..., Tensor]) -> None:
    _right_slopes(simpo, candidate)
