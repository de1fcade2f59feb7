"""Checks of chapter 09: the forward pass of LoRA, its start, its size, its merge, and the rank of an update."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from numbers import Real

import torch
from torch import Tensor

from course_utils.classroom.exercises.exercise import check, expect


def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    """x (..., in) through a frozen matrix (out, in) and the pair A (r, in), B (out, r) beside it, scaled by alpha / r."""
    return x @ weight.T + x @ lora_A.T @ lora_B.T * (alpha / len(lora_A))


@check(
    "09.1",
    title="The forward pass of LoRA",
    reference=lora_forward,
    difficulty=2,
    minutes=8,
    points=2,
    asked="write the forward pass of a LoRA layer",
    hints=[
        "A linear layer without bias is `x @ weight.T`. The adapter's part is added to it; the frozen part stays.",
        "Go through the narrow place: `x @ lora_A.T` has r numbers per token, `@ lora_B.T` brings them back to out. The "
        "matrix B A of size (out, in) is never needed.",
        "The rank is the number of rows of A: `scale = alpha / lora_A.shape[0]`.",
    ],
)
def check_lora_forward(candidate: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(9)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    x, weight, a, b = draw(2, 3, 5), draw(4, 5), draw(2, 5), draw(4, 2)
    y = candidate(x, weight, a, b, 5.0)
    expect.shape(y, (2, 3, 4), given="x (2, 3, 5), weight (4, 5), A (2, 5), B (4, 2)")
    base, low = x @ weight.T, x @ a.T @ b.T
    expect.close(
        y,
        base + 2.5 * low,
        "The output is not W x + (alpha / r) B A x.",
        rtol=1e-4,
        atol=1e-5,
        mistakes={
            "The adapter's part is missing.": base,
            "The frozen matrix's part is missing: the adapter is added to it.": 2.5 * low,
            "alpha / r is missing: the update is not scaled.": base + low,
            "Scaled by alpha; it is alpha / r, so that the size of the update does not grow with the rank.": base
            + 5 * low,
            "alpha // r rounds down; write alpha / r.": base + 2 * low,
            "Divided by sqrt(r): that is rsLoRA (arXiv 2312.03732); plain LoRA divides by r.": base + 5 / sqrt(2) * low,
            "The scale is applied to the frozen part too.": 2.5 * (base + low),
            "Divided by a size of x or W; r is the number of rows of A.": base + 5 / 5 * low + 0 * base,
        },
    )
    frozen = [x.clone(), weight.clone(), a.clone(), b.clone()]
    candidate(*frozen, 5.0)
    expect.that(
        all(torch.equal(mine, kept) for mine, kept in zip(frozen, (x, weight, a, b), strict=True)),
        "An input was changed. The frozen matrix stays as it is; the update is computed beside it.",
    )
    a_learns, b_learns = a.clone().requires_grad_(), b.clone().requires_grad_()
    out = candidate(x, weight, a_learns, b_learns, 5.0)
    expect.that(out.requires_grad, "No gradient flows to A and B. Is there a `.detach()` or `no_grad` in the way?")
    slopes = torch.autograd.grad(out.sum(), (a_learns, b_learns), allow_unused=True)
    for name, slope in zip(("lora_A", "lora_B"), slopes, strict=True):
        expect.that(slope is not None, f"No gradient flows to {name}. Is there a `.detach()`?")
    expect.close(
        candidate(x[0, 0], weight, a, b, 2.0),
        (base + low)[0, 0],
        "A single vector (in,) gives another result.",
        rtol=1e-4,
    )


def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A (r, in) uniform within 1 / sqrt(in), B (out, r) zero: the model starts as it was, and B can learn at once."""
    bound = 1 / sqrt(size_in)
    return torch.empty(r, size_in).uniform_(-bound, bound, generator=generator), torch.zeros(size_out, r)


