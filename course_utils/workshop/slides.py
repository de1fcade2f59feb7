"""A chapter as slides: one page that holds all it needs, and opens without a network.

Made from the executed notebook of ``solutions/``. A section goes to the right; its pictures, code and exercises go
down. A slide holds the first sentence of each paragraph; the whole text, and what is meant for the instructor alone, is
in the notes (press S).
"""

from __future__ import annotations

import ast
import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_utils import chapters, files
from course_utils.chapters import Chapter
from course_utils.workshop import anatomy, notes
from course_utils.workshop.mathml import to_mathml
from course_utils.workshop.notebooks import ANSWER

ASSETS = Path(__file__).resolve().parent / "assets"
LINES = 18  # of code, or of what it prints, that can be read from the last row
WORDS = 70  # that a slide takes as they are; of more, each paragraph's first sentence
_SKIPPED = re.compile(r"course_utils\.start\(|^(?:quiz|keep|hint|grade|interview|course_map)\(", re.M)
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.S)
_ABBREVIATIONS = r"(?<!e\.g\.)(?<!i\.e\.)(?<!cf\.)(?<!Dr\.)(?<!\d\.)"


@dataclass
class Slide:
    """body: HTML. note: Markdown for the speaker. down: below the one before it."""

    body: str
    note: str = ""
    down: bool = False


@dataclass
class _Deck:
    slides: list[Slide] = field(default_factory=list)
    heading: str = ""
    room: int = 0  # words that the last slide still takes

    def right(self, body: str, note: str = "") -> None:
        self.slides.append(Slide(body, note))
        self.room = 0

    def down(self, body: str, note: str = "") -> None:
        small = f'<p class="where">{html.escape(self.heading)}</p>' if self.heading else ""
        self.slides.append(Slide(small + body, note, down=True))
        self.room = 0

    def below(self, text: str, note: str) -> None:
        """Text under the picture or the code that it speaks of, or on a slide of its own."""
        words = len(text.split())
        if words <= self.room:
            self.slides[-1].body += _markdown(text)
            self.add_note(note)
            self.room -= words
        else:
            self.down(_markdown(text), note)
            self.room = WORDS - words

    def add_note(self, text: str) -> None:
        if text.strip() and self.slides:
            self.slides[-1].note += f"\n\n{text.strip()}"


def write_slides(number: str | int, folder: Path) -> Path:
    """Write the chapter's slides into the folder and return the page. Raises ChapterError if it is not here."""
    entry = chapters.chapter(number)
    path = anatomy.notebook_of(entry, ("solutions",))
    page = Path(folder) / f"{entry.stem}.slides.html"
    text = as_page(entry, deck(entry, path))
    with files.atomic_file(page) as fresh:
        fresh.write_text(text, encoding="utf-8")
    return page


