"""A decoder-only transformer of the Llama family, written out by hand.

The parts, from the inside out: rotary positions, root-mean-square normalization, attention with grouped
key and value heads, a gated feed-forward network, the block that joins them, and the model. Every
parameter has the name that it has in transformers' ``LlamaForCausalLM``, so that weights go both ways
(see ``convert.py``).

Sizes are written (batch, length, hidden) and so on; a head has ``head_dim = hidden_size / heads`` numbers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.precision import SteadyBuffers


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and special tokens of a decoder, named as in transformers' ``LlamaConfig``. Lengths are in tokens.

    Raises ValueError if the sizes do not fit together.
    """

    vocab_size: int = 1024
    hidden_size: int = 128
    intermediate_size: int = 352
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 256
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
    # Whose tokens these are, for those who generate; a Llama from elsewhere may have others, several ends, or none.
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | tuple[int, ...] | None = 1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "tie_word_embeddings" and not name.endswith("_token_id") and not value > 0:
                raise ValueError(f"DecoderConfig.{name} is {value!r}; it must be greater than 0.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by num_attention_heads "
                f"{self.num_attention_heads}; every head needs the same size. Change one of the two."
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not divisible by num_key_value_heads "
                f"{self.num_key_value_heads}; each key/value head serves a whole group of query heads."
            )
        if self.head_dim % 2:
            raise ValueError(
                f"a head has hidden_size / num_attention_heads = {self.head_dim} numbers; rotary positions turn "
                "pairs of them, so this must be even. Change hidden_size or num_attention_heads."
            )

    @property
    def head_dim(self) -> int:
        """Numbers per attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def for_profile(cls, profile: Any, **changes: Any) -> DecoderConfig:
        """The configuration of a course profile (``settings.profile()``); ``changes`` replace single fields."""
        names = (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
        )
        sizes = {name: getattr(profile, name) for name in names}
        return cls(**{**sizes, "max_position_embeddings": profile.context, **changes})


@dataclass
class DecoderOutput:
    """What a forward pass returns: ``logits`` (batch, length, vocab) and ``hidden`` (batch, length, hidden)."""

    logits: Tensor
    hidden: Tensor  # after the last normalization: what a reward or value head reads


class Cache:
    """Keys and values of the tokens read so far, in memory that is allocated once.

    ``keys[layer]`` and ``values[layer]`` are (batch, key/value heads, max_length, head_dim); the first
    ``length`` places of the third axis are filled.
    """

    def __init__(
        self,
        config: DecoderConfig,
        batch_size: int,
        max_length: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (batch_size, config.num_key_value_heads, max_length, config.head_dim)
        self.keys = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.num_hidden_layers)]
        self.values = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.num_hidden_layers)]
        self.max_length = max_length
        self.length = 0

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write new keys and values (batch, heads, new, head_dim) after the old ones; return all of them.

        ``length`` moves on only when the whole model has read the tokens: every layer writes to the same places.
        """
        end = self.length + keys.shape[2]
        if end > self.max_length:
            raise ValueError(
                f"the cache holds {self.max_length} tokens and {end} are needed; make a larger one, "
                f"model.new_cache(batch_size, max_length={end})."
            )
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row named twice is copied."""
        self.keys = [keys.index_select(0, rows) for keys in self.keys]
        self.values = [values.index_select(0, rows) for values in self.values]


class SharedPrefix(Cache):
    """Keys and values of prompts that several rows begin with: read once, with gradients, and seen by all of them.

    Read the prompts with it, call ``share``, and read what follows, ``copies`` rows for each prompt, side by side.
    """

    def __init__(self) -> None:
        self.keys, self.values, self.length, self.shared = [], [], 0, False

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the prompts' keys and values; after them, join those of the rows to them and keep nothing."""
        if self.shared:
            return torch.cat((self.keys[layer], keys), 2), torch.cat((self.values[layer], values), 2)
        self.keys.append(keys)
        self.values.append(values)
        return keys, values

    def share(self, copies: int) -> None:
        """From now on ``copies`` rows follow each prompt."""
        self.keys = [keys.repeat_interleave(copies, 0) for keys in self.keys]
        self.values = [values.repeat_interleave(copies, 0) for values in self.values]
        self.shared = True


