"""Rows of any of the three kinds as token ids, many at a time, with a mark on what the assistant said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from course_utils.text.chat import ROLES, _encode_by_template, _is_ours
from course_utils.text.documents import DataError
from course_utils.text.special_tokens import END_ID
from course_utils.text.word_cache import WordCache

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass
class Encoded:
    """ids: of all sequences, one after the other, uint32. lengths: of each, int64; a comparison has two, chosen first.
    answers: (ids,) uint8, 1 where the assistant speaks; None for texts. refused: row -> why it has no tokens."""

    ids: np.ndarray
    lengths: np.ndarray
    answers: np.ndarray | None
    refused: dict[int, str] = field(default_factory=dict)


class RowEncoder:
    """Encodes rows as ``columns.read_row`` returns them.

    Texts get no begin or end token, as with ``tokenizer(text, add_special_tokens=False)``; conversations are what
    ``chat.encode_chats`` makes of them. A conversation that the tokenizer's chat template cannot render is refused.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer, self.cache, self.ours = tokenizer, WordCache(tokenizer), _is_ours(tokenizer)

    def encode(self, rows: Sequence[dict[str, Any]]) -> Encoded:
        """The rows must be of one kind."""
        if rows and "text" in rows[0]:
            return Encoded(*self.cache.encode([row["text"] for row in rows]), None)
        chats = [_chats(row) for row in rows]
        return (self._by_roles if self.ours else self._by_template)(chats)

    def _by_roles(self, rows: list[list[list[dict[str, Any]]]]) -> Encoded:
        """The course's own template: what it puts between messages is known."""
        refused = {number: why for number, chats in enumerate(rows) if (why := _unknown(chats))}
        chats = [chat for number, chats in enumerate(rows) if number not in refused for chat in chats]
        pieces = iter(self.cache.pieces([message["content"] for chat in chats for message in chat]))
        ids, marks, lengths = [], [], []
        for chat in chats:
            parts, said = [_END], [b"\0"]
            for message in chat:
                piece = next(pieces)
                parts += (_ROLES[message["role"]], piece)
                if message["role"] == "assistant":
                    parts.append(_END)
                    said += (b"\0", b"\1" * (len(piece) // 4 + 1))
                else:
                    said.append(b"\0" * (len(piece) // 4 + 1))
            ids.append(b"".join(parts))
            marks += said
            lengths.append(len(ids[-1]) // 4)
        return Encoded(
            np.frombuffer(b"".join(ids), dtype=np.uint32),
            np.array(lengths, dtype=np.int64),
            np.frombuffer(b"".join(marks), dtype=np.uint8),
            refused,
        )

    def _by_template(self, rows: list[list[list[dict[str, Any]]]]) -> Encoded:
        from jinja2 import TemplateError

        refused, ids, marks = {}, [], []
        for number, chats in enumerate(rows):
            try:
                encoded = [_encode_by_template(chat, self.tokenizer, number) for chat in chats]
            except (DataError, TemplateError) as error:
                refused[number] = f"the tokenizer's chat template cannot render it: {error}"
                continue
            ids += [np.array(found, dtype=np.uint32) for found, _ in encoded]
            marks += [np.array(mask, dtype=np.uint8) for _, mask in encoded]
        lengths = np.array([len(found) for found in ids], dtype=np.int64)
        return Encoded(_joined(ids, np.uint32), lengths, _joined(marks, np.uint8), refused)


_END = np.uint32(END_ID).tobytes()
_ROLES = {role: np.uint32(number).tobytes() for role, number in ROLES.items()}


def _chats(row: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [row["messages"]] if "messages" in row else [[*row["prompt"], *row[side]] for side in ("chosen", "rejected")]


def _unknown(chats: list[list[dict[str, Any]]]) -> str:
    """Why the course's template cannot render these conversations; "" if it can."""
    for message in (message for chat in chats for message in chat):
        if message["role"] not in _ROLES or "tool_calls" in message:
            what = "calls of tools" if "tool_calls" in message else f"role {message['role']!r}"
            return f"the tokenizer's chat template has no {what}"
    return ""


def _joined(parts: list[np.ndarray], kind: Any) -> np.ndarray:
    return np.concatenate(parts) if parts else np.array([], dtype=kind)
