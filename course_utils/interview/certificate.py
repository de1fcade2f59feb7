"""A certificate that can be checked: one page of what the learner's own records hold, and a chain of digests over them.

Records are lines that are only added to. The digest of a line is taken over the line and the digest before it, so the
last one changes if any line was changed, removed, added in between or put in another order. A certificate holds that
last digest and some on the way, and the sums that follow from the lines. Whoever has the learner's folder can go
through the lines again: a number that was edited on the page, or in the records afterwards, does not agree.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import platform
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any

from course_utils import __version__, files, settings
from course_utils.classroom.records import claims, progress
from course_utils.interview import schedule

FORMAT = 1
STEP = 50  # lines between two digests that are kept: an edit is found within so many
PAUSE = 30  # minutes without a record that still count as work
LIBRARIES = ("torch", "transformers", "peft", "trl", "tokenizers", "datasets", "bitsandbytes")
PROVES = (
    "Every count and figure here follows from the records in the learner's folder, and of those none was changed, "
    "removed or put in between since this page was made. The command `course certificate verify` checks it."
)
PROVES_NOT = (
    "It does not prove who sat at the keyboard, or that nobody helped. Nor that the notebooks wrote the records: who "
    "can program can write a folder of records that agrees with itself. Two things help: ask about a figure, or run a "
    "claim again (`course certificate verify --rerun`). A page that was handed in earlier must still agree with the "
    "folder, too: that shows history that was written anew."
)


class CertificateError(ValueError):
    """A certificate that cannot be made or read; the message says why."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    good: bool
    text: str


def record_lines() -> dict[str, list[bytes]]:
    """The learner's records, line by line: claims, progress, and the reviews of cards as they were given.

    A last line that a crash has torn counts once the next record has closed it.
    """
    found = {}
    for name in (progress.FILE, claims.FILE):
        path = settings.home() / name
        data = path.read_bytes() if path.is_file() else b""
        found[name] = data.split(b"\n")[:-1]
    found[schedule.FILE] = []
    if (settings.home() / schedule.FILE).is_file():
        with schedule.Deck() as deck:
            rows = [[r.card, r.rating, r.clock.isoformat()] for r in deck.reviews()]
        found[schedule.FILE] = [json.dumps(row).encode() for row in rows]
    return found


def chain(lines: Sequence[bytes], name: str) -> list[str]:
    """Digest after each ``STEP`` lines and after the last: sha256(digest before, line), from sha256(name) on."""
    digest, kept = hashlib.sha256(name.encode()).digest(), []
    for number, line in enumerate(lines, 1):
        digest = hashlib.sha256(digest + line).digest()
        if number % STEP == 0 or number == len(lines):
            kept.append(digest.hex())
    return kept


