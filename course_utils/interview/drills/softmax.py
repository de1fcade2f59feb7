"""Drills on softmax: stable, its loss, and in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def online_softmax(blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """softmax(scores) @ values, (d,), over all blocks, each read once and then forgotten.

    blocks: pairs of scores (n,) and values (n, d); a block's scores may all be -inf, not those of every block.
    """
    top, total, out = torch.tensor(-torch.inf), torch.tensor(0.0), torch.tensor(0.0)
    for scores, values in blocks:
        new = torch.maximum(top, scores.max())
        if new == -torch.inf:  # nothing to see yet; -inf - -inf would be NaN
            out = torch.zeros(values.shape[1])
            continue
        shrink, weights = (top - new).exp(), (scores - new).exp()
        total = total * shrink + weights.sum()
        out = out * shrink + weights @ values
        top = new
    return out / total


def _one_by_one(answer, blocks):
    """The answer on blocks that turn to NaN as soon as the next one is asked for."""

    def stream() -> Iterator:
        for scores, values in blocks:
            pair = scores.clone(), values.clone()
            yield pair
            for tensor in pair:
                tensor.fill_(torch.nan)

    return answer(stream())


def _blocks(seed, sizes, scale=1.0):
    return [(scale * normal(seed + 2 * i, n), normal(seed + 2 * i + 1, n, 3)) for i, n in enumerate(sizes)]


def _online_cases():
    first, second = _blocks(5, (2, 3))
    hidden = (torch.full((2,), -torch.inf), torch.ones(2, 3))
    return [
        Case([(torch.tensor([0.0, 1]), torch.eye(2)), (torch.tensor([2.0]), torch.tensor([[3.0, 5]]))]),
        Case(_blocks(1, (3, 2, 4))),
        Case(_blocks(2, (3, 3, 2), 100.0), note="blocks of scores of the size of 100"),
        Case([hidden, first, hidden, second], note="blocks whose scores are all -inf, among others"),
    ]


online = Definition(
    online_softmax,
    title="Softmax in one pass (online softmax)",
    level="onsite",
    minutes=15,
    topics=("A26",),
    statement="""
    Compute `softmax(scores) @ values` for one query when scores and values come in blocks, as flash attention reads
    them: each block is seen once and is gone afterwards. Keep the largest score so far, the sum of the weights and the
    weighted sum of the values; when a larger score comes, shrink what was summed before.
    `blocks` is iterable once; it yields pairs of scores (n,) and values (n, d). Result: (d,).
    """,
    cases=_online_cases,
    observe=_one_by_one,
    general="Not the softmax of all scores, times all values.",
    hints=[
        "Three things are kept: the largest score `top`, the sum `total` of exp(score - top), and the sum `out` of "
        "exp(score - top) * value. When `top` grows to `new`, both sums shrink by exp(top - new).",
        "`new = torch.maximum(top, scores.max())`; `shrink = (top - new).exp()`; `w = (scores - new).exp()`; "
        "`total = total * shrink + w.sum()`; `out = out * shrink + w @ values`; skip a block while `new` is -inf; at the "
        "end `out / total`.",
    ],
    banned=("softmax", "logsumexp", "log_softmax", "scaled_dot_product_attention"),
)


def _online(blocks, shrink_sum=True, shrink_out=True, stable=True, divide=True, guard=True):
    top, total, out = torch.tensor(-torch.inf), torch.tensor(0.0), torch.tensor(0.0)
    for scores, values in blocks:
        new = torch.maximum(top, scores.max()) if stable else torch.tensor(0.0)
        if guard and new == -torch.inf:
            continue
        shrink, w = (top - new).exp() if stable else torch.tensor(1.0), (scores - new).exp()
        total = total * (shrink if shrink_sum else 1) + w.sum()
        out = out * (shrink if shrink_out else 1) + w @ values
        top = new
    return out / total if divide else out


online.plant(
    {
        "The sum of the weights does not shrink when a larger score comes.": lambda blocks: _online(
            blocks, shrink_sum=False
        ),
        "The weighted sum of the values does not shrink when a larger score comes.": lambda blocks: _online(
            blocks, shrink_out=False
        ),
        "Nothing shrinks when a larger score comes: sums of other blocks were made with another maximum.": (
            lambda blocks: _online(blocks, shrink_sum=False, shrink_out=False)
        ),
        "The maximum is not subtracted: exp overflows at large scores.": lambda blocks: _online(blocks, stable=False),
        "The division by the sum of the weights is missing at the end.": lambda blocks: _online(blocks, divide=False),
        "NaN: -inf - (-inf), where all scores of the first block are -inf. Skip a block while the maximum is -inf.": (
            lambda blocks: _online(blocks, guard=False)
        ),
        "All blocks are kept before the work begins; each is gone as soon as the next one is read.": lambda blocks: (
            _online(list(blocks))
        ),
        "The blocks' results are averaged; a block with large scores must count for more.": lambda blocks: torch.stack(
            [_online([block]) for block in blocks]
        ).mean(0),
    }
)
