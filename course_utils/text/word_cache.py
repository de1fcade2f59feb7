"""Text to token ids, quicker: words that were met before are looked up, and only new ones are encoded.

Byte-level tokenizers cut a text into pieces before they merge, and never merge across a cut. A single space between two
visible characters is always such a cut, so a text may be encoded word by word: the ids are the same. A text has few
different words, and a dictionary finds one in less than a tenth of a microsecond.

That does not hold for tokenizers that merge across spaces (SentencePiece), so it is used only where the tokenizer's own
file says how it cuts, and the way is one of those below; all others encode as before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LONGEST = 64  # characters of a word that is kept; longer ones hardly come twice
_CUT = re.compile(r"(?<=\S) (?=\S)")
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
# How Llama 3 and Qwen 2 to 3 cut; GPT-2's way is built into ByteLevel.
SPLITS = {
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    for digits in ("", "{1,3}")
}


class WordCache:
    """``encode`` gives what ``encode_plain`` gives, as arrays.

    ``by_words`` says whether words are looked up. At most ``limit`` of them are kept; then it starts anew, so that the
    memory that it takes stays the same however long the data are.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, limit: int = 200_000) -> None:
        self.tokenizer, self.limit = tokenizer, limit
        backend = getattr(tokenizer, "backend_tokenizer", None)
        how = json.loads(backend.to_str()) if backend is not None else {}
        self.by_words = cuts_at_spaces(how)
        # Tokens that are no commands are found in a text before it is cut, so such texts are encoded as a whole.
        self._whole = [t["content"] for t in how.get("added_tokens", []) if not t["special"]]
        self._later: dict[str, bytes] = {}
        prepends = (how.get("normalizer") or {}).get("type") == "Prepend"
        self._first = self._later if prepends else {}
        self._space = "" if prepends else " "

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids of all texts, one after the other, uint32; how many each text has, int64)."""
        pieces = self.pieces(texts)
        return np.frombuffer(b"".join(pieces), dtype=np.uint32), np.array([len(p) // 4 for p in pieces], dtype=np.int64)

    def pieces(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of each text as the bytes of a uint32 array."""
        if not self.by_words:
            return _as_bytes(encode_plain(list(texts), self.tokenizer))
        if len(self._later) + len(self._first) > self.limit:
            self._later.clear()
            self._first.clear()
        first, later = self._first.__getitem__, self._later.__getitem__
        found: list[bytes] = []
        missed = []
        for text in texts:
            words = text.split(" ")
            try:  # a word that begins or ends with white space is never kept, so odd texts end up below
                found.append(b"".join([first(words[0]), *map(later, words[1:])]))
            except KeyError:
                missed.append(len(found))
                found.append(b"")
        if self._whole:
            odd = [i for i, text in enumerate(texts) if any(token in text for token in self._whole)]
            for i, piece in zip(odd, _as_bytes(encode_plain([texts[i] for i in odd], self.tokenizer)), strict=True):
                found[i] = piece
            missed = sorted({*missed} - {*odd})
        if missed:
            for i, piece in zip(missed, self._new([texts[i] for i in missed]), strict=True):
                found[i] = piece
        return found

    def _new(self, texts: Sequence[str]) -> list[bytes]:
        """Texts with words that are not known yet."""
        cut = [_CUT.split(text) for text in texts]
        heads = self._known((words[0] for words in cut), self._first, "")
        tails = heads if self._first is self._later else {}
        tails = tails | self._known((word for words in cut for word in words[1:]), self._later, self._space)
        return [b"".join([heads[words[0]], *map(tails.__getitem__, words[1:])]) for words in cut]

    def _known(self, words: Iterable[str], kept: dict[str, bytes], space: str) -> dict[str, bytes]:
        """The ids of these words; those that were not kept are encoded, and kept if they are ordinary."""
        asked = dict.fromkeys(words)
        found = {word: kept[word] for word in asked if word in kept}
        new = [word for word in asked if word not in found]
        for word, ids in zip(new, _as_bytes(encode_plain([space + word for word in new], self.tokenizer)), strict=True):
            found[word] = ids
            if 0 < len(word) <= LONGEST and not (word[0].isspace() or word[-1].isspace()):
                kept[word] = ids
        return found


def cuts_at_spaces(how: dict[str, Any]) -> bool:
    """Whether a tokenizer, given as what its ``tokenizer.json`` holds, always cuts at a space between words."""
    model, normalizer, before = (how.get(name) or {} for name in ("model", "normalizer", "pre_tokenizer"))
    if model.get("type") != "BPE" or model.get("dropout") or model.get("end_of_word_suffix"):
        return False
    if model.get("continuing_subword_prefix"):
        return False
    if normalizer and normalizer not in ({"type": "Prepend", "prepend": " "}, {"type": "NFC"}):
        return False
    steps = before.get("pretokenizers", []) if before.get("type") == "Sequence" else [before]
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return False
    cutting = [_is_known(step) for step in steps[:-1]]
    return all(cutting) and (bool(steps[-1].get("use_regex")) or "Split" in [step["type"] for step in steps[:-1]])


def _is_known(step: dict[str, Any]) -> bool:
    if step.get("type") == "Digits":
        return True
    pattern = step.get("pattern", {}).get("Regex")
    return step.get("type") == "Split" and pattern in SPLITS and step.get("behavior") == "Isolated"


def _as_bytes(encoded: Iterable[Sequence[int]]) -> list[bytes]:
    return [np.array(ids, dtype=np.uint32).tobytes() for ids in encoded]
