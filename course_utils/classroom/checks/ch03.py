"""Checks of chapter 03: the loss, bits and perplexity, the learning rate, clipping, and masked language modelling."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, exp, isclose, log, pi
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.classroom.checks.layout import strided
from course_utils.classroom.exercises.exercise import Mistake, check, expect

IGNORE = -100


def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats: the logits at place t are held against the label at place t + 1; -100 is skipped."""
    predictions, targets = logits[:, :-1], labels[:, 1:]
    return F.cross_entropy(predictions.flatten(0, 1), targets.flatten(), ignore_index=-100)


@check(
    "03.1",
    title="The loss of next-word prediction",
    reference=next_word_loss,
    difficulty=2,
    minutes=8,
    points=2,
    asked="write the loss of a language model",
    hints=[
        "The last place predicts a token that is not in the row, and nothing predicts the first token. So one place is "
        "dropped from the logits and one from the labels, at opposite ends.",
        "`logits[:, :-1]` stands over `labels[:, 1:]`. Cross-entropy wants (places, vocabulary) and (places,): flatten "
        "the first two axes of the logits, and the labels altogether.",
        "`F.cross_entropy(predictions.flatten(0, 1), targets.flatten(), ignore_index=-100)` takes logits as they are: "
        "no softmax before it.",
    ],
)
def check_next_word_loss(candidate: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.tensor([[4, 1, 3, 2], [2, 2, 0, 4]])
    logits = 2 * torch.randn(2, 4, 5, generator=generator)
    flat = logits[:, :-1].flatten(0, 1)
    targets = labels[:, 1:].flatten()
    loss = candidate(logits, labels)
    _scalar(loss)
    expect.close(
        loss,
        F.cross_entropy(flat, targets),
        "The loss is not the mean cross-entropy of the shifted places.",
        mistakes={
            "Nothing is shifted: place t is asked for the token that it reads. Such a model learns to copy.": F.cross_entropy(
                logits.flatten(0, 1), labels.flatten()
            ),
            "The shift goes the wrong way: place t is asked for the token before it.": F.cross_entropy(
                logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten()
            ),
            "Softmax is applied twice: `F.cross_entropy` takes logits, not probabilities.": F.cross_entropy(
                flat.softmax(-1), targets
            ),
            "No place is dropped: after `roll` the last place of a row is asked for the first token of its own row.": F.cross_entropy(
                logits.flatten(0, 1), labels.roll(-1, 1).flatten()
            ),
            "This is the sum over all places; the mean is wanted.": F.cross_entropy(flat, targets, reduction="sum"),
            "The sum is divided by the number of rows; the mean over all places is wanted.": F.cross_entropy(
                flat, targets, reduction="sum"
            )
            / 2,
            "The sum is divided by the number of labels before the shift; the first label of a row is nobody's target.": (
                F.cross_entropy(flat, targets, reduction="sum") / labels.numel()
            ),
            "The sign is wrong: a loss falls when the right token becomes more likely.": -F.cross_entropy(
                flat, targets
            ),
            "Logits and labels lose the same end, so nothing is shifted: drop the *last* place of the logits and the "
            "*first* of the labels.": F.cross_entropy(flat, labels[:, :-1].flatten()),
            "This is in bits; the loss is wanted in nats (the natural logarithm).": F.cross_entropy(flat, targets)
            / log(2),
            "Shifted after flattening, the rows run into each other: the last place of a row is asked for the first "
            "token of the next. Shift first, then flatten.": F.cross_entropy(
                logits.flatten(0, 1)[:-1], labels.flatten()[1:]
            ),
        },
    )
    # 1 place of the first row counts and 2 of the second, of 5 labels before the shift; one place that counts has an
    # own label of -100. So each wrong way of counting gives another number.
    hidden = labels.clone()
    hidden[0, 1::2] = IGNORE
    hidden[1, 3:] = IGNORE
    targets = hidden[:, 1:]
    total = F.cross_entropy(flat, targets.flatten(), ignore_index=IGNORE, reduction="sum")
    own = targets.masked_fill(hidden[:, :-1] == IGNORE, IGNORE)
    rows = [F.cross_entropy(logits[i, :-1], targets[i], ignore_index=IGNORE) for i in range(2)]
    expect.close(
        candidate(logits, hidden),
        total / 3,
        "With labels of -100 the loss is wrong: such places are skipped, in the sum and in the count.",
        mistakes={
            "The places with -100 are left out of the sum but still counted in the mean.": total / 6,
            "A place is skipped because its *own* label is -100; what counts is the label one place later.": F.cross_entropy(
                flat, own.flatten(), ignore_index=IGNORE
            ),
            "The places are chosen by the labels before the shift: a place counts if the label one place *later* is "
            "not -100.": F.cross_entropy(
                flat, targets.clamp(min=0).masked_fill(hidden[:, :-1] == IGNORE, IGNORE).flatten(), ignore_index=IGNORE
            ),
            "The sum is divided by the number of labels before the shift; the first label of a row is nobody's target.": total
            / 5,
            "This is the mean of the rows' means. Every place that counts has the same weight: divide the sum over all "
            "of them by their number.": sum(rows) / 2,
        },
    )
    # another size, a prompt in front, a row that nobody asks for, and numbers that do not lie side by side
    wide = torch.randn(6, 3, 7, generator=generator).transpose(0, 1)
    asked = torch.randint(7, (3, 6), generator=generator)
    asked[:, :2], asked[1] = IGNORE, IGNORE
    given = {"logits": "(3, 6, 7), transposed", "labels": asked}
    loss = strided(lambda: candidate(wide, asked))
    expect.that(
        not bool(torch.as_tensor(loss).isnan()),
        "NaN, because nobody asks for a place of the second row. Divide the sum over all rows by the number of places.",
        given=given,
    )
    expect.close(loss, next_word_loss(wide, asked), "Wrong for a batch of another size.", given=given)
    learned = logits.clone().requires_grad_()
    loss = candidate(learned, labels)
    expect.that(
        isinstance(loss, Tensor) and loss.requires_grad,
        "No gradient flows from the loss to the logits. Is there a `.detach()`, `.item()` or `no_grad` in the way?",
    )
    (wanted,) = torch.autograd.grad(next_word_loss(learned, labels), learned)
    (slope,) = torch.autograd.grad(loss, learned, allow_unused=True)
    expect.close(
        torch.zeros_like(wanted) if slope is None else slope,
        wanted,
        "The value is right, the gradient is not: part of the loss is detached.",
        given={"labels": labels},
        atol=1e-6,
    )
    large = 200 * logits.detach()
    loss, right = candidate(large, labels), next_word_loss(large, labels)
    expect.that(
        bool(torch.isclose(loss, right, rtol=1e-3)),
        "With large scores the loss is inf, NaN or cut off. Use log_softmax or cross_entropy, not the log of exp.",
        given={"logits": large, "labels": labels},
        expected=right,
        yours=loss,
    )


def _one_number(value: Any, what: str) -> None:
    """Raise a Mistake for a tensor with an axis: `f"{value:.2f}"` of later cells takes a number or a tensor ()."""
    if isinstance(value, Tensor) and value.numel() == 1:
        expect.that(value.dim() == 0, f"{what} is one number; yours is a tensor with an axis: `.item()`.", yours=value)


def _scalar(loss: Tensor) -> None:
    expect.kind(loss, Tensor)
    expect.shape(loss, ())


def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    """Bits of each document (the sum over its tokens, in base 2), and the perplexity over all tokens together."""
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = losses.masked_fill(~real, 0.0).sum(1)  # not times 0: the padding may hold anything, also NaN
    return nats / log(2), exp(float(nats.sum() / lengths.sum()))


@check(
    "03.2",
    title="Bits and perplexity",
    reference=bits_and_perplexity,
    difficulty=2,
    minutes=8,
    points=2,
    asked="what is perplexity, and how do you average it?",
    hints=[
        "First make the padding disappear: `real = torch.arange(length) < lengths[:, None]` is True on tokens, False on "
        "padding. Sum the losses of each row where it is True.",
        "One bit is log(2) nats: divide by `math.log(2)`. Bits are summed over a document, not averaged.",
        "Perplexity is exp of the mean loss in nats over *all* tokens: total nats / total tokens, then exp. A mean of "
        "the documents' means would give a short document as much weight as a long one.",
    ],
)
def check_bits_and_perplexity(candidate: Callable[..., tuple[Tensor, float]]) -> None:
    losses = torch.tensor([[log(2), log(2), log(8), 9.0], [log(4), 7.0, 7.0, 7.0]])
    lengths = torch.tensor([3, 1])
    result = candidate(losses, lengths)
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise Mistake("Two things are wanted: `return bits, perplexity`.", expected="a tuple of 2", yours=result)
    bits, perplexity = result
    expect.close(
        bits,
        torch.tensor([5.0, 2.0]),
        "The bits of the documents are wrong.",
        mistakes={
            "These are nats. One bit is log(2) nats: divide by it.": torch.tensor([log(32), log(4)]),
            "Multiplied by log(2) where dividing is right: a nat is more than a bit.": torch.tensor([5.0, 2.0])
            * log(2) ** 2,
            "The padding is counted too: only the first `lengths` places of a row are tokens.": losses.sum(1) / log(2),
            "This is the mean over a document's tokens; its bits are the sum.": torch.tensor([5 / 3, 2.0]),
            "One place too many is counted: places count from 0, so the tokens are those below `lengths` (`<`, not `<=`).": torch.tensor(
                [5 + 9 / log(2), 2 + 7 / log(2)]
            ),
            "One place too few is counted: the last token of a row stands at place lengths - 1.": torch.tensor(
                [2.0, 0.0]
            ),
        },
    )
    _one_number(perplexity, "The perplexity")
    expect.close(
        perplexity,
        2 ** (7 / 4),
        "The perplexity is wrong: exp of the mean loss over all real tokens.",
        mistakes={
            "This is the mean of the documents' means; a token of the short document counts three times as much as "
            "one of the long one. Divide the total by the total.": 2 ** ((5 / 3 + 2) / 2),
            "This is the mean of the documents' perplexities. Average the losses first, then take exp.": (
                2 ** (5 / 3) + 4
            )
            / 2,
            "Here exp was taken of bits: it is exp of nats, or 2 to the bits.": exp(7 / 4),
            "Here 2 was raised to nats: it is 2 to the bits, or exp of nats.": 2 ** (7 / 4 * log(2)),
            "The padding is averaged in.": exp(float(losses.mean())),
            "The total is divided by all places, padding included; only the tokens count.": 2 ** (7 / 8),
            "The total is divided by the number of documents. Divide it by the number of tokens.": 2 ** (7 / 2),
            "This is the mean of exp(nats of a document). Divide the nats by the number of tokens before exp.": (32 + 4)
            / 2,
            "This is the mean loss; exp is missing.": 7 / 4 * log(2),
        },
    )
    generator = torch.Generator().manual_seed(5)
    losses, lengths = torch.rand(4, 9, generator=generator), torch.tensor([9, 1, 4, 6])
    bits, perplexity = candidate(losses, lengths)
    wanted, number = bits_and_perplexity(losses, lengths)
    expect.close(bits, wanted, "The bits are wrong for a larger batch.")
    expect.close(perplexity, number, "The perplexity is wrong for a larger batch.")
    sure = torch.tensor([[log(4), 0.0, 7.0]])
    bits, perplexity = candidate(sure, torch.tensor([2]))
    expect.close(bits, torch.tensor([2.0]), "The bits are wrong where a token costs nothing.")
    expect.close(
        perplexity,
        2.0,
        "The perplexity is wrong where a token costs nothing.",
        mistakes={"A token with loss 0 is a token too: take `lengths`, do not count the losses above 0.": 4.0},
    )
    wild = torch.tensor([[log(4), float("nan"), float("inf")]])
    bits, perplexity = candidate(wild, torch.tensor([1]))
    message = "The padding may hold anything, also NaN or inf, and 0 * NaN is NaN: use `masked_fill(~real, 0)`."
    finite = torch.isfinite(torch.as_tensor(bits)).all() and torch.isfinite(torch.as_tensor(perplexity))
    expect.that(bool(finite), message, expected="2 bits, perplexity 4", yours=f"{bits}, {perplexity}")
    expect.close(bits, torch.tensor([2.0]), message)
    expect.close(perplexity, 4.0, message)


def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    """The learning rate of step ``step`` (from 0): a straight climb to ``peak``, then a straight fall towards 0."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - step) / (steps - warmup_steps)


@check(
    "03.3",
    title="Warm-up and decay",
    reference=learning_rate_at,
    difficulty=1,
    minutes=6,
    points=1,
    asked="write a learning-rate schedule with warm-up",
    hints=[
        "Two pieces: while `step < warmup_steps` the rate climbs, after that it falls. The first step is step 0, and it "
        "must already move.",
        "Climbing: `peak * (step + 1) / warmup_steps`, which is `peak` at step `warmup_steps - 1`.",
        "Falling: `peak * (steps - step) / (steps - warmup_steps)`: the whole peak at step `warmup_steps`, and nothing "
        "would be left at step `steps`.",
    ],
)
def check_learning_rate_at(candidate: Callable[..., float]) -> None:
    rates = {step: candidate(step, 1.0, 10, 4) for step in (0, 3, 4, 9)}
    for step, rate in rates.items():
        _number(rate, step)
    expect.that(
        float(rates[0]) != 0,
        "The first step has a learning rate of 0: it computes a gradient and throws it away. Steps count from 0, so "
        "use step + 1.",
        given="step = 0, peak = 1, steps = 10, warmup_steps = 4",
        expected=0.25,
        yours=float(rates[0]),
    )
    named = {
        0: {
            "There is no warm-up: the first step has the whole peak already.": 1.0,
            "The climb takes warmup_steps + 1 steps. In warmup_steps equal parts the first one is peak / warmup_steps.": 0.2,
        },
        3: {"The peak is not reached by the last step of the warm-up.": 0.75},
        4: {
            "After the warm-up the rate does not begin at the peak: the decay starts at step `warmup_steps`, not at 0.": 0.6,
            "The warm-up goes on for one step too long.": 1.25,
            "The fall begins one step early: step `warmup_steps` still has the whole peak.": 5 / 6,
        },
        9: {
            "The rate does not fall after the warm-up.": 1.0,
            "The last step has a rate of 0: it would be wasted. Nothing is left at step `steps`, one later.": 0.0,
            "The decay is measured over all steps; it has only steps - warmup_steps of them.": 0.1,
            "The fall is too slow: what it has lost is divided by steps, not by steps - warmup_steps.": 0.5,
            "This is a cosine; a straight fall is wanted.": (1 + cos(pi * 5 / 6)) / 2,
        },
    }
    for step, wanted in ((0, 0.25), (3, 1.0), (4, 1.0), (9, 1 / 6)):
        given = f"step = {step}, peak = 1, steps = 10, warmup_steps = 4"
        message = "The rate is wrong during the warm-up." if step < 4 else "The rate is wrong during the decay."
        expect.close(rates[step], wanted, message, given=given, mistakes=named[step])
    for step, steps, warmup in [(0, 1, 0), *((step, 7, warmup) for step in range(7) for warmup in (0, 1, 3, 6))]:
        wanted = learning_rate_at(step, 3e-3, steps, warmup)
        given = f"step = {step}, peak = 0.003, steps = {steps}, warmup_steps = {warmup}"
        message = "Without warm-up the rate is wrong." if warmup == 0 else "The rate is wrong for another run."
        try:
            rate = candidate(step, 3e-3, steps, warmup)
        except ZeroDivisionError:
            zero = "Divided by `warmup_steps`, which may be 0: then the first step falls already."
            where = "Divided by zero: with steps = 1 or a warm-up up to the last step there is one step to fall."
            raise Mistake(zero if warmup == 0 else where, given=given, expected=wanted) from None
        expect.close(rate, wanted, message, given=given, atol=1e-9)
    expect.close(
        candidate(39, 1.0, 40, 4),
        1 / 36,
        "The rate is wrong at the end of a longer run.",
        given="step = 39, peak = 1, steps = 40, warmup_steps = 4",
        mistakes={"A floor of a tenth of the peak: here the fall goes on, and would reach 0 at step `steps`.": 0.1},
    )
    try:
        rate = candidate(90_000, 1.0, 100_000, 0)
    except RecursionError:
        raise Mistake(
            "It calls itself once for each step before: a long run is too deep for that. The rate of a step can be "
            "computed at once.",
            given="step = 90,000, peak = 1, steps = 100,000, warmup_steps = 0",
        ) from None
    expect.close(
        rate, 0.1, "The rate is wrong in a long run.", given="step = 90,000, peak = 1, steps = 100,000", rtol=1e-3
    )


def _number(value: float, step: int) -> None:
    if isinstance(value, Real) and not isinstance(value, bool):  # numpy's numbers are Real too
        return
    if isinstance(value, Tensor) and value.numel() == 1:
        _one_number(value, "The rate")
        return
    expect.kind(value, float, given=f"step = {step}, peak = 1, steps = 10, warmup_steps = 4")


def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    """New gradients whose common norm is at most ``max_norm``, in the old direction; and the norm before."""
    norm = sum(float(g.square().sum()) for g in gradients) ** 0.5
    scale = min(1.0, max_norm / (norm + 1e-6))
    return [g * scale for g in gradients], norm


@check(
    "03.4",
    title="Clip the gradient",
    reference=clip_by_norm,
    difficulty=2,
    minutes=8,
    points=2,
    asked="implement gradient clipping by global norm",
    hints=[
        "All gradients together are one long vector. Its norm is the root of the sum of *all* squares, not one norm "
        "for each tensor.",
        "If that norm is above `max_norm`, every tensor is multiplied by the same number, `max_norm / norm`; else "
        "nothing changes.",
        "`scale = min(1.0, max_norm / (norm + 1e-6))`, then `return [g * scale for g in gradients], norm`, with the "
        "norm from before the clipping.",
    ],
)
def check_clip_by_norm(candidate: Callable[..., tuple[list[Tensor], float]]) -> None:
    gradients = [torch.tensor([2.0, 1.0]), torch.tensor([[2.0], [4.0]])]  # norm 5
    result = candidate(gradients, 1.0)
    if not (isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[0], tuple | list)):
        raise Mistake("Two things are wanted: `return clipped, norm`, a list and a number.", yours=result)
    clipped, norm = result
    expect.that(
        len(clipped) == 2, f"Two gradients went in, {len(clipped)} came out.", expected="2 tensors", yours=clipped
    )
    for tensor, gradient in zip(clipped, gradients, strict=True):
        expect.shape(tensor, tuple(gradient.shape))
    together = torch.cat([tensor.flatten() for tensor in clipped])
    whole = torch.tensor([2.0, 1.0, 2.0, 4.0])
    expect.close(
        together,
        torch.tensor([0.4, 0.2, 0.4, 0.8]),
        "The clipped gradients are wrong: 2, 1, 2, 4 have the norm 5 and are to be scaled to norm 1.",
        rtol=1e-3,
        atol=1e-5,
        mistakes={
            "Each tensor is clipped on its own, which turns the step aside. Take one norm over all of them.": torch.cat(
                [g.flatten() / g.norm() for g in gradients]
            ),
            "The gradients come back as they were.": whole,
            "Scaled by the squared norm: the root is missing.": whole / 25,
            "The factor comes from the sum of the tensors' norms. Sum the squares of all numbers, then take the root.": whole
            / (5**0.5 + 20**0.5),
            "The factor comes from the largest of the tensors' norms; take one norm over all numbers together.": whole
            / 20**0.5,
            "Each number is cut at max_norm (clipping by value), which turns the step aside.": whole.clamp(max=1.0),
        },
    )
    _one_number(norm, "The norm")
    expect.close(
        norm,
        5.0,
        "The norm is wrong.",
        rtol=1e-3,
        mistakes={
            "This is the norm after the clipping; the one before it tells how rough the sea is.": 1.0,
            "This is the squared norm; the root is missing.": 25.0,
            "This is the sum of the tensors' norms; the squares are to be summed.": sum(
                float(g.norm()) for g in gradients
            ),
        },
    )
    clipped, norm = candidate([g.clone() for g in gradients], 2.5)
    expect.close(
        torch.cat([tensor.flatten() for tensor in clipped]),
        whole / 2,
        "With another max_norm the clipped gradients are wrong: they are to be scaled from the norm 5 to 2.5.",
        rtol=1e-3,
        atol=1e-5,
        mistakes={"`max_norm` is not used: these have the norm 1, asked for was 2.5.": whole / 5},
    )
    expect.close(
        norm, 5.0, "With another max_norm the norm before the clipping is wrong; it stays the same.", rtol=1e-3
    )
    # its norm lies between 1 and max_norm, so that a comparison with 1 instead of max_norm shows
    small, norm = candidate([torch.tensor([0.9]), torch.tensor([1.2])], 2.5)
    expect.close(
        torch.cat(list(small)),
        torch.tensor([0.9, 1.2]),
        "A gradient below max_norm must stay as it is.",
        rtol=1e-3,
        atol=1e-5,
        mistakes={"A small gradient was blown up to max_norm. Clipping only ever shortens.": torch.tensor([1.5, 2.0])},
    )
    expect.close(norm, 1.5, "The norm of a small gradient is wrong.", rtol=1e-3)
    # any shapes: a square that is transposed, one number without an axis, and none at all
    odd = [torch.tensor([[0.0, -2.0], [1.0, 2.0]]).T, torch.tensor(-4.0), torch.zeros(0)]
    shaped, norm = strided(lambda: candidate(odd, 2.5))
    message = "Wrong for negative numbers, or for tensors of other shapes: transposed, (), or empty."
    for tensor, gradient in zip(shaped, odd, strict=True):
        expect.shape(tensor, tuple(gradient.shape))
        expect.close(tensor, gradient / 2, message, given=odd, rtol=1e-3, atol=1e-5)
    expect.close(norm, 5.0, message, given=odd, rtol=1e-3)
    message = "A gradient of zeros does not come back as zeros: 0 / 0 is not a number. Add 1e-6 to the norm."
    try:
        still, _ = candidate([torch.zeros(3)], 1.0)
    except ZeroDivisionError as error:
        raise Mistake(message, expected=torch.zeros(3), yours=f"ZeroDivisionError: {error}") from None
    expect.that(bool((still[0] == 0).all()), message, yours=still[0])


def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    """BERT's corruption (arXiv 1810.04805, section 3.1): corrupted ids, and labels that are -100 where nothing is asked."""
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids >= 6)
    kind = torch.rand(input_ids.shape, generator=generator)  # what becomes of a token that is asked for
    other = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    corrupted = input_ids.masked_fill(asked & (kind < 0.8), mask_id)
    corrupted = torch.where(asked & (kind >= 0.9), other, corrupted)
    return corrupted, input_ids.masked_fill(~asked, -100)


