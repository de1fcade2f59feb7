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
