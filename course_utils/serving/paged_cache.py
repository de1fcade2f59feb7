"""Keys and values in pages: blocks of equal size, a free list, reference counts, and a cache of prefixes.

A request's tokens lie in blocks that need not be neighbours; its *table* names them in order, as an operating system's
page table does (vLLM's PagedAttention, arXiv 2309.06180). Nothing is reserved for tokens that may never come, so at
most one block per request is partly empty. Two requests that begin with the same tokens hold the same blocks.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.models.decoder import DecoderConfig


class ServingError(ValueError):
    """A request or a setting that the engine cannot serve; the message says what was given and how to mend it."""


class BlockPool:
    """Who holds which block. ``references[b]`` counts the requests that hold block ``b``.

    A block that nobody holds is free. If it is full and its prefix is known, it is also kept for whoever comes with the
    same prefix, until its place is needed: the one that was given back first goes first.
    """

    def __init__(self, blocks: int) -> None:
        self.references = [0] * blocks
        self.empty = list(range(blocks - 1, -1, -1))  # pop() takes block 0 first
        self.kept: OrderedDict[int, bytes] = OrderedDict()  # free, but its content may be asked for again
        self.block_of: dict[bytes, int] = {}  # digest of a prefix -> the block that ends it
        self.prefix_of: dict[int, bytes] = {}

    @property
    def free(self) -> int:
        """How many blocks ``take`` can still hand out."""
        return len(self.empty) + len(self.kept)

    def take(self) -> int:
        """A block for its first holder. Raises ServingError if all are held."""
        if self.empty:
            block = self.empty.pop()
        elif self.kept:
            block, prefix = self.kept.popitem(last=False)
            del self.block_of[prefix], self.prefix_of[block]
        else:
            raise ServingError(f"all {len(self.references)} blocks of the cache are held; release some, or make more.")
        self.references[block] = 1
        return block

    def share(self, block: int) -> None:
        """One holder more, of a block that is held, or kept for its prefix."""
        if self.references[block] == 0 and block not in self.kept:
            raise ServingError(f"block {block} is shared, but nobody holds it and nothing is known of it; take one.")
        self.kept.pop(block, None)
        self.references[block] += 1

    def release(self, block: int) -> None:
        """One holder less. Raises ServingError if there is none: a block given back twice would get two owners."""
        if self.references[block] == 0:
            raise ServingError(f"block {block} is released, but nobody holds it; release each block once per holder.")
        self.references[block] -= 1
        if self.references[block] == 0:
            if block in self.prefix_of:
                self.kept[block] = self.prefix_of[block]
            else:
                self.empty.append(block)

    def remember(self, block: int, prefix: bytes) -> None:
        """Block ``block`` is full and ends this prefix. The first block that says so is the one that is found."""
        if prefix not in self.block_of and block not in self.prefix_of:
            self.block_of[prefix], self.prefix_of[block] = block, prefix


def prefix_digest(before: bytes, tokens: Sequence[int]) -> bytes:
    """The name of a prefix: a digest of the digest of all earlier blocks and of this block's tokens.

    Keys and values of a token depend on *all* tokens before it, so a block may be shared only if these agree too.
    """
    return hashlib.sha256(before + b"".join(token.to_bytes(4, "little") for token in tokens)).digest()


class PagedMemory:
    """The numbers themselves: ``layers[i]`` is (2 x key/value heads, blocks, block_size, head_dim), keys first."""

    def __init__(
        self,
        config: DecoderConfig,
        blocks: int,
        block_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.block_size, self.heads = block_size, config.num_key_value_heads
        shape = (2 * self.heads, blocks, block_size, config.head_dim)
        self.layers = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.num_hidden_layers)]

    @property
    def bytes(self) -> int:
        """Bytes of all blocks in all layers."""
        return sum(layer.numel() * layer.element_size() for layer in self.layers)

    def write(self, layer: int, slots: Tensor, keys_and_values: Tensor) -> None:
        """Put keys and values (tokens, 2 x heads, head_dim) to their slots (tokens,): block * block_size + place."""
        put(self.layers[layer], slots, keys_and_values)

    def read(self, layer: int, tables: Tensor) -> tuple[Tensor, Tensor]:
        """What the blocks of the tables (rows, blocks) hold: keys and values (heads, rows, length, head_dim)."""
        found = take(self.layers[layer], tables)
        return found[: self.heads], found[self.heads :]


def put(pages: Tensor, slots: Tensor, new: Tensor) -> None:
    """Write what each token has (tokens, n, size) to its slot in pages (n, blocks, block_size, size)."""
    pages.flatten(1, 2).index_copy_(1, slots, new.transpose(0, 1))


def take(pages: Tensor, tables: Tensor) -> Tensor:
    """What the blocks of the tables (rows, blocks) hold, (n, rows, length, size): one copy of whole blocks."""
    found = pages.flatten(2).index_select(1, tables.flatten())
    return found.view(len(pages), len(tables), -1, pages.shape[3])
