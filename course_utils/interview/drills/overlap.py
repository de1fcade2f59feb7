"""Drills on overlap with a reference: BLEU and ROUGE-L."""

from __future__ import annotations

import math
from collections import Counter

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition


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
        Case([], []),
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
