"""Bugs of chapter 12 that its checks do not list, and other right answers."""

from __future__ import annotations

import torch


def bytes_averages_in_16_bits(policy, value, reward, reference):
    return (2 + 2 + 4 + 2 * 2) * (policy + value) + 2 * (reward + reference)


def bytes_copies_of_all(policy, value, reward, reference):
    return 16 * (policy + value) + (2 + 4) * (reward + reference)


def bytes_in_bits(policy, value, reward, reference):
    return 128 * (policy + value) + 16 * (reward + reference)


def bytes_by_sum(policy, value, reward, reference):
    trained = sum(size * (2 + 2 + 4 + 4 + 4) for size in (policy, value))
    return trained + sum(size * 2 for size in (reward, reference))


def bytes_by_tensor(policy, value, reward, reference):
    return torch.tensor([policy, value, reward, reference]).double() @ torch.tensor([16.0, 16, 2, 2]).double()


def _last(mask):
    return (mask * torch.arange(mask.shape[1])).argmax(1).long()


def rewards_at_one_place(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    rewards[:, _last(mask)[0]] += scores  # where the first row ends
    return rewards


def rewards_with_squares(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs) ** 2 / 2 * mask
    rewards[torch.arange(len(scores)), _last(mask)] += scores
    return rewards


def rewards_in_place(scores, logprobs, ref_logprobs, mask, coefficient):
    logprobs -= ref_logprobs
    rewards = -coefficient * logprobs * mask
    rewards[torch.arange(len(scores)), _last(mask)] += scores
    return rewards


def rewards_by_flip(scores, logprobs, ref_logprobs, mask, coefficient):
    at_last = (mask.flip(1).cumsum(1).flip(1) == 1) * mask
    return coefficient * (ref_logprobs - logprobs) * mask + scores[:, None] * at_last


def rewards_by_loop(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = torch.zeros_like(logprobs)
    for row in range(len(scores)):
        places = mask[row].nonzero()[:, 0].tolist()
        for place in places:
            rewards[row, place] = -coefficient * (logprobs[row, place] - ref_logprobs[row, place])
        rewards[row, places[-1]] += scores[row]
    return rewards


def gae_by_product(rewards, values, mask, gamma, lam):
    rewards, values = rewards * mask, values * mask  # NaN * 0
    out, later = torch.zeros_like(rewards), torch.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        following = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros(len(rewards))
        later = (rewards[:, t] + gamma * following - values[:, t] + gamma * lam * later) * mask[:, t]
        out[:, t] = later
    return out, out + values


def gae_only_advantages(rewards, values, mask, gamma, lam):
    return gae_by_product(rewards, values, mask, gamma, lam)[0]


def gae_without_last_column(rewards, values, mask, gamma, lam):
    advantages, _ = gae_by_product(rewards[:, :-1], values[:, :-1], mask[:, :-1], gamma, lam)
    advantages = torch.cat([advantages, torch.zeros(len(rewards), 1)], 1)
    return advantages, advantages + values * mask


def gae_in_place(rewards, values, mask, gamma, lam):
    values *= mask
    return gae_by_product(rewards, values, mask, gamma, lam)


def gae_by_matrix(rewards, values, mask, gamma, lam):
    rewards, values = (x.masked_fill(mask == 0, 0.0) for x in (rewards, values))
    following = torch.cat([values[:, 1:], torch.zeros(len(values), 1)], 1)
    delta = (rewards + gamma * following - values) * mask
    steps = torch.arange(delta.shape[1])
    weights = torch.where(steps[:, None] >= steps, (gamma * lam) ** (steps[:, None] - steps).clamp(min=0).float(), 0.0)
    advantages = delta @ weights * mask
    return advantages, advantages + values


def gae_by_rows(rewards, values, mask, gamma, lam):
    advantages = torch.zeros_like(rewards)
    for row in range(len(rewards)):
        later, following = 0.0, 0.0
        for t in reversed(mask[row].nonzero()[:, 0].tolist()):
            delta = rewards[row, t] + gamma * following - values[row, t]
            later, following = delta + gamma * lam * later, values[row, t]
            advantages[row, t] = later
    return [advantages, torch.where(mask.bool(), advantages + values, 0.0)]


def loss_clipped_logarithms(logprobs, old_logprobs, advantages, mask, clip):
    log_ratio = logprobs - old_logprobs
    surrogate = torch.minimum(log_ratio.exp() * advantages, log_ratio.clamp(-clip, clip).exp() * advantages)
    return -(surrogate * mask).sum() / mask.sum()


def _loss(ratio, advantages, mask, clip):
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(surrogate * mask).sum() / mask.sum()


def loss_fixed_clip(logprobs, old_logprobs, advantages, mask, clip):
    return _loss((logprobs - old_logprobs).exp(), advantages, mask, 0.2)


def loss_gradient_of_old(logprobs, old_logprobs, advantages, mask, clip):
    return _loss((logprobs.detach() - old_logprobs).exp() * torch.ones_like(logprobs), advantages, mask, clip)


def loss_where_it_is_not_0(logprobs, old_logprobs, advantages, mask, clip):
    ratio = (logprobs - old_logprobs).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages) * mask
    return -surrogate[surrogate != 0].mean()


def loss_selected_last(logprobs, old_logprobs, advantages, mask, clip):
    ratio = torch.exp(logprobs - old_logprobs)
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)[mask.bool()].mean()


