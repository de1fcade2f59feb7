# %% minhash_similarity wrong: one function for both signatures, another for each set
def minhash_similarity(first, second, coefficients, prime):
    one = [min((a * x + b) % prime for x in first) for a, b in coefficients]
    two = [min((a * x + b) % prime for x in second) for a, b in coefficients[::-1]]
    return sum(x == y for x, y in zip(one, two)) / len(one)

# %% minhash_similarity wrong: b is added after the remainder
def minhash_similarity(first, second, coefficients, prime):
    def sig(s):
        return [min(a * x % prime for x in s) + b for a, b in coefficients]
    return sum(x == y for x, y in zip(sig(first), sig(second))) / len(coefficients)

# %% minhash_similarity wrong: counts hashed values in common
def minhash_similarity(first, second, coefficients, prime):
    total = 0.0
    for a, b in coefficients:
        x, y = {(a * v + b) % prime for v in first}, {(a * v + b) % prime for v in second}
        total += len(x & y) / len(x | y)
    return total / len(coefficients)

# %% minhash_similarity wrong: an average of the minima's distance
def minhash_similarity(first, second, coefficients, prime):
    d = 0
    for a, b in coefficients:
        d += abs(min((a * x + b) % prime for x in first) - min((a * x + b) % prime for x in second))
    return 1 - d / prime / len(coefficients)

# %% minhash_similarity right: from the union
def minhash_similarity(first, second, coefficients, prime):
    hits, both = 0, first & second
    for a, b in coefficients:
        low = min((a * x + b) % prime for x in first | second)
        hits += any((a * x + b) % prime == low for x in first) and any((a * x + b) % prime == low for x in second)
    return hits / len(coefficients)

# %% minhash_similarity right: a loop over items
def minhash_similarity(first, second, coefficients, prime):
    n = len(coefficients)
    sigs = []
    for items in (first, second):
        sig = [prime] * n
        for x in items:
            for i, (a, b) in enumerate(coefficients):
                sig[i] = min(sig[i], (a * x + b) % prime)
        sigs.append(sig)
    return sum(sigs[0][i] == sigs[1][i] for i in range(n)) / n

# %% bm25 wrong: the median length
def bm25(query, documents, k1, b):
    N, mid = len(documents), sorted(map(len, documents))[len(documents) // 2]
    out = []
    for d in documents:
        s = 0.0
        for t in query:
            n, f = sum(t in x for x in documents), d.count(t)
            s += math.log(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * len(d) / mid))
        out.append(s)
    return out

# %% bm25 wrong: the number of different tokens as length
def bm25(query, documents, k1, b):
    N, mean = len(documents), sum(len(set(d)) for d in documents) / len(documents)
    out = []
    for d in documents:
        s = 0.0
        for t in query:
            n, f = sum(t in x for x in documents), d.count(t)
            s += math.log(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * len(set(d)) / mean))
        out.append(s)
    return out

# %% bm25 wrong: base ten
def bm25(query, documents, k1, b):
    N, mean = len(documents), sum(map(len, documents)) / len(documents)
    out = []
    for d in documents:
        s = 0.0
        for t in query:
            n, f = sum(t in x for x in documents), d.count(t)
            s += math.log10(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * len(d) / mean))
        out.append(s)
    return out

# %% bm25 wrong: presence instead of frequency
def bm25(query, documents, k1, b):
    N, mean = len(documents), sum(map(len, documents)) / len(documents)
    out = []
    for d in documents:
        s = 0.0
        for t in query:
            n, f = sum(t in x for x in documents), int(t in d)
            s += math.log(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * len(d) / mean))
        out.append(s)
    return out

# %% bm25 right: by tokens
def bm25(query, documents, k1, b):
    N = len(documents)
    mean = sum(len(d) for d in documents) / N
    scores = [0.0] * N
    for t, times in Counter(query).items():
        n = sum(1 for d in documents if t in d)
        idf = math.log1p((N - n + 0.5) / (n + 0.5))
        for i, d in enumerate(documents):
            f = d.count(t)
            if f:
                scores[i] += times * idf * f / (f + k1 * (1 - b + b * len(d) / mean))
    return scores

# %% bm25 right: the other form of the quotient
def bm25(query, documents, k1, b):
    N, mean, out = len(documents), sum(map(len, documents)) / len(documents), []
    for d in documents:
        c = Counter(d)
        def part(t):
            n = sum(t in x for x in documents)
            if not c[t]:
                return 0.0
            return math.log((N + 1) / (n + 0.5)) / (1 + k1 * (1 - b + b * len(d) / mean) / c[t])
        out.append(math.fsum(part(t) for t in query))
    return out
