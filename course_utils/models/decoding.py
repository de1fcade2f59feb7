"""Reading token by token: what a model must offer so that ``generate`` can use it.

A reader takes the prompts once (``prefill``), then one new token per row and step (``step``), and answers
with the logits of the next token, (rows, vocab) in float32. It remembers keys and values, and can be told to
go on with some of its rows only (``reorder_cache``). There are three:

- ``FusedBackend``: a decoder with plain weights in float32 on a CPU, in as few operations as possible;
- ``DecoderBackend``: any other ``Decoder``: on a GPU, in half precision, with LoRA or quantized layers;
- ``TransformersBackend``: any causal language model of transformers.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.convert import from_llama
from course_utils.models.decoder import Block, Decoder, attention_pattern

if TYPE_CHECKING:
    from peft import PeftModel

PREFILL_TOKENS = 512  # prompts are read so many tokens at a time, so that what is computed stays near the processor


class Backend(Protocol):
    """See the module's text. ``mask`` (rows, length) is 1 for tokens and 0 for padding, which stands on the left."""

    def prefill(self, input_ids: Tensor, mask: Tensor | None) -> Tensor: ...
    def step(self, tokens: Tensor) -> Tensor: ...
    def reorder_cache(self, rows: Tensor) -> None: ...


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


def make_backend(model: nn.Module, max_length: int, quick: bool = False) -> Backend:
    """The quickest reader for this model; ``max_length`` counts the tokens it will be shown. ``quick``: rounding may
    differ from one reader to the other. Raises TypeError."""
    model = resolve(model)
    if not isinstance(model, Decoder):
        return TransformersBackend(model)
    return FusedBackend(model, max_length, quick) if can_fuse(model) else DecoderBackend(model, max_length)


def can_fuse(model: nn.Module) -> TypeGuard[Decoder]:
    """True if the (resolved) model is a decoder that a ``FusedBackend`` reads exactly."""
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


