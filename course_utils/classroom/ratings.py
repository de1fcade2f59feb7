"""The learner as the human of human feedback: rank several answers to a question, or rate one answer on a scale.

In a live notebook there is one question at a time and a click at once is kept (kept_ratings.py). Where nobody can
click, a card shows the questions and answers, and whatever was kept before comes back.
"""

from __future__ import annotations

import html
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

from course_utils.classroom.display import cards, controls
from course_utils.classroom.records.ratings import FOLDER, RatingStore

_STYLE = """<style>
.course-judge button { height: auto; min-height: 32px; line-height: 1.45; padding: 5px 14px; font-size: 14px }
.course-judge .course-answer { white-space: pre-wrap; overflow-wrap: anywhere; text-align: left }
.course-judge .course-answer:disabled { opacity: 0.75 }
</style>"""


@dataclass
class Ranking:
    """``ranks[i]``: the indices of the answers to question i from best to worst, None if it is not ranked yet.

    It follows the clicks: a later cell sees the latest ones.
    """

    ranks: list[list[int] | None]

    @property
    def done(self) -> int:
        """How many questions are ranked."""
        return sum(order is not None for order in self.ranks)

    def pairs(self) -> list[tuple[int, int, int]]:
        """(question, better, worse) for every two answers of every ranked question.

        K ranked answers are K(K-1)/2 comparisons for a reward model (InstructGPT, arXiv 2203.02155, section 3.5).
        """
        ranked = [(question, order) for question, order in enumerate(self.ranks) if order is not None]
        return [(question, *pair) for question, order in ranked for pair in combinations(order, 2)]


@dataclass
class Rating:
    """``scores[i]``: from 1 (the scale's first word) up to the length of the scale, None if not rated yet.

    It follows the clicks: a later cell sees the latest ones.
    """

    scores: list[int | None]

    @property
    def done(self) -> int:
        """How many answers are rated."""
        return sum(score is not None for score in self.scores)


def rank_answers(
    key: str, questions: Sequence[Mapping[str, Any] | str], answers: Sequence[Sequence[str]], title: str = ""
) -> Ranking:
    """Let the learner rank the answers to each question from best to worst, and return what is ranked by now.

    questions: tasks (their "prompt") or plain strings. answers: two or more different ones for each question. They
    are shown in an order drawn from ``key`` alone, so that a place says nothing about quality. What was ranked is kept
    under ``key`` for exactly these texts.

    Raises ValueError for a key that cannot name a file, lists that do not pair up, fewer than two answers to a
    question, or the same answer twice.
    """
    prompts = _prompts(questions, answers)
    choices = [_different(texts, f"answers[{i}]") for i, texts in enumerate(answers)]
    kept = RatingStore(key, ["ranking", prompts, choices], len(prompts), lambda i, v: _is_order(v, len(choices[i])))
    shown = [random.Random(f"{key}/{i}").sample(range(len(texts)), len(texts)) for i, texts in enumerate(choices)]
    rows = []
    for i, prompt in enumerate(prompts):
        ranks = {answer: place for place, answer in enumerate(kept.values[i] or [], 1)}
        rows.append((prompt, [f"{ranks.get(answer, '-')} {choices[i][answer]}" for answer in shown[i]]))
    title, how = title or "Rank the answers", "Click the answers one after the other, the best one first."
    page = _page(title, how, key, rows, kept.notice)
    controls.show_live(page, lambda: _RankDesk(title, how, prompts, kept, choices, shown).box)
    return Ranking(kept.values)


