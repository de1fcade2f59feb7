"""The training loop: one function for every chapter that trains.

    for step in range(steps):
        for micro_batch in split(batches[step]):
            loss, metrics = objective(model, micro_batch)
            (loss * metrics["tokens"]).backward()
        gradients /= tokens
        clip(gradients)
        optimizer.step()

What stands around these lines makes them fast (autocast, compile, AdamW or Muon), restartable (exact checkpoints) and
parallel (DDP, FSDP2).
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_utils import settings
from course_utils.training import distributed
from course_utils.training.checkpointer import Checkpointer
from course_utils.training.config import TrainConfig
from course_utils.training.history import Clock, History, TokenMeans
from course_utils.training.interrupt import Interrupt
from course_utils.training.micro_batches import LossNotFinite, TrainingError, check_result, micro_batches, row_count
from course_utils.training.optimizers import Together, make_optimizer
from course_utils.training.randomness import own_random_state, seed_everything
from course_utils.training.schedules import learning_rate
from course_utils.training.two_cores import OneByOne, TwoCores, fits

__all__ = ["History", "LossNotFinite", "TrainConfig", "TrainingError", "make_optimizer", "train"]

Objective = Callable[[nn.Module, Any], tuple[Tensor, dict[str, Any]]]


def train(
    model: nn.Module,
    batches: Any,
    objective: Objective,
    config: TrainConfig,
    *,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    checkpoint_dir: str | Path | None = None,
    branch_from: str | Path | None = None,
    progress: bool = True,
    callback: Callable[[History], None] | None = None,
) -> History:
    """Train ``model`` in place and return what was measured.

    ``batches[step]`` is the whole batch of that step: a dict of tensors with the same number of rows, the same at
    every call (so that a resumed run sees what it would have seen). ``objective(model, batch)`` returns the mean
    loss over ``metrics["tokens"]`` tokens (over the rows, if it names no tokens) and the metrics; other scalar
    metrics are recorded. The gradient is the mean over all tokens of the batch, however it is split over
    micro-batches and ranks. With ``parallel="fsdp"`` the parameters stay sharded, and
    ``distributed.full_weights(model)`` gathers them.

    ``evaluate(model)`` returns figures for the history; ``callback(history)`` is called after every step (live plots).

    With ``checkpoint_dir`` the run is saved there every ``config.save_every`` steps and goes on from there when
    train() is called again: after Ctrl-C, a crash or a kill it ends with the same weights, bit for bit on the same
    machine. A call with another starting model, objective, data or config is another run, and is refused.

    ``branch_from``: the checkpoint_dir of another run of the same model and data with the schedule ``wsd``. The newest
    checkpoint before either run's decay is taken over, and this run, with its own ``steps`` and ``decay_steps``, is the
    same, bit for bit, as if it had been trained alone from the beginning.

    Raises TrainingError (batches or objective that cannot be used), LossNotFinite (names the step; the model keeps
    its last good weights), CheckpointError (disk full, foreign checkpoint), KeyboardInterrupt after Ctrl-C, once
    the state is saved.
    """
    device = torch.device(config.device or settings.device())
    with contextlib.ExitStack() as stack:
        # 1) Where to train: this process's device, the model on it, wrapped for its ranks, compiled.
        interrupt = stack.enter_context(Interrupt())
        dist_ctx = stack.enter_context(distributed.distributed_context(config.parallel, device.type))
        stack.enter_context(own_random_state())
        if dist_ctx.parallel and device.type == "cuda":
            device = torch.device("cuda", dist_ctx.local_rank)
        stack.enter_context(_in_training(_placed(model, device)))
        wrapped = distributed.wrap_model(model, dist_ctx, device)
        compiled = _compiled(wrapped, config, device)

        # 2) From where to go on: the newest checkpoint, or the beginning.
        optimizer = make_optimizer(model, config)
        seed_everything(config.seed + dist_ctx.rank)
        checkpointer = Checkpointer(checkpoint_dir, model, optimizer, config, batches, objective, dist_ctx, device)
        checkpointer.branch_from(branch_from)
        stack.callback(checkpointer.leave)
        history, first_step = checkpointer.resume()
        # a small model on the CPU: halves of the batch, each on a core of its own
        halves = config.split_batch and compiled is model and not config.parallel and fits(model, objective, device)
        workers = TwoCores(model) if halves else OneByOne(compiled, wrapped, dist_ctx)
        stack.callback(workers.close)
        bar = tqdm(total=config.steps, initial=first_step, unit="step", disable=not progress or dist_ctx.rank > 0)
        stack.enter_context(bar)
        clock = Clock(history)

        def forward_backward(module: nn.Module, micro_batch: Any, row_weight: int) -> tuple[Any, dict[str, Any]]:
            with _autocast(config, device):
                loss, metrics = check_result(objective(module, micro_batch))
            tokens = metrics.pop("tokens", row_count(micro_batch)) * row_weight
            (loss * tokens).backward()
            return tokens, {**metrics, "loss": loss.detach()}

        for step in range(first_step, config.steps):
            lr = _set_learning_rate(optimizer, step, config)
            with clock:
                # 3) Forward and backward: gradients of the *sum* of the losses add up over the micro-batches.
                means = TokenMeans(device)
                parts = micro_batches(batches, step, config.micro_batch_size, dist_ctx, device, workers.pieces)
                for tokens, figures in workers.map(forward_backward, parts):
                    means.add(tokens, figures)

                # 4) The mean over all tokens of the batch, on all ranks; clipped.
                tokens = means.all_reduce(dist_ctx, stop=bool(interrupt.asked))
                norm = _scale_and_clip(model, dist_ctx.world_size / tokens, config.max_grad_norm, dist_ctx)
                figures, tokens, grad_norm, stop = means.tolist(norm)
                record = {"tokens": tokens, **figures, "step": step + 1, "lr": lr, "grad_norm": grad_norm}
                if not (tokens and math.isfinite(record["loss"]) and math.isfinite(grad_norm)):
                    raise _not_finite(record, tokens, checkpointer)

                # 5) The step.
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

            # 6) What was measured, and a checkpoint.
            clock.stamp(record, tokens)
            last = step + 1 == config.steps
            if evaluate and (last or (config.evaluate_every and (step + 1) % config.evaluate_every == 0)):
                with workers.all_cores():
                    record |= _evaluated(evaluate, model, config, device)
            history.records.append(record)
            if last or stop or (step + 1) % (config.save_every or math.ceil(config.steps / 20)) == 0:
                checkpointer.save(history)
            bar.set_postfix_str(f"loss {record['loss']:.3f}, {clock.speed:,.0f} tokens/s", refresh=False)
            bar.update()
            if callback:
                callback(history)
            if stop:
                raise KeyboardInterrupt(
                    f"stopped after step {step + 1} of {config.steps}. {checkpointer.how_to_go_on()}"
                )
    return history


def _placed(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on the device; it is not touched if it is there already, because a quantized model may not be moved."""
    there = all(p.device.type == device.type and device.index in (None, p.device.index) for p in model.parameters())
    return model if there else model.to(device)


