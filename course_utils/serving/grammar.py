"""Structured output: from a JSON schema to the set of tokens that may come next.

The schema becomes a small automaton over characters. A token may come next if the automaton survives all its
characters and can still reach an end from there (Willard and Louf, arXiv 2307.09702, section 3). Which tokens that are
depends on the automaton's state alone, so each state's mask is made once.

Properties stand in the order of the schema, with one optional space after ``:`` and ``,`` and before the whole.
Supported: type (and lists of types), properties, required, items, minItems, maxItems, enum, const, anyOf, minLength,
maxLength, and minimum and maximum of integers. Anything else would be ignored in silence, so it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils.serving.paged_cache import ServingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NOTES = {"title", "description", "default", "examples", "$schema", "additionalProperties"}
_KNOWN = {
    "object": {"properties", "required"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
    "integer": {"minimum", "maximum"},
    "number": set(),
    "boolean": set(),
    "null": set(),
}
_DIGITS = "0123456789"
_PLAIN = frozenset(chr(i) for i in range(32, 127)) - {'"', "\\"}
_STATES = 20_000  # of the automaton
_INTEGERS = 2_000  # so many values of an integer with bounds are written out


class SchemaError(ServingError):
    """A schema that cannot be used: no text satisfies it, or it asks for what is not supported."""


class Automaton:
    """States with edges: a set of characters, or None for a step without one. ``start`` and ``end`` are states."""

    def __init__(self, schema: Any) -> None:
        self.edges: list[list[tuple[frozenset[str] | None, int]]] = []
        self.doubts: list[str] = []  # parts that no text can satisfy
        self.start, self.end = self.state(), self.state()
        space = self.optional(self.start, lambda a, b: self.edge(a, b, " "))
        self.value(schema, "$", space, self.end)
        if self.end not in self.reach([self.start]):
            reason = "; ".join(self.doubts) or "its parts contradict each other"
            raise SchemaError(f"no text can satisfy the schema: {reason}.")

    def state(self) -> int:
        """A new state. Raises SchemaError if there are too many: lengths and counts are written out."""
        if len(self.edges) >= _STATES:
            raise SchemaError(
                f"the schema needs more than {_STATES:,} states; make maxLength, maxItems and the like smaller."
            )
        self.edges.append([])
        return len(self.edges) - 1

    def edge(self, a: int, b: int, characters: Iterable[str] | None) -> None:
        """From a to b by one of the characters; None: by none."""
        self.edges[a].append((None if characters is None else frozenset(characters), b))

    def text(self, a: int, b: int, text: str) -> None:
        """From a to b by exactly this text."""
        for character in text:
            a, before = self.state(), a
            self.edge(before, a, character)
        self.edge(a, b, None)

    def optional(self, a: int, part: Any) -> int:
        """``part(a, b)`` or nothing; returns b."""
        b = self.state()
        part(a, b)
        self.edge(a, b, None)
        return b

    def repeat(self, a: int, b: int, least: int, most: int | None, part: Any) -> None:
        """``part(from, to, number)`` from ``least`` to ``most`` times; None: without end."""
        for number in range(least if most is None else most):
            if number >= least:
                self.edge(a, b, None)
            after = self.state()
            part(a, after, number)
            a = after
        self.edge(a, b, None)
        if most is None:
            part(a, a, least)

    def reach(self, states: Iterable[int], characters: frozenset[str] | None = None) -> set[int]:
        """All states that can be come to, through these characters (None: through any)."""
        seen, open_to = set(states), list(states)
        while open_to:
            for by, b in self.edges[open_to.pop()]:
                if b not in seen and (by is None or (by if characters is None else by & characters)):
                    seen.add(b)
                    open_to.append(b)
        return seen

    def alive(self, characters: frozenset[str]) -> set[int]:
        """All states from which ``end`` can be reached through these characters."""
        back: list[list[int]] = [[] for _ in self.edges]
        for a, edges in enumerate(self.edges):
            for by, b in edges:
                if by is None or by & characters:
                    back[b].append(a)
        seen, open_to = {self.end}, [self.end]
        while open_to:
            for a in back[open_to.pop()]:
                if a not in seen:
                    seen.add(a)
                    open_to.append(a)
        return seen

    def value(self, schema: Any, path: str, a: int, b: int) -> None:
        """Whatever satisfies ``schema``, from a to b."""
        if schema is True or schema == {}:
            raise SchemaError(f"the schema at {path} allows anything; say which type, for example 'string'.")
        if not isinstance(schema, dict):
            raise SchemaError(
                f"the schema at {path} is {schema!r}; a dictionary such as {{'type': 'string'}} is needed."
            )
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            self._check(schema, path, {"const", "enum", "type"})
            if not values:
                self.doubts.append(f"enum is empty at {path}")
            for value in values:
                self.text(a, b, json.dumps(value))
        elif "anyOf" in schema:
            self._check(schema, path, {"anyOf"})
            for number, part in enumerate(schema["anyOf"]):
                self.value(part, f"{path}.anyOf[{number}]", a, b)
            if not schema["anyOf"]:
                self.doubts.append(f"anyOf is empty at {path}")
        else:
            kinds = schema.get("type")
            for kind in kinds if isinstance(kinds, list) else [kinds]:
                if kind not in _KNOWN:
                    raise SchemaError(f"the schema at {path} has the type {kind!r}; {', '.join(_KNOWN)} are known.")
                if not isinstance(kinds, list):
                    self._check(schema, path, {"type"} | _KNOWN[kind])
                getattr(self, f"_{kind}")(schema, path, a, b)

    def _check(self, schema: dict, path: str, known: set[str]) -> None:
        unknown = sorted(set(schema) - known - _NOTES)
        if unknown:
            raise SchemaError(
                f"the schema at {path} uses {unknown[0]!r}, which is not supported there "
                f"({', '.join(sorted(known))} are). "
                "It would not be kept, so it is refused; leave it out and check the answer for it."
            )

    def _limits(self, schema: dict, path: str, low: str, high: str) -> tuple[int, int | None]:
        least, most = schema.get(low, 0), schema.get(high)
        if most is not None and least > most:
            self.doubts.append(f"{low} {least} is above {high} {most} at {path}")
        return least, most

    def _object(self, schema: dict, path: str, a: int, b: int) -> None:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        for name in required:
            if name not in properties:
                self.doubts.append(f"{name!r} is required and no property at {path}")
                return
        opened = self.state()
        self.edge(a, opened, "{")
        empty: int | None = opened  # where no property is written yet
        filled: int | None = None  # where one is
        for name, part in properties.items():
            before, after, key, colon = (self.state() for _ in range(4))
            if empty is not None:
                self.edge(empty, before, None)
            if filled is not None:
                comma = self.state()
                self.edge(filled, comma, ",")
                self.edge(self.optional(comma, lambda x, y: self.edge(x, y, " ")), before, None)
            self.text(before, key, json.dumps(name))
            self.edge(key, colon, ":")
            self.value(part, f"{path}.{name}", self.optional(colon, lambda x, y: self.edge(x, y, " ")), after)
            if name in required:
                empty = None
            elif filled is not None:
                self.edge(filled, after, None)  # left out
            filled = after
        for last in (empty, filled):
            if last is not None:
                self.edge(last, b, "}")

    def _array(self, schema: dict, path: str, a: int, b: int) -> None:
        least, most = self._limits(schema, path, "minItems", "maxItems")
        if most is not None and least > most:
            return
        if "items" not in schema:
            raise SchemaError(f"the array at {path} has no items; say what they are, such as {{'type': 'integer'}}.")

        def item(x: int, y: int, number: int) -> None:
            if number:
                comma = self.state()
                self.edge(x, comma, ",")
                x = self.optional(comma, lambda p, q: self.edge(p, q, " "))
            self.value(schema["items"], f"{path}.items", x, y)

        opened, closing = self.state(), self.state()
        self.edge(a, opened, "[")
        if most is None:
            if least == 0:
                self.edge(opened, closing, None)
            first = self.state()
            item(opened, first, 0)
            self.repeat(first, closing, max(least - 1, 0), None, lambda x, y, number: item(x, y, 1))
        else:
            self.repeat(opened, closing, least, most, item)
        self.edge(closing, b, "]")

    def _string(self, schema: dict, path: str, a: int, b: int) -> None:
        least, most = self._limits(schema, path, "minLength", "maxLength")
        if most is not None and least > most:
            return

        def character(x: int, y: int, _: int) -> None:
            self.edge(x, y, _PLAIN)
            escaped = self.state()
            self.edge(x, escaped, "\\")
            self.edge(escaped, y, '"\\/nt')

        opened, closing = self.state(), self.state()
        self.edge(a, opened, '"')
        self.repeat(opened, closing, least, most, character)
        self.edge(closing, b, '"')

    def _integer(self, schema: dict, path: str, a: int, b: int) -> None:
        least, most = schema.get("minimum"), schema.get("maximum")
        if least is None and most is None:
            signed = self.optional(a, lambda x, y: self.edge(x, y, "-"))
            self.edge(signed, b, "0")
            more = self.state()
            self.edge(signed, more, _DIGITS[1:])
            self.edge(more, more, _DIGITS)
            self.edge(more, b, None)
            return
        if least is None or most is None or most - least >= _INTEGERS:
            raise SchemaError(
                f"the integer at {path} goes from {least} to {most}; give both bounds, at most {_INTEGERS} "
                "values apart, or none."
            )
        if least > most:
            self.doubts.append(f"minimum {least} is above maximum {most} at {path}")
        for number in range(least, most + 1):
            self.text(a, b, str(number))

    def _number(self, schema: dict, path: str, a: int, b: int) -> None:
        whole, point, more = self.state(), self.state(), self.state()
        self._integer({}, path, a, whole)
        self.edge(whole, b, None)
        self.edge(whole, point, ".")
        self.edge(point, more, _DIGITS)
        self.edge(more, more, _DIGITS)
        self.edge(more, b, None)

    def _boolean(self, schema: dict, path: str, a: int, b: int) -> None:
        self.text(a, b, "true")
        self.text(a, b, "false")

    def _null(self, schema: dict, path: str, a: int, b: int) -> None:
        self.text(a, b, "null")


class SchemaMask:
    """The token mask of one schema, for one tokenizer; any number of requests may share it.

    stop_ids: end tokens, allowed where the text is complete. vocab_size: rows of the model's head, if more than the
    tokenizer's. Raises SchemaError if no text satisfies the schema, or if these tokens cannot write one that does.
    """

    def __init__(
        self,
        schema: Any,
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: Iterable[int] = (),
        vocab_size: int | None = None,
    ) -> None:
        self.vocab_size = vocab_size or len(tokenizer)
        if len(tokenizer) > self.vocab_size:
            raise SchemaError(
                f"the tokenizer has {len(tokenizer)} tokens and the model {self.vocab_size}: they do not belong "
                "together. Use the tokenizer that the model was trained with."
            )
        self.stop_ids = sorted(stop_ids)
        self.texts = token_texts(tokenizer)
        self.automaton = Automaton(schema)
        single = frozenset(text for text in self.texts.values() if len(text) == 1)
        # A state is alive if an end can be reached by tokens of one character: longer ones can only add ways.
        self._alive = self.automaton.alive(single)
        self._sets: list[frozenset[int]] = []
        self._number: dict[frozenset[int], int] = {}
        self._after: dict[tuple[int, str], int | None] = {}
        self._masks: dict[int, Tensor] = {}
        start = self._close([self.automaton.start])
        if start is None:
            raise SchemaError("the schema can be satisfied, but not with the characters of this tokenizer.")
        self._start = start

    def allowed(self, generated_ids: Sequence[int]) -> Tensor:
        """True (vocab,) for each token that may follow. Raises SchemaError for an answer that left the schema."""
        state = self._start
        for token in generated_ids:
            text = self.texts.get(token)
            after = None if text is None else self._walk(state, text)
            if after is None:
                raise SchemaError(f"token {token} ({text!r}) was generated, but the schema does not allow it there.")
            state = after
        if state not in self._masks:
            mask = torch.zeros(self.vocab_size, dtype=torch.bool)
            mask[[token for token, text in self.texts.items() if self._walk(state, text) is not None]] = True
            if self.automaton.end in self._sets[state]:
                mask[self.stop_ids] = True
            self._masks[state] = mask
        return self._masks[state]

    @property
    def states(self) -> int:
        """Masks made so far."""
        return len(self._masks)

    def _walk(self, state: int | None, text: str) -> int | None:
        for character in text:
            key = (state, character)
            if key not in self._after:
                edges = (edge for s in self._sets[state] for edge in self.automaton.edges[s])  # type: ignore[index]
                self._after[key] = self._close([b for by, b in edges if by is not None and character in by])  # type: ignore[index]
            state = self._after[key]  # type: ignore[index]
            if state is None:
                return None
        return state

    def _close(self, states: Iterable[int]) -> int | None:
        """The number of this set of states and all that are reached without a character; None if none is alive."""
        found = frozenset(self.automaton.reach(states, frozenset()) & self._alive)
        if not found:
            return None
        if found not in self._number:
            self._number[found] = len(self._sets)
            self._sets.append(found)
        return self._number[found]


def token_texts(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """What each token adds to a text; special tokens and pieces of a character are left out."""
    special = set(tokenizer.all_special_ids)
    anchor = tokenizer.convert_tokens_to_ids('"') if '"' in tokenizer.get_vocab() else 0
    before = tokenizer.decode([anchor])
    ids = [i for i in range(len(tokenizer)) if i not in special]
    texts = tokenizer.batch_decode([[anchor, i] for i in ids], clean_up_tokenization_spaces=False)
    found = {i: text[len(before) :] for i, text in zip(ids, texts, strict=True) if text.startswith(before)}
    return {i: text for i, text in found.items() if text and "\ufffd" not in text}
