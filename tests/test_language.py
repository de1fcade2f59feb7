"""The cards in another language: every sentence translated, its fields kept, and English where there is none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import course_utils
from course_utils import language, settings
from course_utils.classroom.course_map import survey
from course_utils.classroom.exercises import exercise as engine
from course_utils.classroom.exercises import hints, registry
from course_utils.classroom.records import claims
from course_utils.interview import bank
from course_utils.interview.quiz import Quiz, quiz_widget
from course_utils.workshop import messages

ROOT = Path(__file__).resolve().parent.parent
ANSWERS = (ROOT / "tests" / "answers" / "ch00.py").read_text(encoding="utf-8")


@pytest.fixture
def german(monkeypatch):
    monkeypatch.setenv("COURSE_LANGUAGE", "de")


def test_every_sentence_has_its_translation_and_the_files_are_up_to_date(capsys):
    assert language.known() == ["en", "de"]
    assert messages.main(["--check"]) == 0, capsys.readouterr().out


def test_a_gap_and_another_field_are_found(monkeypatch, tmp_path, capsys):
    text = (language.FOLDER / "de.po").read_text(encoding="utf-8")
    broken = text.replace('msgstr "{solved} von {all} Aufgaben"', 'msgstr "{gelöst} von {all} Aufgaben"')
    broken = broken.replace('msgstr "kommt noch"', 'msgstr ""')
    assert broken != text
    (tmp_path / "de.po").write_text(broken, encoding="utf-8")
    monkeypatch.setattr(language, "FOLDER", tmp_path)
    assert messages.main(["--check"]) == 1
    out = capsys.readouterr().out
    assert "other fields than the original: {solved} of {all} exercises" in out and "no translation: to come" in out
    (tmp_path / "de.po").write_text(text.replace('msgid "to come"', 'msgid "gone from the code"'), encoding="utf-8")
    assert messages.main(["--check"]) == 1 and "stale" in capsys.readouterr().out
    assert messages.main([]) == 1  # it is written, and the gap is named
    assert "gone from the code" not in (tmp_path / "de.po").read_text(encoding="utf-8")
    assert messages.main(["--add", "fr"]) == 1 and language.known() == ["en", "de", "fr"]


def test_fields_are_told_apart():
    assert messages.fields("{a} {b:.2g} {c!r}") == messages.fields("{c!r} {b:.2g} {a}")
    assert messages.fields("{a:.2g}") != messages.fields("{a:.3g}")
    assert messages.fields("{d:%a %d}") == messages.fields("{d:%d.%m.}") != messages.fields("{d}")


def test_what_is_said_is_found_also_inside_an_f_string():
    code = (
        "x = f\"{say('one')} {say_count('{n} cat', '{n} cats', n)}\"\nsay('tw' 'o', name=1)\nsay(variable)\nsaw('no')"
    )
    assert set(messages.said(code)) == {"one", ("{n} cat", "{n} cats"), "two"}
    checks = (
        'def f(a):\n    """A docstring of words."""\n    cases = [("some data", "more data", True, "A sentence.")]\n'
        '    return f"part of {a} text", "And another.", "word"\n'
    )
    assert set(messages.sentences(checks)) == {"A sentence.", "And another."}


def test_each_variable_that_is_said_stands_in_a_table():
    """A sentence that only a variable holds would be missed: what hands one on is known, and few."""
    found = set()
    for path in messages.PACKAGE.rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        if "from course_utils.language import" in code:
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                    if not isinstance(node.args[0], ast.Constant):
                        found.add(ast.unparse(node.args[0]))
    tables = {
        "row",
        "word",
        "part",
        "OTHER_BASE",
        "CHANCE",
        "run.profile.minutes",
        "entry.title",
        "place.chapter.title",
    }
    exercises = {"spec.title", "spec.asked", "spec.hints[step - 1]"}
    sentences = {"mistake.message", "result.mistake.message", "named", "message"}
    assert found == tables | exercises | sentences


def test_english_is_what_the_code_says(monkeypatch):
    for chosen in ("", "en"):
        monkeypatch.setenv("COURSE_LANGUAGE", chosen)
        assert language.say("to come") == "to come" and language.say("") == ""
        assert language.say("{1920}") == "{1920}"  # no fields are filled where none are given
        assert language.say_count("{n} point", "{n} points", 1) == "1 point"
        assert language.say_count("{n} point", "{n} points", 0) == "0 points"


def test_what_has_no_translation_stays_english(german):
    assert language.say("A sentence that nobody translated.") == "A sentence that nobody translated."
    assert language.say("to come") == "kommt noch"
    assert language.say_count("{n} point", "{n} points", 1) == "1 Punkt" and language.say("") == ""


def test_an_unknown_language_is_refused_at_the_start_of_a_chapter(monkeypatch):
    monkeypatch.setenv("COURSE_LANGUAGE", "klingon")
    with pytest.raises(settings.SettingsError, match="speak en, de"):
        course_utils.start("00")
    assert language.say("to come") == "to come"


def answers(name: str) -> list:
    """The learner's functions of this name, without their decorators, in the order of the file."""
    found = []
    for node in ast.parse(ANSWERS).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            node.decorator_list = []
            space: dict = {}
            exec("import math, re\nfrom math import *\n", space)
            exec(compile(ast.Module([node], []), "cell", "exec"), space)
            found.append(space[name])
    return found


