"""The base model: pretrained in stages on the documents of the Isles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils import files, settings
from course_utils.recipes.card import card
from course_utils.recipes.configs import BASE, EVALUATION_SEED, PretrainingRecipe, world_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerFast

    from course_utils.world import World

# The card's curves over steps.
KEPT = ("facts", "rolls_1_shot", "registers", "translation", "stories", "visits", "sums_held_out", "tone")


def pretraining_rows(
    world: World, recipe: PretrainingRecipe, cache: Path | None = None
) -> tuple[list[Tensor], PreTrainedTokenizerFast]:
    """The packed corpus of each stage (rows, row_length) and the tokenizer; a resumed bake finds them in ``cache``."""
    from safetensors.torch import load_file, save_file

    from course_utils.text.packing import pack
    from course_utils.text.tokenizer import load_tokenizer, train_tokenizer

    if cache is not None and (cache / "rows.safetensors").is_file():
        kept = load_file(cache / "rows.safetensors")
        return [kept[f"stage{i}"].long() for i in range(len(recipe.stages))], load_tokenizer(cache)
    rows: list[Tensor] = []
    tokenizer: Any = None  # trained on the texts of the first stage
    for i, stage in enumerate(recipe.stages):
        texts = world.documents(stage.documents, seed=1 + recipe.seed + 100 * i, mix=stage.mix)["text"]
        if tokenizer is None:
            tokenizer = train_tokenizer(texts[: recipe.tokenizer_documents], settings.profile().vocab_size)
        rows.append(pack(texts, tokenizer, stage.row_length))
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(cache)
        with files.atomic_file(cache / "rows.safetensors") as fresh:
            save_file({f"stage{i}": stage.int() for i, stage in enumerate(rows)}, fresh)
    return rows, tokenizer


def bake_base(workplace: Path) -> Path:
    """Pretrain the base model of the current profile, put it into the store with its card; return its folder."""
    from course_utils.evaluation.probes import base_report
    from course_utils.models.decoder import Decoder, DecoderConfig
    from course_utils.pretrained import store
    from course_utils.text.batching import PackedBatches
    from course_utils.training.loop import History, train
    from course_utils.training.objectives import next_token_loss

    profile = settings.profile()
    recipe = BASE[profile.name]
    world = world_of(recipe)
    corpora, tokenizer = pretraining_rows(world, recipe, workplace / "base-corpus")
    model = Decoder(DecoderConfig.for_profile(profile), seed=recipe.seed)
    whole = History()
    for i, (stage, rows) in enumerate(zip(recipe.stages, corpora, strict=True)):
        print(f"stage {i + 1}: {rows.numel() / 1e6:.1f} M tokens in rows of {stage.row_length}")
        history = train(
            model,
            PackedBatches(rows, stage.batch_size, seed=recipe.seed),
            next_token_loss,
            stage.training(
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
    figures = base_figures(model.half().float(), tokenizer, world)  # what the store keeps: half precision
    return store.save("base", model, tokenizer, card(recipe, recipe.tokens, whole, figures) | {"learned": learned})


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
