"""Checks of chapter 00: exact match, the bits of a draw, and the minutes of a training run."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, comb, inf, log2, nan, perm
from typing import Any

from course_utils.classroom.exercises.exercise import Mistake, check, expect


def is_exact_match(answer: str, reference: str) -> bool:
    """True if two texts are the same but for capitals, runs of spaces and a final stop; nothing matches nothing."""

    def form(text: str) -> str:
        return " ".join(text.lower().split()).removesuffix(".").rstrip()

    return bool(form(answer)) and form(answer) == form(reference)


@check(
    "00.1",
    title="Exact match",
    reference=is_exact_match,
    difficulty=1,
    minutes=5,
    points=1,
    asked="how do you score a short answer automatically?",
    hints=[
        "Bring both texts into one form first, then compare with `==`. A small inner function saves writing it twice.",
        '`" ".join(text.lower().split())` has no capitals and single spaces.',
        '`.removesuffix(".")` takes one stop at the end away, and only there. An empty text is falsy: '
        "`bool(form) and form == other`.",
    ],
)
def check_is_exact_match(candidate: Callable[[str, str], bool]) -> None:
    cases = [
        ("Saltmere", "Saltmere", True, "Equal texts should match."),
        ("saltmere", "Saltmere", True, "Only the capitals differ. Compare lower-case texts."),
        (
            "Saltmere or Gullport.",
            "Saltmere",
            False,
            "The answer contains the reference and says more. Exact match is `==`, not `in`: who names every town "
            "would always be right.",
        ),
        ("Saltmere.", "Saltmere", True, "Only the stop at the end differs; it should not count."),
        ("Saltmere", "Saltmere.", True, "The stop stands in the reference this time. Clean both texts, not one."),
        ("  Saltmere \n", "Saltmere", True, "Spaces and line breaks around the text should not count."),
        ("Mira lives  in\nSaltmere.", "Mira lives in Saltmere.", True, "Runs of spaces should count as one space."),
        ("Saltmere.", "Saltmere.", True, "Both end in a stop: take it off both texts, or off neither."),
        (
            "Mira lives in Saltmere",
            " Mira lives\nin   Saltmere",
            True,
            "The spaces stand in the reference this time. Clean both texts, not one.",
        ),
        ("Saltmere. ", "saltmere", True, "A stop followed by a space is still a stop at the end."),
        ("MIRA lives in saltmere", "Mira lives in Saltmere", True, "Capitals differ all over. Lower the whole text."),
        ("in\tSaltmere", "in Saltmere", True, "A tab is a space too: `split()` without an argument knows them all."),
        ("the boat", "boat", False, "An article is a word: it counts here (SQuAD drops it)."),
        ("Gullport", "Saltmere", False, "These are different texts."),
        ("Salt", "Saltmere", False, "The reference contains the answer, but they are not the same text."),
        (
            "Tobin sold Mira a goat.",
            "Mira sold Tobin a goat.",
            False,
            "The same words in another order say another thing.",
        ),
        ("Saltmere Saltmere", "Saltmere", False, "A word said twice is another text."),
        ("{1920}", "1920", False, "Only a final stop is forgiven. Other signs count: JSON is made of them."),
        ("Mira. lives", "Mira lives", False, "A stop inside the text counts, also at the end of a word."),
        ("3.14", "314", False, "A stop inside the text counts; only the one at the end is forgiven."),
        (
            ".Saltmere",
            "Saltmere",
            False,
            "A stop at the front counts. `rstrip` takes from the end alone, `strip` from both.",
        ),
        ("Saltmere!", "Saltmere", False, "An exclamation mark counts; only the full stop at the end is forgiven."),
        ("Salt mere", "Saltmere", False, "A space between letters counts: make runs of spaces one space, not none."),
        ("", "Saltmere", False, "An empty answer matches nothing."),
        ("", "", False, "An empty answer matches nothing, not even an empty reference."),
        (".", "", False, "A stop alone is an empty answer: look whether anything is left *after* cleaning."),
        (" \n", ".", False, "Spaces alone are an empty answer: look whether anything is left *after* cleaning."),
    ]
    for answer, reference, right, message in cases:
        given = f"answer    = {answer!r}\nreference = {reference!r}"
        yours = _plain(candidate(answer, reference))
        expect.kind(yours, bool, given=given)
        expect.equal(yours, right, message, given=given)


def _plain(value: Any) -> Any:
    """A truth value of numpy or torch as Python's own, which it may stand for everywhere."""
    return value.item() if hasattr(value, "item") else value


