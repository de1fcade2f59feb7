# %% 19.1 wrong: one operation per weight
def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    flop = tokens * inputs * outputs
    moved = bytes_per_number * (inputs * outputs + tokens * (inputs + outputs))
    return max(flop / peak, moved / bandwidth)

# %% 19.1 wrong: the times are added
def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    flop = 2 * tokens * inputs * outputs
    moved = bytes_per_number * (inputs * outputs + tokens * (inputs + outputs))
    return flop / peak + moved / bandwidth

# %% 19.1 wrong: weights once per token
def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    flop = 2 * tokens * inputs * outputs
    moved = bytes_per_number * tokens * (inputs * outputs + inputs + outputs)
    return max(flop / peak, moved / bandwidth)

# %% 19.1 wrong: only the weights are moved
def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    return max(2 * tokens * inputs * outputs / peak, bytes_per_number * inputs * outputs / bandwidth)

# %% 19.1 wrong: bytes forgotten
def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    return max(2 * tokens * inputs * outputs / peak, (inputs * outputs + tokens * (inputs + outputs)) / bandwidth)

# %% 19.1 right: as in the text
def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    compute = 2 * tokens * inputs * outputs / peak
    memory = bytes_per_number * (inputs * outputs + tokens * (inputs + outputs)) / bandwidth
    return compute if compute > memory else memory

# %% 19.1 right: numpy
def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    moved = inputs * outputs + tokens * inputs + tokens * outputs
    return np.maximum(2 * tokens * inputs * outputs / peak, moved * bytes_per_number / bandwidth)

# %% 19.1 right: by the ridge
def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    flop = 2 * tokens * inputs * outputs
    moved = bytes_per_number * (inputs * outputs + tokens * (inputs + outputs))
    if flop / moved > peak / bandwidth:
        return flop / peak
    return moved / bandwidth

# %% 19.2 wrong: keys alone
def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float, window: int | None = None
) -> float:
    kept = tokens if window is None else min(tokens, window)
    return layers * kv_heads * head_dim * kept * bytes_per_number

# %% 19.2 wrong: the window is ignored
def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float, window: int | None = None
) -> float:
    return 2 * layers * kv_heads * head_dim * tokens * bytes_per_number

# %% 19.2 wrong: a window is always full
def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float, window: int | None = None
) -> float:
    kept = window if window else tokens
    return 2 * layers * kv_heads * head_dim * kept * bytes_per_number

# %% 19.2 wrong: layers forgotten
def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float, window: int | None = None
) -> float:
    kept = min(tokens, window) if window else tokens
    return 2 * kv_heads * head_dim * kept * bytes_per_number

# %% 19.2 wrong: bits in place of bytes
def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float, window: int | None = None
) -> float:
    kept = min(tokens, window) if window else tokens
    return 2 * layers * kv_heads * head_dim * kept * bytes_per_number / 8

# %% 19.2 right: as in the text
def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float, window: int | None = None
) -> float:
    if window is not None:
        tokens = min(tokens, window)
    return 2 * layers * kv_heads * head_dim * tokens * bytes_per_number

# %% 19.2 right: step by step
def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float, window: int | None = None
) -> float:
    per_token = 2 * kv_heads * head_dim * bytes_per_number
    kept = tokens
    if window and kept > window:
        kept = window
    return float(layers * per_token * kept)

# %% 19.2 right: numpy
def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float, window: int | None = None
) -> float:
    kept = min(tokens, tokens if window is None else window)
    return np.prod([2, layers, kv_heads, head_dim, kept, bytes_per_number])

# %% 19.3 wrong: freed while held
class Blocks:
    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.holders = [0] * count

    def take(self) -> int | None:
        if not self.free:
            return None
        block = self.free.pop()
        self.holders[block] = 1
        return block

    def share(self, block: int) -> None:
        self.holders[block] += 1

    def release(self, block: int) -> None:
        if block in self.free:
            raise ValueError("nobody holds this block")
        self.holders[block] = 0
        self.free.append(block)

