# %% 05.1 wrong: the token that crosses top_p is dropped, only the first is saved
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered, order = logits.sort(dim=-1, descending=True)
    outside = ordered.softmax(-1).cumsum(-1) > top_p
    outside[:, 0] = False
    return logits.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), float("-inf"))

# %% 05.1 wrong: one token too many where the sum is exactly top_p
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered, order = logits.sort(dim=-1, descending=True)
    p = ordered.softmax(-1)
    before = p.cumsum(-1) - p
    outside = before > top_p
    return logits.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), float("-inf"))

# %% 05.1 wrong: the mask stays in sorted order
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    p = logits.softmax(-1).sort(dim=-1, descending=True).values
    outside = (p.cumsum(-1) - p) >= top_p
    return logits.masked_fill(outside, float("-inf"))

# %% 05.1 wrong: every row keeps as many tokens as the first row
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    p, order = logits.softmax(-1).sort(dim=-1, descending=True)
    count = int(((p.cumsum(-1) - p)[0] < top_p).sum())
    keep = torch.zeros_like(logits, dtype=torch.bool).scatter(1, order[:, :count], True)
    return logits.masked_fill(~keep, float("-inf"))

# %% 05.1 wrong: all tokens that tie with the last one stay
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered = logits.sort(dim=-1, descending=True).values
    p = ordered.softmax(-1)
    count = ((p.cumsum(-1) - p) < top_p).sum(-1, keepdim=True)
    smallest = ordered.gather(-1, count - 1)
    return logits.masked_fill(logits < smallest, float("-inf"))

# %% 05.1 wrong: the given logits are changed in place
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    if top_p >= 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    p = ordered.softmax(-1)
    outside = (p.cumsum(-1) - p) >= top_p
    logits[torch.zeros_like(outside).scatter(1, order, outside)] = float("-inf")
    return logits

# %% 05.1 wrong: the smallest finite number stands for -inf
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered, order = logits.sort(dim=-1, descending=True)
    p = ordered.softmax(-1)
    outside = (p.cumsum(-1) - p) >= top_p
    return logits.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), torch.finfo(logits.dtype).min)

# %% 05.1 wrong: renormalised log-probabilities instead of the logits
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered, order = logits.sort(dim=-1, descending=True)
    p = ordered.softmax(-1)
    outside = (p.cumsum(-1) - p) >= top_p
    kept = logits.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), float("-inf"))
    return kept.log_softmax(-1)

# %% 05.1 right: sort, mask, scatter
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    if top_p >= 1:
        return logits.clone()
    ordered, order = logits.sort(dim=-1, descending=True)
    reached = ordered.double().softmax(-1).cumsum(-1) >= top_p
    outside = torch.cat([torch.zeros_like(reached[:, :1]), reached[:, :-1]], dim=-1)
    return logits.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), float("-inf"))

# %% 05.1 right: terse, by two argsorts
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    p, order = logits.double().softmax(-1).sort(descending=True)
    inside = ((p.cumsum(-1) - p) < top_p).gather(-1, order.argsort(-1))
    return logits.masked_fill(~inside, float("-inf")) if top_p < 1 else logits.clone()

# %% 05.1 right: by a loop over the tokens
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    kept = torch.full_like(logits, float("-inf"))
    for r in range(logits.shape[0]):
        p = logits[r].double().softmax(0).tolist()
        total = 0.0
        for i in sorted(range(len(p)), key=lambda i: p[i], reverse=True):
            if total >= top_p and top_p < 1:
                break
            kept[r, i] = logits[r, i]
            total += p[i]
    return kept

# %% 05.2 wrong: divides by the number of beams instead of the vocabulary
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    best, index = (scores[:, None] + logprobs).flatten().topk(k)
    return best, index % len(scores), index // len(scores)

# %% 05.2 wrong: a view that fails on logprobs that are not contiguous
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    vocab = logprobs.shape[-1]
    best, index = (logprobs.view(-1) + scores.repeat_interleave(vocab)).topk(k)
    return best, index // vocab, index % vocab

# %% 05.2 wrong: each beam may be continued only once
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    best, tokens = logprobs.max(dim=-1)
    best, beams = (scores + best).topk(min(k, len(scores)))
    return best, beams, tokens[beams]

# %% 05.2 wrong: the scores are added to the given logprobs in place
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    logprobs += scores[:, None]
    best, index = logprobs.flatten().topk(k)
    return best, index // logprobs.shape[-1], index % logprobs.shape[-1]

# %% 05.2 wrong: the beams come back as floating point numbers
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    vocab = logprobs.shape[-1]
    best, index = (scores[:, None] + logprobs).flatten().topk(k)
    return best, (index / vocab).floor(), index % vocab

# %% 05.2 wrong: the best is last
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    vocab = logprobs.shape[-1]
    ordered, order = (scores[:, None] + logprobs).flatten().sort()
    return ordered[-k:], order[-k:] // vocab, order[-k:] % vocab

# %% 05.2 wrong: k is ignored, as many as there are beams come back
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    beams, vocab = logprobs.shape
    best, index = (scores.unsqueeze(1) + logprobs).reshape(-1).topk(beams)
    return best, index // vocab, index % vocab

# %% 05.2 wrong: the returned score is that of the last token alone
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    index = (scores[:, None] + logprobs).flatten().topk(k).indices
    beams, tokens = index // logprobs.shape[1], index % logprobs.shape[1]
    return logprobs[beams, tokens], beams, tokens

# %% 05.2 right: terse
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    best, i = (scores[:, None] + logprobs).flatten().topk(k)
    return best, i // logprobs.shape[1], i % logprobs.shape[1]

# %% 05.2 right: the k best of each beam, then the k best of those
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    values, tokens = logprobs.topk(min(k, logprobs.shape[1]), dim=1)
    totals = scores.unsqueeze(1) + values
    beams = torch.arange(len(scores), device=scores.device)[:, None].expand_as(tokens)
    best, index = totals.reshape(-1).sort(descending=True)
    index = index[:k]
    return best[:k], beams.reshape(-1)[index], tokens.reshape(-1)[index]

# %% 05.2 right: by a loop over all pairs
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    found = []
    for beam, score in enumerate(scores.tolist()):
        for token, logprob in enumerate(logprobs[beam].tolist()):
            found.append((score + logprob, beam, token))
    found.sort(key=lambda entry: -entry[0])
    totals, beams, tokens = zip(*found[:k], strict=True)
    device = scores.device
    return (
        torch.tensor(totals, dtype=scores.dtype, device=device),
        torch.tensor(beams, device=device),
        torch.tensor(tokens, device=device),
    )

