"""Planted bugs and other right answers of chapter 04."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from fractions import Fraction
from itertools import combinations, islice, permutations

import numpy as np
import torch
import torch.nn.functional as F


def zero_stage_three_alone(parameters, ranks, stage):
    return parameters / ranks * 2 + parameters / ranks * 2 + parameters / ranks * 12


def zero_gradients_forgotten(parameters, ranks, stage):
    shared = {0: 0, 1: 12, 2: 12, 3: 16}[stage]
    return parameters * (16 - shared + shared / ranks)


def zero_copies_counted(parameters, ranks, stage):
    shared = (0, 12, 14, 16)[stage]
    return float(parameters * (shared + (16 - shared) * ranks))


def zero_right_table(parameters, ranks, stage):
    return parameters * [16, 4 + 12 / ranks, 2 + 14 / ranks, 16 / ranks][stage]


def zero_right_loop(parameters, ranks, stage):
    total = 0
    for size, at in ((2, 3), (2, 2), (12, 1)):
        total += size * parameters / ranks if stage >= at else size * parameters
    return total


def zero_right_saved(parameters, ranks, stage):
    return parameters * (16 - (0, 12, 14, 16)[stage] * (1 - 1 / ranks))


def kept_floor(layers, every, boundary, inside):
    return layers // every * boundary + min(every, layers) * inside


def kept_one_layer(layers, every, boundary, inside):
    return math.ceil(layers / every) * boundary + inside


def kept_only(layers, every, boundary, inside):
    return math.ceil(layers / every) * boundary


def kept_all(layers, every, boundary, inside):
    return layers * inside


def kept_every_input(layers, every, boundary, inside):
    return layers * boundary + min(every, layers) * inside


def kept_all_segments(layers, every, boundary, inside):
    return math.ceil(layers / every) * (boundary + min(every, layers) * inside)


def kept_one_more(layers, every, boundary, inside):
    return (layers // every + 1) * boundary + min(every, layers) * inside


def kept_last(layers, every, boundary, inside):
    return math.ceil(layers / every) * boundary + (layers % every or every) * inside


def kept_swapped(layers, every, boundary, inside):
    return every * boundary + math.ceil(layers / every) * inside


def kept_larger(layers, every, boundary, inside):
    return max(math.ceil(layers / every) * boundary, min(every, layers) * inside)


def kept_right_divmod(layers, every, boundary, inside):
    whole, rest = divmod(layers, every)
    return (whole + (rest > 0)) * boundary + min(every, layers) * inside


def kept_right_loop(layers, every, boundary, inside):
    return sum(boundary for _ in range(0, layers, every)) + inside * min(every, layers)


def kept_right_max(layers, every, boundary, inside):
    sizes = [min(every, layers - start) for start in range(0, layers, every)]
    return len(sizes) * boundary + max(sizes) * inside


def _losses(model, inputs, labels, reduction):
    return F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten(), ignore_index=-100, reduction=reduction)


def mean_of_means(model, micro_batches):
    total = 0.0
    for inputs, labels in micro_batches:
        loss = _losses(model, inputs, labels, "mean") / len(micro_batches)
        loss.backward()
        total += loss.item()
    return total


def means_added(model, micro_batches):
    total = 0.0
    for inputs, labels in micro_batches:
        loss = _losses(model, inputs, labels, "mean")
        loss.backward()
        total += loss.item()
    return total


def sums_added(model, micro_batches):
    total = 0.0
    for inputs, labels in micro_batches:
        loss = _losses(model, inputs, labels, "sum")
        loss.backward()
        total += loss.item()
    return total


def by_rows(model, micro_batches):
    rows = sum(len(labels) for _, labels in micro_batches)
    total = 0.0
    for inputs, labels in micro_batches:
        loss = _losses(model, inputs, labels, "mean") * len(labels) / rows
        loss.backward()
        total += loss.item()
    return total


def all_places(model, micro_batches):
    places = sum(labels.numel() for _, labels in micro_batches)
    total = 0.0
    for inputs, labels in micro_batches:
        loss = _losses(model, inputs, labels, "sum") / places
        loss.backward()
        total += loss.item()
    return total


def zeroed_between(model, micro_batches):
    tokens = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    total = 0.0
    for inputs, labels in micro_batches:
        model.zero_grad()
        loss = _losses(model, inputs, labels, "sum") / tokens
        loss.backward()
        total += loss.item()
    return total


def tokens_so_far(model, micro_batches):
    tokens, total = 0, 0.0
    for inputs, labels in micro_batches:
        tokens += int((labels != -100).sum())
        loss = _losses(model, inputs, labels, "sum")
        (loss / tokens).backward()
        total += loss.item()
    return total / tokens


def one_large_batch(model, micro_batches):
    inputs, labels = (torch.cat(parts) for parts in zip(*micro_batches, strict=True))
    loss = _losses(model, inputs, labels, "mean")
    loss.backward()
    return loss.item()


def all_forward_first(model, micro_batches):
    tokens = sum((labels != -100).sum() for _, labels in micro_batches)
    losses = [_losses(model, inputs, labels, "sum") / tokens for inputs, labels in micro_batches]
    for loss in losses:
        loss.backward()
    return sum(loss.item() for loss in losses)


def weighted_means(model, micro_batches):
    counts = [int((labels != -100).sum()) for _, labels in micro_batches]
    total = 0.0
    for (inputs, labels), count in zip(micro_batches, counts, strict=True):
        loss = _losses(model, inputs, labels, "mean") * (count / sum(counts))
        loss.backward()
        total += loss.item()
    return total


def accumulate_weighted_means(model, micro_batches):
    counts = [int((labels != -100).sum()) for _, labels in micro_batches]
    total = 0.0
    for (inputs, labels), count in zip(micro_batches, counts, strict=True):
        if count == 0:
            continue
        loss = _losses(model, inputs, labels, "mean") * (count / sum(counts))
        loss.backward()
        total += loss.item()
    return total


def accumulate_by_grad(model, micro_batches):
    tokens = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    parameters, total = list(model.parameters()), 0.0
    for p in parameters:
        p.grad = torch.zeros_like(p)
    for inputs, labels in micro_batches:
        loss = _losses(model, inputs, labels, "sum") / tokens
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.grad += g
        total += loss.item()
    return total


def accumulate_at_once(model, micro_batches):
    tokens = sum((labels != -100).sum() for _, labels in micro_batches)
    loss = sum(_losses(model, inputs, labels, "sum") for inputs, labels in micro_batches) / tokens
    loss.backward()
    return loss.item()


def accumulate_then_divide(model, micro_batches):
    tokens, total = 0, 0.0
    for inputs, labels in micro_batches:
        loss = _losses(model, inputs, labels, "sum")
        loss.backward()
        tokens += int((labels != -100).sum())
        total += loss.item()
    for p in model.parameters():
        p.grad /= tokens
    return total / tokens


def _norm(shards):
    return math.sqrt(sum(g.square().sum().item() for rank in shards for g in rank))


def _scaled(shards, scale):
    return [[g * scale for g in rank] for rank in shards]


def clip_each(shards, max_norm):
    return [_scaled([rank], min(1, max_norm / (_norm([rank]) + 1e-6)))[0] for rank in shards], _norm(shards)


def clip_sum_of_norms(shards, max_norm):
    norm = sum(_norm([rank]) for rank in shards)
    return _scaled(shards, min(1, max_norm / norm)), norm


def clip_squares(shards, max_norm):
    norm = _norm(shards) ** 2
    return _scaled(shards, min(1, max_norm / norm)), norm


def clip_always(shards, max_norm):
    return _scaled(shards, max_norm / _norm(shards)), _norm(shards)


def clip_values(shards, max_norm):
    return [[g.clamp(-max_norm, max_norm) for g in rank] for rank in shards], _norm(shards)


def clip_first(shards, max_norm):
    norm = _norm(shards[:1])
    return _scaled(shards, min(1, max_norm / norm)), norm


def clip_flattened(shards, max_norm):
    norm = _norm(shards)
    return [[(g * min(1, max_norm / norm)).flatten() for g in rank] for rank in shards], norm


def clip_mean_square(shards, max_norm):
    norm = _norm(shards) / math.sqrt(len(shards))
    return _scaled(shards, min(1, max_norm / norm)), norm


def clip_tensors(shards, max_norm):
    return [[g * min(1, max_norm / (float(g.norm()) + 1e-6)) for g in rank] for rank in shards], _norm(shards)


def clip_norms_of_tensors(shards, max_norm):
    norm = sum(float(g.norm()) for rank in shards for g in rank)
    return _scaled(shards, min(1, max_norm / norm)), norm


def clip_swapped(shards, max_norm):
    return _norm(shards), _scaled(shards, min(1, max_norm / _norm(shards)))


def clip_list_of_norms(shards, max_norm):
    return _scaled(shards, min(1, max_norm / _norm(shards))), [_norm([rank]) for rank in shards]


def clip_copied(shards, max_norm):
    copies = tuple(tuple(g.clone() for g in rank) for rank in shards)
    norm = torch.nn.utils.get_total_norm([g for rank in copies for g in rank])
    if norm > max_norm:
        for g in (g for rank in copies for g in rank):
            g.mul_(max_norm / norm)
    return copies, norm


def clip_flat(shards, max_norm):
    norm = torch.cat([g.flatten() for rank in shards for g in rank]).norm()
    return _scaled(shards, (max_norm / (norm + 1e-6)).clamp(max=1)), norm


def clip_collective(shards, max_norm):
    squares = torch.stack([sum((g**2).sum() for g in rank) for rank in shards])
    norm = squares.sum().sqrt().item()
    return (_scaled(shards, max_norm / norm) if norm > max_norm else shards), norm


def budget_swapped(flops, tokens_per_parameter):
    n = math.sqrt(flops / 6 / tokens_per_parameter)
    return tokens_per_parameter * n, n


def budget_forward(flops, tokens_per_parameter):
    n = math.sqrt(flops / 2 / tokens_per_parameter)
    return n, tokens_per_parameter * n


def budget_no_root(flops, tokens_per_parameter):
    n = flops / 6 / tokens_per_parameter
    return n, tokens_per_parameter * n


def budget_no_six(flops, tokens_per_parameter):
    n = math.sqrt(flops / tokens_per_parameter)
    return n, tokens_per_parameter * n


def budget_tokens(flops, tokens_per_parameter):
    n = math.sqrt(flops / 6 / tokens_per_parameter)
    return n, n / tokens_per_parameter


def budget_six_outside(flops, tokens_per_parameter):
    n = math.sqrt(flops / tokens_per_parameter) / 6
    return n, tokens_per_parameter * n


def budget_always_twenty(flops, tokens_per_parameter):
    n = math.sqrt(flops / 120)
    return n, 20 * n


def budget_squared(flops, tokens_per_parameter):
    square = flops / (6 * tokens_per_parameter)
    return math.sqrt(square), square


def budget_whole(flops, tokens_per_parameter):
    n = round((flops / (6 * tokens_per_parameter)) ** 0.5)
    return n, round(tokens_per_parameter * n)


def budget_right(flops, tokens_per_parameter):
    tokens = (flops * tokens_per_parameter / 6) ** 0.5
    return tokens / tokens_per_parameter, tokens


def budget_list(flops, tokens_per_parameter):
    n = (flops / (6 * tokens_per_parameter)) ** 0.5
    return [n, flops / (6 * n)]


def luck_sorted(mine, theirs):
    mine.sort()
    limit = sum(mine) + 1e-12 * max(map(abs, [*mine, *theirs])) * len(mine)
    ways = list(combinations([*mine, *theirs], len(mine)))
    return sum(sum(way) <= limit for way in ways) / len(ways)


def luck_pooled_in_place(mine, theirs):
    size, seen = len(mine), statistics.mean(mine)
    theirs += mine
    ways = list(combinations(theirs, size))
    return sum(statistics.mean(way) <= seen + 1e-12 * max(map(abs, theirs)) for way in ways) / len(ways)


def luck_sampled(mine, theirs):
    pool, rng, hits = np.array([*mine, *theirs]), np.random.default_rng(0), 0
    for _ in range(999):
        hits += rng.permutation(pool)[: len(mine)].mean() <= np.mean(mine) + 1e-12 * np.abs(pool).max()
    return hits / 999


def luck_sampled_by_random(mine, theirs):
    rng, pool = random.Random(7), mine + theirs
    ways = [rng.sample(pool, len(mine)) for _ in range(500)]
    return sum(sum(way) <= sum(mine) * (1 + 1e-12) for way in ways) / 500


def luck_welch(mine, theirs):
    spread = sum(statistics.pvariance(x) / max(1, len(x) - 1) for x in (mine, theirs)) ** 0.5 or 1.0
    return math.erfc((statistics.mean(theirs) - statistics.mean(mine)) / spread / 2**0.5) / 2


def luck_less_than(mine, theirs):
    pool, seen, hits, ways = mine + theirs, sum(mine) / len(mine), 0, 0
    for places in combinations(range(len(pool)), len(mine)):
        ways += 1
        if sum(pool[i] for i in places) / len(mine) < seen - 1e-12 * max(map(abs, pool)):
            hits += 1
    return hits / ways


def luck_bare_sums(mine, theirs):
    ways = list(combinations(mine + theirs, len(mine)))
    return sum(sum(way) <= sum(mine) for way in ways) / len(ways)


def luck_bare_numpy(mine, theirs):
    ways = np.array(list(combinations([*mine, *theirs], len(mine))))
    return float((ways.mean(1) <= np.mean(mine)).mean())


def luck_exact_fractions(mine, theirs):
    ways = list(combinations([Fraction(x) for x in [*mine, *theirs]], len(mine)))
    return sum(sum(way) <= sum(map(Fraction, mine)) for way in ways) / len(ways)


def luck_isclose(mine, theirs):
    seen, ways = np.mean(mine), [np.mean(way) for way in combinations(mine + theirs, len(mine))]
    return sum(bool(m < seen or np.isclose(m, seen)) for m in ways) / len(ways)


def luck_rounded_means(mine, theirs):
    seen, ways = round(sum(mine) / len(mine), 9), list(combinations(mine + theirs, len(mine)))
    return sum(round(sum(way) / len(mine), 9) <= seen for way in ways) / len(ways)


def luck_larger(mine, theirs):
    seen, ways = sum(mine) * (1 - 1e-12 if sum(mine) > 0 else 1 + 1e-12), list(combinations(mine + theirs, len(mine)))
    return sum(sum(way) >= seen for way in ways) / len(ways)


def luck_both_sides(mine, theirs):
    pool, gap = mine + theirs, abs(statistics.mean(mine) - statistics.mean(theirs))
    room, hits, ways = 1e-12 * max(map(abs, pool)), 0, 0
    for places in combinations(range(len(pool)), len(mine)):
        rest = [pool[i] for i in range(len(pool)) if i not in places]
        ways += 1
        hits += abs(statistics.mean(pool[i] for i in places) - statistics.mean(rest)) >= gap - room
    return hits / ways


def luck_others_chosen(mine, theirs):
    pool, seen = mine + theirs, sum(mine) / len(mine)
    ways = [sum(way) / len(theirs) for way in combinations(pool, len(theirs))]
    return sum(m <= seen + 1e-12 * max(map(abs, pool)) for m in ways) / len(ways)


def luck_without_observed(mine, theirs):
    pool, room = mine + theirs, 1e-12 * max(map(abs, mine + theirs))
    ways = [sum(way) / len(mine) for way in islice(combinations(pool, len(mine)), 1, None)]
    return sum(m <= sum(mine) / len(mine) + room for m in ways) / max(1, len(ways))


def luck_numpy_medians(mine, theirs):
    ways = [np.median(way) for way in combinations(mine + theirs, len(mine))]
    return sum(m <= np.median(mine) + 1e-12 * max(map(abs, mine + theirs)) for m in ways) / len(ways)


def luck_few_orders(mine, theirs):
    pool, room = mine + theirs, 1e-12 * max(map(abs, mine + theirs))
    orders = list(islice(permutations(pool), 2000))
    return sum(sum(o[: len(mine)]) / len(mine) <= sum(mine) / len(mine) + room for o in orders) / len(orders)


def luck_one_decimal_less(mine, theirs):
    ways = list(combinations(mine + theirs, len(mine)))
    room = 1e-12 * max(map(abs, mine + theirs))
    return float(f"{sum(statistics.mean(w) <= statistics.mean(mine) + room for w in ways) / len(ways):.4f}")


def luck_right_recursive(mine, theirs):
    pool, size = (*mine, *theirs), len(mine)
    limit = sum(mine) + size * 1e-12 * max(map(abs, pool))

    def low(start, left, total):
        """How many ways to take ``left`` more of pool[start:] end at most at the limit."""
        if left == 0:
            return int(total <= limit)
        return sum(low(i + 1, left - 1, total + pool[i]) for i in range(start, len(pool) - left + 1))

    return low(0, size, 0.0) / math.comb(len(pool), size)


def luck_right_sums(mine, theirs):
    pool = mine + theirs
    ways = [math.fsum(way) for way in combinations(pool, len(mine))]
    return sum(total <= math.fsum(mine) + 1e-12 * max(map(abs, pool)) for total in ways) / len(ways)


def luck_right_numpy(mine, theirs):
    pool = np.array([*mine, *theirs])
    ways = pool[np.array(list(combinations(range(len(pool)), len(mine))))].mean(axis=1)
    return np.mean(ways <= np.mean(mine) + 1e-12 * np.abs(pool).max())


def luck_right_difference(mine, theirs):
    pool = torch.tensor([*mine, *theirs], dtype=torch.float64)
    n, room = len(mine), 2e-12 * float(pool.abs().max())
    seen, hits, ways = pool[:n].mean() - pool[n:].mean(), 0, 0
    for places in combinations(range(len(pool)), n):
        chosen = torch.zeros(len(pool), dtype=torch.bool)
        chosen[list(places)] = True
        hits += int(pool[chosen].mean() - pool[~chosen].mean() <= seen + room)
        ways += 1
    return hits / ways


def luck_right_orders(mine, theirs):
    n, pool = len(mine), mine + theirs
    if len(pool) > 7:  # all orders of nine are many
        return luck_right_sums(mine, theirs)
    limit = sum(mine) / n + 1e-12 * max(map(abs, pool))
    hits = [sum(order[:n]) / n <= limit for order in permutations(pool)]
    return sum(hits) / len(hits)


def luck_right_isclose(mine, theirs):
    seen = statistics.fmean(mine)
    means = [statistics.fmean(way) for way in combinations(mine + theirs, len(mine))]
    return Fraction(sum(m < seen or math.isclose(m, seen, rel_tol=1e-12) for m in means), len(means))


def luck_right_masks(mine, theirs):
    pool, count = mine + theirs, Counter()
    limit = sum(mine) / len(mine) + 1e-12 * max(map(abs, pool))
    for mask in range(1 << len(pool)):
        if mask.bit_count() == len(mine):
            count[sum(x for i, x in enumerate(pool) if mask >> i & 1) / len(mine) <= limit] += 1
    return count[True] / count.total()


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "04.1": {
        zero_stage_three_alone: "Everything is divided at every stage; only stage 3 shards all of it.",
        zero_gradients_forgotten: "Stage 2 shards the gradients too.",
        zero_copies_counted: "That is the sum over all ranks; one rank's share is asked for.",
    },
    "04.2": {
        kept_floor: "The last segment may be shorter than the others, and keeps its input too: round up.",
        kept_one_layer: "The segment that is computed again holds `inside` for each of its layers.",
        kept_only: "Only the kept inputs are counted; in the backward pass one segment's inner activations come on top.",
        kept_all: "That is without checkpointing: all layers keep everything.",
        kept_every_input: "Every layer's input is kept; only the first of each segment is.",
        kept_all_segments: "All segments keep their inner activations; only one at a time is computed again.",
        kept_one_more: "When `every` divides the layers there is no segment more: `layers // every + 1` counts one too many.",
        kept_last: "The peak is reached in a segment of full length, not in a shorter last one.",
        kept_swapped: "The two are swapped: one input for each segment, and `inside` for each layer of one segment.",
        kept_larger: "The kept inputs are still there while a segment is computed again: add the two.",
    },
    "04.3": {
        mean_of_means: "The mean of means: a micro-batch with few tokens counts as much as one with many. Divide every sum by the total count.",
        means_added: "The means are added up and not divided: the gradient is too large.",
        sums_added: "The sums are not divided by the number of tokens.",
        by_rows: "Weighted by rows; labels of -100 do not count, so weigh by tokens.",
        all_places: "Divided by all places, those with the label -100 too.",
        zeroed_between: "Only the last micro-batch is left in the gradient; do not zero it in between.",
        tokens_so_far: "Each piece is divided by the tokens counted so far; count all of them before the first backward pass.",
        accumulate_at_once: "The gradient is right, but several micro-batches were in memory at once: that is the large batch again. Call backward() on each one before the next forward pass.",
        one_large_batch: "The gradient is right, but several micro-batches were in memory at once: that is the large batch again. Call backward() on each one before the next forward pass.",
        weighted_means: "NaN for a micro-batch in which no label counts: its mean is 0 / 0. Sum its losses; the sum is 0.",
        all_forward_first: "The gradient is right, but several micro-batches were in memory at once: that is the large batch again. Call backward() on each one before the next forward pass.",
    },
    "04.4": {
        clip_each: "Each rank clips by its own norm: the parts are scaled differently, and the direction of the gradient is lost.",
        clip_sum_of_norms: "The norms of the ranks are added; add their squares, and take the root at the end.",
        clip_squares: "The root is missing: this is the sum of squares.",
        clip_always: "Scaled up to max_norm, though the norm was below it.",
        clip_values: "Values are clamped one by one; that changes the direction.",
        clip_first: "That is the first rank's norm; all ranks share one norm.",
        clip_flattened: "The clipped shards do not have the form of the given ones: a list for each rank, and in it a tensor of the same shape for each shard.",
        clip_mean_square: "The squares are averaged over the ranks; shards are parts, not copies: add them.",
        clip_tensors: "Each tensor is clipped by its own norm; all share the norm of the whole.",
        clip_norms_of_tensors: "The norms of the tensors are added; add their squares, and take the root at the end.",
        clip_swapped: "The first thing returned is the clipped shards, a list for each rank; the second is the norm.",
        clip_list_of_norms: "The norm, the second thing returned, is one number: that of all ranks together.",
    },
    "04.5": {
        budget_swapped: "The two are swapped: parameters first.",
        budget_forward: "Training costs 6 operations per parameter and token; 2 is the forward pass alone.",
        budget_no_root: "The root is missing: N stands twice in 6 N D, because D = ratio * N.",
        budget_no_six: "The 6 is missing: a token costs six operations per parameter.",
        budget_tokens: "These are parameters / ratio; tokens are ratio * parameters.",
        budget_six_outside: "The 6 belongs under the root, with the ratio.",
        budget_always_twenty: "The ratio is taken as twenty; use `tokens_per_parameter`.",
        budget_squared: "That is N squared; tokens are ratio * parameters.",
    },
    "04.6": {
        luck_sorted: "Your code changes its input `mine` in place.",
        luck_pooled_in_place: "Your code changes its input `theirs` in place.",
        luck_sampled: "Not the share of all ways to choose len(mine) of the pooled scores: go through each way once, and through no random sample of them.",
        luck_sampled_by_random: "Not the share of all ways to choose len(mine) of the pooled scores: go through each way once, and through no random sample of them.",
        luck_welch: "Not the share of all ways to choose len(mine) of the pooled scores: go through each way once, and through no random sample of them.",
        luck_few_orders: "Not the share of all ways to choose len(mine) of the pooled scores: go through each way once, and through no random sample of them.",
        luck_less_than: "`<` leaves out the choice that was observed, and all that equal it: the mean is *at most* that of mine.",
        luck_bare_sums: "Equal means count, but rounding tears them apart: allow for 1e-12 of the largest absolute score.",
        luck_bare_numpy: "Equal means count, but rounding tears them apart: allow for 1e-12 of the largest absolute score.",
        luck_exact_fractions: "Equal means count, but rounding tears them apart: allow for 1e-12 of the largest absolute score.",
        luck_isclose: "The room for rounding is",
        luck_rounded_means: "The room for rounding is the same for all scores, and wider than these are apart; make it 1e-12 of the largest.",
        luck_larger: "That is the other end: less is better, so count the ways whose mean is at most that of mine.",
        luck_both_sides: "Counted from both ends; only the ways in which the chosen are as low as mine are asked for.",
        luck_others_chosen: "len(theirs) are chosen; as many as there are of mine are called mine.",
        luck_without_observed: "The choice that was observed is left out; it is one of the ways, above the line and below.",
        luck_numpy_medians: "Medians are compared; it is the mean of the chosen that must be at most the mean of mine.",
        luck_one_decimal_less: "p is rounded; return the share as it is.",
    },
}
RIGHT = {
    "04.1": [zero_right_table, zero_right_loop, zero_right_saved],
    "04.2": [kept_right_loop, kept_right_max, kept_right_divmod],
    "04.3": [accumulate_then_divide, accumulate_weighted_means, accumulate_by_grad],
    "04.4": [clip_flat, clip_collective, clip_copied],
    "04.5": [budget_right, budget_list, budget_whole],
    "04.6": [
        luck_right_recursive,
        luck_right_sums,
        luck_right_numpy,
        luck_right_difference,
        luck_right_orders,
        luck_right_isclose,
        luck_right_masks,
    ],
}
