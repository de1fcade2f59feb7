# %% 14.1 wrong: the value may stand anywhere
def check_sum(completion: str, value: str) -> float:
    return 1.0 if value in completion else 0.0

# %% 14.1 wrong: the last word
def check_sum(completion: str, value: str) -> float:
    return float(completion.split()[-1].strip('.') == value)

# %% 14.1 wrong: the last number, however many there are
def check_sum(completion: str, value: str) -> float:
    numbers = re.findall(r"-?\d+", completion)
    return float(bool(numbers) and len(numbers[-1]) < 20 and int(numbers[-1]) == int(value))

# %% 14.1 wrong: the part behind the last sign must be the value as text
def check_sum(completion: str, value: str) -> float:
    return float(completion.split("=")[-1].strip(" .") == value)

# %% 14.1 wrong: it is computed with eval
def check_sum(completion: str, value: str) -> float:
    left, _, right = completion.rpartition("=")
    try:
        return float(eval(left.split(",")[-1]) == int(value))
    except Exception:
        return 0.0

# %% 14.1 wrong: a set of numbers
def check_sum(completion: str, value: str) -> float:
    return float(int(value) in {int(n) for n in re.findall(r"\d{1,9}", completion.rsplit("=", 1)[-1])})

# %% 14.1 wrong: no guard against no number
def check_sum(completion: str, value: str) -> float:
    return float(int(re.findall(r"\d+", completion)[-1]) == int(value))

# %% 14.1 wrong: nothing is returned
def check_sum(completion: str, value: str) -> float:
    found = re.findall(r"-?\d+", completion.rsplit("=", 1)[-1])
    float(len(found) == 1 and found[0] == value)

# %% 14.1 right: by partition, with a limit on digits
def check_sum(completion: str, value: str) -> float:
    behind = completion.rpartition("=")[2]
    numbers = re.findall(r"-?\d+", behind)
    if len(numbers) != 1 or len(numbers[0]) > 12:
        return 0.0
    return 1.0 if int(numbers[0]) == int(value) else 0.0

# %% 14.1 right: with an error caught
def check_sum(completion: str, value: str) -> float:
    numbers = [n for n in re.findall("-?[0-9]+", completion.split("=")[-1])]
    try:
        [number] = numbers
        return float(int(number) == int(value))
    except ValueError:
        return 0.0

# %% 14.1 right: character by character
def check_sum(completion: str, value: str) -> float:
    behind = completion.split("=")[-1] + " "
    numbers, current = [], ""
    for character in behind:
        if character in "0123456789" or (character == "-" and not current):
            current += character
        else:
            if current.strip("-"):
                numbers.append(current)
            current = "-" if character == "-" else ""
    if len(numbers) != 1:
        return 0.0
    digits = numbers[0].replace("-", "").lstrip("0") or "0"
    return float(("-" if numbers[0][0] == "-" else "") + digits == value)

# %% 14.2 wrong: over the whole batch
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    better = scores - scores.mean()
    return better / (scores.std() + eps) if divide else better

# %% 14.2 wrong: numpy's standard deviation
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    g = scores.view(-1, group)
    better = g - g.mean(1, keepdim=True)
    if divide:
        better = better / (g.std(1, keepdim=True, unbiased=False) + eps)
    return better.masked_fill((g == g[:, :1]).all(1, keepdim=True), 0.0).flatten()

# %% 14.2 wrong: ties are left to eps
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    g = scores.view(-1, group)
    better = g - g.mean(1, keepdim=True)
    return (better / (g.std(1, keepdim=True) + eps) if divide else better).flatten()

# %% 14.2 wrong: interleaved groups
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    g = scores.view(group, -1)
    better = g - g.mean(0)
    return (better / (g.std(0) + eps) if divide else better).flatten()

# %% 14.2 wrong: no eps
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    g = scores.view(-1, group)
    better = g - g.mean(1, keepdim=True)
    if divide:
        better = better / g.std(1, keepdim=True)
    return better.nan_to_num(0.0).masked_fill((g == g[:, :1]).all(1, keepdim=True), 0.0).flatten()

# %% 14.2 wrong: the mean of the others
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    g = scores.view(-1, group)
    better = g - (g.sum(1, keepdim=True) - g) / (group - 1)
    if divide:
        better = better / (g.std(1, keepdim=True) + eps)
    return better.masked_fill((g == g[:, :1]).all(1, keepdim=True), 0.0).flatten()

