# %% 01.1 wrong: shingles that occur twice are counted twice
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = Counter(tuple(first[i : i + n]) for i in range(len(first) - n + 1))
    b = Counter(tuple(second[i : i + n]) for i in range(len(second) - n + 1))
    return (a & b).total() / (a | b).total()


# %% 01.1 wrong: Dice instead of Jaccard
def similarity(first: list[str], second: list[str], n: int) -> float:
    a, b = ({tuple(w[i : i + n]) for i in range(len(w) - n + 1)} for w in (first, second))
    return 2 * len(a & b) / (len(a) + len(b))


# %% 01.1 wrong: divided by the smaller set instead of the union
def similarity(first: list[str], second: list[str], n: int) -> float:
    a, b = (set(zip(*(w[i:] for i in range(n)))) for w in (first, second))
    return len(a & b) / min(len(a), len(b))


# %% 01.1 wrong: the last shingle is missing
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = {tuple(first[i : i + n]) for i in range(max(1, len(first) - n))}
    b = {tuple(second[i : i + n]) for i in range(max(1, len(second) - n))}
    return len(a & b) / len(a | b)


# %% 01.1 wrong: the words of a shingle are glued without a gap
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = {"".join(first[i : i + n]) for i in range(len(first) - n + 1)}
    b = {"".join(second[i : i + n]) for i in range(len(second) - n + 1)}
    return len(a & b) / len(a | b)


# %% 01.1 wrong: the order inside a shingle is lost
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = {tuple(sorted(first[i : i + n])) for i in range(len(first) - n + 1)}
    b = {tuple(sorted(second[i : i + n])) for i in range(len(second) - n + 1)}
    return len(a & b) / len(a | b)


# %% 01.1 wrong: shorter runs at the end of the text count as shingles
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = {tuple(first[i : i + n]) for i in range(len(first))}
    b = {tuple(second[i : i + n]) for i in range(len(second))}
    return len(a & b) / len(a | b)


# %% 01.1 wrong: the lists are eaten up
def similarity(first: list[str], second: list[str], n: int) -> float:
    a, b = set(), set()
    for words, found in ((first, a), (second, b)):
        while len(words) >= n:
            found.add(tuple(words[:n]))
            words.pop(0)
    return len(a & b) / len(a | b)


# %% 01.1 right: tersely with zip
def similarity(first: list[str], second: list[str], n: int) -> float:
    a, b = (set(zip(*(w[i:] for i in range(n)))) for w in (first, second))
    return len(a & b) / len(a | b)


# %% 01.1 right: by naive loops over lists
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = []
    for i in range(len(first) - n + 1):
        if first[i : i + n] not in a:
            a.append(first[i : i + n])
    b = []
    for i in range(len(second) - n + 1):
        if second[i : i + n] not in b:
            b.append(second[i : i + n])
    shared = 0
    for shingle in a:
        if shingle in b:
            shared += 1
    return shared / (len(a) + len(b) - shared)


# %% 01.1 right: with a table of which text holds which shingle
def similarity(first: list[str], second: list[str], n: int) -> float:
    holds = {}
    for bit, words in ((1, first), (2, second)):
        for start in range(len(words) - n + 1):
            key = tuple(words[start : start + n])
            holds[key] = holds.get(key, 0) | bit
    return float(np.mean([value == 3 for value in holds.values()]))


# %% 01.2 wrong: the smallest over the functions instead of the items
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    values = (hashes[:, None] * a + b) % prime
    return values.min(dim=1).values


# %% 01.2 wrong: the remainder is taken after the minimum
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return (a[:, None] * hashes[None] + b[:, None]).min(dim=1).values % prime


# %% 01.2 wrong: the remainder is taken before b is added
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return (a[:, None] * hashes[None] % prime + b[:, None]).min(dim=1).values


# %% 01.2 wrong: the place of the smallest value instead of the value
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return ((a[:, None] * hashes[None] + b[:, None]) % prime).argmin(dim=1)


# %% 01.2 wrong: computed in single precision
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    values = (torch.outer(a.float(), hashes.float()) + b.float()[:, None]) % prime
    return values.min(dim=1).values.long()


# %% 01.2 wrong: only the smallest hash is put through the functions
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return (a * hashes.min() + b) % prime


# %% 01.2 wrong: a is overwritten with the signature
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    signature = a
    for k in range(len(a)):
        signature[k] = ((a[k] * hashes + b[k]) % prime).min()
    return signature


# %% 01.2 wrong: values and places come back together
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return ((a[:, None] * hashes[None] + b[:, None]) % prime).min(dim=1)


# %% 01.2 right: tersely by broadcasting
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return ((hashes * a[:, None] + b[:, None]) % prime).amin(1)


# %% 01.2 right: by naive loops over whole numbers
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    signature = []
    for slope, shift in zip(a.tolist(), b.tolist()):
        smallest = prime
        for x in hashes.tolist():
            value = (slope * x + shift) % prime
            if value < smallest:
                smallest = value
        signature.append(smallest)
    return torch.tensor(signature, dtype=torch.int64)


# %% 01.2 right: the running minimum over the items
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    signature = torch.full_like(a, prime)
    for x in hashes:
        signature = torch.minimum(signature, torch.remainder(a * x + b, prime))
    return signature


# %% 01.3 wrong: the higher number of each pair goes
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    return sorted({max(pair) for pair in pairs})


# %% 01.3 wrong: only the two of a pair are relabelled, not their groups
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    head = list(range(count))
    for one, other in pairs:
        head[one] = head[other] = min(head[one], head[other])
    return [i for i in range(count) if head[i] != i]


# %% 01.3 wrong: a pair is skipped when one of the two has gone already
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    gone = set()
    for one, other in pairs:
        if one not in gone and other not in gone:
            gone.add(max(one, other))
    return sorted(gone)


# %% 01.3 wrong: not in rising order
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = {i: [] for i in range(count)}
    for one, other in pairs:
        near[one].append(other)
        near[other].append(one)
    seen, drop = set(), []
    for start in range(count):
        if start in seen:
            continue
        seen.add(start)
        waiting = [start]
        while waiting:
            for other in near[waiting.pop()]:
                if other not in seen:
                    seen.add(other)
                    drop.append(other)
                    waiting.append(other)
    return drop


# %% 01.3 wrong: the recursion is too deep for long chains
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = [[] for _ in range(count)]
    for one, other in pairs:
        near[one].append(other)
        near[other].append(one)
    seen, drop = set(), []

    def visit(i):
        seen.add(i)
        for other in near[i]:
            if other not in seen:
                drop.append(other)
                visit(other)

    for i in range(count):
        if i not in seen:
            visit(i)
    return sorted(drop)


# %% 01.3 wrong: the given pairs are sorted in place
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    pairs.sort()
    head = list(range(count))

    def find(i):
        while head[i] != i:
            i = head[i]
        return i

    for one, other in pairs:
        low, high = sorted((find(one), find(other)))
        head[high] = low
    return [i for i in range(count) if head[i] != i]


