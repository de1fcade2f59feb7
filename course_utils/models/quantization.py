"""Weights in 4 or 8 bits: absmax rounding, codebooks, NF4, double quantization, and layers that compute through them.

QLoRA (Dettmers et al., arXiv 2305.14314) stores each number as the place of the nearest entry of a small codebook, in
blocks of 64 with one scale each, and quantizes the scales too. The matrices are frozen; gradients pass through them to
adapters (``lora.py``). Codes, scales and packing are those of bitsandbytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.lora import ATTENTION, MLP
from course_utils.models.precision import SteadyBuffers
from course_utils.models.surgery import linear_layers, replace

FORMATS = {"int8": 8, "int4": 4, "quantile4": 4, "nf4": 4}  # name: bits per code


def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    """Round each block to whole steps, from -n to n with n = 2 ** (bits - 1) - 1 (LLM.int8(), arXiv 2208.07339, 2.1).

    weight: any shape; its numbers, row after row, are cut into blocks of ``block_size``.
    Returns codes (blocks, block_size) int8 and steps (blocks,), the size of one step: absmax / n. A block of zeros
    has the step 0. Raises ValueError if the blocks do not come out even, or for bits outside of 2 to 8.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits = {bits}; give 2 to 8, as a code is stored in one int8.")
    if weight.numel() % block_size:
        raise ValueError(
            f"{weight.numel()} numbers do not fill blocks of {block_size}; choose a block size that divides them."
        )
    blocks = weight.detach().reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2 ** (bits - 1) - 1)
    codes = (blocks / _not_zero(steps)[:, None]).round().to(torch.int8)
    return codes, steps


def quantile_codebook(bits: int = 4) -> Tensor:
    """The middles of 2 ** bits equally likely pieces of the normal distribution, divided by the largest; ascending.

    Every code is used equally often for normal numbers, so no bit is wasted; but no entry is exactly 0.
    """
    count = 2**bits
    values = torch.tensor([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)], dtype=torch.float64)
    return (values / values.max()).float()


