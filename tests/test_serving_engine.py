"""The engine of chapter 19: whatever is shared, paused or guessed, a request gets the same tokens."""

from __future__ import annotations

import json
import random

import pytest
import torch
from scipy.stats import chisquare

from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.generate import generate
from course_utils.serving.arrivals import poisson_times, serve_arrivals
from course_utils.serving.cache_formats import QuantizedCache, WindowCache, allocated_bytes, kv_bytes
from course_utils.serving.engine import Engine, Request, ServingError, run_all
from course_utils.serving.grammar import Automaton, SchemaError, SchemaMask
from course_utils.serving.paged_cache import BlockPool, prefix_digest
from course_utils.serving.roofline import linear_cost, roofline_seconds
from course_utils.serving.scheduler import plan_pass
from course_utils.serving.speculative import ModelDrafter, PromptLookup, speculate, verify
from course_utils.text.tokenizer import train_tokenizer

CONFIG = DecoderConfig(
    vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, max_position_embeddings=128
)


def decoder(seed: int = 0, **changes) -> Decoder:
    """A model with opinions: its logits are not all alike."""
    model = Decoder(DecoderConfig(**{**CONFIG.__dict__, **changes}), seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.dim() > 1 else 1)
    return model


def prompts(count: int = 24, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    shared = [draw.randrange(2, 61) for _ in range(40)]
    rows = [[draw.randrange(2, 61) for _ in range(draw.randrange(1, 50))] for _ in range(count)]
    return [shared[: draw.choice([0, 17, 40])] + row for row in rows]


def plain(model: Decoder, rows: list[list[int]], new: int, stop: int = 1) -> list[list[int]]:
    out = generate(model, rows, new, stop_ids=(stop,))
    found = [row[:n].tolist() for row, n in zip(out.tokens, out.lengths.tolist(), strict=True)]
    return [row[:-1] if row[-1] == stop else row for row in found]


SETTINGS = {
    "as it comes": {},
    "blocks run out": {"blocks": 20, "block_size": 8, "prefill_chunk": 24},
    "blocks of one token": {"blocks": 150, "block_size": 1, "prefill_chunk": 7},
    "one at a time": {"max_running": 1},
    "prompts in single tokens": {"prefill_chunk": 1},
    "no prefix cache": {"prefix_cache": False, "blocks": 30, "block_size": 4},
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "blocks run out" else pytest.mark.slow) for n in SETTINGS]
)
def test_greedy_answers_equal_the_plain_loop(name):
    model, rows = decoder(), prompts()
    engine = Engine(model, **SETTINGS[name])
    assert run_all(engine, [Request(row, 24, stop_ids=frozenset({1})) for row in rows]) == plain(model, rows, 24)
    assert engine.pool.free == len(engine.pool.references), "every block has been given back"
    assert not any(engine.pool.references)


def test_the_cases_are_what_they_say():
    model, rows = decoder(), prompts()
    engine = Engine(model, **SETTINGS["blocks run out"])
    run_all(engine, [Request(row, 24) for row in rows])
    assert engine.stats().preemptions > 0
    assert engine.stats().prefix_hits > 0


def test_a_model_that_cannot_be_fused_is_read_by_its_modules():
    from course_utils.models.quantization import QuantConfig, quantize_model

    model, rows = quantize_model(decoder(), QuantConfig("nf4")), prompts(6)
    engine = Engine(model)
    assert engine.reader.fused is None
    assert run_all(engine, [Request(row, 8) for row in rows]) == plain(model, rows, 8, stop=-1)


def test_prefix_hits_count_tokens_and_a_prompt_is_never_wholly_skipped():
    model = decoder()
    engine = Engine(model, block_size=8)
    row = prompts(1, seed=3)[0][:5] + list(range(2, 29))  # 32 tokens: exactly four blocks
    first, again = (run_all(engine, [Request(row[:32], 4)]) for _ in range(2))
    assert first == again
    assert engine.stats().prefix_hits == 24


def test_equal_blocks_behind_different_prefixes_are_not_shared():
    block = list(range(2, 10))
    assert prefix_digest(b"", block) != prefix_digest(prefix_digest(b"", block), block)


