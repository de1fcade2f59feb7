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


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "12.1": {
        bytes_value_frozen: "The value model is trained too: it learns what to expect.",
        bytes_of_reward_trained: "The value model is trained, the reward model is frozen: not the other way round.",
        bytes_all_trained: "All four are counted as trained; reward and reference only read.",
        bytes_without_master: "The copy in 32 bits is missing: 2 + 2 + 4 + 8 bytes.",
        bytes_one_average: "Adam keeps two averages of 4 bytes each: 2 + 2 + 4 + 8 bytes.",
        bytes_without_value: "The value or the reward model is missing: four models take part.",
        bytes_in_gigabytes: "Not 16 bytes for each trained parameter and 2 for each frozen one.",
    },
    "12.2": {
        rewards_sign: "The sign of the penalty is turned: it would reward the policy for moving away.",
        rewards_without_score: "The score is missing at the last token.",
        rewards_at_the_end: "The score stands at the end of the row, which may be padding.",
        rewards_by_sum: "The place of the last token is counted with the sum of the mask; but the prompt stands before the answer.",
        rewards_unmasked: "The mask is forgotten: prompt and padding get a penalty too.",
        rewards_everywhere: "The score is added at every token of the answer; it comes once.",
        rewards_of_probabilities: "Probabilities are compared; the penalty is the difference of their logarithms.",
        rewards_replaced: "The score replaces the penalty at the last token; it is added to it.",
        rewards_crossed: "Every row got the scores of all rows, at the last tokens of all: index rows and places together.",
        rewards_k3: "That is k3 as a penalty; the reward takes the plain difference of the logarithms.",
        rewards_in_place: "Your code changes its input `logprobs` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
    },
    "12.3": {
        gae_delta_only: "That is delta alone: what comes later is not carried back.",
        gae_padding_value: "The value behind the last token of the answer is taken from the padding; the answer has ended, it is 0.",
        gae_without_own: "The own value is not subtracted: these are returns, not advantages.",
        gae_without_lam: "lam is missing: that is lam = 1.",
        gae_lam_alone: "gamma is missing where the later advantages are carried back; it is gamma * lam.",
        gae_advantages_twice: "These are the advantages again; the returns are advantages plus values.",
        gae_swapped: "That is the second of the two; advantages come first, then returns.",
        gae_only_advantages: "Two tensors are wanted: `return advantages, returns`.",
        gae_unmasked_returns: "The returns are the advantages plus the values, where the answer stands; yours hold values of prompt or padding.",
        gae_without_last_column: "Not delta_t + gamma * lam * A_{t+1}, summed from the end.",
        gae_in_place: "Your code changes its input `values` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
    },
    "12.4": {
        loss_without_minus: "The minus is missing: an optimizer minimizes, so the policy would learn to do worse.",
        loss_maximum: "The maximum is taken; it is the minimum, or the loss rewards going ever further.",
        loss_unclipped: "Nothing is clipped: that is the plain policy gradient with a ratio.",
        loss_clipped_only: "Only the clipped term is used. Then a token that went the wrong way too far has no gradient to come back; the minimum keeps it.",
        loss_unmasked: "The mask is forgotten: padding counts.",
        loss_over_all_places: "Divided by all places instead of the places of the answer.",
        loss_upside_down: "The ratio is upside down: new over old.",
        loss_without_exp: "The difference of logarithms is used for the ratio; `exp` is missing.",
        loss_mean_of_rows: "The rows are averaged one by one; the mean is over all tokens of the answers.",
        loss_fixed_clip: "Right for clip = 0.2 alone: is `clip` used?",
        loss_gradient_of_old: "No gradient flows to `logprobs`. Is there a `.detach()` or `no_grad`?",
    },
    "12.5": {
        k3_upside_down: "r is upside down: it is the reference's probability over the policy's, as the samples come from the policy.",
        k3_plain: "That is k1, the plain log ratio: right on average, but negative at many tokens.",
        k3_square: "That is k2, half the square: never negative, but not right on average.",
        k3_without_one: "The 1 is missing: equal probabilities must give 0.",
        k3_sign: "The sign of log r is turned.",
    },
}
RIGHT = {
    "12.1": [bytes_by_sum, bytes_by_tensor],
    "12.2": [rewards_by_flip, rewards_by_loop],
    "12.3": [gae_by_matrix, gae_by_rows],
    "12.4": [loss_by_where, loss_by_maximum_of_losses],
    "12.5": [k3_by_expm1, k3_by_probabilities],
}
