"""Checkpoints: exact, atomic, and refused when they are damaged or somebody else's.

The tests that kill a process run in a helper process (this file as a script) that has imported everything but computed
nothing, and forks a child for every kill: a kill then costs milliseconds, not the seconds of an import.
"""

from __future__ import annotations

import copy
import dataclasses
import errno
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from course_utils import files
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.training import checkpoints
from course_utils.training.checkpoints import CheckpointError, CorruptCheckpoint, MismatchedCheckpoint, State
from course_utils.training.l2_sp import l2_sp, start_weights
from course_utils.training.loop import History, TrainConfig, train
from course_utils.training.objectives import next_token_loss
from course_utils.training.randomness import random_state, set_random_state

CONFIG = TrainConfig(steps=12, learning_rate=1e-2, warmup_steps=3, save_every=3)
SHORT = TrainConfig(
    steps=6, learning_rate=1e-2, warmup_steps=3, save_every=2, keep_last=1
)  # three saves, and two removals


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(vocab_size: int = 48, hidden_size: int = 16) -> Decoder:
    return Decoder(
        DecoderConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=16,
        ),
        seed=0,
    )


def some_batches(steps: int = 12, seed: int = 0) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(6, 48, (steps, 4, 12), generator=generator)
    return [{"input_ids": rows, "labels": rows} for rows in ids]


def noisy_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict]:
    """An objective that draws from every global generator, so that a resumed run needs all their states."""
    loss, metrics = next_token_loss(model, batch)
    return loss * (1 + torch.rand(()) + random.random() + random.gauss() ** 2 + float(np.random.rand())), metrics  # noqa: NPY002


def run(folder: Path | None, model: nn.Module | None = None, config: TrainConfig = CONFIG, **options) -> nn.Module:
    model = model if model is not None else tiny()
    train(model, some_batches(config.steps), noisy_loss, config, checkpoint_dir=folder, progress=False, **options)
    return model


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_equal_weights(a: nn.Module, b: nn.Module) -> None:
    for (name, x), (_, y) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        assert torch.equal(x, y), name


class Stop(Exception):
    """Stands for whatever ends a process."""


def stop_at(step: int) -> Callable[[History], None]:
    def callback(history: History) -> None:
        if len(history) == step:
            raise Stop

    return callback


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after step 7, with checkpoints of steps 3 and 6. Copy it before use."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(Stop):
        run(folder, callback=stop_at(7))
    assert names(folder) == ["step-00000003", "step-00000006"]
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    torch.set_num_threads(1)
    return run(None)


def test_resumed_equals_never_stopped(folder, whole):
    steps = []
    resumed = run(folder, callback=lambda history: steps.append(len(history)))
    assert steps == list(range(7, 13))
    assert_equal_weights(resumed, whole)
    assert names(folder) == ["step-00000009", "step-00000012"]


def test_a_finished_run_is_read_back_without_training(folder, whole):
    run(folder)
    model = tiny()

    def never(model, batch):
        raise AssertionError("there is nothing left to train")

    never.__qualname__ = noisy_loss.__qualname__  # all that can be told of an objective
    history = train(model, some_batches(), never, CONFIG, checkpoint_dir=folder, progress=False)
    assert_equal_weights(model, whole)
    assert history.column("step") == list(range(1, 13))


def test_history_and_seconds_go_on(folder):
    before = checkpoints.load(folder / "step-00000006").records
    model = tiny()
    history = train(model, some_batches(), noisy_loss, CONFIG, checkpoint_dir=folder, progress=False)
    assert history.records[:6] == before
    assert history.column("tokens") == [44.0 * n for n in range(1, 13)]
    assert history.column("seconds") == sorted(history.column("seconds"))


def test_fields_that_do_not_change_the_result_may_change(folder, whole):
    config = dataclasses.replace(CONFIG, save_every=5, evaluate_every=2, keep_last=1)
    assert_equal_weights(run(folder, config=config), whole)
    assert names(folder) == ["step-00000012"]


def test_only_safetensors_and_json_are_written(folder):
    for path in folder.rglob("*"):
        assert path.is_dir() or path.suffix in (".safetensors", ".json")
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())


def test_frozen_parameters_are_not_stored_but_known(tmp_path):
    def frozen() -> nn.Module:
        model = tiny()
        model.get_parameter("model.embed_tokens.weight").requires_grad_(False)
        return model

    run(tmp_path, frozen())
    stored = checkpoints.load(tmp_path / "step-00000012").weights
    assert "model.embed_tokens.weight" not in stored
    assert "model.layers.0.mlp.up_proj.weight" in stored
    other = frozen()
    with torch.no_grad():
        other.get_parameter("model.embed_tokens.weight").add_(1)
    with pytest.raises(MismatchedCheckpoint, match=r"belongs to another run \(frozen is"):
        run(tmp_path, other)


