"""Drills on training: gradients of micro-batches, optimizers, schedules, clipping, a loss scale, a ring of workers, a
teacher."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import integers, normal
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = Lazy("torch")
    F = Lazy("torch.nn.functional")


def accumulated_gradient(weight: Tensor, micro_batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The gradient (width, vocabulary) of the mean loss over all labels of all micro-batches, one of them at a time.

    weight: (width, vocabulary); logits are x @ weight. micro_batches: pairs of x (n, width) and labels (n,), n differs; the
    loss is cross-entropy, and labels of -100 do not count.
    """
    count = sum(int((labels != -100).sum()) for _, labels in micro_batches)
    leaf = weight.detach().clone().requires_grad_()
    for x, labels in micro_batches:
        loss = F.cross_entropy(x @ leaf, labels, ignore_index=-100, reduction="sum") / count
        loss.backward()  # adds to leaf.grad, and frees the activations of this micro-batch
    assert leaf.grad is not None
    return leaf.grad


def _micro(seed, sizes, hidden=0.0):
    batches = []
    for i, n in enumerate(sizes):
        labels = integers(seed + 7 * i, 3, n)
        for place in range(1, n, 2 if i == 0 else 3):
            labels[place] = -100 if hidden else labels[place]
        batches.append((normal(seed + i, n, 2), labels))
    return batches


accumulate = Definition(
    accumulated_gradient,
    title="Gradient accumulation",
    level="onsite",
    minutes=12,
    topics=("A12",),
    statement="""
    Sum up the gradient of a large batch over micro-batches that hold different numbers of labels, so that it equals the
    gradient of the whole batch at once: the mean over all labels that count, not the mean of the micro-batches' means. Go
    through them one at a time; never lay them together. The model is `logits = x @ weight`, the loss cross-entropy, labels of
    -100 do not count. A micro-batch may have no label that counts. Result: the gradient, with the shape of weight.
    """,
    cases=lambda: [
        Case(normal(1, 2, 3), _micro(2, [1])),
        Case(normal(3, 2, 3), _micro(4, [1, 3])),
        Case(normal(5, 2, 3), _micro(6, [4, 3, 5], 1.0)),
        Case(normal(7, 2, 3), [*_micro(8, [3]), (normal(9, 2, 2), torch.tensor([-100, -100])), *_micro(10, [2])]),
    ],
    general="Not the gradient of the mean over all labels that count.",
    hints=[
        "Count first, over all micro-batches. Then each loss is a sum divided by that count; `backward` adds gradients up.",
        "`F.cross_entropy(x @ leaf, labels, ignore_index=-100, reduction='sum') / count`, `.backward()` in the loop, and at the "
        "end `leaf.grad`, with `leaf = weight.detach().clone().requires_grad_()`.",
    ],
    banned=("cat", "concat", "concatenate", "vstack", "row_stack"),
)


def _accumulated(weight, batches, of="all", reduction="sum", last=False, ignore=-100):
    leaf, total = weight.detach().clone().requires_grad_(), torch.zeros_like(weight)
    count = sum(int((y != -100).sum()) for _, y in batches)
    counts = {"all": count, "batches": len(batches), "none": 1, "places": sum(len(y) for _, y in batches)}
    for x, y in batches:
        logits = x @ leaf
        keep = y != -100
        if ignore is None:
            keep, y = torch.ones_like(keep), y.clamp(min=0)
        losses = F.cross_entropy(logits[keep], y[keep], reduction=reduction)
        slope = torch.autograd.grad(losses / counts[of], leaf)[0]
        total = slope if last else total + slope
    return total


