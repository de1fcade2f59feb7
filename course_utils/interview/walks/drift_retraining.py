"""Design walk: notice that a service gets worse, retrain in time, and let a bad release harm few."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

from course_utils.interview.walks.frame import YOURS, Choice, Given, Limit, Step, Trap, Walk

NORMAL = NormalDist()


def calculate(c: Any, g: Any) -> dict[str, float]:
    """A week's share of right answers against a fixed reference; an alarm ``limit`` standard errors
    below.

    The wait for an alarm is geometric: one over the power of a week, and the delay of the labels before it. Between
    two retrainings the loss grows evenly, so on average half of it is borne.
    """
    error = (g.accuracy * (1 - g.accuracy) / c.labels_per_week) ** 0.5
    power = NORMAL.cdf(g.fall / error - c.limit)
    seen = c.canary_share * g.requests_per_day / 24 * c.canary_hours
    noise = (2 * g.accuracy * (1 - g.accuracy) / max(seen, 1)) ** 0.5
    return {
        "false_alarms": 52 * NORMAL.cdf(-c.limit),
        "weeks_to_alarm": g.label_days / 7 + 1 / max(power, 1e-9),
        "lost": g.drift_per_week * c.retrain_weeks / 2,
        "dollars": 52 * c.labels_per_week * g.label_price + 52 / c.retrain_weeks * g.retrain_price,
        "canary_power": NORMAL.cdf(g.bad_release / noise - 2.33),  # one-sided, level 0.01
        "bad_answers": seen * g.bad_release,
    }


WALK = Walk(
    name="drift_retraining",
    title="Drift and retraining",
    minutes=15,
    roles=("inference", "evaluation", "generalist"),
    task=(
        "An assistant answers 50,000 questions a day about facts that change. Nobody tells you when they do. "
        "Choose how"
        "many answers are labelled, when an alarm is raised, how often you retrain, and how a new model is let in."
    ),
    given={
        "requests_per_day": Given(50_000, "", "requests", YOURS),
        "accuracy": Given(0.9, "", "share of right answers on good days", YOURS),
        "fall": Given(0.03, "", "the fall that must be noticed", YOURS),
        "drift_per_week": Given(0.002, "", "share of answers that go out of date each week", YOURS),
        "label_days": Given(7, "days", "until a label is there", YOURS),
        "label_price": Given(0.4, "$", "per label", YOURS),
        "retrain_price": Given(1200, "$", "for one retraining with its evaluation", YOURS),
        "bad_release": Given(0.1, "", "right answers that a bad release loses, told by checks without people", YOURS),
    },
    choices={
        "labels_per_week": Choice("answers labelled each week, drawn at random", 1, 100_000, whole=True),
        "limit": Choice("alarm at so many standard errors below the reference", 0.5, 8),
        "retrain_weeks": Choice("weeks between two retrainings", 1, 104),
        "canary_share": Choice("share of requests that a new model gets at first", 0.0001, 1),
        "canary_hours": Choice("hours until it gets the rest", 1, 336),
    },
    calculate=calculate,
    limits=(
        Limit("false_alarms", "a year", "or nobody reads them", at_most=1),
        Limit("weeks_to_alarm", "weeks", "from the fall to the alarm, labels' delay included, mean", at_most=3),
        Limit("lost", "", "share of right answers lost to old facts, mean over the year", at_most=0.01),
        Limit("dollars", "$", "per year", at_most=20_000),
        Limit("canary_power", "", "a bad release is found before it gets everything", at_least=0.95),
        Limit("bad_answers", "", "that a bad release has given by then", at_most=100),
    ),
    steps=(
        Step(
            "What can change, and which signal sees it?",
            "Questions (inputs), facts (labels alone), your own side (golden prompts); which of them needs no label.",
        ),
        Step(
            "How many labels?",
            "From the fall that must be noticed, the delay that is borne and the rate of false alarms; random, "
            "not thumbs.",
        ),
        Step(
            "When do you retrain?",
            "On a calendar for slow loss, on an alarm for sudden; the cost of a retraining against half of what "
            "is lost in between.",
        ),
        Step(
            "How does a new model come in?",
            "Gate on golden and held-out sets with intervals, canary with a share and a time from the power, "
            "rollback that was tried.",
        ),
        Step(
            "What does feedback do to the data?",
            "Thumbs are biased and loops close: weigh by the chance of being seen, keep a part of the traffic "
            "without personalisation, replay old data against forgetting.",
        ),
    ),
    answer={"labels_per_week": 500, "limit": 2.1, "retrain_weeks": 8, "canary_share": 0.01, "canary_hours": 36},
    why=(
        "500 labels make the fall of 0.03 a little more than two standard errors: an alarm in about two weeks of "
        "labels, and one a year for nothing."
    ),
    traps=(
        Trap({"labels_per_week": 100}, "weeks_to_alarm", "The fall is one standard error: it hides for months."),
        Trap({"limit": 1.64}, "false_alarms", "p < 0.05 every week cries wolf more than twice a year."),
        Trap({"limit": 4}, "weeks_to_alarm", "No false alarm, and no true one."),
        Trap({"retrain_weeks": 26}, "lost", "Half a year of drift, half of it borne on average."),
        Trap({"retrain_weeks": 2}, "dollars", "Retraining is paid each time; most of it for a few answers."),
        Trap({"canary_share": 0.001}, "canary_power", "Seventy-five answers tell nothing."),
        Trap({"canary_share": 0.2}, "bad_answers", "A fifth of the users meet the bad release."),
    ),
)
