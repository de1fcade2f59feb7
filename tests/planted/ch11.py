"""Bugs of chapter 11 that its checks do not list, and other right answers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


def _parts(first, second):
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    expected = sum(first.count(x) * second.count(x) for x in set(first)) / n**2
    return observed, expected


def kappa_of_one_rater(first, second):
    observed, _ = _parts(first, second)
    expected = sum((first.count(x) / len(first)) ** 2 for x in set(first))
    return (observed - expected) / (1 - expected)


def kappa_in_percent(first, second):
    observed, expected = _parts(first, second)
    return 100 * (observed - expected) / (1 - expected)


def kappa_sorting(first, second):
    observed, expected = _parts(first, second)
    first.sort(key=str)
    return (observed - expected) / (1 - expected)


def kappa_by_numpy(first, second):
    labels = sorted(set(first) | set(second), key=str)
    table = np.zeros((len(labels), len(labels)))
    for a, b in zip(first, second, strict=True):
        table[labels.index(a), labels.index(b)] += 1
    table /= table.sum()
    expected = table.sum(0) @ table.sum(1)
    return np.float64((np.trace(table) - expected) / (1 - expected))


def kappa_by_disagreement(first, second):
    n = len(first)
    disagreed = sum(a != b for a, b in zip(first, second, strict=True))
    by_chance = sum(a != b for a in first for b in second) / n
    return 1 - disagreed / by_chance


def _fit(wins, rounds=3_000):
    wins = wins.double()
    duels, strength = wins + wins.T, torch.ones(len(wins)).double()
    for _ in range(rounds):
        strength = wins.sum(1) / (duels / (strength[:, None] + strength)).sum(1)
    return strength.log() - strength.log().mean()


def scores_not_centred(wins):
    scores = _fit(wins)
    return scores - scores.min()


def scores_twenty_rounds(wins):
    return _fit(wins, 20)


def scores_in_place(wins):
    scores = _fit(wins)
    wins /= wins.sum()
    return scores


def scores_by_gradient(wins):
    scores = torch.zeros(len(wins), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -(wins.double() * F.logsigmoid(scores[:, None] - scores)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (scores - scores.mean()).detach()


def scores_one_by_one(wins):
    n, wins = len(wins), wins.tolist()
    strength = [1.0] * n
    for _ in range(2_000):
        for i in range(n):
            below = sum((wins[i][j] + wins[j][i]) / (strength[i] + strength[j]) for j in range(n) if j != i)
            strength[i] = sum(wins[i]) / below
    scores = torch.tensor(strength).log()
    return scores - scores.mean()


def last_by_first_row(hidden, attention_mask, weight):
    if attention_mask[0, -1] == 1:
        return hidden[:, -1] @ weight
    return hidden[torch.arange(len(hidden)), attention_mask.sum(1) - 1] @ weight


def last_without_body(hidden, attention_mask, weight):
    last = (attention_mask * torch.arange(hidden.shape[1])).argmax(1)
    return hidden.detach()[torch.arange(len(hidden)), last] @ weight


def last_detached(hidden, attention_mask, weight):
    last = (attention_mask * torch.arange(hidden.shape[1])).argmax(1)
    return (hidden[torch.arange(len(hidden)), last] @ weight).detach()


def last_by_flip(hidden, attention_mask, weight):
    last = hidden.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return (hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0] * weight).sum(-1)


def last_by_loop(hidden, attention_mask, weight):
    rows = [h[m.bool()][-1] @ weight for h, m in zip(hidden, attention_mask, strict=True)]
    return torch.stack(rows)


def loss_unstable(chosen, rejected):
    return -torch.log(torch.sigmoid(chosen - rejected)).mean()


def loss_padded(chosen, rejected):
    return -torch.log(torch.sigmoid(chosen - rejected) + 1e-8).mean()


def loss_pulls_one_side(chosen, rejected):
    return -F.logsigmoid(chosen - rejected.detach()).mean()


def loss_number(chosen, rejected):
    return -F.logsigmoid(chosen - rejected).mean().item()


def loss_by_softplus(chosen, rejected):
    return F.softplus(rejected - chosen).mean()


def loss_by_cross_entropy(chosen, rejected):
    return F.cross_entropy(torch.stack([chosen, rejected], 1), torch.zeros(len(chosen), dtype=torch.long))


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "11.1": {
        kappa_of_one_rater: "The value is not (p_o - p_e) / (1 - p_e).",
        kappa_in_percent: "The value is not (p_o - p_e) / (1 - p_e).",
        kappa_sorting: "Your code changes its input `first` in place.",
    },
    "11.2": {
        scores_not_centred: "The scores should have the mean 0: subtract it. (Only differences mean something.)",
        scores_twenty_rounds: "On a chain, where only neighbours met, this is not yet the end.",
        scores_in_place: "Your code changes its input `wins` in place.",
    },
    "11.3": {
        last_by_first_row: "Rows of one batch may be padded on different sides. Do not guess the side from one row.",
        last_without_body: "No gradient reaches the hidden states: the body would never learn.",
        last_detached: "No gradient reaches the head. Is there a `.detach()`, `.item()` or `no_grad`?",
    },
    "11.4": {
        loss_unstable: "For scores that lie far apart the loss is not finite: the sigmoid rounds to 0.",
        loss_padded: "For scores that lie far apart the gradient is wrong (clamped, or not a number)",
        loss_pulls_one_side: "The loss must push the rejected scores down as much as it pulls the chosen ones up.",
        loss_number: "A plain number cannot be differentiated; return a tensor, without `.item()`.",
    },
}
RIGHT = {
    "11.1": [kappa_by_numpy, kappa_by_disagreement],
    "11.2": [scores_by_gradient, scores_one_by_one],
    "11.3": [last_by_flip, last_by_loop],
    "11.4": [loss_by_softplus, loss_by_cross_entropy],
}
