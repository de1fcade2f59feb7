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


# %% 06.1 wrong: special tokens typed in the text are read as special tokens
def encode_chat(messages, tokenizer):
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        content = tokenizer(message["content"], add_special_tokens=False)["input_ids"]
        spoken = int(message["role"] == "assistant")
        if spoken:
            content = content + [tokenizer.eos_token_id]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        mask += [0] + [spoken] * len(content)
    return ids, mask


# %% 06.1 wrong: white space around the content is stripped
def encode_chat(messages, tokenizer):
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        content = tokenizer(message["content"].strip(), split_special_tokens=True)["input_ids"]
        spoken = int(message["role"] == "assistant")
        content = content + [tokenizer.eos_token_id] * spoken
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        mask += [0] + [spoken] * len(content)
    return ids, mask


# %% 06.1 wrong: only the last answer of a chat is in the mask
def encode_chat(messages, tokenizer):
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        ids.append(tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"))
        if message["role"] == "assistant":
            mask = [0] * len(ids) + [1] * (len(content) + 1)
            ids += content + [tokenizer.eos_token_id]
        else:
            ids += content
            mask += [0] * (len(content) + 1)
    return ids, mask


# %% 06.1 wrong: the messages are emptied while they are read
def encode_chat(messages, tokenizer):
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        role, content = message.pop("role"), message.pop("content")
        tokens = tokenizer(content, split_special_tokens=True)["input_ids"]
        if role == "assistant":
            tokens = tokens + [tokenizer.eos_token_id]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{role}|>")] + tokens
        mask += [0] + [1 if role == "assistant" else 0] * len(tokens)
    return ids, mask


# %% 06.1 wrong: everything that is no user's message counts as the assistant's, the system's too
def encode_chat(messages, tokenizer):
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        tokens = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        spoken = message["role"] != "user"
        if spoken:
            tokens = tokens + [tokenizer.eos_token_id]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>")] + tokens
        mask += [0] + [int(spoken)] * len(tokens)
    return ids, mask


# %% 06.1 right: pieces with a flag, flattened at the end
def encode_chat(messages, tokenizer):
    pieces = [(0, [tokenizer.bos_token_id])]
    for m in messages:
        said, text = int(m["role"] == "assistant"), tokenizer(m["content"], split_special_tokens=True)["input_ids"]
        pieces.append((0, [tokenizer.convert_tokens_to_ids(f"<|{m['role']}|>")]))
        pieces.append((said, list(text) + said * [tokenizer.eos_token_id]))
    return [i for _, ids in pieces for i in ids], [said for said, ids in pieces for _ in ids]


# %% 06.1 right: token by token
def encode_chat(messages, tokenizer):
    ids, mask = [], []
    ids.append(tokenizer.bos_token_id)
    mask.append(0)
    for message in messages:
        role = message["role"]
        ids.append(tokenizer.convert_tokens_to_ids("<|" + role + "|>"))
        mask.append(0)
        for token in tokenizer(message["content"], split_special_tokens=True)["input_ids"]:
            ids.append(token)
            if role == "assistant":
                mask.append(1)
            else:
                mask.append(0)
        if role == "assistant":
            ids.append(tokenizer.eos_token_id)
            mask.append(1)
    return ids, mask


# %% 06.2 wrong: a negative slice masks a whole row that has no padding
def mask_prompt(input_ids, prompt_lengths, lengths):
    labels = input_ids.clone()
    for row in range(len(labels)):
        padding = labels.shape[1] - int(lengths[row])
        labels[row, : int(prompt_lengths[row])] = -100
        labels[row, -padding:] = -100
    return labels


# %% 06.2 wrong: the padding is found by its id, so an end token at the end of a full row is lost
def mask_prompt(input_ids, prompt_lengths, lengths):
    labels = input_ids.clone()
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    labels[places < prompt_lengths[:, None]] = -100
    labels[(input_ids == input_ids[:, -1:]) & (places >= lengths[:, None] - 1)] = -100
    return labels


# %% 06.2 wrong: the ids of the caller are overwritten
def mask_prompt(input_ids, prompt_lengths, lengths):
    labels = input_ids
    places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    outside = (places < prompt_lengths[:, None]) | (places >= lengths[:, None])
    labels[outside] = -100
    return labels


# %% 06.2 wrong: lengths is taken for the number of answer tokens
def mask_prompt(input_ids, prompt_lengths, lengths):
    places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    start = prompt_lengths[:, None]
    inside = (places >= start) & (places < start + lengths[:, None])
    return torch.where(inside, input_ids, -100)


# %% 06.2 wrong: it calls itself
def mask_prompt(input_ids, prompt_lengths, lengths):
    return mask_prompt(input_ids, prompt_lengths, lengths)


# %% 06.2 right: one comparison with the places
def mask_prompt(input_ids, prompt_lengths, lengths):
    at = torch.arange(input_ids.shape[1], device=input_ids.device)
    return input_ids.masked_fill((at < prompt_lengths[:, None]) | (at >= lengths[:, None]), -100)


# %% 06.2 right: by lists
def mask_prompt(input_ids, prompt_lengths, lengths):
    rows = []
    for ids, start, stop in zip(input_ids.tolist(), prompt_lengths.tolist(), lengths.tolist()):
        row = []
        for place, token in enumerate(ids):
            row.append(token if start <= place < stop else -100)
        rows.append(row)
    return torch.tensor(rows, dtype=torch.int64, device=input_ids.device).reshape(input_ids.shape)


# %% 06.3 wrong: attention is off wherever a token has the id of the padding
def collate(examples, pad_id=0, max_length=None):
    longest = max(len(example["input_ids"]) for example in examples)
    for number, example in enumerate(examples):
        if max_length is not None and len(example["input_ids"]) > max_length:
            raise ValueError(f"row {number} is too long")
    ids = torch.tensor([e["input_ids"] + [pad_id] * (longest - len(e["input_ids"])) for e in examples])
    labels = torch.tensor([e["labels"] + [-100] * (longest - len(e["labels"])) for e in examples])
    return {"input_ids": ids, "attention_mask": (ids != pad_id).long(), "labels": labels}


# %% 06.3 wrong: the lists of the examples grow
def collate(examples, pad_id=0, max_length=None):
    lengths = [len(example["input_ids"]) for example in examples]
    for number, length in enumerate(lengths):
        if max_length is not None and length > max_length:
            raise ValueError(f"row {number} has {length} tokens, more than {max_length}")
    batch = {"input_ids": [], "attention_mask": [], "labels": []}
    for example, length in zip(examples, lengths):
        ids, labels, missing = example["input_ids"], example["labels"], max(lengths) - length
        ids += [pad_id] * missing
        labels += [-100] * missing
        batch["input_ids"].append(ids)
        batch["labels"].append(labels)
        batch["attention_mask"].append([1] * length + [0] * missing)
    return {name: torch.tensor(rows, dtype=torch.long) for name, rows in batch.items()}


# %% 06.3 wrong: pads to max_length where it is given
def collate(examples, pad_id=0, max_length=None):
    lengths = [len(example["input_ids"]) for example in examples]
    for number, length in enumerate(lengths):
        if max_length is not None and length > max_length:
            raise ValueError(f"row {number} has {length} tokens")
    width = max(lengths) if max_length is None else max_length
    ids = torch.full((len(examples), width), pad_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (example, length) in enumerate(zip(examples, lengths)):
        ids[row, :length] = torch.tensor(example["input_ids"], dtype=torch.long)
        labels[row, :length] = torch.tensor(example["labels"], dtype=torch.long)
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


# %% 06.3 wrong: names the longest row instead of the first that is too long
def collate(examples, pad_id=0, max_length=None):
    lengths = [len(example["input_ids"]) for example in examples]
    longest = max(lengths)
    if max_length is not None and longest > max_length:
        raise ValueError(f"row {lengths.index(longest)} is too long")
    pad = torch.nn.utils.rnn.pad_sequence
    ids = [torch.tensor(e["input_ids"], dtype=torch.long) for e in examples]
    labels = [torch.tensor(e["labels"], dtype=torch.long) for e in examples]
    return {
        "input_ids": pad(ids, batch_first=True, padding_value=pad_id),
        "attention_mask": pad([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad(labels, batch_first=True, padding_value=-100),
    }


# %% 06.3 wrong: a row of exactly max_length tokens is refused (another)
def collate(examples, pad_id=0, max_length=None):
    longest = max(len(example["input_ids"]) for example in examples)
    batch = {"input_ids": [], "attention_mask": [], "labels": []}
    for number, example in enumerate(examples):
        length = len(example["input_ids"])
        if max_length is not None and length >= max_length:
            raise ValueError(f"row {number} does not fit")
        batch["input_ids"].append(example["input_ids"] + [pad_id] * (longest - length))
        batch["attention_mask"].append([1] * length + [0] * (longest - length))
        batch["labels"].append(example["labels"] + [-100] * (longest - length))
    return {name: torch.tensor(rows) for name, rows in batch.items()}


# %% 06.3 right: one inner function for all three
def collate(examples, pad_id=0, max_length=None):
    sizes = [len(e["input_ids"]) for e in examples]
    if max_length is not None and max(sizes) > max_length:
        raise ValueError(f"row {next(i for i, n in enumerate(sizes) if n > max_length)}: too many tokens")
    fill = lambda rows, value: torch.tensor([[*r, *[value] * (max(sizes) - len(r))] for r in rows], dtype=torch.int64)
    return {
        "input_ids": fill([e["input_ids"] for e in examples], pad_id),
        "attention_mask": fill([[1] * n for n in sizes], 0),
        "labels": fill([e["labels"] for e in examples], -100),
    }


# %% 06.3 right: full tensors, filled token by token
def collate(examples, pad_id=0, max_length=None):
    longest = 0
    for number, example in enumerate(examples):
        count = len(example["input_ids"])
        if max_length is not None and count > max_length:
            raise ValueError("too many tokens in row " + str(number))
        longest = max(longest, count)
    input_ids = torch.full((len(examples), longest), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(examples), longest), dtype=torch.int64)
    labels = torch.full((len(examples), longest), -100, dtype=torch.int64)
    for number, example in enumerate(examples):
        for place, (token, label) in enumerate(zip(example["input_ids"], example["labels"])):
            input_ids[number, place] = token
            attention_mask[number, place] = 1
            labels[number, place] = label
    return dict(input_ids=input_ids, attention_mask=attention_mask, labels=labels)


# %% 06.4 wrong: the label at position 0 is counted though nothing predicts it
def answer_loss(logits, labels):
    total = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), reduction="sum"
    )
    return total / (labels != -100).sum().clamp(min=1)


# %% 06.4 wrong: without an answer it returns a zero that no gradient flows through
def answer_loss(logits, labels):
    targets = labels[:, 1:].reshape(-1)
    if not (targets != -100).any():
        return torch.tensor(0.0)
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), targets)


