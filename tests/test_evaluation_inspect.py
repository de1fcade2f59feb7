"""The task for Inspect, with stand-ins for inspect_ai, which lives in an environment of its own."""

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from course_utils.evaluation.choice_questions import ChoiceQuestion, write_choice_file

FILE = Path(__file__).resolve().parents[1] / "docs" / "inspect_isles.py"


@pytest.fixture
def isles(monkeypatch):
    def keep(**fields):
        return SimpleNamespace(**fields)

    parts = {
        "inspect_ai": {"Task": keep, "task": lambda function: function},
        "inspect_ai.dataset": {"MemoryDataset": list, "Sample": keep},
        "inspect_ai.scorer": {
            "CORRECT": "C", "INCORRECT": "I", "Score": keep, "Target": object, "accuracy": lambda: "accuracy",
            "scorer": lambda metrics: lambda function: function, "stderr": lambda cluster: f"stderr by {cluster}",
        },
        "inspect_ai.solver": {"TaskState": object, "generate": lambda: "generate"},
    }  # fmt: skip
    for name, fields in parts.items():
        module = ModuleType(name)
        module.__dict__.update(fields)
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("inspect_isles", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_reads_the_courses_file_and_knows_whom_a_question_is_about(isles, tmp_path):
    rows = [ChoiceQuestion("Mira Oakley, trade", "What does she do?", ("baker", "smith"), 1)]
    found = isles.isles_facts(str(write_choice_file(tmp_path / "q.jsonl", rows)))
    (sample,) = found.dataset
    assert (sample.input, sample.target, sample.metadata["person"]) == ("What does she do?", "smith", "Mira Oakley")


@pytest.mark.parametrize(
    ("said", "right"),
    [("She is a smith.", True), ("smith or baker", False), ("A blacksmith.", False), ("I do not know.", False)],
)
def test_an_answer_counts_if_it_names_the_right_one_alone(isles, said, right):
    state = SimpleNamespace(output=SimpleNamespace(completion=said), metadata={"choices": ["baker", "smith"]})
    score = asyncio.run(isles.names_the_right_one()(state, SimpleNamespace(text="smith")))
    assert (score.value == "C") is right