# %% 19.3 wrong: released twice
class Blocks:
    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.holders = [0] * count

    def take(self) -> int | None:
        if not self.free:
            return None
        block = self.free.pop()
        self.holders[block] = 1
        return block

    def share(self, block: int) -> None:
        self.holders[block] += 1

    def release(self, block: int) -> None:
        self.holders[block] -= 1
        if self.holders[block] <= 0:
            self.holders[block] = 0
            self.free.append(block)

# %% 19.3 wrong: an error where none is left
class Blocks:
    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.holders = [0] * count

    def take(self) -> int | None:
        block = self.free.pop()
        self.holders[block] = 1
        return block

    def share(self, block: int) -> None:
        self.holders[block] += 1

    def release(self, block: int) -> None:
        if self.holders[block] == 0:
            raise ValueError("nobody holds this block")
        self.holders[block] -= 1
        if self.holders[block] == 0:
            self.free.append(block)

# %% 19.3 wrong: sharing does nothing
class Blocks:
    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.holders = [0] * count

    def take(self) -> int | None:
        if not self.free:
            return None
        block = self.free.pop()
        self.holders[block] = 1
        return block

    def share(self, block: int) -> None:
        return block

    def release(self, block: int) -> None:
        if self.holders[block] == 0:
            raise ValueError("nobody holds this block")
        self.holders[block] -= 1
        if self.holders[block] == 0:
            self.free.append(block)

# %% 19.3 wrong: never freed
class Blocks:
    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.holders = [0] * count

    def take(self) -> int | None:
        if not self.free:
            return None
        block = self.free.pop()
        self.holders[block] = 1
        return block

    def share(self, block: int) -> None:
        self.holders[block] += 1

    def release(self, block: int) -> None:
        if self.holders[block] == 0:
            raise ValueError("nobody holds this block")
        self.holders[block] -= 1

# %% 19.3 wrong: silence where a block is released that nobody holds
class Blocks:
    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.holders = [0] * count

    def take(self) -> int | None:
        if not self.free:
            return None
        block = self.free.pop()
        self.holders[block] = 1
        return block

    def share(self, block: int) -> None:
        self.holders[block] += 1

    def release(self, block: int) -> None:
        if self.holders[block] == 0:
            return
        self.holders[block] -= 1
        if self.holders[block] == 0:
            self.free.append(block)

# %% 19.3 right: as in the text
class Blocks:
    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.holders = [0] * count

    def take(self) -> int | None:
        if not self.free:
            return None
        block = self.free.pop()
        self.holders[block] = 1
        return block

    def share(self, block: int) -> None:
        self.holders[block] += 1

    def release(self, block: int) -> None:
        if self.holders[block] == 0:
            raise ValueError("nobody holds this block")
        self.holders[block] -= 1
        if self.holders[block] == 0:
            self.free.append(block)

# %% 19.3 right: counts alone
class Blocks:
    def __init__(self, count: int) -> None:
        self.count = [0] * count

    def take(self) -> int | None:
        for block, holders in enumerate(self.count):
            if holders == 0:
                self.count[block] = 1
                return block
        return None

    def share(self, block: int) -> None:
        self.count[block] += 1

    def release(self, block: int) -> None:
        if not self.count[block]:
            raise ValueError(f"{block} is free")
        self.count[block] -= 1

# %% 19.3 right: a dictionary of those that are held
class Blocks:
    def __init__(self, count: int) -> None:
        self.free, self.held = set(range(count)), {}

    def take(self) -> int | None:
        if not self.free:
            return None
        block = self.free.pop()
        self.held[block] = 1
        return block

    def share(self, block: int) -> None:
        self.held[block] += 1

    def release(self, block: int) -> None:
        if block not in self.held:
            raise ValueError("not held")
        self.held[block] -= 1
        if self.held[block] == 0:
            del self.held[block]
            self.free.add(block)

