"""Drills on optimizers: AdamW, Muon, and gradients clipped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import normal
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def adamw_step(
    param: Tensor, grad: Tensor, m: Tensor, v: Tensor, step: int, lr: float, beta1: float, beta2: float, eps: float,
    weight_decay: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(param, m, v) after one step of AdamW; nothing given is changed. step: the number of this step, from 1."""
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    decayed = param * (1 - lr * weight_decay)
    return decayed - lr * m_hat / (v_hat.sqrt() + eps), m, v


def _adam_case(seed, step, lr, b1, b2, eps, decay, size=3):
    return Case(
        normal(seed, size), normal(seed + 1, size), 0.3 * normal(seed + 2, size), normal(seed + 3, size) ** 2, step, lr, b1,
        b2, eps, decay,
    )  # fmt: skip


adamw = Definition(
    adamw_step,
    new=True,
    title="One step of AdamW",
    level="onsite",
    minutes=10,
    topics=("A12",),
    statement="""
    Write one step of AdamW (arXiv 1711.05101): the averages `m = b1 m + (1 - b1) g` and `v = b2 v + (1 - b2) g²`; both
    corrected for their start at zero, `m / (1 - b1^step)` and `v / (1 - b2^step)`; then
    `param (1 - lr * weight_decay) - lr * m̂ / (sqrt(v̂) + eps)`. The decay is apart from the averages: that is the W.
    All tensors have one shape; step counts from 1. Result: new (param, m, v); m and v are kept uncorrected.
    """,
    cases=lambda: [
        Case(torch.tensor([1.0]), torch.tensor([0.5]), torch.zeros(1), torch.zeros(1), 1, 0.1, 0.9, 0.99, 0.1, 0.1),
        _adam_case(1, 1, 0.01, 0.9, 0.95, 1e-8, 0.1),
        _adam_case(5, 7, 0.1, 0.8, 0.99, 1e-2, 0.5),
        _adam_case(9, 100, 0.5, 0.9, 0.999, 1e-8, 0.0, 4),
    ],
    general="Not the step of AdamW.",
    hints=[
        "Five lines: m, v, the two corrections, the decay of the weight, the step. The corrected averages are used, the "
        "uncorrected are kept.",
        "`m_hat = m / (1 - beta1**step)`, `v_hat = v / (1 - beta2**step)`, `param * (1 - lr * weight_decay) - lr * m_hat / "
        "(v_hat.sqrt() + eps)`.",
    ],
    banned=("adamw", "adam", "_single_tensor_adam", "step"),
)


def _adamw(p, g, m, v, t, lr, b1, b2, eps, wd, mode=""):
    if mode == "l2":
        g = g + wd * p
    m = b1 * m + (1 - b1) * g if mode != "swapped" else (1 - b1) * m + b1 * g
    v = b2 * v + (1 - b2) * (g.abs() if mode == "unsquared" else g**2)
    shift = -1 if mode == "from zero" and t > 1 else 0
    mh, vh = (m, v) if mode == "uncorrected" else (m / (1 - b1 ** (t + shift)), v / (1 - b2 ** (t + shift)))
    down = (vh + eps).sqrt() if mode == "inside" else vh if mode == "no root" else vh.sqrt() + eps
    down = down + eps if mode == "no root" else down
    keep = {"l2": 1, "no decay": 1, "decay alone": 1 - wd, "grows": 1 + lr * wd}.get(mode, 1 - lr * wd)
    new = p * keep + (lr if mode == "up" else -lr) * mh / down
    return (new, mh, vh) if mode == "kept corrected" else (new, m, v)


adamw.plant(
    {
        sentence: lambda param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay, mode=mode: _adamw(
            param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay, mode
        )
        for mode, sentence in {
            "l2": "The decay is added to the gradient, and so is divided by sqrt(v): that is Adam with L2. It acts on the weight.",
            "uncorrected": "The averages are not corrected for their start at zero.",
            "swapped": "beta1 stands before the gradient; it is 1 - beta1, and beta1 before the average.",
            "unsquared": "v averages the gradient's magnitude; it is its square.",
            "inside": "eps stands inside the root; it is added to it.",
            "no root": "Divided by v; it is the root of it.",
            "no decay": "The weight does not decay.",
            "decay alone": "The decay lacks the learning rate: 1 - lr * weight_decay.",
            "grows": "The weight grows by the decay; it shrinks.",
            "up": "The step goes up the gradient.",
            "kept corrected": "The corrected averages are kept: next time they would be corrected twice.",
            "from zero": "Corrected with step - 1; the number of this step counts from 1.",
        }.items()
    }
)


