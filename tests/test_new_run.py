"""``course new-run``: the project that a learner takes along, written and run from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils import cli
from course_utils.workshop.new_run import LIBRARIES
from foreign_folders import make

STOP = """    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == 3:
                raise KeyboardInterrupt

    trainer.add_callback(Stop())
"""
WITHOUT_THE_COURSE = """import runpy, sys

class Course:
    def find_spec(self, name, path=None, target=None):
        assert name.partition(".")[0] != "course_utils", "the project imports the course"

sys.meta_path.insert(0, Course())
"""
ROOT = Path(__file__).resolve().parent.parent


def run(folder: Path, *steps: str) -> subprocess.CompletedProcess[str]:
    """Run steps of the project elsewhere, offline, with a Python that cannot find the course."""
    code = f"{WITHOUT_THE_COURSE}\nsys.path.insert(0, {str(folder)!r})\n"
    code += "\n".join(f"runpy.run_path({str(folder / step)!r}, run_name='__main__')" for step in steps)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder.parent, env=environment, capture_output=True, text=True
    )


def shorten(folder: Path, **changed: object) -> None:
    path = folder / "config.toml"
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        name = line.partition(" = ")[0]
        lines.append(f"{name} = {json.dumps(changed[name])}" if name in changed else line)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_it_runs_from_end_to_end_and_goes_on_where_it_was(tmp_path, capsys):
    folder = tmp_path / "my run"
    assert cli.main(["new-run", str(folder)]) == 0
    assert "It runs by itself" in capsys.readouterr().out
    shorten(folder, steps=6, save_every=3, new_tokens=8, conversations=4)
    with (folder / "data.jsonl").open("a", encoding="utf-8") as data:
        data.write('{"question": "Where?", "answer": " "}\n{"question": "Whe\n[1]\n{"ask": "Where?"}\n')
    given = (folder / "data.jsonl").read_bytes()
    done = run(folder, "run.py", "train.py")
    assert done.returncode == 0, done.stderr
    assert "60 rows are right, 4 are not" in done.stdout and "line 61: message 1 (assistant) has no text" in done.stdout
    assert "line 64: unknown columns: ask" in done.stdout and "this run is finished already" in done.stdout
    bad = [json.loads(line) for line in (folder / "work" / "bad_rows.jsonl").read_text().splitlines()]
    assert [row["line"] for row in bad] == [61, 62, 63, 64]
    assert (folder / "data.jsonl").read_bytes() == given
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| before | nats per answer token |" in card and "all weights, 6 steps" in card and "Not measured" in card
    assert (folder / "work" / "model" / "model.safetensors").is_file()
    assert not [path for path in (folder / "work" / "model").rglob("*") if path.suffix in (".pt", ".pkl", ".pth")]
    pinned = (folder / "requirements.txt").read_text().split()
    assert [line.partition("==")[0] for line in pinned] == list(LIBRARIES)
    assert "course_utils" not in "".join(path.read_text() for path in folder.glob("*.*") if path.is_file())


@pytest.mark.slow
def test_an_adapter_on_a_model_of_their_own_is_stopped_and_goes_on(tmp_path):
    model, folder = make("qwen3", tmp_path / "theirs"), tmp_path / "run"
    assert cli.main(["new-run", str(folder), "--model", str(model)]) == 0
    shorten(folder, steps=4, save_every=2, new_tokens=4, conversations=3)
    train = (folder / "train.py").read_text()
    (folder / "train.py").write_text(train.replace("    begun =", f"{STOP}    begun =", 1))
    assert "KeyboardInterrupt" in run(folder, "check_data.py", "train.py").stderr
    (folder / "train.py").write_text(train)
    done = run(folder, "run.py")
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stdout and "checkpoint-2" in done.stdout
    assert "LoRA, rank 16, 4 steps" in (folder / "MODEL_CARD.md").read_text()
    assert (folder / "work" / "model" / "adapter_model.safetensors").is_file()


def test_where_it_does_not_write(tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for folder, says in (
        (tmp_path / "full", "is there and not empty; nothing was written"),
        (tmp_path / "full" / "thesis.txt", "is there and not empty"),
        (ROOT / "my-run", "lies inside the course's own folder"),
        (ROOT / "course_utils" / "my-run", "lies inside the course's own folder"),
    ):
        assert cli.main(["new-run", str(folder)]) == 1
        assert says in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    assert not (ROOT / "my-run").exists()


def test_data_and_models_that_cannot_be_used_are_named_before_anything_is_written(tmp_path, capsys):
    made, folder = make("qwen3", tmp_path / "theirs"), tmp_path / "run"
    config = json.loads((made / "config.json").read_text())
    (tmp_path / "empty").mkdir()
    for arguments, says in (
        (["--data", str(tmp_path / "none.jsonl")], "there is no such file"),
        (["--model", str(tmp_path / "none")], "there is no such folder, and a Hub id has the form owner/name"),
        (["--model", str(tmp_path / "empty")], "it has no config.json"),
    ):
        assert cli.main(["new-run", str(folder), *arguments]) == 1
        assert says in capsys.readouterr().err
    (made / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "modeling_x.X"}}))
    assert cli.main(["new-run", str(folder), "--model", str(made)]) == 1
    assert "asks for Python code of its own (auto_map in config.json)" in capsys.readouterr().err
    (made / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "vocab.json"):
        (made / name).unlink()
    assert cli.main(["new-run", str(folder), "--model", str(made)]) == 1
    assert "holds no tokenizer" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.slow
def test_what_the_project_says_of_a_model_that_cannot_be_used(tmp_path):
    folder = tmp_path / "run"
    assert cli.main(["new-run", str(folder), "--model", "nobody/no-such-model"]) == 0
    row = {"messages": [{"role": r, "content": "x"} for r in ("system", "user", "assistant")]}
    (folder / "data.jsonl").write_text("".join(json.dumps(row | {"n": n}) + "\n" for n in range(3)))
    done = run(folder, "check_data.py")
    assert "one of the two parts is empty" in done.stderr
    for name in ("train", "test"):
        (folder / "work" / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    done = run(folder, "train.py")
    assert done.returncode != 0 and "the model 'nobody/no-such-model' cannot be loaded" in done.stderr
    shorten(folder, model=str(make("gemma2", tmp_path / "theirs")))
    done = run(folder, "train.py")
    assert "chat template cannot be rendered with messages of system, user, assistant: no system role" in done.stderr
