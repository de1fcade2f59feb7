"""Distillation and pruning: divergences by hand and trl's, gradients over the temperature, on-policy batches, cuts."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from course_utils.models.convert import to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.generate import generate
from course_utils.models.pruning import PrunedConfig, block_influence, head_importance, keep_groups, keep_layers
from course_utils.text.batching import IGNORE
from course_utils.training.distillation import StudentAnswers, distillation_loss, divergence
from course_utils.training.loop import TrainConfig, train
from course_utils.training.objectives import next_token_loss

SIZES = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "max_position_embeddings": 64,
}


def decoder(seed: int = 1, **changes) -> Decoder:
    return Decoder(DecoderConfig(**SIZES | changes), seed=seed)


def loud(seed: int) -> Decoder:
    """A decoder with larger weights, so that its distributions are not flat."""
    model = decoder(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model


def batch(rows: int = 4, length: int = 10) -> dict[str, torch.Tensor]:
    ids = torch.randint(2, 48, (rows, length), generator=torch.Generator().manual_seed(3))
    labels = ids.clone()
    labels[:, :4] = IGNORE
    labels[0, 7:] = IGNORE
    return {"input_ids": ids, "labels": labels}


def both(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    return 3 * torch.randn(*shape, 7, generator=draw), 3 * torch.randn(*shape, 7, generator=draw)


# divergences --------------------------------------------------------------------------------------------------------


def test_the_ends_are_the_two_kl_of_torch_distributions():
    student, teacher = both(3, 4)
    p, q = (torch.distributions.Categorical(logits=x / 2) for x in (teacher, student))
    kl = torch.distributions.kl_divergence
    assert torch.allclose(divergence(student, teacher, 0, 2.0), kl(p, q), atol=1e-5)
    assert torch.allclose(divergence(student, teacher, 1, 2.0), kl(q, p), atol=1e-5)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.8])
def test_between_them_it_is_bounded_and_becomes_kl_when_divided_by_beta(beta):
    student, teacher = both(50)
    value = divergence(student, teacher, beta)
    assert (value >= 0).all() and (value <= math.log(2) + 1e-6).all()
    tiny, student, teacher = 1e-9, student.double(), teacher.double()
    assert torch.allclose(divergence(student, teacher, tiny) / tiny, divergence(student, teacher, 0), rtol=1e-2)
    assert torch.allclose(
        divergence(teacher, student, 1 - beta), value.double(), atol=1e-6
    )  # roles and beta turned together


def test_a_token_that_the_teacher_forbids_costs_the_forward_kl_nothing():
    student, teacher = both(2)
    teacher[:, 0] = -torch.inf
    student.requires_grad_()
    forward = divergence(student, teacher)
    forward.sum().backward()
    assert forward.isfinite().all() and student.grad.isfinite().all()
    assert divergence(student, teacher, 1).isinf().all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.zeros(2, 5), torch.zeros(2, 6)), "same vocabulary"),
        ((torch.zeros(2, 5), torch.zeros(2, 5), 1.5), "beta is 1.5"),
        ((torch.zeros(2, 5), torch.zeros(2, 5), 0.0, 0.0), "temperature is 0.0"),
    ],
)
def test_divergences_refuse_what_makes_no_sense(arguments, words):
    with pytest.raises(ValueError, match=words):
        divergence(*arguments)


@pytest.mark.parametrize("beta", [0.0, 0.001, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_trls_gkd_computes_the_same(beta, temperature):
    from trl.experimental import gkd

    student, teacher = both(3, 6)
    labels = torch.ones(3, 6, dtype=torch.int64)
    labels[0, :4] = IGNORE
    theirs = gkd.GKDTrainer.generalized_jsd_loss(student, teacher, labels, beta, temperature)
    ours = divergence(student, teacher, beta, temperature)[labels != IGNORE].mean()
    assert torch.allclose(theirs, ours, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_trls_distillation_trainer_computes_the_same(beta):
    from trl.trainer import distillation_trainer as trainer

    draw = torch.Generator().manual_seed(0)
    hidden = [torch.randn(2, 5, 8, generator=draw) for _ in range(2)]
    heads = [torch.randn(11, 8, generator=draw) for _ in range(2)]
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    theirs, _, count = trainer._chunked_divergence_loss(*hidden, *heads, mask, beta, temperature=2.0)
    student, teacher = (h @ w.T for h, w in zip(hidden, heads, strict=True))
    ours = divergence(student, teacher, beta, 2.0)[mask.bool()].mean()
    assert count == 8 and torch.allclose(theirs, ours, rtol=1e-4)


# the objective ------------------------------------------------------------------------------------------------------


def test_the_objective_counts_answers_alone_and_mixes_labels_in():
    student, teacher, data = loud(1), loud(2), batch()
    s, t = (m(data["input_ids"]).logits[:, :-1] for m in (student, teacher))
    labels = data["labels"][:, 1:]
    places = labels != IGNORE
    expected = 0.7 * 4 * divergence(s, t, 0, 2.0)[places].mean() + 0.3 * F.cross_entropy(s[places], labels[places])
    loss, metrics = distillation_loss(student, data, teacher=teacher, temperature=2.0, alpha=0.3)
    assert torch.allclose(loss, expected, rtol=1e-5) and metrics["tokens"] == places.sum()
    loss.backward()
    assert all(p.grad is None for p in teacher.parameters()), "no gradient reaches the teacher"


def test_labels_alone_are_cross_entropy_and_a_perfect_student_has_no_gradient():
    teacher, data = loud(2), batch()
    loss, _ = distillation_loss(loud(1), data, teacher=teacher, alpha=1.0)
    assert torch.allclose(loss, next_token_loss(loud(1), data)[0], rtol=1e-5)
    student = copy.deepcopy(teacher)
    loss, _ = distillation_loss(student, data, teacher=teacher)
    loss.backward()
    assert abs(loss.item()) < 1e-6 and all(p.grad.abs().max() < 1e-5 for p in student.parameters())
    with pytest.raises(ValueError, match="alpha is 2"):
        distillation_loss(student, data, teacher=teacher, alpha=2)


def test_the_square_of_the_temperature_keeps_the_gradient():
    student, teacher = both(40)

    def norm(temperature: float) -> float:
        x = student.clone().requires_grad_()
        (divergence(x, teacher, 0, temperature).mean() * temperature**2).backward()
        return x.grad.norm().item()

    assert norm(40.0) == pytest.approx(norm(20.0), rel=0.1)
    # the limit: the gap between the centred logits, divided by the size of the vocabulary
    gap = (student - student.mean(-1, keepdim=True)) - (teacher - teacher.mean(-1, keepdim=True))
    assert norm(400.0) == pytest.approx((gap / 7 / 40).norm().item(), rel=0.02)


def test_transformers_models_are_students_and_teachers_too():
    student, teacher, data = loud(1), loud(2), batch()
    ours = distillation_loss(student, data, teacher=teacher, beta=1.0)[0]
    theirs = distillation_loss(to_llama(student), data, teacher=to_llama(teacher), beta=1.0)[0]
    assert torch.allclose(ours, theirs, rtol=1e-4)


# on-policy ----------------------------------------------------------------------------------------------------------


def test_a_student_is_asked_anew_at_every_step_and_graded_on_its_own_words():
    student = loud(1).train()
    prompts = [[1, 5, 9], [1, 7]]
    batches = StudentAnswers(student, prompts, 6, max_new_tokens=5, stop_ids=(1, 2, 3), seed=4)
    first = batches[0]
    assert torch.equal(first["input_ids"], batches[0]["input_ids"]), "the same step of the same student is the same"
    assert not torch.equal(first["input_ids"], batches[1]["input_ids"]) and student.training
    for ids, labels in zip(first["input_ids"].tolist(), first["labels"].tolist(), strict=True):
        prompt = next(p for p in prompts if ids[: len(p)] == p)
        answer = [label for label in labels if label != IGNORE]
        assert labels[: len(prompt)] == [IGNORE] * len(prompt) and 1 <= len(answer) <= 5
        assert not set(answer[:-1]) & {1, 2, 3}, "nothing is said behind the end"
        assert ids[len(prompt) : len(prompt) + len(answer)] == answer
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.neg_()
    assert not torch.equal(first["input_ids"], batches[0]["input_ids"]), "another student says something else"


@pytest.mark.slow
def test_on_policy_distillation_brings_the_student_to_the_teacher():
    student, teacher = decoder(1), loud(2)
    batches = StudentAnswers(student, [[1, 5, 9], [1, 7]], 16, max_new_tokens=6, stop_ids=(), seed=4)

    def objective(model, data):
        return distillation_loss(model, data, teacher=teacher, beta=1.0)

    history = train(student, batches, objective, TrainConfig(steps=40, learning_rate=1e-2), progress=False)
    losses = history.column("divergence")
    assert losses[-1] < 0.6 * losses[0]


def test_a_share_of_steps_takes_the_data():
    data = [batch()] * 40
    batches = StudentAnswers(loud(1), [[1, 5]], 4, share=0.25, data=data, max_new_tokens=3)
    taken = sum(torch.equal(batches[step]["input_ids"], data[0]["input_ids"]) for step in range(40))
    assert 20 <= taken <= 38
    for wrong in ({"share": 0.5}, {"share": 2.0, "data": data}):
        with pytest.raises(ValueError, match="share is"):
            StudentAnswers(loud(1), [[1, 5]], 4, **wrong)
    with pytest.raises(ValueError, match="no prompts"):
        StudentAnswers(loud(1), [], 4)


# pruning ------------------------------------------------------------------------------------------------------------


def test_all_layers_kept_is_the_same_model_and_order_counts():
    model, ids = loud(1), batch()["input_ids"]
    whole = keep_layers(model, [0, 1, 2])
    assert torch.equal(whole(ids).logits, model(ids).logits)
    assert whole.lm_head.weight is not model.lm_head.weight
    part = keep_layers(model, [2, 0])
    x = model.model.embed_tokens(ids)
    cos, sin = (t[: ids.shape[1], None] for t in (model.model.rope_cos, model.model.rope_sin))
    for layer in (2, 0):
        x = model.model.layers[layer](x, cos, sin, None, True, None)
    assert torch.allclose(part(ids).logits, model.lm_head(model.model.norm(x)), atol=1e-5)
    with pytest.raises(ValueError, match="one or more of 0 to 2"):
        keep_layers(model, [3])


def silenced(model: Decoder, groups: list[list[int]]) -> Decoder:
    """The same model with the other groups' outputs set to zero, and nothing cut."""
    model, config = copy.deepcopy(model), model.config
    size = config.num_attention_heads // config.num_key_value_heads * config.head_dim
    with torch.no_grad():
        for block, kept in zip(model.model.layers, groups, strict=True):
            for group in set(range(config.num_key_value_heads)) - set(kept):
                block.self_attn.o_proj.weight[:, group * size : (group + 1) * size] = 0
    return model


