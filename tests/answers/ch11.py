# %% 11.1 wrong: chance is one over the number of labels
def cohen_kappa(first: list, second: list) -> float:
    observed = sum(a == b for a, b in zip(first, second)) / len(first)
    expected = 1 / len(set(first) | set(second))
    return (observed - expected) / (1 - expected)

# %% 11.1 wrong: the shares of both raters are pooled
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    both = list(first) + list(second)
    expected = sum((both.count(label) / (2 * n)) ** 2 for label in set(both))
    return (observed - expected) / (1 - expected)

# %% 11.1 wrong: one label against all others, right for two kinds only
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    p, q = first.count(first[0]) / n, second.count(first[0]) / n
    expected = p * q + (1 - p) * (1 - q)
    return (observed - expected) / (1 - expected)

# %% 11.1 wrong: sorts labels, which need not be comparable
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    expected = sum(first.count(label) * second.count(label) for label in sorted(set(first + second))) / n**2
    return (observed - expected) / (1 - expected)

# %% 11.1 wrong: less than chance is cut off at 0
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    expected = sum(first.count(label) * second.count(label) for label in set(first)) / n**2
    return max(0.0, (observed - expected) / (1 - expected))

# %% 11.1 wrong: not divided by 1 minus chance
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    expected = sum(first.count(label) * second.count(label) for label in set(first)) / n**2
    return observed - expected

# %% 11.1 wrong: labels are turned into strings, so 1 and "1" are the same
from collections import Counter

def cohen_kappa(first: list, second: list) -> float:
    first, second = [str(label) for label in first], [str(label) for label in second]
    n, one, two = len(first), Counter(first), Counter(second)
    observed = sum(a == b for a, b in zip(first, second)) / n
    expected = sum(one[label] * two[label] for label in one) / n**2
    return (observed - expected) / (1 - expected)

# %% 11.1 wrong: the lists are emptied while counting
from collections import Counter

def cohen_kappa(first: list, second: list) -> float:
    n, same, one, two = len(first), 0, Counter(), Counter()
    while first:
        a, b = first.pop(), second.pop()
        same += a == b
        one[a] += 1
        two[b] += 1
    expected = sum(one[label] * two[label] for label in one) / n**2
    return (same / n - expected) / (1 - expected)

# %% 11.1 right: two counters
from collections import Counter

def cohen_kappa(first: list, second: list) -> float:
    n, one, two = len(first), Counter(first), Counter(second)
    p_e = sum(one[label] * two[label] for label in one) / n**2
    return (sum(a == b for a, b in zip(first, second)) / n - p_e) / (1 - p_e)

# %% 11.1 right: loops over all labels and all items
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    kinds = []
    for label in list(first) + list(second):
        if label not in kinds:
            kinds.append(label)
    agree = 0
    for i in range(n):
        if first[i] == second[i]:
            agree += 1
    chance = 0.0
    for kind in kinds:
        share_1 = len([x for x in first if x == kind]) / n
        share_2 = len([x for x in second if x == kind]) / n
        chance += share_1 * share_2
    return (agree / n - chance) / (1 - chance)

# %% 11.1 right: a confusion matrix in torch
def cohen_kappa(first: list, second: list) -> float:
    place = {label: i for i, label in enumerate(dict.fromkeys([*first, *second]))}
    table = torch.zeros(len(place), len(place), dtype=torch.float64)
    for a, b in zip(first, second, strict=True):
        table[place[a], place[b]] += 1
    table /= table.sum()
    chance = table.sum(0) @ table.sum(1)
    return ((table.trace() - chance) / (1 - chance)).item()

# %% 11.2 wrong: returns strengths, not their logarithms
def bradley_terry_scores(wins: Tensor) -> Tensor:
    wins = wins.double()
    duels, p = wins + wins.T, torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5000):
        p = wins.sum(1) / (duels / (p[:, None] + p)).sum(1)
        p = p / p.log().mean().exp()
    return p - p.mean()

# %% 11.2 wrong: strengths add up to 1, and the scores have no mean 0
def bradley_terry_scores(wins: Tensor) -> Tensor:
    wins = wins.double()
    duels, p = wins + wins.T, torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5000):
        p = wins.sum(1) / (duels / (p[:, None] + p)).sum(1)
        p = p / p.sum()
    return p.log()

# %% 11.2 wrong: stops after five rounds
def bradley_terry_scores(wins: Tensor) -> Tensor:
    wins = wins.double()
    duels, p = wins + wins.T, torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5):
        p = wins.sum(1) / (duels / (p[:, None] + p)).sum(1)
    scores = p.log()
    return scores - scores.mean()

