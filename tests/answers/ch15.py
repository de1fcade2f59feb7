# %% 15.1 wrong: the logits are not shifted against the tokens
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    losses = -logits.log_softmax(-1).gather(2, input_ids[..., None])[..., 0]
    mask = attention_mask.to(losses.dtype)
    nats = (losses * mask).sum()
    return (nats / mask.sum()).exp().item(), nats.item() / np.log(2) / text_bytes

# %% 15.1 wrong: the mask of the reading place counts, so each row's first padding is predicted too
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    losses = -logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
    mask = attention_mask[:, :-1].to(losses.dtype)
    nats = (losses * mask).sum()
    return (nats / mask.sum()).exp().item(), nats.item() / np.log(2) / text_bytes

# %% 15.1 wrong: the mean of the rows' perplexities
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    losses = -logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
    mask = attention_mask[:, 1:].to(losses.dtype)
    nats = (losses * mask).sum(1)
    return (nats / mask.sum(1)).exp().mean().item(), nats.sum().item() / np.log(2) / text_bytes

# %% 15.1 wrong: nats per byte, not bits
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    losses = -logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
    mask = attention_mask[:, 1:].to(losses.dtype)
    nats = (losses * mask).sum()
    return (nats / mask.sum()).exp().item(), nats.item() / text_bytes

# %% 15.1 wrong: the begin tokens are counted among the predicted ones
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    losses = -logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
    nats = (losses * attention_mask[:, 1:]).sum()
    return (nats / attention_mask.sum()).exp().item(), nats.item() / np.log(2) / text_bytes

# %% 15.1 wrong: the token 0 is taken for padding, and the mask is not read
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    targets = input_ids[:, 1:]
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=0, reduction="sum"
    ).item()
    count = (targets != 0).sum().item()
    return float(np.exp(loss / count)), loss / np.log(2) / text_bytes

# %% 15.1 wrong: the logarithm of a softmax that has become 0
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    chances = logits[:, :-1].softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
    logs = chances[attention_mask[:, 1:].bool()].log()
    return (-logs.mean()).exp().item(), -logs.sum().item() / np.log(2) / text_bytes

# %% 15.1 wrong: the logits are normalised in place
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    logits -= logits.logsumexp(-1, keepdim=True)
    losses = -logits[:, :-1].gather(2, input_ids[:, 1:, None])[..., 0]
    mask = attention_mask[:, 1:].to(losses.dtype)
    nats = (losses * mask).sum()
    return (nats / mask.sum()).exp().item(), nats.item() / np.log(2) / text_bytes

# %% 15.1 right: choose the predicted tokens, then cross entropy
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    real = attention_mask[:, 1:].bool()
    nats = torch.nn.functional.cross_entropy(logits[:, :-1][real].double(), input_ids[:, 1:][real], reduction="none")
    return nats.mean().exp().item(), nats.sum().item() / np.log(2) / text_bytes

# %% 15.1 right: a loop over rows and places
import math

def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    total, count = 0.0, 0
    for b in range(input_ids.shape[0]):
        for t in range(1, input_ids.shape[1]):
            if attention_mask[b, t] == 1:
                row = logits[b, t - 1].double()
                total += (torch.logsumexp(row, 0) - row[input_ids[b, t]]).item()
                count += 1
    return math.exp(total / count), total / math.log(2) / text_bytes

# %% 15.1 right: numpy, bits first
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    x = logits.detach().cpu().double().numpy()[:, :-1]
    ids, real = input_ids.cpu().numpy()[:, 1:], attention_mask.cpu().numpy()[:, 1:] == 1
    x = x - x.max(-1, keepdims=True)
    logs = np.take_along_axis(x, ids[..., None], -1)[..., 0] - np.log(np.exp(x).sum(-1))
    bits = -logs[real].sum() / np.log(2)
    return float(2 ** (bits / real.sum())), float(bits / text_bytes)

# %% 15.2 wrong: not clipped
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    ours = [tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1)]
    theirs = {tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)}
    return sum(gram in theirs for gram in ours), len(ours)

# %% 15.2 wrong: each different n-gram matches once at most
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    ours = [tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1)]
    theirs = [tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)]
    return len(set(ours) & set(theirs)), len(ours)

# %% 15.2 wrong: the total counts different n-grams only
from collections import Counter

def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    ours = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
    theirs = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
    return sum((ours & theirs).values()), len(ours)

# %% 15.2 wrong: the last n-gram is left out
from collections import Counter

def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    ours = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n))
    theirs = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n))
    return sum((ours & theirs).values()), sum(ours.values())

# %% 15.2 wrong: a short hypothesis has a negative number of n-grams
from collections import Counter

def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    total = len(hypothesis) - n + 1
    ours = Counter(tuple(hypothesis[i : i + n]) for i in range(total))
    theirs = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
    return sum((ours & theirs).values()), total

# %% 15.2 wrong: the words of an n-gram are joined without a gap
from collections import Counter

def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    ours = Counter("".join(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
    theirs = Counter("".join(reference[i : i + n]) for i in range(len(reference) - n + 1))
    return sum((ours & theirs).values()), sum(ours.values())

# %% 15.2 wrong: the end of a text gives shorter n-grams too
from collections import Counter

def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    ours = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis)))
    theirs = Counter(tuple(reference[i : i + n]) for i in range(len(reference)))
    return sum((ours & theirs).values()), sum(ours.values())

# %% 15.2 wrong: the hypothesis is used up while counting
from collections import Counter

def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    left = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
    matches = total = 0
    while len(hypothesis) >= n:
        gram = tuple(hypothesis[:n])
        total += 1
        if left[gram] > 0:
            left[gram] -= 1
            matches += 1
        hypothesis.pop(0)
    return matches, total

# %% 15.2 right: counters that are cut with each other
from collections import Counter

def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    ours, theirs = (Counter(zip(*(text[i:] for i in range(n)))) for text in (hypothesis, reference))
    return sum((ours & theirs).values()), sum(ours.values())

# %% 15.2 right: each match strikes out one n-gram of the reference
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    left = []
    for i in range(len(reference) - n + 1):
        left.append(reference[i : i + n])
    matches, total = 0, 0
    for i in range(len(hypothesis) - n + 1):
        gram = hypothesis[i : i + n]
        total += 1
        if gram in left:
            left.remove(gram)
            matches += 1
    return matches, total

