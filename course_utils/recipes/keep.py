"""Keep a model that a chapter has trained, so that the chapters that build on it use it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.recipes.card import card_fields

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from course_utils.training.history import History


def wanted(switch: bool, has_person: bool) -> bool:
    """Shall a chapter's last cell keep its model? ``COURSE_KEEP`` (1 or 0) decides; else the cell's own ``switch``, and
    only where somebody sits at the notebook: tests, headless runs and graders must not change what later chapters use.
    """
    asked = os.environ.get("COURSE_KEEP", "").strip()
    return asked == "1" if asked else switch and has_person and not os.environ.get("NBGRADER_EXECUTION")


def keep(
    name: str,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    history: History,
    figures: Mapping[str, float],
    recipe: Mapping[str, Any],
    curve: str = "loss",
) -> Path:
    """Put the model into the learner's store with a card, and return its folder; one of that name is replaced.

    ``recipe``: how it was made, json-like, with ``people`` (of its world) and ``seed``. ``curve``: the column of the
    history that the card keeps. Raises StoreError if it cannot be written.
    """
    from course_utils.pretrained import store

    tokens = int(history.column("tokens")[-1])
    rounded = {key: round(float(value), 4) for key, value in figures.items()}
    card = {"recipe": dict(recipe), "seed": recipe["seed"], "figures": rounded}
    return store.save(name, model, tokenizer, card | card_fields(tokens, history, curve))
