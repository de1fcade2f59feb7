"""What a drill is: the text that a candidate sees, and the check behind it, told in one place.

A subject's module holds the reference as plain code, and one ``Definition`` for each, with its cases and its known
bugs, as the chapters' exercises have them.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from course_utils.classroom.exercises.cases import Case, Comparison
from course_utils.classroom.exercises.registry import Check
from course_utils.classroom.exercises.working_code import working_code
from course_utils.interview.drills.own_work import fresh, own_work, returning

LEVELS = ("screen", "onsite", "staff")


class DrillError(ValueError):
    """The caller's mistake: an unknown drill, a hint that there is not. Never the candidate's answer."""


@dataclass(frozen=True)
class Drill:
    """What a candidate sees. topics: ids of the course's list of topics, as in the question bank. statement: Markdown.

    starter: a file or a cell to begin with: imports, first line, docstring, and `raise NotImplementedError`.
    """

    name: str
    title: str
    level: str
    minutes: int
    topics: tuple[str, ...]
    statement: str
    starter: str


@dataclass(frozen=True)
class Outcome:
    """What became of an answer. message: the likely mistake; case: the smallest failing case; both '' where right.

    seconds: how long the check ran. printed: the first of what the answer printed. status: 'right' | 'wrong' |
    'untouched'.
    """

    right: bool
    message: str = ""
    case: str = ""
    seconds: float = 0.0
    printed: str = ""
    status: str = "wrong"


class Definition(Comparison):
    """One drill: its reference (a function or a class), its text, its cases, its bugs.

    name: where it is not the reference's own, as for a class. symbol: what the candidate must define.
    banned: names of library functions that would do the whole work, such as 'softmax'. new: the result may share no
    tensor and no list with what was given. The arguments from ``cases`` to
    ``observe`` are those of ``Comparison``. Raises DrillError for a bad level, or fewer than two hints.
    """

    def __init__(
        self,
        reference: Callable[..., Any],
        *,
        title: str,
        level: str,
        minutes: int,
        topics: Sequence[str],
        statement: str,
        cases: Callable[[], Sequence[Case]],
        general: str,
        hints: Sequence[str],
        banned: Sequence[str] = (),
        rtol: float = 1e-4,
        atol: float = 1e-6,
        observe: Callable[..., Any] | None = None,
        mutates: bool = False,
        new: bool = False,
        seconds: float = 10.0,
        name: str = "",
    ) -> None:
        super().__init__(cases=cases, general=general, rtol=rtol, atol=atol, observe=observe)
        self.symbol, self._reference, self._banned, self._new = reference.__name__, reference, frozenset(banned), new
        self.name = name or self.symbol
        self.text: dict[str, Any] = {"title": title, "level": level, "minutes": minutes, "topics": tuple(topics)}
        self._statement = textwrap.dedent(statement).strip()
        if level not in LEVELS or len(hints) < 2:
            raise DrillError(f"drill {self.name}: the level is one of {', '.join(LEVELS)}, and two hints are needed")
        self.spec = Check(
            self.name, title, self.check, reference, LEVELS.index(level) + 1, minutes, 1, tuple(hints), "", seconds,
            mutates, self.bugs,
        )  # fmt: skip

    @property
    def reference(self) -> Any:
        return self._reference

    @cached_property
    def drill(self) -> Drill:
        """The part that a candidate sees."""
        return Drill(name=self.name, **self.text, statement=self._statement, starter=self._starter())

    def plant(self, bugs: Mapping[str, Callable[..., Any]]) -> None:
        """Add known bugs: sentence -> wrong answer."""
        for sentence, function in bugs.items():
            self.bug(sentence)(function)

    def source(self) -> str:
        """The reference as code that runs, with its imports and helpers."""
        return (
            working_code(self.spec, "drill").replace(f'@drill("{self.name}")\n', "").replace("  # fmt: skip", "") + "\n"
        )

    def _starter(self) -> str:
        code = self.source()
        tree = ast.parse(code)
        lines = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        wanted = next(node for node in tree.body if getattr(node, "name", "") == self.symbol)
        return "\n".join(lines) + ("\n\n\n" if lines else "") + _open(code, wanted) + "\n"

    def _seen(self, function: Any, case: Case) -> Any:
        with own_work(function, self._banned):
            if self._observe and not inspect.isclass(function):
                function = returning(function)
            return super()._seen(fresh(function) if self._new else function, case)


def _open(code: str, node: ast.AST) -> str:
    """The first lines of a function or class, with docstrings, and nothing done. Public methods of a class are kept."""
    rows = code.splitlines()

    def head(function: ast.FunctionDef | ast.ClassDef) -> str:
        first = function.body[0]
        told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        end = first.end_lineno if told else first.lineno - 1
        return "\n".join(rows[function.lineno - 1 : end])

    def done(function: ast.FunctionDef) -> str:
        indent = " " * (function.col_offset + 4)
        return f"{head(function)}\n{indent}raise NotImplementedError  # your code"

    if isinstance(node, ast.FunctionDef):
        return done(node)
    assert isinstance(node, ast.ClassDef)
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    return "\n\n".join([head(node), *(done(m) for m in methods if m.name == "__init__" or m.name[0] != "_")])
