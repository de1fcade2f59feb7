"""Bugs of chapter 20 that its checks do not list, and other right answers."""

from __future__ import annotations

import math

import numpy as np
import torch


def psi_half_of_it(reference, window, floor=1e-4):
    p, q = (np.maximum(np.asarray(t) / np.sum(t), floor) for t in (reference, window))
    return float(((q - p) * np.log(q / p)).sum()) / 2


def psi_in_place(reference, window, floor=1e-4):
    for i in range(len(reference)):
        if not reference[i]:
            reference[i] = floor
    p, q = (np.maximum(np.asarray(t) / np.sum(t), floor) for t in (reference, window))
    return float(((q - p) * np.log(q / p)).sum())


def psi_without_sum(reference, window, floor=1e-4):
    p, q = (np.maximum(np.asarray(t) / np.sum(t), floor) for t in (reference, window))
    return (q - p) * np.log(q / p)


def psi_at_one_size(reference, window, floor=1e-4):
    p, q = np.asarray(reference) / 100, np.asarray(window) / 100
    return float(((q - p) * np.log(np.maximum(q, floor) / np.maximum(p, floor))).sum())


def psi_by_two_divergences(reference, window, floor=1e-4):
    p, q = ([max(n / sum(t), floor) for n in t] for t in (reference, window))
    there = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return there + sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))


def psi_by_torch(reference, window, floor=1e-4):
    p, q = (torch.tensor(t, dtype=torch.float64).div(sum(t)).clamp(min=floor) for t in (reference, window))
    return ((q - p) * (q.log() - p.log())).sum()


def ks_on_a_grid(a, b):
    at = np.linspace(min(*a, *b) - 1, max(*a, *b) + 1, 4)
    return max(abs(np.mean(np.asarray(a) <= x) - np.mean(np.asarray(b) <= x)) for x in at)


def ks_squared(a, b):
    return max(abs(np.mean(np.asarray(a) <= x) - np.mean(np.asarray(b) <= x)) for x in [*a, *b]) ** 2


def ks_sorted_in_place(a, b):
    a.sort()
    b.sort()
    at = np.array([*a, *b])
    return float(np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).max())


def ks_of_ranks(a, b):
    return max(abs(i / len(a) - i / len(b)) for i in range(min(len(a), len(b))))


def ks_below(a, b):
    return max(abs(np.mean(np.asarray(a) < x) - np.mean(np.asarray(b) < x)) for x in [*a, *b, math.inf])


def ks_by_scipy(a, b):
    from scipy.stats import ks_2samp

    return ks_2samp(a, b).statistic


def cusum_reset(values, target, slack):
    path, level = [], 0.0
    for value in values:
        level = max(0.0, level + value - target - slack)
        path.append(level)
        if level > 1:
            level = 0.0
    return path


def cusum_before(values, target, slack):
    path, level = [], 0.0
    for value in values:
        path.append(level)
        level = max(0.0, level + value - target - slack)
    return path


def cusum_twice_slack(values, target, slack):
    path, level = [], 0.0
    for value in values:
        level = max(0.0, level + value - target - 2 * slack)
        path.append(level)
    return path


def cusum_generator(values, target, slack):
    level = 0.0
    for value in values:
        level = max(0.0, level + value - target - slack)
        yield level


def cusum_by_minimum(values, target, slack):
    """What the plain sum has risen above its lowest level so far."""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=float) - target - slack)])
    return (sums - np.minimum.accumulate(sums))[1:]


def cusum_by_accumulate(values, target, slack):
    from itertools import accumulate

    return list(accumulate(values, lambda level, x: max(0.0, level + x - target - slack), initial=0.0))[1:]


def e_by_factorials(passes, p0):
    path = []
    for n in range(1, len(passes) + 1):
        s = sum(passes[:n])
        average = float(math.factorial(s)) * float(math.factorial(n - s)) / float(math.factorial(n + 1))
        path.append(math.log(average / (p0**s * (1 - p0) ** (n - s))))
    return path