# %% 05.3 wrong: a new line at the end is stripped as well
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    shown = "".join(f"{q}{between}{a}{after}" for q, a in examples)
    return shown + question + between.rstrip()

# %% 05.3 wrong: the spaces in front of between go too
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    shown = "".join(f"{q}{between}{a}{after}" for q, a in examples)
    return shown + question + between.strip(" ")

# %% 05.3 wrong: only one space is taken away
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    shown = "".join(f"{q}{between}{a}{after}" for q, a in examples)
    return shown + question + between.removesuffix(" ")

# %% 05.3 wrong: the examples lose the space as well
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    between = between.rstrip(" ")
    prompt = ""
    for q, a in examples:
        prompt += q + between + a + after
    return prompt + question + between

# %% 05.3 wrong: after is missing behind the last example
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    return after.join(q + between + a for q, a in examples) + question + between.rstrip(" ")

# %% 05.3 wrong: without examples the prompt begins with after
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    shown = after.join(q + between + a for q, a in examples)
    return shown + after + question + between.rstrip(" ")

# %% 05.3 wrong: of two examples with the same question only one is left
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    shown = [q + between + a + after for q, a in dict(examples).items()]
    return "".join(shown) + question + between.rstrip(" ")

# %% 05.3 wrong: the question is appended to the given list of examples
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    examples.append((question, ""))
    prompt = ""
    for i, (q, a) in enumerate(examples):
        prompt += q + between + a + after if i < len(examples) - 1 else q + between.rstrip(" ")
    return prompt

# %% 05.3 right: terse, one join
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    return after.join([q + between + a for q, a in examples] + [question + between.rstrip(" ")])

# %% 05.3 right: by loops, also over the spaces
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    prompt = ""
    for asked, answer in examples:
        prompt = prompt + asked
        prompt = prompt + between
        prompt = prompt + answer
        prompt = prompt + after
    end = between
    while end.endswith(" "):
        end = end[:-1]
    return prompt + question + end

# %% 05.3 right: by recursion
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    if not examples:
        return question + between.rstrip(" ")
    (first, answer), *rest = examples
    return f"{first}{between}{answer}{after}" + few_shot_prompt(rest, question, between, after)

# %% 05.4 wrong: the logarithm to base 2
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    if not passages:
        return []
    mean = sum(len(d) for d in passages) / len(passages)
    scores = []
    for d in passages:
        score = 0.0
        for w in query:
            n, f = sum(w in p for p in passages), d.count(w)
            if f:
                idf = math.log2(1 + (len(passages) - n + 0.5) / (n + 0.5))
                score += idf * f / (f + k1 * (1 - b + b * len(d) / mean))
        scores.append(score)
    return scores

# %% 05.4 wrong: a word that the query has twice counts once
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    if not passages:
        return []
    mean = sum(len(d) for d in passages) / len(passages)
    scores = [0.0] * len(passages)
    for w in set(query):
        n = sum(w in p for p in passages)
        idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
        for i, d in enumerate(passages):
            f = d.count(w)
            if f:
                scores[i] += idf * f / (f + k1 * (1 - b + b * len(d) / mean))
    return scores

# %% 05.4 wrong: n counts how often the word occurs, not the passages that hold it
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    if not passages:
        return []
    mean = sum(len(d) for d in passages) / len(passages)
    everything = [w for d in passages for w in d]
    scores = [0.0] * len(passages)
    for w in query:
        n = min(everything.count(w), len(passages))
        idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
        for i, d in enumerate(passages):
            f = d.count(w)
            if f:
                scores[i] += idf * f / (f + k1 * (1 - b + b * len(d) / mean))
    return scores

# %% 05.4 wrong: the classic weight without the 1, which can be negative
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    if not passages:
        return []
    mean = sum(len(d) for d in passages) / len(passages)
    scores = [0.0] * len(passages)
    for w in query:
        n = sum(w in p for p in passages)
        idf = math.log((len(passages) - n + 0.5) / (n + 0.5))
        for i, d in enumerate(passages):
            f = d.count(w)
            if f:
                scores[i] += idf * f / (f + k1 * (1 - b + b * len(d) / mean))
    return scores

# %% 05.4 wrong: the factor k1 + 1 of other variants
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    if not passages:
        return []
    mean = sum(len(d) for d in passages) / len(passages)
    scores = [0.0] * len(passages)
    for w in query:
        n = sum(w in p for p in passages)
        idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
        for i, d in enumerate(passages):
            f = d.count(w)
            if f:
                scores[i] += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(d) / mean))
    return scores

# %% 05.4 wrong: the mean length is rounded down
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    if not passages:
        return []
    mean = max(1, sum(len(d) for d in passages) // len(passages))
    scores = [0.0] * len(passages)
    for w in query:
        n = sum(w in p for p in passages)
        idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
        for i, d in enumerate(passages):
            f = d.count(w)
            if f:
                scores[i] += idf * f / (f + k1 * (1 - b + b * len(d) / mean))
    return scores

# %% 05.4 wrong: parts of longer words are counted too
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    if not passages:
        return []
    mean = sum(len(d) for d in passages) / len(passages)
    texts = [" ".join(d) for d in passages]
    scores = [0.0] * len(passages)
    for w in query:
        n = sum(w in text for text in texts)
        idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
        for i, text in enumerate(texts):
            f = text.count(w)
            if f:
                scores[i] += idf * f / (f + k1 * (1 - b + b * len(passages[i]) / mean))
    return scores

# %% 05.4 wrong: the given query is used up
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    if not passages:
        return []
    mean = sum(len(d) for d in passages) / len(passages)
    scores = [0.0] * len(passages)
    while query:
        w = query.pop()
        n = sum(w in p for p in passages)
        idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
        for i, d in enumerate(passages):
            f = d.count(w)
            if f:
                scores[i] += idf * f / (f + k1 * (1 - b + b * len(d) / mean))
    return scores

# %% 05.4 right: terse
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    from math import log

    size, words = len(passages), sum(map(len, passages))
    idf = {w: log(1 + (size - n + 0.5) / (n + 0.5)) for w in query for n in [sum(w in d for d in passages)]}
    norm = [k1 * (1 - b + b * len(d) * size / max(words, 1)) for d in passages]
    return [
        float(sum(idf[w] * d.count(w) / (d.count(w) + s) for w in query if w in d))
        for d, s in zip(passages, norm, strict=True)
    ]

# %% 05.4 right: by plain loops
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    words = 0
    for passage in passages:
        words += len(passage)
    scores = []
    for passage in passages:
        score = 0.0
        for wanted in query:
            holding = 0
            for other_passage in passages:
                if wanted in other_passage:
                    holding += 1
            often = 0
            for word in passage:
                if word == wanted:
                    often += 1
            if often == 0:
                continue
            weight = math.log(1 + (len(passages) - holding + 0.5) / (holding + 0.5))
            length = len(passage) / (words / len(passages))
            score += weight * often / (often + k1 * (1 - b + b * length))
        scores.append(score)
    return scores

# %% 05.4 right: by numpy, a table of counts
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    from collections import Counter

    import numpy as np

    if not passages or not query:
        return [0.0] * len(passages)
    counters = [Counter(d) for d in passages]
    f = np.array([[c[w] for w in query] for c in counters], dtype=np.float64)
    n = (f > 0).sum(axis=0)
    idf = np.log1p((len(passages) - n + 0.5) / (n + 0.5))
    lengths = np.array([len(d) for d in passages], dtype=np.float64)
    norm = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-300))
    parts = np.divide(f, f + norm[:, None], out=np.zeros_like(f), where=f > 0)
    return (parts @ idf).tolist()

