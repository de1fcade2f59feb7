"""Scores from comparisons: the model of Bradley and Terry (Biometrika 39, 1952).

Each thing has one score, and a is preferred to b with the probability sigmoid(score(a) - score(b)). Zermelo ranked
chess players so in 1929; today it ranks language models by their duels, and is the loss of reward models.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Mean of -log sigmoid(chosen - rejected) over pairs of scores (batch,), in nats; log 2 = 0.693 when undecided.

    Written with ``logsigmoid``, which stays finite where the sigmoid itself rounds to 0. Raises ValueError for scores
    that do not pair up.
    """
    if chosen.shape != rejected.shape or chosen.dim() != 1:
        raise ValueError(
            f"chosen has the shape {tuple(chosen.shape)} and rejected {tuple(rejected.shape)}; one score for each "
            "answer is expected, (batch,) and (batch,)."
        )
    return -F.logsigmoid(chosen - rejected).mean()


def bradley_terry_scores(wins: Tensor, tolerance: float = 1e-9, max_rounds: int = 100_000) -> Tensor:
    """The most likely scores behind a table of wins: (n,) float64, mean 0.

    ``wins[i, j]``: how often i was preferred to j. Zermelo's rule, s_i = log(w_i / sum_j n_ij / (e^s_i + e^s_j)) with
    w_i all wins of i and n_ij all duels of i and j, is repeated until no score moves by more than ``tolerance``; each
    round raises the likelihood (Hunter, Annals of Statistics 32, 2004, section 2).

    Raises ValueError for a table that is not square or has negative numbers, and if the things fall into two groups of
    which one never lost to the other: then no finite scores are the most likely.
    """
    if wins.dim() != 2 or wins.shape[0] != wins.shape[1] or bool((wins < 0).any()):
        raise ValueError(
            f"wins has the shape {tuple(wins.shape)}; a square table (n, n) of counts of 0 or more is expected: "
            "wins[i, j] says how often i was preferred to j."
        )
    wins = wins.double().clone().fill_diagonal_(0)
    reached = (wins > 0) | torch.eye(len(wins), dtype=torch.bool, device=wins.device)
    for _ in range(len(wins)):  # who beat whom, also by way of others
        reached = (reached.double() @ reached.double()) > 0
    if not bool(reached.all()):
        i, j = (~reached).nonzero()[0].tolist()
        raise ValueError(
            f"thing {i} never won against thing {j}, nor by way of others; its score would be minus infinity. Compare "
            "more, or add half a win to every pair."
        )
    duels, won, strength = wins + wins.T, wins.sum(1), torch.ones(len(wins), dtype=torch.float64, device=wins.device)
    scores = strength.log()
    for _ in range(max_rounds):
        strength = won / (duels / (strength[:, None] + strength)).sum(1)
        before, scores = scores, strength.log() - strength.log().mean()
        strength = scores.exp()
        if float((scores - before).abs().max()) < tolerance:
            break
    return scores
