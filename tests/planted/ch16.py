"""Bugs of chapter 16 that its checks do not list, and other right answers."""

from __future__ import annotations

import math
from collections import defaultdict

import torch
import torch.nn.functional as F


def error_over_all_bins(confidence, correct, bins):
    gaps = []
    for number in range(bins):
        inside = [i for i, p in enumerate(confidence) if number / bins < p <= (number + 1) / bins]
        said = sum(confidence[i] for i in inside) / max(len(inside), 1)
        right = sum(correct[i] for i in inside) / max(len(inside), 1)
        gaps.append(abs(said - right))
    return sum(gaps) / bins


def error_root(confidence, correct, bins):
    return error_by_tensor(confidence, correct, bins) ** 0.5


def error_of_rounded(confidence, correct, bins):
    return error_by_sums([round(p, 1) for p in confidence], correct, bins)


def error_by_sums(confidence, correct, bins):
    sums = defaultdict(float)
    for p, right in zip(confidence, correct, strict=True):
        sums[max(0, math.ceil(p * bins) - 1)] += p - right
    return sum(map(abs, sums.values())) / len(confidence)


def error_by_tensor(confidence, correct, bins):
    p, right = torch.tensor(confidence).double(), torch.tensor(correct).double()
    place = torch.bucketize(p, torch.arange(1, bins).double() / bins, right=False)
    gaps = torch.zeros(bins).double().index_add(0, place, p - right)
    return gaps.abs().sum() / len(p)


def temperature_of_deviation(logits, labels):
    return logits.std().item()


def temperature_coarse(logits, labels):
    tried = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    return min(tried, key=lambda t: F.cross_entropy(logits / t, labels).item())


def temperature_fixed_range(logits, labels):
    tried = torch.linspace(0.5, 5, 400).tolist()
    return min(tried, key=lambda t: F.cross_entropy(logits / t, labels).item())


def temperature_by_newton(logits, labels):
    z, beta = logits.double(), torch.ones((), dtype=torch.float64)  # beta = 1 / T: the loss is convex in it
    target = z.gather(1, labels[:, None])[:, 0]
    for _ in range(100):
        p = (beta * z).softmax(-1)
        mean = (p * z).sum(-1)
        slope, curve = (mean - target).mean(), ((p * z * z).sum(-1) - mean**2).mean()
        beta = (beta - slope / curve).clamp(min=beta / 2, max=beta * 2)
    return (1 / beta).item()


def temperature_by_lbfgs(logits, labels):
    with torch.enable_grad():
        log_t = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.LBFGS([log_t], lr=0.1, max_iter=500)

        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(logits / log_t.exp(), labels)
            loss.backward()
            return loss

        optimizer.step(closure)
    return log_t.exp().item()


def entropy_of_counts(meanings, logprobs):
    shares = [meanings.count(m) / len(meanings) for m in set(meanings)]
    return -sum(p * math.log(p) for p in shares)


def entropy_of_means(meanings, logprobs):
    by = defaultdict(list)
    for m, lp in zip(meanings, logprobs, strict=True):
        by[m].append(math.exp(lp))
    means = [sum(v) / len(v) for v in by.values()]
    return -sum(p / sum(means) * math.log(p / sum(means)) for p in means)


def entropy_in_place(meanings, logprobs):
    top = max(logprobs)
    for i in range(len(logprobs)):
        logprobs[i] = logprobs[i] - top
    return entropy_by_tensor(meanings, logprobs)


def entropy_by_tensor(meanings, logprobs):
    names = sorted(set(meanings))
    p = torch.tensor(logprobs).double().softmax(0)
    shares = torch.stack([p[[i for i, m in enumerate(meanings) if m == name]].sum() for name in names])
    return torch.special.entr(shares).sum()


def entropy_by_logs(meanings, logprobs):
    lp = torch.tensor(logprobs, dtype=torch.float64).log_softmax(0)
    total = 0.0
    for name in set(meanings):
        log_p = lp[torch.tensor([m == name for m in meanings])].logsumexp(0)
        total -= (log_p.exp() * log_p).item() if log_p > -700 else 0.0
    return total


def curve_with_an_empty_start(confidence, correct):
    coverages, risks = curve_by_sort(confidence, correct)
    return [0.0, *coverages], [0.0, *risks]


