"""Checks of chapter 10: rounding in blocks, the codebook of NF4, the nearest entry, bits per parameter, and QLoRA's layer."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from course_utils.classroom.exercises.exercise import Mistake, check, expect
from course_utils.models.quantization import dynamic_codebook


def _pair(result: Any, names: str, given: Any) -> tuple[Tensor, Tensor]:
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2, f"Two tensors are wanted: `return {names}`.", given=given
    )
    for part in result:
        expect.kind(part, Tensor, given=given)
    return result[0], result[1]


def _codes(codes: Tensor, shape: tuple[int, ...], given: Any) -> Tensor:
    expect.that(
        not codes.is_floating_point(),
        "The codes are floating numbers. They are whole, and stored as such: that is what saves memory.",
        given=given,
        yours=codes,
    )
    expect.shape(codes, shape, given=given)
    return codes.long()


def _of_any_layout(function: Callable[..., Any], weight: Tensor, *args: Any, given: str) -> Any:
    """What the function gives for a weight that is no single block of memory, which `.view` cannot cut."""
    try:
        return function(weight, *args)
    except RuntimeError as error:
        if "view" not in str(error):
            raise
        raise Mistake(
            "`.view` fails on a transposed matrix, whose rows do not lie one after the other; `.reshape` copies it.",
            given=given,
            yours=f"{type(error).__name__}: {error}",
        ) from None


class _NoNaNToInteger(TorchDispatchMode):
    """Inside, a NaN that becomes a whole number is a mistake: which number comes out depends on the machine."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = func(*args, **(kwargs or {}))
        source = args[-1] if func is torch.ops.aten.copy_.default else args[0] if args else None
        if func in (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default) and not made.is_floating_point():
            expect.that(
                not (source.is_floating_point() and bool(source.isnan().any())),
                "0 / 0 is NaN, and which whole number a NaN becomes depends on the machine. Where the step is 0, divide by 1.",
                given="a block of zeros",
            )
        return made


def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    """(codes (blocks, block_size) int8, steps (blocks,)): each block in whole steps of its absmax / (2 ** (bits - 1) - 1)."""
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2 ** (bits - 1) - 1)
    divisor = torch.where(steps == 0, torch.ones_like(steps), steps)
    return (blocks / divisor[:, None]).round().to(torch.int8), steps


