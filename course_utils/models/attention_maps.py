"""Look into a trained model's attention: the weights of every head, what a head does, what is lost without it, and who
may look at whom."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import torch
from torch import Tensor

from course_utils.models.attention import attention_weights
from course_utils.models.decoder import Attention, Block, Decoder, apply_rope


@torch.inference_mode()
def attention_maps(model: Decoder, input_ids: Tensor) -> Tensor:
    """The attention weights of a causal forward pass: (batch, layers, heads, length, length) on the CPU.

    ``maps[b, layer, head, i]`` says how much place i takes from each place; it adds up to 1. input_ids (batch, length)
    padding only on the right, where no token looks. The memory grows with the square of the length: give few rows.
    """
    caught: list[Tensor] = []

    def hook(module: Attention, args: tuple) -> None:
        x, cos, sin = args[:3]
        heads = (*x.shape[:2], -1, module.head_dim)
        q = apply_rope(module.q_proj(x).view(heads), cos, sin).transpose(1, 2)
        k = apply_rope(module.k_proj(x).view(heads), cos, sin).transpose(1, 2)
        caught.append(attention_weights(q, k).float().cpu())

    blocks = cast(Iterable[Block], model.model.layers)
    hooks = [block.self_attn.register_forward_pre_hook(hook) for block in blocks]
    try:
        model(input_ids)
    finally:
        for handle in hooks:
            handle.remove()
    return torch.stack(caught, dim=1)


def previous_token_score(maps: Tensor) -> Tensor:
    """(layers, heads): the mean weight that a head gives to the token just before, over all places but the first."""
    return maps.diagonal(-1, -2, -1).mean((0, -1))


def weight_on(maps: Tensor, row: int, query: int, keys: list[int]) -> Tensor:
    """(layers, heads): the weight that place ``query`` of ``row`` gives to the places ``keys`` together."""
    return maps[row, :, :, query, keys].sum(-1)


def repeats(ids: list[int], token: int) -> list[tuple[int, list[int]]]:
    """Where ``token`` comes again: pairs (place, the places right after its earlier occurrences).

    A head that looks from such a place to those is an induction head: it finds what followed the last time
    (Olsson et al., arXiv 2209.11895).
    """
    places = [place for place, id in enumerate(ids) if id == token]
    return [(place, [before + 1 for before in places[:n]]) for n, place in enumerate(places) if n]


@contextlib.contextmanager
def without_head(model: Decoder, layer: int, head: int) -> Iterator[None]:
    """Inside, this head's contribution is 0. Raises IndexError if the model has no such head."""
    attention = cast(Block, model.model.layers[layer]).self_attn
    size = attention.head_dim
    if not 0 <= head < attention.q_proj.out_features // size:
        raise IndexError(f"there is no head {head}; the layer has {attention.q_proj.out_features // size}, from 0.")

    def hook(module: torch.nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        mixed = args[0].clone()
        mixed[..., head * size : (head + 1) * size] = 0  # o_proj reads the heads side by side
        return (mixed,)

    handle = attention.o_proj.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


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
