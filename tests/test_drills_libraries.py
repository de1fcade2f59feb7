"""The references of the drills beside the libraries that people use at work: the same numbers on seeded cases.

DPO, IPO, KTO, GRPO and GSPO are compared with the course's own losses, which test_direct.py and test_policy_gradient.py
hold beside trl's trainers, gradients included. Where no library has the piece, an exhaustive search or a closed form
stands for it.
"""

from __future__ import annotations

import itertools
import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from course_utils.interview.drills import (
    attention,
    blocks,
    bpe,
    caches,
    decoding,
    distillation,
    drift,
    evaluation,
    filters,
    large_runs,
    lora,
    optimizers,
    overlap,
    policy_gradients,
    preferences,
    quantization,
    retrieval,
    rows,
    schedules,
    softmax,
    statistics,
)
from course_utils.interview.drills.catalogue import names
from course_utils.interview.drills.draw import integers, normal, uniform

pytestmark = pytest.mark.slow  # the libraries take long to import
close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=11, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.5, attn_implementation="eager", eos_token_id=None, bos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def test_softmax_and_cross_entropy():
    x = 30 * normal(1, 4, 5, 6)
    for dim in (0, 1, -1):
        close(softmax.stable_softmax(x, dim), x.softmax(dim))
    labels = torch.tensor([0, -100, 3, 5])
    close(softmax.cross_entropy(x[:, 0], labels), F.cross_entropy(x[:, 0], labels))


def test_online_softmax():
    scores, values = 20 * normal(1, 30), normal(2, 30, 4)
    parts = zip(scores.split(7), values.split(7), strict=True)
    close(softmax.online_softmax(parts), scores.softmax(0) @ values)


def test_attention():
    q, k, v = (normal(i, 2, 4, 5, 3) for i in range(3))
    close(
        attention.grouped_query_attention(q, k[:, :2], v[:, :2]),
        F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], is_causal=True, enable_gqa=True),
    )
    mask = torch.tensor([[True, True, False, True, False], [True] * 5])
    close(
        attention.cross_attention(q[:, :, :2], k, v, mask),
        F.scaled_dot_product_attention(q[:, :, :2], k, v, attn_mask=mask[:, None, None, :]),
    )
    x, weights = normal(3, 2, 5, 8), [normal(4 + i, 8, 8) for i in range(4)]
    theirs = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    theirs.in_proj_weight.data = torch.cat([w.T for w in weights[:3]])
    theirs.out_proj.weight.data = weights[3].T
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    close(attention.causal_multi_head_attention(x, *weights, 2), theirs(x, x, x, attn_mask=later)[0].detach())


def test_rope():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(
        hidden_size=24, num_attention_heads=3, rope_parameters={"rope_type": "default", "rope_theta": 500.0}
    )
    x, positions = normal(1, 2, 3, 4, 8), torch.tensor([3, 0, 9, 27])
    cos, sin = LlamaRotaryEmbedding(config)(x, positions[None])
    close(blocks.rope(x, positions, 500.0), apply_rotary_pos_emb(x, x, cos, sin)[0])


def test_kv_cache():
    from transformers import DynamicCache

    ours, theirs = caches.KVCache(2, 3, 9, 4), DynamicCache()
    for number, new in enumerate((4, 1, 2)):
        k, v = normal(number, 2, 3, new, 4), normal(number + 9, 2, 3, new, 4)
        for mine, other in zip(ours.append(k, v), theirs.update(k, v, 0), strict=True):
            close(mine, other)


def test_norm_and_feed_forward():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    x, weight = normal(1, 2, 3, 8), normal(2, 8)
    close(blocks.rms_norm(x, weight, 1e-3), F.rms_norm(x, (8,), weight, 1e-3))
    layer = LlamaMLP(LlamaConfig(hidden_size=8, intermediate_size=12, num_attention_heads=2))
    parts = [layer.gate_proj, layer.up_proj, layer.down_proj]
    close(blocks.swiglu(x, *[part.weight.detach().T for part in parts]), layer(x).detach())


def test_gate_of_experts():
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    logits = normal(1, 20, 6)
    weights, experts, balance = blocks.moe_gate(logits, 2)
    top, places = logits.softmax(-1).topk(2, -1)
    close(weights, top / top.sum(-1, keepdim=True))
    assert torch.equal(experts, places)
    close(2 * balance, load_balancing_loss_func((logits,), 6, 2))  # there each of the k choices counts as a whole share


