"""Reading texts that begin alike: what several share is read once, and every token looks at its own ancestors only.

Sorted, the texts are a walk through the tree of their beginnings. So the nodes below another follow it without a gap,
and whether node j stands above node i is a comparison of numbers: j <= i < ends[j].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from course_utils.models.decoder import Decoder
from course_utils.models.decoding import FusedBackend

AT_ONCE = 960  # nodes, so that what is computed stays near the processor
GROUP = 48  # nodes, side by side, that look at the same keys: at least as many as lead to the first of them


class PrefixTree:
    """The beginnings of ``sequences`` (token ids, none of them empty), each once.

    Nodes are numbered as a walk meets them: ``tokens``, ``depths`` and ``ends`` (nodes,); the nodes from i up to, not
    including, ``ends[i]`` are i and what hangs on it. ``path(i)``: the nodes of sequence i, from its first token on.
    ``starts`` (distinct sequences + 1,): where the walk turns to the next of them.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        given = [tuple(sequence) for sequence in sequences]
        walk = sorted(set(given))
        row = {sequence: number for number, sequence in enumerate(walk)}
        self._rows = [row[sequence] for sequence in given]
        self._lengths = np.array([len(sequence) for sequence in walk])
        places = np.arange(self._lengths.max())
        filled = places < self._lengths[:, None]
        grid = np.full(filled.shape, -1, dtype=np.int32)
        grid[filled] = np.fromiter(chain.from_iterable(walk), np.int32)
        forks = np.zeros(len(walk), dtype=np.int64)  # how many tokens a sequence shares with the one before it
        forks[1:] = (grid[1:] == grid[:-1]).argmin(1)
        new = filled & (places >= forks[:, None])
        self.starts = np.append(0, new.sum(1).cumsum())
        self.tokens, self.depths = grid[new].astype(np.int64), np.broadcast_to(places, new.shape)[new]
        count = len(self.tokens)
        numbers = np.full(new.shape, -1, dtype=np.int32)
        numbers[new] = np.arange(count)
        self._paths = np.maximum.accumulate(numbers)  # what a sequence does not have anew, it has from above
        # A node ends where a later sequence forks at it or above it.
        left = np.full(new.shape, count, dtype=np.int32)
        left[:-1] = np.where(forks[1:, None] <= places, self.starts[1:-1, None], count)
        self.ends = np.minimum.accumulate(left[::-1])[::-1][new]

    def path(self, sequence: int) -> np.ndarray:
        """The nodes of a sequence, by its number."""
        row = self._rows[sequence]
        return self._paths[row, : self._lengths[row]]

    def above(self, node: int) -> np.ndarray:
        """The nodes that lead to this one, from the first token on, without it."""
        row = int(self.starts.searchsorted(node, "right")) - 1
        return self._paths[row, : self.depths[node]]


def next_logprobs(
    model: Decoder, tree: PrefixTree, nodes: np.ndarray, tokens: np.ndarray, at_once: int = AT_ONCE
) -> np.ndarray:
    """The log-probability in nats of each of ``tokens`` after its node, (pairs,); ``nodes`` and ``tokens`` (pairs,).

    model: one that ``can_fuse``. at_once: how many nodes are read at once.
    """
    found = np.zeros(len(nodes))
    order = nodes.argsort(kind="stable")
    with torch.inference_mode():
        for asked, logs in _read(FusedBackend(model, 1), tree, np.unique(nodes), at_once):
            pairs = order[slice(*nodes.searchsorted([asked[0], asked[-1] + 1], sorter=order))]
            found[pairs] = logs[asked.searchsorted(nodes[pairs]), tokens[pairs]]
    return found


