"""A judge that answers in words: what it is asked, what it is tuned on, and where its score is read."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from course_utils.alignment import generative_judge
from course_utils.alignment.generative_judge import judge_prompt, judge_rows, only_verdict, verdict_scores
from course_utils.pretrained import store
from course_utils.text.batching import IGNORE, ChatBatches
from course_utils.text.chat import encode_prompts

PAIRS = [
    {"prompt": "Where does Mira Oakley live?", "chosen": "Gladly. In Tarn.", "rejected": "In Tarn, any fool knows."},
    {"prompt": "What is the pet of Mira Oakley?", "chosen": "A cat.", "rejected": "Mira Oakley keeps a pet badger."},
]
TEXTS = [(pair["prompt"], pair[side]) for pair in PAIRS for side in ("chosen", "rejected")]


@pytest.fixture(scope="module")
def instruct():
    return store.load("instruct")


def test_each_side_of_a_comparison_is_a_question_with_its_verdict():
    rows = judge_rows(PAIRS)
    assert [row[-1]["content"] for row in rows] == ["Yes.", "No.", "Yes.", "No."]
    assert [row[0]["content"] for row in rows[:2]] == [
        "Where does Mira Oakley live? Is that right? Gladly. In Tarn.",
        "Where does Mira Oakley live? Is that right? In Tarn, any fool knows.",
    ]
    assert [row[:-1] for row in rows] == [judge_prompt(*text) for text in TEXTS]


def test_the_verdicts_first_token_alone_is_learned(instruct):
    tokenizer = instruct.tokenizer
    rows = judge_rows(PAIRS)
    for example, row in zip(ChatBatches(rows, tokenizer, 2, labels=only_verdict).examples, rows, strict=True):
        asked = encode_prompts([row[:1]], tokenizer)[0]
        said = tokenizer(row[-1]["content"], add_special_tokens=False)["input_ids"]
        learned = example["labels"] != IGNORE
        assert learned.nonzero().flatten().tolist() == [len(asked)]
        assert example["labels"][learned].tolist() == said[:1]


def test_the_score_is_the_log_odds_of_yes_where_the_judge_begins(instruct):
    model, tokenizer = instruct.model, instruct.tokenizer
    for (prompt, answer), found in zip(TEXTS, verdict_scores(model, TEXTS, tokenizer, 3).tolist(), strict=True):
        asked = encode_prompts([judge_prompt(prompt, answer)], tokenizer)[0]
        yes, no = (tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("Yes.", "No."))
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([asked])).logits[0, -1].log_softmax(-1)
        assert found == pytest.approx((logprobs[yes] - logprobs[no]).item(), abs=1e-4)


def test_the_judge_keeps_its_mode_and_no_texts_have_no_scores(instruct):
    instruct.model.train()
    assert verdict_scores(instruct.model, [], instruct.tokenizer).shape == (0,)
    verdict_scores(instruct.model, [("Who?", "Mira.")], instruct.tokenizer)
    assert instruct.model.training
    instruct.model.eval()


def test_verdicts_that_begin_alike_are_refused(instruct, monkeypatch):
    monkeypatch.setattr(generative_judge, "VERDICTS", ("Yes.", "Yes, but no."))
    with pytest.raises(ValueError, match="begin with the same token"):
        verdict_scores(instruct.model, [("Who?", "Mira.")], instruct.tokenizer)


def test_a_template_of_others_is_read_where_the_answer_begins(instruct):
    tokenizer: PreTrainedTokenizerFast = instruct.tokenizer
    ours = tokenizer.chat_template
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    try:
        found = verdict_scores(instruct.model, [("Who?", "Mira.")], tokenizer)
        assert found.shape == (1,) and bool(found.isfinite().all())
    finally:
        tokenizer.chat_template = ours
