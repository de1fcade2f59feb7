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
