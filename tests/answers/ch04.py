# %% 04.1 right: weights before gradients, which both take 2 bytes and so give the same number
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    weights = 2 * parameters / (ranks if stage >= 2 else 1)
    gradients = 2 * parameters / (ranks if stage >= 3 else 1)
    optimizer = 12 * parameters / (ranks if stage >= 1 else 1)
    return weights + gradients + optimizer

# %% 04.1 wrong: each stage shares out only its own part, not those of the stages before
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    optimizer, gradients, weights = 12 * parameters, 2 * parameters, 2 * parameters
    if stage == 1:
        optimizer /= ranks
    elif stage == 2:
        gradients /= ranks
    elif stage == 3:
        weights /= ranks
    return float(weights + gradients + optimizer)

# %% 04.1 wrong: the split of float32 (4 + 4 + 8) instead of mixed precision
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    total = 0.0
    for size, first in ((8, 1), (4, 2), (4, 3)):
        total += parameters * size / (ranks if stage >= first else 1)
    return total

# %% 04.1 wrong: the float32 copy of the weights is shared out only with the weights
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    moments, copy_and_weights, gradients = 8.0, 6.0, 2.0
    if stage >= 1:
        moments /= ranks
    if stage >= 2:
        gradients /= ranks
    if stage >= 3:
        copy_and_weights /= ranks
    return parameters * (moments + copy_and_weights + gradients)

# %% 04.1 wrong: stages are off by one, greater instead of at least
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    weights = 2 * parameters / (ranks if stage > 3 else 1)
    gradients = 2 * parameters / (ranks if stage > 2 else 1)
    optimizer = 12 * parameters / (ranks if stage > 1 else 1)
    return weights + gradients + optimizer

# %% 04.1 wrong: eight ranks hard-coded
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    per_parameter = (16.0, 4 + 12 / 8, 2 + 14 / 8, 16 / 8)[stage]
    return parameters * per_parameter

# %% 04.1 wrong: the bill of all ranks together
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    shared = (0, 12, 14, 16)[stage]
    return float(parameters * (shared + (16 - shared) * ranks))

# %% 04.1 wrong: gigabytes instead of bytes
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    shared = (0, 12, 14, 16)[stage]
    return parameters * (16 - shared + shared / ranks) / 1e9

# %% 04.1 right: one line
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    return parameters * sum(size / (ranks if stage >= first else 1) for size, first in ((12, 1), (2, 2), (2, 3)))

# %% 04.1 right: step by step
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    weights = 2.0 * parameters
    gradients = 2.0 * parameters
    optimizer = 12.0 * parameters
    if stage >= 1:
        optimizer = optimizer / ranks
    if stage >= 2:
        gradients = gradients / ranks
    if stage >= 3:
        weights = weights / ranks
    return weights + gradients + optimizer

# %% 04.1 right: a table of what is shared
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    shared = {0: 0, 1: 12, 2: 14, 3: 16}[stage]
    return parameters * (16 - shared) + parameters * shared / ranks

# %% 04.2 wrong: the shorter last segment is forgotten (rounds down)
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    every = min(every, layers)
    return layers // every * boundary + every * inside

# %% 04.2 wrong: one segment too many where the length divides
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = layers // every + 1
    return segments * boundary + min(every, layers) * inside

# %% 04.2 wrong: the number of segments is rounded to the nearest
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = max(1, round(layers / every))
    return segments * boundary + min(every, layers) * inside

# %% 04.2 wrong: only one layer of the segment is held in the backward pass
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = -(-layers // every)
    return segments * boundary + inside

# %% 04.2 wrong: the input of every layer is kept
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    return layers * boundary + min(every, layers) * inside

# %% 04.2 wrong: the last segment is taken for the longest
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = -(-layers // every)
    last = layers - (segments - 1) * every
    return segments * boundary + last * inside

# %% 04.2 wrong: the input of the first segment is not counted
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    cuts = len(range(every, layers, every))
    return cuts * boundary + min(every, layers) * inside

# %% 04.2 wrong: the larger of the two instead of their sum
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = -(-layers // every)
    return max(segments * boundary, min(every, layers) * inside)

# %% 04.2 right: one line
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    return -(-layers // every) * boundary + min(every, layers) * inside

# %% 04.2 right: by a loop over the layers
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    kept, longest, length = 0, 0, 0
    for layer in range(layers):
        if layer % every == 0:
            kept += 1
            length = 0
        length += 1
        longest = max(longest, length)
    return kept * boundary + longest * inside

# %% 04.2 right: a list of segments, the costliest moment
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = [range(start, min(start + every, layers)) for start in range(0, layers, every)]
    return max(len(segments) * boundary + len(segment) * inside for segment in segments)

# %% 04.3 wrong: the mean of the pieces' means
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100)
        loss = loss / len(micro_batches)
        loss.backward()
        total += loss.item()
    return total

# %% 04.3 wrong: labels of -100 are counted in the weight of a piece
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    count = sum(labels.numel() for _, labels in micro_batches)
    total = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100, reduction="sum") / count
        loss.backward()
        total += loss.item()
    return total

# %% 04.3 wrong: a piece in which no label counts makes everything NaN
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    counts = [int((labels != -100).sum()) for _, labels in micro_batches]
    total = 0.0
    for (inputs, labels), count in zip(micro_batches, counts, strict=True):
        logits = model(inputs)
        loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100) * (count / sum(counts))
        loss.backward()
        total += loss.item()
    return total

# %% 04.3 wrong: one backward pass at the end, all graphs in memory
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    count = max(1, sum(int((labels != -100).sum()) for _, labels in micro_batches))
    loss = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = loss + F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum") / count
    loss.backward()
    return loss.item()

# %% 04.3 wrong: the gradient is right, but the mean of means is returned
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    count = max(1, sum(int((labels != -100).sum()) for _, labels in micro_batches))
    means = []
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum")
        (loss / count).backward()
        means.append(loss.item() / max(1, int((labels != -100).sum())))
    return sum(means) / len(means)

# %% 04.3 wrong: the mean is returned, but the gradient is that of the sum
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total, count = 0.0, 0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum")
        loss.backward()
        total += loss.item()
        count += int((labels != -100).sum())
    return total / max(1, count)

# %% 04.3 wrong: the labels are shifted by one
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    count = max(1, sum(int((labels[..., 1:] != -100).sum()) for _, labels in micro_batches))
    total = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)[..., :-1, :]
        target = labels[..., 1:]
        loss = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="sum") / count
        loss.backward()
        total += loss.item()
    return total

