"""Interview questions and quizzes: one file ``NN.yaml`` per chapter, and what a file must hold.

questions:                          those that the chapter's notebook shows at its end
  - id: 12.ppo_objective          never changes, and is never used again: what a reader has answered is kept by it
    level: onsite                 screen | onsite | staff
    topics: [A16, A8]             of ``topics.IDS``
    question: What is the PPO objective?
    short: thirty seconds, spoken
    deep: what a second question would bring out, in Markdown
    followups: [{question: ..., answer: ...}, ...]      two or more
    wrong: [{answer: ..., why: ...}, ...]               what is usually said, and why it is wrong
    claims: [12.sign]             those that the answers quote as {12.sign} or, with a format, {12.sign:.0%}
    sources: ["Schulman et al., PPO, arXiv 1707.06347"]     where the other figures come from
more: further questions of the same form, asked in the interview room alone
quiz:
  - {id: 12.q1, topics: [A7], question: ..., choices: [...], answer: 2, why: ...}     answer: which is right, from 1

Each question has a claim or a source. YAML is for writing, and read too slowly for a command that wants to show its
first card at once. So ``bank.json`` holds the same, with the digest of each file that it was made from
(``python -m course_utils.workshop.notebooks``). A file that was changed since is read itself; ``stale()`` names it, and
so does a test.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
GENERATED = "bank.json"
LEVELS = ("screen", "onsite", "staff")
FIGURE = re.compile(r"\{(\d\d\.[a-z][a-z0-9_]*)(?::([^{}]+))?\}")


class BankError(ValueError):
    """A file of the bank does not hold what it should; the message names the entry and the field."""


@dataclass(frozen=True)
class Followup:
    """What the interviewer may ask next, and what to say."""

    question: str
    answer: str


@dataclass(frozen=True)
class WrongAnswer:
    """What is usually said instead, and why it is wrong."""

    answer: str
    why: str


@dataclass(frozen=True)
class Question:
    """An interview question; see the module's text for the fields. in_notebook: shown at the end of its chapter."""

    id: str
    level: str
    question: str
    short: str
    deep: str
    followups: tuple[Followup, ...]
    wrong: tuple[WrongAnswer, ...]
    topics: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    in_notebook: bool = True

    @property
    def chapter(self) -> str:
        """The chapter's number, two digits."""
        return self.id[:2]


@dataclass(frozen=True)
class QuizItem:
    """A question with choices. answer: the position of the right one, from 0. why: said after the answer."""

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    why: str
    topics: tuple[str, ...] = ()


def chapters(folder: Path = FOLDER) -> list[str]:
    """The chapters that have a bank, as two digits."""
    return sorted(path.stem for path in folder.glob("[0-9][0-9].yaml"))


def questions(chapter: str) -> list[Question]:
    """The questions that a chapter (two digits) shows at its end; empty if it has none."""
    return [question for question in _load(chapter)[0] if question.in_notebook] if chapter in chapters() else []


def quiz_items(chapter: str) -> list[QuizItem]:
    """The quiz of a chapter (two digits); empty if it has none."""
    return list(_load(chapter)[1]) if chapter in chapters() else []


def all_questions() -> list[Question]:
    """Every question, chapter by chapter: those of the notebooks, and those of the interview room."""
    return [question for chapter in chapters() for question in _load(chapter)[0]]


def all_quiz_items() -> list[QuizItem]:
    """The quizzes of all chapters."""
    return [item for chapter in chapters() for item in _load(chapter)[1]]


def question(id: str) -> Question:
    """The question with this id, as in ``12.objective``. Raises KeyError, naming what the chapter has instead."""
    found = {item.id: item for item in (_load(id[:2])[0] if id[:2] in chapters() else ())}
    if id not in found:
        raise KeyError(f"no question is called {id!r}; chapter {id[:2]} has {', '.join(found) or 'no questions'}.")
    return found[id]


