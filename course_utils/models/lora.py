"""LoRA: a trained matrix of low rank beside each frozen one (Hu et al., arXiv 2106.09685).

    y = W x + (alpha / r) B A x        A (r, in), B (out, r), B = 0 at the start

``add_lora`` puts such a pair beside every linear layer of the chosen names, in our decoder or in any transformers
model, and freezes all the rest. Several adapters can lie on one base; one of them is in use. Names, initial
distribution and files are those of peft, so adapters go both ways.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils import files
from course_utils.models.decoder import Decoder
from course_utils.models.embeddings import resize_embeddings
from course_utils.models.precision import trained_beside
from course_utils.models.surgery import linear_layers, replace, untie

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")

PREFIX = "base_model.model."  # what peft puts before every name

# The fields of peft's configuration with which an adapter still computes W x + (alpha / r) B A x. Those that choose the
# layers are in the list because the names of the matrices say the same; `modules_to_save` because what it added stands
# in the file. A field that is not here, whatever it will be, must be off.
PLAIN = frozenset(
    "peft_type task_type auto_mapping peft_version base_model_name_or_path revision inference_mode r lora_alpha "
    "lora_dropout bias init_lora_weights fan_in_fan_out target_modules exclude_modules layers_to_transform "
    "layers_pattern modules_to_save megatron_core qalora_group_size loftq_config eva_config corda_config "
    "lora_ga_config".split()
)
# Starts of A and B that leave the base as it is. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA take B A off the base first.
STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")


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
        self.base: Any = base
        self.lora_A, self.lora_B = nn.ParameterDict(), nn.ParameterDict()
        self.configs: dict[str, LoRAConfig] = {}
        self.active: str | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """(numbers that go in, numbers that come out)."""
        if hasattr(self.base, "in_features"):
            return self.base.in_features, self.base.out_features
        return tuple(self.base.weight.shape)  # Conv1D: (in, out)

    @property
    def in_features(self) -> int:
        """Numbers that go in; with it the layer is found by ``linear_layers``, and can take another adapter."""
        return self.sizes[0]

    @property
    def out_features(self) -> int:
        """Numbers that come out."""
        return self.sizes[1]

    @property
    def weight(self) -> Tensor:
        """The base's matrix: some models (T5) ask a layer for its dtype."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The base's bias."""
        return getattr(self.base, "bias", None)

    def add(self, name: str, config: LoRAConfig, generator: torch.Generator) -> None:
        """A new adapter: A uniform in +-1 / sqrt(in), as peft draws it; B zero, so that nothing changes yet.

        Both are in float32 beside a base of 16 bits, where most updates of A would be rounded away.
        """
        size_in, size_out = self.sizes
        bound = 1 / math.sqrt(size_in)  # kaiming_uniform with a = sqrt(5)
        a = torch.empty(config.r, size_in).uniform_(-bound, bound, generator=generator)
        self.lora_A[name] = nn.Parameter(a.to(**trained_beside(self.base)))
        self.lora_B[name] = nn.Parameter(torch.zeros(size_out, config.r, **trained_beside(self.base)))
        self.configs[name] = config
        self.active = name

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if self.active is None:
            return y
        config = self.configs[self.active]
        a, b = self.lora_A[self.active], self.lora_B[self.active]
        x = F.dropout(x, config.dropout, self.training) if config.dropout else x
        return y + (x.to(a.dtype) @ a.t() @ b.t() * (config.alpha / config.r)).to(y.dtype)

    def update(self, name: str | None = None) -> Tensor:
        """The matrix (out, in) that the adapter adds: (alpha / r) B A. ``name``: None takes the adapter in use."""
        name = name or self.active
        if name is None:
            raise ValueError(f"no adapter is in use; name one of {', '.join(self.configs) or 'none'}.")
        config = self.configs[name]
        return self.lora_B[name] @ self.lora_A[name] * (config.alpha / config.r)


def add_lora(
    model: nn.Module, config: LoRAConfig | None = None, name: str = "default", seed: int | torch.Generator = 0
) -> nn.Module:
    """Put an adapter called ``name`` beside every layer that ``config`` targets, in place, and put it in use.

    Everything but the new matrices is frozen. At first the model computes what its base computes: an adapter that was
    in use rests from now on.
    Raises ValueError if no linear layer has such a name, or if the model has an adapter of that name.
    """
    config = config or LoRAConfig()
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    found = linear_layers(model, config.targets)
    if name in adapters(model):
        raise ValueError(
            f"the model has an adapter {name!r} already; choose another name, or use_adapter(model, {name!r})."
        )
    model.requires_grad_(False)
    for path, layer in found:
        if not isinstance(layer, LoRALinear):
            layer = LoRALinear(layer).train(layer.training)
            replace(model, path, layer)
        layer.add(name, config, generator)
    use_adapter(model, name)
    return model


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """Path and layer of every layer that has adapters."""
    return ((path, part) for path, part in model.named_modules() if isinstance(part, LoRALinear))


def adapters(model: nn.Module) -> list[str]:
    """The names of the model's adapters."""
    return list(dict.fromkeys(name for _, layer in lora_layers(model) for name in layer.configs))


