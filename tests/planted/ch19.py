"""Bugs of chapter 19 that its checks do not list, and other right answers."""

from __future__ import annotations

import torch


def roofline_integer(tokens, inputs, outputs, bytes_per_number, peak, bandwidth):
    return max(
        2 * tokens * inputs * outputs // peak,
        bytes_per_number * (inputs * outputs + tokens * (inputs + outputs)) // bandwidth,
    )


def roofline_two_bytes(tokens, inputs, outputs, bytes_per_number, peak, bandwidth):
    moved = 2 * (inputs * outputs + tokens * (inputs + outputs))
    return max(2 * tokens * inputs * outputs / peak, moved / bandwidth)


def roofline_both(tokens, inputs, outputs, bytes_per_number, peak, bandwidth):
    moved = bytes_per_number * (inputs * outputs + tokens * (inputs + outputs))
    return 2 * tokens * inputs * outputs / peak, moved / bandwidth


def roofline_by_intensity(tokens, inputs, outputs, bytes_per_number, peak, bandwidth):
    flop = 2.0 * tokens * inputs * outputs
    intensity = flop / (bytes_per_number * (inputs * outputs + tokens * inputs + tokens * outputs))
    return flop / min(peak, intensity * bandwidth)


def roofline_tensor(tokens, inputs, outputs, bytes_per_number, peak, bandwidth):
    moved = bytes_per_number * (inputs * outputs + tokens * (inputs + outputs))
    return torch.tensor([2 * tokens * inputs * outputs / peak, moved / bandwidth], dtype=torch.float64).max()


def kv_sixteen_bits(layers, kv_heads, head_dim, tokens, bytes_per_number, window=None):
    return 4 * layers * kv_heads * head_dim * (tokens if window is None else min(tokens, window))


def kv_integer(layers, kv_heads, head_dim, tokens, bytes_per_number, window=None):
    return (
        2 * layers * kv_heads * head_dim * (tokens if window is None else min(tokens, window)) * int(bytes_per_number)
    )


def kv_gigabytes(layers, kv_heads, head_dim, tokens, bytes_per_number, window=None):
    return (
        2
        * layers
        * kv_heads
        * head_dim
        * (tokens if window is None else min(tokens, window))
        * bytes_per_number
        / 2**30
    )


def kv_by_falsy_window(layers, kv_heads, head_dim, tokens, bytes_per_number, window=None):
    return 2 * layers * kv_heads * head_dim * min(tokens, window or tokens) * bytes_per_number


def kv_by_parts(layers, kv_heads, head_dim, tokens, bytes_per_number, window=None):
    vector = head_dim * bytes_per_number
    return sum(2 * kv_heads * vector * min(tokens, window or 10**12) for _ in range(layers))


class BlocksWithoutTaking:
    """Looks at the first free block and forgets to take it off."""

    def __init__(self, count):
        self.holders = [0] * count

    def take(self):
        return self.holders.index(0) if 0 in self.holders else None

    def share(self, block):
        self.holders[block] += 1

    def release(self, block):
        if not self.holders[block]:
            raise ValueError("nobody holds it")
        self.holders[block] -= 1


class BlocksThatForget:
    def __init__(self, count):
        self.free, self.holders = list(range(count)), {}

    def take(self):
        if not self.free:
            return None
        block = self.free.pop()
        self.holders[block] = 1
        return block

    def share(self, block):
        self.holders[block] = 2

    def release(self, block):
        if not self.holders.get(block):
            raise ValueError("nobody holds it")
        self.holders[block] -= 1
        if not self.holders[block]:
            self.free.append(block)


class BlocksByKeyError:
    def __init__(self, count):
        self.free, self.holders = list(range(count)), {}

    def take(self):
        if not self.free:
            return None
        block = self.free.pop(0)
        self.holders[block] = 1
        return block

    def share(self, block):
        self.holders[block] += 1

    def release(self, block):
        self.holders[block] -= 1
        if not self.holders[block]:
            del self.holders[block]
            self.free.append(block)


class BlocksByCount:
    """Without a free list: a block with no holders is free."""

    def __init__(self, count):
        self.holders = torch.zeros(count, dtype=torch.long)

    def take(self):
        free = (self.holders == 0).nonzero()
        if not len(free):
            return None
        self.holders[free[0, 0]] = 1
        return free[0, 0]

    def share(self, block):
        self.holders[block] += 1

    def release(self, block):
        if self.holders[block] == 0:
            raise ValueError(f"block {block} has no holder")
        self.holders[block] -= 1


class BlocksInTheirOrder:
    def __init__(self, count):
        self.free, self.holders = set(range(count)), dict.fromkeys(range(count), 0)

    def take(self):
        if not self.free:
            return None
        block = min(self.free)
        self.free.remove(block)
        self.holders[block] = 1
        return block

    def share(self, block):
        self.holders[block] += 1

    def release(self, block):
        if block in self.free:
            raise ValueError("free already")
        self.holders[block] -= 1
        if not self.holders[block]:
            self.free.add(block)


def plan_takes_from_the_end(running, waiting, free_blocks, max_running, chunk):
    admitted = 0
    for blocks, _ in waiting[::-1]:
        if len(running) + admitted < max_running and blocks <= free_blocks:
            free_blocks -= blocks
            admitted += 1
    reads = []
    for missing in running + [tokens for _, tokens in waiting[:admitted]]:
        reads.append(1 if missing == 1 else min(missing, chunk))
        chunk -= reads[-1] if missing > 1 else 0
    return admitted, reads


