"""Drills on decoding: a beam, and a draft that is accepted or not."""

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
    never = torch.tensor([[0.0, 0.6, 0.4], [0.5, 0.25, 0.25]])  # a token that the large model never gives
    cases.append(Case(draft[:1], never, torch.tensor([0]), torch.tensor([0.0])))
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
    free, from the large model's distribution after the last.
    Result: (number of accepted tokens, distribution of the token that is drawn next).
    """,
    cases=_speculative_cases,
    general="Not the tokens up to the first rejection, and max(0, target - draft) made to sum to 1.",
    hints=[
        "A rejection ends the draft: what comes later was drafted after a token that no longer stands. What is left where "
        "the large model wants more than the draft gave is what the new token is drawn from.",
        "`if uniforms[i] >= target_probs[i, token] / draft_probs[i, token]: rest = (target_probs[i] - "
        "draft_probs[i]).clamp(min=0); return i, rest / rest.sum()`; after the loop `return n, target_probs[n]`.",
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
            "Tokens after a rejection are still accepted; the first rejection ends the draft.": {"stop": False},
            "When all are accepted, the next token comes from the place after the last draft.": {"bonus": False},
            "The large model's probabilities are read one place too far.": {"shift": 1},
        }.items()
    }
)
