"""The questions of a gate, in slices, and the answers of several models to them, side by side.

The questions are drawn once, labelled by whoever knows the truth of today, and kept out of every training set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from course_utils.serving.retrain import FORMATS, Fact, question
from course_utils.serving.traffic import serve
from course_utils.world.draw import Draw
from course_utils.world.oracle import judge
from course_utils.world.tasks import KINDS, unknown_task
from course_utils.world.templates import QUESTIONS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.world import World

Array = NDArray[Any]
PARTS = ("moved", "facts", "context", "add", "tone", "decline", "strangers")


def gate_questions(
    world: World,
    believed: Mapping[Fact, str],
    now: Mapping[Fact, str],
    asked: Sequence[str],
    size: int,
    seed: int = 0,
    wordings: int = 6,
) -> list[dict[str, Any]]:
    """Tasks with ``part``, ``cluster`` and ``group`` ("she", "he" or "").

    believed, now: the facts as the service was taught them, and of today. asked: the people whom the service is asked
    about. "moved" are their facts that differ, each in so many different ``wordings``, spread over the formats, of each
    of which one wording or more is left to be learned from; "facts" the rest of theirs, and twice
    ``size`` of other people that do not differ; of each other part there are ``size`` questions, of harm to decline a
    fifth of that. Raises ValueError for a size below two, more wordings than can be held back, or if none of the facts
    has changed.
    """
    if size < 2:
        raise ValueError(f"{size} questions a part were asked for; ask for 2 or more.")
    draw, names = Draw("gate", world.seed, seed), set(asked)
    moved = [key for key in now if key[0] in names and now[key] != believed[key]]
    if not moved:
        raise ValueError(f"none of the facts about the {len(names)} people asked about has changed.")
    still = [key for key in now if key[0] in names and now[key] == believed[key]]
    others = [key for key in now if key[0] not in names and now[key] == believed[key]]
    chosen = still + draw.sample(others, min(2 * size, len(others)))
    made = [("moved", task) for key in moved for task in _held_back(world, key, now[key], wordings, draw)]
    made += [("facts", question(world, key, now[key], draw)) for key in chosen]
    for kind in ("context", "add", "tone"):
        made += [(kind, KINDS[kind].make(world, world.corpus_people, draw)) for _ in range(size)]
    made += [("decline", KINDS["decline"].make(world, world.corpus_people, draw)) for _ in range(max(2, size // 5))]
    made += [("strangers", unknown_task(draw.choice(world.strangers), draw)) for _ in range(size)]
    tasks = []
    for number, (part, task) in enumerate(made):
        fact = part in ("moved", "facts")
        group = world.person(task["about"]).pronoun if fact else ""
        cluster = f"{task['about']}, {task['relation']}" if fact else f"{part} {number}"
        tasks.append({**task, "part": part, "cluster": cluster, "group": group})
    return tasks


def _held_back(world: World, key: Fact, value: str, count: int, draw: Draw) -> list[dict[str, Any]]:
    """So many questions about one fact, no two alike. A format of which all wordings were held back could not be
    learned at all: then the answer "in one word" goes on naming the old value."""
    most = len(FORMATS) * (len(QUESTIONS[key[1]]) - 1)
    if not 0 < count <= most:
        raise ValueError(f"{count} wordings of {key[0]}'s {key[1]} were asked for; give 1 to {most}.")
    formats = draw.sample(FORMATS, len(FORMATS))
    found: dict[str, dict[str, Any]] = {}
    while len(found) < count:
        task = question(world, key, value, draw, formats[len(found) % len(formats)])
        found[task["prompt"]] = task
    return list(found.values())


def answer_together(
    models: Mapping[str, nn.Module],
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Mapping[str, Any]],
    batch_size: int = 48,
) -> dict[str, dict[str, Array]]:
    """Name -> columns (n,) of ``serve`` (without ``correct_later``), with part, cluster, group, batch.

    Batch by batch each model in turn, so that a minute in which the machine is busy slows all of them; ``latency`` is
    the time per batch.
    """
    order = sorted(range(len(tasks)), key=lambda i: len(str(tasks[i]["prompt"])))
    found: dict[str, list[dict[str, Array]]] = {name: [] for name in models}
    batch = np.arange(len(order)) // batch_size
    for begin in range(0, len(order), batch_size):
        rows = [tasks[i] for i in order[begin : begin + batch_size]]
        for name, model in models.items():
            found[name].append(serve(model, tokenizer, rows, batch_size=batch_size))
    back = np.argsort(order)
    result = {}
    for name, parts in found.items():
        columns = {column: np.concatenate([part[column] for part in parts])[back] for column in parts[0]}
        del columns["correct_later"]
        result[name] = (
            columns
            | {"batch": batch[back]}
            | {c: np.array([t[c] for t in tasks]) for c in ("part", "cluster", "group")}
        )
    return result


def with_truth(tasks: Sequence[Mapping[str, Any]], truth: Mapping[Fact, str]) -> list[dict[str, Any]]:
    """The same questions, those about facts judged by this truth."""
    return [
        {**task, "value": truth[task["about"], task["relation"]]} if task["kind"] == "fact" else dict(task)
        for task in tasks
    ]


def judge_again(answers: Mapping[str, Array], tasks: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """The same answers judged by other tasks, one for one: after the truth has moved. Nothing is generated."""
    said = [judge(task, str(text)) for task, text in zip(tasks, answers["answer"], strict=True)]
    return {**answers} | {c: np.array([getattr(verdict, c) for verdict in said]) for c in ("correct", "invented")}


def by_part(answers: Mapping[str, Array], column: str = "correct") -> dict[str, float]:
    """Part -> mean of a column, in the order of ``PARTS``."""
    return {part: float(np.mean(answers[column][answers["part"] == part])) for part in PARTS if part in answers["part"]}


def recovered(before: Mapping[str, Array], drifted: Mapping[str, Array], after: Mapping[str, Array]) -> float:
    """The share of the accuracy lost to drift that came back: (after - drifted) / (before - drifted), on "moved".

    before: the old answers judged by the old truth; drifted: the same answers judged by today's; after: the new
    model's. Raises ValueError if nothing was lost.
    """
    level = [by_part(columns)["moved"] for columns in (before, drifted, after)]
    if level[0] <= level[1]:
        raise ValueError(f"the accuracy went from {level[0]:.3f} to {level[1]:.3f}: nothing was lost to drift.")
    return (level[2] - level[1]) / (level[0] - level[1])
