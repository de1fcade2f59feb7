"""Checks of chapter 09: the forward pass of LoRA, its start, its size, its merge, and the rank of an update."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from numbers import Integral, Real

import torch
from torch import Tensor

from course_utils.classroom.checks.layout import strided
from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, check, expect


def _expect_full_precision(found: Tensor, right: Tensor, given: str) -> None:
    """Raise a Mistake if ``found`` is near ``right``, but only as near as half precision comes."""
    rough = expect.matches(found, right, rtol=0.02, atol=0.02 * float(right.abs().max()))
    expect.that(
        not rough or expect.matches(found, right, rtol=1e-4, atol=1e-5),
        "Nearly right: something is rounded on the way, as in half precision. Keep the dtype of the inputs.",
        given=given,
        expected=right,
        yours=found,
    )


def _expect_own_dtypes(function: Callable[..., Tensor], right: Tensor, *parts: Tensor) -> None:
    """Raise a Mistake unless the result has the dtype of its inputs, whatever that is."""
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        found = function(*(part.to(dtype) for part in parts))
        name = str(dtype).removeprefix("torch.")
        expect.that(
            found.dtype == dtype,
            "The result has another dtype than the inputs. Compute as precisely as you like, and go back to theirs.",
            given=f"all in {name}",
            expected=name,
            yours=str(found.dtype).removeprefix("torch."),
        )
        atol = 0.02 * float(right.abs().max())
        expect.close(found.float(), right, f"Right in float32, wrong in {name}.", rtol=0.05, atol=atol)


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
    # sizes, rank and alpha are all different, and so are their quotients; x is no single block of memory
    x, weight, a, b, alpha = draw(4, 2, 7).transpose(0, 1), draw(5, 7), draw(3, 7), draw(5, 3), 11.0
    given = "x (2, 4, 7), weight (5, 7), A (3, 7), B (5, 3), alpha = 11"
    y = candidate(x, weight, a, b, alpha)
    expect.kind(y, Tensor, given=given)
    base, low = x @ weight.T, x @ a.T @ b.T
    right = base + alpha / 3 * low
    _expect_full_precision(y, right, given)
    expect.close(
        y,
        right,
        "The output is not W x + (alpha / r) B A x.",
        given=given,
        rtol=1e-4,
        atol=1e-5,
        mistakes={
            "The adapter's part is missing.": base,
            "The frozen matrix's part is missing: the adapter is added to it.": alpha / 3 * low,
            "alpha / r is missing: the update is not scaled.": base + low,
            "2 is written in for alpha / r: `alpha` need not be twice the rank.": base + 2 * low,
            "Scaled by alpha; it is alpha / r, so that the size of the update does not grow with the rank.": base
            + alpha * low,
            "Divided by r, but alpha is missing.": base + low / 3,
            "alpha // r rounds down; write alpha / r.": base + alpha // 3 * low,
            "Divided by sqrt(r): that is rsLoRA (arXiv 2312.03732); plain LoRA divides by r.": base
            + alpha / sqrt(3) * low,
            "The scale is applied to the frozen part too.": alpha / 3 * (base + low),
            "alpha is divided by the number of inputs; r is the number of rows of lora_A.": base + alpha / 7 * low,
            "alpha is divided by the number of outputs; r is the number of rows of lora_A.": base + alpha / 5 * low,
            "alpha is divided by a size of x; r is the number of rows of lora_A.": base + alpha / 2 * low,
            "The axes of x before the last are flattened and not restored.": right.reshape(-1, 5),
        },
    )
    leaves = a.clone().requires_grad_(), b.clone().requires_grad_()
    out = candidate(x, weight, *leaves, alpha)
    expect.that(out.requires_grad, "No gradient flows to A and B. Is there a `.detach()` or `no_grad` in the way?")
    slopes = torch.autograd.grad(out.sum(), leaves, allow_unused=True)
    again = a.clone().requires_grad_(), b.clone().requires_grad_()
    wanted = torch.autograd.grad(lora_forward(x, weight, *again, alpha).sum(), again)
    for name, slope, right in zip(("lora_A", "lora_B"), slopes, wanted, strict=True):
        expect.that(slope is not None, f"No gradient flows to {name}. Is there a `.detach()`?")
        expect.close(slope, right, f"The gradient of {name} is wrong.", given=given, rtol=1e-3, atol=1e-4)
    expect.close(
        candidate(x[0, 0], weight, a, b, 3.0),
        (base + low)[0, 0],
        "A single vector (in,) gives another result.",
        given="x (7,), weight (5, 7), A (3, 7), B (5, 3), alpha = 3",
        rtol=1e-4,
        atol=1e-5,
    )
    others = x, *(part.T.contiguous().T for part in (weight, a, b))
    right = base + alpha / 3 * low
    message = "Wrong for matrices that are transposed views."
    expect.close(strided(lambda: candidate(*others, alpha)), right, message, given=given, rtol=1e-4, atol=1e-5)
    one = a[:1], b[:, :1]
    right = base + alpha * (x @ one[0].T @ one[1].T)
    expect.close(candidate(x, weight, *one, alpha), right, "Right for r = 3, wrong for r = 1.", rtol=1e-4, atol=1e-5)
    _expect_own_dtypes(lambda *parts: candidate(*parts, alpha), lora_forward(x, weight, a, b, alpha), x, weight, a, b)


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
        bool((a != 0).any()) or bool((b == 0).all()),
        "A is zero and B is drawn: it is the other way round, A is drawn and B zero.",
        given=given,
    )
    expect.that(
        bool((b == 0).all()),
        "B is not zero. Then B A is not zero either, and the model is changed before it has learned anything.",
        given=given,
    )
    expect.that(bool((a != 0).any()), "A is zero like B: then no gradient ever reaches either of them.", given=given)
    bound, most, spread = 1 / 20, float(a.abs().max()), float(a.std())
    found = {"given": given, "expected": f"evenly from {-bound} to {bound}"}
    found["yours"] = f"from {float(a.min()):.4f} to {float(a.max()):.4f}, standard deviation {spread:.4f}"
    expect.that(
        float(a.min()) < 0 < float(a.max()), "A has numbers of one sign only; half of the range is missing.", **found
    )
    expect.that(
        most < 3 * spread, "A is drawn from a normal distribution; it is drawn evenly between two bounds.", **found
    )
    for size, name in ((8, "r"), (50, "size_out")):
        expect.that(
            not 0.95 < most * sqrt(size) < 1.001, f"The bound is 1 / sqrt({name}); it is 1 / sqrt(size_in).", **found
        )
    expect.that(most <= bound + 1e-7, "A reaches beyond 1 / sqrt(size_in).", **found)
    expect.that(
        most > 0.95 * bound and abs(float(a.mean())) < 0.1 * bound,
        "A does not fill the range from -1 / sqrt(size_in) to 1 / sqrt(size_in) evenly.",
        **found,
    )
    expect.that(
        int(torch.linalg.matrix_rank(a)) == 8,
        "Rows of A repeat: A would have a lower rank than r. Draw all r * size_in numbers.",
        given=given,
    )
    expect.that(
        abs(spread * sqrt(3) / bound - 1) < 0.05,
        "The numbers are not drawn evenly between the bounds: their standard deviation should be bound / sqrt(3).",
        given=given,
        expected=bound / sqrt(3),
        yours=spread,
    )
    expect.that(
        len(a.flatten().unique()) > 0.9 * a.numel(), "Numbers of A repeat. Draw all r * size_in of them.", given=given
    )
    generator = torch.Generator().manual_seed(1)
    again, following = (candidate(400, 50, 8, generator)[0] for _ in range(2))
    other = candidate(400, 50, 8, torch.Generator().manual_seed(2))[0]
    expect.that(
        torch.equal(a, again) and not torch.equal(a, other),
        "The numbers do not come from `generator`: the same seed must give the same A, another seed another.",
    )
    expect.that(
        not torch.equal(again, following),
        "A second call with the same generator gives the same A: all layers would start alike. Is it set back to its seed?",
    )
    a, b = candidate(16, 3, 4, generator)
    given = "size_in = 16, size_out = 3, r = 4"
    expect.shape(a, (4, 16), given=given)
    expect.shape(b, (3, 4), given=given)
    expect.that(
        0.2 < float(a.abs().max()) <= 0.25, "The bound is wrong for other sizes. Is a number written in?", given=given
    )
    a, b = candidate(4, 3, 9, generator)  # a rank above both sizes: allowed, though of no use
    expect.shape(a, (9, 4), given="size_in = 4, size_out = 3, r = 9")
    expect.shape(b, (3, 9), given="size_in = 4, size_out = 3, r = 9")


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
            "A matrix (r, r) between A and B is counted; there is none.": 36.0,
            "A bias is counted; A and B have none.": 42.0,
            "The matrix is taken to be square: B has out rows, A has in columns.": 40.0,
        },
    )
    expect.close(
        number(candidate([(10, 6), (6, 10), (10, 6), (3, 3)], 4)),
        216.0,
        "The count is wrong for several matrices.",
        given="shapes = [(10, 6), (6, 10), (10, 6), (3, 3)], r = 4",
        mistakes={
            "Only the first matrix is counted.": 64.0,
            "Only the last matrix is counted.": 24.0,
            "Equal shapes are counted once; each matrix has an adapter of its own.": 152.0,
            "All matrices are taken to have the shape of the first.": 256.0,
        },
    )
    expect.close(number(candidate([], 4)), 0.0, "Without matrices nothing is trained.", given="shapes = [], r = 4")
    large = [(4097, 4096), (11009, 4096)] * 1200 + [(3, 2)]
    given = "2,400 matrices, (4097, 4096) and (11009, 4096) in turn, and one of (3, 2), r = 63"
    found = candidate(large, 63)
    expect.equal(
        number(found),
        float(lora_parameters(large, 63)),
        "The last digits of a large count are lost. Add up whole numbers, not single precision.",
        given=given,
    )
    found = found.item() if hasattr(found, "item") else found
    expect.that(
        isinstance(found, Integral),
        "The count is right, but it is no whole number (int): add and multiply only, and divide nothing.",
        given=given,
        expected="an int",
        yours=found,
    )


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
    given = "weight (4, 6), A (3, 6), B (4, 3), alpha = 10"
    merged = candidate(weight, a, b, 10.0)
    expect.kind(merged, Tensor, given=given)
    right, update = weight + 10 / 3 * b @ a, b @ a
    expect.that(
        torch.equal(weight, before),
        "The frozen matrix was changed in place. Merge twice, or switch to another adapter, and it is spoiled.",
    )
    _expect_full_precision(merged, right, given)
    expect.close(
        merged,
        right,
        "The merged matrix is not W + (alpha / r) B A.",
        given=given,
        rtol=1e-4,
        atol=1e-5,
        mistakes={
            "alpha / r is missing: the update is not scaled.": weight + update,
            "alpha // r rounds down; write alpha / r.": weight + 3 * update,
            "Scaled by alpha without dividing by r.": weight + 10 * update,
            "Divided by sqrt(r); plain LoRA divides by r.": weight + 10 / sqrt(3) * update,
            "alpha is divided by the number of inputs; r is the number of rows of lora_A.": weight + 10 / 6 * update,
            "alpha is divided by the number of outputs; r is the number of rows of lora_A.": weight + 10 / 4 * update,
            "2 is written in for alpha / r: `alpha` need not be twice the rank.": weight + 2 * update,
            "This is the update alone, without the frozen matrix.": 10 / 3 * update,
            "The update is subtracted.": weight - 10 / 3 * update,
            "The frozen matrix is scaled too.": 10 / 3 * (weight + update),
            "The product is (in, out), and reshaped until it fits: its numbers stand in other places. B A has the shape "
            "of W.": weight + 10 / 3 * (a.T @ b.T).reshape(4, 6),
        },
    )
    square_a, square_b = torch.randn(2, 5, generator=generator), torch.randn(5, 2, generator=generator)
    square = torch.randn(5, 5, generator=generator)
    expect.close(
        candidate(square, square_a, square_b, 5.0),
        square + 2.5 * square_b @ square_a,
        "For a square matrix the result is wrong.",
        given="weight (5, 5), A (2, 5), B (5, 2), alpha = 5",
        rtol=1e-4,
        atol=1e-5,
        mistakes={
            "The update is transposed; a square matrix does not complain.": square + 2.5 * (square_b @ square_a).T
        },
    )
    others = [part.T.contiguous().T for part in (weight, a, b)]
    message = "Wrong for matrices that are transposed views."
    expect.close(strided(lambda: candidate(*others, 10.0)), right, message, given=given, rtol=1e-4, atol=1e-5)
    one = a[:1], b[:, :1]
    expect.close(
        candidate(weight, *one, 10.0),
        merge(weight, *one, 10.0),
        "Right for r = 3, wrong for r = 1.",
        rtol=1e-4,
        atol=1e-5,
    )
    _expect_own_dtypes(lambda *parts: candidate(*parts, 10.0), right, weight, a, b)


def effective_rank(matrix: Tensor, share: float) -> int:
    """The smallest number of singular values whose squares make up at least ``share`` of the sum of all squares."""
    squares = torch.linalg.svdvals(matrix).square()
    reached = squares.cumsum(0) / squares.sum()
    return int((reached < share - 1e-6).sum()) + 1


def _rank_cases() -> list[Case]:
    """Matrices away from rounding: no share of theirs lies next to the one asked for, but where a note says so."""
    generator = torch.Generator().manual_seed(2)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    diagonal = torch.diag(torch.tensor([4.0, 2.0, 2.0, 1.0, 0.0]))  # squares 16, 4, 4, 1: shares .64, .80, .96, 1
    shares = (0.6, 0.7, 0.9, 0.97)
    slow = torch.diag(torch.arange(30.0, 0.0, -1.0))  # many values, so that hardly two mistakes give the same number
    cases = [Case(slow, 0.8, note="a diagonal matrix of 30, 29, ..., 1 and share = 0.8")]
    cases += [Case(diagonal, share, note=f"a diagonal matrix of 4, 2, 2, 1, 0 and share = {share}") for share in shares]
    left, right = (torch.linalg.qr(draw(5, 5)).Q for _ in range(2))
    cases += [
        Case(left @ diagonal, 0.9, note="the same matrix, its columns turned; share = 0.9", message=_TURNED),
        Case(
            left @ diagonal @ right.T, 0.9, note="the same matrix, turned on both sides; share = 0.9", message=_TURNED
        ),
        Case(draw(40, 3) @ draw(3, 30), 0.9999, note="B (40, 3) times A (3, 30), share = 0.9999", message=_TOO_HIGH),
        Case(torch.eye(4), 0.5, note="the unit matrix of size 4, share = 0.5: two of four equal values hold one half"),
        Case(3 + 0.1 * draw(6, 9), 0.9, note="a matrix (6, 9) of numbers near 3, share = 0.9"),
        Case(draw(9, 6).T, 0.8, note="a matrix (6, 9), share = 0.8"),
    ]
    for seed in range(8):  # rounding leaves some of their sums at 0.9999999
        matrix = torch.randn(20, 12, generator=torch.Generator().manual_seed(seed))
        cases.append(Case(matrix, 1.0, note="a matrix (20, 12), share = 1"))
    return cases


_TURNED = "A turned matrix has the same singular values, and so the same rank."
_TOO_HIGH = "B A with r = 3 has a rank of 3 at the most."

rank = Exercise(
    "09.5",
    title="The rank of an update",
    reference=effective_rank,
    cases=_rank_cases,
    general="Not the smallest number of singular values whose squares hold the share.",
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


@rank.first
def rank_is_a_number(candidate: Callable[..., int]) -> None:
    value = rank.cases[0].call(candidate)
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, Real) or isinstance(value, bool):
        expect.kind(value, int)
        raise Mistake("A number is wanted.", yours=value)


def _count(values: Tensor, share: float) -> int:
    """How many of the ``values``, added up from the first, hold the share of their sum."""
    return int((values.cumsum(0) / values.sum() < share - 1e-6).sum()) + 1


def _squares(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix).square()


@rank.bug("The singular values were summed; it is their *squares*.")
def rank_of_sums(matrix, share):
    return _count(torch.linalg.svdvals(matrix), share)


@rank.bug("One too few: the share is not reached yet. `reached` counts from 0, the rank from 1.")
def rank_one_short(matrix, share):
    return _count(_squares(matrix), share) - 1


@rank.bug("*At least* the share is asked for; yours wants more than it.")
def rank_strict(matrix, share):
    reached = _squares(matrix).cumsum(0) / _squares(matrix).sum()
    return int((reached <= share + 1e-6).sum()) + 1


@rank.bug("More directions than the matrix has: rounding leaves the sum at 0.9999999. Compare with `share - 1e-6`.")
def rank_without_tolerance(matrix, share):
    reached = _squares(matrix).cumsum(0) / _squares(matrix).sum()
    return int((reached < share).sum()) + 1


@rank.bug("The values are added from the smallest on; the largest come first.")
def rank_from_smallest(matrix, share):
    return _count(_squares(matrix).flip(0), share)


@rank.bug("The values are squared twice: those of M M^T are squares already.")
def rank_of_fourth_powers(matrix, share):
    return _count(torch.linalg.svdvals(matrix @ matrix.T).square(), share)


@rank.bug("The share is asked of the root of the sum, the length; it is asked of the sum of squares.")
def rank_of_lengths(matrix, share):
    reached = (_squares(matrix).cumsum(0) / _squares(matrix).sum()).sqrt()
    return int((reached < share - 1e-6).sum()) + 1


@rank.bug("Each singular value is compared with the largest; add them up until the share is reached.")
def rank_above_a_bound(matrix, share):
    squares = _squares(matrix)
    return max(1, int((squares >= (1 - share) * squares[0]).sum()))


@rank.bug("0.9 is written in; `share` says how much is wanted.")
def rank_of_nine_tenths(matrix, share):
    return _count(_squares(matrix), 0.9)


@rank.bug("The matrix is centred first, as for principal components. An update is taken as it is.")
def rank_centred(matrix, share):
    return _count(_squares(matrix - matrix.mean(0)), share)


@rank.bug("The lengths of the rows stand in for the singular values; a turned matrix has other rows.")
def rank_of_rows(matrix, share):
    return _count(matrix.square().sum(1).sort(descending=True).values, share)


@rank.bug("The diagonal stands in for the singular values; a turned matrix has another one.")
def rank_of_diagonal(matrix, share):
    return _count(matrix.diagonal().square().sort(descending=True).values, share)


@rank.bug("This is the size of the matrix.")
def rank_of_size(matrix, share):
    return min(matrix.shape)


@rank.bug("This is the largest possible rank; `share` is not looked at.")
def rank_whole(matrix, share):
    return int(torch.linalg.matrix_rank(matrix))
