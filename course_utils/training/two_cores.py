"""A small model on two cores: the halves of a batch in two threads, every operation on one core.

An operation of a small model lasts microseconds. Shared between two cores, it ends with one of them waiting for the
other, thousands of times per step; and where another program uses a core too, each such wait can cost a time slice: a
tenth of the speed was left. Halves meet once per step. They depend on the batch alone and their gradients are added in
a fixed order, so the weights are the same, bit for bit, on one core, on two, and on a busy machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from course_utils.machine import cores
from course_utils.models.counting import num_parameters
from course_utils.models.halves import SMALL, by_rows, heard, is_by_rows, sharing_weights
from course_utils.training import distributed

__all__ = ["OneByOne", "TwoCores", "by_rows", "fits", "sharing_weights"]


def fits(model: nn.Module, objective: Any, device: torch.device) -> bool:
    """Whether halves in threads compute what the whole batch does.

    So it is for a small model on the CPU whose objective is marked, which draws nothing by lot (no dropout), and which
    nobody listens to: a hook on a parameter (one that masks a gradient, say) would not be the twin's.
    """
    dropout = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in model.modules())
    dropout = dropout or (getattr(getattr(model, "config", None), "attention_dropout", None) or 0) > 0
    own = ("_backward_hooks", "_post_accumulate_grad_hooks")
    listened = heard(model) or any(getattr(p, name, None) for p in model.parameters() for name in own)
    small = num_parameters(model) < SMALL
    return device.type == "cpu" and small and is_by_rows(objective) and not (dropout or listened)


class OneByOne:
    """``map(work, parts)``: one part after the other, every operation on all cores; gradients meet after the last."""

    pieces = 1

    def __init__(self, module: nn.Module, wrapped: nn.Module, dist_ctx: distributed.DistributedContext) -> None:
        self.module, self.wrapped, self.dist_ctx = module, wrapped, dist_ctx

    def map(self, work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """``work(module, *part)`` for every part, in order."""
        for number, part in enumerate(parts, start=1):
            with distributed.grad_sync(self.wrapped, self.dist_ctx, now=number == len(parts)):
                result = work(self.module, *part)
            yield result

    def all_cores(self) -> AbstractContextManager[None]:
        """For what is no part of a step."""
        return nullcontext()

    def close(self) -> None:
        """Nothing is left behind."""


class TwoCores:
    """``map(work, parts)``: even parts on the model, odd ones on a twin that shares its weights, at the same time."""

    pieces = 2

    def __init__(self, model: nn.Module) -> None:
        self.model, self.twin = model, sharing_weights(model)
        self.pairs = list(zip(model.parameters(), self.twin.parameters(), strict=True))
        self.threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) if cores() > 1 else None
        torch.set_num_threads(1)  # the optimizer's step too: it is short

    def close(self) -> None:
        """End the threads; operations outside have all cores again."""
        if self.pool:
            self.pool.shutdown()
        torch.set_num_threads(self.threads)

    @contextmanager
    def all_cores(self) -> Iterator[None]:
        """For what is no part of a step, such as an evaluation."""
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(1)

    def map(self, work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
        """``work(module, *part)`` for every part, in order; the twin's gradients are added to the model's."""

        def half(first: int) -> list[Any]:
            module = (self.model, self.twin)[first]
            return [work(module, *part) for part in parts[first::2]]

        even, odd = (self.pool.map if self.pool else map)(half, (0, 1))
        for parameter, twin in self.pairs:
            if parameter is not twin and twin.grad is not None:
                parameter.grad = twin.grad if parameter.grad is None else parameter.grad.add_(twin.grad)
                twin.grad = None
        return [(even, odd)[number % 2][number // 2] for number in range(len(parts))]