# %% 15.2 right: walks over two sorted lists
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    def grams(text):
        return sorted(tuple(text[i : i + n]) for i in range(max(len(text) - n + 1, 0)))

    ours, theirs = grams(hypothesis), grams(reference)
    i = j = matches = 0
    while i < len(ours) and j < len(theirs):
        if ours[i] == theirs[j]:
            matches, i, j = matches + 1, i + 1, j + 1
        elif ours[i] < theirs[j]:
            i += 1
        else:
            j += 1
    return matches, len(ours)

# %% 15.3 wrong: the longest run without gaps
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    best, previous = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0] * (len(b) + 1)
        for j, y in enumerate(b, 1):
            row[j] = previous[j - 1] + 1 if x == y else 0
            best = max(best, row[j])
        previous = row
    return best

# %% 15.3 wrong: the order of the words does not matter
from collections import Counter

def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    return sum((Counter(a) & Counter(b)).values())

# %% 15.3 wrong: greedy, each word of a takes the next place in b
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    found, start = 0, 0
    for word in a:
        if word in b[start:]:
            start = b.index(word, start) + 1
            found += 1
    return found

# %% 15.3 wrong: tries all sequences, in exponential time
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + longest_common_subsequence(a[1:], b[1:])
    return max(longest_common_subsequence(a[1:], b), longest_common_subsequence(a, b[1:]))

# %% 15.3 wrong: all rows of the table are the same list
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1)] * (len(a) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            if a[i - 1] == b[j - 1]:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    return table[len(a)][len(b)]

# %% 15.3 wrong: adds up difflib's matching blocks
from difflib import SequenceMatcher

def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    return sum(block.size for block in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())

# %% 15.3 wrong: counts letters of the joined texts
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    a, b = " ".join(a), " ".join(b)
    previous = [0] * (len(b) + 1)
    for x in a:
        row = [0]
        for j, y in enumerate(b):
            row.append(previous[j] + 1 if x == y else max(previous[j + 1], row[j]))
        previous = row
    return previous[-1]

# %% 15.3 wrong: an empty text raises
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    table = [[0] * len(b) for _ in a]
    for i in range(len(a)):
        for j in range(len(b)):
            corner = table[i - 1][j - 1] if i and j else 0
            above = table[i - 1][j] if i else 0
            left = table[i][j - 1] if j else 0
            table[i][j] = corner + 1 if a[i] == b[j] else max(above, left)
    return table[-1][-1]

# %% 15.3 right: one row at a time, with numpy's running maximum
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    row = np.zeros(len(b) + 1, dtype=int)
    for x in a:
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], row[:-1] + np.array([x == y for y in b], dtype=int)))
    return int(row[-1])

# %% 15.3 right: the full table
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            if a[i - 1] == b[j - 1]:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    return table[len(a)][len(b)]

# %% 15.3 right: the longest rising sequence of places, by bisection
from bisect import bisect_left

def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    places: dict[str, list[int]] = {}
    for j, word in enumerate(b):
        places.setdefault(word, []).append(j)
    ends: list[int] = []
    for word in a:
        for j in reversed(places.get(word, [])):
            k = bisect_left(ends, j)
            if k == len(ends):
                ends.append(j)
            else:
                ends[k] = j
    return len(ends)

# %% 15.4 wrong: the generator is not used
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    drawn = torch.randint(len(values), (resamples, len(values)))
    means, tail = values.float()[drawn].mean(1), (1 - confidence) / 2
    return means.quantile(tail).item(), means.quantile(1 - tail).item()

# %% 15.4 wrong: drawn without repetition
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    n = len(values)
    means = torch.stack([values.float()[torch.randperm(n, generator=generator)].mean() for _ in range(resamples)])
    tail = (1 - confidence) / 2
    return means.quantile(tail).item(), means.quantile(1 - tail).item()

# %% 15.4 wrong: the whole rest is cut off on each side
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = values.float()[drawn].mean(1)
    return means.quantile(1 - confidence).item(), means.quantile(confidence).item()

# %% 15.4 wrong: always 95 %
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = values.float()[drawn].mean(1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()

# %% 15.4 wrong: the mean over the wrong axis, one for each question
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means, tail = values.float()[drawn].mean(0), (1 - confidence) / 2
    return means.quantile(tail).item(), means.quantile(1 - tail).item()

# %% 15.4 wrong: the interval is mirrored at the mean
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means, tail = values.float()[drawn].mean(1), (1 - confidence) / 2
    middle = 2 * values.float().mean()
    return (middle - means.quantile(1 - tail)).item(), (middle - means.quantile(tail)).item()

# %% 15.4 wrong: the generator is set back to one seed at each call
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    generator.manual_seed(0)
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means, tail = values.float()[drawn].mean(1), (1 - confidence) / 2
    return means.quantile(tail).item(), means.quantile(1 - tail).item()

# %% 15.4 wrong: each resample is written over the values, and the next is drawn from it
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    means = []
    for _ in range(resamples):
        values[:] = values[torch.randint(len(values), (len(values),), generator=generator)]
        means.append(values.float().mean())
    tail = (1 - confidence) / 2
    means = torch.stack(means)
    return means.quantile(tail).item(), means.quantile(1 - tail).item()

# %% 15.4 right: all resamples at once
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    means = values.double()[torch.randint(len(values), (resamples, len(values)), generator=generator)].mean(1)
    return tuple(np.quantile(means.numpy(), [(1 - confidence) / 2, (1 + confidence) / 2]).tolist())

# %% 15.4 right: a loop over resamples and draws
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    figures = values.tolist()
    n = len(figures)
    means = []
    for _ in range(resamples):
        total = 0.0
        for place in torch.randint(0, n, (n,), generator=generator).tolist():
            total += figures[place]
        means.append(total / n)
    tail = (1 - confidence) / 2
    ordered = torch.tensor(sorted(means), dtype=torch.float64)
    return ordered.quantile(tail).item(), ordered.quantile(1 - tail).item()

# %% 15.4 right: how often each question is drawn, then one matrix product
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    n = values.shape[0]
    drawn = torch.multinomial(torch.ones(resamples, n), n, replacement=True, generator=generator)
    counts = torch.zeros(resamples, n, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(resamples, n, dtype=torch.float64)
    )
    means = counts @ values.double() / n
    outside = 50 * (1 - confidence)
    return float(np.percentile(means.numpy(), outside)), float(np.percentile(means.numpy(), 100 - outside))

# %% 15.5 wrong: ties count nothing
def auc(positives: list[float], negatives: list[float]) -> float:
    return sum(p > n for p in positives for n in negatives) / (len(positives) * len(negatives))

# %% 15.5 wrong: ties count in full
def auc(positives: list[float], negatives: list[float]) -> float:
    return sum(p >= n for p in positives for n in negatives) / (len(positives) * len(negatives))

# %% 15.5 wrong: only the pairs that stand at the same place
def auc(positives: list[float], negatives: list[float]) -> float:
    pairs = list(zip(positives, negatives))
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)

