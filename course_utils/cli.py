"""The console command ``course``: the machine, progress and figures, a chapter put back, all chapters headless."""

from __future__ import annotations

import argparse
import os
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
        if os.environ.get("COURSE_BASE_MODEL"):
            why = "most are about the Isles and models that learned them; with another base they are recorded only"
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


def quiz(of: str | None, count: int) -> int:
    """Ask quiz questions, the weakest topics first."""
    from course_utils.interview import terminal

    terminal.quiz(of, count=count)
    return 0


def cards(chapter: str | None, new: int, anki: str | None, redate: bool) -> int:
    """Review the cards that are due; or write them for Anki; or date reviews anew that lie in the future."""
    from course_utils.interview.schedule import Deck, ScheduleError

    try:
        if anki:
            from course_utils.interview.anki import export_bank

            print(f"{export_bank(anki, chapter)}\nIn Anki: File, Import. Doing it again updates the notes.")
        elif redate:
            with Deck() as deck:
                print(f"{deck.redate()} reviews that lay in the future count as made now.")
        else:
            from course_utils.interview import terminal

            terminal.cards(chapter, new=new)
    except ScheduleError as error:  # imported here alone: the other commands need no cards
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def mock(role: str, level: str, minutes: int, seed: int | None) -> int:
    """Hold a mock interview."""
    from course_utils.interview import terminal
    from course_utils.interview.mock import MockError

    try:
        terminal.interview(role, level, minutes, seed=seed)
    except MockError as error:  # imported here alone, as above
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def certificate(action: str, file: str | None, name: str, rerun: bool) -> int:
    """Write a certificate, or check one. Returns 1 if it does not agree with the records."""
    from pathlib import Path

    from course_utils.interview import certificate as room
    from course_utils.interview.schedule import ScheduleError

    try:
        if action == "make":
            for path in room.write(room.make(name), file):
                print(f"wrote  {path}")
            return 0
        path = Path(file) if file else settings.home() / "certificate.json"
        page = room.read(path)
        findings = room.verify(page, path.with_suffix(".html"))
        good = all(finding.good for finding in findings)
        print("\n".join(f"{'✓' if finding.good else '✗'} {finding.text}" for finding in findings))
        if rerun:
            from course_utils.workshop.rerun import rerun as run_again

            claim = room.pick(page)
            print(f"Running chapter {claim['id'][:2]} again, for the claim {claim['id']} ...", flush=True)
            held, text = run_again(claim)
            good = good and held
            print(f"{'✓' if held else '✗'} {text}")
        print(f"\n{room.PROVES_NOT}" if good else "\nThis certificate does not agree with the records.")
        return int(not good)
    except (room.CertificateError, ScheduleError) as error:  # imported here alone, as above
        print(f"error: {error}", file=sys.stderr)
        return 1


def drill(name: str | None, check: bool, hint: bool, solution: bool, reset: bool) -> int:
    """List the coding drills, open one, or check, help with, or put back the learner's file."""
    from course_utils.interview.drills import desk
    from course_utils.interview.drills.definition import DrillError

    try:
        if name is None:
            print(desk.listing())
            return 0
        if check:
            right, text = desk.check(name)
            print(text)
            return int(not right)
        does = desk.hint if hint else desk.solution if solution else desk.reset if reset else desk.open_drill
        print(does(name))
    except DrillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: nothing was recorded.")
        return 130
    return 0


def data_check(file: str, **asked: Any) -> int:
    """Check a learner's own data set, and train on it if that is asked for. Returns 1 for what cannot be used."""
    from course_utils.pretrained.folder import StoreError
    from course_utils.text.documents import DataError
    from course_utils.workshop.own_data import Asked, OwnDataError
    from course_utils.workshop.own_data import run as check

    try:
        check(file, Asked(**asked))
    except (DataError, OwnDataError, StoreError, ValueError) as error:  # imported here alone: torch takes seconds
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What was written before is whole; your file is as it was.")
        return 130
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
    packed.add_argument("--wheels", nargs="+", default=[], help="folders that `pip wheel` wrote, one for each system")
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


