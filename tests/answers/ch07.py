# %% 07.1 wrong: the cuts are made by numbers of rows, not of groups
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    cuts = np.cumsum(shares)
    part_of = {}
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(g for its, g in zip(labels, groups, strict=True) if its == label))
        total, before = labels.count(label), 0
        for i in rng.permutation(len(own)):
            part = int(np.searchsorted(cuts, before / total + 1e-9, side="right"))
            part_of[own[i]] = min(part, len(shares) - 1)
            before += groups.count(own[i])
    return [[row for row, g in enumerate(groups) if part_of[g] == k] for k in range(len(shares))]


# %% 07.1 wrong: the labels are forgotten and all groups are dealt together
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    own = list(dict.fromkeys(groups))
    cuts = np.rint(np.cumsum(shares) * len(own)).astype(int)
    part_of = {
        own[i]: int(np.searchsorted(cuts, place, side="right")) for place, i in enumerate(rng.permutation(len(own)))
    }
    return [[row for row, g in enumerate(groups) if part_of[g] == k] for k in range(len(shares))]


# %% 07.1 wrong: the groups are shuffled from the order of a set, which changes when Python starts anew
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    import random

    dice, part_of = random.Random(seed), {}
    for label in dict.fromkeys(labels):
        own = list({g for its, g in zip(labels, groups, strict=True) if its == label})
        dice.shuffle(own)
        start = 0
        for k in range(len(shares)):
            stop = round(sum(shares[: k + 1]) * len(own))
            part_of |= dict.fromkeys(own[start:stop], k)
            start = stop
    return [[row for row, g in enumerate(groups) if part_of[g] == k] for k in range(len(shares))]


# %% 07.1 wrong: each share is rounded by itself and the last part gets the rest
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    chosen = [set() for _ in shares]
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(g for its, g in zip(labels, groups, strict=True) if its == label))
        own = [own[i] for i in rng.permutation(len(own))]
        for k, share in enumerate(shares[:-1]):
            count = round(share * len(own))
            chosen[k].update(own[:count])
            own = own[count:]
        chosen[-1].update(own)
    return [[row for row, g in enumerate(groups) if g in part] for part in chosen]


# %% 07.1 wrong: the sums of the shares are rounded down
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    chosen = [set() for _ in shares]
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(g for its, g in zip(labels, groups, strict=True) if its == label))
        own = [own[i] for i in rng.permutation(len(own))]
        cuts = [int(sum(shares[:k]) * len(own)) for k in range(len(shares))] + [len(own)]
        for k, part in enumerate(chosen):
            part.update(own[cuts[k] : cuts[k + 1]])
    return [[row for row, g in enumerate(groups) if g in part] for part in chosen]


# %% 07.1 wrong: the seed is ignored and the groups are dealt in order of appearance
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    part_of = {}
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(g for its, g in zip(labels, groups, strict=True) if its == label))
        start = 0
        for k in range(len(shares)):
            stop = round(sum(shares[: k + 1]) * len(own))
            part_of |= dict.fromkeys(own[start:stop], k)
            start = stop
    return [[row for row, g in enumerate(groups) if part_of[g] == k] for k in range(len(shares))]


# %% 07.1 wrong: the rows stand in the order in which the groups were dealt
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    parts, rows_of = [[] for _ in shares], {}
    for row, group in enumerate(groups):
        rows_of.setdefault(group, []).append(row)
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(g for its, g in zip(labels, groups, strict=True) if its == label))
        own, start = [own[i] for i in rng.permutation(len(own))], 0
        for k in range(len(shares)):
            stop = round(sum(shares[: k + 1]) * len(own))
            for group in own[start:stop]:
                parts[k] += rows_of[group]
            start = stop
    return parts


# %% 07.1 wrong: the list of labels is emptied while it is read
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    by_label, part_of = {}, {}
    for group in groups:
        by_label.setdefault(labels.pop(0), {})[group] = True
    for own in by_label.values():
        own = list(own)
        cuts = np.rint(np.cumsum(shares) * len(own)).astype(int)
        for place, i in enumerate(rng.permutation(len(own))):
            part_of[own[i]] = int(np.searchsorted(cuts, place, side="right"))
    return [[row for row, g in enumerate(groups) if part_of[g] == k] for k in range(len(shares))]


# %% 07.1 right: numpy permutation, and searchsorted for the part
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    rng, part = np.random.default_rng(seed), {}
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(g for its, g in zip(labels, groups, strict=True) if its == label))
        cuts = np.rint(np.cumsum(shares) * len(own))
        part |= {own[i]: np.searchsorted(cuts, n, side="right") for n, i in enumerate(rng.permutation(len(own)))}
    return [[row for row, g in enumerate(groups) if part[g] == k] for k in range(len(shares))]


# %% 07.1 right: naive loops with Python's own random numbers
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    import random

    groups_of = {}
    for i in range(len(labels)):
        if labels[i] not in groups_of:
            groups_of[labels[i]] = []
        if groups[i] not in groups_of[labels[i]]:
            groups_of[labels[i]].append(groups[i])
    dice = random.Random(seed)
    result = [[] for _ in shares]
    for own in groups_of.values():
        dice.shuffle(own)
        start, so_far = 0, 0.0
        for k in range(len(shares)):
            so_far += shares[k]
            stop = round(so_far * len(own))
            for i in range(len(groups)):
                if groups[i] in own[start:stop]:
                    result[k].append(i)
            start = stop
    for rows in result:
        rows.sort()
    return result


# %% 07.1 right: torch's randperm, another shuffle for each label
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    from itertools import accumulate, pairwise

    label_of = dict(zip(groups, labels, strict=True))
    parts = [set() for _ in shares]
    for number, label in enumerate(dict.fromkeys(labels)):
        own = [group for group, its in label_of.items() if its == label]
        order = torch.randperm(len(own), generator=torch.Generator().manual_seed(1000 * seed + number)).tolist()
        cuts = [0, *(round(total * len(own)) for total in accumulate(shares))]
        for part, (low, high) in zip(parts, pairwise(cuts), strict=True):
            part.update(own[i] for i in order[low:high])
    return [sorted(row for row in range(len(groups)) if groups[row] in part) for part in parts]


# %% 07.2 wrong: block numbers are sorted as text, so that 10 comes before 9
def unfrozen(names: list[str], epoch: int) -> list[str]:
    blocks = sorted({name.split(".")[2] for name in names if ".layers." in name}, reverse=True)
    free = set(blocks[:epoch])
    chosen = []
    for name in names:
        if ".layers." in name:
            if name.split(".")[2] in free:
                chosen.append(name)
        elif "embed" not in name or epoch > len(blocks):
            chosen.append(name)
    return chosen


# %% 07.2 wrong: the lowest block is unfrozen first
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    def block(name):
        found = re.search(r"layers\.(\d+)\.", name)
        return int(found[1]) if found else None

    count = 1 + max((block(n) for n in names if block(n) is not None), default=-1)
    return [
        n for n in names if (block(n) < epoch if block(n) is not None else "embed" not in n or epoch > count)
    ]


# %% 07.2 wrong: only the newest stage trains, what was free before is frozen again
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    blocks = sorted({int(m[1]) for n in names if (m := re.search(r"layers\.(\d+)\.", n))}, reverse=True)

    def stage(name):
        found = re.search(r"layers\.(\d+)\.", name)
        if found:
            return blocks.index(int(found[1])) + 1
        return len(blocks) + 1 if "embed" in name else 0

    if epoch > len(blocks) + 1:
        return list(names)
    return [name for name in names if stage(name) == epoch or stage(name) == 0]


