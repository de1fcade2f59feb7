"""Halves of a batch on two cores: the same gradients, whatever else the machine does."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.lora import add_lora
from course_utils.training import two_cores
from course_utils.training.loop import TrainConfig, TrainingError, train
from course_utils.training.objectives import next_token_loss
from course_utils.training.two_cores import by_rows, fits, sharing_weights

CPU = torch.device("cpu")
CONFIG = TrainConfig(steps=6, learning_rate=0.01, device="cpu", save_every=2)


def tiny():
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    return Decoder(DecoderConfig(**sizes, num_attention_heads=2, num_key_value_heads=1), seed=0)


def batches(rows=5):
    ids = torch.randint(6, 32, (6, rows, 12), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[:, 0, :9] = -100  # the halves have other numbers of labels
    return [{"input_ids": x, "labels": y} for x, y in zip(ids, labels, strict=True)]


def trained(config=CONFIG, rows=5, **options):
    model = tiny()
    history = train(model, batches(rows), next_token_loss, config, progress=False, **options)
    return model, history


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("micro", [None, 1, 2])
def test_halves_are_the_whole_to_rounding(rows, micro):
    config = replace(CONFIG, micro_batch_size=micro)
    (halves, a), (whole, b) = (trained(replace(config, split_batch=split), rows) for split in (True, False))
    for x, y in zip(halves.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=2e-5)
    assert a.column("loss") == pytest.approx(b.column("loss"), abs=1e-5) and a.column("tokens") == b.column("tokens")


@pytest.mark.slow
@pytest.mark.parametrize("micro", [None, 1])
def test_the_same_bits_on_one_core_and_beside_busy_threads(monkeypatch, micro):
    config = replace(CONFIG, micro_batch_size=micro)
    monkeypatch.setattr(two_cores, "cores", lambda: 1)
    alone, _ = trained(config)
    monkeypatch.setattr(two_cores, "cores", lambda: 2)
    stop = threading.Event()

    def burn():
        x = torch.rand(64, 64)
        while not stop.is_set():
            x = torch.tanh(x @ x)

    threads = [threading.Thread(target=burn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert all(equal(alone, trained(config)[0]) for _ in range(3))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_stopped_and_resumed_it_is_the_same(tmp_path):
    def stop(history):
        if len(history) == 3:
            raise RuntimeError("stopped")

    whole, _ = trained()
    with pytest.raises(RuntimeError):
        trained(checkpoint_dir=tmp_path, callback=stop)
    resumed, history = trained(checkpoint_dir=tmp_path)
    assert len(history) == 6 and equal(whole, resumed)


def test_the_twin_shares_memory_ties_and_what_is_frozen():
    model = tiny()
    add_lora(model)
    twin = sharing_weights(model)
    own = {name for name, p in model.named_parameters() if p.requires_grad}
    assert own and all("lora" in name for name in own)
    for (name, a), (_, b) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert a.data_ptr() == b.data_ptr() and (a is not b) == (name in own)
    assert twin.lm_head.weight is twin.model.embed_tokens.weight
    assert twin.model.rope_cos.data_ptr() == model.model.rope_cos.data_ptr()


def test_where_it_is_not_done():
    assert fits(tiny(), next_token_loss, CPU) and fits(tiny(), partial(partial(next_token_loss)), CPU)
    assert not fits(tiny(), next_token_loss, torch.device("cuda"))
    assert not fits(tiny(), lambda model, batch: next_token_loss(model, batch), CPU), "it may draw random numbers"
    dropping = tiny()
    dropping.model.extra = nn.Dropout(0.1)
    assert not fits(dropping, next_token_loss, CPU)
    dropping.model.extra = nn.Dropout(0.0)
    assert fits(dropping, next_token_loss, CPU)
    dropping.config.__dict__["attention_dropout"] = 0.1
    assert not fits(dropping, next_token_loss, CPU)


def test_hooks_on_parameters_and_modules_are_obeyed():
    """A masked gradient must be masked in every half: with a hook the batch stays whole."""
    masked, model = tiny(), tiny()
    before = masked.model.embed_tokens.weight.detach().clone()
    masked.model.embed_tokens.weight.register_hook(lambda grad: grad * (torch.arange(32) < 10)[:, None])
    assert not fits(masked, next_token_loss, CPU)
    train(masked, batches(), next_token_loss, replace(CONFIG, weight_decay=0.0), progress=False)
    moved = (masked.model.embed_tokens.weight.detach() - before).abs().sum(1)
    assert moved[6:10].min() > 0 and moved[10:].max() == 0
    model.model.layers[0].register_forward_hook(lambda *_: None)
    assert not fits(model, next_token_loss, CPU)
    other = tiny()
    other.lm_head.weight.register_post_accumulate_grad_hook(lambda _: None)
    assert not fits(other, next_token_loss, CPU)


def test_an_error_in_one_half_is_told_and_all_cores_are_back():
    @by_rows
    def spoiled(model, batch):
        if len(batch["input_ids"]) == 2:
            return "nonsense"
        return next_token_loss(model, batch)

    threads = torch.get_num_threads()
    with pytest.raises(TrainingError, match="the objective returned a str"):
        train(tiny(), batches(), spoiled, CONFIG, progress=False)
    assert torch.get_num_threads() == threads
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]
