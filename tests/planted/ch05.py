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
    def kept(p):
        reached = p.cumsum(-1) >= top_p
        return ~torch.cat((torch.zeros_like(reached[:, :2]), reached[:, :-2]), -1)  # moved by two places, not by one

    return _nucleus(logits, kept)


def nucleus_one_more_at_the_limit(logits, top_p):
    return _nucleus(logits, lambda p: p.cumsum(-1) - p <= top_p)


def nucleus_above_top_p(logits, top_p):
    return logits.masked_fill(logits.softmax(-1) <= top_p, -INF)


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


def nucleus_by_argsort(logits, top_p):
    p = logits.softmax(-1)
    order = p.argsort(dim=-1, descending=True)
    before = torch.nn.functional.pad(p.gather(-1, order).cumsum(-1)[:, :-1], (1, 0))
    return torch.where(before.gather(-1, order.argsort(-1)) < top_p, logits, -INF)


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


def bm25_sorted(query, passages, k1, b):
    return sorted(_score(query, passages, k1, b), reverse=True)


def bm25_occurrences(query, passages, k1, b):
    every = [word for passage in passages for word in passage]
    weight = {w: math.log(1 + (len(passages) - every.count(w) + 0.5) / (every.count(w) + 0.5)) for w in query}
    scores = [0.0] * len(passages)
    for word in query:
        scores = [
            score + weight[word] * one
            for score, one in zip(scores, _score([word], passages, k1, b, idf=lambda n, N: 1.0), strict=True)
        ]
    return scores


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


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "05.1": {
        nucleus_without_crossing: "The token that crosses top_p is left out; it belongs to the nucleus: 0.5 alone is below 0.7, 0.5 + 0.27 reaches it.",
        nucleus_empty: "A row has no token left. The one that crosses top_p belongs to the nucleus, so the likeliest always stays.",
        nucleus_one_more: "One token too many: 0.5 + 0.27 has reached 0.7 already.",
        nucleus_one_more_at_the_limit: "One token too many: 0.25 + 0.25 is 0.5, and *at least* top_p is reached.",
        nucleus_above_top_p: "Tokens with a probability above top_p are kept; the *sum* of the likeliest is what reaches top_p.",
        nucleus_by_threshold: "All tokens that are as likely as the last one stay; of equal ones only as many stay as are needed.",
        nucleus_in_sorted_order: "The mask is still in sorted order: bring it back to the vocabulary's with the places that `sort` returned.",
        nucleus_unsorted: "The sum runs over the vocabulary in its own order; sort by probability first.",
        nucleus_ascending: "The unlikeliest tokens are kept: sort from the likeliest down.",
        nucleus_zeros: "The tokens outside get 0. As a logit, 0 is no small number: use -inf.",
        nucleus_probabilities: "These are probabilities, made to sum to 1 again. Return logits, with -inf outside.",
        nucleus_in_place: "Your code changes its input `logits` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
        nucleus_smallest_number: "A large negative number is not enough: with -inf the probability is exactly 0.",
        nucleus_min_p: "Compared with the likeliest token: that is min-p. Here the *sum* of the likeliest ones reaches top_p.",
    },
    "05.2": {
        step_without_scores: "The beams' own scores are forgotten: an unlikely beginning with a sure next token must not win.",
        step_each_beam: "The best tokens of each beam, sorted: still one from each beam; choose over all beams together.",
        step_product: "Log-probabilities are multiplied; the product of probabilities is the sum of their logarithms.",
        step_probabilities: "Probabilities are added; it is log-probabilities that add up.",
        step_by_beams: "The remainder is taken by the number of beams; a flat place is `beam * vocab + token`.",
        step_swapped: "`beams` and `tokens` are swapped.",
        step_worst_first: "That order is not best first.",
        step_in_place: "Your code changes its input `logprobs` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
        step_true_division: "`beams` are places: whole numbers. Divide with `//`, not `/`.",
        step_lists: "Your function returns a list instead of a Tensor.",
        step_fixed_vocabulary: "You divide by 4; the vocabulary has `logprobs.shape[1]` tokens, here 7.",
        step_two_of_each: "Of each beam only the best 2 are looked at; all k may come from one beam.",
    },
    "05.3": {
        prompt_with_space: "The prompt ends in a space. The space belongs to the answer's first token: take it off.",
        prompt_without_between: "`between` is missing after the question.",
        prompt_with_after: "`after` comes after the last line; the answer must follow there.",
        prompt_reversed: "The examples are in reverse order.",
        prompt_fixed: "': ' and a new line stand in your code; `between` and `after` say what is wanted.",
        prompt_joined: "`after` is missing before the question.",
        prompt_question_first: "The question stands first; it comes last.",
        prompt_stripped: "Only spaces are taken off, not new lines: `.rstrip(' ')`.",
        prompt_one_character_less: "The last character of `between` is cut off, whatever it is.",
        prompt_between_stripped: "The space before the mark is gone, too; only the prompt's end loses its spaces.",
        prompt_swapped: "Question and answer of the examples are swapped.",
    },
    "05.4": {
        bm25_without_idf: "The rarity of the words is forgotten: each counts the same.",
        bm25_without_length: "The length is forgotten: b has no effect.",
        bm25_negative_idf: "The 1 inside of the logarithm is missing: a word that most passages hold gets a negative weight.",
        bm25_tfidf: "That is log(N / n), the weight of tf-idf; BM25's is log(1 + (N - n + 1/2) / (n + 1/2)).",
        bm25_other_variant: "The factor k1 + 1 belongs to another variant; ours, Lucene's, leaves it out.",
        bm25_swapped_b: "b and 1 - b are swapped.",
        bm25_undamped: "The term frequency is not damped: that is f * idf; divide by f + k1 (...).",
        bm25_upside_down: "The quotient of the lengths is upside down: a long passage must score less.",
        bm25_bracket: "k1 stands before 1 - b only; it multiplies the whole bracket.",
        bm25_division_by_zero: "That is log(N / n), the weight of tf-idf; BM25's is log(1 + (N - n + 1/2) / (n + 1/2)).",
        bm25_substrings: "Letters inside of other words are counted ('a' in 'ada'); compare whole words.",
        bm25_sorted: "The scores are sorted; they stand in the order of the passages.",
        bm25_occurrences: "n counts how often the word occurs; it is the number of passages that hold it.",
        bm25_each_word_once: "A word that the question has twice counts twice.",
    },
    "05.5": {
        prepend_behind: "The vectors come after the text; a causal model would read the text before them.",
        prepend_mask_forgotten: "The mask is as long as before. It needs a 1 for each vector.",
        prepend_mask_of_zeros: "The mask has zeros for the vectors: then nobody may look at them.",
        prepend_mask_behind: "The ones come after the mask; the vectors come first.",
        prepend_detached: "No gradient flows to the vectors. Is there a `.detach()`, `no_grad` or `.data`?",
        prepend_one_each: "Each row has a vector of its own; every row gets all of them.",
        prepend_all_visible: "All places are visible: the padding of the text must stay hidden.",
        prepend_only_embeddings: "Two tensors are wanted: `return embeddings, attention_mask`.",
    },
}
RIGHT = {
    "05.1": [nucleus_by_rows, nucleus_by_argsort],
    "05.2": [step_by_loop, step_by_unravel],
    "05.3": [prompt_by_join, prompt_by_loop],
    "05.4": [bm25_by_counters, bm25_as_tensor],
    "05.5": [prepend_by_repeat, prepend_by_rows],
}
