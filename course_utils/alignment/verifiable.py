"""Verifiable rewards: functions that look at an answer and say what it is worth, and the checks that they need.

A reward function names what it reads. One with a parameter ``completion`` gets one answer and returns a number:

    def is_right(completion, value): return float(value in completion)

and one with a parameter ``completions`` gets all answers of a batch at once and returns as many numbers. The other
parameters are columns of the tasks (``value``, ``answer``, ...), the ``prompt`` (or ``prompts``), the whole ``task``,
and of the answer its ``length`` in tokens and whether it has ``stopped`` by itself. ``as_batch`` makes the first kind
into the second, which is also what trl's GRPOTrainer takes.

Whatever a function returns is checked before anything learns from it: a NaN would go into the mean of its group, from
there into every sibling, and from there into all weights.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_utils.models.generate import Generation

RewardFunction = Callable[..., Any]


class RewardError(ValueError):
    """A reward function failed. ``function`` is its name; ``row`` the number of the answer in the batch, None if the
    failure is not that of one answer."""

    def __init__(self, message: str, function: str, row: int | None = None) -> None:
        super().__init__(message)
        self.function, self.row = function, row


# calling and checking -----------------------------------------------------------------------------------------------


def as_batch(function: RewardFunction) -> RewardFunction:
    """The function for all answers of a batch: (prompts, completions, **columns) -> one number for each.

    A function that reads ``completions`` is returned as it is. Answers that are conversations, as trl has them, are
    read by their last message. Raises ValueError for a function that reads neither; the new function raises RewardError
    with the row where the old one fails.
    """
    names = inspect.signature(function).parameters
    if "completions" in names:
        return function
    if "completion" not in names:
        raise ValueError(
            f"the reward function {name_of(function)!r} takes ({', '.join(names)}); it should have a parameter "
            "completion (one answer) or completions (all of a batch)."
        )

    def batch(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[Any]:
        rows = {"prompt": prompts, "completion": [_text(completion) for completion in completions]}
        rows |= {name: c for name, c in columns.items() if isinstance(c, Sequence) and len(c) == len(completions)}
        given = {name: rows[name] for name in _accepted(function, rows)}
        values = []
        for row, completion in enumerate(rows["completion"]):
            try:
                values.append(function(**{name: column[row] for name, column in given.items()}))
            except Exception as error:
                raise RewardError(
                    f"the reward function {name_of(function)!r} raised {type(error).__name__} at row {row} of the "
                    f"batch: {error}. The answer there is {_short(completion)}.",
                    name_of(function),
                    row,
                ) from error
        return values

    batch.__name__ = name_of(function)
    return batch


def checked_rewards(
    function: RewardFunction, prompts: Sequence[Any], completions: Sequence[Any], **columns: Sequence[Any]
) -> Tensor:
    """What ``function`` says of the answers, (batch,) float32. Every column has one entry per answer.

    Raises RewardError, naming the function and the row, if it raises, or returns None, NaN, an infinity, something
    that is no number, or a wrong number of values.
    """
    name, batch = name_of(function), as_batch(function)
    given = {"prompts": prompts, "completions": completions, **columns}
    if batch is function:
        given = {key: given[key] for key in _accepted(function, given)}
    try:
        values = batch(**given)
    except RewardError:
        raise
    except Exception as error:
        raise RewardError(
            f"the reward function {name!r} raised {type(error).__name__} on a batch of {len(completions)} answers: "
            f"{error}.",
            name,
        ) from error
    values = values.tolist() if isinstance(values, Tensor) else values
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise RewardError(
            f"the reward function {name!r} returned {_short(values)}; a list of {len(completions)} numbers is "
            "expected, one for each answer.",
            name,
        )
    if len(values) != len(completions):
        raise RewardError(
            f"the reward function {name!r} returned {len(values)} values for {len(completions)} answers; one for each "
            "is expected.",
            name,
        )
    for row, value in enumerate(values):
        number = _number(value)
        if number is None or not math.isfinite(number):
            raise RewardError(
                f"the reward function {name!r} returned {_short(value)} at row {row} of the batch; one finite number "
                f"is expected. The answer there is {_short(_text(completions[row]))}. If it cannot be judged, say what "
                "that is worth, such as 0.",
                name,
                row,
            )
    return torch.tensor([float(value) for value in values])


class VerifiableReward:
    """The weighted sum of reward functions, for the answers to ``tasks``: the ``reward`` of ``grpo``.

    ``tasks``: one mapping for each prompt, in the order of the prompts; its entries are the columns that functions may
    ask for. ``weights``: one for each function, by default 1. ``parts`` holds what each function said of the latest
    answers, by name, (batch,). Raises ValueError for no functions, no tasks, two functions of one name, a wrong number
    of weights or a function without an answer to read; RewardError as ``checked_rewards``.
    """

    def __init__(
        self,
        functions: RewardFunction | Sequence[RewardFunction],
        tasks: Sequence[Mapping[str, Any]],
        tokenizer: Any,
        weights: Sequence[float] | None = None,
    ) -> None:
        listed = list(functions) if isinstance(functions, Sequence) else [functions]
        names = [name_of(function) for function in listed]
        if not listed or not len(tasks):
            raise ValueError(f"{len(listed)} reward functions and {len(tasks)} tasks were given; give one or more.")
        if len(set(names)) < len(names):
            raise ValueError(f"the reward functions are called {', '.join(names)}: give each a name of its own.")
        if weights is not None and len(weights) != len(listed):
            raise ValueError(f"{len(weights)} weights were given for {len(listed)} reward functions.")
        for function in listed:
            as_batch(function)
        self.functions = dict(zip(names, listed, strict=True))
        self.weights = dict(zip(names, weights or [1.0] * len(listed), strict=True))
        self.tasks, self.tokenizer = tasks, tokenizer
        self.parts: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        """Tells one reward from another, whatever the process: checkpoints ask for it."""
        known = hashlib.sha256(repr([sorted(task.items()) for task in self.tasks]).encode()).hexdigest()[:16]
        return f"VerifiableReward({self.weights}, {len(self.tasks)} tasks {known})"

    def score_completions(self, prompts: Sequence[int], completions: Generation) -> Tensor:
        """(batch,): of answers to the tasks with the numbers ``prompts``."""
        tasks = [self.tasks[i] for i in prompts]
        shared = [key for key in tasks[0] if key not in ("prompt", "prompts", "completion", "completions")]
        columns = {key: [task[key] for task in tasks] for key in shared if all(key in task for task in tasks)}
        columns |= {"task": tasks, "length": completions.lengths.tolist(), "stopped": completions.stopped.tolist()}
        asked, texts = [task.get("prompt") for task in tasks], completions.texts(self.tokenizer)
        self.parts = {name: checked_rewards(f, asked, texts, **columns) for name, f in self.functions.items()}
        return torch.stack([self.weights[name] * part for name, part in self.parts.items()]).sum(0)


def name_of(function: RewardFunction) -> str:
    """The name of a function, of what is inside a ``functools.partial``, or of the class of a callable object."""
    return getattr(getattr(function, "func", function), "__name__", type(function).__name__)


def _accepted(function: RewardFunction, rows: Mapping[str, Any]) -> list[str]:
    """The names in ``rows`` that ``function`` has a parameter for. Raises RewardError if it wants one that is not
    there."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return list(rows)
    empty = inspect.Parameter.empty
    missing = [p.name for p in parameters if p.name not in rows and p.default is empty and p.kind != p.VAR_POSITIONAL]
    if missing:
        raise RewardError(
            f"the reward function {name_of(function)!r} wants {', '.join(missing)}; the tasks have "
            f"{', '.join(name for name in rows)}.",
            name_of(function),
        )
    wanted = [parameter.name for parameter in parameters]
    return [name for name in rows if name in wanted]


