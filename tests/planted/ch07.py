"""Planted bugs and other right answers of chapter 07."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def _assign(labels, groups, shares, order):
    """Parts of whole groups, label by label; ``order`` says in which order a label's groups are dealt."""
    part_of = {}
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(g for g, its in zip(groups, labels, strict=True) if its == label))
        ends = [round(sum(shares[: i + 1]) * len(own)) for i in range(len(shares))]
        for place, group in enumerate(order(own)):
            part_of[group] = sum(place >= end for end in ends)
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


def split_by_rows(labels, groups, shares, seed=0):
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    ends = [0, *(round(sum(shares[: i + 1]) * len(labels)) for i in range(len(shares)))]
    return [sorted(order[a:b]) for a, b in zip(ends, ends[1:], strict=False)]


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


def split_names_of_groups(labels, groups, shares, seed=0):
    parts = split_right(labels, groups, shares, seed)
    return [[groups[row] for row in part] for part in parts]


def split_tail_lost(labels, groups, shares, seed=0):
    parts = split_right(labels, groups, shares, seed)
    return [*parts[:-1], parts[-1][:-2]]


def split_one_row_each(labels, groups, shares, seed=0):
    parts = split_right(labels, groups, shares, seed)
    return [[row for row in part if row == groups.index(groups[row])] for part in parts]


def split_overlapping(labels, groups, shares, seed=0):
    parts = split_right(labels, groups, shares, seed)
    return [parts[0], sorted(parts[0] + parts[1]), parts[2]] if len(parts) == 3 else parts


def split_two_parts(labels, groups, shares, seed=0):
    parts = split_right(labels, groups, shares, seed)
    return [parts[0], sorted(sum(parts[1:], []))]


def _cut(labels, groups, shares, seed, ends_of, groups_of=dict.fromkeys):
    rng, part_of = np.random.default_rng(seed), {}
    for label in dict.fromkeys(labels):
        own = list(groups_of(g for g, its in zip(groups, labels, strict=True) if its == label))
        ends = ends_of(len(own))
        for place, index in enumerate(rng.permutation(len(own))):
            part_of[own[index]] = sum(place >= end for end in ends)
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


def split_rounded_down(labels, groups, shares, seed=0):
    return _cut(labels, groups, shares, seed, lambda n: [int(sum(shares[: i + 1]) * n) for i in range(len(shares))])


def split_each_share_rounded(labels, groups, shares, seed=0):
    return _cut(labels, groups, shares, seed, lambda n: np.cumsum([round(share * n) for share in shares]).tolist())


def split_through_a_set(labels, groups, shares, seed=0):
    """Right today, another split tomorrow: the order of a set of strings changes with each start of Python."""
    return _cut(
        labels, groups, shares, seed, lambda n: [round(sum(shares[: i + 1]) * n) for i in range(len(shares))], set
    )


def split_by_share_of_rows(labels, groups, shares, seed=0):
    rng, part_of = np.random.default_rng(seed), {}
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(g for g, its in zip(groups, labels, strict=True) if its == label))
        rows, done = labels.count(label), 0
        for index in rng.permutation(len(own)):
            part_of[own[index]] = sum(done >= sum(shares[: i + 1]) * rows - 1e-9 for i in range(len(shares) - 1))
            done += groups.count(own[index])
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


def split_rows_unsorted(labels, groups, shares, seed=0):
    return [sorted(part, key=lambda row: groups[row]) for part in split_right(labels, groups, shares, seed)]


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


def split_right(labels, groups, shares, seed=0):
    rng = random.Random(seed)
    return _assign(labels, groups, shares, lambda own: rng.sample(own, len(own)))