# %% 04.3 wrong: the caller's list of pieces is used up
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    count = max(1, sum(int((labels != -100).sum()) for _, labels in micro_batches))
    total = 0.0
    while micro_batches:
        inputs, labels = micro_batches.pop(0)
        logits = model(inputs)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="sum") / count
        loss.backward()
        total += loss.item()
    return total

# %% 04.3 right: sums divided by the count of all pieces
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    n, total = max(1, sum(int((y != -100).sum()) for _, y in micro_batches)), 0.0
    for x, y in micro_batches:
        z = model(x)
        (loss := F.cross_entropy(z.reshape(-1, z.shape[-1]), y.reshape(-1), reduction="sum") / n).backward()
        total += loss.item()
    return total

# %% 04.3 right: gradients of sums, divided at the end
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total, count = 0.0, 0
    for inputs, labels in micro_batches:
        logp = model(inputs).log_softmax(-1)
        keep = labels != -100
        loss = -logp[keep].gather(-1, labels[keep][:, None]).sum()
        loss.backward()
        total += loss.item()
        count += int(keep.sum())
    count = max(1, count)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= count
    return total / count

# %% 04.3 right: token by token
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    count = 0
    for _, labels in micro_batches:
        for label in labels.flatten().tolist():
            if label != -100:
                count += 1
    total = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = logits.flatten()[:0].sum()
        for scores, label in zip(logits.reshape(-1, logits.shape[-1]), labels.flatten().tolist(), strict=True):
            if label != -100:
                loss = loss + (scores.logsumexp(0) - scores[label]) / count
        loss.backward()
        total += float(loss.detach())
    return total

# %% 04.4 wrong: each rank clips by its own norm
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    squares = [sum(float(part.double().square().sum()) for part in rank) for rank in shards]
    clipped = []
    for rank, square in zip(shards, squares, strict=True):
        scale = min(1.0, max_norm / square**0.5) if square > 0 else 1.0
        clipped.append([part * scale for part in rank])
    return clipped, sum(squares) ** 0.5

# %% 04.4 wrong: the norms of the parts are added, not their squares
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = float(sum(float(part.double().norm()) for rank in shards for part in rank))
    scale = max_norm / norm if norm > max_norm else 1.0
    return [[part * scale for part in rank] for rank in shards], norm

# %% 04.4 wrong: the given tensors are clipped in place
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(float(part.double().square().sum()) for rank in shards for part in rank) ** 0.5
    if norm > max_norm:
        for rank in shards:
            for part in rank:
                part.mul_(max_norm / norm)
    return [list(rank) for rank in shards], norm

# %% 04.4 wrong: a small gradient is scaled up to max_norm
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(float(part.double().square().sum()) for rank in shards for part in rank) ** 0.5
    scale = max_norm / norm if norm > 0 else 1.0
    return [[part * scale for part in rank] for rank in shards], norm

# %% 04.4 wrong: the norm after clipping is returned
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(float(part.double().square().sum()) for rank in shards for part in rank) ** 0.5
    scale = max_norm / norm if norm > max_norm else 1.0
    return [[part * scale for part in rank] for rank in shards], min(norm, max_norm)

# %% 04.4 wrong: the squares are averaged over the ranks instead of summed
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    squares = [sum(float(part.double().square().sum()) for part in rank) for rank in shards]
    norm = (sum(squares) / max(1, len(shards))) ** 0.5
    scale = max_norm / norm if norm > max_norm else 1.0
    return [[part * scale for part in rank] for rank in shards], norm

# %% 04.4 wrong: fails on an empty tensor, whose largest number it asks for
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    peak = max((float(part.abs().max()) for rank in shards for part in rank), default=0.0)
    if peak == 0:
        return [[part.clone() for part in rank] for rank in shards], 0.0
    norm = peak * sum(float((part.double() / peak).square().sum()) for rank in shards for part in rank) ** 0.5
    scale = max_norm / norm if norm > max_norm else 1.0
    return [[part * scale for part in rank] for rank in shards], norm

# %% 04.4 wrong: the clipped tensors come back flat
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    flat = [[part.flatten() for part in rank] for rank in shards]
    norm = sum(float(part.double() @ part.double()) for rank in flat for part in rank) ** 0.5
    scale = max_norm / norm if norm > max_norm else 1.0
    return [[part * scale for part in rank] for rank in flat], norm

# %% 04.4 right: terse
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(float(t.double().square().sum()) for rank in shards for t in rank) ** 0.5
    return [[t * (max_norm / norm) if norm > max_norm else t.clone() for t in rank] for rank in shards], norm

# %% 04.4 right: one joined vector
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    everything = [torch.zeros(1, dtype=torch.float64)]
    everything += [part.detach().cpu().double().reshape(-1) for rank in shards for part in rank]
    norm = torch.linalg.vector_norm(torch.cat(everything)).item()
    if not norm > max_norm:
        return copy.deepcopy(shards), norm
    return [[part.mul(max_norm / norm) for part in rank] for rank in shards], norm

