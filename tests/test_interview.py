"""Interview questions and quizzes: the bank's files, figures in answers, answers kept by id."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from course_utils.classroom.records import progress
from course_utils.classroom.records.claims import claim, recorded
from course_utils.interview import bank
from course_utils.interview import quiz as show_quiz
from course_utils.interview.bank import BankError, Followup, Question, QuizItem, WrongAnswer
from course_utils.interview.bank.topics import IDS
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


def test_the_quiz_gives_its_reason_after_each_answer_and_knows_i_do_not_know():
    item = QuizItem("06.q7", "One?", ("x", "y"), 1, "Because.")
    block, _ = quiz_widget([item]).children
    *buttons, unsure = block.children[1].children
    assert unsure.description == "I do not know" and len(buttons) == 2
    unsure.click()
    assert "It is b) y. Because." in block.children[2].value and progress.quiz_answers() == {"06.q7": False}
    buttons[0].click()
    assert "It is b) y. Because." in block.children[2].value
    buttons[1].click()
    assert "Yes. Because." in block.children[2].value and progress.quiz_answers() == {"06.q7": True}


def test_the_quiz_shows_without_a_person(capsys):
    show_quiz("06")
    assert "Answers: 1" in capsys.readouterr().out


@pytest.mark.parametrize("chapter", bank.chapters())
def test_a_bank_is_complete(chapter):
    assert 3 <= len(bank.questions(chapter)) <= 12, "the others belong into the list 'more'"
    items = [item for item in bank.all_questions() if item.chapter == chapter]
    for item in items:
        assert item.question.endswith(("?", ".")) and len(item.short) > 60 and len(item.deep) > len(item.short)
        assert item.topics and len(item.followups) >= 2 and item.wrong
        length, figures = (75, 4) if item.in_notebook else (70, 2)
        assert len(bank.FIGURE.sub("x", item.short).split()) <= length, f"{item.id}: thirty seconds are seventy words"
        assert len(bank.FIGURE.findall(item.short)) <= figures, f"{item.id}: nobody keeps so many figures in mind"
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


@cache
def made_claims() -> set[str]:
    """The ids of the claims that the authors' notebooks make."""
    made = set()
    for path in (ROOT / "solutions").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            made |= set(re.findall(r'\bclaim\(\s*"(\d\d\.[a-z0-9_]+)"', "".join(cell["source"])))
    return made


@pytest.mark.parametrize("chapter", bank.chapters())
def test_quoted_claims_are_made_in_the_notebooks(chapter):
    quoted = {id for item in bank.all_questions() if item.chapter == chapter for id in item.claims}
    built = {path.name[:2] for path in (ROOT / "solutions").glob("*.ipynb")}
    assert quoted, "no answer quotes a measured figure"
    assert {id for id in quoted if id[:2] in built} <= made_claims()


# ---- the whole bank

SMALL = {"0", "1", "2", "3", "4", "5", "6", "8", "16", "32", "64", "90", "95", "99", "100", "0.5", "0.05"}
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\d,]*\w)")


def unsupported(item: Question) -> list[str]:
    """Numbers of the two answers that nothing stands for: no claim, no source, no arithmetic that shows them.

    A sentence that quotes a claim may name the settings it was measured with. Bits, bytes, levels of confidence and the
    like are words (SMALL); so are numbers of chapters and weeks.
    """
    if item.sources:
        return []
    found = []
    for sentence in re.split(r"(?<=[.;:?!])\s+", f"{item.short} {item.deep}"):
        if bank.FIGURE.search(sentence) or "=" in sentence:
            continue
        plain = re.sub(
            r"(?i)\b(chapters?|weeks?|exercises?|sections?|version) \d+(\.\d+)?( and \d+)?|\(\d\)", "", sentence
        )
        found += [number.rstrip(",") for number in NUMBER.findall(re.sub(r"\S*[\^*/]\S*", " ", plain))]
    return [number for number in found if number not in SMALL]


def words(*texts: str) -> set[str]:
    small = "a an the of and or to in is it what how do does you your for with why which when are be not on by that as"
    found = re.findall(r"[a-z0-9]+", bank.FIGURE.sub("", " ".join(texts).lower()))
    return set(found) - set(f"{small} from its than at has have i my mine one if but so they this".split())


