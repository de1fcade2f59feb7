# %% 06.1 wrong: an eos behind every message, also the user's
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        said = int(message["role"] == "assistant")
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content, tokenizer.eos_token_id]
        mask += [0] + [said] * (len(content) + 1)
    return ids, mask

# %% 06.1 wrong: the eos behind the answer is not in the mask
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        mask += [0] + [int(message["role"] == "assistant")] * len(content)
        if message["role"] == "assistant":
            ids.append(tokenizer.eos_token_id)
            mask.append(0)
    return ids, mask

# %% 06.1 wrong: the assistant's role token is in the mask
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        said = message["role"] == "assistant"
        part = [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>")]
        part += tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        if said:
            part.append(tokenizer.eos_token_id)
        ids += part
        mask += [int(said)] * len(part)
    return ids, mask

# %% 06.1 wrong: special tokens in typed text are read as such
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        said = int(message["role"] == "assistant")
        content = tokenizer(message["content"], add_special_tokens=False)["input_ids"]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        mask += [0] + [said] * len(content)
        if said:
            ids.append(tokenizer.eos_token_id)
            mask.append(1)
    return ids, mask

# %% 06.1 wrong: only the assistant's last turn is in the mask
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        mask += [0] * (1 + len(content))
        if message["role"] == "assistant":
            ids.append(tokenizer.eos_token_id)
            mask = [0] * (len(ids) - len(content) - 1) + [1] * (len(content) + 1)
    return ids, mask

# %% 06.1 wrong: a system message gets the user's token
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    user, assistant = (tokenizer.convert_tokens_to_ids(name) for name in ("<|user|>", "<|assistant|>"))
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        if message["role"] == "assistant":
            ids += [assistant, *content, tokenizer.eos_token_id]
            mask += [0] + [1] * len(content) + [1]
        else:
            ids += [user, *content]
            mask += [0] * (1 + len(content))
    return ids, mask

# %% 06.1 wrong: the given messages are used up
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    while messages:
        message = messages.pop(0)
        said = int(message["role"] == "assistant")
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        ids += [tokenizer.eos_token_id] * said
        mask += [0] + [said] * len(content) + [1] * said
    return ids, mask

# %% 06.1 wrong: the mask is shifted to the positions that predict
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        said = int(message["role"] == "assistant")
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        ids += [tokenizer.eos_token_id] * said
        mask += [0] + [said] * len(content) + [1] * said
    return ids, mask[1:] + [0]

# %% 06.1 right: by a loop
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids = [tokenizer.bos_token_id]
    mask = [0]
    for message in messages:
        ids.append(tokenizer.convert_tokens_to_ids("<|" + message["role"] + "|>"))
        mask.append(0)
        for token in tokenizer(message["content"], split_special_tokens=True)["input_ids"]:
            ids.append(token)
            mask.append(1 if message["role"] == "assistant" else 0)
        if message["role"] == "assistant":
            ids.append(tokenizer.eos_token_id)
            mask.append(1)
    return ids, mask

# %% 06.1 right: terse, by pairs of id and mask
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    pairs = [(tokenizer.bos_token_id, 0)]
    for role, text in ((m["role"], m["content"]) for m in messages):
        said = int(role == "assistant")
        content = tokenizer(text, split_special_tokens=True)["input_ids"] + [tokenizer.eos_token_id] * said
        pairs += [(tokenizer.convert_tokens_to_ids(f"<|{role}|>"), 0), *((token, said) for token in content)]
    return [i for i, _ in pairs], [said for _, said in pairs]

# %% 06.1 right: by recursion on the last message
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    if not messages:
        return [tokenizer.bos_token_id], [0]
    *earlier, last = messages
    ids, mask = encode_chat(earlier, tokenizer)
    content = list(tokenizer(last["content"], split_special_tokens=True)["input_ids"])
    role = tokenizer.convert_tokens_to_ids(f"<|{last['role']}|>")
    if last["role"] == "assistant":
        content = [*content, tokenizer.eos_token_id]
        return [*ids, role, *content], [*mask, 0, *[1] * len(content)]
    return [*ids, role, *content], [*mask, 0, *[0] * len(content)]

# %% 06.2 wrong: input_ids is changed in place
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = input_ids
    for row, start, end in zip(labels, prompt_lengths.tolist(), lengths.tolist(), strict=True):
        row[:start] = -100
        row[end:] = -100
    return labels

# %% 06.2 wrong: the first token of the answer is masked as well
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    position = torch.arange(input_ids.shape[1], device=input_ids.device)
    keep = (position > prompt_lengths[:, None]) & (position < lengths[:, None])
    return input_ids.masked_fill(~keep, -100)

# %% 06.2 wrong: one token of the padding is learned
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    position = torch.arange(input_ids.shape[1], device=input_ids.device)
    drop = (position < prompt_lengths[:, None]) | (position > lengths[:, None])
    return input_ids.masked_fill(drop, -100)

# %% 06.2 wrong: the shift by one is done here
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    position = torch.arange(input_ids.shape[1], device=input_ids.device)
    keep = (position >= prompt_lengths[:, None]) & (position < lengths[:, None])
    labels = input_ids.masked_fill(~keep, -100)
    return torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], dim=1)

