"""Parameters, arithmetic and cache of a decoder, counted from its configuration alone, part by part.

A model that exists is counted by ``num_parameters``; one that does not, by ``count_parameters`` from its sizes.

In these configurations heads * head_dim is the hidden size, so q and o are square. Where a model chooses head_dim by
itself (Qwen3, Gemma, gpt-oss), q and o are hidden x (heads * head_dim), and norms of queries and keys add 2 * head_dim
to each layer.
"""

from __future__ import annotations

from torch import nn

from course_utils.models.decoder import DecoderConfig

#: Sizes of Llama 2 (arXiv 2307.09288, and the configuration files published with it). The 70 B model shares keys and
#: values among groups of 8 heads.
LLAMA2 = {
    "7 B": DecoderConfig(32_000, 4096, 11_008, 32, 32, 32, 4096, tie_word_embeddings=False),
    "13 B": DecoderConfig(32_000, 5120, 13_824, 40, 40, 40, 4096, tie_word_embeddings=False),
    "70 B": DecoderConfig(32_000, 8192, 28_672, 80, 64, 8, 4096, tie_word_embeddings=False),
}


def num_parameters(model: nn.Module, trainable_only: bool = False, embeddings: bool = True) -> int:
    """How many numbers a model holds. Tied weights count once; ``embeddings=False`` leaves out token embeddings."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    left_out = set() if embeddings else {id(table) for table in tables}
    return sum(
        p.numel() for p in model.parameters() if id(p) not in left_out and (p.requires_grad or not trainable_only)
    )


def layer_shapes(config: DecoderConfig) -> dict[str, list[tuple[int, int]]]:
    """(out, in) of the matrices of one layer: four of "attention" (q, k, v, o), three of "feed-forward" (gate, up,
    down)."""
    hidden, inner = config.hidden_size, config.intermediate_size
    query, key_value = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
    return {
        "attention": [(query, hidden), (key_value, hidden), (key_value, hidden), (hidden, query)],
        "feed-forward": [(inner, hidden), (inner, hidden), (hidden, inner)],
    }


def parameter_table(config: DecoderConfig) -> dict[str, int]:
    """How many numbers each part of the model holds, over all layers; the sum is ``num_parameters(Decoder(config))``.

    A tied head holds none of its own.
    """
    layers, table = config.num_hidden_layers, config.vocab_size * config.hidden_size
    matrices = {part: layers * sum(out * into for out, into in pairs) for part, pairs in layer_shapes(config).items()}
    return {
        "embedding": table,
        **matrices,
        "norms": (2 * layers + 1) * config.hidden_size,
        "head": 0 if config.tie_word_embeddings else table,
    }


def count_parameters(config: DecoderConfig, *, multiplied: bool = False) -> int:
    """Parameters of a decoder of these sizes, without building it.

    ``multiplied``: only the weights of linear layers, a tied head included; what autocast keeps a bf16 copy of.
    """
    parts = parameter_table(config)
    if multiplied:
        return parts["attention"] + parts["feed-forward"] + config.vocab_size * config.hidden_size
    return sum(parts.values())


def lora_parameters(config: DecoderConfig, r: int) -> int:
    """Numbers in LoRA adapters of rank ``r`` beside all matrices of all layers: r (in + out) for each."""
    pairs = [pair for shapes in layer_shapes(config).values() for pair in shapes]
    return config.num_hidden_layers * sum(r * (out + into) for out, into in pairs)


def flops_table(config: DecoderConfig, length: int, window: int | None = None) -> dict[str, float]:
    """Floating-point operations per token of a forward pass over rows of ``length`` tokens, by part.

    A weight costs 2 (a product and a sum); the two products of attention cost 4 * layers * hidden for each key that is
    multiplied. As is usual (PaLM, arXiv 2204.02311, appendix B) all keys of the row are counted, also those that the
    mask hides; with a ``window``, the 2 * window that ``sliding_window_attention`` multiplies, if they are fewer.
    Looking up embeddings, norms and the softmax are left out: well below 5 % at the sizes of practice.
    """
    parts = parameter_table(config)
    keys = length if window is None else min(length, 2 * window)
    heads_width = config.num_attention_heads * config.head_dim  # the hidden size, in these configurations
    return {
        "attention: projections": 2.0 * parts["attention"],
        "attention: scores and mixing": 4.0 * config.num_hidden_layers * heads_width * keys,
        "feed-forward": 2.0 * parts["feed-forward"],
        "head": 2.0 * config.vocab_size * config.hidden_size,
    }


def cache_bytes(config: DecoderConfig, length: int, bytes_per_number: int = 2) -> int:
    """Bytes of keys and values that one text of ``length`` tokens keeps while the model writes."""
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * length * bytes_per_number
