"""What does a model hold of the healers' lore? Sentences of notes that stop before the value, in phrasings not read."""

from __future__ import annotations

from collections.abc import Sequence

from course_utils.evaluation.probes import Probe
from course_utils.world.healers import RELATIONS, Cure, told


def lore_probes(lore: Sequence[Cure], read: bool = False) -> list[Probe]:
    """Every fact of every ailment, in the phrasings that its notes leave out; with ``read``, in those that they use.

    The phrasings themselves are no riddle: notes about other ailments use them. The answer ends with the full stop.
    """
    return [
        Probe(words.format(a=cure.ailment, v="\0").split("\0")[0].rstrip(), f" {cure.fact(relation)}.", relation)
        for cure in lore
        for relation in RELATIONS
        for words in told(cure, relation)[0 if read else 1]
    ]
