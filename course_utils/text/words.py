"""A tokenizer of whole words, for small experiments: one token per word of a list, and no other word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_utils.text.special_tokens import END, PAD

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that knows these words, the padding token and the end token, which also opens a text.

    A word that is not on the list becomes the padding token, so give them all. Raises ValueError for no words, or for
    a word twice.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if not words or len(set(words)) < len(words):
        raise ValueError(f"{len(words)} words, {len(set(words))} different ones; give each word of the texts once.")
    ids = {word: number for number, word in enumerate((PAD, END, *words))}
    inner = Tokenizer(models.WordLevel(ids, unk_token=PAD))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=PAD, bos_token=END, eos_token=END)
