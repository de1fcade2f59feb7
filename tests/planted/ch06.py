"""Planted bugs of chapter 06, each a mistake that learners make, and other forms that are right."""

from __future__ import annotations

import ast
import json
import math
import re

import torch
import torch.nn.functional as F


def _encode(
    messages,
    tokenizer,
    *,
    begin=True,
    end=True,
    mark_end=True,
    mark_role=False,
    invite=False,
    end_user=False,
    plain=True,
):
    ids, mask = ([tokenizer.bos_token_id], [0]) if begin else ([], [])
    for message in messages:
        piece = tokenizer(message["content"], split_special_tokens=plain)["input_ids"]
        spoken = message["role"] == "assistant"
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *piece]
        mask += [int(spoken and mark_role)] + [int(spoken)] * len(piece)
        if (spoken and end) or (end_user and not spoken):
            ids.append(tokenizer.eos_token_id)
            mask.append(int(spoken and mark_end))
    if invite and messages[-1]["role"] == "user":
        ids.append(tokenizer.convert_tokens_to_ids("<|assistant|>"))
        mask.append(0)
    return ids, mask


def encode_without_begin(messages, tokenizer):
    return _encode(messages, tokenizer, begin=False)


def encode_without_end(messages, tokenizer):
    return _encode(messages, tokenizer, end=False)


def encode_unmarked_end(messages, tokenizer):
    return _encode(messages, tokenizer, mark_end=False)


def encode_marked_role(messages, tokenizer):
    return _encode(messages, tokenizer, mark_role=True)


def encode_always_invites(messages, tokenizer):
    return _encode(messages, tokenizer, invite=True)


def encode_ends_questions(messages, tokenizer):
    return _encode(messages, tokenizer, end_user=True)


def encode_only_ids(messages, tokenizer):
    return _encode(messages, tokenizer)[0]


def encode_forgeable(messages, tokenizer):
    return _encode(messages, tokenizer, plain=False)


def encode_by_template(messages, tokenizer):  # the template joins strings, so a typed role becomes a token
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    return encoded["input_ids"], encoded["assistant_masks"]


def encode_marks_to_the_end(messages, tokenizer):
    ids, mask = _encode(messages, tokenizer)
    first = mask.index(1) if 1 in mask else len(mask)
    return ids, [0] * first + [1] * (len(mask) - first)


def encode_never_stops_marking(messages, tokenizer):
    ids, mask, marking = [tokenizer.bos_token_id], [0], 0
    for message in messages:
        marking = marking or int(message["role"] == "assistant")
        piece, _ = _encode([message], tokenizer)
        ids += piece[1:]
        mask += [0] + [marking] * (len(piece) - 2)
    return ids, mask


def encode_marks_last_answer(messages, tokenizer):
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        return _encode(messages, tokenizer)
    ids, mask = _encode(messages, tokenizer)
    before, _ = _encode(messages[: answers[-1]], tokenizer)
    return ids, [0] * len(before) + mask[len(before) :]


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


def encode_strips(messages, tokenizer):
    return _encode([{**m, "content": m["content"].strip()} for m in messages], tokenizer)


def encode_mask_of_strings(messages, tokenizer):
    ids, mask = _encode(messages, tokenizer)
    return ids, [str(value) for value in mask]


def encode_mask_of_truth_values(messages, tokenizer):
    ids, mask = _encode(messages, tokenizer)
    return ids, [value == 1 for value in mask]


def _hidden(input_ids, prompt_lengths, lengths):
    place = torch.arange(input_ids.shape[1])
    return place < prompt_lengths[:, None], place >= lengths[:, None]


def mask_one_too_many(input_ids, prompt_lengths, lengths):
    return mask_by_where(input_ids, prompt_lengths + 1, lengths)


def mask_one_too_few(input_ids, prompt_lengths, lengths):
    return mask_by_where(input_ids, prompt_lengths - 1, lengths)


