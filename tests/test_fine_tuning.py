"""Ways to fine-tune: adapters, prefixes beside peft, freezing, early stopping, splits by group, labelled texts."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForSequenceClassification

from course_utils.classroom.checks.ch07 import early_stop
from course_utils.evaluation.classification import evaluate, predict
from course_utils.models.adapters import BottleneckAdapter, adapter_layers, add_adapters
from course_utils.models.convert import to_llama
from course_utils.models.counting import num_parameters
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.heads import Classifier, save_classifier
from course_utils.models.prefix_tuning import PrefixTuning, peft_prefix, prefix_attention
from course_utils.text.batching import LabelledBatches
from course_utils.text.splits import split_by_group
from course_utils.text.tokenizer import train_tokenizer
from course_utils.training.freezing import depth_groups, rates_by_depth, train_only, unfrozen
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import class_scores, classification_loss

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
}
IDS = torch.randint(6, 64, (3, 9), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[0, 6:] = 0
PREFIX = torch.tensor([7, 30, 12, 41])


def decoder() -> Decoder:
    return Decoder(DecoderConfig(**SIZES), seed=1)


# Adapters


@pytest.mark.parametrize("make", [decoder, lambda: to_llama(decoder())], ids=["ours", "llama"])
def test_adapters_start_as_the_frozen_model_and_learn_alone(make):
    plain, model = make(), add_adapters(make(), 4, seed=3)
    assert torch.equal(model(input_ids=IDS).logits, plain(input_ids=IDS).logits)
    assert len(list(adapter_layers(model))) == 4
    assert num_parameters(model, trainable_only=True) == 2 * 2 * (2 * 4 * 32 + 32 + 4)
    model(input_ids=IDS).logits.square().sum().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, _ in model.named_parameters() if ".adapter." in name}
    ups = [layer.adapter.up.weight.grad for _, layer in adapter_layers(model)]
    downs = [layer.adapter.down.weight.grad for _, layer in adapter_layers(model)]
    assert all(bool(up.any()) for up in ups) and not any(bool(down.any()) for down in downs), (
        "up = 0 hides down at first"
    )


def test_an_adapter_by_its_formula():
    adapter = BottleneckAdapter(3, 2)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, 0, 0], [0, -1, 0]]))
        adapter.down.bias.copy_(torch.tensor([0.5, 0]))
        adapter.up.weight.copy_(torch.tensor([[2.0, 0], [0, 3], [1, 1]]))
        adapter.up.bias.copy_(torch.tensor([0.0, 0, 10]))
    x = torch.tensor([[1.0, 2.0, 3.0]])  # down: (1.5, -2) -> relu (1.5, 0) -> up (3, 0, 1.5) + (0, 0, 10)
    torch.testing.assert_close(adapter(x), torch.tensor([[4.0, 2.0, 14.5]]))


def test_adapters_behind_other_layers_and_errors():
    model = add_adapters(decoder(), 4, behind=("down_proj",))
    assert [path for path, _ in adapter_layers(model)] == [f"model.layers.{i}.mlp.down_proj" for i in range(2)]
    with pytest.raises(ValueError, match="has adapters already"):
        add_adapters(model)
    with pytest.raises(ValueError, match="no layer is called dense.*down_proj"):
        add_adapters(decoder(), behind=("dense",))
    with pytest.raises(ValueError, match="bottleneck is 0"):
        add_adapters(decoder(), 0)


# Prefixes


def test_a_prefix_of_tokens_is_these_tokens_before_the_text():
    model = decoder()
    wanted = model(torch.cat((PREFIX.expand(3, -1), IDS), dim=1)).logits[:, 4:]
    prefix = PrefixTuning(model, init_ids=PREFIX)
    torch.testing.assert_close(prefix(IDS).logits, wanted)
    torch.testing.assert_close(prefix(IDS, MASK).logits[0, :6], wanted[0, :6])
    assert num_parameters(prefix, trainable_only=True) == 2 * 2 * 2 * 4 * 8  # layers, k and v, heads, places, numbers


def test_adapters_stand_behind_gpt2s_own_kind_of_layer_too():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=32)).eval()
    with torch.no_grad():
        before = model(IDS).logits
        add_adapters(model, 4, behind=("c_proj",))
        torch.testing.assert_close(model(IDS).logits, before)
    assert len(list(adapter_layers(model))) == 4


def test_a_prefix_is_that_of_peft():
    """Same numbers, same logits, same gradients, with grouped heads and with padding."""
    ours = PrefixTuning(decoder(), length=5, seed=2)
    theirs = get_peft_model(to_llama(decoder()), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5))
    with torch.no_grad():
        for numbers in (ours.keys, ours.values):
            numbers.normal_(generator=torch.Generator().manual_seed(3))
        table = theirs.prompt_encoder["default"].embedding.weight
        table.copy_(peft_prefix(ours))
    for mask in (None, MASK):
        real = MASK.bool() if mask is not None else torch.ones_like(MASK).bool()
        mine, other = ours(IDS, mask).logits[real], theirs(input_ids=IDS, attention_mask=mask).logits[real]
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    mine.square().sum().backward()
    other.square().sum().backward()
    both = torch.stack((ours.keys.grad, ours.values.grad), dim=1).permute(3, 0, 1, 2, 4).reshape(5, -1)
    torch.testing.assert_close(both, table.grad, rtol=1e-4, atol=1e-5)
    assert all(p.grad is None for p in ours.model.parameters())


def test_prefix_attention_by_hand():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 4, 8, generator=generator) for _ in range(3))
    pk, pv = (torch.randn(3, 2, 8, generator=generator) for _ in range(2))
    got = prefix_attention(q, k, v, pk, pv)
    for row, head, place in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        keys = torch.cat((pk[head], k[row, head, : place + 1]))
        values = torch.cat((pv[head], v[row, head, : place + 1]))
        weights = (keys @ q[row, head, place] / 8**0.5).softmax(0)
        torch.testing.assert_close(got[row, head, place], weights @ values)


def test_prefix_errors():
    with pytest.raises(ValueError, match="length is 0"):
        PrefixTuning(decoder(), length=0)
    with pytest.raises(ValueError, match="init_ids has 4 tokens"):
        PrefixTuning(decoder(), length=3, init_ids=PREFIX)
    with pytest.raises(ValueError, match="66 tokens"):
        PrefixTuning(decoder(), length=4)(torch.ones(1, 62, dtype=torch.int64))


# Freezing


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64))


@pytest.mark.parametrize("make", [lambda: Classifier(decoder(), 4), gpt2], ids=["ours", "gpt2"])
def test_depths_from_the_head_down(make):
    names = [name for name, _ in make().named_parameters()]
    groups = depth_groups(names)
    assert sorted(sum(groups, [])) == sorted(names) and len(groups) == 4
    assert all(".1." in name for name in groups[1]) and all(".0." in name for name in groups[2])
    assert all("embed" in name or "wte" in name or "wpe" in name for name in groups[3])
    counts = [len(unfrozen(names, epoch)) for epoch in range(6)]
    assert counts[0] == len(groups[0]) and counts[2] == sum(map(len, groups[:3])) and counts[3:] == [len(names)] * 3


def test_blocks_are_ordered_by_number_and_not_by_place():
    names = [f"model.layers.{i}.input_layernorm.weight" for i in (9, 11, 1, 10)] + ["score.bias", "model.norm.weight"]
    assert unfrozen(names, 2) == [names[1], names[3], "score.bias", "model.norm.weight"]


def test_only_the_named_parameters_change():
    model = Classifier(decoder(), 4)
    before = copy.deepcopy(model.state_dict())
    names = unfrozen([name for name, _ in model.named_parameters()], 1)
    train_only(model, names)
    batch = {"input_ids": IDS, "attention_mask": MASK, "labels": torch.tensor([0, 1, 2])}
    train(model, [batch] * 3, classification_loss, TrainConfig(steps=3, device="cpu"), progress=False)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(names)
    with pytest.raises(ValueError, match="no parameter head"):
        train_only(model, ["head"])


def test_rates_fall_with_depth():
    model = train_only(
        Classifier(decoder(), 4), unfrozen([n for n, _ in Classifier(decoder(), 4).named_parameters()], 1)
    )
    groups = rates_by_depth(model, 0.1, factor=2.0, weight_decay=0.5)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.5), (0.1, 0), (0.05, 0.5), (0.05, 0)]
    assert all(p.ndim >= 2 for p in groups[0]["params"]) and all(p.ndim == 1 for p in groups[1]["params"])
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match="factor is 0.5"):
        rates_by_depth(model, 0.1, factor=0.5)
    with pytest.raises(ValueError, match="epoch is -1"):
        unfrozen(["a"], -1)


# Early stopping


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "expected"),
    [
        ([3, 2, 1], 2, 0.0, (2, 2)),
        ([3, 2, 2.5, 2.4, 1], 2, 0.0, (3, 1)),
        ([3, 2, 2.5, 1, 1.5], 2, 0.0, (4, 3)),
        ([3, 2, 2, 2], 2, 0.0, (3, 1)),
        ([3, 2.95, 2.9, 2.8], 3, 0.15, (3, 3)),  # measured from the best, not from the one before
        ([3, 2.95, 2.9], 2, 0.5, (2, 0)),
        ([1.0], 1, 0.0, (0, 0)),
    ],
)
def test_early_stop(losses, patience, min_delta, expected):
    assert early_stop(losses, patience, min_delta) == expected


def test_early_stop_errors():
    with pytest.raises(ValueError, match="empty"):
        early_stop([], 1)
    with pytest.raises(ValueError, match="patience is 0"):
        early_stop([1.0], 0)


# Splits


def test_no_group_stands_in_two_parts():
    groups = [f"{label}{number}" for label in "ab" for number in range(10) for _ in range(3)]
    labels = [group[0] for group in groups]
    parts = split_by_group(labels, groups, (0.6, 0.2, 0.2), seed=4)
    assert sorted(sum(parts, [])) == list(range(60))
    held = [{groups[row] for row in part} for part in parts]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    for label in "ab":
        assert [len({g for g in part if g[0] == label}) for part in held] == [6, 2, 2]
    assert parts == split_by_group(labels, groups, (0.6, 0.2, 0.2), seed=4)
    assert parts != split_by_group(labels, groups, (0.6, 0.2, 0.2), seed=5)


def test_cuts_are_the_rounded_sums_of_the_shares():
    parts = split_by_group(["x"] * 10, list(range(10)), (1 / 3, 1 / 3, 1 / 3))
    assert [len(part) for part in parts] == [3, 4, 3]


def test_split_errors():
    with pytest.raises(ValueError, match="3 labels and 2 groups"):
        split_by_group([0, 0, 1], ["a", "b"], (0.5, 0.5))
    with pytest.raises(ValueError, match="group 'a' has the labels"):
        split_by_group([0, 1], ["a", "a"], (0.5, 0.5))
    with pytest.raises(ValueError, match="sum to"):
        split_by_group([0, 1], ["a", "b"], (0.5, 0.6))
    with pytest.raises(ValueError, match="label 1 has 1 group"):
        split_by_group([0, 0, 1], ["a", "b", "c"], (0.5, 0.5))


# Labelled texts

TEXTS = ["the red lamp", "the blue boat is far away", "a red boat", "the blue lamp", "red and red"]
LABELS = [0, 1, 0, 1, 0]


def labelled(batch_size: int = 2) -> LabelledBatches:
    return LabelledBatches(TEXTS, LABELS, train_tokenizer(TEXTS * 5, 300), batch_size, seed=1)


def classifier(data: LabelledBatches) -> Classifier:
    return Classifier(Decoder(DecoderConfig(**SIZES | {"vocab_size": 300}), seed=1), 2, seed=2)


def test_labels_stay_with_their_texts():
    data = labelled()
    ids = {tuple(ids): label for ids, label in zip(data.ids, LABELS, strict=True)}
    seen = 0
    for step in range(10):
        batch = data[step]
        for row, mask, label in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            assert ids[tuple(row[mask.bool()].tolist())] == int(label)
            seen += 1
    assert seen == 20
    with pytest.raises(ValueError, match="5 texts and 1 labels"):
        LabelledBatches(TEXTS, [0], train_tokenizer(TEXTS * 5, 300), 2)


def test_it_learns_and_is_judged():
    data = labelled(5)
    model = classifier(data)
    train(model, data, classification_loss, TrainConfig(steps=60, learning_rate=3e-3, device="cpu"), progress=False)
    logs = predict(model, data)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(5))
    found = evaluate(model, data)
    assert found["accuracy"] == 1.0 and found["loss"] < 0.1
    assert found["loss"] == pytest.approx(-logs[torch.arange(5), torch.tensor(LABELS)].mean().item())


def test_a_classifier_of_transformers_learns_the_same(tmp_path):
    data = labelled(5)
    ours = classifier(data)
    save_classifier(ours, tmp_path, torch.float32)
    theirs = LlamaForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(class_scores(ours, data[0]), class_scores(theirs, data[0]), rtol=1e-5, atol=1e-5)
    config = TrainConfig(steps=8, learning_rate=1e-3, device="cpu")
    losses = [train(m, data, classification_loss, config, progress=False).column("loss") for m in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and losses[0][-1] < losses[0][0]
