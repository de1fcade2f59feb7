"""Drills on evaluation: success among samples, votes, perplexity, calibration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import integers, normal
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def pass_at_k(n: int, right: int, k: int) -> float:
    """The unbiased estimate of pass@k from n samples of which ``right`` are right; 1 <= k <= n."""
    if n - right < k:
        return 1.0
    miss = 1.0
    for i in range(k):
        miss *= (n - right - i) / (n - i)  # no factorial: nothing overflows
    return 1.0 - miss


passing = Definition(
    pass_at_k,
    title="Pass@k without bias",
    level="screen",
    minutes=6,
    topics=("A19", "+"),
    statement="""
    Of n samples for a problem, `right` are right. Estimate without bias the probability that at least one of k drawn samples is
    right: `1 - C(n - right, k) / C(n, k)`, the chance that k of the n, drawn without putting back, are not all wrong. n may be
    10 000. Result: a float.
    """,
    cases=lambda: [
        Case(2, 1, 1),
        Case(5, 2, 3),
        Case(10, 3, 5),
        Case(4, 0, 2),
        Case(5, 4, 2),
        Case(10000, 7, 500),
        Case(20, 20, 20),
        Case(6, 2, 5),
    ],
    general="Not 1 - C(n - right, k) / C(n, k).",
    seconds=3.0,
    hints=[
        "k drawn samples are all wrong if each is drawn from the wrong ones that are left. When there are fewer wrong ones than "
        "k, that cannot happen.",
        "`if n - right < k: return 1.0`; `1 - math.prod((n - right - i) / (n - i) for i in range(k))`, or `math.comb`.",
    ],
)


passing.plant(
    {
        "That is 1 - (1 - p)^k, which draws with putting back, and is biased when p is estimated from the same n.": (
            lambda n, right, k: 1 - (1 - right / n) ** k
        ),
        "This is pass@1; k is not used.": lambda n, right, k: right / n,
        "The probability that all k are wrong is returned; subtract it from 1.": lambda n, right, k: (
            math.comb(n - right, k) / math.comb(n, k)
        ),
        "C(right, k) / C(n, k) is the chance that all k are right; one is enough.": lambda n, right, k: (
            math.comb(right, k) / math.comb(n, k)
        ),
        "The average over blocks of k counts neighbours only; use all ways to draw k of n.": lambda n, right, k: min(
            1.0, k * right / n
        ),
        "The numerator should be C(n - right, k): the wrong samples, of which k are drawn.": lambda n, right, k: (
            1 - math.comb(n - k, right) / math.comb(n, right) if right < n - k else 1.0 if n - right < k else 0.0
        ),
    }
)


def self_consistency(answers: Sequence[str | None]) -> str | None:
    """The answer that occurs most often; of equally frequent ones the one that came first.

    Answers are compared without surrounding blanks and in lower case, and returned so. None stands for a sample from which no
    answer could be read: it has no vote. None is returned if there is no vote at all.
    """
    votes = Counter(answer.strip().lower() for answer in answers if answer is not None)
    return max(votes, key=votes.__getitem__) if votes else None  # a Counter keeps the order of first sight


voting = Definition(
    self_consistency,
    title="Self-consistency",
    level="screen",
    minutes=5,
    topics=("A19", "+"),
    statement="""
    Take the vote of several sampled solutions: the final answer that occurs most often wins (arXiv 2203.11171). Blanks around an
    answer and capitals make no difference; the winner is returned stripped and in lower case. A sample without a readable answer
    is None and has no vote. Of equally frequent answers the one that came first wins. Without any vote the result is None.
    """,
    cases=lambda: [
        Case(["4"]),
        Case(["4", "5", "5"]),
        Case(["b", "a", "a", "b"]),
        Case([None, None, "7", None]),
        Case(["a", "B", "b"]),
        Case(["a", " b", "b"]),
        Case([" Ten", "ten ", "9", "9", "TEN"]),
        Case([None, None]),
        Case(["10", "9", "10", "9", "8"]),
        Case(["c", "b", "b", None, "a", "a", None, None]),
        Case([]),
    ],
    rtol=0.0,
    atol=0.0,
    general="Not the answer that occurs most often.",
    hints=[
        "Make the answers alike first, then count. `max` returns the first of equals, and a Counter keeps the order in which "
        "keys came.",
        "`votes = Counter(a.strip().lower() for a in answers if a is not None)`; `max(votes, key=votes.__getitem__) if votes else "
        "None`.",
    ],
)


def _vote(answers, clean=lambda a: a.strip().lower(), none=False, tie="first", empty=None, least=False, last=False):
    seen = [clean(a) if a is not None else None for a in answers if none or a is not None]
    if not seen:
        return empty
    if last:
        return seen[-1]
    votes = Counter(seen)
    if tie == "last":
        seen = seen[::-1]
        votes = Counter(seen)
    order = sorted(votes, key=str) if tie == "sorted" else list(votes)
    return (min if least else max)(order, key=votes.__getitem__)


voting.plant(
    {
        sentence: lambda answers, wrong=wrong: _vote(answers, **wrong)
        for sentence, wrong in {
            "Samples without an answer have no vote; None wins here.": {"none": True},
            "Of equally frequent answers the one that sorts first wins; it is the one that came first.": {
                "tie": "sorted"
            },
            "Of equally frequent answers one that came later wins; it is the one that came first.": {"tie": "last"},
            "Capitals make a difference; compare in lower case.": {"clean": lambda a: a.strip()},
            "Blanks around an answer make a difference; strip them.": {"clean": lambda a: a.lower()},
            "Without any vote the result is None.": {"empty": ""},
            "The rarest answer wins.": {"least": True},
            "The last sample wins; it is the most frequent.": {"last": True},
        }.items()
    }
    | {
        "The number of votes is returned too; only the answer is wanted.": lambda answers: (
            (_vote(answers), len(answers)) if answers else None
        )
    }
)


def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor) -> float:
    """exp of the mean of -log p(token | tokens before), over all predicted tokens of a batch.

    logits: (batch, time, vocabulary), those at a place predict the next token. input_ids, attention_mask: (batch, time),
    padded on the right; padding is not predicted, nor is the first token.
    """
    logprobs = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    counted = attention_mask[:, 1:]
    return float((-(logprobs * counted).sum() / counted.sum()).exp())


perplex = Definition(
    perplexity,
    title="Perplexity",
    level="screen",
    minutes=8,
    topics=("A19",),
    statement="""
    Perplexity is exp of the mean negative log-probability of the tokens. The logits at a place predict the token after it, so
    shift. The mean runs over all predicted tokens of the batch, not over rows; padding (mask 0, on the right) is not counted.
    logits: (batch, time, vocabulary); input_ids, attention_mask: (batch, time). Result: a float.
    """,
    cases=lambda: [
        Case(torch.tensor([[[0.0, 1.0], [2.0, 0.0]]]), torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.long)),
        Case(2 * normal(1, 2, 4, 3), integers(2, 3, 2, 4), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])),
        Case(
            2 * normal(3, 3, 5, 4),
            integers(4, 4, 3, 5),
            torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
        ),
    ],
    general="Not exp of the mean of -log p(next token) over all tokens that count.",
    hints=[
        "Logits 0 to T - 2 belong to tokens 1 to T - 1; the mask to use is that of the tokens predicted.",
        "`lp = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]`; `m = attention_mask[:, 1:]`; "
        "`float((-(lp * m).sum() / m.sum()).exp())`.",
    ],
)


def _ppl(logits, ids, mask, shift=1, rows=False, use=True, log2=False, raw=False, first=False, back=False):
    shown, asked, counted = logits[:, :-1], ids[:, 1:], mask[:, 1:]
    if shift == 0:
        shown, asked, counted = logits, ids, mask
    if first:
        counted = mask[:, :-1]
    if back:
        shown, asked = logits[:, 1:], ids[:, :-1]
    lp = shown.log_softmax(-1).gather(-1, asked[..., None])[..., 0]
    counted = counted if use else torch.ones_like(counted)
    if rows:
        return float((-(lp * counted).sum(1) / counted.sum(1)).exp().mean())
    mean = -(lp * counted).sum() / (mask.sum() if raw == "all" else counted.sum())
    return float(mean if raw is True else 2**mean if log2 else mean.exp())


perplex.plant(
    {
        sentence: lambda logits, input_ids, attention_mask, wrong=wrong: _ppl(
            logits, input_ids, attention_mask, **wrong
        )
        for sentence, wrong in {
            "Not shifted: the logits at a place predict the token after it.": {"shift": 0},
            "Shifted the wrong way: logits at a place predict the token after it.": {"back": True},
            "The mean of the rows' perplexities; the mean runs over all tokens, before exp.": {"rows": True},
            "Padding is counted.": {"use": False},
            "exp is missing: that is the loss.": {"raw": True},
            "2 to the power of a loss in nats; it is exp.": {"log2": True},
            "The mask of the tokens before is used; the predicted tokens' counts.": {"first": True},
            "Divided by all tokens; the first of a row is not predicted.": {"raw": "all"},
        }.items()
    }
)


def expected_calibration_error(confidences: list[float], right: list[bool], bins: int) -> float:
    """The mean gap between confidence and accuracy over equally wide bins of (0, 1], weighted by how many answers fall into each.

    Bin b holds confidences above b / bins and up to (b + 1) / bins; 0 belongs to the first. Empty bins count for nothing.
    """
    inside: list[list[int]] = [[] for _ in range(bins)]
    for number, confidence in enumerate(confidences):
        inside[max(math.ceil(confidence * bins) - 1, 0)].append(number)
    error = 0.0
    for members in inside:
        if members:
            confidence = sum(confidences[i] for i in members) / len(members)
            accuracy = sum(right[i] for i in members) / len(members)
            error += len(members) / len(confidences) * abs(confidence - accuracy)
    return error


def _calibration_cases():
    import random

    rng = random.Random(3)
    drawn = [round(rng.random(), 3) for _ in range(30)]
    hits = [rng.random() < c**2 for c in drawn]
    return [
        Case([0.9], [False], 2),
        Case([0.6, 0.7, 0.2], [True, False, True], 2),
        Case([0.5, 0.75, 1.0, 0.0, 0.25], [True, False, True, True, False], 4),
        Case(drawn, hits, 10),
        Case(drawn[:20], hits[:20], 5),
    ]


calibration = Definition(
    expected_calibration_error,
    name="ece",
    title="Expected calibration error",
    level="onsite",
    minutes=8,
    topics=("A19", "A14"),
    statement="""
    Does a model that says 80 % hit in 80 % of the cases? Sort the answers into `bins` equally wide bins by confidence: bin b holds
    those above `b / bins` and up to `(b + 1) / bins`, and 0 goes to the first. In each bin take the distance of mean confidence
    and accuracy; the result is the mean of the distances, weighted by the number of answers in the bin. Empty bins are skipped.
    confidences: floats from 0 to 1; right: bools. Result: a float.
    """,
    cases=_calibration_cases,
    general="Not the sum over bins of n_b / n * |mean confidence - accuracy|.",
    hints=[
        "The bin of a confidence c is ceil(c * bins) - 1, and 0 for c = 0. Two means for each bin that is not empty.",
        "`error += len(members) / len(confidences) * abs(mean_confidence - accuracy)`, over the bins with members.",
    ],
)


def _ece(conf, right, bins, weigh=True, size=True, middle=False, mode="", left=False, whole=False):
    inside = [[] for _ in range(bins)]
    for i, c in enumerate(conf):
        place = min(int(c * bins), bins - 1) if left else max(math.ceil(c * bins) - 1, 0)
        inside[0 if whole else place].append(i)
    if mode == "quantile":
        order = sorted(range(len(conf)), key=conf.__getitem__)
        inside = [order[len(conf) * b // bins : len(conf) * (b + 1) // bins] for b in range(bins)]
    gaps = []
    for b, members in enumerate(inside):
        if members:
            c = (b + 0.5) / bins if middle else sum(conf[i] for i in members) / len(members)
            gap = c - sum(right[i] for i in members) / len(members)
            gaps.append((abs(gap) if size else gap, len(members)))
    if mode == "max":
        return max(g for g, _ in gaps)
    if mode == "square":
        return math.sqrt(sum(g * g * n for g, n in gaps) / len(conf))
    if mode == "brier":
        return sum((c - r) ** 2 for c, r in zip(conf, right, strict=True)) / len(conf)
    return sum(g * n for g, n in gaps) / len(conf) if weigh else sum(g for g, _ in gaps) / len(gaps)


calibration.plant(
    {
        sentence: lambda confidences, right, bins, wrong=wrong: _ece(confidences, right, bins, **wrong)
        for sentence, wrong in {
            "The bins are weighted alike; weigh each by its number of answers.": {"weigh": False},
            "The sign is kept: too sure in one bin and too unsure in another must not cancel.": {"size": False},
            "The middle of the bin stands for its confidence; it is the mean of what fell in.": {"middle": True},
            "The largest distance is returned (MCE); it is their weighted mean.": {"mode": "max"},
            "The distances are squared.": {"mode": "square"},
            "The bins hold equally many answers; they are equally wide.": {"mode": "quantile"},
            "That is the Brier score.": {"mode": "brier"},
            "A confidence on a border falls into the upper bin; it belongs to the lower one.": {"left": True},
            "All answers are in one bin: that is the gap of the overall means.": {"whole": True},
        }.items()
    }
)
