"""Show tokens side by side, some of them highlighted."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from course_utils.classroom.display import cards

_PLAIN = "background-color: rgba(128, 128, 128, 0.16)"
_MARKED = "background-color: rgba(33, 118, 210, 0.34); font-weight: 600"


class Tokens:
    """Tokens as texts, and which of them are highlighted."""

    def __init__(self, texts: Sequence[str], marked: Sequence[bool], legend: str = ""):
        self.texts, self.marked, self.legend = list(texts), list(marked), legend

    def text(self) -> str:
        """``[plain]`` and ``«highlighted»`` tokens on a line."""
        body = "".join(f"«{t}»" if m else f"[{t}]" for t, m in zip(self.texts, self.marked, strict=True))
        return f"{body}\n{self.legend}".rstrip()

    def html(self) -> str:
        """Tokens as small boxes."""
        spans = "".join(
            f'<span style="{_MARKED if m else _PLAIN}; border-radius: 3px; padding: 1px 3px; margin: 1px; '
            f'display: inline-block; white-space: pre">{html.escape(t)}</span>'
            for t, m in zip(self.texts, self.marked, strict=True)
        )
        legend = f'<div style="opacity: 0.8; font-size: 13px; margin-top: 4px">{cards.inline(self.legend)}</div>'
        row = f'<div style="{cards._MONO}; line-height: 1.9; max-width: 70em">{spans}</div>'
        return row + legend if self.legend else row

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.text()}


def show_tokens(
    tokens: Any, tokenizer: Any = None, *, highlight: Iterable[Any] | None = None, legend: str = ""
) -> None:
    """Show tokens; those of ``highlight`` in blue.

    tokens: a text or token ids (both with ``tokenizer``), or the tokens' texts. Spaces are drawn as '·'.
    highlight: positions, or one true/false (or 1/0) for each token as a mask. Raises ValueError for a mask of
    another length, a position outside, or ids without a tokenizer.
    """
    if hasattr(tokens, "tolist"):
        tokens = tokens.tolist()
    if isinstance(tokens, str):
        if tokenizer is None:
            raise ValueError("a text needs the tokenizer: show_tokens(text, tokenizer)")
        tokens = tokenizer(tokens)["input_ids"]
    tokens = list(tokens)
    if tokens and isinstance(tokens[0], int):
        if tokenizer is None:
            raise ValueError("token ids need the tokenizer: show_tokens(ids, tokenizer)")
        tokens = [tokenizer.decode([token]) for token in tokens]
    texts = [text.replace(" ", "·").replace("\n", "⏎") for text in tokens]
    cards.show(Tokens(texts, _marks(highlight, len(texts)), legend))


def _marks(highlight: Any, length: int) -> list[bool]:
    if highlight is None:
        return [False] * length
    values = highlight.tolist() if hasattr(highlight, "tolist") else list(highlight)
    is_mask = len(values) == length and all(value in (0, 1) for value in values)
    if is_mask and (length != 1 or isinstance(values[0], bool)) and not (length == 2 and values == [0, 1]):
        return [bool(value) for value in values]
    if any(isinstance(value, bool) for value in values):
        raise ValueError(f"the mask has {len(values)} entries for {length} tokens")
    outside = [value for value in values if not -length <= value < length]
    if outside:
        raise ValueError(f"position {outside[0]} is outside of the {length} tokens")
    chosen = {value % length for value in values}
    return [index in chosen for index in range(length)]
