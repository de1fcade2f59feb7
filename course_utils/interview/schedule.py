"""Cards that come back before they are forgotten: FSRS over a log of reviews, in one SQLite file.

The log is what counts. Each review is a row (card, rating, time), and what FSRS knows of a card follows from its rows:
:meth:`Deck.replay` goes through them again and gets the same dates, on any machine. The settings of FSRS lie in the
file, so that a later version of the library with other defaults moves no date. The state that is kept beside the log
only saves going through it at each start; a row and the state that follows from it are written in one transaction. In
write-ahead mode a killed process loses nothing that it had committed, and two windows can work at once.

FSRS: J. Ye, J. Su and Y. Cao, "A Stochastic Shortest Path Algorithm for Optimizing Spaced Repetition Scheduling", KDD
2022; the formulas of its sixth version as in the package fsrs, https://github.com/open-spaced-repetition/py-fsrs.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils import settings

if TYPE_CHECKING:
    from fsrs import Card, Scheduler

FILE = "cards.sqlite"
RATINGS = {1: "again", 2: "hard", 3: "good", 4: "easy"}
NEW_A_DAY = 10
APPLICATION = 0x4C414E54  # SQLite's own mark of whose file it is
FORMAT = 1
WAIT = 10.0  # seconds for another window to finish writing
SLACK = timedelta(minutes=2)  # clocks are set right by so much without anybody noticing

TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE reviews (
    number INTEGER PRIMARY KEY AUTOINCREMENT, card TEXT NOT NULL,
    rating INTEGER NOT NULL CHECK (rating IN (1, 2, 3, 4)),
    time TEXT NOT NULL, clock TEXT NOT NULL
);
CREATE TABLE cards (card TEXT PRIMARY KEY, reviews INTEGER NOT NULL, due TEXT NOT NULL, state TEXT NOT NULL);
"""


class ScheduleError(ValueError):
    """The file of cards cannot be used, or a review is not one. The file is as it was."""


class AnsweredElsewhere(ScheduleError):
    """The card was reviewed in another window after it was shown here; nothing was added."""


@dataclass(frozen=True)
class Standing:
    """Where a card stands. stability: days until recall is expected to fall to 0.9; None before the first review."""

    card: str
    reviews: int
    due: datetime
    stability: float | None
    difficulty: float | None


@dataclass(frozen=True)
class Review:
    """One row of the log. time: what counts; clock: what the machine's clock said, another time if it ran wrong."""

    number: int
    card: str
    rating: int
    time: datetime
    clock: datetime


