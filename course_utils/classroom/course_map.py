"""The map of the course: all chapters, the learner's progress on each, and what is still to come."""

from __future__ import annotations

import html
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from course_utils import chapters
from course_utils.classroom.display import cards
from course_utils.classroom.exercises import registry
from course_utils.classroom.records import progress
from course_utils.language import say


@dataclass(frozen=True)
class Entry:
    """One chapter on the map."""

    chapter: chapters.Chapter
    here: bool  # in this edition
    solved: int
    exercises: int

    @property
    def state(self) -> str:
        """How far the learner is, in words."""
        if not self.here:
            return say("to come")
        if not self.exercises:
            return say("ready to read")
        return say("{solved} of {all} exercises", solved=self.solved, all=self.exercises)


class CourseMap:
    """The chapters with their progress."""

    def __init__(self, places: list[Entry]):
        self.places = places

    def text(self) -> str:
        """A table, one line per chapter."""
        lines = []
        for part, places in groupby(self.places, key=lambda place: place.chapter.part):
            lines.append(say(part))
            for place in places:
                state = place.state
                if place.here and place.exercises:
                    state = f"{cards.bar(place.solved, place.exercises)}  {state}"
                lines.append(f"  {place.chapter.number}  {say(place.chapter.title).ljust(20)}  {state}")
        return "\n".join(lines)

    def html(self) -> str:
        """Cards in rows, one row per part; chapters of this edition link to their notebooks."""
        parts = []
        for part, places in groupby(self.places, key=lambda place: place.chapter.part):
            boxes = "".join(_box(place) for place in places)
            parts.append(
                f'<div style="margin: 12px 0 4px 0; font-weight: 600; opacity: 0.75">{html.escape(say(part))}</div>'
                f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{boxes}</div>'
            )
        return f'<div style="{cards._FONT}; max-width: 70em">{"".join(parts)}</div>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.text()}


def _box(place: Entry) -> str:
    entry, done = place.chapter, place.exercises > 0 and place.solved == place.exercises
    share = 100 * place.solved // place.exercises if place.exercises else 0
    title = html.escape(say(entry.title))
    if place.here:
        title = f'<a href="{entry.stem}.ipynb" style="color: inherit">{title}</a>'
    colour = cards._TONES["right" if done else "note"][1]
    tint = cards._TONES["right" if done else "note"][2]
    style = f"border: 1px solid {colour}; background-color: {tint}"
    if not place.here:
        style = "border: 1px dashed rgba(128, 128, 128, 0.6); opacity: 0.8"
    fill = (
        '<div style="height: 4px; border-radius: 2px; background-color: rgba(128, 128, 128, 0.25); margin-top: 6px">'
        f'<div style="height: 4px; border-radius: 2px; width: {share}%; background-color: {colour}"></div></div>'
        if place.here
        else ""
    )
    mark = " ✓" if done else ""
    return (
        f'<div style="{style}; border-radius: 6px; padding: 8px 12px; width: 158px; box-sizing: border-box">'
        f'<div style="font-weight: 600">{entry.number}&ensp;{title}{mark}</div>'
        f'<div style="font-size: 12px; opacity: 0.85">{place.state}</div>{fill}</div>'
    )


def survey() -> CourseMap:
    """The map as it stands now."""
    there, standings = chapters.in_this_edition(), progress.standings()
    places = []
    for entry in chapters.CHAPTERS:
        exercises = registry.known(entry.number)
        solved = sum(id in standings and standings[id].solved for id in exercises)
        places.append(Entry(entry, entry.number in there, solved, len(exercises)))
    return CourseMap(places)


def course_map() -> None:
    """Draw the chapters of the course with the learner's progress."""
    cards.show(survey())
