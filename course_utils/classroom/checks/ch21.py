"""Checks of chapter 21: which corrections agree, an interval for a gate, a chain of lines, and a leaderboard that says less."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake


def _plain(result: Any) -> Any:
    """Arrays and tensors as the lists and numbers that they hold: any of these forms is a right answer."""
    result = result.tolist() if hasattr(result, "tolist") else result
    return [_plain(item) for item in result] if isinstance(result, list | tuple) else result


def _observed(answer: Callable, *arguments: Any) -> Any:
    return _plain(answer(*arguments))


# --- 21.1


def agreed_value(votes: Sequence[tuple[str, str]]) -> str | None:
    """The value whose votes weigh 2 or more, and more than all others together."""
    weights: dict[str, int] = {}
    for value, source in votes:
        weights[value] = weights.get(value, 0) + (3 if source == "reviewer" else 1)
    for value, weight in weights.items():
        if weight >= 2 and 2 * weight > sum(weights.values()):
            return value
    return None


def _votes(text: str) -> list[tuple[str, str]]:
    """ "a a b*": two users for a, a reviewer for b."""
    return [(word.strip("*"), "reviewer" if "*" in word else "user") for word in text.split()]


agreement = Exercise(
    "21.1",
    title="What corrections agree on",
    reference=agreed_value,
    cases=[
        Case(_votes("weaver weaver potter"), message="Two users against one agree."),
        Case(_votes("weaver potter"), message="One user against one: nobody agrees, so None."),
        Case(_votes("weaver"), message="One user alone is no evidence: None."),
        Case(_votes("weaver*"), message="One reviewer weighs 3, which is enough."),
        Case(_votes("weaver weaver potter*"), message="A reviewer outweighs two users."),
        Case(_votes("weaver weaver weaver potter*"), message="Three users against a reviewer: 3 to 3, so None."),
        Case(
            _votes("weaver weaver potter smith"),
            message="2 of 4 is no majority: more than all *other* values together is asked for.",
        ),
        Case(_votes("weaver weaver weaver potter smith")),
        Case(_votes("weaver weaver potter smith miller"), message="2 of 5 is no majority."),
        Case(_votes("potter weaver* weaver"), message="The first value need not be the one that is agreed on."),
        Case([], message="No votes: None."),
    ],
    general="Not the value that weighs at least 2, and more than all others together (None if there is none).",
    observe=_observed,
    difficulty=2,
    minutes=10,
    points=2,
    asked="corrections contradict each other; which do you train on?",
    hints=[
        "Add up a weight for each value: a dict from value to weight, 3 for a reviewer's vote and 1 for a user's.",
        "More than all others together is more than half of the total: `2 * weight > total`.",
        "weights = {}\n"
        "for value, source in votes:\n"
        '    weights[value] = weights.get(value, 0) + (3 if source == "reviewer" else 1)\n'
        "total = sum(weights.values())\n"
        "for value, weight in weights.items():\n"
        "    if weight >= 2 and 2 * weight > total:\n"
        "        return value\n"
        "return None",
    ],
)


def _agreed(votes, weigh=lambda source: 3 if source == "reviewer" else 1, least=2, enough=lambda w, rest: w > rest):
    weights: dict[str, int] = {}
    for value, source in votes:
        weights[value] = weights.get(value, 0) + weigh(source)
    for value in sorted(weights, key=lambda v: -weights[v]):
        weight = weights[value]
        if weight >= least and enough(weight, sum(weights.values()) - weight):
            return value
    return None


for _sentence, _wrong in {
    "Every vote weighs the same; a reviewer's weighs 3.": {"weigh": lambda source: 1},
    "Users' votes do not count at all; they weigh 1.": {"weigh": lambda source: 3 if source == "reviewer" else 0},
    "One user alone decides; a value must weigh at least 2.": {"least": 1},
    "A value must weigh *at least* 2; yours asks for more than 2.": {"least": 3},
    "The heaviest value is taken even where it has no majority: it must weigh more than all others together.": {
        "enough": lambda w, rest: True
    },
    "Half is taken for a majority; it must be *more* than all others together.": {"enough": lambda w, rest: w >= rest},
}.items():
    agreement.bug(_sentence)(partial(_agreed, **_wrong))


@agreement.bug("Where one value weighs more than each other one, it need not weigh more than all others *together*.")
def agreed_by_the_next(votes):
    weights: dict[str, int] = {}
    for value, source in votes:
        weights[value] = weights.get(value, 0) + (3 if source == "reviewer" else 1)
    order = sorted(weights.values(), reverse=True)
    if not order or order[0] < 2 or order[1:2] == order[:1]:
        return None
    return max(weights, key=lambda v: weights[v])


@agreement.bug("The latest vote is taken; agreement is asked for.")
def agreed_latest(votes):
    return votes[-1][0] if votes else None


@agreement.bug("A reviewer always decides; three users and more outweigh or equal one.")
def agreed_reviewer_first(votes):
    reviewed = [value for value, source in votes if source == "reviewer"]
    return reviewed[0] if reviewed else agreed_value(votes)


@agreement.bug("The weight is returned; the value is asked for.")
def agreed_weight(votes):
    value = agreed_value(votes)
    return None if value is None else sum(3 if s == "reviewer" else 1 for v, s in votes if v == value)


# --- 21.2


def paired_interval(service: Sequence[bool], candidate: Sequence[bool], z: float = 1.96) -> tuple[float, float]:
    """Agresti and Min's interval for candidate minus service."""
    n = len(service)
    c = sum(1 for old, new in zip(service, candidate, strict=True) if new and not old)
    b = sum(1 for old, new in zip(service, candidate, strict=True) if old and not new)
    middle = (c - b) / (n + 2)
    half = z * ((b + c + 1) - (c - b) ** 2 / (n + 2)) ** 0.5 / (n + 2)
    return middle - half, middle + half


