"""Two processes under torchrun (gloo, on the CPU) against one process: DDP and FSDP2.

This file is also the script that torchrun starts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.training.checkpoints import MismatchedCheckpoint
from course_utils.training.distributed import full_weights
from course_utils.training.loop import LossNotFinite, TrainConfig, TrainingError, train
from course_utils.training.objectives import next_token_loss

pytestmark = pytest.mark.slow

# Adam divides by the gradient's size; the larger eps keeps the last bits of near-zero gradients from being magnified.
CONFIG = {"steps": 4, "learning_rate": 1e-2, "warmup_steps": 1, "max_grad_norm": 0.5, "eps": 1e-3, "save_every": 2}
KINDS = ("ddp", "fsdp")
HOW = {"plain": {}, "micro": {"micro_batch_size": 2}, "muon": {"optimizer": "muon"}}


def tiny(seed: int = 0) -> Decoder:
    return Decoder(
        DecoderConfig(
            vocab_size=51,  # odd: the shards are unequal
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=16,
        ),
        seed=seed,
    )


def uneven_batches(steps: int = 4) -> list[dict[str, Tensor]]:
    """Five rows for two ranks, with 11, 9, 7, 5 and 3 labels."""
    ids = torch.randint(6, 51, (steps, 5, 12), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    for row in range(5):
        labels[:, row, : 2 * row + 1] = -100
    return [{"input_ids": x, "labels": y} for x, y in zip(ids, labels, strict=True)]


def spoiled(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict]:
    """NaN on the second rank only."""
    loss, metrics = next_token_loss(model, batch)
    return loss * (float("nan") if os.environ["RANK"] == "1" else 1.0), metrics


def on_each_rank(out: Path) -> None:
    """What torchrun runs: train in both ways, and save the whole weights and the history."""
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo")
    for kind in KINDS:
        for name, extra in HOW.items():
            model = tiny(seed=rank)  # rank 1 starts from other weights, which must not count
            config = TrainConfig(**CONFIG, **extra, parallel=kind)
            folder = out / f"{kind}-{name}"
            history = train(model, uneven_batches(), next_token_loss, config, checkpoint_dir=folder, progress=False)
            weights = full_weights(model)
            local = sum(getattr(p, "_local_tensor", p).numel() for p in model.parameters())
            if rank == 0:
                save_file(weights, out / f"{kind}-{name}.safetensors")
                (out / f"{kind}-{name}.json").write_text(json.dumps({"records": history.records, "local": local}))

        # A run that one process began, gone on by two.
        model = tiny(seed=rank)
        config = TrainConfig(**CONFIG, parallel=kind)
        train(model, uneven_batches(), next_token_loss, config, checkpoint_dir=out / f"begun-{kind}", progress=False)
        weights = full_weights(model)
        if rank == 0:
            save_file(weights, out / f"{kind}-resumed.safetensors")

        # Errors and Ctrl-C on one rank stop all of them.
        config = TrainConfig(**CONFIG, parallel=kind)
        try:
            train(tiny(), uneven_batches(), spoiled, config, progress=False)
        except LossNotFinite as error:
            (out / f"{kind}-nan-{rank}").write_text(str(error))
        try:
            train(tiny(), [{"input_ids": torch.zeros(1, 4).long()}] * 4, next_token_loss, config, progress=False)
        except TrainingError as error:
            (out / f"{kind}-rows-{rank}").write_text(str(error))

        def press(history: object, rank: int = rank) -> None:
            if rank == 1 and len(history) == 1:
                os.kill(os.getpid(), signal.SIGINT)

        try:
            train(tiny(), uneven_batches(), next_token_loss, config, progress=False, callback=press)
        except KeyboardInterrupt as error:
            (out / f"{kind}-stop-{rank}").write_text(str(error))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks")
    for kind in KINDS:

        class Stop(Exception):
            pass

        def stop(history: object, stop: type[Exception] = Stop) -> None:
            if len(history) == 3:
                raise stop

        with pytest.raises(Stop):
            train(
                tiny(),
                uneven_batches(),
                next_token_loss,
                TrainConfig(**CONFIG),
                checkpoint_dir=out / f"begun-{kind}",
                progress=False,
                callback=stop,
            )
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--nproc-per-node=2", "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1", __file__, str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    environment |= {"GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def one_process() -> Iterator[dict[str, tuple[nn.Module, list[dict]]]]:
    """Optimizer -> the model, and what was recorded."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    done = {}
    for optimizer in ("adamw", "muon"):
        model = tiny()
        config = TrainConfig(**CONFIG, optimizer=optimizer)
        done[optimizer] = model, train(model, uneven_batches(), next_token_loss, config, progress=False).records
    yield done
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", [*HOW, "resumed"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_end_with_the_weights_of_one(two_ranks, one_process, kind, name):
    model, records = one_process["muon" if name == "muon" else "adamw"]
    weights = load_file(two_ranks / f"{kind}-{name}.safetensors")
    start = dict(tiny().named_parameters())
    for key, expected in model.named_parameters():
        torch.testing.assert_close(weights[key], expected.detach(), rtol=0, atol=1e-5)
        assert (expected - start[key]).abs().max() > 1e-4, "the tolerance must be small beside what was learned"
    if name != "resumed":
        theirs = json.loads((two_ranks / f"{kind}-{name}.json").read_text())["records"]
        for column in ("loss", "grad_norm", "lr", "tokens"):
            assert [r[column] for r in theirs] == pytest.approx([r[column] for r in records], abs=1e-5)


def test_fsdp_holds_half_of_the_parameters_on_each_rank(two_ranks):
    total = sum(p.numel() for p in tiny().parameters())
    local = {kind: json.loads((two_ranks / f"{kind}-plain.json").read_text())["local"] for kind in KINDS}
    assert local["ddp"] == total
    assert local["fsdp"] == pytest.approx(total / 2, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_one_process_goes_on_from_the_checkpoint_of_two(two_ranks, one_process, kind):
    folder = two_ranks / f"{kind}-plain"
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000002", "step-00000004"]
    for path in (folder / "step-00000004").iterdir():
        path.unlink()
    config = TrainConfig(**CONFIG)
    with pytest.raises(MismatchedCheckpoint, match="started from other weights"):
        train(tiny(seed=5), uneven_batches(), next_token_loss, config, checkpoint_dir=folder, progress=False)
    model = tiny()
    with pytest.warns(UserWarning, match="goes on from step 2"):
        train(model, uneven_batches(), next_token_loss, TrainConfig(**CONFIG), checkpoint_dir=folder, progress=False)
    for (_, a), (_, b) in zip(model.named_parameters(), one_process["adamw"][0].named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stops_one_rank_stops_all(two_ranks, kind):
    for rank in (0, 1):
        assert "at step 1" in (two_ranks / f"{kind}-nan-{rank}").read_text()
        assert "1 rows for 2 ranks" in (two_ranks / f"{kind}-rows-{rank}").read_text()
        assert "stopped after step 2 of 4" in (two_ranks / f"{kind}-stop-{rank}").read_text()


if __name__ == "__main__":
    on_each_rank(Path(sys.argv[1]))
