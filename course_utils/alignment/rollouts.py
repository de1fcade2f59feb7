"""Rollouts: the policy's answers to prompts, and everything that learning from them needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from course_utils.models.generate import Generation
from course_utils.models.heads import body_of, head_of, hidden_states


@dataclass
class Rollouts:
    """Rows of prompt and answer, padded on the right; all tensors (batch, length) but ``scores`` (batch,).

    ``response_mask``: 1 at the *places that predict* a token of the answer, so that everything per token stands where
    the logits stand: ``logprobs[:, t]`` belongs to ``input_ids[:, t + 1]``. Length is that of the rows, minus 1.
    """

    input_ids: Tensor  # (batch, length + 1)
    response_mask: Tensor
    logprobs: Tensor  # of the policy that wrote the answers
    ref_logprobs: Tensor
    values: Tensor
    scores: Tensor  # the reward model's, one for each answer

    def take(self, rows: Tensor) -> Rollouts:
        """Some of the rows."""
        return Rollouts(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def join(prompts: Sequence[Sequence[int]], completions: Generation, pad_id: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts and answers as rows padded on the right: ``input_ids`` and ``attention_mask`` (batch, n), and the mask
    (batch, n - 1) of the places that predict a token of the answer, its stop token included."""
    device, counts = completions.tokens.device, completions.lengths.tolist()
    rows = [
        [*prompt, *answer[:n].tolist()] for prompt, answer, n in zip(prompts, completions.tokens, counts, strict=True)
    ]
    width = max(map(len, rows))
    input_ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows], device=device)
    lengths = torch.tensor([[len(row)] for row in rows], device=device)
    starts = torch.tensor([[len(prompt)] for prompt in prompts], device=device)
    places = torch.arange(width, device=device)
    said = (places >= starts) & (places < lengths)
    return input_ids, (places < lengths).long(), said[:, 1:].float()


def token_logprobs(model: nn.Module, input_ids: Tensor, mask: Tensor, with_entropy: bool = False):
    """Log-probabilities (batch, length - 1) of the tokens that ``mask`` asks for, 0 elsewhere, with gradients.

    Only the asked places go through the head, which is most of the arithmetic of a small model. With ``with_entropy``
    also the entropy of the distribution at each place, in nats.
    """
    hidden = hidden_states(body_of(model), input_ids)[:, :-1]
    asked = mask.bool()
    logs = head_of(model)(hidden[asked]).float().log_softmax(-1)
    chosen = logs.gather(1, input_ids[:, 1:][asked][:, None])[:, 0]
    spread = mask.new_zeros(mask.shape).masked_scatter(asked, chosen)
    if not with_entropy:
        return spread
    return spread, mask.new_zeros(mask.shape).masked_scatter(asked, -(logs.exp() * logs).sum(-1))


@torch.no_grad()
def score_rollouts(
    policy: nn.Module,
    reference: nn.Module,
    reward: nn.Module,
    value: nn.Module,
    prompts: Sequence[Sequence[int]],
    completions: Generation,
) -> Rollouts:
    """Let the four models read what the policy answered. Log-probabilities are those of temperature 1."""
    input_ids, attention_mask, mask = join(prompts, completions)
    return Rollouts(
        input_ids=input_ids,
        response_mask=mask,
        logprobs=token_logprobs(policy, input_ids, mask),
        ref_logprobs=token_logprobs(reference, input_ids, mask),
        values=value(input_ids)[:, :-1] * mask,
        scores=reward(input_ids, attention_mask).float(),
    )
