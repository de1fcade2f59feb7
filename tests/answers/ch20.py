# %% 20.1 wrong: only the divergence of the window from the reference
def psi(reference: list[float], window: list[float], floor: float = 1e-4) -> float:
    p = [max(n / sum(reference), floor) for n in reference]
    q = [max(n / sum(window), floor) for n in window]
    return sum(b * np.log(b / a) for a, b in zip(p, q))

# %% 20.1 wrong: counts in place of shares
def psi(reference: list[float], window: list[float], floor: float = 1e-4) -> float:
    p, q = np.maximum(reference, floor), np.maximum(window, floor)
    return float(((q - p) * np.log(q / p)).sum())

# %% 20.1 wrong: empty bins are skipped
def psi(reference: list[float], window: list[float], floor: float = 1e-4) -> float:
    total = 0.0
    for n, m in zip(reference, window):
        p, q = n / sum(reference), m / sum(window)
        if p > 0 and q > 0:
            total += (q - p) * np.log(q / p)
    return total

# %% 20.1 wrong: the floor is added
def psi(reference: list[float], window: list[float], floor: float = 1e-4) -> float:
    p = np.array(reference) / sum(reference) + floor
    q = np.array(window) / sum(window) + floor
    return float(np.sum((q - p) * np.log(q / p)))

# %% 20.1 wrong: the logarithm to the base 2
def psi(reference: list[float], window: list[float], floor: float = 1e-4) -> float:
    p = np.maximum(np.array(reference) / sum(reference), floor)
    q = np.maximum(np.array(window) / sum(window), floor)
    return float(np.sum((q - p) * np.log2(q / p)))

# %% 20.1 wrong: the sum is not taken
def psi(reference: list[float], window: list[float], floor: float = 1e-4) -> float:
    p = np.maximum(np.array(reference) / sum(reference), floor)
    q = np.maximum(np.array(window) / sum(window), floor)
    return (q - p) * np.log(q / p)

# %% 20.1 right: a loop
def psi(reference: list[float], window: list[float], floor: float = 1e-4) -> float:
    total = 0.0
    for n, m in zip(reference, window, strict=True):
        p, q = max(n / sum(reference), floor), max(m / sum(window), floor)
        total += (p - q) * (np.log(p) - np.log(q))
    return total

# %% 20.1 right: both divergences, added
def psi(reference: list[float], window: list[float], floor: float = 1e-4) -> float:
    def kl(p, q):
        return float(np.sum(p * np.log(p / q)))

    p = np.clip(np.array(reference) / np.sum(reference), floor, None)
    q = np.clip(np.array(window) / np.sum(window), floor, None)
    return kl(p, q) + kl(q, p)

# %% 20.1 right: numpy, and a numpy number returned
def psi(reference: list[float], window: list[float], floor: float = 1e-4) -> float:
    p, q = (np.maximum(np.divide(table, np.sum(table)), floor) for table in (reference, window))
    return np.dot(q - p, np.log(q / p))

# %% 20.2 wrong: without the absolute value
def ks_statistic(a: list[float], b: list[float]) -> float:
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    return float((np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).max())

# %% 20.2 wrong: only at the values of a
def ks_statistic(a: list[float], b: list[float]) -> float:
    return max(abs(sum(y <= x for y in a) / len(a) - sum(y <= x for y in b) / len(b)) for x in a)

# %% 20.2 wrong: steps of a tie one after the other
def ks_statistic(a: list[float], b: list[float]) -> float:
    steps = sorted([(x, 0) for x in a] + [(x, 1) for x in b])
    fa = fb = best = 0
    for x, which in steps:
        if which == 0:
            fa += 1 / len(a)
        else:
            fb += 1 / len(b)
        best = max(best, abs(fa - fb))
    return best

# %% 20.2 wrong: the means
def ks_statistic(a: list[float], b: list[float]) -> float:
    return abs(np.mean(a) - np.mean(b))

# %% 20.2 wrong: not sorted
def ks_statistic(a: list[float], b: list[float]) -> float:
    at = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).max())

# %% 20.2 wrong: the mean distance
def ks_statistic(a: list[float], b: list[float]) -> float:
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).mean())

# %% 20.2 right: shares of truth values
def ks_statistic(a: list[float], b: list[float]) -> float:
    a, b = np.array(a), np.array(b)
    return max(abs((a <= x).mean() - (b <= x).mean()) for x in np.concatenate([a, b]))

