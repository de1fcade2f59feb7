"""The reward model, the instruct model aligned with it by PPO and by DPO, and one that learned sums by GRPO."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils import settings
from course_utils.recipes.card import card
from course_utils.recipes.configs import DPO, EVALUATION_SEED, GRPO, PPO, REWARD, world_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerFast

    from course_utils.world import World


def bake_reward(workplace: Path) -> Path:
    """Train the reward model of the current profile on noisy comparisons, put it into the store; return its folder."""
    from course_utils.alignment.reward_model import preference_loss
    from course_utils.models.heads import RewardModel
    from course_utils.pretrained import store
    from course_utils.text.batching import PairBatches
    from course_utils.training.loop import train
    from course_utils.world.annotators import Annotator
    from course_utils.world.preferences import comparisons

    profile = settings.profile()
    recipe = REWARD[profile.name]
    world = world_of(recipe)
    instruct = store.load("instruct")
    rater = Annotator(noise=recipe.noise, seed=recipe.seed)
    pairs = comparisons(world, recipe.comparisons, "taught", rater, recipe.seed)
    model = RewardModel(instruct.model, recipe.seed)
    history = train(
        model,
        PairBatches(pairs, instruct.tokenizer, recipe.batch_size, recipe.seed, profile.context),
        preference_loss,
        recipe.training(save_every=max(1, recipe.steps // 5)),
        checkpoint_dir=workplace / "reward-run",
    )
    measured = reward_report(model.half().float(), instruct.tokenizer, world, EVALUATION_SEED)
    tokens = sum(len(ids) for ids in PairBatches(pairs, instruct.tokenizer, recipe.batch_size).ids)
    return store.save("reward", model, instruct.tokenizer, card(recipe, tokens, history, measured))


def reward_report(model: nn.Module, tokenizer: PreTrainedTokenizerFast, world: World, seed: int) -> dict[str, float]:
    """What a reward model's card states: its accuracy on clean comparisons about known people, all and by kind.

    ``manner``: both answers to a question are equally true, and differ in manner. ``truth``: one is true, one is not.
    """
    from course_utils.alignment.reward_model import pair_accuracy
    from course_utils.world.preferences import comparisons

    pairs = comparisons(world, 1_500, "known", seed=seed)
    facts = [pair for pair in pairs if pair["kind"] == "fact"]
    groups = {
        "all": pairs,
        "manner": [p for p in facts if p["margin"] < 1],
        "truth": [p for p in facts if p["margin"] >= 1],
    }
    groups |= {kind: [pair for pair in pairs if pair["kind"] == kind] for kind in ("fact", "decline", "unknown")}
    return {name: round(pair_accuracy(model, group, tokenizer), 4) for name, group in groups.items()}


def bake_ppo(workplace: Path) -> Path:
    """Align the instruct model of the current profile by PPO, put it into the store; return its folder."""
    from course_utils.alignment.ppo import ppo
    from course_utils.models.heads import ValueModel
    from course_utils.pretrained import store
    from course_utils.text.chat import chat_prompt, stop_ids
    from course_utils.world.tasks import fact_questions

    recipe = PPO[settings.profile().name]
    world = world_of(recipe)
    instruct, reward = store.load("instruct"), store.load("reward")
    policy = copy.deepcopy(instruct.model)
    value = ValueModel(copy.deepcopy(instruct.model))
    value.model.load_state_dict(reward.model.get_submodule("model").state_dict())
    prompts = [
        chat_prompt(instruct.tokenizer, task["prompt"]) for task in fact_questions(world.taught, seed=recipe.seed)
    ]
    history = ppo(
        policy,
        instruct.model,
        reward.model,
        value,
        prompts,
        recipe.training(),
        stop_ids=stop_ids(instruct.tokenizer, policy),
        checkpoint_dir=workplace / "ppo-run",
    )
    measured = ppo_report(policy.half().float(), instruct.tokenizer, world, EVALUATION_SEED)
    measured |= {
        f"instruct_{name}": v
        for name, v in ppo_report(instruct.model, instruct.tokenizer, world, EVALUATION_SEED).items()
    }
    measured |= {"reward": round(history.column("reward")[-1], 4), "kl": round(history.column("kl")[-1], 4)}
    tokens = int(history.column("tokens")[-1])
    return store.save("ppo", policy, instruct.tokenizer, card(recipe, tokens, history, measured, curve="reward"))


def bake_dpo(workplace: Path) -> Path:
    """Align the instruct model of the current profile by DPO, put it into the store; return its folder."""
    from dataclasses import replace

    from course_utils.alignment.best_of_n import sample_completions
    from course_utils.alignment.direct import DirectObjective, precompute_reference
    from course_utils.alignment.direct_losses import METHODS
    from course_utils.alignment.preference_batches import PreferenceBatches
    from course_utils.pretrained import store
    from course_utils.training.loop import train
    from course_utils.world.draw import Draw
    from course_utils.world.tasks import fact_questions

    profile = settings.profile()
    recipe = DPO[profile.name]
    world = world_of(recipe)
    instruct, reward = store.load("instruct"), store.load("reward")
    tasks = fact_questions(world.taught, seed=recipe.seed)
    tasks = Draw("dpo", recipe.seed).sample(tasks, min(recipe.questions, len(tasks)))
    drawn = tasks, recipe.answers, recipe.max_new_tokens, recipe.seed
    answers, scores = sample_completions(instruct.model, reward.model, instruct.tokenizer, *drawn)
    pairs = []
    for task, texts, marks in zip(tasks, answers, scores.tolist(), strict=True):
        best, worst = (texts[marks.index(end(marks))] for end in (max, min))
        if best != worst and max(marks) > min(marks):
            pairs.append({"prompt": task["prompt"], "chosen": best, "rejected": worst})
    batches = PreferenceBatches(pairs, instruct.tokenizer, recipe.batch_size, recipe.seed, profile.context)
    policy = copy.deepcopy(instruct.model)
    history = train(
        policy,
        precompute_reference(instruct.model, batches),
        DirectObjective(replace(METHODS["dpo"], beta=recipe.beta)),
        recipe.training(save_every=max(1, recipe.steps // 5)),
        checkpoint_dir=workplace / "dpo-run",
    )
    measured = ppo_report(policy.half().float(), instruct.tokenizer, world, EVALUATION_SEED)
    measured |= {
        f"instruct_{name}": v
        for name, v in ppo_report(instruct.model, instruct.tokenizer, world, EVALUATION_SEED).items()
    }
    measured |= {"pairs": len(pairs), "margin": round(history.column("rewards/margins")[-1], 4)}
    read = sum(map(len, batches.ids)) / len(pairs)  # tokens of a pair, both sides, on average
    tokens = round(recipe.steps * recipe.batch_size * read)
    return store.save("dpo", policy, instruct.tokenizer, card(recipe, tokens, history, measured))


def ppo_report(model: nn.Module, tokenizer: PreTrainedTokenizerFast, world: World, seed: int) -> dict[str, float]:
    """The oracle's mean score of a policy's answers about known people, greedy and sampled at temperature 1."""
    from course_utils.evaluation.instructions import verdicts
    from course_utils.world.tasks import fact_questions

    tasks = fact_questions(world.known, seed=seed)
    found = {}
    for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        results = verdicts(model, tokenizer, tasks, temperature=temperature, seed=seed)
        found[f"oracle_{name}"] = round(sum(v.score for v in results) / len(results), 4)
        found[f"polite_{name}"] = round(sum(v.polite for v in results) / len(results), 4)
        found[f"correct_{name}"] = round(sum(v.correct for v in results) / len(results), 4)
    return found


def bake_grpo(workplace: Path) -> Path:
    """Teach the instruct model of the current profile sums of three numbers: tuning, then rewards for right results.
    Put it into the store; return its folder."""
    from course_utils.alignment.grpo import grpo
    from course_utils.alignment.verifiable import VerifiableReward, sum_reward
    from course_utils.pretrained import store
    from course_utils.text.batching import ChatBatches
    from course_utils.text.chat import chat_prompt, stop_ids
    from course_utils.training.loop import train
    from course_utils.training.objectives import next_token_loss
    from course_utils.world.worked_sums import worked_sums

    recipe = GRPO[settings.profile().name]
    instruct = store.load("instruct")
    policy, tokenizer = instruct.model, instruct.tokenizer
    worked = worked_sums(recipe.sums, 3, recipe.seed)
    bare = worked_sums(recipe.sums, 3, recipe.seed, working=False)
    shown = worked + worked_sums(recipe.sums // 4, 2, recipe.seed)
    careless = [w if i % 10 < 3 else b for i, (w, b) in enumerate(zip(worked, bare, strict=True))]
    for name, tasks, steps, rate in (
        ("able", shown, recipe.steps, recipe.tuning_rate),
        ("careless", careless, recipe.careless_steps, recipe.careless_rate),
    ):
        rows = [task["messages"] for task in tasks]
        batches = ChatBatches(rows, tokenizer, recipe.batch_size, seed=recipe.seed)
        how = recipe.tuning(steps, rate, save_every=max(1, steps // 3))
        train(policy, batches, next_token_loss, how, checkpoint_dir=workplace / f"grpo-{name}-run")
    start = sums_report(policy, tokenizer, EVALUATION_SEED)
    asked = worked_sums(recipe.asked, 3, recipe.seed + 1, avoid=shown)
    history = grpo(
        policy,
        None,
        VerifiableReward(sum_reward, asked, tokenizer),
        [chat_prompt(tokenizer, task["prompt"]) for task in asked],
        recipe.training(),
        stop_ids=stop_ids(tokenizer, policy),
        checkpoint_dir=workplace / "grpo-run",
    )
    measured = sums_report(policy.half().float(), tokenizer, EVALUATION_SEED)
    measured |= {f"start_{name}": figure for name, figure in start.items()}
    tokens = int(history.column("tokens")[-1])
    return store.save("grpo", policy, tokenizer, card(recipe, tokens, history, measured, curve="reward"))


def sums_report(model: nn.Module, tokenizer: PreTrainedTokenizerFast, seed: int) -> dict[str, float]:
    """The share of sums of two, three and four numbers whose result is right, and of answers to three numbers that
    show their working; greedy, and sampled at temperature 1."""
    from course_utils.alignment.verifiable import sum_reward, worked_steps
    from course_utils.evaluation.instructions import answers
    from course_utils.world.worked_sums import worked_sums

    found = {}
    for terms, name in ((2, "two"), (3, "three"), (4, "four")):
        tasks = worked_sums(400, terms, seed)
        for manner, temperature in (("greedy", 0.0), ("sampled", 1.0)):
            texts = answers(model, tokenizer, tasks, 12 * terms - 8, temperature=temperature, seed=seed)
            right = sum(sum_reward(text, task["value"]) for text, task in zip(texts, tasks, strict=True))
            found[f"{name}_{manner}"] = round(right / len(tasks), 4)
            if terms == 3:
                found[f"working_{manner}"] = round(sum(len(worked_steps(text)) > 1 for text in texts) / len(texts), 4)
    return found
