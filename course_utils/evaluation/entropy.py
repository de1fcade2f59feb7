"""The loss of a model beside the entropy of the text: how far is it from the best that any model could do?"""

from __future__ import annotations

from collections import defaultdict
from math import log
from typing import TYPE_CHECKING

from torch import nn

from course_utils.models.scoring import batched, token_losses
from course_utils.text.special_tokens import closing_id, opening_id, padding_id
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast


def document_bits(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, texts: list[str], batch_size: int = 64
) -> list[float]:
    """The bits that the model needs for each document on its own, ``-log2 p(text, end)``, given only that one begins.

    Comparable with the column ``bits`` of ``World.corpus``: both count the whole document with its end. Every way to
    cut a text into tokens but one is left out, so this is an upper bound of the model's ``-log2 p(text)``.
    """
    first, last = opening_id(tokenizer), closing_id(tokenizer)
    encoded = [[first, *ids, last] for ids in encode_plain(texts, tokenizer)]
    bits = [0.0] * len(texts)
    for rows, _, losses in batched(model, encoded, padding_id(tokenizer), batch_size, token_losses):
        needed = losses.sum(1) / log(2)
        for i, value in zip(rows, needed.tolist(), strict=True):
            bits[i] = value
    return bits


def entropy_gap(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, documents: Dataset
) -> dict[str, dict[str, float]]:
    """Model bits against the generator's bits, for all documents and for each kind.

    ``documents``: columns text, kind and bits of ``World.corpus``. Returns, under "all" and each kind: ``bits`` and
    ``model_bits`` (mean per document) and ``gap``, their ratio minus 1 (0: no model can do better).
    """
    needed = document_bits(model, tokenizer, list(documents["text"]))
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
    for kind, floor, model_bits in zip(documents["kind"], documents["bits"], needed, strict=True):
        for name in ("all", kind):
            sums[name][0] += floor
            sums[name][1] += model_bits
            sums[name][2] += 1
    return {
        name: {"bits": floor / count, "model_bits": used / count, "gap": used / floor - 1}
        for name, (floor, used, count) in sums.items()
    }
