"""Sums of several numbers, answered step by step: harder than the shops' sums of two, and checked as easily."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from course_utils.world.draw import Draw
from course_utils.world.kinds import Task, row

LARGEST = 50  # coins, as in the shops
PROMPT = "Add up: {sum}"  # as in the shops


def worked_sums(
    count: int, terms: int = 3, seed: int = 0, avoid: Iterable[Mapping[str, Any]] = (), *, working: bool = True
) -> list[Task]:
    """``count`` different tasks to add ``terms`` numbers from 1 to 50, as rows with ``prompt``, ``answer``,
    ``messages``, ``value`` (the sum, as text) and ``numbers``.

    The model answer goes from left to right, "23+48=71, 71+17=88."; without ``working`` it is "23+48+17=88.". No task
    has the numbers, in whatever order, of another one or of a task in ``avoid``. Raises ValueError for fewer than two
    terms, or more tasks than there are sums to be had with ease.
    """
    if terms < 2 or count < 0:
        raise ValueError(f"{count} sums of {terms} numbers: 0 or more sums of 2 or more numbers can be made.")
    draw = Draw("worked_sums", terms, seed)
    taken = {tuple(sorted(task["numbers"])) for task in avoid}
    tasks: list[Task] = []
    misses = 0
    while len(tasks) < count:
        numbers = [1 + draw.below(LARGEST) for _ in range(terms)]
        key = tuple(sorted(numbers))
        if key in taken:
            misses += 1
            if misses > 100 + 20 * count:
                raise ValueError(f"{count} different sums of {terms} numbers are not to be had; ask for fewer.")
            continue
        taken.add(key)
        answer = _working(numbers) if working else f"{'+'.join(map(str, numbers))}={sum(numbers)}."
        prompt = PROMPT.format(sum="+".join(map(str, numbers)))
        tasks.append(row("worked_sum", prompt, answer, value=str(sum(numbers))) | {"numbers": numbers})
    return tasks


def _working(numbers: Sequence[int]) -> str:
    steps, total = [], numbers[0]
    for number in numbers[1:]:
        steps.append(f"{total}+{number}={total + number}")
        total += number
    return f"{', '.join(steps)}."
