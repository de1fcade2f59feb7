# %% 16.1 wrong: every bin counts the same
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    gaps = []
    for b in range(bins):
        rows = [(p, c) for p, c in zip(confidence, correct) if b / bins < p <= (b + 1) / bins or (b == 0 and p == 0)]
        if rows:
            gaps.append(abs(sum(p for p, _ in rows) / len(rows) - sum(c for _, c in rows) / len(rows)))
    return sum(gaps) / len(gaps)

# %% 16.1 wrong: the middle of the bin stands for its confidence
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    total = 0.0
    for b in range(bins):
        hits = [c for p, c in zip(confidence, correct) if b / bins < p <= (b + 1) / bins or (b == 0 and p == 0)]
        if hits:
            total += len(hits) * abs((b + 0.5) / bins - sum(hits) / len(hits))
    return total / len(confidence)

# %% 16.1 wrong: closed on the left
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    p, c = np.array(confidence), np.array(correct, dtype=float)
    place = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs(p[place == b].sum() - c[place == b].sum()) for b in range(bins)) / len(p))

# %% 16.1 wrong: no absolute value
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    return sum(confidence) / len(confidence) - sum(correct) / len(correct)

# %% 16.1 wrong: the largest gap
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    worst = 0.0
    for b in range(bins):
        rows = [(p, c) for p, c in zip(confidence, correct) if b / bins < p <= (b + 1) / bins or (b == 0 and p == 0)]
        if rows:
            worst = max(worst, abs(sum(p for p, _ in rows) - sum(c for _, c in rows)) / len(rows))
    return worst

# %% 16.1 wrong: empty bins give NaN
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    p, c = np.array(confidence), np.array(correct, dtype=float)
    place = np.clip(np.ceil(p * bins).astype(int) - 1, 0, None)
    gaps = [abs(p[place == b].mean() - c[place == b].mean()) * (place == b).mean() for b in range(bins)]
    return float(sum(gaps))

# %% 16.1 wrong: confidence 0 falls out
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    total = 0.0
    for b in range(bins):
        rows = [p - c for p, c in zip(confidence, correct) if b / bins < p <= (b + 1) / bins]
        total += abs(sum(rows))
    return total / len(confidence)

# %% 16.1 right: sums of differences in numpy
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    p, c = np.array(confidence), np.array(correct, dtype=float)
    place = np.clip(np.ceil(p * bins).astype(int) - 1, 0, None)
    return float(np.abs(np.bincount(place, p - c, minlength=bins)).sum() / len(p))

# %% 16.1 right: torch's buckets
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    p, c = torch.tensor(confidence, dtype=torch.float64), torch.tensor(correct, dtype=torch.float64)
    place = torch.bucketize(p, torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1])
    total = 0.0
    for b in place.unique():
        inside = place == b
        total += inside.double().mean() * (p[inside].mean() - c[inside].mean()).abs()
    return float(total)

# %% 16.1 right: a dict of bins
def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    from math import ceil
    groups = {}
    for p, c in zip(confidence, correct):
        groups.setdefault(max(1, ceil(p * bins)), []).append((p, c))
    n = len(confidence)
    return sum(len(g) / n * abs(sum(p for p, _ in g) / len(g) - sum(c for _, c in g) / len(g)) for g in groups.values())

# %% 16.2 wrong: multiplied instead of divided
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    grid = torch.logspace(-1.3, 1.3, 1500)
    return min(grid.tolist(), key=lambda t: torch.nn.functional.cross_entropy(logits * t, labels).item())

# %% 16.2 wrong: softmax before the cross-entropy
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    grid = torch.logspace(-1.3, 1.3, 1500)
    return min(grid.tolist(), key=lambda t: torch.nn.functional.cross_entropy((logits / t).softmax(-1), labels).item())

# %% 16.2 wrong: only above 1
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    grid = torch.logspace(0, 1.3, 1500)
    return min(grid.tolist(), key=lambda t: torch.nn.functional.cross_entropy(logits / t, labels).item())