def _answers(both: int, only_service: int, only_candidate: int, neither: int) -> tuple[list[bool], list[bool]]:
    service = [True] * both + [True] * only_service + [False] * only_candidate + [False] * neither
    candidate = [True] * both + [False] * only_service + [True] * only_candidate + [False] * neither
    return service, candidate


def _mixed(*counts: int) -> tuple[list[bool], list[bool]]:
    """The same counts, in an order in which no outcome stands in one block."""
    pairs = list(zip(*_answers(*counts), strict=True))
    step = next(k for k in (7, 11, 13, 17) if len(pairs) % k)
    order = sorted(range(len(pairs)), key=lambda i: (i * step) % len(pairs))
    service, candidate = zip(*(pairs[i] for i in order), strict=True)
    return list(service), list(candidate)


shown = Exercise(
    "21.2",
    title="What a candidate has shown",
    reference=paired_interval,
    cases=[
        Case(*_answers(4, 1, 0, 1)),
        Case(*_mixed(40, 7, 3, 10), note="60 questions: 7 only the service got right, 3 only the candidate"),
        Case(*_mixed(52, 5, 2, 1), 2.576, note="60 questions, z = 2.576"),
        Case(
            [True] * 20,
            [True] * 20,
            note="20 questions that both got right",
            message="Two models that answer alike: the interval still has a width. The 1 under the root is missing, or b + c decides alone.",
        ),
        Case([True], [False], note="one question, which the candidate lost"),
        Case(*_mixed(0, 0, 9, 3), note="12 questions, 9 of which only the candidate got right"),
    ],
    general="Not (c - b) / (n + 2) plus and minus z * sqrt((b + c + 1) - (c - b)² / (n + 2)) / (n + 2).",
    observe=_observed,
    difficulty=3,
    minutes=15,
    points=3,
    asked="the new model got 3 of 60 questions fewer. May it go live?",
    hints=[
        "Count, over the pairs, c (the candidate right, the service not) and b (the other way round). Questions on which both agree only count in n.",
        "middle = (c - b) / (n + 2); under the root stands (b + c + 1) - (c - b)**2 / (n + 2), and the root is divided by n + 2 too.",
        "n = len(service)\n"
        "c = sum(1 for old, new in zip(service, candidate) if new and not old)\n"
        "b = sum(1 for old, new in zip(service, candidate) if old and not new)\n"
        "middle = (c - b) / (n + 2)\n"
        "half = z * ((b + c + 1) - (c - b) ** 2 / (n + 2)) ** 0.5 / (n + 2)\n"
        "return middle - half, middle + half",
    ],
)