def test_heads_cut_out_compute_what_silenced_heads_do_here_in_generation_and_in_transformers():
    model, ids = loud(1), batch()["input_ids"]
    groups = [[1], [0], [1]]
    smaller, quiet = keep_groups(model, groups), silenced(model, groups)
    assert torch.allclose(smaller(ids).logits, quiet(ids).logits, atol=1e-4)
    assert isinstance(smaller.config, PrunedConfig) and smaller.config.head_dim == model.config.head_dim == 8
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())
    assert torch.allclose(to_llama(smaller)(ids).logits, smaller(ids).logits, atol=1e-4)
    prompts = [[1, 5, 9], [1, 7], *[[1, 8]] * 8]
    assert torch.equal(generate(smaller, prompts, 8).tokens, generate(quiet, prompts, 8).tokens)
    again = keep_layers(smaller, [2])
    assert again.config.head_dim == 8 and torch.equal(again(ids).logits, keep_layers(smaller, [2])(ids).logits)


@pytest.mark.parametrize("groups", [[[0], [0]], [[0], [0, 1], [1]], [[2], [0], [0]], [[], [], []], [[0, 0]] * 3])
def test_layers_that_keep_different_numbers_of_heads_are_refused(groups):
    with pytest.raises(ValueError, match="equally many different key/value heads"):
        keep_groups(loud(1), groups)


