"""See to it that a drill's answer does the work itself: no call of the course's own code, none of what does it all."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from course_utils.classroom.exercises.expect import Mistake

_PACKAGE = str(Path(__file__).resolve().parents[2])
_DRILLS = str(Path(__file__).resolve().parent)
_HARNESS = (str(Path(_PACKAGE, "classroom", "exercises")), str(Path(_PACKAGE, "classroom", "display")))
_REFERENCES: set[CodeType] = set()


def remember(reference: Any) -> None:
    """Note the code of a reference: answers may not call it."""
    members = vars(reference).values() if inspect.isclass(reference) else [reference]
    _REFERENCES.update(member.__code__ for member in members if inspect.isfunction(member))


@contextmanager
def own_work(candidate: Any, banned: Collection[str]) -> Iterator[None]:
    """Run the body, in which ``candidate`` is called; then raise a Mistake if it left the work to others.

    The course's own answers (references, planted bugs) may call each other.
    """
    if _is_ours(candidate):
        yield
        return
    found: list[str] = []

    def look(frame: FrameType, event: str, argument: Any) -> None:
        if found or event not in ("call", "c_call"):
            return
        if event == "c_call":
            if getattr(argument, "__name__", "") in banned and not frame.f_code.co_filename.startswith(_PACKAGE):
                found.append(f"`{argument.__name__}` of the library does the work here; write it yourself.")
            return
        code, caller = frame.f_code, frame.f_back
        if code.co_filename.startswith(_PACKAGE):
            foreign = caller is not None and not caller.f_code.co_filename.startswith(_PACKAGE)
            if foreign and (code in _REFERENCES or not code.co_filename.startswith((_DRILLS, *_HARNESS))):
                found.append(f"Your code calls the course's own `{code.co_name}`; write it yourself, from memory.")
        elif code.co_name in banned and "site-packages" in code.co_filename:
            found.append(f"`{code.co_name}` of the library does the work here; write it yourself.")

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
    if found:
        raise Mistake(found[0])


def _is_ours(candidate: Any) -> bool:
    while isinstance(candidate, partial):
        candidate = candidate.func
    candidate = inspect.unwrap(candidate)
    module = sys.modules.get(getattr(candidate, "__module__", None) or "")
    own = getattr(module, "__file__", None) or ""
    code = getattr(candidate, "__code__", None)
    return (code.co_filename if code is not None else own).startswith(_PACKAGE)
