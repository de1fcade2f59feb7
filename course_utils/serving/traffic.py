"""Simulated traffic: questions that models really answered, drawn week by week, with a change at a known week.

Answering 8,000 requests for each of hundreds of years would take days. So every question of a pool is answered once by
every server, greedily, and a year is a draw from these answers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from course_utils.evaluation.factuality import MENTION
from course_utils.models.generate import generate
from course_utils.models.heads import body_of, head_of, hidden_states
from course_utils.models.scoring import batched
from course_utils.text.chat import chat_prompt, generation_ids
from course_utils.text.special_tokens import opening_id, padding_id
from course_utils.text.tokenizer import encode_plain
from course_utils.world.draw import Draw
from course_utils.world.oracle import judge
from course_utils.world.people import NEW_WORDS, RELATIONS
from course_utils.world.tasks import KINDS, fact_task, make_tasks, unknown_task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.world import World

Array = NDArray[Any]
WORD = re.compile(r"[A-Za-z]+")
OTHERS = ("context", "add", "tone", "decline")
TOPICS = (*RELATIONS, *OTHERS)


def questions(world: World, per_group: int, seed: int = 0) -> dict[str, list[dict]]:
    """Group -> ``per_group`` tasks: the ten ``TOPICS``, "stranger" (a fact of nobody on the Isles) and "new words".

    The facts are those of known people. "new words" are passages as those of "context" in which one value, the one
    asked for, is a word that did not exist when the corpus was written. Raises ValueError for fewer than one task.
    """
    if per_group < 1:
        raise ValueError(f"{per_group} questions per group were asked for; ask for 1 or more.")
    draw = Draw("traffic", world.seed, seed)
    people = world.corpus_people
    made = {topic: [fact_task(draw.choice(people), topic, draw) for _ in range(per_group)] for topic in RELATIONS}
    made |= {topic: [KINDS[topic].make(world, people, draw) for _ in range(per_group)] for topic in OTHERS}
    made["stranger"] = [unknown_task(draw.choice(world.strangers), draw) for _ in range(per_group)]
    made["new words"] = [_with_a_new_word(world, draw) for _ in range(per_group)]
    return made


def _with_a_new_word(world: World, draw: Draw) -> dict:
    while True:
        task = KINDS["context"].make(world, (), draw)
        if task["relation"] in NEW_WORDS:
            break
    new = draw.choice(NEW_WORDS[task["relation"]])
    swapped = {name: str(task[name]).replace(task["value"], new) for name in ("prompt", "answer", "value")}
    return {**task, **swapped}


def topic_of(task: Mapping) -> str:
    """What a server can see of a question: one of ``TOPICS``. A stranger's trade is a trade to it."""
    return task["relation"] if task["kind"] in ("fact", "unknown") else task["kind"]


def serve(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Mapping],
    later: World | None = None,
    template: Callable = chat_prompt,
    batch_size: int = 32,
) -> dict[str, Array]:
    """Answer every task greedily and return columns (n,) of what a log would hold, and of what the oracle says.

    answer, prompt_tokens, answer_tokens, confidence (nats per token), latency (seconds that its batch took), abstained,
    refused, format_kept, invented, correct; and correct_later: right by the truth of ``later``, the same world some
    years on (equal to ``correct`` if None).
    """
    ids = [template(tokenizer, str(task["prompt"])) for task in tasks]
    out: dict[str, list] = {"answer": [""] * len(tasks), "answer_tokens": [0] * len(tasks)}
    out |= {"confidence": [0.0] * len(tasks), "latency": [0.0] * len(tasks)}
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        start = time.perf_counter()
        done = generate(model, [ids[i] for i in rows], 32, return_logprobs=True, **generation_ids(tokenizer, model))
        seconds = time.perf_counter() - start
        assert done.logprobs is not None
        sums = done.logprobs.sum(1) / done.lengths.clamp(min=1)
        for i, text, n, mean in zip(rows, done.texts(tokenizer), done.lengths.tolist(), sums.tolist(), strict=True):
            out["answer"][i], out["answer_tokens"][i] = text.strip(), n
            out["confidence"][i], out["latency"][i] = mean, seconds
    said = [judge(task, text) for task, text in zip(tasks, out["answer"], strict=True)]
    out["prompt_tokens"] = [len(row) for row in ids]
    for name in ("abstained", "refused", "format_kept", "invented", "correct"):
        out[name] = [getattr(verdict, name) for verdict in said]
    moved = [_in_later_years(task, later) for task in tasks]
    out["correct_later"] = [judge(task, text).correct for task, text in zip(moved, out["answer"], strict=True)]
    return {name: np.array(values) for name, values in out.items()}


def _in_later_years(task: Mapping, later: World | None) -> Mapping:
    if later is None or task["kind"] != "fact":
        return task
    return {**task, "value": later.person(task["about"]).fact(task["relation"])}


