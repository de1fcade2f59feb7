"""See to it that a drill's answer does the work itself: no call of the course's own code, none of what does it all."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from course_utils.classroom.display.describe import is_tensor
from course_utils.classroom.exercises.expect import Mistake

_PACKAGE = str(Path(__file__).resolve().parents[2])
_DRILLS = str(Path(__file__).resolve().parent)
_HARNESS = (__file__, str(Path(_PACKAGE, "classroom", "exercises")), str(Path(_PACKAGE, "classroom", "display")))


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
            given = code.co_filename.startswith(_DRILLS) and "<locals>" in code.co_qualname  # a function of the case
            if foreign and not given and not code.co_filename.startswith(_HARNESS):
                found.append(f"Your code calls the course's own `{code.co_name}`; write it yourself, from memory.")
        elif code.co_name in banned and "site-packages" in code.co_filename:
            found.append(f"`{code.co_name}` of the library does the work here; write it yourself.")

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    except Exception:
        if found:
            raise Mistake(found[0]) from None
        raise
    finally:
        sys.setprofile(before)
    if found:
        raise Mistake(found[0])


def fresh(candidate: Any) -> Any:
    """``candidate``, which must not hand back a tensor or list that it was given, nor a view of one: raises a Mistake."""

    @functools.wraps(candidate)
    def looked_at(*args: Any, **kwargs: Any) -> Any:
        result = candidate(*args, **kwargs)
        given = {_memory(part) for value in (*args, *kwargs.values()) for part in _parts(value)}
        if any(_memory(part) in given for part in _parts(result)):
            raise Mistake(
                "What you return is, in part, the very object that was given: whoever changes one changes both."
            )
        return result

    return looked_at


def returning(candidate: Any) -> Any:
    """``candidate``, which must return something: raises a Mistake where it returns None."""

    @functools.wraps(candidate)
    def looked_at(*args: Any, **kwargs: Any) -> Any:
        result = candidate(*args, **kwargs)
        if result is None:
            raise Mistake("Your function returns None. Is the `return` missing?")
        return result

    return looked_at


def _parts(value: Any) -> Iterator[Any]:
    """The tensors and lists of a value, those inside lists and tuples too."""
    if isinstance(value, list | tuple):
        if isinstance(value, list):
            yield value
        for item in value:
            yield from _parts(item)
    elif is_tensor(value):
        yield value


def _memory(part: Any) -> tuple[str, int]:
    return ("tensor", part.untyped_storage().data_ptr()) if is_tensor(part) else ("list", id(part))


def _is_ours(candidate: Any) -> bool:
    while isinstance(candidate, partial):
        candidate = candidate.func
    candidate = inspect.unwrap(candidate)
    module = sys.modules.get(getattr(candidate, "__module__", None) or "")
    own = getattr(module, "__file__", None) or ""
    code = getattr(candidate, "__code__", None)
    return (code.co_filename if code is not None else own).startswith(_PACKAGE)
