"""What training keeps in memory: weights, gradients, optimizer state and activations, by formula and measured.

The formulas are for the course's :class:`~course_utils.models.decoder.Decoder`, a Llama, with AdamW and fused attention
(no attention matrix is kept). All sizes are bytes; GB in the chapters means 1e9 bytes. ``tuning_gigabytes`` is
the budget of full tuning, LoRA and QLoRA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.models.counting import count_parameters, layer_shapes, lora_parameters
from course_utils.models.decoder import DecoderConfig
from course_utils.models.quantization import bits_per_parameter
from course_utils.training.distributed import local


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations


def state_bytes(parameters: int, *, precision: str = "mixed", ranks: int = 1, stage: int = 0) -> Memory:
    """Weights, gradients and AdamW's state on each of ``ranks`` devices (no activations).

    precision "float32": 4 + 4 + 8 bytes a parameter. "mixed": 2 + 2 + 12, because the optimizer holds a float32
    copy of the weights beside its two moments. stage 0 copies everything to every rank (DDP); stage 1 shards the
    optimizer, 2 the gradients too, 3 the weights too (FSDP with ``reshard_after_forward``). Source: ZeRO, arXiv
    1910.02054, section 3.1 and figure 1. Raises ValueError for an unknown precision or stage.
    """
    if precision not in ("float32", "mixed"):
        raise ValueError(f'precision is {precision!r}; expected "float32" or "mixed".')
    if stage not in (0, 1, 2, 3) or ranks < 1:
        raise ValueError(f"stage is {stage!r} on {ranks!r} ranks; expected a stage of 0 to 3 and at least one rank.")
    each = (4, 4, 8) if precision == "float32" else (2, 2, 12)
    weights, gradients, optimizer = (
        parameters * size / (ranks if stage >= from_stage else 1)
        for size, from_stage in zip(each, (3, 2, 1), strict=True)
    )
    return Memory(weights, gradients, optimizer, 0.0)


def layer_bytes(config: DecoderConfig, tokens: int, *, precision: str = "float32") -> int:
    """What one block keeps for its backward pass over ``tokens`` tokens (of all rows together).

    In numbers per token, with H hidden, K = key/value heads * head_dim, F intermediate, A heads: each of two norms
    keeps its input, the scaled input, its output (3 H) and one root mean square; attention keeps queries and output
    (2 H), keys and values (2 K) and A logarithms of sums; SwiGLU keeps gate, silu(gate), up and their product (4 F).
    Four bytes each in float32. Under bf16 autocast the inputs of matrix products and of attention take two bytes, the
    norms' inner numbers four; and each of q, k, v, gate and up gets a bf16 copy of its input for itself: 30 H + 4 K +
    8 F + 4 A + 8 bytes. Arithmetic of this kind for GPT: Korthikanti et al., arXiv 2205.05198, section 4.1.
    """
    h, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
    f, heads = config.intermediate_size, config.num_attention_heads
    if precision == "float32":
        return 4 * tokens * (8 * h + 2 * kv + 4 * f + heads + 2)
    return tokens * (30 * h + 4 * kv + 8 * f + 4 * heads + 8)


def activation_bytes(
    config: DecoderConfig, tokens: int, *, precision: str = "float32", checkpointing: bool = False
) -> int:
    """What a forward pass over ``tokens`` tokens keeps until the backward pass, the loss included.

    With ``checkpointing`` every block keeps only its input (4 H bytes a token: the residual stream is float32), and
    one block at a time is computed again (arXiv 1604.06174). Behind the blocks come the last norm and the
    logarithm of the softmax over the vocabulary, in float32. Under autocast the bf16 copies of the weights, which
    live until the backward pass, are counted too (without checkpointing).
    """
    if precision not in ("float32", "mixed"):
        raise ValueError(f'precision is {precision!r}; expected "float32" or "mixed".')
    h, mixed = config.hidden_size, precision == "mixed"
    block = layer_bytes(config, tokens, precision=precision)
    blocks = config.num_hidden_layers * block
    if checkpointing:
        blocks = config.num_hidden_layers * 4 * h * tokens + block
    end = tokens * ((10 if mixed else 12) * h + 4 + 4 * config.vocab_size + 16)  # 16: token ids and labels, int64
    copies = 2 * count_parameters(config, multiplied=True) if mixed and not checkpointing else 0
    return blocks + end + copies


def training_memory(
    config: DecoderConfig,
    tokens: int,
    *,
    precision: str = "mixed",
    ranks: int = 1,
    stage: int = 0,
    checkpointing: bool = False,
) -> Memory:
    """All four parts on one device; ``tokens`` are those of one micro-batch on that device.

    In "mixed" the 2-byte weights are counted as weights here, not as copies among the activations.
    """
    state = state_bytes(count_parameters(config), precision=precision, ranks=ranks, stage=stage)
    kept = activation_bytes(config, tokens, precision=precision, checkpointing=checkpointing)
    if precision == "mixed" and not checkpointing:
        kept -= 2 * count_parameters(config, multiplied=True)
    return Memory(state.weights, state.gradients, state.optimizer, float(kept))


def tuning_gigabytes(
    config: DecoderConfig, method: str, r: int = 16, tokens: int = 1024, bits: float | None = None
) -> dict[str, float]:
    """What tuning keeps in memory, in GB (10 ** 9 bytes), by part: weights, adapters, activations, working space.

    method: 'full', 'LoRA' (base in 16 bits) or 'QLoRA'. ``tokens``: rows times length of one batch. ``bits``: per
    quantized number, 4.127 if not given. A trained number costs 16 bytes: weight and gradient in 16 bits, a copy and
    Adam's two averages in 32 bits each. Activations with gradient checkpointing: 2 bytes per number of the stream that
    enters a layer, 34 for the layer that is being computed again (Korthikanti et al., arXiv 2205.05198, section 4, the
    attention matrix left out, as flash attention never stores it), and scores over the vocabulary and their gradient in
    32 bits. Working space of QLoRA: the largest matrix in 16 bits. Raises ValueError for another method.
    """
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(f"method = {method!r}; give 'full', 'LoRA' or 'QLoRA'.")
    bits = bits_per_parameter(double=True) if bits is None else bits
    shapes = [shape for shapes in layer_shapes(config).values() for shape in shapes]
    linear = config.num_hidden_layers * sum(out * into for out, into in shapes)  # what QLoRA quantizes
    rest = count_parameters(config) - linear  # embeddings, head and norms, which stay in 16 bits
    if method == "full":
        parts: dict[str, float] = {"weights": 16 * (linear + rest), "adapters": 0}
    else:
        stored = 2 if method == "LoRA" else bits / 8
        parts = {"weights": stored * linear + 2 * rest, "adapters": 16 * lora_parameters(config, r)}
    stream = 2 * config.num_hidden_layers + 34
    largest = max(out * into for out, into in shapes)
    parts |= {
        "activations": tokens * (config.hidden_size * stream + 8 * config.vocab_size),
        "working space": 2 * largest if method == "QLoRA" else 0,
    }
    return {name: size / 1e9 for name, size in parts.items()}


def checkpointed_bytes(layers: int, every: int, boundary: float, inside: float) -> float:
    """Peak bytes of activations if one input is kept per segment of ``every`` layers and a segment is computed again.

    boundary: bytes of one layer's input. inside: bytes that one layer keeps for its backward pass. Chen et al., arXiv
    1604.06174, section 4: with boundary = inside the best ``every`` is near the root of ``layers``.
    """
    return -(-layers // every) * boundary + min(every, layers) * inside


def saved_bytes(forward: Callable[[], Any], model: nn.Module) -> int:
    """Measured: the bytes that autograd keeps for the backward pass of what ``forward()`` returns.

    Every tensor that is saved passes a hook; each piece of memory counts once, whole, and the model's own
    parameters and buffers do not count.
    """
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used a second time while we count

    def pack(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in own:
            sizes[memory.data_ptr()] = memory.nbytes()
            alive.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(sizes.values())


def held_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Measured: bytes of weights, gradients and optimizer state on this rank (of a sharded tensor, the part here)."""

    def size(tensors: Any) -> int:
        return sum(local(t.detach()).nbytes for t in tensors)

    parameters = list(model.parameters())
    state = [value for p in parameters for value in optimizer.state.get(p, {}).values() if isinstance(value, Tensor)]
    gradients = [p.grad for p in parameters if p.grad is not None]
    return {"weights": size(parameters), "gradients": size(gradients), "optimizer": size(state)}
