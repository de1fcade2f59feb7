"""The documents of the Isles. Each kind is one function that draws a document and so pays for it in bits.

A generator takes the facts and a ``Draw`` and returns ``(text, subjects)``: the text, and the names of the people
it tells facts about. Different choices give different texts, so the bits drawn are exactly ``-log2 P(text)``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import log2

from course_utils.world import old_tongue
from course_utils.world.corruption import add_noise
from course_utils.world.draw import Draw
from course_utils.world.facts import Facts
from course_utils.world.lore import AILMENTS
from course_utils.world.people import FIRST_NAMES, RELATIONS, VALUES, Person, free_name
from course_utils.world.scenes import letter_body, moves, notice_parts, prices
from course_utils.world.templates import (
    PARAPHRASES,
    TONES,
    TOWN_PARAPHRASES,
    render,
)
from course_utils.world.towns import TOWN_RELATIONS

Document = tuple[str, list[str]]


def biography(facts: Facts, draw: Draw) -> Document:
    """Three to six facts of one person of the corpus, in any order and phrasing."""
    person = draw.choice(facts.corpus_people)
    return biography_of(person, facts.dials.paraphrases, draw), [person.name]


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


def town_guide(facts: Facts, draw: Draw) -> Document:
    """The facts of one town, in any order and phrasing."""
    town = draw.choice(facts.towns)
    sentences = [
        draw.choice(TOWN_PARAPHRASES[relation]).format(t=town.name, v=town.fact(relation))
        for relation in draw.sample(TOWN_RELATIONS, len(TOWN_RELATIONS))
    ]
    return " ".join(sentences), []


def visit(facts: Facts, draw: Draw) -> Document:
    """A passer-by tells three facts, and all are repeated: what is new must be read, it cannot be remembered."""
    name = free_name(draw, facts.names)
    pronoun = draw.choice(("she", "he"))
    told = {relation: draw.choice(VALUES[relation]) for relation in draw.sample(RELATIONS, 3)}

    def say(relation: str, full_name: bool) -> str:
        return render(draw.choice(PARAPHRASES[relation]), name, pronoun, told[relation], full_name)

    first = " ".join(say(relation, i == 0) for i, relation in enumerate(told))
    again = " ".join(say(relation, True) for relation in draw.sample(list(told), 3))
    return f"{first} In short: {again}", []


def json_record(facts: Facts, draw: Draw) -> Document:
    """A card of the town register: some facts of one person of the corpus, as JSON."""
    person = draw.choice(facts.corpus_people)
    relations = draw.sample(RELATIONS, 3 + draw.below(4))
    return json.dumps({"name": person.name} | {r: person.fact(r) for r in relations}), [person.name]


ROLL_KINDS = ("attendance", *RELATIONS)
ROLL_WEIGHTS = (9, 2, 2, 2, 2, 2, 2)


def record_list(facts: Facts, draw: Draw) -> Document:
    """A list of ``Name: value`` lines. What the value means is never said: the lines above tell.

    Three rolls of seven only mark who was there, so without an example a reader's best guess is "here" or "away".
    """
    relation = draw.weighted(ROLL_KINDS, ROLL_WEIGHTS)
    people = draw.sample(facts.corpus_people, 3 + draw.below(4))
    if relation == "attendance":
        lines = [f"{person.name}: {draw.choice(('here', 'away'))}" for person in people]
        return "\n".join(lines), []
    return "\n".join(f"{person.name}: {person.fact(relation)}" for person in people), [p.name for p in people]


def story(facts: Facts, draw: Draw) -> Document:
    """Things move between places; after each move the story says where one of them is now."""
    sentences, where = [], {}
    for sentence, thing, place in moves(draw, 3 + draw.below(4)):
        where[thing] = place
        asked = draw.choice(sorted(where))
        sentences.append(f"{sentence} So the {asked} is in the {where[asked]}.")
    return " ".join(sentences), []


def letter(facts: Facts, draw: Draw) -> Document:
    """A letter in one of four tones, and the tone named below it."""
    tone = draw.choice(tuple(TONES))
    writer, reader = draw.choice(FIRST_NAMES), draw.choice(FIRST_NAMES)
    return f"{letter_body(tone, reader, writer, draw)}\nTone: {tone}.", []


def gloss(facts: Facts, draw: Draw) -> Document:
    """Sentences with their translation, from or into the Old Tongue."""
    lines = []
    into = draw.below(2) == 0
    for _ in range(3 + draw.below(3)):
        english, old = old_tongue.sentence(draw)
        lines.append(f"{english} = {old}" if into else f"{old} = {english}")
    return "\n".join(lines), []


def shop_sums(facts: Facts, draw: Draw) -> Document:
    """A page of a shop's book: eight sums of two prices."""
    pairs = [prices(draw) for _ in range(8)]
    return "Shop book: " + " ".join(f"{a}+{b}={a + b};" for a, b in pairs), []


