"""A log of requests as weeks, and rules that say when a week is not what it was: alerts as code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course_utils.serving import drift
from course_utils.serving.request_log import LogError

Row = Mapping[str, Any]
SHARES = ("correct", "up", "abstained", "refused", "format_kept")
MEANS = ("prompt_tokens", "answer_tokens", "surprise", "unread", "confidence")


class MonitorError(LogError):
    """A log with too little in it, or a rule that cannot be applied."""


@dataclass(frozen=True)
class Rule:
    """When to raise an alert.

    signal: a column of the log. test: a name in ``TESTS``. limit: the alert comes above it; None: it is set from the
    reference weeks (``calibrated``). in_a_row: for so many weeks together. then: what whoever is woken should do.
    Raises MonitorError for an unknown test or fewer than one week.
    """

    signal: str
    test: str
    limit: float | None = None
    in_a_row: int = 1
    then: str = ""

    def __post_init__(self) -> None:
        if self.test not in TESTS:
            raise MonitorError(f"there is no test {self.test!r}; choose from {', '.join(TESTS)}.")
        if self.in_a_row < 1:
            raise MonitorError(f"in_a_row is {self.in_a_row}; an alert needs one week or more.")

    @property
    def name(self) -> str:
        """What the alert is called."""
        return f"{self.test} of {self.signal}"


@dataclass(frozen=True)
class Alert:
    """A rule that fired: in ``week``, with ``value`` above the rule's limit."""

    rule: Rule
    week: int
    value: float


def _psi(reference: NDArray, window: NDArray) -> float:
    return drift.psi(*_tables(reference, window))


def _chi_square(reference: NDArray, window: NDArray) -> float:
    p = drift.chi_square(*_tables(reference, window))[1]
    return -math.log10(max(p, 1e-300))


def _tables(reference: NDArray, window: NDArray) -> tuple[NDArray, NDArray]:
    """Counts of both samples in the same bins: the categories (whole numbers from 0), or ten parts of equal size."""
    if reference.dtype.kind == "i":
        size = int(max(reference.max(), window.max())) + 1
        return np.bincount(reference, minlength=size), np.bincount(window, minlength=size)
    edges = drift.quantile_edges(reference)
    return drift.binned(reference, edges), drift.binned(window, edges)


def _shift(reference: NDArray, window: NDArray) -> float:
    error = math.sqrt(reference.var() * (1 / len(reference) + 1 / len(window)))
    return (
        abs(float(window.mean() - reference.mean())) / error
        if error
        else float(window.mean() != reference.mean()) * 1e9
    )


TESTS: dict[str, Callable[[NDArray, NDArray], float]] = {
    "psi": _psi,  # nats
    "chi-square": _chi_square,  # -log10 of its p-value
    "ks": drift.ks_statistic,  # largest distance, 0 to 1
    "shift": _shift,  # of the mean, in standard errors
    "fall": lambda reference, window: float(reference.mean() - window.mean()),  # of the mean, in the signal's unit
    "rise": lambda reference, window: float(window.mean() - reference.mean()),
}
RULES = (
    Rule("topic", "chi-square", then="See which topics grew. Are they in the evaluation set?"),
    Rule("surprise", "ks", then="Read the most surprising prompts: new words, new people, another language, abuse?"),
    Rule("unread", "shift", then="Which people, which words are new? Add them to what the model can look up."),
    Rule("answer_tokens", "ks", then="Was a model, a prompt template or a sampling setting changed?"),
    Rule("confidence", "ks", then="Was the model or its quantization changed? Run the golden prompts."),
    Rule("prompt_tokens", "ks", then="Compare the rendered template with last week's, byte by byte."),
    Rule("format_kept", "fall", then="Whatever parses these answers is failing now."),
    Rule(
        "correct", "fall", then="Have the facts moved, or the questions? Compare per topic; then retrain or retrieve."
    ),
)