class Deck:
    """The cards of one learner: ``with Deck() as deck: deck.review("12.ppo_objective", 3)``.

    path: ``COURSE_HOME/cards.sqlite`` unless given; it is made if it is missing.
    Raises ScheduleError, saying what is wrong and leaving the file as it is, for one that is damaged, of another
    program, or written by a later version of the course.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else settings.home() / FILE
        try:
            # a notebook may answer a button in another thread than that of the cell; SQLite itself takes turns
            self._base = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise ScheduleError(f"{self.path} cannot be opened ({error}). Is the folder yours to write in?") from error
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._base.close()
            raise self._unusable(error) from error
        except BaseException:
            self._base.close()
            raise

    def __enter__(self) -> Deck:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. What was reviewed is safe before that."""
        self._base.close()

    # ---- what is asked

    def session(self, ids: Sequence[str], now: datetime | None = None, new: int = NEW_A_DAY) -> list[str]:
        """Which of the cards ``ids`` to show now: those that are due, the longest overdue first, then new ones in the
        order given, at most ``new`` a day (counted over the last 24 hours)."""
        now = self.present(now)
        known = dict(self._base.execute("SELECT card, due FROM cards"))
        asked = set(ids)
        due = sorted((when, name) for name, when in known.items() if name in asked and when <= _text(now))
        first = self._base.execute("SELECT min(time) FROM reviews GROUP BY card")
        today = sum(when > _text(now - timedelta(days=1)) for (when,) in first)
        fresh = [name for name in ids if name not in known]
        return [name for _, name in due] + fresh[: max(0, new - today)]

    def standing(self, card: str, now: datetime | None = None) -> Standing:
        """Where a card stands; one that was never reviewed is due now."""
        row = self._base.execute("SELECT reviews, state FROM cards WHERE card = ?", (card,)).fetchone()
        if row is None:
            return Standing(card, 0, self.present(now), None, None)
        state = json.loads(row[1])
        due = datetime.fromisoformat(state["due"])
        return Standing(card, row[0], due, state["stability"], state["difficulty"])

    def standings(self) -> dict[str, Standing]:
        """The standing of every card that was ever reviewed."""
        return {name: self.standing(name) for (name,) in self._base.execute("SELECT card FROM cards ORDER BY card")}

    def forecast(self, days: int = 7, now: datetime | None = None) -> list[int]:
        """How many known cards fall due within each of the next ``days`` days; the first counts those overdue too."""
        now = self.present(now)
        counts = [0] * days
        for (when,) in self._base.execute("SELECT due FROM cards"):
            day = max(0, (datetime.fromisoformat(when) - now) // timedelta(days=1))
            if day < days:
                counts[day] += 1
        return counts

    def reviews(self) -> list[Review]:
        """The log, in the order in which it was written."""
        rows = self._base.execute("SELECT number, card, rating, time, clock FROM reviews ORDER BY number")
        return [Review(n, card, r, *map(datetime.fromisoformat, (time, clock))) for n, card, r, time, clock in rows]

    # ---- what is answered

    def review(self, card: str, rating: int, now: datetime | None = None, *, seen: int | None = None) -> datetime:
        """Add a review and return when the card is due again.

        rating: 1 again, 2 hard, 3 good, 4 easy. now: a time with a time zone, the clock's if left out. seen: how many
        reviews the card had when it was shown; if it has more by now, another window was quicker and AnsweredElsewhere
        is raised. Where the clock stands before the latest review (:meth:`clock_fault`), the review counts as made at
        that review's time, so that no interval is negative.
        """
        if rating not in RATINGS or isinstance(rating, bool):
            known = ", ".join(f"{number} {word}" for number, word in RATINGS.items())
            raise ScheduleError(f"rating is {rating!r}; expected one of {known}.")
        clock = _utc(now)
        with _Writing(self) as base:
            row = base.execute("SELECT reviews, state FROM cards WHERE card = ?", (card,)).fetchone()
            count = row[0] if row else 0
            if seen is not None and seen != count:
                raise AnsweredElsewhere(
                    f"{card} was answered in another window meanwhile; this answer was not counted."
                )
            time = max(clock, self._latest() or clock)
            after = self._after(_card(card, time) if row is None else _card_from(row[1]), rating, time)
            base.execute(
                "INSERT INTO reviews (card, rating, time, clock) VALUES (?, ?, ?, ?)",
                (card, rating, _text(time), _text(clock)),
            )
            self._keep(card, count + 1, after)
        return after.due

    def present(self, now: datetime | None = None) -> datetime:
        """The time that counts: ``now``, or that of the latest review where the clock stands before it."""
        now = _utc(now)
        return max(now, self._latest() or now)

    def clock_fault(self, now: datetime | None = None) -> str:
        """A sentence if the clock stands before the latest review by more than two minutes, else ""."""
        now, latest = _utc(now), self._latest()
        if latest is None or latest <= now + SLACK:
            return ""
        return (
            f"The clock says {now:%Y-%m-%d %H:%M} UTC, and your latest review is of {latest:%Y-%m-%d %H:%M}: it was "
            "set back, or was ahead then. Until it has caught up, reviews count as made at that time. If it was ahead, "
            "`course cards --redate` moves those reviews to now; none is lost."
        )

    def redate(self, now: datetime | None = None) -> int:
        """Move reviews that lie in the future to ``now``, and work out all dates anew. Returns how many were moved.

        For a clock that was ahead when they were made; what it said then stays in the column ``clock``.
        """
        now = _utc(now)
        with _Writing(self) as base:
            moved = base.execute("UPDATE reviews SET time = ? WHERE time > ?", (_text(now), _text(now))).rowcount
            self._rebuild()
        return int(moved)

    def replay(self) -> dict[str, dict[str, Any]]:
        """FSRS's state of every card as it follows from the log alone: its ``Card.to_dict`` by the card's name."""
        found: dict[str, Card] = {}
        for review in self.reviews():
            before = found.get(review.card) or _card(review.card, review.time)
            found[review.card] = self._after(before, review.rating, review.time)
        return {name: dict(card.to_dict()) for name, card in found.items()}

    def predictions(self) -> list[tuple[float, bool]]:
        """(predicted recall, whether it was known) for each review that came a day or more after the one before.

        Whether FSRS fits *you* is whether these agree: of those with 0.9, nine in ten known. "Again" is not known.
        """
        cards: dict[str, Card] = {}
        found = []
        for review in self.reviews():
            before = cards.get(review.card) or _card(review.card, review.time)
            if before.last_review is not None and review.time - before.last_review >= timedelta(days=1):
                found.append((self.scheduler.get_card_retrievability(before, review.time), review.rating > 1))
            cards[review.card] = self._after(before, review.rating, review.time)
        return found

    def kept(self) -> dict[str, dict[str, Any]]:
        """The same as it lies in the file."""
        return {name: json.loads(state) for name, state in self._base.execute("SELECT card, state FROM cards")}

    # ---- inside

    @property
    def scheduler(self) -> Scheduler:
        """FSRS with the settings of this file, without its random shift of dates."""
        if not hasattr(self, "_scheduler"):
            (text,) = self._base.execute("SELECT value FROM settings WHERE name = 'scheduler'").fetchone()
            self._scheduler = _fsrs().Scheduler.from_json(text)
        return self._scheduler

    def _after(self, card: Card, rating: int, time: datetime) -> Card:
        after: Card = self.scheduler.review_card(card, _fsrs().Rating(rating), time)[0]
        return after

    def _open(self) -> None:
        (mark,), (form,) = (
            self._base.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        (tables,) = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if form > FORMAT and mark == APPLICATION:
            raise ScheduleError(
                f"{self.path} was written by a later version of the course (format {form}; this one reads {FORMAT}). "
                "It was left as it is. Update the course, or set COURSE_HOME to another folder."
            )
        if mark != APPLICATION and tables:
            raise ScheduleError(
                f"{self.path} is a database of another program. It was left as it is; move it elsewhere."
            )
        faults = self._base.execute("PRAGMA quick_check(1)").fetchone()[0]
        if faults != "ok":
            raise sqlite3.DatabaseError(faults)
        self._base.execute("PRAGMA journal_mode=WAL")
        if not tables:
            self._make()
        (rows,) = self._base.execute("SELECT count(*) FROM reviews").fetchone()
        (counted,) = self._base.execute("SELECT coalesce(sum(reviews), 0) FROM cards").fetchone()
        if rows != counted:  # somebody wrote to the log by other means
            with _Writing(self):
                self._rebuild()

    def _make(self) -> None:
        chosen = _fsrs().Scheduler(enable_fuzzing=False).to_json()
        with _Writing(self) as base:
            if base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return  # another window was quicker
            for statement in TABLES.split(";")[:-1]:
                base.execute(statement)
            base.execute("INSERT INTO settings VALUES ('scheduler', ?)", (chosen,))
            base.execute(f"PRAGMA application_id = {APPLICATION}")
            base.execute(f"PRAGMA user_version = {FORMAT}")

    def _rebuild(self) -> None:
        self._base.execute("DELETE FROM cards")
        counts: dict[str, int] = {}
        for review in self.reviews():
            counts[review.card] = counts.get(review.card, 0) + 1
        for name, state in self.replay().items():
            self._keep(name, counts[name], _card_from(json.dumps(state)))

    def _keep(self, name: str, count: int, card: Card) -> None:
        row = (name, count, _text(card.due), card.to_json())
        self._base.execute("INSERT OR REPLACE INTO cards (card, reviews, due, state) VALUES (?, ?, ?, ?)", row)

    def _latest(self) -> datetime | None:
        (text,) = self._base.execute("SELECT max(time) FROM reviews").fetchone()
        return datetime.fromisoformat(text) if text else None

    def _unusable(self, error: sqlite3.DatabaseError) -> ScheduleError:
        if "locked" in str(error) or "busy" in str(error):
            return ScheduleError(
                f"{self.path} is held by another program for more than {WAIT:.0f} s ({error}). Close it and try again."
            )
        reason = str(error).splitlines()[-1]
        return ScheduleError(
            f"{self.path} is damaged ({reason}). It was left as it is. Put a copy of it back if you have one; or "
            f"rename it, for instance to {self.path.stem}_damaged{self.path.suffix}; the next start makes an empty one."
        )


class _Writing:
    """``with _Writing(deck) as base``: one transaction, alone in the file: all of it is written, or nothing."""

    def __init__(self, deck: Deck) -> None:
        self.deck = deck

    def __enter__(self) -> sqlite3.Connection:
        try:
            self.deck._base.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            raise self.deck._unusable(error) from error
        return self.deck._base

    def __exit__(self, kind: object, *_: object) -> None:
        self.deck._base.execute("ROLLBACK" if kind else "COMMIT")


def retrievability(days: float, stability: float, decay: float = 0.1542) -> float:
    """The probability that FSRS gives to recall ``days`` after a review.

        R(t, S) = (1 + f t / S)^-d,  f = 0.9^(-1 / d) - 1,  so that R(S, S) = 0.9

    stability: S, days. decay: d, 0.1542 in the defaults of FSRS 6. Raises ValueError unless days >= 0 and the others
    are above 0. (The package fsrs counts whole days that have passed.)
    """
    if not (days >= 0 and stability > 0 and decay > 0):
        raise ValueError(f"days {days}, stability {stability}, decay {decay}: expected days >= 0 and the others > 0.")
    factor = 0.9 ** (-1 / decay) - 1
    return float((1 + factor * days / stability) ** -decay)


def order_new(ids: Iterable[str], weakness: dict[str, float]) -> list[str]:
    """New cards, those of the weakest chapters first; within a chapter as they come."""
    return sorted(ids, key=lambda name: -weakness.get(name[:2], 0.0))


def _card(name: str, time: datetime) -> Card:
    card: Card = _fsrs().Card(card_id=zlib.crc32(name.encode()), due=time)  # a number of its own waits a millisecond
    return card


def _card_from(text: str) -> Card:
    card: Card = _fsrs().Card.from_json(text)
    return card


def _fsrs() -> Any:
    """The package, imported when it is first needed. Raises ScheduleError where it is missing."""
    try:
        import fsrs
    except ModuleNotFoundError as error:
        raise ScheduleError("cards need the package fsrs: pip install 'llm-course[chapters]'") from error
    return fsrs


def _utc(now: datetime | None) -> datetime:
    if now is None:
        return datetime.now(UTC)
    if now.tzinfo is None:
        raise ScheduleError(f"the time {now.isoformat()} has no time zone; give one, such as datetime.now(UTC).")
    return now.astimezone(UTC)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")  # all of one length: as texts they sort as times
