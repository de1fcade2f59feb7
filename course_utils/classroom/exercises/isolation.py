"""Put the process back as it was: what a learner's code changes around itself must not reach the next cell.

Covered: random generators, torch's default dtype, device, grad mode, autocast, threads and determinism, the
environment, the working directory, warnings, logging, the module search path, the recursion limit, and names
replaced in torch, torch.nn.functional, torch.Tensor, math and builtins.
"""

from __future__ import annotations

import builtins
import gc
import logging
import math
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import is_
from types import ModuleType
from typing import Any


@contextmanager
def restored(*, generators: bool = True) -> Iterator[None]:
    """Run the body, then restore the state listed above, whatever the body did or raised.

    generators=False leaves the random generators where the body moved them.
    """
    undone = [*(_generators() if generators else ()), *_plain(), *_torch(), *_namespaces()]
    try:
        yield
    finally:  # from the last to the first: replaced functions come back before they are used
        _undo(undone[::-1])


def _undo(steps: list[Callable[[], None]]) -> None:
    for at, undo in enumerate(steps):
        try:
            undo()
        except Exception:  # one thing that cannot be put back must not keep the others from it
            continue
        except BaseException:  # the stop button, or a limit that ran out just now: first all the rest
            _undo(steps[at + 1 :])
            raise


def _plain() -> Iterator[Callable[[], None]]:
    environment, path, filters = dict(os.environ), list(sys.path), list(warnings.filters)
    folder, limit, show = os.getcwd(), sys.getrecursionlimit(), warnings.showwarning
    disabled, level, collecting = logging.root.manager.disable, logging.root.level, gc.isenabled()
    out, error = sys.stdout, sys.stderr

    def undo_environment() -> None:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        for name, value in environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value

    def undo_warnings() -> None:
        warnings.filters[:] = filters  # type: ignore[index]  # a list, which typeshed calls a Sequence
        warnings.showwarning = show
        getattr(warnings, "_filters_mutated", getattr(warnings, "_filters_mutated_lock_held", lambda: None))()

    yield undo_environment
    yield undo_warnings
    yield lambda: os.chdir(folder)
    yield lambda: sys.path.__setitem__(slice(None), path)
    yield lambda: sys.setrecursionlimit(limit)
    yield lambda: setattr(logging.root.manager, "disable", disabled)
    yield lambda: setattr(logging.root, "level", level)
    yield gc.enable if collecting else gc.disable
    yield lambda: setattr(sys, "stdout", out)
    yield lambda: setattr(sys, "stderr", error)


def _namespaces() -> Iterator[Callable[[], None]]:
    """Names that were replaced or deleted come back; names that were added (lazy imports) stay."""
    owners: list[Any] = [builtins, math]
    torch = sys.modules.get("torch")
    if torch is not None:
        owners += [torch, torch.Tensor, torch.nn, torch.nn.Module, torch.nn.functional]
    for owner in owners:
        before = dict(vars(owner))

        def undo(owner: ModuleType | type = owner, before: dict[str, Any] = before) -> None:
            now = vars(owner)
            if len(now) == len(before) and all(map(is_, now.values(), before.values())):
                return  # a check calls an answer a hundred times: nearly always there is nothing to undo
            for name in [n for n, value in before.items() if now.get(n, undo) is not value]:
                if name != "_":  # IPython's last result
                    setattr(owner, name, before[name])

        yield undo


def _generators() -> Iterator[Callable[[], None]]:
    plain = random.getstate()
    yield lambda: random.setstate(plain)
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        legacy = numpy.random.get_state()
        yield lambda: numpy.random.set_state(legacy)
    torch = sys.modules.get("torch")
    if torch is not None:
        on_cpu = torch.get_rng_state()
        yield lambda: torch.set_rng_state(on_cpu)
        if torch.cuda.is_initialized():
            on_gpu = torch.cuda.get_rng_state_all()
            yield lambda: torch.cuda.set_rng_state_all(on_gpu)


def _torch() -> Iterator[Callable[[], None]]:
    torch = sys.modules.get("torch")
    if torch is None:
        return
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    threads, anomaly = torch.get_num_threads(), torch.is_anomaly_enabled()

    def determinism() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    strict, warn_only = determinism()
    autocast = {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")}
    device = torch.get_default_device()
    yield lambda: torch.set_default_dtype(dtype)
    yield lambda: torch.set_grad_enabled(grad) and None
    yield lambda: torch.set_num_threads(threads) if torch.get_num_threads() != threads else None
    yield lambda: torch.autograd.set_detect_anomaly(anomaly) and None

    def undo_determinism() -> None:
        if determinism() != (strict, warn_only):  # setting it imports torch's compiler, which takes seconds
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)

    yield undo_determinism
    for kind, (enabled, kind_dtype) in autocast.items():
        yield partial(torch.set_autocast_enabled, kind, enabled)
        yield partial(torch.set_autocast_dtype, kind, kind_dtype)

    def undo_device() -> None:
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)

    yield undo_device
