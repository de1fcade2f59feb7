"""Speculative decoding: guess some tokens cheaply, let the model read all guesses in one pass, keep the good ones.

A pass over five tokens costs a large model hardly more than a pass over one, since both must fetch all weights. So a
small model (or the text itself) proposes, and the large one judges each proposal by a rule that leaves its own
distribution exactly as it was (Leviathan et al., arXiv 2211.17192, section 2.3; Chen et al., arXiv 2302.01318).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from course_utils.models.decoder import Decoder
from course_utils.models.generate import check_prompts, warp_logits
from course_utils.models.scoring import evaluation_mode


def verify(target: Tensor, draft: Tensor, tokens: Sequence[int], uniforms: Sequence[float]) -> tuple[int, Tensor]:
    """How many of the proposed tokens are kept, and the distribution of the token that follows them.

    target: (k + 1, vocab), p, what the model says at each of the k proposed places and after them. draft: (k, vocab),
    q, what the tokens were drawn from. tokens: the k proposals. uniforms: k numbers from [0, 1).
    Proposal x is kept if u < p(x) / q(x). At the first that is not, the next token comes from max(p - q, 0),
    normalized; if all are kept, from the last row of target.
    """
    for place, (token, uniform) in enumerate(zip(tokens, uniforms, strict=True)):
        p, q = target[place], draft[place]
        if uniform * q[token] >= p[token]:  # u < p / q, without a division
            rest = (p - q).clamp(min=0)
            return place, rest / rest.sum()
    return len(tokens), target[len(tokens)]


class Drafter(Protocol):
    """Proposes tokens.

    ``propose``: up to ``count`` after ``tokens``, and the distributions (proposals, vocab) that they came from.
    """

    def propose(self, tokens: list[int], count: int, draw: Draw) -> tuple[list[int], Tensor]: ...


class Draw:
    """Distributions and draws at one temperature; 0 puts all probability on the likeliest token."""

    def __init__(self, temperature: float, generator: torch.Generator) -> None:
        self.temperature, self.generator = temperature, generator

    def distribution(self, logits: Tensor) -> Tensor:
        """Probabilities (..., vocab) of logits (..., vocab)."""
        if self.temperature == 0:
            return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
        return warp_logits(logits, self.temperature).softmax(-1)

    def token(self, probabilities: Tensor) -> int:
        """One token from probabilities (vocab,)."""
        return int(torch.multinomial(probabilities.cpu(), 1, generator=self.generator))

    def uniforms(self, count: int) -> list[float]:
        """Numbers from [0, 1)."""
        return torch.rand(count, generator=self.generator, dtype=torch.float64).tolist()


class _Reader:
    """A decoder with the cache of one text. What is read beyond a prefix that still holds is forgotten first."""

    def __init__(self, model: Decoder) -> None:
        self.model, self.cache, self.read_ids = model, model.new_cache(1), list[int]()

    def logits(self, tokens: list[int], count: int) -> Tensor:
        """Logits (count, vocab) after the last ``count`` tokens; only what is new is read."""
        known = 0
        limit = min(len(self.read_ids), len(tokens) - count)
        while known < limit and self.read_ids[known] == tokens[known]:
            known += 1
        self.cache.length = known  # rejected tokens are written over
        new = torch.tensor([tokens[known:]], device=self.model.model.embed_tokens.weight.device)
        self.read_ids = list(tokens)
        return self.model(new, cache=self.cache, logits_to_keep=count).logits[0].float()


class ModelDrafter:
    """A smaller decoder with the same vocabulary guesses. Raises ValueError if the vocabularies differ in size."""

    def __init__(self, model: Decoder, target: Decoder) -> None:
        if model.config.vocab_size != target.config.vocab_size:
            raise ValueError(
                f"the draft model knows {model.config.vocab_size} tokens and the target {target.config.vocab_size}; a "
                "guess is judged token by token, so both need the same tokenizer."
            )
        self.model, self.reader = model, _Reader(model)

    def propose(self, tokens: list[int], count: int, draw: Draw) -> tuple[list[int], Tensor]:
        """Generate ``count`` tokens with the small model."""
        proposals, rows = list[int](), []
        for _ in range(count):
            rows.append(draw.distribution(self.reader.logits(tokens + proposals, 1))[0])
            proposals.append(draw.token(rows[-1]))
        return proposals, torch.stack(rows)


class PromptLookup:
    """The text itself guesses: what followed the last time that the final ``ngram`` tokens stood there.

    Free, and good where answers repeat the prompt. Such a guess is certain: its distribution has one token.
    """

    def __init__(self, vocab_size: int, ngram: int = 2) -> None:
        self.vocab_size, self.ngram = vocab_size, ngram

    def propose(self, tokens: list[int], count: int, draw: Draw) -> tuple[list[int], Tensor]:
        """Up to ``count`` tokens that followed the latest earlier place with the same ending; none if there is none."""
        ending, proposals = tokens[-self.ngram :], list[int]()
        for start in range(len(tokens) - self.ngram - 1, -1, -1):
            if tokens[start : start + self.ngram] == ending:
                proposals = tokens[start + self.ngram : start + self.ngram + count]
                break
        certain = torch.zeros(len(proposals), self.vocab_size)
        if proposals:
            certain.scatter_(1, torch.tensor(proposals)[:, None], 1.0)
        return proposals, certain


@dataclass
class Speculation:
    """tokens: the new ones, the stop token included. proposed: guesses made; judged: those up to the first refusal;
    accepted: those kept. passes: of the target model, the prompt's included."""

    tokens: list[int]
    proposed: int = 0
    judged: int = 0
    accepted: int = 0
    passes: int = 0

    @property
    def share(self) -> float:
        """Accepted guesses, of those that were judged."""
        return self.accepted / max(self.judged, 1)


@torch.no_grad()
def speculate(
    model: Decoder,
    drafter: Drafter,
    prompt: Sequence[int],
    max_new_tokens: int = 24,
    *,
    guesses: int = 4,
    temperature: float = 0.0,
    stop_ids: Sequence[int] = (1,),
    seed: int = 0,
    rule: Callable[..., tuple[int, Tensor]] = verify,
) -> Speculation:
    """Continue one prompt. The tokens are distributed as without guesses; greedy ones are the same.

    guesses: proposed per pass of the model. rule: what judges them, ``verify`` or one's own.
    Raises ValueError as ``generate`` does for prompts that it cannot continue, and for guesses below 1.
    """
    if guesses < 1:
        raise ValueError(f"guesses is {guesses}; propose at least 1 token per pass, 4 is usual.")
    (prompt,) = check_prompts([list(prompt)], max_new_tokens, model.config)
    draw = Draw(temperature, torch.Generator().manual_seed(seed))
    reader, text, done = _Reader(model), list(prompt), Speculation([])
    end = len(prompt) + max_new_tokens
    with evaluation_mode(model):
        while len(text) < end:
            room = min(guesses, end - len(text) - 1)  # after the proposals comes one token more
            proposals, draft = list[int](), torch.zeros(0, model.config.vocab_size)
            if room:
                proposals, draft = drafter.propose(text, room, draw)
            target = draw.distribution(reader.logits(text + proposals, len(proposals) + 1))
            kept, following = rule(target, draft.to(target), proposals, draw.uniforms(len(proposals)))
            done.passes += 1
            done.proposed += len(proposals)
            done.judged += min(kept + 1, len(proposals))
            done.accepted += kept
            for token in [*proposals[:kept], draw.token(following)]:
                text.append(token)
                if token in stop_ids:
                    done.tokens = text[len(prompt) :]
                    return done
    done.tokens = text[len(prompt) :]
    return done