@check(
    "10.1",
    title="Round in blocks",
    reference=quantize_absmax,
    difficulty=2,
    minutes=8,
    points=2,
    asked="write absmax int8 quantization",
    hints=[
        "`blocks = weight.reshape(-1, block_size)`; the scale of a block is its largest *magnitude*, `blocks.abs().amax(1)`.",
        "With 8 bits the codes go from -127 to 127, with 4 from -7 to 7: n = 2 ** (bits - 1) - 1. One step is absmax / n.",
        "`(blocks / steps[:, None]).round().to(torch.int8)`; where the step is 0, divide by 1 instead: "
        "`torch.where(steps == 0, 1.0, steps)`.",
    ],
)
def check_quantize_absmax(candidate: Callable[..., tuple[Tensor, Tensor]]) -> None:
    # no quotient lies on a half, so that other orders of multiplying and dividing round alike
    weight = torch.tensor([[0.45, -1.0, 0.26, 0.77], [0.11, 0.07, -0.2, 0.013]])
    given = {"weight": weight, "bits": 4, "block_size": 4}
    codes, steps = _pair(candidate(weight.clone(), 4, 4), "codes, steps", given)
    absmax = torch.tensor([1.0, 0.2])
    wanted, wanted_steps = quantize_absmax(weight, 4, 4)
    expect.close(
        steps,
        wanted_steps,
        "Not the size of one step: absmax / 7 for 4 bits.",
        given=given,
        mistakes={
            "The step is made of the largest number. A block's largest *magnitude* may be negative: take `abs()` first.": torch.tensor(
                [0.77, 0.11]
            )
            / 7,
            "That is absmax. A step is absmax / (2 ** (bits - 1) - 1).": absmax,
            "Divided by 2 ** (bits - 1): the largest positive code would be 8, and does not fit into 4 bits.": absmax
            / 8,
            "Divided by 2 ** bits - 1, the number of steps from end to end; the range goes from -absmax to absmax.": absmax
            / 15,
            "Divided by 2 ** bits; codes have a sign, so 4 bits reach from -7 to 7.": absmax / 16,
            "The blocks are cut down the columns; they are cut from the numbers row after row.": torch.tensor(
                [1.0, 0.77]
            )
            / 7,
            "127 is written in; with 4 bits n is 2 ** 3 - 1 = 7.": absmax / 127,
            "That is 1 over the step.": 7 / absmax,
            "One scale for all: each block has its own.": torch.full((2,), 1 / 7),
        }
        | {
            f"That is (max - min) / {n}, for codes with a zero point. Here 0 keeps the code 0: the step is absmax / 7.": torch.tensor(
                [1.77, 0.31]
            )
            / n
            for n in (7, 14, 15, 16)
        },
        rtol=1e-5,
        atol=1e-7,
    )
    found = _codes(codes, (2, 4), given)
    blocks = weight / wanted_steps[:, None]
    expect.equal(
        found,
        wanted.long(),
        "Not the nearest whole number of steps.",
        given=given,
        mistakes={
            "The numbers are cut off, not rounded; `.to(torch.int8)` alone goes towards 0.": blocks.trunc().long(),
            "Rounded down always; the nearest is wanted.": blocks.floor().long(),
            "Rounded up always; the nearest is wanted.": blocks.ceil().long(),
            "All blocks are divided by the first one's step.": (weight / wanted_steps[0]).round().long(),
            "The codes are shifted to 0 ... 14; here they have a sign, and 0 keeps the code 0.": wanted.long() + 7,
            "The codes are shifted by 8; here they have a sign, and 0 keeps the code 0.": wanted.long() + 8,
        },
    )
    expect.that(
        codes.dtype == torch.int8, "Codes of up to 8 bits are stored as `torch.int8`.", given=given, yours=codes
    )
    generator = torch.Generator().manual_seed(3)
    wide = torch.randn(4, 6, generator=generator)
    given = "weight (4, 6), bits = 8, block_size = 3"
    codes, steps = _pair(candidate(wide, 8, 3), "codes, steps", given)
    wanted, wanted_steps = quantize_absmax(wide, 8, 3)
    expect.shape(steps, (8,), given=given)
    expect.close(steps, wanted_steps, "With 8 bits a step is absmax / 127.", given=given, rtol=1e-5)
    expect.equal(
        _codes(codes, (8, 3), given),
        wanted.long(),
        "With 8 bits, or with blocks shorter than a row, the codes differ. Blocks are cut from the numbers row after row.",
        given=given,
    )
    for bits in (2, 3, 5, 6, 7):
        n, given = 2 ** (bits - 1) - 1, f"weight (4, 6), bits = {bits}, block_size = 12"
        codes, steps = _pair(candidate(wide, bits, 12), "codes, steps", given)
        wanted, wanted_steps = quantize_absmax(wide, bits, 12)
        message = f"Right for 8 and 4 bits, wrong for {bits}: n is 2 ** (bits - 1) - 1 for all, {n} here."
        expect.close(steps, wanted_steps, message, given=given, rtol=1e-5)
        expect.equal(_codes(codes, (2, 12), given), wanted.long(), message, given=given)
    turned = torch.randn(3, 4, 2, generator=generator).transpose(0, 2)
    given = "weight (2, 4, 3), a transposed view, bits = 8, block_size = 6"
    codes, steps = _pair(_of_any_layout(candidate, turned, 8, 6, given=given), "codes, steps", given)
    wanted, wanted_steps = quantize_absmax(turned, 8, 6)
    message = (
        "Wrong for a weight with three axes, or for a transposed one: cut its numbers in the order of its own rows."
    )
    expect.close(steps, wanted_steps, message, given=given, rtol=1e-5)
    expect.equal(_codes(codes, (4, 6), given), wanted.long(), message, given=given)
    given = "a block of zeros"
    with _NoNaNToInteger():
        codes, steps = _pair(candidate(torch.tensor([0.0, 0.0, 1.0, -1.0]), 4, 2), "codes, steps", given)
    expect.that(
        not bool(steps.isnan().any()) and float(steps[0]) == 0,
        "A block of zeros has the step 0.",
        given=given,
        yours=steps,
    )
    expect.equal(
        _codes(codes, (2, 2), given), torch.tensor([[0, 0], [7, -7]]), "A block of zeros has the codes 0.", given=given
    )
    tiny = wide * 1e-9
    given = "weight (4, 6), numbers around 1e-9, bits = 8, block_size = 3"
    codes, steps = _pair(candidate(tiny, 8, 3), "codes, steps", given)
    wanted, wanted_steps = quantize_absmax(tiny, 8, 3)
    message = "Small numbers have small steps: a floor under it, such as 1e-8, makes their codes 0."
    expect.that(torch.allclose(steps * 1e9, wanted_steps * 1e9, rtol=1e-4), message, given=given, yours=steps)
    expect.that(bool(((_codes(codes, (8, 3), given) - wanted).abs() <= 1).all()), message, given=given, yours=codes)


