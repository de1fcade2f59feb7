"""How fast the alignment loops are, beside trl's trainers: same weights, same prompts, same rewards, same settings.

    python benchmarks/alignment.py                  all parts; about two minutes on two cores
    python benchmarks/alignment.py grpo --turns 5   one of them, more turns

GRPO: one iteration is 64 prompts x 8 answers of up to 24 tokens, scored by a program, and one update on all of them.
trl runs in float32 on the CPU (its default is bfloat16 there too), without gradient checkpointing, with as many rows in
a batch as there are answers. The contestants take turns, one iteration each; a figure is the median over the turns, and
the ratio the median of the ratios within a turn.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PROMPTS, GROUP, ROOM, RATE = 64, 8, 24, 1e-5  # the rate is low: every turn should meet the same policy


def our_grpo(start: Any, tokenizer: Any, tasks: list[dict[str, Any]]) -> Callable[[int], dict[str, float]]:
    """A turn of ours: seconds of an iteration, of it in writing answers, and their mean length in tokens."""
    from course_utils.alignment.grpo import GRPOConfig, grpo
    from course_utils.alignment.policy_gradient import METHODS
    from course_utils.alignment.verifiable import VerifiableReward, sum_reward
    from course_utils.text.chat import chat_prompt, stop_ids

    policy = copy.deepcopy(start)
    prompts = [chat_prompt(tokenizer, task["prompt"]) for task in tasks]
    reward = VerifiableReward(sum_reward, tasks, tokenizer)

    def turn(seed: int) -> dict[str, float]:
        config = GRPOConfig(
            iterations=1,
            prompts=PROMPTS,
            group=GROUP,
            max_new_tokens=ROOM,
            learning_rate=RATE,
            method=METHODS["dapo"],
            seed=seed,
        )
        record = grpo(
            policy, None, reward, prompts, config, stop_ids=stop_ids(tokenizer, policy), progress=False
        ).records[0]
        return {
            "seconds": record["iteration_seconds"],
            "generation": record["generation"],
            "length": record["length"],
            "reward": record["reward"],
        }

    return turn


def their_grpo(start: Any, tokenizer: Any, tasks: list[dict[str, Any]]) -> Callable[[int], dict[str, float]]:
    """A turn of trl's GRPOTrainer, with the same figures."""
    from datasets import Dataset
    from transformers import LlamaForCausalLM, PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from course_utils.alignment.verifiable import as_batch, sum_reward
    from course_utils.models.convert import to_llama

    class Clock(TrainerCallback):
        """Seconds of the latest step, from the drawing of its prompts to the end of its update."""

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.begun = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.seconds = time.perf_counter() - self.begun

    class Timed(GRPOTrainer):
        """trl's trainer, which also tells how long it wrote answers."""

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            written = super()._generate(*args, **kwargs)
            self.generation_seconds = time.perf_counter() - begun
            return written

    folder, clock = tempfile.mkdtemp(), Clock()
    to_llama(start).save_pretrained(folder)
    questions = Dataset.from_list([{"prompt": task["messages"][:1], "value": task["value"]} for task in tasks])

    def turn(seed: int) -> dict[str, float]:
        config = GRPOConfig(
            output_dir=folder,
            max_steps=1,
            per_device_train_batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            max_completion_length=ROOM,
            learning_rate=RATE,
            loss_type="dapo",
            epsilon_high=0.28,
            temperature=1.0,
            top_k=0,
            lr_scheduler_type="constant",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            seed=seed,
        )
        trainer = Timed(
            LlamaForCausalLM.from_pretrained(folder),
            as_batch(sum_reward),
            config,
            train_dataset=questions,
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        logged = next(entry for entry in trainer.state.log_history if "reward" in entry)
        return {
            "seconds": clock.seconds,
            "generation": trainer.generation_seconds,
            "length": logged["completions/mean_length"],
            "reward": logged["reward"],
        }

    return turn


def benchmark_grpo(turns: int) -> None:
    """The table of GRPO. The policy is the shipped "grpo", whose answers fill most of the room."""
    from course_utils.pretrained import store
    from course_utils.world.worked_sums import worked_sums

    loaded = store.load("grpo", device="cpu", root=store.SHIPPED)
    tasks = worked_sums(1_000, 3, seed=7)
    contestants = {make.__name__: make(loaded.model, loaded.tokenizer, tasks) for make in (their_grpo, our_grpo)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for seed in range(turns + 1):
        for name, turn in contestants.items():
            figures = turn(seed)
            if seed:  # the first turn of each is not counted
                found[name].append(figures)
    print(f"\nGRPO: one iteration of {PROMPTS} prompts x {GROUP} answers, up to {ROOM} tokens, one update")
    for name, rows in found.items():
        median = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(
            f"  {name:<12} {median['seconds']:6.2f} s, answers {median['generation'] / median['seconds']:4.0%} of it, "
            f"mean length {median['length']:.1f} tokens, reward {median['reward']:.2f}"
        )
    pairs = zip(found["our_grpo"], found["their_grpo"], strict=True)
    ratio = statistics.median(ours["seconds"] / theirs["seconds"] for ours, theirs in pairs)
    print(f"  ours by trl's: {ratio:.2f}")


PARTS: dict[str, Callable[[int], None]] = {"grpo": benchmark_grpo}


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of alignment beside trl.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    print(f"cpu, {torch.get_num_threads()} threads, {load} before the start")
    for name in options.parts or PARTS:
        PARTS[name](options.turns)


if __name__ == "__main__":
    main()
