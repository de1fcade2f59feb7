"""One model's folder: written, and read back with the checks that tell whether its parts belong together.

It is an ordinary Hugging Face folder (config.json, model.safetensors, the tokenizer's files) with a ``card.json``:
recipe, seed, tokens, loss curve, measured figures. A LoRA adapter is kept without its base, as peft keeps it: the model
whose weights lie frozen below it is looked for when it is written, and the digest of those weights, which is kept on
the card, finds that model again when it is read.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from course_utils import files, settings

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from course_utils.models.decoder import Decoder

ADAPTER = "adapter_model.safetensors"


class StoreError(RuntimeError):
    """A model cannot be saved or loaded; the message says why and what to do."""


@dataclass
class Loaded:
    """A finished model with its tokenizer and card. ``source`` says in words whose it is."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    card: dict[str, Any]
    source: str


@dataclass
class Base:
    """A model that an adapter may belong to: its name, the digest of its weights, and how it is read onto a device.

    ``weights``: None if only reading the model tells; it is then ``weights_digest`` of it.
    """

    name: str
    weights: str | None
    read: Callable[[str], nn.Module]


def as_base(folder: Path) -> Base | None:
    """The model in a folder as a ``Base``; None if there is none, or an adapter, which is no base by itself."""
    weights = _card(folder).get("weights")
    if weights is None or (folder / ADAPTER).is_file():
        return None
    return Base(folder.name, weights, lambda device: read_folder(folder, device, ())[0])


def read_folder(
    folder: Path, device: str, bases: Iterable[Base]
) -> tuple[nn.Module, PreTrainedTokenizerBase, dict[str, Any]]:
    """Model, tokenizer and card of a folder that the course wrote, checked against the digests on the card.

    ``bases``: among these the base of an adapter is looked for. Raises StoreError, OSError, ValueError or
    KeyError for a folder that is damaged or not a model.
    """
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    weights = _weights(folder)
    if files.digest(weights) != card["weights"]:
        raise StoreError(f"{weights.name} is truncated or altered (its digest is not the one on the card).")
    tokenizer = _read_tokenizer(folder, card)
    if vocabulary_digest(tokenizer) != card["vocabulary"]:
        raise StoreError("its tokenizer is not the one that it was saved with (another vocabulary).")
    model = _read_model(folder, device, card, bases)
    check_vocabulary(model, tokenizer, f"the model in {folder}")
    return model, tokenizer, card