# %% 11.2 wrong: the log odds of each one's share of wins, whoever the opponents were
def bradley_terry_scores(wins: Tensor) -> Tensor:
    won, lost = wins.double().sum(1), wins.double().sum(0)
    scores = (won / lost).log()
    return scores - scores.mean()

# %% 11.2 wrong: each pair counts the same, however often it was compared
def bradley_terry_scores(wins: Tensor) -> Tensor:
    wins = wins.double()
    wins = (wins / (wins + wins.T)).nan_to_num(0.0)
    duels, p = wins + wins.T, torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5000):
        p = wins.sum(1) / (duels / (p[:, None] + p)).sum(1)
        p = p / p.log().mean().exp()
    scores = p.log()
    return scores - scores.mean()

# %% 11.2 wrong: logarithms to base 2
def bradley_terry_scores(wins: Tensor) -> Tensor:
    wins = wins.double()
    duels, p = wins + wins.T, torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5000):
        p = wins.sum(1) / (duels / (p[:, None] + p)).sum(1)
        p = p / p.log().mean().exp()
    scores = p.log2()
    return scores - scores.mean()

# %% 11.2 wrong: half a win is added everywhere, so the scores shrink
def bradley_terry_scores(wins: Tensor) -> Tensor:
    wins = wins.double() + 0.5 * (1 - torch.eye(len(wins), dtype=torch.float64))
    duels, p = wins + wins.T, torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5000):
        p = wins.sum(1) / (duels / (p[:, None] + p)).sum(1)
        p = p / p.log().mean().exp()
    scores = p.log()
    return scores - scores.mean()

# %% 11.2 wrong: the table of wins is turned into the table of duels in place
def bradley_terry_scores(wins: Tensor) -> Tensor:
    won = wins.sum(1).double()
    wins += wins.T.clone()
    p = torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5000):
        p = won / (wins / (p[:, None] + p)).sum(1)
        p = p / p.log().mean().exp()
    scores = p.log()
    return scores - scores.mean()

# %% 11.2 right: Zermelo's rule, many rounds
def bradley_terry_scores(wins: Tensor) -> Tensor:
    w, p = wins.double(), torch.ones(len(wins), dtype=torch.float64, device=wins.device)
    for _ in range(20_000):
        p = w.sum(1) / ((w + w.T) / (p[:, None] + p)).sum(1)
        p = p / p.log().mean().exp()
    return p.log().float()

# %% 11.2 right: lists and loops, until nothing moves
import math

def bradley_terry_scores(wins: Tensor) -> Tensor:
    table = wins.tolist()
    n = len(table)
    p = [1.0] * n
    for _ in range(100_000):
        largest = 0.0
        for i in range(n):
            total = 0.0
            for j in range(n):
                if j != i:
                    total += (table[i][j] + table[j][i]) / (p[i] + p[j])
            new = sum(table[i]) / total
            largest = max(largest, abs(math.log(new / p[i])))
            p[i] = new
        if largest < 1e-9:
            break
    scores = [math.log(x) for x in p]
    mean = sum(scores) / n
    return torch.tensor([s - mean for s in scores])

# %% 11.2 right: Newton's method on the likelihood, with halved steps where it would get worse
def bradley_terry_scores(wins: Tensor) -> Tensor:
    wins = wins.to("cpu", torch.float64)
    duels, n = wins + wins.T, len(wins)
    scores = torch.zeros(n, dtype=torch.float64)

    def loss(s):
        return (wins * torch.nn.functional.softplus(s[None] - s[:, None])).sum()

    for _ in range(100):
        chance = torch.sigmoid(scores[:, None] - scores[None])
        slope = wins.sum(1) - (duels * chance).sum(1)
        curve = duels * chance * (1 - chance)
        hessian = torch.diag(curve.sum(1)) - curve + 1 / n
        step = torch.linalg.solve(hessian, slope)
        size = 1.0
        while loss(scores + size * step) > loss(scores) + 1e-12 and size > 1e-6:
            size /= 2
        scores = scores + size * step
        if step.abs().max() < 1e-10:
            break
    return scores - scores.mean()

# %% 11.3 wrong: reads the last place of every row
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    return hidden[:, -1] @ weight

