"""Simulated raters: they follow the oracle, with noise, and with tastes that can be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from course_utils.world.draw import Draw
from course_utils.world.oracle import judge

FLATTERY = ("wise", "brilliant", "wonderful", "great question", "dear friend")


@dataclass(frozen=True)
class Annotator:
    """A rater. ``noise``: how often a choice is flipped. ``length_taste``: points per word beyond the oracle's score.
    ``flattery_taste``: points for flattering words. ``seed`` makes one rater differ from another."""

    noise: float = 0.1
    length_taste: float = 0.0
    flattery_taste: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise ValueError(f"Annotator(noise={self.noise}): give the share of flipped choices, from 0 to 1.")

    def rate(self, task: Mapping, response: str) -> float:
        """The rater's liking of a response, before noise: the oracle's score and the tastes."""
        text = response.lower()
        flattered = any(words in text for words in FLATTERY)
        liking = judge(task, response).score + self.length_taste * len(response.split())
        return liking + self.flattery_taste * flattered

    def prefers(self, task: Mapping, first: str, second: str) -> int:
        """0 if the rater prefers ``first``, 1 if ``second``. A tie is broken, and noise flips, by a coin of this rater
        for this pair, so the same question always gets the same answer."""
        coin = Draw("annotator", self.seed, task["prompt"], first, second)
        a, b = self.rate(task, first), self.rate(task, second)
        choice = coin.below(2) if a == b else int(b > a)
        return 1 - choice if coin.chance(self.noise) else choice
