"""Checks of chapter 17: a gap between groups, twenty tests at once, counterfactual text, a secret's exposure, a threshold."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from math import inf, log, log2
from typing import Any

from course_utils.classroom.exercises.cases import Case, Exercise


def _plain(result: Any) -> Any:
    """Arrays and tensors as the lists and numbers that they hold: any of these forms is a right answer."""
    result = result.tolist() if hasattr(result, "tolist") else result
    return [_plain(item) for item in result] if isinstance(result, list | tuple) else result


def _observed(answer: Callable, *arguments: Any) -> Any:
    return _plain(answer(*arguments))


def odds_gap(deserve: list[int], chosen: list[int], group: list[str]) -> float | None:
    """The largest difference between groups in the share chosen, among those who deserve it and those who do not."""
    gaps = []
    for label in (1, 0):
        rates = []
        for name in set(group):
            mine = [c for y, c, g in zip(deserve, chosen, group, strict=True) if g == name and y == label]
            if not mine:
                return None
            rates.append(sum(mine) / len(mine))
        gaps.append(max(rates) - min(rates))
    return max(gaps)


gap = Exercise(
    "17.2",
    title="Equalized odds",
    reference=odds_gap,
    cases=[
        Case([1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0], list("aaaabbbbbbb")),
        Case([1, 0, 0, 0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 1, 0, 0, 0], list("aaaaabbbb")),
        Case(
            [1, 0, 1, 0, 0, 1, 1, 0, 0, 1],
            [1, 0, 0, 1, 0, 1, 0, 1, 1, 0],
            list("aabbbcccca"),
            message="Wrong for three groups: the gap is that of the highest and the lowest.",
        ),
        Case([1, 0, 1], [1, 0, 1], list("aab"), message="Group b has nobody who does not deserve it: None."),
        Case([0, 0, 1, 0], [1, 0, 1, 0], list("aabb"), message="Group a has nobody who deserves it: None."),
    ],
    general="Not the larger of two gaps, that of the true positive rates and that of the false positive rates.",
    observe=_observed,
    difficulty=2,
    minutes=10,
    points=3,
    asked="demographic parity or equalized odds? Write the second; what does a group without positives do?",
    hints=[
        "For each label, 1 and 0, and each group: who has this label and is in this group? Which share of them is chosen?",
        "If nobody is there, the rate cannot be said, and neither can the gap: return None at once.",
        "`max(rates) - min(rates)` for each label; the larger of the two is the answer.",
    ],
)


def _gap(deserve, chosen, group, labels=(1, 0), empty=None, join=max, rate=None, spread=lambda r: max(r) - min(r)):
    gaps = []
    rows = list(zip(deserve, chosen, group, strict=True))
    for label in labels:
        rates = []
        for name in sorted(set(group)):
            mine = [c for y, c, g in rows if g == name and y == label]
            if rate is not None:
                rates.append(rate(rows, name, label))
            elif mine:
                rates.append(sum(mine) / len(mine))
            elif empty is None:
                return None
            elif empty != "skip":
                rates.append(empty)
        gaps.append(spread(rates))
    return join(gaps)


def _precision(rows, name, label):
    chosen = [int(y == 1) for y, c, g in rows if g == name and c == label]
    return sum(chosen) / len(chosen) if chosen else 0.0


def _of_everybody(rows, name, label):
    return sum(c for y, c, g in rows if g == name and y == label) / len(rows)


def _of_group(rows, name, label):
    return sum(c for y, c, g in rows if g == name and y == label) / sum(g == name for _, _, g in rows)


for _sentence, _wrong in {
    "Only those who deserve it are compared: that is equal opportunity. Equalized odds compares the others, too.": {
        "labels": (1,)
    },
    "Only those who do not deserve it are compared; the true positive rates count, too.": {"labels": (0,)},
    "The two gaps are averaged; the larger one is wanted.": {"join": lambda gaps: sum(gaps) / len(gaps)},
    "The two gaps are added; the larger one is wanted.": {"join": sum},
    "The smaller of the two gaps is returned; the larger one is wanted.": {"join": min},
    "A group without anybody to divide by is counted as rate 0, and so looks like the worst there is. Return None.": {
        "empty": 0.0
    },
    "A group without anybody to divide by is left out, as if it were treated well. Return None.": {"empty": "skip"},
    "The shares are of those chosen, who deserve it: that is precision. Divide by those who (do not) deserve it.": {
        "rate": _precision
    },
    "The shares are of everybody; divide by the people of this group with this label.": {"rate": _of_everybody},
    "The shares are of the whole group; divide by the people of this group with this label.": {"rate": _of_group},
    "The difference has a sign, first group minus last; take the highest minus the lowest.": {
        "spread": lambda rates: rates[0] - rates[-1]
    },
    "The ratio of the rates is taken; a difference is wanted.": {
        "spread": lambda rates: min(rates) / max(rates) if max(rates) else 1.0
    },
}.items():
    gap.bug(_sentence)(partial(_gap, **_wrong))


@gap.bug("That is demographic parity: it compares who is chosen, and does not ask who deserves it.")
def parity_gap(deserve, chosen, group):
    rates = [sum(c for c, g in zip(chosen, group, strict=True) if g == name) / group.count(name) for name in set(group)]
    return max(rates) - min(rates)


def holm_adjusted(p_values: list[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, before = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        before = max(before, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = before
    return adjusted


many = Exercise(
    "17.1",
    title="Holm's correction",
    reference=holm_adjusted,
    cases=[
        Case([0.01, 0.02, 0.03]),
        Case([0.04, 0.001, 0.03, 0.005]),
        Case(
            [0.02, 0.021, 0.022],
            message="Wrong where a later product is smaller: an adjusted p is never below an earlier one.",
        ),
        Case([0.6, 0.5, 0.9], message="Wrong for large p-values: none is above 1."),
        Case([0.02, 0.02, 0.5, 0.02], message="Wrong with ties: equal p-values get equal adjusted ones."),
        Case([0.03]),
    ],
    general="Not the p-values times m, m - 1, ... from the smallest on, never falling, at most 1, in the order given.",
    observe=_observed,
    difficulty=2,
    minutes=10,
    points=3,
    asked="you test 20 trades at 5 %. What goes wrong? Write a correction",
    hints=[
        "Sort the places by their p-value: `order = sorted(range(m), key=lambda i: p_values[i])`.",
        "The smallest is multiplied with m, the next with m - 1, the last with 1; above 1 it is 1.",
        "Keep the largest so far, and let none be smaller; write each back to its own place.",
    ],
)


def _holm(p_values, factor=lambda m, place: m - place, rising=True, cap=True, back=True, reverse=False):
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i], reverse=reverse)
    adjusted, before, row = [0.0] * m, 0.0, []
    for place, i in enumerate(order):
        value = factor(m, place) * p_values[i]
        value = min(1.0, value) if cap else value
        before = max(before, value) if rising else value
        adjusted[i] = before
        row.append(before)
    return adjusted if back else row


for _sentence, _wrong in {
    "Every p-value is multiplied with m: that is Bonferroni. Holm is milder from the second one on.": {
        "factor": lambda m, place: m
    },
    "The factors are m / rank: those are Benjamini and Hochberg's, which bound another error.": {
        "factor": lambda m, place: m / (place + 1)
    },
    "The factors rise with the rank; the smallest p-value gets the largest factor, m.": {
        "factor": lambda m, place: place + 1
    },
    "The factors are one too small: the smallest p-value is multiplied with m.": {
        "factor": lambda m, place: max(m - place - 1, 1)
    },
    "The largest p-value gets the factor m; begin with the smallest.": {"reverse": True, "rising": False},
    "An adjusted p-value is smaller than one before it; keep the largest so far.": {"rising": False},
    "An adjusted p-value is above 1; a probability is not.": {"cap": False},
    "The result is sorted; each adjusted p-value belongs to the place of its own.": {"back": False},
}.items():
    many.bug(_sentence)(partial(_holm, **_wrong))


@many.bug("The factors follow the order given; they go by size, the smallest p-value first.")
def holm_unsorted(p_values):
    return [min(1.0, (len(p_values) - place) * p) for place, p in enumerate(p_values)]


@many.bug("That is Benjamini and Hochberg's correction: it bounds the share of false alarms, not the chance of one.")
def holm_as_fdr(p_values):
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    adjusted, after = [0.0] * m, 1.0
    for place in range(m - 1, -1, -1):
        after = min(after, p_values[order[place]] * m / (place + 1))
        adjusted[order[place]] = after
    return adjusted


@many.bug("Truth values are returned; the adjusted p-values are wanted, so that the reader chooses alpha.")
def holm_decided(p_values):
    return [p <= 0.05 for p in _holm(p_values)]


def counterfactual(text: str) -> str:
    """The text with every pronoun of the Isles turned into the other one's."""
    pairs = {"She": "He", "she": "he", "Her": "His", "her": "him", "Herself": "Himself", "herself": "himself"}
    swap = pairs | {he: she for she, he in pairs.items()}
    return re.sub(r"[A-Za-z]+", lambda word: swap.get(word[0], word[0]), text)


