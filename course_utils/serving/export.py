"""A model made ready to leave: merged, written as the folder that other servers read, and read back.

The folder is what the Hub, ``transformers serve`` and vLLM expect: ``config.json``, ``model.safetensors``,
``generation_config.json``, the tokenizer with its chat template, a model card (``README.md``) and the licence.
"""

from __future__ import annotations

import copy
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from course_utils import files
from course_utils.models.convert import llama_config, load_config, load_model, read_weights, save_model
from course_utils.models.decoder import Decoder
from course_utils.models.lora import lora_layers, merge_lora
from course_utils.models.quantization import QuantConfig, dequantize_model, quantize_model, quantized_layers
from course_utils.pretrained.folder import Loaded
from course_utils.serving.paged_cache import ServingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

QUANTIZED = "course"  # the quantization method's name in config.json: transformers refuses it instead of misreading it


class ExportError(ServingError):
    """A model or a folder that cannot be exported; the message says why."""


def merged(model: nn.Module) -> Decoder:
    """A copy with plain matrices alone: adapters are added to what lies below them, quantized layers are unpacked.

    Raises ExportError if what comes out is not the course's decoder.
    """
    model = dequantize_model(copy.deepcopy(model))
    if any(True for _ in lora_layers(model)):
        model = merge_lora(model)
    if not isinstance(model, Decoder):
        raise ExportError(
            f"the model is a {type(model).__name__}; the course's Decoder is expected. A transformers model goes "
            "through course_utils.models.convert.from_llama first, or through its own save_pretrained."
        )
    return model.eval().requires_grad_(False)


