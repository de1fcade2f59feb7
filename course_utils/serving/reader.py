"""One pass of the decoder over a flat list of tokens of many requests, with keys and values in pages.

Everything but attention treats each token by itself, so a token that is generated and a piece of a prompt can go
through the matrices side by side (Orca, OSDI 2022, section 3.2). Only attention must know whose token it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.decoder import Block, Decoder, apply_rope
from course_utils.models.decoding import FusedBackend, can_fuse, resolve
from course_utils.serving.cache_formats import QuantizedPages
from course_utils.serving.paged_cache import PagedMemory, ServingError


class Piece(NamedTuple):
    """New tokens of one request: they stand at ``start``, ``start + 1``, ... and ``table`` names its blocks so far.
    Logits are wanted after the last ``asked`` of them."""

    tokens: Sequence[int]
    start: int
    table: Sequence[int]
    asked: int = 1


class Group(NamedTuple):
    """Requests with equally many new tokens, which go through attention together.

    rows (requests x new,): their tokens in the pass. tables (requests, blocks): padded with block 0. bias (requests,
    new, length) is added to the scores: 0 where a token may look, else -inf.
    """

    rows: Tensor
    tables: Tensor
    bias: Tensor


class PagedReader:
    """Reads pieces with a ``Decoder``, or a Llama of transformers that is one. Raises ServingError for others."""

    def __init__(self, model: nn.Module, blocks: int, block_size: int, cache_bits: int | None = None) -> None:
        source = resolve(model)
        if not isinstance(source, Decoder):
            raise ServingError(
                f"the engine reads the course's Decoder, or a Llama of transformers that equals one; given "
                f"{type(model).__name__}. Serve other models with `transformers serve` or vLLM."
            )
        self.model, self.config = source, source.config
        weight = source.model.embed_tokens.weight
        self.device = weight.device
        place = {"device": weight.device, "dtype": weight.dtype}
        self.memory = (
            PagedMemory(self.config, blocks, block_size, **place)
            if cache_bits is None
            else QuantizedPages(self.config, blocks, block_size, cache_bits, **place)
        )
        self.layers = cast("Iterable[Block]", source.model.layers)
        # Plain weights on a CPU are read with the matrices of ``FusedBackend``, in about half as many operations.
        self.fused = FusedBackend(source, self.config.max_position_embeddings) if can_fuse(source) else None

    @torch.inference_mode()
    def read(self, pieces: Sequence[Piece]) -> Tensor:
        """Logits (asked by all pieces, vocab), float32, of what follows; keys and values of all tokens are kept."""
        size, device = self.memory.block_size, self.device
        ids, positions, slots, last = list[int](), list[int](), list[int](), list[int]()
        for tokens, start, table, asked in pieces:
            ids += tokens
            places = range(start, start + len(tokens))
            positions += places
            slots += [table[place // size] * size + place % size for place in places]
            last += range(len(ids) - asked, len(ids))
        given, where, slot, wanted = (torch.tensor(some, device=device) for some in (ids, positions, slots, last))
        read = self._pass if self.fused is None else self._fused_pass
        return read(given, where, slot, wanted, _groups(pieces, size, device))

    def _pass(self, ids: Tensor, positions: Tensor, slots: Tensor, last: Tensor, groups: Sequence[Group]) -> Tensor:
        """The decoder, part by part; logits after the tokens ``last``."""
        x = self.model.model.embed_tokens(ids)
        cos = self.model.model.rope_cos[positions].to(x.dtype)[:, None]
        sin = self.model.model.rope_sin[positions].to(x.dtype)[:, None]
        for number, block in enumerate(self.layers):
            attention, normal = block.self_attn, block.input_layernorm(x)
            parts = attention.q_proj(normal), attention.k_proj(normal), attention.v_proj(normal)
            q, k, v = (part.unflatten(1, (-1, self.config.head_dim)) for part in parts)
            self.memory.write(number, slots, torch.cat((apply_rope(k, cos, sin), v), dim=1))
            q = apply_rope(q, cos, sin) * self.config.head_dim**-0.5
            x = x + attention.o_proj(self._attend(number, q, groups))
            x = x + block.mlp(block.post_attention_layernorm(x))
        return self.model.lm_head(self.model.model.norm(x[last])).float()

    def _fused_pass(
        self, ids: Tensor, positions: Tensor, slots: Tensor, last: Tensor, groups: Sequence[Group]
    ) -> Tensor:
        """The same arithmetic, rearranged as in ``FusedBackend``, which says how and why."""
        fused = cast("FusedBackend", self.fused)
        heads, size = fused.heads[0], fused.head_dim
        turn = fused.turn[positions]
        x = F.embedding(ids, fused.embedding)
        for number, (qkv, out, gate_up, down) in enumerate(fused.layers):
            pairs = torch.view_as_complex((fused.normalize(x) @ qkv).view(len(x), -1, size // 2, 2))
            turned = torch.view_as_real(pairs.mul_(turn)).flatten(2)  # queries, keys and values: (tokens, heads, size)
            self.memory.write(number, slots, turned[:, heads:])
            x.addmm_(self._attend(number, turned[:, :heads], groups), out)
            if number + 1 == len(fused.layers) and len(last) < len(x):
                x = x[last]  # nobody asks for the other tokens' results
            gate, up = (fused.normalize(x) @ gate_up).chunk(2, dim=1)
            x.addmm_(F.silu(gate, inplace=True).mul_(up), down)
        return fused.normalize(x) @ fused.head

    def _attend(self, layer: int, q: Tensor, groups: Sequence[Group]) -> Tensor:
        """Attention of scaled queries (tokens, heads, head_dim), group by group; returns (tokens, heads * head_dim)."""
        if len(groups) == 1:  # all rows, in their order
            return self._attend_group(layer, q, groups[0])
        mixed = q.new_empty(q.shape).flatten(1)
        for group in groups:
            mixed[group.rows] = self._attend_group(layer, q[group.rows], group)
        return mixed

    def _attend_group(self, layer: int, q: Tensor, group: Group) -> Tensor:
        count, new = group.bias.shape[:2]  # requests, new tokens of each
        keys, values = self.memory.read(layer, group.tables)
        heads, size = keys.shape[0], keys.shape[3]
        # (kv heads, requests, tokens x queries that share the head, head_dim): no key is copied for its group
        mine = q.view(count, new, heads, -1, size).permute(2, 0, 1, 3, 4).flatten(2, 3)
        scores = (mine @ keys.transpose(2, 3)).unflatten(2, (new, -1)).add_(group.bias[:, :, None])
        mixed = scores.softmax(-1).flatten(2, 3) @ values
        return mixed.unflatten(2, (new, -1)).permute(1, 2, 0, 3, 4).reshape(count * new, -1)


def _groups(pieces: Sequence[Piece], size: int, device: torch.device) -> list[Group]:
    """The pieces of equal length together: all that generate are one group."""
    first = 0
    members: dict[int, list[tuple[int, Piece]]] = {}
    for piece in pieces:
        members.setdefault(len(piece.tokens), []).append((first, piece))
        first += len(piece.tokens)
    groups = []
    for new, group in members.items():
        used = [-(-(piece.start + new) // size) for _, piece in group]
        tables = torch.tensor(
            [list(piece.table[:n]) + [0] * (max(used) - n) for (_, piece), n in zip(group, used, strict=True)],
            device=device,
        )
        offsets = torch.arange(new, device=device)
        rows = torch.tensor([at for at, _ in group], device=device)[:, None] + offsets
        own = torch.tensor([piece.start for _, piece in group], device=device)[:, None] + offsets
        later = torch.arange(max(used) * size, device=device) > own[:, :, None]
        bias = torch.zeros(later.shape, device=device).masked_fill_(later, float("-inf"))
        groups.append(Group(rows.flatten(), tables, bias))
    return groups