def test_bpe():
    from tokenizers import Tokenizer, models, trainers

    rng = random.Random(0)
    words = {"".join(rng.choice("abcd") for _ in range(rng.randint(2, 7))): rng.randint(1, 9) for _ in range(30)}
    merges = bpe.bpe_train(words, 25)
    ours = Tokenizer(
        models.BPE({t: i for i, t in enumerate(dict.fromkeys(["a", "b", "c", "d", *map("".join, merges)]))}, merges)
    )
    for word in words:
        assert bpe.bpe_encode(word, merges) == ours.encode(word).tokens
    theirs = Tokenizer(models.BPE())
    few = {"low": 50, "lower": 20, "newest": 60, "widest": 31}  # no two pairs are equally frequent at any step
    trainer = trainers.BpeTrainer(vocab_size=10 + 4, show_progress=False)
    theirs.train_from_iterator(["low"] * 50 + ["lower"] * 20 + ["newest"] * 60 + ["widest"] * 31, trainer)
    learned = [token for token, _ in sorted(theirs.get_vocab().items(), key=lambda item: item[1]) if len(token) > 1]
    assert learned and {"".join(p) for p in bpe.bpe_train(few, len(learned))} >= set(learned[:2])


def test_prompt_mask():
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    ids, prompts, lengths = [[5, 6, 7, 1], [3, 4]], [1, 1], [4, 2]
    collate = DataCollatorForLanguageModeling(pad_token_id=1)
    labels = [
        [-100] * p + i[p:] for p, i in zip(prompts, ids, strict=True)
    ]  # so trl 1.16 wants them; it adds the padding
    batch = collate([{"input_ids": i, "labels": one} for i, one in zip(ids, labels, strict=True)])
    ours = rows.mask_prompt(batch["input_ids"], torch.tensor(prompts), torch.tensor(lengths))
    assert torch.equal(ours, batch["labels"])


def test_packed_documents_see_what_they_saw_alone(llama):
    from transformers import DataCollatorWithFlattening

    documents = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [3, 1]]
    ids, segments, positions = rows.pack_documents(documents, 6, 0)
    flat = DataCollatorWithFlattening()([{"input_ids": d} for d in documents[:2]])
    assert positions[0, :5].tolist() == flat["position_ids"][0].tolist()
    mask = rows.document_mask(segments)
    allowed = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)[:, None]
    with torch.no_grad():
        packed = llama(input_ids=ids, attention_mask=allowed, position_ids=positions).logits
        for row, begin, document in (
            (0, 0, documents[0]),
            (0, 3, documents[1]),
            (1, 0, documents[2]),
            (1, 4, documents[3]),
        ):
            alone = llama(input_ids=torch.tensor([document])).logits[0]
            close(packed[row, begin : begin + len(document)], alone, atol=1e-4)


def test_filters():
    from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = 2 * normal(1, 5, 9)
    for k in (1, 4, 9):
        close(filters.top_k_filter(logits, k), TopKLogitsWarper(k)(None, logits))
    for p in (0.1, 0.6, 0.95):
        close(filters.top_p_filter(logits, p), TopPLogitsWarper(p)(None, logits))
        close(filters.min_p_filter(logits, p), MinPLogitsWarper(p)(None, logits))


def test_beam_search(llama):
    model = decoding._model(3, 3)
    every = [tokens for n in (1, 2, 3, 4) for tokens in itertools.product(range(3), repeat=n)]
    whole = [t for t in every if 0 not in t[:-1] and (t[-1] == 0 or len(t) == 4)]
    score = {t: sum(model(t[:i])[token] for i, token in enumerate(t)) for t in whole}
    best = max(whole, key=score.__getitem__)
    found, value = decoding.beam_search(model, 200, 4, 0)
    assert found == best
    assert value == pytest.approx(score[best])

    @torch.no_grad()
    def logprobs(tokens):
        return llama(torch.tensor([[5, *tokens]])).logits[0, -1].log_softmax(-1).tolist()

    for width in (1, 3):
        theirs = llama.generate(
            torch.tensor([[5]]), attention_mask=torch.ones(1, 1, dtype=torch.long), num_beams=width, max_new_tokens=4,
            do_sample=False, length_penalty=0.0,
        )  # fmt: skip
        assert list(decoding.beam_search(logprobs, width, 4, -1)[0]) == theirs[0, 1:].tolist()


