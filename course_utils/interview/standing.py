"""Where the candidate stands: by chapter and by topic, from quizzes and mock interviews; and what to do in a week.

A topic's score is a share, drawn towards one half while there is little evidence (one answer of each kind is added, the
mean of the posterior under a uniform prior), so that one lucky answer makes no strength.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from course_utils import chapters, settings
from course_utils.classroom.display import cards
from course_utils.classroom.records import jsonl, progress
from course_utils.interview import bank

T = TypeVar("T", bank.Question, bank.QuizItem)


@dataclass(frozen=True)
class Score:
    """right: the sum of marks from 0 to 1; asked: how many there are."""

    right: float = 0.0
    asked: int = 0

    @property
    def share(self) -> float:
        """Drawn towards one half."""
        return (self.right + 1) / (self.asked + 2)

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the plain share; all of it if nothing was asked."""
        if not self.asked:
            return 0.0, 1.0
        n, p, z = self.asked, self.right / self.asked, 1.96
        middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
        return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))

    def add(self, mark: float) -> Score:
        """With one more mark, from 0 to 1."""
        return Score(self.right + mark, self.asked + 1)


def mocks() -> list[dict]:
    """The mock interviews that were finished, oldest first."""
    events = jsonl.read(settings.home() / progress.FILE)
    return [event for event in events if event.get("kind") == "mock" and isinstance(event.get("marks"), list)]


def scores() -> dict[str, Score]:
    """Score by chapter ("06"), and of "design" and "coding", over quizzes (the latest answer) and mock interviews."""
    found: dict[str, Score] = {}
    for kind, name, mark in _marks():
        place = {"walk": "design", "drill": "coding"}.get(kind, name[:2])
        found[place] = found.get(place, Score()).add(mark)
    return found


def topic_scores() -> dict[str, Score]:
    """Score by topic (an id of ``bank.topics``): each answer counts for every topic that its question names."""
    named = {question.id: question.topics for question in bank.all_questions()}
    named |= {item.id: item.topics for item in bank.all_quiz_items()}
    found: dict[str, Score] = {}
    for _, name, mark in _marks():
        for topic in named.get(name, ()):
            found[topic] = found.get(topic, Score()).add(mark)
    return found


def _marks() -> Iterable[tuple[str, str, float]]:
    """Kind, id and mark (0 to 1) of what was answered: quizzes (the latest answer), then mock interviews."""
    for name, right in progress.quiz_answers().items():
        yield "quiz", name, float(right)
    for mock in mocks():
        for entry in mock["marks"]:
            mark = entry.get("mark")
            if isinstance(mark, int | float) and 0 <= mark <= 3:
                yield str(entry.get("kind")), str(entry.get("id")), mark / 3


def weakness() -> dict[str, float]:
    """1 - score by chapter; one half where nothing is known."""
    known = scores()
    return {entry.number: 1 - known.get(entry.number, Score()).share for entry in chapters.CHAPTERS}


def weakest_first(items: Iterable[T], known: Mapping[str, Score], answers: Mapping[str, bool]) -> list[T]:
    """Items of the weakest topics first; among equals what was never asked, then what was wrong.

    known: :func:`topic_scores`. An item is as weak as the weakest of its topics; one half where nothing is known.
    """

    def rank(item: T) -> tuple[float, int, str]:
        weakest = min((known.get(topic, Score()).share for topic in item.topics), default=0.5)
        return weakest, {None: 0, False: 1, True: 2}[answers.get(item.id)], item.id[:2]

    return sorted(items, key=rank)  # stable: the file's order within


def by_part() -> dict[str, Score]:
    """Scores of the course's parts, and of design and coding."""
    known, found = scores(), {}
    for part in chapters.PARTS:
        numbers = [entry.number for entry in chapters.CHAPTERS if entry.part == part]
        of = [known[number] for number in numbers if number in known]
        found[part.split("  ")[-1]] = Score(sum(score.right for score in of), sum(score.asked for score in of))
    return found | {name.capitalize(): known.get(name, Score()) for name in ("design", "coding")}


def text() -> str:
    """The same as lines with bars, for a terminal; parts that were never asked about stay out."""
    found = {name: score for name, score in by_part().items() if score.asked}
    return "\n".join(
        f"  {name:<18} {cards.bar(round(100 * score.share), 100)}  {score.share:.2f}  ({score.asked} asked)"
        for name, score in found.items()
    )


def plot_standing() -> None:
    """Bars of :func:`by_part` with intervals: strengths and gaps."""
    from course_utils.classroom.display.plots import plot_bars

    bars: dict[str, float | tuple[float, float, float]] = {}
    for name, score in by_part().items():
        bars[f"{name} / ({score.asked} asked)"] = (score.share, *score.interval()) if score.asked else 0.5
    title = "Strengths and gaps (one half where nothing was asked)"
    plot_bars(bars, y="share, drawn towards one half", title=title, y_range=(0, 1.1))


def week(minutes: int = 45, due: Sequence[int] = (0,) * 7, drills: Sequence[str] = ()) -> list[list[str]]:
    """A plan of seven days of about ``minutes``: cards that fall due, the weakest chapters, drills, a mock at the end.

    due: cards of each day, as ``Deck.forecast`` tells; a minute each. drills: names, in the order to try them.
    """
    weak = sorted(weakness().items(), key=lambda entry: (-entry[1], entry[0]))
    days: list[list[str]] = []
    for day in range(7):
        many = due[day] if day < len(due) else 0
        tasks = [f"{many} card{'s' * (many != 1)}: course cards"] if many else []
        left = minutes - many
        if day == 6:
            tasks.append(f"a mock interview: course mock --minutes {max(30, left)}")
        elif left >= 10:
            number, share = weak[day % len(weak)]
            title = chapters.chapter(number).title
            known = "nothing known yet" if share == 0.5 else f"score {1 - share:.2f}"
            tasks.append(f"chapter {number}, {title} ({known}): its questions aloud, then course quiz {number}")
            if drills and left >= 25:
                tasks.append(f"from memory: course drill {drills[day % len(drills)]}")
        days.append(tasks or ["rest"])
    return days
