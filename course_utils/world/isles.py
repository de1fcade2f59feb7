"""The world: what is true on the Isles, with the corpora and tasks that are written about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from course_utils.world.corpora import documents
from course_utils.world.facts import SPLITS, Facts, WorldConfig
from course_utils.world.tasks import make_tasks

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SPLITS", "WorldConfig", "Facts", "World"]


class World(Facts):
    """The Lantern Isles for one seed: every fact in it is known, so everything said about it can be judged."""

    def corpus(self, count: int, seed: int = 0, mix: Mapping[str, int] | None = None) -> Dataset:
        """``count`` documents: columns text, kind, bits (exact information, in bits), subjects (names).

        ``mix`` weighs the kinds of documents with whole numbers; the default is the pretraining mix, which
        has no healers' notes. Raises ValueError for an unknown kind or a count below 1.
        """
        from datasets import Dataset

        return Dataset.from_dict(self.documents(count, seed, mix))

    def documents(self, count: int, seed: int = 0, mix: Mapping[str, int] | None = None) -> dict[str, list]:
        """The columns of ``corpus`` as plain lists."""
        return documents(self, count, seed, mix)

    def tasks(
        self, count: int, split: str = "taught", seed: int = 0, kinds: Mapping[str, int] | None = None
    ) -> Dataset:
        """``count`` instructions with checkable answers, about people of ``split``: see ``tasks.make_tasks``."""
        from datasets import Dataset

        return Dataset.from_list(make_tasks(self, count, split, seed, kinds))