# %% 19.4 wrong: the small overtake the large
def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    admitted = []
    for blocks, tokens in waiting:
        if blocks <= free_blocks and len(running) + len(admitted) < max_running:
            free_blocks -= blocks
            admitted.append(tokens)
    reads = []
    for missing in running + admitted:
        reads.append(1 if missing == 1 else min(missing, chunk))
        chunk -= reads[-1] if missing > 1 else 0
    return len(admitted), reads

# %% 19.4 wrong: the chunk is for each
def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    admitted = 0
    while admitted < len(waiting) and len(running) + admitted < max_running and waiting[admitted][0] <= free_blocks:
        free_blocks -= waiting[admitted][0]
        admitted += 1
    new = [tokens for _, tokens in waiting[:admitted]]
    return admitted, [1 if missing == 1 else min(missing, chunk) for missing in running + new]

# %% 19.4 wrong: generating takes from the chunk
def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    admitted = 0
    while admitted < len(waiting) and len(running) + admitted < max_running and waiting[admitted][0] <= free_blocks:
        free_blocks -= waiting[admitted][0]
        admitted += 1
    reads = []
    for missing in running + [tokens for _, tokens in waiting[:admitted]]:
        reads.append(1 if missing == 1 else min(missing, chunk))
        chunk -= reads[-1]
    return admitted, reads

# %% 19.4 wrong: blocks are not taken off
def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    admitted = 0
    while admitted < len(waiting) and len(running) + admitted < max_running and waiting[admitted][0] <= free_blocks:
        admitted += 1
    reads = []
    for missing in running + [tokens for _, tokens in waiting[:admitted]]:
        if missing == 1:
            reads.append(1)
        else:
            reads.append(min(missing, chunk))
            chunk -= reads[-1]
    return admitted, reads

# %% 19.4 wrong: the newly admitted read nothing
def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    admitted = 0
    while admitted < len(waiting) and len(running) + admitted < max_running and waiting[admitted][0] <= free_blocks:
        free_blocks -= waiting[admitted][0]
        admitted += 1
    reads = []
    for missing in running:
        reads.append(1 if missing == 1 else min(missing, chunk))
        chunk -= reads[-1] if missing > 1 else 0
    return admitted, reads

# %% 19.4 wrong: those who run are not counted
def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    admitted = 0
    while admitted < len(waiting) and admitted < max_running and waiting[admitted][0] <= free_blocks:
        free_blocks -= waiting[admitted][0]
        admitted += 1
    reads = []
    for missing in running + [tokens for _, tokens in waiting[:admitted]]:
        if missing == 1:
            reads.append(1)
        else:
            reads.append(min(missing, chunk))
            chunk -= reads[-1]
    return admitted, reads

# %% 19.4 right: as in the text
def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    admitted = 0
    while admitted < len(waiting) and len(running) + admitted < max_running and waiting[admitted][0] <= free_blocks:
        free_blocks -= waiting[admitted][0]
        admitted += 1
    reads = []
    for missing in running + [tokens for _, tokens in waiting[:admitted]]:
        if missing == 1:
            reads.append(1)
        else:
            reads.append(min(missing, chunk))
            chunk -= reads[-1]
    return admitted, reads

# %% 19.4 right: a loop with break
def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    new = []
    for blocks, tokens in waiting:
        if blocks > free_blocks or len(running) + len(new) == max_running:
            break
        new.append(tokens)
        free_blocks -= blocks
    reads, left = [], chunk
    for missing in [*running, *new]:
        share = min(missing, left) if missing > 1 else 1
        left -= share if missing > 1 else 0
        reads.append(share)
    return len(new), reads

# %% 19.4 right: numpy for the shares
def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    admitted = 0
    while admitted < len(waiting) and len(running) + admitted < max_running and waiting[admitted][0] <= free_blocks:
        free_blocks -= waiting[admitted][0]
        admitted += 1
    missing = np.array(running + [tokens for _, tokens in waiting[:admitted]], dtype=int)
    prompts = np.where(missing > 1, missing, 0)
    before = np.cumsum(prompts) - prompts
    return admitted, np.where(missing == 1, 1, np.clip(chunk - before, 0, prompts)).tolist()