# %% 14.2 wrong: rounded to hide the ties
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    g = scores.view(-1, group)
    better = ((g - g.mean(1, keepdim=True)) * 1000).round() / 1000
    return (better / (g.std(1, keepdim=True) + eps) if divide else better).flatten()

# %% 14.2 right: with where
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    g = scores.reshape(-1, group)
    better = g - g.mean(dim=1, keepdim=True)
    if divide:
        better = better / (g.std(dim=1, keepdim=True) + eps)
    tied = g.max(1, keepdim=True).values == g.min(1, keepdim=True).values
    return torch.where(tied, torch.zeros_like(better), better).reshape(-1)

# %% 14.2 right: by loops
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    result = torch.zeros_like(scores)
    for start in range(0, len(scores), group):
        part = scores[start : start + group]
        if len(set(part.tolist())) > 1:
            better = part - part.mean()
            result[start : start + group] = better / (part.std() + eps) if divide else better
    return result

# %% 14.2 right: by repeating the means
def sibling_advantages(scores: Tensor, group: int, divide: bool, eps: float = 1e-4) -> Tensor:
    g = scores.view(-1, group)
    mean, std = (x.repeat_interleave(group) for x in (g.mean(1), g.std(1)))
    same = (g == g[:, [0]]).all(1).repeat_interleave(group)
    better = scores - mean
    if divide:
        better = better / (std + eps)
    better[same] = 0
    return better

# %% 14.3 wrong: the minus is missing
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0).exp()
    a = advantages[:, None]
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_high) * a) * mask
    if average == 'token':
        return gain.sum() / mask.sum()
    if average == 'constant':
        return gain.sum() / (len(mask) * room)
    return (gain.sum(1) / mask.sum(1).clamp(min=1)).mean()

# %% 14.3 wrong: one bound for both sides
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0).exp()
    a = advantages[:, None]
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_low) * a) * mask
    if average == 'token':
        return -gain.sum() / mask.sum()
    if average == 'constant':
        return -gain.sum() / (len(mask) * room)
    return -(gain.sum(1) / mask.sum(1).clamp(min=1)).mean()

# %% 14.3 wrong: always the mean over tokens
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0).exp()
    a = advantages[:, None]
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_high) * a) * mask
    return -gain.sum() / mask.sum()

# %% 14.3 wrong: the mask comes too late
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    ratio = (logprobs - old_logprobs).exp()
    a = advantages[:, None]
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_high) * a) * mask
    if average == 'token':
        return -gain.sum() / mask.sum()
    if average == 'constant':
        return -gain.sum() / (len(mask) * room)
    return -(gain.sum(1) / mask.sum(1).clamp(min=1)).mean()

# %% 14.3 wrong: no guard for an empty row
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0).exp()
    a = advantages[:, None]
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_high) * a) * mask
    if average == 'token':
        return -gain.sum() / mask.sum()
    if average == 'constant':
        return -gain.sum() / (len(mask) * room)
    return -(gain.sum(1) / mask.sum(1)).mean()

# %% 14.3 wrong: a plain number
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0).exp()
    a = advantages[:, None]
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_high) * a) * mask
    below = {'token': mask.sum(), 'constant': len(mask) * room, 'answer': mask.sum(1, keepdim=True).clamp(min=1) * len(mask)}
    return -(gain / below[average]).sum().item()

# %% 14.3 wrong: the sum is divided by the room alone
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0).exp()
    a = advantages[:, None]
    gain = torch.minimum(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_high) * a) * mask
    if average == 'token':
        return -gain.sum() / mask.sum()
    if average == 'constant':
        return -gain.sum() / room
    return -(gain.sum(1) / mask.sum(1).clamp(min=1)).mean()

# %% 14.3 right: with a divisor for each place
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    ratio = torch.where(mask.bool(), logprobs - old_logprobs, 0.0).exp()
    a = advantages.unsqueeze(-1)
    gain = torch.min(ratio * a, torch.clamp(ratio, 1 - clip_low, 1 + clip_high) * a)
    below = {'token': mask.sum(), 'constant': len(mask) * room, 'answer': mask.sum(1, keepdim=True).clamp(min=1) * len(mask)}
    return -(gain * mask / below[average]).sum()

# %% 14.3 right: row by row
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    total = 0.0
    for new, old, a, m in zip(logprobs, old_logprobs, advantages, mask):
        ratio = (new - old)[m.bool()].exp()
        gain = torch.minimum(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_high) * a).sum()
        if average == 'answer':
            total = total + gain / max(len(ratio), 1) / len(mask)
        else:
            total = total + gain / (mask.sum() if average == 'token' else len(mask) * room)
    return -total

