"""solutions/ -> notebooks/: answers taken out by nbgrader's own preprocessors, outputs stripped, bytes stable. Before
the first code cell comes the one that installs the course on Colab and Kaggle.

    python -m course_utils.workshop.notebooks           write what is out of date
    python -m course_utils.workshop.notebooks --check   write nothing; fail if anything is out of date

A notebook that a learner has changed is never overwritten. Each generated notebook carries a digest of its shipped
cells in its metadata, which tells the two apart. The bank of questions is generated along with them: bank.json from its
YAML files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils import chapters, files
from course_utils.interview import bank
from course_utils.workshop import hosted

STUB = "raise NotImplementedError  # your code"
FOR_TOOLS = re.compile(r"[ \t]*# (?:noqa\b|fmt: skip)[^\n]*$", re.M)  # notes to the authors' formatter
ANSWER = re.compile(r"^([ \t]*)[^\n]*### BEGIN SOLUTION.*?### END SOLUTION[^\n]*", re.S | re.M)  # 1: how far indented


class GenerateError(RuntimeError):
    """A notebook cannot be generated."""


@dataclass(frozen=True)
class Step:
    """What happens to one notebook. action: 'same' | 'write' | 'keep' (a learner has changed it) | 'stray'."""

    target: Path
    action: str
    text: str = ""


def shipped(source: Path) -> str:
    """The text of the notebook that learners get from the author's notebook at ``source``.

    nbgrader's preprocessors do the work; on a machine without nbgrader (a learner who resets a chapter) a plain
    equivalent does, which the tests hold to the same bytes. Raises GenerateError if the metadata is wrong.
    """
    import nbformat

    try:
        notebook = nbformat.read(source, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise GenerateError(f"{source.name} is no notebook: {str(error).splitlines()[0]}") from error
    _refuse_unmarked(notebook, source)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = FOR_TOOLS.sub("", cell.source)
    first = next((place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code"), 0)
    notebook.cells.insert(first, _host_cell(source))
    try:
        import nbgrader  # noqa: F401
    except ImportError:
        _open_plainly(notebook)
    else:
        notebook = _open_with_nbgrader(notebook, source)
    for cell in notebook.cells:
        for name in ("execution", "ExecuteTime", "collapsed", "scrolled"):
            cell.metadata.pop(name, None)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "course": {"shipped": digest(notebook)},
        }
    )
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _host_cell(source: Path) -> Any:
    """The cell that installs the course on Colab and Kaggle, folded away in JupyterLab."""
    import nbformat

    folded = {"jupyter": {"source_hidden": True}}
    return nbformat.v4.new_code_cell(hosted.cell(hosted.address(source.parents[1])), id=hosted.ID, metadata=folded)


def _open_with_nbgrader(notebook: Any, source: Path) -> Any:
    from nbgrader import preprocessors
    from nbgrader.nbgraderformat import ValidationError
    from traitlets.config import Config

    config = Config({"ClearSolutions": {"code_stub": {"python": STUB}}})
    names = (  # as in nbgrader's generate_assignment, without its database
        "LockCells",
        "ClearSolutions",
        "ClearOutput",
        "CheckCellMetadata",
        "ClearHiddenTests",
        "ClearMarkScheme",
        "ComputeChecksums",
        "CheckCellMetadata",
    )
    resources: dict[str, Any] = {}
    try:
        for name in names:
            notebook, resources = getattr(preprocessors, name)(config=config).preprocess(notebook, resources)
    except (RuntimeError, ValidationError, KeyError) as error:
        raise GenerateError(f"{source.name}: {error}") from error
    return notebook


def _open_plainly(notebook: Any) -> None:
    """What nbgrader does to the cells of this course: solutions cleared, cells locked, checksums, no outputs."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        marks = cell.metadata.get("nbgrader")
        if not marks:
            continue
        graded, solution, locked = (bool(marks.get(name)) for name in ("grade", "solution", "locked"))
        if solution:
            cell.source = ANSWER.sub(rf"\1{STUB}", cell.source)
        if graded or solution or locked:
            cell.metadata["deletable"] = False
            if not solution:
                cell.metadata["editable"] = False
            parts = [cell.source, cell.cell_type, str(graded), str(solution), str(locked), marks["grade_id"]]
            parts += [str(float(marks["points"]))] if graded else []
            marks["checksum"] = hashlib.md5("".join(parts).encode("utf-8"), usedforsecurity=False).hexdigest()
            marks["cell_type"] = cell.cell_type