def mask_end_too(input_ids, prompt_lengths, lengths):
    return mask_by_where(input_ids, prompt_lengths, lengths - 1)


def mask_padding_one_late(input_ids, prompt_lengths, lengths):
    return mask_by_where(input_ids, prompt_lengths, lengths + 1)


def mask_without_padding(input_ids, prompt_lengths, lengths):
    return input_ids.masked_fill(torch.arange(input_ids.shape[1]) < prompt_lengths[:, None], -100)


def mask_by_id(input_ids, prompt_lengths, lengths):
    labels = input_ids.clone()
    for row, (prompt, length) in enumerate(zip(prompt_lengths.tolist(), lengths.tolist(), strict=True)):
        if length < input_ids.shape[1]:
            labels[row, input_ids[row] == input_ids[row, length]] = -100
        labels[row, :prompt] = -100
    return labels


def mask_fixed_padding(input_ids, prompt_lengths, lengths):
    prompt, _ = _hidden(input_ids, prompt_lengths, lengths)
    return input_ids.masked_fill(prompt | (input_ids == 0), -100)


def mask_in_place(input_ids, prompt_lengths, lengths):
    for row, prompt, length in zip(input_ids, prompt_lengths.tolist(), lengths.tolist(), strict=True):
        row[:prompt] = -100
        row[length:] = -100
    return input_ids


def mask_with_zero(input_ids, prompt_lengths, lengths):
    prompt, padding = _hidden(input_ids, prompt_lengths, lengths)
    return input_ids.masked_fill(prompt | padding, 0)


def mask_answer(input_ids, prompt_lengths, lengths):
    prompt, padding = _hidden(input_ids, prompt_lengths, lengths)
    return input_ids.masked_fill(~prompt | padding, -100)


def mask_longest_for_all(input_ids, prompt_lengths, lengths):
    labels = input_ids.masked_fill(_hidden(input_ids, prompt_lengths, lengths)[1], -100)
    labels[:, : int(prompt_lengths.max())] = -100
    return labels


def mask_and_shift(input_ids, prompt_lengths, lengths):
    labels = mask_by_where(input_ids, prompt_lengths, lengths)
    return torch.cat([labels[:, 1:], torch.full((len(labels), 1), -100)], dim=1)


def mask_row_by_row(input_ids, prompt_lengths, lengths):
    labels = torch.full_like(input_ids, -100)
    for row, (prompt, length) in enumerate(zip(prompt_lengths.tolist(), lengths.tolist(), strict=True)):
        labels[row, prompt:length] = input_ids[row, prompt:length]
    return labels


def mask_by_where(input_ids, prompt_lengths, lengths):
    place = torch.arange(input_ids.shape[1]).expand_as(input_ids)
    kept = (place >= prompt_lengths.unsqueeze(1)) & place.lt(lengths.unsqueeze(1))
    return torch.where(kept, input_ids, torch.tensor(-100))


def _pad(rows, value, longest):
    return torch.tensor([list(row) + [value] * (longest - len(row)) for row in rows])


def _collate(examples, pad_id, label_pad=-100, max_length=None):
    for row, example in enumerate(examples):
        if max_length and len(example["input_ids"]) > max_length:
            raise ValueError(f"row {row} is too long: {len(example['input_ids'])} tokens, at most {max_length}")
    longest = max(len(e["input_ids"]) for e in examples)
    return {
        "input_ids": _pad([e["input_ids"] for e in examples], pad_id, longest),
        "attention_mask": _pad([[1] * len(e["input_ids"]) for e in examples], 0, longest),
        "labels": _pad([e["labels"] for e in examples], label_pad, longest),
    }


def collate_pads_labels(examples, pad_id=0, max_length=None):
    return _collate(examples, pad_id, label_pad=pad_id)


def collate_mask_by_id(examples, pad_id=0, max_length=None):
    batch = _collate(examples, pad_id)
    return {**batch, "attention_mask": (batch["input_ids"] != pad_id).long()}


