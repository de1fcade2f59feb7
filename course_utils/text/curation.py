"""From a raw crawl to a corpus: lines that many pages share, people who must not be in it, and the card that says what
was done. Copies are the subject of deduplication.py, bad text that of quality.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


def repeated_lines(texts: Iterable[str], at_least: int = 10) -> dict[str, int]:
    """Lines that stand in ``at_least`` texts or more, with the number of texts, the most frequent first.

    Headers and footers are among them, and so may be lines that belong where they are: look through the list.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update({line for line in text.split("\n") if line.strip()})
    return {line: count for line, count in counts.most_common() if count >= at_least}


def strip_lines(texts: Iterable[str], furniture: Iterable[str]) -> list[str]:
    """The texts without the lines in ``furniture``; a text of nothing else becomes empty."""
    unwanted = set(furniture)
    return ["\n".join(line for line in text.split("\n") if line not in unwanted).strip() for text in texts]


def mentions(texts: Iterable[str], names: Iterable[str]) -> list[bool]:
    """For each text whether it holds one of ``names`` as whole words, in capitals or not, over any spaces.

    Raises ValueError if there are no names, or a blank one, which every text would hold.
    """
    names = list(names)
    if not names or any(not name.strip() for name in names):
        blank = sum(not name.strip() for name in names)
        raise ValueError(
            f"{len(names)} names are given, {blank} of them blank; one or more are expected, and no blank."
        )
    pattern = "|".join(r"\s+".join(map(re.escape, name.split())) for name in sorted(names, key=len, reverse=True))
    found = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE)
    return [bool(found.search(text)) for text in texts]


def precision_and_recall(flagged: Iterable[int], planted: Iterable[int]) -> tuple[float, float]:
    """(share of the flagged that is right, share of what was planted that was flagged); both 1 for two empty sets.

    If only one of the sets is empty, the share of nothing counts as 0.
    """
    flagged, planted = set(flagged), set(planted)
    if not flagged and not planted:
        return 1.0, 1.0
    right = len(flagged & planted)
    return right / max(1, len(flagged)), right / max(1, len(planted))


@dataclass
class DataCard:
    """What a user of a corpus must know (Gebru et al., Datasheets for Datasets, arXiv 1803.09010), in short.

    ``removed``: each step and how many documents it took away, in the order of the steps. ``counts``: what is in the
    corpus, by kind or source. ``documents_before``: how many there were at first.
    """

    name: str
    purpose: str
    source: str
    documents_before: int
    removed: Mapping[str, int]
    counts: Mapping[str, int]
    tokens: int
    languages: Mapping[str, float]
    people: str
    measured: Mapping[str, float] = field(default_factory=dict)
    known_gaps: Sequence[str] = ()
    licence: str = "not stated"
    contact: str = "not stated"

    @property
    def documents(self) -> int:
        """How many documents are left. Raises ValueError if more were removed than there were, or the counts differ."""
        left = self.documents_before - sum(self.removed.values())
        if left < 0 or left != sum(self.counts.values()):
            raise ValueError(
                f"{self.documents_before} documents, {sum(self.removed.values())} of them removed, leave {left}; the "
                f"counts hold {sum(self.counts.values())}. The card must add up: was a step left out?"
            )
        return left

    def markdown(self) -> str:
        """The card as a page of Markdown."""
        steps = "\n".join(f"| {step} | {count:,} |" for step, count in self.removed.items())
        return (
            "\n".join(
                [
                    f"### Data card: {self.name}",
                    f"**Made for.** {self.purpose}",
                    f"**Source.** {self.source}",
                    f"**Size.** {self.documents:,} of {self.documents_before:,} documents; {self.tokens:,} tokens.",
                    f"| step | removed |\n|---|---|\n{steps}",
                    f"**In it.** {', '.join(f'{kind} {count:,}' for kind, count in self.counts.items())}",
                    f"**Languages.** {', '.join(f'{name} {share:.0%}' for name, share in self.languages.items())}",
                    f"**People.** {self.people}",
                    f"**Measured.** {', '.join(f'{name} {value:.2f}' for name, value in self.measured.items())}",
                    f"**Known gaps.** {' '.join(self.known_gaps) or 'none stated'}",
                    f"**Licence.** {self.licence} **Contact.** {self.contact}",
                ]
            )
            .replace("\n**", "\n\n**")
            .replace("\n| step", "\n\n| step")
        )
