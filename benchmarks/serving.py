"""How fast the engine is: 32 requests of mixed lengths at once, beside static batches and transformers; same weights.

    python benchmarks/serving.py                    about two minutes on 2 cores

The contestants take turns, so that a busy moment of the machine meets all of them; a figure is the median over the
turns, and a ratio the median of the ratios within a turn. Every request is greedy and gets exactly its number of new
tokens, so the answers should be the same everywhere; how many are is printed. Servers over HTTP: serving_peers.py.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from generation import report, take_turns  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="instruct")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()

    import torch

    from course_utils.models.convert import to_llama
    from course_utils.models.generate import generate
    from course_utils.pretrained import store
    from course_utils.serving.engine import Engine, Request, run_all

    model = store.load(given.model).model
    draw = random.Random(0)
    prompts = [
        [draw.randrange(6, model.config.vocab_size) for _ in range(draw.randint(8, 64))] for _ in range(given.requests)
    ]
    lengths = [draw.choice([4, 8, 16, 16, 32, 96]) for _ in prompts]
    llama = to_llama(model).eval()
    pad = model.config.pad_token_id

    def engine(**settings) -> Callable[[], list[list[int]]]:
        requests = [Request(ids, new) for ids, new in zip(prompts, lengths, strict=True)]
        return lambda: run_all(Engine(model, **settings), requests)

    def static() -> list[list[int]]:
        """One batch, to the end of its longest answer; what is too long is cut off and does not count."""
        tokens = generate(model, prompts, max(lengths), stop_ids=()).tokens.tolist()
        return [row[:new] for row, new in zip(tokens, lengths, strict=True)]

    @torch.no_grad()
    def transformers() -> list[list[int]]:
        width = max(map(len, prompts))
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
        options = {"max_new_tokens": max(lengths), "do_sample": False, "pad_token_id": pad, "eos_token_id": None}
        out = llama.generate(ids, attention_mask=mask, **options)[:, width:].tolist()
        return [row[:new] for row, new in zip(out, lengths, strict=True)]

    contestants = {
        "engine": engine(),
        "engine, without prefix cache": engine(prefix_cache=False),
        "engine, 8 places": engine(max_running=8),
        "generate, one static batch": static,
        "transformers.generate, one static batch": transformers,
    }
    answers = {name: run() for name, run in contestants.items()}
    for name, found in answers.items():
        same = sum(a == b for a, b in zip(found, answers["engine"], strict=True))
        print(f"{name:<44} {same} of {len(prompts)} answers equal to the engine's")
    speeds = take_turns(contestants, lambda found: sum(map(len, found)), given.turns)
    report(f"{given.requests} requests at once, {min(lengths)} to {max(lengths)} new tokens, {given.model}", speeds)


if __name__ == "__main__":
    main()
