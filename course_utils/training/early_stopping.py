"""Early stopping: when validation has not improved for a while, stop, and go back to the best step."""

from __future__ import annotations

from collections.abc import Sequence


def early_stop(losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    """(the evaluation after which training stops, the evaluation whose weights are kept), counted from 0.

    losses: of the validation data, one per evaluation, in order; lower is better. An evaluation improves if it lies
    below the best so far by more than ``min_delta``; that one is then the best. After ``patience`` evaluations in a
    row without improvement training stops, else with the last one. (Goodfellow et al., Deep Learning, algorithm 7.1.)
    Raises ValueError for no losses, a patience below 1 or a negative min_delta.
    """
    if not losses:
        raise ValueError("losses is empty; at least one evaluation is needed.")
    if patience < 1 or min_delta < 0:
        raise ValueError(f"patience is {patience} and min_delta {min_delta}; give 1 or more, and 0 or more.")
    best = 0
    for step, loss in enumerate(losses):
        if loss < losses[best] - min_delta:
            best = step
        if step - best >= patience:
            return step, best
    return len(losses) - 1, best
