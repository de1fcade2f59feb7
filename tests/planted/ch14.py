"""Bugs of chapter 14 that its checks do not list, and other right answers."""

from __future__ import annotations

import math
import re

import torch


def verifier_by_ending(completion, value):
    return float(completion.rstrip(". ").endswith(value))


def verifier_that_raises(completion, value):
    return float(int(re.findall(r"-?\d+", completion.rsplit("=", 1)[-1])[0]) == int(value))


def verifier_within_one(completion, value):
    found = re.findall(r"-?\d+", completion.rsplit("=", 1)[-1])
    return float(len(found) == 1 and len(found[0]) < 16 and abs(int(found[0]) - int(value)) <= 50)


def verifier_of_long_numbers(completion, value):
    found = re.findall(r"-?\d+", completion.rsplit("=", 1)[-1])
    return float(len(found) == 1 and int(found[0]) == int(value))


def verifier_by_fullmatch(completion, value):
    behind = completion[completion.rfind("=") + 1 :]
    match = re.fullmatch(r"\D*?(-?)0*(\d{1,15})\D*", behind)
    return 1.0 if match and int(match[1] + match[2]) == int(value) else 0.0


def verifier_by_texts(completion, value):
    found = re.findall(r"-?\d+", completion.split("=")[-1])
    if len(found) != 1:
        return 0
    sign, digits = found[0].startswith("-"), found[0].lstrip("-0") or "0"
    return 1.0 if ("-" if sign else "") + digits == value else 0


def advantages_by_rank(scores, group, divide, eps=1e-4):
    ranks = scores.view(-1, group).argsort(1).argsort(1).float()
    return (ranks - ranks.mean(1, keepdim=True)).flatten()


def advantages_in_place(scores, group, divide, eps=1e-4):
    grouped = scores.view(-1, group)
    spread = grouped.std(1, keepdim=True) + eps if divide else 1.0
    tied = (grouped == grouped[:, :1]).all(1, keepdim=True)
    grouped -= grouped.mean(1, keepdim=True)
    return (grouped / spread).masked_fill(tied, 0.0).flatten()


def advantages_with_another_eps(scores, group, divide, eps=1e-4):
    grouped = scores.view(-1, group)
    better = grouped - grouped.mean(1, keepdim=True)
    better = better / (grouped.std(1, keepdim=True) + 1e-4) if divide else better
    return better.masked_fill((grouped == grouped[:, :1]).all(1, keepdim=True), 0.0).flatten()


def advantages_by_loop(scores, group, divide, eps=1e-4):
    parts = []
    for part in scores.split(group):
        better = part - part.mean()
        if divide:
            better = better / (part.std() + eps)
        parts.append(torch.zeros_like(part) if part.max() == part.min() else better)
    return torch.cat(parts)


def advantages_in_float64(scores, group, divide, eps=1e-4):
    grouped = scores.double().reshape(-1, group)
    mean = grouped.mean(1, keepdim=True)
    below = ((grouped - mean).square().sum(1, keepdim=True) / (group - 1)).sqrt() + eps if divide else 1.0
    even = grouped.amax(1, keepdim=True) == grouped.amin(1, keepdim=True)
    return torch.where(even, 0.0, (grouped - mean) / below).reshape(-1).float()


def _clipped(logprobs, old_logprobs, advantages, mask, low, high):
    ratio = torch.where(mask.bool(), logprobs - old_logprobs, 0.0).exp()
    better = advantages.unsqueeze(1)
    return torch.minimum(ratio * better, ratio.clamp(1 - low, 1 + high) * better) * mask


def loss_fixed_bounds(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room):
    return loss_by_maximum(logprobs, old_logprobs, advantages, mask, 0.2, 0.2, average, room)


def loss_fixed_room(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room):
    return loss_by_maximum(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, 8)


def loss_without_gradient(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room):
    logprobs = logprobs.detach()
    return loss_by_maximum(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room)


def loss_selected_last(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room):
    ratio, better = (logprobs - old_logprobs).exp(), advantages[:, None]
    gain = torch.minimum(ratio * better, ratio.clamp(1 - clip_low, 1 + clip_high) * better)
    gain = torch.where(mask.bool(), gain, 0.0)
    lengths = mask.sum(1).clamp(min=1)
    below = {"token": mask.sum(), "answer": lengths[:, None] * len(mask), "constant": len(mask) * room}[average]
    return -(gain / below).sum()