def rate_answers(
    key: str,
    questions: Sequence[Mapping[str, Any] | str],
    answers: Sequence[str],
    scale: Sequence[str] = ("bad", "poor", "fair", "good", "very good"),
    title: str = "",
) -> Rating:
    """Let the learner rate one answer to each question, and return what is rated by now.

    questions: tasks (their "prompt") or plain strings. scale: two or more different words from worst to best. What was
    rated is kept under ``key`` for exactly these texts and this scale.

    Raises ValueError for a key that cannot name a file, lists that do not pair up, or a scale without a choice.
    """
    prompts, scale = _prompts(questions, answers), _different(scale, "the scale")
    answers = [_text(answer, f"answers[{i}]") for i, answer in enumerate(answers)]
    kept = RatingStore(key, ["rating", prompts, answers, scale], len(prompts), lambda i, v: _is_score(v, len(scale)))
    marks = [f"({scale[score - 1]}) " if score else "" for score in kept.values]
    rows = [(p, [f"- {mark}{answer}"]) for p, answer, mark in zip(prompts, answers, marks, strict=True)]
    title, how = title or "Rate the answers", f"Click how good the answer is, from {scale[0]} to {scale[-1]}."
    page = _page(title, how, key, rows, kept.notice)
    controls.show_live(page, lambda: _RateDesk(title, how, prompts, kept, answers, scale).box)
    return Rating(kept.values)


def _prompts(questions: Sequence[Mapping[str, Any] | str], answers: Sequence[Any]) -> list[str]:
    if isinstance(questions, (str, Mapping)) or isinstance(answers, str):
        raise ValueError("lists are expected; put a single question and its answers into lists.")
    if len(questions) != len(answers) or not len(questions):
        raise ValueError(
            f"{len(questions)} questions and {len(answers)} answers; answers[i] belongs to questions[i], so there "
            "must be as many of one as of the other, and at least one."
        )
    prompts = [q.get("prompt") if isinstance(q, Mapping) else q for q in questions]
    return [_text(prompt, f"questions[{i}]") for i, prompt in enumerate(prompts)]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{name} holds {value!r}; a string is expected (for a question also a task with a "prompt").')
    return value


def _different(texts: Sequence[str], name: str) -> list[str]:
    if isinstance(texts, str) or len(texts) < 2:
        raise ValueError(f"{name} is {texts!r}; a list of two or more texts is expected.")
    texts = [_text(text, name) for text in texts]
    twice = next((text for i, text in enumerate(texts) if text in texts[:i]), None)
    if twice is not None:
        raise ValueError(f"{name} has {twice!r} twice; take one of them out, equal texts cannot be told apart.")
    return texts


def _is_order(value: Any, count: int) -> bool:
    return isinstance(value, list) and all(type(i) is int for i in value) and sorted(value) == list(range(count))


def _is_score(value: Any, best: int) -> bool:
    return type(value) is int and 1 <= value <= best


def _page(title: str, how: str, key: str, rows: list[tuple[str, list[str]]], notice: str) -> cards.Card:
    """The card for pages without a kernel."""
    message = f"Run this cell in a live notebook and buttons appear here. {how}"
    notes = [f"Your clicks are kept in the course's folder, in {FOLDER}/{key}.json.", *filter(None, [notice])]
    texts = ("\n".join([prompt, *(line.replace("\n", "\n  ") for line in lines)]) for prompt, lines in rows)
    table = [(str(number), text) for number, text in enumerate(texts, 1)]
    return cards.Card("note", title, message, table, notes)


class _Panel:
    """One question at a time: its heading, the widgets of ``work``, the buttons to move, and a line that counts.

    A subclass fills its widgets for question ``self.at`` in ``fill``.
    """

    counted = ""

    def __init__(self, title: str, how: str, prompts: list[str], kept: RatingStore, work: list[Any]):
        import ipywidgets as widgets

        self.prompts, self.kept = prompts, kept
        self.at = next((i for i, value in enumerate(kept.values) if value is None), 0)
        self.head, self.line = widgets.HTML(), widgets.HTML()
        self.again = controls.button("again", self.clear, tooltip="Clear this question")
        self.back = controls.button("back", lambda: self.go(self.at - 1))
        self.next = controls.button("next", lambda: self.go(self.at + 1))
        moves = widgets.HBox([self.again, self.back, self.next], layout=widgets.Layout(margin="8px 0 0 0"))
        top = f'<div style="{cards._FONT}"><strong>{html.escape(title)}</strong><br>{html.escape(how)}</div>'
        parts = [widgets.HTML(_STYLE + top), self.head, *work, moves, self.line]
        self.box = widgets.VBox(parts, layout=widgets.Layout(max_width="60em"))
        self.box.add_class("course-judge")
        self.draw()

    def fill(self) -> None:
        raise NotImplementedError

    def go(self, question: int) -> None:
        self.at = min(max(question, 0), len(self.prompts) - 1)
        self.draw()

    def clear(self) -> None:
        self.kept.put(self.at, None)
        self.draw()

    def draw(self) -> None:
        values, at = self.kept.values, self.at
        self.head.value = (
            f'<div style="{cards._FONT}; margin-top: 6px"><div style="opacity: 0.75">Question {at + 1} of {len(values)}'
            '</div><div role="heading" aria-level="4" style="font-weight: 600; white-space: pre-wrap">'
            f"{html.escape(self.prompts[at])}</div></div>"
        )
        self.again.disabled, self.back.disabled, self.next.disabled = values[at] is None, at == 0, at == len(values) - 1
        controls.paint(self.next, "next", "" if values[at] is None or self.next.disabled else "next")
        done = sum(value is not None for value in values)
        self.line.value = (
            f'<div role="status" style="{cards._FONT}; opacity: 0.8">{cards.bar(done, len(values))}&ensp;'
            f"{done} of {len(values)} {self.counted}<br>{html.escape(self.kept.notice)}</div>"
        )
        self.fill()


