"""What leaves the course is the same model there: folders, GGUF, CTranslate2, ONNX; and what fools such a test."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import pytest
import torch

from course_utils.models.convert import load_model, to_llama
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.lora import LoRAConfig, add_lora, lora_layers
from course_utils.models.quantization import QuantConfig, quantize_model, quantized_layers
from course_utils.serving import other_engines
from course_utils.serving.comparison import Ours, compare
from course_utils.serving.engine import ServingError
from course_utils.serving.export import (
    ExportError,
    check_release,
    course_licence,
    merged,
    read_quantized,
    write_quantized,
    write_release,
)
from course_utils.serving.gguf_file import interleave, plain_template, write_gguf
from course_utils.serving.onnx_file import write_onnx
from course_utils.serving.other_engines import CTranslate2, LlamaCpp, OnnxRuntime
from course_utils.text.chat import chat_prompt, encode_chats
from course_utils.text.tokenizer import encode_plain, train_tokenizer

QUESTIONS = ("Where does Mira live?", "It's 12 o'clock in 1987, isn't it?", "Grüße an 漢字 🙂!", "keeps  two   cats")
CARD = {"made": "2026-11-27", "seed": 3, "tokens": 1000, "recipe": {"steps": 5}, "figures": {"facts": 0.5}}

NO_WHEEL = "an extra whose compiled wheel some platforms lack"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([f"Mira number {n} lives in Amberhaven, isn't it? It's 19{n}." for n in range(40)], 320)


def decoder(tokenizer, tied: bool = True) -> Decoder:
    size = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "max_position_embeddings": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 50_000.0}
    made = Decoder(DecoderConfig(vocab_size=len(tokenizer), tie_word_embeddings=tied, **size, **heads), seed=1)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() == 2:
                weight *= 8  # answers that differ, and positions that matter
            else:
                weight += torch.linspace(-0.3, 0.3, len(weight))
    return made.eval()


@pytest.fixture(scope="module")
def model(tokenizer) -> Decoder:
    return decoder(tokenizer)


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [chat_prompt(tokenizer, question) for question in QUESTIONS]


@pytest.fixture(scope="module")
def folder(model, tokenizer, tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("release") / "isles", model, tokenizer, CARD)


@torch.no_grad()
def logits(model, ids) -> torch.Tensor:
    return model(torch.tensor([ids])).logits[0]


def off(engine, model, prompts) -> float:
    """The largest difference of a log-probability, behind whole prompts and their beginnings."""
    found = 0.0
    for prompt in prompts:
        for n in (1, 2, 8, len(prompt)):
            own = logits(model, prompt[:n])[-1].log_softmax(-1)
            found = max(found, (engine.logprobs(prompt[:n], len(own)) - own).abs().max().item())
    return found


# The folder


def test_a_release_is_read_back_equal_by_us_and_by_transformers(folder, model, prompts):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs_tokenizer = AutoTokenizer.from_pretrained(folder)
    ours = load_model(folder)
    for prompt, question in zip(prompts, QUESTIONS, strict=True):
        assert torch.equal(logits(ours, prompt), logits(model, prompt))
        torch.testing.assert_close(logits(theirs, prompt), logits(model, prompt), atol=1e-4, rtol=0)
        chat = [{"role": "user", "content": question}]
        assert theirs_tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) == prompt
    assert theirs.generation_config.eos_token_id == 1
    assert check_release(folder) == []


def test_a_release_says_what_it_is_and_under_which_licence(folder, model, tokenizer, tmp_path):
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n") and "| facts | 0.5 |" in card and "it is no source of facts" in card
    assert "MIT License" in (folder / "LICENSE").read_text() == course_licence()
    own = write_release(tmp_path / "own", model, tokenizer, {}, licence=("apache-2.0", "The text.\n"))
    assert "license: apache-2.0" in (own / "README.md").read_text() and (own / "LICENSE").read_text() == "The text.\n"
    with pytest.raises(ExportError, match="licence is empty"):
        write_release(tmp_path / "none", model, tokenizer, {}, licence=("mit", " "))
    assert not (tmp_path / "none").exists()


def test_adapters_and_quantized_layers_are_merged_and_the_model_stays_as_it_was(model, tokenizer, prompts):
    adapted = quantize_model(copy.deepcopy(model), QuantConfig("int8", block_size=32, double=False))
    add_lora(adapted, LoRAConfig(r=2))
    with torch.no_grad():
        for _, layer in lora_layers(adapted):
            for matrix in layer.lora_B.values():
                matrix.normal_(0, 0.05)
    plain = merged(adapted)
    assert not quantized_layers(plain) and not list(lora_layers(plain))
    assert quantized_layers(adapted) and list(lora_layers(adapted))
    for prompt in prompts:
        torch.testing.assert_close(logits(plain, prompt), logits(adapted, prompt), atol=2e-3, rtol=0)
        assert (logits(plain, prompt) - logits(model, prompt)).abs().max() > 0.1
    with pytest.raises(ExportError, match="LlamaForCausalLM.*from_llama"):
        merged(to_llama(model))


@pytest.mark.parametrize(
    "config", [QuantConfig(), QuantConfig("int8", 32, False), QuantConfig("int4", 64, False)], ids=str
)
@pytest.mark.parametrize("tied", [True, False])
def test_a_quantized_model_comes_back_bit_for_bit(config, tied, tokenizer, prompts, tmp_path):
    small = quantize_model(decoder(tokenizer, tied), config)
    back = read_quantized(write_quantized(tmp_path / "small", small, tokenizer, CARD))
    for prompt in prompts:
        assert torch.equal(logits(back, prompt), logits(small, prompt))
    plain = write_release(tmp_path / "plain", small, tokenizer, CARD) / "model.safetensors"
    assert (tmp_path / "small" / "model.safetensors").stat().st_size < plain.stat().st_size
    with pytest.raises(ValueError, match="quantization_config"):  # nobody takes the codes for weights
        load_model(tmp_path / "small")


def test_what_is_no_quantized_model_is_refused(model, folder, tokenizer, tmp_path):
    with pytest.raises(ExportError, match="quantize_model"):
        write_quantized(tmp_path / "x", model, tokenizer, CARD)
    for place in (folder, tmp_path / "nowhere"):
        with pytest.raises(ExportError, match="no quantized model"):
            read_quantized(place)
    small = write_quantized(tmp_path / "small", quantize_model(copy.deepcopy(model)), tokenizer, CARD)
    weights = small / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ExportError, match="not whole"):
        read_quantized(small)


def damaged(folder, tmp_path, change):
    import shutil

    copy_ = tmp_path / "damaged"
    shutil.copytree(folder, copy_)
    change(copy_)
    return check_release(copy_)


def edit(name: str, **values):
    def change(folder) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **values}))

    return change


def half(folder) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


DAMAGE = {
    "half a model": (half, "weights and config.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no licence": (lambda folder: (folder / "LICENSE").unlink(), "LICENSE is missing"),
    "no template": (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
    "no end": (edit("generation_config.json", eos_token_id=None), "no end token"),
    "layers": (edit("config.json", num_hidden_layers=3), "belong to different models"),
    "template without a turn": (
        lambda folder: (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}"),
        "no generation prompt",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_folder_that_others_would_stumble_over_is_told(what, folder, tmp_path):
    change, words = DAMAGE[what]
    assert any(words in found for found in damaged(folder, tmp_path, change))


def test_a_tokenizer_of_another_model_is_told(folder, tmp_path):
    other = train_tokenizer([f"quite other words, {n}, of a large vocabulary" for n in range(90)], 400)
    found = damaged(folder, tmp_path, lambda place: _replace_tokenizer(place, other))
    assert found and ("of another model?" in found[0]) == (len(other) > 320)


def _replace_tokenizer(folder, tokenizer) -> None:
    for n in range(400 - len(tokenizer)):
        tokenizer.add_tokens([f"<{n}>"])
    tokenizer.save_pretrained(folder)


# GGUF and llama.cpp


@pytest.fixture(scope="module")
def llama_cpp(model, tokenizer, tmp_path_factory):
    pytest.importorskip("xllamacpp", reason=NO_WHEEL)
    path = write_gguf(model, tokenizer, tmp_path_factory.mktemp("gguf") / "isles.gguf")
    return LlamaCpp(path, context=128, slots=4)


@pytest.mark.slow
def test_llama_cpp_computes_the_same(llama_cpp, model, tokenizer, prompts):
    assert off(llama_cpp, model, prompts) < 1e-3
    texts = llama_cpp.answers(prompts, 8)
    assert [text.strip() for text in texts] == [text.strip() for text in Ours(model, tokenizer).answers(prompts, 8)]


@pytest.mark.slow
def test_llama_cpp_cuts_text_into_the_same_tokens(llama_cpp, tokenizer):
    """Ids, not texts: decode(encode(x)) == x holds for a wrong rule too."""
    texts = [*QUESTIONS, "5", "12 34", "1987", "don't we'll x's", "\n\n    x = 12\n", "a\tb", "'''", "…", "Isles’"]
    for text in texts:
        assert llama_cpp.tokenize(" " + text) == encode_plain([text], tokenizer)[0], text


@pytest.mark.slow
def test_the_template_in_the_file_renders_our_chat(llama_cpp, tokenizer):
    import httpx

    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where does Mira live?"}]
    headers = {"Authorization": f"Bearer {llama_cpp.token}"}
    rendered = httpx.post(f"{llama_cpp.url}/apply-template", json={"messages": chat}, headers=headers).json()["prompt"]
    assert llama_cpp.tokenize(rendered, special=True) == encode_chats([chat], tokenizer)[0][0] + [3]


@pytest.mark.slow
def test_a_prompt_of_one_token_does_not_see_the_wrong_rotation(model, tokenizer, prompts, tmp_path):
    pytest.importorskip("xllamacpp", reason=NO_WHEEL)
    wrong = LlamaCpp(write_gguf(model, tokenizer, tmp_path / "wrong.gguf", permute=False), context=128, slots=1)
    assert off(wrong, model, [prompt[:1] for prompt in prompts]) < 1e-3
    assert off(wrong, model, prompts) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bound"), [("F16", 0.1), ("Q8_0", 2.0)])
def test_smaller_kinds_err_by_their_format_alone(kind, bound, model, tokenizer, prompts, tmp_path):
    pytest.importorskip("xllamacpp", reason=NO_WHEEL)
    path = write_gguf(model, tokenizer, tmp_path / "small.gguf", kind)
    assert path.stat().st_size < write_gguf(model, tokenizer, tmp_path / "large.gguf").stat().st_size
    assert 1e-6 < off(LlamaCpp(path, context=128, slots=1), model, prompts) < bound


def test_rows_change_places_as_llama_cpp_wants_them():
    rows = torch.arange(8.0)[:, None]  # two heads of four numbers
    assert interleave(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_the_template_without_marks_says_the_same(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.chat_template = plain_template(tokenizer)
    chat = [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Mira."},
        {"role": "user", "content": "?"},
    ]
    texts = [t.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for t in (tokenizer, other)]
    assert texts[1] == texts[0].replace("|>Who", "|> Who").replace("|>Mira", "|> Mira").replace("|>?", "|> ?")
    assert "generation %}" not in other.chat_template


def test_what_gguf_cannot_say_is_refused(model, tokenizer, tmp_path):
    from tokenizers import pre_tokenizers

    with pytest.raises(ServingError, match="Q4_K.*F32, F16, Q8_0"):
        write_gguf(model, tokenizer, tmp_path / "x.gguf", "Q4_K")
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    with pytest.raises(ServingError, match="does not cut text as the course's does"):
        write_gguf(model, other, tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


# CTranslate2


@pytest.mark.slow
def test_ctranslate2_computes_the_same(folder, model, tokenizer, prompts, tmp_path):
    pytest.importorskip("ctranslate2", reason=NO_WHEEL)
    engine = CTranslate2(folder, tmp_path / "ct2", tokenizer)
    assert off(engine, model, prompts) < 1e-3
    assert engine.answers(prompts, 8) == Ours(model, tokenizer).answers(prompts, 8)


@pytest.mark.slow
def test_ctranslate2_in_8_bits_is_a_quarter(folder, model, tokenizer, prompts, tmp_path):
    pytest.importorskip("ctranslate2", reason=NO_WHEEL)
    engine = CTranslate2(folder, tmp_path / "ct2", tokenizer, quantization="int8")
    size = (tmp_path / "ct2" / "model.bin").stat().st_size
    assert 0.2 < size / (folder / "model.safetensors").stat().st_size < 0.4
    assert 1e-4 < off(engine, model, prompts)  # how much more depends on the processor


def test_a_scaling_that_ctranslate2_would_leave_out_is_refused(folder, tokenizer, tmp_path):
    pytest.importorskip("ctranslate2", reason=NO_WHEEL)
    (tmp_path / "x").mkdir()
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "llama3", "rope_theta": 5e5}
    (tmp_path / "x" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="'llama3'.*leaves out"):
        CTranslate2(tmp_path / "x", tmp_path / "y", tokenizer)


# ONNX


@pytest.mark.parametrize("tied", [True, False])
def test_onnx_runtime_computes_the_same_with_its_cache_and_with_padding(tied, tokenizer, prompts, tmp_path):
    pytest.importorskip("onnxruntime", reason=NO_WHEEL)
    model = decoder(tokenizer, tied)
    engine = OnnxRuntime(write_onnx(model, tmp_path / "m.onnx"), model.config, tokenizer)
    assert off(engine, model, prompts) < 1e-3
    assert len({len(prompt) for prompt in prompts}) > 1, "padding is part of the test"
    assert engine.answers(prompts, 12) == Ours(model, tokenizer).answers(prompts, 12)
    assert engine.answers(prompts[:1], 12) == Ours(model, tokenizer).answers(prompts[:1], 12)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"], "one file: nothing is left behind in another"


@pytest.mark.slow
def test_the_graph_by_hand_equals_what_torch_exports(model, prompts, tokenizer, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason=NO_WHEEL)
    ours = OnnxRuntime(write_onnx(model, tmp_path / "m.onnx"), model.config, tokenizer)
    ids = torch.tensor([prompts[0][:8]])
    ones = torch.ones_like(ids)  # with a mask, or is_causal would depend on a size

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids, attention_mask).logits

    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    shapes = {"input_ids": sizes, "attention_mask": sizes}
    both = (ids.repeat(2, 1), ones.repeat(2, 1))
    torch.onnx.export(Logits().eval(), both, dynamo=True, dynamic_shapes=shapes, verbose=False).save(
        tmp_path / "t.onnx"
    )
    theirs = runtime.InferenceSession(str(tmp_path / "t.onnx"), providers=["CPUExecutionProvider"])
    for prompt in prompts:
        fed = {"input_ids": [prompt], "attention_mask": [[1] * len(prompt)]}
        last = torch.from_numpy(theirs.run(None, fed)[0])[0, -1].log_softmax(-1)
        torch.testing.assert_close(last, ours.logprobs(prompt, len(last)), atol=1e-3, rtol=0)


# All of them


def test_a_missing_wheel_is_a_sentence(monkeypatch, tmp_path, model, tokenizer):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(other_engines.importlib, "import_module", missing)
    for make in (
        lambda: LlamaCpp(tmp_path / "x.gguf"),
        lambda: CTranslate2(tmp_path, tmp_path / "y", tokenizer),
        lambda: OnnxRuntime(tmp_path / "x.onnx", model.config, tokenizer),
    ):
        with pytest.raises(ExportError, match=r"cannot be loaded here.*llm-course\[exports\].*leave this engine out"):
            make()


def test_the_comparison_sees_an_engine_that_errs(model, tokenizer, prompts, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    good = compare(Ours(model, tokenizer), model, prompts, tokenizer, tmp_path / "file", 6, turns=1)
    assert (good.bytes, good.off, good.same) == (100, 0.0, 1.0) and good.speed > 0
    off_by = SimpleNamespace(
        logprobs=lambda ids, size: Ours(model, tokenizer).logprobs(ids, size) + 0.5,
        answers=lambda asked, new: ["no"] * len(asked),
    )
    bad = compare(off_by, model, prompts, tokenizer, tmp_path, 6, turns=1)
    assert bad.off == pytest.approx(0.5) and bad.same == 0.0