def test_draws_do_not_depend_on_the_neighbours():
    model, rows = decoder(), prompts(9)
    requests = [Request(row, 12, temperature=1.0, top_p=0.9, seed=i) for i, row in enumerate(rows)]
    alone = [run_all(Engine(model), [request])[0] for request in requests]
    assert run_all(Engine(model, blocks=24, block_size=8), requests) == alone


@pytest.mark.parametrize("name", ["blocks run out", pytest.param("blocks of one token", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["lookup", pytest.param("model", marks=pytest.mark.slow)])
def test_guesses_change_no_answer_and_no_draw(name, kind):
    model, rows = decoder(), prompts(12)
    other = decoder(seed=3)
    drafter = (lambda: PromptLookup(61, 1)) if kind == "lookup" else (lambda: ModelDrafter(other, model))
    requests = [
        Request(row, 20, temperature=i % 3 / 2, top_p=0.9, seed=i, stop_ids=frozenset({1}))
        for i, row in enumerate(rows)
    ]
    plainly, guessing = (Engine(model, **SETTINGS[name], **more) for more in ({}, {"drafter": drafter, "guesses": 3}))
    expected = run_all(plainly, requests)
    assert run_all(guessing, requests) == expected
    stats = guessing.stats()
    assert 0 < stats.accepted < stats.guessed
    assert guessing.passes < plainly.passes
    assert stats.tokens == sum(map(len, expected))
    assert stats.free_blocks == SETTINGS[name]["blocks"]


def test_a_drafter_that_knows_the_model_saves_nearly_all_passes():
    model = decoder()
    engine = Engine(model, drafter=lambda: ModelDrafter(model, model), guesses=4)
    assert run_all(engine, [Request([5, 9, 30], 20)]) == plain(model, [[5, 9, 30]], 20, stop=-1)
    assert engine.passes == 5  # one token behind the prompt, then five a pass
    assert engine.stats().accepted == engine.stats().guessed == 15


@pytest.mark.parametrize("bits", [8, 4])
def test_rounded_pages_answer_as_a_rounded_cache_does(bits):
    model, rows, new = decoder(), prompts(5), 6
    expected = []
    for row in rows:
        ids, cache = list(row), QuantizedCache(model.config, 1, 128, bits)
        with torch.no_grad():
            for _ in range(new):
                logits = model(torch.tensor([ids[cache.length :]]), cache=cache).logits
                ids.append(int(logits[0, -1].argmax()))
        expected.append(ids[len(row) :])
    engine = Engine(model, blocks=64, cache_bits=bits)
    assert run_all(engine, [Request(row, new) for row in rows]) == expected
    size = CONFIG.head_dim
    assert engine.bytes / Engine(model, blocks=64).bytes == (size * bits / 8 + 4) / (4 * size)


def test_events_tell_reason_and_logprob():
    model, row = decoder(), [5, 9, 30]
    engine = Engine(model)
    number = engine.submit(Request(row, 3))
    events = [event for _ in range(3) for event in engine.step()]
    assert [event.finish_reason for event in events] == [None, None, "length"]
    expected = model(torch.tensor([row])).logits[0, -1].log_softmax(-1).detach()
    assert events[0].request_id == number
    assert events[0].logprob == pytest.approx(float(expected.max()), abs=1e-4)
    stop = events[1].token_id
    engine.submit(Request(row, 3, stop_ids=frozenset({stop})))
    ended = [event for _ in range(2) for event in engine.step()][-1]
    assert (ended.token_id, ended.finish_reason) == (None, "stop")
    assert engine.step() == []


def test_cancelling_frees_the_blocks_of_running_and_waiting_requests():
    engine = Engine(decoder(), blocks=16, block_size=8, max_running=1, prefix_cache=False)
    running, waiting = (engine.submit(Request([3, 4, 5], 20)) for _ in range(2))
    engine.step()
    engine.cancel(running)
    engine.cancel(waiting)
    engine.cancel(99)
    assert {(e.request_id, e.finish_reason) for e in engine.step()} == {(running, "cancelled"), (waiting, "cancelled")}
    assert engine.stats().free_blocks == 16
    assert engine.stats().running == engine.stats().waiting == 0


def test_the_engine_leaves_the_models_mode_and_threads_alone():
    model, threads = decoder().train(), torch.get_num_threads()
    run_all(Engine(model), [Request([3, 4], 3)])
    assert model.training
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request([]), "the prompt is empty"),
        (Request([3, 61]), "token 61; the model knows the ids 0 to 60"),
        (Request([3], 0), "max_new_tokens is 0"),
        (Request([3] * 100, 64), "are 164, and the model's context has 128"),
        (Request([3] * 20, 40), "need 8 blocks of 8, and the engine has 4"),
        (Request([3], temperature=-1.0), "temperature is -1.0"),
        (Request([3], top_p=0.0), "top_p is 0.0"),
    ],
)
def test_requests_that_cannot_be_served_are_refused_with_a_sentence(request_, sentence):
    engine = Engine(decoder(), blocks=4 if len(request_.prompt_ids) == 20 else 64, block_size=8)
    with pytest.raises(ServingError, match=sentence):
        engine.submit(request_)


