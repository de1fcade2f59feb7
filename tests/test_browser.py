"""A learner's first minutes, in a real browser: JupyterLab as the course starts it, chapter 00, cards, hints, quiz.

Needs Chromium (any of the names below, or the path in CHROMIUM). On a machine without it the tests are skipped, and the
summary of the run says so.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium; install it (Debian: apt-get install chromium)"),
]

WRONG = "@exercise('00.2')\ndef bits_of_draw(items, drawn):\n    return float(items)"
RIGHT = "import math\n@exercise('00.2')\ndef bits_of_draw(items, drawn):\n    return math.log2(math.perm(items, drawn))"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[str]:
    """JupyterLab on a copy of the notebooks, at the smoke profile; yields chapter 00's address, with the token."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--config", str(ROOT / "jupyter" / "jupyter_lab_config.py")]
    command += [f"--ServerApp.root_dir={folder}", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True", "--allow-root"]
    environment = {**os.environ, "COURSE_PROFILE": "smoke", "PYTHONPATH": str(ROOT)}
    environment |= {"COURSE_HOME": str(folder / "home"), "JUPYTER_CONFIG_DIR": str(folder / "config")}
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(360):
            assert server.poll() is None, (folder / "lab.log").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((folder / "lab.log").read_text()[-3000:])
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/00_start_here.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def page(lab) -> Iterator[Page]:
    """Chapter 00, open in the browser, all its cells run as shipped."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(lab)
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'"
        )
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        yield page
        browser.close()


def cells(page) -> list[dict]:
    """The notebook's cells, outputs included, as the browser holds them."""
    return json.loads(
        page.evaluate("() => JSON.stringify(window.jupyterapp.shell.currentWidget.content.model.toJSON().cells)")
    )


def place(page, text: str) -> int:
    """The number of the first code cell that holds ``text``."""
    code = [(i, "".join(cell["source"])) for i, cell in enumerate(cells(page)) if cell["cell_type"] == "code"]
    return next(i for i, source in code if text in source)


def look_at(page, number: int):
    """Scroll to a cell and return it."""
    page.evaluate(
        """async number => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = number;
            await notebook.scrollToItem(number);
        }""",
        number,
    )
    return page.locator(".jp-Cell.jp-mod-active")


def run_with(page, number: int, source: str):
    """Put ``source`` into a cell, run it, and return the cell."""
    page.evaluate(
        """async ([number, source]) => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = number;
            notebook.model.cells.get(number).sharedModel.setSource(source);
            await window.jupyterapp.commands.execute('notebook:run-cell');
        }""",
        [number, source],
    )
    return look_at(page, number)


def test_the_chapter_runs_top_to_bottom_with_its_exercises_open(page):
    found = [cell for cell in cells(page) if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    failed = [output for cell in found for output in cell["outputs"] if output["output_type"] == "error"]
    assert not failed, failed[0]
    assert all(cell["execution_count"] for cell in found)
    # JupyterLab keeps the images of all cells, but draws those in view
    assert (
        sum('<img src="data:image/png' in str(output.get("data", {})) for cell in found for output in cell["outputs"])
        >= 4
    )
    look_at(page, place(page, "course_utils.start(")).get_by_text("smoke").first.wait_for()


def test_a_wrong_answer_gets_a_red_card_and_a_hint_and_a_right_one_a_green_card(page):
    number = place(page, '@exercise("00.2")')
    cell = run_with(page, number, WRONG)
    cell.get_by_text("✗").first.wait_for()
    hint = cell.get_by_role("button", name="int")
    before = cell.inner_text()
    hint.first.click()
    page.wait_for_function("([cell, before]) => cell.innerText !== before", arg=[cell.element_handle(), before])
    cell = run_with(page, number, RIGHT)
    cell.get_by_text("✓").first.wait_for()
    assert "✗" not in cell.inner_text()


def test_the_quiz_answers_a_click(page):
    cell = look_at(page, place(page, 'quiz("00")'))
    buttons = cell.get_by_role("button")
    buttons.first.wait_for()
    before = cell.inner_text()
    buttons.first.click()
    page.wait_for_function("([cell, before]) => cell.innerText !== before", arg=[cell.element_handle(), before])
