"""What the loops of policy gradients have in common: minibatches, updates that can be refused, figures, a clock."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from course_utils.alignment.masked import select
from course_utils.alignment.rollouts import RolloutIterator, Rollouts
from course_utils.models.halves import at_once, one_core
from course_utils.training.history import History
from course_utils.training.micro_batches import LossNotFinite


def minibatches(count: int, epochs: int, parts: int, draw: torch.Generator) -> Iterator[Tensor]:
    """The numbers of the rows of each minibatch; every epoch has an order of its own, drawn when it begins."""
    for _ in range(epochs):
        yield from torch.randperm(count, generator=draw).split(count // parts)


class Steps:
    """The updates of one iteration, and what was measured in them. ``method``: whose loss it is, for the messages.

    ``apart``: one of the trained models, if the losses share no parameter and their gradients may be computed at once.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_grad_norm: float,
        iteration: int,
        method: str = "PPO",
        apart: nn.Module | None = None,
    ) -> None:
        self.apart = apart
        self.optimizer, self.max_grad_norm, self.iteration, self.method = optimizer, max_grad_norm, iteration, method
        self.records: list[dict[str, float]] = []
        self.norms: list[float] = []  # of the updates that were made

    def make(self, *losses: Tensor, **figures: Tensor | float) -> None:
        """One update down the sum of the losses, or none if a gradient is not finite. Losses without a graph: the
        parameters have their gradients already. Raises LossNotFinite if a figure is not."""
        loss = torch.stack(losses).sum()
        measured = {"loss": loss, **figures}
        record = {name: float(f.detach() if isinstance(f, Tensor) else f) for name, f in measured.items()}
        self.records.append(record)
        if not all(math.isfinite(figure) for figure in record.values()):
            raise LossNotFinite(
                f"a loss of {self.method} is not finite in iteration {self.iteration}: {record}. Usual causes: a "
                "learning rate that is too high, or rewards without any scale (whiten them, or divide them).",
                self.iteration,
            )
        if not loss.requires_grad:
            self._update()
            return
        self.optimizer.zero_grad()
        if self.apart is None:
            loss.backward()
            self._update()
        else:
            at_once(self.apart, *(part.backward for part in losses))
            with one_core(self.apart):  # it is short
                self._update()

    def _update(self) -> None:
        # Each model on its own: a large gradient of the value model should not shorten the policy's step.
        groups = [group["params"] for group in self.optimizer.param_groups]
        norms = [float(torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)) for parameters in groups]
        if all(map(math.isfinite, norms)):
            self.optimizer.step()
            self.norms.append(norms[0])

    def means(self) -> dict[str, float]:
        """The mean of each figure, and how many steps were made and skipped; a warning if any was skipped."""
        skipped = len(self.records) - len(self.norms)
        if skipped:
            warnings.warn(
                f"{self.method} skipped {skipped} of {len(self.records)} steps in iteration {self.iteration}: a "
                "gradient was not finite, though the loss was. The weights stayed as they were. If it comes again, "
                "lower the learning rates, or look for a logarithm of 0.",
                stacklevel=3,
            )
        names = self.records[0] if self.records else ()
        means = {name: sum(record[name] for record in self.records) / len(self.records) for name in names}
        if self.norms:
            means["grad_norm"] = sum(self.norms) / len(self.norms)
        return means | {"updates": len(self.norms), "skipped_steps": skipped}


def rollout_figures(batch: Rollouts, sampler: RolloutIterator) -> dict[str, float]:
    """What an iteration's record says about its answers; without a reference there is no ``kl``."""
    figures = {
        "reward": float(batch.scores.mean()),
        "missing_eos": float((~sampler.completions.stopped).float().mean()),
    }
    if batch.ref_logprobs is not None:
        divergence = select(batch.logprobs - batch.ref_logprobs, batch.response_mask)
        figures["kl"] = float(divergence.sum(1).mean())
    return figures | {"length": float(batch.response_mask.sum(1).mean()), "generation": sampler.generation_seconds}


class Clock:
    """Tokens and seconds since the start of the run, over all sessions of a resumed one."""

    def __init__(self, history: History) -> None:
        last = history.records[-1] if history.records else {"tokens": 0, "seconds": 0.0}
        self.tokens, self.started = last["tokens"], time.perf_counter() - last["seconds"]

    def start(self) -> None:
        self.begun = time.perf_counter()

    def stamp(self, record: dict[str, float], batch: Rollouts) -> None:
        self.tokens += int(batch.response_mask.sum())
        now = time.perf_counter()
        record |= {"iteration_seconds": now - self.begun, "tokens": self.tokens, "seconds": now - self.started}
