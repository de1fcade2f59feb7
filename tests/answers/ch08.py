# %% 08.1 wrong: the mean of each text's own ratio
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    ratios = [len(encode(text)) / len(text.split()) for text in texts if text.split()]
    if not ratios:
        raise ValueError("no words")
    return sum(ratios) / len(ratios)


# %% 08.1 wrong: only single spaces part words
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    words = sum(len(text.split(" ")) for text in texts if text.strip())
    if words == 0:
        raise ValueError("no words")
    return sum(len(encode(text)) for text in texts) / words


# %% 08.1 wrong: words are runs of letters, so that punctuation cuts them
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    import re

    words = sum(len(re.findall(r"\w+", text)) for text in texts)
    if words == 0:
        raise ValueError("no words")
    return sum(len(encode(text)) for text in texts) / words


# %% 08.1 wrong: 0 is returned where there is no word
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    words = sum(len(text.split()) for text in texts)
    return sum(len(encode(text)) for text in texts) / words if words else 0.0


# %% 08.1 wrong: each word is encoded by itself, without its white space
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    words = [word for text in texts for word in text.split()]
    if not words:
        raise ValueError("no words")
    return sum(len(encode(word)) for word in words) / len(words)


# %% 08.1 wrong: the texts are joined and encoded as one
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    whole = " ".join(texts)
    if not whole.split():
        raise ValueError("no words")
    return len(encode(whole)) / len(whole.split())


# %% 08.1 wrong: the list of texts is emptied while it is read
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    tokens = words = 0
    while texts:
        text = texts.pop()
        tokens += len(encode(text))
        words += len(text.split())
    if words == 0:
        raise ValueError("no words")
    return tokens / words


# %% 08.1 wrong: a single text without words is an error already
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    tokens = words = 0
    for text in texts:
        if not text.split():
            raise ValueError("no words")
        tokens += len(encode(text))
        words += len(text.split())
    if words == 0:
        raise ValueError("no words")
    return tokens / words


# %% 08.1 right: two sums, and the division's error is turned into the one asked for
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    try:
        return sum(len(encode(t)) for t in texts) / sum(len(t.split()) for t in texts)
    except ZeroDivisionError:
        raise ValueError("the texts hold no word") from None


# %% 08.1 right: a naive loop over characters that counts where words begin
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    tokens = 0
    words = 0
    for text in texts:
        for _ in encode(text):
            tokens += 1
        inside = False
        for character in text:
            if character.isspace():
                inside = False
            elif not inside:
                inside = True
                words += 1
    if words == 0:
        raise ValueError("the texts hold no word")
    return tokens / words


# %% 08.1 right: a regular expression for what is not white space
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    import re

    counts = [(len(encode(text)), len(re.findall(r"\S+", text))) for text in texts]
    tokens, words = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    if not words:
        raise ValueError("the texts hold no word")
    return float(tokens / words)


# %% 08.2 wrong: a piece that occurs twice counts once
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    return torch.cat([weight, *[weight[sorted(set(ids))].mean(0, keepdim=True) for ids in pieces]])


# %% 08.2 wrong: a running average gives the last piece half of the weight
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    rows = [weight]
    for ids in pieces:
        row = weight[ids[0]].clone()
        for i in ids[1:]:
            row = (row + weight[i]) / 2
        rows.append(row[None])
    return torch.cat(rows)


# %% 08.2 wrong: short words are padded with id 0 and the padding is averaged in
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    if not pieces:
        return weight.clone()
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in pieces], batch_first=True)
    return torch.cat([weight, weight[padded.to(weight.device)].mean(1)])


# %% 08.2 wrong: the sum is built in the first piece's row of the given matrix
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    weight = weight.detach()
    old, rows = weight.clone(), []
    for ids in pieces:
        row = weight[ids[0]]
        for i in ids[1:]:
            row += old[i]
        row /= len(ids)
        rows.append(row.clone()[None])
    return torch.cat([old, *rows])


# %% 08.2 wrong: the new rows stand above the old ones
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    return torch.cat([*[weight[ids].mean(0, keepdim=True) for ids in pieces], weight])


# %% 08.2 wrong: the means are rounded to half precision
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    means = [weight[ids].to(torch.bfloat16).mean(0, keepdim=True).to(weight.dtype) for ids in pieces]
    return torch.cat([weight, *means])


# %% 08.2 wrong: the mean is taken over all numbers of the pieces, one number per word
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    return torch.cat([weight, *[weight[ids].mean().expand(1, weight.shape[1]) for ids in pieces]])


# %% 08.2 wrong: each sum is divided by the number of words
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    return torch.cat([weight, *[weight[ids].sum(0, keepdim=True) / len(pieces) for ids in pieces]])


# %% 08.2 right: one mean per word, below the old rows
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    return torch.cat([weight, *[weight[ids].mean(0, keepdim=True) for ids in pieces]])


# %% 08.2 right: naive loops that fill a new matrix
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    vocab, hidden = weight.shape
    result = torch.zeros(vocab + len(pieces), hidden, dtype=weight.dtype, device=weight.device)
    for i in range(vocab):
        result[i] = weight[i]
    for j in range(len(pieces)):
        total = torch.zeros_like(weight[0])
        for piece in pieces[j]:
            total = total + weight[piece]
        result[vocab + j] = total / len(pieces[j])
    return result


# %% 08.2 right: a matrix product with the share of each piece
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    shares = torch.zeros(len(pieces), len(weight), dtype=weight.dtype, device=weight.device)
    for row, ids in enumerate(pieces):
        for piece, times in Counter(ids).items():
            shares[row, piece] = times / len(ids)
    return torch.vstack((weight, shares @ weight))


