"""What a learner does in JupyterLab, in a real browser: answers, hints, quizzes, rankings, a run stopped and resumed.

``make browser`` runs these.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from playwright import sync_api

from browser import CHROMIUM, NO_CHROMIUM, Notebook
from test_answers import answers

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)]
# chapter -> an exercise of it that is answered wrong, then right
CHAPTERS = {
    "01_data_and_tokens": "01.1",
    "04_scaling_up": "04.1",
    "11_reward_model": "11.1",
    "15_evaluation": "15.1",
    "20_drift": "20.1",
}
STOPPABLE = """
class Again:
    fingerprint = "the same few batches again and again"
    def __getitem__(self, step): return batches[step % len(batches)]

slow = TrainConfig(**{**settings, "steps": STEPS_NOW, "save_every": 100_000})
history = train(Decoder(sizes, seed=1), Again(), next_token_loss, slow, checkpoint_dir=folder / "stopped")
print("came to", len(history), "steps, of which", sum(r["step"] <= 2 for r in history.records), "are the first two")
"""


@pytest.fixture(scope="module", params=CHAPTERS)
def notebook(lab, browser, request) -> Iterator[Notebook]:
    """A chapter with all its cells run."""
    notebook = lab.open(browser, request.param)
    notebook.stem, notebook.folder = request.param, lab.folder
    notebook.run_all()
    notebook.draw_all()
    yield notebook
    notebook.close()


def code_of(notebook: Notebook, id: str, kind: str) -> tuple[int, str]:
    """The exercise's cell, and its source with an answer of that kind."""
    number = notebook.place(f'@exercise("{id}")')
    source = "".join(notebook.cells()[number]["source"])
    answer = next(answer.code for answer in answers()[id] if answer.kind == kind)
    start = re.search(r"^(def|class|@)", answer, re.M).start()  # what it imports stands above the decorator
    return number, f'{source[: source.index("@exercise")]}{answer[:start]}@exercise("{id}")\n{answer[start:]}'


def test_a_wrong_answer_then_all_hints_then_a_right_one(notebook):
    id = CHAPTERS[notebook.stem]
    number, wrong = code_of(notebook, id, "wrong")
    notebook.look_at(number).get_by_text("Not solved yet").first.wait_for()  # a cell is drawn when it comes into view
    cell = notebook.answer(number, wrong)
    cell.get_by_text("not right yet").first.wait_for()
    ask_for_all_hints(notebook, cell)
    cell = notebook.answer(number, code_of(notebook, id, "right")[1])
    cell.get_by_text("your own code").first.wait_for()
    assert "✗" not in cell.inner_text()
    kept = (notebook.folder / "home" / "progress.jsonl").read_text(encoding="utf-8")
    assert any(json.loads(line).get("id") == id and '"right"' in line for line in kept.splitlines())


def ask_for_all_hints(notebook: Notebook, cell: sync_api.Locator) -> None:
    """With the keyboard alone: Tab to the button, the space bar, until the reference has been shown."""
    button = cell.locator("button.jupyter-button").first
    button.focus()
    for _ in range(6):
        before = button.inner_text()
        if before == "That was all":
            break
        notebook.page.keyboard.press("Space")
        notebook.page.wait_for_function(
            "([button, before]) => button.innerText !== before", arg=[button.element_handle(), before]
        )
    assert button.inner_text() == "That was all"
    cell.get_by_text("Show the code").first.wait_for()


def test_the_quiz_says_right_or_wrong_and_why(notebook):
    cell = notebook.look_at(notebook.place("quiz("))
    cell.locator("button.jupyter-button").first.click()
    cell.locator('[role="status"]').first.wait_for()
    assert cell.locator("button").filter(has_text="✓").or_(cell.locator("button").filter(has_text="✗")).count() == 1


def test_answers_are_ranked_and_rated_and_kept(notebook):
    ways = {"11": ("rank_answers(", 4), "15": ("rate_answers(", 1), "20": ("rate_answers(", 1)}
    if notebook.stem[:2] not in ways:
        pytest.skip("nothing is judged in this chapter")
    what, clicks = ways[notebook.stem[:2]]
    number = notebook.place(what)
    cell = notebook.look_at(number)
    for _ in range(clicks):
        choices = cell.locator(".course-judge button.course-answer:enabled, .course-judge .widget-hbox button:enabled")
        choices.first.click()
        notebook.page.wait_for_timeout(500)
    cell.get_by_text("1 of").first.wait_for()
    again = notebook.run(number)  # what was clicked is there again
    again.get_by_text("1 of").first.wait_for()


