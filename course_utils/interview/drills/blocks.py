"""Drills on the other parts of a transformer: positions, norm, feed-forward, gate of experts."""

from __future__ import annotations

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


def rope(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """x with each pair of numbers turned by its position: rotary embedding, with the shape and the dtype of x.

    x: (batch, heads, time, width), width even. positions: (time,). Pair i is (x[i], x[i + width / 2]) and turns by
    position * base ** (-2 i / width), in radians.
    """
    half = x.shape[-1] // 2
    speed = base ** (-torch.arange(half, device=x.device).float() / half)
    angle = positions[:, None].float() * speed
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


rotary = Definition(
    rope,
    title="Rotary positions (RoPE)",
    level="onsite",
    minutes=12,
    topics=("A26",),
    statement="""
    Turn queries or keys by their position, in the layout of Llama: number i of a head is paired with number
    `i + width / 2`, and the pair turns by the angle `position * base ** (-2 i / width)`:
    `(a, b) -> (a cos - b sin, b cos + a sin)`.
    x: (batch, heads, time, width); positions: (time,), whole numbers that need not start at 0. Result: as x.
    """,
    cases=lambda: [
        Case(torch.tensor([[[[1.0, 0, 0, 0]]]]), torch.tensor([1]), 100.0),
        Case(normal(1, 1, 1, 3, 2), torch.tensor([0, 1, 2]), 10000.0),
        Case(normal(2, 2, 2, 4, 8), torch.tensor([7, 0, 3, 20]), 1000.0),
        Case(normal(3, 1, 3, 2, 6), torch.tensor([5, 6]), 10000.0),
    ],
    general="Not each pair (x[i], x[i + width / 2]) turned by position * base ** (-2 i / width).",
    hints=[
        "There are width / 2 angles for each position: `positions[:, None] * base ** (-arange(half) / half)`. They stand for "
        "the last two axes of x, so they broadcast over batch and heads.",
        "`a, b = x[..., :half], x[..., half:]`; `torch.cat([a * cos - b * sin, b * cos + a * sin], -1)`.",
    ],
)


def _rope(x, positions, base, exponent=2.0, sign=1, pairs="halves", places=None, mirrored=False, turn=True):
    half = x.shape[-1] // 2
    speed = base ** (-exponent * torch.arange(half) / x.shape[-1])
    angle = (positions if places is None else places(positions))[:, None] * speed * sign
    cos, sin = angle.cos(), angle.sin()
    a, b = (x[..., :half], x[..., half:]) if pairs == "halves" else (x[..., ::2], x[..., 1::2])
    first, second = a * cos - b * sin, b * cos + (-a if mirrored else a) * sin
    return torch.cat([first, second], -1) if pairs == "halves" else torch.stack([first, second], -1).flatten(-2)


rotary.plant(
    {
        sentence: lambda x, positions, base, wrong=wrong: _rope(x, positions, base, **wrong)
        for sentence, wrong in {
            "Neighbouring numbers are paired; here x[i] is paired with x[i + width / 2].": {"pairs": "neighbours"},
            "The pairs turn the other way round: it is (a cos - b sin, b cos + a sin).": {"sign": -1},
            "The exponent is -i / width; it is -2 i / width, so that it runs to nearly -1.": {"exponent": 1.0},
            "`positions` is not used: the places are counted from 0.": {"places": lambda p: torch.arange(len(p))},
            "The positions are counted from 1.": {"places": lambda p: p + 1},
            "All pairs turn at the same speed; pair i turns by position * base ** (-2 i / width).": {"exponent": 0.0},
            "The speed grows with the pair: the exponent lacks its minus.": {"exponent": -2.0},
            "The second of a pair is b cos + a sin; yours has a minus.": {"mirrored": True},
        }.items()
    }
)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x divided by the root of its mean square along the last axis, times ``weight``; as x in shape and dtype.

    weight: (width,). eps is added to the mean square. The mean square is worked out in float32.
    """
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


norm = Definition(
    rms_norm,
    title="RMSNorm",
    level="screen",
    minutes=5,
    topics=("A26",),
    statement="""
    Write the norm of Llama: `x / sqrt(mean(x²) + eps) * weight`, the mean over the last axis. Nothing is subtracted.
    x: (..., width) in float32 or float16; weight: (width,), of the dtype of x. The squares are worked out in float32:
    in float16 the square of 300 is already infinite. Result: as x, in shape and dtype.
    """,
    cases=lambda: [
        Case(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0]), 0.0),
        Case(normal(1, 2, 3, 4), normal(2, 4), 1e-5),
        Case(0.01 * normal(3, 3, 6), normal(4, 6), 0.1),
        Case(torch.tensor([[300.0, -400.0]]).half(), torch.tensor([1.0, 0.5]).half(), 1e-5),
    ],
    observe=lambda answer, x, weight, eps: (
        lambda out: {"result": out, "dtype": str(getattr(out, "dtype", "no tensor"))}
    )(answer(x, weight, eps)),
    rtol=2e-3,
    general="Not x / sqrt(mean of x squared + eps) * weight, along the last axis, in the dtype of x.",
    hints=[
        "Only the mean of the squares is needed, not the variance. `keepdim=True` keeps the axis for the division.",
        "`wide = x.float()`; `(wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight`.",
    ],
    banned=("rms_norm", "layer_norm"),
)


def _normed(
    x, weight, eps, over=lambda w: w.pow(2).mean(-1, keepdim=True), root=lambda s, e: (s + e).sqrt(), wide=True
):
    w = x.float() if wide else x
    return ((w / root(over(w), eps)).to(x.dtype)) * weight


norm.plant(
    {
        sentence: lambda x, weight, eps, wrong=wrong: _normed(x, weight, eps, **wrong)
        for sentence, wrong in {
            "The variance is used, with the mean taken off; RMSNorm takes the mean of the squares alone.": {
                "over": lambda w: w.var(-1, keepdim=True, unbiased=False)
            },
            "The sum of the squares is used; it is their mean.": {"over": lambda w: w.pow(2).sum(-1, keepdim=True)},
            "The mean runs over the whole tensor; each place has its own, along the last axis.": {
                "over": lambda w: w.pow(2).mean()
            },
            "eps stands outside the root; it is added to the mean square.": {"root": lambda s, e: s.sqrt() + e},
            "eps is not used.": {"root": lambda s, e: s.sqrt()},
            "The root is missing.": {"root": lambda s, e: s + e},
            "The squares overflow in float16: work them out in float32.": {"wide": False},
        }.items()
    }
    | {
        "`weight` is not used.": lambda x, weight, eps: rms_norm(x, torch.ones_like(weight), eps),
        "The mean is taken off x first; RMSNorm subtracts nothing.": lambda x, weight, eps: rms_norm(
            x - x.mean(-1, keepdim=True), weight, eps
        ),
        "The result is in float32; it must have the dtype of x.": lambda x, weight, eps: rms_norm(
            x.float(), weight.float(), eps
        ),
    }
)


def swiglu(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """The gated feed-forward layer of Llama: (silu(x w_gate) * (x w_up)) w_down, (..., width).

    x: (..., width). w_gate, w_up: (width, hidden). w_down: (hidden, width). silu(z) = z * sigmoid(z).
    """
    gate = x @ w_gate
    return (gate * torch.sigmoid(gate) * (x @ w_up)) @ w_down


feed_forward = Definition(
    swiglu,
    title="SwiGLU",
    level="screen",
    minutes=5,
    topics=("A26",),
    statement="""
    Write the feed-forward layer of Llama: two projections up, one of which, through SiLU, gates the other; one down.
    `silu(z) = z * sigmoid(z)`. x: (..., width); w_gate and w_up: (width, hidden); w_down: (hidden, width), all applied as
    `x @ w`. Result: as x.
    """,
    cases=lambda: [
        Case(normal(1, 2), normal(2, 2, 3), normal(3, 2, 3), normal(4, 3, 2)),
        Case(normal(5, 2, 3, 4), normal(6, 4, 5), normal(7, 4, 5), normal(8, 5, 4)),
    ],
    general="Not (silu(x @ w_gate) * (x @ w_up)) @ w_down.",
    hints=[
        "The gate alone goes through silu. Gate and up are multiplied number by number, then comes the way down.",
        "`gate = x @ w_gate`; `(gate * torch.sigmoid(gate) * (x @ w_up)) @ w_down`.",
    ],
)


def _gated(x, gate, up, down, act=None, mix=lambda a, b: a * b):
    act = act or (lambda z: z * z.sigmoid())
    return mix(act(x @ gate), x @ up) @ down


feed_forward.plant(
    {
        "silu stands on the way up; it belongs on the gate.": lambda x, w_gate, w_up, w_down: _gated(
            x, w_up, w_gate, w_down
        ),
        "The gate goes through sigmoid alone (GLU); silu(z) is z * sigmoid(z).": lambda x, w_gate, w_up, w_down: _gated(
            x, w_gate, w_up, w_down, lambda z: z.sigmoid()
        ),
        "Gate and up are added; they are multiplied.": lambda x, w_gate, w_up, w_down: _gated(
            x, w_gate, w_up, w_down, mix=lambda a, b: a + b
        ),
        "The gate goes through GELU; it is silu.": lambda x, w_gate, w_up, w_down: _gated(
            x, w_gate, w_up, w_down, torch.nn.functional.gelu
        ),
        "The gate goes through ReLU; it is silu.": lambda x, w_gate, w_up, w_down: _gated(
            x, w_gate, w_up, w_down, lambda z: z.relu()
        ),
        "`w_up` is not used: there is no gate.": lambda x, w_gate, w_up, w_down: _gated(
            x, w_gate, w_up, w_down, mix=lambda a, b: a
        ),
        "The gate goes through no activation at all.": lambda x, w_gate, w_up, w_down: _gated(
            x, w_gate, w_up, w_down, lambda z: z
        ),
    }
)


def moe_gate(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """(weights, experts, balance): which experts each token goes to, with what weight, and the loss that spreads them.

    logits: (tokens, experts). weights: (tokens, k), softmax over all experts, of the k largest, made to sum to 1, largest
    first. experts: (tokens, k), their numbers. balance: one number, n * sum_i f_i p_i over the n experts, where f_i is the
    share of the tokens * k choices that fell on expert i and p_i the mean probability of expert i.
    """
    tokens, count = logits.shape
    probabilities = logits.softmax(-1)
    weights, experts = probabilities.topk(k, -1)
    share = torch.bincount(experts.flatten(), minlength=count) / (tokens * k)
    balance = count * (share * probabilities.mean(0)).sum()
    return weights / weights.sum(-1, keepdim=True), experts, balance


def _gate_seen(answer, logits, k):
    """What the gate returns, and the gradient of its loss: it must reach the router."""
    logits = logits.clone().requires_grad_()
    weights, experts, balance = answer(logits, k)
    slope = torch.autograd.grad(balance, logits, allow_unused=True)[0] if balance.requires_grad else None
    slope = torch.zeros_like(logits) if slope is None else 100 * slope
    seen = {"weights": weights.detach(), "experts": experts, "balance": balance.detach()}
    return {**seen, "100 * gradient of the balance by the logits": slope}


gate = Definition(
    moe_gate,
    title="Gate of a mixture of experts, with its balance loss",
    level="staff",
    minutes=15,
    topics=("A26", "A12"),
    statement="""
    Send each token to k experts. Probabilities are the softmax of the logits over all experts; the k largest are kept and
    made to sum to 1 again. The balance loss keeps all experts busy: `n * sum_i f_i * p_i` over the n experts, with f_i the
    share of all tokens * k choices that fell on expert i, p_i the mean over the tokens of expert i's probability before
    the choice. It is 1 when everything is even. f cannot be differentiated; the gradient comes through p.
    logits: (tokens, experts). Result: weights (tokens, k), experts (tokens, k), loss.
    """,
    cases=lambda: [
        Case(torch.tensor([[2.0, 0.0, 1.0]]), 1),
        Case(torch.tensor([[2.0, 0.0, 1.0], [1.0, 0.5, -1.0]]), 2),
        Case(normal(1, 6, 5), 2),
        Case(normal(2, 7, 4) + torch.tensor([3.0, 0, 0, 0]), 2),
    ],
    observe=_gate_seen,
    general="Not the k largest probabilities made to sum to 1, their experts, and n * sum of f_i * p_i.",
    hints=[
        "Softmax first, over all experts; `topk`; then divide by the sum of the k. f counts choices, p averages "
        "probabilities, and both have one number for each expert.",
        "`weights, experts = probabilities.topk(k, -1)`; `share = torch.bincount(experts.flatten(), minlength=n) / (tokens * "
        "k)`; `balance = n * (share * probabilities.mean(0)).sum()`; `weights / weights.sum(-1, keepdim=True)`.",
    ],
    banned=("load_balancing_loss_func",),
)


def _gate(logits, k, renormalise=True, count=True, per_choice=True, p="all", f="chosen", attached=True):
    t, n = logits.shape
    probabilities = logits.softmax(-1)
    weights, experts = probabilities.topk(k, -1)
    share = torch.bincount(experts.flatten(), minlength=n) / (t * (k if per_choice else 1))
    if f == "first":
        share = torch.bincount(experts[:, 0], minlength=n) / t
    mean = probabilities.mean(0)
    if p == "kept":
        mean = torch.zeros_like(logits).scatter(1, experts, weights / weights.sum(-1, keepdim=True)).mean(0)
    if p == "share":
        mean = share + 0 * mean
    if f == "probability":
        share = mean
    loss = (n if count else 1) * (share * (mean if attached else mean.detach())).sum()
    return (weights / weights.sum(-1, keepdim=True) if renormalise else weights), experts, loss


gate.plant(
    {
        sentence: lambda logits, k, wrong=wrong: _gate(logits, k, **wrong)
        for sentence, wrong in {
            "The k weights are not made to sum to 1.": {"renormalise": False},
            "The loss lacks the number of experts before the sum.": {"count": False},
            "f is divided by the tokens; there are tokens * k choices, and the shares must sum to 1.": {
                "per_choice": False
            },
            "p is the mean of the kept weights; it is that of the probabilities before the choice.": {"p": "kept"},
            "f counts only each token's first choice; all k count.": {"f": "first"},
            "The loss is made of the shares alone, so no gradient reaches the router; f times p, and p carries it.": {
                "p": "share"
            },
            "f is the mean probability too; it is the share of the choices.": {"f": "probability"},
            "The loss carries no gradient: p must not be detached.": {"attached": False},
        }.items()
    }
)
