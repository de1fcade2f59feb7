"""The whole course without a browser: every chapter is run from top to bottom, and what it measured goes on one page.

Resumable: a chapter that has run whole is kept, with its outputs, and is not run again until its notebook, the profile,
the seed or the base model is another. Stopped at any moment, the same command goes on with the chapter it was in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils import __version__, chapters, files, settings
from course_utils.pretrained import store
from course_utils.work_limit import WorkLimit, worked

CELL_SECONDS = 900  # of work that a single cell may take before the chapter counts as stuck
LOOK = 5  # seconds between two looks at a cell that runs
PATIENCE = 4  # how many times its limit a cell may take by the clock, waiting or beside other programs


@dataclass(frozen=True)
class Ran:
    """One chapter's run. ``notebook``: the copy with outputs. ``error``: of the cell that stopped it, or ""."""

    chapter: chapters.Chapter
    notebook: Path
    seconds: float
    error: str = ""
    kept: bool = False  # from an earlier run


def folder() -> Path:
    """Where the executed copies and the page lie: one folder per profile and seed."""
    return settings.home() / "course" / f"{settings.profile().name}-seed{settings.seed()}"


def run_course(numbers: list[str] | None = None, *, again: bool = False, progress: bool = True) -> list[Ran]:
    """Run the chapters with these numbers (all of this edition by default), one after the other.

    A chapter whose cell fails is noted and the next one is run. ``again`` runs those too that have run whole before.
    Raises ChapterError for a chapter that is not in this edition, KeyboardInterrupt after Ctrl-C.
    """
    from tqdm.auto import tqdm

    there = sorted(chapters.in_this_edition())
    wanted = [chapters.chapter(number) for number in (numbers or there)]
    absent = [entry.number for entry in wanted if entry.number not in there]
    if absent:
        raise chapters.ChapterError(f"chapter {', '.join(absent)} is not in this edition; it has {', '.join(there)}.")
    notebooks = {entry: chapters.root() / "notebooks" / f"{entry.stem}.ipynb" for entry in wanted}
    done = {} if again else {entry: kept for entry, path in notebooks.items() if (kept := _kept(entry, path))}
    cells = sum(_code_cells(path) for entry, path in notebooks.items() if entry not in done)
    results = []
    with tqdm(total=cells, unit="cell", disable=not progress) as bar:
        for entry, path in notebooks.items():
            bar.set_description(f"{entry.number} {entry.title}")
            results.append(done.get(entry) or _run(entry, path, bar.update))
    return results


def _run(entry: chapters.Chapter, source: Path, tick) -> Ran:
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(source, as_version=4)
    target = folder() / source.name

    class Client(NotebookClient):
        """One whose limit counts what a cell has worked."""

        at: Any = None
        limit: WorkLimit

        async def _async_handle_timeout(self, timeout: int, cell: Any = None) -> None:
            if cell is not self.at:
                self.at, self.limit = cell, WorkLimit(CELL_SECONDS, self._worked, PATIENCE)
            if not self.limit.left():
                await super()._async_handle_timeout(CELL_SECONDS, cell)
            await asyncio.sleep(0.2)

        def _worked(self) -> float:
            return worked(getattr(getattr(self.km, "provisioner", None), "pid", None) or 0)

    client = Client(
        notebook,
        timeout=LOOK,
        startup_timeout=600,
        iopub_timeout=60,
        kernel_name="python3",
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],  # else a kernel warns about its own transport in the progress bar
        resources={"metadata": {"path": str(source.parent)}},
        on_cell_executed=lambda cell, cell_index, execute_reply: tick(),
    )
    of, begun, error = _identity(source), time.perf_counter(), ""  # with the models that it begins with
    try:
        client.execute(env=dict(os.environ))
    except CellExecutionError as problem:
        error = f"{problem.ename}: {problem.evalue}"
    except (CellTimeoutError, DeadKernelError) as problem:
        error = f"{type(problem).__name__}: {str(problem).strip().splitlines()[0]}"
    seconds = time.perf_counter() - begun
    notebook.metadata["course"] = {"of": of, "seconds": round(seconds, 1), "whole": not error}
    with files.atomic_file(target) as fresh:
        nbformat.write(notebook, fresh)
    return Ran(entry, target, seconds, error)


def _kept(entry: chapters.Chapter, source: Path) -> Ran | None:
    """The earlier run of just this notebook under just these settings, if it went through."""
    target = folder() / source.name
    try:
        note = json.loads(target.read_text(encoding="utf-8"))["metadata"]["course"]
    except (OSError, ValueError, KeyError):
        return None
    if not note.get("whole") or note.get("of") != _identity(source):
        return None
    return Ran(entry, target, float(note["seconds"]), kept=True)


def _identity(source: Path) -> str:
    digest = hashlib.sha256(source.read_bytes())
    digest.update(f"{__version__} {os.environ.get('COURSE_BASE_MODEL')} {store.fingerprint()}".encode())
    return digest.hexdigest()[:16]


def _code_cells(path: Path) -> int:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return sum(cell["cell_type"] == "code" and bool("".join(cell["source"]).strip()) for cell in cells)
