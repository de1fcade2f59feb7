"""Planted bugs and other right answers of chapter 15."""

from __future__ import annotations

import bisect
import difflib
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


def precision_unclipped(hypothesis, reference, n):
    theirs = set(_grams(reference, n))
    ours = _grams(hypothesis, n)
    return sum(gram in theirs for gram in ours), len(ours)


def precision_sets(hypothesis, reference, n):
    ours, theirs = set(_grams(hypothesis, n)), set(_grams(reference, n))
    return len(ours & theirs), len(_grams(hypothesis, n))


def precision_recall(hypothesis, reference, n):
    ours, theirs = Counter(_grams(hypothesis, n)), Counter(_grams(reference, n))
    return (ours & theirs).total(), theirs.total()


def precision_words(hypothesis, reference, n):
    return (Counter(hypothesis) & Counter(reference)).total(), max(len(hypothesis) - n + 1, 0)


def precision_one_short(hypothesis, reference, n):
    ours = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n))
    return (ours & Counter(_grams(reference, n))).total(), ours.total()


def precision_share(hypothesis, reference, n):
    ours, theirs = Counter(_grams(hypothesis, n)), Counter(_grams(reference, n))
    return (ours & theirs).total() / max(ours.total(), 1)


def precision_too_long(hypothesis, reference, n):
    ours = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis)))
    return (ours & Counter(tuple(reference[i : i + n]) for i in range(len(reference)))).total(), ours.total()


def precision_joined(hypothesis, reference, n):
    ours = Counter("".join(gram) for gram in _grams(hypothesis, n))
    theirs = Counter("".join(gram) for gram in _grams(reference, n))
    return (ours & theirs).total(), ours.total()


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


def lcs_run(a, b):
    best = 0
    for i in range(len(a)):
        for j in range(len(b)):
            k = 0
            while i + k < len(a) and j + k < len(b) and a[i + k] == b[j + k]:
                k += 1
            best = max(best, k)
    return best


def lcs_bag(a, b):
    return (Counter(a) & Counter(b)).total()


def lcs_set(a, b):
    return len(set(a) & set(b))


def lcs_greedy(a, b):
    place, found = 0, 0
    for word in a:
        if word in b[place:]:
            place, found = b.index(word, place) + 1, found + 1
    return found


def lcs_places(a, b):
    return sum(x == y for x, y in zip(a, b, strict=False))


def lcs_overwritten(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        for j, y in enumerate(b, start=1):
            row[j] = row[j - 1] + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def lcs_difflib(a, b):
    return sum(block.size for block in difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())


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


def auc_turned(positives, negatives):
    return auc_by_pairs(negatives, positives)


def auc_gini(positives, negatives):
    return 2 * auc_by_pairs(positives, negatives) - 1


def auc_folded(positives, negatives):
    value = float(auc_by_pairs(positives, negatives))
    return max(value, 1 - value)


def auc_without_ties(positives, negatives):
    return sum(p > n for p in positives for n in negatives) / (len(positives) * len(negatives))


def auc_ties_won(positives, negatives):
    return sum(p >= n for p in positives for n in negatives) / (len(positives) * len(negatives))


def auc_sum(positives, negatives):
    return sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)


def auc_by_place(positives, negatives):
    pairs = list(zip(positives, negatives, strict=False))
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)


def auc_accuracy(positives, negatives):
    middle = sorted(positives + negatives)[len(positives + negatives) // 2]
    hits = sum(p >= middle for p in positives) + sum(n < middle for n in negatives)
    return hits / len(positives + negatives)


def auc_by_pairs(positives, negatives):
    p, n = torch.tensor(positives)[:, None], torch.tensor(negatives)
    return ((p > n).double() + 0.5 * (p == n).double()).mean()


def auc_by_ranks(positives, negatives):
    everything = sorted(positives + negatives)
    rank = {x: (everything.index(x) + len(everything) - everything[::-1].index(x) + 1) / 2 for x in everything}
    count = len(positives)
    return (sum(rank[p] for p in positives) - count * (count + 1) / 2) / (count * len(negatives))


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
        precision_unclipped: "Not clipped: an n-gram counts at most as often as the reference has it, or `the the the` would be perfect.",
        precision_sets: "Each n-gram counts once; it counts as often as both have it.",
        precision_recall: "The total counts the n-grams of the reference; precision asks for those of the hypothesis.",
        precision_words: "Words are counted, not n-grams: the order within an n-gram matters.",
        precision_one_short: "The total counts the n-grams of the reference; precision asks for those of the hypothesis.",
        precision_share: "Two whole numbers are wanted, `return matches, total`; the division comes later, over the whole corpus.",
        precision_too_long: "The total counts words, not n-grams.",
        precision_joined: "Wrong number of matches.",
    },
    "15.3": {
        lcs_run: "That is the longest run without gaps; gaps are allowed.",
        lcs_bag: "Words are counted without their order.",
        lcs_set: "Words are counted without their order.",
        lcs_greedy: "The first match is taken at once. A later one may leave room for more: `c a b` and `a b c` share `a b`.",
        lcs_places: "Compared place by place; one word more at the front would make everything differ.",
        lcs_overwritten: "One row is kept, and its upper left value is overwritten before it is used: one word of a is then matched twice.",
        lcs_difflib: "Wrong for two texts of 120 words.",
    },
    "15.4": {
        interval_without_repetition: "The interval has no width: every resample is the same. Draw with repetition, or it is the same sample in another order.",
        interval_of_values: "Far too wide: these are quantiles of the values, or of a difference, not of the means.",
        interval_one_sided: "Too narrow: half of what is left out belongs on each side, so the quantiles are 0.025 and 0.975; and each resample is as large as the sample.",
        interval_small_resamples: "Too wide: is each resample as large as the sample, and are the quantiles (1 - confidence) / 2 and (1 + confidence) / 2?",
        interval_minimum: "Too wide: is each resample as large as the sample, and are the quantiles (1 - confidence) / 2 and (1 + confidence) / 2?",
        interval_global: "Randomness does not come from `generator` alone: the same generator gave another interval, or torch's global one was used.",
        interval_own_seed: "Two generators with different seeds gave the same interval; is `generator` used, and not a seed of your own?",
        interval_fixed_confidence: "`confidence` is not used rightly: an interval of 0.5 lies between the quantiles 0.25 and 0.75.",
        interval_normal: "The lower end lies below every value: that is the mean minus so many standard errors, not a quantile of the means.",
        interval_own_resamples: "One resample has one mean, so both ends must be equal. Is `resamples` used?",
        interval_turned: "low stands above high.",
    },
    "15.5": {
        auc_gini: "That is Gini's coefficient, 2 AUC - 1, which is 0 for a coin.",
        auc_folded: "Turned round: the positives should be above.",
        auc_turned: "Turned round: the positives should be above.",
        auc_without_ties: "A tie counts one half; yours counts it as nothing.",
        auc_ties_won: "A tie counts one half; yours counts it as won.",
        auc_sum: "Not divided by the number of pairs.",
        auc_by_place: "Compared place by place; every positive meets every negative.",
        auc_accuracy: "Compared place by place; every positive meets every negative.",
    },
}
RIGHT = {
    "15.1": [ppl_by_cross_entropy, ppl_by_loop],
    "15.2": [precision_by_removal, precision_by_zip],
    "15.3": [lcs_by_table, lcs_by_places],
    "15.4": [interval_by_sorting, interval_by_multinomial],
    "15.5": [auc_by_pairs, auc_by_ranks],
}
