"""A new model gets a small part of the traffic first, and loses it at once if it is worse.

One name, such as "course", stands for two models. Users are spread over [0, 1) by a hash, and the canary gets those
below its weight: each user meets the same model at every request, and raising the weight moves users in one direction
only. Judged answers decide by evidence that may be looked at after each of them (``sequential.e_values`` with p0 = 1/2,
chapter 20).
"""

from __future__ import annotations

import hashlib
import math
from collections import deque

KEPT = 1_000  # judged answers that wait for one of the other model; older ones are dropped


class CanaryError(ValueError):
    """A canary that cannot be set up so."""


class Canary:
    """Splits the requests for ``name`` between two models.

    weight: the canary's share, 0 to 1. alpha: the chance that an equal canary is ever rolled back.
    Raises CanaryError for a weight or alpha out of range, or for two equal models.
    """

    def __init__(self, name: str, stable: str, canary: str, weight: float = 0.1, alpha: float = 0.05) -> None:
        if stable == canary or name in (stable, canary):
            raise CanaryError(
                f"the names are {name!r}, {stable!r} and {canary!r}; three different ones are expected: one that "
                "clients ask for, the model in service, and the new one."
            )
        if not 0 < alpha < 1:
            raise CanaryError(f"alpha is {alpha}; a probability between 0 and 1 is expected, such as 0.05.")
        self.name, self.stable, self.canary, self.alpha = name, stable, canary, alpha
        self.rolled_back = False
        self._waiting: dict[str, deque[bool]] = {
            stable: deque(maxlen=KEPT),
            canary: deque(maxlen=KEPT),
        }
        self.wins, self.losses = 0, 0  # pairs in which only the canary's answer was right, only the stable model's
        self.weight = 0.0
        self.set_weight(weight)

    def set_weight(self, weight: float) -> None:
        """Give the canary this share from now on. What it is answering goes on. Raises CanaryError outside 0 to 1."""
        if not 0 <= weight <= 1:
            raise CanaryError(f"the canary's weight is {weight}; a share from 0 to 1 is expected.")
        self.weight = weight

    def rollback(self) -> None:
        """All new requests go to the stable model. To try again, set up a new canary."""
        self.set_weight(0.0)
        self.rolled_back = True

    def choose(self, key: str) -> str:
        """The model for whoever has this key: equal keys, equal models, as long as the weight stays."""
        number = int.from_bytes(hashlib.sha256(f"{self.name}\0{key}".encode()).digest()[:7], "big")
        return self.canary if number / 2**56 < self.weight else self.stable

    def judged(self, model: str, right: bool) -> None:
        """Tell of an answer that was judged. Rolls back if the evidence that the canary is worse reaches 1 / alpha.

        Each answer of the canary is paired with one of the stable model, in the order of arrival. Pairs with one right
        and one wrong answer are fair coins if both models are equal. Raises CanaryError for a model that is neither.
        """
        if model not in self._waiting:
            raise CanaryError(f"{model!r} is neither {self.stable!r} nor {self.canary!r}.")
        self._waiting[model].append(bool(right))
        stable, canary = self._waiting[self.stable], self._waiting[self.canary]
        while stable and canary:
            pair = stable.popleft(), canary.popleft()
            self.wins += pair == (False, True)
            self.losses += pair == (True, False)
        if not self.rolled_back and self.worse and self.evidence >= 1 / self.alpha:
            self.rollback()

    @property
    def worse(self) -> bool:
        """True if the canary has lost more pairs than it has won."""
        return self.wins < self.losses

    @property
    def evidence(self) -> float:
        """How many times likelier the pairs are if the models differ than if they are equal; 1 at the beginning."""
        s, f = self.wins, self.losses
        log_e = math.lgamma(s + 1) + math.lgamma(f + 1) - math.lgamma(s + f + 2) + (s + f) * math.log(2)
        return math.exp(min(700.0, log_e))
