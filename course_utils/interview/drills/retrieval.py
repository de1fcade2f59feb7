"""Drills on finding documents: near-duplicates by MinHash, ranking by BM25."""

from __future__ import annotations

import math
from collections import Counter

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition


def minhash_similarity(first: set[int], second: set[int], coefficients: list[tuple[int, int]], prime: int) -> float:
    """The estimate by MinHash of the Jaccard similarity of two sets: the share of hash functions whose minima agree.

    first, second: hashed shingles, not empty. coefficients: (a, b) of each hash function x -> (a x + b) mod prime.
    """

    def signature(items: set[int]) -> list[int]:
        return [min((a * x + b) % prime for x in items) for a, b in coefficients]

    pairs = zip(signature(first), signature(second), strict=True)
    return sum(mine == theirs for mine, theirs in pairs) / len(coefficients)


def _hash_case(seed, sizes, functions, prime=10007):
    import random

    rng = random.Random(seed)
    shared, one, two = ([rng.randrange(prime) for _ in range(n)] for n in sizes)
    coefficients = [(rng.randrange(1, prime), rng.randrange(prime)) for _ in range(functions)]
    return Case({*shared, *one}, {*shared, *two}, coefficients, prime)


minhash = Definition(
    minhash_similarity,
    title="MinHash",
    level="onsite",
    minutes=10,
    topics=("A23", "F6"),
    statement="""
    Estimate how alike two documents are without comparing their sets. For each hash function `h(x) = (a x + b) mod prime` the smallest
    value over a set is one number of its signature; the two minima agree with the probability of the Jaccard similarity. So the
    estimate is the share of functions whose minima agree. first, second: sets of hashed shingles; coefficients: the pairs (a, b).
    Result: a float from 0 to 1.
    """,
    cases=lambda: [
        Case({1, 2}, {2, 3}, [(1, 0), (3, 1), (2, 5)], 7),
        _hash_case(1, (6, 2, 3), 40),
        _hash_case(2, (3, 12, 5), 60),
        _hash_case(3, (10, 0, 4), 50, 101),
        _hash_case(4, (2, 3, 3), 30, 13),
    ],
    general="Not the share of hash functions whose minima over the two sets agree.",
    hints=[
        "One number for each hash function and each set: the minimum of the hashed values, not of the values.",
        "`signature = [min((a * x + b) % prime for x in items) for a, b in coefficients]`; compare the two place by place and "
        "divide by the number of functions.",
    ],
)


def _minhash(s, t, coefficients, prime, mode="", pick=min):
    def sign(items):
        if mode == "before":
            return [(a * pick(items) + b) % prime for a, b in coefficients]
        return [pick((a * x + b) % prime for x in items) for a, b in coefficients]

    one, two = sign(s), sign(t)
    if mode == "exact":
        return len(s & t) / len(s | t)
    if mode == "sets":
        return len(set(one) & set(two)) / len(set(one) | set(two))
    if mode == "any":
        return len([x for x in one if x in two]) / len(one)
    hits = sum(x == y for x, y in zip(one, two, strict=True))
    if mode == "size":
        return hits / (len(s) + len(t))
    return float(hits) if mode == "count" else hits / len(one)


minhash.plant(
    {
        "That is the exact Jaccard similarity, from the sets; the estimate from signatures is wanted.": (
            lambda first, second, coefficients, prime: _minhash(first, second, coefficients, prime, "exact")
        ),
        "The smallest item decides, whatever the function: hash all items modulo the prime, then take the smallest.": lambda first, second, coefficients, prime: (
            _minhash(first, second, coefficients, prime, "before")
        ),
        "The largest value is taken; it is the smallest.": lambda first, second, coefficients, prime: _minhash(
            first, second, coefficients, prime, pick=max
        ),
        "The signatures are compared as sets; compare them place by place.": lambda first, second, coefficients, prime: (
            _minhash(first, second, coefficients, prime, "sets")
        ),
        "A minimum is looked for anywhere in the other signature; compare place by place.": (
            lambda first, second, coefficients, prime: _minhash(first, second, coefficients, prime, "any")
        ),
        "Divided by the sizes of the sets; it is the number of hash functions.": (
            lambda first, second, coefficients, prime: _minhash(first, second, coefficients, prime, "size")
        ),
        "The number of agreements is returned; the share is wanted.": lambda first, second, coefficients, prime: (
            _minhash(first, second, coefficients, prime, "count")
        ),
    }
)


