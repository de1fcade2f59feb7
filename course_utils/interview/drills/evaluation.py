"""Drills on evaluation: success among samples, votes, perplexity, overlap with references, calibration, tests, agreement."""

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


def bleu(hypotheses: list[list[str]], references: list[list[str]]) -> float:
    """BLEU of a corpus, 0 to 1: hypotheses and references (one each) as lists of tokens, n-grams of 1 to 4, no smoothing.

    The geometric mean of the four clipped precisions, each over the whole corpus, times min(1, exp(1 - r / c)), with r and c the
    total lengths of references and hypotheses. 0 if a precision is 0.
    """
    logs = 0.0
    for n in range(1, 5):
        hit = total = 0
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            mine = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
            theirs = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
            hit += sum((mine & theirs).values())
            total += sum(mine.values())
        if hit == 0:
            return 0.0
        logs += math.log(hit / total) / 4
    c, r = sum(map(len, hypotheses)), sum(map(len, references))
    return math.exp(logs) * min(1.0, math.exp(1 - r / c))


def _corpus(seed, lengths, words="a b c d e"):
    import random

    rng, letters = random.Random(seed), words.split()
    hypotheses, references = [], []
    for hypothesis_length, reference_length in lengths:
        reference = [rng.choice(letters) for _ in range(reference_length)]
        hypothesis = (reference * 2)[:hypothesis_length]
        hypothesis[rng.randrange(len(hypothesis))] = rng.choice(letters)
        hypotheses.append(hypothesis)
        references.append(reference)
    return hypotheses, references


overlap = Definition(
    bleu,
    title="BLEU of a corpus",
    level="onsite",
    minutes=15,
    topics=("A19",),
    statement="""
    Write BLEU for a corpus with one reference each. For n = 1 to 4: how many n-grams of the hypotheses occur in their own reference,
    each counted at most as often as it stands there (clipped), summed over the corpus, divided by the number of n-grams of all
    hypotheses. The geometric mean of the four, times the brevity penalty `min(1, exp(1 - r / c))` with r and c the total lengths.
    No smoothing: 0 if a precision is 0. Hypotheses and references: lists of tokens. Result: 0 to 1.
    """,
    cases=lambda: [
        Case([["a", "b", "c", "d", "e"]], [["a", "b", "c", "d", "f"]]),
        Case(*_corpus(1, [(7, 7), (9, 9)])),
        Case(*_corpus(2, [(5, 8), (6, 7)])),
        Case(*_corpus(3, [(12, 7), (6, 6), (8, 10)])),
        Case([["a", "b", "c"]], [["a", "b", "c"]]),
        Case([["a", "b", "c", "d"] * 3], [["a", "b", "c", "d", "e", "f"]]),
        Case(*_corpus(4, [(6, 12), (14, 9)])),
    ],
    general="Not the geometric mean of the clipped corpus precisions times the brevity penalty.",
    hints=[
        "Sum hits and totals over the corpus before dividing. `Counter & Counter` keeps the smaller count: that is the clipping.",
        "`hit += sum((mine & theirs).values())`, `total += sum(mine.values())` for each n; `math.exp(sum(log(hit / total)) / 4) * "
        "min(1, math.exp(1 - r / c))`.",
    ],
    banned=("corpus_bleu", "sentence_bleu"),
)


