"""Reductions over the tokens of the answers. A mask *selects*: whatever stands where it is 0, NaN and infinity
included, changes neither the value nor the gradient.

Multiplying by the mask would not do, since 0 * NaN is NaN; nor would selecting at the end, since the backward pass
multiplies a zero gradient by the slope of what was computed there. So the inputs are selected before any arithmetic.
"""

from __future__ import annotations

from torch import Tensor

REDUCTIONS = {
    "token": "the mean over all tokens",
    "answer": "the mean of each answer, then over the answers",
    "none": "one value for each token",
}


def select(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` where ``mask`` (of the same shape, numbers or bool) is not 0, and 0 elsewhere; so for its gradient."""
    return x.masked_fill(~mask.bool(), 0)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean of ``x`` where ``mask`` is 1, a scalar; 0 if it is nowhere."""
    return select(x, mask).sum() / mask.bool().sum().clamp(min=1)


def reduce_tokens(x: Tensor, mask: Tensor, reduction: str = "token") -> Tensor:
    """What is kept of one value per token; ``x`` and ``mask`` (batch, length).

    "token": the mean over all tokens, a scalar: a long answer weighs more. "answer": the mean of each answer, then
    over the answers that have a token at all, a scalar. "none": (batch, length), 0 where the mask is. Raises
    ValueError for another reduction.
    """
    if reduction not in REDUCTIONS:
        known = "; ".join(f"{name!r} ({what})" for name, what in REDUCTIONS.items())
        raise ValueError(f"there is no reduction {reduction!r}; choose {known}.")
    if reduction == "token":
        return masked_mean(x, mask)
    x, counts = select(x, mask), mask.bool().sum(1)
    if reduction == "none":
        return x
    return masked_mean(x.sum(1) / counts.clamp(min=1), counts > 0)
