"""Behind the routes: which models there are, who may ask for how much, and one request from its tokens to its text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.serving import engine as engines
from course_utils.serving.api import (
    Answer,
    ApiError,
    ChatBody,
    Choice,
    CompletionBody,
    Sampling,
    shown,
)
from course_utils.serving.canary import Canary
from course_utils.serving.driver import Driver, EngineFailure, Ticket
from course_utils.serving.engine import Engine, ServingError
from course_utils.serving.grammar import SchemaMask
from course_utils.serving.guard import Limits
from course_utils.serving.json_mode import JsonMask
from course_utils.serving.metrics import Metrics
from course_utils.serving.text_stream import TextStream
from course_utils.text.chat import encode_prompts, stop_ids
from course_utils.text.documents import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
        self.log = RequestWriter(log) if log is not None else None

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


class RequestWriter:
    """The request log, written by a thread of its own: a commit may wait for the disk, and SQLite for its thread."""

    def __init__(self, path: str | Path) -> None:
        from course_utils.serving.request_log import RequestLog

        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._log = self._thread.submit(RequestLog, path).result()

    def add(self, rows: list[dict[str, Any]]) -> None:
        self._thread.submit(self._log.append, rows).add_done_callback(self._tell)

    @staticmethod
    def _tell(done: Future[Any]) -> None:
        """The answer is on its way already; whoever runs the server must hear that it is in no log."""
        if error := done.exception():
            print(f"note: {error}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._thread.submit(self._log.close).result()
        self._thread.shutdown()


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # json.dumps would make one for each event


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + _json(content).encode() + b"\n\n"
