"""Drills on caches: keys and values kept, the slots of a paged cache, the bytes of a latent one."""

from __future__ import annotations

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
        seen.append({"keys": keys.clone(), "values": values.clone(), "length": int(cache.length)})
    one = torch.ones(batch, heads, room - sum(sizes) + 1, width)
    try:
        cache.append(one, one)
        seen.append("no ValueError where the room is used up")
    except ValueError:
        seen.append(f"refused, length {cache.length}")
    seen.append(f"another cache, length {other.length}")
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
        "Reserve (batch, kv_heads, max_length, width) twice in `__init__`, and write each piece after what is there.",
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
    "New places are put before the old ones; they come after.": {"whole": "turned"},
    "The whole room is returned, with places that hold nothing yet; cut at `length`.": {"whole": "room"},
    "The keys are returned twice; the second are the values.": {"twice": True},
}


for _sentence, _wrong in _WRONG_CACHES.items():
    cache.bug(_sentence)(type("Wrong", (_Growing,), _wrong))


def paged_slots(
    table: list[int], length: int, new: int, block_size: int, free: list[int]
) -> tuple[list[int], list[int], list[int]]:
    """(slots, table, free) after room for ``new`` more tokens is made in a paged cache. Nothing given is changed.

    table: the blocks of a sequence in order, which hold ``length`` tokens; the last may be partly filled. free: blocks that
    may be taken, the first one first. slots: where each new token goes, block * block_size + offset. Raises MemoryError if
    ``free`` has too few blocks.
    """
    needed = -(-(length + new) // block_size) - len(table)
    if needed > len(free):
        raise MemoryError(f"{needed} blocks are needed and {len(free)} are free")
    table, free = table + free[: max(needed, 0)], free[max(needed, 0) :]
    places = range(length, length + new)
    return [table[p // block_size] * block_size + p % block_size for p in places], table, free


def _paged_seen(answer, table, length, new, block_size, free):
    try:
        return answer(table, length, new, block_size, free)
    except MemoryError:
        return "MemoryError"


paged = Definition(
    paged_slots,
    new=True,
    title="Slots of a paged cache",
    level="onsite",
    minutes=12,
    topics=("L5", "A26"),
    statement="""
    A paged KV cache is one large store, cut into blocks of `block_size` places. A sequence keeps a block table: the numbers of its
    blocks, in order. Make room for `new` tokens after the `length` that it has: fill the last block first, then take blocks from
    the front of `free`, only as many as are needed. The place of a token in the store is `block * block_size + offset`.
    Raise MemoryError if there are too few free blocks. Result: (slots of the new tokens, table, free), new lists.
    """,
    cases=lambda: [
        Case([7], 2, 1, 4, [3]),
        Case([], 0, 3, 2, [5, 1, 4]),
        Case([7], 4, 1, 4, [3, 9]),
        Case([2, 6], 5, 6, 3, [0, 4, 8, 1]),
        Case([7], 3, 2, 4, []),
        Case([1, 0], 3, 0, 2, [5]),
        Case([4, 2], 7, 9, 4, [9, 3]),
    ],
    observe=_paged_seen,
    general="Not the places after the last token, block by block, with as few new blocks as will do.",
    hints=[
        "How many blocks do length + new tokens need? That less those in the table are taken from `free`. A token's block is "
        "the one at place // block_size of the table.",
        "`needed = -(-(length + new) // block_size) - len(table)`; `table = table + free[:needed]`; "
        "`table[p // block_size] * block_size + p % block_size` for p from length to length + new - 1.",
    ],
)


def _slots(
    table, length, new, size, free, fresh=False, extra=0, last=False, flat=False, refuse=True, start=0, kept=False
):
    used = -(-length // size)
    if fresh:
        length = used * size
    needed = max(-(-(length + new) // size) - len(table) + extra, 0)
    if refuse and needed > len(free):
        raise MemoryError
    take = free[::-1][:needed] if last else free[:needed]
    table = table + take + ([0] * (needed - len(take)))
    rest = list(free) if kept else [b for b in free if b not in take]
    places = range(length + start, length + new + start)
    table_ = [*table, 0]
    return [p if flat else table_[p // size] * size + p % size for p in places], table, rest


paged.plant(
    {
        sentence: lambda table, length, new, block_size, free, wrong=wrong: _slots(
            table, length, new, block_size, free, **wrong
        )
        for sentence, wrong in {
            "New tokens begin in a new block; the last block is filled first.": {"fresh": True},
            "One block more than needed is taken.": {"extra": 1},
            "Blocks are taken from the end of `free`; the first comes first.": {"last": True},
            "The place in the sequence is returned; the block table says where that lies in the store.": {"flat": True},
            "Too few free blocks must raise MemoryError.": {"refuse": False},
            "The places begin one too late: the first new token stands at `length`.": {"start": 1},
            "The taken blocks are still in `free`: two sequences would write into them.": {"kept": True},
        }.items()
    }
    | {
        "The block's number is not multiplied by the block size.": lambda table, length, new, block_size, free: (
            lambda out: ([s // block_size + s % block_size for s in out[0]], out[1], out[2])
        )(_slots(table, length, new, block_size, free)),
    }
)


def mla_cache_bytes(
    layers: int, tokens: int, latent: int, rope_width: int, heads: int, head_width: int, bytes_each: int
) -> tuple[int, int]:
    """(bytes of the cache of multi-head latent attention, bytes of plain multi-head attention) for one sequence.

    latent: width of the compressed vector that keys and values of all heads are made from. rope_width: width of the one
    rotated key that all heads share. heads, head_width: those of plain attention.
    """
    mla = layers * tokens * (latent + rope_width) * bytes_each
    mha = layers * tokens * 2 * heads * head_width * bytes_each
    return mla, mha


latent = Definition(
    mla_cache_bytes,
    title="Bytes of a latent cache (MLA)",
    level="onsite",
    minutes=6,
    topics=("A26", "L5"),
    statement="""
    Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434) keeps, for each token and layer, one compressed vector of width
    `latent`, from which keys and values of all heads are made, and one key of width `rope_width` that carries the position and is
    shared by all heads. Give the bytes of its cache for one sequence, and those of plain multi-head attention, which keeps keys and
    values of every head. Result: (bytes of MLA, bytes of MHA), whole numbers.
    """,
    cases=lambda: [
        Case(1, 1, 5, 3, 2, 7, 1),
        Case(60, 4096, 512, 64, 128, 128, 2),
        Case(3, 10, 16, 4, 4, 8, 4),
    ],
    rtol=0.0,
    atol=0.0,
    general="Not layers * tokens * (latent + rope_width) and layers * tokens * 2 * heads * head_width, times the bytes.",
    hints=[
        "What does one token keep in one layer? For MLA no number of heads comes in; for MHA keys and values do.",
        "`layers * tokens * (latent + rope_width) * bytes_each`, and `layers * tokens * 2 * heads * head_width * bytes_each`.",
    ],
)


def _bytes(
    layers, tokens, latent, rope, heads, width, each, mla=lambda c, r, h: c + r, mha=lambda h, w: 2 * h * w, n=1
):
    return layers * tokens * mla(latent, rope, heads) * each * n, layers * tokens * mha(heads, width) * each * n


latent.plant(
    {
        sentence: lambda layers, tokens, latent, rope_width, heads, head_width, bytes_each, wrong=wrong: _bytes(
            layers, tokens, latent, rope_width, heads, head_width, bytes_each, **wrong
        )
        for sentence, wrong in {
            "The latent vector is counted twice; keys and values are made from the same one.": {
                "mla": lambda c, r, h: 2 * c + r
            },
            "Latent and key are counted twice; both are kept once.": {"mla": lambda c, r, h: 2 * (c + r)},
            "The rotated key is counted for every head; all share one.": {"mla": lambda c, r, h: c + r * h},
            "The rotated key is missing.": {"mla": lambda c, r, h: c},
            "The latent vector is counted for every head; it serves all.": {"mla": lambda c, r, h: (c + r) * h},
            "Plain attention keeps keys and values; a 2 is missing.": {"mha": lambda h, w: h * w},
            "Plain attention keeps every head.": {"mha": lambda h, w: 2 * w},
        }.items()
    }
    | {
        "The layers are missing: each has a cache.": (
            lambda layers, tokens, latent, rope_width, heads, head_width, bytes_each: _bytes(
                1, tokens, latent, rope_width, heads, head_width, bytes_each
            )
        ),
        "Numbers are counted; bytes are wanted.": (
            lambda layers, tokens, latent, rope_width, heads, head_width, bytes_each: _bytes(
                layers, tokens, latent, rope_width, heads, head_width, 1
            )
        ),
    }
)
