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


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gpt2"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"head_dim": 16},
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
