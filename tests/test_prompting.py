"""Prompting beside the libraries: beam search and transformers, BM25 and bm25s, soft prompts and peft."""

from __future__ import annotations

import math

import bm25s
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import TopPLogitsWarper

from course_utils.classroom.checks import ch05
from course_utils.models.beam_search import beam_search, beam_step
from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.generate import generate
from course_utils.models.prompt_tuning import SoftPrompt, nearest_tokens, prepend
from course_utils.text.batching import collate
from course_utils.text.prompts import few_shot_prompt
from course_utils.text.retrieval import BM25, fuse_ranks, passages, terms
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import next_token_loss

SMALL = DecoderConfig(
    vocab_size=24, hidden_size=32, intermediate_size=48, num_hidden_layers=2, max_position_embeddings=64
)
STOP = 4  # with these weights a token that ends some texts soon, and others never
PROMPTS = [[5, 9, 3], [7], [2, 2, 8, 4, 11]]


@pytest.fixture(scope="module")
def model() -> Decoder:
    """Random weights, large enough that the next token is neither sure nor a coin toss."""
    made = Decoder(SMALL, seed=1)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return made.eval()


def cut(tokens: torch.Tensor, stop: int = 1) -> list[int]:
    """Up to the first stop token, that included."""
    row = tokens.tolist()
    return row[: row.index(stop) + 1] if stop in row else row


@pytest.mark.parametrize("beams", [2, 3, 5])
@pytest.mark.parametrize("steps", [1, 4, 20])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_beam_search_equals_transformers(model, beams, steps, penalty):
    ours = beam_search(model, PROMPTS, beams, steps, penalty, stop_ids=(STOP,))
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in PROMPTS])
    theirs = to_llama(model).generate(
        ids,
        attention_mask=(ids != 0).long(),
        num_beams=beams,
        num_return_sequences=beams,
        do_sample=False,
        max_new_tokens=steps,
        length_penalty=penalty,
        pad_token_id=0,
        eos_token_id=STOP,
        return_dict_in_generate=True,
        output_scores=True,
    )
    torch.testing.assert_close(ours.scores.flatten(), theirs.sequences_scores, rtol=1e-4, atol=1e-4)
    found = [cut(row, STOP) for row in ours.tokens.flatten(0, 1)]
    assert ours.lengths.flatten().tolist() == [len(row[: row.index(0)] if 0 in row else row) for row in found]
    assert found == [cut(row, STOP) for row in theirs.sequences[:, width:]]
    if steps == 20 and penalty == 1.0:
        lengths = {len(row) for row in found}
        assert len(lengths) > 3, "few texts stopped: the test would not see how finished beams are kept"


def test_one_beam_is_greedy_and_a_score_is_what_the_model_says(model):
    greedy = generate(model, PROMPTS, max_new_tokens=12, return_logprobs=True)
    one = beam_search(model, PROMPTS, num_beams=1, max_new_tokens=12, length_penalty=0.0)
    assert [cut(row[0]) for row in one.tokens] == [cut(row) for row in greedy.tokens]
    torch.testing.assert_close(one.scores[:, 0], greedy.logprobs.sum(1))
    several = beam_search(model, PROMPTS, num_beams=4, max_new_tokens=12, length_penalty=0.0)
    for prompt, rows, scores in zip(PROMPTS, several.tokens, several.scores, strict=True):
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
        for row, score in zip(rows, scores, strict=True):
            text = cut(row)
            logprobs = model(torch.tensor([prompt + text])).logits[0].log_softmax(-1)
            said = sum(logprobs[len(prompt) - 1 + i, token].item() for i, token in enumerate(text))
            assert said == pytest.approx(score.item(), abs=1e-3)


def test_beam_search_finds_the_best_of_all_texts(model):
    """With as many beams as there are beginnings, nothing can be missed."""
    tokens = 2
    logprobs = model(torch.tensor([PROMPTS[0]])).logits[0, -1].log_softmax(-1)
    best = -math.inf
    for first in range(SMALL.vocab_size):
        second = model(torch.tensor([[*PROMPTS[0], first]])).logits[0, -1].log_softmax(-1)
        best = max(best, logprobs[first].item() + (0.0 if first == 1 else second.max().item()))
    found = beam_search(model, PROMPTS[:1], num_beams=12, max_new_tokens=tokens, length_penalty=0.0)
    assert found.scores[0, 0].item() == pytest.approx(best, abs=1e-4)


