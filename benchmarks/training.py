"""How fast the training loop is, beside ``transformers.Trainer`` and a plain loop: same batches, steps and optimizer.

    python benchmarks/training.py              about two minutes on two cores
    python benchmarks/training.py --busy       beside a process that burns a core, and two trainings at once
    python benchmarks/training.py --device cuda --profile gpu

Prints tokens/s, peak memory and the share of the machine's measured rate of matrix products; then time and memory
against the length of the rows, the rows of a batch and the size of the model. Each measurement runs in a process of
its own (its peak memory is its own), the contestants take turns (a busy moment of the machine meets both), a turn
is worth its median step, and the best turn counts. On a machine that does other work too, ``--threads 1`` is the
steadier measure.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

TURNS = 3
WARM_UP = 3  # steps that are not timed
LEARNING_RATE = 1e-3


def sizes(profile: str, **changes: Any) -> dict[str, Any]:
    from course_utils import settings
    from course_utils.models.decoder import DecoderConfig

    return DecoderConfig.for_profile(settings.profile(profile), **changes).__dict__


def build(kind: str, size: dict[str, Any]) -> Any:
    """The course's decoder, or transformers' Llama with the same weights."""
    from course_utils.models.convert import to_llama
    from course_utils.models.decoder import Decoder, DecoderConfig

    if kind == "plain":
        from plain_gpt import PlainGPT

        return PlainGPT(DecoderConfig(**size))
    decoder = Decoder(DecoderConfig(**size), seed=0)
    return decoder if kind == "decoder" else to_llama(decoder)


def rows_for(steps: int, rows: int, length: int, vocabulary: int) -> Any:
    import torch

    return torch.randint(6, vocabulary, (steps, rows, length), generator=torch.Generator().manual_seed(0))


def run_course(job: dict[str, Any]) -> dict[str, float]:
    """Train with the course's loop; seconds per step after the warm-up, and the last loss."""
    from course_utils.training.loop import TrainConfig, train
    from course_utils.training.objectives import next_token_loss

    model = build(job["model"], job["size"])
    ids = rows_for(job["steps"], job["rows"], job["length"], job["size"]["vocab_size"])
    batches = [{"input_ids": x, "labels": x} for x in ids]
    config = TrainConfig(
        steps=job["steps"],
        learning_rate=LEARNING_RATE,
        schedule="constant",
        device=job["device"],
        micro_batch_size=job.get("micro_batch_size"),
        split_batch=job.get("split_batch", True),
    )
    ticks: list[float] = []
    before = peak_memory(job["device"])
    history = train(
        model, batches, next_token_loss, config, progress=False, callback=lambda _: ticks.append(time.perf_counter())
    )
    return {**timing(ticks), "loss": history.records[-1]["loss"], "memory": peak_memory(job["device"]) - before}


def run_trainer(job: dict[str, Any]) -> dict[str, float]:
    """The same with ``transformers.Trainer``, its defaults for speed kept (fused AdamW)."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    model = build(job["model"], job["size"])
    ids = rows_for(job["steps"], job["rows"], job["length"], job["size"]["vocab_size"]).flatten(0, 1)
    cuda = job["device"] == "cuda"
    ticks: list[float] = []

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if cuda:
                torch.cuda.synchronize()
            ticks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=not cuda,
            bf16=cuda,
            torch_compile=cuda,
            per_device_train_batch_size=job["rows"],
            max_steps=job["steps"],
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            weight_decay=0.1,
            adam_beta2=0.95,
            max_grad_norm=1.0,
            train_sampling_strategy="sequential",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=10**6,
            seed=0,
        )
        before = peak_memory(job["device"])
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=[{"input_ids": row, "labels": row} for row in ids],
            callbacks=[Ticks()],
        )
        trainer.train()
    model.eval()
    with torch.no_grad():
        last = ids[-job["rows"] :].to(model.device)
        loss = model(input_ids=last, labels=last).loss.item()
    return {**timing(ticks), "loss_after": loss, "memory": peak_memory(job["device"]) - before}


def run_plain(job: dict[str, Any]) -> dict[str, float]:
    """The same with the thirty lines of plain_gpt.py, on a model of equal size."""
    import torch
    from plain_gpt import train_plainly

    from course_utils.training.flops import wait_for

    model = build("plain", job["size"])
    ids = rows_for(job["steps"], job["rows"], job["length"], job["size"]["vocab_size"])
    ticks: list[float] = []

    def tick(_: int) -> None:
        wait_for(torch.device(job["device"]))
        ticks.append(time.perf_counter())

    before = peak_memory(job["device"])
    losses = train_plainly(model, ids, job["device"], LEARNING_RATE, tick)
    return {**timing(ticks), "loss": losses[-1], "memory": peak_memory(job["device"]) - before}


def run_rate(job: dict[str, Any]) -> dict[str, float]:
    import torch

    from course_utils.training.flops import matmul_rate

    dtype = torch.bfloat16 if job["device"] == "cuda" else torch.float32
    return {"rate": matmul_rate(job["device"], dtype, seconds=2.0)}


def timing(ticks: list[float]) -> dict[str, float]:
    """The median and the best step after the warm-up, in seconds."""
    steps = [b - a for a, b in zip(ticks[WARM_UP - 1 :], ticks[WARM_UP:], strict=False)]
    return {"seconds": statistics.median(steps), "best": min(steps)}


def peak_memory(device: str) -> float:
    """Peak memory so far, in MiB: of the GPU, or of this process."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