# %% 01.3 wrong: any member of a group stays, not the lowest
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    parent = list(range(count))

    def find(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for one, other in pairs:
        parent[find(one)] = find(other)
    return [i for i in range(count) if find(i) != i]


# %% 01.3 wrong: the last document is never looked at
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    parent = list(range(count))

    def find(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for one, other in pairs:
        low, high = sorted((find(one), find(other)))
        parent[high] = low
    return [i for i in range(count - 1) if find(i) < i]


# %% 01.3 right: tersely with networkx
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    import networkx

    return sorted(i for group in networkx.connected_components(networkx.Graph(pairs)) for i in group - {min(group)})


# %% 01.3 right: by a loop that joins trees
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    parent = []
    for i in range(count):
        parent.append(i)
    for one, other in pairs:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        while parent[other] != other:
            parent[other] = parent[parent[other]]
            other = parent[other]
        if one < other:
            parent[other] = one
        else:
            parent[one] = other
    drop = []
    for i in range(count):
        if parent[i] != i:
            drop.append(i)
    return drop


# %% 01.3 right: search from each lowest number
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = {i: set() for i in range(count)}
    for one, other in pairs:
        near[one].add(other)
        near[other].add(one)
    stays, seen = set(), set()
    for start in range(count):
        if start in seen:
            continue
        stays.add(start)
        edge = {start}
        while edge:
            seen |= edge
            edge = set().union(*(near[i] for i in edge)) - seen
    return sorted(set(range(count)) - stays)


# %% 01.4 wrong: each word is counted once
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    pieces = {word: list(word) for word in words}
    ages = {sign: i for i, sign in enumerate(sorted({sign for word in words for sign in word}))}
    made = []
    while len(made) < merges:
        counts = Counter()
        for tokens in pieces.values():
            counts.update(zip(tokens, tokens[1:]))
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], -ages[pair[0]], -ages[pair[1]]))
        if counts[best] < 2:
            break
        made.append(best)
        ages.setdefault("".join(best), len(ages))
        for tokens in pieces.values():
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = ["".join(best)]
                i += 1
    return made


# %% 01.4 wrong: ties are broken by the alphabet
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    pieces = {word: list(word) for word in words}
    made = []
    while len(made) < merges:
        counts = Counter()
        for word, tokens in pieces.items():
            for pair in zip(tokens, tokens[1:]):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        made.append(best)
        for tokens in pieces.values():
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = ["".join(best)]
                i += 1
    return made


# %% 01.4 wrong: pairs that occur only once are merged too
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    pieces = {word: list(word) for word in words}
    ages = {sign: i for i, sign in enumerate(sorted({sign for word in words for sign in word}))}
    made = []
    while len(made) < merges:
        counts = Counter()
        for word, tokens in pieces.items():
            for pair in zip(tokens, tokens[1:]):
                counts[pair] += words[word]
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], -ages[pair[0]], -ages[pair[1]]))
        made.append(best)
        ages.setdefault("".join(best), len(ages))
        for tokens in pieces.values():
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = ["".join(best)]
                i += 1
    return made


# %% 01.4 wrong: merging by text replacement crosses the borders of tokens
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    spelled = {word: " ".join(word) for word in words}
    ages = {sign: i for i, sign in enumerate(sorted({sign for word in words for sign in word}))}
    made = []
    while len(made) < merges:
        counts = Counter()
        for word, line in spelled.items():
            tokens = line.split(" ")
            for pair in zip(tokens, tokens[1:]):
                counts[pair] += words[word]
        if not counts:
            break
        for left, right in counts:
            ages.setdefault(left, len(ages))
            ages.setdefault(right, len(ages))
        best = max(counts, key=lambda pair: (counts[pair], -ages[pair[0]], -ages[pair[1]]))
        if counts[best] < 2:
            break
        made.append(best)
        ages.setdefault("".join(best), len(ages))
        spelled = {word: line.replace(" ".join(best), "".join(best)) for word, line in spelled.items()}
    return made


# %% 01.4 wrong: of equally frequent pairs the age of the right token is compared first
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    pieces = {word: list(word) for word in words}
    ages = {sign: i for i, sign in enumerate(sorted({sign for word in words for sign in word}))}
    made = []
    while len(made) < merges:
        counts = Counter()
        for word, tokens in pieces.items():
            for pair in zip(tokens, tokens[1:]):
                counts[pair] += words[word]
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], -ages[pair[1]], -ages[pair[0]]))
        if counts[best] < 2:
            break
        made.append(best)
        ages.setdefault("".join(best), len(ages))
        for tokens in pieces.values():
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = ["".join(best)]
                i += 1
    return made


# %% 01.4 wrong: only the first place in each word is merged
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    pieces = {word: list(word) for word in words}
    ages = {sign: i for i, sign in enumerate(sorted({sign for word in words for sign in word}))}
    made = []
    while len(made) < merges:
        counts = Counter()
        for word, tokens in pieces.items():
            for pair in zip(tokens, tokens[1:]):
                counts[pair] += words[word]
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], -ages[pair[0]], -ages[pair[1]]))
        if counts[best] < 2:
            break
        made.append(best)
        ages.setdefault("".join(best), len(ages))
        for tokens in pieces.values():
            for i in range(len(tokens) - 1):
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = ["".join(best)]
                    break
    return made


# %% 01.4 wrong: the given dictionary is emptied
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    pieces = []
    while words:
        word, often = words.popitem()
        pieces.append((list(word), often))
    ages = {sign: i for i, sign in enumerate(sorted({sign for tokens, _ in pieces for sign in tokens}))}
    made = []
    while len(made) < merges:
        counts = Counter()
        for tokens, often in pieces:
            for pair in zip(tokens, tokens[1:]):
                counts[pair] += often
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], -ages[pair[0]], -ages[pair[1]]))
        if counts[best] < 2:
            break
        made.append(best)
        ages.setdefault("".join(best), len(ages))
        for tokens, _ in pieces:
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = ["".join(best)]
                i += 1
    return made


# %% 01.4 wrong: pairs are joined from right to left
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    pieces = {word: list(word) for word in words}
    ages = {sign: i for i, sign in enumerate(sorted({sign for word in words for sign in word}))}
    made = []
    while len(made) < merges:
        counts = Counter()
        for word, tokens in pieces.items():
            for pair in zip(tokens, tokens[1:]):
                counts[pair] += words[word]
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], -ages[pair[0]], -ages[pair[1]]))
        if counts[best] < 2:
            break
        made.append(best)
        ages.setdefault("".join(best), len(ages))
        for tokens in pieces.values():
            i = len(tokens) - 1
            while i > 0:
                if (tokens[i - 1], tokens[i]) == best:
                    tokens[i - 1 : i + 1] = ["".join(best)]
                    i -= 1
                i -= 1
    return made


# %% 01.4 right: tersely with a Counter and slices
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    texts, made = [(list(word), n) for word, n in words.items()], []
    ages = {sign: k for k, sign in enumerate(sorted(set("".join(words))))}
    for _ in range(merges):
        counts = Counter()
        for t, n in texts:
            for pair in zip(t, t[1:]):
                counts[pair] += n
        best = min(counts, key=lambda p: (-counts[p], ages[p[0]], ages[p[1]]), default=None)
        if counts[best] < 2:
            break
        made.append(best)
        ages.setdefault("".join(best), len(ages))
        for t, _ in texts:
            i = 0
            while i < len(t) - 1:
                if (t[i], t[i + 1]) == best:
                    t[i : i + 2] = ["".join(best)]
                i += 1
    return made