# %% 15.5 wrong: equal scores are counted once
def auc(positives: list[float], negatives: list[float]) -> float:
    ups, downs = set(positives), set(negatives)
    wins = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p in ups for n in downs)
    return wins / (len(ups) * len(downs))

# %% 15.5 wrong: never below one half
def auc(positives: list[float], negatives: list[float]) -> float:
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    share = wins / (len(positives) * len(negatives))
    return max(share, 1 - share)

# %% 15.5 wrong: ranks that count from 0 in a formula for ranks from 1
def auc(positives: list[float], negatives: list[float]) -> float:
    both = list(positives) + list(negatives)
    ranks = sum(sum(x < p for x in both) + (sum(x == p for x in both) - 1) / 2 for p in positives)
    n = len(positives)
    return (ranks - n * (n + 1) / 2) / (n * len(negatives))

# %% 15.5 wrong: the lists are sorted in place
from bisect import bisect_left, bisect_right

def auc(positives: list[float], negatives: list[float]) -> float:
    positives.sort()
    negatives.sort()
    wins = sum(bisect_left(negatives, p) + bisect_right(negatives, p) for p in positives) / 2
    return wins / (len(positives) * len(negatives))

# %% 15.5 wrong: it calls itself
def auc(positives: list[float], negatives: list[float]) -> float:
    return auc(positives, negatives)

# %% 15.5 right: the mean sign of all differences
def auc(positives: list[float], negatives: list[float]) -> float:
    return float((np.sign(np.subtract.outer(positives, negatives)).mean() + 1) / 2)

# %% 15.5 right: two loops
def auc(positives: list[float], negatives: list[float]) -> float:
    wins = 0.0
    for p in positives:
        for n in negatives:
            if p > n:
                wins += 1.0
            elif p == n:
                wins += 0.5
    return wins / len(positives) / len(negatives)

# %% 15.5 right: bisection in a sorted copy
from bisect import bisect_left, bisect_right

def auc(positives: list[float], negatives: list[float]) -> float:
    ordered = sorted(negatives)
    below = sum(bisect_left(ordered, p) for p in positives)
    not_above = sum(bisect_right(ordered, p) for p in positives)
    return (below + not_above) / (2 * len(positives) * len(ordered))


# %% 15.1 wrong: the mean of the rows' perplexities (another)
def perplexity(logits, input_ids, attention_mask, text_bytes):
    mask = attention_mask[:, 1:].double()
    log_p = logits[:, :-1].double().log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    nats, counts = -(log_p * mask).sum(1), mask.sum(1)
    rows = (nats / counts.clamp(min=1)).exp()[counts > 0]
    return rows.mean().item(), nats.sum().item() / text_bytes / float(np.log(2))


# %% 15.1 wrong: the begin tokens are counted among the predicted ones (another)
def perplexity(logits, input_ids, attention_mask, text_bytes):
    log_p = logits[:, :-1].double().log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    nats = -(log_p * attention_mask[:, 1:]).sum().item()
    return float(np.exp(nats / attention_mask.sum().item())), nats / float(np.log(2)) / text_bytes


# %% 15.1 wrong: the begin token is taken out of the caller's mask
def perplexity(logits, input_ids, attention_mask, text_bytes):
    attention_mask[:, 0] = 0
    keep = attention_mask[:, 1:].bool()
    nats = torch.nn.functional.cross_entropy(logits[:, :-1][keep], input_ids[:, 1:][keep], reduction="sum").item()
    return float(np.exp(nats / int(keep.sum()))), nats / float(np.log(2)) / text_bytes


# %% 15.1 wrong: the mask is not shifted with the targets, so one token of padding counts
def perplexity(logits, input_ids, attention_mask, text_bytes):
    keep = attention_mask[:, :-1].bool()
    nats = torch.nn.functional.cross_entropy(logits[:, :-1][keep], input_ids[:, 1:][keep], reduction="sum").item()
    return float(np.exp(nats / int(keep.sum()))), nats / float(np.log(2)) / text_bytes


# %% 15.1 wrong: whatever has an id that the padding has is left out, real tokens too
def perplexity(logits, input_ids, attention_mask, text_bytes):
    padding = input_ids[attention_mask == 0]
    targets = input_ids[:, 1:]
    keep = ~torch.isin(targets, padding)
    nats = torch.nn.functional.cross_entropy(logits[:, :-1][keep], targets[keep], reduction="sum").item()
    return float(np.exp(nats / max(int(keep.sum()), 1))), nats / float(np.log(2)) / text_bytes


# %% 15.1 right: a sum over the kept places
def perplexity(logits, input_ids, attention_mask, text_bytes):
    keep = attention_mask[:, 1:].bool()
    loss = torch.nn.functional.cross_entropy(logits[:, :-1][keep].double(), input_ids[:, 1:][keep], reduction="sum")
    return float((loss / keep.sum()).exp()), float(loss / np.log(2) / text_bytes)


# %% 15.1 right: token by token, in numpy
def perplexity(logits, input_ids, attention_mask, text_bytes):
    scores = logits.detach().cpu().double().numpy()
    nats, bits, count = 0.0, 0.0, 0
    for row in range(input_ids.shape[0]):
        for t in range(1, input_ids.shape[1]):
            if attention_mask[row, t] == 0:
                continue
            line = scores[row, t - 1]
            highest = line.max()
            log_sum = highest + np.log(np.exp(line - highest).sum())
            surprise = log_sum - line[int(input_ids[row, t])]
            nats += surprise
            bits += surprise / np.log(2)
            count += 1
    return float(np.exp(nats / count)), float(bits / text_bytes)