def test_the_calculator_follows_its_controls_by_keyboard(notebook):
    if not notebook.stem.startswith("04"):
        pytest.skip("no calculator in this chapter")
    cell = notebook.look_at(notebook.place("memory_calculator()"))
    before = cell.inner_text()
    cell.get_by_label("devices").focus()
    notebook.page.keyboard.press("ArrowDown")
    notebook.page.wait_for_function(
        "([cell, before]) => cell.innerText !== before", arg=[cell.element_handle(), before]
    )


def test_a_run_is_stopped_within_two_seconds_and_goes_on(notebook, in_time):
    if not notebook.stem.startswith("04"):
        pytest.skip("no run to stop in this chapter")
    number = len(notebook.cells()) - 1
    notebook.call("notebook.activeCellIndex = value; await commands.execute('notebook:insert-cell-below')", number)
    number += 1
    notebook.write(number, STOPPABLE.replace("STEPS_NOW", "100_000"))
    notebook.call("notebook.activeCellIndex = value; commands.execute('notebook:run-cell')", number)
    cell = notebook.look_at(number)
    notebook.page.wait_for_timeout(500)
    cell.locator("progress, .widget-hprogress, .jp-OutputArea-output").first.wait_for()
    notebook.page.wait_for_timeout(1500)
    began = time.monotonic()
    notebook.page.locator('[data-jp-item-name="interrupt"]').first.click()
    notebook.wait_until_idle()
    waited = time.monotonic() - began
    in_time(waited < 2, f"the stop button took {waited:.1f} s")
    error = next(o for o in notebook.cells()[number]["outputs"] if o["output_type"] == "error")
    assert error["ename"] == "KeyboardInterrupt"
    assert "run the same call again to go on from here" in error["evalue"]
    notebook.call("notebook.activeCellIndex = value; commands.execute('notebook:run-cell')", number)
    notebook.page.wait_for_timeout(2000)
    notebook.page.locator('[data-jp-item-name="interrupt"]').first.click()
    notebook.wait_until_idle()
    again = next(o for o in notebook.cells()[number]["outputs"] if o["output_type"] == "error")
    steps = [int(text.split("after step ")[1].split()[0]) for text in (error["evalue"], again["evalue"])]
    assert steps[1] > steps[0] > 0, "the second call went on from where the first one stopped"


def test_after_a_restart_progress_is_there_again(notebook):
    notebook.call("await panel.context.sessionContext.restartKernel()")
    notebook.wait_until_idle()
    id = CHAPTERS[notebook.stem]
    number = len(notebook.cells()) - 1
    notebook.call("notebook.activeCellIndex = value; await commands.execute('notebook:insert-cell-below')", number)
    source = "from course_utils.classroom.records import progress\n"
    source += f"print({id!r}, 'solved' if progress.standings()[{id!r}].solved else 'open')\n"
    source += "print(len(progress.quiz_answers()), 'answered')"
    cell = notebook.answer(number + 1, source)
    cell.get_by_text(f"{id} solved").wait_for()
    assert re.search(r"^[1-9]\d* answered", cell.locator(".jp-OutputArea-output").first.inner_text(), re.M)
    # what the widgets showed is text now, and no error
    quiz = notebook.look_at(notebook.place("quiz("))
    assert "Error displaying widget" not in quiz.inner_text()


def test_two_chapters_at_once(lab, browser):
    two = [lab.open(browser, stem) for stem in ("00_start_here", "05_prompting")]
    try:
        for notebook in two:
            notebook.call("commands.execute('notebook:run-all-cells')")
        for notebook in two:
            last = len(notebook.cells()) - 1
            code = max(i for i, cell in enumerate(notebook.cells()) if cell["cell_type"] == "code" and i <= last)
            notebook.page.wait_for_function(
                "code => window.jupyterapp.shell.currentWidget.content.model.cells.get(code).executionCount",
                arg=code,
                timeout=900_000,
            )
            notebook.wait_until_idle(600)
            errors = [o for cell in notebook.cells() for o in cell.get("outputs", ()) if o["output_type"] == "error"]
            assert not errors and not notebook.complaints
    finally:
        for notebook in two:
            notebook.close()