def weeks_of(rows: Sequence[Row]) -> list[list[Row]]:
    """The requests of each week of seven days, from that of the earliest request to that of the latest.

    Raises MonitorError if there are no requests.
    """
    if not rows:
        raise MonitorError("the log holds no request.")
    numbers = [int(row["time"] // 7) for row in rows]
    first = min(numbers)
    weeks: list[list[Row]] = [[] for _ in range(max(numbers) - first + 1)]
    for number, row in zip(numbers, rows, strict=True):
        weeks[number - first].append(row)
    return weeks


def values(rows: Sequence[Row], signal: str) -> NDArray:
    """The signal's values, without those that are not there (yet). Raises MonitorError if no row has such a column."""
    if rows and not any(signal in row for row in rows):
        raise MonitorError(f"the log has no column {signal!r}; it has {', '.join(rows[0])}.")
    found = [row[signal] for row in rows if row.get(signal) is not None]
    words = sum(isinstance(value, str) for value in found)
    if 0 < words < len(found):
        raise MonitorError(
            f"the column {signal!r} holds {words} words among {len(found)} values; one kind is expected."
        )
    return np.array(found, dtype=object if words else float)


def _coded(known: NDArray, *others: NDArray) -> list[NDArray]:
    """Words as whole numbers, one more for every word that ``known`` lacks; numbers stay as they are."""
    if known.dtype.kind != "O":
        return [known, *others]
    place = {word: i for i, word in enumerate(sorted(set(known)))}
    return [np.array([place.get(word, len(place)) for word in words], dtype=int) for words in (known, *others)]


def weekly(rows: Sequence[Row]) -> dict[str, list[float]]:
    """One figure per week: requests, labelled (how many have a label), thumbs, shares and means of the signals, and the
    median and 95th percentile of the latency. NaN where a week has nothing to count."""
    table: dict[str, list[float]] = {}

    def put(name: str, value: float) -> None:
        table.setdefault(name, []).append(float(value))

    for number, week in enumerate(weeks_of(rows)):
        put("week", number)
        put("requests", len(week))
        put("labelled", sum(row.get("correct") is not None for row in week))
        put("thumbs", sum(row.get("up") is not None for row in week))
        for name in (*SHARES, *MEANS):
            found = np.array([row[name] for row in week if row.get(name) is not None], dtype=float)
            put(name, found.mean() if len(found) else math.nan)
        seconds = np.array([row["latency"] for row in week if row.get("latency") is not None], dtype=float)
        put("latency", np.median(seconds) if len(seconds) else math.nan)
        put("latency_p95", np.quantile(seconds, 0.95) if len(seconds) else math.nan)
    return table


def calibrated(
    rule: Rule,
    reference: Sequence[Row],
    per_week: int,
    weeks: int = 44,
    share: float = 0.02,
    draws: int = 2_000,
    seed: int = 0,
) -> Rule:
    """The rule with a limit that a world without drift passes in about a ``share`` of years of so many ``weeks``.

    A reference and a week are drawn, with replacement, from the reference's requests, again and again: that is how
    the statistic scatters when nothing has changed. The limit is its quantile at 1 - share / weeks, so it leans on few
    draws; a rule of several weeks in a row gets the same limit and raises fewer alerts.
    Raises MonitorError if the reference has fewer than 20 values of the signal.
    """
    known = values(reference, rule.signal)
    if len(known) < 20:
        raise MonitorError(f"the reference weeks hold {len(known)} values of {rule.signal!r}; at least 20 are needed.")
    (known,) = _coded(known)
    rng = np.random.default_rng(seed)
    test = TESTS[rule.test]
    size = max(2, min(per_week, round(per_week * len(known) / max(len(reference), 1))))
    found = [
        test(known[rng.integers(0, len(known), len(known))], known[rng.integers(0, len(known), size)])
        for _ in range(draws)
    ]
    return replace(rule, limit=float(np.quantile(found, 1 - share / weeks)))


def alerts(
    rows: Sequence[Row], rules: Sequence[Rule] = RULES, reference_weeks: int = 8, smallest: int = 20, draws: int = 2_000
) -> list[Alert]:
    """The first alert of each rule, earliest week first.

    The first ``reference_weeks`` are what is normal. Each later week with at least ``smallest`` values of the signal is
    compared with them. A rule whose signal the log lacks, or holds too seldom, is passed over.
    Raises MonitorError if there are not more weeks than the reference.
    """
    weeks = weeks_of(rows)
    if len(weeks) <= reference_weeks:
        raise MonitorError(
            f"the log holds {len(weeks)} weeks; the first {reference_weeks} are the reference, so more are needed."
        )
    reference = [row for week in weeks[:reference_weeks] for row in week]
    per_week = round(len(reference) / reference_weeks)
    fired = []
    for rule in rules:
        try:
            known = values(reference, rule.signal)
            later = len(weeks) - reference_weeks
            rule = rule if rule.limit is not None else calibrated(rule, reference, per_week, later, draws=draws)
        except MonitorError:
            continue
        assert rule.limit is not None
        together = 0
        for number, week in enumerate(weeks[reference_weeks:], reference_weeks):
            now = values(week, rule.signal) if week else np.array([])
            value = TESTS[rule.test](*_coded(known, now)) if len(now) >= smallest else -math.inf
            together = together + 1 if value > rule.limit else 0
            if together == rule.in_a_row:
                fired.append(Alert(rule, number, value))
                break
    return sorted(fired, key=lambda alert: alert.week)