def new_run(folder: str, data: str | None, model: str | None) -> int:
    """Write a small project of the learner's own, which runs without the course."""
    from course_utils.pretrained.folder import StoreError
    from course_utils.workshop.new_run import write

    try:
        written = write(folder, data, model)
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote  {written}\nIt runs by itself: python {written / 'run.py'}\nIts settings: {written / 'config.toml'}")
    return 0


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
    asked = command("quiz", quiz, "quiz questions, the weakest topics first")
    asked.add_argument("of", nargs="?", help="one chapter only, such as 06, or one topic, such as I7")
    asked.add_argument("--count", type=int, default=0, help="so many at most")
    room = command("cards", cards, "interview cards that come back before they are forgotten")
    room.add_argument("chapter", nargs="?", help="one chapter only, such as 06")
    room.add_argument("--new", type=int, default=10, help="new cards a day; 10 if left out")
    room.add_argument("--anki", metavar="FILE", help="write all cards as a text file that Anki imports")
    room.add_argument("--redate", action="store_true", help="reviews that lie in the future count as made now")
    trial = command("mock", mock, "a mock interview: questions, a drill and a design walk")
    roles = "generalist, pretraining, post-training, evaluation or inference"
    trial.add_argument("--role", default="generalist", help=roles)
    trial.add_argument("--level", default="onsite", help="screen, onsite or staff")
    trial.add_argument("--minutes", type=int, default=60, help="10 to 240")
    trial.add_argument("--seed", type=int, help="the same number draws the same round")
    page = command("certificate", certificate, "one page of what your records hold, and its check")
    page.add_argument("action", nargs="?", choices=("make", "verify"), default="make", help="make it, or verify one")
    page.add_argument("file", nargs="?", help="verify: the .json file; make: the folder to write to")
    page.add_argument("--name", default="", help="make: the name on the page")
    page.add_argument("--rerun", action="store_true", help="verify: run the chapter of a random claim again, too")
    drilled = command("drill", drill, "coding drills from memory: list them, begin one, check what you wrote")
    drilled.add_argument("name", nargs="?", help="a drill, such as stable_softmax; without one all are listed")
    one = drilled.add_mutually_exclusive_group()
    one.add_argument("--check", action="store_true", help="check your file, in a process of its own")
    one.add_argument("--hint", action="store_true", help="the next hint")
    one.add_argument("--solution", action="store_true", help="the working code, after the last hint")
    one.add_argument("--reset", action="store_true", help="begin anew; your old copy is kept")
    looked = command("find", find, "where a topic is answered: chapter, exercise, figure, question")
    looked.add_argument("words", nargs="*", help="such as: kl penalty; without words all topics are listed")
    looked.add_argument("--all", action="store_true", help="every figure and question of the topic")
    taught = command("workshop", workshop, "for instructors: a schedule, grading, slides")
    add_workshop(taught)
    own = commands.add_parser("data", help="your own data").add_subparsers(metavar="check", required=True)
    checked = own.add_parser("check", help="every row of a file checked, counted, split; if wanted, trained on")
    checked.set_defaults(run=data_check)
    checked.add_argument("file", help="JSONL, JSON, CSV, TSV, Parquet, text, a folder of these, or hub:owner/name")
    checked.add_argument("--out", help="the folder to write; NAME-checked where you are if left out")
    checked.add_argument("--train", action="store_true", help="train a model on it, and measure before and after")
    checked.add_argument("--yes", action="store_true", help="the layout that is found is right; do not ask")
    checked.add_argument("--columns", default="", help="which column is what, such as question=Frage,answer=Antwort")
    checked.add_argument("--group", help="the column whose equal values must stay on one side of the split")
    checked.add_argument("--question", default="Which label fits this text?", help="what a label answers")
    checked.add_argument("--labels", default="", help="words for labels that are numbers, such as bad,good")
    checked.add_argument("--tokenizer", help="the folder of a tokenizer; the model's own if left out")
    checked.add_argument("--limit", type=int, help="tokens that the model reads; what its config says if left out")
    checked.add_argument("--share", type=float, default=0.1, help="of the rows, held out; 0.1 if left out")
    checked.add_argument("--steps", type=int, help="training steps; as many as fit the profile if left out")
    project = command("new-run", new_run, "a small project of your own that runs without the course")
    project.add_argument("folder", help="a new folder outside the course's, such as ~/my-run")
    project.add_argument("--data", help="a file of JSON Lines; a small sample is written if left out")
    project.add_argument("--model", help="a model of the Hub or a local folder; a tiny one is made if left out")
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
    try:
        return asked.pop("run")(**asked)
    except (OSError, RuntimeError, ValueError) as error:
        if not isinstance(error, _refusals()):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1


def _refusals() -> tuple[type[Exception], ...]:
    """The errors whose message is all that a reader needs. Imported when there is one: a start needs none."""
    from course_utils.chapters import ChapterError
    from course_utils.classroom.speedrun import SpeedrunError
    from course_utils.interview.bank import BankError
    from course_utils.serving.request_log import LogError
    from course_utils.workshop.notebooks import GenerateError

    return (BankError, ChapterError, GenerateError, LogError, SpeedrunError, settings.SettingsError, OSError)


if __name__ == "__main__":
    sys.exit(main())
