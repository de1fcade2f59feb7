"""What a training run will cost, from four numbers that are known before it starts."""

from __future__ import annotations


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