@cache
def _nf4() -> Tensor:
    p = 1 - (1 / 32 + 1 / 30) / 2
    positive = [NormalDist().inv_cdf(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    negative = [NormalDist().inv_cdf(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    return torch.tensor(sorted(negative + [0.0] + positive), dtype=torch.float64)


def nf4_codebook() -> Tensor:
    """The 16 values of 4-bit NormalFloat, ascending from -1 to 1, float32 (QLoRA, section 3 and appendix E).

    Quantiles of the standard normal distribution from 1 - p to p in equal steps of probability: 8 steps from the
    middle upwards and 7 downwards, so that 0 is an entry; all divided by the largest. p = 1 - (1/32 + 1/30) / 2 keeps
    the outermost values finite: it is the mean of the middles of the last of 16 and of the last of 15 pieces.
    """
    return (_nf4() / _nf4().max()).float()


def int_codebook(bits: int) -> Tensor:
    """Even steps from -1 to 1 with an exact 0: 2 ** bits - 1 values, ascending."""
    most = 2 ** (bits - 1) - 1
    return torch.arange(-most, most + 1) / most


def dynamic_codebook() -> Tensor:
    """256 values from -1 to 1 for scales: seven decades, the upper ones more finely divided; 0 and 1 are entries.

    Decade 10 ** -k to 10 ** -(k + 1) gets 2 ** (6 - k) middles of equal pieces, k = 0 to 6, of each sign (dynamic
    tree quantization: Dettmers, arXiv 1511.04561, and Dettmers et al., arXiv 2110.02861).
    """
    values = [0.0, 1.0]
    for k in range(7):
        edges = torch.linspace(0.1, 1, 2 ** (6 - k) + 1)
        middles = (10.0**-k * (edges[:-1] + edges[1:]) / 2).tolist()
        values += middles + [-v for v in middles]
    return torch.tensor(sorted(values))


def codebook(name: str) -> Tensor:
    """The codebook of a format of ``FORMATS``. Raises ValueError for another name."""
    made = {"nf4": nf4_codebook, "quantile4": quantile_codebook, "int4": lambda: int_codebook(4)}
    made["int8"] = lambda: int_codebook(8)
    if name not in made:
        raise ValueError(f"there is no format {name!r}; the formats are {', '.join(made)}.")
    return made[name]()


def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int = 64) -> tuple[Tensor, Tensor]:
    """Divide each block by its largest magnitude, and keep the place of the nearest entry of the codebook.

    weight: any shape, cut row after row; a last block that is not full is filled with zeros.
    codebook: (entries,) ascending from -1 to 1, at most 256. Returns codes (blocks, block_size) uint8 and
    absmax (blocks,) float32. A block of zeros has the absmax 0.
    """
    flat = weight.detach().reshape(-1).float()
    blocks = F.pad(flat, (0, -flat.numel() % block_size)).view(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks * (1 / _not_zero(absmax))[:, None]  # as bitsandbytes computes it
    middles = (codebook[1:] + codebook[:-1]) / 2  # between two middles one entry is nearest
    return torch.bucketize(scaled, middles.to(scaled)).to(torch.uint8), absmax


def dequantize_blocks(codes: Tensor, absmax: Tensor, codebook: Tensor, shape: Sequence[int]) -> Tensor:
    """Entries of the codebook times the scales of their blocks, in the given shape, float32."""
    numbers = (codebook.float()[codes.int()] * absmax[:, None]).reshape(-1)
    return numbers[: torch.Size(shape).numel()].view(*shape)


def pack(codes: Tensor) -> Tensor:
    """Two codes of 4 bits in a byte, the first in the upper half: (n,) or (blocks, size) to (n / 2,) uint8."""
    flat = codes.reshape(-1)
    if flat.numel() % 2:
        raise ValueError(f"{flat.numel()} codes do not fill whole bytes; add one of value 0.")
    return (flat[::2] << 4) | flat[1::2]


def unpack(packed: Tensor) -> Tensor:
    """The codes that ``pack`` put into bytes, (2 n,) uint8."""
    return torch.stack((packed >> 4, packed & 15), dim=-1).reshape(-1)


def quantize_scales(absmax: Tensor, block_size: int = 256) -> tuple[Tensor, Tensor, Tensor]:
    """Double quantization: the scales, less their mean, in 8 bits with one second scale per ``block_size``.

    absmax: (blocks,), all positive, so the mean is taken off first (QLoRA, section 3). Returns codes (n, block_size)
    uint8, the second scales (n,) and the mean (). The codebook is ``dynamic_codebook``, as in bitsandbytes; the paper
    writes 8-bit floats.
    """
    mean = absmax.mean()
    codes, second = quantize_blocks(absmax - mean, dynamic_codebook().to(absmax.device), block_size)
    return codes, second, mean


def dequantize_scales(codes: Tensor, second: Tensor, mean: Tensor, count: int) -> Tensor:
    """The first ``count`` scales again, (count,) float32."""
    return dequantize_blocks(codes, second, dynamic_codebook().to(second.device), (count,)) + mean


@dataclass(frozen=True)
class QuantConfig:
    """``format``: one of ``FORMATS``. ``block_size``: numbers that share a scale. ``double``: scales in 8 bits,
    ``scale_block`` of them with one second scale. Raises ValueError for an unknown format or an odd block size."""

    format: str = "nf4"
    block_size: int = 64
    double: bool = True
    scale_block: int = 256

    def __post_init__(self) -> None:
        codebook(self.format)
        if self.block_size < 2 or self.block_size % 2 or self.scale_block < 1:
            raise ValueError(
                f"QuantConfig(block_size={self.block_size}, scale_block={self.scale_block}): a block holds an even "
                "number of weights, at least 2, and a block of scales at least one; 64 and 256 are usual."
            )


class _Through(torch.autograd.Function):
    """x W^T with a W that exists only while it is used: nothing of it is kept for the way back."""

    @staticmethod
    def forward(ctx, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.dequantize(x.dtype))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.layer.dequantize(grad.dtype), None


class QuantizedLinear(SteadyBuffers):
    """A frozen linear layer whose matrix is stored as codes. It has no parameters but its bias; ``add_lora`` puts an
    adapter beside it, and gradients reach what comes before it.

    ``codes``, (n,) uint8, packed if they have 4 bits; ``absmax`` the scales, or their codes. Neither changes when the
    model is cast to another dtype.
    """

    codes: Tensor
    absmax: Tensor
    second: Tensor | None  # this and the mean: only with double quantization
    mean: Tensor | None
    codebook: Tensor

    def __init__(self, linear: nn.Linear, config: QuantConfig | None = None) -> None:
        super().__init__()
        self.config = config or QuantConfig()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        matrix = linear.weight.detach()
        self.dtype = matrix.dtype
        book = codebook(self.config.format).to(matrix.device)
        codes, absmax = quantize_blocks(matrix, book, self.config.block_size)
        second = mean = None
        self.blocks = len(absmax)
        if self.config.double:
            absmax, second, mean = quantize_scales(absmax, self.config.scale_block)
            absmax = absmax.reshape(-1)[: self.blocks].clone()  # what only fills up the last block is not stored
        self.register_buffer("codes", pack(codes) if FORMATS[self.config.format] == 4 else codes.reshape(-1))
        self.register_buffer("absmax", absmax)
        self.register_buffer("second", second)
        self.register_buffer("mean", mean)
        self.register_buffer("codebook", book, persistent=False)  # the same for all layers of a format
        self.bias = linear.bias

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return super()._apply(fn, recurse)

    @property
    def weight(self) -> Tensor:
        """The matrix (out, in) in the dtype of the model, made anew at each call; T5 asks for its dtype."""
        return self.dequantize(self.dtype)

    @torch.no_grad()
    def scales(self) -> Tensor:
        """(blocks,) float32."""
        if self.second is None or self.mean is None:
            return self.absmax
        codes = F.pad(self.absmax, (0, -self.blocks % self.config.scale_block)).view(-1, self.config.scale_block)
        return dequantize_scales(codes, self.second, self.mean, self.blocks)

    @torch.no_grad()
    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The matrix (out, in) that the layer computes with."""
        codes = unpack(self.codes) if FORMATS[self.config.format] == 4 else self.codes
        codes = codes.view(self.blocks, self.config.block_size)
        shape = (self.out_features, self.in_features)
        return dequantize_blocks(codes, self.scales(), self.codebook, shape).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        y = _Through.apply(x, self)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def nbytes(self) -> int:
        """Bytes of codes, scales, second scales and mean; the codebook, shared by all layers, is left out."""
        stored = (self.codes, self.absmax, self.second, self.mean)
        return sum(part.numel() * part.element_size() for part in stored if part is not None)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, {self.config}"


def quantize_model(
    model: nn.Module, config: QuantConfig | None = None, targets: Sequence[str] = ATTENTION + MLP
) -> nn.Module:
    """Replace every linear layer whose name ends in one of ``targets``, in place, and freeze all the rest.

    Embeddings, norms and the head stay as they are, as in QLoRA. Raises ValueError if no linear layer has such a name,
    or if one is no plain ``nn.Linear``: quantize first, and put adapters on afterwards.
    """
    found = linear_layers(model, targets)
    for path, layer in found:
        if not isinstance(layer, nn.Linear):
            raise ValueError(
                f"{path} is of the type {type(layer).__name__}, and quantize_model takes plain nn.Linear layers. "
                "Quantize the plain model first; adapters come on top of that."
            )
    model.requires_grad_(False)
    for path, layer in found:
        replace(model, path, QuantizedLinear(cast(nn.Linear, layer), config).train(layer.training))
    return model


def quantized_layers(model: nn.Module) -> dict[str, QuantizedLinear]:
    """The quantized layers by path."""
    return {path: part for path, part in model.named_modules() if isinstance(part, QuantizedLinear)}


def dequantize_model(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Put plain linear layers with the quantized values in place of all ``QuantizedLinear``, in place.

    The model computes the same as before, from matrices that an adapter can be merged into.
    """
    for path, layer in quantized_layers(model).items():
        with torch.device("meta"):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        plain.weight = nn.Parameter(layer.dequantize(dtype), requires_grad=False)
        plain.bias = layer.bias
        replace(model, path, plain.train(layer.training))
    return model


def bits_per_parameter(
    bits: float = 4, block_size: int = 64, scale_bits: float = 32, double: bool = False, scale_block: int = 256
) -> float:
    """Bits that a number costs with its share of the scales: bits + scale_bits / block_size.

    double: a scale costs 8 bits, and ``scale_block`` of them share one of ``scale_bits``: for the usual sizes
    4 + 8/64 + 32/(64 * 256) = 4.127 in place of 4.5 (QLoRA, section 3).
    """
    if not double:
        return bits + scale_bits / block_size
    return bits + 8 / block_size + scale_bits / (block_size * scale_block)


def _not_zero(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, torch.ones_like(scale), scale)
