"""Hints in steps: one at a time, and after the last one working code."""

from __future__ import annotations

from typing import Any

from course_utils.classroom.display import cards, controls
from course_utils.classroom.exercises.registry import Check, ExerciseError, find
from course_utils.classroom.exercises.working_code import working_code
from course_utils.classroom.records import progress
from course_utils.language import say

_SHOWN: dict[str, int] = {}


def shown(spec: Check) -> int:
    """Hints of an exercise shown since the kernel started; one more than there are after the reference."""
    return _SHOWN.get(spec.id, 0)


def offer(spec: Check) -> str:
    """The sentence that offers the next hint."""
    if shown(spec) < len(spec.hints):
        return say(
            '`hint("{id}")` shows hint {step} of {last}.', id=spec.id, step=shown(spec) + 1, last=len(spec.hints)
        )
    if shown(spec) == len(spec.hints):
        return say('`hint("{id}")` shows the reference.', id=spec.id)
    return say('All hints have been shown; `hint("{id}", 1)` shows the first again.', id=spec.id)


def hint(id: str, step: int | None = None) -> None:
    """Show the next hint of an exercise; after the last one, the reference. ``step`` (from 1) shows a given one."""
    cards.show(hint_card(find(id), step))


def hint_card(spec: Check, step: int | None = None) -> cards.Card:
    """The card of the next hint (or of number ``step``), counting it as shown. Raises ExerciseError for a bad step."""
    last, name = len(spec.hints), f"{spec.id}  {say(spec.title)}"
    if step is None:
        step = min(shown(spec), last) + 1
    if not isinstance(step, int) or isinstance(step, bool) or not 1 <= step <= last + 1:
        raise ExerciseError(
            f"exercise {spec.id} has hints 1 to {last}, and {last + 1} for the reference; given {step!r}"
        )
    if step > shown(spec):
        _SHOWN[spec.id] = step
        progress.record("hint", id=spec.id, step=step)
    if step <= last:
        more = say('`hint("{id}")` again shows the next one.', id=spec.id)
        notes = [more if step < last else say('`hint("{id}")` again shows the reference.', id=spec.id)]
        title = say("{name}: hint {step} of {last}", name=name, step=step, last=last)
        return cards.Card("hint", title, say(spec.hints[step - 1]), (), notes)
    message = say("Pasted into its cell, this is right. Read it, close it, and write it once from memory: so it stays.")
    title = say("{name}: the reference", name=name)
    return cards.Card("hint", title, message, (), (), [(say("Show the code"), working_code(spec))])


def hint_button(spec: Check) -> None:
    """Show the hints that are open, and a button for the next one."""
    from IPython.display import display

    box = hint_box(spec)
    text = say('[ {button} ]  or  hint("{id}")', button=box.children[0].description, id=spec.id)
    display({**box._repr_mimebundle_(), "text/plain": text}, raw=True)


def hint_box(spec: Check) -> Any:
    """A button that unfolds one more hint at each click, and the reference after the last one; below it what is open.

    Hints that were opened before are open again: a cell that is run anew takes nothing away.
    """
    import ipywidgets as widgets

    opened = [hint_card(spec, step).html() for step in range(1, shown(spec) + 1)]
    button = controls.button("", tooltip=say("Hints come one at a time"))
    place = widgets.HTML("".join(opened))

    def label() -> None:
        step, last = shown(spec) + 1, len(spec.hints)
        next_one = say("Hint {step} of {last}", step=step, last=last)
        button.description = next_one if step <= last else say("Show the reference")
        button.disabled = step > last + 1
        if button.disabled:
            button.description = say("That was all")

    def on_click(_: object) -> None:
        opened.append(hint_card(spec).html())
        place.value = "".join(opened)
        label()

    label()
    button.on_click(on_click)
    return widgets.VBox([button, place], layout=widgets.Layout(align_items="flex-start"))
