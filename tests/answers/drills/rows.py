# %% mask_prompt wrong: everything equal to the last token is masked as padding
def mask_prompt(input_ids, prompt_lengths, lengths):
    labels = input_ids.clone()
    for i, n in enumerate(prompt_lengths.tolist()):
        labels[i, :n] = -100
    return labels.masked_fill(labels == input_ids[0, -1], -100)

# %% mask_prompt wrong: the prompt from the right
def mask_prompt(input_ids, prompt_lengths, lengths):
    labels = input_ids.clone()
    for i, (p, n) in enumerate(zip(prompt_lengths.tolist(), lengths.tolist())):
        labels[i, n - p :] = -100
    return labels

# %% mask_prompt wrong: a padding token more is kept
def mask_prompt(input_ids, prompt_lengths, lengths):
    labels = input_ids.clone()
    for i, (p, n) in enumerate(zip(prompt_lengths.tolist(), lengths.tolist())):
        labels[i, :p] = -100
        labels[i, n + 1 :] = -100
    return labels

# %% mask_prompt wrong: minus one
def mask_prompt(input_ids, prompt_lengths, lengths):
    place = torch.arange(input_ids.shape[1])
    return torch.where((place >= prompt_lengths[:, None]) & (place < lengths[:, None]), input_ids, -1)

# %% mask_prompt right: a loop
def mask_prompt(input_ids, prompt_lengths, lengths):
    labels = torch.full_like(input_ids, -100)
    for i in range(len(input_ids)):
        p, n = int(prompt_lengths[i]), int(lengths[i])
        labels[i, p:n] = input_ids[i, p:n]
    return labels

# %% mask_prompt right: where
def mask_prompt(input_ids, prompt_lengths, lengths):
    t = torch.arange(input_ids.size(1)).expand_as(input_ids)
    outside = (t < prompt_lengths.unsqueeze(1)) | (t >= lengths.unsqueeze(1))
    return torch.where(outside, torch.full_like(input_ids, -100), input_ids)

# %% pack_documents wrong: sorted by length first
def pack_documents(documents, length, pad):
    rows = []
    for d in sorted(documents, key=len, reverse=True):
        if not rows or sum(map(len, rows[-1])) + len(d) > length:
            rows.append([])
        rows[-1].append(d)
    ids, seg, pos = [], [], []
    for row in rows:
        n = length - sum(map(len, row))
        ids.append([t for d in row for t in d] + [pad] * n)
        seg.append([i for i, d in enumerate(row) for _ in d] + [-1] * n)
        pos.append([j for d in row for j in range(len(d))] + [0] * n)
    return torch.tensor(ids), torch.tensor(seg), torch.tensor(pos)

# %% pack_documents wrong: segments from 1
def pack_documents(documents, length, pad):
    rows = []
    for d in documents:
        if not rows or sum(map(len, rows[-1])) + len(d) > length:
            rows.append([])
        rows[-1].append(d)
    ids, seg, pos = [], [], []
    for row in rows:
        n = length - sum(map(len, row))
        ids.append([t for d in row for t in d] + [pad] * n)
        seg.append([i + 1 for i, d in enumerate(row) for _ in d] + [-1] * n)
        pos.append([j for d in row for j in range(len(d))] + [0] * n)
    return torch.tensor(ids), torch.tensor(seg), torch.tensor(pos)

# %% pack_documents wrong: padding on the left
def pack_documents(documents, length, pad):
    rows = []
    for d in documents:
        if not rows or sum(map(len, rows[-1])) + len(d) > length:
            rows.append([])
        rows[-1].append(d)
    ids, seg, pos = [], [], []
    for row in rows:
        n = length - sum(map(len, row))
        ids.append([pad] * n + [t for d in row for t in d])
        seg.append([-1] * n + [i for i, d in enumerate(row) for _ in d])
        pos.append([0] * n + [j for d in row for j in range(len(d))])
    return torch.tensor(ids), torch.tensor(seg), torch.tensor(pos)

# %% pack_documents right: lists
def pack_documents(documents, length, pad):
    ids, seg, pos = [], [], []
    for d in documents:
        if not ids or len(ids[-1]) + len(d) > length:
            ids.append([]); seg.append([]); pos.append([])
        number = seg[-1][-1] + 1 if seg[-1] else 0
        ids[-1] += d
        seg[-1] += [number] * len(d)
        pos[-1] += range(len(d))
    fill = lambda rows, v: torch.tensor([r + [v] * (length - len(r)) for r in rows])
    return fill(ids, pad), fill(seg, -1), fill(pos, 0)

# %% pack_documents right: pad_sequence-like, with tensors
def pack_documents(documents, length, pad):
    out, row, begin, number = [], -1, length + 1, 0
    where = []
    for d in documents:
        if begin + len(d) > length:
            row, begin, number = row + 1, 0, 0
        where.append((row, begin, number, d))
        begin, number = begin + len(d), number + 1
    ids = torch.full((row + 1, length), pad)
    seg = torch.full((row + 1, length), -1)
    pos = torch.zeros((row + 1, length), dtype=torch.int64)
    for r, b, n, d in where:
        for j, t in enumerate(d):
            ids[r, b + j], seg[r, b + j], pos[r, b + j] = t, n, j
    return ids, seg, pos

# %% document_mask wrong: documents with a higher number see lower ones
def document_mask(segments):
    n = segments.shape[1]
    m = segments[:, :, None] >= segments[:, None, :]
    return m & torch.ones(n, n).tril().bool() & (segments >= 0)[:, None, :] & (segments >= 0)[:, :, None]

# %% document_mask wrong: only the neighbour before
def document_mask(segments):
    n = segments.shape[1]
    i = torch.arange(n)
    near = (i[:, None] - i[None, :] >= 0) & (i[:, None] - i[None, :] <= 1)
    return (segments[:, :, None] == segments[:, None]) & near & (segments >= 0)[:, :, None]

# %% document_mask wrong: the first document counts as padding
def document_mask(segments):
    n = segments.shape[1]
    return (segments[:, :, None] == segments[:, None]) & torch.ones(n, n).tril().bool() & (segments > 0)[:, :, None]

# %% document_mask wrong: the first row's mask for all
def document_mask(segments):
    n = segments.shape[1]
    m = (segments[:, :, None] == segments[:, None]) & torch.ones(n, n).tril().bool() & (segments >= 0)[:, :, None]
    return m[:1].expand(len(segments), n, n)

# %% document_mask right: a loop
def document_mask(segments):
    r, n = segments.shape
    out = torch.zeros(r, n, n, dtype=torch.bool)
    for a in range(r):
        for i in range(n):
            for j in range(i + 1):
                out[a, i, j] = bool(segments[a, i] == segments[a, j]) and bool(segments[a, i] != -1)
    return out

# %% document_mask right: comparisons of places
def document_mask(segments):
    i = torch.arange(segments.shape[1])
    keys = segments.masked_fill(segments < 0, -2)
    return (segments.unsqueeze(2) == keys.unsqueeze(1)) & (i[None, :, None] >= i[None, None, :])
