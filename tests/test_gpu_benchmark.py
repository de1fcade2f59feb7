"""``benchmarks/gpu.sh`` where there is no card: a tiny model on the CPU, every part taken once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell script, and SIGKILL")
def test_every_part_runs_with_few_packages_and_ends_in_one_table(tmp_path):
    for name in ("datasets", "trl", "matplotlib", "IPython", "nbformat"):  # a machine with a card may lack them
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    parts = ["course_loop", "course_loop_with_Muon", "other_paths", "optimizer_steps", "killed_and_resumed"]
    parts += ["ddp_with_one_process", "decoding", "plain_loop"]  # transformers' Trainer would import datasets
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--only", *parts],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    table = done.stdout
    assert "### CPU, PyTorch" in table and "**NO**" not in table and "failed" not in table
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", table, re.MULTILINE))
    for what in ("the loss falls on the Isles", "Muon's loss falls", "killed and resumed it is the same, bit for bit"):
        assert rows[what] == "yes"
    for what in ("the course's loop, AdamW", "the course's loop, Muon", "a plain GPT-2-style loop, equal size"):
        assert float(rows[what].replace(",", "")) > 0