# %% 06.2 wrong: the prompt length of the first row is used for all
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = input_ids.clone()
    labels[:, : int(prompt_lengths[0])] = -100
    for i, end in enumerate(lengths.tolist()):
        labels[i, end:] = -100
    return labels

# %% 06.2 wrong: the padding is found by its id, not by the lengths
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = input_ids.clone()
    labels[input_ids == tokenizer.pad_token_id] = -100
    for i, start in enumerate(prompt_lengths.tolist()):
        labels[i, :start] = -100
    return labels

# %% 06.2 wrong: a row without padding is masked altogether
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = input_ids.clone()
    for i in range(len(labels)):
        padding = input_ids.shape[1] - int(lengths[i])
        labels[i, : int(prompt_lengths[i])] = -100
        labels[i, -padding:] = -100
    return labels

# %% 06.2 wrong: calls itself for each row without an end
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    rows_of_labels = [
        mask_prompt(input_ids[i : i + 1], prompt_lengths[i : i + 1], lengths[i : i + 1]) for i in range(len(lengths))
    ]
    return torch.cat(rows_of_labels)

# %% 06.2 right: compare positions
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    t = torch.arange(input_ids.shape[1], device=input_ids.device)
    return input_ids.masked_fill((t < prompt_lengths[:, None]) | (t >= lengths[:, None]), -100)

# %% 06.2 right: copy the answers into rows of -100
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = torch.full_like(input_ids, -100)
    for i, (start, end) in enumerate(zip(prompt_lengths.tolist(), lengths.tolist(), strict=True)):
        labels[i, start:end] = input_ids[i, start:end]
    return labels

# %% 06.2 right: token by token in lists
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    table = input_ids.tolist()
    for r, row in enumerate(table):
        for t in range(len(row)):
            if t < int(prompt_lengths[r]) or t >= int(lengths[r]):
                row[t] = -100
    return torch.tensor(table, dtype=input_ids.dtype, device=input_ids.device).view(input_ids.shape)

# %% 06.3 wrong: the attention mask is made from the pad id, which may be a real token
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    for i, example in enumerate(examples):
        if max_length is not None and len(example["input_ids"]) > max_length:
            raise ValueError(f"row {i} has {len(example['input_ids'])} tokens, more than {max_length}")
    longest = max(len(example["input_ids"]) for example in examples)
    ids = [e["input_ids"] + [pad_id] * (longest - len(e["input_ids"])) for e in examples]
    labels = [e["labels"] + [-100] * (longest - len(e["labels"])) for e in examples]
    ids = torch.tensor(ids, dtype=torch.int64)
    return {"input_ids": ids, "attention_mask": (ids != pad_id).long(), "labels": torch.tensor(labels).long()}

# %% 06.3 wrong: the lists of the given examples grow in place
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    longest = max(len(example["input_ids"]) for example in examples)
    mask = []
    for i, example in enumerate(examples):
        length = len(example["input_ids"])
        if max_length is not None and length > max_length:
            raise ValueError(f"row {i} has {length} tokens, more than {max_length}")
        ids, labels = example["input_ids"], example["labels"]
        ids += [pad_id] * (longest - length)
        labels += [-100] * (longest - length)
        mask.append([1] * length + [0] * (longest - length))
    batch = {name: [example[name] for example in examples] for name in ("input_ids", "labels")}
    return {name: torch.tensor(rows, dtype=torch.int64) for name, rows in {**batch, "attention_mask": mask}.items()}