def bits_of_draw(items: int, drawn: int) -> float:
    """Bits in ``drawn`` different things taken in order from ``items``: log2 of each choice, summed (Shannon 1948)."""
    if not 0 <= drawn <= items:
        raise ValueError(f"{drawn} things cannot be drawn from {items}")
    return float(sum(log2(items - i) for i in range(drawn)))


@check(
    "00.2",
    title="Bits of a draw",
    reference=bits_of_draw,
    difficulty=2,
    minutes=6,
    points=1,
    asked="how much information is in a random choice?",
    hints=[
        "One choice among n equally likely things costs `math.log2(n)` bits. Bits of choices in a row add up.",
        "Nothing is put back: the first choice is among `items`, the second among `items - 1`, the third ...",
        "`sum(math.log2(items - i) for i in range(drawn))`, after a check that `0 <= drawn <= items`.",
    ],
)
def check_bits_of_draw(candidate: Callable[[int, int], float]) -> None:
    def given(items: int, drawn: int) -> str:
        return f"items = {items}\ndrawn = {drawn}"

    expect.close(
        candidate(8, 1),
        3.0,
        "One of eight equally likely things takes three yes-no questions.",
        given=given(8, 1),
        mistakes={
            "That is the natural logarithm: nats, not bits. Use `math.log2`.": 2.0794415,
            "That is the number of choices, not its logarithm.": 8.0,
            "The sign is turned round: information is never negative.": -3.0,
            "The first choice is among all the things, not among one fewer.": log2(7),
            "One choice too few is counted: to draw a single thing is a choice already.": 0.0,
        },
    )
    # not (4, 2) first: there, rounding each choice up gives the same as drawing with replacement
    for items, drawn in ((6, 3), (4, 2), (240, 5), (7, 7), (300, 150)):
        wrong = {
            "You draw with replacement. A thing that was drawn is gone: the next choice is among one fewer.": drawn
            * log2(items),
            "You leave out the order. The things come one after the other, and each order is another result.": log2(
                comb(items, drawn)
            )
            if items != drawn
            else -1.0,
            "One choice is missing or too many: the first is among `items` things, not one fewer.": sum(
                log2(items - i) for i in range(1, drawn + 1) if items > i
            ),
            "This is the logarithm of a sum. Possibilities multiply from choice to choice; logarithms add.": log2(
                sum(items - i for i in range(drawn))
            ),
            "Each choice is rounded up to whole bits. Bits are a measure and no count: a choice among 6 has 2.58.": sum(
                ceil(log2(items - i)) for i in range(drawn)
            ),
            "The number of ways grows beyond what a float holds (1.8e308). Add logarithms; do not multiply first.": inf,
        }
        right = log2(perm(items, drawn))
        try:
            bits = candidate(items, drawn)
        except ValueError as error:
            if drawn < items:
                raise
            message = "All of the things may be drawn: refuse only more than there are."
            raise Mistake(message, given=given(items, drawn), expected=right, yours=f"ValueError: {error}") from None
        expect.close(
            bits,
            right,
            "The sum of the choices' bits differs.",
            given=given(items, drawn),
            mistakes=wrong,
        )
    nothing = candidate(5, 0)
    expect.close(nothing, 0.0, "Drawing nothing tells nothing: 0 bits.", given=given(5, 0))
    expect.raises(ValueError, candidate, 3, 4, message="Four things cannot be drawn from three: raise a ValueError.")
    expect.raises(ValueError, candidate, 3, 5, message="Five things cannot be drawn from three: raise a ValueError.")
    expect.raises(
        ValueError, candidate, 3, -1, message="Fewer than no things cannot be drawn: raise a ValueError for -1."
    )