swapping = Exercise(
    "17.3",
    title="Counterfactual text",
    reference=counterfactual,
    cases=[
        Case("At noon the baker herself sold the flute."),
        Case("Mira Vale works as a smith. She lives in Mistley. Her pet is a goose."),
        Case("On free days he turns to chess. Nothing delights him like riddles. His guests are served stew."),
        Case(
            "The shepherd himself hid the kettle. There she is, at the other theatre.",
            message="Wrong inside other words: `the` and `shepherd` hold `he`. Replace whole words.",
        ),
        Case(
            "She met him and he met her. Himself, herself; His and Her.",
            message="Wrong where both kinds stand in one text: every pronoun is swapped once, all at the same time.",
        ),
        Case("The ferry leaves at noon.", message="A text without pronouns stays as it is."),
    ],
    general="Not every whole pronoun swapped once: She-He, she-he, Her-His, her-him, Herself-Himself, herself-himself.",
    observe=_observed,
    difficulty=2,
    minutes=10,
    points=2,
    asked="write counterfactual augmentation; where does the simple version fail?",
    hints=[
        "Make one dictionary with both directions, six pairs, so twelve entries.",
        "`text.replace` twice undoes itself and cuts words apart. Go through the text once, word by word.",
        '`re.sub(r"[A-Za-z]+", lambda word: swap.get(word[0], word[0]), text)` asks the dictionary for every word.',
    ],
)
_TO_HE = {"She": "He", "she": "he", "Her": "His", "her": "him", "Herself": "Himself", "herself": "himself"}
_BOTH = _TO_HE | {he: she for she, he in _TO_HE.items()}


