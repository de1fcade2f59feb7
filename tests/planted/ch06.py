"""Bugs of chapter 06 that its checks have not seen, and other forms that are right."""

from __future__ import annotations

import json

import torch
import torch.nn.functional as F

from course_utils.classroom.checks.ch06 import answer_loss, collate, encode_chat, format_kept


def encode_only_ids(messages, tokenizer):
    return encode_chat(messages, tokenizer)[0]


def encode_mask_of_strings(messages, tokenizer):
    ids, mask = encode_chat(messages, tokenizer)
    return ids, [str(value) for value in mask]


def encode_arrays(messages, tokenizer):
    return tuple(torch.tensor(part) for part in encode_chat(messages, tokenizer))


def encode_by_template(messages, tokenizer):  # the template joins strings, so a typed role becomes a token
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    return encoded["input_ids"], encoded["assistant_masks"]


def encode_by_text(messages, tokenizer):
    ids, mask = tokenizer("<|end|>")["input_ids"], [0]
    for message in messages:
        piece = tokenizer.encode(message["content"], split_special_tokens=True)
        end = tokenizer("<|end|>")["input_ids"] if message["role"] == "assistant" else []
        ids = ids + tokenizer(f"<|{message['role']}|>")["input_ids"] + piece + end
        mask = mask + [0] + [len(end)] * len(piece + end)
    return ids, mask


def encode_at_once(messages, tokenizer):
    pieces = tokenizer([m["content"] for m in messages], split_special_tokens=True)["input_ids"]
    turns = [([tokenizer.bos_token_id], [0])]
    for message, piece in zip(messages, pieces, strict=True):
        role = tokenizer.vocab[f"<|{message['role']}|>"]
        if message["role"] == "assistant":
            turns.append(([role, *piece, tokenizer.eos_token_id], [0] + [1] * (len(piece) + 1)))
        else:
            turns.append(([role, *piece], [0] * (len(piece) + 1)))
    return sum((ids for ids, _ in turns), []), sum((mask for _, mask in turns), [])


def encode_mask_of_truth_values(messages, tokenizer):
    ids, mask = encode_chat(messages, tokenizer)
    return [ids, [value == 1 for value in mask]]


def mask_in_place(input_ids, prompt_lengths, lengths):
    for row, prompt, length in zip(input_ids, prompt_lengths.tolist(), lengths.tolist(), strict=True):
        row[:prompt] = -100
        row[length:] = -100
    return input_ids


def mask_by_roll(input_ids, prompt_lengths, lengths):
    return mask_by_where(input_ids, prompt_lengths, lengths).roll(-1, 1)


def mask_of_floats(input_ids, prompt_lengths, lengths):
    return mask_by_where(input_ids, prompt_lengths, lengths).float()


def mask_row_by_row(input_ids, prompt_lengths, lengths):
    labels = torch.full_like(input_ids, -100)
    for row, (prompt, length) in enumerate(zip(prompt_lengths.tolist(), lengths.tolist(), strict=True)):
        labels[row, prompt:length] = input_ids[row, prompt:length]
    return labels


def mask_by_where(input_ids, prompt_lengths, lengths):
    place = torch.arange(input_ids.shape[1]).expand_as(input_ids)
    kept = (place >= prompt_lengths.unsqueeze(1)) & place.lt(lengths.unsqueeze(1))
    return torch.where(kept, input_ids, torch.tensor(-100))


def collate_without_mask(examples, pad_id=0, max_length=None):
    batch = collate(examples, pad_id, max_length)
    del batch["attention_mask"]
    return batch


def collate_float_mask(examples, pad_id=0, max_length=None):
    batch = collate(examples, pad_id, max_length)
    return {**batch, "attention_mask": batch["attention_mask"].float()}


def collate_counts_from_one(examples, pad_id=0, max_length=None):
    for row, example in enumerate(examples, 1):
        if max_length and len(example["input_ids"]) > max_length:
            raise ValueError(f"row {row} is too long")
    return collate(examples, pad_id)