def plan_new_first(running, waiting, free_blocks, max_running, chunk):
    admitted = 0
    while admitted < len(waiting) and len(running) + admitted < max_running and waiting[admitted][0] <= free_blocks:
        free_blocks -= waiting[admitted][0]
        admitted += 1
    reads = []
    for missing in [tokens for _, tokens in waiting[:admitted]] + running:
        reads.append(1 if missing == 1 else min(missing, chunk))
        chunk -= reads[-1] if missing > 1 else 0
    return admitted, reads


def plan_reads_only(running, waiting, free_blocks, max_running, chunk):
    return [1 if missing == 1 else min(missing, chunk) for missing in running]


def plan_empties_the_queue(running, waiting, free_blocks, max_running, chunk):
    reads, admitted = [], 0
    while waiting and len(running) < max_running and waiting[0][0] <= free_blocks:
        blocks, tokens = waiting.pop(0)
        free_blocks -= blocks
        running.append(tokens)
        admitted += 1
    for missing in running:
        reads.append(1 if missing == 1 else min(missing, chunk))
        chunk -= reads[-1] if missing > 1 else 0
    return admitted, reads


def plan_by_loop(running, waiting, free_blocks, max_running, chunk):
    admitted = []
    for blocks, tokens in waiting:
        if len(running) + len(admitted) >= max_running or blocks > free_blocks:
            break
        free_blocks -= blocks
        admitted.append(tokens)
    reads, left = [], chunk
    for missing in [*running, *admitted]:
        if missing == 1:
            reads.append(1)
        else:
            reads.append(max(0, min(missing, left)))
            left -= reads[-1]
    return len(admitted), reads


def plan_by_tensor(running, waiting, free_blocks, max_running, chunk):
    admitted, reads = plan_by_loop(running, waiting, free_blocks, max_running, chunk)
    return torch.tensor(admitted), torch.tensor(reads, dtype=torch.long)


def verify_half(target, draft, tokens, uniforms):
    for place, (token, u) in enumerate(zip(tokens, uniforms, strict=True)):
        if u * draft[place, token] >= target[place, token]:
            return place, (target[place] + draft[place]) / 2
    return len(tokens), target[-1]


def verify_softmax(target, draft, tokens, uniforms):
    for place, (token, u) in enumerate(zip(tokens, uniforms, strict=True)):
        if u * draft[place, token] >= target[place, token]:
            return place, (target[place] - draft[place]).clamp(min=0).softmax(-1)
    return len(tokens), target[-1]


def verify_one_too_many(target, draft, tokens, uniforms):
    for place, (token, u) in enumerate(zip(tokens, uniforms, strict=True)):
        if u * draft[place, token] >= target[place, token]:
            rest = (target[place] - draft[place]).clamp(min=0)
            return place + 1, rest / rest.sum()
    return len(tokens) + 1, target[-1]


def verify_by_ratio(target, draft, tokens, uniforms):
    kept = 0
    while kept < len(tokens) and uniforms[kept] < min(
        1.0, float(target[kept][tokens[kept]] / draft[kept][tokens[kept]])
    ):
        kept += 1
    if kept == len(tokens):
        return kept, target[kept]
    rest = torch.relu(target[kept] - draft[kept])
    return kept, rest / rest.sum()


def verify_by_padding(target, draft, tokens, uniforms):
    """With a row of zeros after the draft, the last row is a rest like the others."""
    draft = torch.cat((draft, torch.zeros(1, target.shape[1])))
    refused = [u >= target[i, x] / draft[i, x] for i, (x, u) in enumerate(zip(tokens, uniforms, strict=True))]
    kept = refused.index(True) if True in refused else len(tokens)
    rest = (target[kept] - draft[kept]).clamp(min=0)
    return kept, (rest / rest.sum()).tolist()


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "19.1": {
        roofline_integer: "Not max(FLOP / peak, bytes / bandwidth).",
        roofline_two_bytes: "Not max(FLOP / peak, bytes / bandwidth).",
        roofline_both: "One number is wanted; yours is a tuple.",
    },
    "19.2": {
        kv_sixteen_bits: "Not 2 * layers * kv_heads * head_dim * kept tokens",
        kv_integer: "Not 2 * layers * kv_heads * head_dim * kept tokens",
        kv_gigabytes: "Not 2 * layers * kv_heads * head_dim * kept tokens",
    },
    "19.3": {
        BlocksWithoutTaking: "`take` hands out a block that is still held.",
        BlocksThatForget: "The blocks are not handed out",
        BlocksByKeyError: "The blocks are not handed out",
    },
    "19.4": {
        plan_takes_from_the_end: "A small request overtakes a large one",
        plan_new_first: "Admission or shares differ",
        plan_reads_only: "Two things are wanted",
        plan_empties_the_queue: "Your code changes its input",
    },
    "19.5": {
        verify_half: "Number kept or distribution differ",
        verify_softmax: "Number kept or distribution differ",
        verify_one_too_many: "Number kept or distribution differ",
    },
}
RIGHT = {
    "19.1": [roofline_by_intensity, roofline_tensor],
    "19.2": [kv_by_falsy_window, kv_by_parts],
    "19.3": [BlocksByCount, BlocksInTheirOrder],
    "19.4": [plan_by_loop, plan_by_tensor],
    "19.5": [verify_by_ratio, verify_by_padding],
}
