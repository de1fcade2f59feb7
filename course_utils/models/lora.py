"""LoRA: a trained matrix of low rank beside each frozen one (Hu et al., arXiv 2106.09685).

    y = W x + (alpha / r) B A x        A (r, in), B (out, r), B = 0 at the start

``add_lora`` puts such a pair beside every linear layer of the chosen names, in our decoder or in any transformers
model, and freezes all the rest. Several adapters can lie on one base; one of them is in use. Names, initial
distribution and files are those of peft, so adapters go both ways.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoRAConfig:
    """``r``: the rank. ``alpha``: the update is scaled by alpha / r. ``targets``: the last part of the names of the
    layers that get an adapter. ``dropout``: of the adapter's input, in training. Raises ValueError out of range."""

    r: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ATTENTION + MLP
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ValueError(f"LoRAConfig(r={self.r}): the rank is at least 1; to switch an adapter off, use_adapter.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LoRAConfig(dropout={self.dropout}): give a share from 0 up to, not including, 1.")
        if not self.targets:
            raise ValueError("LoRAConfig(targets=()): name the layers to adapt, such as ('q_proj', 'v_proj').")


class LoRALinear(nn.Module):
    """A frozen linear layer with adapters beside it, of which ``active`` (or none) is in use.

    ``base`` is an ``nn.Linear`` (or anything with ``in_features`` and ``out_features``, such as a 4-bit layer), or the
    ``Conv1D`` of transformers' GPT-2, which stores its matrix the other way round.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.lora_A, self.lora_B = nn.ParameterDict(), nn.ParameterDict()
        self.configs: dict[str, LoRAConfig] = {}
        self.active: str | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """(numbers that go in, numbers that come out)."""
        if hasattr(self.base, "in_features"):
            return self.base.in_features, self.base.out_features
        return tuple(self.base.weight.shape)  # Conv1D: (in, out)

    def add(self, name: str, config: LoRAConfig, generator: torch.Generator) -> None:
        """A new adapter: A uniform in +-1 / sqrt(in), as peft draws it; B zero, so that nothing changes yet."""
        size_in, size_out = self.sizes
        weight = self.base.weight
        dtype = weight.dtype if weight.is_floating_point() else torch.float32  # quantized: its matrices stay in float
        bound = 1 / math.sqrt(size_in)  # kaiming_uniform with a = sqrt(5)
        a = torch.empty(config.r, size_in).uniform_(-bound, bound, generator=generator)
        self.lora_A[name] = nn.Parameter(a.to(weight.device, dtype))
        self.lora_B[name] = nn.Parameter(torch.zeros(size_out, config.r, device=weight.device, dtype=dtype))
        self.configs[name] = config
        self.active = name

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if self.active is None:
            return y
        config = self.configs[self.active]
        a, b = self.lora_A[self.active], self.lora_B[self.active]
        x = F.dropout(x, config.dropout, self.training) if config.dropout else x
        return y + (x.to(a.dtype) @ a.t() @ b.t()).to(y.dtype) * (config.alpha / config.r)

    def update(self, name: str | None = None) -> Tensor:
        """The matrix (out, in) that the adapter adds: (alpha / r) B A."""
        name = name or self.active
        config = self.configs[name]
        return self.lora_B[name] @ self.lora_A[name] * (config.alpha / config.r)


def add_lora(
    model: nn.Module, config: LoRAConfig | None = None, name: str = "default", seed: int | torch.Generator = 0
) -> nn.Module:
    """Put an adapter called ``name`` beside every layer that ``config`` targets, in place, and put it in use.

    Everything but the new matrices is frozen. At first the model computes what it computed before.
    Raises ValueError if no layer has such a name, or if the model has an adapter of that name.
    """
    config = config or LoRAConfig()
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    found = [path for path, _ in model.named_modules() if _is_target(path, config.targets)]
    if not found:
        leaves = sorted(
            {path.rpartition(".")[2] for path, part in model.named_modules() if isinstance(part, nn.Linear)}
        )
        raise ValueError(
            f"no layer is called {' or '.join(config.targets)}; this model's linear layers are {', '.join(leaves)}."
        )
    if name in adapters(model):
        raise ValueError(
            f"the model has an adapter {name!r} already; choose another name, or use_adapter(model, {name!r})."
        )
    model.requires_grad_(False)
    for path in found:
        layer = model.get_submodule(path)
        if not isinstance(layer, LoRALinear):
            layer = LoRALinear(layer).train(layer.training)
            setattr(_parent(model, path), path.rpartition(".")[2], layer)
        layer.add(name, config, generator)
    use_adapter(model, name)
    return model


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """Path and layer of every layer that has adapters."""
    return ((path, part) for path, part in model.named_modules() if isinstance(part, LoRALinear))


def adapters(model: nn.Module) -> list[str]:
    """The names of the model's adapters."""
    return list(dict.fromkeys(name for _, layer in lora_layers(model) for name in layer.configs))


