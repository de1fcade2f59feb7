"""Bugs of chapter 13 that its checks do not list, and other right answers."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, log_softmax, logsigmoid, softplus


def _answer(input_ids, prompt_lengths, lengths):
    places = torch.arange(input_ids.shape[1])
    return (places >= prompt_lengths[:, None]) & (places < lengths[:, None])


def logprobs_in_bits(logits, input_ids, prompt_lengths, lengths):
    said = log_softmax(logits[:, :-1], -1).gather(2, input_ids[:, 1:, None])[:, :, 0]
    return (said * _answer(input_ids, prompt_lengths, lengths)[:, 1:]).sum(1) / torch.log(torch.tensor(2.0))


def logprobs_detached(logits, input_ids, prompt_lengths, lengths):
    return logprobs_by_cross_entropy(logits.detach(), input_ids, prompt_lengths, lengths)


def logprobs_without_padding_of_the_first_row(logits, input_ids, prompt_lengths, lengths):
    said = log_softmax(logits[:, :-1], -1).gather(2, input_ids[:, 1:, None])[:, :, 0]
    return said[:, int(prompt_lengths[0]) - 1 : int(lengths[0]) - 1].sum(1)


def logprobs_by_cross_entropy(logits, input_ids, prompt_lengths, lengths):
    labels = input_ids.masked_fill(~_answer(input_ids, prompt_lengths, lengths), -100)
    return -cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none").sum(1)


def logprobs_by_rows(logits, input_ids, prompt_lengths, lengths):
    found = []
    for row, (start, stop) in enumerate(zip(prompt_lengths.tolist(), lengths.tolist(), strict=True)):
        logs = log_softmax(logits[row, start - 1 : stop - 1], -1)
        found.append(logs[torch.arange(stop - start), input_ids[row, start:stop]].sum())
    return torch.stack(found)


def policy_with_half_the_reward(ref_logprobs, rewards, beta):
    return log_softmax(ref_logprobs + rewards / (2 * beta), -1)


def policy_in_bits(ref_logprobs, rewards, beta):
    return log_softmax(ref_logprobs + rewards / beta, -1) / torch.log(torch.tensor(2.0))


def policy_by_plain_exp(ref_logprobs, rewards, beta):
    weights = ref_logprobs.exp() * torch.exp(rewards / beta)
    return weights.log() - weights.sum(-1, keepdim=True).log()


def policy_by_log_softmax(ref_logprobs, rewards, beta):
    return log_softmax(ref_logprobs + rewards / beta, dim=-1)


def policy_by_the_largest(ref_logprobs, rewards, beta):
    x = ref_logprobs + rewards / beta
    x = x - x.max(-1, keepdim=True).values
    return x - x.exp().sum(-1, keepdim=True).log()


def dpo_with_margin(chosen, rejected, ref_chosen, ref_rejected, beta):
    return -logsigmoid(beta * ((chosen - ref_chosen) - (rejected - ref_rejected)) - 0.1)


def dpo_as_sum(chosen, rejected, ref_chosen, ref_rejected, beta):
    return -logsigmoid(beta * ((chosen - ref_chosen) - (rejected - ref_rejected))).sum()


def dpo_one_sided(chosen, rejected, ref_chosen, ref_rejected, beta):
    return -logsigmoid(beta * ((chosen - ref_chosen) - (rejected.detach() - ref_rejected)))


def dpo_by_softplus(chosen, rejected, ref_chosen, ref_rejected, beta):
    return softplus(-beta * ((chosen - rejected) - (ref_chosen - ref_rejected)))


def dpo_by_logaddexp(chosen, rejected, ref_chosen, ref_rejected, beta):
    good, bad = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)
    return torch.logaddexp(good, bad) - good


def pairs_of_texts_alone(answers, scores):
    return [(c, r) for _, c, r in pairs_by_argmax(answers, scores)]


def pairs_by_margin_of_one(answers, scores):
    return [pair for pair in pairs_by_argmax(answers, scores) if scores[pair[0]].max() - scores[pair[0]].min() > 1.2]


def pairs_in_place(answers, scores):
    found = pairs_by_argmax(answers, scores)
    for texts in answers:
        texts.clear()
    return found


def pairs_by_argmax(answers, scores):
    best, worst = scores.argmax(1).tolist(), scores.argmin(1).tolist()
    rows = zip(answers, best, worst, strict=True)
    found = [(row, texts[b], texts[w]) for row, (texts, b, w) in enumerate(rows)]
    return [pair for pair in found if pair[1] != pair[2] and scores[pair[0]].max() > scores[pair[0]].min()]


def pairs_as_lists(answers, scores):
    kept = []
    for row in range(len(answers)):
        low = high = 0
        for i in range(len(answers[row])):
            if scores[row, i] > scores[row, high]:
                high = i
            if scores[row, i] < scores[row, low]:
                low = i
        if scores[row, high] != scores[row, low] and answers[row][high] != answers[row][low]:
            kept.append([row, answers[row][high], answers[row][low]])
    return kept


def simpo_with_square_roots(chosen, rejected, chosen_length, rejected_length, beta, gamma):
    return -logsigmoid(beta * (chosen / chosen_length**0.5 - rejected / rejected_length**0.5) - gamma)


def simpo_one_token_more(chosen, rejected, chosen_length, rejected_length, beta, gamma):
    return -logsigmoid(beta * (chosen / (chosen_length + 1) - rejected / (rejected_length + 1)) - gamma)


def simpo_one_sided(chosen, rejected, chosen_length, rejected_length, beta, gamma):
    return -logsigmoid(beta * (chosen / chosen_length - (rejected / rejected_length).detach()) - gamma)


def simpo_by_softplus(chosen, rejected, chosen_length, rejected_length, beta, gamma):
    return softplus(gamma + beta * (rejected / rejected_length - chosen / chosen_length))


def simpo_by_two_rewards(chosen, rejected, chosen_length, rejected_length, beta, gamma):
    good, bad = beta * chosen / chosen_length, beta * rejected / rejected_length + gamma
    return torch.logaddexp(good, bad) - good


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "13.1": {
        logprobs_in_bits: "Not the sum of the log-probabilities of the answer's tokens",
        logprobs_detached: "No gradient flows to the logits.",
        logprobs_without_padding_of_the_first_row: "Not the sum of the log-probabilities of the answer's tokens",
    },
    "13.2": {
        policy_with_half_the_reward: "Not log of p_ref exp(reward / beta), normalized",
        policy_in_bits: "Not log of p_ref exp(reward / beta), normalized",
        policy_by_plain_exp: "Rewards over a small beta leave what a float can hold",
    },
    "13.3": {
        dpo_with_margin: "Not -log sigmoid(beta ((chosen - ref_chosen)",
        dpo_as_sum: "The shape is (), it should be (3,).",
        dpo_one_sided: "The value is right, the gradient to `rejected` is not",
    },
    "13.4": {
        pairs_of_texts_alone: "Each entry is three things",
        pairs_by_margin_of_one: "Not the number of the question, its best answer and its worst answer",
        pairs_in_place: "Your code changes its input `answers` in place.",
    },
    "13.5": {
        simpo_with_square_roots: "Not -log sigmoid(beta (chosen / chosen_length",
        simpo_one_token_more: "Not -log sigmoid(beta (chosen / chosen_length",
        simpo_one_sided: "The value is right, the gradient to `rejected` is not",
    },
}
RIGHT = {
    "13.1": [logprobs_by_cross_entropy, logprobs_by_rows],
    "13.2": [policy_by_log_softmax, policy_by_the_largest],
    "13.3": [dpo_by_softplus, dpo_by_logaddexp],
    "13.4": [pairs_by_argmax, pairs_as_lists],
    "13.5": [simpo_by_softplus, simpo_by_two_rewards],
}
