"""Batches: packed rows of equal length; conversations, comparisons and labelled texts, padded to the longest.

A source of batches is read by the number of the optimizer step, ``batches[step]``. What a step sees depends on the
seed and the step alone, so a run that was stopped goes on exactly where it was, without replaying what came before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from course_utils.text.chat import Message, encode_answers, encode_chats
from course_utils.text.documents import DataError, show_value
from course_utils.text.special_tokens import PAD_ID, opening_id, padding_id
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORE = -100  # the label that torch.nn.functional.cross_entropy skips
WINDOW = 16  # batches among which conversations are sorted by length


def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    """Labels for instruction tuning.

    input_ids: (batch, length) int64, right-padded; the padding may have the id of a real token, such as eos.
    prompt_lengths, lengths: (batch,) int64, the tokens of each row's prompt and of the row without its padding.
    Returns labels (batch, length): a copy of input_ids with prompt and padding set to -100.
    The shift by one happens inside the loss, not here. Raises ValueError for shapes or lengths that do not fit.
    """
    for name, counts in (("prompt_lengths", prompt_lengths), ("lengths", lengths)):
        if input_ids.dim() != 2 or counts.shape != input_ids.shape[:1]:
            raise ValueError(
                f"input_ids has the shape {tuple(input_ids.shape)} and {name} {tuple(counts.shape)}; "
                "(batch, length) and (batch,) are expected. A single row needs input_ids[None]."
            )
        if ((counts < 0) | (counts > input_ids.shape[1])).any():
            raise ValueError(
                f"{name} is {counts.tolist()}; each is expected from 0 to {input_ids.shape[1]}, "
                "the length of a row. Were the rows cut after their tokens were counted?"
            )
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    # by place, never by id: where padding and end are the same token, `input_ids == pad_id` hides every end
    hidden = (places < prompt_lengths[:, None]) | (places >= lengths[:, None])
    return input_ids.masked_fill(hidden, IGNORE)


def collate(
    examples: Sequence[Mapping[str, Sequence[int]]], pad_id: int = PAD_ID, max_length: int | None = None
) -> dict[str, Tensor]:
    """Pad examples on the right to the longest among them.

    Each example holds ``input_ids`` and may hold ``labels`` of the same length (a copy of the ids, if not).
    Returns input_ids, attention_mask and labels, each (batch, longest) int64; labels are -100 on the padding.
    Raises DataError, naming the row, if a row lacks ``input_ids`` or is longer than ``max_length``.
    """
    if not examples:
        raise DataError("examples is empty; at least one example is expected in a batch.")
    for row, example in enumerate(examples):
        _check_columns(example, ("input_ids",), row)
        _check_length(len(example["input_ids"]), max_length, row)
        if "labels" in example and len(example["labels"]) != len(example["input_ids"]):
            raise DataError(
                f"row {row} has {len(example['input_ids'])} input_ids and {len(example['labels'])} labels; as many "
                "labels as ids are expected: -100 where nothing is to be learned."
            )
    rows = [torch.as_tensor(example["input_ids"], dtype=torch.int64) for example in examples]
    targets = [
        torch.as_tensor(example["labels"], dtype=torch.int64) if "labels" in example else ids
        for example, ids in zip(examples, rows, strict=True)
    ]
    input_ids = pad_sequence(rows, batch_first=True, padding_value=pad_id)
    labels = pad_sequence(targets, batch_first=True, padding_value=IGNORE)
    lengths = torch.tensor([len(ids) for ids in rows])
    attention_mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


class Batches(ABC):
    """Batches read by step. Rows come in passes over the data, each pass shuffled by (seed, number of the pass).

    A batch that reaches the end of a pass takes its last rows from the next one, so every batch is full and no row
    is ever left out. ``len(batches)`` is the number of steps in a pass; steps may go far beyond it.
    """

    tokens_per_step: int

    def __init__(self, row_count: int, batch_size: int, seed: int) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}; 1 or more rows are expected.")
        if row_count < 1:
            raise DataError("there are no rows to take batches from; at least one is expected.")
        self.row_count, self.batch_size, self.seed = row_count, batch_size, seed
        self._order = lru_cache(maxsize=4)(self._shuffled)

    @abstractmethod
    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """The whole batch of optimizer step ``step``, counted from 0."""

    def __len__(self) -> int:
        return -(-self.row_count // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self[step] for step in range(len(self)))

    def rows_of(self, start: int, stop: int) -> np.ndarray:
        """The numbers of the rows at places ``start`` to ``stop`` of the endless, shuffled sequence of rows."""
        if start < 0:
            raise IndexError(f"the step is negative (row {start} of the sequence); steps count from 0.")
        passes = range(start // self.row_count, (stop - 1) // self.row_count + 1)
        first = passes.start * self.row_count
        return np.concatenate([self._order(number) for number in passes])[start - first : stop - first]

    def _shuffled(self, number: int) -> np.ndarray:
        return np.random.default_rng([self.seed, number]).permutation(self.row_count)


class PackedBatches(Batches):
    """Batches of packed rows, for pretraining.

    rows: (n, length) integers, as ``pack`` returns them. ``batches[step]`` holds input_ids and labels, each
    (batch_size, length) int64. The two are equal: the shift by one happens inside the loss.
    """

    def __init__(self, rows: Tensor, batch_size: int, seed: int = 0) -> None:
        if not isinstance(rows, Tensor) or rows.dim() != 2 or rows.is_floating_point():
            given = f"{tuple(rows.shape)} of {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
            raise ValueError(f"rows is {given}; a tensor (rows, length) of integers is expected, as pack() returns it.")
        super().__init__(len(rows), batch_size, seed)
        self.rows = rows
        self.tokens_per_step = batch_size * rows.shape[1]

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        chosen = self.rows_of(step * self.batch_size, (step + 1) * self.batch_size)
        input_ids = self.rows[torch.from_numpy(chosen)].long()
        return {"input_ids": input_ids, "labels": input_ids.clone()}


class ChatBatches(Batches):
    """Batches of conversations, for instruction tuning.

    rows: conversations, each a list of messages or a row with a ``messages`` column (a `datasets.Dataset` will do).
    ``batches[step]`` holds input_ids, attention_mask and labels, each (batch_size, longest) int64, padded on the
    right. Labels are -100 on the padding and, with ``mask_prompt``, on all that the assistant did not say.

    Rows of similar length share a batch: 16 shuffled batches are sorted by length, cut, and shuffled again, so
    little is padded and what a batch holds stays random. ``tokens_per_step`` is the mean without padding.

    Your own functions can take the place of three parts: ``encode`` (messages, tokenizer) -> (ids, answer mask) of one
    conversation; ``labels`` (input_ids (1, n), prompt_lengths (1,), lengths (1,)) -> labels (1, n), for conversations
    of one answer; ``collate`` (examples, pad_id) -> batch, with examples of lists.
    Raises DataError, naming the row, for a missing column, a conversation that is not well formed, or one of more
    than ``max_length`` tokens.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[Message] | Mapping],
        tokenizer: PreTrainedTokenizerFast,
        batch_size: int,
        seed: int = 0,
        max_length: int | None = None,
        mask_prompt: bool = True,
        *,
        encode: Callable[[Sequence[Message], PreTrainedTokenizerFast], tuple[list[int], list[int]]] | None = None,
        labels: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
        collate: Callable[[list[dict[str, list[int]]], int], dict[str, Tensor]] | None = None,
    ) -> None:
        conversations = [_messages(row, number) for number, row in enumerate(rows)]
        super().__init__(len(conversations), batch_size, seed)
        self.examples, self.collate, lengths = [], collate, []
        if encode is None:
            encoded = encode_chats(conversations, tokenizer)
        else:
            encoded = [encode(messages, tokenizer) for messages in conversations]
        for number, (input_ids, answer_mask) in enumerate(encoded):
            _check_length(len(input_ids), max_length, number)
            if mask_prompt and not any(answer_mask):
                raise DataError(
                    f"row {number} has no message of the assistant; there is nothing to learn from it. "
                    "Add the answer, drop the row, or set mask_prompt=False."
                )
            ids, mask = torch.tensor(input_ids), torch.tensor(answer_mask, dtype=torch.bool)
            learned = ids.masked_fill(~mask, IGNORE) if mask_prompt else ids
            if mask_prompt and labels is not None:
                learned = labels(ids[None], mask.int().argmax()[None], torch.tensor([len(ids)]))[0]
            self.examples.append({"input_ids": ids, "labels": learned})
            lengths.append(len(input_ids))
        self.lengths = np.array(lengths)
        self.pad_id = padding_id(tokenizer)
        self.tokens_per_step = round(batch_size * float(self.lengths.mean()))
        self._window = max(1, min(WINDOW, len(conversations) // batch_size))  # a window never repeats a small data set
        self._batches_of = lru_cache(maxsize=2)(self._cut_window)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        window, place = divmod(step, self._window)
        examples = [self.examples[row] for row in self._batches_of(window)[place]]
        if self.collate is None:
            return collate(examples, self.pad_id)
        return self.collate([{name: t.tolist() for name, t in example.items()} for example in examples], self.pad_id)

    def _cut_window(self, window: int) -> np.ndarray:
        size = self._window * self.batch_size
        rows = self.rows_of(window * size, (window + 1) * size)
        rows = rows[np.argsort(self.lengths[rows], kind="stable")].reshape(self._window, self.batch_size)
        return rows[np.random.default_rng([self.seed, window, 1]).permutation(self._window)]


class PairBatches(Batches):
    """Batches of comparisons, for a reward model.

    pairs: rows with ``prompt``, ``chosen`` and ``rejected``. ``batches[step]`` holds input_ids and attention_mask, each
    (batch_size, 2, longest) int64, padded on the right: the chosen answer stands before the rejected one.
    ``ids`` are the token ids of all answers in that order; ``tokens_per_step`` is the mean without padding.
    Raises ValueError, naming the pair, for one that lacks a column or is longer than ``max_length`` tokens, and for
    fewer pairs than fill a batch.
    """

    def __init__(
        self,
        pairs: Sequence[Mapping[str, Any]],
        tokenizer: PreTrainedTokenizerFast,
        batch_size: int,
        seed: int = 0,
        max_length: int | None = None,
    ) -> None:
        pairs = list(pairs)
        for number, pair in enumerate(pairs):
            missing = [name for name in ("prompt", "chosen", "rejected") if name not in pair]
            if missing:
                raise ValueError(
                    f"pair {number} has no {' and no '.join(missing)}; a comparison needs prompt, chosen and rejected."
                )
        super().__init__(len(pairs), batch_size, seed)
        if len(pairs) < batch_size:
            raise ValueError(f"{len(pairs)} pairs do not fill a batch of {batch_size}; give more or a smaller batch.")
        texts = [(pair["prompt"], pair[side]) for pair in pairs for side in ("chosen", "rejected")]
        self.ids = encode_answers(texts, tokenizer)
        lengths = [len(ids) for ids in self.ids]
        longest = lengths.index(max(lengths))
        if max_length is not None and lengths[longest] > max_length:
            raise ValueError(
                f"pair {longest // 2} has {lengths[longest]} tokens; at most {max_length} fit. Shorten it."
            )
        self.pad_id = padding_id(tokenizer)
        self.tokens_per_step = round(batch_size * sum(lengths) / len(pairs))

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return self.batch(self.rows_of(step * self.batch_size, (step + 1) * self.batch_size))

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """These pairs as a batch, padded on the right to the longest."""
        return self._padded([self.ids[2 * row + side] for row in rows for side in (0, 1)])

    def _padded(self, texts: Sequence[list[int]]) -> dict[str, Tensor]:
        padded = collate([{"input_ids": ids} for ids in texts], self.pad_id)
        return {name: padded[name].view(len(texts) // 2, 2, -1) for name in ("input_ids", "attention_mask")}


class LabelledBatches(Batches):
    """Batches of labelled texts, for a classifier.

    texts: strings, each read after the token that opens a text. labels: whole numbers from 0, one per text.
    ``batches[step]`` holds input_ids and attention_mask, (batch_size, longest) int64, padded on the right, and labels
    (batch_size,). ``ids`` are the token ids of all texts; ``tokens_per_step`` is the mean without padding.
    Raises ValueError if there are not as many labels as texts.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        tokenizer: PreTrainedTokenizerFast,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        if len(texts) != len(labels):
            raise ValueError(f"{len(texts)} texts and {len(labels)} labels were given; each text has one label.")
        super().__init__(len(texts), batch_size, seed)
        self.ids = [[opening_id(tokenizer), *ids] for ids in encode_plain(list(texts), tokenizer)]
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        self.pad_id = padding_id(tokenizer)
        self.tokens_per_step = round(batch_size * sum(map(len, self.ids)) / len(self.ids))

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return self.batch(self.rows_of(step * self.batch_size, (step + 1) * self.batch_size))

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """These rows as a batch, padded on the right to the longest."""
        padded = collate([{"input_ids": self.ids[row]} for row in rows], self.pad_id)
        return {
            "input_ids": padded["input_ids"],
            "attention_mask": padded["attention_mask"],
            "labels": self.labels[torch.as_tensor(rows)],
        }


def _messages(row: Sequence[Message] | Mapping, number: int) -> Sequence[Message]:
    if isinstance(row, Mapping):
        _check_columns(row, ("messages",), number)
        return row["messages"]
    return row


def _check_columns(row: Mapping, needed: Sequence[str], number: int) -> None:
    if not isinstance(row, Mapping):
        raise DataError(f"row {number} is {show_value(row)}; a dict with {', '.join(needed)} is expected.")
    missing = [name for name in needed if row.get(name) is None]
    if missing:
        raise DataError(
            f"row {number} has no {' and no '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, row)) or 'none'}. Rename or add the column, or drop the row."
        )


def _check_length(length: int, max_length: int | None, row: int) -> None:
    if length == 0:
        raise DataError(f"row {row} has no tokens; at least one is expected. Drop the row.")
    if max_length is not None and length > max_length:
        raise DataError(
            f"row {row} is {length} tokens long; at most {max_length} are expected, the context of the model. "
            "Shorten or drop the row, or use a model with a longer context."
        )