@contextlib.contextmanager
def _in_training(model: nn.Module) -> Iterator[None]:
    """Training mode and no gradients from before; afterwards, whatever happens, the mode it had and no gradients."""
    was_training = model.training
    model.train().zero_grad(set_to_none=True)
    try:
        yield
    finally:
        model.train(was_training).zero_grad(set_to_none=True)


def _set_learning_rate(optimizer: torch.optim.Optimizer | Together, step: int, config: TrainConfig) -> float:
    lr = learning_rate(
        step,
        peak=config.learning_rate,
        steps=config.steps,
        warmup_steps=config.warmup_steps,
        schedule=config.schedule,
        decay_steps=config.decay_steps,
        min_lr_ratio=config.min_lr_ratio,
    )
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr


def _compiled(wrapped: nn.Module, config: TrainConfig, device: torch.device) -> nn.Module:
    wanted = config.compile
    if wanted == "auto":  # on a CPU it costs half a minute and wins nothing at our sizes; without triton it cannot work
        wanted = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    return cast(nn.Module, torch.compile(wrapped)) if wanted else wrapped


def _autocast(config: TrainConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    wanted = config.autocasts(device.type)
    return torch.autocast(device.type, dtype=torch.bfloat16) if wanted else contextlib.nullcontext()


def _scale_and_clip(
    model: nn.Module, scale: Tensor, max_grad_norm: float | None, dist_ctx: distributed.DistributedContext
) -> Tensor:
    """Multiply the gradients in place by ``scale``, and by what brings their norm down to ``max_grad_norm``.

    Returns the norm that they had after scaling and before clipping. On a GPU nothing here waits for a result.
    """
    gradients = [distributed.local(p.grad) for p in model.parameters() if p.grad is not None]
    squares = torch.stack(torch._foreach_norm(gradients)).square().sum()
    norm = distributed.all_reduce(squares, dist_ctx, only="fsdp").sqrt() * scale
    if max_grad_norm is not None:
        scale = scale * (max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scale)
    return norm


def _evaluated(evaluate: Any, model: nn.Module, config: TrainConfig, device: torch.device) -> dict[str, float]:
    """The figures of ``evaluate(model)``; neither the random state nor the mode of the model is changed by it."""
    with torch.no_grad(), own_random_state(), _autocast(config, device):
        figures = {name: float(value) for name, value in evaluate(model.eval()).items()}
    model.train()
    return figures


def _not_finite(record: dict[str, float], tokens: float, checkpointer: Checkpointer) -> TrainingError:
    step, loss, norm = int(record["step"]), record["loss"], record["grad_norm"]
    if not tokens:
        return TrainingError(
            f"the batch of step {step} has no token to learn from (every label is -100). Look at its labels: a prompt "
            "that fills the whole row, or a row cut before the answer, leaves nothing."
        )
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the loss is {loss:.4g} but the gradient norm {norm}"
    return LossNotFinite(
        f"{what} at step {step} (learning rate {record['lr']:.3g}). The update was not made: the model has the weights "
        f"of step {step - 1}. {checkpointer.last_good()} Usual causes: a learning rate that is too high, missing "
        "warm-up or clipping, or a row without any visible token.",
        step,
    )
