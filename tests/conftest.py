"""Every test gets a learner's folder of its own, and none of the settings of whoever runs the tests.

Nothing fails because a machine is slow or busy: what a test says about seconds is asked only with ``--timing``.
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright import sync_api

    from browser import Lab

_COUNT = itertools.count()

# Modules and tests are here to stay: to look for garbage among them takes a sixth of the collection.
gc.disable()
# What jsonschema asks about addresses with foreign letters, and does without: it compiles a grammar for 1.6 s.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def learners_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("COURSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    folder = tmp_path_factory.getbasetemp() / f"home{next(_COUNT)}"  # made by whoever needs it: most tests do not
    monkeypatch.setenv("COURSE_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A test that leaves torch with two threads makes those after it a hundred times slower on a busy machine."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--timing", action="store_true", help="fail also where something took longer than it should")
    parser.addoption("--workshop", action="store_true", help="a class of eight on a Hub, and a bundle of real packages")
    parser.addoption("--browser", action="store_true", help="run every chapter in JupyterLab in a browser, too")
    parser.addoption("--nightly", action="store_true", help="run the chapters on every kind of base model, too")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    heavy = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(
        key=lambda item: item.path not in heavy
    )  # files that take long first: no worker waits for one at the end
    reasons = {
        "timing": "what it says depends on how busy the machine is; ask with --timing",
        "workshop": "it takes minutes, and packages that are no part of the course; ask with --workshop",
        "browser": "it takes half an hour; ask with make browser",
        "nightly": "it takes an hour or two; ask with --nightly",
    }
    for name, reason in reasons.items():
        if not config.getoption(f"--{name}"):
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def in_time(request: pytest.FixtureRequest) -> Callable[[bool, str], None]:
    """``in_time(seconds < 3, "why")``: an assertion about time, for a test that says other things as well."""
    asked = request.config.getoption("--timing")

    def check(holds: bool, why: str) -> None:
        assert holds or not asked, why

    return check


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    """Chromium, for the tests of a file."""
    from browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The course's JupyterLab, for the tests of a file."""
    from browser import jupyterlab

    with jupyterlab(tmp_path_factory.mktemp("course")) as lab:
        yield lab
