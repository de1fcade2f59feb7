"""Answers written by people who had seen only the notebooks' text: right ones are accepted, wrong ones are not.

``answers/chNN.py`` holds cells: ``# %% 12.1 wrong: what is wrong`` or ``# %% 12.1 right: how it is done``, each
followed by what a learner would write below ``@exercise``. A cell runs as in the notebook, after its imports.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import linecache
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from course_utils import chapters
from course_utils.classroom.exercises import exercise, registry

pytestmark = pytest.mark.slow  # more than a thousand answers
ANSWERS = Path(__file__).parent / "answers"
HEAD = re.compile(r"^# %% (\d\d\.\d+) (wrong|right): (.+)$", re.MULTILINE)
#: Wrong answers that the checks let pass, with the reason why that is borne.
BORNE: dict[tuple[str, str], str] = {}


class Answer(NamedTuple):
    id: str
    kind: str
    title: str
    code: str


@functools.cache
def answers() -> dict[str, list[Answer]]:
    """Exercise id -> its answers."""
    found = defaultdict(list)
    for path in sorted(ANSWERS.glob("ch*.py")):
        _, *parts = HEAD.split(path.read_text(encoding="utf-8"))
        for id, kind, title, code in zip(*(parts[i::4] for i in range(4)), strict=True):
            found[id].append(Answer(id, kind, title, code.strip() + "\n"))
    return dict(found)


@functools.cache
def cells(chapter: str) -> list[str]:
    """The code cells of a learner's notebook."""
    path = chapters.root() / "notebooks" / f"{chapters.chapter(chapter).stem}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def notebook_names(id: str) -> dict[str, Any]:
    """What a learner's cell finds: imports and functions of the cells before, and references of earlier exercises."""
    space: dict[str, Any] = {"exercise": exercise.exercise}
    for cell in cells(id[:2]):
        if f'@exercise("{id}")' in cell:
            return space
        if earlier := re.search(r'^@exercise\("([\d.]+)"\)', cell, re.MULTILINE):
            reference = registry.find(earlier[1]).reference
            name = re.search(r"^(?:def|class) (\w+)", cell, re.MULTILINE)[1]
            space[name] = reference
            continue
        kept = [
            node
            for node in ast.parse(re.sub(r"^[%!].*$", "", cell, flags=re.MULTILINE)).body
            if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
        ]
        for node in kept:
            with contextlib.suppress(NameError):  # a default that the notebook works out before; no answer calls it
                exec(compile(ast.Module([node], []), "<notebook>", "exec"), space)
    raise LookupError(f"no cell of the notebook holds exercise {id}")


def outcome(answer: Answer) -> Any:
    """The attempt that the answer's cell makes."""
    name = re.findall(r"^(?:def|class) (\w+)", answer.code, re.MULTILINE)
    main = next(n for n in name if n == registry.find(answer.id).reference.__name__) if len(name) > 1 else name[0]
    code = re.sub(
        rf"^(?=(?:def|class) {main}\b)", f'@exercise("{answer.id}")\n', answer.code, count=1, flags=re.MULTILINE
    )
    file = f"<{answer.id} {answer.title}>"
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    exec(compile(code, file, "exec"), notebook_names(answer.id))
    return exercise.latest(answer.id)


@pytest.fixture(scope="module", autouse=True)
def _libraries():
    """What answers import: on a busy machine an import alone takes longer than an answer may."""
    import networkx  # noqa: F401
    import scipy.stats  # noqa: F401


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))


EXERCISES = list(registry.known())


def test_every_exercise_has_answers():
    assert sorted(answers()) == sorted(EXERCISES)
    for id in EXERCISES:
        kinds = [answer.kind for answer in answers()[id]]
        assert kinds.count("wrong") >= 5 and kinds.count("right") >= 3, id
        titles = [answer.title for answer in answers()[id]]
        assert len(set(titles)) == len(titles), id


@pytest.mark.parametrize("id", EXERCISES)
def test_right_answers_are_accepted(id):
    for answer in answers()[id]:
        if answer.kind == "right":
            result = outcome(answer)
            assert result.right, (answer.title, result.mistake and (result.mistake.message, result.mistake.rows))


@pytest.mark.parametrize("id", EXERCISES)
def test_wrong_answers_are_rejected(id):
    wrong = [answer for answer in answers()[id] if answer.kind == "wrong"]
    passed = {answer.title for answer in wrong if outcome(answer).right}
    assert passed == {title for borne, title in BORNE if borne == id}


def test_hardly_any_wrong_answer_is_borne():
    wrong = sum(answer.kind == "wrong" for found in answers().values() for answer in found)
    assert len(BORNE) <= 0.02 * wrong and all(BORNE.values())
