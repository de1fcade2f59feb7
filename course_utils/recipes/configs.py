"""How each checkpoint is made: one recipe per profile."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from course_utils.world.corpora import MIX
from course_utils.world.preferences import STYLE_MIX
from course_utils.world.tasks import TASK_MIX

if TYPE_CHECKING:
    from course_utils.alignment.grpo import GRPOConfig
    from course_utils.alignment.ppo import PPOConfig
    from course_utils.training.config import TrainConfig
    from course_utils.world import World

EVALUATION_SEED = 90_000  # documents and questions of the cards: no training run uses this seed


def _settings(recipe: Any, kind: type, how: dict[str, Any]) -> Any:
    """The settings ``kind`` with every field that the recipe has too, and ``how`` for the rest."""
    shared = {f.name for f in fields(recipe)} & {f.name for f in fields(kind)}
    return kind(**{name: getattr(recipe, name) for name in shared} | how)


class Trained:
    """A recipe whose fields are those of the training loop's settings, by the same names."""

    def training(self, **how: Any) -> TrainConfig:
        """The loop's settings; ``how`` adds what is no matter of the recipe (save_every, evaluate_every, ...)."""
        from course_utils.training.config import TrainConfig

        return _settings(self, TrainConfig, how)


@dataclass(frozen=True)
class Stage(Trained):
    """One stage of pretraining: its own mix of fresh documents, and a learning rate warmed up and decayed to 0."""

    documents: int  # written anew; more steps than they fill begin a new epoch
    batch_size: int  # rows of a step
    row_length: int  # tokens of a row
    steps: int
    learning_rate: float
    warmup_steps: int = 200
    schedule: str = "linear"
    mix: dict[str, int] = field(default_factory=lambda: dict(MIX))


@dataclass(frozen=True)
class PretrainingRecipe:
    """How a base model is made. Tokens seen = steps x batch_size x row_length, summed over the stages."""

    people: int
    stages: tuple[Stage, ...]
    weight_decay: float = 0.1
    tokenizer_documents: int = 20_000  # of the first stage
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Tokens seen in training."""
        return sum(stage.steps * stage.batch_size * stage.row_length for stage in self.stages)


@dataclass(frozen=True)
class TuningRecipe(Trained):
    """How an instruct model is made: tasks about taught people only."""

    people: int
    tasks: int
    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 20
    schedule: str = "linear"
    weight_decay: float = 0.0
    seed: int = 0
    mix: dict[str, int] = field(default_factory=lambda: dict(TASK_MIX))
    # Mostly plain, as if several people had written the answers: alignment can only choose among manners that exist.
    manners: dict[str, int] = field(default_factory=lambda: dict(STYLE_MIX))


# The laptop's base has three stages. The first brings facts, rolls, sums; the second all kinds of documents, when the
# facts are there to be found again. What must be looked up in the text itself (stories, visits) and facts as JSON
# (registers) take longest and come at a low rate: the third has most of them, in rows that cut few stories in two.
FIRST_MIX = {
    "biography": 32,
    "story": 24,
    "sums": 12,
    "roll": 11,
    "gloss": 7,
    "letter": 5,
    "notice": 5,
    "guide": 4,
}
LOOKUP_MIX = {
    "visit": 24,
    "story": 22,
    "biography": 20,
    "register": 10,
    "roll": 8,
    "sums": 5,
    "gloss": 4,
    "letter": 3,
    "notice": 2,
    "guide": 2,
}
BASE = {
    "smoke": PretrainingRecipe(300, (Stage(2_000, 8, 128, 30, 3e-3, 5),), tokenizer_documents=2_000),
    "laptop": PretrainingRecipe(
        300,
        (
            Stage(280_000, 32, 128, 4_000, 4e-3, mix=FIRST_MIX),
            Stage(150_000, 32, 128, 2_000, 2e-3),
            Stage(285_000, 8, 256, 6_000, 1.5e-3, warmup_steps=100, mix=LOOKUP_MIX),
        ),
    ),
    "gpu": PretrainingRecipe(5_000, (Stage(1_000_000, 128, 512, 12_000, 6e-4, 500, "cosine"),)),
}
# More of what tuning at this rate learns last: reading from a text, and sums.
INSTRUCT_MIX = TASK_MIX | {"context": 42, "add": 9}
INSTRUCT = {
    "smoke": TuningRecipe(300, 200, 10, 16, 1e-3, warmup_steps=2),
    "laptop": TuningRecipe(300, 20_000, 1_000, 64, 8e-4, warmup_steps=50, mix=INSTRUCT_MIX),
    "gpu": TuningRecipe(5_000, 100_000, 1_500, 64, 1e-4, warmup_steps=100),
}


@dataclass(frozen=True)
class AdapterRecipe(TuningRecipe):
    """How a LoRA adapter is made: as an instruct model, from the same rows, but with the base frozen."""

    r: int = 16
    alpha: float = 32.0


@dataclass(frozen=True)
class RewardRecipe(Trained):
    """How a reward model is made: from comparisons about taught people, of which a share of ``noise`` is wrong."""

    people: int
    comparisons: int
    noise: float
    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 20
    weight_decay: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class PPORecipe:
    """How the instruct model is aligned by PPO with the reward model, on questions about taught people."""

    people: int
    iterations: int
    prompts: int
    kl_coef: float
    learning_rate: float
    value_learning_rate: float
    max_new_tokens: int = 24
    seed: int = 0

    def training(self, **how: Any) -> PPOConfig:
        """PPO's settings."""
        from course_utils.alignment.ppo import PPOConfig

        return _settings(self, PPOConfig, how)


