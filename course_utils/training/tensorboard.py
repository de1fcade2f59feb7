"""TensorBoard: what a run measured goes to event files while it trains, and can be read back without a server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Self

import torch

from course_utils.training.history import History

MISSING = (
    "TensorBoard is not installed. Install it with `pip install tensorboard` (it is part of this course's extra "
    '"chapters"), or leave out callback=...; training does not need it.'
)


class TensorBoardLogger:
    """Writes every step of a run to event files: ``train(..., callback=board)``.

    Tags: ``train/`` loss, lr, grad_norm (before clipping) and other numbers of the record; ``hardware/``
    tokens_per_second, cores_busy (processor seconds of this process for each second), and memory_MB (on CUDA: the most
    that was allocated; else the most that this process held, where the system tells). With ``flops_per_token`` and
    ``peak`` (FLOP/s) also share_of_peak. Close it, or use it in a ``with`` block: then the last steps reach the disk.
    Raises ModuleNotFoundError, with the way to install it, if TensorBoard is missing.
    """

    def __init__(self, folder: str | Path, *, flops_per_token: float | None = None, peak: float | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ModuleNotFoundError(MISSING) from error
        self.writer = SummaryWriter(str(folder))
        self.share = flops_per_token / peak if flops_per_token and peak else None
        self.clocks = time.perf_counter(), time.process_time()

    def __call__(self, history: History) -> None:
        """Write the newest record of ``history``."""
        record = history.records[-1]
        step = int(record["step"])
        for name, value in record.items():
            if name not in ("step", "tokens", "seconds"):
                self.writer.add_scalar(f"train/{name}", value, step)
        for name, value in self._hardware(history).items():
            self.writer.add_scalar(f"hardware/{name}", value, step)

    def _hardware(self, history: History) -> dict[str, float]:
        now = history.records[-1]["tokens"], history.records[-1]["seconds"]
        earlier = history.records[-2] if len(history) > 1 else {"tokens": 0.0, "seconds": 0.0}
        speed = (now[0] - earlier["tokens"]) / max(now[1] - earlier["seconds"], 1e-9)
        clocks = time.perf_counter(), time.process_time()
        busy = (clocks[1] - self.clocks[1]) / max(clocks[0] - self.clocks[0], 1e-9)
        self.clocks = clocks
        figures = {"tokens_per_second": speed, "cores_busy": busy}
        if self.share is not None:
            figures["share_of_peak"] = self.share * speed
        memory = _memory()
        return figures | ({"memory_MB": memory / 1e6} if memory is not None else {})

    def close(self) -> None:
        """Write what is still in memory to the disk."""
        self.writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_tensorboard(folder: str | Path) -> dict[str, tuple[list[int], list[float]]]:
    """All scalars of the event files in ``folder``: tag -> (steps, values). No server, no browser.

    Raises ModuleNotFoundError if TensorBoard is missing, FileNotFoundError if the folder holds no event file.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise ModuleNotFoundError(MISSING) from error
    if not list(Path(folder).glob("*tfevents*")):
        raise FileNotFoundError(
            f"{folder} holds no event file of TensorBoard; train with callback=TensorBoardLogger({str(folder)!r})."
        )
    events: Any = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()  # 0: keep every step
    found = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    return {tag: ([e.step for e in series], [e.value for e in series]) for tag, series in found.items()}


def _memory() -> float | None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated())
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)  # bytes on a Mac, KiB on Linux
