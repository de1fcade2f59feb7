"""Planted bugs and other right answers of chapter 04."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def _state(n, ranks, stage, sizes=(2, 2, 12), order=(3, 2, 1)):
    return n * sum(size / (ranks if stage >= at else 1) for size, at in zip(sizes, order, strict=True))


def zero_whole(parameters, ranks, stage):
    return 16.0 * parameters


def zero_no_copy(parameters, ranks, stage):
    return _state(parameters, ranks, stage, (2, 2, 8))


def zero_float32(parameters, ranks, stage):
    return _state(parameters, ranks, stage, (4, 4, 8))


def zero_order(parameters, ranks, stage):
    return _state(parameters, ranks, stage, order=(1, 2, 3))


def zero_always(parameters, ranks, stage):
    return 16.0 * parameters / ranks


def zero_keeps_weights(parameters, ranks, stage):
    return _state(parameters, ranks, min(stage, 2))


def zero_right_table(parameters, ranks, stage):
    return parameters * [16, 4 + 12 / ranks, 2 + 14 / ranks, 16 / ranks][stage]


def zero_right_loop(parameters, ranks, stage):
    total = 0
    for size, at in ((2, 3), (2, 2), (12, 1)):
        total += size * parameters / ranks if stage >= at else size * parameters
    return total


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


def budget_right(flops, tokens_per_parameter):
    tokens = (flops * tokens_per_parameter / 6) ** 0.5
    return tokens / tokens_per_parameter, tokens


def budget_list(flops, tokens_per_parameter):
    n = (flops / (6 * tokens_per_parameter)) ** 0.5
    return [n, flops / (6 * n)]


BUGS = {
    "04.1": [zero_whole, zero_no_copy, zero_float32, zero_order, zero_always, zero_keeps_weights],
    "04.2": [kept_floor, kept_one_layer, kept_only, kept_all, kept_every_input, kept_all_segments],
    "04.3": [mean_of_means, means_added, sums_added, by_rows, all_places, zeroed_between],
    "04.4": [clip_each, clip_sum_of_norms, clip_squares, clip_always, clip_values, clip_first],
    "04.5": [budget_swapped, budget_forward, budget_no_root, budget_no_six, budget_tokens],
}
RIGHT = {
    "04.1": [zero_right_table, zero_right_loop],
    "04.2": [kept_right_loop, kept_right_max],
    "04.3": [accumulate_at_once, accumulate_then_divide],
    "04.4": [clip_flat, clip_collective],
    "04.5": [budget_right, budget_list],
}
