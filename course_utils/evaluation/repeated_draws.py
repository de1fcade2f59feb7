"""Many answers to one question: is one of them right (pass@k), and what do most of them say (self-consistency)?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that of ``k`` answers drawn without return from ``n``, of which ``c`` are right, one at least is.

        1 - C(n - c, k) / C(n, k)  =  1 - product of (1 - k / i) over i = n - c + 1 ... n

    Over many questions its mean is that of "one of k fresh answers is right", for any n >= k (Chen et al., arXiv
    2107.03374, section 2.1); 1 - (1 - c / n) ** k is too low. Raises ValueError unless 1 <= k <= n and 0 <= c <= n.
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"pass_at_k(n={n}, c={c}, k={k}): of n answers c are right, 0 <= c <= n, and 1 <= k <= n.")
    if n - c < k:
        return 1.0
    all_wrong = 1.0
    for i in range(n - c + 1, n + 1):
        all_wrong *= 1 - k / i
    return 1 - all_wrong


def majority_vote(answers: Sequence[T | None]) -> T | None:
    """What most answers say (self-consistency, Wang et al., arXiv 2203.11171, section 2), of equals the first that was
    said. None stands for an answer from which nothing can be read, and has no vote; without any vote it is None."""
    votes = Counter(answer for answer in answers if answer is not None)
    return votes.most_common(1)[0][0] if votes else None
