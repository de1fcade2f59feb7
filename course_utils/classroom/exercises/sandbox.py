"""Run a learner's code so that nothing it does can take the notebook with it.

A time limit, a cap on what it prints, and exits turned into ordinary errors. What the code changes around it is put
back by ``state.py``.

On the main thread of a POSIX system the limit is an interval timer; elsewhere (Windows, another thread) the code runs
in a thread of its own, into which the exception is injected. Either way it comes again until the code gives way; how it
gets past ``while True: try: ... except: pass`` is told at ``_Interrupter``.
"""

from __future__ import annotations

import ctypes
import io
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, NoReturn

from course_utils.classroom.exercises.isolation import restored
from course_utils.work_limit import WorkLimit

PATIENCE = 3  # how many times its limit a call may take by the clock, waiting or beside other programs
KEPT_CHARACTERS = 2000
KEPT_DISPLAYS = 3


class TimeUp(BaseException):
    """Raised inside code that has used up its time. Not an Exception, so that `except Exception` lets it through."""


class Quit(BaseException):
    """Raised instead of ending the kernel when checked code calls exit(), quit() or os._exit()."""


@dataclass
class Outcome:
    """What became of a guarded call."""

    value: Any = None
    error: BaseException | None = None
    timed_out: bool = False
    abandoned: bool = False  # it could not be stopped and still runs in its thread
    stopped_by_user: bool = False
    seconds: float = 0.0
    printed: str = ""
    printed_total: int = 0
    displays: list[Any] = field(default_factory=list)


class _Capped(io.TextIOBase):
    """A text stream that keeps the first characters and counts the rest."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.total = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        text = str(text)
        room = KEPT_CHARACTERS - self.total
        if room > 0:
            self.kept.append(text[:room])
        self.total += len(text)
        return len(text)


class _CappedDisplays:
    """Stands in for IPython's display publisher: keeps the first few pictures, counts the rest."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.kept: list[tuple[tuple, dict[str, Any]]] = []
        self.total = 0

    def publish(self, *args: Any, **kwargs: Any) -> None:
        self.total += 1
        if len(self.kept) < KEPT_DISPLAYS:
            self.kept.append((args, kwargs))

    def clear_output(self, *args: Any, **kwargs: Any) -> None:
        self.kept.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@contextmanager
def _captured(outcome: Outcome) -> Iterator[None]:
    stream, old = _Capped(), (sys.stdout, sys.stderr)
    shell = _shell()
    displays = _CappedDisplays(shell.display_pub) if shell is not None else None
    sys.stdout = sys.stderr = stream
    if displays is not None:
        shell.display_pub = displays
    try:
        yield
    finally:
        sys.stdout, sys.stderr = old
        if displays is not None:
            shell.display_pub = displays.real
            outcome.displays = displays.kept
        outcome.printed, outcome.printed_total = "".join(stream.kept), stream.total