def by_topic() -> dict[str, list[Question]]:
    """Topic -> its questions, in the order of ``topics.IDS``; a topic without a question has an empty list."""
    from course_utils.interview.bank.topics import IDS

    found: dict[str, list[Question]] = {topic: [] for topic in IDS}
    for item in all_questions():
        for topic in item.topics:
            found.setdefault(topic, []).append(item)
    return found


def cited(*texts: str) -> set[str]:
    """The ids of the claims that texts quote."""
    return {match[1] for text in texts for match in FIGURE.finditer(text)}


def generated_text(folder: Path = FOLDER) -> str:
    """What ``bank.json`` must hold: each file's digest and its entries, one entry a line."""
    blocks = []
    for chapter in chapters(folder):
        source = (folder / f"{chapter}.yaml").read_bytes()
        found, quiz = parse(source.decode("utf-8"), chapter)
        lists = {"questions": [_plain(item) for item in found], "quiz": [_plain(item) for item in quiz]}
        lines = [f'"{chapter}": {{"digest": "{_digest(source)}"']
        for name, entries in lists.items():
            rows = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries)
            lines.append(f'"{name}": [\n{rows}\n]')
        blocks.append(",\n".join(lines) + "}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def stale() -> list[str]:
    """The files that ``bank.json`` was not made from, by name; a chapter that it has and that is gone counts too."""
    kept = _generated()
    changed = [chapter for chapter in chapters() if _kept(chapter) is None]
    return [f"{chapter}.yaml" for chapter in sorted({*changed, *(set(kept) - set(chapters()))})]


def _plain(value: Any) -> Any:
    """Dataclasses and tuples as JSON has them."""
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return {name: _plain(part) for name, part in vars(value).items()} if hasattr(value, "__dict__") else value


def _digest(source: bytes) -> str:
    """git may have checked the file out with Windows' line ends: that is no change."""
    return hashlib.sha256(source.replace(b"\r\n", b"\n")).hexdigest()


@cache
def _generated() -> dict[str, Any]:
    try:
        return dict(json.loads((FOLDER / GENERATED).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # missing or damaged: the files themselves are read
        return {}


def _kept(chapter: str) -> Mapping[str, Any] | None:
    """The chapter's part of ``bank.json``, if it was made from the file as it is now."""
    kept = _generated().get(chapter)
    return kept if kept and kept.get("digest") == _digest((FOLDER / f"{chapter}.yaml").read_bytes()) else None


@cache
def _load(chapter: str) -> tuple[tuple[Question, ...], tuple[QuizItem, ...]]:
    kept = _kept(chapter)
    if kept is None:
        try:
            text = (FOLDER / f"{chapter}.yaml").read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BankError(f"{chapter}.yaml is not UTF-8: {error}.") from error
        return parse(text, chapter)
    return tuple(map(_read_question, kept["questions"])), tuple(map(_read_quiz_item, kept["quiz"]))


def _read_question(entry: dict[str, Any]) -> Question:
    parts = {
        "followups": tuple(Followup(**part) for part in entry["followups"]),
        "wrong": tuple(WrongAnswer(**part) for part in entry["wrong"]),
        **{name: tuple(entry[name]) for name in ("topics", "claims", "sources")},
    }
    return Question(**entry | parts)


def _read_quiz_item(entry: dict[str, Any]) -> QuizItem:
    return QuizItem(**entry | {name: tuple(entry[name]) for name in ("choices", "topics")})


def parse(text: str, chapter: str) -> tuple[tuple[Question, ...], tuple[QuizItem, ...]]:
    """The questions and the quiz of a file's text. Raises BankError, naming the entry, for one that is incomplete."""
    import yaml

    try:
        entries = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise BankError(f"{chapter}.yaml cannot be read: {error}") from error
    if not isinstance(entries, dict) or not {"questions", "quiz"} <= set(entries) <= {"questions", "more", "quiz"}:
        raise BankError(f"{chapter}.yaml needs the lists questions and quiz, and may have the list more.")
    for name, entry_list in entries.items():
        if not isinstance(entry_list, list):
            raise BankError(f"{chapter}.yaml: {name} is {type(entry_list).__name__}; expected a list of entries.")
    found = tuple(_question(entry, chapter) for entry in entries["questions"])
    found += tuple(_question(entry, chapter, in_notebook=False) for entry in entries.get("more", ()))
    quiz = tuple(_quiz_item(entry, chapter) for entry in entries["quiz"])
    ids = [question.id for question in found] + [item.id for item in quiz]
    if doubled := {id for id in ids if ids.count(id) > 1}:
        raise BankError(f"{chapter}.yaml has {', '.join(sorted(doubled))} more than once; an id belongs to one entry.")
    return found, quiz


def _question(entry: Mapping[str, Any], chapter: str, *, in_notebook: bool = True) -> Question:
    fields = ("level", "question", "short", "deep", "followups", "wrong", "topics", "claims")
    name = _checked(entry, chapter, fields, optional=("sources",))
    if entry["level"] not in LEVELS:
        raise BankError(f"{chapter}.yaml, {name}: level is {entry['level']!r}; expected one of {', '.join(LEVELS)}.")
    place = f"{chapter}.yaml, {name}"
    followups = tuple(Followup(*pair) for pair in _pairs(entry["followups"], ("question", "answer"), place))
    wrong = tuple(WrongAnswer(*pair) for pair in _pairs(entry["wrong"], ("answer", "why"), place))
    if len(followups) < 2 or not wrong:
        raise BankError(f"{place}: two follow-ups or more and a usual wrong answer are wanted.")
    quoted = cited(entry["short"], entry["deep"], *(part.answer for part in followups), *(part.why for part in wrong))
    if quoted != set(entry["claims"]):
        raise BankError(f"{place}: claims is {entry['claims']}, but the answers quote {sorted(quoted)}.")
    parts: dict[str, Any] = {"followups": followups, "wrong": wrong, "in_notebook": in_notebook}
    parts |= {field: str(entry[field]).strip() for field in ("level", "question", "short", "deep")}
    parts |= {field: tuple(map(str, entry.get(field) or ())) for field in ("topics", "claims", "sources")}
    return Question(id=name, **parts)


def _quiz_item(entry: Mapping[str, Any], chapter: str) -> QuizItem:
    name = _checked(entry, chapter, ("topics", "question", "choices", "answer", "why"))
    choices = tuple(str(choice) for choice in entry["choices"])
    if not isinstance(entry["answer"], int) or not 1 <= entry["answer"] <= len(choices):
        place = f"{chapter}.yaml, {name}"
        raise BankError(
            f"{place}: answer is {entry['answer']!r}; expected the number of a choice, 1 to {len(choices)}."
        )
    topics = tuple(map(str, entry["topics"] or ()))
    return QuizItem(name, str(entry["question"]), choices, entry["answer"] - 1, str(entry["why"]).strip(), topics)


def _pairs(parts: Any, fields: tuple[str, str], place: str) -> list[tuple[str, str]]:
    """Follow-ups or wrong answers, which have two fields each."""
    for part in parts:
        if not isinstance(part, dict) or set(part) != set(fields):
            raise BankError(f"{place}: each part needs {fields[0]} and {fields[1]}; one is {part!r}.")
    return [(str(part[fields[0]]), str(part[fields[1]])) for part in parts]


def _checked(entry: Mapping[str, Any], chapter: str, fields: tuple[str, ...], optional: tuple[str, ...] = ()) -> str:
    """The id of an entry that has all fields."""
    if not isinstance(entry, dict):
        raise BankError(f"{chapter}.yaml: an entry is {entry!r}; expected its fields, id first.")
    name = str(entry.get("id"))
    if not re.fullmatch(rf"{chapter}\.[a-z][a-z0-9_]*", name):
        raise BankError(f"{chapter}.yaml: an id is {name!r}; expected {chapter}, a point and a lower-case name.")
    missing = [field for field in fields if field not in entry]
    unknown = sorted(set(entry) - {"id", *fields, *optional})
    if missing or unknown:
        raise BankError(
            f"{chapter}.yaml, {name}: {'missing: ' + ', '.join(missing) if missing else ''}"
            f"{' unknown: ' + ', '.join(unknown) if unknown else ''}."
        )
    return name
