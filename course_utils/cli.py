"""The console command ``course``: the machine, progress and figures, a chapter put back, all chapters headless."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

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
    from course_utils.classroom.records.claims import enforced, recorded
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
    if broken:
        small = settings.profile().name == "smoke"
        why = "not enforced on smoke: it trains too little" if small else "with a seed of your own a miss may be chance"
        note = "" if enforced() else f" ({why})"
        print(f"Claims that do not hold{note}: {', '.join(broken)}")
    return int(any(ran.error for ran in results) or bool(broken and enforced()))


def speedrun(file: str | None, new: bool) -> int:
    """Write an entry to begin with, run one, or show the leaderboard."""
    from pathlib import Path

    from course_utils.classroom import speedrun as game

    if new:
        path = Path(file or "my_run.toml")
        if path.exists():
            print(f"error: {path} is there already; give another name.", file=sys.stderr)
            return 1
        path.write_text(game.BASELINE, encoding="utf-8")
        print(f"wrote  {path}\nChange it, give it a name, and run: course speedrun {path}")
        return 0
    if file is None:
        print(game.table(game.leaderboard()))
        return 0
    entry = game.parse(Path(file).read_text(encoding="utf-8"), file)
    before = game.leaderboard()
    try:
        result = game.run_entry(entry)
    except KeyboardInterrupt:
        print("\nStopped: nothing was recorded. The same command begins again.")
        return 130
    game.record(result)
    print(game.table(game.leaderboard()))
    print(game.verdict(result, before))
    return 0


def monitor(log: str, page: str | None, reference_weeks: int) -> int:
    """Write one page about a log of requests. Returns 0 whether or not there are alerts: they are news, not an
    error."""
    from course_utils.workshop.monitor_page import write_page

    written, fired, odd = write_page(log, page, reference_weeks)
    for text in odd:
        print(f"note: {text}")
    for alert in fired:
        print(
            f"week {alert.week:>3}  {alert.rule.name}: {alert.value:.3g}, limit {alert.rule.limit:.3g}. "
            f"{alert.rule.then}"
        )
    print(f"{'No alert. ' if not fired else ''}The page: {written}")
    return 0


def audit(folder: str, page: str | None, seed: int) -> int:
    """Audit a model folder: leans, refusals, helpful, honest, harmless, on one page."""
    from course_utils.evaluation.association import AuditError
    from course_utils.workshop.audit import write_page

    try:
        written, figures = write_page(folder, page, seed)
    except AuditError as error:  # imported here alone: torch takes seconds
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, text in figures.items():
        print(f"{name:<32} {text}")
    print(f"The page: {written}")
    return 0


def serve(folder: str, port: int, log: str | None) -> int:
    """Serve the model of a folder, or one that has a name in the course, until Ctrl-C."""
    import contextlib
    import os
    from pathlib import Path

    from course_utils.pretrained import store
    from course_utils.pretrained.folder import StoreError
    from course_utils.serving.export import read_release
    from course_utils.serving.paged_cache import ServingError

    try:
        from course_utils.serving.server import make_server
    except ModuleNotFoundError as error:
        print(f"error: {error.name} is not installed: pip install 'llm-course[chapters]'", file=sys.stderr)
        return 1
    place = Path(folder).absolute()
    token = os.environ.get("COURSE_SERVER_TOKEN") or None
    try:
        if place.is_dir() and not (place / "card.json").is_file():
            loaded = read_release(place)  # a folder of the Hub's kind
        else:
            loaded = store.load(place.name, root=place.parent) if place.is_dir() else store.load(folder)
        server = make_server({place.name: loaded}, token=token, port=port, log=log)
    except (ServingError, StoreError) as error:  # imported here alone: torch takes seconds
        print(f"error: {error}", file=sys.stderr)
        return 1
    if token is None:
        print(f"The token, which clients send as `Authorization: Bearer ...`: {server.token}", flush=True)
    print(f"Serving {loaded.source} as {place.name!r} at {server.url}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0


def new(chapter: str) -> int:
    """Write the skeletons of a chapter that is not there yet, and say what is left to do."""
    from course_utils.workshop.new_chapter import NEXT, write

    for path in write(chapter):
        print(f"wrote  {path}")
    print(NEXT)
    return 0


def find(words: list[str], all: bool) -> int:
    """Where a topic is answered; without words, all topics."""
    from course_utils.interview import topics

    if not words:
        for topic in topics.TOPICS:
            print(f"{', '.join(topic.ids):<16} {topic.title}  (chapter {', '.join(topic.chapters)})")
        return 0
    try:
        found = topics.find(" ".join(words))
    except topics.TopicError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(topics.text(topics.lead(found[0]), whole=all))
    if more := [f"{topic.title} ({topic.ids[0]})" for topic in found[1:6]]:
        print(f"\nNear it: {'; '.join(more)}")
    return 0


def workshop(asked: str, **options: Any) -> int:
    """For whoever teaches: a schedule, submissions graded, slides, a bundle for a place without a network."""
    from course_utils.workshop import desk

    return desk.run(asked, options)


def add_workshop(parser: argparse.ArgumentParser) -> None:
    """The commands of `course workshop`."""
    parts = parser.add_subparsers(metavar="what", dest="asked", required=True)

    def part(name: str, text: str) -> argparse.ArgumentParser:
        return parts.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")

    planned = part("plan", "a schedule with breaks for the hours or days there are")
    planned.add_argument("--hours", help="of a single session, such as 3")
    planned.add_argument("--days", help="of a longer workshop, such as 2")
    planned.add_argument("--chapters", nargs="+", default=[], help="teach just these, such as 06 09")
    planned.add_argument("--timings", help="a table of real minutes: read, and given a row for each part of this plan")
    planned.add_argument("--start", default="09:00", help="when a day begins; 09:00 if left out")
    planned.add_argument("--page", help="write the schedule as an HTML page too")
    shown = part("slides", "chapters as slides with the speaker's notes, each one page that needs no network")
    shown.add_argument("chapters", nargs="+", help="the chapters, such as 06 09")
    shown.add_argument("--to", default="slides", help="the folder; ./slides if left out")
    packed = part("bundle", "the course with its packages in one folder, to be installed without a network")
    packed.add_argument("folder", help="a new folder; with --check one that was made before")
    packed.add_argument(
        "--wheels", nargs="+", default=[], help="folders that `pip download` wrote, one for each system"
    )
    packed.add_argument("--check", action="store_true", help="compare every file of the folder with its checksum")
    edited = part("edition", "solved chapters with notes for the instructor in cells of their own")
    edited.add_argument("chapters", nargs="+", help="the chapters, such as 06 09")
    edited.add_argument("--to", default="instructor", help="the folder; ./instructor if left out")
    given = part("release", "chapters as they are given out to be graded")
    given.add_argument("folder", help="a folder for this class")
    given.add_argument("chapters", nargs="*", help="the chapters, such as 06 09")
    graded = part("grade", "all that was handed in, with nbgrader: points, feedback, what stuck")
    graded.add_argument("folder", help="the folder of `release`; notebooks lie in its submitted/NAME/")
    graded.add_argument("--again", action="store_true", help="those too that are graded and have not changed")
    graded.add_argument("--cell-seconds", type=int, default=120, help="what a cell may take; 120 if left out")
    graded.add_argument("--minutes", type=int, default=15, help="what a notebook may take; 15 if left out")
    graded.add_argument("--memory", type=float, default=4.0, help="GiB that a process may fill; 4 if left out")


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments. ``run`` of what is parsed does the work and returns the exit status."""
    top = argparse.ArgumentParser(prog="course", description=__doc__)
    top.add_argument("--version", action="version", version=f"course {__version__}")
    commands = top.add_subparsers(metavar="command")

    def command(name: str, does: Callable[..., int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        made.set_defaults(run=does)
        return made

    command("doctor", doctor, "what this machine offers, checked offline")
    command("progress", progress, "exercises solved, chapter by chapter")
    measured = command("claims", claims, "everything you have measured")
    measured.add_argument("chapter", nargs="?", help="one chapter only, such as 06")
    back = command("reset", reset, "a chapter as it was shipped; your copy is kept")
    back.add_argument("chapter", help="the chapter, such as 06")
    whole = command("run", run, "all chapters without a browser, ending in one page of claims and pictures")
    whole.add_argument("chapters", nargs="*", help="only these, such as 03 06")
    whole.add_argument("--again", action="store_true", help="run those too that have gone through before")
    game = command(
        "speedrun", speedrun, "the best model for a fixed amount of arithmetic: run an entry, or see the board"
    )
    game.add_argument("file", nargs="?", help="an entry, such as my_run.toml; without one the leaderboard is shown")
    game.add_argument("--new", action="store_true", help="write an entry to begin with")
    watched = command("monitor", monitor, "one page about a log of requests: its weeks, its alerts")
    watched.add_argument("log", help="what a RequestLog wrote, or lines of JSON with the ending .jsonl")
    watched.add_argument("--page", help="where to write the page; beside the log if left out")
    watched.add_argument("--reference-weeks", type=int, default=8, help="the first weeks, that are taken as normal")
    examined = command("audit", audit, "one page about a model folder: its leans, what it declines, how honest it is")
    examined.add_argument(
        "folder", help="a folder that the course wrote, such as COURSE_HOME/checkpoints/laptop/instruct"
    )
    examined.add_argument("--page", help="where to write the page; beside the folder if left out")
    examined.add_argument("--seed", type=int, default=0, help="which names and questions are drawn")
    served = command("serve", serve, "a model behind OpenAI's API, on this machine alone")
    served.add_argument("folder", help="a model's folder, or its name, such as instruct")
    served.add_argument("--port", type=int, default=8000, help="0 for any that is free; 8000 if left out")
    served.add_argument("--log", help="log the requests to this file, as `course monitor` reads it")
    looked = command("find", find, "where a topic is answered: chapter, exercise, figure, question")
    looked.add_argument("words", nargs="*", help="such as: kl penalty; without words all topics are listed")
    looked.add_argument("--all", action="store_true", help="every figure and question of the topic")
    taught = command("workshop", workshop, "for instructors: a schedule, grading, slides")
    add_workshop(taught)
    made = command("new", new, "for authors: the skeletons of a chapter that is to come")
    made.add_argument("chapter", help="the chapter, such as 13")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. Errors of the course are printed without a traceback."""
    commands = parser()
    asked = vars(commands.parse_args(arguments))
    if "run" not in asked:
        commands.print_help()
        return 0
    from course_utils.chapters import ChapterError
    from course_utils.classroom.speedrun import SpeedrunError
    from course_utils.serving.request_log import LogError
    from course_utils.workshop.notebooks import GenerateError

    refused = (ChapterError, GenerateError, LogError, SpeedrunError, settings.SettingsError, OSError)
    try:
        return asked.pop("run")(**asked)
    except refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
