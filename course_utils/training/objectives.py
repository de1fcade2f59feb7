"""What a model is trained to do: objectives ``(model, batch) -> (loss, metrics)`` for
:func:`course_utils.training.loop.train`.

An objective returns the mean loss over ``metrics["tokens"]`` tokens. The loop needs that count to weigh
micro-batches, so that accumulated gradients equal those of the whole batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.decoder import Decoder
from course_utils.text.batching import IGNORE
from course_utils.training.two_cores import by_rows


@by_rows
def next_token_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """Causal language modelling: place ``t`` predicts the token at ``t + 1``.

    ``batch`` holds ``input_ids`` and ``labels``, both (batch, length) and aligned: the shift happens here. Labels
    of -100 are skipped. An ``attention_mask`` may say where padding is, and the labels must be -100 there.

    Two choices make this quick. The labels are shifted, not the logits: a copy of (batch, length) integers is free,
    one of (batch, length, vocabulary) floats is not. And a mask that hides only padding on the right is left out:
    under a causal pattern no real token looks to its right, and attention without a mask matrix is faster.
    """
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"], "position_ids": batch.get("position_ids")}
    mask = batch.get("attention_mask")
    if mask is not None and not bool((mask[:, 1:] <= mask[:, :-1]).all()):
        inputs["attention_mask"] = mask
    if hasattr(getattr(unwrapped(model), "config", None), "use_cache"):
        inputs["use_cache"] = False  # a transformers model would fill a key-value cache that nobody reads
    targets = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)
    logits = model(**{name: value for name, value in inputs.items() if value is not None}).logits
    loss, tokens = mean_cross_entropy(logits, targets)
    return loss, {"tokens": tokens}


@by_rows
def answer_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """What ``next_token_loss`` computes, for batches of which few places have a label: only they go through the head.

    The head is a large part of a small model's arithmetic, and nobody reads what it makes of a prompt. Padding must be
    on the right. A model that is not the course's Decoder is read whole, since what its head does may not be all that
    it does to its logits (Gemma 2 caps them).
    """
    if not isinstance(model, Decoder):
        return next_token_loss(model, batch)
    targets = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)
    asked = targets != IGNORE
    logits = model.lm_head(model.model(batch["input_ids"])[asked])
    loss, tokens = mean_cross_entropy(logits[None], targets[asked][None])
    return loss, {"tokens": tokens}


@by_rows
def masked_token_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """Masked language modelling (BERT, arXiv 1810.04805, section 3.1): guess hidden tokens from both sides.

    ``batch`` holds corrupted ``input_ids`` and ``labels`` (the original token where one is asked for, else -100),
    both (batch, length), as :class:`course_utils.text.masking.MaskedBatches` makes them. Nothing is shifted. The
    model must be the course's Decoder, which is called with ``causal=False``, or a transformers model for masked
    language modelling; any other raises TypeError, because a causal model would not see the right side.
    """
    names = [name for name in ("input_ids", "attention_mask") if batch.get(name) is not None]
    inputs: dict[str, Any] = {name: batch[name] for name in names}
    inner = unwrapped(model)
    if "causal" in inspect.signature(inner.forward).parameters:
        inputs["causal"] = False
    elif not type(inner).__name__.endswith("ForMaskedLM"):
        raise TypeError(
            f"the model is a {type(inner).__name__}, which reads from left to right; masked_token_loss expects the "
            "course's Decoder or a transformers ...ForMaskedLM. For a causal model use next_token_loss."
        )
    loss, tokens = mean_cross_entropy(model(**inputs).logits, batch["labels"])
    return loss, {"tokens": tokens}


@by_rows
def classification_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """Classification of whole texts: mean cross-entropy in nats per text. Metrics: the accuracy on the batch.

    ``batch`` holds ``input_ids`` and ``attention_mask`` (batch, length), and ``labels`` (batch,): classes from 0.
    """
    scores = class_scores(model, batch)
    right = scores.argmax(-1) == batch["labels"]
    return F.cross_entropy(scores, batch["labels"]), {"tokens": len(right), "accuracy": right.float().mean()}


@by_rows
def class_scores(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """(batch, classes) from a ``Classifier`` of ours or a sequence classifier of transformers; (batch,) from a
    ``RewardModel``."""
    out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return getattr(out, "logits", out).float()


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy in nats over the places whose label is not -100, and how many places those are.

    ``logits`` (batch, length, vocabulary) stand over ``labels`` (batch, length). Without any label the loss is 0
    (not 0/0) and so is its gradient.
    """
    tokens = (labels != IGNORE).sum()
    total = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE, reduction="sum")
    return total / tokens.clamp(min=1), tokens


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside what torch.compile and DistributedDataParallel put around it."""
    while True:
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner
