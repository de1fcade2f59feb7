"""The coding drills: each accepts what is right, names what is wrong, and is fooled neither by its author's bugs nor by
answers written after the check.

``answers/drills/SUBJECT.py`` holds cells: ``# %% stable_softmax wrong: what is wrong``, or ``right: how it is done``.
"""

from __future__ import annotations

import functools
import json
import linecache
import math
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from course_utils import cli
from course_utils.classroom.display import cards
from course_utils.classroom.exercises.attempt import attempt
from course_utils.classroom.records import progress
from course_utils.evaluation import overlap
from course_utils.interview import drills
from course_utils.interview.drills import catalogue, clock, desk
from course_utils.interview.drills.definition import LEVELS
from course_utils.settings import home

ANSWERS = Path(__file__).parent / "answers" / "drills"
HEAD = re.compile(r"^# %% (\w+) (wrong|right): (.+)$", re.MULTILINE)
NAMES = drills.names()
WRONG_SOFTMAX = "import torch\n\ndef stable_softmax(x, dim):\n    return x.exp() / x.exp().sum(dim, keepdim=True)\n"


class Answer(NamedTuple):
    kind: str
    title: str
    code: str


@functools.cache
def answers() -> dict[str, list[Answer]]:
    found = defaultdict(list)
    for path in sorted(ANSWERS.glob("*.py")):
        _, *parts = HEAD.split(path.read_text(encoding="utf-8"))
        for name, kind, title, code in zip(*(parts[i::4] for i in range(4)), strict=True):
            found[name].append(Answer(kind, title, code.strip() + "\n"))
    return dict(found)


def made(name: str, code: str, file: str) -> Any:
    """What the code defines under the drill's name, behind the imports that a candidate would make."""
    import torch

    space: dict[str, Any] = {"torch": torch, "Tensor": torch.Tensor, "F": torch.nn.functional, "math": math}
    space["Counter"] = Counter
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    exec(compile(code, file, "exec"), space)
    return space[catalogue.find(name).symbol]


def outcome(name: str, answer: Answer) -> drills.Outcome:
    return drills.check(name, made(name, answer.code, f"<{name} {answer.title}>"))


def test_there_are_at_least_forty_five():
    assert len(NAMES) >= 45 and len(set(NAMES)) == len(NAMES)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_drill_is_described(name):
    drill, definition = drills.get(name), catalogue.find(name)
    assert drill.name == name and drill.level in LEVELS and 3 <= drill.minutes <= 30
    assert drill.title[0].isupper() and not drill.title.endswith(".")
    assert drill.topics and all(re.fullmatch(r"[KPLAF]\d+|\+", topic) for topic in drill.topics)
    assert len(drill.statement) > 100 and "raise NotImplementedError" in drill.starter and '"""' in drill.starter
    assert len(definition.spec.hints) >= 2 and "`" in definition.spec.hints[-1]
    assert len(definition.bugs) >= 3 and len({bug.sentence for bug in definition.bugs}) == len(definition.bugs)


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_right_and_a_starter_untouched(name):
    definition = catalogue.find(name)
    result = attempt(definition.spec, definition.reference)
    assert result.right, result.mistake and (result.mistake.message, result.mistake.rows)
    assert drills.check(name, made(name, drills.get(name).starter, f"<{name}>")).status == "untouched"


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_is_working_code(name):
    code = drills.reference(name)
    assert "course_utils" not in code, "the working code stands on its own"
    space: dict[str, Any] = {}
    linecache.cache[f"<{name}>"] = (len(code), None, code.splitlines(keepends=True), f"<{name}>")
    exec(compile(code, f"<{name}>", "exec"), space)
    result = drills.check(name, space[catalogue.find(name).symbol])
    assert result.right, (result.message, result.case)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_planted_bugs_get_their_own_sentence(name):
    definition = catalogue.find(name)
    for bug in definition.bugs:
        result = attempt(definition.spec, bug.function)
        assert result.status == "wrong", f"accepted: {bug.sentence}"
        assert result.mistake.message == bug.sentence
        assert result.mistake.rows.get("given"), "the smallest failing case is shown"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_answers_that_the_check_was_not_written_with(name):
    found = answers().get(name, [])
    kinds = [answer.kind for answer in found]
    assert kinds.count("wrong") >= 3 and kinds.count("right") >= 2
    for answer in found:
        result = outcome(name, answer)
        assert result.right == (answer.kind == "right"), (answer.title, result.message, result.case)
        assert result.right or (result.message and "cannot work" not in result.message), (answer.title, result.message)


def test_answers_belong_to_drills():
    assert set(answers()) == set(NAMES)


def test_unknown_names_are_told_apart():
    with pytest.raises(drills.DrillError, match="Did you mean stable_softmax"):
        drills.get("stabel_softmax")