def test_settings_and_models_are_checked():
    with pytest.raises(ServingError, match="cache_bits=3"):
        Engine(decoder(), cache_bits=3)
    with pytest.raises(ServingError, match="guesses=0"):
        Engine(decoder(), guesses=0)
    with pytest.raises(ServingError, match="block_size=0; it must be at least 1"):
        Engine(decoder(), block_size=0)
    with pytest.raises(ServingError, match="given Linear"):
        Engine(torch.nn.Linear(2, 2))


def test_logits_that_are_not_finite_are_named():
    model = decoder()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    engine = Engine(model)
    engine.submit(Request([3, 4], 2))
    with pytest.raises(FloatingPointError, match="not finite"):
        engine.step()


def test_blocks_have_holders():
    pool = BlockPool(3)
    a, b = pool.take(), pool.take()
    pool.share(a)
    pool.release(a)
    assert (pool.references[a], pool.free) == (1, 1)
    pool.remember(a, b"prefix")
    pool.release(a)
    assert pool.free == 2
    assert pool.block_of[b"prefix"] == a  # free, and still known
    pool.share(a)
    pool.release(a)
    pool.release(b)
    assert {pool.take() for _ in range(3)} == {0, 1, 2}
    assert not pool.block_of
    with pytest.raises(ServingError, match="all 3 blocks"):
        pool.take()
    for block in range(3):
        pool.release(block)
    with pytest.raises(ServingError, match="nobody holds it"):
        pool.release(0)
    with pytest.raises(ServingError, match="nobody holds it"):
        pool.share(0)


def test_one_decision_of_the_scheduler():
    assert plan_pass([1, 30, 1], [(2, 20), (1, 9)], 2, 8, 16) == (1, [1, 16, 1, 0])
    assert plan_pass([], [(3, 40)], 2, 8, 16) == (0, [])
    assert plan_pass([1], [(1, 5), (1, 5)], 9, 2, 16) == (1, [1, 5])
    assert plan_pass([], [(9, 5), (1, 5)], 4, 8, 16) == (0, []), "nobody overtakes"


def test_verify_by_hand():
    p = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0], [0.1, 0.1, 0.8]])
    q = torch.tensor([[0.25, 0.5, 0.25], [0.8, 0.1, 0.1]])
    kept, following = verify(p, q, [1, 0], [0.9, 0.24])  # p/q: 1, then 0.25
    assert kept == 2
    assert following.tolist() == pytest.approx([0.1, 0.1, 0.8])
    kept, following = verify(p, q, [1, 0], [0.9, 0.26])
    assert kept == 1
    assert following.tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert verify(p, q, [2, 0], [0.0, 0.0])[0] == 0, "what the model never says is never kept"


@pytest.mark.slow
@pytest.mark.parametrize("drafter", ["a draft model", "the prompt"])
def test_speculation_keeps_the_distribution(drafter):
    """Two tokens, drawn 2,000 times: as often as the model's own probabilities say."""
    model = decoder(vocab_size=7)
    draft = ModelDrafter(decoder(seed=5, vocab_size=7), model) if drafter == "a draft model" else PromptLookup(7, 1)
    prompt, draws = [2, 3, 5, 2], 2_000
    counts = torch.zeros(7, 7)
    done = [speculate(model, draft, prompt, 2, temperature=1.0, stop_ids=(), seed=seed) for seed in range(draws)]
    for one in done:
        counts[one.tokens[0], one.tokens[1]] += 1
    with torch.no_grad():
        first = model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
        second = model(torch.tensor([[*prompt, token] for token in range(7)])).logits[:, -1].softmax(-1)
    expected = (first[:, None] * second * draws).flatten()
    assert expected.min() > 3, "enough of each pair for the test"
    assert chisquare(counts.flatten().double(), expected.double() / expected.double().sum() * draws).pvalue > 1e-3
    assert 0 < sum(one.accepted for one in done) < sum(one.judged for one in done)


