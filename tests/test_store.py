"""The store of models: whose model is it, does it belong together, and what if it is not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.heads import RewardModel
from course_utils.models.lora import LoRAConfig, add_lora, lora_layers
from course_utils.pretrained import store
from course_utils.pretrained.store import StoreError
from course_utils.text.tokenizer import train_tokenizer

CARD = {"recipe": "pretraining", "seed": 0, "tokens": 1000, "loss": [[1, 6.9], [2, 6.5]], "figures": {"recall": 0.5}}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["The lamp of Brine is amber. Ada keeps a heron."] * 20, vocab_size=300)


def model_for(tokenizer, seed: int = 0, rows: int | None = None) -> Decoder:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Decoder(DecoderConfig(vocab_size=rows or len(tokenizer), num_key_value_heads=1, **sizes), seed=seed)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """An empty home, and a package without models."""
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    for name in ("COURSE_PROFILE", "COURSE_BASE_MODEL", "COURSE_ONLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "package")
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def no_network(monkeypatch) -> Iterator[list[object]]:
    """Every attempt to connect fails at once, is counted, and must be accounted for by the test."""
    attempts: list[object] = []

    def refuse(*arguments, **_):
        attempts.append(arguments)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield attempts
    assert attempts == [], "a connection was tried"


def test_what_is_saved_is_loaded(tokenizer, home):
    model = model_for(tokenizer)
    folder = store.save("base", model, tokenizer, CARD)
    assert folder == home / "checkpoints" / "laptop" / "base"
    loaded = store.load("base")
    assert loaded.source.startswith("your own 'base' (laptop profile, made 20")
    assert not loaded.model.training
    for (name, a), (_, b) in zip(model.named_parameters(), loaded.model.named_parameters(), strict=True):
        assert torch.equal(a.half().float(), b), name
    text = "Ada keeps a heron."
    assert loaded.tokenizer(text).input_ids == tokenizer(text).input_ids
    assert loaded.tokenizer.chat_template == tokenizer.chat_template
    assert loaded.card["figures"] == {"recall": 0.5}
    assert loaded.card["parameters"] == sum(p.numel() for p in model.parameters())
    assert {"recipe", "seed", "tokens", "loss", "profile", "made"} <= loaded.card.keys()
    assert not [p.name for p in folder.parent.iterdir() if p.name.startswith(".")]


def test_transformers_reads_the_folder_too(tokenizer):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = store.save("base", model_for(tokenizer), tokenizer, CARD)
    ids = torch.tensor([tokenizer("The lamp of Brine").input_ids])
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.testing.assert_close(theirs(ids).logits, store.load("base").model(ids).logits, rtol=0, atol=1e-5)
    assert AutoTokenizer.from_pretrained(folder)("The lamp").input_ids == tokenizer("The lamp").input_ids


def test_the_learners_model_goes_before_the_courses(tokenizer, tmp_path):
    store.save("base", model_for(tokenizer, seed=1), tokenizer, CARD, root=tmp_path / "package")
    assert store.load("base").source.startswith("the course's 'base'")
    assert store.names() == {"base": "the course's"}
    mine = model_for(tokenizer, seed=2)
    store.save("base", mine, tokenizer, CARD)
    assert store.names() == {"base": "yours"}
    loaded = store.load("base")
    assert loaded.source.startswith("your own")
    assert torch.equal(next(loaded.model.parameters()), next(mine.parameters()).half().float())
    assert store.load("base", root=tmp_path / "package").source.startswith("the model in")


def test_each_profile_keeps_its_own_models(tokenizer, monkeypatch):
    store.save("base", model_for(tokenizer), tokenizer, CARD)
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    with pytest.raises(StoreError, match=r"(?s)no usable model called 'base'.*smoke"):
        store.load("base")


def test_saving_again_replaces(tokenizer):
    store.save("base", model_for(tokenizer, seed=1), tokenizer, CARD)
    store.save("base", model_for(tokenizer, seed=2), tokenizer, {**CARD, "seed": 2})
    assert store.load("base").card["seed"] == 2


def test_a_model_that_is_not_there(home):
    with pytest.raises(
        StoreError, match=r"(?s)'instruct'.*laptop.instruct: not there.*package.*06 for 'instruct'.*make bake"
    ):
        store.load("instruct")
    with pytest.raises(StoreError, match="expected letters"):
        store.load("../base")


def spoil_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def spoil_card(folder: Path) -> None:
    (folder / "card.json").write_text('{"recipe": ')


def other_tokenizer(folder: Path) -> None:
    train_tokenizer(["Other words, as many tokens."] * 20, vocab_size=300).save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (spoil_weights, "truncated or altered"),
        (spoil_card, "cannot be used"),
        (other_tokenizer, "another vocabulary"),
        (lambda folder: (folder / "model.safetensors").unlink(), "No such file"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
    ],
)
def test_a_damaged_model_is_named_and_the_courses_is_used(tokenizer, tmp_path, spoil: Callable, why):
    folder = store.save("base", model_for(tokenizer, seed=1), tokenizer, CARD)
    spoil(folder)
    with pytest.warns(UserWarning, match=why), pytest.raises(StoreError, match=r"no usable model called 'base'"):
        store.load("base")
    store.save("base", model_for(tokenizer, seed=2), tokenizer, CARD, root=tmp_path / "package")
    with pytest.warns(UserWarning, match=why):
        assert store.load("base").source.startswith("the course's")


def test_a_tokenizer_that_does_not_fit_is_refused(tokenizer):
    with pytest.raises(StoreError, match=r"embedding of 280 rows, but its tokenizer has \d+ tokens"):
        store.save("base", model_for(tokenizer, rows=280), tokenizer, CARD)
    assert store.names() == {}


def test_an_incomplete_card_is_refused(tokenizer):
    with pytest.raises(StoreError, match="card of 'base' has no tokens, figures"):
        store.save("base", model_for(tokenizer), tokenizer, {"recipe": "", "seed": 0, "loss": []})


@pytest.mark.parametrize("at", ["fsync", "rename"])
def test_a_full_disk_leaves_the_old_model(tokenizer, monkeypatch, at):
    folder = store.save("base", model_for(tokenizer, seed=1), tokenizer, CARD)
    before = (folder / "model.safetensors").read_bytes()
    real, calls = getattr(os, at), 0

    def full(*arguments):
        nonlocal calls
        calls += 1
        if calls == 2:  # the second rename is the one that puts the new folder in place
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store.os, at, full)
        with pytest.raises(StoreError, match="could not be saved.*No space left.*earlier 'base' is untouched.*Free"):
            store.save("base", model_for(tokenizer, seed=2), tokenizer, CARD)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [p.name for p in folder.parent.iterdir()] == ["base"]
    assert store.load("base").card["seed"] == 0


def test_a_kill_between_the_two_renames_is_mended(tokenizer):
    folder = store.save("base", model_for(tokenizer), tokenizer, CARD)
    os.rename(folder, folder.with_name(".old-base"))
    assert store.load("base").source.startswith("your own")


# --- a base model from elsewhere -------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tokenizer, tmp_path) -> Path:
    """A model folder that the course did not write: no card, no padding token, GPT-2's architecture."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "elsewhere"
    config = GPT2Config(vocab_size=len(tokenizer) + 4, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(folder)
    from transformers import PreTrainedTokenizerFast

    plain = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>")
    plain.save_pretrained(folder)
    return folder


def test_a_local_folder_replaces_base_and_only_base(elsewhere, tokenizer, tmp_path, monkeypatch):
    store.save("instruct", model_for(tokenizer), tokenizer, CARD, root=tmp_path / "package")
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    loaded = store.load("base")
    assert type(loaded.model).__name__ == "GPT2LMHeadModel"
    assert loaded.source == f"{elsewhere} (COURSE_BASE_MODEL) instead of 'base'"
    assert loaded.tokenizer.pad_token == "<|end|>"
    assert next(loaded.model.parameters()).dtype == torch.float32
    assert store.load("instruct").source.startswith("the course's")


def test_what_is_tuned_from_it_is_kept_by_itself(elsewhere, monkeypatch):
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    base = store.load("base")
    with torch.no_grad():
        base.model.transformer.wte.weight[0] += 1
    folder = store.save("instruct", base.model, base.tokenizer, CARD)
    assert folder.parent.name.startswith("laptop@")
    again = store.load("instruct")
    assert type(again.model).__name__ == "GPT2LMHeadModel"
    assert again.card["base_model"] == str(elsewhere)
    assert torch.equal(again.model.transformer.wte.weight, base.model.transformer.wte.weight)
    monkeypatch.delenv("COURSE_BASE_MODEL")
    with pytest.raises(StoreError, match="no usable model called 'instruct'"):
        store.load("instruct")


def test_a_folder_that_is_not_there_or_holds_no_model(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_BASE_MODEL", str(tmp_path / "missing"))
    with pytest.raises(StoreError, match="there is no such folder.*owner/name"):
        store.load("base")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("COURSE_BASE_MODEL", str(tmp_path / "empty"))
    with pytest.raises(StoreError, match="(?s)cannot be loaded.*Expected a causal language model"):
        store.load("base")


def test_weights_in_pickle_are_refused(elsewhere, monkeypatch):
    from safetensors.torch import load_file

    torch.save(load_file(elsewhere / "model.safetensors"), elsewhere / "pytorch_model.bin")
    (elsewhere / "model.safetensors").unlink()
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    with pytest.raises(StoreError, match="weights in safetensors"):
        store.load("base")


def test_a_base_whose_tokenizer_does_not_fit(elsewhere, tokenizer, monkeypatch):
    from transformers import GPT2Config, GPT2LMHeadModel

    shutil.rmtree(elsewhere)
    GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=16, n_layer=1, n_head=2)).save_pretrained(elsewhere)
    tokenizer.save_pretrained(elsewhere)
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    with pytest.raises(StoreError, match="embedding of 100 rows.*do not belong together"):
        store.load("base")


