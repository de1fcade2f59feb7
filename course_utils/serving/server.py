"""A server that speaks OpenAI's API: ``/v1/models``, ``/v1/completions``, ``/v1/chat/completions``, ``/metrics``.

    with start_server({"instruct": run.load("instruct")}) as server:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key=server.token)

It listens on this machine alone (127.0.0.1), and asks for a token. One thread speaks with the clients, and each model
has one more for its engine. What a client sends, keeps or breaks off has bounds (``guard.Limits``), and each refusal is
a sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from course_utils.serving import engine as engines
from course_utils.serving.api import (
    Answer,
    ApiError,
    ChatBody,
    Choice,
    CompletionBody,
    Sampling,
    complaint,
    shown,
)
from course_utils.serving.canary import Canary
from course_utils.serving.driver import Driver, EngineFailure, Ticket
from course_utils.serving.engine import Engine, ServingError
from course_utils.serving.grammar import SchemaMask
from course_utils.serving.guard import Guard, Limits, Protocol
from course_utils.serving.json_mode import JsonMask
from course_utils.serving.metrics import Metrics
from course_utils.serving.text_stream import TextStream
from course_utils.text.chat import encode_prompts, stop_ids
from course_utils.text.documents import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from course_utils.pretrained.folder import Loaded

T = TypeVar("T")
HOST = "127.0.0.1"
ONE_USER = "you"
MOST_SCHEMA, KEPT_MASKS = 10_000, 16


class ServedModel:
    """A model behind the server: its engine, its tokenizer, and the tokens that end its answers.

    Raises ServingError if the tokenizer has more tokens than the model.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, engine: Any = None, **settings: Any) -> None:
        self.tokenizer = tokenizer
        self.engine = engine if engine is not None else Engine(model, **settings)
        self.context = int(model.config.max_position_embeddings)
        if len(tokenizer) > model.config.vocab_size:
            raise ServingError(
                f"the tokenizer has {len(tokenizer)} tokens and the model {model.config.vocab_size}: they do not "
                "belong together. Serve the model with the tokenizer that it was trained with."
            )
        self.stops = frozenset(stop_ids(tokenizer, model))
        self.vocab_size = int(model.config.vocab_size)
        self._masks: OrderedDict[str, engines.TokenMask] = OrderedDict()

    def encode_text(self, prompt: str | list[int]) -> list[int]:
        """Token ids of a prompt without a template; what looks like a special token in it is plain text."""
        if not isinstance(prompt, str):
            return prompt
        return self.tokenizer(prompt, split_special_tokens=True, verbose=False)["input_ids"]

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a conversation, up to where the assistant begins to speak."""
        return encode_prompts([messages], self.tokenizer)[0]

    def mask(self, schema: dict[str, Any] | None) -> engines.TokenMask | None:
        """What keeps an answer to a JSON schema ({}: to any object); the latest ones are kept, as making one takes
        time. Raises ServingError for a schema that cannot be kept."""
        if schema is None:
            return None
        name = json.dumps(schema)
        if len(name) > MOST_SCHEMA:
            raise ServingError(f"the schema has {len(name):,} characters; up to {MOST_SCHEMA:,} are allowed.")
        if name not in self._masks:
            made: engines.TokenMask = JsonMask(self.tokenizer, self.stops, self.vocab_size)
            try:
                if schema:
                    made = SchemaMask(schema, self.tokenizer, self.stops, self.vocab_size)
            except ServingError:
                raise
            except (TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
                raise ServingError(
                    f"the schema is no JSON schema that can be kept ({type(error).__name__})."
                ) from error
            self._masks[name] = made
        self._masks.move_to_end(name)
        while len(self._masks) > KEPT_MASKS:
            self._masks.popitem(last=False)
        return self._masks[name]


class Service:
    """What the server knows and does, apart from HTTP: models, limits, counters, the log."""

    def __init__(
        self, models: Mapping[str, ServedModel], limits: Limits, log: str | Path | None, canary: Canary | None
    ) -> None:
        self.models, self.limits, self.canary = models, limits, canary
        self.drivers = {name: Driver(model.engine) for name, model in models.items()}
        self.metrics = Metrics(lambda: {name: model.engine.stats() for name, model in models.items()})
        self.by_user: Counter[str] = Counter()
        self.log = _Log(log) if log is not None else None

    @property
    def names(self) -> list[str]:
        """What clients may ask for."""
        return [*self.models, *([self.canary.name] if self.canary else [])]

    def route(self, body: Sampling) -> str:
        """The model that answers. Raises ApiError for an unknown name."""
        if self.canary and body.model == self.canary.name:
            return self.canary.choose(body.user if body.user is not None else secrets.token_hex(8))
        if body.model not in self.models:
            raise ApiError(
                404,
                f"There is no model {shown(body.model)}; this server has {', '.join(self.names)}.",
                "model_not_found",
                "model",
            )
        return body.model

    def requests(self, name: str, body: CompletionBody | ChatBody) -> list[engines.Request]:
        """What the engine is asked for: n answers to each prompt. Raises ApiError, DataError."""
        model = self.models[name]
        if isinstance(body, ChatBody):
            if body.messages[-1].role == "assistant":
                raise ApiError(
                    400, "The last message is the assistant's; one of the user is expected.", None, "messages"
                )
            prompts = [model.encode_chat([message.plain() for message in body.messages])]
            asked = body.max_completion_tokens or body.max_tokens
        else:
            prompts = [model.encode_text(prompt) for prompt in body.prompts()]
            asked = body.max_tokens
            if body.logprobs and body.temperature:
                raise ApiError(
                    400, "logprobs is 1 at a temperature above 0; this server knows the chosen token's alone: ask 0.",
                    "unsupported", "logprobs",
                )  # fmt: skip
        most = self.limits.choices
        if len(prompts) * body.n > most:
            raise ApiError(
                400, f"{len(prompts) * body.n} answers were asked for at once; {most} are allowed.", None, "n"
            )
        made, mask = [], model.mask(body.schema_wanted())
        for prompt in prompts:
            room = model.context - len(prompt)
            if room < 1 or asked is not None and asked > room:
                raise ApiError(
                    400,
                    f"The prompt has {len(prompt)} tokens, {asked or 'some'} more were asked for, and the model reads "
                    f"{model.context} together. Shorten the prompt, or ask for fewer.",
                    "context_length_exceeded",
                )
            for number in range(body.n):
                made.append(
                    engines.Request(
                        prompt,
                        max_new_tokens=min(asked or room, self.limits.new_tokens),
                        temperature=body.temperature,
                        top_p=body.top_p,
                        seed=None if body.seed is None else body.seed + number,
                        stop_ids=model.stops,
                        token_mask=mask,
                    )
                )
        return made

    def submit(self, name: str, requests: list[engines.Request], user: str) -> Ticket:
        """Hand them to the engine. Raises ApiError if the queue or the user's share is full, or for a bad request."""
        if self.by_user[user] + len(requests) > self.limits.per_user:
            raise ApiError(
                429,
                f"You have {self.by_user[user]} answers under way; {self.limits.per_user} at once are allowed. Wait "
                "for one of them.",
                "too_many",
            )
        if sum(driver.active for driver in self.drivers.values()) + len(requests) > self.limits.requests:
            raise ApiError(503, "The queue is full. Try again in a second.", "overloaded")
        try:
            return self.drivers[name].submit(requests)
        except ServingError as error:
            raise ApiError(400, str(error)) from error