@pytest.mark.slow
@pytest.mark.parametrize("guesses", [1, 3, 8])
def test_greedy_speculation_equals_the_plain_loop(guesses):
    model, rows = decoder(), prompts(8)
    expected = generate(model, rows, 20, stop_ids=(7,))
    expected = [row[:n].tolist() for row, n in zip(expected.tokens, expected.lengths.tolist(), strict=True)]
    for drafter in (ModelDrafter(decoder(seed=3), model), ModelDrafter(model, model), PromptLookup(61, 1)):
        done = [speculate(model, drafter, row, 20, guesses=guesses, stop_ids=(7,)) for row in rows]
        assert [one.tokens for one in done] == expected
    assert speculate(model, ModelDrafter(model, model), rows[0], 20, guesses=guesses, stop_ids=()).share == 1.0


def test_speculation_refuses_what_cannot_work():
    with pytest.raises(ValueError, match="knows 7 tokens and the target 61"):
        ModelDrafter(decoder(vocab_size=7), decoder())
    with pytest.raises(ValueError, match="guesses is 0"):
        speculate(decoder(), PromptLookup(61), [3], guesses=0)


def test_smaller_caches():
    model, ids = decoder(), torch.randint(2, 61, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = model(ids).logits[:, -1]
        errors = []
        for bits in (8, 4):
            cache = QuantizedCache(model.config, 2, 30, bits)
            errors.append(float((model(ids, cache=cache).logits[:, -1] - exact).abs().max()))
        assert errors[0] < errors[1]
        assert errors[0] < 0.05 * float(exact.std())
        for window in (30, 8):
            cache = WindowCache(model.config, 2, window)
            for place in range(30):
                seen = model(ids[:, place : place + 1], cache=cache).logits[:, -1]
            assert torch.allclose(seen, exact, atol=1e-4) == (window == 30)
    with pytest.raises(ValueError, match="3 tokens at once"):
        model(ids[:, :3], cache=WindowCache(model.config, 2, 8))
    with pytest.raises(ValueError, match="bits is 3"):
        QuantizedCache(model.config, 2, 30, 3)


def test_a_window_is_what_a_masked_model_sees():
    """One layer with a window of 8 equals the model that reads the last 8 tokens at their own positions."""
    model = decoder(num_hidden_layers=1)
    ids = torch.randint(2, 61, (1, 20), generator=torch.Generator().manual_seed(1))
    cache = WindowCache(model.config, 1, 8)
    with torch.no_grad():
        for place in range(20):
            seen = model(ids[:, place : place + 1], cache=cache).logits[:, -1]
        expected = model(ids[:, 12:], position_ids=torch.arange(12, 20)).logits[:, -1]
    assert torch.allclose(seen, expected, atol=1e-4)


def test_bytes_by_formula_are_those_allocated():
    config = CONFIG
    sizes = (config.num_hidden_layers, config.num_key_value_heads, config.head_dim)
    assert kv_bytes(*sizes, 40, 4) == allocated_bytes(decoder().new_cache(1, 40))
    assert kv_bytes(*sizes, 40, 4, window=8) == allocated_bytes(WindowCache(config, 1, 8))
    assert kv_bytes(*sizes, 512 * 16, 4) == Engine(decoder()).bytes
    for bits in (4, 8):  # and 4 bytes of step and least number for each vector
        expected = kv_bytes(*sizes, 40, bits / 8 + 4 / config.head_dim)
        assert allocated_bytes(QuantizedCache(config, 1, 40, bits)) == expected


def test_the_roofline():
    assert linear_cost(1, 10, 20, 2) == (400, 460)
    assert roofline_seconds(1, 10, 20, 2, peak=1e3, bandwidth=1e1) == 46
    assert roofline_seconds(100, 10, 20, 2, peak=1e3, bandwidth=1e6) == 40


def test_arrivals():
    times = poisson_times(5.0, 2_000, seed=0)
    assert times == sorted(times)
    assert times[-1] / 2_000 == pytest.approx(0.2, rel=0.1)
    ticks = iter(range(10**6))
    requests = [Request([3, 4, 5], new) for new in (2, 6, 2, 2)]
    found = {}
    for static in (False, True):
        engine = Engine(decoder(), max_running=2)
        found[static] = serve_arrivals(engine, requests, [0, 0, 0, 50], static=static, clock=lambda: next(ticks))
        assert [len(timing.answer) for timing in found[static]] == [2, 6, 2, 2]
    assert found[False][2].first < found[True][2].first, "a place that is free is used at once"
    assert found[False][3].first == 1, "pauses are jumped over"
    assert found[False][1].per_token == 1


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(['{"name": "Mira Oakley", "age": 31}, the lamp is lit.'] * 4, vocab_size=300)


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 1, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
        "ratio": {"type": ["number", "null"]},
    },
    "required": ["name", "age"],
}


