"""Less bias while training: weighted rows, and an adversary behind a layer that reverses its gradient.

Adversarial debiasing: a small classifier tries to read the protected attribute off a hidden state; the model is trained
to do its task and to make the classifier fail (Ganin and Lempitsky, arXiv 1409.7495, for domains; Zhang et al., arXiv
1801.07593, for bias). One backward pass serves both, because the layer between them turns the gradient round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.heads import body_of, head_of, hidden_states
from course_utils.text.batching import IGNORE, Batches, collate


class RowBatches(Batches):
    """Batches of encoded texts, padded on the right, each with a weight.

    encoded: token ids, one sequence per text. weights: one per text, 1 if left out. ``batches[step]`` holds input_ids,
    attention_mask and labels, (batch_size, longest) int64, and weights (batch_size,). Raises ValueError for another
    number of weights than texts, or one that is negative.
    """

    def __init__(
        self,
        encoded: Sequence[Sequence[int]],
        batch_size: int,
        pad_id: int,
        weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(len(encoded), batch_size, seed)
        self.encoded, self.pad_id = [list(ids) for ids in encoded], pad_id
        self.weights = torch.ones(len(encoded)) if weights is None else torch.tensor([float(w) for w in weights])
        if len(self.weights) != len(encoded) or bool((self.weights < 0).any()):
            raise ValueError(f"{len(self.weights)} weights for {len(encoded)} texts; give one for each, 0 or more.")
        self.tokens_per_step = round(batch_size * sum(map(len, self.encoded)) / len(self.encoded))

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rows = self.rows_of(step * self.batch_size, (step + 1) * self.batch_size)
        batch = collate([{"input_ids": self.encoded[row]} for row in rows], self.pad_id)
        return batch | {"weights": self.weights[torch.from_numpy(rows)]}


def _targets(batch: dict[str, Tensor]) -> Tensor:
    return F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)


def weighted_token_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """Causal language modelling in which each row counts ``batch["weights"]`` (rows,) times."""
    targets = _targets(batch)
    logits = model(input_ids=batch["input_ids"]).logits
    losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none", ignore_index=IGNORE)
    counted = (targets != IGNORE) * batch["weights"][:, None]
    total = counted.sum()
    return (losses.view_as(counted) * counted).sum() / total, {"tokens": total.item()}


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """``x`` itself; its gradient comes back multiplied with ``-strength``."""
    return cast(Tensor, _Reversal.apply(x, strength))


class WithAdversary(nn.Module):
    """A language model, and a linear classifier that reads its last hidden states: two classes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.adversary = nn.Linear(cast(Tensor, head_of(model).weight).shape[1], 2)


class AdversarialObjective:
    """An objective for ``train`` on a ``WithAdversary``: language modelling, and an adversary that should fail.

    The adversary sees the hidden state at every place where one of the tokens ``first`` or ``second`` comes next, and
    tells which. ``strength``: the weight of the reversed gradient in the model; the adversary learns at full rate.

    ahead: plain gradient steps that the adversary takes on this batch before the model is told, each of 2 / mean square
    of the states, which cannot overshoot (a logistic loss bends by at most half of that mean). With 0
    both move at once, and the model runs from an adversary that lags: it turns the attribute round, and the adversary's
    loss stands far above log 2, that of a coin. (GANs too let the inner player move first, arXiv 1406.2661.)
    Raises ValueError for a negative number of steps.
    """

    def __init__(self, first: Sequence[int], second: Sequence[int], strength: float, ahead: int = 0) -> None:
        if ahead < 0:
            raise ValueError(f"ahead is {ahead}; give the number of the adversary's own steps, 0 or more.")
        self.first, self.second, self.strength = list(first), list(second), float(strength)
        self.ahead = int(ahead)
        self.__qualname__ = f"AdversarialObjective({self.first}, {self.second}, {self.strength}, {self.ahead})"

    def __call__(self, both: WithAdversary, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
        targets = _targets(batch)
        hidden = hidden_states(body_of(both.model), batch["input_ids"])
        logits = head_of(both.model)(hidden)
        kept = targets != IGNORE
        loss = F.cross_entropy(logits[kept].float(), targets[kept])
        sides = [torch.isin(targets, torch.tensor(ids, device=targets.device)) for ids in (self.first, self.second)]
        places = sides[0] | sides[1]
        metrics: dict[str, Any] = {"tokens": int(kept.sum())}
        if bool(places.any()):
            truth, adversary = sides[1][places].long(), both.adversary
            step = 2 / (1 + hidden[places].detach().float().square().sum(-1).mean())
            for _ in range(self.ahead):
                weights = list(adversary.parameters())
                gradients = torch.autograd.grad(F.cross_entropy(adversary(hidden[places].detach()), truth), weights)
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.data.sub_(gradient * step)
            guess = F.cross_entropy(adversary(reverse_gradient(hidden[places], self.strength)), truth)
            metrics["adversary"] = guess.detach()
            loss = loss + guess
        return loss, metrics