# %% 05.5 wrong: the mask hides the vectors
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = len(embeddings), len(vectors)
    front = vectors.unsqueeze(0).expand(batch, -1, -1)
    mask = torch.cat([attention_mask.new_zeros(batch, n), attention_mask], dim=1)
    return torch.cat([front, embeddings], dim=1), mask

# %% 05.5 wrong: the ones are put behind the mask
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = len(embeddings), len(vectors)
    front = vectors.unsqueeze(0).expand(batch, -1, -1)
    mask = torch.cat([attention_mask, attention_mask.new_ones(batch, n)], dim=1)
    return torch.cat([front, embeddings], dim=1), mask

# %% 05.5 wrong: no gradient reaches the vectors
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = len(embeddings), len(vectors)
    front = vectors.detach().clone().repeat(batch, 1, 1)
    mask = torch.cat([attention_mask.new_ones(batch, n), attention_mask], dim=1)
    return torch.cat([front, embeddings], dim=1), mask

# %% 05.5 wrong: the vectors are repeated one by one, so the texts get different ones
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, (n, hidden) = len(embeddings), vectors.shape
    front = vectors.repeat_interleave(batch, dim=0).view(batch, n, hidden)
    mask = torch.cat([attention_mask.new_ones(batch, n), attention_mask], dim=1)
    return torch.cat([front, embeddings], dim=1), mask

# %% 05.5 wrong: the mask is too short if there are more vectors than tokens
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    front = vectors[None].expand(len(embeddings), *vectors.shape)
    ones = torch.ones_like(attention_mask[:, : len(vectors)])
    return torch.cat([front, embeddings], dim=1), torch.cat([ones, attention_mask], dim=1)

# %% 05.5 wrong: the padding becomes visible
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    front = vectors[None].expand(len(embeddings), *vectors.shape)
    longer = torch.cat([front, embeddings], dim=1)
    return longer, torch.ones(longer.shape[:2], dtype=attention_mask.dtype, device=attention_mask.device)

# %% 05.5 wrong: the embeddings of the padding are set to 0 in place
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        embeddings[attention_mask == 0] = 0
    front = vectors[None].expand(len(embeddings), *vectors.shape)
    ones = attention_mask.new_ones(len(embeddings), len(vectors))
    return torch.cat([front, embeddings], dim=1), torch.cat([ones, attention_mask], dim=1)

# %% 05.5 wrong: calls itself for each text without an end
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    each = [
        prepend(vectors, embeddings[i : i + 1], attention_mask[i : i + 1]) for i in range(len(embeddings))
    ]
    return torch.cat([x for x, _ in each]), torch.cat([mask for _, mask in each])

# %% 05.5 right: expand and join
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    front = vectors.expand(len(embeddings), -1, -1)
    ones = attention_mask.new_ones(front.shape[:2])
    return torch.cat([front, embeddings], 1), torch.cat([ones, attention_mask], 1)

# %% 05.5 right: text by text
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    longer, masks = [], []
    for text, mask in zip(embeddings, attention_mask, strict=True):
        longer.append(torch.cat([vectors, text]))
        ones = torch.ones(len(vectors), dtype=mask.dtype, device=mask.device)
        masks.append(torch.cat([ones, mask]))
    return torch.stack(longer), torch.stack(masks)

# %% 05.5 right: fill a larger tensor
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, length, hidden = embeddings.shape
    n = vectors.shape[0]
    longer = embeddings.new_zeros(batch, n + length, hidden)
    longer[:, :n] = vectors
    longer[:, n:] = embeddings
    mask = torch.ones(batch, n + length, dtype=attention_mask.dtype, device=attention_mask.device)
    mask[:, n:] = attention_mask
    return longer, mask


# %% 05.1 wrong: the token that crosses top_p is dropped
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    values, order = logits.sort(dim=-1, descending=True)
    keep = values.softmax(-1).cumsum(-1) <= top_p
    keep[:, 0] = True
    return logits.masked_fill(~torch.zeros_like(keep).scatter(1, order, keep), float("-inf"))

# %% 05.1 wrong: all tokens that tie with the last one stay (another)
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    values = logits.sort(dim=-1, descending=True).values
    p = values.softmax(-1)
    count = (p.cumsum(-1) - p < top_p).sum(-1, keepdim=True)
    edge = values.gather(1, count - 1)
    return logits.masked_fill(logits < edge, float("-inf"))

# %% 05.1 wrong: the logits are overwritten
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    values, order = logits.sort(dim=-1, descending=True)
    p = values.softmax(-1)
    drop = p.cumsum(-1) - p >= top_p
    return logits.masked_fill_(torch.zeros_like(drop).scatter(1, order, drop), float("-inf"))

# %% 05.1 wrong: as many tokens in every row as in the first
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    values, order = logits.sort(dim=-1, descending=True)
    p = values[0].softmax(-1)
    count = int((p.cumsum(-1) - p < top_p).sum())
    out = torch.full_like(logits, float("-inf"))
    return out.scatter(1, order[:, :count], values[:, :count])

# %% 05.1 wrong: log-probabilities of the nucleus instead of the logits
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    p, order = logits.softmax(-1).sort(dim=-1, descending=True)
    drop = torch.zeros_like(p, dtype=torch.bool).scatter(1, order, p.cumsum(-1) - p >= top_p)
    return logits.masked_fill(drop, float("-inf")).log_softmax(-1)

