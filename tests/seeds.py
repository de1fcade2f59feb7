"""Run the author's notebooks with several seeds and record what each claim measured: ``make seeds``.

    python tests/seeds.py                      every chapter, seeds 0 to 4
    python tests/seeds.py --seeds 1 2 03 12    two seeds of two chapters

``seeds.jsonl`` has one row per claim and seed: id, seed, value, bound, holds. A row is replaced when its chapter runs
again with its seed, so that the work may be stopped and gone on with. ``test_seeds.py`` asks the rows for every claim.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import suite

FILE = Path(__file__).parent / "seeds.jsonl"
KEPT = ("id", "seed", "value", "bound", "holds")


def read() -> list[dict]:
    """The rows of the file."""
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()] if FILE.exists() else []


def replace(chapter: str, seed: int, rows: list[dict]) -> None:
    """Put the rows of one chapter and seed in the place of the old ones."""
    others = [row for row in read() if (row["id"][:2], row["seed"]) != (chapter, seed)]
    latest = {row["id"]: {name: row[name] for name in KEPT} for row in rows}
    lines = sorted([*others, *latest.values()], key=lambda row: (row["id"], row["seed"]))
    FILE.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8", newline="\n")


def measure(notebook: str, seed: int, core: int | None) -> tuple[int, list[dict]]:
    """The exit status of one notebook with one seed, and its claims."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")} | suite.OFFLINE
    pin = None if core is None else (lambda: os.sched_setaffinity(0, {core}))
    with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as home:
        environment |= {"COURSE_HOME": home, "COURSE_SEED": str(seed), "COURSE_PROFILE": "laptop"}
        command = [part for part in suite.NBVAL if part != "-x"] + ["-q", notebook]
        done = subprocess.run(command, cwd=suite.ROOT, env=environment, capture_output=True, preexec_fn=pin)
        claims = Path(home) / "claims.jsonl"
        rows = [json.loads(line) for line in claims.read_text(encoding="utf-8").splitlines()] if claims.exists() else []
    return done.returncode, rows


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 1 if a claim of the runs did not hold or a notebook failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", help="two digits each; all by default")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(5)))
    asked = parser.parse_args(arguments)
    found = [
        name for name in suite.notebooks("solutions") if not asked.chapters or Path(name).name[:2] in asked.chapters
    ]
    waiting = [(name, seed) for seed in asked.seeds for name in reversed(found)]
    lock, bad = Lock(), []

    def work(core: int) -> None:
        while True:
            with lock:
                if not waiting:
                    return
                name, seed = waiting.pop(0)
            status, rows = measure(name, seed, core if len(suite.CORES) > 1 else None)
            broken = [row["id"] for row in rows if not row["holds"]]
            with lock:
                replace(Path(name).name[:2], seed, rows)
                bad.extend(broken or [name] * bool(status))
                print(f"{name} seed {seed}: {len(rows)} claims{', not held: ' + ', '.join(broken) if broken else ''}"
                      f"{', a cell failed' if status and not broken else ''}", flush=True)  # fmt: skip

    with ThreadPoolExecutor(len(suite.CORES)) as pool:
        list(pool.map(work, suite.CORES))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
