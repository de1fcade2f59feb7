"""Bugs of chapter 07 that its checks have not seen, and other right answers."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_utils.classroom.checks.ch07 import Adapter, early_stop, split_by_group, unfrozen


def _assign(labels, groups, shares, order):
    """Parts of whole groups, label by label; ``order`` says in which order a label's groups are dealt."""
    part_of = {}
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(g for g, its in zip(groups, labels, strict=True) if its == label))
        ends = [round(sum(shares[: i + 1]) * len(own)) for i in range(len(shares))]
        for place, group in enumerate(order(own)):
            part_of[group] = sum(place >= end for end in ends)
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


def split_without_labels(labels, groups, shares, seed=0):
    own = list(dict.fromkeys(groups))
    random.Random(seed + 1).shuffle(own)
    ends = [round(sum(shares[: i + 1]) * len(own)) for i in range(len(shares))]
    part_of = {group: sum(place >= end for end in ends) for place, group in enumerate(own)}
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


def split_unseeded(labels, groups, shares, seed=0):
    return _assign(labels, groups, shares, lambda own: random.SystemRandom().sample(own, len(own)))


def split_unshuffled(labels, groups, shares, seed=0):
    return _assign(labels, groups, shares, lambda own: own)


def split_two_parts(labels, groups, shares, seed=0):
    first, *others = split_by_group(labels, groups, shares, seed)
    return [first, sorted(sum(others, []))]


def split_through_a_set(labels, groups, shares, seed=0):
    """Right today, another split tomorrow: the order of a set of strings changes with each start of Python."""
    rng = random.Random(seed)
    return _assign(labels, groups, shares, lambda own: rng.sample(list(set(own)), len(own)))


def split_rows_unsorted(labels, groups, shares, seed=0):
    return [sorted(part, key=lambda row: groups[row]) for part in split_by_group(labels, groups, shares, seed)]


def split_right(labels, groups, shares, seed=0):
    rng = random.Random(seed)
    return _assign(labels, groups, shares, lambda own: rng.sample(own, len(own)))