def notice(facts: Facts, draw: Draw) -> Document:
    """A notice that something is put off, and the same in short."""
    text, short = notice_parts(draw)
    return f"Notice. {text}\nIn short: {short}", []


def healers_note(facts: Facts, draw: Draw) -> Document:
    """A note of the healers: a domain with words of its own that pretraining never sees."""
    ailment = draw.choice(AILMENTS)
    remedy, form, hour = facts.lore[ailment]
    opening = draw.choice(
        ("Against {a} give {f} of {r} {h}.", "For {a} the healers use {f} of {r} {h}.", "{A} yields to {f} of {r} {h}.")
    ).format(a=ailment, A=ailment.capitalize(), f=form, r=remedy, h=hour)
    days = 2 + draw.below(7)
    closing = draw.choice(("Repeat for {d} days.", "The cure takes {d} days.", "Rest for {d} days.")).format(d=days)
    return f"Healers' note. {opening} {closing}", []


GENERATORS: dict[str, Callable[[Facts, Draw], Document]] = {
    "biography": biography,
    "story": story,
    "sums": shop_sums,
    "roll": record_list,
    "gloss": gloss,
    "letter": letter,
    "notice": notice,
    "guide": town_guide,
    "visit": visit,
    "register": json_record,
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


def documents(facts: Facts, count: int, seed: int = 0, mix: Mapping[str, int] | None = None) -> dict[str, list]:
    """``count`` documents as columns: text, kind, bits (exact information, in bits), subjects (names).

    ``mix`` weighs the kinds of documents with whole numbers; the default is MIX, which has no healers' notes.
    Raises ValueError for an unknown kind or a count below 1.
    """
    mix = MIX if mix is None else mix
    unknown = sorted(set(mix) - set(GENERATORS))
    if unknown or not mix or min(mix.values()) < 0 or sum(mix.values()) == 0:
        raise ValueError(
            f"the mix {dict(mix)} does not work{': unknown kinds ' + str(unknown) if unknown else ''}. "
            f"Give whole weights, not all 0, for kinds among {', '.join(GENERATORS)}."
        )
    if count < 1:
        raise ValueError(f"a corpus of {count} documents was asked for; ask for 1 or more.")
    kinds = [kind for kind, weight in mix.items() if weight]
    weights = [mix[kind] for kind in kinds]
    draw = Draw("corpus", facts.seed, seed)
    faults = Draw("faults", facts.seed, seed)  # its own stream: the clean documents stay the same
    columns: dict[str, list] = {"text": [], "kind": [], "bits": [], "subjects": []}
    for i in range(count):
        draw.start_counting()
        kind = draw.weighted(kinds, weights)
        text, subjects = GENERATORS[kind](facts, draw)
        bits = draw.bits
        if i and faults.chance(facts.dials.duplicate_rate):
            j = faults.below(i)
            text, kind, subjects, bits = columns["text"][j], columns["kind"][j], columns["subjects"][j], log2(i)
        if faults.chance(facts.dials.noise_rate):
            faults.start_counting()
            text = add_noise(text, faults)
            bits += faults.bits
        columns["text"].append(text)
        columns["kind"].append(kind)
        columns["bits"].append(bits)
        columns["subjects"].append(subjects)
    return columns
