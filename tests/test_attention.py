"""Attention written out, windows, maps, influence and counting: against the fused kernel or transformers."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F

from course_utils.models.attention import (
    attention_mask_of,
    attention_weights,
    causal_mask,
    document_mask,
    grouped_query_attention,
    sliding_window_attention,
)
from course_utils.models.attention_maps import (
    attention_maps,
    influence,
    previous_token_score,
    repeats,
    weight_on,
    without_head,
)
from course_utils.models.convert import to_llama
from course_utils.models.counting import cache_bytes, flops_table, num_parameters, parameter_table
from course_utils.models.decoder import Decoder, DecoderConfig

SMALL = DecoderConfig(vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4)


@pytest.fixture
def model() -> Decoder:
    model = Decoder(SMALL, seed=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)  # at N(0, 0.02) attention is almost uniform, and little would be tested
    return model


def qkv(length: int, kv_heads: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, n, length, 8, generator=generator) for n in (4, kv_heads, kv_heads)]


def test_causal_mask_and_window():
    assert causal_mask(4, 2).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert torch.equal(causal_mask(5), torch.ones(5, 5, dtype=torch.bool).tril())
    assert torch.equal(causal_mask(5, 9), causal_mask(5))
    with pytest.raises(ValueError, match="window 0"):
        causal_mask(4, 0)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_grouped_attention_is_the_kernels(kv_heads):
    q, k, v = qkv(11, kv_heads)
    kernel = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(grouped_query_attention(q, k, v), kernel, rtol=1e-5, atol=1e-6)
    assert torch.allclose(attention_weights(q, k).sum(-1), torch.ones(2, 4, 11))


def test_heads_that_cannot_be_grouped():
    q, k, v = qkv(5, 3)
    with pytest.raises(ValueError, match="divisible"):
        grouped_query_attention(q, k, v)


@pytest.mark.parametrize("window", [1, 2, 7, 36, 37, 50])
def test_blocks_equal_the_masked_attention(window):
    q, k, v = qkv(37)
    expected = grouped_query_attention(q, k, v, causal_mask(37, window))
    torch.testing.assert_close(sliding_window_attention(q, k, v, window), expected, rtol=1e-5, atol=1e-6)


def test_blocks_never_build_the_whole_matrix():
    q, k, v = qkv(64)
    seen = []
    original = F.scaled_dot_product_attention

    def record(q, k, v, mask):
        seen.append((q.shape[2], k.shape[2]))
        return original(q, k, v, mask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", record)
        sliding_window_attention(q, k, v, 8)
    assert seen == [(8, 16)]


def test_a_window_of_nothing():
    with pytest.raises(ValueError, match="window 0"):
        sliding_window_attention(*qkv(5), 0)


def test_mask_of_a_model_and_its_end(model):
    ids = torch.arange(3, 12)[None]
    plain = model(ids).logits
    with attention_mask_of(model, causal_mask(9)):
        torch.testing.assert_close(model(ids).logits, plain, rtol=1e-5, atol=1e-5)
    with attention_mask_of(model, torch.ones(9, 9, dtype=torch.bool)):
        torch.testing.assert_close(model(ids).logits, model(ids, causal=False).logits, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(model(ids).logits, plain, atol=1e-3)
    assert torch.equal(model(ids).logits, plain)
    with attention_mask_of(model, causal_mask(5)), pytest.raises(ValueError, match="9 tokens"):
        model(ids)


def test_documents_in_a_packed_row_are_as_if_read_alone(model):
    rows = torch.tensor([[7, 8, 1, 9, 10, 1, 11, 12, 13], [1, 9, 10, 14, 1, 7, 8, 9, 1]])
    mask = document_mask(rows, 1)
    assert mask.shape == (2, 1, 9, 9) and mask[0, 0].long().sum(1).tolist() == [1, 2, 1, 2, 3, 1, 2, 3, 4]
    assert mask[0, 0, 4, 2] and not mask[0, 0, 4, 1] and not mask[0, 0, 3, 4]
    with attention_mask_of(model, mask), torch.inference_mode():
        packed = model(rows).logits
    with torch.inference_mode():  # positions are relative: a document may begin anywhere
        torch.testing.assert_close(packed[0, 2:5], model(rows[:1, 2:5]).logits[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(packed[1, 4:8], model(rows[1:, 4:8]).logits[0], rtol=0, atol=1e-5)
    moved = influence(lambda ids: model(ids).logits, rows[0], (rows[0] + 20) % 50)
    assert moved[3, 0] > 0  # without the mask the document before is seen


def test_a_mask_for_each_row_has_a_place_for_the_heads(model):
    rows = torch.zeros(model.config.num_attention_heads, 5, dtype=torch.long)
    mask = document_mask(rows, 1)
    for wrong in (mask[:, 0], mask[:1], mask[..., :4]):  # the first would be read as one mask a head
        with attention_mask_of(model, wrong), pytest.raises(ValueError, match=r"give \(length, length\), or"):
            model(rows)


def test_document_mask_wants_rows():
    with pytest.raises(ValueError, match="A single row needs"):
        document_mask(torch.tensor([1, 2, 3]), 1)


def test_maps_are_those_of_transformers(model):
    ids = torch.randint(3, 50, (2, 9), generator=torch.Generator().manual_seed(0))
    llama = to_llama(model)
    llama.set_attn_implementation("eager")
    theirs = torch.stack(llama(ids, output_attentions=True).attentions, dim=1)
    maps = attention_maps(model, ids)
    assert maps.shape == (2, 3, 4, 9, 9)
    torch.testing.assert_close(maps, theirs.detach(), rtol=1e-5, atol=1e-6)
    assert float(maps.diagonal(0, -2, -1).std()) > 0.01  # not uniform


def test_previous_token_score():
    maps = torch.zeros(1, 1, 2, 4, 4)
    maps[0, 0, 0] = torch.eye(4).roll(-1, 1).tril()  # head 0: all weight on the token before
    maps[0, 0, 1] = torch.eye(4)
    assert previous_token_score(maps).tolist() == [[1.0, 0.0]]
    assert weight_on(maps, 0, 2, [1, 2]).tolist() == [[1.0, 1.0]]
    assert weight_on(maps, 0, 2, [1]).tolist() == [[1.0, 0.0]]


def test_repeats():
    assert repeats([7, 1, 2, 7, 3, 7], 7) == [(3, [1]), (5, [1, 4])]
    assert repeats([7, 1], 7) == []


def test_without_a_head_is_without_its_columns(model):
    ids = torch.arange(3, 12)[None]
    plain = model(ids).logits
    with without_head(model, 1, 2):
        found = model(ids).logits
    kept = model.model.layers[1].self_attn.o_proj.weight.detach().clone()
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight[:, 8:12] = 0
    torch.testing.assert_close(found, model(ids).logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-3)
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight.copy_(kept)
    assert torch.equal(model(ids).logits, plain)
    with pytest.raises(IndexError, match="no head 4"), without_head(model, 0, 4):
        pass


def test_influence_finds_masks_and_reach(model):
    ids, other = torch.arange(3, 15), torch.arange(20, 32)
    moved = influence(lambda x: model(x).logits, ids, other) > 0
    assert torch.equal(moved, causal_mask(12))
    assert bool((influence(lambda x: model(x, causal=False).logits, ids, other) > 0).all())
    with attention_mask_of(model, causal_mask(12, 3)):
        moved = influence(lambda x: model(x).logits, ids, other) > 0
    assert torch.equal(moved, causal_mask(12, 3 * (3 - 1) + 1))  # layers * (window - 1) places back, and itself
    with pytest.raises(ValueError, match=r"other_ids\[2\]"):
        influence(lambda x: model(x).logits, ids, torch.where(ids == ids[2], ids, other))


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}, {"num_key_value_heads": 1}])
def test_parameters_by_formula(changes):
    config = DecoderConfig(**{**SMALL.__dict__, **changes})
    parts = parameter_table(config)
    model = Decoder(config)
    assert sum(parts.values()) == num_parameters(model) == num_parameters(to_llama(model))
    mlp = sum(p.numel() for name, p in model.named_parameters() if ".mlp." in name)
    norms = sum(p.numel() for name, p in model.named_parameters() if "norm" in name)
    assert (parts["feed-forward"], parts["norms"]) == (mlp, norms)


def test_llama_3_has_eight_billion():
    config = DecoderConfig(128_256, 4096, 14_336, 32, 32, 8, 8192, tie_word_embeddings=False)
    assert sum(parameter_table(config).values()) == 8_030_261_248  # as in the model's own index of weights
    assert cache_bytes(config, 8192) == 2**30


def test_flops_are_what_torch_executes(model):
    from torch.utils.flop_counter import FlopCounterMode

    llama = to_llama(model)
    llama.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        llama(torch.randint(3, 50, (2, 20)))
    assert counter.get_total_flops() == 40 * sum(flops_table(SMALL, 20).values())


def test_flops_of_a_window_stop_growing():
    short, long = (flops_table(SMALL, length, window=8)["attention: scores and mixing"] for length in (10, 1000))
    assert short == 4 * 3 * 16 * 10
    assert long == 4 * 3 * 16 * 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_query_that_may_look_nowhere_gets_nothing(dtype):
    """As PyTorch's fused kernel has it, forwards and backwards."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, 6, 8), (2, 2, 6, 8), (2, 2, 6, 8))
    inputs = [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]
    mask = causal_mask(6)
    mask[0] = mask[3] = False
    weights = attention_weights(*inputs[:2], mask)
    assert not weights[:, :, [0, 3]].any() and not weights[:, :, :, 5][:, :, :5].any()
    torch.testing.assert_close(weights[:, :, 1].sum(-1), torch.ones(2, 4, dtype=dtype))
    found, slopes = [], []
    fused = functools.partial(F.scaled_dot_product_attention, enable_gqa=True)
    for attend in (grouped_query_attention, fused):
        mixed = attend(*inputs, mask)
        found.append(mixed)
        with torch.autograd.set_detect_anomaly(True):
            slopes.append(torch.autograd.grad((mixed + mixed.square()).sum(), inputs))
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    assert not found[0][:, :, [0, 3]].any()
    torch.testing.assert_close(*found, **close)
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs, **close)
    assert not slopes[0][0][:, :, [0, 3]].any()