# %% 08.3 wrong: the share is rounded in each batch, so that 5 % of four rows is never one
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    old = round(share * batch_size)
    new = batch_size - old
    return range(step * new, (step + 1) * new), range(step * old, (step + 1) * old)


# %% 08.3 wrong: every batch has at least one old row
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    def old_before(step: int) -> int:
        return max(step if share > 0 else 0, int(share * step * batch_size))

    first, last = old_before(step), old_before(step + 1)
    return range(step * batch_size - first, (step + 1) * batch_size - last), range(first, last)


# %% 08.3 wrong: the new rows begin at step times batch_size, so that old rows leave gaps
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    first, last = (int(share * batch_size * s + 0.5) for s in (step, step + 1))
    start = step * batch_size
    return range(start, start + batch_size - (last - first)), range(first, last)


# %% 08.3 wrong: the old rows are one step late
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    first, last = (int(share * batch_size * s) for s in (max(step - 1, 0), step))
    return range(step * batch_size - first, (step + 1) * batch_size - last), range(first, last)


# %% 08.3 wrong: the places are counted up from call to call
_read_so_far = {"new": 0, "old": 0}


def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    if step == 0:
        _read_so_far.update(new=0, old=0)
    new, old = _read_so_far["new"], _read_so_far["old"]
    more = round(share * (new + old + batch_size)) - old
    _read_so_far.update(new=new + batch_size - more, old=old + more)
    return range(new, new + batch_size - more), range(old, old + more)


# %% 08.3 wrong: every n-th row is old with a whole n, which only fits a share like 1/4 or 1/20
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    period = round(1 / share) if share > 0 else 10**12
    first, last = step * batch_size // period, (step + 1) * batch_size // period
    return range(step * batch_size - first, (step + 1) * batch_size - last), range(first, last)


# %% 08.3 wrong: the share is taken of the new rows instead of all rows
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    first, last = (int(share / (1 + share) * batch_size * s) for s in (step, step + 1))
    return range(step * batch_size - first, (step + 1) * batch_size - last), range(first, last)


# %% 08.3 wrong: both parts are rounded down by themselves, so that a batch may be a row short
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    new, old = (
        range(int(part * step * batch_size), int(part * (step + 1) * batch_size)) for part in (1 - share, share)
    )
    return new, old


# %% 08.3 right: the old rows before and after the step, rounded
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    rows = step * batch_size, (step + 1) * batch_size
    old = [round(share * n) for n in rows]
    return range(rows[0] - old[0], rows[1] - old[1]), range(*old)


# %% 08.3 right: a naive loop through all steps so far
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    new_end = 0
    old_end = 0
    for s in range(step + 1):
        new_start = new_end
        old_start = old_end
        wanted = share * (s + 1) * batch_size
        while old_end + 0.5 < wanted and old_end - old_start < batch_size:
            old_end += 1
        new_end = (s + 1) * batch_size - old_end
    return range(new_start, new_end), range(old_start, old_end)


# %% 08.3 right: exact fractions, rounded to the nearest row
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    from fractions import Fraction

    def split(steps: int) -> tuple[int, int]:
        old = int(Fraction(share) * steps * batch_size + Fraction(1, 2))
        return steps * batch_size - old, old

    (new_start, old_start), (new_stop, old_stop) = split(step), split(step + 1)
    return range(new_start, new_stop), range(old_start, old_stop)


# %% 08.4 wrong: the mean of the squares instead of their sum
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    total = torch.zeros(())
    for name, value in start.items():
        total = total + torch.nn.functional.mse_loss(parameters[name], value)
    return strength / 2 * total


# %% 08.4 wrong: the parameters are detached, so that no gradient flows
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    parts = [(parameters[name].detach() - value).square().sum() for name, value in start.items()]
    return (strength / 2 * sum(parts, torch.zeros(()))).requires_grad_()


# %% 08.4 wrong: what has no start is pulled to zero
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    total = torch.zeros(())
    for name, value in parameters.items():
        total = total + (value - start.get(name, torch.zeros_like(value))).square().sum()
    return strength / 2 * total


# %% 08.4 wrong: tensors are paired by their order, not by name
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    pairs = zip(parameters.values(), start.values(), strict=False)
    return strength / 2 * sum(((p - s).square().sum() for p, s in pairs), torch.zeros(()))


# %% 08.4 wrong: the names are taken out of the caller's start
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    total = torch.zeros(())
    for name, value in parameters.items():
        old = start.pop(name, None)
        if old is not None:
            total = total + (value - old).square().sum()
    return strength / 2 * total


# %% 08.4 wrong: it calls itself
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    return distance_penalty(parameters, start, strength)


# %% 08.4 wrong: norms are added up without their squares
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    return strength / 2 * sum(((parameters[n] - s).norm() for n, s in start.items()), torch.zeros(()))


# %% 08.4 wrong: the half is forgotten
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    return strength * sum(((parameters[n] - s) ** 2).sum() for n, s in start.items())


# %% 08.4 right: one generator over the names of the start
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    return strength / 2 * sum((((parameters[n] - w) ** 2).sum() for n, w in start.items()), torch.zeros(()))


# %% 08.4 right: a naive loop over all parameters
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    total = torch.tensor(0.0)
    for name in parameters:
        if name not in start:
            continue
        difference = parameters[name] - start[name].detach()
        total = total + torch.sum(difference * difference)
    return total * strength / 2