def _refuse_unmarked(notebook: Any, source: Path) -> None:
    """An answer without nbgrader's metadata would be shipped to learners; nbgrader itself would only log it."""
    for number, cell in enumerate(notebook.cells, 1):
        marks = cell.metadata.get("nbgrader", {})
        if "### BEGIN SOLUTION" in cell.source and not marks.get("solution"):
            raise GenerateError(f"{source.name}, cell {number}: a solution without nbgrader's metadata 'solution'")
        if marks.get("solution") and "### BEGIN SOLUTION" not in cell.source:
            raise GenerateError(f"{source.name}, cell {number}: a solution cell without ### BEGIN SOLUTION")


def digest(notebook: Any) -> str:
    """SHA-256 of what a learner can change: kinds, sources and whether there are outputs, cell by cell."""
    cells = [[cell["cell_type"], "".join(cell["source"]), bool(cell.get("outputs"))] for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(cells, ensure_ascii=False).encode("utf-8")).hexdigest()


def is_changed(target: Path) -> bool:
    """True unless ``target`` is a notebook as some edition of the course shipped it."""
    try:
        notebook = json.loads(target.read_text(encoding="utf-8"))
        return digest(notebook) != notebook["metadata"]["course"]["shipped"]
    except (OSError, ValueError, KeyError, TypeError):
        return True


def plan(root: Path) -> list[Step]:
    """What there is to do in the course folder ``root``, notebook by notebook. Writes nothing."""
    steps = []
    sources = sorted((root / "solutions").glob("[0-9][0-9]_*.ipynb"))
    for source in sources:
        target = root / "notebooks" / source.name
        text = shipped(source)
        # git may have checked it out with Windows' line ends: that is no difference
        if target.exists() and target.read_bytes().replace(b"\r\n", b"\n") == text.encode("utf-8"):
            steps.append(Step(target, "same", text))
        elif target.exists() and is_changed(target):
            steps.append(Step(target, "keep", text))
        else:
            steps.append(Step(target, "write", text))
    known = {source.name for source in sources}
    steps += _bank(root / "course_utils" / "interview" / "bank")
    for target in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        if target.name not in known:
            steps.append(Step(target, "stray"))
    return steps


def _bank(folder: Path) -> list[Step]:
    """What there is to do for the bank of questions in ``folder``; nothing where the course is installed apart."""
    if not folder.is_dir():
        return []
    target, text = folder / bank.GENERATED, bank.generated_text(folder)
    same = target.exists() and target.read_bytes().replace(b"\r\n", b"\n") == text.encode("utf-8")
    return [Step(target, "same" if same else "write", text)]


def write(target: Path, text: str) -> None:
    """Write ``text`` to ``target`` whole or not at all."""
    with files.atomic_file(target) as fresh:
        fresh.write_bytes(text.encode("utf-8"))


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 1 with ``--check`` if anything is out of date, else 0."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.workshop.notebooks", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a notebook is out of date")
    parser.add_argument("--root", type=Path, default=None, help="the course's folder")
    options = parser.parse_args(arguments)
    try:
        steps = plan(options.root or chapters.root())
    except (GenerateError, chapters.ChapterError, bank.BankError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    stale = False
    for step in steps:
        name = f"{step.target.parent.name}/{step.target.name}"
        if step.action == "stray":
            print(f"stray  {name} has no author's notebook in solutions/")
            stale = True
        elif step.action == "keep":
            print(f"kept   {name}: it holds changes of yours, so it was not overwritten")
            if options.check:
                print(f"       ({name} differs from what solutions/ yields)")
                stale = True
            else:
                chapter = step.target.name[:2]
                print(f"       `course reset {chapter}` puts the shipped one there and keeps yours in notebooks/kept/")
        elif step.action == "write" and options.check:
            print(f"stale  {name}: run `make notebooks`")
            stale = True
        elif step.action == "write":
            write(step.target, step.text)
            print(f"wrote  {name}")
        else:
            print(f"same   {name}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