class _RankDesk(_Panel):
    counted = "questions ranked"

    def __init__(
        self, title: str, how: str, prompts: list[str], kept: RatingStore, choices: Any, shown: list[list[int]]
    ):
        import ipywidgets as widgets

        self.choices, self.shown = choices, shown
        self.orders = [list(order or []) for order in kept.values]  # half-done rankings too, while one looks elsewhere
        count, narrow = max(map(len, choices)), widgets.Layout(width="28px", flex="0 0 auto")
        self.ranks = [widgets.HTML(layout=narrow) for _ in range(count)]
        self.buttons = [controls.button("", partial(self.choose, place)) for place in range(count)]
        for button in self.buttons:
            button.add_class("course-answer")
            button.layout.flex = "1 1 auto"  # all of one width: a short answer does not look like less
        layout = widgets.Layout(align_items="center")
        self.rows = [widgets.HBox(row, layout=layout) for row in zip(self.ranks, self.buttons, strict=True)]
        self.place = widgets.VBox()
        super().__init__(title, how, prompts, kept, [self.place])

    def fill(self) -> None:
        order, shown = self.orders[self.at], self.shown[self.at]
        for answer, rank, button in zip(shown, self.ranks, self.buttons, strict=False):  # other questions have more
            button.description = self.choices[self.at][answer] or "(no text)"
            button.disabled = answer in order
            number = order.index(answer) + 1 if answer in order else "·"
            rank.value = f'<div style="{cards._FONT}; font-weight: 600; text-align: center">{number}</div>'
        self.place.children = self.rows[: len(shown)]
        self.again.disabled = not order

    def choose(self, place: int) -> None:
        order, shown = self.orders[self.at], self.shown[self.at]
        if shown[place] in order:  # a second click that was on its way
            return
        order.append(shown[place])
        rest = [answer for answer in shown if answer not in order]
        if len(rest) <= 1:
            order += rest
            self.kept.put(self.at, list(order))
        self.draw()

    def clear(self) -> None:
        self.orders[self.at].clear()
        super().clear()


class _RateDesk(_Panel):
    counted = "answers rated"

    def __init__(
        self, title: str, how: str, prompts: list[str], kept: RatingStore, answers: list[str], scale: list[str]
    ):
        import ipywidgets as widgets

        self.answers, self.answer = answers, widgets.HTML()
        self.scale = scale
        self.buttons = [controls.button(word, partial(self.choose, score)) for score, word in enumerate(scale, 1)]
        row = widgets.HBox(self.buttons, layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__(title, how, prompts, kept, [self.answer, row])

    def fill(self) -> None:
        text = html.escape(self.answers[self.at] or "(no text)")
        self.answer.value = cards.frame(f'<div style="white-space: pre-wrap; overflow-wrap: anywhere">{text}</div>')
        for score, button in enumerate(self.buttons, 1):
            chosen = score == self.kept.values[self.at]
            controls.paint(button, self.scale[score - 1], "chosen" if chosen else "")

    def choose(self, score: int) -> None:
        self.kept.put(self.at, score)
        self.go(self.at + 1)
