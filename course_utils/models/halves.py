"""Two halves of the rows at the same time, each on one core.

An operation of a small model lasts microseconds. Shared between the cores, each ends with one waiting for the other,
thousands of times per call, and on a busy machine any wait can cost a time slice. Halves need not wait. They depend on
the rows alone, so results are the same on any number of cores.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from course_utils.machine import cores
from course_utils.models.counting import num_parameters

SMALL = 20_000_000  # parameters: below this, an operation is too short to be shared between cores
FEWEST = 8  # rows: fewer are not worth a second thread

Function = TypeVar("Function", bound=Callable[..., Any])


def by_rows(function: Function) -> Function:
    """Mark ``function(model, batch)`` as one that two threads may compute at once, each on half of the rows.

    It uses no model but the one it is given, draws no random numbers, and leaves nothing behind. Tensors in ``batch``
    have the rows first, and so have those that it returns.
    """
    function.by_rows = True  # type: ignore[attr-defined]
    return function


def is_by_rows(function: Any) -> bool:
    """Whether ``function`` (or what stands inside a ``functools.partial``) was marked."""
    while isinstance(function, partial):
        function = function.func
    return bool(getattr(function, "by_rows", False))


def heard(model: nn.Module) -> bool:
    """Whether somebody listens to the model's parts: a hook would be called by two threads, or by neither."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name, None) for module in model.modules() for name in hooks)


def own_forward(model: nn.Module) -> bool:
    """Whether some part was given another ``forward`` after it was built: nobody knows what that keeps."""
    return any("forward" in vars(module) for module in model.modules())


def can_be_read_twice(model: nn.Module) -> bool:
    """Whether a twin of the model may read beside it. Autocast is a switch that each thread has for itself."""
    return not (heard(model) or own_forward(model) or torch.is_autocast_enabled("cpu"))


def is_small(model: nn.Module) -> bool:
    """Whether one core should compute each operation: a model on the CPU of fewer than 20 million parameters."""
    parameter = next(model.parameters(), None)
    return parameter is not None and parameter.device.type == "cpu" and num_parameters(model) < SMALL


def sharing_weights(model: nn.Module) -> nn.Module:
    """A copy of the model whose parameters and buffers lie in the same memory; gradients are its own."""
    same = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}  # frozen ones, perhaps quantized
    own = {id(p): nn.Parameter(p.detach()) for p in model.parameters() if p.requires_grad}
    return copy.deepcopy(model, {**same, **own})


def on_one_core_each(
    run: Callable[[Any], Any], parts: Sequence[Any], cancelled: threading.Event | None = None
) -> list[Any]:
    """``run(part)`` of every part, each in a thread of its own, and every operation inside it on one core. Where this
    process has one core, one part after the other.

    ``cancelled`` is set if one of them ends with an error or the stop button was pressed: the others need not go on.
    """
    cancelled = cancelled or threading.Event()
    threads = torch.get_num_threads()

    def alone(part: Any) -> Any:
        torch.set_num_threads(1)
        try:
            return run(part)
        except BaseException:  # an error in one half: the other need not go on
            cancelled.set()
            raise

    try:
        if len(parts) == 1 or cores() == 1:  # two threads of one core would only wait for each other
            return [alone(part) for part in parts]
        with ThreadPoolExecutor(len(parts)) as pool:
            try:
                return list(pool.map(alone, parts))
            except BaseException:  # the stop button reaches this thread alone
                cancelled.set()
                raise
    finally:
        torch.set_num_threads(threads)


def at_once(model: nn.Module, *work: Callable[[], Any]) -> list[Any]:
    """The results of functions that share nothing: of a small ``model``, all at once, each on one core."""
    if not is_small(model) or torch.is_autocast_enabled("cpu"):  # a switch that each thread has for itself
        return [call() for call in work]
    return on_one_core_each(lambda call: call(), work)


@contextmanager
def one_core(model: nn.Module) -> Iterator[None]:
    """Short operations inside are computed by one core, if the model is small."""
    threads = torch.get_num_threads()
    if is_small(model):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def like_lengths(
    model: nn.Module, input_ids: Tensor, mask: Tensor, forward: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """``forward(input_ids, mask)`` with gradients; of a small ``model`` the shorter and the longer rows apart.

    ``input_ids`` (rows, length) and ``mask`` (rows, length), 1 for tokens, 0 for padding. Each half is cut after its
    longest row, so much of the padding of rows of unlike length is never read: the same result, to rounding. Where that
    would spare less than a tenth, and among several processes, which count the calls of ``forward``, all rows are read
    as they are. Rows are the first axis of what ``forward`` returns.
    """
    together = dist.is_available() and dist.is_initialized()
    if len(input_ids) < FEWEST or together or not is_small(model):
        return forward(input_ids, mask)
    ends = (mask * torch.arange(1, mask.shape[1] + 1)).amax(1)
    order = ends.argsort(stable=True)
    halves = [(rows, int(ends[rows[-1]])) for rows in order.tensor_split(2)]
    if halves[0][1] > 0.8 * halves[1][1]:
        return forward(input_ids, mask)
    return torch.cat([forward(input_ids[rows, :end], mask[rows, :end]) for rows, end in halves])[order.argsort()]


def read(model: nn.Module, batch: Mapping[str, Tensor], forward: Callable[[nn.Module, Any], Tensor]) -> Tensor:
    """``forward(model, batch)`` without gradients; in two halves where ``forward`` is marked and the model is small."""

    def half(part: tuple[nn.Module, Mapping[str, Tensor]]) -> Tensor:
        with torch.no_grad():  # each thread has its own switch
            return forward(*part)

    rows = len(next(iter(batch.values())))
    alone = rows < FEWEST or not isinstance(model, nn.Module) or not is_small(model) or not can_be_read_twice(model)
    if alone or not is_by_rows(forward):
        return half((model, batch))
    middle = (rows + 1) // 2
    first = {name: tensor[:middle] for name, tensor in batch.items()}
    second = {name: tensor[middle:] for name, tensor in batch.items()}
    return torch.cat(on_one_core_each(half, [(model, first), (sharing_weights(model), second)]))
