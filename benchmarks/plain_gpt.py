"""The loop that most people write first, for the course's to be held to: a GPT-2-style model and thirty lines.

It has everything that makes such a loop fast (bf16 autocast, torch.compile, fused AdamW, fused attention) and nothing
else: no checkpoint, no accumulation over tokens, no check of what it is given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainBlock(nn.Module):
    def __init__(self, hidden: int, heads: int, wide: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, wide), nn.Linear(wide, hidden)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, hidden = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, hidden))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class PlainGPT(nn.Module):
    """Learned positions, LayerNorm, GELU, full attention, a tied head. ``like`` gives sizes: as many parameters."""

    def __init__(self, like: Any, seed: int = 0) -> None:
        super().__init__()
        hidden = like.hidden_size
        key_values = like.num_key_value_heads * (hidden // like.num_attention_heads)
        layer = 2 * hidden * hidden + 2 * hidden * key_values + 3 * hidden * like.intermediate_size
        wide = round((layer - 4 * hidden * hidden) / (2 * hidden) / 8) * 8
        self.config = like
        self.tokens = nn.Embedding(like.vocab_size, hidden)
        self.places = nn.Embedding(like.max_position_embeddings, hidden)
        self.blocks = nn.ModuleList(
            PlainBlock(hidden, like.num_attention_heads, wide) for _ in range(like.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, like.vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, 0.0, 0.02, generator=generator)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]).float(), ids[:, 1:].reshape(-1))


def train_plainly(
    model: PlainGPT,
    batches: Iterable[Tensor],
    device: str,
    learning_rate: float,
    after_step: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """Train on batches of token ids (rows, length); the loss of each step."""
    model.to(device).train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    cuda = device == "cuda"
    run: Callable[[Tensor], Tensor] = torch.compile(model) if cuda else model
    losses = []
    for step, ids in enumerate(batches):
        with torch.autocast("cuda", torch.bfloat16) if cuda else contextlib.nullcontext():
            loss = run(ids.to(device, non_blocking=True))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        after_step(step)
    return losses
