"""Stay close to where you started: an L2 penalty on the distance from the first weights.

L2-SP (Li, Grandvalet and Davoine, arXiv 1802.01483, section 3): the usual weight decay pulls towards zero, and so away
from what pretraining has found; this one pulls back to it. (The paper also pulls parameters without a start, such as a
new head, to zero with a strength of their own; here they are free, and the optimizer's weight decay may do that.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.training.objectives import unwrapped

Objective = Callable[[nn.Module, Any], tuple[Tensor, dict[str, Any]]]


def start_weights(model: nn.Module, skip: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """A copy of every trainable parameter by name, but those whose name ends with an entry of ``skip``."""
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.endswith(tuple(skip) or ("\0",))
    }


def distance_penalty(parameters: Mapping[str, Tensor], start: Mapping[str, Tensor], strength: float) -> Tensor:
    """``strength / 2`` times the sum of all squared differences, over the parameters that ``start`` names: a scalar.

    Its gradient for a weight w is ``strength * (w - w_start)``. Parameters that ``start`` does not name are free.
    Raises ValueError for a name that the model lacks, or a shape that differs.
    """
    for name, old in start.items():
        if name not in parameters or parameters[name].shape != old.shape:
            found = tuple(parameters[name].shape) if name in parameters else "missing"
            raise ValueError(
                f"{name} is {tuple(old.shape)} at the start and {found} now; were tokens added in between?"
            )
    squares = ((parameters[name] - old).square().sum() for name, old in start.items())
    return strength / 2 * sum(squares, torch.tensor(0))


def l2_sp(
    objective: Objective,
    start: Mapping[str, Tensor],
    strength: float,
    penalty: Callable[[Mapping[str, Tensor], Mapping[str, Tensor], float], Tensor] = distance_penalty,
) -> Objective:
    """The same objective with the penalty on its loss; ``metrics`` gains ``distance``, the root of the sum of squares.

    ``start``: what ``start_weights`` returned before training. ``penalty`` computes it, called as ``distance_penalty``.
    Raises ValueError for a negative strength.
    """
    if strength < 0:
        raise ValueError(f"strength is {strength}; 0 (no pull) or more is expected.")

    def close(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Any]]:
        loss, metrics = objective(model, batch)
        squares = penalty(dict(unwrapped(model).named_parameters()), start, 2.0)
        return loss + strength / 2 * squares, {**metrics, "distance": torch.sqrt(squares.detach())}

    return close
