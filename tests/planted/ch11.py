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


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "11.1": {
        kappa_observed: "That is the plain share of agreement; what chance brings is not taken away.",
        kappa_scott: "That is Scott's pi: it pools both raters' shares. Kappa multiplies each rater's own shares of a label.",
        kappa_even_chance: "Chance is taken as one over the number of labels. A rater who says the same label nine times in ten agrees by chance far more often; use the shares of the labels.",
        kappa_undivided: "It is not divided by 1 - p_e, so full agreement would not give 1.",
        kappa_divided_by_chance: "Divided by p_e; it is 1 - p_e, what was left to reach.",
        kappa_doubled_labels: "The value is not (p_o - p_e) / (1 - p_e).",
        kappa_sorting: "A list that was given was changed; work on a copy.",
    },
    "11.2": {
        scores_strengths: "These are the strengths; a score is the logarithm of a strength.",
        scores_share: "These are the shares of duels won; a score is on the scale of log odds.",
        scores_log_odds: "Who wins three times in four is log 3 = 1.099 above the other.",
        scores_one_round: "That is one round of the rule; repeat it until nothing moves (a thousand rounds).",
        scores_twenty_rounds: "On a chain, where only neighbours met, this is not yet the end. Repeat a thousand rounds, or until nothing moves.",
        scores_of_losses: "The sign is turned: who wins more has the higher score. Is the table read as losses?",
        scores_not_centred: "The scores should have the mean 0: subtract it. (Only differences mean something.)",
        scores_base_ten: "Logarithms to the base 10; natural ones are wanted.",
        scores_in_place: "Your code changes its input `wins` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
        scores_equal_duels: "Not the most likely scores of this table. Is it repeated until nothing moves? Are unequal numbers of duels counted?",
    },
    "11.3": {
        last_place: "Read at place -1 of every row. With padding on the right that is padding.",
        last_by_sum: "The places are counted with the sum of the mask; with padding on the left the last token is elsewhere.",
        last_off_by_one: "One place too far: the first padding token. Places count from 0.",
        last_mean: "That is the mean over all tokens; the score is read at the last one.",
        last_first: "Read at the first place; only the last token has seen the whole text.",
        last_argmax: "Read at the first place; only the last token has seen the whole text.",
        last_by_first_row: "The first row is full and the others are padded on the right. Do not guess the side from one row.",
        last_without_body: "No gradient reaches the hidden states: the body would never learn.",
        last_detached: "No gradient reaches the head. Is there a `.detach()`, `.item()` or `no_grad`?",
    },
    "11.4": {
        loss_turned: "The sign is turned: so the model would learn to prefer what was rejected.",
        loss_without_minus: "The minus is missing: a loss should fall as the choices become likely.",
        loss_sum: "That is the sum over pairs; the mean is wanted, or the loss grows with the batch.",
        loss_unstable: "For scores that lie far apart the loss is not finite: the sigmoid rounds to 0. Use `logsigmoid` (or softplus).",
        loss_padded: "For scores that lie far apart the gradient is wrong (clamped, or not a number): a pair that is ranked quite wrong must pull with all its force, and a pair that is settled must not pull.",
        loss_probability: "The logarithm is missing: that is minus the mean probability.",
        loss_hinge: "That is a hinge loss, of another model.",
        loss_two_sigmoids: "Each side has its own sigmoid. Only the difference of the scores means something.",
        loss_rows: "One number is wanted, the mean over the pairs. Is `.mean()` missing?",
        loss_pulls_one_side: "The loss must push the rejected scores down as much as it pulls the chosen ones up. Is there a `.detach()`?",
        loss_number: "A plain number cannot be differentiated; return a tensor, without `.item()`.",
    },
}
RIGHT = {
    "11.1": [kappa_by_numpy, kappa_by_disagreement],
    "11.2": [scores_by_gradient, scores_one_by_one],
    "11.3": [last_by_flip, last_by_loop],
    "11.4": [loss_by_softplus, loss_by_cross_entropy],
}
