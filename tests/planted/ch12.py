"""Planted bugs and other right answers of chapter 12."""

from __future__ import annotations

import torch


def bytes_value_frozen(policy, value, reward, reference):
    return 16 * policy + 2 * (value + reward + reference)


def bytes_of_reward_trained(policy, value, reward, reference):
    return 16 * (policy + reward) + 2 * (value + reference)


def bytes_all_trained(policy, value, reward, reference):
    return 16 * (policy + value + reward + reference)


def bytes_without_master(policy, value, reward, reference):
    return 12 * (policy + value) + 2 * (reward + reference)


def bytes_one_average(policy, value, reward, reference):
    return (2 + 2 + 4) * (policy + value) + 2 * (reward + reference)


def bytes_without_value(policy, value, reward, reference):
    return 16 * policy + 2 * (reward + reference)


def bytes_in_gigabytes(policy, value, reward, reference):
    return (16 * (policy + value) + 2 * (reward + reference)) / 1e9


def bytes_by_sum(policy, value, reward, reference):
    trained = sum(size * (2 + 2 + 4 + 4 + 4) for size in (policy, value))
    return trained + sum(size * 2 for size in (reward, reference))


def bytes_by_tensor(policy, value, reward, reference):
    return torch.tensor([policy, value, reward, reference]).double() @ torch.tensor([16.0, 16, 2, 2]).double()


def _last(mask):
    return (mask * torch.arange(mask.shape[1])).argmax(1).long()