# %% 04.4 right: number by number
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    square = 0.0
    for rank in shards:
        for part in rank:
            for number in part.flatten().tolist():
                square += number * number
    norm = square**0.5
    scale = 1.0
    if norm > max_norm:
        scale = max_norm / norm
    clipped = []
    for rank in shards:
        new_rank = []
        for part in rank:
            new_rank.append(part * scale)
        clipped.append(new_rank)
    return clipped, norm

# %% 04.5 wrong: tokens first, then parameters
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / (6 * tokens_per_parameter)) ** 0.5
    return tokens_per_parameter * parameters, parameters

# %% 04.5 wrong: the six is forgotten
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / tokens_per_parameter) ** 0.5
    return parameters, tokens_per_parameter * parameters

# %% 04.5 wrong: only the forward pass is paid, 2 instead of 6
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / (2 * tokens_per_parameter)) ** 0.5
    return parameters, tokens_per_parameter * parameters

# %% 04.5 wrong: twenty hard-coded, the ratio is ignored
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / 120) ** 0.5
    return parameters, flops / 6 / parameters

# %% 04.5 wrong: the ratio is left out of the root, so the budget is overspent
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / 6) ** 0.5
    return parameters, tokens_per_parameter * parameters

# %% 04.5 wrong: the ratio is turned round, parameters per token
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    tokens = (flops / (6 * tokens_per_parameter)) ** 0.5
    return tokens * tokens_per_parameter, tokens

# %% 04.5 wrong: the nearest point of a coarse grid
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    grid = [10 ** (0.05 * i) for i in range(400)]
    parameters = min(grid, key=lambda n: abs(6 * n * n * tokens_per_parameter / flops - 1))
    return parameters, tokens_per_parameter * parameters

# %% 04.5 wrong: calls itself for ever
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters, tokens = compute_optimal(flops, tokens_per_parameter)
    return parameters, tokens

# %% 04.5 right: terse
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    return (n := (flops / 6 / tokens_per_parameter) ** 0.5), n * tokens_per_parameter

# %% 04.5 right: tokens first, by the root of the math module
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    import math

    tokens = math.sqrt(flops * tokens_per_parameter / 6)
    return tokens / tokens_per_parameter, tokens

# %% 04.5 right: by halving an interval
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    def cost(n: float) -> float:
        return 6 * n * n * tokens_per_parameter

    low, high = 0.0, 1.0
    while cost(high) < flops:
        high *= 2
    for _ in range(300):
        middle = (low + high) / 2
        if cost(middle) < flops:
            low = middle
        else:
            high = middle
    return high, high * tokens_per_parameter


# %% 04.1 wrong: each stage shares out only its own item
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    weights = 2 / ranks if stage == 3 else 2
    gradients = 2 / ranks if stage == 2 else 2
    optimizer = 12 / ranks if stage == 1 else 12
    return parameters * (weights + gradients + optimizer)

# %% 04.1 wrong: rounded down to whole parameters
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    part = parameters // ranks
    weights, gradients, optimizer = (part if stage >= s else parameters for s in (3, 2, 1))
    return float(2 * weights + 2 * gradients + 12 * optimizer)

# %% 04.1 wrong: gradients are shared before the optimizer's state
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    total = 0.0
    for size, first in ((2, 1), (12, 2), (2, 3)):
        total += size * parameters / (ranks if stage >= first else 1)
    return total

# %% 04.1 wrong: the float32 copy of the weights is forgotten
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    share = [1 / ranks if stage >= s else 1 for s in (3, 2, 1)]
    return parameters * (2 * share[0] + 2 * share[1] + 8 * share[2])

# %% 04.1 wrong: stages are counted one too low
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    optimizer = 12 / ranks if stage > 1 else 12
    gradients = 2 / ranks if stage > 2 else 2
    weights = 2 / ranks if stage > 3 else 2
    return parameters * (optimizer + gradients + weights)

# %% 04.1 wrong: always eight ranks
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    return parameters * [16, 4 + 12 / 8, 2 + 14 / 8, 16 / 8][stage]

# %% 04.1 right: a table of four
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    return parameters * (16, 4 + 12 / ranks, 2 + 14 / ranks, 16 / ranks)[stage]

# %% 04.1 right: item by item
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    total = 0.0
    for name, size in {"optimizer": 12, "gradient": 2, "weight": 2}.items():
        whole = size * parameters
        shared_from = {"optimizer": 1, "gradient": 2, "weight": 3}[name]
        if stage >= shared_from:
            total += whole / ranks
        else:
            total += whole
    return total

