"""The store of finished models: a chapter asks for "base" or "instruct" and is told whose model it got.

This is the one place that knows where models lie. ``load`` looks in the learner's own folder first
(``COURSE_HOME/checkpoints/<profile>/<name>``), then among the models that are part of the package.
``COURSE_BASE_MODEL`` replaces "base" by a model of the Hugging Face Hub or a local folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils import files, settings
from course_utils.pretrained.folder import (
    Base,
    Loaded,
    StoreError,
    as_base,
    check_vocabulary,
    is_model,
    read_folder,
    write_folder,
)
from course_utils.pretrained.hub import load_replacement

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

__all__ = ["SHIPPED", "Loaded", "StoreError", "load", "names", "save"]

SHIPPED = Path(__file__).resolve().parent / "weights"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# With another base model: the one that stands in for a model which was not trained from it yet. What the course ships
# is of another tokenizer and would not fit.
STANDS_IN = {"instruct": "base", "lora": "base", "reward": "instruct", "ppo": "instruct", "dpo": "instruct"}
STANDS_IN |= {"grpo": "instruct"}
CARD_FIELDS = ("recipe", "seed", "tokens", "loss", "figures")


def load(name: str, *, device: str | None = None, root: str | Path | None = None) -> Loaded:
    """The model called ``name``, its tokenizer and its card, on ``device`` (None: the profile's), in float32, mode
    eval.

    With ``root`` only that folder is searched. With ``COURSE_BASE_MODEL``, models that you have not trained from it yet
    are stood in for by it: "instruct" by the base as it is, "lora" and "reward" by an adapter and a score that are not
    trained. A damaged model of the learner's is named in a warning, and the course's is used.

    Raises StoreError if there is no usable model of that name, if model and tokenizer do not belong together, or if
    ``COURSE_BASE_MODEL`` cannot be reached.
    """
    _check_name(name)
    device = device or settings.device()
    replaced = os.environ.get("COURSE_BASE_MODEL")
    if name == "base" and replaced and root is None:
        return load_replacement(replaced, device)
    places = [(Path(root) / name, f"the model in {root}")] if root is not None else _places(name)
    if standing_in := name in STANDS_IN and replaced and root is None:
        places = places[:1]
    problems = []
    for folder, whose in places:
        files.recover(folder)
        if not folder.is_dir():
            problems.append(f"{folder}: not there")
            continue
        try:
            model, tokenizer, card = read_folder(folder, device, _bases(root))
        except (OSError, ValueError, KeyError, StoreError) as error:
            problems.append(f"{folder}: {error}")
            warnings.warn(f"{whose} {name!r} in {folder} cannot be used: {error}", stacklevel=2)
            continue
        made = f", made {card['made']}" if card.get("made") else ""
        return Loaded(model, tokenizer, card, f"{whose} {name!r} ({card.get('profile', 'unknown')} profile{made})")
    if standing_in:
        return _stand_in(name, device)
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
    """Keep a model among the learner's own (or in ``root``) and return its folder; it replaces one of that name.

    ``card`` must have ``recipe`` (how it was trained), ``seed``, ``tokens`` (seen in training), ``loss`` (the
    curve, as [[step, loss], ...]) and ``figures`` (what was measured, by name). A card may name another ``curve``,
    such as "reward", which then stands under that name. Profile, date, parameters and digests are added. A full disk or
    a kill leaves the old folder whole (files.py).

    Raises StoreError for an incomplete card, a tokenizer that does not fit the model, or a disk that cannot be written.
    """
    from safetensors import SafetensorError

    _check_name(name)
    expected = [card.get("curve", field) if field == "loss" else field for field in CARD_FIELDS]
    missing = [field for field in expected if field not in card]
    if missing:
        raise StoreError(f"the card of {name!r} has no {', '.join(missing)}; expected {', '.join(expected)}.")
    check_vocabulary(model, tokenizer, f"the model to be saved as {name!r}")
    folder = (Path(root) if root is not None else _own_root()) / name
    try:
        with files.atomic_folder(folder) as fresh:
            write_folder(fresh, model, tokenizer, {"name": name, **card}, _bases(root, besides=folder))
    except (OSError, SafetensorError) as error:
        old = f"The earlier {name!r} is untouched. " if folder.is_dir() else ""
        raise StoreError(
            f"{name!r} could not be saved in {folder.parent}: {error}. {old}Free some space and save again; the model "
            "is still in memory."
        ) from error
    return folder


def names(root: str | Path | None = None) -> dict[str, str]:
    """The models that ``load`` can be asked for: name -> "yours" or "the course's" (in ``root`` alone: "there").

    Told from the folders: nothing is loaded, and nothing half-written is shown.
    """
    if root is not None:
        return dict.fromkeys(_names(Path(root)), "there")
    return dict.fromkeys(_names(SHIPPED), "the course's") | dict.fromkeys(_names(_own_root()), "yours")


def fingerprint() -> str:
    """A digest of the cards of the models that ``load`` gives: another one as soon as one of them is another."""
    cards = [
        (name, files.digest(next(place for place, _ in _places(name) if is_model(place)) / "card.json"))
        for name in sorted(names())
    ]
    return hashlib.sha256(repr(cards).encode()).hexdigest()


def _stand_in(name: str, device: str) -> Loaded:
    """What is used for a model that was not trained from the replaced base yet; ``source`` says so."""
    other = STANDS_IN[name]
    loaded = load(other, device=device)
    source = f"{loaded.source}, which stands in for {name!r}: none is kept that was trained from it"
    if name == "reward":
        from course_utils.models.heads import RewardModel

        score = RewardModel(loaded.model, seed=0).eval()
        return Loaded(score, loaded.tokenizer, loaded.card, f"an untrained score on {source}")
    if name == "lora":
        from course_utils.models.lora import add_lora

        source = f"an untrained adapter on {source}"
        add_lora(loaded.model, seed=0)
    return Loaded(loaded.model, loaded.tokenizer, loaded.card, source)


def _places(name: str) -> list[tuple[Path, str]]:
    return [(_own_root() / name, "your own"), (SHIPPED / name, "the course's")]


def _bases(root: str | Path | None, besides: Path | None = None) -> Iterator[Base]:
    """Every model that an adapter may have been trained on: what ``load`` finds, "base" and its replacement first.

    ``besides``: a folder that is about to be replaced.
    """
    if replaced := os.environ.get("COURSE_BASE_MODEL"):
        yield Base(replaced, None, lambda device: load_replacement(replaced, device).model)
    for place in (*([Path(root)] if root is not None else []), _own_root(), SHIPPED):
        for name in sorted(_names(place), key=lambda name: name != "base"):
            if place / name != besides and (base := as_base(place / name)):
                yield base


def _own_root() -> Path:
    """One folder per profile, and one per replaced base model: what was tuned from another base is another model."""
    replaced = os.environ.get("COURSE_BASE_MODEL")
    suffix = "@" + re.sub(r"[^A-Za-z0-9.-]+", "-", replaced).strip("-") if replaced else ""
    return settings.home() / "checkpoints" / (settings.profile().name + suffix)


def _names(root: Path) -> list[str]:
    """The models in a folder: each has a name that can be asked for, a card, which is written last, and weights."""
    for aside in list(root.glob(".old-*")):  # a process was killed while it replaced that model
        files.recover(root / re.sub(r"^\.old-|\.\d+$", "", aside.name))
    return sorted(path.name for path in root.glob("*/") if NAME.fullmatch(path.name) and is_model(path))


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise StoreError(f"a model's name is {name!r}; expected letters, digits, - and _, such as 'base'.")
