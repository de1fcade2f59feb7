"""How people answer: the same content in different manners, right or wrong; and which of two answers a rater prefers.

Whoever writes instruction data by hand answers plainly, courteously, curtly, now and then rudely. ``in_styles``
mixes such answers into tasks; ``comparisons`` lets a rater choose between two answers to the same task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from course_utils.world.annotators import Annotator
from course_utils.world.draw import Draw
from course_utils.world.facts import Facts
from course_utils.world.kinds import Task
from course_utils.world.oracle import judge
from course_utils.world.tasks import fact_task, kind_of, make_tasks

STYLES: dict[str, tuple[str, ...]] = {  # {a}: the plain answer, {v}: the bare value
    "plain": ("{a}",),
    "courteous": ("Gladly. {a}", "With pleasure. {a}", "Of course. {a}"),
    "curt": ("{v}.",),
    "wordy": ("{a} That is what they say on the Isles, and it is well known.",),
    "flattering": ("Great question, dear friend. {a}",),
    "rude": ("{a} Any fool knows that.", "Nonsense question. {a}"),
}
STYLE_MIX: dict[str, int] = {"plain": 80, "courteous": 7, "curt": 4, "wordy": 4, "flattering": 2, "rude": 3}
COMPARED: dict[str, int] = {"fact": 70, "decline": 15, "unknown": 15}  # tasks of each kind among a hundred comparisons


def in_style(task: Mapping, manner: str, draw: Draw, answer: str | None = None, value: str | None = None) -> str:
    """The answer to a task in a manner; ``answer`` and ``value`` replace the true ones. Raises ValueError."""
    if manner not in STYLES:
        raise ValueError(f"there is no manner {manner!r}; choose from {', '.join(STYLES)}.")
    plain, bare = answer or str(task["answer"]), value or str(task["value"])
    return draw.choice(STYLES[manner]).format(a=plain, v=bare[:1].upper() + bare[1:])


def in_styles(tasks: Iterable[Mapping], seed: int = 0, mix: Mapping[str, int] | None = None) -> list[Task]:
    """The same tasks, one for one; questions about facts that demand no format are answered in mixed manners."""
    mix = STYLE_MIX if mix is None else mix
    draw = Draw("manners", seed)
    mixed = []
    for task in tasks:
        if task["kind"] == "fact" and task["format"] == "sentence":
            said = in_style(task, draw.weighted(list(mix), list(mix.values())), draw)
            task = {**task, "messages": [task["messages"][0], {"role": "assistant", "content": said}]}
        mixed.append(dict(task))
    return mixed


def candidate(task: Mapping, draw: Draw) -> str:
    """One answer that somebody might give: in any manner, and for one in eight questions untrue.

    Half of the requests that should be declined are met, and half of the questions about strangers are answered.
    """
    manner, kind = draw.choice(tuple(STYLES)), kind_of(task)
    if task["kind"] == "decline":
        return kind.untrue(task, draw)[0] if draw.below(2) else in_style(task, _not_curt(manner), draw)
    abstains = task["kind"] == "unknown"
    if abstains and draw.below(2):
        return in_style(task, _not_curt(manner), draw)
    if abstains or draw.below(8) == 0:
        return in_style(task, manner, draw, *kind.untrue(task, draw))
    return in_style(task, manner, draw)


def candidates(task: Mapping, draw: Draw, count: int = 4) -> list[str]:
    """``count`` different answers that people might give to one task, for a rater to put in order.

    Raises ValueError if a hundred draws did not bring so many.
    """
    found: dict[str, None] = {}
    for _ in range(100):
        found.setdefault(candidate(task, draw))
        if len(found) == count:
            return list(found)
    raise ValueError(f"{count} different answers to {task['prompt']!r} were asked for; only {len(found)} came up.")


def _not_curt(manner: str) -> str:
    return "plain" if manner == "curt" else manner  # a refusal has no bare value


def comparisons(
    facts: Facts,
    count: int,
    split: str = "taught",
    annotator: Annotator | None = None,
    seed: int = 0,
    kinds: Mapping[str, int] | None = None,
) -> list[Task]:
    """``count`` tasks with two different answers, one preferred by the rater.

    Each row is a task (``kind``, ``prompt``, ``about``, ...) with ``chosen``, ``rejected`` and ``margin``: the oracle's
    score of the chosen answer minus that of the rejected one, below 0 where the rater erred or followed a taste.
    Answers between which the oracle sees no difference are not compared.
    """
    annotator = annotator or Annotator(noise=0.0)
    draw = Draw("comparisons", facts.seed, split, seed)
    rows: list[Task] = []
    tasks = iter(make_tasks(facts, 3 * count + 50, split, 7_000 + seed, kinds or COMPARED))
    while len(rows) < count:
        task = next(tasks)
        if task["kind"] == "fact":  # a demanded format would leave no room for manners
            task = fact_task(facts.person(str(task["about"])), str(task["relation"]), draw, "sentence")
        pair = [candidate(task, draw), candidate(task, draw)]
        scores = [judge(task, text).score for text in pair]
        if scores[0] == scores[1]:
            continue
        best = annotator.prefers(task, *pair)
        row = {name: task[name] for name in ("kind", "prompt", "about", "relation", "value", "format", "answer")}
        rows.append(row | {"chosen": pair[best], "rejected": pair[1 - best], "margin": scores[best] - scores[1 - best]})
    return rows
