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

# %% psi wrong: shares are smoothed by adding one
def population_stability_index(reference, current, edges):
    def shares(v):
        n = len(edges) + 1
        c = [1] * n
        for x in v:
            c[sum(x >= e for e in edges)] += 1
        return [k / (len(v) + n) for k in c]
    return sum((q - p) * math.log(q / p) for p, q in zip(shares(reference), shares(current)))

# %% psi wrong: the absolute difference
def population_stability_index(reference, current, edges):
    def shares(v):
        return [max(sum(sum(x >= e for e in edges) == i for x in v) / len(v), 1e-4) for i in range(len(edges) + 1)]
    return sum(abs(q - p) * math.log(q / p) for p, q in zip(shares(reference), shares(current)))

# %% psi wrong: shares made to sum to 1 again after the floor
def population_stability_index(reference, current, edges):
    def shares(v):
        s = [max(sum(sum(x >= e for e in edges) == i for x in v) / len(v), 1e-4) for i in range(len(edges) + 1)]
        return [x / sum(s) for x in s]
    return sum((q - p) * math.log(q / p) for p, q in zip(shares(reference), shares(current)))

# %% psi wrong: cumulative shares
def population_stability_index(reference, current, edges):
    def shares(v):
        return [max(sum(x < e for x in v) / len(v), 1e-4) for e in edges] + [1.0]
    return sum((q - p) * math.log(q / p) for p, q in zip(shares(reference), shares(current)))

# %% psi wrong: the mean over the bins
def population_stability_index(reference, current, edges):
    def shares(v):
        return [max(sum(sum(x >= e for e in edges) == i for x in v) / len(v), 1e-4) for i in range(len(edges) + 1)]
    both = list(zip(shares(reference), shares(current)))
    return sum((q - p) * math.log(q / p) for p, q in both) / len(both)

# %% psi right: bisect
def population_stability_index(reference, current, edges):
    import bisect
    def shares(v):
        c = Counter(bisect.bisect_right(edges, x) for x in v)
        return [max(c[i] / len(v), 1e-4) for i in range(len(edges) + 1)]
    total = 0.0
    for p, q in zip(shares(reference), shares(current)):
        total += q * math.log(q / p) + p * math.log(p / q)
    return total

# %% psi right: borders with infinities
def population_stability_index(reference, current, edges):
    borders = [-math.inf, *edges, math.inf]
    psi = 0.0
    for low, high in zip(borders, borders[1:]):
        p = max(sum(low <= x < high for x in reference) / len(reference), 0.0001)
        q = max(sum(low <= x < high for x in current) / len(current), 0.0001)
        psi += (q - p) * (math.log(q) - math.log(p))
    return psi

# %% adwin_shrink wrong: only the middle split is looked at
def adwin_shrink(window, delta):
    w = list(window)
    while len(w) > 1:
        n = len(w)
        h = n // 2
        mu = sum(w) / n
        v, d = sum((x - mu) ** 2 for x in w) / n, math.log(2 * n / delta)
        m = 1 / (1 / h + 1 / (n - h))
        if abs(sum(w[:h]) / h - sum(w[h:]) / (n - h)) < math.sqrt(2 / m * v * d) + 2 / (3 * m) * d:
            break
        w.pop(0)
    return w

# %% adwin_shrink wrong: the variance of the newer part
def adwin_shrink(window, delta):
    w = list(window)
    def differs(w):
        n = len(w)
        d = math.log(2 * n / delta)
        for h in range(1, n):
            a, b = sum(w[:h]) / h, sum(w[h:]) / (n - h)
            v = sum((x - b) ** 2 for x in w[h:]) / (n - h)
            m = 1 / (1 / h + 1 / (n - h))
            if abs(a - b) >= math.sqrt(2 / m * v * d) + 2 / (3 * m) * d:
                return True
        return False
    while len(w) > 1 and differs(w):
        w.pop(0)
    return w

# %% adwin_shrink wrong: in place
def adwin_shrink(window, delta):
    w = window
    def differs(w):
        n, mu = len(w), sum(w) / len(w)
        v, d = sum((x - mu) ** 2 for x in w) / n, math.log(2 * n / delta)
        for h in range(1, n):
            m = 1 / (1 / h + 1 / (n - h))
            if abs(sum(w[:h]) / h - sum(w[h:]) / (n - h)) >= math.sqrt(2 / m * v * d) + 2 / (3 * m) * d:
                return True
        return False
    while len(w) > 1 and differs(w):
        w.pop(0)
    return w

# %% adwin_shrink wrong: halves the window
def adwin_shrink(window, delta):
    w = list(window)
    def differs(w):
        n, mu = len(w), sum(w) / len(w)
        v, d = sum((x - mu) ** 2 for x in w) / n, math.log(2 * n / delta)
        for h in range(1, n):
            m = 1 / (1 / h + 1 / (n - h))
            if abs(sum(w[:h]) / h - sum(w[h:]) / (n - h)) >= math.sqrt(2 / m * v * d) + 2 / (3 * m) * d:
                return True
        return False
    while len(w) > 1 and differs(w):
        w = w[len(w) // 2 :]
    return w

# %% adwin_shrink right: any over splits
def adwin_shrink(window, delta):
    def differs(w):
        n, mu = len(w), sum(w) / len(w)
        v, d = sum((x - mu) ** 2 for x in w) / n, math.log(2 * n / delta)
        def split(h):
            m = h * (n - h) / n
            gap = abs(sum(w[:h]) / h - sum(w[h:]) / (n - h))
            return gap >= math.sqrt(2 * v * d / m) + 2 * d / (3 * m)
        return any(split(h) for h in range(1, n))
    w = list(window)
    while differs(w):
        w = w[1:]
    return w

# %% adwin_shrink right: with torch, from the start on
def adwin_shrink(window, delta):
    for start in range(len(window)):
        w = torch.tensor(window[start:], dtype=torch.float64)
        n = len(w)
        h = torch.arange(1, n, dtype=torch.float64)
        sums = w.cumsum(0)[:-1]
        gap = (sums / h - (w.sum() - sums) / (n - h)).abs()
        m = 1 / (1 / h + 1 / (n - h))
        d = math.log(2 * n / delta)
        if not (gap >= (2 / m * w.var(unbiased=False) * d).sqrt() + 2 / (3 * m) * d).any():
            return window[start:]
    return []
