"""The shelf of trained models: a chapter asks for "base" or "instruct" and is told whose model it got.

``load`` looks in the learner's own folder first (``COURSE_HOME/checkpoints/<profile>/<name>``), then among the
checkpoints that are part of the package. ``COURSE_BASE_MODEL`` replaces "base" by a model of the Hugging Face Hub
or a local folder.

A folder on the shelf is an ordinary Hugging Face folder (config.json, model.safetensors, the tokenizer's files) with a
``card.json``: recipe, seed, tokens, loss curve, measured figures. A LoRA adapter is kept without its base, as peft
keeps it; its card names the weights of the base that it was trained on, and ``load`` puts it onto them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils import settings

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

PACKAGE = Path(__file__).resolve().parent / "weights"
CARD_FIELDS = ("recipe", "seed", "tokens", "loss", "figures")
CONNECT_SECONDS = 5.0
ADAPTER = "adapter_model.safetensors"


class StoreError(RuntimeError):
    """A model cannot be put on the shelf or taken from it; the message says why and what to do."""


@dataclass
class Loaded:
    """A model from the shelf. ``source`` says in words whose it is."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    card: dict[str, Any]
    source: str


def load(name: str, *, device: str | None = None, root: str | Path | None = None) -> Loaded:
    """The model called ``name``, its tokenizer and its card, on ``device`` (None: the profile's), in float32, mode
    eval.

    With ``root`` only that folder is searched. A damaged model of the learner's is named in a warning, and the
    course's is used. Raises StoreError if there is no usable model of that name, if model and tokenizer do not
    belong together, or if ``COURSE_BASE_MODEL`` cannot be reached.
    """
    _check_name(name)
    device = device or settings.device()
    replaced = os.environ.get("COURSE_BASE_MODEL")
    if name == "base" and replaced and root is None:
        return _load_replacement(replaced, device)
    places = [(Path(root) / name, f"the model in {root}")] if root is not None else _places(name)
    problems = []
    for folder, whose in places:
        _finish_swap(folder)
        if not folder.is_dir():
            problems.append(f"{folder}: not there")
            continue
        try:
            model, tokenizer, card = _read(folder, device)
        except (OSError, ValueError, KeyError, StoreError) as error:
            problems.append(f"{folder}: {error}")
            warnings.warn(f"{whose} {name!r} in {folder} cannot be used: {error}", stacklevel=2)
            continue
        made = f", made {card['made']}" if card.get("made") else ""
        return Loaded(model, tokenizer, card, f"{whose} {name!r} ({card.get('profile', 'unknown')} profile{made})")
    raise StoreError(
        f"there is no usable model called {name!r}. Looked in:\n  " + "\n  ".join(problems) + "\n"
        "Run the chapter that makes it (03 for 'base', 06 for 'instruct'), or `make bake`."
    )


