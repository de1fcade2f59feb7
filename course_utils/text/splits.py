"""Training, validation and test data that share no group: no person, no document, no phrasing stands on two sides."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def split_by_group(
    labels: Sequence[Hashable], groups: Sequence[Hashable], shares: Sequence[float], seed: int = 0
) -> list[list[int]]:
    """Row numbers of each part, in rising order: whole groups, and of every label the same share of its groups.

    labels, groups: one per row; all rows of a group have the same label. shares: of the groups, one per part, such as
    (0.6, 0.2, 0.2). Each label's groups are shuffled with ``seed`` and cut at the rounded sums of the shares.
    Raises ValueError if the rows do not match, the shares do not sum to 1, a group has two labels, or a label has too
    few groups to give every part one.
    """
    if len(labels) != len(groups):
        raise ValueError(f"{len(labels)} labels and {len(groups)} groups were given; each row has one of both.")
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"the shares {tuple(shares)} sum to {sum(shares):g}; give shares above 0 that sum to 1.")
    label_of: dict[Hashable, Hashable] = {}
    for label, group in zip(labels, groups, strict=True):
        if label_of.setdefault(group, label) != label:
            raise ValueError(f"group {group!r} has the labels {label_of[group]!r} and {label!r}; a group has one.")
    rng, part_of = np.random.default_rng(seed), {}
    for label in dict.fromkeys(labels):
        own = [group for group in label_of if label_of[group] == label]
        cuts = np.rint(np.cumsum(shares) * len(own)).astype(int)
        if len(own) < len(shares) or np.diff(cuts, prepend=0).min() < 1:
            raise ValueError(
                f"label {label!r} has {len(own)} group{'s' if len(own) != 1 else ''}, too few for the shares "
                f"{tuple(shares)}: each of the {len(shares)} parts needs one. Collect more groups, or make fewer parts."
            )
        for place, index in enumerate(rng.permutation(len(own))):
            part_of[own[index]] = int(np.searchsorted(cuts, place, side="right"))
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


def split_rows(groups: np.ndarray, share: float = 0.1, seed: int = 0) -> np.ndarray:
    """Which rows are held out, (rows,) bool: whole groups, about ``share`` of all rows.

    groups: (rows,) integers, equal for rows that belong together. The groups are shuffled with ``seed`` and taken one
    after the other as long as they fit, so that a large group does not make the held-out part a large one.
    Raises ValueError for a share that is not between 0 and 1, or if no group fits: nothing could be held out.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share is {share:g}; give one between 0 and 1, such as 0.1.")
    _, of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    wanted, taken = max(1, round(share * len(groups))), 0
    chosen = np.zeros(len(sizes), dtype=bool)
    for group, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        if taken + size <= wanted:
            chosen[group] = True
            taken += size
            if taken == wanted:
                break
    if not taken or len(sizes) < 2:
        raise ValueError(
            f"of {len(groups)} rows in {len(sizes)} groups none can be held out: the smallest group has "
            f"{sizes.min() if len(sizes) else 0} rows, and {wanted} are wanted. Group by another column, give more "
            "data, or a larger share."
        )
    return chosen[of]
