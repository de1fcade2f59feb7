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
