"""A model trained on a learner's own checked rows, and judged before and after on rows that were held out.

Conversations and texts are trained on by their next tokens, comparisons by DPO. The figure is what the rows themselves
can tell: the loss per token of held-out answers, or the share of held-out pairs whose chosen answer the model finds the
likelier one. Each group of rows counts once, with its mean, and the intervals are over groups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from course_utils import settings
from course_utils.recipes.configs import Trained
from course_utils.text.data_check import DataCheck, read_part
from course_utils.text.documents import DataError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerFast

    from course_utils.evaluation.statistics import Interval
    from course_utils.pretrained.store import Loaded
    from course_utils.training.history import History

MOST_HELD_OUT = 500  # rows that are scored
STEPS = {"smoke": 4, "laptop": 200, "gpu": 1_000}  # at the most
SMALL = 20_000_000  # parameters, below which a model bears a higher learning rate


@dataclass(frozen=True)
class OwnDataRecipe(Trained):
    """How a model is tuned on somebody's own rows."""

    method: str  # "SFT" | "DPO"
    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float = 0.0
    seed: int = 0
    beta: float = 0.1


@dataclass
class Trial:
    """What training did. before, after, change: means over held-out groups."""

    recipe: OwnDataRecipe
    figure: str
    better: str  # "lower" | "higher"
    before: Interval
    after: Interval
    change: Interval
    rows: int
    held_out: int
    groups: int
    history: History
    notes: list[str]

    def figures(self) -> dict[str, Any]:
        """For a card."""
        return {
            "figure": self.figure,
            "before": self.before.as_bar(),
            "after": self.after.as_bar(),
            "change": self.change.as_bar(),
            "held_out_rows": self.held_out,
            "held_out_groups": self.groups,
        }

    def verdict(self) -> str:
        """One sentence."""
        low, high = self.change.low, self.change.high
        if low <= 0 <= high:
            return "The interval of the change holds 0: these held-out rows do not show that training helped."
        better = (high < 0) == (self.better == "lower")
        return f"On held-out rows the trained model is {'better' if better else 'worse'}."


