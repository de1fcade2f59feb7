"""Bugs of chapter 21 that its checks do not list, and other right answers."""

from __future__ import annotations

import json
import math
from collections import Counter
from hashlib import md5, sha256

import numpy as np


def agreed_two_thirds(votes):
    weights = Counter()
    for value, source in votes:
        weights[value] += 3 if source == "reviewer" else 1
    value, weight = weights.most_common(1)[0] if weights else (None, 0)
    return value if weight >= 2 and 3 * weight >= 2 * weights.total() else None


def agreed_empties_the_list(votes):
    weights = Counter()
    while votes:
        value, source = votes.pop()
        weights[value] += 3 if source == "reviewer" else 1
    value, weight = weights.most_common(1)[0] if weights else (None, 0)
    return value if weight >= 2 and 2 * weight > weights.total() else None


def agreed_nothing_as_text(votes):
    return agreed_by_counter(votes) or ""


def agreed_by_counter(votes):
    weights = Counter()
    for value, source in votes:
        weights.update({value: {"reviewer": 3, "user": 1}[source]})
    value, weight = max(weights.items(), key=lambda item: item[1], default=(None, 0))
    return value if weight >= 2 and weight > weights.total() - weight else None


def agreed_by_repeating(votes):
    each = [value for value, source in votes for _ in range(3 if source == "reviewer" else 1)]
    return next((v for v in each if each.count(v) > max(1, len(each) / 2)), None)


def interval_of_four_imaginary(service, candidate, z=1.96):
    n, c, b = len(service) + 4, 0, 0
    for old, new in zip(service, candidate, strict=True):
        c, b = c + (new > old), b + (old > new)
    half = z * ((b + c + 2) - (c - b) ** 2 / n) ** 0.5 / n
    return (c - b) / n - half, (c - b) / n + half


def interval_in_place(service, candidate, z=1.96):
    for i, old in enumerate(service):
        service[i] = candidate[i] - old
    return interval_by_numpy([0] * len(service), service, z)


def interval_half(service, candidate, z=1.96):
    return interval_by_numpy(service, candidate, z)[0]


def interval_by_numpy(service, candidate, z=1.96):
    d = np.subtract(np.asarray(candidate, dtype=float), np.asarray(service, dtype=float))
    n = len(d) + 2
    middle = d.sum() / n
    return tuple(middle + z * np.array([-1, 1]) * math.sqrt((d**2).sum() + 1 - n * middle**2) / n)


def interval_by_table(service, candidate, z=1.96):
    """The four outcomes, half a question added to each."""
    table = np.full((2, 2), 0.5)
    for old, new in zip(service, candidate, strict=True):
        table[int(old), int(new)] += 1
    n, gained, lost = table.sum(), table[0, 1], table[1, 0]
    d = (gained - lost) / n
    half = z * np.sqrt((gained + lost) / n - d**2) / np.sqrt(n)
    return [d - half, d + half]


def broken_by_md5(lines):
    before = "0" * 64
    for place, line in enumerate(lines):
        if json.loads(line)["before"] != before:
            return place
        before = md5(line.encode()).hexdigest()  # noqa: S324  (the mistake)
    return None


def broken_count(lines):
    before, found = "0" * 64, 0
    for line in lines:
        found += json.loads(line)["before"] != before
        before = sha256(line.encode()).hexdigest()
    return found or None


def broken_by_pairs(lines):
    digests = ["0" * 64, *(sha256(line.encode("utf-8")).hexdigest() for line in lines)]
    bad = [i for i, (line, told) in enumerate(zip(lines, digests, strict=False)) if json.loads(line)["before"] != told]
    return bad[0] if bad else None


def broken_by_next(lines):
    return next(
        (
            i
            for i, line in enumerate(lines)
            if json.loads(line)["before"] != (sha256(lines[i - 1].encode()).hexdigest() if i else "0" * 64)
        ),
        None,
    )


def ladder_by_double_steps(scores, step):
    board, said = 0.0, []
    for score in scores:
        if score > board + step:
            board = round(score / (2 * step)) * 2 * step
        said.append(board)
    return said


