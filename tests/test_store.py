"""The store of models: whose model is it, does it belong together, and what if it is not there."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from course_utils.models.adapters import add_adapters
from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.embeddings import resize_embeddings
from course_utils.models.heads import RewardModel
from course_utils.models.lora import LoRAConfig, add_lora, lora_layers, merge_lora, use_adapter
from course_utils.models.quantization import quantize_model
from course_utils.pretrained import store
from course_utils.pretrained.store import StoreError
from course_utils.text.tokenizer import train_tokenizer
from course_utils.text.vocabulary import add_words

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
        if at == "rename" or stat.S_ISREG(os.fstat(*arguments).st_mode):  # folders are synced as well as can be
            calls += 1
            if calls == 2:  # the second rename is the one that puts the new folder in place
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, at, full)
        with pytest.raises(StoreError, match="could not be saved.*No space left.*earlier 'base' is untouched.*Free"):
            store.save("base", model_for(tokenizer, seed=2), tokenizer, CARD)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [p.name for p in folder.parent.iterdir()] == ["base"]
    assert store.load("base").card["seed"] == 0


def test_a_kill_between_the_two_renames_is_mended(tokenizer):
    folder = store.save("base", model_for(tokenizer), tokenizer, CARD)
    os.rename(folder, folder.with_name(".old-base"))
    assert store.load("base").source.startswith("your own")


def half_written(folder: Path) -> None:
    """What must not be shown as models, beside one that is whole."""
    for name in (".new-base.1", ".new-lora-99", "no-card", "no-weights", "a copy"):
        shutil.copytree(folder, folder.with_name(name))
    (folder.with_name("no-card") / "card.json").unlink()
    (folder.with_name("no-weights") / "model.safetensors").unlink()
    folder.with_name("a-file").write_text("")


def test_nothing_half_written_is_shown_as_a_model(tokenizer, home, monkeypatch):
    from course_utils import settings
    from course_utils.chapters import chapter
    from course_utils.classroom.session import Run, start_card
    from course_utils.workshop import doctor

    def model_row() -> str:
        run = Run("03", settings.profile(), "cpu", 0, 1)
        return dict(start_card(run, chapter("03")).rows)["model"]

    assert store.names() == {} and model_row() == "none yet"
    assert doctor._models().text == "none shipped"
    half_written(store.save("base", model_for(tokenizer), tokenizer, CARD, root=store.SHIPPED))
    half_written(store.save("mine", model_for(tokenizer), tokenizer, CARD))
    assert store.names() == {"base": "the course's", "mine": "yours"}
    assert store.names(store.SHIPPED) == {"base": "there"}
    assert model_row() == "yours: mine  ·  shipped: base"
    assert doctor._models().text == "base"
    os.rename(home / "checkpoints" / "laptop" / "mine", home / "checkpoints" / "laptop" / ".old-mine")
    assert store.names() == {"base": "the course's", "mine": "yours"}, "what load() finds again is shown"


def test_what_another_process_is_saving_stays(tokenizer, home):
    busy = home / "checkpoints" / "laptop" / f".new-base-2.{os.getppid()}"  # a living process, and another model
    same = busy.with_name(f".new-base.{os.getppid()}")
    for folder in (busy, same):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    store.save("base", model_for(tokenizer), tokenizer, CARD)
    assert sorted(p.name for p in busy.parent.iterdir()) == sorted(["base", busy.name, same.name])
    assert store.names() == {"base": "yours"}


def test_shipping_replaces_the_courses_model_and_leaves_the_maintainers_own(tokenizer, home, monkeypatch, capsys):
    from course_utils.recipes import __main__ as recipes

    def bake(work_dir: Path) -> Path:
        assert work_dir == home / "bake" / "laptop"
        whose = store.load("base").source  # what it is built on
        return store.save("instruct", model_for(tokenizer), tokenizer, {**CARD, "recipe": whose})

    monkeypatch.setattr(recipes, "BAKES", {"instruct": bake})
    store.save("base", model_for(tokenizer), tokenizer, CARD, root=store.SHIPPED)
    store.save("base", model_for(tokenizer), tokenizer, CARD)
    assert recipes.main(["instruct"]) == 0
    assert store.load("instruct").card["recipe"].startswith("your own 'base'")
    before = (home / "checkpoints" / "laptop" / "instruct" / "card.json").read_bytes()
    assert recipes.main(["instruct", "--ship"]) == 0
    monkeypatch.setenv("COURSE_HOME", str(home))
    assert (home / "checkpoints" / "laptop" / "instruct" / "card.json").read_bytes() == before
    shipped = store.load("instruct", root=store.SHIPPED)
    assert shipped.card["recipe"].startswith("the course's 'base'")


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


def test_a_local_folder_replaces_base_and_stands_in_for_what_is_not_trained_from_it(
    elsewhere, tokenizer, tmp_path, monkeypatch
):
    store.save("instruct", model_for(tokenizer), tokenizer, CARD, root=tmp_path / "package")
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    loaded = store.load("base")
    assert type(loaded.model).__name__ == "GPT2LMHeadModel"
    assert loaded.source == f"{elsewhere} (COURSE_BASE_MODEL) instead of 'base'"
    assert loaded.tokenizer.pad_token == "<|end|>"
    assert next(loaded.model.parameters()).dtype == torch.float32
    instruct = store.load("instruct")  # the course's is of another tokenizer
    assert instruct.source.startswith(f"{elsewhere} (COURSE_BASE_MODEL) instead of 'base', which stands in for 'instru")
    assert type(instruct.model).__name__ == "GPT2LMHeadModel"
    reward = store.load("reward")
    assert reward.source.startswith("an untrained score on ") and type(reward.model.model).__name__ == "GPT2Model"
    store.save("reward", reward.model, reward.tokenizer, CARD)
    again = store.load("reward")
    assert again.source.startswith("your own 'reward'")
    torch.testing.assert_close(again.model(IDS), reward.model(IDS), atol=1e-3, rtol=1e-2)  # kept in half precision


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


def change(folder: Path, file: str, **fields: object) -> None:
    """Set fields of a json file, or take them out (None)."""
    found = json.loads((folder / file).read_text())
    found = {name: value for name, value in (found | fields).items() if fields.get(name, "") is not None}
    (folder / file).write_text(json.dumps(found))


def change_weights(folder: Path, keep: str, **added: torch.Tensor) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if re.search(keep, name)}
    save_file(kept | added, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_replacement_with_weights_that_are_missing_or_too_many(elsewhere, monkeypatch):
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    change_weights(elsewhere, ".", extra=torch.ones(2))
    with pytest.warns(UserWarning, match="hold .*extra, which its architecture does not use"):
        store.load("base")
    change_weights(elsewhere, "wte|wpe|ln|attn")
    with pytest.raises(StoreError, match=r"lack .*mlp.* more, which would be random"):
        store.load("base")


def test_a_replacement_whose_head_is_not_stored(elsewhere, monkeypatch):
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    change(elsewhere, "config.json", tie_word_embeddings=False)
    with pytest.raises(StoreError, match="lm_head.weight, which would be random.*tie_word_embeddings"):
        store.load("base")


def test_a_replacement_without_an_end_token(elsewhere, monkeypatch):
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    change(elsewhere, "tokenizer_config.json", eos_token=None)
    change(elsewhere, "config.json", eos_token_id=[1, 5], bos_token_id=None)
    assert store.load("base").tokenizer.eos_token == store.load("base").tokenizer.pad_token == "<|end|>"
    change(elsewhere, "config.json", eos_token_id=100_000)
    with pytest.raises(StoreError, match="no end token: no text could end.*eos_token"):
        store.load("base")


def test_a_replacement_in_several_files_is_kept_in_one(elsewhere, monkeypatch):
    from transformers import GPT2LMHeadModel

    GPT2LMHeadModel.from_pretrained(elsewhere).save_pretrained(elsewhere, max_shard_size="5KB")
    (elsewhere / "model.safetensors").unlink(missing_ok=True)
    assert len(list(elsewhere.glob("model-*.safetensors"))) > 1
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    base = store.load("base")
    folder = store.save("instruct", base.model, base.tokenizer, CARD)
    assert (folder / "model.safetensors").is_file()
    assert torch.equal(store.load("instruct").model.transformer.wte.weight, base.model.transformer.wte.weight)


def test_a_replacement_that_is_an_adapter(elsewhere, monkeypatch):
    (elsewhere / "adapter_config.json").write_text("{}")
    monkeypatch.setenv("COURSE_BASE_MODEL", str(elsewhere))
    with pytest.raises(StoreError, match="holds an adapter. Merge it into its base"):
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


def adapted(model: torch.nn.Module, name: str = "default", r: int = 2, seed: int = 0) -> torch.nn.Module:
    """The model with an adapter that changes its answers, as training would."""
    generator = torch.Generator().manual_seed(seed)
    add_lora(model, LoRAConfig(r=r), name, seed=seed)
    for _, layer in lora_layers(model):
        torch.nn.init.normal_(layer.lora_B[name], generator=generator)
    return model


IDS = torch.tensor([[7, 8, 9, 11]])


@pytest.mark.parametrize("kept_in", ["own", "shipped", "root"])
def test_an_adapter_belongs_to_the_weights_below_it_whatever_their_name(tokenizer, tmp_path, kept_in):
    root = tmp_path / "elsewhere" if kept_in == "root" else None
    where = {"own": None, "shipped": store.SHIPPED, "root": root}[kept_in]
    for seed, name in enumerate(("base", "instruct", "a-tuned-one")):
        store.save(name, model_for(tokenizer, seed=seed), tokenizer, CARD, root=where)
    tuned = adapted(store.load("instruct", root=root).model)
    store.save("lora", tuned, tokenizer, CARD, root=root)
    again = store.load("lora", root=root)
    assert torch.equal(again.model(IDS).logits, tuned(IDS).logits)
    assert again.card["base"] == "instruct" and again.card["adapter"] == "default"
    at_hand = adapted(model_for(tokenizer, seed=2))  # as it was trained, not yet rounded to what the folder keeps
    store.save("lora", at_hand, tokenizer, CARD, root=root)
    torch.testing.assert_close(store.load("lora", root=root).model(IDS).logits, at_hand(IDS).logits, rtol=0, atol=1e-2)


def test_an_adapter_on_weights_that_nobody_keeps_is_refused_while_it_is_in_memory(tokenizer):
    store.save("base", model_for(tokenizer), tokenizer, CARD)
    merged = merge_lora(adapted(store.load("base").model))
    tuned = adapted(merged, seed=3)
    with pytest.raises(StoreError, match=r"are those of no other model here \(base\)"):
        store.save("second", tuned, tokenizer, CARD)
    assert "second" not in store.names()
    wanted = tuned(IDS).logits
    store.save("merged", use_adapter(tuned, None), tokenizer, CARD)  # the bare base answers: it is what is kept
    torch.testing.assert_close(store.load("merged").model(IDS).logits, tuned(IDS).logits, rtol=0, atol=2e-3)
    store.save("second", use_adapter(tuned, "default"), tokenizer, CARD)
    torch.testing.assert_close(store.load("second").model(IDS).logits, wanted, rtol=0, atol=2e-2)
    with pytest.raises(StoreError, match="no other model here"):  # it would replace its own base
        store.save("merged", tuned, tokenizer, CARD)
    store.load("merged")


def test_the_adapter_in_use_is_kept_and_the_card_names_those_left_out(tokenizer):
    store.save("base", model_for(tokenizer), tokenizer, CARD)
    model = store.load("base").model
    for seed, name in enumerate(("first", "second", "third")):
        adapted(model, name, r=2 + seed, seed=seed)
    for name in ("first", "third", "second"):
        use_adapter(model, name)
        store.save("mine", model, tokenizer, CARD)
        again = store.load("mine")
        assert torch.equal(again.model(IDS).logits, model(IDS).logits), name
        assert again.card["adapter"] == name and set(again.card["left_out"]) == {"first", "second", "third"} - {name}
    on_top = adapted(store.load("mine").model, "fourth")  # an adapter on a model of the store that is one itself
    store.save("fourth", on_top, tokenizer, CARD)
    assert torch.equal(store.load("fourth").model(IDS).logits, on_top(IDS).logits)
    assert store.load("fourth").card["base"] == "base"


@pytest.mark.parametrize("targets", [("q_proj",), ("q_proj", "lm_head")])
def test_new_tokens_come_back_with_their_adapter(tokenizer, targets):
    store.save("base", model_for(tokenizer), tokenizer, CARD)
    model, words = store.load("base").model, ["zorbleflint", "quaggle"]
    larger = add_words(tokenizer, words)
    resize_embeddings(model, [tokenizer(word)["input_ids"] for word in words])
    add_lora(model, LoRAConfig(r=2, targets=targets))
    for _, layer in lora_layers(model):
        torch.nn.init.normal_(layer.lora_B["default"], std=0.1)
    with torch.no_grad():
        model.model.embed_tokens.weight[-2:] += 0.1  # trained, with their gradients
    store.save("domain", model, larger, CARD)
    again = store.load("domain")
    ids = torch.tensor([again.tokenizer("Ada keeps a zorbleflint quaggle.")["input_ids"]])
    assert int(ids.max()) == len(tokenizer) + 1
    torch.testing.assert_close(again.model(ids).logits, model(ids).logits)


def test_an_adapter_on_a_replaced_base_goes_back_onto_that(tokenizer, tmp_path, monkeypatch):
    store.save("base", model_for(tokenizer, seed=5), tokenizer, CARD, root=store.SHIPPED)
    theirs = to_llama(model_for(tokenizer, seed=9))
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    monkeypatch.setenv("COURSE_BASE_MODEL", str(tmp_path / "theirs"))
    tuned = adapted(store.load("base").model)
    store.save("lora", tuned, tokenizer, CARD)
    again = store.load("lora").model
    assert type(again) is type(theirs) and torch.equal(again(IDS).logits, tuned(IDS).logits)
    to_llama(model_for(tokenizer, seed=10)).save_pretrained(tmp_path / "theirs")  # another model, same name
    with pytest.warns(UserWarning, match="an adapter for a base that is not here"):
        assert "stands in for 'lora'" in store.load("lora").source


def test_what_a_folder_does_not_keep_is_refused(tokenizer):
    store.save("base", model_for(tokenizer), tokenizer, CARD)
    for model in (quantize_model(model_for(tokenizer)), adapted(quantize_model(model_for(tokenizer)))):
        with pytest.raises(StoreError, match="the model is quantized.*dequantize_model"):
            store.save("small", model, tokenizer, CARD)
    with pytest.raises(StoreError, match="bottleneck adapters"):
        store.save("small", add_adapters(model_for(tokenizer)), tokenizer, CARD)
    reward = adapted(RewardModel(model_for(tokenizer), seed=1))
    with pytest.raises(StoreError, match="no other model here"):  # its head is kept nowhere
        store.save("reward-lora", reward, tokenizer, CARD)
    assert sorted(store.names()) == ["base"]


def test_a_merged_head_comes_back(tokenizer):
    model = add_lora(model_for(tokenizer), LoRAConfig(r=2, targets=("lm_head",)))
    for _, layer in lora_layers(model):
        torch.nn.init.normal_(layer.lora_B["default"], std=0.1)
    store.save("mine", merge_lora(model), tokenizer, CARD)
    torch.testing.assert_close(store.load("mine").model(IDS).logits, model(IDS).logits, rtol=0, atol=1e-2)


def test_a_reward_model_comes_back_as_one(tokenizer, home):
    model = RewardModel(model_for(tokenizer, seed=3), seed=1)
    store.save("reward", model, tokenizer, CARD)
    again = store.load("reward").model
    ids = torch.tensor([[7, 8, 9]])
    assert isinstance(again, RewardModel)
    torch.testing.assert_close(again(ids), model(ids), rtol=1e-2, atol=1e-3)  # kept in half precision
