"""Every picture in words: what a screen reader says, made from what the figure draws.

In a notebook a figure is shown as ``<img alt="...">``: JupyterLab gives an image/png output no alternative text. It
works for figures of the course's own functions and for those that a cell draws with matplotlib alone.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST = 900  # characters: what somebody still listens to
_MANY = 12  # bars or words that are named one by one


def describe_figure(figure: Figure) -> str:
    """The picture in a few sentences: its title, axes with units, and the values of each series."""
    parts = [part for axes in figure.axes if (part := _describe_axes(axes))]
    text = " ".join(parts) or "A drawing without words."
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rsplit(" ", 1)[0] + " …"


def show_with_alt_text() -> None:
    """From now on this notebook shows figures with their description. Outside of a notebook nothing happens."""
    from course_utils.classroom.display.cards import in_notebook

    if not in_notebook():
        return
    import matplotlib_inline.backend_inline  # noqa: F401  # else the first figure would load it, and undo what follows
    from IPython import get_ipython
    from matplotlib.figure import Figure

    formatters = get_ipython().display_formatter.formatters
    formatters["text/html"].for_type(Figure, figure_html)
    formatters["image/png"].type_printers.pop(Figure, None)  # else each picture would be kept twice


def figure_html(figure: Figure) -> str:
    """The figure as an ``<img>`` that holds the picture and says what it shows."""
    from IPython.core.pylabtools import print_figure

    picture = print_figure(figure, fmt="png", base64=True)
    try:
        words = describe_figure(figure)
    except Exception as error:  # a figure of a kind that nobody foresaw: the picture is shown all the same
        words = f"A picture that could not be put into words ({type(error).__name__})."
    return f'<img src="data:image/png;base64,{picture}" alt="{html.escape(words)}">'


def _describe_axes(axes: Axes) -> str:
    if axes.get_label() == "<colorbar>":
        return ""
    title = " ".join(axes.get_title(place) for place in ("left", "center", "right")).strip() or axes.get_title()
    x, y = _plain(axes.get_xlabel()), _plain(axes.get_ylabel())
    said = [*_images(axes), *_bars(axes), *_lines(axes), *_points(axes)] or _words(axes)
    against = f"{y} over {x}" if x and y else y or x
    return " ".join(_sentence(part) for part in (_plain(title), against, *said) if part)


def _lines(axes: Axes) -> list[str]:
    found = []
    for line in axes.lines:
        xs, ys = _numbers(line.get_xdata()), _numbers(line.get_ydata())
        names: Any = line.get_xdata(orig=True) if len(xs) != len(ys) else xs  # "stage 0", "stage 1", ...
        name = _plain(str(line.get_label()))
        if not ys or name.startswith("_"):  # whiskers, ticks, guides
            continue
        if line.get_transform() == axes.get_yaxis_transform():  # axhline: from edge to edge
            found.append(f"a line at {_short(ys[0])} marks {name}")
        elif line.get_linestyle() == "None":
            found.append(f"{name}: {_cloud(xs, ys)}")
        else:
            first, last = (str(at) if isinstance(at, str) else _short(at) for at in (names[0], names[-1]))
            ends = f"from {_short(ys[0])} at {first} to {_short(ys[-1])} at {last}"
            low, high = min(ys), max(ys)
            inside = low < min(ys[0], ys[-1]) or high > max(ys[0], ys[-1])
            found.append(f"{name}: {ends}" + (f", between {_short(low)} and {_short(high)}" if inside else ""))
    return found


def _bars(axes: Axes) -> list[str]:
    from matplotlib.container import BarContainer

    series: list[tuple[str, list[tuple[float, float]]]] = []
    for container in axes.containers:
        if isinstance(container, BarContainer) and len(container):
            upright = getattr(container, "orientation", "vertical") == "vertical"
            bars = [
                (bar.get_x() + bar.get_width() / 2, bar.get_height())
                if upright
                else (bar.get_y() + bar.get_height() / 2, bar.get_width())
                for bar in container
            ]
            series.append((_plain(str(container.get_label())), bars))
    if not series:
        return []
    if all(name.startswith("_") or not name for name, _ in series):  # one bar each, named by the axis
        series = [("", [bar for _, bars in series for bar in bars])]
    names = {
        float(at): _plain(text.get_text()) for at, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=False)
    }
    found = []
    for name, bars in series:
        if len(bars) > _MANY:
            values = [value for _, value in bars]
            text = f"{len(bars)} bars between {_short(min(values))} and {_short(max(values))}"
        else:
            text = ", ".join(f"{_nearest(names, at)}{_short(value)}" for at, value in bars)
        found.append(f"{name}: {text}" if name and not name.startswith("_") else f"bars: {text}")
    return found


def _images(axes: Axes) -> list[str]:
    import numpy as np

    found = []
    for image in axes.images:
        data: Any = np.ma.filled(np.ma.asarray(image.get_array(), dtype=float), np.nan)
        if data.ndim != 2 or np.isnan(data).all():
            found.append(f"an image of {' x '.join(map(str, data.shape[:2]))} points")
            continue
        bar = image.colorbar
        unit = _plain(bar.ax.get_ylabel()) if bar is not None else "values"
        rows, columns = (
            [_plain(label.get_text()) for label in labels]
            for labels in (axes.get_yticklabels(), axes.get_xticklabels())
        )

        def place(flat: int, rows: list[str] = rows, columns: list[str] = columns, data: Any = data) -> str:
            row, column = divmod(flat, data.shape[1])
            if len(rows) == data.shape[0] and len(columns) == data.shape[1]:
                return f"{rows[row]}, {columns[column]}"
            return f"row {row + 1}, column {column + 1}"

        found.append(
            f"a table of {data.shape[0]} rows and {data.shape[1]} columns; {unit or 'values'} from "
            f"{_short(np.nanmin(data))} ({place(int(np.nanargmin(data)))}) to {_short(np.nanmax(data))} "
            f"({place(int(np.nanargmax(data)))})"
        )
    return found


def _points(axes: Axes) -> list[str]:
    from matplotlib.collections import PathCollection

    found: list[str] = []
    if not axes.axison and axes.texts and not axes.get_legend_handles_labels()[1]:
        return found  # a map: where its points lie means nothing without axes, and its words name them
    for collection in axes.collections:
        if not isinstance(collection, PathCollection):
            continue
        offsets: Any = collection.get_offsets()
        if len(offsets):
            name = _plain(str(collection.get_label()))
            cloud = _cloud(_numbers(offsets[:, 0]), _numbers(offsets[:, 1]))
            found.append(cloud if name.startswith("_") else f"{name}: {cloud}")
    return found


def _words(axes: Axes) -> list[str]:
    """A drawing: the words in it."""
    words = list(dict.fromkeys(word for text in axes.texts if (word := _plain(text.get_text()))))
    return [f"a drawing with the words {'; '.join(words)}"] if words else []


def _cloud(xs: Sequence[float], ys: Sequence[float]) -> str:
    if not xs or not ys:
        return "no points"
    if len(xs) == 1:
        return f"one point at ({_short(xs[0])}, {_short(ys[0])})"
    x, y = (f"from {_short(min(values))} to {_short(max(values))}" for values in (xs, ys))
    return f"{len(xs)} points, x {x}, y {y}"


def _nearest(names: dict[float, str], at: float) -> str:
    near = min(names, key=lambda place: abs(place - at), default=None)
    return f"{names[near]} " if near is not None and abs(near - at) <= 0.5 and names[near] else ""


def _numbers(values: Any) -> list[float]:
    import numpy as np

    try:
        flat: Any = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan).ravel()
    except (TypeError, ValueError):  # categories
        return []
    return [float(value) for value in flat if np.isfinite(value)]


def _short(value: Any) -> str:
    """Three digits, as one would say them."""
    number = float(value)
    if number and (abs(number) >= 1e6 or abs(number) < 1e-3):
        return f"{number:.2e}"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{float(f'{number:.3g}'):g}"


def _plain(text: str) -> str:
    return " ".join(text.replace("$", "").split())


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