def test_importance_of_heads_is_the_slope_of_the_loss():
    model, data = loud(1), batch()
    found = head_importance(model, [data], next_token_loss)
    assert found.shape == (3, 4) and all(p.grad is None for p in model.parameters())
    size, nudge = model.config.head_dim, 1e-2
    for layer, head in ((0, 1), (2, 3)):
        losses = []
        for sign in (1, -1):
            other = copy.deepcopy(model).double()
            with torch.no_grad():
                columns = slice(head * size, (head + 1) * size)
                other.model.layers[layer].self_attn.o_proj.weight[:, columns] *= 1 + sign * nudge
            losses.append(F.cross_entropy(*pairs(other, data)).item())
        assert found[layer, head].item() == pytest.approx(abs(losses[0] - losses[1]) / (2 * nudge), rel=0.02)
    assert not any(part._forward_pre_hooks for part in model.modules())


def pairs(model: Decoder, data: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    labels = data["labels"][:, 1:]
    return model(data["input_ids"]).logits[:, :-1][labels != IGNORE], labels[labels != IGNORE]


def test_a_layer_that_changes_nothing_has_no_influence():
    model, data = loud(1), batch()
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight.zero_()
        model.model.layers[1].mlp.down_proj.weight.zero_()
    first, idle, last = block_influence(model, [data])
    assert idle == pytest.approx(0, abs=1e-5) and first > 0.01 and last > 0.01
    assert not any(part._forward_hooks for part in model.modules())
