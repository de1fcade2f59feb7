"""How fast direct alignment is, beside trl's DPOTrainer: same model, same pairs, same settings, one run.

    python benchmarks/alignment_dpo.py              320 pairs in batches of 16; about a minute on two cores

Both train the shipped instruct model in float32 on the CPU (trl with ``bf16=False, use_cpu=True``: its default is
bfloat16 there too). Two comparisons: the reference's reading and the steps, ours beside trl's default, which has the
reference beside the policy in each step; and the steps alone, with the reference's log-probabilities computed
beforehand by both. Tokenizing is not timed. The contestants take turns; a ratio is the median of the ratios
within a turn. Both must end at nearly the same place: the margins of the last steps are printed.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

Run = Callable[[], tuple[float, float]]  # trains once; returns the seconds and the mean margin of the last five steps


def contestants(pairs: int, batch_size: int, rate: float = 2e-4) -> dict[str, dict[str, Run]]:
    """DPO on the same pairs, by what is timed: ours and trl's. One pass over the pairs, no warm-up, linear decay."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    from course_utils.alignment.direct import DirectObjective, precompute_reference
    from course_utils.alignment.direct_losses import METHODS
    from course_utils.alignment.preference_batches import PreferenceBatches
    from course_utils.models.convert import to_llama
    from course_utils.pretrained import store
    from course_utils.training.loop import TrainConfig, train
    from course_utils.world import World, WorldConfig
    from course_utils.world.annotators import Annotator
    from course_utils.world.preferences import comparisons

    instruct = store.load("instruct", device="cpu")
    model, tokenizer = instruct.model, instruct.tokenizer
    world = World(WorldConfig(people=instruct.card["recipe"]["people"]), seed=0)
    rows = comparisons(world, pairs, "taught", Annotator(noise=0.1), seed=0)
    steps = pairs // batch_size

    def ours(steps_alone: bool) -> tuple[float, float]:
        policy, batches = copy.deepcopy(model), PreferenceBatches(rows, tokenizer, batch_size)
        config = TrainConfig(steps=steps, learning_rate=rate, weight_decay=0.0)
        start = time.perf_counter()
        known = precompute_reference(model, batches)
        start = time.perf_counter() if steps_alone else start
        history = train(policy, known, DirectObjective(METHODS["dpo"]), config, progress=False)
        return time.perf_counter() - start, statistics.mean(history.column("rewards/margins")[-5:])

    chats: dict[str, list] = {"prompt": [[{"role": "user", "content": row["prompt"]}] for row in rows]}
    chats |= {s: [[{"role": "assistant", "content": row[s]}] for row in rows] for s in ("chosen", "rejected")}

    def theirs(precompute: bool) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            config = DPOConfig(
                output_dir=folder, max_steps=steps, per_device_train_batch_size=batch_size, learning_rate=rate,
                beta=0.1, lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0, adam_beta2=0.95, use_cpu=True,
                bf16=False, precompute_ref_log_probs=precompute, precompute_ref_batch_size=64, report_to=[],
                save_strategy="no",
                gradient_checkpointing=False, logging_steps=1, disable_tqdm=True, seed=0,
            )  # fmt: skip
            data = Dataset.from_dict(chats)
            trainer = DPOTrainer(
                to_llama(model), to_llama(model), config, train_dataset=data, processing_class=tokenizer
            )
            trainer.remove_callback(PrinterCallback)
            start = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - start
        logged = [entry["rewards/margins"] for entry in trainer.state.log_history if "rewards/margins" in entry]
        return seconds, statistics.mean(logged[-5:])

    return {
        "reference and steps": {"ours": lambda: ours(False), "trl": lambda: theirs(False)},
        "steps alone": {"ours": lambda: ours(True), "trl": lambda: theirs(True)},
    }


def measure(pairs: int = 320, batch_size: int = 16, turns: int = 3) -> dict[str, float]:
    """How many times as many pairs per second ours trains on, by what is timed; printed as a table.

    The first call of each contestant is not timed.
    """
    ratios = {}
    print(f"\nDPO, {pairs} pairs in batches of {batch_size}")
    for what, runs in contestants(pairs, batch_size).items():
        margins = {name: run()[1] for name, run in runs.items()}
        speeds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(turns):
            for name, run in runs.items():
                speeds[name].append(pairs // batch_size * batch_size / run()[0])
        for name, found in speeds.items():
            print(f"  {what}: {name:<5} {statistics.median(found):>7.1f} pairs/s   margin {margins[name]:.3f}")
        ratios[what] = statistics.median(a / b for a, b in zip(speeds["ours"], speeds["trl"], strict=True))
        print(f"  {what}: ours is {ratios[what]:.2f} times as fast")
    return ratios


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Speed of DPO beside trl's DPOTrainer.")
    parser.add_argument("--pairs", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    print(f"{torch.get_num_threads()} threads, {load} before the start")
    measure(options.pairs, options.batch_size, options.turns)


if __name__ == "__main__":
    main()
