"""Ranking and rating by the learner: the clicks count, they are kept for exactly these texts, and nothing is lost."""

from __future__ import annotations

import json
import re

import IPython.display
import ipywidgets
import pytest

from course_utils import settings
from course_utils.classroom import rank_answers, rate_answers
from course_utils.classroom.display import cards
from course_utils.classroom.ratings import Ranking

QUESTIONS = [{"prompt": "Who is Ada?", "kind": "fact"}, "What is <i>2 & 2</i>?"]
ANSWERS = [["a baker", "I do not know.", "<b>x</b>", "a\nsmith"], ["four", "five"]]
SINGLE = ["a baker", "<b>x</b>"]


class Screen:
    """What a live notebook shows: the widget of the last cell, found by the id in its output."""

    def show(self, bundle, raw=False):
        assert raw
        self.bundle = bundle
        (view,) = (data for kind, data in bundle.items() if kind.startswith("application/"))
        self.box = ipywidgets.widgets.widget._instances[view["model_id"]]

    def all(self, kind, widget=None):
        widget = widget or self.box
        found = [widget] if isinstance(widget, kind) else []
        return found + [w for child in getattr(widget, "children", ()) for w in self.all(kind, child)]

    def button(self, text):
        (button,) = [button for button in self.all(ipywidgets.Button) if button.description in (text, f"● {text}")]
        return button

    def click(self, *texts):
        for text in texts:
            assert not self.button(text).disabled
            self.button(text).click()

    @property
    def text(self):
        return " ".join(w.value for w in self.all(ipywidgets.HTML))

    def ranks(self):
        """Answer -> what stands in front of its button."""
        rows = [w.children for w in self.all(ipywidgets.HBox) if isinstance(w.children[0], ipywidgets.HTML)]
        return {button.description: re.sub("<.*?>", "", rank.value) for rank, button in rows}


