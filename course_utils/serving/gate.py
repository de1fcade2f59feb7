"""A gate: rules that are written down before a candidate is seen, and that a candidate passes or does not.

Each rule compares the candidate with the model in service on the *same* questions, and looks at the worse end of an
interval, not at the figure itself: the candidate has to show that it does no harm, so what cannot be said counts as not
passed. (In trials of medicines this is called non-inferiority.) The rules are frozen, and their digest goes into the
registry: whoever changes a rule afterwards has another gate, and that is seen.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course_utils.evaluation.statistics import Interval, bootstrap

Array = NDArray[Any]
KINDS = ("difference", "gap", "ratio")


class GateError(ValueError):
    """A rule that says nothing, or answers that it cannot be applied to."""


@dataclass(frozen=True)
class Rule:
    """One sentence of a gate.

    name: what a report calls it. column: of the answers, such as "correct". part: the slice of questions, "all" for
    every one. kind: "difference", candidate minus service; "gap", how much the difference differs between the two
    values of "group"; "ratio", the median quotient (of
    seconds). at_least, at_most: where the lower and the upper end
    of the interval must lie. Raises GateError for a rule without a bound, or of an unknown kind.
    """

    name: str
    column: str
    part: str = "all"
    kind: str = "difference"
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GateError(f"rule {self.name!r} is of kind {self.kind!r}; choose from {', '.join(KINDS)}.")
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if not bounds or not all(math.isfinite(bound) for bound in bounds):
            raise GateError(f"rule {self.name!r} has the bounds {bounds}; give at_least, at_most or both, finite.")


@dataclass(frozen=True)
class Gate:
    """Rules, and the confidence of their intervals. Raises GateError without rules, or if two have one name."""

    rules: tuple[Rule, ...]
    confidence: float = 0.95

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        if not names or len(set(names)) < len(names):
            raise GateError(f"the rules are called {names}; at least one is expected, and no name twice.")
        if not 0 < self.confidence < 1:
            raise GateError(f"the confidence is {self.confidence}; give a share between 0 and 1, such as 0.95.")

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of all rules: another one as soon as one number is another."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Finding:
    """What came of one rule: the measured figure with its interval, over how many clusters, and whether it passed."""

    rule: Rule
    interval: Interval
    clusters: int
    passed: bool

    def __str__(self) -> str:
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("low end at least", self.rule.at_least), ("high end at most", self.rule.at_most))
            if bound is not None
        ]
        i = self.interval
        figures = f"{i.value:+.3f} ({i.low:+.3f} to {i.high:+.3f})"
        return f"{'pass' if self.passed else 'FAIL'}  {self.rule.name:<22} {figures:<28} {', '.join(bounds)}"


@dataclass(frozen=True)
class Decision:
    """All findings. The candidate passes if every rule does."""

    findings: tuple[Finding, ...]
    gate: str  # the digest of the rules

    @property
    def passed(self) -> bool:
        """Whether every rule was passed."""
        return all(finding.passed for finding in self.findings)

    @property
    def failed(self) -> list[str]:
        """The names of the rules that were not."""
        return [finding.rule.name for finding in self.findings if not finding.passed]

    def finding(self, name: str) -> Finding:
        """The finding of one rule. Raises KeyError for another name."""
        for found in self.findings:
            if found.rule.name == name:
                return found
        raise KeyError(f"no rule is called {name!r}; there are {', '.join(f.rule.name for f in self.findings)}")


def paired_interval(
    service: Sequence[float] | Array,
    candidate: Sequence[float] | Array,
    clusters: Sequence[Any] | Array | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Candidate minus service in the share of right answers to the same questions, with an interval.

    service, candidate: (n,) figures from 0 to 1 for each question. Two imaginary questions are added, half a one to
    each of the four outcomes (Agresti and Min, Statistics in Medicine 24, 2005): without them two models that answer
    alike would differ by 0 with an interval of no width, after ten questions as after ten thousand. With the sums s_g
    of the differences and the numbers n_g of questions in each cluster,

        d = sum s_g / (n + 2)        variance = (sum (s_g - n_g d)^2 + 1 + 2 d^2) / (n + 2)^2

    (each question a cluster of its own, if None: then it is their formula). ``value`` is the plain difference. Raises
    GateError for lists of different length, or no questions.
    """
    old, new = np.asarray(service, dtype=float), np.asarray(candidate, dtype=float)
    if old.shape != new.shape or old.ndim != 1 or not len(old):
        raise GateError(f"answers to {old.shape} and {new.shape} questions; the same ones are expected, 1 or more.")
    _, index = np.unique(
        np.arange(len(old)) if clusters is None else np.asarray(clusters).astype(str), return_inverse=True
    )
    sums, counts = np.bincount(index, weights=new - old), np.bincount(index)
    middle = sums.sum() / (len(old) + 2)
    spread = ((sums - counts * middle) ** 2).sum() + 1 + 2 * middle**2
    half = NormalDist().inv_cdf((1 + confidence) / 2) * spread**0.5 / (len(old) + 2)
    return Interval(float((new - old).mean()), float(middle - half), float(middle + half), confidence)


