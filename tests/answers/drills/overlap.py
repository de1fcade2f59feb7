# %% bleu wrong: brevity of each pair
def bleu(hypotheses, references):
    logs = 0
    for n in range(1, 5):
        hit = total = 0
        for h, r in zip(hypotheses, references):
            a = Counter(zip(*[h[i:] for i in range(n)]))
            b = Counter(zip(*[r[i:] for i in range(n)]))
            hit += sum((a & b).values()); total += sum(a.values())
        if not hit:
            return 0.0
        logs += math.log(hit / total) / 4
    bp = sum(min(1, math.exp(1 - len(r) / len(h))) for h, r in zip(hypotheses, references)) / len(hypotheses)
    return bp * math.exp(logs)

# %% bleu wrong: n-grams as sets
def bleu(hypotheses, references):
    logs = 0
    for n in range(1, 5):
        hit = total = 0
        for h, r in zip(hypotheses, references):
            a, b = set(zip(*[h[i:] for i in range(n)])), set(zip(*[r[i:] for i in range(n)]))
            hit += len(a & b); total += len(a)
        if not hit:
            return 0.0
        logs += math.log(hit / total) / 4
    c, r = sum(map(len, hypotheses)), sum(map(len, references))
    return min(1, math.exp(1 - r / c)) * math.exp(logs)

# %% bleu wrong: weights by n
def bleu(hypotheses, references):
    logs = 0
    for n in range(1, 5):
        hit = total = 0
        for h, r in zip(hypotheses, references):
            a = Counter(zip(*[h[i:] for i in range(n)]))
            b = Counter(zip(*[r[i:] for i in range(n)]))
            hit += sum((a & b).values()); total += sum(a.values())
        if not hit:
            return 0.0
        logs += n * math.log(hit / total) / 10
    c, r = sum(map(len, hypotheses)), sum(map(len, references))
    return min(1, math.exp(1 - r / c)) * math.exp(logs)

# %% bleu wrong: zero precisions are skipped
def bleu(hypotheses, references):
    logs = []
    for n in range(1, 5):
        hit = total = 0
        for h, r in zip(hypotheses, references):
            a = Counter(zip(*[h[i:] for i in range(n)]))
            b = Counter(zip(*[r[i:] for i in range(n)]))
            hit += sum((a & b).values()); total += sum(a.values())
        if hit:
            logs.append(math.log(hit / total))
    c, r = sum(map(len, hypotheses)), sum(map(len, references))
    return min(1, math.exp(1 - r / c)) * math.exp(sum(logs) / max(len(logs), 1)) if logs else 0.0

# %% bleu right: zip for n-grams
def bleu(hypotheses, references):
    product = 1.0
    for n in range(1, 5):
        hit, total = 0, 0
        for h, r in zip(hypotheses, references):
            left = Counter(zip(*(r[i:] for i in range(n))))
            for gram in zip(*(h[i:] for i in range(n))):
                total += 1
                if left[gram] > 0:
                    left[gram] -= 1
                    hit += 1
        product *= hit / total if total else 0.0
    c = sum(len(h) for h in hypotheses)
    r = sum(len(x) for x in references)
    penalty = 1.0 if c >= r else math.exp(1 - r / c)
    return penalty * product**0.25

# %% bleu right: strings as keys
def bleu(hypotheses, references):
    def grams(t, n):
        return Counter("\x00".join(t[i : i + n]) for i in range(len(t) + 1 - n))
    p = []
    for n in (1, 2, 3, 4):
        pairs = [(grams(h, n), grams(r, n)) for h, r in zip(hypotheses, references)]
        total = sum(sum(a.values()) for a, _ in pairs)
        p.append(sum(min(k, b[g]) for a, b in pairs for g, k in a.items()) / total if total else 0)
    if 0 in p:
        return 0.0
    lengths = [sum(map(len, x)) for x in (hypotheses, references)]
    return math.exp(sum(math.log(x) for x in p) / 4 + min(0.0, 1 - lengths[1] / lengths[0]))

# %% rouge_l wrong: greedy matching
def rouge_l(hypothesis, reference):
    at = n = 0
    for w in hypothesis:
        if w in reference[at:]:
            at = reference.index(w, at) + 1
            n += 1
    return 2 * n / (len(hypothesis) + len(reference)) if n else 0.0

# %% rouge_l wrong: the diagonal is taken after it was overwritten
def rouge_l(hypothesis, reference):
    row = [0] * (len(reference) + 1)
    for a in hypothesis:
        for j, b in enumerate(reference, 1):
            row[j] = row[j - 1] + 1 if a == b else max(row[j], row[j - 1])
    n = row[-1]
    return 2 * n / (len(hypothesis) + len(reference)) if n else 0.0

# %% rouge_l wrong: common prefix
def rouge_l(hypothesis, reference):
    n = 0
    for a, b in zip(hypothesis, reference):
        if a != b:
            break
        n += 1
    return 2 * n / (len(hypothesis) + len(reference)) if n else 0.0

# %% rouge_l wrong: recursion without memory
def rouge_l(hypothesis, reference):
    def lcs(i, j):
        if i == len(hypothesis) or j == len(reference):
            return 0
        if hypothesis[i] == reference[j]:
            return 1 + lcs(i + 1, j + 1)
        return max(lcs(i + 1, j), lcs(i, j + 1))
    n = lcs(0, 0)
    return 2 * n / (len(hypothesis) + len(reference)) if n else 0.0

# %% rouge_l right: a whole table
def rouge_l(hypothesis, reference):
    m, n = len(hypothesis), len(reference)
    t = [[0] * (n + 1) for _ in range(m + 1)]
    for i in range(m):
        for j in range(n):
            t[i + 1][j + 1] = t[i][j] + 1 if hypothesis[i] == reference[j] else max(t[i][j + 1], t[i + 1][j])
    if not t[m][n]:
        return 0.0
    p, r = t[m][n] / m, t[m][n] / n
    return 2 * p * r / (p + r)

# %% rouge_l right: increasing subsequences
def rouge_l(hypothesis, reference):
    import bisect
    places = {}
    for j, w in enumerate(reference):
        places.setdefault(w, []).append(j)
    ends = []
    for w in hypothesis:
        for j in reversed(places.get(w, [])):
            k = bisect.bisect_left(ends, j)
            ends[k : k + 1] = [j]
    n = len(ends)
    return 2 * n / (len(hypothesis) + len(reference)) if n else 0.0
