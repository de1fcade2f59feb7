"""Beam search: follow the k likeliest beginnings at once, and return the likeliest whole text that was found.

Greedy decoding takes the likeliest *next* token, and may walk into a text that is unlikely as a whole. The rules here
(what counts as finished, when to stop, how length is weighed) are those of ``transformers.generate(num_beams=k)``
with its default ``early_stopping=False``, so that sequences and scores are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.models.decoding import Backend, TransformersBackend, make_backend, resolve
from course_utils.models.generate import has_no_likeliest, refuse_logits
from course_utils.models.scoring import evaluation_mode

NEVER = -1e9  # the score of what must not be chosen; finite, so that sums and quotients of it stay numbers


@dataclass
class Beams:
    """The texts found, best first; all tensors are on the model's device.

    ``tokens`` (batch, beams, n): the new tokens, the stop token included, then padding. ``scores`` (batch, beams):
    the sum of the log-probabilities (base e) of a text's tokens, divided by their number ** length_penalty.
    ``lengths`` (batch, beams): how many of the tokens count, the stop token included.
    """

    tokens: Tensor
    scores: Tensor
    lengths: Tensor

    def texts(self, tokenizer: Any) -> list[list[str]]:
        """The new tokens of every beam as text, special tokens left out: one list per prompt."""
        return [tokenizer.batch_decode(rows.tolist(), skip_special_tokens=True) for rows in self.tokens]


def beam_step(scores: Tensor, logprobs: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """One step of beam search for one prompt: the k best ways to make one of the beams one token longer.

    scores: (beams,), the log-probability of each beam. logprobs: (beams, vocab), of each token that may follow it.
    Returns (scores, beams, tokens), each (k,), best first: the new log-probability, the beam that is continued, and
    the token that continues it. Raises ValueError if there are fewer than k continuations.
    """
    if not 1 <= k <= logprobs.numel():
        raise ValueError(
            f"k is {k}; {logprobs.shape[0]} beams and {logprobs.shape[1]} tokens give "
            f"{logprobs.numel()} continuations. Ask for 1 up to that many."
        )
    best = (scores[:, None] + logprobs).flatten().topk(k)
    return best.values, best.indices // logprobs.shape[1], best.indices % logprobs.shape[1]


def beam_search(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    num_beams: int = 4,
    max_new_tokens: int = 24,
    length_penalty: float = 1.0,
    stop_ids: Sequence[int] = (1,),
    pad_id: int = 0,
    choose: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]] = beam_step,
) -> Beams:
    """The ``num_beams`` best continuations of each prompt that beam search finds.

    Args:
        model: a ``Decoder``, or any causal language model of transformers, left in the mode that it had.
        prompts: token ids, one sequence per row, of any lengths of at least 1.
        num_beams: how many beginnings are kept; 1 is greedy decoding.
        length_penalty: the power of the length by which a finished text's log-probability is divided: 0 prefers short
            texts, 1 (the mean per token) and more favour long ones (Wu et al., arXiv 1609.08144, equation 14, use
            another form of it).
        stop_ids: a beam is finished after any of these.
        pad_id: what stands after a text's stop token.
        choose: the step for one prompt, called with the beams' scores, the log-probabilities and how many to return.

    Raises ValueError for an empty prompt, fewer than 1 beam or token, or a row longer than the model's context;
    FloatingPointError for logits that are NaN or infinite.
    """
    rows = [list(map(int, row)) for row in prompts]
    if not rows or not all(rows):
        raise ValueError("beam_search needs at least one prompt, and each prompt at least one token id.")
    if num_beams < 1 or max_new_tokens < 1:
        raise ValueError(f"num_beams is {num_beams} and max_new_tokens {max_new_tokens}; both must be 1 or more.")
    config: Any = resolve(model).config
    longest = max(map(len, rows)) + max_new_tokens
    if longest > (getattr(config, "max_position_embeddings", None) or longest):
        raise ValueError(
            f"prompt and new tokens take {longest} places; the model reads {config.max_position_embeddings}. Shorten."
        )
    device = next(model.parameters()).device
    backend = make_backend(model, longest)
    # A tensor made in inference mode can never be trained on, and transformers models may keep some.
    quiet = torch.no_grad() if isinstance(backend, TransformersBackend) else torch.inference_mode()
    with evaluation_mode(model), quiet:
        stops = torch.tensor(list(stop_ids), dtype=torch.long, device=device)
        return _search(backend, rows, num_beams, max_new_tokens, length_penalty, stops, pad_id, choose, device)


def _search(
    backend: Backend,
    rows: list[list[int]],
    k: int,
    steps: int,
    length_penalty: float,
    stops: Tensor,
    pad_id: int,
    choose: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]],
    device: torch.device,
) -> Beams:
    width, n = max(map(len, rows)), len(rows)
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    logits = backend.prefill(ids, None if bool(mask.all()) else mask)
    first = torch.arange(n, device=device)[:, None] * k  # the number of each prompt's first beam
    backend.reorder_cache(torch.arange(n, device=device).repeat_interleave(k))
    logits = logits.repeat_interleave(k, 0)

    # Only the first of the equal beams counts at the start, or all would go the same way.
    running = torch.full((n, k), NEVER, device=device)
    running[:, 0] = 0.0
    texts = torch.full((n, k, steps), pad_id, device=device)
    found, found_scores = texts.clone(), torch.full((n, k), NEVER, device=device)
    hopeful = torch.ones(n, 1, dtype=torch.bool, device=device)  # can a running beam still beat a finished one?
    for step in range(steps):
        # Twice as many as are kept: if k of them have just stopped, k others are there to go on.
        best = [choose(running[i], part, 2 * k) for i, part in enumerate(logits.log_softmax(-1).split(k))]
        scores, parents, tokens = (torch.stack(part) for part in zip(*best, strict=True))
        longer = texts.gather(1, parents[..., None].expand(-1, -1, steps))
        longer[:, :, step] = tokens
        ends = torch.isin(tokens, stops) | (step + 1 == steps)

        # Those that end, if they are among the k best, compete with what has been found before.
        finished = scores / (step + 1) ** length_penalty
        finished = finished.masked_fill(~(ends & hopeful), NEVER)
        finished[:, k:] = NEVER
        found_scores, order = torch.cat((found_scores, finished), 1).topk(k)
        found = torch.cat((found, longer), 1).gather(1, order[..., None].expand(-1, -1, steps))

        # The others go on.
        running, order = scores.masked_fill(ends, NEVER).topk(k)
        texts = longer.gather(1, order[..., None].expand(-1, -1, steps))
        parents, tokens = parents.gather(1, order), tokens.gather(1, order)
        worst = found_scores.min(1, keepdim=True).values  # NEVER until k texts are finished
        hopeful = hopeful & (running[:, :1] / (step + 1) ** length_penalty > worst)
        going, refused = torch.stack((hopeful.sum(), has_no_likeliest(logits).sum())).tolist()
        if refused:
            refuse_logits(refused, len(logits), step)
        if step + 1 == steps or not going:
            break
        backend.reorder_cache((first + parents).flatten())
        logits = backend.step(tokens.flatten())
    is_stop = torch.isin(found, stops)
    behind = (is_stop.cumsum(-1) - is_stop.long()) > 0
    lengths = torch.where(is_stop.any(-1), (~behind).sum(-1), step + 1)
    return Beams(found.masked_fill(behind, pad_id)[..., : int(lengths.max())], found_scores, lengths)
