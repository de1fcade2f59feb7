"""The interview room: quiz, cards and mock interview as conversations; strengths, gaps and the week; how it starts."""

from __future__ import annotations

import io
import subprocess
import sys
import types
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from course_utils import cli, settings
from course_utils.chapters import ChapterError
from course_utils.classroom.records import jsonl, progress
from course_utils.interview import bank, mock, standing, terminal, walks, widget
from course_utils.interview.mock import MockError, Sitting
from course_utils.interview.schedule import Deck
from course_utils.interview.standing import Score

HEAVY = ("torch", "IPython", "matplotlib", "transformers", "numpy", "ipywidgets", "pandas", "yaml")


class Person:
    """Types what it was given, then ends the input."""

    def __init__(self, *said: str) -> None:
        self.said, self.seen = list(said), []

    def read(self, prompt: str) -> str:
        self.seen.append(prompt)
        if not self.said:
            raise EOFError
        return self.said.pop(0)

    def write(self, text: str) -> None:
        self.seen.append(text)

    @property
    def page(self) -> str:
        return "\n".join(self.seen)

    @property
    def talk(self) -> dict:
        return {"read": self.read, "write": self.write}


@dataclass(frozen=True)
class Drill:
    name: str
    title: str
    level: str
    minutes: int
    statement: str = "Write it."
    starter: str = "def f(): ..."
    topics: tuple = ()


@pytest.fixture
def drills(monkeypatch):
    """A stand-in for the module of coding drills."""
    known = {d.name: d for d in (Drill("softmax", "Softmax", "screen", 8), Drill("bpe", "BPE", "staff", 25))}

    def check(name, function):
        return types.SimpleNamespace(right=function() == name, message="", case="")

    stand_in = types.SimpleNamespace(names=lambda: list(known), get=known.__getitem__, check=check)
    monkeypatch.setattr(mock, "the_drills", lambda: stand_in)
    return stand_in


def events(kind: str) -> list[dict]:
    return [event for event in jsonl.read(settings.home() / progress.FILE) if event["kind"] == kind]


# ---- the quiz


def test_the_quiz_gives_a_reason_after_each_answer_and_knows_i_do_not_know():
    first, second = bank.quiz_items("06")[:2]
    wrong = next(i for i in range(len(first.choices)) if i != first.answer)
    person = Person("x", terminal.LETTERS[wrong], "?")
    assert terminal.quiz("6", **person.talk) == 0
    flat = " ".join(person.page.split())
    assert "Give one of a, b" in person.page and "0 of 2 right." in person.page
    assert " ".join(first.why.split()) in flat and " ".join(second.why.split()) in flat
    assert f"It is {terminal.LETTERS[first.answer]})" in flat
    told = events("quiz")
    assert [(event["id"], event["right"], event.get("unknown", False)) for event in told] == [
        (first.id, False, False),
        (second.id, False, True),
    ]
    assert progress.quiz_answers() == {first.id: False, second.id: False}


def test_a_right_answer_counts_and_comes_last_the_next_time():
    first = bank.quiz_items("06")[0]
    person = Person(terminal.LETTERS[first.answer].upper(), "q")
    assert terminal.quiz("06", **person.talk) == 1 and "1 of 1 right." in person.page
    again = Person("q")
    terminal.quiz("06", **again.talk)
    assert first.id not in again.page, "the others first"
    with pytest.raises(ChapterError, match="there is no chapter '77'"):
        terminal.quiz("77", **again.talk)


def test_the_weakest_topics_come_first_in_whatever_chapter():
    for chapter, right in (("06", True), ("09", False), ("03", True)):
        for item in bank.quiz_items(chapter)[:3]:
            progress.record("quiz", id=item.id, right=right, first=True)
    person = Person(*["?"] * 7)
    terminal.quiz(count=7, **person.talk)
    asked = [line.split("]")[0][2:] for line in person.seen if line.startswith("\n[")]
    assert asked[0] == "09.q4", "of the same topic, LoRA, and never asked"
    assert asked[1:4] == ["09.q1", "09.q2", "09.q3"], "then what was wrong"
    assert {name[:2] for name in asked[4:]} == {"10"}, "then QLoRA, a topic of which one answer was wrong"