WORDS = {"the", "is", "of", "and", "that", "with", "wanted", "right", "reference", "shows", "your", "not"}


def english_words(card) -> set[str]:
    """English words that a German card still says; code, the learner's values and Python's own errors apart."""
    message = re.sub(r"(?<=aus: ).*", "", card.message)
    said = "\n".join([card.title, message, *card.notes, *(name for name, _ in card.rows), *dict(card.folded)])
    return WORDS & set(re.findall(r"[a-z]+", re.sub(r"`[^`]*`", "", said).lower()))


@pytest.mark.slow
def test_chapter_00_speaks_german(german):
    """Every wrong answer that was written to test the checks, an open exercise, a right one, and all the hints."""

    def open_exercise(answer, reference):
        raise NotImplementedError

    def is_exact_match(answer, reference):
        raise NotImplementedError  # your code

    states = set()
    for id, spec in registry.known("00").items():
        name = spec.reference.__name__
        for candidate in [spec.reference, *answers(name)]:
            result = engine.attempt(spec, candidate)
            card = engine.result_card(spec, result)
            states.add(result.status)
            assert not english_words(card), card.text()
        for step in range(1, len(spec.hints) + 2):
            card = hints.hint_card(spec, step)
            assert not english_words(card), card.text()
        assert "Hinweis" in hints.hint_card(spec, 1).title and id in card.title
    assert {"right", "wrong"} <= states
    spec = registry.find("00.1")
    card = engine.result_card(spec, engine.attempt(spec, is_exact_match))
    assert "Noch nicht gelöst" in card.text() and not english_words(card)
    wrong = engine.result_card(spec, engine.attempt(spec, lambda answer, reference: answer == reference))
    assert wrong.text().splitlines()[:2] == [
        "✗ 00.1  Genaue Übereinstimmung: noch nicht richtig",
        "  Nur Groß- und Kleinschreibung unterscheiden sich. Vergleiche kleingeschriebene Texte.",
    ]


def test_the_other_cards_speak_german(german, capsys):
    course_utils.start("00")
    said = capsys.readouterr().out
    assert "Hier beginnen" in said and "20 min Lesen" in said and "für 3 Aufgaben" in said
    claims.claim("00.test", "one is one", 1, at_least=0.5)
    claims.claims_table("00")
    said = capsys.readouterr().out
    assert "gemessen" in said and "mindestens 0.5" in said
    assert "von 3 Aufgaben" in survey().text()
    items = bank.quiz_items("00")
    assert "Antworten:" in Quiz(items).text()
    box = quiz_widget(items)
    texts = [button.description for block in box.children[:-1] for button in block.children[1].children]
    assert "Ich weiß es nicht" in texts and f"{len(items)} Fragen" in box.children[-1].value
