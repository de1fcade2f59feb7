"""An answer as text while its tokens arrive: nothing is sent that a later token could take back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character, or not yet a whole one


class TextStream:
    """The text of one answer. ``push`` each token; what it returns may be sent at once.

    Two things are held back. A character of several bytes may be spread over several tokens; and what looks like the
    beginning of a stop string may turn out to be one, which is then no part of the answer, nor is what follows it.

    ``text``: the answer so far, without a stop string. ``stopped``: a stop string was met, the first to be complete; of
    those that are complete with the same token the one that begins first. ``pieces``: what each token
    added to the text; put together they are the text, up to a stop string that cuts one of them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._stops = tokenizer, [stop for stop in stops if stop]
        self._ids: list[int] = []
        self._whole = ""  # all characters that are complete
        self._sent = 0
        self.text, self.stopped = "", False
        self.pieces: list[str] = []

    def push(self, token_id: int) -> str:
        """Take one token; return the text that may be sent now, often "" or more than this token's."""
        if self.stopped:
            return ""
        self._ids.append(token_id)
        return self._take(self._decode().rstrip(BROKEN), last=False)

    def finish(self) -> str:
        """The text that was held back, once no token will follow."""
        return "" if self.stopped else self._take(self._decode(), last=True)

    def _decode(self) -> str:
        # All of it each time: a tokenizer may write a piece differently at the beginning of a text.
        return self._tokenizer.decode(self._ids, skip_special_tokens=True)

    def _take(self, whole: str, last: bool) -> str:
        before, self._whole = len(self._whole), whole
        if last and self.pieces:
            self.pieces[-1] += whole[before:]
        elif not last:
            self.pieces.append(whole[before:])
        found = [place for stop in self._stops if (place := whole.find(stop, max(0, before - len(stop) + 1))) >= 0]
        if found:
            self.stopped, self.text = True, whole[: min(found)]
        else:
            self.text = whole if last else whole[: len(whole) - self._doubtful(whole)]
        new, self._sent = self.text[self._sent :], max(self._sent, len(self.text))
        return new

    def _doubtful(self, whole: str) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(longest, len(whole)), 0, -1):
            if any(stop.startswith(whole[-size:]) for stop in self._stops):
                return size
        return 0
