"""A learner's folder written before the modules were moved (``fixtures/home_before_the_move``) is read as it was then.

It was made by the course at commit 5d03dbc: exercises, hints and a quiz of chapters 01 and 06, claims, a ranking, a
model of the learner's own, and a run that was stopped after step 7.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from course_utils.classroom import rank_answers
from course_utils.classroom.records import claims, progress
from course_utils.classroom.records.progress import Standing
from course_utils.interview import bank
from course_utils.pretrained import store
from course_utils.training.checkpoints import MismatchedCheckpoint
from course_utils.training.loop import train
from test_checkpoints import CONFIG, noisy_loss, some_batches, tiny

HOME = Path(__file__).parent / "fixtures" / "home_before_the_move"
QUESTIONS = ["Who keeps a heron?", "Where is the lamp amber?"]
ANSWERS = [["Ada.", "Ada keeps a heron.", "I do not know."], ["In Brine.", "Brine!"]]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A copy of the folder, as the learner's."""
    monkeypatch.setenv("COURSE_HOME", str(shutil.copytree(HOME, tmp_path / "home")))
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    for name in ("COURSE_BASE_MODEL", "COURSE_SEED"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def test_exercises_and_hints():
    assert progress.standings() == {
        "01.1": Standing(solved=True, attempts=2, hints=0),
        "06.2": Standing(solved=False, attempts=2, hints=2),
        "06.3": Standing(solved=False, attempts=0, hints=0),
    }


def test_quiz_answers_belong_to_questions_that_there_are():
    answers = progress.quiz_answers()
    assert answers == {"06.q1": True, "06.q2": False, "06.q3": True}
    assert answers.keys() <= {item.id for item in bank.quiz_items("06")}


def test_claims():
    found = {id: (record["value"], record["holds"]) for id, record in claims.recorded().items()}
    assert found == {"06.masking_helps": (0.37, True), "03.loss": (3.5, False), "03.exact": (True, True)}


def test_ratings(home):
    before = (home / "ratings" / "11.rank.json").read_bytes()
    assert rank_answers("11.rank", QUESTIONS, ANSWERS).ranks == [[1, 0, 2], None]
    assert (home / "ratings" / "11.rank.json").read_bytes() == before


def test_the_learners_own_model():
    assert store.names()["base"] == "yours"
    loaded = store.load("base", device="cpu")
    assert loaded.source == f"your own 'base' (smoke profile, made {loaded.card['made']})"
    assert (loaded.card["seed"], loaded.card["figures"]) == (7, {"recall": 0.5})
    assert loaded.tokenizer("Ada keeps a heron.").input_ids and loaded.tokenizer.eos_token_id == 1
    logits = loaded.model(torch.tensor([[7, 8, 9]])).logits[0, -1, :4]
    torch.testing.assert_close(logits, torch.tensor([0.0220124, 0.0622584, -0.0402920, -0.0793021]))


@pytest.mark.slow
def test_a_run_goes_on(home):
    """Its checkpoint does not say where the run started nor with what objective; what it says is compared."""
    folder, steps = home / "runs" / "tiny", []
    with pytest.raises(MismatchedCheckpoint, match="data is .* Give another checkpoint_dir"):
        train(tiny(), some_batches(seed=1), noisy_loss, CONFIG, checkpoint_dir=folder, progress=False)
    model, whole = tiny(), tiny()
    options = {"checkpoint_dir": folder, "progress": False, "callback": lambda history: steps.append(len(history))}
    train(model, some_batches(), noisy_loss, CONFIG, **options)
    assert steps == list(range(7, 13))
    train(whole, some_batches(), noisy_loss, CONFIG, progress=False)
    for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)  # another processor may round otherwise
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000009", "step-00000012"]
