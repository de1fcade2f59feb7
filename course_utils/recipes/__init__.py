"""The course's models: how each is made, and the commands that make them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from course_utils.recipes.align import bake_dpo, bake_grpo, bake_ppo, bake_reward
from course_utils.recipes.configs import EVALUATION_SEED, RECIPES, world_of
from course_utils.recipes.pretrain import bake_base
from course_utils.recipes.tune import bake_instruct, bake_lora

__all__ = ["BAKES", "EVALUATION_SEED", "RECIPES", "world_of"]

BAKES: dict[str, Callable[[Path], Path]] = {  # in the order in which they build on each other
    "base": bake_base,
    "instruct": bake_instruct,
    "lora": bake_lora,
    "reward": bake_reward,
    "ppo": bake_ppo,
    "dpo": bake_dpo,
    "grpo": bake_grpo,
}