# %% 08.4 right: one long vector of differences, times itself
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    names = [name for name in parameters if name in start]
    if not names:
        return torch.zeros(())
    apart = torch.cat([parameters[name].reshape(-1) - start[name].reshape(-1) for name in names])
    return 0.5 * strength * apart.dot(apart)


# %% 08.5 wrong: a class that is only predicted counts as a recall of 0
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in range(classes):
        t, p = truth.count(c), predicted.count(c)
        hits = sum(a == b == c for a, b in zip(truth, predicted, strict=True))
        if t + p:
            recalls.append(hits / t if t else 0.0)
            scores.append(2 * hits / (t + p))
    return sum(recalls) / len(recalls), sum(scores) / len(scores)


# %% 08.5 wrong: F1 is averaged over the classes that occur in the truth only
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in range(classes):
        t, p = truth.count(c), predicted.count(c)
        hits = sum(a == b == c for a, b in zip(truth, predicted, strict=True))
        if t:
            recalls.append(hits / t)
            scores.append(2 * hits / (t + p))
    return sum(recalls) / len(recalls), sum(scores) / len(scores)


# %% 08.5 wrong: F1 is averaged over all classes, also those that occur nowhere
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in range(classes):
        t, p = truth.count(c), predicted.count(c)
        hits = sum(a == b == c for a, b in zip(truth, predicted, strict=True))
        if t:
            recalls.append(hits / t)
        scores.append(2 * hits / max(t + p, 1))
    return sum(recalls) / len(recalls), sum(scores) / classes


# %% 08.5 wrong: a class that is never predicted has no precision and is left out of F1
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in range(classes):
        t, p = truth.count(c), predicted.count(c)
        hits = sum(a == b == c for a, b in zip(truth, predicted, strict=True))
        if t:
            recalls.append(hits / t)
        if p:
            scores.append(2 * hits / (t + p))
    return sum(recalls) / len(recalls), sum(scores) / len(scores)


# %% 08.5 wrong: F1 is made of the mean precision and the mean recall
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, precisions, of_union = [], [], []
    for c in range(classes):
        t, p = truth.count(c), predicted.count(c)
        hits = sum(a == b == c for a, b in zip(truth, predicted, strict=True))
        if t:
            recalls.append(hits / t)
        if t or p:
            precisions.append(hits / max(p, 1))
            of_union.append(hits / max(t, 1))
    precision, recall = sum(precisions) / len(precisions), sum(of_union) / len(of_union)
    macro = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return sum(recalls) / len(recalls), macro


# %% 08.5 wrong: F1 is weighted by how often each class occurs
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, weighted = [], 0.0
    for c in range(classes):
        t, p = truth.count(c), predicted.count(c)
        hits = sum(a == b == c for a, b in zip(truth, predicted, strict=True))
        if t:
            recalls.append(hits / t)
            weighted += t / len(truth) * 2 * hits / (t + p)
    return sum(recalls) / len(recalls), weighted


# %% 08.5 wrong: both lists are sorted in place after the hits are counted
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    from itertools import groupby

    hits = Counter(a for a, b in zip(truth, predicted, strict=True) if a == b)
    truth.sort()
    predicted.sort()
    t = {c: len(list(run)) for c, run in groupby(truth)}
    p = {c: len(list(run)) for c, run in groupby(predicted)}
    recalls = [hits[c] / t[c] for c in t]
    scores = [2 * hits[c] / (t.get(c, 0) + p.get(c, 0)) for c in t.keys() | p.keys()]
    return sum(recalls) / len(recalls), sum(scores) / len(scores)


# %% 08.5 wrong: only the classes 0 and 1 are looked at
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in (0, 1):
        t, p = truth.count(c), predicted.count(c)
        hits = sum(a == b == c for a, b in zip(truth, predicted, strict=True))
        if t:
            recalls.append(hits / t)
        if t + p:
            scores.append(2 * hits / (t + p))
    return sum(recalls) / max(len(recalls), 1), sum(scores) / max(len(scores), 1)


# %% 08.5 right: three counters and two means
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    t, p = Counter(truth), Counter(predicted)
    h = Counter(a for a, b in zip(truth, predicted, strict=True) if a == b)
    return sum(h[c] / t[c] for c in t) / len(t), sum(2 * h[c] / (t[c] + p[c]) for c in t | p) / len(t | p)


# %% 08.5 right: a naive loop over classes and examples
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recall_sum = f1_sum = 0.0
    recall_classes = f1_classes = 0
    for c in range(classes):
        hits = true = said = 0
        for i in range(len(truth)):
            if truth[i] == c:
                true += 1
            if predicted[i] == c:
                said += 1
            if truth[i] == c and predicted[i] == c:
                hits += 1
        if true > 0:
            recall_sum += hits / true
            recall_classes += 1
        if true > 0 or said > 0:
            f1_sum += 2 * hits / (true + said)
            f1_classes += 1
    return recall_sum / recall_classes, f1_sum / f1_classes


# %% 08.5 right: numpy and the confusion matrix
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    import numpy as np

    matrix = np.zeros((classes, classes))
    np.add.at(matrix, (np.asarray(truth), np.asarray(predicted)), 1)
    hits, true, said = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    occurs, either = true > 0, true + said > 0
    balanced = (hits[occurs] / true[occurs]).mean()
    macro = (2 * hits[either] / (true + said)[either]).mean()
    return float(balanced), float(macro)


# %% 08.1 wrong: the mean of each text's own fertility
def fertility(texts, encode):
    ratios = [len(encode(text)) / len(text.split()) for text in texts if text.split()]
    if not ratios:
        raise ValueError("no word")
    return sum(ratios) / len(ratios)


