"""The learner's own functions are what trains and measures: marked functions are planted into the notebooks' code.

The definitions are taken from ``solutions/`` by name: the call that is tested is the call that the notebook makes.
"""

from __future__ import annotations

import ast
import copy
import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from course_utils.alignment import advantages, bradley_terry, kl
from course_utils.alignment import ppo as package_ppo
from course_utils.alignment.direct import DirectObjective, precompute_reference
from course_utils.alignment.direct_losses import METHODS
from course_utils.alignment.ppo import PPOConfig, ppo
from course_utils.alignment.preference_batches import PreferenceBatches
from course_utils.alignment.reward_model import preference_loss
from course_utils.classroom.checks import ch13
from course_utils.models import embeddings
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.heads import RewardModel, ValueModel
from course_utils.serving.engine import Engine, Request, run_all
from course_utils.serving.scheduler import plan_pass
from course_utils.text import batching, chat
from course_utils.text.batching import ChatBatches, PackedBatches, PairBatches
from course_utils.text.tokenizer import train_tokenizer
from course_utils.training import l2_sp, replay
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import next_token_loss
from course_utils.training.two_cores import by_rows

SOLUTIONS = Path(__file__).parents[1] / "solutions"
RUN = SimpleNamespace(
    pick=lambda smoke, **_: smoke, seed=0, device="cpu", profile=SimpleNamespace(context=64, people=300)
)


@cache
def cells(chapter: str) -> list[tuple[str, ast.Module]]:
    """Source and syntax of each code cell of a solution."""
    notebook = json.loads(next(SOLUTIONS.glob(f"{chapter}_*.ipynb")).read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [(source, ast.parse(source)) for source in sources]


def defined(chapter: str, namespace: dict, *names: str) -> dict:
    """``namespace`` with what the notebook's cells bind to ``names``, functions and variables, executed there."""
    missing = set(names)
    for _, tree in cells(chapter):
        for node in tree.body:
            targets = [node.name] if isinstance(node, ast.FunctionDef) else []
            if isinstance(node, ast.Assign):
                targets = [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
            if missing & set(targets):
                missing -= set(targets)
                exec(compile(ast.Module([node], []), f"solutions/{chapter}", "exec"), namespace)
    assert not missing, f"chapter {chapter} defines no {missing}"
    return namespace


class Marked:
    """A learner's function that counts how often it was called."""

    def __init__(self, function) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *given, **named):
        self.calls += 1
        return self.function(*given, **named)


@pytest.fixture(scope="module")
def tokenizer():
    texts = [f"Mira number {n} lives in Amberhaven, and keeps a cat." for n in range(40)]
    return train_tokenizer(texts, 300)


@pytest.fixture(scope="module")
def small(tokenizer):
    config = DecoderConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        max_position_embeddings=64,
    )
    return SimpleNamespace(model=Decoder(config, seed=1))


def rows() -> list[list[dict[str, str]]]:
    return [
        [{"role": "user", "content": f"Who is {n}?"}, {"role": "assistant", "content": f"Mira number {n}."}]
        for n in range(8)
    ]


def test_chapter_06_trains_with_your_batches_and_your_loss(small, tokenizer):
    def answer_loss(logits, labels):
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    own = {
        "encode_chat": Marked(chat.encode_chat),
        "mask_prompt": Marked(batching.mask_prompt),
        "collate": Marked(batching.collate),
        "answer_loss": Marked(answer_loss),
    }
    namespace = {
        "run": RUN, "base": small, "tokenizer": tokenizer, "copy": copy, "train": train, "TrainConfig": TrainConfig,
        "ChatBatches": ChatBatches, "rows": rows(), "on_known": None, "STEPS": 2, "BATCH": 4, "RATE": 1e-3,
        "by_rows": by_rows, **own,
    }  # fmt: skip
    defined("06", namespace, "YOURS", "objective", "tune")
    (loop,) = (
        n for _, tree in cells("06") for n in tree.body if isinstance(n, ast.For) and "masked" in ast.dump(n.target)
    )
    namespace["runs"] = {}
    exec(compile(ast.Module([loop], []), "solutions/06", "exec"), namespace)
    # two runs over 8 conversations, of 2 steps each, in halves; labels are made in the run that masks
    assert {name: f.calls for name, f in own.items()} == {
        "encode_chat": 16, "mask_prompt": 8, "collate": 4, "answer_loss": 8,
    }  # fmt: skip
    for source, _ in cells("06"):  # and in the sweep over the number of conversations
        for line in source.splitlines():
            if "ChatBatches(" in line and "import" not in line and "package =" not in line:
                assert "**YOURS" in line, line


