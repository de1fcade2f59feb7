"""Checks of chapter 03: the loss, bits and perplexity, the learning rate, clipping, and masked language modelling."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, isclose, log

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.classroom.engine import Mistake, check, expect

IGNORE = -100


def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats: the logits at place t are held against the label at place t + 1; -100 is skipped."""
    predictions, targets = logits[:, :-1], labels[:, 1:]
    return F.cross_entropy(predictions.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


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
            "This is the sum over all places; the mean is wanted.": F.cross_entropy(flat, targets, reduction="sum"),
            "The sign is wrong: a loss falls when the right token becomes more likely.": -F.cross_entropy(
                flat, targets
            ),
            "This is in bits; the loss is wanted in nats (the natural logarithm).": F.cross_entropy(flat, targets)
            / log(2),
        },
    )
    hidden = labels.clone()
    hidden[1, 2:] = IGNORE
    expect.close(
        candidate(logits, hidden),
        F.cross_entropy(flat, hidden[:, 1:].flatten(), ignore_index=IGNORE),
        "With labels of -100 the loss is wrong: such places are skipped, in the sum and in the count.",
        mistakes={
            "The places with -100 are left out of the sum but still counted in the mean.": F.cross_entropy(
                flat, hidden[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum"
            )
            / 6
        },
    )
    learned = logits.clone().requires_grad_()
    loss = candidate(learned, labels)
    expect.that(
        isinstance(loss, Tensor) and loss.requires_grad,
        "No gradient flows from the loss to the logits. Is there a `.detach()`, `.item()` or `no_grad` in the way?",
    )


def _scalar(loss: Tensor) -> None:
    expect.kind(loss, Tensor)
    expect.shape(loss, ())


def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    """Bits of each document (the sum over its tokens, in base 2), and the perplexity over all tokens together."""
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = (losses * real).sum(1)
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
        },
    )
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
            "The padding is averaged in.": exp(float(losses.mean())),
            "This is the mean loss; exp is missing.": 7 / 4 * log(2),
        },
    )
    generator = torch.Generator().manual_seed(5)
    losses, lengths = torch.rand(4, 9, generator=generator), torch.tensor([9, 1, 4, 6])
    bits, perplexity = candidate(losses, lengths)
    wanted, number = bits_and_perplexity(losses, lengths)
    expect.close(bits, wanted, "The bits are wrong for a larger batch.")
    expect.close(perplexity, number, "The perplexity is wrong for a larger batch.")


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
        rates[0] > 0,
        "The first step has a learning rate of 0: it computes a gradient and throws it away. Steps count from 0, so "
        "use step + 1.",
        given="step = 0, peak = 1, steps = 10, warmup_steps = 4",
        expected=0.25,
        yours=float(rates[0]),
    )
    named = {
        0: {},
        3: {"The peak is not reached by the last step of the warm-up.": 0.75},
        4: {
            "After the warm-up the rate does not begin at the peak: the decay starts at step `warmup_steps`, not at 0.": 0.6,
            "The warm-up goes on for one step too long.": 1.25,
        },
        9: {
            "The rate does not fall after the warm-up.": 1.0,
            "The last step has a rate of 0: it would be wasted. Nothing is left at step `steps`, one later.": 0.0,
            "The decay is measured over all steps; it has only steps - warmup_steps of them.": 0.1,
        },
    }
    for step, wanted in ((0, 0.25), (3, 1.0), (4, 1.0), (9, 1 / 6)):
        given = f"step = {step}, peak = 1, steps = 10, warmup_steps = 4"
        message = "The rate is wrong during the warm-up." if step < 4 else "The rate is wrong during the decay."
        expect.close(rates[step], wanted, message, given=given, mistakes=named[step])
    for step in range(7):
        for warmup in (0, 1, 3):
            wanted = learning_rate_at(step, 3e-3, 7, warmup)
            given = f"step = {step}, peak = 0.003, steps = 7, warmup_steps = {warmup}"
            message = "Without warm-up the rate is wrong." if warmup == 0 else "The rate is wrong for another run."
            expect.close(candidate(step, 3e-3, 7, warmup), wanted, message, given=given, atol=1e-9)


def _number(value: float, step: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
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
    result = candidate([g.clone() for g in gradients], 1.0)
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
            "Each number is cut at max_norm (clipping by value), which turns the step aside.": whole.clamp(max=1.0),
        },
    )
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
    small, norm = candidate([torch.tensor([0.3]), torch.tensor([0.4])], 1.0)
    expect.close(
        torch.cat(list(small)),
        torch.tensor([0.3, 0.4]),
        "A gradient below max_norm must stay as it is.",
        rtol=1e-3,
        atol=1e-5,
        mistakes={"A small gradient was blown up to max_norm. Clipping only ever shortens.": torch.tensor([0.6, 0.8])},
    )
    expect.close(norm, 0.5, "The norm of a small gradient is wrong.", rtol=1e-3)
    still, _ = candidate([torch.zeros(3)], 1.0)
    expect.that(
        bool((still[0] == 0).all()),
        "A gradient of zeros does not come back as zeros: 0 / 0 is not a number. Add 1e-6 to the norm.",
        yours=still[0],
    )


@check(
    "03.5",
    title="Mask tokens",
    reference="course_utils.text.masking:mask_tokens",
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
    brief = f"input_ids {tuple(ids.shape)}, mask_id = 4, vocab_size = 500, share = 0.15"
    result = candidate(ids.clone(), mask_id, vocab_size, torch.Generator().manual_seed(1))
    if not (isinstance(result, tuple | list) and len(result) == 2):
        raise Mistake("Two things are wanted: `return corrupted, labels`.", given=brief, yours=result)
    corrupted, labels = result
    for tensor in (corrupted, labels):
        expect.shape(tensor, tuple(ids.shape), given=brief)
        expect.that(tensor.dtype == torch.int64, f"The dtype is {tensor.dtype}; ids and labels are int64.", given=brief)
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
    changed = corrupted != ids
    expect.that(
        not bool((changed & ~asked).any()),
        "Tokens were changed that nobody asks for: a change belongs to a place with a label.",
        given=brief,
    )
    _share(count / visible, 0.15, 0.012, "of the tokens are asked for", brief)
    masked = asked & (corrupted == mask_id)
    kept = asked & (corrupted == ids)
    other = asked & ~masked & ~kept
    expect.that(
        bool(masked.sum() < count),
        "Every asked token becomes the mask. A tenth should stay, and a tenth become another token: no text of later "
        "use holds a mask, so the model must not rely on it.",
        given=brief,
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
    _, many = candidate(ids.clone(), mask_id, vocab_size, torch.Generator().manual_seed(1), 0.5)
    _share(int((many != IGNORE).sum()) / visible, 0.5, 0.02, "of the tokens are asked for with share=0.5", brief)


def _share(found: float, wanted: float, tolerance: float, what: str, given: str) -> None:
    if not isclose(found, wanted, abs_tol=tolerance):
        raise Mistake(
            f"{found:.0%} {what}; about {wanted:.0%} should.",
            given=given,
            expected=f"{wanted:.2f}",
            yours=f"{found:.2f}",
        )
