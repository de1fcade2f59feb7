"""The book: one static site, and an EPUB, of the executed solutions. ``python -m course_utils.workshop.book``.

Sphinx and myst-nb make the pages. Nothing is executed: the outputs are those that the notebooks keep, so that no cache
can hold an older one. Nothing is loaded from the network: formulas are MathML, which browsers and readers draw
themselves, pictures and scripts lie beside the pages, and the search runs in the browser.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import io
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_utils import __version__, chapters, files
from course_utils.workshop import hosted
from course_utils.workshop.notebooks import FOR_TOOLS, shipped

TITLE = "One language model, its whole life"
SHOW_SOLUTION = "Show the solution"
_PICTURE = re.compile(r'src="data:image/png;base64,([^"]+)"')
_NOTEBOOK = re.compile(r'<a href="[^"]*\.ipynb"[^>]*>(.*?)</a>', re.S)  # on the map of chapters
_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)[A-Za-z]\w*;")  # an EPUB is XML, which knows those five
_OPEN = re.compile(r"<(img|br|hr)\b([^>]*?)/?>")
_EXERCISE = re.compile(r'exercise\("(\d\d)\.(\d+)"')


class BookError(RuntimeError):
    """The book cannot be built; the message says what is missing or which page is wrong."""


def build(target: Path, root: Path, formats: Sequence[str] = ("html", "epub"), only: Sequence[str] = ()) -> list[Path]:
    """Write the book of the notebooks in ``root``/solutions into ``target`` and return its two front doors.

    formats: 'html' (a folder of pages, begun at index.html), 'epub' (one file). only: numbers of chapters, all if
    empty. What was built before is used again where its notebook is the same. Raises BookError if Sphinx is missing,
    if a notebook was never executed, or if Sphinx warns: of a link that leads nowhere, a formula that it cannot read.
    """
    try:
        from sphinx.application import Sphinx
        from sphinx.errors import SphinxError
        from sphinx.util.docutils import docutils_namespace
    except ImportError as error:
        raise BookError(f"{error.name} is missing. The book needs: pip install 'llm-course[book]'") from error
    source = target / "source"
    found = [chapter for chapter in chapters.CHAPTERS if (root / "solutions" / f"{chapter.stem}.ipynb").is_file()]
    if unknown := sorted(set(only) - {chapter.number for chapter in found}):
        raise BookError(f"there is no chapter {', '.join(unknown)} in {root / 'solutions'}.")
    wanted = [chapter for chapter in found if not only or chapter.number in only]
    write_source(source, root, wanted)
    doors = []
    for kind in formats:
        place = target / kind
        settings = _settings(kind)
        said = io.StringIO()
        try:
            with docutils_namespace():
                trees = target / "doctrees" / kind
                Sphinx(source, None, place, trees, kind, confoverrides=settings, status=None, warning=said).build()
        except SphinxError as error:
            raise BookError(str(error)) from error
        if kind == "html":
            for page in place.glob("*.html"):
                _for_screen_readers(page)
        if faults := re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue()).strip().splitlines():
            shutil.rmtree(trees, ignore_errors=True)  # a second run would not read the faulty page again
            shown = "\n".join(faults[:10])
            raise BookError(f"{len(faults)} faults in the book:\n{shown}")
        doors.append(place / ("index.html" if kind == "html" else f"{settings['epub_basename']}.epub"))
    return doors


def _settings(kind: str) -> dict[str, Any]:
    """What would stand in Sphinx's conf.py."""
    return {
        "project": TITLE,
        "version": __version__,
        "release": __version__,
        "language": "en",
        "author": "the authors of the course",
        "copyright": "CC BY 4.0, the authors of the course",
        "html_use_index": False,
        "html_copy_source": False,
        "html_show_sphinx": False,
        "extensions": ["myst_nb", "course_utils.workshop.mathml"],
        "myst_enable_extensions": ["dollarmath", "amsmath", "deflist"],
        "myst_heading_anchors": 3,
        "nb_execution_mode": "off",
        "nb_ipywidgets_js": {},
        "nb_code_prompt_show": SHOW_SOLUTION,
        "nb_code_prompt_hide": "Hide the solution",
        "nb_merge_streams": True,
        "suppress_warnings": ["myst.header", "epub.unknown_project_files"],
        "html_theme": "furo" if kind == "html" else "epub",
        "html_title": TITLE,
        "html_math_renderer": "mathml",
        "html_static_path": ["_static"],
        "html_css_files": ["book.css"],
        "html_show_copyright": False,
        "epub_basename": "course",
        "epub_show_urls": "no",
        "epub_css_files": ["book.css"],
        "epub_use_index": False,
        "epub_exclude_files": ["search.html"],
        "exclude_patterns": [],
    }


