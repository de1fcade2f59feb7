"""Documents of many lengths in rows of one length, and how many tokens of it are padding.

``pack`` cuts one long stream: nothing is wasted, and documents are cut. The other ways cut none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from course_utils.text.documents import check_documents
from course_utils.text.special_tokens import closing_id, opening_id
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def pack(documents: Sequence[str], tokenizer: PreTrainedTokenizerFast, length: int) -> Tensor:
    """Join documents into one stream, ``<|end|>first<|end|>second...``, and cut it into rows.

    ``<|end|>`` is both the end of one document and the beginning of the next. Where a tokenizer has a token for each,
    as Llama-2's does, both stand there: ``<s>first</s><s>second...``.

    Returns (rows, length) int64. No token is lost except those of the tail, fewer than ``length``. A row may begin
    in the middle of a document, and holds the ends and beginnings of others: no position is wasted on padding.
    Raises DataError for documents that are blank or no strings, ValueError if they do not fill one row.
    """
    if not isinstance(length, int) or length < 2:
        raise ValueError(f"length is {length!r}; at least 2 tokens a row are expected, one to read and one to predict.")
    encoded = encode_plain(check_documents(documents), tokenizer)
    sizes = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    first, between = opening_id(tokenizer), closing_id(tokenizer)
    separator = [first] if first == between else [between, first]
    stops = np.cumsum(sizes + len(separator))
    stream = np.empty(stops[-1], dtype=np.int64)
    for stop, ids in zip(stops, encoded, strict=True):
        stream[stop - len(ids) - len(separator) : stop] = separator + ids
    stream = stream[len(separator) - 1 :]  # no document ends before the first one begins
    rows = len(stream) // length
    if rows == 0:
        raise ValueError(
            f"the {len(encoded)} documents hold {len(stream)} tokens; at least {length} are expected, one row. "
            "Give more documents, or a smaller length."
        )
    return torch.from_numpy(stream[: rows * length].reshape(rows, length).copy())


def best_fit(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Rows that hold whole documents: the longest first, each into the fullest row that still has room for it.

    lengths: tokens of each document, its separator counted, from 1 to ``row_length``. Returns for each row the numbers
    of its documents. Best-fit decreasing, as Ding et al. pack for pretraining (arXiv 2404.10830).
    Raises ValueError for a document that fits no row.
    """
    _check(lengths, row_length)
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [row for row in range(len(rows)) if room[row] >= lengths[number]]
        if not fitting:
            rows.append([])
            room.append(row_length)
            fitting = [len(rows) - 1]
        row = min(fitting, key=room.__getitem__)
        rows[row].append(number)
        room[row] -= lengths[number]
    return rows


def padded_waste(lengths: Sequence[int], batch_size: int) -> float:
    """The share of padding if documents in the given order go into batches, each padded to its longest document."""
    _check(lengths, max(lengths, default=0))
    places = 0
    for start in range(0, len(lengths), batch_size):
        batch = lengths[start : start + batch_size]
        places += len(batch) * max(batch)
    return 1 - sum(lengths) / places


def row_waste(lengths: Sequence[int], rows: int, row_length: int) -> float:
    """The share of padding if documents of these lengths fill ``rows`` rows of ``row_length`` tokens."""
    return 1 - sum(lengths) / (rows * row_length)


def _check(lengths: Sequence[int], row_length: int) -> None:
    if not len(lengths) or min(lengths) < 1 or max(lengths) > row_length:
        shortest, longest = min(lengths, default=0), max(lengths, default=0)
        raise ValueError(
            f"the lengths run from {shortest} to {longest}; documents of 1 to {row_length} tokens are expected, "
            "the length of a row. Cut longer documents first."
        )
