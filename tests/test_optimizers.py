"""Muon by hand beside torch's, what it takes, and the schedule with a stable part."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.training import checkpoints
from course_utils.training.loop import TrainConfig, TrainingError, train
from course_utils.training.objectives import next_token_loss
from course_utils.training.optimizers import Muon, Together, make_optimizer, matrices_inside, orthogonalize, step_scale
from course_utils.training.schedules import learning_rate

SIZES = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
CONFIG = TrainConfig(steps=12, learning_rate=0.01, warmup_steps=2, optimizer="muon", device="cpu", save_every=1)


def tiny(seed=0):
    return Decoder(DecoderConfig(**SIZES, num_attention_heads=2, num_key_value_heads=1), seed=seed)


def rows(steps=12, seed=1):
    ids = torch.randint(6, 32, (steps, 4, 12), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": x, "labels": x} for x in ids]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def distance(a, b):
    return max(float((x - y).abs().max()) for x, y in zip(a.parameters(), b.parameters(), strict=True))


# ---- Muon


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 24), (3, 8, 24)])
def test_orthogonalize_brings_all_singular_values_near_1_and_keeps_the_directions(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    after = orthogonalize(matrix, steps=5, dtype=torch.float64)
    values = torch.linalg.svdvals(after)
    assert 0.65 < values.min() and values.max() < 1.25
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    off = u.mT @ after @ vt.mT
    assert (off - torch.diag_embed(torch.diagonal(off, dim1=-2, dim2=-1))).abs().max() < 1e-9


def test_a_stack_is_orthogonalized_one_by_one():
    stack = torch.randn(5, 12, 7, generator=torch.Generator().manual_seed(0))
    one_by_one = torch.stack([orthogonalize(matrix) for matrix in stack])
    torch.testing.assert_close(orthogonalize(stack), one_by_one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", [{}, {"nesterov": False}, {"adjust_lr_fn": "original"}, {"weight_decay": 0.0}])
def test_ten_steps_equal_torchs(how, seed):
    """torch's computes in bfloat16 whatever the weights are; ours can."""
    shapes = [(16, 16), (24, 16), (16, 24), (16, 16), (8, 16), (16, 16), (88, 32), (32, 88), (88, 32)]
    generator = torch.Generator().manual_seed(seed)
    ours = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    theirs = copy.deepcopy(ours)
    settings = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"} | how
    mine = Muon(ours, **settings, dtype=torch.bfloat16)
    other = torch.optim.Muon(theirs, **settings)
    for _ in range(10):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        mine.step()
        other.step()
    assert max(float((a - b).detach().abs().max()) for a, b in zip(ours, theirs, strict=True)) < 1e-6


def test_in_32_bits_it_differs_from_torchs_by_the_rounding_of_16():
    ours = nn.Parameter(torch.randn(16, 24, generator=torch.Generator().manual_seed(0)))
    theirs = copy.deepcopy(ours)
    torchs = torch.optim.Muon([theirs], lr=0.1, adjust_lr_fn="match_rms_adamw")
    for parameter, optimizer in ((ours, Muon([ours], lr=0.1)), (theirs, torchs)):
        parameter.grad = torch.randn(16, 24, generator=torch.Generator().manual_seed(1))
        optimizer.step()
    assert 1e-5 < (ours - theirs).detach().abs().max() < 0.05 * 0.1 * step_scale(ours.shape)


def test_it_takes_the_matrices_of_the_blocks_and_leaves_the_rest_to_adamw():
    model = tiny()
    taken = {id(p) for p in matrices_inside(model)}
    names = {name for name, p in model.named_parameters() if id(p) in taken}
    assert len(names) == 2 * 7 and all("proj" in name for name in names)
    optimizer = make_optimizer(model, CONFIG)
    assert isinstance(optimizer, Together)
    assert sorted(id(p) for group in optimizer.param_groups for p in group["params"]) == sorted(
        id(p) for p in model.parameters()
    )


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(2, 2, 2), torch.zeros(2, 2, dtype=torch.bfloat16)])
def test_a_parameter_it_cannot_take_is_named(bad):
    with pytest.raises(ValueError, match="takes matrices in 32 bits.*AdamW"):
        Muon([nn.Parameter(bad)])


@pytest.mark.parametrize(
    "wrong", [{"lr": -1}, {"lr": float("nan")}, {"momentum": 1.0}, {"weight_decay": -0.1}, {"adjust_lr_fn": "none"}]
)
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match="expected|count"):
        Muon([nn.Parameter(torch.zeros(2, 2))], **wrong)


def test_a_model_without_such_a_matrix_is_refused():
    model = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(TrainingError, match='optimizer="adamw"'):
        make_optimizer(model, CONFIG)
    half = tiny().to(torch.bfloat16)
    with pytest.raises(TrainingError, match="16-bit weights under autocast"):
        make_optimizer(half, CONFIG)
    with pytest.raises(ValueError, match="optimizer is 'sgd'; expected one of adamw, muon"):
        replace(CONFIG, optimizer="sgd")


