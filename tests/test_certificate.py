"""The certificate: what it counts, what it notices, and what it says that it does not prove."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from course_utils import cli, settings
from course_utils.classroom.records import claims, jsonl, progress
from course_utils.classroom.records.claims import claim
from course_utils.interview import certificate
from course_utils.interview.certificate import CertificateError
from course_utils.interview.schedule import Deck
from course_utils.workshop.rerun import judge

BEGIN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@pytest.fixture
def home():
    """Somebody's records: two exercises, a drill, a quiz, claims of two seeds, cards."""
    folder = settings.home()
    times = (BEGIN + timedelta(minutes=10 * i) for i in range(1000))
    for fields in (
        {"kind": "exercise", "id": "06.1", "status": "wrong"},
        {"kind": "hint", "id": "06.1", "step": 2},
        {"kind": "exercise", "id": "06.1", "status": "right"},
        {"kind": "exercise", "id": "06.2", "status": "wrong"},
        {"kind": "drill", "id": "softmax", "right": True, "seconds": 300.0},
        {"kind": "quiz", "id": "06.q1", "right": True},
        *({"kind": "quiz", "id": f"07.q{i}", "right": False} for i in range(120)),
        {"kind": "mock", "marks": []},
    ):
        jsonl.append(folder / progress.FILE, {"time": next(times).isoformat(), **fields})
    claim("06.a", "what is <said>", 1.5, at_least=1)
    claim("06.a", "what is <said>", 1.75, at_least=1)
    jsonl.append(
        folder / claims.FILE,
        {"id": "07.b", "text": "-", "value": 2, "bound": {"at_most": 3}, "holds": True, "profile": "laptop", "seed": 1},
    )
    with Deck() as deck:
        deck.review("06.x", 3, BEGIN)
        deck.review("06.x", 4, BEGIN + timedelta(days=4))
    return folder


def bad(findings) -> list[str]:
    return [finding.text for finding in findings if not finding.good]


def test_it_counts_what_the_records_say(home):
    told = certificate.make("Ann", BEGIN)["summary"]
    assert told["exercises"]["06.1"] == {"solved": True, "attempts": 2, "hints": 2}
    assert told["exercises"]["06.2"]["solved"] is False and told["drills"]["softmax"]["solved"] is True
    assert told["quiz"] == {"answered": 121, "right": 1} and told["mock_interviews"] == 1
    assert told["cards"] == {"known": 1, "reviews": 2}
    assert [(row["id"], row["value"], row["seed"]) for row in told["claims"]] == [("06.a", 1.75, 0), ("07.b", 2, 1)]
    assert told["hours"] == pytest.approx(126 / 6, abs=0.01)


def test_hours_leave_long_pauses_out():
    times = [BEGIN, BEGIN + timedelta(minutes=20), BEGIN + timedelta(hours=9), BEGIN + timedelta(hours=9, minutes=10)]
    assert certificate.hours([time.isoformat() for time in times]) == 0.5
    assert certificate.hours([None, "yesterday", 7]) == 0.0


def test_an_untouched_one_agrees_also_after_more_work(home):
    page = certificate.make("Ann", BEGIN)
    path, shown = certificate.write(page)
    assert bad(certificate.verify(certificate.read(path), shown)) == []
    progress.record("exercise", id="06.2", status="right")
    claim("08.c", "more", 1, at_least=0)
    with Deck() as deck:
        deck.review("06.y", 3)
    findings = certificate.verify(certificate.read(path), shown)
    assert bad(findings) == [] and sum("1 added since" in finding.text for finding in findings) == 3
    with Deck() as deck:
        deck.redate(BEGIN)
    assert bad(certificate.verify(page)) == [], "dates that are mended change no review as it was given"


def test_a_number_edited_on_the_page_is_named(home):
    page = certificate.make("Ann", BEGIN)
    page["summary"]["exercises"]["06.2"]["solved"] = True
    assert "the certificate was edited" in bad(certificate.verify(page))[0]
    page["digest"] = certificate.page_digest(page)
    assert bad(certificate.verify(page)) == ["not what the records say: exercises"]
    path, shown = certificate.write(certificate.make("Ann", BEGIN))
    shown.write_text(shown.read_text(encoding="utf-8").replace("1.75", "9.75"), encoding="utf-8")
    assert bad(certificate.verify(certificate.read(path), shown)) == ["the HTML page was edited"]


@pytest.mark.parametrize("forgery", ["changed", "removed", "inserted", "swapped", "cut off", "gone"])
def test_records_edited_afterwards_are_noticed_and_the_place_is_told(home, forgery):
    page = certificate.make("Ann", BEGIN)
    path = home / progress.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    if forgery == "changed":
        lines[70] = lines[70].replace(b"false", b"true")
    elif forgery == "removed":
        del lines[70]
    elif forgery == "inserted":
        lines.insert(70, b'{"kind": "exercise", "id": "09.1", "status": "right"}\n')
    elif forgery == "swapped":
        lines[70], lines[71] = lines[71], lines[70]
    elif forgery == "cut off":
        lines = lines[:100]
    else:
        lines = []
    path.write_bytes(b"".join(lines))
    (told,) = bad(certificate.verify(page))
    if forgery in ("cut off", "gone"):
        assert f"counts 127 records, the folder has {len(lines)}" in told
    elif forgery == "removed":
        assert "counts 127 records, the folder has 126" in told
    else:
        assert told == "progress.jsonl: changed among the records 51 to 100, or from there on"


