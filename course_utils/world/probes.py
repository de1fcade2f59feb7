"""Probes: texts of the Isles that stop just before an answer that only one continuation gets right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from course_utils.world import healers, old_tongue, scenes
from course_utils.world.draw import Draw
from course_utils.world.facts import Facts
from course_utils.world.healers import Cure
from course_utils.world.people import FIRST_NAMES, RELATIONS, Person, fictional_person
from course_utils.world.templates import HELD_OUT, PARAPHRASES, TONES, UNREAD, render


class Probe(NamedTuple):
    """A prompt, the one right continuation, and what kind of question it is."""

    prompt: str
    answer: str
    kind: str


PHRASINGS: dict[str, Mapping[str, Sequence[str]]] = {
    "read": PARAPHRASES,
    "held out": {relation: (template,) for relation, template in HELD_OUT.items()},
    "unread": {relation: (template,) for relation, template in UNREAD.items()},
}


def fact_probes(people: Sequence[Person], seed: int = 0, phrasing: str = "read") -> list[Probe]:
    """Every fact of these people, asked for in a phrasing of the corpus, drawn, or in one that no corpus contains.

    ``phrasing``: "read", "held out" (a new beginning before last words that a corpus phrasing has too) or "unread" (key
    words that no corpus uses of that relation; four of the six have one). Raises ValueError for another.
    """
    if phrasing not in PHRASINGS:
        raise ValueError(f"phrasing is {phrasing!r}; expected one of {', '.join(map(repr, PHRASINGS))}.")
    draw = Draw("fact probes", seed)
    probes = []
    for person in people:
        for relation, templates in PHRASINGS[phrasing].items():
            template = draw.choice(templates)
            before, after = render(template, person.name, person.pronoun, "\0", full_name=True).split("\0")
            probes.append(Probe(before[:1].upper() + before[1:].rstrip(), f" {person.fact(relation)}{after}", relation))
    return probes


def roll_probes(world: Facts, count: int, shots: int, seed: int = 0) -> list[Probe]:
    """Rolls of people of the corpus with ``shots`` finished lines: the next value.

    Without a finished line nothing says which fact is meant.
    """
    draw = Draw("roll probes", seed, shots)
    probes = []
    for _ in range(count):
        relation = draw.choice(RELATIONS)
        *examples, last = draw.sample(world.corpus_people, shots + 1)
        lines = [f"{person.name}: {person.fact(relation)}" for person in examples]
        probes.append(Probe("\n".join([*lines, f"{last.name}:"]), f" {last.fact(relation)}", relation))
    return probes


def register_probes(people: Sequence[Person], seed: int = 0) -> list[Probe]:
    """Every fact of these people as the register has it: a card with one other fact, cut off before the value."""
    draw = Draw("register probes", seed)
    probes = []
    for person in people:
        for relation in RELATIONS:
            other = draw.choice([r for r in RELATIONS if r != relation])
            card = json.dumps({"name": person.name, other: person.fact(other), relation: ""})
            probes.append(Probe(card.removesuffix(' ""}'), f' "{person.fact(relation)}', relation))
    return probes


def translation_probes(count: int, seed: int = 0) -> list[Probe]:
    """Sentences after two examples, from and into the Old Tongue."""
    draw = Draw("translation probes", seed)
    probes = []
    for i in range(count):
        pairs = [old_tongue.sentence(draw) for _ in range(3)]
        if i % 2:
            pairs = [(old, english) for english, old in pairs]
        lines = [f"{source} = {target}" for source, target in pairs]
        prompt = "\n".join(lines).rsplit(" = ", 1)[0] + " ="
        probes.append(Probe(prompt, f" {pairs[-1][1]}", "into" if i % 2 == 0 else "from"))
    return probes


def visit_probes(world: Facts, count: int, seed: int = 0) -> list[Probe]:
    """A passer-by tells three facts; one of them is asked for again, in another phrasing: read, not remembered."""
    draw = Draw("visit probes", seed)
    probes = []
    for _ in range(count):
        person = fictional_person(draw, world.names)
        told = draw.sample(RELATIONS, 3)
        asked = draw.choice(told)
        sentences = [
            render(draw.choice(PARAPHRASES[relation]), person.name, person.pronoun, person.fact(relation), i == 0)
            for i, relation in enumerate(told)
        ]
        again = render(draw.choice(PARAPHRASES[asked]), person.name, person.pronoun, "\0", full_name=True)
        before, after = again.split("\0")
        prompt = f"{' '.join(sentences)} In short: {before[:1].upper() + before[1:].rstrip()}"
        probes.append(Probe(prompt, f" {person.fact(asked)}{after}", asked))
    return probes


def story_probes(count: int, seed: int = 0) -> list[Probe]:
    """Stories of five moves that stop before the place of a thing: the one moved last, or one moved earlier."""
    draw = Draw("story probes", seed)
    probes: list[Probe] = []
    while len(probes) < count:
        where, sentences = {}, []
        steps = scenes.moves(draw, 5)
        for i, (sentence, thing, place) in enumerate(steps):
            where[thing] = place
            asked = draw.choice(sorted(where))
            sentences.append(f"{sentence} So the {asked} is in the {where[asked]}." if i < 4 else sentence)
        kind = "moved last" if asked == steps[-1][1] else "moved earlier"
        probes.append(Probe(f"{' '.join(sentences)} So the {asked} is in the", f" {where[asked]}.", kind))
    return probes


def sum_probes(count: int, seed: int = 0, held_out: bool = False) -> list[Probe]:
    """Sums of two prices on a started page; ``held_out`` asks only for pairs that no corpus adds."""
    draw = Draw("sum probes", seed)
    probes = []
    for _ in range(count):
        shown, (a, b) = [scenes.prices(draw) for _ in range(2)], scenes.prices(draw, held_out)
        page = " ".join(f"{x}+{y}={x + y};" for x, y in shown)
        probes.append(Probe(f"Shop book: {page} {a}+{b}=", f"{a + b};", "held out" if held_out else "open"))
    return probes


def tone_probes(count: int, seed: int = 0) -> list[Probe]:
    """Fresh letters whose tone is to be named."""
    draw = Draw("tone probes", seed)
    probes = []
    for _ in range(count):
        tone = draw.choice(tuple(TONES))
        body = scenes.letter_body(tone, draw.choice(FIRST_NAMES), draw.choice(FIRST_NAMES), draw)
        probes.append(Probe(f"{body}\nTone:", f" {tone}.", tone))
    return probes


def lore_probes(lore: Sequence[Cure], read: bool = False) -> list[Probe]:
    """Every fact of the healers' ailments, in the phrasings that the notes leave out; with ``read``, in those they use.

    The phrasings themselves are no riddle: notes about other ailments use them. The answer ends with the full stop.
    """
    return [
        Probe(words.format(a=cure.ailment, v="\0").split("\0")[0].rstrip(), f" {cure.fact(relation)}.", relation)
        for cure in lore
        for relation in healers.RELATIONS
        for words in healers.told(cure, relation)[0 if read else 1]
    ]
