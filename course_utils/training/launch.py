"""Start a training job in its own processes: several under ``torchrun`` on this machine, or one that may be killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from course_utils.models.decoder import DecoderConfig
from course_utils.training import checkpoints
from course_utils.work_limit import WorkLimit, worked

JOB = "course_utils.training.worker"


class LaunchError(RuntimeError):
    """The processes failed, or took too long; the message ends with what they wrote last."""


def write_job(
    folder: str | Path,
    model: DecoderConfig,
    rows: Tensor,
    config: Mapping[str, Any],
    *,
    strategies: Sequence[str | None] = ("ddp", "fsdp"),
    seed: int = 0,
    threads: int = 1,
    checkpoints: bool = False,
) -> Path:
    """Write what a job needs. ``rows`` (steps, batch, length) int64: the token ids of every step's whole batch.

    ``config``: fields of TrainConfig except ``parallel``. ``threads``: of each process. Returns the folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"rows": rows.contiguous()}, folder / "rows.safetensors")
    job = {
        "model": asdict(model),
        "config": dict(config),
        "strategies": list(strategies),
        "seed": seed,
        "threads": threads,
    }
    (folder / "job.json").write_text(json.dumps({**job, "checkpoints": checkpoints}, indent=1))
    return folder


def torchrun(folder: str | Path, ranks: int = 2, *, seconds: float = 120) -> list[dict[str, Any]]:
    """Run the job of ``folder`` in ``ranks`` processes on this machine; return what each rank reported, in order.

    The processes meet on 127.0.0.1 (gloo, on the CPU), at a free port; PyTorch's store, where they meet, listens on
    that port of every interface until they end. Raises LaunchError if they fail, or work for longer than ``seconds`` of
    processor time each (ten times that by the clock); none of them outlives the call, also when it is interrupted.
    """
    # what `torchrun --standalone` does, held to the loopback interface: a laptop's own name may not resolve offline
    command = ["-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={ranks}", "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1", "-m", JOB, str(folder)]
    reports = [Path(folder) / f"rank{rank}.json" for rank in range(ranks)]
    for report in reports:
        report.unlink(missing_ok=True)  # what an earlier run said must not pass for this one's
    process = _start(command)
    limit = WorkLimit(seconds, lambda: worked(process.pid) / ranks)
    try:
        while True:
            try:
                _, said = process.communicate(timeout=min(seconds, 1.0))
                break
            except subprocess.TimeoutExpired as error:
                if not limit.left():
                    text = f"{ranks} processes were not done after {seconds:.0f} s of work each and were stopped. "
                    raise LaunchError(f"{text}{_last_words(kill(process))}".rstrip(". \n") + ".") from error
    finally:
        kill(process)
    if process.returncode:
        raise LaunchError(f"torchrun ended with code {process.returncode}: {_last_words(said)}")
    return [json.loads(report.read_text()) for report in reports]


def start_alone(folder: str | Path) -> subprocess.Popen[bytes]:
    """Start the job of ``folder`` in one process without torchrun, and do not wait for it."""
    return _start(["-m", JOB, str(folder)])


def wait_for_checkpoint(process: subprocess.Popen[bytes], folder: str | Path, *, seconds: float = 60) -> Path:
    """Wait until a job started by :func:`start_alone` has saved its first checkpoint; return that checkpoint's path.

    Raises LaunchError if the job ends before, or works for longer than ``seconds``. Then, and when the waiting is
    interrupted (the kernel's stop button), the job is stopped.
    """
    limit = WorkLimit(seconds, lambda: worked(process.pid))
    try:
        while limit.left():
            ended = process.poll() is not None
            found = checkpoints.checkpoints(Path(folder) / "checkpoints")
            if found:
                return found[-1]
            if ended:
                code, said = process.returncode, kill(process)
                raise LaunchError(f"the job ended with code {code} before it had saved: {_last_words(said)}")
            time.sleep(0.01)
        raise LaunchError(f"the job had saved nothing after {seconds:.0f} s of work and was stopped.")
    except BaseException:
        kill(process)
        raise


def kill(process: subprocess.Popen[bytes]) -> bytes:
    """SIGKILL to the process and to all that it started: no handler runs, nothing is tidied up. Then wait for it.

    Returns what it wrote to stderr and nobody has read yet. torchrun's workers have sessions of their own, so a signal
    to its process group would not reach them: they would go on, and hold the pipe open.
    """
    import psutil

    if process.poll() is None:
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(process.pid)
            parent.suspend()  # or it could start another one meanwhile
            for child in parent.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError):  # ValueError: was read before
        return process.communicate(timeout=10)[1] or b""
    return b""


def _last_words(said: bytes) -> str:
    """The lines of a traceback that name the error, and otherwise the end of what was written."""
    lines = said.decode(errors="replace").strip().splitlines()
    errors = [line.strip() for line in lines if re.search(r"\b\w*(Error|Exception|Interrupt)\b.*: ", line)]
    return "\n".join(dict.fromkeys(errors[:3])) + "\n...\n" + "\n".join(lines[-12:])


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    hidden = {"CUDA_VISIBLE_DEVICES": "", "COURSE_PROFILE": "laptop"}  # these processes train on the CPU
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **hidden}
    if loopback := {"linux": "lo", "darwin": "lo0"}.get(sys.platform):
        environment["GLOO_SOCKET_IFNAME"] = loopback
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
