"""Generation: continue many prompts at once, token by token.

The prompts are padded on the left, read once, and then every step adds one token to every row, until each row
has met a stop token or has its ``max_new_tokens``. Rows that have stopped are dropped from the batch on the way.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course_utils.models.decoding import Backend, FusedBackend, TransformersBackend, can_fuse, make_backend, resolve
from course_utils.models.halves import FEWEST, is_small, on_one_core_each
from course_utils.models.scoring import evaluation_mode

CACHED = 64  # rows of logits from which a CPU draws at once: it takes a third of the time that 256 at once take


@dataclass
class Generation:
    """What ``generate`` returns; all tensors are on the model's device.

    ``tokens`` (batch, n): the new tokens, the stop token included, then padding; n is the longest row's length.
    ``lengths`` (batch,): how many of them count, the stop token included. ``stopped`` (batch,): True if a row met
    a stop token, False if it ran out of room. ``logprobs`` (batch, n), if asked for: the logarithm (base e) of the
    probability that the model itself gave each token, at temperature 1 and before top-k or top-p; 0 on padding.
    """

    tokens: Tensor
    lengths: Tensor
    stopped: Tensor
    logprobs: Tensor | None = None

    def texts(self, tokenizer: Any) -> list[str]:
        """The new tokens as text, one string per row; special tokens, the stop token among them, are left out."""
        rows = [row[:n].tolist() for row, n in zip(self.tokens, self.lengths.tolist(), strict=True)]
        return tokenizer.batch_decode(rows, skip_special_tokens=True)


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]] | Tensor,
    max_new_tokens: int = 24,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_ids: Sequence[int] = (1,),
    pad_id: int = 0,
    seed: int | torch.Generator = 0,
    return_logprobs: bool = False,
) -> Generation:
    """Continue each prompt by up to ``max_new_tokens`` tokens.

    Args:
        model: a ``Decoder``, or any causal language model of transformers. It is used in evaluation mode and
            left in the mode that it had.
        prompts: token ids, one sequence per row, of any lengths of at least 1; or a tensor (batch, length)
            without padding.
        temperature: 0 takes the likeliest token; else logits are divided by it before one is drawn.
        top_k: draw from the k likeliest tokens only.
        top_p: draw from the smallest set of likeliest tokens whose probability reaches ``top_p`` (nucleus sampling,
            arXiv 1904.09751, section 3.1).
        stop_ids: a row ends after the first of these; an empty sequence lets all rows run to the end. ``(1,)`` is the
            end token of the course's own tokenizer; ``course_utils.text.chat.generation_ids(tokenizer, model)`` gives
            ``stop_ids`` and ``pad_id`` of any.
        pad_id: what stands after a row's stop token in ``tokens``.
        seed: an integer or a ``torch.Generator``. Row i draws the same numbers whatever the other rows do.
        return_logprobs: also return the model's log-probability of each token (see ``Generation``).

    Raises:
        ValueError: no prompts, an empty prompt, a token outside the vocabulary, a prompt that leaves too little room
            in the model's context, or a temperature, top_k, top_p or max_new_tokens out of range.
        TypeError: the model is of no kind that can be read with a cache.
        FloatingPointError: the model's logits are NaN or infinite.
    """
    _check_settings(max_new_tokens, temperature, top_k, top_p)
    source = resolve(model)
    rows = check_prompts(prompts, max_new_tokens, source.config)
    device = next(model.parameters()).device
    stops = torch.tensor(list(stop_ids), dtype=torch.long, device=device)
    draws = _draws(seed, len(rows), max_new_tokens).to(device) if temperature > 0 else None
    cancelled = threading.Event()

    def pick(logits: Tensor, uniform: Tensor | None) -> Tensor:
        if uniform is None:
            return likeliest(logits)
        rows = CACHED if logits.device.type == "cpu" else len(logits)  # what is computed stays near the processor
        parts = zip(logits.split(rows), uniform.split(rows), strict=True)
        return torch.cat([sample_token(warp_logits(some, temperature, top_k, top_p), share) for some, share in parts])

    def run(part: slice) -> tuple[Tensor, Tensor]:
        backend = make_backend(source, max(map(len, rows)) + max_new_tokens, quick=draws is None)
        share = None if draws is None else draws[part]
        return _continue(backend, rows[part], max_new_tokens, share, pick, stops, return_logprobs, device, cancelled)

    with evaluation_mode(model):
        if is_small(source):
            # Other readers run so much Python between their short operations that two threads wait for each other.
            middle = (len(rows) + 1) // 2 if len(rows) >= FEWEST and can_fuse(source) else len(rows)
            halves = [slice(0, middle), slice(middle, None)] if middle < len(rows) else [slice(None)]
            parts = on_one_core_each(run, halves, cancelled)
        else:
            parts = [run(slice(None))]
    tokens, logprobs = (torch.cat(part) for part in zip(*parts, strict=True))

    is_stop = torch.isin(tokens, stops)
    behind = (is_stop.cumsum(1) - is_stop.long()) > 0  # places after a row's first stop token
    lengths = behind.logical_not().sum(1)
    n = int(lengths.max())
    return Generation(
        tokens=tokens.masked_fill(behind, pad_id)[:, :n],
        lengths=lengths,
        stopped=is_stop.any(1),
        logprobs=logprobs.masked_fill(behind, 0.0)[:, :n] if return_logprobs else None,
    )


def _continue(
    backend: Backend,
    rows: list[tuple[int, ...]],
    steps: int,
    draws: Tensor | None,
    pick: Callable[[Tensor, Tensor | None], Tensor],
    stops: Tensor,
    with_logprobs: bool,
    device: torch.device,
    cancelled: threading.Event,
) -> tuple[Tensor, Tensor]:
    """The loop itself: tokens and log-probabilities (rows, steps); what stands after a stop token means nothing."""
    tokens = torch.zeros(len(rows), steps, dtype=torch.long, device=device)
    logprobs = torch.zeros(len(rows), steps, device=device)
    # A tensor made in inference mode can never be trained on, and transformers models may keep some: no_grad for them.
    with torch.no_grad() if isinstance(backend, TransformersBackend) else torch.inference_mode():
        logits = _prefill(backend, rows, device, likeliest=draws is None)
        reading = torch.arange(len(rows), device=device)  # the numbers of the rows that are still in the batch
        done = torch.zeros(len(rows), dtype=torch.bool, device=device)
        for step in range(steps):
            chosen = pick(logits, None if draws is None else draws[reading, step])
            tokens[reading, step] = chosen
            largest, before = logits.amax(-1).sum(), done  # finite if every row's is
            if len(stops):
                done = done | torch.isin(chosen, stops)
            stopped, sound = torch.stack((done.sum(), largest.isfinite())).tolist()  # both at once: a GPU is waited for
            if not sound and (refused := int((has_no_likeliest(logits) & ~before).sum())):
                refuse_logits(refused, len(done), step)
            if with_logprobs:
                logprobs[reading, step] = logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(-1)
            left = len(done) - stopped
            if left == 0 or step + 1 == steps or cancelled.is_set():
                break
            if left <= 0.75 * len(done):  # copying the others' keys and values pays once a quarter has stopped
                going = done.logical_not().nonzero()[:, 0]
                backend.reorder_cache(going)
                reading, chosen, done = reading[going], chosen[going], done[going]
            logits = backend.step(chosen)
    return tokens, logprobs


def warp_logits(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Logits (batch, vocab) of the distribution to draw from: temperature, then top-k, then top-p, as in transformers.

    Tokens that may not be drawn get -inf. Tokens as likely as the last one that stays, stay too.
    """
    logits = logits if temperature == 1 else logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < ascending(logits)[:, -top_k, None], float("-inf"))
    if top_p is not None and top_p < 1:
        probabilities = logits.softmax(-1)
        ordered = ascending(probabilities)
        left_out = (ordered.cumsum(-1) <= 1 - top_p).sum(-1, keepdim=True)  # the unlikely tail, from the smallest up
        least = ordered.gather(1, left_out.clamp(max=logits.shape[-1] - 1))
        logits = logits.masked_fill(probabilities < least, float("-inf"))
    return logits


