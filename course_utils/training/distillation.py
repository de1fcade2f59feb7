"""Distillation: a student learns from the probabilities that a teacher gives to every token, not from words alone.

The loss of one place is a divergence between two distributions over the vocabulary (Hinton et al., arXiv 1503.02531;
the family from forward to reverse KL: Agarwal et al., arXiv 2306.13649, equation 1). Who writes the text at which both
are compared is a second choice: a data set, the teacher (sequence level, Kim and Rush, arXiv 1606.07947), or the
student itself (``StudentAnswers``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.generate import generate
from course_utils.models.heads import body_of, head_of, hidden_states
from course_utils.models.scoring import evaluation_mode
from course_utils.text.batching import IGNORE, collate
from course_utils.training.objectives import unwrapped
from course_utils.training.two_cores import by_rows


def divergence(student_logits: Tensor, teacher_logits: Tensor, beta: float = 0.0, temperature: float = 1.0) -> Tensor:
    """How far the student's distribution is from the teacher's at every place, in nats.

    Both logits (..., vocabulary), divided by ``temperature`` first; returns (...). ``beta = 0`` is the forward
    KL(teacher || student), ``beta = 1`` the reverse KL(student || teacher). Between them, with the mixture
    m = beta teacher + (1 - beta) student, it is the generalized Jensen-Shannon divergence beta KL(teacher || m) +
    (1 - beta) KL(student || m), never above log 2. It falls to 0 towards both ends; divided by beta, or by 1 - beta, it
    becomes one of the two KL there (arXiv 2306.13649, section 2). Nothing is multiplied by the temperature's square.

    Raises ValueError for a beta outside of 0 to 1, a temperature that is not above 0, or vocabularies that differ.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is {beta}; it goes from 0 (forward KL) to 1 (reverse KL).")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0. At 1 the distributions stay as they are.")
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"the student's logits have the shape {tuple(student_logits.shape)} and the teacher's "
            f"{tuple(teacher_logits.shape)}; both must score the same vocabulary at the same places. A teacher whose "
            "vocabulary is only padded can be cut: teacher_logits[..., :vocab_size]."
        )
    student, teacher = (
        (logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature).log_softmax(-1)
        for logits in (student_logits, teacher_logits)
    )
    if beta == 0:
        return _kl(teacher, student)
    if beta == 1:
        return _kl(student, teacher)
    shares = math.log(beta), math.log1p(-beta)
    mixture = torch.logaddexp(teacher + shares[0], student + shares[1])
    return beta * _kl(teacher, mixture) + (1 - beta) * _kl(student, mixture)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) over the last axis; what p never says counts 0, whatever q says of it."""
    p = log_p.exp()
    return (p * (log_p - log_q).masked_fill(p == 0, 0.0)).sum(-1)


@by_rows
def distillation_loss(
    model: nn.Module,
    batch: dict[str, Tensor],
    *,
    teacher: nn.Module,
    beta: float = 0.0,
    temperature: float = 1.0,
    alpha: float = 0.0,
) -> tuple[Tensor, dict[str, Any]]:
    """An objective for ``train``: alpha * cross-entropy + (1 - alpha) * temperature ** 2 * divergence.

    ``batch`` holds ``input_ids`` and ``labels``, both (batch, length) and aligned; places whose label is -100 are left
    out. ``alpha`` weighs the labels against the teacher. The factor temperature ** 2 keeps the size of the gradients
    when a high temperature is changed, since softening divides them by about that much there (arXiv 1503.02531,
    section 2); at low ones they change all the same. The teacher is read in evaluation mode, without gradients, and is
    left as it is. Both read the same tokens.

    Metrics: tokens, and the ``divergence`` in nats per token, without the factor. Raises ValueError as ``divergence``
    does, or for an alpha outside of 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; the weight of the labels goes from 0 to 1.")
    labels = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)
    asked = labels != IGNORE
    tokens = asked.sum()
    student_logits = logits_at(model, batch["input_ids"], asked)
    with torch.no_grad():
        teacher_logits = logits_at(teacher, batch["input_ids"], asked)
    apart = divergence(student_logits, teacher_logits, beta, temperature).sum() / tokens.clamp(min=1)
    loss = (1 - alpha) * temperature**2 * apart
    if alpha:
        loss = loss + alpha * F.cross_entropy(student_logits.float(), labels[asked])
    return loss, {"tokens": tokens, "divergence": apart.detach()}


def logits_at(model: nn.Module, input_ids: Tensor, asked: Tensor) -> Tensor:
    """Logits (places, vocabulary) at the places of ``asked`` (batch, length) bool, row after row; padding on the right.

    Only these places go through the head, which is a large part of a small model's arithmetic. A model inside of what
    torch.compile or DistributedDataParallel put around it is read whole.
    """
    if unwrapped(model) is model:
        return head_of(model)(hidden_states(body_of(model), input_ids)[asked])
    return model(input_ids=input_ids).logits[asked]


class StudentAnswers:
    """Batches for on-policy distillation: each step asks some prompts, and the student answers them as it is *now*.

    ``batches[step]`` draws ``batch_size`` of the ``prompts`` (token ids), lets ``student`` continue them at
    ``temperature``, and returns input_ids, attention_mask and labels (batch_size, longest) int64, padded on the right:
    labels are -100 on the prompts and after each answer's end token. With ``share`` below 1 a step takes the student's
    answers with that probability and a batch of ``data`` otherwise (lambda in arXiv 2306.13649, algorithm 1).

    No gradient flows through the drawing; the teacher only says what it would have said at the same places. What a step
    draws depends on the seed, the step, and the student's weights. Raises ValueError for a share outside of 0 to 1, for
    one below 1 without ``data``, or without prompts.
    """

    def __init__(
        self,
        student: nn.Module,
        prompts: Sequence[Sequence[int]],
        batch_size: int,
        *,
        share: float = 1.0,
        data: Any = None,
        temperature: float = 1.0,
        max_new_tokens: int = 24,
        stop_ids: Sequence[int] = (1,),
        pad_id: int = 0,
        seed: int = 0,
    ) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share}; give the share of steps with the student's own answers, 0 to 1.")
        if share < 1 and data is None:
            raise ValueError(f"share is {share}, so some steps need a batch of data; give data=, such as ChatBatches.")
        if not len(prompts):
            raise ValueError("there are no prompts for the student to answer; give at least one, as token ids.")
        self.student, self.prompts, self.batch_size = student, prompts, batch_size
        self.share, self.data, self.seed = share, data, seed
        self.temperature, self.max_new_tokens = temperature, max_new_tokens
        self.stop_ids, self.pad_id = stop_ids, pad_id

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        draw = np.random.default_rng([self.seed, step])
        if draw.random() >= self.share:
            return self.data[step]
        prompts = [list(self.prompts[i]) for i in draw.integers(len(self.prompts), size=self.batch_size)]
        with evaluation_mode(self.student):
            out = generate(
                self.student,
                prompts,
                self.max_new_tokens,
                temperature=self.temperature,
                stop_ids=self.stop_ids,
                pad_id=self.pad_id,
                seed=1_000_003 * self.seed + step,
            )
        said = [row[:n].tolist() for row, n in zip(out.tokens, out.lengths.tolist(), strict=True)]
        examples = [
            {"input_ids": prompt + answer, "labels": [IGNORE] * len(prompt) + answer}
            for prompt, answer in zip(prompts, said, strict=True)
        ]
        return collate(examples, self.pad_id)
