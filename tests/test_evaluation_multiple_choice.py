"""Multiple choice: the tree of choices against each choice by itself, and lm-eval; files that cannot be used."""

import json
import random

import numpy as np
import pytest
import torch

from course_utils.evaluation.choice_questions import (
    ChoiceFileError,
    ChoiceQuestion,
    choice_prompts,
    fact_choices,
    read_choice_file,
    write_choice_file,
)
from course_utils.evaluation.harness_task import run_lm_eval, write_task
from course_utils.evaluation.multiple_choice import LENGTHS, choice_accuracy, score_choices
from course_utils.models.convert import to_llama
from course_utils.pretrained import store
from course_utils.world import World, WorldConfig
from course_utils.world.tasks import fact_questions

FORM = "Question: {}\nAnswer:"


@pytest.fixture(scope="module")
def base():
    return store.load("base", device="cpu", root=store.SHIPPED)


@pytest.fixture(scope="module")
def rows():
    return fact_choices(fact_questions(World(WorldConfig(people=300), seed=0).known[:4]), seed=1)


@pytest.mark.slow
def test_a_tree_of_choices_gives_what_each_choice_for_itself_gives(base, rows):
    rows = [*rows, ChoiceQuestion("x", "Who keeps a pet?", ("a b c", "a b", "a b d e", "Zoë"), 1)]
    for shots in (0, 2):
        prompts = choice_prompts(rows, rows[:shots], FORM)
        choices = [row.choices for row in rows]
        for begin in (True, False):
            tree = score_choices(base.model, base.tokenizer, prompts, choices, begin=begin, batch_size=5)
            plain = score_choices(to_llama(base.model), base.tokenizer, prompts, choices, begin=begin)
            for a, b in zip(tree, plain, strict=True):
                assert a.tokens == b.tokens and a.choices == b.choices
                assert np.allclose(a.logprobs, b.logprobs, atol=1e-4)


def test_one_question_with_one_shared_token_only(base):
    (found,) = score_choices(base.model, base.tokenizer, ["Mira"], [[" a", " b"]], delimiter="", begin=False)
    with torch.no_grad():
        ids = base.tokenizer(["Mira a"], return_tensors="pt")["input_ids"]
        logs = base.model(ids).logits.log_softmax(-1)
    assert found.logprobs[0] == pytest.approx(float(logs[0, -2, ids[0, -1]]), abs=1e-4)


def test_spaces_at_the_end_of_a_prompt_go_over_to_the_choice(base):
    same = [
        score_choices(base.model, base.tokenizer, [prompt], [["baker", "cooper"]], delimiter=delimiter)[0].logprobs
        for prompt, delimiter in (("Mira Oakley:", " "), ("Mira Oakley: ", ""))
    ]
    assert np.allclose(*same)


def test_the_model_is_left_in_its_own_mode(base, rows):
    base.model.train()
    score_choices(base.model, base.tokenizer, ["Mira:"], [["a", "b"]])
    assert base.model.training
    base.model.eval()


def test_what_the_score_is_divided_by_decides():
    from course_utils.evaluation.multiple_choice import ChoiceScores

    scores = ChoiceScores(("ab", "éééé", "abcdef"), (-2.0, -3.0, -5.0), (2, 8, 3))
    assert [scores.chosen(by) for by in LENGTHS] == [0, 1, 1, 1]
    assert scores.lengths("bytes") == [2, 8, 6] and scores.lengths("characters") == [2, 4, 6]
    assert choice_accuracy([scores], [1], "characters") == [True]
    with pytest.raises(ValueError, match="divide_by is 'words'"):
        scores.chosen("words")
    with pytest.raises(ValueError, match="its answer is number 3"):
        choice_accuracy([scores], [3])
    with pytest.raises(ValueError, match="0 scored questions"):
        choice_accuracy([], [])


@pytest.mark.parametrize(
    ("prompts", "choices", "words"),
    [
        ([], [], "one of each for every question"),
        (["a"], [[]], "none of them"),
        (["a"], [["", "b"]], "none"),
    ],
)
def test_questions_that_cannot_be_scored(base, prompts, choices, words):
    with pytest.raises(ValueError, match=words):
        score_choices(base.model, base.tokenizer, prompts, choices)