def collate_learns_prompts(examples, pad_id=0, max_length=None):
    batch = _collate(examples, pad_id)
    return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}


def collate_on_the_left(examples, pad_id=0, max_length=None):
    longest = max(len(e["input_ids"]) for e in examples)
    gaps = [longest - len(e["input_ids"]) for e in examples]
    return {
        "input_ids": torch.tensor([[pad_id] * g + e["input_ids"] for g, e in zip(gaps, examples, strict=True)]),
        "attention_mask": torch.tensor([[0] * g + [1] * (longest - g) for g in gaps]),
        "labels": torch.tensor([[-100] * g + e["labels"] for g, e in zip(gaps, examples, strict=True)]),
    }


def collate_truncates(examples, pad_id=0, max_length=None):
    return _collate([{name: ids[:max_length] for name, ids in e.items()} for e in examples], pad_id)


def collate_without_mask(examples, pad_id=0, max_length=None):
    batch = _collate(examples, pad_id)
    del batch["attention_mask"]
    return batch


def collate_float_mask(examples, pad_id=0, max_length=None):
    batch = _collate(examples, pad_id)
    return {**batch, "attention_mask": batch["attention_mask"].float()}


def collate_refuses_what_fits(examples, pad_id=0, max_length=None):
    return _collate(examples, pad_id, max_length=max_length and max_length - 1)


def collate_names_no_row(examples, pad_id=0, max_length=None):
    for example in examples:
        if max_length and len(example["input_ids"]) > max_length:
            raise ValueError(f"{example['input_ids']} is too long")
    return _collate(examples, pad_id)


def collate_counts_from_one(examples, pad_id=0, max_length=None):
    for row, example in enumerate(examples, 1):
        if max_length and len(example["input_ids"]) > max_length:
            raise ValueError(f"row {row} is too long")
    return _collate(examples, pad_id)


def collate_to_max_length(examples, pad_id=0, max_length=None):
    batch = _collate(examples, pad_id, max_length=max_length)
    gap = (max_length or 0) - batch["input_ids"].shape[1]
    values = {"input_ids": pad_id, "attention_mask": 0, "labels": -100}
    return {name: F.pad(tensor, (0, max(gap, 0)), value=values[name]) for name, tensor in batch.items()}


def collate_checks_last_row(examples, pad_id=0, max_length=None):
    if max_length and len(examples[-1]["input_ids"]) > max_length:
        raise ValueError(f"row {len(examples) - 1} is too long")
    return _collate(examples, pad_id)


def collate_hides_prompts(examples, pad_id=0, max_length=None):
    batch = _collate(examples, pad_id, max_length=max_length)
    return {**batch, "attention_mask": (batch["labels"] != -100).long()}


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


def loss_unshifted(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def loss_mean_of_means(logits, labels):
    rows = [F.cross_entropy(a[:-1], b[1:], reduction="sum") / (b[1:] != -100).sum().clamp(min=1)
            for a, b in zip(logits, labels, strict=True)]  # fmt: skip
    return torch.stack(rows).mean()


def loss_over_all_places(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none").mean()


def loss_shifted_backwards(logits, labels):
    return F.cross_entropy(logits[:, 1:].transpose(1, 2), labels[:, :-1])


def loss_detached(logits, labels):
    targets = labels[:, 1:]
    total = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="sum")
    return torch.tensor((total / (targets != -100).sum().clamp(min=1)).item())


def loss_nan_without_answers(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


def loss_zero_without_answers(logits, labels):
    return loss_by_gather(logits, labels) if (labels[:, 1:] != -100).any() else 0.0


def loss_new_zero_without_answers(logits, labels):
    return loss_by_gather(logits, labels) if (labels[:, 1:] != -100).any() else torch.tensor(0.0)


def loss_leaf_without_answers(logits, labels):
    if not (labels[:, 1:] != -100).any():
        return torch.zeros((), requires_grad=True)
    return loss_by_gather(logits, labels)


def loss_nan_replaced(logits, labels):
    targets = labels[:, 1:]
    kept = targets != -100
    logprobs = logits[:, :-1].log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return (-(logprobs * kept).sum() / kept.sum()).nan_to_num(0.0)


def loss_counts_before_shift(logits, labels):
    total = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="sum")
    return total / (labels != -100).sum().clamp(min=1)


def loss_in_bits(logits, labels):
    return loss_by_gather(logits, labels) / math.log(2)


def loss_softmax_twice(logits, labels):
    targets = labels[:, 1:]
    total = F.cross_entropy(logits[:, :-1].softmax(-1).transpose(1, 2), targets, reduction="sum")
    return total / (targets != -100).sum().clamp(min=1)


def loss_wrong_sign(logits, labels):
    return -loss_by_gather(logits, labels)


def loss_over_rows(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="sum") / len(labels)


def loss_count_plus_one(logits, labels):
    total = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="sum")
    return total / ((labels[:, 1:] != -100).sum() + 1)


