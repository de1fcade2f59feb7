"""A base model from elsewhere: ``COURSE_BASE_MODEL`` names a local folder or a model of the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils import settings
from course_utils.pretrained.folder import Loaded, StoreError, check_vocabulary
from course_utils.text.special_tokens import PLAIN_TEMPLATE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONNECT_SECONDS = 5.0
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def load_replacement(wanted: str, device: str) -> Loaded:
    """The base model ``wanted``, a local folder or a Hub id (from the cache unless online), with its tokenizer.

    Raises StoreError if it cannot be found, fetched or read, or if model and tokenizer do not belong together.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from course_utils.models.surgery import with_linear

    folder = settings.anchored(wanted)
    if not folder.is_dir():
        folder = _downloaded(wanted)
    if said := complaint(folder):
        raise StoreError(f"COURSE_BASE_MODEL is {wanted!r}, {said}")
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet_hub():
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **local
            )
    except (OSError, ValueError, ImportError, RuntimeError) as error:  # RuntimeError: shapes that do not fit
        raise StoreError(
            f"COURSE_BASE_MODEL is {wanted!r}, which cannot be loaded: {error} Expected a causal language model with "
            "its tokenizer and weights in safetensors."
        ) from error
    _check_weights(wanted, report)
    _give_tokens(wanted, model, tokenizer)
    check_vocabulary(model, tokenizer, f"COURSE_BASE_MODEL {wanted!r}")
    parameters = sum(p.numel() for p in model.parameters())
    card = {"name": "base", "base_model": wanted, "parameters": parameters, "figures": {}}
    source = f"{wanted} (COURSE_BASE_MODEL) instead of 'base'"
    return Loaded(with_linear(model).to(device).eval(), tokenizer, card, source)


def complaint(folder: Path) -> str | None:
    """Why a model's folder is not used, told from its configuration alone: a sentence that goes on from its name."""
    for name, what in (("config.json", "configuration"), ("tokenizer_config.json", "tokenizer's configuration")):
        path = folder / name
        if not path.is_file():
            continue
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            return f"whose {name} cannot be read: {error}."
        if isinstance(said, dict) and said.get("auto_map"):
            return (
                f"whose {what} asks for Python code of its own (auto_map in {name}). No code that comes with a model "
                "is run here: it could do anything on this machine. Choose a model that transformers knows by itself; "
                "if it does know this one, remove auto_map from a copy of the folder."
            )
    if (folder / "adapter_config.json").is_file():
        return (
            "which holds an adapter. Merge it into its base, save that model with its tokenizer, and name the new "
            "folder."
        )
    if (folder / "config.json").is_file() and not any((folder / name).is_file() for name in TOKENIZERS):
        return (
            f"whose folder holds no tokenizer (none of {', '.join(TOKENIZERS)}). Save the tokenizer that the model was "
            "trained with beside it: tokenizer.save_pretrained(folder)."
        )
    if not (folder / "config.json").is_file():
        return "which cannot be loaded: it has no config.json. Expected a causal language model with its tokenizer."
    return None


def _check_weights(wanted: str, report: Mapping[str, Any]) -> None:
    """Refuse a model with weights that no file holds: transformers draws them at random. Name what it does not use."""
    if missing := sorted(report["missing_keys"]):
        raise StoreError(
            f"COURSE_BASE_MODEL is {wanted!r}, but its files lack {_some(missing)}, which would be random numbers. "
            "Copy or download the model again; if head and embedding are one matrix, its config.json should say "
            '"tie_word_embeddings": true.'
        )
    if unused := sorted(report["unexpected_keys"]):
        warnings.warn(
            f"COURSE_BASE_MODEL {wanted!r}: its files hold {_some(unused)}, which its architecture does not use.",
            stacklevel=4,
        )


def _give_tokens(wanted: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the tokenizer the end token that only the model's configuration names, padding and a chat template if it has
    none."""
    if tokenizer.eos_token is None:
        end = model.config.eos_token_id
        end = end[0] if isinstance(end, list | tuple) and end else end
        token = tokenizer.convert_ids_to_tokens(end) if isinstance(end, int) and end < len(tokenizer) else None
        if token is None:
            raise StoreError(
                f"COURSE_BASE_MODEL is {wanted!r}, whose tokenizer has no end token: no text could end. Name one in "
                'its tokenizer_config.json, such as "eos_token": "</s>".'
            )
        tokenizer.eos_token = token
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:  # a base model; theirs, where there is one, is used as it is
        tokenizer.chat_template = PLAIN_TEMPLATE


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _downloaded(wanted: str) -> Path:
    """The folder with the files of a Hub model: from the cache; if it is not there and the learner is online, fetched.

    Asked once, briefly, whether the Hub answers, because its client would otherwise try again and again.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    files = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]  # never a pickle, never code
    try:
        folder = Path(snapshot_download(wanted, local_files_only=True, allow_patterns=files))
        if any(folder.glob("*.safetensors")):  # else a download was broken off
            return folder
        raise LocalEntryNotFoundError("no weights")
    except HFValidationError as error:
        raise StoreError(
            f"COURSE_BASE_MODEL is {wanted!r}, but there is no such folder, and a Hub id has the form owner/name. "
            "Correct it, or unset COURSE_BASE_MODEL to use the course's own base model."
        ) from error
    except LocalEntryNotFoundError as error:
        if not settings.online():
            raise StoreError(
                f"COURSE_BASE_MODEL is {wanted!r}, which is not among the models already downloaded to this machine, "
                "and the course opens no connection by itself. Set COURSE_ONLINE=1 to download it once, give a local "
                "folder, or unset COURSE_BASE_MODEL to use the course's own base model."
            ) from error
    try:
        HfApi().model_info(wanted, timeout=CONNECT_SECONDS)
        return Path(snapshot_download(wanted, allow_patterns=files))
    except RepositoryNotFoundError as error:
        raise StoreError(
            f"COURSE_BASE_MODEL is {wanted!r}, and the Hugging Face Hub has no such public model. Correct the id."
        ) from error
    except Exception as error:  # every client library has its own kinds of failed connections
        raise StoreError(
            f"COURSE_BASE_MODEL is {wanted!r}, but the Hugging Face Hub cannot be reached ({type(error).__name__}) and "
            "the model is not on this machine. Connect to the network, give a local folder, or unset COURSE_BASE_MODEL."
        ) from error


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Without transformers' own warnings: our error says it."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
