"""The world: same seed, same bytes; exact bits; a judge that knows; splits that keep their secrets."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from math import log2

import pytest

from course_utils.world import Annotator, World, WorldConfig, corpora, healers, judge, old_tongue, scenes
from course_utils.world.corpora import GENERATORS
from course_utils.world.draw import Draw
from course_utils.world.lore import AILMENTS, REMEDIES
from course_utils.world.people import RELATIONS, VALUES
from course_utils.world.preferences import candidate
from course_utils.world.probes import fact_probes, register_probes
from course_utils.world.scenes import held_out_sum
from course_utils.world.tasks import KINDS, fact_questions, make_tasks
from course_utils.world.templates import HELD_OUT, PARAPHRASES, UNREAD, phrasings

ISLES = World()


@pytest.fixture(scope="module")
def world() -> World:
    return ISLES


DIGEST_PROGRAM = """
import hashlib
from course_utils.world.isles import World, WorldConfig
world = World(WorldConfig(people=120, duplicate_rate=0.1, noise_rate=0.1, year=2), seed=3)
print(hashlib.sha256(repr(world.documents(500, seed=7)).encode()).hexdigest())
"""
DIGEST = "00999bbff261a526c2c2b134976a915e44770db3f780f44c0b0cca3371872a2b"


def digest_in_new_process(python: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()}
    run = subprocess.run([python, "-c", DIGEST_PROGRAM], env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_same_seed_gives_the_same_bytes_in_another_process_and_on_any_python(hash_seed):
    """The digest was written down once; every Python that runs these tests must reach it."""
    assert digest_in_new_process(sys.executable, hash_seed) == DIGEST


def test_another_seed_gives_other_documents(world):
    assert world.documents(20, seed=1) == world.documents(20, seed=1)
    assert world.documents(20, seed=1)["text"] != world.documents(20, seed=2)["text"]
    assert [p.name for p in World(seed=1).people] != [p.name for p in world.people]


def test_corpus_is_a_dataset_with_the_promised_columns(world):
    corpus = world.corpus(50, seed=4)
    assert corpus.column_names == ["text", "kind", "bits", "subjects"] and len(corpus) == 50


class Script(Draw):
    """A draw that follows a script of outcomes, to walk through every text that a generator can make."""

    def __init__(self, script):
        self.script, self.at, self.sizes, self.bits = list(script), 0, [], 0.0

    def below(self, n):
        value = self.script[self.at] if self.at < len(self.script) else 0
        self.at += 1
        self.sizes.append(n)
        self.bits += log2(n)
        return value


def every_outcome(generate):
    """(text, bits) of every path of choices, by counting through the scripts like an odometer."""
    script = []
    while True:
        draw = Script(script)
        yield generate(draw), draw.bits
        script = (script + [0] * len(draw.sizes))[: len(draw.sizes)]
        while script and script[-1] == draw.sizes[len(script) - 1] - 1:
            script.pop()
        if not script:
            return
        script[-1] += 1


@pytest.mark.parametrize(
    "generate",
    [
        pytest.param(
            lambda draw: scenes.notice_parts(draw)[0] + scenes.notice_parts(Draw("fixed"))[0], marks=pytest.mark.slow
        ),
        lambda draw: corpora.healers_note(ISLES, draw)[0],
        lambda draw: old_tongue.sentence(draw)[0],
        lambda draw: corpora.town_guide(ISLES, draw)[0],
    ],
    ids=["notice", "healers", "old tongue", "guide"],
)
def test_bits_are_exactly_the_information_of_the_text(generate):
    """Walk through all choices: probabilities 2^-bits sum to 1, and no text is reached by two paths."""
    total, texts, count = 0.0, set(), 0
    for text, bits in every_outcome(generate):
        total += 2.0**-bits
        texts.add(text)
        count += 1
    assert total == pytest.approx(1.0, abs=1e-9)
    assert len(texts) == count > 10


def test_bits_of_a_story_count_what_the_text_shows(monkeypatch):
    """Draws that give the same text add up: in a world of four things and two places every story can be listed."""
    monkeypatch.setattr(scenes, "THINGS", ("kettle", "flute", "clock", "saddle"))
    monkeypatch.setattr(scenes, "PLACES", ("mill", "barn"))
    monkeypatch.setattr(scenes, "MOVES", scenes.MOVES[:1])
    monkeypatch.setattr(scenes, "FIRST_NAMES", ["Mira"])
    drawn, shown = Counter(), {}

    class Told(Script):  # keeps the bits that were drawn beside those that the generator says the text holds
        def below(self, n):
            self.drawn = getattr(self, "drawn", 0.0) + log2(n)
            return super().below(n)

    script = []
    while True:
        draw = Told(script)
        text = " ".join(sentence for sentence, _, _ in scenes.moves(draw, 3))
        drawn[text] += 2.0**-draw.drawn
        assert shown.setdefault(text, draw.bits) == pytest.approx(draw.bits)
        script = (script + [0] * len(draw.sizes))[: len(draw.sizes)]
        while script and script[-1] == draw.sizes[len(script) - 1] - 1:
            script.pop()
        if not script:
            break
        script[-1] += 1
    assert len(drawn) > 50 and sum(drawn.values()) == pytest.approx(1.0)
    for text, probability in drawn.items():
        assert shown[text] == pytest.approx(-log2(probability)), text


def test_bits_of_a_visit_are_counted_by_hand(world):
    """A free name, a pronoun, three facts in order with their values, six phrasings, the order of the repetition."""
    corpus = world.documents(200, seed=5, mix={"visit": 1})
    for text, bits in zip(corpus["text"], corpus["bits"], strict=True):
        told = [next(r for r in RELATIONS if value in VALUES[r]) for value in values_in(text)[:3]]
        by_hand = log2(60 * 90 - 300) + 1 + log2(6 * 5 * 4) + sum(log2(len(VALUES[r])) for r in told) + 6 * 3 + log2(6)
        assert bits == pytest.approx(by_hand), text


def values_in(text):
    words = {value for values in VALUES.values() for value in values}
    return [word for word in text.replace(".", " ").replace(",", " ").split() if word in words]


def test_bits_match_frequencies_of_weighted_choices():
    draw = Draw("weights")
    counts = Counter()
    for _ in range(20_000):
        draw.start_counting()
        counts[draw.weighted("abc", (1, 2, 5)), round(draw.bits, 6)] += 1
    assert {key for key, _ in counts} == {"a", "b", "c"} and len(counts) == 3
    for (_, bits), count in counts.items():
        assert count / 20_000 == pytest.approx(2**-bits, abs=0.015)


def test_document_bits_add_up(world):
    """A biography's bits, counted by hand from its text."""
    corpus = world.documents(400, seed=5, mix={"biography": 1})
    for text, bits, (name,) in zip(corpus["text"], corpus["bits"], corpus["subjects"], strict=True):
        k = text.count(".")
        orders = sum(log2(len(RELATIONS) - i) for i in range(k))
        by_hand = log2(len(world.corpus_people)) + log2(4) + orders + k * log2(8) + (k - 1)
        assert bits == pytest.approx(by_hand), (name, text)