@check(
    "03.5",
    title="Mask tokens",
    reference=mask_tokens,
    difficulty=3,
    minutes=12,
    points=3,
    asked="how does BERT choose and corrupt its tokens?",
    hints=[
        "Draw one random number per token with `torch.rand(input_ids.shape, generator=generator)`. A token is asked for "
        "if it is below `share` and the id is 6 or more (0 to 5 are the special tokens).",
        "Labels: `input_ids.masked_fill(~asked, -100)`. Draw a second random number per token that decides what becomes "
        "of an asked one: below 0.8 the mask, from 0.9 on a random id, between them nothing.",
        "`corrupted = input_ids.masked_fill(asked & (kind < 0.8), mask_id)`, then "
        "`torch.where(asked & (kind >= 0.9), other, corrupted)` with "
        "`other = torch.randint(6, vocab_size, input_ids.shape, generator=generator)`.",
    ],
)
def check_mask_tokens(candidate: Callable[..., tuple[Tensor, Tensor]]) -> None:
    mask_id, vocab_size = 4, 500
    generator = torch.Generator().manual_seed(11)
    ids = torch.randint(6, vocab_size, (64, 256), generator=generator)
    ids[:, 0], ids[:, -3:] = 1, 0
    ids[:, 10:14] = torch.tensor([2, 3, 4, 5])
    brief = f"input_ids {tuple(ids.shape)}, mask_id = 4, vocab_size = 500, share = 0.15"
    result = candidate(ids.clone(), mask_id, vocab_size, torch.Generator().manual_seed(1))
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise Mistake("Two things are wanted: `return corrupted, labels`.", given=brief, yours=result)
    corrupted, labels = result
    for tensor in (corrupted, labels):
        expect.shape(tensor, tuple(ids.shape), given=brief)
        expect.that(tensor.dtype == torch.int64, f"The dtype is {tensor.dtype}; ids and labels are int64.", given=brief)
    expect.that(
        not bool((corrupted == IGNORE).any()), "The corrupted ids hold -100. Are the two results swapped?", given=brief
    )
    asked = labels != IGNORE
    count = int(asked.sum())
    expect.that(count > 0, "No token is asked for: all labels are -100.", given=brief)
    visible = int((ids >= 6).sum())
    expect.that(
        count < 0.9 * visible,
        "Every token is asked for: places that keep their token without being chosen have the label -100.",
        given=brief,
    )
    wrong = asked & (labels != ids)
    expect.that(
        not bool(wrong.any()),
        "A label is not the original token. The labels are taken before the corruption: they are what is to be guessed.",
        given=brief,
        expected=ids[wrong][:6],
        yours=labels[wrong][:6],
    )
    expect.that(
        not bool((asked & (ids < 6)).any()),
        "Special tokens are asked for. Ids 0 to 5 (padding, end, roles, mask) teach nothing: leave them alone.",
        given=brief,
    )
    expect.that(
        not bool((asked[1:] == asked[:1])[:, (ids >= 6).all(0)].all()),
        "Every row hides the same places: draw for each token.",
        given=brief,
    )
    changed = corrupted != ids
    expect.that(
        not bool((changed & ~asked).any()),
        "Tokens were changed that nobody asks for: a change belongs to a place with a label.",
        given=brief,
    )
    masked = asked & (corrupted == mask_id)
    kept = asked & (corrupted == ids)
    other = asked & ~masked & ~kept
    expect.that(
        bool(masked.sum() < count),
        "Every asked token becomes the mask. A tenth should stay, and a tenth become another token: no text of later "
        "use holds a mask, so the model must not rely on it.",
        given=brief,
    )
    expect.that(
        int(kept.sum()) > 0.02 * count,  # not 0: a random id may be the old one
        "No asked token keeps its id; a tenth should, and is asked for too. Labels come from the draw, not from "
        "`corrupted != input_ids`.",
        given=brief,
    )
    shared = asked.sum(0) >= 2
    differing = (masked.any(0) & (asked & ~masked).any(0))[shared]
    expect.that(
        bool(differing.any()),
        "All tokens of a column meet the same fate: draw masked, replaced or kept for each token, not for each place.",
        given=brief,
    )
    rows_asked = (asked & ~masked).any(1) & masked.any(1)
    expect.that(
        bool(rows_asked.any()),
        "All tokens of a row meet the same fate: draw masked, replaced or kept for each token, not for each row.",
        given=brief,
    )
    _share(count / visible, 0.15, 0.012, "of the tokens are asked for", brief)
    expect.that(
        asked.sum(1).float().std() > 2,
        "Every row asks for (nearly) the same number of tokens. Each token is drawn on its own, so the numbers scatter.",
        given=brief,
        expected="37 tokens a row, give or take 6",
        yours=f"{asked.sum(1).float().mean():.0f}, give or take {asked.sum(1).float().std():.1f}",
    )
    _share(int(masked.sum()) / count, 0.80, 0.04, "of the asked tokens become the mask", brief)
    _share(int(other.sum()) / count, 0.10, 0.03, "of the asked tokens become another token", brief)
    drawn = corrupted[other]
    expect.that(
        bool((drawn >= 6).all()) and bool((drawn < vocab_size).all()),
        "A random token lies outside of 6 to vocab_size - 1.",
        given=brief,
        yours=drawn[(drawn < 6) | (drawn >= vocab_size)][:6],
    )
    expect.that(
        len(drawn.unique()) > 0.5 * len(drawn),
        "The random tokens are nearly all the same: one draw for each place is wanted, not one for the batch.",
        given=brief,
    )
    low = torch.randint(6, 100, (32, 128), generator=generator)
    changed_low, labels_low = candidate(low.clone(), mask_id, vocab_size, torch.Generator().manual_seed(4))
    expect.that(
        bool((changed_low[labels_low != IGNORE] >= 100).any()),
        "The random tokens are taken from the text itself; any id from 6 to vocab_size - 1 may come.",
        given="input_ids (32, 128) with ids below 100, vocab_size = 500",
        yours=f"no id above {int(changed_low.max())}",
    )
    again = candidate(ids.clone(), mask_id, vocab_size, torch.Generator().manual_seed(1))
    expect.that(
        torch.equal(again[0], corrupted) and torch.equal(again[1], labels),
        "The same generator seed gives another result. Pass `generator=generator` to every draw.",
        given=brief,
    )
    two = candidate(ids.clone(), mask_id, vocab_size, torch.Generator().manual_seed(2))
    expect.that(
        not torch.equal(two[1], labels),
        "Another seed gives the same places. Is the generator used, or a seed set inside?",
        given=brief,
    )
    plain, few = candidate(ids.clone())  # every argument left out; no generator: torch's own draws
    expect.that(
        bool((plain[(few != IGNORE) & (plain != ids)] == 4).any()) and int((few != IGNORE).sum()) < 0.3 * visible,
        "Without further arguments the mask is 4 and the share 0.15: keep the defaults of the signature.",
        given=f"input_ids {tuple(ids.shape)} alone",
    )
    _, many = candidate(ids.clone(), mask_id, vocab_size, torch.Generator().manual_seed(1), 0.5)
    _share(int((many != IGNORE).sum()) / visible, 0.5, 0.02, "of the tokens are asked for with share=0.5", brief)
    _two_ids(candidate)
    _, every = candidate(ids.clone(), mask_id, vocab_size, torch.Generator().manual_seed(1), 1.0)
    expect.that(
        torch.equal(every != IGNORE, ids >= 6), "With share=1 every ordinary token is asked for, and no special one."
    )