def _bleu(
    hyps,
    refs,
    clip=True,
    brevity="corpus",
    mean="geometric",
    order=4,
    sentence=False,
    smooth=0,
    recall=False,
    pooled=False,
):
    if sentence:
        return sum(_bleu([h], [r]) for h, r in zip(hyps, refs, strict=True)) / len(hyps)
    values = []
    for n in range(1, order + 1):
        hit = total = 0
        pool = Counter(tuple(r[i : i + n]) for r in refs for i in range(len(r) - n + 1))
        for h, r in zip(hyps, refs, strict=True):
            mine = Counter(tuple(h[i : i + n]) for i in range(len(h) - n + 1))
            theirs = pool if pooled else Counter(tuple(r[i : i + n]) for i in range(len(r) - n + 1))
            hit += sum(min(k, theirs[g]) if clip else k * (g in theirs) for g, k in mine.items())
            total += sum(theirs.values()) if recall else sum(mine.values())
        values.append((hit + smooth) / (total + smooth) if total + smooth else 0.0)
    c, r = sum(map(len, hyps)), sum(map(len, refs))
    if min(values) == 0:
        return 0.0
    if mean == "arithmetic":
        score = sum(values) / order
    elif mean == "product":
        score = math.prod(values)
    else:
        score = math.exp(sum(map(math.log, values)) / order)
    penalty = {
        "corpus": min(1.0, math.exp(1 - r / c)),
        "none": 1.0,
        "both": math.exp(1 - r / c),
        "turned": min(1.0, math.exp(1 - c / r)),
        "ratio": min(1.0, c / r),
    }
    return score * penalty[brevity]


overlap.plant(
    {
        sentence: lambda hypotheses, references, wrong=wrong: _bleu(hypotheses, references, **wrong)
        for sentence, wrong in {
            "Not clipped: a word repeated without end would count every time.": {"clip": False},
            "The brevity penalty is missing: a short answer would win.": {"brevity": "none"},
            "A hypothesis that is longer is rewarded; the penalty is at most 1.": {"brevity": "both"},
            "The lengths in the penalty are exchanged: it is exp(1 - r / c) where the hypotheses are shorter.": {
                "brevity": "turned"
            },
            "The penalty is c / r; it is exp(1 - r / c).": {"brevity": "ratio"},
            "The arithmetic mean of the precisions; it is the geometric one.": {"mean": "arithmetic"},
            "The precisions are multiplied, without the fourth root.": {"mean": "product"},
            "The mean of the sentences' BLEU; counts are summed over the corpus first.": {"sentence": True},
            "Smoothed: counts are raised by 1; here a precision of 0 gives 0.": {"smooth": 1},
            "Only n-grams up to 2; it is up to 4.": {"order": 2},
            "Divided by the n-grams of the references: that is recall.": {"recall": True},
            "N-grams are looked for in all references; each hypothesis has its own.": {"pooled": True},
        }.items()
    }
    | {
        "Between 0 and 100; here it is between 0 and 1.": lambda hypotheses, references: (
            100 * _bleu(hypotheses, references)
        )
    }
)


def rouge_l(hypothesis: list[str], reference: list[str]) -> float:
    """The F1 of ROUGE-L: from the length of the longest common subsequence of two lists of tokens. 0 if either is empty."""
    row = [0] * (len(reference) + 1)
    for mine in hypothesis:
        before = 0  # the value up and to the left
        for j, theirs in enumerate(reference, 1):
            before, row[j] = row[j], before + 1 if mine == theirs else max(row[j], row[j - 1])
    common = row[-1]
    return 2 * common / (len(hypothesis) + len(reference)) if common else 0.0


rouge = Definition(
    rouge_l,
    title="ROUGE-L",
    level="onsite",
    minutes=12,
    topics=("A19",),
    statement="""
    Compare a summary with a reference by the longest common subsequence: tokens that occur in both in the same order, with gaps
    allowed. With its length L: precision L / len(hypothesis), recall L / len(reference), and the result is
    `2 P R / (P + R)`. 0 if nothing is in common or a list is empty. Texts of 1000 tokens must be done in a second.
    """,
    cases=lambda: [
        Case(["a", "b"], ["a", "c", "b"]),
        Case(["b", "a"], ["a", "b"]),
        Case("the cat sat on the mat".split(), "the mat lay under the cat".split()),
        Case("a b c b d a b".split(), "b d c a b a".split()),
        Case([], ["a"]),
        Case(["x"], ["y"]),
        Case("a a a a".split(), "a a".split()),
        Case(
            *[words[:400] for words in (("a b c d e f g " * 60).split(), ("b a d c f e " * 70).split())],
            note="400 tokens each",
        ),
    ],
    general="Not 2 P R / (P + R) of the longest common subsequence.",
    seconds=3.0,
    hints=[
        "A table with one row more and one column more than there are tokens: equal tokens add 1 to the value up and to the left, "
        "others take the larger of up and left.",
        "`t[i][j] = t[i-1][j-1] + 1 if a == b else max(t[i-1][j], t[i][j-1])`; with L in the corner `2 * L / (len(hypothesis) + "
        "len(reference))`.",
    ],
)