# %% 01.4 right: by naive loops
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    tokens = []  # from the oldest to the youngest
    for word in words:
        for sign in word:
            if sign not in tokens:
                tokens.append(sign)
    tokens.sort()
    pieces = {}
    for word in words:
        pieces[word] = [sign for sign in word]
    result = []
    for _ in range(merges):
        counts = {}
        for word in pieces:
            for i in range(len(pieces[word]) - 1):
                pair = (pieces[word][i], pieces[word][i + 1])
                if pair not in counts:
                    counts[pair] = 0
                counts[pair] += words[word]
        best, most = None, 1
        for pair in counts:
            if counts[pair] > most:
                best, most = pair, counts[pair]
            elif counts[pair] == most and best is not None:
                mine = (tokens.index(pair[0]), tokens.index(pair[1]))
                its = (tokens.index(best[0]), tokens.index(best[1]))
                if mine < its:
                    best = pair
        if best is None:
            return result
        result.append(best)
        if best[0] + best[1] not in tokens:
            tokens.append(best[0] + best[1])
        for word in pieces:
            old, new, i = pieces[word], [], 0
            while i < len(old):
                if i + 1 < len(old) and old[i] == best[0] and old[i + 1] == best[1]:
                    new.append(old[i] + old[i + 1])
                    i += 2
                else:
                    new.append(old[i])
                    i += 1
            pieces[word] = new
    return result


# %% 01.4 right: with numbers for tokens, so that the age is the number
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import defaultdict

    names = sorted({sign for word in words for sign in word})
    number = {name: i for i, name in enumerate(names)}
    spelled = [([number[sign] for sign in word], often) for word, often in words.items()]

    def joined(line, left, right, new):
        out = []
        for token in line:
            if out and out[-1] == left and token == right:
                out[-1] = new
            else:
                out.append(token)
        return out

    made = []
    for _ in range(merges):
        counts = defaultdict(int)
        for line, often in spelled:
            for i in range(1, len(line)):
                counts[line[i - 1], line[i]] += often
        ranked = sorted((-often, pair) for pair, often in counts.items() if often > 1)
        if not ranked:
            break
        left, right = ranked[0][1]
        made.append((names[left], names[right]))
        name = names[left] + names[right]
        if name not in number:
            number[name] = len(names)
            names.append(name)
        spelled = [(joined(line, left, right, number[name]), often) for line, often in spelled]
    return made


# %% 01.5 wrong: only the row begun last is looked at
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[i] > room:
            rows.append([])
            room = row_length
        rows[-1].append(i)
        room -= lengths[i]
    return rows


# %% 01.5 wrong: into the emptiest row
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, rooms = [], []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        fitting = [r for r, room in enumerate(rooms) if room >= lengths[i]]
        if fitting:
            r = max(fitting, key=lambda r: rooms[r])
        else:
            rows.append([])
            rooms.append(row_length)
            r = len(rows) - 1
        rows[r].append(i)
        rooms[r] -= lengths[i]
    return rows


# %% 01.5 wrong: documents of equal length get the same number
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, rooms = [], []
    for n in sorted(lengths, reverse=True):
        fitting = [r for r, room in enumerate(rooms) if room >= n]
        r = min(fitting, key=lambda r: rooms[r], default=len(rows))
        if r == len(rows):
            rows.append([])
            rooms.append(row_length)
        rows[r].append(lengths.index(n))
        rooms[r] -= n
    return rows


# %% 01.5 wrong: a document that would fill the row exactly is refused
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, rooms = [], []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [r for r, room in enumerate(rooms) if room > lengths[i]]
        r = min(fitting, key=lambda r: rooms[r], default=len(rows))
        if r == len(rows):
            rows.append([])
            rooms.append(row_length)
        rows[r].append(i)
        rooms[r] -= lengths[i]
    return rows


# %% 01.5 wrong: the shortest first
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, rooms = [], []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        fitting = [r for r, room in enumerate(rooms) if room >= lengths[i]]
        r = min(fitting, key=lambda r: rooms[r], default=len(rows))
        if r == len(rows):
            rows.append([])
            rooms.append(row_length)
        rows[r].append(i)
        rooms[r] -= lengths[i]
    return rows


# %% 01.5 wrong: the given lengths are set to 0 on the way
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, rooms = [], []
    while any(lengths):
        n = max(lengths)
        i = lengths.index(n)
        fitting = [r for r, room in enumerate(rooms) if room >= n]
        r = min(fitting, key=lambda r: rooms[r], default=len(rows))
        if r == len(rows):
            rows.append([])
            rooms.append(row_length)
        rows[r].append(i)
        rooms[r] -= n
        lengths[i] = 0
    return rows


# %% 01.5 wrong: without documents there is still one empty row
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, rooms = [[]], [row_length]
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [r for r, room in enumerate(rooms) if room >= lengths[i]]
        r = min(fitting, key=lambda r: rooms[r], default=len(rows))
        if r == len(rows):
            rows.append([])
            rooms.append(row_length)
        rows[r].append(i)
        rooms[r] -= lengths[i]
    return rows


# %% 01.5 wrong: it calls itself without an end
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    row, room = [], row_length
    for i in order:
        if lengths[i] <= room:
            row.append(i)
            room -= lengths[i]
    rest = [i for i in order if i not in row]
    return [row, *([rest[j] for j in other] for other in pack_whole([lengths[i] for i in rest], row_length))]


# %% 01.5 right: tersely
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, used = [], lambda row: sum(lengths[j] for j in row)
    for i in sorted(range(len(lengths)), key=lengths.__getitem__)[::-1]:
        row = max((r for r in rows if used(r) + lengths[i] <= row_length), key=used, default=None)
        rows.append([i]) if row is None else row.append(i)
    return rows


# %% 01.5 right: by naive loops
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    left = []
    for i in range(len(lengths)):
        left.append(i)
    rows = []
    rooms = []
    while len(left) > 0:
        longest = left[0]
        for i in left:
            if lengths[i] > lengths[longest]:
                longest = i
        left.remove(longest)
        best = -1
        for r in range(len(rows)):
            if rooms[r] >= lengths[longest]:
                if best == -1 or rooms[r] < rooms[best]:
                    best = r
        if best == -1:
            rows.append([longest])
            rooms.append(row_length - lengths[longest])
        else:
            rows[best].append(longest)
            rooms[best] -= lengths[longest]
    return rows


# %% 01.5 right: with a sorted list of rooms and bisection
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    from bisect import bisect_left, insort

    rows, rooms = [], []  # rooms: (room, number of the row), sorted
    for i in np.argsort([-n for n in lengths], kind="stable").tolist():
        at = bisect_left(rooms, (lengths[i], -1))
        if at < len(rooms):
            room, r = rooms.pop(at)
        else:
            room, r = row_length, len(rows)
            rows.append([])
        rows[r].append(i)
        insort(rooms, (room - lengths[i], r))
    return rows


# %% 01.1 wrong: the words of a shingle are glued together without a gap
def similarity(first: list[str], second: list[str], n: int) -> float:
    a, b = ({"".join(words[i : i + n]) for i in range(len(words) - n + 1)} for words in (first, second))
    return len(a & b) / len(a | b)

# %% 01.1 wrong: a shingle that occurs twice is counted twice below the line
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = [tuple(first[i : i + n]) for i in range(len(first) - n + 1)]
    b = [tuple(second[i : i + n]) for i in range(len(second) - n + 1)]
    shared = len(set(a) & set(b))
    return shared / (len(a) + len(b) - shared)

# %% 01.1 wrong: the order inside a shingle is ignored
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = {tuple(sorted(first[i : i + n])) for i in range(len(first) - n + 1)}
    b = {tuple(sorted(second[i : i + n])) for i in range(len(second) - n + 1)}
    return len(a & b) / len(a | b)

# %% 01.1 wrong: the runs do not overlap
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = {tuple(first[i : i + n]) for i in range(0, len(first) - n + 1, n)}
    b = {tuple(second[i : i + n]) for i in range(0, len(second) - n + 1, n)}
    return len(a & b) / len(a | b)

