"""Planted bugs and other right answers of chapter 05."""

from __future__ import annotations

import math
from collections import Counter

import torch

INF = float("inf")


def _nucleus(logits, keep_sorted):
    ordered, places = logits.softmax(-1).sort(-1, descending=True)
    kept = keep_sorted(ordered)
    return logits.masked_fill(~torch.zeros_like(kept).scatter(-1, places, kept), -INF)


def nucleus_without_crossing(logits, top_p):
    return _nucleus(logits, lambda p: (p.cumsum(-1) <= top_p) | (torch.arange(p.shape[-1]) == 0))


def nucleus_empty(logits, top_p):
    return _nucleus(logits, lambda p: p.cumsum(-1) <= top_p)


def nucleus_one_more(logits, top_p):
    return _nucleus(logits, lambda p: p.cumsum(-1) - 2 * p < top_p - 0.5 * p)


def nucleus_in_sorted_order(logits, top_p):
    ordered = logits.softmax(-1).sort(-1, descending=True).values
    return logits.masked_fill(~(ordered.cumsum(-1) - ordered < top_p), -INF)


def nucleus_unsorted(logits, top_p):
    p = logits.softmax(-1)
    return logits.masked_fill(~(p.cumsum(-1) - p < top_p), -INF)


def nucleus_ascending(logits, top_p):
    ordered, places = logits.softmax(-1).sort(-1)
    kept = ordered.cumsum(-1) - ordered < top_p
    return logits.masked_fill(~torch.zeros_like(kept).scatter(-1, places, kept), -INF)


def nucleus_zeros(logits, top_p):
    return _nucleus(logits, lambda p: p.cumsum(-1) - p < top_p).masked_fill(
        _nucleus(logits, lambda p: p.cumsum(-1) - p < top_p).isinf(), 0.0
    )


def nucleus_probabilities(logits, top_p):
    return _nucleus(logits, lambda p: p.cumsum(-1) - p < top_p).softmax(-1)


def nucleus_in_place(logits, top_p):
    ordered, places = logits.softmax(-1).sort(-1, descending=True)
    kept = ordered.cumsum(-1) - ordered < top_p
    return logits.masked_fill_(~torch.zeros_like(kept).scatter(-1, places, kept), -INF)


def nucleus_by_rows(logits, top_p):
    out = torch.full_like(logits, -INF)
    for row, line in enumerate(logits):
        p, reached = line.softmax(-1), 0.0
        for token in p.argsort(descending=True).tolist():
            out[row, token] = line[token]
            reached += p[token].item()
            if reached >= top_p:
                break
    return out


def nucleus_by_threshold(logits, top_p):
    p = logits.softmax(-1)
    ordered = p.sort(-1, descending=True).values
    last = ((ordered.cumsum(-1) - ordered < top_p).sum(-1, keepdim=True) - 1).clamp(min=0)
    return torch.where(p >= ordered.gather(-1, last), logits, -INF)


def nucleus_smallest_number(logits, top_p):
    return _nucleus(logits, lambda p: p.cumsum(-1) - p < top_p).clamp(min=torch.finfo(logits.dtype).min)


def nucleus_min_p(logits, top_p):
    p = logits.softmax(-1)
    return logits.masked_fill(p < top_p * p.amax(-1, keepdim=True), -INF)


def _top(total, k):
    best = total.flatten().topk(k)
    return best.values, best.indices // total.shape[1], best.indices % total.shape[1]


def step_without_scores(scores, logprobs, k):
    return _top(logprobs, k)


def step_each_beam(scores, logprobs, k):
    best = (scores[:, None] + logprobs).max(1)
    order = best.values.argsort(descending=True)[:k]
    return best.values[order], order, best.indices[order]


def step_product(scores, logprobs, k):
    return _top(scores[:, None] * logprobs, k)


def step_probabilities(scores, logprobs, k):
    return _top(scores[:, None] + logprobs.exp(), k)


def step_by_beams(scores, logprobs, k):
    values, _, _ = _top(scores[:, None] + logprobs, k)
    places = (scores[:, None] + logprobs).flatten().topk(k).indices
    return values, places // len(scores), places % len(scores)


