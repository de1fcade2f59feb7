"""What lies beside a checkpoint: how it was made and what was measured. A test measures it again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from course_utils.recipes.configs import EVALUATION_SEED
from course_utils.training.history import History


def card(recipe: Any, tokens: int, history: History, figures: dict[str, float], curve: str = "loss") -> dict[str, Any]:
    """The fields of a card. ``curve``: the column of the history that is kept, under its own name."""
    made = {"recipe": asdict(recipe), "seed": recipe.seed, **card_fields(tokens, history, curve)}
    return made | {"figures": figures, "figures_seed": EVALUATION_SEED}


def card_fields(tokens: int, history: History, curve: str) -> dict[str, Any]:
    """What a card tells about the run: tokens, seconds, and one curve in about a hundred points, [[step, mean], ...].

    The curve stands under the name of its column; where that is not "loss", ``curve`` says which it is.
    """
    values = history.column(curve)
    every = max(1, len(values) // 100)
    ends = range(every, len(values) + 1, every)
    points = [[end, round(sum(values[end - every : end]) / every, 4)] for end in ends]
    run = {"tokens": tokens, "seconds": round(history.records[-1]["seconds"], 1), curve: points}
    return run if curve == "loss" else run | {"curve": curve}