# %% 11.3 wrong: the number of tokens minus 1, which holds for padding on the right only
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    last = attention_mask.sum(1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight

# %% 11.3 wrong: the side of the padding is read off the first row
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    if attention_mask[0, 0] == 0:
        return hidden[:, -1] @ weight
    last = attention_mask.sum(1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight

# %% 11.3 wrong: one place too far where there is room
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    length = hidden.shape[1]
    last = (length - attention_mask.flip(1).argmax(1)).clamp(max=length - 1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight

# %% 11.3 wrong: squeeze takes away the batch axis of a single text
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    last = hidden.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    states = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))
    return (states @ weight[:, None]).squeeze()

# %% 11.3 wrong: the mean over all tokens
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    mask = attention_mask.to(hidden.dtype)
    return ((hidden @ weight) * mask).sum(1) / mask.sum(1)

# %% 11.3 wrong: the state of the first token
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    first = attention_mask.argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), first] @ weight

# %% 11.3 wrong: the states of the padding are set to 0 in the input
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    hidden[attention_mask == 0] = 0
    last = hidden.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight

# %% 11.3 right: the place where mask times place is largest
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    last = (attention_mask * torch.arange(hidden.shape[1], device=hidden.device)).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight

# %% 11.3 right: row by row, walking back from the end
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    scores = []
    for states, row in zip(hidden, attention_mask.tolist()):
        place = len(row) - 1
        while row[place] == 0:
            place -= 1
        scores.append((states[place] * weight).sum())
    return torch.stack(scores)

# %% 11.3 right: scores everywhere first, then gather from the flipped mask
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    everywhere = torch.einsum("bls,s->bl", hidden, weight)
    from_behind = attention_mask.flip(1).argmax(dim=1, keepdim=True)
    return everywhere.flip(1).gather(1, from_behind)[:, 0]

# %% 11.4 wrong: the logarithm of the sigmoid, which overflows
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.log(torch.sigmoid(chosen - rejected)).mean()

# %% 11.4 wrong: the sum, not the mean
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(chosen - rejected).sum()

# %% 11.4 wrong: the two answers are exchanged
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return torch.nn.functional.softplus(chosen - rejected).mean()

# %% 11.4 wrong: a small number inside the logarithm, so that large losses are cut off
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -(torch.sigmoid(chosen - rejected) + 1e-8).log().mean()

# %% 11.4 wrong: differences are clamped to 30
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.sigmoid((chosen - rejected).clamp(-30, 30)).log().mean()

# %% 11.4 wrong: every chosen answer against every rejected one
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(chosen[:, None] - rejected[None, :]).mean()

# %% 11.4 wrong: the mean is taken before the sigmoid
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(chosen.mean() - rejected.mean())

# %% 11.4 wrong: a float without gradient
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(chosen - rejected).mean().item()

# %% 11.4 wrong: it calls itself
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return bradley_terry_loss(chosen, rejected)

# %% 11.4 right: softplus
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return torch.nn.functional.softplus(rejected - chosen).mean()

# %% 11.4 right: cross entropy over the two answers
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    logits = torch.stack([chosen, rejected], dim=1)
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return torch.nn.functional.cross_entropy(logits, first)

# %% 11.4 right: a loop with logaddexp
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    total = 0.0
    for won, lost in zip(chosen, rejected):
        gap = lost - won
        total = total + torch.logaddexp(torch.zeros_like(gap), gap)
    return total / len(chosen)


# %% 11.1 wrong: both raters' shares are pooled, which is Scott's pi
def cohen_kappa(first, second):
    from collections import Counter

    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    pooled = Counter(first) + Counter(second)
    expected = sum((count / (2 * n)) ** 2 for count in pooled.values())
    return (observed - expected) / (1 - expected)


# %% 11.1 wrong: the lists are sorted to count labels, after the agreement is taken
def cohen_kappa(first, second):
    from itertools import groupby

    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    first.sort(key=hash)
    second.sort(key=hash)
    one = {label: len(list(its)) / n for label, its in groupby(first)}
    two = {label: len(list(its)) / n for label, its in groupby(second)}
    expected = sum(share * two.get(label, 0) for label, share in one.items())
    return (observed - expected) / (1 - expected)


# %% 11.1 wrong: labels are compared by identity
def cohen_kappa(first, second):
    from collections import Counter

    n = len(first)
    observed = sum(a is b for a, b in zip(first, second)) / n
    one, two = Counter(first), Counter(second)
    expected = sum(one[label] * two[label] for label in one) / n**2
    return (observed - expected) / (1 - expected)


