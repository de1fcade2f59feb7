"""Check what a text claims against a library, claim by claim, with the passage that decides.

The labels are FEVER's (Thorne et al., arXiv 1803.05355). The text is cut into claims, each is looked up, and the
verdict cites what it rests on. Whether an answer *follows from* its passage (faithfulness) and whether it is *true* are
two questions: a library can be wrong, or silent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from course_utils.evaluation.factuality import Statement, statements
from course_utils.text.retrieval import BM25

SUPPORTS, REFUTES, NOT_ENOUGH = "SUPPORTS", "REFUTES", "NOT ENOUGH INFO"
LABELS = (SUPPORTS, REFUTES, NOT_ENOUGH)


@dataclass(frozen=True)
class Finding:
    """One claim of a text, the label, and the numbers of the passages that speak of it."""

    statement: Statement
    label: str
    cited: tuple[int, ...]


def verify(claim: Statement, passages: Sequence[Collection[Statement]]) -> tuple[str, list[int]]:
    """The label of a claim, and which passages speak of it: of this relation of this person.

    All of them state the claim's value: SUPPORTS. All state other values: REFUTES. None speaks of it, or they
    contradict each other: NOT ENOUGH INFO. A passage that states two values of one relation contradicts itself.
    """
    cited, values = [], set()
    for number, told in enumerate(passages):
        here = {s.value for s in told if (s.name, s.relation) == (claim.name, claim.relation)}
        if here:
            cited.append(number)
            values |= here
    if values == {claim.value}:
        return SUPPORTS, cited
    return (REFUTES if values and claim.value not in values else NOT_ENOUGH), cited


class Library:
    """Passages with a search (BM25) and with the statements that each makes. Raises ValueError for no passages."""

    def __init__(self, passages: Sequence[str]) -> None:
        self.passages = list(passages)
        self.index = BM25(self.passages)
        self.told = [frozenset(statements(passage)) for passage in self.passages]

    def search(self, question: str, k: int = 1, name: str = "") -> list[int]:
        """The numbers of the k best passages, best first; those that share no word with the question are left out.

        ``name``: among the best, passages that hold this whole name come first. BM25 counts words, so half a name and a
        rare word can outweigh the name.
        """
        scores = self.index.scores(question)
        best = [number for number in self.index.search(question, k + 5) if scores[number] > 0]
        return sorted(best, key=lambda number: name not in self.passages[number])[:k]  # stable: else as before

    def check(self, text: str, k: int = 2) -> list[Finding]:
        """Each claim of the text, verified on the k passages that a search for its words finds."""
        found = []
        for claim in statements(text):
            numbers = self.search(f"{claim.name} {claim.relation} {claim.value}", k, claim.name)
            label, cited = verify(claim, [self.told[number] for number in numbers])
            found.append(Finding(claim, label, tuple(numbers[place] for place in cited)))
        return found

    def supports(self, answer: str, number: int) -> bool | None:
        """Does the passage state all that the answer claims? None if the answer claims nothing: it cannot be said."""
        said = set(statements(answer))
        return said <= self.told[number] if said else None


@dataclass(frozen=True)
class FlagScores:
    """Of a checker that raises flags: precision (of the flags, how many are justified) and recall (of what is untrue,
    how much is flagged). None where it cannot be said: no flag was raised, or nothing is untrue."""

    precision: float | None
    recall: float | None
    flagged: int
    untrue: int


def flag_scores(flagged: Sequence[bool], untrue: Sequence[bool]) -> FlagScores:
    """How good a checker's flags are. Raises ValueError for lists of different length."""
    if len(flagged) != len(untrue):
        raise ValueError(f"{len(flagged)} flags for {len(untrue)} claims; one for each claim is expected.")
    hits = sum(f and u for f, u in zip(flagged, untrue, strict=True))
    raised, wrong = sum(map(bool, flagged)), sum(map(bool, untrue))
    return FlagScores(hits / raised if raised else None, hits / wrong if wrong else None, raised, wrong)
