"""Interview questions with folded answers that quote what the reader measured."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from course_utils.chapters import chapter as find_chapter
from course_utils.classroom.display import cards
from course_utils.classroom.records import claims
from course_utils.interview import bank
from course_utils.language import say

NOT_YET = "(not measured yet)"


def with_figures(text: str, measured: Mapping[str, Mapping[str, Any]]) -> str:
    """``text`` with each quoted claim replaced by its value in ``measured`` (claim id -> record)."""

    def figure(match: re.Match[str]) -> str:
        record = measured.get(match[1])
        if record is None:
            return NOT_YET
        value = record["value"]
        if match[2] and isinstance(value, (int, float)) and not isinstance(value, bool):
            return format(value, match[2])
        return claims.format_value(value)

    return bank.FIGURE.sub(figure, text)


class Interview:
    """Questions of one chapter, ready to be shown."""

    def __init__(self, items: list[bank.Question], measured: Mapping[str, Mapping[str, Any]], further: int = 0):
        """further: how many more questions on the chapter are asked in the interview room."""
        self.items, self.measured = items, measured
        self.more = (
            [say("{n} more questions on this chapter are asked in the interview room.", n=further)] if further else []
        )

    def _answers(self, item: bank.Question) -> list[tuple[str, str]]:
        sources = f"\n\nSources: {'; '.join(item.sources)}" if item.sources else ""
        answers = [(say("30 seconds"), item.short), (say("In depth"), f"{item.deep.strip()}{sources}")]
        filled = [(name, with_figures(text, self.measured)) for name, text in answers]
        followups = "\n".join(f"- {part.question} {part.answer}" for part in item.followups)
        wrong = "\n".join(f'- "{part.answer}" {part.why}' for part in item.wrong)
        more = [(say("They may go on"), followups), (say("Often said, and wrong"), wrong)]
        return filled + [(name, with_figures(text, self.measured)) for name, text in more]

    def text(self) -> str:
        """Questions and answers, unfolded."""
        parts = []
        for number, item in enumerate(self.items, 1):
            parts.append(f"{number}. {item.question}")
            for name, answer in self._answers(item):
                parts += [f"   {name}:", *(f"     {line}" for line in answer.strip().splitlines())]
        return "\n".join(parts + self.more)

    def markdown(self) -> str:
        """Markdown with folded answers; formulas and code are set by the viewer."""
        parts = []
        for number, item in enumerate(self.items, 1):
            parts.append(f"**{number}. {item.question}**\n")
            for name, answer in self._answers(item):
                parts.append(f"<details><summary>{html.escape(name)}</summary>\n\n{answer.strip()}\n\n</details>\n")
        return "\n".join(parts + self.more)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/markdown": self.markdown(), "text/plain": self.text()}


def interview(chapter: str | int) -> None:
    """Show the interview questions of a chapter; answers quote the latest figures of this profile."""
    number = find_chapter(chapter).number
    items = bank.questions(number)
    if not items:
        raise ValueError(f"chapter {number} has no interview questions in this edition")
    further = sum(item.chapter == number for item in bank.all_questions()) - len(items)
    cards.show(Interview(items, claims.recorded(), further))