def _read(
    reader: FusedBackend, tree: PrefixTree, asked: np.ndarray, at_once: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts of the nodes that are ``asked`` for, and the log-probabilities (part, vocabulary) after them."""
    query_heads, key_heads = reader.heads
    known = np.zeros(0, dtype=np.int64)  # nodes whose keys and values are at hand
    memory: list[Tensor] = []  # these, by layer
    for first in range(0, len(tree.tokens), at_once):
        # Of what was read before, this part hangs on the way to its first node, and on nothing else.
        way, own = tree.above(first), np.arange(first, min(first + at_once, len(tree.tokens)))
        kept = torch.from_numpy(known.searchsorted(way))
        memory = [keys_and_values[kept] for keys_and_values in memory]
        known = np.append(way, own)
        here = asked[slice(*asked.searchsorted([first, own[-1] + 1]))]
        pattern = everywhere = _Pattern(tree, own, known)

        x = functional.embedding(torch.from_numpy(tree.tokens[own]), reader.embedding)
        turn = reader.turn[torch.from_numpy(tree.depths[own])]
        for layer, (qkv, out, gate_up, down) in enumerate(reader.layers):
            pairs = torch.view_as_complex((reader.normalize(x) @ qkv).view(*turn.shape, 2))
            turned = torch.view_as_real(pairs.mul_(turn)).flatten(2)
            q, new = turned.split((query_heads, 2 * key_heads), dim=1)
            if first:
                memory[layer] = torch.cat((memory[layer], new))
            else:
                memory.append(new)
            if layer + 1 == len(reader.layers):  # nobody looks at the other nodes any more
                rows, pattern = torch.from_numpy(here - first), everywhere.of(here)
                x, q = x[rows], q[rows]
            x = torch.addmm(x, pattern.attend(q, memory[layer]), out)
            gate, up = (reader.normalize(x) @ gate_up).chunk(2, dim=1)
            x = torch.addmm(x, functional.silu(gate, inplace=True).mul_(up), down)
        if len(here):
            yield here, (reader.normalize(x) @ reader.head).log_softmax(-1).numpy()


class _Pattern:
    """Which of the ``known`` nodes each of ``queries`` looks at. Queries side by side are a group with its own keys:
    what leads to the first of them, and themselves."""

    def __init__(self, tree: PrefixTree, queries: np.ndarray, known: np.ndarray) -> None:
        size = max(GROUP, len(known) - len(queries))  # as many as lead to them, or more
        self.tree, self.known, self.heads = tree, known, queries[::size]
        ways = [tree.above(head) for head in self.heads]
        longest = max(map(len, ways))
        keys = np.full((len(ways), longest + size), -1)  # -1: a group that has fewer
        for row, way in zip(keys, ways, strict=True):
            row[: len(way)] = way
        own = self.heads[:, None] + np.arange(size)
        keys[:, longest:] = np.where(own <= queries[-1], own, -1)
        self.keys, self.index = keys, torch.from_numpy(known.searchsorted(keys))
        self._ask(queries)

    def of(self, queries: np.ndarray) -> _Pattern:
        """The same for some of the queries."""
        part = copy(self)
        part._ask(queries)
        return part

    def _ask(self, queries: np.ndarray) -> None:
        """Queries in rows of one length, one row for each group. What stands in an empty place is thrown away."""
        group = self.heads.searchsorted(queries, "right") - 1
        place = np.arange(len(queries)) - group.searchsorted(group)
        self.shape = len(self.heads), int(place.max(initial=0)) + 1
        slots = group * self.shape[1] + place
        asked = np.full((*self.shape, 1), -1)
        asked.reshape(-1)[slots] = queries
        ends = np.where(self.keys < 0, 0, self.tree.ends[self.keys])
        seen = (self.keys[:, None] <= asked) & (asked < ends[:, None])
        self.slots = torch.from_numpy(slots)
        self.gaps = len(slots) < self.shape[0] * self.shape[1]
        self.bias = torch.zeros(seen.shape).masked_fill_(~torch.from_numpy(seen), float("-inf"))[:, None]

    def attend(self, q: Tensor, keys_and_values: Tensor) -> Tensor:
        """Of queries (queries, heads, head_dim), scaled, and keys and values (known, 2 x key/value heads, head_dim),
        what the queries gather, (queries, hidden)."""
        if self.gaps:
            q = q.new_zeros(self.shape[0] * self.shape[1], *q.shape[1:]).index_copy_(0, self.slots, q)
        queries = q.view(*self.shape, *q.shape[1:]).transpose(1, 2)
        keys, values = keys_and_values[self.index].transpose(1, 2).chunk(2, dim=1)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, self.bias, scale=1.0, enable_gqa=True)
        mixed = mixed.transpose(1, 2).flatten(2).flatten(0, 1)
        return mixed[self.slots] if self.gaps else mixed
