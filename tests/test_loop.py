"""The training loop against a loop written by hand, and everything that may go wrong in it."""

from __future__ import annotations

import copy
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.text.batching import IGNORE
from course_utils.training.loop import History, LossNotFinite, TrainConfig, TrainingError, train
from course_utils.training.objectives import masked_token_loss, mean_cross_entropy, next_token_loss
from course_utils.training.schedules import learning_rate

VOCABULARY = 64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models of this size only lose time when their products are shared out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(**changes: object) -> Decoder:
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
    }
    return Decoder(DecoderConfig(**{**sizes, **changes}), seed=0)


def random_batches(steps: int, rows: int = 6, length: int = 16, seed: int = 0) -> list[dict[str, Tensor]]:
    """Rows with very unequal numbers of labels, one of them with none at all."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(steps):
        ids = torch.randint(6, VOCABULARY, (rows, length), generator=generator)
        labels = ids.clone()
        for row in range(rows):
            labels[row, : row * length // (rows - 1)] = IGNORE
        batches.append({"input_ids": ids, "labels": labels})
    return batches


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same(a: nn.Module, b: nn.Module, tolerance: float = 0.0) -> None:
    for (name, x), (_, y) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        if tolerance:
            torch.testing.assert_close(x, y, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
        else:
            assert torch.equal(x, y), name


@contextmanager
def gradients_seen() -> Iterator[list[list[Tensor]]]:
    """The gradients (after clipping) that each optimizer step received."""
    seen: list[list[Tensor]] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append([p.grad.clone() for g in optimizer.param_groups for p in g["params"] if p.grad is not None])

    handle = register_optimizer_step_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def test_equals_a_loop_written_by_hand():
    config = TrainConfig(steps=6, learning_rate=1e-2, warmup_steps=2, max_grad_norm=0.5, weight_decay=0.2, eps=1e-4)
    batches = random_batches(6)
    ours, theirs = tiny(), tiny()
    history = train(ours, batches, next_token_loss, config, progress=False)

    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.2}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        eps=1e-4,  # Adam divides by the gradient's size: where that is tiny, rounding would be magnified
        fused=False,
    )
    losses, norms = [], []
    for step, lr in enumerate([0.005, 0.01, 0.01, 0.0075, 0.005, 0.0025]):
        for group in optimizer.param_groups:
            group["lr"] = lr
        logits = theirs(batches[step]["input_ids"]).logits[:, :-1]
        loss = F.cross_entropy(logits.reshape(-1, VOCABULARY), batches[step]["labels"][:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5).item())
        optimizer.step()
        losses.append(loss.item())
    assert_same(ours, theirs, tolerance=1e-5)
    assert history.column("loss") == pytest.approx(losses, abs=1e-5)
    assert history.column("grad_norm") == pytest.approx(norms, rel=1e-4)
    assert history.column("lr") == pytest.approx([0.005, 0.01, 0.01, 0.0075, 0.005, 0.0025])


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4, 5])
def test_accumulated_gradients_equal_those_of_the_whole_batch(micro_batch_size):
    batches = random_batches(3)
    counts = (batches[0]["labels"][:, 1:] != IGNORE).sum(1).tolist()
    assert len(set(counts)) > 3, "the rows must have unequal numbers of tokens, or the test shows nothing"
    with gradients_seen() as whole:
        history = train(tiny(), batches, next_token_loss, TrainConfig(steps=3, learning_rate=1e-4), progress=False)
    config = TrainConfig(steps=3, learning_rate=1e-4, micro_batch_size=micro_batch_size)
    with gradients_seen() as parts:
        accumulated = train(tiny(), batches, next_token_loss, config, progress=False)
    for a, b in zip(whole[0], parts[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    for a, b in zip(whole[2], parts[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-5)
    assert accumulated.column("loss") == pytest.approx(history.column("loss"), abs=1e-5)
    assert accumulated.column("tokens") == history.column("tokens") == [sum(counts) * n for n in (1, 2, 3)]


def test_rows_weigh_the_batch_when_the_objective_counts_no_tokens():
    def objective(model, batch):
        logits = model(batch["input_ids"]).logits
        per_row = F.cross_entropy(logits.transpose(1, 2), batch["input_ids"], reduction="none").mean(1)
        return per_row.mean(), {"longest": per_row.max().detach(), "constant": 2.0}

    with gradients_seen() as whole:
        history = train(tiny(), random_batches(1), objective, TrainConfig(steps=1), progress=False)
    with gradients_seen() as parts:
        train(tiny(), random_batches(1), objective, TrainConfig(steps=1, micro_batch_size=4), progress=False)
    for a, b in zip(whole[0], parts[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    assert history.records[0]["tokens"] == 6
    assert history.records[0]["constant"] == 2.0
    assert history.records[0]["longest"] > history.records[0]["loss"]


def test_every_parameter_changes_and_frozen_ones_do_not():
    model = tiny()
    before = weights_of(model)
    train(model, random_batches(2), next_token_loss, TrainConfig(steps=2), progress=False)
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []

    model = tiny()
    frozen = "model.layers.0.mlp.up_proj.weight"
    model.get_parameter(frozen).requires_grad_(False)
    train(model, random_batches(2), next_token_loss, TrainConfig(steps=2), progress=False)
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == [frozen]


@pytest.mark.slow
def test_learns_a_text_by_heart():
    ids = torch.randint(6, VOCABULARY, (4, 16), generator=torch.Generator().manual_seed(1))
    batches = [{"input_ids": ids, "labels": ids}] * 80
    history = train(tiny(), batches, next_token_loss, TrainConfig(steps=80, learning_rate=1e-2), progress=False)
    assert history.records[0]["loss"] == pytest.approx(math.log(VOCABULARY), abs=0.2)
    assert history.records[-1]["loss"] < 0.2


def test_decay_is_on_matrices_only():
    """With a loss that does not depend on the weights only the decay moves them."""

    def nothing(model, batch):
        return sum((p * 0).sum() for p in model.parameters()), {"tokens": 1}

    model = tiny()
    before = weights_of(model)
    config = TrainConfig(steps=1, learning_rate=0.1, weight_decay=0.5, schedule="constant")
    train(model, random_batches(1), nothing, config, progress=False)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, before[name] * (0.95 if parameter.ndim > 1 else 1.0))


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules_have_the_values_computed_by_hand(schedule, values):
    rates = [learning_rate(s, peak=1.0, steps=6, warmup_steps=2, schedule=schedule) for s in range(6)]
    assert rates == pytest.approx(values, abs=1e-6)


def test_a_schedule_may_end_above_zero_and_may_be_all_warmup():
    assert learning_rate(100, peak=2.0, steps=100, schedule="cosine", min_lr_ratio=0.1) == pytest.approx(0.2)
    assert learning_rate(50, peak=2.0, steps=100, schedule="linear", min_lr_ratio=0.1) == pytest.approx(1.1)
    assert learning_rate(4, peak=1.0, steps=5, warmup_steps=5) == 1.0
    with pytest.raises(ValueError, match="expected one of linear, cosine, wsd, constant"):
        learning_rate(0, peak=1.0, steps=1, schedule="exponential")


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_floor_is_reached_one_step_after_the_last(schedule):
    how = {"peak": 1.0, "steps": 10, "warmup_steps": 2, "schedule": schedule, "min_lr_ratio": 0.1}
    rates = [learning_rate(step, **how) for step in range(13)]
    assert rates[10:] == pytest.approx([0.1] * 3)
    assert rates[9] > 0.1 + 1e-3, "the last step still moves more than the floor does"
    assert rates[9] == pytest.approx(0.1 + 0.9 * (1 / 8 if schedule == "linear" else (1 - math.cos(math.pi / 8)) / 2))


@pytest.mark.parametrize("warmup_steps", [0, 5])
def test_a_negative_step_is_refused(warmup_steps):
    for step in (-1, -100):
        with pytest.raises(ValueError, match=f"step is {step}; steps count from 0"):
            learning_rate(step, peak=1.0, steps=10, warmup_steps=warmup_steps)


def test_evaluation_is_recorded_and_changes_nothing():
    def evaluate(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(100)  # draws that the training must not notice
        return {"score": torch.tensor(0.5)}

    def noisy(model, batch):
        loss, metrics = next_token_loss(model, batch)
        return loss * (1 + torch.rand(())), metrics

    plain, watched = tiny(), tiny()
    plain.eval()
    train(plain, random_batches(5), noisy, TrainConfig(steps=5), progress=False)
    assert not plain.training, "the mode is put back"
    config = TrainConfig(steps=5, evaluate_every=2)
    history = train(watched, random_batches(5), noisy, config, evaluate=evaluate, progress=False)
    assert [r["step"] for r in history.records if "score" in r] == [2, 4, 5]
    assert history.column("score") == [0.5, 0.5, 0.5]
    assert_same(plain, watched)


def test_random_state_outside_is_left_alone_and_the_seed_counts():
    def noisy(model, batch):
        loss, metrics = next_token_loss(model, batch)
        return loss * torch.rand(()), metrics

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    losses = [
        train(tiny(), random_batches(2), noisy, TrainConfig(steps=2, seed=seed), progress=False).column("loss")
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.rand(3), expected)
    assert losses[0] == losses[1] != losses[2]


def test_history_and_progress_bar(capsys):
    seen = []
    history = train(
        tiny(), random_batches(3), next_token_loss, TrainConfig(steps=3), callback=lambda h: seen.append(len(h.records))
    )
    assert seen == [1, 2, 3]
    assert history.column("step") == [1, 2, 3]
    assert history.column("seconds") == sorted(history.column("seconds"))
    assert "3 steps" in repr(history)
    bar = capsys.readouterr().err
    assert "3/3" in bar
    assert "tokens/s" in bar
    assert f"loss {history.records[-1]['loss']:.3f}" in bar
    with pytest.raises(KeyError, match=r"no record has 'accuracy'; there are grad_norm, loss"):
        history.column("accuracy")
    assert repr(History()) == "History(no step yet)"


def test_a_model_without_decay_groups_and_bf16_on_request():
    model = tiny()
    train(model, random_batches(2), next_token_loss, TrainConfig(steps=2, precision="bf16"), progress=False)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    reference = tiny()
    train(reference, random_batches(2), next_token_loss, TrainConfig(steps=2), progress=False)
    gap = max((a - b).abs().max().item() for a, b in zip(model.parameters(), reference.parameters(), strict=True))
    assert 0 < gap < 0.02


# --- objectives ------------------------------------------------------------------------------------------------------


def test_next_token_loss_equals_that_of_transformers():
    from course_utils.models.convert import to_llama

    model, batch = tiny(), random_batches(1)[0]
    loss, metrics = next_token_loss(model, batch)
    llama = to_llama(model)
    assert loss.item() == pytest.approx(llama(**batch, use_cache=False).loss.item(), abs=1e-5)
    assert next_token_loss(llama, batch)[0].item() == pytest.approx(loss.item(), abs=1e-5)
    assert metrics["tokens"] == (batch["labels"][:, 1:] != IGNORE).sum()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_teaches_nothing(side):
    batch = random_batches(1)[0]
    alone, _ = next_token_loss(tiny(), {"input_ids": batch["input_ids"], "labels": batch["input_ids"]})
    width = (5, 0) if side == "left" else (0, 5)
    padded = {
        "input_ids": F.pad(batch["input_ids"], width, value=3),
        "labels": F.pad(batch["input_ids"], width, value=IGNORE),
        "attention_mask": F.pad(torch.ones_like(batch["input_ids"]), width),
    }
    if side == "left":  # the first real token is now asked for as well; the positions are relative
        padded["labels"][:, 5] = IGNORE
    loss, metrics = next_token_loss(tiny(), padded)
    assert loss.item() == pytest.approx(alone.item(), abs=1e-5)
    assert metrics["tokens"] == 6 * 15


def test_masked_token_loss_sees_both_sides_and_does_not_shift():
    model = tiny()
    ids = torch.randint(6, VOCABULARY, (2, 10), generator=torch.Generator().manual_seed(0))
    labels = torch.full_like(ids, IGNORE)
    labels[:, 4] = ids[:, 4]
    loss, metrics = masked_token_loss(model, {"input_ids": ids, "labels": labels})
    logits = model(ids, causal=False).logits
    assert loss.item() == pytest.approx(F.cross_entropy(logits[:, 4], ids[:, 4]).item(), abs=1e-6)
    assert metrics["tokens"] == 2
    later = ids.clone()
    later[:, 7] = (later[:, 7] + 1) % VOCABULARY
    assert masked_token_loss(model, {"input_ids": later, "labels": labels})[0] != loss


def test_masked_token_loss_refuses_a_model_that_reads_one_way():
    from course_utils.models.convert import to_llama

    with pytest.raises(TypeError, match=r"LlamaForCausalLM.*next_token_loss"):
        masked_token_loss(to_llama(tiny()), random_batches(1)[0])


def test_no_label_gives_zero_loss_and_zero_gradient():
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss, tokens = mean_cross_entropy(logits, torch.full((2, 3), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert tokens == 0
    assert logits.grad.abs().max() == 0


# --- what goes wrong -------------------------------------------------------------------------------------------------


def poisoned(at: int, what: str):
    """An objective that spoils one step: a loss of NaN, of infinity, or a finite loss with an infinite gradient."""
    calls = 0

    def objective(model, batch):
        nonlocal calls
        calls += 1
        loss, metrics = next_token_loss(model, batch)
        if calls == at:
            weight = next(model.parameters()).flatten()[0]
            loss = loss + {"nan": weight * math.nan, "inf": math.inf, "gradient": torch.sqrt(weight * 0)}[what]
        return loss, metrics

    objective.__qualname__ = next_token_loss.__qualname__  # the call that goes on is the same but for the spoiled step
    return objective


@pytest.mark.parametrize("what", ["nan", "inf", "gradient"])
def test_a_loss_that_is_not_finite_stops_with_good_weights(tmp_path, what):
    good = tiny()
    # the poisoned objective counts its calls, so it may not run in two threads: neither may what it is compared with
    short = TrainConfig(steps=4, schedule="constant", split_batch=False)
    train(good, random_batches(8)[:4], next_token_loss, short, progress=False)
    model = tiny()
    config = TrainConfig(steps=8, schedule="constant", save_every=3, split_batch=False)
    with pytest.raises(LossNotFinite, match=r"at step 5 .*weights of step 4.*last good checkpoint is step 3") as error:
        train(model, random_batches(8), poisoned(5, what), config, checkpoint_dir=tmp_path, progress=False)
    assert error.value.step == 5
    assert_same(model, good)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003"]
    whole = tiny()
    train(whole, random_batches(8), next_token_loss, config, progress=False)
    again = train(model, random_batches(8), next_token_loss, config, checkpoint_dir=tmp_path, progress=False)
    assert len(again) == 8
    assert_same(model, whole)


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(tmp_path):
    whole, model = tiny(), tiny()
    config = TrainConfig(steps=9, save_every=100)
    train(whole, random_batches(9), next_token_loss, config, progress=False)
    before = signal.getsignal(signal.SIGINT)

    def press(history):
        if len(history) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"after step 4 of 9.*run the same call again"):
        train(
            model, random_batches(9), next_token_loss, config, checkpoint_dir=tmp_path, progress=False, callback=press
        )
    assert signal.getsignal(signal.SIGINT) is before
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000004"]
    fresh = tiny()
    history = train(fresh, random_batches(9), next_token_loss, config, checkpoint_dir=tmp_path, progress=False)
    assert history.column("step") == list(range(1, 10))
    assert_same(fresh, whole)


def test_ctrl_c_without_checkpoints_and_pressed_twice():
    def press(history):
        if len(history) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="with a checkpoint_dir the same call would go on"):
        train(tiny(), random_batches(9), next_token_loss, TrainConfig(steps=9), progress=False, callback=press)

    def press_twice(model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return next_token_loss(model, batch)

    with pytest.raises(KeyboardInterrupt, match="in the middle of a step"):
        train(tiny(), random_batches(9), press_twice, TrainConfig(steps=9), progress=False)


def all_masked() -> list[dict[str, Tensor]]:
    batch = random_batches(1)[0]
    return [{**batch, "labels": torch.full_like(batch["labels"], IGNORE)}]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "there is no batch for step 0"),
        (random_batches(1), r"there is no batch for step 1.*fewer steps"),
        (iter(random_batches(2)), "expected something indexed by the step"),
        ([torch.zeros(2, 3)] * 2, "expected a dict of tensors"),
        (
            [{"input_ids": torch.zeros(2, 3).long(), "labels": torch.zeros(3, 3).long()}] * 2,
            "has 3 rows, but others have 2",
        ),
        (all_masked() * 2, "step 1 has no token to learn from"),
    ],
)
def test_batches_that_cannot_be_used(batches, message):
    with pytest.raises(TrainingError, match=message):
        train(tiny(), batches, next_token_loss, TrainConfig(steps=2), progress=False)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda loss: loss, r'returned a Tensor; expected `loss, \{"tokens"'),
        (lambda loss: (loss, {}, 1), "returned 3 values"),
        (lambda loss: (loss, 12), "returned 2 values"),
        (lambda loss: (loss.item(), {}), "loss is a float"),
        (lambda loss: (loss.expand(3), {}), r"loss has the shape \(3,\); expected one number"),
        (lambda loss: (loss.detach(), {}), "no gradient.*detach"),
        (lambda loss: (loss, {"per_row": torch.zeros(4)}), r"metric 'per_row' has the shape \(4,\)"),
    ],
)
def test_an_objective_that_cannot_be_used(returned, message):
    def objective(model, batch):
        return returned(next_token_loss(model, batch)[0])

    with pytest.raises(TrainingError, match=message):
        train(tiny(), random_batches(1), objective, TrainConfig(steps=1), progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"micro_batch_size": 0}, "micro_batch_size is 0"),
        ({"save_every": -1}, "save_every is -1"),
        ({"schedule": "exp"}, "expected one of linear, cosine, wsd, constant"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"max_grad_norm": 0}, "None for no clipping"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"compile": "yes"}, "compile is 'yes'"),
        ({"parallel": "tensor"}, 'expected None, "ddp" or "fsdp"'),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
    ],
)
def test_a_configuration_that_cannot_be_used(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{"steps": 3, **changes})


def test_other_errors(monkeypatch):
    frozen = tiny().requires_grad_(False)
    with pytest.raises(TrainingError, match="no trainable parameter"):
        train(frozen, random_batches(1), next_token_loss, TrainConfig(steps=1), progress=False)
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RuntimeError, match="torchrun --nproc-per-node 2"):
        train(tiny(), random_batches(1), next_token_loss, TrainConfig(steps=1, parallel="ddp"), progress=False)
    long = [{"input_ids": torch.zeros(1, 33).long(), "labels": torch.zeros(1, 33).long()}]
    with pytest.raises(ValueError, match="33 tokens were given"):
        train(tiny(), long, next_token_loss, TrainConfig(steps=1), progress=False)


def test_copies_of_a_model_train_alike():
    a = tiny()
    b = copy.deepcopy(a)
    train(a, random_batches(3), next_token_loss, TrainConfig(steps=3), progress=False)
    train(b, random_batches(3), next_token_loss, TrainConfig(steps=3), progress=False)
    assert_same(a, b)
