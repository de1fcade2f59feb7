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
