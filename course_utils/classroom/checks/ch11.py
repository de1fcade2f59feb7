"""Checks of chapter 11: agreement of raters, scores from comparisons, and the parts of a reward model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from math import log
from numbers import Real

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect


def cohen_kappa(first: list, second: list) -> float:
    """Agreement of two raters beyond chance, from the labels that each gave to the same items."""
    n, ours, theirs = len(first), Counter(first), Counter(second)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    expected = sum(ours[label] / n * theirs[label] / n for label in ours)  # a label that only one uses adds 0
    return (observed - expected) / (1 - expected)


kappa = Exercise(
    "11.1",
    title="Agreement beyond chance",
    reference=cohen_kappa,
    cases=[
        Case([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0, 1]),
        Case(list("aaaaaaabbc"), list("aaaaabbabc")),
        Case([0, 1, 0, 1, 1, 0], [1, 0, 1, 0, 0, 0]),
        Case(["yes"] * 9 + ["no"], ["yes"] * 8 + ["no", "no"]),
        Case(["1", 1, None, ("x", "y"), 1], [1, 1, None, tuple("xy"), "1"]),  # equal tuples, not one and the same
        Case([1, 1.0, 2, 2, 3], [True, 1, 2, 3.0, 3]),  # 1, 1.0 and True are equal
        Case([2, 5, 2], [2, 5, 2], message="Two raters who always agree should get 1."),
    ],
    general="The value is not (p_o - p_e) / (1 - p_e).",
    difficulty=2,
    minutes=8,
    points=2,
    asked="two annotators agree in 90 %; is that good? Write kappa",
    hints=[
        "The observed agreement p_o is the share of places where both labels are equal.",
        "For each label multiply the two raters' own shares of it, `first.count(x) / n * second.count(x) / n`, and add up "
        "over the labels: that is p_e.",
        "`(p_o - p_e) / (1 - p_e)`.",
    ],
)


def _expected(first, second):
    return sum(first.count(label) * second.count(label) for label in set(first)) / len(first) ** 2


def _kappa(first, second, expected=_expected, ratio=lambda o, e: (o - e) / (1 - e)):
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
    return ratio(observed, expected(first, second))


def _one_against_the_rest(first, second):
    p, q = (rater.count(first[0]) / len(first) for rater in (first, second))
    return p * q + (1 - p) * (1 - q)


for _sentence, _wrong in {
    "That is the plain share of agreement; what chance brings is not taken away.": {"ratio": lambda o, e: o},
    "It is not divided by 1 - p_e, so full agreement would not give 1.": {"ratio": lambda o, e: o - e},
    "Divided by p_e; it is 1 - p_e, what was left to reach.": {"ratio": lambda o, e: (o - e) / e},
    "That is p_e, the agreement by chance.": {"ratio": lambda o, e: e},
    "Two raters may agree less often than by chance: kappa is then below 0, do not cut it off.": {
        "ratio": lambda o, e: max(0.0, (o - e) / (1 - e))
    },
    "That is Scott's pi: it pools both raters' shares. Kappa multiplies each rater's own shares of a label.": {
        "expected": lambda first, second: _expected(first + second, first + second)
    },
    "Chance is taken as one over the number of labels. A rater who says the same label nine times in ten agrees by "
    "chance far more often; use the shares of the labels.": {
        "expected": lambda first, second: 1 / len(set(first + second))
    },
    "One label is set against all others together. With three labels and more, add up over each of them.": {
        "expected": _one_against_the_rest
    },
    "p_e is added up over the items; it is over the labels, each of them once.": {
        "expected": lambda first, second: sum(first.count(x) * second.count(x) for x in first) / len(first) ** 2
    },
}.items():
    kappa.bug(_sentence)(partial(_kappa, **_wrong))


@kappa.bug("Labels are compared by `is`; two that are equal need not be one and the same object: use `==`.")
def kappa_of_identity(first, second):
    agreed = sum(a is b for a, b in zip(first, second, strict=True)) / len(first)
    return (agreed - _expected(first, second)) / (1 - _expected(first, second))


@kappa.bug("The labels are compared as text. They may be anything hashable: 1 and '1' are two labels.")
def kappa_of_text(first, second):
    return _kappa([str(label) for label in first], [str(label) for label in second])


def bradley_terry_scores(wins: Tensor) -> Tensor:
    """The most likely Bradley-Terry scores (n,), mean 0, of a table of wins (n, n), by Zermelo's rule."""
    wins = wins.double()
    duels, scores = wins + wins.T, torch.zeros(len(wins), dtype=torch.float64, device=wins.device)
    for _ in range(20_000):
        strength, before = scores.exp(), scores
        scores = (wins.sum(1) / (duels / (strength[:, None] + strength)).sum(1)).log()
        scores = scores - scores.mean()
        if (scores - before).abs().max() < 1e-9:
            break
    return scores


