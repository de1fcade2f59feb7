"""One model's folder: written, and read back with the checks that tell whether its parts belong together.

It is an ordinary Hugging Face folder (config.json, model.safetensors, the tokenizer's files) with a ``card.json``:
recipe, seed, tokens, loss curve, measured figures. A LoRA adapter is kept without its base, as peft keeps it; its card
names the weights of the base that it was trained on, and it is put onto them when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils import settings

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

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


def read_folder(
    folder: Path, device: str, bases: Sequence[Path]
) -> tuple[nn.Module, PreTrainedTokenizerBase, dict[str, Any]]:
    """Model, tokenizer and card of a folder that the course wrote, checked against the digests on the card.

    ``bases``: the folders in which the base of an adapter is looked for. Raises StoreError, OSError, ValueError or
    KeyError for a folder that is damaged or not a model.
    """
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    weights = _weights(folder)
    if file_digest(weights) != card["weights"]:
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
    bases: Sequence[Path],
) -> None:
    """Write model, tokenizer and card into a folder that is there and empty.

    Profile, date, number of parameters and digests are added to the card. ``bases``: where the base of an adapter may
    lie; the first that is there is its base.
    """
    _write_model(model, folder)
    tokenizer.save_pretrained(folder)
    full = {
        "profile": settings.profile().name,
        "made": time.strftime("%Y-%m-%d"),
        "parameters": sum(p.numel() for p in model.parameters()),
        "base_model": os.environ.get("COURSE_BASE_MODEL"),
        **card,
        "vocabulary": vocabulary_digest(tokenizer),
        "weights": file_digest(_weights(folder)),
    }
    if _weights(folder).name == ADAPTER:
        full["base_weights"] = _base_weights(bases)
    (folder / "card.json").write_text(json.dumps(full, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_tokenizer(folder: Path, card: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    if card.get("base_model"):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    from course_utils.text.tokenizer import load_tokenizer

    return load_tokenizer(folder)


def _read_model(folder: Path, device: str, card: Mapping[str, Any], bases: Sequence[Path]) -> nn.Module:
    """The course's decoder, or (tuned from a replaced base, or of another kind) the transformers class of
    config.json."""
    if _weights(folder).name == ADAPTER:
        from course_utils.models.lora import load_lora

        for base in bases:
            if _card(base).get("weights") == card["base_weights"]:
                return load_lora(read_folder(base, device, ())[0], folder).eval()
        raise StoreError("it is an adapter for a base that is not here. Train it anew on the base that you have.")
    architecture = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    if architecture == "LlamaForCausalLM" and not card.get("base_model"):
        from course_utils.models.convert import load_model

        return load_model(folder, device)
    if architecture == "LlamaForSequenceClassification" and not card.get("base_model"):
        from course_utils.models.heads import load_classifier

        return load_classifier(folder, device)
    import torch
    import transformers

    kind = getattr(transformers, architecture, None)
    if kind is None:
        raise StoreError(f"its architecture is {architecture!r}, which this transformers does not know.")
    model = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
    return model.to(device).eval()


def _write_model(model: nn.Module, folder: Path) -> None:
    from course_utils.models.heads import Classifier, save_classifier
    from course_utils.models.lora import adapters, save_lora

    if adapters(model):
        save_lora(model, folder, adapters(model)[-1], base="base")
        return
    if isinstance(model, Classifier):
        save_classifier(model, folder)
        return
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)  # safetensors
        return
    from course_utils.models.convert import save_model

    save_model(model, folder)


def _weights(folder: Path) -> Path:
    adapter = folder / ADAPTER
    return adapter if adapter.is_file() else folder / "model.safetensors"


def _card(folder: Path) -> dict[str, Any]:
    path = folder / "card.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _base_weights(bases: Sequence[Path]) -> str:
    """The digest of the base that an adapter was trained on: the one that ``load("base")`` gives."""
    found = [card["weights"] for folder in bases if "weights" in (card := _card(folder))]
    if not found:
        raise StoreError(
            "there is no base on the shelf that an adapter could belong to; run chapter 03 or `make bake`."
        )
    return found[0]