def ascending(x: Tensor) -> Tensor:
    """``x`` with its last axis sorted. On a CPU numpy does it, more than ten times quicker than torch."""
    return x.sort(-1).values if x.is_cuda else torch.from_numpy(np.sort(x.numpy(force=True), axis=-1)).to(x)


def likeliest(logits: Tensor) -> Tensor:
    """The likeliest token of each row (batch, vocab), the first of equals. On a CPU numpy is nine times quicker."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return torch.from_numpy(logits.numpy(force=True).argmax(-1))
    return logits.argmax(-1)


def sample_token(logits: Tensor, uniform: Tensor) -> Tensor:
    """One token per row of logits (batch, vocab).

    It is the first at which the distribution function reaches ``uniform`` (batch,), a number in (0, 1]. This is
    much cheaper than ``torch.multinomial``, which needs a random number per token of the vocabulary.
    """
    reached = logits.softmax(-1).cumsum_(-1)
    return torch.searchsorted(reached, uniform[:, None] * reached[:, -1:])[:, 0]


def has_no_likeliest(logits: Tensor) -> Tensor:
    """Rows (batch,) of logits (batch, vocab) from which no token can be chosen: one is NaN or +inf, or all are -inf.

    A single -inf is no fault: it forbids its token.
    """
    return ~logits.amax(-1).isfinite()  # the maximum of numbers with a NaN among them is NaN


def refuse_logits(rows: int, batch: int, step: int) -> None:
    """Raise FloatingPointError: ``rows`` of ``batch`` rows have no likeliest token at new token ``step``, from 0."""
    raise FloatingPointError(
        f"the model's logits are not finite (NaN or infinity) in {rows} of {batch} rows at new token {step + 1}, so no "
        "token can be chosen. Usual causes: the weights come from a training run that diverged, or numbers of 16 bits "
        "overflowed. Look for them with `[name for name, p in model.named_parameters() if not p.isfinite().all()]`; "
        "take an earlier checkpoint with a lower learning rate, or read the model in float32."
    )


def _draws(seed: int | torch.Generator, rows: int, steps: int) -> Tensor:
    """All random numbers of a call (rows, steps), in (0, 1]: rows may leave the batch without disturbing the others."""
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    return 1 - torch.rand(rows, steps, generator=generator, device=generator.device)


def _prefill(backend: Backend, rows: list[tuple[int, ...]], device: torch.device, likeliest: bool) -> Tensor:
    """Read the prompts, equal ones once, and return the logits (batch, vocab) of each row's first new token."""
    number = {row: i for i, row in enumerate(dict.fromkeys(rows))}
    width = max(map(len, number))
    input_ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in number], device=device)
    mask = None
    if any(len(row) < width for row in number):
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in number], device=device)
    # The quicker way is the same to rounding, which a draw may notice: see prefill_in_parts.
    if likeliest and isinstance(backend, FusedBackend):
        logits = backend.prefill_in_parts(input_ids, mask)
    else:
        logits = backend.prefill(input_ids, mask)
    if len(number) < len(rows):
        copies = torch.tensor([number[row] for row in rows], device=device)
        backend.reorder_cache(copies)
        logits = logits[copies]
    return logits


