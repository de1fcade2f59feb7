"""A laptop that is busy, or slept; a clock set back; a full disk; a course that may only be read; blanks in names."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from course_utils import chapters, work_limit
from course_utils.work_limit import WorkLimit
from course_utils.workshop import isolated

ROOT = Path(__file__).resolve().parents[1]


class Clock:
    """A clock, and a process that works for a share of the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.work = 1000.0, 0.0
        monkeypatch.setattr(work_limit.time, "monotonic", lambda: self.now)

    def pass_(self, seconds: float, share: float) -> None:
        self.now += seconds
        self.work += share * seconds


@pytest.mark.parametrize(("share", "late_after"), [(1.0, 10), (0.2, 45), (0.0, 30 * 10)])
def test_a_limit_is_reached_by_work_or_by_waiting_much_longer(monkeypatch, share, late_after):
    clock = Clock(monkeypatch)
    limit, patience = WorkLimit(10, lambda: clock.work, patience=30), 0.0
    while wait := limit.left():
        assert wait <= 10
        clock.pass_(1, share)
        patience += 1
        assert patience < 1000
    assert patience == pytest.approx(late_after, abs=1)


def test_a_laptop_that_slept_or_whose_clock_was_set_back_makes_nobody_late(monkeypatch):
    clock = Clock(monkeypatch)
    limit = WorkLimit(10, lambda: clock.work)
    for jump in (8 * 3600, -7200, 3600):
        clock.pass_(jump, 0)
        assert limit.left()
    clock.pass_(10, 1)
    assert limit.left() == 0


def test_work_is_that_of_the_process_and_of_what_it_started():
    code = "import subprocess, sys; burn = 'while __import__(\"time\").process_time() < .3: pass'\nexec(burn)\n"
    code += "subprocess.run([sys.executable, '-c', burn])\nprint(flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        assert 0.55 < work_limit.worked(process.pid) < 5
    finally:
        process.communicate()
    assert work_limit.worked(process.pid) == 0.0


def test_progress_goes_by_the_order_of_what_was_done_not_by_the_clock(monkeypatch):
    from datetime import UTC, datetime, timedelta

    from course_utils.classroom.records import progress

    class Back(datetime):
        hours = iter(range(100, 0, -10))

        @classmethod
        def now(cls, zone=None):
            return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=next(cls.hours))

    monkeypatch.setattr(progress, "datetime", Back)
    progress.record("quiz", id="06.a", right=True)
    progress.record("quiz", id="06.a", right=False)
    progress.record("exercise", id="06.1", status="wrong")
    progress.record("exercise", id="06.1", status="right")
    assert progress.quiz_answers() == {"06.a": False}
    assert progress.standings()["06.1"] == progress.Standing(solved=True, attempts=2)


def test_the_clock_of_a_drill_that_ran_backwards_gives_no_time():
    from datetime import UTC, datetime, timedelta

    from course_utils import settings
    from course_utils.classroom.records import jsonl, progress
    from course_utils.interview.drills import clock

    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds")
    jsonl.append(settings.home() / progress.FILE, {"time": later, "kind": "drill_start", "id": "rope"})
    assert clock.seconds("rope") is None


@pytest.mark.slow
def test_a_training_bar_bears_a_clock_that_jumps(monkeypatch):
    import itertools

    import torch
    import tqdm.std

    from course_utils.models.decoder import Decoder, DecoderConfig
    from course_utils.training.loop import TrainConfig, train
    from course_utils.training.objectives import next_token_loss

    config = DecoderConfig(
        vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16,
    )  # fmt: skip
    rows = torch.randint(6, 48, (4, 12), generator=torch.Generator().manual_seed(0))
    losses = []
    for jumps in ([0.1], [0.1, 5.0, -7200.0, 3.0, 86400.0]):
        steps, now = itertools.cycle(jumps), [1e9]

        def clock(now=now, steps=steps) -> float:
            now[0] += next(steps)
            return now[0]

        monkeypatch.setattr(tqdm.std, "time", clock)
        settings = TrainConfig(steps=12, learning_rate=1e-2, warmup_steps=3)
        history = train(Decoder(config, seed=0), [{"input_ids": rows, "labels": rows}] * 12, next_token_loss, settings)
        losses.append(history.column("loss"))
    assert len(losses[0]) == 12 and losses[0] == losses[1]


