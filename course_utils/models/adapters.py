"""Bottleneck adapters: a narrow trained network after each part of a frozen layer (Houlsby et al., arXiv 1902.00751).

    adapter(h) = h + up(relu(down(h)))        down (m, d), up (d, m), both with biases; up = 0 at the start

``add_adapters`` puts one after every layer of the chosen names: in a decoder after the projection of attention and
after that of the feed-forward network, before their output is added to the stream (section 2.1 and figure 2 there).
It works in our decoder and in any transformers model that has linear layers of these names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.precision import trained_beside
from course_utils.models.surgery import linear_layers, replace

BEHIND = ("o_proj", "down_proj")


class BottleneckAdapter(nn.Module):
    """h + up(relu(down(h))), from (..., hidden) to the same shape.

    ``down`` is drawn from N(0, 0.02); ``up`` and both biases are zero, so that at the start the adapter passes on what
    it gets. (The paper draws both near zero, with a standard deviation of 0.01, for a start that is nearly the same;
    both zero would never learn.) It holds 2 m d + d + m numbers, with d = hidden and m = bottleneck.
    Raises ValueError for a bottleneck below 1.
    """

    def __init__(self, hidden: int, bottleneck: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if bottleneck < 1:
            raise ValueError(f"bottleneck is {bottleneck}; the narrow place has 1 number or more, such as 16.")
        self.down = nn.Linear(hidden, bottleneck)
        self.up = nn.Linear(bottleneck, hidden)
        nn.init.normal_(self.down.weight, 0.0, 0.02, generator=generator)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(F.relu(self.down(x.to(self.down.weight.dtype)))).to(x.dtype)


class Adapted(nn.Module):
    """A frozen layer with an adapter after it."""

    def __init__(self, base: nn.Module, adapter: BottleneckAdapter) -> None:
        super().__init__()
        self.base, self.adapter = base, adapter

    @property
    def weight(self) -> Tensor:
        """The base's matrix: some models (T5) ask a layer for its dtype."""
        return cast(Tensor, self.base.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(self.base(x))


def add_adapters(
    model: nn.Module, bottleneck: int = 16, behind: Sequence[str] = BEHIND, seed: int | torch.Generator = 0
) -> nn.Module:
    """Put an adapter behind every linear layer whose name ends in one of ``behind``, in place, and freeze the rest.

    At first the model computes what it computed before. (Houlsby et al. also train the scales of the normalizations;
    set ``requires_grad`` on those if you want them.)
    Raises ValueError if no layer has such a name, or if the model has adapters already.
    """
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    if any(True for _ in adapter_layers(model)):
        raise ValueError("the model has adapters already; add_adapters works on a plain model.")
    found = linear_layers(model, behind)
    model.requires_grad_(False)
    for path, layer in found:
        width = layer.out_features if hasattr(layer, "out_features") else layer.nf  # nf: transformers' Conv1D of GPT-2
        adapter = BottleneckAdapter(cast(int, width), bottleneck, generator).to(**trained_beside(layer))
        replace(model, path, Adapted(layer, adapter).train(layer.training))
    return model


def adapter_layers(model: nn.Module) -> Iterator[tuple[str, Adapted]]:
    """Path and layer of every layer that has an adapter after it."""
    return ((path, part) for path, part in model.named_modules() if isinstance(part, Adapted))
