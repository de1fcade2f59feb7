"""A year in which the facts about those whom a service is asked about move in the middle: its requests, as one model
really answered them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from course_utils.serving.gate_set import judge_again, with_truth
from course_utils.serving.retrain import Fact, question
from course_utils.serving.traffic import Change, Pool, Year, draw_year, serve
from course_utils.world.draw import Draw
from course_utils.world.people import RELATIONS
from course_utils.world.tasks import KINDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.world import World

OTHERS = {"context": 1.0, "add": 1.0, "tone": 0.5, "decline": 0.5}  # how often; each relation counts 1
GATE_SHARE = 0.3  # the gate's own questions, which a monitor sends through the service


def drifted_year(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    asked: Sequence[str],
    truths: tuple[Mapping[Fact, str], Mapping[Fact, str]],
    gate_tasks: Sequence[Mapping[str, Any]],
    seed: int,
    wordings: int = 2,
    others: int = 30,
    per_week: int = 150,
) -> tuple[Year, list[dict[str, Any]]]:
    """(the year, the tasks of its pool with the truth of its end).

    asked: names. truths: (name, relation) -> value before and since week 26. gate_tasks: of which a third of those
    about moved facts are asked too, by the monitor; nobody else's question has the words of one. wordings: questions
    for each fact. others: questions of each other kind. Each question is answered once, and requests are drawn from
    them. Raises ValueError as ``draw_year`` does.
    """
    draw, taken = Draw("drifted year", seed), {task["prompt"] for task in gate_tasks}

    def own(key: Fact) -> dict[str, Any]:
        return next(task for task in _wordings(world, key, truths[0][key], draw) if task["prompt"] not in taken)

    groups = {r: [own((name, r)) for name in asked for _ in range(wordings)] for r in RELATIONS}
    groups |= {kind: [KINDS[kind].make(world, world.corpus_people, draw) for _ in range(others)] for kind in OTHERS}
    groups["gate"] = [dict(task) for task in gate_tasks if task["part"] == "moved"][::3]
    tasks = [task for group in groups.values() for task in group]
    ends = np.cumsum([len(group) for group in groups.values()])
    rows = {name: np.arange(end - len(group), end) for (name, group), end in zip(groups.items(), ends, strict=True)}
    today = with_truth(tasks, truths[1])
    columns = serve(model, tokenizer, with_truth(tasks, truths[0]), batch_size=64)
    columns["correct_later"] = judge_again(columns, today)["correct"]
    mix = dict.fromkeys(RELATIONS, 1.0) | OTHERS | {"gate": GATE_SHARE}
    pool = Pool(rows, {}, {"as trained": columns}, mix)
    return draw_year(pool, seed, Change(truth="correct_later"), per_week=per_week), today


def _wordings(world: World, key: Fact, value: str, draw: Draw, most: int = 200) -> Iterator[dict[str, Any]]:
    """Random wordings of a question; the gate has a few of them, so one that it lacks soon comes."""
    for _ in range(most):
        yield question(world, key, value, draw)
    raise ValueError(f"the gate asks about {key[0]}'s {key[1]} in every wording; give it fewer.")
