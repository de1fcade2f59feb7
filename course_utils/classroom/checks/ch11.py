"""Checks of chapter 11: agreement of raters, scores from comparisons, and the parts of a reward model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import log
from numbers import Real

import torch
from torch import Tensor

from course_utils.alignment import bradley_terry
from course_utils.classroom.exercises.exercise import check, expect
from course_utils.evaluation import agreement
from course_utils.models.heads import last_token


def cohen_kappa(first: list, second: list) -> float:
    """Agreement of two raters beyond chance, from the labels that each gave to the same items."""
    return agreement.cohen_kappa(first, second)


def _kappas(first: list, second: list) -> tuple[float, float, dict[str, float]]:
    """kappa, the observed agreement, and what well-known mistakes give."""
    n, ours, theirs = len(first), Counter(first), Counter(second)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    both = ours + theirs
    pooled = sum((count / (2 * n)) ** 2 for count in both.values())
    even = 1 / len(both)
    product = sum(ours[label] * theirs[label] for label in both) / n**2
    return (
        (observed - product) / (1 - product),
        observed,
        {
            "That is the plain share of agreement; what chance brings is not taken away.": observed,
            "That is Scott's pi: it pools both raters' shares. Kappa multiplies each rater's own shares of a label.": (
                observed - pooled
            )
            / (1 - pooled),
            "Chance is taken as one over the number of labels. A rater who says the same label nine times in ten agrees by "
            "chance far more often; use the shares of the labels.": (observed - even) / (1 - even),
            "It is not divided by 1 - p_e, so full agreement would not give 1.": observed - product,
            "Divided by p_e; it is 1 - p_e, what was left to reach.": (observed - product) / product,
            "That is p_e, the agreement by chance.": product,
        },
    )


@check(
    "11.1",
    title="Agreement beyond chance",
    reference=cohen_kappa,
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
def check_cohen_kappa(candidate: Callable[[list, list], float]) -> None:
    cases = [
        ([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0, 1]),
        (list("aaaaaaabbc"), list("aaaaabbabc")),
        ([0, 1, 0, 1, 1, 0], [1, 0, 1, 0, 0, 0]),
        (["yes"] * 9 + ["no"], ["yes"] * 8 + ["no", "no"]),
    ]
    for first, second in cases:
        kappa, _, mistakes = _kappas(first, second)
        mistakes = {text: value for text, value in mistakes.items() if abs(value - kappa) > 1e-3}
        expect.close(
            candidate(ours := list(first), theirs := list(second)),
            kappa,
            "The value is not (p_o - p_e) / (1 - p_e).",
            given={"first": first, "second": second},
            mistakes=mistakes,
        )
        expect.that(
            (ours, theirs) == (first, second),
            "A list that was given was changed; work on a copy.",
            given={"first": first},
        )
    expect.close(candidate([2, 5, 2], [2, 5, 2]), 1.0, "Two raters who always agree should get 1.")


def bradley_terry_scores(wins: Tensor) -> Tensor:
    """The most likely Bradley-Terry scores (n,), mean 0, of a table of wins (n, n)."""
    return bradley_terry.bradley_terry_scores(wins)


@check(
    "11.2",
    title="Scores from comparisons",
    reference=bradley_terry_scores,
    difficulty=3,
    minutes=12,
    points=3,
    asked="rank these models from pairwise votes",
    hints=[
        "Start with all strengths 1. `duels = wins + wins.T`, and the wins of each are `wins.sum(1)`.",
        "One round for all at once: `strength = wins.sum(1) / (duels / (strength[:, None] + strength)).sum(1)`. The diagonal "
        "adds nothing, as duels[i, i] is 0.",
        "Repeat a thousand times or more; then take the logarithm and subtract its mean. (Gradient descent on the loss of "
        "11.5 gets there too.)",
    ],
)
def check_bradley_terry_scores(candidate: Callable[[Tensor], Tensor]) -> None:
    two = torch.tensor([[0.0, 30.0], [10.0, 0.0]])
    scores = candidate(two.clone())
    expect.kind(scores, Tensor)
    expect.shape(scores, (2,), given=two)
    half = log(3) / 2
    expect.close(
        scores.double(),
        torch.tensor([half, -half], dtype=torch.float64),
        "Who wins three times in four is log 3 = 1.099 above the other.",
        given=two,
        rtol=2e-3,
        mistakes={
            "These are the strengths; a score is the logarithm of a strength.": torch.tensor(
                [3**0.5, 3**-0.5]
            ).double(),
            "These are the shares of duels won; a score is on the scale of log odds.": torch.tensor(
                [0.75, 0.25]
            ).double(),
            "The sign is turned: who wins more has the higher score. Is the table read as losses?": torch.tensor(
                [-half, half]
            ).double(),
            "The scores should have the mean 0: subtract it. (Only differences mean something.)": torch.tensor(
                [log(3), 0.0]
            ).double(),
            "The scores should have the mean 0: subtract it. (Only differences mean something.) ": torch.tensor(
                [0.0, -log(3)]
            ).double(),
            "Logarithms to the base 10; natural ones are wanted.": torch.tensor([half, -half]).double() / log(10),
            "Logarithms to the base 2; natural ones are wanted.": torch.tensor([half, -half]).double() / log(2),
        },
    )
    # Shares of wins do not tell: b met only the strong, d only the weak.
    table = torch.tensor([[0.0, 8, 9, 0], [4, 0, 0, 0], [1, 0, 0, 6], [0, 1, 2, 0]])
    wanted = bradley_terry.bradley_terry_scores(table)
    kept = table.clone()
    found = candidate(table).double()
    expect.that(torch.equal(table, kept), "The table of wins was changed; work on a copy.", given=kept)
    expect.shape(found, (4,), given=kept)
    once = (kept.sum(1) / ((kept + kept.T) / 2).sum(1)).double().log()
    shares = (kept.sum(1) / (kept + kept.T).sum(1)).double()
    odds = (shares / (1 - shares)).log()
    expect.close(
        found,
        wanted,
        "Not the most likely scores of this table. Is it repeated until nothing moves? Are unequal numbers of duels counted?",
        given=kept,
        rtol=3e-3,
        atol=3e-3,
        mistakes={
            "That is one round of the rule; repeat it until nothing moves (a thousand rounds).": once - once.mean(),
            "These are the log odds of each one's share of wins. They forget whom each one met: a win over a strong one "
            "says more.": odds - odds.mean(),
        },
    )
    _check_chain(candidate)


def _check_chain(candidate: Callable[[Tensor], Tensor]) -> None:
    """Eight things in a row, of which only neighbours met: the rule needs several hundred rounds."""
    chain = torch.zeros(8, 8)
    for i in range(7):
        chain[i, i + 1], chain[i + 1, i] = 3, 1
    expect.close(
        candidate(chain.clone()).double(),
        bradley_terry.bradley_terry_scores(chain),
        "On a chain, where only neighbours met, this is not yet the end. Repeat a thousand rounds, or until nothing moves.",
        given=chain,
        rtol=3e-3,
        atol=5e-3,
    )


def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    """hidden (batch, length, size) at each row's last token that is no padding, times weight (size,): (batch,)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), last_token(hidden[..., 0], attention_mask)] @ weight


