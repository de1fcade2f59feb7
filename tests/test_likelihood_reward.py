"""A reward with the language model's own log-probability beside the score."""

from __future__ import annotations

import copy

import pytest
import torch

from course_utils.alignment.likelihood_reward import LikelihoodReward
from course_utils.alignment.reward_model import preference_loss
from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.heads import RewardModel

MARK, PAD = 3, 0
ROWS = [[1, 2, 9, 8, MARK, 7, 6, 1], [1, 2, 11, MARK, 12, 1]]


def tiny() -> Decoder:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    return Decoder(DecoderConfig(vocab_size=20, intermediate_size=32, **shape), seed=0).eval()


def padded(rows: list[list[int]], left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    gaps = [[PAD] * (width - len(row)) for row in rows]
    ids = [gap + row if left else row + gap for row, gap in zip(rows, gaps, strict=True)]
    mask = [[0] * len(gap) + [1] * len(row) if left else [1] * len(row) + [0] * len(gap)
            for row, gap in zip(rows, gaps, strict=True)]  # fmt: skip
    return torch.tensor(ids), torch.tensor(mask)


def by_hand(model, row: list[int]) -> float:
    """The sum of log p over the tokens behind the mark, one at a time."""
    with torch.no_grad():
        logprobs = model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
    return sum(logprobs[t - 1, row[t]].item() for t in range(row.index(MARK) + 1, len(row)))


@pytest.mark.parametrize("left", [False, True])
def test_it_is_score_plus_weight_times_the_answers_logprob(left):
    model = tiny()
    reward = RewardModel(copy.deepcopy(model), seed=1).eval()
    ids, mask = padded(ROWS, left)
    both = LikelihoodReward(reward, model, 0.25, MARK)
    expected = [reward(torch.tensor([row])).item() + 0.25 * by_hand(model, row) for row in ROWS]
    assert both(ids, mask).tolist() == pytest.approx(expected, abs=1e-5)
    assert both.answer_logprobs(ids, mask).tolist() == pytest.approx([by_hand(model, row) for row in ROWS], abs=1e-5)


def test_a_transformers_model_gives_the_same_logprobs():
    model = tiny()
    ids, mask = padded(ROWS)
    ours = LikelihoodReward(RewardModel(model), model, 1.0, MARK).answer_logprobs(ids, mask)
    theirs = LikelihoodReward(RewardModel(model), to_llama(model), 1.0, MARK).answer_logprobs(ids, mask)
    assert theirs.tolist() == pytest.approx(ours.tolist(), abs=1e-4)


def test_the_score_learns_and_the_language_model_stays():
    model = tiny()
    both = LikelihoodReward(RewardModel(copy.deepcopy(model)), model, 0.5, MARK)
    ids, mask = padded(ROWS)
    loss, _ = preference_loss(both, {"input_ids": ids[None], "attention_mask": mask[None]})
    loss.backward()
    assert both.score.score.weight.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in both.language_model.parameters())
    assert all(p.requires_grad for p in model.parameters()), "the model that was given is another one, and unchanged"
    margin = both(ids, mask).diff().neg()
    assert loss.item() == pytest.approx(torch.nn.functional.softplus(-margin).item(), abs=1e-6)


def test_a_weight_of_zero_is_the_score_alone():
    model = tiny()
    reward = RewardModel(copy.deepcopy(model), seed=2).eval()
    ids, mask = padded(ROWS)
    assert torch.equal(LikelihoodReward(reward, model, 0.0, MARK)(ids, mask), reward(ids, mask))


def test_what_it_refuses():
    model = tiny()
    with pytest.raises(ValueError, match=r"weight is -0.1; 0 or more"):
        LikelihoodReward(RewardModel(model), model, -0.1, MARK)
    both = LikelihoodReward(RewardModel(model), model, 0.1, MARK)
    for row in ([1, 2, 9, 8], [1, 2, 9, MARK]):  # no mark; nothing after it
        with pytest.raises(ValueError, match="row 1 has no token 3 with an answer after it"):
            both(torch.tensor([[1, 2, MARK, 9], row]))
    with pytest.raises(ValueError, match="row 0 has no token 3"):  # padding is no answer
        both(torch.tensor([[1, 2, MARK, PAD]]), torch.tensor([[1, 1, 1, 0]]))
