"""Drills on byte-pair encoding: the merges learned, and used."""

from __future__ import annotations

from collections import Counter

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition


def bpe_train(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    """The first ``merges`` merges of byte-pair encoding, in order; fewer if no pair is left.

    words: word -> how often it occurs. A word begins as its characters. Each time the pair of neighbours that occurs most
    often is merged; of equals, the one that sorts first.
    """
    split = {word: list(word) for word in words}
    learned: list[tuple[str, str]] = []
    while len(learned) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        learned.append(best)
        for word, parts in split.items():
            merged: list[str] = []
            place = 0
            while place < len(parts):
                found = tuple(parts[place : place + 2]) == best
                merged.append("".join(best) if found else parts[place])
                place += 2 if found else 1
            split[word] = merged
    return learned


train = Definition(
    bpe_train,
    title="Train byte-pair encoding",
    level="onsite",
    minutes=15,
    topics=("A26", "+"),
    statement="""
    Learn the merges of byte-pair encoding from counted words. Begin with characters. Count each pair of neighbours inside
    words, as often as its word occurs; merge the most frequent pair everywhere, from left to right (`aaa` with `a a`
    becomes `aa a`); count anew; go on. Of equally frequent pairs take the one that sorts first. Stop early when no word
    has two parts left. Result: the pairs in the order in which they were merged.
    """,
    cases=lambda: [
        Case({"ab": 1}, 1),
        Case({"ab": 1, "cd": 1}, 3),
        Case({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 6),
        Case({"aaaa": 3, "baaa": 2, "ba": 4}, 5),
        Case({"abcabc": 1, "bc": 1, "xyz": 3, "xy": 1}, 8),
    ],
    general="Not the most frequent pair each time, counted anew after every merge.",
    hints=[
        "Keep each word as a list of parts. A pair of a word that occurs five times counts five. After a merge the parts have "
        "changed, so every count must be made again.",
        "`best = min(pairs, key=lambda pair: (-pairs[pair], pair))`; then rewrite each word: at `parts[i], parts[i + 1] == "
        "best` append their concatenation and step by 2, else append `parts[i]` and step by 1.",
    ],
    banned=("train_from_iterator",),
)


def _bpe(words, merges, weighted=True, recount=True, tie=None, stop=True, right=False, distinct=False):
    split, learned = {word: list(word) for word in words}, []
    old = None
    while len(learned) < merges:
        pairs = Counter()
        for word, count in words.items():
            own = list(zip(split[word], split[word][1:], strict=False))
            for pair in set(own) if distinct else own:
                pairs[pair] += count if weighted else 1
        if not recount and old is not None:
            pairs = Counter({pair: count for pair, count in old.items() if pair not in learned})
        old = pairs
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if tie == "last":
            best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if tie == "first seen":
            best = max(pairs, key=lambda pair: pairs[pair])
        if not stop and pairs[best] < 2:
            break
        learned.append(best)
        for word, parts in split.items():
            new, place = [], 0
            parts = parts[::-1] if right else parts
            pair = best[::-1] if right else best
            while place < len(parts):
                found = tuple(parts[place : place + 2]) == pair
                new.append("".join(best) if found else parts[place])
                place += 2 if found else 1
            split[word] = new[::-1] if right else new
    return learned


train.plant(
    {
        sentence: lambda words, merges, wrong=wrong: _bpe(words, merges, **wrong)
        for sentence, wrong in {
            "A pair counts once for each word; it counts as often as its word occurs.": {"weighted": False},
            "The pairs are counted once at the start; after a merge they must be counted anew.": {"recount": False},
            "Of equally frequent pairs the one that sorts last is taken; it is the first.": {"tie": "last"},
            "Of equally frequent pairs the one that was met first is taken; it is the one that sorts first.": {
                "tie": "first seen"
            },
            "It stops at pairs that occur once; it goes on while there is any pair.": {"stop": False},
            "Merged from the right; `aaa` becomes `aa a`, from the left.": {"right": True},
            "A pair that stands twice in a word counts once; both places count.": {"distinct": True},
        }.items()
    }
    | {
        "The merges are returned as joined strings; pairs are wanted.": lambda words, merges: [
            "".join(pair) for pair in _bpe(words, merges)
        ],
        "One merge too few.": lambda words, merges: _bpe(words, merges - 1),
    }
)


def bpe_encode(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """The parts of ``word`` after byte-pair encoding. Of the pairs in it, the one that was learned first is merged first."""
    rank = {pair: number for number, pair in enumerate(merges)}
    parts = list(word)
    while True:
        pairs = [pair for pair in zip(parts, parts[1:], strict=False) if pair in rank]
        if not pairs:
            return parts
        best = min(pairs, key=rank.__getitem__)
        merged: list[str] = []
        place = 0
        while place < len(parts):
            found = tuple(parts[place : place + 2]) == best
            merged.append("".join(best) if found else parts[place])
            place += 2 if found else 1
        parts = merged


encode = Definition(
    bpe_encode,
    title="Encode with byte-pair encoding",
    level="onsite",
    minutes=12,
    topics=("A26", "+"),
    statement="""
    Split a word with merges that were learned before. Begin with its characters. Of all pairs of neighbours now in the
    word, take the one that was learned first (the lowest rank) and merge it, from left to right; repeat until no pair has
    been learned. Characters that no merge knows stay as they are. Result: the parts, which joined give the word.
    """,
    cases=lambda: [
        Case("ab", [("a", "b")]),
        Case("abc", [("b", "c"), ("a", "b")]),
        Case("abc", [("a", "b"), ("b", "c")]),
        Case("aaaaa", [("a", "a"), ("aa", "aa")]),
        Case("lowest", [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w"), ("w", "est")]),
        Case("abcd", [("c", "d"), ("b", "cd"), ("a", "b"), ("a", "bcd")]),
        Case("", [("a", "b")]),
        Case("a?b", [("a", "b")]),
        Case("abab", [("ab", "ab"), ("a", "b")]),
        Case("abab", [("ab", "ab"), ("b", "a"), ("a", "b")]),
    ],
    general="Not the pair of lowest rank first, until no learned pair is left.",
    hints=[
        "A rank for each pair: its place in `merges`. The loop asks each time for the pair of the lowest rank that is there "
        "now: a merge makes new pairs.",
        "`best = min(pairs, key=rank.__getitem__)` over `[p for p in zip(parts, parts[1:]) if p in rank]`; merge every place "
        "of it from the left; return when the list is empty.",
    ],
)


def _merge_all(parts, pair):
    new, place = [], 0
    while place < len(parts):
        found = tuple(parts[place : place + 2]) == pair
        new.append("".join(pair) if found else parts[place])
        place += 2 if found else 1
    return new


def _longest(word, merges):
    known, parts = {"".join(pair) for pair in merges}, []
    while word:
        size = next((n for n in range(len(word), 1, -1) if word[:n] in known), 1)
        parts, word = [*parts, word[:size]], word[size:]
    return parts


def _leftmost(word, merges):
    parts = list(word)
    while pair := next((p for p in zip(parts, parts[1:], strict=False) if p in merges), None):
        at = next(i for i in range(len(parts)) if tuple(parts[i : i + 2]) == pair)
        parts[at : at + 2] = ["".join(pair)]
    return parts


def _once(word, merges, order=1):
    parts = list(word)
    for pair in merges[::order]:
        parts = _merge_all(parts, pair)
    return parts


def _latest(word, merges):
    parts = list(word)
    while pairs := [p for p in zip(parts, parts[1:], strict=False) if p in merges]:
        parts = _merge_all(parts, max(pairs, key=merges.index))
    return parts


encode.plant(
    {
        "The longest known piece is cut off each time; BPE repeats the merges in the order in which they were learned.": (
            _longest
        ),
        "The leftmost known pair is merged first; it is the one that was learned first.": _leftmost,
        "The pair that was learned last is merged first; it is the one that was learned first.": _latest,
        "The merges are run through from the last to the first.": lambda word, merges: _once(word, merges, -1),
        "Each merge is tried once, in order. A merge may make a pair that an earlier one joins: ask for the lowest rank each time.": (
            _once
        ),
        "Only one merge is made; go on until no learned pair is left.": lambda word, merges: _merge_all(
            list(word), next((p for p in merges if p in zip(word, word[1:], strict=False)), ("", ""))
        ),
    }
)
