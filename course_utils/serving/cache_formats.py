"""Smaller caches: keys and values in 8 or 4 bits, or of the last tokens only. A decoder takes each for ``Cache``."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.models.decoder import Cache, DecoderConfig
from course_utils.serving.paged_cache import PagedMemory, put, take


def quantize(x: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Round each vector (last axis) to ``2**bits`` equal steps between its least and its largest number.

    Returns codes (uint8; two to a byte for 4 bits), and step and least number of each vector in float16, (..., 1).
    """
    least = x.amin(-1, keepdim=True)
    step = ((x.amax(-1, keepdim=True) - least) / (2**bits - 1)).clamp(min=1e-6).half()
    least = least.half()
    codes = ((x - least) / step).round().clamp(0, 2**bits - 1).to(torch.uint8)
    if bits == 4:
        codes = codes[..., ::2] | codes[..., 1::2] << 4
    return codes, step, least


def dequantize(codes: Tensor, step: Tensor, least: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    """The numbers that ``quantize`` keeps, up to half a step."""
    if bits == 4:
        codes = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(-2)
    return codes.to(dtype) * step.to(dtype) + least.to(dtype)


class QuantizedCache(Cache):
    """Keys and values in ``bits`` (8 or 4), a step and a least number per vector; read back as float for each pass.

    This saves memory and not time: a kernel that reads the codes themselves would also fetch fewer bytes.
    """

    def __init__(self, config: DecoderConfig, batch_size: int, max_length: int, bits: int = 8) -> None:
        if bits not in (4, 8):
            raise ValueError(f"bits is {bits}; a cache is kept in 8 or in 4 bits.")
        super().__init__(config, batch_size, 0)
        self.bits, self.max_length = bits, max_length
        lead = (batch_size, config.num_key_value_heads, max_length)
        self.stored = [
            [
                torch.zeros(*lead, config.head_dim * bits // 8, dtype=torch.uint8),
                *torch.zeros(2, *lead, 1, dtype=torch.float16),
            ]
            for _ in range(2 * config.num_hidden_layers)
        ]

    @property
    def bytes(self) -> int:
        """Of codes, steps and least numbers."""
        return sum(part.numel() * part.element_size() for parts in self.stored for part in parts)

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Cache.update``; what comes back has been rounded."""
        end = self.length + keys.shape[2]
        if end > self.max_length:
            raise ValueError(f"the cache holds {self.max_length} tokens and {end} are needed; make a larger one.")
        found = []
        for which, new in enumerate((keys, values)):
            stored = self.stored[2 * layer + which]
            for whole, part in zip(stored, quantize(new, self.bits), strict=True):
                whole[:, :, self.length : end] = part
            codes, step, least = (part[:, :, :end] for part in stored)
            found.append(dequantize(codes, step, least, self.bits, keys.dtype))
        return found[0], found[1]


class QuantizedPages(PagedMemory):
    """The engine's pages in ``bits`` (8 or 4), with the rounding of ``QuantizedCache``."""

    def __init__(
        self,
        config: DecoderConfig,
        blocks: int,
        block_size: int,
        bits: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if bits not in (4, 8):
            raise ValueError(f"bits is {bits}; a cache is kept in 8 or in 4 bits.")
        super().__init__(config, 0, block_size)
        self.bits, self.dtype = bits, dtype
        lead = (2 * self.heads, blocks, block_size)
        self.stored = [
            [
                torch.zeros(*lead, config.head_dim * bits // 8, dtype=torch.uint8, device=device),
                *torch.zeros(2, *lead, 1, dtype=torch.float16, device=device),
            ]
            for _ in range(config.num_hidden_layers)
        ]

    @property
    def bytes(self) -> int:
        """Of codes, steps and least numbers."""
        return sum(part.numel() * part.element_size() for parts in self.stored for part in parts)

    def write(self, layer: int, slots: Tensor, keys_and_values: Tensor) -> None:
        """As ``PagedMemory.write``, rounded."""
        for pages, new in zip(self.stored[layer], quantize(keys_and_values, self.bits), strict=True):
            put(pages, slots, new)

    def read(self, layer: int, tables: Tensor) -> tuple[Tensor, Tensor]:
        """As ``PagedMemory.read``."""
        codes, step, least = (take(pages, tables) for pages in self.stored[layer])
        found = dequantize(codes, step, least, self.bits, self.dtype)
        return found[: self.heads], found[self.heads :]


class WindowCache(Cache):
    """The last ``window`` tokens only, in a ring: the newest is written over the oldest. Read one token at a time.

    Keys carry their position in themselves (they were turned by it), so their order in the ring does not matter.
    """

    def __init__(self, config: DecoderConfig, batch_size: int, window: int) -> None:
        super().__init__(config, batch_size, window)

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Cache.update``. Raises ValueError for more than one token at a time."""
        if keys.shape[2] != 1:
            raise ValueError(f"{keys.shape[2]} tokens at once; a window moves token by token. Give (batch, 1) ids.")
        place, filled = self.length % self.max_length, min(self.length + 1, self.max_length)
        self.keys[layer][:, :, place : place + 1] = keys
        self.values[layer][:, :, place : place + 1] = values
        return self.keys[layer][:, :, :filled], self.values[layer][:, :, :filled]


def allocated_bytes(cache: Cache) -> int:
    """Bytes of keys and values that a cache has allocated."""
    if isinstance(cache, QuantizedCache):
        return cache.bytes
    return sum(part.numel() * part.element_size() for part in [*cache.keys, *cache.values])


def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float = 2, window: int | None = None
) -> float:
    """Bytes of the keys and values of ``tokens`` tokens: 2 * layers * kv_heads * head_dim * tokens * bytes_per_number.

    window: at most so many tokens are kept. The number of query heads does not appear: they read, and keep nothing.
    """
    kept = tokens if window is None else min(tokens, window)
    return 2 * layers * kv_heads * head_dim * kept * bytes_per_number