# %% 15.2 wrong: n-grams are glued without a space, so different ones may look alike
def clipped_precision(hypothesis, reference, n):
    from collections import Counter

    ours = Counter("".join(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
    theirs = Counter("".join(reference[i : i + n]) for i in range(len(reference) - n + 1))
    return sum((ours & theirs).values()), sum(ours.values())


# %% 15.2 wrong: each n-gram counts once, however often it occurs
def clipped_precision(hypothesis, reference, n):
    ours = {tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1)}
    theirs = {tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)}
    return len(ours & theirs), len(ours)


# %% 15.2 wrong: a text that is too short has a negative number of n-grams
def clipped_precision(hypothesis, reference, n):
    from collections import Counter

    ours = Counter(zip(*(hypothesis[i:] for i in range(n))))
    theirs = Counter(zip(*(reference[i:] for i in range(n))))
    return sum(min(count, theirs[gram]) for gram, count in ours.items()), len(hypothesis) - n + 1


# %% 15.2 wrong: capitals are taken for small letters
def clipped_precision(hypothesis, reference, n):
    from collections import Counter

    def grams(words):
        words = [word.lower() for word in words]
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    ours, theirs = grams(hypothesis), grams(reference)
    return sum((ours & theirs).values()), sum(ours.values())


# %% 15.2 wrong: with single words the matches are taken out of the caller's reference
def clipped_precision(hypothesis, reference, n):
    if n == 1:
        ours, left = hypothesis, reference
    else:
        ours = [tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1)]
        left = [tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)]
    matches = 0
    for gram in ours:
        if gram in left:
            left.remove(gram)
            matches += 1
    return matches, len(ours)


# %% 15.2 right: the intersection of two counters
def clipped_precision(hypothesis, reference, n):
    from collections import Counter

    a, b = (Counter(zip(*(words[i:] for i in range(n)))) for words in (hypothesis, reference))
    return (a & b).total(), a.total()


# %% 15.2 right: each n-gram is crossed out in a copy
def clipped_precision(hypothesis, reference, n):
    left = []
    for i in range(len(reference)):
        if i + n <= len(reference):
            left.append(reference[i : i + n])
    matches, total = 0, 0
    for i in range(len(hypothesis)):
        if i + n > len(hypothesis):
            break
        total += 1
        gram = hypothesis[i : i + n]
        if gram in left:
            left.pop(left.index(gram))
            matches += 1
    return matches, total


# %% 15.3 wrong: right, but in exponential time
def longest_common_subsequence(a, b):
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + longest_common_subsequence(a[:-1], b[:-1])
    return max(longest_common_subsequence(a[:-1], b), longest_common_subsequence(a, b[:-1]))


# %% 15.3 wrong: greedy, each word takes the next place where it stands
def longest_common_subsequence(a, b):
    def greedy(a, b):
        place = found = 0
        for word in a:
            if word in b[place:]:
                place = b.index(word, place) + 1
                found += 1
        return found

    return max(greedy(a, b), greedy(b, a))


# %% 15.3 wrong: difflib's matching blocks, the longest run first
def longest_common_subsequence(a, b):
    from difflib import SequenceMatcher

    return sum(block.size for block in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())


# %% 15.3 wrong: all rows of the table are one and the same list
def longest_common_subsequence(a, b):
    table = [[0] * (len(b) + 1)] * (len(a) + 1)
    for i, word in enumerate(a, 1):
        for j, other in enumerate(b, 1):
            if word == other:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


# %% 15.3 wrong: common words at the end are taken off the caller's lists
def longest_common_subsequence(a, b):
    common = 0
    while a and b and a[-1] == b[-1]:
        a.pop()
        b.pop()
        common += 1
    row = [0] * (len(b) + 1)
    for word in a:
        above, row = row, [0]
        for j, other in enumerate(b):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
    return common + row[-1]


# %% 15.3 right: one row at a time
def longest_common_subsequence(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for j, y in enumerate(b):
            new.append(row[j] + 1 if x == y else max(row[j + 1], new[j]))
        row = new
    return row[-1]


# %% 15.3 right: recursion that remembers
def longest_common_subsequence(a, b):
    found = {}

    def from_places(i, j):
        if i == len(a) or j == len(b):
            return 0
        if (i, j) not in found:
            if a[i] == b[j]:
                found[i, j] = 1 + from_places(i + 1, j + 1)
            else:
                found[i, j] = max(from_places(i + 1, j), from_places(i, j + 1))
        return found[i, j]

    return from_places(0, 0)


# %% 15.4 wrong: the whole rest stands on either side
def bootstrap_interval(values, resamples, confidence, generator):
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = values[drawn].double().mean(1)
    ends = torch.quantile(means, torch.tensor([1 - confidence, confidence], dtype=torch.float64))
    return ends[0].item(), ends[1].item()


# %% 15.4 wrong: the generator is set to a seed of its own
def bootstrap_interval(values, resamples, confidence, generator):
    generator.manual_seed(0)
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = values.double()[drawn].mean(1)
    rest = (1 - confidence) / 2
    return torch.quantile(means, rest).item(), torch.quantile(means, 1 - rest).item()


# %% 15.4 wrong: the last value is never drawn
def bootstrap_interval(values, resamples, confidence, generator):
    n = len(values)
    drawn = torch.randint(0, max(n - 1, 1), (resamples, n), generator=generator)
    means = values.double()[drawn].mean(1)
    rest = (1 - confidence) / 2
    return torch.quantile(means, rest).item(), torch.quantile(means, 1 - rest).item()


# %% 15.4 wrong: always a thousand resamples
def bootstrap_interval(values, resamples, confidence, generator):
    drawn = torch.randint(len(values), (1000, len(values)), generator=generator)
    means = values.double()[drawn].mean(1)
    rest = (1 - confidence) / 2
    return torch.quantile(means, rest).item(), torch.quantile(means, 1 - rest).item()


# %% 15.4 wrong: each resample has two hundred questions, however many there are
def bootstrap_interval(values, resamples, confidence, generator):
    drawn = torch.randint(len(values), (resamples, 200), generator=generator)
    means = values.double()[drawn].mean(1)
    rest = (1 - confidence) / 2
    return torch.quantile(means, rest).item(), torch.quantile(means, 1 - rest).item()


# %% 15.4 right: all resamples at once (another)
def bootstrap_interval(values, resamples, confidence, generator):
    n, x = len(values), values.double()
    means = x[torch.randint(n, (resamples, n), generator=generator)].mean(1)
    return tuple(torch.quantile(means, 0.5 + side * confidence / 2).item() for side in (-1, 1))


# %% 15.4 right: one resample after the other, the ends from the sorted means
def bootstrap_interval(values, resamples, confidence, generator):
    numbers = values.detach().cpu().double()
    means = []
    for _ in range(resamples):
        places = (torch.rand(len(numbers), generator=generator, dtype=torch.float64) * len(numbers)).long()
        means.append(float(numbers[places].sum()) / len(numbers))
    means.sort()
    ends = []
    for share in ((1 - confidence) / 2, (1 + confidence) / 2):
        place = share * (resamples - 1)
        below = int(place)
        above = min(below + 1, resamples - 1)
        ends.append(means[below] + (place - below) * (means[above] - means[below]))
    return ends[0], ends[1]


# %% 15.5 wrong: the lists are sorted in place for the search
def auc(positives, negatives):
    from bisect import bisect_left, bisect_right

    negatives.sort()
    wins = sum((bisect_left(negatives, p) + bisect_right(negatives, p)) / 2 for p in positives)
    return wins / (len(positives) * len(negatives))


# %% 15.5 wrong: ranks by order, in which tied positives come last and win
def auc(positives, negatives):
    marked = sorted([(score, 1) for score in positives] + [(score, 0) for score in negatives])
    ranks = sum(rank for rank, (_, positive) in enumerate(marked, 1) if positive)
    m, n = len(positives), len(negatives)
    return (ranks - m * (m + 1) / 2) / (m * n)


# %% 15.5 wrong: below one half it is turned round
def auc(positives, negatives):
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    share = wins / (len(positives) * len(negatives))
    return max(share, 1 - share)


# %% 15.5 wrong: scores that occur twice count once
def auc(positives, negatives):
    ours, theirs = set(positives), set(negatives)
    wins = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p in ours for n in theirs)
    return wins / (len(ours) * len(theirs))


