"""nbgrader's step that runs a notebook, made to bear what learners hand in.

A cell that prints without end fills no memory here. A cell that ends the kernel, or runs over its time, ends this run
and is named, so that it can be set aside. A locked test runs with the course's own ``grade``, whatever the notebook has
put under that name.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from course_utils.work_limit import WorkLimit, worked
from course_utils.workshop.isolated import KERNEL, Limits

LOOK = 5  # seconds between two looks at a cell that runs
PATIENCE = 10  # how many times its limit a cell may take by the clock, waiting or beside others

# `grade` may have been replaced by then, or the sign by which it knows that it is being graded
SEAL = (
    'import os as _os; _os.environ["NBGRADER_EXECUTION"] = "autograde"\n'
    "from course_utils.classroom.exercises.exercise import grade\n"
)


def _answered(cell: Any) -> bool:
    """Whether the test has shown its green card or failed: one that says nothing was kept from running."""
    return any(
        output.output_type == "error" or "✓" in "".join(output.get("data", {}).get("text/plain", ""))
        for output in cell.outputs
    )


def _silent() -> Any:
    import nbformat

    why = "the locked test did not answer: something in the notebook keeps it from running"
    return nbformat.v4.new_output("error", ename="AssertionError", evalue=f"grade: {why}", traceback=[why])


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
            super().__init__(**given)
            self._apply()

        def _apply(self) -> None:
            self.kernel_name, self.timeout, self.interrupt_on_timeout = KERNEL, min(limits.cell, LOOK), False
            self.error_on_timeout: dict[str, Any] = {}
            self.iopub_timeout, self.startup_timeout = 30, 600
            self.store_widget_state = False
            self.extra_arguments = ["--log-level=CRITICAL", "--HistoryManager.hist_file=:memory:"]

        def preprocess(self, nb: Any, resources: Any = None, km: Any = None) -> Any:
            self._apply()
            self.shown, self.at, self.began = 0, -1, time.monotonic()
            try:
                return super().preprocess(nb, resources, km)
            except CellTimeoutError:
                self._stop(f"it had not ended after {limits.cell} seconds of work")
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
            self.limit = WorkLimit(limits.cell, self._worked, PATIENCE)
            if self.limit.begun > limits.whole or time.monotonic() - self.began > PATIENCE * limits.whole:
                stopped.clear()
                raise RuntimeError(f"the whole notebook had not ended after {limits.whole} seconds of work")
            self.at, self.shown, source = cell_index, 0, cell.source
            if utils.is_grade(cell):
                cell.source = SEAL + source
            try:
                done = super().preprocess_cell(cell, resources, cell_index)
            finally:
                cell.source = source
            if utils.is_grade(cell) and cell.cell_type == "code":
                if not _answered(cell):
                    cell.outputs.append(_silent())
                for output in cell.outputs:
                    if output.output_type == "error":  # what it says; where our own code stood helps nobody
                        output.traceback = [f"{output.ename}: {output.evalue}"]
            return done

        async def _async_handle_timeout(self, timeout: int, cell: Any = None) -> None:
            """Called while a cell runs. Its limit counts what it has worked: beside others it may take its time."""
            if not self.limit.left():
                raise CellTimeoutError.error_from_timeout_and_cell("Cell execution timed out", limits.cell, cell)
            await asyncio.sleep(0.2)

        def _worked(self) -> float:
            """Seconds of processor time of the kernel and all that it has started."""
            with contextlib.suppress(AttributeError):  # no kernel yet
                return worked(self.km.provisioner.pid)
            return 0.0

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
