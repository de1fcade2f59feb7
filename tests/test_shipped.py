"""The shipped models are what their cards say: every figure is measured again from the weights."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

import course_utils
from course_utils import recipes
from course_utils.evaluation.entropy import entropy_gap
from course_utils.evaluation.instructions import instruct_report
from course_utils.evaluation.probes import base_report
from course_utils.pretrained import store
from course_utils.recipes.align import ppo_report, reward_report, sums_report
from course_utils.world.people import VALUES

pytestmark = pytest.mark.slow

SHIPPED = Path(course_utils.__file__).parent / "pretrained" / "weights"
NEAR = 0.01  # another processor may round a near-tie the other way; a wrong card is off by more


@pytest.fixture(scope="module")
def world():
    return recipes.world_of(recipes.RECIPES["base"]["laptop"])


def remeasured(name: str, measure) -> None:
    loaded = store.load(name)
    assert loaded.source.startswith("the course's"), loaded.source
    figures = loaded.card["figures"]
    again = measure(loaded)
    assert set(again) <= set(figures) and len(again) >= 6
    off = {key: (figures[key], value) for key, value in again.items() if abs(figures[key] - value) > NEAR}
    assert not off, f"the card of {name} says one thing, the weights another (card, measured): {off}"


def test_the_base_card_tells_the_truth(world):
    remeasured("base", lambda m: base_report(m.model, m.tokenizer, world, recipes.EVALUATION_SEED))


def test_the_base_is_near_the_entropy_floor(world):
    loaded = store.load("base")
    gaps = entropy_gap(loaded.model, loaded.tokenizer, world.corpus(2_000, seed=recipes.EVALUATION_SEED))
    assert gaps["all"]["gap"] == pytest.approx(loaded.card["figures"]["entropy_gap"], abs=0.002)
    # Bits are exact, so a model that undercut the floor on everything would have seen the documents before.
    assert 0 < gaps["all"]["gap"] < 0.15


def test_the_instruct_card_tells_the_truth(world):
    remeasured("instruct", lambda m: instruct_report(m.model, m.tokenizer, world, recipes.EVALUATION_SEED))


def test_the_adapter_card_tells_the_truth(world):
    remeasured("lora", lambda m: instruct_report(m.model, m.tokenizer, world, recipes.EVALUATION_SEED))


def test_the_reward_card_tells_the_truth(world):
    remeasured("reward", lambda m: reward_report(m.model, m.tokenizer, world, recipes.EVALUATION_SEED))


def test_the_ppo_card_tells_the_truth(world):
    remeasured("ppo", lambda m: ppo_report(m.model, m.tokenizer, world, recipes.EVALUATION_SEED))


def test_the_dpo_card_tells_the_truth(world):
    remeasured("dpo", lambda m: ppo_report(m.model, m.tokenizer, world, recipes.EVALUATION_SEED))


def test_the_grpo_card_tells_the_truth():
    remeasured("grpo", lambda m: sums_report(m.model, m.tokenizer, recipes.EVALUATION_SEED))


def test_rewards_have_taught_sums_of_three():
    figures = store.load("grpo").card["figures"]
    assert figures["three_greedy"] >= max(0.6, figures["start_three_greedy"] + 0.3)
    assert figures["three_sampled"] >= 0.5 and figures["working_sampled"] >= 0.9


def test_the_chain_is_in_order(world):
    """What chapters 11 to 15 build on: the reward model knows manners, PPO and DPO please the oracle more than
    instruct."""
    reward, *policies = (store.load(name).card["figures"] for name in ("reward", "ppo", "dpo"))
    assert reward["all"] >= 0.85 and reward["manner"] >= 0.95
    for policy in policies:
        assert policy["oracle_greedy"] > policy["instruct_oracle_greedy"] + 0.1
        assert policy["oracle_sampled"] > policy["instruct_oracle_sampled"] + 0.1


def below(name: str, floors: dict[str, float]) -> dict[str, float]:
    figures = store.load(name).card["figures"]
    return {key: figures[key] for key, floor in floors.items() if figures[key] < floor}


def test_the_models_hold_what_later_chapters_build_on():
    base = {"facts": 0.99, "facts_held_out_phrasing": 0.9, "registers": 0.95, "stories": 0.95, "visits": 0.4}
    base |= dict.fromkeys(("rolls_1_shot", "rolls_3_shots", "translation", "sums", "sums_held_out", "tone"), 0.98)
    assert below("base", base) == {}
    figures = store.load("base").card["figures"]
    assert figures["entropy_gap"] <= 0.05 and figures["rolls_0_shots"] <= 0.1
    chance = sum(1 / len(values) for values in VALUES.values()) / len(VALUES)
    assert figures["facts_of_strangers"] < chance + 0.08, "strangers' facts are known: they leaked into the corpus"
    instruct = {"known_sentence": 0.95, "known_word": 0.9, "known_json": 0.55, "context": 0.95, "where": 0.97}
    instruct |= dict.fromkeys(("add", "translate", "summarise", "tone", "decline", "format_kept"), 0.98)
    assert below("instruct", instruct) == {}


def test_cards_say_how_each_model_was_made():
    for name in recipes.BAKES:
        card = json.loads((SHIPPED / name / "card.json").read_text())
        recipe = asdict(recipes.RECIPES[name]["laptop"])
        assert card["recipe"] == json.loads(json.dumps(recipe)), f"{name}: baked by another recipe"
        curve = card[card.get("curve", "loss")]
        falls = curve[0][1] > curve[-1][1]
        assert card["tokens"] > 0 and falls != (name in ("ppo", "grpo"))  # their curve is the reward, which rises
        by_reward = name in ("ppo", "grpo")
        assert ("loss" in card, "reward" in card) == (not by_reward, by_reward), "a curve stands under its name"


def test_shipped_files_are_safe_and_small():
    for path in SHIPPED.rglob("*"):
        if path.is_file():
            assert path.suffix in {".safetensors", ".json", ".jinja", ".md"}, f"{path.name}: not a safe format"
            assert path.stat().st_size < 3_000_000