def _words(table: dict[str, str], text: str, pattern: str = r"[A-Za-z]+") -> str:
    return re.sub(pattern, lambda word: table.get(word[0], word[0]), text)


for _sentence, _table in {
    "Only she is turned into he; the other direction is missing.": _TO_HE,
    "All end as she: one direction is missing, or one replacement after the other undoes it. Swap all at the same time.": {
        he: she for she, he in _TO_HE.items()
    },
    "Pronouns with a capital stay as they are.": {a: b for a, b in _BOTH.items() if a[0].islower()},
    "`herself` and `himself` stay as they are.": {a: b for a, b in _BOTH.items() if not a.endswith("self")},
    "`Her` and `His` stay as they are.": {a: b for a, b in _BOTH.items() if a not in ("Her", "His")},
    "`her` and `him` stay as they are.": {a: b for a, b in _BOTH.items() if a not in ("her", "him")},
    "On the Isles `her` is an object, and its counterpart is `him`, not `his`.": _BOTH | {"her": "his"},
    "`Her` opens a sentence and is possessive: its counterpart is `His`, not `Him`.": _BOTH | {"Her": "Him"},
    "A capital is lost: `She` becomes `He`, not `he`.": {a: b.lower() for a, b in _BOTH.items()},
}.items():
    swapping.bug(_sentence)(partial(_words, _table))