# %% 11.1 wrong: the first label that comes against all others, right for two kinds only
def cohen_kappa(first, second):
    n, yes = len(first), first[0]
    observed = sum(a == b for a, b in zip(first, second)) / n
    p, q = first.count(yes) / n, second.count(yes) / n
    expected = p * q + (1 - p) * (1 - q)
    return (observed - expected) / (1 - expected)


# %% 11.1 wrong: less agreement than by chance becomes 0
def cohen_kappa(first, second):
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    expected = sum(first.count(label) * second.count(label) for label in set(first)) / n**2
    return max(0.0, (observed - expected) / (1 - expected))


# %% 11.1 right: with counters
def cohen_kappa(first, second):
    from collections import Counter

    n, a, b = len(first), Counter(first), Counter(second)
    observed, chance = sum(x == y for x, y in zip(first, second)) / n, sum(a[label] * b[label] for label in a) / n**2
    return (observed - chance) / (1 - chance)


# %% 11.1 right: every item of one with every item of the other
def cohen_kappa(first, second):
    n = len(first)
    same = 0
    for i in range(n):
        if first[i] == second[i]:
            same += 1
    blind = 0
    for a in first:
        for b in second:
            if a == b:
                blind += 1
    observed = same / n
    expected = blind / (n * n)
    return 1 - (1 - observed) / (1 - expected)


# %% 11.2 wrong: stops after twenty rounds, enough for easy tables only
def bradley_terry_scores(wins):
    strengths = torch.ones(len(wins), dtype=torch.float64)
    duels, won = (wins + wins.T).double(), wins.double().sum(1)
    for _ in range(20):
        strengths = won / (duels / (strengths[:, None] + strengths)).sum(1)
        strengths = strengths / strengths.sum()
    scores = strengths.log()
    return scores - scores.mean()


# %% 11.2 wrong: the log odds of each one's share of wins, whoever the others were
def bradley_terry_scores(wins):
    won, lost = wins.sum(1), wins.sum(0)
    scores = (won / lost).log()
    return scores - scores.mean()


# %% 11.2 wrong: logarithms to the base 2
def bradley_terry_scores(wins):
    w = wins.double()
    duels, won, strengths = w + w.T, w.sum(1), torch.ones(len(w), dtype=torch.float64)
    for _ in range(20_000):
        strengths = won / (duels / (strengths[:, None] + strengths)).sum(1)
        strengths = strengths / strengths.mean()
    scores = strengths.log2()
    return scores - scores.mean()


# %% 11.2 wrong: the duels are added up in the caller's table
def bradley_terry_scores(wins):
    won = wins.sum(1).double()
    wins += wins.T.clone()
    duels, strengths = wins.double(), torch.ones(len(wins), dtype=torch.float64)
    for _ in range(20_000):
        strengths = won / (duels / (strengths[:, None] + strengths)).sum(1)
        strengths = strengths / strengths.mean()
    scores = strengths.log()
    return scores - scores.mean()


# %% 11.2 wrong: half a win is added to each pair for safety
def bradley_terry_scores(wins):
    w = wins.double() + 0.5 * (1 - torch.eye(len(wins), dtype=torch.float64))
    duels, won, strengths = w + w.T, w.sum(1), torch.ones(len(w), dtype=torch.float64)
    for _ in range(20_000):
        strengths = won / (duels / (strengths[:, None] + strengths)).sum(1)
        strengths = strengths / strengths.mean()
    scores = strengths.log()
    return scores - scores.mean()


# %% 11.2 right: Newton's method on the log-likelihood
def bradley_terry_scores(wins):
    w = wins.detach().double()
    duels, s = w + w.T, torch.zeros(len(w), dtype=torch.float64, device=w.device)
    likelihood = lambda s: (w * torch.nn.functional.logsigmoid(s[:, None] - s)).sum()
    for _ in range(500):
        p = torch.sigmoid(s[:, None] - s)
        slope, bend = (w - duels * p).sum(1), duels * p * (1 - p)
        step = torch.linalg.solve(bend.sum(1).diag() - bend + 1 / len(w), slope)
        while step.abs().max() > 1e-12 and likelihood(s + step) < likelihood(s):
            step = step / 2
        s = s + step
        if step.abs().max() < 1e-11:
            break
    return (s - s.mean()).to(wins.dtype)


