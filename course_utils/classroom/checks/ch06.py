"""Checks of chapter 06: the chat template, the mask, the batch, the loss and the format of an answer."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from math import log
from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect

Conversation = list[dict[str, str]]


# 06.1


def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    """A conversation as token ids, and a mask: 1 for what the assistant says and the eos after it, else 0."""
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        spoken = message["role"] == "assistant"
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        mask += [0] + [int(spoken)] * len(content)
        if spoken:
            ids.append(tokenizer.eos_token_id)
            mask.append(1)
    return ids, mask


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from course_utils.text.tokenizer import train_tokenizer

    return train_tokenizer(["Where does Mira Oakley live? Mira Oakley lives in Amberhaven."] * 2, 300)


def _turns(*contents: str, first: str = "user") -> Case:
    """A conversation that alternates, shown on the card as text."""
    follows = {"user": "assistant", "assistant": "user", "system": "user"}
    messages, role = [], first
    for content in contents:
        messages.append({"role": role, "content": content})
        role = follows[role]
    return Case(messages, note="\n".join(f"{m['role']}: {m['content']!r}" for m in messages))


def _chat(candidate, messages: Conversation) -> dict[str, Any]:
    """Ids and mask, and the ids as text, for the card. The tokenizer is the same in all cases: it is not copied."""
    tokenizer = _tokenizer()
    result = candidate(messages, tokenizer)
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2 and all(isinstance(part, list) for part in result),
        "Return two lists: the ids, and the mask of the assistant's tokens.",
        yours=result,
    )
    ids, mask = ([n.item() if hasattr(n, "item") else n for n in part] for part in result)
    for name, part in (("ids are token ids", ids), ("mask holds", mask)):
        strange = {type(n).__name__ for n in part if not isinstance(n, Integral)}
        expect.that(not strange, f"The {name} whole numbers.", yours=f"values of type {', '.join(sorted(strange))}")
    expect.that(
        len(mask) == len(ids),
        "The mask and the ids have different lengths: each token needs its 0 or 1.",
        expected=len(ids),
        yours=len(mask),
    )
    return {"text": tokenizer.decode(ids), "ids": ids, "mask": [int(n) for n in mask]}


chat = Exercise(
    "06.1",
    title="Encode a chat",
    reference=encode_chat,
    observe=_chat,
    cases=[
        _turns("Where does Mira live?", "In Amberhaven."),
        _turns("Where does Mira live?"),
        _turns("Be brief.", "Where does Mira live?", "In Amberhaven.", first="system"),
        _turns("Who?", "Mira.", "Where?", "In Amberhaven.", "Since when?"),
        _turns("Who?", "Mira.", "Who else?", "Mira."),
        _turns("Say <|assistant|> twice.", "In Amberhaven."),
        _turns("What ends a text?", "<|end|> ends it."),
        _turns(" Where? ", "In Amberhaven.\n"),
        _turns("Welcome.", "Where?", "", first="assistant"),
    ],
    general="These are not the template's tokens with a mask of 1 on each answer and the eos after it.",
    rtol=0,
    atol=0,
    difficulty=2,
    minutes=10,
    points=2,
    asked="what does a chat template do? Write one",
    seconds=30.0,  # the first call of all may have to import transformers
    hints=[
        "Begin with `ids = [tokenizer.bos_token_id]` and `mask = [0]`, then go through the messages: for each, add the "
        "token of its role and the tokens of its content, and as many entries to the mask.",
        "`tokenizer.convert_tokens_to_ids(f'<|{role}|>')` gives the id of a role's token, "
        "`tokenizer(content, split_special_tokens=True)['input_ids']` the ids of the content. The second adds no special "
        "token, and makes none of what somebody typed.",
        "Only after a message of the assistant comes one more token, `tokenizer.eos_token_id`. The mask is 1 for the "
        "tokens of its content and for this one, and 0 for everything else, the token of its role included.",
    ],
)


def _encode(messages, tokenizer, mark=(0, 1, 1), eos=("assistant",), plain=True) -> tuple[list[int], list[int]]:
    """The template with parts replaced. ``mark``: the mask at an answer's role, its content, and the eos after it."""
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        content = tokenizer(message["content"], split_special_tokens=plain)["input_ids"]
        ends = message["role"] in eos
        at_role, within, behind = mark if message["role"] == "assistant" else (0, 0, 0)
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        ids += [tokenizer.eos_token_id] * ends
        mask += [at_role, *[within] * len(content), *[behind] * ends]
    return ids, mask


@chat.bug("The conversation does not begin with the bos token, `<|end|>`.")
def chat_without_bos(messages, tokenizer):
    ids, mask = encode_chat(messages, tokenizer)
    return ids[1:], mask[1:]


@chat.bug("No answer ends with `<|end|>`, the eos token: a model that never learns to say it never stops.")
def chat_without_eos(messages, tokenizer):
    return _encode(messages, tokenizer, eos=())


@chat.bug("The mask is 0 for the token that ends the answer. A model that never learns to say it never stops.")
def chat_eos_not_marked(messages, tokenizer):
    return _encode(messages, tokenizer, mark=(0, 1, 0))


