"""Retraining a served model: corrected facts, written in every wording, among replayed rows of all that it could do.

New rows alone would teach the facts and cost the rest (chapter 07). So each run also rehearses: facts that nobody
corrected, as the parent learned them, and tasks of every kind. Fully tuned, or by an adapter that is merged at the end:
either way the candidate is a plain model, as quick as its parent.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from course_utils.world.draw import Draw
from course_utils.world.people import RELATIONS
from course_utils.world.tasks import TASK_MIX, fact_task, make_tasks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.training.history import History
    from course_utils.world import World

Fact = tuple[str, str]  # (name, relation)
METHODS = ("full", "lora")


@dataclass(frozen=True)
class RetrainRecipe:
    """How a candidate is made.

    method: "full" or "lora" (rank ``r``, merged at the end). steps, batch_size, learning_rate: of the training loop.
    new, near, far: the shares of rows that tell corrected facts, other facts about the same people, and facts about
    everybody else; the rest are tasks of the other kinds. blend: how far to go from the parent's weights to the tuned
    ones, 1 for all the way (Wortsman et al., arXiv 2109.01903: a point between keeps more of what the parent could do).
    Raises ValueError for another method, a blend outside 0 to 1, or shares that sum to more than 1.
    """

    method: str = "full"
    steps: int = 140
    batch_size: int = 24
    learning_rate: float = 5e-4
    blend: float = 0.85
    new: float = 0.2
    near: float = 0.11
    far: float = 0.22
    r: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"the method is {self.method!r}; choose from {', '.join(METHODS)}.")
        if not 0 <= self.blend <= 1:
            raise ValueError(f"blend is {self.blend}; give a share of the way from 0 to 1.")
        if min(self.new, self.near, self.far) < 0 or self.new + self.near + self.far > 1:
            raise ValueError(
                f"the shares new={self.new}, near={self.near}, far={self.far} sum to "
                f"{self.new + self.near + self.far:g}; give shares from 0 that sum to 1 at the most."
            )


FORMATS = ("sentence", "word", "json")
# Tasks of the other kinds: the reading of passages suffers first, then sums, so they are rehearsed more. Harm was
# declined by every candidate that had not been taught otherwise.
OTHER_TASKS = {kind: weight for kind, weight in TASK_MIX.items() if kind != "fact"} | {
    "add": 60,
    "context": 90,
    "decline": 5,
}


def facts_of(world: World) -> dict[Fact, str]:
    """(name, relation) -> value for everybody of whom the corpus tells: what a model of that world was taught."""
    return {(person.name, relation): person.fact(relation) for person in world.corpus_people for relation in RELATIONS}


def question(world: World, key: Fact, value: str, draw: Draw, format: str | None = None) -> dict[str, Any]:
    """A question about one fact, in a random wording (and format, if None), whose right answer is ``value``."""
    name, relation = key
    person = world.person(name)
    facts = tuple(value if r == relation else person.fact(r) for r in RELATIONS)
    return dict(fact_task(replace(person, facts=facts), relation, draw, format))


def training_rows(
    world: World,
    believed: Mapping[Fact, str],
    corrected: Mapping[Fact, str],
    recipe: RetrainRecipe,
    also: Sequence[Mapping[str, Any]] = (),
    never: Container[str] = (),
) -> list[dict[str, Any]]:
    """The rows of a run, steps x batch_size of them: tasks with ``messages``.

    believed: what the parent was taught. corrected: what the curated corrections say, of which only what differs from
    ``believed`` is new; what they confirm is rehearsed with the rest. also: further rows, which take the place of
    tasks of other kinds. never: the prompts of the gate, which no other row may have; of each fact and format one
    wording must be left. Raises ValueError if nothing is new, or if ``also`` has more rows than there is room for.
    """
    new = {key: value for key, value in corrected.items() if believed.get(key) != value}
    if not new:
        raise ValueError(f"none of the {len(corrected)} corrected facts differs from what the model was taught.")
    people, draw = {name for name, _ in corrected}, Draw("retrain", recipe.seed)
    old = {key: value for key, value in believed.items() if key not in new}
    near = {key: value for key, value in old.items() if key[0] in people}
    far = {key: value for key, value in old.items() if key[0] not in people}
    total, rows = recipe.steps * recipe.batch_size, []
    for facts, share in ((new, recipe.new), (near, recipe.near), (far, recipe.far)):
        keys = draw.sample(sorted(facts), len(facts))
        for i in range(int(share * total) if keys else 0):
            key = keys[i % len(keys)]
            rows.append(_unless(never, world, key, facts[key], draw))
    room = total - len(rows) - len(also)
    if room < 0:
        raise ValueError(f"there is room for {total - len(rows)} more rows; {len(also)} were given.")
    others: list[dict[str, Any]] = []
    seed = 1_000 + recipe.seed
    while len(others) < room:  # a second turn replaces what the gate asks
        made = make_tasks(world, room - len(others), "taught", seed, OTHER_TASKS)
        others += [task for task in made if task["prompt"] not in never]
        seed += 1_000_000
    return rows + [dict(row) for row in also] + others


def _unless(never: Container[str], world: World, key: Fact, value: str, draw: Draw, most: int = 200) -> dict[str, Any]:
    """A question about a fact in a random wording and format that ``never`` does not hold."""
    format = draw.choice(FORMATS)
    for _ in range(most):
        task = question(world, key, value, draw, format)
        if task["prompt"] not in never:
            return task
    raise ValueError(f"no wording of {key[0]}'s {key[1]} in the format {format!r} is left; hold back fewer of them.")


def retrain(
    parent: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Mapping[str, Any]],
    recipe: RetrainRecipe,
    progress: bool = False,
) -> tuple[nn.Module, History]:
    """A candidate: a copy of ``parent``, tuned on the rows; the parent is left as it is. Also returns the history."""
    from course_utils.models.lora import LoRAConfig, add_lora, merge_lora
    from course_utils.text.batching import ChatBatches
    from course_utils.training.config import TrainConfig
    from course_utils.training.loop import train
    from course_utils.training.objectives import answer_loss

    model = copy.deepcopy(parent).requires_grad_(True)
    if recipe.method == "lora":
        add_lora(model, LoRAConfig(recipe.r, 2.0 * recipe.r), seed=recipe.seed)
    batches = ChatBatches([row["messages"] for row in rows], tokenizer, recipe.batch_size, recipe.seed)
    how = TrainConfig(
        recipe.steps,
        recipe.learning_rate,
        warmup_steps=min(5, recipe.steps // 4),
        weight_decay=0.0,
        seed=recipe.seed,
    )
    history = train(model, batches, answer_loss, how, progress=progress)
    if recipe.method == "lora":
        merge_lora(model)
    with torch.no_grad():
        for weight, start in zip(model.parameters(), parent.parameters(), strict=True):
            weight.copy_(torch.lerp(start, weight, recipe.blend))
    return model.eval(), history


def recipe_of(recipe: RetrainRecipe) -> dict[str, Any]:
    """The recipe as a registry keeps it."""
    return asdict(recipe)