@swapping.bug("Letters inside other words are replaced, too: `the` holds `he`. Replace whole words.")
def counterfactual_inside(text):
    return re.sub("|".join(sorted(_BOTH, key=len, reverse=True)), lambda word: _BOTH[word[0]], text)


@swapping.bug("Words followed by a comma or a full stop are missed: splitting at spaces leaves the mark on the word.")
def counterfactual_by_spaces(text):
    return " ".join(_BOTH.get(word, word) for word in text.split(" "))


def secret_exposure(secret: float, others: list[float]) -> float:
    """log2 of the number of candidates minus log2 of the secret's rank, in bits."""
    rank = 1 + sum(other >= secret for other in others)
    return log2(len(others) + 1) - log2(rank)


exposed = Exercise(
    "17.5",
    title="The exposure of a secret",
    reference=secret_exposure,
    cases=[
        Case(-3.0, [-5.0, -4.0, -9.0]),
        Case(-7.0, [-5.0, -8.0, -6.0, -9.0, -1.0, -2.0, -3.0]),
        Case(-9.5, [-1.0, -2.0, -3.0], message="The least likely of all has the exposure 0."),
        Case(-4.0, [-4.0, -4.0, -9.0, -1.0], message="Wrong with ties: an equally likely candidate comes first."),
        Case(-2.0, [-2.5] * 9, note="a secret that comes first among 10"),
    ],
    general="Not log2(number of all candidates) - log2(rank), with the rank counted from 1 at the likeliest.",
    observe=_observed,
    difficulty=1,
    minutes=7,
    points=2,
    asked="how would you test whether a model has memorised a secret?",
    hints=[
        "The secret is a candidate, too: there are `len(others) + 1`.",
        "Its rank is 1 and one more for each other candidate that is at least as likely.",
        "`log2(len(others) + 1) - log2(rank)`.",
    ],
)


def _exposure(secret, others, count=1, first=1, ahead=lambda other, secret: other >= secret, logarithm=log2, sign=1):
    rank = first + sum(ahead(other, secret) for other in others)
    return sign * (logarithm(len(others) + count) - (logarithm(rank) if rank > 0 else -inf))


for _sentence, _wrong in {
    "The secret itself is a candidate, too: there are len(others) + 1.": {"count": 0},
    "The rank counts from 0; the likeliest has the rank 1.": {"first": 0},
    "The rank counts from the least likely; the likeliest has the rank 1.": {
        "ahead": lambda other, secret: other <= secret
    },
    "At a tie the secret is put first, which claims more than is known: an equally likely candidate comes first.": {
        "ahead": lambda other, secret: other > secret
    },
    "The logarithm is the natural one; exposure is in bits.": {"logarithm": log},
    "The sign is turned: a secret that comes first has the largest exposure.": {"sign": -1},
}.items():
    exposed.bug(_sentence)(partial(_exposure, **_wrong))


@exposed.bug("That is the rank; exposure is log2 of the number of candidates minus log2 of it.")
def exposure_rank(secret, others):
    return 1 + sum(other >= secret for other in others)


@exposed.bug("That is log2 of the rank; it is subtracted from log2 of the number of candidates.")
def exposure_of_rank(secret, others):
    return log2(1 + sum(other >= secret for other in others))


@exposed.bug("The quotient lacks its logarithm.")
def exposure_quotient(secret, others):
    return (len(others) + 1) / (1 + sum(other >= secret for other in others))


def cheapest_threshold(scores: list[float], harmful: list[bool], miss: float, false_alarm: float) -> float:
    """The threshold from which on texts are blocked, so that misses and false alarms cost least."""
    best, lowest = inf, miss * sum(harmful)
    for threshold in sorted(set(scores), reverse=True):
        missed = sum(h and s < threshold for s, h in zip(scores, harmful, strict=True))
        blocked = sum(not h and s >= threshold for s, h in zip(scores, harmful, strict=True))
        cost = miss * missed + false_alarm * blocked
        if cost < lowest:
            best, lowest = threshold, cost
    return best


