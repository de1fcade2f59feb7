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


BUGS = {
    "07.1": [
        split_by_rows,
        split_without_labels,
        split_unseeded,
        split_unshuffled,
        split_names_of_groups,
        split_tail_lost,
        split_one_row_each,
        split_overlapping,
        split_two_parts,
        split_rounded_down,
        split_each_share_rounded,
        split_through_a_set,
        split_by_share_of_rows,
        split_rows_unsorted,
    ],
    "07.2": [
        unfrozen_only_newest,
        unfrozen_from_the_bottom,
        unfrozen_too_early,
        unfrozen_with_embedding,
        unfrozen_without_embedding,
        unfrozen_without_norm,
        unfrozen_frozen,
        unfrozen_one_digit,
        unfrozen_all,
        unfrozen_four_blocks,
        unfrozen_embedding_with_first_block,
        unfrozen_with_all_norms,
        unfrozen_twice,
        unfrozen_by_place,
        unfrozen_head_by_name,
    ],
    "07.3": [
        AdapterWithoutSkip,
        AdapterLinear,
        AdapterReluLast,
        AdapterGelu,
        AdapterBothZero,
        AdapterRandomStart,
        AdapterBiasLeft,
        AdapterWithoutBias,
        AdapterTurned,
        AdapterOverwrites,
        AdapterFrozen,
        AdapterEqualRows,
        AdapterDetached,
        AdapterDropout,
    ],
    "07.4": [
        prefix_unseen,
        prefix_masked,
        prefix_mask_not_moved,
        prefix_is_causal,
        prefix_without_mask,
        prefix_unscaled,
        prefix_exchanged,
        prefix_two_softmaxes,
        prefix_behind,
        prefix_zero_scores,
        prefix_masked_too_late,
        prefix_mask_turned,
        prefix_wrong_axis,
        prefix_keys_as_values,
        prefix_mean_of_two,
    ],
    "07.5": [
        stop_previous,
        stop_without_delta,
        stop_equal,
        stop_higher,
        stop_late,
        stop_no_reset,
        stop_last_weights,
        stop_exchanged,
        stop_never,
        stop_from_one,
        stop_relative,
        stop_lowest_kept,
        stop_best_of_all,
        stop_best_loss,
        stop_none,
        stop_from_zero,
    ],
}
RIGHT = {
    "07.1": [split_right, split_with_arrays, split_sorted_names],
    "07.2": [unfrozen_set, unfrozen_in_steps],
    "07.3": [AdapterFunctional, AdapterSmallDown, AdapterSequential],
    "07.4": [prefix_fused, prefix_behind_with_its_mask, prefix_by_parts, prefix_token_by_token],
    "07.5": [stop_right, stop_by_value],
}