# %% 15.5 wrong: it calls itself (another)
def auc(positives, negatives):
    return 1 - auc(negatives, positives)


# %% 15.5 right: all pairs at once
def auc(positives, negatives):
    apart = np.subtract.outer(np.asarray(positives, dtype=float), np.asarray(negatives, dtype=float))
    return float((1 + np.sign(apart)).mean() / 2)


# %% 15.5 right: pair by pair
def auc(positives, negatives):
    wins = 0.0
    for positive in positives:
        for negative in negatives:
            if positive > negative:
                wins += 1.0
            elif positive == negative:
                wins += 0.5
    return wins / (len(positives) * len(negatives))

# %% 15.1 wrong: the mask is read at the place that predicts, not at the one that is predicted
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    logp = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    keep = attention_mask[:, :-1].bool()
    nats = -logp[keep].double().sum()
    return (nats / keep.sum()).exp().item(), (nats / np.log(2) / text_bytes).item()

# %% 15.1 wrong: the begin tokens are counted among the predicted ones (a third)
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    logp = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    nats = -(logp * attention_mask[:, 1:]).sum().item()
    return float(np.exp(nats / attention_mask.sum().item())), nats / float(np.log(2)) / text_bytes

# %% 15.1 wrong: the padding of the given ids is overwritten with -100
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    input_ids[attention_mask == 0] = -100
    wanted = input_ids[:, 1:].reshape(-1)
    nats = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), wanted, reduction="sum").item()
    return float(np.exp(nats / (wanted != -100).sum().item())), nats / float(np.log(2)) / text_bytes

# %% 15.1 right: row by row, place by place
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    surprise, count = 0.0, 0
    for scores, ids, mask in zip(logits.double(), input_ids.tolist(), attention_mask.tolist(), strict=True):
        for t in range(1, len(ids)):
            if mask[t]:
                surprise += (scores[t - 1].logsumexp(0) - scores[t - 1, ids[t]]).item()
                count += 1
    return float(np.exp(surprise / count)), float(surprise / np.log(2.0) / text_bytes)

# %% 15.2 wrong: the words of an n-gram are joined without a gap, so "a bc" is "ab c"
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    from collections import Counter

    mine, theirs = (
        Counter("".join(text[i : i + n]) for i in range(len(text) - n + 1)) for text in (hypothesis, reference)
    )
    return (mine & theirs).total(), mine.total()

# %% 15.2 wrong: the total of a short hypothesis is negative
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    from collections import Counter

    mine = Counter(zip(*(hypothesis[i:] for i in range(n)), strict=False))
    theirs = Counter(zip(*(reference[i:] for i in range(n)), strict=False))
    return sum(min(count, theirs[gram]) for gram, count in mine.items()), len(hypothesis) - n + 1

# %% 15.2 wrong: the reference is searched as a string, which finds parts of words and misses overlaps
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    grams = [" ".join(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1)]
    text = " ".join(reference)
    return sum(min(grams.count(gram), text.count(gram)) for gram in set(grams)), len(grams)

# %% 15.2 right: every match strikes one n-gram off a list
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    left = [tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)]
    matches = total = 0
    for i in range(len(hypothesis) - n + 1):
        total += 1
        gram = tuple(hypothesis[i : i + n])
        if gram in left:
            left.remove(gram)
            matches += 1
    return matches, total

# %% 15.3 wrong: difflib's matching blocks, which are not always the longest sequence
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    from difflib import SequenceMatcher

    return sum(block.size for block in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())

# %% 15.3 wrong: one row of the table, of which the corner was overwritten already
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    row = [0] * (len(b) + 1)
    for word in a:
        for j, other in enumerate(b, 1):
            row[j] = row[j - 1] + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]

# %% 15.3 wrong: each word takes the next place where it stands, without looking ahead
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    place = length = 0
    for word in a:
        if word in b[place:]:
            place = b.index(word, place) + 1
            length += 1
    return length

# %% 15.3 right: for each length the earliest place in b where it can end
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    from bisect import bisect_left

    ends = []
    for word in a:
        for j in reversed([j for j, other in enumerate(b) if other == word]):
            k = bisect_left(ends, j)
            ends[k : k + 1] = [j]
    return len(ends)

