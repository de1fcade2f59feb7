"""The weeks of a service as small pictures on one page, with the week of each alert marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from course_utils.classroom.display.plots import COLOURS, use_style

PANELS = (  # column of the weekly table, what its axis says
    ("requests", "requests"),
    ("correct", "right, of labelled"),
    ("up", "thumbs up, of clicks"),
    ("surprise", "prompt, bits per token"),
    ("prompt_tokens", "prompt, tokens"),
    ("answer_tokens", "answer, tokens"),
    ("confidence", "answer, nats per token"),
    ("format_kept", "format kept"),
    ("latency_p95", "latency p95 (s)"),
)


def plot_dashboard(
    table: Mapping[str, Sequence[float]], alarms: Mapping[str, int] | None = None, title: str = "", *, show: bool = True
) -> Any:
    """Draw ``monitor.weekly``'s table, nine signals over the weeks.

    alarms: column of the table -> the week of its alert, a vertical line. show: end with ``plt.show()``; otherwise the
    figure is returned.
    Raises KeyError if the table lacks a column.
    """
    import matplotlib.pyplot as plt

    use_style()
    figure, places = plt.subplots(3, 3, figsize=(9.6, 6.4), sharex=True)
    for axes, (name, label) in zip(places.flat, PANELS, strict=True):
        axes.plot(table["week"], table[name], color=COLOURS[0], linewidth=1.4, label="weekly")
        if alarms and name in alarms:
            axes.axvline(alarms[name], color=COLOURS[1], linestyle="--", linewidth=1.4, label="_alert")
            label += f" (alert: {alarms[name]})"
        axes.set_title(label, fontsize=10, weight="normal")
        axes.tick_params(labelsize=8.5)
    for axes in places[-1]:
        axes.set_xlabel("week", fontsize=9.5)
    if title:
        figure.suptitle(title, fontsize=12, weight="bold")
    if not show:
        return figure
    plt.show()
    return None
