"""The course's loop and decoding on a CUDA card, beside transformers and a plain loop: see gpu.sh, which starts this.

Every part is tried whatever became of the others; a part that fails says why, and the exit status is 1. What is asked:
the loss falls on the Isles, a killed run resumed is the run that was never stopped, and accumulation, clipping, Muon,
a stable-and-decay schedule and DDP end where they should.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch
from plain_gpt import PlainGPT, train_plainly
from torch import Tensor, nn

from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.settings import PROFILES, Profile
from course_utils.training.flops import flops_per_token, matmul_rate, wait_for
from course_utils.training.loop import History, TrainConfig, train
from course_utils.training.objectives import next_token_loss
from course_utils.training.optimizers import Muon, matrices_inside

WARM_UP = 5  # steps that are not timed, those that compile among them
BUDGET = 330  # seconds; a part that would begin later is left out, and the table says so
# Dense bfloat16 rates in FLOP/s, from the makers' data sheets: what most published MFU figures are shares of.
SHEET = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12, "4090": 165e12}


class Bench:
    """The sizes, the data, and the rows of the table."""

    def __init__(self, device: str, profile: Profile, steps: int, people: int, learning_rate: float) -> None:
        from course_utils.text.batching import PackedBatches
        from course_utils.text.packing import pack
        from course_utils.text.tokenizer import train_tokenizer
        from course_utils.world import World, WorldConfig

        self.device, self.profile, self.steps, self.learning_rate = device, profile, steps, learning_rate
        self.place = torch.device(device)
        self.begin = time.perf_counter()
        self.rows: list[tuple[str, str, str, str]] = []
        self.failed: list[str] = []
        tokens = steps * profile.batch_size * profile.row_length
        texts = World(WorldConfig(people=people), seed=0).documents(max(400, tokens // 60), seed=1)["text"]
        tokenizer = train_tokenizer(texts[:20_000], profile.vocab_size)
        self.config = DecoderConfig.for_profile(profile, vocab_size=len(tokenizer))
        self.batches = PackedBatches(pack(texts, tokenizer, profile.row_length), profile.batch_size)
        self.rate = matmul_rate(device, torch.bfloat16 if device == "cuda" else torch.float32, seconds=1.0)
        self.bandwidth = copy_rate(self.place)
        self.say(f"data ready: {len(self.batches.rows):,} rows of {profile.row_length} tokens, {len(tokenizer)} tokens")

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.begin:5.0f} s] {text}", file=sys.stderr, flush=True)

    def add(self, what: str, value: str, share: str = "", note: str = "") -> None:
        self.rows.append((what, value, share, note))
        self.say(f"{what}: {value}  {share}  {note}")

    def check(self, what: str, holds: bool, note: str) -> None:
        self.add(what, "yes" if holds else "**NO**", note=note)
        if not holds:
            self.failed.append(what)

    def part(self, run: Callable[[Bench], None]) -> None:
        """Run one part; what it raises becomes a row."""
        name = run.__name__.replace("_", " ")
        if time.perf_counter() - self.begin > BUDGET:
            self.add(name, "left out", note="the time was used up")
            return
        try:
            run(self)
        except Exception as error:
            self.say(f"{name} failed:")
            import traceback

            traceback.print_exc()
            self.add(name, "**failed**", note=f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
            self.failed.append(name)
        gc.collect()
        if self.device == "cuda":
            torch._dynamo.reset()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> str:
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if self.device == "cuda" else ""

    def decoder(self) -> Decoder:
        return Decoder(self.config, seed=0)

    def settings(self, **changes: Any) -> TrainConfig:
        how = {"steps": self.steps, "learning_rate": self.learning_rate, "warmup_steps": 5, "device": self.device}
        return TrainConfig(**how | changes)

    def speed(self, ticks: list[float]) -> float:
        """Tokens per second of the median step after the warm-up."""
        times = [b - a for a, b in zip(ticks[WARM_UP - 1 :], ticks[WARM_UP:], strict=False)]
        return self.profile.batch_size * self.profile.row_length / statistics.median(times)

    def trained(self, model: nn.Module, **changes: Any) -> tuple[History, float]:
        """The loop's history, and its tokens per second."""
        ticks: list[float] = []

        def tick(_: History) -> None:
            wait_for(self.place)
            ticks.append(time.perf_counter())

        config = self.settings(**changes)
        history = train(model, self.batches, next_token_loss, config, progress=False, callback=tick)
        return history, self.speed(ticks) if len(ticks) > WARM_UP + 1 else math.nan

    def training_row(self, what: str, speed: float, model: nn.Module, losses: list[float]) -> None:
        done = flops_per_token(model, self.profile.row_length) * speed
        sheet = next((rate for name, rate in SHEET.items() if self.device == "cuda" and name in card()), None)
        share = f"{done / self.rate:.0%}" + (f" ({done / sheet:.0%})" if sheet else "")
        self.add(what, f"{speed:,.0f}", share, f"loss {losses[0]:.2f} to {losses[-1]:.3f}; {self.peak()}".strip("; "))