# %% 15.4 wrong: the last value is never drawn (a third)
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    n = len(values)
    drawn = torch.randint(0, max(n - 1, 1), (resamples, n), generator=generator)
    means = values[drawn].double().mean(1)
    half = (1 - confidence) / 2
    return means.quantile(half).item(), means.quantile(1 - half).item()

# %% 15.4 wrong: the whole rest is cut off on each side (a third)
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = values[drawn].double().mean(1)
    ends = torch.quantile(means, torch.tensor([1 - confidence, confidence], dtype=torch.float64)).sort().values
    return ends[0].item(), ends[1].item()

# %% 15.4 wrong: the generator is seeded anew
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    generator.manual_seed(0)
    n = len(values)
    means = sorted(values[torch.randint(n, (n,), generator=generator)].mean().item() for _ in range(resamples))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)

# %% 15.4 right: random numbers from 0 to 1 choose the questions, sorted means give the ends
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    data, n, means = values.detach().double().tolist(), len(values), []
    for _ in range(resamples):
        places = torch.rand(n, generator=generator, dtype=torch.float64).tolist()
        means.append(sum(data[int(p * n)] for p in places) / n)
    means.sort()
    cut = (1 - confidence) / 2 * (resamples - 1)
    low, high = np.interp([cut, resamples - 1 - cut], range(resamples), means)
    return float(low), float(high)

# %% 15.5 wrong: the given lists are sorted
def auc(positives: list[float], negatives: list[float]) -> float:
    from bisect import bisect_left, bisect_right

    positives.sort()
    negatives.sort()
    won = sum(bisect_left(negatives, p) + bisect_right(negatives, p) for p in positives)
    return won / 2 / len(positives) / len(negatives)

# %% 15.5 wrong: ranks without a mean for ties, in which the positive always comes last
def auc(positives: list[float], negatives: list[float]) -> float:
    marked = sorted([(p, 1) for p in positives] + [(n, 0) for n in negatives])
    ranks = sum(rank for rank, (_, positive) in enumerate(marked, 1) if positive)
    m = len(positives)
    return (ranks - m * (m + 1) / 2) / (m * len(negatives))

# %% 15.5 wrong: it only calls itself
def auc(positives: list[float], negatives: list[float]) -> float:
    return auc(positives, negatives)

# %% 15.5 right: signs of all differences, from -1 and 1 to 0 and 1
def auc(positives: list[float], negatives: list[float]) -> float:
    p, n = np.asarray(positives, dtype=float), np.asarray(negatives, dtype=float)
    return float(((p[:, None] > n).mean() + (p[:, None] >= n).mean()) / 2)


# %% 15.1 wrong: the mask is shifted the other way and counts the first padding
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    import math

    logp = logits[:, :-1].log_softmax(-1)
    found = logp.gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    keep = attention_mask[:, :-1]
    nats = -(found * keep).sum().item()
    return math.exp(nats / keep.sum().item()), nats / math.log(2) / text_bytes


# %% 15.1 wrong: a mean for each text, then the mean of the texts
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    import math

    logp = logits[:, :-1].log_softmax(-1)
    found = -logp.gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    keep = attention_mask[:, 1:]
    per_text = (found * keep).sum(1) / keep.sum(1).clamp(min=1)
    nats = (found * keep).sum().item()
    return math.exp(per_text.mean().item()), nats / math.log(2) / text_bytes


# %% 15.1 wrong: padding is recognised by its id, also inside of a text
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    import math

    padding = input_ids[attention_mask == 0]
    labels = input_ids[:, 1:].clone()
    if len(padding):
        labels[labels == padding[0]] = -100
    nats = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
    ).item()
    count = (labels != -100).sum().item()
    return math.exp(nats / count), nats / math.log(2) / text_bytes


# %% 15.1 wrong: nats per byte
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    import math

    logp = logits[:, :-1].log_softmax(-1)
    found = logp.gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    keep = attention_mask[:, 1:]
    nats = -(found * keep).sum().item()
    return math.exp(nats / keep.sum().item()), nats / text_bytes


# %% 15.1 wrong: the begin tokens count as predicted ones
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    import math

    logp = logits[:, :-1].log_softmax(-1)
    found = logp.gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    nats = -(found * attention_mask[:, 1:]).sum().item()
    count = attention_mask.sum().item()
    return math.exp(nats / count), nats / math.log(2) / text_bytes


# %% 15.1 right: cross entropy of what the mask keeps
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    keep = attention_mask[:, 1:].bool()
    predicted, wanted = logits[:, :-1][keep].double(), input_ids[:, 1:][keep].long()
    losses = torch.nn.functional.cross_entropy(predicted, wanted, reduction="none")
    bits = losses.sum() / torch.log(torch.tensor(2.0, dtype=torch.float64))
    return losses.mean().exp().item(), bits.item() / text_bytes


# %% 15.1 right: a loop over texts and places
def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    import math

    nats, count = 0.0, 0
    for row in range(input_ids.shape[0]):
        for place in range(1, int(attention_mask[row].sum())):
            scores = logits[row, place - 1].detach().double()
            nats += (torch.logsumexp(scores, 0) - scores[input_ids[row, place]]).item()
            count += 1
    return float(np.exp(np.float64(nats / count))), nats / (math.log(2) * text_bytes)


# %% 15.2 wrong: not clipped, every occurrence counts
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    ours = [tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1)]
    theirs = {tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)}
    return sum(gram in theirs for gram in ours), len(ours)