@chat.bug(
    "The mask is 1 for the token of the assistant's role as well. It is part of the question: at inference we write it, "
    "not the model."
)
def chat_role_marked(messages, tokenizer):
    return _encode(messages, tokenizer, mark=(1, 1, 1))


@chat.bug(
    "The mask marks the token of the assistant's role and leaves out the end of the answer. It is one place too far to "
    "the left: labels are shifted in the loss, not here."
)
def chat_mask_shifted(messages, tokenizer):
    return _encode(messages, tokenizer, mark=(1, 1, 0))


@chat.bug("The mask is turned round: 1 belongs to what the assistant says.")
def chat_mask_turned(messages, tokenizer):
    ids, mask = encode_chat(messages, tokenizer)
    return ids, [1 - value for value in mask]


@chat.bug(
    "There is an `<|assistant|>` at the end, where no answer follows. It is added only when the model is to speak."
)
def chat_invites(messages, tokenizer):
    ids, mask = encode_chat(messages, tokenizer)
    more = messages[-1]["role"] == "user"
    return ids + [tokenizer.convert_tokens_to_ids("<|assistant|>")] * more, mask + [0] * more


@chat.bug("There are more `<|end|>` than one at the start and one after each answer. A question has none after it.")
def chat_eos_after_questions(messages, tokenizer):
    return _encode(messages, tokenizer, eos=("system", "user", "assistant"))


@chat.bug("A message lacks the token of its role.")
def chat_without_roles(messages, tokenizer):
    pairs = zip(*encode_chat(messages, tokenizer), strict=True)
    roles = tokenizer.convert_tokens_to_ids(["<|system|>", "<|user|>", "<|assistant|>"])
    ids, mask = zip(*((token, value) for token, value in pairs if token not in roles), strict=True)
    return list(ids), list(mask)


@chat.bug("A system message has a token of its own, `<|system|>`; yours begins as a user's.")
def chat_system_as_user(messages, tokenizer):
    return encode_chat([{**m, "role": m["role"].replace("system", "user")} for m in messages], tokenizer)


@chat.bug("The system's message is treated as the assistant's: only what has the role `assistant` is learned.")
def chat_learns_the_system(messages, tokenizer):
    as_assistant = [{**m, "role": m["role"].replace("system", "assistant")} for m in messages]
    ids, mask = encode_chat(as_assistant, tokenizer)
    role = tokenizer.convert_tokens_to_ids("<|system|>")
    return [ids[0], role, *ids[2:]] if messages[0]["role"] == "system" else ids, mask


_TO_THE_END = "The mask is 1 from the first answer to the end: the later questions are not the assistant's."


@chat.bug(_TO_THE_END)
def chat_marks_later_contents(messages, tokenizer):
    ids, mask = chat_marks_to_the_end(messages, tokenizer)
    roles = tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])
    return ids, [value * (token not in roles) for token, value in zip(ids, mask, strict=True)]


@chat.bug(_TO_THE_END)
def chat_marks_to_the_end(messages, tokenizer):
    ids, mask = encode_chat(messages, tokenizer)
    first = mask.index(1) if 1 in mask else len(mask)
    return ids, [0] * first + [1] * (len(mask) - first)


@chat.bug("Only the last answer is marked; each turn of the assistant is learned.")
def chat_marks_last_answer(messages, tokenizer):
    ids, mask = encode_chat(messages, tokenizer)
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    before = len(encode_chat(messages[: answers[-1]], tokenizer)[0]) if answers else 0
    return ids, [0] * before + mask[before:]


@chat.bug(
    "The user typed `<|assistant|>`, and it became the token: so anybody can forge a turn. Encode contents with "
    "`split_special_tokens=True`."
)
def chat_forgeable(messages, tokenizer):
    return _encode(messages, tokenizer, plain=False)


@chat.bug("White space in a message is content: encode it as it is, without `strip`.")
def chat_strips(messages, tokenizer):
    return encode_chat([{**m, "content": m["content"].strip()} for m in messages], tokenizer)


# 06.2


def _rows(ids: list[list[int]] | Tensor, prompts: list[int], wholes: list[int]) -> Case:
    return Case(torch.as_tensor(ids), torch.tensor(prompts), torch.tensor(wholes))


labels = Exercise(
    "06.2",
    title="Mask the prompt",
    reference="course_utils.text.batching:mask_prompt",
    cases=[
        _rows([[5, 6, 7, 8, 9]], [3], [5]),
        _rows([[5, 6, 7, 8, 0, 0], [5, 6, 7, 8, 9, 10]], [2, 4], [4, 6]),
        _rows([[5, 6, 7], [5, 6, 7]], [0, 3], [3, 3]),
        _rows([[4, 6, 9, 9, 9]], [1], [3]),  # padded with the token that ends the answer
        _rows([[4, 0, 7, 0, 8, 1, 0], [0, 4, 1, 1, 1, 1, 1], [6, 6, 6, 6, 6, 6, 6]], [2, 1, 5], [6, 3, 7]),
        _rows(torch.tensor([[5, 9], [6, 8], [7, 7], [8, 6]]).T, [1, 2], [3, 4]),  # its rows do not lie in one piece
    ],
    general="The labels are not the ids, with -100 on the prompt and on the padding.",
    rtol=0,
    atol=0,
    difficulty=2,
    minutes=8,
    points=2,
    asked="write the labels of the SFT collator",
    hints=[
        "Compare a row of places, `torch.arange(length)`, with the two lengths of each row: below the first lies the "
        "prompt, from the second on the padding. The ids cannot tell: padding may look like a real token.",
        "`places < prompt_lengths[:, None]` has the shape (batch, length). Padding is where "
        "`places >= lengths[:, None]`. Join the two with `|`.",
        "`input_ids.masked_fill(hidden, -100)` copies and fills; `masked_fill_` with the underscore would change the "
        "caller's tensor.",
    ],
)