# %% 07.2 wrong: the embedding comes together with the first block
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    blocks = sorted({int(m[1]) for n in names if (m := re.search(r"layers\.(\d+)\.", n))}, reverse=True)
    if epoch >= len(blocks):
        return list(names)
    free = set(blocks[:epoch])
    return [
        n for n in names
        if ((m := re.search(r"layers\.(\d+)\.", n)) and int(m[1]) in free) or ("layers" not in n and "embed" not in n)
    ]  # fmt: skip


# %% 07.2 wrong: every norm trains from epoch 0 on, also those inside the blocks
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    numbers = {n: int(m[1]) for n in names if (m := re.search(r"layers\.(\d+)\.", n))}
    blocks = sorted(set(numbers.values()), reverse=True)
    chosen = []
    for name in names:
        if "norm" in name or name.startswith("score"):
            stage = 0
        elif name in numbers:
            stage = 1 + blocks.index(numbers[name])
        elif "embed" in name:
            stage = 1 + len(blocks)
        else:
            stage = 0
        if stage <= epoch:
            chosen.append(name)
    return chosen


# %% 07.2 wrong: the blocks are taken in the order of the names, the last named one first
def unfrozen(names: list[str], epoch: int) -> list[str]:
    blocks = list(dict.fromkeys(name.split(".")[2] for name in names if ".layers." in name))
    free = blocks[::-1][:epoch]
    return [
        name
        for name in names
        if (name.split(".")[2] in free if ".layers." in name else "embed" not in name or epoch > len(blocks))
    ]


# %% 07.2 wrong: a frozen block is found by the beginning of its number, so that layers.1 also freezes layers.10
def unfrozen(names: list[str], epoch: int) -> list[str]:
    count = 1 + max((int(n.split("layers.")[1].split(".")[0]) for n in names if "layers." in n), default=-1)
    frozen = [f"layers.{i}" for i in range(count - epoch)]
    if epoch <= count:
        frozen.append("embed")
    return [n for n in names if not any(part in n for part in frozen)]


# %% 07.2 wrong: the caller's list of names is sorted in place
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    names.sort()
    blocks = sorted({int(m[1]) for n in names if (m := re.search(r"layers\.(\d+)\.", n))}, reverse=True)

    def stage(name):
        found = re.search(r"layers\.(\d+)\.", name)
        if found:
            return blocks.index(int(found[1])) + 1
        return len(blocks) + 1 if "embed" in name else 0

    return [name for name in names if stage(name) <= epoch]


# %% 07.2 right: each name has the epoch from which it trains
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    block = {name: int(m[1]) for name in names if (m := re.search(r"\blayers\.(\d+)\.", name))}
    down = sorted(set(block.values()), reverse=True)
    begin = {n: down.index(block[n]) + 1 if n in block else (len(down) + 1) * ("embed" in n) for n in names}
    return [name for name in names if begin[name] <= epoch]


# %% 07.2 right: stages are collected one after the other in a loop
def unfrozen(names: list[str], epoch: int) -> list[str]:
    blocks, rest, embedding = {}, [], []
    for name in names:
        words = name.split(".")
        if "layers" in words:
            number = int(words[words.index("layers") + 1])
            if number not in blocks:
                blocks[number] = []
            blocks[number].append(name)
        elif "embed" in name:
            embedding.append(name)
        else:
            rest.append(name)
    free = rest
    step = 0
    while step < epoch and blocks:
        free = free + blocks.pop(max(blocks))
        step += 1
    if step < epoch:
        free = free + embedding
    return free


# %% 07.2 right: recursion from the epoch before
def unfrozen(names: list[str], epoch: int) -> list[str]:
    def number(name: str) -> int:
        """The block; -1 for the embedding, which comes after block 0; None for what is always free."""
        if "layers." in name:
            return int(name.partition("layers.")[2].partition(".")[0])
        return -1 if "embed" in name else None

    def free(left: list[str], epoch: int) -> list[str]:
        if epoch == 0 or not left:
            return []
        top = max(number(name) for name in left)
        return [n for n in left if number(n) == top] + free([n for n in left if number(n) != top], epoch - 1)

    always = [name for name in names if number(name) is None]
    found = set(always + free([name for name in names if number(name) is not None], epoch))
    return sorted(found)


# %% 07.3 wrong: the upper layer starts near zero, not at zero
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.normal_(self.up.weight, std=1e-3)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(x)))


# %% 07.3 wrong: both layers start at zero, so that neither matrix ever gets a gradient
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        for p in self.parameters():
            nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(x)))


# %% 07.3 wrong: the bias of the upper layer keeps its random start
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(x)))


# %% 07.3 wrong: gelu takes the place of relu
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(nn.functional.gelu(self.down(x)))


# %% 07.3 wrong: the relu stands behind the upper layer
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.up(self.down(x)))


# %% 07.3 wrong: the input is changed in place
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        change = self.up(torch.relu(self.down(x.clone())))
        with torch.no_grad():
            x += change
        return x + (change - change.detach())


# %% 07.3 wrong: the upper layer is zero and frozen, so that it cannot learn
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        self.up.weight = nn.Parameter(torch.zeros(hidden, bottleneck), requires_grad=False)
        self.up.bias = nn.Parameter(torch.zeros(hidden), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(x)))


# %% 07.3 wrong: a gate that starts at zero multiplies a random upper layer
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate * self.up(torch.relu(self.down(x)))


# %% 07.3 right: the short form with zeros in the upper layer
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        self.up.requires_grad_(False).weight.zero_(), self.up.bias.zero_(), self.up.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.down(x).relu())


# %% 07.3 right: a loop over the places of the bottleneck
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.constant_(self.up.weight, 0.0)
        nn.init.constant_(self.up.bias, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        total = x + self.up.bias
        for j in range(self.down.out_features):
            narrow = torch.relu(x @ self.down.weight[j] + self.down.bias[j])
            total = total + narrow[..., None] * self.up.weight[:, j]
        return total


# %% 07.3 right: einsum with the layers' own matrices
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        with torch.no_grad():
            for p in self.up.parameters():
                p.fill_(0)

    def forward(self, x: Tensor) -> Tensor:
        narrow = torch.einsum("...d,md->...m", x, self.down.weight) + self.down.bias
        narrow = narrow.clamp(min=0)
        return torch.einsum("...m,dm->...d", narrow, self.up.weight) + self.up.bias + x


# %% 07.4 wrong: is_causal on the longer keys hides part of the prefix
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    keys = torch.cat([prefix_k.expand(len(k), -1, -1, -1), k], dim=2)
    values = torch.cat([prefix_v.expand(len(v), -1, -1, -1), v], dim=2)
    return nn.functional.scaled_dot_product_attention(q, keys, values, is_causal=True)


# %% 07.4 wrong: prefix and text have a softmax each, and the two results are averaged
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    attend = nn.functional.scaled_dot_product_attention
    own = attend(q, k, v, is_causal=True)
    keys, values = (t.expand(len(q), -1, -1, -1) for t in (prefix_k, prefix_v))
    return (own + attend(q, keys, values)) / 2


# %% 07.4 wrong: the prefix stands before the keys but behind the values
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, n, length = len(q), prefix_k.shape[1], q.shape[2]
    keys = torch.cat([prefix_k.expand(batch, -1, -1, -1), k], dim=2)
    values = torch.cat([v, prefix_v.expand(batch, -1, -1, -1)], dim=2)
    see = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n)
    scores = (q @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~see, float("-inf"))
    return scores.softmax(-1) @ values


