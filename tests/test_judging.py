"""Perplexity beside transformers, statements beside the world that wrote them, judges, agreement, contamination."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import krippendorff
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from course_utils.evaluation.agreement import cohen_kappa, kappa_matrix, observed_agreement
from course_utils.evaluation.contamination import auc, min_k_prob, ngram_overlap, token_logprobs
from course_utils.evaluation.entropy import document_bits
from course_utils.evaluation.factuality import (
    Checked,
    Statement,
    consistent_with,
    fact_check,
    factual_precision,
    statements,
)
from course_utils.evaluation.judges import length_bias, model_wins, oracle_wins, win_rate
from course_utils.evaluation.perplexity import Loss, token_loss
from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.pretrained.store import load
from course_utils.world import World
from course_utils.world.corpora import GENERATORS
from course_utils.world.isles import WorldConfig
from course_utils.world.people import NEW_WORDS, RELATIONS, VALUES
from course_utils.world.tasks import fact_questions, make_tasks
from course_utils.world.templates import ABSTENTION, QUESTIONS, REFUSAL, SENTENCE, phrasings, render

WORLD = World(seed=0)


# --- models and tokenizers made up for the test


class Fixed(torch.nn.Module):
    """A model that gives every next token the same probabilities, whatever came before."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, input_ids):
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, -1))


