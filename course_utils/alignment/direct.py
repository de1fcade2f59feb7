"""Direct alignment: a language model trained on comparisons themselves, by DPO or another of its family.

    batches = precompute_reference(model, PreferenceBatches(pairs, tokenizer, 32))   # before training: the reference
    train(model, batches, DirectObjective(METHODS["dpo"]), TrainConfig(steps=100))

The reference is the model as it was before training. It does not change, so it reads every answer once, and is then no
longer needed: training costs one model's memory and no second forward pass. That also answers what the reference of an
adapter is: whatever the model computed, adapter included, when training began.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.alignment.direct_losses import LOSSES, DirectConfig, Loss, PairLogprobs, reward_metrics
from course_utils.alignment.preference_batches import PreferenceBatches
from course_utils.alignment.rollouts import token_logprobs
from course_utils.models.halves import by_rows, like_lengths
from course_utils.models.heads import head_of
from course_utils.models.lora import lora_layers
from course_utils.models.scoring import batched, evaluation_mode
from course_utils.text.chat import Message, as_messages, encode_answers, encode_prompts
from course_utils.text.special_tokens import padding_id
from course_utils.training.config import TrainConfig
from course_utils.training.objectives import unwrapped

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ADAPTER_OFF: Literal["adapter off"] = "adapter off"
Reference = nn.Module | Literal["adapter off"] | None


def sequence_logprobs(model: nn.Module, input_ids: Tensor, response_mask: Tensor, per_token: bool = False) -> Tensor:
    """log p(answer | prompt) of each row, in nats: (rows,) float32 with gradients.

    ``input_ids`` (rows, length), padded on the right; ``response_mask`` (rows, length - 1), 1 at the places that
    predict a token of the answer: never the prompt, whose probability is none of the answer's, and always the end
    token, without which the model would not learn where to stop. The sum over these tokens, or with ``per_token`` their
    mean. Raises ValueError for a row whose mask is 0 everywhere.
    """
    empty = ~response_mask.bool().any(1)
    if bool(empty.any()):
        raise ValueError(
            f"row {int(empty.nonzero()[0])} has no token of an answer (its response_mask is 0 everywhere); at least "
            "the end token is expected. Was the row cut before its answer?"
        )
    if unwrapped(model) is model and not (dist.is_available() and dist.is_initialized()):
        inner = _without_peft(model)

        def read(ids: Tensor, answers: Tensor) -> Tensor:
            return token_logprobs(inner, ids, answers[:, 1:]).sum(1)

        sums = like_lengths(inner, input_ids, F.pad(response_mask, (1, 0)), read)
    else:  # compiled, or in several processes: only its own forward does what was put around it
        asked = response_mask.bool()
        logs = model(input_ids=input_ids).logits[:, :-1][asked].float().log_softmax(-1)
        found = logs.gather(1, input_ids[:, 1:][asked][:, None])[:, 0]
        sums = found.new_zeros(asked.shape).masked_scatter(asked, found).sum(1)
    return sums / response_mask.bool().sum(1) if per_token else sums


class DirectObjective:
    """An objective for ``train``: ``(model, batch) -> (mean loss over the pairs, metrics)``.

    ``config``: the method, such as ``METHODS["dpo"]``. The reference is in the batches already
    (``precompute_reference``), or it is given here and reads every batch again: a frozen model, or ``ADAPTER_OFF``,
    the model that is trained with its adapter switched off. ``loss``: your own function (pairs, config) -> (pairs,) in
    the place of the one that ``config`` names.

    The metrics are those of ``reward_metrics``; ``nll_loss`` with an ``nll_weight``; ``kl`` for KTO, estimated from the
    answers of each micro-batch. All other figures are means over pairs, so they do not depend on how a batch is split.

    Raises ValueError: a reference that is given to a method without one; when called, a reference that is missing, that
    is given twice, or that has another vocabulary than the model.
    """

    def __init__(self, config: DirectConfig, reference: Reference = None, loss: Loss | None = None) -> None:
        if reference is not None and not config.reference:
            raise ValueError(
                f"a reference was given, and {config} compares with none. Leave the reference out, or set "
                "reference=True."
            )
        if isinstance(reference, str) and reference != ADAPTER_OFF:
            raise ValueError(f"reference is {reference!r}; give a model, ADAPTER_OFF or None.")
        self.config, self.reference, self.loss = config, reference, loss or LOSSES[config.loss]
        # Two threads may share a batch, unless another model reads it or KTO wants one estimate for all of it.
        self.by_rows = reference is None and config.loss != "kto"
        # What a checkpoint tells runs apart by: another beta, loss or reference is another run.
        who = f"weights that sum to {_weight_sum(reference)}" if isinstance(reference, nn.Module) else reference
        self.__qualname__ = f"DirectObjective({config}, {who}, {getattr(self.loss, '__qualname__', self.loss)})"

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        pairs = self.logprobs(model, batch)
        config = self.config
        loss = self.loss(pairs.per_token() if config.per_token else pairs, config).mean()
        metrics: dict[str, Any] = {**reward_metrics(pairs, config)}
        if config.nll_weight:
            nll = -(pairs.chosen / batch["mean_chosen_length"]).mean()  # the mean over all chosen tokens of the batch
            loss = loss + config.nll_weight * nll
            metrics["nll_loss"] = nll.detach()
        if pairs.divergence is not None:
            metrics["kl"] = pairs.divergence
        return loss, metrics

    def logprobs(self, model: nn.Module, batch: Mapping[str, Any]) -> PairLogprobs:
        """What the loss sees of a batch: the policy's log-probabilities with gradients, the reference's without."""
        if "response_mask" not in batch:
            raise ValueError(
                f"the batch holds {', '.join(batch)} and no response_mask, so the answers cannot be told from the "
                "prompts. Make batches with PreferenceBatches."
            )
        self._check_reference(model, batch)
        mask = batch["response_mask"]
        chosen, rejected = _of_sides(model, batch["input_ids"], mask).unbind(1)
        pairs = PairLogprobs(chosen, rejected)
        pairs.chosen_length, pairs.rejected_length = mask.sum(-1).unbind(1)
        if self.config.reference:
            found = self._reference(model, batch, "input_ids", "response_mask", "ref_logprobs")
            pairs.ref_chosen, pairs.ref_rejected = found.unbind(1)
        if self.config.loss == "kto":
            pairs.divergence = self._divergence(model, batch)
        return pairs

    def _divergence(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        """KTO's reference point: the mean log-ratio of answers to other prompts, at least 0, without gradient."""
        names = ("unmatched_ids", "unmatched_mask", "unmatched_ref_logprobs")
        if "unmatched_ids" not in batch:
            raise ValueError(
                "KTO measures how far the policy has moved on answers to other prompts, and the batch holds none. Make "
                "batches with PreferenceBatches(..., unmatched=True)."
            )
        with torch.no_grad():
            policy = _of_sides(model, batch["unmatched_ids"], batch["unmatched_mask"])
        return (policy - self._reference(model, batch, *names)).mean().clamp(min=0)

    @torch.no_grad()
    def _reference(self, model: nn.Module, batch: Mapping[str, Any], ids: str, mask: str, found: str) -> Tensor:
        """(pairs, 2)"""
        if found in batch:
            return batch[found]
        reading = model if isinstance(self.reference, str) or self.reference is None else self.reference
        with adapter_off(model) if reading is model else nullcontext(), evaluation_mode(reading):
            return _of_sides(reading, batch[ids], batch[mask])

    def _check_reference(self, model: nn.Module, batch: Mapping[str, Any]) -> None:
        if not self.config.reference:
            return
        known, given = "ref_logprobs" in batch, self.reference is not None
        if not known and not given:
            raise ValueError(
                "this method compares with a reference, and there is none. Before training, call batches = "
                "precompute_reference(model, batches), or give DirectObjective a frozen copy of the model, or "
                "ADAPTER_OFF."
            )
        if known and given:
            raise ValueError(
                "there are two references: the batches hold the log-probabilities of one, and DirectObjective was "
                "given another. Leave one of them out."
            )
        theirs = vocab_size(self.reference) if isinstance(self.reference, nn.Module) else batch.get("ref_vocab_size")
        if theirs is not None and theirs != vocab_size(model):
            raise ValueError(
                f"the reference scores {theirs} tokens and the model {vocab_size(model)}: their vocabularies differ, "
                "so their probabilities cannot be compared. The reference is the model as it was before training."
            )