@dataclass(frozen=True)
class DPORecipe(Trained):
    """How the instruct model is aligned by DPO: on its own answers to questions about taught people, the best against
    the worst of ``answers`` by the reward model."""

    people: int
    questions: int
    answers: int
    beta: float
    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 5
    weight_decay: float = 0.0
    max_new_tokens: int = 40
    seed: int = 0


@dataclass(frozen=True)
class GRPORecipe:
    """How the instruct model learns sums of three numbers from a verifier: tuned first on ``sums`` worked examples,
    then for ``careless_steps`` on examples of which 3 in 10 show their working, then GRPO (chapter 14)."""

    people: int
    sums: int
    steps: int
    careless_steps: int
    batch_size: int
    tuning_rate: float
    careless_rate: float
    asked: int  # sums that the verifier knows the value of
    iterations: int
    prompts: int
    learning_rate: float
    group: int = 8
    max_new_tokens: int = 26
    seed: int = 0

    def tuning(self, steps: int, learning_rate: float, **how: Any) -> TrainConfig:
        """The loop's settings for one of the two tunings."""
        from course_utils.training.config import TrainConfig

        rest: dict[str, Any] = {"warmup_steps": steps // 10, "weight_decay": 0.0, "seed": self.seed}
        return TrainConfig(steps=steps, learning_rate=learning_rate, **rest | how)

    def training(self, **how: Any) -> GRPOConfig:
        """GRPO's settings; the method is Dr. GRPO."""
        from course_utils.alignment.grpo import GRPOConfig

        return _settings(self, GRPOConfig, how)


LORA = {
    "smoke": AdapterRecipe(300, 200, 6, 8, 5e-3, warmup_steps=2),
    "laptop": AdapterRecipe(300, 20_000, 1_000, 64, 3e-3, warmup_steps=50, mix=INSTRUCT_MIX),
    "gpu": AdapterRecipe(5_000, 100_000, 1_500, 64, 1e-3, warmup_steps=100),
}
REWARD = {
    "smoke": RewardRecipe(300, 60, 0.1, 5, 8, 1e-3, warmup_steps=2),
    "laptop": RewardRecipe(300, 3_000, 0.1, 200, 32, 1e-3),
    "gpu": RewardRecipe(5_000, 40_000, 0.1, 1_000, 64, 1e-4, warmup_steps=100),
}
PPO = {
    "smoke": PPORecipe(300, 2, 8, 0.05, 1e-4, 3e-4),
    "laptop": PPORecipe(300, 20, 64, 0.2, 5e-5, 1.5e-4),
    "gpu": PPORecipe(5_000, 100, 256, 0.05, 1e-5, 3e-5),
}
DPO = {
    "smoke": DPORecipe(300, 24, 2, 0.1, 2, 4, 1e-4, warmup_steps=1),
    "laptop": DPORecipe(300, 900, 8, 0.1, 24, 16, 2e-4),
    "gpu": DPORecipe(5_000, 8_000, 8, 0.1, 100, 64, 2e-6, warmup_steps=10),
}
GRPO = {
    "smoke": GRPORecipe(300, 24, 2, 1, 8, 1e-3, 1e-4, 20, 2, 4, 1e-4, group=4),
    "laptop": GRPORecipe(300, 960, 300, 40, 16, 2e-3, 2e-4, 1_000, 12, 16, 2e-4),
    "gpu": GRPORecipe(5_000, 2_000, 200, 40, 128, 1e-4, 3e-5, 8_000, 60, 64, 3e-5),
}
RECIPES = {
    "base": BASE,
    "instruct": INSTRUCT,
    "lora": LORA,
    "reward": REWARD,
    "ppo": PPO,
    "dpo": DPO,
    "grpo": GRPO,
}


def world_of(recipe) -> World:
    """The world that a recipe's texts come from. Its seed is always 0: a checkpoint knows this world's people."""
    from course_utils.world import World, WorldConfig

    return World(WorldConfig(people=recipe.people), seed=0)
