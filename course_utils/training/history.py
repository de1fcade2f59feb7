"""What a run measured, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from course_utils.training.distributed import DistributedContext, all_reduce


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


class Clock:
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


class TokenMeans:
    """Means over the tokens of one step: summed over its micro-batches, then over all ranks, then divided.

    The numbers stay on the device until ``tolist``, so that nothing before waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.names: tuple[str, ...] = ()
        self.sums = torch.zeros((), device=device)  # of the tokens, and of each figure times its tokens

    def add(self, tokens: Tensor | float, figures: Mapping[str, Tensor | float]) -> None:
        """Take in one micro-batch: figures that are means over ``tokens`` tokens, the same names every time."""
        self.names = tuple(figures)
        self.sums = self.sums + vector([1.0, *figures.values()], self.device) * tokens

    def all_reduce(self, dist_ctx: DistributedContext, stop: bool) -> Tensor:
        """Sum over the ranks, in one collective, and return the tokens of the whole batch; ``stop``: does this rank
        want to end here?"""
        sums = all_reduce(torch.cat([vector([stop], self.device), self.sums]), dist_ctx)
        self.stop, self.tokens, self.sums = sums[:1], sums[1], sums[2:]
        return self.tokens

    def tolist(self, norm: Tensor) -> tuple[dict[str, float], float, float, bool]:
        """The means by name, the number of tokens, ``norm``, and whether any rank wants to stop: here the device is
        waited for, once."""
        last = vector([self.tokens, norm], self.device)
        *means, tokens, norm_, stop = torch.cat([self.sums / self.tokens, last, self.stop]).tolist()
        return dict(zip(self.names, means, strict=True)), tokens, norm_, bool(stop)


def vector(values: Iterable[Any], device: torch.device) -> Tensor:
    """Numbers and one-element tensors as one float32 vector on the device, without waiting for the device."""
    parts = [v.detach() if isinstance(v, Tensor) else torch.tensor(float(v)) for v in values]
    return torch.stack([part.to(device, torch.float32, non_blocking=True).view(()) for part in parts])
