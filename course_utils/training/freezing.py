"""Which parameters learn, and how fast: freezing, gradual unfreezing, and rates by depth (ULMFiT, arXiv 1801.06146)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

EMBEDDINGS = ("embed_tokens", "wte", "wpe")


def depth_groups(names: Iterable[str]) -> list[list[str]]:
    """Parameter names by depth, from the head down: head and last norm, last block, ..., first block, embeddings.

    A name with ``layers.3.`` (or ``h.3.``, as in GPT-2) belongs to block 3; a name with an embedding's word to the
    embeddings; everything else stands above the blocks.
    """
    names = list(names)
    matches = {name: re.search(r"(?:^|\.)(?:layers|h)\.(\d+)\.", name) for name in names}
    block = {name: int(match[1]) for name, match in matches.items() if match}
    embeddings = [name for name in names if any(part in EMBEDDINGS for part in name.split("."))]
    top = [name for name in names if name not in block and name not in embeddings]
    numbers = sorted(set(block.values()), reverse=True)
    blocks = [[name for name in names if block.get(name) == number] for number in numbers]
    return [group for group in (top, *blocks, embeddings) if group]


def unfrozen(names: Sequence[str], epoch: int) -> list[str]:
    """The parameters that train in an epoch of gradual unfreezing, in the order of ``names``.

    Epoch 0 trains the uppermost group alone; each epoch adds the next one below, until all are free (ULMFiT, section
    3.3: the last layer holds the least general knowledge, so it may change first).
    Raises ValueError for a negative epoch.
    """
    if epoch < 0:
        raise ValueError(f"epoch is {epoch}; epochs are counted from 0.")
    free = {name for group in depth_groups(names)[: epoch + 1] for name in group}
    return [name for name in names if name in free]


def train_only(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """Let exactly these parameters ask for gradients, in place. Raises ValueError for a name that there is not."""
    wanted, parameters = set(names), dict(model.named_parameters())
    if unknown := sorted(wanted - set(parameters)):
        raise ValueError(f"the model has no parameter {', '.join(unknown)}; see model.named_parameters().")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in wanted)
    return model


def rates_by_depth(
    model: nn.Module, learning_rate: float, factor: float = 2.6, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Groups for an optimizer: each depth learns ``factor`` times more slowly than the one above it.

    ULMFiT, section 3.2, takes 2.6. Frozen parameters are left out, and weight decay is for matrices alone.
    Raises ValueError for a factor below 1.
    """
    if factor < 1:
        raise ValueError(f"factor is {factor}; lower layers learn more slowly, so it is 1 or more.")
    parameters, groups = dict(model.named_parameters()), []
    for depth, names in enumerate(depth_groups(parameters)):
        learning = [parameters[name] for name in names if parameters[name].requires_grad]
        for decay, members in (
            (weight_decay, [p for p in learning if p.ndim >= 2]),
            (0.0, [p for p in learning if p.ndim < 2]),
        ):
            if members:
                groups.append({"params": members, "lr": learning_rate / factor**depth, "weight_decay": decay})
    return groups