def split_with_arrays(labels, groups, shares, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parts = _assign(labels, groups, shares, lambda own: [own[i] for i in torch.randperm(len(own), generator=generator)])
    return tuple(np.array(part, dtype=int) for part in parts)


def _depth(name, highest):
    if "layers." in name:
        return highest - int(name.split("layers.")[1].split(".")[0]) + 1
    return highest + 2 if "embed" in name else 0


def _highest(names):
    return max(int(name.split("layers.")[1].split(".")[0]) for name in names if "layers." in name)


def unfrozen_only_newest(names, epoch):
    return [name for name in names if _depth(name, _highest(names)) == epoch]


def unfrozen_from_the_bottom(names, epoch):
    def rule(name):
        if "layers." in name:
            return int(name.split("layers.")[1].split(".")[0]) < epoch
        return "embed" not in name or epoch >= _highest(names) + 2

    return [name for name in names if rule(name)]


def unfrozen_too_early(names, epoch):
    return [name for name in names if _depth(name, _highest(names)) <= epoch + 1]


def unfrozen_with_embedding(names, epoch):
    return [name for name in names if "embed" in name or _depth(name, _highest(names)) <= epoch]


def unfrozen_without_embedding(names, epoch):
    return [name for name in names if "embed" not in name and _depth(name, _highest(names)) <= epoch]


def unfrozen_without_norm(names, epoch):
    return [name for name in names if "norm" not in name and _depth(name, _highest(names)) <= epoch]


def unfrozen_frozen(names, epoch):
    return [name for name in names if _depth(name, _highest(names)) > epoch]


def unfrozen_one_digit(names, epoch):
    number = {name: int(name.split("layers.")[1][0]) for name in names if "layers." in name}
    highest = max(number.values())
    deep = {
        name: highest - number[name] + 1 if name in number else (highest + 2 if "embed" in name else 0)
        for name in names
    }
    return [name for name in names if deep[name] <= epoch]


def unfrozen_four_blocks(names, epoch):
    return [name for name in names if _depth(name, 3) <= epoch]


def unfrozen_embedding_with_first_block(names, epoch):
    highest = _highest(names)
    return [name for name in names if min(_depth(name, highest), highest + 1) <= epoch]


def unfrozen_with_all_norms(names, epoch):
    return [name for name in names if "norm" in name or _depth(name, _highest(names)) <= epoch]


def unfrozen_twice(names, epoch):
    return [name for e in range(epoch + 1) for name in names if _depth(name, _highest(names)) <= e]


def unfrozen_by_place(names, epoch):
    order = list(dict.fromkeys(name.split(".")[2] for name in names if "layers." in name))[::-1]
    free = [name for name in names if "layers." in name and name.split(".")[2] in order[:epoch]]
    return free + [n for n in names if "layers." not in n and ("embed" not in n or epoch > len(order))]


def unfrozen_head_by_name(names, epoch):
    top = ("model.norm.weight", "score.weight")
    return [n for n in names if n in top or (0 < _depth(n, _highest(names)) <= epoch)]


def unfrozen_all(names, epoch):
    return list(names)


def unfrozen_set(names, epoch):
    free = set()
    for name in names:
        if _depth(name, _highest(names)) <= epoch:
            free.add(name)
    return free


def unfrozen_in_steps(names, epoch):
    import re

    numbers = {name: int(found[1]) for name in names if (found := re.search(r"layers\.(\d+)\.", name))}
    order = sorted(set(numbers.values()), reverse=True)
    free = [name for name in names if name not in numbers and "embed_tokens" not in name]
    free += [name for name in numbers if numbers[name] in order[:epoch]]
    if epoch > len(order):
        free += [name for name in names if "embed_tokens" in name]
    return free


class _Adapter(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)


class AdapterWithoutSkip(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)

    def forward(self, x):
        return self.up(torch.relu(self.down(x)))


class AdapterLinear(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)

    def forward(self, x):
        return x + self.up(self.down(x))


class AdapterReluLast(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)

    def forward(self, x):
        return x + torch.relu(self.up(self.down(x)))


class AdapterGelu(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)

    def forward(self, x):
        return x + self.up(F.gelu(self.down(x)))


class AdapterBothZero(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)
        nn.init.zeros_(self.down.weight)

    def forward(self, x):
        return x + self.up(torch.relu(self.down(x)))


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


class AdapterOverwrites(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)

    def forward(self, x):
        x += self.up(torch.relu(self.down(x)))
        return x


class AdapterFrozen(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)
        self.up.requires_grad_(False)

    def forward(self, x):
        return x + self.up(torch.relu(self.down(x)))


class AdapterEqualRows(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)
        nn.init.constant_(self.down.weight, 0.02)

    def forward(self, x):
        return x + self.up(torch.relu(self.down(x)))


class AdapterDetached(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)

    def forward(self, x):
        x = x.detach()
        return x + self.up(torch.relu(self.down(x)))


class AdapterDropout(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)

    def forward(self, x):
        return x + F.dropout(self.up(torch.relu(self.down(x))), 0.1)


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


class AdapterSmallDown(_Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)
        nn.init.normal_(self.down.weight, std=0.01)
        nn.init.zeros_(self.down.bias)

    def forward(self, x):
        inner = F.relu(F.linear(x, self.down.weight, self.down.bias))
        return F.linear(inner, self.up.weight, self.up.bias) + x


def _with_prefix(q, k, v, prefix_k, prefix_v, mask=None, scale=None):
    batch, _, length, size = q.shape
    keys = torch.cat((prefix_k.expand(batch, -1, -1, -1), k), 2)
    values = torch.cat((prefix_v.expand(batch, -1, -1, -1), v), 2)
    n = prefix_k.shape[1]
    mask = torch.ones(length, n + length).tril(n).bool() if mask is None else mask
    scores = q @ keys.transpose(-1, -2) / (size**0.5 if scale is None else scale)
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ values


def prefix_unseen(q, k, v, prefix_k, prefix_v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def prefix_masked(q, k, v, prefix_k, prefix_v):
    length, n = q.shape[2], prefix_k.shape[1]
    mask = torch.cat((torch.zeros(length, n), torch.ones(length, length).tril()), 1).bool()
    return _with_prefix(q, k, v, prefix_k, prefix_v, mask)


def prefix_mask_not_moved(q, k, v, prefix_k, prefix_v):
    return _with_prefix(
        q, k, v, prefix_k, prefix_v, torch.ones(q.shape[2], prefix_k.shape[1] + q.shape[2]).tril().bool()
    )


def prefix_is_causal(q, k, v, prefix_k, prefix_v):
    keys = torch.cat((prefix_k.expand(len(q), -1, -1, -1), k), 2)
    values = torch.cat((prefix_v.expand(len(q), -1, -1, -1), v), 2)
    return F.scaled_dot_product_attention(q, keys, values, is_causal=True)


def prefix_without_mask(q, k, v, prefix_k, prefix_v):
    return _with_prefix(q, k, v, prefix_k, prefix_v, torch.ones(q.shape[2], prefix_k.shape[1] + q.shape[2]).bool())


def prefix_unscaled(q, k, v, prefix_k, prefix_v):
    return _with_prefix(q, k, v, prefix_k, prefix_v, scale=1.0)


def prefix_exchanged(q, k, v, prefix_k, prefix_v):
    return _with_prefix(q, k, v, prefix_v, prefix_k)


def prefix_two_softmaxes(q, k, v, prefix_k, prefix_v):
    text = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return text + (q @ prefix_k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ prefix_v


def prefix_behind(q, k, v, prefix_k, prefix_v):
    length, n = q.shape[2], prefix_k.shape[1]
    keys = torch.cat((k, prefix_k.expand(len(q), -1, -1, -1)), 2)
    values = torch.cat((v, prefix_v.expand(len(q), -1, -1, -1)), 2)
    return F.scaled_dot_product_attention(q, keys, values, torch.ones(length, n + length).tril(n).bool())


def _scores(q, k, v, prefix_k, prefix_v):
    keys = torch.cat((prefix_k.expand(len(q), -1, -1, -1), k), 2)
    values = torch.cat((prefix_v.expand(len(q), -1, -1, -1), v), 2)
    mask = torch.ones(q.shape[2], keys.shape[2], dtype=torch.bool).tril(prefix_k.shape[1])
    return q @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5, mask, values


def prefix_zero_scores(q, k, v, prefix_k, prefix_v):
    scores, mask, values = _scores(q, k, v, prefix_k, prefix_v)
    return scores.masked_fill(~mask, 0.0).softmax(-1) @ values


def prefix_masked_too_late(q, k, v, prefix_k, prefix_v):
    scores, mask, values = _scores(q, k, v, prefix_k, prefix_v)
    return scores.softmax(-1).masked_fill(~mask, 0.0) @ values


def prefix_mask_turned(q, k, v, prefix_k, prefix_v):
    scores, mask, values = _scores(q, k, v, prefix_k, prefix_v)
    return scores.masked_fill(mask, -torch.inf).softmax(-1) @ values


def prefix_wrong_axis(q, k, v, prefix_k, prefix_v):
    scores, mask, values = _scores(q, k, v, prefix_k, prefix_v)
    return scores.masked_fill(~mask, -1e9).softmax(-2) @ values


def prefix_keys_as_values(q, k, v, prefix_k, prefix_v):
    return _with_prefix(q, k, v, prefix_k, prefix_k)


def prefix_mean_of_two(q, k, v, prefix_k, prefix_v):
    text = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return (text + (q @ prefix_k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ prefix_v) / 2


def prefix_token_by_token(q, k, v, prefix_k, prefix_v):
    rows = []
    for i in range(q.shape[2]):
        keys = torch.cat([prefix_k[None].repeat(len(q), 1, 1, 1), k[:, :, : i + 1]], 2)
        values = torch.cat([prefix_v[None].repeat(len(q), 1, 1, 1), v[:, :, : i + 1]], 2)
        weights = torch.einsum("bhd,bhkd->bhk", q[:, :, i], keys).div(q.shape[-1] ** 0.5).softmax(-1)
        rows.append(torch.einsum("bhk,bhkd->bhd", weights, values))
    return torch.stack(rows, 2)


def prefix_fused(q, k, v, prefix_k, prefix_v):
    length, n = q.shape[2], prefix_k.shape[1]
    keys = torch.cat((prefix_k.expand(len(q), -1, -1, -1), k), 2)
    values = torch.cat((prefix_v.expand(len(q), -1, -1, -1), v), 2)
    return F.scaled_dot_product_attention(q, keys, values, torch.ones(length, n + length, dtype=torch.bool).tril(n))


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


def stop_previous(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda x, step, best: x[step] < x[step - 1] - min_delta)


def stop_without_delta(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda x, step, best: x[step] < x[best])


def stop_equal(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda x, step, best: x[step] <= x[best] - min_delta)


def stop_higher(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda x, step, best: x[step] > x[best] + min_delta)


def stop_late(losses, patience, min_delta=0.0):
    return _stop(losses, patience + 1, lambda x, step, best: x[step] < x[best] - min_delta)


def stop_no_reset(losses, patience, min_delta=0.0):
    best, waited = 0, 0
    for step in range(1, len(losses)):
        if losses[step] < losses[best] - min_delta:
            best = step
        else:
            waited += 1
        if waited >= patience:
            return step, best
    return len(losses) - 1, best


def stop_last_weights(losses, patience, min_delta=0.0):
    step, _ = stop_right(losses, patience, min_delta)
    return step, step


def stop_exchanged(losses, patience, min_delta=0.0):
    return stop_right(losses, patience, min_delta)[::-1]


def stop_never(losses, patience, min_delta=0.0):
    return len(losses) - 1, min(range(len(losses)), key=losses.__getitem__)


def stop_from_one(losses, patience, min_delta=0.0):
    step, best = stop_right(losses, patience, min_delta)
    return step + 1, best + 1


def stop_relative(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda x, step, best: x[step] < x[best] * (1 - min_delta))


def stop_lowest_kept(losses, patience, min_delta=0.0):
    step, _ = stop_right(losses, patience, min_delta)
    return step, min(range(step + 1), key=losses.__getitem__)


def stop_best_of_all(losses, patience, min_delta=0.0):
    return stop_right(losses, patience, min_delta)[0], min(range(len(losses)), key=losses.__getitem__)


def stop_best_loss(losses, patience, min_delta=0.0):
    step, best = stop_right(losses, patience, min_delta)
    return step, losses[best]


def stop_none(losses, patience, min_delta=0.0):
    step, best = stop_right(losses, patience, min_delta)
    return (step if step - best >= patience else None), best


def stop_from_zero(losses, patience, min_delta=0.0):
    lowest, best, waited = 0.0, 0, 0
    for step, loss in enumerate(losses):
        if loss < lowest - min_delta:
            lowest, best, waited = loss, step, 0
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
        split_by_rows: "Group a3 stands in part 0 and in part 1: a leak. All rows of a group go to one part.",
        split_without_labels: "The parts have the right number of groups, but not of each label. Cut the groups of every label for itself.",
        split_unseeded: "Twice the same seed gave two different splits. Draw from `numpy.random.default_rng(seed)`, and walk through lists, not through a set, whose order may change.",
        split_unshuffled: "The split does not depend on the seed: six seeds gave the same parts. Shuffle the groups before the cut.",
        split_names_of_groups: "The parts hold something else than row numbers. Return positions in `labels` and `groups`, not the groups themselves.",
        split_tail_lost: "2 of 30 rows are in no part. Do the cuts reach the end? Do all rows of a group go along?",
        split_one_row_each: "18 of 30 rows are in no part. Do the cuts reach the end? Do all rows of a group go along?",
        split_overlapping: "Row 0 stands in two places; each row belongs to one part.",
        split_two_parts: "A list of 3 parts is wanted, one for each share.",
        split_rounded_down: "The cuts are rounded down; round them: the sums 3.3, 6.7 and 10 give the cuts 3, 7 and 10.",
        split_each_share_rounded: "Each share is rounded for itself, and three times 3 leaves a group out. Round the *sums* of the shares.",
        split_through_a_set: "The split hangs on the order of a set, which is another one each time Python starts: the same seed would deal the groups anew. Collect the groups in a list or a dictionary, or sort them.",
        split_by_share_of_rows: "Ten groups in thirds: the sums 3.3, 6.7 and 10 are rounded to the cuts 3, 7 and 10. Count groups, not rows: a group with many rows is one group.",
        split_rows_unsorted: "The row numbers of a part are to stand in rising order, as in the data.",
    },
    "07.2": {
        unfrozen_only_newest: "Only the newest group trains. What was set free stays free: each epoch adds a group.",
        unfrozen_from_the_bottom: "Blocks are set free from the bottom; the highest number is nearest to the head and comes first.",
        unfrozen_too_early: "One group too many: in epoch 0 the head and the last norm train alone.",
        unfrozen_with_embedding: "The embedding trains too early; it is the deepest of all and comes last.",
        unfrozen_without_embedding: "The embedding never trains; after the first block it is set free too.",
        unfrozen_without_norm: "The last norm is missing: it stands above the blocks, and belongs to the head.",
        unfrozen_frozen: "That is what is frozen. The names that train are wanted.",
        unfrozen_one_digit: "Wrong for 12 blocks in mixed order: block 11 is above block 9. Compare the numbers, not the strings or the places, and read all digits.",
        unfrozen_all: "Everything trains in every epoch.",
        unfrozen_four_blocks: "One group too few: epoch 1 adds the last block. Is the number of blocks fixed? Read it from the names.",
        unfrozen_embedding_with_first_block: "The embedding trains too early; it is the deepest of all and comes last.",
        unfrozen_with_all_norms: "The norms of the blocks train from the start; only the last norm, `model.norm`, is above the blocks.",
        unfrozen_twice: "A name stands in the list twice; its numbers would be counted twice.",
        unfrozen_by_place: "Wrong for 12 blocks in mixed order: block 11 is above block 9. Compare the numbers, not the strings or the places, and read all digits.",
        unfrozen_head_by_name: "`score.bias` does not train. All that is in no block and is no embedding belongs to the head, whatever its name.",
    },
    "07.3": {
        AdapterWithoutSkip: "The adapter gives zero: what comes in is not passed on. Add it to the output of `up`.",
        AdapterLinear: "The nonlinearity is missing: down and up are then one thin matrix, as in LoRA.",
        AdapterReluLast: "The nonlinearity stands behind `up`; it belongs in the narrow place, between the two.",
        AdapterGelu: "GELU stands in the narrow place; ReLU is asked for.",
        AdapterBothZero: "Both layers start at zero. Then neither gets a gradient, and the adapter never learns: leave `down` random.",
        AdapterRandomStart: "At the start the adapter changes what comes in. It should pass it on exactly: weight and bias of `up` are zero.",
        AdapterBiasLeft: "At the start the adapter changes what comes in. It should pass it on exactly: weight and bias of `up` are zero.",
        AdapterWithoutBias: "`down` has no bias; the paper's adapters have one in both layers.",
        AdapterTurned: "`down` goes from 3 to 6 numbers; from 6 to 3 is wanted.",
        AdapterOverwrites: "The adapter overwrites what it gets (`x += ...`); others still need it. Return a new tensor: `x + ...`.",
        AdapterFrozen: "At the start `up` gets no gradient, so the adapter never learns. Is something frozen or detached, or is every ReLU shut?",
        AdapterEqualRows: "The rows of `down` are equal. They get equal gradients and stay equal, so the narrow place holds one number, not three: leave `down` random.",
        AdapterDetached: "No gradient reaches what comes in: the adapters below would not learn. Nothing is to be detached.",
        AdapterDropout: "Two calls with the same x differ; no dropout is asked for.",
    },
    "07.4": {
        prefix_unseen: "The prefix is not seen at all.",
        prefix_masked: "The prefix is not seen at all.",
        prefix_mask_not_moved: "The mask was not moved: token i sees i + 1 of all n + length places, so the first tokens see a piece of the prefix and no text. Use `tril(n)`.",
        prefix_is_causal: "The mask was not moved: token i sees i + 1 of all n + length places, so the first tokens see a piece of the prefix and no text. Use `tril(n)`.",
        prefix_without_mask: "No mask: tokens see the text to their right.",
        prefix_unscaled: "The scores are not divided by the root of head_dim.",
        prefix_exchanged: "Keys and values of the prefix are exchanged.",
        prefix_two_softmaxes: "Two softmaxes were added: prefix and text share one softmax, so that they compete.",
        prefix_behind: "The prefix stands behind the text, and the mask is made for one before it.",
        prefix_zero_scores: "Forbidden scores are set to 0, which softmax still gives weight; set them to -inf.",
        prefix_masked_too_late: "The mask comes after the softmax, so the weights of a token no longer sum to 1; mask the scores.",
        prefix_mask_turned: "NaN: for some token all places are forbidden. `masked_fill` fills where the mask is True; is the mask turned round?",
        prefix_wrong_axis: "The softmax runs over the tokens that look; over the places looked at (the last axis) each token's weights sum to 1.",
        prefix_keys_as_values: "The keys of the prefix are used as its values too.",
        prefix_mean_of_two: "The mean of two attentions is taken: prefix and text share one softmax, so that they compete.",
    },
    "07.5": {
        stop_previous: "Each loss is compared with the one before; compare it with the best so far. A slow rise passes unseen else.",
        stop_without_delta: "min_delta is not used: a smaller gain than that counts as none.",
        stop_equal: "A gain of exactly min_delta counts here (with 0: an equal loss). It must be more than that.",
        stop_higher: "Turned round: these are losses, and lower is better.",
        stop_late: "Stopped one evaluation too late: after `patience` evaluations without improvement it is over.",
        stop_no_reset: "The count of evaluations without improvement is never set back to 0 after an improvement.",
        stop_last_weights: "The weights of the last evaluation are kept. Go back to the best: the last ones are already overfitted.",
        stop_exchanged: "The two are exchanged: first where training stops, then which weights are kept.",
        stop_never: "It never stops early: after `patience` evaluations without improvement nothing more is looked at.",
        stop_from_one: "Counted from 1; evaluations are counted from 0.",
        stop_relative: "min_delta is taken as a share of the best loss; it is an amount, in the losses' own unit.",
        stop_lowest_kept: "The lowest loss is kept, though it lay below the best by min_delta or less: that is no improvement.",
        stop_best_of_all: "The best one lies behind the stop; what comes after it is never evaluated.",
        stop_best_loss: "A loss is returned; both are positions.",
        stop_none: "None is no position. If training never stops early, the first is the position of the last evaluation.",
        stop_from_zero: "No evaluation counts as an improvement. Does the best loss start at 0? Let it start at infinity, or at losses[0].",
    },
}
RIGHT = {
    "07.1": [split_right, split_with_arrays, split_sorted_names],
    "07.2": [unfrozen_set, unfrozen_in_steps],
    "07.3": [AdapterFunctional, AdapterSmallDown, AdapterSequential],
    "07.4": [prefix_fused, prefix_behind_with_its_mask, prefix_by_parts, prefix_token_by_token],
    "07.5": [stop_right, stop_by_value],
}