class DecoderBackend:
    """Reads with ``Decoder.forward`` and its cache."""

    def __init__(self, model: Decoder, max_length: int) -> None:
        self.model = model
        self.max_length = max_length

    def prefill(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        self.cache = self.model.new_cache(len(input_ids), self.max_length)
        self.mask = mask
        positions = None if mask is None else (mask.cumsum(1) - 1).clamp(min=0)
        if mask is not None:
            self.next = mask.sum(1)  # position of each row's next token
        return self.model(input_ids, mask, positions, self.cache, logits_to_keep=1).logits[:, -1].float()

    def step(self, tokens: Tensor) -> Tensor:
        if self.mask is None:
            return self.model(tokens[:, None], cache=self.cache).logits[:, -1].float()
        self.mask = F.pad(self.mask, (0, 1), value=1)
        output = self.model(tokens[:, None], self.mask, self.next[:, None], self.cache)
        self.next = self.next + 1
        return output.logits[:, -1].float()

    def reorder_cache(self, rows: Tensor) -> None:
        self.cache.select(rows)
        if self.mask is not None:
            self.mask, self.next = self.mask[rows], self.next[rows]


class FusedBackend(DecoderBackend):
    """The decoder's arithmetic, rearranged for few and short operations.

    - The query, key and value matrices become one, and so do gate and up.
    - What only scales is multiplied into the matrices once: the weights of RMSNorm, and 1 / sqrt(head_dim).
    - The two numbers that RoPE turns together become neighbours, the parts of one complex number: all heads turn in
      one multiplication. Queries and keys are reordered alike, which no scalar product notices.
    - The queries that share a key/value head are rows of one small matrix, so that no key is copied. Keys are kept as
      columns: products that read along rows take half the time of products that read across them.
    - Of the prompts, the last layer needs keys and values at all places, but everything else at the last one only.
    - Results go into memory that is kept from step to step, and so do the views of it.

    ``quick``: RMSNorm in half the time, the same to rounding, which a draw may notice (see ``prefill_in_parts``).
    """

    @torch.no_grad()
    def __init__(self, model: Decoder, max_length: int, quick: bool = False) -> None:
        super().__init__(model, max_length)
        config = model.config
        self.head_dim, self.eps, self.quick = config.head_dim, config.rms_norm_eps, quick
        # x / sqrt(mean(x^2) + eps) = sqrt(n) x / hypot(|x|, sqrt(n eps)); the first factor goes into the matrices, too.
        self.floor, scale = torch.tensor(math.sqrt(config.hidden_size * self.eps)), math.sqrt(config.hidden_size)
        self.heads = config.num_attention_heads, config.num_key_value_heads
        self.pairs = torch.arange(self.head_dim).view(2, -1).t().flatten()  # 0, d/2, 1, d/2 + 1, ...
        self.layers = []
        for block in cast(Iterable[Block], model.model.layers):
            attention, mlp = block.self_attn, block.mlp
            queries = self.pair_up(attention.q_proj.weight) * self.head_dim**-0.5
            keys, values = self.pair_up(attention.k_proj.weight), attention.v_proj.weight
            before, between = block.input_layernorm.weight, block.post_attention_layernorm.weight
            qkv = torch.cat((queries, keys, values)) * (before * scale if quick else before)
            gate_up = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)) * (between * scale if quick else between)
            out, down = attention.o_proj.weight.detach(), mlp.down_proj.weight.detach()
            self.layers.append((qkv.t(), out.t(), gate_up.t(), down.t()))
        self.embedding = model.model.embed_tokens.weight.detach()
        last = model.model.norm.weight
        self.head = (model.lm_head.weight * (last * scale if quick else last)).t()
        turn = torch.complex(model.model.rope_cos, model.model.rope_sin)[:, None]  # (positions, 1, head_dim / 2)
        queries_and_keys = turn.expand(-1, sum(self.heads), -1)
        self.turn = torch.cat((queries_and_keys, torch.ones_like(turn).expand(-1, self.heads[1], -1)), dim=1)

    def pair_up(self, weight: Tensor) -> Tensor:
        """The rows of each head (heads x head_dim, hidden) in the order of ``pairs``."""
        return weight.view(-1, self.head_dim, weight.shape[1])[:, self.pairs].view_as(weight)

    def prefill(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        logits = super().prefill(input_ids, mask)
        cache = self.cache
        del self.cache
        self._begin(input_ids, mask)
        for layer, (keys, values) in enumerate(zip(cache.keys, cache.values, strict=True)):
            self.keys[layer], self.values[layer] = keys[..., self.pairs].transpose(2, 3), values
        return logits

    def prefill_in_parts(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        """``prefill``, prompts of similar length together: half the seconds, and the same to rounding.

        Rounding is enough to move a draw that lies on the border of two tokens, one in 7,680 where it was counted. So
        only those who take the likeliest token read their prompts so: what is drawn stays what it was.
        """
        rows, width = input_ids.shape
        self._begin(input_ids, mask)
        lengths = [width] * rows if mask is None else mask.sum(1).tolist()
        if mask is not None:
            self.next = mask.sum(1)
        logits = torch.empty(rows, self.head.shape[1])
        for part in alike(lengths, PREFILL_TOKENS):
            longest = max(lengths[i] for i in part)
            some = torch.tensor(part)
            padding = None
            if mask is not None and any(lengths[i] < longest for i in part):
                padding = mask[some, width - longest :]
            logits[some] = self._read(input_ids[some, width - longest :], some, padding)
        return logits

    def _begin(self, input_ids: Tensor, mask: Tensor | None) -> None:
        """Memory for rows of prompts (rows, width), and what their padding adds to the scores."""
        rows, self.length = input_ids.shape
        self.mask = mask
        if mask is not None:  # 0 for tokens, -inf for padding
            bias = torch.zeros(rows, self.max_length).masked_fill_(
                F.pad(mask == 0, (0, self.max_length - self.length)), float("-inf")
            )
            self.bias = bias[:, None].expand(-1, self.heads[1], -1).flatten(0, 1)[:, None]
        # Padding's places are read with a weight of 0, so what stands there must be finite.
        shape = len(self.layers), rows, self.heads[1]
        self.keys = torch.zeros(*shape, self.head_dim, self.max_length)
        self.values = torch.zeros(*shape, self.max_length, self.head_dim)
        self._prepare(rows)

    def _read(self, ids: Tensor, numbers: Tensor, mask: Tensor | None) -> Tensor:
        """Read whole prompts (rows, width), the rows ``numbers`` of the batch; logits after their last tokens."""
        rows, width = ids.shape
        query_heads, key_heads = self.heads
        if mask is None:
            turn, allowed = self.turn[:width], None
        else:
            turn = self.turn[(mask.cumsum(1) - 1).clamp(min=0)]
            allowed = attention_pattern(width, 0, mask, True, mask.device)
        x = F.embedding(ids, self.embedding).flatten(0, 1)  # (rows x width, hidden)
        for layer, (qkv, out, gate_up, down) in enumerate(self.layers):
            pairs = torch.view_as_complex((self.normalize(x) @ qkv).view(rows, width, -1, self.head_dim // 2, 2))
            turned = torch.view_as_real(pairs.mul_(turn)).flatten(3).transpose(1, 2)  # (rows, heads, width, head_dim)
            q, k, v = turned.split((query_heads, key_heads, key_heads), dim=1)
            self.keys[layer, numbers, :, :, self.length - width : self.length] = k.transpose(2, 3)
            self.values[layer, numbers, :, self.length - width : self.length] = v
            if layer + 1 == len(self.layers):  # nobody asks for the other places' results
                x, q = x.view(rows, width, -1)[:, -1], q[:, :, -1:]
                allowed = None if allowed is None else allowed[:, :, -1:]
            mixed = F.scaled_dot_product_attention(
                q, k, v, allowed, is_causal=allowed is None and q.shape[2] > 1, scale=1.0, enable_gqa=True
            )
            x = torch.addmm(x, mixed.transpose(1, 2).reshape(len(x), -1), out)
            gate, up = (self.normalize(x) @ gate_up).chunk(2, dim=1)
            x = torch.addmm(x, F.silu(gate).mul_(up), down)
        return self.normalize(x) @ self.head

    def _prepare(self, rows: int) -> None:
        """Memory for the results within a step of so many rows, and the views of it that a step needs."""
        size, (query_heads, key_heads) = self.head_dim, self.heads
        self.qkv = torch.empty(rows, (query_heads + 2 * key_heads) * size)
        heads = self.qkv.view(rows, -1, size)
        queries, keys, self.new_values = heads.split((query_heads, key_heads, key_heads), dim=1)
        self.new_queries, self.new_keys = (torch.view_as_complex(x.unflatten(2, (-1, 2))) for x in (queries, keys))
        self.turned_queries = torch.empty(rows, query_heads, size // 2, dtype=torch.complex64)
        self.turned_keys = torch.empty(rows, key_heads, size // 2, dtype=torch.complex64)
        self.queries = torch.view_as_real(self.turned_queries).view(rows * key_heads, -1, size)
        self.columns = torch.view_as_real(self.turned_keys).flatten(2)
        self.mixed = torch.empty(rows * key_heads, query_heads // key_heads, size)
        self.gate_up = torch.empty(rows, self.layers[0][2].shape[1])
        self.gate, self.up = self.gate_up.chunk(2, dim=1)

    def step(self, tokens: Tensor) -> Tensor:
        past, end = self.length, self.length + 1
        turn = self.turn[past if self.mask is None else self.next, :1]  # the same for all queries and keys
        places = zip(self.keys[..., past].unbind(), self.values[..., past, :].unbind(), strict=True)
        keys = self.keys.flatten(1, 2)[..., :end].unbind()  # of each layer (rows x key/value heads, head_dim, end)
        values = self.values.flatten(1, 2)[..., :end, :].unbind()
        bias = None if self.mask is None else self.bias[..., :end]
        mixed = self.mixed.view(len(tokens), -1)
        x = F.embedding(tokens, self.embedding)
        for layer, ((qkv, out, gate_up, down), (new_keys, new_values)) in enumerate(
            zip(self.layers, places, strict=True)
        ):
            torch.mm(self.normalize(x), qkv, out=self.qkv)
            torch.mul(self.new_queries, turn, out=self.turned_queries)
            torch.mul(self.new_keys, turn, out=self.turned_keys)
            new_keys.copy_(self.columns)
            new_values.copy_(self.new_values)
            scores = torch.bmm(self.queries, keys[layer])
            if bias is not None:
                scores += bias
            torch.bmm(torch.softmax(scores, -1, out=scores), values[layer], out=self.mixed)
            x.addmm_(mixed, out)
            torch.mm(self.normalize(x), gate_up, out=self.gate_up)
            x.addmm_(F.silu(self.gate, inplace=True).mul_(self.up), down)
        self.length = end
        if self.mask is not None:
            self.next = self.next + 1
        return self.normalize(x) @ self.head

    def normalize(self, x: Tensor) -> Tensor:
        """RMSNorm of each row; its weights are in the next matrix."""
        if self.quick:
            return x / torch.hypot(torch.linalg.vector_norm(x, dim=1, keepdim=True), self.floor)
        return F.rms_norm(x, x.shape[1:], eps=self.eps)

    def reorder_cache(self, rows: Tensor) -> None:
        self.keys, self.values = self.keys.index_select(1, rows), self.values.index_select(1, rows)
        if self.mask is not None:
            self.mask, self.next = self.mask[rows], self.next[rows]
            self.bias = self.bias.unflatten(0, (-1, self.heads[1]))[rows].flatten(0, 1)
        self._prepare(len(rows))


def alike(lengths: list[int], tokens: int) -> list[list[int]]:
    """The numbers of the rows in parts of similar length, of about ``tokens`` tokens each, padding included."""
    parts: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if not parts or (len(parts[-1]) + 1) * lengths[i] > tokens:
            parts.append([])
        parts[-1].append(i)
    return parts


class TransformersBackend:
    """Reads with a transformers model and its own ``past_key_values``; masks and positions only where padding asks."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        wrapped = hasattr(model, "get_base_model")  # by peft
        base = cast("PeftModel", model).get_base_model() if wrapped else model
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

    def reorder_cache(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        if self.mask is not None:
            self.mask = self.mask[rows]

    def _read(self, input_ids: Tensor, positions: Tensor | None) -> Tensor:
        extra = {} if self.mask is None else {"attention_mask": self.mask}
        if positions is not None and self.takes_positions:
            extra["position_ids"] = positions
        output = self.model(input_ids=input_ids, past_key_values=self.cache, **extra, **self.options)
        return output.logits[:, -1].float()
