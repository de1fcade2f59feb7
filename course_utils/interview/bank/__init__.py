"""Interview questions and quizzes: one file ``NN.yaml`` per chapter, and what a file must hold.

questions:
  - id: 12.ppo_objective          never changes, and is never used again: what a reader has answered is kept by it
    level: onsite                 screen | onsite | staff
    topics: [A16, A8]
    question: What is the PPO objective?
    short: thirty seconds, spoken
    deep: what a second question would bring out, in Markdown
    followups: [{question: ..., answer: ...}, ...]      two or more
    wrong: [{answer: ..., why: ...}, ...]               what is usually said, and why it is wrong
    claims: [12.sign]             those that the answers quote as {12.sign} or, with a format, {12.sign:.0%}
quiz:
  - {id: 12.q1, question: ..., choices: [...], answer: 2, why: ...}      answer: which choice is right, from 1
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent
LEVELS = ("screen", "onsite", "staff")
FIGURE = re.compile(r"\{(\d\d\.[a-z][a-z0-9_]*)(?::([^{}]+))?\}")


class BankError(ValueError):
    """A file of the bank does not hold what it should; the message names the entry and the field."""


@dataclass(frozen=True)
class Followup:
    """What the interviewer may ask next, and what to say."""

    question: str
    answer: str


@dataclass(frozen=True)
class WrongAnswer:
    """What is usually said instead, and why it is wrong."""

    answer: str
    why: str


@dataclass(frozen=True)
class Question:
    """An interview question; see the module's text for the fields."""

    id: str
    level: str
    question: str
    short: str
    deep: str
    followups: tuple[Followup, ...]
    wrong: tuple[WrongAnswer, ...]
    topics: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuizItem:
    """A question with choices. answer: the position of the right one, from 0. why: said after the answer."""

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    why: str


def chapters() -> list[str]:
    """The chapters that have a bank, as two digits."""
    return sorted(path.stem for path in FOLDER.glob("[0-9][0-9].yaml"))


def questions(chapter: str) -> list[Question]:
    """The interview questions of a chapter (two digits); empty if it has none."""
    return list(_load(chapter)[0]) if chapter in chapters() else []


def quiz_items(chapter: str) -> list[QuizItem]:
    """The quiz of a chapter (two digits); empty if it has none."""
    return list(_load(chapter)[1]) if chapter in chapters() else []


def cited(*texts: str) -> set[str]:
    """The ids of the claims that texts quote."""
    return {match[1] for text in texts for match in FIGURE.finditer(text)}


@cache
def _load(chapter: str) -> tuple[tuple[Question, ...], tuple[QuizItem, ...]]:
    return parse((FOLDER / f"{chapter}.yaml").read_text(encoding="utf-8"), chapter)


def parse(text: str, chapter: str) -> tuple[tuple[Question, ...], tuple[QuizItem, ...]]:
    """The questions and the quiz of a file's text. Raises BankError, naming the entry, for one that is incomplete."""
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BankError(f"{chapter}.yaml cannot be read: {error}") from error
    found = tuple(_question(entry, chapter) for entry in entries["questions"])
    quiz = tuple(_quiz_item(entry, chapter) for entry in entries["quiz"])
    ids = [question.id for question in found] + [item.id for item in quiz]
    if doubled := {id for id in ids if ids.count(id) > 1}:
        raise BankError(f"{chapter}.yaml has {', '.join(sorted(doubled))} more than once; an id belongs to one entry.")
    return found, quiz


def _question(entry: Mapping[str, Any], chapter: str) -> Question:
    name = _checked(entry, chapter, ("level", "question", "short", "deep", "followups", "wrong", "topics", "claims"))
    if entry["level"] not in LEVELS:
        raise BankError(f"{name}: level is {entry['level']!r}; expected one of {', '.join(LEVELS)}.")
    followups = tuple(Followup(str(part["question"]), str(part["answer"])) for part in entry["followups"])
    wrong = tuple(WrongAnswer(str(part["answer"]), str(part["why"])) for part in entry["wrong"])
    if len(followups) < 2 or not wrong:
        raise BankError(f"{name}: two follow-ups or more and a usual wrong answer are wanted.")
    quoted = cited(entry["short"], entry["deep"], *(part.answer for part in followups), *(part.why for part in wrong))
    if quoted != set(entry["claims"]):
        raise BankError(f"{name}: claims is {entry['claims']}, but the answers quote {sorted(quoted)}.")
    texts = {field: str(entry[field]).strip() for field in ("level", "question", "short", "deep")}
    topics, claims = tuple(entry["topics"]), tuple(entry["claims"])
    return Question(id=name, followups=followups, wrong=wrong, topics=topics, claims=claims, **texts)


def _quiz_item(entry: Mapping[str, Any], chapter: str) -> QuizItem:
    name = _checked(entry, chapter, ("question", "choices", "answer", "why"))
    choices = tuple(str(choice) for choice in entry["choices"])
    if not isinstance(entry["answer"], int) or not 1 <= entry["answer"] <= len(choices):
        raise BankError(f"{name}: answer is {entry['answer']!r}; expected the number of a choice, 1 to {len(choices)}.")
    return QuizItem(name, str(entry["question"]), choices, entry["answer"] - 1, str(entry["why"]).strip())


def _checked(entry: Mapping[str, Any], chapter: str, fields: tuple[str, ...]) -> str:
    """The id of an entry that has all fields."""
    name = str(entry.get("id"))
    if not re.fullmatch(rf"{chapter}\.[a-z][a-z0-9_]*", name):
        raise BankError(f"{chapter}.yaml: an id is {name!r}; expected {chapter}, a point and a lower-case name.")
    missing = [field for field in fields if field not in entry]
    unknown = sorted(set(entry) - {"id", *fields})
    if missing or unknown:
        raise BankError(
            f"{name}: {'missing: ' + ', '.join(missing) if missing else ''}"
            f"{' unknown: ' + ', '.join(unknown) if unknown else ''}."
        )
    return name
