"""Train the course's checkpoints again: ``make bake``, or ``python -m course_utils.bake [base] [instruct]``.

Each checkpoint has one recipe. Baking is resumable: stopped at any moment, the same command goes on. The
result is a model folder with a card that states the recipe and what was measured.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils import settings
from course_utils.world.corpora import MIX
from course_utils.world.manners import MANNER_MIX, in_manners
from course_utils.world.tasks import TASK_MIX

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerFast

    from course_utils.training.loop import History
    from course_utils.world import World

EVALUATION_SEED = 90_000  # documents and questions of the cards: no training run uses this seed
# The card's curves over steps.
KEPT = ("facts", "rolls_1_shot", "translation", "stories", "visits", "sums_held_out", "tone")


@dataclass(frozen=True)
class Stage:
    """One stage of pretraining: its own mix of fresh documents, and a learning rate warmed up and decayed to 0."""

    documents: int  # written anew; more steps than they fill begin a new epoch
    steps: int
    learning_rate: float
    warmup_steps: int = 200
    schedule: str = "linear"
    mix: dict[str, int] = field(default_factory=lambda: dict(MIX))


@dataclass(frozen=True)
class PretrainingRecipe:
    """How a base model is made. Tokens seen = steps of all stages x batch_size x row_length."""

    people: int
    batch_size: int
    row_length: int
    stages: tuple[Stage, ...]
    weight_decay: float = 0.1
    tokenizer_documents: int = 20_000  # of the first stage
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Tokens seen in training."""
        return sum(stage.steps for stage in self.stages) * self.batch_size * self.row_length


@dataclass(frozen=True)
class TuningRecipe:
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
    manners: dict[str, int] = field(default_factory=lambda: dict(MANNER_MIX))


# The first stage of the laptop's base: facts, rolls, stories, sums. Reading from context (visits) and facts as
# JSON (registers) come in the second, when the facts are there to be found again.
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
BASE = {
    "smoke": PretrainingRecipe(300, 8, 128, (Stage(2_000, 30, 3e-3, 5),), tokenizer_documents=2_000),
    "laptop": PretrainingRecipe(
        300, 32, 128, (Stage(280_000, 4_000, 4e-3, mix=FIRST_MIX), Stage(150_000, 2_000, 2e-3))
    ),
    "gpu": PretrainingRecipe(5_000, 128, 512, (Stage(1_000_000, 12_000, 6e-4, 500, "cosine"),)),
}
INSTRUCT = {
    "smoke": TuningRecipe(300, 200, 10, 16, 1e-3, warmup_steps=2),
    "laptop": TuningRecipe(300, 20_000, 1_000, 64, 1.5e-3),
    "gpu": TuningRecipe(5_000, 100_000, 1_500, 64, 1e-4, warmup_steps=100),
}


def world_of(recipe: PretrainingRecipe | TuningRecipe) -> World:
    """The world that a recipe's texts come from. Its seed is always 0: a checkpoint knows this world's people."""
    from course_utils.world import Dials, World

    return World(Dials(people=recipe.people), seed=0)


def pretraining_rows(
    world: World, recipe: PretrainingRecipe, cache: Path | None = None
) -> tuple[list[Tensor], PreTrainedTokenizerFast]:
    """The packed corpus of each stage (rows, row_length) and the tokenizer; a resumed bake finds them in ``cache``."""
    from safetensors.torch import load_file, save_file

    from course_utils.text.batching import pack
    from course_utils.text.tokenizer import load_tokenizer, train_tokenizer

    if cache is not None and (cache / "rows.safetensors").is_file():
        kept = load_file(cache / "rows.safetensors")
        return [kept[f"stage{i}"].long() for i in range(len(recipe.stages))], load_tokenizer(cache)
    rows, tokenizer = [], None
    for i, stage in enumerate(recipe.stages):
        texts = world.documents(stage.documents, seed=1 + recipe.seed + 100 * i, mix=stage.mix)["text"]
        if tokenizer is None:
            tokenizer = train_tokenizer(texts[: recipe.tokenizer_documents], settings.profile().vocab_size)
        rows.append(pack(texts, tokenizer, recipe.row_length))
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(cache)
        save_file({f"stage{i}": stage.int() for i, stage in enumerate(rows)}, cache / "rows.partial")
        (cache / "rows.partial").rename(cache / "rows.safetensors")  # whole or not at all
    return rows, tokenizer