accumulate.plant(
    {
        "The micro-batches' means are averaged: a label in a small one counts for more.": (
            lambda weight, micro_batches: _accumulated(weight, micro_batches, "batches", "mean")
        ),
        "The micro-batches' means are added up: divide by the number of all labels that count.": (
            lambda weight, micro_batches: _accumulated(weight, micro_batches, "none", "mean")
        ),
        "The sum is not divided by the number of labels that count.": lambda weight, micro_batches: _accumulated(
            weight, micro_batches, "none"
        ),
        "Divided by all places; labels of -100 do not count.": lambda weight, micro_batches: _accumulated(
            weight, micro_batches, "places"
        ),
        "Only the last micro-batch is left: gradients are set to 0 between them.": lambda weight, micro_batches: (
            _accumulated(weight, micro_batches, last=True)
        ),
        "Divided by the number of micro-batches; it is the number of labels that count.": lambda weight, micro_batches: (
            _accumulated(weight, micro_batches, "batches")
        ),
        "The gradient lacks its sign: the loss goes down along the negative of it, but that is the optimizer's part.": (
            lambda weight, micro_batches: -_accumulated(weight, micro_batches)
        ),
    }
)


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


def wsd_lr(step: int, warmup: int, decay: int, total: int, peak: float) -> float:
    """The learning rate of a step, 0 <= step <= total: warm-up, stable, and a linear decay to 0 over the last ``decay`` steps.

    It rises linearly from 0 at step 0 to ``peak`` at step ``warmup``, which may be 0.
    """
    if step < warmup:
        return peak * step / warmup
    left = total - step
    return peak * min(1.0, left / decay) if decay else peak


wsd = Definition(
    wsd_lr,
    title="Warm-up, stable, decay (WSD)",
    level="screen",
    minutes=5,
    topics=("A12", "+"),
    statement="""
    Write the schedule that needs no end date until its last part: linear from 0 at step 0 to `peak` at step `warmup`, then
    constant, then linear to 0 over the last `decay` steps, so that step `total` has 0 and step `total - decay` still has the
    peak. `warmup` or `decay` may be 0. Result: a float.
    """,
    cases=lambda: [
        Case(step, warmup, decay, total, peak)
        for warmup, decay, total, peak in ((4, 5, 20, 2.0), (0, 4, 10, 1.0), (3, 0, 8, 0.5))
        for step in range(total + 1)
    ],
    general="Not peak * step / warmup, then peak, then peak * (total - step) / decay.",
    hints=[
        "Three parts, in order of time. Which of them can divide by 0?",
        "`if step < warmup: return peak * step / warmup`; then `peak * min(1.0, (total - step) / decay) if decay else peak`.",
    ],
)


def _wsd(step, warmup, decay, total, peak, first=0, end=0, cosine=False, after=False, floor=0.0, stable=True):
    if step < warmup:
        return peak * (step + first) / warmup
    if not stable:
        return peak * (total - step) / (total - warmup)
    start = decay if after else total - decay
    if decay == 0 or step < start:
        return peak
    part = min((total - step + end) / (total - start), 1.0) if after or end else (total - step) / decay
    return peak * ((1 - math.cos(math.pi * part)) / 2 if cosine else floor + (1 - floor) * part)


wsd.plant(
    {
        sentence: lambda step, warmup, decay, total, peak, wrong=wrong: _wsd(step, warmup, decay, total, peak, **wrong)
        for sentence, wrong in {
            "The warm-up begins one step late or early: step 0 has 0, step `warmup` the peak.": {"first": 1},
            "The decay ends one step late: step `total` has 0.": {"end": 1},
            "The decay follows a cosine; it is linear.": {"cosine": True},
            "`decay` is taken for the step where the decay begins; it is how many steps it takes.": {"after": True},
            "The decay ends above 0.": {"floor": 0.1},
            "There is no stable part: the decay begins right after the warm-up.": {"stable": False},
        }.items()
    }
    | {
        "There is no warm-up: it begins at the peak.": lambda step, warmup, decay, total, peak: _wsd(
            step, 0, decay, total, peak
        ),
        "There is no decay: it stays at the peak to the end.": lambda step, warmup, decay, total, peak: _wsd(
            step, warmup, 0, total, peak
        ),
    }
)


