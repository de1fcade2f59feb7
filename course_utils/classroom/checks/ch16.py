"""Checks of chapter 16: calibration error, a temperature, entropy over meanings, risk and coverage, claims against passages."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect


def calibration_error(confidence: list[float], correct: list[bool], bins: int) -> float:
    """The mean distance of mean confidence and accuracy over bins of equal width, weighted with their answers."""
    error = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [i for i, p in enumerate(confidence) if low < p <= high or p == low == 0]
        if inside:
            said = sum(confidence[i] for i in inside) / len(inside)
            right = sum(correct[i] for i in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(said - right)
    return error


def _calibration_cases() -> list[Case]:
    generator = torch.Generator().manual_seed(16)
    many = (torch.rand(60, generator=generator) * 0.98 + 0.013).tolist()
    right = (torch.rand(60, generator=generator) < torch.tensor(many) ** 2).tolist()
    return [
        Case([0.9, 0.7, 0.8, 0.3], [True, False, True, True], 2),
        Case([0.61, 0.93, 0.72, 0.12, 0.66], [True, False, True, False, False], 5),
        Case(
            [0.5, 0.62, 0.25, 0.41],
            [True, False, True, False],
            4,
            message="Wrong at an edge: a bin holds its upper edge and not its lower one.",
        ),
        Case(
            [0.0, 0.37, 0.0, 0.91, 1.0],
            [True, False, False, True, False],
            2,
            message="Wrong at the ends: 0 belongs to the first bin, 1 to the last.",
        ),
        Case(many, right, 10, note="60 answers, 10 bins"),
        Case([0.4], [True], 3),
    ]


calibration = Exercise(
    "16.1",
    title="The expected calibration error",
    reference=calibration_error,
    cases=_calibration_cases,
    general="Not the mean over the bins of |mean confidence - share that is right|, each weighted with its answers.",
    difficulty=2,
    minutes=10,
    points=2,
    asked="compute ECE; name two things that are wrong with it",
    hints=[
        "Go through the bins. Which answers lie in `low < p <= high`? Those with p = 0 belong to the first.",
        "For a bin that is not empty: the mean of its confidences, the share of its answers that is right, and the absolute "
        "difference of the two.",
        "Weigh each difference with `len(inside) / len(confidence)`, and add up. Empty bins add nothing.",
    ],
)


def _binned(
    confidence,
    correct,
    bins,
    place=lambda p, bins: max(math.ceil(p * bins) - 1, 0),
    gap=lambda said, right: abs(said - right),
    weight=lambda inside, total, used: inside / total,
    said=lambda values, number, bins: sum(values) / len(values),
    join=sum,
):
    rows: dict[int, list[int]] = {}
    for i, p in enumerate(confidence):
        number = place(p, bins)
        if number is not None:
            rows.setdefault(number, []).append(i)
    parts = []
    for number, inside in sorted(rows.items()):
        right = sum(correct[i] for i in inside) / len(inside)
        mean = said([confidence[i] for i in inside], number, bins)
        parts.append(weight(len(inside), len(confidence), len(rows)) * gap(mean, right))
    return float(join(parts))


def _right_edge(p, bins):
    return max(math.ceil(p * bins) - 1, 0)


for _sentence, _wrong in {
    "Every bin counts alike in yours; a bin counts with its answers.": {"weight": lambda inside, total, used: 1 / used},
    "That is the sum over the bins without weights: weigh each with its share of the answers.": {
        "weight": lambda inside, total, used: 1.0
    },
    "That is the largest gap, the maximum calibration error; the mean is wanted.": {
        "weight": lambda inside, total, used: 1.0,
        "join": lambda parts: max(parts, default=0.0),
    },
    "The absolute value is missing: too sure in one bin and too unsure in another cancel out.": {
        "gap": lambda said, right: said - right
    },
    "The gaps are squared; the absolute difference is wanted.": {"gap": lambda said, right: (said - right) ** 2},
    "The middle of the bin stands for its confidence; take the mean of the confidences in it.": {
        "said": lambda values, number, bins: (number + 0.5) / bins
    },
    "The upper edge of the bin stands for its confidence; take the mean of the confidences in it.": {
        "said": lambda values, number, bins: (number + 1) / bins
    },
    "A confidence on an edge is put into the bin above; a bin holds its upper edge.": {
        "place": lambda p, bins: min(math.floor(p * bins), bins - 1)
    },
    "Answers with confidence 0 are lost: they belong to the first bin.": {
        "place": lambda p, bins: _right_edge(p, bins) if p > 0 else None
    },
    "Answers with confidence 1 are lost: they belong to the last bin.": {
        "place": lambda p, bins: _right_edge(p, bins) if p < 1 else None
    },
    "There are ten bins in yours, whatever `bins` says.": {"place": lambda p, bins: _right_edge(p, 10)},
    "All answers are in one bin: the gaps of single bins cancel out.": {"place": lambda p, bins: 0},
}.items():
    calibration.bug(_sentence)(partial(_binned, **_wrong))


@calibration.bug("That is the mean distance of each confidence from 0 or 1; group the answers by bins first.")
def calibration_without_bins(confidence, correct, bins):
    return sum(abs(p - c) for p, c in zip(confidence, correct, strict=True)) / len(confidence)


@calibration.bug("That is the Brier score; group the answers by bins first, and take absolute differences.")
def calibration_as_brier(confidence, correct, bins):
    return sum((p - c) ** 2 for p, c in zip(confidence, correct, strict=True)) / len(confidence)


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T between 0.05 and 20 for which the labels are likeliest under softmax(logits / T)."""
    candidates = torch.linspace(math.log(0.05), math.log(20.0), 401).exp()
    losses = torch.stack([F.cross_entropy(logits.double() / t, labels) for t in candidates.tolist()])
    return candidates[losses.argmin()].item()


