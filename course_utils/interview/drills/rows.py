"""Drills on training rows: the mask of a prompt, documents packed and kept apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import integers
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    """Labels, (batch, time): the tokens of the answer, and -100 where the prompt or padding stands.

    input_ids: (batch, time), padded on the right. prompt_lengths, lengths: (batch,), tokens of the prompt, and of prompt and
    answer together.
    """
    place = torch.arange(input_ids.shape[1], device=input_ids.device)
    answer = (place >= prompt_lengths[:, None]) & (place < lengths[:, None])
    return input_ids.masked_fill(~answer, -100)


prompt = Definition(
    mask_prompt,
    new=True,
    title="Mask the prompt",
    level="screen",
    minutes=6,
    topics=("A6", "F8"),
    statement="""
    Make the labels of instruction tuning: the loss is to see the answer alone, its end-of-sequence token included. Where
    the prompt or padding stands the label is -100. Padding has the same id as the end-of-sequence token, so only the
    lengths tell them apart. The model shifts the labels itself.
    input_ids: (batch, time), padded on the right; prompt_lengths and lengths: (batch,). Result: (batch, time), a new tensor.
    """,
    cases=lambda: [
        Case(torch.tensor([[5, 6, 7]]), torch.tensor([1]), torch.tensor([2])),
        Case(
            torch.tensor([[5, 6, 7, 2, 2, 2], [3, 4, 5, 6, 7, 2], [3, 2, 9, 9, 2, 2]]),
            torch.tensor([1, 4, 2]),
            torch.tensor([4, 6, 5]),
        ),
        Case(integers(1, 50, 3, 5), torch.tensor([0, 5, 2]), torch.tensor([5, 5, 2])),
    ],
    rtol=0.0,
    atol=0.0,
    general="Not the tokens of the answer, with -100 everywhere else.",
    hints=[
        "Compare the places, `torch.arange(time)`, with both lengths of each row: `[:, None]` lets them broadcast.",
        "`place = torch.arange(input_ids.shape[1])`; `answer = (place >= prompt_lengths[:, None]) & (place < lengths[:, "
        "None])`; `input_ids.masked_fill(~answer, -100)`.",
    ],
)


def _labels(ids, keep, fill=-100):
    return ids.masked_fill(~keep, fill)


def _places(ids):
    return torch.arange(ids.shape[1])


prompt.plant(
    {
        "The padding is not masked.": lambda input_ids, prompt_lengths, lengths: _labels(
            input_ids, _places(input_ids) >= prompt_lengths[:, None]
        ),
        "The prompt is not masked.": lambda input_ids, prompt_lengths, lengths: _labels(
            input_ids, _places(input_ids) < lengths[:, None]
        ),
        "The labels are shifted; the model does that itself.": lambda input_ids, prompt_lengths, lengths: _labels(
            input_ids.roll(-1, 1),
            (_places(input_ids) + 1 >= prompt_lengths[:, None]) & (_places(input_ids) + 1 < lengths[:, None]),
        ),
        "The first token of the answer is masked too.": lambda input_ids, prompt_lengths, lengths: _labels(
            input_ids, (_places(input_ids) > prompt_lengths[:, None]) & (_places(input_ids) < lengths[:, None])
        ),
        "The last token of the answer, its end, is masked: then no answer learns to stop.": (
            lambda input_ids, prompt_lengths, lengths: _labels(
                input_ids, (_places(input_ids) >= prompt_lengths[:, None]) & (_places(input_ids) < lengths[:, None] - 1)
            )
        ),
        "`lengths` counts prompt and answer together, not the answer alone.": (
            lambda input_ids, prompt_lengths, lengths: _labels(
                input_ids,
                (_places(input_ids) >= prompt_lengths[:, None])
                & (_places(input_ids) < (prompt_lengths + lengths)[:, None]),
            )
        ),
        "The mask is turned: prompt and padding are kept, the answer is masked.": (
            lambda input_ids, prompt_lengths, lengths: _labels(
                input_ids, (_places(input_ids) < prompt_lengths[:, None]) | (_places(input_ids) >= lengths[:, None])
            )
        ),
        "The masked places hold 0, which is a token; -100 is what the loss leaves out.": (
            lambda input_ids, prompt_lengths, lengths: _labels(
                input_ids,
                (_places(input_ids) >= prompt_lengths[:, None]) & (_places(input_ids) < lengths[:, None]),
                0,
            )
        ),
        "All rows are masked by the longest prompt; each has its own length.": (
            lambda input_ids, prompt_lengths, lengths: _labels(
                input_ids, (_places(input_ids) >= prompt_lengths.max()) & (_places(input_ids) < lengths[:, None])
            )
        ),
    }
)


def pack_documents(documents: list[list[int]], length: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """(input_ids, segments, positions), each (rows, length): documents side by side, in their order.

    A document that no longer fits begins the next row; none is cut, and each has at most ``length`` tokens. segments: 0, 1,
    ... for the documents of a row, -1 for padding. positions: from 0 within each document, 0 for padding.
    """
    rows: list[list[list[int]]] = []
    for document in documents:
        if not rows or sum(map(len, rows[-1])) + len(document) > length:
            rows.append([])
        rows[-1].append(document)
    input_ids = torch.full((len(rows), length), pad)
    segments, positions = torch.full((len(rows), length), -1), torch.zeros(len(rows), length, dtype=torch.long)
    for number, row in enumerate(rows):
        begin = 0
        for segment, document in enumerate(row):
            here = slice(begin, begin + len(document))
            input_ids[number, here] = torch.tensor(document)
            segments[number, here] = segment
            positions[number, here] = torch.arange(len(document))
            begin += len(document)
    return input_ids, segments, positions


packing = Definition(
    pack_documents,
    new=True,
    title="Pack documents into rows",
    level="onsite",
    minutes=12,
    topics=("A23", "+"),
    statement="""
    Lay documents of different lengths side by side in rows of one length, in their order; a document that does not fit
    into what is left of the row begins the next one. Give with the tokens what attention needs to keep documents apart:
    the number of the document within its row (-1 for padding), and positions that begin at 0 in each document.
    Result: (input_ids, segments, positions), whole numbers of shape (rows, length); the rest of a row is filled with
    `pad`, segment -1, position 0.
    """,
    cases=lambda: [
        Case([[7, 8]], 3, 0),
        Case([[7, 8], [9], [4, 5]], 4, 0),
        Case([[1, 2, 3], [4, 5], [6], [7, 8, 9, 10], [11]], 4, 99),
        Case([[5, 5, 5], [6, 6], [7], [8, 8, 8, 8], [9]], 6, 1),
    ],
    rtol=0.0,
    atol=0.0,
    general="Not the documents in their order, a new row where one does not fit, with segments and positions.",
    hints=[
        "First decide which documents share a row, as lists of lists; then fill three tensors that already hold padding.",
        "`if not rows or sum(map(len, rows[-1])) + len(document) > length: rows.append([])`; then for each row write "
        "`document`, its number, and `torch.arange(len(document))` into `begin : begin + len(document)`.",
    ],
)


def _pack(documents, length, pad, full=0, restart=True, by_row=True, none=-1, backfill=False, cut=False, filler=None):
    if cut:
        flat = [token for document in documents for token in document]
        owner = [n for n, document in enumerate(documents) for _ in document]
        place = [i for document in documents for i in range(len(document))]
        count = -(-len(flat) // length)
        more = count * length - len(flat)
        shape = (count, length)
        return tuple(
            torch.tensor(values + [fill] * more).view(shape) for values, fill in ((flat, pad), (owner, -1), (place, 0))
        )
    rows = []
    for number, document in enumerate(documents):
        fits = [row for row in rows if sum(len(d) for _, d in row) + len(document) <= length - full]
        fits = fits if backfill else [row for row in fits if row is rows[-1]]
        if not fits:
            rows.append([])
            fits = rows[-1:]
        fits[0].append((number, document))
    out = [torch.full((len(rows), length), fill) for fill in (pad if filler is None else filler, none, 0)]
    for number, row in enumerate(rows):
        begin = 0
        for segment, (own, document) in enumerate(row):
            here = slice(begin, begin + len(document))
            out[0][number, here] = torch.tensor(document)
            out[1][number, here] = segment if by_row else own
            out[2][number, here] = torch.arange(len(document)) + (0 if restart else begin)
            begin += len(document)
    return tuple(out)


packing.plant(
    {
        sentence: lambda documents, length, pad, wrong=wrong: _pack(documents, length, pad, **wrong)
        for sentence, wrong in {
            "The positions run on through the row; they begin at 0 in each document.": {"restart": False},
            "The segments are counted through all rows; they begin at 0 in each row.": {"by_row": False},
            "Padding has segment 0, so it counts as part of the first document; it is -1.": {"none": 0},
            "A document that fills the row exactly is put into the next one; it fits.": {"full": 1},
            "A later document is put back into an earlier row; the order must stay.": {"backfill": True},
            "Documents are cut at the end of a row; here one that does not fit begins the next row.": {"cut": True},
            "Padding is filled with 0; it is `pad`.": {"filler": 0},
        }.items()
    }
    | {
        "Each document has a row of its own: nothing is packed.": lambda documents, length, pad: tuple(
            torch.cat(parts) for parts in zip(*[_pack([d], length, pad) for d in documents], strict=True)
        ),
    }
)


def document_mask(segments: Tensor) -> Tensor:
    """Who may see whom, (rows, length, length): True where query i may look at key j.

    segments: (rows, length), the document of each place, -1 for padding. A place sees its own document up to itself;
    padding sees nothing and is not seen.
    """
    length = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return same & earlier & (segments >= 0)[:, :, None]


mask = Definition(
    document_mask,
    title="A mask that keeps packed documents apart",
    level="onsite",
    minutes=6,
    topics=("A26", "+"),
    statement="""
    Make the attention mask of packed rows: place i may look at place j if both belong to the same document and j is not
    later than i. Padding (segment -1) sees nothing and is not seen.
    segments: (rows, length), whole numbers. Result: (rows, length, length), bool, True where looking is allowed.
    """,
    cases=lambda: [
        Case(torch.tensor([[0, 1]])),
        Case(torch.tensor([[0, 0, 1, -1]])),
        Case(torch.tensor([[0, 0, 1, 1, 2, -1, -1], [0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, -1]])),
    ],
    rtol=0.0,
    atol=0.0,
    general="Not the same document, not later, and no padding.",
    hints=[
        "Three conditions joined by `&`. The first compares the segments with themselves along two axes.",
        "`same = segments[:, :, None] == segments[:, None, :]`; `torch.ones(n, n, dtype=torch.bool).tril()`; `(segments >= "
        "0)[:, :, None]`.",
    ],
)


def _mask(segments, same=True, causal=True, pad=True, diagonal=0, later=False):
    n = segments.shape[1]
    out = segments[:, :, None] == segments[:, None, :] if same else torch.ones(len(segments), n, n, dtype=torch.bool)
    if causal:
        triangle = torch.ones(n, n, dtype=torch.bool)
        out = out & (triangle.triu() if later else triangle.tril(diagonal))
    return out & ((segments >= 0)[:, :, None] & (segments >= 0)[:, None, :] if pad else torch.tensor(True))


mask.plant(
    {
        sentence: lambda segments, wrong=wrong: _mask(segments, **wrong)
        for sentence, wrong in {
            "Documents of a row see each other: compare their segments.": {"same": False},
            "Later places are seen: the causal part is missing.": {"causal": False},
            "Padding sees padding: its segments are equal too.": {"pad": False},
            "A place does not see itself.": {"diagonal": -1},
            "Only later places are seen; it is the earlier ones.": {"later": True},
        }.items()
    }
    | {
        "The mask is turned: True is where looking is allowed.": lambda segments: ~_mask(segments),
        "Floats are returned; a bool mask is wanted.": lambda segments: _mask(segments).float(),
    }
)