# %% 05.1 wrong: left in sorted order
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    values, _ = logits.sort(dim=-1, descending=True)
    p = values.softmax(-1)
    return values.masked_fill(p.cumsum(-1) - p >= top_p, float("-inf"))

# %% 05.1 wrong: keeps each token that is likely enough on its own
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    p = logits.softmax(-1)
    keep = p >= (1 - top_p) * p.amax(-1, keepdim=True)
    return torch.where(keep, logits, float("-inf"))

# %% 05.1 right: sorted, cut, put back
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    z, order = logits.sort(descending=True)
    p = z.softmax(-1)
    drop = ((p.cumsum(-1) - p >= top_p) & (top_p < 1)).index_fill(-1, torch.tensor([0]), False)
    return logits.masked_fill(drop.gather(-1, order.argsort(-1)), float("-inf"))

# %% 05.1 right: token after token until it is enough
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    out = torch.full_like(logits, float("-inf"))
    for row in range(logits.shape[0]):
        chances = logits[row].softmax(-1).tolist()
        scores = logits[row].tolist()
        order = sorted(range(len(scores)), key=lambda token: -scores[token])
        together = 0.0
        for token in order:
            out[row, token] = logits[row, token]
            together += chances[token]
            if together >= top_p and top_p < 1:
                break
    return out

# %% 05.2 wrong: the log-probabilities are changed in place
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    logprobs += scores[:, None]
    best, index = logprobs.flatten().topk(k)
    return best, index // logprobs.shape[1], index % logprobs.shape[1]

# %% 05.2 wrong: the beams are floats
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    together = scores[:, None] + logprobs
    best, index = together.flatten().topk(k)
    return best, (index / together.shape[1]).floor(), index % together.shape[1]

# %% 05.2 wrong: each beam is continued only once
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    best, tokens = (scores[:, None] + logprobs).max(dim=1)
    best, beams = best.topk(min(k, len(best)))
    return best, beams, tokens[beams]

# %% 05.2 wrong: k from each beam first, which fails when k is above the vocabulary
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    each, tokens = logprobs.topk(k, dim=1)
    best, index = (scores[:, None] + each).flatten().topk(k)
    return best, index // k, tokens.flatten()[index]

# %% 05.2 wrong: a flat view of what may not be contiguous
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    vocab = logprobs.shape[1]
    together = logprobs.view(-1) + scores.repeat_interleave(vocab)
    best, index = together.topk(k)
    return best, index.div(vocab, rounding_mode="floor"), index.remainder(vocab)

# %% 05.2 wrong: chosen by the token alone, the beam's score is added later
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    _, index = logprobs.flatten().topk(k)
    beams, tokens = index // logprobs.shape[1], index % logprobs.shape[1]
    best, order = (scores[beams] + logprobs[beams, tokens]).sort(descending=True)
    return best, beams[order], tokens[order]

# %% 05.2 wrong: not sorted, in the order of the beams
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    together = (scores[:, None] + logprobs).flatten()
    index = together.topk(k).indices.sort().values
    return together[index], index // logprobs.shape[1], index % logprobs.shape[1]

# %% 05.2 right: one flat list
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    best, i = (scores[:, None] + logprobs).flatten().topk(k)
    return best, i // logprobs.shape[1], i % logprobs.shape[1]

# %% 05.2 right: all candidates in a Python list
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    candidates = []
    for beam in range(logprobs.shape[0]):
        for token, value in enumerate((logprobs[beam] + scores[beam]).tolist()):
            candidates.append((value, beam, token))
    candidates.sort(key=lambda candidate: candidate[0], reverse=True)
    values, beams, tokens = zip(*candidates[:k], strict=True)
    return torch.tensor(values, dtype=logprobs.dtype), torch.tensor(beams), torch.tensor(tokens)

# %% 05.3 wrong: new lines at the end of the mark go too
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    lines = "".join(q + between + a + after for q, a in examples)
    return lines + question + between.rstrip()

# %% 05.3 wrong: only one space goes
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    lines = "".join(q + between + a + after for q, a in examples)
    return lines + question + between.removesuffix(" ")

# %% 05.3 wrong: spaces at the beginning of the mark go too
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    return "".join([f"{q}{between}{a}{after}" for q, a in examples] + [question, between.strip(" ")])

# %% 05.3 wrong: the mark is shortened in the examples as well
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    between = between.rstrip(" ")
    return "".join(q + between + a + after for q, a in examples) + question + between

# %% 05.3 wrong: the open question is added to the given list
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    examples.append((question, ""))
    return after.join(q + between + a for q, a in examples).rstrip(" ")

# %% 05.3 wrong: nothing stands behind the last example
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    return after.join(q + between + a for q, a in examples) + question + between.rstrip(" ")

# %% 05.3 wrong: a stray mark before the question when there are no examples
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    return after.join(q + between + a for q, a in examples) + after + question + between.rstrip(" ")

# %% 05.3 right: one join
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    return "".join(q + between + a + after for q, a in examples) + question + between.rstrip(" ")

# %% 05.3 right: piece by piece, spaces taken off one by one
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    prompt = ""
    for i in range(len(examples)):
        asked, told = examples[i]
        prompt += asked
        prompt += between
        prompt += told
        prompt += after
    end = between
    while end.endswith(" "):
        end = end[:-1]
    return prompt + question + end

# %% 05.4 wrong: each word of the query counts once
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    n, mean = len(passages), sum(map(len, passages)) / max(len(passages), 1)
    scores = []
    for p in passages:
        score = 0.0
        for w in set(query):
            holds, f = sum(w in other for other in passages), p.count(w)
            idf = math.log(1 + (n - holds + 0.5) / (holds + 0.5))
            score += idf * f / (f + k1 * (1 - b + b * len(p) / mean))
        scores.append(score)
    return scores

# %% 05.4 wrong: occurrences are counted instead of the passages that hold the word
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    n, mean = len(passages), sum(map(len, passages)) / max(len(passages), 1)
    scores = []
    for p in passages:
        score = 0.0
        for w in query:
            holds, f = sum(other.count(w) for other in passages), p.count(w)
            idf = math.log(1 + max(n - holds + 0.5, 0.0) / (holds + 0.5))
            score += idf * f / (f + k1 * (1 - b + b * len(p) / mean))
        scores.append(score)
    return scores

# %% 05.4 wrong: k1 + 1 above the line
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    n, mean = len(passages), sum(map(len, passages)) / max(len(passages), 1)
    idf = {}
    for w in query:
        holds = sum(w in p for p in passages)
        idf[w] = math.log(1 + (n - holds + 0.5) / (holds + 0.5))
    return [
        sum(idf[w] * p.count(w) * (k1 + 1) / (p.count(w) + k1 * (1 - b + b * len(p) / mean)) for w in query)
        for p in passages
    ]