# %% 06.3 wrong: pads up to max_length instead of the longest row
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    longest = max(len(example["input_ids"]) for example in examples) if max_length is None else max_length
    ids, mask, labels = [], [], []
    for i, example in enumerate(examples):
        gap = longest - len(example["input_ids"])
        if gap < 0:
            raise ValueError(f"row {i} has {len(example['input_ids'])} tokens, more than {max_length}")
        ids.append(example["input_ids"] + [pad_id] * gap)
        mask.append([1] * len(example["input_ids"]) + [0] * gap)
        labels.append(example["labels"] + [-100] * gap)
    rows = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.tensor(row, dtype=torch.int64) for name, row in rows.items()}

# %% 06.3 wrong: the labels are padded with the pad id
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    longest = max(len(example["input_ids"]) for example in examples)
    ids, mask, labels = [], [], []
    for i, example in enumerate(examples):
        length = len(example["input_ids"])
        if max_length is not None and length > max_length:
            raise ValueError(f"row {i} has {length} tokens, more than {max_length}")
        ids.append(example["input_ids"] + [pad_id] * (longest - length))
        mask.append([1] * length + [0] * (longest - length))
        labels.append(example["labels"] + [pad_id] * (longest - length))
    rows = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.tensor(row, dtype=torch.int64) for name, row in rows.items()}

# %% 06.3 wrong: real tokens with the pad id lose their label
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    shape = len(examples), max(len(example["input_ids"]) for example in examples)
    ids, labels = torch.full(shape, pad_id), torch.full(shape, -100)
    mask = torch.zeros(shape, dtype=torch.int64)
    for i, example in enumerate(examples):
        length = len(example["input_ids"])
        if max_length is not None and length > max_length:
            raise ValueError(f"row {i} has {length} tokens, more than {max_length}")
        ids[i, :length] = torch.tensor(example["input_ids"])
        labels[i, :length] = torch.tensor(example["labels"])
        mask[i, :length] = 1
    labels[ids == pad_id] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}

# %% 06.3 wrong: a row of exactly max_length tokens is refused
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    longest = max(len(example["input_ids"]) for example in examples)
    ids, mask, labels = [], [], []
    for i, example in enumerate(examples):
        length = len(example["input_ids"])
        if max_length is not None and length >= max_length:
            raise ValueError(f"row {i} has {length} tokens, more than {max_length}")
        ids.append(example["input_ids"] + [pad_id] * (longest - length))
        mask.append([1] * length + [0] * (longest - length))
        labels.append(example["labels"] + [-100] * (longest - length))
    rows = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.tensor(row, dtype=torch.int64) for name, row in rows.items()}

# %% 06.3 wrong: the error does not say which row
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    longest = max(len(example["input_ids"]) for example in examples)
    if max_length is not None and longest > max_length:
        raise ValueError("a row is too long")
    gaps = [longest - len(example["input_ids"]) for example in examples]
    rows = {
        "input_ids": [e["input_ids"] + [pad_id] * gap for e, gap in zip(examples, gaps, strict=True)],
        "attention_mask": [[1] * (longest - gap) + [0] * gap for gap in gaps],
        "labels": [e["labels"] + [-100] * gap for e, gap in zip(examples, gaps, strict=True)],
    }
    return {name: torch.tensor(row, dtype=torch.int64) for name, row in rows.items()}

# %% 06.3 wrong: the attention mask is of bools
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    for i, example in enumerate(examples):
        if max_length is not None and len(example["input_ids"]) > max_length:
            raise ValueError(f"row {i} has {len(example['input_ids'])} tokens, more than {max_length}")
    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    longest = int(lengths.max())
    ids = [e["input_ids"] + [pad_id] * (longest - len(e["input_ids"])) for e in examples]
    labels = [e["labels"] + [-100] * (longest - len(e["labels"])) for e in examples]
    return {
        "input_ids": torch.tensor(ids, dtype=torch.int64),
        "attention_mask": torch.arange(longest) < lengths[:, None],
        "labels": torch.tensor(labels, dtype=torch.int64),
    }