def step_swapped(scores, logprobs, k):
    values, beams, tokens = _top(scores[:, None] + logprobs, k)
    return values, tokens, beams


def step_worst_first(scores, logprobs, k):
    return tuple(part.flip(0) for part in _top(scores[:, None] + logprobs, k))


def step_true_division(scores, logprobs, k):
    best = (scores[:, None] + logprobs).flatten().topk(k)
    return best.values, best.indices / logprobs.shape[1], best.indices % logprobs.shape[1]


def step_lists(scores, logprobs, k):
    return tuple(part.tolist() for part in _top(scores[:, None] + logprobs, k))


def step_fixed_vocabulary(scores, logprobs, k):
    best = (scores[:, None] + logprobs).flatten().topk(k)
    return best.values, best.indices // 4, best.indices % 4


def step_two_of_each(scores, logprobs, k):
    values, tokens = (scores[:, None] + logprobs).topk(2)
    best = values.flatten().topk(k)
    return best.values, best.indices // 2, tokens.flatten()[best.indices]


def step_in_place(scores, logprobs, k):
    logprobs += scores[:, None]
    return _top(logprobs, k)


def step_by_loop(scores, logprobs, k):
    ways = [
        (float(scores[beam] + logprobs[beam, token]), beam, token)
        for beam in range(len(scores))
        for token in range(logprobs.shape[1])
    ]
    best = sorted(ways, key=lambda way: -way[0])[:k]
    return tuple(torch.tensor(part) for part in zip(*best, strict=True))


def step_by_unravel(scores, logprobs, k):
    total = scores.unsqueeze(1) + logprobs
    values, places = total.reshape(-1).sort(descending=True)
    beams, tokens = torch.unravel_index(places[:k], total.shape)
    return [values[:k], beams, tokens]


def prompt_with_space(examples, question, between, after):
    return "".join(f"{q}{between}{a}{after}" for q, a in examples) + question + between


def prompt_without_between(examples, question, between, after):
    return "".join(f"{q}{between}{a}{after}" for q, a in examples) + question


def prompt_with_after(examples, question, between, after):
    return "".join(f"{q}{between}{a}{after}" for q, a in examples) + question + between.rstrip() + after


def prompt_reversed(examples, question, between, after):
    return "".join(f"{q}{between}{a}{after}" for q, a in examples[::-1]) + question + between.rstrip()


def prompt_fixed(examples, question, between, after):
    return "".join(f"{q}: {a}\n" for q, a in examples) + f"{question}:"


def prompt_joined(examples, question, between, after):
    return after.join(f"{q}{between}{a}" for q, a in examples) + question + between.rstrip()


def prompt_question_first(examples, question, between, after):
    return question + between.rstrip() + after + "".join(f"{q}{between}{a}{after}" for q, a in examples)


def prompt_stripped(examples, question, between, after):
    return ("".join(f"{q}{between}{a}{after}" for q, a in examples) + question + between).strip()


def prompt_one_character_less(examples, question, between, after):
    return "".join(f"{q}{between}{a}{after}" for q, a in examples) + question + between[:-1]


def prompt_between_stripped(examples, question, between, after):
    return "".join(f"{q}{between}{a}{after}" for q, a in examples) + question + between.strip(" ")


def prompt_swapped(examples, question, between, after):
    return "".join(f"{a}{between}{q}{after}" for q, a in examples) + question + between.rstrip(" ")


def prompt_by_join(examples, question, between, after):
    return after.join([*(q + between + a for q, a in examples), question + between.rstrip(" ")])


def prompt_by_loop(examples, question, between, after):
    text = ""
    for asked, answer in examples:
        text += asked + between + answer + after
    return (text + question + between).rstrip(" ")


def _score(query, passages, k1, b, idf=None, tf=None):
    count, mean = len(passages), sum(map(len, passages)) / len(passages)
    scores = []
    for passage in passages:
        total = 0.0
        for word in query:
            n, f = sum(word in other for other in passages), passage.count(word)
            weight = math.log(1 + (count - n + 0.5) / (n + 0.5)) if idf is None else idf(n, count)
            relative = len(passage) / mean
            total += weight * (f / (f + k1 * (1 - b + b * relative)) if tf is None else tf(f, relative))
        scores.append(total)
    return scores