def _text(completion: Any) -> Any:
    """trl has the answer to a chat as a list of messages."""
    if isinstance(completion, Sequence) and not isinstance(completion, str) and completion:
        last = completion[-1]
        return last["content"] if isinstance(last, Mapping) else completion
    return completion


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, str | bytes):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


# sums ---------------------------------------------------------------------------------------------------------------

_PRODUCT = r"\d+(?:\s*[*x×]\s*\d+)*"
_SUM = rf"-?\s*{_PRODUCT}(?:\s*[-+]\s*{_PRODUCT})*"
_CHAIN = re.compile(rf"{_SUM}(?:\s*=\s*{_SUM})+")
MAX_DIGITS = 15  # a longer number is nonsense, and slow to compute with


@dataclass(frozen=True)
class Step:
    """One equation of a working, such as 40+10=50, and whether it ``holds``."""

    text: str
    holds: bool


def worked_steps(text: str) -> list[Step]:
    """The equations in ``text``, in order; 17+25=30+12=42 are two. With whole numbers, +, -, * (also x). What computes
    nothing, such as 42=42, is no step."""
    steps = []
    for chain in _CHAIN.findall(text):
        sides = [side.strip() for side in chain.split("=")]
        for left, right in zip(sides, sides[1:], strict=False):
            if re.search(r"\d\s*[-+*x×]", left + " " + right):
                one, two = _compute(left), _compute(right)
                steps.append(Step(f"{left}={right}", one is not None and one == two))
    return steps