def card() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def copy_rate(device: torch.device) -> float:
    """Bytes per second of a large copy on the device, read and written ones counted."""
    size = 2**28 if device.type == "cuda" else 2**24
    source = torch.rand(size, device=device)
    target, best = torch.empty_like(source), math.inf
    for _ in range(5):
        wait_for(device)
        start = time.perf_counter()
        target.copy_(source)
        wait_for(device)
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best


# ---- training


def course_loop(bench: Bench) -> None:
    model = bench.decoder()
    history, speed = bench.trained(model)
    losses = history.column("loss")
    bench.training_row("the course's loop, AdamW", speed, model, losses)
    bench.adamw = losses  # type: ignore[attr-defined]
    bench.check("the loss falls on the Isles", losses[-1] < 0.7 * losses[0], f"{losses[0]:.2f} to {losses[-1]:.3f}")
    bench.model = model  # type: ignore[attr-defined]


def course_loop_with_Muon(bench: Bench) -> None:
    model = bench.decoder()
    history, speed = bench.trained(model, optimizer="muon")
    losses = history.column("loss")
    bench.training_row("the course's loop, Muon", speed, model, losses)
    bench.check("Muon's loss falls", losses[-1] < 0.7 * losses[0], f"{losses[0]:.2f} to {losses[-1]:.3f}")


def plain_loop(bench: Bench) -> None:
    ticks: list[float] = []

    def tick(_: int) -> None:
        wait_for(bench.place)
        ticks.append(time.perf_counter())

    model = PlainGPT(bench.config)
    batches = (bench.batches[step]["input_ids"] for step in range(bench.steps))
    losses = train_plainly(model, batches, bench.device, bench.learning_rate, tick)
    bench.training_row("a plain GPT-2-style loop, equal size", bench.speed(ticks), model, losses)


def transformers_Trainer(bench: Bench) -> None:
    try:
        import accelerate  # noqa: F401
    except ImportError:
        bench.add("transformers.Trainer, Llama", "not measured", note="it needs the package accelerate")
        return
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    from course_utils.models.convert import to_llama

    logging.set_verbosity_error()
    model, cuda, ticks = to_llama(bench.decoder()), bench.device == "cuda", []
    ids = torch.cat([bench.batches[step]["input_ids"] for step in range(bench.steps)])

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            wait_for(bench.place)
            ticks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=not cuda,
            bf16=cuda,
            torch_compile=cuda,
            per_device_train_batch_size=bench.profile.batch_size,
            max_steps=bench.steps,
            learning_rate=bench.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=5,
            weight_decay=0.1,
            adam_beta2=0.95,
            max_grad_norm=1.0,
            train_sampling_strategy="sequential",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=1,
            seed=0,
        )
        rows = [{"input_ids": row, "labels": row} for row in ids]
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Ticks()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    losses = [float(record["loss"]) for record in trainer.state.log_history if "loss" in record]
    bench.training_row("transformers.Trainer, Llama", bench.speed(ticks), bench.decoder(), losses)


# ---- paths of the loop


def small(bench: Bench) -> tuple[Decoder, dict[str, Any]]:
    sizes = {"vocab_size": bench.config.vocab_size, "hidden_size": 128, "intermediate_size": 352}
    model = Decoder(DecoderConfig(**sizes, max_position_embeddings=bench.config.max_position_embeddings), seed=0)
    return model, {"steps": 12, "compile": False, "precision": "float32", "schedule": "constant"}


def distance(a: nn.Module, b: nn.Module) -> float:
    return max((x.cpu() - y.cpu()).abs().max().item() for x, y in zip(a.parameters(), b.parameters(), strict=True))


