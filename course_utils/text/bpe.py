"""Byte-pair encoding by hand: count neighbours, join the most frequent pair, again and again (Sennrich et al.,
arXiv 1508.07909, algorithm 1). Slow and short; its merges are those of the library `tokenizers`.

A *word* is a piece that pre-tokenization cut off: merges never cross its borders. Its letters are the 256 bytes, each
written as one visible character (a space is ``Ġ``), as byte-level BPE does since GPT-2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Pair = tuple[str, str]


def word_counts(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Counter[str]:
    """How often each word occurs, cut and written as ``tokenizer`` does it before its merges."""
    backend = tokenizer.backend_tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        text = backend.normalizer.normalize_str(text) if backend.normalizer else text
        counts.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text))
    return counts


def pair_counts(words: Mapping[tuple[str, ...], int]) -> Counter[Pair]:
    """How often each pair of neighbours occurs in ``words``: tuples of tokens, with their counts."""
    counts: Counter[Pair] = Counter()
    for tokens, count in words.items():
        for pair in zip(tokens, tokens[1:], strict=False):
            counts[pair] += count
    return counts


def merge(tokens: Sequence[str], pair: Pair) -> tuple[str, ...]:
    """``tokens`` with every occurrence of ``pair`` joined, from left to right: ``aaa`` becomes ``aa a``."""
    joined, place = [], 0
    while place < len(tokens):
        if tuple(tokens[place : place + 2]) == pair:
            joined.append(tokens[place] + tokens[place + 1])
            place += 2
        else:
            joined.append(tokens[place])
            place += 1
    return tuple(joined)


def train_bpe(words: Mapping[str, int], merges: int, min_frequency: int = 2) -> list[Pair]:
    """The first ``merges`` merges, in order; fewer, if no pair occurs ``min_frequency`` times any more.

    ``words``: each word and how often it occurs. Of equally frequent pairs the one of the older tokens wins: tokens are
    as old as their place in the vocabulary, the single characters first, in the order of their code, then the merges.
    Raises ValueError for a negative number of merges, or an empty word.
    """
    if merges < 0 or "" in words:
        raise ValueError(f"merges is {merges}, and there {'is an' if '' in words else 'is no'} empty word; 0 or more "
                         "merges and words of at least one character are expected.")  # fmt: skip
    split = {tuple(word): count for word, count in words.items()}
    # the whole byte alphabet would give the same order: only the order among characters that occur matters
    age = {character: i for i, character in enumerate(sorted(set().union(*split, ())))}
    found: list[Pair] = []
    while len(found) < merges:
        counts = pair_counts(split)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], age[pair[0]], age[pair[1]]))
        if counts[best] < min_frequency:
            break
        found.append(best)
        age.setdefault(best[0] + best[1], len(age))  # two ways to the same token: it keeps its first place
        split = {merge(tokens, best): count for tokens, count in split.items()}
    return found


def encode_word(word: str, merges: Sequence[Pair]) -> tuple[str, ...]:
    """The tokens of one word: the merges are made again, in the order in which they were learned."""
    tokens = tuple(word)
    for pair in merges:
        if len(tokens) == 1:
            break
        if pair[0] in tokens:
            tokens = merge(tokens, pair)
    return tokens


def learned_merges(tokenizer: PreTrainedTokenizerFast) -> list[Pair]:
    """The merges of a trained tokenizer of the library, in order."""
    import json

    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in merges)
    return [(left, right) for left, right in pairs]
