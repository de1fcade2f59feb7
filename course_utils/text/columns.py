"""Which columns of a data set are what: found from their names and first rows, then read row by row.

=================  ================================================================================
chat               messages (or conversations), each with role and content, or ShareGPT's from and value
instruction        instruction, input if there is one, and output (or response, answer, completion)
prompt-completion  prompt and completion (or response, output, answer); texts or lists of messages
question-answer    question and answer (or response, output)
preference         chosen and rejected, prompt if there is one; texts or lists of messages
transcripts        chosen and rejected, each a whole "Human: ... Assistant: ..." text, as hh-rlhf has it
labelled text      text and label
text               text
=================  ================================================================================

What is read is one of three kinds of row: a conversation, a comparison, or a text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from course_utils.text.documents import DataError, show_value

ANSWERS = ("output", "response", "answer", "completion")
# In this order: the first layout all of whose parts are there is taken. Of each part any of the names will do.
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "preference": {"chosen": ("chosen",), "rejected": ("rejected",)},
    "chat": {"messages": ("messages", "conversations", "conversation", "chat", "dialog", "dialogue")},
    "instruction": {"instruction": ("instruction",), "answer": ANSWERS},
    "prompt-completion": {"prompt": ("prompt",), "answer": ("completion", *ANSWERS)},
    "question-answer": {"question": ("question", "query"), "answer": ("answer", *ANSWERS)},
    "labelled text": {"text": ("text", "sentence", "review"), "label": ("label", "labels", "class")},
    "text": {"text": ("text", "content", "document", "body")},
}
OPTIONAL = {"instruction": {"input": ("input", "context")}, "preference": {"prompt": ("prompt", "question")}}
KINDS = {"preference": "pair", "transcripts": "pair", "text": "text"}  # all others: chat
GROUPS = (
    "group", "group_id", "document_id", "doc_id", "conversation_id", "thread_id", "session_id", "user_id", "author",
)  # fmt: skip
ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
QUESTION = "Which label fits this text?"


@dataclass(frozen=True)
class Layout:
    """What the columns are. ``columns``: part -> column. ``group``: the column whose equal values belong together."""

    name: str
    columns: Mapping[str, str]
    group: str | None = None
    question: str = QUESTION
    labels: tuple[str, ...] = ()
    unused: tuple[str, ...] = field(default=(), compare=False)

    @property
    def kind(self) -> str:
        """What is read: "chat", "pair" or "text"."""
        return KINDS.get(self.name, "chat")

    def __str__(self) -> str:
        parts = ", ".join(f"{part} from {column!r}" for part, column in self.columns.items())
        group = f"; rows with one {self.group!r} stay together" if self.group else ""
        unused = f"; not used: {', '.join(map(repr, self.unused))}" if self.unused else ""
        return f"{self.name} ({parts}{group}{unused})"


def detect(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str] | None = None,
    group: str | None = None,
    question: str = QUESTION,
    labels: Sequence[str] = (),
) -> Layout:
    """The layout of a data set from some of its rows.

    columns: part -> column, such as {"question": "frage", "answer": "antwort"}, for names that the course does not
    know. group: the column whose equal values belong together; looked for among ``GROUPS`` if it is left out.
    Raises DataError, which names the columns that there are.
    """
    rows = [row for row in rows if isinstance(row, Mapping)]
    if not rows:
        raise DataError("none of the first rows is an object with named columns, so nothing can be told about them.")
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    found = given(columns, names) if columns else by_name(names)
    if found is None:
        wanted = "; ".join(f"{name} ({', '.join(parts)})" for name, parts in LAYOUTS.items())
        raise DataError(
            f"the columns {', '.join(map(repr, names))} are none of the layouts that are known: {wanted}. Say which is "
            "which, for example --columns question=Frage,answer=Antwort."
        )
    name, parts = found
    if name == "preference" and all(_is_transcript(row.get(parts[side])) for row in rows for side in parts):
        name = "transcripts"
    if group is not None and group not in names:
        raise DataError(f"there is no column {group!r} to group by; there are {', '.join(map(repr, names))}.")
    group = group or _ids(rows, names, parts)
    unused = tuple(n for n in names if n not in parts.values() and n != group)
    return Layout(name, parts, group, question, tuple(labels), unused)


def by_name(names: Mapping[str, Any]) -> tuple[str, dict[str, str]] | None:
    """(the layout, part -> column) that these column names have, capitals or not; None if it is none that is known."""
    plain = {name.strip().lower(): name for name in reversed(list(names))}
    for layout, parts in LAYOUTS.items():
        found = {part: next((plain[n] for n in known if n in plain), None) for part, known in parts.items()}
        if None in found.values():
            continue
        extra = {
            part: next((plain[n] for n in known if n in plain), None)
            for part, known in OPTIONAL.get(layout, {}).items()
        }
        return layout, {part: column for part, column in (found | extra).items() if column is not None}
    return None


def given(columns: Mapping[str, str], names: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The same where somebody says which column is what. Raises DataError for what does not fit."""
    missing = [column for column in columns.values() if column not in names]
    if missing:
        raise DataError(f"there is no column {missing[0]!r}; there are {', '.join(map(repr, names))}.")
    for layout, parts in LAYOUTS.items():
        if set(parts) <= columns.keys() <= set(parts) | set(OPTIONAL.get(layout, {})):
            return layout, dict(columns)
    wanted = "; ".join("+".join(parts) for parts in LAYOUTS.values())
    raise DataError(f"the parts {', '.join(columns)} make none of the layouts; these do: {wanted}.")


