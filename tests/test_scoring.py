"""Scoring: one loop reads texts in evaluation mode and in any order, and puts every mode back."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from course_utils.alignment.best_of_n import sample_completions
from course_utils.alignment.reward_model import pair_accuracy, reward_scores
from course_utils.evaluation.classification import evaluate, predict
from course_utils.evaluation.contamination import token_logprobs
from course_utils.evaluation.entropy import document_bits
from course_utils.evaluation.probes import hits
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.heads import Classifier, RewardModel
from course_utils.models.lora import LoRAConfig, add_lora, lora_layers
from course_utils.models.scoring import batched
from course_utils.pretrained.store import load
from course_utils.text.batching import LabelledBatches, PairBatches
from course_utils.world.probes import Probe

ROWS = [[1, 5, 6, 7], [1], [1, 9, 9], [1, 4], [1, 8, 3, 2, 2]]


def decoder() -> Decoder:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Decoder(DecoderConfig(vocab_size=12, num_key_value_heads=1, **sizes), seed=1)


@pytest.fixture(scope="module")
def instruct():
    return load("instruct", device="cpu")


def with_dropout(model: nn.Module) -> nn.Module:
    """A model in training mode whose every reading differs there; its embedding stays in evaluation mode."""
    add_lora(model, LoRAConfig(r=4, dropout=0.5))
    with torch.no_grad():
        for _, layer in lora_layers(model):
            layer.lora_B["default"].normal_(0, 0.2)
    model.train()
    next(module for module in model.modules() if isinstance(module, nn.Embedding)).eval()
    return model


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_every_text_is_read_once_beside_others_of_its_length():
    model, seen = decoder(), []
    for rows, batch, logits in batched(model, ROWS, pad_id=11, batch_size=2):
        seen += rows
        width = max(len(ROWS[i]) for i in rows)
        assert batch["input_ids"].tolist() == [ROWS[i] + [11] * (width - len(ROWS[i])) for i in rows]
        assert batch["attention_mask"].sum(1).tolist() == [len(ROWS[i]) for i in rows]
        assert not logits.requires_grad
        for row, i in zip(logits, rows, strict=True):
            torch.testing.assert_close(row[: len(ROWS[i])], model(torch.tensor([ROWS[i]])).logits[0])
    assert seen == [1, 3, 2, 0, 4]
    assert list(batched(model, [], 0)) == []
    with pytest.raises(ValueError, match="text 1 has no tokens"):
        next(batched(model, [[1], []], 0))


def test_the_caller_has_its_turn_in_its_own_mode():
    """Also if it goes away in the middle, or an error ends the reading."""
    model = with_dropout(decoder())
    before = modes(model)
    weight = torch.ones((), requires_grad=True)
    for _, _, logits in batched(model, ROWS, 0, batch_size=2):
        assert modes(model) == before and torch.is_grad_enabled()
        (logits.sum() * weight).backward()
        break
    assert modes(model) == before and weight.grad is not None

    def broken(model, batch):
        assert not model.training
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        next(batched(model, ROWS, 0, forward=broken))
    assert modes(model) == before


@pytest.mark.slow
def test_scores_of_a_model_left_in_training_mode(instruct):
    """LlamaFactory 761, trl 1540: dropout made every score a draw."""
    reward = with_dropout(RewardModel(copy.deepcopy(instruct.model), seed=1))
    before = modes(reward)
    texts = [("Where does Mira live?", "In Mistley.")] * 4
    scores = reward_scores(reward, texts, instruct.tokenizer)
    assert len(set(scores.tolist())) == 1 and modes(reward) == before
    torch.testing.assert_close(scores, reward_scores(copy.deepcopy(reward).eval(), texts, instruct.tokenizer))
    pairs = [{"prompt": "Who?", "chosen": f"Mira {i}.", "rejected": f"Bram {i}."} for i in range(12)]
    assert len({pair_accuracy(reward, pairs, instruct.tokenizer) for _ in range(3)}) == 1
    tasks = [{"prompt": "Where does Mira live?"}]
    drawn = [sample_completions(instruct.model, reward, instruct.tokenizer, tasks, 3)[1].tolist() for _ in range(2)]
    assert drawn[0] == drawn[1] and modes(reward) == before


@pytest.mark.slow
def test_every_figure_is_measured_in_evaluation_mode(instruct):
    model, tokenizer = with_dropout(copy.deepcopy(instruct.model)), instruct.tokenizer
    classifier = with_dropout(Classifier(copy.deepcopy(instruct.model), 2, seed=1))
    texts = ["The lamp of Brine is amber.", "Mira left.", "Who lives here?"]
    data = LabelledBatches(texts, [0, 1, 1], tokenizer, 2)
    probes = [Probe("The lamp of Brine", " is", ""), Probe("Mira", " left.", "")]
    for figure, reader in (
        (lambda m: document_bits(m, tokenizer, texts), model),
        (lambda m: [row.tolist() for row in token_logprobs(m, tokenizer, texts)], model),
        (lambda m: hits(m, tokenizer, probes), model),
        (lambda m: predict(m, data).tolist(), classifier),
        (lambda m: evaluate(m, data), classifier),
    ):
        before = modes(reader)
        assert figure(reader) == figure(copy.deepcopy(reader).eval())
        assert modes(reader) == before


@pytest.mark.slow
def test_results_come_in_the_order_given(instruct):
    texts = ["Mira left the lamp of Brine on, and nobody saw it.", "Mira.", "The lamp is amber."]
    model, tokenizer = instruct.model, instruct.tokenizer
    for size in (1, 2, 3):
        assert document_bits(model, tokenizer, texts, size) == pytest.approx(
            [document_bits(model, tokenizer, [text])[0] for text in texts], rel=1e-4
        )
        lengths = [len(row) for row in token_logprobs(model, tokenizer, texts, size)]
        assert lengths == [len(ids) for ids in tokenizer(texts)["input_ids"]]
        data = LabelledBatches(texts, [0, 1, 0], tokenizer, 2)
        torch.testing.assert_close(predict(Classifier(model, 2), data, size), predict(Classifier(model, 2), data, 3))


def test_a_model_that_knows_no_mask_is_read(instruct):
    class Uniform(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(len(instruct.tokenizer)))

        def forward(self, input_ids):
            return SimpleNamespace(logits=self.weight.expand(*input_ids.shape, -1))

    (bits,) = document_bits(Uniform(), instruct.tokenizer, ["Mira left."])
    count = len(instruct.tokenizer("Mira left.")["input_ids"]) + 1
    assert bits == pytest.approx(count * torch.tensor(float(len(instruct.tokenizer))).log2().item(), rel=1e-5)


def test_no_comparison_is_ever_left_out(instruct):
    pairs = [{"prompt": "Who?", "chosen": f"Mira {i}.", "rejected": f"Bram {i}."} for i in range(5)]
    batches = PairBatches(pairs, instruct.tokenizer, 2, seed=3)
    seen = [tuple(row.tolist()) for step in range(5) for row in batches[step]["input_ids"][:, 0]]
    assert len(batches) == 3 and sorted(map(seen.count, set(seen))) == [2] * 5, "ten places, two passes over five pairs"
    for step in range(5):
        for chosen, rejected in batches[step]["input_ids"]:
            texts = instruct.tokenizer.batch_decode([chosen, rejected], skip_special_tokens=True)
            assert texts[0].replace("Mira", "Bram") == texts[1] and "Mira" in texts[0]
    assert torch.equal(batches[1]["input_ids"], PairBatches(pairs, instruct.tokenizer, 2, seed=3)[1]["input_ids"])
    assert batches.tokens_per_step == round(2 * sum(map(len, batches.ids)) / 5)
    with pytest.raises(IndexError, match="negative"):
        batches[-1]
