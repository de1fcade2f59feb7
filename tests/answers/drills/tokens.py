# %% bpe_train wrong: pairs reach over the ends of words
def bpe_train(words, merges):
    parts = []
    for w, n in words.items():
        parts += list(w) * n
    out = []
    for _ in range(merges):
        pairs = Counter(zip(parts, parts[1:]))
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        out.append(best)
        i, new = 0, []
        while i < len(parts):
            if tuple(parts[i : i + 2]) == best:
                new.append(parts[i] + parts[i + 1]); i += 2
            else:
                new.append(parts[i]); i += 1
        parts = new
    return out

# %% bpe_train wrong: str.replace on joined words merges across parts
def bpe_train(words, merges):
    vocab = {" ".join(w): n for w, n in words.items()}
    out = []
    for _ in range(merges):
        pairs = Counter()
        for w, n in vocab.items():
            s = w.split()
            for p in zip(s, s[1:]):
                pairs[p] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        out.append(best)
        vocab = {w.replace(best[0] + " " + best[1], best[0] + best[1], 1): n for w, n in vocab.items()}
    return out

# %% bpe_train wrong: the longest pair wins a tie
def bpe_train(words, merges):
    vocab = {tuple(w): n for w, n in words.items()}
    out = []
    for _ in range(merges):
        pairs = Counter()
        for s, n in vocab.items():
            for p in zip(s, s[1:]):
                pairs[p] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], -len(p[0] + p[1]), p))
        out.append(best)
        new = {}
        for s, n in vocab.items():
            t, i = [], 0
            while i < len(s):
                if s[i : i + 2] == best:
                    t.append(s[i] + s[i + 1]); i += 2
                else:
                    t.append(s[i]); i += 1
            new[tuple(t)] = n
        vocab = new
    return out

# %% bpe_train right: tuples and a counter that is sorted
def bpe_train(words, merges):
    vocab = [(tuple(w), n) for w, n in words.items()]
    out = []
    for _ in range(merges):
        pairs = {}
        for s, n in vocab:
            for i in range(len(s) - 1):
                pairs[s[i], s[i + 1]] = pairs.get((s[i], s[i + 1]), 0) + n
        if not pairs:
            return out
        best = sorted(pairs.items(), key=lambda kv: (-kv[1], kv[0]))[0][0]
        out.append(best)
        def join(s):
            t = []
            for x in s:
                if t and t[-1] == best[0] and x == best[1] and not (t and joined[-1]):
                    t[-1] = x = best[0] + best[1]
                    joined[-1] = True
                else:
                    t.append(x)
                    joined.append(False)
            return tuple(t)
        new = []
        for s, n in vocab:
            joined = []
            new.append((join(s), n))
        vocab = new
    return out

# %% bpe_train right: in place, from the left
def bpe_train(words, merges):
    parts = {w: [*w] for w in words}
    out = []
    while len(out) < merges:
        c = Counter()
        for w, n in words.items():
            for a, b in zip(parts[w], parts[w][1:]):
                c[a, b] += n
        if not c:
            break
        top = max(c.values())
        a, b = min(p for p in c if c[p] == top)
        out.append((a, b))
        for s in parts.values():
            i = 0
            while i + 1 < len(s):
                if s[i] == a and s[i + 1] == b:
                    s[i : i + 2] = [a + b]
                i += 1
    return out

# %% bpe_encode wrong: only one place is merged for each pair
def bpe_encode(word, merges):
    parts = list(word)
    for pair in merges:
        for i in range(len(parts) - 1):
            if (parts[i], parts[i + 1]) == pair:
                parts[i : i + 2] = [pair[0] + pair[1]]
                break
    return parts

# %% bpe_encode wrong: the most frequent pair of the word is merged
def bpe_encode(word, merges):
    parts = list(word)
    while True:
        c = Counter(p for p in zip(parts, parts[1:]) if p in merges)
        if not c:
            return parts
        best = c.most_common(1)[0][0]
        t, i = [], 0
        while i < len(parts):
            if tuple(parts[i : i + 2]) == best:
                t.append(parts[i] + parts[i + 1]); i += 2
            else:
                t.append(parts[i]); i += 1
        parts = t

# %% bpe_encode wrong: unknown characters are dropped
def bpe_encode(word, merges):
    known = {c for pair in merges for c in pair}
    parts = [c for c in word if c in known]
    rank = {p: i for i, p in enumerate(merges)}
    while True:
        pairs = [p for p in zip(parts, parts[1:]) if p in rank]
        if not pairs:
            return parts
        best = min(pairs, key=rank.get)
        i = 0
        while i < len(parts) - 1:
            if (parts[i], parts[i + 1]) == best:
                parts[i : i + 2] = [parts[i] + parts[i + 1]]
            i += 1

# %% bpe_encode wrong: overlapping pairs are both merged
def bpe_encode(word, merges):
    rank = {p: i for i, p in enumerate(merges)}
    parts = list(word)
    while True:
        hits = [i for i in range(len(parts) - 1) if (parts[i], parts[i + 1]) in rank]
        if not hits:
            return parts
        i = max(hits, key=lambda i: len(parts[i] + parts[i + 1]))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]

# %% bpe_encode right: one place at a time
def bpe_encode(word, merges):
    rank = {p: i for i, p in enumerate(merges)}
    parts = list(word)
    while len(parts) > 1:
        r, i = min((rank.get((parts[i], parts[i + 1]), 10**9), i) for i in range(len(parts) - 1))
        if r == 10**9:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts

# %% bpe_encode right: recursive
def bpe_encode(word, merges):
    def go(parts):
        for a, b in merges:
            if any((parts[i], parts[i + 1]) == (a, b) for i in range(len(parts) - 1)):
                out, i = [], 0
                while i < len(parts):
                    if parts[i : i + 2] == [a, b]:
                        out.append(a + b)
                        i += 2
                    else:
                        out.append(parts[i])
                        i += 1
                return go(out)
        return parts
    return go(list(word))

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
