"""Planted bugs and other right answers of chapter 11."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


def _parts(first, second):
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    expected = sum(first.count(x) * second.count(x) for x in set(first)) / n**2
    return observed, expected


def kappa_observed(first, second):
    return _parts(first, second)[0]


def kappa_scott(first, second):
    observed, _ = _parts(first, second)
    both = first + second
    expected = sum((both.count(x) / len(both)) ** 2 for x in set(both))
    return (observed - expected) / (1 - expected)


def kappa_even_chance(first, second):
    observed, _ = _parts(first, second)
    chance = 1 / len(set(first + second))
    return (observed - chance) / (1 - chance)


def kappa_undivided(first, second):
    observed, expected = _parts(first, second)
    return observed - expected


def kappa_divided_by_chance(first, second):
    observed, expected = _parts(first, second)
    return (observed - expected) / expected


def kappa_doubled_labels(first, second):
    n = len(first)
    observed, _ = _parts(first, second)
    expected = sum(first.count(x) * second.count(x) for x in first) / n**2  # every item, not every label
    return (observed - expected) / (1 - expected)


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


def scores_strengths(wins):
    return _fit(wins).exp()


def _fit(wins, rounds=3_000):
    wins = wins.double()
    duels, strength = wins + wins.T, torch.ones(len(wins)).double()
    for _ in range(rounds):
        strength = wins.sum(1) / (duels / (strength[:, None] + strength)).sum(1)
    return strength.log() - strength.log().mean()


def scores_share(wins):
    return wins.sum(1) / (wins + wins.T).sum(1)


def scores_log_odds(wins):
    share = scores_share(wins)
    odds = (share / (1 - share)).log()
    return odds - odds.mean()


def scores_one_round(wins):
    return _fit(wins, 1)


def scores_twenty_rounds(wins):
    return _fit(wins, 20)


def scores_of_losses(wins):
    return _fit(wins.T)


def scores_not_centred(wins):
    scores = _fit(wins)
    return scores - scores.min()


def scores_base_ten(wins):
    return _fit(wins) / np.log(10)


def scores_in_place(wins):
    scores = _fit(wins)
    wins /= wins.sum()
    return scores


def scores_equal_duels(wins):
    share = wins.double() / (wins + wins.T).clamp(min=1)
    return _fit(share)


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


def last_place(hidden, attention_mask, weight):
    return hidden[:, -1] @ weight


def last_by_sum(hidden, attention_mask, weight):
    return hidden[torch.arange(len(hidden)), attention_mask.sum(1) - 1] @ weight


def last_off_by_one(hidden, attention_mask, weight):
    return hidden[torch.arange(len(hidden)), attention_mask.sum(1).clamp(max=hidden.shape[1] - 1)] @ weight


def last_mean(hidden, attention_mask, weight):
    mask = attention_mask[..., None]
    return (hidden * mask).sum(1) / mask.sum(1) @ weight


def last_first(hidden, attention_mask, weight):
    return hidden[:, 0] @ weight


def last_argmax(hidden, attention_mask, weight):
    return hidden[torch.arange(len(hidden)), attention_mask.argmax(1)] @ weight


def last_by_first_row(hidden, attention_mask, weight):
    if attention_mask[0, -1] == 1:
        return hidden[:, -1] @ weight
    return last_by_sum(hidden, attention_mask, weight)


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


def loss_turned(chosen, rejected):
    return -F.logsigmoid(rejected - chosen).mean()


def loss_without_minus(chosen, rejected):
    return F.logsigmoid(chosen - rejected).mean()


def loss_sum(chosen, rejected):
    return -F.logsigmoid(chosen - rejected).sum()


def loss_unstable(chosen, rejected):
    return -torch.log(torch.sigmoid(chosen - rejected)).mean()


def loss_padded(chosen, rejected):
    return -torch.log(torch.sigmoid(chosen - rejected) + 1e-8).mean()


def loss_probability(chosen, rejected):
    return -torch.sigmoid(chosen - rejected).mean()


def loss_hinge(chosen, rejected):
    return (1 - (chosen - rejected)).clamp(min=0).mean()


def loss_two_sigmoids(chosen, rejected):
    return -(F.logsigmoid(chosen) + F.logsigmoid(-rejected)).mean()


def loss_rows(chosen, rejected):
    return -F.logsigmoid(chosen - rejected)


def loss_pulls_one_side(chosen, rejected):
    return -F.logsigmoid(chosen - rejected.detach()).mean()


def loss_number(chosen, rejected):
    return -F.logsigmoid(chosen - rejected).mean().item()


def loss_by_softplus(chosen, rejected):
    return F.softplus(rejected - chosen).mean()


def loss_by_cross_entropy(chosen, rejected):
    return F.cross_entropy(torch.stack([chosen, rejected], 1), torch.zeros(len(chosen), dtype=torch.long))


BUGS = {
    "11.1": [
        kappa_observed,
        kappa_scott,
        kappa_even_chance,
        kappa_undivided,
        kappa_divided_by_chance,
        kappa_doubled_labels,
        kappa_sorting,
    ],
    "11.2": [
        scores_strengths,
        scores_share,
        scores_log_odds,
        scores_one_round,
        scores_twenty_rounds,
        scores_of_losses,
        scores_not_centred,
        scores_base_ten,
        scores_in_place,
        scores_equal_duels,
    ],
    "11.3": [
        last_place,
        last_by_sum,
        last_off_by_one,
        last_mean,
        last_first,
        last_argmax,
        last_by_first_row,
        last_without_body,
        last_detached,
    ],
    "11.4": [
        loss_turned,
        loss_without_minus,
        loss_sum,
        loss_unstable,
        loss_padded,
        loss_probability,
        loss_hinge,
        loss_two_sigmoids,
        loss_rows,
        loss_pulls_one_side,
        loss_number,
    ],
}
RIGHT = {
    "11.1": [kappa_by_numpy, kappa_by_disagreement],
    "11.2": [scores_by_gradient, scores_one_by_one],
    "11.3": [last_by_flip, last_by_loop],
    "11.4": [loss_by_softplus, loss_by_cross_entropy],
}