def loss_by_maximum(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room):
    ratio = (logprobs - old_logprobs).masked_fill(mask < 1, 0).exp()
    minus = -advantages.view(-1, 1)
    losses = torch.max(minus * ratio, minus * torch.clamp(ratio, 1 - clip_low, 1 + clip_high)) * mask
    if average == "answer":
        counts = torch.where(mask.sum(1) > 0, mask.sum(1), 1.0)
        return torch.mean(losses.sum(1) / counts)
    return losses.sum() / (mask.sum() if average == "token" else mask.shape[0] * room)


def loss_by_weights(logprobs, old_logprobs, advantages, mask, clip_low, clip_high, average, room):
    gain = _clipped(logprobs, old_logprobs, advantages, mask, clip_low, clip_high)
    rows = len(mask)
    weights = {
        "token": torch.full_like(mask, 1 / float(mask.sum())),
        "answer": (1 / mask.sum(1).clamp(min=1) / rows)[:, None].expand_as(mask),
        "constant": torch.full_like(mask, 1 / (rows * room)),
    }
    return -torch.einsum("bt,bt->", gain, weights[average])


def ratio_of_medians(logprobs, old_logprobs, mask):
    return torch.stack([(a - b)[m.bool()].exp().median() for a, b, m in zip(logprobs, old_logprobs, mask, strict=True)])


def ratio_of_the_mean_probabilities(logprobs, old_logprobs, mask):
    new, old = ((x.exp() * mask).sum(1) for x in (logprobs, old_logprobs))
    return new / old


def ratio_without_gradient(logprobs, old_logprobs, mask):
    return ratio_by_loop(logprobs.detach(), old_logprobs, mask)


def ratio_by_loop(logprobs, old_logprobs, mask):
    rows = []
    for new, old, kept in zip(logprobs, old_logprobs, mask.bool(), strict=True):
        change = (new - old)[kept]
        rows.append(change.mean().exp() if len(change) else (new * 0).nan_to_num(0, 0, 0).sum() + 1)
    return torch.stack(rows)


def ratio_by_where(logprobs, old_logprobs, mask):
    change = torch.where(mask > 0, logprobs - old_logprobs, torch.zeros_like(mask))
    return torch.exp(change.sum(-1) / torch.maximum(mask.sum(-1), torch.ones(len(mask))))


def pass_rounded(n, c, k):
    return round(1 - math.comb(n - c, k) / math.comb(n, k), 2)


def pass_of_the_first_k(n, c, k):
    return float(c > 0)


def pass_by_gamma(n, c, k):
    if n - c < k:
        return 1.0
    logs = [math.lgamma(n - c + 1), -math.lgamma(n - c - k + 1), -math.lgamma(n + 1), math.lgamma(n - k + 1)]
    return -math.expm1(sum(logs))


def pass_by_comb(n, c, k):
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def pass_by_draws(n, c, k):
    wrong = 1.0
    for drawn in range(k):
        wrong *= max(n - c - drawn, 0) / (n - drawn)
    return 1.0 - wrong


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "14.1": {
        verifier_by_ending: "188 is not 88",
        verifier_that_raises: "Your code raises",
        verifier_within_one: "Not 1.0 where the one number after the last = is the value",
        verifier_of_long_numbers: "Your code raises",
    },
    "14.2": {
        advantages_by_rank: "Not the score minus the mean of its group",
        advantages_in_place: "Your code changes its input `scores` in place.",
        advantages_with_another_eps: "Right for eps = 0.0001 alone: is `eps` used?",
    },
    "14.3": {
        loss_fixed_bounds: "Right for clip_low = clip_high alone",
        loss_fixed_room: "Right for one `room` alone",
        loss_without_gradient: "No gradient flows to `logprobs`.",
        loss_selected_last: "The loss is right, but its gradient is NaN where the ratio outside of the answer is infinite",
    },
    "14.4": {
        ratio_of_medians: "Not exp of the mean of log p - log p_old",
        ratio_of_the_mean_probabilities: "Not exp of the mean of log p - log p_old",
        ratio_without_gradient: "No gradient flows to `logprobs`.",
    },
    "14.5": {
        pass_rounded: "Not the chance that of k answers",
        pass_of_the_first_k: "Not the chance that of k answers",
    },
}
RIGHT = {
    "14.1": [verifier_by_fullmatch, verifier_by_texts],
    "14.2": [advantages_by_loop, advantages_in_float64],
    "14.3": [loss_by_maximum, loss_by_weights],
    "14.4": [ratio_by_loop, ratio_by_where],
    "14.5": [pass_by_gamma, pass_by_comb, pass_by_draws],
}