def deck(entry: Chapter, path: Path) -> list[Slide]:
    """The slides of a chapter's executed notebook."""
    parts = anatomy.read(path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    said = notes.of_chapter(entry.number)
    made = _Deck()
    made.right(
        f'<h1>{html.escape(entry.title)}</h1><p class="where">chapter {entry.number}</p>{_list(parts.objectives)}',
        said.get("", ""),
    )
    made.down(f"<h2>Questions</h2>{_list(parts.questions)}", f"Know first: {parts.know_first} {parts.helpful}")
    for cell in cells[1:]:
        if anatomy.is_note(cell):
            made.add_note(anatomy.source(cell))
        elif cell["cell_type"] == "markdown":
            _text(made, anatomy.source(cell), said)
        elif cell["cell_type"] == "code":
            _code(made, cell, entry)
    return made.slides


def _text(made: _Deck, text: str, said: dict[str, str]) -> None:
    parts = re.split(r"^(?=##? )", text, flags=re.M)
    for part in parts:
        if not part.strip():
            continue
        heading = re.match(r"##? +(.*)", part)
        body = part[heading.end() :] if heading else part
        short = condensed(body)
        if heading:
            made.heading = heading[1].strip()
            made.right(f"<h2>{_inline(made.heading)}</h2>{_markdown(short)}", body)
            made.room = WORDS - len(short.split())
            section = anatomy.section(made.heading)
            if section in said:
                made.add_note(f"For the instructor: {said[section]}")
        elif short.strip():
            made.below(short, body)


def _code(made: _Deck, cell: Any, entry: Chapter) -> None:
    source = anatomy.source(cell).strip()
    if match := anatomy.EXERCISE.search(source):
        made.down(_exercise(match[1], source))
        return
    source = _without_imports(source)
    if not source or _SKIPPED.search(source):
        return
    pictures, printed = _outputs(cell)
    for picture in pictures:
        made.down(picture, f"```python\n{source}\n```")
        made.room = WORDS // 2
    if not pictures:
        code = source if len(source.splitlines()) <= LINES else ""
        shown = printed if 0 < len(printed.splitlines()) <= LINES else ""
        if code or shown:
            made.down(
                (_markdown(f"```python\n{code}\n```") if code else "")
                + (f'<pre class="out">{html.escape(shown)}</pre>' if shown else "")
            )
            made.room = WORDS // 2 if len((code + shown).splitlines()) <= LINES // 2 else 0


def _without_imports(source: str) -> str:
    """The code without the import statements at its top level: they say nothing on a slide."""
    try:
        nodes = ast.parse(source).body
    except SyntaxError:  # a magic of IPython
        return source
    lines = source.splitlines()
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for at in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[at] = ""
    return "\n".join(lines).strip()


def _exercise(id: str, source: str) -> str:
    from course_utils.classroom.exercises import registry

    check = registry.find(id)
    open_source = ANSWER.sub(r"\1...", source)
    asked = f"<p>{html.escape(check.asked)}</p>" if check.asked else ""
    return f"<h3>Exercise {id}: {html.escape(check.title)} ({check.minutes} min)</h3>{asked}" + _markdown(
        f"```python\n{open_source}\n```"
    )


def _outputs(cell: Any) -> tuple[list[str], str]:
    """Pictures (and cards) as HTML, and what was printed."""
    pictures, printed = [], []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        shown = "".join(data.get("text/html", ""))
        if shown and "application/vnd.jupyter.widget-view+json" not in data:
            pictures.append(f'<div class="shown">{shown}</div>')
        elif "image/png" in data:
            words = html.escape("".join(data.get("text/plain", "")))
            pictures.append(f'<img alt="{words}" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">')
        elif output["output_type"] == "stream" and output.get("name") == "stdout":
            printed.append("".join(output["text"]))
        elif "text/plain" in data and output["output_type"] == "execute_result":
            printed.append("".join(data["text/plain"]))
    return pictures, "\n".join(text.rstrip() for text in printed)


def condensed(text: str) -> str:
    """A short text as it is; of a long one lists, tables, formulas and code, and each paragraph's first sentence."""
    plain = re.sub(r"<details>.*?</details>", "", text, flags=re.S)
    if len(plain.split()) <= WORDS:
        return plain
    kept = []
    for block in re.split(r"\n\s*\n", plain):
        block = block.strip()
        if re.match(r"([-*|#>]|\d+\.|```|\$\$|    )", block) or "$$" in block:
            kept.append(block)
        elif block:
            flat = " ".join(block.split())
            kept.append(re.split(rf"{_ABBREVIATIONS}(?<=[.?!])\s+(?=[A-Z*`$])", flat, maxsplit=1)[0])
    return "\n\n".join(kept)


def _markdown(text: str) -> str:
    from nbconvert.filters import markdown2html

    page = re.sub(r'<a class="anchor-link".*?</a>', "", markdown2html(text))
    parts = re.split(r"(<pre.*?</pre>|<code.*?</code>)", page, flags=re.S)
    return "".join(part if place % 2 else _FORMULA.sub(_formula, part) for place, part in enumerate(parts))


def _formula(match: re.Match[str]) -> str:
    display = "block" if match[1] else "inline"
    return to_mathml(html.unescape(match[1] or match[2]).strip(), display)


def _inline(text: str) -> str:
    return re.sub(r"^<p>|</p>\s*$", "", _markdown(text).strip())


def _list(items: tuple[str, ...]) -> str:
    return "<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>"


def as_page(entry: Chapter, slides: list[Slide]) -> str:
    """The slides as one page, scripts and styles in it."""
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

    columns: list[list[str]] = []
    for slide in slides:
        aside = f'<aside class="notes">{_markdown(slide.note)}</aside>' if slide.note.strip() else ""
        shown = f"<section>{slide.body}{aside}</section>"
        if slide.down and columns:
            columns[-1].append(shown)
        else:
            columns.append([shown])
    body = "\n".join(f"<section>{''.join(column)}</section>" for column in columns)
    scripts = "".join(f"<script>{_asset(name)}</script>" for name in ("reveal.js", "notes.js"))
    colours = HtmlFormatter(style="default").get_style_defs(".highlight")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{entry.number} {html.escape(entry.title)}'
        f'</title><meta name="viewport" content="width=device-width, initial-scale=1"><style>{_asset("reveal.css")}'
        f'{colours}{_STYLE}</style></head><body><div class="reveal"><div class="slides">\n{body}\n</div></div>{scripts}'
        f"<script>{_START}</script></body></html>\n"
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8").replace("</script", r"<\/script")


_START = """
Reveal.initialize({hash: true, slideNumber: "c/t", width: 1280, height: 720, margin: 0.04, center: false,
  plugins: [RevealNotes]});
"""

_STYLE = """
body { background: #fff; color: #1c1c1c }
.reveal { font: 26px/1.45 system-ui, sans-serif; color: #1c1c1c }
.reveal .slides { text-align: left }
.reveal .slides section { max-height: 100%; overflow-y: auto }
.reveal h1, .reveal h2, .reveal h3 { margin: 0 0 0.5em; line-height: 1.2 }
.reveal h1 { font-size: 2em } .reveal h2 { font-size: 1.5em } .reveal h3 { font-size: 1.15em }
.reveal p { margin: 0.5em 0 } .reveal ul, .reveal ol { margin: 0.4em 0 0.4em 1.2em; padding: 0 }
.reveal .where { font-size: 0.65em; color: #595959; margin: 0 0 0.6em }
.reveal pre { font: 19px/1.35 ui-monospace, monospace; width: 100%; margin: 0.3em 0; white-space: pre-wrap }
.reveal .highlight, .reveal .out { background: #f5f5f5; padding: 0.4em 0.7em; box-sizing: border-box }
.reveal code { font-family: ui-monospace, monospace; font-size: 0.92em }
.reveal table { border-collapse: collapse; font-size: 0.8em }
.reveal td, .reveal th { padding: 3px 14px 3px 0; border-bottom: 1px solid #ccc; text-align: left }
.reveal math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "Noto Sans Math", math }
.reveal img { max-width: 100%; max-height: 600px } .reveal .shown { font-size: 0.75em }
"""