def cosine_lr(step: int, warmup: int, total: int, peak: float, floor: float) -> float:
    """The learning rate of a step, 0 <= step <= total: a linear warm-up from 0 to ``peak``, then half a cosine down to ``floor``.

    ``peak`` is reached at step ``warmup``, which may be 0, and ``floor`` at step ``total``.
    """
    if step < warmup:
        return peak * step / warmup
    part = (step - warmup) / (total - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * part)) / 2


cosine = Definition(
    cosine_lr,
    title="Cosine decay with warm-up",
    level="screen",
    minutes=5,
    topics=("A12",),
    statement="""
    Write the usual schedule: linear from 0 at step 0 to `peak` at step `warmup` (which may be 0), then half a period of a
    cosine, which reaches `floor` at step `total`. Halfway between the two it is `(peak + floor) / 2`. Result: a float.
    """,
    cases=lambda: [
        Case(step, warmup, total, peak, floor)
        for warmup, total, peak, floor in ((3, 13, 2.0, 0.5), (0, 8, 1.0, 0.0), (2, 5, 3e-1, 3e-2))
        for step in range(total + 1)
    ],
    general="Not the warm-up, then floor + (peak - floor) * (1 + cos(pi * part)) / 2.",
    hints=[
        "The part of the way after the warm-up runs from 0 to 1. The cosine of pi times it runs from 1 to -1; make it run from "
        "1 to 0.",
        "`part = (step - warmup) / (total - warmup)`; `floor + (peak - floor) * (1 + math.cos(math.pi * part)) / 2`.",
    ],
)


def _cosine(step, warmup, total, peak, floor, turn=1.0, late=True, low=None, linear=False, first=0, factor=False):
    if step < warmup:
        return peak * (step + first) / warmup
    part = (step - warmup) / (total - warmup) if late else step / total
    wave = 1 - part if linear else (1 + math.cos(turn * math.pi * part)) / 2
    if low == "max":
        return max(floor, peak * wave)
    if low == "add":
        return floor + peak * wave
    low = 0 if low == "none" else floor * peak if factor else floor
    return low + (peak - low) * wave