def _two_ids(candidate: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """The smallest vocabulary, ids 6 and 7: a bound that is off by one leaves one of them out. And another mask."""
    ids = torch.tensor([6, 7]).repeat(64, 32)
    brief = f"input_ids {tuple(ids.shape)} of 6 and 7 only, mask_id = 5, vocab_size = 8, share = 0.5"
    corrupted, labels = candidate(ids.clone(), 5, 8, torch.Generator().manual_seed(3), 0.5)
    expect.that(
        not bool((corrupted == 4).any()),
        "`mask_id` is not used: the id 4 comes as the mask, asked for was 5.",
        given=brief,
    )
    for id, why in ((6, "Ids 0 to 5 are the special tokens; 6 is the first ordinary one."), (7, "It is ordinary too.")):
        expect.that(bool((labels == id).any()), f"Id {id} is never asked for. {why}", given=brief)
    # only a token that was the other one shows what was drawn
    for id, why in (
        (6, "The draw begins at 6."),
        (7, "`torch.randint` leaves its upper end out: give it vocab_size itself."),
    ):
        replaced = (corrupted == id) & (ids != id)
        expect.that(bool(replaced.any()), f"No token is replaced by id {id}. {why}", given=brief)


def _share(found: float, wanted: float, tolerance: float, what: str, given: str) -> None:
    if not isclose(found, wanted, abs_tol=tolerance):
        raise Mistake(
            f"{found:.0%} {what}; about {wanted:.0%} should.",
            given=given,
            expected=f"{wanted:.2f}",
            yours=f"{found:.2f}",
        )
