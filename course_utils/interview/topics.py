"""What a person wants to be able to explain, and where the course answers it: chapter, exercise, figure, question.

The rows stand in ``bank/topics.py``. A topic's questions are those of the bank that name one of its ids; its claims are
those that they quote, and the ones that its row names. So a new question is found as soon as it is written.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from course_utils.chapters import CHAPTERS
from course_utils.classroom.exercises import registry
from course_utils.interview import bank
from course_utils.interview.bank.topics import TOPICS, Topic

MOST = 6  # figures, and questions, of a topic that are shown unasked


class TopicError(ValueError):
    """Nothing in the course answers to these words; the message names what comes close."""


@dataclass(frozen=True)
class Found:
    """A topic with everything that it leads to."""

    topic: Topic
    questions: tuple[bank.Question, ...]
    claims: tuple[str, ...]


def lead(topic: Topic) -> Found:
    """What a topic leads to."""
    named = [question for question in bank.all_questions() if set(question.topics) & set(topic.ids)]
    quoted = [claim for question in named for claim in question.claims]
    return Found(topic, tuple(named), tuple(dict.fromkeys([*topic.claims, *quoted])))


def find(words: str) -> list[Topic]:
    """The topics that answer to ``words`` (also an id, such as 'A16'), the closest first. Raises TopicError."""
    asked = _words(words)
    if not asked:
        raise TopicError("say what you look for, such as: course find kl penalty")
    by_id = [topic for topic in TOPICS if words.strip().casefold() in {id.casefold() for id in topic.ids}]
    if by_id:
        return by_id
    scores = {topic.ids: _score(topic, asked) for topic in TOPICS}
    best = max(scores.values())
    if best == 0:
        known = sorted({word for topic in TOPICS for word in _words(f"{topic.title} {topic.words}") if len(word) > 3})
        near = [match for word in asked for match in difflib.get_close_matches(word, known, 3, 0.7)]
        hint = f"did you mean {', '.join(dict.fromkeys(near))}?" if near else "`course find` alone lists all topics."
        raise TopicError(f"nothing was found for {words!r}: {hint}")
    ranked = sorted(TOPICS, key=lambda topic: -scores[topic.ids])
    return [topic for topic in ranked if scores[topic.ids] > best / 2]


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^\w@+-]+", text.casefold()) if word]


def _score(topic: Topic, asked: Iterable[str]) -> float:
    checks = [registry.find(id) for id in topic.exercises]
    titles = " ".join(entry.title for entry in CHAPTERS if entry.number in topic.chapters)
    fields = (
        (4.0, _words(topic.title)),
        (3.0, _words(topic.words)),
        (2.0, _words(" ".join(f"{check.title} {check.asked}" for check in checks))),
        (2.0, _words(titles)),
        (1.0, _words(" ".join(question.question for question in lead(topic).questions))),
    )
    total = 0.0
    for word in asked:
        hits = [weight for weight, there in fields if word in there]
        begun = [weight / 2 for weight, there in fields if len(word) > 3 and any(w.startswith(word) for w in there)]
        total += max([*hits, *begun], default=0.0)
    return total


def text(found: Found, whole: bool = False) -> str:
    """A topic as lines: chapters, exercises, questions, and the reader's own figures; the nearest, or all of them."""
    from course_utils.classroom.records.claims import format_value, recorded

    topic = found.topic
    titles = {entry.number: entry.title for entry in CHAPTERS}
    lines = [f"{topic.title}  ({', '.join(topic.ids)})"]
    lines += [f"  chapter   {number} {titles[number]}" for number in topic.chapters if number in titles]
    lines += [f"  exercise  {id} {registry.find(id).title}" for id in topic.exercises]
    measured = recorded()
    figures = []
    for id in sorted(found.claims, key=lambda id: (id not in topic.claims, id[:2] not in topic.chapters)):
        said = measured.get(id)
        figures.append(f"  figure    {id}" + (f": {format_value(said['value'])}. {said['text']}" if said else ""))
    asked = sorted(found.questions, key=lambda question: question.id[:2] not in topic.chapters)
    for rows in (figures, [f"  question  {question.id}: {question.question}" for question in asked]):
        lines += rows if whole else rows[:MOST]
        if len(rows) > MOST and not whole:
            lines.append(f"            and {len(rows) - MOST} more: course find --all {topic.ids[0]}")
    return "\n".join(lines)
