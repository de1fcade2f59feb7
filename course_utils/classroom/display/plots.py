"""Plots in one style: colour-blind safe (Okabe and Ito's colours, with markers and dashes), readable in print.

Every function draws, names its axes and ends with ``plt.show()``. Pass units in the axis names: ``x="tokens seen"``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from course_utils.classroom.display.alt_text import show_with_alt_text

# Okabe, M. and Ito, K. (2008), "Color Universal Design"; yellow left out, as it is too light on paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def use_style() -> None:
    """Make the course's style matplotlib's default in this process, and describe its figures; ``start`` calls it."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 100,
            "savefig.dpi": 150,
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=DASHES),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.8,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "font.size": 10.5,
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "lines.markersize": 5.5,
            "image.cmap": "cividis",
        }
    )
    show_with_alt_text()


def _axes(title: str | None, x: str, y: str, size: tuple[float, float] | None = None) -> Any:
    import matplotlib.pyplot as plt

    use_style()
    _, axes = plt.subplots(figsize=size)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title)
    return axes


def _reference_lines(axes: Any, lines: Mapping[str, float] | None) -> None:
    for index, (name, value) in enumerate((lines or {}).items()):
        axes.axhline(value, color="#555555", linestyle=DASHES[1 + index % 6], linewidth=1.4, label=name)


def _done() -> None:
    import matplotlib.pyplot as plt

    plt.show()


def _marker(index: int) -> str:
    """The marker of a series: where colours begin again it is another one, so that 49 series differ."""
    return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def _legend(axes: Any) -> None:
    """The names of the series, below the picture if they are so many that inside they would lie over the data."""
    if len(axes.get_legend_handles_labels()[1]) > 5:
        axes.figure.legend(loc="outside lower center", ncols=4)
    else:
        axes.legend()


def _name_bars(axes: Any, names: Sequence[str]) -> None:
    """The names below the bars, in lines that do not run into their neighbours'; " / " begins a line of its own."""
    letters = max(5, int(10 * axes.figure.get_figwidth() / len(names)))
    lines = [[textwrap.fill(part, letters, break_long_words=False) for part in n.split(" / ")] for n in names]
    tilted = (
        {"rotation": 45, "ha": "right"} if any(len(word) > letters + 1 for n in names for word in n.split()) else {}
    )
    axes.set_xticks(range(len(names)), ["\n".join(parts) for parts in lines], **tilted)


def _points(value: Any, x: str, y: str) -> tuple[Sequence[float], Sequence[float]]:
    if hasattr(value, "column"):  # a training History: both axes by the name of a column
        return value.column(x), value.column(y)
    try:
        xs, ys = value
    except (TypeError, ValueError):
        raise ValueError(f"a curve is a pair (x values, y values) or a History; given {type(value).__name__}") from None
    if len(xs) != len(ys):
        raise ValueError(f"a curve has {len(xs)} x values and {len(ys)} y values; they must be equally many")
    return xs, ys


def plot_curves(
    curves: Mapping[str, Any],
    x: str = "step",
    y: str = "loss",
    title: str | None = None,
    *,
    lines: Mapping[str, float] | None = None,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    y_range: tuple[float, float] | None = None,
) -> None:
    """Curves by name: each a pair (x values, y values), or a training History with columns ``x`` and ``y``.

    lines: horizontal reference lines by name (a floor, a chance level). bands: (low, high) by a curve's name.
    """
    axes = _axes(title, x, y)
    for index, (name, value) in enumerate(curves.items()):
        xs, ys = _points(value, x, y)
        few = len(xs) <= 15
        marker = _marker(index) if few else None
        (line,) = axes.plot(xs, ys, label=name, marker=marker)
        if bands and name in bands:
            axes.fill_between(xs, *bands[name], color=line.get_color(), alpha=0.18, linewidth=0)
    _reference_lines(axes, lines)
    if log_x:
        axes.set_xscale("log")
        if few and all(isinstance(value, int) for value in xs):  # a handful of counts: name them, not powers of ten
            axes.set_xticks(xs, [f"{value:,}" for value in xs])
            axes.minorticks_off()
    elif all(isinstance(value, int) for value in xs):  # there is no token 2.5
        axes.xaxis.get_major_locator().set_params(integer=True)
    if log_y and any(value > 0 for line in axes.lines for value in line.get_ydata()):  # else there is nothing to show
        axes.set_yscale("log")
    if y_range:
        axes.set_ylim(*y_range)
    if len(curves) > 1 or lines:
        _legend(axes)
    _done()


