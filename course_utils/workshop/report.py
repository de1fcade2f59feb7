"""One page about a run of the course: for every chapter its claims and its pictures. It needs nothing but a browser."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

from course_utils import files, settings
from course_utils.classroom.records.claims import ClaimsTable, recorded
from course_utils.workshop.run_all import Ran, folder

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; color: #1c1c1c }
table { border-collapse: collapse } td, th { padding: 4px 14px 4px 0; text-align: left; vertical-align: top }
figure { display: inline-block; margin: 0 16px 16px 0; width: 460px; vertical-align: top }
figure img { width: 100% } figcaption { font-size: 13px; color: #555 } .bad { color: #c62828 }
"""


def write_report(results: Sequence[Ran]) -> Path:
    """Write ``report.html`` beside the executed notebooks and return its path."""
    held = {ran.chapter.number: list(recorded(ran.chapter.number).values()) for ran in results}
    total = sum(len(records) for records in held.values())
    good = sum(bool(record["holds"]) for records in held.values() for record in records)
    profile, seed = settings.profile().name, settings.seed()
    rows = "".join(
        f'<tr><td><a href="#c{ran.chapter.number}">{ran.chapter.number} {html.escape(ran.chapter.title)}</a></td>'
        f"<td>{ran.seconds / 60:.1f} min</td><td>{sum(bool(r['holds']) for r in held[ran.chapter.number])} of "
        f"{len(held[ran.chapter.number])}</td><td class='bad'>{html.escape(ran.error)}</td></tr>"
        for ran in results
    )
    parts = [
        f"<h1>One model, its whole life</h1><p>{len(results)} chapters on the {profile} profile, seed {seed}: "
        f"{good} of {total} claims hold{' (not enforced: smoke trains too little)' if profile == 'smoke' else ''}.</p>"
        f"<table><tr><th>chapter</th><th>time</th><th>claims that hold</th><th></th></tr>{rows}</table>"
    ]
    for ran in results:
        table = ClaimsTable(held[ran.chapter.number], profile).html() if held[ran.chapter.number] else ""
        parts.append(
            f'<h2 id="c{ran.chapter.number}">{ran.chapter.number} {html.escape(ran.chapter.title)}</h2>'
            + (f'<p class="bad">Stopped: {html.escape(ran.error)}</p>' if ran.error else "")
            + table
            + "".join(_figures(ran.notebook))
        )
    page = folder() / "report.html"
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The course, {profile}, seed {seed}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    with files.atomic_file(page) as fresh:  # on a full disk the last page stays
        fresh.write_text(text, encoding="utf-8")
    return page


def _figures(notebook: Path) -> list[str]:
    """Each picture of an executed notebook, under the heading that it stands below."""
    heading, found = "", []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            for line in "".join(cell["source"]).splitlines():
                if match := re.match(r"#{1,3}\s+(.*)", line):
                    heading = match[1]
        for output in cell.get("outputs", []):
            shown = "".join(output.get("data", {}).get("text/html", ""))
            if shown.startswith('<img src="data:image/png;base64,'):  # see display/alt_text.py
                found.append(f"<figure>{shown}<figcaption>{html.escape(heading)}</figcaption></figure>")
    return found