def _lcs(a, b, kind="subsequence"):
    if kind == "bag":
        return sum((Counter(a) & Counter(b)).values())
    if kind == "set":
        return len(set(a) & set(b))
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            if x == y:
                table[i][j] = table[i - 1][j - 1] + 1
            elif kind == "subsequence":
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    if kind == "string":
        return max(map(max, table))
    return table[-1][-1]


def _rouge(a, b, kind="subsequence", f=lambda p, r: 2 * p * r / (p + r)):
    common = _lcs(a, b, kind)
    return f(common / len(a), common / len(b)) if common else 0.0


rouge.plant(
    {
        sentence: lambda hypothesis, reference, wrong=wrong: _rouge(hypothesis, reference, **wrong)
        for sentence, wrong in {
            "That is the longest common piece without gaps; a subsequence may have gaps.": {"kind": "string"},
            "The order is not looked at: that is ROUGE-1.": {"kind": "bag"},
            "Common words are counted once, whatever their order.": {"kind": "set"},
            "That is recall alone; F1 is wanted.": {"f": lambda p, r: r},
            "That is precision alone; F1 is wanted.": {"f": lambda p, r: p},
            "The arithmetic mean of precision and recall; F1 is the harmonic one.": {"f": lambda p, r: (p + r) / 2},
            "A factor 2 is missing.": {"f": lambda p, r: p * r / (p + r)},
            "Divided by the longer of the two; F1 is 2 P R / (P + R).": {"f": lambda p, r: min(p, r)},
        }.items()
    }
    | {
        "The length of the subsequence is returned; F1 is wanted.": lambda hypothesis, reference: float(
            _lcs(hypothesis, reference)
        )
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


def mcnemar(first: list[bool], second: list[bool]) -> float:
    """The exact two-sided p-value of McNemar's test: two systems on the same questions, True where an answer is right.

    Only questions count on which the two differ. 1.0 if there are none.
    """
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n
    return min(1.0, 2 * tail)


def _votes(both, first, second, neither):
    a = [True] * both + [True] * first + [False] * second + [False] * neither
    b = [True] * both + [False] * first + [True] * second + [False] * neither
    return a, b


paired = Definition(
    mcnemar,
    title="McNemar's test",
    level="onsite",
    minutes=8,
    topics=("A19", "L4"),
    statement="""
    Two systems answered the same questions. Is one better? Only the questions count on which just one of them is right: if both are
    equally good, each of these falls to either side like a coin. Give the exact two-sided p-value from the binomial distribution
    with probability one half: twice the tail up to the smaller of the two counts, at most 1. No approximation, no correction.
    first, second: lists of bool of one length. Result: a float; 1.0 where they never differ.
    """,
    cases=lambda: [
        Case(*_votes(0, 1, 0, 0)),
        Case(*_votes(3, 6, 1, 2)),
        Case(*_votes(5, 2, 9, 4)),
        Case(*_votes(2, 4, 4, 1)),
        Case(*_votes(3, 0, 0, 2)),
        Case(*_votes(1, 0, 7, 30)),
    ],
    general="Not twice the binomial tail of the smaller count of the questions on which they differ, at most 1.",
    hints=[
        "Count b: only the first is right, and c: only the second. Under the null hypothesis min(b, c) is the lower tail of n = b + "
        "c throws of a coin.",
        "`tail = sum(math.comb(n, i) for i in range(min(b, c) + 1)) / 2**n`; `min(1.0, 2 * tail)`.",
    ],
    banned=("binomtest", "mcnemar"),
)


def _mcnemar(a, b, sides=2, cap=True, chi=False, correct=False, inside=True, everything=False, mid=False):
    x = sum(p and not q for p, q in zip(a, b, strict=True))
    y = sum(q and not p for p, q in zip(a, b, strict=True))
    n, k = x + y, min(x, y)
    if everything:
        n, k = sum(a) + sum(b), min(sum(a), sum(b))
    if chi:
        return math.erfc(math.sqrt(max(abs(x - y) - correct, 0) ** 2 / n / 2)) if n else 1.0
    tail = sum(math.comb(n, i) for i in range(k + (1 if inside else 0))) / 2**n
    tail -= math.comb(n, k) / 2**n / 2 if mid else 0
    return min(1.0, sides * tail) if cap else sides * tail


paired.plant(
    {
        sentence: lambda first, second, wrong=wrong: _mcnemar(first, second, **wrong)
        for sentence, wrong in {
            "One-sided: twice the tail is wanted.": {"sides": 1},
            "The p-value is above 1: cap it.": {"cap": False},
            "That is the approximation by chi squared; the exact binomial tail is wanted.": {"chi": True},
            "That is the approximation by chi squared with a correction; the exact binomial tail is wanted.": {
                "chi": True,
                "correct": True,
            },
            "The tail lacks the observed count itself.": {"inside": False},
            "The numbers of right answers are compared as if the questions were others; only those count on which they differ.": {
                "everything": True
            },
            "That is the mid-p-value.": {"mid": True},
        }.items()
    }
)


def bootstrap_interval(first: Tensor, second: Tensor, draws: Tensor, level: float) -> tuple[float, float]:
    """The percentile interval of the mean difference first - second, by a paired bootstrap over questions.

    first, second: (questions,), scores of two systems on the same questions. draws: (resamples, questions), for each resample
    the numbers of the questions that were drawn. The ends are the quantiles (1 - level) / 2 and (1 + level) / 2 of the
    resamples' mean differences, interpolated linearly.
    """
    means = (first - second)[draws].mean(1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=means.dtype)
    low, high = torch.quantile(means, ends).tolist()
    return low, high


def _bootstrap_cases():
    def case(seed, n, repeats, level):
        right = (normal(seed, n) > 0).float()
        other = ((normal(seed, n) + 0.6 * normal(seed + 1, n)) > 0.3).float()
        return Case(right, other, integers(seed + 2, n, repeats, n), level)

    small = Case(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0]), torch.tensor([[0, 0], [0, 1], [1, 1]]), 0.5)
    return [
        small,
        case(1, 12, 40, 0.9),
        case(4, 30, 100, 0.95),
        Case(normal(7, 8), normal(8, 8), integers(9, 8, 50, 8), 0.8),
    ]