# %% 05.4 wrong: a word is found inside longer words
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    n, mean = len(passages), sum(map(len, passages)) / max(len(passages), 1)
    texts, scores = [" ".join(p) for p in passages], []
    for p, text in zip(passages, texts, strict=True):
        score = 0.0
        for w in query:
            holds, f = sum(w in other for other in texts), text.count(w)
            score += math.log(1 + (n - holds + 0.5) / (holds + 0.5)) * f / (f + k1 * (1 - b + b * len(p) / mean))
        scores.append(score)
    return scores

# %% 05.4 wrong: the usual k1 and b, whatever is given
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    k1, b = 1.5, 0.75
    n, mean = len(passages), sum(map(len, passages)) / max(len(passages), 1)
    scores = []
    for p in passages:
        score = 0.0
        for w in query:
            holds, f = sum(w in other for other in passages), p.count(w)
            score += math.log(1 + (n - holds + 0.5) / (holds + 0.5)) * f / (f + k1 * (1 - b + b * len(p) / mean))
        scores.append(score)
    return scores

# %% 05.4 wrong: a passage is as long as it has different words
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    lengths = [len(set(p)) for p in passages]
    n, mean = len(passages), sum(lengths) / max(len(lengths), 1)
    scores = []
    for p, length in zip(passages, lengths, strict=True):
        score = 0.0
        for w in query:
            holds, f = sum(w in other for other in passages), p.count(w)
            score += math.log(1 + (n - holds + 0.5) / (holds + 0.5)) * f / (f + k1 * (1 - b + b * length / mean))
        scores.append(score)
    return scores

# %% 05.4 wrong: the passages are sorted in place for counting
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import bisect
    import math

    for p in passages:
        p.sort()
    n, mean = len(passages), sum(map(len, passages)) / max(len(passages), 1)
    scores = [0.0] * n
    for w in query:
        often = [bisect.bisect_right(p, w) - bisect.bisect_left(p, w) for p in passages]
        holds = sum(f > 0 for f in often)
        idf = math.log(1 + (n - holds + 0.5) / (holds + 0.5))
        for i, f in enumerate(often):
            scores[i] += idf * f / (f + k1 * (1 - b + b * len(passages[i]) / mean))
    return scores

# %% 05.4 wrong: the classic weight without 1 +, negative for frequent words
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    n, mean = len(passages), sum(map(len, passages)) / max(len(passages), 1)
    scores = []
    for p in passages:
        score = 0.0
        for w in query:
            holds, f = sum(w in other for other in passages), p.count(w)
            score += math.log((n - holds + 0.5) / (holds + 0.5)) * f / (f + k1 * (1 - b + b * len(p) / mean))
        scores.append(score)
    return scores

# %% 05.4 right: two comprehensions
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    from math import log1p

    n, words = len(passages), sum(map(len, passages))
    held = {w: sum(w in p for p in passages) for w in query}
    idf = {w: log1p((n - h + 0.5) / (h + 0.5)) for w, h in held.items()}
    rest = [k1 * (1 - b + b * len(p) * n / words) for p in passages]
    return [sum((idf[w] * p.count(w) / (p.count(w) + r) for w in query), 0.0) for p, r in zip(passages, rest)]

# %% 05.4 right: plain loops
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    total = 0
    for passage in passages:
        total += len(passage)
    scores = []
    for passage in passages:
        score = 0.0
        for word in query:
            holds = 0
            for other in passages:
                if word in other:
                    holds += 1
            if holds == 0:
                continue
            often = 0
            for candidate in passage:
                if candidate == word:
                    often += 1
            weight = math.log(1 + (len(passages) - holds + 0.5) / (holds + 0.5))
            relative = len(passage) / (total / len(passages))
            score += weight * often / (often + k1 * (1 - b + b * relative))
        scores.append(score)
    return scores

# %% 05.5 wrong: the mask is made longer at its end
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = len(embeddings), len(vectors)
    longer = torch.cat((vectors.expand(batch, -1, -1), embeddings), dim=1)
    return longer, torch.cat((attention_mask, attention_mask.new_ones(batch, n)), dim=1)

# %% 05.5 wrong: the vectors are masked out
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = len(embeddings), len(vectors)
    longer = torch.cat((vectors.expand(batch, -1, -1), embeddings), dim=1)
    return longer, torch.cat((attention_mask.new_zeros(batch, n), attention_mask), dim=1)

# %% 05.5 wrong: no gradient reaches the vectors (another)
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, (n, hidden) = embeddings.shape[0], vectors.shape
    longer = embeddings.new_empty(batch, n + embeddings.shape[1], hidden)
    longer[:, :n] = vectors.detach()
    longer[:, n:] = embeddings
    return longer, torch.cat((attention_mask.new_ones(batch, n), attention_mask), dim=1)

# %% 05.5 wrong: one text only
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    longer = torch.cat((vectors[None], embeddings), dim=1)
    return longer, torch.cat((attention_mask.new_ones(1, len(vectors)), attention_mask), dim=1)

# %% 05.5 wrong: always ten vectors in the mask
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch = len(embeddings)
    longer = torch.cat((vectors.repeat(batch, 1, 1), embeddings), dim=1)
    return longer, torch.cat((attention_mask.new_ones(batch, 10), attention_mask), dim=1)

# %% 05.5 wrong: the vectors stand behind the text
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = len(embeddings), len(vectors)
    longer = torch.cat((embeddings, vectors.repeat(batch, 1, 1)), dim=1)
    return longer, torch.cat((attention_mask.new_ones(batch, n), attention_mask), dim=1)

# %% 05.5 wrong: the padding's embeddings are set to zero in what was given
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = len(embeddings), len(vectors)
    embeddings[attention_mask == 0] = 0
    longer = torch.cat((vectors.expand(batch, -1, -1), embeddings), dim=1)
    return longer, torch.cat((attention_mask.new_ones(batch, n), attention_mask), dim=1)

# %% 05.5 wrong: calls itself, one vector less each time, without an end
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch = len(embeddings)
    longer = torch.cat((vectors[-1:].expand(batch, -1, -1), embeddings), dim=1)
    return prepend(vectors[:-1], longer, torch.cat((attention_mask.new_ones(batch, 1), attention_mask), dim=1))