@check(
    "00.3",
    title="Minutes of training",
    reference="course_utils.training.flops:training_minutes",
    difficulty=1,
    minutes=6,
    points=1,
    asked="how long would it take to train a model of this size on this many tokens?",
    hints=[
        "First the work: about six operations per parameter and token. Then the speed that is really reached. Work "
        "divided by speed is seconds.",
        "The speed reached is `flops_per_second * utilization`.",
        "`6 * parameters * tokens / (flops_per_second * utilization) / 60`, after `if not 0 < utilization <= 1: raise "
        "ValueError(...)`.",
    ],
)
def check_training_minutes(candidate: Callable[[float, float, float, float], float]) -> None:
    # the second case is no whole number of minutes, so that rounding shows
    for case in ((1e6, 1e7, 1e11, 0.5), (1e6, 1e7, 7e11, 0.5), (124e6, 1e10, 4e14, 0.4), (1e6, 1e7, 1e11, 1.0)):
        parameters, tokens, rate, share = case
        right = 6 * parameters * tokens / (rate * share) / 60
        given = (
            f"parameters = {parameters:g}\ntokens = {tokens:g}\nflops_per_second = {rate:g}\nutilization = {share:g}"
        )
        wrong = {
            "These are seconds; minutes are wanted.": right * 60,
            "These are hours; minutes are wanted.": right / 60,
            "You multiply by the utilization. A machine that reaches half its speed takes twice as long.": right
            * share**2,
            "The utilization is left out.": right * share,
            "That is the forward pass alone (2 operations per parameter). The backward pass costs 4 more.": right / 3,
            "That is the backward pass alone (4 operations per parameter). The forward pass costs 2 more.": right
            * 2
            / 3,
            "The number of operations per parameter and token is missing: 2 forward and 4 backward.": right / 6,
            "The fraction is upside down: that is runs per minute, not minutes per run.": 1 / right,
            "The minutes are rounded to a whole number; return them as they are.": float(round(right)),
            "The part after the point is cut off; return the minutes as they are, with `/`, not `//` or `int`.": right
            // 1,
        }
        # with a utilization of 1, or a whole number of minutes, some of these coincide with the right answer
        wrong = {text: value for text, value in wrong.items() if abs(value - right) > 1e-6 * right}
        try:
            minutes = candidate(*case)
        except ValueError as error:
            if share < 1:
                raise
            message = "A utilization of 1 is allowed: the machine reaches all that it can do."
            raise Mistake(message, given=given, expected=right, yours=f"ValueError: {error}") from None
        expect.close(minutes, right, "The minutes differ.", given=given, mistakes=wrong)
    for share, why in (
        (40, "A utilization of 40 is a percentage in the place of a share: raise a ValueError."),
        (1.5, "No machine reaches one and a half times what it can do: raise a ValueError above 1."),
        (0, "A utilization of 0 would never end: raise a ValueError that says so."),
        (-0.5, "A negative utilization is a mistake of the caller: raise a ValueError."),
        (
            nan,
            "A utilization of NaN passes, because every comparison with NaN is false. Ask for what is right: "
            "`if not 0 < utilization <= 1`.",
        ),
    ):
        try:
            minutes = candidate(1e6, 1e7, 1e11, share)
        except ValueError:
            continue
        except (ZeroDivisionError, AssertionError) as error:
            yours = type(error).__name__
            raise Mistake(why, given=f"utilization = {share}", expected="ValueError", yours=yours) from None
        raise Mistake(why, given=f"utilization = {share}", expected="ValueError", yours=minutes)