def active_adapter(model: nn.Module) -> str | None:
    """The name of the adapter in use; None if the bare base answers."""
    return next((layer.active for _, layer in lora_layers(model) if layer.active is not None), None)


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
    before. A head that was tied to the embedding gets a matrix of its own first, so that the embedding stays as it is.

    Raises TypeError for a quantized base, whose matrices cannot take a small change (chapter 10), and ValueError for
    the tied head of an encoder-decoder (``untie``); the model is then as it was.
    """
    layers = list(lora_layers(model))
    used = [(path, layer) for path, layer in layers if layer.active is not None]
    for path, layer in used:
        weight = layer.base._parameters.get("weight")
        if weight is None or not weight.is_floating_point():
            raise TypeError(
                f"{path} is quantized ({type(layer.base).__name__}); an adapter is merged into float matrices. Load "
                "the base in 16 or 32 bits, put the adapter on, and merge there."
            )
    for _, layer in used:
        untie(model, layer.base)
    for _, layer in used:
        weight = layer.base.weight
        update = layer.update().to(weight.dtype)
        weight += update if hasattr(layer.base, "in_features") else update.t()
    for path, layer in layers:
        replace(model, path, layer.base)
    return model


def lora_weights(model: nn.Module, name: str | None = None) -> dict[str, Tensor]:
    """The matrices of one adapter (None: the one in use), under the names that peft gives them."""
    name = active_adapter(model) if name is None else name
    found = {}
    for path, layer in lora_layers(model):
        if name in layer.configs:
            found[f"{PREFIX}{path}.lora_A.weight"] = layer.lora_A[name].detach()
            found[f"{PREFIX}{path}.lora_B.weight"] = layer.lora_B[name].detach()
    if not found:
        missing = "no adapter is in use" if name is None else f"there is no adapter {name!r}"
        raise ValueError(f"{missing}; this model has {', '.join(adapters(model)) or 'none'}.")
    return found


def base_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's ``state_dict`` without any adapter, under the names that the plain model gives its tensors."""
    layers = [path for path, _ in lora_layers(model)]
    plain = {}
    for name, value in model.state_dict().items():
        path = next((path for path in layers if name.startswith(f"{path}.")), None)
        if path is None:
            plain[name] = value
        elif name.startswith(f"{path}.base."):
            plain[f"{path}.{name.removeprefix(f'{path}.base.')}"] = value
    return plain