def test_a_draft_leaves_the_distribution_as_it_is():
    draft, target = normal(1, 1, 5).softmax(-1), normal(2, 2, 5).softmax(-1)
    out = torch.zeros(5)
    for token in range(5):
        keep = min(1.0, float(target[0, token] / draft[0, token]))
        out[token] += draft[0, token] * keep
        if keep < 1:
            taken, rest = decoding.speculative_acceptance(
                draft, target, torch.tensor([token]), torch.tensor([keep + 1e-6])
            )
            assert taken == 0
            out += draft[0, token] * (1 - keep) * rest
    close(out, target[0])
    everything = decoding.speculative_acceptance(draft, target, torch.tensor([2]), torch.tensor([0.0]))
    assert everything[0] == 1
    close(everything[1], target[1])


def test_lora():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4, bias=False))
    weight = model[0].weight.detach().clone()
    tuned = get_peft_model(model, LoraConfig(r=2, lora_alpha=8, target_modules=["0"]))
    layer = tuned.base_model.model[0]
    layer.lora_B["default"].weight.data.normal_()
    a, b = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()
    x = normal(1, 3, 6)
    close(lora.lora_linear(x, weight, a, b, 8.0), tuned(x).detach())
    close(lora.lora_merge(weight, a, b, 8.0), tuned.merge_and_unload()[0].weight.detach())


def test_quantizers():
    from bitsandbytes import functional as bnb

    x = normal(1, 6, 32)
    codes, scales = quantization.absmax_quantize(x)
    theirs = torch.quantize_per_channel(x, scales.double(), torch.zeros(6, dtype=torch.long), 0, torch.qint8)
    assert torch.equal(codes, theirs.int_repr())
    levels = bnb.get_4bit_type("nf4", device="cpu")
    flat = normal(2, 256)
    packed, state = bnb.quantize_4bit(flat, blocksize=64, quant_type="nf4")
    ours, absmax = quantization.nf4_quantize(flat, levels, 64)
    close(absmax, state.absmax.float())
    assert torch.equal(ours.view(-1, 2)[:, 0] * 16 + ours.view(-1, 2)[:, 1], packed.flatten().long())
    close(quantization._levels(), levels, atol=1e-4)


def test_gptq_is_the_best_repair_and_helps():
    x = normal(1, 40, 6) + normal(2, 40, 1)
    weight, scale = normal(3, 3, 6), torch.full((3,), 0.4)
    factor = torch.linalg.cholesky(torch.linalg.inv(x.T @ x), upper=True)
    one = quantization.gptq_step(weight, factor, 0, scale)
    change = torch.linalg.lstsq(x[:, 1:], -x[:, :1] @ (one - weight)[:, :1].T).solution.T
    close(one[:, 1:], weight[:, 1:] + change, atol=1e-3)
    done = weight
    for column in range(6):
        done = quantization.gptq_step(done, factor, column, scale)
    plain = (weight / scale[:, None]).round().clamp(-8, 7) * scale[:, None]
    assert float(((done - weight) @ x.T).norm()) < float(((plain - weight) @ x.T).norm())


def test_accumulated_gradient():
    weight, batches = normal(1, 2, 3).requires_grad_(), large_runs._micro(2, [4, 1, 3], 1.0)
    x, labels = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    F.cross_entropy(x @ weight, labels).backward()
    close(large_runs.accumulated_gradient(weight, batches), weight.grad)


def test_optimizers():
    param = nn.Parameter(normal(1, 4, 3))
    theirs = torch.optim.AdamW([param], lr=0.05, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3)
    ours, m, v = param.detach().clone(), torch.zeros(4, 3), torch.zeros(4, 3)
    for step in range(1, 5):
        param.grad = normal(step + 5, 4, 3)
        theirs.step()
        ours, m, v = optimizers.adamw_step(ours, param.grad, m, v, step, 0.05, 0.8, 0.9, 1e-6, 0.3)
        close(ours, param.detach())
    for shape in ((3, 6), (6, 3)):
        param = nn.Parameter(normal(2, *shape))
        theirs = torch.optim.Muon([param], lr=0.1, momentum=0.9, weight_decay=0.0, adjust_lr_fn="original")
        ours, momentum = param.detach().clone(), torch.zeros(shape)
        for step in range(3):
            param.grad = normal(step + 9, *shape)
            theirs.step()
            ours, momentum = optimizers.muon_step(ours, param.grad.clone(), momentum, 0.1, 0.9)
        assert float((ours - param.detach()).abs().max()) < 0.02, "torch iterates in bfloat16"


