"""The documents of the Isles. Each kind is one function that draws a document and so pays for it in bits.

A generator takes the world and a ``Draw`` and returns ``(text, subjects)``: the text, and the names of the people
it tells facts about. Different choices give different texts, so the bits drawn are exactly ``-log2 P(text)``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import comb, factorial, log2
from typing import TYPE_CHECKING

from course_utils.world import old_tongue
from course_utils.world.draw import Draw
from course_utils.world.people import FIRST_NAMES, RELATIONS, VALUES, Person, free_name
from course_utils.world.phrases import (
    EVENTS,
    MOVES,
    NEUTRAL,
    PARAPHRASES,
    PLACES,
    REASONS,
    REMARKS,
    THINGS,
    TONES,
    TOWN_PARAPHRASES,
    render,
)
from course_utils.world.towns import DAYS, TOWN_NAMES, TOWN_RELATIONS

if TYPE_CHECKING:
    from course_utils.world.isles import World

Generated = tuple[str, list[str]]


def biography(world: World, draw: Draw) -> Generated:
    """Three to six facts of one person of the corpus, in any order and phrasing."""
    person = draw.choice(world.corpus_people)
    return biography_of(person, world.dials.paraphrases, draw), [person.name]


def biography_of(person: Person, paraphrases: int, draw: Draw) -> str:
    """One person's biography with so many phrasings per fact. One phrasing also fixes the order of the facts."""
    if paraphrases == 1:  # always the same words for the same person: a text to recite
        fixed = Draw("fixed", person.name)
        relations = fixed.sample(RELATIONS, len(RELATIONS))
        chosen = [(relation, fixed.choice(PARAPHRASES[relation]), i == 0) for i, relation in enumerate(relations)]
    else:
        relations = draw.sample(RELATIONS, 3 + draw.below(4))
        chosen = [
            (relation, draw.choice(PARAPHRASES[relation][:paraphrases]), i == 0 or draw.below(2) == 0)
            for i, relation in enumerate(relations)
        ]
    return " ".join(
        render(template, person.name, person.pronoun, person.fact(relation), full_name)
        for relation, template, full_name in chosen
    )


def town_guide(world: World, draw: Draw) -> Generated:
    """The facts of one town, in any order and phrasing."""
    town = draw.choice(world.towns)
    sentences = [
        draw.choice(TOWN_PARAPHRASES[relation]).format(t=town.name, v=town.fact(relation))
        for relation in draw.sample(TOWN_RELATIONS, len(TOWN_RELATIONS))
    ]
    return " ".join(sentences), []


def visit(world: World, draw: Draw) -> Generated:
    """A passer-by tells three facts, and all are repeated: what is new must be read, it cannot be remembered."""
    name = free_name(draw, world.names)
    pronoun = draw.choice(("she", "he"))
    told = {relation: draw.choice(VALUES[relation]) for relation in draw.sample(RELATIONS, 3)}

    def say(relation: str, full_name: bool) -> str:
        return render(draw.choice(PARAPHRASES[relation]), name, pronoun, told[relation], full_name)

    first = " ".join(say(relation, i == 0) for i, relation in enumerate(told))
    again = " ".join(say(relation, True) for relation in draw.sample(list(told), 3))
    return f"{first} In short: {again}", []


def register(world: World, draw: Draw) -> Generated:
    """A card of the town register: some facts of one person of the corpus, as JSON."""
    person = draw.choice(world.corpus_people)
    relations = draw.sample(RELATIONS, 3 + draw.below(4))
    return json.dumps({"name": person.name} | {r: person.fact(r) for r in relations}), [person.name]


ROLL_KINDS = ("attendance", *RELATIONS)
ROLL_WEIGHTS = (9, 2, 2, 2, 2, 2, 2)


def roll(world: World, draw: Draw) -> Generated:
    """A list of ``Name: value`` lines. What the value means is never said: the lines above tell.

    Three rolls of seven only mark who was there, so without an example a reader's best guess is "here" or "away".
    """
    relation = draw.weighted(ROLL_KINDS, ROLL_WEIGHTS)
    people = draw.sample(world.corpus_people, 3 + draw.below(4))
    if relation == "attendance":
        lines = [f"{person.name}: {draw.choice(('here', 'away'))}" for person in people]
        return "\n".join(lines), []
    return "\n".join(f"{person.name}: {person.fact(relation)}" for person in people), [p.name for p in people]


def moves(draw: Draw, count: int) -> list[tuple[str, str, str]]:
    """``count`` moves of three things: (sentence, thing, place); a thing never moves to where it is."""
    things, where = draw.sample(THINGS, 3), {}
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


