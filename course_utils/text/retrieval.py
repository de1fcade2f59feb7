"""Find the passages that a question is about: BM25 (Robertson and Zaragoza 2009, section 3.4), and ranks joined.

A passage scores for each word of the question that it holds: more if few passages hold the word, more if it holds the
word often (but the tenth time adds little), and less if it is long.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

SENTENCE = re.compile(r"(?<=[.!?])\s+")


def terms(text: str) -> list[str]:
    """The words of a text as they are compared: lower case, letters and digits only, in their order."""
    return re.findall(r"\w+", text.lower())


def passages(text: str, sentences: int, title: str = "") -> list[str]:
    """A text cut into passages of so many sentences, the last one perhaps shorter; ``title`` is put before each.

    Raises ValueError for fewer than 1 sentence, or a text without any.
    """
    parts = [part for part in SENTENCE.split(text.strip()) if part]
    if sentences < 1 or not parts:
        raise ValueError(f"{sentences} sentences a passage were asked for, of {len(parts)}; both must be 1 or more.")
    cut = [" ".join(parts[i : i + sentences]) for i in range(0, len(parts), sentences)]
    return [f"{title} {passage}".strip() for passage in cut]


class BM25:
    """An index over passages.

    The variant is that of Lucene, the default of the library bm25s: log(1 + (N - n + 1/2) / (n + 1/2)) weighs a word
    that n of N passages hold, and is never negative; the factor k1 + 1, the same for all, is left out (Kamphuis et al.,
    ECIR 2020, table 1). k1 says how soon repetition stops to count, b from 0 to 1 how much length does.
    Raises ValueError for no passages, or k1 or b out of range.
    """

    def __init__(self, passages: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        if not passages or isinstance(passages, str):
            raise ValueError("BM25 needs a list with at least one passage; put a single text into a list.")
        if not k1 >= 0 or not 0 <= b <= 1:
            raise ValueError(f"k1 is {k1} and b is {b}; k1 must be 0 or more, b from 0 to 1. Usual: 1.5 and 0.75.")
        self.passages, self.k1, self.b = list(passages), k1, b
        words = [terms(passage) for passage in self.passages]
        self.lengths = [len(row) for row in words]
        self.mean_length = sum(self.lengths) / len(words)
        self.holders: dict[str, list[tuple[int, int]]] = {}  # the inverted index: word -> (passage, how often)
        for number, row in enumerate(words):
            for word, count in Counter(row).items():
                self.holders.setdefault(word, []).append((number, count))

    def idf(self, word: str) -> float:
        """How much it says that a passage holds this word, in nats; a word that none holds has 0."""
        n = len(self.holders.get(word, ()))
        return math.log(1 + (len(self.passages) - n + 0.5) / (n + 0.5)) if n else 0.0

    def scores(self, question: str) -> list[float]:
        """The score of every passage. A word that the question has twice counts twice."""
        scores = [0.0] * len(self.passages)
        for word in terms(question):
            for number, count in self.holders.get(word, ()):
                longer = 1 - self.b + self.b * self.lengths[number] / self.mean_length
                scores[number] += self.idf(word) * count / (count + self.k1 * longer)
        return scores

    def search(self, question: str, k: int = 1) -> list[int]:
        """The numbers of the k best passages, best first; equal ones in their order. Raises ValueError for k < 1."""
        if k < 1:
            raise ValueError(f"k is {k}; ask for 1 passage or more.")
        scores = self.scores(question)
        return sorted(range(len(scores)), key=lambda number: -scores[number])[:k]


def fuse_ranks(rankings: Sequence[Sequence[int]], k: float = 60.0) -> list[int]:
    """One ranking out of several: reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009).

    rankings: one or more lists of the numbers of passages, each best first and without repetition; they need not hold
    the same numbers. A passage gets 1 / (k + rank) from every list that holds it, with ranks from 1; the scores of the
    searches, which have no common unit, are not used. The larger k, the less the first places count; 60 is the paper's.
    Returns all numbers, best first, those with equal sums in the order in which the lists name them.
    Raises ValueError for no list, a list with a number twice, or a k below 0.
    """
    if not rankings or k < 0:
        raise ValueError(f"{len(rankings)} rankings and k = {k}; give one list or more, and a k of 0 or more.")
    sums: dict[int, float] = {}
    for place, ranking in enumerate(rankings):
        if len(set(ranking)) < len(ranking):
            raise ValueError(f"ranking {place} names a passage twice; each passage has one rank in a list.")
        for rank, number in enumerate(ranking, 1):
            sums[number] = sums.get(number, 0.0) + 1 / (k + rank)
    return sorted(sums, key=lambda number: -sums[number])