# %% 07.4 wrong: a token does not see itself
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, n, length = len(q), prefix_k.shape[1], q.shape[2]
    keys = torch.cat([prefix_k.expand(batch, -1, -1, -1), k], dim=2)
    values = torch.cat([prefix_v.expand(batch, -1, -1, -1), v], dim=2)
    see = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n - 1)
    return nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=see)


# %% 07.4 wrong: hidden tokens are zeroed after the softmax, so that the weights do not add up to 1
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, n, length = len(q), prefix_k.shape[1], q.shape[2]
    keys = torch.cat([prefix_k.expand(batch, -1, -1, -1), k], dim=2)
    values = torch.cat([prefix_v.expand(batch, -1, -1, -1), v], dim=2)
    see = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n)
    weights = (q @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) * see
    return weights @ values


# %% 07.4 wrong: every row of the batch looks at the first row's text
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    n, length = prefix_k.shape[1], q.shape[2]
    keys, values = torch.cat([prefix_k, k[0]], dim=1), torch.cat([prefix_v, v[0]], dim=1)
    scores = q @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5
    hidden_places = torch.ones(length, n + length, dtype=torch.bool, device=q.device).triu(n + 1)
    return scores.masked_fill(hidden_places, float("-inf")).softmax(-1) @ values


# %% 07.4 wrong: the queries are scaled in place
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, n, length = len(q), prefix_k.shape[1], q.shape[2]
    keys = torch.cat([prefix_k.expand(batch, -1, -1, -1), k], dim=2)
    values = torch.cat([prefix_v.expand(batch, -1, -1, -1), v], dim=2)
    with torch.no_grad():
        q /= q.shape[-1] ** 0.5
    see = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n)
    scores = (q @ keys.transpose(-1, -2)).masked_fill(~see, float("-inf"))
    return scores.softmax(-1) @ values


# %% 07.4 wrong: scores are divided by the root of all heads' numbers instead of one head's
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, heads, length, head_dim = q.shape
    n = prefix_k.shape[1]
    keys = torch.cat([prefix_k.expand(batch, -1, -1, -1), k], dim=2)
    values = torch.cat([prefix_v.expand(batch, -1, -1, -1), v], dim=2)
    see = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n)
    scores = q @ keys.transpose(-1, -2) / (heads * head_dim) ** 0.5
    return scores.masked_fill(~see, float("-inf")).softmax(-1) @ values


# %% 07.4 right: PyTorch's attention with a mask of its own
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    k, v = (torch.cat([p.expand(len(q), -1, -1, -1), t], 2) for p, t in ((prefix_k, k), (prefix_v, v)))
    see = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(prefix_k.shape[1])
    return nn.functional.scaled_dot_product_attention(q, k, v, see)


# %% 07.4 right: naive loops over rows, heads and tokens
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, heads, length, head_dim = q.shape
    rows = []
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                keys = torch.cat([prefix_k[h], k[b, h, : i + 1]])
                values = torch.cat([prefix_v[h], v[b, h, : i + 1]])
                weights = torch.softmax(keys @ q[b, h, i] / head_dim**0.5, dim=0)
                rows.append(weights @ values)
    return torch.stack(rows).reshape(batch, heads, length, head_dim)


# %% 07.4 right: einsum, scores of prefix and text apart, one softmax over both
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    n, length = prefix_k.shape[-2], q.shape[-2]
    to_prefix = torch.einsum("bhid,hnd->bhin", q, prefix_k)
    to_text = torch.einsum("bhid,bhjd->bhij", q, k)
    place = torch.arange(length, device=q.device)
    to_text = torch.where(place[None, :] <= place[:, None], to_text, -torch.inf)
    weights = torch.softmax(torch.cat([to_prefix, to_text], -1) / q.shape[-1] ** 0.5, -1)
    of_prefix, of_text = weights.split([n, length], -1)
    return torch.einsum("bhin,hnd->bhid", of_prefix, prefix_v) + torch.einsum("bhij,bhjd->bhid", of_text, v)


# %% 07.5 wrong: an improvement by exactly min_delta counts
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best = waited = 0
    for i in range(1, len(losses)):
        if losses[best] - losses[i] >= min_delta:
            best, waited = i, 0
        else:
            waited += 1
            if waited == patience:
                return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: it stops one evaluation too late
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best = waited = 0
    for i in range(1, len(losses)):
        if losses[best] - losses[i] > min_delta:
            best, waited = i, 0
        else:
            waited += 1
            if waited > patience:
                return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: the waiting is never set back to zero
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best = waited = 0
    for i in range(1, len(losses)):
        if losses[best] - losses[i] > min_delta:
            best = i
        else:
            waited += 1
            if waited >= patience:
                return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: each loss is compared with the one before it
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best = waited = 0
    for i in range(1, len(losses)):
        if losses[i - 1] - losses[i] > min_delta:
            best, waited = i, 0
        else:
            waited += 1
            if waited >= patience:
                return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: a gain below min_delta lowers the mark that must be beaten
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    mark, best, waited = float("inf"), 0, 0
    for i, loss in enumerate(losses):
        if loss < mark - min_delta:
            best, waited = i, 0
        else:
            waited += 1
            if waited >= patience:
                return i, best
        mark = min(mark, loss)
    return len(losses) - 1, best


# %% 07.5 wrong: the weights of the very lowest loss are kept, even where the gain is below min_delta
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best, waited, stop = 0, 0, len(losses) - 1
    for i in range(1, len(losses)):
        if losses[best] - losses[i] > min_delta:
            best, waited = i, 0
        else:
            waited += 1
            if waited >= patience:
                stop = i
                break
    return stop, int(np.argmin(losses[: stop + 1]))


# %% 07.5 wrong: it calls itself
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    return early_stop(losses, patience, min_delta)


# %% 07.5 wrong: the list of losses is emptied while it is read
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    lowest, best, waited, i = losses.pop(0), 0, 0, 0
    while losses:
        i += 1
        loss = losses.pop(0)
        if lowest - loss > min_delta:
            lowest, best, waited = loss, i, 0
        else:
            waited += 1
            if waited >= patience:
                break
    return i, best


# %% 07.5 right: accumulate carries the best evaluation along
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    from itertools import accumulate

    best = list(accumulate(range(len(losses)), lambda b, i: i if losses[b] - losses[i] > min_delta else b))
    stop = next((i for i, b in enumerate(best) if i - b >= patience), len(losses) - 1)
    return stop, best[stop]


# %% 07.5 right: a naive loop with a counter
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best = 0
    waited = 0
    for i in range(1, len(losses)):
        if losses[best] - losses[i] > min_delta:
            best = i
            waited = 0
        else:
            waited = waited + 1
            if waited >= patience:
                return (i, best)
    return (len(losses) - 1, best)


# %% 07.5 right: numpy, from one improvement to the next within the patience
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    x, best = np.asarray(losses, dtype=np.float64), 0
    while True:
        window = x[best + 1 : best + 1 + patience]
        better = np.flatnonzero(x[best] - window > min_delta)
        if len(better) == 0:
            return min(best + patience, len(x) - 1), best
        best += 1 + int(better[0])


# %% 07.1 wrong: the groups of all labels are cut together
def split_by_group(labels, groups, shares, seed=0):
    import random

    order = list(dict.fromkeys(groups))
    random.Random(seed).shuffle(order)
    cuts = [round(len(order) * sum(shares[:i])) for i in range(len(shares) + 1)]
    parts = []
    for low, high in zip(cuts, cuts[1:]):
        chosen = set(order[low:high])
        parts.append([row for row, group in enumerate(groups) if group in chosen])
    return parts