def test_accumulated_it_is_the_same():
    whole, pieces = tiny(), tiny()
    train(whole, rows(), next_token_loss, CONFIG, progress=False)
    train(pieces, rows(), next_token_loss, replace(CONFIG, micro_batch_size=1), progress=False)
    assert distance(whole, pieces) < 1e-5 < distance(whole, tiny())


def test_stopped_and_resumed_it_is_the_same_and_another_optimizers_checkpoint_is_refused(tmp_path):
    def stop(history):
        if len(history) == 5:
            raise RuntimeError("stopped")

    whole, stopped = tiny(), tiny()
    train(whole, rows(), next_token_loss, CONFIG, progress=False)
    with pytest.raises(RuntimeError):
        train(stopped, rows(), next_token_loss, CONFIG, progress=False, checkpoint_dir=tmp_path, callback=stop)
    resumed = tiny()
    history = train(resumed, rows(), next_token_loss, CONFIG, progress=False, checkpoint_dir=tmp_path)
    assert len(history) == 12 and equal(whole, resumed)
    with pytest.raises(checkpoints.MismatchedCheckpoint, match='trained by muon.*optimizer="muon"'):
        train(
            tiny(),
            rows(),
            next_token_loss,
            replace(CONFIG, optimizer="adamw"),
            progress=False,
            checkpoint_dir=tmp_path,
        )


# ---- warm-up, stable, decay


def test_the_rate_is_warmed_up_stays_and_decays():
    rates = [
        learning_rate(s, peak=2.0, steps=10, warmup_steps=2, schedule="wsd", decay_steps=4, min_lr_ratio=0.5)
        for s in range(12)
    ]
    assert rates == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.75, 1.5, 1.25, 1.0, 1.0]
    assert learning_rate(79, peak=1.0, steps=100, schedule="wsd") == 1.0  # a fifth decays, if nothing is said
    assert learning_rate(90, peak=1.0, steps=100, schedule="wsd") == 0.5


@pytest.mark.parametrize("parts", [{"warmup_steps": 8, "decay_steps": 3}, {"decay_steps": 0}, {"decay_steps": 11}])
def test_parts_that_do_not_fit_the_steps(parts):
    with pytest.raises(ValueError, match="of 10 steps cannot hold"):
        TrainConfig(steps=10, schedule="wsd", **parts)
    with pytest.raises(ValueError, match='only "wsd" takes them'):
        TrainConfig(steps=10, schedule="cosine", decay_steps=3)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_branches_of_one_stable_run_are_the_runs_they_stand_for(tmp_path, optimizer):
    base = replace(CONFIG, schedule="wsd", decay_steps=2, optimizer=optimizer)
    train(tiny(), rows(), next_token_loss, base, progress=False, checkpoint_dir=tmp_path / "stable")
    kept = [path.name for path in checkpoints.checkpoints(tmp_path / "stable")]
    assert kept == ["step-00000010", "step-00000011", "step-00000012"], "the last one before the decay stays"
    for steps, decay in ((14, 4), (15, 3)):
        config = replace(base, steps=steps, decay_steps=decay)
        alone, branch = tiny(), tiny()
        train(alone, rows(15), next_token_loss, config, progress=False)
        history = train(
            branch,
            rows(15),
            next_token_loss,
            config,
            progress=False,
            checkpoint_dir=tmp_path / f"branch {steps}",
            branch_from=tmp_path / "stable",
        )
        assert len(history) == steps and equal(alone, branch)
        again = tiny()  # a branch goes on as any run does
        train(
            again,
            rows(15),
            next_token_loss,
            config,
            progress=False,
            checkpoint_dir=tmp_path / f"branch {steps}",
            branch_from=tmp_path / "stable",
        )
        assert equal(alone, again)


def test_what_cannot_be_branched_from(tmp_path):
    base = replace(CONFIG, schedule="wsd", decay_steps=2)
    train(tiny(), rows(), next_token_loss, base, progress=False, checkpoint_dir=tmp_path / "stable")

    def branch(where="stable", own=tmp_path / "branch", data=None, **other):
        train(
            tiny(),
            data or rows(),
            next_token_loss,
            replace(base, **other),
            progress=False,
            checkpoint_dir=own,
            branch_from=tmp_path / where,
        )

    with pytest.raises(checkpoints.CheckpointError, match="give a checkpoint_dir"):
        branch(own=None)
    with pytest.raises(checkpoints.MismatchedCheckpoint, match="holds no checkpoint"):
        branch("nowhere")
    with pytest.raises(checkpoints.MismatchedCheckpoint, match="too late: one of the two decays begins at step 4"):
        branch(steps=12, decay_steps=8)
    with pytest.raises(checkpoints.MismatchedCheckpoint, match="learning_rate"):
        branch(learning_rate=0.02)
    with pytest.raises(checkpoints.MismatchedCheckpoint, match="data"):
        branch(data=rows(seed=9))
    with pytest.raises(checkpoints.MismatchedCheckpoint, match="schedule"):
        branch(schedule="constant", decay_steps=None)
