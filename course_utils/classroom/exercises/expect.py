"""What a check says to a learner: a ``Mistake``, and comparisons that raise one with everything needed to see it.

A comparison looks at the kind first, then shape, dtype, and last at the values, so that the message names the
first thing to mend. ``mistakes={"what went wrong": value}`` recognises well-known wrong answers by their value.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from course_utils.classroom.display.describe import describe, is_tensor
from course_utils.language import say

_MISSING = object()


class Mistake(AssertionError):
    """One named mistake in a learner's answer, with the smallest case that shows it.

    given, expected, yours: any values (tensors are shown with dtype and shape); a string is shown as it is.
    """

    def __init__(self, message: str, *, given: Any = _MISSING, expected: Any = _MISSING, yours: Any = _MISSING):
        super().__init__(message)
        self.message = message
        self.rows: dict[str, str] = {}
        for name, value in (("given", given), ("expected", expected), ("yours", yours)):
            if value is not _MISSING:
                self.rows[name] = value if isinstance(value, str) else _given(value)


def _given(value: Any) -> str:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return "\n".join(f"{key} = {describe(item)}" for key, item in value.items())
    return describe(value)


def that(
    condition: Any, message: str, *, given: Any = _MISSING, expected: Any = _MISSING, yours: Any = _MISSING
) -> None:
    """Raise ``Mistake(message)`` unless ``condition`` is true."""
    if not bool(condition):
        raise Mistake(message, given=given, expected=expected, yours=yours)


def kind(yours: Any, expected: type | tuple[type, ...], *, given: Any = _MISSING) -> None:
    """Raise a Mistake unless ``yours`` is an instance of ``expected`` (a class or several)."""
    if isinstance(yours, expected):
        return
    names = say(" or ").join(k.__name__ for k in (expected if isinstance(expected, tuple) else (expected,)))
    if yours is None:
        message = say("Your function returns None instead of a {names}. Is the `return` missing?", names=names)
    elif hasattr(yours, "__next__"):
        message = say("Your function returns a generator instead of a {names}. Use `return`, not `yield`.", names=names)
    elif hasattr(yours, "__await__"):
        getattr(yours, "close", lambda: None)()  # else Python warns, later and elsewhere, that it was never awaited
        message = say("Your function is `async`; it must return a {names} directly.", names=names)
    elif isinstance(yours, tuple) and any(isinstance(item, expected) for item in yours):
        message = say(
            "Your function returns a tuple of {n} values; only one {names} is wanted (a stray comma?).",
            n=len(yours),
            names=names,
        )
    else:
        message = say("Your function returns a {kind} instead of a {names}.", kind=type(yours).__name__, names=names)
    raise Mistake(message, given=given, expected=say("a {names}", names=names), yours=describe(yours))


def shape(yours: Any, expected: tuple[int, ...], *, given: Any = _MISSING) -> None:
    """Raise a Mistake unless the tensor ``yours`` has the shape ``expected``."""
    _tensor_kind(yours, given)
    if tuple(yours.shape) != tuple(expected):
        raise Mistake(
            say("The shape is {shape}, it should be {other}.", shape=tuple(yours.shape), other=tuple(expected)),
            given=given,
            expected=say("shape {shape}", shape=tuple(expected)),
            yours=yours,
        )


def _tensor_kind(yours: Any, given: Any) -> None:
    if not is_tensor(yours):
        import torch

        kind(yours, torch.Tensor, given=given)


def equal(
    yours: Any, expected: Any, message: str = "", *, given: Any = _MISSING, mistakes: Mapping[str, Any] | None = None
) -> None:
    """Raise a Mistake unless ``yours`` equals ``expected``: for tensors in shape, dtype and every value.

    message: said when no entry of ``mistakes`` (message -> the wrong value it produces) matches.
    """
    if is_tensor(expected):
        _compare_tensors(yours, expected, message, given, mistakes, rtol=0.0, atol=0.0, dtype=True)
        return
    if _is_number(expected) and not _is_number(yours) and not isinstance(expected, bool):
        yours = _as_number(yours, given)
    if not isinstance(yours, type(expected)) and not (_is_number(expected) and _is_number(yours)):
        kind(yours, type(expected), given=given)
    if not _same(yours, expected):
        named = next((text for text, wrong in (mistakes or {}).items() if _same(yours, wrong)), message)
        raise Mistake(
            named or say("The result is not the expected one."),
            given=given,
            expected=describe(expected),
            yours=describe(yours),
        )


def _same(a: Any, b: Any) -> bool:
    """Equality of plain values and of tensors, also inside lists, tuples and dicts."""
    if is_tensor(a) or is_tensor(b):
        return is_tensor(a) and is_tensor(b) and a.dtype == b.dtype and _close(a, b, 0.0, 0.0)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b) if isinstance(a, bool) or isinstance(b, bool) else bool(a == b)


def close(
    yours: Any,
    expected: Any,
    message: str = "",
    *,
    given: Any = _MISSING,
    mistakes: Mapping[str, Any] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    dtype: bool = False,
) -> None:
    """Raise a Mistake unless numbers agree: |yours - expected| <= atol + rtol * |expected|, and nothing is NaN.

    expected: a float or a floating tensor. dtype=True also compares the tensor's dtype exactly; otherwise floating
    against integer is the only difference in dtype that counts.
    Raises ValueError when ``atol`` is wider than a tenth of the largest expected value: such a check would
    accept zeros.
    """
    largest = float(expected.detach().abs().max()) if is_tensor(expected) and expected.numel() else 0.0
    if not is_tensor(expected):
        largest = abs(float(expected))
    if math.isfinite(largest) and 0 < largest < 10 * atol:
        raise ValueError(
            f"atol={atol:g} is too wide for expected values up to {largest:g}: zeros would pass. Scale the case up."
        )
    if is_tensor(expected):
        _compare_tensors(yours, expected, message, given, mistakes, rtol, atol, dtype)
        return
    value = _as_number(yours, given)
    if math.isnan(value) and not math.isnan(float(expected)):
        raise Mistake(say("The result is NaN (not a number)."), given=given, expected=float(expected), yours=value)
    if not _near(value, float(expected), rtol, atol):
        named = next((text for text, wrong in (mistakes or {}).items() if _near(value, float(wrong), rtol, atol)), "")
        raise Mistake(
            named or message or say("The value is not the expected one."),
            given=given,
            expected=float(expected),
            yours=value,
        )


def matches(a: Any, b: Any, rtol: float, atol: float) -> bool:
    """True if two results agree, also inside lists, tuples and dicts: floats and floating tensors within the tolerance.

    Lists and tuples count as alike, and a tensor of one number as that number where ``b`` is a plain one; with both
    tolerances 0 everything else must be of the same type, tensors also in dtype. A NaN agrees with a NaN.
    """
    if is_tensor(a) or is_tensor(b):
        if not is_tensor(b):
            return a.numel() == 1 and matches(a.item(), b, rtol, atol)
        if not is_tensor(a):
            return False
        exact = rtol == atol == 0
        alike = a.dtype == b.dtype if exact else a.is_floating_point() == b.is_floating_point()
        return alike and _close(a, b, rtol, atol)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(matches(x, y, rtol, atol) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(matches(a[key], b[key], rtol, atol) for key in a)
    if isinstance(a, bool) or isinstance(b, bool):
        return type(a) is type(b) and a == b
    if _is_number(a) and _is_number(b) and not isinstance(a, complex) and not isinstance(b, complex):
        a, b = float(a), float(b)
        return _near(a, b, rtol, atol) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and bool(a == b)


def _near(a: float, b: float, rtol: float, atol: float) -> bool:
    return a == b or (math.isfinite(b) and abs(a - b) <= atol + rtol * abs(b))  # inf <= inf would accept anything


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number)


def _as_number(yours: Any, given: Any) -> float:
    if is_tensor(yours):
        if yours.numel() != 1:
            raise Mistake(
                say(
                    "One number is wanted, yours is a tensor of shape {shape}. Is a mean or a sum missing?",
                    shape=tuple(yours.shape),
                ),
                given=given,
                expected=say("one number"),
                yours=yours,
            )
        return yours.detach().item()
    if not _is_number(yours) or isinstance(yours, (bool, complex)):
        kind(yours, (float,), given=given) if not isinstance(yours, bool) else None
        raise Mistake(say("One number is wanted."), given=given, expected=say("one number"), yours=yours)
    return yours


def _close(a: Any, b: Any, rtol: float, atol: float) -> bool:
    import torch

    if tuple(a.shape) != tuple(b.shape):
        return False
    a, b = a.detach().to("cpu"), b.detach().to("cpu")
    if rtol == 0 and atol == 0:
        return bool(((a == b) | ((a != a) & (b != b))).all())
    return bool(torch.isclose(a.double(), b.double(), rtol=rtol, atol=atol, equal_nan=True).all())


def _compare_tensors(
    yours: Any,
    expected: Any,
    message: str,
    given: Any,
    mistakes: Mapping[str, Any] | None,
    rtol: float,
    atol: float,
    dtype: bool,
) -> None:
    import torch

    _tensor_kind(yours, given)
    case = {"given": given, "expected": expected, "yours": yours}
    if tuple(yours.shape) != tuple(expected.shape):
        named = next((t for t, w in (mistakes or {}).items() if is_tensor(w) and _close(yours, w, rtol, atol)), "")
        text = say("The shape is {shape}, it should be {other}.", shape=tuple(yours.shape), other=tuple(expected.shape))
        raise Mistake(f"{say(named)} {text}".strip(), **case)
    if yours.dtype != expected.dtype and (dtype or yours.is_floating_point() != expected.is_floating_point()):
        names = [str(t.dtype).removeprefix("torch.") for t in (yours, expected)]
        raise Mistake(say("The dtype is {yours}, it should be {other}.", yours=names[0], other=names[1]), **case)
    if bool(torch.isnan(yours.detach()).any()) and not bool(torch.isnan(expected).any()):
        raise Mistake(say("The result holds NaN (not a number)."), **case)
    if _close(yours, expected, rtol, atol):
        return
    for text, wrong in (mistakes or {}).items():
        if _close(yours, torch.as_tensor(wrong), rtol, atol):
            raise Mistake(text, **case)
    general = say(message) or say("The values are not the expected ones.")
    raise Mistake(f"{general} {_first_difference(yours, expected)}", **case)


def _first_difference(yours: Any, expected: Any) -> str:
    a, b = yours.detach().to("cpu").double(), expected.detach().to("cpu").double()
    if a.dim() == 0:
        return say("Yours is {yours:.6g}, expected {expected:.6g}.", yours=a.item(), expected=b.item())
    equal = (a == b) | (a.isnan() & b.isnan())  # a difference of two infinities is NaN, though they are equal
    gap = (a - b).abs().nan_to_num(nan=math.inf).masked_fill(equal, 0.0)
    at = tuple(int(i) for i in (gap > 1e-4 * b.abs().nan_to_num()).nonzero()[:1].flatten().tolist())
    at = at or tuple(int(i) for i in gap.nonzero()[0].tolist())
    return say(
        "First difference at [{place}]: yours {yours:.6g}, expected {expected:.6g}.",
        place=", ".join(map(str, at)),
        yours=a[at].item(),
        expected=b[at].item(),
    )


def raises(
    error: type[BaseException] | tuple[type[BaseException], ...],
    call: Callable[..., Any],
    *args: Any,
    message: str = "",
    mention: str = "",
    **kwargs: Any,
) -> None:
    """Raise a Mistake unless ``call(*args, **kwargs)`` raises ``error``, with ``mention`` in its text.

    NotImplementedError passes through: the exercise is then simply not done yet.
    """
    names = say(" or ").join(e.__name__ for e in (error if isinstance(error, tuple) else (error,)))
    try:
        value = call(*args, **kwargs)
    except NotImplementedError:
        raise
    except error as raised:
        if mention and mention not in str(raised):
            raise Mistake(
                message or say("The error should mention {text!r}.", text=mention), expected=names, yours=f"{raised}"
            ) from None
        return
    except Mistake:
        raise
    except Exception as raised:
        text = message or say(
            "A bad argument should raise {names}, yours raises {error}.", names=names, error=type(raised).__name__
        )
        raise Mistake(text, expected=names, yours=f"{type(raised).__name__}: {raised}") from None
    raise Mistake(
        message or say("A bad argument should raise {names}; nothing was raised.", names=names),
        expected=names,
        yours=describe(value),
    )