def test_the_work_must_be_ones_own():
    import torch

    from course_utils.interview.drills.softmax import stable_softmax as theirs

    for answer in (lambda x, dim: torch.softmax(x, dim), lambda x, dim: x.softmax(dim)):
        assert "`softmax` of the library does the work" in drills.check("stable_softmax", answer).message
    functional = drills.check("stable_softmax", lambda x, dim: torch.nn.functional.softmax(x, dim=dim))
    assert "of the library does the work" in functional.message
    copied = drills.check("stable_softmax", lambda x, dim: theirs(x, dim))
    assert "the course's own `stable_softmax`" in copied.message

    def read_out(x, dim):
        space = {}
        exec(drills.reference("stable_softmax"), space)
        return space["stable_softmax"](x, dim)

    assert "the course's own `reference`" in drills.check("stable_softmax", read_out).message
    other = drills.check("bleu", lambda hypotheses, references: overlap.bleu(hypotheses, references))
    assert "the course's own `bleu`" in other.message


def test_inputs_must_stay_as_they_were_and_outputs_be_computed():
    def in_place(x, dim):
        x -= x.amax(dim, keepdim=True)
        return x.exp() / x.exp().sum(dim, keepdim=True)

    def by_heart(x, dim):
        import torch

        return torch.tensor([0.2312, 0.6285, 0.1402])

    def handed_back(grads, max_norm):
        import torch

        norm = float(torch.cat([grad.flatten() for grad in grads]).norm())
        return (grads if norm <= max_norm else [grad * max_norm / norm for grad in grads]), norm

    assert "the very object that was given" in drills.check("clip_gradients", handed_back).message
    assert "changes its input `x` in place" in drills.check("stable_softmax", in_place).message
    assert not drills.check("stable_softmax", by_heart).right


def test_an_outcome_names_mistake_and_case():
    result = drills.check("stable_softmax", made("stable_softmax", WRONG_SOFTMAX, "<wrong>"))
    assert not result.right and "overflows" in result.message
    assert (
        "given:" in result.case
        and "x = tensor" in result.case
        and "expected:" in result.case
        and "yours:" in result.case
    )


# --- in a notebook


def test_a_decorated_function_is_checked_timed_and_recorded(capsys):
    page = drills.drill("stable_softmax")
    assert (
        "Write `softmax(x)_i" in repr(page) and '@drill("stable_softmax")' in page._repr_mimebundle_()["text/markdown"]
    )
    wrong = drills.drill("stable_softmax")(made("stable_softmax", WRONG_SOFTMAX, "<wrong>"))
    assert callable(wrong) and "overflows" in capsys.readouterr().out
    assert progress.drills()["stable_softmax"].state == "failed"
    drills.drill("stable_softmax")(catalogue.find("stable_softmax").reference)
    shown, standing = capsys.readouterr().out, progress.drills()["stable_softmax"]
    assert "right" in shown and "on the clock" in shown
    assert (standing.state, standing.attempts) == ("solved", 2) and 0 <= standing.best < 60 and standing.started is None
    event = json.loads((home() / progress.FILE).read_text().splitlines()[-1])
    assert event["kind"] == "drill" and event["id"] == "stable_softmax" and event["right"] and event["seconds"] >= 0


def test_what_was_not_shown_before_is_not_timed(capsys):
    drills.drill("swiglu")(catalogue.find("swiglu").reference)
    assert progress.drills()["swiglu"].solved and progress.drills()["swiglu"].best is None
    assert "Not timed" in capsys.readouterr().out


def test_a_missing_return_is_named():
    result = drills.check("dpo_loss", lambda chosen, rejected, ref_chosen, ref_rejected, beta: None)
    assert "Is the `return` missing?" in result.message


def test_an_untouched_starter_is_no_attempt(capsys):
    drills.drill("swiglu")(made("swiglu", drills.get("swiglu").starter, "<starter>"))
    assert "Nothing is written yet" in capsys.readouterr().out and progress.drills()["swiglu"].attempts == 0


def test_hints_come_in_steps_and_the_solution_after_them(capsys):
    page = drills.drill("swiglu")
    with pytest.raises(drills.DrillError, match="after the last"):
        page.solution()
    page.hint()
    page.hint()
    page.solution()
    shown = capsys.readouterr().out
    assert "hint 1 of 2" in shown and "hint 2 of 2" in shown and "def swiglu" in shown


def test_a_clock_that_was_set_back_or_left_alone_says_nothing(monkeypatch):
    from datetime import UTC, datetime, timedelta

    for hours in (1, -30):
        there = (datetime.now(UTC) + timedelta(hours=hours)).isoformat(timespec="seconds")
        (home() / progress.FILE).write_text(json.dumps({"time": there, "kind": "drill_start", "id": "rope"}) + "\n")
        assert clock.seconds("rope") is None
    progress.record("drill_start", id="rope")
    assert clock.seconds("rope") is not None and not clock.start("rope")


