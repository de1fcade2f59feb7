"""Who may compute next: requests that wait, requests that run, and what to do when the blocks run out.

Decided anew before every pass of the model (*continuous* batching; iteration-level scheduling in Orca, OSDI 2022), so
that a request that ends makes room at once. A request's state is two numbers: how many tokens it has, and for how many
of them keys and values are computed. Generating is the case in which exactly one is missing.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from course_utils.serving.paged_cache import BlockPool, prefix_digest


@dataclass(eq=False)
class Sequence:
    """A request on its way. ``tokens``: prompt and answer so far. ``computed``: how many of them the cache holds."""

    id: int
    request: Any
    tokens: list[int]
    computed: int = 0
    table: list[int] = field(default_factory=list)  # its blocks, in order
    digests: list[bytes] = field(default_factory=list)  # of the prefixes that end with its full blocks
    generator: Any = None
    drafter: Any = None
    cancelled: bool = False

    @property
    def generated(self) -> list[int]:
        """The answer so far."""
        return self.tokens[len(self.request.prompt_ids) :]

    @property
    def missing(self) -> int:
        """Tokens that the model has not read yet; 1 while generating."""
        return len(self.tokens) - self.computed


def plan_pass(
    running: list[int], waiting: list[tuple[int, int]], free_blocks: int, max_running: int, chunk: int
) -> tuple[int, list[int]]:
    """One decision of continuous batching: how many of the waiting are admitted, and who reads how many tokens.

    running: tokens that each running request has not read yet, at least 1, in the order of admission; 1 means that it
    generates. waiting: (blocks, tokens) that each waiting request needs, in the order of arrival; nobody overtakes.
    chunk: tokens of prompts per pass; those who generate read theirs in any case.
    Returns the number admitted, and the tokens read by each: running first, then admitted.
    """
    admitted = 0
    while admitted < len(waiting) and len(running) + admitted < max_running and waiting[admitted][0] <= free_blocks:
        free_blocks -= waiting[admitted][0]
        admitted += 1
    reads = []
    for missing in running + [tokens for _, tokens in waiting[:admitted]]:
        read = 1 if missing == 1 else min(missing, chunk)
        chunk -= read if missing > 1 else 0
        reads.append(read)
    return admitted, reads


class Scheduler:
    """Chooses what is read in the next pass, and keeps the books of the blocks.

    max_running: requests at once. prefill_chunk: prompt tokens per pass, shared by all that still read their prompts,
    so that a long prompt does not hold up those who generate (Sarathi-Serve, arXiv 2403.02310).
    """

    def __init__(
        self, pool: BlockPool, block_size: int, max_running: int, prefill_chunk: int, prefix_cache: bool
    ) -> None:
        self.pool, self.block_size = pool, block_size
        self.max_running, self.prefill_chunk, self.prefix_cache = max_running, prefill_chunk, prefix_cache
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in the order of admission
        self.prefix_hits = 0  # tokens that need not be read
        self.preemptions = 0
        self.plan_pass: Callable[..., tuple[int, list[int]]] = plan_pass  # both may be replaced
        self.digest: Callable[[bytes, list[int]], bytes] = prefix_digest

    def plan(self) -> list[tuple[Sequence, int]]:
        """Who reads how many tokens in the next pass; their blocks are there."""
        for sequence in list(self.running):  # the oldest first: it is never the one to give way
            if sequence in self.running and sequence.missing == 1:
                self._grow(sequence)
        queue = [self._cost(sequence) for sequence in itertools.islice(self.waiting, self.max_running)]
        spare = 1 if self.running else 0  # or the next pass would preempt what this one admits
        missing = [sequence.missing for sequence in self.running]
        admitted, reads = self.plan_pass(missing, queue, self.pool.free - spare, self.max_running, self.prefill_chunk)
        for _ in range(admitted):
            self._admit(self.waiting.popleft())
        return [(sequence, count) for sequence, count in zip(self.running, reads, strict=True) if count]

    def spare(self, sequence: Sequence, tokens: int) -> int:
        """How many tokens fit after the next one, ``tokens`` at the most; blocks are taken while nobody wants them."""
        needed = sequence.computed + 1 + tokens
        while len(sequence.table) * self.block_size < needed and self.pool.free > len(self.running) + len(self.waiting):
            sequence.table.append(self.pool.take())
        return min(tokens, len(sequence.table) * self.block_size - sequence.computed - 1)

    def finish(self, sequence: Sequence) -> None:
        """It leaves; its blocks are given back, the last ones first, so that a prefix outlives its continuations."""
        self.running.remove(sequence)
        self._release(sequence)

    def computed(self, sequence: Sequence, count: int) -> None:
        """The model has read ``count`` tokens more: blocks that are full now can be found by others."""
        before = sequence.computed // self.block_size
        sequence.computed += count
        full = sequence.computed // self.block_size
        if self.prefix_cache and full > before:
            digests = self._digests(sequence, full)
            for number in range(before, full):
                self.pool.remember(sequence.table[number], digests[number])

    def _digests(self, sequence: Sequence, full: int) -> list[bytes]:
        size, known = self.block_size, sequence.digests
        while len(known) < full:
            start = len(known) * size
            known.append(self.digest(known[-1] if known else b"", sequence.tokens[start : start + size]))
        return known[:full]

    def _grow(self, sequence: Sequence) -> None:
        """Make sure of a place for the next token; if there is none, the youngest request gives way."""
        if sequence.computed < len(sequence.table) * self.block_size:
            return
        while self.pool.free == 0:
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return
        sequence.table.append(self.pool.take())

    def _preempt(self, sequence: Sequence) -> None:
        """Back to the head of the queue. What it has generated is kept; keys and values are computed anew."""
        self.running.remove(sequence)
        self._release(sequence)
        self.waiting.appendleft(sequence)
        self.preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        for block in reversed(sequence.table):
            self.pool.release(block)
        sequence.table, sequence.computed = [], 0

    def _cost(self, sequence: Sequence) -> tuple[int, int]:
        """(free blocks, tokens to read) that admission would take."""
        shared = self._shared(sequence)
        held = sum(self.pool.references[block] > 0 for block in shared)  # the others count as free: they are taken
        size, length = self.block_size, len(sequence.tokens)
        return -(-length // size) - held, length - len(shared) * size

    def _admit(self, sequence: Sequence) -> None:
        size, length = self.block_size, len(sequence.tokens)
        shared = self._shared(sequence)
        for block in shared:
            self.pool.share(block)
        sequence.table = shared + [self.pool.take() for _ in range(-(-length // size) - len(shared))]
        sequence.computed = len(shared) * size
        self.prefix_hits += sequence.computed
        self.running.append(sequence)

    def _shared(self, sequence: Sequence) -> list[int]:
        """Blocks that hold this sequence's first tokens. At least one token is always read: its logits are needed."""
        blocks: list[int] = []
        if self.prefix_cache:
            for digest in self._digests(sequence, (len(sequence.tokens) - 1) // self.block_size):
                block = self.pool.block_of.get(digest)
                if block is None:
                    break
                blocks.append(block)
        return blocks
