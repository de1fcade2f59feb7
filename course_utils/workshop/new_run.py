"""``course new-run``: a small project of the learner's own, outside the course's folder, that runs by itself.

Its files lie in ``project/`` as they are written; only the settings, the list of libraries and the README are filled
in. Nothing in it imports the course: it is what somebody takes to work.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from string import Template

from course_utils import chapters
from course_utils.pretrained.folder import StoreError
from course_utils.pretrained.hub import complaint

PARTS = Path(__file__).resolve().parent / "project"
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "accelerate", "datasets", "peft", "trl")
THINGS = {
    "lantern": "harbour shed",
    "ledger": "upper drawer",
    "kettle": "blue cupboard",
    "ladder": "back yard",
    "rope": "boat house",
    "map": "reading room",
    "bell": "watch tower",
    "saw": "tool chest",
    "flour": "cold cellar",
    "oar": "long rack",
}
WORDINGS = (
    "Where is the {thing} kept?",
    "Tell me where the {thing} is.",
    "I am looking for the {thing}.",
    "In which place do we keep the {thing}?",
    "Where do I put back the {thing}?",
    "Who has seen the {thing}?",
)
SIZES = {  # steps, learning rate and rank: of a model made on the spot, and of one that was pretrained
    True: {"steps": 60, "rate": "3e-3", "rank": 0},
    False: {"steps": 100, "rate": "2e-4", "rank": 16},
}


def write(folder: str | Path, data: str | None = None, model: str | None = None) -> Path:
    """Write the project into ``folder``, which is made, and return it.

    ``data``: a file of JSON Lines, which stays where it is; None writes a small sample. ``model``: a model of the Hub
    or a local folder; None is a tiny one that the project makes. Raises StoreError, and writes nothing, if the folder
    is not empty or lies inside the course, the data is not there, or the model's folder cannot be used.
    """
    folder = Path(folder).expanduser().absolute()
    _check_place(folder)
    if data is not None and not Path(data).expanduser().is_file():
        raise StoreError(f"--data is {data!r}, and there is no such file. Give a file of JSON Lines.")
    source = model or "tiny"
    if model is not None and Path(model).expanduser().is_dir():
        source = str(Path(model).expanduser().absolute())
        if said := complaint(Path(source)):
            raise StoreError(f"--model is {model!r}, {said}")
    elif model is not None and (model.startswith((".", "/", "~")) or model.count("/") != 1):
        raise StoreError(f"--model is {model!r}, but there is no such folder, and a Hub id has the form owner/name.")

    where = str(Path(data).expanduser().absolute()) if data is not None else "data.jsonl"
    values = {
        **{name: str(value) for name, value in SIZES[model is None].items()},
        "name": folder.name,
        "model": json.dumps(source, ensure_ascii=False),  # a TOML string is written as a JSON string
        "data": json.dumps(where, ensure_ascii=False),
        "data_words": where,
        "model_words": f"`{source}`" if model else "a tiny one that is made on the spot",
        "requirements": "\n".join(f"{name}=={version(name).partition('+')[0]}" for name in LIBRARIES),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for part in sorted(PARTS.iterdir()):
        if part.suffix == ".py":
            shutil.copyfile(part, folder / part.name)
        elif part.is_file():
            text = Template(part.read_text(encoding="utf-8")).substitute(values)
            name = ".gitignore" if part.name == "gitignore" else part.name
            (folder / name).write_text(text, encoding="utf-8")
    if data is None:
        rows = [
            {"question": wording.format(thing=thing), "answer": f"The {thing} is in the {place}."}
            for thing, place in THINGS.items()
            for wording in WORDINGS
        ]
        (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def _check_place(folder: Path) -> None:
    """Raise StoreError unless the folder is new or empty, and lies outside the course."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is there and not empty; nothing was written. Give the name of a new folder.")
    inside = [Path(__file__).resolve().parents[1]]
    try:
        inside.append(chapters.root().resolve())
    except chapters.ChapterError:
        pass  # the course is installed, and its notebooks lie elsewhere
    for course in inside:
        if folder.resolve().is_relative_to(course):
            raise StoreError(
                f"{folder} lies inside the course's own folder, {course}; what is yours should outlive it. Give a "
                "folder elsewhere, such as ~/my-run."
            )
