"""Every picture says in words what it shows."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from course_utils.classroom.display import plots
from course_utils.classroom.display.alt_text import describe_figure, figure_html

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def keep_figures(monkeypatch):
    plt.close("all")
    monkeypatch.setattr(plt, "show", lambda: None)
    yield
    plt.close("all")


def said() -> str:
    return describe_figure(plt.gcf())


def test_curves_with_a_reference_line():
    plots.plot_curves(
        {"ours": ([0, 50, 100], [4.0, 0.5, 1.5]), "theirs": ([0, 100], [4.0, 2.0])},
        x="step",
        y="loss (nats)",
        title="Who is quicker",
        lines={"the floor": 1.25},
    )
    assert said() == (
        "Who is quicker. loss (nats) over step. ours: from 4 at 0 to 1.5 at 100, between 0.5 and 4. "
        "theirs: from 4 at 0 to 2 at 100. a line at 1.25 marks the floor."
    )


def test_curves_over_names():
    plots.plot_curves({"7 B": (["stage 0", "stage 3"], [108.0, 13.0])}, x="what is sharded", y="GB")
    assert said() == "GB over what is sharded. 7 B: from 108 at stage 0 to 13 at stage 3."


def test_a_picture_without_words_is_shown_all_the_same(monkeypatch):
    plots.plot_bars({"a": 1.0}, y="share")
    monkeypatch.setattr("course_utils.classroom.display.alt_text.describe_figure", lambda figure: 1 / 0)
    assert 'alt="A picture that could not be put into words (ZeroDivisionError).">' in figure_html(plt.gcf())


def test_bars_with_intervals_and_bars_in_groups():
    plots.plot_bars({"base": (0.5, 0.4, 0.7), "tuned": 0.9}, y="share", title="After tuning")
    assert said() == "After tuning. share. bars: base 0.5, tuned 0.9."
    plt.close("all")
    plots.plot_groups({"before": {"a": 0.2, "b": 0.5}, "after": {"a": 0.9, "b": 1.0}}, y="share")
    assert said() == "share. before: a 0.2, b 0.5. after: a 0.9, b 1."


def test_a_heatmap_names_where_its_extremes_stand():
    plots.plot_heatmap([[0.1, 0.2], [0.9, 0.4]], ["king", "queen"], ["cat", "dog"], value="cosine", title="Alike")
    assert said() == ("Alike. a table of 2 rows and 2 columns; cosine from 0.1 (king, cat) to 0.9 (queen, cat).")


def test_points_and_power_laws():
    plots.plot_scatter({"a": ([1, 2, 3], [4, 5, 6]), "b": ([9], [0.5])}, x="width", y="loss")
    assert said() == "loss over width. a: 3 points, x from 1 to 3, y from 4 to 6. b: one point at (9, 0.5)."
    plt.close("all")
    plots.plot_scaling({"models": ([1e3, 1e4], [10.0, 1.0])}, x="tokens", y="loss")
    assert "slope -1.00: 2 points, x from 1,000 to 10,000, y from 1 to 10" in said()


def test_durations_are_named():
    plots.plot_durations({"here": 60.0, "a GPU": 2.0}, title="How long")
    assert "How long" in said() and "60" in said() and "2" in said()


def test_a_figure_of_a_cells_own_and_one_without_anything():
    plt.figure()
    assert said() == "A drawing without words."
    plt.plot([1, 2], [3, 4])
    plt.plot([5.0], [5.0], "o", label="here")
    plt.title("A & B")
    assert said() == "A & B. here: one point at (5, 5)." or said().startswith("A & B.")


def test_long_descriptions_are_cut_at_a_word():
    plots.plot_curves({f"a curve with a long name, number {i}": ([0, 1], [i, i + 1]) for i in range(40)}, y="loss")
    assert len(said()) <= 900 and said().endswith(" …")


def test_the_words_stand_in_the_picture_escaped():
    pytest.importorskip("IPython")
    plots.plot_bars({'"x" < y & z': 1.0}, y="share")
    shown = figure_html(plt.gcf())
    found = re.fullmatch(r'<img src="data:image/png;base64,[A-Za-z0-9+/=\n]+" alt="([^"]*)">', shown)
    assert found and html.unescape(found[1]) == 'share. bars: "x" < y & z 1.'


@pytest.mark.parametrize("path", sorted((ROOT / "solutions").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_stored_picture_has_words(path):
    outputs = [o for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] for o in cell.get("outputs", [])]
    raw = [o for o in outputs if "image/png" in o.get("data", {})]
    assert not raw, f"{len(raw)} pictures without words: run the notebook anew"
    shown = ["".join(o.get("data", {}).get("text/html", "")) for o in outputs]
    words = [re.search(r' alt="([^"]*)">', text) for text in shown if text.startswith('<img src="data:image/png')]
    assert words and all(found and len(found[1]) > 20 for found in words)


@pytest.mark.slow
def test_in_a_notebook_the_first_picture_has_words_too(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    cells = [
        "from course_utils.classroom.display.plots import plot_bars, use_style\nuse_style()",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4], label='a cell of its own')\nplt.show()",
        "plot_bars({'a': 1.0}, y='share')",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    done = NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output["data"] for cell in done.cells[1:] for output in cell.outputs]
    assert [sorted(data) for data in shown] == [["text/html", "text/plain"]] * 2
    assert 'alt="a cell of its own: from 3 at 1 to 4 at 2."' in shown[0]["text/html"]
    assert 'alt="share. bars: a 1."' in shown[1]["text/html"]


def test_a_map_says_its_words_and_not_where_its_points_lie():
    from course_utils.classroom.display.pictures import draw_isles
    from course_utils.world import World, WorldConfig

    world = World(WorldConfig(people=12), seed=0)
    draw_isles(world)
    words = said()
    assert "point at" not in words and all(town.name in words for town in world.towns)
