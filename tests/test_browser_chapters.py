"""Every chapter as it is shipped, opened in JupyterLab in a real browser and run from top to bottom, exercises open.

``make browser`` runs these; they take half an hour.
"""

from __future__ import annotations

import re

import pytest
from playwright import sync_api

from browser import (
    CHROMIUM,
    DARK,
    LIGHT,
    NO_CHROMIUM,
    OUTPUTS,
    ROOT,
    Notebook,
    axe_source,
    faults,
)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)]
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
DRAWN = """views => ['.jp-OutputArea-output > .jupyter-widgets, .jp-OutputArea-output.jupyter-widgets, ' +
    '.jp-OutputArea-output .widget-subarea', '.jp-OutputArea-output .jupyter-widgets'
].some(found => document.querySelectorAll(found).length >= views)"""
EXERCISE = re.compile(r"""^@exercise\(["'](\d\d\.\d+)["']\)""", re.M)


@pytest.mark.parametrize("stem", CHAPTERS)
def test_a_chapter_runs_as_shipped(lab, browser, stem):
    notebook = lab.open(browser, stem)
    try:
        notebook.run_all()
        assert ran(notebook) + drawn(notebook) == []
        for theme in (LIGHT, DARK) if axe_source() else ():
            notebook.theme(theme)
            assert faults(notebook.page, OUTPUTS) == [], theme
        assert notebook.complaints == []
    finally:
        notebook.close()


def ran(notebook: Notebook) -> list[str]:
    """What is wrong with the outputs: an error, a cell that did not run, an exercise that is not shown as open."""
    found = []
    for number, cell in enumerate(notebook.cells()):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or not source.strip():
            continue
        shown = []
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"cell {number} raised {output['ename']}: {output['evalue'][:200]}")
            shown += output.get("data", {}).values()
            shown.append(output.get("text", ""))
        text = "".join("".join(part) if isinstance(part, list) else str(part) for part in shown)
        if not cell["execution_count"]:
            found.append(f"cell {number} did not run")
        if "Traceback (most recent call last)" in text:
            found.append(f"cell {number} shows a traceback")
        asked = EXERCISE.search(source)
        if asked and not (asked[1] in text and "Not solved yet" in text):
            found.append(f"exercise {asked[1]} is not shown as open: {text[:200]}")
    return found


def drawn(notebook: Notebook) -> list[str]:
    """What is wrong on the page: a widget that was not drawn, a picture without words, headings that skip a level."""
    notebook.draw_all()
    views = sum(
        "application/vnd.jupyter.widget-view+json" in output.get("data", {})
        for cell in notebook.cells()
        for output in cell.get("outputs", [])
    )
    for left in reversed(range(12)):  # a busy machine may lose a scroll, and with it what it would have drawn
        try:
            notebook.page.wait_for_function(DRAWN, arg=views, timeout=20_000)
            break
        except sync_api.TimeoutError:
            if not left:
                raise
            notebook.draw_all()
    return notebook.page.evaluate(
        """() => {
            const found = [], notebook = document.querySelector('.jp-Notebook');
            const bad = ['Error displaying widget', 'Loading widget', 'Javascript Error', 'Math Processing Error'];
            for (const words of bad)
                if (notebook.innerText.includes(words)) found.push(words);
            for (const image of notebook.querySelectorAll('.jp-OutputArea-output img'))
                if (!image.alt.trim()) found.push('a picture without words: ' + image.outerHTML.slice(0, 80));
            let before = 0;
            for (const heading of notebook.querySelectorAll('.jp-MarkdownOutput :is(h1, h2, h3, h4, h5, h6)')) {
                const level = +heading.tagName[1];
                if (level > before + 1) found.push(`level ${level} after ${before}: ${heading.innerText}`);
                before = level;
            }
            return found;
        }"""
    )