def _check_settings(max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; ask for at least 1 new token.")
    if temperature != 0 and not (math.isfinite(temperature) and temperature >= 1e-4):
        raise ValueError(
            f"temperature is {temperature}; it must be 0 (always take the likeliest token) or at least 0.0001, "
            "such as 1.0 (the model's own distribution)."
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1, or None to draw from all tokens.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; it is a probability greater than 0 and at most 1, or None for no limit.")


def check_prompts(prompts: Sequence[Sequence[int]] | Tensor, max_new_tokens: int, config: Any) -> list[tuple[int, ...]]:
    """The prompts as tuples of token ids. Raises ValueError, naming the first that cannot be continued by
    ``max_new_tokens`` in a model of this ``config``."""
    if isinstance(prompts, Tensor):
        if prompts.dim() != 2 or prompts.is_floating_point():
            raise ValueError(
                f"prompts is a tensor of shape {tuple(prompts.shape)} and type {prompts.dtype}; "
                "it must hold token ids, (batch, length), or be a list of lists of them."
            )
        prompts = prompts.tolist()
    if len(prompts) == 0:
        raise ValueError("prompts is empty; give at least one sequence of token ids, such as [[1, 17, 4]].")
    if isinstance(prompts, str) or not all(
        isinstance(row, Sequence | Tensor) and not isinstance(row, str) for row in prompts
    ):
        raise ValueError(
            "prompts must be a list of lists of token ids, such as [[1, 17, 4]]. "
            "Turn text into ids with the tokenizer first, and put a single prompt into a list."
        )
    rows = [tuple(map(int, row)) for row in prompts]
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    context = getattr(text_config, "max_position_embeddings", None) or math.inf
    vocabulary = getattr(text_config, "vocab_size", None) or math.inf
    for i, row in enumerate(rows):
        if not row:
            raise ValueError(
                f"prompt {i} is empty; a prompt needs at least one token, for example the one that begins a text."
            )
        if len(row) + max_new_tokens > context:
            raise ValueError(
                f"prompt {i} has {len(row)} tokens, and max_new_tokens = {max_new_tokens} more do not fit into the "
                f"model's context of {context}. Shorten the prompt to {max(context - max_new_tokens, 0)} tokens, "
                f"or ask for at most {max(context - len(row), 0)} new ones."
            )
        if min(row) < 0 or max(row) >= vocabulary:
            raise ValueError(
                f"prompt {i} holds token {min(row) if min(row) < 0 else max(row)}; the model knows the ids 0 to "
                f"{vocabulary - 1}. Was it tokenized with another model's tokenizer?"
            )
    return rows
