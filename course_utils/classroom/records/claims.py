"""Claims: what the prose says happens, as a number with a bound, recorded and, on laptop and gpu, enforced."""

from __future__ import annotations

import html
import math
import os
import re
import time
from typing import Any

from course_utils import settings
from course_utils.classroom.display import cards
from course_utils.classroom.records import jsonl
from course_utils.language import say

FILE = "claims.jsonl"
ENFORCED = ("laptop", "gpu")
CHANCE = (
    "It does not hold with your seed {seed}. A bound is set from what several seeds measured, with a margin that one "
    "claim seldom misses; of all the claims of the course, one or the other will. Look how far off it is: a little is "
    "chance, and what the text says holds on average. A difference that turned round is worth a run with two more "
    "seeds."
)
OTHER_BASE = (
    "It does not hold here. It was written for the course's own models and the Isles; with another base "
    "(COURSE_BASE_MODEL) it is recorded only."
)
ANY_MODEL, ISLES = "any model", "the Isles"
_ID = re.compile(r"\d\d\.[a-z][a-z0-9_]*")
_YOURS = re.compile(r"\byours?\b", re.I)
_BEGIN = time.perf_counter()
_OPEN: set[str] = set()  # the exercises for which the reference stands in, in this kernel


def stands_in(exercise: str, reference: bool) -> None:
    """From now on the reference stands in for an exercise ('06.2'), or no longer: claims that say "your" tell."""
    (_OPEN.add if reference else _OPEN.discard)(exercise)


def about(id: str) -> str:
    """What a claim is about: "any model" if its name begins with ``same_``, which says that two computations agree;
    else "the Isles": what the course's own models learned of them."""
    return ANY_MODEL if id[3:].startswith("same_") else ISLES


def enforced(id: str | None = None) -> bool:
    """Whether a claim that does not hold is an error: with seed 0, on the profiles whose models are large enough.

    With another base (``COURSE_BASE_MODEL``) that goes for claims about any model only; without ``id``, for none.
    """
    measured = settings.profile().name in ENFORCED and settings.seed() == 0
    return measured and (not os.environ.get("COURSE_BASE_MODEL") or (id is not None and about(id) == ANY_MODEL))


class ClaimError(AssertionError):
    """A claim does not hold."""


def restart_clock() -> None:
    """Count a claim's seconds from now; a chapter's start calls this."""
    global _BEGIN
    _BEGIN = time.perf_counter()


def claim(
    id: str,
    text: str,
    value: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    between: tuple[float, float] | None = None,
) -> None:
    """State that ``value`` keeps its bound (inclusive), show it as a row, and append it to ``home()/claims.jsonl``.

    id: 'NN.name', the chapter and a lower-case name. value: one number (also a 0-dim tensor), or True/False, which
    takes no bound and holds when True. NaN never holds.
    Raises ClaimError on the laptop and gpu profiles if it does not hold with seed 0 (after recording it): there the
    course's own runs have measured it. With another base model that goes for claims about any model only
    (``about``). With another seed a miss may be chance; the row says so and the notebook goes on. Raises
    ValueError or TypeError for a claim that is badly written.
    """
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise ValueError(
            f"claim id {id!r}: expected the chapter, a point and a lower-case name, such as '06.masking_helps'"
        )
    number = _number(id, value)
    bound = _bound(id, number, at_least, at_most, between)
    holds = _holds(number, bound)
    profile = settings.profile().name
    record = {
        "id": id,
        "text": text,
        "value": _to_json(number),
        "bound": bound,
        "holds": holds,
        "profile": profile,
        "seed": settings.seed(),
        "seconds": round(time.perf_counter() - _BEGIN, 3),
    }
    if replaced := os.environ.get("COURSE_BASE_MODEL"):
        record |= {"base_model": replaced, "about": about(id)}
    unsaved = ""
    try:
        jsonl.append(settings.home() / FILE, record)
    except OSError as error:
        unsaved = say("This row could not be saved: {error}.", error=error)
    row = "{}  ({})".format(*_row(number, bound))
    notes = [unsaved] if unsaved else []
    if _YOURS.search(text) and (still := sorted(each for each in _OPEN if each[:2] == id[:2])):
        notes.append(
            say("Where an exercise is open, 'your' code is the course's here. Open: {ids}.", ids=", ".join(still))
        )
    if not holds and profile not in ENFORCED:
        notes.append(
            say(
                "It does not hold here. On the {profile} profile that is recorded only: its models are too small.",
                profile=profile,
            )
        )
    elif not holds and replaced and about(id) == ISLES:
        notes.append(say(OTHER_BASE))
    elif not holds and not enforced(id):
        notes.append(say(CHANCE, seed=settings.seed()))
    tone = "right" if holds else "wrong" if enforced(id) else "neutral"
    cards.show(cards.Card(tone, id, text, [(say("measured"), row)], notes))
    if not holds and enforced(id):
        raise ClaimError(f"{id} does not hold: {text}. Measured {row}, profile {profile}, seed {settings.seed()}.")


