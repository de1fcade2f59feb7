"""Files of claims and questions in the shape of FEVER and TruthfulQA, read strictly, and scored.

Nothing is downloaded: the reader supplies the file. A row that cannot be used is named, with its line and the reason;
none is left out in silence, because a score over the rest is another score.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from course_utils.evaluation.strict_rows import checked, missing_fields, read_json_rows
from course_utils.evaluation.verification import LABELS
from course_utils.models.scoring import batched, token_losses
from course_utils.text.chat import chat_prompt, encode_answers
from course_utils.text.special_tokens import padding_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class FactFileError(ValueError):
    """The file has rows that cannot be used. The message names them."""


@dataclass(frozen=True)
class Claim:
    """One row of a FEVER-shaped file. label: SUPPORTS, REFUTES or NOT ENOUGH INFO."""

    id: str
    text: str
    label: str


@dataclass(frozen=True)
class Choices:
    """One row of a TruthfulQA-shaped file: the question, its best answer, all right answers (the best one among them),
    and wrong ones."""

    question: str
    best: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def read_claims(path: str | Path) -> list[Claim]:
    """The rows of a FEVER-shaped file: one JSON object a line with ``id``, ``claim`` and ``label``; more is ignored.

    Raises FactFileError for broken JSON, a missing field, an empty claim, an unknown label, an id that comes twice, or
    a file without rows.
    """
    seen: set[str] = set()

    def claim(found: Any) -> Claim:
        if missing := missing_fields(found, ("id", "claim", "label")):
            raise ValueError(f"no {', '.join(missing)}")
        row = Claim(str(found["id"]), str(found["claim"]).strip(), str(found["label"]))
        again = row.id in seen
        seen.add(row.id)
        if not row.text:
            raise ValueError("the claim is empty")
        if row.label not in LABELS:
            raise ValueError(f"label {row.label!r}; expected {', '.join(LABELS)}")
        if again:
            raise ValueError(f"id {row.id} comes a second time")
        return row

    return read_json_rows(path, claim, FactFileError)


def read_choices(path: str | Path) -> list[Choices]:
    """The rows of a TruthfulQA-shaped CSV: columns ``Question``, ``Best Answer``, ``Correct Answers`` and
    ``Incorrect Answers``, the last two with "; " between the answers.

    Raises FactFileError for a missing column, an empty field, a best answer that is not among the correct ones, an
    answer both correct and incorrect, a question that comes twice, or a file without rows.
    """
    rows: list[Choices] = []
    problems, seen = [], set()
    with Path(path).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        needed = ("Question", "Best Answer", "Correct Answers", "Incorrect Answers")
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            raise FactFileError(f"{path}: no column {', '.join(missing)}; there are {reader.fieldnames or 'none'}.")
        for row in reader:
            line = reader.line_num
            question, best = (str(row[name] or "").strip() for name in needed[:2])
            right, wrong = (_answers(row[name]) for name in needed[2:])
            if not question or not best or not right or not wrong:
                problems.append(f"line {line}: an empty field")
            elif best not in right:
                problems.append(f"line {line}: the best answer {best!r} is not among the correct ones")
            elif both := set(right) & set(wrong):
                problems.append(f"line {line}: {min(both)!r} is both correct and incorrect")
            elif question in seen:
                problems.append(f"line {line}: the question comes a second time")
            else:
                rows.append(Choices(question, best, right, wrong))
            seen.add(question)
    return checked(path, rows, problems, FactFileError)


def score_claims(rows: Sequence[Claim], label_of: Callable[[str], str | None]) -> dict[str, Any]:
    """How often ``label_of(text)`` gives the file's label.

    Returns ``accuracy`` over all rows (a None of ``label_of``, "I cannot read this claim", is wrong), ``unread``, how
    many those were, and ``recall`` for each label: a share, or None where the file has no such row.
    Raises ValueError for no rows, or a label that does not exist.
    """
    if not rows:
        raise ValueError("no claims were given; their share of right labels cannot be said.")
    said = [label_of(row.text) for row in rows]
    strange = {label for label in said if label is not None and label not in LABELS}
    if strange:
        raise ValueError(f"label_of gave {sorted(strange)}; expected {', '.join(LABELS)} or None.")
    there = Counter(row.label for row in rows)
    hits = Counter(row.label for row, label in zip(rows, said, strict=True) if row.label == label)
    return {
        "accuracy": sum(hits.values()) / len(rows),
        "unread": said.count(None),
        "recall": {label: hits[label] / there[label] if there[label] else None for label in LABELS},
    }


def multiple_choice(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Choices]
) -> dict[str, list[float]]:
    """MC1 and MC2 of TruthfulQA (Lin et al., arXiv 2109.07958, section 2), for each question.

    Every answer is scored by the sum of its tokens' log-probabilities after the question, in the chat template, the
    end token included. ``mc1``: 1.0 if the best answer is likelier than every wrong one, else 0.0. ``mc2``: the
    probability of the right answers as a share of that of all. Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("no questions were given; a score over none cannot be said.")
    pairs = [(row.question, answer) for row in rows for answer in (*row.right, *row.wrong)]
    scores = iter(answer_logprobs(model, tokenizer, pairs))
    found: dict[str, list[float]] = {"mc1": [], "mc2": []}
    for row in rows:
        right = torch.tensor([next(scores) for _ in row.right]).double()
        wrong = torch.tensor([next(scores) for _ in row.wrong]).double()
        found["mc1"].append(float(right[row.right.index(row.best)] > wrong.max()))
        share = right.logsumexp(0) - torch.cat([right, wrong]).logsumexp(0)
        found["mc2"].append(float(share.exp()))
    return found


def answer_logprobs(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[str, str]]
) -> list[float]:
    """For each (question, answer) the log-probability of the answer after the question, in nats, as a chat."""
    encoded = encode_answers(pairs, tokenizer)
    begins = [len(chat_prompt(tokenizer, question)) for question, _ in pairs]
    found = [0.0] * len(pairs)
    for rows, _, losses in batched(model, encoded, padding_id(tokenizer), forward=token_losses):
        for row, i in enumerate(rows):
            found[i] = -float(losses[row, begins[i] - 1 : len(encoded[i]) - 1].sum())
    return found


def _answers(field: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in (field or "").split(";") if part.strip()))
