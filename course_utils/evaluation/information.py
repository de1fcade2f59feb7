"""The information in a draw: how many bits it takes to say which things came up."""

from __future__ import annotations

from math import log2


def bits_of_draw(items: int, drawn: int) -> float:
    """Bits in ``drawn`` different things taken in order, each equally likely, from ``items``: none is put back.

    The first choice costs log2(items) bits, the next log2(items - 1), and so on (Shannon 1948). ``drawn`` may be 0.
    Raises ValueError if more things are drawn than there are, or fewer than none.
    """
    if not 0 <= drawn <= items:
        raise ValueError(f"{drawn} things were drawn from {items}; draw from 0 to {items}.")
    return float(sum(log2(items - i) for i in range(drawn)))
