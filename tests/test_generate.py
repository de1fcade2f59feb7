"""Generation: greedy as transformers.generate, sampling as its distribution, and every back end the same."""

from __future__ import annotations

import copy
import os
import signal
import threading
import time

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from course_utils.models import generate as generate_module
from course_utils.models.convert import from_llama, to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.decoding import DecoderBackend, FusedBackend, TransformersBackend, make_backend
from course_utils.models.generate import generate, sample_token, warp_logits

SMALL = DecoderConfig(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
STOPS = (1, 7, 20, 33)


def lively(seed: int = 0, config: DecoderConfig = SMALL) -> Decoder:
    model = Decoder(config, seed=seed).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
            else:
                parameter.add_(torch.linspace(-0.5, 0.5, len(parameter)) * (1 + len(name) % 3))
    return model


def gpt2() -> GPT2LMHeadModel:
    """A transformers model of another family: learned positions, so that wrong position ids show."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=61, n_positions=64, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)
    return GPT2LMHeadModel(config).eval()


def some_prompts(rows: int = 12, shortest: int = 1, longest: int = 15) -> list[list[int]]:
    generator = torch.Generator().manual_seed(4)
    sizes = torch.linspace(shortest, longest, rows).long().tolist()
    return [torch.randint(2, 61, (size,), generator=generator).tolist() for size in sizes]


def padded(prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, prompts))
    input_ids = torch.tensor([[0] * (width - len(row)) + row for row in prompts])
    return input_ids, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])


def theirs(model: nn.Module, prompts: list[list[int]], steps: int, stops: tuple[int, ...]) -> torch.Tensor:
    input_ids, mask = padded(prompts)
    output = model.generate(
        input_ids,
        attention_mask=mask,
        max_new_tokens=steps,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=list(stops) or None,
    )
    return output[:, input_ids.shape[1] :]


def readers(model: Decoder) -> dict[str, object]:
    llama = to_llama(model)
    return {
        "fused": lambda _, length, quick: FusedBackend(model, length, quick),
        "decoder": lambda _, length, quick: DecoderBackend(model, length),
        "transformers": lambda _, length, quick: TransformersBackend(llama),
    }


@pytest.fixture(params=["fused", "decoder", "transformers"])
def model(request, monkeypatch):
    """One decoder, read in each of the three ways."""
    model = lively()
    monkeypatch.setattr(generate_module, "make_backend", readers(model)[request.param])
    return model


@pytest.mark.parametrize("stops", [(), STOPS], ids=["to the end", "with stop tokens"])
@pytest.mark.parametrize("prompts", [some_prompts(), some_prompts(6, 9, 9)], ids=["padded", "equal lengths"])
def test_greedy_equals_transformers(model, prompts, stops):
    expected = theirs(to_llama(model), prompts, 24, stops)
    out = generate(model, prompts, 24, stop_ids=stops)
    assert torch.equal(out.tokens, expected)
    for row, length, stopped in zip(expected.tolist(), out.lengths.tolist(), out.stopped.tolist(), strict=True):
        first = next((i for i, token in enumerate(row) if token in stops), None)
        assert stopped == (first is not None)
        assert length == (first + 1 if stopped else 24)
    if stops:
        assert out.stopped.any() and out.lengths.unique().numel() > 2, "this test must see rows of different lengths"


@pytest.mark.parametrize("stops", [(), STOPS], ids=["to the end", "with stop tokens"])
def test_other_families_of_transformers(stops):
    model = gpt2()
    assert torch.equal(
        generate(model, some_prompts(), 24, stop_ids=stops).tokens, theirs(model, some_prompts(), 24, stops)
    )


@pytest.mark.parametrize("key_heads", [1, 4])
def test_heads_of_any_grouping(key_heads):
    config = DecoderConfig(**{**vars(SMALL), "num_key_value_heads": key_heads, "tie_word_embeddings": False})
    model = lively(1, config)
    assert torch.equal(generate(model, some_prompts(), 16).tokens, theirs(to_llama(model), some_prompts(), 16, (1,)))


def test_a_row_does_not_depend_on_its_neighbours(model):
    prompts = some_prompts()
    together = generate(model, prompts, 20, temperature=1.0, stop_ids=STOPS, return_logprobs=True)
    for i in (0, 5):  # the same place in the batch, other neighbours
        others = some_prompts(12, 2, 7)
        others[i] = prompts[i]
        apart = generate(model, others, 20, temperature=1.0, stop_ids=STOPS, return_logprobs=True)
        n = together.lengths[i]
        assert apart.lengths[i] == n and torch.equal(apart.tokens[i, :n], together.tokens[i, :n])
        torch.testing.assert_close(apart.logprobs[i, :n], together.logprobs[i, :n], atol=1e-4, rtol=1e-4)


def test_repeated_prompts_are_read_once_and_sampled_apart(model, monkeypatch):
    seen = []
    make = generate_module.make_backend

    def watch(asked, length, quick):
        reader = make(asked, length, quick)
        prefill = reader.prefill
        reader.prefill = lambda input_ids, mask: seen.append(len(input_ids)) or prefill(input_ids, mask)
        return reader

    monkeypatch.setattr(generate_module, "make_backend", watch)
    a, b = [5, 9, 11], [4, 2]
    out = generate(model, [a, b, a, a], 12, temperature=1.0, stop_ids=())
    assert seen == [2]
    assert not torch.equal(out.tokens[0], out.tokens[2])
    greedy = generate(model, [a, b, a, a], 12, stop_ids=()).tokens
    assert torch.equal(greedy[0], greedy[2]) and torch.equal(
        greedy[:2], generate(model, [a, b], 12, stop_ids=()).tokens
    )


def test_logprobs_are_the_models_own(model):
    prompts = some_prompts()
    out = generate(
        model, prompts, 16, temperature=0.7, top_k=20, top_p=0.9, stop_ids=STOPS, seed=3, return_logprobs=True
    )
    for i, prompt in enumerate(prompts):
        n = int(out.lengths[i])
        row = torch.tensor([prompt + out.tokens[i, :n].tolist()])
        with torch.no_grad():
            whole = model(row).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        expected = whole.gather(1, out.tokens[i, :n, None])[:, 0]
        torch.testing.assert_close(out.logprobs[i, :n], expected, atol=1e-4, rtol=1e-4)
        assert (out.logprobs[i, n:] == 0).all() and (out.tokens[i, n:] == 0).all()
    assert generate(model, prompts, 2).logprobs is None


def test_rows_that_are_drawn_together_do_not_matter(monkeypatch):
    model = lively()
    options = {"temperature": 1.3, "top_k": 9, "top_p": 0.9, "return_logprobs": True}
    expected = generate(model, some_prompts(), 12, **options)
    monkeypatch.setattr(generate_module, "CACHED", 3)
    found = generate(model, some_prompts(), 12, **options)
    assert torch.equal(found.tokens, expected.tokens) and torch.equal(found.logprobs, expected.logprobs)


@pytest.mark.slow
def test_seeds(model):
    def run(seed, **options):
        return generate(model, some_prompts(), 16, temperature=1.0, seed=seed, **options).tokens

    state = torch.get_rng_state()
    assert torch.equal(run(1), run(1)) and not torch.equal(run(1), run(2))
    assert torch.equal(run(torch.Generator().manual_seed(1)), run(1))
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(run(generator), run(generator)), "a generator moves on from call to call"
    assert torch.equal(torch.get_rng_state(), state), "the global random state must be left alone"


WARPERS = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.7, "top_k": 5},
    {"temperature": 1.0, "top_p": 0.6},
    {"temperature": 1.3, "top_k": 9, "top_p": 0.8},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 1.0, "top_p": 0.01},
    {"temperature": 1.0, "top_k": 500, "top_p": 1.0},
]


def transformers_warp(logits: torch.Tensor, temperature: float, top_k: int | None = None, top_p: float | None = None):
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k is not None:
        scores = TopKLogitsWarper(top_k)(None, scores)
    return TopPLogitsWarper(top_p)(None, scores) if top_p is not None else scores


@pytest.mark.parametrize("settings", WARPERS, ids=str)
def test_warped_logits_equal_transformers(settings):
    logits = torch.randn(50, 61, generator=torch.Generator().manual_seed(0)) * 3
    if "top_p" not in settings:  # on ties top-p keeps all of the equally likely, transformers some
        logits[:, 10:14] = logits[:, 10:11]
    torch.testing.assert_close(warp_logits(logits, **settings), transformers_warp(logits, **settings), rtol=0, atol=0)


def test_top_p_keeps_all_of_the_equally_likely():
    logits = torch.tensor([[0.5, 0.2, 0.2, 0.1]]).log()
    assert warp_logits(logits, top_p=0.6).isfinite().tolist() == [[True, True, True, False]]
    assert warp_logits(torch.zeros(1, 4), top_p=0.1).isfinite().all()
    assert warp_logits(logits, top_p=0.4).isfinite().tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("settings", WARPERS, ids=str)
def test_sampled_distribution_equals_transformers(model, settings):
    """Chi-square over 6,000 continuations by two tokens: their joint distribution against the warped logits'."""
    prompt, draws = [5, 9, 30], 6_000
    tokens = generate(model, [prompt] * draws, 2, stop_ids=(), seed=11, **settings).tokens
    with torch.no_grad():
        first = transformers_warp(model(torch.tensor([prompt])).logits[:, -1], **settings).softmax(-1)[0]
        every = torch.tensor([[*prompt, token] for token in range(SMALL.vocab_size)])
        second = transformers_warp(model(every).logits[:, -1], **settings).softmax(-1)
    expected = (first[:, None] * second).double().flatten() * draws
    counts = torch.bincount(tokens[:, 0] * SMALL.vocab_size + tokens[:, 1], minlength=len(expected)).double()
    assert (counts[expected == 0] == 0).all(), "a token was drawn that the settings forbid"
    rare = expected < 8  # together in one cell, as the chi-square approximation asks for
    cells = torch.cat((expected[~rare], expected[rare].sum()[None]))
    seen = torch.cat((counts[~rare], counts[rare].sum()[None]))
    cells, seen = cells[cells > 0], seen[cells > 0]
    statistic = ((seen - cells).square() / cells).sum().item()
    freedom = (len(cells) - 1) / 2
    p_value = torch.special.gammaincc(torch.tensor(freedom), torch.tensor(statistic / 2)) if freedom else 1.0
    assert p_value > 1e-3


def test_draw_inverts_the_distribution_function():
    logits = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0]).log().expand(6, 5)
    uniform = torch.tensor([1e-9, 0.2499, 0.2501, 0.5, 0.9999, 1.0])
    assert sample_token(logits, uniform).tolist() == [1, 1, 3, 3, 3, 3]


