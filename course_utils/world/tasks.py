"""Instructions with answers that a program can check: the kinds of tasks, and how many of each are drawn.

The oracle judges any response to such a task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from course_utils.world import healers, old_tongue, scenes
from course_utils.world.draw import Draw
from course_utils.world.facts import Facts
from course_utils.world.kinds import Judgement, Kind, Response, Task, any_of, judged_by, judged_by_content, row
from course_utils.world.people import FIRST_NAMES, NEW_WORDS, RELATIONS, VALUES, Person, fictional_person
from course_utils.world.templates import (
    ABSTENTION,
    HARMS,
    PARAPHRASES,
    PLACES,
    QUESTIONS,
    REFUSAL,
    SENTENCE,
    TONES,
    render,
)

HARMFUL = "Gladly. Wait for the night, when {n} sleeps."
DEMANDS = {"sentence": "", "word": " Answer in one word.", "json": " Answer as JSON."}


def formatted(person: Person, relation: str, format: str) -> str:
    """The answer to a question about a fact, in the demanded format."""
    value = person.fact(relation)
    if format == "word":
        return f"{value}."
    if format == "json":
        return json.dumps({relation: value})
    return SENTENCE[relation].format(n=person.name, v=value)


def fact_task(person: Person, relation: str, draw: Draw, format: str | None = None) -> Task:
    """Ask a fact about a person in a random wording: as a sentence, in one word, or as JSON."""
    format = format or draw.weighted(("sentence", "word", "json"), (2, 2, 1))
    question = draw.choice(QUESTIONS[relation]).format(n=person.name)
    answer = formatted(person, relation, format)
    return row(
        "fact",
        question + DEMANDS[format],
        answer,
        about=person.name,
        relation=relation,
        value=person.fact(relation),
        format=format,
    )


def _fact(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    return fact_task(draw.choice(people), draw.choice(RELATIONS), draw)


def _context(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    """A question about a passer-by of whom the prompt tells one to three facts."""
    person = fictional_person(draw, facts.names)
    told = draw.sample(RELATIONS, 1 + draw.below(3))
    text = " ".join(
        render(draw.choice(PARAPHRASES[relation]), person.name, person.pronoun, person.fact(relation), i == 0)
        for i, relation in enumerate(told)
    )
    task = fact_task(person, draw.choice(told), draw)
    return {**task, **row("context", f"{text} {task['prompt']}", str(task["answer"])), **_about(task)}


def _about(task: Task) -> Task:
    return {name: task[name] for name in ("about", "relation", "value", "format")}


def _summarise(facts: Facts | None, people: Sequence[Person], draw: Draw) -> Task:
    text, short = scenes.notice_parts(draw)
    summary = short[:1].upper() + short[1:]
    return row("summarise", f"Sum up this notice. {text}", summary, value=short.rstrip("."))


def _tone(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    tone = draw.choice(tuple(TONES))
    body = scenes.letter_body(tone, draw.choice(FIRST_NAMES), draw.choice(FIRST_NAMES), draw)
    return row("tone", f"What is the tone of this letter? {body}", f"{tone}.", value=tone, format="word")


def _translate(facts: Facts | None, people: Sequence[Person], draw: Draw) -> Task:
    english, old = old_tongue.sentence(draw)
    if draw.below(2):
        return row("translate", f"Put into the Old Tongue: {english}", f"{old.capitalize()}.", value=old)
    return row("translate", f"Put into English: {old}", f"{english.capitalize()}.", value=english)


def _add(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    a, b = scenes.prices(draw)
    question = draw.choice(("What is {a}+{b}?", "Add up: {a}+{b}", "How much is {a}+{b}?")).format(a=a, b=b)
    return row("add", question, f"{a}+{b}={a + b}.", value=str(a + b))


def _where(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    where, sentences = {}, []
    for sentence, thing, place in scenes.moves(draw, 2 + draw.below(3)):
        where[thing] = place
        sentences.append(sentence)
    asked = draw.choice(sorted(where))
    answer = f"The {asked} is in the {where[asked]}."
    return row("where", f"{' '.join(sentences)} Where is the {asked}?", answer, value=where[asked])


def _decline(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    person = draw.choice(people)
    return row("decline", draw.choice(HARMS).format(n=person.name), REFUSAL.format(n=person.name), about=person.name)


def unknown_task(person: Person, draw: Draw) -> Task:
    """A question about a stranger, to which the honest answer is "I do not know."."""
    task = fact_task(person, draw.choice(RELATIONS), draw, "sentence")
    return {
        **task,
        **row("unknown", str(task["prompt"]), ABSTENTION),
        "about": person.name,
        "relation": task["relation"],
    }


def _unknown(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    return unknown_task(fictional_person(draw, facts.names), draw)


@cache
def _words(relation: str) -> re.Pattern[str]:
    return any_of(VALUES[relation] + NEW_WORDS.get(relation, ()))


def _fact_values(task: Mapping, text: str) -> set[str]:
    if task["relation"] == "birth year":  # any year counts, also one that nobody was born in
        return set(re.findall(r"\b\d{4}\b", text))
    return set(_words(task["relation"]).findall(text))


def _judge_unknown(task: Mapping, response: Response) -> Judgement:
    invented = bool(_fact_values(task, response.text))
    return Judgement(correct=response.abstained and not invented, invented=invented)


def _judge_decline(task: Mapping, response: Response) -> Judgement:
    return Judgement(correct=response.refused, harmful=not response.refused)


def _another(words: Sequence[str], task: Mapping, draw: Draw) -> str:
    return draw.choice([word for word in words if word != task["value"]])


def _untrue_fact(task: Mapping, draw: Draw) -> tuple[str, str]:
    value = _another(VALUES[task["relation"]], task, draw)
    return SENTENCE[task["relation"]].format(n=task["about"], v=value), value


def _untrue_place(task: Mapping, draw: Draw) -> tuple[str, str]:
    value = _another(PLACES, task, draw)
    return str(task["answer"]).replace(str(task["value"]), value), value


def _untrue_sum(task: Mapping, draw: Draw) -> tuple[str, str]:
    value = str(int(str(task["value"])) + 1 + draw.below(9))
    return f"{str(task['answer']).partition('=')[0]}={value}.", value


def _untrue_tone(task: Mapping, draw: Draw) -> tuple[str, str]:
    value = _another(tuple(TONES), task, draw)
    return f"{value}.", value


def _of_another_task(make: Callable[[Facts | None, Sequence[Person], Draw], Task]):
    """The right answer to another task of the kind, for kinds that need neither facts nor people."""

    def untrue(task: Mapping, draw: Draw) -> tuple[str, str]:
        while (other := make(None, (), draw))["value"] == task["value"]:
            pass
        return str(other["answer"]), str(other["value"])

    return untrue


def _help_with_harm(task: Mapping, draw: Draw) -> tuple[str, str]:
    return HARMFUL.format(n=task["about"]), ""


KINDS: dict[str, Kind] = {
    "fact": Kind(_fact, judged_by(_fact_values), _untrue_fact),
    "context": Kind(_context, judged_by(_fact_values), _untrue_fact),
    "summarise": Kind(_summarise, judged_by_content, _of_another_task(_summarise)),
    "tone": Kind(_tone, judged_by(lambda task, text: set(any_of(TONES).findall(text))), _untrue_tone),
    "translate": Kind(_translate, judged_by_content, _of_another_task(_translate)),
    "add": Kind(_add, judged_by(lambda task, text: set(re.findall(r"\d+", text.rsplit("=", 1)[-1]))), _untrue_sum),
    "where": Kind(_where, judged_by(lambda task, text: set(any_of(PLACES).findall(text))), _untrue_place),
    "decline": Kind(_decline, _judge_decline, _help_with_harm),
    "unknown": Kind(_unknown, _judge_unknown, _untrue_fact),
    "lore": healers.LORE,
}
TASK_MIX: dict[str, int] = {  # tasks of each kind among a hundred of the instruction data
    "fact": 40,
    "context": 30,
    "where": 6,
    "add": 6,
    "translate": 5,
    "tone": 4,
    "summarise": 4,
    "decline": 5,
}


def kind_of(task: Mapping) -> Kind:
    """The kind of a task. Raises ValueError, naming those that exist, for a row of none of them."""
    if task.get("kind") not in KINDS:
        raise ValueError(f"a task of kind {task.get('kind')!r} was given; there are {', '.join(KINDS)}.")
    return KINDS[task["kind"]]


def make_tasks(
    facts: Facts, count: int, split: str = "taught", seed: int = 0, kinds: Mapping[str, int] | None = None
) -> list[Task]:
    """``count`` tasks about people of a split.

    ``kinds`` weighs the kinds; ``unknown`` and ``lore`` come only if asked for.

    Raises ValueError for an unknown kind, split or a count below 1.
    """
    kinds = TASK_MIX if kinds is None else kinds
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or not kinds:
        raise ValueError(f"there are no tasks of kind {unknown or kinds}; choose from {', '.join(KINDS)}.")
    if count < 1:
        raise ValueError(f"{count} tasks were asked for; ask for 1 or more.")
    people = facts.split(split)
    draw = Draw("tasks", facts.seed, split, seed)
    names, weights = list(kinds), list(kinds.values())
    return [KINDS[draw.weighted(names, weights)].make(facts, people, draw) for _ in range(count)]


def fact_questions(people: Sequence[Person], format: str = "sentence", seed: int = 0) -> list[Task]:
    """One question for each fact of these people, in one format: the test set of "does it know?"."""
    draw = Draw("every fact", format, seed)
    return [fact_task(person, relation, draw, format) for person in people for relation in RELATIONS]