def use_adapter(model: nn.Module, name: str | None) -> nn.Module:
    """Put one adapter in use, and make it the one that is trained; None leaves the bare base.

    Raises ValueError, naming those that there are, for an unknown name.
    """
    if name is not None and name not in adapters(model):
        raise ValueError(f"there is no adapter {name!r}; this model has {', '.join(adapters(model)) or 'none'}.")
    for _, layer in lora_layers(model):
        layer.active = name if name in layer.configs else None
        for other, parameter in (*layer.lora_A.items(), *layer.lora_B.items()):
            parameter.requires_grad_(other == name)
    return model


@torch.no_grad()
def merge_lora(model: nn.Module) -> nn.Module:
    """Add the adapter in use to the base's matrices, in place, and take all adapters off: a plain model, as quick as
    before. Raises TypeError for a quantized base, whose matrices cannot take a small change (chapter 10)."""
    for path, layer in list(lora_layers(model)):
        if layer.active is not None:
            weight = layer.base.weight
            if not weight.is_floating_point():
                raise TypeError(
                    f"{path} is quantized ({weight.dtype}); an adapter is merged into float matrices. Load the base in "
                    "16 or 32 bits, put the adapter on, and merge there."
                )
            update = layer.update().to(weight.dtype)
            weight += update if hasattr(layer.base, "in_features") else update.t()
        setattr(_parent(model, path), path.rpartition(".")[2], layer.base)
    return model


def lora_weights(model: nn.Module, name: str = "default") -> dict[str, Tensor]:
    """The matrices of one adapter, under the names that peft gives them."""
    found = {}
    for path, layer in lora_layers(model):
        if name in layer.configs:
            found[f"base_model.model.{path}.lora_A.weight"] = layer.lora_A[name].detach()
            found[f"base_model.model.{path}.lora_B.weight"] = layer.lora_B[name].detach()
    if not found:
        raise ValueError(f"there is no adapter {name!r}; this model has {', '.join(adapters(model)) or 'none'}.")
    return found


def save_lora(model: nn.Module, folder: str | Path, name: str = "default", base: str | None = None) -> Path:
    """Write one adapter as peft writes it: ``adapter_config.json`` and ``adapter_model.safetensors``.

    ``base``: the name or folder of the model that it belongs to, for the reader. Both files are written beside their
    places and then renamed.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    weights = {key: value.cpu().contiguous() for key, value in lora_weights(model, name).items()}
    config = next(layer.configs[name] for _, layer in lora_layers(model) if name in layer.configs)
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.r,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": sorted(config.targets),
        "bias": "none",
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    new = {file: folder / f".{file}.new" for file in ("adapter_config.json", "adapter_model.safetensors")}
    try:
        new["adapter_config.json"].write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        save_file(weights, new["adapter_model.safetensors"], metadata={"format": "pt"})
        for file, path in new.items():
            path.replace(folder / file)
    finally:
        for path in new.values():
            path.unlink(missing_ok=True)
    return folder


def load_lora(model: nn.Module, folder: str | Path, name: str = "default") -> nn.Module:
    """Put an adapter that ``save_lora`` or peft wrote onto ``model``, in place, under ``name``, and put it in use.

    Raises FileNotFoundError if a file is missing, ValueError if the adapter is of another kind or does not fit.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} has no {file}; an adapter folder is what save_lora (or peft) writes.")
    described = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    unusual = [key for key in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern") if described.get(key)]
    if described.get("peft_type") != "LORA" or described.get("bias", "none") != "none" or unusual:
        raise ValueError(
            f"{folder} holds a {described.get('peft_type')} adapter with {', '.join(unusual) or 'trained biases'}; "
            "this loader knows plain LoRA. Load it with peft."
        )
    targets = described["target_modules"]
    targets = (targets,) if isinstance(targets, str) else tuple(targets)
    config = LoRAConfig(described["r"], described["lora_alpha"], targets, described.get("lora_dropout", 0.0))
    weights = load_file(folder / "adapter_model.safetensors")
    add_lora(model, config, name)
    wanted = lora_weights(model, name)
    for key in {*wanted, *weights}:
        shapes = [tuple(side[key].shape) if key in side else "missing" for side in (weights, wanted)]
        if shapes[0] != shapes[1]:
            remove_adapter(model, name)
            raise ValueError(
                f"the adapter in {folder} does not fit this model: {key} is {shapes[0]} there and {shapes[1]} here. It "
                f"was made for {described.get('base_model_name_or_path') or 'another base'}."
            )
    with torch.no_grad():
        for key, matrix in wanted.items():
            matrix.copy_(weights[key])
    return model


def remove_adapter(model: nn.Module, name: str) -> nn.Module:
    """Take one adapter off, in place; a layer that has no other becomes the plain layer again."""
    for path, layer in list(lora_layers(model)):
        if name in layer.configs:
            del layer.lora_A[name], layer.lora_B[name], layer.configs[name]
        if not layer.configs:
            setattr(_parent(model, path), path.rpartition(".")[2], layer.base)
        elif layer.active == name:
            layer.active = None
    return model


def _is_target(path: str, targets: Sequence[str]) -> bool:
    return any(path == target or path.endswith("." + target) for target in targets)


def _parent(model: nn.Module, path: str) -> nn.Module:
    return model.get_submodule(path.rpartition(".")[0])