def test_a_quiz_of_one_topic():
    person = Person("q")
    terminal.quiz("i7", **person.talk)
    many = sum("I7" in item.topics for item in bank.all_quiz_items())
    assert f"{many} questions" in person.page and many >= 5


def test_ctrl_c_keeps_what_was_answered():
    said = ["a"]

    def read(prompt):
        if said:
            return said.pop()
        raise KeyboardInterrupt

    person = Person()
    terminal.quiz("06", read=read, write=person.write)
    assert len(events("quiz")) == 1 and "of 1 right" in person.page


# ---- cards


def test_cards_show_the_answer_take_a_rating_and_come_again():
    person = Person("", "5", "3", "", "1", "q")
    with Deck() as deck:
        assert terminal.cards("06", **person.talk, deck=deck) == 2
        first, second = (review.card for review in deck.reviews())
        assert [review.rating for review in deck.reviews()] == [3, 1] and first != second
    assert "Give one of 1, 2, 3, 4" in person.page and "Again on " in person.page
    assert "2 rated. Due in the next seven days: 2, 0" in person.page
    question = bank.question(first)
    assert " ".join(question.short.split())[:40] in " ".join(person.page.split())


def test_cards_that_another_window_answered_are_left_out():
    with Deck() as deck:
        said = ["3", ""]

        def read(prompt):
            if "again" in prompt:
                with Deck() as other:
                    other.review(deck.session([q.id for q in bank.questions("06")])[0], 2)
            if said:
                return said.pop()
            raise EOFError

        person = Person()
        assert terminal.cards("06", read=read, write=person.write, deck=deck) == 0
        assert "was answered in another window" in person.page and len(deck.reviews()) == 1


def test_nothing_due_and_a_clock_set_back_are_said():
    with Deck() as deck:
        deck.review("06.x", 3, datetime.now(UTC) + timedelta(days=3))
        person = Person()
        assert terminal.cards("06", new=0, **person.talk, deck=deck) == 0
        assert "No card is due." in person.page and "The clock says" in " ".join(person.page.split())


