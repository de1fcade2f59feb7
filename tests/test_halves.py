"""Two halves of the rows, each on one core: what the whole batch gives, and only where nobody can notice."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.decoding import FusedBackend, alike
from course_utils.models.halves import at_once, by_rows, like_lengths, one_core, read, sharing_weights
from course_utils.models.scoring import next_token_logits, token_losses

SIZES = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def model():
    return Decoder(DecoderConfig(**SIZES, num_key_value_heads=2), seed=1)


def batch(rows):
    ids = torch.randint(2, 40, (rows, 9), generator=torch.Generator().manual_seed(rows))
    mask = (torch.arange(9) < torch.arange(rows)[:, None] % 7 + 3).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.mark.parametrize("rows", [1, 7, 8, 13])
@pytest.mark.parametrize("forward", [next_token_logits, token_losses])
def test_halves_read_what_the_whole_batch_reads(model, forward, rows):
    threads, given = torch.get_num_threads(), batch(rows)
    found = read(model, given, forward)
    assert not found.requires_grad and torch.is_grad_enabled() and torch.get_num_threads() == threads
    torch.testing.assert_close(found, forward(model, given).detach(), rtol=1e-5, atol=1e-6)


def test_losses_are_those_of_each_token(model):
    given = batch(9)
    losses = token_losses(model, given).detach()
    logs = model(given["input_ids"]).logits.log_softmax(-1).detach()
    for row in range(9):
        n = int(given["attention_mask"][row].sum())
        expected = [-logs[row, t, given["input_ids"][row, t + 1]] for t in range(n - 1)]
        torch.testing.assert_close(losses[row, : n - 1], torch.stack(expected), rtol=1e-4, atol=1e-5)
        assert (losses[row, n - 1 :] == 0).all()


@pytest.mark.parametrize(
    ("lengths", "shapes"),
    [
        ([3, 9, 3, 9, 4, 8, 4, 9], [(4, 4), (4, 9)]),  # the short ones are cut
        ([3, 9, 3, 9, 4, 8, 4, 9, 4], [(5, 4), (4, 9)]),
        ([9, 8, 9, 8, 9, 8, 9, 8], [(8, 9)]),  # nothing to be spared
        ([3, 9, 3, 9], [(4, 9)]),  # too few
    ],
)
def test_rows_of_like_length_are_read_together(model, lengths, shapes):
    rows = len(lengths)
    ids = torch.randint(2, 40, (rows, 9), generator=torch.Generator().manual_seed(rows))
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).long()
    seen = []

    def sums(ids, mask):
        seen.append(tuple(ids.shape))
        return (model(ids).logits.logsumexp(-1) * mask).sum(1)

    slopes = []
    for found in (like_lengths(model, ids, mask, sums), sums(ids, mask)):
        model.zero_grad()
        (found * torch.arange(rows)).sum().backward()
        slopes.append((found.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    assert seen == [*shapes, (rows, 9)]
    (apart, grouped), (whole, plain) = slopes
    torch.testing.assert_close(apart, whole)
    for name in plain:
        torch.testing.assert_close(grouped[name], plain[name], rtol=1e-4, atol=1e-4)


def counting(seen, marked):
    def forward(model, given):
        seen.append(len(given["input_ids"]))
        return model(given["input_ids"]).logits

    return by_rows(forward) if marked else forward


@pytest.mark.parametrize("why", ["halves", "not marked", "a hook", "another forward", "autocast"])
def test_only_what_nobody_notices_is_read_twice_at_once(model, why):
    seen = []
    if why == "a hook":
        model.model.norm.register_forward_hook(lambda module, given, out: out)
    if why == "another forward":
        model.model.norm.forward = model.model.norm.forward
    with torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"):
        read(model, batch(12), counting(seen, marked=why != "not marked"))
    assert seen == ([6, 6] if why == "halves" else [12])


def test_an_error_in_one_half_is_raised(model):
    @by_rows
    def breaks(model, given):
        raise ValueError("a half has no answer")

    threads = torch.get_num_threads()
    with pytest.raises(ValueError, match="no answer"):
        read(model, batch(8), breaks)
    assert torch.get_num_threads() == threads


def test_gradients_of_two_models_at_once(model):
    other, ids = Decoder(model.config, seed=2), batch(6)["input_ids"]
    losses = at_once(model, *(lambda m=m: m(ids).logits.square().mean() for m in (model, other)))
    at_once(model, *(loss.backward for loss in losses))
    for trained in (model, other):
        alone = Decoder(model.config, seed=None)
        alone.load_state_dict(trained.state_dict())
        alone(ids).logits.square().mean().backward()
        assert all(torch.equal(p.grad, q.grad) for p, q in zip(trained.parameters(), alone.parameters(), strict=True))


def test_one_core_for_a_while(model):
    threads = torch.get_num_threads()
    with one_core(model):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads


def test_a_twin_shares_weights_alone(model):
    twin = sharing_weights(model)
    assert twin.model.embed_tokens.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert twin.model is not model.model


@pytest.mark.parametrize("quick", [False, True])
def test_prompts_in_parts_are_the_prompts(model, monkeypatch, quick):
    from course_utils.models import decoding

    monkeypatch.setattr(decoding, "PREFILL_TOKENS", 20)
    mask = batch(11)["attention_mask"].flip(1)  # padding on the left
    ids = batch(11)["input_ids"].flip(1)
    whole, parts = (FusedBackend(model.eval(), 12, way) for way in (False, quick))
    with torch.inference_mode():
        pairs = [(whole.prefill(ids, mask), parts.prefill_in_parts(ids, mask))]
        for tokens in (torch.arange(11) + 2, torch.arange(11) + 20):
            pairs.append((whole.step(tokens), parts.step(tokens)))
    for expected, found in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_parts_of_similar_length():
    assert alike([3, 9, 4, 3, 8], 9) == [[0, 3], [2], [4], [1]]
    assert alike([5] * 4, 10) == [[0, 1], [2, 3]] and alike([50], 10) == [[0]]


@pytest.mark.slow
def test_a_decoder_is_made_without_importing_a_compiler():
    code = (
        "import sys; from course_utils.models.decoder import Decoder, DecoderConfig; Decoder(DecoderConfig());"
        "sys.exit(int(any(name in sys.modules for name in ('torch._dynamo', 'sympy'))))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_embedding_is_trained(model):
    assert isinstance(model.model.embed_tokens, nn.Embedding) and model.model.embed_tokens.weight.requires_grad
