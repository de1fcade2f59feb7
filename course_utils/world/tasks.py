"""Instructions with answers that a program can check.

A task is a plain row: ``kind``, ``prompt``, ``answer`` (the model answer), ``messages`` (both as a chat), ``about`` (a
name or ""), ``relation``, ``value`` (what a right answer must contain) and ``format`` (sentence, word, json or free).
The oracle judges any response against such a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from course_utils.world import old_tongue, scenes
from course_utils.world.draw import Draw
from course_utils.world.facts import Facts
from course_utils.world.people import FIRST_NAMES, RELATIONS, Person, fictional_person
from course_utils.world.templates import ABSTENTION, HARMS, PARAPHRASES, QUESTIONS, REFUSAL, SENTENCE, TONES, render

Task = dict[str, object]
DEMANDS = {"sentence": "", "word": " Answer in one word.", "json": " Answer as JSON."}


def row(
    kind: str,
    prompt: str,
    answer: str,
    *,
    about: str = "",
    relation: str = "",
    value: str = "",
    format: str = "free",
) -> Task:
    """One task as a plain row."""
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {
        "kind": kind,
        "prompt": prompt,
        "answer": answer,
        "messages": messages,
        "about": about,
        "relation": relation,
        "value": value,
        "format": format,
    }


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


def _summarise(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    text, short = scenes.notice_parts(draw)
    summary = short[:1].upper() + short[1:]
    return row("summarise", f"Sum up this notice. {text}", summary, value=short.rstrip("."))


def _tone(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
    tone = draw.choice(tuple(TONES))
    body = scenes.letter_body(tone, draw.choice(FIRST_NAMES), draw.choice(FIRST_NAMES), draw)
    return row("tone", f"What is the tone of this letter? {body}", f"{tone}.", value=tone, format="word")


def _translate(facts: Facts, people: Sequence[Person], draw: Draw) -> Task:
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


MAKERS: dict[str, Callable[[Facts, Sequence[Person], Draw], Task]] = {
    "fact": _fact,
    "context": _context,
    "summarise": _summarise,
    "tone": _tone,
    "translate": _translate,
    "add": _add,
    "where": _where,
    "decline": _decline,
    "unknown": _unknown,
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


def make_tasks(
    facts: Facts, count: int, split: str = "taught", seed: int = 0, kinds: Mapping[str, int] | None = None
) -> list[Task]:
    """``count`` tasks about people of a split. ``kinds`` weighs the kinds; ``unknown`` is in no mix unless asked for.

    Raises ValueError for an unknown kind, split or a count below 1.
    """
    kinds = TASK_MIX if kinds is None else kinds
    unknown = sorted(set(kinds) - set(MAKERS))
    if unknown or not kinds:
        raise ValueError(f"there are no tasks of kind {unknown or kinds}; choose from {', '.join(MAKERS)}.")
    if count < 1:
        raise ValueError(f"{count} tasks were asked for; ask for 1 or more.")
    people = facts.split(split)
    draw = Draw("tasks", facts.seed, split, seed)
    names, weights = list(kinds), list(kinds.values())
    return [MAKERS[draw.weighted(names, weights)](facts, people, draw) for _ in range(count)]


def fact_questions(people: Sequence[Person], format: str = "sentence", seed: int = 0) -> list[Task]:
    """One question for each fact of these people, in one format: the test set of "does it know?"."""
    draw = Draw("every fact", format, seed)
    return [fact_task(person, relation, draw, format) for person in people for relation in RELATIONS]