def bm25_without_idf(query, passages, k1, b):
    return _score(query, passages, k1, b, idf=lambda n, N: 1.0)


def bm25_without_length(query, passages, k1, b):
    return _score(query, passages, k1, b, tf=lambda f, r: f / (f + k1))


def bm25_negative_idf(query, passages, k1, b):
    return _score(query, passages, k1, b, idf=lambda n, N: math.log((N - n + 0.5) / (n + 0.5)))


def bm25_tfidf(query, passages, k1, b):
    return _score(query, passages, k1, b, idf=lambda n, N: math.log(N / n) if n else 0.0)


def bm25_other_variant(query, passages, k1, b):
    return _score(query, passages, k1, b, tf=lambda f, r: f * (k1 + 1) / (f + k1 * (1 - b + b * r)))


def bm25_swapped_b(query, passages, k1, b):
    return _score(query, passages, k1, b, tf=lambda f, r: f / (f + k1 * (b + (1 - b) * r)))


def bm25_undamped(query, passages, k1, b):
    return _score(query, passages, k1, b, tf=lambda f, r: f)


def bm25_upside_down(query, passages, k1, b):
    return _score(query, passages, k1, b, tf=lambda f, r: f / (f + k1 * (1 - b + b / r)))


def bm25_bracket(query, passages, k1, b):
    return _score(query, passages, k1, b, tf=lambda f, r: f / (f + k1 * (1 - b) + b * r))


def bm25_division_by_zero(query, passages, k1, b):
    return _score(query, passages, k1, b, idf=lambda n, N: math.log(1 + N / n - 1))


def bm25_substrings(query, passages, k1, b):
    count, mean = len(passages), sum(map(len, passages)) / len(passages)
    scores = [0.0] * count
    for word in query:
        n = sum(word in " ".join(p) for p in passages)
        for i, p in enumerate(passages):
            f = " ".join(p).count(word)
            weight = math.log(1 + (count - n + 0.5) / (n + 0.5))
            scores[i] += weight * f / (f + k1 * (1 - b + b * len(p) / mean))
    return scores


def bm25_each_word_once(query, passages, k1, b):
    return _score(sorted(set(query)), passages, k1, b)


def bm25_by_counters(query, passages, k1, b):
    counts = [Counter(passage) for passage in passages]
    mean = sum(len(passage) for passage in passages) / len(passages)
    holders = {word: sum(word in c for c in counts) for word in query}
    idf = {w: math.log1p((len(passages) - n + 0.5) / (n + 0.5)) for w, n in holders.items()}
    sizes = [k1 * (1 - b + b * len(p) / mean) for p in passages]
    return [sum(idf[w] * c[w] / (c[w] + s) for w in query) for c, s in zip(counts, sizes, strict=True)]


