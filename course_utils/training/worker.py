"""A training job: the script that ``torchrun`` (or plain ``python -m``) starts, on one machine or on many.

    torchrun --standalone --nproc-per-node 2 -m course_utils.training.worker FOLDER

FOLDER holds ``job.json`` (sizes, settings, kinds of parallelism) and ``rows.safetensors`` (token ids, one batch per
step); :func:`course_utils.training.launch.write_job` makes both. Each rank writes a report, ``rank0.json``,
``rank1.json``, ...: losses, gradient norms, tokens per second, and the bytes that lay on it. Rank 0 also writes the
whole weights.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from course_utils import settings
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.training import distributed
from course_utils.training.config import TrainConfig
from course_utils.training.history import History
from course_utils.training.loop import train
from course_utils.training.memory import held_bytes
from course_utils.training.objectives import next_token_loss


def run_job(folder: Path) -> dict[str, Any]:
    """Train once for each kind in job["strategies"] (None, "ddp", "fsdp"); returns kind -> figures of this rank."""
    job = json.loads((folder / "job.json").read_text())
    torch.set_num_threads(job["threads"])
    rows = load_file(folder / "rows.safetensors")["rows"]
    batches = [{"input_ids": batch, "labels": batch} for batch in rows]
    report: dict[str, Any] = {}
    for kind in job["strategies"]:
        model = Decoder(DecoderConfig(**job["model"]), seed=job["seed"])
        config = TrainConfig(**job["config"], parallel=kind)
        memory_bytes: dict[str, int] = {}

        def measure(optimizer: Any, *_: Any, model: Any = model, memory_bytes: Any = memory_bytes) -> None:
            memory_bytes.update(
                held_bytes(model, optimizer)
            )  # gradients are still there: the loop frees them after the step

        handle = register_optimizer_step_post_hook(measure)
        checkpoints = folder / "checkpoints" if job["checkpoints"] else None
        try:
            history = train(model, batches, next_token_loss, config, checkpoint_dir=checkpoints, progress=False)
        finally:
            handle.remove()
        report[kind or "one"] = {"memory_bytes": memory_bytes, **_figures(history)}
        weights = distributed.full_weights(model)
        if int(os.environ.get("RANK", "0")) == 0:
            save_file(weights, folder / f"{kind or 'one'}.safetensors")
    return report


def _figures(history: History) -> dict[str, Any]:
    last = history.records[-1]
    figures = {name: history.column(name) for name in ("loss", "grad_norm", "lr")}
    return {**figures, "tokens_per_second": last["tokens"] / last["seconds"]}


def main() -> None:
    """Run the job of the folder named on the command line; every rank reports for itself."""
    folder = Path(sys.argv[1])
    rank, together = int(os.environ.get("RANK", "0")), "RANK" in os.environ
    place = json.loads((folder / "job.json").read_text())["config"].get("device") or settings.device()
    # one group for all kinds: gloo for a job on the CPU, nccl (and a GPU for each process) for one on CUDA
    with distributed.distributed_context("ddp" if together else None, torch.device(place).type):
        report = run_job(folder)
        (folder / f"rank{rank}.json").write_text(json.dumps({"rank": rank, "pid": os.getpid(), **report}))


if __name__ == "__main__":
    main()
