"""Reading token by token: what a model must offer so that ``generate`` can use it.

A reader takes the prompts once (``prefill``), then one new token per row and step (``step``), and answers
with the logits of the next token, (rows, vocab) in float32. It remembers keys and values, and can be told to
go on with some of its rows only (``select``). There are three:

- ``FusedReader``: a decoder with plain weights in float32 on a CPU, in as few operations as possible;
- ``DecoderReader``: any other ``Decoder``: on a GPU, in half precision, with LoRA or quantized layers;
- ``TransformersReader``: any causal language model of transformers.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.convert import from_llama
from course_utils.models.decoder import Decoder


class Reader(Protocol):
    """See the module's text. ``mask`` (rows, length) is 1 for tokens and 0 for padding, which stands on the left."""

    def prefill(self, input_ids: Tensor, mask: Tensor | None) -> Tensor: ...
    def step(self, tokens: Tensor) -> Tensor: ...
    def select(self, rows: Tensor) -> None: ...


def resolve(model: nn.Module) -> nn.Module:
    """The model that is read in place of ``model``, with the same parameters.

    The wrappers of ``torch.compile`` and of distributed training are taken off. A Llama of transformers is our decoder
    under another name, and is read as one where that is exact; every other model is read as it is.
    """
    model = getattr(model, "_orig_mod", model)
    model = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    if type(model).__name__ == "LlamaForCausalLM" and _is_plain(model):
        try:
            return from_llama(model, share=True)
        except ValueError:  # biases, scaled rotary positions: what our decoder does not have
            return model
    return model


def make_reader(model: nn.Module, max_length: int) -> Reader:
    """The quickest reader for this model; ``max_length`` counts the tokens it will be shown. Raises TypeError."""
    model = resolve(model)
    if not isinstance(model, Decoder):
        return TransformersReader(model)
    return FusedReader(model, max_length) if can_fuse(model) else DecoderReader(model, max_length)


def can_fuse(model: nn.Module) -> bool:
    """True if the (resolved) model is a decoder that a ``FusedReader`` reads exactly."""
    if not isinstance(model, Decoder) or not _is_plain(model):
        return False
    weight = model.model.embed_tokens.weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32


def _is_plain(model: nn.Module) -> bool:
    """True if every part is what it was built as: no LoRA, no quantized matrix, no bias, no hook."""
    own = "course_utils.models.decoder", "transformers.models.llama.", "transformers.activations"
    return all(
        (type(part) in (nn.Linear, nn.Embedding, nn.ModuleList, nn.SiLU) or type(part).__module__.startswith(own))
        and getattr(part, "bias", None) is None
        and not (part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part))
        for part in model.modules()
    )


