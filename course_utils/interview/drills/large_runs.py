"""Drills on large runs: gradients of micro-batches, a loss scale, a ring of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import integers, normal
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = Lazy("torch")
    F = Lazy("torch.nn.functional")


def accumulated_gradient(weight: Tensor, micro_batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The gradient (width, vocabulary) of the mean loss over all labels of all micro-batches, one of them at a time.

    weight: (width, vocabulary); logits are x @ weight. micro_batches: pairs of x (n, width) and labels (n,), n differs; the
    loss is cross-entropy, and labels of -100 do not count.
    """
    count = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    leaf = weight.detach().clone().requires_grad_()
    for x, labels in micro_batches:
        loss = F.cross_entropy(x @ leaf, labels, ignore_index=-100, reduction="sum") / count
        loss.backward()  # adds to leaf.grad, and frees the activations of this micro-batch
    assert leaf.grad is not None
    return leaf.grad


def _micro(seed, sizes, hidden=0.0):
    batches = []
    for i, n in enumerate(sizes):
        labels = integers(seed + 7 * i, 3, n)
        for place in range(1, n, 2 if i == 0 else 3):
            labels[place] = -100 if hidden else labels[place]
        batches.append((normal(seed + i, n, 2), labels))
    return batches


accumulate = Definition(
    accumulated_gradient,
    title="Gradient accumulation",
    level="onsite",
    minutes=12,
    topics=("A12",),
    statement="""
    Sum up the gradient of a large batch over micro-batches that hold different numbers of labels, so that it equals the
    gradient of the whole batch at once: the mean over all labels that count, not the mean of the micro-batches' means. Go
    through them one at a time; never lay them together. The model is `logits = x @ weight`, the loss cross-entropy, labels of
    -100 do not count. A micro-batch may have no label that counts. Result: the gradient, with the shape of weight.
    """,
    cases=lambda: [
        Case(normal(1, 2, 3), _micro(2, [1])),
        Case(normal(3, 2, 3), _micro(4, [1, 3])),
        Case(normal(5, 2, 3), _micro(6, [4, 3, 5], 1.0)),
        Case(normal(7, 2, 3), [*_micro(8, [3]), (normal(9, 2, 2), torch.tensor([-100, -100])), *_micro(10, [2])]),
    ],
    general="Not the gradient of the mean over all labels that count.",
    hints=[
        "Count first, over all micro-batches. Then each loss is a sum divided by that count; `backward` adds gradients up.",
        "`F.cross_entropy(x @ leaf, labels, ignore_index=-100, reduction='sum') / count`, `.backward()` in the loop, and at the "
        "end `leaf.grad`, with `leaf = weight.detach().clone().requires_grad_()`.",
    ],
    banned=("cat", "concat", "concatenate", "vstack", "row_stack"),
)


def _accumulated(weight, batches, of="all", reduction="sum", last=False, ignore=-100):
    leaf, total = weight.detach().clone().requires_grad_(), torch.zeros_like(weight)
    count = sum(int((y != -100).sum()) for _, y in batches)
    counts = {"all": count, "batches": len(batches), "none": 1, "places": sum(len(y) for _, y in batches)}
    for x, y in batches:
        logits = x @ leaf
        keep = y != -100
        if ignore is None:
            keep, y = torch.ones_like(keep), y.clamp(min=0)
        losses = F.cross_entropy(logits[keep], y[keep], reduction=reduction)
        slope = torch.autograd.grad(losses / counts[of], leaf)[0]
        total = slope if last else total + slope
    return total


accumulate.plant(
    {
        "The micro-batches' means are averaged: a label in a small one counts for more.": (
            lambda weight, micro_batches: _accumulated(weight, micro_batches, "batches", "mean")
        ),
        "The micro-batches' means are added up: divide by the number of all labels that count.": (
            lambda weight, micro_batches: _accumulated(weight, micro_batches, "none", "mean")
        ),
        "The sum is not divided by the number of labels that count.": lambda weight, micro_batches: _accumulated(
            weight, micro_batches, "none"
        ),
        "Divided by all places; labels of -100 do not count.": lambda weight, micro_batches: _accumulated(
            weight, micro_batches, "places"
        ),
        "Only the last micro-batch is left: gradients are set to 0 between them.": lambda weight, micro_batches: (
            _accumulated(weight, micro_batches, last=True)
        ),
        "Divided by the number of micro-batches; it is the number of labels that count.": lambda weight, micro_batches: (
            _accumulated(weight, micro_batches, "batches")
        ),
        "The gradient lacks its sign: the loss goes down along the negative of it, but that is the optimizer's part.": (
            lambda weight, micro_batches: -_accumulated(weight, micro_batches)
        ),
    }
)


