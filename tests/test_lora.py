"""LoRA by hand beside peft: outputs, gradients, merged weights and files, on our decoder's twin and on GPT-2."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from course_utils.models.convert import from_llama, save_model, to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.generate import generate
from course_utils.models.lora import (
    LoRAConfig,
    LoRALinear,
    adapters,
    add_lora,
    load_lora,
    lora_layers,
    lora_weights,
    merge_lora,
    remove_adapter,
    save_lora,
    use_adapter,
)
from course_utils.training.objectives import next_token_loss

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
}
IDS = torch.randint(6, 64, (3, 11), generator=torch.Generator().manual_seed(0))
BATCH = {"input_ids": IDS, "labels": IDS.clone()}


def decoder() -> Decoder:
    return Decoder(DecoderConfig(**SIZES), seed=1)


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    return GPT2LMHeadModel(config)


def stir(model: nn.Module, name: str = "default") -> None:
    """Give B some values, as training would."""
    generator = torch.Generator().manual_seed(5)
    for key, matrix in lora_weights(model, name).items():
        if "lora_B" in key:
            matrix.copy_(torch.randn(matrix.shape, generator=generator) * 0.1)


def with_peft(base: nn.Module, ours: nn.Module, config: LoRAConfig) -> PeftModel:
    """The same adapter through peft, with our matrices."""
    model = get_peft_model(base, LoraConfig(r=config.r, lora_alpha=config.alpha, target_modules=list(config.targets)))
    state = {key.replace(".weight", ".default.weight"): value for key, value in lora_weights(ours).items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    return model


CASES = [
    pytest.param(lambda: to_llama(decoder()), LoRAConfig(r=4, alpha=8), id="llama"),
    pytest.param(lambda: to_llama(decoder()), LoRAConfig(r=2, alpha=16, targets=("q_proj", "v_proj")), id="llama-qv"),
    pytest.param(gpt2, LoRAConfig(r=4, alpha=8, targets=("c_attn", "c_proj")), id="gpt2"),
]


@pytest.mark.parametrize(("make", "config"), CASES)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_forward_gradients_and_merge_equal_peft(make, config):
    base = make()
    ours = add_lora(copy.deepcopy(base), config)
    stir(ours)
    theirs = with_peft(copy.deepcopy(base), ours, config)
    assert (base(IDS).logits - ours(IDS).logits).abs().max() > 1e-3, "the adapter does nothing"
    torch.testing.assert_close(ours(IDS).logits, theirs(IDS).logits, rtol=1e-6, atol=1e-6)

    next_token_loss(ours, BATCH)[0].backward()
    next_token_loss(theirs, BATCH)[0].backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    compared = 0
    for path, layer in lora_layers(ours):
        for side, matrix in (("lora_A", layer.lora_A["default"]), ("lora_B", layer.lora_B["default"])):
            torch.testing.assert_close(
                matrix.grad, gradients[f"base_model.model.{path}.{side}.default.weight"], rtol=1e-5, atol=1e-6
            )
            compared += 1
    assert compared == len(gradients) > 0

    merged, theirs_merged = merge_lora(ours), theirs.merge_and_unload()
    assert not list(lora_layers(merged))
    torch.testing.assert_close(merged.state_dict(), theirs_merged.state_dict(), rtol=1e-6, atol=1e-6)


def test_initial_distribution_is_pefts():
    """A is drawn from the same range; B is zero, so that nothing changes at first."""
    ours = add_lora(decoder(), LoRAConfig(r=8))
    theirs = get_peft_model(to_llama(decoder()), LoraConfig(r=8, target_modules=["q_proj"]))
    (q,) = {tuple(p.shape) for n, p in theirs.named_parameters() if "q_proj.lora_A" in n}
    drawn = torch.cat([p.flatten() for n, p in theirs.named_parameters() if "q_proj.lora_A" in n]).abs()
    mine = torch.cat(
        [layer.lora_A["default"].flatten() for n, layer in lora_layers(ours) if n.endswith("q_proj")]
    ).abs()
    assert q == (8, 32)
    bound = 32**-0.5
    assert drawn.max() <= bound and mine.max() <= bound and min(drawn.max(), mine.max()) > 0.97 * bound
    assert abs(drawn.mean() - mine.mean()) < 0.1 * bound
    assert torch.equal(ours(IDS).logits, decoder()(IDS).logits)


def test_only_the_adapter_is_trained():
    model = add_lora(decoder(), LoRAConfig(r=4))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count == sum(4 * sum(layer.sizes) for _, layer in lora_layers(model))


def test_several_adapters_on_one_base():
    model, plain = decoder(), decoder()
    add_lora(model, LoRAConfig(r=2), "first")
    stir(model, "first")
    first = model(IDS).logits
    add_lora(model, LoRAConfig(r=4, targets=("q_proj",)), "second", seed=3)
    assert adapters(model) == ["first", "second"]
    assert torch.equal(model(IDS).logits, plain(IDS).logits), "a new adapter starts at zero, and is the one in use"
    assert {n.rpartition(".")[2] for n, p in model.named_parameters() if p.requires_grad} == {"second"}
    use_adapter(model, "first")
    assert torch.equal(model(IDS).logits, first)
    use_adapter(model, None)
    assert torch.equal(model(IDS).logits, plain(IDS).logits)
    remove_adapter(model, "second")
    use_adapter(model, "first")
    assert adapters(model) == ["first"] and torch.equal(model(IDS).logits, first)
    remove_adapter(model, "first")
    assert not any(isinstance(part, LoRALinear) for part in model.modules())


def test_files_go_both_ways(tmp_path):
    ours = add_lora(decoder(), LoRAConfig(r=4, alpha=8))
    stir(ours)
    decoder_folder = save_model(decoder(), tmp_path / "base")
    save_lora(ours, tmp_path / "ours", base=str(decoder_folder))
    theirs = PeftModel.from_pretrained(to_llama(decoder()), tmp_path / "ours")
    torch.testing.assert_close(theirs(IDS).logits, ours(IDS).logits, rtol=1e-6, atol=1e-6)
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_lora(decoder(), tmp_path / "theirs", "again")
    assert torch.equal(again(IDS).logits, ours(IDS).logits)
    assert not list((tmp_path / "ours").glob(".*"))


def test_generation_uses_the_adapter_and_merging_keeps_it():
    model = add_lora(decoder(), LoRAConfig(r=4))
    stir(model)
    prompts = IDS[:, :5].tolist()
    tokens = generate(model, prompts, 12, stop_ids=()).tokens
    assert not torch.equal(tokens, generate(decoder(), prompts, 12, stop_ids=()).tokens)
    assert torch.equal(tokens, generate(merge_lora(copy.deepcopy(model)), prompts, 12, stop_ids=()).tokens)


def test_a_merged_llama_is_a_decoder_again():
    model = add_lora(to_llama(decoder()), LoRAConfig(r=4))
    stir(model)
    logits = model(IDS).logits
    torch.testing.assert_close(from_llama(merge_lora(model))(IDS).logits, logits, rtol=1e-5, atol=1e-5)


def test_dropout_only_in_training():
    model = add_lora(decoder(), LoRAConfig(r=4, dropout=0.5))
    stir(model)
    model.eval()
    assert torch.equal(model(IDS).logits, model(IDS).logits)
    model.train()
    assert not torch.equal(model(IDS).logits, model(IDS).logits)


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="no layer is called query.*down_proj"):
        add_lora(decoder(), LoRAConfig(targets=("query",)))
    model = add_lora(decoder())
    with pytest.raises(ValueError, match="has an adapter 'default' already"):
        add_lora(model)
    with pytest.raises(ValueError, match="there is no adapter 'x'; this model has default"):
        use_adapter(model, "x")
    for wrong in ({"r": 0}, {"dropout": 1.0}, {"targets": ()}):
        with pytest.raises(ValueError, match="LoRAConfig"):
            LoRAConfig(**wrong)
    with pytest.raises(FileNotFoundError, match="has no adapter_config.json"):
        load_lora(decoder(), tmp_path)
    save_lora(model, tmp_path / "a", base="the small one")
    larger = Decoder(DecoderConfig(**{**SIZES, "hidden_size": 64}), seed=0)
    with pytest.raises(ValueError, match="does not fit this model.*the small one"):
        load_lora(larger, tmp_path / "a")
    assert not adapters(larger), "a failed load leaves the model as it was"
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(ValueError, match="use_dora"):
        load_lora(decoder(), tmp_path / "a")
