"""A class on one machine: memory, names, copies of the course; and, with --workshop, eight learners at once."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
import yaml

from course_utils import chapters
from course_utils.workshop import hub
from course_utils.workshop.hub import HubError

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "jupyter" / "hub" / "jupyterhub_config.py"
CHART = os.environ.get("JUPYTERHUB_CHART", "")  # a folder with the chart's values.yaml and values.schema.yaml or .json


def test_a_machine_with_too_little_memory_is_told_what_a_class_needs():
    with pytest.raises(HubError, match=r"has 4\.0 GiB of memory; 8 learners at once need about 10 GiB.*take a machine"):
        hub.check_memory(8, 4.0)
    with pytest.raises(HubError, match="set COURSE_HUB_LEARNERS=3 and teach in groups"):
        hub.check_memory(8, 4.0)
    with pytest.raises(HubError) as error:
        hub.check_memory(8, 1.0)
    assert "LEARNERS=" not in str(error.value), "not even one learner fits"
    assert "chapter 04 in groups" in hub.check_memory(8, 12.0)
    assert hub.check_memory(8, 32.0) == "" == hub.check_memory(8, math.nan)
    with pytest.raises(HubError, match="expected at least 1"):
        hub.check_memory(0, 32.0)
    assert [hub.threads(8, cores) for cores in (2, 8, 64)] == [1, 1, 8]


def test_names_and_passwords_are_a_table_that_can_be_written_by_hand(tmp_path):
    sheet = hub.learners_sheet(tmp_path, 3)
    found = hub.passwords(sheet)
    assert list(found) == ["learner-1", "learner-2", "learner-3"] and len(set(found.values())) == 3
    assert os.name == "nt" or sheet.stat().st_mode & 0o077 == 0
    assert hub.learners_sheet(tmp_path, 8) == sheet and len(hub.passwords(sheet)) == 3, "what is there stays"
    sheet.write_text("\ufeffname,password\nAnn , long enough\n\n", encoding="utf-8")
    assert hub.passwords(sheet) == {"ann": "long enough"}
    for line in ("ann,short", "../x,long enough", "ann", "a,b,long enough", "ann,long enough\nann,long enough"):
        sheet.write_text(f"name,password\n{line}\n", encoding="utf-8")
        with pytest.raises(HubError, match="line [23]: expected a name"):
            hub.passwords(sheet)
    with pytest.raises(HubError, match="cannot be read"):
        hub.passwords(tmp_path / "nowhere.csv")


def test_a_learner_has_a_copy_of_the_course_that_nobody_touches_again(tmp_path):
    course = tmp_path / "the course"
    (course / "notebooks" / "__pycache__").mkdir(parents=True)
    (course / "notebooks" / "00_start_here.ipynb").write_text("as shipped")
    (course / "README.md").write_text("read")
    mine = hub.settle(tmp_path / "a class", "ann", course)
    assert sorted(path.name for path in mine.rglob("*")) == ["00_start_here.ipynb", "README.md", "notebooks"]
    (mine / "notebooks" / "00_start_here.ipynb").write_text("my work")
    assert hub.settle(tmp_path / "a class", "ann", course) == mine
    assert (mine / "notebooks" / "00_start_here.ipynb").read_text() == "my work"
    other = hub.settle(tmp_path / "a class", "bob", course)
    homes = {hub.environment(place, 1)["COURSE_HOME"] for place in (mine, other)}
    assert len(homes) == 2 and all(Path(home).is_dir() for home in homes)


def _merged(below: Any, above: Any) -> Any:
    """What helm makes of a chart's values and one's own."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: _merged(below.get(key), above[key]) if key in above else below[key] for key in below | above}
    return above


def test_the_values_for_kubernetes_say_what_the_recipe_says():
    values = yaml.safe_load((RECIPE.parent / "values.yaml").read_text(encoding="utf-8"))
    memory = values["singleuser"]["memory"]
    assert memory == {"guarantee": f"{int(1024 * hub.USUAL_GIB)}M", "limit": "4G"}
    defaults = dict(re.findall(r"number\(['\"]COURSE_HUB_(\w+)['\"], (\d+)\)", RECIPE.read_text(encoding="utf-8")))
    assert defaults == {"LEARNERS": "8", "PORT": "8000", "MEMORY": "4", "IDLE": "3600"}
    assert values["hub"]["activeServerLimit"] == 8 and values["cull"]["timeout"] == 3600
    given = hub.environment(Path("/x/course"), 1)
    assert set(values["singleuser"]["extraEnv"]) == set(given)
    assert values["singleuser"]["extraEnv"]["COURSE_HOME"].startswith(values["singleuser"]["storage"]["homeMountPath"])


