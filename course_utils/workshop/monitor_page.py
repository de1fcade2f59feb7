"""One page about a log of requests: its alerts, its weeks, and pictures. It needs nothing but a browser."""

from __future__ import annotations

import html
import math
from os import PathLike
from pathlib import Path

from course_utils import files
from course_utils.serving import monitor
from course_utils.serving.request_log import read

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; color: #1c1c1c }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 2px 12px 2px 0; text-align: right }
.alerts td, .alerts th { text-align: left; vertical-align: top } img { width: 100% } .odd { color: #b3261e }
"""


def write_page(
    log: str | PathLike[str], page: str | PathLike[str] | None = None, reference_weeks: int = 8
) -> tuple[Path, list[monitor.Alert], list[str]]:
    """Write the page, beside the log unless a place is given. Returns (its path, the alerts, what is odd about the
    log).

    Raises LogError if the log cannot be read, MonitorError if it holds too few weeks; nothing is written then.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from course_utils.classroom.display.alt_text import figure_html
    from course_utils.classroom.display.dashboard import plot_dashboard

    log = Path(log)
    rows, odd = read(log)
    fired = monitor.alerts(rows, reference_weeks=reference_weeks)
    table = monitor.weekly(rows)
    figure = plot_dashboard(table, {alert.rule.signal: alert.week for alert in fired}, log.name, show=False)
    picture = figure_html(figure)
    plt.close(figure)
    weeks = len(table["week"])
    parts = [
        f"<h1>{html.escape(log.name)}</h1><p>{len(rows):,} requests in {weeks} weeks; the first {reference_weeks} "
        "weeks are the reference. Limits are set so that, without any change, each rule would raise an alert in about "
        "2 of 100 such logs.</p>",
        "".join(f'<p class="odd">{html.escape(text)}</p>' for text in odd),
        _alerts(fired),
        picture,
        _weeks(table),
    ]
    target = Path(page) if page is not None else log.with_name(log.name + ".html")
    with files.atomic_file(target) as fresh:
        fresh.write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(log.name)}</title>'
            f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n",
            encoding="utf-8",
        )
    return target, fired, odd


def _alerts(fired: list[monitor.Alert]) -> str:
    if not fired:
        return "<h2>No alert</h2><p>No week differs from the reference by more than chance does at these limits.</p>"
    rows = "".join(
        f"<tr><td>{alert.week}</td><td>{html.escape(alert.rule.name)}</td><td>{alert.value:.3g} "
        f"(limit {alert.rule.limit:.3g})</td><td>{html.escape(alert.rule.then)}</td></tr>"
        for alert in fired
    )
    head = "<tr><th>week</th><th>rule</th><th>value</th><th>what to do</th></tr>"
    return f'<h2>{len(fired)} alerts</h2><table class="alerts">{head}{rows}</table>'


def _weeks(table: dict[str, list[float]]) -> str:
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in table)
    lines = zip(*table.values(), strict=True)
    body = "".join("<tr>" + "".join(f"<td>{_short(value)}</td>" for value in line) + "</tr>" for line in lines)
    return f"<h2>The weeks</h2><table><tr>{head}</tr>{body}</table>"


def _short(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 2 else f"{value:.3g}"