def precompute_reference(
    reference: nn.Module, batches: PreferenceBatches, batch_size: int = 64, config: TrainConfig | None = None
) -> PreferenceBatches:
    """The same batches, with the reference's log-probability of every answer in them, as ``ref_logprobs`` (pairs, 2).

    ``reference``: usually the model that is about to be trained, as it is now, its adapter included. It reads each
    answer once, without gradients and without dropout, and is no longer needed afterwards. ``config``: that of the
    training to come, if it is in bfloat16, so that both read in the same precision. ``batches`` stay as they are.
    Raises ValueError if the texts have tokens that the reference does not know.
    """
    known, highest = vocab_size(reference), max(max(ids) for ids in batches.ids)
    if highest >= known:
        raise ValueError(
            f"the texts hold the token {highest}, and the reference knows {known} tokens (0 to {known - 1}): it has "
            "another vocabulary than the tokenizer that made these batches. Take the model as it was before training."
        )
    ready = copy.copy(batches)
    ready.ref_vocab_size = known
    starts = [n for n in batches.prompt_lengths for _ in range(2)]
    device = next(reference.parameters()).device.type
    with torch.autocast(device, torch.bfloat16, enabled=config is not None and config.autocasts(device)):
        ready.ref_logprobs = _read(reference, batches.ids, starts, batches.pad_id, batch_size).view(-1, 2)
        if batches.unmatched is not None:
            found = _read(reference, batches.unmatched, starts, batches.pad_id, batch_size)
            ready.unmatched_ref_logprobs = found.view(-1, 2)
    return ready


