"""Checks of chapter 15: perplexity, clipped precision, the longest common subsequence, the bootstrap, AUC, McNemar's
test, and the standard error of questions in groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from difflib import SequenceMatcher
from math import comb, erfc, exp, log

import torch
from torch import Tensor

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, check, expect


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
    logits = 2 * torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(15))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    ids = torch.tensor([[0, 2, 1, 3, 3], [0, 1, 2, 0, 0]])
    _check_perplexity(candidate, logits, ids, mask, "lengths 5 and 3")
    real = torch.tensor([[0, 2, 0, 3, 0], [0, 1, 2, 3, 3], [0, 0, 0, 0, 0]])
    begin = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    _check_perplexity(
        candidate,
        torch.cat([logits, logits[:1]]),
        real,
        begin,
        "lengths 5, 3 and 1; token 0 is also one of the text",
        "The mask says what is padding, not the token: each id may also stand in the text, or begin it.",
    )
    _check_perplexity(
        candidate,
        logits - 120 * torch.nn.functional.one_hot(torch.tensor(1), 4),
        ids,
        mask,
        "token 1 is very unlikely",
        "A probability rounds to 0 in 32 bits, and its logarithm is minus infinity: take `log_softmax` of the logits.",
    )


def _check_perplexity(
    candidate: Callable[[Tensor, Tensor, Tensor, int], tuple[float, float]],
    logits: Tensor,
    ids: Tensor,
    mask: Tensor,
    note: str,
    message: str = "Not exp(mean of -log p over the predicted tokens).",
) -> None:
    given = f"logits {tuple(logits.shape)}, {note}, text_bytes = 7"
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
    nats, count = -float(shifted[inside].sum()), int(inside.sum())
    unshifted = -logs.gather(-1, ids[..., None])[..., 0]
    of_rows = -(shifted * inside).sum(1) / inside.sum(1)
    mistakes = {
        "That is the loss in nats; the perplexity is its exponential.": nats / count,
        "The padding is counted as text.": _exp(-shifted.mean()),
        "The logits are not shifted: place t says what comes at place t + 1.": _exp(unshifted[mask.bool()].mean()),
        "The perplexities of the rows are averaged; take the mean over all tokens first, so that long texts count "
        "more.": float(of_rows.exp().mean()),
        "Divided by all tokens; the first of each row is given, not predicted.": _exp(nats / int(mask.sum())),
        "2 to the power of nats; either exp of nats or 2 to the power of bits.": _exp(nats / count * log(2)),
        "The sum is not divided by the number of tokens.": _exp(nats),
        "The losses of the rows are averaged; the mean is over all tokens, so that long texts count more.": _exp(
            of_rows.mean()
        ),
        "The mask is not shifted with the tokens: the predicted ones are attention_mask[:, 1:].": _exp(
            -shifted[mask[:, :-1].bool()].mean()
        ),
        "The logits are taken for log-probabilities; `log_softmax` is missing.": _exp(
            -logits.double()[:, :-1].gather(-1, ids[:, 1:, None])[..., 0][inside].mean()
        ),
        "The perplexities of the tokens are averaged; take the mean of the logarithms, then exp.": float(
            (-shifted[inside]).exp().mean()
        ),
        "That is one over the perplexity; the minus before log p is missing.": _exp(-nats / count),
        "The two results are swapped: perplexity first.": bits,
    }
    expect.close(result[0], wanted, message, given=given, mistakes=mistakes)
    expect.close(
        result[1],
        bits,
        "Not the bits of all predicted tokens, divided by the bytes of the text.",
        given=given,
        mistakes={
            "These are nats per byte; one bit is log(2) = 0.693 nats.": nats / 7,
            "Multiplied by log(2); nats are divided by it.": nats * log(2) / 7,
            "These are bits per token; divide by the bytes of the text.": nats / log(2) / count,
            "The mean per token is divided by the bytes; it is the sum.": nats / count / log(2) / 7,
            "Bits of the padding, too, are counted.": -float(shifted.sum()) / log(2) / 7,
        },
    )


def _exp(nats: Tensor | float) -> float:
    """exp as a float, infinite where it is too large for one."""
    return float(torch.tensor(float(nats), dtype=torch.float64).exp())


def clipped_precision(hypothesis: list[str], reference: list[str], n: int) -> tuple[int, int]:
    """(matches, total): the n-grams of the hypothesis that stand in the reference, clipped, and how many it has."""
    ours, theirs = (
        Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for words in (hypothesis, reference)
    )
    return (ours & theirs).total(), ours.total()  # `&` keeps of each n-gram the smaller count


precision = Exercise(
    "15.2",
    title="The clipped precision of BLEU",
    reference=clipped_precision,
    cases=[
        *(
            Case(hypothesis.split(), reference.split(), n)
            for hypothesis, reference, n in (
                ("the the the the the the the", "the cat is on the mat", 1),
                ("the cat sat on the mat the cat", "the cat is on the mat", 2),
                ("a b a b a b c", "a b a b d", 2),
                ("a b c d", "d c b a", 1),
                ("a b c d", "d c b a", 2),
                ("a a", "a a b a a", 2),
                ("ab c", "a bc", 2),
                ("a b c d e", "b c d a b c", 3),
                ("The cat saw Tom", "the cat saw tom", 1),
                ("a cat, a dog.", "a cat a dog", 1),
                ("a b c d e f a b c d", "x a b c d e", 4),
                ("he is a cat", "the island has cats", 1),  # words within words
                ("a a a a", "a a a", 2),  # n-grams that overlap
            )
        ),
        *(
            Case(hypothesis.split(), reference.split(), n, message="A text with fewer than n words has no n-gram: 0.")
            for hypothesis, reference, n in (
                ("one two", "one two three", 3),
                ("one", "one two three", 3),
                ("one two three", "one", 2),
                ("", "one two", 1),
                ("one two", "", 1),
            )
        ),
    ],
    general="Not the n-grams that both have, each as often as in the one that has it less often, and how many the "
    "hypothesis has.",
    rtol=0,
    atol=0,
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


def _grams(words, n, stop=1):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + stop))


for _sentence, _wrong in {  # of the hypothesis' n-grams, the reference's, the two lists and n
    "Not clipped: an n-gram counts at most as often as the reference has it, or `the the the` would be perfect.": (
        lambda ours, theirs, a, b, n: (sum(count for gram, count in ours.items() if gram in theirs), ours.total())
    ),
    "Each n-gram counts once; it counts as often as both have it.": (
        lambda ours, theirs, a, b, n: (len(set(ours) & set(theirs)), ours.total())
    ),
    "Each different n-gram is counted once, among the matches and in the total; repetitions count in both.": (
        lambda ours, theirs, a, b, n: (len(set(ours) & set(theirs)), len(ours))
    ),
    "Capitals are taken for small letters; words are compared as they are.": (
        lambda ours, theirs, a, b, n: _total_of_both(*(_grams([w.lower() for w in words], n) for words in (a, b)))
    ),
    "Punctuation is taken off; words are compared as they are.": (
        lambda ours, theirs, a, b, n: _total_of_both(*(_grams([w.strip(".,") for w in words], n) for words in (a, b)))
    ),
    "Counted from the side of the reference, not clipped by the hypothesis.": (
        lambda ours, theirs, a, b, n: (sum(count for gram, count in theirs.items() if gram in ours), ours.total())
    ),
    "Words are counted, not n-grams: the order within an n-gram matters.": (
        lambda ours, theirs, a, b, n: ((Counter(a) & Counter(b)).total(), ours.total())
    ),
    "Each different n-gram is counted once; repetitions count in the total.": (
        lambda ours, theirs, a, b, n: ((ours & theirs).total(), len(ours))
    ),
    "The total counts the n-grams of the reference; precision asks for those of the hypothesis.": (
        lambda ours, theirs, a, b, n: ((ours & theirs).total(), theirs.total())
    ),
    "The total counts words, not n-grams.": lambda ours, theirs, a, b, n: ((ours & theirs).total(), len(a)),
    "One n-gram too few: the last one begins at len(words) - n.": (
        lambda ours, theirs, a, b, n: _total_of_both(_grams(a, n, 0), _grams(b, n, 0))
    ),
    "Shorter runs at the end of a text are counted as n-grams; the last one begins at len(words) - n.": (
        lambda ours, theirs, a, b, n: _total_of_both(_grams(a, n, n), _grams(b, n, n))
    ),
    "The words of an n-gram are joined without a gap, and `ab c` becomes the same as `a bc`. Keep a tuple.": (
        lambda ours, theirs, a, b, n: (
            (Counter("".join(g) for g in ours.elements()) & Counter("".join(g) for g in theirs.elements())).total(),
            ours.total(),
        )
    ),
}.items():
    precision.bug(_sentence)(
        lambda hypothesis, reference, n, _wrong=_wrong: _wrong(
            _grams(hypothesis, n), _grams(reference, n), hypothesis, reference, n
        )
    )


def _total_of_both(ours, theirs):
    return (ours & theirs).total(), ours.total()


@precision.first
def two_counts(candidate: Callable[[list[str], list[str], int], tuple[int, int]]) -> None:
    result = precision.cases[0].call(candidate)
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2,
        "Two whole numbers are wanted, `return matches, total`; the division comes later, over the whole corpus.",
        yours=result,
    )


def _texts() -> list[Case]:
    draw = torch.Generator().manual_seed(3)
    long = [[str(i) for i in torch.randint(20, (n,), generator=draw).tolist()] for n in (200, 180)]
    pairs = (
        ("a b c d", "a b c d"),
        ("a b c", "x y z"),
        ("", "a b"),
        ("a b", ""),
        ("the lamp of brine is amber", "amber is the lamp of brine"),
        ("c a b", "a b c"),
        ("a x b y c z", "a b c"),
        ("a b a b b", "b a b a b"),
        ("x a b c", "a b c x"),
        ("a a a", "a a"),
        ("a", "a a"),
        ("a x b c", "a b x c b x"),
        ("The cat saw Tom, the dog", "the cat saw tom the dog."),
    )
    return [*(Case(a.split(), b.split()) for a, b in pairs), Case(*long, note="two texts of 200 and 180 words")]


subsequence = Exercise(
    "15.3",
    title="The longest common subsequence",
    reference="course_utils.evaluation.overlap:longest_common_subsequence",
    cases=_texts,
    general="Not the longest common subsequence.",
    rtol=0,
    atol=0,
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


class _Word(str):
    """A word that counts how often words are compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        _Word.compared += 1
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other