def _tables() -> list[Case]:
    chain = torch.zeros(8, 8)
    for i in range(7):
        chain[i, i + 1], chain[i + 1, i] = 3, 1
    return [
        Case(torch.tensor([[0.0, 30.0], [10.0, 0.0]])),  # three times in four: log 3 apart
        # Shares of wins do not tell: b met only the strong, d only the weak.
        Case(torch.tensor([[0.0, 8, 9, 0], [4, 0, 0, 0], [1, 0, 0, 6], [0, 1, 2, 0]])),
        Case(
            chain,
            message="On a chain, where only neighbours met, this is not yet the end. Repeat a thousand rounds, or until "
            "nothing moves.",
        ),
    ]


scores = Exercise(
    "11.2",
    title="Scores from comparisons",
    reference=bradley_terry_scores,
    cases=_tables,
    general="Not the most likely scores of this table. Is the rule repeated until nothing moves?",
    rtol=3e-3,
    atol=3e-3,
    difficulty=3,
    minutes=12,
    points=3,
    asked="rank these models from pairwise votes",
    hints=[
        "Start with all strengths 1. `duels = wins + wins.T`, and the wins of each are `wins.sum(1)`.",
        "One round for all at once: `strength = wins.sum(1) / (duels / (strength[:, None] + strength)).sum(1)`. The diagonal "
        "adds nothing, as duels[i, i] is 0.",
        "Repeat a thousand times or more; then take the logarithm and subtract its mean. (Gradient descent on the loss of "
        "exercise 11.4 gets there too.)",
    ],
)


def _centred(scores):
    return scores - scores.mean()


def _log_odds(wins):
    return _centred((wins.sum(1) / wins.sum(0)).log())


def _equal_pairs(wins):
    return bradley_terry_scores((wins / (wins + wins.T)).nan_to_num(0.0))


for _sentence, _wrong in {
    "These are the strengths; a score is the logarithm of a strength.": lambda wins: bradley_terry_scores(wins).exp(),
    "These are the strengths, less their mean; a score is the logarithm of a strength.": lambda wins: _centred(
        bradley_terry_scores(wins).exp()
    ),
    "These are the shares of duels won; a score is on the scale of log odds.": lambda wins: (
        wins.sum(1) / (wins + wins.T).sum(1)
    ),
    "The sign is turned: who wins more has the higher score. Is the table read as losses?": lambda wins: (
        bradley_terry_scores(wins.T)
    ),
    "Logarithms to the base 10; natural ones are wanted.": lambda wins: bradley_terry_scores(wins) / log(10),
    "Logarithms to the base 2; natural ones are wanted.": lambda wins: bradley_terry_scores(wins) / log(2),
    "That is one round of the rule; repeat it until nothing moves (a thousand rounds).": lambda wins: _centred(
        (wins.sum(1) / ((wins + wins.T) / 2).sum(1)).log()
    ),
    "These are the log odds of each one's wins. They forget whom each one met: a win over a strong one says more.": (
        _log_odds
    ),
    "Every pair counts the same in yours, however often it was compared. Count all duels and all wins.": _equal_pairs,
    "Half a win was added to every pair, which draws the scores together. This table needs no help.": lambda wins: (
        bradley_terry_scores(wins + 0.5 * (1 - torch.eye(len(wins))))
    ),
}.items():
    scores.bug(_sentence)(lambda wins, _wrong=_wrong: _wrong(wins))


@scores.first
def scores_have_mean_0(candidate: Callable[[Tensor], Tensor]) -> None:
    case = scores.cases[0]
    found, wanted = case.call(candidate), case.call(scores.reference)
    expect.shape(found, (2,), given=case.args[0])
    moved = found.double() - wanted
    if moved.isfinite().all() and moved.mean().abs() > 0.01 and (moved - moved.mean()).abs().max() < 3e-3:
        raise Mistake(
            "The scores should have the mean 0: subtract it. (Only differences mean something.)",
            given=case.args[0],
            expected=wanted,
            yours=found,
        )


def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    """hidden (batch, length, size) at each row's last token that is no padding, times weight (size,): (batch,)."""
    places = torch.arange(hidden.shape[1], device=hidden.device)
    last = (attention_mask * places).argmax(1)  # the largest place with a 1, whatever comes after it
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight


