"""How to train: every number that the loop asks for, in one place."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from course_utils.training.schedules import SCHEDULES, decay_begin

OPTIMIZERS = ("adamw", "muon")
LATER = {"optimizer": "adamw", "decay_steps": None}  # fields that came later, and what all runs before them did


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The fields of the first group define the run: a checkpoint made with others is refused."""

    steps: int
    learning_rate: float = 3e-3
    warmup_steps: int = 0
    schedule: str = "linear"  # "linear" | "cosine" | "wsd" | "constant", see schedules.py
    decay_steps: int | None = None  # of "wsd"; None: a fifth of the steps
    min_lr_ratio: float = 0.0  # share of the peak learning rate at the end of the decay
    max_grad_norm: float | None = 1.0  # largest gradient norm; None: no clipping
    weight_decay: float = 0.1  # on matrices only, never on norms and biases
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    optimizer: str = "adamw"  # "adamw" | "muon" (for the matrices inside the blocks), see optimizers.py
    seed: int = 0
    # Where and how fast. These may change between a checkpoint and its continuation.
    micro_batch_size: int | None = None  # rows per forward pass (on each rank); None: the whole batch at once
    evaluate_every: int | None = None  # steps; None: only at the end
    save_every: int | None = None  # steps; None: twenty times per run
    keep_last: int = 2  # checkpoints that stay on the disk
    device: str | None = None  # None: the profile's device
    precision: str = "auto"  # "auto" (bf16 on CUDA, else float32) | "bf16" | "float32"
    compile: str | bool = "auto"  # "auto" (on CUDA) | True | False
    split_batch: bool = True  # a small model on the CPU: halves of the batch on two cores, see two_cores.py
    parallel: str | None = None  # None | "ddp" | "fsdp", the last two under torchrun

    def __post_init__(self) -> None:
        wrong = None
        for name in ("steps", "micro_batch_size", "evaluate_every", "save_every", "keep_last"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                wrong = f"{name} is {value!r}; expected an integer of 1 or more."
        if self.schedule not in SCHEDULES:
            wrong = f"schedule is {self.schedule!r}; expected one of {', '.join(SCHEDULES)}."
        if not 0 <= self.warmup_steps:
            wrong = f"warmup_steps is {self.warmup_steps!r}; expected 0 or more."
        if not self.learning_rate >= 0 or math.isinf(self.learning_rate):
            wrong = f"learning_rate is {self.learning_rate!r}; expected a finite number of 0 or more, such as 3e-3."
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            wrong = f"max_grad_norm is {self.max_grad_norm!r}; expected a number above 0, or None for no clipping."
        if self.precision not in ("auto", "bf16", "float32"):
            wrong = f'precision is {self.precision!r}; expected "auto", "bf16" or "float32".'
        if self.compile not in ("auto", True, False):
            wrong = f'compile is {self.compile!r}; expected "auto", True or False.'
        if self.parallel not in (None, "ddp", "fsdp"):
            wrong = f'parallel is {self.parallel!r}; expected None, "ddp" or "fsdp".'
        if self.optimizer not in OPTIMIZERS:
            wrong = f"optimizer is {self.optimizer!r}; expected one of {', '.join(OPTIMIZERS)}."
        if self.schedule == "wsd" and not wrong:
            try:
                decay_begin(self.steps, self.warmup_steps, self.decay_steps)
            except ValueError as error:
                wrong = str(error)
        elif self.decay_steps is not None:
            wrong = f'decay_steps is {self.decay_steps!r}, but schedule is {self.schedule!r}; only "wsd" takes them.'
        if wrong:
            raise ValueError(f"TrainConfig: {wrong}")

    def autocasts(self, device_type: str) -> bool:
        """Whether matrix products of a run on this kind of device are computed in bfloat16."""
        return self.precision == "bf16" or (self.precision == "auto" and device_type == "cuda")

    def fingerprint(self) -> dict[str, Any]:
        """The fields that define the run."""
        free = (
            "micro_batch_size",
            "evaluate_every",
            "save_every",
            "keep_last",
            "device",
            "precision",
            "compile",
            "split_batch",
            "parallel",
        )
        named = {name: value for name, value in asdict(self).items() if name not in free}
        for name, default in LATER.items():  # checkpoints of an earlier version do not name them
            if named[name] == default:
                del named[name]
        return named