def _for_screen_readers(page: Path) -> None:
    """What Sphinx and myst-nb leave out: the level of the captions over the contents, code that the keyboard can
    scroll; and a name that hides what a folded cell says."""
    text = page.read_text(encoding="utf-8")
    mended = text.replace('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">')
    mended = mended.replace("<pre>", '<pre tabindex="0">').replace(
        '<summary aria-label="Toggle hidden content">', "<summary>"
    )
    if mended != text:
        page.write_text(mended, encoding="utf-8")


STYLE = """
.content { width: 60em }
.cell_output img { max-width: 100%; height: auto }
.cell_output > .output > div, .cell_output .text_html { overflow-x: auto }
div.cell details summary { cursor: pointer }
table { font-size: 0.9em }
@media (prefers-color-scheme: dark) {
body:not([data-theme="light"]) .cell_output img { background: #fff; filter: brightness(0.85); border-radius: 8px }
}
body[data-theme="dark"] .cell_output img { background: #fff; filter: brightness(0.85); border-radius: 8px }
"""


def write_source(source: Path, root: Path, wanted: Sequence[chapters.Chapter]) -> None:
    """The pages that Sphinx reads: a notebook for each chapter, the contents, and the indexes.

    A page that has not changed keeps its time, so that Sphinx does not read it again.
    """
    pages: dict[str, str] = {}
    pictures = source / "_static" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    kept: set[str] = set()
    for chapter in wanted:
        notebook = root / "solutions" / f"{chapter.stem}.ipynb"
        pages[f"{chapter.stem}.ipynb"] = _page(notebook, chapter.number, pictures, kept)
    numbers = [chapter.number for chapter in wanted]
    pages["index.md"] = _contents(wanted)
    pages["by_topic.md"] = _by_topic(wanted)
    pages["by_exercise.md"] = _by_exercise(numbers)
    pages["by_question.md"] = _by_question(numbers)
    pages["_static/book.css"] = STYLE
    for name, text in pages.items():
        path = source / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            with files.atomic_file(path) as fresh:
                fresh.write_text(text, encoding="utf-8")
    for path in source.iterdir():
        if path.is_file() and path.name not in pages:
            path.unlink()
    for path in pictures.iterdir():
        if path.name not in kept:
            path.unlink()


