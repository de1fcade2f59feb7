# %% mcnemar wrong: all questions are throws
def mcnemar(first, second):
    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    n, k = len(first), min(b, c)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)

# %% mcnemar wrong: the upper tail of the smaller count
def mcnemar(first, second):
    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    n, k = b + c, min(b, c)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k, n + 1)) / 2**n)

# %% mcnemar wrong: one point of the distribution
def mcnemar(first, second):
    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    return min(1.0, 2 * math.comb(b + c, min(b, c)) / 2 ** (b + c))

# %% mcnemar wrong: a sign test of one side only
def mcnemar(first, second):
    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    n = b + c
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(b + 1)) / 2**n)

# %% mcnemar right: the larger count's upper tail
def mcnemar(first, second):
    d = [int(x) - int(y) for x, y in zip(first, second) if bool(x) != bool(y)]
    n, k = len(d), max(d.count(1), d.count(-1))
    return min(1.0, sum(math.comb(n, i) for i in range(k, n + 1)) * 2 / 2**n)

# %% mcnemar right: probabilities no larger than the observed one
def mcnemar(first, second):
    b = sum(1 for x, y in zip(first, second) if x and not y)
    c = sum(1 for x, y in zip(first, second) if y and not x)
    n = b + c
    seen = math.comb(n, b)
    return sum(math.comb(n, i) for i in range(n + 1) if math.comb(n, i) <= seen) / 2**n

# %% bootstrap_interval wrong: the second system is not resampled
def bootstrap_interval(first, second, draws, level):
    m = first[draws].mean(1) - second.mean()
    lo, hi = torch.quantile(m, torch.tensor([(1 - level) / 2, (1 + level) / 2])).tolist()
    return lo, hi

# %% bootstrap_interval wrong: the absolute difference
def bootstrap_interval(first, second, draws, level):
    m = (first - second).abs()[draws].mean(1)
    lo, hi = torch.quantile(m, torch.tensor([(1 - level) / 2, (1 + level) / 2])).tolist()
    return lo, hi

# %% bootstrap_interval wrong: the basic interval, mirrored
def bootstrap_interval(first, second, draws, level):
    d = first - second
    m = d[draws].mean(1)
    lo, hi = torch.quantile(m, torch.tensor([(1 - level) / 2, (1 + level) / 2])).tolist()
    return 2 * d.mean().item() - hi, 2 * d.mean().item() - lo

# %% bootstrap_interval wrong: not interpolated
def bootstrap_interval(first, second, draws, level):
    m = sorted((first - second)[draws].mean(1).tolist())
    return m[int((1 - level) / 2 * len(m))], m[min(int((1 + level) / 2 * len(m)), len(m) - 1)]

# %% bootstrap_interval wrong: quantiles of the scores
def bootstrap_interval(first, second, draws, level):
    d = (first - second)[draws].flatten()
    lo, hi = torch.quantile(d, torch.tensor([(1 - level) / 2, (1 + level) / 2])).tolist()
    return lo, hi

# %% bootstrap_interval right: both are indexed
def bootstrap_interval(first, second, draws, level):
    m = first[draws].mean(dim=1) - second[draws].mean(dim=1)
    tail = (1 - level) / 2
    return float(m.quantile(tail)), float(m.quantile(1 - tail))

# %% bootstrap_interval right: sorted by hand
def bootstrap_interval(first, second, draws, level):
    d = (first - second).tolist()
    m = sorted(sum(d[i] for i in row) / len(row) for row in draws.tolist())
    def at(q):
        x = q * (len(m) - 1)
        i = int(x)
        return m[i] + (x - i) * (m[min(i + 1, len(m) - 1)] - m[i])
    return at((1 - level) / 2), at((1 + level) / 2)

# %% cohen_kappa wrong: chance from the product of the most frequent
def cohen_kappa(first, second):
    n = len(first)
    o = sum(a == b for a, b in zip(first, second)) / n
    e = max(Counter(first).values()) * max(Counter(second).values()) / n**2
    return 1.0 if e == 1 else (o - e) / (1 - e)

# %% cohen_kappa wrong: divided by n once
def cohen_kappa(first, second):
    n = len(first)
    o = sum(a == b for a, b in zip(first, second)) / n
    x, y = Counter(first), Counter(second)
    e = min(sum(x[k] * y[k] for k in x) / n, 0.99)
    return 1.0 if e == 1 else (o - e) / (1 - e)

# %% cohen_kappa wrong: never below 0
def cohen_kappa(first, second):
    n = len(first)
    o = sum(a == b for a, b in zip(first, second)) / n
    x, y = Counter(first), Counter(second)
    e = sum(x[k] * y[k] for k in x) / n**2
    return 1.0 if e == 1 else max(0.0, (o - e) / (1 - e))

# %% cohen_kappa wrong: labels pair by pair in sorted order
def cohen_kappa(first, second):
    n = len(first)
    o = sum(a == b for a, b in zip(first, second)) / n
    e = sum(p * q for p, q in zip(sorted(Counter(first).values()), sorted(Counter(second).values()))) / n**2
    return 1.0 if e == 1 else (o - e) / (1 - e)

# %% cohen_kappa right: a table
def cohen_kappa(first, second):
    labels = sorted(set(first) | set(second))
    t = [[sum(a == x and b == y for a, b in zip(first, second)) for y in labels] for x in labels]
    n = len(first)
    o = sum(t[i][i] for i in range(len(labels))) / n
    e = sum(sum(t[i]) * sum(row[i] for row in t) for i in range(len(labels))) / n / n
    return (o - e) / (1 - e) if e < 1 else 1.0

# %% cohen_kappa right: disagreements
def cohen_kappa(first, second):
    n = len(first)
    seen = sum(a != b for a, b in zip(first, second)) / n
    expected = sum(a != b for a in first for b in second) / n**2
    return 1 - seen / expected if expected else 1.0
