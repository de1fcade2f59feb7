"""The course's server beside ``transformers serve`` and llama.cpp's own server: one folder, one set of requests.

    python benchmarks/serving_peers.py                      a few minutes, most of them the start of transformers
    python benchmarks/serving_peers.py --memory 10000       memory of our server over so many requests, nothing else

Each server runs in a process of its own, on as many threads as ``--threads`` says, and they are measured in turns, so
that a busy moment of the machine meets all of them; a figure is the median over the turns. All requests are greedy,
streamed, and of mixed lengths. Tokens are counted by the course's tokenizer in what came back, end tokens included.
Where other programs run beside it, compare the last column but one: processor time that the server itself took.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LLAMA_CPP = """
import sys, time, xllamacpp as x
options = x.CommonParams()
options.model.path, options.n_parallel, options.n_ctx = sys.argv[1], 32, 32 * 256
options.cpuparams.n_threads = options.cpuparams_batch.n_threads = int(sys.argv[3])
options.api_keys, options.verbosity, options.n_threads_http = [sys.argv[2]], 0, 64  # one for each connection
if sys.argv[4] == "exact":
    options.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    options.cache_type_k = options.cache_type_v = x.ggml_type.GGML_TYPE_F32
server = x.Server(options)
print(server.listening_address, flush=True)
time.sleep(10**6)
"""


@dataclass
class Peer:
    """A server that is up. model: the name under which it knows the folder."""

    url: str
    token: str
    model: str
    pid: int


@contextlib.contextmanager
def ended(process: subprocess.Popen) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def ours(folder: Path, threads: int) -> Iterator[Peer]:
    from course_utils.serving.server import ServerProcess

    with ServerProcess(folder) as server:
        yield Peer(server.url, server.token, folder.name, server.pid)


@contextlib.contextmanager
def transformers_serve(folder: Path, threads: int, *options: str) -> Iterator[Peer]:
    import httpx

    port = free_port()
    cache = tempfile.mkdtemp()  # its /v1/models fails where no cache of the Hub is
    environment = os.environ | {"HF_HUB_CACHE": cache, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32", *options]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with ended(process):
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 180
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url + "/health", timeout=2).status_code == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("transformers serve did not start; run the command by hand to see why")
            time.sleep(0.3)
        yield Peer(url, "unused", str(folder), process.pid)


@contextlib.contextmanager
def llama_cpp(folder: Path, threads: int, how: str) -> Iterator[Peer]:
    token = secrets.token_urlsafe(16)
    file = str(folder.with_suffix(".gguf"))
    command = [sys.executable, "-c", LLAMA_CPP, file, token, str(threads), how]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with ended(process):
        assert process.stdout is not None
        yield Peer(process.stdout.readline().strip(), token, "isles", process.pid)


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


PEERS: dict[str, Any] = {
    "ours": ours,
    "transformers serve": transformers_serve,
    "transformers serve, continuous batching": lambda *a: transformers_serve(*a, "--continuous-batching"),
    "llama.cpp, float32": lambda *a: llama_cpp(*a, "exact"),
    "llama.cpp, its defaults": lambda *a: llama_cpp(*a, "default"),
}


def prepared(folder: Path) -> tuple[Any, list[dict[str, Any]]]:
    """The shipped instruct model as a folder and as GGUF; its tokenizer, and requests of mixed lengths."""
    from course_utils.pretrained import store
    from course_utils.serving.export import write_release
    from course_utils.serving.gguf_file import write_gguf
    from course_utils.serving.traffic import questions
    from course_utils.world import World, WorldConfig

    loaded = store.load("instruct", root=store.SHIPPED)
    write_release(folder, loaded.model, loaded.tokenizer, loaded.card)
    write_gguf(loaded.model, loaded.tokenizer, folder.with_suffix(".gguf"))
    world = World(WorldConfig(people=300), seed=0)
    tasks = [task for group in questions(world, 11, seed=0).values() for task in group][:128]
    bodies = [
        {
            "messages": [{"role": "user", "content": task["prompt"]}],
            "temperature": 0,
            "max_tokens": (8, 16, 32, 48)[i % 4],
        }
        for i, task in enumerate(tasks)
    ]
    return loaded.tokenizer, bodies


def processor_seconds(peer: Peer) -> float:
    """What the server's process and its children have used so far; nan where that cannot be asked."""
    import psutil

    try:
        process = psutil.Process(peer.pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return sum(one.user + one.system for one in times)
    except psutil.Error:
        return float("nan")


def measure(
    peer: Peer, bodies: list[dict[str, Any]], clients: int, tokenizer: Any
) -> tuple[float, float, float, list[str]]:
    """(median milliseconds to the first token, tokens/s, the server's processor milliseconds a token, texts)."""
    from course_utils.serving.load_test import load_test, quantile
    from course_utils.text.tokenizer import encode_plain

    # A new connection for each request: llama.cpp's server may close one behind a stream while the next is on its way.
    asked = [{**body, "model": peer.model} for body in bodies]
    before = processor_seconds(peer)
    seen = load_test(peer.url, peer.token, asked, clients, keep_alive=False)
    used = processor_seconds(peer) - before
    wrong = [one for one in seen if one.status != 200]
    if wrong:
        print(
            f"{peer.url}: {len(wrong)} of {len(seen)} requests failed ({wrong[0].status} {wrong[0].text})", flush=True
        )
    texts = [one.text.strip() if one.status == 200 else "" for one in seen]
    tokens = sum(len(ids) + 1 for ids in encode_plain([text for text in texts if text], tokenizer))
    seconds = max(one.start + one.seconds for one in seen) - min(one.start for one in seen)
    return 1e3 * quantile([one.first for one in seen], 0.5), tokens / seconds, 1e3 * used / max(tokens, 1), texts


def compare(threads: int, turns: int, wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as up:
        tokenizer, bodies = prepared(folder := Path(place) / "isles")
        peers: dict[str, Peer] = {}
        for name in wanted:
            try:
                peers[name] = up.enter_context(PEERS[name](folder, threads))
                print(f"{name} at {peers[name].url}", flush=True)
            except Exception as error:  # a peer that cannot run here is left out, with its reason
                print(f"{name}: left out ({error})", flush=True)
        one: dict[str, list[float]] = {name: [] for name in peers}
        many: dict[str, list[float]] = {name: [] for name in peers}
        used: dict[str, list[float]] = {name: [] for name in peers}
        texts: dict[str, list[str]] = {}
        for name, peer in list(peers.items()):
            try:
                *_, texts[name] = measure(peer, bodies, 32, tokenizer)  # not timed
            except Exception as error:
                print(f"{name}: left out ({type(error).__name__}: {error})", flush=True)
                del peers[name]
        for _ in range(turns):
            for name, peer in peers.items():
                one[name].append(measure(peer, bodies[:24], 1, tokenizer)[0])
                _, speed, processor, _ = measure(peer, bodies, 32, tokenizer)
                many[name].append(speed)
                used[name].append(processor)
        print(f"\n{'':<42}{'ms to first token':>18}{'tokens/s':>10}{'ours over it':>14}{'ms a token':>12}{'same':>6}")
        print(f"{'':<42}{'1 client':>18}{'32 clients':>10}{'':>14}{'processor':>12}")
        for name in peers:
            ratio = statistics.median(a / b for a, b in zip(many["ours"], many[name], strict=True))
            same = sum(a == b for a, b in zip(texts[name], texts["ours"], strict=True)) / len(bodies)
            first, speed = statistics.median(one[name]), statistics.median(many[name])
            processor = statistics.median(used[name])
            print(f"{name:<42}{first:>18.1f}{speed:>10,.0f}{ratio:>14.2f}{processor:>12.2f}{same:>6.2f}")


def memory(requests: int) -> None:
    """Resident memory of our server's process, ten times on the way."""
    import psutil

    with tempfile.TemporaryDirectory() as place:
        tokenizer, bodies = prepared(folder := Path(place) / "isles")
        with ours(folder, 1) as peer:
            process = psutil.Process(peer.pid)
            print(f"{'requests':>10}{'MiB':>8}")
            for part in range(11):
                if part:
                    some = [{**bodies[i % len(bodies)], "max_tokens": 8} for i in range(requests // 10)]
                    measure(peer, some, 32, tokenizer)
                print(f"{part * (requests // 10):>10,}{process.memory_info().rss / 2**20:>8.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--memory", type=int, metavar="REQUESTS", help="only the memory of our server")
    parser.add_argument(
        "--only", nargs="+", choices=PEERS, default=list(PEERS), help="which servers; ours is one of them"
    )
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    print(f"{options.threads} threads for each server, {os.cpu_count()} cores, {load} before the start", flush=True)
    if options.memory:
        memory(options.memory)
    else:
        compare(options.threads, options.turns, list(dict.fromkeys(["ours", *options.only])))


if __name__ == "__main__":
    main()