# %% 05.5 right: two lines of torch.cat
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    b, n = len(embeddings), len(vectors)
    ones = attention_mask.new_ones(b, n)
    return torch.cat((vectors.expand(b, -1, -1), embeddings), 1), torch.cat((ones, attention_mask), 1)

# %% 05.5 right: text by text (another)
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    texts, masks = [], []
    for text, mask in zip(embeddings, attention_mask, strict=True):
        texts.append(torch.cat([vectors, text], dim=0))
        masks.append(torch.cat([torch.ones(len(vectors), dtype=mask.dtype, device=mask.device), mask]))
    return torch.stack(texts), torch.stack(masks)

# %% 05.1 wrong: cuts by value, so all equally likely tokens at the edge stay
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered = logits.sort(-1, descending=True).values
    p = ordered.softmax(-1)
    needed = (p.cumsum(-1) - p < top_p).sum(-1, keepdim=True).clamp(min=1)
    return logits.masked_fill(logits < ordered.gather(-1, needed - 1), float("-inf"))


# %% 05.1 wrong: one token more when the probabilities add up to top_p exactly
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered, index = logits.sort(-1, descending=True)
    p = ordered.softmax(-1)
    out = p.cumsum(-1) - p > top_p
    return logits.masked_fill(torch.zeros_like(out).scatter(-1, index, out), float("-inf"))


# %% 05.1 wrong: the first row decides for all rows how many tokens stay
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered, index = logits.sort(-1, descending=True)
    p = ordered[0].softmax(-1)
    needed = int((p.cumsum(-1) - p < top_p).sum())
    kept = torch.full_like(logits, float("-inf"))
    return kept.scatter(-1, index[:, :needed], ordered[:, :needed])


# %% 05.1 right: token by token, row by row
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    kept = torch.full_like(logits, float("-inf"))
    for i, row in enumerate(logits):
        p, together = row.softmax(-1).tolist(), 0.0
        for token in sorted(range(len(p)), key=lambda t: -p[t]):
            kept[i, token] = row[token]
            together += p[token]
            if together >= top_p:
                break
    return kept


# %% 05.2 wrong: adds the scores to the given log-probabilities in place
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    logprobs += scores[:, None]
    best, place = logprobs.reshape(-1).topk(k)
    return best, place // logprobs.shape[1], place % logprobs.shape[1]


# %% 05.2 wrong: flattens with view, which a view that is not contiguous does not allow
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    vocab = logprobs.shape[1]
    best, place = (logprobs.view(-1) + scores.repeat_interleave(vocab)).topk(k)
    return best, place // vocab, place % vocab


# %% 05.2 wrong: asks every beam for k tokens, more than the vocabulary may have
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    own, tokens = logprobs.topk(k, dim=1)
    best, place = (own + scores[:, None]).flatten().topk(k)
    return best, place // k, tokens.flatten()[place]


# %% 05.2 right: sorts all of them
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    longer = torch.cat([score + row for score, row in zip(scores, logprobs)])
    place = longer.argsort(descending=True, stable=True)[:k]
    beams = place.div(logprobs.shape[1], rounding_mode="floor")
    return longer[place], beams, place - beams * logprobs.shape[1]


# %% 05.3 wrong: calls itself for the beginning, where the spaces go as well
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    ending = question + between.rstrip(" ")
    if not examples:
        return ending
    asked, answer = examples[-1]
    return few_shot_prompt(examples[:-1], asked, between, after) + answer + after + ending


# %% 05.3 wrong: the question is appended to the caller's list of examples
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    examples.append((question, ""))
    text = after.join(asked + between + answer for asked, answer in examples)
    return text.rstrip(" ")


# %% 05.3 wrong: only one space at the end goes
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    text = "".join(f"{asked}{between}{answer}{after}" for asked, answer in examples)
    return text + question + between.removesuffix(" ")


# %% 05.3 right: a loop that drops spaces one by one
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    prompt = ""
    for asked, answer in examples:
        prompt += asked
        prompt += between
        prompt += answer
        prompt += after
    ending = between
    while ending[-1:] == " ":
        ending = ending[:-1]
    return prompt + question + ending


# %% 05.4 wrong: the classic form with k1 + 1 above the fraction
import math


def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    mean = sum(map(len, passages)) / len(passages)
    scores = []
    for passage in passages:
        score = 0.0
        for w in query:
            n, f = sum(w in p for p in passages), passage.count(w)
            idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
            score += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(passage) / mean))
        scores.append(score)
    return scores


# %% 05.4 wrong: the mean length is rounded down (a third)
import math


def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    mean = sum(map(len, passages)) // len(passages)
    scores = [0.0] * len(passages)
    for w in query:
        n = sum(w in p for p in passages)
        idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
        for i, passage in enumerate(passages):
            f = passage.count(w)
            scores[i] += idf * f / (f + k1 * (1 - b + b * len(passage) / mean))
    return scores


# %% 05.4 wrong: finds words also inside longer words
import math


def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    texts, mean = [" ".join(p) for p in passages], sum(map(len, passages)) / len(passages)
    scores = [0.0] * len(passages)
    for w in query:
        n = sum(w in text for text in texts)
        idf = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
        for i, text in enumerate(texts):
            f = text.count(w)
            scores[i] += idf * f / (f + k1 * (1 - b + b * len(passages[i]) / mean))
    return scores


# %% 05.4 right: counts first, then a matrix of words and passages in torch
from collections import Counter


def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    if not query or not passages:
        return [0.0] * len(passages)
    counted = [Counter(passage) for passage in passages]
    f = torch.tensor([[float(c[w]) for w in query] for c in counted], dtype=torch.float64)
    sizes = torch.tensor([float(len(p)) for p in passages], dtype=torch.float64)
    n = (f > 0).double().sum(0)
    idf = torch.log1p((len(passages) - n + 0.5) / (n + 0.5))
    held_back = k1 * (1 - b + b * sizes / sizes.mean())
    return (f / (f + held_back[:, None]) @ idf).tolist()


# %% 05.5 wrong: the new mask is 1 everywhere, so padding is seen
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    whole = torch.cat((vectors.expand(len(embeddings), -1, -1), embeddings), 1)
    return whole, attention_mask.new_ones(whole.shape[:2])


# %% 05.5 wrong: the vectors are copied without their gradient
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    (batch, length, hidden), n = embeddings.shape, len(vectors)
    whole = embeddings.new_empty(batch, n + length, hidden)
    whole[:, :n], whole[:, n:] = vectors.data, embeddings
    return whole, torch.cat((attention_mask.new_ones(batch, n), attention_mask), 1)


