"""Checks of chapter 02: RMSNorm, rotary positions, causal grouped-query attention, SwiGLU, and the parameter count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.classroom.checks.layout import strided
from course_utils.classroom.exercises.exercise import Mistake, check, expect
from course_utils.models.attention import causal_mask
from course_utils.models.decoder import DecoderConfig, apply_rope, rope_tables


def _noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x (..., size) divided by its root mean square over the last axis, times weight (size,)."""
    mean_square = x.square().mean(-1, keepdim=True)
    return x * torch.rsqrt(mean_square + eps) * weight


@check(
    "02.1",
    title="Root-mean-square normalization",
    reference=rms_norm,
    difficulty=1,
    minutes=6,
    points=1,
    asked="write RMSNorm; what does it leave out of LayerNorm?",
    hints=[
        "The mean of the squares over the last axis: `x.square().mean(-1, keepdim=True)`. `keepdim` lets it divide x again.",
        "`x * torch.rsqrt(mean_square + eps) * weight`: eps is added before the root is taken.",
    ],
)
def check_rms_norm(candidate: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    x = torch.tensor(
        [[[3.0, 1, -1, 1], [0.5, 2, 4, -1]], [[-2, -2, 1, 0], [6, 0, 0, 0]], [[1, 2, 3, 4], [0.1, 0.2, 0, -0.3]]]
    )
    weight, eps = torch.tensor([1.0, 2, 0.5, -1]), 0.25
    square = x.square().mean(-1, keepdim=True)
    centred = x - x.mean(-1, keepdim=True)
    given = {"x": x, "weight": weight, "eps": eps}
    right = rms_norm(x, weight, eps)
    found = candidate(x.clone(), weight.clone(), eps)
    expect.that(
        expect.matches(found, right, 1e-4, 1e-5) or not expect.matches(found, right, 2e-2, 1e-2),
        "Right to two or three digits only. Is it computed in 16 bits? Keep x's own precision.",
        given=given,
        expected=right,
        yours=found,
    )
    expect.close(
        found,
        right,
        "Not x / sqrt(mean(x^2) + eps) * weight over the last axis.",
        given=given,
        mistakes={
            "The mean is subtracted. That is LayerNorm; RMSNorm leaves the mean where it is.": centred
            * (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
            * weight,
            "Divided by the standard deviation, which is taken around the mean; here it is the root of the mean square.": x
            / (x.var(-1, keepdim=True, correction=0) + eps).sqrt()
            * weight,
            "The root is missing: divided by the mean square itself.": x / (square + eps) * weight,
            "The squares are divided by size - 1; their mean divides by size.": x
            * (x.square().sum(-1, keepdim=True) / 3 + eps).rsqrt()
            * weight,
            "The mean is taken over a whole text; each place of each row has its own (`dim=-1`).": x
            * (x.square().mean((1, 2), keepdim=True) + eps).rsqrt()
            * weight,
            "eps stands outside of the root; it is added to the mean square.": x / (square.sqrt() + eps) * weight,
            "eps is missing, or a number stands in its place.": x / square.sqrt() * weight,
            "The number 1e-5 stands in the place of eps.": x * (square + 1e-5).rsqrt() * weight,
            "That is `x.var(-1)`: the mean is subtracted before the squares are taken, and their sum divided by size - 1.": x
            / (x.var(-1, keepdim=True) + eps).sqrt()
            * weight,
            "That is `x.std(-1)`: the mean is subtracted before the squares are taken, and eps stands outside of the root.": x
            / (x.std(-1, keepdim=True) + eps)
            * weight,
            "The mean is subtracted, and the squares divided by size - 1. RMSNorm leaves the mean where it is.": centred
            / (x.var(-1, keepdim=True) + eps).sqrt()
            * weight,
            "Scaled by 1 + weight, as Gemma does; Llama scales by the weight.": x
            * (square + eps).rsqrt()
            * (1 + weight),
            "The weight is missing.": x * (square + eps).rsqrt(),
            "The squares are summed; their mean is wanted, so that the size of the layer does not matter.": x
            * (x.square().sum(-1, keepdim=True) + eps).rsqrt()
            * weight,
            "The mean is taken over the whole tensor; each place of each row has its own (`dim=-1`).": x
            * (x.square().mean() + eps).rsqrt()
            * weight,
            "The mean is taken over places or rows; it is over the numbers of one place, the last axis.": x
            * (x.square().mean(1, keepdim=True) + eps).rsqrt()
            * weight,
            "The mean of x is squared; the squares of x are averaged.": x
            * (x.mean(-1, keepdim=True).square() + eps).rsqrt()
            * weight,
            "The weight is added; it scales.": x * (square + eps).rsqrt() + weight,
        },
        rtol=1e-4,
        atol=1e-5,
    )
    wide = _noise(8, 5, seed=0).T  # not contiguous
    wide[0] = 0
    for other in (wide, wide[1], _noise(2, 1, 3, 8, seed=1)):
        expect.close(
            strided(lambda other=other: candidate(other, torch.ones(8), 1e-6)),  # type: ignore[misc]
            rms_norm(other, torch.ones(8), 1e-6),
            f"Right for (batch, length, size), wrong for {tuple(other.shape)}: count axes from the end.",
            given={"x": other, "weight": "eight ones", "eps": 1e-6},
            rtol=1e-4,
            atol=1e-5,
        )
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        found = candidate(x.to(dtype), weight.to(dtype), eps)
        name = str(dtype).removeprefix("torch.")
        expect.that(
            found.dtype == dtype,
            f"The result for {name} has another dtype. Compute as precisely as you like, and go back: `.to(x.dtype)`.",
            given=f"x and weight in {name}",
            expected=name,
            yours=str(found.dtype).removeprefix("torch."),
        )
        message = f"Right in float32, wrong in {name}."
        expect.close(found.float(), right, message, given=f"x and weight in {name}", rtol=2e-2, atol=2e-2)


@check(
    "02.2",
    title="Rotary positions",
    reference="course_utils.models.decoder:apply_rope",
    difficulty=3,
    minutes=10,
    points=2,
    asked="what are rotary positions? Write the rotation",
    hints=[
        "Cut the last axis into two halves: `first, second = x.chunk(2, dim=-1)`. Number i of the first half and number i of "
        "the second are one point of a plane.",
        "Turning the point (a, b) by an angle: (a cos - b sin, b cos + a sin).",
        "`torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)`.",
    ],
)
def check_apply_rope(candidate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    x = _noise(2, 3, 2, 4, seed=1)
    cos, sin = (table[:, None] for table in rope_tables(4, 3, 10.0))
    a, b = x.chunk(2, dim=-1)
    even, odd = x[..., 0::2], x[..., 1::2]
    right = apply_rope(x, cos, sin)
    given = {"x": x[:1], "cos": cos, "sin": sin}
    expect.close(
        candidate(x.clone(), cos.clone(), sin.clone()),
        right,
        "The pairs (i, i + head_dim / 2) are not turned by their angles.",
        given=given,
        mistakes={
            "Neighbours (0, 1), (2, 3), ... are paired, as in the RoFormer paper. Llama's weights pair i with i + head_dim / 2.": torch.stack(
                (even * cos - odd * sin, odd * cos + even * sin), -1
            ).flatten(-2),
            "Neighbours are paired, and the halves put side by side. Pair i with i + head_dim / 2.": torch.cat(
                (even * cos - odd * sin, odd * cos + even * sin), -1
            ),
            "Turned the wrong way round: (a cos - b sin, b cos + a sin) is wanted.": torch.cat(
                (a * cos + b * sin, b * cos - a * sin), -1
            ),
            "The minus is missing in the first half; that is no rotation, lengths change.": torch.cat(
                (a * cos + b * sin, b * cos + a * sin), -1
            ),
            "There is a minus in both halves; that is no rotation.": torch.cat(
                (a * cos - b * sin, b * cos - a * sin), -1
            ),
            "Sine and cosine are exchanged.": torch.cat((a * sin - b * cos, b * sin + a * cos), -1),
            "The second half is computed from the first half after it was turned; keep the old one.": torch.cat(
                (a * cos - b * sin, b * cos + (a * cos - b * sin) * sin), -1
            ),
            "The two halves come out exchanged.": torch.cat((b * cos + a * sin, a * cos - b * sin), -1),
            "Turned the wrong way round, and the second half with the opposite sign.": torch.cat(
                (a * cos + b * sin, a * sin - b * cos), -1
            ),
            "Each half is turned with itself: b is missing in the first, a in the second.": torch.cat(
                (a * cos - a * sin, b * cos + b * sin), -1
            ),
            "Neighbours change places, but the angles stand side by side: two conventions are mixed. Pair i with i + head_dim / 2.": x
            * torch.cat((cos, cos), -1)
            + torch.stack((-odd, even), -1).flatten(-2) * torch.cat((sin, sin), -1),
            "The turned halves are put together number by number; the first half stands before the second (`torch.cat`).": torch.stack(
                (a * cos - b * sin, b * cos + a * sin), -1
            ).flatten(-2),
            "Places and rows of the batch are mixed up; `cos` and `sin` belong to the second axis of x.": apply_rope(
                x.reshape(x.shape[1], -1, x.shape[-1]), cos, sin
            ).reshape(x.shape),
            "Only the cosine is used.": torch.cat((a * cos, b * cos), -1),
            "The second half is left as it was.": torch.cat((a * cos - b * sin, b), -1),
            "Nothing is turned.": x,
        },
        rtol=1e-4,
        atol=1e-5,
    )
    still = torch.ones(1, 1, 2), torch.zeros(1, 1, 2)
    one = _noise(3, 1, 5, 4, seed=2)
    expect.close(candidate(one, *still), one, "At angle 0 nothing may change.", given={"x": one[:1], "angle": "0"})
    x = x.transpose(0, 1).contiguous().transpose(0, 1)  # the same numbers, lying in another order
    turned = strided(lambda: candidate(x, cos, sin))
    expect.close(turned, right, "Wrong for an x that is not contiguous.", given=given, rtol=1e-4, atol=1e-5)
    x, (cos, sin) = _noise(1, 5, 3, 6, seed=9), (table[:, None] for table in rope_tables(6, 5, 10.0))
    given, written_in = (
        "x (1, 5, 3, 6)",
        "Right for head_dim 4, wrong for 6. Is a size written in? Halves: `x.chunk(2, -1)`.",
    )
    try:
        turned = candidate(x, cos, sin)
    except (RuntimeError, IndexError) as error:
        expect.that(False, written_in, given=given, yours=f"{type(error).__name__}: {error}")
    expect.close(turned, apply_rope(x, cos, sin), written_in, given=given, rtol=1e-4, atol=1e-5)


def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention: q (batch, heads, length, head_dim), k and v (batch, key/value heads, length, head_dim)."""
    group, length = q.shape[1] // k.shape[1], q.shape[2]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (batch, heads, queries, keys)
    later = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1) @ v


@check(
    "02.3",
    title="Causal grouped-query attention",
    reference=grouped_query_attention,
    difficulty=4,
    minutes=18,
    points=4,
    asked="write causal attention, then make it grouped-query",
    hints=[
        "Give every query head its key head: `k.repeat_interleave(heads // kv_heads, dim=1)`, and v alike. Head 0 serves the "
        "first group of query heads, head 1 the next.",
        "`scores = q @ k.transpose(-1, -2) / head_dim ** 0.5` is (batch, heads, queries, keys). Before the softmax write "
        "-inf where the key comes later than the query: `torch.ones(L, L, dtype=torch.bool).triu(1)`.",
        "`scores.masked_fill(later, -torch.inf).softmax(-1) @ v`.",
    ],
)
def check_grouped_query_attention(candidate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    # one head first: the arithmetic alone
    q, k, v = (_noise(1, 1, 3, 4, seed=seed) for seed in (3, 4, 5))
    _compare(candidate, q, k, v)
    # then groups: two key/value heads for four query heads
    q, k, v = _noise(2, 4, 5, 4, seed=6), _noise(2, 2, 5, 4, seed=7), _noise(2, 2, 5, 4, seed=8)
    _compare(candidate, q, k, v)
    _compare(candidate, q, k[:, :1], v[:, :1])
    _compare(candidate, q[:, :2], k, v)  # as many key/value heads as query heads
    _compare(candidate, q[:, :, :1], k[:, :, :1], v[:, :, :1])
    places_first = [_noise(2, 7, heads, 6, seed=heads) for heads in (6, 3, 2)]
    _compare(candidate, *(x.transpose(1, 2) for x in (places_first[0], places_first[1], places_first[1] + 1)))
    _compare(candidate, *(x.transpose(1, 2)[:, :, :1] for x in (places_first[0], places_first[2], places_first[2] + 1)))
    for number in range(3):  # each of the three by itself lies in another order in memory: columns first
        one_turned = [x.mT.contiguous().mT if place == number else x for place, x in enumerate((q, k, v))]
        _compare(candidate, *one_turned)
    q = 1000 * q
    given = "scores up to some thousands"
    result = candidate(q, k, v)
    expect.that(
        not result.isnan().any(),
        "NaN for large scores. Is `exp` taken by hand, and overflows? `softmax` subtracts the largest score first.",
        given=given,
        yours=result,
    )
    wide = [x.repeat_interleave(2, 1) for x in (k, v)]
    scores = q @ wide[0].transpose(-1, -2) / 2
    later = ~causal_mask(5)
    expect.close(
        result,
        grouped_query_attention(q, k, v),
        "Wrong for large scores. Hidden ones are -inf, not a number that a visible score can undercut.",
        given=given,
        mistakes={
            f"Hidden scores are set to {fill}; a visible score can be lower still. Write -inf.": (
                scores.masked_fill(later, fill).softmax(-1) @ wide[1]
            )
            for fill in (-1, -10, -100, -1000)
        },
        rtol=1e-2,
        atol=1e-2,
    )


def _compare(candidate: Callable[[Tensor, Tensor, Tensor], Tensor], q: Tensor, k: Tensor, v: Tensor) -> None:
    heads, groups, length, size = q.shape[1], k.shape[1], q.shape[2], q.shape[3]
    wide = [x.repeat_interleave(heads // groups, 1) for x in (k, v)]
    scores = q @ wide[0].transpose(-1, -2)
    later = ~causal_mask(length)
    plain = (scores / size**0.5).masked_fill(later, -torch.inf)
    weights = plain.softmax(-1)
    result = strided(lambda: candidate(q, k, v))
    expect.kind(result, Tensor)
    given = {"q": q, "k": k, "v": v} if heads == 1 else f"q {tuple(q.shape)}, k and v {tuple(k.shape)}"
    swapped = [x.repeat(1, heads // groups, 1, 1) for x in (k, v)]
    turned = result.transpose(1, 2) if result.dim() == 4 else result
    mixed = weights @ wide[1]
    if turned.shape == mixed.shape and result.shape != mixed.shape:
        expect.that(
            False, f"Heads and places are exchanged: {tuple(result.shape)}.", given=given, expected=mixed, yours=result
        )
    expect.that(
        tuple(result.shape) != tuple(weights.shape) or tuple(weights.shape) == tuple(mixed.shape),
        "These are the weights; they still have to mix the values: `weights @ v`.",
        given=given,
        yours=result,
    )
    expect.that(
        result.shape != mixed.shape or not result.isnan().all(),
        "NaN everywhere. Is a mask of zeros and ones multiplied by -inf? 0 * -inf is NaN; use `masked_fill`.",
        given=given,
        yours=result,
    )
    expect.that(
        result.shape != mixed.shape or not result.isnan().any(),
        "NaN: a row of the softmax sees no key at all. Each place sees itself too: `triu(1)`.",
        given=given,
        yours=result,
    )
    masked_after = (scores / size**0.5).softmax(-1).masked_fill(later, 0)
    expect.close(
        result,
        grouped_query_attention(q, k, v),
        "Not softmax(q k^T / sqrt(head_dim)) v with later keys left out.",
        given=given,
        mistakes={
            "There is no causal mask: the first place already depends on the last.": (scores / size**0.5).softmax(-1)
            @ wide[1],
            "The mask is turned round: each place sees only itself and what comes after.": (
                (scores / size**0.5).masked_fill(later.T, -torch.inf).softmax(-1) @ wide[1]
            ),
            "Each place sees one token too many, the next one. The mask begins right above the diagonal: `triu(1)`.": (
                (scores / size**0.5).masked_fill(later.triu(2), -torch.inf).softmax(-1) @ wide[1]
            ),
            "The scores are divided by the root of the length; the root of head_dim is wanted.": (scores / length**0.5)
            .masked_fill(later, -torch.inf)
            .softmax(-1)
            @ wide[1],
            "The division by sqrt(head_dim) comes after the softmax; it belongs on the scores.": scores.masked_fill(
                later, -torch.inf
            ).softmax(-1)
            / size**0.5
            @ wide[1],
            "Hidden scores are set to -10, which still gets a little weight. Write -inf.": (scores / size**0.5)
            .masked_fill(later, -10)
            .softmax(-1)
            @ wide[1],
            "The scores are not divided by sqrt(head_dim).": scores.masked_fill(later, -torch.inf).softmax(-1)
            @ wide[1],
            "The scores are divided by the root of all heads' numbers together; head_dim is the size of one head.": (
                (scores / (heads * size) ** 0.5).masked_fill(later, -torch.inf).softmax(-1) @ wide[1]
            ),
            "The scores are divided by head_dim; its root is wanted.": (scores / size)
            .masked_fill(later, -torch.inf)
            .softmax(-1)
            @ wide[1],
            "The scores are multiplied by sqrt(head_dim); divide.": (scores * size**0.5)
            .masked_fill(later, -torch.inf)
            .softmax(-1)
            @ wide[1],
            "Hidden scores are set to 0, which still has the weight exp(0) = 1. Write -inf.": (scores / size**0.5)
            .masked_fill(later, 0)
            .softmax(-1)
            @ wide[1],
            "The mask comes after the softmax: the weights no longer add up to 1. Mask the scores.": masked_after
            @ wide[1],
            "The softmax runs over the queries; each query shares its attention among the keys (`dim=-1`).": plain.softmax(
                -2
            ).nan_to_num()
            @ wide[1],
            "The softmax runs over the heads; it is over the keys (`dim=-1`).": plain.softmax(1).nan_to_num() @ wide[1],
            "The softmax is missing: raw scores mix the values.": (scores / size**0.5).masked_fill(later, 0) @ wide[1],
            "Keys and values are exchanged.": (q @ wide[1].transpose(-1, -2) / size**0.5)
            .masked_fill(later, -torch.inf)
            .softmax(-1)
            @ wide[0],
            "The keys are mixed; the values are to be.": weights @ wide[0],
            "Key/value heads are dealt out in turn (0, 1, 0, 1). Neighbouring query heads share one: 0, 0, 1, 1, "
            "as `repeat_interleave` gives.": (q @ swapped[0].transpose(-1, -2) / size**0.5)
            .masked_fill(later, -torch.inf)
            .softmax(-1)
            @ swapped[1],
            "Only the keys are given to the right query heads; the values are dealt out in turn (0, 1, 0, 1).": weights
            @ swapped[1],
            "Only the values are given to the right query heads; the keys are dealt out in turn (0, 1, 0, 1).": (
                (q @ swapped[0].transpose(-1, -2) / size**0.5).masked_fill(later, -torch.inf).softmax(-1) @ wide[1]
            ),
            "All query heads use the first key/value head.": (
                (q @ k[:, :1].transpose(-1, -2) / size**0.5).masked_fill(later, -torch.inf).softmax(-1) @ v[:, :1]
            ),
        },
        rtol=1e-4,
        atol=1e-5,
    )


def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """down(silu(gate(x)) * up(x)): x (..., hidden), gate and up (inner, hidden), down (hidden, inner)."""
    opened = F.silu(x @ gate.T)
    return (opened * (x @ up.T)) @ down.T


@check(
    "02.4",
    title="The gated feed-forward network",
    reference=swiglu,
    difficulty=2,
    minutes=6,
    points=1,
    asked="write Llama's feed-forward net; why three matrices?",
    hints=[
        "`nn.Linear` keeps its weight as (outputs, inputs), so the product is `x @ gate.T`.",
        "silu(z) = z * sigmoid(z), `torch.nn.functional.silu`. It is applied to the gate alone: "
        "`(silu(x @ gate.T) * (x @ up.T)) @ down.T`.",
    ],
)
def check_swiglu(candidate: Callable[..., Tensor]) -> None:
    x, gate, up, down = (2 * _noise(*shape, seed=n) for n, shape in enumerate([(2, 3, 4), (6, 4), (6, 4), (4, 6)], 10))
    g, u = x @ gate.T, x @ up.T
    given = {"x": x[:1], "gate": gate, "up": up, "down": down}
    try:
        result = candidate(x.clone(), gate.clone(), up.clone(), down.clone())
    except NotImplementedError:
        raise
    except RuntimeError as error:
        if "shape" not in str(error) and "size" not in str(error):
            raise
        said = f"RuntimeError: {error}"
        expect.that(
            False, "The shapes do not fit. The weights are (outputs, inputs): `x @ gate.T`.", given=given, yours=said
        )
    expect.close(
        result,
        swiglu(x, gate, up, down),
        "Not down(silu(gate(x)) * up(x)).",
        given=given,
        mistakes={
            "The activation is on `up`; it belongs on `gate`.": (g * F.silu(u)) @ down.T,
            "The activation is on both; `up` stays as it is.": (F.silu(g) * F.silu(u)) @ down.T,
            "The activation is missing: two products of x and no silu.": (g * u) @ down.T,
            "The activation is applied to the product; it belongs on `gate` alone.": F.silu(g * u) @ down.T,
            "That is the sigmoid; silu is z * sigmoid(z).": (g.sigmoid() * u) @ down.T,
            "That is z / (1 + exp(z)); in silu the exponent is -z.": (g / (1 + g.exp()) * u) @ down.T,
            "That is `F.glu`: a sigmoid on `up`; silu, z * sigmoid(z), belongs on `gate`.": (g * u.sigmoid()) @ down.T,
            "The activation comes after `down`; it belongs on `gate`.": F.silu((g * u) @ down.T),
            "That is ReLU (ReGLU); Llama takes silu.": (F.relu(g) * u) @ down.T,
            "That is GELU (GeGLU); Llama takes silu.": (F.gelu(g) * u) @ down.T,
            "That is GELU's approximation; Llama takes silu.": (F.gelu(g, approximate="tanh") * u) @ down.T,
            "Gate and up are added; they are multiplied, number by number.": (F.silu(g) + u) @ down.T,
            "`up` is not used.": F.silu(g) @ down.T,
            "`gate` is not used.": F.silu(u) @ down.T,
            "x is added; the block does that, outside of the network.": x + swiglu(x, gate, up, down),
        },
        rtol=1e-4,
        atol=1e-4,
    )
    for other in (x[0, 0], x[0], x[:, :, None], x.transpose(0, 1)):
        message = f"Right for (batch, length, hidden), wrong for {tuple(other.shape)}: name no axis but the last."
        try:
            result = strided(lambda other=other: candidate(other, gate, up, down))  # type: ignore[misc]
        except (RuntimeError, ValueError, IndexError) as error:
            raise Mistake(message, yours=f"{type(error).__name__}: {error}") from None
        expect.close(result, swiglu(other, gate, up, down), message, rtol=1e-4, atol=1e-4)
    large = 100 * x
    result = candidate(large, gate, up, down)
    expect.that(
        not result.isnan().any(),
        "NaN for large numbers: `exp` overflows in numerator and denominator. silu is z * sigmoid(z), or `F.silu(z)`.",
        given="x a hundred times as large",
        yours=result,
    )
    message = "Wrong for large numbers."
    expect.close(result, swiglu(large, gate, up, down), message, given="x a hundred times as large", atol=1e-2)


def count_parameters(config: DecoderConfig) -> int:
    """How many numbers a decoder of these sizes holds: tables, layers, and the last norm."""
    h, q = config.hidden_size, config.num_attention_heads * config.head_dim  # q is h as well, in Llama
    kv = config.num_key_value_heads * config.head_dim
    attention = 2 * h * q + 2 * h * kv  # q and o, k and v
    layer = attention + 3 * h * config.intermediate_size + 2 * h  # gate, up and down; two norms
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * layer + h


@contextmanager
def _nothing_built() -> Iterator[None]:
    """Inside, to build a model's parameters is a Mistake: those of Llama 3 8B, a few cells on, fit into no memory here."""

    def refuse(*_: object) -> None:
        raise Mistake("A model is built to be counted. Count from the sizes alone: Llama 3 8B takes 32 GB to build.")

    hook = nn.modules.module.register_module_parameter_registration_hook(refuse)
    try:
        yield
    finally:
        hook.remove()


@check(
    "02.5",
    title="Count the parameters",
    reference=count_parameters,
    difficulty=3,
    minutes=10,
    points=2,
    asked="how many parameters has Llama 3 8B? Show the sum",
    hints=[
        "The embedding is vocab_size * hidden_size. A tied head adds nothing, an untied one the same again.",
        "A layer's attention: q and o are hidden * (num_attention_heads * head_dim), here hidden * hidden; k and v are hidden * (num_key_value_heads * head_dim). Its feed-forward "
        "network: 3 * hidden * intermediate_size.",
        "Each layer has two norms of hidden_size numbers, and one more stands before the head.",
    ],
)
def check_count_parameters(candidate: Callable[[DecoderConfig], int]) -> None:
    sizes = {"hidden_size": 24, "intermediate_size": 50, "num_hidden_layers": 3, "num_attention_heads": 6}
    tied = DecoderConfig(vocab_size=101, num_key_value_heads=2, **sizes)
    for config in (tied, replace(tied, tie_word_embeddings=False)):
        h, m, layers, table, kv = 24, 50, 3, 101 * 24, 8
        head = 0 if config.tie_word_embeddings else table
        right = count_parameters(config)
        untied = "an untied head" if head else "a tied head"
        with _nothing_built():
            result = candidate(config)
        off = f" It is off by {result - right:+,}." if isinstance(result, int | float) else ""
        expect.close(
            result,
            right,
            f"The sum is not right.{off}",
            given=f"vocabulary 101, hidden 24, inner 50, 3 layers, 6 heads, 2 key/value heads, {untied}",
            mistakes={
                "The tied head is counted; it is the embedding table itself." if not head else "A third table?": right
                + table,
                "The head has a table of its own when it is not tied."
                if head
                else "The embedding table is missing.": right - table,
                "k and v are counted as large as q; they have num_key_value_heads * head_dim outputs.": right
                + layers * 2 * h * (h - kv),
                "k and v are counted as hidden * hidden / num_key_value_heads; their width is num_key_value_heads * head_dim.": right
                + layers * 2 * h * (h // 2 - kv),
                "One of k and v is missing, or each is counted with one head.": right - layers * h * kv,
                "k and v are missing.": right - layers * 2 * h * kv,
                "The output matrix of attention (o) is missing.": right - layers * h * h,
                "The feed-forward network has three matrices: gate, up and down.": right - layers * h * m,
                "The last norm, before the head, is missing.": right - h,
                "Each layer has two norms.": right - layers * h,
                "The norms are missing.": right - (2 * layers + 1) * h,
                "The norms of the layers are missing.": right - 2 * layers * h,
                "The heads' norms? Each norm has hidden_size numbers, a scale and no shift.": right
                + (2 * layers + 1) * h,
                "Biases are counted; Llama's linear layers have none.": right + layers * (2 * h + 2 * kv + 2 * m + h),
                "Only one layer is counted.": table + head + h + (right - table - head - h) // layers,
                "The embedding is missing.": right - table - head,
                "Head sizes are mixed up: each of k and v has num_key_value_heads * head_dim outputs, not num_key_value_heads.": right
                - layers * 2 * h * (kv - 2),
            },
            rtol=1e-9,
            atol=0.0,
        )
        expect.that(
            isinstance(result, Integral),
            "The sum is right, but it is no whole number (int): count with `//`, not with `/`.",
            expected=right,
            yours=result,
        )
    one = replace(tied, num_key_value_heads=1, num_hidden_layers=2)
    sizes = {"vocab_size": 77, "hidden_size": 40, "intermediate_size": 72, "num_hidden_layers": 5}
    other = DecoderConfig(num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=False, **sizes)
    written_in = "Is a number written in that belongs to the config?"
    for config, given, message in (
        (
            one,
            "the tied case with 1 key/value head and 2 layers",
            "Right for two key/value heads and three layers, wrong for one and two.",
        ),
        (
            other,
            "vocabulary 77, hidden 40, inner 72, 5 layers, 4 heads, 4 key/value heads, an untied head",
            "Right for the first sizes, wrong for others.",
        ),
    ):
        expect.close(
            candidate(config),
            count_parameters(config),
            f"{message} {written_in}",
            given=given,
            rtol=1e-9,
            atol=0.0,
        )