def scaled_step(
    grads: list[Tensor], scale: float, good_steps: int, interval: int
) -> tuple[list[Tensor] | None, float, int]:
    """(gradients, scale, good_steps) of dynamic loss scaling after one backward pass. The list given stays as it is.

    grads: of the loss times ``scale``. With a number among them that is not finite: (None, scale / 2, 0), no step is made.
    Else the true gradients and good_steps + 1; where that reaches ``interval``, the scale is doubled and good_steps is 0.
    """
    if not all(torch.isfinite(grad).all() for grad in grads):
        return None, scale / 2, 0
    true = [grad / scale for grad in grads]
    if good_steps + 1 == interval:
        return true, 2 * scale, 0
    return true, scale, good_steps + 1


scaling = Definition(
    scaled_step,
    new=True,
    title="Dynamic loss scale of mixed precision",
    level="onsite",
    minutes=10,
    topics=("A12",),
    statement="""
    In float16 small gradients vanish, so the loss is multiplied by a large scale before `backward`. Write what happens after
    it. If any gradient is inf or NaN: make no step (None), halve the scale, begin counting anew. Else divide the gradients by
    the scale that they were made with, and count one good step more; when `interval` good steps in a row are reached,
    double the scale for the next pass and count from 0.
    Result: (new gradients or None, scale, good_steps).
    """,
    cases=lambda: [
        Case([torch.tensor([8.0, 2.0])], 4.0, 0, 3),
        Case([normal(1, 2), torch.tensor([torch.inf, 1.0])], 8.0, 2, 3),
        Case([torch.tensor([1.0, torch.nan]), normal(2, 2)], 8.0, 1, 5),
        Case([normal(3, 2), normal(4, 3)], 16.0, 2, 3),
        Case([normal(5, 2)], 2.0, 1, 4),
        Case([torch.tensor([-torch.inf])], 1024.0, 0, 2),
    ],
    general="Not None and half the scale after inf or NaN, else the gradients divided by the scale and one good step more.",
    hints=[
        "Look at all tensors before anything else. The gradients carry the old scale, also where it is about to grow.",
        "`if not all(torch.isfinite(g).all() for g in grads): return None, scale / 2, 0`; `true = [g / scale for g in grads]`; "
        "`if good_steps + 1 == interval: return true, 2 * scale, 0`.",
    ],
)


def _scaled(
    grads,
    scale,
    good,
    interval,
    nan=True,
    first=False,
    half=True,
    again=True,
    grow=True,
    at=1,
    divide=True,
    new=False,
    keep=False,
):
    look = grads[:1] if first else grads
    bad = not all((torch.isfinite(g) if nan else ~torch.isinf(g)).all() for g in look)
    if bad:
        return (None if not keep else [g / scale for g in grads]), scale / 2 if half else scale, 0 if again else good
    full = good + at >= interval
    after = 2 * scale if full and grow else scale
    true = [g / (after if new else scale) if divide else g.clone() for g in grads]
    return true, after, 0 if full else good + 1


scaling.plant(
    {
        sentence: lambda grads, scale, good_steps, interval, wrong=wrong: _scaled(
            grads, scale, good_steps, interval, **wrong
        )
        for sentence, wrong in {
            "NaN is not noticed; look for what is not finite.": {"nan": False},
            "Only the first tensor is looked at.": {"first": True},
            "The scale stays after an overflow; it is halved.": {"half": False},
            "Good steps are still counted after an overflow; begin anew at 0.": {"again": False},
            "The scale never grows.": {"grow": False},
            "The scale grows one step late.": {"at": 0},
            "The gradients are not divided by the scale.": {"divide": False},
            "The gradients are divided by the new scale; they were made with the old one.": {"new": True},
            "The step is made in spite of an overflow; it is left out (None).": {"keep": True},
        }.items()
    }
)


