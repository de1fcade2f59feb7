"""Quantization by hand beside bitsandbytes: codebooks, codes, scales, values, packed bytes, and LoRA through peft."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import Tensor, nn

from course_utils.models.convert import save_model
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.generate import generate
from course_utils.models.lora import ATTENTION, MLP, LoRAConfig, add_lora, lora_weights, merge_lora
from course_utils.models.quantization import (
    QuantConfig,
    QuantizedLinear,
    bits_per_parameter,
    codebook,
    dequantize_blocks,
    dequantize_model,
    dequantize_scales,
    dynamic_codebook,
    nf4_codebook,
    pack,
    quantile_codebook,
    quantize_absmax,
    quantize_blocks,
    quantize_model,
    quantize_scales,
    quantized_layers,
    unpack,
)
from course_utils.training.objectives import next_token_loss

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a note about kernels that nobody needs
import bitsandbytes as bnb  # noqa: E402
import bitsandbytes.functional as bnb_functional  # noqa: E402

SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
}
IDS = torch.randint(6, 64, (3, 11), generator=torch.Generator().manual_seed(0))
BATCH = {"input_ids": IDS, "labels": IDS.clone()}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decoder() -> Decoder:
    model = Decoder(DecoderConfig(**SIZES), seed=1)
    model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})  # what a folder keeps
    return model


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def by_steps(codes: Tensor, steps: Tensor, shape: torch.Size) -> Tensor:
    """What ``quantize_absmax`` kept: codes times steps."""
    return (codes * steps[:, None]).view(shape)


def test_codebooks_are_those_of_bitsandbytes():
    torch.testing.assert_close(nf4_codebook(), bnb_functional.get_4bit_type("nf4", "cpu"), rtol=0, atol=2e-7)
    assert nf4_codebook()[7] == 0
    assert torch.equal(codebook("int4") * 7, torch.arange(-7.0, 8))
    torch.testing.assert_close(dynamic_codebook(), bnb_functional.create_dynamic_map(), rtol=0, atol=1e-8)


def test_a_quantile_codebook_uses_all_entries_alike():
    book = quantile_codebook() * 1.8627318674  # its largest entry was the middle of the last of 16 pieces
    codes = torch.bucketize(numbers(160_000), (book[1:] + book[:-1]) / 2)
    share = codes.bincount(minlength=16) / 160_000
    assert share[1:-1].sub(1 / 16).abs().max() < 0.012
    assert 0 not in quantile_codebook()


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("block_size", [64, 128])
@pytest.mark.parametrize("shape", [(352, 128), (96, 256), (1024, 512)])
def test_nf4_equals_bitsandbytes(shape, block_size, double):
    weight = numbers(*shape) * 0.05
    packed, state = bnb_functional.quantize_4bit(
        weight, blocksize=block_size, quant_type="nf4", compress_statistics=double
    )
    theirs = bnb_functional.dequantize_4bit(packed, state)
    book = nf4_codebook()
    codes, absmax = quantize_blocks(weight, book, block_size)
    assert torch.equal(pack(codes), packed.flatten())
    if double:
        scale_codes, second, mean = quantize_scales(absmax)
        torch.testing.assert_close(second, state.state2.absmax, rtol=1e-6, atol=0)
        assert mean == pytest.approx(float(state.offset), rel=1e-6)
        # on a CPU bitsandbytes looks scales up in a table of 65,536 places, so one in some hundred that lies within
        # half a place of a middle may get the neighbour's code; from the same codes the values must be the same
        scaled = (absmax - mean) / second.repeat_interleave(256)[: len(absmax)]
        book8 = dynamic_codebook()
        near = (scaled[:, None] - (book8[1:] + book8[:-1]) / 2).abs().amin(1) < 2 / 65536
        differ = scale_codes.flatten()[: len(absmax)] != state.absmax
        assert not (differ & ~near).any()
        filled = torch.nn.functional.pad(state.absmax, (0, -len(absmax) % 256)).view(-1, 256)
        absmax = dequantize_scales(filled, second, mean, len(absmax))
    torch.testing.assert_close(dequantize_blocks(codes, absmax, book, shape), theirs, rtol=1e-5, atol=1e-6)


def test_blocks_that_do_not_come_out_even_are_filled_up():
    weight = numbers(7, 10)
    codes, absmax = quantize_blocks(weight, nf4_codebook(), 64)
    assert codes.shape == (2, 64) and absmax[1] == weight.flatten()[64:].abs().max()
    assert relative_error(dequantize_blocks(codes, absmax, nf4_codebook(), (7, 10)), weight) < 0.13
    assert torch.equal(unpack(pack(codes)), codes.flatten())
    with pytest.raises(ValueError, match="whole bytes"):
        pack(codes.flatten()[:3])


def test_zeros_stay_zeros():
    for block in (torch.zeros(64), torch.cat((torch.zeros(64), torch.ones(64)))):
        codes, absmax = quantize_blocks(block, nf4_codebook())
        assert torch.equal(dequantize_blocks(codes, absmax, nf4_codebook(), block.shape), block)
        rounded = quantize_absmax(block, 4, 64)
        torch.testing.assert_close(by_steps(*rounded, block.shape), block, rtol=1e-6, atol=0)


def test_absmax_rounding_is_the_codebook_of_even_steps():
    weight = numbers(64, 64)
    for bits in (4, 8):
        book = codebook(f"int{bits}")
        back = by_steps(*quantize_absmax(weight, bits, 64), weight.shape)
        by_book = dequantize_blocks(*quantize_blocks(weight, book, 64), book, weight.shape)
        torch.testing.assert_close(back, by_book, rtol=0, atol=float(weight.abs().max()) / 2 ** (bits - 1))
        assert relative_error(back, weight) == pytest.approx(relative_error(by_book, weight), rel=1e-3)
        _, steps = quantize_absmax(weight, bits, 64)
        assert ((back - weight).view(-1, 64).abs().amax(1) <= steps / 2 * 1.0001).all()
    with pytest.raises(ValueError, match="bits = 9"):
        quantize_absmax(weight, 9, 64)
    with pytest.raises(ValueError, match="blocks of 60"):
        quantize_absmax(weight, 8, 60)


def test_errors_come_in_the_expected_order():
    weight = numbers(512, 512)
    error = {}
    for name in ("int8", "nf4", "int4"):
        book = codebook(name)
        error[name] = relative_error(dequantize_blocks(*quantize_blocks(weight, book), book, weight.shape), weight)
    assert error["int8"] < error["nf4"] / 10 and error["nf4"] < 0.9 * error["int4"]


@pytest.mark.parametrize("config", [QuantConfig(), QuantConfig(double=False), QuantConfig("int8"), QuantConfig("int4")])
def test_a_quantized_layer_computes_and_passes_gradients_as_its_matrix_does(config):
    linear = nn.Linear(64, 96)
    layer = QuantizedLinear(linear, config)
    matrix, x = layer.dequantize(), numbers(2, 5, 64).requires_grad_()
    torch.testing.assert_close(layer(x), nn.functional.linear(x, matrix, linear.bias), rtol=1e-5, atol=1e-6)
    (slope,) = torch.autograd.grad(layer(x).square().sum(), x)
    (wanted,) = torch.autograd.grad(nn.functional.linear(x, matrix, linear.bias).square().sum(), x)
    torch.testing.assert_close(slope, wanted, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(p, nn.Parameter) for p in (layer.weight, layer.absmax))


def test_a_layer_keeps_nothing_of_its_matrix_for_the_way_back():
    layer, kept = QuantizedLinear(nn.Linear(64, 96, bias=False)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        layer(numbers(2, 64).requires_grad_())
    assert sum(kept) == 0


@pytest.mark.parametrize(("double", "wanted"), [(False, 4.5), (True, 4 + 8 / 64 + 32 / (64 * 256))])
def test_bits_per_parameter_by_formula_and_by_count(double, wanted):
    assert bits_per_parameter(double=double) == pytest.approx(wanted)
    layer = QuantizedLinear(nn.Linear(512, 1024, bias=False), QuantConfig(double=double))
    counted = 8 * layer.nbytes() / (512 * 1024)
    assert counted == pytest.approx(wanted, abs=32 / (512 * 1024) + 1e-9)  # the mean of the scales, once per matrix


@pytest.mark.slow
def test_a_quantized_model_has_only_its_adapters_to_train_and_merges_after_dequantizing():
    base = decoder()
    model = quantize_model(copy.deepcopy(base))
    assert len(quantized_layers(model)) == 14 and not any(p.requires_grad for p in model.parameters())
    assert torch.equal(model.lm_head.weight, base.lm_head.weight)
    plain = dequantize_model(copy.deepcopy(model))
    torch.testing.assert_close(plain(IDS).logits, model(IDS).logits, rtol=1e-4, atol=1e-5)
    assert relative_error(model(IDS).logits, base(IDS).logits) < 0.3
    add_lora(model, LoRAConfig(r=4, alpha=8))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(30):
        loss = next_token_loss(model, BATCH)[0].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    with pytest.raises(TypeError, match="quantized"):
        merge_lora(copy.deepcopy(model))
    merged = merge_lora(dequantize_model(copy.deepcopy(model)))
    torch.testing.assert_close(merged(IDS).logits, model(IDS).logits, rtol=1e-3, atol=1e-3)
    rows = [[6, 7, 8], [9, 10]]
    assert torch.equal(generate(merged, rows, 5).tokens, generate(model, rows, 5).tokens)


def test_a_quantized_model_goes_through_a_state_dict():
    model = quantize_model(decoder())
    other = quantize_model(Decoder(DecoderConfig(**SIZES), seed=5))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(IDS).logits, model(IDS).logits)


def _plain(name: str) -> str:
    """A parameter's name without what peft and the package put around it."""
    return name.removeprefix("base_model.model.").removesuffix(".weight").removesuffix(".default")