# %% 01.1 wrong: capitals are made small
def similarity(first: list[str], second: list[str], n: int) -> float:
    def cut(words):
        return {" ".join(words[i : i + n]).lower() for i in range(len(words) - n + 1)}

    return len(cut(first) & cut(second)) / len(cut(first) | cut(second))

# %% 01.1 wrong: Dice's coefficient
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = set(zip(*(first[i:] for i in range(n)), strict=False))
    b = set(zip(*(second[i:] for i in range(n)), strict=False))
    return 2 * len(a & b) / (len(a) + len(b))

# %% 01.1 wrong: calls itself with the texts exchanged
def similarity(first: list[str], second: list[str], n: int) -> float:
    return similarity(second, first, n)

# %% 01.1 right: zipped shifts
def similarity(first: list[str], second: list[str], n: int) -> float:
    a, b = (set(zip(*(w[i:] for i in range(n)), strict=False)) for w in (first, second))
    return len(a & b) / len(a | b)

# %% 01.1 right: lists and loops
def similarity(first: list[str], second: list[str], n: int) -> float:
    mine, all_of_them, shared = [], [], 0
    for start in range(len(first) - n + 1):
        piece = first[start : start + n]
        if piece not in mine:
            mine.append(piece)
            all_of_them.append(piece)
    met = []
    for start in range(len(second) - n + 1):
        piece = second[start : start + n]
        if piece in met:
            continue
        met.append(piece)
        if piece in mine:
            shared += 1
        else:
            all_of_them.append(piece)
    return shared / len(all_of_them)

# %% 01.2 wrong: the smallest hash is taken before the functions
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return (a * hashes.min() + b) % prime

# %% 01.2 wrong: the shift is added behind the modulus
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return (torch.outer(a, hashes) % prime).min(1).values + b

# %% 01.2 wrong: the products are rounded to float64
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    values = torch.remainder(torch.outer(a.double(), hashes.double()) + b.double()[:, None], prime)
    return values.min(dim=1).values.long()

# %% 01.2 wrong: one fixed prime, whatever is given
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return ((a[:, None] * hashes + b[:, None]) % (2**31 - 1)).amin(1)

# %% 01.2 wrong: which item is smallest, not its value
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return ((a[:, None] * hashes[None] + b[:, None]) % prime).argmin(dim=1)

# %% 01.2 wrong: comes back in 32 bits
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return ((a[:, None] * hashes[None] + b[:, None]) % prime).min(dim=1).values.to(torch.int32)

# %% 01.2 right: one table
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return ((a[:, None] * hashes + b[:, None]) % prime).amin(1)

# %% 01.2 right: Python's integers in two loops
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    signature = []
    for factor, shift in zip(a.tolist(), b.tolist(), strict=True):
        least = prime
        for x in hashes.tolist():
            value = (factor * x + shift) % prime
            if value < least:
                least = value
        signature.append(least)
    return torch.tensor(signature, dtype=torch.int64)

# %% 01.3 wrong: the larger of each pair goes, and two that share a later copy both stay
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    return sorted({max(pair) for pair in pairs})

# %% 01.3 wrong: only neighbours of documents that stay are dropped
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = {i: set() for i in range(count)}
    for one, other in pairs:
        near[one].add(other)
        near[other].add(one)
    kept, dropped = set(), []
    for i in range(count):
        if near[i] & kept:
            dropped.append(i)
        else:
            kept.add(i)
    return dropped

# %% 01.3 wrong: a recursive search that a long chain breaks
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = {i: [] for i in range(count)}
    for one, other in pairs:
        near[one].append(other)
        near[other].append(one)
    seen, dropped = set(), []

    def visit(i):
        seen.add(i)
        for j in near[i]:
            if j not in seen:
                dropped.append(j)
                visit(j)

    for i in range(count):
        if i not in seen:
            visit(i)
    return sorted(dropped)

# %% 01.3 wrong: labels are passed on in one round only
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    head = list(range(count))
    for one, other in sorted(pairs):
        head[one] = head[other] = min(head[one], head[other])
    return [i for i in range(count) if head[i] != i]

# %% 01.3 wrong: group after group, not in rising order
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = {}
    for one, other in pairs:
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    seen, dropped = set(), []
    for i in range(count):
        if i in seen or i not in near:
            continue
        group, todo = {i}, [i]
        while todo:
            new = near[todo.pop()] - group
            group |= new
            todo += new
        seen |= group
        dropped += sorted(group)[1:]
    return dropped

# %% 01.3 wrong: the union overwrites the link of a document that has one
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for one, other in pairs:
        low, high = sorted((one, other))
        parent[high] = low
    return [i for i in range(count) if root(i) != i]

# %% 01.3 right: union of roots, the lower one wins
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    up = list(range(count))

    def root(i):
        while up[i] != i:
            up[i] = i = up[up[i]]
        return i

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        up[high] = low
    return [i for i in range(count) if up[i] != i]

# %% 01.3 right: sets that swallow each other
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    group = [{i} for i in range(count)]
    for one, other in pairs:
        if group[one] is group[other]:
            continue
        small, big = sorted((group[one], group[other]), key=len)
        big |= small
        for i in small:
            group[i] = big
    different = {id(members): members for members in group}
    stay = {min(members) for members in different.values()}
    return [i for i in range(count) if i not in stay]

# %% 01.3 right: a search with a stack
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = [[] for _ in range(count)]
    for one, other in pairs:
        near[one].append(other)
        near[other].append(one)
    seen, dropped = [False] * count, []
    for start in range(count):
        if seen[start]:
            continue
        seen[start] = True
        todo = [start]
        while todo:
            for other in near[todo.pop()]:
                if not seen[other]:
                    seen[other] = True
                    dropped.append(other)
                    todo.append(other)
    dropped.sort()
    return dropped

# %% 01.4 wrong: text replacement that joins the end of a longer token
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import Counter

    split = {word: "\0".join(word) for word in words}
    age = {c: i for i, c in enumerate(sorted(set("".join(words))))}
    made = []
    while len(made) < merges:
        counts = Counter()
        for word, n in words.items():
            tokens = split[word].split("\0")
            for pair in zip(tokens, tokens[1:], strict=False):
                counts[pair] += n
        if not counts:
            break
        best = max(counts, key=lambda p: (counts[p], -age.get(p[0], 10**6), -age.get(p[1], 10**6)))
        if counts[best] < 2:
            break
        made.append(best)
        age.setdefault("".join(best), len(age))
        split = {word: text.replace("\0".join(best), "".join(best)) for word, text in split.items()}
    return made

# %% 01.4 wrong: of equally frequent pairs the first in the alphabet wins
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import Counter

    split, made = {word: list(word) for word in words}, []
    for _ in range(merges):
        counts = Counter()
        for word, n in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                counts[pair] += n
        best = min(counts, key=lambda p: (-counts[p], p), default=None)
        if best is None or counts[best] < 2:
            break
        made.append(best)
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                if tuple(tokens[i : i + 2]) == best:
                    out.append(best[0] + best[1])
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            split[word] = out
    return made

# %% 01.4 wrong: only the first occurrence in a word is joined
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import Counter

    split, made = {word: list(word) for word in words}, []
    age = {c: i for i, c in enumerate(sorted({c for word in words for c in word}))}
    for _ in range(merges):
        counts = Counter()
        for word, n in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                counts[pair] += n
        best = min(counts, key=lambda p: (-counts[p], age[p[0]], age[p[1]]), default=None)
        if best is None or counts[best] < 2:
            break
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for tokens in split.values():
            for i in range(len(tokens) - 1):
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [best[0] + best[1]]
                    break
    return made