def summary(lines: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
    """What the records say, worked out from their lines alone."""
    events, measured = (_records(lines.get(name, ())) for name in (progress.FILE, claims.FILE))
    exercises: dict[str, dict[str, Any]] = {}
    drills: dict[str, dict[str, Any]] = {}
    quiz: dict[str, bool] = {}
    for event in events:
        name, kind = event.get("id"), event.get("kind")
        if not isinstance(name, str):
            continue
        if kind in ("exercise", "hint"):
            at = exercises.setdefault(name, {"solved": False, "attempts": 0, "hints": 0})
            at["attempts"] += event.get("status") in ("right", "wrong")
            at["solved"] |= event.get("status") == "right"
            at["hints"] = max(at["hints"], event["step"]) if isinstance(event.get("step"), int) else at["hints"]
        elif kind in ("drill", "drill_hint"):
            at = drills.setdefault(name, {"solved": False, "attempts": 0, "hints": 0})
            at["attempts"] += kind == "drill"
            at["solved"] |= event.get("right") is True
            at["hints"] = max(at["hints"], event["step"]) if isinstance(event.get("step"), int) else at["hints"]
        elif kind == "quiz":
            quiz[name] = event.get("right") is True
    latest: dict[str, dict[str, Any]] = {}
    for row in measured:
        if isinstance(row.get("id"), str) and {"value", "bound", "holds", "profile", "seed"} <= row.keys():
            latest[f"{row['id']} {row['profile']} {row['seed']}"] = {
                name: row.get(name)
                for name in ("id", "text", "value", "bound", "holds", "profile", "seed", "base_model")
            }
    reviews = [json.loads(line) for line in lines.get(schedule.FILE, ())]
    times = [event.get("time") for event in events] + [review[2] for review in reviews]
    return {
        "exercises": dict(sorted(exercises.items())),
        "drills": dict(sorted(drills.items())),
        "quiz": {"answered": len(quiz), "right": sum(quiz.values())},
        "mock_interviews": sum(event.get("kind") == "mock" for event in events),
        "cards": {"known": len({review[0] for review in reviews}), "reviews": len(reviews)},
        "claims": [latest[name] for name in sorted(latest)],
        "hours": hours(times),
    }


def hours(times: Sequence[Any]) -> float:
    """Hours at work, estimated: pauses between records of at most half an hour, added up."""
    read = []
    for text in times:
        with contextlib.suppress(TypeError, ValueError):
            read.append(datetime.fromisoformat(text).timestamp())
    read.sort()
    gaps = [later - earlier for earlier, later in zip(read, read[1:], strict=False)]
    return round(sum(gap for gap in gaps if gap <= 60 * PAUSE) / 3600, 2)


def make(name: str = "", now: datetime | None = None) -> dict[str, Any]:
    """The certificate of this folder as it stands. name: of the learner, as it shall stand on the page.

    Raises CertificateError if there is no record yet.
    """
    lines = record_lines()
    if not any(lines.values()):
        raise CertificateError(
            f"{settings.home()} holds no record yet. Solve an exercise or run a chapter first; if your records lie in "
            "another folder, set COURSE_HOME."
        )
    made = {
        "format": FORMAT,
        "name": str(name),
        "made": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "versions": versions(),
        "records": {file: {"lines": len(found), "digests": chain(found, file)} for file, found in lines.items()},
        "summary": summary(lines),
        "proves": PROVES,
        "does_not_prove": PROVES_NOT,
    }
    return made | {"digest": page_digest(made)}


def versions() -> dict[str, str]:
    """The course, Python, and the libraries that are installed."""
    found = {"course": __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found


def page_digest(page: Mapping[str, Any]) -> str:
    """The digest of a certificate's own content, without the digest itself."""
    content = {name: value for name, value in page.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write(page: Mapping[str, Any], folder: str | PathLike[str] | None = None) -> tuple[Path, Path]:
    """Write ``certificate.json`` and ``certificate.html`` into ``folder`` (the learner's if None); returns both."""
    place = Path(folder) if folder is not None else settings.home()
    paths = place / "certificate.json", place / "certificate.html"
    for path, text in zip(paths, (json.dumps(page, indent=1, ensure_ascii=False) + "\n", as_html(page)), strict=True):
        with files.atomic_file(path) as fresh:
            fresh.write_text(text, encoding="utf-8", newline="\n")
    return paths


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """A certificate's JSON. Raises CertificateError for a file that is none, or of a later version."""
    path = Path(path)
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CertificateError(f"{path} is no certificate: {error}. Give the .json file, not the page.") from error
    if not isinstance(page, dict) or not {"format", "records", "summary", "digest"} <= page.keys():
        raise CertificateError(f"{path} is JSON, but no certificate of this course.")
    if page["format"] != FORMAT:
        raise CertificateError(f"{path} has format {page['format']!r}; this version of the course reads {FORMAT}.")
    return page


def verify(page: Mapping[str, Any], beside: str | PathLike[str] | None = None) -> list[Finding]:
    """Check a certificate against the records of ``COURSE_HOME``. beside: its HTML page, compared where it is there.

    Records that were added since are no fault. Never raises for what a forger may have written.
    """
    found = [Finding(page.get("digest") == page_digest(page), "the page's own digest")]
    if not found[0].good:
        found[0] = Finding(False, "the certificate was edited: its content does not have the digest that it names")
    there = record_lines()
    kept: dict[str, Sequence[bytes]] = {}
    stated = page.get("records")
    for name, lines in there.items():
        try:
            count, digests = int(stated[name]["lines"]), list(stated[name]["digests"])  # type: ignore[index]
        except (TypeError, KeyError, ValueError):
            found.append(Finding(False, f"{name}: the certificate tells nothing of these records"))
            continue
        kept[name] = lines[:count]
        found.append(_compare(name, count, digests, lines))
    if all(finding.good for finding in found[1:]):
        again, told = summary(kept), page.get("summary")
        told = told if isinstance(told, dict) else {}
        wrong = [name for name in again if told.get(name) != again[name]] + sorted(set(told) - set(again))
        text = "every count and figure follows from the records"
        found.append(Finding(not wrong, f"not what the records say: {', '.join(wrong)}" if wrong else text))
    if beside is not None and Path(beside).is_file():
        same = Path(beside).read_text(encoding="utf-8", errors="replace") == _rendered(page)
        found.append(Finding(same, "the HTML page says the same" if same else "the HTML page was edited"))
    return found


def _rendered(page: Mapping[str, Any]) -> str:
    try:
        return as_html(page)
    except Exception:  # whatever a forger has put in place of a number
        return ""


def _compare(name: str, count: int, digests: Sequence[Any], lines: Sequence[bytes]) -> Finding:
    if count < 0 or len(lines) < count:
        return Finding(False, f"{name}: the certificate counts {count} records, the folder has {len(lines)}")
    again = chain(lines[:count], name)
    if again == list(digests):
        more = f", {len(lines) - count} added since" if len(lines) > count else ""
        return Finding(True, f"{name}: {count} records, none changed{more}")
    pairs = enumerate(zip(again, digests, strict=False))
    first = next((place for place, (ours, theirs) in pairs if ours != theirs), min(len(again), len(digests)))
    low, high = STEP * first + 1, min(STEP * (first + 1), count)
    return Finding(False, f"{name}: changed among the records {low} to {high}, or from there on")


def pick(page: Mapping[str, Any], seed: int | None = None) -> dict[str, Any]:
    """A claim of the certificate, drawn at random (``seed`` None: another each time), that can be run again here.

    Raises CertificateError if there is none: claims on a replaced base model need that model.
    """
    fit = [row for row in page["summary"].get("claims", []) if not row.get("base_model")]
    if not fit:
        raise CertificateError("the certificate holds no claim that can be run again.")
    found: dict[str, Any] = random.Random(seed).choice(fit)
    return found


def as_html(page: Mapping[str, Any]) -> str:
    """One page, without scripts, that prints on a sheet or two."""
    told = page["summary"]
    solved = {name: sum(entry["solved"] for entry in told[name].values()) for name in ("exercises", "drills")}
    holds = sum(bool(row["holds"]) for row in told["claims"])
    hints = sum(entry["hints"] for entry in told["exercises"].values())
    facts = {
        "exercises solved": f"{solved['exercises']}, with {hints} hints shown",
        "coding drills": f"{solved['drills']} of {len(told['drills'])} tried",
        "claims measured": f"{len(told['claims'])}, of which {holds} hold",
        "quiz": f"{told['quiz']['right']} of {told['quiz']['answered']} questions right at the last try",
        "cards": f"{told['cards']['known']}, reviewed {told['cards']['reviews']} times",
        "mock interviews": str(told["mock_interviews"]),
        "hours at work": f"about {told['hours']:.1f}, from the times of the records",
        "made": str(page["made"]),
        "versions": ", ".join(f"{name} {version}" for name, version in page["versions"].items()),
    }
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in facts.items())
    claimed = "".join(
        f"<tr><td>{'✓' if row['holds'] else '✗'}</td><td>{_cell(row['id'])}</td><td>{_cell(row['text'])}</td>"
        f"<td>{html.escape(claims.format_value(row['value']))}</td><td>{_cell(row['profile'])}</td>"
        f"<td>{_cell(row['seed'])}</td></tr>"
        for row in told["claims"]
    )
    names = ", ".join(name for name, entry in told["exercises"].items() if entry["solved"]) or "none yet"
    done = ", ".join(name for name, entry in told["drills"].items() if entry["solved"]) or "none yet"
    head = "".join(f"<th>{name}</th>" for name in ("", "claim", "what was claimed", "measured", "profile", "seed"))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Certificate</title><style>'
        "body{font:14px/1.5 system-ui,sans-serif;max-width:52em;margin:2em auto;padding:0 1em;color:#222}"
        "h1{font-size:24px}h2{font-size:16px;margin-top:1.6em}"
        "th{text-align:left;vertical-align:top;padding-right:1.5em;white-space:nowrap}"
        "td{vertical-align:top;padding-right:1em}code{font-size:12px;overflow-wrap:anywhere}"
        ".note{border-left:4px solid #1565c0;padding-left:1em}</style></head><body>\n"
        f"<h1>One model, its whole life</h1>\n<p>{_cell(page['name'] or 'The learner')} has done the following.</p>\n"
        f"<table>{rows}</table>\n<h2>Exercises</h2><p>{html.escape(names)}</p>\n<h2>Drills</h2><p>{html.escape(done)}</p>\n"
        f"<h2>Claims</h2><table><tr>{head}</tr>{claimed}</table>\n"
        f'<h2>What this proves, and what not</h2><p class="note">{_code(page["proves"])}</p>'
        f'<p class="note">{_code(page["does_not_prove"])}</p>\n'
        f"<p>Digest: <code>{_cell(page['digest'])}</code></p>\n</body></html>\n"
    )


def _cell(value: Any) -> str:
    return html.escape(str(value))


def _code(text: Any) -> str:
    """Escaped, with `code` between back-ticks set as such."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _cell(text))


def _records(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """The whole records among the lines, as ``jsonl.read`` takes them."""
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found