def rope_tables(head_dim: int, length: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle of every position and pair, each (length, head_dim / 2).

    Pair ``i`` turns by ``theta ** (-2 i / head_dim)`` radians per position (RoFormer, arXiv 2104.09864, section 3.2.2).
    """
    frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of every head by the angle of its position.

    ``x`` is (batch, length, heads, head_dim); ``cos`` and ``sin`` broadcast to (batch, length, heads, head_dim / 2).
    The scalar product of a turned query and a turned key depends on the distance of their positions alone.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis, then scale (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    """Self-attention in which each key/value head serves a group of query heads (GQA, arXiv 2305.13245)."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.grouped = config.num_key_value_heads != config.num_attention_heads
        query_size = config.num_attention_heads * config.head_dim  # the hidden size, until heads are pruned
        key_value_size = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, key_value_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, key_value_size, bias=False)
        self.o_proj = nn.Linear(query_size, config.hidden_size, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, is_causal: bool, cache: Cache | None
    ) -> Tensor:
        """``x`` (batch, length, hidden) to the same shape. ``mask`` is True where a query may look at a key."""
        heads = (*x.shape[:2], -1, self.head_dim)
        q = apply_rope(self.q_proj(x).view(heads), cos, sin).transpose(1, 2)
        k = apply_rope(self.k_proj(x).view(heads), cos, sin).transpose(1, 2)
        v = self.v_proj(x).view(heads).transpose(1, 2)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        # softmax(q k^T / sqrt(head_dim)) v, without ever writing the (length, length) matrix to memory
        mixed = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, enable_gqa=self.grouped)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """The gated feed-forward network SwiGLU (arXiv 2002.05202): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One layer: attention, then the feed-forward network, each on normalized input and added to the stream."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, is_causal: bool, cache: Cache | None
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, is_causal, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Backbone(SteadyBuffers):
    """Everything below the head: embedding, blocks, and a last normalization.

    The tables of angles, ``rope_cos`` and ``rope_sin``, stay in float32 when the model is cast to 16 bits.
    """

    rope_cos: Tensor  # (max_position_embeddings, head_dim / 2)
    rope_sin: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        # Made from a table, it draws no numbers that nobody wants; on the meta device that would import a compiler.
        table = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding.from_pretrained(table, freeze=False)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        causal: bool = True,
    ) -> Tensor:
        """Token ids (batch, length) to hidden states (batch, length, hidden). Arguments as in ``Decoder.forward``."""
        length = input_ids.shape[1]
        past = 0 if cache is None else cache.length
        if past + length > self.config.max_position_embeddings:
            raise ValueError(
                f"{past + length} tokens were given; this model reads at most max_position_embeddings = "
                f"{self.config.max_position_embeddings}. Cut the rows, or build the model with a longer context."
            )
        x = self.embed_tokens(input_ids)
        places = slice(past, past + length) if position_ids is None else position_ids
        cos = self.rope_cos[places].to(x.dtype).unsqueeze(-2)  # (length, 1, head_dim / 2): the same for all heads
        sin = self.rope_sin[places].to(x.dtype).unsqueeze(-2)
        mask = attention_pattern(length, past, attention_mask, causal, x.device)
        is_causal = causal and mask is None and length > 1
        for block in self.layers:
            x = block(x, cos, sin, mask, is_causal, cache)
        if cache is not None:
            cache.length = past + length
        return self.norm(x)


class Decoder(nn.Module):
    """The language model: the backbone, and the head that scores every token of the vocabulary.

    ``seed`` (an integer or a ``torch.Generator``) fixes the initial weights: N(0, 0.02) for matrices and
    embeddings, 1 for the scales of the normalizations. The global random state is neither read nor changed.
    With ``seed=None`` the weights are left unset, for whoever loads others at once.
    """

    def __init__(self, config: DecoderConfig, seed: int | torch.Generator | None = 0) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):  # no memory and no random numbers yet: `initialize` draws the only ones
            self.model = Backbone(config)
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self._apply(
            lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype)
        )  # ``to_empty`` would import a compiler
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        cos, sin = rope_tables(config.head_dim, config.max_position_embeddings, config.rope_theta)
        self.model.register_buffer("rope_cos", cos, persistent=False)
        self.model.register_buffer("rope_sin", sin, persistent=False)
        if seed is not None:
            self.initialize(seed)

    @torch.no_grad()
    def initialize(self, seed: int | torch.Generator) -> None:
        """Draw all weights anew from N(0, 0.02); scales of the normalizations become 1."""
        generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
        for parameter in self.parameters():  # a tied weight is listed once
            if parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, 0.02, generator=generator)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        causal: bool = True,
        logits_to_keep: int = 0,
    ) -> DecoderOutput:
        """Scores for the token that follows each place.

        Args:
            input_ids: (batch, length) int64.
            attention_mask: (batch, length), or (batch, cached + length) with a cache; 1 for tokens, 0 for padding.
            position_ids: (batch, length); by default 0, 1, 2, ... after what the cache holds.
            cache: where keys and values are kept for the next call; None when training.
            causal: False lets every place see the whole row, as masked language modelling wants it.
            logits_to_keep: if not 0, score only that many last places (all ``hidden`` states are returned anyway).

        Raises:
            ValueError: a row is longer than ``max_position_embeddings``, or the mask's length does not fit.
        """
        hidden = self.model(input_ids, attention_mask, position_ids, cache, causal)
        return DecoderOutput(self.lm_head(hidden[:, -logits_to_keep:]), hidden)

    def new_cache(self, batch_size: int, max_length: int | None = None) -> Cache:
        """An empty cache for ``batch_size`` rows of at most ``max_length`` tokens, on the model's device."""
        weight = self.model.embed_tokens.weight
        return Cache(
            self.config, batch_size, max_length or self.config.max_position_embeddings, weight.device, weight.dtype
        )


def attention_pattern(
    length: int, past: int, attention_mask: Tensor | None, causal: bool, device: torch.device
) -> Tensor | None:
    """Which query may look at which key: (batch or 1, 1, length, past + length), True for yes.

    None stands for the two patterns that need no matrix: plain causal rows, and one new token that sees all.
    Raises ValueError if the mask does not cover all keys.
    """
    if attention_mask is None and (not causal or past == 0 or length == 1):
        return None
    places = torch.arange(past + length, device=device)
    if causal:
        allowed = (places[past:, None] >= places)[None, None]  # (1, 1, length, past + length)
    else:
        allowed = torch.ones(1, 1, length, past + length, dtype=torch.bool, device=device)
    if attention_mask is not None:
        if attention_mask.shape[1] != past + length:
            raise ValueError(
                f"attention_mask has {attention_mask.shape[1]} columns; it must have one for each of the "
                f"{past} cached and {length} new tokens, {past + length} in all."
            )
        # Padding is never looked at. If it stands on the left it sees nothing either: the fused kernel then gives 0.
        allowed = allowed & attention_mask.bool()[:, None, None, :]
    return allowed
