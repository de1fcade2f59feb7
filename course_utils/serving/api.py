"""The bodies of requests and answers, as OpenAI's API has them: what is allowed, and what is answered to the rest.

Fields that this server does not know are refused, not ignored: whoever sends a penalty or a tool and gets an answer
must be able to rely on its having counted.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

MOST_STOPS = 4


class ApiError(Exception):
    """An answer with an error: HTTP status, a sentence, and the fields of OpenAI's error object."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def headers(self) -> dict[str, str]:
        """What clients look for beside the status."""
        return {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "1"}}.get(
            self.status, {}
        )

    def body(self) -> dict[str, Any]:
        """``{"error": {...}}``; the official clients show its message."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def _whole_characters(text: str) -> str:
    text.encode()  # a surrogate without its other half is no character; UnicodeError is a ValueError
    return text


Text = Annotated[str, AfterValidator(_whole_characters)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(_Body):
    include_usage: bool = Field(False, description="true or false")
    include_obfuscation: bool = Field(False, description="true or false")


class TextPart(_Body):
    type: Literal["text"]
    text: Text = Field(description="a text")


class Message(_Body):
    role: Literal["system", "user", "assistant"] = Field(description='"system", "user" or "assistant"')
    content: Text | list[TextPart] = Field(description="a text")

    def plain(self) -> dict[str, str]:
        """The message with its parts, if it has any, put together."""
        parts = self.content
        return {"role": self.role, "content": parts if isinstance(parts, str) else "".join(p.text for p in parts)}


class JsonSchema(_Body):
    name: str = Field("answer", description="a text")
    description: str | None = Field(None, description="a text")
    schema_: dict[str, Any] = Field(alias="schema", description="a JSON schema")
    strict: bool | None = Field(None, description="true or false")


class ResponseFormat(_Body):
    type: Literal["text", "json_object", "json_schema"] = Field(description='"text", "json_object" or "json_schema"')
    json_schema: JsonSchema | None = Field(None, description='{"name": ..., "schema": {...}}')


class Sampling(_Body):
    """What both kinds of request may set."""

    model: str = Field(description="the name of a model of /v1/models")
    temperature: float = Field(1.0, ge=0, le=2, description="a number from 0 (the likeliest token) to 2")
    top_p: float = Field(1.0, gt=0, le=1, description="a number above 0, up to 1")
    n: int = Field(1, ge=1, description="a whole number from 1")
    seed: int | None = Field(None, ge=0, lt=2**63, description="a whole number from 0, below 2**63")
    stop: Text | list[Text] | None = Field(None, description=f"a text, or a list of up to {MOST_STOPS}")
    stream: bool = Field(False, description="true or false")
    stream_options: StreamOptions | None = Field(None, description='{"include_usage": true}')
    response_format: ResponseFormat | None = Field(None, description='{"type": "json_object"}, or a JSON schema')
    user: Text | None = Field(None, description="a text; equal ones meet the same model of a canary")
    presence_penalty: float | None = Field(None, ge=0, le=0, description="0, as this server has no penalties,")
    frequency_penalty: float | None = Field(None, ge=0, le=0, description="0, as this server has no penalties,")

    @property
    def stops(self) -> list[str]:
        """The stop strings. Raises ApiError for too many, or an empty one."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > MOST_STOPS or not all(stops):
            raise ApiError(400, f"stop holds up to {MOST_STOPS} texts, none of them empty.", param="stop")
        return stops

    def schema_wanted(self) -> dict[str, Any] | None:
        """The JSON schema that the answer must keep: {} for any JSON object, None for plain text."""
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return {}
        if wanted.json_schema is None:
            raise ApiError(400, 'response_format of the type "json_schema" lacks json_schema.', param="response_format")
        return wanted.json_schema.schema_