def ladder_in_place(scores, step):
    board = 0.0
    for i, score in enumerate(scores):
        board = round(score / step) * step if score > board + step else board
        scores[i] = board
    return scores


def ladder_adds_a_step(scores, step):
    board, said = 0.0, []
    for score in scores:
        board = board + step if score > board + step else board
        said.append(board)
    return said


def ladder_by_accumulate(scores, step):
    from itertools import accumulate

    def tell(board, score):
        return np.rint(score / step) * step if score > board + step else board

    return list(accumulate(scores, tell, initial=0.0))[1:]


def ladder_in_an_array(scores, step):
    said = np.zeros(len(scores))
    for i, score in enumerate(scores):
        before = said[i - 1] if i else 0.0
        said[i] = step * round(score / step) if score - before > step else before
    return said


def split_drops_copies(ids, copies, most):
    later = {max(pair) for pair in copies if pair[0] != pair[1]}
    return [row for row in split_by_walk(ids, copies, most) if row not in later]


def split_in_place(ids, copies, most):
    for row, id in enumerate(ids):
        if id is None:
            ids[row] = f"row {row}"
    return split_by_walk(ids, copies, most)


def split_as_flags(ids, copies, most):
    held_out = set(split_by_walk(ids, copies, most))
    return [row in held_out for row in range(len(ids))]


def split_by_walk(ids, copies, most):
    near = {row: set() for row in range(len(ids))}
    for a, b in [*copies, *((a, b) for b in near for a in near if ids[a] is not None and ids[a] == ids[b])]:
        near[a].add(b)
        near[b].add(a)
    seen, held_out = set(), []
    for start in near:
        group, todo = {start} - seen, [start] if start not in seen else []
        while todo:
            new = near[todo.pop()] - group
            group |= new
            todo += new
        seen |= group
        if len(held_out) + len(group) <= most:
            held_out += group
    return sorted(held_out)


def split_by_spreading(ids, copies, most):
    group = np.arange(len(ids))
    ties = [*copies, *((a, b) for a in range(len(ids)) for b in range(a) if ids[a] is not None and ids[a] == ids[b])]
    for _ in ids:
        for a, b in ties:
            group[[a, b]] = group[[a, b]].min()
    held_out = np.array([], dtype=int)
    for root in np.unique(group):
        rows = np.flatnonzero(group == root)
        if len(held_out) + len(rows) <= most:
            held_out = np.concatenate([held_out, rows])
    return np.sort(held_out)


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "21.1": {
        agreed_two_thirds: "A reviewer outweighs two users.",
        agreed_empties_the_list: "Your code changes its input `votes` in place.",
        agreed_nothing_as_text: "One user against one: nobody agrees, so None.",
    },
    "21.2": {
        interval_of_four_imaginary: "Not (c - b) / (n + 2) plus and minus",
        interval_in_place: "Your code changes its input `service` in place.",
        interval_half: "Two numbers are wanted, the low end and the high end",
    },
    "21.3": {
        broken_by_md5: "The digests do not fit: it is SHA-256",
        broken_count: "That is the line before the one that does not follow.",
    },
    "21.4": {
        ladder_by_double_steps: "Not what the board says after each submission",
        ladder_in_place: "Your code changes its input `scores` in place.",
        ladder_adds_a_step: "Not what the board says after each submission",
    },
    "21.5": {
        split_drops_copies: "Not the rows of the first whole groups that fit, in rising order.",
        split_in_place: "Your code changes its input `ids` in place.",
        split_as_flags: "Not the rows of the first whole groups that fit, in rising order.",
    },
}
RIGHT = {
    "21.1": [agreed_by_counter, agreed_by_repeating],
    "21.2": [interval_by_numpy, interval_by_table],
    "21.3": [broken_by_pairs, broken_by_next],
    "21.4": [ladder_by_accumulate, ladder_in_an_array],
    "21.5": [split_by_walk, split_by_spreading],
}
