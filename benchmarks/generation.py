"""How fast ``generate`` is, beside ``transformers.generate``: same weights, same prompts, same number of new tokens.

    python benchmarks/generation.py                 64 prompts of 16 tokens, 24 new tokens each; about a minute
    python benchmarks/generation.py --busy          the same while another process keeps all cores at work

The contestants take turns, so that a busy moment of the machine meets all of them; a figure is the
median over the turns,
and a ratio the median of the ratios within a turn. Greedy outputs are compared token by token.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

Run = Callable[[], Any]  # returns the new tokens, (rows, n)


def take_turns(contestants: dict[str, Run], count: Callable[[Any], int], turns: int) -> dict[str, list[float]]:
    """Tokens per second of each contestant in each turn; the first call of each is not timed."""
    for run in contestants.values():
        run()
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, run in contestants.items():
            start = time.perf_counter()
            tokens = run()
            speeds[name].append(count(tokens) / (time.perf_counter() - start))
    return speeds


def report(title: str, speeds: dict[str, list[float]]) -> None:
    """One block of the table; the first contestant is the one that the others are compared with."""
    first = next(iter(speeds.values()))
    print(f"\n{title}")
    for name, own in speeds.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(own, first, strict=True))
        print(f"  {name:<44} {statistics.median(own):>8,.0f} tokens/s   {ratio:5.2f} x")


def ceiling(model: Any, rows: int, prompt_tokens: int, new_tokens: int) -> float:
    """Tokens per second if nothing but the model's arithmetic took time, at the machine's own matrix-product rate.

    Every place but the last is read by the body, and scored by the head only where a token is chosen. The last
    token is never read. Attention's own products (a few per cent at these lengths) are left out.
    """
    from course_utils.training.flops import matmul_parameters, matmul_rate

    head = model.lm_head.weight.numel()
    per_row = (matmul_parameters(model) - head) * (prompt_tokens + new_tokens - 1) + head * new_tokens
    weight = model.lm_head.weight
    return new_tokens * matmul_rate(weight.device, weight.dtype, seconds=2.0) / (2 * per_row)


def laptop_model(device: str) -> Any:
    """The shipped base model, or an untrained one of the same size."""
    from course_utils import settings
    from course_utils.models.convert import load_model
    from course_utils.models.decoder import Decoder, DecoderConfig

    folder = ROOT / "course_utils" / "checkpoints" / "base"
    if (folder / "model.safetensors").is_file():
        return load_model(folder, device)
    return Decoder(DecoderConfig.for_profile(settings.profile("laptop"))).to(device).eval()


def gpt2_of_that_size(config: Any, device: str) -> Any:
    """A transformers model of another family, which no reader of ours replaces."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    size = GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.max_position_embeddings,
        n_embd=config.hidden_size,
        n_layer=config.num_hidden_layers,
        n_head=config.num_attention_heads,
    )
    return GPT2LMHeadModel(size).to(device).eval()


def benchmark(rows: int, new_tokens: int, prompt_tokens: int, turns: int, device: str) -> None:
    import torch
    from transformers.utils import logging

    from course_utils.models.convert import to_llama
    from course_utils.models.generate import generate

    logging.set_verbosity_error()
    decoder = laptop_model(device)
    llama, gpt2 = to_llama(decoder), gpt2_of_that_size(decoder.config, device)
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(6, decoder.config.vocab_size, (rows, prompt_tokens), generator=draw).to(device)
    groups = prompts[: max(rows // 8, 1)].repeat_interleave(8, dim=0)
    ragged = [row[: prompt_tokens - i % (prompt_tokens // 2)].tolist() for i, row in enumerate(prompts)]
    width = max(map(len, ragged))
    padded = torch.tensor([[0] * (width - len(row)) + row for row in ragged], device=device)

    def theirs(model: Any, input_ids: Any, **options: Any) -> Any:
        output = model.generate(
            input_ids,
            attention_mask=(input_ids != 0).long(),
            max_new_tokens=new_tokens,
            pad_token_id=0,
            **{"do_sample": False, "eos_token_id": None, **options},
        )
        return output[:, input_ids.shape[1] :]

    def ours(model: Any, inputs: Any, **options: Any) -> Any:
        return generate(model, inputs, new_tokens, **{"stop_ids": (), **options}).tokens

    def all_places(tokens: Any) -> int:
        return tokens.numel()

    for title, inputs, their_inputs in (
        ("greedy, prompts of equal length", prompts, prompts),
        ("greedy, padded", ragged, padded),
    ):
        contestants = {
            "transformers.generate, Llama": lambda x=their_inputs: theirs(llama, x),
            "ours, Decoder": lambda x=inputs: ours(decoder, x),
            "ours, transformers' Llama": lambda x=inputs: ours(llama, x),
        }
        expected, *others = [run() for run in contestants.values()]
        equal = min((other == expected).float().mean().item() for other in others)
        speeds = take_turns(contestants, all_places, turns)
        report(f"{title} (equal tokens: {equal:.1%})", speeds)
        limit = ceiling(decoder, rows, prompt_tokens, new_tokens)
        share = limit / statistics.median(next(iter(speeds.values())))
        print(f"  {'the same arithmetic as plain matrix products':<44} {limit:>8,.0f} tokens/s   {share:5.2f} x")

    contestants = {
        "transformers.generate, GPT-2": lambda: theirs(gpt2, prompts),
        "ours, transformers' GPT-2": lambda: ours(gpt2, prompts),
    }
    report("greedy, another family of transformers", take_turns(contestants, all_places, turns))

    contestants = {
        "transformers.generate, Llama": lambda: theirs(llama, groups, do_sample=True, top_k=0, top_p=0.95),
        "ours, Decoder": lambda: ours(decoder, groups, temperature=1.0, top_p=0.95),
    }
    report("sampled with top-p 0.95, eight times from each prompt", take_turns(contestants, all_places, turns))

    stops = tuple(range(6, 46))  # 40 tokens that end a row: rows of very different lengths, as answers are

    def until_stop(tokens: Any) -> int:
        is_stop = torch.isin(tokens, torch.tensor(stops, device=device))
        return int((is_stop.cumsum(1) - is_stop.long() == 0).sum())

    contestants = {
        "transformers.generate, Llama": lambda: theirs(llama, prompts, eos_token_id=list(stops)),
        "ours, Decoder": lambda: ours(decoder, prompts, stop_ids=stops),
        "ours, transformers' Llama": lambda: ours(llama, prompts, stop_ids=stops),
    }
    report("greedy, rows end at stop tokens (tokens up to them)", take_turns(contestants, until_stop, turns))


def keep_busy() -> None:
    """What another notebook does meanwhile: products of middle-sized matrices on all cores."""
    import torch

    a = torch.randn(512, 512)
    while True:
        a = torch.tanh(a @ a)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of generate beside transformers.generate.")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--busy", action="store_true", help="measure while another process computes")
    options = parser.parse_args()
    import torch

    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    print(f"{options.rows} rows x {options.new_tokens} new tokens, prompts of {options.prompt_tokens}; ", end="")
    print(f"{options.device}, {torch.get_num_threads()} threads, {load} before the start")
    other = multiprocessing.get_context("spawn").Process(target=keep_busy, daemon=True) if options.busy else None
    if other:
        other.start()
    try:
        benchmark(options.rows, options.new_tokens, options.prompt_tokens, options.turns, options.device)
    finally:
        if other:
            other.kill()


if __name__ == "__main__":
    main()