def _number(id: str, value: Any) -> float | int | bool:
    if hasattr(value, "item") and callable(value.item):  # tensors, numpy scalars
        if getattr(value, "size", 1) != 1 and not callable(value.size):
            raise TypeError(
                f"claim {id}: the value has shape {tuple(value.shape)}; one number is wanted, such as its mean"
            )
        if callable(getattr(value, "numel", None)) and value.numel() != 1:
            raise TypeError(
                f"claim {id}: the value has shape {tuple(value.shape)}; one number is wanted, such as its mean"
            )
        value = value.item()
    if not isinstance(value, (bool, int, float)):
        raise TypeError(f"claim {id}: the value is a {type(value).__name__}; one number is wanted, or True/False")
    return value


def _bound(
    id: str,
    value: float | bool,
    at_least: float | None,
    at_most: float | None,
    between: tuple[float, float] | None,
) -> dict[str, Any]:
    asked: dict[str, Any] = {"at_least": at_least, "at_most": at_most, "between": between}
    given = {name: limit for name, limit in asked.items() if limit is not None}
    if isinstance(value, bool):
        if given:
            raise TypeError(
                f"claim {id}: the value is {value}, which takes no bound. Give the number itself, or no bound."
            )
        return {"is": True}
    if len(given) != 1:
        named = " and ".join(given) or "no bound"
        raise ValueError(
            f"claim {id}: given {named}; exactly one of at_least=, at_most=, between=(low, high) is wanted"
        )
    if between is not None:
        low, high = (float(limit) for limit in between)
        if not low <= high:
            raise ValueError(f"claim {id}: between=({low}, {high}) holds no number; give the lower limit first")
        return {"between": [low, high]}
    (name, limit), *_ = given.items()
    if isinstance(limit, bool) or math.isnan(float(limit)):
        raise ValueError(f"claim {id}: {name}={limit!r} is no limit")
    return {name: float(limit)}


def _holds(value: float | bool, bound: dict[str, Any]) -> bool:
    if isinstance(value, bool):
        return value
    if math.isnan(value):
        return False
    if "between" in bound:
        return bool(bound["between"][0] <= value <= bound["between"][1])
    return bool(value >= bound["at_least"]) if "at_least" in bound else bool(value <= bound["at_most"])


def _to_json(value: float | bool) -> float | str | bool:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def format_value(value: Any, digits: int = 3) -> str:
    """A measured value as text: ``digits`` significant digits, whole numbers whole."""
    if isinstance(value, bool):
        return say("yes") if value else say("no")
    if isinstance(value, str):  # nan and inf, as they are stored
        return value
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    large = abs(value) >= 1000 and math.isfinite(value)
    return f"{value:,.{digits - 3}f}" if large else f"{value:.{digits}g}"


def describe_bound(bound: dict[str, Any], digits: int = 3) -> str:
    """A bound as text: 'at least 1.2'."""
    if "between" in bound:
        low, high = (format_value(limit, digits) for limit in bound["between"])
        return say("between {low} and {high}", low=low, high=high)
    if "at_least" in bound:
        return say("at least {limit}", limit=format_value(bound["at_least"], digits))
    if "at_most" in bound:
        return say("at most {limit}", limit=format_value(bound["at_most"], digits))
    return say("must be yes")


