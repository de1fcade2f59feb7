"""The course on base models as well-known families lay them out (``foreign_folders``): what is found in each folder,
and whole chapters on each of them.

The chapters run at smoke in the order of the course, and each keeps the model that it trained, so that a later one goes
on from it: three quick pairs of family and chapter always, all of them with ``pytest --nightly -k chapters``.
"""

from __future__ import annotations

import copy
import os
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient

import course_utils
from course_utils.models.decoder import Decoder
from course_utils.models.generate import generate
from course_utils.models.heads import layers_of
from course_utils.models.lora import add_lora, lora_layers, lora_weights, merge_lora
from course_utils.models.prompt_tuning import SoftPrompt
from course_utils.models.quantization import quantize_model
from course_utils.pretrained import store
from course_utils.pretrained.folder import StoreError
from course_utils.text.batching import ChatBatches
from course_utils.text.chat import (
    answer_mark,
    chat_prompt,
    encode_answers,
    encode_chat,
    encode_chats,
    generation_ids,
    sft_columns,
    stop_ids,
)
from course_utils.text.documents import DataError
from course_utils.text.special_tokens import closing_id, opening_id, padding_id
from foreign_folders import FAMILIES, make

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
CHAPTERS = "05 06 09 10 11 12 13 14 15 16 17 18 19 20 21".split()
QUICK = [("gpt2", "09"), ("qwen3", "10"), ("llama2", "11")]
CHAT = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Mira left."}]

# what opens, ends and fills a text; what ends an answer; what the assistant says in CHAT; is the head tied?
BYTES, TURN, HEAD = "<|endoftext|>", "<|im_end|>", "<|begin_of_text|>"
EXPECTED = {
    "gpt2": (BYTES, BYTES, BYTES, {BYTES}, f" Mira left.{BYTES}", True),
    "llama2": ("<s>", "</s>", "</s>", {"</s>"}, " Mira left.</s>", False),
    "tinyllama": ("<s>", "</s>", "</s>", {"</s>"}, "Mira left.</s>", False),
    "llama3": (HEAD, "<|end_of_text|>", "<|end_of_text|>", {"<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"}, "", True),
    "qwen2.5": (TURN, TURN, BYTES, {TURN, BYTES}, f"Mira left.{TURN}", True),
    "qwen3": (TURN, TURN, BYTES, {TURN, BYTES}, f"Mira left.{TURN}", True),
    "smollm2": (BYTES, BYTES, BYTES, {BYTES}, f" Mira left.{BYTES}", True),
    "smollm3": (TURN, TURN, TURN, {TURN}, f"Mira left.{TURN}", True),
    "gemma2": ("<bos>", "<eos>", "<pad>", {"<eos>", "<end_of_turn>"}, "Mira left.<end_of_turn>", True),
    "gemma3": ("<bos>", "<eos>", "<pad>", {"<eos>", "<end_of_turn>"}, "Mira left.<end_of_turn>", True),
    "olmo2": (BYTES, BYTES, "<|pad|>", {BYTES}, f"Mira left.{BYTES}", False),
}
EXPECTED["llama3"] = (*EXPECTED["llama3"][:4], "Mira left.<|eot_id|>", True)