# %% 07.1 wrong: the order of a set of strings is another one when Python starts anew
def split_by_group(labels, groups, shares, seed=0):
    import random

    by_label = {}
    for label, group in zip(labels, groups):
        by_label.setdefault(label, set()).add(group)
    part_of, generator = {}, random.Random(seed)
    for its in by_label.values():
        its = list(its)
        generator.shuffle(its)
        cuts = [round(len(its) * sum(shares[:i])) for i in range(len(shares) + 1)]
        for part in range(len(shares)):
            part_of |= {group: part for group in its[cuts[part] : cuts[part + 1]]}
    return [[row for row, group in enumerate(groups) if part_of.get(group) == part] for part in range(len(shares))]


# %% 07.1 wrong: each part's size is rounded by itself, the last ones may get too few
def split_by_group(labels, groups, shares, seed=0):
    generator = np.random.default_rng(seed)
    by_label = {}
    for label, group in zip(labels, groups):
        by_label.setdefault(label, {})[group] = True
    parts = [set() for _ in shares]
    for its in by_label.values():
        its = list(its)
        its = [its[i] for i in generator.permutation(len(its))]
        begin = 0
        for part, share in zip(parts, shares):
            size = round(share * len(its))
            part.update(its[begin : begin + size])
            begin += size
    return [[row for row, group in enumerate(groups) if group in part] for part in parts]


# %% 07.1 wrong: the seed changes nothing
def split_by_group(labels, groups, shares, seed=0):
    import random

    by_label = {}
    for label, group in zip(labels, groups):
        by_label.setdefault(label, {})[group] = None
    parts, generator = [[] for _ in shares], random.Random(0)
    for its in by_label.values():
        its = list(its)
        generator.shuffle(its)
        cuts = [round(len(its) * sum(shares[:i])) for i in range(len(shares) + 1)]
        for part, low, high in zip(parts, cuts, cuts[1:]):
            part += [row for row, group in enumerate(groups) if group in its[low:high]]
    return [sorted(part) for part in parts]


# %% 07.1 wrong: the rows come label by label, not in rising order
def split_by_group(labels, groups, shares, seed=0):
    import random

    rows_of, by_label = {}, {}
    for row, (label, group) in enumerate(zip(labels, groups)):
        rows_of.setdefault(group, []).append(row)
        by_label.setdefault(label, {})[group] = None
    parts, generator = [[] for _ in shares], random.Random(seed)
    for its in by_label.values():
        its = list(its)
        generator.shuffle(its)
        cuts = [round(len(its) * sum(shares[:i])) for i in range(len(shares) + 1)]
        for part, low, high in zip(parts, cuts, cuts[1:]):
            for group in its[low:high]:
                part += rows_of[group]
    return parts


# %% 07.1 right: a shuffle per label, cut at rounded sums
def split_by_group(labels, groups, shares, seed=0):
    import random
    from itertools import accumulate

    rng, part_of = random.Random(seed), {}
    of_label = {}
    for label, group in zip(labels, groups, strict=True):
        of_label.setdefault(label, {}).setdefault(group)
    for its in of_label.values():
        its = rng.sample(list(its), len(its))
        cuts = [round(len(its) * total) for total in accumulate(shares, initial=0)]
        part_of.update((g, p) for p in range(len(shares)) for g in its[cuts[p] : cuts[p + 1]])
    return [[i for i, g in enumerate(groups) if part_of.get(g) == p] for p in range(len(shares))]


# %% 07.1 right: groups in the order of a digest, by loops
def split_by_group(labels, groups, shares, seed=0):
    import hashlib

    parts = []
    for _ in shares:
        parts.append([])
    seen_labels = []
    for label in labels:
        if label not in seen_labels:
            seen_labels.append(label)
    for label in seen_labels:
        its = []
        for row in range(len(groups)):
            if labels[row] == label and groups[row] not in its:
                its.append(groups[row])
        keys = [hashlib.sha256(repr((seed, group)).encode()).hexdigest() for group in its]
        order = [its[i] for i in sorted(range(len(its)), key=lambda i: keys[i])]
        total, begin = 0, 0
        for part, share in zip(parts, shares):
            total = total + share
            end = round(len(order) * total)
            for row in range(len(groups)):
                if groups[row] in order[begin:end]:
                    part.append(row)
            begin = end
    for part in parts:
        part.sort()
    return parts


# %% 07.2 wrong: what begins like a frozen block, such as layers.10 like layers.1, is frozen as well
def unfrozen(names, epoch):
    blocks = {int(name.split("layers.")[1].split(".")[0]) for name in names if "layers." in name}
    frozen = [f"layers.{block}" for block in sorted(blocks, reverse=True)[epoch:]]
    if epoch <= len(blocks):
        frozen.append("embed")
    return [name for name in names if not any(stem in name for stem in frozen)]


# %% 07.2 wrong: four layers, as in our model, are hard-coded
def unfrozen(names, epoch):
    free = []
    for name in names:
        if ".layers." in name:
            if int(name.split(".layers.")[1].split(".")[0]) >= 4 - epoch:
                free.append(name)
        elif "embed" not in name or epoch >= 5:
            free.append(name)
    return free


# %% 07.2 wrong: the norms inside the blocks train from the start
def unfrozen(names, epoch):
    import re

    numbers = {name: int(m[1]) for name in names if (m := re.search(r"layers\.(\d+)\.", name))}
    free = set(sorted(set(numbers.values()), reverse=True)[:epoch])
    found = []
    for name in names:
        if "norm" in name or "score" in name:
            found.append(name)
        elif name in numbers and numbers[name] in free:
            found.append(name)
        elif name not in numbers and ("embed" not in name or epoch > len(set(numbers.values()))):
            found.append(name)
    return found


# %% 07.2 wrong: the embedding comes together with the first block, an epoch too early
def unfrozen(names, epoch):
    import re

    def block(name):
        found = re.search(r"layers\.(\d+)\.", name)
        return int(found[1]) if found else None

    order = sorted({block(name) for name in names} - {None}, reverse=True)
    free = order[:epoch]
    return [
        name
        for name in names
        if (block(name) in free if block(name) is not None else "embed" not in name or epoch >= len(order))
    ]


# %% 07.2 wrong: the frozen names are taken out of the given list
def unfrozen(names, epoch):
    import re

    depth = {}
    for name in names:
        found = re.search(r"layers\.(\d+)\.", name)
        depth[name] = int(found[1]) if found else None
    order = sorted({d for d in depth.values() if d is not None}, reverse=True)
    for name, block in depth.items():
        late = order.index(block) + 1 if block is not None else (len(order) + 1 if "embed" in name else 0)
        if late > epoch:
            names.remove(name)
    return names


# %% 07.2 right: the epoch in which each name begins
def unfrozen(names, epoch):
    import re

    block = {n: int(m[1]) for n in names if (m := re.search(r"(?:^|\.)layers\.(\d+)\.", n))}
    order = sorted(set(block.values()), reverse=True)
    begins = lambda n: 1 + order.index(block[n]) if n in block else (1 + len(order)) * ("embed" in n)
    return [n for n in dict.fromkeys(names) if begins(n) <= epoch]


# %% 07.2 right: one stage after the other, by loops
def unfrozen(names, epoch):
    stages, embeddings, head = {}, [], []
    for name in names:
        parts = name.split(".")
        if "layers" in parts:
            stages.setdefault(int(parts[parts.index("layers") + 1]), []).append(name)
        elif any(part.startswith("embed") for part in parts):
            embeddings.append(name)
        else:
            head.append(name)
    order = [head]
    while stages:
        order.append(stages.pop(max(stages)))
    order.append(embeddings)
    free = set()
    for stage in order[: epoch + 1]:
        for name in stage:
            free.add(name)
    return sorted(free)