def _shell() -> Any:
    """IPython's shell, without importing IPython where there is none."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None


@contextmanager
def _no_exit() -> Iterator[None]:
    """exit(), quit() and os._exit() raise Quit; input() raises as well. `sys.exit` raises SystemExit by itself."""
    import builtins
    import os

    def stop(*args: Any, **kwargs: Any) -> NoReturn:
        raise Quit("your code ends the Python process")

    def no_input(prompt: object = "") -> str:
        raise RuntimeError("input() cannot be used here: an exercise gets all it needs as arguments")

    shell = _shell()
    saved = (os._exit, os.abort, builtins.input)
    os._exit, os.abort, builtins.input = stop, stop, no_input
    if shell is not None:
        shell.ask_exit = stop  # what IPython's exit and quit call; the class's own method comes back below
    try:
        yield
    finally:
        os._exit, os.abort, builtins.input = saved
        if shell is not None:
            vars(shell).pop("ask_exit", None)


def guarded(call: Callable[[], Any], seconds: float) -> Outcome:
    """Call ``call()`` under a limit of ``seconds`` and return what became of it; raises nothing of its own.

    The limit counts what this process works: beside other programs a call may take ``PATIENCE`` times as long.
    Printing is captured up to a cap, exits become errors, and the process's state is put back afterwards.
    """
    outcome = Outcome()
    begin = time.perf_counter()
    main = threading.current_thread() is threading.main_thread()
    with restored(), _captured(outcome), _no_exit():
        (_under_alarm if main and hasattr(signal, "setitimer") else _in_thread)(call, seconds, outcome)
    outcome.seconds = time.perf_counter() - begin
    for args, kwargs in outcome.displays:
        _shell().display_pub.publish(*args, **kwargs)
    return outcome


def _protected(call: Callable[[], Any]) -> Any:
    """The frame below which exceptions may be injected."""
    return call()


_PROTECTED: CodeType = _protected.__code__
# Seconds between injected exceptions. The first three come alone, so that locks and imports can unwind.
_PAUSES = (0.05, 0.05, 0.05)
_THEN = 0.01


def _inside(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is _PROTECTED:
            return True
        frame = frame.f_back
    return False


class _Interrupter:
    """The effort to stop one call.

    Code that swallows TimeUp is traced from then on, so that its very next line raises it again: the line in or after
    the ``except:``, where that ``try:`` holds no more. Python ends tracing when a tracer raises; but a swallowed
    exception is dropped, and its ``__del__`` lays the trap anew. So each layer of swallowing costs one line.
    """

    def __init__(self) -> None:
        self.active, self.sent = True, 0
        siege = self

        class Insistent(TimeUp):
            def __init__(self) -> None:
                super().__init__()
                siege.trap(sys._getframe(1))

            def __del__(self) -> None:
                siege.trap(sys._getframe(1))

        Insistent.__name__ = TimeUp.__name__
        self.kind = Insistent

    def pause(self) -> float:
        """Count one exception as sent; the seconds until the next."""
        self.sent += 1
        return _PAUSES[self.sent - 1] if self.sent <= len(_PAUSES) else _THEN

    def trap(self, frame: FrameType | None) -> None:
        """From the fourth exception on: let the next line of the protected code raise."""
        if not self.active or self.sent <= len(_PAUSES) or not _inside(frame):
            return
        while frame is not None and frame.f_code is not _PROTECTED:
            frame.f_trace = self._interrupt
            frame = frame.f_back
        sys.settrace(self._interrupt)

    def _interrupt(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename == __file__:  # the siege itself
            return None
        # not on "exception": there the `try:` still holds, would swallow this one as well, and tracing would be over
        if self.active and event in ("line", "call") and _inside(frame.f_back):
            raise self.kind
        return self._interrupt

    def end(self, trace: Any = None) -> None:
        """Stop injecting and tracing; whatever was traced before is traced again."""
        self.active = False
        sys.settrace(trace)


def _under_alarm(call: Callable[[], Any], seconds: float, outcome: Outcome) -> None:
    siege = _Interrupter()

    def on_alarm(signum: int, frame: FrameType | None) -> None:
        if not siege.active or not _inside(frame):
            return
        if not outcome.timed_out and (more := limit.left()):
            signal.setitimer(signal.ITIMER_REAL, more)
            return
        outcome.timed_out = True
        signal.setitimer(signal.ITIMER_REAL, siege.pause())
        raise siege.kind

    def on_interrupt(signum: int, frame: FrameType | None) -> None:
        outcome.stopped_by_user = True
        raise KeyboardInterrupt

    trace, limit = sys.gettrace(), WorkLimit(seconds, time.process_time, PATIENCE)
    old_alarm = signal.signal(signal.SIGALRM, on_alarm)
    old_interrupt = signal.signal(signal.SIGINT, on_interrupt)
    old_delay, old_interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    begin = time.monotonic()
    try:
        outcome.value = _protected(call)
    except BaseException as error:
        outcome.error = error
    finally:
        siege.end(trace)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, old_interrupt if old_interrupt is not None else signal.default_int_handler)
        signal.signal(signal.SIGALRM, old_alarm if old_alarm is not None else signal.SIG_DFL)
        if old_delay:  # somebody else's timer goes on where it was
            left = old_delay - (time.monotonic() - begin)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3), old_interval)


def _in_thread(call: Callable[[], Any], seconds: float, outcome: Outcome) -> None:
    done, siege = threading.Event(), _Interrupter()

    def work() -> None:
        try:
            try:
                outcome.value = _protected(call)
            except BaseException as error:
                siege.end()
                outcome.error = error
        except TimeUp:  # injected a moment too late
            siege.end()
        done.set()

    def inject() -> None:
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            pause = siege.pause()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident or 0), ctypes.py_object(siege.kind))
            if done.wait(pause):
                return
        outcome.abandoned = True

    worker = threading.Thread(target=work, name="exercise", daemon=True)
    worker.start()
    try:
        limit, wait = WorkLimit(seconds, time.process_time, PATIENCE), seconds
        while not done.wait(wait):
            if not (wait := limit.left()):
                outcome.timed_out = True
                inject()
                break
    except KeyboardInterrupt:
        outcome.stopped_by_user = True
        inject()