@check(
    "11.3",
    title="Where the score is read",
    reference=last_token_scores,
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
def check_last_token_scores(candidate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(11)
    hidden = torch.randn(4, 5, 3, generator=generator)
    weight = torch.tensor([1.0, -2.0, 0.5])
    right = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
    each = hidden @ weight
    rows = torch.arange(4)
    for mask in (right, right.flip(1)):  # padding on the right, and on the left
        last = (mask * torch.arange(5)).argmax(1)
        count = mask.sum(1)
        mean = (each * mask).sum(1) / count
        wrong = {
            "Read at place -1 of every row. With padding on the right that is padding.": each[:, -1],
            "Read at the first place; only the last token has seen the whole text.": each[:, 0],
            "One place too far: the first padding token. Places count from 0.": each[rows, (last + 1).clamp(max=4)],
            "One place too early.": each[rows, (last - 1).clamp(min=0)],
            "The places are counted with the sum of the mask; with padding on the left the last token is elsewhere.": each[
                rows, count - 1
            ],
            "That is the mean over all tokens; the score is read at the last one.": mean,
            "That is the sum over all tokens; the score is read at the last one.": mean * count,
            "The first token after the padding on the left is read; wanted is the last one.": each[
                rows, mask.argmax(1)
            ],
        }
        answer = each[rows, last]
        expect.close(
            candidate(hidden.clone(), mask.clone(), weight.clone()),
            answer,
            "Not the score at each row's last token.",
            given={"attention_mask": mask, "weight": weight, "hidden @ weight": each},
            mistakes={text: value for text, value in wrong.items() if not torch.allclose(value, answer)},
            rtol=1e-4,
            atol=1e-5,
        )
    full = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
    expect.close(
        candidate(hidden.clone(), full, weight.clone()),
        each[rows, torch.tensor([4, 2, 0, 1])],
        "The first row is full and the others are padded on the right. Do not guess the side from one row.",
        given={"attention_mask": full},
        rtol=1e-4,
        atol=1e-5,
    )
    states, head = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    out = candidate(states, right, head)
    expect.that(out.requires_grad, "No gradient reaches the head. Is there a `.detach()`, `.item()` or `no_grad`?")
    of_states, of_head = torch.autograd.grad(out.sum(), (states, head), allow_unused=True)
    expect.that(of_head is not None, "No gradient reaches the head. Is there a `.detach()`?")
    expect.that(of_states is not None, "No gradient reaches the hidden states: the body would never learn.")


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """The mean of -log sigmoid(chosen - rejected) over pairs of scores (batch,), a scalar in nats."""
    return bradley_terry.bradley_terry_loss(chosen, rejected)


@check(
    "11.4",
    title="The loss of a reward model",
    reference=bradley_terry_loss,
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
def check_bradley_terry_loss(candidate: Callable[[Tensor, Tensor], Tensor]) -> None:
    chosen, rejected = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([0.0, 0.5, 1.5])
    difference = chosen - rejected
    each = -torch.nn.functional.logsigmoid(difference)
    loss = candidate(chosen.clone(), rejected.clone())
    given = {"chosen": chosen, "rejected": rejected}
    if isinstance(loss, Real) and not isinstance(loss, bool):
        expect.that(
            False,
            "A plain number cannot be differentiated; return a tensor, without `.item()`.",
            given=given,
            yours=loss,
        )
    expect.kind(loss, Tensor, given=given)
    expect.that(loss.numel() == 1, "One number is wanted, the mean over the pairs. Is `.mean()` missing?", given=given)
    expect.close(
        loss.reshape(()),
        each.mean(),
        "Not the mean of -log sigmoid(chosen - rejected).",
        given=given,
        mistakes={
            "The sign is turned: so the model would learn to prefer what was rejected.": -torch.nn.functional.logsigmoid(
                -difference
            ).mean(),
            "The minus is missing: a loss should fall as the choices become likely.": -each.mean(),
            "That is the sum over pairs; the mean is wanted, or the loss grows with the batch.": each.sum(),
            "The logarithm is missing: that is minus the mean probability.": -torch.sigmoid(difference).mean(),
            "That is 1 - sigmoid: the probability of the other choice, not minus a logarithm.": torch.sigmoid(
                -difference
            ).mean(),
            "That is the difference itself. Without the sigmoid the loss has no floor, and clear pairs pull as much as open "
            "ones.": -difference.mean(),
            "That is a hinge loss, of another model.": (1 - difference).clamp(min=0).mean(),
            "Each side has its own sigmoid. Only the difference of the scores means something.": -(
                torch.nn.functional.logsigmoid(chosen) + torch.nn.functional.logsigmoid(-rejected)
            ).mean(),
        },
    )
    for value in (300.0, -300.0):
        far = torch.tensor([value], requires_grad=True)
        loss = candidate(far, torch.zeros(1))
        expect.that(
            bool(torch.isfinite(loss).all()),
            "For scores that lie far apart the loss is not finite: the sigmoid rounds to 0. Use `logsigmoid` (or softplus).",
            given=f"chosen = [{value:g}], rejected = [0.0]",
            yours=loss,
        )
        expect.that(loss.requires_grad, "No gradient flows to the scores. Is there a `.detach()` or `.item()`?")
        (slope,) = torch.autograd.grad(loss.sum(), far)
        wanted = -1.0 if value < 0 else 0.0
        expect.that(
            abs(float(slope) - wanted) < 1e-4,
            "For scores that lie far apart the gradient is wrong (clamped, or not a number): a pair that is ranked quite "
            "wrong must pull with all its force, and a pair that is settled must not pull.",
            given=f"chosen = [{value:g}], rejected = [0.0]",
            expected=wanted,
            yours=float(slope),
        )
    won, lost = chosen.clone().requires_grad_(), rejected.clone().requires_grad_()
    up, down = torch.autograd.grad(candidate(won, lost).sum(), (won, lost), allow_unused=True)
    expect.that(
        up is not None and down is not None and torch.allclose(up, -down, atol=1e-6),
        "The loss must push the rejected scores down as much as it pulls the chosen ones up. Is there a `.detach()`?",
        given=given,
    )
