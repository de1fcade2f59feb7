"""Small diagrams of boxes and arrows, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from course_utils.classroom.display import plots

_TINTS = {
    "blue": ("#d6e8f5", "#0072B2"),
    "orange": ("#fbe3d3", "#D55E00"),
    "green": ("#d3ede4", "#009E73"),
    "purple": ("#f4e2ec", "#a8557f"),
    "grey": ("#eeeeee", "#666666"),
}


@dataclass(frozen=True)
class Box:
    """A box: its centre (x, y) and size in grid units, a title, a smaller second line, and a colour's name."""

    name: str
    x: float
    y: float
    text: str
    detail: str = ""
    colour: str = "blue"
    width: float = 1.7
    height: float = 0.8


@dataclass(frozen=True)
class Arrow:
    """An arrow between two boxes by name, with a word on it. bend: 0 straight, else the arc's curvature."""

    start: str
    end: str
    text: str = ""
    bend: float = 0.0
    dashed: bool = False


def draw_diagram(
    boxes: Sequence[Box], arrows: Sequence[Arrow], title: str | None = None, *, scale: float = 1.0
) -> None:
    """Draw boxes and arrows and show them. scale: inches per grid unit. Raises ValueError for an unknown name."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    plots.use_style()
    named = {box.name: box for box in boxes}
    for arrow in arrows:
        for end in (arrow.start, arrow.end):
            if end not in named:
                raise ValueError(f"an arrow names the box {end!r}; the boxes are {', '.join(named)}")
    left = min(box.x - box.width / 2 for box in boxes) - 0.15
    right = max(box.x + box.width / 2 for box in boxes) + 0.15
    low = min(box.y - box.height / 2 for box in boxes) - 0.25
    high = max(box.y + box.height / 2 for box in boxes) + 0.25
    _, axes = plt.subplots(figsize=((right - left) * scale, (high - low) * scale))
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_axis_off()
    patches = {}
    for box in boxes:
        if box.colour not in _TINTS:
            raise ValueError(f"box {box.name!r} has the colour {box.colour!r}; choose from {', '.join(_TINTS)}")
        face, edge = _TINTS[box.colour]
        corner = (box.x - box.width / 2, box.y - box.height / 2)
        patch = FancyBboxPatch(
            corner, box.width, box.height, boxstyle="round,pad=0,rounding_size=0.1", fc=face, ec=edge, lw=1.6, zorder=2
        )
        patches[box.name] = axes.add_patch(patch)
        lift = 0.13 * box.height / 0.8 if box.detail else 0
        axes.text(box.x, box.y + lift, box.text, ha="center", va="center", fontsize=10.5, weight="bold", zorder=3)
        if box.detail:
            axes.text(
                box.x, box.y - 0.17 * box.height / 0.8, box.detail, ha="center", va="center", fontsize=8.5, zorder=3
            )
    for arrow in arrows:
        a, b = named[arrow.start], named[arrow.end]
        line = FancyArrowPatch(
            (a.x, a.y),
            (b.x, b.y),
            patchA=patches[a.name],
            patchB=patches[b.name],
            shrinkA=2,
            shrinkB=2,
            arrowstyle="-|>",
            mutation_scale=13,
            color="#444444",
            lw=1.5,
            linestyle="--" if arrow.dashed else "-",
            connectionstyle=f"arc3,rad={arrow.bend}",
            zorder=1,
        )
        axes.add_patch(line)
        if arrow.text:
            # the middle of the arc: matplotlib bends to the right of the direction by half of rad * length
            x = (a.x + b.x) / 2 + arrow.bend * (b.y - a.y) / 2
            y = (a.y + b.y) / 2 - arrow.bend * (b.x - a.x) / 2
            axes.text(
                x, y, arrow.text, ha="center", va="center", fontsize=8.5, style="italic", zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
    if title:
        axes.set_title(title)
    plt.show()