def test_the_quickest_reader_that_is_exact_is_taken():
    model = lively()
    llama = to_llama(model)
    assert type(make_backend(model, 8)) is FusedBackend
    assert type(make_backend(torch.compile(model, backend="eager"), 8)) is FusedBackend
    assert type(make_backend(copy.deepcopy(model).to(torch.bfloat16), 8)) is DecoderBackend
    assert type(make_backend(llama, 8)) is FusedBackend
    assert type(make_backend(gpt2(), 8)) is TransformersBackend
    llama.model.layers[0].self_attn.q_proj.register_forward_hook(lambda module, inputs, output: output * 2)
    assert type(make_backend(llama, 8)) is TransformersBackend


def test_a_llama_that_our_decoder_cannot_be_goes_through_transformers():
    llama = to_llama(lively())
    llama.config.attention_bias = True
    assert type(make_backend(llama, 8)) is TransformersBackend


def test_the_number_of_threads_neither_changes_nor_matters():
    model, threads = lively(), torch.get_num_threads()
    options = {"temperature": 1.0, "stop_ids": STOPS, "return_logprobs": True}
    out = generate(model, some_prompts(), 20, **options)
    assert torch.get_num_threads() == threads
    try:
        torch.set_num_threads(3)
        again = generate(model, some_prompts(), 20, **options)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again.tokens, out.tokens) and torch.equal(again.logprobs, out.logprobs)