# %% 04.2 wrong: the shorter last segment is not counted
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    return max(layers // every, 1) * boundary + min(every, layers) * inside

# %% 04.2 wrong: one segment too many where the division is even
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    return (layers // every + 1) * boundary + min(every, layers) * inside

# %% 04.2 wrong: a segment may hold more layers than there are
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    return -(-layers // every) * boundary + every * inside

# %% 04.2 wrong: the last segment's layers at the peak
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = -(-layers // every)
    last = layers - (segments - 1) * every
    return segments * boundary + last * inside

# %% 04.2 wrong: an input kept for every layer
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    return layers * boundary + min(every, layers) * inside

# %% 04.2 wrong: the input of the segment that is computed again is not counted
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = (layers + every - 1) // every
    return (segments - 1) * boundary + min(every, layers) * inside

# %% 04.2 wrong: rounds to the nearest number of segments
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    return max(1, round(layers / every)) * boundary + min(layers, every) * inside

# %% 04.2 right: ceiling by a negative quotient
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    return -(-layers // every) * boundary + min(layers, every) * inside

# %% 04.2 right: plays it through
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments, left = [], layers
    while left > 0:
        segments.append(min(every, left))
        left -= segments[-1]
    kept = 0.0
    for _ in segments:
        kept += boundary
    peak = kept
    for length in segments:
        held = 0.0
        for _ in range(length):
            held += inside
        peak = max(peak, kept + held)
    return peak

# %% 04.3 wrong: the mean of the micro-batches' means
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    counted = [(x, y) for x, y in micro_batches if (y != -100).any()]
    mean = 0.0
    for inputs, labels in counted:
        loss = F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten()) / len(counted)
        loss.backward()
        mean += loss.item()
    return mean

# %% 04.3 wrong: weighted by all tokens, also those that do not count
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(labels.numel() for _, labels in micro_batches)
    mean = 0.0
    for inputs, labels in micro_batches:
        loss = F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten(), reduction="sum") / total
        loss.backward()
        mean += loss.item()
    return mean

# %% 04.3 wrong: a micro-batch without labels makes everything NaN
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    mean = 0.0
    for inputs, labels in micro_batches:
        weight = int((labels != -100).sum()) / total
        loss = F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten()) * weight
        loss.backward()
        mean += loss.item()
    return mean

# %% 04.3 wrong: one backward pass for all, so that all are in memory
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    losses, count = [], 0
    for inputs, labels in micro_batches:
        losses.append(F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten(), reduction="sum"))
        count += int((labels != -100).sum())
    mean = torch.stack(losses).sum() / count
    mean.backward()
    return mean.item()

# %% 04.3 wrong: the list is emptied
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum((labels != -100).sum().item() for _, labels in micro_batches)
    mean = 0.0
    while micro_batches:
        inputs, labels = micro_batches.pop()
        loss = F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten(), reduction="sum") / total
        loss.backward()
        mean += loss.item()
    return mean

# %% 04.3 wrong: the labels are overwritten
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(int((labels >= 0).sum()) for _, labels in micro_batches)
    mean = 0.0
    for inputs, labels in micro_batches:
        asked = labels >= 0
        labels[~asked] = 0
        logp = model(inputs).log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        loss = -(logp * asked).sum() / total
        loss.backward()
        mean += loss.item()
    return mean

# %% 04.3 wrong: right gradient, but the mean of the last micro-batch alone comes back
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    loss = None
    for inputs, labels in micro_batches:
        loss = F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten(), reduction="sum")
        (loss / total).backward()
    return loss.item() / max(int((labels != -100).sum()), 1)

# %% 04.3 right: sums over one count
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total, mean = sum(int((y != -100).sum()) for _, y in micro_batches), 0.0
    for x, y in micro_batches:
        z = model(x)
        loss = F.cross_entropy(z.reshape(-1, z.shape[-1]), y.reshape(-1), reduction="sum") / total
        loss.backward()
        mean += loss.item()
    return mean

# %% 04.3 right: gradients of sums, divided at the end (another)
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    nats, tokens = 0.0, 0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        logits = logits.reshape(-1, logits.shape[-1])
        wanted = labels.reshape(-1)
        asked = wanted != -100
        safe = torch.where(asked, wanted, torch.zeros_like(wanted))
        surprise = logits.logsumexp(-1) - logits.gather(1, safe[:, None])[:, 0]
        loss = torch.where(asked, surprise, torch.zeros_like(surprise)).sum()
        loss.backward()
        nats += float(loss.detach())
        tokens += int(asked.sum())
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad /= tokens
    return nats / tokens

# %% 04.4 wrong: each rank clips by its own norm (another)
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    clipped, squares = [], 0.0
    for rank in shards:
        own = sum(float(t.square().sum()) for t in rank) ** 0.5
        clipped.append([t * (max_norm / own) if own > max_norm else t for t in rank])
        squares += own**2
    return clipped, squares**0.5

# %% 04.4 wrong: the ranks' norms are added
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(float(torch.cat([t.flatten() for t in rank]).norm()) for rank in shards)
    factor = max_norm / norm if norm > max_norm else 1.0
    return [[t * factor for t in rank] for rank in shards], norm

# %% 04.4 wrong: empty tensors are left out
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    shards = [[t for t in rank if t.numel()] for rank in shards]
    norm = sum(float(t.norm()) ** 2 for rank in shards for t in rank) ** 0.5
    factor = max_norm / norm if norm > max_norm else 1.0
    return [[t * factor for t in rank] for rank in shards], norm

# %% 04.4 wrong: the shards are scaled in place
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(float(t.square().sum()) for rank in shards for t in rank) ** 0.5
    if norm > max_norm:
        for rank in shards:
            for t in rank:
                t *= max_norm / norm
    return shards, norm

# %% 04.4 wrong: squares are averaged over the ranks, not added
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    squares = [sum(float(t.square().sum()) for t in rank) for rank in shards]
    norm = (sum(squares) / len(squares)) ** 0.5
    factor = max_norm / norm if norm > max_norm else 1.0
    return [[t * factor for t in rank] for rank in shards], norm

# %% 04.4 wrong: tensors that only some ranks have are not in the norm
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    squares = 0.0
    for parts in zip(*shards, strict=False):
        squares += sum(float(part.square().sum()) for part in parts)
    norm = squares**0.5
    factor = max_norm / norm if norm > max_norm else 1.0
    return [[t * factor for t in rank] for rank in shards], norm

# %% 04.4 wrong: a gradient of zeros divides by zero
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(float(t.square().sum()) for rank in shards for t in rank) ** 0.5
    factor = min(1.0, max_norm / norm)
    return [[t * factor for t in rank] for rank in shards], norm

# %% 04.4 right: the norm of all tensors' norms
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = float(torch.stack([t.norm() for rank in shards for t in rank]).norm())
    return [[t * max_norm / norm if norm > max_norm else t for t in rank] for rank in shards], norm

# %% 04.4 right: each rank sends its squares, then scales a copy
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    sent = []
    for rank in shards:
        squares = 0.0
        for tensor in rank:
            for number in tensor.flatten().tolist():
                squares += number * number
        sent.append(squares)
    norm = sum(sent) ** 0.5
    clipped = []
    for rank in shards:
        mine = []
        for tensor in rank:
            copied = tensor.clone()
            if norm > max_norm:
                copied.mul_(max_norm / norm)
            mine.append(copied)
        clipped.append(mine)
    return clipped, norm

