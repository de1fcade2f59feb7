"""Checks of chapter 18: the loss of soft labels, divergences, the labels of an own answer, heads cut out of attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect

# ---- 18.1


def soft_label_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, alpha: float, temperature: float
) -> Tensor:
    """alpha * cross-entropy + (1 - alpha) * temperature ** 2 * KL(teacher || student), a mean over labelled places."""
    places = labels != -100
    student, teacher = student_logits[places], teacher_logits[places].detach()
    hard = F.cross_entropy(student, labels[places])
    log_q = (student / temperature).log_softmax(-1)
    log_p = (teacher / temperature).log_softmax(-1)
    soft = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    return alpha * hard + (1 - alpha) * temperature**2 * soft


def _loss_cases() -> list[Case]:
    draw = torch.Generator().manual_seed(1)
    student, teacher = 2 * torch.randn(3, 4, 6, generator=draw), 3 * torch.randn(3, 4, 6, generator=draw)
    labels = torch.tensor([[-100, 2, 5, -100], [-100, -100, 0, 1], [3, 3, 4, 2]])
    every = torch.tensor([[1, 0, 5, 2]])
    return [
        Case(student[:1], teacher[:1], every, 0.0, 1.0, message="Wrong already without labels and at temperature 1."),
        Case(
            student[:1], teacher[:1], every, 1.0, 1.0, message="With alpha = 1 only the labels' cross-entropy is left."
        ),
        Case(student[:1], teacher[:1], every, 0.0, 2.5),
        Case(student, teacher, labels, 0.3, 4.0),
        Case(student, teacher, labels, 0.9, 0.5),
    ]


loss = Exercise(
    "18.1",
    title="The loss of soft labels",
    reference=soft_label_loss,
    cases=_loss_cases,
    general="Not alpha * cross-entropy + (1 - alpha) * temperature ** 2 * KL(teacher || student), each a mean over the "
    "places with a label.",
    difficulty=2,
    minutes=10,
    points=3,
    asked="write the distillation loss",
    hints=[
        "Choose the places first: `places = labels != -100`; then `student_logits[places]` is (places, vocabulary), and "
        "means over it count every labelled place once.",
        "The labels' part is `F.cross_entropy(student, labels[places])`, at temperature 1.",
        "The teacher's part: divide both logits by the temperature, take `log_softmax`, and sum `p * (log p - log q)` over the "
        "vocabulary, p being the teacher's. Then the mean over places, times `temperature ** 2`; the teacher detached.",
    ],
)


def _parts(student, teacher, labels, temperature):
    places = labels != -100
    s, t = student[places], teacher[places].detach()
    return s, t, (s / temperature).log_softmax(-1), (t / temperature).log_softmax(-1), labels[places]


def _kl(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).sum(-1)


for _sentence, _wrong in {  # of the logits, softened log-probabilities q (student) and p (teacher), labels, alpha and T
    "The square of the temperature is missing: softened gradients shrink by about that much.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s, y) + (1 - a) * _kl(p, q).mean()
    ),
    "The temperature is multiplied once; it is its square.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s, y) + (1 - a) * T * _kl(p, q).mean()
    ),
    "That is KL(student || teacher); soft labels weigh by the *teacher's* probabilities. Mind the order in F.kl_div: the "
    "log-probabilities of the student come first, the teacher's are the target.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s, y) + (1 - a) * T**2 * _kl(q, p).mean()
    ),
    "alpha weighs the labels, 1 - alpha the teacher; yours is the other way round.": (
        lambda s, t, q, p, y, a, T: (1 - a) * F.cross_entropy(s, y) + a * T**2 * _kl(p, q).mean()
    ),
    "The labels' cross-entropy is softened too; it stays at temperature 1.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s / T, y) + (1 - a) * T**2 * _kl(p, q).mean()
    ),
    "Both parts are multiplied by the square of the temperature; only the teacher's is.": (
        lambda s, t, q, p, y, a, T: T**2 * (a * F.cross_entropy(s, y) + (1 - a) * _kl(p, q).mean())
    ),
    "The teacher's entropy is missing: that is the cross-entropy with soft labels. Its gradient is the same, but it is not 0 "
    "where both agree.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s, y) - (1 - a) * T**2 * (p.exp() * q).sum(-1).mean()
    ),
    "The divergence is averaged over the vocabulary too (F.kl_div's reduction 'mean' does so): sum over the vocabulary, then "
    "the mean over the places.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s, y) + (1 - a) * T**2 * (p.exp() * (p - q)).mean()
    ),
    "Only the teacher is softened; the student's logits are divided by the temperature as well.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s, y) + (1 - a) * T**2 * _kl(p, s.log_softmax(-1)).mean()
    ),
    "Only the student is softened; the teacher's logits are divided by the temperature as well.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s, y) + (1 - a) * T**2 * _kl(t.log_softmax(-1), q).mean()
    ),
    "The logits are multiplied by the temperature; divided by it, a high one makes them flat.": (
        lambda s, t, q, p, y, a, T: (
            a * F.cross_entropy(s, y) + (1 - a) * T**2 * _kl((t * T).log_softmax(-1), (s * T).log_softmax(-1)).mean()
        )
    ),
    "The divergence is summed over the places; a mean is wanted.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s, y) + (1 - a) * T**2 * _kl(p, q).sum()
    ),
    "The labels are missing: alpha is never used.": lambda s, t, q, p, y, a, T: T**2 * _kl(p, q).mean(),
    "The teacher's part is missing: that is the cross-entropy with the labels alone.": (
        lambda s, t, q, p, y, a, T: F.cross_entropy(s, y)
    ),
    "The teacher's part has the weight 1; it is 1 - alpha.": (
        lambda s, t, q, p, y, a, T: a * F.cross_entropy(s, y) + T**2 * _kl(p, q).mean()
    ),
}.items():
    loss.bug(_sentence)(
        lambda student_logits, teacher_logits, labels, alpha, temperature, _wrong=_wrong: _wrong(
            *_parts(student_logits, teacher_logits, labels, temperature), alpha, temperature
        )
    )


@loss.bug("The divergence counts places without a label too: prompt and padding are not to be learned.")
def loss_everywhere(student_logits, teacher_logits, labels, alpha, temperature):
    hard = F.cross_entropy(student_logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    log_p, log_q = ((x.detach() if x is teacher_logits else x) / temperature for x in (teacher_logits, student_logits))
    return alpha * hard + (1 - alpha) * temperature**2 * _kl(log_p.log_softmax(-1), log_q.log_softmax(-1)).mean()


@loss.bug("The divergence is divided by the number of rows (F.kl_div's reduction 'batchmean' on three axes), not by that of "
          "the labelled places.")  # fmt: skip
def loss_over_rows(student_logits, teacher_logits, labels, alpha, temperature):
    s, t, q, p, y = _parts(student_logits, teacher_logits, labels, temperature)
    return alpha * F.cross_entropy(s, y) + (1 - alpha) * temperature**2 * _kl(p, q).sum() / len(labels)


@loss.first
def one_number(candidate: Callable[..., Tensor]) -> None:
    result = loss.cases[0].call(candidate)
    expect.that(
        not isinstance(result, Tensor) or result.numel() == 1,
        "One number is wanted: the mean over the places with a label.",
        yours=result,
    )


@loss.also
def gradients(candidate: Callable[..., Tensor]) -> None:
    student, teacher, labels, alpha, temperature = (
        x.clone() if isinstance(x, Tensor) else x for x in loss.cases[3].args
    )
    student.requires_grad_()
    teacher.requires_grad_()
    result = candidate(student, teacher, labels, alpha, temperature)
    if not getattr(result, "requires_grad", False):
        raise Mistake("No gradient reaches the student: `.item()`, `.detach()` or `no_grad()` cuts it off.")
    result.backward()
    expect.that(
        teacher.grad is None or not teacher.grad.any(),
        "A gradient reaches the teacher; it is not to move towards its student: `teacher_logits.detach()`.",
    )
    wanted = student.detach().clone().requires_grad_()
    soft_label_loss(wanted, teacher.detach(), labels, alpha, temperature).backward()
    expect.that(student.grad is not None, "No gradient reaches the student's logits.")
    expect.close(
        student.grad, wanted.grad, "The value is right, but not its gradient: is a part of the student detached?"
    )


@loss.bug("A gradient reaches the teacher; it is not to move towards its student: `teacher_logits.detach()`.")
def loss_that_moves_the_teacher(student_logits, teacher_logits, labels, alpha, temperature):
    places = labels != -100
    log_q, log_p = ((x[places] / temperature).log_softmax(-1) for x in (student_logits, teacher_logits))
    hard = F.cross_entropy(student_logits[places], labels[places])
    return alpha * hard + (1 - alpha) * temperature**2 * _kl(log_p, log_q).mean()


# ---- 18.2


def divergence(student_logits: Tensor, teacher_logits: Tensor, beta: float, temperature: float) -> Tensor:
    """Forward KL at beta 0, reverse KL at beta 1, the generalized Jensen-Shannon divergence between them: (...)."""
    log_q = (student_logits / temperature).log_softmax(-1)
    log_p = (teacher_logits / temperature).log_softmax(-1)

    def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
        a = log_a.exp()
        return (a * (log_a - log_b).masked_fill(a == 0, 0.0)).sum(-1)

    if beta == 0:
        return kl(log_p, log_q)
    if beta == 1:
        return kl(log_q, log_p)
    log_m = (beta * log_p.exp() + (1 - beta) * log_q.exp()).log()
    return beta * kl(log_p, log_m) + (1 - beta) * kl(log_q, log_m)


def _divergence_cases() -> list[Case]:
    draw = torch.Generator().manual_seed(2)
    student, teacher = 2 * torch.randn(2, 3, 5, generator=draw), 2 * torch.randn(2, 3, 5, generator=draw)
    forbids = teacher.clone()
    forbids[..., 1] = -torch.inf
    between = "Right at both ends, wrong between them: beta KL(teacher || m) + (1 - beta) KL(student || m)."
    return [
        Case(student[0, :1], teacher[0, :1], 0.0, 1.0, message="Not KL(teacher || student), which beta = 0 asks for."),
        Case(student[0, :1], teacher[0, :1], 1.0, 1.0, message="Not KL(student || teacher), which beta = 1 asks for."),
        Case(student[0, :1], teacher[0, :1], 0.5, 1.0, message=between),
        Case(student, teacher, 0.2, 1.0, message=between),
        Case(student, teacher, 0.7, 3.0),
        Case(student, teacher, 0.0, 0.5),
        Case(
            student,
            forbids,
            0.0,
            1.0,
            message="The teacher forbids a token (its logit is -inf): 0 * log 0 counts as 0, but yours is not finite.",
        ),
    ]


divergences = Exercise(
    "18.2",
    title="From forward to reverse KL",
    reference=divergence,
    cases=_divergence_cases,
    general="Not the divergence that the docstring describes.",
    difficulty=3,
    minutes=14,
    points=3,
    asked="forward or reverse KL? Write both",
    hints=[
        "Write a helper `kl(log_a, log_b)` that sums `a * (log_a - log_b)` over the last axis; forward is `kl(teacher, "
        "student)`, reverse `kl(student, teacher)`. Where a is 0, fill the difference with 0 first: `masked_fill(a == 0, 0.0)`.",
        "The mixture is one of *probabilities*: `beta * teacher + (1 - beta) * student`, then its logarithm.",
        "Between the ends: `beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)`. The ends need lines of their own, "
        "because this sum is 0 there.",
    ],
)


def _wrong_divergence(
    student,
    teacher,
    beta,
    temperature,
    weights=lambda b: (b, 1 - b),
    mix=lambda p, q, b: (b * p.exp() + (1 - b) * q.exp()).log(),
    turned=False,
    ends=True,
    inward=False,
    scale=lambda T: 1.0,
    soften=lambda x, T: x / T,
):
    q, p = (soften(x, temperature).log_softmax(-1) for x in (student, teacher))

    def kl(a, b):
        weight = a.exp()
        return (weight * (a - b).masked_fill(weight == 0, 0.0)).sum(-1) * scale(temperature)

    if turned:
        p, q = q, p
    if ends and beta in (0, 1):
        return kl(q, p) if beta else kl(p, q)
    m = mix(p, q, beta)
    first, second = weights(beta)
    return first * kl(m, p) + second * kl(m, q) if inward else first * kl(p, m) + second * kl(q, m)


for _sentence, _change in {
    "Student and teacher have changed places: beta = 0 is KL(teacher || student), weighed by the teacher.": {
        "turned": True
    },
    "The ends fall to 0: with beta = 0 or 1 the mixture is one of the two. They need lines of their own.": {
        "ends": False
    },
    "The shares of the mixture are turned round: it is beta of the teacher and 1 - beta of the student.": {
        "mix": lambda p, q, b: ((1 - b) * p.exp() + b * q.exp()).log()
    },
    "The mixture is half and half whatever beta is; it is beta of the teacher and 1 - beta of the student.": {
        "mix": lambda p, q, b: ((p.exp() + q.exp()) / 2).log()
    },
    "The two parts have changed their weights: beta belongs to KL(teacher || m).": {"weights": lambda b: (1 - b, b)},
    "The two parts are not weighed: beta KL(teacher || m) + (1 - beta) KL(student || m).": {
        "weights": lambda b: (1, 1)
    },
    "Both parts weigh one half whatever beta is.": {"weights": lambda b: (0.5, 0.5)},
    "The logarithms are mixed; the mixture is one of probabilities, and its logarithm is taken afterwards.": {
        "mix": lambda p, q, b: b * p + (1 - b) * q
    },
    "Between the ends stands KL(m || ...); it is KL(... || m), from each of the two to the mixture.": {"inward": True},
    "The square of the temperature is in it; here nothing is multiplied.": {"scale": lambda T: T**2},
    "The logits are multiplied by the temperature; they are divided by it.": {"soften": lambda x, T: x * T},
    "The temperature is never used.": {"soften": lambda x, T: x},
}.items():
    divergences.bug(_sentence)(
        lambda student_logits, teacher_logits, beta, temperature, _change=_change: _wrong_divergence(
            student_logits, teacher_logits, beta, temperature, **_change
        )
    )


@divergences.bug("Mixture and weights are one half whatever beta is; that is right for beta = 0.5 alone.")
def divergence_of_halves(student_logits, teacher_logits, beta, temperature):
    return _wrong_divergence(
        student_logits,
        teacher_logits,
        beta,
        temperature,
        weights=lambda b: (0.5, 0.5),
        mix=lambda p, q, b: ((p.exp() + q.exp()) / 2).log(),
    )


@divergences.bug("Between the ends the two KL are mixed; it is each one's KL to the *mixture* of the distributions.")
def divergence_as_mean_of_kl(student_logits, teacher_logits, beta, temperature):
    forward, reverse = (_wrong_divergence(student_logits, teacher_logits, end, temperature) for end in (0, 1))
    return (1 - beta) * forward + beta * reverse


@divergences.bug("The teacher forbids a token (its logit is -inf): 0 * log 0 counts as 0, but yours is not finite.")
def divergence_with_nan(student_logits, teacher_logits, beta, temperature):
    q, p = ((x / temperature).log_softmax(-1) for x in (student_logits, teacher_logits))
    if beta in (0, 1):
        return _kl(q, p) if beta else _kl(p, q)
    m = (beta * p.exp() + (1 - beta) * q.exp()).log()
    return beta * _kl(p, m) + (1 - beta) * _kl(q, m)


@divergences.bug("Nearly: it is in bits. Take the natural logarithm.")
def divergence_in_bits(student_logits, teacher_logits, beta, temperature):
    return _wrong_divergence(student_logits, teacher_logits, beta, temperature) / torch.tensor(2.0).log()


@divergences.first
def one_number_for_each_place(candidate: Callable[..., Tensor]) -> None:
    result = divergences.cases[3].call(candidate)
    if isinstance(result, Tensor) and result.shape == (2, 3, 5):
        raise Mistake("The sum over the vocabulary is missing: one number for each place is wanted.", yours=result)
    if isinstance(result, Tensor) and result.numel() == 1:
        raise Mistake("One number for each place is wanted, (...): do not average over the places.", yours=result)


@divergences.also
def learnable(candidate: Callable[..., Tensor]) -> None:
    student, teacher, beta, temperature = divergences.cases[4].args
    student = student.clone().requires_grad_()
    result = candidate(student, teacher, beta, temperature)
    if not getattr(result, "requires_grad", False):
        raise Mistake("No gradient reaches the student: `.item()`, `.detach()` or `no_grad()` cuts it off.")
    result.sum().backward()
    other = student.detach().clone().requires_grad_()
    divergence(other, teacher, beta, temperature).sum().backward()
    expect.that(student.grad is not None, "No gradient reaches the student's logits.")
    expect.close(
        student.grad, other.grad, "The value is right, but not its gradient: is a part of the student detached?"
    )


# ---- 18.3


def answer_labels(input_ids: Tensor, prompt_lengths: Tensor, stop_id: int) -> Tensor:
    """A copy of input_ids with -100 on the prompt and after the first stop token of the answer."""
    in_answer = torch.arange(input_ids.shape[1]) >= prompt_lengths[:, None]
    is_stop = (input_ids == stop_id) & in_answer
    behind = (is_stop.cumsum(1) - is_stop.long()) > 0
    return input_ids.masked_fill(~in_answer | behind, -100)


def _label_cases() -> list[Case]:
    ids = torch.tensor(
        [
            [1, 7, 1, 5, 6, 4, 1, 0, 0],  # the prompt has a stop token too; padding after the end
            [1, 9, 8, 7, 3, 1, 1, 1, 1],  # padding that is the stop token
            [1, 7, 1, 6, 5, 4, 3, 2, 8],  # no end: it ran out of room
            [1, 9, 1, 1, 4, 1, 6, 6, 6],  # stops at once; what was drawn after it means nothing
        ]
    )
    lengths = torch.tensor([3, 4, 3, 3])
    ran = "Wrong for an answer that ran out of room: without a stop token all of it counts."
    inside = (
        "Wrong where the prompt has a stop token too (the end of an earlier turn): only the answer's own one ends it."
    )
    return [
        Case(torch.tensor([[4, 5, 6, 1, 0, 0]]), torch.tensor([2]), 1),
        Case(
            torch.tensor([[4, 5, 6, 2, 1, 1]]), torch.tensor([2]), 1, message="Wrong where padding is the stop token."
        ),
        Case(ids[2:3, 3:], torch.tensor([2]), 1, message=ran),
        Case(ids[:1], lengths[:1], 1, message=inside),
        Case(ids, lengths, 1),
        Case(ids + 3, torch.tensor([1, 0, 4, 2]), 4),
    ]


labels = Exercise(
    "18.3",
    title="What counts in the student's own answer",
    reference=answer_labels,
    cases=_label_cases,
    general="Not the token where it belongs to the answer, its first stop token included, and -100 elsewhere.",
    rtol=0,
    atol=0,
    difficulty=2,
    minutes=10,
    points=2,
    asked="which tokens are in the loss of on-policy distillation?",
    hints=[
        "Where the answer stands: `torch.arange(length) >= prompt_lengths[:, None]`, (batch, length) of True and False.",
        "Stop tokens of the answer: `(input_ids == stop_id) & in_answer`. A running count, `cumsum(1)`, is above 0 from the "
        "first one on; it is to count itself, so subtract each stop token: `cumsum(1) - is_stop.long() > 0` is *after* it.",
        "`input_ids.masked_fill(..., -100)` where it is not the answer, or after its end.",
    ],
)


def _labels(ids, lengths, stop, answer=None, is_stop=None, behind=None):
    inside = torch.arange(ids.shape[1]) >= lengths[:, None] if answer is None else answer
    stops = (ids == stop) & inside if is_stop is None else is_stop
    after = (stops.cumsum(1) - stops.long()) > 0 if behind is None else behind(stops)
    return ids.masked_fill(~inside | after, -100)


for _sentence, _wrong in {
    "The stop token itself is left out: a student that never learns to stop never stops.": (
        lambda ids, n, stop: _labels(ids, n, stop, behind=lambda s: s.cumsum(1) > 0)
    ),
    "What comes after the end of the answer counts: the student did not mean it.": (
        lambda ids, n, stop: _labels(ids, n, stop, behind=lambda s: torch.zeros_like(s))
    ),
    "The answer ends at its *last* stop token; it ends at the first.": (
        lambda ids, n, stop: _labels(
            ids, n, stop, behind=lambda s: (s.flip(1).cumsum(1).flip(1) == 0) & s.any(1, keepdim=True)
        )
    ),
    "A stop token of the prompt (the end of an earlier turn) ends the answer; only its own one does.": (
        lambda ids, n, stop: _labels(ids, n, stop, is_stop=ids == stop)
    ),
    "The prompt counts: the student did not write it.": (
        lambda ids, n, stop: _labels(
            ids, n, stop, answer=torch.ones_like(ids, dtype=torch.bool), is_stop=(ids == stop) & _inside(ids, n)
        )
    ),
    "The last token of the prompt counts too: the answer begins *at* prompt_lengths.": (
        lambda ids, n, stop: _labels(ids, n, stop, answer=_inside(ids, n - 1))
    ),
    "The first token of the answer is left out: it begins at prompt_lengths, counted from 0.": (
        lambda ids, n, stop: _labels(ids, n, stop, answer=_inside(ids, n + 1))
    ),
    "Hidden by its id: every stop token is left out, and other padding counts. Hide by the place.": (
        lambda ids, n, stop: ids.masked_fill(~_inside(ids, n) | (ids == stop), -100)
    ),
    "An answer without a stop token has no label: it ran out of room, and all of it counts.": (
        lambda ids, n, stop: _labels(
            ids, n, stop, behind=lambda s: ((s.cumsum(1) - s.long()) > 0) | ~s.any(1, keepdim=True)
        )
    ),
    "The labels are shifted by one; the shift happens inside the loss.": (
        lambda ids, n, stop: F.pad(_labels(ids, n, stop)[:, 1:], (0, 1), value=-100)
    ),
    "That is a mask; labels hold the ids, and -100 where nothing counts.": (
        lambda ids, n, stop: (_labels(ids, n, stop) != -100).long()
    ),
    "Hidden places hold 0; cross-entropy skips -100, and 0 is a token.": (
        lambda ids, n, stop: _labels(ids, n, stop).clamp(min=0)
    ),
}.items():
    labels.bug(_sentence)(
        lambda input_ids, prompt_lengths, stop_id, _wrong=_wrong: _wrong(input_ids, prompt_lengths, stop_id)
    )


def _inside(ids, lengths):
    return torch.arange(ids.shape[1]) >= lengths[:, None]


# ---- 18.4


def prune_heads(
    q_proj: Tensor, k_proj: Tensor, v_proj: Tensor, o_proj: Tensor, keep: list[int], head_dim: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four matrices without the key/value heads that are not in ``keep`` and the query heads that they serve."""
    group = q_proj.shape[0] // k_proj.shape[0] * head_dim  # rows of q_proj that one key/value head serves
    keys = torch.cat([torch.arange(h * head_dim, (h + 1) * head_dim) for h in sorted(keep)])
    queries = torch.cat([torch.arange(h * group, (h + 1) * group) for h in sorted(keep)])
    return q_proj[queries], k_proj[keys], v_proj[keys], o_proj[:, queries]


