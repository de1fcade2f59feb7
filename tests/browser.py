"""The course in a real browser: JupyterLab as ``make lab`` starts it, Chromium, and axe-core's rules.

Used by the tests that open the course as a learner does. Where Chromium or axe-core cannot be had, those tests are
skipped, and the summary of the run says why.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from playwright import sync_api

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
NO_CHROMIUM = "no Chromium; install it (Debian: apt-get install chromium) or name it in CHROMIUM"
NO_AXE = "no axe-core; python tests/browser.py fetches it from npm"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
AXE, AXE_SHA256 = "4.14.1", "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
PLACE = ROOT / "build" / f"axe-core-{AXE}" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
OUTPUTS = (".jp-Notebook .jp-OutputArea-output", ".jp-Notebook .jp-MarkdownOutput")


def axe_source() -> str | None:
    """The text of axe-core; None where it was not fetched."""
    return PLACE.read_text(encoding="utf-8") if PLACE.is_file() else None


def fetch_axe() -> str:
    """Fetch axe-core from npm into build/, unless it is there; says what came of it. No test fetches anything."""
    if PLACE.is_file():
        return f"axe-core {AXE} is there"
    npm = shutil.which("npm")
    if not npm:
        return "no npm: the tests that need axe-core will be skipped"
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE.parent) as folder:
        command = [npm, "pack", f"axe-core@{AXE}", "--pack-destination", folder, "--silent"]
        command += ["--fetch-retries=0", "--fetch-timeout=20000"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=folder)
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as packed:
                text = packed.extractfile("package/axe.min.js").read()  # type: ignore[union-attr]
        except (OSError, subprocess.SubprocessError, StopIteration, KeyError, tarfile.TarError) as error:
            return f"axe-core could not be fetched ({type(error).__name__}): the tests that need it will be skipped"
        if hashlib.sha256(text).hexdigest() != AXE_SHA256:
            return f"what npm gave as axe-core {AXE} is another file than the one that was tested: it is not used"
        fresh = Path(folder) / "axe.min.js"
        fresh.write_bytes(text)
        fresh.replace(PLACE)
    return f"axe-core {AXE} fetched from npm"


@contextlib.contextmanager
def chromium() -> Iterator[sync_api.Browser]:
    """A browser without a window."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def jupyterlab(folder: Path, profile: str = "smoke") -> Iterator[Lab]:
    """JupyterLab with the course's settings on a copy of the learner's notebooks in ``folder``."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--config", str(ROOT / "jupyter" / "jupyter_lab_config.py")]
    command += [f"--ServerApp.root_dir={folder}", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True", "--allow-root"]
    environment = {**os.environ, "COURSE_PROFILE": profile, "PYTHONPATH": str(ROOT)}
    environment |= {"COURSE_HOME": str(folder / "home"), "JUPYTER_CONFIG_DIR": str(folder / "config")}
    log = folder / "lab.log"
    with open(log, "w") as out:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    lab = Lab(f"http://127.0.0.1:{port}", token, folder)
    try:
        for _ in range(360):
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{lab.address}/api?token={token}", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            raise AssertionError(f"JupyterLab did not answer: {log.read_text()[-3000:]}")
        yield lab
    finally:
        server.terminate()
        server.wait(30)


class Lab:
    """A running JupyterLab. ``folder`` holds its notebooks/ and the learner's home/."""

    def __init__(self, address: str, token: str, folder: Path):
        self.address, self.token, self.folder = address, token, folder

    def open(self, browser: sync_api.Browser, stem: str, width: int = 1280, height: int = 1000) -> Notebook:
        """A new window on a chapter, arranged as the course arranges it, with its kernel idle."""
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(240_000)  # a busy machine fails no test
        notebook = Notebook(page)
        workspace = f"auto-{secrets.token_hex(4)}"
        page.goto(f"{self.address}/lab/workspaces/{workspace}?clone=default&token={self.token}")
        page.wait_for_function("() => window.jupyterapp?.commands.hasCommand('docmanager:open')")
        page.evaluate(
            """async path => {
                await window.jupyterapp.restored;
                await window.jupyterapp.commands.execute('docmanager:open', {path});
            }""",
            f"notebooks/{stem}.ipynb",
        )
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        notebook.wait_until_idle()
        return notebook


