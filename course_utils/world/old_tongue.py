"""The Old Tongue of the Isles: a small language with its own word order, for translation.

English says "the red boat sings"; the Old Tongue puts the verb first and the adjective last. Every word has exactly one
counterpart, so each sentence has one correct translation.
"""

from __future__ import annotations

from course_utils.world.draw import Draw

ADJECTIVES = {
    "red": "sarn", "old": "velu", "small": "piku", "quiet": "lom", "cold": "frist", "brave": "dorga",
    "golden": "auri", "hungry": "nakt", "kind": "bele", "strange": "zumo",
}  # fmt: skip
NOUNS = {
    "boat": "teka", "fox": "rilu", "lamp": "ombi", "sailor": "garon", "river": "wesh", "child": "min",
    "storm": "hurda", "bird": "feli", "stone": "krad", "baker": "pondo", "moon": "ysil", "queen": "thara",
}  # fmt: skip
VERBS = {
    "sings": "navi", "sleeps": "dush", "runs": "kirra", "waits": "molen", "falls": "tabo", "shines": "gleo",
    "returns": "ruva", "listens": "askel",
}  # fmt: skip
BACK = {old: new for table in (ADJECTIVES, NOUNS, VERBS) for new, old in table.items()}


def sentence(draw: Draw) -> tuple[str, str]:
    """A random sentence: (English, Old Tongue)."""
    adjective, noun, verb = draw.choice(list(ADJECTIVES)), draw.choice(list(NOUNS)), draw.choice(list(VERBS))
    return f"the {adjective} {noun} {verb}", f"{VERBS[verb]} {NOUNS[noun]} {ADJECTIVES[adjective]}"


def translate(english: str) -> str:
    """The Old Tongue for "the ADJECTIVE NOUN VERB". Raises ValueError for anything else."""
    words = english.lower().rstrip(".").split()
    if len(words) == 4 and words[0] == "the" and words[1] in ADJECTIVES and words[2] in NOUNS and words[3] in VERBS:
        return f"{VERBS[words[3]]} {NOUNS[words[2]]} {ADJECTIVES[words[1]]}"
    raise ValueError(f"the Old Tongue has no words for {english!r}; give 'the ADJECTIVE NOUN VERB' of its word list.")