# %% 06.4 wrong: the mean of the means of the rows
def answer_loss(logits, labels):
    targets = labels[:, 1:]
    each = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), targets, ignore_index=-100, reduction="none"
    )
    counts = (targets != -100).sum(1)
    rows = each.sum(1) / counts.clamp(min=1)
    return rows.sum() / (counts > 0).sum().clamp(min=1)


# %% 06.4 wrong: the -100 in the caller's labels become 0
def answer_loss(logits, labels):
    targets = labels[:, 1:]
    mask = targets != -100
    targets[~mask] = 0
    picked = logits[:, :-1].log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    return -(picked * mask).sum() / mask.sum().clamp(min=1)


# %% 06.4 wrong: the logarithm of a softmax, infinite where the probability rounds to 0
def answer_loss(logits, labels):
    targets = labels[:, 1:]
    mask = targets != -100
    probabilities = logits[:, :-1].softmax(-1)
    picked = probabilities.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    losses = -picked[mask].log()
    return losses.sum() / mask.sum().clamp(min=1)


# %% 06.4 right: a sum over the flat batch, divided by at least one
def answer_loss(logits, labels):
    scores, wanted = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(scores, wanted, reduction="sum") / (wanted != -100).sum().clamp(min=1)


# %% 06.4 right: token by token (another)
def answer_loss(logits, labels):
    total, count = logits[:, :, :0].sum(), 0
    for row in range(labels.shape[0]):
        for place in range(1, labels.shape[1]):
            target = int(labels[row, place])
            if target != -100:
                scores = logits[row, place - 1]
                total = total + scores.logsumexp(0) - scores[target]
                count += 1
    return total / max(count, 1)