def nf4_codebook() -> Tensor:
    """The 16 values of 4-bit NormalFloat, ascending from -1 to 1, float32."""
    p, quantile = 1 - (1 / 32 + 1 / 30) / 2, NormalDist().inv_cdf
    up = [quantile(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    down = [quantile(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    return torch.tensor(sorted([*down, 0.0, *up])) / max(up)


@check(
    "10.2",
    title="The codebook of NF4",
    reference=nf4_codebook,
    difficulty=3,
    minutes=10,
    points=3,
    asked="what is NF4, and where do its 16 values come from?",
    hints=[
        "`quantile = NormalDist().inv_cdf`. Upwards: 8 probabilities in equal steps above 0.5, the last is p. Downwards: 7 in "
        "equal steps below 0.5, the last is 1 - p. Between them the 0.",
        "`[quantile(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]`, and `[quantile(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]`.",
        "Sort the 7 + 1 + 8 values, and divide by the largest.",
    ],
)
def check_nf4_codebook(candidate: Callable[[], Tensor]) -> None:
    p = 1 - (1 / 32 + 1 / 30) / 2
    quantile = NormalDist().inv_cdf

    def build(up: int, down: int, p: float = p, divide: bool = True, parts: tuple[int, int] | None = None) -> Tensor:
        above, below = parts or (up, down)
        values = [quantile(0.5 + (p - 0.5) * i / above) for i in range(1, up + 1)]
        values += [quantile(0.5 - (p - 0.5) * i / below) for i in range(1, down + 1)] + [0.0]
        values = torch.tensor(sorted(values), dtype=torch.float64)
        return (values / values.max() if divide else values).float()

    given = "p = 1 - (1/32 + 1/30) / 2 = 0.9677"
    found = candidate()
    expect.kind(found, Tensor, given=given)
    right = nf4_codebook()
    expect.that(
        found.numel() == 16,
        "4 bits name 16 values.",
        given=given,
        expected="7 below 0, the 0, and 8 above",
        yours=found,
    )
    expect.shape(found, (16,), given=given)
    expect.that(found.is_floating_point(), "Floating numbers are wanted.", given=given, yours=found)
    expect.that(
        found.unique().numel() == 16,
        "A value is there twice: i runs from 1, and the 0 stands once.",
        given=given,
        yours=found,
    )
    expect.that(
        bool((found.diff() > 0).all()),
        "The values are not in ascending order; the search for the nearest needs that.",
        given=given,
        yours=found,
    )
    expect.that(found.dtype == torch.float32, "The dtype should be float32.", given=given, yours=found)
    even = torch.tensor([quantile((i + 0.5) / 16) for i in range(16)])
    one_run = torch.tensor([quantile(1 - p + (2 * p - 1) * i / 15) for i in range(16)])
    near = expect.matches(found, right, rtol=0, atol=2e-3)
    expect.close(
        found,
        right,
        "Nearly: the values are rounded, or computed in half precision. Compute them from the quantiles."
        if near
        else "Not the quantiles of the normal distribution from 1 - p to p, 7 below and 8 above 0, divided by the largest.",
        given=given,
        mistakes={
            "The values are not divided by the largest: they must end at -1 and 1.": build(8, 7, divide=False),
            "8 below and 7 above 0: it is the other way round.": build(7, 8),
            "These are 16 equally likely pieces of the normal distribution; 0 is not among them. NF4 goes from the middle outwards, "
            "8 steps up and 7 down.": even / even.max(),
            "One even run of 16 from 1 - p to p has no 0. NF4 goes from the middle outwards, 8 steps up and 7 down.": one_run
            / one_run.max(),
            "The 7 steps downwards are eighths, so -1 is not reached: divide i by 7 there.": build(8, 7, parts=(8, 8)),
            "These are even steps: no quantile is taken.": torch.linspace(-1, 1, 16),
            "Even steps above and below 0: no quantile is taken.": torch.cat(
                (torch.arange(-7, 1) / 7, torch.arange(1, 9) / 8)
            ),
            "p is 1 - 1/32 here: it is the mean of 1 - 1/32 and 1 - 1/30.": build(8, 7, 1 - 1 / 32),
            "p is 1 - 1/30 here: it is the mean of 1 - 1/32 and 1 - 1/30.": build(8, 7, 1 - 1 / 30),
        }
        | {
            f"p is rounded to {short}; take 1 - (1/32 + 1/30) / 2 in full.": build(8, 7, short)
            for short in (0.9677, 0.968, 0.97)
        },
        rtol=1e-5,
        atol=2e-7,
    )


def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    """(codes (blocks, block_size) uint8, absmax (blocks,)): the place of the nearest entry for each scaled number."""
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    divisor = torch.where(absmax == 0, torch.ones_like(absmax), absmax)
    middles = (codebook[1:] + codebook[:-1]) / 2  # between two middles one entry is the nearest
    return torch.bucketize(blocks * (1 / divisor)[:, None], middles).to(torch.uint8), absmax


@check(
    "10.3",
    title="The nearest entry",
    reference=quantize_blocks,
    difficulty=3,
    minutes=10,
    points=3,
    asked="quantize a matrix with a codebook, without a loop",
    hints=[
        "Blocks as in 10.1, divided by their absmax: then every number lies between -1 and 1, like the codebook.",
        "All distances at once: `(scaled[..., None] - codebook).abs().argmin(-1)`. Or quicker, as the codebook is sorted: which two "
        "middles does a number lie between?",
        "`middles = (codebook[1:] + codebook[:-1]) / 2`, then `torch.bucketize(scaled, middles).to(torch.uint8)`.",
    ],
)
def check_quantize_blocks(candidate: Callable[..., tuple[Tensor, Tensor]]) -> None:
    book = torch.tensor([-1.0, -0.4, 0.0, 0.2, 1.0])
    weight = torch.tensor([[2.0, -1.5, 0.5, 0.15], [-0.5, 0.02, 0.33, -0.12]])
    given = {"weight": weight, "codebook": book, "block_size": 4}
    codes, absmax = _pair(candidate(weight.clone(), book.clone(), 4), "codes, absmax", given)
    wanted, _ = quantize_blocks(weight, book, 4)
    expect.close(
        absmax,
        torch.tensor([2.0, 0.5]),
        "Not the largest magnitude of each block.",
        given=given,
        mistakes={
            "The largest number is taken; in the second block the largest *magnitude* is negative.": torch.tensor(
                [2.0, 0.33]
            ),
            "One scale for all: each block has its own.": torch.tensor([2.0, 2.0]),
            "The largest number with its sign; a scale is positive.": torch.tensor([2.0, -0.5]),
            "That is 1 over the largest magnitude.": torch.tensor([0.5, 2.0]),
        },
        rtol=1e-5,
    )
    scaled = weight / torch.tensor([[2.0], [0.5]])
    low = torch.searchsorted(book, scaled, right=True) - 1
    expect.equal(
        _codes(codes, (2, 4), given),
        wanted.long(),
        "Not the place of the nearest entry.",
        given=given,
        mistakes={
            "That is the entry below; the nearest may be the one above. Compare with the middles between entries.": low,
            "That is the entry above: `bucketize` got the codebook; give it the middles between entries.": torch.bucketize(
                scaled, book
            ),
            "The numbers are not divided by their block's absmax before the search.": torch.bucketize(
                weight, (book[1:] + book[:-1]) / 2
            ),
            "All blocks are divided by the first one's absmax.": torch.bucketize(
                weight / 2, (book[1:] + book[:-1]) / 2
            ),
            "The codebook is taken as evenly spaced. Its entries are not; look for the nearest one.": (
                (scaled + 1) / 2 * 4
            )
            .round()
            .long(),
        },
    )
    expect.that(
        codes.dtype == torch.uint8,
        "Places up to 255 are stored as `torch.uint8`, one byte each; int64 takes eight, and int8 ends at 127.",
        given=given,
        yours=codes,
    )
    generator = torch.Generator().manual_seed(5)
    fine = dynamic_codebook()  # entries so close that half precision takes some for their neighbours
    wanted = torch.randint(1, 255, (4, 32), generator=generator)
    wanted[:, 0] = 255
    away = 0.49 * torch.where(torch.arange(32) % 2 == 0, fine[wanted] - fine[wanted - 1], 0.0)
    scaled = torch.where(wanted == 255, 1.0, fine[wanted] - away)
    given = "a weight (4, 32), a codebook of 256 entries, block_size = 32"
    codes, _ = _pair(candidate(scaled * 0.25, fine, 32), "codes, absmax", given)
    found = _codes(codes, (4, 32), given)
    beside = bool(((found - wanted).abs() <= 1).all())
    expect.equal(
        found,
        wanted,
        "Some numbers get a neighbour of the nearest entry: the search is done in half precision. Keep the dtype."
        if beside
        else "Right for 5 entries, wrong for 256. Is a number of entries written in?",
        given=given,
    )
    wide, nf4 = torch.randn(6, 8, generator=generator), nf4_codebook()
    given = "weight (6, 8), the codebook of NF4, block_size = 16"
    codes, absmax = _pair(candidate(wide, nf4, 16), "codes, absmax", given)
    wanted, scales = quantize_blocks(wide, nf4, 16)
    expect.close(absmax, scales, "A block of 16 goes over two rows of 8: numbers are cut row after row.", given=given)
    expect.equal(
        _codes(codes, (3, 16), given),
        wanted.long(),
        "With blocks longer than a row the codes differ. Blocks are cut from the numbers row after row.",
        given=given,
    )
    turned = torch.randn(3, 4, 2, generator=generator).transpose(0, 2)
    given = "weight (2, 4, 3), a transposed view, the codebook of NF4, block_size = 6"
    codes, absmax = _pair(_of_any_layout(candidate, turned, nf4, 6, given=given), "codes, absmax", given)
    wanted, scales = quantize_blocks(turned, nf4, 6)
    message = (
        "Wrong for a weight with three axes, or for a transposed one: cut its numbers in the order of its own rows."
    )
    expect.close(absmax, scales, message, given=given)
    expect.equal(_codes(codes, (4, 6), given), wanted.long(), message, given=given)
    zeros = torch.tensor([0.0, 0.0, 1.0, -1.0])
    for its_book, place, name in ((nf4, 7, "NF4"), (book, 2, f"{book.tolist()}")):
        given = f"weight = {zeros.tolist()}, block_size = 2, the codebook {name}"
        codes, absmax = _pair(candidate(zeros, its_book, 2), "codes, absmax", given)
        expect.equal(
            _codes(codes, (2, 2), given),
            torch.tensor([[place, place], [len(its_book) - 1, 0]]),
            f"A block of zeros: the nearest entry is the exact 0, place {place} in this codebook. (0 / 0 is NaN: divide by "
            "1 there.)",
            given=given,
            mistakes={}
            if place == 7
            else {
                "Place 7 is written in for zeros; that is the exact 0 of NF4. Look it up in this codebook.": torch.tensor(
                    [[7, 7], [len(its_book) - 1, 0]]
                )
            },
        )
        expect.that(float(absmax[0]) == 0, "A block of zeros has the absmax 0.", given=given, yours=absmax)
    given = "weight (6, 8), numbers around 1e-9, the codebook of NF4, block_size = 16"
    codes, absmax = _pair(candidate(wide * 1e-9, nf4, 16), "codes, absmax", given)
    wanted, scales = quantize_blocks(wide, nf4, 16)
    message = "Small numbers have a small absmax: a floor under it, such as 1e-8, takes them all for 0."
    expect.that(torch.allclose(absmax * 1e9, scales, rtol=1e-4), message, given=given, yours=absmax)
    expect.equal(_codes(codes, (3, 16), given), wanted.long(), message, given=given)


def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    """Bits of a number with its share of the scale, or with double of the scale in 8 bits and of the scale's scale."""
    if not double:
        return bits + scale_bits / block_size
    return bits + 8 / block_size + scale_bits / (block_size * scale_block)


@check(
    "10.4",
    title="Bits per parameter",
    reference=bits_per_parameter,
    difficulty=1,
    minutes=5,
    points=1,
    asked="what does double quantization save?",
    hints=[
        "One scale is shared by block_size numbers: each of them bears scale_bits / block_size.",
        "Doubly quantized, a scale costs 8 bits, and scale_block scales share one of scale_bits. How many *numbers* share that one?",
        "`bits + 8 / block_size + scale_bits / (block_size * scale_block)`",
    ],
)
def check_bits_per_parameter(candidate: Callable[..., float]) -> None:
    expect.close(
        candidate(4, 64, 32),
        4.5,
        "A scale of 32 bits for 64 numbers costs each of them half a bit.",
        given="bits = 4, block_size = 64, scale_bits = 32",
        mistakes={
            "The scales are missing, or their share is cut off by `//`; a share is `/`.": 4.0,
            "That is the double quantization; `double` is False here.": 4 + 8 / 64 + 32 / (64 * 256),
            "That is bytes: 8 bits are a byte.": 4.5 / 8,
            "Each number has a scale of its own here; a block shares one.": 36.0,
            "These are the bits of a whole block.": 4 * 64 + 32.0,
            "That is the share of the scales alone.": 0.5,
        },
    )
    expect.close(
        candidate(8, 128, 16, False, 32),
        8.125,
        "Right for 4 bits, blocks of 64 and scales of 32 bits, wrong for others. Is a number written in?",
        given="bits = 8, block_size = 128, scale_bits = 16, double = False, scale_block = 32",
        mistakes={
            "4 bits are written in; `bits` says how many.": 4.125,
            "The second scales are counted, though `double` is False.": 8 + 16 / 128 + 16 / (128 * 32),
        },
    )
    expect.close(
        candidate(3, 32, 24, True, 128),
        3 + 8 / 32 + 24 / (32 * 128),
        "The scales cost 8 bits each now; and how many numbers share one second scale?",
        given="bits = 3, block_size = 32, scale_bits = 24, double = True, scale_block = 128",
        mistakes={
            "The second scales are missing, or cut off by `//`.": 3 + 8 / 32,
            "The first scales, now 8 bits each, are missing.": 3 + 24 / (32 * 128),
            "A second scale is shared by scale_block scales, and so by block_size * scale_block numbers.": 3
            + 8 / 32
            + 24 / 128,
            "The first scales are still counted in full; they are stored in 8 bits now.": 3 + 24 / 32 + 24 / (32 * 128),
            "The first scales are counted twice, in full and in 8 bits.": 3 + 24 / 32 + 8 / 32 + 24 / (32 * 128),
            "`double` makes no difference.": 3 + 24 / 32,
            "A first scale has 8 bits now, whatever `scale_bits` says; yours has a quarter of it.": 3
            + 6 / 32
            + 24 / (32 * 128),
            "The first scales have 8 bits each, not as many as the numbers.": 3 + 3 / 32 + 24 / (32 * 128),
            "The second scales have 8 bits here; it is the first ones.": 3 + 24 / 32 + 8 / (32 * 128),
            "Both kinds of scales have 8 bits here; it is the first ones.": 3 + 8 / 32 + 8 / (32 * 128),
            "4 bits are written in; `bits` says how many.": 4 + 8 / 32 + 24 / (32 * 128),
            "256 is written in; `scale_block` says how many scales share a second one.": 3 + 8 / 32 + 24 / (32 * 256),
            "32 is written in; `scale_bits` says how many bits a second scale has.": 3 + 8 / 32 + 32 / (32 * 128),
            "64 is written in; `block_size` says how many numbers share a scale.": 3 + 8 / 64 + 24 / (64 * 128),
        },
        rtol=1e-6,
        atol=1e-7,
    )
    expect.close(
        candidate(4, 64, 32, True),
        4 + 8 / 64 + 32 / (64 * 256),
        "Without `scale_block` it is 256: keep the default of the signature.",
        given="bits = 4, block_size = 64, scale_bits = 32, double = True",
        rtol=1e-6,
        atol=1e-7,
    )


def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    """x (..., in) through a matrix stored as codes (blocks, block_size), and the pair A (r, in), B (out, r) beside it."""
    weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_B.shape[0], lora_A.shape[1])
    return x @ weight.T + x @ lora_A.T @ lora_B.T * (alpha / lora_A.shape[0])


@check(
    "10.5",
    title="The forward pass of QLoRA",
    reference=qlora_forward,
    difficulty=3,
    minutes=10,
    points=3,
    asked="write the forward pass of a QLoRA layer; which parts get gradients?",
    hints=[
        "First the matrix: `codebook[codes.long()]` are the scaled numbers, (blocks, block_size); each block is multiplied by its absmax.",
        "Its shape is (out, in): out is the number of rows of B, in that of columns of A. `.reshape(out, in)`.",
        "Then as in exercise 09.1: `x @ weight.T + x @ lora_A.T @ lora_B.T * (alpha / r)`.",
    ],
)
def check_qlora_forward(candidate: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(10)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    x, a, b, book = draw(3, 2, 8).transpose(0, 1), draw(3, 8), draw(6, 3), nf4_codebook()
    codes, absmax = quantize_blocks(draw(6, 8) * torch.rand(6, 1, generator=generator), book, 6)
    given = "x (2, 3, 8), codes (8, 6), absmax (8,), A (3, 8), B (6, 3), alpha = 15"
    try:
        y = candidate(x, codes, absmax, book, a, b, 15.0)
    except IndexError:
        expect.that(
            False,
            "A uint8 tensor indexes as a mask in PyTorch, not as places: `codebook[codes.long()]`.",
            given=given,
        )
    expect.kind(y, Tensor, given=given)
    numbers = book[codes.long()]
    weight = (numbers * absmax[:, None]).reshape(6, 8)
    base, low = x @ weight.T, x @ a.T @ b.T
    every_row = (absmax[torch.arange(6)[:, None] * (8 // 6) + torch.arange(8) // 6] * numbers.reshape(6, 8)).T
    entries = codes.float() * absmax[:, None]
    expect.close(
        y,
        base + 5 * low,
        "Not W x + (alpha / r) B A x with the W that the codes mean.",
        given=given,
        mistakes={
            "The scales are missing: each block is multiplied by its absmax.": x @ numbers.reshape(6, 8).T + 5 * low,
            "The codes are used as numbers; they are places in the codebook.": x @ entries.reshape(6, 8).T + 5 * low,
            "Divided by the scales; quantizing divided, so this multiplies.": x
            @ (numbers / absmax[:, None]).reshape(6, 8).T
            + 5 * low,
            "The matrix is filled column by column; its numbers stand row after row.": x
            @ (numbers * absmax[:, None]).reshape(8, 6)
            + 5 * low,
            "The scales are repeated as a whole; each is for all numbers of its block: `absmax[:, None]`.": x
            @ (numbers.flatten() * absmax.repeat(6)).reshape(6, 8).T
            + 5 * low,
            "The scales are read as if every row began a new block; blocks go on over the end of a row.": x @ every_row
            + 5 * low,
            "Only the first block's scale is used; each block has its own.": x @ (numbers * absmax[0]).reshape(6, 8).T
            + 5 * low,
            "Divided by sqrt(r); it is alpha / r.": base + 15 / 3**0.5 * low,
            "The axes of x before the last are flattened and not restored.": (base + 5 * low).reshape(-1, 6),
            "The adapter's part is missing.": base,
            "The frozen matrix's part is missing.": 5 * low,
            "alpha / r is missing.": base + low,
            "Scaled by alpha; it is alpha / r.": base + 15 * low,
            "Scaled by alpha * r; it is alpha / r.": base + 45 * low,
            "alpha is divided by 2; r is the number of rows of lora_A.": base + 7.5 * low,
            "alpha is divided by the number of outputs; r is the number of rows of lora_A.": base + 2.5 * low,
            "alpha is divided by the number of inputs; r is the number of rows of lora_A.": base + 1.875 * low,
            "2 is written in for alpha / r: `alpha` need not be twice the rank.": base + 2 * low,
            "The scale is applied to the frozen part too.": 5 * (base + low),
        },
        rtol=1e-4,
        atol=1e-5,
    )
    leaves = [part.clone().requires_grad_() for part in (x, a, b)]
    out = candidate(leaves[0], codes, absmax, book, leaves[1], leaves[2], 15.0)
    expect.that(
        out.requires_grad, "No gradient flows. Is there a `.detach()` or `no_grad` around more than the matrix?"
    )
    slopes = torch.autograd.grad(out.sum(), leaves, allow_unused=True)
    again = [part.clone().requires_grad_() for part in (x, a, b)]
    wanted = torch.autograd.grad(qlora_forward(again[0], codes, absmax, book, again[1], again[2], 15.0).sum(), again)
    adapter_only = 5 * (torch.ones(6) @ b @ a).expand(2, 3, 8)
    for name, slope, right in zip(("x", "lora_A", "lora_B"), slopes, wanted, strict=True):
        expect.that(slope is not None, f"No gradient reaches `{name}`.", given=given)
        expect.close(
            slope,
            right,
            f"The gradient of `{name}` is wrong.",
            given=given,
            mistakes={
                "The gradient to x does not go through the frozen matrix: adapters in lower layers would learn from "
                "a part of the model only. No `no_grad` around x @ W.T.": adapter_only
            },
            rtol=1e-4,
            atol=1e-5,
        )
    x, a, b = draw(5, 4), draw(2, 4), draw(10, 2)
    book = dynamic_codebook()
    codes, absmax = quantize_blocks(draw(10, 4), book, 8)
    given, written_in = (
        "x (5, 4), codes (5, 8), a codebook of 256 entries, A (2, 4), B (10, 2), alpha = 6",
        "Right for the first sizes, wrong for ",
    )
    written_in += "others. Is a size, r or a codebook written in? Take sizes from the shapes of `lora_A` and `lora_B`."
    try:
        y = candidate(x, codes, absmax, book, a, b, 6.0)
    except (RuntimeError, IndexError) as error:
        expect.that(False, written_in, given=given, yours=f"{type(error).__name__}: {error}")
    wanted = qlora_forward(x, codes, absmax, book, a, b, 6.0)
    expect.shape(y, (5, 10), given=given)
    expect.close(y, wanted, written_in, given=given, rtol=1e-4, atol=1e-5)
    message = "A single vector (in,) gives another result."
    expect.close(candidate(x[0], codes, absmax, book, a, b, 6.0), wanted[0], message, rtol=1e-4, atol=1e-5)