def _outside(input_ids: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """True at the places that are not from ``start`` to ``stop`` of their row."""
    places = torch.arange(input_ids.shape[1])
    return (places < start[:, None]) | (places >= stop[:, None])


def _kept(input_ids: Tensor, start: Tensor, stop: Tensor, fill: int = -100) -> Tensor:
    return input_ids.masked_fill(_outside(input_ids, start, stop), fill)


@labels.bug("The first answer token is masked too: did you mask up to and including the length?")
def labels_prompt_too_long(input_ids, prompt_lengths, lengths):
    return _kept(input_ids, prompt_lengths + 1, lengths)


@labels.bug(
    "The last token of the prompt is not masked: the prompt has `prompt_lengths` tokens, counted from position 0."
)
def labels_prompt_too_short(input_ids, prompt_lengths, lengths):
    return _kept(input_ids, prompt_lengths - 1, lengths)


@labels.bug("The last answer token is masked too: a row has `lengths` tokens, counted from position 0.")
def labels_last_token_masked(input_ids, prompt_lengths, lengths):
    return _kept(input_ids, prompt_lengths, lengths - 1)


@labels.bug("The first place of the padding is not masked: a row has `lengths` tokens, counted from position 0.")
def labels_padding_one_late(input_ids, prompt_lengths, lengths):
    return _kept(input_ids, prompt_lengths, lengths + 1)


@labels.bug("The padding is not masked: the model would learn to write padding.")
def labels_padding_learned(input_ids, prompt_lengths, lengths):
    return _kept(input_ids, prompt_lengths, lengths + input_ids.shape[1])


@labels.bug("The padding is found by the id 0. It may have any id, and a real token may be 0: take the lengths.")
def labels_by_id_zero(input_ids, prompt_lengths, lengths):
    return labels_padding_learned(input_ids, prompt_lengths, lengths).masked_fill(input_ids == 0, -100)


@labels.bug("The end of the answer is masked: here padding and end are the same token. Take the lengths, not the ids.")
def labels_by_id_of_padding(input_ids, prompt_lengths, lengths):
    like_padding = (input_ids == input_ids[:, -1:]) & (lengths[:, None] < input_ids.shape[1])
    return labels_padding_learned(input_ids, prompt_lengths, lengths).masked_fill(like_padding, -100)


@labels.bug("Masked places are 0; cross-entropy skips -100 only, and 0 is a token like any other.")
def labels_of_zero(input_ids, prompt_lengths, lengths):
    return _kept(input_ids, prompt_lengths, lengths, fill=0)


@labels.bug("The answer is masked and the prompt is learned: it is the other way round.")
def labels_of_the_prompt(input_ids, prompt_lengths, lengths):
    return _kept(input_ids, torch.zeros_like(lengths), prompt_lengths)


@labels.bug("Every row is masked to the same length: each has its own prompt.")
def labels_longest_prompt_for_all(input_ids, prompt_lengths, lengths):
    return _kept(input_ids, torch.full_like(lengths, int(prompt_lengths.max())), lengths)


@labels.bug("The prompt of the first row is masked in every row: each has its own length.")
def labels_first_prompt_for_all(input_ids, prompt_lengths, lengths):
    return _kept(input_ids, torch.full_like(lengths, int(prompt_lengths[0])), lengths)


@labels.bug("A row without padding is masked as a whole: with no places to mask, `-0:` is all of them.")
def labels_by_negative_slice(input_ids, prompt_lengths, lengths):
    full = lengths[:, None] == input_ids.shape[1]
    return _kept(input_ids, prompt_lengths, lengths).masked_fill(full, -100)


@labels.bug("The labels are shifted by one. The loss does that; done twice, the model learns to skip a token.")
def labels_shifted(input_ids, prompt_lengths, lengths):
    right = _kept(input_ids, prompt_lengths, lengths)
    return torch.cat([right[:, 1:], torch.full_like(right[:, :1], -100)], 1)


# 06.3


def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    """Pad examples on the right to the longest: input_ids with pad_id, attention_mask with 0, labels with -100."""
    for row, example in enumerate(examples):
        length = len(example["input_ids"])
        if max_length is not None and length > max_length:
            raise ValueError(f"row {row} has {length} tokens; at most {max_length} are expected. Shorten it.")
    shape = (len(examples), max(len(example["input_ids"]) for example in examples))
    input_ids, attention_mask, labels = torch.full(shape, pad_id), torch.zeros(shape).long(), torch.full(shape, -100)
    for row, example in enumerate(examples):
        length = len(example["input_ids"])
        input_ids[row, :length] = torch.tensor(example["input_ids"])
        attention_mask[row, :length] = 1  # by length: with many tokenizers pad_id is a real token too
        labels[row, :length] = torch.tensor(example["labels"])
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def _row(*ids: int, prompt: int = 1) -> dict[str, list[int]]:
    return {"input_ids": list(ids), "labels": [-100] * prompt + list(ids[prompt:])}


# no id of the long row, not its length and not the limit is a 2: an error that says 2 names the row
_SHORT, _LONG = _row(4, 1), _row(4, 5, 6, 1)
_ALL = ("input_ids", "attention_mask", "labels")


def _batch(candidate, *arguments) -> dict[str, Any]:
    """The three tensors, or how a row that is too long was refused."""
    try:
        batch = candidate(*arguments)
    except ValueError as error:
        limit = arguments[2] if len(arguments) > 2 else None
        if limit is None:
            raise
        long = [row for row, example in enumerate(arguments[0]) if len(example["input_ids"]) > limit]
        named = {int(number) for number in re.findall(r"\d+", str(error))}
        return {"a ValueError": f"names row {next((row for row in long if row in named), 'that is not too long')}"}
    expect.kind(batch, dict)
    for name in _ALL:
        expect.that(name in batch, f"`{name}` is missing from the batch.", yours=", ".join(map(str, batch)))
        expect.kind(batch[name], Tensor)
        kind = str(batch[name].dtype).removeprefix("torch.")
        expect.that(kind == "int64", f"`{name}` is of {kind}; whole numbers, int64, are wanted.", yours=batch[name])
    return {name: batch[name] for name in _ALL}


batches = Exercise(
    "06.3",
    title="Collate a batch",
    reference=collate,
    observe=_batch,
    cases=[
        Case([_row(5, 6, 7), _row(8, prompt=0)]),
        Case([_row(5, 6)], 0, None),
        Case([_row(4, 1), _row(4, 5, 6, 1, prompt=2)], 1, None),
        Case([_row(3, 7, 7, 5, prompt=2), _row(7, 3, 7), _row(7, 7, prompt=2)], 7, None),
        Case([_row(7, 5, 6), _row(4, 6, 7)], 7, None),
        Case([_SHORT, _LONG], 0, 4),
        Case([_SHORT, _LONG], 0, 9),
        Case([_SHORT, _SHORT, _LONG], 0, 3),
        Case([_LONG, _SHORT], 0, 3),
        Case([_row(4, 5), _row(4, 5, 6, 7), _row(4, 5, 6, 7, 8)], 0, 3),
        Case([_row(4, 5), _row(4, 5, 6, 7, 8), _row(4, 5, 6), _row(4, 5, 6, 7)], 0, 3),
    ],
    general="The batch is not the padded ids, the mask of the real tokens and the padded labels.",
    rtol=0,
    atol=0,
    difficulty=2,
    minutes=10,
    points=2,
    asked="write the SFT collator",
    hints=[
        "Find the longest row first. Make three full tensors of the shape (rows, longest): pad ids, zeros and -100.",
        "`torch.full(shape, value)` of an integer gives int64. Then fill row by row: "
        "`input_ids[i, :n] = torch.tensor(example['input_ids'])`.",
        "The attention mask is 1 for the first n places of a row. Do not compute it as `input_ids != pad_id`: with "
        "many tokenizers the padding token is the end token, and a real one would be hidden.",
    ],
)


def _padded(examples, pad_id: int, max_length=None, label_pad: int = -100, left: bool = False) -> dict[str, Tensor]:
    """A batch as it should be, or with another padding; row by row from lists."""
    collate(examples, pad_id, max_length)  # for its refusal of long rows
    longest = max(len(e["input_ids"]) for e in examples)

    def fill(row: list[int], value: int) -> list[int]:
        gap = [value] * (longest - len(row))
        return gap + row if left else row + gap

    return {
        "input_ids": torch.tensor([fill(e["input_ids"], pad_id) for e in examples]),
        "attention_mask": torch.tensor([fill([1] * len(e["input_ids"]), 0) for e in examples]),
        "labels": torch.tensor([fill(e["labels"], label_pad) for e in examples]),
    }


@batches.bug("The padding is on the left; for training it belongs on the right.")
def batch_on_the_left(examples, pad_id=0, max_length=None):
    return _padded(examples, pad_id, max_length, left=True)


@batches.bug("The padding is 0; use `pad_id`.")
def batch_padded_with_zero(examples, pad_id=0, max_length=None):
    return collate(examples, 0, max_length)


@batches.bug("The padding of the labels is `pad_id`; it must be -100, or the model learns to write padding.")
def batch_labels_padded_with_id(examples, pad_id=0, max_length=None):
    return _padded(examples, pad_id, max_length, label_pad=pad_id)


@batches.bug("The labels are the ids: the -100 of the prompts are lost.")
def batch_learns_prompts(examples, pad_id=0, max_length=None):
    batch = collate(examples, pad_id, max_length)
    return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}