def embedding_layers(model: nn.Module) -> dict[str, nn.Embedding | nn.Linear | LoRALinear]:
    """Embedding and head, which hold one row per token, by their paths.

    Empty for a model without a head that scores the vocabulary, such as a classifier.
    """
    parts: tuple[Any, ...] = ()
    if isinstance(model, Decoder):
        parts = model.model.embed_tokens, model.lm_head
    elif hasattr(model, "get_input_embeddings"):
        theirs = cast("PreTrainedModel", model)
        parts = theirs.get_input_embeddings(), theirs.get_output_embeddings()
    names = {id(part): path for path, part in model.named_modules()}
    return {names[id(part)]: part for part in parts if part is not None}


def save_lora(
    model: nn.Module,
    folder: str | Path,
    name: str | None = None,
    base: str | None = None,
    save_embedding_layers: bool = False,
) -> Path:
    """Write one adapter as peft writes it: ``adapter_config.json`` and ``adapter_model.safetensors``.

    ``name``: None takes the adapter in use. ``base``: the name or folder of the model that it belongs to, for the
    reader. ``save_embedding_layers``: write embedding and head too, whole, as peft does for a model whose vocabulary
    has grown.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    name = active_adapter(model) if name is None else name
    weights = lora_weights(model, name)
    for path, part in embedding_layers(model).items() if save_embedding_layers else ():
        below = ".base_layer" if isinstance(part, LoRALinear) else ""  # where peft has the matrix below an adapter
        if not any(part.weight is table for table in weights.values()):  # a tied head is the embedding
            weights[f"{PREFIX}{path}{below}.weight"] = part.weight
    weights = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    paths = [path for path, layer in lora_layers(model) if name in layer.configs]
    config = next(layer.configs[name] for _, layer in lora_layers(model) if name in layer.configs)
    targets = set(config.targets)
    if not any(path == target or path.endswith(f".{target}") for path in paths for target in targets):
        targets = {".".join(path.split(".")[-2:]) for path in paths}  # GPT-2 has other names for them
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.r,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": sorted(targets),
        "bias": "none",
        "inference_mode": True,
    }
    with (
        files.atomic_file(folder / "adapter_config.json") as settings,
        files.atomic_file(folder / "adapter_model.safetensors") as stored,
    ):
        settings.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        save_file(weights, stored, metadata={"format": "pt"})
    return folder


def load_lora(model: nn.Module, folder: str | Path, name: str = "default") -> nn.Module:
    """Put an adapter that ``save_lora`` or peft wrote onto ``model``, in place, under ``name``, and put it in use.

    It goes beside the layers that the file has matrices for. Embedding and head, if they are in the file, replace the
    model's, which grow if the file's have more rows.
    Raises FileNotFoundError if a file is missing, ValueError if the adapter is of another kind (one that changes the
    base, or computes otherwise than ``LoRALinear``) or does not fit; the model is then as it was.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} has no {file}; an adapter folder is what save_lora (or peft) writes.")
    described = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    _check_plain(described, folder)
    weights = load_file(folder / "adapter_model.safetensors")
    weights = {key.replace(".base_layer.weight", ".weight"): value for key, value in weights.items()}
    keys = {path: f"{PREFIX}{path}.weight" for path in embedding_layers(model)}
    tables = {path: weights.pop(key) for path, key in keys.items() if key in weights}
    if others := [key for key in weights if ".lora_A." not in key and ".lora_B." not in key]:
        raise ValueError(
            f"{folder} holds {others[0]}, which is neither a LoRA matrix beside a linear layer nor this model's "
            "embedding or head. Load it with peft."
        )
    targets = described["target_modules"]
    if isinstance(targets, str) or described.get("exclude_modules") or described.get("layers_to_transform") is not None:
        targets = {key.removeprefix(PREFIX).partition(".lora_")[0] for key in weights}  # the file knows best
    config = LoRAConfig(described["r"], described["lora_alpha"], tuple(targets), described.get("lora_dropout", 0.0))
    expected = {}
    for path, layer in linear_layers(model, config.targets):
        size_in, size_out = (layer if isinstance(layer, LoRALinear) else LoRALinear(layer)).sizes
        if path in keys and tables:  # the head, which grows with its embedding
            size_out = max(len(table) for table in tables.values())
        expected[f"{PREFIX}{path}.lora_A.weight"] = (config.r, size_in)
        expected[f"{PREFIX}{path}.lora_B.weight"] = (size_out, config.r)
    for key in {*expected, *weights}:
        there = tuple(weights[key].shape) if key in weights else "missing"
        if there != expected.get(key, "missing"):
            raise _misfit(described, folder, f"{key} is {there} there and {expected.get(key, 'missing')} here")
    if tables:
        _set_tables(model, tables, lambda what: _misfit(described, folder, what))
    add_lora(model, config, name)
    with torch.no_grad():
        for key, matrix in lora_weights(model, name).items():
            matrix.copy_(weights[key])
    return model