def _temperature_cases() -> list[Case]:
    generator = torch.Generator().manual_seed(3)

    def drawn(rows: int, classes: int, scale: float) -> tuple[Tensor, Tensor]:
        true = torch.randn(rows, classes, generator=generator) * 2
        labels = torch.multinomial(true.softmax(-1), 1, generator=generator)[:, 0]
        return true * scale, labels

    sure, unsure, wild = drawn(240, 4, 3.0), drawn(240, 6, 0.4), drawn(160, 3, 9.0)
    mixed = drawn(300, 8, 2.5)
    labels = mixed[1].clone()
    labels[::2] = torch.randint(8, (150,), generator=generator)
    return [
        Case(*sure, note="240 answers of a model that is too sure"),
        Case(*unsure, note="240 answers of a model that is too unsure", message="T may be below 1, too."),
        Case(mixed[0], labels, note="300 answers, half of them guessed"),
        Case(*wild, note="160 answers of a model that is far too sure"),
    ]


temperature = Exercise(
    "16.2",
    title="A temperature that calibrates",
    reference=best_temperature,
    cases=_temperature_cases,
    general="Not the T for which the cross-entropy of softmax(logits / T) with the labels is smallest.",
    rtol=0.02,
    atol=1e-4,
    difficulty=2,
    minutes=10,
    points=2,
    asked="write temperature scaling; what does it change?",
    hints=[
        "The loss for one T is `F.cross_entropy(logits / T, labels)`: the negative log-likelihood of the labels.",
        "Try many T, evenly in their logarithm: `torch.linspace(log(0.05), log(20), 401).exp()`. 2 % is exact enough.",
        "Return the T with the smallest loss, as a number.",
    ],
)


def _grid(loss: Callable[[Tensor, Tensor, float], Tensor], low: float = 0.05) -> Callable[[Tensor, Tensor], float]:
    def search(logits: Tensor, labels: Tensor) -> float:
        tried = torch.linspace(math.log(low), math.log(20.0), 401).exp().tolist()
        return tried[int(torch.stack([loss(logits.double(), labels, t) for t in tried]).argmin())]

    return search


def _brier_of(z: Tensor, y: Tensor, t: float) -> Tensor:
    return ((z / t).softmax(-1) - F.one_hot(y, z.shape[1])).square().sum(-1).mean()


def _gap_of_means(z: Tensor, y: Tensor, t: float) -> Tensor:
    return ((z / t).softmax(-1).max(-1).values.mean() - (z.argmax(-1) == y).double().mean()).abs()


for _sentence, _search in {
    "The logits are multiplied by T, so yours is 1 / T.": _grid(lambda z, y, t: F.cross_entropy(z * t, y)),
    "The loss is compared with the model's own choices; compare with `labels`.": _grid(
        lambda z, y, t: F.cross_entropy(z / t, z.argmax(-1))
    ),
    "That T brings the mean confidence to the accuracy; the one with the smallest cross-entropy is wanted.": _grid(
        _gap_of_means
    ),
    "That T has the smallest Brier score; the smallest cross-entropy is wanted.": _grid(_brier_of),
    "T may be below 1, too.": _grid(lambda z, y, t: F.cross_entropy(z / t, y), low=1.0),
    "`F.cross_entropy` takes logits; yours has got probabilities.": _grid(
        lambda z, y, t: F.cross_entropy((z / t).softmax(-1), y)
    ),
}.items():
    temperature.bug(_sentence)(partial(lambda logits, labels, search: search(logits, labels), search=_search))


