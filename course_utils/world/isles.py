"""The world: its people and towns, its dials, and the corpora and tasks that it yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

from course_utils.world.corpora import GENERATORS, MIX, healers_lore
from course_utils.world.draw import Draw
from course_utils.world.people import Person, make_people, one_year_later
from course_utils.world.phrases import PARAPHRASES
from course_utils.world.towns import Town, make_towns

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("taught", "known", "stranger")


@dataclass(frozen=True)
class Dials:
    """What can be set about the world. Shares are probabilities from 0 to 1."""

    people: int = 300  # strangers included
    paraphrases: int = 8  # phrasings per fact, 1 to 8; 1 also fixes the order of a person's facts
    duplicate_rate: float = 0.0  # documents that repeat an earlier one
    noise_rate: float = 0.0  # documents with garbled words or boilerplate around them
    pronoun_trade_bias: float = 0.6  # 0: pronouns are independent of trades; 1: the trade decides
    annotator_noise: float = 0.1  # how often a simulated rater errs
    year: int = 0  # years since the corpus was written: people move, new words appear

    def __post_init__(self) -> None:
        most = min(len(p) for p in PARAPHRASES.values())
        if not 1 <= self.paraphrases <= most:
            raise ValueError(f"Dials(paraphrases={self.paraphrases}): choose from 1 to {most} phrasings per fact.")
        for name in ("duplicate_rate", "noise_rate", "pronoun_trade_bias", "annotator_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Dials({name}={getattr(self, name)}): give a share from 0 to 1.")
        if self.year < 0:
            raise ValueError(f"Dials(year={self.year}): give 0 or a number of years after it.")


class World:
    """The Lantern Isles for one seed: every fact in it is known, so everything said about it can be judged."""

    def __init__(self, dials: Dials | None = None, seed: int = 0) -> None:
        self.dials = dials or Dials()
        self.seed = seed
        self.towns: list[Town] = make_towns(seed)
        people = make_people(self.dials.people, self.dials.pronoun_trade_bias, seed)
        for year in range(1, self.dials.year + 1):
            people = one_year_later(people, year, seed)
        self.people: list[Person] = people
        self.taught = [p for p in people if p.split == "taught"]
        self.known = [p for p in people if p.split == "known"]
        self.strangers = [p for p in people if p.split == "stranger"]
        self.corpus_people = self.taught + self.known
        self.names = frozenset(p.name for p in people)
        self.lore = healers_lore(seed)

    def person(self, name: str) -> Person:
        """The person called ``name``. Raises KeyError if there is none."""
        for person in self.people:
            if person.name == name:
                return person
        raise KeyError(f"nobody on the Isles is called {name!r}; see world.people for the names.")

    def split(self, name: str) -> list[Person]:
        """The people of a split: taught, known or stranger. Raises ValueError for another name."""
        if name not in SPLITS:
            raise ValueError(f"there is no split {name!r}; choose from {', '.join(SPLITS)}.")
        return [p for p in self.people if p.split == name]

    def corpus(self, count: int, seed: int = 0, mix: Mapping[str, int] | None = None) -> Dataset:
        """``count`` documents: columns text, kind, bits (exact information, in bits), subjects (names).

        ``mix`` weighs the kinds of documents with whole numbers; the default is the pretraining mix, which
        has no healers' notes. Raises ValueError for an unknown kind or a count below 1.
        """
        from datasets import Dataset

        return Dataset.from_dict(self.documents(count, seed, mix))

    def documents(self, count: int, seed: int = 0, mix: Mapping[str, int] | None = None) -> dict[str, list]:
        """The columns of ``corpus`` as plain lists."""
        mix = MIX if mix is None else mix
        unknown = sorted(set(mix) - set(GENERATORS))
        if unknown or not mix or min(mix.values()) < 0 or sum(mix.values()) == 0:
            raise ValueError(
                f"the mix {dict(mix)} does not work{': unknown kinds ' + str(unknown) if unknown else ''}. "
                f"Give whole weights, not all 0, for kinds among {', '.join(GENERATORS)}."
            )
        if count < 1:
            raise ValueError(f"a corpus of {count} documents was asked for; ask for 1 or more.")
        kinds = [kind for kind, weight in mix.items() if weight]
        weights = [mix[kind] for kind in kinds]
        draw = Draw("corpus", self.seed, seed)
        faults = Draw("faults", self.seed, seed)  # its own stream: the clean documents stay the same
        columns: dict[str, list] = {"text": [], "kind": [], "bits": [], "subjects": []}
        for i in range(count):
            draw.start_counting()
            kind = draw.weighted(kinds, weights)
            text, subjects = GENERATORS[kind](self, draw)
            bits = draw.bits
            if i and faults.chance(self.dials.duplicate_rate):
                j = faults.below(i)
                text, kind, subjects, bits = columns["text"][j], columns["kind"][j], columns["subjects"][j], log2(i)
            if faults.chance(self.dials.noise_rate):
                faults.start_counting()
                text = add_noise(text, faults)
                bits += faults.bits
            columns["text"].append(text)
            columns["kind"].append(kind)
            columns["bits"].append(bits)
            columns["subjects"].append(subjects)
        return columns

    def tasks(
        self, count: int, split: str = "taught", seed: int = 0, kinds: Mapping[str, int] | None = None
    ) -> Dataset:
        """``count`` instructions with checkable answers, about people of ``split``: see ``tasks.make_tasks``."""
        from datasets import Dataset

        from course_utils.world.tasks import make_tasks

        return Dataset.from_list(make_tasks(self, count, split, seed, kinds))


BOILERPLATE = ("Copied by hand at the harbour office.", "Page torn here.", "All rights of the guild reserved.")


def add_noise(text: str, draw: Draw) -> str:
    """A damaged copy: either a tenth of the letters garbled, or boilerplate put around the text."""
    if draw.below(2):
        return f"{draw.choice(BOILERPLATE)} {text} {draw.choice(BOILERPLATE)}"
    letters = list(text)
    for _ in range(max(1, len(letters) // 10)):
        letters[draw.below(len(letters))] = draw.choice("#%~*?")
    return "".join(letters)
