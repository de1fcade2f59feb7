"""A source of seeded choices that counts its bits.

Every text of the Isles is made by a chain of choices. A choice among ``n`` equally likely things
costs ``log2(n)`` bits (Shannon 1948), and the sum over a document is the information in it: no model, however
large, can predict fresh documents with a lower average loss. ``Draw`` makes the choices and keeps the sum.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import cache
from math import log2
from typing import TypeVar

T = TypeVar("T")
log2_of = cache(log2)


class Draw:
    """Seeded choices. ``bits`` is the information drawn since the last ``start_counting()``.

    Only ``getrandbits`` of Python's Mersenne Twister is used, whose output is the same in every
    process and on every Python, so the same key gives the same choices anywhere.
    """

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
        self._getrandbits = random.Random(int.from_bytes(digest[:16], "big")).getrandbits
        self.bits = 0.0

    def start_counting(self) -> None:
        """Set the count of bits back to zero: a new document begins."""
        self.bits = 0.0

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1, each equally likely. Costs log2(n) bits."""
        if n < 1:
            raise ValueError(f"Draw.below was given {n}; it needs a count of 1 or more to choose from.")
        width = (n - 1).bit_length()
        value = self._getrandbits(width) if width else 0
        while value >= n:  # rejection keeps the choice exactly uniform
            value = self._getrandbits(width)
        self.bits += log2_of(n)
        return value

    def choice(self, items: Sequence[T]) -> T:
        """One of ``items``, each equally likely. Costs log2(len(items)) bits."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """``k`` different items in random order. Costs log2(n) + log2(n - 1) + ... bits."""
        if k > len(items):
            raise ValueError(f"Draw.sample was asked for {k} of {len(items)} items; ask for fewer.")
        pool = list(items)
        return [pool.pop(self.below(len(pool))) for _ in range(k)]

    def weighted(self, items: Sequence[T], weights: Sequence[int]) -> T:
        """One of ``items`` with probability weight / total. Costs log2(total / weight) bits."""
        before, total = self.bits, sum(weights)
        mark = self.below(total)
        for item, weight in zip(items, weights, strict=True):
            if mark < weight:
                self.bits = before + log2(total / weight)
                return item
            mark -= weight
        raise AssertionError("unreachable: the weights sum to the total")

    def chance(self, share: float) -> bool:
        """True with probability ``share`` (to a thousandth). Costs -log2 of the outcome's probability."""
        thousandths = round(1000 * share)
        if not 0 <= thousandths <= 1000:
            raise ValueError(f"Draw.chance was given {share}; it needs a probability from 0 to 1.")
        if thousandths in (0, 1000):
            return thousandths == 1000
        return self.weighted((True, False), (thousandths, 1000 - thousandths))
