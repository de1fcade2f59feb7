"""The chapters of the course, in order, and where their notebooks lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class ChapterError(ValueError):
    """There is no such chapter, or its notebook cannot be found."""


@dataclass(frozen=True)
class Chapter:
    """number: two digits. reading: minutes of reading, without exercises and compute."""

    number: str
    name: str
    title: str
    part: str
    reading: int

    @property
    def stem(self) -> str:
        """File name without its ending, such as '06_instruction_tuning'."""
        return f"{self.number}_{self.name}"


PARTS = (
    "Start",
    "I  A base model",
    "II  Teaching it a task",
    "III  Aligning it",
    "IV  Judging it",
    "V  Keeping it alive",
    "VI  Showing it",
)

CHAPTERS = (
    Chapter("00", "start_here", "Start here", PARTS[0], 20),
    Chapter("01", "data_and_tokens", "Data and tokens", PARTS[1], 35),
    Chapter("02", "transformer", "The transformer", PARTS[1], 40),
    Chapter("03", "pretraining", "Pretraining", PARTS[1], 40),
    Chapter("04", "scaling_up", "Scaling up", PARTS[1], 40),
    Chapter("05", "prompting", "Prompting", PARTS[2], 30),
    Chapter("06", "instruction_tuning", "Instruction tuning", PARTS[2], 35),
    Chapter("07", "ways_to_fine_tune", "Ways to fine-tune", PARTS[2], 40),
    Chapter("08", "domain_adaptation", "Domain adaptation", PARTS[2], 35),
    Chapter("09", "lora", "LoRA", PARTS[2], 35),
    Chapter("10", "qlora", "QLoRA", PARTS[2], 35),
    Chapter("11", "reward_model", "The reward model", PARTS[3], 35),
    Chapter("12", "ppo", "PPO", PARTS[3], 45),
    Chapter("13", "dpo", "DPO", PARTS[3], 45),
    Chapter("14", "verifiable_rewards", "Verifiable rewards", PARTS[3], 45),
    Chapter("15", "evaluation", "Evaluation", PARTS[4], 65),
    Chapter("16", "hallucination", "Hallucination", PARTS[4], 35),
    Chapter("17", "bias_and_safety", "Bias and safety", PARTS[4], 35),
    Chapter("18", "distillation", "Distillation", PARTS[5], 30),
    Chapter("19", "serving", "Serving", PARTS[5], 50),
    Chapter("20", "drift", "Drift", PARTS[5], 35),
    Chapter("21", "capstone", "Capstone", PARTS[5], 40),
    Chapter("22", "interview_room", "The interview room", PARTS[6], 35),
)


def chapter(number: str | int) -> Chapter:
    """The chapter with this number ('06', '6' or 6). Raises ChapterError, naming those that exist."""
    text = str(number).strip()
    text = text.zfill(2) if text.isdigit() else text
    for entry in CHAPTERS:
        if text in (entry.number, entry.stem):
            return entry
    raise ChapterError(
        f"there is no chapter {number!r}; the course has {CHAPTERS[0].number} to {CHAPTERS[-1].number}, "
        'for example course_utils.start("06")'
    )


def root() -> Path:
    """The folder that holds ``notebooks/`` and ``solutions/``: around the package, or around the working directory.

    Raises ChapterError if there is none.
    """
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[1], here, *here.parents):
        if (folder / "notebooks").is_dir() or (folder / "solutions").is_dir():
            return folder
    raise ChapterError(
        f"no folder `notebooks` at {Path(__file__).resolve().parents[1]} or above {here}. "
        "Run the command inside the course's folder."
    )


def in_this_edition() -> set[str]:
    """Numbers of the chapters whose notebook is there."""
    try:
        folder = root() / "notebooks"
    except ChapterError:
        return set()
    return {entry.number for entry in CHAPTERS if (folder / f"{entry.stem}.ipynb").is_file()}
