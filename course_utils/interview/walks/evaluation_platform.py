"""Design walk: an evaluation platform that names a winner only where there is one, and pays for few labels."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

from course_utils.interview.walks.frame import YOURS, Choice, Given, Limit, Step, Trap, Walk

NORMAL = NormalDist()


def paired_power(questions: float, difference: float, discordant: float, alpha: float) -> float:
    """The power of McNemar's test (Connor, Biometrics 43, 1987): Phi((d sqrt(n) - z sqrt(D)) / sqrt(D - d^2)).

    difference: d; discordant: D, the share of questions that one of two models alone gets right.
    """
    z = NORMAL.inv_cdf(1 - alpha / 2)
    return NORMAL.cdf((difference * questions**0.5 - z * discordant**0.5) / (discordant - difference**2) ** 0.5)


def calculate(c: Any, g: Any) -> dict[str, float]:
    """A judge that agrees with people at a rate a leaves (2a - 1) of a difference, if its errors are symmetric."""
    alpha = g.alpha / g.candidates if c.corrected else g.alpha
    seen = g.difference * (2 * g.agreement - 1)
    human = max(c.human_labels, 1)
    return {
        "power": paired_power(c.questions, seen, g.discordant, alpha),
        "false_winner": 1 - (1 - alpha) ** g.candidates,
        "judge_known_to": 1.96 * (g.agreement * (1 - g.agreement) / human) ** 0.5,
        "hours": (g.candidates + 1) * c.questions / g.answers_per_second / 3600,
        "dollars": (g.candidates + 1) * c.questions * g.answer_price
        + g.candidates * c.questions * g.judge_price
        + c.human_labels * g.human_price,
    }


WALK = Walk(
    name="evaluation_platform",
    title="An evaluation platform",
    minutes=20,
    roles=("evaluation", "post-training", "generalist"),
    task=(
        "Each week six candidates are compared with the model in production, answer by answer, by a judge model. Teams "
        "ship what wins. Choose the number of questions, how many judgements people repeat, and whether you "
        "correct for"
        "six comparisons."
    ),
    given={
        "candidates": Given(6, "", "compared with production each week", YOURS),
        "difference": Given(0.03, "", "the least gain in the share of right answers worth shipping", YOURS),
        "discordant": Given(0.15, "", "share of questions that one of the two alone gets right", YOURS),
        "agreement": Given(0.9, "", "how often judge and people agree", YOURS),
        "alpha": Given(0.05, "", "false winners that are borne", YOURS),
        "answers_per_second": Given(10, "1/s", "that the cluster for evaluation writes", YOURS),
        "answer_price": Given(0.002, "$", "per answer", YOURS),
        "judge_price": Given(0.01, "$", "per judged pair", YOURS),
        "human_price": Given(1.5, "$", "per judgement by a person", YOURS),
    },
    choices={
        "questions": Choice("questions per comparison", 10, 100_000, whole=True),
        "human_labels": Choice("judgements that people repeat, each week", 0, 20_000, whole=True),
        "corrected": Choice("1: the level is divided by the number of comparisons (Bonferroni)", options=(0, 1)),
    },
    calculate=calculate,
    limits=(
        Limit("power", "", "a real gain of that size must be found", at_least=0.8),
        Limit("false_winner", "", "weeks in which an equal model wins", at_most=0.05),
        Limit("judge_known_to", "", "half width of the 95 % interval of the judge's agreement", at_most=0.03),
        Limit("hours", "h", "the result is there before lunch", at_most=1.0),
        Limit("dollars", "$", "per week", at_most=1200),
    ),
    steps=(
        Step(
            "What is compared, and by which test?",
            "The same questions for both, so a paired test (McNemar, or a paired bootstrap over clusters); the "
            "difference with its interval, not two scores.",
        ),
        Step(
            "How many questions?",
            "From the least gain worth shipping, the discordant share and the power; a judge that errs shrinks "
            "the gain, so more are needed.",
        ),
        Step(
            "How far do you trust the judge?",
            "Agreement with people on a random sample, each week; order swapped, length looked at, never the "
            "judge's own family alone.",
        ),
        Step(
            "Six teams compete. What goes wrong?",
            "Six chances of a false winner, selection on the test set, leaks into training: correction, hidden "
            "and rotating questions, a final set that is opened once.",
        ),
        Step(
            "What does a failed run look like?",
            "A template or decoding change that moves all models at once: golden answers, versions of everything "
            "in the row, raw answers kept.",
        ),
    ),
    answer={"questions": 3500, "human_labels": 500, "corrected": 1},
    why=(
        "The judge leaves 0.024 of a gain of 0.03; at the level of 0.05 / 6 that takes some 3,200 questions. 500 "
        "repeated judgements know the judge to 0.03."
    ),
    traps=(
        Trap({"questions": 1000}, "power", "A thousand questions find such a gain in a quarter of the weeks."),
        Trap({"corrected": 0}, "false_winner", "Six tests at 0.05: an equal model wins in a quarter of the weeks."),
        Trap({"human_labels": 100}, "judge_known_to", "A hundred labels do not tell 0.85 from 0.95."),
        Trap({"questions": 6000}, "hours", "Seven models write forty thousand answers."),
        Trap({"human_labels": 2000}, "dollars", "People are the price; the judge is what they are for."),
    ),
)