def muon_step(weight: Tensor, grad: Tensor, momentum: Tensor, lr: float, beta: float) -> tuple[Tensor, Tensor]:
    """(weight, momentum) after one step of Muon, with Nesterov momentum and five Newton-Schulz iterations.

    weight, grad, momentum: (rows, columns); nothing given is changed.
    """
    momentum = beta * momentum + (1 - beta) * grad
    update = beta * momentum + (1 - beta) * grad
    tall = update.shape[0] > update.shape[1]
    x = update.T if tall else update
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    x = x.T if tall else x
    rows, columns = weight.shape
    return weight - lr * max(1.0, rows / columns) ** 0.5 * x, momentum


muon = Definition(
    muon_step,
    new=True,
    title="One step of Muon",
    level="staff",
    minutes=15,
    topics=("A12", "+"),
    statement="""
    Write one step of Muon for a matrix. Momentum: `M = beta M + (1 - beta) G`, and, looking ahead (Nesterov), the update is
    `beta M + (1 - beta) G` with the new M. Make it nearly orthogonal: divide by its Frobenius norm (+ 1e-7), then five times
    `X = 3.4445 X - 4.7750 (X Xᵀ) X + 2.0315 (X Xᵀ)² X`, on the transpose if there are more rows than columns, which is
    cheaper. The weight moves by `-lr * sqrt(max(1, rows / columns)) * X`. Work in float32.
    Result: (weight, momentum), both new.
    """,
    cases=lambda: [
        Case(torch.zeros(2, 2), torch.tensor([[3.0, 0], [0, 1.0]]), torch.zeros(2, 2), 1.0, 0.5),
        Case(normal(1, 2, 4), normal(2, 2, 4), normal(3, 2, 4), 0.1, 0.9),
        Case(normal(4, 5, 2), normal(5, 5, 2), normal(6, 5, 2), 0.5, 0.95),
    ],
    rtol=1e-3,
    atol=1e-5,
    general="Not the step of Muon.",
    hints=[
        "In order: new momentum, update, transpose if tall, norm, five iterations, transpose back, scale, subtract.",
        "`square = x @ x.T`; `x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x`, five times, after `x = x / "
        "(x.norm() + 1e-7)`; then `weight - lr * max(1, rows / columns) ** 0.5 * x`.",
    ],
    banned=("_zeropower_via_newtonschulz", "_single_tensor_muon", "linalg_svd", "svd", "muon"),
)


def _muon(
    w,
    g,
    m,
    lr,
    beta,
    times=5,
    nesterov=True,
    norm=True,
    scale=lambda r, c: max(1.0, r / c) ** 0.5,
    b=-4.775,
    plain=False,
):
    new = beta * m + (1 if plain else 1 - beta) * g
    u = beta * new + (1 - beta) * g if nesterov else new
    x = u.T if w.shape[0] > w.shape[1] else u
    x = x / (x.norm() + 1e-7) if norm else x / x.abs().max()
    for _ in range(times):
        s = x @ x.T
        x = 3.4445 * x + (b * s + 2.0315 * s @ s) @ x
    x = x.T if w.shape[0] > w.shape[1] else x
    return w - lr * scale(*w.shape) * x, new


muon.plant(
    {
        sentence: lambda weight, grad, momentum, lr, beta, wrong=wrong: _muon(weight, grad, momentum, lr, beta, **wrong)
        for sentence, wrong in {
            "The update is not made orthogonal: this is momentum alone.": {"times": 0},
            "Four iterations; it is five.": {"times": 4},
            "The update is the momentum; Nesterov looks ahead: beta M + (1 - beta) G once more.": {"nesterov": False},
            "The factor sqrt(max(1, rows / columns)) is missing.": {"scale": lambda r, c: 1.0},
            "The factor is max(1, columns / rows); rows and columns are mistaken for each other.": {
                "scale": lambda r, c: max(1.0, c / r) ** 0.5
            },
            "The root of max(1, rows / columns) is missing.": {"scale": lambda r, c: max(1.0, r / c)},
            "Divided by the largest number; it is the Frobenius norm, so that no singular value is above 1.": {
                "norm": False
            },
            "The sign of the second coefficient is turned: it is -4.7750.": {"b": 4.775},
            "The momentum adds the whole gradient; here it is an average: (1 - beta) G.": {"plain": True},
        }.items()
    }
    | {
        "The weight moves up the gradient.": lambda weight, grad, momentum, lr, beta: _muon(
            weight, grad, momentum, -lr, beta
        ),
    }
)


