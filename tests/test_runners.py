"""Two runners, nbval and pytest-notebook, say the same of a notebook."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest

import suite

ROOT = Path(__file__).resolve().parent.parent
FIRST = ROOT / "notebooks" / "00_start_here.ipynb"
EXPECTED = {"tags": ["raises-exception"]}
SHOWN = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()"


def write(path: Path, *cells: tuple[str, dict]) -> Path:
    made = [nbformat.v4.new_code_cell(source, metadata=metadata) for source, metadata in cells]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=kernel), path)
    return path


@pytest.mark.slow
def test_a_learners_notebook_runs_equal_under_both(tmp_path):
    """Both plug-ins in one process: a chapter, an error that is expected, one that is not, and one that is only shown.

    The last is where they differ: nbval takes a traceback on the page for a failure, pytest-notebook does not.
    """
    notebooks = [
        FIRST,
        write(tmp_path / "expected.ipynb", ("1 / 0", EXPECTED), ("assert True", {})),
        write(tmp_path / "fails.ipynb", ("1", {}), ("1 / 0", {})),
        write(tmp_path / "shown.ipynb", (SHOWN, {})),
    ]
    report = tmp_path / "report.xml"
    again = [part for part in suite.AGAIN[3:] if part not in ("-x", "-p", "no:nbval", "no:cacheprovider")]
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", *again]
    command += ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", *map(str, notebooks)]
    environment = {**os.environ, **suite.OFFLINE, "COURSE_PROFILE": "smoke", "COURSE_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert report.exists(), done.stdout + done.stderr
    by_nbval: dict[str, list[bool]] = {}
    by_the_other: dict[str, bool] = {}
    verdicts = list(ElementTree.parse(report).iter("testcase"))
    whole = re.compile(r"nbregression\((\w+)\)")  # the other runner's verdict on a notebook; nbval's are on cells
    if not whole.fullmatch(verdicts[0].get("name", "")):
        verdicts.reverse()  # which plug-in collects a file first depends on the order of their installation
    for case in verdicts:
        good = not any(part.tag in ("failure", "error", "skipped") for part in case)
        if found := whole.fullmatch(case.get("name", "")):
            name = found[1]
            by_nbval[name], by_the_other[name] = [], good
        else:
            by_nbval[name].append(good)
    code = [cell for cell in nbformat.read(FIRST, as_version=4).cells if cell.cell_type == "code" and cell.source]
    assert {name: sorted(cells) for name, cells in by_nbval.items()} == {
        FIRST.stem: [True] * len(code),
        "expected": [True, True],
        "fails": [False, True],
        "shown": [False],
    }, done.stdout
    assert by_the_other == {FIRST.stem: True, "expected": True, "fails": False, "shown": True}, done.stdout


def test_the_second_runner_gets_every_learners_notebook():
    commands = [command for command, profile in suite.again() if profile == "smoke"]
    given = sorted(part for command in commands for part in command if part.endswith(".ipynb"))
    assert given == suite.notebooks("notebooks") and all("--nb-test-files" in command for command in commands)