# %% 08.1 wrong: without words the error is that of a division by zero
def fertility(texts, encode):
    return sum(len(encode(text)) for text in texts) / sum(len(text.split()) for text in texts)


# %% 08.1 wrong: all texts are joined before they are encoded
def fertility(texts, encode):
    whole = " ".join(texts)
    if not whole.split():
        raise ValueError("no word")
    return len(encode(whole)) / len(whole.split())


# %% 08.1 wrong: a text that occurs twice counts once
def fertility(texts, encode):
    known = set(texts)
    words = sum(len(text.split()) for text in known)
    if not words:
        raise ValueError("no word")
    return sum(len(encode(text)) for text in known) / words


# %% 08.1 wrong: one empty text among others raises
def fertility(texts, encode):
    tokens, words = 0, 0
    for text in texts:
        if not text.split():
            raise ValueError("a text without words")
        tokens += len(encode(text))
        words += len(text.split())
    if words == 0:
        raise ValueError("no words")
    return tokens / words


# %% 08.1 right: two sums
def fertility(texts, encode):
    if not (words := sum(len(text.split()) for text in texts)):
        raise ValueError("the texts hold no word")
    return sum(len(encode(text)) for text in texts) / words


# %% 08.1 right: counted sign by sign
def fertility(texts, encode):
    tokens = 0
    words = 0
    for text in texts:
        for _ in encode(text):
            tokens += 1
        before = True
        for sign in text:
            if before and not sign.isspace():
                words += 1
            before = sign.isspace()
    if words == 0:
        raise ValueError("no words in these texts")
    return float(tokens) / float(words)


# %% 08.2 wrong: a piece that occurs twice counts once (another)
def mean_of_pieces(weight, pieces):
    rows = [weight[sorted(set(ids))].mean(0, keepdim=True) for ids in pieces]
    return torch.cat([weight, *rows])


# %% 08.2 wrong: the first piece's own row is changed while summing
def mean_of_pieces(weight, pieces):
    rows = []
    for ids in pieces:
        row = weight[ids[0]]
        for i in ids[1:]:
            row += weight[i]
        rows.append(row / len(ids))
    return torch.cat([weight, torch.stack(rows)])


# %% 08.2 wrong: every sum is divided by the longest word's number of pieces
def mean_of_pieces(weight, pieces):
    longest = max(len(ids) for ids in pieces)
    new = torch.zeros(len(pieces), weight.shape[1], dtype=weight.dtype, device=weight.device)
    for row, ids in enumerate(pieces):
        new[row] = weight[ids].sum(0) / longest
    return torch.cat([weight, new])


# %% 08.2 wrong: one mean over pieces and numbers, the same in all places
def mean_of_pieces(weight, pieces):
    new = torch.stack([weight[ids].mean() * torch.ones_like(weight[0]) for ids in pieces])
    return torch.cat([weight, new])


# %% 08.2 wrong: the means are taken in 16 bits
def mean_of_pieces(weight, pieces):
    half = weight.half()
    new = torch.stack([half[ids].mean(0) for ids in pieces])
    return torch.cat([weight, new.to(weight.dtype)])


# %% 08.2 right: one mean for each word
def mean_of_pieces(weight, pieces):
    return torch.cat([weight, *(weight[ids].mean(0, keepdim=True) for ids in pieces)])


# %% 08.2 right: number by number of pieces
def mean_of_pieces(weight, pieces):
    vocab, hidden = weight.shape
    larger = weight.new_zeros(vocab + len(pieces), hidden)
    larger[:vocab] = weight
    for number, ids in enumerate(pieces):
        total = weight.new_zeros(hidden)
        for i in ids:
            total = total + weight[i]
        larger[vocab + number] = total / len(ids)
    return larger


# %% 08.3 wrong: each batch is rounded by itself, so that 5 % of four is never an old row
def replay_plan(step, batch_size, share):
    old = round(batch_size * share)
    new = batch_size - old
    return range(step * new, (step + 1) * new), range(step * old, (step + 1) * old)


# %% 08.3 wrong: new rows are counted as if no old rows had stood between them, with gaps
def replay_plan(step, batch_size, share):
    first, last = int(step * batch_size * share), int((step + 1) * batch_size * share)
    begin = step * batch_size
    return range(begin, begin + batch_size - (last - first)), range(first, last)


# %% 08.3 wrong: it counts in a list of its own, and takes the calls for the steps
replayed = [0, 0]


def replay_plan(step, batch_size, share):
    total = sum(replayed) + batch_size
    old = int(total * share) - replayed[1]
    new = batch_size - old
    plan = range(replayed[0], replayed[0] + new), range(replayed[1], replayed[1] + old)
    replayed[0] += new
    replayed[1] += old
    return plan


# %% 08.3 wrong: one row in a whole number of rows is old, which misses shares whose inverse is no whole number
def replay_plan(step, batch_size, share):
    if share == 0:
        return range(step * batch_size, (step + 1) * batch_size), range(0, 0)
    every = max(1, round(1 / share))
    first, last = step * batch_size // every, (step + 1) * batch_size // every
    return range(step * batch_size - first, (step + 1) * batch_size - last), range(first, last)


# %% 08.3 wrong: at least one old row in each batch
def replay_plan(step, batch_size, share):
    old = max(1, int(batch_size * share)) if share else 0
    new = batch_size - old
    return range(step * new, step * new + new), range(step * old, step * old + old)


# %% 08.3 right: the difference of two whole numbers
def replay_plan(step, batch_size, share):
    rows = step * batch_size, (step + 1) * batch_size
    old = [int(n * share + 0.5) for n in rows]
    return range(rows[0] - old[0], rows[1] - old[1]), range(*old)


