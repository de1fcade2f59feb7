"""Each check accepts its reference and other right answers, and rejects every planted bug by naming the mistake."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import linecache
import textwrap
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from course_utils.classroom.exercises import exercise, registry
from course_utils.classroom.exercises.working_code import working_code

PLANTED = Path(__file__).parent / "planted"
EXERCISES = list(exercise.known())
# what a comparison says when the check named nothing
NAMELESS = (
    "The values are not the expected ones.",
    "The result is not the expected one.",
    "The value is not the expected",
    "The result holds NaN",
    "The result is NaN",
)


@pytest.fixture(scope="module", autouse=True)
def _libraries():
    """What some answers import: on a busy machine an import alone takes longer than an answer may."""
    import scipy.stats  # noqa: F401


@lru_cache
def planted(chapter: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"planted_ch{chapter}", PLANTED / f"ch{chapter}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stub(reference: Any) -> Any:
    """What a learner finds: the reference's first line, and nothing done."""
    if inspect.isclass(reference):

        class Untouched(*reference.__bases__):
            def __init__(self, *args, **kwargs):
                raise NotImplementedError

        return Untouched
    parameters = inspect.signature(reference).parameters.values()
    names = ", ".join(p.name if p.default is p.empty else f"{p.name}=None" for p in parameters)
    space: dict[str, Callable] = {}
    exec(f"def untouched({names}):\n    raise NotImplementedError  # your code", space)
    return space["untouched"]


def test_every_chapter_with_checks_has_planted_bugs():
    assert registry.chapters(), "no chapter has checks; a run that tests nothing is no success"
    assert registry.chapters() == sorted(path.stem[2:] for path in PLANTED.glob("ch*.py"))


@pytest.mark.parametrize("id", EXERCISES)
def test_the_reference_is_right(id, in_time):
    spec = exercise.find(id)
    result = exercise.attempt(spec, spec.reference)
    assert result.right, result.mistake and (result.mistake.message, result.mistake.rows)
    in_time(result.outcome.seconds < spec.seconds / 2, "a right answer needs too much of the time limit")


@pytest.mark.parametrize("id", EXERCISES)
def test_an_untouched_answer_is_no_mistake(id):
    spec = exercise.find(id)
    assert exercise.attempt(spec, stub(spec.reference)).status == "untouched"


@pytest.mark.parametrize(
    "id", [pytest.param(id, marks=[pytest.mark.slow] if id in ("04.6", "16.2") else []) for id in EXERCISES]
)
def test_planted_bugs_are_rejected_by_name(id):
    """Each bug gets its own sentence: those that the check knows, and those held out here."""
    spec = exercise.find(id)
    bugs = {bug.function: bug.sentence for bug in spec.bugs} | planted(id[:2]).BUGS[id]
    assert len(bugs) >= 3
    for bug, sentence in bugs.items():
        result = exercise.attempt(spec, bug)
        assert result.status == "wrong", f"{bug.__name__} is accepted"
        assert result.mistake.message.startswith(sentence), bug.__name__
        assert not sentence.startswith(NAMELESS), f"{bug.__name__}: the card names no mistake: {sentence}"
        assert not sentence.startswith("The check cannot work"), f"{bug.__name__}: {sentence}"
    assert len(set(bugs.values())) > 1, f"all bugs get the same message: {bugs.values()}"


@pytest.mark.parametrize("id", EXERCISES)
def test_the_last_hint_is_working_code(id):
    """Pasted into an empty notebook it is right, and it does the work itself instead of calling what does."""
    spec = exercise.find(id)
    code = working_code(spec)
    space = {"exercise": lambda _: lambda answer: answer}
    linecache.cache[f"<{id}>"] = (len(code), None, code.splitlines(keepends=True), f"<{id}>")
    exec(compile(code, f"<{id}>", "exec"), space)
    result = exercise.attempt(spec, space[spec.reference.__name__])
    assert result.right, result.mistake and result.mistake.message
    assert not forwards(spec.reference), "the reference is one call of what the exercise asks for; write it out"


def forwards(reference: Any) -> bool:
    """True if the body is nothing but `return other(its own parameters)`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(reference))).body[0]
    if not isinstance(tree, ast.FunctionDef):
        return False
    body = [node for node in tree.body if not isinstance(node, ast.Expr)]
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None
    if not isinstance(call, ast.Call):
        return False
    names = {a.arg for a in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs)}
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    given = {a.id for a in arguments if isinstance(a, ast.Name)}
    return given == names and all(isinstance(a, ast.Name | ast.Constant) for a in arguments)


@pytest.mark.parametrize("id", EXERCISES)
def test_other_right_answers_are_accepted(id):
    spec = exercise.find(id)
    right = planted(id[:2]).RIGHT.get(id, [])
    assert right, f"{id}: no other right answer is tried"
    for answer in right:
        result = exercise.attempt(spec, answer)
        assert result.right, (answer.__name__, result.mistake and (result.mistake.message, result.mistake.rows))


@pytest.mark.parametrize("chapter", registry.chapters())
def test_planted_bugs_belong_to_exercises(chapter):
    assert set(planted(chapter).BUGS) == set(exercise.known(chapter))
    assert set(planted(chapter).RIGHT) <= set(exercise.known(chapter))


@pytest.mark.parametrize("id", EXERCISES)
def test_an_exercise_is_described(id):
    spec = exercise.find(id)
    assert spec.title[0].isupper() and not spec.title.endswith(".")
    assert 2 <= spec.minutes <= 30 and 1 <= spec.points <= 5
    assert len(spec.hints) >= 2 and all(len(hint) > 15 for hint in spec.hints)
