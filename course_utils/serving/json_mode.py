"""JSON mode: the answer is a JSON object, whichever. What ``grammar.SchemaMask`` is for a schema.

Objects in objects cannot be told by a finite automaton: which bracket closes depends on all that are open. So the state
is a mode and a stack. Objects and lists are nested up to ``DEPTH``, with one optional space after ``:`` and ``,`` and
before the whole. An answer that reaches its token limit is cut off like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_utils.serving.grammar import token_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEPTH = 4
DIGITS = frozenset("0123456789")
PLAIN = frozenset(chr(i) for i in range(32, 127)) - {'"', "\\"}
WORDS = {"t": "rue", "f": "alse", "n": "ull"}
State = tuple[str, str]  # what is expected, and the brackets that are open
START: State = ("start", "")


def advance(state: State, character: str) -> State | None:
    """The state after one more character; None if no JSON object goes on so."""
    mode, stack = state
    if mode in ("string", "key string"):
        if character == '"':
            return ("after" if mode == "string" else "colon", stack)
        return (mode + " escape", stack) if character == "\\" else state if character in PLAIN else None
    if mode.endswith(" escape"):
        return (mode.removesuffix(" escape"), stack) if character in '"\\/nt' else None
    if mode.startswith("word "):
        rest = mode[5:]
        return (("word " + rest[1:]) if rest[1:] else "after", stack) if character == rest[0] else None
    if mode in ("zero", "digits", "fraction"):
        if character in DIGITS and mode != "zero":
            return state
        if character == "." and mode != "fraction":
            return ("point", stack)
        return _after(stack, character)
    if mode == "point":
        return ("fraction", stack) if character in DIGITS else None
    if mode == "minus":
        return (("zero" if character == "0" else "digits"), stack) if character in DIGITS else None
    if mode == "after":
        return _after(stack, character)
    if mode == "colon":
        return ("value", stack) if character == ":" else None
    if mode in ("start", "value", "key") and character == " ":
        return (mode + "!", stack)  # one space is enough
    if mode in ("key", "key!"):
        return ("key string", stack) if character == '"' else None
    if mode == "open" and character in '"}':
        return ("key string", stack) if character == '"' else _close(stack)
    if mode == "first" and character == "]":
        return _close(stack)
    if mode in ("start", "start!"):
        return ("open", "{") if character == "{" else None
    return _value(stack, character) if mode in ("value", "value!", "first") else None


def _value(stack: str, character: str) -> State | None:
    if character in "{[" and len(stack) < DEPTH:
        return ("open" if character == "{" else "first", stack + character)
    if character in WORDS:
        return ("word " + WORDS[character], stack)
    if character in DIGITS:
        return ("zero" if character == "0" else "digits", stack)
    return {'"': ("string", stack), "-": ("minus", stack)}.get(character)


def _after(stack: str, character: str) -> State | None:
    if character == ",":
        return ("key" if stack[-1] == "{" else "value", stack)
    return _close(stack) if character == {"{": "}", "[": "]"}[stack[-1]] else None


def _close(stack: str) -> State:
    return ("after" if len(stack) > 1 else "end", stack[:-1])


class JsonMask:
    """The token mask of any JSON object, for one tokenizer; any number of requests may share it.

    stop_ids: end tokens, allowed where the object is complete. vocab_size: rows of the model's head.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: Iterable[int], vocab_size: int) -> None:
        self.stop_ids, self.vocab_size = sorted(stop_ids), vocab_size
        self.texts = token_texts(tokenizer)
        self._masks: dict[State, Tensor] = {}

    def allowed(self, generated_ids: Sequence[int]) -> Tensor:
        """True (vocab,) for each token that may follow."""
        state: State | None = START
        for token in generated_ids:
            state = self._walk(state, self.texts.get(token, ""))
        if state is None:
            raise ValueError("the answer so far is the beginning of no JSON object.")
        if state not in self._masks:
            mask = torch.zeros(self.vocab_size, dtype=torch.bool)
            mask[[token for token, text in self.texts.items() if self._walk(state, text) is not None]] = True
            if state[0] == "end":
                mask[self.stop_ids] = True
            self._masks[state] = mask
        return self._masks[state]

    def _walk(self, state: State | None, text: str) -> State | None:
        for character in text:
            if state is None:
                return None
            state = advance(state, character)
        return state