# %% 16.2 wrong: the mean confidence is brought to the accuracy
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    accuracy = (logits.argmax(-1) == labels).float().mean()
    grid = torch.logspace(-1.3, 1.3, 1500)
    return min(grid.tolist(), key=lambda t: abs((logits / t).softmax(-1).amax(-1).mean() - accuracy).item())

# %% 16.2 wrong: a few steps of gradient descent that do not arrive
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    with torch.enable_grad():
        t = torch.ones(1, requires_grad=True)
        optimizer = torch.optim.SGD([t], lr=0.01)
        for _ in range(20):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits / t, labels).backward()
            optimizer.step()
    return t.item()

# %% 16.2 wrong: its own choices are the labels
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    grid = torch.logspace(-1.3, 1.3, 1500)
    chosen = logits.argmax(-1)
    return min(grid.tolist(), key=lambda t: torch.nn.functional.cross_entropy(logits / t, chosen).item())

# %% 16.2 wrong: log T
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    grid = torch.linspace(-3, 3, 2000)
    return min(grid.tolist(), key=lambda x: torch.nn.functional.cross_entropy(logits.double() / np.exp(x), labels).item())

# %% 16.2 right: a plain grid
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    grid = torch.logspace(-1.31, 1.31, 1500)
    return min(grid.tolist(), key=lambda t: torch.nn.functional.cross_entropy(logits.double() / t, labels).item())

# %% 16.2 right: Adam on log T
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    with torch.enable_grad():
        log_t = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.Adam([log_t], lr=0.05)
        for _ in range(400):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits / log_t.exp(), labels).backward()
            optimizer.step()
    return log_t.exp().item()

# %% 16.2 right: by hand, halving the interval
def best_temperature(logits: Tensor, labels: Tensor) -> float:
    z = logits.double()
    rows = torch.arange(len(z))

    def slope(beta):  # of the loss, by beta = 1 / T
        p = (beta * z).softmax(-1)
        return ((p * z).sum(-1) - z[rows, labels]).mean().item()

    low, high = 0.05, 20.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / low

# %% 16.3 wrong: over texts
def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    p = torch.tensor(logprobs, dtype=torch.float64).softmax(0)
    return -(p * p.clamp(min=1e-300).log()).sum().item()

# %% 16.3 wrong: counts instead of probabilities
def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    from collections import Counter
    counts = Counter(meanings)
    return float(-sum(c / len(meanings) * np.log(c / len(meanings)) for c in counts.values()))

# %% 16.3 wrong: bits
def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    p = torch.tensor(logprobs, dtype=torch.float64).softmax(0).tolist()
    sums = {}
    for m, x in zip(meanings, p):
        sums[m] = sums.get(m, 0.0) + x
    return -sum(x * np.log2(x) for x in sums.values() if x > 0)

# %% 16.3 wrong: not brought to a sum of 1
def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    sums = {}
    for m, x in zip(meanings, logprobs):
        sums[m] = sums.get(m, 0.0) + np.exp(x)
    return float(-sum(x * np.log(x) for x in sums.values() if x > 0))

# %% 16.3 wrong: exp underflows
def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    from math import exp, log
    p = [exp(x) for x in logprobs]
    sums = {}
    for m, x in zip(meanings, p):
        sums[m] = sums.get(m, 0.0) + x / sum(p)
    return -sum(x * log(x) for x in sums.values() if x > 0)

# %% 16.3 wrong: 0 log 0 is an error
def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    from math import exp, log
    top = max(logprobs)
    p = [exp(x - top) for x in logprobs]
    sums = {}
    for m, x in zip(meanings, p):
        sums[m] = sums.get(m, 0.0) + x / sum(p)
    return -sum(x * log(x) for x in sums.values())

# %% 16.3 right: softmax and a dict
def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    p = torch.tensor(logprobs, dtype=torch.float64).softmax(0).tolist()
    sums = {}
    for m, x in zip(meanings, p):
        sums[m] = sums.get(m, 0.0) + x
    return float(-sum(x * np.log(x) for x in sums.values() if x > 0))