def _interval(
    service,
    candidate,
    z=1.96,
    swap=False,
    middle=lambda b, c, n: (c - b) / (n + 2),
    spread=lambda b, c, n: (b + c + 1) - (c - b) ** 2 / (n + 2),
    below=lambda n: n + 2,
    root=True,
    ends=(-1, 1),
    fixed=None,
):
    n = len(service)
    c = sum(1 for old, new in zip(service, candidate, strict=True) if new and not old)
    b = sum(1 for old, new in zip(service, candidate, strict=True) if old and not new)
    b, c = (c, b) if swap else (b, c)
    width = spread(b, c, n)
    half = (fixed or z) * (max(width, 0.0) ** 0.5 if root else width) / below(n)
    return tuple(middle(b, c, n) + sign * half for sign in ends)


for _sentence, _wrong in {
    "b and c are exchanged: it is candidate minus service, so what the candidate wins counts up.": {"swap": True},
    "The middle is (c - b) / n; with the two imaginary questions it is (c - b) / (n + 2).": {
        "middle": lambda b, c, n: (c - b) / n
    },
    "The 1 under the root is missing: it comes from the imaginary questions, half a one to b and half to c.": {
        "spread": lambda b, c, n: (b + c) - (c - b) ** 2 / (n + 2)
    },
    "(c - b)² / (n + 2) is not taken off under the root.": {"spread": lambda b, c, n: b + c + 1},
    "(c - b)² / (n + 2) is added under the root; it is taken off.": {
        "spread": lambda b, c, n: (b + c + 1) + (c - b) ** 2 / (n + 2)
    },
    "Under the root (c - b) is not squared.": {"spread": lambda b, c, n: (b + c + 1) - abs(c - b) / (n + 2)},
    "The root is divided by n; it is n + 2.": {"below": lambda n: n},
    "The division by n + 2 stands under the root; it stands outside.": {"below": lambda n: (n + 2) ** 0.5},
    "The root is missing.": {"root": False},
    "The ends are exchanged: low first.": {"ends": (1, -1)},
    "z is always 1.96; take the one that is given.": {"fixed": 1.96},
}.items():
    shown.bug(_sentence)(partial(_interval, **_wrong))


@shown.bug(
    "That is the interval of two separate samples; both answered the same questions, so only those count on which they differ."
)
def unpaired(service, candidate, z=1.96):
    n = len(service)
    p, q = sum(service) / n, sum(candidate) / n
    half = z * (p * (1 - p) / n + q * (1 - q) / n) ** 0.5
    return q - p - half, q - p + half


@shown.bug("There are no imaginary questions at all in it: that is the plain interval of the paired difference.")
def plain_paired(service, candidate, z=1.96):
    return _interval(
        service,
        candidate,
        z,
        middle=lambda b, c, n: (c - b) / n,
        spread=lambda b, c, n: (b + c) - (c - b) ** 2 / n,
        below=lambda n: n,
    )


@shown.first
def two_ends(candidate: Callable) -> None:
    result = _plain(shown.cases[0].call(candidate))
    if not isinstance(result, list) or len(result) != 2:
        raise Mistake(
            "Two numbers are wanted, the low end and the high end: `return middle - half, middle + half`.", yours=result
        )


# --- 21.3


def first_broken(lines: Sequence[str]) -> int | None:
    """The first line whose "before" is not the digest of the line above."""
    before = "0" * 64
    for place, line in enumerate(lines):
        if json.loads(line)["before"] != before:
            return place
        before = sha256(line.encode()).hexdigest()
    return None


