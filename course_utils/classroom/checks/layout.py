"""Answers on tensors whose numbers do not lie side by side in memory, as after a transpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from course_utils.classroom.exercises.expect import Mistake


def strided(call: Callable[[], Any]) -> Any:
    """The result of ``call()``, an answer on such a tensor. Raises a Mistake that names a `view` which fails on it."""
    try:
        return call()
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        message = "`view` fails where the numbers do not lie side by side, as after a transpose: use `reshape`."
        raise Mistake(message, yours=f"RuntimeError: {error}") from None
