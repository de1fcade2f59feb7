"""Comparisons of two continuations of one text, for a model that knows no chat: which token should come next?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.text.batching import Batches, collate


class ContinuationPairs(Batches):
    """Batches for ``DirectObjective`` from pairs of encoded texts, the preferred one first.

    Two texts of a pair are equal but for one token, and only that token is compared. ``batches[step]`` holds input_ids
    and attention_mask, (batch_size, 2, longest), and response_mask (batch_size, 2, longest - 1).
    Raises ValueError, naming the pair, for texts that differ in length, or in another number of places than one.
    """

    def __init__(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], batch_size: int, pad_id: int, seed: int = 0
    ) -> None:
        super().__init__(len(pairs), batch_size, seed)
        self.pairs, self.pad_id, self.places = [(list(a), list(b)) for a, b in pairs], pad_id, []
        for number, (a, b) in enumerate(self.pairs):
            differ = [i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y]
            if len(a) != len(b) or len(differ) != 1 or differ[0] == 0:
                raise ValueError(
                    f"pair {number} differs at {differ}; texts of equal length that differ in one token needed."
                )
            self.places.append(differ[0])
        self.tokens_per_step = 2 * round(batch_size * sum(len(a) for a, _ in self.pairs) / len(self.pairs))

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rows = self.rows_of(step * self.batch_size, (step + 1) * self.batch_size)
        padded = collate([{"input_ids": ids} for row in rows for ids in self.pairs[row]], self.pad_id)
        batch = {name: padded[name].view(len(rows), 2, -1) for name in ("input_ids", "attention_mask")}
        mask = torch.zeros(len(rows), 2, batch["input_ids"].shape[2] - 1, dtype=torch.int64)
        for i, row in enumerate(rows):
            mask[i, :, self.places[row] - 1] = 1  # the place that predicts the token
        return batch | {"response_mask": mask}
