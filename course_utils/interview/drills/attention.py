"""Drills on attention: with heads, with few heads of keys, across."""

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


def causal_multi_head_attention(x: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, wo: Tensor, heads: int) -> Tensor:
    """Causal self-attention, (batch, time, width), of x with the same shape. The weights are (width, width), used as x @ w.

    Head h has the columns h * width / heads to (h + 1) * width / heads of x @ wq, x @ wk and x @ wv.
    """
    batch, time, width = x.shape
    q, k, v = ((x @ w).view(batch, time, heads, width // heads).transpose(1, 2) for w in (wq, wk, wv))
    scores = q @ k.transpose(-2, -1) / (width // heads) ** 0.5
    later = torch.ones(time, time, dtype=torch.bool, device=x.device).triu(1)
    weights = scores.masked_fill(later, -torch.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(batch, time, width) @ wo


def _mha_cases():
    def weights(seed, width):
        return [normal(seed + i, width, width) for i in range(4)]

    return [
        Case(normal(1, 1, 2, 2), *weights(10, 2), 1),
        Case(normal(2, 2, 3, 4), *weights(20, 4), 2),
        Case(normal(3, 1, 5, 6), *weights(30, 6), 3),
    ]


multi_head = Definition(
    causal_multi_head_attention,
    title="Causal multi-head attention",
    level="onsite",
    minutes=15,
    topics=("A26",),
    statement="""
    Write causal self-attention with several heads, from the input to the output projection:
    `softmax(q kᵀ / sqrt(width of a head) + mask) v` for each head, heads side by side, times `wo`.
    x: (batch, time, width); each weight: (width, width), applied as `x @ w`. No dropout, no bias. Result: as x.
    """,
    cases=_mha_cases,
    general="Not softmax(q k^T / sqrt(width / heads)) v with later places hidden, heads side by side, times wo.",
    hints=[
        "Cut the width into heads with `view(batch, time, heads, width // heads)` and bring the heads before the time "
        "with `transpose(1, 2)`. The mask is `torch.ones(time, time, dtype=torch.bool).triu(1)`.",
        "`scores = q @ k.transpose(-2, -1) / (width // heads) ** 0.5`; `weights = scores.masked_fill(later, "
        "-torch.inf).softmax(-1)`; `(weights @ v).transpose(1, 2).reshape(batch, time, width) @ wo`.",
    ],
    banned=("scaled_dot_product_attention", "multi_head_attention_forward"),
)


def _mha(x, wq, wk, wv, wo, heads, scale=None, hide=1, split="view", back=True, project=True, dim=-1, late=False):
    b, t, d = x.shape

    def cut(w):
        if split == "view":
            return (x @ w).view(b, t, heads, -1).transpose(1, 2)
        return (x @ w).view(b, heads, t, -1) if split == "wrong" else (x @ w).view(b, t, -1, heads).permute(0, 3, 1, 2)

    q, k, v = cut(wq), cut(wk), cut(wv)
    scores = q @ k.transpose(-2, -1) / ((d // heads) ** 0.5 if scale is None else scale(d, heads))
    later = torch.ones(t, t, dtype=torch.bool).triu(hide) if hide is not None else torch.zeros(t, t, dtype=torch.bool)
    weights = scores.softmax(dim) * ~later if late else scores.masked_fill(later, -torch.inf).softmax(dim)
    out = weights @ v
    out = out.transpose(1, 2).reshape(b, t, d) if back else out.reshape(b, t, d)
    return out @ wo if project else out


multi_head.plant(
    {
        sentence: lambda x, wq, wk, wv, wo, heads, wrong=wrong: _mha(x, wq, wk, wv, wo, heads, **wrong)
        for sentence, wrong in {
            "Later places are seen: the causal mask is missing.": {"hide": None},
            "The mask hides the place itself too: a row of the first place then sees nothing.": {"hide": 0},
            "The mask lets one later place be seen.": {"hide": 2},
            "The scores are divided by the root of the whole width; it is the root of a head's width.": {
                "scale": lambda d, h: d**0.5
            },
            "The scores are divided by the width of a head; it is its root.": {"scale": lambda d, h: d // h},
            "The scores are not divided by the root of a head's width.": {"scale": lambda d, h: 1},
            "The heads are cut with `view(batch, heads, time, ...)`: that mixes places. Cut, then transpose.": {
                "split": "wrong"
            },
            "Each head takes every heads-th column; it takes a block of columns that lie side by side.": {
                "split": "strided"
            },
            "The axes of heads and time are not swapped back before the heads are laid side by side.": {"back": False},
            "The output projection `wo` is missing.": {"project": False},
            "The softmax runs over the queries; each query's weights over the keys must sum to 1.": {"dim": -2},
            "The mask comes after the softmax: the weights of a row no longer sum to 1.": {"late": True},
        }.items()
    }
)


def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, (batch, heads, time, width), where groups of query heads share a head of keys and values.

    q: (batch, heads, time, width). k, v: (batch, kv_heads, time, width); heads is a multiple of kv_heads, and query head
    h uses the keys of head h // (heads / kv_heads).
    """
    batch, heads, time, width = q.shape
    grouped = q.view(batch, k.shape[1], -1, time, width)  # nothing is copied: k and v are broadcast over a group
    scores = grouped @ k[:, :, None].transpose(-2, -1) / width**0.5
    later = torch.ones(time, time, dtype=torch.bool, device=q.device).triu(1)
    weights = scores.masked_fill(later, -torch.inf).softmax(-1)
    return (weights @ v[:, :, None]).view(batch, heads, time, width)


grouped = Definition(
    grouped_query_attention,
    title="Grouped-query attention",
    level="onsite",
    minutes=12,
    topics=("A26",),
    statement="""
    Causal attention in which several query heads share one head of keys and values, as in Llama 3 and most models after
    it: query heads 0 to g - 1 use head 0 of the keys, the next g head 1, and so on, with `g = heads / kv_heads`.
    q: (batch, heads, time, width); k, v: (batch, kv_heads, time, width). Result: as q. One head of keys is multi-query
    attention, as many as queries is multi-head attention; both must work.
    """,
    cases=lambda: [
        Case(normal(1, 1, 2, 2, 2), normal(2, 1, 1, 2, 2), normal(3, 1, 1, 2, 2)),
        Case(normal(4, 2, 4, 3, 4), normal(5, 2, 2, 3, 4), normal(6, 2, 2, 3, 4)),
        Case(normal(7, 1, 3, 4, 2), normal(8, 1, 3, 4, 2), normal(9, 1, 3, 4, 2)),
        Case(normal(10, 2, 6, 3, 4), normal(11, 2, 2, 3, 4), normal(12, 2, 2, 3, 4)),
    ],
    general="Not causal attention with each head of keys shared by neighbouring query heads.",
    hints=[
        "Either each head of keys is repeated for its group, `k.repeat_interleave(heads // kv_heads, dim=1)`, or the query "
        "heads are seen as (kv_heads, group), and the keys get an axis of 1 for the group.",
        "`k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))`, then `scores = q @ "
        "k.transpose(-2, -1) / q.shape[-1] ** 0.5`, the mask of later places, softmax, `@ v`.",
    ],
    banned=("scaled_dot_product_attention",),
)


def _attend(q, k, v, mask=None, scale=None, dim=-1):
    scores = q @ k.transpose(-2, -1) / (scale or q.shape[-1] ** 0.5)
    if mask is not None:
        scores = scores.masked_fill(mask, -torch.inf)
    return scores.softmax(dim) @ v


def _later(q, k):
    return torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)


def _spread(tensor, heads):
    return tensor.repeat_interleave(heads // tensor.shape[1], dim=1)


def _tiled(tensor, heads):
    return tensor.repeat(1, heads // tensor.shape[1], 1, 1)


grouped.plant(
    {
        "The heads of keys are tiled (0, 1, 0, 1); neighbours share one (0, 0, 1, 1): `repeat_interleave`.": (
            lambda q, k, v: _attend(q, _tiled(k, q.shape[1]), _tiled(v, q.shape[1]), _later(q, k))
        ),
        "Later places are seen: the causal mask is missing.": lambda q, k, v: _attend(
            q, _spread(k, q.shape[1]), _spread(v, q.shape[1])
        ),
        "The scores are not divided by the root of a head's width.": lambda q, k, v: _attend(
            q, _spread(k, q.shape[1]), _spread(v, q.shape[1]), _later(q, k), 1.0
        ),
        "All query heads use the first head of keys and values.": lambda q, k, v: _attend(
            q, k[:, :1], v[:, :1], _later(q, k)
        ),
        "The values are averaged over their heads; each group has its own.": lambda q, k, v: _attend(
            q, _spread(k, q.shape[1]), v.mean(1, keepdim=True), _later(q, k)
        ),
        "The softmax runs over the queries; each query's weights over the keys must sum to 1.": lambda q, k, v: _attend(
            q, _spread(k, q.shape[1]), _spread(v, q.shape[1]), _later(q, k), None, -2
        ),
    }
)


def cross_attention(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor) -> Tensor:
    """Attention of q (batch, heads, time, width) to k and v (batch, heads, source, width); the result has q's shape.

    key_mask: (batch, source), True where there is a word and False where there is padding; each row has a word.
    """
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.masked_fill(~key_mask[:, None, None, :], -torch.inf).softmax(-1) @ v


def _cross_cases():
    mask = torch.tensor([[True, True, False, False], [True, True, True, True], [False, True, True, False]])
    return [
        Case(normal(1, 1, 1, 1, 2), normal(2, 1, 1, 2, 2), normal(3, 1, 1, 2, 2), torch.tensor([[True, False]])),
        Case(normal(4, 3, 2, 3, 4), normal(5, 3, 2, 4, 4), normal(6, 3, 2, 4, 4), mask),
        Case(normal(7, 3, 3, 4, 2), normal(8, 3, 3, 4, 2), normal(9, 3, 3, 4, 2), mask),
    ]


cross = Definition(
    cross_attention,
    title="Cross-attention with padding",
    level="screen",
    minutes=8,
    topics=("A26", "F4"),
    statement="""
    Let the decoder's queries look at the encoder's keys and values: `softmax(q kᵀ / sqrt(width)) v`, with the padding of
    the source hidden. No place of the source is later than a query, so there is no causal mask.
    q: (batch, heads, time, width); k, v: (batch, heads, source, width); key_mask: (batch, source), True where there is a
    word. Result: as q.
    """,
    cases=_cross_cases,
    general="Not softmax(q k^T / sqrt(width)) v over the words of the source.",
    hints=[
        "The mask is one of the keys: every query and every head of a row shares it. Which axes must it get to stand "
        "beside scores of (batch, heads, time, source)?",
        "`scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5`; `scores.masked_fill(~key_mask[:, None, None, :], "
        "-torch.inf).softmax(-1) @ v`.",
    ],
    banned=("scaled_dot_product_attention",),
)


cross.plant(
    {
        "The padding of the source is seen: the mask is not used.": lambda q, k, v, key_mask: _attend(q, k, v),
        "The mask is turned: the words are hidden and the padding is seen.": lambda q, k, v, key_mask: _attend(
            q, k, v, key_mask[:, None, None, :]
        ),
        "There is no causal mask here: every query may look at the whole source.": lambda q, k, v, key_mask: _attend(
            q, k, v, ~key_mask[:, None, None, :] | _later(q, k)
        ),
        "The scores are not divided by the root of the width.": lambda q, k, v, key_mask: _attend(
            q, k, v, ~key_mask[:, None, None, :], 1.0
        ),
        "Padding gets the score 0, and so a weight: it must get -inf before the softmax.": lambda q, k, v, key_mask: (
            (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 * key_mask[:, None, None, :]).softmax(-1) @ v
        ),
        "The mask comes after the softmax: the weights of a row no longer sum to 1.": lambda q, k, v, key_mask: (
            ((q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) * key_mask[:, None, None, :]) @ v
        ),
    }
)
