"""Other heads on a language model's body: a class or a score for the whole text, or a value at every token.

The body is what stands below the head that scores the vocabulary: our ``Decoder``'s ``model``, or any transformers
model's ``base_model``. ``Classifier`` has the weights, under the same names, of transformers'
``LlamaForSequenceClassification``; a reward model is that with one output (InstructGPT, arXiv 2203.02155, section 3.5).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from course_utils.models.convert import llama_config, load_config, read_weights, write_model
from course_utils.models.decoder import Backbone, Decoder
from course_utils.models.precision import trained_beside
from course_utils.models.surgery import with_linear

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def body_of(model: nn.Module) -> nn.Module:
    """The part of a language model below its head; the parameters are the same, nothing is copied."""
    return model.model if isinstance(model, Decoder) else cast("PreTrainedModel", model).base_model


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The blocks of a language model from the first to the last, whatever its family calls them (``layers``, ``h``).

    Raises ValueError for a model whose body holds no list of as many blocks as its config says.
    """
    body, count = body_of(model), getattr(getattr(model, "config", None), "num_hidden_layers", None)
    for part in body.children():
        if isinstance(part, nn.ModuleList) and len(part) == count:
            return part
    raise ValueError(f"a {type(model).__name__} was given, whose body holds no list of {count} blocks.")


def head_of(model: nn.Module) -> nn.Module:
    """The layer that scores the vocabulary."""
    return model.lm_head if isinstance(model, Decoder) else cast("PreTrainedModel", model).get_output_embeddings()


def hidden_states(body: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """What the body makes of each token, after its last normalization: (batch, length, hidden).

    A mask that hides only padding on the right is left out: no token looks to its right, and without a mask attention
    is quicker. With padding on the left, positions count from the first token.
    """
    if attention_mask is not None and bool((attention_mask[:, 1:] <= attention_mask[:, :-1]).all()):
        attention_mask = None
    positions = None if attention_mask is None else (attention_mask.cumsum(1) - 1).clamp(min=0)
    if isinstance(body, Backbone):
        return body(input_ids, attention_mask, positions)
    extra = {"attention_mask": attention_mask, "position_ids": positions}
    extra = {name: value for name, value in extra.items() if value is not None}
    return body(input_ids=input_ids, use_cache=False, **extra).last_hidden_state


def last_token(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The place of each row's last token that is no padding, (batch,). Raises ValueError for a row of padding alone."""
    if attention_mask is None:
        return torch.full((len(input_ids),), input_ids.shape[1] - 1, device=input_ids.device)
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    if not bool(attention_mask.any(1).all()):
        row = int((~attention_mask.any(1)).nonzero()[0])
        raise ValueError(f"row {row} of the batch is all padding; each row needs a token to be judged by.")
    return (attention_mask * places).argmax(1)


class Classifier(nn.Module):
    """Class scores for the whole text, (batch, labels), read off its last token, which has seen all the others.

    ``model``: a language model, whose body is shared, not copied. ``seed`` draws the new head from N(0, 0.02).
    """

    def __init__(self, model: nn.Module, num_labels: int, seed: int | torch.Generator = 0) -> None:
        super().__init__()
        if num_labels < 1:
            raise ValueError(f"num_labels is {num_labels}; a classifier has at least 1 output.")
        self.config: Any = model.config
        self.num_labels = num_labels
        self.model = body_of(model)
        self.score = _head(self.model, num_labels, seed, bias=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        hidden = hidden_states(self.model, input_ids, attention_mask)
        rows = torch.arange(len(input_ids), device=input_ids.device)
        last = hidden[rows, last_token(input_ids, attention_mask)]
        return self.score(last.to(self.score.weight.dtype))


class RewardModel(Classifier):
    """One score per text, (batch,): how much it would please. Only differences between scores mean something."""

    def __init__(self, model: nn.Module, seed: int | torch.Generator = 0) -> None:
        super().__init__(model, 1, seed)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return super().forward(input_ids, attention_mask)[:, 0]


class ValueModel(nn.Module):
    """One number per token, (batch, length): the reward that is still to come, as PPO's critic guesses it.

    Its body is a model of its own, so that learning values does not disturb the policy. The head starts at zero.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.config = model.config
        self.model = body_of(model)
        self.value = _head(self.model, 1, 0, bias=True)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        hidden = hidden_states(self.model, input_ids, attention_mask)
        return self.value(hidden.to(self.value.weight.dtype))[..., 0]


def save_classifier(model: Classifier, folder: str | Path, dtype: torch.dtype = torch.float16) -> Path:
    """Write a classifier with our decoder's body as the folder of a ``LlamaForSequenceClassification``.

    With a body of transformers the configuration is that of the body, and ``load_classifier`` alone reads it.
    """
    labels = {str(i): f"LABEL_{i}" for i in range(model.num_labels)}
    ours = isinstance(model.model, Backbone)
    config = {
        **(llama_config(model.config) if ours else json.loads(model.config.to_json_string(use_diff=False))),
        "architectures": ["LlamaForSequenceClassification" if ours else "Classifier"],
        "id2label": labels,
        "label2id": {name: int(i) for i, name in labels.items()},
    }
    return write_model(config, model.state_dict(), folder, dtype)


def load_classifier(
    folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Classifier:
    """Read what ``save_classifier`` wrote: a ``RewardModel`` if it has one output, else a ``Classifier``.

    Raises FileNotFoundError or ValueError, as ``load_model`` does, for files that are missing, torn or do not fit.
    """
    described = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    num_labels = len(described.get("id2label") or range(described.get("num_labels") or 2))  # 2: as transformers has it
    body: nn.Module
    if described.get("architectures") == ["LlamaForSequenceClassification"]:
        body = Decoder(load_config(folder), seed=None)
    else:
        from transformers import AutoConfig, AutoModel

        body = with_linear(AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True)))
    model = RewardModel(body) if num_labels == 1 else Classifier(body, num_labels)
    model.load_state_dict(read_weights(folder, model.state_dict()))
    return model.to(device, dtype).eval()


def _head(body: nn.Module, size: int, seed: int | torch.Generator, bias: bool) -> nn.Linear:
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    config: Any = body.config
    head = nn.Linear(config.hidden_size, size, bias=bias)
    nn.init.normal_(head.weight, 0.0, 0.02, generator=generator)
    return head.to(**trained_beside(body))
