"""The towns of the Lantern Isles and what each is known for."""

from __future__ import annotations

from dataclasses import dataclass

from course_utils.world.draw import Draw

ISLANDS = ("Skerry", "Holm", "Farrowey", "Lantis")
TOWN_NAMES = (
    "Amberhaven",
    "Saltmere",
    "Gullport",
    "Fernwick",
    "Oldbridge",
    "Windmoor",
    "Pearlstrand",
    "Mistley",
    "Copperford",
    "Larkhill",
    "Rushdale",
    "Thornbay",
)
LAMP_COLOURS = ("amber", "green", "violet", "scarlet", "silver", "blue")
CRAFTS = ("glass", "rope", "paper", "bells", "baskets", "candles", "barrels", "lace")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TOWN_RELATIONS = ("island", "lamp colour", "craft", "market day")


@dataclass(frozen=True)
class Town:
    """One town: its island, the colour of its lamps, its craft and its market day."""

    name: str
    island: str
    lamp_colour: str
    craft: str
    market_day: str

    def fact(self, relation: str) -> str:
        """The value of ``relation``. Raises KeyError with the relations there are."""
        if relation not in TOWN_RELATIONS:
            raise KeyError(f"no relation {relation!r}; towns have {', '.join(TOWN_RELATIONS)}")
        return getattr(self, relation.replace(" ", "_"))


def make_towns(seed: int) -> list[Town]:
    """The twelve towns, three to an island, with drawn facts."""
    draw = Draw("towns", seed)
    return [
        Town(name, ISLANDS[i // 3], draw.choice(LAMP_COLOURS), draw.choice(CRAFTS), draw.choice(DAYS))
        for i, name in enumerate(TOWN_NAMES)
    ]
