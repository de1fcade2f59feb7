"""Rollouts: the policy's answers to prompts, and everything that learning from them needs.

``RolloutIterator`` is what all policy gradients have in common; they differ in what they do with the rollouts:

    for rollouts in RolloutIterator(policy, reference, reward, prompts, batch_size=64):
        ... learn from them; the next answers are written by the policy as it is then
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from course_utils.alignment.masked import select
from course_utils.models.decoder import Backbone, SharedPrefix
from course_utils.models.decoding import resolve
from course_utils.models.generate import Generation, check_prompts, generate
from course_utils.models.halves import by_rows, read
from course_utils.models.heads import body_of, head_of, hidden_states

MISSING_EOS_PENALTY = 1.0  # taken off the score of an answer that was cut before its end
PIECE = 1_024  # places whose logits are computed at once: those of more would not stay in the processor's cache


Rows = TypeVar("Rows", "Rollouts", Generation)


@dataclass
class Rollouts:
    """Rows of prompt and answer, padded on the right; all tensors (batch, length) but scores and penalties, (batch,).

    ``response_mask``: 1 at the *places that predict* a token of the answer, so that everything per token stands where
    the logits stand: ``logprobs[:, t]`` belongs to ``input_ids[:, t + 1]``. Length is that of the rows, minus 1.
    """

    input_ids: Tensor  # (batch, length + 1)
    response_mask: Tensor
    logprobs: Tensor  # of the policy before it learns from the answers
    ref_logprobs: Tensor | None  # None without a reference
    values: Tensor | None  # None without a value model
    scores: Tensor  # the reward model's, one for each answer
    penalties: Tensor  # for answers that were cut before their end, 0 for the others
    sampler_logprobs: Tensor | None = None  # (batch, length), of the model that wrote the answers if it was another one

    @property
    def penalized_scores(self) -> Tensor:
        """(batch,): what an answer is worth to the policy, the penalty for a missing end taken off."""
        return self.scores - self.penalties

    def take(self, rows: Tensor) -> Rollouts:
        """Some of the rows."""
        return take_rows(self, rows)


def take_rows(batch: Rows, rows: Tensor) -> Rows:
    """Some of the rows of ``Rollouts`` or of a ``Generation``."""
    parts = {field.name: getattr(batch, field.name) for field in fields(batch)}
    taken: dict[str, Any] = {name: None if part is None else part[rows] for name, part in parts.items()}
    return type(batch)(**taken)


def concatenate(first: Rows, second: Rows) -> Rows:
    """The rows of both, the shorter ones padded with 0 on the right. What one of them lacks, the whole lacks."""
    joined: dict[str, Any] = {}
    for name in (field.name for field in fields(first)):
        parts = [getattr(first, name), getattr(second, name)]
        if any(part is None for part in parts):
            joined[name] = None
            continue
        if parts[0].dim() == 2:
            width = max(part.shape[1] for part in parts)
            parts = [functional.pad(part, (0, width - part.shape[1])) for part in parts]
        joined[name] = torch.cat(parts)
    return type(first)(**joined)


@runtime_checkable
class CompletionReward(Protocol):
    """A reward that reads answers, not rows of tokens: what ``verifiable.py`` has. It knows as many tasks as there are
    prompts (``len``); ``score_completions`` gets, for each answer, the number of its prompt."""

    def __len__(self) -> int: ...

    def score_completions(self, prompts: Sequence[int], completions: Generation) -> Tensor: ...


class RolloutIterator:
    """Endless rollouts: each step takes the next ``batch_size`` prompts, lets the policy answer them at temperature 1
    and the models read what it answered.

    Prompts (token ids) come in passes over all of them, each shuffled by ``generator`` (by default a new one of
    ``seed``). With ``completions_per_prompt`` above 1 the answers to one prompt are rows side by side, as
    ``leave_one_out`` wants them. ``value=None``: there is no value model, and ``values`` is None; so with
    ``reference=None``. ``reward`` is a model, called with ``input_ids`` and ``attention_mask``, or a
    ``CompletionReward``. Answers end at the ``stop_ids``. Of the latest step one can ask for its ``completions``, the
    numbers of its ``chosen`` prompts and the ``generation_seconds``.

    ``sampler``: what writes the answers instead of the policy, such as a quantized or an older copy. It is called with
    the policy before each step and returns the model that writes; what that gave to its tokens is kept as
    ``sampler_logprobs``. (If it holds copies of its own, they are no part of ``state()``.)

    ``read_policy=False``: the policy does not read its answers here; ``logprobs`` are those with which it drew them, or
    NaN with a ``sampler``. For a caller that makes one update on all of them: what it computes for that update are the
    same figures, to rounding, and a forward pass is spared.

    ``state()`` is the place in the sequence; ``resume(state)`` goes on from there. Raises ValueError for too few
    prompts, and for one that leaves no room for ``max_new_tokens``.
    """

    def __init__(
        self,
        policy: nn.Module,
        reference: nn.Module | None,
        reward: nn.Module | CompletionReward,
        prompts: Sequence[Sequence[int]],
        *,
        batch_size: int,
        value: nn.Module | None = None,
        completions_per_prompt: int = 1,
        max_new_tokens: int = 24,
        missing_eos_penalty: float = MISSING_EOS_PENALTY,
        stop_ids: Sequence[int] = (1,),
        sampler: Callable[[nn.Module], nn.Module] | None = None,
        read_policy: bool = True,
        seed: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        if len(prompts) < batch_size:
            raise ValueError(
                f"{len(prompts)} prompts were given; an iteration takes {batch_size}. Give more, or take fewer."
            )
        for name, count in (("batch_size", batch_size), ("completions_per_prompt", completions_per_prompt)):
            if count < 1:
                raise ValueError(f"{name} is {count}; 1 or more is expected.")
        if isinstance(reward, CompletionReward) and len(reward) != len(prompts):
            raise ValueError(
                f"the reward knows {len(reward)} tasks, and {len(prompts)} prompts were given; it needs one for each, "
                "in the same order."
            )
        check_prompts(prompts, max_new_tokens, resolve(policy).config)
        self.policy, self.reference, self.reward, self.value = policy, reference, reward, value
        self.sampler, self.read_policy = sampler, read_policy
        self.prompts, self.batch_size, self.completions_per_prompt = prompts, batch_size, completions_per_prompt
        self.max_new_tokens, self.missing_eos_penalty = max_new_tokens, missing_eos_penalty
        self.stop_ids, self.seed = stop_ids, seed
        self.generator = generator or torch.Generator().manual_seed(seed)
        self.iteration = 0  # how many steps were made
        self.order: list[int] = []  # the prompts still to come in this pass

    def __iter__(self) -> Iterator[Rollouts]:
        return self

    def __next__(self) -> Rollouts:
        while len(self.order) < self.batch_size:
            self.order += torch.randperm(len(self.prompts), generator=self.generator).tolist()
        chosen, self.order = self.order[: self.batch_size], self.order[self.batch_size :]
        self.chosen = [i for i in chosen for _ in range(self.completions_per_prompt)]
        rows = [self.prompts[i] for i in self.chosen]
        begun = time.perf_counter()
        self.completions = generate(
            self.policy if self.sampler is None else self.sampler(self.policy),
            rows,
            self.max_new_tokens,
            temperature=1.0,
            stop_ids=self.stop_ids,
            seed=1_000_003 * self.seed + self.iteration,
            return_logprobs=self.sampler is not None or not self.read_policy,
        )
        self.generation_seconds = time.perf_counter() - begun
        self.iteration += 1
        batch = score_rollouts(
            self.policy,
            self.reference,
            self._scores if isinstance(self.reward, CompletionReward) else self.reward,
            self.value,
            rows,
            self.completions,
            missing_eos_penalty=self.missing_eos_penalty,
            read_policy=self.read_policy,
            group=self.completions_per_prompt,
        )
        if self.sampler is None and not self.read_policy:  # the policy drew them itself
            assert batch.sampler_logprobs is not None
            batch.logprobs, batch.sampler_logprobs = batch.sampler_logprobs, None
        return batch

    def _scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        assert isinstance(self.reward, CompletionReward)
        return self.reward.score_completions(self.chosen, self.completions).to(input_ids.device)

    def state(self) -> dict[str, Tensor]:
        """What ``resume`` needs to go on as if the run had never stopped."""
        return {
            "generator": self.generator.get_state(),
            "order": torch.tensor(self.order, dtype=torch.int64),
            "iteration": torch.tensor(self.iteration),
        }

    def resume(self, state: dict[str, Tensor]) -> None:
        """Go back to where ``state`` was taken."""
        self.generator.set_state(state["generator"])
        self.order, self.iteration = state["order"].tolist(), int(state["iteration"])


def join(prompts: Sequence[Sequence[int]], completions: Generation, pad_id: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts and answers as rows padded on the right: ``input_ids`` and ``attention_mask`` (batch, n), and the mask
    (batch, n - 1) of the places that predict a token of the answer, its stop token included."""
    device, counts = completions.tokens.device, completions.lengths.tolist()
    rows = [
        [*prompt, *answer[:n].tolist()] for prompt, answer, n in zip(prompts, completions.tokens, counts, strict=True)
    ]
    width = max(map(len, rows))
    input_ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows], device=device)
    lengths = torch.tensor([[len(row)] for row in rows], device=device)
    starts = torch.tensor([[len(prompt)] for prompt in prompts], device=device)
    places = torch.arange(width, device=device)
    said = (places >= starts) & (places < lengths)
    return input_ids, (places < lengths).long(), said[:, 1:].float()