def test_beam_search_takes_several_stop_tokens(model):
    ours = beam_search(model, PROMPTS, 3, 20, stop_ids=(STOP, 13), pad_id=23)
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in PROMPTS])
    theirs = to_llama(model).generate(
        ids,
        attention_mask=(ids != 0).long(),
        num_beams=3,
        num_return_sequences=3,
        do_sample=False,
        max_new_tokens=20,
        pad_token_id=23,
        eos_token_id=[STOP, 13],
    )
    assert torch.equal(ours.tokens.flatten(0, 1), theirs[:, width:])
    assert {int(row[row != 23][-1]) for row in ours.tokens.flatten(0, 1)} >= {STOP, 13}, "both must end a text"


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
def test_beam_search_refuses_logits_that_are_not_finite(model, value):
    calls = []

    def hook(module, inputs, output):
        calls.append(1)
        if len(calls) == 3:
            output.logits[..., 5] = value
        return output

    handle = model.register_forward_hook(hook)
    try:
        with pytest.raises(FloatingPointError, match="not finite .* in 12 of 12 rows at new token 3"):
            beam_search(model, PROMPTS, 4, 8, stop_ids=())
        calls.clear()
        with pytest.raises(FloatingPointError, match="at new token 3"):
            beam_search(model, PROMPTS, 4, 3, stop_ids=())
    finally:
        handle.remove()


def test_wrong_arguments_of_beam_search_are_named(model):
    with pytest.raises(ValueError, match="at least one token"):
        beam_search(model, [[]])
    with pytest.raises(ValueError, match="num_beams is 0"):
        beam_search(model, PROMPTS, num_beams=0)
    with pytest.raises(ValueError, match="reads 64"):
        beam_search(model, PROMPTS, max_new_tokens=60)
    with pytest.raises(ValueError, match="k is 9"):
        beam_step(torch.zeros(2), torch.zeros(2, 4), 9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1.0))
def test_the_nucleus_equals_transformers(seed, top_p):
    logits = 2 * torch.randn(3, 30, generator=torch.Generator().manual_seed(seed))
    sums = logits.double().softmax(-1).sort(-1, descending=True).values.cumsum(-1)
    # Ours sums from the likeliest token down, theirs from the unlikeliest up: a sum closer to top_p than a float32 can
    # tell may fall on either side (seed 2616 and 0.99999: 3.5e-8 apart).
    assume(bool(((sums - top_p).abs() > 1e-6)[sums < 1 - 1e-9].all()))
    torch.testing.assert_close(ch05.nucleus(logits, top_p), TopPLogitsWarper(top_p)(None, logits))


WORDS = st.lists(st.sampled_from("ada bram keeps goose stew lamp old brine and".split()), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8), WORDS, st.floats(0.1, 3.0), st.floats(0.0, 1.0))
def test_bm25_equals_bm25s(rows, query, k1, b):
    theirs = bm25s.BM25(k1=k1, b=b, dtype="float64")
    theirs.index(rows, show_progress=False)
    query = [word for word in query if any(word in row for row in rows)] or rows[0][:1]
    ours = BM25([" ".join(row) for row in rows], k1, b).scores(" ".join(query))
    assert ours == pytest.approx(theirs.get_scores(query).tolist(), abs=1e-6)
    assert ch05._bm25(query, rows, k1, b) == pytest.approx(ours), "the check's own formula, which it judges by"


def test_bm25_by_hand():
    index = BM25(["Ada keeps a goose.", "Bram keeps a toad.", "Ada's stew, Ada's lamp"], k1=1.0, b=0.0)
    assert terms("Ada's  STEW, 1920!") == ["ada", "s", "stew", "1920"]
    idf = math.log(1 + 1.5 / 2.5)  # two of three passages hold "ada"
    assert index.scores("Ada?") == pytest.approx([idf / 2, 0.0, idf * 2 / 3])
    assert index.scores("Ada Ada") == pytest.approx([idf, 0.0, idf * 4 / 3])
    assert index.search("toad", 2) == [1, 0], "equal scores keep their order"
    assert index.scores("heron") == [0.0, 0.0, 0.0]
    long = BM25(["goose", "goose " + "x " * 9], b=1.0)
    assert long.scores("goose")[0] > long.scores("goose")[1], "length holds a passage back"


def test_passages_are_cut_between_sentences():
    text = "Ada lives in Brine. She keeps a goose! Why? Nobody knows."
    assert passages(text, 2) == ["Ada lives in Brine. She keeps a goose!", "Why? Nobody knows."]
    assert passages(text, 3, title="Ada.")[1] == "Ada. Nobody knows."
    for wrong in (lambda: passages(text, 0), lambda: passages("  ", 1), lambda: BM25([]), lambda: BM25("one text")):
        with pytest.raises(ValueError, match="1 or more|at least one passage"):
            wrong()
    with pytest.raises(ValueError, match="b is 2"):
        BM25(["a"], b=2)
    with pytest.raises(ValueError, match="k is 0"):
        BM25(["a"]).search("a", 0)


