"""Does a yes-or-no decision treat groups alike? Rates by group, and the largest gaps between groups.

Demographic parity compares the share that is chosen; equal opportunity the share chosen of those who deserve it (true
positive rate); equalized odds that and the false positive rate (Hardt et al., arXiv 1610.02413). Where the groups
differ in how many deserve it, no decision but a perfect one satisfies equalized odds and equal precision at once
(Chouldechova, arXiv 1610.07524; Kleinberg et al., arXiv 1609.05807).

A rate without anybody to divide by is None, "cannot be said": a 0 in its place would be the worst gap there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SMALLEST = 5  # people below which a rate of a group is a rumour


class FairnessError(ValueError):
    """These labels, decisions and groups cannot be compared; the message says which row and why."""


@dataclass(frozen=True)
class GroupRates:
    """One group. Rates are shares from 0 to 1, or None where there is nobody (or too few) to divide by.

    count, positives: people, and how many of them deserve a yes. selection: share chosen. tpr: of those who deserve
    it; fpr: of those who do not. precision: of the chosen, the share that deserves it.
    """

    count: int
    positives: int
    selection: float | None
    tpr: float | None
    fpr: float | None
    precision: float | None


def group_rates(
    deserve: Sequence[int], chosen: Sequence[int], group: Sequence[str], smallest: int = SMALLEST
) -> dict[str, GroupRates]:
    """The rates of every group, by name in alphabetical order.

    deserve, chosen: 0 or 1 for each person. ``smallest``: a rate over fewer people is None.
    Raises FairnessError, naming the row, for lists of different length, none at all, or another label than 0 and 1.
    """
    if not len(deserve) or not len(deserve) == len(chosen) == len(group):
        raise FairnessError(
            f"{len(deserve)} labels, {len(chosen)} decisions, {len(group)} groups; equal lists, not empty."
        )
    for name, values in (("deserve", deserve), ("chosen", chosen)):
        for row, value in enumerate(values):
            if value not in (0, 1):
                raise FairnessError(f"row {row}: {name} is {value!r}; 0 or 1 is expected. Choose a threshold first.")
    rows = list(zip(deserve, chosen, group, strict=True))
    found = {}
    for name in sorted(set(group)):
        mine = [(int(y), int(c)) for y, c, g in rows if g == name]
        found[name] = GroupRates(
            len(mine),
            sum(y for y, _ in mine),
            _share([c for _, c in mine], smallest),
            _share([c for y, c in mine if y], smallest),
            _share([c for y, c in mine if not y], smallest),
            _share([y for y, c in mine if c], smallest),
        )
    return found


def _share(values: Sequence[int], smallest: int) -> float | None:
    return sum(values) / len(values) if len(values) >= max(1, smallest) else None


def largest_gap(rates: dict[str, GroupRates], name: str) -> float | None:
    """The largest difference of a rate between two groups; None if it cannot be said for every group, or there is one
    group only."""
    values = [getattr(group, name) for group in rates.values()]
    if len(values) < 2 or any(value is None for value in values):
        return None
    return max(values) - min(values)


def equalized_odds_gap(rates: dict[str, GroupRates]) -> float | None:
    """The larger of the gaps in true and false positive rate; None if either cannot be said."""
    gaps = [largest_gap(rates, "tpr"), largest_gap(rates, "fpr")]
    return None if None in gaps else max(gap for gap in gaps if gap is not None)
