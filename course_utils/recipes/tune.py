"""The instruct model, and the LoRA adapter: the base tuned on instructions about taught people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from course_utils import settings
from course_utils.recipes.card import card
from course_utils.recipes.configs import EVALUATION_SEED, INSTRUCT, LORA, TuningRecipe, world_of

if TYPE_CHECKING:
    from course_utils.pretrained.store import Loaded
    from course_utils.training.history import History


def bake_instruct(workplace: Path) -> Path:
    """Tune the base model into the instruct model of the current profile, put it into the store; return its folder."""
    from course_utils.evaluation.instructions import instruct_report
    from course_utils.pretrained import store

    recipe = INSTRUCT[settings.profile().name]
    base = store.load("base")
    history = tune(base, recipe, workplace / "instruct-run")
    measured = instruct_report(base.model.half().float(), base.tokenizer, world_of(recipe), EVALUATION_SEED)
    return store.save("instruct", base.model, base.tokenizer, card(recipe, answered(history), history, measured))


def bake_lora(workplace: Path) -> Path:
    """Train an adapter beside the frozen base model, put it into the store; return its folder."""
    from course_utils.evaluation.instructions import instruct_report
    from course_utils.models.lora import LoRAConfig, add_lora
    from course_utils.pretrained import store

    recipe = LORA[settings.profile().name]
    base = store.load("base")
    add_lora(base.model, LoRAConfig(recipe.r, recipe.alpha), seed=recipe.seed)
    history = tune(base, recipe, workplace / "lora-run")
    measured = instruct_report(base.model, base.tokenizer, world_of(recipe), EVALUATION_SEED)
    return store.save("lora", base.model, base.tokenizer, card(recipe, answered(history), history, measured))


def tune(base: Loaded, recipe: TuningRecipe, checkpoint_dir: Path) -> History:
    """Train what is not frozen in the loaded model on the recipe's tasks, resumably."""
    from course_utils.evaluation.instructions import exact_match
    from course_utils.text.batching import ChatBatches
    from course_utils.training.loop import train
    from course_utils.training.objectives import next_token_loss
    from course_utils.world.preferences import in_styles
    from course_utils.world.tasks import fact_questions, make_tasks

    world = world_of(recipe)
    tasks = in_styles(
        make_tasks(world, recipe.tasks, "taught", 1 + recipe.seed, recipe.mix), recipe.seed, recipe.manners
    )
    batches = ChatBatches(
        [task["messages"] for task in tasks],
        base.tokenizer,
        recipe.batch_size,
        seed=recipe.seed,
        max_length=settings.profile().context,
    )
    probe = fact_questions(world.known[:30])
    return train(
        base.model,
        batches,
        next_token_loss,
        recipe.training(save_every=max(1, recipe.steps // 5), evaluate_every=max(1, recipe.steps // 5)),
        evaluate=lambda m: {"known_exact_match": exact_match(m, base.tokenizer, probe)},
        checkpoint_dir=checkpoint_dir,
    )


def answered(history: History) -> int:
    """Tokens of the answers: prompts are read, not learned."""
    return int(history.records[-1]["tokens"])