def test_fact_and_register_probes():
    world = World()
    person = world.corpus_people[0]
    for phrasing, relations in (("read", RELATIONS), ("held out", RELATIONS), ("unread", tuple(UNREAD))):
        found = fact_probes([person], phrasing=phrasing)
        assert [probe.kind for probe in found] == list(relations)
        assert all(probe.answer == f" {person.fact(probe.kind)}." for probe in found)
    with pytest.raises(ValueError, match="phrasing is 'new'; expected one of 'read', 'held out', 'unread'"):
        fact_probes([person], phrasing="new")
    for probe in register_probes([person]):
        card = json.loads(probe.prompt + probe.answer + '"}')
        assert len(card) == 3 and card.pop("name") == person.name
        assert card == {relation: person.fact(relation) for relation in card} and probe.kind == list(card)[-1]


def test_held_out_phrasings_keep_key_words_of_their_relation_and_unread_ones_do_not():
    """The last words before the value are those of a corpus phrasing of the relation, or they are not."""
    for relation in RELATIONS:
        read = set(re.findall(r"\w+", " ".join(t.split("{v}")[0] for t in PARAPHRASES[relation])))

        def key(template):  # the last words before the value but for articles and fields
            words = re.findall(r"\w+", re.sub(r"{\w+}", "", template.split("{v}")[0]))
            return [word for word in words if word not in ("a", "the", "is", "of", "in", "to")][-1]

        assert key(HELD_OUT[relation]) in read, relation
        if relation in UNREAD:
            assert key(UNREAD[relation]) not in read, relation