class DecoderReader:
    """Reads with ``Decoder.forward`` and its cache."""

    def __init__(self, model: Decoder, max_length: int) -> None:
        self.model = model
        self.max_length = max_length

    def prefill(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        self.cache = self.model.new_cache(len(input_ids), self.max_length)
        self.mask = mask
        positions = None if mask is None else (mask.cumsum(1) - 1).clamp(min=0)
        self.next = None if mask is None else mask.sum(1)  # position of each row's next token
        return self.model(input_ids, mask, positions, self.cache, logits_to_keep=1).logits[:, -1].float()

    def step(self, tokens: Tensor) -> Tensor:
        if self.mask is None:
            return self.model(tokens[:, None], cache=self.cache).logits[:, -1].float()
        self.mask = F.pad(self.mask, (0, 1), value=1)
        output = self.model(tokens[:, None], self.mask, self.next[:, None], self.cache)
        self.next = self.next + 1
        return output.logits[:, -1].float()

    def select(self, rows: Tensor) -> None:
        self.cache.select(rows)
        if self.mask is not None:
            self.mask, self.next = self.mask[rows], self.next[rows]


class FusedReader(DecoderReader):
    """The decoder's arithmetic, rearranged for one token per row, where the number of operations counts.

    - The query, key and value matrices become one, and so do gate and up.
    - What only scales is multiplied into the matrices once: the weights of RMSNorm, and 1 / sqrt(head_dim).
    - Activations stand in columns, ``x`` (hidden, rows), because ``W @ x`` uses two cores better than ``x @ W.T``.
    - The queries that share a key/value head are rows of one small matrix, so that no key is copied.
    """

    def __init__(self, model: Decoder, max_length: int) -> None:
        super().__init__(model, max_length)
        config = model.config
        self.head_dim, self.eps = config.head_dim, config.rms_norm_eps
        self.heads = config.num_attention_heads, config.num_key_value_heads
        self.layers = []
        for block in model.model.layers:
            attention, mlp = block.self_attn, block.mlp
            queries = attention.q_proj.weight * self.head_dim**-0.5
            qkv = torch.cat((queries, attention.k_proj.weight, attention.v_proj.weight)) * block.input_layernorm.weight
            gate_up = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)) * block.post_attention_layernorm.weight
            self.layers.append((qkv, attention.o_proj.weight, gate_up, mlp.down_proj.weight))
        self.head = model.lm_head.weight * model.model.norm.weight
        cos, sin = model.model.rope_cos, model.model.rope_sin
        self.cos, self.sin = torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)  # (positions, head_dim)

    def prefill(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        logits = super().prefill(input_ids, mask)
        if mask is not None:  # what is added to the scores: 0 for tokens, -inf for padding
            self.bias = torch.zeros(len(mask), 1, 1, self.max_length)
            self.bias[:, 0, 0, : mask.shape[1]].masked_fill_(mask == 0, float("-inf"))
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        rows, size, cache = len(tokens), self.head_dim, self.cache
        query_heads, key_heads = self.heads
        past, end = cache.length, cache.length + 1
        where = past if self.mask is None else self.next[:, None, None]
        cos, sin = self.cos[where], self.sin[where]
        x = self.model.model.embed_tokens.weight[tokens].t().contiguous()
        for (qkv, out, gate_up, down), keys, values in zip(self.layers, cache.keys, cache.values, strict=True):
            heads = (qkv @ self.normalize(x)).t().reshape(rows, -1, 1, size)
            qk, v = heads.split((query_heads + key_heads, key_heads), dim=1)
            q, k = torch.addcmul(qk * cos, qk.roll(size // 2, -1), sin).split((query_heads, key_heads), dim=1)
            keys[:, :, past:end] = k
            values[:, :, past:end] = v
            scores = q.reshape(rows, key_heads, -1, size) @ keys[:, :, :end].transpose(2, 3)
            if self.mask is not None:
                scores += self.bias[..., :end]
            mixed = scores.softmax(-1) @ values[:, :, :end]
            x.addmm_(out, mixed.view(rows, -1).t())
            gate, up = (gate_up @ self.normalize(x)).chunk(2)
            x.addmm_(down, F.silu(gate, inplace=True).mul_(up))
        cache.length = end
        if self.mask is not None:
            self.next = self.next + 1
        return self.normalize(x).t() @ self.head.t()

    def normalize(self, x: Tensor) -> Tensor:
        """RMSNorm over columns (hidden, rows); its weights are in the next matrix."""
        return x * x.square().mean(0).add_(self.eps).rsqrt_()

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        if self.mask is not None:
            self.bias = self.bias[rows]


class TransformersReader:
    """Reads with a transformers model and its own ``past_key_values``; masks and positions only where padding asks."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model  # under a peft wrapper
        accepted = inspect.signature(base.forward).parameters
        if "past_key_values" not in accepted:
            raise TypeError(
                f"generate got a {type(model).__name__}, whose forward takes no past_key_values; it wants a Decoder of "
                "this course or a causal language model of transformers, without a head of another kind around it."
            )
        self.takes_positions = "position_ids" in accepted
        self.options: dict[str, Any] = {"use_cache": True}
        if "logits_to_keep" in accepted:
            self.options["logits_to_keep"] = 1

    def prefill(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        from transformers import DynamicCache

        self.cache = DynamicCache(config=self.model.config)
        self.mask = mask
        return self._read(input_ids, None if mask is None else (mask.cumsum(1) - 1).clamp(min=0))

    def step(self, tokens: Tensor) -> Tensor:
        if self.mask is None:
            return self._read(tokens[:, None], None)
        positions = self.mask.sum(1, keepdim=True)
        self.mask = F.pad(self.mask, (0, 1), value=1)
        return self._read(tokens[:, None], positions)

    def select(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        if self.mask is not None:
            self.mask = self.mask[rows]

    def _read(self, input_ids: Tensor, positions: Tensor | None) -> Tensor:
        extra = {} if self.mask is None else {"attention_mask": self.mask}
        if positions is not None and self.takes_positions:
            extra["position_ids"] = positions
        output = self.model(input_ids=input_ids, past_key_values=self.cache, **extra, **self.options)
        return output.logits[:, -1].float()