def test_your_batches_are_the_packages(tokenizer):
    """The parameters change who does the work, not what comes out."""
    for masked in (True, False):
        settings = {"batch_size": 3, "seed": 4, "mask_prompt": masked}
        plain = ChatBatches(rows(), tokenizer, **settings)
        own = ChatBatches(
            rows(),
            tokenizer,
            **settings,
            encode=chat.encode_chat,
            labels=batching.mask_prompt,
            collate=batching.collate,
        )
        for step in range(5):
            for name, tensor in plain[step].items():
                assert torch.equal(tensor, own[step][name])


def test_chapter_08_starts_pulls_and_replays_with_your_functions(small, tokenizer):
    own = {
        "mean_of_pieces": Marked(embeddings.mean_of_pieces),
        "distance_penalty": Marked(l2_sp.distance_penalty),
        "replay_plan": Marked(replay.replay_plan),
    }
    packed = PackedBatches(torch.arange(6, 70).view(8, 8) % len(tokenizer), 2)
    namespace = {
        "run": RUN, "base": small, "copy": copy, "pieces": [[6, 7], [8]], "train": train, "TrainConfig": TrainConfig,
        "RATE": 1e-3, "resize_embeddings": embeddings.resize_embeddings, "l2_sp": l2_sp.l2_sp,
        "ChatBatches": ChatBatches, "start_weights": l2_sp.start_weights, "next_token_loss": next_token_loss,
        "notes": packed, "old_rows": packed, "ReplayBatches": replay.ReplayBatches, "domain_tokenizer": tokenizer,
        **own,
    }  # fmt: skip
    defined("08", namespace, "larger", "pulled", "tune", "few_old", "some_old")
    model = namespace["larger"]()
    assert len(model.lm_head.weight) == len(tokenizer) + 2 and own["mean_of_pieces"].calls == 1
    config = TrainConfig(steps=2, learning_rate=1e-3, device="cpu")
    train(model, namespace["some_old"], **namespace["pulled"](0.01), config=config, progress=False)
    assert own["distance_penalty"].calls == 2
    assert own["replay_plan"].calls == 2 + 2, "at the making of both, and at each step"
    namespace["tune"](copy.deepcopy(small.model), [{"messages": row} for row in rows()], 1)
    assert own["distance_penalty"].calls == 3


def test_chapter_11_trains_with_your_loss(small, tokenizer):
    own = Marked(bradley_terry.bradley_terry_loss)
    pairs = [{"prompt": f"Who is {n}?", "chosen": "Mira.", "rejected": "Nobody."} for n in range(8)]
    namespace = {
        "run": RUN, "instruct": small, "tokenizer": tokenizer, "copy": copy, "train": train, "TrainConfig": TrainConfig,
        "RewardModel": RewardModel, "PairBatches": PairBatches, "preference_loss": preference_loss, "partial": partial,
        "SHORT": 3, "RATE": 1e-3, "bradley_terry_loss": own,
    }  # fmt: skip
    defined("11", namespace, "train_reward")["train_reward"](pairs, batch_size=4)
    assert own.calls == 3 * 2, "three steps, each in halves"