# %% 01.4 wrong: in "aaa" the pair is counted once
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import Counter

    split, made = {word: list(word) for word in words}, []
    age = {c: i for i, c in enumerate(sorted({c for word in words for c in word}))}
    for _ in range(merges):
        counts = Counter()
        for word, n in words.items():
            tokens, before = split[word], None
            for i in range(len(tokens) - 1):
                pair = tokens[i], tokens[i + 1]
                if before == (i - 1, pair):
                    before = None
                    continue
                counts[pair] += n
                before = i, pair
        best = min(counts, key=lambda p: (-counts[p], age[p[0]], age[p[1]]), default=None)
        if best is None or counts[best] < 2:
            break
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                hit = tuple(tokens[i : i + 2]) == best
                out.append("".join(best) if hit else tokens[i])
                i += 2 if hit else 1
            split[word] = out
    return made

# %% 01.4 wrong: a pair that stands in one word only is never merged, however frequent the word
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import Counter

    split, made = {word: list(word) for word in words}, []
    age = {c: i for i, c in enumerate(sorted({c for word in words for c in word}))}
    for _ in range(merges):
        counts, places = Counter(), Counter()
        for word, n in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                counts[pair] += n
                places[pair] += 1
        best = min(counts, key=lambda p: (-counts[p], age[p[0]], age[p[1]]), default=None)
        if best is None or places[best] < 2:
            break
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                hit = tuple(tokens[i : i + 2]) == best
                out.append("".join(best) if hit else tokens[i])
                i += 2 if hit else 1
            split[word] = out
    return made

# %% 01.4 wrong: pairs that occur once are merged as well
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import Counter

    split, made = {word: list(word) for word in words}, []
    age = {c: i for i, c in enumerate(sorted({c for word in words for c in word}))}
    while len(made) < merges:
        counts = Counter()
        for word, n in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                counts[pair] += n
        if not counts:
            break
        best = min(counts, key=lambda p: (-counts[p], age[p[0]], age[p[1]]))
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                hit = tuple(tokens[i : i + 2]) == best
                out.append("".join(best) if hit else tokens[i])
                i += 2 if hit else 1
            split[word] = out
    return made

# %% 01.4 wrong: ties are broken by the left token alone, then by which was seen first
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import Counter

    split, made = {word: list(word) for word in words}, []
    age = {c: i for i, c in enumerate(sorted({c for word in words for c in word}))}
    for _ in range(merges):
        counts = Counter()
        for word, n in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                counts[pair] += n
        best = min(counts, key=lambda p: (-counts[p], age[p[0]]), default=None)
        if best is None or counts[best] < 2:
            break
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                hit = tuple(tokens[i : i + 2]) == best
                out.append("".join(best) if hit else tokens[i])
                i += 2 if hit else 1
            split[word] = out
    return made

# %% 01.4 right: numbers for tokens, joined by a fold over each word
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import Counter

    name = sorted(set("".join(words)))
    number = {c: i for i, c in enumerate(name)}
    split, made = [([number[c] for c in w], n) for w, n in words.items()], []
    while len(made) < merges:
        counts = Counter()
        for tokens, n in split:
            for pair in zip(tokens, tokens[1:], strict=False):
                counts[pair] += n
        best = min(counts, key=lambda p: (-counts[p], p), default=(0, 0))
        if counts[best] < 2:
            return made
        made.append((name[best[0]], name[best[1]]))
        text = "".join(made[-1])
        if text not in number:
            number[text] = len(name)
            name.append(text)
        for tokens, _ in split:
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [number[text]]
                i += 1
    return made

# %% 01.4 right: plain loops, a list of tokens by age
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    tokens_by_age = []
    for word in words:
        for sign in word:
            if sign not in tokens_by_age:
                tokens_by_age.append(sign)
    tokens_by_age.sort()
    split = {word: tuple(word) for word in words}
    made = []
    for _ in range(merges):
        counts = {}
        for word in words:
            tokens = split[word]
            for i in range(1, len(tokens)):
                pair = (tokens[i - 1], tokens[i])
                counts[pair] = counts.get(pair, 0) + words[word]
        best, best_key = None, None
        for pair, n in counts.items():
            key = (-n, tokens_by_age.index(pair[0]), tokens_by_age.index(pair[1]))
            if best is None or key < best_key:
                best, best_key = pair, key
        if best is None or counts[best] <= 1:
            break
        made.append(best)
        joined = best[0] + best[1]
        if joined not in tokens_by_age:
            tokens_by_age.append(joined)
        for word in words:
            new, skip = [], False
            for i, token in enumerate(split[word]):
                if skip:
                    skip = False
                elif i + 1 < len(split[word]) and (token, split[word][i + 1]) == best:
                    new.append(joined)
                    skip = True
                else:
                    new.append(token)
            split[word] = tuple(new)
    return made

# %% 01.5 wrong: numbers of places in the sorted list
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], []
    for i, n in enumerate(sorted(lengths, reverse=True)):
        fitting = [r for r in range(len(rows)) if room[r] >= n]
        if fitting:
            r = min(fitting, key=room.__getitem__)
        else:
            r = len(rows)
            rows.append([])
            room.append(row_length)
        rows[r].append(i)
        room[r] -= n
    return rows

# %% 01.5 wrong: documents of equal length get the same number (another)
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], []
    for n in sorted(lengths, reverse=True):
        fitting = [r for r in range(len(rows)) if room[r] >= n]
        if not fitting:
            rows.append([])
            room.append(row_length)
            fitting = [len(rows) - 1]
        r = min(fitting, key=room.__getitem__)
        rows[r].append(lengths.index(n))
        room[r] -= n
    return rows

# %% 01.5 wrong: into the emptiest row (another)
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [r for r in range(len(rows)) if room[r] >= lengths[i]]
        if not fitting:
            rows.append([])
            room.append(row_length)
            fitting = [len(rows) - 1]
        r = max(fitting, key=room.__getitem__)
        rows[r].append(i)
        room[r] -= lengths[i]
    return rows

# %% 01.5 wrong: a document that fills a row exactly does not get in
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [r for r in range(len(rows)) if room[r] > lengths[i]]
        if not fitting:
            rows.append([])
            room.append(row_length)
            fitting = [len(rows) - 1]
        r = min(fitting, key=room.__getitem__)
        rows[r].append(i)
        room[r] -= lengths[i]
    return rows

# %% 01.5 wrong: no documents give one empty row
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [[]], [row_length]
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [r for r in range(len(rows)) if room[r] >= lengths[i]]
        if not fitting:
            rows.append([])
            room.append(row_length)
            fitting = [len(rows) - 1]
        r = min(fitting, key=room.__getitem__)
        rows[r].append(i)
        room[r] -= lengths[i]
    return rows

# %% 01.5 wrong: only the newest row is tried
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, left = [], 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[i] > left:
            rows.append([])
            left = row_length
        rows[-1].append(i)
        left -= lengths[i]
    return rows

# %% 01.5 right: the fullest row by max
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        fits = [r for r in rows if sum(lengths[j] for j in r) + lengths[i] <= row_length]
        max(fits, key=lambda r: sum(lengths[j] for j in r)).append(i) if fits else rows.append([i])
    return rows

# %% 01.5 right: best fit by nested loops
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    left = list(range(len(lengths)))
    rows: list[list[int]] = []
    used: list[int] = []
    while left:
        longest = left[0]
        for i in left:
            if lengths[i] > lengths[longest]:
                longest = i
        left.remove(longest)
        place = -1
        for r in range(len(rows)):
            if used[r] + lengths[longest] <= row_length and (place == -1 or used[r] > used[place]):
                place = r
        if place == -1:
            rows.append([longest])
            used.append(lengths[longest])
        else:
            rows[place].append(longest)
            used[place] += lengths[longest]
    return rows

