"""New words, new rows, replay, the pull to the start, figures by class, and the healers' world."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from course_utils.evaluation import classification
from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.embeddings import mean_of_pieces, resize_embeddings
from course_utils.text.batching import PackedBatches
from course_utils.text.tokenizer import encode_plain, train_tokenizer
from course_utils.text.vocabulary import add_words, fertility, split_words
from course_utils.training.l2_sp import distance_penalty, l2_sp, start_weights
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import next_token_loss
from course_utils.training.replay import ReplayBatches, replay_plan
from course_utils.world import World, healers
from course_utils.world.draw import Draw
from course_utils.world.probes import lore_probes


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def tokenizer(world):
    return train_tokenizer(world.documents(600)["text"], 600)


@pytest.fixture(scope="module")
def lore(world):
    return healers.cures(world, 16)


@pytest.fixture(scope="module")
def texts(lore):
    return healers.notes(lore, 120)["text"]


SMALL = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}


def small(tied: bool = True) -> Decoder:
    return Decoder(DecoderConfig(**SMALL, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=tied))


# vocabulary


def test_fertility_counts_all_tokens_and_all_words(tokenizer):
    ids = encode_plain(["a fogcough", "tea\nat dawn"], tokenizer)
    assert fertility(["a fogcough", "tea\nat dawn"], tokenizer) == sum(map(len, ids)) / 5
    with pytest.raises(ValueError, match="no word"):
        fertility([" "], tokenizer)
    with pytest.raises(ValueError, match="list"):
        fertility("a fogcough", tokenizer)


def test_split_words_are_frequent_and_cut(tokenizer, texts):
    found = split_words(texts, tokenizer, pieces=3, count=5)
    assert found and list(found.values()) == sorted(found.values(), reverse=True)
    assert all(len(ids) >= 3 for ids in encode_plain(list(found), tokenizer))
    assert all(" ".join(texts).count(word) >= n >= 5 for word, n in found.items())
    assert found.items() < split_words(texts, tokenizer, pieces=1, count=5).items()  # fewer pieces, more words
    assert not split_words(texts, tokenizer, pieces=1, count=10**6)


def test_added_words_are_one_token_and_nothing_else_changes(world, tokenizer, texts):
    words = list(split_words(texts, tokenizer))
    larger = add_words(tokenizer, words)
    assert len(larger) == len(tokenizer) + len(words)
    assert encode_plain(words, larger) == [[len(tokenizer) + i] for i in range(len(words))]
    old = [text for text in world.documents(300, seed=3)["text"] if not set(text.replace(".", "").split()) & set(words)]
    assert encode_plain(old, larger) == encode_plain(old, tokenizer)
    assert all(larger.decode(ids) == text for ids, text in zip(encode_plain(texts, larger), texts, strict=True))
    longer = f"{words[0]}xx"
    assert encode_plain([longer], larger) == encode_plain([longer], tokenizer)  # not found inside of a longer word
    assert larger.chat_template == tokenizer.chat_template and larger.eos_token_id == tokenizer.eos_token_id
    assert fertility(texts, larger) < fertility(texts, tokenizer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one word"),
        ("fogcough", "list"),
        (["two words"], "two words"),
        (["half-day"], "half-day"),
        (["the"], "already"),
    ],
)
def test_words_that_cannot_be_added(tokenizer, words, message):
    with pytest.raises(ValueError, match=message):
        add_words(tokenizer, words)


def test_a_word_twice_is_refused(tokenizer):
    with pytest.raises(ValueError, match="already"):
        add_words(tokenizer, ["gullpoxes", "gullpoxes"])


# embeddings


def test_rows_are_means_of_pieces():
    weight = torch.randn(5, 3)
    grown = mean_of_pieces(weight, [[1, 3], [0, 2, 2]])
    assert torch.equal(grown[:5], weight)
    assert torch.allclose(grown[6], (weight[0] + 2 * weight[2]) / 3)
    for wrong in ([[]], [[5]], [[-1]]):
        with pytest.raises(ValueError, match="from 0 to 4"):
            mean_of_pieces(weight, wrong)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("start", ["pieces", "mean", "random"])
def test_resizing_keeps_what_the_model_says_about_old_tokens(tied, start):
    model, ids = small(tied), torch.tensor([[3, 9, 12]])
    before = model(ids).logits
    grown = resize_embeddings(copy.deepcopy(model), [[1, 2], [7]], start)
    assert torch.allclose(grown(ids).logits[..., :40], before, atol=1e-6)
    assert grown(torch.tensor([[40, 41]])).logits.shape[-1] == grown.config.vocab_size == 42
    assert (grown.lm_head.weight is grown.model.embed_tokens.weight) is tied
    if start == "pieces":
        assert torch.allclose(grown.lm_head.weight[40], model.lm_head.weight[[1, 2]].mean(0))
    if start == "mean":
        assert torch.allclose(grown.model.embed_tokens.weight[41], model.model.embed_tokens.weight.mean(0), atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_resizing_equals_transformers(tied):
    model = small(tied)
    llama = to_llama(model)
    llama.resize_token_embeddings(42, mean_resizing=False)
    ours = resize_embeddings(model, [[1, 2], [7]])
    for theirs, mine in ((llama.get_input_embeddings(), ours.model.embed_tokens), (llama.lm_head, ours.lm_head)):
        assert theirs.weight.shape == mine.weight.shape
        assert torch.equal(theirs.weight[:40], mine.weight[:40])
        with torch.no_grad():
            theirs.weight[40:] = mine.weight[40:]
    ids = torch.tensor([[3, 40, 41, 5]])
    assert torch.allclose(llama(ids).logits, ours(ids).logits, atol=1e-5)


def test_resizing_is_seeded_and_checks_its_start():
    rows = [resize_embeddings(small(), [[1]], "random", seed).lm_head.weight[40] for seed in (1, 1, 2)]
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])
    with pytest.raises(ValueError, match="zeros"):
        resize_embeddings(small(), [[1]], "zeros")


# replay


@pytest.mark.parametrize(("size", "share"), [(8, 0.05), (4, 0.25), (20, 0.29), (3, 1 / 3), (5, 0.0), (5, 1.0)])
def test_the_share_is_exact_and_no_row_is_lost(size, share):
    plans = [replay_plan(step, size, share) for step in range(300)]
    assert all(len(new) + len(old) == size for new, old in plans)
    for column in (0, 1):
        places = [place for plan in plans for place in plan[column]]
        assert places == list(range(len(places)))
    so_far = np.cumsum([len(old) for _, old in plans])
    assert (np.abs(so_far - share * size * np.arange(1, 301)) < 1.001).all()
    assert abs(so_far[-1] - share * size * 300) <= 1
    with pytest.raises(ValueError, match="1.5"):
        replay_plan(0, size, 1.5)


def rows(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count)[:, None].repeat(1, 6)


def test_replay_batches_mix_both_and_do_not_depend_on_what_came_before():
    new, old = PackedBatches(rows(0, 10), 4, seed=1), PackedBatches(rows(20, 7), 4, seed=2)
    mixed = ReplayBatches(new, old, 0.25)
    seen = torch.cat([mixed[step]["input_ids"][:, 0] for step in range(40)])
    assert (seen >= 20).sum() == 40 and set(seen.tolist()) == {*range(10), *range(20, 27)}
    assert torch.equal(mixed[17]["input_ids"], ReplayBatches(new, old, 0.25)[17]["input_ids"])
    assert torch.equal(ReplayBatches(new, old, 0.0)[3]["input_ids"], new[3]["input_ids"])
    with pytest.raises(ValueError, match="length"):
        ReplayBatches(new, PackedBatches(torch.zeros(3, 5, dtype=torch.long), 4), 0.5)


@pytest.mark.slow
def test_a_stopped_run_with_replay_goes_on_exactly(tmp_path):
    new, old = PackedBatches(rows(0, 10), 4, seed=1), PackedBatches(rows(20, 7), 4, seed=2)
    config = TrainConfig(steps=6, learning_rate=1e-2, save_every=1)

    def run(folder, stop=None):
        def callback(history):
            if len(history) == stop:
                raise RuntimeError("killed")

        model = small()
        train(
            model,
            ReplayBatches(new, old, 0.3),
            next_token_loss,
            config,
            checkpoint_dir=folder,
            progress=False,
            callback=callback,
        )
        return model

    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "stopped", stop=3)
    for a, b in zip(whole.parameters(), run(tmp_path / "stopped").parameters(), strict=True):
        assert torch.equal(a, b)


# the pull to the start


def test_the_penalty_and_its_gradient():
    now = {"a": torch.tensor([1.0, 2.0], requires_grad=True), "new": torch.tensor([5.0], requires_grad=True)}
    penalty = distance_penalty(now, {"a": torch.tensor([0.0, 4.0])}, 0.5)
    penalty.backward()
    assert penalty.item() == pytest.approx(0.25 * (1 + 4))
    assert torch.allclose(now["a"].grad, 0.5 * torch.tensor([1.0, -2.0])) and now["new"].grad is None
    for start in ({"b": torch.zeros(2)}, {"a": torch.zeros(3)}):
        with pytest.raises(ValueError, match="start"):
            distance_penalty(now, start, 1.0)


@pytest.mark.slow
def test_a_stronger_pull_ends_nearer():
    data, ends = PackedBatches(rows(0, 10), 4), {}
    for strength in (0.0, 0.1, 10.0):
        model = small()
        start = start_weights(model)
        objective = l2_sp(next_token_loss, start, strength)
        config = TrainConfig(steps=15, learning_rate=1e-2, weight_decay=0.0)
        history = train(model, data, objective, config, progress=False)
        ends[strength] = distance_penalty(dict(model.named_parameters()), start, 2.0).item() ** 0.5
        assert history.column("distance")[0] == 0
    assert ends[10.0] < ends[0.1] < ends[0.0]
    with pytest.raises(ValueError, match="-1"):
        l2_sp(next_token_loss, {}, -1)


def test_without_strength_nothing_changes_and_names_can_be_left_out():
    weights = []
    for objective in (next_token_loss, l2_sp(next_token_loss, start_weights(small()), 0.0)):
        model = small()
        config = TrainConfig(steps=4, split_batch=False)  # only the first objective may run in halves
        train(model, PackedBatches(rows(0, 10), 4), objective, config, progress=False)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    assert not any(
        name.endswith("embed_tokens.weight") for name in start_weights(small(), skip=("embed_tokens.weight",))
    )


# figures by class


def test_figures_by_class_against_worked_numbers():
    truth, predicted = [0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1]  # the example of scikit-learn's f1_score: macro 0.26...
    matrix = classification.confusion_matrix(truth, predicted, 3)
    assert matrix.tolist() == [[2, 0, 0], [1, 0, 1], [0, 2, 0]]
    assert classification.macro_f1(matrix) == pytest.approx(0.8 / 3)
    assert [f.support for f in classification.by_class(matrix)] == [2, 2, 2]
    assert classification.by_class(matrix)[0].precision == pytest.approx(2 / 3)
    truth, predicted = [0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]  # that of balanced_accuracy_score: 0.625
    matrix = classification.confusion_matrix(truth, predicted, 2)
    assert classification.balanced_accuracy(matrix) == pytest.approx(0.625)
    assert classification.accuracy(matrix) == pytest.approx(4 / 6)


def test_absent_classes():
    matrix = classification.confusion_matrix([0, 0, 1], [0, 2, 1], 4)  # 2 is only predicted, 3 is nowhere
    assert classification.balanced_accuracy(matrix) == pytest.approx((0.5 + 1) / 2)
    assert classification.macro_f1(matrix) == pytest.approx((2 / 3 + 1 + 0) / 3)


@pytest.mark.parametrize(("truth", "predicted"), [([0], [0, 1]), ([], []), ([2], [0]), ([0], [-1])])
def test_bad_classes_are_refused(truth, predicted):
    with pytest.raises(ValueError, match="class"):
        classification.confusion_matrix(truth, predicted, 2)


# the healers


def test_the_lore_begins_with_that_of_the_world(world):
    lore = healers.cures(world, 40)
    assert {c.ailment: (c.remedy, c.form, c.hour) for c in lore[:12]} == world.lore
    assert len({c.ailment for c in lore}) == len({c.remedy for c in lore}) == 40
    assert lore == healers.cures(World(), 40) and lore[:20] == healers.cures(world, 40)[:20]
    for count in (11, 10_000):
        with pytest.raises(ValueError, match=str(count)):
            healers.cures(world, count)


def test_notes_say_the_truth_in_phrasings_of_their_own(lore):
    columns = healers.notes(lore, 400, seed=5)
    by_name = {cure.ailment: cure for cure in lore}
    for text, ailment in zip(columns["text"], columns["ailment"], strict=True):
        cure = by_name[ailment]
        assert all(cure.fact(relation) in text for relation in healers.RELATIONS)
        for relation in healers.RELATIONS:
            read, left_out = healers.told(cure, relation)
            assert len(read) == 4 and len(left_out) == 2
            assert not any(words.format(a=ailment, v=cure.fact(relation)) in text for words in left_out)
    left = {words for cure in lore for words in healers.told(cure, "form")[1]}
    assert left == set(healers.PHRASINGS["form"])  # each phrasing is left out by some and used by others


def test_bits_are_those_of_the_choices(lore):
    columns = healers.notes(lore, 50)
    assert columns["bits"] == pytest.approx([4 + np.log2(6) + 3 * 2] * 50)  # ailment, order, three phrasings of four
    assert columns == healers.notes(lore, 50) != healers.notes(lore, 50, seed=1)


def test_phrasings_tell_the_relation_before_the_value():
    for relation, phrasings in {**healers.PHRASINGS, "answers": tuple(healers.ANSWERS.values())}.items():
        assert all(words.endswith("{v}.") for words in phrasings), relation
    heads = [words.split("{v}")[0] for phrasings in healers.PHRASINGS.values() for words in phrasings]
    assert len(set(heads)) == len(heads)


def test_probes_ask_what_notes_left_out(lore):
    unread, read = lore_probes(lore), lore_probes(lore, read=True)
    assert len(unread) == 16 * 3 * 2 and len(read) == 16 * 3 * 4
    assert not {p.prompt for p in unread} & {p.prompt for p in read}


def test_questions_pages_and_revisions(lore):
    cure, new = lore[0], healers.revised(lore[0], "hour")
    assert new.hour != cure.hour and new.remedy == cure.remedy
    assert healers.revised(lore[-1], "remedy").remedy != lore[-1].remedy
    assert len(set(healers.invented(lore, 50))) > 40
    for relation in healers.RELATIONS:
        task = healers.ask(new, relation, 3)
        assert str(task["value"]) in healers.page(new) and str(task["value"]) in str(task["answer"])
        assert len(set(healers.QUESTIONS[relation])) == 4


def test_cases_hold_the_signs_of_their_class():
    texts, labels = healers.cases(200, 10, seed=3)
    assert sum(labels) == 10 and len(texts) == 200
    for text, label in zip(texts, labels, strict=True):
        assert (sum(sign in text for sign in healers.GRAVE) >= 2) is (label == healers.URGENT)
    assert healers.cases(200, 10, seed=3) == (texts, labels)
    with pytest.raises(ValueError, match="201"):
        healers.cases(200, 201)


def test_the_corpus_of_the_base_knows_nothing_of_it(world, lore):
    corpus = " ".join(world.documents(3000)["text"]).lower()
    assert not any(cure.ailment in corpus or cure.remedy in corpus for cure in lore)


def test_as_many_different_notes_as_their_bits_say(lore):
    """6 orders and 4 phrasings of each of 3 facts, all drawn alike: 384 notes about an ailment, and no two are one."""
    drawn = {healers.note(lore[0], Draw("all notes", i)) for i in range(6_000)}
    assert len(drawn) == 6 * 4**3 == 2 ** (np.log2(6) + 3 * 2)


def test_a_note_follows_its_draw(lore):
    assert healers.note(lore[0], Draw("x")) == healers.note(lore[0], Draw("x"))