def write_folder(
    folder: Path,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    card: Mapping[str, Any],
    bases: Iterable[Base],
) -> None:
    """Write model, tokenizer and card into a folder that is there and empty.

    Profile, date, number of parameters and digests are added to the card. Of a model with LoRA adapters the one in use
    is written, and the card says which it is and what is left out; if none is in use, the bare base is. ``bases``:
    among these the model below an adapter is looked for. Raises StoreError if it is not there, or if the model has
    parts that a folder does not keep.
    """
    about_adapter = _write_model(model, folder, bases)
    tokenizer.save_pretrained(folder)
    full = {
        "profile": settings.profile().name,
        "made": time.strftime("%Y-%m-%d"),
        "parameters": sum(p.numel() for p in model.parameters()),
        "base_model": os.environ.get("COURSE_BASE_MODEL"),
        **card,
        "vocabulary": vocabulary_digest(tokenizer),
        "weights": files.digest(_weights(folder)),
        **about_adapter,
    }
    (folder / "card.json").write_text(json.dumps(full, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def is_model(folder: Path) -> bool:
    """True if the folder has a card and weights; whether they are whole, ``read_folder`` finds out."""
    return (folder / "card.json").is_file() and _weights(folder).is_file()


def check_vocabulary(model: nn.Module, tokenizer: PreTrainedTokenizerBase, what: str) -> None:
    """Raise StoreError if the tokenizer has more tokens than the embedding of ``what`` has rows."""
    rows = getattr(getattr(model, "config", None), "vocab_size", None)
    if rows is not None and len(tokenizer) > rows:
        raise StoreError(
            f"{what} has an embedding of {rows} rows, but its tokenizer has {len(tokenizer)} tokens: they do not "
            "belong together. Use the tokenizer that the model was trained with."
        )


def vocabulary_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hex digits that stand for all tokens and their ids."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()[:16]


def weights_digest(model: nn.Module) -> str:
    """The SHA-256, in hex, of all weights below any adapter, in half precision, with their names and shapes."""
    from course_utils.models.lora import base_weights

    digest = hashlib.sha256()
    for name, value in sorted(base_weights(model).items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read_tokenizer(folder: Path, card: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    if card.get("base_model"):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    from course_utils.text.tokenizer import load_tokenizer

    return load_tokenizer(folder)


def _read_model(folder: Path, device: str, card: Mapping[str, Any], bases: Iterable[Base]) -> nn.Module:
    """The course's decoder, or (tuned from a replaced base, or of another kind) the transformers class of
    config.json."""
    if _weights(folder).name == ADAPTER:
        from course_utils.models.lora import load_lora

        for base in bases:
            if base.weights not in (None, card["base_weights"]):
                continue
            model = base.read(device)
            if base.weights is not None or weights_digest(model) == card["base_weights"]:
                return load_lora(model, folder).eval()
        raise StoreError("it is an adapter for a base that is not here. Train it anew on the base that you have.")
    architecture = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    if architecture == "LlamaForCausalLM" and not card.get("base_model"):
        from course_utils.models.convert import load_model

        return load_model(folder, device)
    if architecture == "LlamaForSequenceClassification" and not card.get("base_model"):
        from course_utils.models.heads import load_classifier

        return load_classifier(folder, device)
    if architecture == "Classifier":  # with a body of transformers
        from course_utils.models.heads import load_classifier

        return load_classifier(folder, device)
    import torch
    import transformers

    from course_utils.models.surgery import with_linear

    kind = getattr(transformers, architecture, None)
    if kind is None:
        raise StoreError(f"its architecture is {architecture!r}, which this transformers does not know.")
    model = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
    return with_linear(model).to(device).eval()


def _write_model(model: nn.Module, folder: Path, bases: Iterable[Base]) -> dict[str, Any]:
    """Write the model's files; return what the card says about an adapter."""
    from course_utils.models.adapters import adapter_layers
    from course_utils.models.heads import Classifier, save_classifier
    from course_utils.models.lora import active_adapter, adapters, remove_adapter, save_lora
    from course_utils.models.quantization import quantized_layers
    from course_utils.models.surgery import with_conv1d

    if quantized_layers(model):
        raise StoreError(
            "the model is quantized, and a folder keeps matrices in 16 bits. Put plain ones in their place first "
            "(dequantize_model), or write an adapter alone with save_lora."
        )
    if any(True for _ in adapter_layers(model)):
        raise StoreError(
            "the model has bottleneck adapters, which a folder does not keep; keep its state_dict instead."
        )
    name = active_adapter(model)
    if name is not None:
        base, grown = _base_of(model, bases)
        save_lora(model, folder, name, base=base.name, save_embedding_layers=grown)
        others = [other for other in adapters(model) if other != name]
        return {"adapter": name, "left_out": others, "base": base.name, "base_weights": base.weights}
    if adapters(model):  # the bare base answers, so that is what is written
        model = copy.deepcopy(model)
        for resting in adapters(model):
            remove_adapter(model, resting)
    if isinstance(model, Classifier):
        save_classifier(model, folder)
    elif hasattr(model, "save_pretrained"):
        cast("PreTrainedModel", with_conv1d(model)).save_pretrained(folder)  # safetensors
    else:
        from course_utils.models.convert import save_model

        save_model(cast("Decoder", model), folder)
    return {}


def _base_of(model: nn.Module, bases: Iterable[Base]) -> tuple[Base, bool]:
    """The model that lies below the adapters, and whether embedding and head are others than its (new tokens).

    Compared in half precision, as folders keep weights. Raises StoreError if it is none of ``bases``.
    """
    from course_utils.models.lora import base_weights, embedding_layers

    at_hand = {name: value.cpu() for name, value in base_weights(model).items()}
    tables = embedding_layers(model)
    nearly, names = None, []
    for base in bases:
        try:
            candidate = base.read("cpu")
        except (OSError, ValueError, KeyError, StoreError):  # damaged: it is no base of anything
            continue
        names.append(base.name)
        weights = candidate.state_dict()
        if weights.keys() != at_hand.keys():
            continue
        other = [name for name in weights if not _same(weights[name], at_hand[name])]
        base.weights = base.weights or weights_digest(candidate)
        if not other:
            return base, False
        fits = all(
            name.removesuffix(".weight") in tables and len(weights[name]) <= len(at_hand[name]) for name in other
        )
        if nearly is None and fits and _tied(candidate) == _tied(model):
            nearly = base
    if nearly is not None:
        return nearly, True
    if not names:
        raise StoreError(
            "there is no base on the shelf that an adapter could belong to; run chapter 03 or `make bake`."
        )
    raise StoreError(
        "an adapter is kept without its base, and the frozen weights below this one are those of no other model here "
        f"({', '.join(names)}). Save the model that it was trained on first, under a name of its own (after "
        "use_adapter(model, None) the bare base is saved), or write the adapter alone with save_lora."
    )


def _tied(model: nn.Module) -> bool:
    from course_utils.models.lora import embedding_layers

    parts = embedding_layers(model).values()
    return len({id(part.weight) for part in parts}) < len(parts)


def _same(stored: Tensor, at_hand: Tensor) -> bool:
    """True if a weight at hand is the stored one: not yet rounded to half precision, or cast to another dtype."""
    if stored.shape != at_hand.shape:
        return False
    return bool((stored.to(at_hand.dtype) == at_hand).all() or (stored.half() == at_hand.half()).all())


def _weights(folder: Path) -> Path:
    adapter = folder / ADAPTER
    return adapter if adapter.is_file() else folder / "model.safetensors"


def _card(folder: Path) -> dict[str, Any]:
    path = folder / "card.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