# %% 08.3 right: counted up from the first step
def replay_plan(step, batch_size, share):
    new, old = 0, 0
    for number in range(step + 1):
        first_new, first_old = new, old
        target = round(share * batch_size * (number + 1))
        while old < target and (old - first_old) < batch_size:
            old += 1
        new += batch_size - (old - first_old)
    return range(first_new, new), range(first_old, old)


# %% 08.4 wrong: the half is forgotten (another)
def distance_penalty(parameters, start, strength):
    return strength * sum(((parameters[name] - value) ** 2).sum() for name, value in start.items())


# %% 08.4 wrong: the two are paired by their order, not by name
def distance_penalty(parameters, start, strength):
    return strength / 2 * sum((now - then).square().sum() for now, then in zip(parameters.values(), start.values()))


# %% 08.4 wrong: what has no start is pulled to zero (another)
def distance_penalty(parameters, start, strength):
    total = 0.0
    for name, value in parameters.items():
        total = total + (value - start.get(name, 0.0)).square().sum()
    return strength / 2 * total


# %% 08.4 wrong: the right number, cut off from the gradients
def distance_penalty(parameters, start, strength):
    total = torch.zeros(())
    for name, value in start.items():
        total += (parameters[name].detach() - value).pow(2).sum()
    return (strength / 2 * total).requires_grad_()


# %% 08.4 wrong: it calls itself (another)
def distance_penalty(parameters, start, strength):
    return distance_penalty({name: parameters[name] for name in start}, start, strength)


# %% 08.4 right: one sum over the names of the start
def distance_penalty(parameters, start, strength):
    return strength / 2 * sum((parameters[name] - value).square().sum() for name, value in start.items())


# %% 08.4 right: one long vector, and its dot product with itself
def distance_penalty(parameters, start, strength):
    differences = []
    for name in parameters:
        if name in start:
            differences.append((parameters[name] - start[name]).reshape(-1))
    apart = torch.cat(differences)
    return torch.dot(apart, apart) * strength * 0.5


# %% 08.5 wrong: classes that occur nowhere count with 0
def class_averages(truth, predicted, classes):
    recalls, f1 = [], []
    for c in range(classes):
        hits = sum(t == p == c for t, p in zip(truth, predicted))
        true, said = truth.count(c), predicted.count(c)
        recalls.append(hits / true if true else 0.0)
        f1.append(2 * hits / (true + said) if true + said else 0.0)
    return sum(recalls) / classes, sum(f1) / classes


# %% 08.5 wrong: a class that is only predicted is left out of macro F1
def class_averages(truth, predicted, classes):
    recalls, f1 = [], []
    for c in range(classes):
        hits = sum(t == p == c for t, p in zip(truth, predicted))
        true, said = truth.count(c), predicted.count(c)
        if true:
            recalls.append(hits / true)
            f1.append(2 * hits / (true + said))
    return sum(recalls) / len(recalls), sum(f1) / len(f1)


# %% 08.5 wrong: F1 of the mean precision and the mean recall
def class_averages(truth, predicted, classes):
    recalls, precisions = [], []
    for c in sorted(set(truth) | set(predicted)):
        hits = sum(t == p == c for t, p in zip(truth, predicted))
        if c in truth:
            recalls.append(hits / truth.count(c))
        precisions.append(hits / predicted.count(c) if c in predicted else 0.0)
    recall, precision = sum(recalls) / len(recalls), sum(precisions) / len(precisions)
    return recall, 2 * recall * precision / (recall + precision) if recall + precision else 0.0


# %% 08.5 wrong: a class that is only predicted has a recall of 0 in the balanced accuracy
def class_averages(truth, predicted, classes):
    used = [c for c in range(classes) if c in truth or c in predicted]
    hits, true, said = Counter(t for t, p in zip(truth, predicted) if t == p), Counter(truth), Counter(predicted)
    balanced = sum(hits[c] / max(true[c], 1) for c in used) / len(used)
    return balanced, sum(2 * hits[c] / (true[c] + said[c]) for c in used) / len(used)


# %% 08.5 wrong: classes that are never hit are left out of macro F1
def class_averages(truth, predicted, classes):
    hits = Counter(t for t, p in zip(truth, predicted) if t == p)
    recalls = [hits[c] / truth.count(c) for c in set(truth)]
    f1 = [2 * n / (truth.count(c) + predicted.count(c)) for c, n in hits.items()]
    return sum(recalls) / len(recalls), sum(f1) / len(f1) if f1 else 0.0


# %% 08.5 right: three counters
def class_averages(truth, predicted, classes):
    t, p, h = Counter(truth), Counter(predicted), Counter(a for a, b in zip(truth, predicted) if a == b)
    recall, f1 = [h[c] / t[c] for c in t], [2 * h[c] / (t[c] + p[c]) for c in {*t, *p}]
    return sum(recall) / len(recall), sum(f1) / len(f1)


# %% 08.5 right: by a table of truth and prediction
def class_averages(truth, predicted, classes):
    table = [[0] * classes for _ in range(classes)]
    for i in range(len(truth)):
        table[truth[i]][predicted[i]] += 1
    recalls, scores = [], []
    for c in range(classes):
        true = sum(table[c])
        said = sum(row[c] for row in table)
        if true > 0:
            recalls.append(table[c][c] / true)
        if true + said > 0:
            scores.append(2 * table[c][c] / (true + said))
    return sum(recalls) / len(recalls), sum(scores) / len(scores)