def bm25(query: list[str], documents: list[list[str]], k1: float, b: float) -> list[float]:
    """The BM25 score of each document for a query, all as lists of tokens; a token that stands twice in the query counts twice.

    idf(t) = ln(1 + (N - n_t + 0.5) / (n_t + 0.5)); a document with f times t adds idf * f / (f + k1 * (1 - b + b * length /
    mean length)).
    """
    count = len(documents)
    mean = sum(map(len, documents)) / count
    within = Counter(token for document in documents for token in set(document))
    scores = []
    for document in documents:
        frequency, norm = Counter(document), k1 * (1 - b + b * len(document) / mean)
        score = 0.0
        for token in query:
            idf = math.log(1 + (count - within[token] + 0.5) / (within[token] + 0.5))
            score += idf * frequency[token] / (frequency[token] + norm)
        scores.append(score)
    return scores


def _search_cases():
    import random

    rng = random.Random(5)
    words = "a b c d e f g h".split()
    documents = [[rng.choice(words) for _ in range(rng.randint(2, 9))] for _ in range(7)]
    return [
        Case(["a"], [["a", "b"], ["b"]], 1.5, 0.75),
        Case(["a", "c"], [["a", "a", "c"], ["a", "b", "b", "b"], ["c"]], 1.2, 0.5),
        Case(["a", "b", "a", "zzz"], documents, 1.5, 0.75),
        Case(["d", "h"], documents, 0.9, 1.0),
        Case(["e"], documents, 2.0, 0.0),
    ]


ranking = Definition(
    bm25,
    title="BM25",
    level="onsite",
    minutes=12,
    topics=("A18", "+"),
    statement="""
    Score documents for a query, in the form of Lucene. A token that occurs in n of N documents has
    `idf = ln(1 + (N - n + 0.5) / (n + 0.5))`; a document in which it stands f times gets `idf * f / (f + k1 * (1 - b + b * length /
    mean length))`, summed over the tokens of the query, repeated ones as often as they stand there. A token that no document has
    adds 0. query: tokens; documents: lists of tokens. Result: a score for each document.
    """,
    cases=_search_cases,
    general="Not the sum of idf * f / (f + k1 * (1 - b + b * length / mean length)).",
    hints=[
        "Count first in how many documents each token occurs (once each). A document's length acts through the norm that is added to "
        "f below the line.",
        "`norm = k1 * (1 - b + b * len(document) / mean)`; `idf * f / (f + norm)` with `idf = math.log(1 + (N - n + 0.5) / (n + "
        "0.5))`.",
    ],
    banned=("get_scores", "retrieve"),
)


def _bm25(
    query,
    documents,
    k1,
    b,
    idf=lambda n, c: math.log(1 + (n - c + 0.5) / (c + 0.5)),
    df="documents",
    repeat=True,
    norm=None,
    top=None,
):
    n, mean = len(documents), sum(map(len, documents)) / len(documents)
    within = Counter(t for d in documents for t in (set(d) if df == "documents" else d))
    query = query if repeat else list(dict.fromkeys(query))
    out = []
    for d in documents:
        f = Counter(d)
        size = norm(k1, b, len(d), mean) if norm else k1 * (1 - b + b * len(d) / mean)
        out.append(
            sum(idf(n, within[t]) * (top(f[t], size, k1) if top else f[t] / (f[t] + size)) for t in query if f[t])
        )
    return out


ranking.plant(
    {
        sentence: lambda query, documents, k1, b, wrong=wrong: _bm25(query, documents, k1, b, **wrong)
        for sentence, wrong in {
            "idf lacks the 1 + inside the logarithm: a token in most documents would count against them.": {
                "idf": lambda n, c: math.log((n - c + 0.5) / (c + 0.5))
            },
            "idf is ln(N / n), that of tf-idf.": {"idf": lambda n, c: math.log(n / c)},
            "idf is missing: rare tokens tell more.": {"idf": lambda n, c: 1.0},
            "n counts occurrences; it counts documents.": {"df": "all"},
            "A token that stands twice in the query counts twice.": {"repeat": False},
            "The length is not used: 1 - b + b * length / mean length.": {"norm": lambda k1, b, d, m: k1},
            "The quotient of the lengths is turned: length over mean length.": {
                "norm": lambda k1, b, d, m: k1 * (1 - b + b * m / d)
            },
            "b and 1 - b are exchanged.": {"norm": lambda k1, b, d, m: k1 * (b + (1 - b) * d / m)},
            "The frequency does not saturate: it is f / (f + ...).": {"top": lambda f, size, k1: f},
            "There is a factor k1 + 1 above the line; Lucene's form has none.": {
                "top": lambda f, size, k1: f * (k1 + 1) / (f + size)
            },
        }.items()
    }
)