def loss_smoothed(logits, labels):
    targets = labels[:, 1:]
    total = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="sum", label_smoothing=0.1)
    return total / (targets != -100).sum().clamp(min=1)


def loss_part_detached(logits, labels):
    targets = labels[:, 1:]
    moved = logits[:, :-1]
    chosen = moved.gather(-1, targets.clamp(min=0)[..., None])[..., 0] - moved.logsumexp(-1).detach()
    return -chosen[targets != -100].sum() / (targets != -100).sum().clamp(min=1)


def loss_by_exp(logits, labels):
    targets = labels[:, 1:]
    moved = logits[:, :-1]
    chosen = moved.gather(-1, targets.clamp(min=0)[..., None])[..., 0] - moved.exp().sum(-1).log()
    return -chosen[targets != -100].sum() / (targets != -100).sum().clamp(min=1)


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


def _format(response, format, relation, keys=lambda parsed, relation: list(parsed) == [relation]):
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) > 2 and text[0].isupper() and text[-1] in ".!"
    try:
        parsed = json.loads(text)
    except ValueError:
        return False
    return isinstance(parsed, dict) and keys(parsed, relation)


def format_any_key(response, format, relation):
    return _format(response, format, relation, lambda parsed, relation: True)


def format_extra_keys(response, format, relation):
    return _format(response, format, relation, lambda parsed, relation: relation in parsed)


def format_raises(response, format, relation):
    if format == "json":
        return list(json.loads(response)) == [relation]
    return _format(response, format, relation)


def format_looks_like_json(response, format, relation):
    if format == "json":
        return response.strip().startswith("{") and relation in response
    return _format(response, format, relation)


def format_short_sentence(response, format, relation):
    if format == "sentence":
        return response.endswith((".", "!"))
    return _format(response, format, relation)


def format_empty_word(response, format, relation):
    return " " not in response.strip() if format == "word" else _format(response, format, relation)


def format_no_exclamation(response, format, relation):
    return _format(response, format, relation) and not (format == "sentence" and response.strip().endswith("!"))


def format_question(response, format, relation):
    return _format(response.strip().replace("?", "."), format, relation)


def format_unstripped_word(response, format, relation):
    if format == "word":
        return bool(re.fullmatch(r"\S+", response))
    return _format(response, format, relation)


def format_unstripped_sentence(response, format, relation):
    if format == "sentence":
        return len(response.split()) >= 3 and response[0].isupper() and response.endswith((".", "!"))
    return _format(response, format, relation)


def format_one_blank(response, format, relation):
    if format == "word":
        return response.strip() != "" and " " not in response.strip()
    return _format(response, format, relation)


def format_letters_only(response, format, relation):
    if format == "word":
        return response.strip().removesuffix(".").isalpha()
    return _format(response, format, relation)


