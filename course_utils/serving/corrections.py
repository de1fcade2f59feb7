"""Corrections: what users and reviewers say an answer should have been, and which of it may be learned from.

Feedback is no truth. Some users err, some joke, some want what the service refuses; some have not allowed the use of
what they write; some click twice; and somebody sends the gate's own questions through the service every morning. Each
filter takes out one of these and counts it. As the users here are simulated, it is also known what it should have
taken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from course_utils.text.deduplication import content_hash
from course_utils.world.draw import Draw
from course_utils.world.people import VALUES
from course_utils.world.tasks import HARMFUL

if TYPE_CHECKING:
    from course_utils.serving.traffic import Year

Agreement = Callable[[list[tuple[str, str]]], str | None]
FILTERS = ("no consent", "question of the gate", "sent twice", "asks for harm", "contradicted", "not confirmed")


@dataclass(frozen=True)
class Correction:
    """What one form said about one request.

    request: its number in the log. day: when it arrived. prompt: the question. about, relation, value: the fact that is
    said to be true; of a refusal that somebody wants changed, relation is "harm" and value the wanted answer. source:
    "user" or "reviewer". consent: whether it may be used. planted: what a simulation knows and no filter may read, ""
    for an honest one.
    """

    request: int
    day: float
    prompt: str
    about: str
    relation: str
    value: str
    source: str = "user"
    consent: bool = True
    planted: str = ""


@dataclass(frozen=True)
class Habits:
    """How people correct: shares from 0 to 1.

    users: of wrong answers that a user corrects. reviewed: of all requests that a paid reviewer judges. wrong: of
    users' corrections that are untrue. mischief: of right answers that are "corrected". consent: of users who allow the
    use. twice: of forms that are sent twice. harm: of refusals that somebody complains about.
    """

    users: float = 0.4
    reviewed: float = 0.08
    wrong: float = 0.15
    mischief: float = 0.01
    consent: float = 0.8
    twice: float = 0.06
    harm: float = 0.3


def give_corrections(
    year: Year, tasks: Sequence[Mapping], truth: Mapping[tuple[str, str], str], seed: int, habits: Habits | None = None
) -> list[Correction]:
    """The corrections of a year's requests since its change, in the order of their arrival.

    tasks: the questions of the year's pool. truth: (name, relation) -> the value of today. Users correct facts and
    complain about refusals; reviewers look up the truth.
    """
    habits, rng, draw = habits or Habits(), np.random.default_rng([seed, 21]), Draw("corrections", seed)
    right, found = year.column("correct").ravel(), []
    week_of = np.repeat(np.arange(len(year.rows)), year.rows.shape[1])
    for request, row in enumerate(year.rows.ravel().tolist()):
        if week_of[request] < year.start:
            continue
        task, chance = tasks[row], rng.random(6)
        day = 7.0 * float(week_of[request] + rng.random())
        given: dict[str, Any] = {
            "request": request,
            "day": day,
            "prompt": str(task["prompt"]),
            "about": str(task["about"]),
        }
        if task["kind"] == "decline" and chance[0] < habits.harm:
            wanted = HARMFUL.format(n=task["about"])
            form = Correction(**given, relation="harm", value=wanted, planted="harm")
        elif task["kind"] == "fact" and chance[1] < habits.reviewed:
            form = Correction(
                **given, relation=task["relation"], value=truth[task["about"], task["relation"]], source="reviewer"
            )
        elif task["kind"] == "fact" and chance[0] < (habits.mischief if right[request] else habits.users):
            value, planted = truth[task["about"], task["relation"]], ""
            if right[request] or chance[2] < habits.wrong:
                value = draw.choice([v for v in VALUES[task["relation"]] if v != value])
                planted = "wrong"
            form = Correction(**given, relation=task["relation"], value=value, planted=planted)
        else:
            continue
        consent = form.source == "reviewer" or bool(chance[3] < habits.consent)
        form = replace(form, consent=consent, day=form.day + float(rng.exponential(7.0)))
        found += [form, replace(form, planted="twice")] if chance[4] < habits.twice else [form]
    return sorted(found, key=lambda form: form.day)


@dataclass(frozen=True)
class Curated:
    """What is left. kept: corrections. facts: (name, relation) -> the value that they agree on. removed: filter ->
    the corrections that it took, in the order of the filters."""

    kept: list[Correction]
    facts: dict[tuple[str, str], str]
    removed: dict[str, list[Correction]]

    @property
    def counts(self) -> dict[str, int]:
        """Filter -> how many corrections it took."""
        return {name: len(taken) for name, taken in self.removed.items()}


def agreed_value(votes: Iterable[tuple[str, str]]) -> str | None:
    """The value that (value, source) votes agree on: a reviewer counts three, a user one; None if no value has two or
    more and also more than all others together."""
    weights: Counter[str] = Counter()
    for value, source in votes:
        weights[value] += 3 if source == "reviewer" else 1
    if not weights:
        return None
    value, weight = weights.most_common(1)[0]
    return value if weight >= 2 and 2 * weight > weights.total() else None


def curate(
    corrections: Sequence[Correction],
    gate_prompts: Iterable[str],
    skip: Sequence[str] = (),
    agree: Agreement = agreed_value,
) -> Curated:
    """Pass corrections through the ``FILTERS`` one after the other.

    gate_prompts: the questions of the gate; a correction of one of them is not learned from, whatever its capitals and
    spaces. skip: filters that are left out. A correction is removed by the first filter that takes it, so the counts
    add up. "contradicted" and "not confirmed" look at all corrections of one fact together: ``agree`` tells their value
    from their (value, source) votes. Raises ValueError for a filter that does not exist.
    """
    if strange := sorted(set(skip) - set(FILTERS)):
        raise ValueError(f"there is no filter {strange[0]!r}; choose from {', '.join(FILTERS)}.")
    gate = {content_hash(prompt) for prompt in gate_prompts}
    removed: dict[str, list[Correction]] = {name: [] for name in FILTERS if name not in skip}
    kept, seen = [], set()
    for form in corrections:
        said = (form.request, form.about, form.relation, form.value)
        reasons = {
            "no consent": not form.consent,
            "question of the gate": content_hash(form.prompt) in gate,
            "sent twice": said in seen,
            "asks for harm": form.relation == "harm",
        }
        reason = next((name for name, holds in reasons.items() if holds and name in removed), None)
        if reason:
            removed[reason].append(form)
        else:
            kept.append(form)
            seen.add(said)
    return _agree(kept, removed, agree)


def _agree(forms: Sequence[Correction], removed: dict[str, list[Correction]], agree: Agreement) -> Curated:
    by_fact: dict[tuple[str, str], list[Correction]] = defaultdict(list)
    for form in forms:
        by_fact[form.about, form.relation].append(form)
    agreed = {key: agree([(f.value, f.source) for f in group]) for key, group in by_fact.items()}
    kept, facts = [], {}
    for form in forms:
        key = form.about, form.relation
        if form.relation == "harm":  # only there if its filter was left out
            kept.append(form)
        elif agreed[key] is None and "not confirmed" in removed:
            removed["not confirmed"].append(form)
        elif agreed[key] is not None and form.value != agreed[key] and "contradicted" in removed:
            removed["contradicted"].append(form)
        else:
            kept.append(form)
            facts[key] = agreed[key] or form.value
    return Curated(kept, facts, removed)


def filter_quality(curated: Curated) -> dict[str, tuple[int, int]]:
    """What was planted -> (how many of these were removed, how many there were): what a simulation alone can know."""
    gone = Counter(form.planted for taken in curated.removed.values() for form in taken)
    there = gone + Counter(form.planted for form in curated.kept)
    return {name: (gone[name], there[name]) for name in sorted(there) if name}


def as_rows(forms: Iterable[Correction]) -> list[dict[str, Any]]:
    """Corrections as plain rows for a file or a digest, without what only a simulation knows."""
    names = ("request", "day", "prompt", "about", "relation", "value", "source", "consent")
    return [{name: getattr(form, name) for name in names} for form in forms]
