"""Replay: a share of old text among the new, so that what is known is met again (Robins 1995).

Which rows a step sees depends on its number alone, as everywhere in the course (``text/batching.py``): a run that was
stopped goes on exactly where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from course_utils.text.batching import PackedBatches

Plan = Callable[[int, int, float], tuple[Sequence[int], Sequence[int]]]


def replay_plan(step: int, batch_size: int, share: float) -> tuple[range, range]:
    """(places of the endless sequence of new rows, places of that of old rows) that make the batch of ``step``.

    Of the first m rows of a run, share * m are old, rounded down: exact in the long run, and never a row apart from it,
    even where the share of one batch is no whole row. Raises ValueError for a share outside of 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of old rows is {share}; give a number from 0 to 1, such as 0.05.")
    exact = Fraction(share).limit_denominator(10_000)  # 0.05 is no exact binary number: 0.05 * 20 must be 1 row
    before, after = (int(exact * n * batch_size) for n in (step, step + 1))
    return range(step * batch_size - before, (step + 1) * batch_size - after), range(before, after)


class ReplayBatches:
    """Batches of new rows with a share of old ones; rows of both have the same length. ``plan`` says which rows.

    ``batches[step]`` holds input_ids and labels, (batch_size, length) int64, the old rows last. The size of a batch
    and the seed of each sequence are those of the sources. Raises ValueError if the rows differ in length.
    """

    def __init__(self, new: PackedBatches, old: PackedBatches, share: float, plan: Plan = replay_plan) -> None:
        if new.rows.shape[1] != old.rows.shape[1]:
            raise ValueError(
                f"new rows have {new.rows.shape[1]} tokens and old ones {old.rows.shape[1]}; pack both with one length."
            )
        plan(0, new.batch_size, share)  # a wrong share shall fail here, not in the first step
        self.new, self.old, self.share, self.plan = new, old, share, plan
        self.batch_size, self.tokens_per_step = new.batch_size, new.tokens_per_step

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        places = self.plan(step, self.batch_size, self.share)
        parts = [
            source.rows[torch.from_numpy(np.asarray(source.rows_of(taken[0], taken[-1] + 1)))]
            for source, taken in zip((self.new, self.old), places, strict=True)
            if len(taken)
        ]
        input_ids = torch.cat(parts).long()
        return {"input_ids": input_ids, "labels": input_ids.clone()}
