"""How large a model, how much data: the law of Hoffmann et al., its fit, and the best use of a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Tokens for each parameter in Chinchilla (70 B parameters, 1.4 T tokens), and the rule of thumb drawn from it.
RULE = 20.0


@dataclass(frozen=True)
class Law:
    """``floor + a / parameters**alpha + b / tokens**beta`` (Hoffmann et al., arXiv 2203.15556, equation 2).

    The result has the unit of ``floor``, ``a`` and ``b``.
    """

    floor: float
    a: float
    alpha: float
    b: float
    beta: float

    def __call__(self, parameters: float, tokens: float) -> float:
        return self.floor + self.a * parameters**-self.alpha + self.b * tokens**-self.beta

    def best(self, flops: float) -> tuple[float, float]:
        """(parameters, tokens) with the lowest loss among those that spend ``6 * parameters * tokens = flops``.

        Equation 4 there: parameters = G (flops / 6)^(beta / (alpha + beta)) with
        G = (alpha a / (beta b))^(1 / (alpha + beta)).
        """
        both = self.alpha + self.beta
        factor = (self.alpha * self.a / (self.beta * self.b)) ** (1 / both)
        parameters = factor * (flops / 6) ** (self.beta / both)
        return parameters, flops / 6 / parameters


#: The constants of Hoffmann et al.'s data as fitted again by Besiroglu et al. (arXiv 2404.10102): nats per token.
CHINCHILLA = Law(1.8172, 482.01, 0.3478, 2085.43, 0.3658)


def power_law(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Least-squares fit of y = a * x**b on logarithms. Returns (a, b); raises ValueError for values not above 0."""
    if len(xs) < 2 or min(*xs, *ys) <= 0:
        raise ValueError("a power law needs at least two points, with x and y above 0")
    slope, offset = np.polyfit(np.log(xs), np.log(ys), 1)
    return float(np.exp(offset)), float(slope)


def compute_optimal(flops: float, tokens_per_parameter: float = RULE) -> tuple[float, float]:
    """(parameters, tokens) that spend ``6 * parameters * tokens = flops`` at a fixed number of tokens per parameter."""
    parameters = (flops / (6 * tokens_per_parameter)) ** 0.5
    return parameters, tokens_per_parameter * parameters


def fit_law(
    parameters: Sequence[float],
    tokens: Sequence[float],
    losses: Sequence[float],
    *,
    floor: float = 0.0,
    weights: Sequence[float] | np.ndarray | None = None,
) -> Law:
    """The law with the smallest squared *relative* errors above a known ``floor``.

    For fixed exponents the law is linear in ``a`` and ``b``, so these come from two equations, and only the exponents
    are searched (a grid from 0.05 to 2 in steps of 0.03). ``weights``: how much each run counts (default 1).
    Raises ValueError for fewer than four runs, or a loss that is not above the floor.
    """
    n, d, above = (np.asarray(v, dtype=float) for v in (parameters, tokens, losses))
    above = above - floor
    if len(above) < 4 or not (len(n) == len(d) == len(above)):
        raise ValueError(
            f"{len(n)}, {len(d)} and {len(above)} values; four numbers need at least four runs, of equal count."
        )
    if above.min() <= 0:
        raise ValueError(f"the lowest loss lies {-above.min():.3g} below the floor; the law is for losses above it.")
    w = np.ones_like(above) if weights is None else np.asarray(weights, dtype=float)
    middle_n, middle_d = (
        np.exp(np.log(n).mean()),
        np.exp(np.log(d).mean()),
    )  # near 1, so that nothing over- or underflows
    grid = np.arange(0.05, 2.0, 0.03)
    x = (n / middle_n)[None] ** -grid[:, None] / above  # one row for each alpha: a's share, relative to the loss
    y = (d / middle_d)[None] ** -grid[:, None] / above
    # The normal equations of  a x + b y = 1  for all pairs of exponents at once.
    xx, yy, xy = (w * x * x).sum(1)[:, None], (w * y * y).sum(1)[None], np.einsum("k,ik,jk->ij", w, x, y)
    x1, y1 = (w * x).sum(1)[:, None], (w * y).sum(1)[None]
    determinant = xx * yy - xy**2
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (x1 * yy - y1 * xy) / determinant, (y1 * xx - x1 * xy) / determinant
    error = w.sum() - a * x1 - b * y1
    error[~((a > 0) & (b > 0) & np.isfinite(error))] = np.inf
    if not np.isfinite(error).any():
        raise ValueError("no law with a > 0 and b > 0 fits: the losses do not fall with both parameters and tokens.")
    i, j = np.unravel_index(error.argmin(), error.shape)
    alpha, beta = float(grid[i]), float(grid[j])
    return Law(floor, float(a[i, j] * middle_n**alpha), alpha, float(b[i, j] * middle_d**beta), beta)


def resampled_laws(
    parameters: Sequence[float],
    tokens: Sequence[float],
    losses: Sequence[float],
    *,
    floor: float = 0.0,
    times: int = 200,
    seed: int = 0,
) -> list[Law]:
    """Laws fitted to the same runs drawn anew with replacement (the bootstrap): how sure is the fit?

    Draws on which no law can be fitted (too few different runs) are left out.
    """
    draw = np.random.default_rng(seed)
    laws = []
    for _ in range(times):
        counts = np.bincount(draw.integers(len(losses), size=len(losses)), minlength=len(losses))
        if (counts > 0).sum() < 4:
            continue
        try:
            laws.append(fit_law(parameters, tokens, losses, floor=floor, weights=counts))
        except ValueError:
            continue
    return laws