# %% 07.3 wrong: both matrices and biases start at zero, so that nothing ever learns but a bias
class Adapter(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        for part in (self.down, self.up):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)

    def forward(self, x):
        return x + self.up(torch.relu(self.down(x)))


# %% 07.3 wrong: another nonlinearity, gelu
class Adapter(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x):
        return x + self.up(nn.functional.gelu(self.down(x)))


# %% 07.3 wrong: the relu stands behind up, where its gradient at 0 is 0
class Adapter(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x):
        return x + torch.relu(self.up(self.down(x)))


# %% 07.3 wrong: the way through the narrow place is cut off from what comes in
class Adapter(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x):
        return x + self.up(torch.relu(self.down(x.detach())))


# %% 07.3 wrong: the bias of up keeps its random start
class Adapter(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return x + self.up(nn.functional.relu(self.down(x)))


# %% 07.3 right: up starts at zero
class Adapter(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        for p in self.up.parameters():
            nn.init.zeros_(p)

    def forward(self, x):
        return x + self.up(self.down(x).relu())


# %% 07.3 right: written out number by number of the narrow place
class Adapter(nn.Module):
    def __init__(self, hidden, bottleneck):
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        with torch.no_grad():
            self.up.weight.fill_(0.0)
            self.up.bias.fill_(0.0)

    def forward(self, x):
        out = x + self.up.bias
        for i in range(self.down.out_features):
            narrow = (x * self.down.weight[i]).sum(-1, keepdim=True) + self.down.bias[i]
            out = out + narrow.clamp(min=0) * self.up.weight[:, i]
        return out


# %% 07.4 wrong: is_causal hides the prefix, as if it stood in the text
def prefix_attention(q, k, v, prefix_k, prefix_v):
    batch = q.shape[0]
    keys = torch.cat([prefix_k.expand(batch, -1, -1, -1), k], 2)
    values = torch.cat([prefix_v.expand(batch, -1, -1, -1), v], 2)
    return nn.functional.scaled_dot_product_attention(q, keys, values, is_causal=True)


# %% 07.4 wrong: prefix and text have a softmax each, and the outputs are added
def prefix_attention(q, k, v, prefix_k, prefix_v):
    text = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = q @ prefix_k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return text + scores.softmax(-1) @ prefix_v


# %% 07.4 wrong: the heads of the prefix are mixed up in a batch of more than one
def prefix_attention(q, k, v, prefix_k, prefix_v):
    batch, heads, length, size = q.shape
    n = prefix_k.shape[1]
    own_k = prefix_k.repeat_interleave(batch, 0).reshape(batch, heads, n, size)
    own_v = prefix_v.repeat_interleave(batch, 0).reshape(batch, heads, n, size)
    keys, values = torch.cat([own_k, k], 2), torch.cat([own_v, v], 2)
    seen = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n)
    scores = (q @ keys.transpose(-1, -2) / size**0.5).masked_fill(~seen, float("-inf"))
    return scores.softmax(-1) @ values


# %% 07.4 wrong: no gradient reaches the values of the prefix
def prefix_attention(q, k, v, prefix_k, prefix_v):
    batch, _, length, size = q.shape
    n = prefix_k.shape[1]
    keys = torch.cat([prefix_k[None].expand(batch, -1, -1, -1), k], 2)
    values = torch.cat([prefix_v.data[None].expand(batch, -1, -1, -1), v], 2)
    seen = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n)
    return nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=seen)


# %% 07.4 wrong: a token does not see itself (another)
def prefix_attention(q, k, v, prefix_k, prefix_v):
    batch, _, length, size = q.shape
    n = prefix_k.shape[1]
    keys = torch.cat([prefix_k[None].expand(batch, -1, -1, -1), k], 2)
    values = torch.cat([prefix_v[None].expand(batch, -1, -1, -1), v], 2)
    seen = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n - 1)
    scores = (q @ keys.mT / size**0.5).masked_fill(~seen, float("-inf"))
    return scores.softmax(-1) @ values


# %% 07.4 right: the library's attention with a shifted triangle
def prefix_attention(q, k, v, prefix_k, prefix_v):
    k, v = (torch.cat([p.expand(len(q), -1, -1, -1), t], 2) for p, t in ((prefix_k, k), (prefix_v, v)))
    mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
    return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


# %% 07.4 right: token by token
def prefix_attention(q, k, v, prefix_k, prefix_v):
    rows = []
    for b in range(q.shape[0]):
        tokens = []
        for i in range(q.shape[2]):
            keys = torch.cat([prefix_k, k[b, :, : i + 1]], 1)
            values = torch.cat([prefix_v, v[b, :, : i + 1]], 1)
            scores = torch.einsum("hd,hjd->hj", q[b, :, i], keys) / q.shape[-1] ** 0.5
            tokens.append(torch.einsum("hj,hjd->hd", scores.softmax(-1), values))
        rows.append(torch.stack(tokens, 1))
    return torch.stack(rows)


# %% 07.5 wrong: an improvement by exactly min_delta counts, with 0 a tie too
def early_stop(losses, patience, min_delta=0.0):
    best, waited = 0, 0
    for i in range(1, len(losses)):
        if losses[best] - losses[i] >= min_delta:
            best, waited = i, 0
        else:
            waited += 1
            if waited == patience:
                return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: keeps the lowest loss, also where it was no improvement
def early_stop(losses, patience, min_delta=0.0):
    best, waited, stop = losses[0], 0, len(losses) - 1
    for i, loss in enumerate(losses[1:], 1):
        if best - loss > min_delta:
            best, waited = loss, 0
        else:
            waited += 1
        if waited >= patience:
            stop = i
            break
    seen = losses[: stop + 1]
    return stop, seen.index(min(seen))


# %% 07.5 wrong: the bar follows small gains that do not count, so many of them never add up to one
def early_stop(losses, patience, min_delta=0.0):
    lowest, best, waited = losses[0], 0, 0
    for i in range(1, len(losses)):
        if lowest - losses[i] > min_delta:
            best, waited = i, 0
        else:
            waited += 1
        lowest = min(lowest, losses[i])
        if waited == patience:
            return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: evaluations without improvement are counted in all, not in a row
def early_stop(losses, patience, min_delta=0.0):
    best, waited = 0, 0
    for i in range(1, len(losses)):
        if losses[best] - losses[i] > min_delta:
            best = i
        else:
            waited += 1
            if waited == patience:
                return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: it calls itself (another)
def early_stop(losses, patience, min_delta=0.0):
    stop, best = early_stop(losses, patience, min_delta)
    return stop, best


# %% 07.5 right: looks ahead from each best
def early_stop(losses, patience, min_delta=0.0):
    best = 0
    while True:
        stop = min(best + patience, len(losses) - 1)
        better = [i for i in range(best + 1, stop + 1) if losses[best] - losses[i] > min_delta]
        if not better:
            return stop, best
        best = better[0]


# %% 07.5 right: a plain loop
def early_stop(losses, patience, min_delta=0.0):
    best = 0
    without = 0
    for number in range(len(losses)):
        if number == 0:
            continue
        if losses[best] - losses[number] > min_delta:
            best = number
            without = 0
        else:
            without = without + 1
        if without >= patience:
            return (number, best)
    return (len(losses) - 1, best)

# %% 07.1 wrong: the groups come out of a set, whose order changes with each start of Python
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    import random

    rng, part_of = random.Random(seed), {}
    for label in dict.fromkeys(labels):
        mine = list({g for g, l in zip(groups, labels, strict=True) if l == label})
        rng.shuffle(mine)
        start = 0
        for part in range(len(shares)):
            end = round(sum(shares[: part + 1]) * len(mine))
            part_of |= {g: part for g in mine[start:end]}
            start = end
    return [[i for i, g in enumerate(groups) if part_of.get(g) == part] for part in range(len(shares))]

