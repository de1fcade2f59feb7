"""Interview questions and quizzes: the bank's files, figures in answers, answers kept by id."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from course_utils.classroom.records import progress
from course_utils.classroom.records.claims import claim, recorded
from course_utils.interview import bank
from course_utils.interview import quiz as show_quiz
from course_utils.interview.bank import BankError, Followup, Question, QuizItem, WrongAnswer
from course_utils.interview.quiz import Quiz, quiz_widget
from course_utils.interview.show import Interview, with_figures

ROOT = Path(__file__).resolve().parent.parent
# How many quiz questions each chapter had when answers were still recorded by position, as NN.q1, NN.q2, ...
BY_POSITION = dict.fromkeys((f"{n:02d}" for n in (*range(14), 15)), 5) | {"03": 7}


def test_answers_quote_the_latest_figures_of_this_profile(monkeypatch):
    item = Question(
        "06.why",
        "screen",
        "Why?",
        "It took {06.steps} steps.",
        "{06.share:.0%} and {06.missing} and {not an id}",
        (Followup("And?", "So."),),
        (WrongAnswer("Because.", "That is no reason: it took {06.steps}."),),
    )
    text = Interview([item], recorded()).text()
    assert "It took (not measured yet) steps." in text
    claim("06.steps", "steps", 120, at_least=1)
    claim("06.share", "share", 0.876, at_least=0)
    for form in (Interview([item], recorded()).text(), Interview([item], recorded()).markdown()):
        assert "It took 120 steps." in form
        assert "88% and (not measured yet) and {not an id}" in form and "- And? So." in form
        assert '- "Because." That is no reason: it took 120.' in form
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    assert "(not measured yet) steps" in Interview([item], recorded()).text()


def test_a_figure_that_is_no_number_is_quoted_as_it_is():
    assert with_figures("{06.a:.0%} {06.b}", {"06.a": {"value": "nan"}, "06.b": {"value": True}}) == "nan yes"


def test_the_quiz_reads_as_text():
    page = Quiz([QuizItem("06.q1", "One `a`?", ("x", "y"), 1, "Because.")])
    assert page.text() == "1. One `a`?\n   a) x\n   b) y\nAnswers: 1b"
    assert "<details>" in page.html() and "Because." in page.html()


def test_the_quiz_keeps_answers_by_id_and_knows_them_again():
    items = [QuizItem("06.q7", "One?", ("x", "y"), 1, "Because."), QuizItem("06.q2", "Two?", ("x", "y"), 0, "So.")]
    first, second, score = quiz_widget(items).children
    first.children[1].children[0].click()
    assert progress.quiz_answers() == {"06.q7": False} and "0 of 2 right" in score.value
    first.children[1].children[1].click()
    assert progress.quiz_answers() == {"06.q7": True}
    again = quiz_widget(items[::-1]).children  # another order, another day
    assert "1 of 2 right" in again[2].value


def test_the_quiz_shows_without_a_person(capsys):
    show_quiz("06")
    assert "Answers: 1" in capsys.readouterr().out


@pytest.mark.parametrize("chapter", bank.chapters())
def test_a_bank_is_complete(chapter):
    items = bank.questions(chapter)
    assert 3 <= len(items) <= 12
    assert len({item.question for item in items}) == len(items)
    for item in items:
        assert item.question.endswith(("?", ".")) and len(item.short) > 60 and len(item.deep) > len(item.short)
        assert item.topics and len(item.followups) >= 2 and item.wrong
        assert all(len(part.question) > 5 and len(part.answer) > 5 for part in item.followups)
        assert all(len(part.answer) > 5 and len(part.why) > 10 for part in item.wrong)
    assert len({item.level for item in items}) > 1
    for quiz_item in bank.quiz_items(chapter):
        assert 0 <= quiz_item.answer < len(quiz_item.choices) and len(set(quiz_item.choices)) == len(quiz_item.choices)
        assert quiz_item.why
    assert len({item.answer for item in bank.quiz_items(chapter)}) > 1, "the right choice is always in the same place"


def test_every_chapter_has_a_bank_and_quizzes_that_were_answered_before_keep_their_ids():
    built = {path.name[:2] for path in (ROOT / "solutions").glob("*.ipynb")}
    assert set(bank.chapters()) == built
    for chapter, count in BY_POSITION.items():
        ids = {item.id for item in bank.quiz_items(chapter)}
        assert {f"{chapter}.q{number}" for number in range(1, count + 1)} <= ids


@pytest.mark.parametrize("chapter", bank.chapters())
def test_quoted_claims_are_made_in_the_notebooks(chapter):
    made = set()
    for path in (ROOT / "solutions").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            made |= set(re.findall(r'\bclaim\(\s*"(\d\d\.[a-z0-9_]+)"', "".join(cell["source"])))
    quoted = {id for item in bank.questions(chapter) for id in item.claims}
    built = {path.name[:2] for path in (ROOT / "solutions").glob("*.ipynb")}
    assert quoted, "no answer quotes a measured figure"
    assert {id for id in quoted if id[:2] in built} <= made


GOOD = {
    "questions": [
        {
            "id": "06.a",
            "level": "screen",
            "topics": ["A1"],
            "question": "Why?",
            "short": "It is {06.x}.",
            "deep": "It is so.",
            "followups": [{"question": "And?", "answer": "So."}, {"question": "Or?", "answer": "No."}],
            "wrong": [{"answer": "Never.", "why": "It is."}],
            "claims": ["06.x"],
        }
    ],
    "quiz": [{"id": "06.q1", "question": "One?", "choices": ["x", "y"], "answer": 2, "why": "Because."}],
}


def changed(**fields):
    entry = {key: value for key, value in (GOOD["questions"][0] | fields).items() if value is not None}
    return yaml.safe_dump({"questions": [entry], "quiz": GOOD["quiz"]})


def test_a_good_file_is_read():
    (item,), (quiz_item,) = bank.parse(yaml.safe_dump(GOOD), "06")
    assert item.claims == ("06.x",) and item.followups[1] == Followup("Or?", "No.")
    assert quiz_item.choices[quiz_item.answer] == "y"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": "07.a"}, "an id is '07.a'; expected 06, a point"),
        ({"id": "06.q1"}, "06.q1 more than once"),
        ({"level": "hard"}, "06.a: level is 'hard'; expected one of screen, onsite, staff"),
        ({"deep": None}, "06.a: missing: deep"),
        ({"hint": "x"}, "06.a:  unknown: hint"),
        ({"followups": []}, "06.a: two follow-ups or more"),
        ({"wrong": []}, "06.a: two follow-ups or more and a usual wrong answer"),
        ({"claims": []}, r"06.a: claims is \[\], but the answers quote \['06.x'\]"),
    ],
)
def test_a_file_that_is_incomplete_names_the_entry(fields, words):
    with pytest.raises(BankError, match=words):
        bank.parse(changed(**fields), "06")


def test_a_quiz_without_a_right_choice_is_refused():
    quiz = [GOOD["quiz"][0] | {"answer": 3}]
    with pytest.raises(BankError, match="06.q1: answer is 3; expected the number of a choice, 1 to 2"):
        bank.parse(yaml.safe_dump(GOOD | {"quiz": quiz}), "06")
    with pytest.raises(BankError, match="06.yaml cannot be read"):
        bank.parse("questions: [", "06")
