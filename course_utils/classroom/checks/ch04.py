"""Checks of chapter 04: ZeRO's arithmetic, recomputation, unequal micro-batches, clipping over shards, compute-optimal sizes, chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, combinations_with_replacement, islice, permutations, product
from math import sqrt
from statistics import fmean, median
from typing import Any
from weakref import WeakSet

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.classroom.checks.layout import strided
from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, check, expect
from course_utils.training.memory import checkpointed_bytes
from course_utils.training.scaling_law import compute_optimal


def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    """Bytes of weights, gradients and AdamW's state on each rank: 16-bit weights, float32 master copy (ZeRO, arXiv 1910.02054, figure 1)."""
    weights = 2 / ranks if stage >= 3 else 2
    gradients = 2 / ranks if stage >= 2 else 2
    optimizer = 12 / ranks if stage >= 1 else 12
    return parameters * (weights + gradients + optimizer)


zero = Exercise(
    "04.1",
    title="Memory on each rank, by ZeRO stage",
    reference=bytes_per_rank,
    difficulty=2,
    minutes=8,
    points=2,
    asked="how much memory does training 7 B take? And with ZeRO-3?",
    hints=[
        "One parameter costs 2 bytes (weight) + 2 (gradient) + 12 (optimizer: float32 copy and two moments).",
        "Stage 1 divides the 12 by the number of ranks, stage 2 also the gradient's 2, stage 3 all 16. Stage 0 divides nothing.",
        "`weights = 2 / ranks if stage >= 3 else 2`, and so on for gradients (2) and optimizer (1).",
    ],
    cases=[
        *(Case(1000, ranks, stage) for ranks, stage in ((1, 0), (4, 0), (4, 1), (5, 1), (4, 2), (4, 3))),
        Case(7_000_000, 8, 3),
        *(Case(7, 5, stage) for stage in (1, 2, 3)),  # nor is it a whole number of bytes
        *(Case(10, 4, stage) for stage in (1, 2, 3)),  # 4 divides neither the parameters nor what a part of them takes
    ],
    general="Not the bytes that lie on one rank.",
    rtol=1e-6,
)


def _bill(n: int, ranks: int, stage: int, sizes: Sequence[int] = (2, 2, 12), first: Sequence[int] = (3, 2, 1)) -> float:
    """Bytes of weights, gradients and optimizer of these ``sizes``, each split from its ``first`` stage on."""
    return n * sum(size / (ranks if stage >= at else 1) for size, at in zip(sizes, first, strict=True))


@zero.bug(
    "Nothing is shared out; every stage from 1 on shares out something, and stage 1 begins with the optimizer's state."
)
def zero_whole(parameters, ranks, stage):
    return 16.0 * parameters


@zero.bug("Each stage comes one late: stage 1 shares out something already, so it is `stage >= 1`, not `stage > 1`.")
def zero_one_late(parameters, ranks, stage):
    return _bill(parameters, ranks, stage - 1)


@zero.bug("That is the sum over all ranks; one rank's share is asked for.")
def zero_all_ranks(parameters, ranks, stage):
    return _bill(parameters, ranks, stage) * ranks


@zero.bug(
    "The optimizer keeps 12 bytes, the float32 copy of the weight and two moments of 4 each; 8 leaves one of them out."
)
def zero_no_copy(parameters, ranks, stage):
    return _bill(parameters, ranks, stage, (2, 2, 8))


@zero.bug("Those are 4 bytes for weights and gradients, the bill of autocast; with a master copy they take 2 each.")
def zero_float32(parameters, ranks, stage):
    return _bill(parameters, ranks, stage, (4, 4, 8))


@zero.bug("The float32 copy is one of the optimizer's 12 bytes already; weights and gradients take 2 each.")
def zero_copy_twice(parameters, ranks, stage):
    return _bill(parameters, ranks, stage, (4, 4, 12))


@zero.bug("The optimizer's float32 copy of the weights is split with the optimizer's state, from stage 1 on.")
def zero_copy_with_weights(parameters, ranks, stage):
    return _bill(parameters, ranks, stage, (6, 2, 8))


@zero.bug("Stage 1 shards the optimizer's state first, because it is the largest part; then gradients, then weights.")
def zero_order(parameters, ranks, stage):
    return _bill(parameters, ranks, stage, first=(1, 2, 3))


@zero.bug("A stage shares out what the stages before it do, and one thing more; here only its own part is divided.")
def zero_own_part_only(parameters, ranks, stage):
    return parameters * sum(size / ranks if stage == at else size for size, at in ((2, 3), (2, 2), (12, 1)))


@zero.bug("Everything is divided at every stage; only stage 3 shards all of it.")
def zero_always(parameters, ranks, stage):
    return 16.0 * parameters / ranks


@zero.bug("Stage 2 shards the gradients too.")
def zero_keeps_gradients(parameters, ranks, stage):
    return _bill(parameters, ranks, stage, first=(3, 3, 1))


@zero.bug("Stage 3 shards the weights too.")
def zero_keeps_weights(parameters, ranks, stage):
    return _bill(parameters, ranks, min(stage, 2))


