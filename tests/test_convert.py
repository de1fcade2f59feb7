"""Weights go to transformers and back, and to disk and back, and wrong folders are refused with a reason."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from course_utils.models.convert import decoder_config, from_llama, llama_config, load_model, save_model, to_llama
from course_utils.models.decoder import Decoder, DecoderConfig

SMALL = DecoderConfig(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=40,
    rope_theta=500.0,
    rms_norm_eps=1e-4,
)
UNTIED = DecoderConfig(**{**vars(SMALL), "tie_word_embeddings": False})
INPUT_IDS = torch.arange(20).view(2, 10)


@pytest.mark.parametrize("config", [SMALL, UNTIED], ids=["tied", "untied"])
def test_there_and_back(config):
    model = Decoder(config, seed=3).train()
    llama = to_llama(model)
    back = from_llama(llama)
    assert back.config == config and llama.training and back.training
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
    assert (back.lm_head.weight is back.model.embed_tokens.weight) == config.tie_word_embeddings
    with torch.no_grad():
        llama.lm_head.weight.zero_()  # copies: changing one leaves the others alone
    assert model.lm_head.weight.abs().sum() > 0 and back.lm_head.weight.abs().sum() > 0


@pytest.mark.parametrize("config", [SMALL, UNTIED], ids=["tied", "untied"])
def test_shared_parameters_are_the_same_objects(config):
    llama = to_llama(Decoder(config))
    shared = from_llama(llama, share=True)
    theirs = dict(llama.named_parameters(remove_duplicate=False))
    for name, parameter in shared.named_parameters(remove_duplicate=False):
        assert parameter is theirs[name], name
    torch.testing.assert_close(shared(INPUT_IDS).logits, llama(INPUT_IDS).logits, atol=1e-5, rtol=1e-5)


def test_weights_that_transformers_drew_itself():
    from transformers import LlamaConfig, LlamaForCausalLM

    llama = LlamaForCausalLM(LlamaConfig(**llama_config(UNTIED))).eval()
    torch.testing.assert_close(from_llama(llama)(INPUT_IDS).logits, llama(INPUT_IDS).logits, atol=1e-5, rtol=1e-5)


def test_dtype_goes_along():
    llama = to_llama(Decoder(SMALL).to(torch.bfloat16))
    assert llama.dtype == torch.bfloat16 and from_llama(llama).lm_head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("config", [SMALL, UNTIED], ids=["tied", "untied"])
def test_folder_there_and_back(tmp_path, config):
    model = Decoder(config, seed=5)
    folder = save_model(model, tmp_path / "new" / "folder", dtype=torch.float32)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_model(folder)
    assert loaded.config == config and not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == config.tie_word_embeddings


@pytest.mark.parametrize("config", [SMALL, UNTIED], ids=["tied", "untied"])
def test_transformers_reads_the_folder(tmp_path, config):
    from transformers import AutoModelForCausalLM

    model = Decoder(config, seed=6).eval()
    llama = AutoModelForCausalLM.from_pretrained(save_model(model, tmp_path, torch.float32), dtype=torch.float32)
    torch.testing.assert_close(llama(INPUT_IDS).logits, model(INPUT_IDS).logits, atol=1e-5, rtol=1e-5)
    assert (llama.config.eos_token_id, llama.config.pad_token_id) == (1, 0)


@pytest.mark.parametrize("config", [SMALL, UNTIED], ids=["tied", "untied"])
def test_we_read_the_folder_of_transformers(tmp_path, config):
    model = Decoder(config, seed=7)
    to_llama(model).save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == config
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_half_precision_on_disk_and_float32_in_memory(tmp_path):
    model = Decoder(SMALL)
    size = (save_model(model, tmp_path) / "model.safetensors").stat().st_size
    full = (save_model(model, tmp_path, torch.float32) / "model.safetensors").stat().st_size
    assert size < 0.6 * full
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.lm_head.weight.dtype == torch.float32
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight.half().float())
    assert load_model(tmp_path, dtype=torch.bfloat16).lm_head.weight.dtype == torch.bfloat16


@pytest.mark.slow
def test_reading_needs_no_transformers(tmp_path):
    save_model(Decoder(SMALL), tmp_path)
    code = (
        "import sys; from course_utils.models.convert import load_model; "
        f"load_model({str(tmp_path)!r}); assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_older_configurations_name_theta_at_the_top():
    old = {key: value for key, value in llama_config(SMALL).items() if key != "rope_parameters"}
    assert decoder_config(old) == SMALL
    assert decoder_config({**llama_config(SMALL), "num_key_value_heads": None}).num_key_value_heads == 4


def test_of_a_llama_that_bound_its_theta_to_scaling():
    old = {key: value for key, value in llama_config(SMALL).items() if key != "rope_parameters"}
    assert decoder_config({**old, "rope_scaling": None}) == SMALL
    with pytest.raises(ValueError, match="rope_type = 'linear'"):
        decoder_config({**old, "rope_scaling": {"type": "linear", "factor": 2.0}})


TOKENS = [
    {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None},
    {"pad_token_id": 7, "bos_token_id": 5, "eos_token_id": [6, 8]},
]


@pytest.mark.parametrize("tokens", TOKENS, ids=["another end", "none at all", "several ends"])
def test_special_tokens_survive(tmp_path, tokens):
    from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

    llama = LlamaForCausalLM(LlamaConfig(**(llama_config(SMALL) | tokens)))
    ours = from_llama(llama)
    llama.save_pretrained(tmp_path / "theirs")
    saved = save_model(load_model(tmp_path / "theirs"), tmp_path / "ours")
    for config in (to_llama(ours).config, AutoConfig.from_pretrained(saved), to_llama(load_model(saved)).config):
        assert {name: getattr(config, name) for name in tokens} == tokens


def test_a_configuration_without_the_fields_means_what_transformers_means():
    from transformers import LlamaConfig

    names = ("max_position_embeddings", "rms_norm_eps", "tie_word_embeddings")
    names += ("pad_token_id", "bos_token_id", "eos_token_id")
    sparse = {name: value for name, value in llama_config(SMALL).items() if name not in names}
    ours, theirs = decoder_config(sparse), LlamaConfig(**sparse)
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"):
        with pytest.raises(ValueError, match=f"no '{name}'"):
            decoder_config({key: value for key, value in sparse.items() if key != name})


def test_tables_that_older_versions_stored_are_passed_over(tmp_path):
    from safetensors.torch import load_file, save_file

    path = save_model(Decoder(SMALL), tmp_path, torch.float32) / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {"model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(4)}, path)
    assert torch.equal(load_model(tmp_path).lm_head.weight, weights["model.embed_tokens.weight"])
    save_file(weights | {"model.layers.1.self_attn.q_proj.bias": torch.ones(32)}, path)
    with pytest.raises(ValueError, match=r"q_proj.bias is \(32,\) and should be absent"):
        load_model(tmp_path)


def test_a_tied_head_that_is_stored_is_the_embedding_or_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    path = save_model(Decoder(SMALL), tmp_path, torch.float32) / "model.safetensors"
    weights = load_file(path)
    table = weights["model.embed_tokens.weight"]
    save_file(weights | {"lm_head.weight": table.clone()}, path)
    assert torch.equal(load_model(tmp_path).lm_head.weight, table)
    save_file(weights | {"lm_head.weight": table + 1}, path)
    with pytest.raises(ValueError, match="two different ones.*tie_word_embeddings"):
        load_model(tmp_path)
    save_model(Decoder(UNTIED), tmp_path)
    weights = load_file(path)
    del weights["lm_head.weight"]
    save_file(weights, path)
    with pytest.raises(ValueError, match="lm_head.weight is missing"):
        load_model(tmp_path)


@pytest.mark.parametrize("config", [SMALL, UNTIED], ids=["tied", "untied"])
def test_weights_in_several_files(tmp_path, config):
    model = Decoder(config, seed=8)
    to_llama(model).save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1 and not (tmp_path / "model.safetensors").exists()
    loaded = load_model(tmp_path)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    index = tmp_path / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "../model.safetensors")}))
    with pytest.raises(FileNotFoundError, match="index.json names"):
        load_model(tmp_path)
    index.write_text(json.dumps({"weight_map": names}))
    next(tmp_path.glob("model-*")).unlink()
    with pytest.raises(FileNotFoundError, match=r"no model-0000.*index.json names"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gpt2"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"head_dim": 16},
        {"partial_rotary_factor": 0.5},
        {"quantization_config": {"load_in_4bit": True}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_architectures_are_refused_by_name(change):
    with pytest.raises(ValueError, match=r"AutoModelForCausalLM") as error:
        decoder_config({**llama_config(SMALL), **change})
    name = next(iter(change)).replace("rope_parameters", "rope_type")
    assert name in str(error.value)


def test_incomplete_and_damaged_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config.json"):
        load_model(tmp_path / "nowhere")
    save_model(Decoder(SMALL), tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"model.safetensors cannot be read"):
        load_model(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors"):
        load_model(tmp_path)
    weights.write_bytes(whole)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not the configuration of a Llama"):
        load_model(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path):
    save_model(Decoder(SMALL), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "vocab_size": 99}))
    with pytest.raises(ValueError, match=r"embed_tokens.weight is \(61, 32\) and should be \(99, 32\)"):
        load_model(tmp_path)
    path.write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"model.layers.2.* is missing"):
        load_model(tmp_path)


def test_a_full_disk_leaves_the_old_model_whole(tmp_path, monkeypatch):
    old = Decoder(SMALL, seed=1)
    save_model(old, tmp_path, torch.float32)

    def no_space(tensors, filename, metadata=None):
        filename.write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", no_space)
    with pytest.raises(OSError, match="No space left"):
        save_model(Decoder(UNTIED, seed=2), tmp_path, torch.float32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(load_model(tmp_path).lm_head.weight, old.lm_head.weight)
