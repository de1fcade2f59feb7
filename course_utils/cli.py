"""The console command ``course``: the machine, progress and figures, a chapter put back, all chapters headless."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from course_utils import __version__, settings


def doctor() -> int:
    """Check this machine offline. Returns 1 if the course cannot run on it."""
    from course_utils.workshop.doctor import examine

    states = []
    for finding in examine():
        print(finding.line(), flush=True)
        states.append(finding.state)
    print("\nThe course cannot run yet: see ✗ above." if "bad" in states else "\nThis machine is fit for the course.")
    return int("bad" in states)


def progress() -> int:
    """Print the exercises solved, chapter by chapter."""
    from course_utils.classroom.course_map import survey

    print(survey().text())
    return 0


def claims(chapter: str | None) -> int:
    """Print everything measured on this profile, or one chapter's part."""
    from course_utils import chapters
    from course_utils.classroom.records.claims import ClaimsTable, recorded

    number = chapters.chapter(chapter).number if chapter is not None else None
    print(ClaimsTable(list(recorded(number).values()), settings.profile().name).text())
    return 0


def reset(chapter: str) -> int:
    """Put a chapter's notebook back to its shipped state."""
    from course_utils.workshop.reset import reset as put_back

    done = put_back(chapter)
    if done.kept is not None:
        print(f"Your copy is kept: {done.kept}")
    print(f"As shipped: {done.notebook}")
    print("If it is open in JupyterLab, close it and open it again. Your progress and your figures are untouched.")
    return 0


def run(chapters: list[str], again: bool) -> int:
    """Run chapters headless and write the page of claims and pictures. Returns 1 if a cell or a claim failed."""
    from course_utils.classroom.records.claims import recorded
    from course_utils.workshop.report import write_report
    from course_utils.workshop.run_all import run_course

    try:
        results = run_course(chapters or None, again=again)
    except KeyboardInterrupt:
        print("\nStopped. The chapters that went through are kept; the same command goes on from here.")
        return 130
    for ran in results:
        state = f"stopped: {ran.error}" if ran.error else "kept from an earlier run" if ran.kept else "went through"
        print(f"{ran.chapter.number} {ran.chapter.title:<24} {ran.seconds / 60:5.1f} min  {state}")
    print(f"Claims and pictures: {write_report(results)}")
    broken = [id for ran in results for id, r in recorded(ran.chapter.number).items() if not r["holds"]]
    enforced = settings.profile().name != "smoke"
    if broken:
        note = "" if enforced else " (not enforced on smoke: it trains too little)"
        print(f"Claims that do not hold{note}: {', '.join(broken)}")
    return int(any(ran.error for ran in results) or bool(broken and enforced))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. Errors of the course are printed without a traceback."""
    parser = argparse.ArgumentParser(prog="course", description=__doc__)
    parser.add_argument("--version", action="version", version=f"course {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("doctor", help="what this machine offers, checked offline")
    commands.add_parser("progress", help="exercises solved, chapter by chapter")
    measured = commands.add_parser("claims", help="everything you have measured")
    measured.add_argument("chapter", nargs="?", help="one chapter only, such as 06")
    back = commands.add_parser("reset", help="a chapter as it was shipped; your copy is kept")
    back.add_argument("chapter", help="the chapter, such as 06")
    whole = commands.add_parser("run", help="all chapters without a browser, ending in one page of claims and pictures")
    whole.add_argument("chapters", nargs="*", help="only these, such as 03 06")
    whole.add_argument("--again", action="store_true", help="run those too that have gone through before")
    asked = parser.parse_args(arguments)
    from course_utils.chapters import ChapterError
    from course_utils.workshop.notebooks import GenerateError

    try:
        if asked.command == "doctor":
            return doctor()
        if asked.command == "progress":
            return progress()
        if asked.command == "claims":
            return claims(asked.chapter)
        if asked.command == "run":
            return run(asked.chapters, asked.again)
        return reset(asked.chapter)
    except (ChapterError, GenerateError, settings.SettingsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