# %% 16.3 right: a product with a matrix of meanings
def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    names = sorted(set(meanings))
    member = torch.tensor([[float(m == name) for m in meanings] for name in names], dtype=torch.float64)
    p = member @ torch.tensor(logprobs, dtype=torch.float64).softmax(0)
    return torch.special.entr(p).sum().item()

# %% 16.3 right: numpy, the largest taken off
def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    w = np.exp(np.array(logprobs) - max(logprobs))
    _, place = np.unique(meanings, return_inverse=True)
    p = np.bincount(place, w) / w.sum()
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())

# %% 16.4 wrong: answer by answer, ties parted
def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    order = np.argsort(-np.array(confidence), kind="stable")
    wrong = np.cumsum(1 - np.array(correct, dtype=float)[order])
    counts = np.arange(1, len(order) + 1)
    return (counts / len(order)).tolist(), (wrong / counts).tolist()

# %% 16.4 wrong: divided by all
def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    coverages, risks, n = [], [], len(confidence)
    for t in sorted(set(confidence), reverse=True):
        inside = [c for p, c in zip(confidence, correct) if p >= t]
        coverages.append(len(inside) / n)
        risks.append(inside.count(False) / n)
    return coverages, risks

# %% 16.4 wrong: accuracy
def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    coverages, risks, n = [], [], len(confidence)
    for t in sorted(set(confidence), reverse=True):
        inside = [c for p, c in zip(confidence, correct) if p >= t]
        coverages.append(len(inside) / n)
        risks.append(sum(inside) / len(inside))
    return coverages, risks

# %% 16.4 wrong: from the lowest threshold on
def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    coverages, risks, n = [], [], len(confidence)
    for t in sorted(set(confidence)):
        inside = [c for p, c in zip(confidence, correct) if p >= t]
        coverages.append(len(inside) / n)
        risks.append(1 - sum(inside) / len(inside))
    return coverages, risks

# %% 16.4 wrong: strictly above the threshold
def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    coverages, risks, n = [], [], len(confidence)
    for t in sorted(set(confidence), reverse=True):
        inside = [c for p, c in zip(confidence, correct) if p > t]
        coverages.append(len(inside) / n)
        risks.append(1 - sum(inside) / len(inside) if inside else 0.0)
    return coverages, risks

# %% 16.4 wrong: the list is sorted in place and loses its answers
def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    confidence.sort(reverse=True)
    coverages, risks, n = [], [], len(confidence)
    for k in range(1, n + 1):
        coverages.append(k / n)
        risks.append(1 - sum(correct[:k]) / k)
    return coverages, risks

# %% 16.4 right: sorted once
def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    pairs = sorted(zip(confidence, correct), reverse=True)
    coverages, risks, wrong, n = [], [], 0, len(pairs)
    for k, (p, c) in enumerate(pairs, 1):
        wrong += not c
        if k == n or pairs[k][0] != p:
            coverages.append(k / n)
            risks.append(wrong / k)
    return coverages, risks

# %% 16.4 right: groups of equal confidence
def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    levels = {}
    for p, c in zip(confidence, correct):
        levels.setdefault(p, []).append(bool(c))
    coverages, risks, seen, right = [], [], 0, 0
    for p in sorted(levels)[::-1]:
        seen, right = seen + len(levels[p]), right + sum(levels[p])
        coverages.append(seen / len(confidence))
        risks.append((seen - right) / seen)
    return coverages, risks

# %% 16.4 right: a table of comparisons in numpy
def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    p, c = np.array(confidence), np.array(correct, dtype=float)
    inside = p[None, :] >= np.unique(p)[::-1, None]
    return inside.mean(1).tolist(), (1 - (inside * c).sum(1) / inside.sum(1)).tolist()

