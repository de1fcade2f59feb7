"""The exercise engine: whatever a learner writes, the notebook stays usable and the card says what is wrong."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings

import nbformat
import numpy
import pytest
import torch
from nbclient import NotebookClient

from course_utils.classroom.display import cards
from course_utils.classroom.exercises import attempt, exercise, expect, hints, registry, sandbox
from course_utils.classroom.exercises.exercise import Mistake, check
from course_utils.classroom.records import progress

X = [4.0, 1.0, 3.0]


def reference(x, keep: int):
    """The first ``keep`` values, doubled."""
    return 2 * x[:keep]


@pytest.fixture(autouse=True)
def exercise_99():
    """A small exercise with the number 99.1, gone after the test."""

    @check("99.1", title="Double", reference=reference, difficulty=2, minutes=3, points=2, seconds=1.0,
           asked="double it", hints=["Look at the first value.", "Multiply.", "`2 * x[:keep]`"])  # fmt: skip
    def double(candidate):
        x = torch.tensor(X)
        expect.close(candidate(x, 2), torch.tensor([8.0, 2.0]), "Each value should be doubled.", mistakes={
            "All values come back, not the first `keep`.": torch.tensor([8.0, 2.0, 6.0]),
            "The values are not doubled.": torch.tensor([4.0, 1.0]),
        })  # fmt: skip

    yield registry.find("99.1")
    for name in [name for name in registry._CHECKS if name.startswith("99.")]:
        del registry._CHECKS[name]
        attempt._REFERENCE_SECONDS.pop(name, None)
        hints._SHOWN.pop(name, None)
        exercise._ATTEMPTS.pop(name, None)


def try_it(candidate):
    return exercise.attempt(exercise.find("99.1"), candidate)


@pytest.fixture
def impatient(exercise_99, monkeypatch):
    """99.1 gives up after a fifth of a second: for answers that never end."""
    monkeypatch.setitem(registry._CHECKS, "99.1", dataclasses.replace(exercise_99, seconds=0.2))


def says(candidate) -> str:
    result = try_it(candidate)
    assert result.status == "wrong"
    return result.mistake.message


# ---- right, untouched, wrong


def test_a_right_answer_is_used_from_then_on(capsys):
    def mine(x, keep):
        return x[:keep] + x[:keep]

    assert exercise.exercise("99.1")(mine) is mine
    assert "✓ 99.1  Double: right" in capsys.readouterr().out
    assert progress.standings()["99.1"].solved


def test_an_untouched_answer_gets_a_neutral_card_and_the_reference(capsys):
    def mine(x, keep):
        raise NotImplementedError  # your code

    assert exercise.exercise("99.1")(mine) is reference
    shown = capsys.readouterr().out
    assert shown.startswith("○ 99.1  Double") and '"double it"' in shown and "hint 1 of 3" in shown
    assert progress.standings() == {}


def test_a_wrong_answer_gets_its_mistake_named_the_case_and_the_reference(capsys):
    def mine(x, keep):
        return x[:keep]

    assert exercise.exercise("99.1")(mine) is reference
    shown = capsys.readouterr().out
    assert shown.startswith("✗ 99.1  Double: not right yet\n  The values are not doubled.")
    assert "x = tensor float32 (3,) [4, 1, 3]" in shown and "keep = 2" in shown
    assert "expected  tensor float32 (2,) [8, 2]" in shown and "yours     tensor float32 (2,) [4, 1]" in shown
    assert '`hint("99.1")` shows hint 1 of 3' in shown
    assert not progress.standings()["99.1"].solved and progress.standings()["99.1"].attempts == 1


def test_a_library_that_lacks_an_operation_is_a_mistake_and_not_an_untouched_answer():
    def mine(x, keep):
        return torch.nn.Module()(x)  # torch raises NotImplementedError: no forward

    assert says(mine).startswith("Your code raises NotImplementedError")


def test_a_half_done_answer_counts_as_untouched_while_it_raises_not_implemented():
    def mine(x, keep):
        part = x[:keep]
        if part.sum() > 0:
            raise NotImplementedError
        return part

    assert try_it(mine).status == "untouched"


# ---- broken code of every kind


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, keep: 2 * x, "All values come back"),
        (lambda x, keep: (2 * x[:keep])[:, None], "The shape is (2, 1), it should be (2,)"),
        (lambda x, keep: (2 * x[:keep]).long(), "The dtype is int64, it should be float32"),
        (lambda x, keep: 2 * x[:keep] + float("nan"), "The result holds NaN"),
        (lambda x, keep: 3 * x[:keep], "Each value should be doubled. First difference at [0]: yours 12, expected 8"),
        (lambda x, keep: None, "returns None instead of a Tensor. Is the `return` missing?"),
        (lambda x, keep: (2 * x[:keep],), "a tuple of 1 values"),
        (lambda x, keep: (yield 2 * x[:keep]), "a generator instead of a Tensor"),
        (lambda x, keep: [8.0, 2.0], "returns a list instead of a Tensor"),
        (lambda x, keep: x.nothing, "Your code raises AttributeError: 'Tensor' object has no attribute 'nothing'"),
        (lambda x, keep: sys.exit(), "ends the Python process"),
        (lambda x, keep: os._exit(1), "ends the Python process"),
        (lambda x, keep: input("?"), "input() cannot be used here"),
    ],
)  # fmt: skip
def test_wrong_answers_are_named(wrong, message):
    assert message in says(wrong)


def test_an_async_function_is_named():
    async def mine(x, keep):
        return 2 * x[:keep]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "`async`" in says(mine)


def test_the_learners_own_line_is_shown():
    def mine(x, keep):
        part = x[:keep]
        return part / part.missing

    result = try_it(mine)
    assert result.place.endswith("return part / part.missing")


def test_endless_recursion():
    def mine(x, keep):
        return mine(x, keep)

    assert "calls itself without end" in says(mine)


def test_an_interrupt_raised_inside():
    def mine(x, keep):
        raise KeyboardInterrupt

    assert "interrupted" in says(mine)
    assert exercise.exercise("99.1")(mine) is reference


def test_changed_inputs_are_the_mistake():
    def mine(x, keep):
        x *= 2
        return x[:keep]

    result = try_it(mine)
    assert "changes its input `x` in place" in result.mistake.message
    assert "[4, 1, 3]" in result.mistake.rows["given"] and "[8, 2, 6]" in result.mistake.rows["yours"]


@pytest.mark.parametrize("value", ["list", "dict", "array", "module", "requires_grad"])
def test_changes_inside_other_inputs_are_seen(value):
    given = {
        "list": [torch.zeros(2)],
        "dict": {"a": {"b": [1, 2]}},
        "array": numpy.zeros(2),
        "module": torch.nn.Linear(1, 1),
        "requires_grad": torch.zeros(2),
    }[value]

    def mine(x, keep):
        if value == "list":
            x[0][0] = 1
        elif value == "dict":
            x["a"]["b"].append(3)
        elif value == "array":
            x += 1
        elif value == "module":
            with torch.no_grad():
                x.weight.add_(1)
        else:
            x.requires_grad_()

    @check("99.2", title="T", reference=reference, difficulty=1, minutes=1, points=1, hints=["-"])
    def changes(candidate):
        candidate(given, 1)

    assert "changes its input `x`" in exercise.attempt(exercise.find("99.2"), mine).mistake.message


def test_an_exercise_may_allow_changes():
    @check("99.3", title="T", reference=reference, difficulty=1, minutes=1, points=1, hints=["-"], mutates=["x"])
    def fills(candidate):
        x = torch.zeros(2)
        candidate(x, 1)
        expect.equal(x, torch.ones(2))

    def mine(x, keep):
        x.fill_(1)

    assert exercise.attempt(exercise.find("99.3"), mine).right


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        (lambda x: x, "The parameter `keep` is missing."),
        (lambda x, n: x, "The parameter `keep` is missing (yours has `n`)."),
        (lambda keep, x: x, "The parameters have another order."),
        (lambda x, keep, more: x, "The parameter `more` is new"),
        (torch.nn.Linear, "A function is wanted here, yours is a class."),
    ],
)
def test_a_changed_first_line_is_named(mine, message):
    assert message in says(mine)


@pytest.mark.parametrize(
    "mine",
    [
        lambda x, keep, factor=2: factor * x[:keep],
        lambda *args: 2 * args[0][: args[1]],
        lambda x, keep, **kwargs: 2 * x[:keep],
    ],
)
def test_first_lines_that_can_be_called_alike_are_accepted(mine):
    assert try_it(mine).right


def test_what_is_not_callable_is_named():
    assert "A function or a class is wanted" in says(3)


# ---- time


def looping(x, keep):
    while True:
        pass


def swallowing(x, keep):
    while True:
        try:
            time.sleep(0.001)
        except:  # noqa: E722
            pass


def swallowing_twice(x, keep):
    while True:
        try:
            while True:
                try:
                    sum(range(10))
                except BaseException:
                    pass
        except BaseException:
            continue


def swallowing_finally(x, keep):
    while True:
        try:
            swallowing_twice(x, keep)
        except BaseException as error:
            str(error)
        finally:
            continue  # noqa: B012


ENDLESS = [looping, swallowing, swallowing_twice, swallowing_finally]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("mine", ENDLESS)
def test_an_endless_loop_is_stopped(mine, in_time):
    begin = time.perf_counter()
    result = try_it(mine)
    assert result.status == "wrong" and "ran longer than" in result.mistake.message
    assert not result.outcome.abandoned
    in_time(time.perf_counter() - begin < 20, "the limit is a fifth of a second")
    assert "x = tensor" in result.mistake.rows["given"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("mine", ENDLESS)
def test_an_endless_loop_is_stopped_outside_of_the_main_thread(mine):
    results = []
    thread = threading.Thread(target=lambda: results.append(try_it(mine)))
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert results[0].outcome.timed_out and not results[0].outcome.abandoned
    assert not [t for t in threading.enumerate() if t.name == "exercise"], "the learner's loop still runs"


@pytest.mark.usefixtures("impatient")
def test_code_without_an_end_is_stopped_when_it_swallows_and_then_returns():
    def mine(x, keep):
        try:
            while True:
                pass
        except BaseException:
            return 2 * x[:keep]

    assert "ran longer" in says(mine)


@pytest.mark.usefixtures("impatient")
def test_the_timer_and_handlers_of_others_are_put_back():
    fired = []
    before = signal.signal(signal.SIGALRM, lambda *_: fired.append(1))
    interrupt, before_trace = signal.getsignal(signal.SIGINT), sys.gettrace()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.6)
        assert try_it(looping).outcome.timed_out
        assert signal.getsignal(signal.SIGINT) is interrupt
        end = time.monotonic() + 5
        while not fired and time.monotonic() < end:
            time.sleep(0.01)
        assert fired == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert sys.gettrace() is before_trace


def test_a_slow_machine_gets_more_time():
    @check("99.4", title="T", reference=reference, difficulty=1, minutes=1, points=1, hints=["-"], seconds=0.02)
    def slow(candidate):
        time.sleep(0.1)  # an import, say
        expect.close(candidate(torch.tensor(X), 1), torch.tensor([8.0]))

    assert exercise.attempt(exercise.find("99.4"), lambda x, keep: 2 * x[:keep]).right


def test_the_stop_button_leaves_the_reference_behind():
    space = {"exercise": exercise.exercise}
    stop = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    stop.start()
    with pytest.raises(KeyboardInterrupt):
        exec("@exercise('99.1')\ndef mine(x, keep):\n    while True:\n        pass", space)
    assert space["mine"] is reference


# ---- what it prints, and what it changes around itself


def test_a_flood_of_print_is_capped_and_said(capsys):
    def mine(x, keep):
        for _ in range(50_000):
            print("hello hello")
        return 2 * x[:keep]

    exercise.exercise("99.1")(mine)
    shown = capsys.readouterr().out
    assert "✓" in shown and "Your code printed 600,000 characters during the check; the first 2,000" in shown
    assert len(shown) < 3500
    assert exercise.result_card(exercise.find("99.1"), exercise._ATTEMPTS["99.1"]).html().count("hello") < 400


@pytest.mark.slow
def test_state_is_put_back(tmp_path):
    torch.use_deterministic_algorithms(False)  # imports torch's compiler, which takes longer than the answer may
    function, threads = torch.nn.functional.softmax, torch.get_num_threads()
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)  # noqa: NPY002
    after = (torch.rand(1), random.random(), numpy.random.rand())  # noqa: NPY002
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)  # noqa: NPY002
    folder, path, filters = os.getcwd(), list(sys.path), list(warnings.filters)

    def mine(x, keep):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(1)
        torch.set_default_device("meta")
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(0), random.seed(0), numpy.random.seed(0)  # noqa: NPY002
        torch.nn.functional.softmax = torch.sum = len = None  # noqa: A001, F841
        os.environ["LEFT_BEHIND"] = "1"
        del os.environ["COURSE_HOME"]
        os.chdir(tmp_path)
        sys.path.clear()
        sys.stdout = sys.stderr = None
        sys.setrecursionlimit(200)
        warnings.simplefilter("error")
        return 2 * x[:keep]

    home = os.environ["COURSE_HOME"]
    assert try_it(mine).right
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert torch.get_default_device().type == "cpu" and torch.ones(1).device.type == "cpu"
    assert torch.get_num_threads() == threads and not torch.are_deterministic_algorithms_enabled()
    assert (torch.rand(1), random.random(), numpy.random.rand()) == after  # noqa: NPY002
    assert torch.nn.functional.softmax is function and torch.sum(torch.ones(2)).tolist() == 2
    assert "LEFT_BEHIND" not in os.environ and os.environ["COURSE_HOME"] == home
    assert os.getcwd() == folder and sys.path == path and warnings.filters == filters
    assert sys.stdout is not None and sys.getrecursionlimit() > 500


@pytest.mark.slow
def test_a_first_check_does_not_load_torchs_compiler():
    code = "import sys, torch; from course_utils.classroom.exercises.isolation import restored\n"
    code += "with restored(): pass\nassert 'torch._inductor' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- classes


def test_an_exercise_can_be_a_class():
    class Scale(torch.nn.Module):
        def __init__(self, factor: float):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return self.factor * x

    @check("99.5", title="T", reference=Scale, difficulty=1, minutes=1, points=1, hints=["-"])
    def scale(candidate):
        expect.close(candidate(3.0)(torch.ones(2)), torch.full((2,), 3.0), "The factor is not used.")

    class Untouched(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()

        def forward(self, x):
            raise NotImplementedError

    class Wrong(Untouched):
        def forward(self, x):
            return x

    class Broken(Untouched):
        def forward(self, x):
            return x @ x.missing

    spec = exercise.find("99.5")
    assert exercise.attempt(spec, Scale).right
    assert exercise.attempt(spec, Untouched).status == "untouched"
    assert "The factor is not used." in exercise.attempt(spec, Wrong).mistake.message
    broken = exercise.attempt(spec, Broken)
    assert "AttributeError" in broken.mistake.message and broken.place.endswith("return x @ x.missing")
    assert "A class is wanted here" in exercise.attempt(spec, lambda factor: None).mistake.message
    assert exercise.exercise("99.5")(Wrong) is Scale


# ---- ids, hints, grades


@pytest.mark.parametrize("id", ["99.9", "nonsense", ""])
def test_an_unknown_exercise_names_those_that_exist(id):
    with pytest.raises(exercise.ExerciseError, match="there is no exercise"):
        exercise.exercise(id)


def test_the_decorator_without_its_number():
    with pytest.raises(exercise.ExerciseError, match='@exercise\\("06.2"\\)'):

        @exercise.exercise
        def mine(x, keep):
            return x


def test_hints_come_in_steps_and_end_with_the_reference(capsys):
    shown = []
    for _ in range(5):
        exercise.hint("99.1")
        shown.append(capsys.readouterr().out)
    assert "hint 1 of 3" in shown[0] and "Look at the first value." in shown[0]
    assert "hint 2 of 3" in shown[1] and "hint 3 of 3" in shown[2]
    assert "the reference" in shown[3] and "return 2 * x[:keep]" in shown[3]
    assert shown[4] == shown[3]
    assert progress.standings()["99.1"].hints == 4
    exercise.hint("99.1", 2)
    assert "hint 2 of 3" in capsys.readouterr().out
    for bad in (0, 5, True, "2"):
        with pytest.raises(exercise.ExerciseError, match="hints 1 to 3"):
            exercise.hint("99.1", bad)


def test_a_grade_reports_in_self_study(capsys):
    exercise.grade("99.1")
    assert "its cell has not been run" in capsys.readouterr().out.lower()
    exercise.exercise("99.1")(lambda x, keep: x[:keep])
    exercise.grade("99.1")
    assert "0 of 2 points" in capsys.readouterr().out
    exercise.exercise("99.1")(reference)
    exercise.grade("99.1")
    assert "✓ 99.1: 2 points" in capsys.readouterr().out


@pytest.mark.parametrize("execution", ["autograde", "validate"])
def test_a_grade_fails_under_nbgrader(monkeypatch, execution):
    monkeypatch.setenv("NBGRADER_EXECUTION", execution)
    with pytest.raises(AssertionError, match="has not been run"):
        exercise.grade("99.1")
    exercise.exercise("99.1")(lambda x, keep: x[:keep])
    with pytest.raises(AssertionError, match="The values are not doubled"):
        exercise.grade("99.1")

    def untouched(x, keep):
        raise NotImplementedError

    exercise.exercise("99.1")(untouched)
    with pytest.raises(AssertionError, match="not solved yet"):
        exercise.grade("99.1")
    exercise.exercise("99.1")(reference)
    assert exercise.grade("99.1") is None


def test_authors_errors():
    good = {"title": "T", "reference": reference, "difficulty": 1, "minutes": 1, "points": 1, "hints": ["-"]}
    with pytest.raises(exercise.ExerciseError, match="two digits"):
        check("9.1", **good)
    with pytest.raises(exercise.ExerciseError, match="at least one hint"):
        check("99.6", **{**good, "hints": []})
    with pytest.raises(exercise.ExerciseError, match="difficulty"):
        check("99.6", **{**good, "difficulty": 5})
    with pytest.raises(exercise.ExerciseError, match="two checks"):
        check("99.1", **good)(lambda candidate: None)


# ---- comparisons


def test_a_tolerance_wider_than_the_values_is_refused():
    with pytest.raises(ValueError, match="zeros would pass"):
        expect.close(torch.zeros(2), torch.full((2,), 1e-6), atol=1e-6)
    with pytest.raises(ValueError, match="zeros would pass"):
        expect.close(0.0, 1e-7)


@pytest.mark.parametrize(
    ("yours", "right", "message"),
    [
        (float("nan"), 1.0, "NaN"),
        (torch.ones(2), 1.0, "Is a mean or a sum missing?"),
        ("1", 1.0, "returns a str instead of a float"),
        (True, 1.0, "One number is wanted"),
        (2.0, 1.0, "The value is not the expected one."),
    ],
)
def test_numbers_are_compared_with_care(yours, right, message):
    with pytest.raises(Mistake, match=message.replace("?", "\\?")):
        expect.close(yours, right)


def test_numbers_of_any_kind_are_accepted():
    for value in (1, 1.0, torch.tensor(1.0), torch.tensor([1.0], requires_grad=True), numpy.float32(1)):
        expect.close(value, 1.0)
    for value in (3, torch.tensor(3), numpy.int64(3)):
        expect.equal(value, 3)


def test_equal_tells_kinds_apart():
    with pytest.raises(Mistake, match="int64, it should be int32"):
        expect.equal(torch.tensor([1]), torch.tensor([1], dtype=torch.int32))
    with pytest.raises(Mistake, match="a list instead of a tuple"):
        expect.equal([1, 2], (1, 2))
    with pytest.raises(Mistake):
        expect.equal([1, True], [1, 1])
    with pytest.raises(Mistake, match="swapped"):
        expect.equal("ba", "ab", mistakes={"They are swapped.": "ba"})
    expect.equal({"a": [torch.tensor([1.0])]}, {"a": [torch.tensor([1.0])]})
    expect.equal(torch.tensor([float("nan")]), torch.tensor([float("nan")]))


def test_the_first_difference_is_a_place_that_differs():
    low = float("-inf")
    with pytest.raises(Mistake, match=r"at \[2\]: yours 5, expected 4"):
        expect.close(torch.tensor([low, 1.0, 5.0]), torch.tensor([low, 1.0, 4.0]))
    with pytest.raises(Mistake, match=r"at \[1\]: yours -1e\+09, expected -inf"):
        expect.close(torch.tensor([2.0, -1e9, low]), torch.tensor([2.0, low, low]))


def test_expected_errors():
    def picky(n):
        if n < 0:
            raise ValueError(f"n is {n}")

    expect.raises(ValueError, picky, -1, mention="-1")
    with pytest.raises(Mistake, match="nothing was raised"):
        expect.raises(ValueError, picky, 1)
    with pytest.raises(Mistake, match="should mention 'minus'"):
        expect.raises(ValueError, picky, -1, mention="minus")
    with pytest.raises(Mistake, match="yours raises ValueError"):
        expect.raises(KeyError, picky, -1)
    with pytest.raises(NotImplementedError):
        expect.raises(ValueError, reference_untouched)


def reference_untouched():
    raise NotImplementedError


# ---- cards


def test_a_card_escapes_what_it_shows_and_is_the_same_every_time():
    card = cards.Card("wrong", "a <b>", "`x < 1` and **bold**", [("given", "<script>")], ["n&m"], [("more", "<i>")])
    page = card.html()
    assert "<script>" not in page and "&lt;script&gt;" in page and "<strong>bold</strong>" in page
    assert ">x &lt; 1</code>" in page and "n&amp;m" in page and "&lt;i&gt;" in page
    assert page == cards.Card("wrong", "a <b>", "`x < 1` and **bold**", [("given", "<script>")], ["n&m"],
                              [("more", "<i>")]).html()  # fmt: skip


def test_values_that_cannot_be_shown_do_not_break_the_card():
    class Rude:
        def __repr__(self):
            raise RuntimeError("no")

    def mine(x, keep):
        return Rude()

    assert "a Rude that cannot be shown" in try_it(mine).mistake.rows["yours"]


def test_a_full_disk_does_not_stop_the_lesson(monkeypatch, capsys):
    def full(path, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress.jsonl, "append", full)
    assert exercise.exercise("99.1")(lambda x, keep: x) is reference
    assert "No space left on device" in capsys.readouterr().out


def cell(code: str, space: dict | None = None) -> dict:
    """Run a cell as a notebook does: names are bound in its namespace."""
    space = {"exercise": exercise.exercise} if space is None else space
    exec(code, space)
    return space


def test_an_answer_is_called_by_its_own_name_from_the_first_run_on():
    recursive = "@exercise('99.1')\ndef f(x, keep):\n    return f(2 * x[:keep], 0) if keep else x\n"
    space = cell(recursive)
    assert exercise.latest("99.1").right and space["f"] is not reference
    endless = "@exercise('99.1')\ndef f(x, keep):\n    return f(x, keep)\n"
    for _ in range(2):  # at the second run the name is that of the reference, left there by the first
        space = cell(endless, space)
        assert "calls itself without end" in exercise.latest("99.1").mistake.message
        assert space["f"] is reference


def test_a_class_can_name_itself():
    code = """
