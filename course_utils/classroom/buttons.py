"""The hint button under a card, for a live notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from course_utils.classroom.registry import Check


def hint_button(spec: Check) -> None:
    """Show a button that unfolds one more hint at each click, and the reference after the last one."""
    import ipywidgets as widgets
    from IPython.display import display

    from course_utils.classroom import hints

    shown: list[str] = []
    button = widgets.Button(layout=widgets.Layout(width="auto"), tooltip="Hints come one at a time")
    place = widgets.HTML()

    def label() -> None:
        step, last = hints.shown(spec) + 1, len(spec.hints)
        button.description = f"Hint {step} of {last}" if step <= last else "Show the reference"
        button.disabled = step > last + 1
        if button.disabled:
            button.description = "That was all"

    def on_click(_: object) -> None:
        shown.append(hints.hint_card(spec).html())
        place.value = "".join(shown)
        label()

    label()
    button.on_click(on_click)
    box = widgets.VBox([button, place])
    text = f'[ {button.description} ]  or  hint("{spec.id}")'
    display({**box._repr_mimebundle_(), "text/plain": text}, raw=True)