# %% 20.2 right: one step after the other, but ties together
def ks_statistic(a: list[float], b: list[float]) -> float:
    fa = fb = best = 0.0
    for x in sorted(set(a) | set(b)):
        fa += sum(y == x for y in a) / len(a)
        fb += sum(y == x for y in b) / len(b)
        best = max(best, abs(fa - fb))
    return best

# %% 20.2 right: a table by broadcasting
def ks_statistic(a: list[float], b: list[float]) -> float:
    at = np.unique(np.r_[a, b])
    shares = [(np.asarray(x)[:, None] <= at).mean(0) for x in (a, b)]
    return np.abs(shares[0] - shares[1]).max()

# %% 20.3 wrong: it may fall below 0
def cusum(values: list[float], target: float, slack: float) -> list[float]:
    return list(np.cumsum(np.array(values) - target - slack))

# %% 20.3 wrong: each part is cut at 0
def cusum(values: list[float], target: float, slack: float) -> list[float]:
    path, level = [], 0.0
    for value in values:
        level += max(0.0, value - target - slack)
        path.append(level)
    return path

# %% 20.3 wrong: the slack is added
def cusum(values: list[float], target: float, slack: float) -> list[float]:
    path, level = [], 0.0
    for value in values:
        level = max(0.0, level + value - target + slack)
        path.append(level)
    return path

# %% 20.3 wrong: the 0 of the start is returned too
def cusum(values: list[float], target: float, slack: float) -> list[float]:
    path = [0.0]
    for value in values:
        path.append(max(0.0, path[-1] + value - target - slack))
    return path

# %% 20.3 wrong: only the end is returned
def cusum(values: list[float], target: float, slack: float) -> list[float]:
    level = 0.0
    for value in values:
        level = max(0.0, level + value - target - slack)
    return level

# %% 20.3 wrong: the slack is forgotten
def cusum(values: list[float], target: float, slack: float) -> list[float]:
    path, level = [], 0.0
    for value in values:
        level = max(0.0, level + (value - target))
        path.append(level)
    return path

# %% 20.3 right: a loop
def cusum(values: list[float], target: float, slack: float) -> list[float]:
    path = []
    for value in values:
        before = path[-1] if path else 0.0
        path.append(max(before + value - (target + slack), 0.0))
    return path

# %% 20.3 right: the plain sum above its lowest level
def cusum(values: list[float], target: float, slack: float) -> list[float]:
    total, lowest, path = 0.0, 0.0, []
    for value in values:
        total += value - target - slack
        lowest = min(lowest, total)
        path.append(total - lowest)
    return path

# %% 20.3 right: a condition in place of max
def cusum(values: list[float], target: float, slack: float) -> list[float]:
    levels = np.zeros(len(values))
    level = 0.0
    for i, value in enumerate(values):
        level += value - target - slack
        if level < 0:
            level = 0.0
        levels[i] = level
    return levels

# %% 20.4 wrong: the likeliest p in place of the average
def e_values(passes: list[int], p0: float) -> list[float]:
    path = []
    for n in range(1, len(passes) + 1):
        s = sum(passes[:n])
        p = s / n
        best = (s * log(p) if s else 0) + ((n - s) * log(1 - p) if n - s else 0)
        path.append(best - s * log(p0) - (n - s) * log(1 - p0))
    return path

# %% 20.4 wrong: the factorial of n, not of n + 1
def e_values(passes: list[int], p0: float) -> list[float]:
    path = []
    for n in range(1, len(passes) + 1):
        s = sum(passes[:n])
        f = n - s
        path.append(lgamma(s + 1) + lgamma(f + 1) - lgamma(n + 1) - s * log(p0) - f * log(1 - p0))
    return path

# %% 20.4 wrong: lgamma is taken for the factorial
def e_values(passes: list[int], p0: float) -> list[float]:
    path, s, f = [], 0, 0
    for passed in passes:
        s += passed
        f += 1 - passed
        top = (lgamma(s) if s else 0) + (lgamma(f) if f else 0)
        path.append(top - lgamma(s + f + 1) - s * log(p0) - f * log(1 - p0))
    return path

# %% 20.4 wrong: factorials that overflow
def e_values(passes: list[int], p0: float) -> list[float]:
    from math import factorial

    path, s, f = [], 0, 0
    for passed in passes:
        s, f = s + passed, f + 1 - passed
        path.append(log(factorial(s) * factorial(f) / factorial(s + f + 1) / (p0**s * (1 - p0) ** f)))
    return path