# %% 08.1 wrong: all texts are joined and encoded at once
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    whole = "\n".join(texts)
    if not whole.split():
        raise ValueError("no word")
    return len(encode(whole)) / len(whole.split())

# %% 08.1 wrong: words are runs of letters, so punctuation parts or drops them
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    import re

    words = sum(len(re.findall(r"\w+", text)) for text in texts)
    if words == 0:
        raise ValueError("the texts hold no word")
    return sum(len(encode(text)) for text in texts) / words

# %% 08.1 wrong: the error is raised for an empty list only, not for blank texts
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    if not texts:
        raise ValueError("there are no texts")
    tokens = words = 0
    for text in texts:
        tokens += len(encode(text))
        words += len(text.split())
    return tokens / words

# %% 08.1 right: a short division whose failure is translated
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    try:
        return sum(map(len, map(encode, texts))) / sum(len(t.split()) for t in texts)
    except ZeroDivisionError:
        raise ValueError("no words") from None

# %% 08.2 wrong: a piece that occurs twice counts once (a third)
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    rows = [weight[sorted(set(ids))].mean(0, keepdim=True) for ids in pieces]
    return torch.cat([weight, *rows])

# %% 08.2 wrong: the means are made in 32 bits and pull the whole matrix there
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    rows = torch.stack([weight[ids].float().mean(0) for ids in pieces])
    return torch.cat([weight, rows])

# %% 08.2 wrong: short words are filled up with id 0, whose row is added
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    longest = max(map(len, pieces))
    ids = torch.tensor([p + [0] * (longest - len(p)) for p in pieces], device=weight.device)
    counts = torch.tensor([len(p) for p in pieces], device=weight.device)
    rows = weight[ids].sum(1) / counts[:, None]
    return torch.cat([weight, rows.to(weight.dtype)])

# %% 08.2 right: a table of counts times the matrix, in 64 bits
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    counts = torch.zeros(len(pieces), len(weight), dtype=torch.float64, device=weight.device)
    for row, ids in enumerate(pieces):
        for i in ids:
            counts[row, i] += 1 / len(ids)
    return torch.cat([weight, (counts @ weight.double()).to(weight.dtype)])

# %% 08.3 wrong: the new rows go on by whole batches, so places are left out
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    before, after = int(step * batch_size * share), int((step + 1) * batch_size * share)
    start = step * batch_size
    return range(start, start + batch_size - (after - before)), range(before, after)

# %% 08.3 wrong: every so many steps a whole batch is old
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    before, after = int(step * share), int((step + 1) * share)  # batches of old rows
    old = range(before * batch_size, after * batch_size)
    new = range((step - before) * batch_size, (step + 1 - after) * batch_size)
    return new, old

# %% 08.3 wrong: it remembers how far it has read between calls
_read = {"new": 0, "old": 0}


def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    if step == 0:
        _read.update(new=0, old=0)
    old = int((step + 1) * batch_size * share) - _read["old"]
    old = min(max(old, 0), batch_size)
    new = batch_size - old
    plan = range(_read["new"], _read["new"] + new), range(_read["old"], _read["old"] + old)
    _read["new"] += new
    _read["old"] += old
    return plan

# %% 08.3 right: exact fractions, rounded down
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    from fractions import Fraction
    from math import floor

    rows = [step * batch_size, (step + 1) * batch_size]
    old = [floor(n * Fraction(share)) for n in rows]
    return range(rows[0] - old[0], rows[1] - old[1]), range(*old)

# %% 08.4 wrong: the tensors are paired by their order, not by name
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    pairs = zip(parameters.values(), start.values(), strict=False)
    return strength / 2 * sum(((p - s) ** 2).sum() for p, s in pairs)

# %% 08.4 wrong: what has no start is pulled to zero (a third)
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    total = 0.0
    for name, value in parameters.items():
        total = total + (value - start.get(name, torch.zeros_like(value))).pow(2).sum()
    return 0.5 * strength * total

# %% 08.4 wrong: it only calls itself
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    return distance_penalty(parameters, start, strength)

# %% 08.4 right: one long vector of differences and its product with itself
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    apart = torch.cat([(parameters[name] - old).reshape(-1) for name, old in start.items()])
    return apart.dot(apart) * (strength / 2)

# %% 08.5 wrong: F1 is made of the mean precision and the mean recall (a third)
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, precisions = [], []
    for c in range(classes):
        hits = sum(t == p == c for t, p in zip(truth, predicted, strict=True))
        if c in truth:
            recalls.append(hits / truth.count(c))
        if c in predicted or c in truth:
            precisions.append(hits / max(predicted.count(c), 1))
    recall, precision = sum(recalls) / len(recalls), sum(precisions) / len(precisions)
    return recall, 2 * recall * precision / (recall + precision) if recall + precision else 0.0

# %% 08.5 wrong: classes that are only predicted are left out of macro F1
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    true, said = Counter(truth), Counter(predicted)
    hits = Counter(t for t, p in zip(truth, predicted, strict=True) if t == p)
    recall = sum(hits[c] / true[c] for c in true) / len(true)
    return recall, sum(2 * hits[c] / (true[c] + said[c]) for c in true) / len(true)

# %% 08.5 wrong: classes that are never hit are skipped
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in range(classes):
        hits = sum(1 for t, p in zip(truth, predicted, strict=True) if t == c and p == c)
        if hits:
            recall, precision = hits / truth.count(c), hits / predicted.count(c)
            recalls.append(recall)
            scores.append(2 * recall * precision / (recall + precision))
    return sum(recalls) / max(len(recalls), 1), sum(scores) / max(len(scores), 1)

