"""nbgrader's step that runs a notebook, made to bear what learners hand in.

A cell that prints without end fills no memory here. A cell that ends the kernel, or runs over its time, ends this run
and is named, so that it can be set aside. A locked test runs with the course's own ``grade``, whatever the notebook has
put under that name.
"""

from __future__ import annotations

import time
from typing import Any

from course_utils.workshop.isolated import KERNEL, Limits

# `grade` may have been replaced by then, or the sign by which it knows that it is being graded
SEAL = (
    'import os as _os; _os.environ["NBGRADER_EXECUTION"] = "autograde"\n'
    "from course_utils.classroom.exercises.exercise import grade\n"
)


def careful_preprocessors(limits: Limits, stopped: dict[str, Any]) -> list[type]:
    """What nbgrader's autograder does after it has put back what is locked.

    ``stopped`` is filled if a run ends before its end: at which cell, and why.
    """
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbconvert.preprocessors import ClearMetadataPreprocessor
    from nbgrader import preprocessors, utils

    class Careful(preprocessors.Execute):
        """Execute, within limits."""

        def __init__(self, **given: Any) -> None:
            given |= {"kernel_name": KERNEL, "timeout": limits.cell, "interrupt_on_timeout": False}
            super().__init__(**given)
            self._apply()

        def _apply(self) -> None:
            self.kernel_name, self.timeout, self.interrupt_on_timeout = KERNEL, limits.cell, False
            self.error_on_timeout: dict[str, Any] = {}
            self.iopub_timeout = 30
            self.store_widget_state = False
            self.extra_arguments = ["--log-level=CRITICAL", "--HistoryManager.hist_file=:memory:"]

        def preprocess(self, nb: Any, resources: Any = None, km: Any = None) -> Any:
            self._apply()
            self.shown, self.at, self.began = 0, -1, time.monotonic()
            try:
                return super().preprocess(nb, resources, km)
            except CellTimeoutError:
                self._stop(f"it ran longer than {limits.cell} seconds")
                raise
            except DeadKernelError:
                self._stop("it ended the kernel (by leaving Python, or for want of memory)")
                raise
            except (TimeoutError, RuntimeError) as error:
                self._stop(f"it made the kernel unreachable ({error})")
                raise

        def _stop(self, why: str) -> None:
            if self.at >= 0:
                stopped.update(at=self.at, why=why)

        def preprocess_cell(self, cell: Any, resources: Any, cell_index: int) -> Any:
            if time.monotonic() - self.began > limits.whole:
                stopped.clear()
                raise RuntimeError(f"the whole notebook ran longer than {limits.whole} seconds")
            self.at, self.shown, source = cell_index, 0, cell.source
            if utils.is_grade(cell):
                cell.source = SEAL + source
            try:
                return super().preprocess_cell(cell, resources, cell_index)
            finally:
                cell.source = source

        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] in ("stream", "display_data", "execute_result", "update_display_data"):
                content = msg["content"]
                size = len(content.get("text", "")) or sum(len(str(part)) for part in content.get("data", {}).values())
                before, self.shown = self.shown, self.shown + size
                if self.shown > limits.output and msg["msg_type"] == "stream":
                    room = max(0, limits.output - before)
                    content["text"] = content["text"][:room] + ("\n[cut: it printed too much]\n" if room else "")
                    if not room:
                        return None
                elif before > limits.output * 50:  # pictures
                    return None
            return super().process_message(msg, cell, cell_index)

    return [
        Careful,
        preprocessors.IgnorePattern,
        ClearMetadataPreprocessor,
        preprocessors.LimitOutput,
        preprocessors.SaveAutoGrades,
        preprocessors.AssignLatePenalties,
        preprocessors.CheckCellMetadata,
    ]
