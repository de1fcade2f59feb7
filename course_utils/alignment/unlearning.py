"""Unlearning: make a model worse at some texts, and hold it where it was on all others.

Gradient ascent on what is to be forgotten (Jang et al., arXiv 2210.01504) destroys more than that. Beside it a
divergence to the model as it was, on other texts, keeps the rest (as in Yao et al., arXiv 2310.10683).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.scoring import evaluation_mode
from course_utils.text.batching import IGNORE, Batches


class ForgetBatches(Batches):
    """Two sources read together: ``batches[step]`` holds those of ``forget`` and of ``keep`` with a prefix, as
    ``forget_input_ids``, ``keep_input_ids`` and so on; both must have as many rows a step."""

    def __init__(self, forget: Batches, keep: Batches) -> None:
        if forget.batch_size != keep.batch_size:
            raise ValueError(
                f"{forget.batch_size} rows to forget and {keep.batch_size} to keep; give equal batch sizes."
            )
        super().__init__(forget.row_count, forget.batch_size, forget.seed)
        self.forget, self.keep = forget, keep
        self.tokens_per_step = forget.tokens_per_step + keep.tokens_per_step

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        parts = {"forget": self.forget[step], "keep": self.keep[step]}
        return {f"{side}_{name}": value for side, batch in parts.items() for name, value in batch.items()}


class UnlearnObjective:
    """An objective for ``train`` on ``ForgetBatches``: climb the loss of what is to be forgotten, up to ``ceiling``.

    ``reference``: the model as it was, frozen; ``keep``: the weight of KL(reference || model) on the texts to keep, 0
    for plain gradient ascent. ``ceiling``: nats a token above which a text counts as forgotten and pushes no more.
    Raises ValueError for a negative weight or a ceiling that is not above 0.
    """

    def __init__(self, reference: nn.Module, keep: float, ceiling: float = 6.0) -> None:
        if keep < 0 or not ceiling > 0:
            raise ValueError(
                f"keep is {keep} and ceiling {ceiling}; a weight of 0 or more and a ceiling above 0 needed."
            )
        self.reference, self.keep, self.ceiling = reference, keep, ceiling
        self.__qualname__ = f"UnlearnObjective({keep}, {ceiling})"

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
        logits = model(input_ids=batch["forget_input_ids"]).logits
        nll = _row_loss(logits, batch["forget_labels"])
        loss = -nll.clamp(max=self.ceiling).mean()
        metrics: dict[str, Any] = {"forget_loss": nll.detach().mean()}
        if self.keep:
            ids, mask = batch["keep_input_ids"], batch["keep_attention_mask"].bool()
            with evaluation_mode(self.reference), torch.no_grad():
                was = self.reference(input_ids=ids).logits[mask].log_softmax(-1)
            now = model(input_ids=ids).logits[mask].log_softmax(-1)
            kl = F.kl_div(now, was, log_target=True, reduction="batchmean")
            loss, metrics["kl"] = loss + self.keep * kl, kl.detach()
        return loss, metrics


def _row_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean loss of each row, (rows,)."""
    targets = F.pad(labels[:, 1:], (0, 1), value=IGNORE)
    losses = F.cross_entropy(logits.transpose(1, 2).float(), targets, reduction="none", ignore_index=IGNORE)
    return losses.sum(1) / (targets != IGNORE).sum(1)