@pytest.fixture(scope="module", params=list(FAMILIES))
def made(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a family and a folder of a model of it, which is only read."""
    return request.param, make(request.param, tmp_path_factory.mktemp("theirs") / "theirs")


@pytest.fixture
def family(made: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a family; ``store.load("base")`` gives a model of it."""
    monkeypatch.setenv("COURSE_BASE_MODEL", str(made[1]))
    return made[0]


def test_what_is_found_in_the_folder(family):
    loaded = store.load("base", device="cpu")
    tokenizer, model = loaded.tokenizer, loaded.model
    opens, ends, fills, stops, said, tied = EXPECTED[family]
    ids = [opening_id(tokenizer), closing_id(tokenizer), padding_id(tokenizer)]
    assert tokenizer.convert_ids_to_tokens(ids) == [opens, ends, fills]
    assert set(tokenizer.convert_ids_to_tokens(list(stop_ids(tokenizer, model)))) == stops
    ids, spoken = encode_chat(CHAT, tokenizer)
    assert tokenizer.decode([token for token, ours in zip(ids, spoken, strict=True) if ours]) == said.lstrip(
        " " if "llama2" in family else ""
    )
    prompt = chat_prompt(tokenizer, "Who?")
    assert ids[: len(prompt)] == prompt and spoken.index(1) == len(prompt), "an answer is learned as it is asked for"
    assert tuple(prompt[-len(answer_mark(tokenizer)) :]) == answer_mark(tokenizer)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_trl_gets_what_it_can_use(family):
    tokenizer = store.load("base", device="cpu").tokenizer
    columns = sft_columns([CHAT], tokenizer)
    if family in ("gpt2", "llama2", "smollm2", "smollm3"):  # marked: the course's plain template, and SmolLM3's own
        assert columns == {"messages": [CHAT]}
    else:
        assert (columns["input_ids"][0], columns["assistant_masks"][0]) == encode_chat(CHAT, tokenizer)


def test_chapters_that_cannot_use_another_base_say_so_and_take_the_courses_own(family, capsys):
    run = course_utils.start("18")
    loaded = run.load("instruct", decoder=True)
    assert isinstance(loaded.model, Decoder)
    said = capsys.readouterr().out
    if family in ("llama2", "tinyllama", "smollm2"):  # a Llama is read as the course's decoder
        assert "the course's own here" not in said and len(loaded.tokenizer) == loaded.model.config.vocab_size
    else:
        assert "takes the course's own decoder apart, and your base is a " in said
    assert isinstance(run.load("ppo", isles=True).model, Decoder)
    assert "knows the Isles, and yours answers 0% of the questions" in capsys.readouterr().out
    assert not isinstance(run.load("instruct").model, Decoder)


def test_turns_before_the_last_are_found_and_the_end_is_never_masked_as_padding(family):
    tokenizer = store.load("base", device="cpu").tokenizer
    longer = [*CHAT, {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Mira\nlives in Brine."}]
    (ids, spoken), (short, _) = encode_chats([longer, CHAT], tokenizer)
    words = tokenizer.decode([token for token, ours in zip(ids, spoken, strict=True) if ours])
    end = EXPECTED[family][4].removeprefix("Mira left.").removeprefix(" Mira left.")
    assert words.replace(" ", "") == f"Mira left.{end}Mira\nlives in Brine.{end}".replace(" ", "")
    batch = ChatBatches([longer, CHAT], tokenizer, 2)[0]
    learned = batch["labels"] != -100
    assert (learned & (batch["attention_mask"] == 0)).sum() == 0
    assert (batch["labels"] == tokenizer.convert_tokens_to_ids(end)).sum() == 3, "every answer's end has a label"
    assert (batch["input_ids"][batch["attention_mask"] == 0] == padding_id(tokenizer)).all() and len(short) < len(ids)


def test_it_generates_stops_takes_adapters_is_quantized_and_kept(family):
    base = store.load("base", device="cpu")
    ids = torch.tensor([chat_prompt(base.tokenizer, "Who?")])
    for stop in stop_ids(base.tokenizer, base.model):
        bias = torch.zeros(base.model.config.vocab_size)
        bias[stop] = 1e4
        hook = base.model.register_forward_hook(
            lambda module, args, out, bias=bias: setattr(out, "logits", out.logits + bias)
        )
        said = generate(base.model, ids, 5, **generation_ids(base.tokenizer, base.model))
        hook.remove()
        assert said.tokens.tolist() == [[stop]]
    silent, said = encode_answers([("Who?", ""), ("Who?", "Mira.")], base.tokenizer)  # a model may say nothing
    assert silent[: ids.shape[1]] == said[: ids.shape[1]] == ids[0].tolist()
    assert set(silent) & set(stop_ids(base.tokenizer, base.model))
    tuned = add_lora(copy.deepcopy(base.model), seed=1)
    assert len(list(lora_layers(tuned))) == (8 if family == "gpt2" else 7 * base.model.config.num_hidden_layers)
    with torch.no_grad():
        for name, matrix in lora_weights(tuned).items():
            if "lora_B" in name:
                matrix.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        expected = tuned(ids).logits
        assert not torch.allclose(expected, base.model(ids).logits)
    card = {"recipe": {}, "seed": 0, "tokens": 0, "loss": [], "figures": {}}
    folder = store.save("lora", tuned, base.tokenizer, card)
    torch.testing.assert_close(store.load("lora", device="cpu").model(ids).logits, expected, rtol=1e-3, atol=1e-3)
    by_peft(folder, ids, expected)
    store.save("instruct", merge_lora(tuned), base.tokenizer, card)
    again = store.load("instruct", device="cpu")
    torch.testing.assert_close(again.model(ids).logits, expected, rtol=1e-3, atol=1e-3)
    assert again.tokenizer.chat_template == base.tokenizer.chat_template
    quantize_model(again.model)
    assert torch.isfinite(again.model(ids).logits).all()


def test_its_blocks_are_found_by_whatever_name(family):
    model, seen = store.load("base", device="cpu").model, []
    layers = layers_of(model)
    assert len(layers) == model.config.num_hidden_layers
    for layer in layers:
        layer.register_forward_hook(lambda layer, given, out: seen.append(layer))
    model(torch.tensor([[1, 2, 3]]))
    assert seen == list(layers), "each is run, in this order"
    model.config.num_hidden_layers = 99
    with pytest.raises(ValueError, match="whose body holds no list of 99 blocks"):
        layers_of(model)


def test_a_soft_prompt_is_read_as_words_of_a_longer_vocabulary(family):
    base = store.load("base", device="cpu")
    soft = SoftPrompt(base.model, length=3, seed=1)
    ids = torch.tensor([chat_prompt(base.tokenizer, "Who?")])
    with torch.no_grad():
        soft.vectors += 0.1 * torch.randn(soft.vectors.shape, generator=torch.Generator().manual_seed(0))
        said = soft(ids, torch.ones_like(ids)).logits
        longer = torch.cat((torch.tensor([soft.token_ids()]), ids), dim=1)
        torch.testing.assert_close(soft.as_decoder()(longer).logits[:, 3:], said, rtol=1e-4, atol=1e-4)
        generated = generate(soft.as_decoder(), longer, 3, stop_ids=())
    assert generated.tokens[0, 0] == said[0, -1].argmax()


def by_peft(folder: Path, ids: torch.Tensor, expected: torch.Tensor) -> None:
    """The adapter's file on the model as transformers loads it, GPT-2 with its ``Conv1D`` among them."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(
        os.environ["COURSE_BASE_MODEL"], dtype=torch.float32, local_files_only=True
    )
    with torch.no_grad():
        found = PeftModel.from_pretrained(theirs, str(folder)).eval()(ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_templates_and_code_of_theirs_that_are_refused(tmp_path, monkeypatch):
    folder = make("gemma2", tmp_path / "theirs")
    monkeypatch.setenv("COURSE_BASE_MODEL", str(folder))
    tokenizer = store.load("base", device="cpu").tokenizer
    with pytest.raises(DataError, match="cannot be rendered with messages of system, user: TemplateError: no system"):
        encode_chat([{"role": "system", "content": "Be kind."}, CHAT[0]], tokenizer)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("{", '{"auto_map": {"AutoConfig": "modeling_x.X"},', 1))
    (folder / "modeling_x.py").write_text("raise SystemExit('this has been run')")
    with pytest.raises(StoreError, match="asks for Python code of its own \\(auto_map in config.json\\)"):
        store.load("base")
    (folder / "config.json").write_text(config)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(StoreError, match="holds no tokenizer"):
        store.load("base")


def run_chapter(chapter: str, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learner's notebook at smoke, from top to bottom, in a kernel of its own."""
    settings = {"PROFILE": "smoke", "KEEP": "1", "HOME": str(home), "BASE_MODEL": str(folder)}
    for name, value in settings.items():
        monkeypatch.setenv(f"COURSE_{name}", value)
    (path,) = NOTEBOOKS.glob(f"{chapter}_*.ipynb")
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(nbformat.read(path, 4), timeout=300, kernel_name="python3", resources=where).execute()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "chapter"), QUICK)
def test_quick_chapters_run(name, chapter, tmp_path, monkeypatch):
    run_chapter(chapter, make(name, tmp_path / name), tmp_path / "home", monkeypatch)


@pytest.fixture(scope="session")
def lodgings(tmp_path_factory):
    """Each family's folder and the learner's folder of its run: a chapter goes on from what those before it kept."""

    @cache
    def of(name: str) -> tuple[Path, Path]:
        room = tmp_path_factory.mktemp(name)
        return make(name, room / name), room / "home"

    return of


@pytest.mark.nightly
@pytest.mark.parametrize("chapter", CHAPTERS)  # the inner of the two: a family's chapters follow each other
@pytest.mark.parametrize("name", list(FAMILIES))
def test_all_chapters_run(name, chapter, lodgings, monkeypatch):
    folder, home = lodgings(name)
    run_chapter(chapter, folder, home, monkeypatch)