def _padded() -> list[Case]:
    hidden = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(11))
    weight = torch.tensor([1.0, -2.0])
    right = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
    mixed = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]])
    sides = "Rows of one batch may be padded on different sides. Do not guess the side from one row."
    return [
        Case(hidden, right, weight),
        Case(hidden, right.flip(1), weight),
        Case(hidden, mixed, weight, message=sides),
        Case(hidden, mixed.flip(0), weight, message=sides),
        Case(hidden[:1], right[:1], weight),
        Case(hidden.transpose(0, 1).contiguous().transpose(0, 1), mixed.T.contiguous().T, weight),
        Case(hidden[:, :1], right[:, :1], weight),
    ]


last_token = Exercise(
    "11.3",
    title="Where the score is read",
    reference=last_token_scores,
    cases=_padded,
    general="Not the score at each row's last token.",
    rtol=1e-4,
    atol=1e-5,
    difficulty=2,
    minutes=8,
    points=2,
    asked="where does a reward model read its score from?",
    hints=[
        "Number the places 0, 1, 2, ...; the last place with a 1 in the mask is wanted. The sum of the mask helps only if the "
        "padding stands on the right.",
        "`(attention_mask * torch.arange(length)).argmax(1)` is the last place with a 1, wherever the padding stands.",
        "`hidden[torch.arange(len(hidden)), last] @ weight`.",
    ],
)


def _at(hidden, attention_mask, weight, place):
    """The scores at ``place(mask, last)`` of each row."""
    last = (attention_mask * torch.arange(hidden.shape[1])).argmax(1)
    places = place(attention_mask, last).clamp(0, hidden.shape[1] - 1)
    return (hidden @ weight)[torch.arange(len(hidden)), places]


for _sentence, _place in {
    "Read at place -1 of every row. With padding on the right that is padding.": lambda mask, last: last * 0 + 99,
    "Read at the first place; only the last token has seen the whole text.": lambda mask, last: last * 0,
    "One place too far: the first padding token. Places count from 0.": lambda mask, last: last + 1,
    "One place too early.": lambda mask, last: last - 1,
    "The places are counted with the sum of the mask; with padding on the left the last token is elsewhere.": (
        lambda mask, last: mask.sum(1) - 1
    ),
    "The sum of the mask is one place too far, as places count from 0; and it holds for padding on the right only.": (
        lambda mask, last: mask.sum(1)
    ),
    "The first token is read; only the last one has seen the whole text.": lambda mask, last: mask.argmax(1),
}.items():
    last_token.bug(_sentence)(partial(_at, place=_place))


@last_token.bug("That is the mean over all tokens; the score is read at the last one.")
def mean_of_tokens(hidden, attention_mask, weight):
    return ((hidden @ weight) * attention_mask).sum(1) / attention_mask.sum(1)


@last_token.bug("That is the sum over all tokens; the score is read at the last one.")
def sum_of_tokens(hidden, attention_mask, weight):
    return ((hidden @ weight) * attention_mask).sum(1)


