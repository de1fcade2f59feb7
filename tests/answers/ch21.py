# %% 21.1 wrong: every vote counts the same
def agreed_value(votes: list[tuple[str, str]]) -> str | None:
    values = [value for value, source in votes]
    for value in set(values):
        if values.count(value) >= 2 and values.count(value) > len(values) / 2:
            return value
    return None

# %% 21.1 wrong: one user is enough
def agreed_value(votes: list[tuple[str, str]]) -> str | None:
    weights = {}
    for value, source in votes:
        weights[value] = weights.get(value, 0) + (3 if source == "reviewer" else 1)
    for value in weights:
        if weights[value] > sum(weights.values()) - weights[value]:
            return value

# %% 21.1 wrong: half is enough
def agreed_value(votes: list[tuple[str, str]]) -> str | None:
    weights = {}
    for value, source in votes:
        weights[value] = weights.get(value, 0) + (3 if source == "reviewer" else 1)
    for value, weight in weights.items():
        if weight >= 2 and weight >= sum(weights.values()) / 2:
            return value
    return None

# %% 21.1 wrong: the heaviest wins
def agreed_value(votes: list[tuple[str, str]]) -> str | None:
    weights = {}
    for value, source in votes:
        weights[value] = weights.get(value, 0) + (3 if source == "reviewer" else 1)
    if not weights:
        return None
    best = max(weights, key=weights.get)
    return best if weights[best] >= 2 else None

# %% 21.1 wrong: the reviewer decides
def agreed_value(votes: list[tuple[str, str]]) -> str | None:
    for value, source in votes:
        if source == "reviewer":
            return value
    values = [value for value, source in votes]
    for value in values:
        if values.count(value) >= 2 and 2 * values.count(value) > len(values):
            return value
    return None

# %% 21.1 right: a Counter
def agreed_value(votes: list[tuple[str, str]]) -> str | None:
    from collections import Counter

    weights = Counter()
    for value, source in votes:
        weights[value] += 3 if source == "reviewer" else 1
    for value, weight in weights.most_common(1):
        if weight >= 2 and weight > sum(weights.values()) - weight:
            return value
    return None

# %% 21.1 right: sums
def agreed_value(votes: list[tuple[str, str]]) -> str | None:
    def weight(which):
        return sum(3 if source == "reviewer" else 1 for value, source in votes if value in which)

    values = {value for value, _ in votes}
    found = [v for v in values if weight({v}) >= 2 and weight({v}) > weight(values - {v})]
    return found[0] if found else None

# %% 21.1 right: votes repeated
def agreed_value(votes: list[tuple[str, str]]) -> str | None:
    ballots = []
    for value, source in votes:
        ballots += [value] * (3 if source == "reviewer" else 1)
    for value in ballots:
        n = ballots.count(value)
        if n > 1 and n > len(ballots) - n:
            return value
    return None

# %% 21.2 wrong: service minus candidate
def paired_interval(service: list[bool], candidate: list[bool], z: float = 1.96) -> tuple[float, float]:
    n = len(service)
    b = sum(n and not o for o, n in zip(service, candidate))
    c = sum(o and not n for o, n in zip(service, candidate))
    d = (c - b) / (n + 2)
    half = z * ((b + c + 1) - (c - b) ** 2 / (n + 2)) ** 0.5 / (n + 2)
    return d - half, d + half

# %% 21.2 wrong: the middle divided by n
def paired_interval(service: list[bool], candidate: list[bool], z: float = 1.96) -> tuple[float, float]:
    n = len(service)
    d = np.array(candidate, dtype=int) - np.array(service, dtype=int)
    b, c = (d == -1).sum(), (d == 1).sum()
    half = z * np.sqrt((b + c + 1) - (c - b) ** 2 / (n + 2)) / (n + 2)
    return d.mean() - half, d.mean() + half

