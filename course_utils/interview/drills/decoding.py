"""Drills on choosing the next token: filters of a distribution, a beam, a vote, and a draft that is accepted or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import normal, uniform
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """logits (batch, vocabulary) with -inf for all but the k largest of each row; all are kept where k is larger."""
    kth = logits.topk(min(k, logits.shape[-1]), -1).values[:, -1:]
    return logits.masked_fill(logits < kth, -torch.inf)


top_k = Definition(
    top_k_filter,
    new=True,
    title="Top-k",
    level="screen",
    minutes=4,
    topics=("L3", "+"),
    statement="""
    Keep the k largest logits of each row and set all others to -inf, so that softmax gives them nothing. Where k is larger
    than the vocabulary, all are kept. No row has equal logits. logits: (batch, vocabulary). Result: as logits, a new tensor.
    """,
    cases=lambda: [
        Case(torch.tensor([[1.0, 3.0, 2.0]]), 2),
        Case(normal(1, 3, 6), 1),
        Case(normal(2, 2, 5) - 4, 3),
        Case(normal(3, 2, 4), 9),
    ],
    general="Not the k largest of each row, and -inf elsewhere.",
    hints=[
        "The k-th largest number of a row is its limit: what is smaller goes.",
        "`kth = logits.topk(min(k, logits.shape[-1]), -1).values[:, -1:]`; `logits.masked_fill(logits < kth, -torch.inf)`.",
    ],
)


def _topk(logits, k, fill=-math.inf, whole=False, strict=False, smallest=False):
    k = min(k, logits.shape[-1])
    ordered = (logits.flatten() if whole else logits).sort(-1, descending=not smallest).values
    limit = ordered[..., k - 1] if whole else ordered[:, k - 1 : k]
    gone = logits > limit if smallest else logits <= limit if strict else logits < limit
    return logits.masked_fill(gone, fill)


def _no_min(logits, k):
    return torch.zeros_like(logits) if k > logits.shape[-1] else _topk(logits, k)


top_k.plant(
    {
        "The others are set to 0, which is a logit like any other; it is -inf.": lambda logits, k: _topk(
            logits, k, 0.0
        ),
        "The k largest of the whole batch are kept; each row has its own.": lambda logits, k: _topk(
            logits, k, whole=True
        ),
        "The k-th itself is dropped: only k - 1 are left.": lambda logits, k: _topk(logits, k, strict=True),
        "The k smallest are kept.": lambda logits, k: _topk(logits, k, smallest=True),
        "Only the kept logits are returned; the shape must stay, with -inf at the others.": lambda logits, k: (
            logits.topk(min(k, logits.shape[-1]), -1).values
        ),
        "Where k is larger than the vocabulary all are kept.": _no_min,
    }
)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """logits (batch, vocabulary) with -inf outside the smallest set of tokens whose probabilities reach p."""
    ordered, order = logits.sort(-1, descending=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # what the larger ones have reached already
    gone = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(gone, -torch.inf)


top_p = Definition(
    top_p_filter,
    title="Top-p (nucleus)",
    level="onsite",
    minutes=10,
    topics=("L3", "+"),
    statement="""
    Keep, in each row, the fewest tokens of highest probability whose probabilities together reach p: the one that crosses
    p is kept, so at least one always is. All others get -inf. logits: (batch, vocabulary), without equal numbers in a row;
    0 < p <= 1. Result: as logits, each token at its own place.
    """,
    cases=lambda: [
        Case(torch.tensor([[0.1, 0.6, 0.3]]).log(), 0.8),
        Case(torch.tensor([[0.4, 0.1, 0.2, 0.3], [0.05, 0.9, 0.03, 0.02]]).log(), 0.5),
        Case(normal(1, 3, 6), 0.7),
        Case(2 * normal(2, 2, 5), 0.05),
        Case(normal(3, 2, 5), 1.0),
    ],
    general="Not the fewest tokens of highest probability that together reach p.",
    hints=[
        "Sort downwards, take the softmax, sum it up. A token stays if what came before it has not reached p. Then undo the "
        "sorting.",
        "`ordered, order = logits.sort(-1, descending=True)`; `probs = ordered.softmax(-1)`; `before = probs.cumsum(-1) - "
        "probs`; `gone = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)`.",
    ],
)


def _nucleus(logits, p, crossing=True, unsort=True, fill=-math.inf, descending=True, at_least=False, over=None):
    ordered, order = logits.sort(-1, descending=descending)
    probs = (ordered if over is None else over(ordered)).softmax(-1)
    reached = probs.cumsum(-1) - (probs if crossing else 0)
    gone = reached >= p if crossing else reached > p
    if at_least:
        gone[:, 0] = False
    gone = torch.zeros_like(gone).scatter(-1, order, gone) if unsort else gone
    return logits.masked_fill(gone, fill)


top_p.plant(
    {
        "The token that crosses p is dropped: the kept ones do not reach p, and none may be left.": lambda logits, p: (
            _nucleus(logits, p, crossing=False)
        ),
        "The token that crosses p is dropped; only the first is saved.": lambda logits, p: _nucleus(
            logits, p, crossing=False, at_least=True
        ),
        "The sorting is not undone: the mask falls on other tokens.": lambda logits, p: _nucleus(
            logits, p, unsort=False
        ),
        "Sorted upwards: the least probable tokens are kept.": lambda logits, p: _nucleus(logits, p, descending=False),
        "The others are set to 0, which is a logit like any other; it is -inf.": lambda logits, p: _nucleus(
            logits, p, fill=0.0
        ),
        "Tokens with a probability of at least p are kept; it is their sum that must reach p.": lambda logits, p: (
            logits.masked_fill(logits.softmax(-1) < p, -torch.inf)
        ),
        "Probabilities are returned; logits are wanted.": lambda logits, p: _nucleus(logits, p).softmax(-1),
    }
)


def min_p_filter(logits: Tensor, p: float) -> Tensor:
    """logits (batch, vocabulary) with -inf where the probability is below p times the highest of the row."""
    highest = logits.amax(-1, keepdim=True)
    return logits.masked_fill(logits < highest + math.log(p), -torch.inf)


min_p = Definition(
    min_p_filter,
    title="Min-p",
    level="screen",
    minutes=5,
    topics=("L3", "+"),
    statement="""
    Keep the tokens whose probability is at least p times that of the most probable token of their row; all others get
    -inf. So a sure model keeps few, an unsure one many. logits: (batch, vocabulary); 0 < p <= 1. Result: as logits.
    """,
    cases=lambda: [
        Case(torch.tensor([[0.6, 0.1, 0.3]]).log(), 0.4),
        Case(torch.tensor([[0.5, 0.2, 0.3], [0.98, 0.011, 0.009]]).log(), 0.3),
        Case(normal(1, 3, 7), 0.2),
        Case(normal(2, 2, 5), 0.9),
        Case(torch.tensor([[200.0, 199.0, 0.0]]), 0.1),
    ],
    general="Not the tokens with at least p times the highest probability of their row.",
    hints=[
        "Softmax, its maximum along the row, times p: that is the limit. It can be done with logits alone, too.",
        "`probs = logits.softmax(-1)`; `logits.masked_fill(probs < p * probs.amax(-1, keepdim=True), -torch.inf)`.",
    ],
)


def _minp(logits, p, limit, fill=-math.inf, less=True):
    probs = logits.softmax(-1)
    return logits.masked_fill(probs < limit(probs, p) if less else probs > limit(probs, p), fill)


min_p.plant(
    {
        "The limit is p itself; it is p times the highest probability.": lambda logits, p: _minp(
            logits, p, lambda probs, p: p
        ),
        "The highest probability of the whole batch is used; each row has its own.": lambda logits, p: _minp(
            logits, p, lambda probs, p: p * probs.max()
        ),
        "Logits are compared with p times the highest logit; it is their probabilities.": lambda logits, p: (
            logits.masked_fill(logits < p * logits.amax(-1, keepdim=True), -torch.inf)
        ),
        "The others are set to 0, which is a logit like any other; it is -inf.": lambda logits, p: _minp(
            logits, p, lambda probs, p: p * probs.amax(-1, keepdim=True), 0.0
        ),
        "The probable tokens are dropped, the others kept.": lambda logits, p: _minp(
            logits, p, lambda probs, p: p * probs.amax(-1, keepdim=True), less=False
        ),
        "The limit is the highest probability minus p; it is times p.": lambda logits, p: _minp(
            logits, p, lambda probs, p: probs.amax(-1, keepdim=True) - p
        ),
        "The mean probability is the measure; it is the highest.": lambda logits, p: _minp(
            logits, p, lambda probs, p: p * probs.mean(-1, keepdim=True)
        ),
    }
)


def beam_search(
    next_logprobs: Callable[[tuple[int, ...]], Sequence[float]], width: int, steps: int, end: int
) -> tuple[tuple[int, ...], float]:
    """The best hypothesis of a beam search and its score, the sum of its log-probabilities.

    next_logprobs: tokens so far, () at first -> a log-probability for each token. width: hypotheses kept at each step.
    end: the token that finishes a hypothesis; a finished one keeps its place in the beam, unchanged, if it is among the
    best. Stops after ``steps`` tokens, or when all kept ones are finished.
    """
    beam: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for _ in range(steps):
        candidates = []
        for tokens, score in beam:
            if tokens[-1:] == (end,):
                candidates.append((tokens, score))
            else:
                candidates += [((*tokens, t), score + lp) for t, lp in enumerate(next_logprobs(tokens))]
        beam = sorted(candidates, key=lambda item: -item[1])[:width]
        if all(tokens[-1:] == (end,) for tokens, _ in beam):
            break
    return beam[0]


def _model(seed: int, vocabulary: int):
    """A made-up model: log-probabilities that depend on all tokens so far."""
    import random

    def next_logprobs(tokens):
        rng = random.Random(f"{seed} {tokens}")
        weights = [rng.expovariate(1.0) + 0.01 for _ in range(vocabulary)]
        return [math.log(w / sum(weights)) for w in weights]

    return next_logprobs


def _table(rows):
    def next_logprobs(tokens):
        return [math.log(p) for p in rows.get(tokens, rows["else"])]

    return next_logprobs


def _beam_cases():
    greedy = _table({(): [0.6, 0.39, 0.01], (0,): [0.3, 0.3, 0.4], (1,): [0.01, 0.01, 0.98], "else": [0.3, 0.4, 0.3]})
    done = _table({(): [0.45, 0.25, 0.3], (0,): [0.7, 0.25, 0.05], (0, 0): [0.5, 0.4, 0.1], "else": [0.4, 0.5, 0.1]})
    late = _table({(): [0.5, 0.3, 0.2], (0,): [0.04, 0.06, 0.9], "else": [0.5, 0.4, 0.1]})
    sequel = "a table of probabilities for three tokens, of which 2 ends"
    drawn = [
        Case(_model(seed, size), width, steps, 0, note=f"a model of {size} tokens, width {width}, {steps} steps")
        for seed, size, width, steps in (
            (1, 3, 1, 4),
            (2, 4, 2, 5),
            (3, 4, 3, 4),
            (4, 5, 2, 6),
            (5, 3, 4, 5),
            (6, 5, 3, 5),
        )
    ]
    return [
        Case(greedy, 2, 2, 2, note=sequel),
        Case(done, 2, 3, 2, note=sequel),
        Case(late, 3, 1, 2, note=sequel),
        Case(late, 3, 3, 2, note=sequel),
        *drawn,
    ]


beam = Definition(
    beam_search,
    title="Beam search",
    level="onsite",
    minutes=15,
    topics=("L3", "+"),
    statement="""
    Find a likely sequence by keeping the `width` best hypotheses at each step. Each unfinished one is extended by every
    token; a finished one (its last token is `end`) stays as it is and competes with the rest; the `width` best by the sum
    of log-probabilities go on. Stop after `steps` tokens, or when all in the beam are finished. No length penalty.
    `next_logprobs(tokens)` gives a log-probability for each token after the tuple `tokens`, which is () at first.
    Result: (tokens, score) of the best, the end token included.
    """,
    cases=_beam_cases,
    general="Not the best of the `width` hypotheses that are kept at each step by their summed log-probabilities.",
    hints=[
        "A beam is a list of (tokens, score). The candidates of all hypotheses are sorted together, not each for itself.",
        "`if tokens[-1:] == (end,): candidates.append((tokens, score))`, else extend by `((*tokens, t), score + lp) for t, lp "
        "in enumerate(next_logprobs(tokens))`; `beam = sorted(candidates, key=lambda item: -item[1])[:width]`.",
    ],
)


def _beam(nxt, width, steps, end, freeze=True, keep=True, mean=False, own=False, add=True, worst=False, first=False):
    beam = [((), 0.0)]
    finished = []
    for _ in range(steps):
        candidates = []
        for tokens, score in beam:
            if freeze and tokens[-1:] == (end,):
                if keep:
                    candidates.append((tokens, score))
                continue
            more = [((*tokens, t), (score if add else 0.0) + lp) for t, lp in enumerate(nxt(tokens))]
            candidates += sorted(more, key=lambda item: -item[1])[:1] if own else more
        if not candidates:
            break
        beam = sorted(candidates, key=lambda item: -(item[1] / len(item[0]) if mean else item[1]))[:width]
        finished += [item for item in beam if item[0][-1] == end]
        if first and finished:
            return finished[0]
        if freeze and all(tokens[-1:] == (end,) for tokens, _ in beam):
            break
    return beam[-1] if worst else beam[0]


beam.plant(
    {
        "That is greedy: the beam keeps one hypothesis instead of `width`.": lambda next_logprobs, width, steps, end: (
            _beam(next_logprobs, 1, steps, end)
        ),
        "Finished hypotheses are extended beyond their end.": lambda next_logprobs, width, steps, end: _beam(
            next_logprobs, width, steps, end, freeze=False
        ),
        "Finished hypotheses are lost; they stay in the beam and compete.": lambda next_logprobs, width, steps, end: (
            _beam(next_logprobs, width, steps, end, keep=False)
        ),
        "The scores are divided by the length; there is no length penalty here.": (
            lambda next_logprobs, width, steps, end: _beam(next_logprobs, width, steps, end, mean=True)
        ),
        "The score is that of the last token alone; log-probabilities are summed.": (
            lambda next_logprobs, width, steps, end: _beam(next_logprobs, width, steps, end, add=False)
        ),
        "The last of the beam is returned; the best stands first.": lambda next_logprobs, width, steps, end: _beam(
            next_logprobs, width, steps, end, worst=True
        ),
        "The first finished hypothesis is returned; a better one may still come.": (
            lambda next_logprobs, width, steps, end: _beam(next_logprobs, width, steps, end, first=True)
        ),
        "One step too few.": lambda next_logprobs, width, steps, end: _beam(next_logprobs, width, steps - 1, end),
    }
)


def speculative_acceptance(
    draft_probs: Tensor, target_probs: Tensor, tokens: Tensor, uniforms: Tensor
) -> tuple[int, Tensor]:
    """(how many drafted tokens are accepted, the distribution (vocabulary,) that the next token is drawn from).

    draft_probs: (n, vocabulary), what each drafted token was drawn from. target_probs: (n + 1, vocabulary), the large
    model's, one place further. tokens: (n,), drafted. uniforms: (n,), from 0 to 1; token i is accepted if uniforms[i] <
    min(1, target / draft).
    """
    for i, token in enumerate(tokens.tolist()):
        if uniforms[i] * draft_probs[i, token] >= target_probs[i, token]:
            rest = (target_probs[i] - draft_probs[i]).clamp(min=0.0)
            return i, rest / rest.sum()
    return len(tokens), target_probs[len(tokens)]


def _speculative_cases():
    draft = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    target = torch.tensor([[0.2, 0.3, 0.5], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1]])
    cases = [
        Case(draft[:1], target[:2], torch.tensor([0]), torch.tensor([0.9])),
        Case(draft, target, torch.tensor([0, 1]), torch.tensor([0.3, 0.4])),
        Case(draft, target, torch.tensor([2, 1]), torch.tensor([0.99, 0.6])),
        Case(draft, target, torch.tensor([0, 1]), torch.tensor([0.5, 0.2])),
    ]
    for seed in range(4):
        p, q = (3 * normal(seed, 3, 4)).softmax(-1), (3 * normal(seed + 9, 4, 4)).softmax(-1)
        drawn = torch.multinomial(p, 1, generator=torch.Generator().manual_seed(seed))[:, 0]
        cases.append(Case(p, q, drawn, uniform(seed + 20, 3)))
    return cases


speculative = Definition(
    speculative_acceptance,
    title="Accept or reject a draft",
    level="staff",
    minutes=12,
    topics=("L5", "+"),
    statement="""
    A small model drafted n tokens; decide how many the large one accepts, so that its own distribution comes out exactly.
    Go from left to right: accept token i if `u_i < min(1, target_i[token] / draft_i[token])`. At the first rejection stop;
    the token there is drawn from `max(0, target_i - draft_i)`, made to sum to 1. If all are accepted, one more token comes
    free, from the large model's distribution behind the last.
    Result: (number of accepted tokens, distribution of the token that is drawn next).
    """,
    cases=_speculative_cases,
    general="Not the tokens up to the first rejection, and max(0, target - draft) made to sum to 1.",
    hints=[
        "A rejection ends the draft: what comes later was drafted behind a token that no longer stands. What is left where "
        "the large model wants more than the draft gave is what the new token is drawn from.",
        "`if uniforms[i] >= target_probs[i, token] / draft_probs[i, token]: rest = (target_probs[i] - "
        "draft_probs[i]).clamp(min=0); return i, rest / rest.sum()`; behind the loop `return n, target_probs[n]`.",
    ],
)


def _accept(draft, target, tokens, u, ratio=lambda p, q: p / q, rest="clamp", stop=True, bonus=True, shift=0):
    n, accepted = len(tokens), 0
    for i, token in enumerate(tokens.tolist()):
        if u[i] < ratio(target[i + shift, token], draft[i, token]):
            accepted += 1
            continue
        if not stop:
            continue
        left = target[i] - draft[i]
        left = {"clamp": left.clamp(min=0), "abs": left.abs(), "target": target[i], "turned": (-left).clamp(min=0)}.get(
            rest
        )
        if rest == "raw":
            return i, (target[i] - draft[i]).clamp(min=0)
        return i, left / left.sum()
    return accepted, target[n if bonus else n - 1]


speculative.plant(
    {
        sentence: lambda draft_probs, target_probs, tokens, uniforms, wrong=wrong: _accept(
            draft_probs, target_probs, tokens, uniforms, **wrong
        )
        for sentence, wrong in {
            "After a rejection the new token is drawn from the large model's distribution; it is from max(0, target - draft).": {
                "rest": "target"
            },
            "The rest is not made to sum to 1.": {"rest": "raw"},
            "The rest is max(0, draft - target), the wrong way round.": {"rest": "turned"},
            "The absolute difference is taken; where the draft gave more, nothing is left.": {"rest": "abs"},
            "The quotient is turned: it is target over draft.": {"ratio": lambda p, q: q / p},
            "Compared with the large model's probability alone; it is divided by the draft's.": {
                "ratio": lambda p, q: p
            },
            "Tokens behind a rejection are still accepted; the first rejection ends the draft.": {"stop": False},
            "When all are accepted, the next token comes from the place behind the last draft.": {"bonus": False},
            "The large model's probabilities are read one place too far.": {"shift": 1},
        }.items()
    }
)