def format_two_words(response, format, relation):
    text = response.strip()
    if format == "sentence":
        return len(text.split()) >= 2 and text[0].isupper() and text.endswith((".", "!"))
    return _format(response, format, relation)


def format_four_words(response, format, relation):
    return _format(response, format, relation) and (format != "sentence" or len(response.split()) >= 4)


def format_first_letter_of_nothing(response, format, relation):
    text = response.strip()
    if format == "sentence":
        return text[0].isupper() and text[-1] in ".!" and len(text.split()) >= 3
    return _format(response, format, relation)


def format_always_town(response, format, relation):
    return _format(response, format, "town")


def format_json_by_signs(response, format, relation):
    if format == "json":
        text = response.strip()
        return text.startswith(f'{{"{relation}":') and text.endswith("}") and text.count(":") == 1
    return _format(response, format, relation)


def format_json_by_pattern(response, format, relation):
    if format == "json":
        return bool(re.fullmatch(rf'{{"{relation}": "[^"]*"}}', response.strip()))
    return _format(response, format, relation)


def format_by_eval(response, format, relation):
    if format == "json":
        try:
            parsed = ast.literal_eval(response.strip())
        except (ValueError, SyntaxError):
            return False
        return isinstance(parsed, dict) and list(parsed) == [relation]
    return _format(response, format, relation)


def format_by_tensor(response, format, relation):
    return torch.tensor(_format(response, format, relation))


def format_splits_at_hyphens(response, format, relation):
    if format == "word":
        return len(re.split(r"[\s-]+", response.strip())) == 1 and bool(response.strip())
    return _format(response, format, relation)


def format_word_with_capital(response, format, relation):
    return _format(response, format, relation) and (format != "word" or not response.strip()[:1].islower())


def format_one_sentence(response, format, relation):
    return _format(response, format, relation) and (format != "sentence" or response.strip()[:-1].count(".") == 0)


def format_stop_anywhere(response, format, relation):
    text = response.strip()
    if format == "sentence":
        return len(text.split()) > 2 and text[0].isupper() and ("." in text or "!" in text)
    return _format(response, format, relation)


def format_not_lower(response, format, relation):
    text = response.strip()
    if format == "sentence":
        return len(text.split()) > 2 and not text[0].islower() and text[-1] in ".!"
    return _format(response, format, relation)


def format_finds_json(response, format, relation):
    found = re.search(r"{.*}", response)
    return _format(found.group() if format == "json" and found else response, format, relation)


def format_any_case(response, format, relation):
    return _format(response, format, relation, lambda parsed, relation: [key.lower() for key in parsed] == [relation])