# %% 15.2 wrong: words are glued together without a gap
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    from collections import Counter

    ours = Counter("".join(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
    theirs = Counter("".join(reference[i : i + n]) for i in range(len(reference) - n + 1))
    return sum((ours & theirs).values()), sum(ours.values())


# %% 15.2 wrong: the total falls below zero for short texts
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    from collections import Counter

    total = len(hypothesis) - n + 1
    ours = Counter(tuple(hypothesis[i : i + n]) for i in range(total))
    theirs = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
    return sum(min(count, theirs[gram]) for gram, count in ours.items()), total


# %% 15.2 wrong: words are compared in lower case
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    from collections import Counter

    def grams(words):
        words = [word.lower() for word in words]
        return Counter(zip(*(words[i:] for i in range(n))))

    ours, theirs = grams(hypothesis), grams(reference)
    return sum((ours & theirs).values()), sum(ours.values())


# %% 15.2 wrong: the total is that of the reference, which is recall
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    from collections import Counter

    ours = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
    theirs = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
    return sum((ours & theirs).values()), sum(theirs.values())


# %% 15.2 right: intersection of two counters
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    from collections import Counter

    ours = Counter(zip(*(hypothesis[i:] for i in range(n))))
    theirs = Counter(zip(*(reference[i:] for i in range(n))))
    return (ours & theirs).total(), ours.total()


# %% 15.2 right: a stack of the reference's n-grams, each used up once
def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    left = [reference[i : i + n] for i in range(len(reference) - n + 1)]
    matches = total = 0
    for i in range(len(hypothesis) - n + 1):
        total += 1
        gram = hypothesis[i : i + n]
        if gram in left:
            left.remove(gram)
            matches += 1
    return matches, total


# %% 15.3 wrong: without gaps, the longest common run
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    best = 0
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            if x == y:
                table[i][j] = table[i - 1][j - 1] + 1
                best = max(best, table[i][j])
    return best


# %% 15.3 wrong: all rows of the table are one list
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1)] * (len(a) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            if a[i - 1] == b[j - 1]:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


# %% 15.3 wrong: difflib's matching blocks, longest run first
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    from difflib import SequenceMatcher

    return sum(block.size for block in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())


# %% 15.3 wrong: common words whatever their order
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    from collections import Counter

    return sum((Counter(a) & Counter(b)).values())


# %% 15.3 wrong: greedy, each word takes the next place where it fits
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    start, length = 0, 0
    for word in a:
        if word in b[start:]:
            start = b.index(word, start) + 1
            length += 1
    return length


# %% 15.3 right: the full table, again
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[len(a)][len(b)]


# %% 15.3 right: earliest ends, found by bisection
def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    from bisect import bisect_left

    where = {}
    for j in range(len(b) - 1, -1, -1):
        where.setdefault(b[j], []).append(j)  # places from last to first
    ends = []  # ends[k]: earliest place in b at which a common sequence of k + 1 words ends
    for word in a:
        for j in where.get(word, ()):
            k = bisect_left(ends, j)
            ends[k : k + 1] = [j]
    return len(ends)


# %% 15.4 wrong: drawn from the global random numbers
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    n = len(values)
    means = values[torch.randint(n, (resamples, n))].mean(dim=1)
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    return means.quantile(low).item(), means.quantile(high).item()


# %% 15.4 wrong: all of the rest on each side
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    n = len(values)
    means = values[torch.randint(n, (resamples, n), generator=generator)].mean(dim=1)
    return means.quantile(1 - confidence).item(), means.quantile(confidence).item()


# %% 15.4 wrong: the generator is seeded anew, again
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    generator.manual_seed(0)  # so that it can be repeated
    n = len(values)
    means = values[torch.randint(n, (resamples, n), generator=generator)].mean(dim=1)
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    return means.quantile(low).item(), means.quantile(high).item()


# %% 15.4 wrong: the last question is never drawn
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    n = len(values)
    drawn = torch.randint(0, n - 1, (resamples, n), generator=generator)
    means = values[drawn].mean(dim=1)
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    return means.quantile(low).item(), means.quantile(high).item()


# %% 15.4 wrong: n resamples of so many draws, the two numbers are exchanged
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    n = len(values)
    means = values[torch.randint(n, (resamples, n), generator=generator)].mean(dim=0)
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    return means.quantile(low).item(), means.quantile(high).item()


# %% 15.4 right: all draws at once
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    n = len(values)
    drawn = torch.randint(n, (resamples, n), generator=generator)
    means = values.double()[drawn].mean(dim=1)
    rest = (1 - confidence) / 2
    low, high = torch.quantile(means, torch.tensor([rest, 1 - rest], dtype=means.dtype)).tolist()
    return low, high


# %% 15.4 right: a loop, sorted means, the ends read between two of them
def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    equal = torch.ones(len(values))
    means = []
    for _ in range(resamples):
        drawn = torch.multinomial(equal, len(values), replacement=True, generator=generator)
        means.append(values[drawn].mean().item())
    means.sort()

    def at(share: float) -> float:
        place = share * (resamples - 1)
        below = int(place)
        above = min(below + 1, resamples - 1)
        return means[below] + (place - below) * (means[above] - means[below])

    return at((1 - confidence) / 2), at((1 + confidence) / 2)


# %% 15.5 wrong: ranks without averaging ties
def auc(positives: list[float], negatives: list[float]) -> float:
    scored = [(score, 0) for score in negatives] + [(score, 1) for score in positives]
    scored.sort(key=lambda pair: pair[0])
    ranks = sum(rank for rank, (_, positive) in enumerate(scored, 1) if positive)
    p, n = len(positives), len(negatives)
    return (ranks - p * (p + 1) / 2) / (p * n)


# %% 15.5 wrong: the first is compared with the first, the second with the second
def auc(positives: list[float], negatives: list[float]) -> float:
    pairs = list(zip(positives, negatives))
    return sum(1.0 if p > q else 0.5 if p == q else 0.0 for p, q in pairs) / len(pairs)


# %% 15.5 wrong: the negatives are sorted in place
def auc(positives: list[float], negatives: list[float]) -> float:
    from bisect import bisect_left, bisect_right

    negatives.sort()
    total = sum((bisect_left(negatives, p) + bisect_right(negatives, p)) / 2 for p in positives)
    return total / (len(positives) * len(negatives))


# %% 15.5 wrong: below one half it is turned round, again
def auc(positives: list[float], negatives: list[float]) -> float:
    wins = sum((p > q) + 0.5 * (p == q) for p in positives for q in negatives)
    area = wins / (len(positives) * len(negatives))
    return max(area, 1 - area)


# %% 15.5 right: every positive against every negative
def auc(positives: list[float], negatives: list[float]) -> float:
    points = 0.0
    for p in positives:
        for q in negatives:
            if p > q:
                points += 1
            elif p == q:
                points += 0.5
    return points / (len(positives) * len(negatives))


# %% 15.5 right: a sorted copy and its two insertion places
def auc(positives: list[float], negatives: list[float]) -> float:
    order = np.sort(np.asarray(negatives, dtype=np.float64))
    scores = np.asarray(positives, dtype=np.float64)
    below = np.searchsorted(order, scores, side="left")
    not_above = np.searchsorted(order, scores, side="right")
    return float((below + not_above).mean() / 2 / len(order))

# %% 15.6 wrong: one-sided
from math import comb

def mcnemar(first: list[bool], second: list[bool]) -> tuple[float, float]:
    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    n, k = b + c, min(b, c)
    exact = sum(comb(n, i) for i in range(k + 1)) / 2**n
    return exact, exact - comb(n, k) / 2**n / 2

# %% 15.6 wrong: all questions are thrown, not those that tell
from math import comb

def mcnemar(first: list[bool], second: list[bool]) -> tuple[float, float]:
    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    n, k = len(first), min(b, c)
    p = [comb(n, i) / 2**n for i in range(k + 1)]
    return min(1.0, 2 * sum(p)), min(1.0, 2 * sum(p) - p[-1])

# %% 15.6 wrong: the chi-square approximation
def mcnemar(first: list[bool], second: list[bool]) -> tuple[float, float]:
    from scipy.stats import chi2

    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    p = float(chi2.sf((b - c) ** 2 / (b + c), 1)) if b + c else 1.0
    return p, p

# %% 15.6 wrong: a p-value above 1 at an even split
from math import comb

def mcnemar(first: list[bool], second: list[bool]) -> tuple[float, float]:
    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    n, k = b + c, min(b, c)
    below, here = sum(comb(n, i) for i in range(k)), comb(n, k)
    return 2 * (below + here) / 2**n, (2 * below + here) / 2**n

# %% 15.6 wrong: the sum runs to k - 1
from math import comb

def mcnemar(first: list[bool], second: list[bool]) -> tuple[float, float]:
    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    n, k = b + c, min(b, c)
    tail = sum(comb(n, i) for i in range(k)) / 2**n
    return 2 * tail, 2 * tail - comb(n, k) / 2**n

# %% 15.6 right: scipy's binomial test, the middle taken off
def mcnemar(first: list[bool], second: list[bool]) -> tuple[float, float]:
    from scipy.stats import binom, binomtest

    b = sum(x and not y for x, y in zip(first, second))
    c = sum(y and not x for x, y in zip(first, second))
    if b + c == 0:
        return 1.0, 1.0
    exact = binomtest(b, b + c).pvalue
    return exact, min(1.0, 2 * binom.cdf(min(b, c), b + c, 0.5) - binom.pmf(min(b, c), b + c, 0.5))

# %% 15.6 right: numpy counts, Pascal's triangle sums
import math

def mcnemar(first: list[bool], second: list[bool]) -> tuple[float, float]:
    a, b = np.array(first, dtype=bool), np.array(second, dtype=bool)
    n = int((a != b).sum())
    k = min(int((a & ~b).sum()), int((b & ~a).sum()))
    total = 0
    for i in range(k):
        total += math.comb(n, i)
    middle = math.comb(n, k)
    return min(1.0, 2 * (total + middle) / 2**n), min(1.0, (2 * total + middle) / 2**n)

# %% 15.6 right: every split of the telling questions is weighed
def mcnemar(first: list[bool], second: list[bool]) -> tuple[float, float]:
    telling = [x for x, y in zip(first, second) if x != y]
    n, seen = len(telling), sum(telling)
    chance = [1.0]
    for _ in range(n):
        chance = [(a + b) / 2 for a, b in zip([*chance, 0.0], [0.0, *chance])]
    exact = sum(p for k, p in enumerate(chance) if abs(k - n / 2) >= abs(seen - n / 2) - 1e-9)
    few = min(seen, n - seen)
    return min(1.0, exact), min(1.0, 2 * sum(chance[:few]) + chance[few])

# %% 15.7 wrong: the questions are taken for independent
def cluster_error(values: list[float], clusters: list[str]) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5)