# %% 05.5 wrong: each vector is repeated in a row, so the texts get different ones
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = len(embeddings), len(vectors)
    copies = vectors.repeat_interleave(batch, 0).view(batch, n, -1)
    ones = torch.ones(batch, n, dtype=attention_mask.dtype, device=attention_mask.device)
    return torch.cat((copies, embeddings), 1), torch.cat((ones, attention_mask), 1)


# %% 05.5 right: text by text (a third)
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    ones = attention_mask.new_ones(len(vectors))
    texts, masks = [], []
    for text, mask in zip(embeddings, attention_mask):
        texts.append(torch.cat((vectors, text)))
        masks.append(torch.cat((ones, mask)))
    return torch.stack(texts), torch.stack(masks)


# %% 05.1 wrong: the token that crosses the border is dropped, so the kept ones add up to less than top_p
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
    keep = ordered.cumsum(-1) <= top_p
    keep[..., 0] = True
    keep = torch.zeros_like(keep).scatter(-1, order, keep)
    return logits.masked_fill(~keep, float("-inf"))


# %% 05.1 wrong: a threshold on the logits keeps all of the equally likely ones at the edge
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    ordered = logits.sort(dim=-1, descending=True).values
    total = ordered.softmax(-1).cumsum(-1)
    needed = (total < top_p).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    lowest = ordered.gather(-1, needed)
    return torch.where(logits >= lowest, logits, float("-inf"))


# %% 05.1 wrong: writes -inf into the logits that were given
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    p, order = torch.sort(torch.softmax(logits, dim=-1), dim=-1, descending=True)
    before = torch.nn.functional.pad(p.cumsum(-1)[..., :-1], (1, 0))
    out = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= top_p)
    logits[out] = float("-inf")
    return logits


# %% 05.1 wrong: one size of the nucleus for the whole batch, that of the least sure row
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    p = logits.softmax(-1).sort(dim=-1, descending=True).values
    before = torch.nn.functional.pad(p.cumsum(-1)[:, :-1], (1, 0))
    size = int((before < top_p).sum(-1).max())
    best = logits.topk(size, dim=-1)
    return torch.full_like(logits, float("-inf")).scatter(-1, best.indices, best.values)


# %% 05.1 wrong: flat places with view, which a transposed view does not allow
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    batch, vocab = logits.shape
    p, order = logits.softmax(-1).sort(dim=-1, descending=True)
    before = torch.nn.functional.pad(p.cumsum(-1)[:, :-1], (1, 0))
    row = torch.arange(batch, device=logits.device)[:, None] * vocab
    keep = (row + order)[before < top_p]
    flat = logits.view(-1)
    result = torch.full((batch * vocab,), float("-inf"), dtype=logits.dtype, device=logits.device)
    result[keep] = flat[keep]
    return result.view(batch, vocab)


# %% 05.1 right: sort, what stands before each token, scatter back
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    if top_p >= 1:
        return logits.clone()
    p, order = logits.softmax(-1).sort(dim=-1, descending=True)
    before = torch.nn.functional.pad(p.cumsum(-1)[:, :-1], (1, 0))
    outside = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return logits.masked_fill(outside, float("-inf"))


# %% 05.1 right: a loop over the rows that collects tokens until it is enough
def nucleus(logits: Tensor, top_p: float) -> Tensor:
    if top_p >= 1:
        return logits.clone()
    result = torch.full_like(logits, float("-inf"))
    for i, row in enumerate(logits):
        p = row.double().softmax(0).tolist()
        order = sorted(range(len(p)), key=lambda token: -p[token])
        total = 0.0
        for token in order:
            result[i, token] = row[token]
            total += p[token]
            if total >= top_p:
                break
    return result


# %% 05.2 wrong: takes the k best of every beam first, which fails where k is larger than the vocabulary
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    best, tokens = logprobs.topk(k, dim=-1)
    total = (scores[:, None] + best).flatten()
    top, place = total.topk(k)
    return top, place // k, tokens.flatten()[place]


# %% 05.2 wrong: view on log-probabilities that need not be contiguous
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    vocab = logprobs.shape[1]
    total = logprobs.view(-1) + scores.repeat_interleave(vocab)
    best, flat = torch.topk(total, k)
    return best, flat // vocab, flat % vocab


# %% 05.2 wrong: ranks by the whole beam, but returns the log-probability of the new token alone
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    vocab = logprobs.shape[1]
    flat = (scores.unsqueeze(1) + logprobs).flatten().topk(k).indices
    beams, tokens = flat // vocab, flat % vocab
    return logprobs[beams, tokens], beams, tokens


# %% 05.2 wrong: the numbers of the beams are floats
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    vocab = logprobs.shape[-1]
    best, flat = (scores[:, None] + logprobs).reshape(-1).topk(k)
    return best, torch.floor(flat / vocab), flat % vocab


# %% 05.2 wrong: adds the scores into the given log-probabilities
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    logprobs += scores[:, None]
    best, flat = logprobs.flatten().topk(k)
    beams = torch.div(flat, logprobs.shape[1], rounding_mode="floor")
    return best, beams, flat - beams * logprobs.shape[1]


# %% 05.2 right: one topk over all pairs
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    total = scores[:, None] + logprobs
    best, flat = total.reshape(-1).topk(k)
    return best, flat // logprobs.shape[1], flat % logprobs.shape[1]


# %% 05.2 right: a sorted list of candidates
def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    candidates = []
    for beam in range(len(scores)):
        for token, total in enumerate((logprobs[beam] + scores[beam]).tolist()):
            candidates.append((total, beam, token))
    candidates.sort(key=lambda candidate: candidate[0], reverse=True)
    best = candidates[:k]
    return (
        torch.tensor([total for total, _, _ in best], dtype=scores.dtype, device=scores.device),
        torch.tensor([beam for _, beam, _ in best], device=scores.device),
        torch.tensor([token for _, _, token in best], device=scores.device),
    )


# %% 05.3 wrong: strips all white space, new lines too
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    shots = "".join(f"{q}{between}{a}{after}" for q, a in examples)
    return shots + question + between.rstrip()


# %% 05.3 wrong: removes one space only
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    text = ""
    for q, a in examples:
        text += q + between + a + after
    return text + question + between.removesuffix(" ")


# %% 05.3 wrong: the space before the mark goes as well
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    parts = [q + between + a + after for q, a in examples]
    parts.append(question + between.strip(" "))
    return "".join(parts)


# %% 05.3 wrong: the examples, too, lose the space before the answer
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    between = between.rstrip(" ")
    return "".join(q + between + a + after for q, a in examples) + question + between


