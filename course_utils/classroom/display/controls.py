"""Widgets of the course: buttons that look like buttons on light and dark pages and say their state, boxes of controls,
and the text that stands for them where no widget can be drawn.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from typing import Any

from course_utils.classroom.display import cards

# what a button says -> (its colour, the colour of its words, a mark before its words, so that colour is not all);
# white words stand out 5:1 or more from each of these
TONES = {
    "": (None, None, ""),
    "right": ("#1b5e20", "#ffffff", "✓ "),
    "wrong": ("#b71c1c", "#ffffff", "✗ "),
    "chosen": ("#1565c0", "#ffffff", "● "),
    "next": ("#1565c0", "#ffffff", ""),
}
_EDGE = "1px solid rgba(128, 128, 128, 0.9)"


def button(text: str, act: Callable[[], Any] | None = None, tone: str = "", **settings: Any) -> Any:
    """An ipywidgets button as high and wide as its words; ``act()`` is called at each click.

    settings: traits of ``ipywidgets.Button``. Tab reaches it and the space bar presses it.
    """
    import ipywidgets as widgets

    layout = widgets.Layout(width="auto", height="auto", min_height="30px", border=_EDGE)
    made = widgets.Button(layout=layout, **settings)
    paint(made, text, tone)
    if act is not None:
        made.on_click(lambda _: act())
    return made


def paint(made: Any, text: str, tone: str = "") -> None:
    """Give a button its words and the look of ``tone``, one of ``TONES``."""
    colour, words, mark = TONES[tone]
    made.description = mark + text
    made.style.button_color, made.style.text_color = colour, words


def show_live(page: Any, make: Callable[[], Any]) -> None:
    """Show the widget that ``make()`` returns, with ``page`` (a card) as its text where no widget can be drawn.

    Where nobody can click, the page alone is shown.
    """
    if not cards.has_person():
        cards.show(page)
        return
    from IPython.display import display

    view = {kind: data for kind, data in make()._repr_mimebundle_().items() if kind.startswith("application/")}
    display({**page._repr_mimebundle_(), **view}, raw=True)


def panel(controls: Mapping[str, Any], answer: Any) -> Any:
    """A box of ``controls`` (name -> widget) above ``answer``, the HTML widget that they change.

    Where no widget can be drawn it is the values of the controls and the answer as they stand.
    """
    import ipywidgets as widgets

    class Panel(widgets.VBox):
        def _repr_mimebundle_(self, **settings: Any) -> dict[str, Any]:
            values = {control.description or name: control.value for name, control in controls.items()}
            chosen = ", ".join(f"{name}: {_word(value)}" for name, value in values.items())
            page = f"<div>{html.escape(chosen)}</div>{answer.value}"
            words = html.unescape(re.sub(r"<[^>]+>", "", answer.value.replace("</div>", "\n"))).strip()
            return {**super()._repr_mimebundle_(**settings), "text/html": page, "text/plain": f"{chosen}\n{words}"}

    return Panel([*controls.values(), answer])


def _word(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value}"
