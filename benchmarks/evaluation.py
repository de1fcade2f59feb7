"""How fast the course scores multiple choice, beside lm-eval: same model, same file of questions, same prompts.

    python benchmarks/evaluation.py                 2,000 questions, with 0, 1 and 5 finished examples
    python benchmarks/evaluation.py --questions 500 --turns 5

The task is the chapter's: a fact about a person of the Isles, four choices. lm-eval reads the shipped base model as a
``LlamaForCausalLM``, through its own HFLM, with the batch size that was quickest for it. The clock runs from the files
to the figures, for both; loading the model is not timed. Both must give the same acc, acc_norm and acc_bytes for every
question. The contestants take turns; a figure is the median over the turns, the ratio the median of the ratios within a
turn. What the course saves is reading: questions that begin alike share what they begin with, as do their choices, and
what a choice adds is turned into tokens once for all prompts that end alike. Without examples there is the least to
share.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

BATCH_SIZES = (16, 64, 256)  # tried for lm-eval before the clock starts
TEMPLATE = "Question: {}\nAnswer:"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--questions", type=int, default=2_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--examples", type=int, nargs="*", default=[0, 1, 5])
    parser.add_argument("--processor", action="store_true", help="processor seconds, for a machine with other work")
    options = parser.parse_args()
    clock = time.process_time if options.processor else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options.questions, options.turns, options.examples, clock)


def compare(folder: Path, count: int, turns: int, shots: list[int], clock: Callable[[], float]) -> None:
    from course_utils.evaluation.choice_questions import (
        choice_prompts,
        fact_choices,
        read_choice_file,
        write_choice_file,
    )
    from course_utils.evaluation.harness_task import run_lm_eval, write_task
    from course_utils.evaluation.multiple_choice import choice_accuracy, score_choices
    from course_utils.models.convert import to_llama
    from course_utils.pretrained import store
    from course_utils.world import World, WorldConfig
    from course_utils.world.tasks import fact_questions

    base: Any = store.load("base", device="cpu")
    world = World(WorldConfig(people=base.card["recipe"]["people"]), seed=0)
    tasks = fact_questions([*world.known, *world.taught, *world.strangers])
    drawn = [fact_choices(tasks, seed=seed) for seed in range(1 + count // len(tasks))]
    rows = [replace(row, id=f"{row.id}, {seed}") for seed, part in enumerate(drawn) for row in part][:count]
    files = write_choice_file(folder / "q.jsonl", rows), write_choice_file(folder / "s.jsonl", drawn[0][-35::7])
    task, llama = write_task(folder, "isles_facts", *files, TEMPLATE), to_llama(base.model)
    print(f"{len(rows):,} questions, four choices each; {torch_threads()} threads")

    def ours(examples: int) -> tuple[float, Any]:
        begun = clock()
        asked, shown = (read_choice_file(file) for file in files)
        prompts = choice_prompts(asked, shown[:examples], TEMPLATE)
        scores = score_choices(base.model, base.tokenizer, prompts, [row.choices for row in asked], begin=False)
        answers = [row.answer for row in asked]
        right = [choice_accuracy(scores, answers, by) for by in ("nothing", "characters", "bytes")]
        return clock() - begun, right

    def theirs(examples: int, size: int) -> tuple[float, Any]:
        begun = clock()
        found = run_lm_eval(llama, base.tokenizer, task, examples, size)
        return clock() - begun, [found.right[name] for name in ("acc", "acc_norm", "acc_bytes")]

    theirs(0, 64)  # imports
    for examples in shots:
        tried = {size: theirs(examples, size)[0] for size in BATCH_SIZES}
        size = min(tried, key=lambda s: tried[s])
        pairs = [(ours(examples), theirs(examples, size)) for _ in range(turns)]
        mine, other = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
        ratio = statistics.median(a[0] / b[0] for a, b in pairs)
        print(
            f"{examples} examples: course {mine:.2f} s, lm-eval {other:.2f} s (batches of {size}), ratio {ratio:.2f}; "
            f"every question's acc, acc_norm and acc_bytes equal: {all(a[1] == b[1] for a, b in pairs)}",
            flush=True,
        )


def torch_threads() -> int:
    import torch

    return torch.get_num_threads()


if __name__ == "__main__":
    main()