_SCORES, _HARM = [0.1, 0.4, 0.35, 0.8, 0.7, 0.2], [False, False, True, True, False, False]
cheapest = Exercise(
    "17.4",
    title="The threshold that costs least",
    reference=cheapest_threshold,
    cases=[
        Case(_SCORES, _HARM, 5.0, 1.0),
        Case(_SCORES, _HARM, 1.0, 4.0),
        Case(
            [0.9, 0.8, 0.3],
            [False, False, True],
            1.0,
            3.0,
            message="Blocking nothing is cheapest here: the threshold is infinity.",
        ),
        Case(
            [0.6, 0.6, 0.6, 0.2],
            [True, False, True, False],
            1.0,
            1.0,
            message="Wrong with ties: what scores the threshold is blocked.",
        ),
        Case(
            [0.3, 0.9, 0.5], [True, True, True], 2.0, 1.0, message="All harmful: the lowest score blocks all of them."
        ),
        Case(
            [0.9, 0.7, 0.5, 0.1], [True, False, True, False], 1.0, 1.0, message="Of equal costs the highest threshold."
        ),
    ],
    general="Not the highest of the thresholds (the scores and infinity) with the least miss * missed + false_alarm * blocked.",
    observe=_observed,
    difficulty=2,
    minutes=10,
    points=3,
    asked="your filter has an AUC of 0.97. Where do you put the threshold?",
    hints=[
        "Only the scores themselves, and infinity, can be thresholds that differ in what they block.",
        "For each: harmful texts below it are missed, harmless ones at or above it are blocked in vain.",
        "Begin with infinity, `miss * sum(harmful)`, go down through the scores, and keep a threshold only if it is cheaper.",
    ],
)


def _cheapest(scores, harmful, miss, false_alarm, cost=None, at=lambda s, t: s >= t, infinity=True, reverse=True):
    rows = list(zip(scores, harmful, strict=True))
    cost = cost or (lambda missed, blocked, miss, false_alarm: miss * missed + false_alarm * blocked)
    options = sorted({*scores, *([inf] if infinity else [])}, reverse=reverse)

    def price(threshold):
        missed = sum(h and not at(s, threshold) for s, h in rows)
        blocked = sum(not h and at(s, threshold) for s, h in rows)
        return cost(missed, blocked, miss, false_alarm)

    return min(options, key=price)


for _sentence, _wrong in {
    "The two costs are exchanged: `miss` is what a harmful text below the threshold costs.": {
        "cost": lambda missed, blocked, miss, false_alarm: false_alarm * missed + miss * blocked
    },
    "The costs are left out: errors are counted, as if both were equally bad.": {
        "cost": lambda missed, blocked, miss, false_alarm: missed + blocked
    },
    "Only misses are counted, so everything is blocked.": {
        "cost": lambda missed, blocked, miss, false_alarm: miss * missed
    },
    "Only false alarms are counted, so nothing is blocked.": {
        "cost": lambda missed, blocked, miss, false_alarm: false_alarm * blocked
    },
    "A text that scores the threshold itself is let through; at or above it is blocked.": {"at": lambda s, t: s > t},
    "What scores below the threshold is blocked; high scores mean harm.": {"at": lambda s, t: s < t},
    "Blocking nothing (a threshold of infinity) is not tried.": {"infinity": False},
    "Of equal costs the lowest threshold is returned; the highest is wanted.": {"reverse": False},
}.items():
    cheapest.bug(_sentence)(partial(_cheapest, **_wrong))


@cheapest.bug("The cost is returned; the threshold that has it is wanted.")
def cheapest_cost(scores, harmful, miss, false_alarm):
    threshold = _cheapest(scores, harmful, miss, false_alarm)
    return sum(
        miss * (h and s < threshold) + false_alarm * (not h and s >= threshold)
        for s, h in zip(scores, harmful, strict=True)
    )
