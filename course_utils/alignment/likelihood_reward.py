"""A reward that has the language model's own opinion beside the score: what the model knows need not be learned anew.

A scalar head learns from comparisons what raters look at. Whether a stated fact is true it would have to compare with
what the weights hold, and a few thousand comparisons do not teach it that. The log-probability of the answer, given
the question, is such a comparison already, made by pretraining. With the loss of Bradley and Terry over the sum of
both, the head learns what is missing: manners, harm, and where the language model's opinion misleads.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_utils.alignment.rollouts import token_logprobs


class LikelihoodReward(nn.Module):
    """One reward per text, (batch,): ``score(text) + weight * log p(answer | prompt)``.

    ``score``: a reward model, which ``preference_loss`` trains through this module. ``language_model`` gives the
    log-probability, in nats, summed over the answer's tokens with its end token; a frozen copy is kept, and neither
    trained nor changed. ``weight``: points of reward per nat, 0 or more. ``answer_mark``: the ids of the tokens
    after which an answer begins, as ``course_utils.text.chat.answer_mark`` finds them. Raises ValueError for a
    negative weight.
    """

    def __init__(
        self, score: nn.Module, language_model: nn.Module, weight: float, answer_mark: int | Sequence[int]
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight is {weight}; 0 or more is expected: a likely answer is no worse for it.")
        self.score = score
        self.language_model = copy.deepcopy(language_model).eval().requires_grad_(False)
        self.weight = weight
        self.answer_mark = (answer_mark,) if isinstance(answer_mark, int) else tuple(answer_mark)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.score(input_ids, attention_mask) + self.weight * self.answer_logprobs(input_ids, attention_mask)

    @torch.no_grad()
    def answer_logprobs(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """log p(answer | prompt) in nats, (batch,). Raises ValueError for a text without the answer's mark."""
        size = len(self.answer_mark)
        found = torch.zeros_like(input_ids, dtype=torch.bool)
        if input_ids.shape[1] >= size:
            mark = torch.tensor(self.answer_mark, device=input_ids.device)
            found[:, size - 1 :] = (input_ids.unfold(1, size, 1) == mark).all(2)
        begun = found.cumsum(1)[:, :-1] > 0
        inside = begun if attention_mask is None else begun & attention_mask[:, 1:].bool()
        if not bool(inside.any(1).all()):
            row = int((~inside.any(1)).nonzero()[0])
            raise ValueError(
                f"row {row} has no token {', '.join(map(str, self.answer_mark))} with an answer after it; give prompt "
                "and answer as one chat, as encode_answers() makes it."
            )
        return token_logprobs(self.language_model, input_ids, inside, attention_mask=attention_mask).sum(1)