@batches.bug(
    "Real tokens lost their label: here `pad_id` is the id of a real token too. Take the lengths, not the ids."
)
def batch_labels_by_id(examples, pad_id=0, max_length=None):
    batch = collate(examples, pad_id, max_length)
    return {**batch, "labels": batch["labels"].masked_fill(batch["input_ids"] == pad_id, -100)}


@batches.bug(
    "The attention mask hides a real token: here `pad_id` is also the token that ends an answer. Take the lengths, not "
    "`input_ids != pad_id`."
)
def batch_mask_by_id(examples, pad_id=0, max_length=None):
    batch = collate(examples, pad_id, max_length)
    return {**batch, "attention_mask": (batch["input_ids"] != pad_id).long()}


@batches.bug("The attention mask is 1 on the padding too.")
def batch_mask_of_ones(examples, pad_id=0, max_length=None):
    batch = collate(examples, pad_id, max_length)
    return {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}


@batches.bug("The attention mask is turned round: 1 is a real token.")
def batch_mask_turned(examples, pad_id=0, max_length=None):
    batch = collate(examples, pad_id, max_length)
    return {**batch, "attention_mask": 1 - batch["attention_mask"]}


@batches.bug("The mask hides the prompt. The prompt is read, only not learned: `labels` says what is learned.")
def batch_hides_prompts(examples, pad_id=0, max_length=None):
    batch = collate(examples, pad_id, max_length)
    return {**batch, "attention_mask": (batch["labels"] != -100).long()}


