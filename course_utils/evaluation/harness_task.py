"""EleutherAI's lm-eval on a file of our own, offline: the task file it reads, and a run of it on a model at hand."""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch


def write_task(
    folder: str | Path,
    name: str,
    questions: str | Path,
    shots: str | Path,
    template: str = "{}",
    delimiter: str = " ",
    between: str = "\n",
) -> Path:
    """Write the task file ``name``.yaml, and return its path.

    questions, shots: files as ``write_choice_file`` writes them, to be asked, and to be taken as finished examples, in
    order. template: what stands around a question, as in ``choice_prompts``; delimiter: between question and answer;
    between: after each example. Raises ValueError for a template without exactly one ``{}``.
    """
    if template.count("{}") != 1:
        raise ValueError(f"the template {template!r} needs one {{}}, where the question goes.")
    text = f"""task: {name}
dataset_path: json                 # rows from local files, nothing is fetched
dataset_kwargs:
  data_files:
    test: {json.dumps(str(questions))}
    shots: {json.dumps(str(shots))}
  cache_dir: {json.dumps(str(Path(folder) / "cache"))}
test_split: test
fewshot_split: shots
fewshot_config:
  sampler: first_n
output_type: multiple_choice
doc_to_text: {json.dumps(template.replace("{}", "{{question}}"))}
doc_to_choice: choices
doc_to_target: answer              # the place of the right choice, from 0
target_delimiter: {json.dumps(delimiter)}              # between question and choice
fewshot_delimiter: {json.dumps(between)}            # after each finished example
metric_list:
"""
    for metric in ("acc", "acc_norm", "acc_bytes"):
        text += f"  - metric: {metric}\n    aggregation: mean\n    higher_is_better: true\n"
    path = Path(folder) / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@dataclass(frozen=True)
class HarnessRun:
    """What lm-eval found: ``acc``, ``acc_norm`` and ``acc_bytes`` of the whole file, for every question in order
    whether it counted as right by each (``right[metric]``), and the log-probabilities of its choices in nats."""

    metrics: dict[str, float]
    right: dict[str, list[bool]]
    logprobs: list[list[float]]


def run_lm_eval(model: Any, tokenizer: Any, task: str | Path, shots: int = 0, batch_size: int = 64) -> HarnessRun:
    """Let lm-eval evaluate a model of transformers by a task file, without a network.

    shots: finished examples in front of every question (lm-eval's ``num_fewshot``). lm-eval seeds the global random
    generators; they are as before afterwards. Raises FileNotFoundError if there is no such task file.
    """
    task = Path(task)
    if not task.is_file():
        raise FileNotFoundError(f"there is no task file {task}; write it with write_task.")
    with _quiet(), _same_randomness():
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        found = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device=str(model.device)),
            tasks=[task.stem],
            task_manager=TaskManager(include_path=str(task.parent), include_defaults=False),
            num_fewshot=shots,
            bootstrap_iters=0,
            log_samples=True,
        )
    metrics = ("acc", "acc_norm", "acc_bytes")
    samples: Sequence[dict[str, Any]] = sorted(found["samples"][task.stem], key=lambda sample: sample["doc_id"])
    return HarnessRun(
        metrics={metric: float(found["results"][task.stem][f"{metric},none"]) for metric in metrics},
        right={metric: [bool(sample[metric]) for sample in samples] for metric in metrics},
        logprobs=[[float(logprob) for logprob, _ in sample["filtered_resps"]] for sample in samples],
    )


@contextmanager
def _same_randomness() -> Iterator[None]:
    ours, theirs = random.getstate(), np.random.get_state()  # noqa: NPY002 - lm-eval seeds the old generator
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(theirs)  # noqa: NPY002


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither log lines nor progress bars; the settings are as before afterwards."""
    disabled, tqdm = logging.root.manager.disable, os.environ.get("TQDM_DISABLE")
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(disabled)
        if tqdm is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = tqdm
