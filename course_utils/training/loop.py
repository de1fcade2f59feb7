"""The training loop: one function for every chapter that trains.

    for step in range(steps):
        for micro_batch in split(batches[step]):
            loss, metrics = objective(model, micro_batch)
            (loss * metrics["tokens"]).backward()
        gradients /= tokens
        clip(gradients)
        optimizer.step()

What stands around these lines makes them fast (autocast, compile, fused AdamW), restartable (exact checkpoints) and
parallel (DDP, FSDP2).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_utils import settings
from course_utils.training import checkpoints, distributed
from course_utils.training.schedules import SCHEDULES, learning_rate

Batch = Mapping[str, Any]
Objective = Callable[[nn.Module, Any], tuple[Tensor, dict[str, Any]]]


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to do."""


class LossNotFinite(TrainingError):
    """The loss or the gradient became NaN or infinite; ``step`` is the step at which it happened."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The fields of the first group define the run: a checkpoint made with others is refused."""

    steps: int
    learning_rate: float = 3e-3
    warmup_steps: int = 0
    schedule: str = "linear"  # "linear" | "cosine" | "constant", see schedules.py
    floor: float = 0.0  # share of the peak learning rate at the end of the decay
    clip_norm: float | None = 1.0  # largest gradient norm; None: no clipping
    weight_decay: float = 0.1  # on matrices only, never on norms and biases
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    seed: int = 0
    # Where and how fast. These may change between a checkpoint and its continuation.
    micro_batch_size: int | None = None  # rows per forward pass (on each rank); None: the whole batch at once
    evaluate_every: int | None = None  # steps; None: only at the end
    save_every: int | None = None  # steps; None: twenty times per run
    keep: int = 2  # checkpoints that stay on the disk
    device: str | None = None  # None: the profile's device
    precision: str = "auto"  # "auto" (bf16 on CUDA, else float32) | "bf16" | "float32"
    compile: str | bool = "auto"  # "auto" (on CUDA) | True | False
    parallel: str | None = None  # None | "ddp" | "fsdp", the last two under torchrun

    def __post_init__(self) -> None:
        wrong = None
        for name in ("steps", "micro_batch_size", "evaluate_every", "save_every", "keep"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                wrong = f"{name} is {value!r}; expected an integer of 1 or more."
        if self.schedule not in SCHEDULES:
            wrong = f"schedule is {self.schedule!r}; expected one of {', '.join(SCHEDULES)}."
        if not 0 <= self.warmup_steps:
            wrong = f"warmup_steps is {self.warmup_steps!r}; expected 0 or more."
        if not self.learning_rate >= 0 or math.isinf(self.learning_rate):
            wrong = f"learning_rate is {self.learning_rate!r}; expected a finite number of 0 or more, such as 3e-3."
        if self.clip_norm is not None and not self.clip_norm > 0:
            wrong = f"clip_norm is {self.clip_norm!r}; expected a number above 0, or None for no clipping."
        if self.precision not in ("auto", "bf16", "float32"):
            wrong = f'precision is {self.precision!r}; expected "auto", "bf16" or "float32".'
        if self.compile not in ("auto", True, False):
            wrong = f'compile is {self.compile!r}; expected "auto", True or False.'
        if self.parallel not in (None, "ddp", "fsdp"):
            wrong = f'parallel is {self.parallel!r}; expected None, "ddp" or "fsdp".'
        if wrong:
            raise ValueError(f"TrainConfig: {wrong}")

    def identity(self) -> dict[str, Any]:
        """The fields that define the run."""
        free = (
            "micro_batch_size",
            "evaluate_every",
            "save_every",
            "keep",
            "device",
            "precision",
            "compile",
            "parallel",
        )
        return {name: value for name, value in asdict(self).items() if name not in free}


@dataclass
class History:
    """What was measured, one record a step: step, loss, lr, grad_norm, tokens, seconds and what objectives and
    evaluations add.

    ``step`` counts finished steps (1 after the first). ``loss`` is that of the batch before its update, in nats per
    token. ``tokens`` and ``seconds`` are sums since the start of the run, over all sessions of a resumed one.
    """

    records: list[dict[str, float]] = field(default_factory=list)

    def column(self, name: str) -> list[float]:
        """The values of one column, in order; records without it are left out. Raises KeyError if no record has it."""
        values = [record[name] for record in self.records if name in record]
        if not values:
            known = sorted({key for record in self.records for key in record})
            raise KeyError(f"no record has {name!r}; there are {', '.join(known) or 'no records yet'}.")
        return values

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        if not self.records:
            return "History(no step yet)"
        last = self.records[-1]
        speed = last["tokens"] / max(last["seconds"], 1e-9)
        return (
            f"History({len(self)} steps, loss {self.records[0]['loss']:.3f} -> {last['loss']:.3f}, "
            f"{last['tokens']:,.0f} tokens, {last['seconds']:.1f} s, {speed:,.0f} tokens/s)"
        )


def train(
    model: nn.Module,
    batches: Any,
    objective: Objective,
    config: TrainConfig,
    *,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    checkpoint_dir: str | Path | None = None,
    progress: bool = True,
    watch: Callable[[History], None] | None = None,
) -> History:
    """Train ``model`` in place and return what was measured.

    ``batches[step]`` is the whole batch of that step: a dict of tensors with the same number of rows, the same at
    every call (so that a resumed run sees what it would have seen). ``objective(model, batch)`` returns the mean
    loss over ``metrics["tokens"]`` tokens (over the rows, if it names no tokens) and the metrics; other scalar
    metrics are recorded. The gradient is the mean over all tokens of the batch, however it is split over
    micro-batches and ranks.

    ``evaluate(model)`` returns figures for the history; ``watch(history)`` is called after every step, for live plots.

    With ``checkpoint_dir`` the run is saved there every ``config.save_every`` steps and goes on from there when
    train() is called again: after Ctrl-C, a crash or a kill it ends with the same weights, bit for bit on the same
    machine.

    Raises TrainingError (no batches, wrong batch), LossNotFinite (names the step; the model keeps its last good
    weights), CheckpointError (disk full, foreign checkpoint), KeyboardInterrupt after Ctrl-C, once the state is
    saved.
    """
    place = torch.device(config.device or settings.device())
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(_Interrupt())
        where = stack.enter_context(distributed.ranks(config.parallel, place.type))
        stack.enter_context(_own_random_state())
        device = torch.device("cuda", where.local_rank) if where.parallel and place.type == "cuda" else place
        stack.enter_context(_in_training(model.to(device)))
        net = distributed.spread(model, where, device)
        run = _compiled(net, config, device)
        optimizer = make_optimizer(model, config)
        checkpoints.seed_everything(config.seed + where.rank)
        saver = _Saver(checkpoint_dir, model, optimizer, config, batches, where, device)
        history, first_step = saver.resume()

        bar = tqdm(total=config.steps, initial=first_step, unit="step", disable=not progress or where.rank > 0)
        stack.enter_context(bar)
        clock = _Clock(history)
        for step in range(first_step, config.steps):
            lr = _set_learning_rate(optimizer, step, config)
            sums = 0.0
            with clock:
                # Forward and backward: the gradient of the *sum* of the losses, added up over the micro-batches.
                pieces = _micro_batches(batches, step, config.micro_batch_size, where, device)
                for number, (micro_batch, real) in enumerate(pieces, start=1):
                    with distributed.synchronise(net, where, now=number == len(pieces)):
                        with _autocast(config, device):
                            loss, metrics = objective(run, micro_batch)
                        weight = metrics.get("tokens", _rows(micro_batch)) * real
                        (loss * weight).backward()
                    figures = {**metrics, "tokens": 1.0, "loss": loss}
                    sums = sums + _vector(figures.values(), device) * weight
                    figures = dict.fromkeys(figures)
                    del loss, metrics, micro_batch  # or their graph would still take memory in the next forward pass

                # The mean over all tokens of the batch, on all ranks.
                sums = distributed.sum_over(torch.cat([_vector([bool(interrupt.asked)], device), sums]), where)
                tokens = sums[1 + list(figures).index("tokens")]
                norm = _scale_and_clip(model, where.world / tokens, config.clip_norm, where)
                stop, *means, norm, tokens = torch.cat(
                    [sums[:1], sums[1:] / tokens, _vector([norm, tokens], device)]
                ).tolist()
                record = {**dict(zip(figures, means, strict=True)), "step": step + 1, "lr": lr, "grad_norm": norm}
                if not (tokens and math.isfinite(record["loss"]) and math.isfinite(norm)):
                    raise _not_finite(record, tokens, saver)

                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

            clock.stamp(record, tokens)
            last = step + 1 == config.steps
            if evaluate and (last or (config.evaluate_every and (step + 1) % config.evaluate_every == 0)):
                record |= _evaluated(evaluate, model, config, device)
            history.records.append(record)
            if last or stop or (step + 1) % (config.save_every or math.ceil(config.steps / 20)) == 0:
                saver.save(history)
            bar.set_postfix_str(f"loss {record['loss']:.3f}, {clock.speed:,.0f} tokens/s", refresh=False)
            bar.update()
            if watch:
                watch(history)
            if stop:
                raise KeyboardInterrupt(f"stopped after step {step + 1} of {config.steps}. {saver.how_to_go_on()}")
    return history


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Fused AdamW (arXiv 1711.05101) over the trainable parameters; weight decay on matrices only."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise TrainingError("the model has no trainable parameter (all have requires_grad=False).")
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)