# %% 14.3 right: by maximum of losses
def grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room) -> Tensor:
    ratio = ((logprobs - old_logprobs) .masked_fill(~mask.bool(), 0)).exp()
    a = advantages[:, None].expand_as(mask)
    loss = torch.maximum(-ratio * a, -ratio.clamp(1 - clip_low, 1 + clip_high) * a).masked_fill(mask == 0, 0)
    match average:
        case 'token':
            return loss.sum() / mask.sum()
        case 'answer':
            return torch.stack([row.sum() / max(float(m.sum()), 1.0) for row, m in zip(loss, mask)]).mean()
        case _:
            return loss.sum() / mask.shape[0] / room

# %% 14.4 wrong: the product
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    return ((logprobs - old_logprobs).masked_fill(mask == 0, 0)).sum(1).exp()

# %% 14.4 wrong: the mean of the ratios
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0).exp()
    return (ratio * mask).sum(1) / mask.sum(1).clamp(min=1)

# %% 14.4 wrong: the padding in the mean
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    return ((logprobs - old_logprobs).masked_fill(mask == 0, 0)).mean(1).exp()

# %% 14.4 wrong: upside down
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    change = (old_logprobs - logprobs).masked_fill(mask == 0, 0)
    return (change.sum(1) / mask.sum(1).clamp(min=1)).exp()

# %% 14.4 wrong: no exponential
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    change = (logprobs - old_logprobs).masked_fill(mask == 0, 0)
    return change.sum(1) / mask.sum(1).clamp(min=1)

# %% 14.4 wrong: a root of the product
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0).exp()
    return ratio.prod(1).pow(1 / mask.sum(1).clamp(min=1))

# %% 14.4 wrong: empty rows give NaN
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    change = (logprobs - old_logprobs).masked_fill(mask == 0, 0)
    return (change.sum(1) / mask.sum(1)).exp()

# %% 14.4 right: with where and a mean
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    change = torch.where(mask.bool(), logprobs - old_logprobs, 0.0)
    lengths = mask.sum(-1)
    return torch.exp(change.sum(-1) / torch.where(lengths > 0, lengths, torch.ones_like(lengths)))

# %% 14.4 right: two means
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    n = mask.sum(1).clamp(min=1)
    now, then = (x.masked_fill(mask == 0, 0).sum(1) / n for x in (logprobs, old_logprobs))
    return torch.exp(now - then)

# %% 14.4 right: by nanmean
def sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    change = (logprobs - old_logprobs).masked_fill(mask == 0, float('nan'))
    return change.nanmean(1).nan_to_num(0.0).exp()

# %% 14.5 wrong: with return
def pass_at_k(n: int, c: int, k: int) -> float:
    return 1 - (1 - c / n) ** k

# %% 14.5 wrong: the share that is right
def pass_at_k(n: int, c: int, k: int) -> float:
    return c / n

# %% 14.5 wrong: one or nothing
def pass_at_k(n: int, c: int, k: int) -> float:
    return 1.0 if c else 0.0

# %% 14.5 wrong: all wrong
def pass_at_k(n: int, c: int, k: int) -> float:
    import math

    return math.comb(n - c, k) / math.comb(n, k)

# %% 14.5 wrong: exactly one is right
def pass_at_k(n: int, c: int, k: int) -> float:
    import math

    return c * math.comb(n - c, k - 1) / math.comb(n, k)

# %% 14.5 wrong: floats overflow
def pass_at_k(n: int, c: int, k: int) -> float:
    a, b = 1.0, 1.0
    for i in range(k):
        a, b = a * (n - c - i), b * (n - i)
    return 1 - a / b

# %% 14.5 wrong: sampled
def pass_at_k(n: int, c: int, k: int) -> float:
    g = torch.Generator().manual_seed(0)
    hits = sum(bool((torch.randperm(n, generator=g)[:k] < c).any()) for _ in range(50))
    return hits / 50

# %% 14.5 right: by binomials
def pass_at_k(n: int, c: int, k: int) -> float:
    import math

    return 1 - math.comb(n - c, k) / math.comb(n, k)

# %% 14.5 right: as a product
def pass_at_k(n: int, c: int, k: int) -> float:
    import math

    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))

# %% 14.5 right: draw by draw
def pass_at_k(n: int, c: int, k: int) -> float:
    wrong, all_wrong = n - c, 1.0
    for i in range(k):
        if wrong - i <= 0:
            return 1.0
        all_wrong *= (wrong - i) / (n - i)
    return 1 - all_wrong
