"""Bugs of chapter 15 that its checks do not list, and other right answers."""

from __future__ import annotations

import bisect
import math
from collections import Counter

import torch
import torch.nn.functional as F


def _nats(logits, input_ids, attention_mask):
    losses = F.cross_entropy(logits[:, :-1].transpose(1, 2).double(), input_ids[:, 1:], reduction="none")
    return losses, attention_mask[:, 1:].bool()


def ppl_of_padding(logits, input_ids, attention_mask, text_bytes):
    losses, _ = _nats(logits, input_ids, attention_mask)
    return losses.mean().exp().item(), losses.sum().item() / math.log(2) / text_bytes


def ppl_loss(logits, input_ids, attention_mask, text_bytes):
    losses, inside = _nats(logits, input_ids, attention_mask)
    return losses[inside].mean().item(), losses[inside].sum().item() / math.log(2) / text_bytes


def ppl_unshifted(logits, input_ids, attention_mask, text_bytes):
    losses = F.cross_entropy(logits.transpose(1, 2), input_ids, reduction="none")[attention_mask.bool()]
    return losses.mean().exp().item(), losses.sum().item() / math.log(2) / text_bytes


def ppl_mean_of_rows(logits, input_ids, attention_mask, text_bytes):
    losses, inside = _nats(logits, input_ids, attention_mask)
    rows = (losses * inside).sum(1) / inside.sum(1)
    return rows.exp().mean().item(), losses[inside].sum().item() / math.log(2) / text_bytes


def ppl_of_row_losses(logits, input_ids, attention_mask, text_bytes):
    losses, inside = _nats(logits, input_ids, attention_mask)
    rows = (losses * inside).sum(1) / inside.sum(1)
    return rows.mean().exp().item(), losses[inside].sum().item() / math.log(2) / text_bytes


def ppl_nats_per_byte(logits, input_ids, attention_mask, text_bytes):
    losses, inside = _nats(logits, input_ids, attention_mask)
    return losses[inside].mean().exp().item(), losses[inside].sum().item() / text_bytes


def ppl_bits_per_token(logits, input_ids, attention_mask, text_bytes):
    losses, inside = _nats(logits, input_ids, attention_mask)
    return losses[inside].mean().exp().item(), losses[inside].mean().item() / math.log(2)


def ppl_swapped(logits, input_ids, attention_mask, text_bytes):
    losses, inside = _nats(logits, input_ids, attention_mask)
    return losses[inside].sum().item() / math.log(2) / text_bytes, losses[inside].mean().exp().item()


def ppl_all_tokens(logits, input_ids, attention_mask, text_bytes):
    losses, inside = _nats(logits, input_ids, attention_mask)
    total = losses[inside].sum()
    return (total / attention_mask.sum()).exp().item(), total.item() / math.log(2) / text_bytes


def ppl_by_cross_entropy(logits, input_ids, attention_mask, text_bytes):
    labels = input_ids.masked_fill(attention_mask == 0, -100)[:, 1:]
    total = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), reduction="sum")
    return torch.exp(total / (labels != -100).sum()), total / math.log(2) / text_bytes


def ppl_by_loop(logits, input_ids, attention_mask, text_bytes):
    bits, count = 0.0, 0
    for row in range(len(input_ids)):
        for t in range(int(attention_mask[row].sum()) - 1):
            bits -= float(logits[row, t].double().softmax(0)[input_ids[row, t + 1]].log2())
            count += 1
    return 2 ** (bits / count), bits / text_bytes


def _grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def precision_share(hypothesis, reference, n):
    ours, theirs = Counter(_grams(hypothesis, n)), Counter(_grams(reference, n))
    return (ours & theirs).total() / max(ours.total(), 1)


def precision_negative(hypothesis, reference, n):
    ours, theirs = Counter(_grams(hypothesis, n)), Counter(_grams(reference, n))
    return (ours & theirs).total(), len(hypothesis) - n + 1


def precision_used_up(hypothesis, reference, n):
    left, matches, total = Counter(_grams(reference, n)), 0, 0
    while len(hypothesis) >= n:
        matches += left[tuple(hypothesis[:n])] > 0
        left[tuple(hypothesis[:n])] -= 1
        total += 1
        del hypothesis[0]
    return matches, total


def precision_by_removal(hypothesis, reference, n):
    left, matches = _grams(reference, n), 0
    ours = _grams(hypothesis, n)
    for gram in ours:
        if gram in left:
            left.remove(gram)
            matches += 1
    return matches, len(ours)


def precision_by_zip(hypothesis, reference, n):
    ours = Counter(zip(*(hypothesis[i:] for i in range(n)), strict=False))
    theirs = Counter(zip(*(reference[i:] for i in range(n)), strict=False))
    return [sum(min(ours[g], theirs[g]) for g in ours), sum(ours.values())]