# %% 01.1 wrong: words are joined without a gap, so "ab c" and "a bc" are one shingle
def similarity(first: list[str], second: list[str], n: int) -> float:
    one = {"".join(first[i : i + n]) for i in range(len(first) - n + 1)}
    other = {"".join(second[i : i + n]) for i in range(len(second) - n + 1)}
    return len(one & other) / len(one | other)


# %% 01.1 wrong: a shingle that occurs twice counts twice
from collections import Counter


def similarity(first: list[str], second: list[str], n: int) -> float:
    one, other = (Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1)) for w in (first, second))
    return (one & other).total() / (one | other).total()


# %% 01.1 wrong: the number of shingles of the first text is used for both texts
def similarity(first: list[str], second: list[str], n: int) -> float:
    count = len(first) - n + 1
    one = {tuple(first[i : i + n]) for i in range(count)}
    other = {tuple(second[i : i + n]) for i in range(count)}
    return len(one & other) / len(one | other)


# %% 01.1 right: zips the text with itself, moved
def similarity(first: list[str], second: list[str], n: int) -> float:
    a, b = (set(zip(*(words[i:] for i in range(n)))) for words in (first, second))
    return len(a & b) / len(a | b)


# %% 01.2 wrong: multiplies in floating point, which is not exact for large products
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    values = (a[:, None].double() * hashes[None].double() + b[:, None].double()) % prime
    return values.min(dim=1).values.long()


# %% 01.2 wrong: returns the item that comes first and not its function value
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    values = (torch.outer(a, hashes) + b[:, None]) % prime
    return hashes[values.argmin(1)]


# %% 01.2 wrong: ignores the prime that is given and takes the usual one
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return ((a[:, None] * hashes + b[:, None]) % (2**31 - 1)).amin(1)


# %% 01.2 right: a plain loop over Python integers
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    signature = []
    for factor, shift in zip(a.tolist(), b.tolist()):
        smallest = prime
        for x in hashes.tolist():
            value = (factor * x + shift) % prime
            if value < smallest:
                smallest = value
        signature.append(smallest)
    return torch.tensor(signature, dtype=torch.int64)


# %% 01.3 wrong: walks through a group by recursion, which a long chain breaks
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = {i: set() for i in range(count)}
    for x, y in pairs:
        near[x].add(y)
        near[y].add(x)
    seen, drop = set(), []

    def visit(i):
        seen.add(i)
        for j in near[i]:
            if j not in seen:
                drop.append(j)
                visit(j)

    for i in range(count):
        if i not in seen:
            visit(i)
    return sorted(drop)


# %% 01.3 wrong: hands labels on in a single sweep over the pairs
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    label = list(range(count))
    for x, y in sorted(pairs):
        label[x] = label[y] = min(label[x], label[y])
    return [i for i in range(count) if label[i] != i]


# %% 01.3 wrong: the root of the group stays and not its lowest number
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    parent = list(range(count))

    def find(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for x, y in pairs:
        parent[find(x)] = find(y)
    return [i for i in range(count) if find(i) != i]


# %% 01.3 right: a flood from each document that is still dry
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = [[] for _ in range(count)]
    for x, y in pairs:
        near[x].append(y)
        near[y].append(x)
    seen, drop = [False] * count, []
    for start in range(count):
        if seen[start]:
            continue
        seen[start], todo = True, [start]
        while todo:
            for other in near[todo.pop()]:
                if not seen[other]:
                    seen[other] = True
                    todo.append(other)
                    drop.append(other)
    return sorted(drop)


# %% 01.4 wrong: ties go by the alphabet, also for merged tokens, and not by age
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    split, made = {word: list(word) for word in words}, []
    while len(made) < merges:
        counts = {}
        for word, tokens in split.items():
            for pair in zip(tokens, tokens[1:]):
                counts[pair] = counts.get(pair, 0) + words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        made.append(best)
        for tokens in split.values():
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [best[0] + best[1]]
                i += 1
    return made


# %% 01.4 wrong: a pair that overlaps itself, as in "aaa", is counted once
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    split, made = {word: list(word) for word in words}, []
    age = {c: i for i, c in enumerate(sorted(set("".join(words))))}
    while len(made) < merges:
        counts = {}
        for word, tokens in split.items():
            last = None  # the place at which the pair before was counted
            for i, pair in enumerate(zip(tokens, tokens[1:])):
                if last == (i - 1, pair):
                    last = None
                    continue
                counts[pair] = counts.get(pair, 0) + words[word]
                last = (i, pair)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], age[pair[0]], age[pair[1]]))
        if counts[best] < 2:
            break
        made.append(best)
        age.setdefault("".join(best), len(age))
        for tokens in split.values():
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = ["".join(best)]
                i += 1
    return made


# %% 01.4 wrong: joins by replacing text, which also joins the end of a longer token
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    split, made = {word: " ".join(word) for word in words}, []
    age = {c: i for i, c in enumerate(sorted(set("".join(words))))}
    while len(made) < merges:
        counts = {}
        for word, text in split.items():
            tokens = text.split(" ")
            for pair in zip(tokens, tokens[1:]):
                counts[pair] = counts.get(pair, 0) + words[word]
        if not counts:
            break
        oldest = len(age)
        best = min(counts, key=lambda p: (-counts[p], age.get(p[0], oldest), age.get(p[1], oldest)))
        if counts[best] < 2:
            break
        made.append(best)
        age.setdefault("".join(best), len(age))
        split = {word: text.replace(" ".join(best), "".join(best)) for word, text in split.items()}
    return made


# %% 01.4 right: counts anew for every merge, with the words as tuples of ages
from collections import Counter


def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    names = sorted({c for word in words for c in word})
    number = {name: i for i, name in enumerate(names)}
    texts = [([number[c] for c in word], often) for word, often in words.items()]
    made = []
    for _ in range(merges):
        counts = Counter()
        for tokens, often in texts:
            for i in range(len(tokens) - 1):
                counts[tokens[i], tokens[i + 1]] += often
        left, right = min(counts, key=lambda pair: (-counts[pair], pair), default=(0, 0))
        if counts[left, right] <= 1:
            break
        made.append((names[left], names[right]))
        new = names[left] + names[right]
        if new not in number:
            number[new] = len(names)
            names.append(new)
        after = []
        for tokens, often in texts:
            out, i = [], 0
            while i < len(tokens):
                if tokens[i : i + 2] == [left, right]:
                    out.append(number[new])
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            after.append((out, often))
        texts = after
    return made


# %% 01.5 wrong: finds a document's number by its length, so equally long ones get the same number
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, rooms = [], []
    for n in sorted(lengths, reverse=True):
        fits = [r for r, room in enumerate(rooms) if room >= n]
        if fits:
            r = min(fits, key=lambda r: rooms[r])
        else:
            r = len(rows)
            rows.append([])
            rooms.append(row_length)
        rows[r].append(lengths.index(n))
        rooms[r] -= n
    return rows


# %% 01.5 wrong: takes the emptiest row with room instead of the fullest
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, rooms = [], []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        r = max(range(len(rows)), key=lambda r: rooms[r], default=None)
        if r is None or rooms[r] < lengths[i]:
            r = len(rows)
            rows.append([])
            rooms.append(row_length)
        rows[r].append(i)
        rooms[r] -= lengths[i]
    return rows