@pytest.mark.skipif(not CHART, reason="set JUPYTERHUB_CHART to a folder with the chart's values and schema")
def test_the_chart_accepts_the_values():
    import jsonschema

    schema = next(path for name in ("json", "yaml") if (path := Path(CHART, f"values.schema.{name}")).is_file())
    rules = yaml.safe_load(schema.read_text(encoding="utf-8"))
    below = yaml.safe_load(Path(CHART, "values.yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load((RECIPE.parent / "values.yaml").read_text(encoding="utf-8"))
    check = jsonschema.validators.validator_for(rules)(rules)
    assert [f"{list(e.absolute_path)}: {e.message}" for e in check.iter_errors(_merged(below, own))] == []
    own["singleuser"]["memmory"] = {}
    assert list(check.iter_errors(_merged(below, own))), "the schema would refuse a slip of the pen"


# ---- eight learners at once, through the Hub as a browser uses it

TRAINING = """
import torch
from pathlib import Path
from course_utils import settings
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import next_token_loss
model = Decoder(DecoderConfig(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                              num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=16), seed=0)
rows = torch.randint(6, 48, (4, 12), generator=torch.Generator().manual_seed(0))
begun = []
def note(history):
    if not begun:
        begun.append(len(history))
        print("FIRST STEP", len(history), flush=True)
    if len(history) > STOP:
        raise KeyboardInterrupt
train(model, [{"input_ids": rows, "labels": rows}] * 1_000_000, next_token_loss,
      TrainConfig(steps=1_000_000, learning_rate=1e-3, warmup_steps=3, save_every=50),
      checkpoint_dir=settings.home() / "checkpoints" / "culled", progress=False, callback=note)
"""


class Learner:
    """One learner's browser: logs in, starts the server, runs cells in a kernel."""

    def __init__(self, url: str, name: str, password: str) -> None:
        self.url, self.name, self.password, self.token = url, name, password, ""

    async def ask(self, method: str, path: str, body: Any = None, *, base: str = "/hub/api") -> tuple[int, Any]:
        from tornado.httpclient import AsyncHTTPClient

        headers = {"Authorization": f"token {self.token}"} if self.token else {}
        content = json.dumps(body) if body is not None else ("" if method == "POST" else None)
        answer = await AsyncHTTPClient().fetch(
            self.url + base + path, method=method, headers=headers, body=content, raise_error=False, request_timeout=900
        )
        with contextlib.suppress(ValueError):
            return answer.code, json.loads(answer.body or b"null")
        return answer.code, (answer.body or b"").decode(errors="replace")

    async def log_in(self) -> int:
        """Fill in the form as a browser does; then take a token for all that follows. Returns the form's status."""
        from tornado.httpclient import AsyncHTTPClient

        form = await AsyncHTTPClient().fetch(f"{self.url}/hub/login", request_timeout=300)
        cookies = [line.split(";")[0] for line in form.headers.get_list("Set-Cookie")]
        sign = next(cookie for cookie in cookies if cookie.startswith("_xsrf=")).removeprefix("_xsrf=")
        filled = urllib.parse.urlencode({"username": self.name, "password": self.password, "_xsrf": sign})
        answer = await AsyncHTTPClient().fetch(
            f"{self.url}/hub/login", method="POST", body=filled, headers={"Cookie": "; ".join(cookies)},
            follow_redirects=False, raise_error=False, request_timeout=300,
        )  # fmt: skip
        if answer.code != 302:
            return answer.code
        auth = {"username": self.name, "password": self.password}
        code, said = await self.ask("POST", f"/users/{self.name}/tokens", {"auth": auth})
        self.token = said["token"]
        return answer.code

    async def start(self) -> tuple[int, Any]:
        code, said = await self.ask("POST", f"/users/{self.name}/server")
        while code in (201, 202):
            _, about = await self.ask("GET", f"/users/{self.name}")
            if about["servers"].get("", {}).get("ready"):
                return code, about
            await asyncio.sleep(0.5)
        return code, said

    async def server(self, method: str, path: str, body: Any = None) -> Any:
        code, said = await self.ask(method, path, body, base=f"/user/{self.name}")
        assert code < 300, (self.name, path, code, said)
        return said

    async def kernel(self, path: str = "") -> str:
        return (await self.server("POST", "/api/kernels", {"name": "python3", "path": path}))["id"]

    async def run(self, kernel: str, cells: list[str], *, until: str = "") -> tuple[list[str], str]:
        """Run cells; returns the errors and all that was printed. until: leave as soon as this has been printed."""
        from tornado.httpclient import HTTPRequest
        from tornado.websocket import websocket_connect

        where = f"{self.url.replace('http', 'ws', 1)}/user/{self.name}/api/kernels/{kernel}/channels"
        socket = await websocket_connect(HTTPRequest(where, headers={"Authorization": f"token {self.token}"}))
        errors, printed = [], ""
        for number, cell in enumerate(cells):
            header = {"msg_id": f"{number}-{time.time_ns()}", "msg_type": "execute_request", "username": self.name}
            header |= {"session": "s", "version": "5.4", "date": ""}
            content = {"code": cell, "silent": False, "store_history": True, "user_expressions": {}}
            content |= {"allow_stdin": False, "stop_on_error": False}
            message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
            await socket.write_message(json.dumps(message))
            replied = idle = False
            while not (replied and idle):
                text = await socket.read_message()
                assert isinstance(text, str), f"{self.name}: the connection was closed in cell {number}"
                said = json.loads(text)
                if said["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                kind, content = said["header"]["msg_type"], said["content"]
                if kind == "stream":
                    printed += content["text"]
                    if until and until in printed:
                        socket.close()
                        return errors, printed
                elif kind == "error":
                    errors.append(f"cell {number}: {content['ename']}: {content['evalue']}")
                replied |= kind == "execute_reply"
                idle |= kind == "status" and content["execution_state"] == "idle"
        socket.close()
        return errors, printed


@contextlib.contextmanager
def running_hub(folder: Path, **options: Any) -> Iterator[str]:
    """The recipe, started; yields its address. What it started is gone afterwards."""
    port = _three_free_ports()
    given = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
    given |= {"COURSE_HUB_FOLDER": str(folder), "COURSE_HUB_PORT": str(port)}
    given |= {f"COURSE_HUB_{name}": str(value) for name, value in options.items()}
    with open(folder.parent / "hub.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(RECIPE)],
            env=given,
            stdout=log,
            stderr=log,
            cwd=folder.parent,
        )
        try:
            for _ in range(1200):
                with contextlib.suppress(OSError):  # the proxy answers before it knows the way to the Hub
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/hub/api", timeout=60).close()
                    break
                assert process.poll() is None, (folder.parent / "hub.log").read_text()[-3000:]
                time.sleep(0.25)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()


def _three_free_ports() -> int:
    for port in range(18000 + os.getpid() % 1000, 30000, 3):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for one in range(port, port + 3):
                stack.enter_context(socket.create_server(("127.0.0.1", one)))
            return port
    raise AssertionError("no free ports")


def memory_of(folder: Path) -> float:
    """MB of all processes with this COURSE_HOME; what several share counts in parts."""
    total = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("COURSE_HOME") == str(folder):
                total += process.memory_full_info().pss
    return total / 1e6


async def measured(folders: dict[str, Path], peaks: dict[str, float]) -> None:
    while True:
        for name, folder in folders.items():
            peaks[name] = max(peaks.get(name, 0.0), await asyncio.to_thread(memory_of, folder))
        await asyncio.sleep(1)


with_a_hub = pytest.mark.skipif(
    importlib.util.find_spec("jupyterhub") is None or shutil.which("configurable-http-proxy") is None,
    reason="it needs the packages of the extra `hub`, and: npm install -g configurable-http-proxy@5.1.0",
)


@pytest.mark.workshop
@with_a_hub
def test_eight_learners_at_once(tmp_path):
    room = tmp_path / "a class"
    sheet = hub.learners_sheet(_made(room), 9)
    with running_hub(room, LEARNERS=8) as url:
        people = [Learner(url, name, password) for name, password in hub.passwords(sheet).items()]
        asyncio.run(asyncio.wait_for(_class(people, room), 3000))


@pytest.mark.workshop
@with_a_hub
def test_culling_loses_nothing(tmp_path):
    room = tmp_path / "a class"
    ((name, password),) = hub.passwords(hub.learners_sheet(_made(room), 1)).items()
    with running_hub(room, LEARNERS=1, IDLE=60) as url:
        asyncio.run(asyncio.wait_for(_culled(Learner(url, name, password), room), 3000))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def _class(people: list[Learner], room: Path) -> None:
    eight, ninth = people[:8], people[8]
    stranger = Learner(ninth.url, eight[0].name, "not the password")
    assert await stranger.log_in() == 403
    assert [await person.log_in() for person in people] == [302] * 9
    homes = {person.name: room / "learners" / person.name / "progress" for person in eight}
    peaks: dict[str, float] = {}
    watch = asyncio.create_task(measured(homes, peaks))
    begun = time.monotonic()
    await asyncio.gather(*(person.start() for person in eight))
    print(f"\neight servers after {time.monotonic() - begun:.0f} s", flush=True)
    code, said = await ninth.start()
    assert code == 429 and "Active user limit" in str(said)
    code, _ = await eight[0].ask("GET", "/api/contents", base=f"/user/{eight[1].name}")
    assert code in (403, 404), "another learner's server"
    servers = {name: memory_of(home) for name, home in homes.items()}
    number = os.environ.get("HUB_CHAPTER", "00")
    path = f"notebooks/{chapters.chapter(number).stem}.ipynb"

    async def learn(person: Learner) -> list[str]:
        notebook = nbformat.from_dict((await person.server("GET", f"/api/contents/{path}"))["content"])
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        mine = "from course_utils.classroom.records import progress\n"
        mine += f"progress.record('quiz', id={person.name!r}, right=True)"
        kernel = await person.kernel("notebooks")
        before = "import os; os.environ['COURSE_PROFILE'] = 'smoke'"
        return (await person.run(kernel, [before, *cells, mine]))[0]

    errors = await asyncio.gather(*(learn(person) for person in eight))
    watch.cancel()
    assert errors == [[]] * 8
    print(f"chapter {number} at smoke, eight at once, after {time.monotonic() - begun:.0f} s; MB for each:", flush=True)
    print("server alone", sorted(round(mb) for mb in servers.values()))
    print("at most     ", sorted(round(mb) for mb in peaks.values()), flush=True)
    for person in eight:
        lines = [json.loads(line) for line in (homes[person.name] / "progress.jsonl").read_text().splitlines()]
        assert {line["id"] for line in lines if line["kind"] == "quiz"} == {person.name}
    assert max(peaks.values()) < 1024 * hub.USUAL_GIB * 1.048576
    kernel = await eight[1].kernel()
    errors, _ = await eight[1].run(kernel, ["x = bytearray(8 << 30)", "print('goes on')"])
    assert len(errors) == 1 and "MemoryError" in errors[0]


async def _culled(person: Learner, room: Path) -> None:
    """A training that is in the middle of its steps when the server is stopped goes on from its checkpoint."""
    home = room / "learners" / person.name / "progress"
    assert await person.log_in() == 302
    await person.start()
    path = "/api/contents/notebooks/00_start_here.ipynb"
    notebook = await person.server("GET", path)
    notebook["content"]["cells"][0]["source"] = "my own words"
    await person.server("PUT", path, {"type": "notebook", "content": notebook["content"]})
    mine = "from course_utils.classroom.records import progress\nprogress.record('quiz', id='00.mine', right=True)"
    assert (await person.run(await person.kernel(), [mine]))[0] == []
    before = (home / "progress.jsonl").read_bytes()
    assert b"00.mine" in before
    _, printed = await person.run(await person.kernel(), [TRAINING.replace("STOP", "1_000_000")], until="FIRST STEP")
    assert re.search(r"FIRST STEP 1\b", printed)
    while (await person.ask("GET", f"/users/{person.name}"))[1]["servers"]:
        await asyncio.sleep(1)
    for _ in range(300):
        if not memory_of(home):
            break
        await asyncio.sleep(0.2)
    assert memory_of(home) == 0, "no kernel is left behind"
    saved = sorted((home / "checkpoints" / "culled").glob("step-*"))
    assert saved and (home / "progress.jsonl").read_bytes() == before
    await person.start()
    assert (await person.server("GET", path))["content"]["cells"][0]["source"] == "my own words"
    last = int(saved[-1].name.removeprefix("step-"))
    errors, printed = await person.run(await person.kernel(), [TRAINING.replace("STOP", str(last + 5))])
    assert f"FIRST STEP {last + 1}" in printed, (saved, printed, errors)
    print(f"culled after step {last}, went on with step {last + 1}", flush=True)