class Notebook:
    """A notebook in the browser. ``complaints``: what the page wrote to the console as an error, or did not catch."""

    def __init__(self, page: sync_api.Page):
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(f"{message.text} {message.location}") if message.type == "error" else None
            ),
        )

    def call(self, body: str, value: Any = None) -> Any:
        """Evaluate ``body`` (an async function's body) with ``panel``, ``notebook``, ``commands`` and ``value``."""
        return self.page.evaluate(
            f"""async value => {{
                const panel = window.jupyterapp.shell.currentWidget, notebook = panel.content;
                const commands = window.jupyterapp.commands;
                {body}
            }}""",
            value,
        )

    def wait_until_idle(self, seconds: float = 240) -> None:
        """Wait for a kernel that has nothing to do."""
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=1000 * seconds,
        )

    def run_all(self) -> None:
        """Run every cell, as Run > Run All Cells does, and wait for the end."""
        self.call("await commands.execute('notebook:run-all-cells')")

    def cells(self) -> list[dict[str, Any]]:
        """The notebook's cells, outputs included, as the browser holds them."""
        return json.loads(self.call("return JSON.stringify(notebook.model.toJSON().cells)"))

    def place(self, text: str) -> int:
        """The number of the first code cell that holds ``text``."""
        code = [(i, "".join(cell["source"])) for i, cell in enumerate(self.cells()) if cell["cell_type"] == "code"]
        return next(i for i, source in code if text in source)

    def look_at(self, number: int) -> sync_api.Locator:
        """Scroll to a cell and return it."""
        # JupyterLab's promise of having scrolled is not always kept
        seconds = "new Promise(done => setTimeout(done, 3000))"
        self.call(
            f"notebook.activeCellIndex = value; await Promise.race([notebook.scrollToItem(value), {seconds}])", number
        )
        return self.page.locator(".jp-Cell.jp-mod-active")

    def write(self, number: int, source: str) -> None:
        """Put ``source`` into a cell by the keyboard, as a learner does."""
        self.look_at(number).locator(".cm-content").first.click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(source)

    def run(self, number: int) -> sync_api.Locator:
        """Run a cell, wait for its end, and return it."""
        self.call("notebook.activeCellIndex = value; await commands.execute('notebook:run-cell')", number)
        return self.look_at(number)

    def answer(self, number: int, source: str) -> sync_api.Locator:
        """Write ``source`` into a cell, run it, and return the cell."""
        self.write(number, source)
        return self.run(number)

    def close(self) -> None:
        """End the kernel and close the window."""
        with contextlib.suppress(sync_api.Error):
            self.call("await panel.context.sessionContext.shutdown()")
        self.page.close()

    def theme(self, name: str) -> None:
        """Change the theme, and wait until it is loaded."""
        self.call("await commands.execute('apputils:change-theme', {theme: value})", name)
        light = "false" if name == DARK else "true"
        self.page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")

    def draw_all(self) -> None:
        """Have all cells in the page, not only those in view."""
        self.call("notebook.notebookConfig = {...notebook.notebookConfig, windowingMode: 'none'}")
        self.page.wait_for_function(
            "count => document.querySelectorAll('.jp-Notebook .jp-Cell').length >= count",
            arg=self.call("return notebook.model.cells.length"),
        )


def faults(page: sync_api.Page, inside: Sequence[str] = ()) -> list[str]:
    """What axe-core finds against WCAG 2.1 A and AA, serious or critical, one line for each place that it finds it in.

    inside: selectors, the whole page if empty. Raises AssertionError if nothing was there to look at.
    """
    source = axe_source()
    assert source is not None
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(source)  # not as a script of the page: JupyterLab forbids those of others
    found = page.evaluate(
        """async ([inside, tags]) => {
            const place = inside.length ? {include: inside.map(selector => [selector])} : document;
            const found = await axe.run(place, {runOnly: tags, resultTypes: ['violations']});
            return {passed: found.passes.length, bad: found.violations
                .filter(fault => ['serious', 'critical'].includes(fault.impact))
                .flatMap(fault => fault.nodes.map(node => [fault.id, node.html.slice(0, 200), node.failureSummary]
                    .join('  ')))};
        }""",
        [list(inside), TAGS],
    )
    assert found["passed"] > 3, "axe-core found nothing to look at"
    return [" ".join(fault.split()) for fault in found["bad"]]


def take_picture(place: Path) -> None:
    """The picture of the README: chapter 00 at work."""
    import io

    from PIL import Image

    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder), "laptop") as lab, chromium() as browser:
        notebook = lab.open(browser, "00_start_here", height=1020)
        notebook.page.set_default_timeout(900_000)
        notebook.run_all()
        notebook.look_at(notebook.place("show(result_card("))  # a card in red, and above it a histogram
        notebook.page.wait_for_timeout(3000)
        notebook.page.evaluate(
            """() => {
                const list = document.querySelector('.jp-WindowedPanel-outer');
                const pictures = [...document.querySelectorAll('.jp-OutputArea-output img')];
                const plot = pictures.filter(picture => picture.alt.includes('less sure'))[0];
                list.scrollTop += plot.getBoundingClientRect().top - 110;
            }"""
        )
        notebook.page.wait_for_timeout(3000)
        picture = Image.open(io.BytesIO(notebook.page.screenshot())).convert(
            "P", palette=Image.Palette.ADAPTIVE, colors=64
        )
        picture.save(place, optimize=True)
        notebook.close()


if __name__ == "__main__":
    if sys.argv[1:]:
        take_picture(Path(sys.argv[1]))
    else:
        print(fetch_axe())
