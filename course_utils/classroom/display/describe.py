"""Values as short text for a card: tensors with dtype and shape, long ones trimmed, nothing that raises."""

from __future__ import annotations

from typing import Any

_MAX_LINES = 12


def _trim(text: str) -> str:
    lines = [line if len(line) <= 160 else line[:157] + "..." for line in text.splitlines()]
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], f"... ({len(lines) - _MAX_LINES + 1} more lines)"]
    return "\n".join(lines)


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a torch tensor, told without importing torch."""
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__)


def describe(value: Any) -> str:
    """Short text for a value on a card; tensors and arrays come with dtype and shape. Never raises."""
    try:
        return _trim(_describe(value))
    except Exception as error:
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"


def _describe(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, str):
        return value if "\n" in value else repr(value)
    if is_tensor(value):
        import torch

        head = f"tensor {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        if value.device.type == "meta":
            return f"{head} on meta"
        with torch.no_grad():
            shown = value.detach().to("cpu")
            if shown.numel() > 64:
                return f"{head}, mean {shown.double().mean():.4g}, {_numbers(shown.flatten()[:6])[:-1]}, ...]"
            body = _numbers(shown)
        return f"{head}\n{body}" if "\n" in body or len(body) > 60 else f"{head} {body}"
    if type(value).__module__ == "numpy" and hasattr(value, "dtype"):
        return f"array {value.dtype} {tuple(value.shape)} {value.tolist() if value.size <= 64 else '...'}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple) and any(is_tensor(item) for item in value):
        return f"a tuple of {len(value)}:\n" + "\n".join(f"  {describe(item)}" for item in value)
    if isinstance(value, list) and any(is_tensor(item) for item in value):
        return f"a list of {len(value)}:\n" + "\n".join(f"  {describe(item)}" for item in value)
    if isinstance(value, dict) and any(is_tensor(item) for item in value.values()):
        return "\n".join(f"{key!r}: {describe(item)}" for key, item in value.items())
    if hasattr(value, "__next__"):
        return f"a {type(value).__name__} (has `yield` slipped in, or is a `return` missing?)"
    if callable(value) and hasattr(value, "__name__"):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__name__}"
    if hasattr(value, "named_parameters"):
        return f"the module {type(value).__name__}"
    return repr(value)


def _numbers(tensor: Any) -> str:
    """Numbers as nested brackets, one row of the last axis per line, four significant digits."""
    if tensor.dim() == 0:
        value = tensor.item()
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if tensor.dim() == 1:
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in tensor.tolist()]
        return "[" + ", ".join(cells) + "]"
    return "[" + ",\n ".join(_numbers(row).replace("\n", "\n ") for row in tensor) + "]"