def _row(value: Any, bound: dict[str, Any]) -> tuple[str, str]:
    """Value and bound as text, with as many digits (at most 8) as keep different numbers apart."""
    limits = [limit for part in bound.values() for limit in (part if isinstance(part, list) else [part])]
    numbers = {n for n in (value, *limits) if isinstance(n, (int, float)) and not isinstance(n, bool)}
    digits = 3
    while digits < 8 and len({format_value(number, digits) for number in numbers}) < len(numbers):
        digits += 1
    return format_value(value, digits), describe_bound(bound, digits)


def recorded(
    chapter: str | None = None, profile: str | None = None, seed: int | None = None
) -> dict[str, dict[str, Any]]:
    """The latest record of each claim, by id: of one chapter or all, of one profile and seed (the present ones).

    Only those of the present COURSE_BASE_MODEL count: figures of one model are not shown as those of another.
    """
    wanted = {
        "profile": profile or settings.profile().name,
        "seed": settings.seed() if seed is None else seed,
        "base_model": os.environ.get("COURSE_BASE_MODEL") or None,
    }
    latest: dict[str, dict[str, Any]] = {}
    for record in jsonl.read(settings.home() / FILE):
        id = record.get("id")
        if (
            not isinstance(id, str)
            or any(record.get(name) != value for name, value in wanted.items())
            or not {"value", "bound", "holds"} <= record.keys()
        ):
            continue
        if chapter is None or id.startswith(f"{chapter}."):
            latest.pop(id, None)
            latest[id] = record
    return latest


class ClaimsTable:
    """The measured claims as a table."""

    def __init__(self, records: list[dict[str, Any]], profile: str):
        self.records, self.profile = records, profile

    def text(self) -> str:
        """One line per claim."""
        if not self.records:
            return say(
                "No claim has been measured on the {profile} profile yet. Run the cells above.", profile=self.profile
            )
        width = max(len(record["id"]) for record in self.records)
        return "\n".join(
            f"{'✓' if r['holds'] else '✗'} {r['id'].ljust(width)}  "
            + "{} ({})".format(*_row(r["value"], r["bound"]))
            + f"  {r['text']}"
            for r in self.records
        ) + _whose(self.records, "\n")

    def html(self) -> str:
        """The same as an HTML table."""
        if not self.records:
            return cards.frame(html.escape(self.text()))
        cell = '<td style="text-align: {}; padding: 4px 14px 4px 0; vertical-align: top">{}</td>'
        colour = {True: cards._TONES["right"][1], False: cards._TONES["wrong"][1]}
        rows = "".join(
            "<tr>"
            + cell.format(
                "center", f'<strong style="color: {colour[bool(r["holds"])]}">{"✓" if r["holds"] else "✗"}</strong>'
            )
            + cell.format("left", html.escape(str(r["text"])))
            + cell.format("right", f"<strong>{html.escape(measured)}</strong>")
            + cell.format("left", html.escape(bound))
            + cell.format("left", f'<code style="font-size: 12px">{html.escape(r["id"])}</code>')
            + "</tr>"
            for r in self.records
            for measured, bound in [_row(r["value"], r["bound"])]
        )
        names = ("", say("what was claimed"), say("measured"), say("bound"), say("claim"))
        head = "".join(f'<th style="text-align: left; padding: 4px 14px 4px 0">{name}</th>' for name in names)
        said = html.escape(say("Measured on the {profile} profile.", profile=self.profile) + _whose(self.records))
        note = f'<div style="opacity: 0.8; font-size: 13px">{said}</div>'
        return cards.frame(f'<table style="margin: 0">{"<tr>" + head + "</tr>"}{rows}</table>{note}')

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.text()}


def _whose(records: list[dict[str, Any]], before: str = " ") -> str:
    """With another base: which of the claims are about the Isles only."""
    if not any(record.get("base_model") for record in records):
        return ""
    return before + say(
        "Another base model is in use: claims that are called same_... hold for any model; all others are about the "
        "Isles and the course's own models, and are recorded only."
    )


def claims_table(chapter: str | int | None = None) -> None:
    """Show the claims measured on this profile: of one chapter, or all."""
    from course_utils.chapters import chapter as find

    number = find(chapter).number if chapter is not None else None
    cards.show(ClaimsTable(list(recorded(number).values()), settings.profile().name))