bootstrap = Definition(
    bootstrap_interval,
    title="A paired bootstrap interval",
    level="onsite",
    minutes=8,
    topics=("A19", "L4"),
    statement="""
    How sure is the difference of two systems that answered the same questions? Resample questions, not answers: a drawn question
    brings both scores. Each row of `draws` holds the numbers of the questions of one resample. Take the mean difference
    `first - second` of each, and from these the quantiles (1 - level) / 2 and (1 + level) / 2, interpolated linearly.
    first, second: (questions,); draws: (resamples, questions). Result: (low, high), floats.
    """,
    cases=_bootstrap_cases,
    general="Not the two quantiles of the resampled mean differences.",
    hints=[
        "The difference of each question first; then index with the whole table of draws, and average each row.",
        "`means = (first - second)[draws].mean(1)`; `torch.quantile(means, torch.tensor([(1 - level) / 2, (1 + level) / 2]))`.",
    ],
)


def _boot(
    a, b, draws, level, paired=True, ends=lambda p: ((1 - p) / 2, (1 + p) / 2), normal_=False, rows=1, sign=1, se=False
):
    means = sign * (a - b)[draws].mean(rows) if paired else a[draws].mean(1) - b[draws.roll(1, 0)].mean(1)
    if normal_:
        z = math.sqrt(2) * torch.erfinv(torch.tensor(level)).item()
        centre, spread = float((a - b).mean()), float(means.std())
        return centre - z * spread, centre + z * spread
    low, high = torch.quantile(means, torch.tensor(ends(level))).tolist()
    return low, high


