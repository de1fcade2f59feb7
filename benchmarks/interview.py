"""How soon the interview room answers: ``course quiz`` and ``course cards`` until the first question, and the bank.

    python benchmarks/interview.py [rounds]

Start-up is measured beside ``python -c pass``, in turns, in processes that end with the first question (their input is
empty); the ratio says more than the seconds, which depend on the machine. Wanted: at most 8 times, under 0.5 s, and the
whole bank in under 50 ms.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {"python -c pass": ["-c", "pass"]}
COMMANDS |= {
    f"course {' '.join(words)}": ["-m", "course_utils.cli", *words]
    for words in (["quiz"], ["quiz", "06"], ["cards"], ["mock", "--minutes", "30"], ["drill"])
}
LOAD = """
import time
from course_utils.interview import bank
begin = time.perf_counter()
found = len(bank.all_questions()), len(bank.all_quiz_items())
print(time.perf_counter() - begin, *found)
"""


def seconds(command: list[str], environment: dict[str, str]) -> tuple[float, bool]:
    """Wall time of one process with empty input, and whether it went through."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - begin, done.returncode == 0


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as home:
        environment = os.environ | {"COURSE_HOME": home, "PYTHONPATH": str(ROOT)}
        taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for turn in range(rounds + 1):
            for name, command in COMMANDS.items():
                passed, good = seconds(command, environment)
                if good and turn:  # the first turn warms the disk
                    taken[name].append(passed)
        plain = statistics.median(taken["python -c pass"])
        print(f"{'':<28} {'median s':>9} {'ratio':>7}")
        for name, values in taken.items():
            if not values:
                print(f"{name:<28} not in this edition")
                continue
            middle = statistics.median(values)
            print(f"{name:<28} {middle:>9.3f} {middle / plain:>7.1f}")
        loads = []
        for _ in range(rounds):
            done = subprocess.run(
                [sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=True
            )
            load, questions, items = done.stdout.split()
            loads.append(float(load))
    print(f"the bank: {questions} questions and {items} quiz items in {1e3 * statistics.median(loads):.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
