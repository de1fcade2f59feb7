"""What stays in 32 bits in a model of 16: matrices that are trained, and tables that nothing would restore."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


def trained_beside(layer: nn.Module) -> dict[str, Any]:
    """``device`` and ``dtype`` of matrices that are trained beside (or on top of) a layer.

    They are in float32 (beside float64, in that): in 16 bits small updates are rounded away (chapter 04), and the
    integers of a quantized layer take none.
    """
    own = next(chain(layer.parameters(), layer.buffers()))
    dtype = torch.promote_types(own.dtype, torch.float32) if own.is_floating_point() else torch.float32
    return {"device": own.device, "dtype": dtype}


class SteadyBuffers(nn.Module):
    """A module whose own buffers keep their dtype when the model is cast, and follow it to another device only.

    16 bits would cost tables and scales digits that casting back does not return.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            after = getattr(self, name)
            if after.dtype != buffer.dtype:
                setattr(self, name, buffer.to(after.device))
        return self