@temperature.bug("That is the logarithm of T; T itself is wanted.")
def temperature_as_logarithm(logits, labels):
    return math.log(best_temperature(logits, labels))


@temperature.bug("That is the smallest loss; the T that has it is wanted.")
def temperature_as_loss(logits, labels):
    return F.cross_entropy(logits.double() / best_temperature(logits, labels), labels).item()


def meaning_entropy(meanings: list[str], logprobs: list[float]) -> float:
    """The entropy over meanings, in nats; the probabilities of the texts of one meaning add up."""
    top = max(logprobs)  # so that the likeliest text becomes exp(0): others may round to 0, not all of them
    weights = [math.exp(value - top) for value in logprobs]
    shares: dict[str, float] = {}
    for meaning, weight in zip(meanings, weights, strict=True):
        shares[meaning] = shares.get(meaning, 0.0) + weight / sum(weights)
    return -sum(p * math.log(p) for p in shares.values() if p > 0)


def _meaning_cases() -> list[Case]:
    def logs(*values: float) -> list[float]:
        return [math.log(value) for value in values]

    return [
        Case(["Mistley", "Gullport"], logs(0.2, 0.05)),
        Case(["Mistley", "Gullport", "Mistley", "Saltmere"], logs(0.25, 0.2, 0.15, 0.05)),
        Case(["baker", "baker", "baker"], logs(0.5, 0.2, 0.1)),
        Case(
            ["owl", "cat", "owl"],
            [-801.0, -800.0, -802.5],
            message=_ROUNDED,
        ),
        Case(
            ["owl", "cat"],
            [0.0, -2000.0],
            message=_ZERO,
        ),
    ]


_ROUNDED = "exp of -800 is 0 in a float: subtract the largest log-probability first."
_ZERO = "A probability may round to 0, and 0 log 0 counts as 0: leave such a meaning out."


def _no_division_by_zero(answer: Callable[..., float], meanings: list[str], logprobs: list[float]) -> float:
    try:
        return answer(meanings, logprobs)
    except (ZeroDivisionError, ValueError) as error:
        sentence = _ROUNDED if isinstance(error, ZeroDivisionError) else _ZERO
        raise Mistake(sentence, given={"meanings": meanings, "logprobs": logprobs}, yours=repr(error)) from error


meaning = Exercise(
    "16.3",
    title="Entropy over meanings",
    reference=meaning_entropy,
    cases=_meaning_cases,
    general="Not -sum p log p over the meanings, with p the sum of its texts' probabilities, brought to 1 in all.",
    observe=_no_division_by_zero,
    difficulty=2,
    minutes=10,
    points=2,
    asked="write semantic entropy; why not over the texts?",
    hints=[
        "The probability of a text is `exp(logprob)`; subtract the largest logprob first, so that it does not round to 0.",
        "Divide by the sum of all, then add up the shares of the texts that mean the same, in a dict.",
        "`-sum(p * log(p))` over the meanings with p > 0.",
    ],
)


def _entropy(
    meanings, logprobs, by_text=False, normal=True, base=math.e, merge=lambda old, new: old + new, weight=math.exp
):
    weights = [weight(value) for value in logprobs]
    whole = sum(weights) if normal else 1.0
    shares: dict = {}
    for place, (name, value) in enumerate(zip(meanings, weights, strict=True)):
        key = (name, place) if by_text else name
        shares[key] = merge(shares[key], value / whole) if key in shares else value / whole
    return -sum(p * math.log(p, base) for p in shares.values())


for _sentence, _wrong in {
    "That is the entropy over the texts: texts of one meaning belong together.": {"by_text": True},
    "The probabilities do not add up to 1: divide by the sum over all texts.": {"normal": False},
    "That is in bits; nats are wanted, so the natural logarithm.": {"base": 2.0},
    "Of texts with one meaning only the last is kept; their probabilities add up.": {"merge": lambda old, new: new},
    "Of texts with one meaning only the likeliest is kept; their probabilities add up.": {"merge": max},
    "Every text counts alike; it counts with its probability.": {"weight": lambda value: 1.0},
    "The log-probabilities are used as weights; `exp` is missing.": {"weight": lambda value: value},
    _ROUNDED: {},
}.items():
    meaning.bug(_sentence)(partial(_entropy, **_wrong))


@meaning.bug("The sign is turned: an entropy is never negative.")
def meaning_negative(meanings, logprobs):
    return -meaning_entropy(meanings, logprobs)


