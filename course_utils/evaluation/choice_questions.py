"""Questions with answers to choose from: made from the facts of the Isles, read from files strictly, and as prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.evaluation.strict_rows import missing_fields, read_json_rows
from course_utils.world.draw import Draw
from course_utils.world.people import VALUES


class ChoiceFileError(ValueError):
    """The file has rows that cannot be used. The message names them."""


@dataclass(frozen=True)
class ChoiceQuestion:
    """A question, the answers to choose from, and which of them is right (0 is the first)."""

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int


def fact_choices(tasks: Sequence[Mapping[str, Any]], count: int = 4, seed: int = 0) -> list[ChoiceQuestion]:
    """A fact question with its true value among ``count - 1`` false ones of the same relation, in random order.

    tasks: rows of ``fact_questions``. The id names the person and the relation. Raises ValueError if ``count`` is not
    between 2 and the number of values of a relation.
    """
    draw, rows = Draw("choices", seed), []
    for task in tasks:
        relation, value = str(task["relation"]), str(task["value"])
        others = [other for other in VALUES[relation] if other != value]
        if not 1 <= count - 1 <= len(others):
            raise ValueError(f"count is {count}; a {relation} has {len(others) + 1} values to choose from.")
        choices = draw.sample([value, *draw.sample(others, count - 1)], count)
        row_id = f"{task['about']}, {relation}"
        rows.append(ChoiceQuestion(row_id, str(task["prompt"]), tuple(choices), choices.index(value)))
    return rows


def read_choice_file(path: str | Path) -> list[ChoiceQuestion]:
    """The rows of a file with one JSON object a line: ``id``, ``question``, ``choices`` (a list of texts) and
    ``answer``, which is the place of the right one, from 0, or its text. Other fields are ignored.

    Raises ChoiceFileError, which names the lines, for broken JSON, a missing field, an empty question or choice, fewer
    than two choices, a choice that stands twice, an answer that is not among the choices, an id that comes twice, or a
    file without rows. No row is left out in silence: a score over the rest is another score.
    """
    seen: set[str] = set()

    def question(found: Any) -> ChoiceQuestion:
        if problem := _problem(found, seen):
            raise ValueError(problem)
        seen.add(str(found["id"]))
        answer, choices = found["answer"], tuple(found["choices"])
        place = choices.index(answer) if isinstance(answer, str) else answer
        return ChoiceQuestion(str(found["id"]), found["question"], choices, place)

    return read_json_rows(path, question, ChoiceFileError)


def write_choice_file(path: str | Path, rows: Sequence[ChoiceQuestion]) -> Path:
    """Write rows as ``read_choice_file`` and lm-eval's task files read them."""
    fields = [
        {"id": row.id, "question": row.question, "choices": list(row.choices), "answer": row.answer} for row in rows
    ]
    path = Path(path)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in fields), encoding="utf-8")
    return path


def choice_prompts(
    rows: Sequence[ChoiceQuestion],
    shots: Sequence[ChoiceQuestion] = (),
    template: str = "{}",
    delimiter: str = " ",
    between: str = "\n",
) -> list[str]:
    """The prompt of each question as lm-eval builds it: finished examples, then the question, without its answer.

    template: what stands around a question, such as ``"Question: {}\\nAnswer:"``. delimiter: between a question and its
    answer (lm-eval's ``target_delimiter``). between: after each example (``fewshot_delimiter``, there two line ends).
    """
    done = "".join(template.format(s.question) + delimiter + s.choices[s.answer] + between for s in shots)
    return [done + template.format(row.question) for row in rows]


def _problem(found: Any, seen: set[str]) -> str | None:
    """What is wrong with a row, or None."""
    if missing := missing_fields(found, ("id", "question", "choices", "answer")):
        return f"no {', '.join(missing)}"
    question, choices, answer = found["question"], found["choices"], found["answer"]
    if not isinstance(question, str) or not question.strip():
        return "the question is empty"
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c.strip() for c in choices):
        return f"the choices are {choices!r}; two texts or more are expected, none of them empty"
    if len(set(choices)) < len(choices):
        return "a choice stands there twice"
    if isinstance(answer, bool) or not isinstance(answer, int | str):
        return f"the answer is {answer!r}; the number of a choice, from 0, or its text is expected"
    if answer not in choices if isinstance(answer, str) else not 0 <= answer < len(choices):
        return f"the answer {answer!r} is not among the {len(choices)} choices"
    if str(found["id"]) in seen:
        return f"id {found['id']} comes a second time"
    return None
