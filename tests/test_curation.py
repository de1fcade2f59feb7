"""Planted dirt, and what finds it: copies, filters, languages, names, the data card."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from course_utils.text import curation, deduplication, quality
from course_utils.world import World, corruption, old_tongue
from course_utils.world.draw import Draw

WORLD = World(seed=0)
GOOD = list(dict.fromkeys(WORLD.documents(600, seed=4)["text"]))
RAW = corruption.corrupt(GOOD, seed=0)


# --- dirt


def test_dirt_has_its_shares_and_is_the_same_for_the_same_seed():
    count = Counter(RAW["fault"])
    total = len(RAW["text"])
    for fault, share in corruption.FAULTS.items():
        assert count[fault] / total == pytest.approx(share, abs=0.01), fault
    assert corruption.corrupt(GOOD, seed=0) == RAW and corruption.corrupt(GOOD, seed=1) != RAW
    assert corruption.corrupt(GOOD, shares={}) == {
        "text": GOOD,
        "fault": ["clean"] * len(GOOD),
        "source": [-1] * len(GOOD),
    }


def test_labels_say_what_was_planted():
    good = set(GOOD)
    for place, (text, fault, source) in enumerate(zip(*RAW.values(), strict=True)):
        if fault in corruption.COPIES:
            assert source < place and RAW["fault"][source] == "clean"
            assert (text == RAW["text"][source]) == (fault == "exact copy")
        else:
            assert source == -1
        assert (text in good) == (fault in ("clean", "exact copy")), (fault, text)


def test_each_damage_is_what_it_is_called():
    text = GOOD[0]
    for fault in corruption.DAMAGES:
        assert corruption.DAMAGE[fault](text, Draw("x", fault)) != text
    assert sorted(corruption.shuffled(text, Draw("x")).split()) == sorted(text.split())
    assert text in corruption.wrapped(text, Draw("x")).split("\n")
    assert len(corruption.garbled(text, Draw("x"))) == len(text)
    assert set(corruption.old_tongue_page(Draw("x")).lower().replace(".", "").split()) <= set(old_tongue.BACK)


@pytest.mark.parametrize(
    ("texts", "shares", "words"),
    [
        (GOOD, {"dust": 0.1}, "dust"),
        (GOOD, {"garbled": 0.5, "near copy": 0.5}, "at most 0.9"),
        (GOOD, {"garbled": -0.1}, "0 or more"),
        (["a", "a"], None, "repeat"),
    ],
)
def test_dirt_that_cannot_be(texts, shares, words):
    with pytest.raises(ValueError, match=words):
        corruption.corrupt(texts, shares)


# --- copies


def test_exact_copies_ignore_capitals_and_spaces_and_keep_the_first():
    assert deduplication.exact_copies(["a b", "c", "A  b", "c\n", "d"]) == [2, 3]
    planted = [i for i, fault in enumerate(RAW["fault"]) if fault == "exact copy"]
    found = deduplication.exact_copies(RAW["text"])
    assert set(planted) <= set(found) and len(found) <= len(planted) + 5


def test_shingles_and_jaccard():
    assert deduplication.shingles("The lamp, the LAMP!", 2) == {"the lamp", "lamp the"}
    assert deduplication.shingles("one", 3) == {"one"} and deduplication.shingles("?", 1) == frozenset()
    assert deduplication.jaccard({1, 2}, {2, 3}) == pytest.approx(1 / 3)
    assert deduplication.jaccard(set(), set()) == 1 and deduplication.jaccard({1}, set()) == 0
    with pytest.raises(ValueError, match="n is 0"):
        deduplication.shingles("a", 0)


def test_minhash_estimates_jaccard_as_well_as_theory_and_the_library_do():
    from datasketch import MinHash

    a, b = deduplication.hash_functions(256, seed=1)
    errors, theirs, expected = [], [], []
    for k in range(60):
        shared = {f"s{k}-{i}" for i in range(10 + k)}
        one, other = shared | {f"a{k}-{i}" for i in range(20)}, shared | {f"b{k}-{i}" for i in range(30)}
        true = deduplication.jaccard(one, other)
        first, second = (deduplication.minhash(deduplication.shingle_hashes(items), a, b) for items in (one, other))
        errors.append((first == second).mean() - true)
        x, y = MinHash.bulk([[s.encode() for s in items] for items in (one, other)], num_perm=256, seed=1)
        theirs.append(x.jaccard(y) - true)
        expected.append(true * (1 - true) / 256)
    for found in (errors, theirs):
        assert 0.7 < np.sqrt(np.mean(np.square(found)) / np.mean(expected)) < 1.3
        assert abs(np.mean(found)) < 4 * np.sqrt(np.mean(expected) / 60)  # no bias


def test_a_signature_is_the_minimum_of_each_function():
    signature = deduplication.minhash(np.array([3, 10]), np.array([2, 5]), np.array([1, 4]))
    assert signature.tolist() == [7, 19]
    a, b = deduplication.hash_functions(100)
    assert a.min() > 0 and max(a.max(), b.max()) < deduplication.PRIME
    hashes = deduplication.shingle_hashes({"one", "two", "three"})
    assert hashes.tolist() == sorted(deduplication.shingle_hashes(["three", "two", "one"]).tolist())
    with pytest.raises(ValueError, match="empty"):
        deduplication.minhash(np.array([], dtype=np.int64), a, b)


def test_near_copies_are_found_without_comparing_all():
    usable = [i for i, fault in enumerate(RAW["fault"]) if fault in ("clean", "near copy")]
    texts = curation.strip_lines([RAW["text"][i] for i in usable], corruption.HEADERS)
    pairs = deduplication.near_copy_pairs(texts, threshold=0.6)
    sets = [deduplication.shingles(text) for text in texts]
    every = {(i, j) for j in range(len(texts)) for i in range(j) if deduplication.jaccard(sets[i], sets[j]) >= 0.6}
    assert set(pairs) <= every and len(pairs) >= 0.97 * len(every)
    dropped = deduplication.drop_copies(pairs, len(texts))
    precision, recall = curation.precision_and_recall(
        dropped, [k for k, i in enumerate(usable) if RAW["fault"][i] == "near copy"]
    )
    assert recall >= 0.95 and precision >= 0.85  # three guides in a hundred: some are near copies by nature
    with pytest.raises(ValueError, match="threshold"):
        deduplication.near_copy_pairs(texts, threshold=0)


def test_the_curve_of_the_bands():
    meet = deduplication.collision_probability
    assert meet(0, 20, 5) == 0 and meet(1, 20, 5) == 1 and meet(0.5, 1, 1) == 0.5
    assert meet(0.5, 40, 5) > meet(0.5, 20, 5) > meet(0.5, 20, 6)
    generator = np.random.default_rng(0)
    agree = generator.random((4_000, 20, 5)) < 0.6  # each number of a signature agrees with the similarity
    assert agree.all(2).any(1).mean() == pytest.approx(meet(0.6, 20, 5), abs=0.03)


def test_of_each_group_the_first_stays():
    drop = deduplication.drop_copies
    assert drop([(5, 3), (3, 0)], 6) == [3, 5] and drop([(2, 4), (1, 4)], 5) == [2, 4] and drop([], 3) == []
    assert drop([(0, 4), (1, 3), (3, 4)], 6) == [1, 3, 4]
    with pytest.raises(ValueError, match="6"):
        drop([(0, 6)], 6)


# --- quality


def test_signals_of_a_text():
    found = quality.signals("Buy lamps! Buy lamps! ## 12")
    assert (found.words, found.sentences) == (6, 3)
    assert found.wordlike == pytest.approx(4 / 6) and found.repeated == pytest.approx(1 / 3)
    assert found.odd_signs == pytest.approx(2 / 27)
    with pytest.raises(ValueError, match="blank"):
        quality.signals(" \n")


def test_coarse_faults_show_in_the_signals_and_good_text_does_not():
    for text, fault in zip(RAW["text"], RAW["fault"], strict=True):
        found = quality.signals(text)
        if fault in ("garbled", "page furniture"):
            assert found.odd_signs > 0.03, text
        elif fault == "looped":
            assert found.repeated >= 0.5, text
        elif fault in ("clean", "exact copy", "shuffled", "old tongue"):
            assert found.odd_signs <= 0.03 and found.repeated < 0.5, text


def test_languages_are_told_apart():
    sentences = [old_tongue.sentence(Draw("s", i)) for i in range(60)]
    guesser = quality.LanguageGuesser({"English": GOOD[:100], "Old Tongue": [old for _, old in sentences[:30]]})
    for english, old in sentences[30:]:
        assert guesser.guess(old) == "Old Tongue" and guesser.guess(english) == "English"
    assert guesser.margin("navi teka sarn", "Old Tongue") > 0 > guesser.margin("navi teka sarn", "English")
    alike = guesser.scores("12+3=15")  # no letter speaks for any language
    assert alike["English"] == alike["Old Tongue"] and guesser.guess("12+3=15") == "English"
    with pytest.raises(ValueError, match="two"):
        quality.LanguageGuesser({"English": GOOD})


def test_the_order_of_words_saves_bits():
    model = quality.WordPairModel(GOOD[:300])
    stories = [text for text in GOOD[300:] if "So the" in text][:40]
    gains = [model.order_gain(text) for text in stories]
    of_shuffled = [model.order_gain(corruption.shuffled(text, Draw("o", i))) for i, text in enumerate(stories)]
    assert len(stories) == 40 and min(gains) > max(of_shuffled)
    assert abs(np.mean(of_shuffled)) < 0.5 < 2 < np.mean(gains)
    assert model.order_gain(stories[0]) == gains[0]  # the same text, the same copies
    for make in (lambda: quality.WordPairModel([]), lambda: model.loss("  ")):
        with pytest.raises(ValueError, match="expected|no word"):
            make()


def test_word_pairs_are_a_probability():
    model = quality.WordPairModel(["a b a b", "a c a b c"], weight=0.6)
    total = sum(np.exp(-2 * model.loss(f"a {w}") + model.loss("a")) for w in ("b", "c", "a", "zzz"))
    assert total == pytest.approx(1, abs=1e-9)


# --- lines, names, the card


def test_frequent_lines_are_counted_once_per_text_and_can_be_cut():
    texts = ["head\none\nfoot", "head\nhead\ntwo", "three\n\nfoot"]
    assert curation.repeated_lines(texts, at_least=2) == {"head": 2, "foot": 2}
    assert curation.strip_lines(texts, ["head", "foot"]) == ["one", "two", "three"]
    assert curation.strip_lines(["head\nfoot"], ["head", "foot"]) == [""]


def test_names_are_found_as_whole_words():
    texts = ["ADA  Winter came.", "Ada\nWinter", "Ada Winters", "Nada Winter", "Ada met Winter", "Winter, Ada Winter."]
    assert curation.mentions(texts, ["Ada Winter"]) == [True, True, False, False, False, True]
    assert curation.mentions(["a.b", "axb"], ["a.b"]) == [True, False]
    for names in ([], ["Ada", " "]):
        with pytest.raises(ValueError, match="names are given"):
            curation.mentions(texts, names)


def test_precision_and_recall():
    assert curation.precision_and_recall([1, 2, 3], [2, 3, 4, 5]) == (pytest.approx(2 / 3), 0.5)
    assert curation.precision_and_recall([], []) == (1, 1)
    assert curation.precision_and_recall([], [1]) == (0, 0) and curation.precision_and_recall([1], []) == (0, 0)


def test_a_card_must_add_up():
    facts = {
        "name": "Isles", "purpose": "a test", "source": "the generator", "documents_before": 10,
        "removed": {"copies": 3}, "tokens": 99, "languages": {"English": 1.0}, "people": "none",
    }  # fmt: skip
    card = curation.DataCard(
        counts={"story": 5, "roll": 2}, measured={"recall": 0.987}, known_gaps=["No songs."], **facts
    )
    page = card.markdown()
    assert card.documents == 7
    for words in ("7 of 10", "| copies | 3 |", "story 5", "English 100%", "recall 0.99", "No songs.", "99 tokens"):
        assert words in page, words
    with pytest.raises(ValueError, match="add up"):
        curation.DataCard(counts={"story": 8}, **facts).markdown()