def _page(path: Path, number: str, pictures: Path, kept: set[str]) -> str:
    """A chapter as the book shows it: exercises open with the solution folded below, pictures as files of their own."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    opened = [cell for cell in json.loads(shipped(path))["cells"] if cell["id"] != hosted.ID]
    cells: list[dict[str, Any]] = []
    executed = False
    for place, (cell, learners) in enumerate(zip(notebook["cells"], opened, strict=True)):
        text, asked = FOR_TOOLS.sub("", "".join(cell["source"])), "".join(learners["source"])
        if text.startswith("grade("):
            continue  # points are for those who are graded
        cell["metadata"] = {}
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(r"^(?=## .*At the interview)", f"(interview-{number})=\n", text, flags=re.M)
            cells.append(cell)
            continue
        executed |= cell["execution_count"] is not None
        cell["source"] = text
        cell["outputs"] = [_output(output, pictures, kept) for output in cell["outputs"]]
        if text != asked:  # an exercise
            found = _EXERCISE.search(text)
            target = f"(exercise-{found[1]}-{found[2]})=\n\n" if found else ""
            shown = f"{target}```python\n{asked}\n```"
            cells.append({"cell_type": "markdown", "id": f"open-{place}", "metadata": {}, "source": shown})
            cell["metadata"] = {"tags": ["hide-input"]}
        cells.append(cell)
    if not executed:
        raise BookError(f"{path.name} holds no outputs: run it first, with make solutions ONLY=solutions/{path.name}")
    notebook["cells"] = cells
    notebook["metadata"] = {name: notebook["metadata"][name] for name in ("kernelspec",)}
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def _output(output: dict[str, Any], pictures: Path, kept: set[str]) -> dict[str, Any]:
    """An output whose pictures are files, and whose widgets, which need a kernel, are their text."""
    data = output.get("data")
    if data is None:
        return output
    data.pop("application/vnd.jupyter.widget-view+json", None)
    if "text/html" not in data:
        return output

    def as_file(match: re.Match[str]) -> str:
        picture = base64.b64decode(match[1])
        name = hashlib.sha256(picture).hexdigest()[:16] + ".png"
        kept.add(name)
        if not (pictures / name).is_file():
            (pictures / name).write_bytes(picture)
        return f'src="_static/pictures/{name}"'

    text = _NOTEBOOK.sub(r"\1", "".join(data["text/html"]))
    text = _OPEN.sub(r"<\1\2/>", _ENTITY.sub(lambda match: html.unescape(match[0]), text))
    data["text/html"] = _PICTURE.sub(as_file, text)
    return output


def _contents(wanted: Sequence[chapters.Chapter]) -> str:
    parts = [
        f"# {TITLE}\n\nThe solved chapters with what they printed and drew, to read and to search. To work in them, "
        "open the notebooks.\n"
    ]
    for part in chapters.PARTS:
        inside = [chapter for chapter in wanted if chapter.part == part]
        if inside:
            listed = "\n".join(chapter.stem for chapter in inside)
            parts.append(f"```{{toctree}}\n:caption: {part}\n:maxdepth: 1\n\n{listed}\n```\n")
    parts.append("```{toctree}\n:caption: Find\n:maxdepth: 1\n\nby_topic\nby_exercise\nby_question\n```\n")
    return "\n".join(parts)


def _by_topic(wanted: Sequence[chapters.Chapter]) -> str:
    """Each topic with its chapters and exercises; its questions are named in the chapters."""
    from course_utils.interview import topics

    inside = {chapter.number: chapter for chapter in wanted}
    lines = ["# By topic", "", "| topic | chapters | exercises | questions |", "|---|---|---|---|"]
    for topic in topics.TOPICS:
        places = [f"[{n} {inside[n].title}]({inside[n].stem}.ipynb)" for n in topic.chapters if n in inside]
        tasks = [f"[{id}](#exercise-{id.replace('.', '-')})" for id in topic.exercises if id[:2] in inside]
        asked = len(topics.lead(topic).questions)
        lines.append(f"| {_cell(topic.title)} | {', '.join(places)} | {', '.join(tasks)} | {asked} |")
    return "\n".join(lines) + "\n"


def _by_exercise(numbers: Sequence[str]) -> str:
    from course_utils.classroom.exercises import registry

    lines = ["# By exercise", "", "| exercise | | minutes | asked as |", "|---|---|---|---|"]
    for number in numbers:
        for check in registry.known(number).values():
            link = f"[{check.id}](#exercise-{check.id.replace('.', '-')})"
            lines.append(f"| {link} | {_cell(check.title)} | {check.minutes} | {_cell(check.asked)} |")
    return "\n".join(lines) + "\n"


def _by_question(numbers: Sequence[str]) -> str:
    from course_utils.interview import bank

    lines = ["# By interview question", ""]
    for number in numbers:
        asked = bank.questions(number)
        if asked:
            lines += [f"## {number} {chapters.chapter(number).title}", "", f"[Answers](#interview-{number})", ""]
            lines += [f"- {_cell(question.question)} *({question.level})*" for question in asked]
            lines.append("")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text for a table of Markdown."""
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1, with a sentence, if the book cannot be built."""
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(prog="book", description=__doc__)
    parser.add_argument("--target", type=Path, default=root / "build" / "book")
    parser.add_argument("--formats", nargs="+", choices=("html", "epub"), default=["html", "epub"])
    parser.add_argument("--only", nargs="*", default=[], metavar="NN", help="chapters, all if left out")
    parser.add_argument("--fresh", action="store_true", help="build everything anew")
    asked = parser.parse_args(arguments)
    if asked.fresh:
        shutil.rmtree(asked.target, ignore_errors=True)
    try:
        for door in build(asked.target, root, asked.formats, asked.only):
            print(f"wrote  {door}")
    except BookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
