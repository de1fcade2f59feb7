"""HTTP: the routes of OpenAI's API, answers that are streamed to whoever reads, and sentences for all that fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from course_utils.serving.api import (
    ApiError,
    ChatBody,
    CompletionBody,
    complaint,
    shown,
)
from course_utils.serving.service import Job, Service


class _Streamed(Response):
    """A body that is sent as it comes, to a client that must take it in time."""

    def __init__(self, job: Job) -> None:
        super().__init__(headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._job = job

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        loop, seconds = asyncio.get_running_loop(), self._job.service.limits.send_seconds
        sending: list[float] = []  # since when a piece waits to be taken

        async def talk() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with contextlib.aclosing(self._job.events()) as events:
                async for chunk, more in events:
                    sending.append(time.monotonic())
                    await send({"type": "http.response.body", "body": chunk, "more_body": more})
                    sending.clear()

        async def watch() -> None:
            while not sending or time.monotonic() - sending[0] < seconds:
                await asyncio.sleep(seconds / 4)
            scope["abort"]()  # it does not read: what waits for it is thrown away with the connection

        watching = loop.create_task(watch())
        try:
            await _unless_gone(talk(), receive)
        finally:
            watching.cancel()
            self._job.close()


async def _unless_gone(work: Any, receive: Any) -> Any:
    """The result of ``work``; None, with the work cancelled, if the client goes away before."""
    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for other in (task, watch):
            other.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def make_app(service: Service) -> FastAPI:
    """The routes, without the guard."""
    app = FastAPI(title="The course's server", openapi_url=None, lifespan=lambda _: _running(service))

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "course"} for name in service.names]
        return {"object": "list", "data": rows}

    @app.post("/v1/completions")
    async def completions(body: CompletionBody, request: Request) -> Response:
        return await _respond(service, body, request)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatBody, request: Request) -> Response:
        return await _respond(service, body, request)

    def answer(request: Request, error: ApiError) -> JSONResponse:
        service.metrics.requests.labels(_path(request), str(error.status)).inc()
        return JSONResponse(error.body(), error.status, error.headers)

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        body = ChatBody if "chat" in request.url.path else CompletionBody
        return answer(request, complaint(error.errors(), body))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return answer(request, ApiError(500, f"The server failed ({type(error).__name__}); it goes on.", "internal"))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        texts = {
            404: f"There is no page {shown(request.url.path)}; try /v1/chat/completions.",
            405: f"{request.method} is not what {shown(request.url.path)} expects.",
            400: "The body is no JSON: an object is expected, in UTF-8.",
        }
        return answer(request, ApiError(error.status_code, texts.get(error.status_code, str(error.detail))))

    return app


def _path(request: Request) -> str:
    route = request.scope.get("route")  # no label for whatever somebody may type
    return getattr(route, "path", "other")


async def _respond(service: Service, body: CompletionBody | ChatBody, request: Request) -> Response:
    job = Job(service, body, _path(request), request.scope["user_name"])
    count = service.metrics.requests
    try:
        if body.stream:
            count.labels(job.path, "200").inc()
            return _Streamed(job)  # which closes the job
        content = await _unless_gone(job.whole(), request.receive)
    except BaseException:
        job.close()
        raise
    job.close()
    if content is None:  # nobody is there to read it
        return Response(status_code=499)
    count.labels(job.path, "200").inc()
    return JSONResponse(content)


@contextlib.asynccontextmanager
async def _running(service: Service) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(driver.run()) for driver in service.drivers.values()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if service.log is not None:
            service.log.close()