def other_paths(bench: Bench) -> None:
    """Accumulation, clipping, WSD and DDP, at a small size in float32, where they must agree to rounding."""
    ends: dict[str, Decoder] = {}
    rows = bench.profile.batch_size
    ways: dict[str, dict[str, Any]] = {
        "whole": {},
        "in pieces": {"micro_batch_size": rows // 4},
        "clipped": {"max_grad_norm": 0.1},
        "clipped in pieces": {"max_grad_norm": 0.1, "micro_batch_size": rows // 4},
        "muon": {"optimizer": "muon"},
        "muon in pieces": {"optimizer": "muon", "micro_batch_size": rows // 4},
        "wsd": {"schedule": "wsd", "decay_steps": 4},
    }
    for name, way in ways.items():
        model, how = small(bench)
        # Adam divides by the gradient's size; the larger eps keeps the last bits of tiny gradients from being magnified
        bench.trained(model, **how | {"eps": 1e-4} | way)
        ends[name] = model
    start = small(bench)[0]
    for name in ("", "clipped ", "muon "):
        whole, pieces = ends[name.strip() or "whole"], ends[f"{name}in pieces"]
        off, moved = distance(whole, pieces), distance(whole, start)
        bench.check(
            f"{name}in pieces it is the same", off < 0.02 * moved, f"differs by {off:.1e}, moved by {moved:.1e}"
        )
    bench.check(
        "clipping and decay make a difference",
        distance(ends["clipped"], ends["whole"]) > 1e-5 and distance(ends["wsd"], ends["whole"]) > 1e-5,
        "smaller steps, other weights",
    )


def ddp_with_one_process(bench: Bench) -> None:
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="29517")
    try:
        model, how = small(bench)
        bench.trained(model, **how | {"parallel": "ddp"})
        alone, how = small(bench)
    finally:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)
    bench.trained(alone, **how)
    off, moved = distance(model, alone), distance(alone, small(bench)[0])
    bench.check("DDP with one process is the same", off < 0.02 * moved, f"differs by {off:.1e}, moved by {moved:.1e}")


def killed_and_resumed(bench: Bench) -> None:
    """SIGKILL after step 7 of 12, in a process of its own; then the same call again."""
    with tempfile.TemporaryDirectory() as folder:

        def child(name: str, kill: bool) -> int:
            job = {"device": bench.device, "folder": str(Path(folder) / name), "kill": kill}
            command = [sys.executable, __file__, "--resume-job", json.dumps(job)]
            return subprocess.run(command, stdout=subprocess.DEVNULL, timeout=300).returncode

        for name, kill in (("whole", False), ("killed", True), ("killed", False)):
            status = child(name, kill)
            if status != (-signal.SIGKILL if kill else 0):
                raise RuntimeError(f"the process of the run {name} ended with status {status}.")
        whole, resumed = (torch.load(Path(folder) / name / "end.pt", weights_only=True) for name in ("whole", "killed"))
    off = max((whole[name] - resumed[name]).abs().max().item() for name in whole)
    bench.check("killed and resumed it is the same, bit for bit", off == 0.0, f"largest difference {off:.1e}")


def resume_job(job: dict[str, Any]) -> None:
    """What a process of ``killed_and_resumed`` does."""
    torch.use_deterministic_algorithms(True)
    sizes = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 352}
    model = Decoder(DecoderConfig(**sizes), seed=0)
    ids = torch.randint(6, 512, (12, 16, 128), generator=torch.Generator().manual_seed(0))
    batches = [{"input_ids": x, "labels": x} for x in ids]
    config = TrainConfig(
        steps=12, learning_rate=1e-3, device=job["device"], compile=False, optimizer="muon", save_every=3
    )

    def kill(history: History) -> None:
        if job["kill"] and len(history) == 7:
            os.kill(os.getpid(), signal.SIGKILL)

    folder = Path(job["folder"])
    train(model, batches, next_token_loss, config, progress=False, checkpoint_dir=folder / "run", callback=kill)
    torch.save({name: p.detach().cpu() for name, p in model.named_parameters()}, folder / "end.pt")


def optimizer_steps(bench: Bench) -> None:
    """One step of the whole model's matrices, in milliseconds: fused AdamW, Muon by hand, torch's Muon."""
    model = bench.decoder().to(bench.device)
    matrices = matrices_inside(model)
    for parameter in matrices:
        parameter.grad = torch.randn_like(parameter)
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "fused AdamW": lambda: torch.optim.AdamW(matrices, lr=1e-4, fused=True),
        "Muon by hand, float32": lambda: Muon(matrices, lr=1e-4),
        "Muon by hand, bfloat16": lambda: Muon(matrices, lr=1e-4, dtype=torch.bfloat16),
        "torch.optim.Muon": lambda: torch.optim.Muon(matrices, lr=1e-4, adjust_lr_fn="match_rms_adamw"),
    }
    for name, make in makers.items():
        optimizer, seconds = make(), []
        for _ in range(8):
            wait_for(bench.place)
            start = time.perf_counter()
            optimizer.step()
            wait_for(bench.place)
            seconds.append(time.perf_counter() - start)
        took = f"{statistics.median(seconds[2:]) * 1e3:.1f} ms"
        bench.add(f"one step of {name}", took, note=f"{len(matrices)} matrices")


