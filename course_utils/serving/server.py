"""A server that speaks OpenAI's API: ``/v1/models``, ``/v1/completions``, ``/v1/chat/completions``, ``/metrics``.

    with start_server({"instruct": run.load("instruct")}) as server:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key=server.token)

It listens on this machine alone (127.0.0.1), and asks for a token. One thread speaks with the clients, and each model
has one more for its engine. What a client sends, keeps or breaks off has bounds (``guard.Limits``), and each refusal is
a sentence.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from course_utils.serving.canary import Canary
from course_utils.serving.engine import ServingError
from course_utils.serving.guard import Guard, Limits, Protocol
from course_utils.serving.routes import make_app
from course_utils.serving.service import ServedModel, Service

if TYPE_CHECKING:
    from course_utils.pretrained.folder import Loaded

HOST = "127.0.0.1"
ONE_USER = "you"


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
        deadline = time.monotonic() + 300  # a thread that has failed ends before
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
    if os.name != "nt":  # there it would let two servers have one port
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
