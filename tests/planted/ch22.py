"""Bugs of chapter 22 that its checks do not list, and other right answers."""

from __future__ import annotations

from math import ceil, exp, floor, log, sqrt
from statistics import NormalDist

import numpy as np
import torch

NORMAL = NormalDist()


def batch_one_target(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    cache = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return max(0, int(min((memory - weight_bytes) // cache, (bandwidth - weight_bytes) // cache)))


def batch_minus_one(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    cache = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return max(0, int(min((memory - weight_bytes) // cache, (target * bandwidth - weight_bytes) // cache)) - 1)


def batch_two_bytes(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    cache = 2 * layers * kv_heads * head_dim * length * 2
    return max(0, int(min((memory - weight_bytes) // cache, (target * bandwidth - weight_bytes) // cache)))


def batch_list(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    cache = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return [(memory - weight_bytes) // cache, (target * bandwidth - weight_bytes) // cache]


def batch_by_counting(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    cache, n = 2 * layers * kv_heads * head_dim * length * bytes_per_number, 0
    while weight_bytes + (n + 1) * cache <= min(memory, target * bandwidth):
        n += 1
    return n


def batch_by_numpy(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    cache = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return np.maximum(0, np.floor((np.minimum(memory, target * bandwidth) - weight_bytes) / cache))


def bill_three(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    seconds = 3 * parameters * tokens / (gpus * peak * mfu * goodput)
    return seconds / 86_400, gpus * seconds / 3600 * price


def bill_months(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    seconds = 6 * parameters * tokens / (gpus * peak * mfu * goodput)
    return seconds / 86_400 / 30, gpus * seconds / 3600 * price


def bill_days_alone(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    return 6 * parameters * tokens / (gpus * peak * mfu * goodput) / 86_400


def bill_by_gpu_hours(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    hours = 6 * parameters * tokens / (peak * mfu) / 3600 / goodput
    return [hours / gpus / 24, hours * price]


def bill_by_torch(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    days = torch.tensor(6.0 * parameters, dtype=torch.float64) * tokens / (gpus * peak * mfu) / goodput / 86_400
    return days, days * 24 * gpus * price


def needed_alpha_squared(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    seen = difference * (2 * agreement - 1)
    far, near = NORMAL.inv_cdf(1 - alpha / comparisons**2 / 2), NORMAL.inv_cdf(power)
    return ceil((far * sqrt(discordant) + near * sqrt(discordant - seen**2)) ** 2 / seen**2)


def needed_one_more(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    seen = difference * (2 * agreement - 1)
    far, near = NORMAL.inv_cdf(1 - alpha / comparisons / 2), NORMAL.inv_cdf(power)
    return ceil((far * sqrt(discordant) + near * sqrt(discordant - seen**2)) ** 2 / seen**2) + 1


def needed_fixed_z(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    seen = difference * (2 * agreement - 1)
    return ceil((1.96 * sqrt(discordant) + 0.8416 * sqrt(discordant - seen**2)) ** 2 / seen**2)


def needed_by_floor(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * (agreement - (1 - agreement))
    z, y = -NORMAL.inv_cdf(alpha / (2 * comparisons)), -NORMAL.inv_cdf(1 - power)
    return -floor(-(((z * discordant**0.5 + y * (discordant - d * d) ** 0.5) / d) ** 2))


def needed_by_search(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * (2 * agreement - 1)
    z, n = NORMAL.inv_cdf(1 - alpha / comparisons / 2), 1
    while NORMAL.cdf((d * n**0.5 - z * discordant**0.5) / (discordant - d**2) ** 0.5) < power:
        n += 1
    return n


def interval_half(stability, desired=0.9, decay=0.1542):
    return stability / (0.9 ** (-1 / decay) - 1) * (desired ** (-1 / decay) - 1) / 2


def interval_seconds(stability, desired=0.9, decay=0.1542):
    return 86_400 * stability / (0.9 ** (-1 / decay) - 1) * (desired ** (-1 / decay) - 1)


def interval_at_least_one(stability, desired=0.9, decay=0.1542):
    return stability * max(1.0, (desired ** (-1 / decay) - 1) / (0.9 ** (-1 / decay) - 1))


def interval_by_logarithms(stability, desired=0.9, decay=0.1542):
    return stability * (exp(-log(desired) / decay) - 1) / (exp(-log(0.9) / decay) - 1)


def interval_by_halving(stability, desired=0.9, decay=0.1542):
    factor, low, high = 0.9 ** (-1 / decay) - 1, 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 + factor * middle / stability) ** -decay > desired else (low, middle)
    return low


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "22.1": {
        batch_one_target: "Not the smaller of what memory and time allow",
        batch_minus_one: "Not the smaller of what memory and time allow",
        batch_two_bytes: "Not the smaller of what memory and time allow",
        batch_list: "One whole number is wanted",
    },
    "22.2": {
        bill_three: "Not (6 N D seconds on all GPUs in days",
        bill_months: "Not (6 N D seconds on all GPUs in days",
        bill_days_alone: "Not (6 N D seconds on all GPUs in days",
    },
    "22.3": {
        needed_alpha_squared: "Not the square of (z sqrt(D) + y sqrt(D - d²)) over d",
        needed_one_more: "Not the square of (z sqrt(D) + y sqrt(D - d²)) over d",
        needed_fixed_z: "The level is not divided by the number of comparisons.",
    },
    "22.4": {
        interval_half: "Not the t at which (1 + f t / S)^-d falls to `desired`",
        interval_seconds: "Not the t at which (1 + f t / S)^-d falls to `desired`",
        interval_at_least_one: "Not the t at which (1 + f t / S)^-d falls to `desired`",
    },
}
RIGHT = {
    "22.1": [batch_by_counting, batch_by_numpy],
    "22.2": [bill_by_gpu_hours, bill_by_torch],
    "22.3": [needed_by_floor, needed_by_search],
    "22.4": [interval_by_logarithms, interval_by_halving],
}
