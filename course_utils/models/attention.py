"""Attention written out: who may look at whom, grouped heads, and a window that slides.

``decoder.py`` leaves the arithmetic of attention to PyTorch's fused kernel. Here it stands in full, to be read and
to be compared with, beside sliding-window attention (Longformer, arXiv 2004.05150, section 3.1; Mistral 7B,
arXiv 2310.06825, section 2), whose cost grows with the length of the text and not with its square.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.models.decoder import Attention, Block, Decoder


def causal_mask(length: int, window: int | None = None, device: torch.device | str = "cpu") -> Tensor:
    """(length, length) bool, True where the query of the row may look at the key of the column.

    A query sees itself and what stands before it; with a ``window``, only the last ``window`` of these places, its own
    included. Raises ValueError if length or window is below 1.
    """
    if length < 1 or (window is not None and window < 1):
        raise ValueError(f"length is {length} and window {window}; both are counted in tokens and must be 1 or more.")
    places = torch.arange(length, device=device)
    distance = places[:, None] - places
    return (distance >= 0) & (distance < (length if window is None else window))


def document_mask(input_ids: Tensor, first_id: int) -> Tensor:
    """(batch, 1, length, length) bool, True where a key is not later than the query and stands in its document.

    input_ids: (batch, length) int64, packed rows as ``course_utils.text.packing.pack`` makes them. first_id: the token
    that begins a document; what stands before the first of them is the rest of a document whose beginning was cut off.
    The rule of Llama 3 (arXiv 2407.21783, section 3.2). Raises ValueError for ids that are no batch of rows.
    """
    if input_ids.dim() != 2:
        raise ValueError(
            f"input_ids has the shape {tuple(input_ids.shape)}; (batch, length) is expected. A single row needs "
            "input_ids[None]."
        )
    number = (input_ids == first_id).cumsum(1)  # which document of the row a token belongs to
    same = number[:, :, None] == number[:, None, :]
    return (same & causal_mask(input_ids.shape[1], device=input_ids.device))[:, None]


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)), (batch, heads, length, keys): how much each query takes from each key.

    q: (batch, heads, length, head_dim).  k: (batch, key/value heads, keys, head_dim); key/value head ``g`` serves the
    query heads ``g * group`` to ``(g + 1) * group - 1`` with ``group = heads / key/value heads`` (arXiv 2305.13245).
    mask: bool, broadcasting to the result, True where a query may look; None stands for the causal one. A query that
    may look nowhere takes nothing: its weights are 0, as in PyTorch's fused kernel.
    Raises ValueError if the heads cannot be grouped.
    """
    if q.shape[1] % k.shape[1]:
        raise ValueError(
            f"q has {q.shape[1]} heads and k {k.shape[1]}; each key/value head serves a whole group of query heads, so "
            "the first number must be divisible by the second."
        )
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    mask = causal_mask(q.shape[2], device=q.device) if mask is None else mask
    # Filled with -inf, a row without any key would be 0 / 0. With a finite number it is even, and then emptied.
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    return weights.masked_fill(~mask, 0)


def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """What each query gathers: (batch, heads, length, head_dim). Shapes and errors as in ``attention_weights``; ``v``
    is like ``k``. "Attention Is All You Need", arXiv 1706.03762, equation 1."""
    weights = attention_weights(q, k, mask)
    return weights @ v.repeat_interleave(q.shape[1] // v.shape[1], dim=1)


def sliding_window_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Causal attention to the last ``window`` places, computed in blocks: time and memory grow as length * window.

    Shapes as in ``grouped_query_attention``, with as many keys as queries. The row is cut into blocks of ``window``
    queries, and all that a block may see lies in its own block and the one before, so 2 * window keys are multiplied
    for each query, however long the row. Equal to full attention with ``causal_mask(length, window)``.
    Raises ValueError if window is below 1.
    """
    batch, heads, length, size = q.shape
    blocks = -(-length // window) if window > 0 else 0
    inside = causal_mask(2 * window, window, q.device)[window:]  # (window, 2 * window): a block's queries, two of keys
    q = F.pad(q, (0, 0, 0, blocks * window - length)).reshape(batch, heads, blocks, window, size)

    def two_blocks(x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, window, blocks * window - length))  # an empty block stands before the first
        x = x.reshape(batch, x.shape[1], blocks + 1, window, size)
        x = torch.cat((x[:, :, :-1], x[:, :, 1:]), dim=3)
        return x.repeat_interleave(heads // x.shape[1], dim=1)

    mask = inside.repeat(blocks, 1, 1)
    mask[0, :, :window] = False  # before the first block there is nothing
    q, k, v = (x.transpose(1, 2).reshape(batch * blocks, heads, -1, size) for x in (q, two_blocks(k), two_blocks(v)))
    mixed = F.scaled_dot_product_attention(q, k, v, mask.repeat(batch, 1, 1)[:, None])
    mixed = mixed.reshape(batch, blocks, heads, window, size).transpose(1, 2)
    return mixed.reshape(batch, heads, blocks * window, size)[:, :, :length]


@contextlib.contextmanager
def attention_mask_of(model: Decoder, mask: Tensor) -> Iterator[None]:
    """Inside, every layer of the model looks where ``mask`` is True, and nowhere else.

    mask: (length, length) bool for all rows, or (batch, 1, length, length) for each row its own, as
    ``document_mask`` gives it. For experiments with windows, with documents in packed rows and with forgotten masks,
    on rows of just that length, without a cache.
    """

    def hook(module: Attention, args: tuple) -> tuple:
        x, cos, sin, _, _, cache = args
        rows, length = x.shape[:2]
        # (rows, length, length) would be taken for one mask a head, and fit where there are as many heads as rows.
        if cache is not None or mask.shape not in ((length, length), (rows, 1, length, length)):
            raise ValueError(
                f"the mask is {tuple(mask.shape)}; for {rows} rows of {length} tokens give (length, length), or "
                "(rows, 1, length, length) for each row its own, and read them in one piece, without a cache."
            )
        return x, cos, sin, mask.to(x.device), False, None

    blocks = cast(Iterable[Block], model.model.layers)
    hooks = [block.self_attn.register_forward_pre_hook(hook) for block in blocks]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()
