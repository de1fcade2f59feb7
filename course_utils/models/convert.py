"""Weights between our ``Decoder``, transformers' ``LlamaForCausalLM``, and a folder on disk.

A model folder is an ordinary Hugging Face folder (``config.json`` and ``model.safetensors``), which
``AutoModelForCausalLM`` reads too. Ours is read and written without transformers, without pickle, and
without running any code that comes with the weights.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils import files
from course_utils.models.decoder import Decoder, DecoderConfig

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedModel

INDEX = "model.safetensors.index.json"  # of weights in several files
UNUSED = ".rotary_emb.inv_freq"  # tables that older versions of transformers stored; they follow from rope_theta
# what a configuration that lacks the field means by it
DEFAULTS: dict[str, Any] = {"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "tie_word_embeddings": False}
DEFAULTS |= {"pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}
_DERIVED = {*DEFAULTS, "rope_theta", "num_key_value_heads"}


def llama_config(config: DecoderConfig) -> dict[str, Any]:
    """The fields of transformers' ``LlamaConfig`` that describe the same model."""
    eos = config.eos_token_id
    return {
        **asdict(config),
        "eos_token_id": list(eos) if isinstance(eos, tuple) else eos,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
    }


def decoder_config(llama: dict[str, Any]) -> DecoderConfig:
    """The decoder that a ``LlamaConfig`` (as a dict, of any version) describes.

    Raises ValueError for what ours does not have, or if a size is missing.
    """
    rope = llama.get("rope_parameters") or llama.get("rope_scaling") or {}
    try:
        heads, hidden = llama["num_attention_heads"], llama["hidden_size"]
        values = {field.name: llama[field.name] for field in fields(DecoderConfig) if field.name not in _DERIVED}
    except KeyError as error:
        raise ValueError(f"the configuration has no {error}; a Llama's states it.") from error
    wanted = {
        "model_type": (llama.get("model_type", "llama"), "llama"),
        "hidden_act": (llama.get("hidden_act", "silu"), "silu"),
        "attention_bias": (bool(llama.get("attention_bias", False)), False),
        "mlp_bias": (bool(llama.get("mlp_bias", False)), False),
        "rope_type": (rope.get("rope_type") or rope.get("type") or "default", "default"),
        "partial_rotary_factor": (rope.get("partial_rotary_factor") or llama.get("partial_rotary_factor") or 1.0, 1.0),
        "head_dim": (llama.get("head_dim") or hidden // heads, hidden // heads),
        "quantization_config": (llama.get("quantization_config"), None),
    }
    for name, (given, expected) in wanted.items():
        if given != expected:
            raise ValueError(
                f"the configuration has {name} = {given!r}; this decoder has only {expected!r}. "
                "Load the model with transformers' AutoModelForCausalLM instead."
            )
    values |= {name: llama.get(name, default) for name, default in DEFAULTS.items()}
    values["rope_theta"] = float(rope.get("rope_theta") or llama.get("rope_theta") or 10_000.0)
    values["num_key_value_heads"] = llama.get("num_key_value_heads") or heads
    values["tie_word_embeddings"] = bool(values["tie_word_embeddings"])
    if isinstance(values["eos_token_id"], list):
        values["eos_token_id"] = tuple(values["eos_token_id"])
    return DecoderConfig(**values)


def to_llama(model: Decoder | PreTrainedModel) -> PreTrainedModel:
    """A ``LlamaForCausalLM`` with a copy of the decoder's weights, on the same device, in the same dtype and mode.

    A model that is one of transformers already, as a replaced base is, is copied.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    if not isinstance(model, Decoder):
        return copy.deepcopy(model)
    weight = model.lm_head.weight
    llama = LlamaForCausalLM(LlamaConfig(**llama_config(model.config))).to(weight.device, weight.dtype)
    llama.load_state_dict(model.state_dict())
    return llama.train(model.training)


def from_llama(llama: LlamaForCausalLM, share: bool = False) -> Decoder:
    """A ``Decoder`` with the weights of a ``LlamaForCausalLM``, on the same device, in the same dtype and mode.

    The weights are copied; with ``share`` both models hold the same parameters, and training one trains the other.
    Raises ValueError if the model has something that the decoder lacks (biases, scaled rotary positions, ...).
    """
    model = Decoder(decoder_config(llama.config.to_dict()), seed=None)
    if share:
        for name, parameter in llama.named_parameters(remove_duplicate=False):
            holder, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(holder), leaf, parameter)
    else:
        model.load_state_dict(llama.state_dict())
    weight = llama.get_input_embeddings().weight
    return model.to(weight.device, weight.dtype).train(llama.training)


def save_model(model: Decoder | PreTrainedModel, folder: str | Path, dtype: torch.dtype = torch.float16) -> Path:
    """Write ``config.json`` and ``model.safetensors`` into ``folder``, made if missing, with weights in ``dtype``.

    A model that is one of transformers already is written by transformers, from a copy.
    """
    if not isinstance(model, Decoder):
        from course_utils.models.surgery import with_conv1d

        theirs: Any = copy.deepcopy(with_conv1d(model))
        theirs.to(dtype).save_pretrained(folder)
        return Path(folder)
    weights = model.state_dict()
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]  # it is the embedding; reading ties it again
    return write_model({**llama_config(model.config), "architectures": ["LlamaForCausalLM"]}, weights, folder, dtype)


def load_model(folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Decoder:
    """Read a model folder into a ``Decoder``, in ``dtype``, ready for inference (``model.train()`` to go on training).

    Raises:
        FileNotFoundError: the folder or one of its two files is missing.
        ValueError: the configuration is of another kind of model, or the weights do not fit it.
    """
    model = Decoder(load_config(folder), seed=None)
    model.load_state_dict(read_weights(folder, model.state_dict()))
    return model.to(device, dtype).eval()


def write_model(config: dict[str, Any], weights: dict[str, Tensor], folder: str | Path, dtype: torch.dtype) -> Path:
    """Write the two files of a Llama model. A full disk leaves the old ones whole."""
    from safetensors.torch import save_file

    folder = Path(folder)
    weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in weights.items()}
    config = {"model_type": "llama", "dtype": str(dtype).removeprefix("torch."), **config}
    with (
        files.atomic_file(folder / "config.json") as described,
        files.atomic_file(folder / "model.safetensors") as stored,
    ):
        described.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        save_file(weights, stored, metadata={"format": "pt"})
    return folder


def load_config(folder: str | Path) -> DecoderConfig:
    """The sizes of the model in a folder. Raises FileNotFoundError or ValueError, as ``load_model`` does."""
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file() and not (name == "model.safetensors" and (folder / INDEX).is_file()):
            raise FileNotFoundError(
                f"{folder} has no {name}; a model folder holds config.json and model.safetensors, "
                "as save_model writes them."
            )
    try:
        return decoder_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{folder / 'config.json'} is not the configuration of a Llama model: {error!r}.") from error


def read_weights(folder: str | Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights in a folder, of one file or several, with the names and shapes of ``expected``.

    Raises ValueError if they are others.
    """
    folder = Path(folder)
    weights: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        weights |= _read_file(path)
    weights = {name: value for name, value in weights.items() if not name.endswith(UNUSED)}
    stored = "model.safetensors" if (folder / "model.safetensors").is_file() else INDEX
    head, table = (expected.get(name) for name in ("lm_head.weight", "model.embed_tokens.weight"))
    tied = head is not None and table is not None and head.data_ptr() == table.data_ptr()
    if tied and "model.embed_tokens.weight" in weights:
        embedding = weights["model.embed_tokens.weight"]
        if not torch.equal(weights.get("lm_head.weight", embedding), embedding):
            raise ValueError(
                f"{folder / 'config.json'} says that head and embedding are one matrix (tie_word_embeddings), but "
                f'{stored} holds two different ones. If both were trained, write "tie_word_embeddings": false there.'
            )
        weights["lm_head.weight"] = embedding
    shapes = {name: tuple(value.shape) for name, value in expected.items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if shapes != found:
        name = next(name for name in [*shapes, *found] if shapes.get(name) != found.get(name))
        raise ValueError(
            f"{folder / stored} does not fit its config.json: {name} is {found.get(name, 'missing')} "
            f"and should be {shapes.get(name, 'absent')}. The two files belong to different models."
        )
    return weights


def _weight_files(folder: Path) -> list[Path]:
    """``model.safetensors``, or the files that the index of a larger model names."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder / INDEX} is not an index of weights: {error!r}.") from error
    for name in names:
        if not (folder / name).is_file() or (folder / name).parent != folder:
            raise FileNotFoundError(f"{folder} has no {name}, which {INDEX} names. Copy or download the model again.")
    return [folder / name for name in names]


def _read_file(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} cannot be read ({error}); it is torn or not a safetensors file. Copy or save the model again."
        ) from error