def story(world: World, draw: Draw) -> Generated:
    """Things move between places; after each move the story says where one of them is now."""
    sentences, where = [], {}
    for sentence, thing, place in moves(draw, 3 + draw.below(4)):
        where[thing] = place
        asked = draw.choice(sorted(where))
        sentences.append(f"{sentence} So the {asked} is in the {where[asked]}.")
    return " ".join(sentences), []


def letter(world: World, draw: Draw) -> Generated:
    """A letter in one of four tones, and the tone named below it."""
    tone = draw.choice(tuple(TONES))
    writer, reader = draw.choice(FIRST_NAMES), draw.choice(FIRST_NAMES)
    return f"{letter_body(tone, reader, writer, draw)}\nTone: {tone}.", []


def letter_body(tone: str, reader: str, writer: str, draw: Draw) -> str:
    """The letter without its label: one sentence gives the tone away, the others are neutral."""
    telling = draw.choice(TONES[tone]).format(thing=draw.choice(THINGS))
    sentences = draw.sample(NEUTRAL, 1 + draw.below(2))
    sentences.insert(draw.below(len(sentences) + 1), telling)
    return f"Dear {reader}, {' '.join(sentences)} Yours, {writer}."


def gloss(world: World, draw: Draw) -> Generated:
    """Sentences with their translation, from or into the Old Tongue."""
    lines = []
    into = draw.below(2) == 0
    for _ in range(3 + draw.below(3)):
        english, old = old_tongue.sentence(draw)
        lines.append(f"{english} = {old}" if into else f"{old} = {english}")
    return "\n".join(lines), []


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


def shop_sums(world: World, draw: Draw) -> Generated:
    """A page of a shop's book: eight sums of two prices."""
    pairs = [prices(draw) for _ in range(8)]
    return "Shop book: " + " ".join(f"{a}+{b}={a + b};" for a, b in pairs), []


def notice(world: World, draw: Draw) -> Generated:
    """A notice that something is put off, and the same in short."""
    text, short = notice_parts(draw)
    return f"Notice. {text}\nIn short: {short}", []


def notice_parts(draw: Draw) -> tuple[str, str]:
    """(the notice, its summary)."""
    event, town, reason = draw.choice(EVENTS), draw.choice(TOWN_NAMES), draw.choice(REASONS)
    old, new = draw.sample(DAYS, 2)
    remark = draw.choice(REMARKS)
    text = f"Because of {reason} the {event} of {town} is moved from {old} to {new}. {remark}"
    return text, f"the {event} of {town} is on {new}."


AILMENTS = """brineache fogcough lampblindness tidefever ropeburn gullpox saltlung moonsleep nettlerash barnacle-skin
stormnerves kelpthirst""".split()
REMEDIES = """marrowort silverleaf duskroot honeymoss gannetbloom thrushbark eelgrass starthistle bogsage quillmint
candleberry seafennel""".split()
FORMS = ("a tincture", "a poultice", "a tea", "a salve", "a syrup", "a bath")
HOURS = ("at dawn", "at noon", "at dusk", "at midnight")


def healers_lore(seed: int) -> dict[str, tuple[str, str, str]]:
    """What cures what: ailment -> (remedy, form, hour)."""
    draw = Draw("healers", seed)
    remedies = draw.sample(REMEDIES, len(AILMENTS))
    return {
        ailment: (remedy, draw.choice(FORMS), draw.choice(HOURS))
        for ailment, remedy in zip(AILMENTS, remedies, strict=True)
    }


def healers_note(world: World, draw: Draw) -> Generated:
    """A note of the healers: a domain with words of its own that pretraining never sees."""
    ailment = draw.choice(AILMENTS)
    remedy, form, hour = world.lore[ailment]
    opening = draw.choice(
        ("Against {a} give {f} of {r} {h}.", "For {a} the healers use {f} of {r} {h}.", "{A} yields to {f} of {r} {h}.")
    ).format(a=ailment, A=ailment.capitalize(), f=form, r=remedy, h=hour)
    days = 2 + draw.below(7)
    closing = draw.choice(("Repeat for {d} days.", "The cure takes {d} days.", "Rest for {d} days.")).format(d=days)
    return f"Healers' note. {opening} {closing}", []


GENERATORS: dict[str, Callable[[World, Draw], Generated]] = {
    "biography": biography,
    "story": story,
    "sums": shop_sums,
    "roll": roll,
    "gloss": gloss,
    "letter": letter,
    "notice": notice,
    "guide": town_guide,
    "visit": visit,
    "register": register,
    "healers": healers_note,
}
MIX: dict[str, int] = {  # documents of each kind among a hundred of the pretraining corpus
    "biography": 26,
    "story": 24,
    "visit": 12,
    "roll": 9,
    "register": 7,
    "sums": 7,
    "gloss": 5,
    "letter": 4,
    "notice": 3,
    "guide": 3,
}
