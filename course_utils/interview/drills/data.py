"""Drills on data: near-duplicates by MinHash, retrieval by BM25, drift by PSI and ADWIN."""

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


def population_stability_index(reference: list[float], current: list[float], edges: list[float]) -> float:
    """PSI of two samples over bins: the sum of (q - p) ln(q / p), with p and q the shares of reference and current in a bin.

    edges: inner borders, rising; bin i holds what is at or above edges[i - 1] and below edges[i], the outer bins are open. A
    share below 0.0001 counts as 0.0001.
    """

    def shares(values: list[float]) -> list[float]:
        counts = Counter(sum(value >= edge for edge in edges) for value in values)
        return [max(counts[i] / len(values), 1e-4) for i in range(len(edges) + 1)]

    return sum((q - p) * math.log(q / p) for p, q in zip(shares(reference), shares(current), strict=True))


def _drift_cases():
    import random

    rng = random.Random(2)
    old, new = [rng.gauss(0, 1) for _ in range(60)], [rng.gauss(0.7, 1.3) for _ in range(40)]
    return [
        Case([0.0, 1.0], [1.0, 1.0], [0.5]),
        Case([0.1, 0.2, 0.6, 0.9], [0.2, 0.7, 0.8, 0.9, 0.95], [0.5, 0.85]),
        Case(old, new, [-1.0, 0.0, 1.0], note="60 and 40 numbers, edges -1, 0, 1"),
        Case(old, [x + 9 for x in new], [-1.0, 0.0, 1.0], note="60 numbers, and 40 far away, edges -1, 0, 1"),
        Case([1.0, 2.0, 3.0], [2.0, 2.0, 3.0, 0.0], [1.0, 2.0, 3.0]),
    ]


stability = Definition(
    population_stability_index,
    name="psi",
    title="Population stability index (PSI)",
    level="screen",
    minutes=6,
    topics=("A22", "L5"),
    statement="""
    Has a feature drifted? Sort both samples into the same bins and compare the shares: `PSI = sum over bins of (q - p) ln(q / p)`, p of
    the reference, q of the current sample. `edges` are the inner borders: a value on a border belongs to the bin above it, the first
    and the last bin are open. So that nothing is infinite, a share below 0.0001 counts as 0.0001 (and nothing is divided anew).
    Result: a float.
    """,
    cases=_drift_cases,
    general="Not the sum of (q - p) ln(q / p) over the bins, with shares of at least 0.0001.",
    rtol=1e-6,
    atol=1e-9,
    hints=[
        "The bin of a value is the number of edges at or below it. Each sample is divided by its own size.",
        "`shares = [max(count / len(values), 1e-4) for ...]`; `sum((q - p) * math.log(q / p) for p, q in zip(old, new))`.",
    ],
)


def _psi(
    ref,
    cur,
    edges,
    term=lambda p, q: (q - p) * math.log(q / p),
    own=True,
    upper=True,
    floor=1e-4,
    outer=True,
    empty="floor",
):
    def shares(values):
        places = [sum(v >= e if upper else v > e for e in edges) for v in values]
        size = len(values) if own else len(ref)
        return [places.count(i) / size for i in range(len(edges) + 1)]

    pairs = list(zip(shares(ref), shares(cur), strict=True))
    pairs = pairs if outer else pairs[1:-1] or pairs
    if empty == "skip":
        pairs = [(p, q) for p, q in pairs if p and q]
    return sum(term(max(p, floor), max(q, floor)) for p, q in pairs)


stability.plant(
    {
        sentence: lambda reference, current, edges, wrong=wrong: _psi(reference, current, edges, **wrong)
        for sentence, wrong in {
            "That is KL(current || reference) alone; PSI adds both directions: (q - p) ln(q / p).": {
                "term": lambda p, q: q * math.log(q / p)
            },
            "That is KL(reference || current) alone; PSI adds both directions: (q - p) ln(q / p).": {
                "term": lambda p, q: p * math.log(p / q)
            },
            "Both samples are divided by the size of the reference; each has its own.": {"own": False},
            "A value on a border falls into the bin below; it belongs to the one above.": {"upper": False},
            "Bins that are empty in one sample are left out; they tell most. Shares of at least 0.0001.": {
                "empty": "skip"
            },
            "The floor is 0.0001; another one was used.": {"floor": 1e-6},
            "The open bins at both ends are left out.": {"outer": False},
            "The logarithm to base 2; it is the natural one.": {"term": lambda p, q: (q - p) * math.log2(q / p)},
            "The logarithm is missing: that is a squared distance.": {"term": lambda p, q: (q - p) ** 2},
        }.items()
    }
)


def adwin_shrink(window: list[float], delta: float) -> list[float]:
    """The window after ADWIN has dropped what is old: while some split shows two means that differ, the oldest value goes.

    For a split into n0 older and n1 newer values of a window of n: m = 1 / (1 / n0 + 1 / n1), d = ln(2 n / delta), v the
    variance of the whole window (divided by n), bound = sqrt(2 / m * v * d) + 2 / (3 m) * d. The means differ if their distance
    is at least the bound. A new list.
    """
    kept = list(window)
    while len(kept) > 1 and _differs(kept, delta):
        kept = kept[1:]
    return kept