def decide(
    gate: Gate,
    service: Mapping[str, Sequence[Any]],
    candidate: Mapping[str, Sequence[Any]],
) -> Decision:
    """Apply every rule.

    service, candidate: columns (n,) of the answers of the model in service and of the candidate, to the same questions
    in the same order. Both have "part" (the slice of the question) and "cluster" (questions about one thing are drawn
    together); rules of kind "gap" need "group", empty where a question belongs to neither; those of kind "ratio" take
    "batch" for the cluster. Raises GateError for a missing column, questions that differ, or a slice of fewer than two
    clusters.
    """
    needed = {"difference": "cluster", "gap": "group", "ratio": "batch"}
    for name in ("part", "cluster", *(c for rule in gate.rules for c in (rule.column, needed[rule.kind]))):
        if name not in service or name not in candidate:
            raise GateError(f"the answers have no column {name!r}, which the gate asks for.")
    if list(service["cluster"]) != list(candidate["cluster"]) or list(service["part"]) != list(candidate["part"]):
        raise GateError("the two models were not asked the same questions in the same order; ask both again.")
    findings = []
    for rule in gate.rules:
        mask = np.ones(len(service["part"]), bool) if rule.part == "all" else np.asarray(service["part"]) == rule.part
        interval, count = _measure(rule, service, candidate, mask, gate.confidence)
        passed = (rule.at_least is None or interval.low >= rule.at_least) and (
            rule.at_most is None or interval.high <= rule.at_most
        )
        findings.append(Finding(rule, interval, count, passed))
    return Decision(tuple(findings), gate.digest)


def _measure(rule: Rule, service: Mapping, candidate: Mapping, mask: Array, confidence: float) -> tuple[Interval, int]:
    old, new = (np.asarray(answers[rule.column], dtype=float)[mask] for answers in (service, candidate))
    clusters = np.asarray(service["batch" if rule.kind == "ratio" else "cluster"]).astype(str)[mask]
    count = len(set(clusters))
    if count < 2:
        raise GateError(f"rule {rule.name!r} finds {count} clusters in {rule.part!r}; two are the least.")
    if rule.kind == "ratio":
        return _ratio(rule, old, new, clusters, confidence), count
    if rule.kind == "difference":
        return paired_interval(old, new, clusters, confidence), count
    group = np.asarray(service["group"]).astype(str)[mask]
    names = sorted(set(group) - {""})
    if len(names) != 2:
        raise GateError(f"rule {rule.name!r} compares two groups; the questions have {names or 'none'}.")
    one, other = (paired_interval(old[group == n], new[group == n], clusters[group == n], confidence) for n in names)
    half = math.hypot((one.high - one.low) / 2, (other.high - other.low) / 2)  # variances of two groups add up
    middle = (one.low + one.high - other.low - other.high) / 2
    return Interval(one.value - other.value, middle - half, middle + half, confidence), count


def _ratio(rule: Rule, old: Array, new: Array, clusters: Array, confidence: float) -> Interval:
    if old.min() <= 0 or new.min() <= 0:
        raise GateError(f"rule {rule.name!r} compares by a ratio; every value of {rule.column!r} must exceed 0.")
    logs = np.log(new / old)
    means = np.array([logs[clusters == name].mean() for name in sorted(set(clusters))])
    interval = bootstrap(means, np.median, confidence)
    return Interval(math.exp(interval.value), math.exp(interval.low), math.exp(interval.high), confidence)
