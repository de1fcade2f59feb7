"""Is what a text says true? Find each fact that it states, and look every one up.

This is the idea of FActScore (Min et al., arXiv 2305.14251, section 3): cut a long text into atomic statements, and
report the share that a source of knowledge supports. There a language model cuts and another one checks; on the Isles
the phrasings are known and so is every fact, so both steps are exact.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import TYPE_CHECKING

from course_utils.world.people import FIRST_NAMES, LAST_NAMES, NEW_WORDS, RELATIONS, VALUES
from course_utils.world.templates import SENTENCE, phrasings

if TYPE_CHECKING:
    from course_utils.world import World

NAME = r"(?P<name>[A-Z]\w+ [A-Z]\w+)"  # also names that nobody has: a made-up person is a mistake too
PERSON = {  # how ``phrases.render`` and the sentences of answers fill each field
    "S": rf"(?:{NAME}|She|He)",
    "S_": rf"(?:{NAME}|she|he)",
    "P": rf"(?:{NAME}'s|Her|His)",
    "O": rf"(?:{NAME}|her|him)",
    "n": NAME,
}
MENTION = re.compile(rf"\b(?:{'|'.join(FIRST_NAMES)}) (?:{'|'.join(LAST_NAMES)})\b")
SENTENCE_BREAK = re.compile(r"(?<=[.!?:;])\s+|\s*\n\s*")


@dataclass(frozen=True)
class Statement:
    """One atomic statement: the ``relation`` of the person called ``name`` has this ``value``."""

    name: str
    relation: str
    value: str


@dataclass(frozen=True)
class Checked:
    """A statement, and the ``verdict`` on it: supported | refuted | unknown person."""

    statement: Statement
    verdict: str


def statements(text: str) -> list[Statement]:
    """Every sentence of ``text`` that states a fact of a named person, in the order of the text, repetitions included.

    All phrasings of the corpora, the held-out ones and those of answers are read. A pronoun stands for the person named
    last before it, in a statement or otherwise; with nobody named it states nothing. A birth year may be any four
    digits; other values must be words of the Isles, so "works as a wizard" is not found. Neither is a question, nor a
    sentence that says more than one fact ("... lives in Mistley and works as a baker.").
    """
    found, last = [], None
    for sentence in SENTENCE_BREAK.split(text.strip()):
        for relation, pattern in _patterns():
            if match := pattern.fullmatch(sentence):
                last = match["name"] or last
                if last is not None:
                    found.append(Statement(last, relation, match["value"]))
                break
        else:
            last = (MENTION.findall(sentence) or [last])[-1]
    return found


def fact_check(text: str, world: World) -> list[Checked]:
    """Look up each statement of ``text``: supported, refuted, or about an unknown person (nobody in ``world.people``).

    The facts of strangers are looked up like all others, though no corpus tells them.
    """
    people = {person.name: person for person in world.people}

    def verdict(statement: Statement) -> str:
        if statement.name not in people:
            return "unknown person"
        truth = people[statement.name].fact(statement.relation)
        return "supported" if statement.value == truth else "refuted"

    return [Checked(statement, verdict(statement)) for statement in statements(text)]


def factual_precision(texts: Sequence[str], world: World) -> float:
    """The share of supported statements among all that ``texts`` make; those about unknown persons count against it.

    Precision only: a text that says little, or the same truth again and again, loses nothing.
    Raises ValueError if the texts state nothing at all: the share of nothing is not 0.
    """
    if isinstance(texts, str):
        raise ValueError("a list of texts is expected; put a single text into a list: factual_precision([text], ...).")
    checked = [found for text in texts for found in fact_check(text, world)]
    if not checked:
        raise ValueError(
            f"none of the {len(texts)} texts states a fact about a named person, so there is no precision. Give texts "
            "with full sentences, such as answers in the format 'sentence'."
        )
    return sum(found.verdict == "supported" for found in checked) / len(checked)


def consistent_with(answer_text: str, context_text: str) -> bool | None:
    """Does the context state all that the answer states? None if the answer states nothing.

    The context is taken at its word: an answer can be consistent and false, or true and not to be found there.
    """
    said = set(statements(answer_text))
    return said <= set(statements(context_text)) if said else None


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """(relation, pattern of a whole sentence) for every phrasing."""
    return tuple(
        (relation, _pattern(template, relation))
        for relation in RELATIONS
        for template in (*phrasings(relation), SENTENCE[relation])
    )


def _pattern(template: str, relation: str) -> re.Pattern[str]:
    """A template, its fields replaced by what may fill them. The final stop may be missing, as in a text cut off."""
    words = VALUES[relation] + NEW_WORDS.get(relation, ())
    value = r"[0-9]{4}" if relation == "birth year" else "|".join(map(re.escape, words))
    fields = {**PERSON, "v": f"(?P<value>{value})"}
    pieces = Formatter().parse(template.rstrip("."))
    parts = [re.escape(literal) + fields.get(field or "", "") for literal, field, *_ in pieces]
    return re.compile("".join(parts) + "[.!]?")