def test_claims_and_reviews_are_in_the_chain_too(home):
    page = certificate.make("Ann", BEGIN)
    path = home / claims.FILE
    path.write_bytes(path.read_bytes().replace(b"1.75", b"9.75"))
    with Deck() as deck:
        deck._base.execute("UPDATE reviews SET rating = 1 WHERE number = 2")
    told = bad(certificate.verify(page))
    assert [text.split(":")[0] for text in told] == ["claims.jsonl", "cards.sqlite"]


@pytest.mark.parametrize(
    "change",
    [
        {"records": None},
        {"records": {"progress.jsonl": {"lines": "x", "digests": 3}}},
        {"records": {"progress.jsonl": {"lines": -4, "digests": []}}},
        {"summary": None},
        {"summary": {"claims": 7}},
        {"digest": 7},
    ],
)
def test_whatever_a_forger_writes_it_is_told_and_never_raises(home, change, tmp_path):
    page = certificate.make("Ann", BEGIN) | change
    beside = tmp_path / "certificate.html"
    beside.write_text("<html>")
    assert bad(certificate.verify(page, beside))


def test_files_that_are_none_are_refused(home, tmp_path):
    path = tmp_path / "certificate.json"
    with pytest.raises(CertificateError, match="cannot be read: No such file"):
        certificate.read(path)
    path.write_text("<html>")
    with pytest.raises(CertificateError, match="is no certificate: .*Give the .json file"):
        certificate.read(path)
    path.write_text("[1]")
    with pytest.raises(CertificateError, match="no certificate of this course"):
        certificate.read(path)
    path.write_text(json.dumps(certificate.make() | {"format": 2}))
    with pytest.raises(CertificateError, match="has format 2; this version of the course reads 1"):
        certificate.read(path)


def test_without_any_record_there_is_none():
    with pytest.raises(CertificateError, match="holds no record yet"):
        certificate.make("Ann")


def test_the_page_says_what_it_proves_and_what_not_and_escapes_names(home):
    shown = certificate.as_html(certificate.make("<b>Ann</b>", BEGIN))
    assert "&lt;b&gt;Ann" in shown and "<b>Ann" not in shown and "&lt;said&gt;" in shown
    assert (
        "does not prove who sat at the keyboard" in shown and "<code>course certificate verify --rerun</code>" in shown
    )
    assert "1, with 2 hints shown" in shown and "<script" not in shown and "http" not in shown


def test_the_command(home, capsys, tmp_path):
    assert cli.main(["certificate", "--name", "Ann"]) == 0
    assert capsys.readouterr().out.count("wrote") == 2
    assert cli.main(["certificate", "verify"]) == 0
    assert "does not prove" in capsys.readouterr().out
    path = home / "certificate.json"
    path.write_text(path.read_text().replace('"right": 1', '"right": 100'))
    assert cli.main(["certificate", "verify", str(path)]) == 1
    assert "✗ the certificate was edited" in capsys.readouterr().out
    assert cli.main(["certificate", "verify", str(tmp_path / "no.json")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert cli.main(["certificate", "make", str(tmp_path)]) == 0 and (tmp_path / "certificate.html").is_file()


def test_a_claim_to_run_again_is_drawn_and_compared(home):
    page = certificate.make("Ann", BEGIN)
    assert {certificate.pick(page, seed)["id"] for seed in range(20)} == {"06.a", "07.b"}
    page["summary"]["claims"] = [row | {"base_model": "mine"} for row in page["summary"]["claims"]]
    with pytest.raises(CertificateError, match="no claim that can be run again"):
        certificate.pick(page)
    row = {"id": "06.a", "text": "t", "value": 1.75, "bound": {"at_least": 1.0}, "holds": True}
    assert judge(row, row | {"value": 1.5}) == (
        True,
        "06.a (t): recorded 1.75, measured here 1.5; both are at least 1.",
    )
    assert not judge(row, row | {"value": 0.5, "holds": False})[0]
    assert not judge(row | {"bound": {"at_least": 0.1}, "value": 0.2}, row)[0], "a bound that was lowered"
    assert not judge(row, None)[0]


def test_running_a_claim_again_uses_an_empty_folder_and_the_records_profile_and_seed(home, monkeypatch):
    from course_utils.workshop import rerun

    asked = {}

    def run(command, env, **_):
        asked.update(
            command=command[-2:], home=env["COURSE_HOME"], seed=env["COURSE_SEED"], profile=env["COURSE_PROFILE"]
        )
        assert list(Path(env["COURSE_HOME"]).iterdir()) == []
        again = {"id": "06.a", "value": 1.5, "bound": {"at_least": 1.0}, "holds": True}
        jsonl.append(Path(env["COURSE_HOME"]) / claims.FILE, again)

    monkeypatch.setattr(rerun.subprocess, "run", run)
    row = certificate.make()["summary"]["claims"][0]
    held, text = rerun.rerun(row)
    assert held and "recorded 1.75, measured here 1.5" in text
    assert asked["command"] == ["run", "06"] and (asked["seed"], asked["profile"]) == ("0", "laptop")
    assert asked["home"] != str(home)