# %% 06.3 right: terse, by lists
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    sizes = [len(e["input_ids"]) for e in examples]
    if long := [i for i, n in enumerate(sizes) if max_length is not None and n > max_length]:
        raise ValueError(f"row {long[0]} has {sizes[long[0]]} tokens, more than {max_length}")
    fill = {"input_ids": pad_id, "attention_mask": 0, "labels": -100}
    full = [{**e, "attention_mask": [1] * n} for e, n in zip(examples, sizes, strict=True)]
    return {k: torch.tensor([[*e[k], *[v] * (max(sizes) - len(e[k]))] for e in full]).long() for k, v in fill.items()}

# %% 06.3 right: by the library's pad_sequence
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    from torch.nn.utils.rnn import pad_sequence

    for i, example in enumerate(examples):
        if max_length is not None and len(example["input_ids"]) > max_length:
            raise ValueError(f"row {i}: {len(example['input_ids'])} tokens, but max_length is {max_length}")
    ids = [torch.tensor(example["input_ids"], dtype=torch.int64) for example in examples]
    labels = [torch.tensor(example["labels"], dtype=torch.int64) for example in examples]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad_id),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }

# %% 06.3 right: number by number into full tensors
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    longest = 0
    for i, example in enumerate(examples):
        n = len(example["input_ids"])
        if max_length is not None and n > max_length:
            raise ValueError(f"row {i} is too long: {n} tokens, allowed are {max_length}")
        if n > longest:
            longest = n
    ids = torch.full((len(examples), longest), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(examples), longest), dtype=torch.int64)
    labels = torch.full((len(examples), longest), -100, dtype=torch.int64)
    for i, example in enumerate(examples):
        for t in range(len(example["input_ids"])):
            ids[i, t] = example["input_ids"][t]
            labels[i, t] = example["labels"][t]
            mask[i, t] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}

# %% 06.4 wrong: no shift, position t is asked for token t
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    import torch.nn.functional as F

    total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    return total / (labels != -100).sum().clamp(min=1)

# %% 06.4 wrong: the mean of the rows' means
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    import torch.nn.functional as F

    target = labels[:, 1:]
    each = F.cross_entropy(logits[:, :-1].transpose(1, 2), target, ignore_index=-100, reduction="none")
    return (each.sum(1) / (target != -100).sum(1).clamp(min=1)).mean()

# %% 06.4 wrong: NaN where there is no answer token
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    import torch.nn.functional as F

    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)

# %% 06.4 wrong: the label of the first position is counted, though nothing predicts it
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    import torch.nn.functional as F

    total = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    return total / (labels != -100).sum().clamp(min=1)

# %% 06.4 wrong: without an answer token a constant to which no gradient flows
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    import torch.nn.functional as F

    target = labels[:, 1:]
    if not (target != -100).any():
        return torch.tensor(0.0)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), target.flatten(), ignore_index=-100)

# %% 06.4 wrong: the token with id 0 is taken for padding
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    target = labels[:, 1:]
    keep = target > 0
    logp = logits[:, :-1].log_softmax(-1)
    picked = logp[keep].gather(-1, target[keep][:, None])
    return -picked.sum() / keep.sum().clamp(min=1)

# %% 06.4 wrong: the -100 of the given labels are overwritten
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    target = labels[:, 1:]
    keep = target != -100
    target[~keep] = 0
    logp = logits[:, :-1].log_softmax(-1).gather(-1, target[..., None]).squeeze(-1)
    return -torch.where(keep, logp, 0.0).sum() / keep.sum().clamp(min=1)

# %% 06.4 wrong: bits instead of nats
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    import math

    target = labels[:, 1:]
    keep = target != -100
    picked = logits[:, :-1].log_softmax(-1)[keep].gather(-1, target[keep][:, None])
    return -picked.sum() / math.log(2) / keep.sum().clamp(min=1)

# %% 06.4 right: terse, by cross_entropy
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    import torch.nn.functional as F

    y, precise = labels[:, 1:].flatten(), torch.promote_types(logits.dtype, torch.float32)
    x = logits[:, :-1].flatten(0, 1).to(precise)
    return F.cross_entropy(x, y, ignore_index=-100, reduction="sum") / (y != -100).sum().clamp(min=1)

