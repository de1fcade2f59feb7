"""The healers of the Isles: a domain with words of its own, of which pretraining says nothing.

The twelve ailments of ``World.lore`` and as many more as are asked for, each with a remedy, a form and an hour; notes
that tell them in many phrasings; questions about them; and reports of cases, few of which are urgent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from course_utils.world.draw import Draw
from course_utils.world.facts import Facts
from course_utils.world.kinds import Kind, Task, any_of, judged_by, row
from course_utils.world.lore import FORMS, HOURS, REMEDIES
from course_utils.world.people import FIRST_NAMES, Person

RELATIONS = ("remedy", "form", "hour")
ROOTS = "brine fog lamp tide rope gull salt moon nettle reef storm kelp harbour ember".split()
COMPLAINTS = "ache cough fever burn pox lung chill rash thirst itch cramp dizziness".split()
HERBS = "marrow silver dusk honey gannet thrush eel star bog quill candle sea".split()
PARTS = "wort leaf root moss bloom bark grass thistle sage mint berry fennel".split()
LEFT_OUT = 2  # phrasings of each fact of an ailment that no note uses: its questions come in these

PHRASINGS: dict[str, tuple[str, ...]] = {  # what stands before {v} tells which fact is meant
    "remedy": (
        "Against {a} the healers pick {v}.",
        "For {a} the herb is {v}.",
        "What cures {a} is {v}.",
        "Who suffers from {a} needs {v}.",
        "In the garden they grow for {a} some {v}.",
        "The best plant for {a} is {v}.",
    ),
    "form": (
        "Against {a} they prepare {v}.",
        "For {a} the herb is made into {v}.",
        "The cure of {a} comes as {v}.",
        "Who suffers from {a} receives {v}.",
        "In the kitchen they mix for {a} {v}.",
        "The healers treat {a} with {v}.",
    ),
    "hour": (
        "Against {a} it is taken {v}.",
        "For {a} the healers come {v}.",
        "The cure of {a} is given {v}.",
        "Who suffers from {a} is treated {v}.",
        "The right time for {a} is {v}.",
        "The healers see to {a} {v}.",
    ),
}
QUESTIONS: dict[str, tuple[str, ...]] = {
    "remedy": (
        "What helps against {a}?",
        "Which herb cures {a}?",
        "What do the healers pick for {a}?",
        "Which plant is best for {a}?",
    ),
    "form": (
        "How is the cure of {a} prepared?",
        "What do they mix for {a}?",
        "What is the herb made into for {a}?",
        "In what form comes the cure of {a}?",
    ),
    "hour": (
        "When is {a} treated?",
        "At what hour is the cure of {a} taken?",
        "When do the healers see to {a}?",
        "What is the right time for {a}?",
    ),
}
ANSWERS = {
    "remedy": "What cures {a} is {v}.",
    "form": "The cure of {a} comes as {v}.",
    "hour": "The cure of {a} is given {v}.",
}


@dataclass(frozen=True)
class Cure:
    """One entry of the lore: what helps against an ailment, in which form, and when."""

    ailment: str
    remedy: str
    form: str
    hour: str

    def fact(self, relation: str) -> str:
        """The value of a relation: remedy, form or hour."""
        return getattr(self, relation)


def cures(facts: Facts, count: int = 40) -> list[Cure]:
    """``count`` entries of the lore, the twelve of ``World.lore`` first. No remedy serves twice.

    Raises ValueError for fewer than 12, or for more than there are names.
    """
    known = [Cure(ailment, *values) for ailment, values in facts.lore.items()]
    taken = {word for cure in known for word in (cure.ailment, cure.remedy)}
    ailments = [root + end for root in ROOTS for end in COMPLAINTS if root + end not in taken]
    remedies = [herb + part for herb in HERBS for part in PARTS if herb + part not in taken]
    most = len(known) + min(len(ailments), len(remedies))
    if not len(known) <= count <= most:
        raise ValueError(f"{count} cures were asked for; the lore has {len(known)} at least and {most} at most.")
    draw = Draw("more cures", facts.seed)
    more = count - len(known)
    return known + [
        Cure(ailment, remedy, draw.choice(FORMS), draw.choice(HOURS))
        for ailment, remedy in zip(draw.sample(ailments, more), draw.sample(remedies, more), strict=True)
    ]


def told(cure: Cure, relation: str) -> tuple[list[str], list[str]]:
    """(phrasings that notes use for this fact, phrasings that they leave out); other ailments' notes use those."""
    left_out = Draw("left out", cure.ailment, relation).sample(PHRASINGS[relation], LEFT_OUT)
    return [words for words in PHRASINGS[relation] if words not in left_out], left_out


