"""The course's one dial: which profile, which seed, which device, and where the learner's files live.

Everything here is read from the environment, once per call, so that a notebook, a test and a
command line see the same answer:

- ``COURSE_PROFILE``  ``smoke`` | ``laptop`` (default) | ``gpu``
- ``COURSE_SEED``     an integer, 0 by default
- ``COURSE_HOME``     the learner's folder: models, claims, progress
- ``COURSE_BASE_MODEL``  a Hub id or a local folder that replaces the shipped base model
- ``COURSE_KEEP``     ``1`` keeps the models of the chapters' last cells, also in headless runs; ``0`` never does
- ``COURSE_ONLINE``   ``1`` allows a cell that would open a connection to do so
- ``COURSE_LANGUAGE`` of the cards (``de``), English by default; see ``language``

A relative folder is taken from the course's own folder: a kernel starts beside its notebook and a command wherever the
shell is, and both must mean the same one.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from course_utils import chapters


class SettingsError(ValueError):
    """A setting has a value that the course cannot use."""


@dataclass(frozen=True)
class Profile:
    """Sizes of one profile. Lengths are in tokens; the model's fields are those of a Llama configuration."""

    name: str
    people: int  # people of the world, strangers included
    vocab_size: int
    context: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    batch_size: int  # rows per optimizer step in pretraining
    row_length: int  # tokens per packed row in pretraining
    minutes: str  # what a chapter's compute costs at the most, for the setup card


PROFILES: dict[str, Profile] = {
    "smoke": Profile("smoke", 300, 1536, 256, 64, 176, 2, 4, 2, 8, 128, "15 s"),
    "laptop": Profile("laptop", 300, 1536, 256, 128, 352, 4, 4, 2, 32, 128, "75 s on 2 cores"),
    "gpu": Profile("gpu", 5000, 8192, 1024, 768, 2048, 12, 12, 4, 128, 512, "10 min on one large GPU"),
}


def profile(name: str | None = None) -> Profile:
    """The profile called ``name``, or the one that ``COURSE_PROFILE`` asks for. Raises SettingsError."""
    asked = name if name is not None else os.environ.get("COURSE_PROFILE") or "laptop"
    if asked not in PROFILES:
        raise SettingsError(
            f"COURSE_PROFILE is {asked!r}; the course knows {', '.join(PROFILES)}. "
            "Set one of these (for example `COURSE_PROFILE=laptop`) and restart the kernel."
        )
    return PROFILES[asked]


def seed() -> int:
    """The seed of this run (``COURSE_SEED``, 0 by default). Raises SettingsError if it is no integer."""
    text = os.environ.get("COURSE_SEED") or "0"
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise SettingsError(f"COURSE_SEED is {text!r}; it must be an integer, 0 or more. Try `COURSE_SEED=0`.")
    return value


def home() -> Path:
    """The learner's folder (``COURSE_HOME``, else the user's data directory). It is made if it is missing.

    While nbgrader grades, it is an empty folder of this process alone: what a submission records must not become the
    grader's, and the grader's own models must not answer for it.
    """
    if grading():
        return _folder_for_grading(os.getpid())
    asked = os.environ.get("COURSE_HOME")
    if asked:
        folder = anchored(asked)
    else:
        from platformdirs import user_data_dir

        folder = Path(user_data_dir("llm-course", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the course cannot write to {folder} ({error.strerror}). Set COURSE_HOME to a folder of yours."
        ) from error
    return folder


def anchored(path: str | Path) -> Path:
    """``path`` as an absolute one: a relative path is taken from the course's folder, else from the working one."""
    folder = Path(path).expanduser()
    if folder.is_absolute():
        return folder
    try:
        return chapters.root() / folder
    except chapters.ChapterError:
        return Path.cwd() / folder


def grading() -> bool:
    """True in a kernel that nbgrader's autograder started."""
    return os.environ.get("NBGRADER_EXECUTION") == "autograde"


@functools.cache
def _folder_for_grading(process: int) -> Path:
    folder = tempfile.mkdtemp(prefix="course-grading-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def online() -> bool:
    """True if the learner has allowed cells to open a connection (``COURSE_ONLINE=1``)."""
    return os.environ.get("COURSE_ONLINE") == "1"


def device() -> str:
    """``cuda`` or else ``mps`` (an Apple GPU) on the gpu profile, ``cpu`` on the others.

    Raises SettingsError if the gpu profile finds no GPU.
    """
    if profile().name != "gpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    raise SettingsError(
        "COURSE_PROFILE is 'gpu', but PyTorch sees no CUDA device and no Apple GPU here. "
        "Use COURSE_PROFILE=laptop, or install the CUDA build of PyTorch."
    )
