"""One file for llama.cpp: weights, tokenizer and chat template in the GGUF format.

Two things must be said right, and llama.cpp runs without a word if they are wrong. It rotates *neighbouring* numbers of
a head where a Hugging Face Llama rotates the first half against the second, so the rows of the query and key matrices
change places. And it cuts text into words by a rule that the file only names (``tokenizer.ggml.pre``).
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from course_utils import files
from course_utils.serving.paged_cache import ServingError
from course_utils.text.special_tokens import CHAT_TEMPLATE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.models.decoder import Decoder

KINDS = ("F32", "F16", "Q8_0")
NAMES = {  # within a block: ours -> GGUF's
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
SINGLE_DIGITS = "smollm"  # llama.cpp's name for: every digit alone, then words as GPT-2 cuts them


def interleave(weight: Tensor, heads: int) -> Tensor:
    """Rows of a query or key matrix (heads * size, in) so that number i and number i + size / 2 are neighbours."""
    return weight.view(heads, 2, -1, weight.shape[-1]).transpose(1, 2).reshape(weight.shape)


def write_gguf(
    model: Decoder,
    tokenizer: PreTrainedTokenizerFast,
    path: str | PathLike[str],
    kind: str = "F32",
    licence: str = "mit",
    permute: bool = True,
) -> Path:
    """Write a decoder with the course's kind of tokenizer. kind: "F32", "F16" or "Q8_0" (blocks of 32 numbers).

    permute: False leaves the rows of query and key matrices as they are, which is wrong, to see what it does.
    Norms stay in 32 bits, and in Q8_0 so do matrices whose rows are no multiple of 32. Raises ServingError for another
    kind, or for a tokenizer whose way of cutting text llama.cpp has no name for; ImportError without the package gguf.
    """
    import gguf

    if kind not in KINDS:
        raise ServingError(f"there is no kind {kind!r} here; choose from {', '.join(KINDS)}.")
    config, path = model.config, Path(path)
    with files.atomic_file(path) as fresh:
        writer = gguf.GGUFWriter(fresh, "llama")
        writer.add_name(path.stem)
        writer.add_license(licence)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_rope_freq_base(config.rope_theta)
        writer.add_vocab_size(config.vocab_size)
        _add_tokenizer(writer, tokenizer, config.vocab_size)
        for name, value in model.state_dict().items():
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            if permute and ("q_proj" in name or "k_proj" in name):
                heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
                value = interleave(value, heads)
            _add(writer, _name(name), value.detach().float().cpu(), kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return path


def _name(ours: str) -> str:
    body = ours.removesuffix(".weight")
    if body in OUTSIDE:
        return OUTSIDE[body] + ".weight"
    _, _, number, rest = body.split(".", 3)
    return f"blk.{number}.{NAMES[rest]}.weight"


def _add(writer: Any, name: str, value: Tensor, kind: str) -> None:
    import gguf

    if value.dim() == 1 or kind == "F32" or (kind == "Q8_0" and value.shape[-1] % 32):
        writer.add_tensor(name, value.numpy())
    elif kind == "F16":
        writer.add_tensor(name, value.half().numpy())
    else:
        type_ = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(value.numpy(), type_), raw_dtype=type_)


def _add_tokenizer(writer: Any, tokenizer: PreTrainedTokenizerFast, rows: int) -> None:
    import gguf

    described = json.loads(tokenizer.backend_tokenizer.to_str())
    cut = described["pre_tokenizer"] or {}
    steps = [(step["type"], step.get("individual_digits")) for step in cut.get("pretokenizers", [])]
    if described["model"]["type"] != "BPE" or steps != [("Digits", True), ("ByteLevel", None)]:
        raise ServingError(
            "the tokenizer does not cut text as the course's does (digits one by one, then byte-level words), and "
            "llama.cpp must be told the right rule by name. Convert it with llama.cpp's convert_hf_to_gguf.py."
        )
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    names += [f"[unused{i}]" for i in range(len(names), rows)]
    special = {token["id"] for token in described["added_tokens"] if token["special"]}
    types = [gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokenizer))]
    types += [gguf.TokenType.UNUSED] * (rows - len(tokenizer))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in described["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(SINGLE_DIGITS)
    writer.add_token_list(names)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(plain_template(tokenizer))


def plain_template(tokenizer: PreTrainedTokenizerFast) -> str:
    """The chat template without ``{% generation %}``, which only training reads.

    llama.cpp puts no space before a text, as the course's tokenizer does; so its template puts it there.
    """
    template = str(tokenizer.chat_template).replace("{% generation %}", "").replace("{% endgeneration %}", "")
    if tokenizer.chat_template == CHAT_TEMPLATE:
        template = template.replace("message['content']", "' ' + message['content']")
    return template