def test_lora_through_peft_and_bitsandbytes_is_the_same(tmp_path):
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    base = decoder()
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    theirs = AutoModelForCausalLM.from_pretrained(
        save_model(base, tmp_path), quantization_config=quantization, device_map={"": "cpu"}, dtype=torch.float32
    )
    layers = [layer for layer in theirs.modules() if isinstance(layer, bnb.nn.Linear4bit)]
    assert len(layers) == 14
    theirs = prepare_model_for_kbit_training(theirs, use_gradient_checkpointing=False)
    theirs = get_peft_model(theirs, LoraConfig(r=4, lora_alpha=8, target_modules=list(ATTENTION + MLP)))
    ours = add_lora(quantize_model(base), LoRAConfig(r=4, alpha=8))
    for key, matrix in lora_weights(ours).items():
        matrix.copy_(numbers(*matrix.shape, seed=len(key)) * 0.1)
    state = {key.replace(".weight", ".default.weight"): value for key, value in lora_weights(ours).items()}
    assert not theirs.load_state_dict(state, strict=False).unexpected_keys
    theirs.train()
    torch.testing.assert_close(ours(IDS).logits, theirs(input_ids=IDS).logits, rtol=1e-3, atol=1e-3)
    slopes = []
    for model in (ours, theirs):
        loss = nn.functional.cross_entropy(model(input_ids=IDS).logits.flatten(0, 1), IDS.flatten())
        trained = {_plain(name): p for name, p in model.named_parameters() if p.requires_grad}
        slopes.append(dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True)))
    assert slopes[0].keys() == slopes[1].keys() and len(slopes[0]) == 28
    apart = {name: relative_error(slopes[0][name], wanted) for name, wanted in slopes[1].items()}
    assert max(apart.values()) < 5e-3, apart


def test_what_does_not_fit_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match="no format 'nf3'"):
        QuantConfig("nf3")
    with pytest.raises(ValueError, match="at least 2"):
        QuantConfig(block_size=5)
    with pytest.raises(ValueError, match="c_attn"):
        quantize_model(decoder(), targets=("c_attn",))