def token_logprobs(
    model: nn.Module,
    input_ids: Tensor,
    mask: Tensor,
    with_entropy: bool = False,
    attention_mask: Tensor | None = None,
    starts: Tensor | None = None,
    group: int = 1,
):
    """Log-probabilities (batch, length - 1) float32 of the tokens that ``mask`` asks for, 0 elsewhere, with gradients.

    ``mask`` (batch, length - 1): numbers or bool. Only the asked places go through the head, which is most of the
    arithmetic of a small model. With ``with_entropy`` also the entropy of the distribution at each place, in nats,
    without gradients; a token that is forbidden (a logit of minus infinity) adds nothing to it. ``attention_mask``
    (batch, length) is needed for padding on the left alone: no token looks to its right.

    With ``group`` above 1 every so many rows, side by side, are answers to one prompt, padded on the right, and
    ``starts`` (batch,) is the place that predicts an answer's first token. A ``Decoder`` reads each prompt once then,
    and not once for every answer: the same figures, to rounding.
    """
    body, asked = body_of(model), mask.bool()
    if group > 1 and starts is not None and isinstance(body, Backbone) and bool(asked.any()):
        wanted = _after_shared_prompts(body, input_ids, asked, starts, group)
    else:
        wanted = hidden_states(body, input_ids, attention_mask)[:, :-1][asked]
    head, chosen, surprises = head_of(model), [], []
    for part, token in zip(wanted.split(PIECE), input_ids[:, 1:][asked].split(PIECE), strict=True):
        logprob, surprise = _Chosen.apply(head(part), token, with_entropy)
        chosen.append(logprob)
        surprises.append(surprise)
    nothing = torch.zeros(mask.shape, device=wanted.device)
    spread = nothing.masked_scatter(asked, torch.cat(chosen))
    return (spread, nothing.masked_scatter(asked, torch.cat(surprises))) if with_entropy else spread