def test_schedules():
    import transformers

    def theirs(make, steps):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
        schedule, values = make(optimizer), []
        for _ in range(steps + 1):
            values.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        return values

    make = partial(
        transformers.get_wsd_schedule, num_warmup_steps=4, num_decay_steps=5, num_training_steps=20, decay_type="linear"
    )
    assert [schedules.wsd_lr(s, 4, 5, 20, 2.0) for s in range(21)] == pytest.approx(theirs(make, 20))
    make = partial(
        transformers.get_cosine_with_min_lr_schedule_with_warmup, num_warmup_steps=3, num_training_steps=15, min_lr=0.5
    )
    assert [schedules.cosine_lr(s, 3, 15, 2.0, 0.5) for s in range(16)] == pytest.approx(theirs(make, 15))


def test_clipping_and_loss_scale():
    grads = [normal(1, 3), 4 * normal(2, 2, 2)]
    params = [nn.Parameter(torch.zeros_like(g)) for g in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    norm = nn.utils.clip_grad_norm_(params, 1.5)
    clipped, ours = optimizers.clip_gradients(grads, 1.5)
    assert ours == pytest.approx(float(norm), rel=1e-5)
    for mine, param in zip(clipped, params, strict=True):
        close(mine, param.grad)
    param = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([param], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    scale, good = 8.0, 0
    for grad in (normal(1, 2), normal(2, 2), torch.tensor([torch.inf, 1.0]), normal(3, 2), normal(4, 2), normal(5, 2)):
        before = param.detach().clone()
        scaler.scale(param.sum()).backward()  # the scaler wants to see a scaled loss; the gradient is then ours
        param.grad = grad * scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        true, scale, good = large_runs.scaled_step([grad * scale], scale, good, 2)
        assert scale == scaler.get_scale()
        close(before - (true[0] if true is not None else 0), param.detach())
        optimizer.zero_grad()


def test_ring():
    buffers = [[float(10 * w + c) for c in range(6)] for w in range(6)]
    scattered, reduced = large_runs.ring_all_reduce(buffers)
    total = np.sum(buffers, 0).tolist()
    assert reduced == [total] * 6
    assert all(scattered[w][(w + 1) % 6] == total[(w + 1) % 6] for w in range(6))


def test_distillation():
    student, teacher, labels = normal(1, 5, 7), normal(2, 5, 7), integers(3, 7, 5)
    kl = nn.KLDivLoss(reduction="batchmean", log_target=True)(
        (student / 2).log_softmax(-1), (teacher / 2).log_softmax(-1)
    )
    close(
        distillation.distillation_loss(student, teacher, labels, 2.0, 0.3),
        0.3 * 4 * kl + 0.7 * F.cross_entropy(student, labels),
    )


def test_direct_alignment():
    from course_utils.alignment.direct_losses import DirectConfig, PairLogprobs, ipo_loss, kto_loss, sigmoid_loss

    c, r, rc, rr = (normal(i, 6) for i in range(4))
    pairs = PairLogprobs(c, r, rc, rr, divergence=torch.tensor(0.3))
    close(preferences.dpo_loss(c, r, rc, rr, 0.2), sigmoid_loss(pairs, DirectConfig("sigmoid", beta=0.2)).mean())
    close(preferences.ipo_loss(c, r, rc, rr, 0.2), ipo_loss(pairs, DirectConfig("ipo", beta=0.2)).mean())
    theirs = kto_loss(pairs, DirectConfig("kto", beta=0.2, desirable_weight=1.5)).mean()
    desirable = torch.tensor([True] * 6 + [False] * 6)
    close(preferences.kto_loss(torch.cat([c, r]), torch.cat([rc, rr]), desirable, 0.3, 0.2, 1.5), theirs)
    close(preferences.bradley_terry_loss(c, r), F.binary_cross_entropy_with_logits(c - r, torch.ones(6)))


def test_policy_gradients():
    from course_utils.alignment.advantages import gae, group_advantages
    from course_utils.alignment.policy_gradient import METHODS, policy_gradient_loss, probability_ratio
    from course_utils.alignment.ppo import policy_loss

    old = normal(1, 4, 5) - 2
    new, ref = old + 0.4 * normal(2, 4, 5), old + 0.4 * normal(3, 4, 5)
    mask = torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
    rewards = torch.tensor([1.0, 0.0, 0.5, 2.0])
    advantages = group_advantages(rewards, 4, scale="group")
    theirs, _ = policy_gradient_loss(new, old, advantages, mask, METHODS["grpo"], ref_logprobs=ref)
    close(policy_gradients.grpo_loss(new, old, ref, rewards, mask, 0.2, 0.04), theirs, rtol=1e-3)
    close(policy_gradients.gspo_ratio(new, old, mask), probability_ratio(new, old, mask, "sequence").flatten())
    each = normal(4, 4, 5)
    found = policy_loss(new, old, each, mask, 0.2)
    close(policy_gradients.ppo_loss(new, old, each, mask, 0.2), found[0] if isinstance(found, tuple) else found)
    scores, values = normal(5, 6), normal(6, 7)
    values[-1] = 0.0
    ours = policy_gradients.gae(scores, values, torch.zeros(6, dtype=torch.bool), 0.9, 0.8)
    for mine, other in zip(ours, gae(scores[None], values[None, :-1], torch.ones(1, 6), 0.9, 0.8), strict=True):
        close(mine, other[0])


def test_estimators_of_kl():
    p, q = normal(1, 8).log_softmax(0), normal(2, 8).log_softmax(0)
    true = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    )
    k1, k2, k3 = policy_gradients.kl_estimates(p, q)
    close((p.exp() * k1).sum(), true)
    close((p.exp() * k3).sum(), true)
    assert bool((k2 >= 0).all()) and bool((k3 >= 0).all())
    close(k2, (p - q) ** 2 / 2)


def test_success_among_samples_and_votes():
    from scipy.stats import hypergeom

    for n, right, k in ((10, 3, 4), (20, 1, 20), (50, 49, 2), (7, 0, 3)):
        assert evaluation.pass_at_k(n, right, k) == pytest.approx(1 - hypergeom(n, right, k).pmf(0))
    votes = [random.Random(i).choice("abc") for i in range(20)]
    assert evaluation.self_consistency(votes) == max(votes, key=votes.count)


def test_perplexity(llama):
    ids, mask = integers(1, 11, 2, 6), torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6])
    with torch.no_grad():
        out = llama(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100))
    assert evaluation.perplexity(out.logits, ids, mask) == pytest.approx(math.exp(out.loss), rel=1e-4)


