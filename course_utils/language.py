"""The words of the cards in another language: ``COURSE_LANGUAGE=de``. What has no translation stays English.

The sentences in the code are the keys, as gettext has it; the translations lie in ``locale/``, one file of a common
format (PO) for each language, which translators' editors open. ``python -m course_utils.workshop.messages`` brings the
files up to date with the code. A file is compiled when its language is first asked for.
"""

from __future__ import annotations

import functools
import gettext
import io
import os
from pathlib import Path
from typing import Any

from course_utils.settings import SettingsError

FOLDER = Path(__file__).resolve().parent / "locale"
ENGLISH = "en"


def known() -> list[str]:
    """The languages there are, English first."""
    return [ENGLISH, *sorted(path.stem for path in FOLDER.glob("*.po"))]


def chosen() -> str:
    """The language that ``COURSE_LANGUAGE`` asks for (English by default). Raises SettingsError for an unknown one."""
    asked = os.environ.get("COURSE_LANGUAGE") or ENGLISH
    if asked not in known():
        raise SettingsError(
            f"COURSE_LANGUAGE is {asked!r}; the cards speak {', '.join(known())}. Set one of these, or none, and "
            "restart the kernel."
        )
    return asked


def say(text: str, /, **values: Any) -> str:
    """``text`` in the chosen language; with ``values`` its ``{fields}`` are filled in, as ``str.format`` does."""
    text = _catalogue(os.environ.get("COURSE_LANGUAGE") or ENGLISH).gettext(text) if text else ""
    return text.format(**values) if values else text


def say_count(one: str, many: str, n: int, /, **values: Any) -> str:
    """``one`` or ``many``, as the chosen language has it for ``n`` things, with ``{n}`` and ``values`` filled in."""
    text = _catalogue(os.environ.get("COURSE_LANGUAGE") or ENGLISH).ngettext(one, many, n)
    return text.format(n=n, **values)


@functools.cache
def _catalogue(language: str) -> gettext.NullTranslations:
    """The translations of a language; none for English, and for one that is unknown: ``start`` has refused that."""
    if language == ENGLISH or language not in known():
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = io.BytesIO()
    with (FOLDER / f"{language}.po").open("rb") as file:
        write_mo(compiled, read_po(file))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