def test_the_command_for_cards(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert cli.main(["cards", "06"]) == 0 and "0 rated" in capsys.readouterr().out
    assert cli.main(["cards", "06", "--anki", str(tmp_path / "cards.txt")]) == 0
    from course_utils.interview.anki import parse

    headers, rows = parse((tmp_path / "cards.txt").read_text(encoding="utf-8"))
    own = [item.id for item in bank.all_questions() if item.id[:2] == "06"]
    assert [row[0] for row in rows] == [f"course-{id}" for id in own] and headers["deck"] == "The interview room"
    with Deck() as deck:
        deck.review("06.x", 3, datetime.now(UTC) + timedelta(days=3))
    assert cli.main(["cards", "--redate"]) == 0 and "1 reviews" in capsys.readouterr().out
    (settings.home() / "cards.sqlite").write_bytes(b"no database at all " * 60)
    assert cli.main(["cards"]) == 1 and "is damaged" in capsys.readouterr().err
    assert cli.main(["quiz", "77"]) == 1 and "there is no chapter '77'" in capsys.readouterr().err


def test_the_whole_bank_goes_to_anki_with_ids_that_differ(tmp_path):
    from course_utils.interview import anki

    _, rows = anki.parse(anki.export_bank(tmp_path / "all.txt").read_text(encoding="utf-8"))
    assert len(rows) == len({row[0] for row in rows}) == len(bank.all_questions())
    assert all(len(row) == 4 and row[1] and row[2] for row in rows)
    assert not any("{06" in row[2] for row in rows), "figures are filled in"


def test_the_widget_goes_through_the_cards_of_today():
    with Deck() as deck:
        today = bank.questions("06")[:2]
        box = widget.cards_box(deck, today)
        assert box.rate[3].disabled and not box.show.disabled
        box.show.click()
        assert box.show.disabled and not box.rate[3].disabled
        box.rate[3].click()
        assert [review.card for review in deck.reviews()] == [today[0].id] and "1 left" in box.state.value
        deck.review(today[1].id, 1)
        box.show.click()
        box.rate[4].click()
        assert "another window" in box.state.value and len(deck.reviews()) == 2
        assert "No card is left" in box.children[0].value and box.show.disabled


def test_without_a_person_the_widget_is_a_page(capsys):
    widget.flashcards("06", new=3)
    shown = capsys.readouterr().out
    assert "3 cards today" in shown and bank.questions("06")[0].question[:30] in shown


# ---- the mock interview


def test_a_round_fills_its_minutes_and_is_drawn_again_by_its_seed(drills):
    round = mock.draw("inference", "onsite", 60, seed=3)
    assert round == mock.draw("inference", "onsite", 60, seed=3) != mock.draw("inference", "onsite", 60, seed=4)
    kinds = [item.kind for item in round.items]
    assert kinds.count("walk") == 1 and kinds.count("drill") == 1 and kinds.count("question") >= 5
    assert 50 <= sum(item.minutes for item in round.items) <= 60
    for item in round.items:
        if item.kind == "question":
            assert item.id[:2] in mock.ROLES["inference"]
    assert "inference" in walks.get(next(i.id for i in round.items if i.kind == "walk")).roles
    assert {item.kind for item in mock.draw("evaluation", "screen", 20).items} == {"question", "drill"}
    assert {item.kind for item in mock.draw("evaluation", "screen", 10).items} == {"question"}


@pytest.mark.parametrize("role", mock.ROLES)
@pytest.mark.parametrize("level", mock.LEVELS)
def test_every_role_and_level_has_a_round(role, level):
    for minutes in (10, 45, 120):
        round = mock.draw(role, level, minutes)
        assert sum(item.minutes for item in round.items) <= minutes + 4
        for item in round.items:
            assert mock.asked(item) and mock.rubric(item, {})
            if item.kind == "question":
                assert bank.question(item.id).level in mock.LEVELS[level]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"role": "poet"}, "role is 'poet'; expected one of generalist"),
        ({"level": "junior"}, "level is 'junior'; expected one of screen"),
        ({"minutes": 5}, "minutes is 5; a whole number from 10 to 240"),
        ({"minutes": 30.5}, "a whole number"),
    ],
)
def test_a_round_that_cannot_be_drawn_says_why(given, words):
    with pytest.raises(MockError, match=words):
        mock.draw(**given)


def test_a_drill_that_was_checked_in_another_window_counts(drills):
    round = mock.draw("inference", "onsite", 60, seed=3)
    drill = next(item for item in round.items if item.kind == "drill")
    sitting = Sitting(round)
    sitting.begin(drill)
    progress.record("drill", id=drill.id, right=False, seconds=1.0)
    assert sitting.finish(3)["mark"] == 1
    sitting.begin(drill)
    progress.record("drill", id=drill.id, right=True, seconds=2.0)
    assert sitting.finish(3)["mark"] == 3
    sitting.begin(drill)
    assert sitting.finish(2)["mark"] == 1, "that was before"


def test_what_was_asked_comes_later_again():
    seen = set()
    for _ in range(3):
        round = mock.draw("evaluation", "onsite", 30, seed=0)
        asked = {item.id for item in round.items if item.kind == "question"}
        assert asked and not asked & seen
        seen |= asked
        sitting = Sitting(round)
        for item in round.items:
            sitting.begin(item)
            sitting.finish(1)
        sitting.close()
    assert len(standing.mocks()) == 3


