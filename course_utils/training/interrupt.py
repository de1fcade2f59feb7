"""Stopping a run with Ctrl-C without breaking a step in two."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any, Self


class Interrupt:
    """Ctrl-C (the stop button, SIGTERM) asks the loop to stop after the current step; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = 0  # the number of the signal

    def __enter__(self) -> Self:
        self.previous = {}
        if threading.current_thread() is threading.main_thread():
            self.previous = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt("stopped at once, in the middle of a step; the last saved checkpoint stands.")
        self.asked = number
        print("\nStopping after this step; once more stops at once.", file=sys.stderr)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if self.asked == signal.SIGTERM:
            signal.raise_signal(signal.SIGTERM)  # the state is saved; now whoever asked gets what they asked for
        if self.asked and kind is None:
            raise KeyboardInterrupt("stopped; training had just finished.")
