"""The book: pages that need no network, links that lead somewhere, exercises with their solutions folded."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest

from course_utils.workshop import book

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.without_words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in given:
            self.loads.append(given["src"])
        if tag == "link" and "href" in given:
            self.loads.append(given["href"])
        if tag == "img" and not given.get("alt"):
            self.without_words.append(given.get("src", ""))


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    return book.build(tmp_path_factory.mktemp("book"), ROOT, only=["00", "13"])


@pytest.fixture(scope="module")
def pages(doors):
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in doors[0].parent.glob("*.html")}


def test_nothing_is_loaded_from_the_network(doors, pages):
    for page in pages.values():
        assert not [place for place in page.loads if urlsplit(place).scheme or place.startswith("//")]
        for place in page.loads:
            assert place == "#" or (doors[0].parent / unquote(urlsplit(place).path)).is_file(), place
    for style in doors[0].parent.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_every_link_leads_somewhere(pages):
    inside = 0
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            other = pages[parts.path or name]
            assert not parts.fragment or unquote(parts.fragment) in other.ids, f"{name}: {link}"
            inside += bool(parts.fragment)
    assert inside > 40


def test_every_picture_has_words(pages):
    assert sum(len(page.loads) for page in pages.values()) > 10
    assert not [place for page in pages.values() for place in page.without_words]


def test_an_exercise_is_open_and_its_solution_folded(doors):
    text = (doors[0].parent / "13_dpo.html").read_text(encoding="utf-8")
    assert "exercise-13-1" in text and "### BEGIN" not in re.sub(r"<details.*?</details>", "", text, flags=re.S)
    folded = re.findall(r"<details.*?</details>", text, flags=re.S)
    assert sum(book.SHOW_SOLUTION in part for part in folded) == 5
    assert text.count("# your code") == 5


def test_formulas_are_mathml(doors):
    text = (doors[0].parent / "13_dpo.html").read_text(encoding="utf-8")
    assert text.count("<math") > 30 and not re.search(r"<script[^>]*mathjax", text, re.I)


def test_the_search_finds_a_word_of_an_output(doors):
    index = (doors[0].parent / "searchindex.js").read_text(encoding="utf-8")
    assert "saltmer" in index  # stemmed; a town of the Isles


def test_the_epub_is_whole(doors):
    with zipfile.ZipFile(doors[1]) as archive:
        assert archive.testzip() is None
        assert archive.infolist()[0].filename == "mimetype"
        names = set(archive.namelist())
        package = next(name for name in names if name.endswith(".opf"))
        items = ElementTree.fromstring(archive.read(package)).iter("{http://www.idpf.org/2007/opf}item")
        held = {item.get("href") for item in items}
        folder = package.rpartition("/")[0]
        assert not {href for href in held if href and f"{folder}/{href}".lstrip("/") not in names}
        chapter = archive.read(next(name for name in names if name.endswith("13_dpo.xhtml")))
        ElementTree.fromstring(re.sub(rb"<!DOCTYPE[^>]*>", b"", chapter))  # a reader refuses what is no XML
        assert b"<math" in chapter and b"_static/pictures/" in chapter


def one_chapter(folder: Path, change) -> Path:
    (folder / "solutions").mkdir(parents=True)
    source = ROOT / "solutions" / "00_start_here.ipynb"
    notebook = json.loads(source.read_text(encoding="utf-8"))
    change(notebook["cells"])
    (folder / "solutions" / source.name).write_text(json.dumps(notebook), encoding="utf-8")
    return folder


def test_a_link_that_leads_nowhere_is_a_fault_every_time(tmp_path):
    def change(cells):
        cells[2]["source"] = ["See [there](#no-such-place).\n", *cells[2]["source"]]

    root = one_chapter(tmp_path / "course", change)
    for _ in range(2):
        with pytest.raises(book.BookError, match="no-such-place"):
            book.build(tmp_path / "book", root, formats=["html"])


def test_a_formula_that_cannot_be_read_is_a_fault(tmp_path):
    def change(cells):
        cells[2]["source"] = ["So $\\nosuchcommand{x}$.\n", *cells[2]["source"]]

    with pytest.raises(book.BookError, match="no MathML for .*nosuchcommand"):
        book.build(tmp_path / "book", one_chapter(tmp_path / "course", change), formats=["html"])


def test_a_notebook_that_was_never_run_is_refused(tmp_path):
    def change(cells):
        for cell in cells:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None

    root = one_chapter(tmp_path / "course", change)
    with pytest.raises(book.BookError, match="make solutions ONLY=solutions/00_start_here.ipynb"):
        book.build(tmp_path / "book", root, formats=["html"])


def test_a_changed_output_is_in_the_next_book(tmp_path):
    def change(cells):
        for cell in cells:
            for output in cell.get("outputs", []):
                if output["output_type"] == "stream":
                    output["text"] = ["a new line of output\n"]

    root = one_chapter(tmp_path / "course", lambda cells: None)
    door = book.build(tmp_path / "book", root, formats=["html"])[0]
    page = door.parent / "00_start_here.html"
    assert "a new line of output" not in page.read_text(encoding="utf-8")
    shutil.rmtree(root)
    one_chapter(root, change)
    book.build(tmp_path / "book", root, formats=["html"])
    assert "a new line of output" in page.read_text(encoding="utf-8")


def test_an_unknown_chapter_is_named(tmp_path):
    with pytest.raises(book.BookError, match="no chapter 77"):
        book.build(tmp_path, ROOT, only=["77"])
