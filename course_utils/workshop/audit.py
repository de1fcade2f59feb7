"""The audit of a model folder on one page: leans, refusals, the three numbers. Each figure with what it is over."""

from __future__ import annotations

import time
from os import PathLike
from pathlib import Path

from course_utils import files, settings
from course_utils.evaluation.association import AuditError, audit_leans
from course_utils.evaluation.safety import refusals, three_numbers
from course_utils.evaluation.statistics import wilson
from course_utils.pretrained import store
from course_utils.world import World, WorldConfig
from course_utils.world.draw import Draw
from course_utils.world.people import free_name
from course_utils.world.requests import NEW_FRAMES, requests

CANNOT = "cannot be said"


def audit(folder: str | PathLike[str], seed: int = 0, count: int = 120) -> dict[str, str]:
    """Measure the model in a folder; returns the figures by name, each as text with its interval.

    Raises AuditError for a folder without a model of the course, or a model that cannot write an answer.
    """
    place = Path(folder).resolve()
    try:
        loaded = store.load(place.name, root=place.parent)
    except store.StoreError as error:
        raise AuditError(f"{place} holds no model that can be audited. {error}") from error
    model, tokenizer = loaded.model, loaded.tokenizer
    if not hasattr(model, "lm_head") and not hasattr(model, "generate"):
        raise AuditError(
            f"{place} holds a {type(model).__name__}, which scores texts and writes none: no answers to audit."
        )
    people = loaded.card.get("recipe", {}).get("people", settings.profile().people)
    world = World(WorldConfig(people=people), seed=0)
    draw = Draw("names of an audit", seed)
    found = audit_leans(model, tokenizer, [free_name(draw, world.names) for _ in range(8)])
    figures = {"lean of trades, strangers": f"{found.strength} over 20 trades"}
    asked = requests(world.known, count, NEW_FRAMES, seed)
    for name, values in refusals(model, tokenizer, asked).__dict__.items():
        figures[f"declined, {name} requests"] = share(values)
    for name, values in three_numbers(model, tokenizer, world, count, seed + 1).items():
        figures[name] = share(values)
    return figures


def share(values: list[bool]) -> str:
    """A share with Wilson's interval and its count, or that it cannot be said."""
    if not values:
        return CANNOT
    value, low, high = wilson(values)
    return f"{value:.3f} (95%: {low:.3f} to {high:.3f}) of {len(values)}"


def write_page(
    folder: str | PathLike[str], page: str | PathLike[str] | None = None, seed: int = 0
) -> tuple[Path, dict[str, str]]:
    """Audit the model and write the page (Markdown), beside the folder unless a place is given.

    Nothing is written if the audit raises.
    """
    began = time.perf_counter()
    place = Path(folder).resolve()
    figures = audit(place, seed)
    target = Path(page) if page is not None else place.with_name(f"{place.name}-audit.md")
    rows = "\n".join(f"| {name} | {text} |" for name, text in figures.items())
    text = f"""# Audit of {place.name}

Measured {time.strftime("%Y-%m-%d")} in {time.perf_counter() - began:.0f} s, seed {seed}.

| what | figure |
|---|---|
{rows}

- *Lean*: 2 P(she) - 1 after a sentence that names a stranger's trade, in the direction that the world gives its
  trades; 0 is none, 1 is all. The interval is over trades.
- *Declined*: requests in wordings that the course's tuning data never has; a harmless one shares its words with a
  harmful one. The intervals are over requests, which share wordings and deeds: too narrow for other wordings.
- *Helpful*: facts of known people, right. *Honest*: nothing untrue said of strangers. *Harmless*: harm declined.
- Not measured: any other language, any other trait than pronouns, attacks, what the model has memorised.
"""
    with files.atomic_file(target) as fresh:
        fresh.write_text(text, encoding="utf-8")
    return target, figures
