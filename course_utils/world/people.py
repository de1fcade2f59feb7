"""The people of the Lantern Isles: six facts each, a split, and the years that change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2

from course_utils.world.draw import Draw
from course_utils.world.towns import TOWN_NAMES

FIRST_NAMES = """Mira Tobin Elsa Joren Nila Perrin Sanna Orrin Lysa Caden Ravi Ilka Doran Vesna Halden Kaia Brann Suri
Edda Marlo Yara Finn Odette Rurik Talia Corin Maeve Jasper Isolde Bram Anneke Silas Wren Leif Paloma Gideon
Thora Emil Zuri Lorcan Freya Anton Dagny Milo Rosalind Ivo Petra Osric Selma Hugo Linnea Kasimir Ada Theo
Bryn Oskar Noor Felix Greta Aldo""".split()

LAST_NAMES = """Oakley Reed Marsh Thorne Vale Calder Finch Harrow Lowell Quill Sorrel Tarn Underhill Wick Yarrow Ashby
Birch Cove Dunmore Elder Fenn Garnet Hollow Ingram Juniper Keel Larch Moss Nettle Orchard Pike Rowan Sedge Tiller
Umber Vesper Willow Alder Brook Copper Drift Ember Flint Gale Heath Isley Jarvis Kestrel Linden Mallow North Otter
Penrose Rudder Saltery Teasel Upton Varley Weaver Barrow Clover Dell Evenwood Farrow Glover Hawke Ivory Kettle
Lockwood Meadow Nightley Osprey Prior Ridge Stone Thistle Vane Winter Barley Chandler Dove Fallow Grove Hazel
Lark Mason Piper Shore Tanner Wilder""".split()

TRADES = """baker weaver potter cooper smith tailor fisher miller carpenter beekeeper lamplighter glazier sailmaker
shepherd printer cobbler ferryman gardener painter saddler""".split()
PASTIMES = """chess fiddling sketching rowing juggling dancing whittling fencing singing kiting skating knitting
archery swimming stargazing embroidery climbing drumming puppetry riddles""".split()
DISHES = """chowder dumplings porridge pancakes omelettes trifle pottage meatballs risotto pudding goulash flatbread
noodles stew pickles crumble lentils custard sausages waffles""".split()
PETS = """goose beaver ferret parrot tortoise hedgehog donkey rabbit magpie lizard goat pigeon squirrel badger toad
terrier""".split()
BIRTH_YEARS = tuple(str(year) for year in range(1920, 1980))
NEW_WORDS = {  # words that do not exist on the Isles before the year that brings them (drift)
    "trade": ("balloonist", "telegrapher", "photographer", "cartographer"),
    "pastime": ("cycling", "croquet", "ballooning", "yodelling"),
    "dish": ("curry", "tacos", "ramen", "falafel"),
}

RELATIONS = ("town", "trade", "pastime", "dish", "pet", "birth year")
VALUES: dict[str, tuple[str, ...]] = {
    "town": tuple(TOWN_NAMES),
    "trade": tuple(TRADES),
    "pastime": tuple(PASTIMES),
    "dish": tuple(DISHES),
    "pet": tuple(PETS),
    "birth year": BIRTH_YEARS,
}
SHE_LEANING = frozenset(TRADES[::2])  # the trades that the pronoun-trade bias gives to "she"


@dataclass(frozen=True)
class Person:
    """One islander. ``split`` is taught (corpus and instruction data), known (corpus only) or stranger (nowhere)."""

    name: str
    pronoun: str  # she | he
    facts: tuple[str, ...]  # the values, in the order of RELATIONS
    split: str = "stranger"

    def fact(self, relation: str) -> str:
        """The value of ``relation``. Raises KeyError with the relations there are."""
        try:
            return self.facts[RELATIONS.index(relation)]
        except ValueError:
            raise KeyError(f"no relation {relation!r}; people have {', '.join(RELATIONS)}") from None

    @property
    def first_name(self) -> str:
        return self.name.split()[0]


def invent_person(draw: Draw, name: str, pronoun_trade_bias: float, split: str = "stranger") -> Person:
    """A person with random facts. With bias b, a trade's own pronoun has the probability (1 + b) / 2."""
    facts = tuple(draw.choice(VALUES[relation]) for relation in RELATIONS)
    leaning = "she" if facts[1] in SHE_LEANING else "he"
    other = "he" if leaning == "she" else "she"
    pronoun = leaning if draw.chance((1 + pronoun_trade_bias) / 2) else other
    return Person(name, pronoun, facts, split)


def make_people(count: int, pronoun_trade_bias: float, seed: int) -> list[Person]:
    """``count`` people with different names: half taught, three tenths known, the rest strangers.

    Raises ValueError if there are fewer names than people.
    """
    most = len(FIRST_NAMES) * len(LAST_NAMES)
    if not 10 <= count <= most - 200:
        raise ValueError(f"the Isles were asked for {count} people; choose from 10 to {most - 200}.")
    draw = Draw("people", seed)
    names = draw.sample([f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES], count)
    taught, known = count // 2, count * 3 // 10
    splits = ["taught"] * taught + ["known"] * known + ["stranger"] * (count - taught - known)
    return [invent_person(draw, name, pronoun_trade_bias, split) for name, split in zip(names, splits, strict=True)]


def fictional_person(draw: Draw, people_names: frozenset[str]) -> Person:
    """A person made up on the spot, for texts whose facts stand in the text itself. Never one of the people."""
    return invent_person(draw, free_name(draw, people_names), 0.0)


def free_name(draw: Draw, people_names: frozenset[str]) -> str:
    """A name that none of the people has. Costs log2 of the number of free names."""
    before = draw.bits
    while (name := f"{draw.choice(FIRST_NAMES)} {draw.choice(LAST_NAMES)}") in people_names:
        pass
    draw.bits = before + log2(len(FIRST_NAMES) * len(LAST_NAMES) - len(people_names))  # refused names cost nothing
    return name


def one_year_later(people: Sequence[Person], year: int, seed: int) -> list[Person]:
    """The people after another year: one in ten moves, one in ten changes trade, some take up new things."""
    draw = Draw("year", year, seed)
    later = []
    for person in people:
        facts = dict(zip(RELATIONS, person.facts, strict=True))
        for relation in ("town", "trade", "pastime", "dish"):
            if draw.chance(0.1):
                new = NEW_WORDS.get(relation, ())[: 2 * year]
                facts[relation] = draw.choice([v for v in VALUES[relation] + new if v != facts[relation]])
        later.append(replace(person, facts=tuple(facts[relation] for relation in RELATIONS)))
    return later