def plot_bars(
    values: Mapping[str, float | tuple[float, float, float]],
    y: str,
    title: str | None = None,
    *,
    x: str = "",
    lines: Mapping[str, float] | None = None,
    y_range: tuple[float, float] | None = None,
    decimals: int = 2,
) -> None:
    """Bars by name; a value is a number, or (value, low, high) with its interval."""
    axes = _axes(title, x, y, (max(7.0, 0.9 * len(values)), 3.6))
    axes.grid(axis="x", visible=False)
    for index, value in enumerate(values.values()):
        middle, low, high = value if isinstance(value, tuple) else (value, None, None)
        axes.bar(index, middle, width=0.62, color=COLOURS[index % 6], edgecolor="#222222", linewidth=0.6)
        top = middle
        if low is not None and high is not None:
            error = [[max(middle - low, 0)], [max(high - middle, 0)]]
            axes.errorbar(index, middle, yerr=error, color="#222222", linestyle="none", capsize=5, linewidth=1.4)
            top = max(middle, high)
        axes.annotate(
            f"{middle:.{decimals}f}", (index, max(top, 0)), (0, 3), textcoords="offset points", ha="center", fontsize=10
        )
    _name_bars(axes, list(values))
    _reference_lines(axes, lines)
    axes.margins(y=0.12)
    if y_range:
        axes.set_ylim(*y_range)
    if lines:
        axes.legend()
    _done()