# %% 01.5 wrong: fills one row and calls itself for the rest, whose numbers then begin at 0 again
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    if not lengths:
        return []
    row, room, rest = [], row_length, []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[i] <= room:
            row.append(i)
            room -= lengths[i]
        else:
            rest.append(lengths[i])
    return [row, *pack_whole(rest, row_length)]


# %% 01.5 right: keeps the rows sorted by their room and searches by halves
from bisect import bisect_left, insort


def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, rooms = [], []  # rooms: (room, row), the fullest first
    for i in np.argsort(-np.array(lengths, dtype=int), kind="stable").tolist():
        at = bisect_left(rooms, (lengths[i], -1))
        if at == len(rooms):
            room, row = row_length, len(rows)
            rows.append([])
        else:
            room, row = rooms.pop(at)
        rows[row].append(i)
        insort(rooms, (room - lengths[i], row))
    return rows


# %% 01.1 wrong: the last shingle of each text is missing
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = {tuple(first[i : i + n]) for i in range(len(first) - n)}
    b = {tuple(second[i : i + n]) for i in range(len(second) - n)}
    if not a | b:
        return 0.0
    return len(a & b) / len(a | b)


# %% 01.1 wrong: words are glued together without a gap, so "ab c" equals "a bc"
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = {"".join(first[i : i + n]) for i in range(len(first) - n + 1)}
    b = {"".join(second[i : i + n]) for i in range(len(second) - n + 1)}
    return len(a & b) / len(a | b)


# %% 01.1 wrong: counts repeated shingles, a multiset
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = Counter(tuple(first[i : i + n]) for i in range(len(first) - n + 1))
    b = Counter(tuple(second[i : i + n]) for i in range(len(second) - n + 1))
    return (a & b).total() / (a | b).total()


# %% 01.1 wrong: the shared ones count twice in the denominator
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = set(zip(*(first[k:] for k in range(n))))
    b = set(zip(*(second[k:] for k in range(n))))
    return len(a & b) / (len(a) + len(b))


# %% 01.1 wrong: the order inside a shingle is lost, again
def similarity(first: list[str], second: list[str], n: int) -> float:
    def cut(words: list[str]) -> set:
        return {tuple(sorted(words[i : i + n])) for i in range(len(words) - n + 1)}

    a, b = cut(first), cut(second)
    return len(a & b) / len(a | b)


# %% 01.1 right: sets of tuples
def similarity(first: list[str], second: list[str], n: int) -> float:
    a = {tuple(first[i : i + n]) for i in range(len(first) - n + 1)}
    b = {tuple(second[i : i + n]) for i in range(len(second) - n + 1)}
    return len(a & b) / len(a | b)


# %% 01.1 right: one dictionary of marks, in loops
def similarity(first: list[str], second: list[str], n: int) -> float:
    marks = {}
    for bit, words in ((1, first), (2, second)):
        start = 0
        while start + n <= len(words):
            shingle = tuple(words[start : start + n])
            marks[shingle] = marks.get(shingle, 0) | bit
            start += 1
    shared = 0
    for mark in marks.values():
        if mark == 3:
            shared += 1
    return shared / len(marks)


# %% 01.2 wrong: the minimum goes over the functions
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    values = (a[:, None] * hashes[None, :] + b[:, None]) % prime
    return values.min(dim=0).values


# %% 01.2 wrong: takes the smallest item first, then hashes it
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return (a * hashes.min() + b) % prime


# %% 01.2 wrong: the shift b is added after the modulus
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    products = torch.outer(a, hashes) % prime
    return (products + b[:, None]).amin(dim=1)


# %% 01.2 wrong: computes in float64, which cannot hold the products exactly
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    values = torch.remainder(a.double()[:, None] * hashes.double() + b.double()[:, None], prime)
    return values.min(dim=1).values.to(torch.int64)


# %% 01.2 wrong: returns the winning shingle instead of its value
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    values = (a.unsqueeze(1) * hashes.unsqueeze(0) + b.unsqueeze(1)) % prime
    return hashes[values.argmin(dim=1)]


# %% 01.2 right: broadcasting and a minimum over the items
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    return ((a[:, None] * hashes[None, :] + b[:, None]) % prime).min(dim=1).values


# %% 01.2 right: whole numbers of Python, in a loop
def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    items = hashes.tolist()
    signature = []
    for factor, shift in zip(a.tolist(), b.tolist()):
        smallest = prime
        for x in items:
            value = (factor * x + shift) % prime
            if value < smallest:
                smallest = value
        signature.append(smallest)
    return torch.tensor(signature, dtype=torch.int64)


# %% 01.3 wrong: drops the higher one of each pair, whatever it is connected with
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    return sorted({max(pair) for pair in pairs})


# %% 01.3 wrong: the first one named becomes the head, not the lowest
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    parent = list(range(count))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for one, other in pairs:
        one, other = find(one), find(other)
        if one != other:
            parent[other] = one
    return [i for i in range(count) if find(i) != i]


# %% 01.3 wrong: recursion, which ends in an error on a chain of thousands
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = [[] for _ in range(count)]
    for one, other in pairs:
        near[one].append(other)
        near[other].append(one)
    seen, dropped = set(), []

    def visit(i: int, head: int) -> None:
        seen.add(i)
        if i != head:
            dropped.append(i)
        for j in near[i]:
            if j not in seen:
                visit(j, head)

    for i in range(count):
        if i not in seen:
            visit(i, i)
    return sorted(dropped)


# %% 01.3 wrong: a pair that joins two groups does not merge them
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    groups: list[set[int]] = []
    for one, other in pairs:
        for group in groups:
            if one in group or other in group:
                group |= {one, other}
                break
        else:
            groups.append({one, other})
    dropped = set()
    for group in groups:
        dropped |= group - {min(group)}
    return sorted(dropped)


# %% 01.3 wrong: comes back group after group, not in rising order
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    near = {i: set() for i in range(count)}
    for one, other in pairs:
        near[one].add(other)
        near[other].add(one)
    seen, dropped = set(), []
    for start in range(count):
        if start in seen:
            continue
        seen.add(start)
        waiting, group = [start], []
        while waiting:
            i = waiting.pop()
            group.append(i)
            for j in near[i] - seen:
                seen.add(j)
                waiting.append(j)
        dropped += sorted(group)[1:]
    return dropped


# %% 01.3 right: union-find without recursion, the lower head wins
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    parent = list(range(count))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for one, other in pairs:
        low, high = sorted((find(one), find(other)))
        parent[high] = low
    return [i for i in range(count) if parent[i] != i]


# %% 01.3 right: breadth-first search from the lowest number
def drop_copies(pairs: list[tuple[int, int]], count: int) -> list[int]:
    from collections import defaultdict, deque

    near = defaultdict(list)
    for one, other in pairs:
        near[one].append(other)
        near[other].append(one)
    seen, dropped = [False] * count, []
    for start in range(count):
        if seen[start]:
            continue
        seen[start] = True
        queue = deque([start])
        while queue:
            for j in near[queue.popleft()]:
                if not seen[j]:
                    seen[j] = True
                    dropped.append(j)
                    queue.append(j)
    dropped.sort()
    return dropped


# %% 01.4 wrong: ties go by the alphabet, not by age
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    split = {word: list(word) for word in words}
    made = []
    while len(made) < merges:
        pairs = Counter()
        for word, tokens in split.items():
            for pair in zip(tokens, tokens[1:]):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        made.append(best)
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                if tuple(tokens[i : i + 2]) == best:
                    out.append(tokens[i] + tokens[i + 1])
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            split[word] = out
    return made


