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


BUGS = {
    "06.1": [
        encode_without_begin,
        encode_without_end,
        encode_unmarked_end,
        encode_marked_role,
        encode_always_invites,
        encode_ends_questions,
        encode_only_ids,
        encode_forgeable,
        encode_by_template,
        encode_marks_to_the_end,
        encode_never_stops_marking,
        encode_marks_last_answer,
        encode_strips,
        encode_mask_of_strings,
    ],
    "06.2": [
        mask_one_too_many,
        mask_one_too_few,
        mask_end_too,
        mask_padding_one_late,
        mask_without_padding,
        mask_by_id,
        mask_fixed_padding,
        mask_in_place,
        mask_with_zero,
        mask_answer,
        mask_longest_for_all,
        mask_and_shift,
    ],
    "06.3": [
        collate_pads_labels,
        collate_mask_by_id,
        collate_learns_prompts,
        collate_on_the_left,
        collate_without_mask,
        collate_truncates,
        collate_float_mask,
        collate_refuses_what_fits,
        collate_names_no_row,
        collate_counts_from_one,
        collate_to_max_length,
        collate_checks_last_row,
        collate_hides_prompts,
    ],
    "06.4": [
        loss_unshifted,
        loss_mean_of_means,
        loss_over_all_places,
        loss_shifted_backwards,
        loss_detached,
        loss_nan_without_answers,
        loss_zero_without_answers,
        loss_new_zero_without_answers,
        loss_leaf_without_answers,
        loss_nan_replaced,
        loss_counts_before_shift,
        loss_in_bits,
        loss_softmax_twice,
        loss_wrong_sign,
        loss_over_rows,
        loss_count_plus_one,
        loss_smoothed,
        loss_part_detached,
        loss_by_exp,
        loss_log_plus_eps,
    ],
    "06.5": [
        format_any_key,
        format_extra_keys,
        format_raises,
        format_looks_like_json,
        format_short_sentence,
        format_empty_word,
        format_no_exclamation,
        format_question,
        format_unstripped_word,
        format_unstripped_sentence,
        format_one_blank,
        format_letters_only,
        format_two_words,
        format_four_words,
        format_first_letter_of_nothing,
        format_always_town,
        format_json_by_signs,
        format_json_by_pattern,
        format_by_eval,
        format_splits_at_hyphens,
        format_word_with_capital,
        format_one_sentence,
        format_stop_anywhere,
        format_not_lower,
        format_finds_json,
        format_any_case,
        format_judges_value,
    ],
}
RIGHT = {
    "06.1": [encode_by_text, encode_at_once, encode_mask_of_truth_values],
    "06.2": [mask_row_by_row, mask_by_where],
    "06.3": [collate_by_pad_sequence],
    "06.4": [loss_by_gather, loss_by_padding],
    "06.5": [format_in_other_words, format_by_tensor],
}
