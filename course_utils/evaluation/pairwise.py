"""From duels to a ranking: wins, ties and losses, Elo's ratings, and those of Bradley and Terry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from course_utils.alignment.bradley_terry import bradley_terry_scores

Duel = tuple[str, str, float]  # first, second, and 1.0 if the first won, 0.0 if the second did, 0.5 for a tie
POINTS = 400 / log(10)  # one unit of a Bradley-Terry score, in Elo's points


@dataclass(frozen=True)
class Record:
    """How one model's duels with another ended."""

    wins: int
    ties: int
    losses: int

    @property
    def win_rate(self) -> float:
        """A tie counts as half."""
        return (self.wins + self.ties / 2) / (self.wins + self.ties + self.losses)

    @property
    def decided(self) -> float | None:
        """The share of wins without the ties; None, it cannot be said, if all were ties."""
        return self.wins / (self.wins + self.losses) if self.wins + self.losses else None


def record(results: Sequence[float]) -> Record:
    """Count results (1.0, 0.5 or 0.0). Raises ValueError for none, or for another value."""
    values = [float(value) for value in results]
    strange = [value for value in values if value not in (0.0, 0.5, 1.0)]
    if strange or not values:
        raise ValueError(
            f"{len(values)} results, among them {strange[:5]}; 1.0, 0.5 and 0.0 are expected, at least one."
        )
    return Record(values.count(1.0), values.count(0.5), values.count(0.0))


def win_table(duels: Iterable[Duel], names: Sequence[str]) -> Tensor:
    """(n, n): how often the model of the row beat that of the column; each tie is half a win for both.

    Raises ValueError for an unknown name, a duel of a model with itself, or a result other than 1.0, 0.5 and 0.0.
    """
    place = {name: i for i, name in enumerate(names)}
    table = torch.zeros(len(names), len(names), dtype=torch.float64)
    for first, second, result in _checked(duels, place):
        table[place[first], place[second]] += result
        table[place[second], place[first]] += 1 - result
    return table


def elo(duels: Iterable[Duel], names: Sequence[str], k: float = 16.0, start: float = 1000.0) -> dict[str, float]:
    """Ratings that move after every duel (Elo, The Rating of Chessplayers, 1978), one after the other, as they come.

        expected = 1 / (1 + 10^((second - first) / 400)),   first += k (result - expected),   second -= the same

    Late duels weigh more than early ones, so the order of the list is part of the result. That serves a player who
    changes; a model does not. Errors as ``win_table``.
    """
    ratings = dict.fromkeys(names, float(start))
    for first, second, result in _checked(duels, ratings):
        expected = 1 / (1 + 10 ** ((ratings[second] - ratings[first]) / 400))
        ratings[first] += k * (result - expected)
        ratings[second] -= k * (result - expected)
    return ratings


def bradley_terry_ratings(
    duels: Iterable[Duel], names: Sequence[str], mean: float = 1000.0, ties_added: float = 0.0
) -> dict[str, float]:
    """The ratings that make all duels together most likely, on Elo's scale; their order does not matter.

    ties_added: so many ties are put into every pair, beside the duels: a rating stays finite then, also of a model that
    never won. Raises ValueError as ``win_table`` does, for fewer than 0 added ties, and if one group of models never
    lost to the others: no finite ratings fit.
    """
    if ties_added < 0:
        raise ValueError(f"ties_added is {ties_added}; 0 or more is expected.")
    scores = bradley_terry_scores(win_table(duels, names) + ties_added / 2)  # the diagonal is not read
    return {name: mean + POINTS * float(score) for name, score in zip(names, scores, strict=True)}


def _checked(duels: Iterable[Duel], known: dict[str, float] | dict[str, int]) -> Iterable[Duel]:
    for number, (first, second, result) in enumerate(duels):
        if first not in known or second not in known or first == second:
            raise ValueError(
                f"duel {number} is {first!r} against {second!r}; two different ones of {list(known)} expected."
            )
        if result not in (0.0, 0.5, 1.0):
            raise ValueError(f"duel {number} ended {result!r}; 1.0, 0.5 (a tie) or 0.0 is expected.")
        yield first, second, float(result)
