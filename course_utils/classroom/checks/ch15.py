"""Checks of chapter 15: perplexity, clipped precision, the longest common subsequence, the bootstrap, and AUC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import exp, log

import torch
from torch import Tensor

from course_utils.classroom.exercises.exercise import check, expect
from course_utils.evaluation import contamination, overlap


def perplexity(logits: Tensor, input_ids: Tensor, attention_mask: Tensor, text_bytes: int) -> tuple[float, float]:
    """(perplexity, bits per byte) of texts padded on the right; the first token of each row is given."""
    logs = logits[:, :-1].double().log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    predicted = attention_mask[:, 1:].bool()
    nats = -float(logs[predicted].sum())
    return exp(nats / int(predicted.sum())), nats / log(2) / text_bytes


@check(
    "15.1",
    title="Perplexity and bits per byte",
    reference=perplexity,
    difficulty=2,
    minutes=8,
    points=2,
    asked="compute perplexity; can you compare it between two models?",
    hints=[
        "Place t predicts place t + 1: take `logits[:, :-1]` and `input_ids[:, 1:]`, and the mask of the predicted tokens, "
        "`attention_mask[:, 1:]`.",
        "`log_softmax` over the vocabulary, then `gather` the log-probability of the token that came.",
        "One mean over *all* predicted tokens of the batch: `exp(nats / count)`. Bits per byte: `nats / log(2) / text_bytes`.",
    ],
)
def check_perplexity(candidate: Callable[[Tensor, Tensor, Tensor, int], tuple[float, float]]) -> None:
    generator = torch.Generator().manual_seed(15)
    logits = 2 * torch.randn(2, 5, 4, generator=generator)
    ids = torch.tensor([[0, 2, 1, 3, 3], [0, 1, 2, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    given = "logits (2, 5, 4), lengths 5 and 3, text_bytes = 7"
    result = candidate(logits.clone(), ids.clone(), mask.clone(), 7)
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2,
        "Two numbers are wanted: `return perplexity, bits_per_byte`.",
        given=given,
    )
    wanted, bits = perplexity(logits, ids, mask, 7)
    logs = logits.double().log_softmax(-1)
    shifted = logs[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    inside = mask[:, 1:].bool()
    nats = -float(shifted[inside].sum())
    unshifted = -logs.gather(-1, ids[..., None])[..., 0]
    per_row = (-(shifted * inside).sum(1) / inside.sum(1)).exp().mean()
    expect.close(
        result[0],
        wanted,
        "Not exp(mean of -log p over the predicted tokens).",
        given=given,
        mistakes={
            "That is the loss in nats; the perplexity is its exponential.": nats / 6,
            "The padding is counted as text.": exp(-float(shifted.mean())),
            "The logits are not shifted: place t says what comes at place t + 1.": exp(
                float(unshifted[mask.bool()].mean())
            ),
            "The perplexities of the rows are averaged; take the mean over all tokens first, so that long texts count "
            "more.": float(per_row),
            "Divided by all tokens; the first of each row is given, not predicted.": exp(nats / 8),
            "2 to the power of nats; either exp of nats or 2 to the power of bits.": 2 ** (nats / 6),
            "The sum is not divided by the number of tokens.": exp(nats),
            "The losses of the rows are averaged; the mean is over all tokens, so that long texts count more.": exp(
                float((-(shifted * inside).sum(1) / inside.sum(1)).mean())
            ),
            "The mask is not shifted with the tokens: the predicted ones are attention_mask[:, 1:].": exp(
                -float(shifted[mask[:, :-1].bool()].mean())
            ),
            "The logits are taken for log-probabilities; `log_softmax` is missing.": exp(
                -float(logits.double()[:, :-1].gather(-1, ids[:, 1:, None])[..., 0][inside].mean())
            ),
            "The perplexities of the tokens are averaged; take the mean of the logarithms, then exp.": float(
                (-shifted[inside]).exp().mean()
            ),
            "That is one over the perplexity; the minus before log p is missing.": exp(-nats / 6),
            "The two results are swapped: perplexity first.": bits,
        },
    )
    expect.close(
        result[1],
        bits,
        "Not the bits of all predicted tokens, divided by the bytes of the text.",
        given=given,
        mistakes={
            "These are nats per byte; one bit is log(2) = 0.693 nats.": nats / 7,
            "Multiplied by log(2); nats are divided by it.": nats * log(2) / 7,
            "These are bits per token; divide by the bytes of the text.": nats / log(2) / 6,
            "The mean per token is divided by the bytes; it is the sum.": nats / 6 / log(2) / 7,
        },
    )


def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    """(matches, total): the n-grams of the hypothesis that stand in the reference, clipped, and how many it has."""
    counts = overlap.ngrams(hypothesis, n)
    return (counts & overlap.ngrams(reference, n)).total(), counts.total()


@check(
    "15.2",
    title="The clipped precision of BLEU",
    reference=clipped_precision,
    difficulty=2,
    minutes=10,
    points=2,
    asked="what does BLEU count? Write the clipped precision",
    hints=[
        "The n-grams of a list are `tuple(words[i : i + n])` for i from 0 to len(words) - n.",
        "`collections.Counter` counts them. An n-gram matches `min(count here, count there)` times; `a & b` of two Counters is "
        "that minimum.",
        "`matches = (ours & theirs).total()`, `total = ours.total()`.",
    ],
)
def check_clipped_precision(candidate: Callable[[list[str], list[str], int], tuple[int, int]]) -> None:
    cases = [
        ("the the the the the the the", "the cat is on the mat", 1),
        ("the cat sat on the mat the cat", "the cat is on the mat", 2),
        ("a b a b a b c", "a b a b d", 2),
        ("a b c d", "d c b a", 1),
        ("a b c d", "d c b a", 2),
        ("a a", "a a b a a", 2),
        ("one two", "one two three", 3),
        ("ab c", "a bc", 2),
    ]
    for hypothesis, reference, n in cases:
        ours, theirs = hypothesis.split(), reference.split()
        kept = list(ours), list(theirs)
        result = candidate(ours, theirs, n)
        given = {"hypothesis": hypothesis, "reference": reference, "n": n}
        expect.that(
            isinstance(result, tuple | list) and len(result) == 2,
            "Two whole numbers are wanted, `return matches, total`; the division comes later, over the whole corpus.",
            given=given,
            yours=result,
        )
        expect.that((ours, theirs) == kept, "A list that was given was changed; work on a copy.", given=given)
        mine, other = overlap.ngrams(kept[0], n), overlap.ngrams(kept[1], n)
        matches, total = (mine & other).total(), mine.total()
        expect.equal(
            result[1],
            total,
            "Wrong total: a text of k words has k - n + 1 n-grams, or none.",
            given=given,
            mistakes={
                name: value
                for name, value in {
                    "The total counts the n-grams of the reference; precision asks for those of the hypothesis.": other.total(),
                    "Each different n-gram is counted once; repetitions count in the total.": len(mine),
                    "The total counts words, not n-grams.": len(kept[0]),
                    "One n-gram too few: the last one begins at len(words) - n.": max(total - 1, 0),
                }.items()
                if value != total
            },
        )
        unclipped = sum(count for gram, count in mine.items() if gram in other)
        bags = (Counter(kept[0]) & Counter(kept[1])).total()
        expect.equal(
            result[0],
            matches,
            "Wrong number of matches.",
            given=given,
            mistakes={
                name: value
                for name, value in {
                    "Not clipped: an n-gram counts at most as often as the reference has it, or `the the the` would be "
                    "perfect.": unclipped,
                    "Each n-gram counts once; it counts as often as both have it.": len(set(mine) & set(other)),
                    "Words are counted, not n-grams: the order within an n-gram matters.": bags,
                    "Counted from the side of the reference, not clipped by the hypothesis.": sum(
                        count for gram, count in other.items() if gram in mine
                    ),
                }.items()
                if value != matches
            },
        )


def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    """The length of the longest sequence of words that both lists have in the same order, gaps allowed."""
    return overlap.longest_common_subsequence(a, b)


def _longest_run(a: list[str], b: list[str]) -> int:
    return max(
        (n for n in range(1, len(a) + 1) if set(overlap.ngrams(a, n)) & set(overlap.ngrams(b, n))),
        default=0,
    )


def _greedy(a: list[str], b: list[str]) -> int:
    place, found = 0, 0
    for word in a:
        if word in b[place:]:
            place, found = b.index(word, place) + 1, found + 1
    return found


def _overwritten(a: list[str], b: list[str]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        for j, y in enumerate(b, start=1):
            row[j] = row[j - 1] + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


@check(
    "15.3",
    title="The longest common subsequence",
    reference=longest_common_subsequence,
    difficulty=3,
    minutes=12,
    points=3,
    asked="write the longest common subsequence",
    hints=[
        "A table: cell (i, j) holds the answer for the first i words of a and the first j words of b. The row and column 0 are 0.",
        "If word i of a equals word j of b, the cell is one more than its upper left neighbour; else it is the larger of its "
        "upper and its left neighbour.",
        "Plain recursion takes a time like 2 ** len(a); keep the table. The answer stands in the last cell. One row is enough memory, if you keep the upper left value.",
    ],
)
def check_longest_common_subsequence(candidate: Callable[[list[str], list[str]], int]) -> None:
    cases = [
        ("a b c d", "a b c d"),
        ("a b c", "x y z"),
        ("", "a b"),
        ("the lamp of brine is amber", "amber is the lamp of brine"),
        ("c a b", "a b c"),
        ("a x b y c z", "a b c"),
        ("a b a b b", "b a b a b"),
        ("x a b c", "a b c x"),
        ("a a a", "a a"),
        ("a", "a a"),
    ]
    for first, second in cases:
        a, b = first.split(), second.split()
        wanted = overlap.longest_common_subsequence(a, b)
        mistakes = {
            "That is the longest run without gaps; gaps are allowed.": _longest_run(a, b),
            "Words are counted without their order.": (Counter(a) & Counter(b)).total(),
            "Different words are counted without their order.": len(set(a) & set(b)),
            "The first match is taken at once. A later one may leave room for more: `c a b` and `a b c` share `a b`.": _greedy(
                a, b
            ),
            "One row is kept, and its upper left value is overwritten before it is used: one word of a is then matched "
            "twice.": _overwritten(a, b),
            "Compared place by place; one word more at the front would make everything differ.": sum(
                x == y for x, y in zip(a, b, strict=False)
            ),
        }
        expect.equal(
            candidate(list(a), list(b)),
            wanted,
            "Not the longest common subsequence.",
            given={"a": first, "b": second},
            mistakes={name: value for name, value in mistakes.items() if value != wanted},
        )
    draw = torch.Generator().manual_seed(3)
    a, b = ([str(i) for i in torch.randint(20, (120,), generator=draw).tolist()] for _ in range(2))
    expect.equal(
        candidate(a, b),
        overlap.longest_common_subsequence(a, b),
        "Wrong for two texts of 120 words.",
        given="120 words each",
    )


def bootstrap_interval(
    values: Tensor, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[float, float]:
    """(low, high): the percentile interval of the mean of values (n,)."""
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = values[drawn].double().mean(1)
    low, high = means.quantile(torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64))
    return low.item(), high.item()


@check(
    "15.4",
    title="A bootstrap interval",
    reference=bootstrap_interval,
    difficulty=2,
    minutes=8,
    points=2,
    asked="your model scores 0.87 on 200 questions; how sure are you?",
    hints=[
        "`torch.randint(len(values), (resamples, len(values)), generator=generator)` draws places with repetition, one row for "
        "each resample.",
        "`values[drawn].mean(1)` are the means; their quantiles at (1 - confidence) / 2 and (1 + confidence) / 2 are the "
        "interval.",
        "`means.quantile(0.025)`, `means.quantile(0.975)` for 0.95; values of whole numbers need `.float()` first.",
    ],
)
def check_bootstrap_interval(
    candidate: Callable[[Tensor, int, float, torch.Generator], tuple[float, float]],
) -> None:
    values = (torch.arange(200) % 8 < 7).float()  # 0.875
    mean, spread = 0.875, (0.875 * 0.125) ** 0.5
    error = spread / 200**0.5
    given = "200 values, 0 or 1, with the mean 0.875; 4,000 resamples, confidence 0.95"
    state = torch.random.get_rng_state()
    result = candidate(values.clone(), 4_000, 0.95, torch.Generator().manual_seed(1))
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2,
        "Two numbers are wanted: `return low, high`.",
        given=given,
    )
    low, high = (float(bound) for bound in result)
    expect.that(low <= high, "low stands above high.", given=given, yours=(low, high))
    width = (high - low) / error
    expect.that(
        width > 1e-6,
        "The interval has no width: every resample is the same. Draw with repetition, or it is the same sample in another order.",
        given=given,
        yours=(low, high),
    )
    expect.that(
        not 12 < width,
        "Far too wide: these are quantiles of the values, or of a difference, not of the means.",
        given=given,
        yours=(low, high),
    )
    expect.that(
        not 4.8 < width,
        "Too wide: is each resample as large as the sample, and are the quantiles (1 - confidence) / 2 and (1 + confidence) / 2?",
        given=given,
        expected=f"about {mean - 1.96 * error:.3f} to {mean + 1.96 * error:.3f}",
        yours=(low, high),
    )
    expect.that(
        3.55 < width,
        "Too narrow: half of what is left out belongs on each side, so the quantiles are 0.025 and 0.975; and each resample is as "
        "large as the sample.",
        given=given,
        expected=f"about {mean - 1.96 * error:.3f} to {mean + 1.96 * error:.3f}",
        yours=(low, high),
    )
    expect.that(
        abs((low + high) / 2 - mean) < 0.5 * error,
        "The interval is not centred near the mean of the values.",
        given=given,
        yours=(low, high),
    )
    again = candidate(values.clone(), 4_000, 0.95, torch.Generator().manual_seed(1))
    other = candidate(torch.linspace(0, 1, 50), 300, 0.95, torch.Generator().manual_seed(2))
    different = candidate(torch.linspace(0, 1, 50), 300, 0.95, torch.Generator().manual_seed(3))
    expect.that(
        tuple(map(float, again)) == (low, high) and torch.equal(state, torch.random.get_rng_state()),
        "Randomness does not come from `generator` alone: the same generator gave another interval, or torch's global one was "
        "used.",
        given=given,
    )
    expect.that(
        tuple(map(float, other)) != tuple(map(float, different)),
        "Two generators with different seeds gave the same interval; is `generator` used, and not a seed of your own?",
    )
    rare = torch.tensor([0.0] * 27 + [1.0] * 3)
    expect.that(
        float(candidate(rare, 2_000, 0.95, torch.Generator().manual_seed(4))[0]) > -1e-6,
        "The lower end lies below every value: that is the mean minus so many standard errors, not a quantile of the means.",
        given="27 zeros and 3 ones",
    )
    low, high = (float(end) for end in candidate(values.clone(), 1, 0.95, torch.Generator().manual_seed(5)))
    expect.that(
        abs(high - low) < 1e-6,
        "One resample has one mean, so both ends must be equal. Is `resamples` used?",
        given="resamples = 1",
        yours=(low, high),
    )
    narrow = candidate(values.clone(), 4_000, 0.5, torch.Generator().manual_seed(1))
    width = (float(narrow[1]) - float(narrow[0])) / error
    expect.that(
        1.0 < width < 1.75,
        "`confidence` is not used rightly: an interval of 0.5 lies between the quantiles 0.25 and 0.75.",
        given="confidence 0.5",
        expected=f"a width of about {1.35 * error:.3f}",
        yours=float(narrow[1]) - float(narrow[0]),
    )


def auc(positives: list[float], negatives: list[float]) -> float:
    """The probability that a random positive scores above a random negative; a tie counts one half."""
    return contamination.auc(positives, negatives)


@check(
    "15.5",
    title="The area under the curve",
    reference=auc,
    difficulty=2,
    minutes=6,
    points=2,
    asked="what does an AUC of 0.5 mean? Write it without a library",
    hints=[
        "Compare every positive with every negative: 1 if it is above, 0.5 if equal, 0 if below.",
        "Divide the sum by the number of pairs, `len(positives) * len(negatives)`.",
    ],
)
def check_auc(candidate: Callable[[list[float], list[float]], float]) -> None:
    cases = [
        ([3.0, 2.0, 1.0, 0.7], [0.5, 2.5]),
        ([1.0, 1.0, 2.0, 5.0], [1.0, 2.0, 3.0]),
        ([-1.0, -3.0], [-2.0, -2.5, -4.0, -3.5, 0.0]),
        ([0.9, 0.8], [0.1, 0.2, 0.3]),
    ]
    for positives, negatives in cases:
        wanted = contamination.auc(positives, negatives)
        above = sum(p > n for p in positives for n in negatives)
        ties = sum(p == n for p in positives for n in negatives)
        count = len(positives) * len(negatives)
        middle = sorted(positives + negatives)[len(positives + negatives) // 2]
        hits = sum(p >= middle for p in positives) + sum(n < middle for n in negatives)
        mistakes = {
            "Turned round: the positives should be above.": 1 - wanted,
            "That is Gini's coefficient, 2 AUC - 1, which is 0 for a coin.": 2 * wanted - 1,
            "Never below one half: then a score that points the wrong way would pass for a good one.": max(
                wanted, 1 - wanted
            ),
            "That is a difference of means; only the order counts.": sum(positives) / len(positives)
            - sum(negatives) / len(negatives),
            "A tie counts one half; yours counts it as nothing.": above / count,
            "A tie counts one half; yours counts it as won.": (above + ties) / count,
            "Not divided by the number of pairs.": above + 0.5 * ties,
            "Compared place by place; every positive meets every negative.": sum(
                (p > n) + 0.5 * (p == n) for p, n in zip(positives, negatives, strict=False)
            )
            / min(len(positives), len(negatives)),
            "That is an accuracy at one threshold; the AUC needs none.": hits / len(positives + negatives),
        }
        expect.close(
            candidate(list(positives), list(negatives)),
            wanted,
            "Not the share of pairs in which the positive is above.",
            given={"positives": positives, "negatives": negatives},
            mistakes={name: value for name, value in mistakes.items() if abs(value - wanted) > 1e-6},
        )
