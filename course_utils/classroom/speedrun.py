"""The Isles speedrun: the best model for a fixed amount of arithmetic, on text drawn afresh.

An entry is a small TOML file: sizes of the model, settings of the training, the mix of documents. The steps follow from
the budget of floating-point operations (6 N D and attention, `training/flops.py`), so that a slow laptop is no handicap
and nothing depends on the clock. The score is the distance to what no model can beat: bits per byte above the entropy
of the documents, which the world knows exactly. An entry is data and no code, the text that it is scored on is drawn
when the training is over, and three starts decide.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import statistics
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from course_utils import settings
from course_utils.classroom.records import jsonl

FILE = "speedrun.jsonl"
RECORDS = Path(__file__).with_name("speedrun_records.jsonl")  # the course's own, measured when it was made
BUDGETS = {"smoke": 5e11, "laptop": 4e12, "gpu": 2e16}  # floating-point operations of one start
STARTS = 3
TEST_DOCUMENTS = 1_000

BASELINE = """\
# The baseline of the speedrun. Change what you like, give it a name, and run: course speedrun FILE
name = "baseline"

[model]
hidden_size = 128
intermediate_size = 352
num_hidden_layers = 4
num_attention_heads = 4
num_key_value_heads = 2

[training]
optimizer = "adamw"     # or "muon"
learning_rate = 1e-3
schedule = "constant"   # or "linear", "cosine", "wsd" (with decay_steps)
warmup_steps = 0
weight_decay = 0.1
max_grad_norm = 1.0

[data]
batch_size = 32         # rows of a step
row_length = 128        # tokens of a row
# mix = {biography = 26, story = 24, visit = 12}   # documents of each kind; the test has the usual mix
"""
MODEL = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("rope_theta", "tie_word_embeddings"),
)
TRAINING = (
    *("optimizer", "learning_rate", "schedule", "decay_steps", "warmup_steps", "min_lr_ratio", "weight_decay"),
    *("max_grad_norm", "betas", "eps"),
)
DATA = ("batch_size", "row_length", "mix")


class SpeedrunError(ValueError):
    """An entry, or the leaderboard, that cannot be used: the message says what and how to mend it."""


@dataclass(frozen=True)
class Entry:
    """What a run changes: the tables of its file."""

    name: str
    model: dict[str, Any]
    training: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """A line of the leaderboard. ``scores``: bits per byte above the entropy, one per start; less is better."""

    name: str
    profile: str
    budget: float
    scores: list[float]
    steps: int
    parameters: int
    seconds: float
    entry: dict[str, Any]
    note: str = ""

    @property
    def mean(self) -> float:
        """The mean over the starts."""
        return statistics.fmean(self.scores)


def parse(text: str, where: str = "the entry") -> Entry:
    """An entry from TOML. Raises SpeedrunError for what is no TOML, unknown tables or settings, and a missing name."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpeedrunError(
            f"{where} is no TOML: {error}. `course speedrun --new FILE` writes one to begin with."
        ) from error
    name = found.pop("name", None)
    if not isinstance(name, str) or not name.strip():
        raise SpeedrunError(f'{where} has no name; begin with a line such as name = "muon, twice the rate".')
    for table, allowed in (("model", MODEL), ("training", TRAINING), ("data", DATA)):
        given = found.get(table, {})
        if not isinstance(given, Mapping):
            raise SpeedrunError(f"{where}: {table} is {given!r}; a table [{table}] is expected.")
        if unknown := [key for key in given if key not in allowed]:
            raise SpeedrunError(f"{where}: [{table}] has {unknown[0]!r}; it may have {', '.join(allowed)}.")
    if unknown := [key for key in found if key not in ("model", "training", "data")]:
        raise SpeedrunError(f"{where} has {unknown[0]!r}; it may have name, [model], [training] and [data].")
    return Entry(name.strip(), *(dict(found.get(table, {})) for table in ("model", "training", "data")))


