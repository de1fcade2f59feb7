"""Six design walks: tasks as interviewers set them, each with a calculator, a budget to meet and a checked answer."""

from __future__ import annotations

from importlib import import_module

from course_utils.interview.walks.frame import Verdict, Walk, WalkError

NAMES = ("train_70b", "serve", "evaluation_platform", "rlvr_pipeline", "drift_retraining", "rag_service")

__all__ = ["NAMES", "Verdict", "Walk", "WalkError", "get"]


def get(name: str) -> Walk:
    """The walk of that name. Raises WalkError, naming those that exist."""
    if name not in NAMES:
        raise WalkError(f"there is no design walk {name!r}; there are {', '.join(NAMES)}.")
    found: Walk = import_module(f"course_utils.interview.walks.{name}").WALK
    return found