def recipe_for(found: DataCheck, parameters: int, rows: int, steps: int | None = None) -> OwnDataRecipe:
    """Three passes over the rows, or as many steps as the profile has time for, in batches of up to 16 rows."""
    batch_size = max(1, min(16, rows))
    most = STEPS[settings.profile().name]
    steps = steps or max(1, min(most, -(-3 * rows // batch_size)))
    pair, small = found.kind == "pair", parameters < SMALL
    rate = (1e-4 if small else 1e-6) if pair else (5e-4 if small else 2e-5)
    return OwnDataRecipe("DPO" if pair else "SFT", steps, batch_size, rate, max(1, steps // 10), seed=found.seed)


def train_on(loaded: Loaded, folder: str | Path, found: DataCheck, steps: int | None = None) -> Trial:
    """Train the loaded model in place on the checked rows of ``folder``; measure held-out ones before and after.

    Raises DataError if no row fits, or fewer than two groups are held out.
    """
    rows = _Rows(Path(folder), loaded.tokenizer, found)
    held_out = rows.some(True, MOST_HELD_OUT, found.seed)
    groups = rows.groups[held_out]
    count = len(np.unique(groups))
    if count < 2:
        raise DataError(
            f"{len(held_out)} rows that fit into {found.limit} tokens are held out, in {count} groups; two "
            "groups are the least that an interval needs. Give more rows, or hold out a larger share."
        )
    usable = rows.some(False, None, found.seed)
    if not len(usable):
        raise DataError(f"no row of the training part fits into {found.limit} tokens, so there is nothing to train on.")
    parameters = sum(p.numel() for p in loaded.model.parameters())
    recipe = recipe_for(found, parameters, len(usable), steps)
    usable = usable[: recipe.steps * recipe.batch_size]
    run = _prefer if found.kind == "pair" else _imitate
    measure = rows.margins if found.kind == "pair" else rows.losses
    before = measure(loaded.model, held_out)
    history = run(loaded, rows, usable, recipe)
    after = measure(loaded.model, held_out)
    if found.kind == "pair":
        what, better = "share of pairs whose chosen answer the model finds likelier", "higher"
        before, after = (before > 0).astype(float), (after > 0).astype(float)
    else:
        what, better = "loss per token of held-out answers (nats)", "lower"
        what = what if found.kind == "chat" else "loss per token of held-out texts (nats)"
    share = found.kind == "pair"
    before, after = _of_groups(before, groups), _of_groups(after, groups)
    before_is, after_is = (_interval(values, share, found.seed) for values in (before, after))
    change = _interval(after - before, False, found.seed)
    return Trial(
        recipe, what, better, before_is, after_is, change, len(usable), len(held_out), count, history, rows.notes()
    )


def _of_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean of each group: rows of one group are no independent evidence, so a group is what is counted."""
    _, of = np.unique(groups, return_inverse=True)
    return np.bincount(of, weights=values) / np.bincount(of)


def _interval(values: np.ndarray, share: bool, seed: int) -> Interval:
    """By the bootstrap; of a share by Wilson's formula, which has a width even where all are right."""
    from course_utils.evaluation.statistics import Interval, bootstrap, wilson

    return Interval(*wilson(values.tolist())) if share else bootstrap(values, resamples=2_000, seed=seed)


def _imitate(loaded: Loaded, rows: _Rows, chosen: np.ndarray, recipe: OwnDataRecipe) -> History:
    from course_utils.text.batching import ChatBatches
    from course_utils.training.loop import train
    from course_utils.training.objectives import next_token_loss

    encoded: list[Any] = [rows.sequence(row) for row in chosen]
    ready = ChatBatches(encoded, loaded.tokenizer, recipe.batch_size, seed=recipe.seed, encode=_as_it_is)
    return train(loaded.model, ready, next_token_loss, recipe.training(), progress=False)


def _prefer(loaded: Loaded, rows: _Rows, chosen: np.ndarray, recipe: OwnDataRecipe) -> History:
    from course_utils.alignment.direct import DirectObjective, precompute_reference
    from course_utils.alignment.direct_losses import METHODS
    from course_utils.alignment.preference_batches import PreferenceBatches
    from course_utils.training.loop import train

    wanted = {*np.cumsum(~rows.held_out)[chosen].tolist()}  # places in train.jsonl, from 1
    pairs = [row for place, row in enumerate(read_part(rows.folder, "train"), 1) if place in wanted]
    batches = PreferenceBatches(pairs, loaded.tokenizer, recipe.batch_size, recipe.seed)
    batches = precompute_reference(loaded.model, batches)
    return train(loaded.model, batches, DirectObjective(METHODS["dpo"]), recipe.training(), progress=False)


def _as_it_is(sequence: Any, _: Any) -> tuple[list[int], list[int]]:
    return sequence


class _Rows:
    """The token ids of a checked folder, read from the disk when they are asked for."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerFast, found: DataCheck) -> None:
        from course_utils.text.special_tokens import closing_id, opening_id, padding_id

        self.folder, self.found, self.kind = folder, found, found.kind
        self.ids = np.load(folder / "tokens.npy", mmap_mode="r")
        self.ends = np.load(folder / "ends.npy")
        self.begins = np.r_[0, self.ends[:-1]]
        self.answers = None if self.kind == "text" else np.load(folder / "answers.npy", mmap_mode="r")
        self.held_out = np.load(folder / "held_out.npy")
        self.groups = np.load(folder / "groups.npy")
        self.edges = [opening_id(tokenizer)], [closing_id(tokenizer)]
        self.pad_id = padding_id(tokenizer)
        self.left_out = 0

    def some(self, held_out: bool, most: int | None, seed: int) -> np.ndarray:
        """Rows of one part that have something to learn within the limit, in shuffled order."""
        rows = np.random.default_rng([seed, held_out]).permutation(np.flatnonzero(self.held_out == held_out))
        fits = np.array([self._fits(int(row)) for row in rows[: most and 4 * most]], dtype=bool)
        self.left_out += int((~fits).sum())
        return rows[: len(fits)][fits][:most]

    def _fits(self, row: int) -> bool:
        limit = self.found.limit
        if self.kind == "pair":  # a cut answer would be compared with a whole one
            return all(self.ends[s] - self.begins[s] <= limit for s in (2 * row, 2 * row + 1))
        if self.answers is None or self.ends[row] - self.begins[row] <= limit:
            return True
        return bool(self.answers[self.begins[row] : self.begins[row] + limit].any())

    def sequence(self, place: int) -> tuple[list[int], list[int]]:
        """(ids, answer mask) of one sequence, cut at the limit; of a text every token but the first is learned."""
        ids = self.ids[self.begins[place] : self.ends[place]].tolist()
        if self.answers is None:
            ids = (self.edges[0] + ids + self.edges[1])[: self.found.limit]
            return ids, [0] + [1] * (len(ids) - 1)
        mask = self.answers[self.begins[place] : self.ends[place]].tolist()
        return ids[: self.found.limit], mask[: self.found.limit]

    def losses(self, model: nn.Module, rows: np.ndarray) -> np.ndarray:
        """Nats per learned token of each row, (rows,)."""
        sums, counts = self._sums(model, [self.sequence(int(row)) for row in rows])
        return sums / counts

    def margins(self, model: nn.Module, rows: np.ndarray) -> np.ndarray:
        """log p(chosen) - log p(rejected) of each pair, in nats; what both share cancels out."""
        sums, _ = self._sums(model, [self.sequence(2 * int(row) + side) for row in rows for side in (0, 1)])
        return sums[1::2] - sums[::2]

    def _sums(self, model: nn.Module, sequences: list[tuple[list[int], list[int]]]) -> tuple[np.ndarray, np.ndarray]:
        from course_utils.models.scoring import batched, token_losses

        sums, counts = np.zeros(len(sequences)), np.zeros(len(sequences))
        for rows, _, losses in batched(model, [ids for ids, _ in sequences], self.pad_id, 16, token_losses):
            for row, line in zip(rows, losses.cpu().numpy(), strict=True):
                learned = np.array(sequences[row][1][1:], dtype=bool)
                sums[row], counts[row] = line[: len(learned)][learned].sum(), learned.sum()
        return sums, counts

    def notes(self) -> list[str]:
        """What was left out of training and measuring."""
        why = "longer than the limit" if self.kind == "pair" else "whose answer begins after the limit"
        return [f"{self.left_out} rows were left out, {why} of {self.found.limit} tokens"] if self.left_out else []


def card_of(trial: Trial, found: DataCheck, source: str) -> dict[str, Any]:
    """The fields of the trained model's card."""
    from course_utils.recipes.card import card_fields

    data = {name: value for name, value in asdict(found).items() if name not in ("problems", "notes")}
    recipe = asdict(trial.recipe) | {"data": data, "from": source}
    fields = card_fields(int(trial.history.records[-1]["tokens"]), trial.history, "loss")
    return {"recipe": recipe, "seed": trial.recipe.seed, **fields, "figures": trial.figures()}