def _differs(window: list[float], delta: float) -> bool:
    n, total = len(window), sum(window)
    mean = total / n
    variance = sum((x - mean) ** 2 for x in window) / n
    d, older = math.log(2 * n / delta), 0.0
    for n0 in range(1, n):
        older += window[n0 - 1]
        n1 = n - n0
        m = 1 / (1 / n0 + 1 / n1)
        bound = math.sqrt(2 / m * variance * d) + 2 / (3 * m) * d
        if abs(older / n0 - (total - older) / n1) >= bound:
            return True
    return False


def _window_cases():
    import random

    rng = random.Random(4)

    def stretch(n, mean):
        return [float(rng.random() < mean) for _ in range(n)]

    return [
        Case([0.0] * 15 + [1.0] * 16, 0.9, note="15 zeros, then 16 ones, delta 0.9"),
        Case(stretch(60, 0.5), 0.05, note="60 answers of one kind, delta 0.05"),
        Case(stretch(50, 0.9) + stretch(50, 0.2), 0.05, note="50 answers right in 90 %, then 50 in 20 %, delta 0.05"),
        Case(stretch(40, 0.1) + stretch(60, 0.95), 0.3, note="40 answers right in 10 %, then 60 in 95 %, delta 0.3"),
        Case(stretch(80, 1.0) + stretch(18, 0.0), 0.9, note="80 right answers, then 18 wrong ones, delta 0.9"),
        Case([4 * x for x in stretch(30, 0.2)] + [4.0] * 30, 0.1, note="30 scores of 0 and 4, then 30 of 4, delta 0.1"),
        Case(
            stretch(40, 0.0) + stretch(30, 1.0) + stretch(40, 0.0), 0.5, note="40 zeros, 30 ones, 40 zeros, delta 0.5"
        ),
        Case([3.0], 0.5),
    ]


adaptive = Definition(
    adwin_shrink,
    new=True,
    title="ADWIN, without its buckets",
    level="staff",
    minutes=15,
    topics=("A22", "L5"),
    statement="""
    ADWIN (Bifet and Gavaldà, 2007) keeps a window of recent values that grows while nothing changes and loses its old end when it does.
    Look at all splits into n0 older and n1 newer values. With `m = 1 / (1/n0 + 1/n1)`, `d = ln(2 n / delta)` and v the variance of the
    whole window (divided by n), the means differ if their distance is at least `sqrt(2 / m * v * d) + 2 / (3 m) * d`. While any split
    differs, drop the oldest value and look again (n and v change). Real libraries do the same on buckets, to be fast.
    Result: the window that is left, a new list.
    """,
    cases=_window_cases,
    general="Not the window without its oldest values, dropped one by one while any split differs.",
    atol=0.0,
    rtol=0.0,
    hints=[
        "Two loops: over splits, with a running sum of the older part; around it one that drops a value as long as a split is found.",
        "`bound = math.sqrt(2 / m * v * d) + 2 / (3 * m) * d`; `while len(kept) > 1 and differs(kept): kept = kept[1:]`.",
    ],
    seconds=20.0,
)


def _adwin(
    window,
    delta,
    drop="one",
    harmonic=True,
    var="all",
    small=True,
    log=lambda n, x: math.log(2 * n / x),
    sign=0,
    root=True,
    refresh=True,
):
    kept = list(window)
    first_n = len(kept)
    while len(kept) > 1:
        n, mean = len(kept), sum(kept) / len(kept)
        v = sum((x - mean) ** 2 for x in kept) / (n - 1 if var == "n - 1" else n)
        v = 0.25 if var == "worst" else v
        d, cut = log(n if refresh else first_n, delta), None
        for n0 in range(1, n):
            n1 = n - n0
            m = 1 / (1 / n0 + 1 / n1) if harmonic else n
            bound = (math.sqrt(2 / m * v * d) if root else 2 / m * v * d) + (2 / (3 * m) * d if small else 0)
            gap = sum(kept[n0:]) / n1 - sum(kept[:n0]) / n0
            if (abs(gap) if not sign else sign * gap) >= bound:
                cut = n0
                break
        if cut is None:
            return kept
        if drop == "new":
            kept = kept[:-1]
        else:
            kept = kept[cut:] if drop == "all" else kept[1:]
        if drop == "once":
            return kept
    return kept


adaptive.plant(
    {
        sentence: lambda window, delta, wrong=wrong: _adwin(window, delta, **wrong)
        for sentence, wrong in {
            "The whole older part goes at once; the oldest value goes, and the splits are looked at again.": {
                "drop": "all"
            },
            "Only one value is dropped; go on while any split differs.": {"drop": "once"},
            "The newest value is dropped; the oldest goes.": {"drop": "new"},
            "m is the size of the window; it is 1 / (1 / n0 + 1 / n1), which is small where one part is.": {
                "harmonic": False
            },
            "The second part of the bound is missing: 2 / (3 m) * d.": {"small": False},
            "n is missing inside the logarithm: many splits are looked at, and each must be judged more strictly.": {
                "log": lambda n, x: math.log(2 / x)
            },
            "Only a rise is noticed; take the distance of the means.": {"sign": 1},
            "Only a fall is noticed; take the distance of the means.": {"sign": -1},
            "The root is missing in the first part of the bound.": {"root": False},
        }.items()
    }
    | {
        "Nothing is ever dropped.": lambda window, delta: list(window),
        "The answer tells that there is a change; the window that is left is wanted.": lambda window, delta: (
            _adwin(window, delta) != list(window)
        ),
    }
)