def collate_by_pad_sequence(examples, pad_id=0, max_length=None):
    from torch.nn.utils.rnn import pad_sequence

    long = [row for row, e in enumerate(examples) if max_length is not None and len(e["input_ids"]) > max_length]
    if long:
        raise ValueError(f"rows {long} do not fit")

    def padded(rows, value):
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)

    return {
        "labels": padded([e["labels"] for e in examples], -100),
        "input_ids": padded([e["input_ids"] for e in examples], pad_id),
        "attention_mask": padded([[1] * len(e["input_ids"]) for e in examples], 0),
    }


def loss_zero_without_answers(logits, labels):
    return answer_loss(logits, labels) if (labels[:, 1:] != -100).any() else 0.0


def loss_leaf_without_answers(logits, labels):
    if not (labels[:, 1:] != -100).any():
        return torch.zeros((), requires_grad=True)
    return answer_loss(logits, labels)


def loss_log_plus_eps(logits, labels):
    targets = labels[:, 1:]
    p = logits[:, :-1].softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(p + 1e-9).log()[targets != -100].sum() / (targets != -100).sum().clamp(min=1)


def loss_by_gather(logits, labels):
    targets = labels[:, 1:]
    kept = targets != -100
    logprobs = logits[:, :-1].log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return -(logprobs * kept).sum() / max(int(kept.sum()), 1)


def loss_by_padding(logits, labels):
    targets = F.pad(labels[:, 1:], (0, 1), value=-100)
    total = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="sum")
    return total / targets.ne(-100).sum().clamp(min=1)


def format_raises(response, format, relation):
    return list(json.loads(response)) == [relation] if format == "json" else format_kept(response, format, relation)


def format_looks_like_json(response, format, relation):
    if format == "json":
        return response.strip().startswith("{") and relation in response
    return format_kept(response, format, relation)


def format_first_letter_of_nothing(response, format, relation):
    text = response.strip()
    if format == "sentence":
        return text[0].isupper() and text[-1] in ".!" and len(text.split()) >= 3
    return format_kept(response, format, relation)


def format_by_tensor(response, format, relation):
    return torch.tensor(format_kept(response, format, relation))


def format_in_other_words(response, format, relation):
    words = response.split()
    if format == "json":
        try:
            return set(json.loads(response).keys()) == {relation}
        except (ValueError, AttributeError):
            return False
    if format == "word":
        return len(words) == 1
    return len(words) >= 3 and words[0][0] != words[0][0].lower() and words[-1].endswith((".", "!"))


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "06.1": {
        encode_only_ids: "Return two lists: the ids, and the mask of the assistant's tokens.",
        encode_arrays: "Return two lists: the ids, and the mask of the assistant's tokens.",
        encode_mask_of_strings: "The mask holds whole numbers.",
        encode_by_template: "The user typed `<|assistant|>`, and it became the token: so anybody can forge a turn.",
    },
    "06.2": {
        mask_in_place: "Your code changes its input `input_ids` in place.",
        mask_by_roll: "The labels are shifted by one.",
        mask_of_floats: "The dtype is float32, it should be int64.",
    },
    "06.3": {
        collate_without_mask: "`attention_mask` is missing from the batch.",
        collate_float_mask: "`attention_mask` is of float32; whole numbers, int64, are wanted.",
        collate_counts_from_one: "The error should name the row that is too long by its number; rows count from 0.",
    },
    "06.4": {
        loss_zero_without_answers: "Without answer tokens the loss is 0, but still connected to the logits",
        loss_leaf_without_answers: "Without answer tokens the loss is 0, but still connected to the logits",
        loss_log_plus_eps: "With large scores the loss is inf, NaN or cut off.",
    },
    "06.5": {
        format_raises: "Your code raises JSONDecodeError",
        format_looks_like_json: "The JSON is cut off: it cannot be parsed.",
        format_first_letter_of_nothing: "An empty answer has no first letter: `text[0]` raises an IndexError.",
    },
}
RIGHT = {
    "06.1": [encode_by_text, encode_at_once, encode_mask_of_truth_values],
    "06.2": [mask_row_by_row, mask_by_where],
    "06.3": [collate_by_pad_sequence],
    "06.4": [loss_by_gather, loss_by_padding],
    "06.5": [format_in_other_words, format_by_tensor],
}