# %% 06.5 wrong: a JSON list that holds only the relation passes for an object
def format_kept(response, format, relation):
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text[-1] in ".!"
    try:
        return list(json.loads(text)) == [relation]
    except (ValueError, TypeError):
        return False


# %% 06.5 wrong: the object may have further keys
def format_kept(response, format, relation):
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text.endswith((".", "!"))
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return False
    return isinstance(found, dict) and relation in found


# %% 06.5 wrong: one word is what has no blank, so nothing at all and two lines pass
def format_kept(response, format, relation):
    text = response.strip()
    if format == "word":
        return " " not in text
    if format == "sentence":
        return len(text.split()) >= 3 and text[:1].isupper() and text[-1:] in (".", "!")
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and set(found) == {relation}


# %% 06.5 wrong: a question mark ends a sentence too
def format_kept(response, format, relation):
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text[-1] in ".!?"
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and list(found.keys()) == [relation]


# %% 06.5 wrong: a sentence must have no second capital letter, as str.capitalize writes it
def format_kept(response, format, relation):
    text = response.strip()
    words = text.split()
    if format == "word":
        return len(words) == 1
    if format == "sentence":
        return len(words) >= 3 and text == text.capitalize() and text[-1] in ".!"
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return type(found) is dict and [*found] == [relation]


# %% 06.5 right: a branch for each format
def format_kept(response, format, relation):
    text = response.strip()
    if format == "json":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and list(value) == [relation]
    count = len(text.split())
    return count == 1 if format == "word" else count >= 3 and text[0].isupper() and text[-1] in ".!"


