"""Drills on the other parts of a transformer: softmax and its loss, norm, feed-forward, gate of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.classroom.exercises.cases import Case
from course_utils.interview.drills.definition import Definition
from course_utils.interview.drills.draw import integers, normal
from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def stable_softmax(x: Tensor, dim: int) -> Tensor:
    """The softmax of x along ``dim``, with the shape of x; large numbers do not overflow, and -inf gets 0."""
    weights = (x - x.amax(dim, keepdim=True)).exp()
    return weights / weights.sum(dim, keepdim=True)


softmax = Definition(
    stable_softmax,
    title="Stable softmax",
    level="screen",
    minutes=5,
    topics=("A26",),
    statement="""
    Write `softmax(x)_i = exp(x_i) / sum_j exp(x_j)` along the axis `dim`, so that it holds for numbers of any size:
    1000 must not overflow, -1000 must not become 0 / 0, and a score of -inf gets the weight 0. Result: as x.
    """,
    cases=lambda: [
        Case(torch.tensor([1.0, 2.0, 0.5]), 0),
        Case(normal(1, 3, 4), 0),
        Case(normal(2, 2, 3, 4), 1),
        Case(torch.tensor([[1000.0, 1001.0], [-1000.0, -1002.0]]), -1),
        Case(torch.tensor([[0.0, -torch.inf, 2.0], [-torch.inf, -torch.inf, 3.0]]), 1),
    ],
    general="Not exp(x) / sum of exp(x) along the axis `dim`.",
    hints=[
        "A number that is subtracted from all x of an axis falls out of the quotient. Which one makes exp safe?",
        "`weights = (x - x.amax(dim, keepdim=True)).exp()`; `weights / weights.sum(dim, keepdim=True)`.",
    ],
    banned=("softmax", "log_softmax", "logsumexp", "softmin"),
)


def _share(weights, dim):
    return weights / weights.sum(dim, keepdim=True)


softmax.plant(
    {
        "The maximum is not subtracted: exp overflows, or the sum becomes 0.": lambda x, dim: _share(x.exp(), dim),
        "The largest number of the whole tensor is subtracted; a row far below it becomes 0 / 0. Take it along `dim`.": (
            lambda x, dim: _share((x - x.max()).exp(), dim)
        ),
        "The axis is always the last one; `dim` is not used.": lambda x, dim: _share(
            (x - x.amax(-1, keepdim=True)).exp(), -1
        ),
        "The weights of the whole tensor sum to 1, not those along `dim`.": lambda x, dim: (
            (x - x.amax(dim, keepdim=True)).exp() / (x - x.amax(dim, keepdim=True)).exp().sum()
        ),
        "These are logarithms of the softmax.": lambda x, dim: x - x.logsumexp(dim, keepdim=True),
        "The mean is subtracted, which does not keep exp from overflowing; it is the maximum.": lambda x, dim: _share(
            (x - x.mean(dim, keepdim=True)).exp(), dim
        ),
        "exp is missing: these are shares of the numbers themselves.": lambda x, dim: _share(x, dim),
    }
)


def cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    """The mean of -log softmax(logits)[label] over the places whose label is not ``ignore_index``, one number.

    logits: (n, vocabulary). labels: (n,), whole numbers; at least one is not ignored.
    """
    keep = labels != ignore_index
    logits, labels = logits[keep], labels[keep]
    top = logits.amax(-1, keepdim=True)
    log_sum = top[:, 0] + (logits - top).exp().sum(-1).log()
    return (log_sum - logits[torch.arange(len(labels), device=labels.device), labels]).mean()


def _entropy_cases():
    return [
        Case(torch.tensor([[2.0, 0.0]]), torch.tensor([1])),
        Case(normal(1, 4, 5), integers(2, 5, 4)),
        Case(normal(3, 5, 3), torch.tensor([0, -100, 2, 1, -100])),
        Case(torch.tensor([[1000.0, 0, 0], [0, -1000.0, 1.0]]), torch.tensor([1, 1])),
        Case(normal(4, 3, 6), torch.tensor([5, 0, 3]), 0),
    ]


entropy = Definition(
    cross_entropy,
    title="Cross-entropy from logits",
    level="screen",
    minutes=8,
    topics=("A11", "A26"),
    statement="""
    The loss of a language model: the mean of `log sum_j exp(logits_j) - logits_label` over the places that count.
    logits: (n, vocabulary); labels: (n,). A place whose label is `ignore_index` counts neither above nor below the
    fraction line. Logits of 1000 must not overflow, and a probability that rounds to 0 must not give inf.
    Result: one number.
    """,
    cases=_entropy_cases,
    general="Not the mean of log sum exp(logits) - logits[label] over the labels that count.",
    hints=[
        "Leave the ignored places out first. Then log-sum-exp with the maximum taken out: `m + log sum exp(x - m)`.",
        "`keep = labels != ignore_index`; `top = logits.amax(-1, keepdim=True)`; `log_sum = top[:, 0] + (logits - "
        "top).exp().sum(-1).log()`; `(log_sum - logits[torch.arange(len(labels)), labels]).mean()`.",
    ],
    banned=("cross_entropy", "cross_entropy_loss", "nll_loss", "nll_loss_nd", "log_softmax", "logsumexp"),
)


def _losses(logits, labels, ignore):
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=ignore, reduction="none")


entropy.plant(
    {
        "The ignored places count in the number that is divided by; they count nowhere.": (
            lambda logits, labels, ignore_index=-100: _losses(logits, labels, ignore_index).sum() / len(labels)
        ),
        "The sum is returned; the mean over the places that count is wanted.": (
            lambda logits, labels, ignore_index=-100: _losses(logits, labels, ignore_index).sum()
        ),
        "The minus is missing: this is the log-probability.": (
            lambda logits, labels, ignore_index=-100: -cross_entropy(logits, labels, ignore_index)
        ),
        "exp overflows, or log meets 0: take the maximum out before exp, and never the log of a probability.": (
            lambda logits, labels, ignore_index=-100: (
                -(
                    (logits.exp() / logits.exp().sum(-1, keepdim=True))[
                        torch.arange(len(labels)), labels.masked_fill(labels == ignore_index, 0)
                    ].log()
                )[labels != ignore_index].mean()
            )
        ),
        "The label -100 is taken for the ignored one; it is `ignore_index` that says which.": (
            lambda logits, labels, ignore_index=-100: cross_entropy(logits, labels, -100)
        ),
        "The ignored places are scored as if their label were the last token.": (
            lambda logits, labels, ignore_index=-100: cross_entropy(
                logits, labels.masked_fill(labels == ignore_index, logits.shape[-1] - 1), -100
            )
        ),
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
    observe=lambda answer, x, weight, eps: (lambda out: (out, str(getattr(out, "dtype", "no tensor"))))(
        answer(x, weight, eps)
    ),
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
    return weights.detach(), experts, balance.detach(), torch.zeros_like(logits) if slope is None else 100 * slope


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
