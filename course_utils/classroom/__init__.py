"""The classroom: exercises that answer, claims that are enforced, plots, quizzes and the learner's progress.

Names are imported when they are first used, so that importing the package stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "exercise": "engine",
    "grade": "engine",
    "hint": "engine",
    "claim": "claims",
    "claims_table": "claims",
    "interview": "interviews",
    "quiz": "quizzes",
    "rank_answers": "ratings",
    "rate_answers": "ratings",
    "show_tokens": "tokens",
    "course_map": "atlas",
    "plot_curves": "plots",
    "plot_bars": "plots",
    "plot_groups": "plots",
    "plot_heatmap": "plots",
    "plot_scatter": "plots",
    "plot_scaling": "plots",
    "draw_diagram": "diagram",
}

__all__ = [*_HOME, "plots"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"course_utils.classroom.{_HOME[name]}"), name)
    if name == "plots":
        return import_module("course_utils.classroom.plots")
    raise AttributeError(f"course_utils.classroom has no {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted(__all__)
