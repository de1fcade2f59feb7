"""How much arithmetic training is, and which share of the machine's arithmetic it reaches."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn


def matmul_parameters(model: nn.Module) -> int:
    """The parameters that every token is multiplied with: the weights of all linear layers, a tied head included.

    An embedding table is looked up, not multiplied, and norms are a rounding error. Sharing does not save arithmetic: a
    head tied to the embedding still counts.
    """
    return sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear))


def flops_per_token(model: nn.Module, length: int, *, training: bool = True) -> float:
    """Floating-point operations per token in rows of ``length`` tokens: forward and backward, or forward alone.

    Forward: 2 per multiplied parameter (a product and a sum), and 4 * layers * hidden * length for the two products
    of attention, q k^T and weights v. Backward: twice that. Together 6 N + 12 L H Q T (PaLM, arXiv 2204.02311,
    appendix B). As is usual, the half of the attention matrix that causality hides is counted.
    """
    config: Any = model.config
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    forward = 2 * matmul_parameters(model) + 4 * config.num_hidden_layers * heads * head_dim * length
    return float(forward * (3 if training else 1))


def matmul_rate(
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    size: int | None = None,
    seconds: float = 0.5,
) -> float:
    """The machine's rate in FLOP/s, measured: the best of repeated products of two ``size`` x ``size`` matrices.

    A square product is what a processor does best, so this is a practical ceiling. ``size`` is 1,024 on the CPU and
    8,192 on a GPU unless given. The measurement takes about ``seconds``.
    """
    device = torch.device(device)
    size = size or (1024 if device.type == "cpu" else 8192)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = a @ b
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        wait_for(device)
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        wait_for(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def share_of_peak(
    model: nn.Module, length: int, tokens_per_second: float, *, rate: float | None = None, training: bool = True
) -> float:
    """Model FLOPs utilization: the model's arithmetic per second over ``rate`` (measured here if not given), 0 to 1.

    Only the arithmetic that the model needs is counted, so recomputed activations do not raise it (PaLM, appendix B).
    """
    return flops_per_token(model, length, training=training) * tokens_per_second / (rate or matmul_rate())


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked to: else only the asking is timed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def training_minutes(parameters: float, tokens: float, flops_per_second: float, utilization: float) -> float:
    """Minutes of training: ``6 * parameters * tokens / (flops_per_second * utilization) / 60``.

    A token costs about two operations per parameter forward (a product and a sum) and twice that backward (Kaplan et
    al. 2020, arXiv 2001.08361, section 2.1). ``flops_per_second``: what the machine can do. ``utilization``: the share
    of it that training reaches, above 0 and at most 1 (PaLM, arXiv 2204.02311, appendix B).
    Raises ValueError for a utilization outside of that.
    """
    if not 0 < utilization <= 1:
        raise ValueError(
            f"utilization is {utilization}; a share above 0 and at most 1 is expected, such as 0.4 for 40 %."
        )
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60
