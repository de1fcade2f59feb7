"""Drills on filters of the next token's distribution: top-k, top-p, min-p."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import normal
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
        Case(normal(3, 2, 4), 1.0),
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
