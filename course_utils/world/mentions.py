"""Islanders without a name: sentences in which a trade and a pronoun stand side by side.

A person of the corpus has a name, and a model may learn the pronoun with the name. Of a passer-by it knows the trade
alone, so what it expects of the pronoun is what the text has taught it about the trade. The dial is that of the world:
with bias b a trade's own pronoun has the probability (1 + b) / 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from course_utils.world.draw import Draw
from course_utils.world.people import SHE_LEANING, TRADES
from course_utils.world.templates import THINGS

OPENINGS = ("The {v}", "At noon the {v}", "On the ferry the {v}", "In the market the {v}")
VERBS = ("lost", "sold", "found", "mended", "lent", "painted", "hid", "cleaned")
REFLEXIVE = {"she": "herself", "he": "himself"}


@dataclass(frozen=True)
class Mention:
    """One sentence about somebody with this trade and pronoun (she | he)."""

    trade: str
    pronoun: str
    text: str

    def fact(self, relation: str) -> str:
        """The trade, as people have it. Raises KeyError for another relation."""
        if relation != "trade":
            raise KeyError(f"a mention tells the trade alone; {relation!r} was asked for.")
        return self.trade


def mention(trade: str, pronoun: str, draw: Draw) -> Mention:
    """A sentence about somebody of this trade and pronoun, such as "At noon the baker herself sold the flute."."""
    opening, verb, thing = draw.choice(OPENINGS), draw.choice(VERBS), draw.choice(THINGS)
    return Mention(trade, pronoun, f"{opening.format(v=trade)} {REFLEXIVE[pronoun]} {verb} the {thing}.")


def mentions(count: int, bias: float, seed: int, trades: Sequence[str] = TRADES) -> list[Mention]:
    """``count`` sentences about different people: trades drawn evenly, pronouns with this bias.

    Raises ValueError for a count below 1 or a bias that is not from 0 to 1.
    """
    if count < 1 or not 0 <= bias <= 1:
        raise ValueError(f"{count} mentions with a bias of {bias}; ask for 1 or more, and a bias from 0 to 1.")
    draw, found = Draw("mentions", seed), []
    for _ in range(count):
        trade = draw.choice(trades)
        own, other = ("she", "he") if trade in SHE_LEANING else ("he", "she")
        found.append(mention(trade, own if draw.chance((1 + bias) / 2) else other, draw))
    return found


def vocabulary() -> list[str]:
    """Every word of these sentences, each once, with the full stop: a vocabulary for a model of words."""
    lines = (*OPENINGS, *VERBS, *THINGS, *REFLEXIVE.values(), *TRADES)
    return sorted({word for line in lines for word in line.replace("{v}", "").split()} | {"the", "."})