# %% 08.5 right: a confusion matrix by bincount
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    places = torch.tensor(truth) * classes + torch.tensor(predicted)
    table = torch.bincount(places, minlength=classes**2).view(classes, classes).double()
    hits, true, said = table.diagonal(), table.sum(1), table.sum(0)
    occurs, met = true > 0, true + said > 0
    recall, f1 = (hits / true)[occurs].mean(), (2 * hits / (true + said))[met].mean()
    return recall.item(), f1.item()


# %% 08.1 wrong: the mean of each text's ratio
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    ratios = [len(encode(text)) / len(text.split()) for text in texts if text.split()]
    if not ratios:
        raise ValueError("no words")
    return sum(ratios) / len(ratios)


# %% 08.1 wrong: splits at single blanks only, so lines and double blanks are miscounted
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    if not any(text.strip() for text in texts):
        raise ValueError("the texts hold no word")
    words = sum(len(text.split(" ")) for text in texts)
    return sum(len(encode(text)) for text in texts) / words


# %% 08.1 wrong: encodes each word by itself
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    words = [word for text in texts for word in text.split()]
    if not words:
        raise ValueError("no word in the texts")
    return sum(len(encode(word)) for word in words) / len(words)


# %% 08.1 wrong: all texts are joined into one before they are encoded
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    whole = " ".join(texts)
    words = len(whole.split())
    if words == 0:
        raise ValueError("no words")
    return len(encode(whole)) / words


# %% 08.1 wrong: without words a ZeroDivisionError
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    tokens = sum(len(encode(text)) for text in texts)
    words = sum(len(text.split()) for text in texts)
    return tokens / words


# %% 08.1 right: two sums, again
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    words = sum(len(text.split()) for text in texts)
    if words == 0:
        raise ValueError("the texts hold no word")
    return sum(len(encode(text)) for text in texts) / words


# %% 08.1 right: a loop, and words found by a regular expression
def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    import re

    tokens, words = 0, 0
    for text in texts:
        tokens += len(list(encode(text)))
        words += len(re.findall(r"\S+", text))
    if not words:
        raise ValueError("no word in any of the texts")
    return tokens / words


# %% 08.2 wrong: a piece that occurs twice counts once, again
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    if not pieces:
        return weight.clone()
    rows = [weight[sorted(set(ids))].float().mean(0).to(weight.dtype) for ids in pieces]
    return torch.cat([weight, torch.stack(rows)])


# %% 08.2 wrong: the shorter words are padded with row 0, which goes into their mean
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    if not pieces:
        return weight.clone()
    longest = max(map(len, pieces))
    ids = torch.tensor([p + [0] * (longest - len(p)) for p in pieces], device=weight.device)
    return torch.cat([weight, weight[ids].mean(dim=1)], dim=0)


# %% 08.2 wrong: always 32 bits
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    weight = weight.to(torch.float32)
    new = torch.zeros(len(pieces), weight.shape[1], device=weight.device)
    for i, ids in enumerate(pieces):
        new[i] = weight[ids].mean(0)
    return torch.cat([weight, new])


# %% 08.2 wrong: the given matrix itself grows
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    rows = [weight.detach()[ids].mean(0, keepdim=True) for ids in pieces]
    weight.data = torch.cat([weight.detach(), *rows])
    return weight


# %% 08.2 wrong: the new rows stand above the old ones, again
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    new = [weight[ids].double().mean(0).to(weight.dtype) for ids in pieces]
    return torch.cat([*(row[None] for row in new), weight], dim=0)


# %% 08.2 right: one mean for each word, again
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    rows = [weight[ids].double().mean(0, keepdim=True).to(weight.dtype) for ids in pieces]
    return torch.cat([weight, *rows])


# %% 08.2 right: a matrix of counts times the old rows
def mean_of_pieces(weight: Tensor, pieces: list[list[int]]) -> Tensor:
    counts = torch.zeros(len(pieces), weight.shape[0], dtype=torch.float64, device=weight.device)
    for word, ids in enumerate(pieces):
        for piece in ids:
            counts[word, piece] += 1 / len(ids)
    new = (counts @ weight.double()).to(weight.dtype)
    return torch.cat([weight, new], dim=0)


# %% 08.3 wrong: rounds in every batch, so five per cent of four rows are never any
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    old = round(share * batch_size)
    new = batch_size - old
    return range(step * new, (step + 1) * new), range(step * old, (step + 1) * old)


# %% 08.3 wrong: the new rows leave a gap wherever an old one was taken
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    first, last = step * batch_size, (step + 1) * batch_size
    old = range(round(share * first), round(share * last))
    return range(first, last - len(old)), old


# %% 08.3 wrong: both kinds are rounded down, and a row of the batch is missing
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    first, last = step * batch_size, (step + 1) * batch_size
    new = range(int((1 - share) * first), int((1 - share) * last))
    old = range(int(share * first), int(share * last))
    return new, old