def remove_adapter(model: nn.Module, name: str) -> nn.Module:
    """Take one adapter off, in place; a layer that has no other becomes the plain layer again."""
    for path, layer in list(lora_layers(model)):
        if name in layer.configs:
            del layer.lora_A[name], layer.lora_B[name], layer.configs[name]
        if not layer.configs:
            replace(model, path, layer.base)
        elif layer.active == name:
            layer.active = None
    return model


def _check_plain(described: dict[str, Any], folder: Path) -> None:
    """Raise ValueError unless peft's configuration describes an adapter that ``LoRALinear`` computes."""
    unusual = [key for key, value in described.items() if value and key not in PLAIN]
    start = described.get("init_lora_weights", True)
    if (start.lower() if isinstance(start, str) else start) not in STARTS:
        unusual.append(f"init_lora_weights = {start!r}, which took something off the base")
    if described.get("peft_type") != "LORA" or described.get("bias", "none") != "none" or unusual:
        raise ValueError(
            f"{folder} holds a {described.get('peft_type')} adapter with {', '.join(unusual) or 'trained biases'}; "
            "this loader knows plain LoRA. Load it with peft."
        )


def _misfit(described: dict[str, Any], folder: Path, what: str) -> ValueError:
    base = described.get("base_model_name_or_path") or "another base"
    return ValueError(f"the adapter in {folder} does not fit this model: {what}. It was made for {base}.")


@torch.no_grad()
def _set_tables(model: nn.Module, tables: dict[str, Tensor], misfit: Callable[[str], ValueError]) -> None:
    """Put an adapter file's embedding and head in the place of the model's, which grow to as many rows."""
    parts = embedding_layers(model)
    tied = len({id(part.weight) for part in parts.values()}) == 1
    rows = {len(part.weight) for part in parts.values()}
    for path, table in tables.items():
        width, least = parts[path].weight.shape[1], max(rows)
        if table.dim() != 2 or table.shape[1] != width or len(table) < least:
            raise misfit(f"{path}.weight is {tuple(table.shape)} there and {(least, width)} here")
    wanted = {len(table) for table in tables.values()}
    if len(wanted) > 1 or (wanted != rows and not tied and len(tables) < len(parts)):
        raise misfit("it has rows for new tokens for one of embedding and head, and not for the other")
    if tied and len(tables) == 2 and not torch.equal(*tables.values()):
        raise misfit("its head is not its embedding, and here they are one matrix")
    if wanted != rows and any(isinstance(part, LoRALinear) for part in parts.values()):
        raise misfit("its vocabulary is larger, and the head here has an adapter already")
    if wanted != rows and isinstance(model, Decoder):
        resize_embeddings(model, [()] * (max(wanted) - max(rows)), "mean")
    elif wanted != rows:
        cast("PreTrainedModel", model).resize_token_embeddings(max(wanted), mean_resizing=False)
    for path, part in embedding_layers(model).items():
        if path in tables:
            part.weight.copy_(tables[path])
