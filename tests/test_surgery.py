"""Layers found by name and exchanged; and everything that is put into a model, in encoder-decoders and in 16 bits."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from course_utils.models.adapters import adapter_layers, add_adapters
from course_utils.models.convert import load_model, save_model, to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.heads import Classifier, ValueModel
from course_utils.models.lora import LoRAConfig, LoRALinear, add_lora, lora_layers, lora_weights, merge_lora
from course_utils.models.quantization import QuantConfig, dequantize_model, quantize_model, quantized_layers
from course_utils.models.surgery import linear_layers, replace
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import next_token_loss

SMALL = DecoderConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2)
IDS = torch.randint(6, 64, (3, 11), generator=torch.Generator().manual_seed(0))
BATCH = {"input_ids": IDS, "labels": IDS}


def decoder(**changes) -> Decoder:
    return Decoder(DecoderConfig(**{**vars(SMALL), **changes}), seed=1)


def t5(gated: bool = False) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 2, "num_heads": 2}
    kind = {"feed_forward_proj": "gated-gelu"} if gated else {}
    return T5ForConditionalGeneration(T5Config(decoder_start_token_id=0, **sizes, **kind)).eval()


def bart() -> BartForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32}
    return BartForConditionalGeneration(BartConfig(vocab_size=64, d_model=16, init_std=0.3, **sizes, **heads)).eval()


ENCODER_DECODERS = [
    pytest.param(t5, ("q", "v", "wo"), id="t5"),
    pytest.param(lambda: t5(gated=True), ("q", "wi_0", "wo"), id="gated-t5"),
    pytest.param(bart, ("q_proj", "out_proj", "fc1", "fc2"), id="bart"),
]


@torch.no_grad()
def logits(model: nn.Module) -> torch.Tensor:
    return model(input_ids=IDS, labels=IDS).logits.float()


def stir(model: nn.Module, *, by: float = 0.2) -> nn.Module:
    """Give the matrices B of the adapter in use some values, as training would."""
    generator = torch.Generator().manual_seed(5)
    for key, matrix in lora_weights(model).items():
        if "lora_B" in key:
            matrix.copy_(torch.randn(matrix.shape, generator=generator) * by)
    return model


def test_linear_layers_are_found_by_the_end_of_their_path():
    model = decoder()
    paths = [path for path, _ in linear_layers(model, ("self_attn.q_proj", "lm_head"))]
    assert paths == ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "lm_head"]
    add_lora(model, LoRAConfig(r=2, targets=("q_proj",)))
    again = dict(linear_layers(model, ("self_attn.q_proj", "lm_head")))
    assert list(again) == paths and isinstance(again[paths[0]], LoRALinear), "what is inside is a part of the layer"
    replace(model, paths[0], again[paths[0]].base)
    assert type(model.model.layers[0].self_attn.q_proj) is nn.Linear


@pytest.mark.parametrize("put", [add_lora, quantize_model, add_adapters])
def test_what_is_no_linear_layer_is_refused_when_it_is_asked_for(put):
    """An embedding, a whole block, or a layer with a bottleneck adapter behind it; the model stays as it was."""
    wrong = {"embed_tokens": "Embedding", "mlp": "MLP", "layers": "ModuleList"}
    for target, kind in wrong.items():
        model, targets = decoder(), ("q_proj", target)
        with pytest.raises(
            ValueError, match=rf"{target} is no linear layer but of the type {kind}.*down_proj.*lm_head"
        ):
            put(model, LoRAConfig(targets=targets)) if put is add_lora else put(model, **_named(put, targets))
        assert all(p.requires_grad for p in model.parameters())
        assert not list(lora_layers(model)) and not quantized_layers(model) and not list(adapter_layers(model))
    if put is not add_adapters:
        with pytest.raises(ValueError, match="o_proj is no linear layer but of the type Adapted"):
            put(add_adapters(decoder()))


def _named(put, targets: tuple[str, ...]) -> dict:
    return {"behind": targets} if put is add_adapters else {"targets": targets}


def test_adapters_come_on_top_of_quantized_matrices_not_below():
    with pytest.raises(ValueError, match="LoRALinear.*Quantize the plain model first"):
        quantize_model(add_lora(decoder()))
    model = add_adapters(quantize_model(decoder()))
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize(("make", "targets"), ENCODER_DECODERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lora_in_an_encoder_decoder(make, targets, dtype):
    """Nothing changes at first; merging gives what was in use; a batch trains the adapter alone."""
    plain = logits(make().to(dtype))
    model = add_lora(make().to(dtype), LoRAConfig(r=2, targets=targets))
    assert torch.equal(logits(model), plain)
    adapted = logits(stir(model))
    assert (adapted - plain).abs().max() > 0.05
    merged = logits(merge_lora(copy.deepcopy(model)))
    assert (merged - adapted).norm() / adapted.norm() < (1e-5 if dtype == torch.float32 else 0.05)
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(("make", "targets"), ENCODER_DECODERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_quantizing_an_encoder_decoder(make, targets, dtype, kind):
    plain = logits(make().to(dtype))
    model = quantize_model(make().to(dtype), QuantConfig(kind, block_size=16), targets=targets)
    error = (logits(model) - plain).norm() / plain.norm()
    assert 0 < error < (0.03 if kind == "int8" else 0.2)
    with_lora = add_lora(model, LoRAConfig(r=2, targets=targets))
    assert (logits(with_lora) - plain).norm() / plain.norm() == error
    alone = logits(dequantize_model(merge_free(with_lora), dtype))
    torch.testing.assert_close(alone, logits(with_lora), rtol=0, atol=0.02 * float(plain.abs().max()))


def merge_free(model: nn.Module) -> nn.Module:
    """A copy without its (untrained) adapters."""
    model = copy.deepcopy(model)
    for path, layer in list(lora_layers(model)):
        replace(model, path, layer.base)
    return model


@pytest.mark.parametrize(("make", "targets"), ENCODER_DECODERS)
def test_bottleneck_adapters_in_an_encoder_decoder(make, targets):
    assert torch.equal(logits(add_adapters(make(), 4, behind=targets[-1:])), logits(make()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("quantized", [False, True])
def test_what_is_trained_beside_16_bits_is_in_32(dtype, quantized):
    """LoRA, bottleneck adapters and new heads; the model computes in its own dtype all the same."""
    base = decoder().to(dtype)
    base = quantize_model(base) if quantized else base
    made = [
        add_lora(copy.deepcopy(base), LoRAConfig(r=4)),
        add_adapters(copy.deepcopy(base), 4),
    ]
    for model in made:
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
        assert model(IDS).logits.dtype == dtype and torch.equal(model(IDS).logits, base(IDS).logits)
    for model in (Classifier(base, 3), ValueModel(base)):
        head = model.score if isinstance(model, Classifier) else model.value
        assert head.weight.dtype == torch.float32 and torch.isfinite(model(IDS)).all()


@pytest.mark.slow
def test_small_steps_move_every_number_of_a():
    model = add_lora(decoder().bfloat16(), LoRAConfig(r=4))
    start = {key: value.clone() for key, value in lora_weights(model).items() if "lora_A" in key}
    stir(model)
    config = TrainConfig(steps=5, learning_rate=1e-4, schedule="constant", weight_decay=0.0, device="cpu")
    train(model, [BATCH] * 5, next_token_loss, config, progress=False)
    unmoved = [(lora_weights(model)[key] == value).float().mean().item() for key, value in start.items()]
    assert max(unmoved) < 0.01


def test_scales_and_values_of_a_quantized_model_survive_a_cast():
    model = quantize_model(decoder())
    values = {path: layer.dequantize() for path, layer in quantized_layers(model).items()}
    stored = copy.deepcopy(model.state_dict())
    for cast in (torch.bfloat16, torch.float16):
        model.to(cast)
        layer = next(iter(quantized_layers(model).values()))
        assert layer.weight.dtype == cast and model(IDS).logits.dtype == cast
    model.float()
    assert all(torch.equal(layer.dequantize(), values[path]) for path, layer in quantized_layers(model).items())
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items() if "proj" in name)


@pytest.mark.parametrize("make", [decoder, lambda: to_llama(decoder())], ids=["ours", "llama"])
def test_merging_into_a_tied_head_leaves_the_embedding_alone(make, tmp_path):
    model = add_lora(make().eval(), LoRAConfig(r=4, targets=("lm_head", "q_proj")))
    before, table = stir(model)(IDS).logits.detach(), model.model.embed_tokens.weight.detach().clone()
    merged = merge_lora(model)
    torch.testing.assert_close(merged(IDS).logits, before, rtol=1e-5, atol=1e-5)
    assert torch.equal(merged.model.embed_tokens.weight, table)
    assert not torch.equal(merged.lm_head.weight, table) and not merged.config.tie_word_embeddings
    if isinstance(merged, Decoder):
        again = load_model(save_model(merged, tmp_path, torch.float32))
    else:
        merged.save_pretrained(tmp_path)
        again = type(merged).from_pretrained(tmp_path)
    torch.testing.assert_close(again(IDS).logits, before, rtol=1e-5, atol=1e-5)


def test_an_untied_head_is_merged_as_any_other_and_a_tied_one_of_t5_is_refused():
    model = stir(add_lora(decoder(tie_word_embeddings=False), LoRAConfig(r=4, targets=("lm_head",))))
    head, before = model.lm_head.base.weight, model(IDS).logits.detach()
    assert merge_lora(model).lm_head.weight is head
    torch.testing.assert_close(model(IDS).logits, before, rtol=1e-5, atol=1e-5)
    model = stir(add_lora(t5(), LoRAConfig(r=2, targets=("q", "lm_head"))))
    before = logits(model)
    with pytest.raises(ValueError, match="tied to its embedding.*Leave the head out"):
        merge_lora(model)
    assert torch.equal(logits(model), before), "a refusal leaves the model as it was"