# %% 20.4 wrong: not the logarithm
def e_values(passes: list[int], p0: float) -> list[float]:
    path, s, f = [], 0, 0
    for passed in passes:
        s, f = s + passed, f + 1 - passed
        path.append(np.exp(lgamma(s + 1) + lgamma(f + 1) - lgamma(s + f + 2) - s * log(p0) - f * log(1 - p0)))
    return path

# %% 20.4 wrong: only the last one
def e_values(passes: list[int], p0: float) -> list[float]:
    s = sum(passes)
    f = len(passes) - s
    return [lgamma(s + 1) + lgamma(f + 1) - lgamma(s + f + 2) - s * log(p0) - f * log(1 - p0)]

# %% 20.4 right: as in the text
def e_values(passes: list[int], p0: float) -> list[float]:
    path, s, f = [], 0, 0
    for passed in passes:
        if passed:
            s += 1
        else:
            f += 1
        path.append(lgamma(s + 1) + lgamma(f + 1) - lgamma(s + f + 2) - s * log(p0) - f * log(1 - p0))
    return path

# %% 20.4 right: one prediction after the other
def e_values(passes: list[int], p0: float) -> list[float]:
    path, level, s = [], 0.0, 0
    for n, passed in enumerate(passes):
        chance = (s + 1) / (n + 2)
        level += log(chance / p0) if passed else log((1 - chance) / (1 - p0))
        s += passed
        path.append(level)
    return path

# %% 20.4 right: sums of logarithms, without lgamma
def e_values(passes: list[int], p0: float) -> list[float]:
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, len(passes) + 2)))])
    s = np.cumsum(passes).astype(int)
    f = np.arange(1, len(passes) + 1) - s
    return logs[s] + logs[f] - logs[s + f + 1] - s * log(p0) - f * log(1 - p0)

# %% 20.5 wrong: the plain share
def ips_share(thumbs: list[int | None], propensity: dict[int, float]) -> float:
    clicked = [thumb for thumb in thumbs if thumb is not None]
    return sum(clicked) / len(clicked)

# %% 20.5 wrong: multiplied in place of divided
def ips_share(thumbs: list[int | None], propensity: dict[int, float]) -> float:
    up = thumbs.count(1) * propensity[1]
    down = thumbs.count(0) * propensity[0]
    return up / (up + down)

# %% 20.5 wrong: divided by the number of requests
def ips_share(thumbs: list[int | None], propensity: dict[int, float]) -> float:
    return sum(1 / propensity[1] for thumb in thumbs if thumb == 1) / len(thumbs)

# %% 20.5 wrong: None is falsy, so it becomes a thumb down
def ips_share(thumbs: list[int | None], propensity: dict[int, float]) -> float:
    up = sum(1 / propensity[1] for thumb in thumbs if thumb)
    down = sum(1 / propensity[0] for thumb in thumbs if not thumb)
    return up / (up + down)

# %% 20.5 wrong: propensities exchanged
def ips_share(thumbs: list[int | None], propensity: dict[int, float]) -> float:
    up, down = thumbs.count(1) / propensity[0], thumbs.count(0) / propensity[1]
    return up / (up + down)

# %% 20.5 wrong: divided by the number of clicks
def ips_share(thumbs: list[int | None], propensity: dict[int, float]) -> float:
    clicked = [thumb for thumb in thumbs if thumb is not None]
    return sum(thumb / propensity[thumb] for thumb in clicked) / len(clicked)

# %% 20.5 right: counts
def ips_share(thumbs: list[int | None], propensity: dict[int, float]) -> float:
    up, down = thumbs.count(1) / propensity[1], thumbs.count(0) / propensity[0]
    return up / (up + down)

# %% 20.5 right: a loop
def ips_share(thumbs: list[int | None], propensity: dict[int, float]) -> float:
    up = total = 0.0
    for thumb in thumbs:
        if thumb is None:
            continue
        weight = 1 / propensity[thumb]
        total += weight
        if thumb == 1:
            up += weight
    return up / total

# %% 20.5 right: a weighted mean
def ips_share(thumbs: list[int | None], propensity: dict[int, float]) -> float:
    clicked = [thumb for thumb in thumbs if thumb is not None]
    return np.average(clicked, weights=[1 / propensity[thumb] for thumb in clicked])