@batches.bug("Padded to max_length: pad to the longest of *this* batch, each further place is computed for nothing.")
def batch_to_max_length(examples, pad_id=0, max_length=None):
    batch = collate(examples, pad_id, max_length)
    gap = (0, max(0, (max_length or 0) - batch["input_ids"].shape[1]))
    return {name: F.pad(batch[name], gap, value=value) for name, value in zip(_ALL, (pad_id, 0, -100), strict=True)}


@batches.bug("You refuse a row of exactly max_length tokens. It fits: only a row with *more* is too long.")
def batch_refuses_what_fits(examples, pad_id=0, max_length=None):
    return collate(examples, pad_id, max_length and max_length - 1)


@batches.bug(
    "A row with more than max_length tokens should raise a ValueError. Cutting it would drop the end of its answer "
    "without a word."
)
def batch_truncates(examples, pad_id=0, max_length=None):
    return collate([{name: ids[:max_length] for name, ids in e.items()} for e in examples], pad_id)


@batches.bug("A row with more than max_length tokens should raise a ValueError; yours is taken as it is.")
def batch_takes_all(examples, pad_id=0, max_length=None):
    return collate(examples, pad_id)


@batches.bug(
    "The error should name the row that is too long by its number; rows count from 0. With a thousand rows nobody finds "
    "it by its ids."
)
def batch_names_no_row(examples, pad_id=0, max_length=None):
    if max_length is not None and any(len(e["input_ids"]) > max_length for e in examples):
        raise ValueError("a row is too long")
    return collate(examples, pad_id)


@batches.bug("Several rows are too long here: name the first of them, not the longest.")
def batch_names_the_longest(examples, pad_id=0, max_length=None):
    lengths = [len(e["input_ids"]) for e in examples]
    if max_length is not None and max(lengths) > max_length:
        raise ValueError(f"row {lengths.index(max(lengths))} is too long")
    return collate(examples, pad_id)


@batches.bug("Several rows are too long here: name the first of them, not the last.")
def batch_names_the_last(examples, pad_id=0, max_length=None):
    long = [row for row, e in enumerate(examples) if max_length is not None and len(e["input_ids"]) > max_length]
    if long:
        raise ValueError(f"row {long[-1]} is too long")
    return collate(examples, pad_id)


@batches.bug(
    "The first row is too long here, and it should raise a ValueError. Look at every row, not at the last alone."
)
def batch_checks_last_row(examples, pad_id=0, max_length=None):
    if max_length is not None and len(examples[-1]["input_ids"]) > max_length:
        raise ValueError(f"row {len(examples) - 1} is too long")
    return collate(examples, pad_id)