def bake_base(workplace: Path) -> Path:
    """Pretrain the base model of the current profile, put it on the shelf with its card; return its folder."""
    from course_utils.evaluation.probes import base_report
    from course_utils.models.decoder import Decoder, DecoderConfig
    from course_utils.text.batching import PackedBatches
    from course_utils.training import shelf
    from course_utils.training.loop import History, TrainConfig, train
    from course_utils.training.objectives import next_token_loss

    profile = settings.profile()
    recipe = BASE[profile.name]
    world = world_of(recipe)
    corpora, tokenizer = pretraining_rows(world, recipe, workplace / "base-corpus")
    model = Decoder(DecoderConfig.for_profile(profile), seed=recipe.seed)
    whole = History()
    for i, (stage, rows) in enumerate(zip(recipe.stages, corpora, strict=True)):
        print(f"stage {i + 1}: {rows.numel() / 1e6:.1f} M tokens in rows of {recipe.row_length}")
        history = train(
            model,
            PackedBatches(rows, recipe.batch_size, seed=recipe.seed),
            next_token_loss,
            TrainConfig(
                steps=stage.steps,
                learning_rate=stage.learning_rate,
                warmup_steps=stage.warmup_steps,
                schedule=stage.schedule,
                weight_decay=recipe.weight_decay,
                save_every=max(1, stage.steps // 20),
                evaluate_every=max(1, stage.steps // 12),
                seed=recipe.seed,
            ),
            evaluate=lambda m: base_report(m, tokenizer, world, EVALUATION_SEED),
            checkpoint_dir=workplace / f"base-stage{i + 1}",
        )
        sums = ("step", "tokens", "seconds")  # they go on where the stage before ended
        before = [whole.records[-1][name] if whole.records else 0 for name in sums]
        whole.records += [
            r | {name: r[name] + start for name, start in zip(sums, before, strict=True)} for r in history.records
        ]
    learned = [{name: r[name] for name in ("step", *KEPT)} for r in whole.records if KEPT[0] in r]
    figures = base_figures(model.half().float(), tokenizer, world)  # what the shelf keeps: half precision
    return shelf.save(
        "base", model, tokenizer, card("base", recipe, recipe.tokens, whole, figures) | {"learned": learned}
    )


def base_figures(model: nn.Module, tokenizer: PreTrainedTokenizerFast, world: World) -> dict[str, float]:
    """The figures of a base model's card: what it holds, and its loss beside the entropy of fresh documents."""
    from course_utils.evaluation.entropy import entropy_gap
    from course_utils.evaluation.probes import base_report

    gap = entropy_gap(model, tokenizer, world.corpus(2_000, seed=EVALUATION_SEED))["all"]
    return base_report(model, tokenizer, world, EVALUATION_SEED) | {
        "entropy_gap": round(gap["gap"], 4),
        "bits_per_document": round(gap["bits"], 2),
        "model_bits_per_document": round(gap["model_bits"], 2),
    }


def bake_instruct(workplace: Path) -> Path:
    """Tune the base model into the instruct model of the current profile, put it on the shelf; return its folder."""
    from course_utils.evaluation.instructions import exact_match, instruct_report
    from course_utils.text.batching import ChatBatches
    from course_utils.training import shelf
    from course_utils.training.loop import TrainConfig, train
    from course_utils.training.objectives import next_token_loss
    from course_utils.world.tasks import every_fact, make_tasks

    profile = settings.profile()
    recipe = INSTRUCT[profile.name]
    world = world_of(recipe)
    base = shelf.load("base")
    tasks = make_tasks(world, recipe.tasks, "taught", 1 + recipe.seed, recipe.mix)
    tasks = in_manners(tasks, recipe.seed, recipe.manners)
    batches = ChatBatches(
        [task["messages"] for task in tasks],
        base.tokenizer,
        recipe.batch_size,
        seed=recipe.seed,
        max_length=profile.context,
    )
    probe = every_fact(world.known[:30])
    history = train(
        base.model,
        batches,
        next_token_loss,
        TrainConfig(
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            warmup_steps=recipe.warmup_steps,
            schedule=recipe.schedule,
            weight_decay=recipe.weight_decay,
            save_every=max(1, recipe.steps // 5),
            evaluate_every=max(1, recipe.steps // 5),
            seed=recipe.seed,
        ),
        evaluate=lambda m: {"known_exact_match": exact_match(m, base.tokenizer, probe)},
        checkpoint_dir=workplace / "instruct-run",
    )
    measured = instruct_report(base.model.half().float(), base.tokenizer, world, EVALUATION_SEED)
    tokens = int(history.records[-1]["tokens"])  # of the answers: prompts are read, not learned
    return shelf.save("instruct", base.model, base.tokenizer, card("instruct", recipe, tokens, history, measured))


def card(
    name: str, recipe: PretrainingRecipe | TuningRecipe, tokens: int, history: History, figures: dict[str, float]
) -> dict:
    """What lies beside a checkpoint: how it was made and what was measured. A test measures it again."""
    loss = [record["loss"] for record in history.records]
    every = max(1, len(loss) // 100)
    return {
        "recipe": asdict(recipe),
        "seed": recipe.seed,
        "tokens": tokens,
        "seconds": round(history.records[-1]["seconds"], 1),
        "loss": [
            [i + every, round(sum(loss[i : i + every]) / every, 4)] for i in range(0, len(loss) - every + 1, every)
        ],
        "figures": figures,
        "figures_seed": EVALUATION_SEED,
    }


BAKES: dict[str, Callable[[Path], Path]] = {"base": bake_base, "instruct": bake_instruct}


def main(arguments: list[str] | None = None) -> int:
    """Bake the named checkpoints, all by default, in the order in which they build on each other."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.bake", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BAKES)}; default: all")
    parser.add_argument("--ship", action="store_true", help="copy what was baked into the package, for all learners")
    options = parser.parse_args(arguments)
    names = options.names or list(BAKES)
    unknown = [name for name in names if name not in BAKES]
    if unknown:
        parser.error(f"there is no recipe for {', '.join(unknown)}; the course bakes {', '.join(BAKES)}")
    workplace = settings.home() / "bake" / settings.profile().name
    for name in (name for name in BAKES if name in names):
        print(f"baking {name} for the {settings.profile().name} profile; stop and start again whenever you like")
        folder = BAKES[name](workplace)
        print(f"{name} is on your shelf: {folder}")
        if options.ship:
            shipped = Path(__file__).parent / "checkpoints" / name
            shutil.copytree(folder, shipped, dirs_exist_ok=True)
            print(f"{name} is shipped: {shipped}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
