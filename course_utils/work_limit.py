"""Time limits that count work and not the clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable


def worked(pid: int) -> float:
    """Seconds of processor time of a process and of all that it has started; 0 if it is gone."""
    import psutil

    total = 0.0
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
                total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


class WorkLimit:
    """A time limit that is reached by work: not by a busy machine, a laptop that slept, or a clock set back.

    seconds: of work. work: says how many there have been so far. patience: how many times ``seconds`` may pass by the
    clock where little is worked; between two looks no more than ``seconds`` (or ten) of them count.
    """

    def __init__(self, seconds: float, work: Callable[[], float], patience: float = 10.0) -> None:
        self.seconds, self.work, self.patience = seconds, work, patience
        self.begun, self.looked, self.waited = work(), time.monotonic(), 0.0

    def left(self) -> float:
        """Seconds after which to look again; 0 once the limit is reached."""
        now = time.monotonic()
        self.waited += min(max(now - self.looked, 0.0), max(self.seconds, 10.0))
        self.looked = now
        if self.waited < 0.99 * self.seconds:
            return self.seconds - self.waited
        done = self.work() - self.begun
        if self.waited >= self.patience * self.seconds or done >= 0.9 * self.seconds:
            return 0.0
        return max(0.05, self.seconds - done)
