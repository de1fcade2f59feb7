"""A module that is imported when it is first used: a drill can be listed and shown without waiting for torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazy:
    """Stands in for the module called ``name``; the first attribute that is asked for imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)