class Job:
    """One HTTP request for answers, from its tokens to the last piece of text."""

    def __init__(self, service: Service, body: CompletionBody | ChatBody, path: str, user: str) -> None:
        self.service, self.body, self.path, self.user = service, body, path, user
        self.started = time.perf_counter()
        self.name = service.route(body)
        try:
            self.requests = service.requests(self.name, body)
        except (DataError, ServingError) as error:
            raise ApiError(400, str(error)) from error
        tokenizer = service.models[self.name].tokenizer
        self.texts = [TextStream(tokenizer, body.stops) for _ in self.requests]
        self.choices = [Choice() for _ in self.requests]
        self.counts = [0] * len(self.requests)
        self.times: list[float] = []  # of tokens
        self.answer = Answer(
            isinstance(body, ChatBody),
            self.name,
            body.logprobs is not None and body.logprobs is not False,
            sum(len(request.prompt_ids) for request in self.requests[:: body.n]),
        )
        self.ticket = service.submit(self.name, self.requests, user)
        service.by_user[user] += len(self.requests)
        self._open, seconds = True, service.limits.answer_seconds
        # One timer for the whole answer: one for each token would cost as much as sending it.
        late = TimeoutError(f"The answer took longer than {seconds:g} seconds and was given up.")
        self._timer = asyncio.get_running_loop().call_later(seconds, self.ticket.put, late)

    def close(self) -> None:
        """The request has ended, one way or the other: give up what runs, and free the user's share."""
        if not self._open:
            return
        self._open = False
        self._timer.cancel()
        if self.ticket.open:
            self.service.metrics.gone.labels(self.name).inc()
        self.ticket.close()
        self.service.by_user[self.user] -= len(self.requests)
        if not self.service.by_user[self.user]:
            del self.service.by_user[self.user]  # users come and go; the table does not grow
        self._count()

    async def pieces(self) -> AsyncGenerator[tuple[int, str, list, str | None]]:
        """(which answer, new text, log-probabilities, why it ended or None) as they come. Raises ApiError."""
        starts = [0] * len(self.choices)
        held: list[list] = [[] for _ in self.choices]
        while self.ticket.open:
            index, event = await self._next()
            text, choice = self.texts[index], self.choices[index]
            new, reason = "", event.finish_reason
            if event.token_id is not None:
                self.times.append(time.perf_counter())
                self.counts[index] += 1
                new = text.push(event.token_id)
                piece = text.pieces[-1]
                held[index].append((piece, event.logprob, starts[index]))
                starts[index] += len(piece)
            if text.stopped:
                if reason is None:
                    self.ticket.end(index)
                reason = "stop"
                held[index] = [entry for entry in held[index] if entry[2] < len(text.text)]
            elif reason is not None:
                new += text.finish()
            if new or reason is not None:
                choice.text += new
                choice.logprobs += held[index]
                choice.finish_reason = reason
                yield index, new, held[index], reason
                held[index] = []

    async def _next(self) -> tuple[int, Any]:
        try:
            return await self.ticket.next()
        except TimeoutError as error:
            raise ApiError(504, str(error), "slow") from error
        except EngineFailure as error:
            raise ApiError(500, f"The answer was lost: {error}. The server goes on; try again.", "engine") from error

    async def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        async with contextlib.aclosing(self.pieces()) as pieces:
            async for _ in pieces:
                pass
        return self.answer.whole(self.choices, sum(self.counts))

    async def events(self) -> AsyncGenerator[tuple[bytes, bool]]:
        """(server-sent events, whether more follow), an error among them if one comes in the middle.

        What need not be sent by itself goes with what follows: each sending costs about as much as a token.
        """
        waiting = b""
        if self.answer.chat:
            waiting = b"".join(_event(self.answer.opening(index)) for index in range(len(self.choices)))
        try:
            async with contextlib.aclosing(self.pieces()) as pieces:
                async for index, text, logprobs, reason in pieces:
                    waiting += _event(self.answer.piece(index, text, logprobs, reason))
                    if self.ticket.open:
                        yield waiting, True
                        waiting = b""
            options = self.body.stream_options
            if options is not None and options.include_usage:
                waiting += _event(self.answer.usage_piece(sum(self.counts)))
        except ApiError as error:
            waiting += _event(error.body())
        yield waiting + b"data: [DONE]\n\n", False

    def _count(self) -> None:
        metrics, log, now = self.service.metrics, self.service.log, time.perf_counter()
        metrics.prompt_tokens.labels(self.name).inc(self.answer.prompt_tokens)
        metrics.new_tokens.labels(self.name).inc(sum(self.counts))
        metrics.whole.labels(self.name).observe(now - self.started)
        if self.times:
            metrics.first.labels(self.name).observe(self.times[0] - self.started)
        if len(self.times) > 1:
            gaps = (self.times[-1] - self.times[0]) / (len(self.times) - 1)
            metrics.per_token.labels(self.name).observe(gaps)
        if log is not None:
            log.add([self._row(index, now) for index in range(len(self.choices))])

    def _row(self, index: int, now: float) -> dict[str, Any]:
        model, choice = self.service.models[self.name], self.choices[index]
        nats = [value for _, value, _ in choice.logprobs if value is not None]
        if isinstance(self.body, ChatBody):
            asked = self.body.messages[-1].plain()["content"]
        else:
            asked = model.tokenizer.decode(self.requests[index].prompt_ids)
        return {
            "time": time.time() / 86_400,  # days since 1970: a server that is started again goes on with its log
            "model": self.name,
            "prompt": asked,
            "answer": choice.text,
            "prompt_tokens": len(self.requests[index].prompt_ids),
            "answer_tokens": self.counts[index],
            "confidence": sum(nats) / len(nats) if nats else None,
            "latency": now - self.started,
        }