# %% 06.5 right: words counted by a loop
def format_kept(response, format, relation):
    words, inside = 0, False
    for sign in response:
        if sign.isspace():
            inside = False
        elif not inside:
            inside = True
            words += 1
    text = response.strip()
    if format == "word":
        return words == 1
    if format == "sentence":
        if words < 3:
            return False
        if not text[0].isupper():
            return False
        return text.endswith(".") or text.endswith("!")
    try:
        value = json.loads(text)
    except Exception:
        return False
    if not isinstance(value, dict) or len(value) != 1:
        return False
    for key in value:
        if key != relation:
            return False
    return True

# %% 06.1 wrong: only the last answer of the assistant is marked
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
    for i, message in enumerate(messages):
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        if message["role"] == "assistant":
            content = content + [tokenizer.eos_token_id]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content]
        mask += [0] + [int(i == last)] * len(content)
    return ids, mask

# %% 06.1 wrong: a system message gets the token of the user
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    user, assistant = (tokenizer.convert_tokens_to_ids(t) for t in ("<|user|>", "<|assistant|>"))
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        speaks = message["role"] == "assistant"
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        ids += [assistant if speaks else user] + content + [tokenizer.eos_token_id] * speaks
        mask += [0] + [int(speaks)] * (len(content) + speaks)
    return ids, mask

# %% 06.1 wrong: the messages are taken out of the given list
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    while messages:
        message = messages.pop(0)
        ids.append(tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"))
        mask.append(0)
        content = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        ids.extend(content)
        if message["role"] == "assistant":
            ids.append(tokenizer.eos_token_id)
            mask.extend([1] * (len(content) + 1))
        else:
            mask.extend([0] * len(content))
    return ids, mask

# %% 06.1 right: pairs of token and mark, unzipped at the end
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    pairs = [(tokenizer.bos_token_id, 0)]
    for message in messages:
        mark = 1 if message["role"] == "assistant" else 0
        pairs.append((tokenizer.convert_tokens_to_ids("<|" + message["role"] + "|>"), 0))
        for token in tokenizer(message["content"], split_special_tokens=True)["input_ids"]:
            pairs.append((token, mark))
        if mark:
            pairs.append((tokenizer.eos_token_id, 1))
    return [token for token, _ in pairs], [mark for _, mark in pairs]

# %% 06.2 wrong: padding is what has the id of the last token of the batch's shortest row
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    pad = input_ids[lengths.argmin(), -1]
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    return input_ids.masked_fill((places < prompt_lengths[:, None]) | (input_ids == pad), -100)

# %% 06.2 wrong: lengths is taken for the length of the answer
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = torch.full_like(input_ids, -100)
    for row, (start, size) in enumerate(zip(prompt_lengths.tolist(), lengths.tolist(), strict=True)):
        labels[row, start : start + size] = input_ids[row, start : start + size]
    return labels

# %% 06.2 wrong: it only calls itself
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    return mask_prompt(input_ids, prompt_lengths, lengths)

# %% 06.2 right: two cumulative conditions and where
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    t = torch.arange(input_ids.size(1), device=input_ids.device).expand_as(input_ids)
    return torch.where((t >= prompt_lengths[:, None]) & (t < lengths[:, None]), input_ids, -100)

# %% 06.3 wrong: padded to max_length when it is given
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    for i, example in enumerate(examples):
        if max_length is not None and len(example["input_ids"]) > max_length:
            raise ValueError(f"row {i} is too long")
    width = max_length if max_length is not None else max(len(e["input_ids"]) for e in examples)
    ids = [e["input_ids"] + [pad_id] * (width - len(e["input_ids"])) for e in examples]
    seen = [[1] * len(e["input_ids"]) + [0] * (width - len(e["input_ids"])) for e in examples]
    labels = [e["labels"] + [-100] * (width - len(e["labels"])) for e in examples]
    parts = {"input_ids": ids, "attention_mask": seen, "labels": labels}
    return {name: torch.tensor(part, dtype=torch.int64) for name, part in parts.items()}

# %% 06.3 wrong: the error names the longest row, not the first that is too long
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    sizes = [len(e["input_ids"]) for e in examples]
    width = max(sizes)
    if max_length is not None and width > max_length:
        raise ValueError(f"row {sizes.index(width)} has more than the allowed number of tokens")
    shape = len(examples), width
    ids, labels = torch.full(shape, pad_id), torch.full(shape, -100)
    seen = torch.zeros(shape, dtype=torch.int64)
    for i, (example, n) in enumerate(zip(examples, sizes, strict=True)):
        ids[i, :n], labels[i, :n] = torch.tensor(example["input_ids"]), torch.tensor(example["labels"])
        seen[i, :n] = 1
    return {"input_ids": ids, "attention_mask": seen, "labels": labels}

# %% 06.3 wrong: the lists of the examples themselves are lengthened
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    width = max(len(e["input_ids"]) for e in examples)
    masks = []
    for i, example in enumerate(examples):
        ids, labels = example["input_ids"], example["labels"]
        if max_length is not None and len(ids) > max_length:
            raise ValueError(f"example {i} has more than {max_length} tokens")
        missing = width - len(ids)
        masks.append([1] * len(ids) + [0] * missing)
        ids += [pad_id] * missing
        labels += [-100] * missing
    return {
        "input_ids": torch.tensor([e["input_ids"] for e in examples], dtype=torch.int64),
        "attention_mask": torch.tensor(masks, dtype=torch.int64),
        "labels": torch.tensor([e["labels"] for e in examples], dtype=torch.int64),
    }

# %% 06.3 right: pad_sequence does the work
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    from torch.nn.utils.rnn import pad_sequence

    if max_length is not None:
        long = [i for i, e in enumerate(examples) if len(e["input_ids"]) > max_length]
        if long:
            raise ValueError(f"row {long[0]} is too long")

    def fill(rows, value):
        tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=value)

    return {
        "labels": fill([e["labels"] for e in examples], -100),
        "input_ids": fill([e["input_ids"] for e in examples], pad_id),
        "attention_mask": fill([[1] * len(e["input_ids"]) for e in examples], 0),
    }