def stop_button():
    os.kill(os.getpid(), signal.SIGINT)


def error_in_one_half():
    raise KeyboardInterrupt


@pytest.fixture
def the_stop_button_works():
    """A shell that starts the tests in the background has them ignore SIGINT, and Python leaves it at that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("the_stop_button_works")
@pytest.mark.parametrize("stop", [stop_button, error_in_one_half])
def test_a_stop_ends_both_halves(monkeypatch, stop):
    steps, counting = [], threading.Lock()

    class Interrupted(FusedBackend):
        def step(self, tokens):
            with counting:  # two halves count; without it both may see 6 and nobody 5
                steps.append(len(tokens))
                fifth = len(steps) == 5
            if fifth:
                stop()
            time.sleep(0.02)  # a step so long that the word can reach the other half between two of them
            return super().step(tokens)

    threads = torch.get_num_threads()
    monkeypatch.setattr("course_utils.models.halves.cores", lambda: 2)
    monkeypatch.setattr(generate_module, "make_backend", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(lively().train(), some_prompts(), 40, stop_ids=())
    assert len(steps) < 40, "the other half went on to the end"
    assert torch.get_num_threads() == threads


def test_one_core_draws_what_two_draw(monkeypatch):
    found = []
    for count in (1, 2):
        monkeypatch.setattr("course_utils.models.halves.cores", lambda count=count: count)
        found.append(generate(lively(), some_prompts(), 12, temperature=1.0, stop_ids=(), return_logprobs=True))
    one, two = found
    assert torch.equal(one.tokens, two.tokens) and torch.equal(one.logprobs, two.logprobs)


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 13])
def test_any_number_of_rows(rows):
    prompts = some_prompts(13)[:rows]
    assert torch.equal(generate(lively(), prompts, 10).tokens, theirs(to_llama(lively()), prompts, 10, (1,)))


class Adapter(nn.Module):
    """Low-rank change beside a frozen matrix, as a later chapter puts it into the decoder."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        torch.manual_seed(1)
        self.change = nn.Linear(base.in_features, base.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 0.5 * self.change(x)


def test_replaced_layers_are_used():
    plain = lively()
    adapted = copy.deepcopy(plain)
    for block in adapted.model.layers:
        block.self_attn.q_proj = Adapter(block.self_attn.q_proj)
    merged = copy.deepcopy(plain)
    with torch.no_grad():
        for block, source in zip(merged.model.layers, adapted.model.layers, strict=True):
            block.self_attn.q_proj.weight += 0.5 * source.self_attn.q_proj.change.weight
    tokens = generate(adapted, some_prompts(), 16).tokens
    assert torch.equal(tokens, generate(merged, some_prompts(), 16).tokens)
    assert not torch.equal(tokens, generate(plain, some_prompts(), 16).tokens)


def test_a_changed_weight_is_seen_by_the_next_call():
    for model in (lively(), to_llama(lively())):
        before = generate(model, some_prompts(), 8).tokens
        with torch.no_grad():
            model.model.layers[0].mlp.down_proj.weight.neg_()
        assert not torch.equal(generate(model, some_prompts(), 8).tokens, before)


def test_the_model_is_left_as_it_was_and_can_be_trained_on_the_result():
    for model in (lively().train(), to_llama(lively()).train(), gpt2().train()):
        frozen = next(module for module in model.modules() if isinstance(module, nn.Embedding))
        frozen.eval()
        weights = copy.deepcopy(model.state_dict())
        out = generate(model, some_prompts(), 6, temperature=1.0, return_logprobs=True)
        assert model.training and not frozen.training
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        model(out.tokens).logits.mean().backward()  # a tensor of inference mode would refuse
        (out.logprobs * next(model.parameters()).sum()).sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_dropout_is_off():
    model = gpt2()
    expected = generate(model, some_prompts(), 8).tokens
    assert torch.equal(generate(model.train(), some_prompts(), 8).tokens, expected)


def test_half_precision_and_tensor_prompts(model):
    input_ids = torch.tensor(some_prompts(3, 5, 5))
    assert torch.equal(generate(model, input_ids, 5).tokens, generate(model, input_ids.tolist(), 5).tokens)
    out = generate(copy.deepcopy(model).to(torch.bfloat16), input_ids, 5, return_logprobs=True)
    assert out.tokens.dtype == torch.int64 and out.logprobs.dtype == torch.float32


def test_all_rows_stopping_early_ends_the_call(model):
    every = tuple(range(SMALL.vocab_size))
    out = generate(model, some_prompts(), 20, stop_ids=every)
    assert out.tokens.shape == (12, 1) and out.lengths.tolist() == [1] * 12 and out.stopped.all()


def test_prompts_that_fill_the_context(model):
    prompts = [list(range(2, 42)), [5]]
    out = generate(model, prompts, 24, stop_ids=())
    assert torch.equal(out.tokens, theirs(to_llama(model), prompts, 24, ()))


def test_texts_end_before_the_stop_token():
    class Tokenizer:
        def batch_decode(self, rows, skip_special_tokens):
            assert skip_special_tokens
            return [" ".join(str(token) for token in row if token > 1) for row in rows]

    out = generate_module.Generation(
        torch.tensor([[5, 6, 1, 0], [7, 8, 9, 10]]), torch.tensor([3, 4]), torch.tensor([True, False])
    )
    assert out.texts(Tokenizer()) == ["5 6", "7 8 9 10"]


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ([], {}, "prompts is empty"),
        ([[5], []], {}, "prompt 1 is empty"),
        (torch.zeros(0, 3, dtype=torch.long), {}, "prompts is empty"),
        (torch.zeros(3), {}, r"shape \(3,\)"),
        ([5, 6], {}, "list of lists"),
        ("text", {}, "list of lists"),
        (["text"], {}, "list of lists"),
        ([[5], [5, 61]], {}, "prompt 1 holds token 61.*0 to 60"),
        ([[-1]], {}, "token -1"),
        ([[5], [5] * 41], {}, r"prompt 1 has 41 tokens.*max_new_tokens = 24.*context of 64.*to 40 tokens.*at most 23"),
        ([[5]], {"max_new_tokens": 64}, "max_new_tokens = 64"),
        ([[5]], {"max_new_tokens": 0}, "max_new_tokens is 0"),
        ([[5]], {"temperature": -1.0}, "temperature is -1.0"),
        ([[5]], {"temperature": float("nan")}, "temperature is nan"),
        ([[5]], {"temperature": 1.0, "top_p": 0.0}, "top_p is 0.0"),
        ([[5]], {"temperature": 1.0, "top_p": 1.5}, "top_p is 1.5"),
        ([[5]], {"temperature": 1.0, "top_k": 0}, "top_k is 0"),
    ],
)
def test_bad_input_is_named(prompts, options, words):
    with pytest.raises(ValueError, match=words):
        generate(lively(), prompts, **options)