def test_random_states_come_back_exactly():
    def draw() -> list[float]:
        return [torch.rand(()).item(), random.random(), random.gauss(), np.random.rand(), np.random.randn()]  # noqa: NPY002

    random.gauss()  # leaves a second value behind, which is part of the state
    state = random_state()
    first = draw()
    set_random_state(state)
    assert draw() == first
    assert draw() != first


# --- damaged ---------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["weights.safetensors", "state.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_refused_and_the_previous_one_used(folder, whole, name, damage):
    damage(folder / "step-00000006" / name)
    with pytest.raises(CorruptCheckpoint, match="missing|altered|no readable"):
        checkpoints.load(folder / "step-00000006")
    steps = []
    with pytest.warns(UserWarning, match="step-00000006.*It is not used; training goes on from step 3"):
        resumed = run(folder, callback=lambda history: steps.append(len(history)))
    assert steps[0] == 4
    assert_equal_weights(resumed, whole)


def test_nothing_but_damaged_ones_means_a_fresh_start(folder, whole):
    for path in folder.rglob("weights.safetensors"):
        truncate(path)
    with pytest.warns(UserWarning, match="truncated or altered.*training starts from the beginning"):
        assert_equal_weights(run(folder), whole)


def test_left_overs_of_a_killed_process_are_ignored_and_removed(folder, whole):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    number = dead.stdout.strip()
    (folder / f".writing-00000009-{number}").mkdir()
    (folder / f".writing-00000009-{number}" / "weights.safetensors").write_bytes(b"half")
    (folder / f".old-step-00000000-{number}").mkdir()
    living = f".writing-00000009-{os.getppid()}"
    (folder / living).mkdir()
    assert_equal_weights(run(folder), whole)
    assert names(folder) == [living, "step-00000009", "step-00000012"]


# --- somebody else's -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "config", "data", "message"),
    [
        (tiny(vocab_size=50), CONFIG, 0, "vocabulary of 48 tokens, but this model has 50"),
        (tiny(hidden_size=32), CONFIG, 0, r"model: model.embed_tokens.weight is \(48, 16\).* there and \(48, 32\)"),
        (tiny(), dataclasses.replace(CONFIG, learning_rate=0.5), 0, "config: learning_rate is 0.01 there and 0.5 here"),
        (tiny(), dataclasses.replace(CONFIG, seed=3), 0, "config: seed is 0 there and 3 here"),
        (tiny(), CONFIG, 1, "data is"),
    ],
)
def test_a_foreign_checkpoint_is_refused_and_left_alone(folder, model, config, data, message):
    before = names(folder)
    with pytest.raises(MismatchedCheckpoint, match=message + ".*Give another checkpoint_dir"):
        train(model, some_batches(12, seed=data), noisy_loss, config, checkpoint_dir=folder, progress=False)
    assert names(folder) == before


def moved(name: str, row: int) -> nn.Module:
    """A model that differs from tiny() in one row of one matrix."""
    model = tiny()
    with torch.no_grad():
        model.get_parameter(name)[row] += 1e-3
    return model


def other_from(step: int) -> list[dict[str, Tensor]]:
    return some_batches()[:step] + some_batches(seed=1)[step:]


def scaled_loss(model: nn.Module, batch: dict[str, Tensor], scale: float = 1.0) -> tuple[Tensor, dict]:
    loss, metrics = noisy_loss(model, batch)
    return loss * scale, metrics


@pytest.mark.parametrize(
    ("model", "objective", "batches", "message"),
    [
        (moved("model.embed_tokens.weight", 47), noisy_loss, some_batches(), "started from other weights"),
        (moved("model.layers.0.mlp.down_proj.weight", 3), noisy_loss, some_batches(), "started from other weights"),
        (tiny(), next_token_loss, some_batches(), "objective is noisy_loss there and next_token_loss here"),
        (tiny(), l2_sp(noisy_loss, start_weights(tiny()), 1.0), some_batches(), r"noisy_loss there and l2_sp\..*here"),
        (tiny(), partial(noisy_loss), some_batches(), r"there and noisy_loss\(\) here"),
        (tiny(), noisy_loss, other_from(1), "later data is"),
        (tiny(), noisy_loss, other_from(11), "later data is"),
        (tiny(), noisy_loss, other_from(9), "later data is"),
    ],
)
def test_another_start_objective_or_later_batch_is_another_run(folder, model, objective, batches, message):
    before, weights = names(folder), [p.clone() for p in model.parameters()]
    with pytest.raises(MismatchedCheckpoint, match=message + ".*Give another checkpoint_dir"):
        train(model, batches, objective, CONFIG, checkpoint_dir=folder, progress=False)
    assert names(folder) == before
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))