@contextlib.contextmanager
def _in_training(model: nn.Module) -> Iterator[None]:
    """Training mode and no gradients from before; afterwards, whatever happens, the mode it had and no gradients."""
    was_training = model.training
    model.train().zero_grad(set_to_none=True)
    try:
        yield
    finally:
        model.train(was_training).zero_grad(set_to_none=True)


def _set_learning_rate(optimizer: torch.optim.Optimizer, step: int, config: TrainConfig) -> float:
    lr = learning_rate(
        step,
        peak=config.learning_rate,
        steps=config.steps,
        warmup_steps=config.warmup_steps,
        schedule=config.schedule,
        floor=config.floor,
    )
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr


def _compiled(net: nn.Module, config: TrainConfig, device: torch.device) -> nn.Module:
    wanted = config.compile
    if wanted == "auto":  # on a CPU it costs half a minute and wins nothing at our sizes; without triton it cannot work
        wanted = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    return torch.compile(net) if wanted else net  # type: ignore[return-value]


def _autocast(config: TrainConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    wanted = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16) if wanted else contextlib.nullcontext()


def _scale_and_clip(model: nn.Module, scale: Tensor, clip_norm: float | None, where: distributed.Ranks) -> Tensor:
    """Multiply the gradients in place by ``scale``, and by what brings their norm down to ``clip_norm`` at the most.

    Returns the norm that they had after scaling and before clipping. On a GPU nothing here waits for a result.
    """
    gradients = [distributed.local(p.grad) for p in model.parameters() if p.grad is not None]
    squares = torch.stack(torch._foreach_norm(gradients)).square().sum()
    norm = distributed.sum_over(squares, where, only="fsdp").sqrt() * scale
    if clip_norm is not None:
        scale = scale * (clip_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scale)
    return norm