def e_with_more_prior(passes, p0):
    path, s, f = [], 0, 0
    for passed in passes:
        s, f = s + passed, f + 1 - passed
        path.append(
            math.lgamma(s + 2) + math.lgamma(f + 2) - math.lgamma(s + f + 4) - s * math.log(p0) - f * math.log(1 - p0)
        )
    return path


def e_capped(passes, p0):
    path, s, f = [], 0, 0
    for passed in passes:
        s, f = s + passed, f + 1 - passed
        value = math.lgamma(s + 1) + math.lgamma(f + 1) - math.lgamma(s + f + 2)
        path.append(max(0.0, value - s * math.log(p0) - f * math.log(1 - p0)))
    return path


def e_step_by_step(passes, p0):
    """Laplace's rule of succession predicts each trial, and the predictions are multiplied: the same mixture."""
    path, s, level = [], 0, 0.0
    for n, passed in enumerate(passes):
        p = (s + 1) / (n + 2)
        level += math.log(p / p0) if passed else math.log((1 - p) / (1 - p0))
        s += passed
        path.append(level)
    return path


def e_by_torch(passes, p0):
    s = torch.tensor(passes, dtype=torch.float64).cumsum(0)
    f = torch.arange(1, len(passes) + 1, dtype=torch.float64) - s
    return (s + 1).lgamma() + (f + 1).lgamma() - (s + f + 2).lgamma() - s * math.log(p0) - f * math.log(1 - p0)


def ips_capped(thumbs, propensity):
    weights = [(t, min(1 / propensity[t], 3)) for t in thumbs if t is not None]
    return sum(w for t, w in weights if t) / sum(w for _, w in weights)


def ips_squared(thumbs, propensity):
    weights = [(t, propensity[t] ** -2) for t in thumbs if t is not None]
    return sum(w for t, w in weights if t) / sum(w for _, w in weights)


def ips_odds(thumbs, propensity):
    weights = [(t, 1 / propensity[t]) for t in thumbs if t is not None]
    return sum(w for t, w in weights if t) / max(sum(w for t, w in weights if not t), 1e-9)


def ips_by_counts(thumbs, propensity):
    right, wrong = (thumbs.count(value) / propensity[value] for value in (1, 0))
    return right / (right + wrong)


def ips_by_numpy(thumbs, propensity):
    clicked = np.array([thumb for thumb in thumbs if thumb is not None])
    return np.average(clicked, weights=[1 / propensity[int(thumb)] for thumb in clicked])


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "20.1": {
        psi_half_of_it: "Not the sum of (q - p) * ln(q / p) over the bins",
        psi_in_place: "Your code changes its input `reference` in place.",
        psi_without_sum: "One number is wanted; yours is a list.",
        psi_at_one_size: "Not the sum of (q - p) * ln(q / p) over the bins",
    },
    "20.2": {
        ks_on_a_grid: "Not the largest distance between the two shares",
        ks_squared: "Not the largest distance between the two shares",
        ks_sorted_in_place: "Your code changes its input `a` in place.",
        ks_of_ranks: "Not the largest distance between the two shares",
    },
    "20.3": {
        cusum_reset: "Not max(0, before + value - target - slack) after each value",
        cusum_before: "Not max(0, before + value - target - slack) after each value",
        cusum_twice_slack: "Not max(0, before + value - target - slack) after each value",
        cusum_generator: "A list is wanted: collect the levels in a list",
    },
    "20.4": {
        e_with_more_prior: "Not the logarithm of s! f! / ((s + f + 1)! p0^s (1 - p0)^f)",
        e_capped: "Not the logarithm of s! f! / ((s + f + 1)! p0^s (1 - p0)^f)",
    },
    "20.5": {
        ips_capped: "Not the sum of 1 / propensity over thumbs up",
        ips_squared: "Not the sum of 1 / propensity over thumbs up",
        ips_odds: "Not the sum of 1 / propensity over thumbs up",
    },
}
RIGHT = {
    "20.1": [psi_by_two_divergences, psi_by_torch],
    "20.2": [ks_below, ks_by_scipy],
    "20.3": [cusum_by_minimum, cusum_by_accumulate],
    "20.4": [e_step_by_step, e_by_torch],
    "20.5": [ips_by_counts, ips_by_numpy],
}
