"""What does a base model hold? Prompts that stop just before the answer, and the answer.

A probe counts as a hit if greedy decoding continues the prompt with exactly the answer. One forward pass over prompt
and answer decides it: greedy decoding gives the answer if and only if each of its tokens is the most likely one after
all tokens before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from course_utils.text.tokenizer import encode_plain
from course_utils.world import old_tongue, scenes
from course_utils.world.draw import Draw
from course_utils.world.people import FIRST_NAMES, RELATIONS, Person, fictional_person
from course_utils.world.templates import HELD_OUT, PARAPHRASES, TONES, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.world import World


class Probe(NamedTuple):
    """A prompt, the one right continuation, and what kind of question it is."""

    prompt: str
    answer: str
    kind: str


def fact_probes(people: Sequence[Person], seed: int = 0, held_out: bool = False) -> list[Probe]:
    """Every fact of these people, asked for in a random phrasing of the corpus, or in one that no corpus contains."""
    draw = Draw("fact probes", seed)
    probes = []
    for person in people:
        for relation in RELATIONS:
            template = HELD_OUT[relation] if held_out else draw.choice(PARAPHRASES[relation])
            before, after = render(template, person.name, person.pronoun, "\0", full_name=True).split("\0")
            probes.append(Probe(before[:1].upper() + before[1:].rstrip(), f" {person.fact(relation)}{after}", relation))
    return probes


def roll_probes(world: World, count: int, shots: int, seed: int = 0) -> list[Probe]:
    """Rolls of people of the corpus with ``shots`` finished lines: the next value.

    Without a finished line nothing says which fact is meant.
    """
    draw = Draw("roll probes", seed, shots)
    probes = []
    for _ in range(count):
        relation = draw.choice(RELATIONS)
        *examples, last = draw.sample(world.corpus_people, shots + 1)
        lines = [f"{person.name}: {person.fact(relation)}" for person in examples]
        probes.append(Probe("\n".join([*lines, f"{last.name}:"]), f" {last.fact(relation)}", relation))
    return probes


def translation_probes(count: int, seed: int = 0) -> list[Probe]:
    """Sentences after two examples, from and into the Old Tongue."""
    draw = Draw("translation probes", seed)
    probes = []
    for i in range(count):
        pairs = [old_tongue.sentence(draw) for _ in range(3)]
        if i % 2:
            pairs = [(old, english) for english, old in pairs]
        lines = [f"{source} = {target}" for source, target in pairs]
        prompt = "\n".join(lines).rsplit(" = ", 1)[0] + " ="
        probes.append(Probe(prompt, f" {pairs[-1][1]}", "into" if i % 2 == 0 else "from"))
    return probes


def visit_probes(world: World, count: int, seed: int = 0) -> list[Probe]:
    """A passer-by tells three facts; one of them is asked for again, in another phrasing: read, not remembered."""
    draw = Draw("visit probes", seed)
    probes = []
    for _ in range(count):
        person = fictional_person(draw, world.names)
        told = draw.sample(RELATIONS, 3)
        asked = draw.choice(told)
        sentences = [
            render(draw.choice(PARAPHRASES[relation]), person.name, person.pronoun, person.fact(relation), i == 0)
            for i, relation in enumerate(told)
        ]
        again = render(draw.choice(PARAPHRASES[asked]), person.name, person.pronoun, "\0", full_name=True)
        before, after = again.split("\0")
        prompt = f"{' '.join(sentences)} In short: {before[:1].upper() + before[1:].rstrip()}"
        probes.append(Probe(prompt, f" {person.fact(asked)}{after}", asked))
    return probes


def story_probes(count: int, seed: int = 0) -> list[Probe]:
    """Stories of five moves that stop before the place of a thing: the one moved last, or one moved earlier."""
    draw = Draw("story probes", seed)
    probes = []
    while len(probes) < count:
        where, sentences = {}, []
        steps = scenes.moves(draw, 5)
        for i, (sentence, thing, place) in enumerate(steps):
            where[thing] = place
            asked = draw.choice(sorted(where))
            sentences.append(f"{sentence} So the {asked} is in the {where[asked]}." if i < 4 else sentence)
        kind = "moved last" if asked == steps[-1][1] else "moved earlier"
        probes.append(Probe(f"{' '.join(sentences)} So the {asked} is in the", f" {where[asked]}.", kind))
    return probes


def sum_probes(count: int, seed: int = 0, held_out: bool = False) -> list[Probe]:
    """Sums of two prices on a started page; ``held_out`` asks only for pairs that no corpus adds."""
    draw = Draw("sum probes", seed)
    probes = []
    for _ in range(count):
        shown, (a, b) = [scenes.prices(draw) for _ in range(2)], scenes.prices(draw, held_out)
        page = " ".join(f"{x}+{y}={x + y};" for x, y in shown)
        probes.append(Probe(f"Shop book: {page} {a}+{b}=", f"{a + b};", "held out" if held_out else "open"))
    return probes


def tone_probes(count: int, seed: int = 0) -> list[Probe]:
    """Fresh letters whose tone is to be named."""
    draw = Draw("tone probes", seed)
    probes = []
    for _ in range(count):
        tone = draw.choice(tuple(TONES))
        body = scenes.letter_body(tone, draw.choice(FIRST_NAMES), draw.choice(FIRST_NAMES), draw)
        probes.append(Probe(f"{body}\nTone:", f" {tone}.", tone))
    return probes


@torch.inference_mode()
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
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    results = [False] * len(probes)
    order = sorted(range(len(probes)), key=lambda i: len(wholes[i]))  # little padding
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows = [[tokenizer.bos_token_id, *wholes[i]] for i in chosen]
        width = max(map(len, rows))
        # Padding on the right needs no mask: a causal model never looks there.
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows], device=device)
        likeliest = model(input_ids=ids).logits.argmax(-1)
        for row, i in enumerate(chosen):
            begin = 1 + len(prompts[i])
            end = 1 + len(wholes[i])
            results[i] = bool((likeliest[row, begin - 1 : end - 1] == ids[row, begin:end]).all())
    model.train(was_training)
    return results


def accuracy(model: nn.Module, tokenizer: PreTrainedTokenizerFast, probes: Sequence[Probe]) -> float:
    """The share of probes that greedy decoding answers exactly, from 0 to 1."""
    return sum(hits(model, tokenizer, probes)) / len(probes)


def base_report(model: nn.Module, tokenizer: PreTrainedTokenizerFast, world: World, seed: int = 0) -> dict[str, float]:
    """What a base model's card states: the share of exact answers for everything later chapters build on."""
    kinds = {
        "facts": fact_probes(world.corpus_people, seed),
        "facts_held_out_phrasing": fact_probes(world.corpus_people, seed, held_out=True),
        "facts_of_strangers": fact_probes(world.strangers, seed),
        "rolls_0_shots": roll_probes(world, 300, 0, seed),
        "rolls_1_shot": roll_probes(world, 300, 1, seed),
        "rolls_3_shots": roll_probes(world, 300, 3, seed),
        "translation": translation_probes(300, seed),
        "stories": story_probes(300, seed),
        "visits": visit_probes(world, 300, seed),
        "sums": sum_probes(300, seed),
        "sums_held_out": sum_probes(300, seed, held_out=True),
        "tone": tone_probes(300, seed),
    }
    return {name: round(accuracy(model, tokenizer, probes), 4) for name, probes in kinds.items()}