def rewards_sign(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = coefficient * (logprobs - ref_logprobs) * mask
    rewards[torch.arange(len(scores)), _last(mask)] += scores
    return rewards


def rewards_without_score(scores, logprobs, ref_logprobs, mask, coefficient):
    return -coefficient * (logprobs - ref_logprobs) * mask


def rewards_at_the_end(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    rewards[:, -1] += scores
    return rewards


def rewards_by_sum(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    rewards[torch.arange(len(scores)), mask.sum(1).long() - 1] += scores
    return rewards


def rewards_unmasked(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs)
    rewards[torch.arange(len(scores)), _last(mask)] += scores
    return rewards


def rewards_everywhere(scores, logprobs, ref_logprobs, mask, coefficient):
    return (scores[:, None] - coefficient * (logprobs - ref_logprobs)) * mask


def rewards_of_probabilities(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs.exp() - ref_logprobs.exp()) * mask
    rewards[torch.arange(len(scores)), _last(mask)] += scores
    return rewards


def rewards_replaced(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    rewards[torch.arange(len(scores)), _last(mask)] = scores
    return rewards


def rewards_crossed(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    rewards[:, _last(mask)] += scores
    return rewards


def rewards_k3(scores, logprobs, ref_logprobs, mask, coefficient):
    log_r = ref_logprobs - logprobs
    rewards = -coefficient * (log_r.exp() - 1 - log_r) * mask
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


def _gae(rewards, values, mask, gamma, lam, *, next_values=None, own=True, carry=1.0, discount=None):
    rewards, values = rewards * mask, values * mask
    next_values = values if next_values is None else next_values
    out, later = torch.zeros_like(rewards), torch.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        following = next_values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros(len(rewards))
        delta = rewards[:, t] + gamma * following - own * values[:, t]
        later = (delta + (gamma * lam if discount is None else discount) * later * carry) * mask[:, t]
        out[:, t] = later
    return out, out + values


def gae_delta_only(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, carry=0.0)


def gae_padding_value(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, next_values=values)


def gae_without_own(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, own=False)


def gae_without_lam(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, 1.0)


def gae_lam_alone(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, discount=lam)


def gae_advantages_twice(rewards, values, mask, gamma, lam):
    advantages, _ = _gae(rewards, values, mask, gamma, lam)
    return advantages, advantages


def gae_swapped(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam)[::-1]


def gae_only_advantages(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam)[0]


def gae_unmasked_returns(rewards, values, mask, gamma, lam):
    advantages, _ = _gae(rewards, values, mask, gamma, lam)
    return advantages, advantages + values


def gae_without_last_column(rewards, values, mask, gamma, lam):
    advantages, _ = _gae(rewards[:, :-1], values[:, :-1], mask[:, :-1], gamma, lam)
    advantages = torch.cat([advantages, torch.zeros(len(rewards), 1)], 1)
    return advantages, advantages + values * mask


def gae_in_place(rewards, values, mask, gamma, lam):
    values *= mask
    return _gae(rewards, values, mask, gamma, lam)


def gae_by_matrix(rewards, values, mask, gamma, lam):
    rewards, values = rewards * mask, values * mask
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
    return [advantages, (advantages + values) * mask]


def _loss(ratio, advantages, mask, clip):
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(surrogate * mask).sum() / mask.sum()


def loss_without_minus(logprobs, old_logprobs, advantages, mask, clip):
    return -_loss((logprobs - old_logprobs).exp(), advantages, mask, clip)


def loss_maximum(logprobs, old_logprobs, advantages, mask, clip):
    ratio = (logprobs - old_logprobs).exp()
    surrogate = torch.maximum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(surrogate * mask).sum() / mask.sum()


def loss_unclipped(logprobs, old_logprobs, advantages, mask, clip):
    return -((logprobs - old_logprobs).exp() * advantages * mask).sum() / mask.sum()


def loss_clipped_only(logprobs, old_logprobs, advantages, mask, clip):
    ratio = (logprobs - old_logprobs).exp().clamp(1 - clip, 1 + clip)
    return -(ratio * advantages * mask).sum() / mask.sum()


def loss_unmasked(logprobs, old_logprobs, advantages, mask, clip):
    return _loss((logprobs - old_logprobs).exp(), advantages, torch.ones_like(mask), clip)


def loss_over_all_places(logprobs, old_logprobs, advantages, mask, clip):
    return _loss((logprobs - old_logprobs).exp(), advantages, mask, clip) * mask.mean()


def loss_upside_down(logprobs, old_logprobs, advantages, mask, clip):
    return _loss((old_logprobs - logprobs).exp(), advantages, mask, clip)


def loss_without_exp(logprobs, old_logprobs, advantages, mask, clip):
    return _loss(logprobs - old_logprobs, advantages, mask, clip)


def loss_mean_of_rows(logprobs, old_logprobs, advantages, mask, clip):
    ratio = (logprobs - old_logprobs).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -((surrogate * mask).sum(1) / mask.sum(1)).mean()


def loss_fixed_clip(logprobs, old_logprobs, advantages, mask, clip):
    return _loss((logprobs - old_logprobs).exp(), advantages, mask, 0.2)


def loss_gradient_of_old(logprobs, old_logprobs, advantages, mask, clip):
    return _loss((logprobs.detach() - old_logprobs).exp() * torch.ones_like(logprobs), advantages, mask, clip)


def loss_by_where(logprobs, old_logprobs, advantages, mask, clip):
    ratio = torch.exp(logprobs - old_logprobs)
    stopped = ((advantages > 0) & (ratio > 1 + clip)) | ((advantages < 0) & (ratio < 1 - clip))
    limit = torch.where(advantages > 0, 1 + clip, 1 - clip)
    return -(torch.where(stopped, limit, ratio) * advantages)[mask.bool()].mean()


def loss_by_maximum_of_losses(logprobs, old_logprobs, advantages, mask, clip):
    ratio = (logprobs - old_logprobs).exp()
    losses = torch.max(-advantages * ratio, -advantages * torch.clamp(ratio, 1 - clip, 1 + clip))
    return losses.mul(mask).sum().div(mask.sum())


def k3_upside_down(logprobs, ref_logprobs):
    log_ratio = logprobs - ref_logprobs
    return log_ratio.exp() - 1 - log_ratio


def k3_plain(logprobs, ref_logprobs):
    return logprobs - ref_logprobs


def k3_square(logprobs, ref_logprobs):
    return (logprobs - ref_logprobs) ** 2 / 2


def k3_without_one(logprobs, ref_logprobs):
    return (ref_logprobs - logprobs).exp() - (ref_logprobs - logprobs)


def k3_sign(logprobs, ref_logprobs):
    return (ref_logprobs - logprobs).exp() - 1 + (ref_logprobs - logprobs)


def k3_by_expm1(logprobs, ref_logprobs):
    return torch.expm1(ref_logprobs - logprobs) + (logprobs - ref_logprobs)


def k3_by_probabilities(logprobs, ref_logprobs):
    ratio = ref_logprobs.exp() / logprobs.exp()
    return ratio - 1 - ratio.log()


BUGS = {
    "12.1": [
        bytes_value_frozen,
        bytes_of_reward_trained,
        bytes_all_trained,
        bytes_without_master,
        bytes_one_average,
        bytes_without_value,
        bytes_in_gigabytes,
    ],
    "12.2": [
        rewards_sign,
        rewards_without_score,
        rewards_at_the_end,
        rewards_by_sum,
        rewards_unmasked,
        rewards_everywhere,
        rewards_of_probabilities,
        rewards_replaced,
        rewards_crossed,
        rewards_k3,
        rewards_in_place,
    ],
    "12.3": [
        gae_delta_only,
        gae_padding_value,
        gae_without_own,
        gae_without_lam,
        gae_lam_alone,
        gae_advantages_twice,
        gae_swapped,
        gae_only_advantages,
        gae_unmasked_returns,
        gae_without_last_column,
        gae_in_place,
    ],
    "12.4": [
        loss_without_minus,
        loss_maximum,
        loss_unclipped,
        loss_clipped_only,
        loss_unmasked,
        loss_over_all_places,
        loss_upside_down,
        loss_without_exp,
        loss_mean_of_rows,
        loss_fixed_clip,
        loss_gradient_of_old,
    ],
    "12.5": [k3_upside_down, k3_plain, k3_square, k3_without_one, k3_sign],
}
RIGHT = {
    "12.1": [bytes_by_sum, bytes_by_tensor],
    "12.2": [rewards_by_flip, rewards_by_loop],
    "12.3": [gae_by_matrix, gae_by_rows],
    "12.4": [loss_by_where, loss_by_maximum_of_losses],
    "12.5": [k3_by_expm1, k3_by_probabilities],
}
