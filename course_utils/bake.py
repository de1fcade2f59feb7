"""Train the course's checkpoints again: ``make bake``, or ``python -m course_utils.bake [base] [instruct]``.

Each checkpoint has one recipe. Baking is resumable: stopped at any moment, the same command goes on. The
result is a model folder with a card that states the recipe and what was measured.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils import settings

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from course_utils.training.loop import History
    from course_utils.world import World

EVALUATION_SEED = 90_000  # documents and questions of the cards: no training run uses this seed
KEPT = ("facts", "rolls_1_shot", "translation", "stories", "sums_held_out", "tone")  # the card's curves over steps


@dataclass(frozen=True)
class PretrainingRecipe:
    """How a base model is made. Tokens seen = steps x batch_size x row_length."""

    people: int
    documents: int  # fresh documents written for the corpus; more steps than they fill begin a new epoch
    steps: int
    batch_size: int
    row_length: int
    learning_rate: float
    warmup_steps: int = 200
    schedule: str = "linear"
    weight_decay: float = 0.1
    tokenizer_documents: int = 20_000
    seed: int = 0


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
    mix: dict[str, int] = field(default_factory=dict)  # empty: the world's own mix of tasks


BASE = {
    "smoke": PretrainingRecipe(300, 2_000, 30, 8, 128, 3e-3, warmup_steps=5, tokenizer_documents=2_000),
    "laptop": PretrainingRecipe(300, 280_000, 4_000, 32, 128, 4e-3),
    "gpu": PretrainingRecipe(5_000, 1_000_000, 12_000, 128, 512, 6e-4, warmup_steps=500, schedule="cosine"),
}
INSTRUCT = {
    "smoke": TuningRecipe(300, 200, 10, 16, 1e-3, warmup_steps=2),
    "laptop": TuningRecipe(300, 20_000, 500, 64, 1e-3),
    "gpu": TuningRecipe(5_000, 100_000, 1_500, 64, 1e-4, warmup_steps=100),
}


def world_of(recipe: PretrainingRecipe | TuningRecipe) -> World:
    """The world that a recipe's texts come from. Its seed is always 0: a checkpoint knows this world's people."""
    from course_utils.world import Dials, World

    return World(Dials(people=recipe.people), seed=0)


def pretraining_rows(
    world: World, recipe: PretrainingRecipe, cache: Path | None = None
) -> tuple[Tensor, PreTrainedTokenizerFast]:
    """The packed corpus (rows, row_length) and its tokenizer; kept in ``cache`` so that a resumed bake finds them."""
    from safetensors.torch import load_file, save_file

    from course_utils.text.batching import pack
    from course_utils.text.tokenizer import load_tokenizer, train_tokenizer

    if cache is not None and (cache / "rows.safetensors").is_file():
        return load_file(cache / "rows.safetensors")["rows"].long(), load_tokenizer(cache)
    texts = world.documents(recipe.documents, seed=1 + recipe.seed)["text"]
    profile = settings.profile()
    tokenizer = train_tokenizer(texts[: recipe.tokenizer_documents], profile.vocab_size)
    rows = pack(texts, tokenizer, recipe.row_length)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(cache)
        save_file({"rows": rows.int()}, cache / "rows.partial")
        (cache / "rows.partial").rename(cache / "rows.safetensors")  # whole or not at all
    return rows, tokenizer


def bake_base(workplace: Path) -> Path:
    """Pretrain the base model of the current profile, put it on the shelf with its card; return its folder."""
    from course_utils.evaluation.entropy import entropy_gap
    from course_utils.evaluation.probes import base_report
    from course_utils.models.decoder import Decoder, DecoderConfig
    from course_utils.text.batching import PackedBatches
    from course_utils.training import shelf
    from course_utils.training.loop import TrainConfig, train
    from course_utils.training.objectives import next_token_loss

    profile = settings.profile()
    recipe = BASE[profile.name]
    world = world_of(recipe)
    rows, tokenizer = pretraining_rows(world, recipe, workplace / "base-corpus")
    print(f"corpus: {rows.numel() / 1e6:.1f} M tokens in rows of {recipe.row_length}")
    model = Decoder(DecoderConfig.for_profile(profile), seed=recipe.seed)
    batches = PackedBatches(rows, recipe.batch_size, seed=recipe.seed)
    start = time.perf_counter()
    history = train(
        model,
        batches,
        next_token_loss,
        TrainConfig(
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            warmup_steps=recipe.warmup_steps,
            schedule=recipe.schedule,
            weight_decay=recipe.weight_decay,
            save_every=max(1, recipe.steps // 20),
            evaluate_every=max(1, recipe.steps // 12),
            seed=recipe.seed,
        ),
        evaluate=lambda m: base_report(m, tokenizer, world, EVALUATION_SEED),
        checkpoint_dir=workplace / "base-run",
    )
    fresh = world.corpus(2_000, seed=EVALUATION_SEED)
    gaps = entropy_gap(model, tokenizer, fresh)
    learned = [
        {name: record[name] for name in ("step", *KEPT) if name in record}
        for record in history.records
        if KEPT[0] in record
    ]
    measured = base_report(model, tokenizer, world, EVALUATION_SEED) | {
        "entropy_gap": round(gaps["all"]["gap"], 4),
        "bits_per_document": round(gaps["all"]["bits"], 2),
        "model_bits_per_document": round(gaps["all"]["model_bits"], 2),
    }
    tokens = recipe.steps * recipe.batch_size * recipe.row_length
    return shelf.save(
        "base", model, tokenizer, card("base", recipe, tokens, history, measured, start) | {"learned": learned}
    )


def bake_instruct(workplace: Path) -> Path:
    """Tune the base model into the instruct model of the current profile, put it on the shelf; return its folder."""
    from course_utils.evaluation.instructions import exact_match, instruct_report
    from course_utils.text.batching import ChatBatches
    from course_utils.training import shelf
    from course_utils.training.loop import TrainConfig, train
    from course_utils.training.objectives import next_token_loss
    from course_utils.world.tasks import every_fact

    profile = settings.profile()
    recipe = INSTRUCT[profile.name]
    world = world_of(recipe)
    base = shelf.load("base")
    tasks = world.tasks(recipe.tasks, "taught", seed=1 + recipe.seed, kinds=recipe.mix or None)
    batches = ChatBatches(
        tasks["messages"], base.tokenizer, recipe.batch_size, seed=recipe.seed, max_length=profile.context
    )
    probe = every_fact(world.known[:30])
    start = time.perf_counter()
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
    measured = instruct_report(base.model, base.tokenizer, world, EVALUATION_SEED)
    tokens = sum(int(record["tokens"]) for record in history.records)
    return shelf.save(
        "instruct", base.model, base.tokenizer, card("instruct", recipe, tokens, history, measured, start)
    )


def card(
    name: str,
    recipe: PretrainingRecipe | TuningRecipe,
    tokens: int,
    history: History,
    measured: dict[str, float],
    start: float,
) -> dict:
    """What lies beside a checkpoint: how it was made and what was measured. A test measures it again."""
    loss = [record["loss"] for record in history.records]
    every = max(1, len(loss) // 100)
    return {
        "name": name,
        "profile": settings.profile().name,
        "recipe": asdict(recipe),
        "seed": recipe.seed,
        "tokens": tokens,
        "seconds": round(time.perf_counter() - start, 1),
        "loss": [
            [i + every, round(sum(loss[i : i + every]) / len(loss[i : i + every]), 4)]
            for i in range(0, len(loss) - every + 1, every)
        ],
        "figures": measured,
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