def note(cure: Cure, draw: Draw) -> str:
    """A note about one ailment: its three facts in any order, each in one of the phrasings used for it."""
    sentences = [
        draw.choice(told(cure, relation)[0]).format(a=cure.ailment, v=cure.fact(relation))
        for relation in draw.sample(RELATIONS, len(RELATIONS))
    ]
    return " ".join(["Healers' note.", *sentences])


def notes(lore: Sequence[Cure], count: int, seed: int = 0) -> dict[str, list]:
    """``count`` notes about entries of ``lore``: columns text, ailment and bits (exact information, in bits)."""
    draw = Draw("notes", seed)
    columns: dict[str, list] = {"text": [], "ailment": [], "bits": []}
    for _ in range(count):
        draw.start_counting()
        cure = draw.choice(lore)
        columns["text"].append(note(cure, draw))
        columns["ailment"].append(cure.ailment)
        columns["bits"].append(draw.bits)
    return columns


def page(cure: Cure) -> str:
    """The entry of the healers' book about one ailment: remedy, form and hour on one line."""
    return f"{cure.ailment}: {cure.remedy}, {cure.form}, {cure.hour}."


def ask(cure: Cure, relation: str, wording: int) -> Task:
    """A question about one fact, in wording 0, 1, 2 or 3, with its answer, a sentence. ``value`` is what counts."""
    question = QUESTIONS[relation][wording].format(a=cure.ailment)
    answer = ANSWERS[relation].format(a=cure.ailment, v=cure.fact(relation))
    return row("lore", question, answer, about=cure.ailment, relation=relation, value=cure.fact(relation))


def revised(cure: Cure, relation: str) -> Cure:
    """The same ailment with another value of one relation: what the healers teach from now on."""
    values = {"remedy": REMEDIES, "form": FORMS, "hour": HOURS}[relation]
    old = cure.fact(relation)
    other = values[(values.index(old) + 1) % len(values)] if old in values else values[0]
    return replace(cure, **{relation: other})


def _lore_task(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    cure = draw.choice(cures(facts, len(facts.lore)))
    return ask(cure, draw.choice(RELATIONS), draw.below(4))


@cache
def _words(relation: str) -> re.Pattern[str]:
    remedies = (*REMEDIES, *(herb + part for herb in HERBS for part in PARTS))
    return any_of({"remedy": remedies, "form": FORMS, "hour": HOURS}[relation])


def _lore_values(task: Mapping, text: str) -> set[str]:
    return set(_words(task["relation"]).findall(text))


def _untrue_lore(task: Mapping, draw: Draw) -> tuple[str, str]:
    relation = task["relation"]
    values = {"remedy": REMEDIES, "form": FORMS, "hour": HOURS}[relation]
    value = draw.choice([word for word in values if word != task["value"]])
    return ANSWERS[relation].format(a=task["about"], v=value), value


LORE = Kind(_lore_task, judged_by(_lore_values), _untrue_lore)


def invented(lore: Sequence[Cure], count: int, seed: int = 0) -> list[Cure]:
    """``count`` entries that name the ailments and remedies of ``lore`` in random combination: nothing to remember."""
    draw = Draw("invented", seed)
    return [
        Cure(draw.choice(lore).ailment, draw.choice(lore).remedy, draw.choice(FORMS), draw.choice(HOURS))
        for _ in range(count)
    ]


GRAVE = """cannot draw breath,does not wake,has blue lips,no longer knows the own name,bleeds without end,
shakes all over,has stopped drinking,sees nothing any more,cannot be moved,has a stiff neck""".replace("\n", "").split(
    ","
)
MILD = """sleeps badly,has a runny nose,sneezes at noon,has sore feet,is in low spirits,has cold hands,
coughs a little,scratches now and then,eats too much,has a dry mouth,blinks a lot,hums in the night""".replace(
    "\n", ""
).split(",")
URGENT, ORDINARY = 1, 0


def case(urgent: bool, draw: Draw) -> str:
    """The report of a case: three signs. At least two grave ones make it urgent; one alone does not."""
    grave = 2 + draw.below(2) if urgent else draw.below(2)
    signs = draw.sample(GRAVE, grave) + draw.sample(MILD, 3 - grave)
    signs = draw.sample(signs, 3)
    return f"{draw.choice(FIRST_NAMES)} {signs[0]}, {signs[1]} and {signs[2]}."


def cases(count: int, urgent: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """``count`` reports, ``urgent`` of which are urgent, in random order: (texts, labels 1 or 0).

    Raises ValueError unless 0 <= urgent <= count.
    """
    if not 0 <= urgent <= count:
        raise ValueError(f"{urgent} urgent cases of {count} were asked for; give a number from 0 to {count}.")
    draw = Draw("cases", seed, count, urgent)
    labels = draw.sample([URGENT] * urgent + [ORDINARY] * (count - urgent), count)
    return [case(label == URGENT, draw) for label in labels], labels