def accepts(schema, tokenizer, text: str) -> bool:
    """Whether the mask lets this text through, token by token, and then the end."""
    mask = SchemaMask(schema, tokenizer, [1])
    ids = tokenizer(text)["input_ids"]
    return all(mask.allowed(ids[:i])[token] for i, token in enumerate(ids)) and bool(mask.allowed(ids)[1])


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"name": "Mira", "age": 31}', True),
        ('{"name":"Mira","age":120,"tags":["a", "b"],"ratio":-0.5}', True),
        ('{"name": "a\\"b", "age": 1, "ratio": null}', True),
        ('{"age": 31, "name": "Mira"}', False),  # another order
        ('{"name": "Mira"}', False),
        ('{"name": "Mira", "age": 121}', False),
        ('{"name": "Mira Oakley", "age": 31}', False),  # eleven characters
        ('{"name": "Mira", "age": 31, "tags": []}', False),
        ('{"name": "Mira", "age": 31', False),
    ],
)
def test_schemas_by_example(tokenizer, text, fits):
    assert accepts(SCHEMA, tokenizer, text) is fits


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_model_draws_under_a_mask_is_json(tokenizer, seed):
    model = decoder(vocab_size=len(tokenizer))
    mask = SchemaMask(SCHEMA, tokenizer, [1])
    requests = [Request([3 + i], 100, 1.0, seed=seed, stop_ids=frozenset({1}), token_mask=mask) for i in range(5)]
    for ids in run_all(Engine(model), requests):
        value = json.loads(tokenizer.decode(ids))
        assert 1 <= value["age"] <= 120
        assert len(value["name"]) <= 8


def test_an_answer_without_end_token_ends_where_nothing_more_fits(tokenizer):
    mask = SchemaMask({"const": "lit"}, tokenizer)
    (ids,) = run_all(Engine(decoder(vocab_size=len(tokenizer))), [Request([5], 30, token_mask=mask)])
    assert json.loads(tokenizer.decode(ids)) == "lit"


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        (
            {"type": "string", "minLength": 5, "maxLength": 3},
            "no text can satisfy .* minLength 5 is above",
        ),
        ({"enum": []}, "no text can satisfy the schema: enum is empty"),
        ({"type": "object", "required": ["q"]}, "'q' is required and no property"),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 5, "maximum": 2}}, "required": ["a"]},
            r"minimum 5 is above maximum 2 at \$.a",
        ),
        ({"type": "string", "pattern": "a+"}, "'pattern', which is not supported"),
        ({"type": "strin"}, "type 'strin'"),
        ({"type": "array"}, "has no items"),
        ({"const": "ö"}, None),
        (True, "allows anything"),
        ("string", "a dictionary such as"),
    ],
)
def test_schemas_that_cannot_be_used_say_why(schema, sentence):
    if sentence is None:
        assert Automaton(schema)  # written as an escape
        return
    with pytest.raises(SchemaError, match=sentence):
        Automaton(schema)


def test_a_branch_that_nothing_satisfies_does_no_harm(tokenizer):
    schema = {"anyOf": [{"enum": []}, {"type": "boolean"}]}
    assert accepts(schema, tokenizer, "true")


def test_the_tokenizer_must_fit(tokenizer):
    with pytest.raises(SchemaError, match="do not belong together"):
        SchemaMask({"type": "null"}, tokenizer, vocab_size=61)
    mask = SchemaMask({"type": "null"}, tokenizer)
    with pytest.raises(SchemaError, match="does not allow it there"):
        mask.allowed(tokenizer("true")["input_ids"])