def bm25_as_tensor(query, passages, k1, b):
    lengths = torch.tensor([len(p) for p in passages], dtype=torch.float64)
    scores = torch.zeros(len(passages), dtype=torch.float64)
    for word in query:
        f = torch.tensor([p.count(word) for p in passages], dtype=torch.float64)
        n = (f > 0).sum()
        idf = torch.log(1 + (len(passages) - n + 0.5) / (n + 0.5))
        scores += idf * f / (f + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores


def prepend_behind(vectors, embeddings, attention_mask):
    tiled = vectors.expand(len(embeddings), -1, -1)
    ones = attention_mask.new_ones(len(embeddings), len(vectors))
    return torch.cat((embeddings, tiled), 1), torch.cat((attention_mask, ones), 1)


def prepend_mask_forgotten(vectors, embeddings, attention_mask):
    return torch.cat((vectors.expand(len(embeddings), -1, -1), embeddings), 1), attention_mask


def prepend_mask_of_zeros(vectors, embeddings, attention_mask):
    zeros = attention_mask.new_zeros(len(embeddings), len(vectors))
    return torch.cat((vectors.expand(len(embeddings), -1, -1), embeddings), 1), torch.cat((zeros, attention_mask), 1)


def prepend_mask_behind(vectors, embeddings, attention_mask):
    ones = attention_mask.new_ones(len(embeddings), len(vectors))
    return torch.cat((vectors.expand(len(embeddings), -1, -1), embeddings), 1), torch.cat((attention_mask, ones), 1)


def prepend_detached(vectors, embeddings, attention_mask):
    ones = attention_mask.new_ones(len(embeddings), len(vectors))
    tiled = vectors.detach().repeat(len(embeddings), 1, 1)
    return torch.cat((tiled, embeddings), 1), torch.cat((ones, attention_mask), 1)


def prepend_one_each(vectors, embeddings, attention_mask):
    ones = attention_mask.new_ones(len(embeddings), len(vectors))
    tiled = vectors[:, None].expand(-1, len(vectors), -1)
    return torch.cat((tiled, embeddings), 1), torch.cat((ones, attention_mask), 1)


def prepend_all_visible(vectors, embeddings, attention_mask):
    longer = torch.cat((vectors.expand(len(embeddings), -1, -1), embeddings), 1)
    return longer, torch.ones(longer.shape[:2], dtype=attention_mask.dtype)


def prepend_only_embeddings(vectors, embeddings, attention_mask):
    return torch.cat((vectors.expand(len(embeddings), -1, -1), embeddings), 1)


def prepend_by_repeat(vectors, embeddings, attention_mask):
    tiled = vectors.unsqueeze(0).repeat(embeddings.shape[0], 1, 1)
    ones = torch.ones(embeddings.shape[0], vectors.shape[0], dtype=attention_mask.dtype)
    return torch.cat([tiled, embeddings], dim=1), torch.cat([ones, attention_mask], dim=1)


def prepend_by_rows(vectors, embeddings, attention_mask):
    rows = torch.stack([torch.cat((vectors, text)) for text in embeddings])
    return [rows, torch.nn.functional.pad(attention_mask, (len(vectors), 0), value=1)]


BUGS = {
    "05.1": [
        nucleus_without_crossing,
        nucleus_empty,
        nucleus_one_more,
        nucleus_in_sorted_order,
        nucleus_unsorted,
        nucleus_ascending,
        nucleus_zeros,
        nucleus_probabilities,
        nucleus_in_place,
        nucleus_smallest_number,
        nucleus_min_p,
    ],
    "05.2": [
        step_without_scores,
        step_each_beam,
        step_product,
        step_probabilities,
        step_by_beams,
        step_swapped,
        step_worst_first,
        step_in_place,
        step_true_division,
        step_lists,
        step_fixed_vocabulary,
        step_two_of_each,
    ],
    "05.3": [
        prompt_with_space,
        prompt_without_between,
        prompt_with_after,
        prompt_reversed,
        prompt_fixed,
        prompt_joined,
        prompt_question_first,
        prompt_stripped,
        prompt_one_character_less,
        prompt_between_stripped,
        prompt_swapped,
    ],
    "05.4": [
        bm25_without_idf,
        bm25_without_length,
        bm25_negative_idf,
        bm25_tfidf,
        bm25_other_variant,
        bm25_swapped_b,
        bm25_undamped,
        bm25_upside_down,
        bm25_bracket,
        bm25_division_by_zero,
        bm25_substrings,
        bm25_each_word_once,
    ],
    "05.5": [
        prepend_behind,
        prepend_mask_forgotten,
        prepend_mask_of_zeros,
        prepend_mask_behind,
        prepend_detached,
        prepend_one_each,
        prepend_all_visible,
        prepend_only_embeddings,
    ],
}
RIGHT = {
    "05.1": [nucleus_by_rows, nucleus_by_threshold],
    "05.2": [step_by_loop, step_by_unravel],
    "05.3": [prompt_by_join, prompt_by_loop],
    "05.4": [bm25_by_counters, bm25_as_tensor],
    "05.5": [prepend_by_repeat, prepend_by_rows],
}
