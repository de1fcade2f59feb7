"""Is a classifier good? Its predictions, the confusion matrix, and the figures that are read off it.

Accuracy counts every example alike, so the frequent class decides. Macro averages count every class alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.scoring import batched
from course_utils.text.batching import LabelledBatches
from course_utils.training.objectives import class_scores


def predict(model: nn.Module, data: LabelledBatches, batch_size: int = 128) -> Tensor:
    """Logarithms of the class probabilities, (texts, classes) float32 on the CPU, in the order of the data."""
    found: list[Tensor] = [torch.empty(0)] * len(data.ids)
    for rows, _, scores in batched(model, data.ids, data.pad_id, batch_size, class_scores):
        for i, logs in zip(rows, scores.log_softmax(-1).cpu(), strict=True):
            found[i] = logs
    return torch.stack(found)


def evaluate(model: nn.Module, data: LabelledBatches) -> dict[str, float]:
    """Accuracy and mean cross-entropy (nats per text) on labelled texts."""
    logs = predict(model, data)
    return {
        "accuracy": (logs.argmax(-1) == data.labels).float().mean().item(),
        "loss": F.nll_loss(logs, data.labels).item(),
    }


def confusion_matrix(truth: Sequence[int], predicted: Sequence[int], classes: int) -> np.ndarray:
    """(classes, classes) counts: row = the true class, column = the predicted one; classes are numbered from 0.

    Raises ValueError for lists of different length, for empty ones, and for a class out of range.
    """
    pairs = np.asarray(truth, dtype=int), np.asarray(predicted, dtype=int)
    if pairs[0].ndim != 1 or pairs[0].shape != pairs[1].shape or not len(pairs[0]):
        raise ValueError(f"{pairs[0].shape} true and {pairs[1].shape} predicted classes; two equal lists are expected.")
    largest, smallest = max(map(np.max, pairs)), min(map(np.min, pairs))
    if smallest < 0 or largest >= classes:
        raise ValueError(f"classes from {smallest} to {largest} were given; 0 to {classes - 1} are expected.")
    matrix = np.zeros((classes, classes), dtype=int)
    np.add.at(matrix, pairs, 1)
    return matrix


@dataclass(frozen=True)
class ClassFigures:
    """Of one class: precision (of those called so, how many are), recall (of those that are, how many were called so),
    their harmonic mean F1, and support, how many there are. 0 where there is nothing to divide by."""

    precision: float
    recall: float
    f1: float
    support: int


def by_class(matrix: np.ndarray) -> list[ClassFigures]:
    """The figures of each class of a confusion matrix (rows: truth)."""
    hits, called, there = np.diag(matrix), matrix.sum(0), matrix.sum(1)

    def share(part: int, whole: int) -> float:
        return float(part / whole) if whole else 0.0

    return [
        ClassFigures(share(h, c), share(h, t), share(2 * h, c + t), int(t))
        for h, c, t in zip(hits, called, there, strict=True)
    ]


def accuracy(matrix: np.ndarray) -> float:
    """The share of right predictions."""
    return float(np.trace(matrix) / matrix.sum())


def balanced_accuracy(matrix: np.ndarray) -> float:
    """The mean recall of the classes that occur (scikit-learn's ``balanced_accuracy_score``): chance is 1 / classes."""
    return float(np.mean([figures.recall for figures in by_class(matrix) if figures.support]))


def macro_f1(matrix: np.ndarray) -> float:
    """The mean F1 of the classes that occur in the truth or among the predictions, each class counted alike.

    A class that occurs in neither is left out, as scikit-learn's ``f1_score(average="macro")`` leaves it out; one that
    was predicted and never occurs, or occurs and was never predicted, counts with 0. F1 per class first, then the mean:
    the other order gives another figure (Opitz and Burst, arXiv 1911.03347).
    """
    seen = matrix.sum(0) + matrix.sum(1) > 0
    return float(np.mean([figures.f1 for figures, there in zip(by_class(matrix), seen, strict=True) if there]))