def curve_rounded(confidence, correct):
    coverages, risks = curve_by_sort(confidence, correct)
    return [round(c, 1) for c in coverages], [round(r, 1) for r in risks]


def curve_points(confidence, correct):
    return list(zip(*curve_by_sort(confidence, correct), strict=True))


def curve_by_sort(confidence, correct):
    pairs = sorted(zip(confidence, correct, strict=True), key=lambda pair: -pair[0])
    coverages, risks, wrong = [], [], 0
    for n, (p, right) in enumerate(pairs, 1):
        wrong += 1 - right
        if n == len(pairs) or pairs[n][0] < p:
            coverages.append(n / len(pairs))
            risks.append(wrong / n)
    return coverages, risks


def curve_by_tensor(confidence, correct):
    p, right = torch.tensor(confidence).double(), torch.tensor(correct).double()
    inside = (p >= p.unique().flip(0)[:, None]).double()
    return inside.mean(1).tolist(), (1 - inside @ right / inside.sum(1)).tolist()


def verdict_by_majority(claim, passages):
    told = [(i, s[2]) for i, passage in enumerate(passages) for s in passage if s[:2] == claim[:2]]
    votes = sum(1 if v == claim[2] else -1 for _, v in told)
    label = "SUPPORTS" if votes > 0 else "REFUTES" if votes < 0 else "NOT ENOUGH INFO"
    return label, sorted({i for i, _ in told})


def verdict_last_wins(claim, passages):
    told = {i: s[2] for i, passage in enumerate(passages) for s in passage if s[:2] == claim[:2]}
    if not told:
        return "NOT ENOUGH INFO", []
    return ("SUPPORTS" if told[max(told)] == claim[2] else "REFUTES"), sorted(told)


def verdict_lower_case(claim, passages):
    label, cited = verdict_by_sets(claim, passages)
    return label.lower(), cited


def verdict_by_sets(claim, passages):
    agree = {i for i, passage in enumerate(passages) if claim in passage}
    differ = {i for i, passage in enumerate(passages) for s in passage if s[:2] == claim[:2] and s[2] != claim[2]}
    label = "NOT ENOUGH INFO" if bool(agree) == bool(differ) else "SUPPORTS" if agree else "REFUTES"
    return label, sorted(agree | differ)


def verdict_by_any(claim, passages):
    told = [[s[2] for s in passage if s[0] == claim[0] and s[1] == claim[1]] for passage in passages]
    flat = [value for values in told for value in values]
    cited = [number for number, values in enumerate(told) if values]
    if flat and all(value == claim[2] for value in flat):
        return ("SUPPORTS", cited)
    if flat and not any(value == claim[2] for value in flat):
        return ("REFUTES", cited)
    return ("NOT ENOUGH INFO", cited)


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "16.1": {
        error_over_all_bins: "Every bin counts alike in yours",
        error_root: "Not the mean over the bins of |mean confidence - share that is right|",
        error_of_rounded: "Not the mean over the bins of |mean confidence - share that is right|",
    },
    "16.2": {
        temperature_of_deviation: "Not the T for which the cross-entropy",
        temperature_coarse: "Not the T for which the cross-entropy",
        temperature_fixed_range: "T may be below 1, too.",
    },
    "16.3": {
        entropy_of_counts: "Every text counts alike",
        entropy_of_means: "Not -sum p log p over the meanings",
        entropy_in_place: "Your code changes its input `logprobs` in place.",
    },
    "16.4": {
        curve_with_an_empty_start: "Not, for each threshold,",
        curve_rounded: "Not, for each threshold,",
        curve_points: "Two lists are wanted: `return coverages, risks`.",
    },
    "16.5": {
        verdict_by_majority: "Passages that contradict each other",
        verdict_last_wins: "Passages that contradict each other",
        verdict_lower_case: "The labels are SUPPORTS, REFUTES and NOT ENOUGH INFO, in capitals.",
    },
}
RIGHT = {
    "16.1": [error_by_sums, error_by_tensor],
    "16.2": [temperature_by_newton, temperature_by_lbfgs],
    "16.3": [entropy_by_tensor, entropy_by_logs],
    "16.4": [curve_by_sort, curve_by_tensor],
    "16.5": [verdict_by_sets, verdict_by_any],
}
