"""Structured pruning: a smaller decoder cut out of a trained one, layer by layer and head by head.

What is cut away is chosen by how much it matters: a layer by how much it changes what flows through it (Men et al.,
ShortGPT, arXiv 2403.03853), a head by how fast the loss would change if its output were turned down (Michel et al.,
arXiv 1905.10650, section 4.1). The smaller model is then trained a little, "healed", by distillation from the whole one
(Muralidharan et al., Minitron, arXiv 2407.14679).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from course_utils.models.decoder import Attention, Decoder, DecoderConfig

Objective = Callable[[nn.Module, Any], tuple[Tensor, dict[str, Any]]]


@dataclass(frozen=True)
class PrunedConfig(DecoderConfig):
    """The configuration of a decoder whose heads kept their size when some of them were removed.

    Raises ValueError if the sizes do not fit together.
    """

    head_size: int = 32

    def __post_init__(self) -> None:
        if self.head_size < 2 or self.head_size % 2:
            raise ValueError(f"head_size is {self.head_size}; rotary positions turn pairs, so it must be even.")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not divisible by num_key_value_heads "
                f"{self.num_key_value_heads}; each key/value head serves a whole group of query heads."
            )

    @property
    def head_dim(self) -> int:
        """Numbers per attention head; no longer hidden_size / num_attention_heads."""
        return self.head_size


def keep_layers(model: Decoder, layers: Sequence[int]) -> Decoder:
    """A decoder of copies of these layers of ``model``, in this order, with its embedding, last norm and head.

    Raises ValueError without layers, or for a layer that the model does not have.
    """
    count = model.config.num_hidden_layers
    if not layers or not all(0 <= layer < count for layer in layers):
        raise ValueError(f"layers is {list(layers)}; name one or more of 0 to {count - 1}.")
    fields = asdict(model.config) | {"num_hidden_layers": len(layers)}
    smaller = Decoder(type(model.config)(**fields), seed=None)
    weights = model.state_dict()
    kept = {name: weights[_renamed(name, layers)] for name in smaller.state_dict()}
    smaller.load_state_dict(kept)
    return smaller.to(model.lm_head.weight).train(model.training)


def keep_groups(model: Decoder, groups: Sequence[Sequence[int]]) -> Decoder:
    """A decoder that keeps, in each layer, these key/value heads and the query heads that they serve.

    ``groups[layer]`` names key/value heads; every layer keeps equally many, because a configuration holds one number
    for all layers. A head is a block of rows of q_proj, k_proj and v_proj, and of *columns* of o_proj.
    Raises ValueError if the layers do not keep equally many, at least one, each once.
    """
    config = model.config
    sizes = {len(set(kept)) for kept in groups}
    known = all(0 <= g < config.num_key_value_heads for kept in groups for g in kept)
    alike = len(groups) == config.num_hidden_layers and len(sizes) == 1 and len(groups[0]) in sizes
    if not (alike and known and len(groups[0])):
        raise ValueError(
            f"groups is {[list(kept) for kept in groups]}; for each of the {config.num_hidden_layers} layers name "
            f"equally many different key/value heads of 0 to {config.num_key_value_heads - 1}, and at least one."
        )
    per_group = config.num_attention_heads // config.num_key_value_heads
    fields = asdict(config) | {
        "num_key_value_heads": len(groups[0]),
        "num_attention_heads": len(groups[0]) * per_group,
        "head_size": config.head_dim,
    }
    smaller = Decoder(PrunedConfig(**fields), seed=None)
    weights = dict(model.state_dict())
    for layer, kept in enumerate(groups):
        keys = head_rows(sorted(kept), config.head_dim)
        queries = head_rows(sorted(kept), per_group * config.head_dim)
        for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            path = f"model.layers.{layer}.self_attn.{name}.weight"
            weights[path] = weights[path][rows]
        path = f"model.layers.{layer}.self_attn.o_proj.weight"
        weights[path] = weights[path][:, queries]
    smaller.load_state_dict(weights)
    return smaller.to(model.lm_head.weight).train(model.training)


def head_rows(heads: Iterable[int], size: int) -> Tensor:
    """The rows of these heads of ``size`` rows each, in order: head h has h * size to (h + 1) * size - 1."""
    return torch.cat([torch.arange(head * size, (head + 1) * size) for head in heads])


@torch.no_grad()
def block_influence(model: Decoder, batches: Iterable[dict[str, Tensor]]) -> list[float]:
    """For each layer 1 minus the mean cosine between what flows into it and what flows out; 0: it changes nothing.

    Counted over the tokens of ``batches`` (dicts with input_ids and, where there is padding, attention_mask).
    """
    sums = torch.zeros(model.config.num_hidden_layers)
    count = 0
    current = torch.ones(0)

    def listen(layer: int) -> Callable[..., None]:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            apart = 1 - torch.cosine_similarity(inputs[0].float(), output.float(), dim=-1)
            sums[layer] += float((apart * current).sum())

        return note

    hooks = [block.register_forward_hook(listen(layer)) for layer, block in enumerate(model.model.layers)]
    try:
        for batch in batches:
            current = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).float()
            count += int(current.sum())
            model(batch["input_ids"])
    finally:
        for hook in hooks:
            hook.remove()
    return (sums / max(count, 1)).tolist()


def head_importance(model: Decoder, batches: Iterable[dict[str, Tensor]], objective: Objective) -> Tensor:
    """How much each query head matters: the mean of abs(d loss / d gate), for a gate of 1 on its output.

    Returns (layers, heads). ``objective(model, batch) -> (loss, metrics)`` as for ``train``. Each batch gives one
    gradient, and absolute values are averaged over the batches, so small batches see more. The weights and their
    gradients are left as they are.
    """
    config = model.config
    gates = torch.ones(config.num_hidden_layers, config.num_attention_heads, requires_grad=True)

    def turn(layer: int) -> Callable[..., tuple[Tensor]]:
        def gated(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            return (inputs[0] * gates[layer].repeat_interleave(config.head_dim).to(inputs[0]),)

        return gated

    parts = [cast(Attention, block.self_attn) for block in model.model.layers]
    hooks = [part.o_proj.register_forward_pre_hook(turn(layer)) for layer, part in enumerate(parts)]
    total, count = torch.zeros_like(gates), 0
    try:
        for batch in batches:
            (slope,) = torch.autograd.grad(objective(model, batch)[0], gates)
            total, count = total + slope.abs(), count + 1
    finally:
        for hook in hooks:
            hook.remove()
    return (total / max(count, 1)).detach()


def _renamed(name: str, layers: Sequence[int]) -> str:
    """The name that a parameter of the smaller model has in the larger one."""
    before, dot, rest = name.partition("model.layers.")
    if not dot or before:
        return name
    number, _, leaf = rest.partition(".")
    return f"model.layers.{layers[int(number)]}.{leaf}"
