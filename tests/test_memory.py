"""Memory by formula and measured, jobs in processes of their own, TensorBoard, and scaling laws."""

from __future__ import annotations

import time
from dataclasses import replace

import psutil
import pytest
import torch

from course_utils.classroom.display.memory_calculator import memory_bar, memory_calculator
from course_utils.models.counting import LLAMA2, count_parameters, lora_parameters, num_parameters
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.training import checkpoints, launch, worker
from course_utils.training.loop import TrainConfig, make_optimizer, train
from course_utils.training.memory import (
    activation_bytes,
    checkpointed_bytes,
    held_bytes,
    saved_bytes,
    state_bytes,
    training_memory,
    tuning_gigabytes,
)
from course_utils.training.objectives import next_token_loss
from course_utils.training.scaling_law import CHINCHILLA, Law, compute_optimal, fit_law, resampled_laws
from course_utils.training.tensorboard import TensorBoardLogger, read_tensorboard

SMALL = DecoderConfig(64, 32, 48, 2, 4, 2, 32)
SETTINGS = {"steps": 4, "learning_rate": 1e-2, "warmup_steps": 1, "save_every": 1, "device": "cpu"}


def batch(rows: int, length: int, vocab: int = 64) -> dict[str, torch.Tensor]:
    ids = torch.randint(6, vocab, (rows, length), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "labels": ids}


@pytest.mark.parametrize(
    "config",
    [SMALL, replace(SMALL, num_key_value_heads=4), replace(SMALL, num_hidden_layers=5, hidden_size=64, vocab_size=200)],
)
@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_activations_are_those_that_autograd_keeps(config, precision):
    model, data = Decoder(config), batch(3, 20)

    def forward():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "mixed"):
            return next_token_loss(model, data)

    expected = activation_bytes(config, 60, precision=precision)
    assert saved_bytes(forward, model) == pytest.approx(expected, rel=0.01)


def test_states_are_those_that_the_loop_holds():
    model = Decoder(SMALL)
    optimizer = make_optimizer(model, TrainConfig(steps=1))
    next_token_loss(model, batch(2, 8))[0].backward()
    optimizer.step()
    held, formula = held_bytes(model, optimizer), state_bytes(num_parameters(model), precision="float32")
    for name, size in held.items():
        assert size == pytest.approx(getattr(formula, name), rel=0.01)


def test_counts_without_building():
    assert count_parameters(SMALL) == num_parameters(Decoder(SMALL))
    assert count_parameters(LLAMA2["7 B"]) == 6_738_415_616  # as published with the weights
    assert count_parameters(LLAMA2["70 B"]) == 68_976_648_192


def test_memory_follows_the_published_sizes():
    counts = {name: count_parameters(sizes) / 1e9 for name, sizes in LLAMA2.items()}
    assert counts == pytest.approx({"7 B": 6.738, "13 B": 13.016, "70 B": 68.977}, abs=0.002)  # the models' own counts
    assert lora_parameters(LLAMA2["7 B"], 16) == 39_976_960  # what peft prints for all linear layers of Llama 2 7B
    total = {m: sum(tuning_gigabytes(LLAMA2["70 B"], m).values()) for m in ("full", "LoRA", "QLoRA")}
    assert total["full"] > 1100 and total["LoRA"] > 140 and total["QLoRA"] < 48
    weights = tuning_gigabytes(LLAMA2["7 B"], "QLoRA")["weights"]
    assert weights == pytest.approx((6.476e9 * 4.127 / 8 + 2 * 0.2624e9) / 1e9, rel=1e-3)
    parts = tuning_gigabytes(LLAMA2["7 B"], "QLoRA")
    assert parts["activations"] == pytest.approx(1024 * (4096 * 98 + 8 * 32_000) / 1e9)
    assert parts["working space"] == pytest.approx(2 * 4096 * 11_008 / 1e9)
    with pytest.raises(ValueError, match="'full', 'LoRA' or 'QLoRA'"):
        tuning_gigabytes(LLAMA2["7 B"], "qlora")


def test_stages_share_out_one_part_after_the_other():
    per_rank = [state_bytes(1000, ranks=4, stage=stage) for stage in range(4)]
    assert [m.total for m in per_rank] == [16_000, 7_000, 5_500, 4_000]
    one = training_memory(SMALL, 64, ranks=1, stage=3)
    assert one.total == training_memory(SMALL, 64).total


def test_checkpointing_keeps_inputs_and_one_block():
    assert activation_bytes(LLAMA2["7 B"], 4096, checkpointing=True) < 0.2 * activation_bytes(LLAMA2["7 B"], 4096)
    assert checkpointed_bytes(10, 4, 1.0, 7.0) == 3 + 28


@pytest.mark.parametrize("wrong", [{"precision": "fp8"}, {"stage": 4}, {"ranks": 0}])
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        state_bytes(10, **wrong)