def _ids(rows: Sequence[Mapping], names: Mapping[str, Any], parts: Mapping[str, str]) -> str | None:
    """A column that says which rows belong together: of one conversation, document or person. A plain "id" does only if
    its values come more than once."""
    for name in names:
        plain = name.strip().lower()
        if plain in (*GROUPS, "id") and name not in parts.values():
            values = Counter(str(row[name]) for row in rows if row.get(name) is not None)
            if len(values) > 1 and (plain != "id" or len(values) < sum(values.values())):
                return name
    return None


def read_row(row: Any, layout: Layout) -> dict[str, Any]:
    """A row as ``{"messages": [...]}``, ``{"prompt": [...], "chosen": [...], "rejected": [...]}`` or ``{"text": ...}``.

    Raises DataError with what is wrong, without a place.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"it is {show_value(row)}, where an object with named columns is expected")
    if layout.name == "text":
        return {"text": _text(row, layout, "text")}
    if layout.kind == "pair":
        return _pair(row, layout)
    if layout.name == "chat":
        messages = read_messages(_value(row, layout, "messages"))
        if not any(m["role"] == "assistant" for m in messages):
            raise DataError("no message is the assistant's, so there is nothing to learn from")
        return {"messages": messages}
    if layout.name == "labelled text":
        asked = f"{layout.question}\n{_text(row, layout, 'text')}"
        return {"messages": _turn(asked, _label(row, layout))}
    asking = next(part for part in ("instruction", "prompt", "question") if part in layout.columns)
    if layout.name == "prompt-completion" and isinstance(row.get(layout.columns["prompt"]), list):
        messages = read_messages(row[layout.columns["prompt"]])
        return {"messages": messages + _answer(_value(row, layout, "answer"))}
    asked = _text(row, layout, asking)
    extra = row.get(layout.columns.get("input", "")) if "input" in layout.columns else None
    if extra is not None and not isinstance(extra, str):
        raise DataError(f"{layout.columns['input']!r} is {show_value(extra)}, where a text is expected")
    asked = f"{asked}\n{extra}" if extra and not extra.isspace() else asked
    return {"messages": _turn(asked, _text(row, layout, "answer"))}


def read_messages(messages: Any) -> list[dict[str, Any]]:
    """Messages with role and content, whichever way they were named. Raises DataError, naming the message."""
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise DataError(f"the messages are {show_value(messages)}, where a list is expected")
    if not messages:
        raise DataError("the list of messages is empty")
    return [_message(message, number) for number, message in enumerate(messages, 1)]


def _message(message: Any, number: int) -> dict[str, Any]:
    names = ("role", "content") if isinstance(message, Mapping) and "role" in message else ("from", "value")
    if not isinstance(message, Mapping) or any(name not in message for name in names):
        raise DataError(f"message {number} is {show_value(message)}; it needs role and content, or from and value")
    said, content = message[names[0]], message[names[1]]
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise DataError(f"message {number} has the role {said!r}; known are {', '.join(ROLES)}")
    calls = {"tool_calls": message["tool_calls"]} if message.get("tool_calls") else {}
    if calls and content is None:
        content = ""
    if not isinstance(content, str):
        raise DataError(f"message {number} ({role}) has the content {show_value(content)}, where a text is expected")
    if not calls and (not content or content.isspace()):
        raise DataError(f"message {number} ({role}) is empty")
    return {"role": role, "content": content, **calls}


def _pair(row: Mapping, layout: Layout) -> dict[str, Any]:
    if layout.name == "transcripts":
        sides = [read_transcript(_text(row, layout, side)) for side in ("chosen", "rejected")]
    else:
        prompt = row.get(layout.columns["prompt"]) if "prompt" in layout.columns else None
        begin = [] if prompt is None else _asked(prompt)
        sides = [_side(_value(row, layout, side), begin, side) for side in ("chosen", "rejected")]
    for side, messages in zip(("chosen", "rejected"), sides, strict=True):
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise DataError(f"the {side} side is not a prompt and then an answer of the assistant")
    (*prompt, chosen), (*other, rejected) = sides
    if prompt != other:
        raise DataError("the sides part before their last answer: only answers to one prompt can be compared")
    if chosen == rejected:
        raise DataError("both sides give the same answer")
    return {"prompt": prompt, "chosen": [chosen], "rejected": [rejected]}


def _asked(prompt: Any) -> list[dict[str, Any]]:
    if isinstance(prompt, str):
        if not prompt or prompt.isspace():
            raise DataError("the prompt is empty")
        return [{"role": "user", "content": prompt}]
    return read_messages(prompt)


def _side(value: Any, begin: list[dict[str, Any]], side: str) -> list[dict[str, Any]]:
    """One side of a comparison, from its first message on; some data sets repeat the prompt in it, some do not."""
    if not isinstance(value, str | list):
        raise DataError(f"{side} is {show_value(value)}, where a text or a list of messages is expected")
    if isinstance(value, str) or len(value) == 1:
        messages = _answer(value)
        if not begin:
            raise DataError(f"{side} is an answer alone, and there is no prompt")
        return begin + messages
    return read_messages(value)


def _answer(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        if not value or value.isspace():
            raise DataError("the answer is empty")
        return [{"role": "assistant", "content": value}]
    return read_messages(value)


def read_transcript(text: str) -> list[dict[str, Any]]:
    """A text of turns, each after "Human:" or "Assistant:" at the beginning of a paragraph, as messages."""
    before, *parts = _TURN.split(text)
    if before.strip() or not parts:
        raise DataError(f'the transcript begins with {show_value(text, 40)}, where "Human:" is expected')
    roles = {"Human": "user", "Assistant": "assistant"}
    messages = [{"role": roles[w], "content": s.strip()} for w, s in zip(parts[::2], parts[1::2], strict=True)]
    return read_messages(messages)


def _is_transcript(value: Any) -> bool:
    return value is None or (isinstance(value, str) and bool(re.match(r"\s*Human:", value)))


def _value(row: Mapping, layout: Layout, part: str) -> Any:
    column = layout.columns[part]
    value = row.get(column)
    if value is None:
        has = ", ".join(repr(name) for name, value in row.items() if value is not None) or "nothing"
        raise DataError(f"it has no {column!r} (it has {has})")
    return value


def _text(row: Mapping, layout: Layout, part: str) -> str:
    value = _value(row, layout, part)
    if not isinstance(value, str):
        raise DataError(
            f"{layout.columns[part]!r} is {show_value(value)} of type {type(value).__name__}, where a text is expected"
        )
    if not value or value.isspace():
        raise DataError(f"{layout.columns[part]!r} is empty")
    return value


def _label(row: Mapping, layout: Layout) -> str:
    value = _value(row, layout, "label")
    column = layout.columns["label"]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(
            f"{column!r} is {show_value(value)} of type {type(value).__name__}, where a word or a whole number is "
            "expected"
        )
    if isinstance(value, int) and layout.labels:
        if not 0 <= value < len(layout.labels):
            raise DataError(f"{column!r} is {value}, and {len(layout.labels)} labels were named (0 is the first)")
        return layout.labels[value]
    if isinstance(value, str) and (not value or value.isspace()):
        raise DataError(f"{column!r} is empty")
    return str(value)


def _turn(asked: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
