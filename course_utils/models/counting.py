"""Parameters, arithmetic and cache of a decoder, counted from its configuration alone, part by part."""

from __future__ import annotations

from course_utils.models.decoder import DecoderConfig


def parameter_table(config: DecoderConfig) -> dict[str, int]:
    """How many numbers each part of the model holds, over all layers; the sum is ``num_parameters(Decoder(config))``.

    A tied head holds none of its own.
    """
    layers, hidden, inner = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    key_value_size = config.num_key_value_heads * config.head_dim
    table = config.vocab_size * hidden
    return {
        "embedding": table,
        "attention": layers * (2 * hidden * hidden + 2 * hidden * key_value_size),
        "feed-forward": layers * 3 * hidden * inner,
        "norms": (2 * layers + 1) * hidden,
        "head": 0 if config.tie_word_embeddings else table,
    }


def flops_table(config: DecoderConfig, length: int, window: int | None = None) -> dict[str, float]:
    """Floating-point operations per token of a forward pass over rows of ``length`` tokens, by part.

    A weight costs 2 (a product and a sum); the two products of attention cost 4 * layers * hidden for each key that is
    multiplied. As is usual (PaLM, arXiv 2204.02311, appendix B) all keys of the row are counted, also those that the
    mask hides; with a ``window``, the 2 * window that ``sliding_window_attention`` multiplies, if they are fewer.
    Looking up embeddings, norms and the softmax are left out: well below 5 % at the sizes of practice.
    """
    parts = parameter_table(config)
    keys = length if window is None else min(length, 2 * window)
    return {
        "attention: projections": 2.0 * parts["attention"],
        "attention: scores and mixing": 4.0 * config.num_hidden_layers * config.hidden_size * keys,
        "feed-forward": 2.0 * parts["feed-forward"],
        "head": 2.0 * config.vocab_size * config.hidden_size,
    }


def cache_bytes(config: DecoderConfig, length: int, bytes_per_number: int = 2) -> int:
    """Bytes of keys and values that one text of ``length`` tokens keeps while the model writes."""
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * length * bytes_per_number