@pytest.mark.slow
def test_two_processes_report_losses_and_bytes(tmp_path):
    rows = torch.stack([batch(4, 12)["input_ids"]] * 4)
    folder = launch.write_job(tmp_path, SMALL, rows, {**SETTINGS, "eps": 1e-3}, seed=1)
    said = launch.torchrun(folder, 2)
    alone = Decoder(SMALL, seed=1)
    config = TrainConfig(**SETTINGS, eps=1e-3)
    history = train(alone, [{"input_ids": x, "labels": x} for x in rows], next_token_loss, config, progress=False)
    assert [report["rank"] for report in said] == [0, 1]
    total = 4 * num_parameters(alone)
    for report in said:
        for kind, share in {"ddp": 1.0, "fsdp": 0.5}.items():
            assert report[kind]["loss"] == pytest.approx(history.column("loss"), abs=1e-5)
            assert report[kind]["memory_bytes"]["weights"] == pytest.approx(share * total, rel=0.02)
            assert report[kind]["memory_bytes"]["gradients"] == pytest.approx(share * total, rel=0.02)
            assert report[kind]["memory_bytes"]["optimizer"] == pytest.approx(2 * share * total, rel=0.02)


@pytest.mark.slow
def test_a_failing_job_says_why(tmp_path):
    folder = launch.write_job(tmp_path, SMALL, torch.zeros(4, 1, 8).long(), SETTINGS)
    with pytest.raises(launch.LaunchError, match="1 rows for 2 ranks"):
        launch.torchrun(folder, 2)


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_stopped(tmp_path, in_time):
    folder = launch.write_job(tmp_path, SMALL, torch.zeros(4, 2, 8).long(), SETTINGS)
    started = time.monotonic()
    with pytest.raises(launch.LaunchError, match="stopped"):
        launch.torchrun(folder, 2, seconds=0.2)
    in_time(time.monotonic() - started < 20, "0.2 s were given")


LONG = {**SETTINGS, "steps": 20_000, "save_every": 100}  # would train for minutes


@pytest.mark.slow
def test_stopping_torchrun_stops_its_workers(tmp_path, in_time):
    rows = torch.full((20_000, 2, 4), 7)
    folder = launch.write_job(tmp_path, SMALL, rows, LONG, strategies=("ddp",), checkpoints=True)
    process = launch._start(
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", launch.JOB, str(folder)]
    )
    try:
        launch.wait_for_checkpoint(process, folder)  # from here on the workers are training
        workers = psutil.Process(process.pid).children()
        started = time.monotonic()
    finally:
        launch.kill(process)
    in_time(time.monotonic() - started < 8, "it waited until the workers, who hold the pipe, came to their end")
    assert len(workers) == 2
    assert not [worker for worker in psutil.wait_procs(workers, timeout=5)[1] if worker.status() != "zombie"]


def test_an_interrupted_wait_leaves_no_job(tmp_path, monkeypatch):
    launch.write_job(tmp_path, SMALL, torch.full((20_000, 2, 4), 7), LONG, strategies=(None,), checkpoints=True)
    process = launch.start_alone(tmp_path)

    def stop(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launch.time, "sleep", stop)
        with pytest.raises(KeyboardInterrupt):
            launch.wait_for_checkpoint(process, tmp_path)
    assert process.wait(timeout=10) != 0  # left alone it would train for minutes