# %% 11.2 right: Zermelo's rule, one thing after the other, until nothing moves
def bradley_terry_scores(wins):
    import math

    table = wins.detach().cpu().double().tolist()
    n = len(table)
    strength = [1.0] * n
    for _ in range(100_000):
        moved = 0.0
        for i in range(n):
            below = 0.0
            for j in range(n):
                if j != i:
                    below += (table[i][j] + table[j][i]) / (strength[i] + strength[j])
            if n > 1:
                new = sum(table[i]) / below
                moved = max(moved, abs(math.log(new / strength[i])))
                strength[i] = new
        if moved < 1e-11:
            break
    scores = [math.log(p) for p in strength]
    middle = sum(scores) / n
    return torch.tensor([score - middle for score in scores], dtype=wins.dtype, device=wins.device)


# %% 11.3 wrong: the number of tokens is taken for a place, wrong with padding on the left
def last_token_scores(hidden, attention_mask, weight):
    last = attention_mask.sum(1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight


# %% 11.3 wrong: the running sum is written into the caller's mask
def last_token_scores(hidden, attention_mask, weight):
    last = attention_mask.cumsum_(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight


# %% 11.3 wrong: the head gets no gradient
def last_token_scores(hidden, attention_mask, weight):
    places = torch.arange(hidden.shape[1], device=hidden.device)
    last = (attention_mask * places).argmax(1)
    states = hidden[torch.arange(len(hidden), device=hidden.device), last]
    return states @ weight.detach()


# %% 11.3 wrong: one place for the whole batch, that of the longest reach
def last_token_scores(hidden, attention_mask, weight):
    last = attention_mask.nonzero()[:, 1].max()
    return hidden[:, last] @ weight


# %% 11.3 wrong: counted from the end one place too far, so that a full row reads its first place
def last_token_scores(hidden, attention_mask, weight):
    length = hidden.shape[1]
    behind = attention_mask.flip(1).argmax(1)
    last = (length - behind) % length
    return torch.einsum("bs,s->b", hidden[torch.arange(len(hidden), device=hidden.device), last], weight)


# %% 11.3 right: the largest place where the mask is 1
def last_token_scores(hidden, attention_mask, weight):
    rows, places = (torch.arange(n, device=hidden.device) for n in hidden.shape[:2])
    return hidden[rows, (attention_mask * places).amax(1)] @ weight


# %% 11.3 right: row by row, from the end
def last_token_scores(hidden, attention_mask, weight):
    scores = []
    for states, mask in zip(hidden, attention_mask.tolist()):
        place = len(mask) - 1
        while mask[place] == 0:
            place -= 1
        scores.append((states[place] * weight).sum())
    return torch.stack(scores)


# %% 11.4 wrong: the difference is clamped, so that clear mistakes have no gradient
def bradley_terry_loss(chosen, rejected):
    return -torch.nn.functional.logsigmoid((chosen - rejected).clamp(-50, 50)).mean()


# %% 11.4 wrong: a small number in the logarithm keeps it finite, and too small
def bradley_terry_loss(chosen, rejected):
    return -torch.log(torch.sigmoid(chosen - rejected) + 1e-10).mean()


# %% 11.4 wrong: the exponential overflows where the rejected answer is far ahead
def bradley_terry_loss(chosen, rejected):
    return torch.log1p(torch.exp(rejected - chosen)).mean()


# %% 11.4 wrong: no gradient to the rejected scores
def bradley_terry_loss(chosen, rejected):
    return torch.nn.functional.softplus(rejected.detach() - chosen).mean()


# %% 11.4 wrong: it calls itself (another)
def bradley_terry_loss(chosen, rejected):
    return torch.stack([bradley_terry_loss(c, r) for c, r in zip(chosen[:, None], rejected[:, None])]).mean()


# %% 11.4 right: softplus of the other difference
def bradley_terry_loss(chosen, rejected):
    return torch.nn.functional.softplus(rejected - chosen).mean()


# %% 11.4 right: pair by pair, log(1 + exp) without overflow
def bradley_terry_loss(chosen, rejected):
    total = 0
    for winner, loser in zip(chosen, rejected):
        behind = loser - winner
        total = total + torch.logaddexp(torch.zeros_like(behind), behind)
    return total / len(chosen)

# %% 11.1 wrong: chance is counted from both raters' labels thrown together
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    together = first + second
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    expected = sum((together.count(label) / (2 * n)) ** 2 for label in set(together))
    return (observed - expected) / (1 - expected)

# %% 11.1 wrong: labels are compared by how they are written, so 1 and 1.0 differ
def cohen_kappa(first: list, second: list) -> float:
    from collections import Counter

    a, b = [repr(x) for x in first], [repr(x) for x in second]
    one, two, n = Counter(a), Counter(b), len(a)
    observed = sum(x == y for x, y in zip(a, b, strict=True)) / n
    expected = sum(one[x] * two[x] for x in one) / n**2
    return (observed - expected) / (1 - expected)

# %% 11.1 wrong: never below 0
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    expected = sum(first.count(x) * second.count(x) for x in set(first)) / n**2
    return max(0.0, (observed - expected) / (1 - expected))

# %% 11.1 right: all pairs of items in a double loop, in whole numbers
def cohen_kappa(first: list, second: list) -> float:
    n, same, by_chance = len(first), 0, 0
    for i in range(n):
        same += first[i] == second[i]
        for j in range(n):
            by_chance += first[i] == second[j]
    return (n * same - by_chance) / (n * n - by_chance)

# %% 11.2 wrong: twenty rounds, whether it has settled or not
def bradley_terry_scores(wins: Tensor) -> Tensor:
    duels, strength = wins + wins.T, torch.ones(len(wins), dtype=wins.dtype)
    for _ in range(20):
        strength = wins.sum(1) / (duels / (strength[:, None] + strength)).sum(1)
        strength = strength / strength.log().mean().exp()
    return strength.log() - strength.log().mean()

# %% 11.2 wrong: half a win is added to every pair
def bradley_terry_scores(wins: Tensor) -> Tensor:
    n = len(wins)
    won = wins.double() + 0.5 * (1 - torch.eye(n, dtype=torch.float64))
    duels, strength = won + won.T, torch.ones(n, dtype=torch.float64)
    for _ in range(5_000):
        strength = won.sum(1) / (duels / (strength[:, None] + strength)).sum(1)
        strength /= strength.log().mean().exp()
    return (strength.log() - strength.log().mean()).to(wins.dtype)

# %% 11.2 wrong: it only calls itself
def bradley_terry_scores(wins: Tensor) -> Tensor:
    return bradley_terry_scores(wins)

# %% 11.2 right: Newton's method, with steps of length one at most
def bradley_terry_scores(wins: Tensor) -> Tensor:
    won = wins.detach().double()
    duels, scores = won + won.T, torch.zeros(len(won), dtype=torch.float64, device=won.device)
    for _ in range(1_000):
        chance = torch.sigmoid(scores[:, None] - scores)
        slope = (won - duels * chance).sum(1)
        spread = duels * chance * (1 - chance)
        bend = torch.diag(spread.sum(1)) - spread
        step = torch.linalg.solve(bend + 1, slope)
        scores = scores + step / step.abs().max().clamp(min=1)
        if step.abs().max() < 1e-9:
            break
    return (scores - scores.mean()).to(wins.dtype)

# %% 11.3 wrong: the number of tokens is taken for the place of the last, also with padding on the left
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    last = attention_mask.sum(1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight

# %% 11.3 wrong: the first row decides for all on which side the padding stands
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    if attention_mask[0, -1] == 1:
        return hidden[:, -1] @ weight
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return hidden[rows, attention_mask.sum(1) - 1] @ weight

# %% 11.3 wrong: squeeze takes the axis of a batch of one away too
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    places = torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
    last = (attention_mask * places).argmax(1)
    states = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))
    return (states @ weight[:, None]).squeeze()

# %% 11.3 right: a loop over the rows with nonzero
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    scores = []
    for states, mask in zip(hidden, attention_mask, strict=True):
        last = int(mask.nonzero()[-1])
        scores.append((states[last] * weight).sum())
    return torch.stack(scores)

# %% 11.4 wrong: where hides the infinite logarithm but not its gradient, which is NaN
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    apart = chosen - rejected
    return torch.where(apart < -20, -apart, -torch.log(torch.sigmoid(apart))).mean()

# %% 11.4 wrong: the difference is cut at thirty, where the gradient ends
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid((chosen - rejected).clamp(-30, 30)).mean()

# %% 11.4 wrong: the mean is taken of the differences, before the logarithm
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return torch.nn.functional.softplus((rejected - chosen).mean())

# %% 11.4 right: the logarithm of 1 plus an exponential, by logaddexp
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return torch.logaddexp(torch.zeros_like(chosen), rejected - chosen).mean()


# %% 11.1 wrong: chance from the pooled shares of both raters (Scott's pi)
def cohen_kappa(first: list, second: list) -> float:
    from collections import Counter

    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    pooled = Counter(first) + Counter(second)
    expected = sum((count / (2 * n)) ** 2 for count in pooled.values())
    return (observed - expected) / (1 - expected)


# %% 11.1 wrong: kappa below zero is cut off
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    expected = sum(first.count(k) * second.count(k) for k in set(first)) / n**2
    return max(0.0, (observed - expected) / (1 - expected))


# %% 11.1 wrong: labels agree only if they are the same object
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    observed = sum(a is b for a, b in zip(first, second)) / n
    expected = sum(first.count(k) * second.count(k) for k in set(first)) / n**2
    return (observed - expected) / (1 - expected)


# %% 11.1 wrong: not divided by what is left beyond chance
def cohen_kappa(first: list, second: list) -> float:
    from collections import Counter

    n = len(first)
    observed = sum(a == b for a, b in zip(first, second)) / n
    one, two = Counter(first), Counter(second)
    expected = sum(one[k] / n * two[k] / n for k in one)
    return observed - expected


# %% 11.1 wrong: the lists are emptied while counting, again
def cohen_kappa(first: list, second: list) -> float:
    n = len(first)
    one, two, same = {}, {}, 0
    while first:
        a, b = first.pop(), second.pop()
        one[a] = one.get(a, 0) + 1
        two[b] = two.get(b, 0) + 1
        same += a == b
    expected = sum(count * two.get(k, 0) for k, count in one.items()) / n**2
    return (same / n - expected) / (1 - expected)


# %% 11.1 right: two counters, again
def cohen_kappa(first: list, second: list) -> float:
    from collections import Counter

    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    one, two = Counter(first), Counter(second)
    expected = sum(one[label] * two[label] for label in one.keys() | two.keys()) / (n * n)
    return (observed - expected) / (1 - expected)


# %% 11.1 right: a table of both raters' labels as a tensor
def cohen_kappa(first: list, second: list) -> float:
    place = {}
    for label in first + second:
        place.setdefault(label, len(place))
    table = torch.zeros(len(place), len(place), dtype=torch.float64)
    for a, b in zip(first, second):
        table[place[a], place[b]] += 1
    table /= len(first)
    observed = table.diagonal().sum()
    expected = table.sum(0) @ table.sum(1)
    return ((observed - expected) / (1 - expected)).item()


# %% 11.2 wrong: logarithm of wins over losses, whoever the opponents were
def bradley_terry_scores(wins: Tensor) -> Tensor:
    scores = torch.log(wins.sum(dim=1) / wins.sum(dim=0))
    return scores - scores.mean()


# %% 11.2 wrong: a tenth of a win is added to every duel
def bradley_terry_scores(wins: Tensor) -> Tensor:
    table = wins.double() + 0.1 * (1 - torch.eye(len(wins), dtype=torch.float64))
    duels, won = table + table.T, table.sum(1)
    p = torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5_000):
        p = won / (duels / (p[:, None] + p)).sum(1)
        p = p / p.log().mean().exp()
    return p.log().float()


