"""The loss of a model on text, in the three units in which it is reported: per token, perplexity, bits per byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING

from torch import nn

from course_utils.evaluation.entropy import document_bits
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Loss:
    """What a model needs for some texts.

    ``nats``: -log p of all texts, each with its end, given only that it begins. ``tokens``: how many were predicted,
    the end of each text among them. ``bytes``: the length of the texts in UTF-8.
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def per_token(self) -> float:
        """Nats per predicted token: the cross-entropy that training reports."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens): among how many equally likely tokens the model would be as unsure (Jelinek et al. 1977).

        It depends on how the text is cut into tokens: compare only models with the same tokenizer.
        """
        return exp(self.per_token)

    @property
    def bits_per_byte(self) -> float:
        """Bits for each byte of text: the unit that models with different tokenizers share (The Pile, arXiv 2101.00027,
        section 3.1)."""
        return self.nats / log(2) / self.bytes


def token_loss(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], batch_size: int = 64
) -> Loss:
    """The loss of a model on texts, each read on its own from a begin token to its end token.

    All tokens count alike, so a long text weighs more than a short one.
    Raises ValueError if there are no texts, or if one of them is empty.
    """
    if isinstance(texts, str):
        raise ValueError("a list of texts is expected; put a single text into a list: token_loss(..., [text]).")
    if not texts:
        raise ValueError("token_loss() was given no texts; give at least one.")
    empty = [i for i, text in enumerate(texts) if not text]
    if empty:
        raise ValueError(f"text {empty[0]} is empty ({len(empty)} of {len(texts)} are); leave such texts out.")
    texts = list(texts)
    return Loss(
        nats=sum(document_bits(model, tokenizer, texts, batch_size)) * log(2),
        tokens=sum(len(ids) + 1 for ids in encode_plain(texts, tokenizer)),  # and the end
        bytes=sum(len(text.encode()) for text in texts),
    )