# %% 04.5 wrong: always twenty tokens for each parameter
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / 120) ** 0.5
    return parameters, 20 * parameters

# %% 04.5 wrong: the two are exchanged
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / (6 * tokens_per_parameter)) ** 0.5
    return tokens_per_parameter * parameters, parameters

# %% 04.5 wrong: the 6 is forgotten in the size, so that the ratio is off
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / tokens_per_parameter) ** 0.5
    return parameters, flops / (6 * parameters)

# %% 04.5 wrong: the forward pass alone is paid
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / (2 * tokens_per_parameter)) ** 0.5
    return parameters, tokens_per_parameter * parameters

# %% 04.5 wrong: rounded to whole millions
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / (6 * tokens_per_parameter)) ** 0.5
    return round(parameters, -6), round(tokens_per_parameter * parameters, -6)

# %% 04.5 wrong: the ratio comes out squared
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / 6) ** 0.5 / tokens_per_parameter
    return parameters, (flops / 6) ** 0.5 * tokens_per_parameter

# %% 04.5 wrong: calls itself with half the ratio until it is 1
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    if tokens_per_parameter == 1:
        return (flops / 6) ** 0.5, (flops / 6) ** 0.5
    parameters, tokens = compute_optimal(flops, tokens_per_parameter / 2)
    return parameters / 2**0.5, tokens * 2**0.5

# %% 04.5 right: one root
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    return (n := (flops / 6 / tokens_per_parameter) ** 0.5), n * tokens_per_parameter

# %% 04.5 right: by halving an interval (another)
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    low, high = 0.0, 1.0
    while 6 * high * high * tokens_per_parameter < flops:
        high *= 2
    for _ in range(300):
        middle = (low + high) / 2
        if 6 * middle * middle * tokens_per_parameter < flops:
            low = middle
        else:
            high = middle
    return high, high * tokens_per_parameter

# %% 04.1 wrong: each stage shares out its own part only, and not those of the stages before
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    parts = {3: 2.0, 2: 2.0, 1: 12.0}
    return parameters * sum(size / ranks if stage == number else size for number, size in parts.items())


# %% 04.1 wrong: rounds down to whole bytes
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    weights, gradients, optimizer = 2 * parameters, 2 * parameters, 12 * parameters
    if stage >= 1:
        optimizer //= ranks
    if stage >= 2:
        gradients //= ranks
    if stage >= 3:
        weights //= ranks
    return float(weights + gradients + optimizer)


# %% 04.1 wrong: the stages are off by one, so stage 1 shares out nothing
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    split = lambda size, after: size / ranks if stage > after else size  # noqa: E731
    return float(parameters * (split(12, 1) + split(2, 2) + split(2, 3)))


# %% 04.1 right: bytes that are whole and bytes that are shared
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    shared = (0, 12, 14, 16)[stage]
    return (16 - shared) * parameters + shared * parameters / ranks


# %% 04.2 wrong: one segment too many when the layers divide evenly
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    every = min(every, layers)
    return (layers // every + 1) * boundary + every * inside


# %% 04.2 wrong: cuts every down to the layers and calls itself again and again
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    if every >= layers:
        return checkpointed_bytes(layers, layers, boundary, inside)
    return -(-layers // every) * boundary + every * inside


# %% 04.2 wrong: the input of the segment that is computed again is not counted (a third)
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = -(-layers // every)
    return (segments - 1) * boundary + min(every, layers) * inside


# %% 04.2 right: walks through the segments from the last to the first
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = [min(every, layers - start) for start in range(0, layers, every)]
    peak = 0.0
    for size in reversed(segments):
        peak = max(peak, len(segments) * boundary + size * inside)
    return peak


# %% 04.3 wrong: weighs the mean of each piece, which is NaN where no label counts
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    mean = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
        loss = loss * (int((labels != -100).sum()) / total)
        loss.backward()
        mean += loss.item()
    return mean


# %% 04.3 wrong: takes the pieces out of the list, which is empty afterwards
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    mean = 0.0
    while micro_batches:
        inputs, labels = micro_batches.pop(0)
        logits = model(inputs)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="sum") / total
        loss.backward()
        mean += loss.item()
    return mean


# %% 04.3 wrong: adds up the losses and goes backward once, so all pieces are in memory together
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total, loss = 0, 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = loss + F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="sum")
        total += int((labels != -100).sum())
    mean = loss / total
    mean.backward()
    return mean.item()


# %% 04.3 right: gradients of sums, divided at the end (a third)
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    tokens, nats = 0, 0.0
    for inputs, labels in micro_batches:
        log_p = model(inputs).log_softmax(-1)
        counts = labels != -100
        chosen = log_p.gather(-1, labels.masked_fill(~counts, 0)[..., None])[..., 0]
        loss = -chosen.masked_fill(~counts, 0.0).sum()
        loss.backward()
        tokens += int(counts.sum())
        nats += loss.item()
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(tokens)
    return nats / tokens


# %% 04.4 wrong: empty tensors are left out of the result
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    full = [[t for t in rank if t.numel()] for rank in shards]
    norm = sum(t.square().sum().item() for rank in full for t in rank) ** 0.5
    factor = max_norm / norm if norm > max_norm else 1.0
    return [[t * factor for t in rank] for rank in full], norm


# %% 04.4 wrong: a gradient of zeros is divided by its norm
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(t.square().sum().item() for rank in shards for t in rank) ** 0.5
    factor = min(1.0, max_norm / norm)
    return [[t * factor for t in rank] for rank in shards], norm


# %% 04.4 wrong: adds the norms of the ranks instead of their squares
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    of_rank = [sum(t.square().sum().item() for t in rank) ** 0.5 for rank in shards]
    norm = sum(of_rank)
    factor = max_norm / norm if norm > max_norm else 1.0
    return [[t * factor for t in rank] for rank in shards], norm


# %% 04.4 right: the hypotenuse of all norms, and copies
import math


def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = math.hypot(*(float(torch.linalg.vector_norm(t)) for rank in shards for t in rank))
    if norm <= max_norm:
        return [[t.clone() for t in rank] for rank in shards], norm
    return [[t / norm * max_norm for t in rank] for rank in shards], norm


# %% 04.5 wrong: the ratio is taken out of the root, so the budget is not spent
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / 6) ** 0.5 / tokens_per_parameter
    return parameters, parameters * tokens_per_parameter


