"""The words of the cards, collected from the code into the translators' files, ``course_utils/locale/*.po``.

    python -m course_utils.workshop.messages           bring every file up to date: new sentences wait for a translation
    python -m course_utils.workshop.messages --check   write nothing; fail if a file is out of date or has a gap
    python -m course_utils.workshop.messages --add fr  begin another language

Collected are the sentences that the code hands to ``say``, a few words that stand in tables, and what the exercises of
``CHAPTERS`` say: titles, hints, and the sentences of their checks. An exercise of another chapter speaks English until
the chapter is named there and translated.
"""

from __future__ import annotations

import argparse
import ast
import io
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_utils import chapters, files, language, settings
from course_utils.classroom.exercises import registry
from course_utils.classroom.records import claims
from course_utils.interview.schedule import RATINGS

PACKAGE = Path(__file__).resolve().parents[1]
CHAPTERS = ("00",)  # whose exercises are translated
PLURALS = {"de": "nplurals=2; plural=(n != 1);"}


def template() -> Any:
    """A catalogue (of Babel) with every sentence that wants a translation, and none translated."""
    from babel.messages.catalog import Catalog

    catalogue = Catalog(project="One model, its whole life", fuzzy=False)
    for path in sorted(PACKAGE.rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        if "from course_utils.language import" in code:
            for text in said(code):
                catalogue.add(text, locations=[(path.relative_to(PACKAGE).as_posix(), 0)])
    for place, text in _tables():
        catalogue.add(text, locations=[(place, 0)])
    return catalogue


def said(code: str) -> list[str | tuple[str, str]]:
    """What a module hands to ``say`` and ``say_count`` as it stands there, also inside f-strings; in a pair for the
    latter. Python's own tree is read: before 3.12 an f-string is one token to an extractor that goes by tokens.
    """
    found: list[str | tuple[str, str]] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("say", "say_count"):
            texts = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            if node.func.id == "say_count":
                found.append((texts[0], texts[1]))
            elif texts:
                found.append(texts[0])
    return found


def _tables() -> Iterator[tuple[str, str]]:
    """(where, text) of what ``say`` is handed by a variable."""
    yield from (("classroom/exercises/expect.py", name) for name in ("given", "expected", "yours"))
    yield from (("interview/schedule.py", word) for word in RATINGS.values())
    yield from (("classroom/records/claims.py", text) for text in (claims.CHANCE, claims.OTHER_BASE))
    yield from (("settings.py", profile.minutes) for profile in settings.PROFILES.values())
    yield from (("chapters.py", text) for text in (*chapters.PARTS, *(entry.title for entry in chapters.CHAPTERS)))
    for number in CHAPTERS:
        place = f"classroom/checks/ch{number}.py"
        for spec in registry.known(number).values():
            yield from ((place, text) for text in (spec.title, spec.asked, *spec.hints) if text)
        yield from ((place, text) for text in sentences((PACKAGE / place).read_text(encoding="utf-8")))


def sentences(code: str) -> list[str]:
    """The sentences that a module of checks may say: each string of two words or more, but for docstrings, parts of
    f-strings, and the case in a tuple of (argument, argument, right or not, sentence).
    """
    tree = ast.parse(code)
    silent: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            silent.update(ast.walk(node))
        elif isinstance(node, ast.Expr):
            silent.add(node.value)
        elif isinstance(node, ast.Tuple) and any(isinstance(getattr(part, "value", None), bool) for part in node.elts):
            silent.update(node.elts[:-1])
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in silent:
            found[node.value] = None
    return [text for text in found if " " in text.strip() and any(map(str.isalpha, text))]


def read(name: str) -> Any:
    """The catalogue of a language. Raises FileNotFoundError if there is none."""
    from babel.messages.pofile import read_po

    with (language.FOLDER / f"{name}.po").open("rb") as file:
        return read_po(file, locale=name)


def updated(name: str) -> bytes:
    """The file of a language as it should be: the sentences of today's code, with the translations that fit them."""
    from babel.messages.pofile import write_po

    catalogue = read(name)
    catalogue.update(template(), no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    catalogue.fuzzy = False
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=110, omit_header=True, sort_by_file=True, include_lineno=False)
    plural = PLURALS.get(name, str(catalogue.plural_forms))
    head = f'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n"Language: {name}\\n"\n'
    return f'{head}"Plural-Forms: {plural}\\n"\n\n'.encode() + buffer.getvalue().strip() + b"\n"


def gaps(name: str) -> list[str]:
    """What is missing or wrong in a language's file: untranslated sentences, and fields that differ."""
    found = []
    for message in read(name):
        if not message.id:
            continue
        originals = message.id if isinstance(message.id, tuple) else (message.id,)
        translated = message.string if isinstance(message.string, tuple) else (message.string,)
        if not all(translated):
            found.append(f"no translation: {originals[0]}")
        elif message.locations and message.locations[0][0].startswith("classroom/checks/"):
            continue  # handed on as they are: a brace is only a brace
        elif any(fields(text) != fields(originals[-1]) for text in translated):
            found.append(f"other fields than the original: {originals[0]}")
    return found


def fields(text: str) -> set[tuple[str, str, str]]:
    """The ``{fields}`` of a sentence, each with its conversion and format; a date's order may differ."""
    parts = string.Formatter().parse(text)
    found = ((name, conversion or "", form or "") for _, name, form, conversion in parts if name is not None)
    return {(name, conversion, "a date" if "%" in form else form) for name, conversion, form in found}


def main(arguments: list[str] | None = None) -> int:
    """The command. 1 if something is out of date or missing, else 0."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.workshop.messages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    parser.add_argument("--add", metavar="LANGUAGE", help="begin another one, such as fr")
    options = parser.parse_args(arguments)
    if options.add and options.add not in language.known():
        language.FOLDER.mkdir(exist_ok=True)
        (language.FOLDER / f"{options.add}.po").write_bytes(b"")
    wrong = 0
    for name in language.known()[1:]:
        path, text = language.FOLDER / f"{name}.po", updated(name)
        if path.read_bytes().replace(b"\r\n", b"\n") != text:
            if options.check:
                print(f"stale  locale/{name}.po: run python -m course_utils.workshop.messages")
                wrong = 1
            else:
                with files.atomic_file(path) as fresh:
                    fresh.write_bytes(text)
                print(f"wrote  locale/{name}.po")
        for gap in gaps(name):
            print(f"       {name}: {gap}")
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
