# %% pass_at_k wrong: with replacement, from the wrong share
def pass_at_k(n, right, k):
    return 1 - ((n - right) / n) ** k

# %% pass_at_k wrong: one draw too few
def pass_at_k(n, right, k):
    miss = 1.0
    for i in range(k - 1):
        miss *= max(n - right - i, 0) / (n - i)
    return 1 - miss

# %% pass_at_k wrong: integer division
def pass_at_k(n, right, k):
    return float(1 - math.comb(n - right, k) // math.comb(n, k))

# %% pass_at_k wrong: the denominators do not shrink
def pass_at_k(n, right, k):
    miss = 1.0
    for i in range(k):
        miss *= max(n - right - i, 0) / n
    return 1 - miss

# %% pass_at_k right: comb
def pass_at_k(n, right, k):
    return 1 - math.comb(n - right, k) / math.comb(n, k)

# %% pass_at_k right: the product of the paper
def pass_at_k(n, right, k):
    if right > n - k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - right + 1, n + 1))

# %% self_consistency wrong: blanks inside are removed too
def self_consistency(answers):
    votes = Counter("".join(a.split()).lower()[:1] for a in answers if a is not None)
    return votes.most_common(1)[0][0] if votes else None

# %% self_consistency wrong: more than half is needed
def self_consistency(answers):
    votes = Counter(a.strip().lower() for a in answers if a is not None)
    best = max(votes, key=votes.get, default=None)
    return best if best is not None and votes[best] > len(answers) / 2 else None

# %% self_consistency wrong: through a set
def self_consistency(answers):
    clean = [a.strip().lower() for a in answers if a]
    return max(sorted(set(clean)), key=clean.count, default=None)

# %% self_consistency wrong: the median
def self_consistency(answers):
    clean = sorted(a.strip().lower() for a in answers if a is not None)
    return clean[len(clean) // 2] if clean else None

# %% self_consistency right: most_common
def self_consistency(answers):
    votes = Counter(a.strip().lower() for a in answers if a is not None)
    return votes.most_common(1)[0][0] if votes else None

# %% self_consistency right: a dictionary by hand
def self_consistency(answers):
    count, best = {}, None
    for a in answers:
        if a is not None:
            key = a.lower().strip()
            count[key] = count.get(key, 0) + 1
    for key, n in count.items():
        if best is None or n > count[best]:
            best = key
    return best

# %% perplexity wrong: mean of probabilities
def perplexity(logits, input_ids, attention_mask):
    p = logits[:, :-1].softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    m = attention_mask[:, 1:]
    return float(1 / ((p * m).sum() / m.sum()))

# %% perplexity wrong: exp of each token, then the mean
def perplexity(logits, input_ids, attention_mask):
    lp = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    m = attention_mask[:, 1:]
    return float(((-lp).exp() * m).sum() / m.sum())

# %% perplexity wrong: the sum, not the mean
def perplexity(logits, input_ids, attention_mask):
    lp = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    return float((-(lp * attention_mask[:, 1:]).sum()).exp())

# %% perplexity wrong: softmax over time
def perplexity(logits, input_ids, attention_mask):
    lp = logits[:, :-1].log_softmax(1).gather(-1, input_ids[:, 1:, None])[..., 0]
    m = attention_mask[:, 1:]
    return float((-(lp * m).sum() / m.sum()).exp())

# %% perplexity wrong: the sign
def perplexity(logits, input_ids, attention_mask):
    lp = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    m = attention_mask[:, 1:]
    return float(((lp * m).sum() / m.sum()).exp())

# %% perplexity right: cross_entropy with ignored labels
def perplexity(logits, input_ids, attention_mask):
    labels = input_ids.masked_fill(attention_mask == 0, -100)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()).exp().item()

# %% perplexity right: row by row
def perplexity(logits, input_ids, attention_mask):
    total, n = 0.0, 0
    for x, ids, m in zip(logits, input_ids, attention_mask):
        for t in range(1, int(m.sum())):
            total += float(torch.logsumexp(x[t - 1], 0) - x[t - 1, ids[t]])
            n += 1
    return math.exp(total / n)

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

# %% ece wrong: divided by the number of bins
def expected_calibration_error(confidences, right, bins):
    e = 0.0
    for b in range(bins):
        m = [i for i, c in enumerate(confidences) if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)]
        if m:
            e += abs(sum(confidences[i] - right[i] for i in m)) / len(m)
    return e / bins

# %% ece wrong: a confidence of 0 is lost
def expected_calibration_error(confidences, right, bins):
    e = 0.0
    for b in range(bins):
        m = [i for i, c in enumerate(confidences) if b / bins < c <= (b + 1) / bins]
        e += abs(sum(confidences[i] - right[i] for i in m))
    return e / len(confidences)

# %% ece wrong: absolute value inside the sum
def expected_calibration_error(confidences, right, bins):
    return sum(abs(c - r) for c, r in zip(confidences, right)) / len(confidences)

# %% ece wrong: fixed ten bins
def expected_calibration_error(confidences, right, bins):
    e = 0.0
    for b in range(10):
        m = [i for i, c in enumerate(confidences) if b / 10 < c <= (b + 1) / 10 or (b == 0 and c == 0)]
        e += abs(sum(confidences[i] - right[i] for i in m))
    return e / len(confidences)

# %% ece right: sums of differences
def expected_calibration_error(confidences, right, bins):
    gaps = [0.0] * bins
    for c, r in zip(confidences, right):
        gaps[max(0, math.ceil(c * bins) - 1)] += c - float(r)
    return sum(map(abs, gaps)) / len(confidences)

# %% ece right: with torch
def expected_calibration_error(confidences, right, bins):
    c, r = torch.tensor(confidences, dtype=torch.float64), torch.tensor(right, dtype=torch.float64)
    place = torch.bucketize(c, torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1])
    gap = torch.zeros(bins, dtype=torch.float64).index_add(0, place, c - r)
    return float(gap.abs().sum() / len(c))

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