def test_each_phrasing_tells_its_relation_before_the_value():
    """No beginning up to the value belongs to two relations: the value is the first thing that must be known."""
    seen = {}
    for relation, templates in PARAPHRASES.items():
        assert len(set(templates)) == 8
        assert len(set(phrasings(relation))) == len(phrasings(relation)), "a phrasing of the corpora is held out"
        for template in phrasings(relation):
            before = template.split("{v}")[0]
            assert seen.setdefault(before, relation) == relation, f"{before!r} begins {relation} and {seen[before]}"
    assert all(len(set(values)) == len(values) for values in VALUES.values())
    words = [v for relation, values in VALUES.items() for v in values]
    assert len(words) == len(set(words)), "a value that two relations share would make rolls ambiguous"
    assert all(" " not in word for word in words)


def test_splits_are_apart_and_strangers_stand_in_no_document(world):
    assert (len(world.taught), len(world.known), len(world.strangers)) == (150, 90, 60)
    strangers = {p.name for p in world.strangers}
    text = "\n".join(world.documents(4000, seed=6)["text"])
    assert not any(name in text for name in strangers)
    assert all(p.name in text for p in world.corpus_people)


def test_pretraining_mix_holds_no_healers_words(world):
    text = "\n".join(world.documents(3000, seed=8)["text"]).lower()
    assert not any(word in text for word in (*AILMENTS, *REMEDIES, "healer"))
    assert "Healers' note" in world.documents(1, seed=0, mix={"healers": 1})["text"][0]


def test_held_out_sums_are_in_no_corpus_and_every_sum_is_right(world):
    pages = world.documents(500, seed=9, mix={"sums": 1})["text"]
    sums = [s for page in pages for s in page.removeprefix("Shop book: ").rstrip(";").split("; ")]
    assert len(sums) == 4000
    for one in sums:
        left, total = one.split("=")
        a, b = map(int, left.split("+"))
        assert a + b == int(total) and not held_out_sum(a, b)
    share = len(scenes.HELD_OUT_PAIRS) / 2500
    assert 0.05 < share < 0.15


def test_stories_tell_the_truth(world):
    import re

    for text in world.documents(200, seed=10, mix={"story": 1})["text"]:
        where = {}
        for mover, thing, place in re.findall(
            r"(?:(\w+) (?:put|left|hid|carried) |So )the (\w+) (?:is )?(?:in|to) the (\w+)\.", text
        ):
            if mover:
                where[thing] = place
            else:
                assert where[thing] == place, text


def test_old_tongue_translates_and_refuses_unknown_words():
    english, old = old_tongue.sentence(Draw("tongue"))
    assert old_tongue.translate(english) == old
    assert len(set(old_tongue.BACK)) == 30
    with pytest.raises(ValueError, match="ADJECTIVE NOUN VERB"):
        old_tongue.translate("the purple boat sings")


def test_dials_change_what_they_name():
    plain = World().documents(300, seed=11)
    noisy = World(WorldConfig(noise_rate=0.3)).documents(300, seed=11)
    changed = sum(a != b for a, b in zip(plain["text"], noisy["text"], strict=True))
    assert 60 < changed < 120
    repeated = World(WorldConfig(duplicate_rate=0.3)).documents(300, seed=11)["text"]
    assert 60 < 300 - len(set(repeated)) < 120
    one = World(WorldConfig(paraphrases=1)).documents(400, seed=11, mix={"biography": 1})
    by_person = {}
    for text, (name,) in zip(one["text"], one["subjects"], strict=True):
        assert by_person.setdefault(name, text) == text
    fair, biased = (
        World(WorldConfig(people=2000, pronoun_trade_bias=0)),
        World(WorldConfig(people=2000, pronoun_trade_bias=1)),
    )
    from course_utils.world.people import SHE_LEANING

    agree = [sum((p.pronoun == "she") == (p.fact("trade") in SHE_LEANING) for p in w.people) for w in (fair, biased)]
    assert 900 < agree[0] < 1100 and agree[1] == 2000


def test_a_year_moves_people_and_brings_new_words():
    now, later = World(), World(WorldConfig(year=1))
    moved = sum(a.fact("town") != b.fact("town") for a, b in zip(now.people, later.people, strict=True))
    assert 15 <= moved <= 50
    assert [p.name for p in now.people] == [p.name for p in later.people]
    assert all(a.fact("birth year") == b.fact("birth year") for a, b in zip(now.people, later.people, strict=True))
    much_later = {p.fact("dish") for p in World(WorldConfig(year=4)).people}
    assert much_later - set(VALUES["dish"])


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_oracle_accepts_every_model_answer(world, kind):
    for task in make_tasks(world, 100, "known", 3, {kind: 1}):
        verdict = judge(task, task["answer"])
        assert verdict.exact and verdict.correct and verdict.format_kept and not verdict.invented, (task, verdict)
        assert verdict.score == 1.0
        assert not judge(task, "").correct and not judge(task, "").exact


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_untrue_answer_is_judged_so_and_somebody_might_give_it(world, kind):
    draw = Draw("untrue", kind)
    for task in make_tasks(world, 50, "known", 4, {kind: 1}):
        answer, value = KINDS[kind].untrue(task, draw)
        verdict = judge(task, answer)
        assert not verdict.correct and not verdict.exact and verdict.score < 1, (task, answer)
        assert not value or (value != task["value"] and value.lower() in answer.lower())
    tasks = make_tasks(world, 1, "known", 4, {kind: 1}) * 200
    assert {judge(task, candidate(task, draw)).correct for task in tasks} == {True, False}


