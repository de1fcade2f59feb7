"""Slides that need no network, and notes that only the instructor sees."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from course_utils import chapters, cli
from course_utils.workshop import anatomy, notes, slides

ROOT = Path(__file__).resolve().parent.parent
HERE = [entry for entry in chapters.CHAPTERS if (ROOT / "solutions" / f"{entry.stem}.ipynb").is_file()]
REMOTE = re.compile(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//|@import\s+[^;]*//|url\(\s*["']?(?:https?:)?//""")


def loads_from_elsewhere(page: str) -> list[str]:
    """What a page would fetch when it is opened. A link that is only clicked on is none."""
    page = re.sub(r"<a\s[^>]*>", "", page)
    return [page[max(0, match.start() - 40) : match.end() + 60] for match in REMOTE.finditer(page)]


def test_what_would_be_fetched_is_found():
    assert loads_from_elsewhere('<script src="https://cdn.example/x.js"></script>')
    assert loads_from_elsewhere("<link rel=stylesheet href=//cdn.example/x.css>")
    assert loads_from_elsewhere(
        "<style>@import url(https://cdn.example/x.css); a { background: url('http://x') }</style>"
    )
    assert not loads_from_elsewhere('<a href="https://arxiv.org">paper</a> <img src="data:image/png;base64,xx">')


@pytest.mark.slow
@pytest.mark.parametrize("entry", HERE, ids=lambda entry: entry.stem)
def test_a_chapters_slides_hold_all_they_need(tmp_path, entry):
    page = slides.write_slides(entry.number, tmp_path).read_text(encoding="utf-8")
    assert loads_from_elsewhere(page) == []
    parts = anatomy.read(anatomy.notebook_of(entry))
    for piece in parts.pieces:
        if piece.exercise:
            assert f"Exercise {piece.name}:" in page
    body = page[page.index('<div class="slides">') : page.index("<script>")]
    assert "BEGIN SOLUTION" not in body and body.count("<section>") == body.count("</section>") > 30
    assert body.count('src="data:image/png') >= 3 or entry.number == "00"
    assert '<aside class="notes">' in body and "For the instructor" in body
    for picture in re.findall(r"<img[^>]*>", body):
        assert re.search(r'alt="[^"]{10,}', picture), picture[:200]


@pytest.mark.slow  # nbconvert is imported
def test_a_long_text_is_shortened_and_nothing_is_lost_to_the_speaker():
    text = "First, e.g. this, is said. " + "Then more words follow here. " * 20 + "\n\n$$x_1$$\n\n- one\n- two"
    short = slides.condensed(text)
    assert short == "First, e.g. this, is said.\n\n$$x_1$$\n\n- one\n- two"
    assert slides.condensed("Short. As it is.") == "Short. As it is."
    deck = slides._Deck()
    slides._text(deck, f"## 1.1 A heading\n\n{text}", {"1.1": "Ask first."})
    assert "Then more words" in deck.slides[0].note and "For the instructor: Ask first." in deck.slides[0].note
    assert "Then more words" not in deck.slides[0].body


@pytest.mark.slow  # nbconvert is imported
def test_code_is_shown_without_imports_and_answers_without_the_answer():
    assert slides._without_imports("from a import (\n    b,\n)\nimport c\nx = b(c)") == "x = b(c)"
    assert slides._without_imports("%matplotlib inline") == "%matplotlib inline"
    shown = slides._exercise(
        "06.2", '@exercise("06.2")\ndef f(x):\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION'
    )
    assert "Mask the prompt (8 min)" in shown and "return" not in shown


@pytest.mark.slow
def test_slides_run_in_a_browser_without_a_network(tmp_path):
    from playwright import sync_api as playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    page_file = slides.write_slides("06", tmp_path)
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        page.wait_for_selector(".reveal.ready", timeout=120_000)
        assert page.evaluate("Reveal.getTotalSlides()") > 30
        page.keyboard.press("ArrowRight")
        page.wait_for_function("Reveal.getIndices().h === 1", timeout=60_000)
        assert page.evaluate("document.querySelectorAll('math').length") > 5
        browser.close()
    assert errors == [] and [url for url in asked if not url.startswith(("file:", "data:"))] == []


# ---- notes


@pytest.mark.parametrize("entry", HERE, ids=lambda entry: entry.stem)
def test_notes_stand_at_sections_that_are_there(entry):
    said = notes.of_chapter(entry.number)
    if not said:
        pytest.skip("no notes yet")
    cells = json.loads(anatomy.notebook_of(entry).read_text(encoding="utf-8"))["cells"]
    sections = {
        anatomy.section(name)
        for cell in cells
        if cell["cell_type"] == "markdown"
        for name in re.findall(r"^## +(.*)$", anatomy.source(cell), re.M)
    }
    assert set(said) - {""} <= sections and said[""], set(said) - sections


def test_only_the_instructors_edition_shows_them(tmp_path, capsys):
    for folder in ("notebooks", "solutions"):
        for path in (ROOT / folder).glob("*.ipynb"):
            assert not any(anatomy.is_note(cell) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
    assert cli.main(["workshop", "edition", "06", "--to", str(tmp_path)]) == 0
    path = tmp_path / "06_instruction_tuning.ipynb"
    edition = nbformat.read(path, as_version=4)
    nbformat.validate(edition)
    found = [cell for cell in edition.cells if anatomy.is_note(cell)]
    assert len(found) == len(notes.of_chapter("06")) and all("For the instructor" in cell.source for cell in found)
    at = edition.cells.index(found[1])
    assert "## 6.3" in edition.cells[at - 1].source
    assert anatomy.read(path).notes == tuple(cell.source for cell in found)
    original = nbformat.read(ROOT / "solutions" / path.name, as_version=4)
    assert [cell for cell in edition.cells if not anatomy.is_note(cell)] == original.cells


def test_a_chapter_that_is_not_there_is_named(tmp_path, capsys):
    assert cli.main(["workshop", "slides", "77", "--to", str(tmp_path)]) == 1
    assert "no chapter '77'" in capsys.readouterr().err
