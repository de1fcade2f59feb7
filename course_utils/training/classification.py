"""Texts with labels: batches, the objective for ``train``, and how often the model is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.text.batching import Batches, collate
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class LabelledBatches(Batches):
    """``batches[step]``: input_ids and attention_mask (batch, length), labels (batch,); ``seed`` fixes the order.

    texts: strings, each read behind the begin token. labels: whole numbers from 0, one per text.
    Raises ValueError if there are not as many labels as texts.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        tokenizer: PreTrainedTokenizerFast,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        if len(texts) != len(labels):
            raise ValueError(f"{len(texts)} texts and {len(labels)} labels were given; each text has one label.")
        super().__init__(len(texts), batch_size, seed)
        self.ids = [[tokenizer.bos_token_id, *ids] for ids in encode_plain(list(texts), tokenizer)]
        self.labels = torch.as_tensor(labels, dtype=torch.int64)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return self.batch(self.rows_of(step * self.batch_size, (step + 1) * self.batch_size))

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """These rows as a batch, padded on the right to the longest."""
        padded = collate([{"input_ids": self.ids[row]} for row in rows])
        return {
            "input_ids": padded["input_ids"],
            "attention_mask": padded["attention_mask"],
            "labels": self.labels[torch.as_tensor(rows)],
        }


def class_scores(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """(batch, classes) from a ``Classifier`` of ours or a sequence classifier of transformers."""
    out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return getattr(out, "logits", out).float()


def classification_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """The objective: mean cross-entropy in nats per text. Metrics: the accuracy on the batch."""
    scores = class_scores(model, batch)
    right = scores.argmax(-1) == batch["labels"]
    return F.cross_entropy(scores, batch["labels"]), {"tokens": len(right), "accuracy": right.float().mean()}


@torch.no_grad()
def predict(model: nn.Module, data: LabelledBatches, batch_size: int = 128) -> Tensor:
    """Logarithms of the class probabilities, (texts, classes) float32 on the CPU, in the order of the data."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    rows = range(len(data.ids))
    found = []
    for start in range(0, len(rows), batch_size):
        batch = {name: part.to(device) for name, part in data.batch(rows[start : start + batch_size]).items()}
        found.append(class_scores(model, batch).log_softmax(-1).cpu())
    model.train(was_training)
    return torch.cat(found)


def evaluate(model: nn.Module, data: LabelledBatches) -> dict[str, float]:
    """Accuracy and mean cross-entropy (nats per text) on labelled texts."""
    logs = predict(model, data)
    return {
        "accuracy": (logs.argmax(-1) == data.labels).float().mean().item(),
        "loss": F.nll_loss(logs, data.labels).item(),
    }