def lcs_by_recursion(a, b):
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + lcs_by_recursion(a[:-1], b[:-1])
    return max(lcs_by_recursion(a[:-1], b), lcs_by_recursion(a, b[:-1]))


def lcs_of_one_list(a, b):
    table = [[0] * (len(b) + 1)] * (len(a) + 1)  # one row, many times
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def lcs_without_the_last(a, b):
    return lcs_by_table(a[:-1], b)


def lcs_by_table(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[len(a)][len(b)]


def lcs_by_places(a, b):
    ends = []  # Hunt and Szymanski: the smallest end of a common subsequence of each length
    for word in a:
        for j in reversed([j for j, other in enumerate(b) if other == word]):
            at = bisect.bisect_left(ends, j)
            ends[at : at + 1] = [j]
    return len(ends)


def interval_without_repetition(values, resamples, confidence, generator):
    means = torch.stack([values[torch.randperm(len(values), generator=generator)].mean() for _ in range(resamples)])
    return means.min().item(), means.min().item()


def interval_of_values(values, resamples, confidence, generator):
    drawn = values[torch.randint(len(values), (resamples,), generator=generator)]
    return drawn.quantile((1 - confidence) / 2).item(), drawn.quantile((1 + confidence) / 2).item()


def _means(values, resamples, generator, size=None):
    drawn = torch.randint(len(values), (resamples, size or len(values)), generator=generator)
    return values[drawn].mean(1)


def interval_one_sided(values, resamples, confidence, generator):
    means = _means(values, resamples, generator)
    return means.quantile(1 - confidence).item(), means.quantile(confidence).item()


def interval_small_resamples(values, resamples, confidence, generator):
    means = _means(values, resamples, generator, len(values) // 2)
    return means.quantile((1 - confidence) / 2).item(), means.quantile((1 + confidence) / 2).item()


def interval_minimum(values, resamples, confidence, generator):
    means = _means(values, resamples, generator)
    return means.min().item(), means.max().item()


def interval_global(values, resamples, confidence, generator):
    means = _means(values, resamples, None)
    return means.quantile((1 - confidence) / 2).item(), means.quantile((1 + confidence) / 2).item()


def interval_own_seed(values, resamples, confidence, generator):
    means = _means(values, resamples, torch.Generator().manual_seed(0))
    return means.quantile((1 - confidence) / 2).item(), means.quantile((1 + confidence) / 2).item()


def interval_fixed_confidence(values, resamples, confidence, generator):
    means = _means(values, resamples, generator)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


def interval_normal(values, resamples, confidence, generator):
    means = _means(values, resamples, generator)
    z = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor((1 + confidence) / 2))
    return (means.mean() - z * means.std()).item(), (means.mean() + z * means.std()).item()


def interval_own_resamples(values, resamples, confidence, generator):
    means = _means(values, 1_000, generator)
    return means.quantile((1 - confidence) / 2).item(), means.quantile((1 + confidence) / 2).item()


def interval_turned(values, resamples, confidence, generator):
    means = _means(values, resamples, generator)
    return means.quantile((1 + confidence) / 2).item(), means.quantile((1 - confidence) / 2).item()


def interval_by_sorting(values, resamples, confidence, generator):
    means = []
    for _ in range(resamples):
        places = torch.randint(0, values.numel(), (values.numel(),), generator=generator)
        means.append(values[places].mean().item())
    means.sort()
    cut = round(resamples * (1 - confidence) / 2)
    return means[cut], means[-cut - 1]


def interval_by_multinomial(values, resamples, confidence, generator):
    places = torch.multinomial(torch.ones(len(values)), resamples * len(values), replacement=True, generator=generator)
    means = values[places].view(resamples, -1).mean(1)
    return torch.quantile(means, (1 - confidence) / 2), torch.quantile(means, (1 + confidence) / 2)


def interval_of_the_first_state(values, resamples, confidence, generator):
    means = _means(values, resamples, torch.Generator().manual_seed(generator.initial_seed()))
    return means.quantile((1 - confidence) / 2).item(), means.quantile((1 + confidence) / 2).item()


def interval_mirrored(values, resamples, confidence, generator):
    means, twice = _means(values, resamples, generator), 2 * values.mean()
    return (twice - means.quantile((1 + confidence) / 2)).item(), (twice - means.quantile((1 - confidence) / 2)).item()


def interval_of_questions(values, resamples, confidence, generator):
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = values[drawn].mean(0)
    return means.quantile((1 - confidence) / 2).item(), means.quantile((1 + confidence) / 2).item()


def interval_of_medians(values, resamples, confidence, generator):
    medians = values[torch.randint(len(values), (resamples, len(values)), generator=generator)].median(1).values
    return medians.quantile((1 - confidence) / 2).item(), medians.quantile((1 + confidence) / 2).item()


def interval_of_sums(values, resamples, confidence, generator):
    sums = values[torch.randint(len(values), (resamples, len(values)), generator=generator)].sum(1)
    return sums.quantile((1 - confidence) / 2).item(), sums.quantile((1 + confidence) / 2).item()


def interval_of_the_middle(values, resamples, confidence, generator):
    means = _means(values, resamples, generator)
    return means.quantile(confidence / 2).item(), means.quantile(1 - confidence / 2).item()


def auc_above_all(positives, negatives):
    return sum(p > max(negatives) for p in positives) / len(positives)


def auc_in_percent(positives, negatives):
    return 100 * auc_by_pairs(positives, negatives)


def auc_by_sorting(positives, negatives):
    negatives.sort()
    below = sum(bisect.bisect_left(negatives, p) + bisect.bisect_right(negatives, p) for p in positives)
    return below / (2 * len(positives) * len(negatives))


def auc_by_pairs(positives, negatives):
    p, n = torch.tensor(positives)[:, None], torch.tensor(negatives)
    return ((p > n).double() + 0.5 * (p == n).double()).mean()


def auc_by_ranks(positives, negatives):
    everything = sorted(positives + negatives)
    rank = {x: (everything.index(x) + len(everything) - everything[::-1].index(x) + 1) / 2 for x in everything}
    count = len(positives)
    return (sum(rank[p] for p in positives) - count * (count + 1) / 2) / (count * len(negatives))


def mcnemar_of_disagreement(first, second):
    telling = [a for a, b in zip(first, second, strict=True) if a != b]
    n, k = len(telling), min(sum(telling), len(telling) - sum(telling))
    p = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return min(1.0, 2 * p), p  # "mid" as half of exact


def mcnemar_strict_tail(first, second):
    telling = [a for a, b in zip(first, second, strict=True) if a != b]
    n, k = len(telling), min(sum(telling), len(telling) - sum(telling))
    below = sum(math.comb(n, i) for i in range(k)) / 2**n
    return 2 * below, 2 * below


def mcnemar_sorted(first, second):
    first.sort()
    second.sort()
    b = sum(x and not y for x, y in zip(first, second, strict=True))
    c = sum(y and not x for x, y in zip(first, second, strict=True))
    n, k = b + c, min(b, c)
    below, here = sum(math.comb(n, i) for i in range(k)), math.comb(n, k)
    return min(1.0, 2 * (below + here) / 2**n), min(1.0, (2 * below + here) / 2**n)


def mcnemar_by_scipy(first, second):
    from scipy.stats import binom

    b = sum(x and not y for x, y in zip(first, second, strict=True))
    c = sum(y and not x for x, y in zip(first, second, strict=True))
    tail, here = binom.cdf(min(b, c), b + c, 0.5), binom.pmf(min(b, c), b + c, 0.5)
    return min(1.0, 2 * tail), min(1.0, 2 * tail - here)


def mcnemar_by_fractions(first, second):
    from fractions import Fraction

    sides = Counter((a, b) for a, b in zip(first, second, strict=True) if a != b)
    n, k = sum(sides.values()), min(sides[True, False], sides[False, True])
    parts = [Fraction(math.comb(n, i), 2**n) for i in range(k + 1)]
    return float(min(1, 2 * sum(parts))), float(min(1, 2 * sum(parts) - parts[-1]))


def cluster_mean_of_errors(values, clusters):
    names = set(clusters)
    errors = []
    for name in names:
        own = [v for v, c in zip(values, clusters, strict=True) if c == name]
        mean = sum(own) / len(own)
        errors.append((sum((v - mean) ** 2 for v in own) / max(len(own) - 1, 1) / len(own)) ** 0.5)
    return sum(errors) / len(errors)


def cluster_two_times_the_factor(values, clusters):
    mean, sums = sum(values) / len(values), Counter()
    for v, c in zip(values, clusters, strict=True):
        sums[c] += v - mean
    g = len(sums)
    return (sum(s * s for s in sums.values())) ** 0.5 * g / (g - 1) / len(values)


def cluster_of_g_roots(values, clusters):
    return sum(values) / len(values) / len(set(clusters)) ** 0.5


def cluster_by_numpy(values, clusters):
    import numpy as np

    x = np.asarray(values) - np.mean(values)
    names, where = np.unique(clusters, return_inverse=True)
    sums = np.bincount(where, x)
    g = len(names)
    return np.sqrt(g / (g - 1) * (sums**2).sum()) / len(x)


def cluster_by_pairs(values, clusters):
    n, mean, g = len(values), sum(values) / len(values), len(set(clusters))
    total = sum(
        (values[i] - mean) * (values[j] - mean) for i in range(n) for j in range(n) if clusters[i] == clusters[j]
    )
    return max(total * g / (g - 1), 0.0) ** 0.5 / n


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "15.1": {
        ppl_of_padding: "The padding is counted as text.",
        ppl_loss: "That is the loss in nats; the perplexity is its exponential.",
        ppl_unshifted: "The logits are not shifted: place t says what comes at place t + 1.",
        ppl_mean_of_rows: "The perplexities of the rows are averaged; take the mean over all tokens first, so that long texts count more.",
        ppl_of_row_losses: "The losses of the rows are averaged; the mean is over all tokens, so that long texts count more.",
        ppl_nats_per_byte: "These are nats per byte; one bit is log(2) = 0.693 nats.",
        ppl_bits_per_token: "These are bits per token; divide by the bytes of the text.",
        ppl_swapped: "The two results are swapped: perplexity first.",
        ppl_all_tokens: "Divided by all tokens; the first of each row is given, not predicted.",
    },
    "15.2": {
        precision_share: "Two whole numbers are wanted, `return matches, total`",
        precision_negative: "A text with fewer than n words has no n-gram: 0.",
        precision_used_up: "Your code changes its input `hypothesis` in place.",
    },
    "15.3": {
        lcs_by_recursion: "Words were compared ",
        lcs_of_one_list: "There is one row only, and its upper left value is overwritten before it is used",
        lcs_without_the_last: "Not the longest common subsequence.",
    },
    "15.4": {
        interval_without_repetition: "The interval has no width: every resample is the same. Draw with repetition, or it is the same sample in another order.",
        interval_of_values: "Far too wide: these are quantiles of the values, or of a difference, not of the means.",
        interval_one_sided: "Too narrow: half of what is left out belongs on each side, so for 0.95 the quantiles are 0.025 and 0.975.",
        interval_of_questions: "Far too narrow: is there one mean for each resample, and not one for each question (the wrong axis)?",
        interval_small_resamples: "Too wide: is each resample as large as the sample, and are the quantiles (1 - confidence) / 2 and (1 + confidence) / 2?",
        interval_minimum: "Too wide: these are about the smallest and the largest mean.",
        interval_global: "Randomness does not come from `generator` alone: the same generator gave another interval, or torch's global one was used.",
        interval_own_seed: "Two generators with different seeds gave the same interval; is `generator` used, and not a seed of your own?",
        interval_fixed_confidence: "`confidence` is not used rightly: an interval of 0.5 lies between the quantiles 0.25 and 0.75.",
        interval_normal: "The lower end lies below every value: that is the mean minus so many standard errors, not a quantile of the means.",
        interval_of_medians: "Every resample gives the same figure, and it is not the mean of the values.",
        interval_of_sums: "The interval lies above every value: take the mean of each resample, not the sum.",
        interval_of_the_middle: "Too narrow: is each resample as large as the sample, and are the quantiles",
        interval_mirrored: "The interval is mirrored at the mean (2 * mean - quantile); its ends are the quantiles themselves.",
        interval_of_the_first_state: "Called again with the same generator it gives the same interval",
        interval_own_resamples: "One resample has one mean, so both ends must be equal. Is `resamples` used?",
        interval_turned: "low stands above high.",
    },
    "15.5": {
        auc_above_all: "Not the share of pairs in which the positive is above.",
        auc_in_percent: "Not the share of pairs in which the positive is above.",
        auc_by_sorting: "Your code changes its input `negatives` in place.",
    },
    "15.6": {
        mcnemar_of_disagreement: "Not the exact p-value and the mid-p of the questions that only one of the two got right.",
        mcnemar_strict_tail: "Not the exact p-value and the mid-p of the questions that only one of the two got right.",
        mcnemar_sorted: "Your code changes its input `first` in place.",
    },
    "15.7": {
        cluster_mean_of_errors: "Not the cluster-robust standard error of the mean.",
        cluster_two_times_the_factor: "Not the cluster-robust standard error of the mean.",
        cluster_of_g_roots: "Not the cluster-robust standard error of the mean.",
    },
}
RIGHT = {
    "15.1": [ppl_by_cross_entropy, ppl_by_loop],
    "15.2": [precision_by_removal, precision_by_zip],
    "15.3": [lcs_by_table, lcs_by_places],
    "15.4": [interval_by_sorting, interval_by_multinomial],
    "15.5": [auc_by_pairs, auc_by_ranks],
    "15.6": [mcnemar_by_scipy, mcnemar_by_fractions],
    "15.7": [cluster_by_numpy, cluster_by_pairs],
}