def implicit_reward_scores(
    policy: nn.Module,
    reference: nn.Module,
    texts: Sequence[tuple[str | Sequence[Message], str]],
    tokenizer: PreTrainedTokenizerFast,
    beta: float = 0.1,
    batch_size: int = 64,
) -> Tensor:
    """The policy as a reward model: beta log(p / p_ref) of each (prompt, answer), (count,) float32 on the CPU.

    Like those of a reward model, these scores compare answers to one prompt; between prompts they are not comparable.
    """
    ids = encode_answers(texts, tokenizer)
    starts = list(map(len, encode_prompts([as_messages(prompt) for prompt, _ in texts], tokenizer)))
    pad_id = padding_id(tokenizer)
    return beta * (_read(policy, ids, starts, pad_id, batch_size) - _read(reference, ids, starts, pad_id, batch_size))


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """The bare base answers; afterwards the adapter that was in use is in use again. Ours or peft's.

    Raises ValueError for a model without an adapter in use: its "base" would be the model itself.
    """
    inner: Any = unwrapped(model)
    layers = [(layer, layer.active) for _, layer in lora_layers(inner) if layer.active is not None]
    if not layers and hasattr(inner, "disable_adapter"):
        with inner.disable_adapter():
            yield
        return
    if not layers:
        raise ValueError(
            "the model has no adapter in use, so switching it off would compare the model with itself. Give a frozen "
            "copy as the reference, or call precompute_reference(model, batches) before training."
        )
    try:
        for layer, _ in layers:
            layer.active = None
        yield
    finally:
        for layer, name in layers:
            layer.active = name


def vocab_size(model: nn.Module) -> int:
    """How many tokens a language model's head scores."""
    head: Any = head_of(_without_peft(unwrapped(model)))
    return getattr(head, "out_features", None) or len(head.weight)


def _of_sides(model: nn.Module, input_ids: Tensor, response_mask: Tensor) -> Tensor:
    """(pairs, 2) from ids (pairs, 2, length) and masks (pairs, 2, length - 1): both sides in one pass."""
    return sequence_logprobs(model, input_ids.flatten(0, 1), response_mask.flatten(0, 1)).view(-1, 2)


def _read(model: nn.Module, texts: Sequence[list[int]], starts: Sequence[int], pad_id: int, batch_size: int) -> Tensor:
    """log p of what stands at or after the place ``starts`` of each text, (texts,) float32 on the CPU."""
    sums = torch.empty(len(texts))
    for rows, _, logprobs in batched(
        model, texts, pad_id, batch_size, _every_token
    ):  # those of similar length together
        for row, line in zip(rows, logprobs, strict=True):
            sums[row] = line[starts[row] - 1 :].sum()
    return sums


def _weight_sum(model: nn.Module) -> float:
    return sum(float(p.detach().double().sum()) for p in model.parameters())


@by_rows
def _every_token(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    return token_logprobs(_without_peft(model), batch["input_ids"], batch["attention_mask"][:, 1:])


def _without_peft(model: nn.Module) -> nn.Module:
    """The language model inside peft's wrapper; the adapter's layers are part of it."""
    inner = getattr(model, "get_base_model", None)
    return model if inner is None else inner()