# %% 04.5 wrong: the tokens always follow the rule of twenty
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / (6 * tokens_per_parameter)) ** 0.5
    return parameters, 20 * parameters


# %% 04.5 wrong: the root is taken of the budget alone
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = flops**0.5 / (6 * tokens_per_parameter)
    return parameters, flops / (6 * parameters)


# %% 04.5 right: the tokens first
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    tokens = (flops * tokens_per_parameter / 6) ** 0.5
    return tokens / tokens_per_parameter, tokens


# %% 04.1 wrong: whole bytes only
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    weights, gradients, state = 2 * parameters, 2 * parameters, 12 * parameters
    if stage >= 1:
        state //= ranks
    if stage >= 2:
        gradients //= ranks
    if stage >= 3:
        weights //= ranks
    return float(weights + gradients + state)


# %% 04.1 wrong: each stage splits its own item only, not those of the stages before
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    state = 12 / ranks if stage == 1 else 12
    gradients = 2 / ranks if stage == 2 else 2
    weights = 2 / ranks if stage == 3 else 2
    return parameters * (weights + gradients + state)


# %% 04.1 wrong: stages counted from 0, the optimizer is split from stage 2 on
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    total = 0.0
    for first, size in enumerate((12, 2, 2), start=1):
        total += size * parameters / (ranks if stage > first else 1)
    return total


# %% 04.1 wrong: the float32 copy is forgotten, 8 bytes of state
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    shared = {0: 0, 1: 8, 2: 10, 3: 12}[stage]
    return parameters * (12 - shared + shared / ranks)


# %% 04.1 wrong: stage 1 shares out the gradients together with the state
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    alone = 16 * parameters
    if stage == 0:
        return float(alone)
    if stage in (1, 2):
        return 2 * parameters + 14 * parameters / ranks
    return alone / ranks


# %% 04.1 right: three terms with a divisor each
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    state = 12 * parameters / (ranks if stage >= 1 else 1)
    gradients = 2 * parameters / (ranks if stage >= 2 else 1)
    weights = 2 * parameters / (ranks if stage >= 3 else 1)
    return weights + gradients + state


# %% 04.1 right: a table of what is shared out
def bytes_per_rank(parameters: int, ranks: int, stage: int) -> float:
    shared = (0, 12, 14, 16)[stage]
    return parameters * ((16 - shared) * ranks + shared) / ranks


# %% 04.2 wrong: the shorter last segment is not counted, again
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    every = min(every, layers)
    return layers // every * boundary + every * inside


# %% 04.2 wrong: a segment may be longer than the model
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = -(-layers // every)
    return segments * boundary + every * inside


# %% 04.2 wrong: takes the last segment for the peak, since it is computed again first
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = -(-layers // every)
    last = layers - (segments - 1) * every
    return segments * boundary + last * inside


# %% 04.2 wrong: the larger of the two, not their sum
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    import math

    kept = math.ceil(layers / every) * boundary
    again = min(every, layers) * inside
    return max(kept, again)


# %% 04.2 wrong: only the borders between segments are counted, not the first input
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    borders = (layers - 1) // every
    return borders * boundary + min(every, layers) * inside


# %% 04.2 right: rounded up, capped
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = (layers + every - 1) // every
    return segments * boundary + min(every, layers) * inside


# %% 04.2 right: cuts a list of layers and goes through the segments
def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    segments = [range(layers)[start : start + every] for start in range(0, layers, every)]
    kept = boundary * len(segments)
    peak = kept
    for segment in reversed(segments):
        peak = max(peak, kept + inside * len(segment))
    return peak


# %% 04.3 wrong: a mean times its weight, and NaN times 0 is NaN if nothing counts in a piece
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    mean = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        share = int((labels != -100).sum()) / total
        loss = share * F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100)
        loss.backward()
        mean += loss.item()
    return mean


# %% 04.3 wrong: divides by all labels, also those that do not count
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(labels.numel() for _, labels in micro_batches)
    mean = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        summed = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="sum"
        )
        (summed / total).backward()
        mean += summed.item() / total
    return mean


# %% 04.3 wrong: divides by the tokens seen so far, not by those of all pieces
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    seen, summed = 0, 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="sum"
        )
        seen += int((labels != -100).sum())
        (loss / max(seen, 1)).backward()
        summed += loss.item()
    return summed / seen


# %% 04.3 wrong: shifts by one place out of habit
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(int((labels[..., 1:] != -100).sum()) for _, labels in micro_batches)
    total = max(total, 1)
    mean = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)[..., :-1, :]
        targets = labels[..., 1:]
        loss = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100, reduction="sum"
        )
        loss = loss / total
        loss.backward()
        mean += loss.item()
    return mean


# %% 04.3 wrong: the gradient is right, but the mean of the pieces' means comes back
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    counts = [int((labels != -100).sum()) for _, labels in micro_batches]
    means = []
    for (inputs, labels), count in zip(micro_batches, counts):
        logits = model(inputs)
        summed = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="sum"
        )
        (summed / sum(counts)).backward()
        if count:
            means.append(summed.item() / count)
    return sum(means) / len(means)