bootstrap.plant(
    {
        sentence: lambda first, second, draws, level, wrong=wrong: _boot(first, second, draws, level, **wrong)
        for sentence, wrong in {
            "The systems are resampled apart: what makes a question hard for both no longer cancels. Use the same questions.": {
                "paired": False
            },
            "The tails are 1 - level each; together they are 1 - level.": {"ends": lambda p: (1 - p, p)},
            "The interval begins at the lowest resample: that is one-sided.": {"ends": lambda p: (0.0, p)},
            "The normal approximation; the quantiles of the resamples are wanted.": {"normal_": True},
            "The difference is turned: first - second.": {"sign": -1},
            "Averaged over the resamples; each resample (a row) has its mean.": {"rows": 0},
        }.items()
    }
    | {
        "The smallest and the largest resample are returned; the quantiles are wanted.": lambda first, second, draws, level: (
            _boot(first, second, draws, 1.0)
        ),
        "Only the first system is resampled; it is the difference of both.": lambda first, second, draws, level: _boot(
            first, torch.zeros_like(second), draws, level
        ),
    }
)


def cohen_kappa(first: list[str], second: list[str]) -> float:
    """Cohen's kappa of two raters: (observed - chance) / (1 - chance). 1.0 where both always give the same single label."""
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    ours, theirs = Counter(first), Counter(second)
    chance = sum(ours[label] * theirs[label] for label in ours) / n**2
    return 1.0 if chance == 1 else (observed - chance) / (1 - chance)


kappa = Definition(
    cohen_kappa,
    title="Cohen's kappa",
    level="screen",
    minutes=6,
    topics=("A23", "A19"),
    statement="""
    How far do two raters agree beyond chance? `kappa = (observed - chance) / (1 - chance)`: observed is the share of equal labels,
    chance the agreement to be expected if each gave labels at random with their own frequencies, `sum_l p1(l) p2(l)`. If both give
    one and the same label throughout, chance is 1; return 1.0 then. first, second: labels of the same items. Result: a float.
    """,
    cases=lambda: [
        Case(["y", "n"], ["y", "y"]),
        Case(list("yynyn"), list("ynnyn")),
        Case(list("abcabca"), list("abbabcc")),
        Case(list("aab"), list("bba")),
        Case(list("aaa"), list("aaa")),
        Case(list("aaaaaaaab"), list("aaaaaaaba")),
        Case(list("abcd"), list("aabb")),
    ],
    general="Not (observed - chance) / (1 - chance).",
    hints=[
        "Chance needs the frequencies of both raters, label by label. A label that only one of them uses adds nothing.",
        "`chance = sum(ours[l] * theirs[l] for l in ours) / n**2`; `(observed - chance) / (1 - chance)`.",
    ],
    banned=("cohen_kappa_score",),
)


def _kappa(a, b, chance="own", divide=True, guard=1.0):
    n = len(a)
    seen = sum(x == y for x, y in zip(a, b, strict=True)) / n
    x, y = Counter(a), Counter(b)
    labels = set(a) | set(b)
    expected = {
        "own": sum(x[k] * y[k] for k in labels) / n**2,
        "even": 1 / len(labels),
        "pooled": sum(((x[k] + y[k]) / (2 * n)) ** 2 for k in labels),
        "none": 0.0,
        "first": sum((x[k] / n) ** 2 for k in labels),
    }[chance]
    if expected == 1:
        return guard
    return (seen - expected) / (1 - expected) if divide else seen - expected


kappa.plant(
    {
        sentence: lambda first, second, wrong=wrong: _kappa(first, second, **wrong)
        for sentence, wrong in {
            "Chance is taken to be even over the labels; it follows the raters' own frequencies.": {"chance": "even"},
            "The frequencies of both raters are pooled: that is Scott's pi.": {"chance": "pooled"},
            "Chance is not taken off: that is plain agreement.": {"chance": "none"},
            "Both frequencies are those of the first rater.": {"chance": "first"},
            "Not divided by 1 - chance: full agreement must give 1.": {"divide": False},
            "Where both always give the same single label, kappa is 1.0 here.": {"guard": 0.0},
        }.items()
    }
)