FULL = """
import os, sys
sys.path.insert(0, ROOT)
from course_utils.workshop.confined import mount
home = os.environ["COURSE_HOME"]
mount("none", home, "tmpfs", 2 | 4, "size=400k")
mount(ROOT, ROOT, None, 4096)
mount(None, ROOT, None, 32 | 4096 | 1)  # the course may only be read
os.chdir("/")

from course_utils import chapters, cli, files, settings
from course_utils.classroom.records import claims, jsonl, progress
import course_utils, torch
run = course_utils.start("00")
run.load("base")
print("LOADED from a checkout that may only be read")
print("RESET", cli.main(["reset", "00"]))

from course_utils.workshop import report, run_all
from course_utils.serving.service import RequestWriter
from course_utils.interview.schedule import Deck
from course_utils.training.checkpoints import CheckpointError
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import next_token_loss
model = Decoder(DecoderConfig(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                              num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=16), seed=0)
rows = torch.ones(4, 12, dtype=torch.long) * 7
progress.record("quiz", id="00.before", right=True)
claims.claim("00.before", "a figure", 1.0, at_least=0.5)
page = report.write_report([])
log = RequestWriter(os.path.join(home, "requests.sqlite"))
log.add([{"time": 1.0}])
log._thread.submit(int).result()
kept = {name: open(os.path.join(home, name), "rb").read() for name in ("progress.jsonl", "claims.jsonl")}
before = page.read_bytes()
with open(os.path.join(home, "ballast"), "wb", buffering=0) as ballast:
    try:
        while ballast.write(b"x" * 4096):
            pass
    except OSError as error:
        print("FULL", error.errno)
for number in range(200):  # the last block of each file has room for some lines yet
    progress.record("quiz", id="00.more" * 20, right=True)
    claims.claim("00.more", "another figure " * 20, 1.0, at_least=0.5)
try:
    train(model, [{"input_ids": rows, "labels": rows}] * 4, next_token_loss,
          TrainConfig(steps=4, learning_rate=1e-2, warmup_steps=1, save_every=2),
          checkpoint_dir=settings.home() / "run", progress=False)
except CheckpointError as error:
    print("CHECKPOINT", error)
try:
    report.write_report([])
except OSError as error:
    print("REPORT", error)
print("PAGE", page.read_bytes() == before)
for number in range(50):
    log.add([{"time": 2.0, "prompt": "x" * 4000}])
log._thread.submit(int).result()
for name, old in kept.items():
    now = jsonl.read(settings.home() / name)
    print("KEPT", name, open(os.path.join(home, name), "rb").read().startswith(old), len(now) > 0)
os.unlink(os.path.join(home, "ballast"))
progress.record("quiz", id="00.after", right=True)
print("AFTER", sorted(progress.quiz_answers()))
"""


@pytest.mark.slow
def test_a_full_disk_and_a_course_that_may_only_be_read(tmp_path):
    """In namespaces of its own: the learner's folder is a small file system in memory, its name has blanks."""
    if not isolated.room().closed:
        pytest.skip("this system gives no namespaces of its own")
    home = tmp_path / "a learner's folder, über"
    home.mkdir()
    given = os.environ | {"COURSE_HOME": str(home), "COURSE_PROFILE": "smoke", "MPLCONFIGDIR": str(tmp_path)}
    code = f"ROOT = {str(ROOT)!r}\n{textwrap.dedent(FULL)}"
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", code]
    done = subprocess.run(command, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    said, told = done.stdout, done.stderr
    assert "LOADED" in said and "RESET 1" in said and "Read-only file system" in told
    assert "FULL 28" in said
    assert "Your progress could not be saved" in said and "The notebook goes on." in said
    assert "This row could not be saved" in said
    assert "CHECKPOINT" in said and "No space left" in said and "Free" in said
    assert "REPORT [Errno 28]" in said and "PAGE True" in said
    assert "requests could not be logged" in told and "free some space" in told
    assert "KEPT progress.jsonl True True" in said and "KEPT claims.jsonl True True" in said
    after = json.loads(said.split("AFTER ")[1].splitlines()[0].replace("'", '"'))
    assert "00.before" in after and "00.after" in after


@pytest.mark.workshop
def test_two_chapters_at_once_beside_a_burning_core_and_a_browser(tmp_path):
    """BUSY_CHAPTERS and BUSY_PROFILE: which ones (06 09, smoke if not set). No cell fails, no limit is hit."""
    import suite

    numbers, profile = os.environ.get("BUSY_CHAPTERS", "06 09").split(), os.environ.get("BUSY_PROFILE", "smoke")
    moving = "data:text/html,<canvas id=c></canvas><script>(function d(t){c.getContext('2d').fillRect(t%90,9,9,9);"
    moving += "requestAnimationFrame(d)})(0)</script>"
    browser = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    beside = [[sys.executable, "-c", "while True: pass"]]
    if browser:
        quiet = ["--headless", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'browser'}"]
        beside.append([browser, *quiet, moving])
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for command in beside
    ]
    begun = time.monotonic()
    try:
        teaching = []
        for number in numbers:
            notebook = ROOT / "solutions" / f"{chapters.chapter(number).stem}.ipynb"
            given = {**os.environ, **suite.OFFLINE, "COURSE_PROFILE": profile, "COURSE_HOME": str(tmp_path / number)}
            log = open(tmp_path / f"{number}.log", "w", encoding="utf-8")
            command = [*suite.NBVAL, str(notebook)]
            teaching.append(subprocess.Popen(command, cwd=ROOT, env=given, stdout=log, stderr=log))
        states = [process.wait() for process in teaching]
        assert all(process.poll() is None for process in running), "what was to make the machine busy has ended"
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = {number: (tmp_path / f"{number}.log").read_text(encoding="utf-8")[-3000:] for number in numbers}
    print(f"\n{numbers} at {profile} beside {len(running)} others: {time.monotonic() - begun:.0f} s", flush=True)
    assert states == [0] * len(numbers), said