def ring_all_reduce(buffers: list[list[float]]) -> tuple[list[list[float]], list[list[float]]]:
    """(scattered, reduced): what all workers hold after the reduce-scatter, and after the all-gather, of a ring.

    buffers: n workers with n chunks each, a chunk being one number. In step s = 0 ... n - 2 of the reduce-scatter worker w
    sends its chunk (w - s) mod n to worker (w + 1) mod n, which adds it to its own. In step s of the all-gather it sends chunk (w + 1 - s) mod n, which replaces. Nothing given is changed.
    """
    n = len(buffers)
    held = [list(buffer) for buffer in buffers]
    for s in range(n - 1):
        for w in range(n):  # in one step all chunks on their way are different ones: the order does not matter
            held[(w + 1) % n][(w - s) % n] += held[w][(w - s) % n]
    scattered = [list(buffer) for buffer in held]
    for s in range(n - 1):
        for w in range(n):
            held[(w + 1) % n][(w + 1 - s) % n] = held[w][(w + 1 - s) % n]
    return scattered, held


def _ring_cases():
    import random

    rng = random.Random(7)
    drawn = [[[round(rng.uniform(-5, 5), 2) for _ in range(n)] for _ in range(n)] for n in (3, 4, 5)]
    return [Case([[1.0, 2.0], [10.0, 20.0]]), *[Case(buffers) for buffers in drawn], Case([[7.0]])]


ring = Definition(
    ring_all_reduce,
    new=True,
    title="Ring all-reduce, simulated",
    level="staff",
    minutes=15,
    topics=("A12",),
    statement="""
    Sum the gradients of n workers that stand in a ring and talk only to the next one. Each buffer has n chunks (here of one
    number). Reduce-scatter, n - 1 steps: in step s = 0, 1, ... worker w sends chunk `(w - s) mod n` to worker w + 1, which adds
    it; all send at once. Now worker w holds the whole sum of chunk `(w + 1) mod n`. All-gather, n - 1 steps: worker w sends chunk
    `(w + 1 - s) mod n`, which replaces. So each worker sends 2 (n - 1) / n of its buffer, whatever n is.
    Result: the buffers of all workers after the first part, and at the end, new lists.
    """,
    cases=_ring_cases,
    general="Not what the ring holds after its n - 1 steps of adding, and after n - 1 steps of replacing.",
    hints=[
        "Two loops, over steps and over workers, twice. The receiver is (w + 1) mod n; the chunk's number is the sender's. "
        "Copy the lists first: the caller needs them.",
        "`held[(w + 1) % n][(w - s) % n] += held[w][(w - s) % n]`; copy what is held; then the same with `(w + 1 - s) % n` "
        "and `=`.",
    ],
)


def _ring(buffers, steps=None, back=False, replace=True, first=None, total=False, mean=False):
    n = len(buffers)
    held = [list(b) for b in buffers]
    to = -1 if back else 1

    def run(offset, add):
        for s in range(n - 1 if steps is None else steps(n)):
            sent = [held[w][(w + offset - s) % n] for w in range(n)]
            for w, value in enumerate(sent):
                place = (w + offset - s) % n
                held[(w + to) % n][place] = held[(w + to) % n][place] + value if add else value

    run(0, True)
    scattered = [list(b) for b in held]
    run(1 if first is None else first, not replace)
    if total:
        held = [[sum(b[c] for b in buffers) for c in range(n)] for _ in range(n)]
        scattered = held
    return scattered, [[x / n for x in b] for b in held] if mean else held


ring.plant(
    {
        sentence: lambda buffers, wrong=wrong: _ring(buffers, **wrong)
        for sentence, wrong in {
            "The chunks go to the worker before; they go to the next one.": {"back": True},
            "n steps instead of n - 1: a worker's own numbers come back to it.": {"steps": lambda n: n},
            "The all-gather adds; it replaces.": {"replace": False},
            "The all-gather begins with chunk w; worker w holds the whole sum of chunk w + 1.": {"first": 0},
            "The first part holds the full sums already; it is what each worker holds after the reduce-scatter (copy it then).": {
                "total": True
            },
            "The sums are divided by n; all-reduce sums here.": {"mean": True},
        }.items()
    }
)