# %% 06.4 wrong: the divisor counts the label at position 0 too
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    predicted, wanted = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    total = torch.nn.functional.cross_entropy(predicted, wanted, ignore_index=-100, reduction="sum")
    return total / (labels != -100).sum().clamp(min=1)

# %% 06.4 wrong: the labels are rolled, so the last place predicts the first token
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    wanted = labels.roll(-1, dims=1)
    keep = wanted != -100
    logp = logits.log_softmax(-1).gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
    return -(logp * keep).sum() / keep.sum().clamp(min=1)

# %% 06.4 wrong: without an answer token the zero hangs on nothing
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    if not (labels[:, 1:] != -100).any():
        return torch.tensor(0.0, requires_grad=True)
    vocabulary = logits.shape[-1]
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, vocabulary), labels[:, 1:].reshape(-1))

# %% 06.4 right: logsumexp minus the score of the wanted token
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    scores, wanted = logits[:, :-1], labels[:, 1:]
    keep = wanted != -100
    picked = scores.gather(-1, wanted.masked_fill(~keep, 0).unsqueeze(-1)).squeeze(-1)
    surprise = torch.logsumexp(scores, dim=-1) - picked
    return surprise.masked_fill(~keep, 0.0).sum() / max(int(keep.sum()), 1)

# %% 06.5 wrong: a JSON list that holds the key passes for an object
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

# %% 06.5 wrong: one word is a text without a space
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    if format == "word":
        return " " not in text
    if format == "sentence":
        return len(text.split()) > 2 and text[0].isupper() and text.endswith((".", "!"))
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and list(found) == [relation]

# %% 06.5 wrong: a digit or a quotation mark passes for a capital letter
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    words = text.split()
    if format == "word":
        return len(words) == 1
    if format == "sentence":
        return len(words) >= 3 and text[0] == text[0].upper() and text[-1] in (".", "!")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return False
    return isinstance(found, dict) and set(found) == {relation}

# %% 06.5 right: a match statement
def format_kept(response: str, format: str, relation: str) -> bool:
    words = response.split()
    match format:
        case "word":
            return len(words) == 1
        case "sentence":
            return len(words) >= 3 and words[0][0].isupper() and words[-1][-1] in {".", "!"}
        case "json":
            try:
                data = json.loads(response.strip())
            except ValueError:
                return False
            return type(data) is dict and data.keys() == {relation}
    return False