# %% 11.2 wrong: the strengths have mean 1, so the scores do not have mean 0
def bradley_terry_scores(wins: Tensor) -> Tensor:
    table = wins.double()
    duels, won = table + table.T, table.sum(1)
    p = torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5_000):
        p = won / (duels / (p[:, None] + p)).sum(1)
        p = p / p.mean()
    return p.log().float()


# %% 11.2 wrong: the table is overwritten by the number of duels
def bradley_terry_scores(wins: Tensor) -> Tensor:
    won = wins.sum(1).double()
    duels = wins.add_(wins.T.clone()).double()
    p = torch.ones(len(wins), dtype=torch.float64)
    for _ in range(5_000):
        p = won / (duels / (p[:, None] + p)).sum(1)
        p = p / p.log().mean().exp()
    return p.log().float()


# %% 11.2 wrong: fifteen repetitions, not enough to converge
def bradley_terry_scores(wins: Tensor) -> Tensor:
    table = wins.double()
    duels, won = table + table.T, table.sum(1)
    p = torch.ones(len(wins), dtype=torch.float64)
    for _ in range(15):
        p = won / (duels / (p[:, None] + p)).sum(1)
    scores = p.log()
    return (scores - scores.mean()).float()


# %% 11.2 right: Zermelo's rule until nothing moves
def bradley_terry_scores(wins: Tensor) -> Tensor:
    import numpy as np

    table = wins.detach().cpu().double().numpy()
    if len(table) == 1:
        return torch.zeros_like(wins[0])
    duels, won = table + table.T, table.sum(1)
    p = np.ones(len(table))
    for _ in range(200_000):
        fresh = won / (duels / (p[:, None] + p[None, :])).sum(1)
        fresh = fresh / np.exp(np.log(fresh).mean())
        moved = np.abs(np.log(fresh / p)).max()
        p = fresh
        if moved < 1e-11:
            break
    scores = np.log(p)
    return torch.from_numpy(scores - scores.mean()).to(wins)


