"""Do two samples come from one distribution? Tests for one number, for categories, and for vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def quantile_edges(reference: ArrayLike, bins: int = 10) -> Array:
    """Inner edges (at most bins - 1) that cut the reference into parts of equal size; equal edges are one.

    Both ends stay open, so that a value outside of everything seen still falls into a bin.
    """
    values = _numbers(reference, "reference")
    return np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))


def psi(reference: ArrayLike, window: ArrayLike, floor: float = 1e-4) -> float:
    """Population stability index of two tables of counts (bins,): sum of (q - p) * ln(q / p) over the bins.

    p and q are the shares in reference and window, at least ``floor`` each, so that an empty bin does not make it
    infinite. It is the sum of both Kullback-Leibler divergences, in nats, and 0 for equal shares.
    Source: Kullback and Leibler (1951), "On information and sufficiency", their J. Raises ValueError for tables that do
    not pair up or that count nothing.
    """
    p, q = _shares(reference, "reference"), _shares(window, "window")
    if p.shape != q.shape:
        raise ValueError(f"reference has {len(p)} bins and window {len(q)}; cut both at the same edges.")
    p, q = np.maximum(p, floor), np.maximum(q, floor)
    return float(((q - p) * np.log(q / p)).sum())


def counts(values: Sequence[str], names: Sequence[str]) -> Array:
    """How often each of ``names`` occurs, with one more bin at the end for all values that are none of them."""
    place = {name: i for i, name in enumerate(names)}
    return np.bincount([place.get(value, len(names)) for value in values], minlength=len(names) + 1).astype(float)


def binned(values: ArrayLike, edges: ArrayLike) -> Array:
    """How many values fall into each of the len(edges) + 1 bins; an edge belongs to the bin above it."""
    edges = np.asarray(edges, dtype=float)
    places = np.searchsorted(edges, _numbers(values, "values"), side="right")
    return np.bincount(places, minlength=len(edges) + 1).astype(float)


def ks_statistic(a: ArrayLike, b: ArrayLike) -> float:
    """The largest distance between the two empirical distribution functions, 0 to 1 (Kolmogorov and Smirnov)."""
    a, b = np.sort(_numbers(a, "a")), np.sort(_numbers(b, "b"))
    at = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).max())


def ks_p_value(statistic: float, n: int, m: int) -> float:
    """P(statistic at least so large | one distribution without ties), by Kolmogorov's limit: good from about 50 values.

    With ties, as among counts of tokens, it is too large: the test then raises too few alarms rather than too many.
    """
    x = statistic * math.sqrt(n * m / (n + m))
    if x < 0.2:
        return 1.0  # the series converges slowly there, and the probability is 1 to twelve digits
    return float(min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 40)))))


def chi_square(reference: ArrayLike, window: ArrayLike) -> tuple[float, float]:
    """(statistic, p) of Pearson's test that two tables of counts (bins,) share their proportions.

    Bins empty in both are left out. The p-value is the limit for large counts; expected counts below 5 make it
    unreliable. Raises ValueError for tables that do not pair up, or with fewer than two bins that hold anything.
    """
    table = np.array([_counted(reference, "reference"), _counted(window, "window")])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        raise ValueError("all counts are in one bin; proportions can only differ between two bins or more.")
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    freedom = torch.tensor((table.shape[1] - 1) / 2, dtype=torch.float64)
    return statistic, float(torch.special.gammaincc(freedom, torch.tensor(statistic / 2, dtype=torch.float64)))


def kernel(x: Array, y: Array, width: float) -> Array:
    """exp(-|x - y|^2 / (2 width^2)) for every row of x (n, d) with every row of y (m, d): (n, m)."""
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.exp(-np.maximum(squared, 0.0) / (2 * width**2))


def median_width(x: Array) -> float:
    """The median distance between two different rows of x (n, d): the usual width of the kernel."""
    squared = (x**2).sum(1)[:, None] + (x**2).sum(1) - 2 * x @ x.T
    return float(np.sqrt(np.median(np.maximum(squared, 0.0)[np.triu_indices(len(x), 1)])))


def mmd2(xx: Array, xy: Array, yy: Array) -> float:
    """Squared maximum mean discrepancy from kernel matrices (n, n), (n, m), (m, m): unbiased, so it may be below 0.

    Source: Gretton et al. (2012), "A kernel two-sample test", JMLR 13, lemma 6.
    """
    n, m = xy.shape
    if n < 2 or m < 2:
        raise ValueError(f"the samples hold {n} and {m} vectors; at least two each are needed.")
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def classifier_two_sample(x: Array, y: Array, seed: int = 0, ridge: float = 1.0) -> float:
    """The accuracy, 0 to 1, with which a linear classifier tells held-out rows of x (n, d) and y (m, d) apart.

    Half of each sample trains it (least squares with a ridge penalty), the other half judges it; both samples weigh
    alike, so 0.5 is chance whatever n and m are. Source: Lopez-Paz and Oquab (arXiv 1610.06545), section 3, where the
    classifier is a network. Raises ValueError for fewer than four rows in a sample.
    """
    if len(x) < 4 or len(y) < 4:
        raise ValueError(f"the samples hold {len(x)} and {len(y)} rows; at least four each are needed.")
    rng = np.random.default_rng(seed)
    x, y = x[rng.permutation(len(x))], y[rng.permutation(len(y))]
    parts = [(x[: len(x) // 2], y[: len(y) // 2]), (x[len(x) // 2 :], y[len(y) // 2 :])]
    (a, b), (c, d) = parts
    middle = (a.mean(0) + b.mean(0)) / 2
    spread = ((a - a.mean(0)).T @ (a - a.mean(0)) / len(a) + (b - b.mean(0)).T @ (b - b.mean(0)) / len(b)) / 2
    strength = ridge * np.trace(spread) / len(spread) + 1e-12
    direction = np.linalg.solve(spread + strength * np.eye(len(spread)), b.mean(0) - a.mean(0))
    return float(((c - middle) @ direction < 0).mean() + ((d - middle) @ direction > 0).mean()) / 2


def _numbers(values: ArrayLike, name: str) -> Array:
    data = np.asarray(values, dtype=float)
    if data.ndim != 1 or not len(data):
        raise ValueError(f"{name} has the shape {data.shape}; a list of one number or more is expected.")
    if not np.isfinite(data).all():
        raise ValueError(
            f"{name} holds {int((~np.isfinite(data)).sum())} values that are no finite numbers; leave them out."
        )
    return data


def _counted(table: ArrayLike, name: str) -> Array:
    data = _numbers(table, name)
    if (data < 0).any() or data.sum() <= 0:
        raise ValueError(f"{name} must hold counts, none below 0 and not all 0; given {data.tolist()[:8]}.")
    return data


def _shares(table: ArrayLike, name: str) -> Array:
    data = _counted(table, name)
    return data / data.sum()