# %% 21.2 wrong: two separate samples
def paired_interval(service: list[bool], candidate: list[bool], z: float = 1.96) -> tuple[float, float]:
    n = len(service)
    p, q = sum(service) / n, sum(candidate) / n
    se = (p * (1 - p) / n + q * (1 - q) / n) ** 0.5
    return q - p - z * se, q - p + z * se

# %% 21.2 wrong: no imaginary questions
def paired_interval(service: list[bool], candidate: list[bool], z: float = 1.96) -> tuple[float, float]:
    n = len(service)
    b = sum(1 for s, k in zip(service, candidate) if s and not k)
    c = sum(1 for s, k in zip(service, candidate) if k and not s)
    half = z * ((b + c) - (c - b) ** 2 / n) ** 0.5 / n
    return (c - b) / n - half, (c - b) / n + half

# %% 21.2 wrong: z is forgotten
def paired_interval(service: list[bool], candidate: list[bool], z: float = 1.96) -> tuple[float, float]:
    n = len(service)
    b = sum(1 for s, k in zip(service, candidate) if s and not k)
    c = sum(1 for s, k in zip(service, candidate) if k and not s)
    d = (c - b) / (n + 2)
    half = 1.96 * ((b + c + 1) - (c - b) ** 2 / (n + 2)) ** 0.5 / (n + 2)
    return d - half, d + half

# %% 21.2 right: numpy
def paired_interval(service: list[bool], candidate: list[bool], z: float = 1.96) -> tuple[float, float]:
    old, new = np.array(service), np.array(candidate)
    c, b, n = (new & ~old).sum(), (old & ~new).sum(), len(old) + 2
    half = z * np.sqrt(b + c + 1 - (c - b) ** 2 / n) / n
    return (c - b) / n - half, (c - b) / n + half

# %% 21.2 right: a loop
def paired_interval(service: list[bool], candidate: list[bool], z: float = 1.96) -> tuple[float, float]:
    b = c = 0
    for old, new in zip(service, candidate):
        if old and not new:
            b += 1
        elif new and not old:
            c += 1
    total = len(service) + 2
    d = (c - b) / total
    spread = (b + c + 1) - (c - b) ** 2 / total
    return (d - z * spread**0.5 / total, d + z * spread**0.5 / total)

# %% 21.2 right: differences
def paired_interval(service: list[bool], candidate: list[bool], z: float = 1.96) -> tuple[float, float]:
    differences = [int(new) - int(old) for old, new in zip(service, candidate)]
    total = len(differences) + 2
    d = sum(differences) / total
    half = z * (sum(x * x for x in differences) + 1 - total * d * d) ** 0.5 / total
    return [d - half, d + half]

# %% 21.3 wrong: the JSON is written anew
def first_broken(lines: list[str]) -> int | None:
    before = "0" * 64
    for i, line in enumerate(lines):
        row = json.loads(line)
        if row["before"] != before:
            return i
        before = sha256(json.dumps(row).encode()).hexdigest()
    return None

# %% 21.3 wrong: the first line is not checked
def first_broken(lines: list[str]) -> int | None:
    for i in range(1, len(lines)):
        if json.loads(lines[i])["before"] != sha256(lines[i - 1].encode()).hexdigest():
            return i
    return None

# %% 21.3 wrong: counted from 1
def first_broken(lines: list[str]) -> int | None:
    before = "0" * 64
    for i, line in enumerate(lines, start=1):
        if json.loads(line)["before"] != before:
            return i
        before = sha256(line.encode()).hexdigest()
    return None

# %% 21.3 wrong: the line before it
def first_broken(lines: list[str]) -> int | None:
    before = "0" * 64
    for i, line in enumerate(lines):
        if json.loads(line)["before"] != before:
            return i - 1
        before = sha256(line.encode()).hexdigest()
    return None

# %% 21.3 wrong: a truth value
def first_broken(lines: list[str]) -> int | None:
    before = "0" * 64
    for line in lines:
        if json.loads(line)["before"] != before:
            return False
        before = sha256(line.encode()).hexdigest()
    return True