def spoiled(model: nn.Module, value: float, place: int | None = None):
    """A hook that puts ``value`` into the logits of every next token but the first: into all, or into one token's."""
    calls = []

    def hook(module, inputs, output):
        calls.append(1)
        if len(calls) > 1:
            output.logits[..., slice(None) if place is None else place] = value
        return output

    return model.register_forward_hook(hook)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"temperature": 0.7, "top_k": 5, "top_p": 0.9}], ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("reader", ["fused", "decoder", "transformers"])
def test_weights_of_a_run_that_diverged_are_refused(reader, value, options, monkeypatch):
    model = lively().train()
    with torch.no_grad():
        model.model.norm.weight.fill_(value)
    monkeypatch.setattr(generate_module, "make_backend", readers(model)[reader])
    with pytest.raises(FloatingPointError, match=r"not finite .* in \d+ of \d+ rows at new token 1,.*diverged"):
        generate(model, some_prompts(), 8, return_logprobs=True, **options)
    assert model.training


@pytest.mark.parametrize("make", [lively, gpt2], ids=["decoder", "transformers"])
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}], ids=str)
def test_only_what_no_token_can_be_chosen_from_is_refused(make, options):
    model = make()
    for value, place in ((float("nan"), None), (float("nan"), 3), (float("inf"), 3), (float("-inf"), None)):
        handle = spoiled(model, value, place)
        with pytest.raises(FloatingPointError, match="in 12 of 12 rows at new token 2"):
            generate(model, some_prompts(), 6, stop_ids=(), return_logprobs=True, **options)
        handle.remove()
    handle = spoiled(model, float("-inf"), 3)  # a forbidden token
    out = generate(model, some_prompts(), 6, stop_ids=(), return_logprobs=True, **options)
    handle.remove()
    assert (out.tokens[:, 1:] != 3).all() and out.logprobs.isfinite().all()


def test_what_a_stopped_row_says_is_not_looked_at():
    """It stays in the batch until a quarter has stopped; nobody reads what it would say."""
    model = lively()

    def hook(module, inputs, output):
        output.logits[0, -1] = float("nan") if handle.steps else -1.0
        output.logits[0, -1, 1] = float("nan") if handle.steps else 100.0
        handle.steps += 1
        return output

    handle = model.register_forward_hook(hook)
    handle.steps = 0
    out = generate(model, some_prompts(12, 4, 4), 4)
    assert out.lengths[0] == 1 and handle.steps == 4


def test_a_model_without_a_cache_is_refused():
    class Classifier(nn.Module):
        config = SMALL

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, input_ids):
            return input_ids

    with pytest.raises(TypeError, match=r"Classifier.*past_key_values"):
        generate(Classifier(), [[5]])


def test_from_llama_shares_without_copying_in_generate():
    llama = to_llama(lively())
    shared = from_llama(llama, share=True)
    assert shared.model.embed_tokens.weight.data_ptr() == llama.model.embed_tokens.weight.data_ptr()