# %% 06.1 wrong: special tokens typed in the text are read as special tokens, again
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        ids.append(tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"))
        mask.append(0)
        content = tokenizer(message["content"], add_special_tokens=False)["input_ids"]
        said = message["role"] == "assistant"
        if said:
            content = content + [tokenizer.eos_token_id]
        ids += content
        mask += [int(said)] * len(content)
    return ids, mask


# %% 06.1 wrong: the white space around the contents is lost
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        role, content = message["role"], message["content"].strip()
        tokens = tokenizer(content, split_special_tokens=True)["input_ids"]
        ids += [tokenizer.convert_tokens_to_ids(f"<|{role}|>"), *tokens]
        mask += [0] + [int(role == "assistant")] * len(tokens)
        if role == "assistant":
            ids.append(tokenizer.eos_token_id)
            mask.append(1)
    return ids, mask


# %% 06.1 wrong: the eos behind the answer is not learned
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        assistant = message["role"] == "assistant"
        tokens = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        ids.append(tokenizer.convert_tokens_to_ids("<|" + message["role"] + "|>"))
        ids.extend(tokens)
        mask.append(0)
        mask.extend([1 if assistant else 0] * len(tokens))
        if assistant:
            ids.append(tokenizer.eos_token_id)
            mask.append(0)
    return ids, mask


# %% 06.1 wrong: system messages get the token of the user
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    user = tokenizer.convert_tokens_to_ids("<|user|>")
    assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        tokens = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        if message["role"] == "assistant":
            ids += [assistant, *tokens, tokenizer.eos_token_id]
            mask += [0] + [1] * (len(tokens) + 1)
        else:
            ids += [user, *tokens]
            mask += [0] * (len(tokens) + 1)
    return ids, mask


# %% 06.1 wrong: only the last answer is learned
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
    ids, mask = [tokenizer.bos_token_id], [0]
    for i, message in enumerate(messages):
        ids.append(tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"))
        mask.append(0)
        tokens = tokenizer(message["content"], split_special_tokens=True)["input_ids"]
        if message["role"] == "assistant":
            tokens = [*tokens, tokenizer.eos_token_id]
        ids += tokens
        mask += [int(i == last)] * len(tokens)
    return ids, mask


# %% 06.1 right: two lists that grow together
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    ids, mask = [tokenizer.bos_token_id], [0]
    for message in messages:
        ids.append(tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"))
        mask.append(0)
        tokens = list(tokenizer(message["content"], split_special_tokens=True)["input_ids"])
        said = message["role"] == "assistant"
        if said:
            tokens.append(tokenizer.eos_token_id)
        ids.extend(tokens)
        mask.extend([int(said)] * len(tokens))
    return ids, mask


# %% 06.1 right: pairs of token and flag from a generator
def encode_chat(messages: list[dict[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    def pairs():
        yield tokenizer.bos_token_id, 0
        for message in messages:
            role = message["role"]
            yield tokenizer.convert_tokens_to_ids(f"<|{role}|>"), 0
            flag = 1 if role == "assistant" else 0
            for token in tokenizer(message["content"], split_special_tokens=True)["input_ids"]:
                yield token, flag
            if flag:
                yield tokenizer.eos_token_id, 1

    found = list(pairs())
    return [token for token, _ in found], [flag for _, flag in found]


# %% 06.2 wrong: finds the padding by its id, 0
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = input_ids.clone()
    position = torch.arange(input_ids.shape[1], device=input_ids.device)
    labels[position[None] < prompt_lengths[:, None]] = -100
    labels[input_ids == 0] = -100
    return labels


# %% 06.2 wrong: overwrites the ids that were given
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = input_ids
    for i in range(len(labels)):
        labels[i, : prompt_lengths[i]] = -100
        labels[i, lengths[i] :] = -100
    return labels


# %% 06.2 wrong: the first token of the answer is masked too
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    position = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
    learned = (position > prompt_lengths.unsqueeze(1)) & (position < lengths.unsqueeze(1))
    return input_ids.masked_fill(~learned, -100)


# %% 06.2 wrong: takes lengths for the lengths of the answers
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = torch.full_like(input_ids, -100)
    for i, (prompt, answer) in enumerate(zip(prompt_lengths.tolist(), lengths.tolist())):
        labels[i, prompt : prompt + answer] = input_ids[i, prompt : prompt + answer]
    return labels


# %% 06.2 wrong: shifts the labels by one
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    position = torch.arange(input_ids.shape[1], device=input_ids.device)
    keep = (position >= prompt_lengths[:, None]) & (position < lengths[:, None])
    labels = torch.where(keep, input_ids, -100)
    end = torch.full_like(labels[:, :1], -100)
    return torch.cat([labels[:, 1:], end], dim=1)


# %% 06.2 right: one comparison of positions
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    position = torch.arange(input_ids.shape[1], device=input_ids.device)
    keep = (position >= prompt_lengths[:, None]) & (position < lengths[:, None])
    return input_ids.masked_fill(~keep, -100)


# %% 06.2 right: slices, row by row
def mask_prompt(input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    labels = input_ids.clone()
    for row, prompt, whole in zip(labels, prompt_lengths.tolist(), lengths.tolist()):
        row[:prompt] = -100
        row[whole:] = -100
    return labels


# %% 06.3 wrong: the attention mask is made of ids that differ from pad_id
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    for i, example in enumerate(examples):
        if max_length is not None and len(example["input_ids"]) > max_length:
            raise ValueError(f"row {i} has more than {max_length} tokens")
    longest = max(len(e["input_ids"]) for e in examples)
    ids = torch.full((len(examples), longest), pad_id, dtype=torch.long)
    labels = torch.full((len(examples), longest), -100, dtype=torch.long)
    for i, e in enumerate(examples):
        n = len(e["input_ids"])
        ids[i, :n] = torch.tensor(e["input_ids"], dtype=torch.long)
        labels[i, :n] = torch.tensor(e["labels"], dtype=torch.long)
    return {"input_ids": ids, "attention_mask": (ids != pad_id).long(), "labels": labels}


# %% 06.3 wrong: lengthens the lists of the examples themselves
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    if max_length is not None:
        for i, example in enumerate(examples):
            if len(example["input_ids"]) > max_length:
                raise ValueError(f"row {i} is longer than {max_length}")
    longest = max(len(example["input_ids"]) for example in examples)
    masks = []
    for example in examples:
        gap = longest - len(example["input_ids"])
        masks.append([1] * (longest - gap) + [0] * gap)
        example["input_ids"] += [pad_id] * gap
        example["labels"] += [-100] * gap
    return {
        "input_ids": torch.tensor([example["input_ids"] for example in examples]),
        "attention_mask": torch.tensor(masks),
        "labels": torch.tensor([example["labels"] for example in examples]),
    }


# %% 06.3 wrong: a row of exactly max_length tokens is refused, again
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    rows = [example["input_ids"] for example in examples]
    longest = max(map(len, rows))
    for number, row in enumerate(rows):
        if max_length is not None and len(row) >= max_length:
            raise ValueError(f"row {number} has {len(row)} tokens, allowed are {max_length}")

    def fill(lists, value):
        return torch.tensor([[*x, *[value] * (longest - len(x))] for x in lists], dtype=torch.int64)

    return {
        "input_ids": fill(rows, pad_id),
        "attention_mask": fill([[1] * len(row) for row in rows], 0),
        "labels": fill([example["labels"] for example in examples], -100),
    }


# %% 06.3 wrong: the error names the longest row, not the first one that is too long
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    lengths = [len(example["input_ids"]) for example in examples]
    longest = max(lengths)
    if max_length is not None and longest > max_length:
        raise ValueError(f"row {lengths.index(longest)} is too long")
    shape = (len(examples), longest)
    batch = {
        "input_ids": torch.full(shape, pad_id, dtype=torch.int64),
        "attention_mask": torch.zeros(shape, dtype=torch.int64),
        "labels": torch.full(shape, -100, dtype=torch.int64),
    }
    for i, (example, n) in enumerate(zip(examples, lengths)):
        batch["input_ids"][i, :n] = torch.tensor(example["input_ids"], dtype=torch.int64)
        batch["attention_mask"][i, :n] = 1
        batch["labels"][i, :n] = torch.tensor(example["labels"], dtype=torch.int64)
    return batch


# %% 06.3 wrong: pads to max_length where it is given, again
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    width = max(len(e["input_ids"]) for e in examples)
    if max_length is not None:
        for i, e in enumerate(examples):
            if len(e["input_ids"]) > max_length:
                raise ValueError(f"row {i} has more than max_length tokens")
        width = max_length
    ids, mask, labels = [], [], []
    for e in examples:
        n = len(e["input_ids"])
        ids.append(e["input_ids"] + [pad_id] * (width - n))
        mask.append([1] * n + [0] * (width - n))
        labels.append(e["labels"] + [-100] * (width - n))
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


# %% 06.3 right: new lists, then tensors
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    if max_length is not None:
        for i, example in enumerate(examples):
            if len(example["input_ids"]) > max_length:
                raise ValueError(f"row {i} has {len(example['input_ids'])} tokens, more than {max_length}")
    longest = max(len(example["input_ids"]) for example in examples)
    columns = {"input_ids": [], "attention_mask": [], "labels": []}
    for example in examples:
        n = len(example["input_ids"])
        gap = longest - n
        columns["input_ids"].append(example["input_ids"] + [pad_id] * gap)
        columns["attention_mask"].append([1] * n + [0] * gap)
        columns["labels"].append(example["labels"] + [-100] * gap)
    return {name: torch.tensor(rows, dtype=torch.int64) for name, rows in columns.items()}


# %% 06.3 right: pad_sequence
def collate(examples: list[dict[str, list[int]]], pad_id: int = 0, max_length: int | None = None) -> dict[str, Tensor]:
    from torch.nn.utils.rnn import pad_sequence

    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    if max_length is not None and bool((lengths > max_length).any()):
        first = int((lengths > max_length).nonzero()[0])
        raise ValueError(f"row {first} has {int(lengths[first])} tokens, more than {max_length}")
    ids = [torch.tensor(example["input_ids"], dtype=torch.int64) for example in examples]
    labels = [torch.tensor(example["labels"], dtype=torch.int64) for example in examples]
    padded = pad_sequence(ids, batch_first=True, padding_value=pad_id)
    return {
        "input_ids": padded,
        "attention_mask": (torch.arange(padded.shape[1]) < lengths[:, None]).long(),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


# %% 06.4 wrong: the mean of each row's mean
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    target = labels[:, 1:]
    each = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), target, ignore_index=-100, reduction="none"
    )
    count = (target != -100).sum(1)
    rows = each.sum(1) / count.clamp(min=1)
    return rows.sum() / (count > 0).sum().clamp(min=1)


# %% 06.4 wrong: NaN where nothing is to be learned
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    predictions = logits[:, :-1].reshape(-1, logits.shape[-1])
    return torch.nn.functional.cross_entropy(predictions, labels[:, 1:].reshape(-1), ignore_index=-100)


# %% 06.4 wrong: without answer tokens a constant 0, through which no gradient flows
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    target = labels[:, 1:]
    keep = target != -100
    if not keep.any():
        return torch.tensor(0.0, device=logits.device)
    return torch.nn.functional.cross_entropy(logits[:, :-1][keep], target[keep])


# %% 06.4 wrong: the label at position 0 counts in the divisor
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    total = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
    )
    return total / (labels != -100).sum().clamp(min=1)


# %% 06.4 wrong: sets the -100 of the given labels to 0 before gather
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    target = labels[:, 1:]
    keep = target != -100
    target[~keep] = 0
    logp = logits[:, :-1].log_softmax(-1).gather(-1, target[..., None])[..., 0]
    return -(logp * keep).sum() / keep.sum().clamp(min=1)


# %% 06.4 right: cross-entropy as a sum, divided by the number of tokens
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    target = labels[:, 1:].reshape(-1)
    total = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]), target, ignore_index=-100, reduction="sum"
    )
    return total / (target != -100).sum().clamp(min=1)


# %% 06.4 right: log-softmax and gather by hand
def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    target = labels[:, 1:]
    learned = target != -100
    safe = torch.where(learned, target, torch.zeros_like(target))
    logp = torch.log_softmax(logits[:, :-1], dim=-1)
    picked = logp.gather(-1, safe.unsqueeze(-1)).squeeze(-1)
    picked = torch.where(learned, picked, torch.zeros_like(picked))
    return -picked.sum() / max(int(learned.sum()), 1)


# %% 06.5 wrong: one word is what holds no blank, so nothing at all and lines count as a word
def format_kept(response: str, format: str, relation: str) -> bool:
    response = response.strip()
    if format == "word":
        return " " not in response
    if format == "sentence":
        return len(response.split()) >= 3 and response[0].isupper() and response[-1] in ".!"
    try:
        data = json.loads(response)
    except ValueError:
        return False
    return isinstance(data, dict) and list(data) == [relation]


# %% 06.5 wrong: a sentence of three words is too short
def format_kept(response: str, format: str, relation: str) -> bool:
    response = response.strip()
    words = response.split()
    if format == "word":
        return len(words) == 1
    if format == "sentence":
        return len(words) > 3 and response[0].isupper() and response.endswith((".", "!"))
    try:
        found = json.loads(response)
    except json.JSONDecodeError:
        return False
    return isinstance(found, dict) and set(found) == {relation}


# %% 06.5 wrong: a JSON list that holds the relation passes as an object, and a number raises
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    if format == "word":
        return len(text.split()) == 1
    if format == "sentence":
        return len(text.split()) >= 3 and text[0].isupper() and text[-1] in (".", "!")
    try:
        return set(json.loads(text)) == {relation}
    except ValueError:
        return False


# %% 06.5 wrong: whatever is not a small letter may begin a sentence, a digit too
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    words = text.split()
    if format == "word":
        return len(words) == 1
    if format == "sentence":
        return len(words) >= 3 and not text[0].islower() and text[-1] in ".!"
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value.keys()) == [relation]


# %% 06.5 wrong: white space around a sentence matters, again
def format_kept(response: str, format: str, relation: str) -> bool:
    if format == "word":
        return len(response.split()) == 1
    if format == "sentence":
        return len(response.split()) >= 3 and response[:1].isupper() and response.endswith((".", "!"))
    try:
        value = json.loads(response)
    except ValueError:
        return False
    return isinstance(value, dict) and set(value) == {relation}


# %% 06.5 right: three cases
def format_kept(response: str, format: str, relation: str) -> bool:
    text = response.strip()
    words = text.split()
    if format == "word":
        return len(words) == 1
    if format == "sentence":
        return len(words) >= 3 and text[0].isupper() and text[-1] in ".!"
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == [relation]


# %% 06.5 right: a table of rules, words first
def format_kept(response: str, format: str, relation: str) -> bool:
    words = response.split()

    def one_word():
        return len(words) == 1

    def sentence():
        if len(words) < 3:
            return False
        return words[0][0].isupper() and (words[-1].endswith(".") or words[-1].endswith("!"))

    def as_json():
        try:
            found = json.loads(response.strip())
        except json.JSONDecodeError:
            return False
        if type(found) is not dict:
            return False
        return len(found) == 1 and relation in found

    return {"word": one_word, "sentence": sentence, "json": as_json}[format]()
