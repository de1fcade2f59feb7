"""The reference of an exercise as a cell that works: its imports, what it needs from its own module, the decorator.

Whoever pastes it into an empty notebook after ``from course_utils.classroom import exercise`` gets a green card.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
from functools import lru_cache
from types import ModuleType
from typing import Any, cast

from course_utils.classroom.exercises.registry import CHECKS, Check

DRILLS = "course_utils.interview.drills"  # what lies beside a drill's reference is written out too


def working_code(spec: Check, decorator: str = "exercise") -> str:
    """The source of the exercise's reference, ready to be run.

    Imports are those that the code uses. A helper that lies beside the reference among the checks is written out; one
    of the package is imported.
    """
    reference = inspect.unwrap(spec.reference)
    module = sys.modules[reference.__module__]
    imports, helpers = _needs(reference, module, {reference.__name__})
    parts = ["\n".join(sorted(imports, key=_order))] if imports else []
    parts += helpers
    parts.append(f'@{decorator}("{spec.id}")\n{_source(reference)}')
    return "\n\n\n".join(parts) if helpers else "\n\n".join(parts)


def _source(thing: Any) -> str:
    """The source of a function or class, without decorators of the register."""
    source = textwrap.dedent(inspect.getsource(thing)).rstrip()
    node = cast(ast.FunctionDef | ast.ClassDef, ast.parse(source).body[0])
    lines = source.splitlines()
    for decorator in reversed(node.decorator_list):
        if "bug(" in ast.unparse(decorator) or "check(" in ast.unparse(decorator):
            del lines[decorator.lineno - 1 : decorator.end_lineno]
    return "\n".join(lines)


def _needs(thing: Any, module: ModuleType, seen: set[str]) -> tuple[set[str], list[str]]:
    """Import lines and sources of helpers for the global names that ``thing`` uses."""
    tree = ast.parse(_source(thing))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    known = _import_lines(module)
    imports, helpers = set(), []
    for name in sorted(used - bound - seen - set(dir(builtins))):
        if name in known:
            imports.add(known[name])
        elif name in vars(module):
            seen.add(name)
            value = vars(module)[name]
            if module.__name__.startswith((CHECKS, DRILLS)) and (inspect.isfunction(value) or inspect.isclass(value)):
                more, before = _needs(value, module, seen)
                imports |= more
                helpers += [*before, _source(value)]
            else:
                imports.add(f"from {module.__name__} import {name}")
    return imports, helpers


@lru_cache
def _import_lines(module: ModuleType) -> dict[str, str]:
    """Name -> the line that imports it, for every import of the module, those for type checkers included."""
    lines = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                lines[alias.asname or alias.name.split(".")[0]] = f"import {_named(alias)}"
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            for alias in node.names:
                lines[alias.asname or alias.name] = f"from {node.module} import {_named(alias)}"
    return lines


def _named(alias: ast.alias) -> str:
    return f"{alias.name} as {alias.asname}" if alias.asname else alias.name


def _order(line: str) -> tuple[bool, bool, str]:
    """Plain imports first, the course's own last."""
    return "course_utils" in line, line.startswith("from"), line
