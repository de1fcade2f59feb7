"""The formats in which instruction data arrives, read as conversations.

=============  ==================================================================================
chat           {"messages": [{"role": "user", "content": ...}, {"role": "assistant", ...}]}
instruction    {"instruction": ..., "response": ...}, with an optional "input" the task is about
labelled text  {"text": ..., "label": ...}, which needs the question that the label answers
=============  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from course_utils.text.chat import check_messages
from course_utils.text.documents import DataError, show_value

ANSWER_COLUMNS = ("response", "output", "answer")  # as data sets call it; the first that is there is taken


def to_messages(
    rows: Iterable[Mapping], question: str | None = None, label_names: Sequence[str] | None = None
) -> list[list[dict[str, str]]]:
    """Each row as a list of messages, whichever of the three formats it has.

    question: what is asked about each text of labelled rows, for example "Which tone has this letter?".
    label_names: the word for each label, where labels are numbers.
    Raises DataError, naming the row and the columns it has, for a row that has none of the three formats.
    """
    return [_read(row, number, question, label_names) for number, row in enumerate(rows)]


def _read(row: Mapping, number: int, question: str | None, label_names: Sequence[str] | None) -> list[dict[str, str]]:
    if not isinstance(row, Mapping):
        raise DataError(f"row {number} is {show_value(row)} of type {type(row).__name__}; a dict is expected.")
    columns = {name for name, value in row.items() if value is not None}
    answer = next((name for name in ANSWER_COLUMNS if name in columns), None)
    if "messages" in columns:
        messages = [dict(message) for message in row["messages"]]
    elif "instruction" in columns and answer:
        asked = row["instruction"] if not row.get("input") else f"{row['instruction']}\n{row['input']}"
        messages = _turn(asked, row[answer])
    elif {"text", "label"} <= columns:
        if question is None:
            raise DataError(
                f"row {number} has a text and a label; the question that the label answers is expected as well. "
                'Give it, for example to_messages(rows, question="Which tone has this letter?").'
            )
        messages = _turn(f"{question}\n{row['text']}", _label(row["label"], number, label_names))
    else:
        raise DataError(
            f"row {number} has the columns {', '.join(map(repr, row)) or 'none'}; expected are 'messages', or "
            "'instruction' and 'response', or 'text' and 'label'. Rename the columns, or drop the row."
        )
    check_messages(messages, number)
    return messages


def _turn(asked: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _label(label: object, number: int, label_names: Sequence[str] | None) -> str:
    if isinstance(label, str):
        return label
    if label_names is None or not isinstance(label, int) or not 0 <= label < len(label_names):
        known = "none were given" if label_names is None else f"there are {len(label_names)}"
        raise DataError(
            f"row {number} has the label {label!r}; a string, or the number of one of label_names, is expected "
            f"({known}). Give label_names=[...], one word for each label."
        )
    return label_names[label]