def format_judges_value(response, format, relation):
    return _format(
        response, format, relation, lambda parsed, relation: list(parsed) == [relation] and bool(parsed[relation])
    )


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
        encode_without_begin: "The conversation does not begin with the bos token, `<|end|>`.",
        encode_without_end: "The last answer does not end with `<|end|>`.",
        encode_unmarked_end: "The mask is 0 for the token that ends the answer. A model that never learns to say it never stops.",
        encode_marked_role: "The mask is 1 for the token of the assistant's role as well. It is part of the question: at inference we write it, not the model.",
        encode_always_invites: "There is an `<|assistant|>` at the end, where no answer follows. It is added only when the model is to speak.",
        encode_ends_questions: "There are more `<|end|>` than one at the start and one after each answer. A question has none behind it.",
        encode_only_ids: "Return two lists: the ids, and the mask of the assistant's tokens.",
        encode_forgeable: "The user typed `<|assistant|>`, and it became the token: so anybody can forge a turn. Encode contents with `split_special_tokens=True`.",
        encode_by_template: "The user typed `<|assistant|>`, and it became the token: so anybody can forge a turn. Encode contents with `split_special_tokens=True`.",
        encode_marks_to_the_end: "The mask is 1 from the first answer to the end: the later questions are not the assistant's.",
        encode_never_stops_marking: "The mask is 1 from the first answer to the end: the later questions are not the assistant's.",
        encode_marks_last_answer: "Only the last answer is marked; each turn of the assistant is learned.",
        encode_strips: "White space in a message is content: encode it as it is, without `strip`.",
        encode_mask_of_strings: "The mask holds numbers, 0 or 1.",
    },
    "06.2": {
        mask_one_too_many: "The first answer token is masked too: did you mask up to and including the length?",
        mask_one_too_few: "The last token of the prompt is not masked: the prompt has `prompt_lengths` tokens, counted from position 0.",
        mask_end_too: "The last answer token is masked too: a row has `lengths` tokens, counted from position 0.",
        mask_padding_one_late: "The first place of the padding is not masked: a row has `lengths` tokens, counted from position 0.",
        mask_without_padding: "The padding is not masked: the model would learn to write padding.",
        mask_by_id: "The end of the answer is masked: here padding and end are the same token. Take the lengths, not the ids.",
        mask_fixed_padding: "The padding is not masked: the model would learn to write padding.",
        mask_in_place: "Your code changes its input `input_ids` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
        mask_with_zero: "Masked places are 0; cross-entropy skips -100 only, and 0 is a token like any other.",
        mask_answer: "The answer is masked and the prompt is learned: it is the other way round.",
        mask_longest_for_all: "Every row is masked to the same length: each has its own prompt.",
        mask_and_shift: "The labels are shifted by one. The loss does that; done twice, the model learns to skip a token.",
    },
    "06.3": {
        collate_pads_labels: "The padding of the labels is `pad_id`; it must be -100, or the model learns to write padding.",
        collate_mask_by_id: "The attention mask hides a real token: here `pad_id` is also the token that ends an answer. Take the lengths, not `input_ids != pad_id`.",
        collate_learns_prompts: "The labels are the ids: the -100 of the prompts are lost.",
        collate_on_the_left: "The padding is on the left; for training it belongs on the right.",
        collate_without_mask: "`attention_mask` is missing from the batch.",
        collate_truncates: "Row 2 (rows count from 0) has 4 tokens, and max_length is 3: that should raise a ValueError. Cutting the row would drop the end of its answer without a word.",
        collate_float_mask: "The dtype is float32, it should be int64.",
        collate_refuses_what_fits: "You refuse a row of exactly max_length tokens. It fits: only a row with *more* is too long.",
        collate_names_no_row: "The error should name the row that is too long by its number, here 2: rows count from 0. With a thousand rows nobody finds it by its ids.",
        collate_counts_from_one: "The error should name the row that is too long by its number, here 2: rows count from 0. With a thousand rows nobody finds it by its ids.",
        collate_to_max_length: "Padded to max_length: pad to the longest of *this* batch, each further place is computed for nothing.",
        collate_checks_last_row: "The first row has 4 tokens, and max_length is 3: that should raise a ValueError. Look at every row, not at the last alone.",
        collate_hides_prompts: "The mask hides the prompt. The prompt is read, only not learned: `labels` says what is learned.",
    },
    "06.4": {
        loss_unshifted: "The logits are not shifted: at position t they predict token t + 1, yours are compared with token t.",
        loss_mean_of_means: "This is the mean of the rows' means: a short answer then weighs as much as a long one. Divide the sum of the whole batch by its number of answer tokens.",
        loss_over_all_places: "This is the mean over all places, ignored ones included. Divide by the number of answer tokens.",
        loss_shifted_backwards: "The shift goes the wrong way: token t is predicted by position t - 1, not t + 1.",
        loss_detached: "The loss is not connected to the logits: nothing would be learned. Leave out `.item()` and `.detach()`.",
        loss_nan_without_answers: "Without any answer token the loss should be 0. A NaN here ends a whole training run.",
        loss_zero_without_answers: "Without answer tokens the loss is 0, but still connected to the logits: backward() must work.",
        loss_new_zero_without_answers: "Without answer tokens the loss is 0, but still connected to the logits: backward() must work.",
        loss_leaf_without_answers: "Without answer tokens the loss is 0, but still connected to the logits: backward() must work.",
        loss_nan_replaced: "Without answer tokens the loss is 0, but its gradient is not: a NaN in it spoils every weight at the next step. Avoid 0/0 instead of replacing its result.",
        loss_counts_before_shift: "The sum is divided by one more than the number of answer tokens. Against 0/0 take `.clamp(min=1)`, which leaves other numbers as they are.",
        loss_in_bits: "That is in bits; nats are wanted.",
        loss_softmax_twice: "The softmax is applied twice: cross_entropy takes raw logits and does it itself.",
        loss_wrong_sign: "The sign is wrong: a loss is the negative log-probability.",
        loss_over_rows: "The sum is divided by the number of rows. Divide it by the number of answer tokens.",
        loss_count_plus_one: "The sum is divided by one more than the number of answer tokens. Against 0/0 take `.clamp(min=1)`, which leaves other numbers as they are.",
        loss_smoothed: "The labels are smoothed: plain cross-entropy is wanted.",
        loss_part_detached: "The value is right, the gradient is not: part of the loss is detached.",
        loss_by_exp: "With large scores the loss is inf, NaN or cut off. Use log_softmax or cross_entropy, not the log of exp.",
        loss_log_plus_eps: "With large scores the loss is inf, NaN or cut off. Use log_softmax or cross_entropy, not the log of exp.",
    },
    "06.5": {
        format_any_key: "Keys are compared sign by sign, capitals too.",
        format_extra_keys: "There is a second key that nobody asked for.",
        format_raises: "Your code raises JSONDecodeError: Expecting ',' delimiter: line 1 column 22 (char 21)",
        format_looks_like_json: "The JSON is cut off: it cannot be parsed.",
        format_short_sentence: "A digit is no capital letter.",
        format_empty_word: "An empty answer is not one word.",
        format_no_exclamation: "An exclamation mark ends a sentence too.",
        format_question: "This ends with a question mark; a full stop or an exclamation mark is demanded.",
        format_unstripped_word: "White space around the word does no harm.",
        format_unstripped_sentence: "White space around the sentence does no harm.",
        format_one_blank: "A line break parts words as a space does: these are two.",
        format_letters_only: "A number is a word too: count what stands between spaces, not letters.",
        format_two_words: "Two words are too few for a sentence: three at the least.",
        format_four_words: "Three words are enough for a sentence.",
        format_first_letter_of_nothing: "An empty answer has no first letter: `text[0]` raises an IndexError. Count the words first, or write `text[:1]`.",
        format_always_town: "The key is the relation, here `pet`; it is not always `town`.",
        format_json_by_signs: "The value has no quotes, so this is no JSON. `json.loads` sees it; a search for signs does not.",
        format_json_by_pattern: "This is JSON: a value may be a number, and no space is needed. Parse it; do not compare patterns.",
        format_by_eval: "Single quotes are Python; JSON knows double ones only.",
        format_splits_at_hyphens: "A hyphen parts no words: only white space does.",
        format_word_with_capital: "A word needs no capital.",
        format_one_sentence: "Two sentences keep the form as it is defined.",
        format_stop_anywhere: "The stop must be the last sign.",
        format_not_lower: "A digit is no capital letter.",
        format_finds_json: "Words stand around the JSON: a program could not parse the response.",
        format_any_case: "Keys are compared sign by sign, capitals too.",
        format_judges_value: "Only the form is asked for here: the value is not judged.",
    },
}
RIGHT = {
    "06.1": [encode_by_text, encode_at_once, encode_mask_of_truth_values],
    "06.2": [mask_row_by_row, mask_by_where],
    "06.3": [collate_by_pad_sequence],
    "06.4": [loss_by_gather, loss_by_padding],
    "06.5": [format_in_other_words, format_by_tensor],
}