# %% 19.5 wrong: the rest is p
def verify(target: Tensor, draft: Tensor, tokens: list[int], uniforms: list[float]) -> tuple[int, Tensor]:
    for i, token in enumerate(tokens):
        if uniforms[i] >= target[i, token] / draft[i, token]:
            return i, target[i]
    return len(tokens), target[-1]

# %% 19.5 wrong: not normalized
def verify(target: Tensor, draft: Tensor, tokens: list[int], uniforms: list[float]) -> tuple[int, Tensor]:
    for i, token in enumerate(tokens):
        if uniforms[i] >= target[i, token] / draft[i, token]:
            return i, (target[i] - draft[i]).clamp(min=0)
    return len(tokens), target[-1]

# %% 19.5 wrong: the ratio is turned
def verify(target: Tensor, draft: Tensor, tokens: list[int], uniforms: list[float]) -> tuple[int, Tensor]:
    for i, token in enumerate(tokens):
        if uniforms[i] >= draft[i, token] / target[i, token]:
            rest = (target[i] - draft[i]).clamp(min=0)
            return i, rest / rest.sum()
    return len(tokens), target[-1]

# %% 19.5 wrong: u against p
def verify(target: Tensor, draft: Tensor, tokens: list[int], uniforms: list[float]) -> tuple[int, Tensor]:
    for i, token in enumerate(tokens):
        if uniforms[i] >= target[i, token]:
            rest = (target[i] - draft[i]).clamp(min=0)
            return i, rest / rest.sum()
    return len(tokens), target[-1]

# %% 19.5 wrong: the absolute difference
def verify(target: Tensor, draft: Tensor, tokens: list[int], uniforms: list[float]) -> tuple[int, Tensor]:
    for i, token in enumerate(tokens):
        if uniforms[i] >= target[i, token] / draft[i, token]:
            rest = (target[i] - draft[i]).abs()
            return i, rest / rest.sum()
    return len(tokens), target[-1]

# %% 19.5 wrong: the row before the last
def verify(target: Tensor, draft: Tensor, tokens: list[int], uniforms: list[float]) -> tuple[int, Tensor]:
    for i, token in enumerate(tokens):
        if uniforms[i] >= target[i, token] / draft[i, token]:
            rest = (target[i] - draft[i]).clamp(min=0)
            return i, rest / rest.sum()
    return len(tokens), target[len(tokens) - 1]

# %% 19.5 right: as in the text
def verify(target: Tensor, draft: Tensor, tokens: list[int], uniforms: list[float]) -> tuple[int, Tensor]:
    for i, token in enumerate(tokens):
        if uniforms[i] >= target[i, token] / draft[i, token]:
            rest = (target[i] - draft[i]).clamp(min=0)
            return i, rest / rest.sum()
    return len(tokens), target[-1]

# %% 19.5 right: a while loop
def verify(target: Tensor, draft: Tensor, tokens: list[int], uniforms: list[float]) -> tuple[int, Tensor]:
    i = 0
    while i < len(tokens) and uniforms[i] * draft[i][tokens[i]] < target[i][tokens[i]]:
        i += 1
    if i < len(tokens):
        rest = torch.relu(target[i] - draft[i])
        return i, rest / rest.sum()
    return i, target[i]

# %% 19.5 right: numpy
def verify(target: Tensor, draft: Tensor, tokens: list[int], uniforms: list[float]) -> tuple[int, Tensor]:
    p, q = target.numpy(), draft.numpy()
    for i, (x, u) in enumerate(zip(tokens, uniforms, strict=True)):
        if not u < p[i, x] / q[i, x]:
            rest = np.maximum(p[i] - q[i], 0)
            return i, rest / rest.sum()
    return len(tokens), p[-1]