def test_weak_chapters_are_drawn_more_often():
    for item in bank.quiz_items("15") + bank.quiz_items("16"):
        for _ in range(3):
            progress.record("quiz", id=item.id, right=item.id.startswith("15"), first=True)
    drawn = [item.id[:2] for seed in range(60) for item in mock.draw("evaluation", "onsite", 10, seed).items]
    many = {chapter: sum(q.id[:2] == chapter for q in bank.all_questions()) for chapter in ("15", "16")}
    assert drawn.count("16") / many["16"] > 1.3 * drawn.count("15") / many["15"]


def test_marks_are_lowered_by_the_budget_and_the_check_and_time_is_kept(drills):
    round = mock.draw("inference", "onsite", 60, seed=3)
    by_kind = {item.kind: item for item in round.items}
    now = [0.0]
    sitting = Sitting(round, clock=lambda: now[0])
    with pytest.raises(MockError, match="no item was begun"):
        sitting.finish(2)
    walk = by_kind["walk"]
    sitting.begin(walk)
    name = walk.id
    trap = walks.get(name).traps[0]
    assert not sitting.judge_walk({**walks.get(name).answer, **trap.choices}).met
    now[0] += 60 * walk.minutes + 1
    assert sitting.finish(3) == {
        "kind": "walk",
        "id": name,
        "mark": 1,
        "seconds": 60 * walk.minutes + 1.0,
        "late": True,
    }
    drill = by_kind["drill"]
    assert "def f()" in sitting.begin(drill)
    with pytest.raises(MockError, match="no walk was begun"):
        sitting.judge_walk({})
    assert sitting.check_drill(lambda: drill.id).right
    assert sitting.finish(3)["mark"] == 3
    sitting.begin(drill)
    assert not sitting.check_drill(lambda: "no").right and sitting.finish(3)["mark"] == 1
    sitting.begin(by_kind["question"])
    with pytest.raises(MockError, match="mark is 4; expected is 0, 1, 2 or 3"):
        sitting.finish(4)
    assert sitting.finish(0)["late"] is False
    assert sitting.close() == pytest.approx(5 / 12)
    (told,) = standing.mocks()
    assert [entry["mark"] for entry in told["marks"]] == [1, 3, 1, 0] and told["role"] == "inference"
    with pytest.raises(MockError, match="is not of this round"):
        sitting.begin(mock.Item("question", "06.q", 4))


def test_the_whole_conversation(drills):
    round = mock.draw("generalist", "onsite", 45, seed=1)
    walk = walks.get(next(item.id for item in round.items if item.kind == "walk"))
    said = []
    for item in round.items:
        if item.kind == "walk":
            values = [f"{walk.answer[name]:g}" for name in walk.choices]
            said += ["much", "1e99", *["1"] * (len(values) - 1), *values]
        said += ["", "2"] if item.kind != "drill" else ["", "1"]
    person = Person(*said)
    share = terminal.interview("generalist", "onsite", 45, seed=1, **person.talk)
    assert share == pytest.approx((2 * (len(round.items) - 1) + 1) / (3 * len(round.items))), person.page[-2000:]
    assert "is no number" in person.page and "expected is" in person.page and "The budget is met." in person.page
    assert "Design             ■" in person.page
    assert "day 7: a mock interview" in person.page and len(standing.mocks()) == 1
    assert "course drill softmax" in person.page and walk.why in " ".join(person.page.split())


def test_a_mock_that_is_left_keeps_what_was_marked():
    person = Person("", "3")
    terminal.interview("evaluation", "screen", 20, **person.talk)
    assert [entry["mark"] for entry in standing.mocks()[0]["marks"]] == [3]
    terminal.interview("evaluation", "screen", 20, **Person().talk)
    assert len(standing.mocks()) == 1, "nothing is kept of one without a mark"


