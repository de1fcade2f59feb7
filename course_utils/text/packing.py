"""How many tokens of a batch are padding? Three ways to bring documents of many lengths into rows of one length.

``batching.pack`` is a fourth: it cuts one long stream, wastes nothing, and cuts documents. Here none is cut.
"""

from __future__ import annotations

from collections.abc import Sequence


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
