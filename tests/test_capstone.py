"""The loop closed: corrections, retraining, the gate, the registry."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from course_utils.serving import corrections, gate, gate_set, registry, retrain
from course_utils.serving.corrections import Correction
from course_utils.serving.gate import Gate, GateError, Rule
from course_utils.serving.registry import Entry, Registry, RegistryError
from course_utils.text.batching import ChatBatches
from course_utils.training.objectives import answer_loss, next_token_loss
from course_utils.world import World, WorldConfig
from course_utils.world.tasks import make_tasks


@pytest.fixture(scope="module")
def world():
    return World(WorldConfig(people=60), seed=0)


@pytest.fixture(scope="module")
def later():
    return World(WorldConfig(people=60, year=2), seed=0)


# --- corrections


def form(request, value="potter", **other):
    given = {
        "day": float(request),
        "prompt": "What is the trade of Mira Reed?",
        "about": "Mira Reed",
        "relation": "trade",
    }
    return Correction(request, **{**given, "value": value, **other})


@pytest.mark.parametrize(
    ("votes", "wanted"),
    [
        ([], None),
        ([("a", "user")], None),
        ([("a", "user"), ("a", "user")], "a"),
        ([("a", "user"), ("a", "user"), ("b", "user"), ("b", "user")], None),
        ([("a", "user"), ("a", "user"), ("b", "reviewer")], "b"),
        ([("a", "reviewer")], "a"),
        ([("a", "reviewer"), ("b", "user"), ("c", "user"), ("d", "user")], None),
    ],
)
def test_agreement_needs_two_voices_and_a_majority(votes, wanted):
    assert corrections.agreed_value(votes) == wanted


def test_each_filter_takes_its_own_and_the_counts_add_up():
    forms = [
        form(0),
        form(1),
        form(1),
        form(2, consent=False),
        form(3, prompt="WHAT is  the trade of Ada Sorrel?", about="Ada Sorrel"),
        form(4, "Gladly.", relation="harm"),
        form(5, "weaver"),
        form(6, "goose", relation="pet"),
    ]
    found = corrections.curate(forms, ["What is the trade of Ada Sorrel?"])
    assert found.counts == {
        "no consent": 1,
        "question of the gate": 1,
        "sent twice": 1,
        "asks for harm": 1,
        "contradicted": 1,
        "not confirmed": 1,
    }
    assert len(found.kept) + sum(found.counts.values()) == len(forms)
    assert found.facts == {("Mira Reed", "trade"): "potter"}


def test_a_filter_that_is_left_out_takes_nothing():
    forms = [form(0), form(1), form(4, "Gladly.", relation="harm")]
    found = corrections.curate(forms, [], skip=("asks for harm",))
    assert "asks for harm" not in found.counts
    assert [f.relation for f in found.kept] == ["trade", "trade", "harm"]
    assert set(found.facts) == {("Mira Reed", "trade")}
    with pytest.raises(ValueError, match="choose from no consent"):
        corrections.curate(forms, [], skip=("noise",))


# --- the gate


def test_paired_interval_is_that_of_agresti_and_min():
    old, new = np.array([1] * 40 + [0] * 3 + [1] * 7), np.array([1] * 40 + [1] * 3 + [0] * 7)
    found = gate.paired_interval(old, new)
    n, b, c = 52, 7.5, 3.5  # their adjusted table
    middle, half = (c - b) / n, 1.959964 * ((b + c) - (c - b) ** 2 / n) ** 0.5 / n
    assert found.value == pytest.approx(-4 / 50)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_equal_answers_have_an_interval_with_a_width_that_shrinks():
    widths = [gate.paired_interval([1] * n, [1] * n).high for n in (10, 1_000)]
    assert widths[0] > 0.1 > 0.01 > widths[1] > 0


def test_clusters_widen_the_interval():
    rng = np.random.default_rng(0)
    old, new = np.ones(120), np.repeat(rng.integers(0, 2, 20), 6)
    wide, narrow = gate.paired_interval(old, new, np.repeat(np.arange(20), 6)), gate.paired_interval(old, new)
    assert wide.value == narrow.value
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)


def test_the_interval_covers():
    rng, inside = np.random.default_rng(1), 0
    for _ in range(400):
        draws = rng.random(80)
        found = gate.paired_interval(draws > 0.1, (draws < 0.05) | (draws > 0.17))
        inside += found.low <= 0.05 - 0.07 <= found.high
    assert 0.92 <= inside / 400 <= 0.99


def answers(correct, part="facts", **columns):
    n = len(correct)
    plain = {"correct": np.asarray(correct), "part": np.array([part] * n), "cluster": np.arange(n)}
    return (
        plain
        | {"group": np.array(["she", "he"] * (n // 2)), "latency": np.full(n, 0.5), "batch": np.arange(n) // 10}
        | columns
    )


def test_a_candidate_must_show_that_it_does_no_harm():
    rule = Gate((Rule("facts", "correct", "facts", at_least=-0.05),))
    few, many = answers([1] * 20), answers([1] * 200)
    assert not gate.decide(rule, few, few).passed  # equal, but twenty questions cannot show it
    assert gate.decide(rule, many, many).passed
    assert gate.decide(rule, many, answers([0] * 40 + [1] * 160)).failed == ["facts"]


def test_the_gap_and_the_ratio():
    old = answers([1] * 200)
    unfair = answers([1, 0] * 100)
    rule = Gate((Rule("gap", "correct", kind="gap", at_least=-0.2, at_most=0.2),))
    assert gate.decide(rule, old, old).passed
    found = gate.decide(rule, old, unfair).findings[0]
    assert found.interval.value == pytest.approx(-1.0)  # he minus she
    assert not found.passed
    slow = Gate((Rule("seconds", "latency", kind="ratio", at_most=1.5),))
    assert gate.decide(slow, old, old).passed
    assert not gate.decide(slow, old, answers([1] * 200, latency=np.full(200, 1.0))).passed


def test_a_changed_rule_is_another_gate():
    rule = Rule("facts", "correct", "facts", at_least=-0.05)
    assert Gate((rule,)).digest == Gate((replace(rule),)).digest
    assert Gate((rule,)).digest != Gate((replace(rule, at_least=-0.06),)).digest
    assert Gate((rule,)).digest != Gate((rule,), confidence=0.9).digest


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Rule("a", "correct"), "at_least, at_most or both"),
        (lambda: Rule("a", "correct", at_most=float("nan")), "finite"),
        (lambda: Rule("a", "correct", kind="mean", at_most=1), "difference"),
        (lambda: Gate(()), "at least one"),
        (lambda: Gate((Rule("a", "correct", at_most=1),) * 2), "twice"),
        (lambda: Gate((Rule("a", "correct", at_most=1),), confidence=95), "between 0 and 1"),
        (lambda: gate.paired_interval([1], [1, 0]), "same ones"),
    ],
)
def test_bad_rules_are_refused(make, says):
    with pytest.raises(GateError, match=says):
        make()


def test_answers_to_other_questions_are_refused():
    rule = Gate((Rule("facts", "correct", "facts", at_least=-0.05),))
    old = answers([1] * 10)
    with pytest.raises(GateError, match="same order"):
        gate.decide(rule, old, answers([1] * 10, cluster=np.arange(1, 11)))
    with pytest.raises(GateError, match="no column 'correct'"):
        gate.decide(rule, old, {k: v for k, v in old.items() if k != "correct"})
    with pytest.raises(GateError, match="0 clusters"):
        gate.decide(Gate((Rule("sums", "correct", "add", at_least=0),)), old, old)


# --- the registry


def entry(name, parent="", **other):
    return Entry(name, parent, **{"data": "d" * 64, "weights": "w" * 64, "seed": 0, **other})


def test_a_registry_is_read_back_and_traced(tmp_path):
    path = tmp_path / "models.jsonl"
    first = Registry(path)
    first.add(entry("instruct", decision="promoted"))
    first.add(entry("spoiled", "instruct", decision="rejected"))
    head = first.add(entry("round 1", "instruct", decision="promoted", recipe={"steps": 4}, figures={"right": 0.9}))
    again = Registry(path)
    assert again.entries == first.entries
    assert again.head == head
    assert [e.name for e in again.lineage("round 1")] == ["round 1", "instruct"]
    assert again.in_service().name == "round 1"


@pytest.mark.parametrize("spoil", ["change", "remove", "tear", "swap"])
def test_a_registry_that_was_changed_is_refused(tmp_path, spoil):
    path = tmp_path / "models.jsonl"
    registry_ = Registry(path)
    for name in ("a", "b", "c"):
        registry_.add(entry(name))
    lines = path.read_text().splitlines(keepends=True)
    if spoil == "change":
        lines[0] = lines[0].replace('"seed": 0', '"seed": 1')
    if spoil == "remove":
        del lines[1]
    if spoil == "tear":
        lines[2] = lines[2][:40]
    if spoil == "swap":
        lines[0], lines[1] = lines[1], lines[0]
    path.write_text("".join(lines))
    with pytest.raises(RegistryError, match="line [123]"):
        Registry(path)


def test_what_does_not_belong_is_refused_and_the_file_stays(tmp_path):
    path = tmp_path / "models.jsonl"
    registry_ = Registry(path)
    registry_.add(entry("a"))
    before = path.read_bytes()
    for wrong, says in (
        (entry("a"), "taken"),
        (entry(""), "empty"),
        (entry("b", "z"), "not registered"),
        (entry("b", figures={"right": float("nan")}), "JSON"),
        (entry("b", recipe={"model": object()}), "JSON"),
    ):
        with pytest.raises(RegistryError, match=says):
            registry_.add(wrong)
    assert path.read_bytes() == before
    with pytest.raises(RegistryError, match="no model 'z'"):
        registry_.lineage("z")


def test_digests_tell_rows_and_weights_apart():
    from torch import nn

    rows = [{"a": 1, "b": "x"}, {"a": 2}]
    assert registry.data_digest(rows) == registry.data_digest([{"b": "x", "a": 1}, {"a": 2}])
    assert registry.data_digest(rows) != registry.data_digest(rows[::-1])
    layer = nn.Linear(2, 2)
    before = registry.weights_digest(layer)
    layer.weight.data[0, 0] += 1
    assert registry.weights_digest(layer) != before


# --- rows and questions


def test_training_rows_hold_what_the_shares_say(world, later):
    believed, now = retrain.facts_of(world), retrain.facts_of(later)
    changed = {key: value for key, value in now.items() if believed[key] != value}
    corrected = dict(list(changed.items())[:5]) | {next(k for k in now if k not in changed): "as before"}
    corrected = {key: now[key] for key in corrected}
    recipe = retrain.RetrainRecipe(steps=10, batch_size=20, new=0.25, near=0.15, far=0.25)
    rows = retrain.training_rows(world, believed, corrected, recipe)
    assert len(rows) == 200
    facts = [row for row in rows if row["kind"] == "fact"]
    told = [
        row
        for row in facts
        if (row["about"], row["relation"]) in changed and (row["about"], row["relation"]) in corrected
    ]
    assert len(told) == 50
    assert len(facts) == 130
    assert all(row["value"] == corrected[row["about"], row["relation"]] for row in told)
    assert all(row["value"] == believed[row["about"], row["relation"]] for row in facts if row not in told)
    with pytest.raises(ValueError, match="none of the"):
        retrain.training_rows(world, believed, {k: believed[k] for k in list(believed)[:4]}, recipe)


def test_no_question_of_the_gate_is_trained_on_and_every_format_is(world, later):
    believed, now = retrain.facts_of(world), retrain.facts_of(later)
    asked = [person.name for person in world.corpus_people[:20]]
    tasks = gate_set.gate_questions(world, believed, now, asked, 60)
    moved = [task for task in tasks if task["part"] == "moved"]
    corrected = {(task["about"], task["relation"]): task["value"] for task in moved}
    recipe, golden = retrain.RetrainRecipe(steps=40, batch_size=64), {task["prompt"] for task in tasks}
    assert golden & {
        row["messages"][-2]["content"] for row in retrain.training_rows(world, believed, corrected, recipe)
    }
    rows = retrain.training_rows(world, believed, corrected, recipe, never=golden)
    assert len(rows) == 40 * 64 and not golden & {row["messages"][-2]["content"] for row in rows}
    for key in corrected:
        held = [task for task in moved if (task["about"], task["relation"]) == key]
        assert len({task["prompt"] for task in held}) == len(held) == 6
        assert sorted(task["format"] for task in held) == sorted(2 * retrain.FORMATS)
        told = [row for row in rows if (row.get("about"), row.get("relation")) == key]
        assert {row["format"] for row in told} == set(retrain.FORMATS)
    with pytest.raises(ValueError, match="7 wordings of .* give 1 to 6"):
        gate_set.gate_questions(world, believed, now, asked, 5, wordings=7)
    with pytest.raises(ValueError, match="no wording of .* is left"):
        retrain.training_rows(world, believed, corrected, recipe, never=Everything())


class Everything:
    """Holds whatever is asked for."""

    def __contains__(self, prompt):
        return True


def test_recipes_are_checked():
    with pytest.raises(ValueError, match="full, lora"):
        retrain.RetrainRecipe(method="dpo")
    with pytest.raises(ValueError, match="sum to 1.2"):
        retrain.RetrainRecipe(new=0.8, near=0.2, far=0.2)


def test_gate_questions_have_todays_truth(world, later):
    before, now = retrain.facts_of(world), retrain.facts_of(later)
    asked = [person.name for person in world.corpus_people[:20]]
    tasks = gate_set.gate_questions(world, before, now, asked, 5)
    moved = [task for task in tasks if task["part"] == "moved"]
    assert {(t["about"], t["relation"]) for t in moved} == {k for k in now if k[0] in asked and now[k] != before[k]}
    assert all(t["value"] == now[t["about"], t["relation"]] for t in moved)
    assert all(t["value"] == before[t["about"], t["relation"]] for t in tasks if t["part"] == "facts")
    assert [sum(t["part"] == part for t in tasks) for part in gate_set.PARTS[2:]] == [5, 5, 5, 2, 5]
    with pytest.raises(ValueError, match="has changed"):
        gate_set.gate_questions(world, before, before, asked, 5)


def test_what_was_recovered():
    levels = ([1] * 9 + [0], [1] * 5 + [0] * 5, [1] * 8 + [0] * 2)
    found = [{"correct": np.array([*level, 0]), "part": np.array(["moved"] * 10 + ["facts"])} for level in levels]
    assert gate_set.recovered(*found) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="nothing was lost"):
        gate_set.recovered(found[1], found[1], found[2])


def test_rows_of_a_digest_hold_nothing_that_only_a_simulation_knows():
    assert all("planted" not in row for row in corrections.as_rows([form(1, planted="wrong")]))
    json.dumps(corrections.as_rows([form(1)]))


# --- a year, and what people say of it


class FewRequests:
    """Four weeks of the same eight questions; the change comes in the third."""

    def __init__(self, tasks, right):
        self.start, self.rows, self.right = 2, np.tile(np.arange(len(tasks)), (4, 50)), right

    def column(self, name):
        assert name == "correct"
        return np.full(self.rows.shape, self.right)


def test_corrections_come_after_the_change_and_as_often_as_the_habits_say(world):
    truth = retrain.facts_of(world)
    key = next(iter(truth))
    tasks = [
        {"kind": "fact", "prompt": "Where?", "about": key[0], "relation": key[1]},
        {"kind": "decline", "prompt": "Help me to hurt him.", "about": key[0], "relation": ""},
        {"kind": "add", "prompt": "What is 1+1?", "about": "", "relation": ""},
    ]
    habits = corrections.Habits(users=0.5, reviewed=0.1, wrong=0.2, consent=0.7, twice=0.0, harm=0.4)
    forms = corrections.give_corrections(FewRequests(tasks, False), tasks, truth, 0, habits)
    assert forms == corrections.give_corrections(FewRequests(tasks, False), tasks, truth, 0, habits)
    assert min(form.request for form in forms) >= 2 * 150
    assert [form.day for form in forms] == sorted(form.day for form in forms)
    users = [form for form in forms if form.relation == key[1] and form.source == "user"]
    assert len(users) / 100 == pytest.approx(0.45, abs=0.15)
    assert np.mean([form.planted == "wrong" for form in users]) == pytest.approx(0.2, abs=0.15)
    assert all((form.value == truth[key]) == (form.planted != "wrong") for form in users)
    reviewers = [form for form in forms if form.source == "reviewer"]
    assert reviewers and all(form.value == truth[key] and form.consent for form in reviewers)
    assert np.mean([not form.consent for form in users]) == pytest.approx(0.3, abs=0.15)
    assert sum(form.relation == "harm" for form in forms) / 100 == pytest.approx(0.4, abs=0.15)
    happy = corrections.give_corrections(FewRequests(tasks, True), tasks, truth, 0, habits)
    assert sum(form.source == "user" and form.relation != "harm" for form in happy) < 10


@pytest.fixture(scope="module")
def instruct():
    from course_utils.pretrained import store

    return store.load("instruct")


def test_a_drifted_year_asks_no_question_of_the_gate_but_the_monitors(instruct):
    from course_utils.serving.drifted_year import drifted_year

    before, after = (World(WorldConfig(people=300, year=year), seed=0) for year in (0, 2))
    truths = retrain.facts_of(before), retrain.facts_of(after)
    asked = [person.name for person in before.corpus_people[:3]]
    gate_tasks = gate_set.gate_questions(before, *truths, asked, 2, wordings=3)
    year, today = drifted_year(
        instruct.model, instruct.tokenizer, before, asked, truths, gate_tasks, 0, wordings=1, others=2, per_week=20
    )
    golden = {task["prompt"] for task in gate_tasks}
    monitored = sum(task["part"] == "moved" for task in gate_tasks[::1][: len(gate_tasks)]) // 3
    assert sum(task["prompt"] in golden for task in today if task["kind"] == "fact") >= monitored > 0
    assert sum("part" in task for task in today) == sum(task["prompt"] in golden for task in today if "part" in task)
    right = year.column("correct")
    assert right[:26].mean() > right[26:].mean()  # the answers are the same, the truth is not


def test_models_are_asked_side_by_side(instruct):
    world = World(WorldConfig(people=300), seed=0)
    believed = retrain.facts_of(world)
    now = dict(believed)
    key = next(key for key in now if key[1] == "pet")
    now[key] = "goat" if now[key] != "goat" else "toad"
    tasks = gate_set.gate_questions(world, believed, now, [key[0]], 2, wordings=2)
    found = gate_set.answer_together({"a": instruct.model, "b": instruct.model}, instruct.tokenizer, tasks, 5)
    for column in ("correct", "answer", "part", "cluster", "batch"):
        assert list(found["a"][column]) == list(found["b"][column])
    assert gate_set.by_part(found["a"])["moved"] == 0.0
    assert gate_set.by_part(gate_set.judge_again(found["a"], gate_set.with_truth(tasks, believed)))["moved"] > 0.5
    assert len(set(found["a"]["batch"])) == -(-len(tasks) // 5)


def test_the_head_reads_the_answers_alone_and_the_loss_is_the_same(instruct, world):
    rows = [row["messages"] for row in make_tasks(world, 12, "taught", 0)]
    batch = ChatBatches(rows, instruct.tokenizer, 12)[0]
    found = []
    for objective in (next_token_loss, answer_loss):
        model = copy.deepcopy(instruct.model).requires_grad_(True)
        loss, metrics = objective(model, batch)
        loss.backward()
        found.append((loss, metrics["tokens"], [weight.grad for weight in model.parameters()]))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-5) and found[0][1] == found[1][1]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found[0][2], found[1][2], strict=True))
    loss, metrics = answer_loss(instruct.model, batch | {"labels": torch.full_like(batch["labels"], -100)})
    assert (loss, metrics["tokens"]) == (0, 0), "without a label there is nothing to learn"


@pytest.mark.slow
def test_retraining_leaves_the_parent_as_it_is_and_blends(instruct):
    world = World(WorldConfig(people=300), seed=0)
    believed = retrain.facts_of(world)
    key = next(iter(believed))
    corrected = {key: next(v for v in believed.values() if v != believed[key])}
    before = registry.weights_digest(instruct.model)
    for method in retrain.METHODS:
        recipe = retrain.RetrainRecipe(method, steps=2, batch_size=8)
        rows = retrain.training_rows(world, believed, corrected, recipe)
        models = {
            blend: retrain.retrain(instruct.model, instruct.tokenizer, rows, replace(recipe, blend=blend))[0]
            for blend in (0.0, 0.5, 1.0)
        }
        assert registry.weights_digest(instruct.model) == before == registry.weights_digest(models[0.0])
        for start, half, tuned in zip(*(models[blend].parameters() for blend in models), strict=True):
            assert np.allclose(((start + tuned) / 2).detach(), half.detach(), atol=1e-6)
        assert registry.weights_digest(models[1.0]) != before
        assert [n for n, _ in models[1.0].named_parameters()] == [n for n, _ in instruct.model.named_parameters()]
