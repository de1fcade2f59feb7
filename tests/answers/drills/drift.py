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