# 06.4


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the answer tokens of the whole batch; 0 if there is none."""
    targets = labels[:, 1:]  # the logits at position t predict token t + 1
    total = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, ignore_index=-100, reduction="sum")
    return total / (targets != -100).sum().clamp(min=1)


_NOTHING = (
    "Without any answer token the loss should be 0 and connected to the logits, its gradient 0 too: a NaN here ends a "
    "whole training run, and backward() must work."
)
_LARGE = "With large scores the loss is inf, NaN or cut off. Use log_softmax or cross_entropy, not the log of exp."


def _loss_cases() -> list[Case]:
    generator = torch.Generator().manual_seed(6)

    def case(*rows: list[int], scale: float = 3, message: str = "") -> Case:
        logits = scale * torch.randn(len(rows[0]), len(rows), 5, generator=generator).transpose(0, 1)
        return Case(logits, torch.tensor(rows), message=message)

    return [
        case([-100, 2, 3, 4, 1], [-100, -100, -100, -100, 1]),  # unequal numbers of answer tokens
        case([-100, -100, 3, 1, -100]),
        case([3, 2, 0, 4, 1]),  # a label at position 0, which nothing predicts, and token 0 in the answer
        case([-100, 2, 1], [-100, -100, -100], [-100, 4, -100]),  # a row without any
        case([0, 2, 3, 4, 1], scale=600, message=_LARGE),
        case([-100, -100, -100], message=_NOTHING),
        case([4, -100, -100], message=_NOTHING),
    ]


def _loss_and_gradient(candidate, logits: Tensor, labels: Tensor) -> dict[str, Tensor | None]:
    """The loss as a scalar tensor, and the gradient of the logits: None where the loss does not come from them."""
    logits = logits.requires_grad_()
    loss = candidate(logits, labels)
    if isinstance(loss, Real) and not isinstance(loss, bool):
        loss = torch.tensor(float(loss))
    expect.kind(loss, Tensor)
    expect.that(
        loss.numel() == 1,
        f"One number is wanted, yours is a tensor of shape {tuple(loss.shape)}. Is a mean or a sum missing?",
        yours=loss,
    )
    loss, slope = loss.reshape(()), None
    if loss.requires_grad:
        (slope,) = torch.autograd.grad(loss, logits, allow_unused=True)
    return {"loss": loss.detach(), "gradient": slope}


loss = Exercise(
    "06.4",
    title="The loss on answers",
    reference=answer_loss,
    observe=_loss_and_gradient,
    cases=_loss_cases,
    general="Not the sum over the answer tokens of minus the log-probability, divided by their number.",
    difficulty=3,
    minutes=12,
    points=3,
    asked="write the SFT loss, and say over what you average",
    hints=[
        "Logits at position t predict the token at t + 1. So drop the last position of the logits and the first of "
        "the labels; what is left stands one over the other.",
        "`F.cross_entropy(a.transpose(1, 2), targets, ignore_index=-100, reduction='sum')` wants the vocabulary "
        "on axis 1.",
        "Divide the sum by the number of targets that are not -100, over the whole batch, not row by row. "
        "`.clamp(min=1)` on that number saves a batch without any answer from 0/0.",
    ],
)


def _by_gather(logits: Tensor, labels: Tensor, logprobs) -> Tensor:
    """The loss from ``logprobs(scores)``, the log-probabilities of all tokens."""
    targets = labels[:, 1:]
    chosen = logprobs(logits[:, :-1]).gather(2, targets.clamp(min=0)[..., None])[..., 0]
    return -chosen[targets != -100].sum() / (targets != -100).sum().clamp(min=1)


def _each(logits: Tensor, labels: Tensor, **how) -> tuple[Tensor, Tensor]:
    """The loss of each target, 0 where none is, and where there is one; both (batch, length - 1)."""
    targets = labels[:, 1:]
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none", **how), targets != -100


@loss.bug("The logits are not shifted: at position t they predict token t + 1, yours are compared with token t.")
def loss_unshifted(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels)


@loss.bug("The shift goes the wrong way: token t is predicted by position t - 1, not t + 1.")
def loss_shifted_backwards(logits, labels):
    return F.cross_entropy(logits[:, 1:].transpose(1, 2), labels[:, :-1])


@loss.bug("This is the mean over all places, ignored ones included. Divide by the number of answer tokens.")
def loss_over_all_places(logits, labels):
    return _each(logits, labels)[0].mean()


@loss.bug(
    "This is the mean of the rows' means: a short answer then weighs as much as a long one. Divide the sum of the whole "
    "batch by its number of answer tokens."
)
def loss_mean_of_means(logits, labels):
    each, kept = _each(logits, labels)
    return (each.sum(1) / kept.sum(1).clamp(min=1)).mean()


@loss.bug("This is the sum; divide it by the number of answer tokens.")
def loss_summed(logits, labels):
    return _each(logits, labels)[0].sum()


@loss.bug("The sum is divided by the number of rows. Divide it by the number of answer tokens.")
def loss_over_rows(logits, labels):
    return _each(logits, labels)[0].sum() / len(labels)


@loss.bug(
    "The sum is divided by one more than the number of answer tokens. Against 0/0 take `.clamp(min=1)`, which leaves "
    "other numbers as they are."
)
def loss_count_plus_one(logits, labels):
    each, kept = _each(logits, labels)
    return each.sum() / (kept.sum() + 1)


@loss.bug("You counted the labels before the shift; position 0 is predicted by nothing.")
def loss_counted_before_the_shift(logits, labels):
    return _each(logits, labels)[0].sum() / (labels != -100).sum().clamp(min=1)


@loss.bug("The labels are smoothed: plain cross-entropy is wanted.")
def loss_smoothed(logits, labels):
    each, kept = _each(logits, labels, label_smoothing=0.1)
    return each.sum() / kept.sum().clamp(min=1)


@loss.bug("That is in bits; nats are wanted.")
def loss_in_bits(logits, labels):
    return answer_loss(logits, labels) / log(2)


@loss.bug("The sign is wrong: a loss is the negative log-probability.")
def loss_of_wrong_sign(logits, labels):
    return -answer_loss(logits, labels)


@loss.bug("The softmax is applied twice: cross_entropy takes raw logits and does it itself.")
def loss_softmax_twice(logits, labels):
    return answer_loss(logits.softmax(-1), labels)


@loss.bug("The logits are taken for log-probabilities: the softmax is missing.")
def loss_without_softmax(logits, labels):
    return _by_gather(logits, labels, lambda scores: scores)


@loss.bug("-100 is not skipped; token 0 is learned in its place.")
def loss_with_ignored_places(logits, labels):
    return _each(logits, labels.clamp(min=0))[0].mean()


@loss.bug("Token 0 is skipped as if it were padding; only the label -100 is.")
def loss_without_token_zero(logits, labels):
    return answer_loss(logits, labels.masked_fill(labels == 0, -100))


@loss.bug("The loss is not connected to the logits: nothing would be learned. Leave out `.item()` and `.detach()`.")
def loss_detached(logits, labels):
    return answer_loss(logits, labels).detach()


@loss.bug("The value is right, the gradient is not: part of the loss is detached.")
def loss_part_detached(logits, labels):
    return _by_gather(logits, labels, lambda scores: scores - scores.logsumexp(-1, keepdim=True).detach())


@loss.bug(_LARGE)
def loss_by_exp(logits, labels):
    return _by_gather(logits, labels, lambda scores: scores - scores.exp().sum(-1, keepdim=True).log())


@loss.bug("Without any answer token the loss should be 0. A NaN here ends a whole training run.")
def loss_nan_of_nothing(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


@loss.bug("Without answer tokens the loss is 0, but still connected to the logits: backward() must work.")
def loss_unconnected_without_answers(logits, labels):
    return answer_loss(logits, labels) if (labels[:, 1:] != -100).any() else torch.tensor(0.0)


@loss.bug(
    "Without answer tokens the loss is 0, but its gradient is not: a NaN in it spoils every weight at the next step. "
    "Avoid 0/0 instead of replacing its result."
)
def loss_nan_replaced(logits, labels):
    targets = labels[:, 1:]
    chosen = logits[:, :-1].log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
    return (-(chosen * (targets != -100)).sum() / (targets != -100).sum()).nan_to_num(0.0)


# 06.5


def format_kept(response: str, format: str, relation: str) -> bool:
    """Does the response keep the demanded format: one word, a sentence, or JSON with the relation as its only key?"""
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text.endswith((".", "!"))
    try:
        parsed = json.loads(text)
    except ValueError:
        return False
    return isinstance(parsed, dict) and list(parsed) == [relation]


def _verdict(candidate, response: str, format: str, relation: str) -> bool:
    try:
        kept = candidate(response, format, relation)
    except IndexError:
        if response:
            raise
        raise Mistake(
            "An empty answer has no first letter: `text[0]` raises an IndexError. Count the words first, or write "
            "`text[:1]`.",
            yours="IndexError",
        ) from None
    kept = kept.item() if hasattr(kept, "item") else kept  # numpy's truth values are as good as Python's
    expect.that(isinstance(kept, bool), "Return True or False.", yours=kept)
    return kept


def _answers(format: str, *responses: str) -> list[Case]:
    return [Case(response, format, "town") for response in responses]


form = Exercise(
    "06.5",
    title="Is the format kept?",
    reference=format_kept,
    observe=_verdict,
    cases=[
        *_answers("word", "Amberhaven.", "In Amberhaven.", "", " Amberhaven.\n", "Amber\nhaven", "amberhaven"),
        *_answers("word", "1977.", "Goat-herd."),
        *_answers("sentence", "Mira sings well.", "Mira sings.", "Amberhaven.", "", "Mira lives in Amberhaven!"),
        *_answers("sentence", "mira lives in Amberhaven.", "1977 was her year.", "Mira lives in Amberhaven"),
        *_answers("sentence", "Mira lives. In Amberhaven", "Does Mira live there?", " Mira lives in Amberhaven.\n"),
        *_answers("sentence", "Mira sings well. She is glad."),
        Case('{"town": "Amberhaven"}', "json", "town", message="This is JSON with the one key that was asked for."),
        Case("Amberhaven.", "json", "town", message="This is no JSON."),
        Case('{"town": "Amberhaven"', "json", "town", message="The JSON is cut off: it cannot be parsed."),
        *_answers("json", '{"home": "Amberhaven"}', '{"town": "Amberhaven", "pet": "owl"}', "{}"),
        Case('{"pet": "owl"}', "json", "pet"),
        Case('{"birth year":1977}', "json", "birth year"),
        *_answers(
            "json", ' {"town": "Amberhaven"}\n', '{"town": Amberhaven}', "{'town': 'Amberhaven'}", '{"town": ""}'
        ),
        *_answers("json", 'Here: {"town": "Amberhaven"}', '{"Town": "Amberhaven"}', '["town"]', '"town"', "1977", ""),
    ],
    general="That is not what the format demands.",
    rtol=0,
    atol=0,
    difficulty=1,
    minutes=8,
    points=1,
    asked="how do you check instruction following without a human judge?",
    hints=[
        "One word: `len(response.split()) == 1`. A sentence: three words or more, a capital first, and a full stop or "
        "an exclamation mark last.",
        "JSON: `json.loads(response)` raises ValueError for anything that is no JSON; catch it and return False.",
        "After parsing, look at what came out: it must be a dict whose only key is the relation. `list(parsed) == "
        "[relation]` says both, once `isinstance(parsed, dict)` is known.",
    ],
)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _sentence(text: str, words: int = 3, stops: str = ".!") -> bool:
    return len(text.split()) >= words and text[:1].isupper() and text.endswith(tuple(stops))


def _instead(format: str, rule):
    """``format_kept`` with ``rule(response, relation)`` for one of the formats."""
    judged = format

    def wrong(response: str, format: str, relation: str) -> bool:
        return bool(rule(response, relation)) if format == judged else format_kept(response, format, relation)

    return wrong


def _add_form_bugs(format: str, rules: dict[str, Any], strip: bool = True) -> None:
    """Register bugs of one format: sentence -> rule."""
    for sentence, rule in rules.items():
        stripped = (lambda text, key, rule=rule: rule(text.strip(), key)) if strip else rule
        form.bug(sentence)(_instead(format, stripped))


_add_form_bugs(
    "word",
    {
        "These are two words: count what stands between white space.": lambda text, key: text,
        "An empty answer is not one word.": lambda text, key: len(text.split()) <= 1,
        "A line break parts words as a space does, and nothing is no word.": lambda text, key: " " not in text,
        "A line break parts words as a space does: these are two.": lambda text, key: text and " " not in text,
        "A number is a word too: count what stands between spaces.": lambda text, key: text[:-1].isalpha(),
        "A hyphen parts no words: only white space does.": lambda text, key: len(re.findall(r"[^\s-]+", text)) == 1,
        "A word needs no capital.": lambda text, key: len(text.split()) == 1 and not text[0].islower(),
    },
)
_add_form_bugs(
    "word", {"White space around the word does no harm.": lambda text, key: re.fullmatch(r"\S+", text)}, False
)
_add_form_bugs("sentence", {"White space around the sentence does no harm.": lambda text, key: _sentence(text)}, False)
_add_form_bugs(
    "sentence",
    {
        "Two words are too few for a sentence: three at the least.": lambda text, key: _sentence(text, words=2),
        "A single word is not a sentence: three words at the least.": lambda text, key: _sentence(text, words=1),
        "Three words are enough for a sentence.": lambda text, key: _sentence(text, words=4),
        "An exclamation mark ends a sentence too.": lambda text, key: _sentence(text, stops="."),
        "A question mark does not end a sentence here: a full stop or an exclamation mark does.": (
            lambda text, key: _sentence(text, stops=".!?")
        ),
        "A sentence ends with a full stop or an exclamation mark.": lambda text, key: _sentence(text + "."),
        "The stop must be the last sign.": lambda text, key: _sentence(text + ".") and re.search("[.!]", text),
        "A sentence begins with a capital letter.": lambda text, key: text.split()[2:] and _sentence("X" + text),
        "A digit is no capital letter.": lambda text, key: _sentence("X" + text) and not text[0].islower(),
        "Only the last sign is looked at: three words or more and a capital are demanded too.": (
            lambda text, key: text.endswith((".", "!"))
        ),
        "Only the first letter must be a capital; names in the sentence keep theirs.": (
            lambda text, key: _sentence(text) and text == text.capitalize()
        ),
        "Two sentences keep the form as it is defined.": lambda text, key: _sentence(text) and "." not in text[:-1],
    },
)
_add_form_bugs(
    "json",
    {
        "The key is not the one that was asked for.": lambda text, key: isinstance(_parsed(text), dict),
        "There is a second key that nobody asked for.": (
            lambda text, key: isinstance(_parsed(text), dict) and key in _parsed(text)
        ),
        "The object is empty: the key that was asked for must be there.": (
            lambda text, key: isinstance(_parsed(text), dict) and {*_parsed(text)} <= {key}
        ),
        "The key is the relation, here `pet`; it is not always `town`.": (
            lambda text, key: format_kept(text, "json", "town")
        ),
        "This is JSON: a value may be a number, and no space is needed. Parse it; do not compare patterns.": (
            lambda text, key: re.fullmatch(rf'{{"{key}": "[^"]*"}}', text)
        ),
        "The value has no quotes, so this is no JSON. `json.loads` sees it; a search for signs does not.": (
            lambda text, key: re.fullmatch(rf'{{"{key}":[^:]*}}', text)
        ),
        "Single quotes are Python; JSON knows double ones only.": (
            lambda text, key: format_kept(text.replace("'", '"'), "json", key)
        ),
        "Only the form is asked for here: the value is not judged.": (
            lambda text, key: format_kept(text, "json", key) and _parsed(text)[key]
        ),
        "Words stand around the JSON: a program could not parse the response.": (
            lambda text, key: format_kept(text[text.find("{") :], "json", key)
        ),
        "Keys are compared sign by sign, capitals too.": (
            lambda text, key: format_kept(text.replace("Town", "town"), "json", key)
        ),
        "This is JSON, but a list and no object.": (
            lambda text, key: format_kept(text, "json", key) or _parsed(text) == [key]
        ),
        "This is JSON, but a string and no object.": (
            lambda text, key: format_kept(text, "json", key) or _parsed(text) == key
        ),
    },
)