@exercise('99.6')
class Named(Base):
    def __init__(self, factor):
        super(Named, self).__init__()
        self.factor = factor
"""

    class Base:
        def __init__(self):
            self.begun = True

    class Reference(Base):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

    @check("99.6", title="Name", reference=Reference, difficulty=1, minutes=1, points=1, hints=["-"])
    def check_named(candidate):
        made = candidate(3)
        expect.that(made.begun and made.factor == 3, "Not begun.")

    try:
        cell(code, {"exercise": exercise.exercise, "Base": Base})
        assert exercise.latest("99.6").right
    finally:
        del registry._CHECKS["99.6"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values, words, table: values.sort(),
        lambda values, words, table: values.pop(),
        lambda values, words, table: words.append("more"),
        lambda values, words, table: words.__setitem__(0, "other"),
        lambda values, words, table: table.update(a=2),
        lambda values, words, table: table["deep"].clear(),
    ],
)
def test_plain_values_changed_in_place_are_seen(spoil):
    from course_utils.classroom.exercises.spy import Spy

    def answer(values, words, table):
        spoil(values, words, table)

    with pytest.raises(expect.Mistake, match="in place"):
        Spy(answer).candidate([3, 1, 2], ["a", "b"], {"a": 1, "deep": [1.5]})
    kept = [float("nan"), "x", None, True]
    Spy(lambda values: values.copy()).candidate(kept)


def test_the_limit_does_not_grow_by_what_the_first_run_imports():
    seconds = iter([0.4, 0.0, 0.0, 0.0])

    @check(
        "99.7", title="Slow at first", reference=lambda x: x, difficulty=1, minutes=1, points=1, hints=["-"], seconds=2
    )
    def check_slow(candidate):
        time.sleep(next(seconds))
        candidate(1)

    try:
        assert attempt.attempt(exercise.find("99.7"), lambda x: x).right
        assert attempt._REFERENCE_SECONDS["99.7"] < 0.2
    finally:
        del registry._CHECKS["99.7"], attempt._REFERENCE_SECONDS["99.7"]


def test_opened_hints_are_there_again_when_the_cell_runs_again():
    spec = exercise.find("99.1")
    box = hints.hint_box(spec)
    button, place = box.children
    for _ in range(len(spec.hints) + 1):
        button.click()
    assert button.disabled and place.value.count("hint 1 of") == 1
    again = hints.hint_box(spec).children
    assert again[1].value == place.value and again[0].disabled
    assert "All hints have been shown" in hints.offer(spec)


# ---- in a real kernel

SETUP = """
from course_utils.classroom import exercise, hint
from course_utils.classroom.exercises.exercise import check, expect
@check("99.1", title="Add one", reference=lambda n: n + 1, difficulty=1, minutes=1, points=1, hints=["-"], seconds=1)
def add_one(candidate):
    expect.equal(candidate(1), 2, "One is not added.")