# %% 08.3 wrong: an old row at fixed distances, which only suits shares such as a half or a fifth
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    first, last = step * batch_size, (step + 1) * batch_size
    if share == 0:
        return range(first, last), range(0, 0)
    every = round(1 / share)
    old = range(first // every, last // every)
    return range(first - first // every, last - last // every), old


# %% 08.3 wrong: remembers from call to call how far it has read
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    new_read, old_read = getattr(replay_plan, "read", (0, 0))
    if step == 0 and not hasattr(replay_plan, "read"):
        new_read, old_read = 0, 0
    all_rows = new_read + old_read + batch_size
    old = round(share * all_rows) - old_read
    new = batch_size - old
    replay_plan.read = (new_read + new, old_read + old)
    return range(new_read, new_read + new), range(old_read, old_read + old)


# %% 08.3 right: the rounded sums before and after the step
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    first, last = step * batch_size, (step + 1) * batch_size
    old = range(round(share * first), round(share * last))
    return range(first - old.start, last - old.stop), old


# %% 08.3 right: row by row, old where the sum passes a half
def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    def old_among(rows: int) -> int:
        return int(share * rows + 0.5)

    start = step * batch_size
    old_start = old_among(start)
    new_start = start - old_start
    old_count = new_count = 0
    for row in range(start, start + batch_size):
        if old_among(row + 1) > old_among(row):
            old_count += 1
        else:
            new_count += 1
    return range(new_start, new_start + new_count), range(old_start, old_start + old_count)


# %% 08.4 wrong: what has no start is pulled to zero, again
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    return strength / 2 * sum(((p - start.get(name, 0)) ** 2).sum() for name, p in parameters.items())


# %% 08.4 wrong: goes by the order of the two dicts
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    total = 0.0
    for now, then in zip(parameters.values(), start.values()):
        total = total + (now - then).square().sum()
    return 0.5 * strength * total


# %% 08.4 wrong: squares the sum of the differences
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    parts = [(parameters[name] - value).sum() ** 2 for name, value in start.items()]
    return strength / 2 * torch.stack(parts).sum()


# %% 08.4 wrong: item() cuts off the gradients
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    total = 0.0
    for name, value in start.items():
        total += ((parameters[name] - value) ** 2).sum().item()
    return torch.tensor(strength / 2 * total, requires_grad=True)


# %% 08.4 wrong: the mean within each tensor
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    losses = [torch.nn.functional.mse_loss(parameters[name], then) for name, then in start.items()]
    return strength / 2 * sum(losses)


# %% 08.4 right: a sum over the names of the start
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    return strength / 2 * sum((parameters[name] - value).pow(2).sum() for name, value in start.items())


# %% 08.4 right: one long vector of differences
def distance_penalty(parameters: dict[str, Tensor], start: dict[str, Tensor], strength: float) -> Tensor:
    apart = [(tensor - start[name].detach()).reshape(-1) for name, tensor in parameters.items() if name in start]
    vector = torch.cat(apart)
    return 0.5 * strength * (vector @ vector)


# %% 08.5 wrong: divides by the number of all classes, though some do not occur
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, f1 = 0.0, 0.0
    for c in range(classes):
        hits = sum(t == c and p == c for t, p in zip(truth, predicted))
        t, p = truth.count(c), predicted.count(c)
        recalls += hits / t if t else 0.0
        f1 += 2 * hits / (t + p) if t + p else 0.0
    return recalls / classes, f1 / classes


# %% 08.5 wrong: macro F1 leaves out classes that are predicted and never true
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in sorted(set(truth)):
        hits = sum(t == p == c for t, p in zip(truth, predicted))
        recalls.append(hits / truth.count(c))
        scores.append(2 * hits / (truth.count(c) + predicted.count(c)))
    return sum(recalls) / len(recalls), sum(scores) / len(scores)


# %% 08.5 wrong: F1 of the mean precision and the mean recall, again
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    hits = [sum(t == p == c for t, p in zip(truth, predicted)) for c in range(classes)]
    occur = [c for c in range(classes) if c in truth or c in predicted]
    balanced = [hits[c] / truth.count(c) for c in range(classes) if c in truth]
    recall = sum(hits[c] / max(truth.count(c), 1) for c in occur) / len(occur)
    precision = sum(hits[c] / max(predicted.count(c), 1) for c in occur) / len(occur)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return sum(balanced) / len(balanced), f1


# %% 08.5 wrong: a class that is never hit is left out of macro F1
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in range(classes):
        h = sum(1 for t, p in zip(truth, predicted) if t == c and p == c)
        t_c, p_c = truth.count(c), predicted.count(c)
        if t_c:
            recalls.append(h / t_c)
        if h:
            precision, recall = h / p_c, h / t_c
            scores.append(2 * precision * recall / (precision + recall))
    return sum(recalls) / len(recalls), sum(scores) / max(len(scores), 1)


# %% 08.5 wrong: divides by zero where a class is never predicted
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in range(classes):
        if c not in truth and c not in predicted:
            continue
        hits = sum(t == c and p == c for t, p in zip(truth, predicted))
        precision = hits / predicted.count(c)
        recall = hits / truth.count(c) if c in truth else 0.0
        if c in truth:
            recalls.append(recall)
        scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    return sum(recalls) / len(recalls), sum(scores) / len(scores)


# %% 08.5 right: counting in loops
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    recalls, scores = [], []
    for c in range(classes):
        hits = sum(t == c and p == c for t, p in zip(truth, predicted))
        true, said = list(truth).count(c), list(predicted).count(c)
        if true > 0:
            recalls.append(hits / true)
        if true + said > 0:
            scores.append(2 * hits / (true + said))
    return sum(recalls) / len(recalls), sum(scores) / len(scores)


# %% 08.5 right: the confusion matrix
def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    cells = torch.tensor(truth) * classes + torch.tensor(predicted)
    matrix = torch.bincount(cells, minlength=classes * classes).view(classes, classes).double()
    hits, true, said = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    occurs = true > 0
    either = occurs | (said > 0)
    recall = (hits[occurs] / true[occurs]).mean()
    f1 = (2 * hits[either] / (true + said)[either]).mean()
    return recall.item(), f1.item()