# %% 21.3 right: a loop
def first_broken(lines: list[str]) -> int | None:
    wanted = "0" * 64
    for i in range(len(lines)):
        if json.loads(lines[i])["before"] != wanted:
            return i
        wanted = sha256(lines[i].encode("utf-8")).hexdigest()

# %% 21.3 right: digests first
def first_broken(lines: list[str]) -> int | None:
    wanted = ["0" * 64] + [sha256(line.encode()).hexdigest() for line in lines[:-1]]
    for i, (line, before) in enumerate(zip(lines, wanted)):
        if json.loads(line)["before"] != before:
            return i
    return None

# %% 21.3 right: min
def first_broken(lines: list[str]) -> int | None:
    told = [json.loads(line)["before"] for line in lines]
    made = ["0" * 64] + [sha256(line.encode()).hexdigest() for line in lines]
    return min((i for i in range(len(lines)) if told[i] != made[i]), default=None)

# %% 21.4 wrong: not rounded
def ladder(scores: list[float], step: float) -> list[float]:
    board, out = 0.0, []
    for score in scores:
        if score > board + step:
            board = score
        out.append(board)
    return out

# %% 21.4 wrong: any better score is told
def ladder(scores: list[float], step: float) -> list[float]:
    board, out = 0.0, []
    for score in scores:
        if score > board:
            board = round(score / step) * step
        out.append(board)
    return out

# %% 21.4 wrong: compared with the best score
def ladder(scores: list[float], step: float) -> list[float]:
    best = board = 0.0
    out = []
    for score in scores:
        if score > best + step:
            board = round(score / step) * step
        best = max(score, best)
        out.append(board)
    return out

# %% 21.4 wrong: a whole step is enough
def ladder(scores: list[float], step: float) -> list[float]:
    out = [0.0]
    for score in scores:
        out.append(round(score / step) * step if score >= out[-1] + step else out[-1])
    return out[1:]

# %% 21.4 wrong: rounded to two decimals
def ladder(scores: list[float], step: float) -> list[float]:
    board, out = 0.0, []
    for score in scores:
        if score > board + step:
            board = round(score, 2)
        out.append(board)
    return out

# %% 21.4 right: a list that begins with 0
def ladder(scores: list[float], step: float) -> list[float]:
    out = [0.0]
    for score in scores:
        out.append(round(score / step) * step if score > out[-1] + step else out[-1])
    return out[1:]

# %% 21.4 right: numpy rounding
def ladder(scores: list[float], step: float) -> list[float]:
    board, out = 0, []
    for score in scores:
        if score - step > board:
            board = np.round(score / step) * step
        out.append(board)
    return out

# %% 21.4 right: an array
def ladder(scores: list[float], step: float) -> list[float]:
    out = np.zeros(len(scores))
    board = 0.0
    for i, score in enumerate(scores):
        if score > board + step:
            board = step * round(score / step)
        out[i] = board
    return out

# %% 21.5 wrong: a split by rows
def split_groups(ids: list[str | None], copies: list[tuple[int, int]], most: int) -> list[int]:
    return list(range(min(most, len(ids))))

# %% 21.5 wrong: near copies are forgotten
def split_groups(ids: list[str | None], copies: list[tuple[int, int]], most: int) -> list[int]:
    groups = {}
    for row, id in enumerate(ids):
        groups.setdefault(("row", row) if id is None else id, []).append(row)
    held_out = []
    for rows in groups.values():
        if len(held_out) + len(rows) <= most:
            held_out.extend(rows)
    return sorted(held_out)

# %% 21.5 wrong: None is taken for an id
def split_groups(ids: list[str | None], copies: list[tuple[int, int]], most: int) -> list[int]:
    group = list(range(len(ids)))
    pairs = list(copies) + [(i, j) for i in range(len(ids)) for j in range(i) if ids[i] == ids[j]]
    for _ in ids:
        for i, j in pairs:
            group[i] = group[j] = min(group[i], group[j])
    held_out = []
    for root in sorted(set(group)):
        rows = [i for i, g in enumerate(group) if g == root]
        if len(held_out) + len(rows) <= most:
            held_out += rows
    return sorted(held_out)

