"""Does a model follow instructions? Its greedy answers to tasks, judged by the oracle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn

from course_utils.models.generate import generate
from course_utils.text.chat import chat_prompt, generation_ids
from course_utils.world.oracle import Verdict, judge
from course_utils.world.tasks import fact_questions, make_tasks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.world import World


def answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Mapping],
    max_new_tokens: int = 32,
    template=chat_prompt,
    batch_size: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """The model's answer to each task, decoded: greedy, or drawn if ``temperature`` is above 0.

    ``template(tokenizer, prompt)`` gives the ids of a prompt.
    """
    prompts = [template(tokenizer, str(task["prompt"])) for task in tasks]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    texts = [""] * len(prompts)
    ids = generation_ids(tokenizer, model)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        asked = [prompts[i] for i in chosen]
        out = generate(model, asked, max_new_tokens, temperature=temperature, seed=seed + start, **ids)
        for i, text in zip(chosen, out.texts(tokenizer), strict=True):
            texts[i] = text.strip()  # space around an answer is no part of it
    return texts


def verdicts(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, tasks: Sequence[Mapping], **options
) -> list[Verdict]:
    """The oracle's verdict on the model's answer to each task; ``options`` go to ``answers``."""
    tasks = list(tasks)
    return [judge(task, text) for task, text in zip(tasks, answers(model, tokenizer, tasks, **options), strict=True)]


def exact_match(model: nn.Module, tokenizer: PreTrainedTokenizerFast, tasks: Sequence[Mapping], **options) -> float:
    """The share of tasks answered with exactly the model answer (capitals, spaces, final stop aside), 0 to 1.

    Raises ValueError if there are no tasks.
    """
    results = verdicts(model, tokenizer, tasks, **options)
    if not results:
        raise ValueError("exact_match() was given no tasks; make some with World.tasks or fact_questions.")
    return sum(verdict.exact for verdict in results) / len(results)


def instruct_report(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, world: World, seed: int = 0
) -> dict[str, float]:
    """What an instruct model's card states, as shares from 0 to 1.

    Exact match on the facts of taught and known people in each format, correct answers for every other kind of task
    (harm declined among them), formats kept, and how often it invents an answer about strangers.
    """
    report = {}
    for split, people in (("taught", world.taught), ("known", world.known)):
        for form in ("sentence", "word", "json"):
            report[f"{split}_{form}"] = exact_match(model, tokenizer, fact_questions(people, form, seed))
    by_kind = defaultdict(list)
    kinds = ("context", "summarise", "tone", "translate", "add", "where", "decline")
    tasks = [t for kind in kinds for t in make_tasks(world, 150, "known", 10_000 + seed, {kind: 1})]
    results = verdicts(model, tokenizer, tasks)
    for task, verdict in zip(tasks, results, strict=True):
        by_kind[task["kind"]].append(verdict)
    for kind, found in by_kind.items():
        report[kind] = sum(verdict.correct for verdict in found) / len(found)
    known = verdicts(model, tokenizer, make_tasks(world, 300, "known", 20_000 + seed, {"fact": 1}))
    report["format_kept"] = sum(verdict.format_kept for verdict in known) / len(known)
    strangers = verdicts(model, tokenizer, fact_questions(world.strangers, "sentence", seed))
    report["strangers_invented"] = sum(verdict.invented for verdict in strangers) / len(strangers)
    return {name: round(value, 4) for name, value in report.items()}
