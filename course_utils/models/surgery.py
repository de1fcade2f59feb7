"""Exchange layers of a finished model: find linear layers by name, put another in the place of one, untie a matrix.

LoRA, bottleneck adapters and quantization all do this, to our decoder and to any model of transformers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace as changed
from typing import Any, cast

from torch import nn

from course_utils.models.decoder import DecoderConfig

# What GPT-2 calls the layers that a Llama calls so; its queries, keys and values are one matrix.
OF_GPT2 = dict.fromkeys(("q_proj", "k_proj", "v_proj"), "attn.c_attn") | {"o_proj": "attn.c_proj"}
OF_GPT2 |= {"gate_proj": "mlp.c_fc", "up_proj": "mlp.c_fc", "down_proj": "mlp.c_proj"}


def linear_layers(model: nn.Module, targets: Sequence[str]) -> list[tuple[str, nn.Module]]:
    """Path and layer of every linear layer whose path is, or ends in, one of ``targets``, in the model's order.

    Linear is what has ``in_features`` (``nn.Linear``, a quantized layer, one with LoRA beside it), and the ``Conv1D``
    of transformers' GPT-2; what lies inside of a linear layer is a part of it, and is not found. Where no layer has a
    Llama's names, those of GPT-2 are tried: q_proj finds c_attn.
    Raises ValueError, naming the linear layers that there are, if no layer has such a name, or if a target is the name
    of other layers only, such as an embedding.
    """
    linear = dict(_outermost_linear(model))
    if not any(_is_named(path, target) for path, _ in model.named_modules() for target in targets):
        theirs = list(dict.fromkeys(OF_GPT2.get(target, target) for target in targets))
        if any(_is_named(path, target) for path in linear for target in theirs):
            targets = theirs
    leaves = ", ".join(sorted({path.rpartition(".")[2] for path in linear})) or "none"
    for target in targets:
        named = [(path, part) for path, part in model.named_modules() if _is_named(path, target)]
        if named and not any(path in linear for path, _ in named):
            path, part = named[0]
            raise ValueError(
                f"{path} is no linear layer but of the type {type(part).__name__}; this model's linear layers are "
                f"{leaves}."
            )
    found = [(path, layer) for path, layer in linear.items() if any(_is_named(path, target) for target in targets)]
    if not found:
        raise ValueError(f"no layer is called {' or '.join(targets)}; this model's linear layers are {leaves}.")
    return found


def replace(model: nn.Module, path: str, layer: nn.Module) -> None:
    """Put ``layer`` in the place of the part at ``path``, in place. Raises AttributeError if there is no such part."""
    model.get_submodule(path)
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, layer)


def with_linear(model: nn.Module) -> nn.Module:
    """Put an ``nn.Linear`` of the same numbers in the place of each ``Conv1D`` of a GPT-2, in place.

    What is done to linear layers (adapters, quantization, cutting) can then be done to it. ``with_conv1d`` goes back.
    """
    for path, part in list(model.named_modules()):
        if type(part).__name__ == "Conv1D":
            weight: Any = part.weight
            size_in, size_out = weight.shape
            linear = nn.Linear(size_in, size_out, device="meta")
            linear.weight = nn.Parameter(weight.detach().t().contiguous(), requires_grad=weight.requires_grad)
            linear.bias = cast(nn.Parameter, part.bias)
            replace(model, path, linear.train(part.training))
    return model


def with_conv1d(model: nn.Module) -> nn.Module:
    """A GPT-2 as transformers lays it out, from one that ``with_linear`` has changed: a copy. Others come back as they
    are."""
    from transformers.pytorch_utils import Conv1D

    kind: Any = getattr(model, "config", None)
    changed_layers = [
        path
        for path, part in model.named_modules()
        if type(part) is nn.Linear and path.rpartition(".")[2] in ("c_attn", "c_proj", "c_fc", "q_attn")
    ]
    if getattr(kind, "model_type", None) != "gpt2" or not changed_layers:
        return model
    model = copy.deepcopy(model)
    for path in changed_layers:
        linear: Any = model.get_submodule(path)
        layer = Conv1D(linear.out_features, linear.in_features).to(linear.weight.device, linear.weight.dtype)
        layer.weight = nn.Parameter(linear.weight.detach().t().contiguous(), requires_grad=linear.weight.requires_grad)
        layer.bias = linear.bias
        replace(model, path, layer.train(linear.training))
    return model


def untie(model: nn.Module, layer: nn.Module) -> None:
    """Give ``layer`` a copy of its matrix if another part has the same one (a head that is tied to the embedding).

    The model's configuration then says that they are two, and a folder that is written from it holds both.
    Raises ValueError for an encoder-decoder: transformers would tie the head of a T5 again when it is loaded.
    """
    weight = layer.get_parameter("weight")
    if not any(part is not layer and part._parameters.get("weight") is weight for part in model.modules()):
        return
    configs: list[tuple[Any, Any]] = [(part, part.config) for part in model.modules() if hasattr(part, "config")]
    if any(getattr(config, "is_encoder_decoder", False) for _, config in configs):
        raise ValueError(
            "the head of this encoder-decoder is tied to its embedding, and its folder could not say that they are two "
            "after a change to one. Leave the head out of the targets."
        )
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    for part, config in configs:
        if isinstance(config, DecoderConfig):  # frozen
            part.config = changed(config, tie_word_embeddings=False)
        else:
            config.tie_word_embeddings = False


def _outermost_linear(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    inside = None
    for path, part in model.named_modules():
        if inside is not None and path.startswith(inside):
            continue
        if hasattr(part, "in_features") or type(part).__name__ == "Conv1D":
            inside = path + "."
            yield path, part


def _is_named(path: str, target: str) -> bool:
    return path == target or path.endswith("." + target)
