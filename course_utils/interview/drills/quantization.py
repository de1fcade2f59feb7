"""Drills on quantization: absmax, NF4, and one step of GPTQ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import normal
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def absmax_quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """(codes, scales): each row of x in 8 bits. x is about codes * scales[:, None].

    x: (rows, width). codes: int8, from -127 to 127, rounded. scales: (rows,), the largest magnitude of the row / 127; a row
    of zeros has codes 0 and the scale 0.
    """
    scales = x.abs().amax(1) / 127
    codes = (x / scales.masked_fill(scales == 0, 1.0)[:, None]).round()
    return codes.to(torch.int8), scales


absmax = Definition(
    absmax_quantize,
    title="Absmax quantization to int8",
    level="screen",
    minutes=8,
    topics=("A13", "A26"),
    statement="""
    Store each row in 8 bits: its largest magnitude becomes 127, the rest is scaled alike and rounded to the nearest whole
    number. A row of zeros must not give NaN: its codes are 0, its scale 0.
    x: (rows, width). Result: codes (rows, width) in int8, scales (rows,), so that `codes * scales[:, None]` is near x.
    """,
    cases=lambda: [
        Case(torch.tensor([[1.0, -2.0, 0.4]])),
        Case(normal(1, 3, 5)),
        Case(torch.tensor([[0.0, 0.0, 0.0], [3.0, -9.0, 1.3]])),
        Case(100 * normal(2, 4, 6)),
    ],
    observe=lambda answer, x: (lambda out: {"codes": out[0], "dtype": str(out[0].dtype), "scales": out[1]})(answer(x)),
    general="Not codes = round(x / scale) in int8 with scale = largest magnitude of the row / 127.",
    hints=[
        "One scale for each row. int8 cuts off what comes after the point, so round first. A scale of 0 must not divide.",
        "`scales = x.abs().amax(1) / 127`; `(x / scales.masked_fill(scales == 0, 1)[:, None]).round().to(torch.int8)`.",
    ],
    banned=("quantize_per_tensor", "quantize_per_channel", "int8_vectorwise_quant"),
)


def _absmax(x, top=127, scale=lambda x: x.abs().amax(1, keepdim=True), cut=False, whole=False):
    s = (x.abs().max().expand(len(x), 1) if whole else scale(x)) / top
    q = x / s.masked_fill(s == 0, 1.0)
    q = q.trunc() if cut else q.round()
    return q.clamp(-128, 127).to(torch.int8), s[:, 0].clone()


absmax.plant(
    {
        sentence: lambda x, wrong=wrong: _absmax(x, **wrong)
        for sentence, wrong in {
            "The codes are cut off instead of rounded: int8 drops what comes after the point.": {"cut": True},
            "One scale for the whole tensor; each row has its own.": {"whole": True},
            "The largest number is used, not the largest magnitude: a large negative one falls outside.": {
                "scale": lambda x: x.amax(1, keepdim=True)
            },
            "The largest magnitude becomes 128, which int8 does not hold; it is 127.": {"top": 128},
        }.items()
    }
    | {
        "The second of the two is 127 / largest magnitude; the scale is what the codes are multiplied with.": lambda x: (
            (lambda codes, scales: (codes, 1 / scales))(*_absmax(x))
        ),
        "The codes are floats; int8 is wanted.": lambda x: (lambda codes, scales: (codes.float(), scales))(*_absmax(x)),
    }
)


def nf4_quantize(x: Tensor, levels: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """(codes, absmax): each block of x in 4 bits. x is about levels[codes] * absmax of its block.

    x: (n,), n a multiple of ``block``. levels: (16,), rising from -1 to 1. codes: (n,), whole numbers from 0 to 15, the
    nearest level of x / absmax. absmax: (n / block,), the largest magnitude of each block; a block of zeros has 0.
    """
    rows = x.view(-1, block)
    absmax = rows.abs().amax(1)
    unit = rows / absmax.masked_fill(absmax == 0, 1.0)[:, None]
    codes = (unit[..., None] - levels).abs().argmin(-1)
    return codes.flatten(), absmax


def _levels():
    """The 16 levels of NF4, by their definition: quantiles of the normal distribution, with a zero."""
    normal_ = torch.distributions.Normal(0.0, 1.0)
    offset = 0.9677083
    up = normal_.icdf(torch.linspace(offset, 0.5, 9)[:-1])
    down = -normal_.icdf(torch.linspace(offset, 0.5, 8)[:-1])
    values = torch.cat([up, torch.zeros(1), down]).sort().values
    return values / values.max()


nf4 = Definition(
    nf4_quantize,
    title="The NF4 quantizer",
    level="onsite",
    minutes=10,
    topics=("A13", "F5"),
    statement="""
    Store a weight in 4 bits as QLoRA does. Cut x into blocks; divide each by its largest magnitude; write for each number the
    place of the nearest of the 16 levels, which are given: they lie unevenly, closer together near 0. A block of zeros has
    the absmax 0 and the code of the level 0.
    x: (n,); levels: (16,), rising from -1 to 1. Result: codes (n,), absmax (n / block,).
    """,
    cases=lambda: [
        Case(torch.tensor([2.0, -0.5]), _levels(), 2),
        Case(normal(1, 8), _levels(), 4),
        Case(torch.cat([torch.zeros(4), 10 * normal(2, 4)]), _levels(), 4),
        Case(normal(3, 64) * torch.tensor([1.0, 20.0]).repeat_interleave(32), _levels(), 16),
    ],
    observe=lambda answer, *case: (lambda out: {"codes": out[0].long(), "absmax": out[1]})(answer(*case)),
    general="Not the nearest level of x / absmax of its block.",
    hints=[
        "Compare every number with all 16 levels along a new last axis; the smallest distance wins.",
        "`rows = x.view(-1, block)`; `absmax = rows.abs().amax(1)`; `codes = ((rows / absmax[:, None])[..., None] - "
        "levels).abs().argmin(-1).flatten()`, with 1 instead of an absmax of 0.",
    ],
    banned=("quantize_4bit", "quantize_nf4", "quantize_blockwise"),
)


def _nf4(x, levels, block, even=False, below=False, whole=False, columns=False, guard=True, top=lambda r: r.abs()):
    rows = x.view(-1, block) if not columns else x.view(block, -1).T
    top = top(rows).amax(1)
    top = top.max().expand(len(rows)).clone() if whole else top
    unit = rows / (top.masked_fill(top == 0, 1.0) if guard else top)[:, None]
    if even:
        codes = ((unit + 1) / 2 * 15).round()
    elif below:
        codes = (torch.searchsorted(levels, unit.contiguous(), right=True) - 1).clamp(0, 15)
    else:
        codes = (unit[..., None] - levels).abs().argmin(-1)
    return (codes.T if columns else codes).flatten().long(), top


nf4.plant(
    {
        sentence: lambda x, levels, block, wrong=wrong: _nf4(x, levels, block, **wrong)
        for sentence, wrong in {
            "The levels are taken to be evenly spaced; they are given, and closer together near 0.": {"even": True},
            "The level below is taken; it is the nearest.": {"below": True},
            "One absmax for all of x; each block has its own.": {"whole": True},
            "A block takes every n-th number; it takes neighbours.": {"columns": True},
            "A block of zeros divides by 0.": {"guard": False},
            "The largest number is used, not the largest magnitude.": {"top": lambda rows: rows},
        }.items()
    }
    | {
        "The levels themselves are returned; their places are wanted.": lambda x, levels, block: (
            lambda codes, top: (levels[codes] * 100, top)
        )(*_nf4(x, levels, block)),
        "x is not divided by the absmax of its block.": lambda x, levels, block: (
            (x[:, None] - levels).abs().argmin(-1),
            _nf4(x, levels, block)[1],
        ),
    }
)


def gptq_step(weight: Tensor, factor: Tensor, column: int, scale: Tensor) -> Tensor:
    """``weight`` after one step of GPTQ: the column quantized, the later columns mended. A new tensor.

    weight: (out, in). factor: (in, in), upper triangular, U with inverse of the Hessian = U^T U. scale: (out,), the step of
    each row's grid: a quantized number is scale times a whole number from -8 to 7.
    """
    done = weight.clone()
    old = weight[:, column]
    done[:, column] = (old / scale).round().clamp(-8, 7) * scale
    error = (old - done[:, column]) / factor[column, column]
    done[:, column + 1 :] -= error[:, None] * factor[column, column + 1 :]
    return done


def _factor(seed, size):
    x = normal(seed, 4 * size, size) + normal(seed + 1, 4 * size, 1)  # columns that resemble each other
    return torch.linalg.cholesky(torch.linalg.inv(x.T @ x / len(x) + 0.01 * torch.eye(size)), upper=True)


gptq = Definition(
    gptq_step,
    new=True,
    title="One step of GPTQ",
    level="staff",
    minutes=15,
    topics=("A13", "A26"),
    statement="""
    Quantize one column of a weight and let the later columns make up for the error, as GPTQ does (arXiv 2210.17323). With U
    the upper Cholesky factor of the inverse Hessian (`H⁻¹ = Uᵀ U`) and column i:
    `q = scale * clamp(round(w_i / scale), -8, 7)`, `e = (w_i - q) / U[i, i]`, and each later column j gets `w_j -= e * U[i, j]`.
    Earlier columns are quantized already and stay. weight: (out, in); factor: (in, in); scale: (out,). Result: a new (out, in).
    """,
    cases=lambda: [
        Case(torch.tensor([[0.7, 1.0]]), torch.tensor([[2.0, 0.5], [0.0, 1.0]]), 0, torch.tensor([1.0])),
        Case(normal(1, 3, 4), _factor(2, 4), 1, torch.tensor([0.5, 0.3, 0.4])),
        Case(normal(3, 2, 5), _factor(4, 5), 0, torch.tensor([0.05, 0.2])),
        Case(normal(5, 2, 3), _factor(6, 3), 2, torch.tensor([0.2, 0.5])),
        Case(torch.tensor([[-2.0, 1.0], [2.0, 0.3]]), _factor(7, 2), 0, torch.tensor([0.1, 0.1])),
    ],
    general="Not the column rounded to its grid, and the later columns less (error / U[i, i]) * U[i, j].",
    hints=[
        "The error is divided by the diagonal before it is spread along row i of the factor. Work on a clone: the caller needs "
        "the weight.",
        "`error = (old - quantized) / factor[column, column]`; `done[:, column + 1 :] -= error[:, None] * factor[column, "
        "column + 1 :]`.",
    ],
)


def _gptq(weight, factor, column, scale, spread=True, sign=-1, divide=1, limit=True, flip=False):
    done, old = weight.clone(), weight[:, column]
    q = (old / scale).round()
    done[:, column] = (q.clamp(-8, 7) if limit else q) * scale
    error = (old - done[:, column]) / factor[column, column] ** divide
    if spread:
        weights = factor[column]
        weights = (factor.T @ factor)[column] if flip else weights
        done[:, column + 1 :] += sign * error[:, None] * weights[column + 1 :]
    return done


gptq.plant(
    {
        sentence: lambda weight, factor, column, scale, wrong=wrong: _gptq(weight, factor, column, scale, **wrong)
        for sentence, wrong in {
            "The later columns are not mended: this is plain rounding. (Column i of U holds 0 there; it is row i.)": {
                "spread": False
            },
            "The later columns are mended the wrong way: the error times U[i, j] is subtracted.": {"sign": 1},
            "The error is not divided by U[i, i].": {"divide": 0},
            "The error is divided by U[i, i] squared.": {"divide": 2},
            "The grid has no ends: whole numbers from -8 to 7.": {"limit": False},
            "The inverse Hessian is used in place of its factor U.": {"flip": True},
        }.items()
    }
    | {
        "The column itself stays as it was; it must be quantized.": lambda weight, factor, column, scale: (
            _gptq(weight, factor, column, scale)
            + (weight[:, column] - _gptq(weight, factor, column, scale)[:, column])[:, None]
            * torch.nn.functional.one_hot(torch.tensor(column), weight.shape[1])
        ),
        "One scale for all rows; each has its own.": lambda weight, factor, column, scale: _gptq(
            weight, factor, column, scale[:1].expand_as(scale)
        ),
    }
)