def test_an_id_offline_fails_at_once_without_a_connection(monkeypatch):
    monkeypatch.setenv("COURSE_BASE_MODEL", "nobody/no-such-model")
    import transformers  # noqa: F401 - not part of what is timed

    start = time.perf_counter()
    with pytest.raises(StoreError, match=r"'nobody/no-such-model'.*opens no connection.*COURSE_ONLINE=1.*unset"):
        store.load("base")
    assert time.perf_counter() - start < 10


def test_an_id_that_was_downloaded_before_is_read_from_the_cache(elsewhere, tmp_path, monkeypatch):
    repository = tmp_path / "cache" / "models--nobody--small"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(elsewhere, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_BASE_MODEL", "nobody/small")
    loaded = store.load("base")
    assert type(loaded.model).__name__ == "GPT2LMHeadModel"
    assert loaded.source == "nobody/small (COURSE_BASE_MODEL) instead of 'base'"
    (snapshot / "model.safetensors").unlink()  # as if the download had been broken off
    with pytest.raises(StoreError, match="not among the models already downloaded"):
        store.load("base")


def test_an_id_online_without_network_fails_after_one_try(monkeypatch, no_network):
    monkeypatch.setenv("COURSE_BASE_MODEL", "nobody/no-such-model")
    monkeypatch.setenv("COURSE_ONLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # the suite itself runs offline
    start = time.perf_counter()
    with pytest.raises(StoreError, match=r"Hub cannot be reached.*Connect to the network") as raised:
        store.load("base")
    assert 1 <= len(no_network) <= 2, str(raised.value)
    assert time.perf_counter() - start < 10
    no_network.clear()


def test_the_card_is_plain_json(tokenizer):
    folder = store.save("base", model_for(tokenizer), tokenizer, {**CARD, "recipe": "Café on the isle"})
    text = (folder / "card.json").read_text(encoding="utf-8")
    assert "Café" in text
    assert json.loads(text)["loss"] == [[1, 6.9], [2, 6.5]]


def test_an_adapter_is_kept_without_its_base(tokenizer, home):
    with pytest.raises(StoreError, match="no base on the shelf that an adapter could belong to"):
        store.save("lora", add_lora(model_for(tokenizer), LoRAConfig(r=2)), tokenizer, CARD)
    store.save("base", model_for(tokenizer, seed=3), tokenizer, CARD, root=store.SHIPPED)
    tuned = add_lora(store.load("base").model, LoRAConfig(r=2))
    for _, layer in lora_layers(tuned):
        torch.nn.init.normal_(layer.lora_B["default"])
    folder = store.save("lora", tuned, tokenizer, CARD)
    assert not (folder / "model.safetensors").exists()
    ids = torch.tensor([[7, 8, 9]])
    torch.testing.assert_close(store.load("lora").model(ids).logits, tuned(ids).logits)
    store.save("base", model_for(tokenizer, seed=4), tokenizer, CARD)  # a learner's own, which goes before the course's
    torch.testing.assert_close(store.load("lora").model(ids).logits, tuned(ids).logits)
    shutil.rmtree(store.SHIPPED / "base")
    with pytest.warns(UserWarning, match="an adapter for a base that is not here"), pytest.raises(StoreError):
        store.load("lora")


def test_a_reward_model_comes_back_as_one(tokenizer, home):
    model = RewardModel(model_for(tokenizer, seed=3), seed=1)
    store.save("reward", model, tokenizer, CARD)
    again = store.load("reward").model
    ids = torch.tensor([[7, 8, 9]])
    assert isinstance(again, RewardModel)
    torch.testing.assert_close(again(ids), model(ids), rtol=1e-2, atol=1e-3)  # kept in half precision