# %% 04.3 right: counts first, then sums over the whole count
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    mean = 0.0
    for inputs, labels in micro_batches:
        logits = model(inputs)
        loss = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="sum"
        )
        loss = loss / total
        loss.backward()
        mean += loss.item()
    return mean


# %% 04.3 right: gradients of sums, divided once at the end
def accumulate(model: nn.Module, micro_batches: list[tuple[Tensor, Tensor]]) -> float:
    summed, count = 0.0, 0
    for inputs, labels in micro_batches:
        log_probs = model(inputs).log_softmax(dim=-1)
        asked = labels != -100
        picked = log_probs.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        loss = -torch.where(asked, picked, torch.zeros_like(picked)).sum()
        loss.backward()
        summed += loss.item()
        count += int(asked.sum())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= count
    return summed / count


# %% 04.4 wrong: each rank clips by the norm of its own part
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    clipped, squares = [], 0.0
    for rank in shards:
        own = sum(t.double().square().sum().item() for t in rank)
        squares += own
        factor = max_norm / own**0.5 if own**0.5 > max_norm else 1.0
        clipped.append([t * factor for t in rank])
    return clipped, squares**0.5


# %% 04.4 wrong: averages the squares over the ranks, as DDP averages gradients
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    squares = [sum(t.double().square().sum().item() for t in rank) for rank in shards]
    norm = (sum(squares) / len(shards)) ** 0.5
    if norm <= max_norm:
        return shards, norm
    return [[t * (max_norm / norm) for t in rank] for rank in shards], norm


# %% 04.4 wrong: scales the given tensors themselves
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(t.double().square().sum().item() for rank in shards for t in rank) ** 0.5
    factor = max_norm / norm if norm > max_norm else 1.0
    return [[t.mul_(factor) for t in rank] for rank in shards], norm


# %% 04.4 wrong: empty tensors are left out of what comes back
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    filled = [[t for t in rank if t.numel() > 0] for rank in shards]
    norm = sum(float(t.double().norm()) ** 2 for rank in filled for t in rank) ** 0.5
    factor = max_norm / norm if norm > max_norm else 1.0
    return [[t * factor for t in rank] for rank in filled], norm


# %% 04.4 wrong: tells the norm after clipping
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    norm = sum(t.double().square().sum().item() for rank in shards for t in rank) ** 0.5
    if norm <= max_norm:
        return [[t.clone() for t in rank] for rank in shards], norm
    clipped = [[t * (max_norm / norm) for t in rank] for rank in shards]
    after = sum(t.double().square().sum().item() for rank in clipped for t in rank) ** 0.5
    return clipped, after


# %% 04.4 right: squares added up rank by rank, copies returned
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    squares = 0.0
    for rank in shards:
        for t in rank:
            squares += t.double().square().sum().item()
    norm = squares**0.5
    factor = max_norm / norm if norm > max_norm else 1.0
    clipped = []
    for rank in shards:
        clipped.append([t * factor for t in rank])
    return clipped, norm


# %% 04.4 right: a norm of norms, returned as it is if short enough
def clip_shards(shards: list[list[Tensor]], max_norm: float) -> tuple[list[list[Tensor]], float]:
    of_ranks = [torch.linalg.vector_norm(torch.cat([t.flatten().double() for t in rank])) for rank in shards]
    norm = torch.linalg.vector_norm(torch.stack(of_ranks)).item()
    if norm <= max_norm:
        return shards, norm
    return [[t * (max_norm / norm) for t in rank] for rank in shards], norm


# %% 04.5 wrong: the 6 stands outside of the root
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / tokens_per_parameter) ** 0.5 / 6
    return parameters, tokens_per_parameter * parameters


# %% 04.5 wrong: tokens first, parameters second
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / (6 * tokens_per_parameter)) ** 0.5
    tokens = tokens_per_parameter * parameters
    return tokens, parameters


# %% 04.5 wrong: always twenty tokens for each parameter, again
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / 120) ** 0.5
    return parameters, 20 * parameters


# %% 04.5 wrong: precedence, multiplies by the ratio under the root
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / 6 * tokens_per_parameter) ** 0.5
    tokens = flops / (6 * parameters)
    return parameters, tokens


# %% 04.5 wrong: spends the budget, but at another ratio, for the 6 is missing in the first line
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / tokens_per_parameter) ** 0.5
    tokens = flops / 6 / parameters
    return parameters, tokens


# %% 04.5 right: solved for the parameters
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    parameters = (flops / (6 * tokens_per_parameter)) ** 0.5
    return parameters, tokens_per_parameter * parameters


# %% 04.5 right: two roots, rounded to whole numbers
def compute_optimal(flops: float, tokens_per_parameter: float) -> tuple[float, float]:
    import math

    tokens = math.sqrt(flops * tokens_per_parameter / 6)
    parameters = math.sqrt(flops / tokens_per_parameter / 6)
    return float(round(parameters)), float(round(tokens))


# %% 04.6 wrong: strictly below, so that the observed choice does not count
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    pool = mine + theirs
    observed = sum(mine) / len(mine)
    means = [sum(c) / len(c) for c in combinations(pool, len(mine))]
    return sum(m < observed - 1e-12 * max(abs(x) for x in pool) for m in means) / len(means)


# %% 04.6 wrong: no room for rounding
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    import itertools

    hits = total = 0
    for chosen in itertools.combinations(mine + theirs, len(mine)):
        total += 1
        if sum(chosen) / len(chosen) <= sum(mine) / len(mine):
            hits += 1
    return hits / total


# %% 04.6 wrong: both sides, by the absolute difference of means
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    pool, n = mine + theirs, len(mine)
    total, eps = sum(pool), 1e-12 * max(abs(x) for x in pool)

    def gap(s: float) -> float:
        return abs(s / n - (total - s) / len(theirs))

    ways = [sum(c) for c in combinations(pool, n)]
    return sum(gap(s) >= gap(sum(mine)) - eps for s in ways) / len(ways)