def _chain(*names: str, first: str = "0" * 64, colon: str = " : ") -> list[str]:
    """Lines that follow from each other; the spaces are their own: the text counts, not what it means."""
    lines, before = [], first
    for name in names:
        row = {"name": name, "before": before, "seed": 0}
        lines.append(json.dumps(row, ensure_ascii=False, separators=(", ", colon)))
        before = sha256(lines[-1].encode()).hexdigest()
    return lines


_WHOLE = _chain("instruct", "round 1", "Größe", "round 3")
_EDITED = [_WHOLE[0], _WHOLE[1].replace('"seed" : 0', '"seed" : 1'), *_WHOLE[2:]]
chained = Exercise(
    "21.3",
    title="The first line that does not follow",
    reference=first_broken,
    cases=[
        Case(_WHOLE[:1], note="one line", message="One line, with 64 zeros: all is well, None."),
        Case(_chain("instruct", "round 1", colon=": "), note="two lines", message="Nothing was changed: None."),
        Case(
            _WHOLE,
            note="four lines as they were written",
            message="Nothing was changed: None. Is the digest that of the whole line, as UTF-8?",
        ),
        Case(
            _EDITED,
            note="four lines, the second of which was changed",
            message="The line after the changed one no longer follows.",
        ),
        Case([_WHOLE[0], *_WHOLE[2:]], note="four lines, the second of which was taken out"),
        Case(
            _WHOLE[1:],
            note="four lines, the first of which was taken out",
            message="The first line must have 64 zeros.",
        ),
        Case([_WHOLE[0], _WHOLE[2], _WHOLE[1], _WHOLE[3]], note="four lines, two of which were exchanged"),
        Case([*_WHOLE[:3], _WHOLE[3].replace('"seed" : 0', '"seed" : 1')], note="the last line was changed"),
        Case(
            [_WHOLE[0], _EDITED[1], _chain("round 2", first=sha256(_EDITED[1].encode()).hexdigest())[0], _WHOLE[3]],
            note="a line was changed and the next one written anew",
        ),
        Case([], note="no lines"),
    ],
    general='Not the place of the first line whose "before" is not the SHA-256 of the line above it (64 zeros for the first).',
    observe=_observed,
    difficulty=2,
    minutes=10,
    points=2,
    asked="how do you notice that somebody edited the model registry?",
    hints=[
        'Go through the lines with what "before" ought to be: 64 zeros at first.',
        "`sha256(line.encode()).hexdigest()` is the digest of the text as it stands; do not write the JSON anew, its spaces and order count.",
        'before = "0" * 64\n'
        "for place, line in enumerate(lines):\n"
        '    if json.loads(line)["before"] != before:\n'
        "        return place\n"
        "    before = sha256(line.encode()).hexdigest()\n"
        "return None",
    ],
)


def _broken(
    lines,
    first="0" * 64,
    text=lambda line: line.encode(),
    found=lambda place: place,
    digest=None,
    nothing=None,
    expected=None,
):
    before, digest = first, digest or (lambda data: sha256(data).hexdigest())
    for place, line in enumerate(lines):
        told = json.loads(line)["before"]
        if before is not None and told != before:
            return found(place)
        before = expected(told, line) if expected else digest(text(line))
    return nothing


for _sentence, _wrong in {
    "The place is counted from 1; count from 0.": {"found": lambda place: place + 1},
    "That is the line before the one that does not follow.": {"found": lambda place: place - 1},
    'The first line is not looked at; its "before" must be 64 zeros.': {"first": None},
    "The JSON is written anew before its digest is taken; the text counts as it stands, with its spaces and order.": {
        "text": lambda line: json.dumps(json.loads(line)).encode()
    },
    "The digests do not fit: it is SHA-256, in hexadecimal digits, of the text alone, `line.encode()`, without a line end.": {
        "text": lambda line: f"{line}\n".encode()
    },
    "True or False is returned; the place is wanted, or None.": {"found": lambda place: False, "nothing": True},
    "-1 is returned where all lines follow; None is asked for.": {"nothing": -1},
}.items():
    chained.bug(_sentence)(partial(_broken, **_wrong))


