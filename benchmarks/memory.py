"""Peak memory of each chapter: its kernel and all that it starts, run as the tests run it.

    python benchmarks/memory.py                              # every chapter at laptop, kept in memory.json
    python benchmarks/memory.py 04 12 --limit 4              # some; stopped, and said so, where 4 GiB are passed
    COURSE_PROFILE=smoke python benchmarks/memory.py --limit 4

Ten times a second (once, under a limit that the kernel keeps) the resident memory of the processes is added up. What
they share (the libraries' code) counts once for each of them, so a chapter with several processes takes less than is
written. JupyterLab and the browser are not in it. The limit is the kernel's own where it may be set
(tests/memory_limit.py). Linux, macOS and Windows; the figures of memory.json are of Linux. README.md's table quotes
them, and a test holds the two together.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests"))

import memory_limit  # noqa: E402

FILE = ROOT / "benchmarks" / "memory.json"
PATIENCE = "--nbval-cell-timeout=3600"  # a busy machine takes longer, and no more memory


def peak(command: list[str], environment: dict[str, str], limit_mib: float | None = None) -> int:
    """The most MiB that the children of ``command`` held at one time, with their own children.

    Raises TooMuch, after the processes were ended, where ``limit_mib`` is passed, and RuntimeError where the command
    fails.
    """
    with tempfile.TemporaryFile() as log:
        status, most = memory_limit.run(command, environment, limit_mib, log, measure=True)
        if status:
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{log.read().decode(errors='replace')[-3000:]}")
    return most


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and keep the figures of ``laptop``; 1 if a chapter failed or passed the limit."""
    import suite
    from course_utils import chapters, settings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="such as 06; all of them by default")
    parser.add_argument("--limit", type=float, default=None, metavar="GIB", help="end a chapter that takes more")
    options = parser.parse_args(arguments)
    profile, failed = settings.profile().name, False
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for number in options.chapters or sorted(chapters.in_this_edition()):
        chapter = chapters.chapter(number)
        with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as home:
            environment = {**os.environ, **suite.OFFLINE, "COURSE_PROFILE": profile, "COURSE_HOME": home}
            try:
                command = [*suite.NBVAL, PATIENCE, f"solutions/{chapter.stem}.ipynb"]
                mib = peak(command, environment, options.limit and options.limit * 1024)
            except RuntimeError as error:
                print(f"{chapter.number}  {error}", flush=True)
                failed = True
                continue
        print(f"{chapter.number}  {mib:>6,} MiB  at {profile}", flush=True)
        if profile == "laptop":
            kept[chapter.number] = mib
            FILE.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
