"""Plots draw what they were given: intervals as whiskers, labels above them."""

from __future__ import annotations

import matplotlib
import matplotlib.collections
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from course_utils.classroom.display import plots
from course_utils.classroom.display.plots import plot_bars, plot_groups, plot_heatmap, plot_scatter


@pytest.fixture(autouse=True)
def keep_figures(monkeypatch):
    plt.close("all")
    monkeypatch.setattr(plt, "show", lambda: None)
    yield
    plt.close("all")


def whiskers() -> list[tuple[float, float]]:
    """(low, high) of each whisker of the figure just drawn, from left to right."""
    found = []
    for container in plt.gca().containers:
        if isinstance(container, matplotlib.container.ErrorbarContainer):
            ((_, low), (_, high)) = container.lines[2][0].get_segments()[0]
            found.append((round(float(low), 6), round(float(high), 6)))
    return found


def test_groups_take_intervals():
    plot_groups({"before": {"a": 0.2, "b": (0.5, 0.4, 0.7)}, "after": {"a": (0.9, 0.8, 0.95), "b": 1.0}}, y="share")
    assert whiskers() == [(0.4, 0.7), (0.8, 0.95)]
    assert sorted(text.get_text() for text in plt.gca().texts) == ["0.20", "0.50", "0.90", "1.00"]
    heights = {text.get_text(): text.xy[1] for text in plt.gca().texts}
    assert heights["0.50"] == 0.7, "the label stands above the whisker"
    with pytest.raises(ValueError, match="Give all alike"):
        plot_groups({"before": {"a": 0.2}, "after": {"b": 0.2}}, y="share")


def test_bars_take_intervals():
    plot_bars({"a": (0.5, 0.4, 0.7), "b": 0.3}, y="share")
    assert whiskers() == [(0.4, 0.7)]


def test_points_take_intervals_on_both_axes():
    plot_scatter({"a": ([0.5], [0.3]), "b": ([0.9], [0.1])}, x="x", y="y", whiskers={"a": [(0.4, 0.7, 0.2, 0.35)]})
    lines = [c for c in plt.gca().collections if isinstance(c, matplotlib.collections.LineCollection)]
    ends = [line.get_segments()[0].tolist() for line in lines]
    assert ends == [[[0.4, 0.3], [0.7, 0.3]], [[0.5, 0.2], [0.5, 0.35]]]


def test_no_two_series_look_alike():
    looks = {(plots.COLOURS[i % len(plots.COLOURS)], plots._marker(i)) for i in range(49)}
    assert len(looks) == 49


@pytest.mark.parametrize(
    "names",
    [
        ["a lie", "order, page after", "order, page before", "special tokens, as text", "special tokens, parsed"],
        ["with the secret", "ascent alone", "ascent, and held", "held, then read again"],
    ],
)
@pytest.mark.parametrize("draw", [plot_bars, lambda bars, y: plot_groups({"before": bars, "after": bars}, y)])
def test_names_of_bars_stand_apart(names, draw):
    draw(dict.fromkeys(names, 0.5), "share")
    plt.gcf().canvas.draw()
    boxes = [label.get_window_extent() for label in plt.gca().get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))


def test_long_names_of_many_bars_are_tilted():
    plot_bars({f"lamplighter {i}": 0.5 for i in range(20)}, "share")
    assert {label.get_rotation() for label in plt.gca().get_xticklabels()} == {45.0}


def test_a_legend_of_long_names_is_no_wider_than_the_picture():
    plot_groups({f"harmful requests in wordings {i}": {"a": 0.2, "b": 0.1} for i in range(5)}, "share")
    figure = plt.gcf()
    figure.canvas.draw()
    assert figure.legends[0].get_window_extent().width <= figure.bbox.width


def test_a_place_without_a_number_stays_empty():
    plot_heatmap([[1.0, float("nan")], [2.0, 3.0]], ["a", "b"], ["c", "d"], "unit", decimals=0)
    assert sorted(text.get_text() for text in plt.gca().texts) == ["1", "2", "3"]


def test_counts_have_no_ticks_between_them(monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)
    for xs, whole in ((list(range(20)), True), ([0.0, 0.5, 1.0], False)):
        plots.plot_curves({"a": (xs, [0.1 * x for x in xs])})
        ticks = plt.gca().get_xticks()
        assert all(tick == round(tick) for tick in ticks) is whole
        plt.close("all")
