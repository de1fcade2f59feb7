"""Byte-pair encoding by hand against the library tokenizers, and packing of whole documents."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from course_utils.text import bpe
from course_utils.text.packing import best_fit, padded_waste, row_waste
from course_utils.text.tokenizer import train_tokenizer
from course_utils.world import World

TEXTS = World(seed=0).documents(250, seed=3)["text"]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_merges_are_those_of_the_library(seed):
    texts = World(seed=0).documents(250, seed=seed)["text"]
    tokenizer = train_tokenizer(texts, vocab_size=262 + 120)
    assert bpe.train_bpe(bpe.word_counts(texts, tokenizer), 120) == bpe.learned_merges(tokenizer)


def test_the_merges_agree_on_text_full_of_ties_and_repetition():
    generator = random.Random(0)
    texts = ["".join(generator.choice("ab ") for _ in range(40)).strip() or "a" for _ in range(60)] + [
        "é ü é",
        "aaaa aaa",
    ]
    tokenizer = train_tokenizer(texts, vocab_size=262 + 200)
    learned = bpe.learned_merges(tokenizer)
    assert len(learned) > 50
    assert bpe.train_bpe(bpe.word_counts(texts, tokenizer), len(learned)) == learned


def test_words_are_encoded_as_by_the_library():
    tokenizer = train_tokenizer(TEXTS, vocab_size=600)
    merges = bpe.learned_merges(tokenizer)
    for text in TEXTS[:20]:
        words = [w for w, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(" " + text)]
        assert [token for word in words for token in bpe.encode_word(word, merges)] == tokenizer.tokenize(text)


def test_word_counts_cut_digits_apart_and_keep_the_space():
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    assert bpe.word_counts(["ab 12 ab"], tokenizer) == Counter({"Ġab": 2, "Ġ": 1, "1": 1, "2": 1})


def test_merge_goes_from_left_to_right():
    assert bpe.merge("aaa", ("a", "a")) == ("aa", "a")
    assert bpe.merge(("aa", "a", "aa", "a"), ("aa", "a")) == ("aaa", "aaa")
    assert bpe.merge("abc", ("b", "x")) == ("a", "b", "c")


def test_rare_pairs_are_left_alone_and_ties_go_to_the_older():
    assert bpe.train_bpe({"ab": 1}, 3) == []
    assert bpe.train_bpe({"ab": 1}, 3, min_frequency=1) == [("a", "b")]
    assert bpe.train_bpe({"ba": 4, "ab": 4}, 1) == [("a", "b")]
    assert bpe.train_bpe({}, 3) == [] and bpe.train_bpe({"ab": 9}, 0) == []
    for words, merges in (({"ab": 2}, -1), ({"": 2}, 1)):
        with pytest.raises(ValueError, match="expected"):
            bpe.train_bpe(words, merges)


def test_best_fit_cuts_nothing_and_wastes_little():
    generator = random.Random(1)
    lengths = [generator.randint(1, 60) for _ in range(300)]
    rows = best_fit(lengths, 64)
    assert sorted(i for row in rows for i in row) == list(range(300))
    assert all(sum(lengths[i] for i in row) <= 64 for row in rows)
    assert len(rows) <= -(-sum(lengths) // 64) * 11 / 9 + 1  # a bound by Johnson et al. 1974, on more than the optimum
    assert row_waste(lengths, len(rows), 64) < row_waste(lengths, 300, 64)


def test_best_fit_takes_the_fullest_row():
    assert best_fit([7, 6, 3, 4], 10) == [[0, 2], [1, 3]]
    assert best_fit([10, 10], 10) == [[0], [1]]
    assert best_fit([60, 50, 45, 5], 100) == [[0], [1, 2, 3]], "first fit and worst fit would put 5 beside 60"


def test_waste_of_padding():
    assert padded_waste([2, 4], 2) == pytest.approx(0.25)
    assert padded_waste([2, 2, 4, 4], 2) == 0
    assert padded_waste([2, 4, 2, 4], 2) == pytest.approx(0.25)
    assert row_waste([5, 5], 2, 10) == pytest.approx(0.5)
    for lengths in ([], [0, 3], [11]):
        with pytest.raises(ValueError, match="expected"):
            best_fit(lengths, 10)