def test_fused_ranks_are_those_worked_out_by_hand():
    # 1/61 + 1/63 for passage 7, 1/62 + 1/61 for passage 5, 1/63 + 1/62 for passage 3
    assert fuse_ranks([[7, 5, 3], [5, 3, 7]]) == [5, 7, 3]
    assert fuse_ranks([[2, 0, 1]]) == [2, 0, 1]
    assert fuse_ranks([[4], [9]]) == [4, 9], "equal sums stay in the order in which they were named"
    assert fuse_ranks([[1, 2, 3], [3, 4, 5], [3, 2, 1]], k=0)[0] == 3
    for wrong, k in (([], 60), ([[1]], -1), ([[1, 1]], 60)):
        with pytest.raises(ValueError, match="give one list|names a passage twice"):
            fuse_ranks(wrong, k)


def test_a_few_shot_prompt_to_the_character():
    shots = [("Ada", "stew"), ("Bram", "chowder")]
    assert few_shot_prompt(shots, "Noor") == "Ada: stew\nBram: chowder\nNoor:"
    assert few_shot_prompt([], "Noor", " = ") == "Noor ="
    assert few_shot_prompt(shots[:1], "Noor", " -> ", "; ", "Dishes") == "Dishes; Ada -> stew; Noor ->"
    with pytest.raises(ValueError, match="blank"):
        few_shot_prompt(shots, " ")


def test_a_soft_prompt_equals_peft_and_its_own_words(model):
    from peft import PromptTuningConfig, get_peft_model

    soft = SoftPrompt(model, length=5, seed=1)
    with torch.no_grad():
        soft.vectors.add_(0.1 * torch.randn(5, 32, generator=torch.Generator().manual_seed(2)))
    ids = torch.tensor([[5, 9, 3, 7], [2, 8, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    theirs = get_peft_model(to_llama(model), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5))
    with torch.no_grad():
        theirs.prompt_encoder["default"].embedding.weight.copy_(soft.vectors)
        expected = theirs(input_ids=ids, attention_mask=mask).logits[:, 5:]
        ours = soft(ids, mask).logits
    assert ours.shape == (2, 4, 24), "one row of logits for each token of the text"
    torch.testing.assert_close(ours[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(soft(ids[:1]).logits, ours[:1])

    plain = soft.as_decoder()
    row = [*soft.token_ids(), *ids[0].tolist()]
    with torch.no_grad():
        torch.testing.assert_close(plain(torch.tensor([row])).logits[:, 5:], ours[:1])
    written = generate(plain, [row, row[:-1]], max_new_tokens=8)
    assert written.tokens.max() < 24, "the vectors can be read, never said"
    step = cut(written.tokens[0])
    logits = soft(torch.tensor([[*ids[0].tolist(), *step]])).logits[0, 3:-1]
    assert logits.argmax(-1).tolist() == step
    assert plain.lm_head.weight is model.lm_head.weight, "weights are shared, not copied"
    assert model.config.vocab_size == 24 and len(model.model.embed_tokens.weight) == 24


def test_only_the_vectors_are_trained(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    soft = SoftPrompt(model, init_ids=[3, 4, 5])
    assert torch.equal(soft.vectors, model.model.embed_tokens.weight[[3, 4, 5]])
    assert [name for name, p in soft.named_parameters() if p.requires_grad] == ["vectors"]
    rows = [
        {"input_ids": [1, 5, 6, 9], "labels": [-100, -100, 6, 9]},
        {"input_ids": [1, 7, 9], "labels": [-100, -100, 9]},
    ]
    start = soft.vectors.detach().clone()
    config = TrainConfig(steps=40, learning_rate=0.1, weight_decay=0.0, device="cpu")
    history = train(soft, [collate(rows)] * 40, next_token_loss, config, progress=False)
    losses = history.column("loss")
    assert losses[-1] < 0.5 * losses[0]
    assert not torch.equal(soft.vectors, start)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_prepend_and_nearest_tokens(model):
    vectors, embeddings = torch.randn(2, 32), torch.randn(3, 4, 32)
    longer, none = prepend(vectors, embeddings)
    assert none is None and longer.shape == (3, 6, 32) and torch.equal(longer[1, :2], vectors)
    ids, cosines = nearest_tokens(2.5 * model.model.embed_tokens.weight[[4, 9]], model, k=2)
    assert ids[:, 0].tolist() == [4, 9] and ids.shape == (2, 2)
    torch.testing.assert_close(cosines[:, 0], torch.ones(2))


def test_wrong_soft_prompts_are_named(model):
    for wrong in ({"length": 0}, {}, {"length": 2, "init_ids": [1, 2, 3]}, {"init_ids": []}):
        with pytest.raises(ValueError, match="vector"):
            SoftPrompt(model, **wrong)
    with pytest.raises(ValueError, match="at most 64"):
        SoftPrompt(model, length=10)(torch.zeros(1, 60, dtype=torch.long))