def _vector(values: Iterable[Any], device: torch.device) -> Tensor:
    """Numbers and one-element tensors as one vector on the device, without waiting for the device."""
    parts = [v.detach() if isinstance(v, Tensor) else torch.tensor(float(v)) for v in values]
    return torch.stack([part.to(device, torch.float32, non_blocking=True).view(()) for part in parts])


def _evaluated(evaluate: Any, model: nn.Module, config: TrainConfig, device: torch.device) -> dict[str, float]:
    """The figures of ``evaluate(model)``; neither the random state nor the mode of the model is changed by it."""
    with torch.no_grad(), _own_random_state(), _autocast(config, device):
        figures = {name: float(value) for name, value in evaluate(model.eval()).items()}
    model.train()
    return figures


def _rows(batch: Batch) -> int:
    return next(len(value) for value in batch.values() if isinstance(value, Tensor))


def _micro_batches(
    batches: Any, step: int, size: int | None, where: distributed.Ranks, device: torch.device
) -> list[tuple[dict[str, Any], int]]:
    """This rank's rows of ``batches[step]``, cut into pieces of ``size`` rows at the most, on the device.

    Every rank returns as many pieces as the others, because they meet in every backward pass: where the rows run
    out, the piece is one row that counts 0 instead of 1.
    """
    try:
        batch = batches[step]
    except (IndexError, KeyError) as error:
        raise TrainingError(
            f"there is no batch for step {step}: `batches` ends there. Give more batches or fewer steps."
        ) from error
    except TypeError as error:
        raise TrainingError(
            f"batches is a {type(batches).__name__}; expected something indexed by the step (batches[0], batches[1], "
            "...), such as PackedBatches or a list, so that a resumed run finds its place."
        ) from error
    if not isinstance(batch, Mapping) or not any(isinstance(value, Tensor) for value in batch.values()):
        raise TrainingError(f"batches[{step}] is a {type(batch).__name__}; expected a dict of tensors.")
    rows = _rows(batch)
    for name, value in batch.items():
        if isinstance(value, Tensor) and len(value) != rows:
            raise TrainingError(f"batches[{step}][{name!r}] has {len(value)} rows, but others have {rows}.")
    if rows < where.world:
        raise TrainingError(f"batches[{step}] has {rows} rows for {where.world} ranks; give at least one row per rank.")

    def cut(first: int, end: int) -> dict[str, Any]:
        piece = {k: v[first:end] if isinstance(v, Tensor | list) and len(v) == rows else v for k, v in batch.items()}
        return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in piece.items()}

    first, end = rows * where.rank // where.world, rows * (where.rank + 1) // where.world
    largest = math.ceil(rows / where.world)
    size = min(size or largest, largest)
    return [
        (cut(at, min(at + size, end)), 1) if at < end else (cut(first, first + 1), 0)
        for at in range(first, first + largest, size)
    ]