def test_overlap():
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    for seed in range(4):
        hypotheses, references = overlap._corpus(seed, [(9, 10), (7, 6), (12, 12)])
        told = [" ".join(tokens) for tokens in hypotheses], [[" ".join(tokens) for tokens in references]]
        theirs = sacrebleu.corpus_bleu(*told, tokenize="none", smooth_method="none", force=True)
        assert overlap.bleu(hypotheses, references) == pytest.approx(theirs.score / 100, abs=1e-9)
        scorer = RougeScorer(["rougeL"])
        for mine, reference in zip(hypotheses, references, strict=True):
            found = scorer.score(" ".join(reference), " ".join(mine))["rougeL"].fmeasure
            assert overlap.rouge_l(mine, reference) == pytest.approx(found)


def test_calibration():
    from sklearn.calibration import calibration_curve

    confidences = uniform(1, 200).tolist()
    right = (uniform(2, 200) < torch.tensor(confidences) ** 2).tolist()
    accuracy, confidence = calibration_curve(right, confidences, n_bins=8)
    counts = np.histogram(confidences, 8, (0, 1))[0]
    theirs = float((np.abs(accuracy - confidence) * counts[counts > 0]).sum() / 200)
    assert evaluation.expected_calibration_error(confidences, right, 8) == pytest.approx(theirs)