def write_release(
    folder: str | PathLike[str],
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    card: Mapping[str, Any],
    *,
    licence: tuple[str, str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write the merged model as a folder that is whole or not there.

    card: what the course knows of the model (``Loaded.card``). licence: its SPDX name, as the Hub writes it, and its
    text; the course's own if left out. Raises ExportError for an empty licence or a model that cannot be merged.
    """
    name, text = licence or ("mit", course_licence())
    if not name.strip() or not text.strip():
        raise ExportError("the licence is empty; nobody may use a model without one. Give its SPDX name and its text.")
    plain, folder = merged(model), Path(folder)
    with files.atomic_folder(folder) as fresh:
        save_model(plain, fresh, dtype)
        _write_rest(fresh, tokenizer, plain)
        (fresh / "README.md").write_text(model_card(folder.name, plain, card, name), encoding="utf-8")
        (fresh / "LICENSE").write_text(text, encoding="utf-8")
    return folder


def _write_rest(folder: Path, tokenizer: PreTrainedTokenizerFast, model: Decoder) -> None:
    tokenizer.save_pretrained(folder)
    config = model.config
    ends = list(config.eos_token_id) if isinstance(config.eos_token_id, tuple) else config.eos_token_id
    ids = {"bos_token_id": config.bos_token_id, "eos_token_id": ends, "pad_token_id": config.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps(ids, indent=2) + "\n", encoding="utf-8")


def course_licence() -> str:
    """The text of the course's licence, MIT. Raises ExportError if the installation lacks it."""
    try:
        text = importlib.metadata.distribution("llm-course").read_text("licenses/LICENSE")
    except importlib.metadata.PackageNotFoundError:
        text = None
    beside = Path(__file__).parents[2] / "LICENSE"
    if text is None and beside.is_file():
        text = beside.read_text(encoding="utf-8")
    if text is None:
        raise ExportError("the course's licence was not installed with it; give licence=(SPDX name, text).")
    return text


def model_card(name: str, model: Decoder, card: Mapping[str, Any], licence: str) -> str:
    """The README of a model folder: a head that the Hub reads, and what a user must know."""
    head = {"license": licence, "language": "en", "library_name": "transformers", "pipeline_tag": "text-generation"}
    lines = [
        "---",
        *(f"{key}: {value}" for key, value in head.items()),
        "tags:",
        "- llm-course",
        "---",
        "",
        f"# {name}",
        "",
    ]
    parameters = sum(p.numel() for p in model.parameters())
    lines += [
        f"A Llama of {parameters:,} parameters that reads up to {model.config.max_position_embeddings} tokens. It "
        "knows the Lantern Isles, an invented world, and nothing else.",
        "",
        "## Training",
        "",
        f"Made {card.get('made', 'at an unknown date')} with the recipe `{json.dumps(card.get('recipe', 'unknown'))}`, "
        f"seed {card.get('seed', 'unknown')}, on {card.get('tokens', 'an unknown number of')} tokens.",
        "",
        "## Measured",
        "",
    ]
    figures = card.get("figures") or {}
    lines += ["| what | value |", "|---|---|", *(f"| {key} | {value} |" for key, value in figures.items())]
    lines += [
        "",
        "## Use and limits",
        "",
        "For learning. Asked about people whom it has never read of, it invents; it is no source of facts about any "
        "real person or place.",
        "",
    ]
    return "\n".join(lines)


def write_quantized(
    folder: str | PathLike[str],
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    card: Mapping[str, Any],
    licence: tuple[str, str] | None = None,
) -> Path:
    """Write a quantized decoder as it is, codes and scales; only ``read_quantized`` reads it.

    Raises ExportError if no layer is quantized, or not all in the same way.
    """
    layers = quantized_layers(model)
    configs = {layer.config for layer in layers.values()}
    if not isinstance(model, Decoder) or len(configs) != 1:
        raise ExportError("a decoder with layers that are quantized in one way is expected: quantize_model(model).")
    name, text = licence or ("mit", course_licence())
    weights = model.state_dict()
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    method = {"quant_method": QUANTIZED, **asdict(configs.pop()), "layers": sorted(layers)}
    config = {**llama_config(model.config), "architectures": ["LlamaForCausalLM"], "quantization_config": method}
    with files.atomic_folder(folder) as fresh:
        _write_tensors(fresh, config, weights)
        _write_rest(fresh, tokenizer, model)
        (fresh / "README.md").write_text(model_card(Path(folder).name, model, card, name), encoding="utf-8")
        (fresh / "LICENSE").write_text(text, encoding="utf-8")
    return Path(folder)


def _write_tensors(folder: Path, config: dict[str, Any], weights: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    kept = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", **config}, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def read_quantized(folder: str | PathLike[str]) -> Decoder:
    """The decoder that ``write_quantized`` wrote. Raises ExportError for another folder, or weights that do not fit."""
    from course_utils.models.convert import decoder_config

    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        method = dict(config.pop("quantization_config"))
        if method.pop("quant_method") != QUANTIZED:
            raise KeyError("quant_method")
        layers = method.pop("layers")
        model = Decoder(decoder_config(config))
        quantize_model(model, QuantConfig(**method), layers)
        expected = model.state_dict()
        model.load_state_dict(read_weights(folder, expected))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{folder} is no quantized model of the course, or not whole: {error}") from error
    return model.eval()


def read_release(folder: str | PathLike[str]) -> Loaded:
    """The model and the tokenizer of a folder that ``write_release``, or the Hub, made. Raises ExportError."""
    from transformers import AutoTokenizer

    try:
        model = load_model(Path(folder))
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ExportError(f"{folder} is no model of the course's kind, or not whole: {error}") from error
    return Loaded(model, tokenizer, {}, f"the model in {folder}")


def check_release(folder: str | PathLike[str]) -> list[str]:
    """What other servers would stumble over in a folder; an empty list if nothing was found.

    vLLM and ``transformers serve`` cannot be asked on every machine. What they ask of a folder can be: its files, that
    weights and configuration agree, that the tokenizer fits, that the template can be rendered and answers can end.
    """
    folder = Path(folder)
    wanted = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
    found = [f"{name} is missing" for name in wanted if not (folder / name).is_file()]
    found += [f"{name} is missing" for name in ("README.md", "LICENSE") if not (folder / name).is_file()]
    if found:
        return found
    from transformers import AutoTokenizer

    try:
        config = load_config(folder)
        read_weights(folder, Decoder(config, seed=None).state_dict())
    except (OSError, ValueError) as error:
        return [f"weights and config.json: {error}"]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if len(tokenizer) > config.vocab_size:
        found.append(f"the tokenizer has {len(tokenizer)} tokens, the model {config.vocab_size}: of another model?")
    if not tokenizer.chat_template:
        found.append("there is no chat template, so that /v1/chat/completions cannot be answered")
    else:
        chat = [{"role": "user", "content": "Who?"}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        longer = tokenizer.apply_chat_template(chat, add_generation_prompt=False, return_dict=False)
        if ids[: len(longer)] != longer or len(ids) == len(longer):
            found.append("the chat template has no generation prompt: the model would go on speaking as the user")
    ends = json.loads((folder / "generation_config.json").read_text(encoding="utf-8")).get("eos_token_id")
    if ends is None:
        found.append("generation_config.json names no end token: answers would run to the limit")
    return found