@zero.bug("That is the bill of one parameter; multiply it by the parameters.")
def zero_of_one(parameters, ranks, stage):
    return _bill(1, ranks, stage)


@zero.bug("`//` cuts the fractions off: a parameter's share on a rank is no whole number of bytes. Divide with `/`.")
def zero_cut(parameters, ranks, stage):
    return parameters * (16, 4 + 12 // ranks, 2 + 14 // ranks, 16 // ranks)[stage]


@zero.bug("The parameters on a rank are rounded down to a whole number; nothing is rounded: divide with `/`.")
def zero_whole_parameters(parameters, ranks, stage):
    part = parameters // ranks
    return _bill(1, 1, 0, [size * (part if stage >= at else parameters) for size, at in ((2, 3), (2, 2), (12, 1))])


@zero.bug("The parameters on a rank are rounded up to a whole number; nothing is rounded: divide with `/`.")
def zero_padded_parameters(parameters, ranks, stage):
    part = -(-parameters // ranks)
    return _bill(1, 1, 0, [size * (part if stage >= at else parameters) for size, at in ((2, 3), (2, 2), (12, 1))])


@zero.bug("A number of ranks is written in; use `ranks`.")
def zero_eight_ranks(parameters, ranks, stage):
    return _bill(parameters, 8, stage)


@zero.bug("The bill is in gigabytes; bytes are asked for.")
def zero_in_gigabytes(parameters, ranks, stage):
    return _bill(parameters, ranks, stage) / 1e9


@check(
    "04.2",
    title="What checkpointing keeps",
    reference="course_utils.training.memory:checkpointed_bytes",
    difficulty=2,
    minutes=8,
    points=2,
    asked="what does activation checkpointing save, at what cost?",
    hints=[
        "There are ceil(layers / every) segments, and each keeps the input of its first layer.",
        "While the backward pass is in a segment, all of that segment's layers hold their inner activations at once.",
        "`ceil(layers / every) * boundary + min(every, layers) * inside`.",
    ],
)
def check_checkpointed_bytes(candidate: Callable[[int, int, float, float], float]) -> None:
    for layers, every, boundary, inside in (
        (12, 3, 2.0, 20.0),
        (10, 4, 1.0, 7.0),
        (6, 8, 3.0, 11.0),
        (4, 1, 1.0, 10.0),
        (9, 2, 1.5, 0.25),
        (5, 5, 0.75, 2.5),
        (1, 3, 2.0, 5.0),
    ):
        wanted = checkpointed_bytes(layers, every, boundary, inside)
        segments = -(-layers // every)
        mistakes = {
            "The last segment may be shorter than the others, and keeps its input too: round up.": layers
            // every
            * boundary
            + min(every, layers) * inside,
            "One input too few: the first segment keeps its own, and so does the one that is computed again.": (
                segments - 1
            )
            * boundary
            + min(every, layers) * inside,
            "The division is not rounded: there are whole segments.": layers / every * boundary
            + min(every, layers) * inside,
            "The segment that is computed again holds `inside` for each of its layers.": segments * boundary + inside,
            "A segment has no more layers than the model.": segments * boundary + every * inside,
            "Only the kept inputs are counted; in the backward pass one segment's inner activations come on top.": segments
            * boundary,
            "That is without checkpointing: all layers keep everything.": layers * inside,
            "Every layer's input is kept; only the first of each segment is.": layers * boundary
            + min(every, layers) * inside,
            "All segments keep their inner activations; only one at a time is computed again.": segments
            * (boundary + min(every, layers) * inside),
            "When `every` divides the layers there is no segment more: `layers // every + 1` counts one too many.": (
                layers // every + 1
            )
            * boundary
            + min(every, layers) * inside,
            "The peak is reached in a segment of full length, not in a shorter last one.": segments * boundary
            + ((layers % every) or every) * inside,
            "The two are swapped: one input for each segment, and `inside` for each layer of one segment.": every
            * boundary
            + segments * inside,
            "One segment is computed again, with all of its layers; this is one layer of every segment.": segments
            * (boundary + inside),
            "The kept inputs are still there while a segment is computed again: add the two.": max(
                segments * boundary, min(every, layers) * inside
            ),
            "`inside` is all that a layer holds; its input does not come on top, only the segments' inputs do.": segments
            * boundary
            + min(every, layers) * (inside + boundary),
        }
        expect.close(
            candidate(layers, every, boundary, inside),
            wanted,
            "Not the peak of kept inputs and one recomputed segment.",
            given={"layers": layers, "every": every, "boundary": boundary, "inside": inside},
            mistakes={why: value for why, value in mistakes.items() if value != wanted},
        )


def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    """Add up gradients so that they equal those of all micro-batches as one batch; returns the mean loss."""
    tokens = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    total = 0.0
    for inputs, labels in micro_batches:
        loss = F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten(), ignore_index=-100, reduction="sum")
        (loss / tokens).backward()
        total += loss.item() / tokens
    return total


class _Mark:
    """Lives as long as the piece of graph that holds it."""


class _Kept(torch.autograd.Function):
    """Its input again; until the backward pass has come by, or the graph is dropped, the set holds a mark."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, alive: WeakSet[Any]) -> Tensor:
        if logits.requires_grad:
            ctx.mark, ctx.alive = _Mark(), alive
            alive.add(ctx.mark)
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        ctx.alive.discard(ctx.mark)
        return gradient, None


def _gradient(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@check(
    "04.3",
    title="Accumulation with unequal token counts",
    reference=accumulate,
    difficulty=3,
    minutes=12,
    points=3,
    asked="implement gradient accumulation that equals the large batch",
    mutates=["model"],
    hints=[
        "The large batch's loss is one mean over all labels that count. Count them first, over all micro-batches.",
        "Each micro-batch adds the *sum* of its losses, divided by that total: `reduction='sum'`.",
        "`(loss_sum / tokens).backward()` in the loop; `.grad` adds up by itself. Skip labels of -100.",
    ],
)
def check_accumulate(candidate: Callable[[nn.Module, list[tuple[Tensor, Tensor]]], float]) -> None:
    draw = torch.Generator().manual_seed(4)
    weight = torch.randn(5, 3, generator=draw)
    data = []
    for rows, hidden in ((1, 0), (3, 2), (2, 5)):
        labels = torch.randint(5, (rows, 4), generator=draw)
        labels.flatten()[:hidden] = -100
        data.append((torch.randn(rows, 4, 3, generator=draw), labels))

    alive: WeakSet[Any] = WeakSet()  # forward passes that are kept in memory for a backward pass that is still to come
    most = [0]

    class Counted(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            logits = _Kept.apply(super().forward(inputs), alive)
            most[0] = max(most[0], len(alive), 2 if len(inputs) > max(rows) else 1)
            return logits

    def fresh() -> nn.Module:
        model = Counted(3, 5, bias=False)
        with torch.no_grad():
            model.weight.copy_(weight)
        return model

    def pieces(weights: list[float]) -> tuple[Tensor, float]:
        model, value = fresh(), 0.0
        for (inputs, labels), w in zip(data, weights, strict=True):
            loss = (
                F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten(), ignore_index=-100, reduction="sum") * w
            )
            loss.backward()
            value += loss.item()
        return _gradient(model), value

    def shifted() -> Tensor:
        model = fresh()
        pairs = [(model(x)[:, :-1].flatten(0, -2), y[:, 1:].flatten()) for x, y in data]
        F.cross_entropy(torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])).backward()
        return _gradient(model)

    counts = [int((labels != -100).sum()) for _, labels in data]
    rows = [len(labels) for _, labels in data]
    total = sum(counts)
    right, loss = pieces([1 / total] * 3)
    model, most[0] = fresh(), 0
    yours = candidate(model, [(x.clone(), y.clone()) for x, y in data])
    at_once = most[0]
    given = f"three micro-batches with {counts} labels that count"
    expect.that(
        model.weight.grad is not None, "No gradient was left: call backward() on each micro-batch.", given=given
    )
    wrong = {
        "The mean of means: a micro-batch with few tokens counts as much as one with many. Divide every sum by the total count.": pieces(
            [1 / (c * 3) for c in counts]
        )[0],
        "The means are added up and not divided: the gradient is too large.": pieces([1 / c for c in counts])[0],
        "The sums are not divided by the number of tokens.": pieces([1.0] * 3)[0],
        "Weighted by rows; labels of -100 do not count, so weigh by tokens.": pieces(
            [r / sum(rows) / c for r, c in zip(rows, counts, strict=True)]
        )[0],
        "Divided by all places, those with the label -100 too.": pieces([1 / (4 * sum(rows))] * 3)[0],
        "Only the last micro-batch is left in the gradient; do not zero it in between.": pieces([0, 0, 1 / total])[0],
        "Only the last micro-batch is left in the gradient, and as a mean of its own.": pieces([0, 0, 1 / counts[2]])[
            0
        ],
        "Each piece is divided by the tokens counted so far; count all of them before the first backward pass.": pieces(
            [1 / sum(counts[: i + 1]) for i in range(3)]
        )[0],
        "Labels are shifted; here `model(inputs)` gives the logits for the labels of the same places.": shifted(),
    }
    expect.close(_gradient(model), right, "The gradient is not that of the large batch.", given=given, mistakes=wrong)
    expect.that(
        at_once <= 1,
        "The gradient is right, but several micro-batches were in memory at once: that is the large batch again. "
        "Call backward() on each one before the next forward pass.",
        given=given,
    )
    expect.that(
        torch.equal(model.weight.detach(), weight),
        "The weights were changed; only gradients are asked for.",
        given=given,
    )
    expect.close(
        yours,
        loss,
        "The returned loss is not the mean over all tokens.",
        given=given,
        mistakes={
            "The returned loss is the mean of the micro-batches' means.": pieces([1 / (c * 3) for c in counts])[1],
            "The returned loss is the sum over all tokens.": pieces([1.0] * 3)[1],
            "The returned loss is that of the last micro-batch.": pieces([0, 0, 1 / counts[2]])[1],
        },
    )
    for first, last in ((1, 3), (0, 1), (1, 2)):  # other numbers of micro-batches, one of them transposed
        part = [(x.transpose(0, 1), y.T) if i == first else (x, y) for i, (x, y) in enumerate(data)][first:last]
        again = fresh()
        strided(lambda again=again, part=part: candidate(again, part))  # type: ignore[misc]
        model = fresh()
        accumulate(model, part)
        message = "Right for three micro-batches, but not for one or two of them, or transposed."
        expect.close(_gradient(again), _gradient(model), message, given=f"{len(part)} of the micro-batches")
    # a micro-batch in which no label counts, and one without a batch axis
    flat = torch.randn(6, 3, generator=draw), torch.randint(5, (6,), generator=draw)
    data = [data[0], (torch.randn(2, 3, 3, generator=draw), torch.full((2, 3), -100)), flat]
    given = "three micro-batches: labels (1, 4), labels (2, 3) of which none counts, labels (6,)"
    right, loss = pieces([1 / 10] * 3)
    model = fresh()
    yours = candidate(model, data)
    message = "NaN for a micro-batch in which no label counts: its mean is 0 / 0. Sum its losses; the sum is 0."
    expect.that(not _gradient(model).isnan().any() and yours == yours, message, given=given)
    expect.close(_gradient(model), right, "The gradient is wrong for other shapes of labels.", given=given)
    expect.close(yours, loss, "The returned loss is wrong for other shapes of labels.", given=given)


def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    """Clip by the norm of all shards of all ranks together."""
    norm = sqrt(sum(float(g.double().square().sum()) for rank in shards for g in rank))
    scale = min(1.0, max_norm / (norm + 1e-6))
    return [[g * scale for g in rank] for rank in shards], norm


@check(
    "04.4",
    title="Clip a gradient that is spread over ranks",
    reference=clip_shards,
    difficulty=2,
    minutes=8,
    points=2,
    asked="how does gradient clipping work under FSDP?",
    hints=[
        "Each rank can only sum the squares of its own shards. What has to travel between ranks is one number.",
        "Add the sums of squares over the ranks (an all-reduce), and take the root *after* that.",
        "`scale = min(1, max_norm / norm)`, the same on every rank.",
    ],
)
def check_clip_shards(candidate: Callable[..., tuple[list[list[Tensor]], float]]) -> None:
    big = [[torch.tensor([1.0, 2.0]), torch.tensor([[2.0]])], [torch.tensor([4.0]), torch.tensor([[12.0, 0.0]])]]
    small = [[torch.tensor([0.3])], [torch.tensor([-0.4])]]
    uneven = [[torch.tensor([3.0])], [torch.tensor([4.0])], [torch.zeros(0)]]
    longer = [[torch.tensor([2.0])], [torch.tensor([1.0]), torch.tensor([[-2.0], [0.0]]), torch.tensor(-4.0)]]
    alone = [[torch.tensor([-3.0, 4.0]).expand(2, 2).T]]
    for shards, limit in ((big, 1.0), (small, 1.0), (uneven, 2.0), (longer, 2.5), (longer[::-1], 2.5), (alone, 3.0)):
        given = {"shards": [[g.tolist() for g in rank] for rank in shards], "max_norm": limit}
        try:
            result = candidate(shards, limit)
        except RuntimeError as error:
            if shards is not uneven:
                raise
            message = "A rank may hold an empty tensor, which has no largest number and adds nothing to the norm."
            raise Mistake(message, given=given, yours=f"RuntimeError: {error}") from None
        expect.that(
            isinstance(result, tuple | list) and len(result) == 2,
            "Two things are wanted: `return clipped, norm`.",
            given=given,
        )
        expect.that(
            isinstance(result[0], tuple | list),
            "The first thing returned is the clipped shards, a list for each rank; the second is the norm.",
            given=given,
            yours=result[0],
        )
        expect.that(
            not isinstance(result[1], tuple | list),
            "The norm, the second thing returned, is one number: that of all ranks together.",
            given=given,
            yours=result[1],
        )
        expect.that(
            not isinstance(result[1], Tensor) or result[1].dim() == 0 or result[1].numel() > 1,
            "The norm is one number; yours is a tensor with an axis: `.item()`.",
            given=given,
            yours=result[1],
        )
        wanted, norm = clip_shards(shards, limit)
        norms = [sqrt(sum(float(g.square().sum()) for g in rank)) for rank in shards]
        flat = torch.cat([g.flatten() for rank in shards for g in rank])
        mistakes = {
            "The norms of the ranks are added; add their squares, and take the root at the end.": sum(norms),
            "That is the norm of one rank's part; all ranks share one norm.": max(norms),
            "That is the first rank's norm; all ranks share one norm.": norms[0],
            "The root is missing: this is the sum of squares.": norm**2,
            "The norm is divided by the number of ranks; shards are parts, not copies to be averaged.": norm
            / len(shards),
            "Those are sums of absolute values, not of squares.": float(flat.abs().sum()),
            "Ranks may hold different numbers of tensors; yours leaves out those that only some ranks have (`zip`).": sqrt(
                sum(float(g.square().sum()) for parts in zip(*shards, strict=False) for g in parts)
            ),
            "The norms of the tensors are added; add their squares, and take the root at the end.": sum(
                float(g.norm()) for rank in shards for g in rank
            ),
            "The squares are averaged over the ranks; shards are parts, not copies: add them.": norm
            / sqrt(len(shards)),
            "That is the largest number; the norm is the root of the sum of all squares.": float(flat.abs().max()),
            "Returned is the norm after clipping; the norm before it is asked for.": min(norm, limit),
        }
        expect.close(
            result[1],
            norm,
            "Not the norm of the whole gradient.",
            given=given,
            rtol=1e-4,
            mistakes={why: wrong for why, wrong in mistakes.items() if abs(wrong - norm) > 1e-3},
        )
        form = [[tuple(g.shape) for g in rank] for rank in shards]
        nested = all(isinstance(rank, tuple | list) for rank in result[0])
        tensors = nested and all(isinstance(g, Tensor) for rank in result[0] for g in rank)
        expect.that(
            tensors and [[tuple(g.shape) for g in rank] for rank in result[0]] == form,
            "The clipped shards do not have the form of the given ones: a list for each rank, and in it a tensor of the "
            "same shape for each shard.",
            given=given,
            yours=result[0],
        )
        yours = torch.cat([g.flatten() for rank in result[0] for g in rank])
        own = [g.flatten() * min(1.0, limit / (n + 1e-6)) for rank, n in zip(shards, norms, strict=True) for g in rank]
        wrong = {
            "Each rank clips by its own norm: the parts are scaled differently, and the direction of the gradient is lost.": torch.cat(
                own
            ),
            "The gradients came back unscaled.": flat,
            "Scaled up to max_norm, though the norm was below it.": flat * limit / norm,
            "Values are clamped one by one; that changes the direction.": flat.clamp(-limit, limit),
            "Each tensor is clipped by its own norm; all share the norm of the whole.": torch.cat(
                [g.flatten() * min(1.0, limit / (float(g.norm()) + 1e-6)) for rank in shards for g in rank]
            ),
            "max_norm is divided among the ranks; it is the limit of all together.": flat
            * min(1.0, limit / len(shards) / norm),
            "The scale is upside down: max_norm / norm, and at most 1.": flat * max(1.0, norm / limit),
            "Scaled by 1 / norm: the clipped norm is 1 and not max_norm.": flat / norm if norm > limit else flat,
        }
        right = torch.cat([g.flatten() for rank in wanted for g in rank])
        expect.close(
            yours,
            right,
            "Not every shard scaled by the same min(1, max_norm / norm).",
            given=given,
            rtol=1e-4,
            mistakes={why: w for why, w in wrong.items() if not torch.allclose(w, right, rtol=1e-3)},
        )
    message = "A gradient of zeros does not come back as zeros, with the norm 0: 0 / 0 is not a number."
    try:
        still, norm = candidate([[torch.zeros(2)], [torch.zeros(1)]], 1.0)
    except ZeroDivisionError as error:
        raise Mistake(message, yours=f"ZeroDivisionError: {error}") from None
    expect.that(norm == 0 and not any(g.any() for rank in still for g in rank), message, yours=(still, norm))


@check(
    "04.5",
    title="A model for a budget",
    reference="course_utils.training.scaling_law:compute_optimal",
    difficulty=1,
    minutes=6,
    points=1,
    asked="you have 1e24 FLOPs: how large a model, and how many tokens?",
    hints=[
        "Training takes about 6 N D operations for N parameters and D tokens.",
        "Put D = ratio * N into it: flops = 6 * ratio * N**2.",
        "`parameters = (flops / (6 * tokens_per_parameter)) ** 0.5`.",
    ],
)
def check_compute_optimal(candidate: Callable[[float, float], tuple[float, float]]) -> None:
    for flops, ratio in ((12_000, 20.0), (5.76e23, 20.0), (6e20, 100.0), (1.5e18, 1.7), (1e20, 0.25)):
        given = {"flops": flops, "tokens_per_parameter": ratio}
        result = candidate(flops, ratio)
        expect.that(
            isinstance(result, tuple | list) and len(result) == 2,
            "Two numbers are wanted: `return parameters, tokens`.",
            given=given,
        )
        n, d = compute_optimal(flops, ratio)
        expect.close(
            result[0],
            n,
            "Not the parameters that this budget trains.",
            given=given,
            mistakes={
                "The two are swapped: parameters first.": d,
                "Training costs 6 operations per parameter and token; 2 is the forward pass alone.": sqrt(
                    flops / (2 * ratio)
                ),
                "The 6 is missing: a token costs six operations per parameter.": sqrt(flops / ratio),
                "The root is missing: N stands twice in 6 N D, because D = ratio * N.": flops / (6 * ratio),
                "The ratio is missing under the root.": sqrt(flops / 6),
                "The ratio stands on the wrong side: D = ratio * N.": sqrt(flops * ratio / 6),
                "The 6 belongs under the root, with the ratio.": sqrt(flops / ratio) / 6,
                "With 8 a forward pass that checkpointing repeats is paid for; the budget is 6 N D.": sqrt(
                    flops / (8 * ratio)
                ),
                "The ratio is taken as twenty; use `tokens_per_parameter`.": sqrt(flops / 120) if ratio != 20 else -1.0,
                "The root is that of the parameters already; dividing it by the ratio once more is too much.": n
                / ratio,
            },
        )
        expect.close(
            result[1],
            d,
            "Not the tokens that go with these parameters.",
            given=given,
            mistakes={
                "These are parameters / ratio; tokens are ratio * parameters.": n / ratio,
                "These are as many tokens as parameters.": n,
                "flops / parameters leaves out the 6.": flops / n,
                "That is N squared; tokens are ratio * parameters.": n * n,
            },
        )


def permutation_p(mine: list[float], theirs: list[float]) -> float:
    """The exact one-sided p-value of a permutation test that mine are lower. Means equal but for rounding count."""
    pool = [*mine, *theirs]
    limit = fmean(mine) + 1e-12 * max(abs(score) for score in pool)
    means = [fmean(chosen) for chosen in combinations(pool, len(mine))]
    return sum(mean <= limit for mean in means) / len(means)


UNROUNDED = "Equal means count, but rounding tears them apart: allow for 1e-12 of the largest absolute score."

luck = Exercise(
    "04.6",
    title="Ahead by chance?",
    reference=permutation_p,
    difficulty=2,
    minutes=8,
    points=2,
    asked="three seeds each, and all of yours are ahead: what is p?",
    hints=[
        "Put all scores into one list. Had the change done nothing, any len(mine) of them might be called mine: "
        "`itertools.combinations(pool, len(mine))` goes through all choices, by place.",
        "Count the choices whose mean is at most that of mine, with a little room for rounding, and divide by the number "
        "of choices. The choice that was observed is one of them, so p is never 0.",
        "`limit = mean(mine) + 1e-12 * max(abs(x) for x in pool)`, then `sum(m <= limit for m in means) / len(means)`.",
    ],
    cases=[
        Case([0.234, 0.214, 0.216], [0.320, 0.313, 0.319]),
        Case([0.31, 0.36, 0.43], [0.32, 0.414, 0.519]),
        Case([0.3, 0.52], [0.41, 0.77, 0.29, 0.64]),
        Case([0.9, 0.35, 0.62, 0.57], [0.4, 1.3]),
        Case([0.42], [0.4, 0.55, 0.71]),
        Case([2.0], [1.0]),
        Case([0.2, 0.95, 0.33, 0.61, 0.48], [0.3, 0.667, 0.9, 0.724]),
        Case([1.0, 2.0], [2.0, 3.0, 1.0, 4.0]),  # ties that no rounding touches
        Case([0.5, 0.5], [0.5, 0.5, 0.5]),
        Case([0.1, 0.7, 0.3], [0.8, 0.9, 0.2, 0.5], message=UNROUNDED),
        Case([0.3, 0.8, 0.2, 0.6], [0.4, 0.5, 0.7], message=UNROUNDED),
        Case([-0.1, -0.6, -0.4], [-0.9, -0.3, -0.2, -0.7], message=UNROUNDED),
        Case([9e-15, 6e-15, 1e-15], [5e-15, 7e-15, 8e-15]),
        Case(
            [864196.9, 740740.2, 370370.1],
            [1111110.3, 246913.4, 987653.6],
            message="Equal means count, also of large scores: work in Python's floats (double precision), with a room of "
            "1e-12 of the largest.",
        ),
        Case([1.0, 2.0000003], [1.0000001, 2.0, 5.0]),
    ],
    general="Not the share of all ways to choose len(mine) of the pooled scores: go through each way once, and through no "
    "random sample of them.",
    rtol=1e-9,
    atol=0.0,
)


def _ways(mine: Sequence[float], theirs: Sequence[float], size: int = 0) -> Iterator[tuple[list[float], list[float]]]:
    """(the chosen, the rest) of each way to choose ``size`` of the pooled scores, len(mine) where none is given."""
    pool = [*mine, *theirs]
    for places in combinations(range(len(pool)), size or len(mine)):
        yield [pool[i] for i in places], [score for i, score in enumerate(pool) if i not in places]


def _room(*scores: Sequence[float]) -> float:
    return 1e-12 * max(abs(score) for some in scores for score in some)


def _share(found: Iterable[bool]) -> float:
    hits = list(found)
    return sum(hits) / len(hits)


@luck.bug("Counted from both ends; only the ways in which the chosen are as low as mine are asked for.")
def luck_two_sided(mine, theirs):
    middle, room = fmean([*mine, *theirs]), _room(mine, theirs)
    return _share(abs(fmean(own) - middle) >= abs(fmean(mine) - middle) - room for own, _ in _ways(mine, theirs))


@luck.bug("p is doubled, as a test of both sides would have it; one side is asked for.")
def luck_doubled(mine, theirs):
    return min(1.0, 2 * permutation_p(mine, theirs))


@luck.bug("`<` leaves out the choice that was observed, and all that equal it: the mean is *at most* that of mine.")
def luck_strict(mine, theirs):
    return _share(fmean(own) < fmean(mine) - _room(mine, theirs) for own, _ in _ways(mine, theirs))


@luck.bug("`<` leaves out the choice that was observed, and all that equal it: the mean is *at most* that of mine.")
def luck_strict_unrounded(mine, theirs):
    return _share(fmean(own) < fmean(mine) for own, _ in _ways(mine, theirs))


@luck.bug(UNROUNDED)
def luck_unrounded(mine, theirs):
    return _share(fmean(own) <= fmean(mine) for own, _ in _ways(mine, theirs))


@luck.bug("That is the other end: less is better, so count the ways whose mean is at most that of mine.")
def luck_other_tail(mine, theirs):
    return _share(fmean(own) >= fmean(mine) - _room(mine, theirs) for own, _ in _ways(mine, theirs))


@luck.bug("That is 1 - p, the share of the ways that are worse than mine.")
def luck_complement(mine, theirs):
    return 1 - permutation_p(mine, theirs)


@luck.bug("The choice that was observed is left out; it is one of the ways, above the line and below.")
def luck_observed_left_out(mine, theirs):
    hits = [fmean(own) <= fmean(mine) + _room(mine, theirs) for own, _ in _ways(mine, theirs)]
    return (sum(hits) - 1) / max(1, len(hits) - 1)


@luck.bug("The choice that was observed is left out above the line, though it is counted below.")
def luck_observed_left_out_above(mine, theirs):
    hits = [fmean(own) <= fmean(mine) + _room(mine, theirs) for own, _ in _ways(mine, theirs)]
    return (sum(hits) - 1) / len(hits)


@luck.bug("Adding 1 above and below is for a random sample of ways; of all ways the observed one is counted already.")
def luck_add_one(mine, theirs):
    hits = [fmean(own) <= fmean(mine) + _room(mine, theirs) for own, _ in _ways(mine, theirs)]
    return (sum(hits) + 1) / (len(hits) + 1)


@luck.bug("len(theirs) are chosen; as many as there are of mine are called mine.")
def luck_size_of_theirs(mine, theirs):
    return _share(fmean(own) <= fmean(mine) + _room(mine, theirs) for own, _ in _ways(mine, theirs, size=len(theirs)))


@luck.bug("Half of the scores are chosen each time; as many as there are of mine are called mine.")
def luck_half(mine, theirs):
    half = (len(mine) + len(theirs)) // 2
    return _share(fmean(own) <= fmean(mine) + _room(mine, theirs) for own, _ in _ways(mine, theirs, size=half))


@luck.bug("Choices of every size are counted; exactly len(mine) of the scores are called mine.")
def luck_every_size(mine, theirs):
    sizes = range(1, len(mine) + len(theirs) + 1)
    limit = fmean(mine) + _room(mine, theirs)
    return _share(fmean(own) <= limit for size in sizes for own, _ in _ways(mine, theirs, size=size))


@luck.bug("Chosen from theirs alone; if the change did nothing, mine belong to the pool as well.")
def luck_theirs_alone(mine, theirs):
    ways = list(combinations(theirs, len(mine)))
    return sum(fmean(own) <= fmean(mine) + _room(mine, theirs) for own in ways) / max(1, len(ways))


@luck.bug(
    "One order after another, and cut short after a hundred: the first orders all begin with mine. Go through every choice."
)
def luck_cut_short(mine, theirs):
    orders = islice(permutations([*mine, *theirs]), 100)
    return _share(fmean(order[: len(mine)]) <= fmean(mine) + _room(mine, theirs) for order in orders)


@luck.bug("A score is chosen twice; that is a bootstrap. A permutation test draws without putting back.")
def luck_put_back(mine, theirs):
    ways = product([*mine, *theirs], repeat=len(mine))
    return _share(fmean(own) <= fmean(mine) + _room(mine, theirs) for own in ways)


@luck.bug("A score is chosen twice: `combinations_with_replacement` puts it back. Take `combinations`.")
def luck_with_replacement(mine, theirs):
    ways = combinations_with_replacement([*mine, *theirs], len(mine))
    return _share(fmean(own) <= fmean(mine) + _room(mine, theirs) for own in ways)


@luck.bug(
    "Pairs are made and the signs of their differences flipped; these scores are no pairs, so choose from the pool."
)
def luck_signs(mine, theirs):
    gaps = [a - b for a, b in zip(mine, theirs, strict=False)]
    ways = product((1, -1), repeat=len(gaps))
    room = _room(mine, theirs)
    return _share(fmean(s * gap for s, gap in zip(signs, gaps, strict=True)) <= fmean(gaps) + room for signs in ways)


@luck.bug("Medians are compared; it is the mean of the chosen that must be at most the mean of mine.")
def luck_medians(mine, theirs):
    return _share(median(own) <= median(mine) + _room(mine, theirs) for own, _ in _ways(mine, theirs))


@luck.bug("Differences of medians are compared; it is the mean of the chosen that must be at most the mean of mine.")
def luck_difference_of_medians(mine, theirs):
    limit = median(mine) - median(theirs) + _room(mine, theirs)
    return _share(median(own) - median(rest) <= limit for own, rest in _ways(mine, theirs))


@luck.bug("Ranks are compared, not scores: that is the test of Wilcoxon, Mann and Whitney. Compare the means.")
def luck_ranks(mine, theirs):
    pool = sorted([*mine, *theirs])
    rank = {score: pool.index(score) + pool.count(score) / 2 for score in pool}
    limit = sum(rank[score] for score in mine)
    return _share(sum(rank[score] for score in own) <= limit for own, _ in _ways(mine, theirs))


@luck.bug("Only the best scores are compared; it is the mean of the chosen that must be at most the mean of mine.")
def luck_best(mine, theirs):
    return _share(min(own) <= min(mine) for own, _ in _ways(mine, theirs))


@luck.bug(
    "That is 1 over the number of ways, right only if mine are the lowest of all: count the ways that are as low."
)
def luck_one_way(mine, theirs):
    return 1 / len(list(_ways(mine, theirs)))


@luck.bug("Compared with the mean of theirs; the question is how many choices are as low as *mine*.")
def luck_below_theirs(mine, theirs):
    return _share(fmean(own) <= fmean(theirs) + _room(mine, theirs) for own, _ in _ways(mine, theirs))


@luck.bug("The chosen are compared with the rest; compare them with mine, as they were observed.")
def luck_below_rest(mine, theirs):
    room = _room(mine, theirs)
    return _share(fmean(own) <= fmean(rest or [0.0]) + room for own, rest in _ways(mine, theirs))


@luck.bug(
    "Choices with the same scores are counted once (a set?); equal scores at different places are different choices."
)
def luck_set(mine, theirs):
    ways = {tuple(sorted(own)) for own, _ in _ways(mine, theirs)}
    return _share([fmean(own) <= fmean(mine) + _room(mine, theirs) for own in ways])


@luck.bug(
    "Choices with the same scores are counted once (a set?); equal scores at different places are different choices."
)
def luck_set_of_scores(mine, theirs):
    ways = list(combinations({*mine, *theirs}, len(mine)))
    return sum(fmean(own) <= fmean(mine) + _room(mine, theirs) for own in ways) / max(1, len(ways))


@luck.bug("The rest is found by value, so that a score equal to a chosen one is lost from it; go by places.")
def luck_rest_by_value(mine, theirs):
    limit = fmean(mine) - fmean(theirs) + _room(mine, theirs)
    ways = [(own, [score for score in rest if score not in own]) for own, rest in _ways(mine, theirs)]
    return _share([fmean(own) - (fmean(rest) if rest else 0.0) <= limit for own, rest in ways])


@luck.bug("That is the number of ways; divide it by the number of all ways.")
def luck_count(mine, theirs):
    return permutation_p(mine, theirs) * len(list(_ways(mine, theirs)))


@luck.bug("p is in percent; a share from 0 to 1 is asked for.")
def luck_percent(mine, theirs):
    return 100 * permutation_p(mine, theirs)


@luck.bug("p is rounded; return the share as it is.")
def luck_rounded(mine, theirs):
    return round(permutation_p(mine, theirs), 2)


@luck.bug("p is rounded; return the share as it is.")
def luck_rounded_less(mine, theirs):
    return round(permutation_p(mine, theirs), 4)


@luck.bug(
    "`mean * (1 + 1e-12)` lies *below* a mean that is negative; add the room: 1e-12 of the largest absolute score."
)
def luck_times(mine, theirs):
    return _share(fmean(own) <= fmean(mine) * (1 + 1e-12) for own, _ in _ways(mine, theirs))


@luck.bug(
    "The room for rounding is the same for all scores, and wider than these are apart; make it 1e-12 of the largest."
)
def luck_absolute(mine, theirs):
    return _share(fmean(own) <= fmean(mine) + 1e-9 for own, _ in _ways(mine, theirs))


@luck.bug(
    "The room for rounding is so wide that different means count as equal (`isclose` as it comes?); it is 1e-12 of the largest."
)
def luck_wide(mine, theirs):
    return _share(fmean(own) <= fmean(mine) + 1e-8 + 1e-5 * abs(fmean(mine)) for own, _ in _ways(mine, theirs))


@luck.bug(
    "The room for rounding is so wide that different means count as equal (`isclose` as it comes?); it is 1e-12 of the largest."
)
def luck_wide_relative(mine, theirs):
    return _share(fmean(own) <= fmean(mine) + 1e-6 * abs(fmean(mine)) for own, _ in _ways(mine, theirs))