@subsequence.first
def time_grows_with_the_table(candidate: Callable[[list[str], list[str]], int]) -> None:
    _Word.compared = 0
    candidate(*([_Word(f"{text}{i}") for i in range(10)] for text in "ab"))
    expect.that(
        _Word.compared < 5_000,
        f"Words were compared {_Word.compared:,} times, though there are 100 pairs: plain recursion asks the same again and "
        "again. Keep what is known in a table.",
        given="two texts of 10 words, none in common",
    )


@subsequence.bug("That is the longest run without gaps; gaps are allowed.")
def longest_run(a, b):
    best, row = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0] + [row[j] + 1 if x == y else 0 for j, y in enumerate(b)]
        best = max(best, *row)
    return best


@subsequence.bug("Words are counted without their order.")
def bag_of_words(a, b):
    return (Counter(a) & Counter(b)).total()


@subsequence.bug("Different words are counted without their order.")
def set_of_words(a, b):
    return len(set(a) & set(b))


@subsequence.bug(
    "The first match is taken at once. A later one may leave room for more: `c a b` and `a b c` share `a b`."
)
def first_match(a, b):
    place = found = 0
    for word in a:
        if word in b[place:]:
            place, found = b.index(word, place) + 1, found + 1
    return found


@subsequence.bug(
    "There is one row only, and its upper left value is overwritten before it is used: one word of a is then matched "
    "twice. (`[[0] * n] * m` is one row, too.)"
)
def overwritten_row(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        for j, y in enumerate(b, start=1):
            row[j] = row[j - 1] + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


@subsequence.bug("Compared place by place; one word more at the front would make everything differ.")
def place_by_place(a, b):
    return sum(x == y for x, y in zip(a, b, strict=False))


@subsequence.bug(
    "The longest run is taken first, then those to its left and right, as `difflib` does; other choices share more."
)
def blocks_of_difflib(a, b):
    return sum(block.size for block in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks())


@subsequence.bug("Letters are compared; the length is counted in words.")
def letters(a, b):
    return subsequence.reference(" ".join(a), " ".join(b))


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
        low <= 1,
        "The interval lies above every value: take the mean of each resample, not the sum.",
        given=given,
        yours=(low, high),
    )
    expect.that(
        width > 1e-6 or abs(low - mean) < 1e-6,
        "Every resample gives the same figure, and it is not the mean of the values. Is it a median, or another statistic?",
        given=given,
        yours=(low, high),
    )
    fine = candidate(torch.linspace(0, 1, 200), 4_000, 0.95, torch.Generator().manual_seed(1))
    expect.that(
        width > 1e-6 or float(fine[0]) < float(fine[1]),
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
        not 6.2 < width,
        "Too wide: these are about the smallest and the largest mean. The interval ends at the quantiles (1 - confidence) / 2 and "
        "(1 + confidence) / 2.",
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
        not 0.6 < width < 1.1,
        "Far too narrow: is there one mean for each resample, and not one for each question (the wrong axis)?",
        given=given,
        expected=f"about {mean - 1.96 * error:.3f} to {mean + 1.96 * error:.3f}",
        yours=(low, high),
    )
    expect.that(
        not 3.1 < width < 3.45,
        "Too narrow: half of what is left out belongs on each side, so for 0.95 the quantiles are 0.025 and 0.975.",
        given=given,
        expected=f"about {mean - 1.96 * error:.3f} to {mean + 1.96 * error:.3f}",
        yours=(low, high),
    )
    expect.that(
        3.55 < width,
        "Too narrow: is each resample as large as the sample, and are the quantiles (1 - confidence) / 2 and (1 + confidence) / 2?",
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
    generator = torch.Generator().manual_seed(6)
    twice = [tuple(map(float, candidate(torch.linspace(0, 1, 50), 300, 0.95, generator))) for _ in range(2)]
    expect.that(
        twice[0] != twice[1],
        "Called again with the same generator it gives the same interval: draw from `generator` as it is, without a new seed.",
        yours=twice,
    )
    for n in (50, 400):
        values_n = torch.linspace(0, 1, n)
        low, high = (float(end) for end in candidate(values_n, 2_000, 0.95, torch.Generator().manual_seed(7)))
        usual = 3.92 * float(values_n.std()) / n**0.5
        expect.that(
            0.9 * usual < high - low < 1.1 * usual,
            f"Right for 200 values, wrong for {n}: each resample is as large as the sample. Take its length from `values`.",
            given=f"{n} values, evenly from 0 to 1",
            expected=f"a width of about {usual:.3f}",
            yours=high - low,
        )
    for place in range(5):
        one_hot = torch.zeros(5)
        one_hot[place] = 1
        found = candidate(one_hot, 400, 0.95, torch.Generator().manual_seed(8))
        expect.that(
            float(found[1]) > 0,
            f"Value {place} of 5 is never drawn. `torch.randint(n, ...)` draws from 0 to n - 1: all of them.",
            given=f"values = {one_hot.tolist()}",
            yours=found,
        )
    message, lonely = "Of a single value each resample is that value.", torch.tensor([0.25])
    try:
        found = tuple(map(float, candidate(lonely, 20, 0.95, torch.Generator().manual_seed(9))))
    except RuntimeError as error:
        raise Mistake(message, given="values = [0.25]", yours=f"RuntimeError: {error}") from None
    expect.that(max(abs(end - 0.25) for end in found) < 1e-6, message, given="values = [0.25]", yours=found)
    rare = torch.tensor([0.0] * 29 + [1.0])
    low, high = (float(end) for end in candidate(rare, 2_000, 0.95, torch.Generator().manual_seed(4)))
    given = "29 zeros and a one: the mean is 0.033, and the means of resamples lie between 0 and 0.1"
    expect.that(
        low > -1e-6 or high > 0.08,
        "The interval is mirrored at the mean (2 * mean - quantile); its ends are the quantiles themselves.",
        given=given,
        yours=(low, high),
    )
    expect.that(
        low > -1e-6,
        "The lower end lies below every value: that is the mean minus so many standard errors, not a quantile of the means.",
        given=given,
        yours=(low, high),
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
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


area = Exercise(
    "15.5",
    title="The area under the curve",
    reference=auc,
    cases=[
        Case([3.0, 2.6, 1.0, 0.7, 2.2], [0.5, 2.5, 1.6]),
        Case([1.0, 1.0, 2.0, 5.0], [1.0, 2.0, 3.0]),
        Case([-1.0, -3.0], [-2.0, -2.5, -4.0, -3.5, 0.0]),
        Case([0.9, 0.8], [0.1, 0.2, 0.3]),
        Case([2.0, 0.5, 2.0], [0.5, 0.5, 0.5, 3.0]),
        Case([0.1], [0.4]),
    ],
    general="Not the share of pairs in which the positive is above.",
    difficulty=2,
    minutes=6,
    points=2,
    asked="what does an AUC of 0.5 mean? Write it without a library",
    hints=[
        "Compare every positive with every negative: 1 if it is above, 0.5 if equal, 0 if below.",
        "Divide the sum by the number of pairs, `len(positives) * len(negatives)`.",
    ],
)


def _accuracy(p, n):
    middle = sorted(p + n)[len(p + n) // 2]
    return (sum(x >= middle for x in p) + sum(x < middle for x in n)) / len(p + n)


def _ranks_from_0(p, n):
    ranks = sum(sum(x < y for x in p + n) + (sum(x == y for x in p + n) - 1) / 2 for y in p)
    return (ranks - len(p) * (len(p) + 1) / 2) / (len(p) * len(n))


for _sentence, _wrong in {
    "Turned round: the positives should be above.": lambda p, n: auc(n, p),
    "That is Gini's coefficient, 2 AUC - 1, which is 0 for a coin.": lambda p, n: 2 * auc(p, n) - 1,
    "Never below one half: then a score that points the wrong way would pass for a good one.": lambda p, n: max(
        auc(p, n), 1 - auc(p, n)
    ),
    "That is a difference of means; only the order counts.": lambda p, n: sum(p) / len(p) - sum(n) / len(n),
    "A tie counts one half; yours counts it as nothing.": lambda p, n: (
        sum(x > y for x in p for y in n) / (len(p) * len(n))
    ),
    "A tie counts one half; yours counts it as won.": lambda p, n: (
        sum(x >= y for x in p for y in n) / (len(p) * len(n))
    ),
    "Not divided by the number of pairs.": lambda p, n: auc(p, n) * len(p) * len(n),
    "Equal scores of one side are counted once; each is a text of its own, and meets all of the other side.": (
        lambda p, n: auc(sorted(set(p)), sorted(set(n)))
    ),
    "Compared place by place; every positive meets every negative.": lambda p, n: (
        sum((x > y) + 0.5 * (x == y) for x, y in zip(p, n, strict=False)) / min(len(p), len(n))
    ),
    "That is an accuracy at one threshold; the AUC needs none.": _accuracy,
    "Ranks count from 1 in that formula; yours begin with 0.": _ranks_from_0,
}.items():
    area.bug(_sentence)(lambda positives, negatives, _wrong=_wrong: _wrong(positives, negatives))


def mcnemar(first: list[bool], second: list[bool]) -> tuple[float, float]:
    """(exact, mid-p): two-sided p-values of McNemar's test, from a coin thrown for each question that tells."""
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    n, fewer = only_first + only_second, min(only_first, only_second)
    below, here = sum(comb(n, k) for k in range(fewer)), comb(n, fewer)
    return min(1.0, 2 * (below + here) / 2**n), min(1.0, (2 * below + here) / 2**n)


def _answers(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Two lists of answers with these counts, in no particular order."""
    pairs = [(True, True)] * both + [(True, False)] * only_first + [(False, True)] * only_second
    pairs += [(False, False)] * neither
    pairs = [pairs[i] for i in torch.randperm(len(pairs), generator=torch.Generator().manual_seed(15)).tolist()]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _case(*counts: int, message: str = "") -> Case:
    names = ("both right", "only the first right", "only the second right", "both wrong")
    note = ", ".join(f"{count} {name}" for count, name in zip(counts, names, strict=True))
    return Case(*_answers(*counts), note=note, message=message)


paired = Exercise(
    "15.6",
    title="McNemar's test",
    reference=mcnemar,
    cases=[
        _case(3, 1, 5, 2),
        _case(10, 9, 2, 4),
        _case(6, 4, 4, 1, message="An even split is no evidence: both p-values are 1, and none is larger."),
        _case(0, 0, 6, 0),
        _case(40, 31, 57, 20),
        _case(5, 0, 0, 3, message="Without a question that tells there is no evidence: both p-values are 1."),
        _case(
            500, 700, 640, 100, message="2 ** n is a large whole number here: use `math.comb` and divide at the end."
        ),
    ],
    general="Not the exact p-value and the mid-p of the questions that only one of the two got right.",
    rtol=1e-6,
    atol=1e-12,
    difficulty=2,
    minutes=9,
    points=2,
    asked="two models, the same questions: which test?",
    hints=[
        "Count two things: `only_first`, the questions that the first got right and the second wrong, and `only_second`.",
        "If both are equally good, each of these n questions went to one of them like a coin. `math.comb(n, k) / 2**n` is the "
        "probability of exactly k.",
        "With `k = min(only_first, only_second)`: exact is twice the sum of the probabilities of 0 to k, at most 1. For mid-p the "
        "last of them, that of k itself, counts half.",
        "```python\nn, k = only_first + only_second, min(only_first, only_second)\nbelow, here = sum(comb(n, i) for i in "
        "range(k)), comb(n, k)\nreturn min(1.0, 2 * (below + here) / 2**n), min(1.0, (2 * below + here) / 2**n)\n```",
    ],
)


def _split(first: list[bool], second: list[bool]) -> tuple[int, int]:
    both = list(zip(first, second, strict=True))
    return sum(a and not b for a, b in both), sum(b and not a for a, b in both)


def _tails(k: int, n: int) -> tuple[float, float]:
    """Exact and mid-p of the lower tail, one-sided."""
    below, here = sum(comb(n, i) for i in range(k)), comb(n, k)
    return (below + here) / 2**n, (2 * below + here) / 2 ** (n + 1)


def _chi_square(b: int, c: int, correction: float) -> float:
    return erfc((max(abs(b - c) - correction, 0) ** 2 / max(b + c, 1) / 2) ** 0.5)


def _two_samples(first: list[bool], second: list[bool]) -> float:
    n, p, q = len(first), sum(first) / len(first), sum(second) / len(second)
    middle = (p + q) / 2
    return erfc(abs(p - q) / max((4 * middle * (1 - middle) / n) ** 0.5, 1e-12))


for _sentence, _paired_bug in {
    "That is one-sided: an uneven split to the other side would be as surprising, so the tail counts twice.": (
        lambda a, b: _tails(min(_split(a, b)), sum(_split(a, b)))
    ),
    "A p-value above 1: of an even split both tails hold the middle. Take at most 1.": (
        lambda a, b: tuple(2 * tail for tail in _tails(min(_split(a, b)), sum(_split(a, b))))
    ),
    "The two are swapped: exact first, then mid-p.": lambda a, b: mcnemar(a, b)[::-1],
    "The second is the exact p-value again; for mid-p the split itself counts half.": (
        lambda a, b: (mcnemar(a, b)[0], mcnemar(a, b)[0])
    ),
    "The right answers of each model are compared; only the questions that exactly one of them got right tell.": (
        lambda a, b: tuple(min(1.0, 2 * tail) for tail in _tails(min(sum(a), sum(b)), sum(a) + sum(b)))
    ),
    "The coin is thrown for all questions; those that both got right, or both wrong, say nothing.": (
        lambda a, b: tuple(min(1.0, 2 * tail) for tail in _tails(min(_split(a, b)), len(a)))
    ),
    "The tail is always taken below the first's count; take the smaller of the two.": (
        lambda a, b: tuple(min(1.0, 2 * tail) for tail in _tails(_split(a, b)[0], sum(_split(a, b))))
    ),
    "That is the chi-square approximation; with so few questions count exactly.": (
        lambda a, b: (_chi_square(*_split(a, b), 0), _chi_square(*_split(a, b), 0))
    ),
    "That is the chi-square approximation with a correction of 1; count exactly.": (
        lambda a, b: (_chi_square(*_split(a, b), 1), _chi_square(*_split(a, b), 1))
    ),
    "That is a test of two separate samples; it does not know that both answered the same questions.": (
        lambda a, b: (_two_samples(a, b), _two_samples(a, b))
    ),
    "Only the probability of this very split is taken; more uneven ones belong to it too.": (
        lambda a, b: (
            min(1.0, 2 * comb(sum(_split(a, b)), min(_split(a, b))) / 2 ** sum(_split(a, b))),
            comb(sum(_split(a, b)), min(_split(a, b))) / 2 ** sum(_split(a, b)),
        )
    ),
}.items():
    paired.bug(_sentence)(lambda first, second, _wrong=_paired_bug: _wrong(first, second))


def cluster_error(values: list[float], clusters: list[str]) -> float:
    """The standard error of the mean of values that come in groups: sqrt(G / (G - 1) * sum of squared group sums) / n."""
    mean = sum(values) / len(values)
    sums: dict[str, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - mean
    return (len(sums) / (len(sums) - 1) * sum(s * s for s in sums.values())) ** 0.5 / len(values)


grouped = Exercise(
    "15.7",
    title="The standard error of questions in groups",
    reference=cluster_error,
    cases=[
        Case([1.0, 1.0, 0.0, 0.0, 1.0, 0.0], ["Ada", "Ada", "Bo", "Bo", "Cy", "Cy"]),
        Case([1.0, 0.0, 1.0, 0.0, 0.5, 0.0], ["Ada", "Bo", "Ada", "Bo", "Cy", "Cy"]),
        Case([1.0, 0.0, 0.5, 1.0], ["Ada", "Bo", "Cy", "Di"]),
        Case([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0], ["Ada", "Ada", "Ada", "Ada", "Bo", "Cy", "Cy"]),
        Case([2.0, -1.0, 4.0, 0.5, 3.0], ["x", "y", "x", "y", "x"]),
        Case([1.0, 0.0, 1.0, 0.0], ["Ada", "Ada", "Bo", "Bo"], message="Within a group right and wrong cancel out: 0."),
    ],
    general="Not the cluster-robust standard error of the mean.",
    rtol=1e-6,
    atol=1e-9,
    difficulty=3,
    minutes=10,
    points=3,
    asked="six questions about each person: how certain is the mean?",
    hints=[
        "Subtract the mean of all values from every value. Then add up what is left *within* each group: a dict from group to sum.",
        "Square the sums, one for each group, and add the squares. With G groups multiply by G / (G - 1).",
        "The root of that, divided by the number of values.",
        "```python\nmean, sums = sum(values) / len(values), {}\nfor value, cluster in zip(values, clusters):\n    "
        "sums[cluster] = sums.get(cluster, 0.0) + value - mean\nsquares = sum(s * s for s in sums.values())\nreturn (len(sums) "
        "/ (len(sums) - 1) * squares) ** 0.5 / len(values)\n```",
    ],
)


def _gathered(values: list[float], clusters: list[str]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        found.setdefault(cluster, []).append(value)
    return found


def _spread(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)


def _error_of(sums: list[float], n: int) -> float:
    return (len(sums) / max(len(sums) - 1, 1) * sum(s * s for s in sums)) ** 0.5 / n


def _runs(values: list[float], clusters: list[str]) -> list[float]:
    mean, sums, last = sum(values) / len(values), [], None
    for value, cluster in zip(values, clusters, strict=True):
        if cluster != last:
            sums.append(0.0)
        sums[-1] += value - mean
        last = cluster
    return sums


for _sentence, _grouped_bug in {
    "That takes the questions for independent: s / sqrt(n). Add up what is left within each group before you square.": (
        lambda v, c: (_spread(v) / len(v)) ** 0.5
    ),
    "The factor G / (G - 1) is missing; G is the number of groups.": lambda v, c: (
        cluster_error(v, c) * ((len(set(c)) - 1) / len(set(c))) ** 0.5
    ),
    "The factor is that of the questions, n / (n - 1); it is that of the groups, G / (G - 1).": lambda v, c: (
        cluster_error(v, c) * ((len(set(c)) - 1) / len(set(c)) * len(v) / (len(v) - 1)) ** 0.5
    ),
    "That is the variance; the root is missing.": lambda v, c: cluster_error(v, c) ** 2,
    "Squared before they are added up within the group; errors that point the same way must add first.": lambda v, c: (
        (len(set(c)) / (len(set(c)) - 1) * sum((x - sum(v) / len(v)) ** 2 for x in v)) ** 0.5 / len(v)
    ),
    "The mean is not subtracted before the values of a group are added up.": lambda v, c: _error_of(
        [sum(group) for group in _gathered(v, c).values()], len(v)
    ),
    "Divided by the number of groups; it is the number of values.": lambda v, c: (
        cluster_error(v, c) * len(v) / len(set(c))
    ),
    "That is the standard error of the groups' means, in which a small group counts as much as a large one.": (
        lambda v, c: (_spread([sum(g) / len(g) for g in _gathered(v, c).values()]) / len(set(c))) ** 0.5
    ),
    "A group that comes back later in the list is taken for a new one; gather by name.": lambda v, c: _error_of(
        _runs(v, c), len(v)
    ),
    "Each group's own mean is subtracted, so nothing of what groups differ in is left; subtract the mean of all.": (
        lambda v, c: (sum(_spread(g) * (len(g) - 1) for g in _gathered(v, c).values())) ** 0.5 / len(v)
    ),
}.items():
    grouped.bug(_sentence)(lambda values, clusters, _wrong=_grouped_bug: _wrong(values, clusters))
