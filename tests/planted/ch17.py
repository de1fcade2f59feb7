"""Bugs of chapter 17 that its checks do not list, and other right answers."""

from __future__ import annotations

import re

import numpy as np


def gap_with_zero(deserve, chosen, group):
    y, c, g = np.array(deserve), np.array(chosen), np.array(group)
    rates = {
        v: [c[(g == n) & (y == v)].sum() / max(((g == n) & (y == v)).sum(), 1) for n in set(group)] for v in (0, 1)
    }
    return max(max(r) - min(r) for r in rates.values())


def gap_of_opportunity(deserve, chosen, group):
    rates = {}
    for name in sorted(set(group)):
        mine = [c for y, c, g in zip(deserve, chosen, group, strict=True) if y and g == name]
        if not mine:
            return None
        rates[name] = np.mean(mine)
    return max(rates.values()) - min(rates.values())


def gap_by_numpy(deserve, chosen, group):
    y, c, g = np.array(deserve), np.array(chosen), np.array(group)
    gaps = []
    for label in (0, 1):
        cells = [c[(g == name) & (y == label)] for name in np.unique(g)]
        if any(len(cell) == 0 for cell in cells):
            return None
        gaps.append(np.ptp([cell.mean() for cell in cells]))
    return max(gaps)


def holm_bonferroni(p_values):
    return [min(1.0, p * len(p_values)) for p in p_values]


def holm_uncapped(p_values):
    order, found, top = np.argsort(p_values), [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        top = max(top, p_values[i] * (len(p_values) - place))
        found[i] = top
    return found


def holm_by_numpy(p_values):
    p = np.array(p_values)
    order = p.argsort(kind="stable")
    scaled = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    out = np.empty_like(scaled)
    out[order] = scaled
    return out


def swap_lower_only(text):
    table = {"she": "he", "he": "she", "her": "him", "him": "her", "herself": "himself", "himself": "herself"}
    return re.sub(r"\b\w+\b", lambda m: table.get(m[0], m[0]), text)


def swap_one_way(text):
    for she, he in (("Herself", "Himself"), ("herself", "himself"), ("She", "He"), ("she", "he"), ("Her", "His")):
        text = re.sub(rf"\b{she}\b", he, text)
    return re.sub(r"\bher\b", "him", text)


def swap_by_pieces(text):
    table = dict(zip("She she Her her Herself herself".split(), "He he His him Himself himself".split(), strict=True))
    table |= {b: a for a, b in table.items()}
    return "".join(table.get(piece, piece) for piece in re.split(r"(\W+)", text))


def exposure_without_secret(secret, others):
    return float(np.log2(len(others)) - np.log2(1 + np.sum(np.array(others) >= secret)))


def exposure_tie_first(secret, others):
    return float(np.log2(len(others) + 1) - np.log2(1 + np.sum(np.array(others) > secret)))


def exposure_by_sorting(secret, others):
    ranked = sorted([*others, secret], reverse=True)
    rank = len(ranked) - ranked[::-1].index(secret)
    return np.log2(len(ranked) / rank)


def cheapest_of_counts(scores, harmful, miss, false_alarm):
    s, y = np.array(scores), np.array(harmful)
    options = sorted({*scores, np.inf}, reverse=True)
    return min(options, key=lambda t: int((y & (s < t)).sum() + (~y & (s >= t)).sum()))


def cheapest_strict(scores, harmful, miss, false_alarm):
    s, y = np.array(scores), np.array(harmful)
    options = sorted({*scores, np.inf}, reverse=True)
    return min(options, key=lambda t: miss * (y & (s <= t)).sum() + false_alarm * (~y & (s > t)).sum())


def cheapest_by_numpy(scores, harmful, miss, false_alarm):
    s, y = np.array(scores), np.array(harmful)
    options = np.array(sorted({*scores, np.inf}, reverse=True))
    costs = [miss * (y & (s < t)).sum() + false_alarm * (~y & (s >= t)).sum() for t in options]
    return options[int(np.argmin(costs))]


BUGS = {
    "17.2": {
        gap_with_zero: "A group without anybody to divide by is counted as rate 0",
        gap_of_opportunity: "Only those who deserve it are compared",
    },
    "17.1": {holm_bonferroni: "Every p-value is multiplied with m", holm_uncapped: "An adjusted p-value is above 1"},
    "17.3": {
        swap_lower_only: "Pronouns with a capital stay as they are.",
        swap_one_way: "Only she is turned into he",
    },
    "17.5": {
        exposure_without_secret: "The secret itself is a candidate, too",
        exposure_tie_first: "At a tie the secret is put first",
    },
    "17.4": {
        cheapest_of_counts: "The costs are left out",
        cheapest_strict: "A text that scores the threshold itself is let through",
    },
}
RIGHT = {
    "17.2": [gap_by_numpy],
    "17.1": [holm_by_numpy],
    "17.3": [swap_by_pieces],
    "17.5": [exposure_by_sorting],
    "17.4": [cheapest_by_numpy],
}
