"""A small inference engine: many requests, one model, one pass after the other.

    engine = Engine(model)
    number = engine.submit(Request(prompt_ids, max_new_tokens=32, stop_ids=frozenset({1})))
    for event in engine.step(): ...   # until engine.stats() says that nothing runs or waits

Keys and values lie in pages (``paged_cache``), the scheduler decides before each pass who reads what (``scheduler``),
the reader passes it through the decoder (``reader``), and what is drawn comes back as events. Whatever is shared,
paused or computed in pieces, a request gets the tokens that it would get alone: greedy answers equal
``models.generate``.

``submit`` and ``cancel`` may be called by other threads than the one that calls ``step``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from course_utils.models.counting import num_parameters
from course_utils.models.generate import has_no_likeliest, likeliest, refuse_logits, sample_token, warp_logits
from course_utils.models.halves import SMALL
from course_utils.models.scoring import evaluation_mode
from course_utils.serving.paged_cache import BlockPool, ServingError
from course_utils.serving.reader import PagedReader, Piece
from course_utils.serving.scheduler import Scheduler, Sequence
from course_utils.serving.speculative import Drafter, Draw

__all__ = ["Engine", "EngineStats", "Event", "Request", "ServingError", "TokenMask", "run_all"]


class TokenMask(Protocol):
    """Which tokens may come next; see ``grammar.SchemaMask``."""

    def allowed(self, generated_ids: list[int]) -> Tensor:
        """True (vocab,) for each token that may follow the answer so far."""
        ...


@dataclass(frozen=True)
class Request:
    """What somebody asks for.

    temperature 0: the likeliest token. top_p: draw from the smallest set of likeliest tokens that reaches this
    probability. seed: the same draws again, whoever else is served. stop_ids: an end token ends the answer and is not
    part of it. token_mask: structured output; where it allows no token at all, the answer ends.
    """

    prompt_ids: list[int]
    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop_ids: frozenset[int] = frozenset()
    token_mask: TokenMask | None = None


@dataclass(frozen=True)
class Event:
    """One token of a request, or its end. logprob: base e, of the model itself, before temperature, top_p and mask.
    finish_reason: None | "stop" (no token) | "length" (with the last token) | "cancelled" (no token)."""

    request_id: int
    token_id: int | None
    logprob: float | None
    finish_reason: str | None


@dataclass(frozen=True)
class EngineStats:
    """running, waiting: requests. free_blocks: blocks that can be handed out. Since the start: prefix_hits, tokens that
    were found in the prefix cache; preemptions; tokens, those generated; guessed and accepted, tokens of drafters."""

    running: int
    waiting: int
    free_blocks: int
    prefix_hits: int
    preemptions: int
    tokens: int
    guessed: int = 0
    accepted: int = 0


class Engine:
    """Serves requests with one decoder.

    blocks x block_size tokens are held at the most, in ``bytes`` of memory that is allocated at once. max_running:
    requests in one pass. prefill_chunk: prompt tokens in one pass. prefix_cache: blocks of equal prefixes are shared.
    drafter: makes what guesses for one request, up to ``guesses`` tokens a pass. cache_bits: 8 or 4, for rounded keys
    and values.
    Raises ServingError for a model that it cannot read or a setting below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        blocks: int = 512,
        block_size: int = 16,
        max_running: int = 32,
        prefill_chunk: int = 128,
        prefix_cache: bool = True,
        drafter: Callable[[], Drafter] | None = None,
        guesses: int = 4,
        cache_bits: int | None = None,
    ) -> None:
        settings = {
            "blocks": blocks,
            "block_size": block_size,
            "max_running": max_running,
            "prefill_chunk": prefill_chunk,
            "guesses": guesses,
        }
        for name, value in settings.items():
            if value < 1:
                raise ServingError(f"Engine got {name}={value}; it must be at least 1.")
        if cache_bits not in (None, 4, 8):
            raise ServingError(f"Engine got cache_bits={cache_bits}; a cache is kept in 8 or in 4 bits, or as it is.")
        self.reader = PagedReader(model, blocks, block_size, cache_bits)
        self.pool = BlockPool(blocks)
        self.scheduler = Scheduler(self.pool, block_size, max_running, prefill_chunk, prefix_cache)
        self.model, self.passes, self.tokens = model, 0, 0
        self.drafter, self.guesses, self.guessed, self.accepted = drafter, guesses, 0, 0
        self._small = self.reader.device.type == "cpu" and num_parameters(self.reader.model) < SMALL
        self._numbers = itertools.count()
        self._on_the_way: dict[int, Sequence] = {}

    @property
    def bytes(self) -> int:
        """Bytes of all keys and values that the engine can hold."""
        return self.reader.memory.bytes

    def submit(self, request: Request) -> int:
        """Queue a request; its number stands on its events. Raises ServingError if it cannot be served."""
        self._check(request)
        generator = None
        if request.temperature > 0:
            generator = torch.Generator()
            generator.manual_seed(request.seed) if request.seed is not None else generator.seed()
        drafter = self.drafter() if self.drafter is not None else None
        sequence = Sequence(
            next(self._numbers), request, list(request.prompt_ids), generator=generator, drafter=drafter
        )
        self._on_the_way[sequence.id] = sequence
        self.scheduler.waiting.append(sequence)
        return sequence.id

    def cancel(self, request_id: int) -> None:
        """Stop a request: the next step says "cancelled" and frees its blocks. One that has ended is left alone."""
        sequence = self._on_the_way.get(request_id)
        if sequence is not None:
            sequence.cancelled = True

    def step(self) -> list[Event]:
        """One pass of the model for everything that runs. Raises FloatingPointError if its logits are not finite."""
        events = self._sweep()
        planned = self.scheduler.plan()
        if not planned:
            return events
        with self._steady():
            guesses = [self._guess(sequence) for sequence, _ in planned]
            pieces = [
                Piece(s.tokens[s.computed : s.computed + n] + guess, s.computed, s.table, len(guess) + 1)
                for (s, n), guess in zip(planned, guesses, strict=True)
            ]
            logits = self.reader.read(pieces)
        self.passes += 1
        row, ready = 0, list[tuple[Sequence, int, list[int]]]()  # whose logits stand where, and what was guessed
        for (sequence, count), guess in zip(planned, guesses, strict=True):
            self.scheduler.computed(sequence, count)
            if sequence.missing == 0:
                ready.append((sequence, row, guess))
            row += len(guess) + 1
        while ready:
            rows = [row for _, row, _ in ready]
            events += self._choose([s for s, _, _ in ready], logits if len(rows) == len(logits) else logits[rows])
            # Whoever got the token that was guessed has read it already: the next one can be chosen at once.
            ready = [
                (s, row + 1, guess[1:])
                for s, row, guess in ready
                if guess and s.id in self._on_the_way and s.tokens[-1] == guess[0]
            ]
            for sequence, _, _ in ready:
                self.scheduler.computed(sequence, 1)
            self.accepted += len(ready)
        return events

    @torch.no_grad()
    def _guess(self, sequence: Sequence) -> list[int]:
        """What may follow the next token of a request that generates.

        A guess is kept if it is the token that is chosen or drawn anyway, so it changes no answer, and no draw. That
        is the rule of ``speculative.verify`` for guesses that are certain.
        """
        request = sequence.request
        left = len(request.prompt_ids) + request.max_new_tokens - len(sequence.tokens) - 1
        if sequence.drafter is None or sequence.missing > 1 or left < 1:
            return []
        room = self.scheduler.spare(sequence, min(self.guesses, left))
        certain = Draw(0.0, torch.Generator())
        guess = sequence.drafter.propose(sequence.tokens, room, certain)[0] if room else []
        self.guessed += len(guess)
        return guess

    def stats(self) -> EngineStats:
        """Counts of this moment."""
        scheduler = self.scheduler
        return EngineStats(
            len(scheduler.running),
            len(scheduler.waiting),
            self.pool.free,
            scheduler.prefix_hits,
            scheduler.preemptions,
            self.tokens,
            self.guessed,
            self.accepted,
        )

    @contextmanager
    def _steady(self) -> Iterator[None]:
        """Evaluation mode; and one core for a small model, whose operations are too short to be shared."""
        threads = torch.get_num_threads()
        small = self._small and threads > 1
        with evaluation_mode(self.model) if self.reader.fused is None else nullcontext():
            if small:
                torch.set_num_threads(1)
            try:
                yield
            finally:
                if small:
                    torch.set_num_threads(threads)

    def _sweep(self) -> list[Event]:
        gone = [sequence for sequence in self._on_the_way.copy().values() if sequence.cancelled]
        for sequence in gone:
            if sequence in self.scheduler.running:
                self.scheduler.finish(sequence)
            else:
                self.scheduler.waiting.remove(sequence)
            del self._on_the_way[sequence.id]
        return [Event(sequence.id, None, None, "cancelled") for sequence in gone]

    def _choose(self, sequences: list[Sequence], logits: Tensor) -> list[Event]:
        """The next token of each of these; logits (sequences, vocab)."""
        if not sequences:
            return []
        broken = int(has_no_likeliest(logits).sum())
        if broken:
            refuse_logits(broken, len(sequences), self.passes)
        open_to = [row for row, sequence in enumerate(sequences) if sequence.request.token_mask is not None]
        masked, over = logits.clone() if open_to else logits, set()
        for row in open_to:
            allowed = sequences[row].request.token_mask.allowed(sequences[row].generated).to(masked.device)
            if allowed.any():
                masked[row].masked_fill_(~allowed, float("-inf"))
            else:
                over.add(row)
        chosen = likeliest(masked).tolist()
        for row, sequence in enumerate(sequences):
            if sequence.generator is not None:
                uniform = 1 - torch.rand(1, generator=sequence.generator)
                request = sequence.request
                drawn = warp_logits(masked[row : row + 1], request.temperature, None, request.top_p)
                chosen[row] = int(sample_token(drawn, uniform.to(drawn.device)))
        picked = logits.gather(1, torch.tensor(chosen, device=logits.device)[:, None])[:, 0] - logits.logsumexp(-1)
        return [
            self._event(sequence, token, logprob, row in over)
            for row, (sequence, token, logprob) in enumerate(zip(sequences, chosen, picked.tolist(), strict=True))
        ]

    def _event(self, sequence: Sequence, token: int, logprob: float, over: bool) -> Event:
        request = sequence.request
        if over or token in request.stop_ids:
            self._end(sequence)
            return Event(sequence.id, None, None if over else logprob, "stop")
        sequence.tokens.append(token)
        self.tokens += 1
        if len(sequence.tokens) < len(request.prompt_ids) + request.max_new_tokens:
            return Event(sequence.id, token, logprob, None)
        self._end(sequence)
        return Event(sequence.id, token, logprob, "length")

    def _end(self, sequence: Sequence) -> None:
        self.scheduler.finish(sequence)
        del self._on_the_way[sequence.id]

    def _check(self, request: Request) -> None:
        config, pool = self.reader.config, self.pool
        length, new = len(request.prompt_ids), request.max_new_tokens
        if length == 0:
            raise ServingError("the prompt is empty; give at least one token, such as the one that begins a text.")
        outside = [i for i in request.prompt_ids if not 0 <= i < config.vocab_size]
        if outside:
            raise ServingError(
                f"the prompt holds token {outside[0]}; the model knows the ids 0 to {config.vocab_size - 1}. "
                "Was it tokenized with another model's tokenizer?"
            )
        if new < 1:
            raise ServingError(f"max_new_tokens is {new}; ask for at least 1.")
        if length + new > config.max_position_embeddings:
            raise ServingError(
                f"a prompt of {length} tokens and max_new_tokens = {new} are {length + new}, and the model's context "
                f"has {config.max_position_embeddings}. Shorten the prompt, or ask for fewer tokens."
            )
        size = self.scheduler.block_size
        needed, there = -(-(length + new) // size), len(pool.references)
        if needed > there:
            raise ServingError(
                f"a prompt of {length} tokens and max_new_tokens = {new} need {needed} blocks of {size}, and the "
                f"engine has {there}. Shorten it, or start the engine with blocks={needed} or more."
            )
        temperature = request.temperature
        if temperature != 0 and not (math.isfinite(temperature) and temperature >= 1e-4):
            raise ServingError(f"temperature is {temperature}; it must be 0 (the likeliest token) or at least 0.0001.")
        if not 0 < request.top_p <= 1:
            raise ServingError(f"top_p is {request.top_p}; it is a probability, greater than 0 and at most 1.")


def run_all(engine: Engine, requests: list[Request]) -> list[list[int]]:
    """Submit all requests at once, step until they have ended, and return their answers in the order given."""
    answers: dict[int, list[int]] = {engine.submit(request): [] for request in requests}
    while engine.stats().running or engine.stats().waiting:
        for event in engine.step():
            if event.token_id is not None:
                answers[event.request_id].append(event.token_id)
    return list(answers.values())
