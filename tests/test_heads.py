"""Classification, reward and value heads beside those of transformers."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForSequenceClassification

from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.heads import Classifier, RewardModel, ValueModel, last_token, load_classifier, save_classifier
from course_utils.models.surgery import with_linear

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
MASK[2, 4:] = 0


def decoder() -> Decoder:
    return Decoder(DecoderConfig(**SIZES), seed=1)


@pytest.mark.parametrize("labels", [1, 3])
def test_equal_to_transformers_from_the_same_folder(labels, tmp_path):
    ours = RewardModel(decoder(), seed=4) if labels == 1 else Classifier(decoder(), labels, seed=4)
    save_classifier(ours, tmp_path, torch.float32)
    theirs = LlamaForSequenceClassification.from_pretrained(tmp_path).eval()
    theirs.config.pad_token_id = 0
    wanted = theirs(IDS.masked_fill(MASK == 0, 0), attention_mask=MASK).logits
    got = ours(IDS, MASK)
    torch.testing.assert_close(got, wanted[:, 0] if labels == 1 else wanted, rtol=1e-5, atol=1e-5)
    again = load_classifier(tmp_path)
    assert type(again) is type(ours) and torch.equal(again(IDS, MASK), got)


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(2)
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64)).eval()


@pytest.mark.parametrize("make", [decoder, lambda: to_llama(decoder()).eval(), gpt2], ids=["ours", "llama", "gpt2"])
def test_padding_changes_nothing(make):
    """A row alone, padded on the right, or padded on the left: one score."""
    reward = RewardModel(make(), seed=4)
    alone = torch.cat([reward(row[mask == 1][None]) for row, mask in zip(IDS, MASK, strict=True)])
    torch.testing.assert_close(reward(IDS, MASK), alone, rtol=1e-5, atol=1e-6)
    left = torch.stack([row.roll(int((mask == 0).sum())) for row, mask in zip(IDS, MASK, strict=True)])
    torch.testing.assert_close(reward(left, MASK.flip(1)), alone, rtol=1e-5, atol=1e-6)


def test_value_model_sees_only_the_past():
    value = ValueModel(decoder())
    assert torch.equal(value(IDS), torch.zeros(3, 9)), "values start at zero"
    torch.nn.init.normal_(value.value.weight, generator=torch.Generator().manual_seed(0))
    changed = IDS.clone()
    changed[:, 5:] = 7
    before, after = value(IDS), value(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_the_body_is_shared():
    model = decoder()
    assert RewardModel(model).model is model.model


def test_last_token():
    assert last_token(IDS, MASK).tolist() == [5, 8, 3]
    assert last_token(IDS, None).tolist() == [8, 8, 8]


def test_a_classifier_on_a_body_of_transformers_is_kept_too(tmp_path):
    for model in (RewardModel(gpt2(), seed=1), Classifier(gpt2(), 3, seed=1)):
        with_linear(model)  # as a replaced base is
        save_classifier(model, tmp_path, torch.float32)
        again = load_classifier(tmp_path)
        assert type(again) is type(model)
        torch.testing.assert_close(again(IDS), model.eval()(IDS))


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="num_labels is 0"):
        Classifier(decoder(), 0)
    with pytest.raises(ValueError, match="row 1 of the batch is all padding"):
        RewardModel(decoder())(IDS, MASK * torch.tensor([[1], [0], [1]]))
    with pytest.raises(FileNotFoundError, match="config.json"):
        load_classifier(tmp_path)
    save_classifier(RewardModel(decoder()), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="torn or not a safetensors file"):
        load_classifier(tmp_path)


def test_two_labels_are_what_transformers_leaves_out_of_its_configuration(tmp_path):
    save_classifier(Classifier(decoder(), 2), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for name in ("id2label", "label2id"):
        del config[name]
    path.write_text(json.dumps(config))
    assert load_classifier(tmp_path).num_labels == 2