# %% 04.6 wrong: ten thousand shuffles
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    import random

    rng, pool, hits = random.Random(0), mine + theirs, 0
    limit = sum(mine) / len(mine) + 1e-12 * max(map(abs, pool))
    for _ in range(10_000):
        rng.shuffle(pool)
        hits += sum(pool[: len(mine)]) / len(mine) <= limit
    return hits / 10_000


# %% 04.6 wrong: shuffles with one added above and below
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    import random

    rng, pool, hits = random.Random(1), mine + theirs, 0
    limit = sum(mine) / len(mine) + 1e-12 * max(map(abs, pool))
    for _ in range(999):
        hits += sum(rng.sample(pool, len(mine))) / len(mine) <= limit
    return (hits + 1) / 1000


# %% 04.6 wrong: a set of the choices, which merges equal scores
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    pool = sorted(mine + theirs)
    limit = sum(mine) / len(mine) + 1e-12 * max(map(abs, pool))
    ways = set(combinations(pool, len(mine)))
    return sum(sum(c) / len(c) <= limit for c in ways) / len(ways)


# %% 04.6 wrong: as many as theirs are chosen
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations
    from statistics import mean

    pool = mine + theirs
    limit = mean(mine) + 1e-12 * max(map(abs, pool))
    ways = [mean(c) for c in combinations(pool, len(theirs))]
    return sum(m <= limit for m in ways) / len(ways)


# %% 04.6 wrong: the upper tail
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations
    from statistics import mean

    pool = mine + theirs
    ways = [mean(c) for c in combinations(pool, len(mine))]
    return sum(m >= mean(mine) - 1e-12 * max(map(abs, pool)) for m in ways) / len(ways)


# %% 04.6 wrong: signs of paired differences
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import product

    d = [a - b for a, b in zip(mine, theirs)]
    ways = [sum(s * x for s, x in zip(signs, d)) for signs in product([1, -1], repeat=len(d))]
    return sum(w <= sum(d) + 1e-12 for w in ways) / len(ways)


# %% 04.6 wrong: one over the binomial if all are ahead, else one
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from math import comb

    return 1 / comb(len(mine) + len(theirs), len(mine)) if max(mine) < min(theirs) else 1.0


# %% 04.6 wrong: the Mann-Whitney statistic in place of the mean
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    pool, n = mine + theirs, len(mine)

    def u(places: tuple[int, ...]) -> float:
        rest = [pool[i] for i in range(len(pool)) if i not in places]
        return sum((pool[i] > y) + 0.5 * (pool[i] == y) for i in places for y in rest)

    ways = [u(c) for c in combinations(range(len(pool)), n)]
    return sum(w <= u(tuple(range(n))) for w in ways) / len(ways)


# %% 04.6 wrong: the list of mine is extended
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    n, limit = len(mine), sum(mine) / len(mine) + 1e-12 * max(map(abs, mine + theirs))
    mine.extend(theirs)
    ways = [sum(c) / n for c in combinations(mine, n)]
    return sum(w <= limit for w in ways) / len(ways)


# %% 04.6 wrong: a room of 1e-12 whatever the scores
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    n = len(mine)
    ways = [sum(c) / n for c in combinations(mine + theirs, n)]
    return sum(w <= sum(mine) / n + 1e-12 for w in ways) / len(ways)


# %% 04.6 wrong: in single precision
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    pool = torch.tensor(mine + theirs)
    ways = torch.stack([torch.stack(c).mean() for c in combinations(pool, len(mine))])
    return (ways <= pool[: len(mine)].mean() + 1e-12 * pool.abs().max()).double().mean().item()


# %% 04.6 right: means, one loop
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    import itertools

    pool = mine + theirs
    observed = sum(mine) / len(mine)
    tolerance = 1e-12 * max(abs(x) for x in pool)
    hits = total = 0
    for chosen in itertools.combinations(pool, len(mine)):
        total += 1
        if sum(chosen) / len(chosen) <= observed + tolerance:
            hits += 1
    return hits / total


# %% 04.6 right: sums, since every choice has the same size
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    sums = [sum(c) for c in combinations(mine + theirs, len(mine))]  # the first is that of mine
    return sum(s - sums[0] <= 1e-12 * max(map(abs, mine + theirs)) for s in sums) / len(sums)


# %% 04.6 right: numpy over all places
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    import numpy as np

    pool = np.array(mine + theirs)
    means = pool[list(map(list, combinations(range(len(pool)), len(mine))))].mean(axis=1)
    return float((means <= np.mean(mine) + 1e-12 * np.abs(pool).max()).mean())


# %% 04.6 right: take the next score or leave it
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    pool, n = mine + theirs, len(mine)
    limit = sum(mine) + n * 1e-12 * max(map(abs, pool))

    def count(at: int, left: int, total: float) -> tuple[int, int]:
        if left == 0:
            return int(total <= limit), 1
        if at == len(pool):
            return 0, 0
        a, b = count(at + 1, left - 1, total + pool[at]), count(at + 1, left, total)
        return a[0] + b[0], a[1] + b[1]

    hits, ways = count(0, n, 0.0)
    return hits / ways


# %% 04.6 right: difference of means, chosen against the rest
def permutation_p(mine: list[float], theirs: list[float]) -> float:
    from itertools import combinations

    pool, n, total = mine + theirs, len(mine), sum(mine + theirs)
    gaps = [sum(c) / n - (total - sum(c)) / len(theirs) for c in combinations(pool, n)]
    seen, room = sum(mine) / n - sum(theirs) / len(theirs), 1e-12 * max(map(abs, pool))
    return sum(gap <= seen + 2 * room for gap in gaps) / len(gaps)