@pytest.mark.parametrize(("config", "backend"), [({"device": "cpu"}, "gloo"), ({"device": "cuda"}, "nccl")])
def test_a_job_speaks_the_language_of_its_device(tmp_path, monkeypatch, config, backend):
    asked = []
    monkeypatch.setattr(worker.torch.distributed, "init_process_group", asked.append)
    monkeypatch.setattr(worker.torch.distributed, "destroy_process_group", lambda: None)
    monkeypatch.setattr(worker.torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(worker.torch.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr(worker.torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(worker.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(worker, "run_job", lambda folder: {})
    launch.write_job(tmp_path, SMALL, torch.zeros(4, 2, 8).long(), {**SETTINGS, **config})
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(worker.sys, "argv", ["job", str(tmp_path)])
    worker.main()
    assert asked == [backend] and (tmp_path / "rank0.json").exists()


@pytest.mark.slow
def test_a_killed_job_goes_on_as_if_nothing_had_happened(tmp_path):
    settings = {**SETTINGS, "steps": 60}  # long enough to be alive when its first checkpoint is found
    rows = torch.stack([batch(4, 12)["input_ids"]] * settings["steps"])
    launch.write_job(tmp_path, SMALL, rows, settings, strategies=(None,), checkpoints=True)
    process = launch.start_alone(tmp_path)
    first = launch.wait_for_checkpoint(process, tmp_path)
    launch.kill(process)
    assert process.returncode != 0 and not (tmp_path / "one.safetensors").exists()
    assert first.parent == tmp_path / "checkpoints"
    assert checkpoints.checkpoints(tmp_path / "checkpoints")
    data = [{"input_ids": x, "labels": x} for x in rows]
    resumed, never = Decoder(SMALL), Decoder(SMALL)
    config = TrainConfig(**settings)
    again = {"checkpoint_dir": tmp_path / "checkpoints", "progress": False}
    assert len(train(resumed, data, next_token_loss, config, **again)) == 60
    train(never, data, next_token_loss, config, progress=False)
    for a, b in zip(resumed.parameters(), never.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_a_job_that_dies_before_it_saves_says_why(tmp_path):
    launch.write_job(tmp_path, SMALL, torch.full((4, 2, 8), 99), SETTINGS, strategies=(None,), checkpoints=True)
    process = launch.start_alone(tmp_path)
    with pytest.raises(launch.LaunchError, match="IndexError"):  # token 99 of a vocabulary of 64
        launch.wait_for_checkpoint(process, tmp_path)


def test_the_board_holds_what_the_run_measured(tmp_path):
    data = [batch(2, 12)] * 4
    with TensorBoardLogger(tmp_path, flops_per_token=1e6, peak=1e12) as board:
        history = train(Decoder(SMALL), data, next_token_loss, TrainConfig(**SETTINGS), progress=False, callback=board)
    read = read_tensorboard(tmp_path)
    for name in ("loss", "lr", "grad_norm"):
        steps, values = read[f"train/{name}"]
        assert steps == [1, 2, 3, 4]
        assert values == pytest.approx(history.column(name), rel=1e-6)
    seconds = [b - a for a, b in zip([0.0, *history.column("seconds")], history.column("seconds"), strict=False)]
    per_step = history.records[0]["tokens"]
    assert read["hardware/tokens_per_second"][1] == pytest.approx([per_step / s for s in seconds], rel=1e-4)
    assert read["hardware/share_of_peak"][1] == pytest.approx([1e-6 * per_step / s for s in seconds], rel=1e-4)
    assert all(busy > 0 for busy in read["hardware/cores_busy"][1])


def test_a_missing_tensorboard_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_accumulator", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        TensorBoardLogger(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        read_tensorboard(tmp_path)


def test_an_empty_board_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no event file"):
        read_tensorboard(tmp_path)


def test_the_calculator_draws_what_is_chosen():
    box = memory_calculator()
    assert "does not fit" in box.picture.value
    box.controls["ranks"].value, box.controls["stage"].value = 8, 3
    box.controls["checkpointing"].value = True
    bill = training_memory(LLAMA2["7 B"], 4096, ranks=8, stage=3, checkpointing=True)
    assert box.picture.value == memory_bar(bill)
    assert f"{bill.total / 1e9:.2f} GB" in box.picture.value and "does not" not in box.picture.value


def test_the_law_is_found_again():
    true = Law(0.0, 3e4, 0.5, 8e4, 0.65)
    runs = [(n, d, true(n, d)) for n in (8e3, 2e4, 5e4, 1.4e5) for d in (5e4, 1e5, 2e5)]
    found = fit_law(*zip(*runs, strict=True))
    assert found.alpha == pytest.approx(true.alpha, abs=0.03) and found.beta == pytest.approx(true.beta, abs=0.03)
    assert found.best(2e10)[0] == pytest.approx(true.best(2e10)[0], rel=0.1)
    lifted = [(n, d, 5.0 + loss) for n, d, loss in runs]
    assert fit_law(*zip(*lifted, strict=True), floor=5.0).alpha == pytest.approx(found.alpha)
    noisy = [(n, d, loss * (1.1 if i % 2 else 0.9)) for i, (n, d, loss) in enumerate(runs)]
    ratios = [d / n for n, d in (law.best(2e10) for law in resampled_laws(*zip(*noisy, strict=True), times=50))]
    n, d = true.best(2e10)
    assert min(ratios) < d / n < max(ratios)


def test_the_best_size_is_the_lowest_point_of_the_valley():
    n, d = CHINCHILLA.best(5.76e23)
    assert 6 * n * d == pytest.approx(5.76e23)
    for factor in (0.8, 1.25):
        assert CHINCHILLA(n, d) < CHINCHILLA(n * factor, d / factor)
    assert d / n == pytest.approx(20, rel=0.3)  # "consistent with the other two approaches": arXiv 2404.10102
    assert compute_optimal(5.88e23) == pytest.approx((70e9, 1.4e12), rel=1e-9)


@pytest.mark.parametrize(
    ("losses", "floor", "words"),
    [((3.0, 2.0, 1.0), 0.0, "at least four"), ((3.0, 2.0, 1.0, 0.5), 0.6, "below the floor")],
)
def test_runs_that_cannot_be_fitted(losses, floor, words):
    with pytest.raises(ValueError, match=words):
        fit_law((1e3, 1e4, 1e3, 1e4)[: len(losses)], (1e4, 1e4, 1e5, 1e5)[: len(losses)], losses, floor=floor)