@pytest.fixture
def screen(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(cards, "has_person", lambda: True)
    monkeypatch.setattr(IPython.display, "display", screen.show)
    return screen


def stored(key="11.rank"):
    return settings.home() / "ratings" / f"{key}.json"


# ---- ranking


def test_a_whole_ranking_by_clicks(screen):
    mine = rank_answers("11.rank", QUESTIONS, ANSWERS, title="Be the judge")
    assert mine.ranks == [None, None] and mine.done == 0 and mine.pairs() == []
    assert (
        "Be the judge" in screen.text and "Question 1 of 2" in screen.text and "0 of 2 questions ranked" in screen.text
    )
    assert screen.button("again").disabled and screen.button("back").disabled

    screen.click("I do not know.", "a\nsmith")
    assert screen.ranks() == {"I do not know.": "1", "a\nsmith": "2", "a baker": "·", "<b>x</b>": "·"}
    assert screen.button("a\nsmith").disabled and mine.ranks[0] is None and not stored().exists()
    screen.click("<b>x</b>")  # the last one follows by itself
    assert mine.ranks == [[1, 3, 2, 0], None] and screen.ranks()["a baker"] == "4"
    assert "1 of 2 questions ranked" in screen.text and stored().exists()

    screen.click("next")
    assert "Question 2 of 2" in screen.text and screen.button("next").disabled
    assert sorted(screen.ranks()) == ["five", "four"], "no row is left of the question with more answers"
    screen.click("five")
    assert mine.ranks == [[1, 3, 2, 0], [1, 0]] and mine.done == 2
    assert mine.pairs() == [(0, 1, 3), (0, 1, 2), (0, 1, 0), (0, 3, 2), (0, 3, 0), (0, 2, 0), (1, 1, 0)]


def test_again_clears_one_question_here_and_on_disk(screen):
    mine = rank_answers("11.rank", QUESTIONS, ANSWERS)
    screen.click("a baker", "again")
    assert set(screen.ranks().values()) == {"·"}
    screen.click("next", "four", "back", "a baker", "<b>x</b>", "a\nsmith", "next", "again")
    assert mine.ranks == [[0, 2, 3, 1], None]
    assert rank_answers("11.rank", QUESTIONS, ANSWERS).ranks == [[0, 2, 3, 1], None]


def test_a_half_done_question_waits_while_another_is_looked_at(screen):
    rank_answers("11.rank", QUESTIONS, ANSWERS)
    screen.click("a baker", "next", "back")
    assert screen.ranks()["a baker"] == "1" and list(screen.ranks().values()).count("·") == 3


def test_a_late_second_click_on_an_answer_counts_once(screen):
    mine = rank_answers("11.rank", QUESTIONS, ANSWERS)
    button = screen.button("a baker")
    button.click(), button.click()
    screen.click("<b>x</b>", "a\nsmith")
    assert mine.ranks[0] == [0, 2, 3, 1]


def test_the_order_on_the_screen_depends_on_the_key_alone_and_tells_nothing(screen):
    answers = [[f"answer {i}" for i in range(3)]] * 60
    rank_answers("a", ["?"] * 60, answers)
    first, orders = [*screen.ranks()], []
    for _ in range(60):
        orders.append(tuple(screen.ranks()))
        screen.button("next").click()
    assert len(set(orders)) == 6, "all orders occur"
    assert all(5 <= sum(order[0] == answer for order in orders) <= 35 for answer in answers[0])
    rank_answers("a", ["?"] * 60, answers)
    assert [*screen.ranks()] == first
    starts = []
    for key in "abcdefgh":
        rank_answers(key, ["?"] * 60, answers)
        starts.append(tuple(screen.ranks()))
    assert len(set(starts)) > 1


def test_pairs_are_k_times_k_minus_1_over_2_with_the_better_one_first():
    pairs = Ranking([None, [2, 0, 3, 1]]).pairs()
    assert pairs == [(1, 2, 0), (1, 2, 3), (1, 2, 1), (1, 0, 3), (1, 0, 1), (1, 3, 1)]
    assert len(Ranking([list(range(9))]).pairs()) == 36


# ---- rating


def test_a_whole_rating_by_clicks(screen):
    mine = rate_answers("11.rate", QUESTIONS, SINGLE)
    assert mine.scores == [None, None] and "a baker" in screen.text
    screen.click("good")
    assert "Question 2 of 2" in screen.text and "1 of 2 answers rated" in screen.text and mine.scores == [4, None]
    screen.click("bad")
    assert mine.scores == [4, 1] and mine.done == 2
    assert screen.button("bad").description == "● bad" and screen.button("good").description == "good"
    screen.click("back", "very good")
    assert rate_answers("11.rate", QUESTIONS, SINGLE).scores == mine.scores == [5, 1]
    screen.click("again")
    assert rate_answers("11.rate", QUESTIONS, SINGLE).scores == [None, 1]


def test_another_scale_is_another_rating(screen):
    rate_answers("11.rate", QUESTIONS, SINGLE)
    screen.click("good")
    assert rate_answers("11.rate", QUESTIONS, SINGLE, scale=("no", "yes")).scores == [None, None]
    screen.click("yes", "no")
    assert rate_answers("11.rate", QUESTIONS, SINGLE, scale=("no", "yes")).scores == [2, 1]
    assert rate_answers("11.rate", QUESTIONS, SINGLE).scores == [4, None]


# ---- what is kept


def test_an_opened_cell_shows_what_was_ranked_and_goes_on_where_it_stopped(screen):
    rank_answers("11.rank", QUESTIONS, ANSWERS)
    screen.click("I do not know.", "a\nsmith", "<b>x</b>")
    again = rank_answers("11.rank", QUESTIONS, ANSWERS)
    assert again.ranks == [[1, 3, 2, 0], None] and "Question 2 of 2" in screen.text
    screen.click("back")
    assert screen.ranks() == {"I do not know.": "1", "a\nsmith": "2", "<b>x</b>": "3", "a baker": "4"}


def test_rankings_of_other_texts_do_not_mix_and_come_back(screen):
    rank_answers("11.rank", QUESTIONS, ANSWERS)
    screen.click("a baker", "<b>x</b>", "a\nsmith")
    swapped = [ANSWERS[0][::-1], ANSWERS[1]]
    assert rank_answers("11.rank", QUESTIONS, swapped).ranks == [None, None]
    screen.click("a\nsmith", "<b>x</b>", "I do not know.")
    assert rank_answers("11.rank", ["another question", QUESTIONS[1]], ANSWERS).ranks == [None, None]
    assert rank_answers("11.rank", QUESTIONS, swapped).ranks == [[0, 1, 2, 3], None]
    assert rank_answers("11.rank", QUESTIONS, ANSWERS).ranks == [[0, 2, 3, 1], None]


def test_two_open_cells_do_not_undo_each_other(screen):
    rank_answers("11.rank", QUESTIONS, ANSWERS)
    four = screen.box
    rank_answers("11.rank", QUESTIONS, ANSWERS)
    screen.click("next", "four")
    screen.box = four
    screen.click("a baker", "<b>x</b>", "a\nsmith")
    assert rank_answers("11.rank", QUESTIONS, ANSWERS).ranks == [[0, 2, 3, 1], [0, 1]]
    screen.click("again", "I do not know.", "<b>x</b>", "a\nsmith")  # the newest cell ranks anew
    screen.box = four
    screen.click("next", "five")  # and the oldest one brings back nothing of its own
    assert rank_answers("11.rank", QUESTIONS, ANSWERS).ranks == [[1, 2, 3, 0], [1, 0]]


@pytest.mark.parametrize(
    "content",
    [b'{"3f', b"", b"\xff\xfe", b"[1, 2]", b'{"a": 1}', b"[" * 100_000],
    ids=["torn", "empty", "binary", "a list", "no values", "deep"],
)
def test_a_file_that_is_not_ours_is_set_aside_and_told(screen, content):
    for n in ("", "-1"):
        stored().parent.mkdir(exist_ok=True)
        stored().write_bytes(content)
        mine = rank_answers("11.rank", QUESTIONS, ANSWERS)
        aside = stored().with_name(f"11.rank.json{n}.bad")
        assert mine.ranks == [None, None] and aside.read_bytes() == content, "an older .bad is not overwritten"
        assert aside.name in screen.text and aside.name in screen.bundle["text/plain"]
        screen.click("a baker", "<b>x</b>", "a\nsmith")
        assert rank_answers("11.rank", QUESTIONS, ANSWERS).ranks == [[0, 2, 3, 1], None]


@pytest.mark.parametrize("wrong", [[0, 2, 3], [0, 1, 2, 2], [0, 1, 2, 4], [0, True, 2, 3], "0123", 5])
def test_values_that_cannot_be_a_ranking_are_set_aside(screen, wrong):
    rank_answers("11.rank", QUESTIONS, ANSWERS)
    screen.click("a baker", "<b>x</b>", "a\nsmith")
    (digest,) = json.loads(stored().read_bytes())
    stored().write_text(json.dumps({digest: [wrong, None]}))
    assert rank_answers("11.rank", QUESTIONS, ANSWERS).ranks == [None, None]
    assert json.loads(stored().with_name("11.rank.json.bad").read_bytes()) == {digest: [wrong, None]}


@pytest.mark.parametrize("wrong", [0, 6, 2.0, True, "good"])
def test_values_that_cannot_be_a_score_are_set_aside(screen, wrong):
    rate_answers("11.rate", QUESTIONS, SINGLE)
    screen.click("good")
    (digest,) = json.loads(stored("11.rate").read_bytes())
    stored("11.rate").write_text(json.dumps({digest: [wrong, None]}))
    assert rate_answers("11.rate", QUESTIONS, SINGLE).scores == [None, None]
    assert stored("11.rate").with_name("11.rate.json.bad").exists()


def test_a_disk_that_refuses_is_told_and_the_clicks_count_and_are_saved_later(screen):
    (settings.home() / "ratings").write_text("a file where the folder should be")
    mine = rate_answers("11.rate", QUESTIONS, SINGLE)
    screen.click("good")
    assert mine.scores == [4, None] and "could not be saved" in screen.text
    (settings.home() / "ratings").unlink()
    screen.click("poor")
    assert "could not be saved" not in screen.text
    assert rate_answers("11.rate", QUESTIONS, SINGLE).scores == [4, 2]
    assert [path.name for path in stored().parent.iterdir()] == ["11.rate.json"], "no temporary file is left"


# ---- pages without a person


def test_headless_there_is_a_card_with_the_questions_the_answers_and_how_to_use_it(capsys):
    mine = rank_answers("11.rank", QUESTIONS, ANSWERS)
    shown = capsys.readouterr().out
    assert mine.ranks == [None, None]
    assert "Run this cell in a live notebook" in shown and "best one first" in shown and "Who is Ada?" in shown
    assert all(line in shown for line in ("- a baker", "- I do not know.", "- <b>x</b>", "- a\n", "- four", "- five"))
    assert rate_answers("11.rate", QUESTIONS, SINGLE, title="Be strict").scores == [None, None]
    shown = capsys.readouterr().out
    assert "Be strict" in shown and "from bad to very good" in shown and "- a baker" in shown


def test_headless_what_was_kept_comes_back(screen, monkeypatch, capsys):
    rank_answers("11.rank", QUESTIONS, ANSWERS)
    screen.click("next", "five")
    rate_answers("11.rate", QUESTIONS, SINGLE)
    screen.click("good")
    monkeypatch.setattr(cards, "has_person", lambda: False)
    assert rank_answers("11.rank", QUESTIONS, ANSWERS).ranks == [None, [1, 0]]
    assert rate_answers("11.rate", QUESTIONS, SINGLE).scores == [4, None]
    shown = capsys.readouterr().out
    assert "1 five" in shown and "2 four" in shown and "- (good) a baker" in shown


@pytest.mark.parametrize(
    "show", [lambda: rank_answers("k", QUESTIONS, ANSWERS), lambda: rate_answers("k", QUESTIONS, SINGLE)]
)
def test_texts_are_escaped_in_html_and_whole_elsewhere(screen, show):
    show()
    html, plain = screen.bundle["text/html"], screen.bundle["text/plain"]
    assert "&lt;b&gt;x&lt;/b&gt;" in html and "&lt;i&gt;2 &amp; 2&lt;/i&gt;" in html
    assert "<b>" not in html and "<i>" not in html and "<b>x</b>" in plain
    screen.click("next")
    assert "&lt;i&gt;2 &amp; 2&lt;/i&gt;" in screen.text and "<b>" not in screen.text and "<i>" not in screen.text


# ---- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rank_answers("k", QUESTIONS, ANSWERS[:1]), "2 questions and 1 answers"),
        (lambda: rate_answers("k", QUESTIONS, ["one"]), "2 questions and 1 answers"),
        (lambda: rank_answers("k", [], []), "at least one"),
        (lambda: rank_answers("k", QUESTIONS, [["a", "b"], ["only one"]]), r"answers\[1\] is \['only one'\]"),
        (lambda: rank_answers("k", QUESTIONS, [["a", "b"], "ab"]), r"answers\[1\] is 'ab'"),
        (lambda: rank_answers("k", QUESTIONS, [["a", "b", "a"], ["c", "d"]]), r"answers\[0\] has 'a' twice"),
        (lambda: rank_answers("k", "why", [["a", "b"]] * 3), "lists are expected"),
        (lambda: rank_answers("k", [{"text": "why"}], [["a", "b"]]), r"questions\[0\] holds None"),
        (lambda: rate_answers("k", ["why"], [3]), r"answers\[0\] holds 3"),
        (lambda: rate_answers("k", ["why"], ["so"], scale=["good"]), "the scale is"),
        (lambda: rate_answers("k", ["why"], ["so"], scale=["good", "good"]), "the scale has 'good' twice"),
        *[(lambda key=key: rate_answers(key, ["why"], ["so"]), "the key is") for key in ("", "a/b", "a b", "é", "a\n")],
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    assert not list(settings.home().iterdir()), "nothing is written for them"
