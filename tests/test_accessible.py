"""axe-core's rules for WCAG 2.1 A and AA over all HTML that the course writes: cards, widgets' pages, reports, book.

Needs Chromium and axe-core; see browser.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright import sync_api

from browser import CHROMIUM, NO_AXE, NO_CHROMIUM, axe_source, chromium, faults
from course_utils.classroom.course_map import CourseMap, Entry
from course_utils.classroom.display import cards
from course_utils.classroom.display.cards import Card
from course_utils.classroom.display.memory_calculator import memory_calculator
from course_utils.classroom.display.tokens import Tokens
from course_utils.classroom.records.claims import ClaimsTable

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)]
THEMES = {  # JupyterLab's two, and the book's: background and text
    "light": ("#ffffff", "rgba(0, 0, 0, 0.87)"),
    "dark": ("#111111", "rgba(255, 255, 255, 0.87)"),
    "furo": ("#ffffff", "#000000"),
    "furo dark": ("#131416", "#cfd0d0"),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    if axe_source() is None:
        pytest.skip(NO_AXE)
    with chromium() as browser:
        yield browser


def check(browser: sync_api.Browser, page: str | Path, scheme: str = "light") -> list[str]:
    """The faults of a page, given as HTML or as a file."""
    window = browser.new_page(color_scheme=scheme)
    try:
        if isinstance(page, Path):
            window.goto(page.as_uri())
        else:
            window.set_content(page)
        return faults(window) + headings(window) + without_words(window)
    finally:
        window.close()


def headings(window: sync_api.Page) -> list[str]:
    """Headings that skip a level, or a page that does not begin with one of the first level."""
    levels = window.evaluate("() => [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(h => +h.tagName[1])")
    steps = zip([0, *levels], levels, strict=False)
    return [
        f"a heading of level {after} follows one of level {before}" for before, after in steps if after > before + 1
    ]


def without_words(window: sync_api.Page) -> list[str]:
    """Pictures without a description: axe-core lets an empty one pass, as an ornament; the course has none."""
    return window.evaluate(
        "() => [...document.querySelectorAll('img:not([alt]), img[alt=\"\"]')].map(i => 'no words: ' + i.outerHTML)"
    )


def on_paper(parts: list[str], theme: str) -> str:
    background, text = THEMES[theme]
    return (
        f'<html lang="en"><head><title>x</title></head><body style="background: {background}; color: {text}">'
        f"<main><h1>x</h1>{''.join(parts)}</main></body></html>"
    )


def shown() -> list[str]:
    """Everything that cells show as HTML, but for pictures."""
    from course_utils.chapters import CHAPTERS
    from course_utils.interview.bank import QuizItem
    from course_utils.interview.quiz import Quiz

    rows = [{"id": "06.a", "text": "One < two", "value": v, "bound": {"at_least": 1}, "holds": v > 1} for v in (0, 2)]
    places = [Entry(c, c.number < "20", int(c.number == "01"), int(c.number < "03")) for c in CHAPTERS]
    return [
        *(
            Card(t, "A `title`", "Of **it**", [("yours", "1")], ["A note"], [("More", "x")]).html()
            for t in cards._TONES
        ),
        ClaimsTable(rows, "laptop").html(),
        CourseMap(places).html(),
        Tokens(["a", "b"], [True, False], "blue: `a`").html(),
        Quiz([QuizItem("06.q1", "One?", ("x", "y"), 1, "Because.")]).html(),
        memory_calculator()._repr_mimebundle_()["text/html"],
    ]


@pytest.mark.parametrize("theme", THEMES)
def test_what_cells_show_can_be_read_in_light_and_dark(browser, theme):
    assert check(browser, on_paper(shown(), theme)) == []


def test_the_rules_find_what_is_planted(browser):
    green = '<p style="color: #388e3c; background: rgba(46, 160, 67, 0.10)">too pale</p>'
    planted = [green, '<img src="x">', "<button></button>", "<h4>x</h4>"]
    for part, name in zip(planted, ("color-contrast", "image-alt", "button-name", "of level 4"), strict=True):
        assert any(name in fault for fault in check(browser, on_paper([part], "light"))), name
    assert "color-contrast" in str(check(browser, on_paper([green], "dark")))


# ---- pages that stand alone


def report(folder: Path) -> Path:
    """`course run` on a chapter that measured something and on one that stopped."""
    from course_utils import chapters
    from course_utils.classroom.records.claims import claim
    from course_utils.workshop.report import write_report
    from course_utils.workshop.run_all import Ran

    claim("00.half", "a half", 0.5, at_least=0.4)
    notebook = folder / "n.ipynb"
    picture = f'<img src="data:image/png;base64,{DOT}" alt="A dot.">'
    cells = [
        {"cell_type": "markdown", "source": ["## A heading"]},
        {"cell_type": "code", "outputs": [{"data": {"text/html": [picture]}}]},
    ]
    notebook.write_text(json.dumps({"cells": cells}))
    return write_report([Ran(chapters.chapter("00"), notebook, 3.0), Ran(chapters.chapter("06"), notebook, 9.0, "No")])


def monitor(folder: Path) -> Path:
    """`course monitor` on weeks in which something changes."""
    from course_utils.workshop import monitor_page

    rows = [
        {"time": 7 * (w + i / 40), "answer_tokens": 9, "correct": int(w < 10)} for w in range(14) for i in range(40)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"ti')
    return monitor_page.write_page(folder / "log.jsonl")[0]


def own_data(folder: Path) -> str:
    """`course data check`, with rows that cannot be used."""
    import numpy as np

    from course_utils.text.data_check import DataCheck
    from course_utils.workshop import own_data_page

    found = DataCheck("a.jsonl", "JSON lines", "question-answer", "row", "the course's", 128, 0, rows=9, good=8, bad=1)
    found.problems, found.notes = ["line 3: 'question' is empty"], ["a note"]
    return own_data_page.page(found, np.array([3, 9, 70]))


def cohort(folder: Path) -> Path:
    """`course workshop grade` on two learners."""
    from course_utils.workshop import cohort as page
    from course_utils.workshop.gradebook import Graded, Result

    results = [
        Result("ann", "06", "graded", {"06.1": 1.0}, {"06.1": ""}),
        Result("bo", "06", "stopped", {"06.1": 0.0}, {"06.1": "The mask is missing."}, ("It looped.",)),
    ]
    return page.write_page(Graded("06", {"06.1": 1.0}, results, "A room."), folder / "cohort.html")


def plan(folder: Path) -> str:
    """`course workshop plan`."""
    from course_utils.workshop.plan import make_plan

    return make_plan(days=2).html()


def certificate(folder: Path) -> str:
    """`course certificate`."""
    from datetime import UTC, datetime

    from course_utils.classroom.records import progress
    from course_utils.interview import certificate as page

    progress.record("exercise", id="00.1", status="right")
    return page.as_html(page.make("Ann", datetime(2026, 1, 1, tzinfo=UTC)))


def audit(folder: Path) -> str:
    """`course audit`, whose page is Markdown, as JupyterLab shows it."""
    from unittest import mock

    from nbconvert.filters import markdown2html

    from course_utils.workshop import audit as page

    figures = {"lean of trades, strangers": "-0.12 (95%: -0.31 to 0.07) over 20 trades", "helpful": page.share([True])}
    with mock.patch.object(page, "audit", return_value=figures):
        written, _ = page.write_page(folder / "instruct")
    text = markdown2html(written.read_text(encoding="utf-8"))
    assert text.count("<tr>") == 3 and text.count("<li>") >= 4
    return f'<html lang="en"><head><title>x</title></head><body><main>{text}</main></body></html>'


DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PAGES = (report, monitor, own_data, cohort, plan, certificate, audit)


@pytest.mark.parametrize("make", PAGES, ids=lambda make: make.__name__)
def test_pages_that_stand_alone(browser, make, tmp_path):
    page = make(tmp_path)
    assert {scheme: check(browser, page, scheme) for scheme in ("light", "dark")} == {"light": [], "dark": []}


def test_a_chapter_of_the_book_in_light_and_dark(browser, tmp_path):
    from browser import ROOT
    from course_utils.workshop import book

    front = book.build(tmp_path, ROOT, ["html"], ["00"])[0]
    pages = [front, *(front.parent / f"{name}.html" for name in ("00_start_here", "by_exercise", "search"))]
    found = {(page.stem, scheme): check(browser, page, scheme) for page in pages for scheme in ("light", "dark")}
    assert found == dict.fromkeys(found, [])