def alike(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


def test_no_number_stands_in_an_answer_without_a_claim_a_source_or_its_arithmetic():
    assert {item.id: unsupported(item) for item in bank.all_questions() if unsupported(item)} == {}
    planted = Question("06.a", "screen", "Why?", "It is 37 % faster.", "A cache of 0.7 GB.", (), ())
    assert unsupported(planted) == ["37", "0.7"]
    assert unsupported(Question("06.a", "screen", "Why?", "{06.a} of 60 passed. So 37 % did.", "So.", (), ())) == ["37"]
    shown = Question("06.a", "screen", "Why?", "It is {06.a} in chapter 12.", "2 x 32 x 8 x 128 = 65,536.", (), ())
    assert unsupported(shown) == []


def test_every_answer_rests_on_something_measured_or_on_a_source():
    assert [item.id for item in bank.all_questions() if not item.claims and not item.sources] == []
    assert all(10 < len(source) < 140 for item in bank.all_questions() for source in item.sources)


def test_no_two_questions_are_alike():
    items = [(item, words(item.question), words(item.short, item.deep)) for item in bank.all_questions()]
    for number, (item, question, answer) in enumerate(items):
        for other, other_question, other_answer in items[:number]:
            assert alike(question, other_question) < 0.6, f"{item.id} asks what {other.id} asks"
            assert alike(answer, other_answer) < 0.35, f"{item.id} answers what {other.id} answers"
    first, second = "Why is decoding slow on a GPU?", "Why is decoding so slow on one GPU?"
    assert alike(words(first), words(second)) > 0.6


def test_every_topic_and_every_chapter_is_asked_about():
    topics = bank.by_topic()
    unknown = {topic: [item.id for item in topics[topic]] for topic in topics if topic not in IDS}
    assert unknown == {}, "a question names a topic that topics.py does not have"
    assert {topic: len(items) for topic, items in topics.items() if len(items) < 3} == {}
    items = bank.all_questions()
    assert min(sum(item.chapter == chapter for item in items) for chapter in {item.chapter for item in items}) >= 10
    assert {item.level for item in items} == set(bank.LEVELS)
    assert min(sum(item.level == level for item in items) for level in bank.LEVELS) >= 50


def test_ids_are_never_taken_back():
    kept = set((Path(__file__).parent / "question_ids.txt").read_text(encoding="utf-8").split())
    ids = {item.id for item in bank.all_questions()}
    assert kept - ids == set(), "a reader's answers are kept under these ids"
    assert len(ids) == len(bank.all_questions())


def test_a_question_is_found_by_its_id_and_a_wrong_id_says_what_there_is():
    item = bank.question("04.muon")
    assert item.chapter == "04" and item in bank.by_topic()["I1"] and item in bank.questions("04")
    with pytest.raises(KeyError, match=r"no question is called '04.muons'; chapter 04 has 04.training_memory, "):
        bank.question("04.muons")
    with pytest.raises(KeyError, match="chapter 77 has no questions"):
        bank.question("77.muon")


def test_the_generated_bank_is_that_of_the_files():
    assert bank.stale() == [], "run python -m course_utils.workshop.notebooks"
    kept = (bank.FOLDER / bank.GENERATED).read_text(encoding="utf-8")
    assert kept == bank.generated_text()
    for chapter in bank.chapters():
        text = (bank.FOLDER / f"{chapter}.yaml").read_text(encoding="utf-8")
        assert bank._load(chapter) == bank.parse(text, chapter)


def test_a_file_changed_since_is_named_and_read_itself(tmp_path, monkeypatch):
    for chapter in ("06", "07"):
        good = yaml.safe_dump(GOOD).replace("06.", f"{chapter}.")
        (tmp_path / f"{chapter}.yaml").write_text(good, encoding="utf-8", newline="\r\n")
    (tmp_path / bank.GENERATED).write_text(bank.generated_text(tmp_path), encoding="utf-8")
    monkeypatch.setattr(bank, "FOLDER", tmp_path)
    monkeypatch.setattr(bank, "chapters", lambda folder=tmp_path: ["06", "07"])
    monkeypatch.setattr(bank, "_generated", bank._generated.__wrapped__)
    monkeypatch.setattr(bank, "_load", bank._load.__wrapped__)
    assert bank.stale() == [] and bank.question("06.a").short == "It is {06.x}."
    (tmp_path / "07.yaml").write_text(yaml.safe_dump(GOOD).replace("06.", "07.").replace("Why?", "Why not?"), "utf-8")
    assert bank.stale() == ["07.yaml"] and bank.question("07.a").question == "Why not?"
    (tmp_path / bank.GENERATED).write_text("{", encoding="utf-8")
    assert bank.stale() == ["06.yaml", "07.yaml"] and bank.question("06.a").question == "Why?"


def test_the_whole_bank_is_read_at_once_and_without_torch():
    code = (
        "import sys, time; from course_utils.interview import bank; start = time.process_time(); "
        "items = bank.all_questions() + bank.all_quiz_items(); spent = time.process_time() - start; "
        "print(len(items) > 300, not {'torch', 'IPython', 'yaml', 'numpy'} & set(sys.modules), spent)"
    )
    run = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    found = [line.stdout.split() for line in run]
    assert all(words[:2] == ["True", "True"] for words in found), found
    assert min(float(words[2]) for words in found) < 0.05


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
    "quiz": [{"id": "06.q1", "question": "One?", "choices": ["x", "y"], "answer": 2, "why": "Because.", "topics": []}],
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
        ({"deep": None}, "06.yaml, 06.a: missing: deep"),
        ({"hint": "x"}, "06.yaml, 06.a:  unknown: hint"),
        ({"followups": []}, "06.yaml, 06.a: two follow-ups or more"),
        ({"followups": [{"question": "And?"}] * 2}, "06.yaml, 06.a: each part needs question and answer; one is"),
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
    with pytest.raises(BankError, match="06.yaml needs the lists questions and quiz"):
        bank.parse("quiz: []", "06")
    with pytest.raises(BankError, match="06.yaml: more is NoneType; expected a list of entries"):
        bank.parse("questions: []\nmore:\nquiz: []", "06")
    with pytest.raises(BankError, match="06.yaml: an entry is '06.a'; expected its fields"):
        bank.parse("questions: [06.a]\nquiz: []".replace("06.a", "'06.a'"), "06")


def test_further_questions_are_asked_in_the_interview_room_alone():
    entry = GOOD["questions"][0] | {"id": "06.b", "short": "So.", "claims": [], "sources": ["A book, 1999"]}
    (first, second), _ = bank.parse(yaml.safe_dump(GOOD | {"more": [entry]}), "06")
    assert first.in_notebook and not second.in_notebook and second.sources == ("A book, 1999",)
    page = Interview([second], {}, further=7)
    assert "Sources: A book, 1999" in page.text()
    assert all("7 more questions on this chapter" in form for form in (page.text(), page.markdown()))
