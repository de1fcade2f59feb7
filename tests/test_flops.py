"""The arithmetic of training against PyTorch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_utils.models.counting import num_parameters
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.training.flops import flops_per_token, matmul_parameters, matmul_rate, share_of_peak
from course_utils.training.objectives import next_token_loss


def model_of(layers: int, hidden: int, heads: int, key_value_heads: int, tied: bool) -> Decoder:
    return Decoder(
        DecoderConfig(
            vocab_size=96,
            hidden_size=hidden,
            intermediate_size=3 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_value_heads,
            max_position_embeddings=64,
            tie_word_embeddings=tied,
        )
    )


@pytest.mark.parametrize("length", [8, 64])
@pytest.mark.parametrize("sizes", [(1, 32, 4, 4, False), (2, 32, 4, 2, True), (3, 48, 4, 1, True)])
def test_formula_equals_the_counter(sizes, length):
    model = model_of(*sizes)
    ids = torch.randint(6, 96, (3, length), generator=torch.Generator().manual_seed(0))
    with sdpa_kernel(SDPBackend.MATH):  # the counter does not know the fused attention of the CPU
        with FlopCounterMode(display=False) as forward:
            loss, _ = next_token_loss(model, {"input_ids": ids, "labels": ids})
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    assert flops_per_token(model, length, training=False) * ids.numel() == forward.get_total_flops()
    counted = forward.get_total_flops() + backward.get_total_flops()
    assert flops_per_token(model, length) * ids.numel() == counted


def test_parameters_count_shared_weights_once_and_multiplications_each_time():
    tied, free = model_of(1, 32, 4, 2, True), model_of(1, 32, 4, 2, False)
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 96
    norms = 3 * 32
    assert num_parameters(tied) == 96 * 32 + layer + norms
    assert num_parameters(free) == 2 * 96 * 32 + layer + norms
    assert matmul_parameters(tied) == matmul_parameters(free) == 96 * 32 + layer
    tied.lm_head.weight.requires_grad_(False)
    assert num_parameters(tied, trainable_only=True) == layer + norms


def test_the_same_for_a_transformers_model():
    from course_utils.models.convert import to_llama

    model = model_of(2, 32, 4, 2, True)
    assert flops_per_token(to_llama(model), 40) == flops_per_token(model, 40)
    assert num_parameters(to_llama(model)) == num_parameters(model)


def test_share_of_peak_is_work_over_rate():
    model = model_of(1, 32, 4, 2, True)
    work = 6 * (96 * 32 + 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 96) + 12 * 1 * 32 * 16
    assert flops_per_token(model, 16) == work
    assert share_of_peak(model, 16, tokens_per_second=1000.0, rate=work * 4000.0) == pytest.approx(0.25)


def test_the_measured_rate_is_that_of_products():
    small = matmul_rate(size=128, seconds=0.05)
    assert 1e7 < small < 1e14
    assert isinstance(small, float)
