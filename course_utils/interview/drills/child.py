"""The process that a drill's file is checked in: ``python -m course_utils.interview.drills.child NAME FILE RESULT``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from course_utils.classroom.exercises.sandbox import Outcome as Guarded
from course_utils.classroom.exercises.sandbox import Quit, guarded
from course_utils.interview.drills import catalogue
from course_utils.interview.drills.definition import Outcome

_LOAD = 10.0  # seconds for what stands in the file outside its functions


def outcome(name: str, file: Path) -> Outcome:
    """Run the file under guard, take the drill's function or class from it, and check it."""
    definition = catalogue.find(name)
    space: dict[str, Any] = {"__name__": "drill_file", "__file__": str(file)}
    try:
        code = compile(file.read_text(encoding="utf-8"), str(file), "exec")
    except SyntaxError as error:
        return Outcome(
            False, f"Python cannot read the file: {error.msg}, line {error.lineno}.", (error.text or "").strip()
        )
    except (OSError, ValueError) as error:
        return Outcome(False, f"The file cannot be read: {error}.")
    ran: Guarded = guarded(lambda: exec(code, space), _LOAD)
    if ran.timed_out:
        return Outcome(False, f"The lines outside your function ran longer than {_LOAD:.0f} s and were stopped.")
    if isinstance(ran.error, SystemExit | Quit):
        return Outcome(False, "The file ends the Python process (`exit()`, `quit()` or `sys.exit()`).")
    if ran.error is not None:
        return Outcome(False, f"The file cannot be run: {type(ran.error).__name__}: {ran.error}")
    if definition.symbol not in space:
        return Outcome(
            False, f"The file holds no `{definition.symbol}`: keep its name and its first line as they were."
        )
    return catalogue.check(name, space[definition.symbol])


def main() -> None:
    name, file, result = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if "torch" in catalogue.reference(name):
        import torch  # its seconds are not the candidate's

        torch.set_num_threads(1)
    result.with_suffix(".ready").touch()
    done = outcome(name, file)
    part = result.with_suffix(".part")
    part.write_text(json.dumps(asdict(done)), encoding="utf-8")
    part.replace(result)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
