"""Requests that come when they like: a Poisson process, and what each of them waits for.

Time is the engine's own: a clock that moves on by what each pass took, and jumps over the pauses in which nobody asks.
So a minute of service is measured in the seconds that it computes. On a CPU the processor seconds of this thread are
counted, which other programs, and other threads, do not lengthen.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from course_utils.serving.engine import Engine, Request


def poisson_times(rate: float, count: int, seed: int) -> list[float]:
    """Seconds at which ``count`` requests arrive, ``rate`` per second on average, independently of each other."""
    if rate <= 0:
        raise ValueError(f"rate is {rate}; give requests per second, more than 0.")
    draw, now, times = random.Random(seed), 0.0, []
    for _ in range(count):
        now += draw.expovariate(rate)
        times.append(now)
    return times


@dataclass
class Timing:
    """Seconds of one request: when it arrived, and when each of its tokens came."""

    arrived: float
    tokens: list[float] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)
    ended: float = 0.0

    @property
    def first(self) -> float:
        """Time to first token (TTFT), queueing included."""
        return (self.tokens[0] if self.tokens else self.ended) - self.arrived

    @property
    def per_token(self) -> float:
        """Time per output token (TPOT) after the first; 0 for an answer of one token."""
        return (self.tokens[-1] - self.tokens[0]) / (len(self.tokens) - 1) if len(self.tokens) > 1 else 0.0

    @property
    def whole(self) -> float:
        """From arrival to the end."""
        return self.ended - self.arrived


def serve_arrivals(
    engine: Engine,
    requests: Sequence[Request],
    times: Sequence[float],
    *,
    static: bool = False,
    clock: Callable[[], float] | None = None,
) -> list[Timing]:
    """Serve requests that arrive at these seconds; one ``Timing`` each, in the order given.

    static: a batch is taken when the engine is empty, of what waits then, at most ``max_running``, and nobody joins
    before all of it has ended: how a plain ``generate`` would serve. clock: if None, this thread's processor seconds on
    a CPU, else seconds. Raises ValueError unless there are as many times as requests.
    """
    if len(requests) != len(times):
        raise ValueError(f"{len(requests)} requests and {len(times)} times; each request arrives once.")
    clock = clock or (time.thread_time if engine.reader.device.type == "cpu" else time.perf_counter)
    timings = [Timing(arrived) for arrived in times]
    numbers: dict[int, int] = {}
    now, due = 0.0, 0
    while due < len(requests) or numbers:
        if not numbers and due < len(requests):
            now = max(now, times[due])
        open_to = len(requests) if not static else engine.scheduler.max_running if not numbers else 0
        while due < len(requests) and times[due] <= now and open_to > 0:
            numbers[engine.submit(requests[due])] = due
            due, open_to = due + 1, open_to - 1
        start = clock()
        events = engine.step()
        now += clock() - start
        for event in events:
            timing = timings[numbers[event.request_id]]
            if event.token_id is not None:
                timing.tokens.append(now)
                timing.answer.append(event.token_id)
            if event.finish_reason is not None:
                timing.ended = now
                del numbers[event.request_id]
    return timings