# %% 05.3 wrong: puts the question into the given list
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    examples.append((question, ""))
    lines = [q + between + a for q, a in examples]
    lines[-1] = lines[-1].rstrip(" ")
    return after.join(lines)


# %% 05.3 right: one join with after
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    lines = [q + between + a for q, a in examples]
    return after.join([*lines, question + between.rstrip(" ")])


# %% 05.3 right: string built step by step, spaces cut off one after the other
def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    prompt = ""
    for shown, answer in examples:
        prompt = prompt + shown
        prompt = prompt + between
        prompt = prompt + answer
        prompt = prompt + after
    tail = between
    while tail.endswith(" "):
        tail = tail[:-1]
    return prompt + question + tail


# %% 05.4 wrong: a word that the query has twice counts once, again
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    mean = sum(len(p) for p in passages) / len(passages)
    scores = []
    for passage in passages:
        score = 0.0
        for w in set(query):
            n = sum(w in p for p in passages)
            f = passage.count(w)
            idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
            score += idf * f / (f + k1 * (1 - b + b * len(passage) / mean))
        scores.append(score)
    return scores


# %% 05.4 wrong: n counts occurrences, not passages
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math
    from collections import Counter

    total = Counter(word for passage in passages for word in passage)
    mean = sum(map(len, passages)) / len(passages)
    result = []
    for passage in passages:
        counts, score = Counter(passage), 0.0
        for w in query:
            if counts[w]:
                n = min(total[w], len(passages))
                idf = math.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
                score += idf * counts[w] / (counts[w] + k1 * (1 - b + b * len(passage) / mean))
        result.append(score)
    return result


# %% 05.4 wrong: the factor k1 + 1 of other variants, again
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    count = len(passages)
    average = sum(len(p) for p in passages) / count

    def idf(w):
        n = sum(1 for p in passages if w in p)
        return math.log(1 + (count - n + 0.5) / (n + 0.5))

    def part(w, p):
        f = p.count(w)
        return f * (k1 + 1) / (f + k1 * (1 - b + b * len(p) / average))

    return [sum(idf(w) * part(w, p) for w in query) for p in passages]


# %% 05.4 wrong: counts words inside longer words
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    texts = [" ".join(p) for p in passages]
    mean = sum(map(len, passages)) / len(passages)
    scores = []
    for words, text in zip(passages, texts):
        score = 0.0
        for w in query:
            n = sum(w in other for other in texts)
            f = text.count(w)
            weight = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            score += weight * f / (f + k1 * (1 - b + b * len(words) / mean))
        scores.append(score)
    return scores


# %% 05.4 wrong: a word that no passage holds raises a KeyError
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    holding = {}
    for passage in passages:
        for w in set(passage):
            holding[w] = holding.get(w, 0) + 1
    idf = {w: math.log(1 + (len(passages) - n + 0.5) / (n + 0.5)) for w, n in holding.items()}
    mean = sum(map(len, passages)) / len(passages)
    scores = [0.0] * len(passages)
    for w in query:
        weight = idf[w]
        for i, passage in enumerate(passages):
            f = passage.count(w)
            scores[i] += weight * f / (f + k1 * (1 - b + b * len(passage) / mean))
    return scores


# %% 05.4 right: plain loops, again
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import math

    if not passages:
        return []
    mean = sum(len(p) for p in passages) / len(passages)
    scores = []
    for passage in passages:
        length = 1 - b + b * len(passage) / mean
        score = 0.0
        for w in query:
            f = passage.count(w)
            if f == 0:
                continue
            n = sum(w in p for p in passages)
            score += math.log(1 + (len(passages) - n + 0.5) / (n + 0.5)) * f / (f + k1 * length)
        scores.append(score)
    return scores


# %% 05.4 right: a matrix of counts in numpy
def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    import numpy as np

    if not passages:
        return []
    f = np.array([[p.count(w) for w in query] for p in passages], dtype=np.float64).reshape(len(passages), len(query))
    lengths = np.array([len(p) for p in passages], dtype=np.float64)
    n = (f > 0).sum(0)
    idf = np.log1p((len(passages) - n + 0.5) / (n + 0.5))
    penalty = k1 * (1 - b + b * lengths / lengths.mean())
    return (idf * f / (f + penalty[:, None])).sum(1).tolist()


# %% 05.5 wrong: detach cuts the vectors off from the gradient
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = len(embeddings), len(vectors)
    before = vectors.detach().clone()[None].expand(batch, -1, -1)
    ones = attention_mask.new_ones(batch, n)
    return torch.cat([before, embeddings], 1), torch.cat([ones, attention_mask], 1)


# %% 05.5 wrong: repeat_interleave mixes up the vectors of the rows
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, hidden = embeddings.shape
    n = vectors.shape[0]
    before = vectors.repeat_interleave(batch, dim=0).view(batch, n, hidden)
    ones = torch.ones(batch, n, dtype=attention_mask.dtype, device=attention_mask.device)
    return torch.cat((before, embeddings), dim=1), torch.cat((ones, attention_mask), dim=1)


# %% 05.5 wrong: the new mask is all ones, the padding is forgotten
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    longer = torch.cat([vectors.expand(len(embeddings), -1, -1), embeddings], dim=1)
    mask = attention_mask.new_ones(longer.shape[:2])
    return longer, mask


# %% 05.5 wrong: the ones stand behind the mask, not before it
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = embeddings.shape[0], vectors.shape[0]
    x = torch.cat([vectors.unsqueeze(0).repeat(batch, 1, 1), embeddings], dim=1)
    mask = torch.cat([attention_mask, attention_mask.new_ones(batch, n)], dim=1)
    return x, mask


# %% 05.5 wrong: the vectors stand behind the text, again
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, n = embeddings.shape[0], vectors.shape[0]
    x = torch.cat([embeddings, vectors.expand(batch, -1, -1)], dim=1)
    mask = torch.cat([attention_mask, attention_mask.new_ones(batch, n)], dim=1)
    return x, mask


# %% 05.5 right: expand and cat
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    batch = len(embeddings)
    ones = attention_mask.new_ones(batch, len(vectors))
    longer = torch.cat([vectors.expand(batch, -1, -1), embeddings], dim=1)
    return longer, torch.cat([ones, attention_mask], dim=1)


# %% 05.5 right: row by row, and pad for the mask
def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    rows = []
    for row in embeddings:
        rows.append(torch.cat([vectors, row], dim=0))
    return torch.stack(rows), torch.nn.functional.pad(attention_mask, (vectors.shape[0], 0), value=1)
