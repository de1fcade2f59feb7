"""A chapter's quiz: buttons in a live notebook, folded answers everywhere else."""

from __future__ import annotations

from typing import Any

from course_utils.chapters import chapter as find_chapter
from course_utils.classroom.display import cards, controls
from course_utils.classroom.records import progress
from course_utils.interview import bank
from course_utils.language import say

_LETTERS = "abcdefgh"


class Quiz:
    """The quiz as a page that needs no kernel."""

    def __init__(self, items: list[bank.QuizItem]):
        self.items = items

    def text(self) -> str:
        """Questions with their choices; the answers follow at the end."""
        parts = []
        for number, item in enumerate(self.items, 1):
            parts.append(f"{number}. {item.question}")
            parts += [f"   {_LETTERS[i]}) {choice}" for i, choice in enumerate(item.choices)]
        parts.append(say("Answers:") + " " + "  ".join(f"{n}{_LETTERS[i.answer]}" for n, i in enumerate(self.items, 1)))
        return "\n".join(parts)

    def html(self) -> str:
        """Questions with folded answers."""
        parts = []
        for number, item in enumerate(self.items, 1):
            choices = "".join(
                f'<li style="list-style-type: lower-alpha">{cards.inline(choice)}</li>' for choice in item.choices
            )
            answer = f"<strong>{_LETTERS[item.answer]})</strong> {cards.inline(item.choices[item.answer])}. "
            parts.append(
                f'<div style="font-weight: 600; margin-top: 8px">{number}. {cards.inline(item.question)}</div>'
                f'<ol style="margin: 2px 0">{choices}</ol><details>'
                f'<summary style="cursor: pointer">{say("Answer")}</summary>'
                f"{answer}{cards.inline(item.why)}</details>"
            )
        return cards.frame("".join(parts))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.text()}


def quiz(chapter: str | int) -> None:
    """Show the quiz of a chapter. In a live notebook answers are given by button and kept in the progress."""
    number = find_chapter(chapter).number
    items = bank.quiz_items(number)
    if not items:
        raise ValueError(f"chapter {number} has no quiz in this edition")
    controls.show_live(Quiz(items), lambda: quiz_widget(items))


def quiz_widget(items: list[bank.QuizItem]) -> Any:
    """The quiz with buttons. Answers are kept by the question's id; what was answered before counts again."""
    import ipywidgets as widgets

    score = widgets.HTML()
    before = progress.quiz_answers()
    right: dict[str, bool] = {item.id: before[item.id] for item in items if item.id in before}

    def tell() -> None:
        done = say("{n} questions", n=len(items))
        if right:
            done = say("{right} of {all} right", right=sum(right.values()), all=len(items))
        score.value = f'<div style="opacity: 0.8">{done}</div>'

    def block(index: int, item: bank.QuizItem) -> Any:
        reply = widgets.HTML()
        buttons = [controls.button(choice) for choice in item.choices]

        def chosen(position: int | None) -> None:
            good = position == item.answer
            first = item.id not in right
            right[item.id] = good
            if first or good:
                unknown = {"unknown": True} if position is None else {}
                progress.record("quiz", id=item.id, right=good, first=first, **unknown)
            for place, button in enumerate(buttons):
                tone = ("right" if good else "wrong") if place == position else ""
                controls.paint(button, item.choices[place], tone)
            colour = cards._TONES["right" if good else "wrong"][1]
            answer = f"{_LETTERS[item.answer]}) {item.choices[item.answer]}"
            opening = say("Yes.") if good else say("It is {answer}.", answer=answer)
            text = f"{opening} {item.why}"
            reply.value = f'<div role="status" style="color: {colour}; {cards._FONT}">{cards.inline(text)}</div>'
            tell()

        for place, button in enumerate(buttons):
            button.style.text_align = "left"
            button.on_click(lambda _, place=place: chosen(place))
        unsure = controls.button(say("I do not know"), lambda: chosen(None))
        heading = f"{index + 1}. {cards.inline(item.question)}"
        title = widgets.HTML(f'<div style="font-weight: 600; {cards._FONT}; margin-top: 8px">{heading}</div>')
        rows = widgets.VBox([*buttons, unsure], layout=widgets.Layout(align_items="flex-start"))
        return widgets.VBox([title, rows, reply])

    tell()
    return widgets.VBox([*[block(index, item) for index, item in enumerate(items)], score])
