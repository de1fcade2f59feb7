"""A class on one machine: what JupyterHub needs to know of the course, apart from JupyterHub itself.

``jupyter/hub/jupyterhub_config.py`` puts it together. Each learner has a folder of their own,

    FOLDER/learners/ann/course     a copy of the course: notebooks to work in, and the package that they import
    FOLDER/learners/ann/progress   COURSE_HOME: models, figures, progress

and a line in ``FOLDER/learners.csv`` with a name and a password.
"""

from __future__ import annotations

import csv
import math
import os
import re
import secrets
import shutil
from pathlib import Path

from course_utils import files
from course_utils.workshop.bundle import PARTS

SHEET = "learners.csv"
USUAL_GIB = 1.2  # of memory for one learner: the server and the kernel of most chapters
MOST_GIB = 2.0  # the same for the chapter that takes most (04), rounded up
HUB_GIB = 0.4  # the Hub, its proxy and the culler
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class HubError(ValueError):
    """A Hub that cannot be started; the message says what is missing and how to mend it."""


def needed_gib(learners: int, each: float = USUAL_GIB) -> float:
    """Memory in GiB for so many learners at once, the Hub included."""
    return learners * each + HUB_GIB


def check_memory(learners: int, there: float) -> str:
    """Compare what ``learners`` need with what the machine has (GiB; NaN: not known).

    Returns "" or a warning: enough for most chapters, not for all learners at once in the largest. Raises HubError if
    it is not enough for that either, or for no learners at all.
    """
    if learners < 1:
        raise HubError(f"COURSE_HUB_LEARNERS is {learners}; expected at least 1, such as COURSE_HUB_LEARNERS=8.")
    usual, most = needed_gib(learners), needed_gib(learners, MOST_GIB)
    if math.isnan(there) or there >= most:
        return ""
    fit = int((there - HUB_GIB) / USUAL_GIB)
    if there < usual:
        mend = f"set COURSE_HUB_LEARNERS={fit} and teach in groups, or " if fit > 0 else ""
        raise HubError(
            f"this machine has {there:.1f} GiB of memory; {learners} learners at once need about {usual:.0f} GiB "
            f"({USUAL_GIB:g} each and {HUB_GIB:g} for the Hub), {most:.0f} GiB in the largest chapter. To mend it, "
            f"{mend}take a machine with {math.ceil(most)} GiB."
        )
    return (
        f"{learners} learners at once need about {usual:.0f} GiB, {most:.0f} GiB if all are in chapter 04; this "
        f"machine has {there:.1f}. Teach chapter 04 in groups, or take a machine with {math.ceil(most)} GiB."
    )


def threads(learners: int, cores: int) -> int:
    """Threads for each learner's operations. More than the cores there are would wait for each other."""
    return max(1, cores // learners)


def learners_sheet(folder: Path, learners: int) -> Path:
    """The table of names and passwords in ``folder``; made with names learner-1, learner-2, ... if it is not there."""
    path = folder / SHEET
    if not path.exists():
        with files.atomic_file(path) as fresh, open(fresh, "w", encoding="utf-8", newline="") as file:
            os.chmod(fresh, 0o600)
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["name", "password"])
            writer.writerows([f"learner-{number}", secrets.token_urlsafe(9)] for number in range(1, learners + 1))
    return path


def passwords(path: Path) -> dict[str, str]:
    """Name -> password, from the table. Raises HubError naming the line that cannot be used."""
    found: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise HubError(f"{path} cannot be read ({error}). Remove it, and a new one is made.") from error
    for number, row in enumerate(rows[1:], 2):
        if not "".join(row).strip():
            continue
        name, password = (row[0].strip().lower(), row[1].strip()) if len(row) == 2 else ("", "")
        if not _NAME.fullmatch(name) or len(password) < 8 or name in found:
            raise HubError(
                f"{path}, line {number}: expected a name (letters, digits, . _ -) that is there once, a comma, and a "
                "password of 8 characters or more."
            )
        found[name] = password
    return found


def settle(folder: Path, name: str, course: Path) -> Path:
    """The learner's own copy of the course, made at the first visit and never touched again; returns its folder."""
    place = folder / "learners" / name
    mine = place / "course"
    (place / "progress").mkdir(parents=True, exist_ok=True)
    if not mine.exists():
        ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "kept", "*.egg-info")
        with files.atomic_folder(mine) as fresh:
            for part in PARTS:
                if (course / part).is_dir():
                    shutil.copytree(course / part, fresh / part, ignore=ignore)
                elif (course / part).is_file():
                    shutil.copy2(course / part, fresh / part)
    return mine


def environment(mine: Path, count: int) -> dict[str, str]:
    """What a learner's server and kernels find in their environment. count: threads for one operation."""
    return {
        "COURSE_HOME": str(mine.parent / "progress"),
        "PYTHONPATH": str(mine),
        "OMP_NUM_THREADS": str(count),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
