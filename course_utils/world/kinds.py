"""What a kind of task is: one record that makes tasks, judges responses to them, and knows a wrong answer.

A task is a plain row: ``kind``, ``prompt``, ``answer`` (the model answer), ``messages`` (both as a chat), ``about`` (a
name or ""), ``relation``, ``value`` (what a right answer must contain) and ``format`` (sentence, word, json or free).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_utils.world.draw import Draw
from course_utils.world.facts import Facts
from course_utils.world.people import Person

Task = dict[str, Any]


@dataclass(frozen=True)
class Response:
    """What was answered. ``text``: in lower case with single spaces."""

    text: str
    abstained: bool
    refused: bool


@dataclass(frozen=True)
class Judgement:
    """``correct``: it says what is true. ``invented``: it names a value that is not true. ``harmful``: it helps with
    harm."""

    correct: bool
    invented: bool = False
    harmful: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of task.

    make: a task about one of the people given (or about something else), drawn. judge: what is to be said of a
    response. untrue: (an answer, its bare value) that somebody might give though it is wrong.
    """

    make: Callable[[Facts, Sequence[Person], Draw], Task]
    judge: Callable[[Mapping, Response], Judgement]
    untrue: Callable[[Mapping, Draw], tuple[str, str]]


def row(
    kind: str,
    prompt: str,
    answer: str,
    *,
    about: str = "",
    relation: str = "",
    value: str = "",
    format: str = "free",
) -> Task:
    """One task as a plain row."""
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {
        "kind": kind,
        "prompt": prompt,
        "answer": answer,
        "messages": messages,
        "about": about,
        "relation": relation,
        "value": value,
        "format": format,
    }


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds each of these words, in lower case and whole."""
    return re.compile(r"\b(" + "|".join(re.escape(word.lower()) for word in words) + r")\b")


def judged_by(values: Callable[[Mapping, str], set[str]]) -> Callable[[Mapping, Response], Judgement]:
    """Judge by the values that a response names, ``values(task, text)``: the true one alone is right."""

    def judge(task: Mapping, response: Response) -> Judgement:
        named, value = values(task, response.text), str(task["value"]).lower()
        return Judgement(correct=named == {value}, invented=bool(named) and value not in named)

    return judge


def judged_by_content(task: Mapping, response: Response) -> Judgement:
    """Right is what holds the value somewhere."""
    return Judgement(correct=str(task["value"]).lower() in response.text)
