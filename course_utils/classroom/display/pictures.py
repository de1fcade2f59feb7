"""The pictures of the start chapter: the life of a model, the map of the Isles, and who appears in which text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from course_utils.classroom.display import plots
from course_utils.classroom.display.diagram import Arrow, Box, draw_diagram

if TYPE_CHECKING:
    from course_utils.world import World

LAMPS = {
    "amber": "#E69F00",
    "green": "#009E73",
    "violet": "#8E5EA2",
    "scarlet": "#C8321F",
    "silver": "#8A97A3",
    "blue": "#0072B2",
}
# island -> (centre, half widths, places of its three towns), in units of the map
_ISLANDS = {
    "Skerry": ((2.3, 4.2), (1.95, 1.1), ((1.2, 4.5), (2.55, 4.95), (2.95, 3.98))),
    "Holm": ((7.55, 4.25), (2.0, 1.08), ((6.5, 4.3), (7.85, 4.95), (8.6, 4.25))),
    "Farrowey": ((2.5, 1.2), (2.1, 1.05), ((1.35, 1.45), (2.6, 1.05), (3.65, 1.6))),
    "Lantis": ((7.7, 1.2), (2.0, 1.1), ((6.6, 1.4), (7.75, 0.95), (8.55, 1.75))),
}
_FERRIES = (("Skerry", "Holm"), ("Skerry", "Farrowey"), ("Holm", "Lantis"), ("Farrowey", "Lantis"))


def draw_life() -> None:
    """The life of a model from its data to its retirement, with the chapters that live through each stage."""
    w = 2.02
    boxes = [
        Box("data", 1, 4, "Data", "documents, tokens · 01", "blue", w),
        Box("net", 3.4, 4, "Transformer", "attention, blocks · 02", "blue", w),
        Box("pre", 5.8, 4, "Pretraining", "next-word prediction · 03-04", "blue", w),
        Box("base", 8.2, 4, "Base model", "continues text · 05", "grey", w),
        Box("tune", 8.2, 2.75, "Instruction tuning", "answers questions · 06", "orange", w),
        Box("peft", 5.8, 2.75, "LoRA, QLoRA", "cheaper tuning · 07-10", "orange", w),
        Box("instruct", 3.4, 2.75, "Instruct model", "follows instructions", "grey", w),
        Box("reward", 1, 2.75, "Reward model", "learns preferences · 11", "purple", w),
        Box("rl", 1, 1.5, "PPO, DPO, GRPO", "alignment · 12-14", "purple", w),
        Box("judge", 3.4, 1.5, "Evaluation", "truth, bias, safety · 15-17", "green", w),
        Box("small", 5.8, 1.5, "Distillation", "a smaller student · 18", "green", w),
        Box("serve", 8.2, 1.5, "Deployment", "serving, monitoring · 19", "green", w),
        Box("drift", 8.2, 0.25, "Drift", "the world moves on · 20", "green", w),
        Box("again", 3.4, 0.25, "The whole road again", "your own model · 21", "grey", w),
    ]
    road = [
        "data",
        "net",
        "pre",
        "base",
        "tune",
        "peft",
        "instruct",
        "reward",
        "rl",
        "judge",
        "small",
        "serve",
        "drift",
    ]
    arrows = [Arrow(a, b) for a, b in zip(road, road[1:], strict=False)]
    arrows += [Arrow("drift", "again", "new data, train again", dashed=True)]
    draw_diagram(boxes, arrows, "The life of a language model, and the chapters that live it", scale=1.02)


def draw_isles(world: World) -> None:
    """The map of the Lantern Isles: each town with the colour of its lamps, its craft and its number of people."""
    import matplotlib.pyplot as plt
    import numpy as np

    plots.use_style()
    _, axes = plt.subplots(figsize=(9.2, 5.2))
    axes.set(xlim=(0, 10), ylim=(-0.2, 5.6))
    axes.set_axis_off()
    axes.add_patch(plt.Rectangle((0, -0.2), 10, 5.8, color="#e6f0f5", zorder=0))
    for start, end in _FERRIES:
        (x0, y0), (x1, y1) = _ISLANDS[start][0], _ISLANDS[end][0]
        axes.plot([x0, x1], [y0, y1], color="#7d97a5", linestyle=(0, (1, 3)), linewidth=1.6, zorder=1)
    angles = np.linspace(0, 2 * np.pi, 200)
    for number, (island, ((x, y), (a, b), _)) in enumerate(_ISLANDS.items()):
        coast = 1 + 0.06 * np.sin(3 * angles + number) + 0.04 * np.sin(5 * angles + 2 * number)
        for grow, colour in ((1.1, "#d3e4ec"), (1.0, "#f3eedd")):
            edge = "#a89f80" if grow == 1.0 else "none"
            shore = grow * coast
            xs, ys = x + a * shore * np.cos(angles), y + b * shore * np.sin(angles)
            axes.fill(xs, ys, fc=colour, ec=edge, lw=1.2, ls="-", zorder=2)
        text: dict[str, Any] = {"fontsize": 10, "color": "#5b6f7a", "weight": "bold", "ha": "center", "va": "center"}
        axes.text(x + 0.9 * a, y - 1.02 * b, island.upper(), zorder=5, **text)
    places = {island: iter(spots) for island, (_, _, spots) in _ISLANDS.items()}
    for town in world.towns:
        x, y = next(places[town.island])
        lamp, count = LAMPS[town.lamp_colour], sum(person.fact("town") == town.name for person in world.people)
        for size, alpha in ((900, 0.10), (420, 0.18), (150, 0.30)):
            axes.scatter(x, y, s=size, color=lamp, alpha=alpha, linewidths=0, zorder=3)
        axes.scatter(x, y, s=46, color=lamp, edgecolor="#333333", linewidths=0.8, zorder=4)
        axes.text(x, y - 0.2, town.name, ha="center", va="top", fontsize=9, weight="bold", zorder=5)
        small: dict[str, Any] = {"fontsize": 7.5, "color": "#444444", "ha": "center", "va": "top"}
        axes.text(x, y - 0.4, f"{town.craft} · {count} people", zorder=5, **small)
    north = {"arrowstyle": "-|>", "color": "#5b6f7a"}
    axes.annotate("", (5.05, 3.15), (5.05, 2.45), arrowprops=north)
    axes.text(5.05, 3.2, "N", ha="center", va="bottom", color="#5b6f7a", weight="bold")
    axes.set_title("The Lantern Isles: each town with the colour of its lamps")
    plt.show()


def draw_people(world: World) -> None:
    """One dot per person, by split: in the corpus and the instruction data, in the corpus only, or nowhere."""
    import matplotlib.pyplot as plt

    plots.use_style()
    splits = {
        "taught": ("taught: in the corpus, and asked about in tuning", "#0072B2", "o"),
        "known": ("known: in the corpus, never asked about", "#E69F00", "s"),
        "stranger": ("strangers: in no text at all", "#666666", "o"),
    }
    people = sorted(world.people, key=lambda person: list(splits).index(person.split))
    shown = people[:: max(1, len(people) // 300)]
    rows = 10
    _, axes = plt.subplots(figsize=(8.4, 2.9))
    for split, (text, colour, marker) in splits.items():
        spots = [divmod(i, rows) for i, person in enumerate(shown) if person.split == split]
        label = f"{text} ({len(world.split(split))})"
        hollow = "none" if split == "stranger" else colour
        xs, ys = [spot[0] for spot in spots], [-spot[1] for spot in spots]
        axes.scatter(xs, ys, s=58, marker=marker, facecolor=hollow, edgecolor=colour, linewidths=1.3, label=label)
    axes.set_axis_off()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=1, handletextpad=0.3)
    axes.set_title("Who appears in which text: one mark per person")
    plt.show()