# %% 01.4 wrong: joins by replacing text, which also hits the end of a longer token
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    lines = {word: " ".join(word) for word in words}
    age = {sign: i for i, sign in enumerate(sorted(set("".join(words))))}
    made = []
    for _ in range(merges):
        pairs = Counter()
        for word, line in lines.items():
            tokens = line.split(" ")
            for pair in zip(tokens, tokens[1:]):
                pairs[pair] += words[word]
        if not pairs:
            break
        left, right = min(pairs, key=lambda p: (-pairs[p], age[p[0]], age[p[1]]))
        if pairs[left, right] < 2:
            break
        made.append((left, right))
        age.setdefault(left + right, len(age))
        lines = {word: line.replace(f"{left} {right}", left + right) for word, line in lines.items()}
        for line in lines.values():
            for token in line.split(" "):
                age.setdefault(token, len(age))
    return made


# %% 01.4 wrong: in "aaa" the pair is counted once only
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    split = {word: list(word) for word in words}
    age = {sign: i for i, sign in enumerate(sorted({sign for word in words for sign in word}))}
    made = []
    for _ in range(merges):
        pairs = Counter()
        for word, tokens in split.items():
            before, i = None, 0
            while i < len(tokens) - 1:
                pair = (tokens[i], tokens[i + 1])
                if pair == before and pair[0] == pair[1]:
                    before = None  # overlaps the one just counted
                else:
                    pairs[pair] += words[word]
                    before = pair
                i += 1
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], age[p[0]], age[p[1]]))
        if pairs[best] < 2:
            break
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                if i + 1 < len(tokens) and (tokens[i], tokens[i + 1]) == best:
                    out.append(best[0] + best[1])
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            split[word] = out
    return made


# %% 01.4 wrong: goes on with pairs that occur only once
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    split = [(list(word), count) for word, count in words.items()]
    age = {sign: i for i, sign in enumerate(sorted({sign for word in words for sign in word}))}
    made = []
    while len(made) < merges:
        pairs = Counter()
        for tokens, count in split:
            for pair in zip(tokens, tokens[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], age[p[0]], age[p[1]]))
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for tokens, _ in split:
            i = 0
            while i + 1 < len(tokens):
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [best[0] + best[1]]
                i += 1
    return made


# %% 01.4 wrong: single characters are as old as their first appearance, not sorted
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    split = [(list(word), count) for word, count in words.items()]
    age = {}
    for word in words:
        for sign in word:
            age.setdefault(sign, len(age))
    made = []
    while len(made) < merges:
        pairs = Counter()
        for tokens, count in split:
            for pair in zip(tokens, tokens[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda p: (-pairs[p], age[p[0]], age[p[1]]), default=None)
        if best is None or pairs[best] < 2:
            break
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for tokens, _ in split:
            i = 0
            while i + 1 < len(tokens):
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [best[0] + best[1]]
                i += 1
    return made


# %% 01.4 right: counts all pairs anew for each merge
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    split = [(list(word), count) for word, count in words.items()]
    age = {sign: i for i, sign in enumerate(sorted({sign for word in words for sign in word}))}
    made = []
    while len(made) < merges:
        pairs = Counter()
        for tokens, count in split:
            for pair in zip(tokens, tokens[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], age[p[0]], age[p[1]]))
        if pairs[best] < 2:
            break
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for tokens, _ in split:
            i = 0
            while i + 1 < len(tokens):
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [best[0] + best[1]]
                i += 1
    return made


# %% 01.4 right: works with ids, and mends the counts of the touched words only
def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    from collections import defaultdict

    names = sorted({sign for word in words for sign in word})
    number = {name: i for i, name in enumerate(names)}
    lines = [[number[sign] for sign in word] for word in words]
    times = list(words.values())
    counts, where = defaultdict(int), defaultdict(set)

    def note(k: int, factor: int) -> None:
        for pair in zip(lines[k], lines[k][1:]):
            counts[pair] += factor * times[k]
            where[pair].add(k)
            if counts[pair] == 0:
                del counts[pair]

    for k in range(len(lines)):
        note(k, 1)
    made = []
    for _ in range(merges):
        if not counts:
            break
        most = max(counts.values())
        if most < 2:
            break
        best = min(pair for pair, n in counts.items() if n == most)
        left, right = best
        name = names[left] + names[right]
        made.append((names[left], names[right]))
        if name not in number:
            number[name] = len(names)
            names.append(name)
        new = number[name]
        for k in list(where[best]):
            note(k, -1)
            old, line, i = lines[k], [], 0
            while i < len(old):
                if i + 1 < len(old) and old[i] == left and old[i + 1] == right:
                    line.append(new)
                    i += 2
                else:
                    line.append(old[i])
                    i += 1
            lines[k] = line
            note(k, 1)
    return made


# %% 01.5 wrong: takes the emptiest row that has room
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], []
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fits = [r for r in range(len(rows)) if room[r] >= lengths[number]]
        if fits:
            r = max(fits, key=lambda r: room[r])
            rows[r].append(number)
            room[r] -= lengths[number]
        else:
            rows.append([number])
            room.append(row_length - lengths[number])
    return rows


# %% 01.5 wrong: a document that would fill the row exactly does not get in
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, used = [], []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        best = None
        for r, full in enumerate(used):
            if full + lengths[number] < row_length and (best is None or full > used[best]):
                best = r
        if best is None:
            rows.append([number])
            used.append(lengths[number])
        else:
            rows[best].append(number)
            used[best] += lengths[number]
    return rows


# %% 01.5 wrong: returns places in the sorted list, not the documents' own numbers
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], []
    for number, length in enumerate(sorted(lengths, reverse=True)):
        fits = [r for r in range(len(rows)) if room[r] >= length]
        if not fits:
            rows.append([])
            room.append(row_length)
            fits = [len(rows) - 1]
        r = min(fits, key=room.__getitem__)
        rows[r].append(number)
        room[r] -= length
    return rows


# %% 01.5 wrong: finds numbers with index, so documents of equal length get the same one
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], []
    for length in sorted(lengths, reverse=True):
        number = lengths.index(length)
        fits = [r for r in range(len(rows)) if room[r] >= length]
        if fits:
            r = min(fits, key=room.__getitem__)
            rows[r].append(number)
            room[r] -= length
        else:
            rows.append([number])
            room.append(row_length - length)
    return rows


# %% 01.5 wrong: best fit in the order given, not the longest first
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], []
    for number, length in enumerate(lengths):
        fits = [r for r in range(len(rows)) if room[r] >= length]
        if fits:
            r = min(fits, key=room.__getitem__)
            rows[r].append(number)
            room[r] -= length
        else:
            rows.append([number])
            room.append(row_length - length)
    return rows


# %% 01.5 right: best fit decreasing, looks through all rows
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    rows, room = [], []
    for number in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        fits = [r for r in range(len(rows)) if room[r] >= lengths[number]]
        if fits:
            r = min(fits, key=room.__getitem__)
            rows[r].append(number)
            room[r] -= lengths[number]
        else:
            rows.append([number])
            room.append(row_length - lengths[number])
    return rows


# %% 01.5 right: rows wait in a sorted list of their rooms, found by bisection
def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    from bisect import bisect_left, insort

    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room left, row)
    for length, number in sorted(((n, i) for i, n in enumerate(lengths)), reverse=True):
        at = bisect_left(rooms, (length, -1))
        if at < len(rooms):
            left, row = rooms.pop(at)
        else:
            left, row = row_length, len(rows)
            rows.append([])
        rows[row].append(number)
        insort(rooms, (left - length, row))
    return rows