def split_with_arrays(labels, groups, shares, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parts = _assign(labels, groups, shares, lambda own: [own[i] for i in torch.randperm(len(own), generator=generator)])
    return tuple(np.array(part, dtype=int) for part in parts)


def split_sorted_names(labels, groups, shares, seed=0):
    """A set, but sorted before it is shuffled."""
    rng, part_of = random.Random(seed), {}
    for label in sorted(set(labels)):
        own = sorted({g for g, its in zip(groups, labels, strict=True) if its == label})
        rng.shuffle(own)
        cuts = np.rint(np.cumsum(shares) * len(own)).astype(int)
        for part, chunk in enumerate(np.split(np.arange(len(own)), cuts[:-1])):
            part_of |= {own[index]: part for index in chunk}
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


def unfrozen_twice(names, epoch):
    return [name for e in range(epoch + 1) for name in unfrozen(names, e)]


def unfrozen_one_name(names, epoch):
    return unfrozen(names, epoch)[0]


def unfrozen_upside_down(names, epoch):
    """The lowest block first, found by another way than in the table: the embedding with it."""
    free = {str(number) for number in range(epoch)}
    return [
        n for n in names if ("layers" not in n and "embed" not in n) or n.split("layers.")[-1].split(".")[0] in free
    ]


def unfrozen_set(names, epoch):
    return set(unfrozen(names, epoch))


def unfrozen_in_steps(names, epoch):
    import re

    numbers = {name: int(found[1]) for name in names if (found := re.search(r"layers\.(\d+)\.", name))}
    order = sorted(set(numbers.values()), reverse=True)
    free = [name for name in names if name not in numbers and "embed_tokens" not in name]
    free += [name for name in numbers if numbers[name] in order[:epoch]]
    if epoch > len(order):
        free += [name for name in names if "embed_tokens" in name]
    return free


class AdapterRandomStart(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)

    def forward(self, x):
        return x + self.up(torch.relu(self.down(x)))


class AdapterBiasLeft(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return x + self.up(torch.relu(self.down(x)))


class AdapterWithoutBias(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck, bias=False), nn.Linear(bottleneck, hidden, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return x + self.up(torch.relu(self.down(x)))


class AdapterTurned(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.up, self.down = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class AdapterSequential(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        self.path = nn.Sequential(self.down, nn.ReLU(inplace=True), self.up)
        for parameter in self.up.parameters():
            nn.init.constant_(parameter, 0.0)

    def forward(self, x):
        return self.path(x) + x


class AdapterFunctional(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.up = nn.Linear(bottleneck, hidden)
        self.down = nn.Linear(hidden, bottleneck)
        for parameter in self.up.parameters():
            parameter.data.zero_()

    def forward(self, x):
        return self.up(self.down(x).clamp(min=0)).add(x)


class AdapterSmallDown(Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)
        nn.init.normal_(self.down.weight, std=0.01)
        nn.init.zeros_(self.down.bias)

    def forward(self, x):
        inner = F.relu(F.linear(x, self.down.weight, self.down.bias))
        return F.linear(inner, self.up.weight, self.up.bias) + x


def prefix_masked(q, k, v, prefix_k, prefix_v):
    length, n = q.shape[2], prefix_k.shape[1]
    keys, values = _with_prefix(q, k, v, prefix_k, prefix_v)
    mask = torch.cat((torch.zeros(length, n), torch.ones(length, length).tril()), 1).bool()
    return F.scaled_dot_product_attention(q, keys, values, mask)


def prefix_is_causal(q, k, v, prefix_k, prefix_v):
    return F.scaled_dot_product_attention(q, *_with_prefix(q, k, v, prefix_k, prefix_v), is_causal=True)


def prefix_detached(q, k, v, prefix_k, prefix_v):
    return prefix_fused(q, k, v, prefix_k.detach(), prefix_v.detach())


def prefix_fused(q, k, v, prefix_k, prefix_v):
    length, n = q.shape[2], prefix_k.shape[1]
    mask = torch.ones(length, n + length, dtype=torch.bool).tril(n)
    return F.scaled_dot_product_attention(q, *_with_prefix(q, k, v, prefix_k, prefix_v), mask)


def _with_prefix(q, k, v, prefix_k, prefix_v):
    return (torch.cat((own.expand(len(q), -1, -1, -1), part), 2) for own, part in ((prefix_k, k), (prefix_v, v)))


def prefix_token_by_token(q, k, v, prefix_k, prefix_v):
    rows = []
    for i in range(q.shape[2]):
        keys = torch.cat([prefix_k[None].repeat(len(q), 1, 1, 1), k[:, :, : i + 1]], 2)
        values = torch.cat([prefix_v[None].repeat(len(q), 1, 1, 1), v[:, :, : i + 1]], 2)
        weights = torch.einsum("bhd,bhkd->bhk", q[:, :, i], keys).div(q.shape[-1] ** 0.5).softmax(-1)
        rows.append(torch.einsum("bhk,bhkd->bhd", weights, values))
    return torch.stack(rows, 2)


def prefix_behind_with_its_mask(q, k, v, prefix_k, prefix_v):
    length, n = q.shape[2], prefix_k.shape[1]
    keys = torch.cat((k, prefix_k.repeat(len(q), 1, 1, 1)), 2)
    values = torch.cat((v, prefix_v.repeat(len(q), 1, 1, 1)), 2)
    mask = torch.cat((torch.ones(length, length).tril(), torch.ones(length, n)), 1).bool()
    return F.scaled_dot_product_attention(q, keys, values, mask)


def prefix_by_parts(q, k, v, prefix_k, prefix_v):
    """Two softmaxes, weighed by their sums: the gate of He et al., arXiv 2110.04366, section 3.1."""
    size, length = q.shape[-1], q.shape[2]
    text = (q @ k.transpose(-1, -2) / size**0.5).masked_fill(~torch.ones(length, length).tril().bool(), -torch.inf)
    before = q @ prefix_k.transpose(-1, -2) / size**0.5
    gate = torch.sigmoid(before.logsumexp(-1, keepdim=True) - text.logsumexp(-1, keepdim=True))
    return (1 - gate) * (text.softmax(-1) @ v) + gate * (before.softmax(-1) @ prefix_v)


def stop_best_loss(losses, patience, min_delta=0.0):
    step, best = early_stop(losses, patience, min_delta)
    return step, losses[best]


def stop_one_number(losses, patience, min_delta=0.0):
    return early_stop(losses, patience, min_delta)[1]


def stop_counts_equal_losses(losses, patience, min_delta=0.0):
    """An equal loss is taken for an improvement, whatever min_delta is."""
    best = 0
    for step, loss in enumerate(losses):
        if loss <= losses[best] - min_delta:
            best = step
        elif step - best == patience:
            return step, best
    return len(losses) - 1, best


def _stop(losses, patience, better):
    best, waited = 0, 0
    for step in range(1, len(losses)):
        if better(losses, step, best):
            best, waited = step, 0
        else:
            waited += 1
        if waited >= patience:
            return step, best
    return len(losses) - 1, best


def stop_right(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda x, step, best: x[step] < x[best] - min_delta)


def stop_by_value(losses, patience, min_delta=0.0):
    lowest, best = float("inf"), 0
    for step, loss in enumerate(losses):
        if lowest - loss > min_delta:
            lowest, best = loss, step
        elif step - best == patience:
            return [step, best]
    return [len(losses) - 1, best]


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "07.1": {
        split_two_parts: "A list of 3 parts is wanted, one for each share.",
        split_without_labels: "The parts do not have their share of each label's groups",
        split_unseeded: "Twice the same seed gave two different splits.",
        split_unshuffled: "The split does not depend on the seed: six seeds gave the same parts.",
        split_through_a_set: "The split hangs on the order of a set, which is another one each time Python starts",
        split_rows_unsorted: "The row numbers of a part are to stand in rising order, as in the data.",
    },
    "07.2": {
        unfrozen_twice: "A name stands in the list twice; its numbers would be counted twice.",
        unfrozen_one_name: "A list of names is wanted.",
        unfrozen_upside_down: "Blocks are set free from the bottom",
    },
    "07.3": {
        AdapterRandomStart: "At the start the adapter changes what comes in.",
        AdapterBiasLeft: "At the start the adapter changes what comes in.",
        AdapterWithoutBias: "`down` has no bias; the paper's adapters have one in both layers.",
        AdapterTurned: "`down` goes from 3 to 6 numbers; from 6 to 3 is wanted.",
    },
    "07.4": {
        prefix_masked: "The prefix is not seen at all.",
        prefix_is_causal: "The mask was not moved: token i sees i + 1 of all n + length places",
        prefix_detached: "No gradient reaches prefix_k and prefix_v.",
    },
    "07.5": {
        stop_best_loss: "A loss is returned; both are positions",
        stop_one_number: "Two numbers are wanted: `return stop, best`.",
        stop_counts_equal_losses: "A gain of exactly min_delta counts here (with 0: an equal loss).",
    },
}
RIGHT = {
    "07.1": [split_right, split_with_arrays, split_sorted_names],
    "07.2": [unfrozen_set, unfrozen_in_steps],
    "07.3": [AdapterFunctional, AdapterSmallDown, AdapterSequential],
    "07.4": [prefix_fused, prefix_behind_with_its_mask, prefix_by_parts, prefix_token_by_token],
    "07.5": [stop_right, stop_by_value],
}
