"""Drills on serving: where a token of a paged cache lies, and how many bytes a latent cache takes."""

from __future__ import annotations

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition


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
    blocks, in order. Make room for `new` tokens behind the `length` that it has: fill the last block first, then take blocks from
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
    general="Not the places behind the last token, block by block, with as few new blocks as will do.",
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
