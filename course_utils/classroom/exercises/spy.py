"""Watch a learner's function while a check calls it: with what, whether it changed that, where it failed."""

from __future__ import annotations

import functools
import inspect
import opcode
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any

from course_utils.classroom.display.describe import is_tensor
from course_utils.classroom.exercises.expect import Mistake
from course_utils.classroom.exercises.isolation import restored
from course_utils.language import say

_LARGE = 10_000_000  # values beyond which inputs are not copied to be compared


class Spy:
    """``spy.candidate`` behaves as the learner's object and remembers its last call. A class is passed as it is."""

    def __init__(self, candidate: Any, mutates: tuple[str, ...] | bool = False):
        self.given: dict[str, Any] | None = None
        self.returned: Any = None
        self.raised: BaseException | None = None
        self.candidate = candidate
        if not inspect.isclass(candidate):
            self.candidate = self._wrap(candidate, mutates)

    def _wrap(self, function: Any, mutates: tuple[str, ...] | bool) -> Any:
        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            named = _named(function, args, kwargs)
            self.given = {name: _copy(value) for name, value in named.items()}
            self.raised = None
            try:
                with restored(generators=False):  # the check's next comparison must not suffer from what it changed
                    self.returned = function(*args, **kwargs)
            except BaseException as error:
                self.raised = error
                raise
            if mutates is not True:
                for name, value in named.items():
                    if name not in (mutates or ()) and not _same(self.given[name], value):
                        raise Mistake(
                            say(
                                "Your code changes its input `{name}` in place. The caller still needs it: work on a "
                                "copy (`.clone()`, `.copy()`).",
                                name=name,
                            ),
                            given={name: self.given[name]},
                            expected=say("`{name}` as it was given", name=name),
                            yours=value,
                        )
            return self.returned

        return watched

    def mistake(self, message: str, with_return: bool = False) -> Mistake:
        """A Mistake about the last call."""
        case: dict[str, Any] = {"given": self.given} if self.given else {}
        if with_return and self.given is not None:
            case["yours"] = self.returned
        return Mistake(message, **case)

    def complete(self, mistake: Mistake) -> Mistake:
        """The same Mistake; where the check named no case, the last call's arguments are added."""
        if "given" not in mistake.rows and self.given:
            mistake.rows = {**Mistake("", given=self.given).rows, **mistake.rows}
        return mistake


def _named(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return {**{f"argument {i + 1}": value for i, value in enumerate(args)}, **kwargs}
    return dict(bound.arguments)


def _copy(value: Any) -> Any:
    """A copy that later changes of ``value`` cannot reach; objects of unknown kinds are kept as they are."""
    if is_tensor(value):
        return value if value.numel() > _LARGE else value.detach().clone().requires_grad_(value.requires_grad)
    if type(value).__module__ == "numpy" and hasattr(value, "copy"):
        return value.copy()
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copy(item) for item in value)
    if isinstance(value, (set, bytearray)):
        return value.copy()
    if hasattr(value, "named_parameters") and hasattr(value, "state_dict"):
        return _Weights(value)
    return value


class _Weights:
    """The weights of a module at one moment."""

    def __init__(self, module: Any):
        self.name = type(module).__name__
        state = module.state_dict()
        small = sum(tensor.numel() for tensor in state.values() if is_tensor(tensor)) <= _LARGE
        self.state = {key: _copy(tensor) for key, tensor in state.items()} if small else {}

    def __repr__(self) -> str:
        return f"the module {self.name}"


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, _Weights):
        state = new.state_dict()
        return all(key in state and _same_values(tensor, state[key]) for key, tensor in old.state.items())
    if old is new:
        return True
    if is_tensor(old):
        return is_tensor(new) and old.requires_grad == new.requires_grad and _same_values(old, new)
    if type(old).__module__ == "numpy" and hasattr(old, "tobytes"):
        return old.shape == new.shape and old.dtype == new.dtype and old.tobytes() == new.tobytes()
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    if type(old) in (list, tuple):
        return len(old) == len(new) and all(_same(a, b) for a, b in zip(old, new, strict=True))
    try:
        return type(old) is type(new) and bool(old == new or (old != old and new != new))  # NaN is no change
    except Exception:  # objects that cannot be compared are kept as they are, see _copy
        return True


def _same_values(old: Any, new: Any) -> bool:
    if not is_tensor(old):
        return True
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    old, new = old.detach(), new.detach()
    return bool(((old == new) | ((old != old) & (new != new))).all())


def _codes(candidate: Any) -> Iterator[CodeType]:
    """Code objects that belong to the learner's object, nested functions and methods included."""
    if inspect.isclass(candidate):
        for member in vars(candidate).values():
            member = getattr(member, "__func__", member)
            member = member.fget if isinstance(member, property) else member
            if (code := getattr(member, "__code__", None)) is not None:
                yield from _nested(code)
    elif hasattr(inspect.unwrap(candidate), "__code__"):
        yield from _nested(inspect.unwrap(candidate).__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _own_entries(candidate: Any, error: BaseException | None) -> list[TracebackType]:
    codes, found = set(_codes(candidate)), []
    trace = error.__traceback__ if error is not None else None
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            found.append(trace)
        trace = trace.tb_next
    return found


def own_place(candidate: Any, error: BaseException | None) -> str:
    """'line 4: total / count', the learner's own innermost line that ``error`` came through; '' if none."""
    entries = _own_entries(candidate, error)
    return _place(entries[-1]) if entries else ""


def _place(entry: TracebackType) -> str:
    """The line number and source of a traceback entry, counted from the first line of its file or cell."""
    import linecache

    line = linecache.getline(entry.tb_frame.f_code.co_filename, entry.tb_lineno).strip()
    return f"line {entry.tb_lineno}: {line}" if line else f"line {entry.tb_lineno}"


def looks_untouched(candidate: Any) -> bool:
    """True if the object, or a method of it, does nothing but raise NotImplementedError."""
    return any(
        code.co_names == ("NotImplementedError",) and code.co_nlocals == _arguments(code) for code in _codes(candidate)
    )


def _arguments(code: CodeType) -> int:
    flags = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount + flags


def is_own_not_implemented(candidate: Any, error: BaseException | None) -> bool:
    """True if ``error`` is a NotImplementedError raised by a `raise` of the learner's own code: not done yet.

    A library's NotImplementedError (an operation that a tensor type lacks) is a mistake like any other.
    """
    if not isinstance(error, NotImplementedError):
        return False
    entries = _own_entries(candidate, error)
    if not entries or entries[-1].tb_next is not None:
        return False
    code = entries[-1].tb_frame.f_code.co_code
    return opcode.opname[code[entries[-1].tb_lasti]] == "RAISE_VARARGS"
