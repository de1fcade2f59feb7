"""What coding assistants are told: hints in their order, checks run, and no file that holds a solution as a source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from course_utils import cli

ROOT = Path(__file__).resolve().parent.parent
AGENTS, SKILL = ROOT / "AGENTS.md", ROOT / "skills" / "course-tutor" / "SKILL.md"
# where answers lie: solved notebooks, references and bugs of the checks, answers of the tests, working code of drills
SPOILERS = re.compile(
    r"solutions/|classroom/checks|checks/ch\d|tests/(answers|planted)|\d\d_\w+\.ipynb|working_code|interview/(bank|drills)/",
)


@pytest.mark.parametrize("path", [AGENTS, SKILL], ids=lambda path: path.name)
def test_no_file_with_a_solution_is_named_as_a_source(path):
    assert SPOILERS.findall(path.read_text(encoding="utf-8")) == []


def test_a_file_that_names_one_would_be_found():
    for text in (
        "see solutions/06_x.ipynb",
        "course_utils/classroom/checks/ch06.py",
        "tests/answers",
        "checks/ch06.py",
    ):
        assert SPOILERS.search(text), text


def test_the_tutor_keeps_the_order_of_hints():
    text = " ".join(SKILL.read_text(encoding="utf-8").split())
    assert "in order, one at a time" in text and "Never skip one" in text
    assert text.index("the next hint") < text.index("Let the check judge") < text.index("After the last hint")
    assert "do not write the function, complete it" in text and "do not open, search, quote or run them" in text
    assert "skills/course-tutor/SKILL.md" in AGENTS.read_text(encoding="utf-8")


def test_the_skill_has_the_head_that_assistants_read():
    _, head, body = SKILL.read_text(encoding="utf-8").split("---\n", 2)
    told = yaml.safe_load(head)
    assert set(told) == {"name", "description"} and told["name"] == SKILL.parent.name
    assert len(told["description"]) <= 1024 and "Use when" in told["description"] and len(body.splitlines()) < 80


def test_the_commands_exist():
    known = set(cli.parser()._subparsers._group_actions[0].choices)
    named = set(re.findall(r"`course (\w+)", AGENTS.read_text(encoding="utf-8") + SKILL.read_text(encoding="utf-8")))
    assert named <= known and {"drill", "quiz", "cards", "mock", "claims", "progress"} <= named