def _prune_cases() -> list[Case]:
    def matrices(hidden: int, heads: int, kv: int, size: int, seed: int) -> list[Tensor]:
        draw = torch.Generator().manual_seed(seed)
        shapes = [(heads * size, hidden), (kv * size, hidden), (kv * size, hidden), (hidden, heads * size)]
        return [torch.randn(shape, generator=draw) for shape in shapes]

    grouped = "Right with one query head for each key/value head, wrong where one serves a group of them."
    return [
        Case(*matrices(4, 2, 2, 2, 1), [1], 2),
        Case(*matrices(8, 4, 2, 2, 2), [0], 2, message=grouped),
        Case(*matrices(8, 4, 2, 2, 2), [1], 2, message=grouped),
        Case(*matrices(12, 6, 3, 2, 3), [0, 2], 2),
        Case(
            *matrices(12, 6, 3, 2, 3), [2, 0], 2, message="Wrong for keep = [2, 0]: the heads stay in their old order."
        ),
        Case(*matrices(10, 8, 4, 4, 4), [1, 2, 3], 4, message="Wrong where heads x head_dim is not the hidden size."),
    ]


prune = Exercise(
    "18.4",
    title="Cut heads out of attention",
    reference=prune_heads,
    cases=_prune_cases,
    general="Not the rows of q_proj, k_proj, v_proj and the columns of o_proj that belong to the kept heads.",
    difficulty=3,
    minutes=12,
    points=3,
    asked="prune attention heads so that the model really gets smaller; which weights go?",
    hints=[
        "Head h of size d is the rows h * d to (h + 1) * d - 1 of k_proj and v_proj.",
        "q_proj has `q_proj.shape[0] // k_proj.shape[0]` query heads for each key/value head, side by side: the rows of a group "
        "are that many times head_dim, beginning at h times that.",
        "o_proj reads what the query heads write, so its *columns* go, the same numbers as q_proj's rows: `o_proj[:, queries]`.",
    ],
)