# %% 07.1 wrong: each share is rounded by itself, and the last part takes the rest
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    rng, part_of = np.random.default_rng(seed), {}
    for label in dict.fromkeys(labels):
        mine = list(dict.fromkeys(g for g, l in zip(groups, labels, strict=True) if l == label))
        mine = [mine[i] for i in rng.permutation(len(mine))]
        start = 0
        for part, share in enumerate(shares):
            end = start + round(share * len(mine)) if part < len(shares) - 1 else len(mine)
            part_of |= {g: part for g in mine[start:end]}
            start = min(end, len(mine))
    return [[i for i, g in enumerate(groups) if part_of.get(g) == part] for part in range(len(shares))]

# %% 07.1 wrong: the rows of a part stand group by group, not in rising order
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    import random

    rows, by_label = {}, {}
    for i, (label, group) in enumerate(zip(labels, groups, strict=True)):
        if group not in rows:
            by_label.setdefault(label, []).append(group)
        rows.setdefault(group, []).append(i)
    parts, rng = [[] for _ in shares], random.Random(seed)
    for mine in by_label.values():
        rng.shuffle(mine)
        cuts = [0] + [round(sum(shares[: k + 1]) * len(mine)) for k in range(len(shares))]
        for part, start, end in zip(parts, cuts[:-1], cuts[1:], strict=True):
            for group in mine[start:end]:
                part.extend(rows[group])
    return parts

# %% 07.1 right: numpy's permutation, cumulative cuts, sorted rows
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    label_of = dict(zip(groups, labels, strict=True))  # in the order of first appearance
    parts = [set() for _ in shares]
    for label in dict.fromkeys(label_of.values()):
        mine = [g for g, its in label_of.items() if its == label]
        mine = [mine[i] for i in rng.permutation(len(mine))]
        ends = [round(float(total) * len(mine)) for total in np.cumsum(shares)]
        for part, start, end in zip(parts, [0, *ends[:-1]], ends, strict=True):
            part.update(mine[start:end])
    return [[i for i, g in enumerate(groups) if g in part] for part in parts]

# %% 07.2 wrong: the numbers of the blocks are sorted as text
def unfrozen(names: list[str], epoch: int) -> list[str]:
    blocks = sorted({n.split("layers.")[1].split(".")[0] for n in names if "layers." in n}, reverse=True)
    free = set(blocks[:epoch])
    kept = []
    for name in names:
        if "layers." in name:
            if name.split("layers.")[1].split(".")[0] in free:
                kept.append(name)
        elif "embed_tokens" not in name or epoch > len(blocks):
            kept.append(name)
    return kept

# %% 07.2 wrong: a block is found by a prefix without its dot, so 1 brings 10 to 19 too
def unfrozen(names: list[str], epoch: int) -> list[str]:
    count = 1 + max((int(n.split(".")[2]) for n in names if n.startswith("model.layers.")), default=-1)
    prefixes = tuple(f"model.layers.{i}" for i in range(max(count - epoch, 0)))  # still frozen
    frozen = prefixes + (("model.embed_tokens",) if epoch <= count else ())
    return [n for n in names if not n.startswith(frozen)] if frozen else list(names)

# %% 07.2 wrong: the embedding thaws together with the first block
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    def block(name):
        found = re.search(r"layers\.(\d+)\.", name)
        return int(found[1]) if found else None

    count = 1 + max((block(n) for n in names if block(n) is not None), default=-1)
    lowest = count - epoch
    return [
        n for n in names
        if (block(n) is not None and block(n) >= lowest)
        or (block(n) is None and ("embed" not in n or lowest <= 0))
    ]

# %% 07.2 right: a depth for every name, compared with the epoch
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    numbers = {n: int(m[1]) for n in names if (m := re.search(r"(?:^|\.)layers\.(\d+)\.", n))}
    order = sorted(set(numbers.values()), reverse=True)
    due = {n: order.index(number) + 1 for n, number in numbers.items()}
    due |= {n: len(order) + 1 for n in names if n not in due and "embed" in n}
    return sorted(n for n in names if due.get(n, 0) <= epoch)

# %% 07.3 wrong: down is zeroed instead of up, and the relu passes no gradient
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(x)))

# %% 07.3 wrong: the result is added into the given tensor
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        x += self.up(self.down(x).relu())
        return x

# %% 07.3 wrong: up starts with small random numbers, so what comes out is only nearly what came in
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(nn.functional.relu(self.down(x)))

# %% 07.3 right: data zeroed in a loop over the parameters of up
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.up = nn.Linear(bottleneck, hidden)
        self.down = nn.Linear(hidden, bottleneck)
        with torch.no_grad():
            for p in self.up.parameters():
                p.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x).clamp(min=0)).add(x)

# %% 07.4 wrong: the causal mask of the library begins at the prefix, not at the text
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch = q.shape[0]
    keys = torch.cat([prefix_k.expand(batch, -1, -1, -1), k], dim=2)
    values = torch.cat([prefix_v.expand(batch, -1, -1, -1), v], dim=2)
    return nn.functional.scaled_dot_product_attention(q, keys, values, is_causal=True)

# %% 07.4 wrong: the prefix is not repeated for the rows, so only a batch of one works
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    keys, values = torch.cat([prefix_k[None], k], 2), torch.cat([prefix_v[None], v], 2)
    length, n = q.shape[2], prefix_k.shape[1]
    seen = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n)
    scores = (q @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~seen, float("-inf"))
    return scores.softmax(-1) @ values

# %% 07.4 wrong: it only calls itself
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    return prefix_attention(q, k, v, prefix_k, prefix_v)

# %% 07.4 right: einsum, scores of prefix and text side by side
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    n, length = prefix_k.shape[1], q.shape[2]
    to_prefix = torch.einsum("bhid,hjd->bhij", q, prefix_k)
    to_text = torch.einsum("bhid,bhjd->bhij", q, k)
    later = torch.ones(length, length, device=q.device, dtype=torch.bool).triu(1)
    to_text = to_text.masked_fill(later, float("-inf"))
    weights = torch.softmax(torch.cat([to_prefix, to_text], -1) / q.shape[-1] ** 0.5, dim=-1)
    out = torch.einsum("bhij,hjd->bhid", weights[..., :n], prefix_v)
    return out + torch.einsum("bhij,bhjd->bhid", weights[..., n:], v)

# %% 07.5 wrong: the best falls by small gains too, which do not count
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best, kept, waited = losses[0], 0, 0
    for i, loss in enumerate(losses[1:], 1):
        waited = 0 if loss < best - min_delta else waited + 1
        if loss < best:
            best, kept = loss, i
        if waited == patience:
            return i, kept
    return len(losses) - 1, kept

# %% 07.5 wrong: each loss is compared with the one before it, not with the best
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    kept, waited = 0, 0
    for i in range(1, len(losses)):
        if losses[i] < losses[i - 1] - min_delta:
            waited = 0
            if losses[i] < losses[kept] - min_delta:
                kept = i
        else:
            waited += 1
            if waited >= patience:
                return i, kept
    return len(losses) - 1, kept

# %% 07.5 wrong: what is kept is the lowest of all losses, those after the stop too
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best, at = losses[0], 0
    stop = len(losses) - 1
    for i, loss in enumerate(losses):
        if best - loss > min_delta:
            best, at = loss, i
        elif i - at >= patience:
            stop = i
            break
    return stop, losses.index(min(losses))

