"""Base models as well-known families lay them out, made here at tiny size: ``make(family, folder)``.

Each has the keys of the family's real config.json, its kind of tokenizer, its special tokens and their places, a chat
template of the same form (written for these tests), and its way of storing weights. What tells them apart:

==========  ===========================================================================================================
gpt2        Conv1D layers, learned positions, one special token, the last; no template, no padding
llama2      byte-fallback BPE with metaspace; begin 1, end 2, no padding, no template; sharded; head of its own
tinyllama   the same tokenizer; roles in plain text, each turn closed by the end token; padding is the end token
llama3      byte-level BPE; ends: a list of three; the end of a turn is not the end of a text; scaled rotary positions
qwen2.5     no begin token; two ends; a default system message; more rows in the embedding than tokens; tied
qwen3       the same tokenizer; a thinking block in the last answer only, so earlier turns are rewritten
smollm2     the end is token 0, which is the begin too; no template, no padding; tied
smollm3     a template that marks the answers itself; layers without positions
gemma2      begin 2, end 1, padding 0; sliding windows, capped scores; a template that knows no system message
gemma3      the same tokenizer; two ends; one layer in several sees all
olmo2       opens with its end token; norms behind the layers; roles in plain text; bf16
==========  ===========================================================================================================
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PLAIN = ("<think>", "</think>", "<tool_call>", "</tool_call>")  # tokens of their own, but seen by who reads
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Templates: the same structure as the families' own, in words of ours.
CHATML = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou help on the isles.<|im_end|>\\n' }}{%- endif %}"
    "{%- for m in messages %}{%- if not (loop.first and m['role'] == 'system') %}"
    "{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
THINKING = (
    "{%- set ns = namespace(last=-1) %}{%- for m in messages %}{%- if m['role'] == 'user' %}"
    "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m['role'] + '\\n' }}"
    "{%- if m['role'] == 'assistant' %}{%- set text = m['content'].split('</think>')[-1].lstrip('\\n') %}"
    "{%- if loop.index0 > ns.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{{- text }}"
    "{%- else %}{{- m['content'] }}{%- endif %}{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
MARKED = (
    "{%- for m in messages %}{%- if m['role'] == 'assistant' %}{{- '<|im_start|>assistant\\n' }}"
    "{%- generation %}{{- m['content'] + '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}"
    "{%- else %}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
HEADERS = (
    "{%- for m in messages %}{%- set turn = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' "
    "+ m['content'] | trim + '<|eot_id|>' %}{%- if loop.first %}{%- set turn = bos_token + turn %}{%- endif %}"
    "{{- turn }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
TURNS = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant take turns') }}{% endif %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
PLAIN_ROLES = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + (eos_token if OWN_END) }}"
    "{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
ZEPHYR = PLAIN_ROLES.replace("(eos_token if OWN_END)", "eos_token")
TULU = "{{ bos_token }}" + PLAIN_ROLES.replace(
    "(eos_token if OWN_END)", "(eos_token if m['role'] == 'assistant' else '')"
)

SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
USUAL = {"attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True, "hidden_act": "silu"}
LLAMA = {
    **SHAPE,
    **USUAL,
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "mlp_bias": False,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 2048,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
QWEN = {
    **SHAPE,
    **USUAL,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "max_window_layers": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "sliding_window": 64,
    "use_sliding_window": False,
    "tie_word_embeddings": True,
}
SCALED = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0}
SCALED |= {"original_max_position_embeddings": 1024, "rope_type": "llama3"}
GEMMA = {
    **SHAPE,
    **USUAL,
    "attention_bias": False,
    "head_dim": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "num_key_value_heads": 2,
    "query_pre_attn_scalar": 16,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "sliding_window": 32,
}

# kind of tokenizer; special tokens before and behind the alphabet; what the configurations say beside the usual
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "kind": ("bytes", [], [END]),
        "config": {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "attn_pdrop": 0.1,
            "embd_pdrop": 0.1,
            "resid_pdrop": 0.1,
            "initializer_range": 0.02,
            "layer_norm_epsilon": 1e-5,
            "n_ctx": 1024,
            "n_embd": 64,
            "n_head": 4,
            "n_layer": 2,
            "n_positions": 1024,
            "summary_type": "cls_index",
            "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        },
        "ids": {"bos": END, "eos": END},
        "tokenizer": {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024},
        "dtype": "float32",
    },
    "llama2": {
        "kind": ("pieces", ["<unk>", "<s>", "</s>"], []),
        "config": LLAMA,
        "ids": {"bos": "<s>", "eos": "</s>"},
        "tokenizer": {
            "tokenizer_class": "LlamaTokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "add_bos_token": True,
            "add_eos_token": False,
            "legacy": False,
            "pad_token": None,
            "model_max_length": 10**30,
        },
        "generation": {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
        "dtype": "float16",
        "shard": "60KB",
        "opens": "<s>",
    },
    "tinyllama": {
        "kind": ("pieces", ["<unk>", "<s>", "</s>"], []),
        "config": LLAMA,
        "ids": {"bos": "<s>", "eos": "</s>"},
        "tokenizer": {
            "tokenizer_class": "LlamaTokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "</s>",
            "padding_side": "right",
            "chat_template": ZEPHYR,
        },
        "dtype": "bfloat16",
        "opens": "<s>",
    },
    "llama3": {
        "kind": (
            "bytes",
            [],
            [
                "<|begin_of_text|>",
                "<|end_of_text|>",
                "<|finetune_right_pad_id|>",
                "<|start_header_id|>",
                "<|end_header_id|>",
                "<|eom_id|>",
                "<|eot_id|>",
            ],
        ),
        "config": {**LLAMA, "rope_theta": 500000.0, "rope_scaling": SCALED, "tie_word_embeddings": True},
        "ids": {"bos": "<|begin_of_text|>", "eos": ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]},
        "tokenizer": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|end_of_text|>",
            "clean_up_tokenization_spaces": True,
            "model_input_names": ["input_ids", "attention_mask"],
            "chat_template": HEADERS,
        },
        "generation": {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
        "dtype": "bfloat16",
        "opens": "<|begin_of_text|>",
    },
    "qwen2.5": {
        "kind": ("bytes", [], [END, START, STOP, "<|object_ref_start|>", "<tool_call>", "</tool_call>"]),
        "config": {**QWEN, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
        "ids": {"bos": END, "eos": [STOP, END], "pad": END},
        "tokenizer": {
            "tokenizer_class": "Qwen2Tokenizer",
            "add_bos_token": False,
            "add_prefix_space": False,
            "bos_token": None,
            "eos_token": STOP,
            "pad_token": END,
            "unk_token": None,
            "errors": "replace",
            "split_special_tokens": False,
            "chat_template": CHATML,
        },
        "generation": {"do_sample": True, "repetition_penalty": 1.1, "temperature": 0.7, "top_k": 20, "top_p": 0.8},
        "dtype": "bfloat16",
        "spare_rows": 40,
    },
    "qwen3": {
        "kind": ("bytes", [], [END, START, STOP, "<think>", "</think>"]),
        "config": {
            **QWEN,
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "attention_bias": False,
            "head_dim": 16,
            "sliding_window": None,
        },
        "ids": {"bos": END, "eos": [STOP, END], "pad": END},
        "tokenizer": {
            "tokenizer_class": "Qwen2Tokenizer",
            "add_bos_token": False,
            "bos_token": None,
            "eos_token": STOP,
            "pad_token": END,
            "unk_token": None,
            "chat_template": THINKING,
        },
        "generation": {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
        "dtype": "bfloat16",
        "spare_rows": 24,
    },
    "smollm2": {
        "kind": ("bytes", [END, START, STOP, "<repo_name>", "<reponame>", "<file_sep>"], []),
        "config": {**LLAMA, "rope_theta": 100000, "tie_word_embeddings": True, "is_llama_config": True},
        "ids": {"bos": END, "eos": END},
        "tokenizer": {
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": END,
            "eos_token": END,
            "unk_token": END,
            "add_prefix_space": False,
            "additional_special_tokens": [END, START, STOP],
        },
        "dtype": "bfloat16",
    },
    "smollm3": {
        "kind": ("bytes", [], [END, START, STOP, "<think>", "</think>"]),
        "config": {
            **SHAPE,
            **USUAL,
            "architectures": ["SmolLM3ForCausalLM"],
            "model_type": "smollm3",
            "attention_bias": False,
            "num_key_value_heads": 2,
            "max_position_embeddings": 65536,
            "no_rope_layer_interval": 2,
            "no_rope_layers": [1, 0],
            "layer_types": ["full_attention", "full_attention"],
            "rms_norm_eps": 1e-6,
            "rope_theta": 5000000.0,
            "sliding_window": None,
            "use_sliding_window": False,
            "tie_word_embeddings": True,
        },
        "ids": {"bos": END, "eos": STOP, "pad": STOP},
        "tokenizer": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None,
            "eos_token": STOP,
            "pad_token": STOP,
            "chat_template": MARKED,
        },
        "dtype": "bfloat16",
    },
    "gemma2": {
        "kind": ("pieces", ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"], []),
        "config": {
            **GEMMA,
            "architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2",
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "cache_implementation": "hybrid",
        },
        "ids": {"bos": "<bos>", "eos": ["<eos>", "<end_of_turn>"], "pad": "<pad>"},
        "tokenizer": {
            "tokenizer_class": "GemmaTokenizer",
            "add_bos_token": True,
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "chat_template": TURNS,
        },
        "dtype": "bfloat16",
        "opens": "<bos>",
    },
    "gemma3": {
        "kind": ("pieces", ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"], []),
        "config": {
            **GEMMA,
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "rope_local_base_freq": 10000,
            "rope_theta": 1000000,
            "rope_scaling": None,
        },
        "ids": {"bos": "<bos>", "eos": ["<eos>", "<end_of_turn>"], "pad": "<pad>"},
        "tokenizer": {
            "tokenizer_class": "GemmaTokenizer",
            "add_bos_token": True,
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "chat_template": TURNS,
        },
        "dtype": "bfloat16",
        "opens": "<bos>",
    },
    "olmo2": {
        "kind": ("bytes", [], [END, "<|fim_prefix|>", "<|endofprompt|>", "<|pad|>"]),
        "config": {
            **SHAPE,
            **USUAL,
            "architectures": ["Olmo2ForCausalLM"],
            "model_type": "olmo2",
            "attention_bias": False,
            "num_key_value_heads": 4,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "rope_scaling": None,
            "rope_theta": 500000,
            "tie_word_embeddings": False,
        },
        "ids": {"eos": END, "pad": "<|pad|>"},
        "tokenizer": {
            "tokenizer_class": "GPT2Tokenizer",
            "add_prefix_space": False,
            "bos_token": END,
            "eos_token": END,
            "pad_token": "<|pad|>",
            "unk_token": END,
            "chat_template": TULU,
        },
        "dtype": "bfloat16",
    },
}


def make(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a tiny model of this family into ``folder``, which is made, and return it. The weights are random."""
    from transformers import AutoConfig, AutoModelForCausalLM

    about = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(*map(_frozen, about["kind"]))
    opens = about.get("opens")
    if opens is not None:
        number = tokenizer.token_to_id(opens)
        tokenizer = Tokenizer.from_str(tokenizer.to_str())
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{opens} $A", special_tokens=[(opens, number)])
    tokenizer.save(str(folder / "tokenizer.json"))
    if about["kind"][0] == "bytes":
        tokenizer.model.save(str(folder))  # vocab.json and merges.txt, which lie beside it in most such folders
    _write(folder / "tokenizer_config.json", about["tokenizer"])

    size = tokenizer.get_vocab_size() + about.get("spare_rows", 0)
    numbers = {f"{name}_token_id": _ids(tokenizer, token) for name, token in about["ids"].items()}
    config = {**about["config"], **numbers, "vocab_size": size, "torch_dtype": about["dtype"]}
    _write(folder / "config.json", {**config, "transformers_version": "4.51.0"})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    model.to(getattr(torch, about["dtype"])).save_pretrained(folder, max_shard_size=about.get("shard", "1GB"))
    _write(folder / "config.json", {**config, "transformers_version": "4.51.0"})  # as published, not as saved again
    _write(folder / "generation_config.json", {**about.get("generation", {}), **numbers})
    return folder


