"""A learner's first minutes, in a real browser: JupyterLab as the course starts it, chapter 00, cards, hints, quiz.

Needs Chromium (any of the names below, or the path in CHROMIUM). On a machine without it the tests are skipped, and the
summary of the run says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from browser import (
    CHROMIUM,
    DARK,
    LIGHT,
    NO_AXE,
    NO_CHROMIUM,
    OUTPUTS,
    Notebook,
    axe_source,
    chromium,
    faults,
    jupyterlab,
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)]

WRONG = "@exercise('00.2')\ndef bits_of_draw(items, drawn):\n    return float(items)"
RIGHT = "import math\n@exercise('00.2')\ndef bits_of_draw(items, drawn):\n    return math.log2(math.perm(items, drawn))"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory) -> Iterator[Notebook]:
    """Chapter 00 in JupyterLab at the smoke profile, open in the browser, all its cells run as shipped."""
    with jupyterlab(tmp_path_factory.mktemp("course")) as lab, chromium() as browser:
        notebook = lab.open(browser, "00_start_here")
        notebook.run_all()
        yield notebook


def test_the_chapter_runs_top_to_bottom_with_its_exercises_open(notebook):
    found = [cell for cell in notebook.cells() if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    failed = [output for cell in found for output in cell["outputs"] if output["output_type"] == "error"]
    assert not failed, failed[0]
    assert all(cell["execution_count"] for cell in found)
    # JupyterLab keeps the images of all cells, but draws those in view
    shown = [str(output.get("data", {})) for cell in found for output in cell["outputs"]]
    assert sum('<img src="data:image/png' in text for text in shown) >= 4
    notebook.look_at(notebook.place("course_utils.start(")).get_by_text("smoke").first.wait_for()
    assert notebook.complaints == []


def test_a_long_line_fits_beside_nothing(notebook):
    """The list of files begins folded away: at 1280 pixels 120 characters of code stand on one line."""
    notebook.look_at(notebook.place("course_utils.start("))
    width, letter = notebook.page.evaluate(
        """() => {
            const code = document.querySelector('.jp-CodeCell .cm-content'), brush = new OffscreenCanvas(9, 9);
            const context = brush.getContext('2d');
            context.font = getComputedStyle(code).font;
            return [code.clientWidth, context.measureText('m').width];
        }"""
    )
    assert width >= 120 * letter


def test_a_wrong_answer_gets_a_red_card_and_a_hint_and_a_right_one_a_green_card(notebook):
    number = notebook.place('@exercise("00.2")')
    cell = notebook.answer(number, WRONG)
    cell.get_by_text("✗").first.wait_for()
    hint = cell.get_by_role("button", name="int")
    before = cell.inner_text()
    hint.first.click()
    notebook.page.wait_for_function(
        "([cell, before]) => cell.innerText !== before", arg=[cell.element_handle(), before]
    )
    cell = notebook.answer(number, RIGHT)
    cell.get_by_text("✓").first.wait_for()
    assert "✗" not in cell.inner_text()


def test_the_quiz_answers_a_click(notebook):
    cell = notebook.look_at(notebook.place('quiz("00")'))
    buttons = cell.get_by_role("button")
    buttons.first.wait_for()
    before = cell.inner_text()
    buttons.first.click()
    notebook.page.wait_for_function(
        "([cell, before]) => cell.innerText !== before", arg=[cell.element_handle(), before]
    )


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_cards_and_widgets_keep_the_rules_of_wcag(notebook, theme):
    if axe_source() is None:
        pytest.skip(NO_AXE)
    notebook.theme(theme)
    for what in ("def bits_of_draw", 'quiz("00")', "claims_table(", "course_map("):
        notebook.look_at(notebook.place(what))
        assert faults(notebook.page, OUTPUTS) == []
