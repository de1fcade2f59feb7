"""What a document must look like before it may reach a tokenizer or a batch."""

from __future__ import annotations

from collections.abc import Iterable


class DataError(ValueError):
    """A document or a row that training cannot use. The message names the row."""


def show_value(value: object, width: int = 60) -> str:
    """``repr(value)``, cut to ``width`` characters, for an error message."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def check_documents(documents: Iterable[str]) -> list[str]:
    """The documents as a list, once each is known to be a string with something in it.

    Raises DataError for a single string in place of a list, for no documents at all, and for a document that
    is not a string, is blank, or cannot be written as UTF-8. The message names the first such document.
    """
    if isinstance(documents, str | bytes):
        raise DataError(
            f"documents is one {type(documents).__name__} ({show_value(documents)}); a list of strings is expected. "
            "Put it in a list: [document]."
        )
    texts = list(documents)
    if not texts:
        raise DataError("documents is empty; at least one document is expected. Was everything filtered out?")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"document {number} is {show_value(text)} of type {type(text).__name__}; a string is expected. "
                "Drop such rows first, for example [d for d in documents if isinstance(d, str)]."
            )
        if not text or text.isspace():
            raise DataError(
                f"document {number} is {show_value(text)}; a text with at least one visible character is expected. "
                "Drop blank rows first, for example [d for d in documents if d.strip()]."
            )
        if not text.isascii():
            _check_utf8(number, text)
    return texts


def _check_utf8(number: int, text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"document {number} holds a lone surrogate, {text[error.start]!r} at character {error.start}; text that "
            'can be written as UTF-8 is expected. Mend it with text.encode("utf-8", "replace").decode("utf-8").'
        ) from error