def steps_for(entry: Entry, vocab_size: int, budget: float) -> int:
    """How many steps of this entry the budget pays for. Raises SpeedrunError if it does not pay for ten."""
    from course_utils.training.flops import flops_per_token

    model, rows, length = _model(entry, vocab_size, 0), *_shape(entry)
    steps = int(budget // (flops_per_token(model, length) * rows * length))
    if steps < 10:
        raise SpeedrunError(
            f"the budget of {budget:.0e} operations pays for {steps} steps of this entry; at least 10 are wanted. Make "
            "the model, the batch or the rows smaller."
        )
    return steps


def run_entry(entry: Entry, *, starts: int = STARTS, budget: float | None = None, progress: bool = True) -> Result:
    """Train the entry from ``starts`` different starts, score each on fresh text, and return the result (unrecorded).

    Raises SpeedrunError for settings that do not fit together.
    """
    from course_utils.models.counting import num_parameters
    from course_utils.pretrained import store
    from course_utils.text.batching import PackedBatches
    from course_utils.text.packing import pack
    from course_utils.training.loop import TrainConfig, train
    from course_utils.training.objectives import next_token_loss
    from course_utils.world import World, WorldConfig

    profile = settings.profile()
    budget = budget or BUDGETS[profile.name]
    tokenizer = store.load("base", device="cpu").tokenizer
    steps, (rows, length) = steps_for(entry, len(tokenizer), budget), _shape(entry)
    world = World(WorldConfig(people=profile.people), seed=0)
    begin, scores = time.perf_counter(), []
    for start in range(starts):
        try:
            texts = world.documents(math.ceil(steps * rows * length / 40), seed=1 + start, mix=entry.data.get("mix"))
            model = _model(entry, len(tokenizer), start)
            training = entry.training | {"betas": tuple(entry.training.get("betas", (0.9, 0.95)))}
            config = TrainConfig(steps=steps, seed=start, **training)
        except (TypeError, ValueError) as error:
            raise SpeedrunError(f"{entry.name}: {error}") from error
        batches = PackedBatches(pack(texts["text"], tokenizer, length), rows, seed=start)
        train(model, batches, next_token_loss, config, progress=progress)
        scores.append(score(model, tokenizer, world, secrets.randbits(48)))
    seconds = time.perf_counter() - begin
    tables = {"model": entry.model, "training": entry.training, "data": entry.data}
    return Result(entry.name, profile.name, budget, scores, steps, num_parameters(model), round(seconds, 1), tables)


def score(model: Any, tokenizer: Any, world: Any, seed: int, documents: int = TEST_DOCUMENTS) -> float:
    """Bits per byte that the model needs above the entropy, on ``documents`` drawn with ``seed``."""
    from course_utils.evaluation.entropy import document_bits

    fresh = world.documents(documents, seed=seed)
    bits = document_bits(model, tokenizer, fresh["text"])
    return (sum(bits) - sum(fresh["bits"])) / sum(len(text.encode()) for text in fresh["text"])


def better(new: Result, old: Result) -> bool:
    """Whether ``new`` beats ``old`` by more than chance: each of its starts is ahead of each of the other's.

    Of two entries that are worth the same, three starts each, that happens once in twenty (one of the 6 over 3 orders).
    """
    return len(new.scores) >= STARTS <= len(old.scores) and max(new.scores) < min(old.scores)


def record(result: Result) -> None:
    """Append a result to the learner's leaderboard."""
    line = {field.name: getattr(result, field.name) for field in fields(Result)}
    jsonl.append(settings.home() / FILE, line | {"digest": _digest(line)})


def leaderboard(profile: str | None = None, budget: float | None = None) -> list[Result]:
    """The course's records and the learner's, the best first, at this profile and budget.

    Raises SpeedrunError, naming the line, if a line of the learner's file was edited.
    """
    profile = profile or settings.profile().name
    budget = budget or BUDGETS[profile]
    found = []
    for path in (RECORDS, settings.home() / FILE):
        for number, line in enumerate(jsonl.read(path), start=1):
            digest = line.pop("digest", None)
            if digest != _digest(line) or set(line) != {field.name for field in fields(Result)}:
                raise SpeedrunError(
                    f"line {number} of {path} was edited: its digest is not that of what it says. Remove the line, or "
                    "run its entry again."
                )
            found.append(Result(**line))
    return sorted((r for r in found if (r.profile, r.budget) == (profile, budget)), key=lambda r: r.mean)


def table(results: list[Result]) -> str:
    """The leaderboard as text."""
    if not results:
        return "No entry yet: `course speedrun --new my_run.toml`, change it, `course speedrun my_run.toml`."
    lines = ["bits per byte above the entropy (mean and each start)"]
    for place, result in enumerate(results, start=1):
        each = " ".join(f"{value:.4f}" for value in result.scores)
        size = f"{result.parameters / 1e6:.2f} M, {result.steps} steps"
        lines.append(f"{place:>3}  {result.mean:.4f}  ({each})  {result.name:<36} {size}  {result.note}".rstrip())
    return "\n".join(lines)


def verdict(result: Result, before: list[Result]) -> str:
    """What the result is worth beside those before it."""
    beaten = [other for other in before if better(result, other)]
    if not before:
        return f"{result.name}: {result.mean:.4f}. The first entry here."
    if len(beaten) == len(before):
        return f"{result.name}: {result.mean:.4f}. A new record: better than {before[0].name} by more than chance."
    ahead = [other.name for other in before if other.mean <= result.mean]
    near = [o.name for o in before if o not in beaten and o.mean > result.mean]
    text = f"{result.name}: {result.mean:.4f}."
    if beaten:
        text += f" Better by more than chance than {', '.join(o.name for o in beaten)}."
    if near:
        text += f" Ahead of {', '.join(near)}, but {len(result.scores)} starts cannot tell that from chance."
    if ahead:
        text += f" Behind {', '.join(ahead)}."
    return text


def _model(entry: Entry, vocab_size: int, seed: int) -> Any:
    from course_utils.models.decoder import Decoder, DecoderConfig

    sizes = {**tomllib.loads(BASELINE)["model"], **entry.model}
    try:
        config = DecoderConfig(vocab_size=vocab_size, max_position_embeddings=max(256, _shape(entry)[1]), **sizes)
        return Decoder(config, seed=seed)
    except (TypeError, ValueError) as error:
        raise SpeedrunError(f"{entry.name}: {error}") from error


def _shape(entry: Entry) -> tuple[int, int]:
    shape = {**tomllib.loads(BASELINE)["data"], **entry.data}
    for name in ("batch_size", "row_length"):
        if not isinstance(shape[name], int) or shape[name] < 2:
            raise SpeedrunError(f"{entry.name}: {name} is {shape[name]!r}; a whole number of 2 or more is expected.")
    return shape["batch_size"], shape["row_length"]


def _digest(line: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(line), sort_keys=True).encode()).hexdigest()[:16]