@check(
    "09.3",
    title="How an adapter starts",
    reference=init_lora,
    difficulty=1,
    minutes=6,
    points=1,
    asked="how are A and B initialized, and why not both alike?",
    hints=[
        "At the start B A must be zero, or the model would be spoiled before the first step. One zero factor is enough.",
        "If both were zero, neither would ever get a gradient: that of B is built from A, and that of A from B.",
        "`torch.empty(r, size_in).uniform_(-bound, bound, generator=generator)` with `bound = size_in ** -0.5`, and "
        "`torch.zeros(size_out, r)`.",
    ],
)
def check_init_lora(candidate: Callable[..., tuple[Tensor, Tensor]]) -> None:
    given = "size_in = 400, size_out = 50, r = 8"
    result = candidate(400, 50, 8, torch.Generator().manual_seed(1))
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2, "Two matrices are wanted: `return A, B`.", given=given
    )
    a, b = result
    expect.kind(a, Tensor)
    expect.kind(b, Tensor)
    swapped = tuple(a.shape) == (50, 8) and tuple(b.shape) == (8, 400)
    expect.that(not swapped, "A and B are swapped: A (r, in) comes first.", given=given)
    expect.shape(a, (8, 400), given=given)
    expect.shape(b, (50, 8), given=given)
    expect.that(
        bool((b == 0).all()),
        "B is not zero. Then B A is not zero either, and the model is changed before it has learned anything.",
        given=given,
    )
    expect.that(bool((a != 0).any()), "A is zero like B: then no gradient ever reaches either of them.", given=given)
    bound = 1 / 20
    expect.that(
        float(a.abs().max()) <= bound + 1e-7,
        "A reaches beyond 1 / sqrt(size_in).",
        given=given,
        expected=f"within +-{bound}",
        yours=float(a.abs().max()),
    )
    expect.that(
        float(a.abs().max()) > 0.95 * bound and abs(float(a.mean())) < 0.1 * bound,
        "A does not fill the range from -1 / sqrt(size_in) to 1 / sqrt(size_in) evenly.",
        given=given,
        yours=f"from {float(a.min()):.4f} to {float(a.max()):.4f}",
    )
    expect.that(
        len(a.flatten().unique()) > 0.9 * a.numel(),
        "Rows of A repeat: A would have a lower rank than r. Draw all r * size_in numbers.",
        given=given,
    )
    expect.that(
        abs(float(a.std()) * sqrt(3) / bound - 1) < 0.05,
        "The numbers are not drawn evenly between the bounds: their standard deviation should be bound / sqrt(3).",
        given=given,
        expected=bound / sqrt(3),
        yours=float(a.std()),
    )
    again = candidate(400, 50, 8, torch.Generator().manual_seed(1))[0]
    other = candidate(400, 50, 8, torch.Generator().manual_seed(2))[0]
    expect.that(
        torch.equal(a, again) and not torch.equal(a, other),
        "The numbers do not come from `generator`: the same seed must give the same A, another seed another.",
    )


def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    """Numbers that LoRA trains beside matrices of the shapes (out, in): r * (out + in) for each."""
    return sum(r * (size_out + size_in) for size_out, size_in in shapes)


@check(
    "09.2",
    title="How many numbers are trained?",
    reference=lora_parameters,
    difficulty=1,
    minutes=5,
    points=1,
    asked="how many parameters does LoRA train in a 7B model?",
    hints=[
        "A has r rows of in numbers, B has out rows of r numbers.",
        "Together r * in + out * r for one matrix. Sum over the matrices.",
        "`sum(r * (size_out + size_in) for size_out, size_in in shapes)`",
    ],
)
def check_lora_parameters(candidate: Callable[..., int]) -> None:
    def number(value: int) -> float:
        value = value.item() if hasattr(value, "item") else value
        expect.that(isinstance(value, Real) and not isinstance(value, bool), "A number is wanted.", yours=value)
        return float(value)

    given = "shapes = [(10, 6)], r = 2"
    expect.close(
        number(candidate([(10, 6)], 2)),
        32.0,
        "The count is wrong for one matrix.",
        given=given,
        mistakes={
            "These are the numbers of the frozen matrix.": 60.0,
            "Only A is counted.": 12.0,
            "Only B is counted.": 20.0,
            "The rank is counted once; both A and B have it.": 16.0,
            "r * out * in: that is not the size of two thin matrices.": 120.0,
            "The frozen matrix is counted too; it is not trained.": 92.0,
        },
    )
    expect.close(
        number(candidate([(10, 6), (6, 10), (3, 3)], 4)),
        152.0,
        "The count is wrong for several matrices.",
        given="shapes = [(10, 6), (6, 10), (3, 3)], r = 4",
        mistakes={"Only the first matrix is counted.": 64.0, "Only the last matrix is counted.": 24.0},
    )
    expect.close(number(candidate([], 4)), 0.0, "Without matrices nothing is trained.", given="shapes = [], r = 4")


def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    """One matrix (out, in) that does what the frozen one and the adapter do together; the inputs stay as they are."""
    return weight + lora_B @ lora_A * (alpha / len(lora_A))