def _rows(heads, size):
    return torch.cat([torch.arange(h * size, (h + 1) * size) for h in heads]) if len(heads) else torch.arange(0)


def _cut(q, k, v, o, keep, d, order=sorted, queries=None, out=None, keys=None, values=None):
    times = q.shape[0] // k.shape[0]
    heads = order(keep)
    wide = _rows(heads, times * d) if queries is None else queries(heads, times, d, len(k) // d)
    narrow = _rows(heads, d)
    return (
        q[wide],
        k if keys else k[narrow],
        v if values else v[narrow],
        o[:, wide] if out is None else out(o, wide, narrow),
    )


for _sentence, _change in {
    "o_proj loses rows; it reads what the heads write, so its *columns* belong to them.": {
        "out": lambda o, w, n: o[w % len(o)]
    },
    "o_proj keeps all its columns; it would read heads that are gone.": {"out": lambda o, w, n: o},
    "o_proj keeps the columns of the key/value heads; it reads the *query* heads.": {"out": lambda o, w, n: o[:, n]},
    "q_proj keeps one query head for each key/value head; each serves a group of query heads, all of which stay.": {
        "queries": lambda heads, times, d, kv: _rows(heads, d)
    },
    "Query heads are taken in turn (h, h + n, ...); the group of a key/value head stands side by side.": {
        "queries": lambda heads, times, d, kv: _rows(sorted(h + kv * i for h in heads for i in range(times)), d)
    },
    "The heads are put in the order of `keep`; they stay in their old order.": {"order": list},
    "k_proj keeps all its heads.": {"keys": True},
    "v_proj keeps all its heads.": {"values": True},
}.items():
    prune.bug(_sentence)(
        lambda q_proj, k_proj, v_proj, o_proj, keep, head_dim, _change=_change: _cut(
            q_proj, k_proj, v_proj, o_proj, keep, head_dim, **_change
        )
    )


@prune.bug("The heads in `keep` are cut away; they are the ones that stay.")
def prune_the_kept(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    others = [h for h in range(len(k_proj) // head_dim) if h not in keep]
    return _cut(q_proj, k_proj, v_proj, o_proj, others, head_dim)


@prune.bug("The heads are set to zero; the matrices must become smaller, or nothing is saved.")
def prune_by_zeros(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    times = len(q_proj) // len(k_proj)
    gone = [h for h in range(len(k_proj) // head_dim) if h not in keep]
    out = []
    for matrix, size in ((q_proj, times * head_dim), (k_proj, head_dim), (v_proj, head_dim)):
        zeroed = matrix.clone()
        zeroed[_rows(gone, size)] = 0
        out.append(zeroed)
    columns = o_proj.clone()
    columns[:, _rows(gone, times * head_dim)] = 0
    return (*out, columns)


@prune.bug(
    "Columns of q_proj, k_proj and v_proj are cut; a head is a block of their *rows* (a linear layer's matrix is (out, in))."
)
def prune_columns(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    times = len(q_proj) // len(k_proj)
    wide, narrow = _rows(sorted(keep), times * head_dim), _rows(sorted(keep), head_dim)
    width = q_proj.shape[1]
    return q_proj[:, wide % width], k_proj[:, narrow % width], v_proj[:, narrow % width], o_proj[wide % len(o_proj)]


@prune.first
def four_matrices(candidate: Callable[..., tuple[Tensor, ...]]) -> None:
    result = prune.cases[0].call(candidate)
    expect.that(
        isinstance(result, tuple | list) and len(result) == 4,
        "Four matrices are wanted: `return q_proj, k_proj, v_proj, o_proj`, each cut.",
        yours=result,
    )
