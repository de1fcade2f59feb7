"""Who may look at whom, measured: change one input token and see which outputs move."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


@torch.inference_mode()
def influence(outputs: Callable[[Tensor], Tensor], input_ids: Tensor, other_ids: Tensor) -> Tensor:
    """(output places, length): how far each output moves when the input token of the column is exchanged.

    outputs: a model as a function from ids (batch, length) to (batch, output places, size), without dropout.
    input_ids, other_ids: (length,) int64; ``other_ids[i]`` takes the place of ``input_ids[i]``.
    The movement is the largest absolute change over ``size``. Where it is 0 the output cannot see the input: the test
    for a causal mask is that everything above the diagonal is 0.
    Raises ValueError if a token would be exchanged for itself.
    """
    if bool((input_ids == other_ids).any()):
        place = int((input_ids == other_ids).nonzero()[0])
        raise ValueError(f"other_ids[{place}] is the token that stands there already; exchange it for another one.")
    length = len(input_ids)
    rows = input_ids.repeat(length + 1, 1)  # the last row stays as it is
    places = torch.arange(length, device=input_ids.device)
    rows[places, places] = other_ids
    found = outputs(rows).float()
    return (found[:-1] - found[-1]).abs().amax(-1).T
