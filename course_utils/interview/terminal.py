"""The interview room at a terminal: the quiz, the cards and a mock interview as a conversation.

``read`` and ``write`` are ``input`` and ``print`` unless given. Whoever ends the input or presses Ctrl-C ends the
conversation; what was answered before is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any, TypeAlias

from course_utils.chapters import chapter as find_chapter
from course_utils.classroom.records import claims, progress
from course_utils.interview import bank, mock, standing, walks
from course_utils.interview.bank.topics import IDS
from course_utils.interview.schedule import NEW_A_DAY, RATINGS, AnsweredElsewhere, Deck, ScheduleError, order_new
from course_utils.interview.show import with_figures

Read: TypeAlias = Callable[[str], str]
Write: TypeAlias = Callable[[str], object]
Ask: TypeAlias = Callable[[str, Sequence[str], Write], str]
LETTERS = "abcdefgh"
WIDTH = 100


class Stop(Exception):
    """The person at the terminal has had enough."""


def _asker(read: Read) -> Ask:
    """A function that asks until one of the words it knows is given; q, the end of the input and Ctrl-C raise Stop."""

    def ask(prompt: str, known: Sequence[str], write: Write) -> str:
        while True:
            try:
                said = read(prompt).strip().lower()
            except (EOFError, KeyboardInterrupt):
                raise Stop from None
            if said in ("q", "quit"):
                raise Stop
            if not known or said in known:
                return said
            write(f"Give one of {', '.join(word or 'Enter' for word in known)}; q ends.")

    return ask


def quiz(of: str | None = None, *, read: Read = input, write: Write = print, count: int = 0) -> int:
    """Ask quiz questions, the weakest topics first, and say after each answer why. Returns how many were right.

    of: one chapter's alone ("06"), or one topic's ("I7", as ``course find`` names it). count: so many at most (0: all).
    "?" means "I do not know": it counts as not right, and the reason comes all the same.
    Raises ChapterError for an unknown chapter.
    """
    answers = progress.quiz_answers()
    if of is not None and (topic := of.upper()) in IDS:
        items = [item for item in bank.all_quiz_items() if topic in item.topics]
    else:
        numbers = [find_chapter(of).number] if of is not None else bank.chapters()
        items = [item for number in numbers for item in bank.quiz_items(number)]
    items = standing.weakest_first(items, standing.topic_scores(), answers)[: max(count, 0) or None]
    if not items:
        write(f"There is no quiz question of {of} in this edition." if of else "This edition has no quiz.")
        return 0
    ask, right, done = _asker(read), 0, 0
    write(f"{len(items)} questions, the weakest topics first. A letter answers, ? is 'I do not know', q ends.")
    try:
        for item in items:
            write(f"\n[{item.id}]  {fill(item.question, WIDTH)}")
            for letter, choice in zip(LETTERS, item.choices, strict=False):
                write(fill(choice, WIDTH, initial_indent=f"  {letter}) ", subsequent_indent="     "))
            said = ask("> ", [*LETTERS[: len(item.choices)], "?"], write)
            good = said == LETTERS[item.answer]
            right, done = right + good, done + 1
            unknown = {"unknown": True} if said == "?" else {}
            progress.record("quiz", id=item.id, right=good, first=item.id not in answers, **unknown)
            opening = "Yes." if good else f"It is {LETTERS[item.answer]}) {item.choices[item.answer]}."
            write(fill(f"{opening} {item.why}", WIDTH))
    except Stop:
        pass
    write(f"\n{right} of {done} right." if done else "\nNothing was answered.")
    return right


def cards(
    chapter: str | None = None,
    *,
    new: int = NEW_A_DAY,
    read: Read = input,
    write: Write = print,
    deck: Deck | None = None,
) -> int:
    """Show the cards that are due, then new ones, the weakest chapters first. Returns how many were rated.

    Raises ScheduleError for a file of cards that cannot be used, ChapterError for an unknown chapter.
    """
    if deck is None:
        with Deck() as own:
            return cards(chapter, new=new, read=read, write=write, deck=own)
    if fault := deck.clock_fault():
        write(fill(fault, WIDTH))
    number = find_chapter(chapter).number if chapter is not None else None
    questions = {item.id: item for item in bank.all_questions() if number in (None, item.id[:2])}
    order = order_new(questions, standing.weakness())
    names = deck.session(order, new=new)
    if not names:
        write("No card is due. " + _ahead(deck))
        return 0
    ask, measured, done = _asker(read), claims.recorded(), 0
    write(f"{len(names)} card{'s' * (len(names) != 1)}. Answer aloud, press Enter, and say how it went; q ends.")
    try:
        while names:  # a card that was not known is due again within minutes
            for name in names:
                done += _one_card(deck, questions[name], measured, ask, write)
            names = deck.session(order, new=new)
    except Stop:
        pass
    write(f"\n{done} rated. {_ahead(deck)}")
    return done


def _one_card(deck: Deck, item: bank.Question, measured: Mapping[str, Any], ask: Ask, write: Write) -> int:
    """Show one card and keep the rating; 0 if another window was quicker."""
    before = deck.standing(item.id).reviews
    write(f"\n[{item.id}, {item.level}]  {fill(item.question, WIDTH)}")
    ask("Enter shows the answer ", (), write)
    write(_paragraphs(with_figures(f"{item.short}\n\n{item.deep}", measured)))
    said = ask(", ".join(f"{n} {word}" for n, word in RATINGS.items()) + " > ", [str(n) for n in RATINGS], write)
    try:
        due = deck.review(item.id, int(said), seen=before)
    except AnsweredElsewhere as error:
        write(str(error))
        return 0
    write(f"Again on {due.astimezone():%a %d %b %Y, %H:%M}.")
    return 1


def _ahead(deck: Deck) -> str:
    counts = deck.forecast()
    return f"Due in the next seven days: {', '.join(map(str, counts))}."


def interview(
    role: str, level: str, minutes: int, *, read: Read = input, write: Write = print, seed: int | None = None
) -> float:
    """Hold a mock interview. Returns the mean share of the marks. Raises MockError for an unknown role or level."""
    sitting = mock.Sitting(mock.draw(role, level, minutes, seed))
    parts = [f"{item.kind} {item.minutes} min" for item in sitting.round.items]
    write(f"{role}, {level}, {minutes} minutes: {', '.join(parts)}. q ends; what was marked is kept.")
    ask = _asker(read)
    try:
        for number, item in enumerate(sitting.round.items, 1):
            said = sitting.begin(item)
            write(f"\n--- {number} of {len(sitting.round.items)}: {item.kind}, {item.minutes} minutes ---\n")
            write(_paragraphs(said) if item.kind == "question" else said)
            if item.kind == "walk":
                _choose(sitting, walks.get(item.id), ask, write)
            elif item.kind == "drill":
                write(f"\nIn another window: course drill {item.id}, and then --check; only its check makes it right.")
            ask("\nEnter when you have answered ", (), write)
            write(f"\n{_paragraphs(mock.rubric(item))}\n\n" + "\n".join(mock.MARKS))
            result = sitting.finish(int(ask("Your mark > ", ("0", "1", "2", "3"), write)))
            late = f", over the {item.minutes} minutes" if result["late"] else ""
            write(f"Marked {result['mark']} of 3 after {result['seconds'] / 60:.1f} minutes{late}.")
    except Stop:
        pass
    share = sitting.close()
    write(f"\n{len(sitting.results)} of {len(sitting.round.items)} parts marked, {share:.0%} of the marks.")
    if sitting.results:
        write(f"Where you stand, over all that was asked so far:\n{standing.text()}")
    due = [0] * 7
    try:
        with Deck() as deck:
            due = deck.forecast()
    except ScheduleError as error:  # a round that was held is no round lost
        write(f"The cards are left out of the plan: {error}")
    write("The week ahead, some 45 minutes a day:\n" + plan(due))
    return share


def plan(due: Sequence[int]) -> str:
    """The week as lines."""
    names = mock.the_drills().names()
    return "\n".join(f"  day {day}: {'; '.join(tasks)}" for day, tasks in enumerate(standing.week(45, due, names), 1))


def _choose(sitting: mock.Sitting, walk: walks.Walk, ask: Ask, write: Write) -> None:
    """Ask for choices until the budget is met, or the candidate stops with an empty answer."""
    while True:
        write("\nYour choices; an empty one goes on without a verdict.")
        chosen: dict[str, float] = {}
        for name, choice in walk.choices.items():
            said = ask(f"  {name} ({choice.range}) > ", (), write)
            if not said:
                return
            try:
                chosen[name] = float(said.replace(",", ""))
            except ValueError:
                write(f"  {said!r} is no number; {choice.range} is expected.")
                break
        else:
            try:
                verdict = sitting.judge_walk(chosen)
            except walks.WalkError as error:
                write(str(error))
                continue
            write(verdict.text())
            if verdict.met:
                return


def _paragraphs(text: str) -> str:
    return "\n".join(fill(line, WIDTH) for line in text.splitlines())
