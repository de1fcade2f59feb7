"""What does a base model hold? How many of the world's probes it answers.

A probe counts as a hit if greedy decoding continues the prompt with exactly the answer. One forward pass over prompt
and answer decides it: greedy decoding gives the answer if and only if each of its tokens is the most likely one after
all tokens before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from course_utils.models.generate import likeliest
from course_utils.models.halves import by_rows
from course_utils.models.scoring import batched, next_token_logits
from course_utils.text.special_tokens import opening_id, padding_id
from course_utils.text.tokenizer import encode_plain
from course_utils.world.probes import (
    Probe,
    fact_probes,
    register_probes,
    roll_probes,
    story_probes,
    sum_probes,
    tone_probes,
    translation_probes,
    visit_probes,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.world import World


def hits(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, probes: Sequence[Probe], batch_size: int = 64
) -> list[bool]:
    """For each probe: does greedy decoding continue the prompt with exactly the answer?

    Raises ValueError if there are no probes, or if a prompt ends in the middle of a token.
    """
    if not probes:
        raise ValueError("hits() was given no probes; make some with fact_probes, roll_probes and their like.")
    prompts = encode_plain([probe.prompt for probe in probes], tokenizer)
    wholes = encode_plain([probe.prompt + probe.answer for probe in probes], tokenizer)
    for probe, prompt, whole in zip(probes, prompts, wholes, strict=True):
        if whole[: len(prompt)] != prompt:
            raise ValueError(
                f"the tokenizer joins the end of the prompt {probe.prompt[-20:]!r} with the answer {probe.answer!r}; "
                "a prompt must end where a token ends. Let the answer begin with its space."
            )
    first = opening_id(tokenizer)
    results = [False] * len(probes)
    opened = [[first, *whole] for whole in wholes]
    for rows, batch, said in batched(model, opened, padding_id(tokenizer), batch_size, _likeliest_tokens):
        for row, i in enumerate(rows):
            begin, end = 1 + len(prompts[i]), len(opened[i])
            results[i] = bool((said[row, begin - 1 : end - 1] == batch["input_ids"][row, begin:end]).all())
    return results


@by_rows
def _likeliest_tokens(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """(rows, length): the token that the model would put after each place."""
    logits = next_token_logits(model, batch)
    return likeliest(logits.flatten(0, 1)).view(logits.shape[:2])


def accuracy(model: nn.Module, tokenizer: PreTrainedTokenizerFast, probes: Sequence[Probe]) -> float:
    """The share of probes that greedy decoding answers exactly, from 0 to 1."""
    return sum(hits(model, tokenizer, probes)) / len(probes)


def base_report(model: nn.Module, tokenizer: PreTrainedTokenizerFast, world: World, seed: int = 0) -> dict[str, float]:
    """What a base model's card states: the share of exact answers for everything later chapters build on."""
    kinds = {
        "facts": fact_probes(world.corpus_people, seed),
        "facts_held_out_phrasing": fact_probes(world.corpus_people, seed, "held out"),
        "facts_unread_words": fact_probes(world.corpus_people, seed, "unread"),
        "facts_of_strangers": fact_probes(world.strangers, seed),
        "rolls_0_shots": roll_probes(world, 300, 0, seed),
        "rolls_1_shot": roll_probes(world, 300, 1, seed),
        "rolls_3_shots": roll_probes(world, 300, 3, seed),
        "registers": register_probes(world.corpus_people, seed),
        "translation": translation_probes(300, seed),
        "stories": story_probes(300, seed),
        "visits": visit_probes(world, 300, seed),
        "sums": sum_probes(300, seed),
        "sums_held_out": sum_probes(300, seed, held_out=True),
        "tone": tone_probes(300, seed),
    }
    return {name: round(accuracy(model, tokenizer, probes), 4) for name, probes in kinds.items()}
