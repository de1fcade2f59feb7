"""What stands before the server: the token, the size of a request, and the time that a client may take for it."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from course_utils.serving.api import ApiError

OPEN_PATHS = ("/health",)


@dataclass(frozen=True)
class Limits:
    """Bounds that keep one client from the others' share; times are in seconds."""

    requests: int = 256  # answers that wait or are written; beyond: 503
    per_user: int = 256  # of one token; beyond: 429
    choices: int = 16  # answers to one request
    new_tokens: int = 1024  # of one answer
    body_bytes: int = 256_000
    connections: int = 1024
    request_seconds: float = 5.0  # to send a whole request
    send_seconds: float = 5.0  # to take a piece of an answer
    answer_seconds: float = 120.0  # until the last piece


class Guard:
    """An ASGI application around another one: answers 401, 413 and 408 itself, and hands on whole bodies only.

    tokens: token -> the name of its user, which later parts find in ``scope["user_name"]``. refused: called with the
    status of each refusal.
    """

    def __init__(
        self, app: Any, tokens: Mapping[str, str], limits: Limits, refused: Callable[[int], None] = lambda _: None
    ) -> None:
        self.app, self.limits, self.refused = app, limits, refused
        self._tokens = {token.encode(): user for token, user in tokens.items()}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        error = None
        try:
            if scope["path"] not in OPEN_PATHS:
                scope["user_name"] = self._user(dict(scope["headers"]))
            body = await asyncio.wait_for(self._body(scope, receive), self.limits.request_seconds)
        except TimeoutError:
            seconds = f"{self.limits.request_seconds:g}"
            error = ApiError(408, f"The request did not arrive within {seconds} seconds.", "too_slow")
        except ApiError as found:
            error = found
        if error is not None:
            self.refused(error.status)
            await refuse(send, error)
        elif body is not None:  # else: the client went away in the middle of its request
            await self.app(scope, _replay(body, receive), send)

    def _user(self, headers: Mapping[bytes, bytes]) -> str:
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        found = None
        for token, user in self._tokens.items():  # all of them, in constant time: the delay tells nothing
            if secrets.compare_digest(given.strip(), token) and kind.lower() == b"bearer":
                found = user
        if found is None:
            raise ApiError(
                401,
                "The token is missing or wrong. Send the header `Authorization: Bearer TOKEN`; the server's owner has "
                "the token.",
                "invalid_api_key",
            )
        return found

    async def _body(self, scope: dict[str, Any], receive: Any) -> bytes | None:
        most = self.limits.body_bytes
        told = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = ApiError(413, f"The request is larger than {most:,} bytes. Send less text at once.", "too_large")
        if told.isdigit() and int(told) > most:
            raise too_large
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
            if size > most:
                raise too_large
        return b"".join(parts)


def _replay(body: bytes, receive: Any) -> Any:
    """A ``receive`` that gives the body that was read already, and then what comes."""
    whole = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> dict[str, Any]:
        return whole.pop() if whole else await receive()

    return again


async def refuse(send: Any, error: ApiError) -> None:
    """Answer with an error, and close the connection: the rest of an unread body would be taken for a request."""
    body = json.dumps(error.body()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    headers |= {name.lower(): value for name, value in error.headers.items()}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


class Protocol(H11Protocol):
    """uvicorn's HTTP, a limit for the first headers, for which it would wait for ever, and a way to cut a connection
    off: ``scope["abort"]``. Closing it would wait until the client has read what is left."""

    seconds = 5.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(self.seconds, self._hurry)
        app = self.app

        async def with_abort(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "abort": transport.abort}, receive, send)

        self.app = with_abort

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _hurry(self) -> None:
        if self.cycle is None:  # not one request has begun
            self.transport.abort()
