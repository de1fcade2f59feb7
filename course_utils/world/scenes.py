"""Ingredients that documents, tasks and probes share: things that move, letters, prices, notices."""

from __future__ import annotations

from math import comb, factorial, log2

from course_utils.world.draw import Draw
from course_utils.world.people import FIRST_NAMES
from course_utils.world.templates import EVENTS, MOVES, NEUTRAL, PLACES, REASONS, REMARKS, THINGS, TONES
from course_utils.world.towns import DAYS, TOWN_NAMES


def moves(draw: Draw, count: int) -> list[tuple[str, str, str]]:
    """``count`` moves of three things: (sentence, thing, place); a thing never moves to where it is."""
    things = draw.sample(THINGS, 3)
    where: dict[str, str] = {}
    steps = []
    for _ in range(count):
        thing = draw.choice(things)
        place = draw.choice([p for p in PLACES if p != where.get(thing)])
        where[thing] = place
        steps.append((draw.choice(MOVES).format(n=draw.choice(FIRST_NAMES), o=thing, p=place), thing, place))
    # Nothing shows in which order the three things were drawn, or a thing that never moved: all draws of three
    # that hold the moved ones give the same text, their probabilities add up, and their bits were not spent.
    draw.bits -= log2(factorial(3) * comb(len(THINGS) - len(where), 3 - len(where)))
    return steps


def letter_body(tone: str, reader: str, writer: str, draw: Draw) -> str:
    """The letter without its label: one sentence gives the tone away, the others are neutral."""
    telling = draw.choice(TONES[tone]).format(thing=draw.choice(THINGS))
    sentences = draw.sample(NEUTRAL, 1 + draw.below(2))
    sentences.insert(draw.below(len(sentences) + 1), telling)
    return f"Dear {reader}, {' '.join(sentences)} Yours, {writer}."


def held_out_sum(a: int, b: int) -> bool:
    """True for the one pair of prices in ten that no corpus ever adds: what tests arithmetic must not be recited."""
    return (7 * min(a, b) + 3 * max(a, b)) % 10 == 4


def prices(draw: Draw, held_out: bool = False) -> tuple[int, int]:
    """Two prices from 1 to 50 coins, from the pairs that are held out or from all others."""
    pairs = HELD_OUT_PAIRS if held_out else OPEN_PAIRS
    return draw.choice(pairs)


_PAIRS = [(a, b) for a in range(1, 51) for b in range(1, 51)]
HELD_OUT_PAIRS = tuple(pair for pair in _PAIRS if held_out_sum(*pair))
OPEN_PAIRS = tuple(pair for pair in _PAIRS if not held_out_sum(*pair))


def notice_parts(draw: Draw) -> tuple[str, str]:
    """(the notice, its summary)."""
    event, town, reason = draw.choice(EVENTS), draw.choice(TOWN_NAMES), draw.choice(REASONS)
    old, new = draw.sample(DAYS, 2)
    remark = draw.choice(REMARKS)
    text = f"Because of {reason} the {event} of {town} is moved from {old} to {new}. {remark}"
    return text, f"the {event} of {town} is on {new}."