@check(
    "09.4",
    title="Merge",
    reference=merge,
    difficulty=1,
    minutes=5,
    points=1,
    asked="does LoRA make inference slower?",
    hints=[
        "W x + (alpha / r) B (A x) = (W + (alpha / r) B A) x: the brackets are the matrix that is wanted.",
        "B (out, r) times A (r, in) has the shape of W.",
        "`weight + lora_B @ lora_A * (alpha / lora_A.shape[0])`: a new matrix, so that the frozen one can be used again.",
    ],
)
def check_merge(candidate: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(4, 6, generator=generator)
    a, b = torch.randn(3, 6, generator=generator), torch.randn(4, 3, generator=generator)
    before = weight.clone()
    merged = candidate(weight, a, b, 5.0)
    expect.shape(merged, (4, 6), given="weight (4, 6), A (3, 6), B (4, 3), alpha = 5")
    expect.that(
        torch.equal(weight, before),
        "The frozen matrix was changed in place. Merge twice, or switch to another adapter, and it is spoiled.",
    )
    expect.close(
        merged,
        weight + 5 / 3 * b @ a,
        "The merged matrix is not W + (alpha / r) B A.",
        rtol=1e-4,
        atol=1e-5,
        mistakes={
            "alpha / r is missing, or rounded down by `//`.": weight + b @ a,
            "Scaled by alpha without dividing by r.": weight + 5 * b @ a,
            "This is the update alone, without the frozen matrix.": 5 / 3 * b @ a,
            "The update is subtracted.": weight - 5 / 3 * b @ a,
            "The frozen matrix is scaled too.": 5 / 3 * (weight + b @ a),
        },
    )
    square_a, square_b = torch.randn(2, 5, generator=generator), torch.randn(5, 2, generator=generator)
    square = torch.randn(5, 5, generator=generator)
    expect.close(
        candidate(square, square_a, square_b, 2.0),
        square + square_b @ square_a,
        "For a square matrix the result is wrong.",
        rtol=1e-4,
        atol=1e-5,
        mistakes={"The update is transposed; a square matrix does not complain.": square + (square_b @ square_a).T},
    )


def effective_rank(matrix: Tensor, share: float) -> int:
    """The smallest number of singular values whose squares make up at least ``share`` of the sum of all squares."""
    squares = torch.linalg.svdvals(matrix).square()
    reached = squares.cumsum(0) / squares.sum()
    return int((reached < share - 1e-6).sum()) + 1


@check(
    "09.5",
    title="The rank of an update",
    reference=effective_rank,
    difficulty=3,
    minutes=10,
    points=3,
    asked="how would you measure the rank of an update?",
    hints=[
        "`torch.linalg.svdvals(matrix)` gives the singular values, the largest first. Their squares add up to the sum of "
        "all squared numbers of the matrix.",
        "`reached = squares.cumsum(0) / squares.sum()` is the share that the first k of them hold.",
        "Count the places where `reached` is still below `share`, and add 1.",
    ],
)
def check_effective_rank(candidate: Callable[..., int]) -> None:
    def rank(matrix: Tensor, share: float, given: str) -> float:
        value = candidate(matrix, share)
        value = value.item() if hasattr(value, "item") else value
        expect.that(
            isinstance(value, Real) and not isinstance(value, bool), "A number is wanted.", given=given, yours=value
        )
        return float(value)

    diagonal = torch.diag(torch.tensor([4.0, 2.0, 2.0, 1.0, 0.0]))  # squares 16, 4, 4, 1: shares .64, .80, .96, 1
    for share, wanted, mistakes in (
        (
            0.9,
            3.0,
            {
                "The singular values were summed; it is their *squares*.": 4.0,
                "One too few: the share is not reached yet.": 2.0,
            },
        ),
        (
            0.6,
            1.0,
            {
                "The singular values were summed; it is their *squares*.": 2.0,
                "Count from 1: one value is enough here.": 0.0,
            },
        ),
        (
            0.7,
            2.0,
            {
                "The singular values were summed; it is their *squares*.": 3.0,
                "One too few: the share is not reached yet.": 1.0,
            },
        ),
        (0.97, 4.0, {"The largest possible rank is returned, not the one that is needed.": 5.0}),
    ):
        given = f"a diagonal matrix of 4, 2, 2, 1, 0 and share = {share}"
        expect.close(
            rank(diagonal, share, given),
            wanted,
            "The rank is wrong.",
            given=given,
            mistakes={**mistakes, "This is the size of the matrix.": 5.0},
        )
    generator = torch.Generator().manual_seed(2)
    turned = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q @ diagonal
    expect.close(
        rank(turned, 0.9, "the same matrix, turned"),
        3.0,
        "A turned matrix has the same singular values, and so the same rank. Did you look at its diagonal or its columns?",
    )
    thin = torch.randn(40, 3, generator=generator) @ torch.randn(3, 30, generator=generator)
    expect.that(
        rank(thin, 0.9999, "B A with r = 3") <= 3,
        "B A with r = 3 has a rank of 3 at the most.",
        given="B (40, 3) times A (3, 30), share = 0.9999",
    )
    expect.close(
        rank(torch.eye(4), 0.5, "the unit matrix of size 4, share = 0.5"),
        2.0,
        "Two of four equal values hold one half, and *at least* the share is asked for.",
        given="the unit matrix of size 4, share = 0.5",
    )
    for seed in range(8):
        full = torch.randn(20, 12, generator=torch.Generator().manual_seed(seed))
        expect.that(
            rank(full, 1.0, "a matrix (20, 12), share = 1") <= 12,
            "More directions than the matrix has: rounding leaves the sum at 0.9999999. Compare with `share - 1e-6`.",
            given="a matrix (20, 12), share = 1",
        )