# %% 06.4 right: by gather on the scores of the answers
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    target = labels[:, 1:]
    keep = target != -100
    scores = logits[:, :-1][keep]
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    chosen = scores.gather(1, target[keep].unsqueeze(1)).squeeze(1)
    return (scores.logsumexp(1) - chosen).sum() / max(1, int(keep.sum()))

# %% 06.4 right: token by token
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total, count = logits[:, :0].sum(), 0
    batch, length = labels.shape
    for r in range(batch):
        for t in range(length - 1):
            label = int(labels[r, t + 1])
            if label != -100:
                total = total - logits[r, t].log_softmax(0)[label]
                count += 1
    return total / count if count else total

# %% 06.5 wrong: a sentence of three words is refused
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) > 3 and text[0].isupper() and text[-1] in ".!"
    try:
        data = json.loads(text)
    except ValueError:
        return False
    return isinstance(data, dict) and list(data) == [relation]

# %% 06.5 wrong: a sentence with a name in it is refused, for only the first letter may be a capital
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text == text.capitalize() and text.endswith((".", "!"))
    try:
        data = json.loads(text)
    except ValueError:
        return False
    return isinstance(data, dict) and list(data) == [relation]

# %% 06.5 wrong: a JSON list that holds the relation passes
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text[-1] in ".!"
    try:
        return list(json.loads(text)) == [relation]
    except (ValueError, TypeError):
        return False

# %% 06.5 wrong: other keys beside the relation pass
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text[-1] in ".!"
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        return False
    return isinstance(data, dict) and relation in data

# %% 06.5 wrong: invalid JSON raises instead of giving False
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text[-1] in ".!"
    data = json.loads(text)
    return isinstance(data, dict) and set(data) == {relation}

# %% 06.5 wrong: one word means no space, so nothing at all and two lines pass
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    if format == "word":
        return " " not in text
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text[-1] in ".!"
    try:
        data = json.loads(text)
    except ValueError:
        return False
    return isinstance(data, dict) and list(data) == [relation]

# %% 06.5 wrong: a Python dict in single quotes passes for JSON
def format_kept(response: str, format: str, relation: str) -> bool:
    import ast

    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text[-1] in ".!"
    try:
        data = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return isinstance(data, dict) and list(data) == [relation]

# %% 06.5 wrong: white space around a sentence matters
def format_kept(response: str, format: str, relation: str) -> bool:
    words_of_it = response.split()
    if format == "word":
        return len(words_of_it) == 1
    if format == "sentence":
        return len(words_of_it) >= 3 and response[0].isupper() and response[-1] in ".!"
    try:
        data = json.loads(response)
    except ValueError:
        return False
    return isinstance(data, dict) and list(data) == [relation]

# %% 06.5 right: a chain of ifs
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text.endswith((".", "!"))
    try:
        data = json.loads(text)
    except ValueError:
        return False
    return isinstance(data, dict) and list(data) == [relation]

# %% 06.5 right: terse, the decoder tells the pairs
def format_kept(response: str, format: str, relation: str) -> bool:
    n, text = len(response.split()), response.strip()
    if format != "json":
        return n == 1 if format == "word" else n >= 3 and text[:1].isupper() and text[-1:] in {".", "!"}
    try:
        return type(found := json.loads(text)) is dict and {*found} == {relation}
    except ValueError:
        return False

# %% 06.5 right: by a loop over the characters
def format_kept(response: str, format: str, relation: str) -> bool:
    def count_words(text: str) -> int:
        count, inside = 0, False
        for character in text:
            if character.isspace():
                inside = False
            elif not inside:
                inside = True
                count += 1
        return count

    def only_key(text: str) -> object:
        try:
            data = json.loads(text)
        except ValueError:
            return None
        if not isinstance(data, dict) or len(data) != 1:
            return None
        for key in data:
            return key

    text = response.strip()
    if format == "word":
        return count_words(text) == 1
    elif format == "sentence":
        if count_words(text) < 3:
            return False
        first, last = text[0], text[len(text) - 1]
        return first.isupper() and (last == "." or last == "!")
    else:
        key = only_key(text)
        return key is not None and key == relation