@meaning.bug("That is the number of meanings, in effect: exp of the entropy. The entropy itself is wanted.")
def meaning_perplexity(meanings, logprobs):
    return math.exp(meaning_entropy(meanings, logprobs))


def risks_by_coverage(confidence: list[float], correct: list[bool]) -> tuple[list[float], list[float]]:
    """(coverages, risks) for every threshold that parts the answers, the highest first."""
    coverages, risks = [], []
    for threshold in sorted(set(confidence), reverse=True):
        answered = [right for p, right in zip(confidence, correct, strict=True) if p >= threshold]
        coverages.append(len(answered) / len(confidence))
        risks.append(1 - sum(answered) / len(answered))
    return coverages, risks


selective = Exercise(
    "16.4",
    title="Risk against coverage",
    reference=risks_by_coverage,
    cases=[
        Case([0.9, 0.8, 0.6, 0.3], [True, True, False, True]),
        Case([0.2, 0.7, 0.4, 0.9, 0.5], [False, True, True, True, False]),
        Case(
            [0.5, 0.8, 0.5, 0.8, 0.5],
            [True, True, False, True, False],
            message="Equal confidences cannot be parted by a threshold: they come in together, as one point.",
        ),
        Case([0.3, 0.3], [False, True]),
        Case([0.4], [True]),
    ],
    general="Not, for each threshold, the share of answers with p >= threshold, and the share of these that is wrong.",
    difficulty=3,
    minutes=10,
    points=3,
    asked="a model may abstain: compare two scores",
    hints=[
        "The thresholds worth trying are the confidences themselves, each once, from the highest on.",
        "Answered is what has `p >= threshold`. Coverage: their share of all questions.",
        "Risk: the share of wrong ones among the *answered*. The last point answers all.",
    ],
)


def _curve(
    confidence,
    correct,
    thresholds=lambda values: sorted(set(values), reverse=True),
    inside=lambda p, t: p >= t,
    coverage=lambda n, total: n / total,
    risk=lambda wrong, n, total: wrong / n if n else 0.0,
    swap=False,
):
    coverages, risks = [], []
    for t in thresholds(confidence):
        answered = [c for p, c in zip(confidence, correct, strict=True) if inside(p, t)]
        coverages.append(coverage(len(answered), len(confidence)))
        risks.append(risk(len(answered) - sum(answered), len(answered), len(confidence)))
    return (risks, coverages) if swap else (coverages, risks)


for _sentence, _wrong in {
    "The thresholds come in ascending order; begin with the highest.": {"thresholds": lambda v: sorted(set(v))},
    "The unsure answers are kept and the sure ones left open: answer where p >= threshold.": {
        "inside": lambda p, t: p <= t
    },
    "An answer exactly at the threshold is left open; it is p >= threshold.": {"inside": lambda p, t: p > t},
    "The wrong answers are divided by all questions; risk is their share of the answered ones.": {
        "risk": lambda wrong, n, total: wrong / total
    },
    "That is the share of right answers; risk is the share of wrong ones.": {
        "risk": lambda wrong, n, total: (n - wrong) / n
    },
    "Coverage is a share of all questions, not a count.": {"coverage": lambda n, total: n},
    "Coverages come first, then risks.": {"swap": True},
    "Equal confidences give the same point several times; each threshold comes once.": {
        "thresholds": lambda v: sorted(v, reverse=True)
    },
}.items():
    selective.bug(_sentence)(partial(_curve, **_wrong))


@selective.bug("Equal confidences cannot be parted by a threshold: they come in together, as one point.")
def curve_answer_by_answer(confidence, correct):
    order = sorted(range(len(confidence)), key=lambda i: -confidence[i])
    coverages, risks, wrong = [], [], 0
    for n, i in enumerate(order, 1):
        wrong += not correct[i]
        coverages.append(n / len(confidence))
        risks.append(wrong / n)
    return coverages, risks


@selective.first
def two_lists(candidate: Callable[..., tuple[list[float], list[float]]]) -> None:
    result = selective.cases[0].call(candidate)
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2 and all(hasattr(part, "__len__") for part in result),
        "Two lists are wanted: `return coverages, risks`.",
        yours=result,
    )


Claim = tuple[str, str, str]


def verdict(claim: Claim, passages: list[list[Claim]]) -> tuple[str, list[int]]:
    """The label of a claim (name, relation, value), and the numbers of the passages that speak of it."""
    name, relation, value = claim
    cited, values = [], set()
    for number, passage in enumerate(passages):
        told = {v for n, r, v in passage if (n, r) == (name, relation)}
        if told:
            cited.append(number)
            values |= told
    if values == {value}:
        return "SUPPORTS", cited
    if values and value not in values:
        return "REFUTES", cited
    return "NOT ENOUGH INFO", cited


