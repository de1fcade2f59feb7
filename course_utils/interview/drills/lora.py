"""Drills on LoRA: the layer, and its merge."""

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


def lora_linear(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """A frozen linear layer with its LoRA side path, (..., out).

    x: (..., in). weight: (out, in), frozen: no gradient reaches it. a: (rank, in). b: (out, rank). The side path is scaled
    by alpha / rank.
    """
    return x @ weight.detach().T + (x @ a.T) @ b.T * (alpha / a.shape[0])


def _lora_seen(answer, x, weight, a, b, alpha):
    """The layer's output, and the gradients of its sum of squares by weight, a and b."""
    leaves = [t.clone().requires_grad_() for t in (weight, a, b)]
    out = answer(x, *leaves, alpha)
    if not out.requires_grad:
        return {"result": out, "gradients": "none for a and b"}
    slopes = torch.autograd.grad(out.pow(2).sum(), leaves, allow_unused=True)
    named = dict(zip(("gradient of weight", "gradient of a", "gradient of b"), slopes, strict=True))
    return {"result": out.detach(), **{name: "none" if slope is None else slope for name, slope in named.items()}}


lora = Definition(
    lora_linear,
    title="A LoRA layer",
    level="screen",
    minutes=8,
    topics=("A10", "A13", "F5"),
    statement="""
    Compute a linear layer with a low-rank update beside it: `x Wᵀ + alpha / rank * x Aᵀ Bᵀ`. W is frozen: gradients must
    reach A and B and not W, although all three may ask for them. Do not build the matrix B A: that is what the low rank
    saves. x: (..., in); weight: (out, in); a: (rank, in); b: (out, rank). Result: (..., out).
    """,
    cases=lambda: [
        Case(normal(1, 1, 2), normal(2, 3, 2), normal(3, 1, 2), normal(4, 3, 1), 2.0),
        Case(normal(5, 2, 3, 4), normal(6, 5, 4), normal(7, 2, 4), normal(8, 5, 2), 16.0),
    ],
    observe=_lora_seen,
    general="Not x W^T + alpha / rank * x A^T B^T, with gradients for A and B alone.",
    hints=[
        "Two paths are added. The narrow one goes down to `rank` numbers and up again; the rank is read off `a`.",
        "`x @ weight.detach().T + (x @ a.T) @ b.T * (alpha / a.shape[0])`.",
    ],
)


def _lora(x, weight, a, b, alpha, scale=lambda alpha, rank: alpha / rank, frozen=True, main=True, side=True):
    out = x @ (weight.detach() if frozen else weight).T
    out = out if main else 0 * out
    return out + ((x @ a.T) @ b.T * scale(alpha, a.shape[0]) if side else 0 * a.sum() + 0 * b.sum())


lora.plant(
    {
        sentence: lambda x, weight, a, b, alpha, wrong=wrong: _lora(x, weight, a, b, alpha, **wrong)
        for sentence, wrong in {
            "The scale is alpha; it is alpha / rank.": {"scale": lambda alpha, rank: alpha},
            "The scale is missing: alpha / rank.": {"scale": lambda alpha, rank: 1.0},
            "The scale is alpha / sqrt(rank), which is rsLoRA; here it is alpha / rank.": {
                "scale": lambda alpha, rank: alpha / rank**0.5
            },
            "The scale is turned: alpha / rank, not rank / alpha.": {"scale": lambda alpha, rank: rank / alpha},
            "A gradient reaches the frozen weight: `detach` it.": {"frozen": False},
            "The frozen path is missing.": {"main": False},
            "The side path is missing.": {"side": False},
        }.items()
    }
    | {
        "A or B is detached: no gradient reaches the side path.": lambda x, weight, a, b, alpha: _lora(
            x, weight, a.detach(), b.detach(), alpha
        ),
    }
)


def lora_merge(weight: Tensor, a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """The weight (out, in) that does alone what ``weight`` and the LoRA pair do together, in the dtype of ``weight``.

    a: (rank, in). b: (out, rank). The sum is worked out in float32; ``weight`` stays as it is.
    """
    merged = weight.float() + b.float() @ a.float() * (alpha / a.shape[0])
    return merged.to(weight.dtype)


merge = Definition(
    lora_merge,
    new=True,
    title="Merge LoRA into the weight",
    level="screen",
    minutes=5,
    topics=("A10", "F5"),
    statement="""
    Fold a LoRA pair into its layer: `W + alpha / rank * B A`, so that nothing is added at inference. The weight may be in
    float16, the pair in float32: add in float32 and round once at the end, to the dtype of the weight. The given weight must
    stay as it is, or the adapter could never be taken out again.
    weight: (out, in); a: (rank, in); b: (out, rank). Result: (out, in).
    """,
    cases=lambda: [
        Case(torch.eye(2), torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [5.0]]), 2.0),
        Case(normal(1, 4, 3), normal(2, 2, 3), normal(3, 4, 2), 8.0),
        Case(normal(4, 3, 3).half(), 300 * normal(5, 2, 3), 300 * normal(6, 3, 2), 1e-3),
    ],
    observe=lambda answer, *case: (lambda out: {"result": out.float(), "dtype": str(out.dtype)})(answer(*case)),
    rtol=1e-5,
    general="Not W + alpha / rank * B @ A, in the dtype of W.",
    hints=[
        "Which order gives (out, in): B A or A B? The scale is that of the layer.",
        "`(weight.float() + b.float() @ a.float() * (alpha / a.shape[0])).to(weight.dtype)`.",
    ],
    banned=("merge_and_unload",),
)


def _merge(weight, a, b, alpha, scale=lambda alpha, rank: alpha / rank, sign=1, wide=True, back=True, flip=False):
    dtype = torch.float32 if wide else weight.dtype
    update = b.to(dtype) @ a.to(dtype)
    out = weight.to(dtype) + sign * scale(alpha, a.shape[0]) * (update.flip(0) if flip else update)
    return out.to(weight.dtype) if back else out


merge.plant(
    {
        sentence: lambda weight, a, b, alpha, wrong=wrong: _merge(weight, a, b, alpha, **wrong)
        for sentence, wrong in {
            "The scale is alpha; it is alpha / rank.": {"scale": lambda alpha, rank: alpha},
            "The scale is missing: alpha / rank.": {"scale": lambda alpha, rank: 1.0},
            "The update is subtracted: that takes an adapter out.": {"sign": -1},
            "The product is worked out in float16, where it overflows or is rounded early: add in float32, round at the end.": {
                "wide": False
            },
            "The result is in float32; it must have the dtype of the weight.": {"back": False},
        }.items()
    }
    | {
        "Only the update is returned; it is added to the weight.": lambda weight, a, b, alpha: (
            b @ a * (alpha / a.shape[0])
        ).to(weight.dtype),
        "The scale goes through both matrices, and so is squared.": lambda weight, a, b, alpha: _merge(
            weight, a, b, alpha, lambda alpha, rank: (alpha / rank) ** 2
        ),
    }
)