# %% 15.7 wrong: the error of the groups' means
def cluster_error(values: list[float], clusters: list[str]) -> float:
    groups = {}
    for v, c in zip(values, clusters):
        groups.setdefault(c, []).append(v)
    means = [np.mean(g) for g in groups.values()]
    return float(np.std(means, ddof=1) / len(means) ** 0.5)

# %% 15.7 wrong: without the factor of the groups
def cluster_error(values: list[float], clusters: list[str]) -> float:
    m, sums = np.mean(values), {}
    for v, c in zip(values, clusters):
        sums[c] = sums.get(c, 0) + v - m
    return float(np.sqrt(sum(s**2 for s in sums.values())) / len(values))

# %% 15.7 wrong: neighbours only, so a group that comes back is another
from itertools import groupby

def cluster_error(values: list[float], clusters: list[str]) -> float:
    m = sum(values) / len(values)
    sums = [sum(v - m for v, _ in part) for _, part in groupby(zip(values, clusters), key=lambda pair: pair[1])]
    g = len(sums)
    return (g / (g - 1) * sum(s * s for s in sums)) ** 0.5 / len(values)

# %% 15.7 wrong: the values themselves are added up, not what is left of them
def cluster_error(values: list[float], clusters: list[str]) -> float:
    sums = {}
    for v, c in zip(values, clusters):
        sums[c] = sums.get(c, 0.0) + v
    g = len(sums)
    return (g / (g - 1) * sum(s * s for s in sums.values())) ** 0.5 / len(values)

# %% 15.7 right: numpy
def cluster_error(values: list[float], clusters: list[str]) -> float:
    rest = np.asarray(values, dtype=float) - np.mean(values)
    names, where = np.unique(np.array(clusters), return_inverse=True)
    sums = np.zeros(len(names))
    np.add.at(sums, where, rest)
    return float(np.sqrt(len(names) / (len(names) - 1) * (sums @ sums)) / len(rest))

# %% 15.7 right: the spread of the groups' totals
import statistics
from collections import defaultdict

def cluster_error(values: list[float], clusters: list[str]) -> float:
    mean, totals = statistics.fmean(values), defaultdict(float)
    for value, name in zip(values, clusters):
        totals[name] += value - mean
    g = len(totals)
    return (g * statistics.variance(totals.values(), 0.0)) ** 0.5 / len(values)

# %% 15.7 right: pairs of questions about one person
def cluster_error(values: list[float], clusters: list[str]) -> float:
    n, g = len(values), len(set(clusters))
    mean = sum(values) / n
    together = sum(
        (a - mean) * (b - mean) for a, c in zip(values, clusters) for b, d in zip(values, clusters) if c == d
    )
    return (g / (g - 1) * max(together, 0.0)) ** 0.5 / n
