"""Drills on attention: in one pass, with heads, with few heads of keys, across, with turned positions, with a cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import normal
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def online_softmax(blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """softmax(scores) @ values, (d,), over all blocks, each read once and then forgotten.

    blocks: pairs of scores (n,) and values (n, d); a block's scores may all be -inf, not those of every block.
    """
    top, total, out = torch.tensor(-torch.inf), torch.tensor(0.0), torch.tensor(0.0)
    for scores, values in blocks:
        new = torch.maximum(top, scores.max())
        if new == -torch.inf:  # nothing to see yet; -inf - -inf would be NaN
            out = torch.zeros(values.shape[1])
            continue
        shrink, weights = (top - new).exp(), (scores - new).exp()
        total = total * shrink + weights.sum()
        out = out * shrink + weights @ values
        top = new
    return out / total


def _one_by_one(answer, blocks):
    """The answer on blocks that turn to NaN as soon as the next one is asked for."""

    def stream() -> Iterator:
        for scores, values in blocks:
            pair = scores.clone(), values.clone()
            yield pair
            for tensor in pair:
                tensor.fill_(torch.nan)

    return answer(stream())


def _blocks(seed, sizes, scale=1.0):
    return [(scale * normal(seed + 2 * i, n), normal(seed + 2 * i + 1, n, 3)) for i, n in enumerate(sizes)]


def _online_cases():
    first, second = _blocks(5, (2, 3))
    hidden = (torch.full((2,), -torch.inf), torch.ones(2, 3))
    return [
        Case([(torch.tensor([0.0, 1]), torch.eye(2)), (torch.tensor([2.0]), torch.tensor([[3.0, 5]]))]),
        Case(_blocks(1, (3, 2, 4))),
        Case(_blocks(2, (3, 3, 2), 100.0), note="blocks of scores of the size of 100"),
        Case([hidden, first, hidden, second], note="blocks whose scores are all -inf, among others"),
    ]


online = Definition(
    online_softmax,
    title="Softmax in one pass (online softmax)",
    level="onsite",
    minutes=15,
    topics=("A26",),
    statement="""
    Compute `softmax(scores) @ values` for one query when scores and values come in blocks, as flash attention reads
    them: each block is seen once and is gone afterwards. Keep the largest score so far, the sum of the weights and the
    weighted sum of the values; when a larger score comes, shrink what was summed before.
    `blocks` is iterable once; it yields pairs of scores (n,) and values (n, d). Result: (d,).
    """,
    cases=_online_cases,
    observe=_one_by_one,
    general="Not the softmax of all scores, times all values.",
    hints=[
        "Three things are kept: the largest score `top`, the sum `total` of exp(score - top), and the sum `out` of "
        "exp(score - top) * value. When `top` grows to `new`, both sums shrink by exp(top - new).",
        "`new = torch.maximum(top, scores.max())`; `shrink = (top - new).exp()`; `w = (scores - new).exp()`; "
        "`total = total * shrink + w.sum()`; `out = out * shrink + w @ values`; skip a block while `new` is -inf; at the "
        "end `out / total`.",
    ],
    banned=("softmax", "logsumexp", "log_softmax", "scaled_dot_product_attention"),
)


def _online(blocks, shrink_sum=True, shrink_out=True, stable=True, divide=True, guard=True):
    top, total, out = torch.tensor(-torch.inf), torch.tensor(0.0), torch.tensor(0.0)
    for scores, values in blocks:
        new = torch.maximum(top, scores.max()) if stable else torch.tensor(0.0)
        if guard and new == -torch.inf:
            continue
        shrink, w = (top - new).exp() if stable else torch.tensor(1.0), (scores - new).exp()
        total = total * (shrink if shrink_sum else 1) + w.sum()
        out = out * (shrink if shrink_out else 1) + w @ values
        top = new
    return out / total if divide else out


online.plant(
    {
        "The sum of the weights does not shrink when a larger score comes.": lambda blocks: _online(
            blocks, shrink_sum=False
        ),
        "The weighted sum of the values does not shrink when a larger score comes.": lambda blocks: _online(
            blocks, shrink_out=False
        ),
        "Nothing shrinks when a larger score comes: sums of other blocks were made with another maximum.": (
            lambda blocks: _online(blocks, shrink_sum=False, shrink_out=False)
        ),
        "The maximum is not subtracted: exp overflows at large scores.": lambda blocks: _online(blocks, stable=False),
        "The division by the sum of the weights is missing at the end.": lambda blocks: _online(blocks, divide=False),
        "NaN: -inf - (-inf), where all scores of the first block are -inf. Skip a block while the maximum is -inf.": (
            lambda blocks: _online(blocks, guard=False)
        ),
        "All blocks are kept before the work begins; each is gone as soon as the next one is read.": lambda blocks: (
            _online(list(blocks))
        ),
        "The blocks' results are averaged; a block with large scores must count for more.": lambda blocks: torch.stack(
            [_online([block]) for block in blocks]
        ).mean(0),
    }
)


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
            "The heads are not brought back behind the time before they are laid side by side.": {"back": False},
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


def rope(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """x with each pair of numbers turned by its position: rotary embedding, with the shape and the dtype of x.

    x: (batch, heads, time, width), width even. positions: (time,). Pair i is (x[i], x[i + width / 2]) and turns by
    position * base ** (-2 i / width), in radians.
    """
    half = x.shape[-1] // 2
    speed = base ** (-torch.arange(half, device=x.device).float() / half)
    angle = positions[:, None].float() * speed
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


rotary = Definition(
    rope,
    title="Rotary positions (RoPE)",
    level="onsite",
    minutes=12,
    topics=("A26",),
    statement="""
    Turn queries or keys by their position, in the layout of Llama: number i of a head is paired with number
    `i + width / 2`, and the pair turns by the angle `position * base ** (-2 i / width)`:
    `(a, b) -> (a cos - b sin, b cos + a sin)`.
    x: (batch, heads, time, width); positions: (time,), whole numbers that need not start at 0. Result: as x.
    """,
    cases=lambda: [
        Case(torch.tensor([[[[1.0, 0, 0, 0]]]]), torch.tensor([1]), 100.0),
        Case(normal(1, 1, 1, 3, 2), torch.tensor([0, 1, 2]), 10000.0),
        Case(normal(2, 2, 2, 4, 8), torch.tensor([7, 0, 3, 20]), 1000.0),
        Case(normal(3, 1, 3, 2, 6), torch.tensor([5, 6]), 10000.0),
    ],
    general="Not each pair (x[i], x[i + width / 2]) turned by position * base ** (-2 i / width).",
    hints=[
        "There are width / 2 angles for each position: `positions[:, None] * base ** (-arange(half) / half)`. They stand for "
        "the last two axes of x, so they broadcast over batch and heads.",
        "`a, b = x[..., :half], x[..., half:]`; `torch.cat([a * cos - b * sin, b * cos + a * sin], -1)`.",
    ],
)


def _rope(x, positions, base, exponent=2.0, sign=1, pairs="halves", places=None, mirrored=False, turn=True):
    half = x.shape[-1] // 2
    speed = base ** (-exponent * torch.arange(half) / x.shape[-1])
    angle = (positions if places is None else places(positions))[:, None] * speed * sign
    cos, sin = angle.cos(), angle.sin()
    a, b = (x[..., :half], x[..., half:]) if pairs == "halves" else (x[..., ::2], x[..., 1::2])
    first, second = a * cos - b * sin, b * cos + (-a if mirrored else a) * sin
    return torch.cat([first, second], -1) if pairs == "halves" else torch.stack([first, second], -1).flatten(-2)


rotary.plant(
    {
        sentence: lambda x, positions, base, wrong=wrong: _rope(x, positions, base, **wrong)
        for sentence, wrong in {
            "Neighbouring numbers are paired; here x[i] is paired with x[i + width / 2].": {"pairs": "neighbours"},
            "The pairs turn the other way round: it is (a cos - b sin, b cos + a sin).": {"sign": -1},
            "The exponent is -i / width; it is -2 i / width, so that it runs to nearly -1.": {"exponent": 1.0},
            "`positions` is not used: the places are counted from 0.": {"places": lambda p: torch.arange(len(p))},
            "The positions are counted from 1.": {"places": lambda p: p + 1},
            "All pairs turn at the same speed; pair i turns by position * base ** (-2 i / width).": {"exponent": 0.0},
            "The speed grows with the pair: the exponent lacks its minus.": {"exponent": -2.0},
            "The second of a pair is b cos + a sin; yours has a minus.": {"mirrored": True},
        }.items()
    }
)


class KVCache:
    """Keys and values of the places read so far.

    ``length``: how many places are filled, 0 at first. Places beyond ``max_length`` are refused with a ValueError, and
    nothing is changed then.
    """

    def __init__(self, batch: int, kv_heads: int, max_length: int, width: int) -> None:
        """An empty cache."""
        self.keys = torch.zeros(batch, kv_heads, max_length, width)
        self.values = torch.zeros(batch, kv_heads, max_length, width)
        self.length = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep copies of k and v, (batch, kv_heads, new, width), and return all keys and values so far.

        Both have the shape (batch, kv_heads, length, width).
        """
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} places are wanted; the cache has room for {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


def _fill_cache(cache_class, shape, sizes):
    """Shapes and contents after each append, with the pieces overwritten after each; then one piece too many."""
    batch, heads, room, width = shape
    cache, seen = cache_class(*shape), []
    other = cache_class(*shape)
    for number, size in enumerate(sizes):
        k, v = normal(number, batch, heads, size, width), normal(50 + number, batch, heads, size, width)
        keys, values = cache.append(k, v)
        k.fill_(torch.nan), v.fill_(torch.nan)
        seen.append((keys.clone(), values.clone(), int(cache.length)))
    one = torch.ones(batch, heads, room - sum(sizes) + 1, width)
    try:
        cache.append(one, one)
        seen.append("no ValueError where the room is used up")
    except ValueError:
        seen.append(("refused", int(cache.length)))
    seen.append(("another cache", int(other.length)))
    return seen


cache = Definition(
    KVCache,
    name="kv_cache",
    title="A key-value cache",
    level="screen",
    minutes=10,
    topics=("A26", "L5"),
    statement="""
    Write the cache of one layer. `append(k, v)` takes the keys and values of the new places, (batch, kv_heads, new, width)
    - many at the prompt, one at each later step - and returns all of them so far. `length` says how many places are
    filled. Whoever called may write over `k` and `v` afterwards: keep copies. A piece that does not fit into `max_length`
    is refused with a ValueError, and the cache stays as it was.
    """,
    cases=lambda: [
        Case((1, 1, 3, 1), [1], note="append one place to KVCache(1, 1, 3, 1), then three that do not fit"),
        Case((1, 2, 6, 3), [2, 1, 1], note="append 2, 1, 1 places to KVCache(1, 2, 6, 3), then three that do not fit"),
        Case((2, 1, 8, 2), [3, 4, 1], note="append 3, 4, 1 places to KVCache(2, 1, 8, 2), then one that does not fit"),
    ],
    observe=_fill_cache,
    general="Not all keys and values so far, in the order in which they came.",
    hints=[
        "Reserve (batch, kv_heads, max_length, width) twice in `__init__`, and write each piece behind what is there.",
        "`end = self.length + k.shape[2]`; refuse if `end > max_length`; `self.keys[:, :, self.length : end] = k`; "
        "`self.length = end`; return `self.keys[:, :, :end]` and the values.",
    ],
)


class _Growing:
    """A cache by concatenation, with places to go wrong."""

    axis, copies, refuses, early, whole = 2, True, True, False, False
    twice = False

    def __init__(self, batch, kv_heads, max_length, width):
        self.parts, self.length, self.room, self.shape = [], 0, max_length, (batch, kv_heads, max_length, width)

    def append(self, k, v):
        if self.early:
            self.length += k.shape[2]
        if self.refuses and (self.length if self.early else self.length + k.shape[2]) > self.room:
            raise ValueError
        if not self.early:
            self.length += k.shape[2]
        self.parts.append((k.clone(), v.clone()) if self.copies else (k, v))
        parts = self.parts[-1:] if self.whole == "last" else self.parts[::-1] if self.whole == "turned" else self.parts
        keys, values = torch.cat([p[0] for p in parts], 2), torch.cat([p[1] for p in parts], 2)
        if self.whole == "room":
            rest = self.room - keys.shape[2]
            keys, values = (torch.nn.functional.pad(x, (0, 0, 0, rest)) for x in (keys, values))
        return (keys, keys) if self.twice else (keys, values)


_WRONG_CACHES: dict[str, dict[str, Any]] = {
    "A piece that does not fit is not refused with a ValueError.": {"refuses": False},
    "`length` has grown although the piece was refused: check first, then change.": {"early": True},
    "The pieces are kept, not copied: whoever writes over `k` afterwards changes the cache.": {"copies": False},
    "Only the newest piece is returned; all keys and values so far are wanted.": {"whole": "last"},
    "New places are put before the old ones; they come behind.": {"whole": "turned"},
    "The whole room is returned, with places that hold nothing yet; cut at `length`.": {"whole": "room"},
    "The keys are returned twice; the second are the values.": {"twice": True},
}
for _sentence, _wrong in _WRONG_CACHES.items():
    cache.bug(_sentence)(type("Wrong", (_Growing,), _wrong))