def final_number(text: str) -> int | None:
    """The one number after the last "=", or the one number of a text without "="; None if there is none, or more
    than one: whoever offers two results has not decided."""
    found = re.findall(r"-?\d+", text.rsplit("=", 1)[-1])
    return int(found[0]) if len(found) == 1 and len(found[0]) <= MAX_DIGITS else None


def sum_reward(completion: str, value: str | int) -> float:
    """The outcome: 1 if the final number is ``value``, else 0. It does not ask how the number was found."""
    return float(final_number(completion) == int(value))


def working_reward(completion: str, value: str | int) -> float:
    """The process: the share of the steps that hold, 0 without a step, and 0 if the last step does not end in the
    final number. On its own it says nothing about ``value``, and can be had with true steps that lead nowhere: give
    it a weight below that of ``sum_reward``."""
    steps = worked_steps(completion)
    if not steps or _compute(steps[-1].text.rsplit("=", 1)[-1]) != final_number(completion):
        return 0.0
    return sum(step.holds for step in steps) / len(steps)


def _compute(expression: str) -> int | None:
    """Of whole numbers, sums and products, and no other thing: nothing that a model wrote is ever executed."""
    if any(len(number) > MAX_DIGITS for number in re.findall(r"\d+", expression)):
        return None
    total = 0
    for sign, product in re.findall(rf"([-+]?)\s*({_PRODUCT})", expression):
        factors = math.prod(int(number) for number in re.findall(r"\d+", product))
        total += -factors if sign == "-" else factors
    return total


# JSON ---------------------------------------------------------------------------------------------------------------


def parse_json(text: str) -> Any:
    """The value of a text that is JSON from its first character to its last, spaces aside. Raises ValueError for
    anything else, also for what Python reads beyond the standard: a name given twice, NaN, Infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is given twice.")
        return dict(pairs)

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON.")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise ValueError("the text is nested too deeply.") from None


def json_format_reward(completion: str) -> float:
    """1 if the answer is a JSON object and nothing besides, else 0."""
    return float(_object(completion) is not None)


def json_reward(completion: str, answer: str | Mapping[str, Any]) -> float:
    """1 if the answer is the JSON object ``answer``, names in any order, else 0."""
    expected = _expected(answer)
    return float(_object(completion) == expected)


def json_fields_reward(completion: str, answer: str | Mapping[str, Any]) -> float:
    """The share of the fields that are right, of all that are there or should be: naming more does not help."""
    given, expected = _object(completion), _expected(answer)
    if not given:
        return float(given == expected)
    return sum(given.get(name) == value for name, value in expected.items()) / len(given.keys() | expected.keys())


def _object(text: str) -> dict[str, str] | None:
    """The fields of a JSON object, each as canonical text (in Python True == 1, in JSON not); None if it is none."""
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return {k: json.dumps(v, sort_keys=True) for k, v in value.items()} if isinstance(value, dict) else None


def _expected(answer: str | Mapping[str, Any]) -> dict[str, str]:
    expected = _object(answer if isinstance(answer, str) else json.dumps(answer))
    if expected is None:
        raise ValueError(f"the expected answer {_short(answer)} is no JSON object; this task cannot be judged by it.")
    return expected


# length -------------------------------------------------------------------------------------------------------------


def overlong_penalty(length: int, room: int, buffer: int) -> float:
    """0 up to room - buffer tokens, from there falling by 1 / buffer a token, -1 at ``room`` (DAPO, arXiv 2503.14476,
    section 3.4). Without it an answer that is one token too long is worth as little as one that never would have
    ended."""
    if not 0 < buffer <= room:
        raise ValueError(f"a buffer of {buffer} tokens in a room of {room}: 1 to {room} is expected.")
    return -min(max(length - (room - buffer), 0) / buffer, 1.0)