cosine.plant(
    {
        sentence: lambda step, warmup, total, peak, floor, wrong=wrong: _cosine(
            step, warmup, total, peak, floor, **wrong
        )
        for sentence, wrong in {
            "The cosine begins at step 0, under the warm-up; it begins after it.": {"late": False},
            "A whole period: it comes back to the peak at the end.": {"turn": 2.0},
            "A quarter of a period: it ends halfway down.": {"turn": 0.5},
            "The floor cuts the curve off; it is what the curve runs to.": {"low": "max"},
            "The floor is added to the whole curve: it begins above the peak.": {"low": "add"},
            "The floor is not used.": {"low": "none"},
            "The decay is linear.": {"linear": True},
            "The warm-up begins one step early: step 0 has 0.": {"first": 1},
            "The floor is taken as a share of the peak; it is a learning rate.": {"factor": True},
        }.items()
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


def scaled_step(
    grads: list[Tensor], scale: float, good_steps: int, interval: int
) -> tuple[list[Tensor] | None, float, int]:
    """(gradients, scale, good_steps) of dynamic loss scaling after one backward pass. The list given stays as it is.

    grads: of the loss times ``scale``. With a number among them that is not finite: (None, scale / 2, 0), no step is made.
    Else the true gradients and good_steps + 1; where that reaches ``interval``, the scale is doubled and good_steps is 0.
    """
    if not all(torch.isfinite(grad).all() for grad in grads):
        return None, scale / 2, 0
    true = [grad / scale for grad in grads]
    if good_steps + 1 == interval:
        return true, 2 * scale, 0
    return true, scale, good_steps + 1


scaling = Definition(
    scaled_step,
    new=True,
    title="Dynamic loss scale of mixed precision",
    level="onsite",
    minutes=10,
    topics=("A12",),
    statement="""
    In float16 small gradients vanish, so the loss is multiplied by a large scale before `backward`. Write what happens after
    it. If any gradient is inf or NaN: make no step (None), halve the scale, begin counting anew. Else divide the gradients by
    the scale that they were made with, and count one good step more; when `interval` good steps in a row are reached,
    double the scale for the next pass and count from 0.
    Result: (new gradients or None, scale, good_steps).
    """,
    cases=lambda: [
        Case([torch.tensor([8.0, 2.0])], 4.0, 0, 3),
        Case([normal(1, 2), torch.tensor([torch.inf, 1.0])], 8.0, 2, 3),
        Case([torch.tensor([1.0, torch.nan]), normal(2, 2)], 8.0, 1, 5),
        Case([normal(3, 2), normal(4, 3)], 16.0, 2, 3),
        Case([normal(5, 2)], 2.0, 1, 4),
        Case([torch.tensor([-torch.inf])], 1024.0, 0, 2),
    ],
    general="Not None and half the scale after inf or NaN, else the gradients divided by the scale and one good step more.",
    hints=[
        "Look at all tensors before anything else. The gradients carry the old scale, also where it is about to grow.",
        "`if not all(torch.isfinite(g).all() for g in grads): return None, scale / 2, 0`; `true = [g / scale for g in grads]`; "
        "`if good_steps + 1 == interval: return true, 2 * scale, 0`.",
    ],
)


def _scaled(
    grads,
    scale,
    good,
    interval,
    nan=True,
    first=False,
    half=True,
    again=True,
    grow=True,
    at=1,
    divide=True,
    new=False,
    keep=False,
):
    look = grads[:1] if first else grads
    bad = not all((torch.isfinite(g) if nan else ~torch.isinf(g)).all() for g in look)
    if bad:
        return (None if not keep else [g / scale for g in grads]), scale / 2 if half else scale, 0 if again else good
    full = good + at >= interval
    after = 2 * scale if full and grow else scale
    true = [g / (after if new else scale) if divide else g.clone() for g in grads]
    return true, after, 0 if full else good + 1


scaling.plant(
    {
        sentence: lambda grads, scale, good_steps, interval, wrong=wrong: _scaled(
            grads, scale, good_steps, interval, **wrong
        )
        for sentence, wrong in {
            "NaN is not noticed; look for what is not finite.": {"nan": False},
            "Only the first tensor is looked at.": {"first": True},
            "The scale stays after an overflow; it is halved.": {"half": False},
            "Good steps are still counted after an overflow; begin anew at 0.": {"again": False},
            "The scale never grows.": {"grow": False},
            "The scale grows one step late.": {"at": 0},
            "The gradients are not divided by the scale.": {"divide": False},
            "The gradients are divided by the new scale; they were made with the old one.": {"new": True},
            "The step is made in spite of an overflow; it is left out (None).": {"keep": True},
        }.items()
    }
)


def ring_all_reduce(buffers: list[list[float]]) -> tuple[list[list[float]], list[list[float]]]:
    """(scattered, reduced): what all workers hold after the reduce-scatter, and after the all-gather, of a ring.

    buffers: n workers with n chunks each, a chunk being one number. In step s = 0 ... n - 2 of the reduce-scatter worker w
    sends its chunk (w - s) mod n to worker (w + 1) mod n, which adds it to its own. In step s of the all-gather it sends chunk (w + 1 - s) mod n, which replaces. Nothing given is changed.
    """
    n = len(buffers)
    held = [list(buffer) for buffer in buffers]
    for s in range(n - 1):
        for w in range(n):  # in one step all chunks on their way are different ones: the order does not matter
            held[(w + 1) % n][(w - s) % n] += held[w][(w - s) % n]
    scattered = [list(buffer) for buffer in held]
    for s in range(n - 1):
        for w in range(n):
            held[(w + 1) % n][(w + 1 - s) % n] = held[w][(w + 1 - s) % n]
    return scattered, held


def _ring_cases():
    import random

    rng = random.Random(7)
    drawn = [[[round(rng.uniform(-5, 5), 2) for _ in range(n)] for _ in range(n)] for n in (3, 4, 5)]
    return [Case([[1.0, 2.0], [10.0, 20.0]]), *[Case(buffers) for buffers in drawn], Case([[7.0]])]


ring = Definition(
    ring_all_reduce,
    new=True,
    title="Ring all-reduce, simulated",
    level="staff",
    minutes=15,
    topics=("A12",),
    statement="""
    Sum the gradients of n workers that stand in a ring and talk only to the next one. Each buffer has n chunks (here of one
    number). Reduce-scatter, n - 1 steps: in step s = 0, 1, ... worker w sends chunk `(w - s) mod n` to worker w + 1, which adds
    it; all send at once. Now worker w holds the whole sum of chunk `(w + 1) mod n`. All-gather, n - 1 steps: worker w sends chunk
    `(w + 1 - s) mod n`, which replaces. So each worker sends 2 (n - 1) / n of its buffer, whatever n is.
    Result: the buffers of all workers after the first part, and at the end, new lists.
    """,
    cases=_ring_cases,
    general="Not what the ring holds after its n - 1 steps of adding, and after n - 1 steps of replacing.",
    hints=[
        "Two loops, over steps and over workers, twice. The receiver is (w + 1) mod n; the chunk's number is the sender's. "
        "Copy the lists first: the caller needs them.",
        "`held[(w + 1) % n][(w - s) % n] += held[w][(w - s) % n]`; copy what is held; then the same with `(w + 1 - s) % n` "
        "and `=`.",
    ],
)


def _ring(buffers, steps=None, back=False, replace=True, first=None, total=False, mean=False):
    n = len(buffers)
    held = [list(b) for b in buffers]
    to = -1 if back else 1

    def run(offset, add):
        for s in range(n - 1 if steps is None else steps(n)):
            sent = [held[w][(w + offset - s) % n] for w in range(n)]
            for w, value in enumerate(sent):
                place = (w + offset - s) % n
                held[(w + to) % n][place] = held[(w + to) % n][place] + value if add else value

    run(0, True)
    scattered = [list(b) for b in held]
    run(1 if first is None else first, not replace)
    if total:
        held = [[sum(b[c] for b in buffers) for c in range(n)] for _ in range(n)]
        scattered = held
    return scattered, [[x / n for x in b] for b in held] if mean else held


ring.plant(
    {
        sentence: lambda buffers, wrong=wrong: _ring(buffers, **wrong)
        for sentence, wrong in {
            "The chunks go to the worker before; they go to the next one.": {"back": True},
            "n steps instead of n - 1: a worker's own numbers come back to it.": {"steps": lambda n: n},
            "The all-gather adds; it replaces.": {"replace": False},
            "The all-gather begins with chunk w; worker w holds the whole sum of chunk w + 1.": {"first": 0},
            "The first part holds the full sums already; it is what each worker holds after the reduce-scatter (copy it then).": {
                "total": True
            },
            "The sums are divided by n; all-reduce sums here.": {"mean": True},
        }.items()
    }
)


def distillation_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float) -> Tensor:
    """alpha * T^2 * KL(teacher || student) at temperature T, plus (1 - alpha) * cross-entropy at temperature 1; one number.

    student, teacher: logits (n, vocabulary); no gradient reaches the teacher. labels: (n,). Both parts are means over n.
    """
    soft = (teacher.detach() / temperature).softmax(-1)
    log_teacher = (teacher.detach() / temperature).log_softmax(-1)
    log_student = (student / temperature).log_softmax(-1)
    kl = (soft * (log_teacher - log_student)).sum(-1).mean()
    return alpha * temperature**2 * kl + (1 - alpha) * F.cross_entropy(student, labels)


def _distil_seen(answer, student, teacher, labels, temperature, alpha):
    student, teacher = student.clone().requires_grad_(), teacher.clone().requires_grad_()
    loss = answer(student, teacher, labels, temperature, alpha)
    if not loss.requires_grad:
        return loss, "no gradient for the student"
    slopes = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    return loss.detach(), slopes[0], "no gradient" if slopes[1] is None else slopes[1]


distillation = Definition(
    distillation_loss,
    title="The distillation loss",
    level="onsite",
    minutes=10,
    topics=("A17",),
    statement="""
    Teach a student by a teacher's probabilities and by the labels: `alpha * T² * KL(teacher || student)`, both softened by the
    temperature T (`softmax(logits / T)`), plus `(1 - alpha) * cross-entropy(student, labels)` at temperature 1. KL is summed over
    the vocabulary, then both are averaged over the n places. T² keeps the gradient's size when T changes. No gradient may reach
    the teacher. student, teacher: logits (n, vocabulary); labels: (n,). Result: one number.
    """,
    cases=lambda: [
        Case(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([1]), 2.0, 1.0),
        Case(normal(1, 3, 4), normal(2, 3, 4), integers(3, 4, 3), 3.0, 0.7),
        Case(normal(4, 2, 5), normal(5, 2, 5), integers(6, 5, 2), 0.5, 0.2),
    ],
    observe=_distil_seen,
    general="Not alpha * T^2 * KL(teacher || student) at temperature T plus (1 - alpha) * cross-entropy.",
    hints=[
        "KL(teacher || student) is the teacher's mean of log teacher - log student. Detach the teacher. The labels' part is not "
        "softened.",
        "`(p * ((t / T).log_softmax(-1) - (s / T).log_softmax(-1))).sum(-1).mean() * T**2`, with `p = (t / T).softmax(-1)`; or "
        "`F.kl_div(log_student, log_teacher, reduction='batchmean', log_target=True)`.",
    ],
)


def _distil(
    s,
    t,
    y,
    T,
    alpha,
    square=2,
    turned=False,
    soft_labels=False,
    over="batch",
    cut=True,
    soften="both",
    swap=False,
    entropy=False,
):
    t = t.detach() if cut else t
    ls = (s / (T if soften != "teacher" else 1)).log_softmax(-1)
    lt = (t / (T if soften != "student" else 1)).log_softmax(-1)
    kl = ls.exp() * (ls - lt) if turned else lt.exp() * ((0 if entropy else lt) - ls)
    kl = kl.mean() if over == "all" else kl.sum() if over == "sum" else kl.sum(-1).mean()
    hard = F.cross_entropy(s / T if soft_labels else s, y)
    a = 1 - alpha if swap else alpha
    return a * T**square * kl + (1 - a) * hard


distillation.plant(
    {
        sentence: lambda student, teacher, labels, temperature, alpha, wrong=wrong: _distil(
            student, teacher, labels, temperature, alpha, **wrong
        )
        for sentence, wrong in {
            "T squared is missing: at a high temperature the teacher hardly counts.": {"square": 0},
            "The factor is T; it is T squared.": {"square": 1},
            "That is KL(student || teacher), the reverse one.": {"turned": True},
            "The labels' part is softened by the temperature; it stays at 1.": {"soft_labels": True},
            "KL is averaged over the vocabulary too (`reduction='mean'`); sum over it, average over places.": {
                "over": "all"
            },
            "KL is summed over the places; average over them.": {"over": "sum"},
            "A gradient reaches the teacher: detach it.": {"cut": False},
            "Only the student is softened; both are.": {"soften": "student"},
            "Only the teacher is softened; both are.": {"soften": "teacher"},
            "alpha and 1 - alpha are exchanged: alpha belongs to the teacher.": {"swap": True},
            "The teacher's entropy is missing: that is its cross-entropy with the student, not KL.": {"entropy": True},
        }.items()
    }
)