def _verdict_cases() -> list[Case]:
    mira, tobin = ("Mira Vale", "town", "Mistley"), ("Tobin Reed", "pet", "goose")
    other, later = ("Mira Vale", "town", "Gullport"), ("Mira Vale", "town", "Saltmere")
    trade, away = ("Mira Vale", "trade", "baker"), ("Tobin Reed", "town", "Gullport")
    disputed = "Passages that contradict each other: neither label can be said, and both sides are cited."
    return [
        Case(mira, [[tobin, mira]]),
        Case(mira, [[other, trade]]),
        Case(mira, [[trade], [tobin], [away]]),
        Case(mira, [[tobin], [mira, trade], [away], [mira]]),
        Case(mira, [[trade], [other], [later]]),
        Case(mira, [[mira], [other]], message=disputed),
        Case(mira, [[other], [trade, mira]], message=disputed),
        Case(mira, [[other, mira]], message=disputed),
        Case(mira, [[mira], [trade], [mira], [other]], message=disputed),
        Case(mira, []),
    ]


verdicts = Exercise(
    "16.5",
    title="A claim against passages",
    reference=verdict,
    cases=_verdict_cases,
    general="Not the label, with the numbers of all passages that tell this relation of this person.",
    rtol=0.0,
    atol=0.0,
    difficulty=3,
    minutes=12,
    points=3,
    asked="check a text against sources that may disagree",
    hints=[
        "A passage speaks of the claim if it holds a statement with the same name *and* the same relation, whatever its value.",
        "Collect the numbers of those passages, and the set of all values that they state.",
        "The set is exactly {value}: SUPPORTS. It is not empty and lacks the value: REFUTES. Anything else: NOT ENOUGH INFO.",
    ],
)


def _judged(
    claim,
    passages,
    speaks=lambda s, claim: s[:2] == claim[:2],
    label=lambda values, value: (
        "SUPPORTS" if values == {value} else "REFUTES" if values and value not in values else "NOT ENOUGH INFO"
    ),
    cite=lambda numbers, passages, claim: numbers,
    stop=False,
):
    numbers, values = [], set()
    for number, passage in enumerate(passages):
        told = {s[2] for s in passage if speaks(s, claim)}
        if told:
            numbers.append(number)
            values |= told
            if stop:
                break
    return label(values, claim[2]), cite(numbers, passages, claim)


for _sentence, _wrong in {
    "A passage that says nothing about the claim does not refute it: that is NOT ENOUGH INFO.": {
        "label": lambda values, value: "SUPPORTS" if value in values else "REFUTES"
    },
    "The relation is not compared: what is told of another relation says nothing here.": {
        "speaks": lambda s, claim: s[0] == claim[0]
    },
    "The name is not compared: what is told of another person says nothing here.": {
        "speaks": lambda s, claim: s[1] == claim[1]
    },
    "Passages that contradict each other are taken as support; neither label can be said.": {
        "label": lambda values, value: "SUPPORTS" if value in values else "REFUTES" if values else "NOT ENOUGH INFO"
    },
    "Passages that contradict each other are taken as refuting; neither label can be said.": {
        "label": lambda values, value: "SUPPORTS" if values == {value} else "REFUTES" if values else "NOT ENOUGH INFO"
    },
    "Only passages that state the claim are cited; those that contradict it are evidence, too.": {
        "cite": lambda numbers, passages, claim: [n for n in numbers if claim in passages[n]]
    },
    "All passages are cited; cite those that speak of the claim.": {
        "cite": lambda numbers, passages, claim: list(range(len(passages)))
    },
    "Passages count from 0.": {"cite": lambda numbers, passages, claim: [n + 1 for n in numbers]},
    "The first passage that speaks of the claim decides; later ones may contradict it.": {"stop": True},
    "Only one passage is cited; cite all that speak of the claim.": {
        "cite": lambda numbers, passages, claim: numbers[:1]
    },
}.items():
    verdicts.bug(_sentence)(partial(_judged, **_wrong))


@verdicts.first
def a_label_and_numbers(candidate: Callable[..., tuple[str, list[int]]]) -> None:
    result = verdicts.cases[0].call(candidate)
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[0], str),
        "A label and a list of numbers are wanted: `return label, cited`.",
        yours=result,
    )
    expect.that(
        result[0] in ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO"),
        "The labels are SUPPORTS, REFUTES and NOT ENOUGH INFO, in capitals.",
        yours=result[0],
    )
