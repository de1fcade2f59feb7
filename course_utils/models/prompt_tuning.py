"""Prompt tuning: the prompt is trained, the model is not (Lester et al., arXiv 2104.08691, section 2).

A written prompt chooses among the vectors of the vocabulary. A soft prompt is a few vectors before the text that are
free to be anything; gradient descent writes them, and every weight of the model stays frozen.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.models.decoder import Decoder, DecoderOutput, attention_pattern


def prepend(vectors: Tensor, embeddings: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The same vectors before every text of a batch, and the mask that goes with it.

    vectors: (n, hidden). embeddings: (batch, length, hidden), of the texts' tokens. attention_mask: (batch, length),
    1 for tokens, 0 for padding; None means no padding, and stays None. Gradients flow to the vectors.
    Returns embeddings (batch, n + length, hidden) and attention_mask (batch, n + length).
    """
    batch = len(embeddings)
    longer = torch.cat((vectors.to(embeddings.dtype).expand(batch, -1, -1), embeddings), dim=1)
    if attention_mask is not None:
        attention_mask = torch.cat((attention_mask.new_ones(batch, len(vectors)), attention_mask), dim=1)
    return longer, attention_mask


def _embedding(model: Any) -> nn.Embedding:
    return model.model.embed_tokens if isinstance(model, Decoder) else model.get_input_embeddings()


class SoftPrompt(nn.Module):
    """A frozen decoder, ours or a causal language model of transformers, with trained vectors before every text.

    ``vectors`` (length, hidden) is the only trained parameter. At the start they are the embeddings of ``init_ids``
    (token ids, one per vector), or of tokens drawn with ``seed``: vectors that the model can read
    (arXiv 2104.08691, section 3.2, compares the ways to start). The decoder is used, not copied, and its parameters
    stop asking for gradients.
    Raises ValueError for a length below 1, or ``init_ids`` of another length.
    """

    def __init__(
        self, model: nn.Module, length: int | None = None, init_ids: list[int] | Tensor | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        embedding = _embedding(model)
        table = embedding.weight
        if init_ids is None:
            if not isinstance(length, int) or length < 1:
                raise ValueError(f"length is {length!r}; a soft prompt needs 1 vector or more, such as length=10.")
            init_ids = torch.randint(len(table), (length,), generator=torch.Generator().manual_seed(seed))
        init_ids = torch.as_tensor(init_ids, device=table.device)
        if len(init_ids) < 1 or length not in (None, len(init_ids)):
            raise ValueError(f"length is {length} and init_ids has {len(init_ids)} tokens; give one token per vector.")
        self.model: Any = model.requires_grad_(False)
        self.vectors = nn.Parameter(embedding(init_ids).detach().float().clone())

    @property
    def config(self) -> Any:
        """The decoder's configuration."""
        return self.model.config

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, use_cache: bool = False
    ) -> DecoderOutput:
        """Logits (batch, length, vocab) for the text alone: the vectors are read, and nothing is said about them.

        input_ids: (batch, length). attention_mask: (batch, length), 1 for tokens, 0 for padding. No cache is kept.
        Raises ValueError if vectors and text together are longer than the model's context.
        """
        own, length = len(self.vectors), input_ids.shape[1]
        if own + length > self.config.max_position_embeddings:
            raise ValueError(
                f"{own} vectors and {length} tokens were given; the model reads at most "
                f"{self.config.max_position_embeddings} together. Cut the text, or train fewer vectors."
            )
        x, attention_mask = prepend(self.vectors, _embedding(self.model)(input_ids), attention_mask)
        if not isinstance(self.model, Decoder):
            out = self.model(inputs_embeds=x, attention_mask=attention_mask, use_cache=False, output_hidden_states=True)
            return DecoderOutput(out.logits[:, own:], out.hidden_states[-1][:, own:])
        body = self.model.model
        cos, sin = (table[: own + length].to(x.dtype).unsqueeze(-2) for table in (body.rope_cos, body.rope_sin))
        mask = attention_pattern(own + length, 0, attention_mask, True, x.device)
        for block in body.layers:
            x = block(x, cos, sin, mask, mask is None, None)
        hidden = body.norm(x)[:, own:]
        return DecoderOutput(self.model.lm_head(hidden), hidden)

    def token_ids(self) -> list[int]:
        """The ids that the vectors have in the decoder of ``as_decoder()``: put them before a prompt."""
        vocabulary = self.model.config.vocab_size
        return list(range(vocabulary, vocabulary + len(self.vectors)))

    @torch.no_grad()
    def as_decoder(self) -> nn.Module:
        """A plain model whose vocabulary has the vectors as its last words, for ``generate`` and all else.

        They can be read, never said: the head scores the old vocabulary alone. Apart from the two tables the new
        decoder shares its weights with the old one. Read ``[*soft.token_ids(), *text_ids]`` with it.
        """
        old = self.model
        embedding = _embedding(old)
        table = embedding.weight
        rows = torch.cat((table, self.vectors.to(table) / getattr(embedding, "embed_scale", 1.0)))  # Gemma 3 scales
        memo = {id(parameter): parameter for parameter in old.parameters()}  # deepcopy takes these as they are
        longer = copy.deepcopy(old, memo)
        if not isinstance(old, Decoder):
            longer.config.vocab_size += len(self.vectors)
            longer.config.tie_word_embeddings = False
            grown = copy.deepcopy(embedding)
            grown.weight, grown.num_embeddings = nn.Parameter(rows, requires_grad=False), len(rows)
            longer.set_input_embeddings(grown)
            return longer
        longer.config = replace(
            old.config, vocab_size=old.config.vocab_size + len(self.vectors), tie_word_embeddings=False
        )
        longer.model.config = longer.config
        longer.model.embed_tokens = nn.Embedding.from_pretrained(rows, freeze=True)
        return longer


def nearest_tokens(vectors: Tensor, model: nn.Module, k: int = 1) -> tuple[Tensor, Tensor]:
    """The k tokens whose embeddings point most nearly where each vector (n, hidden) points: (ids, cosines), (n, k)."""
    table = _embedding(model).weight
    cosines = nn.functional.normalize(vectors, dim=-1) @ nn.functional.normalize(table, dim=-1).T
    best = cosines.topk(k, dim=-1)
    return best.indices, best.values