# %% 21.5 wrong: one pass over the pairs, so long chains are torn
def split_groups(ids: list[str | None], copies: list[tuple[int, int]], most: int) -> list[int]:
    group = list(range(len(ids)))
    pairs = [(i, j) for i in range(len(ids)) for j in range(i) if ids[i] is not None and ids[i] == ids[j]]
    for i, j in list(copies) + pairs:
        group[i] = group[j] = min(group[i], group[j])
    held_out = []
    for root in sorted(set(group)):
        rows = [i for i, g in enumerate(group) if g == root]
        if len(held_out) + len(rows) <= most:
            held_out += rows
    return sorted(held_out)

# %% 21.5 wrong: stops at the first group that does not fit
def split_groups(ids: list[str | None], copies: list[tuple[int, int]], most: int) -> list[int]:
    group = list(range(len(ids)))
    pairs = list(copies) + [(i, j) for i in range(len(ids)) for j in range(i) if ids[i] is not None and ids[i] == ids[j]]
    for _ in ids:
        for i, j in pairs:
            group[i] = group[j] = min(group[i], group[j])
    held_out = []
    for root in sorted(set(group)):
        rows = [i for i, g in enumerate(group) if g == root]
        if len(held_out) + len(rows) > most:
            break
        held_out += rows
    return sorted(held_out)

# %% 21.5 right: the smallest number spreads along the ties until nothing changes
def split_groups(ids: list[str | None], copies: list[tuple[int, int]], most: int) -> list[int]:
    group = list(range(len(ids)))
    pairs = list(copies) + [(i, j) for i in range(len(ids)) for j in range(i) if ids[i] is not None and ids[i] == ids[j]]
    changed = True
    while changed:
        changed = False
        for i, j in pairs:
            low = min(group[i], group[j])
            if group[i] != low or group[j] != low:
                group[i] = group[j] = low
                changed = True
    held_out = []
    for root in sorted(set(group)):
        rows = [i for i, g in enumerate(group) if g == root]
        if len(held_out) + len(rows) <= most:
            held_out += rows
    return sorted(held_out)

# %% 21.5 right: a walk through the graph
def split_groups(ids: list[str | None], copies: list[tuple[int, int]], most: int) -> list[int]:
    near = {row: set() for row in range(len(ids))}
    for a, b in copies:
        near[a].add(b)
        near[b].add(a)
    by_id = {}
    for row, id in enumerate(ids):
        if id is not None:
            by_id.setdefault(id, []).append(row)
    for rows in by_id.values():
        for row in rows[1:]:
            near[row].add(rows[0])
            near[rows[0]].add(row)
    seen, held_out = set(), []
    for start in range(len(ids)):
        if start in seen:
            continue
        group, todo = {start}, [start]
        while todo:
            for other in near[todo.pop()] - group:
                group.add(other)
                todo.append(other)
        seen |= group
        if len(held_out) + len(group) <= most:
            held_out += group
    return sorted(held_out)

# %% 21.5 right: sets that are merged
def split_groups(ids: list[str | None], copies: list[tuple[int, int]], most: int) -> list[int]:
    sets = [{row} for row in range(len(ids))]
    ties = list(copies)
    for i, id in enumerate(ids):
        if id is not None:
            ties.append((ids.index(id), i))
    for a, b in ties:
        one = next(s for s in sets if a in s)
        other = next(s for s in sets if b in s)
        if one is not other:
            one |= other
            sets.remove(other)
    out = []
    for s in sorted(sets, key=min):
        if len(out) + len(s) <= most:
            out.extend(s)
    return np.array(sorted(out), dtype=int)
