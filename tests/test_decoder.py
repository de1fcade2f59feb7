"""The decoder by hand: equal to transformers' Llama, with padding and with a cache, and correct in its details."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from course_utils.models.convert import llama_config, to_llama
from course_utils.models.counting import num_parameters
from course_utils.models.decoder import (
    Cache,
    Decoder,
    DecoderConfig,
    RMSNorm,
    apply_rope,
    rope_tables,
)
from course_utils.models.generate import generate

SMALL = DecoderConfig(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=40,
    rope_theta=500.0,
)


def lively(config: DecoderConfig = SMALL, seed: int = 0) -> Decoder:
    """A decoder with weights ten times larger than at the start: logits and attention are far from flat."""
    model = Decoder(config, seed=seed).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
            else:
                parameter.add_(torch.linspace(-0.5, 0.5, len(parameter)) * (1 + len(name) % 3))
    return model


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(SMALL.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def variants() -> list[DecoderConfig]:
    fields = vars(SMALL)
    return [
        SMALL,
        DecoderConfig(**{**fields, "num_key_value_heads": 4, "tie_word_embeddings": False}),
        DecoderConfig(**{**fields, "num_key_value_heads": 1, "rms_norm_eps": 1e-3}),
    ]


@pytest.mark.parametrize("config", variants(), ids=["grouped", "untied", "one key head"])
def test_logits_equal_llama(config):
    model = lively(config)
    llama = to_llama(model)
    input_ids = tokens(3, 40)
    with torch.no_grad():
        ours, theirs = model(input_ids).logits, llama(input_ids).logits
    assert theirs.std() > 1, "flat logits would make any two models look equal"
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert set(model.state_dict()) == set(llama.state_dict())


def test_gradients_equal_llama():
    model = lively()
    llama = to_llama(model)
    input_ids = tokens(2, 20).clamp(min=1)  # transformers gives the embedding of padding, token 0, no gradient
    for module in (model, llama):
        F.cross_entropy(module(input_ids).logits[:, :-1].flatten(0, 1), input_ids[:, 1:].flatten()).backward()
    theirs = dict(llama.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-5, rtol=1e-4, msg=name)


def test_left_padding_equals_llama_and_the_row_alone():
    model = lively()
    llama = to_llama(model)
    input_ids = tokens(3, 12)
    mask = torch.ones_like(input_ids)
    mask[0, :5] = 0
    mask[2, :11] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        ours = model(input_ids, mask, positions).logits
        theirs = llama(input_ids, attention_mask=mask, position_ids=positions).logits
        alone = model(input_ids[:1, 5:]).logits
    real = mask.bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours[0, 5:], alone[0], atol=1e-5, rtol=1e-5)
    assert ours.isfinite().all(), "padding must not become NaN: it would spread through gradients"


def test_padding_has_finite_gradients():
    model = lively()
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, :6] = 0
    model(tokens(2, 8), mask).logits[:, -1].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("pieces", [[12], [1] * 12, [5, 1, 1, 4, 1], [7, 5]])
def test_reading_in_pieces_equals_reading_at_once(pieces):
    model = lively()
    input_ids = tokens(2, 12)
    cache = model.new_cache(2, 12)
    with torch.no_grad():
        whole = model(input_ids).logits
        parts = [model(piece, cache=cache).logits for piece in input_ids.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)
    assert cache.length == 12


def test_cached_and_padded_decoding_equals_llama():
    model = lively()
    llama = to_llama(model)
    input_ids = tokens(2, 10)
    mask = torch.ones_like(input_ids)
    mask[1, :3] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = model.new_cache(2, 10)
    with torch.no_grad():
        past = llama(input_ids[:, :6], attention_mask=mask[:, :6], position_ids=positions[:, :6], use_cache=True)
        model(input_ids[:, :6], mask[:, :6], positions[:, :6], cache)
        for i in range(6, 10):
            step = slice(i, i + 1)
            past = llama(
                input_ids[:, step],
                attention_mask=mask[:, : i + 1],
                position_ids=positions[:, step],
                past_key_values=past.past_key_values,
            )
            ours = model(input_ids[:, step], mask[:, : i + 1], positions[:, step], cache).logits
            torch.testing.assert_close(ours, past.logits, atol=1e-5, rtol=1e-5)


def test_cache_keeps_the_rows_it_is_told_to():
    model = lively()
    input_ids = tokens(3, 6)
    cache = model.new_cache(3, 8)
    rows = torch.tensor([2, 0, 2])
    with torch.no_grad():
        model(input_ids[:, :5], cache=cache)
        cache.select(rows)
        ours = model(input_ids[rows, 5:], cache=cache).logits
        whole = model(input_ids[rows]).logits[:, -1:]
    torch.testing.assert_close(ours, whole, atol=1e-5, rtol=1e-5)


def test_causal_places_do_not_see_the_future_and_others_do():
    model = lively()
    input_ids = tokens(1, 10)
    changed = input_ids.clone()
    changed[0, 6] = (changed[0, 6] + 1) % SMALL.vocab_size
    with torch.no_grad():
        before, after = model(input_ids).logits, model(changed).logits
        assert torch.equal(before[:, :6], after[:, :6]) and not torch.allclose(before[:, 6:], after[:, 6:])
        both = model(input_ids, causal=False).logits, model(changed, causal=False).logits
        assert not torch.allclose(both[0][:, :6], both[1][:, :6])
        mask = torch.ones_like(input_ids)
        mask[0, 6] = 0  # a hidden place changes nothing, whatever stands there
        hidden = [model(ids, mask, causal=False).logits for ids in (input_ids, changed)]
    keep = [i for i in range(10) if i != 6]
    torch.testing.assert_close(hidden[0][:, keep], hidden[1][:, keep])


def test_full_attention_equals_a_mask_of_ones():
    model = lively()
    input_ids = tokens(2, 9)
    with torch.no_grad():
        for causal in (True, False):
            with_mask = model(input_ids, torch.ones_like(input_ids), causal=causal).logits
            torch.testing.assert_close(model(input_ids, causal=causal).logits, with_mask, atol=1e-5, rtol=1e-5)


def test_last_logits_only():
    model = lively()
    input_ids = tokens(2, 9)
    with torch.no_grad():
        whole, last = model(input_ids), model(input_ids, logits_to_keep=2)
    assert last.logits.shape == (2, 2, SMALL.vocab_size)
    torch.testing.assert_close(last.logits, whole.logits[:, -2:], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(model.lm_head(last.hidden), whole.logits, atol=1e-6, rtol=1e-6)


def test_rope_depends_on_distance_alone_and_keeps_lengths():
    cos, sin = rope_tables(8, 50, theta=100.0)
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=generator)
    scores = {}
    for start in (0, 7, 40):
        turned = [apply_rope(x, cos[at, None], sin[at, None]) for x, at in ((q, start + 5), (k, start))]
        scores[start] = (turned[0] * turned[1]).sum().item()
        assert turned[0].norm().item() == pytest.approx(q.norm().item(), rel=1e-5)
    assert scores[7] == pytest.approx(scores[0], rel=1e-4) and scores[40] == pytest.approx(scores[0], rel=1e-4)
    other = (apply_rope(q, cos[6, None], sin[6, None]) * k).sum().item()
    assert abs(other - scores[0]) > 1e-2


def test_rms_norm_follows_its_formula():
    norm = RMSNorm(4, eps=0.5)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    x = torch.tensor([[1.0, -2.0, 3.0, -4.0]])
    expected = x / (30 / 4 + 0.5) ** 0.5 * norm.weight
    torch.testing.assert_close(norm(x), expected)


def test_initial_weights_follow_the_seed_alone():
    state = torch.get_rng_state()
    first, again, other = Decoder(SMALL, seed=1), Decoder(SMALL, seed=1), Decoder(SMALL, seed=2)
    assert torch.equal(torch.get_rng_state(), state), "building a model must not move the global random state"
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert value.dim() == 1 or not torch.equal(value, other.state_dict()[name])
    matrices = torch.cat([p.detach().flatten() for p in first.parameters() if p.dim() == 2])
    assert matrices.mean().abs() < 1e-3 and matrices.std().item() == pytest.approx(0.02, rel=0.03)
    assert all((p == 1).all() for p in first.parameters() if p.dim() == 1)
    from_generator = Decoder(SMALL, seed=torch.Generator().manual_seed(1))
    assert torch.equal(from_generator.lm_head.weight, first.lm_head.weight)


def test_tied_weights_stay_tied_through_copies_and_steps():
    model = copy.deepcopy(Decoder(SMALL)).to(torch.float64).to(torch.float32)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(tokens(2, 5)).logits.square().mean().backward()
    optimizer.step()
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_num_parameters_counts_by_hand():
    d, ff, kv, vocab = 32, 48, 16, 61
    layer = d * d * 2 + 2 * d * kv + 3 * d * ff + 2 * d
    body = 3 * layer + d
    model = Decoder(SMALL)
    assert num_parameters(model) == body + vocab * d
    assert num_parameters(model, embeddings=False) == body
    assert (
        num_parameters(Decoder(DecoderConfig(**{**vars(SMALL), "tie_word_embeddings": False}))) == body + 2 * vocab * d
    )
    for parameter in model.model.layers.parameters():
        parameter.requires_grad_(False)
    assert num_parameters(model, trainable_only=True) == vocab * d + d


def test_laptop_and_transformers_agree_on_the_size():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = DecoderConfig()
    assert num_parameters(Decoder(config)) == LlamaForCausalLM(LlamaConfig(**llama_config(config))).num_parameters()


def test_config_of_a_profile():
    from course_utils import settings

    config = DecoderConfig.for_profile(settings.profile("smoke"), rope_theta=77.0)
    profile = settings.profile("smoke")
    assert (config.hidden_size, config.max_position_embeddings) == (profile.hidden_size, profile.context)
    assert config.rope_theta == 77.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": 30}, "hidden_size 30 is not divisible"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3"),
        ({"hidden_size": 12, "num_attention_heads": 4}, "must be even"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps is -1.0"),
    ],
)
def test_impossible_sizes_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        DecoderConfig(**{**vars(SMALL), **change})


def test_too_long_rows_and_wrong_masks_are_refused():
    model = Decoder(SMALL)
    with pytest.raises(ValueError, match=r"41 tokens were given.*max_position_embeddings = 40"):
        model(tokens(1, 41))
    cache = model.new_cache(1)
    model(tokens(1, 39), cache=cache)
    with pytest.raises(ValueError, match="41 tokens"):
        model(tokens(1, 2), cache=cache)
    with pytest.raises(ValueError, match=r"attention_mask has 3 columns.*5 new tokens"):
        model(tokens(1, 5), torch.ones(1, 3))
    with pytest.raises(ValueError, match="holds 4 tokens and 5 are needed"):
        model(tokens(1, 5), cache=Cache(SMALL, 1, 4))


def test_half_precision_stays_near_float32():
    model = lively(seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(0.3)
    input_ids = tokens(2, 30)
    with torch.no_grad():
        exact = model(input_ids).logits
        rounded = copy.deepcopy(model).to(torch.bfloat16)(input_ids).logits
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(input_ids).logits
    assert rounded.dtype == torch.bfloat16
    for other in (rounded, mixed):
        assert (other.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.slow
def test_forward_has_no_branch_on_data():
    """torch.compile wants one graph: with fullgraph it fails where control flow depends on the values."""
    model = lively()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    input_ids = tokens(2, 8)
    mask = torch.ones_like(input_ids)
    mask[0, :3] = 0
    torch.testing.assert_close(compiled(input_ids).logits, model(input_ids).logits)
    torch.testing.assert_close(compiled(input_ids, mask).logits, model(input_ids, mask).logits)
    torch.testing.assert_close(compiled(input_ids, causal=False).logits, model(input_ids, causal=False).logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_and_back_equals_loading_the_rounded_weights(dtype):
    """The tables of angles are never rounded: neither by casting all, nor a part, nor twice; copies follow."""
    model, exact = lively(), (lively().model.rope_cos, lively().model.rope_sin)
    cast = copy.deepcopy(model).to(dtype)
    assert cast.lm_head.weight.dtype == dtype and cast(tokens(2, 9)).logits.dtype == dtype
    back = copy.deepcopy(cast).to(torch.float16).to(torch.float32)
    fresh = Decoder(SMALL, seed=None).eval()
    fresh.load_state_dict(back.state_dict())
    assert torch.equal(back(tokens(2, 30)).logits, fresh(tokens(2, 30)).logits)
    prompts = tokens(3, 8).tolist()
    written = [generate(m, prompts, 12, stop_ids=(), return_logprobs=True) for m in (back, fresh)]
    assert torch.equal(written[0].tokens, written[1].tokens) and torch.equal(written[0].logprobs, written[1].logprobs)
    for table in (cast.model.rope_cos, back.model.rope_cos):
        assert table.dtype == torch.float32 and torch.equal(table, exact[0])
    assert torch.equal(back.model.rope_sin, exact[1])
    assert not {"model.rope_cos", "model.rope_sin"} & cast.state_dict().keys()


def test_a_row_that_sees_no_key_is_finite_and_gets_nothing():
    """Padding on the left looks nowhere, and a whole row of padding neither: attention gives 0, with 0 gradients."""
    model, ids = lively(), tokens(2, 8)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, :5], mask[1] = 0, 0
    caught = []
    attention = model.model.layers[0].self_attn
    hook = attention.register_forward_hook(lambda module, inputs, output: caught.append((inputs[0], output)))
    logits = model(ids, mask).logits
    hook.remove()
    ((before, mixed),) = caught
    assert torch.equal(mixed[0, :5], torch.zeros(5, 32)) and torch.equal(mixed[1], torch.zeros(8, 32))
    assert mixed[0, 5:].abs().amin() > 0 and torch.isfinite(logits).all()
    slope = torch.autograd.grad(mixed.square().sum() + mixed.sum(), before, retain_graph=True)[0]
    assert torch.equal(slope[1], torch.zeros(8, 32)) and torch.equal(slope[0, :5], torch.zeros(5, 32))
    logits[:, -1].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