def test_without_fsrs_or_with_damaged_cards_a_mock_is_kept_and_cards_say_why(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fsrs", None)
    assert cli.main(["cards"]) == 1
    assert "cards need the package fsrs: pip install" in capsys.readouterr().err
    person = Person("", "2")
    terminal.interview("evaluation", "screen", 10, **person.talk)
    assert "left out of the plan: cards need" in person.page and "day 7" in person.page and len(standing.mocks()) == 1
    (settings.home() / "cards.sqlite").write_bytes(b"no database at all " * 60)
    person = Person("", "2")
    terminal.interview("evaluation", "screen", 10, **person.talk)
    assert "is damaged" in person.page and len(standing.mocks()) == 2


def test_the_command_for_a_mock(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n2\n"))
    assert cli.main(["mock", "--role", "evaluation", "--minutes", "20", "--seed", "5"]) == 0
    assert "1 of " in capsys.readouterr().out
    assert cli.main(["mock", "--role", "poet"]) == 1
    assert "role is 'poet'" in capsys.readouterr().err


# ---- strengths, gaps, the week


def test_scores_are_drawn_to_one_half_and_have_intervals():
    assert Score().share == 0.5 and Score().interval() == (0.0, 1.0)
    assert Score(1, 1).share == pytest.approx(2 / 3) and Score(30, 30).share > 0.95
    low, high = Score(8, 10).interval()
    assert low == pytest.approx(0.490, abs=0.001) and high == pytest.approx(0.943, abs=0.001)


def test_scores_are_those_of_quizzes_and_mocks():
    progress.record("quiz", id="06.q1", right=True, first=True)
    marks = [{"kind": "question", "id": "06.x", "mark": 3}, {"kind": "walk", "id": "serve", "mark": 1}]
    marks += [{"kind": "drill", "id": "softmax", "mark": 2}, {"kind": "question", "id": "07.x", "mark": "3"}]
    progress.record("mock", role="generalist", marks=marks)
    found = standing.scores()
    assert found["06"] == Score(2, 2) and found["design"].right == pytest.approx(1 / 3)
    assert found["coding"].asked == 1 and "07" not in found, "a mark that is none counts nothing"
    parts = standing.by_part()
    assert parts["Teaching it a task"] == Score(2, 2) and parts["Design"].asked == 1 and parts["Aligning it"].asked == 0


def test_the_week_begins_with_what_is_weakest_and_ends_with_a_mock():
    for right, chapter in ((False, "09"), (True, "06")):
        progress.record("quiz", id=f"{chapter}.q1", right=right, first=True)
    days = standing.week(45, [5, 0, 60, 0, 0, 0, 0], ["softmax", "bpe"])
    assert len(days) == 7 and "chapter 09, LoRA (score 0.33)" in days[0][1] and days[0][0] == "5 cards: course cards"
    assert days[0][2] == "from memory: course drill softmax" and days[2] == ["60 cards: course cards"]
    assert days[6] == ["a mock interview: course mock --minutes 45"]
    assert not any("chapter 06" in task for day in days for task in day)


def test_the_picture_of_strengths_says_what_it_shows(monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from course_utils.classroom.display.alt_text import describe_figure

    monkeypatch.setattr(plt, "show", lambda: None)
    plt.close("all")
    progress.record("quiz", id="06.q1", right=True, first=True)
    standing.plot_standing()
    assert "Strengths and gaps" in describe_figure(plt.gcf()) and "1 asked" in describe_figure(plt.gcf())
    plt.close("all")


# ---- how it starts


@pytest.mark.parametrize("command", [["quiz"], ["quiz", "06"], ["cards"], ["mock", "--minutes", "30"]])
def test_the_first_question_needs_nothing_heavy(command):
    code = (
        "import sys\nfrom course_utils import cli\n"
        f"cli.main({command!r})\nprint('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], input="", capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout[-500:]
    assert "?" in done.stdout
