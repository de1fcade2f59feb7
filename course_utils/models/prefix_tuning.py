"""Prefix tuning: trained keys and values before the text, in every layer (Li and Liang, arXiv 2101.00190, section 4).

A soft prompt (``prompt_tuning.py``) is trained vectors below the first layer; what the layers above see of them is
computed by the frozen model. A prefix is set free in each layer: n keys and n values per key/value head, which every
token of the text may look at. No token of the text is changed, and no weight.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.decoder import Decoder, DecoderOutput


def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    """Causal attention over a text, in which every token also sees the whole prefix.

    q, k, v: (batch, heads, length, head_dim), as many key/value heads as query heads. prefix_k, prefix_v: (heads, n,
    head_dim), the same for all rows of the batch. Returns (batch, heads, length, head_dim).
    """
    batch, _, length, _ = q.shape
    k = torch.cat((prefix_k.expand(batch, -1, -1, -1), k), dim=2)
    v = torch.cat((prefix_v.expand(batch, -1, -1, -1), v), dim=2)
    n = prefix_k.shape[1]
    mask = torch.ones(length, n + length, dtype=torch.bool, device=q.device).tril(n)  # row i sees n + i + 1 places
    return F.scaled_dot_product_attention(q, k, v, mask)


class _Prefix:
    """What a block takes for a cache: the prefix stands before the keys and values of the text."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values, self.length = keys, values, keys.shape[2]

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        k, v = (own[layer].to(keys.dtype).expand(len(keys), -1, -1, -1) for own in (self.keys, self.values))
        return torch.cat((k, keys), dim=2), torch.cat((v, values), dim=2)


class PrefixTuning(nn.Module):
    """A frozen decoder with a trained prefix in every layer.

    ``keys`` and ``values`` (layers, key/value heads, n, head_dim) are the only trained parameters. At the start they
    are those of real tokens, ``init_ids`` (or ``length`` tokens drawn with ``seed``): the model then computes what it
    would with these tokens before the text. (Section 7.4 of the paper: real words are a better start than random
    numbers. The paper also trains them through a small network that is thrown away afterwards, section 4.3; here the
    numbers are trained themselves.) Positions of the text count from n, as they do in peft.
    The decoder is used, not copied, and its parameters stop asking for gradients.
    Raises ValueError for a length below 1, or ``init_ids`` of another length.
    """

    def __init__(
        self, model: Decoder, length: int | None = None, init_ids: list[int] | Tensor | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        device = model.model.embed_tokens.weight.device
        if init_ids is None:
            if not isinstance(length, int) or length < 1:
                raise ValueError(f"length is {length!r}; a prefix has 1 place or more, such as length=10.")
            generator = torch.Generator().manual_seed(seed)
            init_ids = torch.randint(model.config.vocab_size, (length,), generator=generator)
        init_ids = torch.as_tensor(init_ids, device=device)
        if len(init_ids) < 1 or length not in (None, len(init_ids)):
            raise ValueError(f"length is {length} and init_ids has {len(init_ids)} tokens; give one token per place.")
        self.model = model.requires_grad_(False)
        cache = model.new_cache(1, len(init_ids))
        with torch.no_grad():
            model.model(init_ids[None], cache=cache)
        self.keys = nn.Parameter(torch.cat(cache.keys).float())
        self.values = nn.Parameter(torch.cat(cache.values).float())

    @property
    def config(self) -> Any:
        """The decoder's configuration."""
        return self.model.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> DecoderOutput:
        """Logits (batch, length, vocab) and hidden states of the text; the prefix itself is no part of the output.

        input_ids: (batch, length). attention_mask: (batch, length), 1 for tokens, 0 for padding.
        Raises ValueError if prefix and text together are longer than the model's context.
        """
        if attention_mask is not None:
            attention_mask = F.pad(attention_mask, (self.keys.shape[2], 0), value=1)
        return self.model(input_ids, attention_mask, cache=_Prefix(self.keys, self.values))


def peft_prefix(prefix: PrefixTuning) -> Tensor:
    """The same numbers as peft's ``PrefixTuning`` keeps them in one table: (n, layers * 2 * heads * head_dim).

    A row holds, for one place, keys and then values of layer 0, keys and values of layer 1, and so on.
    """
    both = torch.stack((prefix.keys, prefix.values), dim=1)  # (layers, 2, heads, n, head_dim)
    return both.permute(3, 0, 1, 2, 4).reshape(both.shape[3], -1).detach().clone()