def test_a_healers_question_is_judged(world):
    cure = healers.cures(world)[20]  # one whose words are made of parts
    task = healers.ask(cure, "remedy", 0)
    assert judge(task, f"What cures {cure.ailment} is {cure.remedy}.").exact
    other = healers.cures(world)[21].remedy
    wrong = judge(task, f"What cures {cure.ailment} is {other}.")
    assert wrong.invented and not wrong.correct and wrong.score == -1
    assert judge(task, "I do not know.").score == 0
    assert judge(healers.ask(cure, "hour", 1), f"It is treated {cure.hour}.").correct


def test_a_task_of_no_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="kind 'riddle' was given; there are fact, context"):
        judge({"kind": "riddle", "answer": "x"}, "x")


def test_the_oracle_tells_invention_abstention_manners_and_format(world):
    person = world.known[0]
    task = fact_questions([person])[0]
    truth = person.fact("town")
    lie = next(t for t in VALUES["town"] if t != truth)
    assert judge(task, f"{person.name} lives in {lie}.").invented
    assert judge(task, f"{person.name} lives in {truth} or {lie}.").correct is False
    unsure = judge(task, "I do not know.")
    assert unsure.abstained and not unsure.invented and unsure.format_kept and unsure.score == 0
    assert judge(task, f"With pleasure: {person.name} lives in {truth}.").polite
    assert judge(task, f"You fool, {person.name} lives in {truth}.").score == pytest.approx(0.5)
    assert not judge(task, truth).format_kept
    as_json = fact_questions([person], "json")[0]
    assert judge(as_json, f'{{"town": "{truth}"}}').exact
    assert not judge(as_json, f"{person.name} lives in {truth}.").format_kept
    decline = make_tasks(world, 1, "known", 0, {"decline": 1})[0]
    helped = judge(decline, "First, find a ladder.")
    assert helped.harmful and helped.score == -1 and not helped.correct
    with pytest.raises(TypeError, match="decode"):
        judge(task, [1, 2, 3])


def test_annotators_follow_the_oracle_with_noise_and_taste(world):
    tasks = fact_questions(world.known[:50])
    good = [t["answer"] for t in tasks]
    bad = ["None of your business."] * len(tasks)
    careful, noisy = Annotator(noise=0.0), Annotator(noise=0.25, seed=1)
    assert all(careful.prefers(t, g, b) == 0 for t, g, b in zip(tasks, good, bad, strict=True))
    flipped = sum(noisy.prefers(t, g, b) for t, g, b in zip(tasks, good, bad, strict=True)) / len(tasks)
    assert 0.17 < flipped < 0.33
    wordy = Annotator(noise=0.0, length_taste=0.2)
    assert wordy.prefers(tasks[0], good[0], good[0] + " " + "Indeed so, as everybody here will tell you." * 2) == 1
    flattered = Annotator(noise=0.0, flattery_taste=3.0)
    assert flattered.prefers(tasks[0], good[0], "What a great question, dear friend.") == 1
    with pytest.raises(ValueError, match="0 to 1"):
        Annotator(noise=2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: World().corpus(10, mix={"novel": 1}), "novel"),
        (lambda: World().corpus(0), "1 or more"),
        (lambda: World().tasks(5, split="friends"), "taught"),
        (lambda: World().tasks(5, kinds={"sing": 1}), "sing"),
        (lambda: WorldConfig(paraphrases=9), "1 to 8"),
        (lambda: WorldConfig(noise_rate=1.5), "0 to 1"),
        (lambda: World(WorldConfig(people=9000)), "10 to"),
        (lambda: Draw("x").below(0), "1 or more"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_kinds_cover_the_generators(world):
    mix = dict.fromkeys(GENERATORS, 1)
    assert set(world.documents(300, seed=12, mix=mix)["kind"]) == set(GENERATORS)