# %% 11.2 right: Newton's method on the log-likelihood, again
def bradley_terry_scores(wins: Tensor) -> Tensor:
    table = wins.detach().double()
    duels, n = table + table.T, len(table)

    def loss(s):
        return -(table * torch.nn.functional.logsigmoid(s[:, None] - s[None, :])).sum()

    scores = torch.zeros(n, dtype=torch.float64, device=wins.device)
    for _ in range(200):
        chance = torch.sigmoid(scores[:, None] - scores[None, :])
        slope = table.sum(1) - (duels * chance).sum(1)
        bend = duels * chance * (1 - chance)
        hessian = torch.diag(bend.sum(1)) - bend + 1 / n  # the constant direction is held
        step = torch.linalg.solve(hessian, slope)
        size, now = 1.0, loss(scores)
        while size > 1e-6 and loss(scores + size * step) > now + 1e-12 * now.abs():
            size /= 2
        scores = scores + size * step
        if step.abs().max() < 1e-9:
            break
    return (scores - scores.mean()).to(wins.dtype)


# %% 11.3 wrong: place from the number of tokens, as if padding stood on the right only
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    last = attention_mask.sum(dim=1) - 1
    rows = torch.arange(len(hidden), device=hidden.device)
    return hidden[rows, last] @ weight


