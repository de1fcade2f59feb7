"""Each topic leads to a chapter, an exercise, a figure and questions; none leads nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from course_utils import chapters, cli
from course_utils.classroom.exercises import registry
from course_utils.interview import bank, topics
from course_utils.interview.bank.topics import IDS

ROOT = Path(__file__).resolve().parent.parent
EDITION = chapters.in_this_edition()


@pytest.fixture(scope="module")
def measured() -> set[str]:
    """Every claim that some seed has measured."""
    lines = (ROOT / "tests" / "seeds.jsonl").read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["id"] for line in lines}


@pytest.mark.parametrize("topic", topics.TOPICS, ids=lambda topic: topic.ids[0])
def test_a_topic_leads_somewhere(topic, measured):
    found = topics.lead(topic)
    known = {entry.number for entry in chapters.CHAPTERS} | {"22", "23", "24"}
    assert set(topic.chapters) <= known and set(topic.chapters) & EDITION, "no chapter of this edition"
    assert topic.exercises and set(topic.exercises) <= set(registry.known()), "an exercise that is not there"
    assert set(topic.claims) <= measured, f"never measured: {set(topic.claims) - measured}"
    assert set(found.claims) & measured, "no figure"
    assert len(found.questions) >= 3, "fewer than three questions"
    places = {id[:2] for id in topic.exercises} | {question.id[:2] for question in found.questions}
    assert places & set(topic.chapters), "neither exercise nor question is in one of its chapters"


def test_every_id_that_a_question_names_has_a_row_and_only_one():
    assert len(set(IDS)) == len(IDS)
    named = {id for question in bank.all_questions() for id in question.topics}
    assert named == set(IDS), "a row in bank/topics.py for each id, and a question for each row"
    for item in bank.all_quiz_items():
        assert item.topics and set(item.topics) <= set(IDS), f"{item.id} names {item.topics}"


def test_every_chapter_and_nearly_every_exercise_is_led_to():
    assert {number for topic in topics.TOPICS for number in topic.chapters} >= EDITION - {"22"}
    led = {id for topic in topics.TOPICS for id in topic.exercises}
    assert len(led) >= 0.8 * len(registry.known()), sorted(set(registry.known()) - led)


@pytest.mark.parametrize(
    ("words", "first"),
    [
        *[("A16", "A16"), ("kl penalty", "A16 P3 A7 I6"), ("GRPO", "I7"), ("few-shot", "A18"), ("LoRA", "A10")],
        *[("speculative", "I16"), ("jailbreak", "I14"), ("duplicates", "A23"), ("calibration", "I12")],
        *[("perplexity", "A19"), ("MinHash", "A23"), ("canary", "I18 L5 I14"), ("rotary", "A26")],
        *[("drift", "A22 I18"), ("distill", "A17 I15")],
    ],
)
def test_words_lead_to_their_topic(words, first):
    assert set(topics.find(words)[0].ids) & set(first.split())


def test_the_command_shows_all_that_belongs_to_a_topic(capsys):
    from course_utils.classroom.records.claims import claim

    claim("14.ties", "a tied group teaches nothing", 0.0, at_most=0.1)
    capsys.readouterr()
    assert cli.main(["find", "tied", "groups"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "chapter   14 Verifiable rewards",
        "exercise  14.2",
        "figure    14.ties: 0. a tied group",
        "question  14.",
    ):
        assert part in shown
    assert cli.main(["find", "--all", "A16"]) == 0
    whole = capsys.readouterr().out
    assert whole.count("question  ") == len(topics.lead(topics.find("A16")[0]).questions) > topics.MOST
    assert cli.main(["find", "A16"]) == 0
    assert "more: course find --all A16" in capsys.readouterr().out
    assert cli.main(["find"]) == 0
    shown = capsys.readouterr().out
    assert all(topic.title in shown for topic in topics.TOPICS)
    assert cli.main(["find", "calibratoin"]) == 1
    assert "did you mean calibration" in capsys.readouterr().err
    assert cli.main(["find", "zzzz"]) == 1
    assert "lists all topics" in capsys.readouterr().err