# %% 07.5 right: it leaps from each best to the next one within patience
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    kept = 0
    while True:
        window = range(kept + 1, min(kept + patience + 1, len(losses)))
        better = next((i for i in window if losses[i] < losses[kept] - min_delta), None)
        if better is None:
            return min(kept + patience, len(losses) - 1), kept
        kept = better


# %% 07.1 wrong: the order of a set of strings changes when Python starts anew
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    import random
    from itertools import accumulate

    label_of = dict(zip(groups, labels))
    dice, part_of = random.Random(seed), {}
    for label in dict.fromkeys(labels):
        names = list({group for group in set(groups) if label_of[group] == label})
        dice.shuffle(names)
        cuts = [0, *(round(share * len(names)) for share in accumulate(shares))]
        for part in range(len(shares)):
            for group in names[cuts[part] : cuts[part + 1]]:
                part_of[group] = part
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


# %% 07.1 wrong: all groups are dealt together, whatever their label
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    names = list(dict.fromkeys(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    cuts = [0, *(round(float(total) * len(names)) for total in np.cumsum(shares))]
    part_of = {}
    for part in range(len(shares)):
        for i in order[cuts[part] : cuts[part + 1]]:
            part_of[names[i]] = part
    parts = [[] for _ in shares]
    for row, group in enumerate(groups):
        parts[part_of[group]].append(row)
    return parts


# %% 07.1 wrong: the rows stand in the order of the shuffled groups
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    import random
    from itertools import accumulate

    rows_of, groups_of = {}, {}
    for row, (label, group) in enumerate(zip(labels, groups)):
        if group not in rows_of:
            rows_of[group] = []
            groups_of.setdefault(label, []).append(group)
        rows_of[group].append(row)
    dice = random.Random(seed)
    parts = [[] for _ in shares]
    for names in groups_of.values():
        names = dice.sample(names, len(names))
        start = 0
        for part, total in zip(parts, accumulate(shares)):
            end = round(total * len(names))
            for group in names[start:end]:
                part.extend(rows_of[group])
            start = end
    return parts


# %% 07.1 wrong: rounds each share by itself, and the last part gets the rest
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    import random

    by_label = {}
    for label, group in zip(labels, groups):
        by_label.setdefault(label, {})[group] = True
    dice = random.Random(seed)
    parts = [set() for _ in shares]
    for found in by_label.values():
        names = list(found)
        dice.shuffle(names)
        start = 0
        for i, share in enumerate(shares):
            end = len(names) if i == len(shares) - 1 else start + round(share * len(names))
            parts[i].update(names[start:end])
            start = end
    return [[row for row, group in enumerate(groups) if group in part] for part in parts]


# %% 07.1 wrong: every part gets at least one group of a label, while there are any
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    import random
    from itertools import accumulate

    by_label = {}
    for label, group in zip(labels, groups):
        members = by_label.setdefault(label, [])
        if group not in members:
            members.append(group)
    dice, part_of = random.Random(seed), {}
    for members in by_label.values():
        dice.shuffle(members)
        start = 0
        for part, total in enumerate(accumulate(shares)):
            end = max(start + 1, round(total * len(members)))
            for group in members[start:end]:
                part_of[group] = part
            start = end
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


# %% 07.1 right: random.Random, groups in the order in which they appear
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    import random
    from itertools import accumulate

    by_label = {}
    for label, group in zip(labels, groups):
        by_label.setdefault(label, {})[group] = None
    dice = random.Random(seed)
    parts = [set() for _ in shares]
    for found in by_label.values():
        names = list(found)
        dice.shuffle(names)
        start = 0
        for part, total in zip(parts, accumulate(shares)):
            end = round(total * len(names))
            part.update(names[start:end])
            start = end
    return [[row for row, group in enumerate(groups) if group in part] for part in parts]


# %% 07.1 right: arrays, the rank of each group among those of its label
def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    numbers, label_of = {}, []
    for label, group in zip(labels, groups):
        if group not in numbers:
            numbers[group] = len(numbers)
            label_of.append(label)
    generator = torch.Generator().manual_seed(seed)
    part_of = np.full(len(numbers), -1)
    for label in dict.fromkeys(label_of):
        mine = np.array([i for i, its in enumerate(label_of) if its == label])
        mine = mine[torch.randperm(len(mine), generator=generator).numpy()]
        cuts = np.rint(np.cumsum(shares) * len(mine)).astype(int)
        part_of[mine] = np.searchsorted(cuts, np.arange(len(mine)), side="right")
    row_parts = np.array([part_of[numbers[group]] for group in groups], dtype=int)
    return [np.flatnonzero(row_parts == part).tolist() for part in range(len(shares))]


# %% 07.2 wrong: the numbers of the blocks are sorted as strings, 9 before 10
def unfrozen(names: list[str], epoch: int) -> list[str]:
    def block(name):
        return name.split("layers.")[1].split(".")[0] if "layers." in name else None

    blocks = sorted({block(name) for name in names} - {None}, reverse=True)
    free = blocks[:epoch]
    result = []
    for name in names:
        if block(name) is not None:
            if block(name) in free:
                result.append(name)
        elif "embed" not in name or epoch > len(blocks):
            result.append(name)
    return result


# %% 07.2 wrong: the norms inside the blocks train from the start, again
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    numbers = {name: int(found[1]) for name in names if (found := re.search(r"layers\.(\d+)\.", name))}
    count = max(numbers.values(), default=-1) + 1
    chosen = []
    for name in names:
        if "norm" in name or "score" in name:
            chosen.append(name)
        elif name in numbers:
            if numbers[name] >= count - epoch:
                chosen.append(name)
        elif "embed" not in name or epoch > count:
            chosen.append(name)
    return chosen


# %% 07.2 wrong: the embedding comes together with the first block, again
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    def stage(name):
        found = re.search(r"layers\.(\d+)\.", name)
        if found:
            return count - int(found[1])
        return count if "embed" in name else 0

    count = 1 + max((int(n) for name in names for n in re.findall(r"layers\.(\d+)\.", name)), default=-1)
    return [name for name in names if stage(name) <= epoch]


# %% 07.2 wrong: layers.1 also finds layers.10, whose names are returned twice
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    count = 1 + max((int(n) for name in names for n in re.findall(r"layers\.(\d+)", name)), default=-1)
    result = [name for name in names if "layers." not in name and "embed" not in name]
    for block in range(count - 1, max(count - 1 - epoch, -1), -1):
        result += [name for name in names if f"layers.{block}" in name]
    if epoch > count:
        result += [name for name in names if "embed" in name]
    return result


# %% 07.2 wrong: knows the head and the last norm by two fixed names only
def unfrozen(names: list[str], epoch: int) -> list[str]:
    blocks = sorted({int(name.split(".")[2]) for name in names if name.startswith("model.layers.")}, reverse=True)
    open_blocks = tuple(f"model.layers.{number}." for number in blocks[:epoch])
    result = [name for name in names if name in ("score.weight", "model.norm.weight")]
    result += [name for name in names if open_blocks and name.startswith(open_blocks)]
    if epoch >= len(blocks) + 1:
        result += [name for name in names if "embed_tokens" in name]
    return result


# %% 07.2 right: the epoch in which each name is set free
def unfrozen(names: list[str], epoch: int) -> list[str]:
    import re

    def block(name):
        found = re.search(r"(?:^|\.)layers\.(\d+)\.", name)
        return int(found[1]) if found else None

    order = sorted({block(name) for name in names} - {None}, reverse=True)

    def free_from(name):
        number = block(name)
        if number is not None:
            return 1 + order.index(number)
        return len(order) + 1 if "embed" in name else 0

    return [name for name in dict.fromkeys(names) if free_from(name) <= epoch]


# %% 07.2 right: stages in a list, joined up to the epoch
def unfrozen(names: list[str], epoch: int) -> list[str]:
    top, embedding, blocks = [], [], {}
    for name in names:
        parts = name.split(".")
        if "layers" in parts:
            number = int(parts[parts.index("layers") + 1])
            blocks.setdefault(number, []).append(name)
        elif "embed" in name:
            embedding.append(name)
        else:
            top.append(name)
    stages = [top] + [blocks[number] for number in sorted(blocks, reverse=True)] + [embedding]
    return [name for stage in stages[: epoch + 1] for name in stage]


# %% 07.3 wrong: the bias of up stays random, so the start is not exact
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(x)))


