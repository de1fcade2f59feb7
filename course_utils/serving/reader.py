"""One pass of the decoder over a flat list of tokens of many requests, with keys and values in pages.

Everything but attention treats each token by itself, so a token that is generated and a piece of a prompt can go
through the matrices side by side (Orca, OSDI 2022, section 3.2). Only attention must know whose token it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.decoder import Block, Decoder, apply_rope
from course_utils.models.decoding import can_fuse, resolve
from course_utils.serving.paged_cache import PagedMemory, ServingError


class Piece(NamedTuple):
    """New tokens of one request: they stand at ``start``, ``start + 1``, ... and ``table`` names its blocks so far."""

    tokens: Sequence[int]
    start: int
    table: Sequence[int]


class PagedReader:
    """Reads pieces with a ``Decoder``, or a Llama of transformers that is one. Raises ServingError for others."""

    def __init__(self, model: nn.Module, blocks: int, block_size: int) -> None:
        source = resolve(model)
        if not isinstance(source, Decoder):
            raise ServingError(
                f"the engine reads the course's Decoder, or a Llama of transformers that equals one; given "
                f"{type(model).__name__}. Serve other models with `transformers serve` or vLLM."
            )
        self.model, self.config = source, source.config
        weight = source.model.embed_tokens.weight
        self.device = weight.device
        self.memory = PagedMemory(self.config, blocks, block_size, weight.device, weight.dtype)
        self.layers = cast("Iterable[Block]", source.model.layers)
        self.joined: list[tuple[Tensor, Tensor]] | None = None
        if can_fuse(source):  # one matrix product in place of three, and of two
            self.joined = [
                (
                    torch.cat([part.weight for part in (a.q_proj, a.k_proj, a.v_proj)]).detach(),
                    torch.cat([part.weight for part in (m.gate_proj, m.up_proj)]).detach(),
                )
                for a, m in ((block.self_attn, block.mlp) for block in self.layers)
            ]

    @torch.inference_mode()
    def read(self, pieces: Sequence[Piece]) -> Tensor:
        """Logits (pieces, vocab), float32, of what follows each piece; its keys and values are kept."""
        size, device = self.memory.block_size, self.device
        ids, positions, slots, last = list[int](), list[int](), list[int](), list[int]()
        for tokens, start, table in pieces:
            ids += tokens
            places = range(start, start + len(tokens))
            positions += places
            slots += [table[place // size] * size + place % size for place in places]
            last.append(len(ids) - 1)
        where, slot = torch.tensor(positions, device=device), torch.tensor(slots, device=device)
        groups = _groups(pieces, size, device)
        x = self.model.model.embed_tokens(torch.tensor(ids, device=device))
        cos = self.model.model.rope_cos[where].to(x.dtype)[:, None]
        sin = self.model.model.rope_sin[where].to(x.dtype)[:, None]
        for number, block in enumerate(self.layers):
            normal = block.input_layernorm(x)
            q, k, v = (part.unflatten(1, (-1, self.config.head_dim)) for part in self._qkv(number, block, normal))
            self.memory.write(number, slot, apply_rope(k, cos, sin), v)
            mixed = self._attend(number, apply_rope(q, cos, sin), groups)
            x = x + block.self_attn.o_proj(mixed)
            normal = block.post_attention_layernorm(x)
            if self.joined is None:
                x = x + block.mlp(normal)
            else:
                gate, up = F.linear(normal, self.joined[number][1]).chunk(2, dim=1)
                x = x + block.mlp.down_proj(F.silu(gate) * up)
        return self.model.lm_head(self.model.model.norm(x[torch.tensor(last, device=device)])).float()

    def _qkv(self, number: int, block: Any, x: Tensor) -> Sequence[Tensor]:
        attention = block.self_attn
        if self.joined is None:
            return attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
        sizes = [part.out_features for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
        return F.linear(x, self.joined[number][0]).split(sizes, dim=1)

    def _attend(self, layer: int, q: Tensor, groups: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Attention of queries (tokens, heads, head_dim), group by group; returns (tokens, heads * head_dim)."""
        mixed = torch.empty_like(q)
        for rows, tables, bias in groups:
            count, length = rows.shape  # requests, new tokens of each
            keys, values = self.memory.read(layer, tables)
            heads, size = keys.shape[0], keys.shape[3]
            # (kv heads, requests, tokens x queries that share the head, head_dim): no key is copied for its group
            mine = q[rows].view(count, length, heads, -1, size).permute(2, 0, 1, 3, 4).flatten(2, 3)
            scores = (mine @ keys.transpose(2, 3)) * size**-0.5
            scores = scores.unflatten(2, (length, -1)) + bias[None, :, :, None]
            out = scores.softmax(-1).flatten(2, 3) @ values
            mixed[rows] = out.unflatten(2, (length, -1)).permute(1, 2, 0, 3, 4).flatten(2, 3)
        return mixed.flatten(1)


def _groups(pieces: Sequence[Piece], size: int, device: torch.device) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Requests with equally many new tokens go through attention together: all that generate are one group.

    For each group: which tokens (requests, new), tables (requests, blocks) padded with block 0, and what is added to
    the scores (requests, new, length): 0 where a token may look, else -inf.
    """
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
        groups.append((rows, tables, torch.zeros(later.shape, device=device).masked_fill_(later, float("-inf"))))
    return groups