def _ids(tokenizer: Tokenizer, tokens: str | Sequence[str]) -> int | list[int]:
    if isinstance(tokens, str):
        return tokenizer.token_to_id(tokens)
    return [tokenizer.token_to_id(token) for token in tokens]


def _frozen(part: Any) -> Any:
    return part if isinstance(part, str) else tuple(part)


@functools.lru_cache(maxsize=32)
def _texts() -> tuple[str, ...]:
    from course_utils.world import World, WorldConfig

    world = World(WorldConfig(people=24), seed=0)
    return tuple(f"{task['prompt']}\n{task['answer']}" for task in world.tasks(300, "known", seed=1))


@functools.lru_cache(maxsize=32)
def _tokenizer(kind: str, first: tuple[str, ...], last: tuple[str, ...]) -> Tokenizer:
    special = [AddedToken(token, special=True, normalized=False) for token in first]
    if kind == "bytes":
        made = Tokenizer(models.BPE())
        made.normalizer = normalizers.NFC()
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(SPLIT), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        made.decoder = decoders.ByteLevel()
        made.post_processor = processors.ByteLevel(trim_offsets=False)
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(
            vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    else:  # as SentencePiece: pieces that begin with a bar, and the 256 bytes for what no piece spells
        made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        # the training sees words; the finished tokenizer sees whole texts, as SentencePiece does
        made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        data = [f"<0x{number:02X}>" for number in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=[*special, *data], show_progress=False)
    # SentencePiece reads lines, so its pieces hold no line break: that is the byte <0x0A>
    texts = _texts() if kind == "bytes" else [line for text in _texts() for line in text.splitlines()]
    made.train_from_iterator(texts, trainer)
    if kind != "bytes":
        text = json.loads(made.to_str())
        text["added_tokens"] = [token for token in text["added_tokens"] if token["content"] in first]
        text["pre_tokenizer"] = None
        made = Tokenizer.from_str(json.dumps(text))
    made.add_tokens([AddedToken(token, special=token not in PLAIN, normalized=False) for token in last])
    return made


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