"""
CELLS = [
    "@exercise('99.1')\ndef f(n):\n    exit()",
    "@exercise('99.1')\ndef f(n):\n    quit()",
    "@exercise('99.1')\ndef f(n):\n    while True:\n        pass",
    "from IPython.display import display\n@exercise('99.1')\ndef f(n):\n    while True:\n        display(n)",
    "@exercise('99.1')\ndef f(n):\n    raise NotImplementedError  # your code",
    "@exercise('99.1')\ndef f(n):\n    return n + 1",
]


@pytest.mark.slow
def test_a_kernel_survives_it_all():
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *CELLS, "print(f(41))")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    pages = [[out["data"] for out in cell.outputs if "data" in out] for cell in notebook.cells[1:-1]]
    plain = [[data.get("text/plain", "") for data in page] for page in pages]
    assert "ends the Python process" in plain[0][0] and "ends the Python process" in plain[1][0]
    assert "ran longer" in plain[2][0]
    assert "ran longer" in plain[3][-1] and len(plain[3]) <= sandbox.KEPT_DISPLAYS + 1
    assert plain[4][0].startswith("○") and plain[5][0].startswith("✓")
    assert all(set(data) == {"text/plain", "text/html"} for page in pages[4:] for data in page), "no buttons headless"
    assert notebook.cells[-1].outputs[0]["text"] == "42\n"