def clip_gradients(grads: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    """(clipped, norm): all gradients scaled alike so that their common norm is at most ``max_norm``, and the norm before.

    New tensors; those of a norm within the limit are unchanged in value.
    """
    norm = math.sqrt(sum(float(grad.pow(2).sum()) for grad in grads))
    factor = min(1.0, max_norm / norm) if norm > 0 else 1.0
    return [grad * factor for grad in grads], norm


clip = Definition(
    clip_gradients,
    new=True,
    title="Clip gradients by their norm",
    level="screen",
    minutes=6,
    topics=("A12",),
    statement="""
    Shorten the gradient of a whole model, which lies in several tensors, to the length `max_norm` if it is longer; its
    direction must stay, so all tensors are scaled by one factor. A shorter one stays as it is; one of length 0 must not give NaN.
    Result: a list of new tensors, and the norm before (a float): it is what is logged.
    """,
    cases=lambda: [
        Case([torch.tensor([3.0, 4.0])], 1.0),
        Case([torch.tensor([0.3, 0.4])], 1.0),
        Case([normal(1, 2, 3), 2 * normal(2, 4), normal(3, 1)], 0.7),
        Case([torch.zeros(2)], 1.0),
        Case([torch.tensor([0.3]), torch.tensor([-0.4])], 0.1),
        Case([normal(4, 3), 5 * normal(5, 2)], 4.0),
    ],
    general="Not all gradients times min(1, max_norm / common norm), and the norm before.",
    hints=[
        "One norm for all: the root of the sum of all squares of all tensors. Then one factor, at most 1.",
        "`norm = math.sqrt(sum(float(g.pow(2).sum()) for g in grads))`; `factor = min(1.0, max_norm / norm) if norm > 0 else 1.0`.",
    ],
    banned=("clip_grad_norm_", "clip_grads_with_norm_", "get_total_norm"),
)


def _clip(grads, max_norm, own=False, up=False, root=True, value=False, after=False, power=2):
    total = sum(float(g.abs().pow(power).sum()) for g in grads)
    norm = total ** (1 / power) if root else total
    if value:
        return [g.clamp(-max_norm, max_norm) for g in grads], norm
    if own:
        return [g * min(1.0, max_norm / max(float(g.norm()), 1e-30)) for g in grads], norm
    factor = max_norm / norm if norm else 1.0
    factor = factor if up else min(1.0, factor)
    return [g * factor for g in grads], min(norm, max_norm) if after else norm


clip.plant(
    {
        "Each tensor is clipped on its own: that changes the direction. One norm for all.": lambda grads, max_norm: (
            _clip(grads, max_norm, own=True)
        ),
        "A short gradient is made longer; it stays as it is.": lambda grads, max_norm: _clip(grads, max_norm, up=True),
        "The root of the sum of squares is missing.": lambda grads, max_norm: _clip(grads, max_norm, root=False),
        "Each number is cut at max_norm: that changes the direction.": lambda grads, max_norm: _clip(
            grads, max_norm, value=True
        ),
        "The norm after clipping is returned; the one before is logged.": lambda grads, max_norm: _clip(
            grads, max_norm, after=True
        ),
        "The sum of magnitudes is used; the norm is the root of the sum of squares.": lambda grads, max_norm: _clip(
            grads, max_norm, power=1
        ),
        "A gradient of 0 gives NaN.": lambda grads, max_norm: (
            (lambda norm: ([g * (torch.tensor(max_norm) / norm).clamp(max=1) for g in grads], float(norm)))(
                torch.stack([g.pow(2).sum() for g in grads]).sum().sqrt()
            )
            if any(g.any() for g in grads)
            else ([g * torch.nan for g in grads], 0.0)
        ),
        "Nothing is clipped.": lambda grads, max_norm: ([g.clone() for g in grads], _clip(grads, max_norm)[1]),
    }
)