@chained.bug('Each line is compared with the digest of the *first* one; "before" is that of the line above.')
def broken_from_first(lines):
    start = sha256(lines[0].encode()).hexdigest() if lines else ""
    return next((i for i, line in enumerate(lines) if json.loads(line)["before"] != (start if i else "0" * 64)), None)


@chained.bug(
    'Each line is compared with the digest of itself; a line cannot hold its own digest, "before" is that of the line above.'
)
def broken_by_itself(lines):
    return next(
        (i for i, line in enumerate(lines) if json.loads(line)["before"] != sha256(line.encode()).hexdigest()), None
    )


@chained.bug("That is the last line that does not follow; the first is asked for.")
def broken_last(lines):
    found, before = None, "0" * 64
    for place, line in enumerate(lines):
        found = place if json.loads(line)["before"] != before else found
        before = sha256(line.encode()).hexdigest()
    return found


# --- 21.4


def ladder(scores: Sequence[float], step: float) -> list[float]:
    """What the board says after each submission."""
    board, said = 0.0, []
    for score in scores:
        if score > board + step:
            board = round(score / step) * step
        said.append(board)
    return said


climbed = Exercise(
    "21.4",
    title="A leaderboard that says less",
    reference=ladder,
    cases=[
        Case([0.5, 0.52, 0.49, 0.62], 0.1),
        Case([0.81, 0.87, 0.9, 0.88, 0.97, 0.99], 0.04),
        Case(
            [0.33, 0.374, 0.376, 0.42],
            0.05,
            message="Compare with what the board *says*, not with the best score so far.",
        ),
        Case([0.3, 0.2, 0.1], 0.25),
        Case([0.25, 0.5, 0.625, 0.8125], 0.25, message="Exactly one step above is not *more* than a step above."),
        Case([0.1, 0.2], 0.5, message="No score exceeds 0 + step: the board stays at 0."),
        Case([], 0.1, message="No submissions: an empty list."),
    ],
    general="Not what the board says after each submission: rounded to a multiple of step where a score is more than step above it, else as before.",
    observe=_observed,
    difficulty=2,
    minutes=10,
    points=2,
    asked="200 submissions, one test set: how do you run the board?",
    hints=[
        "Keep one number, what the board says; it begins at 0.",
        "`if score > board + step: board = round(score / step) * step`, and append the board after every score.",
        "board, said = 0.0, []\n"
        "for score in scores:\n"
        "    if score > board + step:\n"
        "        board = round(score / step) * step\n"
        "    said.append(board)\n"
        "return said",
    ],
)


def _ladder(
    scores,
    step,
    better=lambda s, board, step: s > board + step,
    rounded=lambda s, step: round(s / step) * step,
    begin=0.0,
    only_new=False,
):
    board, said = begin, []
    for score in scores:
        if board is None or better(score, board, step):
            board = rounded(score, step)
            if only_new:
                said.append(board)
        if not only_new:
            said.append(board)
    return said


