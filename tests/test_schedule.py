"""The memory of the interview room: dates from the log, crashes, two windows, damaged files, clocks set back; Anki."""

from __future__ import annotations

import heapq
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from course_utils.interview import anki, schedule
from course_utils.interview.bank import Followup, Question, WrongAnswer
from course_utils.interview.schedule import AnsweredElsewhere, Deck, ScheduleError

ROOT = Path(__file__).resolve().parent.parent
BEGIN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cards.sqlite"


def history(deck: Deck, rounds: int = 30, seed: int = 0) -> None:
    draw, now = random.Random(seed), BEGIN
    for _ in range(rounds):
        now += timedelta(days=draw.choice([0, 0.01, 1, 3, 9]), seconds=draw.random())
        deck.review(f"06.c{draw.randrange(5)}", draw.choice([1, 2, 3, 3, 3, 4]), now)


def test_a_new_card_is_due_now_and_then_as_fsrs_says(path):
    with Deck(path) as deck:
        assert deck.session(["06.a", "06.b"], BEGIN) == ["06.a", "06.b"]
        assert deck.standing("06.a", BEGIN).due == BEGIN and deck.standing("06.a").stability is None
        assert deck.review("06.a", 3, BEGIN) == BEGIN + timedelta(minutes=10)
        assert deck.session(["06.a", "06.b"], BEGIN) == ["06.b"]
        assert deck.review("06.a", 3, BEGIN + timedelta(minutes=10)) == BEGIN + timedelta(minutes=10) + 2 * DAY
        assert deck.session(["06.a", "06.b"], BEGIN + 3 * DAY) == ["06.a", "06.b"]
        assert deck.forecast(4, BEGIN + DAY) == [0, 1, 0, 0]


def test_the_longest_overdue_comes_first_and_new_ones_are_rationed(path):
    with Deck(path) as deck:
        deck.review("06.b", 3, BEGIN)
        deck.review("06.a", 3, BEGIN + timedelta(minutes=1))
        ids = ["06.a", "06.b", *(f"06.n{i}" for i in range(9))]
        assert deck.session(ids, BEGIN + DAY / 2, new=5) == ["06.b", "06.a", "06.n0", "06.n1", "06.n2"]
        assert len(deck.session(ids, BEGIN + 2 * DAY, new=5)) == 7, "the next day has its own new cards"
        assert deck.session(["06.b"], BEGIN + DAY) == ["06.b"], "only what is asked for"


def test_the_same_dates_on_replay_and_in_another_file(path, tmp_path):
    with Deck(path) as deck:
        history(deck)
        assert deck.replay() == deck.kept() and len(deck.kept()) == 5
        log, kept = deck.reviews(), deck.kept()
    with Deck(tmp_path / "other.sqlite") as other:
        for review in log:
            other.review(review.card, review.rating, review.time)
        assert other.kept() == kept
    with Deck(path) as deck:
        assert deck.kept() == kept


def test_dates_do_not_move_with_the_librarys_defaults(path, monkeypatch):
    import fsrs.scheduler

    with Deck(path) as deck:
        history(deck)
        kept = deck.kept()
    changed = tuple(p * 0.9 if i < 4 else p for i, p in enumerate(fsrs.scheduler.DEFAULT_PARAMETERS))
    monkeypatch.setattr(fsrs.Scheduler.__init__, "__defaults__", (changed, *fsrs.Scheduler.__init__.__defaults__[1:]))
    with Deck(path) as deck:
        assert deck.replay() == kept


def test_a_log_written_by_other_means_is_gone_through_again(path):
    with Deck(path) as deck:
        history(deck)
        deck._base.execute("DELETE FROM cards WHERE card = '06.c1'")
        replayed = deck.replay()
    with Deck(path) as deck:
        assert deck.kept() == replayed


WRITER = """
import sys
from course_utils.interview.schedule import Deck
with Deck(sys.argv[1]) as deck:
    print("ready", flush=True)
    for number in range(10**6):
        deck.review(f"06.c{number % 7}", 3)
        print(number + 1, flush=True)
"""