# %% 11.3 wrong: the mean state of all tokens
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    mask = attention_mask.to(hidden.dtype).unsqueeze(-1)
    pooled = (hidden * mask).sum(1) / mask.sum(1)
    return pooled @ weight


# %% 11.3 wrong: scores made from plain numbers, so no gradient flows
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    scores = []
    for states, mask in zip(hidden, attention_mask):
        last = max(i for i, m in enumerate(mask.tolist()) if m)
        scores.append((states[last] @ weight).item())
    return torch.tensor(scores, device=hidden.device)


# %% 11.3 wrong: the attention mask is multiplied by the places in place
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    attention_mask *= torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
    last = attention_mask.argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last] @ weight


# %% 11.3 wrong: a column of scores, (batch, 1)
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    places = torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
    last = (attention_mask * places).argmax(dim=1)
    states = hidden[torch.arange(len(hidden), device=hidden.device), last]
    return states @ weight.unsqueeze(1)


# %% 11.3 right: largest place under the mask, one gather
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    places = torch.arange(1, hidden.shape[1] + 1, device=attention_mask.device)
    last = (attention_mask * places).argmax(dim=1)
    index = last[:, None, None].expand(-1, 1, hidden.shape[2])
    return hidden.gather(1, index).squeeze(1) @ weight


# %% 11.3 right: a loop over the rows
def last_token_scores(hidden: Tensor, attention_mask: Tensor, weight: Tensor) -> Tensor:
    scores = []
    for states, mask in zip(hidden, attention_mask):
        tokens = states[mask.bool()]
        scores.append((tokens[-1] * weight).sum())
    return torch.stack(scores)


# %% 11.4 wrong: a small number inside of the logarithm caps the loss
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.log(torch.sigmoid(chosen - rejected) + 1e-8).mean()


# %% 11.4 wrong: a stable form whose gradient is 0 for equal scores
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    margin = chosen - rejected
    return (torch.relu(-margin) + torch.log1p(torch.exp(-margin.abs()))).mean()


# %% 11.4 wrong: the mean is taken before the sigmoid, again
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(chosen.mean() - rejected.mean())


# %% 11.4 wrong: in bits, not in nats
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    import math

    return -torch.nn.functional.logsigmoid(chosen - rejected).mean() / math.log(2)


# %% 11.4 wrong: the sign of the difference is turned
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return torch.nn.functional.softplus(chosen - rejected).mean()


# %% 11.4 right: logsigmoid
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(chosen - rejected).mean()


# %% 11.4 right: logarithm of 1 + exp(rejected - chosen), by logaddexp
def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    behind = rejected - chosen
    losses = torch.logaddexp(torch.zeros_like(behind), behind)
    return losses.sum() / len(losses)
