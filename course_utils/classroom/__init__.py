"""The classroom: exercises that answer, claims that are enforced, plots, quizzes and the learner's progress.

Most names are imported when they are first used, so that importing the package stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from course_utils.classroom.course_map import course_map  # at once: its module has the same name

_HOME = {
    "exercise": "exercises.exercise",
    "grade": "exercises.exercise",
    "hint": "exercises.hints",
    "claim": "records.claims",
    "claims_table": "records.claims",
    "rank_answers": "ratings",
    "rate_answers": "ratings",
    "show_tokens": "display.tokens",
    "plot_curves": "display.plots",
    "plot_bars": "display.plots",
    "plot_groups": "display.plots",
    "plot_heatmap": "display.plots",
    "plot_scatter": "display.plots",
    "plot_scaling": "display.plots",
    "plot_dashboard": "display.dashboard",
    "draw_diagram": "display.diagram",
}

__all__ = [*_HOME, "course_map", "plots"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"course_utils.classroom.{_HOME[name]}"), name)
    if name == "plots":
        return import_module("course_utils.classroom.display.plots")
    raise AttributeError(f"course_utils.classroom has no {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted(__all__)
