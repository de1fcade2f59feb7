"""``course data check``: a learner's own file looked at, asked about, checked, and if wanted trained on.

What was given is only read. All that is made lies in one folder; the checked data are written first, then the model,
and the page about both last, so that a disk that fills costs the page and nothing else.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils import files, settings
from course_utils.text.columns import QUESTION, Layout, detect
from course_utils.text.data_check import DataCheck, check_data, example, first_rows, histogram, row_lengths
from course_utils.text.documents import DataError
from course_utils.text.readers import files_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.recipes.own_data import Trial

HUB = "hub:"


class OwnDataError(RuntimeError):
    """Something could not be written; the message says what was kept, and where."""


@dataclass(frozen=True)
class Asked:
    """What the command line says beside the file."""

    out: str | None = None
    train: bool = False
    yes: bool = False
    columns: str = ""  # such as "question=Frage,answer=Antwort"
    group: str | None = None
    question: str = QUESTION
    labels: str = ""  # such as "bad,good"
    tokenizer: str | None = None
    limit: int | None = None
    share: float = 0.1
    steps: int | None = None


def run(source: str, asked: Asked, say: Callable[[str], None] = print) -> Path | None:
    """Check a file, and train on it if that was asked for. Returns the folder; None if somebody said no.

    In the folder: ``data``, which a later check replaces; ``model``, ``model-2``, ... of each training; the page.

    Raises DataError for data or settings that cannot be used, OwnDataError for what could not be written.
    """
    path = _fetched(source, asked, say) if source.startswith(HUB) else Path(source)
    out = Path(asked.out) if asked.out else Path.cwd() / f"{path.stem or 'data'}-checked"
    _check_place(out, path)
    rows = first_rows(path)
    labels = [name.strip() for name in asked.labels.split(",") if name.strip()]
    layout = detect(rows, _parts(asked.columns), asked.group, asked.question, labels)
    tokenizer, name, context = _tokenizer(asked.tokenizer)
    limit = asked.limit or context
    say(f"{path}: {len(files_of(path)[0])} file(s)\nThe layout is taken to be: {layout}\nThe first good row, as read:")
    say(_first_good(layout, rows))
    if layout.name == "labelled text" and not labels and any(_has_number(row, layout) for row in rows):
        say("Its labels are numbers, and numbers are what would be learned; --labels bad,good gives them words.")
    say(f"Tokens are counted with: {name}; the model reads at most {limit}.")
    if not _confirmed(asked.yes):
        say("Nothing was written. Name the columns with --columns, such as --columns question=Frage,answer=Antwort.")
        return None
    try:
        with files.atomic_folder(out / "data") as fresh:
            found = check_data(
                path, fresh, tokenizer, layout, limit=limit, share=asked.share, seed=settings.seed(), name=name,
                progress=lambda count: say(f"  {count:,} rows"),
            )  # fmt: skip
    except OSError as error:
        raise OwnDataError(
            f"the checked data could not be written to {out}: {error}. Nothing is half done there, and {path} is as it "
            "was. Free some space, or name another folder with --out."
        ) from error
    say(summary(found, out / "data"))
    trial = _train(out, found, asked.steps, say) if asked.train else None
    _write_page(out, found, trial, say)
    return out


def summary(found: DataCheck, out: Path) -> str:
    """What the terminal shows of a check whose files lie in ``out``."""
    lines = [f"{found.rows:,} rows: {found.good:,} good, {found.bad:,} that cannot be used"]
    lines += [f"  {problem}" for problem in found.problems]
    if found.bad > len(found.problems):
        lines.append(f"  and {found.bad - len(found.problems):,} more")
    if found.bad:
        lines.append(
            f"All of them, by line and with the reason: {out / 'problems.jsonl'}; unchanged: {out / 'rejected'}"
        )
    lines += [f"{found.tokens:,} tokens", histogram(row_lengths(out)), found.truncation(), found.sides()]
    return "\n".join([*lines, *(f"Note: {note}" for note in found.notes), f"All of it lies in {out}"])


def _first_good(layout: Layout, rows: Sequence[Any]) -> str:
    why = ""
    for row in rows:
        try:
            return example(layout, row)
        except DataError as error:
            why = why or str(error)
    raise DataError(f"none of the first {len(rows)} rows can be used with this layout; of the first: {why}.")


def _parts(text: str) -> dict[str, str]:
    parts = [part.split("=", 1) for part in text.split(",") if part.strip()]
    if any(len(part) != 2 for part in parts):
        raise DataError(
            f"--columns is {text!r}; write which part is which column, as in question=Frage,answer=Antwort."
        )
    return {part.strip(): column.strip() for part, column in parts}


def _has_number(row: Any, layout: Layout) -> bool:
    return isinstance(row, dict) and isinstance(row.get(layout.columns["label"]), int)


def _confirmed(yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise DataError("whether that is right must be confirmed, and nobody can be asked here. If it is, add --yes.")
    return input("Is that right? [y/N] ").strip().lower() in ("y", "yes")


def _check_place(out: Path, source: Path) -> None:
    if out.exists() and not (out / "data/check.json").is_file():
        raise DataError(f"{out} is there and was not made by this command. Name another folder with --out.")
    if out.resolve() == source.resolve() or out.resolve() in source.resolve().parents:
        raise DataError(f"{source} lies in {out}, which would be replaced. Name another folder with --out.")


def _tokenizer(folder: str | None) -> tuple[PreTrainedTokenizerFast, str, int]:
    """(tokenizer, its name, tokens that its model reads), without loading the model."""
    import json

    from course_utils.pretrained import store

    replaced = folder or environ.get("COURSE_BASE_MODEL")
    if replaced and not settings.anchored(replaced).is_dir():  # of the Hub: the store knows how to find it
        if folder:
            raise DataError(f"there is no folder {folder} with a tokenizer.")
        loaded = store.load("base")
        config = getattr(loaded.model, "config", None)
        return loaded.tokenizer, replaced, getattr(config, "max_position_embeddings", None) or 1024
    own = settings.home() / "checkpoints" / settings.profile().name / "instruct"
    place = settings.anchored(replaced) if replaced else own if own.is_dir() else store.SHIPPED / "instruct"
    if not (place / "tokenizer.json").is_file() and not (place / "tokenizer_config.json").is_file():
        raise DataError(f"{place} has no tokenizer. Give the folder of a model that has one.")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    config = (
        json.loads((place / "config.json").read_text(encoding="utf-8")) if (place / "config.json").is_file() else {}
    )
    name = replaced or "the tokenizer of the course's instruct model"
    return tokenizer, name, config.get("max_position_embeddings") or config.get("n_positions") or 1024


def _fetched(source: str, asked: Asked, say: Callable[[str], None]) -> Path:
    """A data set of the Hub as a Parquet file, if the learner is online."""
    name = source.removeprefix(HUB)
    if environ.get("COURSE_ONLINE") != "1":
        raise DataError(
            f"{name!r} lies on the Hub, and nothing here opens a connection unless COURSE_ONLINE=1 is set. Set it, or "
            "give a file that you have."
        )
    from datasets import load_dataset

    try:
        table = load_dataset(name, split="train")
    except Exception as error:  # whatever its client raises
        raise DataError(f"{name!r} could not be fetched from the Hub: {error}") from error
    target = Path.cwd() / f"{name.replace('/', '-')}.parquet"
    if target.exists():
        raise DataError(f"{target} is there already. Check it as a file, or move it away.")
    with files.atomic_file(target) as fresh:
        table.to_parquet(fresh)
    say(f"fetched: {target}")
    return target


def _train(out: Path, found: DataCheck, steps: int | None, say: Callable[[str], None]) -> Trial:
    from course_utils.pretrained import store
    from course_utils.recipes.own_data import card_of, train_on

    loaded = store.load("base" if environ.get("COURSE_BASE_MODEL") else "instruct")
    say(f"Training {loaded.source} ...")
    trial = train_on(loaded, out / "data", found, steps)
    for label, interval in (("before", trial.before), ("after", trial.after), ("change", trial.change)):
        say(f"  {label:<7} {interval}")
    say(f"  {trial.figure}, {trial.held_out} rows in {trial.groups} groups. {trial.verdict()}")
    fields: dict[str, Any] = card_of(trial, found, loaded.source)
    problems = []
    for root in (out, settings.home() / "own-data", Path(tempfile.gettempdir()) / "course-own-data"):
        try:
            kept = store.save(_free(root), loaded.model, loaded.tokenizer, fields, root=root)
        except store.StoreError as error:
            problems.append(str(error))
            say(f"could not be kept in {root}: {error}")
        else:
            say(f"The model: {kept}")
            return trial
    raise OwnDataError("the trained model could not be kept anywhere:\n  " + "\n  ".join(problems))


def _free(root: Path) -> str:
    """A name that no model has there: what was trained before stays."""
    names = ("model", *(f"model-{number}" for number in range(2, 1_000)))
    return next(name for name in names if not (root / name).exists())


def _write_page(out: Path, found: DataCheck, trial: Trial | None, say: Callable[[str], None]) -> None:
    from course_utils.workshop.own_data_page import card, page

    try:
        if trial is not None:
            with files.atomic_file(out / "MODEL_CARD.md") as fresh:
                fresh.write_text(card(found, trial), encoding="utf-8")
        with files.atomic_file(out / "report.html") as fresh:
            fresh.write_text(page(found, row_lengths(out / "data"), trial), encoding="utf-8")
    except OSError as error:
        model = " The model was kept before, with its figures on its card (see above)." if trial is not None else ""
        raise OwnDataError(
            f"the report could not be written to {out}: {error}. The checked data are whole, in {out}.{model} "
            "Nothing is lost but the page; free some space and run the command again without --train for the page "
            "about the data."
        ) from error
    say(f"The report: {out / 'report.html'}")
