"""Bound by arithmetic or by memory? The roofline of this machine (Williams, Waterman and Patterson 2009).

A kernel that does F operations and moves B bytes takes at least max(F / peak, B / bandwidth) seconds. F / B is its
*arithmetic intensity*; below peak / bandwidth, the ridge, memory is the limit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from course_utils.training.flops import matmul_rate, wait_for


@dataclass(frozen=True)
class Machine:
    """peak: FLOP/s of a large square product. bandwidth: bytes/s read from memory by a product with one vector."""

    peak: float
    bandwidth: float

    @property
    def ridge(self) -> float:
        """FLOP per byte at which both limits meet."""
        return self.peak / self.bandwidth


def measure_machine(device: str | torch.device = "cpu", seconds: float = 0.4) -> Machine:
    """Measured here, in float32: the best of repeated runs, in about twice ``seconds``."""
    return Machine(matmul_rate(device, seconds=seconds), memory_bandwidth(device, seconds))


def memory_bandwidth(device: str | torch.device = "cpu", seconds: float = 0.4, megabytes: int = 128) -> float:
    """Bytes/s at which a matrix larger than any cache is read once, by a product with one vector."""
    device = torch.device(device)
    rows = megabytes * 2**20 // 4 // 4096
    matrix, vector = torch.ones(rows, 4096, device=device), torch.ones(4096, device=device)
    return matrix.numel() * 4 / best_seconds(lambda: torch.mv(matrix, vector), device, seconds)


def best_seconds(work, device: torch.device, seconds: float) -> float:
    """The shortest of the runs of ``work`` that fit into ``seconds``: other programs only ever make it longer."""
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        best = min(best, time.perf_counter() - start)
    return best


def linear_cost(tokens: int, inputs: int, outputs: int, bytes_per_number: float = 4) -> tuple[float, float]:
    """(FLOP, bytes) of a linear layer: 2 * tokens * inputs * outputs; weights, inputs and outputs moved once each."""
    moved = inputs * outputs + tokens * (inputs + outputs)
    return 2.0 * tokens * inputs * outputs, moved * bytes_per_number


def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    """The least seconds of a linear layer on a machine with this peak (FLOP/s) and bandwidth (bytes/s)."""
    flop, moved = linear_cost(tokens, inputs, outputs, bytes_per_number)
    return max(flop / peak, moved / bandwidth)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the weights that a pass multiplies with: each linear layer's once, embeddings that are looked up not."""
    return sum(
        layer.weight.numel() * layer.weight.element_size() for layer in model.modules() if isinstance(layer, nn.Linear)
    )
