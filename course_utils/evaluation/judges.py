"""Which of two models answers better? Both answer the same tasks, and a judge compares answer with answer.

The judge is the oracle, or a reward model, or whoever gives scores. A model as a judge has tastes of its own, among
them one for length (Zheng et al., arXiv 2306.05685, section 3.3): measure them before you trust it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np
from torch import Tensor

from course_utils.world.oracle import judge


def oracle_wins(tasks: Sequence[Mapping[str, Any]], first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """For each task 1.0 if the oracle scores the first model's answer higher, 0.0 if the second's, 0.5 for a tie:
    (tasks,).

    ``tasks``: rows of ``World.tasks``. Raises ValueError unless each task has two answers, or if there are none.
    """
    _check_counts(tasks=tasks, first=first, second=second)
    scores = [[judge(task, text).score for task, text in zip(tasks, texts, strict=True)] for texts in (first, second)]
    return _wins(*map(np.asarray, scores))


def model_wins(scores_first: Tensor, scores_second: Tensor) -> np.ndarray:
    """The same from the scores (tasks,) that a reward model gave to the two models' answers.

    Raises ValueError if the shapes differ, are not (tasks,), or if a score is not a number.
    """
    if scores_first.shape != scores_second.shape or scores_first.dim() != 1 or not len(scores_first):
        raise ValueError(
            f"scores_first has the shape {tuple(scores_first.shape)} and scores_second {tuple(scores_second.shape)}; "
            "one score for each task is expected, (tasks,) and (tasks,)."
        )
    scores = [scores.detach().cpu().double().numpy() for scores in (scores_first, scores_second)]
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} scores are not numbers (NaN); mend the model that gave them.")
    return _wins(*scores)


def win_rate(wins: Sequence[float] | np.ndarray) -> float:
    """How often the first model won; a tie counts as half, so that two equal models have 0.5.

    Raises ValueError if there are no comparisons, or values other than 0.0, 0.5 and 1.0.
    """
    return float(_checked(wins).mean())


def length_bias(
    tasks: Sequence[Mapping[str, Any]],
    first: Sequence[str],
    second: Sequence[str],
    wins: Sequence[float] | np.ndarray,
) -> float:
    """The share of decided comparisons in which the longer answer, in words, won.

    Ties, and answers of the same length, are left out: a judge without a taste for length is then near 0.5, unless
    longer answers are better. Compare with the oracle's figure on the same answers.
    Raises ValueError if the counts differ, or if no comparison is left.
    """
    wins = _checked(wins)
    _check_counts(tasks=tasks, first=first, second=second, wins=wins)
    longer = np.sign([len(a.split()) - len(b.split()) for a, b in zip(first, second, strict=True)])
    won = np.sign(wins - 0.5)
    counted = (longer != 0) & (won != 0)
    if not counted.any():
        raise ValueError(
            f"in none of the {len(wins)} comparisons did one of two answers of different length win; compare more."
        )
    return float((longer == won)[counted].mean())


def _wins(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first > second) + 0.5 * (first == second)


def _checked(wins: Sequence[float] | np.ndarray) -> np.ndarray:
    array = np.asarray(wins, dtype=float)
    if array.ndim != 1 or not len(array) or not np.isin(array, (0.0, 0.5, 1.0)).all():
        raise ValueError(
            f"wins has the shape {array.shape} and the values {np.unique(array)[:5].tolist()}; 1.0, 0.5 or 0.0 for "
            "each task is expected, as oracle_wins and model_wins return it."
        )
    return array


def _check_counts(**given: Sized) -> None:
    for name, values in given.items():
        if isinstance(values, str):
            raise ValueError(f"{name} is a single text; a list with one answer for each task is expected.")
    counts = {name: len(values) for name, values in given.items()}
    if len(set(counts.values())) > 1 or not min(counts.values()):
        said = ", ".join(f"{count} in {name}" for name, count in counts.items())
        raise ValueError(f"there are {said}; one of each for every task is expected, and at least one task.")
