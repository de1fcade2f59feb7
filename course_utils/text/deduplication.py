"""Documents that say the same twice: exact copies by a hash, near copies by the words that they share.

Comparing all pairs of n documents takes n * n / 2 comparisons. MinHash (Broder 1997, "On the resemblance and
containment of documents") turns each document into a short list of numbers, and locality-sensitive hashing compares
only those documents whose lists agree somewhere: what large corpora are cleaned with (Lee et al., arXiv 2107.06499).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence, Set

import numpy as np

PRIME = 2**31 - 1  # below 2**31, so that a product of two numbers fits into 63 bits


def content_hash(text: str) -> str:
    """A fingerprint of what a text says: capitals and the kind and number of its spaces do not count."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()


def exact_copies(texts: Iterable[str]) -> list[int]:
    """The places of the texts that repeat an earlier one, in order. The first of each stays."""
    seen: set[str] = set()
    copies = []
    for place, text in enumerate(texts):
        fingerprint = content_hash(text)
        if fingerprint in seen:
            copies.append(place)
        seen.add(fingerprint)
    return copies


def shingles(text: str, n: int = 2) -> frozenset[str]:
    """The different runs of ``n`` words of a text, in lower case and without signs; all of it, if it is shorter.

    Raises ValueError for n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; give the length of a shingle in words, 1 or more.")
    words = re.findall(r"\w+", text.lower())
    return frozenset(" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1)) if words)


def jaccard(first: Set[str], second: Set[str]) -> float:
    """The share of all things in either set that are in both: 1 for equal sets, 0 if nothing is shared.

    Two empty sets are equal: 1.
    """
    union = len(first | second)
    return len(first & second) / union if union else 1.0


def shingle_hashes(items: Iterable[str]) -> np.ndarray:
    """A number below PRIME for each item: (items,) int64, sorted; the same in every process, unlike ``hash``."""
    digests = (hashlib.blake2b(item.encode(), digest_size=8).digest() for item in sorted(items))
    return np.sort(np.array([int.from_bytes(digest, "big") % PRIME for digest in digests], dtype=np.int64))


def hash_functions(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``count`` random functions x -> (a x + b) mod PRIME, as two arrays (count,) int64; a is never 0."""
    generator = np.random.default_rng([seed, count])
    return generator.integers(1, PRIME, count), generator.integers(0, PRIME, count)


def minhash(hashes: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The MinHash signature: for each function the smallest value that it gives to any item.

    hashes: (items,) int64 below PRIME.  a, b: (count,) as ``hash_functions`` returns them.  Returns (count,) int64.
    Under a random order of all items, the first item of the union of two sets is equally likely to be any of them; the
    two minima are equal exactly if it lies in both. So two signatures agree at a place with probability Jaccard.
    Raises ValueError for a document without items, which has no smallest.
    """
    if not len(hashes):
        raise ValueError("hashes is empty; a document without a word has no signature. Drop such documents first.")
    return ((hashes[:, None] * a + b) % PRIME).min(0)


def collision_probability(similarity: float, bands: int, rows: int) -> float:
    """The chance that two documents share a bucket: 1 - (1 - s^rows)^bands, an S-shaped curve in s."""
    return 1 - (1 - similarity**rows) ** bands


def near_copy_pairs(
    texts: Sequence[str], threshold: float = 0.6, n: int = 2, num_perm: int = 128, seed: int = 0
) -> list[tuple[int, int]]:
    """All pairs (earlier, later) of texts whose shingles have a Jaccard similarity of ``threshold`` or more.

    Candidates come from datasketch's MinHashLSH, tuned to a threshold a little lower so that few are missed; each is
    then compared exactly. Texts without a word are passed over. Raises ValueError for a threshold outside (0, 1].
    """
    from datasketch import MinHash, MinHashLSH

    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}; give a similarity above 0 and at most 1, such as 0.6.")
    sets = [shingles(text, n) for text in texts]
    index = MinHashLSH(threshold=max(0.1, threshold - 0.1), num_perm=num_perm)
    pairs = []
    places = [place for place, items in enumerate(sets) if items]
    signatures = MinHash.bulk([[s.encode() for s in sets[place]] for place in places], num_perm=num_perm, seed=seed + 1)
    for place, signature in zip(places, signatures, strict=True):
        for earlier in sorted(index.query(signature)):
            if jaccard(sets[earlier], sets[place]) >= threshold:
                pairs.append((earlier, place))
        index.insert(place, signature)
    return pairs


def drop_copies(pairs: Iterable[tuple[int, int]], count: int) -> list[int]:
    """Which of ``count`` documents to drop, in order, so that of each group of copies only the first stays.

    A group holds all documents that are joined by pairs, if need be over others: with (0, 3) and (3, 5) the documents 3
    and 5 go, although nobody compared 0 with 5. Raises ValueError for a pair outside of 0 to count - 1.
    """
    first = list(range(count))

    def find(place: int) -> int:
        while first[place] != place:
            first[place] = first[first[place]]  # shorten the way for the next one
            place = first[place]
        return place

    for one, other in pairs:
        if not (0 <= one < count and 0 <= other < count):
            raise ValueError(f"the pair {(one, other)} lies outside of the {count} documents, 0 to {count - 1}.")
        low, high = sorted((find(one), find(other)))
        first[high] = low
    return [place for place in range(count) if find(place) != place]
