"""Interview questions and quizzes, one module ``chNN`` per chapter, with the lists QUESTIONS and QUIZ."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Question:
    """An interview question. ``{06.claim_name}`` in an answer stands for the reader's own measured figure.

    topics: ids of the topics that it answers ('K3'). short: thirty seconds, spoken. deep: what a second question
    would bring out, in Markdown. followups: what the interviewer may ask next.
    """

    question: str
    short: str
    deep: str
    topics: tuple[str, ...] = ()
    followups: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuizItem:
    """A question with choices. answer: the position of the right one, from 0. why: said after the answer."""

    question: str
    choices: tuple[str, ...]
    answer: int
    why: str


def chapters() -> list[str]:
    """The chapters that have a bank, as two digits."""
    return sorted(m.name[2:] for m in pkgutil.iter_modules(__path__) if m.name.startswith("ch"))


def questions(chapter: str) -> list[Question]:
    """The interview questions of a chapter (two digits); empty if it has none."""
    return list(import_module(f"{__name__}.ch{chapter}").QUESTIONS) if chapter in chapters() else []


def quiz_items(chapter: str) -> list[QuizItem]:
    """The quiz of a chapter (two digits); empty if it has none."""
    return list(import_module(f"{__name__}.ch{chapter}").QUIZ) if chapter in chapters() else []
