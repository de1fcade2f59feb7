"""How fast the alignment loops are, beside trl's trainers: same weights, same prompts, same rewards, same settings.

    python benchmarks/alignment.py                  all parts; about three minutes on two cores
    python benchmarks/alignment.py grpo --turns 5   one of them, more turns

GRPO: one iteration is 64 prompts x 8 answers of up to 24 tokens, scored by a program, and one update on all of them.
trl runs in float32 on the CPU (its default is bfloat16 there too), without gradient checkpointing, with as many rows in
a batch as there are answers. With --untied the reward is 1 for a right sum plus up to a hundredth that depends on the
answer's letters, so that hardly any group ties: ours does not read a group again whose answers are all worth the same,
as its advantages are 0; trl reads all. The contestants take turns, one iteration each; a figure is the median over the
turns, and the ratio the median of the ratios within a turn, in seconds on the clock and in seconds of the processor,
which other work on the machine lengthens less.

DPO: two comparisons. The reference's reading and the steps, ours beside trl's default, which has the reference beside
the policy in each step; and the steps alone, with the reference's log-probabilities computed beforehand by both.
Tokenizing is not timed. Both must end at nearly the same place: the margins of the last steps are printed.
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
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PROMPTS, GROUP, ROOM, RATE = 64, 8, 24, 1e-5  # the rate is low: every turn should meet the same policy


def untied(completion: str, value: str) -> float:
    """1 for a right sum, and up to a hundredth by the answer's letters."""
    from course_utils.alignment.verifiable import sum_reward

    return sum_reward(completion, value) + zlib.crc32(completion.encode()) / 2**32 / 100


def our_grpo(
    start: Any, tokenizer: Any, tasks: list[dict[str, Any]], pays: Callable[..., float]
) -> Callable[[int], dict[str, float]]:
    """A turn of ours: seconds of an iteration (on the clock, and of the processor), of it in writing answers, and their
    mean length in tokens."""
    from course_utils.alignment.grpo import GRPOConfig, grpo
    from course_utils.alignment.policy_gradient import METHODS
    from course_utils.alignment.verifiable import VerifiableReward
    from course_utils.text.chat import chat_prompt, stop_ids

    policy = copy.deepcopy(start)
    prompts = [chat_prompt(tokenizer, task["prompt"]) for task in tasks]
    reward = VerifiableReward(pays, tasks, tokenizer)

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
        begun = time.process_time()
        record = grpo(
            policy, None, reward, prompts, config, stop_ids=stop_ids(tokenizer, policy), progress=False
        ).records[0]
        return {
            "seconds": record["iteration_seconds"],
            "processor": time.process_time() - begun,
            "generation": record["generation"],
            "length": record["length"],
            "reward": record["reward"],
            "tied": record["tied"],
        }

    return turn


def their_grpo(
    start: Any, tokenizer: Any, tasks: list[dict[str, Any]], pays: Callable[..., float]
) -> Callable[[int], dict[str, float]]:
    """A turn of trl's GRPOTrainer, with the same figures."""
    from datasets import Dataset
    from transformers import LlamaForCausalLM, PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from course_utils.alignment.verifiable import as_batch
    from course_utils.models.convert import to_llama

    class Clock(TrainerCallback):
        """Seconds of the latest step, from the drawing of its prompts to the end of its update."""

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.begun, self.processor_begun = time.perf_counter(), time.process_time()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.seconds = time.perf_counter() - self.begun
            self.processor = time.process_time() - self.processor_begun

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
            as_batch(pays),
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
            "processor": clock.processor,
            "generation": trainer.generation_seconds,
            "length": logged["completions/mean_length"],
            "reward": logged["reward"],
        }

    return turn


def benchmark_grpo(turns: int, ties: bool = True) -> None:
    """The table of GRPO. The policy is the shipped "grpo", whose answers fill most of the room."""
    from course_utils.alignment.verifiable import sum_reward
    from course_utils.pretrained import store
    from course_utils.world.worked_sums import worked_sums

    loaded = store.load("grpo", device="cpu", root=store.SHIPPED)
    tasks = worked_sums(1_000, 3, seed=7)
    pays = sum_reward if ties else untied
    contestants = {make.__name__: make(loaded.model, loaded.tokenizer, tasks, pays) for make in (their_grpo, our_grpo)}
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
            f"  {name:<12} {median['seconds']:6.2f} s ({median['processor']:.2f} of the processor), "
            f"answers {median['generation'] / median['seconds']:4.0%} of it, "
            f"mean length {median['length']:.1f} tokens, reward {median['reward']:.2f}"
        )
    print(f"  groups that tie: {statistics.median(row['tied'] for row in found['our_grpo']):.0%}")
    for unit in ("seconds", "processor"):
        pairs = zip(found["our_grpo"], found["their_grpo"], strict=True)
        ratio = statistics.median(ours[unit] / theirs[unit] for ours, theirs in pairs)
        print(f"  ours by trl's, {unit}: {ratio:.2f}")


Run = Callable[[], tuple[float, float]]  # trains once; returns the seconds and the mean margin of the last five steps


def dpo_contestants(pairs: int, batch_size: int, rate: float = 2e-4) -> dict[str, dict[str, Run]]:
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


def benchmark_dpo(turns: int, pairs: int = 320, batch_size: int = 16) -> None:
    """Pairs per second, by what is timed; the first call of each contestant is not timed."""
    print(f"DPO, {pairs} pairs in batches of {batch_size}; the shipped 'instruct'")
    for what, runs in dpo_contestants(pairs, batch_size).items():
        margins = {name: run()[1] for name, run in runs.items()}
        speeds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(turns):
            for name, run in runs.items():
                speeds[name].append(pairs // batch_size * batch_size / run()[0])
        for name, found in speeds.items():
            print(f"  {what}: {name:<5} {statistics.median(found):>7.1f} pairs/s   margin {margins[name]:.3f}")
        ratio = statistics.median(a / b for a, b in zip(speeds["ours"], speeds["trl"], strict=True))
        print(f"  {what}: ours is {ratio:.2f} times as fast")


PARTS: dict[str, Callable[[int], None]] = {"grpo": benchmark_grpo, "dpo": benchmark_dpo}


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of alignment beside trl.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--untied", action="store_true", help="GRPO with rewards of which hardly any group ties")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    print(f"cpu, {torch.get_num_threads()} threads, {load} before the start")
    for name in options.parts or PARTS:
        if name == "grpo":
            benchmark_grpo(options.turns, ties=not options.untied)
        else:
            PARTS[name](options.turns)


if __name__ == "__main__":
    main()