def plot_groups(
    series: Mapping[str, Mapping[str, float | tuple[float, float, float]]],
    y: str,
    title: str | None = None,
    *,
    x: str = "",
    lines: Mapping[str, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> None:
    """Bars side by side: for every name on the x axis one bar per series. All series must have the same names.

    A value is a number, or (value, low, high) with its interval, as for ``plot_bars``.
    """
    names = list(next(iter(series.values())))
    for label, values in series.items():
        if list(values) != names:
            raise ValueError(f"the bars of {label!r} are {list(values)}; the first series has {names}. Give all alike.")
    axes = _axes(title, x, y, (max(7.0, 1.0 + 0.75 * len(names)), 3.8))
    axes.grid(axis="x", visible=False)
    width, size = 0.8 / len(series), 8 if len(series) < 5 else 6.5  # or the figures of narrow bars run together
    for index, (label, values) in enumerate(series.items()):
        places = [place + width * (index - (len(series) - 1) / 2) for place in range(len(names))]
        style = {"color": COLOURS[index % 6], "edgecolor": "#222222", "linewidth": 0.6}
        triples = [value if isinstance(value, tuple) else (value, value, value) for value in values.values()]
        axes.bar(places, [middle for middle, _, _ in triples], width, label=label, **style)
        for place, (middle, low, high) in zip(places, triples, strict=True):
            if low < high:
                error = [[max(middle - low, 0)], [max(high - middle, 0)]]
                axes.errorbar(place, middle, yerr=error, color="#222222", linestyle="none", capsize=3, linewidth=1.1)
            top = (place, max(middle, high, 0))
            axes.annotate(f"{middle:.2f}", top, (0, 2), textcoords="offset points", ha="center", fontsize=size)
    axes.margins(y=0.12)
    _name_bars(axes, names)
    _reference_lines(axes, lines)
    if y_range:
        axes.set_ylim(*y_range)
    longest = max(map(len, [*series, *(lines or {})]))
    axes.figure.legend(
        loc="outside lower center", ncols=max(1, min(len(series) + len(lines or {}), 84 // (longest + 6)))
    )
    _done()


def plot_heatmap(
    matrix: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    value: str,
    title: str | None = None,
    *,
    x: str = "",
    y: str = "",
    decimals: int | None = 2,
) -> None:
    """A matrix (rows x columns) as colours, with its numbers where they fit. ``value`` names the colour's unit."""
    import numpy as np

    data = np.asarray(matrix.detach().cpu() if hasattr(matrix, "detach") else matrix, dtype=float)
    if data.shape != (len(rows), len(columns)):
        raise ValueError(f"the matrix has shape {data.shape}; {len(rows)} rows and {len(columns)} columns are named")
    axes = _axes(title, x, y, (max(4.0, 1.6 + 0.62 * len(columns)), max(2.6, 1.2 + 0.42 * len(rows))))
    axes.grid(visible=False)
    image = axes.imshow(data, aspect="auto")
    axes.figure.colorbar(image, ax=axes, label=value)
    axes.set_xticks(range(len(columns)), columns, rotation=45 if max(map(len, columns)) > 4 else 0, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    if decimals is not None and data.size <= 150:
        low, high = np.nanmin(data), np.nanmax(data)
        for (row, column), number in np.ndenumerate(data):
            if np.isnan(number):  # nothing is there
                continue
            dark = (number - low) < 0.5 * (high - low)
            axes.text(
                column, row, f"{number:.{decimals}f}", ha="center", va="center", color="white" if dark else "black"
            )
    _done()


def plot_scatter(
    groups: Mapping[str, Any],
    x: str,
    y: str,
    title: str | None = None,
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    whiskers: Mapping[str, Sequence[tuple[float, float, float, float]]] | None = None,
    log_x: bool = False,
) -> None:
    """Points by group: each a pair (x values, y values). labels: a text for each point of a group. whiskers: for each
    point of a group its intervals, (x from, x to, y from, y to)."""
    axes = _axes(title, x, y)
    for index, (name, value) in enumerate(groups.items()):
        xs, ys = _points(value, x, y)
        axes.scatter(xs, ys, label=name, marker=_marker(index), s=42, color=COLOURS[index % 7])
        for (x_from, x_to, y_from, y_to), a, b in zip((whiskers or {}).get(name, ()), xs, ys, strict=False):
            axes.hlines(b, x_from, x_to, color=COLOURS[index % 7], linewidth=1.2)
            axes.vlines(a, y_from, y_to, color=COLOURS[index % 7], linewidth=1.2)
        for text, a, b in zip((labels or {}).get(name, ()), xs, ys, strict=False):
            axes.annotate(text, (a, b), (5, 4), textcoords="offset points", fontsize=9)
    if log_x:
        axes.set_xscale("log")
    if len(groups) > 1:
        _legend(axes)
    _done()


def plot_scaling(
    groups: Mapping[str, Any], x: str, y: str, title: str | None = None, *, fit: bool = True
) -> dict[str, tuple[float, float]]:
    """Points on two logarithmic axes, each group with its fitted power law. Returns (a, b) of y = a * x**b by name."""
    import numpy as np

    from course_utils.training.scaling_law import power_law

    axes = _axes(title, x, y)
    found = {}
    for index, (name, value) in enumerate(groups.items()):
        xs, ys = _points(value, x, y)
        colour, text = COLOURS[index % 7], name
        if fit:
            a, b = found[name] = power_law(xs, ys)
            line = np.geomspace(min(xs), max(xs), 50)
            axes.plot(line, a * line**b, color=colour, linestyle="--", linewidth=1.4)
            text = f"{name}: slope {b:.2f}"
        axes.plot(xs, ys, color=colour, marker=_marker(index), linestyle="none", label=text)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend()
    _done()
    return found


UNITS = (
    ("s", 1.0),
    ("min", 60.0),
    ("h", 3600.0),
    ("days", 86_400.0),
    ("years", 365.25 * 86_400.0),
)


def human_time(seconds: float) -> str:
    """A duration in the largest unit that it fills, with two digits: 42 s, 3.5 min, 1,700 years.

    Raises ValueError for a negative duration.
    """
    if not seconds >= 0:
        raise ValueError(f"a duration of {seconds} s was given; 0 or more is expected.")
    unit, size = next(((u, s) for u, s in reversed(UNITS) if seconds >= s), UNITS[0])
    value = seconds / size
    text = f"{value:.1f}" if value < 9.95 else f"{float(f'{value:.2g}'):,.0f}"
    return f"{text} {unit}"


def plot_durations(seconds: Mapping[str, float], title: str | None = None, *, highlight: int = 0) -> None:
    """Durations as bars on a logarithmic axis from seconds to years; each bar says its time.

    seconds: name -> duration in seconds, all above 0. The last ``highlight`` bars have another colour.
    """
    import matplotlib.pyplot as plt

    if not seconds or min(seconds.values()) <= 0:
        raise ValueError(f"plot_durations was given {dict(seconds)}; it needs durations above 0 seconds.")
    use_style()
    _, axes = plt.subplots(figsize=(8.4, 0.9 + 0.46 * len(seconds)))
    values = list(seconds.values())
    for row, (name, value) in enumerate(seconds.items()):
        colour = COLOURS[1] if row >= len(values) - highlight else COLOURS[0]
        axes.barh(row, value, color=colour, height=0.62)
        axes.annotate(f" {human_time(value)}", (value, row), va="center", weight="bold")
        axes.annotate(
            name,
            (0, row),
            (-6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
        )
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 4, max(values) * 3000)
    axes.set_xticks([s for _, s in UNITS], [f"1 {u.rstrip('s') or u}" for u, _ in UNITS])
    axes.minorticks_off()
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("time on this machine (logarithmic axis)")
    if title:
        axes.set_title(title)
    plt.show()