def test_tests_intervals_and_agreement():
    from scipy.stats import binomtest
    from sklearn.metrics import cohen_kappa_score

    first, second = (uniform(1, 60) < 0.7).tolist(), (uniform(2, 60) < 0.5).tolist()
    b = sum(x and not y for x, y in zip(first, second, strict=True))
    c = sum(y and not x for x, y in zip(first, second, strict=True))
    assert statistics.mcnemar(first, second) == pytest.approx(binomtest(b, b + c).pvalue)
    assert statistics.cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    draws = integers(3, 60, 300, 60)
    gaps = np.array(first, float) - np.array(second, float)
    ours = statistics.bootstrap_interval(torch.tensor(first).float(), torch.tensor(second).float(), draws, 0.9)
    assert ours == pytest.approx(np.quantile(gaps[draws.numpy()].mean(1), [0.05, 0.95]).tolist(), abs=1e-6)


def test_minhash():
    from datasketch import MinHash

    rng = random.Random(0)
    coefficients = [(rng.randrange(1, 2**28), rng.randrange(2**28)) for _ in range(64)]
    a, b = (np.array(values, dtype=np.uint64) for values in zip(*coefficients, strict=True))
    first, second = set(range(0, 900, 7)), set(range(0, 900, 5))
    sketches = []
    for items in (first, second):
        sketch = MinHash(64, permutations=(a, b), hashfunc=lambda item: item, scheme="legacy")
        for item in items:
            sketch.update(item)
        sketches.append(sketch)
    # with numbers this small datasketch's large prime never acts, and what it keeps are the lowest 32 bits
    assert retrieval.minhash_similarity(first, second, coefficients, 2**32) == pytest.approx(
        sketches[0].jaccard(sketches[1])
    )


def test_bm25():
    import bm25s

    documents = retrieval._search_cases()[2].args[1]
    query = ["a", "b", "c"]
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.6, dtype="float64")
    index.index([list(map(str, d)) for d in documents], show_progress=False)
    theirs = index.get_scores(query)
    assert retrieval.bm25(query, documents, 1.2, 0.6) == pytest.approx(theirs.tolist(), rel=1e-5)


def test_drift():
    from river.drift import ADWIN
    from scipy.stats import entropy

    old, new = normal(1, 300).tolist(), (normal(2, 300) + 0.4).tolist()
    edges = [-1.0, -0.3, 0.3, 1.0]
    p, q = (np.bincount(np.digitize(v, edges), minlength=5) / 300 for v in (old, new))
    assert drift.population_stability_index(old, new, edges) == pytest.approx(entropy(p, q) + entropy(q, p))

    def river_cuts(stream):
        detector = ADWIN(delta=0.05, clock=1)
        return sum(detector.update(value) or detector.drift_detected for value in stream)

    rng = random.Random(1)
    quiet = [float(rng.random() < 0.5) for _ in range(150)]
    moved = [float(rng.random() < 0.1) for _ in range(80)] + [float(rng.random() < 0.9) for _ in range(80)]
    assert not river_cuts(quiet)
    assert drift.adwin_shrink(quiet, 0.05) == quiet
    assert river_cuts(moved)
    kept = drift.adwin_shrink(moved, 0.05)
    assert kept == moved[-len(kept) :] and 60 < len(kept) < 130


def test_serving():
    table, free, length, seen = [], list(range(9, 0, -1)), 0, []
    for new in (3, 1, 4, 9):
        slots, table, free = caches.paged_slots(table, length, new, 4, free)
        length, seen = length + new, seen + slots
    assert len(set(seen)) == length == 17 and len(table) == 5
    store = torch.zeros(40)
    store[seen] = torch.arange(17.0)
    assert torch.equal(store.view(-1, 4)[table].flatten()[:17], torch.arange(17.0))  # as a kernel reads it
    # DeepSeek-V2: 512 + 64 numbers for a token and a layer, where 128 heads of 128 would keep 32,768
    assert caches.mla_cache_bytes(1, 1, 512, 64, 128, 128, 2) == (1152, 65536)


def test_every_drill_is_compared_here():
    source = open(__file__, encoding="utf-8").read()
    symbols = {"kv_cache": "KVCache", "ece": "expected_calibration_error", "psi": "population_stability_index"}
    assert [name for name in names() if f".{symbols.get(name, name)}(" not in source] == []
