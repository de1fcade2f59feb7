"""Which rows of a large data set say nearly the same: found in a few passes, with some dozens of bytes a row.

``deduplication`` keeps the words of all documents in memory. Here a row leaves six numbers on the disk, each made of
four minima (MinHash in bands, as there), and a sketch; rows are compared only with those that share one of the numbers.
What is compared are runs of ``WIDTH`` bytes instead of words: that needs no spaces between words, which many scripts do
not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

WIDTH = 8  # bytes of a shingle
BANDS, ROWS = 6, 4
ALIKE = 0.8  # from which similarity on two rows are near copies
LIKELY = 15  # of 24 places of a sketch; of texts of that similarity one in a hundred agree in fewer
SURE = 22  # of texts with a similarity of 0.7 that share a band, four in a hundred agree in as many
LONGEST = 2**16  # bytes of a text that are looked at
_FACTORS = np.random.default_rng(8).integers(1, 2**32, (2, BANDS * ROWS), dtype=np.uint32)
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


def plain(text: str) -> bytes:
    """What is compared: lower case, single spaces, UTF-8."""
    return " ".join(text.lower().split()).encode("utf-8", "replace")


def key(plain: bytes) -> int:
    """64 bits that are equal for equal texts, and by chance for hardly any others: for one pair among a million rows
    with a probability of 3e-8."""
    return int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest(), "little")


def padded(plain: bytes) -> bytes:
    """The beginning of a very long text; never less than one shingle."""
    return plain[:LONGEST].ljust(WIDTH)


def shingle_numbers(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """A number for each run of WIDTH bytes in all plain texts, one after the other.

    Returns (numbers uint32, where each text's begin and end, interleaved). Between two texts stand WIDTH - 1 numbers
    that belong to none.
    """
    texts = [padded(text) for text in texts]
    x = np.frombuffer(b"".join(texts), dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    for step, odd in zip((1, 2, 4), _ODD, strict=True):  # runs of 2, then 4, then 8
        x = x[:-step] * odd + x[step:]
    x = (x ^ (x >> np.uint64(29))) * _ODD[0]
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    ends = lengths.cumsum()
    places = np.stack([ends - lengths, ends - (WIDTH - 1)], axis=1)
    return (x >> np.uint64(32)).astype(np.uint32), places.ravel()


def signatures(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """(bands, sketch): (texts, BANDS) uint64 and (texts, BANDS * ROWS) uint8.

    Texts that share most of their shingles are likely to share a band: with the Jaccard similarity s of their shingles
    the probability is 1 - (1 - s^4)^6, 0.96 at 0.8 and 0.32 at 0.5. The sketch is the last byte of each minimum. Two
    sketches agree in a share s of their bytes on average, and a little more by chance (b-bit MinHash, Li and Koenig,
    WWW 2010): with it most of those that share a band by chance are told apart without reading them again.
    """
    numbers, places = shingle_numbers(texts)
    inside = places[:-1]  # the last text's end is the end
    minima = np.empty((BANDS * ROWS, len(texts)), dtype=np.uint64)
    for row, (a, b) in enumerate(_FACTORS.T):
        minima[row] = np.minimum.reduceat(numbers * (a | np.uint32(1)) + b, inside)[::2]
    bands = minima.reshape(BANDS, ROWS, len(texts))
    found = bands[:, 0]
    for row in range(1, ROWS):
        found = (found ^ (found >> np.uint64(31))) * _ODD[1] + bands[:, row]
    mixed = (minima * _ODD[2]) >> np.uint64(56)  # the smallest of many are alike in their first bits
    return found.T, mixed.astype(np.uint8).T


def shingles(text: bytes) -> frozenset[bytes]:
    """All runs of WIDTH bytes of a plain text: what the numbers above stand for."""
    text = padded(text)
    return frozenset([text[start : start + WIDTH] for start in range(len(text) - WIDTH + 1)])


class Groups:
    """Rows that belong together, directly or over others: a forest in one array of numbers."""

    def __init__(self, count: int) -> None:
        self.first = np.arange(count, dtype=np.int64)

    def of(self, row: int) -> int:
        """The first row of a row's group."""
        first = self.first
        while first[row] != row:
            first[row] = first[first[row]]
            row = int(first[row])
        return row

    def unite(
        self, keys: np.ndarray, sketch: np.ndarray | None = None, alike: Callable[[int, int], bool] | None = None
    ) -> int:
        """Join rows with equal keys, (count,) integers. Returns how many were joined to another.

        With ``sketch`` and ``alike`` only those are joined whose sketches agree in SURE places or more, or in LIKELY
        places and which are alike. Each row is compared with the first of those that have its key.
        """
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
        begins = np.r_[True, ranked[1:] != ranked[:-1]]
        heads = np.maximum.accumulate(np.where(begins, np.arange(len(ranked)), 0))
        rows, others = order[~begins], order[heads[~begins]]
        joined = 0
        for start in range(0, len(rows), 2**16):
            some, their = rows[start : start + 2**16], others[start : start + 2**16]
            sure = np.full(len(some), sketch is None and alike is None)
            if sketch is not None:
                agree = (sketch[some] == sketch[their]).sum(1)
                likely = agree >= LIKELY
                some, their, sure = some[likely], their[likely], agree[likely] >= SURE
            for row, other, certain in zip(some.tolist(), their.tolist(), sure.tolist(), strict=True):
                low, high = sorted((self.of(row), self.of(other)))
                if low != high and (certain or (alike is not None and alike(other, row))):
                    self.first[high] = low
                    joined += 1
        return joined

    def numbers(self) -> np.ndarray:
        """For each row the first row of its group, (count,) int64."""
        while (self.first != (shorter := self.first[self.first])).any():
            self.first = shorter
        return self.first