for _sentence, _wrong in {
    "The score is not rounded: its digits are what one could read the hidden questions from.": {
        "rounded": lambda s, step: s
    },
    "Each score that is better at all is told; it must be more than a step better.": {
        "better": lambda s, b, step: s > b
    },
    "A score exactly one step better is told; it must be *more* than a step.": {
        "better": lambda s, b, step: s >= b + step
    },
    "Every score is told, rounded; one that is not better leaves the board as it is.": {
        "better": lambda s, b, step: True
    },
    "It is rounded down; the nearest multiple is meant.": {"rounded": lambda s, step: int(s / step) * step},
    "It is rounded up; the nearest multiple is meant.": {"rounded": lambda s, step: -int(-s // step) * step},
    "It is rounded to two decimals; a multiple of `step` is meant.": {"rounded": lambda s, step: round(s, 2)},
    "The board begins with the first score, whatever it is; it begins at 0.": {"begin": None},
    "The multiple is not multiplied back: round(score / step) is a number of steps.": {
        "rounded": lambda s, step: float(round(s / step))
    },
    "Only changes are listed; one number for each score is asked for.": {"only_new": True},
}.items():
    climbed.bug(_sentence)(partial(_ladder, **_wrong))


@climbed.bug(
    "A score is compared with the best score so far; compare with what the board *says*, or its digits leak again."
)
def ladder_by_best(scores, step):
    best, board, said = 0.0, 0.0, []
    for score in scores:
        if score > best + step:
            board = round(score / step) * step
        best = max(best, score)
        said.append(board)
    return said


@climbed.bug("Only the last state of the board is returned; one number for each score is asked for.")
def ladder_last(scores, step):
    said = ladder(scores, step)
    return said[-1] if said else 0.0


@climbed.first
def a_list(candidate: Callable) -> None:
    """A generator would be used up by the comparison: name it first."""
    if hasattr(climbed.cases[0].call(candidate), "__next__"):
        raise Mistake("A list is wanted: collect the numbers in a list and return it, instead of `yield`.")


# --- 21.5


def split_groups(ids: Sequence[str | None], copies: Sequence[tuple[int, int]], most: int) -> list[int]:
    """Whole groups of tied rows, in the order of their first row, as long as they fit."""
    first = list(range(len(ids)))

    def find(row: int) -> int:
        while first[row] != row:
            row = first[row]
        return row

    seen: dict[str, int] = {}
    same = [(seen.setdefault(id, row), row) for row, id in enumerate(ids) if id is not None]
    for one, other in [*same, *copies]:
        low, high = sorted((find(one), find(other)))
        first[high] = low
    groups: dict[int, list[int]] = {}
    for row in range(len(ids)):
        groups.setdefault(find(row), []).append(row)
    held_out: list[int] = []
    for rows in groups.values():
        if len(held_out) + len(rows) <= most:
            held_out += rows
    return sorted(held_out)


_LONG = ([f"g{i // 2}" for i in range(60)], [(i, i + 1) for i in range(1, 39, 2)], 12)
leakage = Exercise(
    "21.5",
    title="A split that does not leak",
    reference=split_groups,
    cases=[
        Case(["a", "b", "a", "c"], [], 2),
        Case(["a", "b", "c", "d", "e"], [(1, 4)], 3),
        Case(["a", "b", "a", "b", "c"], [], 3, message="Wrong where a group does not fit: pass over it and go on."),
        Case([None, None, None, "a"], [], 2, message="None is no id: rows without one are not tied to each other."),
        Case(["a", "b", "c", "b", "d"], [(0, 1), (3, 4)], 4, message="Wrong where rows are tied over others."),
        Case([None] * 6, [(4, 5), (2, 1), (5, 2)], 4, message="Wrong where pairs make a chain, in any order."),
        Case(["b", "a", "a", "c", "c", "c", "d"], [], 3),
        Case(
            ["a", "a", "b", "b"],
            [(3, 0)],
            3,
            message="All rows are one group, and it does not fit: nothing is held out.",
        ),
        Case(["a", "b"], [(0, 0), (1, 1)], 1, message="A pair of a row with itself ties nothing."),
        Case(["x", "y", "x", None, "z", None], [(3, 5), (5, 4)], 4),
        Case(["a", "b", "c"], [], 0, message="With most = 0 nothing is held out."),
        Case([], [], 3, message="No rows: an empty list."),
        Case(*_LONG, note="60 rows in pairs, of which the first 40 make a chain; most = 12"),
    ],
    general="Not the rows of the first whole groups that fit, in rising order.",
    rtol=0,
    atol=0,
    observe=_observed,
    difficulty=3,
    minutes=15,
    points=3,
    asked="how do you split data so that nothing leaks? Write it",
    hints=[
        "Tied rows are the connected parts of a graph. Union-find does it: `first = list(range(n))`; each row points to an earlier "
        "one of its group, or to itself.",
        "`find(row)` follows the pointers to the end. To tie two rows: `low, high = sorted((find(a), find(b)))`, then "
        "`first[high] = low`. Do so for every pair of copies, and for each row with the first row that had its id (if it has one).",
        "Collect the rows of each group in a dict, in the order of the rows. Then `for rows in groups.values(): if len(held_out) + "
        "len(rows) <= most: held_out += rows`, and `return sorted(held_out)`.",
    ],
)


def _leaky(ids, copies, most, none_ties=False, use_ids=True, use_copies=True, chain=True, choose=None, side=0):
    count = len(ids)
    first = list(range(count))

    def find(row):
        while first[row] != row:
            row = first[row]
        return row

    seen = {}
    ties = [(seen.setdefault(id, row), row) for row, id in enumerate(ids) if none_ties or id is not None]
    ties = (ties if use_ids else []) + (list(copies) if use_copies else [])
    if chain:
        for one, other in ties:
            low, high = sorted((find(one), find(other)))
            first[high] = low
        roots = [find(row) for row in range(count)]
    else:
        roots = list(range(count))
        for one, other in ties:
            roots[max(one, other)] = min(one, other)
    groups = {}
    for row, root in enumerate(roots):
        groups.setdefault(root, []).append(row)
    held_out = (choose or _fitting)(list(groups.values()), most)
    return sorted(set(range(count)) - set(held_out)) if side else held_out if side is None else sorted(held_out)


def _fitting(groups, most):
    held_out = []
    for rows in groups:
        if len(held_out) + len(rows) <= most:
            held_out += rows
    return held_out


def _until_one_does_not_fit(groups, most):
    held_out = []
    for rows in groups:
        if len(held_out) + len(rows) > most:
            break
        held_out += rows
    return held_out


def _one_too_far(groups, most):
    held_out = []
    for rows in groups:
        if len(held_out) >= most:
            break
        held_out += rows
    return held_out


def _torn(groups, most):
    return [row for rows in groups for row in rows][:most]


def _below(groups, most):
    held_out = []
    for rows in groups:
        if len(held_out) + len(rows) < most:
            held_out += rows
    return held_out


for _sentence, _wrong in {
    "Near copies are left out: a row and its copy stand on two sides.": {"use_copies": False},
    "The ids are left out: rows of one id stand on two sides.": {"use_ids": False},
    "Neither ids nor copies count: that is a split by rows, which leaks.": {"use_ids": False, "use_copies": False},
    "Rows without an id are tied to each other; None is no id.": {"none_ties": True},
    "Rows that are tied over others are taken apart: with ties A-B and B-C, C goes with A.": {"chain": False},
    "It stops at the first group that does not fit; a later, smaller one may.": {"choose": _until_one_does_not_fit},
    "More than `most` rows are held out: a group is taken although it does not fit.": {"choose": _one_too_far},
    "A group is torn: the rows are cut off at `most`, with the rest of the group in training.": {"choose": _torn},
    "A group that fills `most` exactly fits, too: <=, not <.": {"choose": _below},
    "The smallest groups are taken first; the order is that of their first rows.": {
        "choose": lambda groups, most: _fitting(sorted(groups, key=len), most)
    },
    "The largest groups are taken first; the order is that of their first rows.": {
        "choose": lambda groups, most: _fitting(sorted(groups, key=len, reverse=True), most)
    },
    "The groups are taken from the last to the first.": {"choose": lambda groups, most: _fitting(groups[::-1], most)},
    "`most` is taken as a number of groups; it is a number of rows.": {
        "choose": lambda groups, most: [row for rows in groups[:most] for row in rows]
    },
    "Those are the training rows; the held-out ones are wanted.": {"side": 1},
    "The rows come group by group; rising order is wanted.": {"side": None},
}.items():
    leakage.bug(_sentence)(partial(_leaky, **_wrong))


@leakage.bug("The groups are taken in the order of their ids; the order is that of their first rows.")
def split_by_name(ids, copies, most):
    order = sorted(range(len(ids)), key=lambda row: (ids[row] is None, str(ids[row])))
    moved = [(order.index(one), order.index(other)) for one, other in copies]
    return sorted(order[row] for row in split_groups([ids[row] for row in order], moved, most))