def _not_finite(record: dict[str, float], tokens: float, saver: _Saver) -> TrainingError:
    step, loss, norm = int(record["step"]), record["loss"], record["grad_norm"]
    if not tokens:
        return TrainingError(
            f"the batch of step {step} has no token to learn from (every label is -100). Look at its labels: a prompt "
            "that fills the whole row, or a row cut before the answer, leaves nothing."
        )
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the loss is {loss:.4g} but the gradient norm {norm}"
    return LossNotFinite(
        f"{what} at step {step} (learning rate {record['lr']:.3g}). The update was not made: the model has the weights "
        f"of step {step - 1}. {saver.last_good()} Usual causes: a learning rate that is too high, missing warm-up or "
        "clipping, or a row without any visible token.",
        step,
    )


class _Clock:
    """Seconds spent in training steps (evaluation and saving left out), over all sessions of a run."""

    def __init__(self, history: History) -> None:
        last = history.records[-1] if history.records else {"seconds": 0.0, "tokens": 0.0}
        self.seconds, self.tokens = last["seconds"], last["tokens"]
        self.before = self.seconds, self.tokens
        self.speed = 0.0

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.started

    def stamp(self, record: dict[str, float], tokens: float) -> None:
        self.tokens += tokens
        record |= {"tokens": self.tokens, "seconds": self.seconds}
        self.speed = (self.tokens - self.before[1]) / max(self.seconds - self.before[0], 1e-9)


