"""What lies beside a checkpoint: how it was made and what was measured. A test measures it again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from course_utils.recipes.configs import EVALUATION_SEED
from course_utils.training.history import History


def card(recipe: Any, tokens: int, history: History, figures: dict[str, float], curve: str = "loss") -> dict[str, Any]:
    """The fields of a card. ``curve``: the column of the history that is kept, in about a hundred points."""
    values = history.column(curve)
    every = max(1, len(values) // 100)
    return {
        "recipe": asdict(recipe),
        "seed": recipe.seed,
        "tokens": tokens,
        "seconds": round(history.records[-1]["seconds"], 1),
        "loss": [
            [i + every, round(sum(values[i : i + every]) / every, 4)] for i in range(0, len(values) - every + 1, every)
        ],
        "figures": figures,
        "figures_seed": EVALUATION_SEED,
    }
