"""Run the chapter of one claim again, in an empty folder, and compare what it measures with what was recorded."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course_utils import chapters
from course_utils.classroom.records import claims, jsonl


def rerun(recorded: Mapping[str, Any]) -> tuple[bool, str]:
    """(whether the claim holds here too, a sentence) for a claim's record, by running its chapter on this machine.

    Same profile and seed, and a learner's folder of its own: nothing of yours is read or written. Two values seldom
    agree in every digit on two machines; what counts is that both keep the bound. Raises ChapterError for a chapter
    that is not in this edition.
    """
    entry = chapters.chapter(str(recorded["id"])[:2])
    if entry.number not in chapters.in_this_edition():
        raise chapters.ChapterError(f"chapter {entry.number} is not in this edition.")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
    with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as home:
        settings = {"COURSE_HOME": home, "COURSE_PROFILE": recorded["profile"], "COURSE_SEED": str(recorded["seed"])}
        command = [sys.executable, "-m", "course_utils.cli", "run", entry.number]
        subprocess.run(command, env=kept | settings, cwd=chapters.root(), stdout=subprocess.DEVNULL)
        rows = [row for row in jsonl.read(Path(home) / claims.FILE) if row.get("id") == recorded["id"]]
    return judge(recorded, rows[-1] if rows else None)


def judge(recorded: Mapping[str, Any], again: Mapping[str, Any] | None) -> tuple[bool, str]:
    """Compare a claim's record with that of the run made now (None: the chapter did not get as far)."""
    name = f"{recorded['id']} ({recorded['text']})"
    if again is None:
        return False, f"{name}: the chapter was run and did not measure it; see `course run {recorded['id'][:2]}`."
    was, now = claims.format_value(recorded["value"]), claims.format_value(again["value"])
    bound = claims.describe_bound(again["bound"])
    if not again["holds"]:
        return False, f"{name}: recorded {was}, measured here {now}, which is not {bound}."
    if recorded["bound"] != again["bound"] or not recorded["holds"]:
        return False, f"{name}: the record does not keep the chapter's bound, {bound}; measured here {now}."
    return True, f"{name}: recorded {was}, measured here {now}; both are {bound}."