class CompletionBody(Sampling):
    prompt: Text | list[Text] | list[int] | list[list[int]] = Field(
        description="a text, token ids, or a list of either"
    )
    max_tokens: int = Field(16, ge=1, description="a whole number from 1")
    logprobs: int | None = Field(None, ge=0, le=1, description="0, or 1 at temperature 0,")

    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, one or several. Raises ApiError if there is none."""
        if not self.prompt:
            raise ApiError(400, "prompt is empty; a text or token ids are expected.", param="prompt")
        if isinstance(self.prompt, str):
            return [self.prompt]
        return [self.prompt] if isinstance(self.prompt[0], int) else self.prompt


class ChatBody(Sampling):
    messages: list[Message] = Field(min_length=1, description='a list of {"role": ..., "content": ...}')
    max_tokens: int | None = Field(None, ge=1, description="a whole number from 1")
    max_completion_tokens: int | None = Field(None, ge=1, description="a whole number from 1")
    logprobs: bool | None = Field(None, description="true or false")
    top_logprobs: Literal[0] | None = Field(None, description="0, as this server knows the chosen token's alone,")


def complaint(error: ValidationError | Sequence[Mapping[str, Any]], body: type[BaseModel]) -> ApiError:
    """One sentence about the first thing that is wrong with a body."""
    first = (error.errors() if isinstance(error, ValidationError) else error)[0]
    place = [part for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid" or not place:
        what = "no JSON" if first["type"] == "json_invalid" else "not what is expected"
        return ApiError(400, f"The body is {what}; an object in application/json is expected: {_example(body)}")
    name = str(place[0])
    known = body.model_fields.get(name)
    if known is None:
        return ApiError(
            400, f"{shown(name)} is no field that this server knows; it would have no effect.", "unknown_field", name
        )
    named = [part for part in place if part in _NAMES]
    where = ".".join(str(part) for part in place if isinstance(part, int) or part in _NAMES)
    if first["type"] == "missing" and len(place) == 1:
        return ApiError(400, f"{name} is missing; {known.description} is expected.", "missing_field", name)
    wanted = _NAMES[named[-1]]
    given = "missing" if first["type"] == "missing" else shown(first.get("input"))
    return ApiError(400, f"{where} is {given}; {wanted} is expected.", "wrong_value", where)


def shown(value: object) -> str:
    """A value as JSON, cut short; never a way for half a surrogate or a megabyte back into an answer."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _example(body: type[BaseModel]) -> str:
    said = '"messages": [{"role": "user", "content": "..."}]' if body is ChatBody else '"prompt": "..."'
    return '{"model": "...", ' + said + "}"


_PARTS: tuple[type[BaseModel], ...] = (
    CompletionBody, ChatBody, Message, TextPart, StreamOptions, ResponseFormat, JsonSchema,
)  # fmt: skip
_NAMES = {(f.alias or name): f.description for part in _PARTS for name, f in part.model_fields.items()}


@dataclass
class Choice:
    """One answer while it grows. ``logprobs``: (token's text, log-probability, where it begins in the text)."""

    text: str = ""
    finish_reason: str | None = None
    logprobs: list[tuple[str, float, int]] = field(default_factory=list)


@dataclass
class Answer:
    """The objects of one request's answer, whole or in pieces."""

    chat: bool
    model: str
    with_logprobs: bool
    prompt_tokens: int
    id: str = field(default_factory=lambda: secrets.token_hex(12))  # no counter: it would tell of the others' requests
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice], new_tokens: int) -> dict[str, Any]:
        """The answer to a request without ``stream``."""
        kind = "chat.completion" if self.chat else "text_completion"
        made = []
        for index, choice in enumerate(choices):
            said = {"message": {"role": "assistant", "content": choice.text}} if self.chat else {"text": choice.text}
            made.append(self._choice(index, said, choice.logprobs, choice.finish_reason))
        return self._frame(kind, made) | {"usage": self.usage(new_tokens)}

    def opening(self, index: int) -> dict[str, Any]:
        """The first piece of a streamed chat answer: who speaks."""
        said = {"delta": {"role": "assistant", "content": ""}}
        return self._frame("chat.completion.chunk", [self._choice(index, said, [], None)])

    def piece(self, index: int, text: str, logprobs: list, finish_reason: str | None) -> dict[str, Any]:
        """A later piece."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        said: dict[str, Any] = {"delta": {"content": text} if text or not finish_reason else {}}
        if not self.chat:
            said = {"text": text}
        return self._frame(kind, [self._choice(index, said, logprobs, finish_reason)])

    def usage_piece(self, new_tokens: int) -> dict[str, Any]:
        """The last piece, if it was asked for."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return self._frame(kind, []) | {"usage": self.usage(new_tokens)}

    def usage(self, new_tokens: int) -> dict[str, int]:
        """Tokens in, out (without the end token), and together."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": new_tokens,
            "total_tokens": self.prompt_tokens + new_tokens,
        }

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        prefix = "chatcmpl-" if self.chat else "cmpl-"
        return {
            "id": prefix + self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _choice(self, index: int, said: dict, logprobs: list, finish_reason: str | None) -> dict[str, Any]:
        shown_logprobs = None
        if self.with_logprobs and self.chat:
            shown_logprobs = {
                "content": [
                    {"token": text, "logprob": value, "bytes": list(text.encode()), "top_logprobs": []}
                    for text, value, _ in logprobs
                ],
                "refusal": None,
            }
        elif self.with_logprobs:
            shown_logprobs = {
                "tokens": [text for text, _, _ in logprobs],
                "token_logprobs": [value for _, value, _ in logprobs],
                "top_logprobs": [{text: value} for text, value, _ in logprobs],
                "text_offset": [start for _, _, start in logprobs],
            }
        return {"index": index, **said, "logprobs": shown_logprobs, "finish_reason": finish_reason}