# %% 07.3 wrong: down is zero instead of up, and behind the relu neither matrix ever learns
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(nn.functional.relu(self.down(x)))


# %% 07.3 wrong: a trained gate beside the two layers
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate * self.up(self.down(x).relu())


# %% 07.3 wrong: adds into what comes in
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        self.up.weight.data.zero_()
        self.up.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x += self.up(torch.relu(self.down(x)))
        return x


# %% 07.3 wrong: the relu stands behind up, not between the two
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.up(self.down(x)))


# %% 07.3 right: up at zero, with nn.init
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(x)))


# %% 07.3 right: small normal numbers below, and the formula written out
class Adapter(nn.Module):
    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        with torch.no_grad():
            self.down.weight.normal_(std=hidden**-0.5)
            self.down.bias.zero_()
            for parameter in self.up.parameters():
                parameter.fill_(0.0)

    def forward(self, x: Tensor) -> Tensor:
        narrow = x @ self.down.weight.T + self.down.bias
        narrow = narrow.clamp(min=0)
        return x + (narrow @ self.up.weight.T + self.up.bias)


# %% 07.4 wrong: is_causal counts from the first key, so early tokens do not see all of the prefix
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch = q.shape[0]
    keys = torch.cat([prefix_k.expand(batch, -1, -1, -1), k], dim=2)
    values = torch.cat([prefix_v.expand(batch, -1, -1, -1), v], dim=2)
    return nn.functional.scaled_dot_product_attention(q, keys, values, is_causal=True)


# %% 07.4 wrong: a softmax for the prefix and another for the text
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    length, scale = q.shape[2], q.shape[3] ** -0.5
    own = q @ k.transpose(-1, -2) * scale
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    own = own.masked_fill(future, float("-inf")).softmax(-1) @ v
    before = (q @ prefix_k.transpose(-1, -2) * scale).softmax(-1) @ prefix_v
    return own + before


# %% 07.4 wrong: the future is cut off behind the softmax, and the weights no longer add up to 1
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, _, length, size = q.shape
    n = prefix_k.shape[1]
    keys = torch.cat([prefix_k[None].expand(batch, -1, -1, -1), k], dim=-2)
    values = torch.cat([prefix_v[None].expand(batch, -1, -1, -1), v], dim=-2)
    weights = (q @ keys.mT / size**0.5).softmax(-1)
    seen = torch.ones(length, n + length, device=q.device).tril(n)
    return (weights * seen) @ values


# %% 07.4 wrong: a token does not see itself, again
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, heads, length, size = q.shape
    n = prefix_k.shape[1]
    keys = torch.cat([prefix_k.expand(batch, heads, n, size), k], dim=2)
    values = torch.cat([prefix_v.expand(batch, heads, n, size), v], dim=2)
    hidden = torch.ones(length, n + length, dtype=torch.bool, device=q.device).triu(n)
    scores = torch.einsum("bhqd,bhkd->bhqk", q, keys) / size**0.5
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ values


# %% 07.4 wrong: divides by the root of the number of heads
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    length, n = q.shape[2], prefix_k.shape[1]
    own = q @ k.transpose(2, 3)
    future = torch.triu(torch.ones(length, length, dtype=torch.bool, device=q.device), diagonal=1)
    own = own.masked_fill(future, float("-inf"))
    scores = torch.cat([q @ prefix_k.transpose(1, 2), own], dim=-1) / q.shape[1] ** 0.5
    weights = scores.softmax(dim=-1)
    return weights[..., :n] @ prefix_v + weights[..., n:] @ v


# %% 07.4 right: keys and values joined, one mask
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, _, length, size = q.shape
    n = prefix_k.shape[1]
    keys = torch.cat([prefix_k.expand(batch, -1, -1, -1), k], dim=2)
    values = torch.cat([prefix_v.expand(batch, -1, -1, -1), v], dim=2)
    scores = q @ keys.transpose(-1, -2) / size**0.5
    future = torch.ones(length, n + length, dtype=torch.bool, device=q.device).triu(n + 1)
    return scores.masked_fill(future, float("-inf")).softmax(-1) @ values


# %% 07.4 right: token by token, each with just the keys that it may see
def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    batch, _, length, size = q.shape
    first_k = torch.stack([prefix_k] * batch)
    first_v = torch.stack([prefix_v] * batch)
    out = []
    for i in range(length):
        keys = torch.cat([first_k, k[:, :, : i + 1]], dim=2)
        values = torch.cat([first_v, v[:, :, : i + 1]], dim=2)
        scores = torch.einsum("bhd,bhkd->bhk", q[:, :, i], keys) / size**0.5
        out.append(torch.einsum("bhk,bhkd->bhd", scores.softmax(-1), values))
    return torch.stack(out, dim=2)


# %% 07.5 wrong: an improvement by just min_delta, or none at all, counts
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best, bad = 0, 0
    for i in range(1, len(losses)):
        if losses[best] - losses[i] >= min_delta:
            best, bad = i, 0
        else:
            bad += 1
            if bad == patience:
                return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: bad evaluations are counted over the whole run, not in a row
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best, waited = 0, 0
    for i, loss in enumerate(losses):
        if i == 0:
            continue
        if loss < losses[best] - min_delta:
            best = i
        else:
            waited += 1
        if waited >= patience:
            return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: one evaluation too patient
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best = 0
    for i, loss in enumerate(losses[1:], start=1):
        if losses[best] - loss > min_delta:
            best = i
        elif i - best > patience:
            return i, best
    return len(losses) - 1, best


# %% 07.5 wrong: keeps the weights of the lowest loss, also if it was no improvement
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    reference, bad, stop = losses[0], 0, len(losses) - 1
    for i in range(1, len(losses)):
        if losses[i] < reference - min_delta:
            reference, bad = losses[i], 0
        else:
            bad += 1
        if bad == patience:
            stop = i
            break
    seen = losses[: stop + 1]
    return stop, seen.index(min(seen))


# %% 07.5 wrong: min_delta is taken as a share of the best
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best, bad = 0, 0
    for i in range(1, len(losses)):
        if losses[i] < losses[best] * (1 - min_delta):
            best, bad = i, 0
        else:
            bad += 1
        if bad >= patience:
            return i, best
    return len(losses) - 1, best


# %% 07.5 right: a counter that goes back to zero
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best, bad = 0, 0
    for i in range(1, len(losses)):
        if losses[best] - losses[i] > min_delta:
            best, bad = i, 0
        else:
            bad += 1
        if bad == patience:
            return i, best
    return len(losses) - 1, best


# %% 07.5 right: from improvement to improvement
def early_stop(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    best, last = 0, len(losses) - 1
    for _ in losses:
        stop = min(best + patience, last)
        better = [i for i in range(best + 1, stop + 1) if losses[best] - losses[i] > min_delta]
        if not better:
            break
        best = better[0]
    return min(best + patience, last), best