@pytest.mark.slow
def test_a_kill_loses_nothing_that_was_said_to_be_safe(path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout.readline() == "ready\n"
    for _ in range(40):
        child.stdout.readline()
    child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    rest = child.stdout.read().split()
    child.wait()
    said = int(rest[-1]) if rest else 40
    with Deck(path) as deck:
        assert len(deck.reviews()) in (said, said + 1)
        assert deck.replay() == deck.kept()


def work(path: str, name: str, count: int) -> None:
    with Deck(path) as deck:
        for number in range(count):
            deck.review(f"{name}.c{number % 3}", 3)


@pytest.mark.slow
def test_two_windows_write_at_once(path):
    """Both make the file at the same moment, too."""
    context = multiprocessing.get_context("spawn")
    windows = [context.Process(target=work, args=(str(path), name, 25)) for name in ("06", "07", "06")]
    for window in windows:
        window.start()
    for window in windows:
        window.join(120)
    assert [window.exitcode for window in windows] == [0, 0, 0]
    with Deck(path) as deck:
        assert len(deck.reviews()) == 75 and deck.replay() == deck.kept()
        assert sum(standing.reviews for standing in deck.standings().values()) == 75


def test_a_card_that_another_window_answered_is_not_counted_twice(path):
    with Deck(path) as one, Deck(path) as two:
        shown = one.standing("06.a").reviews
        two.review("06.a", 1, BEGIN)
        with pytest.raises(AnsweredElsewhere, match=r"06\.a was answered in another window"):
            one.review("06.a", 3, BEGIN, seen=shown)
        assert one.standing("06.a").reviews == 1 and one.session(["06.a"], BEGIN) == []
        one.review("06.a", 3, BEGIN + DAY, seen=1)


def test_a_file_that_is_held_says_so(path, monkeypatch):
    monkeypatch.setattr(schedule, "WAIT", 0.1)
    with Deck(path):
        pass
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with Deck(path) as deck, pytest.raises(ScheduleError, match="held by another program"):
        deck.review("06.a", 3, BEGIN)
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.parametrize("damage", ["text", "torn", "page"])
def test_a_damaged_file_is_named_and_left_as_it_is(path, damage):
    with Deck(path) as deck:
        history(deck, 300)
        deck._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = bytearray(b"Remember to buy lamp oil. " * 100)
    elif damage == "torn":
        data = data[: len(data) // 2]
    else:
        data[4096:12288] = bytes(8192)
    path.write_bytes(data)
    with pytest.raises(ScheduleError, match=r"cards\.sqlite is damaged .*left as it is"):
        Deck(path)
    assert path.read_bytes() == bytes(data)


def test_a_later_format_and_a_foreign_database_are_refused(path, tmp_path):
    with Deck(path) as deck:
        deck.review("06.a", 3, BEGIN)
        deck._base.execute(f"PRAGMA user_version = {schedule.FORMAT + 1}")
    before = path.read_bytes()
    with pytest.raises(ScheduleError, match=r"later version of the course \(format 2; this one reads 1\)"):
        Deck(path)
    assert path.read_bytes() == before
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(ScheduleError, match="database of another program"):
        Deck(tmp_path / "other.sqlite")
    with pytest.raises(ScheduleError, match="cannot be opened"):
        Deck(tmp_path / "no" / "such" / "folder.sqlite")


def test_a_clock_that_was_set_back_is_noticed_and_no_interval_is_negative(path):
    with Deck(path) as deck:
        deck.review("06.a", 3, BEGIN + 40 * DAY)
        assert deck.clock_fault(BEGIN + 40 * DAY - timedelta(minutes=1)) == ""
        fault = deck.clock_fault(BEGIN)
        assert "2026-01-05 09:00 UTC" in fault and "2026-02-14 09:00" in fault and "course cards --redate" in fault
        deck.review("06.b", 3, BEGIN)
        first, second = deck.reviews()
        assert second.time == first.time and second.clock == BEGIN
        assert deck.present(BEGIN) == first.time and deck.session(["06.a"], BEGIN) == []


def test_reviews_made_ahead_of_time_can_be_dated_anew(path):
    with Deck(path) as deck:
        deck.review("06.a", 3, BEGIN)
        deck.review("06.a", 3, BEGIN + 400 * DAY)
        assert deck.redate(BEGIN + DAY) == 1
        assert [review.time for review in deck.reviews()] == [BEGIN, BEGIN + DAY]
        assert deck.reviews()[1].clock == BEGIN + 400 * DAY and deck.clock_fault(BEGIN + DAY) == ""
        assert deck.replay() == deck.kept() and deck.standing("06.a").due < BEGIN + 10 * DAY


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_clock_does_time_goes_forward_and_the_replay_is_the_same(path, seed):
    draw = random.Random(seed)
    with Deck(path) as deck:
        for number in range(60):
            deck.review(f"06.c{draw.randrange(6)}", draw.randint(1, 4), BEGIN + draw.uniform(-400, 400) * DAY)
            if number % 20 == 19:
                deck.redate(BEGIN + draw.uniform(-100, 100) * DAY)
                assert deck.replay() == deck.kept()
        times = [review.time for review in deck.reviews()]
        assert times == sorted(times) and deck.replay() == deck.kept()


def test_a_button_may_be_answered_in_another_thread(path):
    with Deck(path) as deck, ThreadPoolExecutor(1) as other:
        assert other.submit(deck.review, "06.a", 3, BEGIN).result() == BEGIN + timedelta(minutes=10)
        assert len(deck.reviews()) == 1


@pytest.mark.parametrize("rating", [0, 5, True, "good", None])
def test_a_rating_that_is_none_is_refused(path, rating):
    with Deck(path) as deck:
        with pytest.raises(ScheduleError, match="expected one of 1 again, 2 hard, 3 good, 4 easy"):
            deck.review("06.a", rating, BEGIN)
        with pytest.raises(ScheduleError, match="no time zone"):
            deck.review("06.a", 3, datetime(2026, 1, 5))
        assert deck.reviews() == []


def test_another_time_zone_is_the_same_time(path, tmp_path):
    from datetime import timezone

    east = timezone(timedelta(hours=9))
    with Deck(path) as deck, Deck(tmp_path / "b.sqlite") as other:
        assert deck.review("06.a", 3, BEGIN) == other.review("06.a", 3, BEGIN.astimezone(east))


@pytest.mark.parametrize("rating", [1, 2, 3, 4])
def test_retrievability_is_fsrs_own(path, rating):
    from fsrs import Card

    with Deck(path) as deck:
        deck.review("06.a", rating, BEGIN)
        deck.review("06.a", 3, BEGIN + DAY)
        card = Card.from_dict(deck.kept()["06.a"])
        for days in (0, 1, 5, 30, 365):
            theirs = deck.scheduler.get_card_retrievability(card, BEGIN + DAY + days * DAY)
            assert schedule.retrievability(days, card.stability) == pytest.approx(theirs, rel=1e-12)
    assert schedule.retrievability(7, 7, 0.5) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="expected days >= 0"):
        schedule.retrievability(-1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("worse", "apart"), [(1.0, 0.03), (0.25, None)])
def test_predictions_tell_a_learner_whom_the_curve_fits_from_one_whom_it_does_not(path, worse, apart):
    """Recall is drawn from the curve itself, or from that of a stability four times smaller."""
    draw = random.Random(0)
    with Deck(path) as deck:
        deck._base.execute("PRAGMA synchronous = OFF")  # a thousand reviews: not the place to wait for the disk
        queue, last = [(BEGIN, f"06.c{number}") for number in range(150)], {}
        for _ in range(1000):
            now, card = heapq.heappop(queue)
            stability = deck.standing(card).stability
            recall = schedule.retrievability((now - last[card]).days, worse * stability) if stability else 1.0
            last[card] = now
            due = deck.review(card, 3 if draw.random() < recall else 1, now)
            heapq.heappush(queue, (due + 0.5 * DAY, card))
        seen = deck.predictions()
    predicted, known = (sum(column) / len(seen) for column in zip(*seen, strict=True))
    assert len(seen) > 500 and all(0 < p <= 1 for p, _ in seen)
    if apart is not None:
        assert abs(predicted - known) < apart
    else:
        assert predicted - known > 0.05


@pytest.mark.timing
def test_a_long_history_opens_quickly(path):
    with Deck(path) as deck:
        deck._base.execute("BEGIN")
        rows = [(f"06.c{i % 300}", 3, *[schedule._text(BEGIN + i * timedelta(minutes=5))] * 2) for i in range(20_000)]
        deck._base.executemany("INSERT INTO reviews (card, rating, time, clock) VALUES (?, ?, ?, ?)", rows)
        deck._base.execute("COMMIT")
    Deck(path).close()
    begun = time.perf_counter()
    with Deck(path) as deck:
        deck.session([f"06.c{i}" for i in range(300)])
    assert time.perf_counter() - begun < 0.3


# ---- Anki


def question(id: str, **fields) -> Question:
    basis = {
        "level": "onsite",
        "question": "What is `KL`, and <why>?",
        "short": 'It is "tab\there"; $x^2$ costs $2 or $3.\nTwo lines.',
        "deep": "$$a = b$$ in **bold**.",
        "followups": (Followup("And?", "So."), Followup("Or?", "No.")),
        "wrong": (WrongAnswer("Never.", "It is."),),
        "topics": ("A16", "B 2"),
    }
    return Question(id, **(basis | fields))


def test_ankis_file_is_read_back():
    items = [question("12.a"), question("12.b", short="Quoted {12.x}.")]
    text = anki.lines(items, lambda text: text.replace("{12.x}", "0.5"))
    headers, rows = anki.parse(text)
    assert headers["guid column"] == "1" and headers["tags column"] == "4" and headers["html"] == "true"
    assert headers["separator"] == "tab" and headers["notetype"] == "Basic"
    assert [row[0] for row in rows] == ["course-12.a", "course-12.b"] and all(len(row) == 4 for row in rows)
    assert rows[0][1] == "What is <code>KL</code>, and &lt;why&gt;?"
    front = r'It is "tab here"; \(x^2\) costs $2 or $3.<br>Two lines.'
    assert rows[0][2] == front + r"<hr>\[a = b\] in <b>bold</b>."
    assert "Quoted 0.5." in rows[1][2] and "\n" not in rows[0][2]
    assert rows[0][3] == "chapter::12 level::onsite topic::A16 topic::B_2"


def test_an_id_stays_where_the_text_changes(tmp_path):
    first = anki.parse(anki.lines([question("12.a")]))[1]
    later = anki.parse(anki.lines([question("12.a", question="Asked in another way?")]))[1]
    assert first[0][0] == later[0][0] and first[0][1] != later[0][1]
    with pytest.raises(ValueError, match=r"the id 12\.a"):
        anki.lines([question("12.a"), question("12.a")])
    written = anki.export(tmp_path / "cards.txt", [question("12.a")])
    assert written.read_text(encoding="utf-8") == anki.lines([question("12.a")])


def test_anki_itself_imports_updates_and_never_doubles(tmp_path):
    collection = pytest.importorskip("anki.collection", reason="Anki's package is not installed")
    from anki.import_export_pb2 import ImportCsvRequest

    base = collection.Collection(str(tmp_path / "collection.anki2"))

    def read(items) -> None:
        path = anki.export(tmp_path / "cards.txt", items)
        metadata = base.get_csv_metadata(str(path), None)
        base.import_csv(ImportCsvRequest(path=str(path), metadata=metadata))

    read([question("12.a"), question("12.b")])
    assert base.note_count() == 2 and base.card_count() == 2
    (note,) = base.find_notes("tag:topic::A16 what*")[:1] or base.find_notes("")[:1]
    read([question("12.a", question="Asked in another way?"), question("12.b"), question("12.c")])
    assert base.note_count() == 3, "an update, and one new note"
    fields = sorted(base.get_note(id).fields[0] for id in base.find_notes(""))
    assert fields[0] == "Asked in another way?" and len(base.find_notes(f'deck:"{anki.DECK}"')) == 3
    assert note in base.find_notes("")
    base.close()
    json.dumps(fields)
