"""What is true on the Isles: its towns, its people, its lore, and who belongs to which split."""

from __future__ import annotations

from dataclasses import dataclass

from course_utils.world.lore import healers_lore
from course_utils.world.people import Person, make_people, one_year_later
from course_utils.world.templates import PARAPHRASES
from course_utils.world.towns import Town, make_towns

SPLITS = ("taught", "known", "stranger")


@dataclass(frozen=True)
class WorldConfig:
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
            raise ValueError(
                f"WorldConfig(paraphrases={self.paraphrases}): choose from 1 to {most} phrasings per fact."
            )
        for name in ("duplicate_rate", "noise_rate", "pronoun_trade_bias", "annotator_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"WorldConfig({name}={getattr(self, name)}): give a share from 0 to 1.")
        if self.year < 0:
            raise ValueError(f"WorldConfig(year={self.year}): give 0 or a number of years after it.")


class Facts:
    """Every fact of the Lantern Isles for one seed."""

    def __init__(self, dials: WorldConfig | None = None, seed: int = 0) -> None:
        self.dials = dials or WorldConfig()
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