def test_what_is_bound_to_an_objective_counts(tmp_path):
    def start(scale: float) -> None:
        objective = partial(scaled_loss, scale=scale)
        train(tiny(), some_batches(), objective, CONFIG, checkpoint_dir=tmp_path, progress=False)

    start(1.0)
    start(1.0)
    with pytest.raises(MismatchedCheckpoint, match=r"scaled_loss\(scale=1.0\) there and scaled_loss\(scale=2.0\) here"):
        start(2.0)


def test_a_model_in_memory_goes_on_where_its_run_stopped(tmp_path, whole):
    """In a notebook the cell is run again, with the model that it has trained already."""
    model = tiny()
    with pytest.raises(Stop):
        run(tmp_path, model, callback=stop_at(7))
    with pytest.raises(Stop):
        run(tmp_path, model, callback=stop_at(10))
    assert_equal_weights(run(tmp_path, model), whole)
    steps = []
    run(tmp_path, model, callback=lambda history: steps.append(len(history)))
    assert steps == [], "a finished run stays finished"
    with torch.no_grad():
        model.get_parameter("model.norm.weight").add_(1)
    with pytest.raises(MismatchedCheckpoint, match="started from other weights"):
        run(tmp_path, model)


def test_a_trained_model_that_starts_a_new_run_starts_from_where_it_is(tmp_path):
    model = run(tmp_path / "a")
    start = copy.deepcopy(model)
    shutil.rmtree(tmp_path / "a")
    run(tmp_path / "a", model)
    with pytest.raises(MismatchedCheckpoint, match="started from other weights"):
        run(tmp_path / "a")
    assert_equal_weights(run(tmp_path / "a", start), model)


def test_a_checkpoint_folder_changes_nothing_for_batches_that_draw(tmp_path):
    class Drawn:
        def __getitem__(self, step: int) -> dict[str, Tensor]:
            ids = torch.randint(6, 48, (4, 12))
            return {"input_ids": ids, "labels": ids}

    plain, saved = tiny(), tiny()
    train(plain, Drawn(), next_token_loss, CONFIG, progress=False)
    with pytest.raises(Stop):
        train(saved, Drawn(), next_token_loss, CONFIG, checkpoint_dir=tmp_path, progress=False, callback=stop_at(7))
    again = tiny()
    train(again, Drawn(), next_token_loss, CONFIG, checkpoint_dir=tmp_path, progress=False)
    assert_equal_weights(again, plain)


def test_ours_is_used_when_a_newer_one_is_foreign(folder, tmp_path, whole):
    other = tmp_path / "other"
    run(other, config=dataclasses.replace(CONFIG, seed=9))
    os.rename(other / "step-00000012", folder / "step-00000012")
    with pytest.warns(UserWarning, match="belongs to another run|it is now foreign-step-00000012-0"):
        assert_equal_weights(run(folder), whole)
    assert names(folder) == ["foreign-step-00000012-0", "step-00000009", "step-00000012"]


def test_batches_may_name_their_own_fingerprint(folder):
    class Named(list):
        fingerprint = "isles, seed 1"

    with pytest.raises(MismatchedCheckpoint, match="data is .* there and isles, seed 1 here"):
        train(tiny(), Named(some_batches()), noisy_loss, CONFIG, checkpoint_dir=folder, progress=False)


# --- the disk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["save_file", "_flush", "rename"])
def test_a_full_disk_stops_with_a_clear_error_and_the_previous_checkpoint(folder, whole, monkeypatch, at):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr({"save_file": checkpoints, "_flush": files, "rename": os}[at], at, full)
        with pytest.raises(
            CheckpointError, match=r"step 9 could not.*No space left.*step-00000006, is untouched.*Free"
        ):
            run(folder)
    assert names(folder) == ["step-00000003", "step-00000006"]
    assert_equal_weights(run(folder), whole)


def test_a_folder_that_cannot_be_synced_is_trained_and_resumed_in(tmp_path, monkeypatch, whole):
    real = os.fsync

    def samba(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(handle)

    monkeypatch.setattr(os, "fsync", samba)
    with pytest.raises(Stop):
        run(tmp_path, callback=stop_at(7))
    assert_equal_weights(run(tmp_path), whole)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="step 3 could not be written.*There is no earlier checkpoint"):
        run(tmp_path / "file" / "run")


def test_states_keep_every_dtype(tmp_path):
    weights = {"a": torch.randn(3, 2).half(), "b": torch.arange(4), "c": torch.randn(2, 3).t()}
    state = State(5, weights, {"a|step": torch.tensor(2.0)}, {"0|torch": torch.get_rng_state()}, [{"loss": 0.1}])
    path = checkpoints.save(tmp_path, state, {"config": {"betas": (0.9, 0.95)}})
    back = checkpoints.load(path, {"config": {"betas": (0.9, 0.95)}})
    assert back.step == 5
    assert back.records == [{"loss": 0.1}]
    for name, tensor in weights.items():
        assert back.weights[name].dtype == tensor.dtype
        assert torch.equal(back.weights[name], tensor)
    assert torch.equal(back.random["0|torch"], torch.get_rng_state())
    assert back.optimizer["a|step"] == 2