class _Chosen(torch.autograd.Function):
    """Log-probabilities (places,) of ``tokens`` (places,) by ``logits`` (places, vocab), and the entropy of each place
    in nats, without gradients. The gradient needs the probabilities alone, which the entropy has computed: autograd
    would compute them again, from a matrix of zeros with one gradient in each row."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        logs = logits.float().log_softmax(-1)
        chosen, entropy = logs.gather(1, tokens[:, None])[:, 0], None
        if with_entropy or ctx.needs_input_grad[0]:
            probabilities = logs.exp()
            ctx.save_for_backward(probabilities, tokens)
            ctx.dtype = logits.dtype
        if with_entropy:  # what is forbidden has a probability of 0; times minus infinity it would be NaN
            entropy = -logs.clamp_(min=torch.finfo(logs.dtype).min).mul_(probabilities).sum(-1)
            ctx.mark_non_differentiable(entropy)
        return chosen, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None]:
        probabilities, tokens = ctx.saved_tensors
        of_logits = probabilities * -gradient[:, None]
        return of_logits.scatter_add_(1, tokens[:, None], gradient[:, None]).to(ctx.dtype), None, None


def _after_shared_prompts(body: Backbone, input_ids: Tensor, asked: Tensor, starts: Tensor, group: int) -> Tensor:
    """The hidden states at the places that are ``asked`` for, (places, hidden), row by row; each prompt read once."""
    rows, places = asked.nonzero(as_tuple=True)
    firsts = starts[::group]  # of each prompt, the place of its last token
    width, longest = int(firsts.max()) + 1, int((places - starts[rows]).max())
    if width + longest > body.config.max_position_embeddings:  # a long prompt, and a long answer to a short one
        return hidden_states(body, input_ids)[:, :-1][asked]
    prefix = SharedPrefix()
    prompts = body(input_ids[::group, :width], cache=prefix)
    last = prompts[torch.arange(len(firsts), device=prompts.device), firsts].repeat_interleave(group, 0)[:, None]
    if longest:
        prefix.share(group)
        behind = starts[:, None] + torch.arange(1, longest + 1, device=starts.device)
        answers = input_ids.gather(1, behind.clamp(max=input_ids.shape[1] - 1))
        real = torch.arange(width, device=starts.device) <= starts[:, None]  # a shorter prompt's padding is not seen
        seen = None if bool(real.all()) else torch.cat((real, torch.ones_like(behind, dtype=torch.bool)), 1)
        positions = behind.clamp(max=body.config.max_position_embeddings - 1)  # those of padding do not matter
        last = torch.cat((last, body(answers, seen, positions, prefix)), 1)
    return last[rows, places - starts[rows]]


@torch.no_grad()
def score_rollouts(
    policy: nn.Module,
    reference: nn.Module | None,
    reward: Callable[..., Tensor],
    value: nn.Module | None,
    prompts: Sequence[Sequence[int]],
    completions: Generation,
    *,
    missing_eos_penalty: float = 0.0,
    read_policy: bool = True,
    group: int = 1,
) -> Rollouts:
    """Let the models read what the policy answered. Log-probabilities are those of temperature 1. Where the answers
    come with log-probabilities of their own, those are the sampler's. ``read_policy=False``: the policy's are NaN.
    ``group``: so many rows, side by side, answer one prompt, which is read once for them (see ``token_logprobs``)."""
    input_ids, attention_mask, mask = join(prompts, completions)
    batch = {"input_ids": input_ids, "mask": mask, "attention_mask": attention_mask}
    said = completions.logprobs
    if said is not None:
        counted = torch.arange(said.shape[1], device=said.device) < completions.lengths[:, None]
        said = torch.zeros_like(mask).masked_scatter(mask.bool(), said[counted])
    groups = {"input_ids": input_ids.unflatten(0, (-1, group)), "mask": mask.unflatten(0, (-1, group))}
    return Rollouts(
        input_ids=input_ids,
        response_mask=mask,
        logprobs=read(policy, groups, _logprobs).view_as(mask) if read_policy else torch.full_like(mask, torch.nan),
        ref_logprobs=None if reference is None else read(reference, groups, _logprobs).view_as(mask),
        values=None if value is None else select(read(value, batch, _values), mask),
        scores=(
            read(reward, batch, _scores) if isinstance(reward, nn.Module) else reward(input_ids, attention_mask)
        ).float(),
        penalties=missing_eos_penalty * (~completions.stopped).float(),
        sampler_logprobs=said,
    )


@by_rows
def _logprobs(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    ids, mask = batch["input_ids"].flatten(0, 1), batch["mask"].flatten(0, 1)  # (prompts, group, length) before
    found = token_logprobs(model, ids, mask, starts=mask.argmax(1), group=batch["mask"].shape[1])
    return found.view_as(batch["mask"])


@by_rows
def _values(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    return model(batch["input_ids"])[:, :-1]


@by_rows
def _scores(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    return model(batch["input_ids"], batch["attention_mask"])