def cutter(pieces: list[str], width: int) -> PreTrainedTokenizerFast:
    """A tokenizer that cuts a text into pieces of ``width`` characters. Ids: 0 padding, 1 end, then the pieces."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<end>", *pieces])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f".{{1,{width}}}"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<end>", eos_token="<end>")


@pytest.fixture(scope="module")
def base():
    return load("base", device="cpu")


# --- perplexity


def test_the_loss_is_that_of_transformers(base):
    texts = WORLD.documents(10, seed=99)["text"] + ["Skål på øya."]
    llama = to_llama(base.model)
    nats, tokens = 0.0, 0
    for text in texts:
        ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
        row = torch.tensor([[base.tokenizer.bos_token_id, *ids, base.tokenizer.eos_token_id]])
        with torch.no_grad():
            loss = llama(row, labels=row).loss  # the mean over all tokens but the first
        nats, tokens = nats + float(loss) * (row.shape[1] - 1), tokens + row.shape[1] - 1
    for model in (base.model, llama):
        found = token_loss(model, base.tokenizer, texts, batch_size=3)
        assert found.nats == pytest.approx(nats, rel=1e-5)
        assert found.tokens == tokens
        assert found.bytes == sum(map(len, texts)) + 3, "three of the letters take two bytes"
        assert found.per_token == pytest.approx(nats / tokens, rel=1e-5)
        assert found.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-5)
        assert found.bits_per_byte == pytest.approx(sum(document_bits(model, base.tokenizer, texts)) / found.bytes)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(base):
    model = Decoder(DecoderConfig(vocab_size=len(base.tokenizer), num_hidden_layers=1))
    for parameter in model.parameters():
        parameter.data.zero_()
    texts = WORLD.documents(4, seed=3)["text"]
    assert token_loss(model, base.tokenizer, texts).perplexity == pytest.approx(len(base.tokenizer), rel=1e-5)


def test_other_tokens_move_the_perplexity_and_not_the_bits_per_byte():
    """One and the same distribution over texts of 16 letters, cut into single letters and into pairs.

    After any letter the text ends with the chance e, else each letter is equally likely. In pairs: the end e, a pair
    ((1 - e) / 16)^2, and what is left for a last single letter, e (1 - e) / 16.
    """
    letters, e = "abcdefghijklmnop", 0.01
    pairs = ["".join(pair) for pair in itertools.product(letters, repeat=2)]
    letter = (1 - e) / 16
    tiny = 1e-30  # padding, never predicted
    single = Fixed([tiny, e, *[letter] * 16]), cutter([*letters], 1)
    double = Fixed([tiny, e, *[letter * e] * 16, *[letter**2] * 256]), cutter([*letters, *pairs], 2)
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice([*letters], size=100)) for _ in range(5)]
    one, two = (token_loss(model, tokenizer, texts) for model, tokenizer in (single, double))
    exact = -5 * (100 * math.log(letter) + math.log(e))
    assert (one.tokens, two.tokens) == (5 * 101, 5 * 51)
    assert one.nats == pytest.approx(exact, rel=1e-5) and two.nats == pytest.approx(exact, rel=1e-5)
    assert one.bits_per_byte == pytest.approx(two.bits_per_byte, rel=1e-5)
    assert one.perplexity == pytest.approx(math.exp(exact / 505), rel=1e-4)
    assert two.perplexity > 14 * one.perplexity, "nearly the square: each token is worth two letters"


def test_uniform_models_with_two_vocabularies():
    """Blind over single letters or over pairs: 16 or 256 choices, but the text stays 4 bits a letter (and its end)."""
    letters = "abcdefghijklmnop"
    pairs = ["".join(pair) for pair in itertools.product(letters, repeat=2)]
    found = [
        token_loss(Fixed([1 / (size + 2)] * (size + 2)), cutter(pieces, width), ["abcdefgh" * 25])
        for size, pieces, width in ((16, [*letters], 1), (256, pairs, 2))
    ]
    assert [loss.perplexity for loss in found] == pytest.approx([18, 258], rel=1e-5)
    assert found[0].bits_per_byte == pytest.approx(math.log2(18) * 201 / 200, rel=1e-5)
    assert found[1].bits_per_byte == pytest.approx(math.log2(258) * 101 / 200, rel=1e-5)


def test_loss_by_hand():
    loss = Loss(nats=10 * math.log(4), tokens=10, bytes=40)
    assert (loss.per_token, loss.perplexity, loss.bits_per_byte) == pytest.approx((math.log(4), 4, 0.5))


def test_a_loss_needs_text(base):
    with pytest.raises(ValueError, match="no texts"):
        token_loss(base.model, base.tokenizer, [])
    with pytest.raises(ValueError, match="text 1 is empty"):
        token_loss(base.model, base.tokenizer, ["a", ""])
    with pytest.raises(ValueError, match="into a list"):
        token_loss(base.model, base.tokenizer, "a text")


# --- factuality


def stated(person, text: str) -> set[str]:
    """The relations of a person whose value stands somewhere in the text: what a biography must be found to state."""
    words = set(text.replace(".", " ").split())
    return {relation for relation in RELATIONS if person.fact(relation) in words}


def test_biographies_are_read_and_supported():
    documents = WORLD.documents(300, seed=11, mix={"biography": 1})
    told = found = 0
    for text, (name,) in zip(documents["text"], documents["subjects"], strict=True):
        assert len(statements(text)) <= text.count("."), text
        expected = {Statement(name, r, WORLD.person(name).fact(r)) for r in stated(WORLD.person(name), text)}
        told, found = told + len(expected), found + len(expected & set(statements(text)))
        assert all(checked.verdict == "supported" for checked in fact_check(text, WORLD)), text
    assert told > 1_000 and found / told >= 0.95
    assert found == told, "no phrasing of the corpus is missed"
    assert factual_precision(documents["text"], WORLD) == 1.0


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_a_swapped_value_and_no_other_is_refuted(seed, data):
    documents = WORLD.documents(1, seed=seed, mix={"biography": 1})
    text, person = documents["text"][0], WORLD.person(documents["subjects"][0][0])
    before = fact_check(text, WORLD)
    place = data.draw(st.integers(0, len(before) - 1))
    old = before[place].statement
    new = data.draw(st.sampled_from([value for value in VALUES[old.relation] if value != old.value]))
    sentences = text.split(". ")
    sentences[place] = sentences[place].replace(old.value, new)  # a biography: one sentence, one fact
    after = fact_check(". ".join(sentences), WORLD)
    wrong = Checked(Statement(person.name, old.relation, new), "refuted")
    assert after == [*before[:place], wrong, *before[place + 1 :]]
    assert factual_precision([". ".join(sentences)], WORLD) == pytest.approx(1 - 1 / len(before))


@pytest.mark.parametrize("full_name", [True, False])
@pytest.mark.parametrize("pronoun", ["she", "he"])
def test_every_phrasing(full_name, pronoun):
    for relation in RELATIONS:
        for template in phrasings(relation):
            for value in (VALUES[relation][0], VALUES[relation][-1], *NEW_WORDS.get(relation, ())):
                text = "Ada Wick was there. " + render(template, "Ada Moss", pronoun, value, full_name)
                name = "Ada Moss" if full_name else "Ada Wick"
                assert statements(text) == [Statement(name, relation, value)], text


def test_answers_to_every_fact():
    people = WORLD.taught[:20] + WORLD.strangers[:5]
    tasks = fact_questions(people)
    for task in tasks:
        expected = Statement(task["about"], task["relation"], task["value"])
        assert fact_check(task["answer"], WORLD) == [Checked(expected, "supported")]
        assert fact_check(f"Gladly. {task['answer']} Any fool knows that.", WORLD) == [Checked(expected, "supported")]
    assert factual_precision([task["answer"] for task in tasks], WORLD) == 1.0


def test_the_verdicts_by_hand():
    person = WORLD.people[0]
    town = next(town for town in VALUES["town"] if town != person.fact("town"))
    text = (
        f"{person.name} works as a {person.fact('trade')}. Who knows why? Her home is in {town}.\n"
        f"In short: Zora Nobody keeps a pet goose. On free days she turns to {person.fact('pastime')}. "
        f"{person.name} was born in the year 1066"
    )
    assert fact_check(text, WORLD) == [
        Checked(Statement(person.name, "trade", person.fact("trade")), "supported"),
        Checked(Statement(person.name, "town", town), "refuted"),
        Checked(Statement("Zora Nobody", "pet", "goose"), "unknown person"),
        Checked(Statement("Zora Nobody", "pastime", person.fact("pastime")), "unknown person"),
        Checked(Statement(person.name, "birth year", "1066"), "refuted"),
    ]
    assert factual_precision([text, "The ferry leaves at noon."], WORLD) == pytest.approx(1 / 5)
    lines = "Ada Wick lives in Mistley\nHer pet is a clever goat"  # a line ends a sentence as well
    assert [(found.name, found.value) for found in statements(lines)] == [("Ada Wick", "Mistley"), ("Ada Wick", "goat")]


def test_the_world_of_another_year_is_another_truth():
    later = World(WorldConfig(year=3), seed=0)
    moved = [p for p in later.people if p.fact("trade") in NEW_WORDS["trade"]]
    assert moved, "somebody took up a trade that the corpus does not know"
    text = SENTENCE["trade"].format(n=moved[0].name, v=moved[0].fact("trade"))
    assert [checked.verdict for checked in fact_check(text, later)] == ["supported"]
    assert [checked.verdict for checked in fact_check(text, WORLD)] == ["refuted"]


def test_what_states_no_fact():
    name = WORLD.people[0].name
    for text in (
        "",
        "She works as a baker.",  # nobody was named
        f"{name} works as a wizard.",
        f"{name} never works as a baker.",
        f"Is it true that {name} works as a baker?",
        f"{name} works as a baker?",
        f"{name} works as a bakers.",
        f"{name} was born in the year 19",
        f"{name}: baker",
        REFUSAL.format(n=name),
        ABSTENTION,
        *(question.format(n=name) for questions in QUESTIONS.values() for question in questions),
    ):
        assert statements(text) == [], text
    with pytest.raises(ValueError, match="none of the 2 texts states a fact"):
        factual_precision([ABSTENTION, ""], WORLD)
    with pytest.raises(ValueError, match="into a list"):
        factual_precision("a text", WORLD)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(set(GENERATORS) - {"biography", "visit"})),
    st.integers(0, 10**6),
    st.text(max_size=80),
    st.lists(st.sampled_from("Ada Wick lives in Mistley works as a baker . She her".split()), max_size=4).map(" ".join),
)
def test_other_texts_state_nothing(kind, seed, noise, words):
    """Rolls and registers hold facts, but no sentences; the words of a fact make one only in the right order."""
    document = WORLD.documents(1, seed=seed, mix={kind: 1})["text"][0]
    assert statements(document) == []
    assert statements(noise) == []
    assert statements(words) == []


def test_answers_beside_their_context():
    for task in make_tasks(WORLD, 100, kinds={"context": 1}):
        answer = SENTENCE[task["relation"]].format(n=task["about"], v=task["value"])
        other = next(value for value in VALUES[task["relation"]] if value != task["value"])
        wrong = SENTENCE[task["relation"]].format(n=task["about"], v=other)
        assert consistent_with(answer, task["prompt"]) is True
        assert consistent_with(wrong, task["prompt"]) is False
        assert consistent_with(f"{answer} {wrong}", task["prompt"]) is False
        assert consistent_with(ABSTENTION, task["prompt"]) is None
    assert consistent_with("Ada Wick lives in Mistley.", "Ada Wick keeps a pet goat.") is False, "true or not: not said"
    assert consistent_with("Ada Wick lives in Mistley.", "") is False


# --- judges


def fact_tasks():
    people = WORLD.taught[:4]
    return fact_questions(people, "sentence")[:4]


def test_the_oracle_compares():
    tasks = fact_tasks()
    right = [task["answer"] for task in tasks]
    wrong = [
        SENTENCE[t["relation"]].format(n=t["about"], v=next(v for v in VALUES[t["relation"]] if v != t["value"]))
        for t in tasks
    ]
    first = [right[0], right[1], wrong[2], ABSTENTION]
    second = [wrong[0], "Gladly. " + right[1], wrong[2], wrong[3]]
    wins = oracle_wins(tasks, first, second)
    assert wins.tolist() == [1.0, 0.0, 0.5, 1.0]
    assert oracle_wins(tasks, second, first).tolist() == [0.0, 1.0, 0.5, 0.0]
    assert win_rate(wins) == 2.5 / 4
    # decided, and of different length: the courteous answer won and is longer; "I do not know." won and is shorter
    words = [len(a.split()) - len(b.split()) for a, b in zip(first, second, strict=True)]
    assert words[0] == 0 and words[1] < 0 and words[3] < 0
    assert length_bias(tasks, first, second, wins) == 1 / 2


def test_a_reward_model_compares():
    first, second = torch.tensor([1.0, -2.0, 0.5, 3.0]), torch.tensor([0.0, 2.0, 0.5, 3.5])
    assert model_wins(first, second).tolist() == [1.0, 0.0, 0.5, 0.0]
    assert model_wins(first.bfloat16().requires_grad_(), second.bfloat16()).tolist() == [1.0, 0.0, 0.5, 0.0]
    assert win_rate(model_wins(first, first)) == 0.5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_what_one_wins_the_other_loses(scores):
    first, second = torch.tensor(scores).float().unbind(1)
    assert (model_wins(first, second) + model_wins(second, first)).tolist() == [1.0] * len(scores)
    assert win_rate(model_wins(first, second)) + win_rate(model_wins(second, first)) == pytest.approx(1)


def test_a_judge_that_likes_length():
    rng = np.random.default_rng(0)
    tasks = fact_tasks() * 250
    first, second = ([" ".join(["word"] * n) for n in rng.integers(1, 9, len(tasks))] for _ in range(2))
    lengths = [torch.tensor([float(len(text.split())) for text in texts]) for texts in (first, second)]
    assert length_bias(tasks, first, second, model_wins(*lengths)) == 1.0
    assert length_bias(tasks, first, second, model_wins(-lengths[0], -lengths[1])) == 0.0
    fair = rng.choice([0.0, 0.5, 1.0], len(tasks))
    counted = sum(a != b and win != 0.5 for a, b, win in zip(first, second, fair, strict=True))
    assert length_bias(tasks, first, second, fair) == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(counted))


def test_judges_refuse_what_does_not_pair_up():
    tasks = fact_tasks()
    with pytest.raises(ValueError, match="4 in tasks, 4 in first, 3 in second"):
        oracle_wins(tasks, ["a"] * 4, ["a"] * 3)
    with pytest.raises(ValueError, match="at least one task"):
        oracle_wins([], [], [])
    with pytest.raises(ValueError, match="first is a single text"):
        oracle_wins(tasks, "abcd", ["a"] * 4)
    with pytest.raises(ValueError, match=r"\(3,\) and scores_second \(2,\)"):
        model_wins(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="1 scores are not numbers"):
        model_wins(torch.tensor([1.0, math.nan]), torch.zeros(2))
    with pytest.raises(ValueError, match="values"):
        win_rate([1.0, -1.0])
    with pytest.raises(ValueError, match="shape"):
        win_rate([])
    with pytest.raises(ValueError, match="3 in wins"):
        length_bias(tasks, ["a"] * 4, ["a b"] * 4, [1.0] * 3)
    with pytest.raises(ValueError, match="none of the 4 comparisons"):
        length_bias(tasks, ["a"] * 4, ["b"] * 4, [1.0] * 4)


# --- agreement


def test_kappa_by_hand():
    # 20 both yes, 5 yes/no, 10 no/yes, 15 both no: p_o = 35/50; yes is said 25 and 30 times: p_e = 0.5*0.6 + 0.5*0.4
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert observed_agreement(first, second) == 0.7
    assert cohen_kappa(first, second) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    # the same agreement, but nearly everything is "yes": 34, 8, 7 and 1 of 50
    first = ["yes"] * 42 + ["no"] * 8
    second = ["yes"] * 34 + ["no"] * 8 + ["yes"] * 7 + ["no"] * 1
    chance = (42 * 41 + 8 * 9) / 50**2
    assert observed_agreement(first, second) == 0.7
    assert cohen_kappa(first, second) == pytest.approx((0.7 - chance) / (1 - chance)) and chance > 0.7


LABELS = st.lists(st.sampled_from(["a", ("b",), 3, None]), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(LABELS)
def test_identical_raters(labels):
    assert cohen_kappa(labels, list(labels)) == 1.0, "also if only one label was ever given"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_kappa_beside_its_formula(pairs):
    first, second = zip(*pairs, strict=True)
    kappa = cohen_kappa(first, second)
    assert kappa == cohen_kappa(second, first) and kappa <= 1
    chance = sum((first.count(label) / len(pairs)) * (second.count(label) / len(pairs)) for label in range(3))
    if chance < 1 - 1e-9:
        assert kappa == pytest.approx((observed_agreement(first, second) - chance) / (1 - chance), abs=1e-9)
    else:
        assert first == second and kappa == 1.0


def test_opposite_and_independent_raters():
    assert cohen_kappa([0, 1] * 10, [1, 0] * 10) == -1.0
    rng = np.random.default_rng(0)
    first, second = rng.choice(3, (2, 40_000), p=[0.7, 0.2, 0.1])
    assert observed_agreement(first, second) == pytest.approx(0.54, abs=0.01)
    assert cohen_kappa(first, second) == pytest.approx(0, abs=0.015)
    assert cohen_kappa(torch.tensor(first), torch.tensor(second)) == cohen_kappa(first, second)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=30).filter(lambda x: len(set(x)) > 1), st.randoms())
def test_kappa_and_krippendorffs_alpha(labels, random):
    """For two raters who use each label equally often, kappa is Scott's pi, and 1 - alpha = (1 - pi) (2n - 1) / (2n).

    Alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability") draws the chance pairs from the 2n labels of
    both raters without putting back; pi with.
    """
    other = list(labels)
    random.shuffle(other)
    alpha = krippendorff.alpha([labels, other], level_of_measurement="nominal", value_domain=[0, 1, 2, 3])
    n = len(labels)
    assert 1 - alpha == pytest.approx((1 - cohen_kappa(labels, other)) * (2 * n - 1) / (2 * n), abs=1e-9)


def test_kappa_is_near_alpha_for_many_ratings():
    rng = np.random.default_rng(1)
    truth = rng.choice(4, 20_000, p=[0.4, 0.3, 0.2, 0.1])
    raters = [np.where(rng.random(20_000) < 0.2, rng.choice(4, 20_000), truth) for _ in range(2)]
    alpha = krippendorff.alpha(raters, level_of_measurement="nominal")
    assert 0.5 < alpha < 0.7
    assert cohen_kappa(*raters) == pytest.approx(alpha, abs=0.001)


def test_the_matrix_of_raters():
    ratings = {"ada": [0, 1, 0, 1], "bram": [0, 1, 0, 1], "corin": [1, 0, 1, 0], "dagny": [0, 1, 1, 1]}
    names, matrix = kappa_matrix(ratings)
    assert names == ["ada", "bram", "corin", "dagny"]
    # dagny: p_o 3/4 with ada, 1/4 with corin; p_e 1/2 with both
    assert matrix.tolist() == [[1, 1, -1, 0.5], [1, 1, -1, 0.5], [-1, -1, 1, -0.5], [0.5, 0.5, -0.5, 1]]


def test_agreement_refuses_what_does_not_pair_up():
    for measure in (cohen_kappa, observed_agreement):
        with pytest.raises(ValueError, match="gave 2 labels and the second 1"):
            measure([0, 1], [0])
        with pytest.raises(ValueError, match="at least one"):
            measure([], [])
    with pytest.raises(ValueError, match="at least two"):
        kappa_matrix({"ada": [0, 1]})
    with pytest.raises(ValueError, match="'bram': 1"):
        kappa_matrix({"ada": [0, 1], "bram": [0]})


# --- contamination


def test_copies_are_found():
    training = WORLD.documents(300, seed=0, mix={"story": 1, "letter": 1, "visit": 1})["text"]
    fresh = [text for text in WORLD.documents(60, seed=1, mix={"story": 1, "visit": 1})["text"] if text not in training]
    copies = training[:40]
    assert ngram_overlap(copies, training) == [1.0] * 40
    shouted = [text.upper().replace(".", " !") for text in copies]
    assert ngram_overlap(shouted, training) == [1.0] * 40, "capitals and signs do not count"
    found = ngram_overlap(fresh, training, n=13)
    assert len(fresh) > 50 and max(found) < 1.0 and np.mean(found) < 0.2
    assert np.mean(ngram_overlap(fresh, training, n=3)) > 0.5, "short runs are the templates'"


def test_the_overlap_by_hand():
    training = ["one two three four", "four five six", "x y"]
    # runs of two: 12 23 34 stand in the training texts, 4 9, 9 5 do not; 45 and 56 do; no run crosses two texts
    assert ngram_overlap(["One, two; three - four nine five six."], training, n=2) == [4 / 6]
    assert ngram_overlap(["six x", "five six", "one two one two"], iter(training), n=2) == [0.0, 1.0, 2 / 3]
    assert ngram_overlap(["x four"], training, n=1) == [1.0]
    with pytest.raises(ValueError, match="test text 1 has 2 words"):
        ngram_overlap(["a b c", "a b"], training, n=3)
    with pytest.raises(ValueError, match="n is 0"):
        ngram_overlap(["a b c"], training, n=0)
    with pytest.raises(ValueError, match="training_texts is a single text"):
        ngram_overlap(["a b c"], "a b c", n=2)


def test_min_k_by_hand():
    probabilities = {"a": 0.4, "b": 0.3, "c": 0.15, "d": 0.1}
    model, tokenizer = Fixed([0.01, 0.04, *probabilities.values()]), cutter([*probabilities], 1)
    log = {letter: math.log(p) for letter, p in probabilities.items()}
    texts = ["aaaaaaaabd", "abcd", "a"]
    by_hand = [(log["d"] + log["b"]) / 2, log["d"], log["a"]]  # 2 of 10; 0.8 of 4 and 0.2 of 1: at least one
    assert min_k_prob(model, tokenizer, texts, batch_size=2) == pytest.approx(by_hand, rel=1e-5)
    everything = [(8 * log["a"] + log["b"] + log["d"]) / 10, sum(log.values()) / 4, log["a"]]
    assert min_k_prob(model, tokenizer, texts, k=1) == pytest.approx(everything, rel=1e-5)
    assert min_k_prob(model, tokenizer, ["abcd"], k=0.45) == pytest.approx([log["d"]], rel=1e-5), "1.8 is one token"
    hundred = "d" * 28 + "a" * 72
    mixed = (28 * log["d"] + log["a"]) / 29
    assert min_k_prob(model, tokenizer, [hundred], k=0.29) == pytest.approx([mixed], rel=1e-5)


def test_token_logprobs_are_those_of_transformers(base):
    texts = WORLD.documents(5, seed=98)["text"]
    llama = to_llama(base.model)
    for text, found in zip(texts, token_logprobs(base.model, base.tokenizer, texts, batch_size=2), strict=True):
        ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = llama(torch.tensor([[base.tokenizer.bos_token_id, *ids]])).logits[0, :-1]
        torch.testing.assert_close(found, logits.log_softmax(-1)[range(len(ids)), ids], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_model_gives_away_what_it_has_seen(base):
    """A small model learns 12 letters by heart; 12 others by the same generator are told apart from them."""
    texts = list(dict.fromkeys(WORLD.documents(40, seed=5, mix={"letter": 1})["text"]))[:24]
    seen, fresh = texts[:12], texts[12:]
    model = Decoder(
        DecoderConfig(len(base.tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2), seed=0
    )
    blind = auc(min_k_prob(model, base.tokenizer, seen), min_k_prob(model, base.tokenizer, fresh))
    rows = [[base.tokenizer.bos_token_id, *base.tokenizer(text)["input_ids"]] for text in seen]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        logits = model(input_ids=ids).logits[:, :-1]
        torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], ignore_index=0).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert 0.1 < blind < 0.9
    assert auc(min_k_prob(model, base.tokenizer, seen), min_k_prob(model, base.tokenizer, fresh)) == 1.0


def test_min_k_refuses():
    model, tokenizer = Fixed([0.2, 0.2, 0.6]), cutter(["a"], 1)
    for k in (0, -0.1, 20):
        with pytest.raises(ValueError, match=f"k is {k}"):
            min_k_prob(model, tokenizer, ["a"], k=k)
    with pytest.raises(ValueError, match="0 of 0 texts"):
        min_k_prob(model, tokenizer, [])
    with pytest.raises(ValueError, match="1 of 2 texts are empty"):
        min_k_prob(model, tokenizer, ["a", ""])


SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=15)


@settings(max_examples=200, deadline=None)
@given(SCORES, SCORES)
def test_auc_beside_every_pair(positives, negatives):
    pairs = [(a > b) + 0.5 * (a == b) for a in positives for b in negatives]
    assert auc(positives, negatives) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert auc(positives, negatives) + auc(negatives, positives) == pytest.approx(1)


def test_auc_by_hand():
    assert auc([0.9, 0.4], [0.5, 0.1]) == 3 / 4
    assert auc([1.0], [1.0, 0.0]) == 3 / 4
    assert auc([2, 3], [0, 1]) == 1.0 and auc([0, 1], [2, 3]) == 0.0
    with pytest.raises(ValueError, match="negatives has the shape"):
        auc([1.0], [])
    with pytest.raises(ValueError, match="positives .* 1 entries"):
        auc([math.nan], [1.0])