class _Log:
    """The request log, written by a thread of its own: a commit may wait for the disk, and SQLite for its thread."""

    def __init__(self, path: str | Path) -> None:
        from course_utils.serving.request_log import RequestLog

        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._log = self._thread.submit(RequestLog, path).result()

    def add(self, rows: list[dict[str, Any]]) -> None:
        self._thread.submit(self._log.append, rows)

    def close(self) -> None:
        self._thread.submit(self._log.close).result()
        self._thread.shutdown()


class _Streamed(Response):
    """A body that is sent as it comes, to a client that must take it in time."""

    def __init__(self, job: Job) -> None:
        super().__init__(headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._job = job

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def talk() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with contextlib.aclosing(self._job.events()) as events:
                async for chunk, more in events:
                    sending.append(time.monotonic())
                    await send({"type": "http.response.body", "body": chunk, "more_body": more})
                    sending.clear()

        def look() -> None:
            nonlocal watch
            if sending and time.monotonic() - sending[0] > seconds:
                scope["abort"]()  # it does not read: what waits for it is thrown away with the connection
            else:
                watch = loop.call_later(seconds / 4, look)

        loop, seconds = asyncio.get_running_loop(), self._job.service.limits.send_seconds
        sending: list[float] = []  # since when a piece waits to be taken
        watch = loop.call_later(seconds / 4, look)
        try:
            await _unless_gone(talk(), receive)
        finally:
            watch.cancel()
            self._job.close()


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


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


class Server:
    """A server that runs in a thread. ``url`` and ``token`` are what a client needs; ``stop`` ends it."""

    def __init__(self, service: Service, tokens: Mapping[str, str], port: int) -> None:
        self.service = service
        self.token = next(iter(tokens))
        self._socket = _listen(port)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        limits = service.limits

        def refused(status: int) -> None:
            service.metrics.requests.labels("other", str(status)).inc()

        config = uvicorn.Config(
            Guard(make_app(service), tokens, limits, refused),
            http=type("Protocol", (Protocol,), {"seconds": limits.request_seconds}),
            ws="none",
            lifespan="on",
            log_level="critical",
            access_log=False,
            limit_concurrency=limits.connections,
            timeout_keep_alive=int(limits.request_seconds) + 1,
            timeout_graceful_shutdown=2,
            server_header=False,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until ``stop`` or, in the main thread, Ctrl-C."""
        self._server.run(sockets=[self._socket])

    def start(self) -> Server:
        """Serve in a thread; returns as soon as it answers. Raises ServingError if it does not."""
        self._thread = threading.Thread(target=self.run, name="server", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise ServingError("the server did not start; the error stands above.")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Take no more requests, give up those under way after two seconds, and free the port."""
        self._server.should_exit = True
        self._thread.join(timeout=30)
        self._socket.close()
        if self._thread.is_alive():
            raise ServingError("the server did not stop within 30 seconds; restart the kernel to be rid of it.")

    def metrics(self) -> str:
        """What ``/metrics`` says."""
        return self.service.metrics.page().decode()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _listen(port: int) -> socket.socket:
    # Named as TCP: only then does asyncio switch off Nagle's algorithm, which holds a small piece of an answer back
    # until the one before is acknowledged, 40 ms later.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # What the system keeps for a client that does not read: bounded, like all that a connection may cost.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise ServingError(
            f"port {port} of {HOST} cannot be used ({error.strerror}). Another server may have it: take another port, "
            "or 0 for any that is free."
        ) from error
    listening.listen(1024)
    return listening


def start_server(
    models: Mapping[str, Loaded | ServedModel],
    *,
    token: str | Mapping[str, str] | None = None,
    port: int = 0,
    limits: Limits | None = None,
    log: str | Path | None = None,
    canary: Canary | None = None,
    **engine: int,
) -> Server:
    """Serve models on 127.0.0.1 from a thread of this process; ``server.stop()`` ends it.

    models: name -> what ``run.load`` returns, or a ServedModel. token: None draws one; or one for each user, as token
    -> user. port: 0 takes one that is free. log: a file for ``RequestLog``. engine: settings of ``Engine``.
    Raises ServingError if the port is taken, there is no model, or a canary's models are not among them.
    """
    return make_server(models, token=token, port=port, limits=limits, log=log, canary=canary, **engine).start()


def make_server(
    models: Mapping[str, Loaded | ServedModel],
    *,
    token: str | Mapping[str, str] | None = None,
    port: int = 0,
    limits: Limits | None = None,
    log: str | Path | None = None,
    canary: Canary | None = None,
    **engine: int,
) -> Server:
    """As ``start_server``, but not running yet."""
    if not models:
        raise ServingError('there is no model to serve; give {"name": model}.')
    served = {
        name: model if isinstance(model, ServedModel) else ServedModel(model.model, model.tokenizer, **engine)
        for name, model in models.items()
    }
    if canary is not None:
        missing = [name for name in (canary.stable, canary.canary) if name not in served]
        if missing or canary.name in served:
            raise ServingError(
                f"the canary {canary.name!r} splits {canary.stable!r} and {canary.canary!r}; the models are "
                f"{', '.join(served)}. Both must be among them, and its own name must not."
            )
    tokens = {secrets.token_urlsafe(24): ONE_USER} if token is None else token
    tokens = {tokens: ONE_USER} if isinstance(tokens, str) else dict(tokens)
    if not tokens or not all(tokens):
        raise ServingError("the token is empty; leave it out and one is drawn.")
    return Server(Service(served, limits or Limits(), log, canary), tokens, port)


class ServerProcess:
    """The same server in a process of its own: ``course serve FOLDER``. ``url``, ``token``, ``stop``, ``pid``."""

    def __init__(self, folder: str | Path, *arguments: str, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(24)
        # The token goes by the environment: the arguments of a process can be read by everybody on the machine.
        environment = os.environ | {"COURSE_SERVER_TOKEN": self.token}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "course_utils.cli", "serve", str(folder), "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if "http://" not in said:
            self._process.wait(10)
            raise ServingError(f"the server of {folder} did not start; its error stands above.")
        self.url = said.split()[-1]
        self.pid = self._process.pid

    def stop(self) -> None:
        """End it as Ctrl-C would, and by force if it does not listen."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
