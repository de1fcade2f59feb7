# %% 17.1 wrong: Bonferroni
def holm_adjusted(p_values: list[float]) -> list[float]:
    return [min(1.0, p * len(p_values)) for p in p_values]

# %% 17.1 wrong: not put back into the order given
def holm_adjusted(p_values: list[float]) -> list[float]:
    m, top, out = len(p_values), 0.0, []
    for i, p in enumerate(sorted(p_values)):
        top = max(top, min(1.0, (m - i) * p))
        out.append(top)
    return out

# %% 17.1 wrong: no running maximum
def holm_adjusted(p_values: list[float]) -> list[float]:
    m = len(p_values)
    out = [0.0] * m
    for k, i in enumerate(np.argsort(p_values)):
        out[i] = min(1.0, p_values[i] * (m - k))
    return out

# %% 17.1 wrong: not cut at 1
def holm_adjusted(p_values: list[float]) -> list[float]:
    p = np.array(p_values)
    order = np.argsort(p, kind="stable")
    out = np.zeros(len(p))
    out[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return out.tolist()

# %% 17.1 wrong: m / rank, which is Benjamini and Hochberg
def holm_adjusted(p_values: list[float]) -> list[float]:
    p = np.array(p_values)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    out = np.zeros(len(p))
    out[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return out.tolist()

# %% 17.1 wrong: the factors rise
def holm_adjusted(p_values: list[float]) -> list[float]:
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    out, top = [0.0] * len(p_values), 0.0
    for k, i in enumerate(order):
        top = max(top, min(1.0, (k + 1) * p_values[i]))
        out[i] = top
    return out

# %% 17.1 right: numpy
def holm_adjusted(p_values: list[float]) -> list[float]:
    p = np.array(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    out = np.empty(len(p))
    out[order] = np.clip(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 0, 1)
    return out

# %% 17.1 right: by definition, a maximum over all smaller ones
def holm_adjusted(p_values: list[float]) -> list[float]:
    ranked = sorted(p_values)
    steps = [min(1.0, (len(ranked) - k) * p) for k, p in enumerate(ranked)]
    return [max(s for s, q in zip(steps, ranked) if q <= p) for p in p_values]

# %% 17.1 right: torch
def holm_adjusted(p_values: list[float]) -> list[float]:
    p, order = torch.tensor(p_values, dtype=torch.float64).sort(stable=True)
    steps = (p * torch.arange(len(p), 0, -1)).cummax(0).values.clamp(max=1)
    out = torch.empty_like(steps)
    out[order] = steps
    return out.tolist()

# %% 17.2 wrong: only the true positive rates
def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    rates = []
    for g in set(group):
        mine = [c for y, c, h in zip(deserve, chosen, group) if h == g and y == 1]
        if not mine:
            return None
        rates.append(sum(mine) / len(mine))
    return max(rates) - min(rates)

# %% 17.2 wrong: demographic parity
def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    rates = [np.mean([c for c, h in zip(chosen, group) if h == g]) for g in set(group)]
    return float(max(rates) - min(rates))

# %% 17.2 wrong: an empty group has the rate 0
def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    gaps = []
    for y in (0, 1):
        rates = []
        for g in set(group):
            mine = [c for t, c, h in zip(deserve, chosen, group) if h == g and t == y]
            rates.append(sum(mine) / len(mine) if mine else 0.0)
        gaps.append(max(rates) - min(rates))
    return max(gaps)

# %% 17.2 wrong: the mean of the gaps
def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    gaps = []
    for y in (0, 1):
        rates = []
        for g in set(group):
            mine = [c for t, c, h in zip(deserve, chosen, group) if h == g and t == y]
            if not mine:
                return None
            rates.append(sum(mine) / len(mine))
        gaps.append(max(rates) - min(rates))
    return sum(gaps) / 2

# %% 17.2 wrong: empty groups are left out
def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    gaps = []
    for y in (0, 1):
        rates = []
        for g in set(group):
            mine = [c for t, c, h in zip(deserve, chosen, group) if h == g and t == y]
            if mine:
                rates.append(sum(mine) / len(mine))
        gaps.append(max(rates) - min(rates))
    return max(gaps)

# %% 17.2 wrong: NaN for an empty group
def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    y, c, g = np.array(deserve), np.array(chosen), np.array(group)
    gaps = []
    for label in (0, 1):
        rates = [c[(g == n) & (y == label)].sum() / np.float64(((g == n) & (y == label)).sum()) for n in set(group)]
        gaps.append(max(rates) - min(rates))
    return float(max(gaps))

# %% 17.2 right: counts first
def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    total = Counter(zip(group, deserve))
    yes = Counter((g, y) for g, y, c in zip(group, deserve, chosen) if c)
    names = set(group)
    if any(total[g, y] == 0 for g in names for y in (0, 1)):
        return None
    rates = {y: [yes[g, y] / total[g, y] for g in names] for y in (0, 1)}
    return max(max(r) - min(r) for r in rates.values())

# %% 17.2 right: numpy masks
def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    y, c, g = np.array(deserve), np.array(chosen), np.array(group)
    worst = 0.0
    for label in (0, 1):
        cells = [c[(g == name) & (y == label)] for name in np.unique(g)]
        if min(len(cell) for cell in cells) == 0:
            return None
        means = [cell.mean() for cell in cells]
        worst = max(worst, max(means) - min(means))
    return worst

# %% 17.2 right: all pairs of groups
def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    def rate(name, label):
        mine = [c for y, c, g in zip(deserve, chosen, group) if g == name and y == label]
        return sum(mine) / len(mine) if mine else None

    names = sorted(set(group))
    if None in [rate(n, y) for n in names for y in (0, 1)]:
        return None
    return max(abs(rate(a, y) - rate(b, y)) for a in names for b in names for y in (0, 1))

# %% 17.3 wrong: one after the other
def counterfactual(text: str) -> str:
    return text.replace("herself", "himself").replace("himself", "herself").replace("She", "He").replace("He", "She")

# %% 17.3 wrong: one direction
def counterfactual(text: str) -> str:
    table = {"She": "He", "she": "he", "Her": "His", "her": "him", "Herself": "Himself", "herself": "himself"}
    return re.sub(r"\b\w+\b", lambda m: table.get(m.group(), m.group()), text)

# %% 17.3 wrong: split at spaces
def counterfactual(text: str) -> str:
    table = {"She": "He", "she": "he", "Her": "His", "her": "him", "Herself": "Himself", "herself": "himself"}
    table = table | {v: k for k, v in table.items()}
    return " ".join(table.get(w, w) for w in text.split(" "))

# %% 17.3 wrong: inside words
def counterfactual(text: str) -> str:
    table = {"herself": "himself", "himself": "herself", "she": "he", "he": "she", "She": "He", "He": "She"}
    return re.sub("herself|himself|she|he|She|He", lambda m: table[m.group()], text)

# %% 17.3 wrong: her becomes his
def counterfactual(text: str) -> str:
    table = {"She": "He", "she": "he", "Her": "His", "her": "his", "Herself": "Himself", "herself": "himself"}
    table = {**{v: k for k, v in table.items()}, "him": "her", **table}
    return re.sub(r"\w+", lambda m: table.get(m.group(), m.group()), text)

# %% 17.3 wrong: the case is lost
def counterfactual(text: str) -> str:
    table = {"she": "he", "he": "she", "her": "him", "him": "her", "his": "her"}
    table |= {"herself": "himself", "himself": "herself"}
    return re.sub(r"\w+", lambda m: table.get(m.group().lower(), m.group()), text)

# %% 17.3 right: a pattern of the twelve words
def counterfactual(text: str) -> str:
    pairs = [("She", "He"), ("she", "he"), ("Her", "His"), ("her", "him"), ("Herself", "Himself"), ("herself", "himself")]
    table = dict(pairs) | {b: a for a, b in pairs}
    return re.sub(r"\b(" + "|".join(table) + r")\b", lambda m: table[m.group()], text)

# %% 17.3 right: split with the marks kept
def counterfactual(text: str) -> str:
    she, he = "She she Her her Herself herself".split(), "He he His him Himself himself".split()
    table = dict(zip(she + he, he + she))
    return "".join(table.get(part, part) for part in re.split(r"(\W+)", text))

# %% 17.3 right: placeholders
def counterfactual(text: str) -> str:
    she, he = "She she Her her Herself herself".split(), "He he His him Himself himself".split()
    for i, word in enumerate(she + he):
        text = re.sub(rf"\b{word}\b", f"\0{i}\0", text)
    for i, word in enumerate(he + she):
        text = text.replace(f"\0{i}\0", word)
    return text

# %% 17.4 wrong: errors are counted
def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    options = [float("inf"), *sorted(set(scores), reverse=True)]
    return min(options, key=lambda t: sum((s >= t) != h for s, h in zip(scores, harmful)))

# %% 17.4 wrong: infinity is not tried
def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    def cost(t):
        return sum(miss * (h and s < t) + false_alarm * (not h and s >= t) for s, h in zip(scores, harmful))

    return min(sorted(set(scores), reverse=True), key=cost)

# %% 17.4 wrong: above, not at
def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    def cost(t):
        return sum(miss * (h and s <= t) + false_alarm * (not h and s > t) for s, h in zip(scores, harmful))

    return min([float("inf"), *sorted(set(scores), reverse=True)], key=cost)

# %% 17.4 wrong: the costs exchanged
def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    def cost(t):
        return sum(false_alarm * (h and s < t) + miss * (not h and s >= t) for s, h in zip(scores, harmful))

    return min([float("inf"), *sorted(set(scores), reverse=True)], key=cost)

# %% 17.4 wrong: the lowest of equal thresholds
def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    def cost(t):
        return sum(miss * (h and s < t) + false_alarm * (not h and s >= t) for s, h in zip(scores, harmful))

    return min([*sorted(set(scores)), float("inf")], key=cost)

# %% 17.4 wrong: the ratio of the costs, as if scores were probabilities
def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    return false_alarm / (miss + false_alarm)

# %% 17.4 right: a function of cost
def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    def cost(t):
        return sum(miss * (h and s < t) + false_alarm * (not h and s >= t) for s, h in zip(scores, harmful))

    return min([float("inf"), *sorted(set(scores), reverse=True)], key=cost)

# %% 17.4 right: numpy
def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    s, y = np.array(scores), np.array(harmful, dtype=bool)
    options = np.array([np.inf, *sorted(set(scores), reverse=True)])
    missed = ((s[None] < options[:, None]) & y).sum(1)
    blocked = ((s[None] >= options[:, None]) & ~y).sum(1)
    return options[np.argmin(miss * missed + false_alarm * blocked)]

# %% 17.4 right: going down, with running counts
def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    cost = miss * sum(harmful)
    best, lowest = float("inf"), cost
    for t in sorted(set(scores), reverse=True):
        for s, h in zip(scores, harmful):
            if s == t:
                cost += -miss if h else false_alarm
        if cost < lowest:
            best, lowest = t, cost
    return best

# %% 17.5 wrong: the secret is not counted
def secret_exposure(secret: float, others: list[float]) -> float:
    rank = 1 + sum(o >= secret for o in others)
    return float(np.log2(len(others)) - np.log2(rank))

# %% 17.5 wrong: natural logarithms
def secret_exposure(secret: float, others: list[float]) -> float:
    rank = 1 + sum(o >= secret for o in others)
    return float(np.log(len(others) + 1) - np.log(rank))

# %% 17.5 wrong: ties for the secret
def secret_exposure(secret: float, others: list[float]) -> float:
    rank = 1 + sum(o > secret for o in others)
    return float(np.log2(len(others) + 1) - np.log2(rank))

# %% 17.5 wrong: ranked from the least likely
def secret_exposure(secret: float, others: list[float]) -> float:
    rank = 1 + sum(o <= secret for o in others)
    return float(np.log2(len(others) + 1) - np.log2(rank))

# %% 17.5 wrong: the rank alone
def secret_exposure(secret: float, others: list[float]) -> float:
    return float(np.log2(1 + sum(o >= secret for o in others)))

# %% 17.5 right: numpy
def secret_exposure(secret: float, others: list[float]) -> float:
    return np.log2((len(others) + 1) / (1 + np.sum(np.array(others) >= secret)))

# %% 17.5 right: the share that is at least as likely
def secret_exposure(secret: float, others: list[float]) -> float:
    everybody = [secret, *others]
    return float(-np.log2(np.mean([o >= secret for o in everybody])))

# %% 17.5 right: torch
def secret_exposure(secret: float, others: list[float]) -> float:
    every = torch.tensor([secret, *others], dtype=torch.float64)
    rank = (every >= every[0]).sum()
    return (torch.log2(torch.tensor(float(len(every)), dtype=torch.float64)) - torch.log2(rank.double())).item()

