"""Read off a model's inside whether it knows something: a linear probe on hidden states.

A probe is a logistic regression from a vector to yes or no (Alain and Bengio, arXiv 1610.01644; for truth and knowledge
Azaria and Mitchell, arXiv 2304.13734, and Kadavath et al., arXiv 2207.05221). What it finds is *there*; whether the
model uses it is another question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from course_utils.models.decoder import Backbone
from course_utils.models.heads import body_of
from course_utils.models.scoring import batched


@dataclass(frozen=True)
class LinearProbe:
    """weight (features,), bias, and the mean and scale (features,) by which features are standardized first."""

    weight: Tensor
    bias: float
    mean: Tensor
    scale: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """The log odds of yes, (rows,) float64: above 0 means yes."""
        return (features.double().cpu() - self.mean) / self.scale @ self.weight + self.bias


def fit_probe(features: Tensor, labels: Sequence[bool], l2: float = 1.0, steps: int = 30) -> LinearProbe:
    """Logistic regression by Newton's method.

    features: (rows, features).  labels: one for each row.  l2: the weight of half the squared length of the weights
    (not of the bias) beside the summed loss, as 1 / C in scikit-learn.
    Raises ValueError for labels of one kind only, which no line can part, or of another number than the rows.
    """
    x, y = features.double().cpu(), torch.as_tensor([float(label) for label in labels]).double()
    if x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"features {tuple(x.shape)} and {len(y)} labels were given; one label for each row is needed.")
    if not 0 < float(y.mean()) < 1:
        raise ValueError("all labels are alike; a probe needs examples of both kinds.")
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    z = torch.cat([(x - mean) / scale, torch.ones(len(x), 1).double()], dim=1)
    penalty = torch.full((z.shape[1],), float(l2)).double()
    penalty[-1] = 1e-6  # the bias is free, but for a trace that keeps the system solvable
    w = torch.zeros(z.shape[1]).double()
    for _ in range(steps):
        p = torch.sigmoid(z @ w)
        hessian = z.T @ (z * (p * (1 - p))[:, None]) + torch.diag(penalty)
        step = torch.linalg.solve(hessian, z.T @ (p - y) + penalty * w)
        w = w - step
        if float(step.abs().max()) < 1e-8:
            break
    return LinearProbe(w[:-1], float(w[-1]), mean, scale)


def layer_states(model: nn.Module, encoded: Sequence[Sequence[int]], pad_id: int, batch_size: int = 64) -> Tensor:
    """What the model holds at the last token of each text, layer by layer: (texts, layers + 1, hidden) on the CPU.

    Place 0 is the token's embedding alone, place i what block i added up to, before the last normalization. (Models of
    transformers show the last one normalized.)
    """
    found: list[Tensor] = [torch.empty(0)] * len(encoded)
    for rows, batch, states in batched(model, encoded, pad_id, batch_size, _states):
        last = batch["attention_mask"].sum(1) - 1
        for row, i in enumerate(rows):
            found[i] = states[:, row, last[row]].float().cpu()
    return torch.stack(found)


def _states(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """(layers + 1, rows, length, hidden)."""
    body = cast(Any, body_of(model))
    if not isinstance(body, Backbone):
        return torch.stack(body(input_ids=batch["input_ids"], output_hidden_states=True).hidden_states)
    caught: list[Tensor] = []

    def keep(module: nn.Module, given: Any, out: Tensor) -> None:
        caught.append(out)

    hooks = [part.register_forward_hook(keep) for part in (body.embed_tokens, *body.layers)]
    try:
        body(batch["input_ids"])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(caught)
