"""A drill on distillation: a teacher's logits beside the labels."""

from __future__ import annotations

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
        return {"loss": loss, "gradients": "none for the student"}
    slopes = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    named = {"gradient of the student": slopes[0], "gradient of the teacher": slopes[1]}
    return {"loss": loss.detach(), **{name: "none" if slope is None else slope for name, slope in named.items()}}


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