def test_chapter_12_trains_with_your_parts(small, tokenizer):
    own = {
        "kl_rewards": Marked(kl.kl_rewards),
        "gae": Marked(advantages.gae),
        "policy_loss": Marked(package_ppo.policy_loss),
        "kl_k3": Marked(kl.k3),
    }
    namespace = {
        "run": RUN, "instruct": small, "reward": SimpleNamespace(model=RewardModel(copy.deepcopy(small.model))),
        "tokenizer": tokenizer, "copy": copy, "ppo": ppo, "PPOConfig": PPOConfig, "ValueModel": ValueModel,
        "prompts": [[1, 6 + n, 7] for n in range(8)], "oracle_scores": lambda model: [0.0],
        "stopping": {"stop_ids": (1,), "pad_id": 0}, "SELDOM": 1, **own,
    }  # fmt: skip
    defined("12", namespace, "align", "minus_forgotten")
    namespace["align"](2)
    assert {name: f.calls for name, f in own.items()} == {"kl_rewards": 2, "gae": 2, "policy_loss": 8, "kl_k3": 8}
    namespace["align"](1, loss=namespace["minus_forgotten"])
    assert own["policy_loss"].calls == 12, "the sign error turns your own loss round"
    for source, _ in cells("12"):
        assert "unittest" not in source


def test_chapter_13_trains_with_your_losses(small, tokenizer):
    own = {"dpo_loss": Marked(ch13.dpo_loss), "simpo_loss": Marked(ch13.simpo_loss)}
    pairs = [{"prompt": f"Who is {n}?", "chosen": f"Mira, {n}.", "rejected": "Nobody."} for n in range(8)]
    namespace = {
        "run": RUN, "instruct": small, "tokenizer": tokenizer, "copy": copy, "train": train, "TrainConfig": TrainConfig,
        "PreferenceBatches": PreferenceBatches, "precompute_reference": precompute_reference, "replace": replace,
        "DirectObjective": DirectObjective, "METHODS": METHODS, "Tensor": torch.Tensor, "BATCH": 4, "SHORT": 3,
        "RATE": 1e-3, "OWN": {}, **own,
    }  # fmt: skip
    defined("13", namespace, "with_reference", "align", "own_dpo", "own_simpo")
    namespace["OWN"] |= {"dpo": namespace["own_dpo"], "simpo": namespace["own_simpo"]}
    batches = namespace["with_reference"](pairs)
    namespace["align"](batches)
    namespace["align"](batches, "simpo", gamma=0.5)
    for name, function in own.items():  # once a step, or once for each half of its batch
        assert function.calls in (3, 6), f"{name}: {function.calls} calls in 3 steps"


def test_the_engine_of_chapter_19_asks_the_learners_scheduler(small):
    plan = Marked(plan_pass)
    namespace = defined("19", {"Engine": Engine, "model": small.model, "plan_pass": plan}, "mine")
    answers = run_all(namespace["mine"](), [Request([7, 8, 9], 3), Request([7], 2)])
    assert [len(answer) for answer in answers] == [3, 2]
    assert plan.calls == 3


@cache
def names(chapter: str) -> list[tuple[set[str], set[str], set[str]]]:
    """Of each code cell of a solution the names that it uses, those that it binds or deletes, and those it imports."""
    found = []
    for _, tree in cells(chapter):
        nodes = list(ast.walk(tree))
        used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        bound = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        imported = {a.asname or a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
        found.append((used, bound, imported))
    return found


def exercises() -> list[tuple[str, str, int]]:
    """(id, the name that is defined, the number of its cell) of every exercise."""
    found = []
    for path in sorted(SOLUTIONS.glob("*.ipynb")):
        for number, (_, tree) in enumerate(cells(path.name[:2])):
            for node in tree.body:
                for mark in getattr(node, "decorator_list", ()):
                    if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "exercise":
                        found.append((mark.args[0].value, node.name, number))
    return found


@pytest.mark.parametrize(("id", "name", "number"), [pytest.param(*e, id=e[0]) for e in exercises()])
def test_every_answer_is_used_by_a_later_cell(id, name, number):
    later = names(id[:2])[number + 1 :]
    assert any(name in used for used, _, _ in later), f"nothing after the cell of {id} uses {name}"
    assert not any(name in bound for _, bound, _ in later), f"a later cell binds {name} anew: the answer would be lost"
    assert not any(name in imported for *_, imported in later), f"a later cell imports {name}: the answer would be lost"