# --- killed ----------------------------------------------------------------------------------------------------------


def in_child(work: Callable[[], None], kill_after: float | None = None) -> int:
    """Run ``work`` in a forked child, killed by SIGKILL after so many seconds; return its wait status."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def kill_at_operation(number: int, folder: Path) -> None:
    """Train, and die by SIGKILL just before the ``number``-th operation on the disk (0 is the first one)."""
    count = 0

    def deadly(operation: Callable) -> Callable:
        def run_or_die(*arguments: object, **options: object) -> object:
            nonlocal count
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return operation(*arguments, **options)

        return run_or_die

    checkpoints.save_file = deadly(checkpoints.save_file)
    files._flush = deadly(files._flush)
    files.digest = deadly(files.digest)
    os.rename = deadly(os.rename)
    shutil.rmtree = deadly(shutil.rmtree)
    run(folder, config=SHORT)


def weights_file(model: nn.Module, path: Path) -> None:
    path.write_bytes(b"".join(p.detach().numpy().tobytes() for p in model.parameters()))


def helper(task: str, folder: Path) -> dict[str, object]:
    """What the helper process does; the result goes to the test as json."""
    result: dict[str, object] = {}
    config = SHORT if task == "saving" else dataclasses.replace(CONFIG, optimizer="muon") if task == "muon" else CONFIG
    assert in_child(lambda: weights_file(run(None, config=config), folder / "whole")) == 0
    if task in ("random", "muon"):
        begin = time.perf_counter()
        in_child(lambda: run(folder / "timing", config=config))
        duration = time.perf_counter() - begin
        draw = random.Random(0)
        killed, number, resumed_from = 0, 0, set()
        # Several kills in one run, then the next run. On a machine that grows slower they may all strike too early to
        # leave a checkpoint; so later ones wait longer, and it goes on until they have struck at different places.
        while (killed < (16 if task == "random" else 6) or len(resumed_from) < 2) and killed + number < 100:
            at, final = folder / f"run-{number}", folder / f"final-{number}"
            patience = draw.uniform(0.05, 0.6) * duration * max(1.0, killed / 12)
            status = in_child(lambda at=at, to=final: weights_file(run(at, config=config), to), patience)
            killed += os.WIFSIGNALED(status)
            number += not os.WIFSIGNALED(status)
            resumed_from.add(checkpoints.checkpoints(at)[-1].name if checkpoints.checkpoints(at) else "start")
        assert in_child(lambda: weights_file(run(at, config=config), final)) == 0
        result = {"killed": killed, "resumed_from": sorted(resumed_from)}
    elif task == "saving":
        number, finished = 0, False
        while not finished:
            at = folder / f"run-{number}"
            status = in_child(lambda n=number, at=at: kill_at_operation(n, at))
            finished = status == 0
            assert finished or os.WTERMSIG(status) == signal.SIGKILL, status
            assert in_child(lambda n=number, at=at: weights_file(run(at, config=SHORT), folder / f"final-{n}")) == 0
            number += 1
        result = {"operations": number - 1}
    elif task == "limit":

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
            try:
                run(folder / "run-0")
            except CheckpointError as error:
                (folder / "message").write_text(str(error))

        def stop_early() -> None:
            try:
                run(folder / "run-0", callback=stop_at(7))
            except Stop:
                pass

        assert in_child(stop_early) == 0
        assert in_child(limited) == 0
        result = {"message": (folder / "message").read_text(), "left": names(folder / "run-0")}
        assert in_child(lambda: weights_file(run(folder / "run-0"), folder / "final-0")) == 0
    result["finals"] = len(list(folder.glob("final-*")))
    expected = (folder / "whole").read_bytes()
    result["different"] = [p.name for p in folder.glob("final-*") if p.read_bytes() != expected]
    return result


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("task", ["random", "muon", "saving", "limit"])
def test_killed_and_resumed_is_bit_for_bit_the_same(task, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, task, str(tmp_path)], capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["finals"] >= 1
    assert result["different"] == []
    if task in ("random", "muon"):
        assert result["killed"] >= (16 if task == "random" else 6)
        assert len(result["resumed_from"]) >= 2, "the kills must strike at different places"
    elif task == "saving":
        assert result["operations"] >= 30
    else:
        assert "step 9 could not be written" in result["message"]
        assert "File too large" in result["message"]
        assert "step-00000006, is untouched" in result["message"]
        assert result["left"] == ["step-00000003", "step-00000006"]


if __name__ == "__main__":
    print(json.dumps(helper(sys.argv[1], Path(sys.argv[2]))))