# ---- decoding


def decoding(bench: Bench) -> None:
    """Greedy, in bfloat16 on a GPU, beside transformers' generate: tokens per second and the share of the bandwidth."""
    from course_utils.models.convert import to_llama
    from course_utils.models.generate import generate

    cuda = bench.device == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    model = getattr(bench, "model", None) or bench.decoder()
    decoder = model.to("cpu").float()
    # cast before the copies: a cast of transformers' Llama rounds its rotary frequencies for good
    wide = copy.deepcopy(decoder).to(bench.device).eval(), to_llama(decoder).to(bench.device).eval()
    llama = to_llama(decoder).to(bench.device, dtype).eval()
    decoder = decoder.to(bench.device, dtype).eval()
    new = 128 if cuda else 16
    weights = sum(p.nbytes for p in decoder.parameters())
    config = bench.config
    for rows in (1, 64, 512) if cuda else (4,):
        prompts = bench.batches[0]["input_ids"].repeat(math.ceil(rows / bench.profile.batch_size), 1)[:rows, :16]
        prompts = prompts.to(bench.device)
        # each new token reads all weights once for all rows, and each row's own keys and values (the mean length)
        cache = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * (16 + new / 2)
        moved = new * (weights + rows * cache * decoder.lm_head.weight.element_size())

        def ours(prompts: Tensor = prompts) -> Tensor:
            return generate(decoder, prompts, max_new_tokens=new, stop_ids=()).tokens

        def theirs(prompts: Tensor = prompts) -> Tensor:
            options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}
            mask = torch.ones_like(prompts)
            return llama.generate(input_ids=prompts, attention_mask=mask, **options)[:, prompts.shape[1] :]

        for name, run in (("the course's generate", ours), ("transformers' generate, Llama", theirs)):
            with torch.no_grad():
                run()
                seconds: list[float] = []
                for _ in range(3):
                    wait_for(bench.place)
                    start = time.perf_counter()
                    run()
                    wait_for(bench.place)
                    seconds.append(time.perf_counter() - start)
            best = min(seconds)
            note = f"{best / new * 1e3:.2f} ms a token"
            share = f"MBU {moved / best / bench.bandwidth:.1%}"
            bench.add(f"{name}, {rows} rows x {new}", f"{rows * new / best:,.0f}", share, note)
    # In 16 bits near-ties fall this way or that, and every token behind one is another; so equality is asked in 32.
    decoder, llama = wide
    with torch.no_grad():
        equal = (ours() == theirs()).float().mean().item()
    bench.check("greedy tokens are those of transformers, in float32", equal > 0.95, f"{equal:.1%} of the tokens")


PARTS = (
    course_loop,
    course_loop_with_Muon,
    other_paths,
    optimizer_steps,
    killed_and_resumed,
    ddp_with_one_process,
    decoding,
    plain_loop,
    transformers_Trainer,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resume-job", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in PARTS], help="some parts only")
    options = parser.parse_args()
    if options.resume_job:
        resume_job(json.loads(options.resume_job))
        return 0
    cuda = torch.cuda.is_available()
    if cuda:
        bench = Bench("cuda", PROFILES["gpu"], 60, 5_000, 1e-3)
    else:
        tiny = replace(PROFILES["smoke"], batch_size=8, row_length=64)
        bench = Bench("cpu", tiny, 30, 300, 1e-2)
    for part in PARTS:
        if not options.only or part.__name__ in options.only:
            bench.part(part)
    import transformers

    parameters = sum(p.numel() for p in bench.decoder().parameters())
    print(f"\n### {card()}, PyTorch {torch.__version__}, transformers {transformers.__version__}\n")
    print(
        f"{parameters / 1e6:.1f} M parameters, {bench.profile.batch_size} rows of {bench.profile.row_length} tokens, "
        f"{'bfloat16, compiled' if cuda else 'float32'}. Matrix products {bench.rate / 1e12:,.1f} TFLOP/s and copies "
        f"{bench.bandwidth / 1e9:,.0f} GB/s, measured; shares are of these (in brackets: of the data sheet's rate).\n"
    )
    print("| | tokens/s, or whether it holds | share | |\n| --- | ---: | ---: | --- |")
    for row in bench.rows:
        print("| " + " | ".join(row) + " |")
    print(f"\n{time.perf_counter() - bench.begin:.0f} s in all.")
    if bench.failed:
        print(f"Failed: {', '.join(bench.failed)}.", file=sys.stderr)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