def test_a_prompt_must_end_where_a_token_ends(base):
    with pytest.raises(ValueError, match="joins the end of the prompt"):
        score_choices(base.model, base.tokenizer, ["The hedge"], [["hog", "row"]], delimiter="")


def test_too_many_examples_are_refused(base, rows):
    prompts = choice_prompts(rows, rows * 3, FORM)
    with pytest.raises(ValueError, match=r"max_position_embeddings|reads at most"):
        score_choices(base.model, base.tokenizer, prompts, [row.choices for row in rows])


@pytest.mark.slow
def test_lm_eval_gives_the_same_for_every_question(base, rows, tmp_path):
    accents = str.maketrans("aeiou", "áéíóú")
    rows = [
        ChoiceQuestion(row.id, row.question, tuple(c.translate(accents) for c in row.choices), row.answer)
        for row in rows
    ]
    asked, shown = (
        write_choice_file(tmp_path / f"{name}.jsonl", part) for name, part in (("asked", rows), ("shown", rows[:2]))
    )
    task = write_task(tmp_path, "isles", asked, shown, FORM)
    random.seed(5)
    state = random.getstate()
    for shots in (0, 2):
        found = run_lm_eval(to_llama(base.model), base.tokenizer, task, shots, batch_size=7)
        prompts = choice_prompts(rows, rows[:shots], FORM)
        scores = score_choices(base.model, base.tokenizer, prompts, [row.choices for row in rows], begin=False)
        for metric, by in (("acc", "nothing"), ("acc_norm", "characters"), ("acc_bytes", "bytes")):
            right = choice_accuracy(scores, [row.answer for row in rows], by)
            assert right == found.right[metric]
            assert np.mean(right) == pytest.approx(found.metrics[metric])
        assert np.allclose([score.logprobs for score in scores], found.logprobs, atol=1e-3)
    assert random.getstate() == state


def test_a_task_file_needs_a_place_for_the_question(tmp_path):
    with pytest.raises(ValueError, match="needs one"):
        write_task(tmp_path, "x", "a", "b", "no place")
    with pytest.raises(FileNotFoundError, match="write_task"):
        run_lm_eval(None, None, tmp_path / "none.yaml")


def test_questions_survive_a_file(rows, tmp_path):
    assert read_choice_file(write_choice_file(tmp_path / "q.jsonl", rows)) == rows
    by_text = {"id": 1, "question": "q", "choices": ["a", "b"], "answer": "b", "more": 3}
    (tmp_path / "t.jsonl").write_text("\n" + json.dumps(by_text) + "\n")
    assert read_choice_file(tmp_path / "t.jsonl") == [ChoiceQuestion("1", "q", ("a", "b"), 1)]


GOOD = {"id": 1, "question": "q", "choices": ["a", "b"], "answer": 0}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": 2, "question": "q"}, "no choices, answer"),
        ({**GOOD, "id": 2, "answer": "c"}, "'c' is not among the 2 choices"),
        ({**GOOD, "id": 2, "answer": 2}, "2 is not among the 2 choices"),
        ({**GOOD, "id": 2, "answer": -1}, "is not among"),
        ({**GOOD, "id": 2, "answer": True}, "the answer is True"),
        ({**GOOD, "id": 2, "choices": ["a"]}, "two texts or more"),
        ({**GOOD, "id": 2, "choices": ["a", "a"]}, "stands there twice"),
        ({**GOOD, "id": 2, "choices": "ab"}, "two texts or more"),
        ({**GOOD, "id": 2, "question": " "}, "the question is empty"),
        (GOOD, "id 1 comes a second time"),
        ([1], "no id, question, choices, answer"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row, words, tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(ChoiceFileError, match="line 2") as error:
        read_choice_file(path)
    assert words in str(error.value)


def test_broken_json_and_an_empty_file(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text("{\n" * 7)
    with pytest.raises(ChoiceFileError, match="and 2 more"):
        read_choice_file(path)
    path.write_text("\n")
    with pytest.raises(ChoiceFileError, match="has no rows"):
        read_choice_file(path)


def test_fact_choices_hold_the_true_value_once(rows):
    assert all(len(set(row.choices)) == 4 for row in rows)
    assert {row.answer for row in rows} == {0, 1, 2, 3}
    assert rows[0].id.endswith(", town")
    with pytest.raises(ValueError, match="count is 99"):
        fact_choices(fact_questions(World(WorldConfig(people=40), seed=0).known[:1]), count=99)
