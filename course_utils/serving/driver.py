"""Between a server of many connections and an engine of one loop: steps the engine, and hands each event to its owner.

The engine never waits for anybody. Its events go into the queue of the request that they belong to, which holds one
answer at the most, and whoever reads it may be as slow as the server's limits allow.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from course_utils.serving.engine import Event, Request


class EngineFailure(RuntimeError):
    """A pass of the model failed; all requests that were in it are given up."""


class Ticket:
    """The answers to one HTTP request: ``await ticket.next()`` gives (which of them, event)."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self._queue = driver, asyncio.Queue[Any]()
        self.ids: dict[int, int] = {}  # the engine's number -> which of the answers
        self.open = 0

    async def next(self) -> tuple[int, Event]:
        """The next event of any of the answers. Raises EngineFailure."""
        found = await self._queue.get()
        if isinstance(found, BaseException):
            raise found
        if found.finish_reason is not None:
            self.open -= 1
        return self.ids[found.request_id], found

    def end(self, index: int) -> None:
        """One answer is complete although the engine does not know it: a stop string was met."""
        (id,) = (id for id, place in self.ids.items() if place == index)
        self._driver.give_up(id)
        self.open -= 1

    def put(self, event: Event | BaseException) -> None:
        """Called by the driver."""
        self._queue.put_nowait(event)

    def close(self) -> None:
        """Give up whatever has not ended."""
        for id in self.ids:
            self._driver.give_up(id)


class Driver:
    """Runs one engine, in a thread of its own, for an event loop that stays free to talk meanwhile."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.failures = engine, 0
        self._tickets: dict[int, Ticket] = {}  # of requests that have not ended
        self._work = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    @property
    def active(self) -> int:
        """Requests that wait or run."""
        return len(self._tickets)

    def submit(self, requests: Sequence[Request]) -> Ticket:
        """Queue the requests, all of them or, if one is refused (ServingError), none."""
        ticket = Ticket(self)
        try:
            for index, request in enumerate(requests):
                id = self.engine.submit(request)
                self._tickets[id], ticket.ids[id] = ticket, index
                ticket.open += 1
        except BaseException:
            ticket.close()
            raise
        self._work.set()
        return ticket

    def give_up(self, id: int) -> None:
        """Stop a request; nobody waits for its events any more. One that has ended is left alone."""
        if self._tickets.pop(id, None) is not None:
            self.engine.cancel(id)
            self._work.set()  # one more step, or its blocks would stay taken until the next request

    async def run(self) -> None:
        """Step as long as there is work, for ever; ends by being cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._work.wait()
                try:
                    events = await loop.run_in_executor(self._thread, self.engine.step)
                except Exception as error:  # the requests are lost, the server is not
                    self._fail(error)
                    continue
                for event in events:
                    self._deliver(event)
                if not self._tickets and not self._busy():
                    self._work.clear()
        finally:
            self._thread.shutdown(wait=False)

    def _busy(self) -> bool:
        stats = self.engine.stats()
        return bool(stats.running or stats.waiting)

    def _deliver(self, event: Event) -> None:
        ticket = self._tickets.get(event.request_id)
        if ticket is None:
            return
        if event.finish_reason is not None:
            del self._tickets[event.request_id]
        ticket.put(event)

    def _fail(self, error: Exception) -> None:
        self.failures += 1
        failed = EngineFailure(f"a pass of the model failed ({type(error).__name__}: {error})")
        for id, ticket in list(self._tickets.items()):
            ticket.put(failed)
            with contextlib.suppress(Exception):
                self.give_up(id)
        if self.failures > 100:  # nor does an engine that fails for ever burn a core
            self._work.clear()