def loss_by_where(logprobs, old_logprobs, advantages, mask, clip):
    ratio = torch.exp(torch.where(mask.bool(), logprobs - old_logprobs, 0))
    stopped = ((advantages > 0) & (ratio > 1 + clip)) | ((advantages < 0) & (ratio < 1 - clip))
    limit = torch.where(advantages > 0, 1 + clip, 1 - clip)
    return -(torch.where(stopped, limit, ratio) * advantages)[mask.bool()].mean()


def loss_by_maximum_of_losses(logprobs, old_logprobs, advantages, mask, clip):
    ratio = ((logprobs - old_logprobs).masked_fill(mask < 1, 0)).exp()
    losses = torch.max(-advantages * ratio, -advantages * torch.clamp(ratio, 1 - clip, 1 + clip))
    return losses.mul(mask).sum().div(mask.sum())


def k3_in_bits(logprobs, ref_logprobs):
    log_ratio = ref_logprobs - logprobs
    return (log_ratio.exp() - 1 - log_ratio) / torch.log(torch.tensor(2.0))


def k3_of_rows(logprobs, ref_logprobs):
    log_ratio = ref_logprobs - logprobs
    return (log_ratio.exp() - 1 - log_ratio).sum(1)


def k3_in_place(logprobs, ref_logprobs):
    ref_logprobs -= logprobs
    return torch.expm1(ref_logprobs) - ref_logprobs


def k3_by_expm1(logprobs, ref_logprobs):
    return torch.expm1(ref_logprobs - logprobs) + (logprobs - ref_logprobs)


def k3_in_float64(logprobs, ref_logprobs):
    log_ratio = (ref_logprobs - logprobs).double()
    return log_ratio.exp().sub(1).sub(log_ratio).float()


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "12.1": {
        bytes_averages_in_16_bits: "4 of the 16 bytes are missing",
        bytes_copies_of_all: "Not 16 bytes for each trained parameter and 2 for each frozen one.",
        bytes_in_bits: "Not 16 bytes for each trained parameter and 2 for each frozen one.",
    },
    "12.2": {
        rewards_at_one_place: "Not -coefficient * (logprobs - ref_logprobs) at each token of the answer, with the score added",
        rewards_with_squares: "Not -coefficient * (logprobs - ref_logprobs) at each token of the answer",
        rewards_in_place: "Your code changes its input `logprobs` in place.",
    },
    "12.3": {
        gae_only_advantages: "Two tensors are wanted: `return advantages, returns`.",
        gae_without_last_column: "Wrong where an answer reaches to the first or the last column",
        gae_by_product: "Where the mask is 0 may stand NaN, and NaN * 0 is NaN",
        gae_in_place: "Your code changes its input `values` in place.",
    },
    "12.4": {
        loss_clipped_logarithms: "The difference of the logarithms is clipped, and not the ratio",
        loss_selected_last: "The loss is right, but its gradient is NaN where the ratio outside of the answer is infinite",
        loss_fixed_clip: "Right for clip = 0.2 alone: is `clip` used?",
        loss_where_it_is_not_0: "A token whose advantage is 0 counts, too.",
        loss_gradient_of_old: "No gradient flows to `logprobs`. Is there a `.detach()` or `no_grad`?",
    },
    "12.5": {
        k3_in_bits: "Not (r - 1) - log r with r = p_ref / p.",
        k3_of_rows: "The shape is (2,), it should be (2, 3).",
        k3_in_place: "Your code changes its input `ref_logprobs` in place.",
    },
}
RIGHT = {
    "12.1": [bytes_by_sum, bytes_by_tensor],
    "12.2": [rewards_by_flip, rewards_by_loop],
    "12.3": [gae_by_matrix, gae_by_rows],
    "12.4": [loss_by_where, loss_by_maximum_of_losses],
    "12.5": [k3_by_expm1, k3_in_float64],
}
