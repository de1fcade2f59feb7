"""Many clients at once, and what each of them saw: status, text, time to the first token, time per token."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Seen:
    """One request as its client saw it; the status is 0 if the connection broke.

    first, seconds: from sending to the first text (nan: none), and to the end.
    """

    status: int
    text: str
    model: str
    tokens: int
    first: float
    seconds: float
    start: float  # on the clock of time.perf_counter


def ask(client: httpx.Client, path: str, body: Mapping[str, Any]) -> Seen:
    """One streamed request, measured. A refusal's text is the server's sentence, a broken connection's the error."""
    start = time.perf_counter()
    try:
        return _ask(client, path, body)
    except httpx.HTTPError as error:
        return Seen(0, f"{type(error).__name__}: {error}", "", 0, math.nan, time.perf_counter() - start, start)


def _ask(client: httpx.Client, path: str, body: Mapping[str, Any]) -> Seen:
    start, first, text, model, tokens = time.perf_counter(), math.nan, "", "", 0
    with client.stream("POST", path, json={**body, "stream": True}) as response:
        if response.status_code != 200:
            sentence = json.loads(response.read())["error"]["message"]
            return Seen(response.status_code, sentence, "", 0, math.nan, time.perf_counter() - start, start)
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                return Seen(500, event["error"]["message"], model, tokens, first, time.perf_counter() - start, start)
            model = event.get("model", model)
            if event.get("usage"):
                tokens = event["usage"]["completion_tokens"]
            for choice in event.get("choices", ()):
                new = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
                if new and math.isnan(first):
                    first = time.perf_counter() - start
                text += new
    return Seen(200, text, model, tokens, first, time.perf_counter() - start, start)


def load_test(
    url: str,
    token: str,
    bodies: Sequence[Mapping[str, Any]],
    clients: int,
    path: str = "/v1/chat/completions",
    keep_alive: bool = True,
) -> list[Seen]:
    """Send the requests from ``clients`` threads, each its next one as soon as the last has ended; in the order given.

    Each asks for the number of its tokens (``stream_options``). keep_alive: False opens a connection for each request.
    """
    # Servers close a connection that has been idle for five seconds or so: one that is as old is not used again.
    kept = clients if keep_alive else 0
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=kept, keepalive_expiry=2)
    headers = {"Authorization": f"Bearer {token}"}
    with (
        httpx.Client(base_url=url, headers=headers, limits=limits, timeout=600, trust_env=False) as client,
        ThreadPoolExecutor(clients) as pool,
    ):
        asked = [{**body, "stream_options": {"include_usage": True}} for body in bodies]
        return list(pool.map(lambda body: ask(client, path, body), asked))


def throughput(seen: Sequence[Seen]) -> float:
    """Tokens per second of all clients together, from the first request to the last piece."""
    return sum(one.tokens for one in seen) / (max(s.start + s.seconds for s in seen) - min(s.start for s in seen))


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies, nan left out; by linear interpolation."""
    import numpy as np

    return float(np.nanquantile(np.asarray(values, float), share))
