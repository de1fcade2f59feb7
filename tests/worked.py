"""For pytest with nbval (``-p tests.worked``): what a cell may take counts its kernel's work, not the clock.

nbval waits for each message of a kernel for so many seconds. On a busy machine they pass without work; and a kernel
that has died is waited for to the end. Here the wait is taken in steps: it ends when the kernel is gone, or has worked
for as long as it might wait (or the clock has shown ten times that).
"""

from __future__ import annotations

from queue import Empty
from typing import Any

import nbval.kernel

from course_utils.work_limit import WorkLimit, worked

_STEP = 5.0  # seconds
_get_message = nbval.kernel.RunningKernel.get_message


def get_message(self: Any, stream: str, timeout: float | None = None) -> Any:
    """``RunningKernel.get_message`` with such a limit. Raises queue.Empty, as it does."""
    if timeout is None or timeout <= 1:  # nbval's own loops, while a kernel starts
        return _get_message(self, stream, timeout)
    limit = WorkLimit(timeout, lambda: worked(self.km.provisioner.pid) if self.km.has_kernel else 0.0)
    while True:
        try:
            return _get_message(self, stream, min(_STEP, timeout))
        except Empty:
            if not limit.left() or not self.is_alive():
                raise


nbval.kernel.RunningKernel.get_message = get_message