class _Interrupt:
    """Ctrl-C (the stop button, SIGTERM) asks the loop to stop after the current step; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = 0  # the number of the signal

    def __enter__(self) -> Self:
        self.previous = {}
        if threading.current_thread() is threading.main_thread():
            self.previous = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt("stopped at once, in the middle of a step; the last saved checkpoint stands.")
        self.asked = number
        print("\nStopping after this step; once more stops at once.", file=sys.stderr)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if self.asked == signal.SIGTERM:
            signal.raise_signal(signal.SIGTERM)  # the state is saved; now whoever asked gets what they asked for
        if self.asked and kind is None:
            raise KeyboardInterrupt("stopped; training had just finished.")


class _Saver:
    """Checkpoints of one run: what goes into them, whose they are, and how they are put back."""

    def __init__(
        self,
        folder: str | Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        batches: Any,
        where: distributed.Ranks,
        device: torch.device,
    ) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.model, self.optimizer, self.config, self.where, self.device = model, optimizer, config, where, device
        self.saved: int | None = None
        if self.folder is not None:
            self.identity = {
                "vocab_size": getattr(getattr(model, "config", None), "vocab_size", None),
                "model": {name: f"{tuple(t.shape)} {t.dtype}" for name, t in model.named_parameters()},
                "frozen": _digest({n: p for n, p in model.named_parameters() if not p.requires_grad}, sample=64),
                "config": config.identity(),
                "data": getattr(batches, "fingerprint", None) or _digest(batches[0]),
            }

    def resume(self) -> tuple[History, int]:
        """Load the newest checkpoint of this run, if there is one; return its history and step."""
        if self.folder is None:
            return History(), 0
        state = checkpoints.latest(self.folder, self.identity)
        if state is None:
            return History(), 0
        with torch.no_grad():
            for name, tensor in self._weights().items():
                tensor.copy_(distributed.shard_like(state.weights[name], tensor))
        by_name = dict(self.model.named_parameters())
        for key, value in state.optimizer.items():
            name, kind = key.rsplit("|", 1)
            like = by_name[name] if value.ndim else None
            self.optimizer.state[by_name[name]][kind] = (
                distributed.shard_like(value, like) if like is not None else value.to(self.device)
            )
        mine = f"{self.where.rank}|"
        own = {key.removeprefix(mine): value for key, value in state.random.items() if key.startswith(mine)}
        if own:  # a run that goes on with more ranks than before keeps the fresh seeds of the new ones
            checkpoints.set_random_state(own)
        self.saved = state.step
        return History(state.records), state.step

    def save(self, history: History) -> None:
        """Write a checkpoint (rank 0 writes; the others help to gather)."""
        step = len(history)
        if self.folder is None or self.saved == step:
            return
        weights = {name: distributed.whole(t.detach()).cpu() for name, t in self._weights().items()}
        moments = {
            f"{name}|{kind}": distributed.whole(value).cpu()
            for name, parameter in self.model.named_parameters()
            for kind, value in self.optimizer.state.get(parameter, {}).items()
        }
        states = {
            f"{rank}|{key}": value
            for key, tensor in checkpoints.random_state().items()
            for rank, value in enumerate(distributed.of_all_ranks(tensor, self.where, self.device))
        }
        if self.where.rank == 0:
            state = checkpoints.State(step, weights, moments, states, history.records)
            checkpoints.save(self.folder, state, self.identity, keep=self.config.keep)
        distributed.wait(self.where)
        self.saved = step

    def how_to_go_on(self) -> str:
        if self.folder is None:
            return (
                "The model keeps the weights of that step; with a checkpoint_dir the same call would go on from here."
            )
        return f"The state is saved in {self.folder}: run the same call again to go on from here."

    def last_good(self) -> str:
        if self.saved is None:
            return "No checkpoint was saved."
        return f"The last good checkpoint is step {self.saved} in {self.folder}."

    def _weights(self) -> dict[str, Tensor]:
        """Trainable parameters (shared ones once) and buffers that belong to the state."""
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        state = self.model.state_dict(keep_vars=True)
        return named | {name: b for name, b in self.model.named_buffers() if name in state}


def _digest(tensors: Mapping[str, Any], sample: int | None = None) -> str:
    """A digest of the first ``sample`` numbers of each tensor (of all of them, if None)."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            part = tensor.detach().flatten()[:sample].cpu().contiguous().view(torch.uint8)
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + part.numpy().tobytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _own_random_state() -> Iterator[None]:
    """What is drawn inside leaves the global generators outside as they were."""
    outside = checkpoints.random_state()
    try:
        yield
    finally:
        checkpoints.set_random_state(outside)