def read_prompts(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], size: int = 24
) -> tuple[Array, Array]:
    """(surprise, vectors) of prompts under one fixed model, so that neither changes when the served model does.

    surprise (n,): bits per token. vectors (n, size): the mean of the last hidden states, its ``size`` main directions
    (principal components of these prompts), each with variance 1.
    """
    encoded = [[opening_id(tokenizer), *ids] for ids in encode_plain(list(prompts), tokenizer)]
    surprise, means = np.zeros(len(encoded)), np.zeros((len(encoded), 0))

    def states(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return hidden_states(body_of(model), batch["input_ids"])

    for rows, batch, hidden in batched(model, encoded, padding_id(tokenizer), forward=states):
        inside = batch["attention_mask"][:, 1:].float()
        with torch.no_grad():
            logits = head_of(model)(hidden[:, :-1]).float()
        nats = F.cross_entropy(logits.transpose(1, 2), batch["input_ids"][:, 1:], reduction="none") * inside
        surprise[rows] = (nats.sum(1) / inside.sum(1) / log(2)).cpu().numpy()
        mean = ((hidden[:, 1:].float() * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)).cpu().numpy()
        means = means if means.shape[1] else np.zeros((len(encoded), mean.shape[1]))
        means[rows] = mean
    centred = means - means.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    vectors = centred @ directions[:size].T
    return surprise, vectors / np.maximum(vectors.std(0), 1e-9)


def unread(world: World, prompts: Sequence[str], documents: int = 1_000) -> Array:
    """(n,) for each prompt: 1 if it names nobody but a person of whom the corpus tells nothing, 2 if it holds a word
    that neither the corpus nor the instruction data use, else 0. A look-up in what was trained on, without any model.

    The words are those of so many documents and tasks; a word that only rare documents use counts as unread.
    """
    trained = [*world.documents(documents)["text"], *(str(t["prompt"]) for t in make_tasks(world, documents))]
    words = {word for text in trained for word in WORD.findall(text)}
    names = {person.name for person in world.corpus_people}
    parts = {part for name in world.names for part in name.split()}  # a name is looked up as a whole

    def kind(prompt: str) -> int:
        if any(word not in words and word not in parts for word in WORD.findall(prompt)):
            return 2
        named = MENTION.findall(prompt)
        return int(bool(named) and not any(name in names for name in named))

    return np.array([kind(prompt) for prompt in prompts])


@dataclass(frozen=True)
class Change:
    """What happens to the service in the week of the change. Nothing: a quiet year.

    mix: how often each group is asked from then on, as weights. server: who answers. truth: "correct" (as before) or
    "correct_later" (the world has moved on). ramp: weeks over which the new mix comes in, 0 for at once.
    """

    mix: Mapping[str, float] | None = None
    server: str = "as trained"
    truth: str = "correct"
    ramp: int = 0


@dataclass(frozen=True)
class Pool:
    """Questions and how each server answered them.

    groups: group -> rows of the pool. shared: columns (n,) or (n, d) that do not depend on the server: topic (its place
    in ``TOPICS``), surprise, unread, vectors. served: server -> columns (n,) of ``serve``.
    """

    groups: Mapping[str, Array]
    shared: Mapping[str, Array]
    served: Mapping[str, Mapping[str, Array]]
    mix: Mapping[str, float]


@dataclass
class Year:
    """Requests of some weeks: ``rows`` (weeks, per week) of the pool; the change comes with week ``start``."""

    pool: Pool
    rows: Array
    start: int
    change: Change = field(default_factory=Change)

    def column(self, name: str) -> Array:
        """A column as it was logged, (weeks, per week): after the change by the changed server; "correct" by the truth
        of its week. Raises KeyError for an unknown column."""
        if name in self.pool.shared:
            return self.pool.shared[name][self.rows]
        later = self.change.truth if name == "correct" else name
        before, after = self.pool.served["as trained"][name], self.pool.served[self.change.server][later]
        changed = np.arange(len(self.rows)) >= self.start
        return np.where(changed[:, None], after[self.rows], before[self.rows])


def draw_year(
    pool: Pool, seed: int, change: Change | None = None, weeks: int = 52, per_week: int = 150, start: int = 26
) -> Year:
    """A year of requests. Raises ValueError for a mix that names a group which the pool lacks."""
    change = change or Change()
    rng = np.random.default_rng(seed)
    names = list(pool.groups)
    for mix in (pool.mix, change.mix or {}):
        if strange := set(mix) - set(names):
            raise ValueError(f"the pool has no group {sorted(strange)[0]!r}; it has {', '.join(names)}.")

    def shares(mix: Mapping[str, float]) -> Array:
        weights = np.array([mix.get(name, 0.0) for name in names])
        return weights / weights.sum()

    old, new = shares(pool.mix), shares(change.mix or pool.mix)
    rows = np.empty((weeks, per_week), dtype=int)
    for week in range(weeks):
        share = min(1.0, max(0.0, (week - start + 1) / max(change.ramp, 1)))
        chosen = rng.choice(len(names), per_week, p=(1 - share) * old + share * new)
        members = rng.random(per_week)  # of each group any row
        for group in np.unique(chosen):
            own = pool.groups[names[group]]
            rows[week, chosen == group] = own[(members[chosen == group] * len(own)).astype(int)]
    return Year(pool, rows, start, change)


def log_rows(year: Year, tasks: Sequence[Mapping], week: int) -> list[dict[str, Any]]:
    """The requests of one week as rows for ``RequestLog.append``, spread evenly over its seven days."""
    names = ("answer", "prompt_tokens", "answer_tokens", "confidence", "latency", "abstained", "refused", "format_kept")
    columns = {name: year.column(name)[week].tolist() for name in (*names, "surprise", "unread")}
    columns["topic"] = [TOPICS[place] for place in year.column("topic")[week]]
    count = year.rows.shape[1]
    return [
        {"time": 7 * (week + (i + 0.5) / count), "model": "instruct", "prompt": tasks[row]["prompt"]}
        | {name: int(values[i]) if isinstance(values[i], bool) else values[i] for name, values in columns.items()}
        for i, row in enumerate(year.rows[week].tolist())
    ]