def save(
    name: str,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    card: Mapping[str, Any],
    *,
    root: str | Path | None = None,
) -> Path:
    """Put a model on the learner's shelf (or in ``root``) and return its folder; an older one of that name is replaced.

    ``card`` must have ``recipe`` (how it was trained), ``seed``, ``tokens`` (seen in training), ``loss`` (the
    curve, as [[step, loss], ...]) and ``figures`` (what was measured, by name). Profile, date, parameters and
    digests are added. The folder is written beside its place and swapped in at the end, so that a full disk or a
    kill leaves the old one whole.

    Raises StoreError for an incomplete card, a tokenizer that does not fit the model, or a disk that cannot be written.
    """
    from safetensors import SafetensorError

    _check_name(name)
    missing = [field for field in CARD_FIELDS if field not in card]
    if missing:
        raise StoreError(f"the card of {name!r} has no {', '.join(missing)}; expected {', '.join(CARD_FIELDS)}.")
    _check_vocabulary(model, tokenizer, f"the model to be saved as {name!r}")
    folder = (Path(root) if root is not None else _own_root()) / name
    fresh = folder.with_name(f".new-{name}-{os.getpid()}")
    try:
        for left_over in folder.parent.glob(f".new-{name}-*"):  # by a process that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        fresh.mkdir(parents=True)
        _write_model(model, fresh)
        tokenizer.save_pretrained(fresh)
        full = {
            "name": name,
            "profile": settings.profile().name,
            "made": time.strftime("%Y-%m-%d"),
            "parameters": sum(p.numel() for p in model.parameters()),
            "base_model": os.environ.get("COURSE_BASE_MODEL"),
            **card,
            "vocabulary": _vocabulary_digest(tokenizer),
            "weights": _file_digest(_weights(fresh)),
        }
        if _weights(fresh).name == ADAPTER:
            full["base_weights"] = _base_weights()
        (fresh / "card.json").write_text(json.dumps(full, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for path in fresh.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        _swap(fresh, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        _finish_swap(folder)
        old = f"The earlier {name!r} is untouched. " if folder.is_dir() else ""
        raise StoreError(
            f"{name!r} could not be saved in {folder.parent}: {error}. {old}Free some space and save again; the model "
            "is still in memory."
        ) from error
    return folder


def names() -> dict[str, str]:
    """What is on the shelf: name -> "yours" or "the course's"."""
    found = {path.name: "the course's" for path in _folders(PACKAGE)}
    return found | {path.name: "yours" for path in _folders(_own_root())}


def _places(name: str) -> list[tuple[Path, str]]:
    return [(_own_root() / name, "your own"), (PACKAGE / name, "the course's")]


def _own_root() -> Path:
    """One shelf per profile, and one per replaced base model: what was tuned from another base is another model."""
    replaced = os.environ.get("COURSE_BASE_MODEL")
    suffix = "@" + re.sub(r"[^A-Za-z0-9.-]+", "-", replaced).strip("-") if replaced else ""
    return settings.home() / "checkpoints" / (settings.profile().name + suffix)


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(
        p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and (p / "card.json").is_file()
    )


def _read(folder: Path, device: str) -> tuple[nn.Module, PreTrainedTokenizerBase, dict[str, Any]]:
    """Model, tokenizer and card of a folder that the course wrote, checked against the digests on the card."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    weights = _weights(folder)
    if _file_digest(weights) != card["weights"]:
        raise StoreError(f"{weights.name} is truncated or altered (its digest is not the one on the card).")
    tokenizer = _read_tokenizer(folder, card)
    if _vocabulary_digest(tokenizer) != card["vocabulary"]:
        raise StoreError("its tokenizer is not the one that it was saved with (another vocabulary).")
    model = _read_model(folder, device, card)
    _check_vocabulary(model, tokenizer, f"the model in {folder}")
    return model, tokenizer, card


def _read_tokenizer(folder: Path, card: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    if card.get("base_model"):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    from course_utils.text.tokenizer import load_tokenizer

    return load_tokenizer(folder)


def _read_model(folder: Path, device: str, card: Mapping[str, Any]) -> nn.Module:
    """The course's decoder, or (tuned from a replaced base, or of another kind) the transformers class of
    config.json."""
    if _weights(folder).name == ADAPTER:
        from course_utils.models.lora import load_lora

        for place, _ in _places("base"):
            if _card(place).get("weights") == card["base_weights"]:
                return load_lora(_read(place, device)[0], folder).eval()
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


def _weights(folder: Path) -> Path:
    adapter = folder / ADAPTER
    return adapter if adapter.is_file() else folder / "model.safetensors"


def _card(folder: Path) -> dict[str, Any]:
    path = folder / "card.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _base_weights() -> str:
    """The digest of the base that an adapter was trained on: the one that ``load("base")`` gives."""
    found = [card["weights"] for folder, _ in _places("base") if "weights" in (card := _card(folder))]
    if not found:
        raise StoreError(
            "there is no base on the shelf that an adapter could belong to; run chapter 03 or `make bake`."
        )
    return found[0]


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


def _load_replacement(wanted: str, device: str) -> Loaded:
    """The base model that ``COURSE_BASE_MODEL`` names: a local folder, or a Hub id (from the cache unless online)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(wanted).expanduser()
    if not folder.is_dir():
        folder = _downloaded(wanted)
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet_hub():
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **local)
    except (OSError, ValueError, ImportError) as error:
        raise StoreError(
            f"COURSE_BASE_MODEL is {wanted!r}, which cannot be loaded: {error} Expected a causal language model with "
            "its tokenizer and weights in safetensors."
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    _check_vocabulary(model, tokenizer, f"COURSE_BASE_MODEL {wanted!r}")
    parameters = sum(p.numel() for p in model.parameters())
    card = {"name": "base", "base_model": wanted, "parameters": parameters, "figures": {}}
    return Loaded(model.to(device).eval(), tokenizer, card, f"{wanted} (COURSE_BASE_MODEL) instead of 'base'")


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


def _check_vocabulary(model: nn.Module, tokenizer: PreTrainedTokenizerBase, what: str) -> None:
    rows = getattr(getattr(model, "config", None), "vocab_size", None)
    if rows is not None and len(tokenizer) > rows:
        raise StoreError(
            f"{what} has an embedding of {rows} rows, but its tokenizer has {len(tokenizer)} tokens: they do not "
            "belong together. Use the tokenizer that the model was trained with."
        )


def _vocabulary_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()[:16]


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise StoreError(f"a model's name is {name!r}; expected letters, digits, - and _, such as 'base'.")


def _swap(fresh: Path, folder: Path) -> None:
    """Put ``fresh`` in the place of ``folder``. A kill between the two renames is mended by :func:`_finish_swap`."""
    old = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def _finish_swap(folder: Path) -> None:
    """If a process was killed after the old folder was set aside and before the new one was in place: put the old
    one back."""
    old = folder.with_name(f".old-{folder.name}")
    if old.is_dir() and not folder.exists():
        os.rename(old, folder)