def test_strange_lines_of_a_record_do_no_harm():
    lines = ['{"kind": "drill"}', '{"kind": "drill", "id": 3}', "torn", '{"kind": "drill_start", "id": "a", "time": 5}']
    lines += ['{"kind": "drill", "id": "b", "right": true, "seconds": "x"}', '{"kind": "drill_hint", "id": "a"}']
    (home() / progress.FILE).write_text("\n".join(lines))
    assert progress.drills()["b"].solved and progress.drills()["b"].best is None
    assert progress.drills()["a"].state == "never tried"


# --- in the terminal


def test_the_list_shows_state_and_best_time(capsys):
    progress.record("drill", id="rope", right=True, seconds=245.0)
    progress.record("drill", id="swiglu", right=False, seconds=3.0)
    assert cli.main(["drill"]) == 0
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert set(NAMES) <= set(shown)
    assert "solved" in shown["rope"] and "4 min 05 s" in shown["rope"] and "failed" in shown["swiglu"]
    assert "never tried" in shown["rms_norm"]


def test_what_was_written_is_never_overwritten(capsys):
    assert cli.main(["drill", "stable_softmax"]) == 0
    file = home() / "drills" / "stable_softmax.py"
    assert "def stable_softmax" in file.read_text() and "The clock runs from now" in capsys.readouterr().out
    file.write_text("mine")
    assert cli.main(["drill", "stable_softmax"]) == 0 and file.read_text() == "mine"
    assert "kept as it is" in capsys.readouterr().out
    assert cli.main(["drill", "stable_softmax", "--hint"]) == 0
    assert cli.main(["drill", "stable_softmax", "--solution"]) == 1
    assert "comes after the last" in capsys.readouterr().err
    assert cli.main(["drill", "stable_softmax", "--reset"]) == 0 and "NotImplementedError" in file.read_text()
    assert (file.parent / "kept" / "stable_softmax-1.py").read_text() == "mine"
    assert progress.drills()["stable_softmax"].hints == 0
    assert cli.main(["drill", "no_such"]) == 1 and "there is no drill 'no_such'" in capsys.readouterr().err
    assert cli.main(["drill", "rope", "--check"]) == 1 and "course drill rope" in capsys.readouterr().err


def run_file(name: str, code: str) -> drills.Outcome:
    file = desk.path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code, encoding="utf-8")
    return desk.isolated(name, file)


@pytest.mark.slow
def test_a_file_is_checked_in_a_process_of_its_own(capsys):
    result = run_file("stable_softmax", WRONG_SOFTMAX)
    assert "overflows" in result.message and "given" in result.case
    assert run_file("pass_at_k", drills.reference("pass_at_k")).right
    assert cli.main(["drill", "pass_at_k", "--check"]) == 0 and "right" in capsys.readouterr().out
    assert progress.drills()["pass_at_k"].state == "solved"
    desk.path("pass_at_k").write_text("def pass_at_k(n, right, k):\n    return right / n\n")
    assert cli.main(["drill", "pass_at_k", "--check"]) == 1 and "pass@1" in capsys.readouterr().out
    desk.path("pass_at_k").write_text("def other():\n    pass\n")
    assert "holds no `pass_at_k`" in desk.check("pass_at_k")[1]


@pytest.mark.slow
def test_other_files_of_the_folder_are_not_imported(monkeypatch):
    file = desk.path("pass_at_k")
    file.parent.mkdir(parents=True)
    (file.parent / "json.py").write_text("raise SystemExit('imported in place of the real one')")
    monkeypatch.chdir(file.parent)
    assert run_file("pass_at_k", drills.reference("pass_at_k")).right


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    while True:\n        pass", "ran longer than"),
        ("    import os\n    os.kill(os.getpid(), 9)", "ended the process"),
        ("    raise SystemExit", "ends the Python process"),
        ("    import os\n    while True:\n        os.write(1, b'x' * 100000)", "floods the output"),
        ("    while True:\n        print('x' * 1000)", "characters meanwhile"),
        ("    return x +", "Python cannot read the file"),
        ("    return y", "NameError"),
    ],
)
def test_code_that_runs_wild_is_stopped_with_a_sentence(body, said, monkeypatch):
    monkeypatch.setattr(desk, "_MORE", 5.0)
    result = run_file("pass_at_k", f"def pass_at_k(n, right, k):\n{body}\n")  # needs no torch: starts at once
    assert not result.right and said in result.message, result


@pytest.mark.slow
def test_listing_and_showing_import_no_torch(tmp_path, in_time):
    code = (
        "import sys; from course_utils import cli; cli.main(['drill']); cli.main(['drill', 'rope']); "
        "assert not {'torch', 'numpy', 'IPython'} & set(sys.modules)"
    )
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    in_time(time.perf_counter() - begin < 0.5, "`course drill` is to show its text in half a second")


def test_cards_hold_no_clock_of_their_own():
    from course_utils.interview.drills.notebook import card

    shown = card(catalogue.find("rope"), drills.Outcome(False, "Why", "case", status="wrong"), None)
    assert isinstance(shown, cards.Card) and shown.message == "Why"
