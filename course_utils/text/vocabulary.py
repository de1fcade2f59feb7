"""Words that a tokenizer cuts into many pieces, and a tokenizer that has them whole.

*Fertility* is the number of tokens per word (Rust et al., arXiv 2012.15613, after Ács 2019). In the language that a
tokenizer was trained on it is little above 1; in a new domain the words that carry the meaning are cut to pieces.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_utils.text.tokenizer import _wrap, encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def fertility(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> float:
    """Tokens per word, over all texts together; words are what stands between spaces, their punctuation included.

    Raises ValueError if the texts hold no word, or if one text is given in place of a list.
    """
    if isinstance(texts, str):
        raise ValueError("a list of texts is expected; put a single text into a list: fertility([text], tokenizer).")
    words = sum(len(text.split()) for text in texts)
    if not words:
        raise ValueError("the texts hold no word, so tokens per word are not defined; give at least one word.")
    return sum(map(len, encode_plain(list(texts), tokenizer))) / words


def split_words(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, pieces: int = 3, count: int = 5
) -> dict[str, int]:
    """The words of ``texts`` that are cut into ``pieces`` tokens or more and occur ``count`` times or more.

    A word is what the tokenizer's own rules keep together before any merging (without punctuation), so that it can
    become one token. Returns word -> how often it occurs, the most frequent first, equal ones in alphabetical order.
    """
    normalizer, rule = tokenizer.backend_tokenizer.normalizer, tokenizer.backend_tokenizer.pre_tokenizer
    found: Counter[str] = Counter()
    for text in texts:
        for mark, (start, end) in rule.pre_tokenize_str(normalizer.normalize_str(text)):
            if mark.startswith("Ġ") and mark[1:].isalpha() and mark[1:].isascii() and end > start:
                found[mark[1:]] += 1
    frequent = sorted(((word, n) for word, n in found.items() if n >= count), key=lambda pair: (-pair[1], pair[0]))
    encoded = encode_plain([word for word, _ in frequent], tokenizer)
    return {word: n for (word, n), ids in zip(frequent, encoded, strict=True) if len(ids) >= pieces}


def add_words(tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A new tokenizer in which each of ``words``, with the space before it, is one token; the given one stays as it is.

    The new ids follow the old ones in the order of ``words``. A word is taken whole only if it stands alone: no other
    text is cut differently than before, and every text comes back unchanged. (``ignore_merges`` of the BPE model: a
    word that is in the vocabulary needs no merges.) Raises ValueError for no words, a word that is a token already,
    twice in the list, or one that the tokenizer's rules never keep together, such as "two words" or "half-day".
    """
    if isinstance(words, str) or not words:
        raise ValueError("a list of one word or more is expected, such as add_words(tokenizer, ['fogcough']).")
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    rule = tokenizer.backend_tokenizer.pre_tokenizer
    for word in words:
        kept = [mark for mark, _ in rule.pre_tokenize_str(f" {word}")]
        if len(kept) != 1:
            raise ValueError(
                f"{word!r} is cut before any merging, into {len(kept)} parts ({', '.join(kept)}); "
                "only a single word of letters can become one token. Add its parts, or leave it out."
            )
        if kept[0] in vocabulary:
            raise ValueError(f"{word!r} is a token already; leave it out. Is it in the list twice?")
        vocabulary[kept[0]] = len(vocabulary)
    described["model"]["ignore_merges"] = True
    return _rebuilt(described)


def _rebuilt(described: dict) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer

    return _wrap(Tokenizer.from_str(json.dumps(described)))
