"""Recipes: their settings, a PPO bake that is killed, and models that a chapter keeps."""

from __future__ import annotations

import json

import pytest
import torch

from course_utils import recipes
from course_utils.alignment import resuming
from course_utils.alignment.grpo import GRPOConfig
from course_utils.alignment.policy_gradient import METHODS
from course_utils.alignment.ppo import PPOConfig
from course_utils.classroom.session import start
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.pretrained import store
from course_utils.recipes import align, keep
from course_utils.recipes.card import card_fields
from course_utils.text.tokenizer import train_tokenizer
from course_utils.training.config import TrainConfig
from course_utils.training.history import History


def test_a_recipe_makes_its_own_settings():
    reward = recipes.RECIPES["reward"]["laptop"]
    assert reward.training(save_every=40) == TrainConfig(
        steps=200, learning_rate=1e-3, warmup_steps=20, weight_decay=0.0, save_every=40, seed=0
    )
    stage = recipes.RECIPES["base"]["gpu"].stages[0]
    assert stage.training(weight_decay=0.1, seed=3) == TrainConfig(
        steps=12_000, learning_rate=6e-4, warmup_steps=500, schedule="cosine", weight_decay=0.1, seed=3
    )
    assert recipes.RECIPES["ppo"]["gpu"].training() == PPOConfig(
        iterations=100, prompts=256, kl_coef=0.05, learning_rate=1e-5, value_learning_rate=3e-5, max_new_tokens=24
    )


def test_the_grpo_recipe_is_chapter_14s():
    recipe = recipes.RECIPES["grpo"]["laptop"]
    assert recipe.training() == GRPOConfig(
        iterations=12, prompts=16, group=8, max_new_tokens=26, learning_rate=2e-4, method=METHODS["dr_grpo"], seed=0
    )
    assert recipe.tuning(40, 2e-4, save_every=13) == TrainConfig(
        steps=40, learning_rate=2e-4, warmup_steps=4, weight_decay=0.0, save_every=13, seed=0
    )


@pytest.mark.slow
def test_a_grpo_bake_runs_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    monkeypatch.setattr(align, "sums_report", lambda *_: {"three_greedy": 0.5})
    first, second = (align.bake_grpo(tmp_path / "work") for _ in range(2))  # the second finds all stages done
    card = json.loads((second / "card.json").read_text())
    assert first == second and card["figures"] == {"three_greedy": 0.5, "start_three_greedy": 0.5}
    assert card["curve"] == "reward" and len(card["reward"]) == 2 and card["tokens"] > 0


class Killed(RuntimeError):
    pass


@pytest.mark.slow
def test_a_killed_ppo_bake_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.setattr(align, "ppo_report", lambda *_: {"oracle_greedy": 0.5})
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "whole"))
    whole = align.bake_ppo(tmp_path / "work-whole")

    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "torn"))
    save = resuming.RunCheckpoints.save

    def save_and_die(self, records, extra):
        save(self, records, extra)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(resuming.RunCheckpoints, "save", save_and_die)
        with pytest.raises(Killed):
            align.bake_ppo(tmp_path / "work-torn")
    torn = align.bake_ppo(tmp_path / "work-torn")
    assert (whole / "model.safetensors").read_bytes() == (torn / "model.safetensors").read_bytes()
    cards = [json.loads((folder / "card.json").read_text()) for folder in (whole, torn)]
    assert cards[0]["reward"] == cards[1]["reward"] and len(cards[0]["reward"]) == 2
    assert cards[0]["curve"] == "reward" and "loss" not in cards[0]
    assert cards[0]["figures"] == cards[1]["figures"] and cards[0]["tokens"] == cards[1]["tokens"]


@pytest.mark.slow
def test_a_dpo_bake_learns_from_its_own_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    monkeypatch.setattr(align, "ppo_report", lambda *_: {"oracle_greedy": 0.5})
    folder = align.bake_dpo(tmp_path / "work")
    card = json.loads((folder / "card.json").read_text())
    recipe = recipes.RECIPES["dpo"]["smoke"]
    assert len(card["loss"]) == recipe.steps and 1 <= card["figures"]["pairs"] <= recipe.questions
    assert card["figures"]["oracle_greedy"] == card["figures"]["instruct_oracle_greedy"] == 0.5
    before, after = store.load("instruct"), store.load("dpo")
    assert after.source.startswith("your own 'dpo'")
    moved = [not torch.equal(a, b) for a, b in zip(before.model.parameters(), after.model.parameters(), strict=True)]
    assert any(moved)


def test_the_curve_of_a_card_stands_under_its_name():
    history = History([{"loss": 9.0 - i, "reward": float(i), "seconds": i / 2} for i in range(4)])
    assert card_fields(7, history, "loss") == {
        "tokens": 7, "seconds": 1.5, "loss": [[1, 9.0], [2, 8.0], [3, 7.0], [4, 6.0]],
    }  # fmt: skip
    of_reward = card_fields(7, history, "reward")
    assert of_reward["curve"] == "reward" and of_reward["reward"][-1] == [4, 3.0] and "loss" not in of_reward


@pytest.mark.parametrize(
    ("asked", "switch", "person", "grader", "kept"),
    [
        (None, True, True, None, True),
        (None, False, True, None, False),
        (None, True, False, None, False),
        (None, True, True, "autograde", False),
        ("1", False, False, None, True),
        ("0", True, True, None, False),
    ],
)
def test_nothing_is_kept_unasked(monkeypatch, asked, switch, person, grader, kept):
    for name, value in (("COURSE_KEEP", asked), ("NBGRADER_EXECUTION", grader)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert keep.wanted(switch, person) == kept


def test_a_chapter_keeps_its_model_and_says_how_to_go_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    monkeypatch.delenv("COURSE_KEEP", raising=False)
    tokenizer = train_tokenizer([f"Mira number {n} lives in Amberhaven." for n in range(40)], 300)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    model = Decoder(DecoderConfig(vocab_size=len(tokenizer), **sizes), seed=1)
    history = History([{"step": 1, "loss": 5.0, "tokens": 64, "seconds": 0.1}])
    run = start("06")
    run.keep("instruct", model, tokenizer, history, {"known": 0.5}, switch=True)
    assert "Not kept" in capsys.readouterr().out and "yours" not in store.names().values()
    monkeypatch.setenv("COURSE_KEEP", "1")
    run.keep("instruct", model, tokenizer, history, {"known": 0.5}, switch=False, batch_size=4)
    said = " ".join(capsys.readouterr().out.split())
    folder = next(tmp_path.rglob("card.json")).parent
    assert "every chapter uses your own 'instruct'" in said and str(folder) in said.replace(" ", "")
    loaded = run.load("instruct")
    assert loaded.source.startswith("your own 'instruct'")
    recipe = {"chapter": "06", "steps": 1, "people": run.profile.people, "seed": run.seed, "batch_size": 4}
    assert loaded.card["recipe"] == recipe and loaded.card["figures"] == {"known": 0.5}
    weights = loaded.model.model.embed_tokens.weight
    torch.testing.assert_close(weights.float().cpu(), model.model.embed_tokens.weight.half().float())
