"""The one dial: profiles, devices and folders from the environment."""

from __future__ import annotations

import pytest
import torch

from course_utils import settings
from course_utils.chapters import chapter
from course_utils.classroom.session import Run, start_card
from course_utils.training import flops
from course_utils.training.randomness import random_state, set_random_state


@pytest.fixture
def machine(monkeypatch):
    """Say which GPUs PyTorch should see: this machine has none of them."""

    def sees(*, cuda: bool = False, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "One GPU")

    return sees


def test_the_gpu_profile_takes_the_gpu_that_is_there(machine, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "gpu")
    machine(cuda=True, mps=True)
    assert settings.device() == "cuda"
    machine(mps=True)
    assert settings.device() == "mps"
    machine()
    with pytest.raises(settings.SettingsError, match="no CUDA device and no Apple GPU"):
        settings.device()


@pytest.mark.parametrize("profile", ["smoke", "laptop"])
def test_the_other_profiles_stay_on_the_cpu(machine, monkeypatch, profile):
    monkeypatch.setenv("COURSE_PROFILE", profile)
    machine(cuda=True, mps=True)
    assert settings.device() == "cpu"


def test_an_apple_gpus_generator_is_part_of_the_random_state(machine, monkeypatch):
    machine(mps=True)
    states = [torch.tensor([1, 2], dtype=torch.uint8)]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states[-1].clone())
    monkeypatch.setattr(torch.mps, "set_rng_state", states.append)
    before = random_state()
    states.append(torch.tensor([3, 4], dtype=torch.uint8))  # something was drawn
    set_random_state(before)
    assert states[-1].tolist() == [1, 2]


def test_measuring_a_gpu_waits_for_it(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append("cuda"))
    for device in ("cpu", "mps", "cuda"):
        flops.wait_for(torch.device(device))
    assert waited == ["mps", "cuda"]


@pytest.mark.parametrize(("device", "name"), [("cuda", "One GPU"), ("mps", "Apple GPU")])
def test_the_start_card_names_the_gpu(machine, device, name):
    machine(cuda=device == "cuda", mps=device == "mps")
    run = Run("03", settings.PROFILES["gpu"], device, 0, 8)
    assert name in start_card(run, chapter("03")).text()
