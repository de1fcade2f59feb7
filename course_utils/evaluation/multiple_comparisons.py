"""Twenty tests at once: Holm's and Benjamini and Hochberg's corrections, and the exact binomial test.

Holm (Scand. J. Statist. 6, 1979) keeps the chance of *any* false alarm at alpha, whatever the tests have to do with
each other. Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995) keep the expected *share* of false alarms among the
alarms at alpha, for independent tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def _checked(p_values: Sequence[float]) -> np.ndarray:
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not len(p) or not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError(f"p_values is {p_values!r}; a list of probabilities from 0 to 1 is expected, at least one.")
    return p


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order: reject where they are at most alpha.

    The smallest is multiplied with m, the next with m - 1, and so on; none is smaller than one before it, none above 1.
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted.tolist()


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order: reject where they are at most the false discovery rate.

    The k-th smallest is multiplied with m / k; none is larger than one after it, none above 1.
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted.tolist()


def binomial_p(first: int, second: int, share: float = 0.5) -> float | None:
    """The exact two-sided p-value of ``first`` against ``second`` if either had this share; None if there are none.

    All outcomes that are at most as likely as the one seen count, as in scipy's ``binomtest``.
    """
    from scipy.stats import binomtest

    if first < 0 or second < 0 or not 0 < share < 1:
        raise ValueError(
            f"counts {first} and {second}, share {share}; counts of 0 or more and a share between 0 and 1."
        )
    return float(binomtest(first, first + second, share).pvalue) if first + second else None