@last_token.also
def scores_reach_head_and_body(candidate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    hidden, mask, weight = last_token.cases[0].args
    states, head = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    out = candidate(states, mask, head)
    expect.that(out.requires_grad, "No gradient reaches the head. Is there a `.detach()`, `.item()` or `no_grad`?")
    of_states, of_head = torch.autograd.grad(out.sum(), (states, head), allow_unused=True)
    expect.that(of_head is not None, "No gradient reaches the head. Is there a `.detach()`?")
    expect.that(of_states is not None, "No gradient reaches the hidden states: the body would never learn.")
    states, head = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    wanted = torch.autograd.grad(last_token_scores(states, mask, head).sum(), (states, head))
    for name, slope, right in zip(("hidden", "weight"), (of_states, of_head), wanted, strict=True):
        expect.close(slope, right, f"The score is right, the gradient to `{name}` is not: part of it is detached.")


loss = Exercise(
    "11.4",
    title="The loss of a reward model",
    reference="course_utils.alignment.bradley_terry:bradley_terry_loss",
    cases=lambda: [
        Case(torch.tensor([2.0, 0.5, -1.0]), torch.tensor([0.0, 0.5, 1.5])),
        Case(torch.tensor([0.7]), torch.tensor([-0.4])),
        Case(torch.tensor([[0.7, 1.0], [-2.0, 0.3], [0.1, 0.1]]).T[0], torch.tensor([[1.5, 2.0, -0.4]] * 2)[1]),
    ],
    general="Not the mean of -log sigmoid(chosen - rejected).",
    difficulty=2,
    minutes=8,
    points=2,
    asked="write the loss of a reward model; what is it at the start?",
    hints=[
        "The probability of the choice that was made is `sigmoid(chosen - rejected)`; the loss is minus its logarithm.",
        "`torch.log(torch.sigmoid(x))` is minus infinity for x below about -88. `torch.nn.functional.logsigmoid(x)` is not.",
        "`-torch.nn.functional.logsigmoid(chosen - rejected).mean()`.",
    ],
)


for _sentence, _wrong in {
    "The sign is turned: so the model would learn to prefer what was rejected.": lambda c, r: -logsigmoid(r - c).mean(),
    "The minus is missing: a loss should fall as the choices become likely.": lambda c, r: logsigmoid(c - r).mean(),
    "That is the sum over pairs; the mean is wanted, or the loss grows with the batch.": lambda c, r: (
        -logsigmoid(c - r).sum()
    ),
    "The logarithm is missing: that is minus the mean probability.": lambda c, r: -torch.sigmoid(c - r).mean(),
    "That is 1 - sigmoid: the probability of the other choice, not minus a logarithm.": lambda c, r: torch.sigmoid(
        r - c
    ).mean(),
    "That is the difference itself. Without the sigmoid the loss has no floor, and clear pairs pull as much as open "
    "ones.": lambda c, r: (r - c).mean(),
    "That is a hinge loss, of another model.": lambda c, r: (1 - (c - r)).clamp(min=0).mean(),
    "Each side has its own sigmoid. Only the difference of the scores means something.": lambda c, r: (
        -(logsigmoid(c) + logsigmoid(-r)).mean()
    ),
    "Every chosen answer meets every rejected one; a pair has one of each.": lambda c, r: (
        -logsigmoid(c[:, None] - r).mean()
    ),
    "One number is wanted, the mean over the pairs. Is `.mean()` missing?": lambda c, r: -logsigmoid(c - r),
    "The mean is taken before the sigmoid; each pair has a loss of its own, and the mean is over these.": (
        lambda c, r: -logsigmoid((c - r).mean())
    ),
}.items():
    loss.bug(_sentence)(lambda chosen, rejected, _wrong=_wrong: _wrong(chosen, rejected))


@loss.first
def loss_is_a_scalar_tensor(candidate: Callable[[Tensor, Tensor], Tensor]) -> None:
    value = loss.cases[0].call(candidate)
    if isinstance(value, Real) and not isinstance(value, bool):
        raise Mistake("A plain number cannot be differentiated; return a tensor, without `.item()`.", yours=value)
    expect.kind(value, Tensor)
    expect.that(value.numel() == 1, "One number is wanted, the mean over the pairs. Is `.mean()` missing?", yours=value)


@loss.also
def loss_stands_clear_pairs(candidate: Callable[[Tensor, Tensor], Tensor]) -> None:
    for value in (300.0, -300.0, 1e4, -1e4):
        given = f"chosen = [{value:g}], rejected = [0.0]"
        far = torch.tensor([value], requires_grad=True)
        found = candidate(far, torch.zeros(1))
        expect.that(
            bool(torch.isfinite(found).all()),
            "For scores that lie far apart the loss is not finite: the sigmoid rounds to 0. Use `logsigmoid` (or softplus).",
            given=given,
            yours=found,
        )
        expect.that(found.requires_grad, "No gradient flows to the scores. Is there a `.detach()` or `.item()`?")
        (slope,) = torch.autograd.grad(found.sum(), far)
        wanted = -1.0 if value < 0 else 0.0
        expect.that(
            abs(float(slope) - wanted) < 1e-4,
            "For scores that lie far apart the gradient is wrong (clamped, or not a number): a pair that is ranked quite "
            "wrong must pull with all its force, and a pair that is settled must not pull.",
            given=given,
            expected=wanted,
            yours=float(slope),
        )


@loss.also
def loss_has_the_right_gradient(candidate: Callable[[Tensor, Tensor], Tensor]) -> None:
    def slopes(function: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor | None, ...]:
        pair = [x.clone().requires_grad_() for x in loss.cases[0].args]
        return torch.autograd.grad(function(*pair).sum(), pair, allow_unused=True)

    up, down = slopes(candidate)
    expect.that(
        up is not None and down is not None and torch.allclose(up, -down, atol=1e-6),
        "The loss must push the rejected scores down as much as it pulls the chosen ones up. Is there a `.detach()`?",
    )
    expect.close(
        up,
        slopes(loss.reference)[0],
        "The value is right, its gradient is not. Equal scores, with which training begins, pull with half their force.",
    )