# %% 16.5 wrong: nothing told means refuted
def verdict(claim, passages):
    cited = [i for i, p in enumerate(passages) if any(t[:2] == claim[:2] for t in p)]
    values = {t[2] for p in passages for t in p if t[:2] == claim[:2]}
    if values == {claim[2]}:
        return "SUPPORTS", cited
    if claim[2] in values:
        return "NOT ENOUGH INFO", cited
    return "REFUTES", cited

# %% 16.5 wrong: one supporting passage is enough
def verdict(claim, passages):
    cited = [i for i, p in enumerate(passages) if any(t[:2] == claim[:2] for t in p)]
    if any(claim in p for p in passages):
        return "SUPPORTS", cited
    return ("REFUTES" if cited else "NOT ENOUGH INFO"), cited

# %% 16.5 wrong: the relation is not looked at
def verdict(claim, passages):
    name, relation, value = claim
    cited = [i for i, p in enumerate(passages) if any(t[0] == name for t in p)]
    values = {t[2] for p in passages for t in p if t[0] == name}
    if values == {value}:
        return "SUPPORTS", cited
    if values and value not in values:
        return "REFUTES", cited
    return "NOT ENOUGH INFO", cited

# %% 16.5 wrong: only the passages that agree are cited
def verdict(claim, passages):
    cited = [i for i, p in enumerate(passages) if claim in p]
    values = {t[2] for p in passages for t in p if t[:2] == claim[:2]}
    if values == {claim[2]}:
        return "SUPPORTS", cited
    if values and claim[2] not in values:
        return "REFUTES", cited
    return "NOT ENOUGH INFO", cited

# %% 16.5 wrong: the majority decides
def verdict(claim, passages):
    told = [(i, t[2] == claim[2]) for i, p in enumerate(passages) for t in p if t[:2] == claim[:2]]
    cited = sorted({i for i, _ in told})
    votes = sum(1 if same else -1 for _, same in told)
    return ("SUPPORTS" if votes > 0 else "REFUTES" if votes < 0 else "NOT ENOUGH INFO"), cited

# %% 16.5 wrong: it stops at the first passage
def verdict(claim, passages):
    for i, p in enumerate(passages):
        for t in p:
            if t[:2] == claim[:2]:
                return ("SUPPORTS" if t[2] == claim[2] else "REFUTES"), [i]
    return "NOT ENOUGH INFO", []

# %% 16.5 wrong: the label alone
def verdict(claim, passages):
    values = {t[2] for p in passages for t in p if t[:2] == claim[:2]}
    if values == {claim[2]}:
        return "SUPPORTS"
    return "REFUTES" if values and claim[2] not in values else "NOT ENOUGH INFO"

# %% 16.5 right: two flags
def verdict(claim, passages):
    name, relation, value = claim
    agree = differ = False
    cited = []
    for i, p in enumerate(passages):
        for n, r, v in p:
            if n == name and r == relation:
                agree, differ = agree or v == value, differ or v != value
                if i not in cited:
                    cited.append(i)
    if agree and not differ:
        return "SUPPORTS", cited
    if differ and not agree:
        return "REFUTES", cited
    return "NOT ENOUGH INFO", cited

# %% 16.5 right: values by passage
def verdict(claim, passages):
    told = {i: {t[2] for t in p if t[:2] == claim[:2]} for i, p in enumerate(passages)}
    told = {i: values for i, values in told.items() if values}
    values = set().union(*told.values()) if told else set()
    label = "NOT ENOUGH INFO"
    if values and claim[2] not in values:
        label = "REFUTES"
    elif len(values) == 1:
        label = "SUPPORTS"
    return label, list(told)

# %% 16.5 right: a tuple of label and list, by counting
def verdict(claim, passages):
    rows = [(i, t) for i, p in enumerate(passages) for t in p if (t[0], t[1]) == (claim[0], claim[1])]
    same = sum(t == claim for _, t in rows)
    cited = sorted(set(i for i, _ in rows))
    if rows and same == len(rows):
        return ("SUPPORTS", cited)
    if rows and same == 0:
        return ("REFUTES", cited)
    return ("NOT ENOUGH INFO", cited)
