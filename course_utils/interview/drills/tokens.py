"""Drills on tokens and rows: a BPE vocabulary, its use, the mask of a prompt, documents packed into rows."""

from __future__ import annotations

from collections import Counter
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


def bpe_train(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    """The first ``merges`` merges of byte-pair encoding, in order; fewer if no pair is left.

    words: word -> how often it occurs. A word begins as its characters. Each time the pair of neighbours that occurs most
    often is merged; of equals, the one that sorts first.
    """
    split = {word: list(word) for word in words}
    learned: list[tuple[str, str]] = []
    while len(learned) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        learned.append(best)
        for word, parts in split.items():
            merged: list[str] = []
            place = 0
            while place < len(parts):
                found = tuple(parts[place : place + 2]) == best
                merged.append("".join(best) if found else parts[place])
                place += 2 if found else 1
            split[word] = merged
    return learned


train = Definition(
    bpe_train,
    title="Train byte-pair encoding",
    level="onsite",
    minutes=15,
    topics=("A26", "+"),
    statement="""
    Learn the merges of byte-pair encoding from counted words. Begin with characters. Count each pair of neighbours inside
    words, as often as its word occurs; merge the most frequent pair everywhere, from left to right (`aaa` with `a a`
    becomes `aa a`); count anew; go on. Of equally frequent pairs take the one that sorts first. Stop early when no word
    has two parts left. Result: the pairs in the order in which they were merged.
    """,
    cases=lambda: [
        Case({"ab": 1}, 1),
        Case({"ab": 1, "cd": 1}, 3),
        Case({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 6),
        Case({"aaaa": 3, "baaa": 2, "ba": 4}, 5),
        Case({"abcabc": 1, "bc": 1, "xyz": 3, "xy": 1}, 8),
    ],
    general="Not the most frequent pair each time, counted anew after every merge.",
    hints=[
        "Keep each word as a list of parts. A pair of a word that occurs five times counts five. After a merge the parts have "
        "changed, so every count must be made again.",
        "`best = min(pairs, key=lambda pair: (-pairs[pair], pair))`; then rewrite each word: at `parts[i], parts[i + 1] == "
        "best` append their concatenation and step by 2, else append `parts[i]` and step by 1.",
    ],
    banned=("train_from_iterator",),
)


def _bpe(words, merges, weighted=True, recount=True, tie=None, stop=True, right=False, distinct=False):
    split, learned = {word: list(word) for word in words}, []
    old = None
    while len(learned) < merges:
        pairs = Counter()
        for word, count in words.items():
            own = list(zip(split[word], split[word][1:], strict=False))
            for pair in set(own) if distinct else own:
                pairs[pair] += count if weighted else 1
        if not recount and old is not None:
            pairs = Counter({pair: count for pair, count in old.items() if pair not in learned})
        old = pairs
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if tie == "last":
            best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if tie == "first seen":
            best = max(pairs, key=lambda pair: pairs[pair])
        if not stop and pairs[best] < 2:
            break
        learned.append(best)
        for word, parts in split.items():
            new, place = [], 0
            parts = parts[::-1] if right else parts
            pair = best[::-1] if right else best
            while place < len(parts):
                found = tuple(parts[place : place + 2]) == pair
                new.append("".join(best) if found else parts[place])
                place += 2 if found else 1
            split[word] = new[::-1] if right else new
    return learned


train.plant(
    {
        sentence: lambda words, merges, wrong=wrong: _bpe(words, merges, **wrong)
        for sentence, wrong in {
            "A pair counts once for each word; it counts as often as its word occurs.": {"weighted": False},
            "The pairs are counted once at the start; after a merge they must be counted anew.": {"recount": False},
            "Of equally frequent pairs the one that sorts last is taken; it is the first.": {"tie": "last"},
            "Of equally frequent pairs the one that was met first is taken; it is the one that sorts first.": {
                "tie": "first seen"
            },
            "It stops at pairs that occur once; it goes on while there is any pair.": {"stop": False},
            "Merged from the right; `aaa` becomes `aa a`, from the left.": {"right": True},
            "A pair that stands twice in a word counts once; both places count.": {"distinct": True},
        }.items()
    }
    | {
        "The merges are returned as joined strings; pairs are wanted.": lambda words, merges: [
            "".join(pair) for pair in _bpe(words, merges)
        ],
        "One merge too few.": lambda words, merges: _bpe(words, merges - 1),
    }
)


def bpe_encode(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """The parts of ``word`` after byte-pair encoding. Of the pairs in it, the one that was learned first is merged first."""
    rank = {pair: number for number, pair in enumerate(merges)}
    parts = list(word)
    while True:
        pairs = [pair for pair in zip(parts, parts[1:], strict=False) if pair in rank]
        if not pairs:
            return parts
        best = min(pairs, key=rank.__getitem__)
        merged: list[str] = []
        place = 0
        while place < len(parts):
            found = tuple(parts[place : place + 2]) == best
            merged.append("".join(best) if found else parts[place])
            place += 2 if found else 1
        parts = merged


encode = Definition(
    bpe_encode,
    title="Encode with byte-pair encoding",
    level="onsite",
    minutes=12,
    topics=("A26", "+"),
    statement="""
    Split a word with merges that were learned before. Begin with its characters. Of all pairs of neighbours now in the
    word, take the one that was learned first (the lowest rank) and merge it, from left to right; repeat until no pair has
    been learned. Characters that no merge knows stay as they are. Result: the parts, which joined give the word.
    """,
    cases=lambda: [
        Case("ab", [("a", "b")]),
        Case("abc", [("b", "c"), ("a", "b")]),
        Case("abc", [("a", "b"), ("b", "c")]),
        Case("aaaaa", [("a", "a"), ("aa", "aa")]),
        Case("lowest", [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w"), ("w", "est")]),
        Case("abcd", [("c", "d"), ("b", "cd"), ("a", "b"), ("a", "bcd")]),
        Case("", [("a", "b")]),
        Case("a?b", [("a", "b")]),
        Case("abab", [("ab", "ab"), ("a", "b")]),
        Case("abab", [("ab", "ab"), ("b", "a"), ("a", "b")]),
    ],
    general="Not the pair of lowest rank first, until no learned pair is left.",
    hints=[
        "A rank for each pair: its place in `merges`. The loop asks each time for the pair of the lowest rank that is there "
        "now: a merge makes new pairs.",
        "`best = min(pairs, key=rank.__getitem__)` over `[p for p in zip(parts, parts[1:]) if p in rank]`; merge every place "
        "of it from the left; return when the list is empty.",
    ],
)


def _merge_all(parts, pair):
    new, place = [], 0
    while place < len(parts):
        found = tuple(parts[place : place + 2]) == pair
        new.append("".join(pair) if found else parts[place])
        place += 2 if found else 1
    return new


def _longest(word, merges):
    known, parts = {"".join(pair) for pair in merges}, []
    while word:
        size = next((n for n in range(len(word), 1, -1) if word[:n] in known), 1)
        parts, word = [*parts, word[:size]], word[size:]
    return parts


def _leftmost(word, merges):
    parts = list(word)
    while pair := next((p for p in zip(parts, parts[1:], strict=False) if p in merges), None):
        at = next(i for i in range(len(parts)) if tuple(parts[i : i + 2]) == pair)
        parts[at : at + 2] = ["".join(pair)]
    return parts


def _once(word, merges, order=1):
    parts = list(word)
    for pair in merges[::order]:
        parts = _merge_all(parts, pair)
    return parts


def _latest(word, merges):
    parts = list(word)
    while pairs := [p for p in zip(parts, parts[1:], strict=False) if p in merges]:
        parts = _merge_all(parts, max(pairs, key=merges.index))
    return parts


encode.plant(
    {
        "The longest known piece is cut off each time; BPE repeats the merges in the order in which they were learned.": (
            _longest
        ),
        "The leftmost known pair is merged first; it is the one that was learned first.": _leftmost,
        "The pair that was learned last is merged first; it is the one that was learned first.": _latest,
        "The merges are run through from the last to the first.": lambda word, merges: _once(word, merges, -1),
        "Each merge is tried once, in order. A merge may make a pair that an earlier one joins: ask for the lowest rank each time.": (
            _once
        ),
        "Only one merge is made; go on until no learned pair is left.": lambda word, merges: _merge_all(
            list(word), next((p for p in merges if p in zip(word, word[1:], strict=False)), ("", ""))
        ),
    }
)


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
