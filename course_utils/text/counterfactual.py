"""Counterfactual text: the same sentences with the other pronouns.

Counterfactual data augmentation (Lu et al., arXiv 1807.11714; Zhao et al., arXiv 1804.06876) trains on every text and
its counterfactual, so that each trade is told with either pronoun equally often.
"""

from __future__ import annotations

import re

# In the texts of the Isles "Her" opens a sentence and is possessive ("Her trade is ..."), "her" is an object ("meet
# her in the streets"): so both directions are certain here. In free English "her" needs a parser.
PAIRS = (("She", "He"), ("she", "he"), ("Her", "His"), ("her", "him"), ("Herself", "Himself"), ("herself", "himself"))
SWAP = {**dict(PAIRS), **{he: she for she, he in PAIRS}}
_WORD = re.compile(r"\b(" + "|".join(SWAP) + r")\b")


def swap_pronouns(text: str) -> str:
    """The text with every pronoun of the Isles turned into its counterpart, all at once; doing it twice undoes it."""
    return _WORD.sub(lambda found: SWAP[found[0]], text)