RUNNERS: dict[str, Callable[[dict[str, Any]], dict[str, float]]] = {
    "course": run_course,
    "trainer": run_trainer,
    "plain": run_plain,
    "rate": run_rate,
}


def _child(job: dict[str, Any], pipe: Any) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logging.disable(logging.WARNING)
    if job["threads"]:
        import torch

        torch.set_num_threads(job["threads"])
    pipe.send(RUNNERS[job["runner"]](job))


def measure(context: Any, **job: Any) -> dict[str, float]:
    """Run one job in a fresh process and return what it measured."""
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(job, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise SystemExit(f"the measurement {job} died; its message is above.") from None
    finally:
        process.join()


def burn() -> None:
    """What another program does meanwhile, on one core."""
    while True:
        sum(range(10**6))


def busy(context: Any, size: dict[str, Any], shape: dict[str, int], common: dict[str, Any], tokens: int) -> None:
    """Tokens/s of the loop with halves on two cores, and with every operation on all: quiet, and not."""
    job = {"runner": "course", "model": "decoder", "size": size, **shape, **common}
    table = []
    for name in ("quiet", "beside a busy core", "two trainings at once"):
        speeds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(TURNS):
            for split in speeds:
                other = None
                if name == "beside a busy core":
                    other = context.Process(target=burn, daemon=True)
                elif name == "two trainings at once":  # longer than the measured one
                    pipe, _theirs = context.Pipe(duplex=False)
                    longer = {**job, "steps": 50 * job["steps"], "split_batch": split}
                    other = context.Process(target=_child, args=(longer, _theirs), daemon=True)
                if other:
                    other.start()
                    time.sleep(5.0)  # until it is at work
                try:
                    speeds[split].append(tokens / measure(context, **job, split_batch=split)["seconds"])
                finally:
                    if other:
                        other.kill()
                        other.join()
        halves, whole = (statistics.median(speeds[split]) for split in (True, False))
        table.append([name, f"{halves:,.0f}", f"{whole:,.0f}", f"{halves / whole:.2f}"])
    show("Halves on two cores against every operation on all", ["", "halves", "whole", "ratio"], table)


def flops(kind: str, size: dict[str, Any], length: int) -> float:
    from course_utils.training.flops import flops_per_token

    return flops_per_token(build(kind, size), length)


def show(title: str, head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    print(f"\n{title}")
    for line in [head, *rows]:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="laptop", choices=["smoke", "laptop", "gpu"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=18, help="steps of one turn, warm-up included")
    parser.add_argument("--threads", type=int, help="threads of a product (all cores by default)")
    parser.add_argument(
        "--busy", action="store_true", help="halves on two cores against the whole batch, on a busy machine"
    )
    parser.add_argument("--quick", action="store_true", help="the comparison only, without the scaling tables")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    # A fork server has the libraries loaded, so a fresh process costs no import; on a GPU each must start by itself.
    fork = options.device == "cpu" and "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if fork else "spawn")
    if fork:
        context.set_forkserver_preload(
            ["course_utils.training.loop", "course_utils.models.convert", "transformers.models.llama.modeling_llama"]
            + ["transformers.trainer", "resource"]
        )
    from course_utils import settings

    profile = settings.profile(options.profile)
    size, shape = sizes(options.profile), {"rows": profile.batch_size, "length": profile.row_length}
    common = {"device": options.device, "steps": options.steps, "threads": options.threads}
    tokens = shape["rows"] * shape["length"]

    contestants = {
        "transformers.Trainer, Llama": {"runner": "trainer", "model": "llama"},
        "a plain GPT-2-style loop": {"runner": "plain", "model": "plain"},
        "course loop, Llama": {"runner": "course", "model": "llama"},
        "course loop, Decoder": {"runner": "course", "model": "decoder"},
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    rates = []
    for _ in range(TURNS):
        rates.append(measure(context, runner="rate", device=options.device, threads=options.threads)["rate"])
        for name, job in contestants.items():
            results[name].append(measure(context, **job, size=size, **shape, **common))
    rate = max(rates)
    table, figures = [], {}
    for name, turns in results.items():
        seconds = min(turn["seconds"] for turn in turns)
        speed = tokens / seconds
        share = speed * flops(contestants[name]["model"], size, shape["length"]) / rate
        memory = min(turn["memory"] for turn in turns)
        all_turns = " ".join(f"{tokens / turn['seconds']:,.0f}" for turn in turns)
        figures[name] = {"tokens_per_second": speed, "share": share, "memory_mib": memory, "turns": all_turns}
        table.append([name, f"{speed:,.0f}", f"{share:.0%}", f"{memory:,.0f}", all_turns])
    print(f"matrix products: {rate / 1e9:,.0f} GFLOP/s; {shape['rows']} rows x {shape['length']} tokens, {size}")
    head = ["", "tokens/s", "share", "peak MiB", "tokens/s of each turn"]
    show("The same training (best of the turns)", head, table)

    if options.busy:
        busy(context, size, shape, common, tokens)
    elif not options.quick:
        short = {**common, "steps": WARM_UP + 4, "runner": "course", "model": "decoder"}

        def row(label: str, size: dict[str, Any], rows: int, length: int, **extra: Any) -> list[str]:
            got = measure(context, size=size, rows=rows, length=length, **short, **extra)
            speed = rows * length / got["best"]
            share = speed * flops("decoder", size, length) / rate
            return [label, f"{got['best'] * 1e3:,.0f}", f"{speed:,.0f}", f"{share:.0%}", f"{got['memory']:,.0f}"]

        def table_for(title: str, what: str, rows: list[list[str]]) -> None:
            show(title, [what, "ms/step", "tokens/s", "share", "peak MiB"], rows)

        base, limit = profile.row_length, max(512, profile.context)
        long = {**size, "max_position_embeddings": limit}
        lengths = [n for n in (base // 2, base, base * 2, base * 4) if n <= limit]
        table_for(
            f"Length of a row ({tokens} tokens a step)",
            "length",
            [row(str(n), long, max(1, tokens // n), n) for n in lengths],
        )
        batches = [profile.batch_size // 8, profile.batch_size // 2, profile.batch_size, profile.batch_size * 2]
        table_for(
            f"Rows of a batch ({base} tokens each)",
            "rows",
            [row(str(n), size, n, base) for n in batches]
            + [row(f"{batches[-1]} by {batches[0]}", size, batches[-1], base, micro_batch_size=batches[0])],
        )
        models = []
        for factor in (0.5, 1, 2):
            wide = dict(size)
            for name in ("hidden_size", "intermediate_size"):
                wide[name] = int(size[name] * factor)
            count = sum(p.numel() for p in build("decoder", wide).parameters())
            models.append(row(f"{count / 1e6:.2f} M", wide, profile.batch_size, base))
        table_for("Size of the model", "parameters", models)
    if options.json:
        options.json.write_text(json.dumps({"rate": rate, **figures}, indent=1))


if __name__ == "__main__":
    main()
