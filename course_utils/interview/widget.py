"""Cards in a notebook: a question, a button for its answer, and four for how it went; a table where nobody is there."""

from __future__ import annotations

from typing import Any

from course_utils.chapters import chapter as find_chapter
from course_utils.classroom.display import cards, controls
from course_utils.classroom.records import claims
from course_utils.interview import bank, standing
from course_utils.interview.bank import Question
from course_utils.interview.schedule import NEW_A_DAY, RATINGS, AnsweredElsewhere, Deck, order_new
from course_utils.interview.show import with_figures
from course_utils.language import say


def flashcards(chapter: str | int | None = None, new: int = NEW_A_DAY) -> None:
    """Show the cards of today, of one chapter or of all: with buttons for a person, else as text.

    Raises ScheduleError for a file of cards that cannot be used, ChapterError for an unknown chapter.
    """
    number = find_chapter(chapter).number if chapter is not None else None
    questions = {item.id: item for item in bank.all_questions() if number in (None, item.id[:2])}
    deck = Deck()
    names = deck.session(order_new(questions, standing.weakness()), new=new)
    today = [questions[name] for name in names]
    card = summary(deck, today)
    controls.show_live(card, lambda: cards_box(deck, today))
    if not cards.has_person():
        deck.close()


def summary(deck: Deck, today: list[Question]) -> cards.Card:
    """What is due, as a page that needs no kernel."""
    rows = [(item.id, item.question) for item in today[:12]]
    notes = [say("and {n} more", n=len(today) - 12)] if len(today) > 12 else []
    days = ", ".join(map(str, deck.forecast()))
    notes.append(say("Known cards due in the next seven days: {days}.", days=days))
    if fault := deck.clock_fault():
        notes.append(fault)
    return cards.Card("note", say("{n} cards today", n=len(today)), say("In a terminal: `course cards`."), rows, notes)


def cards_box(deck: Deck, today: list[Question]) -> Any:
    """An ipywidgets box that goes through ``today``; ``show`` and ``rate`` (a button for each rating) are its parts."""
    import ipywidgets as widgets

    measured, left, seen = claims.recorded(), list(today), [0]
    front, back, state = widgets.HTML(), widgets.HTML(), widgets.HTML()
    show = controls.button(say("Show the answer"))
    rate = {number: controls.button(f"{number} {say(word)}", disabled=True) for number, word in RATINGS.items()}

    def face() -> None:
        back.value, show.disabled = "", not left
        for button in rate.values():
            button.disabled = True
        if not left:
            front.value = cards.frame(say("No card is left for today."))
            return
        item = left[0]
        seen[0] = deck.standing(item.id).reviews
        front.value = cards.frame(f"<strong>{cards.inline(item.question)}</strong><br>{item.id}, {item.level}")

    def on_show(_: object) -> None:
        text = with_figures(f"{left[0].short}\n\n{left[0].deep}", measured)
        back.value = cards.frame(cards.inline(text).replace("\n", "<br>"))
        show.disabled = True
        for button in rate.values():
            button.disabled = False

    def on_rate(number: int) -> None:
        item = left.pop(0)
        try:
            due = deck.review(item.id, number, seen=seen[0])
            state.value = say(
                "{id}: again on {due:%a %d %b %Y, %H:%M}. {n} left.", id=item.id, due=due.astimezone(), n=len(left)
            )
        except AnsweredElsewhere as error:
            state.value = str(error)
        face()

    show.on_click(on_show)
    for number, button in rate.items():
        button.on_click(lambda _, number=number: on_rate(number))
    face()
    box = widgets.VBox([front, show, back, widgets.HBox(list(rate.values())), state])
    box.show, box.rate, box.state = show, rate, state
    return box
